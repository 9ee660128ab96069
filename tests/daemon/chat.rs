//! A chat as its members see it: what arrives, in which order, and what a restart must not change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kit::{Daemon, Msg, Over, PATIENCE, Phone, Setup, sip};

/// alice owns the room, the others have joined; all have heard of the last one's coming.
pub fn room(name: &str, owner: &Phone, others: &[&Phone]) {
    owner.expect(202, name, "#create");
    owner.hears_that("*** Room was created", |m| {
        m.sender_user() == name && m.text() == "*** Room was created"
    });
    for phone in others {
        phone.expect(202, name, "#join");
        let notice = format!("*** [{}] has joined the room", phone.user());
        owner.hears_that(&notice, |m| m.sender_user() == name && m.text() == notice);
        phone.hears_that(&notice, |m| m.sender_user() == name && m.text() == notice);
    }
}

/// Everything that spec §4 promises of the copy of a post.
fn check_shape(copy: &Msg, member: &Phone, author: &Phone, over: Over, post: &str, text: &str) {
    assert_eq!(copy.start, format!("MESSAGE {} SIP/2.0", member.contact()), "Request-URI is the contact");
    assert_eq!(copy.address("To"), member.aor());
    assert!(sip::param(copy.header("To"), "tag").is_none(), "To has no tag: {}", copy.header("To"));
    let from = copy.header("From");
    assert!(from.starts_with("\"team\" <sip:team@example.org>"), "From is the room by name: {from}");
    assert!(sip::param(from, "tag").is_some_and(|t| !t.is_empty()), "From has a tag: {from}");
    assert!(!copy.call_id().is_empty() && copy.call_id() != post, "Call-ID is the daemon's own");
    assert!(copy.cseq().ends_with(" MESSAGE"), "CSeq: {}", copy.cseq());
    let date = sip::date(copy.header("Date")).expect("Date is a SIP date");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((now - 120..=now + 1).contains(&date), "Date is when the post was accepted: {date}, now {now}");
    let kind = copy.header("Content-Type").replace(' ', "").to_ascii_lowercase();
    assert_eq!(kind, "text/plain;charset=utf-8");
    assert_eq!(copy.header("In-Reply-To"), post, "In-Reply-To is the Call-ID of the post");
    assert_eq!(copy.header("Max-Forwards"), "41", "one less than the post had");
    assert_eq!(copy.text(), format!("[{}]: {text}", author.user()));
    assert_eq!(copy.header("Content-Length"), copy.body.len().to_string());
    let transport = if over == Over::Udp { "SIP/2.0/UDP " } else { "SIP/2.0/TCP " };
    assert_eq!(copy.all("Via").len(), 1, "one Via, ours");
    assert!(copy.header("Via").starts_with(transport), "Via: {}", copy.header("Via"));
    assert!(copy.branch().starts_with("z9hG4bK") && copy.branch().len() > 10, "branch {}", copy.branch());
    for forbidden in ["Contact", "Accept", "Route", "Record-Route", "Authorization", "P-Asserted-Identity"] {
        assert!(copy.get(forbidden).is_none(), "{forbidden} must not be there: {copy:?}");
    }
    assert!(copy.get("P-Preferred-Identity").is_none() && copy.get("Path").is_none());
}

fn create_join_post_leave(over: Over) {
    let daemon = Daemon::open();
    let alice = daemon.phone("alice").over(over).registered();
    let bob = daemon.phone("bob").over(over).registered();
    room("team", &alice, &[&bob]);

    let post = alice.message("team", "hello").hops(42).header("P-Asserted-Identity: <sip:alice@example.org>");
    let call_id = post.call_id.clone();
    let answer = alice.ask(post);
    assert_eq!(answer.status(), 202, "{}", answer.start);
    assert!(
        answer.body.is_empty() && answer.get("Contact").is_none(),
        "202 has no body, no Contact: {answer:?}"
    );
    assert!(sip::param(answer.header("To"), "tag").is_some(), "a final answer has a To tag");
    let copy = bob.hears("[alice]: hello");
    check_shape(&copy, &bob, &alice, over, &call_id, "hello");

    bob.expect(202, "team", "hi alice");
    alice.hears("[bob]: hi alice");
    alice.never_heard("[alice]: hello");

    bob.expect(202, "team", "#leave");
    alice.hears("*** [bob] has left the room");
    bob.hears("*** [bob] has left the room");
    alice.expect(202, "team", "alone now");
    bob.expect(603, "team", "may I?");
    bob.hears("*** You are not a member of this room. Send #join to join it.");
    bob.never_heard("[alice]: alone now");
    alice.never_heard("[bob]: may I?");
    alice.one_at_a_time();
    bob.one_at_a_time();
}

