//! Room commands as people, phones and scripts send them (spec §4): spellings, dialects, settings.

use crate::chat::room;
use crate::kit::{Act, Daemon, Got, Msg, Setup};

#[test]
fn commands_are_read_in_every_spelling_that_phones_send() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let ip = daemon.addr;
    alice.expect(202, "team", "#CREATE\r\n");
    alice.hears("*** Room was created");
    let (joined, left) = ("*** [bob] has joined the room", "*** [bob] has left the room");
    let spellings = [
        "team",
        "TEAM",
        "team@example.org",
        "sip:team@localhost",
        "sips:team@Example.ORG",
        "im:team@example.org",
        "te%61m",
        "<sip:team@example.org>",
        "<sip:team@example.org:5060;transport=tcp>",
        &format!("sip:team@{ip}"),
    ];
    for (n, spelled) in spellings.iter().enumerate() {
        let times = |text: &'static str| move |all: &[Got]| count(all, text) == n + 1;
        bob.expect(202, "chat-manager", &format!("#jOiN \t {spelled} \t\r\nsecond line"));
        alice.until(&format!("join {spelled}"), times(joined));
        bob.expect(202, "chat-manager", &format!("#Exit {spelled}\n"));
        alice.until(&format!("exit {spelled}"), times(left));
    }
    for user in ["bob", "sip:bob", "<sip:bob@localhost>", "BOB@example.org"] {
        let before = count(&bob.taken(), joined);
        alice.expect(202, "team", &format!("#add {user}"));
        bob.until(user, |all| count(all, joined) == before + 1);
        alice.expect(202, "team", &format!("#remove {user}"));
    }
}

fn count(all: &[Got], text: &str) -> usize {
    all.iter().filter(|got| got.msg.text() == text).count()
}

#[test]
fn the_request_uri_names_the_room_whatever_to_says() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let port = daemon.addr.port();
    for (n, uri) in [
        "sips:team@example.org".to_string(),
        "im:team@example.org".into(),
        "sip:team@localhost".into(),
        format!("sip:TEAM@{}:{port};transport=udp", daemon.addr.ip()),
        "sip:te%61m@example.org".into(),
    ]
    .iter()
    .enumerate()
    {
        let mut post = alice.message(uri, &format!("by way {n}"));
        post.to = "sip:somebody-else@example.org".into();
        let answer = alice.ask(post);
        assert_eq!(answer.status(), 202, "{uri}: {}", answer.start);
        bob.hears(&format!("[alice]: by way {n}"));
    }
    let mut decoy = alice.message("nowhere", "lost");
    decoy.to = "sip:team@example.org".into();
    assert_eq!(alice.ask(decoy).status(), 404);
}

#[test]
fn the_command_character_may_be_another() {
    let daemon = Setup::new().set("imc.imc_cmd_start_char", "\"/\"").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, "team", "/create");
    alice.hears("*** Room was created");
    alice.expect(202, "team", "/invite bob");
    bob.hears("*** [alice] invites you to join the room (send '/accept' or '/reject')");
    bob.expect(202, "team", "/accept");
    bob.hears("*** [bob] has joined the room");
    alice.expect(202, "team", "#join");
    bob.hears("[alice]: #join");
    alice.expect(202, "team", "//etc/hosts");
    bob.hears("[alice]: /etc/hosts");
    alice.expect(400, "team", "/jion");
    alice.hears("*** Invalid command 'jion' (send '/help' for help)");
}

#[test]
fn a_chat_in_the_words_of_openser() {
    let daemon = Setup::new().set("imc.dialect", "\"openser\"").start();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    alice.expect(202, "team", "#create team");
    alice.hears("*** room was created");
    bob.expect(202, "team", "#join");
    alice.hears("*** <sip:bob@example.org> has joined the room");
    bob.hears("*** <sip:bob@example.org> has joined the room");
    alice.expect(202, "team", "hello");
    bob.hears("<alice@example.org>: hello");
    alice.expect(202, "team", "#invite carol");
    carol.hears("INVITE from: alice@example.org(Type: '#accept' or '#deny')");
    carol.expect(202, "team", "#deny");
    alice.hears("*** [carol] declined the invitation");
    bob.expect(202, "team", "#list");
    bob.hears("Members:\n*sip:alice@example.org\nsip:bob@example.org");
    bob.expect(400, "team", "#foo");
    bob.hears("invalid command 'foo' - send '#help' for details");
    carol.expect(202, "team", "#join");
    carol.hears("*** <sip:carol@example.org> has joined the room");
    alice.expect(202, "team", "#remove carol");
    carol.hears("You have been removed from this room");
    bob.hears("The user [carol] has left the room");
    alice.expect(202, "team", "#exit");
    alice.hears("The room has been destroyed");
    bob.hears("The room has been destroyed");
    bob.expect(404, "team", "gone");
}

