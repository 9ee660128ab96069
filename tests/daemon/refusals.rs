//! How the daemon says no: the status, the words, and to whom the words go.

use std::time::Duration;

use crate::chat::room;
use crate::kit::{Act, Daemon, Setup};

#[test]
fn a_refused_command_has_a_status_that_says_why() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let carol = daemon.udp("carol");
    room("team", &alice, &[&bob]);
    let table: &[(&str, &str, &str, u16)] = &[
        // who, to, text, status
        ("bob", "team", "#destroy", 603),
        ("bob", "team", "#remove alice", 603),
        ("bob", "team", "#modify bob owner", 603),
        ("bob", "team", "#invite carol", 603),
        ("carol", "team", "#leave", 603),
        ("carol", "team", "#members", 603),
        ("alice", "team", "#leave", 603),
        ("alice", "team", "#remove zoe", 404),
        ("alice", "team", "#remove alice", 603),
        ("alice", "team", "#remove", 400),
        ("alice", "team", "#invite", 400),
        ("alice", "team", "#modify bob king", 400),
        ("alice", "team", "#frobnicate", 400),
        ("alice", "chat-manager", "#members nowhere", 404),
        ("alice", "chat-manager", "#destroy nowhere", 404),
        ("alice", "chat-manager", "#create bob", 603),
        ("alice", "chat-manager", "#create lair@elsewhere.example", 603),
        ("alice", "chat-manager", "#join lair@elsewhere.example", 603),
        ("alice", "team", "#invite eve@elsewhere.example", 603),
        ("alice", "team", "#add eve@elsewhere.example", 603),
        ("alice", "no-such-place", "hello", 404),
        ("carol", "team", "hello", 603),
        ("alice", "team", "#join", 202),
        ("alice", "team", "#create", 202),
    ];
    for (who, to, text, status) in table {
        let phone = [&alice, &bob, &carol].into_iter().find(|p| p.user() == *who).unwrap();
        let answer = phone.say(to, text);
        assert_eq!(answer.status(), *status, "{who} > {to}: {text:?} was answered {}", answer.start);
        assert!(!answer.reason().is_empty(), "a reason phrase helps: {}", answer.start);
        assert!(answer.body.is_empty() && answer.get("Contact").is_none(), "{answer:?}");
    }
    // Nobody lost anything by all this.
    bob.expect(202, "team", "still here");
    alice.hears("[bob]: still here");
}

#[test]
fn a_refusal_is_also_said_in_words() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    carol.expect(603, "team", "hello");
    let words = carol.hears("*** You are not a member of this room. Send #join to join it.");
    assert_eq!(words.address("From"), "sip:team@example.org", "words come from the room");
    alice.expect(603, "team", "#leave");
    alice.hears(
        "*** You are the room's owner and cannot leave. Use #destroy if you wish to destroy the room.",
    );
    alice.expect(400, "team", "#frobnicate");
    alice.hears("*** Invalid command 'frobnicate' (send '#help' for help)");
    alice.expect(202, "team", "#join");
    alice.hears("*** You are in the room already");
    alice.expect(202, "team", "#create");
    alice.hears("*** Room already exists and you are a member");
    let before = bob.taken().len();
    bob.expect(603, "team", "#remove alice");
    bob.until("words about #remove", |all| {
        all[before..].iter().any(|g| g.msg.sender_user() == "team" && g.msg.text().starts_with("*** "))
    });
}

#[test]
fn the_same_refusal_is_said_once_a_minute() {
    let daemon = Daemon::open();
    let (alice, carol) = (daemon.udp("alice"), daemon.udp("carol"));
    room("team", &alice, &[]);
    for n in 0..5 {
        carol.expect(603, "team", &format!("hello {n}"));
    }
    carol.expect(202, "team", "#join");
    carol.hears("*** [carol] has joined the room");
    let words = carol.texts().iter().filter(|t| t.starts_with("*** You are not a member")).count();
    assert_eq!(words, 1, "{:?}", carol.texts());
}

#[test]
fn addresses_that_are_not_ours_are_refused_by_kind() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    assert_eq!(alice.say("tel:+4930123456", "call me").status(), 416);
    assert_eq!(
        alice.say("sip:bob@elsewhere.example", "hi").status(),
        603,
        "nothing leaves for other domains"
    );
    let team = alice.say("im:team@example.org", "#create");
    assert_eq!(team.status(), 202, "im: names the same account as sip:");
    alice.expect(202, "TEAM", "case does not matter");
    let by_ip = format!("sip:team@{}", daemon.addr);
    assert_eq!(alice.say(&by_ip, "nor does the listener's own address").status(), 202);
}

