//! What waits for somebody who is away: which phones it is for, who is told, what the administrator can do.

use crate::kit::{Act, Daemon, Phone, Setup};

/// What it printed, without the blanks that make it readable.
fn json(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn what_waits_is_not_sent_to_a_phone_that_does_not_take_message() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let desk = daemon.phone("bob").header("Allow: INVITE, ACK, BYE, CANCEL, OPTIONS").registered();
    alice.expect(202, "bob", "for later");
    // It is told that it is registered all the same, also after a restart.
    let contacts = json(&daemon.imcctl(&["--json", "account", "list"]));
    assert!(contacts.contains("\"account\":\"bob@example.org\",\"contacts\":1"), "{contacts}");
    daemon.kill_and_restart();
    alice.expect(202, "bob", "for later, too");
    let mobile = daemon.phone("bob").header("Allow: INVITE, ACK, MESSAGE").registered();
    mobile.hears("for later, too");
    assert_eq!(mobile.texts(), ["for later", "for later, too"]);
    alice.expect(200, "bob", "now");
    assert!(desk.got().is_empty(), "it was sent a message");
}

#[test]
fn the_sender_is_told_once_that_the_recipient_is_away() {
    let daemon = Setup::new().set("offline.notice", "\"*** User %u is offline! It waits.\"").start();
    let (alice, carol) = (daemon.udp("alice"), daemon.udp("carol"));
    let bob = daemon.udp("bob");
    alice.expect(200, "bob", "are you there?");
    bob.unregister();
    alice.expect(202, "bob", "and now?");
    let notice = alice.hears("*** User bob is offline! It waits.");
    assert!(notice.header("From").contains("<sip:chat-manager@"), "{notice:?}");
    alice.expect(202, "bob", "still?");
    // A machine is not told: it might answer.
    let machine = carol.message("bob", "I am on holiday").header("Auto-Submitted: auto-replied");
    assert_eq!(carol.ask(machine).status(), 202);
    carol.expect(202, "bob", "and I am a person");
    carol.hears("*** User bob is offline! It waits.");
    // Everything that was to come has come: the same notice would have come before this.
    bob.register();
    bob.hears("and I am a person");
    alice.expect(200, "alice", "to myself");
    alice.hears("to myself");
    let notices = |phone: &Phone| phone.texts().iter().filter(|t| t.contains("offline!")).count();
    assert_eq!((notices(&alice), notices(&carol)), (1, 1));
}

#[test]
fn the_administrator_lists_throws_away_and_delivers_what_waits() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.responds(|_| Act::Answer(480));
    alice.expect(202, "bob", "a secret");
    bob.offered("a secret");
    alice.expect(202, "bob", "another one");
    let list = json(&daemon.imcctl(&["--json", "offline", "list", "bob"]));
    assert!(list.contains("\"from\":\"alice@example.org\"") && list.contains("\"bytes\":11"), "{list}");
    assert!(!list.contains("secret"), "a text is shown: {list}");
    assert_eq!(list, json(&daemon.imcctl(&["--json", "offline", "list"])));

    let purged = json(&daemon.imcctl(&["--json", "offline", "purge", "bob"]));
    assert!(purged.contains("\"purged\":2"), "{purged}");
    assert_eq!(json(&daemon.imcctl(&["--json", "offline", "list"])), "[]");
    alice.expect(202, "bob", "kept");
    bob.responds(|_| Act::Answer(200));
    // Paused after the 480: nothing would come for half a minute.
    let delivered = json(&daemon.imcctl(&["--json", "offline", "deliver", "bob"]));
    assert!(delivered.contains("\"ways\":1"), "{delivered}");
    bob.hears("kept");
    assert_eq!(bob.texts(), ["kept"]);
    for (args, code) in [(["offline", "purge", "nobody"], 1), (["offline", "deliver", "nobody"], 1)] {
        assert_eq!(daemon.imcctl(&args).status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn the_administrator_says_something_in_somebodys_name() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, "team", "#create");
    bob.expect(202, "team", "#join");
    json(&daemon.imcctl(&["message", "send", "alice", "bob", "#no command here"]));
    let letter = bob.hears("#no command here");
    assert!(letter.header("From").contains("<sip:alice@"), "{letter:?}");
    json(&daemon.imcctl(&["message", "send", "chat-manager", "bob", "The server moves tonight"]));
    assert!(bob.hears("The server moves tonight").header("From").contains("chat-manager@"));
    json(&daemon.imcctl(&["message", "send", "alice", "team", "hello"]));
    bob.hears("[alice]: hello");
    let refused = [["nobody", "bob"], ["alice", "nobody"], ["chat-manager", "team"]];
    for [from, to] in refused {
        let output = daemon.imcctl(&["message", "send", from, to, "x"]);
        assert_eq!(output.status.code(), Some(1), "{from} {to}: {output:?}");
    }
}

#[test]
fn what_has_expired_leaves_its_place_and_is_never_sent() {
    let daemon = Setup::new().set("offline.max_messages", "1").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.unregister();
    let request = alice.message("bob", "gone soon").header("Expires: 1");
    assert_eq!(alice.ask(request).status(), 202);
    // There is no place until it has expired.
    let deadline = std::time::Instant::now() + crate::kit::PATIENCE;
    let mut refused = 0;
    while alice.say("bob", "in its place").status() != 202 {
        refused += 1;
        assert!(std::time::Instant::now() < deadline, "it never made room");
    }
    assert!(refused > 0, "there was room for two");
    bob.register();
    bob.hears("in its place");
    assert_eq!(bob.texts(), ["in its place"]);
}