#[test]
fn configured_headers_go_with_all_that_a_room_says() {
    let daemon = Setup::new().set("imc.extra_hdrs", "[\"X-Origin: chat\", \"X-Two: 2\"]").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let ask = |text: &str| {
        let request = alice.message("team", text);
        let call_id = request.call_id.clone();
        assert_eq!(alice.ask(request).status(), 202, "{text}");
        call_id
    };
    let check = |heard: Msg, call_id: &str| {
        assert_eq!((heard.header("X-Origin"), heard.header("X-Two")), ("chat", "2"), "{heard:?}");
        assert_eq!(heard.header("In-Reply-To"), call_id, "{heard:?}");
    };
    let created = ask("#create");
    check(alice.hears("*** Room was created"), &created);
    let invited = ask("#invite bob");
    check(bob.hears("*** [alice] invites you to join the room (send '#accept' or '#reject')"), &invited);
    bob.expect(202, "team", "#accept");
    let joined = alice.hears("*** [bob] has joined the room");
    assert_eq!(joined.header("X-Origin"), "chat");
    let post = ask("hello");
    check(bob.hears("[alice]: hello"), &post);
}

#[test]
fn always_ok_answers_200_to_every_command_and_to_its_repetition() {
    let mut daemon = Setup::new().set("imc.always_ok", "true").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(200, "team", "#create");
    bob.expect(200, "team", "#join");
    for text in ["#destroy", "#remove zoe", "#foo", "#", "#invite", "#members nowhere"] {
        bob.expect(200, "team", text);
    }
    bob.hears("*** Invalid command 'foo' (send '#help' for help)");
    alice.expect(202, "team", "a post is no command");
    let leave = bob.message("team", "#leave");
    assert_eq!(bob.ask(leave.clone()).status(), 200);
    bob.expect(603, "team", "a post of a stranger is no command either");
    daemon.kill_and_restart();
    assert_eq!(bob.ask(leave).status(), 200);
}

#[test]
fn a_command_repeated_into_the_restarted_daemon_is_answered_as_before() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let (post, leave) = (bob.message("team", "bye"), bob.message("team", "#leave"));
    let destroy = alice.message("team", "#destroy");
    let all = [(&bob, &post), (&bob, &leave), (&alice, &destroy)];
    for (phone, request) in all {
        assert_eq!(phone.ask(request.clone()).status(), 202);
    }
    alice.hears("*** Room has been destroyed");
    daemon.kill_and_restart();
    for (phone, request) in all {
        let answer = phone.ask(request.clone());
        assert_eq!(answer.status(), 202, "{:?}: {}", String::from_utf8_lossy(&request.body), answer.start);
    }
    alice.expect(202, "team", "#create");
    alice.hears("*** Room was created");
    assert_eq!(count(&alice.taken(), "[bob]: bye"), 1);
}

#[test]
fn settings_say_how_rooms_come_to_be() {
    let daemon = Setup::new().set("imc.create_on_join", "false").set("imc.check_on_create", "true").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(404, "team", "#join");
    alice.hears("*** Room not found");
    alice.expect(202, "team", "#create");
    alice.hears("*** Room was created");
    for phone in [&alice, &bob] {
        let answer = phone.expect(603, "team", "#create");
        assert_eq!(answer.reason(), "Room already exists");
        phone.hears("*** Room already exists");
    }
    bob.expect(202, "team", "#join");
    bob.hears("*** [bob] has joined the room");
}

#[test]
fn who_may_create_is_kept_for_join_too_and_a_room_may_be_full() {
    let daemon = Setup::new().set("imc.who_may_create", "\"admins\"").start();
    let alice = daemon.udp("alice");
    alice.expect(603, "team", "#create");
    alice.hears("*** You don't have the permission to create rooms");
    alice.expect(603, "team", "#join");
    drop(daemon);
    let daemon = Setup::new().set("imc.who_may_create", "\"accounts\"").set("limits.member_max", "2").start();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    let guest = daemon.phone("guest").up();
    guest.expect(603, "team", "#create");
    room("team", &alice, &[&bob]);
    carol.expect(603, "team", "#join");
    carol.hears("*** This room is full");
    alice.expect(603, "team", "#add carol");
    alice.expect(603, "team", "#invite carol");
    bob.expect(202, "team", "#leave");
    carol.expect(202, "team", "#join");
}