#[test]
fn a_room_is_created_joined_posted_to_and_left_over_udp() {
    create_join_post_leave(Over::Udp);
}

#[test]
fn a_room_is_created_joined_posted_to_and_left_over_tcp() {
    create_join_post_leave(Over::Tcp);
}

#[test]
fn the_authors_identity_is_shown_to_trusted_peers_and_hidden_when_he_asks() {
    let daemon = Setup::new().set("sip.trusted_peers", "[\"127.0.0.9/32\"]").start();
    let alice = daemon.udp("alice");
    let gateway = daemon
        .phone("gate")
        .ip("127.0.0.9")
        .header("P-Asserted-Identity: <sip:gate@example.org>")
        .registered();
    room("team", &alice, &[&gateway]);
    alice.expect(202, "team", "who am I");
    let copy = gateway.hears("[alice]: who am I");
    assert_eq!(copy.address("P-Asserted-Identity"), "sip:alice@example.org");
    let shy = alice.ask(alice.message("team", "guess").header("Privacy: id"));
    assert_eq!(shy.status(), 202);
    assert!(
        gateway.hears("[alice]: guess").get("P-Asserted-Identity").is_none(),
        "Privacy: id was asked for"
    );
}

#[test]
fn a_destroyed_room_is_gone_and_the_daemon_goes_on() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    room("other", &alice, &[&bob]);
    bob.expect(603, "team", "#destroy");
    alice.expect(202, "team", "#destroy");
    alice.hears("*** Room has been destroyed");
    bob.hears("*** Room has been destroyed");
    alice.expect(404, "team", "anybody?");
    alice.expect(202, "other", "here");
    bob.hears("[alice]: here");
    bob.never_heard("[alice]: anybody?");
    daemon.must_be_alive();
}

#[test]
fn a_created_again_room_shows_nothing_of_the_old_one() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "old secret");
    bob.hears("[alice]: old secret");
    alice.expect(202, "team", "#destroy");
    bob.hears("*** Room has been destroyed");

    carol.expect(202, "team", "#create");
    carol.hears("*** Room was created");
    bob.expect(603, "team", "am I still in?");
    carol.expect(202, "team", "new talk");
    carol.expect(202, "team", "#history 100");
    let history = carol.hears_that("the history", |m| m.text().contains("[carol]: new talk"));
    assert!(!history.text().contains("old secret"), "history: {}", history.text());
    bob.expect(202, "team", "#join");
    bob.hears("*** [bob] has joined the room");
    bob.never_heard("[carol]: new talk");
    assert!(!carol.texts().iter().any(|t| t.contains("old secret") || t.contains("am I still in?")));
}