#[test]
fn a_body_above_the_limit_is_413_and_the_limit_itself_is_not() {
    let daemon = Setup::new().set("limits.message_bytes", "4000").start();
    let (alice, bob) = (daemon.tcp("alice"), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    let long = "x".repeat(4000);
    alice.expect(202, "team", &long);
    bob.hears(&format!("[alice]: {long}"));
    alice.expect(413, "team", &"x".repeat(4001));
    alice.expect(202, "team", "after");
    bob.hears("[alice]: after");
    assert!(!bob.texts().iter().any(|t| t.len() > 4100));
}

#[test]
fn a_sender_over_his_rate_gets_480_with_retry_after_and_others_do_not() {
    let daemon = Setup::new().set("limits.posts_per_s", "2").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let refused = (0..100).map(|n| alice.say("team", &format!("flood {n}"))).find(|a| a.status() != 202);
    let refused = refused.expect("100 posts at once are over 2 a second with a burst of 5 s");
    assert_eq!(refused.status(), 480);
    assert!(refused.get("Retry-After").is_some(), "{refused:?}");
    bob.expect(202, "team", "my own rate");
    alice.hears("[bob]: my own rate");
}

#[test]
fn max_forwards_of_zero_is_483_and_nothing_is_said() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let spent = alice.ask(alice.message("team", "spent").hops(0));
    assert_eq!(spent.status(), 483, "{}", spent.start);
    alice.expect(202, "team", "fresh");
    bob.hears("[alice]: fresh");
    bob.never_heard("[alice]: spent");
    assert!(daemon.options(Duration::from_secs(5)).is_some());
}

#[test]
fn nothing_that_could_end_a_header_gets_through_a_command() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    for name in ["a\"b", "a<b>", "x%0d%0aEvil:%201", "a\u{1}b", "ü", "a@b@c", "[::1", "sip:", "@", "%00"] {
        let answer = alice.say("chat-manager", &format!("#invite {name} team"));
        assert!(
            (400..700).contains(&answer.status()) || answer.status() == 202,
            "{name:?}: {}",
            answer.start
        );
    }
    alice.expect(202, "team", "after all that");
    bob.hears("[alice]: after all that");
    for got in alice.got().iter().chain(&bob.got()) {
        assert!(got.msg.get("Evil").is_none(), "a header was injected: {:?}", got.msg);
    }
}

#[test]
fn an_invitation_that_the_phone_refuses_is_withdrawn_and_the_inviter_hears_of_it() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.say("team", "#create");
    bob.responds(|_| Act::Answer(603));
    alice.say("team", "#invite bob");
    alice.hears("*** [bob] could not be invited");
    bob.responds(|_| Act::Answer(200));
    bob.expect(404, "team", "#accept");
}

#[test]
fn a_recipient_and_a_room_over_their_rate_get_no_more_for_a_while_and_others_do() {
    let daemon = Setup::new()
        .set("limits.posts_per_s", "1000")
        .set("limits.recipient_per_s", "1")
        .set("limits.room_per_s", "1")
        .start();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    alice.expect(202, "team", "#create");
    bob.expect(202, "team", "#join");
    for (to, taken, why) in [
        ("carol", 200, "Too Many Messages for This Recipient, Slow Down"),
        ("team", 202, "Too Many Messages in This Room, Slow Down"),
    ] {
        // A burst of five, then one a second; who asks a little slower is given a few more.
        let mut answers = Vec::new();
        for n in 0..30 {
            let sender = if n % 2 == 0 { &alice } else { &bob };
            answers.push(sender.say(to, &format!("message {n}")));
        }
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == 480).collect();
        assert!(refused.len() >= 10, "{to}: {} of 30 were refused", refused.len());
        assert!(refused.iter().all(|answer| answer.reason() == why && answer.get("Retry-After").is_some()));
        assert!(answers[..5].iter().all(|answer| answer.status() == taken), "{to}");
    }
    alice.expect(200, "bob", "to another");
    carol.expect(202, "elsewhere", "#create");
    carol.expect(202, "elsewhere", "in another");
}

#[test]
fn who_writes_to_many_who_never_wrote_to_him_is_slowed_down() {
    let daemon =
        Setup::new().set("limits.posts_per_s", "1000").set("limits.first_contacts_per_h", "2").start();
    let spammer = daemon.udp("spammer");
    let people: Vec<_> = ["ann", "ben", "cat", "dan"].map(|name| daemon.udp(name)).into();
    people[3].expect(200, "spammer", "he is a friend");
    for (n, status) in [(0, 200), (1, 200), (2, 480), (3, 200), (0, 200), (2, 480)] {
        let answer = spammer.say(people[n].user(), "buy this");
        assert_eq!(answer.status(), status, "to {}", people[n].user());
        if status == 480 {
            assert_eq!(answer.reason(), "Too Many New Conversations, Slow Down");
            assert!(answer.header("Retry-After").parse::<u32>().unwrap() > 60);
        }
    }
    // Who answers him has made his acquaintance.
    people[2].expect(200, "spammer", "what do you sell?");
    spammer.expect(200, "cat", "this");
}
