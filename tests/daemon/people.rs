//! What people set for themselves, and who may write to them (spec §3, §4).

use crate::kit::{Daemon, Setup};

const MANAGER: &str = "chat-manager";

#[test]
fn settings_are_shown_changed_and_kept_over_a_kill() {
    let mut daemon = Daemon::open();
    let bob = daemon.udp("bob");
    bob.expect(202, MANAGER, "#settings");
    bob.hears(
        "Your settings:\n\
         accept everybody - who may write to you; authenticated: users of this server \
         (everybody, authenticated, same-domain or nobody)\n\
         offline on - messages wait while none of your phones takes them (on or off)\n\
         archive on - what you wrote and got is kept for you to read again (on or off)\n\
         lastseen off - others may see when you were last there (off or on)\n\
         Blocked: nobody",
    );
    bob.expect(202, MANAGER, "#set ACCEPT Same-Domain");
    bob.hears("*** accept is now same-domain");
    bob.expect(202, MANAGER, "#block mallory");
    bob.hears("*** mallory@example.org cannot write to you any more");
    daemon.kill_and_restart();
    bob.expect(202, MANAGER, "#settings");
    bob.hears_that("what he set before the kill", |said| {
        let text = said.text();
        text.contains("\naccept same-domain - ") && text.ends_with("\nBlocked:\nmallory@example.org")
    });
}

#[test]
fn what_cannot_be_set_is_400_and_says_what_can() {
    let daemon = Daemon::open();
    let bob = daemon.udp("bob");
    bob.expect(400, MANAGER, "#set colour red");
    bob.hears("*** There is no setting 'colour'. Send #settings to see them.");
    bob.expect(400, MANAGER, "#set accept friends");
    bob.hears("*** accept can be everybody, authenticated, same-domain or nobody");
    bob.expect(400, MANAGER, "#set accept");
    bob.hears("*** Usage: #set <setting> <value>");
    bob.expect(400, MANAGER, "#block");
    bob.hears("*** Usage: #block <user_name>");
    bob.expect(603, MANAGER, "#block bob");
    bob.hears("*** You cannot block yourself");
    bob.expect(404, "nowhere", "#settings");
}

#[test]
fn they_are_answered_in_a_room_too_by_the_room() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, "team", "#create");
    bob.expect(202, "team", "#set offline off");
    bob.hears("*** offline is now off");
    alice.never_heard("*** offline is now off");
}

#[test]
fn who_is_blocked_may_neither_write_nor_invite() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.expect(202, MANAGER, "#block alice");
    bob.hears("*** alice@example.org cannot write to you any more");
    let answer = alice.say("bob", "let me in");
    assert_eq!((answer.status(), answer.reason()), (603, "The Recipient Takes No Messages from You"));
    alice.expect(202, "team", "#create");
    alice.expect(603, "team", "#invite bob");
    alice.hears("*** [bob] could not be invited");
    alice.expect(603, "team", "#add bob");
    alice.hears("*** [bob] could not be added");
    // What a room says that he belongs to is not a message to him.
    bob.expect(202, "team", "#join");
    alice.expect(202, "team", "hello all");
    bob.hears("[alice]: hello all");
    bob.expect(202, MANAGER, "#unblock alice");
    bob.hears("*** alice@example.org is not blocked any more");
    alice.expect(200, "bob", "thank you");
    bob.hears("thank you");
    bob.never_heard("let me in");
    bob.expect(202, MANAGER, "#unblock alice");
    bob.hears("*** alice@example.org is not blocked");
}

#[test]
fn a_repetition_of_what_was_taken_is_answered_as_before_the_block() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.unregister();
    let sent = alice.send(alice.message("bob", "before"));
    assert_eq!(sent.outcome.as_ref().map(|m| m.status()), Ok(202));
    bob.expect(202, MANAGER, "#block alice");
    let mut again = sent.request.clone();
    again.branch = format!("z9hG4bK{}", crate::kit::token());
    assert_eq!(alice.ask(again).status(), 202);
    alice.expect(603, "bob", "after");
}