#[test]
fn a_private_room_is_entered_by_invitation_alone() {
    let daemon = Daemon::open();
    let (alice, bob, carol, dave) =
        (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"), daemon.udp("dave"));
    alice.expect(202, "chat-manager", "#create den private");
    alice.hears("*** Room was created");

    carol.expect(603, "den", "#join");
    carol.hears("*** Private rooms are by invitation only. Room owners have been notified.");
    alice.hears("*** [carol] attempted to join the room");
    let answer = carol.expect(603, "den", "#create");
    assert_eq!(answer.reason(), "Room already exists");
    carol.expect(603, "den", "let me in");

    alice.expect(202, "den", "#invite bob");
    let invitation = bob.hears("*** [alice] invites you to join the room (send '#accept' or '#reject')");
    assert_eq!(invitation.address("From"), "sip:den@example.org", "an invitation comes from the room");
    alice.hears("*** [bob] has been invited");
    bob.expect(603, "den", "not yet in");
    bob.expect(202, "den", "#accept");
    alice.hears("*** [bob] has joined the room");
    bob.hears("*** [bob] has joined the room");

    alice.expect(202, "den", "#invite dave");
    dave.hears("*** [alice] invites you to join the room (send '#accept' or '#reject')");
    dave.expect(202, "den", "#reject");
    alice.hears("*** [dave] declined the invitation");

    alice.expect(202, "den", "for our ears");
    bob.hears("[alice]: for our ears");
    bob.expect(603, "den", "#invite carol");
    for outsider in [&carol, &dave] {
        outsider.never_heard("[alice]: for our ears");
    }
}

#[test]
fn two_hundred_posts_of_three_senders_arrive_everywhere_in_one_order() {
    let daemon = Daemon::open();
    let senders: Vec<Phone> =
        vec![daemon.udp("anna"), daemon.tcp("ben"), daemon.phone("cleo").over(Over::Udp).registered()];
    let listeners = vec![daemon.udp("lisa"), daemon.tcp("lars"), daemon.udp("luis")];
    let others: Vec<&Phone> = senders[1..].iter().chain(&listeners).collect();
    room("team", &senders[0], &others);
    std::thread::scope(|scope| {
        for (s, phone) in senders.iter().enumerate() {
            scope.spawn(move || {
                for n in (s..200).step_by(3) {
                    phone.expect(202, "team", &format!("post {n}"));
                }
            });
        }
    });
    let posts = |phone: &Phone| -> Vec<String> {
        phone.texts().into_iter().filter(|t| t.contains("]: post ")).collect()
    };
    for phone in &listeners {
        phone.until("all 200 posts", |all| {
            all.iter().filter(|g| g.msg.text().contains("]: post ")).count() >= 200
        });
    }
    let order = posts(&listeners[0]);
    assert_eq!(order.len(), 200);
    for phone in &listeners[1..] {
        assert_eq!(posts(phone), order, "{} has another order than {}", phone.user(), listeners[0].user());
    }
    for phone in &senders {
        let own = format!("[{}]: ", phone.user());
        let expected: Vec<String> = order.iter().filter(|t| !t.starts_with(&own)).cloned().collect();
        phone.until("all posts of the others", |all| {
            all.iter().filter(|g| g.msg.text().contains("]: post ")).count() >= expected.len()
        });
        assert_eq!(posts(phone), expected, "{} has another order", phone.user());
        let mine: Vec<&String> = order.iter().filter(|t| t.starts_with(&own)).collect();
        let numbers: Vec<u32> = mine.iter().map(|t| t.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "the posts of {} are out of order: {numbers:?}", phone.user());
    }
    for phone in senders.iter().chain(&listeners) {
        phone.one_at_a_time();
    }
}

/// The names in an answer to `#members` or `#rooms`, without its first line, sorted.
fn names(list: &Msg) -> Vec<String> {
    let mut names: Vec<String> = list.text().lines().skip(1).map(str::to_string).collect();
    names.sort();
    names
}

#[test]
fn members_of_several_rooms_keep_all_of_them_over_a_stop_and_a_kill() {
    let mut daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("r1", &alice, &[&bob, &carol]);
    room("r2", &bob, &[&alice, &carol]);
    room("r3", &carol, &[&alice]);
    for (round, kill) in [false, true].into_iter().enumerate() {
        if kill {
            daemon.kill();
        } else {
            let (status, _) = daemon.terminate();
            assert!(status.success(), "SIGTERM: {status}");
        }
        daemon.restart();
        for (name, members) in [
            ("r1", vec!["*[alice]", "[bob]", "[carol]"]),
            ("r2", vec!["*[bob]", "[alice]", "[carol]"]),
            ("r3", vec!["*[carol]", "[alice]"]),
        ] {
            let before = carol.taken().len();
            carol.expect(202, name, "#members");
            let all = carol.until("the list of members", |all| {
                all[before..]
                    .iter()
                    .any(|g| g.msg.sender_user() == name && g.msg.text().starts_with("Members:"))
            });
            let list = all[before..].iter().find(|g| g.msg.text().starts_with("Members:")).unwrap();
            assert_eq!(names(&list.msg), members, "round {round}, {name}");
            alice.expect(202, name, &format!("{name} round {round}"));
            carol.hears(&format!("[alice]: {name} round {round}"));
        }
        bob.hears(&format!("[alice]: r1 round {round}"));
        bob.hears(&format!("[alice]: r2 round {round}"));
        bob.never_heard(&format!("[alice]: r3 round {round}"));
    }
}

#[test]
fn a_private_room_stays_private_over_a_kill() {
    let mut daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    alice.expect(202, "chat-manager", "#create den private");
    alice.expect(202, "den", "#invite bob");
    bob.hears("*** [alice] invites you to join the room (send '#accept' or '#reject')");
    daemon.kill_and_restart();
    carol.expect(603, "den", "#join");
    carol.expect(202, "chat-manager", "#rooms");
    let rooms = carol.hears_that("the list of rooms", |m| m.text().starts_with("Rooms:"));
    assert!(names(&rooms).is_empty(), "a private room shows in {:?}", rooms.text());
    // The invitation outlived the kill too.
    bob.expect(202, "den", "#accept");
    bob.hears("*** [bob] has joined the room");
    alice.expect(202, "den", "still ours");
    bob.hears("[alice]: still ours");
    carol.never_heard("[alice]: still ours");
}

#[test]
fn rooms_and_members_are_listed_as_the_asker_may_see_them() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob, &carol]);
    carol.expect(202, "chat-manager", "#create den private");
    carol.hears_that("the new den", |m| m.sender_user() == "den" && m.text() == "*** Room was created");
    alice.expect(202, "team", "#modify bob admin");
    for (phone, expected) in [(&alice, vec!["[team]"]), (&carol, vec!["[den]", "[team]"])] {
        phone.expect(202, "chat-manager", "#rooms");
        let list = phone.hears_that("the list of rooms", |m| m.text().starts_with("Rooms:"));
        assert_eq!(names(&list), expected, "{}", phone.user());
        assert_eq!(list.address("From"), "sip:chat-manager@example.org");
    }
    bob.expect(202, "team", "#members");
    let list = bob.hears_that("the members", |m| m.text().starts_with("Members:"));
    assert_eq!(list.text(), "Members:\n*[alice]\n[carol]\n~[bob]", "owner first, then newest first");
    carol.expect(603, "team", "#modify alice member");
}