#[test]
fn a_long_list_of_members_comes_in_numbered_parts_that_fit_a_datagram() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    let name = |n: usize| format!("a-member-with-quite-a-long-name-{n:03}");
    for n in 0..120 {
        alice.expect(202, "team", &format!("#add {}", name(n)));
    }
    alice.expect(202, "team", "#members");
    let part = |text: &str| -> Option<(usize, usize)> {
        let (n, rest) = text.strip_prefix('(')?.split_once('/')?;
        Some((n.parse().ok()?, rest.split_once(") ")?.0.parse().ok()?))
    };
    let all = alice.until("all parts", |all| {
        let parts: Vec<_> = all.iter().filter_map(|got| part(&got.msg.text())).collect();
        parts.last().is_some_and(|(n, of)| n == of)
    });
    let texts: Vec<String> =
        all.iter().map(|got| got.msg.text()).filter(|text| part(text).is_some()).collect();
    assert!(texts.len() > 3, "{texts:?}");
    let numbers: Vec<usize> = texts.iter().filter_map(|text| Some(part(text)?.0)).collect();
    assert_eq!(numbers, (1..=texts.len()).collect::<Vec<_>>());
    assert!(texts[0].contains("Members:\n*[alice]\n[a-member-with-quite-a-long-name-119]"), "{}", texts[0]);
    for n in 0..120 {
        let line = format!("[{}]", name(n));
        assert_eq!(texts.iter().filter(|text| text.contains(&line)).count(), 1, "{line}");
    }
    assert!(alice.datagrams_in().iter().all(|size| *size <= 1300));
}

#[test]
fn history_shows_the_last_posts_and_nothing_from_the_time_away() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[]);
    alice.expect(202, "team", "before he came");
    bob.expect(202, "team", "#join");
    for n in 0..12 {
        alice.expect(202, "team", &format!("post {n}"));
    }
    bob.expect(202, "team", "#leave");
    alice.expect(202, "team", "while he was away");
    bob.expect(202, "team", "#join");
    alice.expect(202, "team", "he is back");
    let html = alice.message("team", "<b>x</b>").content_type("text/html");
    assert_eq!(alice.ask(html).status(), 202);
    let image = alice.message("team", "PNG").content_type("image/png");
    assert_eq!(alice.ask(image).status(), 202);
    let ask = |text: &str| {
        let before = bob.taken().len();
        bob.expect(202, "team", text);
        let is_it = |m: &Msg| m.text().starts_with('[') && m.text().contains("]: (image/png)");
        let all = bob.until(text, |all| all[before..].iter().any(|got| is_it(&got.msg)));
        let found = all[before..].iter().find(|got| is_it(&got.msg)).expect("it was just there");
        found.msg.text().lines().map(|line| line.split_once("] ").expect("a time").1.to_string()).collect()
    };
    let lines: Vec<String> = ask("#history");
    let mut expected: Vec<String> = (5..12).map(|n| format!("[alice]: post {n}")).collect();
    expected.extend(["[alice]: he is back".into(), "[alice]: x".into(), "[alice]: (image/png)".into()]);
    assert_eq!(lines, expected);
    let lines: Vec<String> = ask("#history 2");
    assert_eq!(lines, ["[alice]: x", "[alice]: (image/png)"]);
    let lines: Vec<String> = ask("#history 100 team");
    assert_eq!(lines.len(), 15, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("away") || line.contains("before")));
}

#[test]
fn an_invitation_that_nobody_answers_or_that_is_refused_comes_back_to_the_inviter() {
    let daemon = Setup::new().set("offline.expire_time", "3").start();
    let (alice, carol) = (daemon.udp("alice"), daemon.udp("carol"));
    alice.expect(202, "den", "#create private");
    alice.expect(202, "den", "#invite bob");
    alice.hears("*** [bob] has been invited");
    alice.hears("*** [bob] could not be invited");
    let bob = daemon.udp("bob");
    bob.expect(404, "den", "#accept");
    carol.responds(|_| Act::Answer(603));
    alice.expect(202, "den", "#invite carol");
    alice.hears("*** [carol] could not be invited");
    carol.offered("*** [alice] invites you to join the room (send '#accept' or '#reject')");
    carol.expect(404, "den", "#accept");
    // Withdrawn, it may be sent anew at once.
    carol.responds(|_| Act::Answer(200));
    alice.expect(202, "den", "#invite carol");
    carol.hears("*** [alice] invites you to join the room (send '#accept' or '#reject')");
}

#[test]
fn different_refusals_each_have_their_words() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    for (text, status, words) in [
        ("#destroy", 603, "*** You don't have the permission to destroy this room"),
        ("#invite zoe", 603, "*** You don't have the permission to invite users to this room"),
        ("#add zoe", 603, "*** You don't have the permission to add members to this room"),
        ("#remove alice", 603, "*** You don't have the permission to remove members from this room"),
        ("#modify alice member", 603, "*** You don't have the permission to modify members in this room"),
        ("#foo", 400, "*** Invalid command 'foo' (send '#help' for help)"),
        ("#bar", 400, "*** Invalid command 'bar' (send '#help' for help)"),
        ("#accept", 603, "*** You are in the room already"),
    ] {
        bob.expect(status, "team", text);
        bob.hears(words);
    }
}