#[test]
fn accept_says_who_may_write() {
    let daemon = Setup::new().set("domains", "[\"example.org\", \"example.net\"]").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let abroad = daemon.phone("carol").domain("example.net").registered();
    let stranger = daemon.udp("stranger");
    stranger.unregister();
    for (value, from_alice, from_carol) in [
        ("authenticated", 200, 200),
        ("same-domain", 200, 603),
        ("nobody", 603, 603),
        ("everybody", 200, 200),
    ] {
        bob.expect(202, MANAGER, &format!("#set accept {value}"));
        bob.hears(&format!("*** accept is now {value}"));
        alice.expect(from_alice, "bob", &format!("alice while {value}"));
        abroad.expect(from_carol, "sip:bob@example.org", &format!("carol while {value}"));
    }
    // To himself everybody may write.
    bob.expect(202, MANAGER, "#set accept nobody");
    bob.expect(200, "bob", "a note");
    bob.hears("a note");
}

#[test]
fn without_storage_for_himself_nobody_there_means_480() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.expect(202, MANAGER, "#set offline off");
    bob.hears("*** offline is now off");
    alice.expect(200, "bob", "online");
    bob.unregister();
    alice.expect(480, "bob", "nobody there");
    bob.register();
    alice.expect(200, "bob", "back");
    bob.hears("back");
    bob.never_heard("nobody there");
}

#[test]
fn administrators_see_and_change_what_people_have_set() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let ctl = |args: &[&str]| {
        let done = daemon.imcctl(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, shown, _) = ctl(&["account", "set", "bob", "accept", "nobody"]);
    assert!(code == Some(0) && shown.contains("accept") && shown.contains("nobody"), "{shown}");
    alice.expect(603, "bob", "hello?");
    assert_eq!(ctl(&["account", "set", "bob", "accept", "everybody"]).0, Some(0));
    // However he is spelled.
    assert_eq!(ctl(&["account", "block", "bob@localhost", "sip:alice@localhost"]).0, Some(0));
    alice.expect(603, "bob", "hello again?");
    assert!(ctl(&["account", "blocked", "bob"]).1.contains("alice@example.org"));
    assert_eq!(ctl(&["account", "unblock", "bob", "alice"]).0, Some(0));
    alice.expect(200, "bob", "hello!");
    bob.hears("hello!");
    for (args, words) in [
        (&["account", "set", "bob", "colour", "red"][..], "it can be accept, offline, archive or lastseen"),
        (&["account", "set", "bob", "offline", "red"], "offline can be on or off"),
        (&["account", "set", "nobody", "offline", "on"], "no account nobody@example.org"),
        (&["account", "unblock", "bob", "alice"], "alice@example.org is not blocked by bob@example.org"),
        (&["account", "block", "bob", "sip:Bob@localhost"], "cannot be kept from writing to itself"),
    ] {
        let (code, _, said) = ctl(args);
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn a_message_comes_in_the_name_that_its_author_gave() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let from = |bob: &crate::kit::Phone, text: &str| bob.hears(text).header("From").to_owned();
    alice.expect(200, "bob", "without a name");
    assert!(from(&bob, "without a name").starts_with("\"alice\" <sip:alice@"));
    let named = |name: &str, text: &str| {
        let mut message = alice.message("bob", text);
        message.name = format!("{name} ");
        message
    };
    assert_eq!(alice.ask(named(r#""Alice \"A\" Liddell""#, "with a name")).status(), 200);
    assert!(from(&bob, "with a name").starts_with(r#""Alice \"A\" Liddell" <sip:alice@"#));
    // It stays hers, also for what waits over a kill.
    bob.unregister();
    alice.expect(202, "bob", "later");
    daemon.kill_and_restart();
    bob.register();
    assert!(from(&bob, "later").starts_with(r#""Alice \"A\" Liddell" <"#));
    // In a room the room speaks.
    alice.expect(202, "team", "#create");
    bob.expect(202, "team", "#join");
    alice.expect(202, "team", "in the room");
    assert!(from(&bob, "[alice]: in the room").starts_with("\"team\" <sip:team@"));
}

#[test]
fn the_name_of_a_register_serves_where_messages_have_none() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let mut register = alice.register_request(&alice.contact(), 600);
    register.name = "\"Alice\tof the\u{7f} Phone\" ".into();
    assert_eq!(alice.ask(register).status(), 200);
    alice.expect(200, "bob", "hello");
    let from = bob.hears("hello").header("From").to_owned();
    assert!(from.starts_with("\"Alice") && from.contains("Phone\" <sip:alice@"), "{from}");
    assert!(!from.contains(char::is_control), "{from:?}");
}