#[test]
fn commands_to_the_manager_name_their_room() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, "chat-manager", "#CREATE\tteam  ");
    let created = alice.hears("*** Room was created");
    assert_eq!(created.address("From"), "sip:team@example.org");
    bob.expect(202, "chat-manager", "#join sip:team@example.org");
    alice.hears("*** [bob] has joined the room");
    bob.expect(202, "chat-manager", "#leave <sip:TEAM@example.org>");
    alice.hears("*** [bob] has left the room");
    alice.expect(202, "chat-manager", "#destroy team@example.org");
    alice.hears("*** Room has been destroyed");
    alice.expect(404, "chat-manager", "#members team");
    alice.expect(202, "chat-manager", "#help");
    let help = alice
        .hears_that("the help", |m| m.text().contains("#create <room_name> - create new conference room"));
    assert!(help.text().contains("#history"), "own commands are in the help: {}", help.text());
}

#[test]
fn a_text_that_begins_with_the_command_character_is_doubled() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "##lunch?");
    bob.hears("[alice]: #lunch?");
    // A post without Content-Type is text/plain.
    let bare = alice.request("MESSAGE", "team").body("no type");
    assert_eq!(alice.ask(bare).status(), 202);
    bob.hears("[alice]: no type");
}

#[test]
fn typing_notices_are_answered_200_and_never_become_text() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let xml = "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\
               <state>active</state></isComposing>";
    bob.unregister();
    let typing = alice.message("team", xml).content_type("application/im-iscomposing+xml");
    assert_eq!(alice.ask(typing).status(), 200);
    alice.expect(202, "team", "done typing");
    bob.register();
    bob.hears_that("the post", |m| m.text().ends_with("[alice]: done typing"));
    let wrong = |t: &String| t.contains("isComposing");
    assert!(!bob.texts().iter().any(wrong), "a typing notice was stored: {:?}", bob.texts());
}

#[test]
fn the_answer_to_a_command_goes_to_the_device_that_asked() {
    let daemon = Daemon::open();
    let desk = daemon.phone("alice").instance(1).registered();
    let mobile = daemon.phone("alice").instance(2).over(Over::Tcp).registered();
    let bob = daemon.udp("bob");
    bob.expect(202, "team", "#create");
    desk.expect(202, "team", "#join");
    mobile.hears("*** [alice] has joined the room");
    desk.expect(202, "team", "#members");
    desk.hears("Members:\n*[bob]\n[alice]");
    bob.expect(202, "team", "to both");
    desk.hears("[bob]: to both");
    mobile.hears("[bob]: to both");
    mobile.never_heard("Members:\n*[bob]\n[alice]");
    mobile.expect(202, "team", "#members");
    mobile.hears("Members:\n*[bob]\n[alice]");
    let lists = desk.texts().iter().filter(|t| t.starts_with("Members:")).count();
    bob.expect(202, "team", "once more");
    desk.hears("[bob]: once more");
    assert_eq!(desk.texts().iter().filter(|t| t.starts_with("Members:")).count(), lists);
}

#[test]
fn copies_go_to_the_authors_other_devices_only_when_configured() {
    for copies in [false, true] {
        let daemon = Setup::new().set("delivery.copy_to_sender", &copies.to_string()).start();
        let desk = daemon.phone("alice").instance(1).registered();
        let mobile = daemon.phone("alice").instance(2).registered();
        let bob = daemon.udp("bob");
        room("team", &bob, &[&desk]);
        desk.expect(202, "team", "from my desk");
        bob.hears("[alice]: from my desk");
        bob.expect(202, "team", "seen");
        desk.hears("[bob]: seen");
        mobile.hears("[bob]: seen");
        desk.never_heard("[alice]: from my desk");
        let copied = mobile.texts().iter().any(|t| t == "[alice]: from my desk");
        assert_eq!(copied, copies, "copy_to_sender = {copies}");
    }
}

#[test]
fn who_was_away_gets_what_was_said_in_order_when_he_is_back() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    bob.unregister();
    for n in 0..20 {
        alice.expect(202, "team", &format!("line {n}"));
    }
    assert_eq!(alice.say("bob", "just for you").status(), 202, "stored for somebody who is away");
    daemon.kill_and_restart();
    bob.back();
    bob.hears_that("the direct message", |m| m.text().ends_with("just for you"));
    let lines: Vec<String> = bob.texts().into_iter().filter(|t| t.contains("[alice]: line")).collect();
    let expected: Vec<String> = (0..20).map(|n| format!("[alice]: line {n}")).collect();
    assert_eq!(lines, expected);
    bob.one_at_a_time();
}

#[test]
fn a_direct_message_keeps_its_body_and_names_both_accounts() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let body = "binary \u{1F600} \r\n\r\n  spaces  \t";
    let message = alice
        .message("bob", body)
        .header("Subject: tea")
        .header("X-Mood: fine")
        .header("X-FS-Sending-Message: 1");
    let message = message.header("P-Preferred-Identity: <sip:mallory@example.org>").hops(9);
    let call_id = message.call_id.clone();
    let answer = alice.ask(message);
    assert_eq!(answer.status(), 200, "a device took it: {}", answer.start);
    let copy = bob.hears(body);
    assert_eq!(copy.address("From"), "sip:alice@example.org");
    assert_eq!(copy.address("To"), "sip:bob@example.org");
    assert_eq!(copy.uri(), bob.contact());
    assert_eq!((copy.header("Subject"), copy.header("X-Mood")), ("tea", "fine"));
    // FreeSWITCH would take it for a loop of its own.
    assert_eq!(copy.get("X-FS-Sending-Message"), None);
    assert_eq!(copy.header("Content-Type"), "text/plain");
    assert_eq!(copy.header("Max-Forwards"), "8");
    assert!(copy.get("P-Preferred-Identity").is_none() && copy.get("Contact").is_none());
    assert_ne!(copy.call_id(), call_id);
    alice.expect(404, "nobody-here", "hello?");
    bob.responds(|_| crate::kit::Act::Answer(486));
    assert_eq!(alice.say("bob", "later").status(), 202, "a busy phone is away: stored");
    bob.responds(|_| crate::kit::Act::Answer(200));
    bob.register();
    bob.hears("later");
}

#[test]
fn a_message_waits_no_longer_than_its_expires() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let bob = daemon.udp("bob");
    bob.unregister();
    alice.ask(alice.message("bob", "stale soon").header("Expires: 1"));
    alice.expect(202, "bob", "fresh");
    let begun = std::time::Instant::now();
    // Time itself is what is tested here: the second of its life must pass.
    while begun.elapsed() < Duration::from_millis(2100) {
        daemon.options(PATIENCE);
        std::thread::yield_now();
    }
    bob.register();
    bob.hears_that("the fresh one", |m| m.text().ends_with("fresh"));
    assert!(!bob.texts().iter().any(|t| t.contains("stale soon")), "{:?}", bob.texts());
}
