//! Messages from person to person: who is told what, and when (spec §5.4, §5.5).

use crate::kit::{Act, Daemon, Phone, Req, Setup, token};

#[test]
fn what_every_device_refuses_for_good_is_refused_and_withdrawn() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    for (answer, told) in [(603, 603), (415, 415), (404, 480), (403, 480)] {
        bob.register();
        bob.responds(move |_| Act::Answer(answer));
        let text = format!("refused with {answer}");
        alice.expect(told, "bob", &text);
        bob.offered(&text);
        bob.responds(|_| Act::Answer(200));
        bob.register();
        let after = format!("after {answer}");
        alice.expect(200, "bob", &after);
        bob.hears(&after);
        bob.never_heard(&text);
    }
    bob.one_at_a_time();
}

#[test]
fn without_storage_nobody_to_take_it_means_480() {
    let daemon = Setup::new().set("offline.enabled", "false").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(200, "bob", "online");
    bob.hears("online");
    bob.unregister();
    alice.expect(480, "bob", "offline");
    bob.register();
    alice.expect(200, "bob", "online again");
    bob.hears("online again");
    bob.never_heard("offline");
}

#[test]
fn a_full_mailbox_means_480_and_what_is_in_it_stays() {
    let daemon = Setup::new().set("offline.max_messages", "5").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.unregister();
    for n in 0..5 {
        alice.expect(202, "bob", &format!("letter {n}"));
    }
    alice.expect(480, "bob", "letter 5");
    bob.register();
    bob.hears("letter 4");
    alice.expect(200, "bob", "letter 6");
    bob.hears("letter 6");
    let expected = ["letter 0", "letter 1", "letter 2", "letter 3", "letter 4", "letter 6"];
    assert_eq!(bob.texts(), expected);
}

/// The same request by another way: another branch, nothing else.
fn repeat(phone: &Phone, request: &Req) -> u16 {
    let copy = Req { branch: format!("z9hG4bK{}", token()), ..request.clone() };
    phone.ask(copy).status()
}

#[test]
fn a_repetition_is_answered_as_the_first_was_also_after_a_restart() {
    let mut daemon = Setup::new().set("offline.max_messages", "1").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let taken = alice.message("bob", "taken");
    assert_eq!(alice.ask(taken.clone()).status(), 200);
    assert_eq!(repeat(&alice, &taken), 200);
    bob.unregister();
    let kept = alice.message("bob", "kept");
    assert_eq!(alice.ask(kept.clone()).status(), 202);
    assert_eq!(alice.say("bob", "one too many").status(), 480);
    // It is in the mailbox that is full.
    assert_eq!(repeat(&alice, &kept), 202);
    daemon.terminate();
    daemon.restart();
    assert_eq!((repeat(&alice, &taken), repeat(&alice, &kept)), (200, 202));
    bob.back();
    bob.hears("kept");
    alice.expect(200, "bob", "the end");
    bob.hears("the end");
    assert_eq!(bob.texts(), ["taken", "kept", "the end"]);
}

#[test]
fn what_was_refused_and_withdrawn_is_not_called_accepted_when_it_is_repeated() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.responds(|_| Act::Answer(603));
    let unwanted = alice.message("bob", "unwanted");
    assert_eq!(alice.ask(unwanted.clone()).status(), 603);
    assert_eq!(repeat(&alice, &unwanted), 603);
    bob.responds(|_| Act::Answer(200));
    // A third attempt is one: what is answered with 2xx is heard.
    assert_eq!(repeat(&alice, &unwanted), 200);
    bob.hears("unwanted");
}

#[test]
fn a_binding_that_answers_404_is_not_used_until_it_registers_anew() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.responds(|_| Act::Answer(404));
    alice.say("bob", "first");
    bob.offered("first");
    bob.responds(|_| Act::Answer(200));
    alice.expect(202, "bob", "second");
    alice.expect(202, "bob", "third");
    let texts: Vec<String> = bob.got().iter().map(|g| g.msg.text()).collect();
    assert_eq!(texts, ["first"], "the binding was used again");
    bob.register();
    bob.hears("third");
    let texts: Vec<String> = bob.texts().into_iter().filter(|t| t != "first").collect();
    assert_eq!(texts, ["second", "third"]);
}

#[test]
fn copies_of_letters_go_to_the_authors_other_devices_at_once_and_after_an_absence() {
    let mut daemon = Setup::new().set("delivery.copy_to_sender", "true").start();
    let desk = daemon.phone("alice").instance(1).registered();
    let mobile = daemon.phone("alice").instance(2).registered();
    let bob = daemon.udp("bob");
    desk.expect(200, "bob", "from my desk");
    bob.hears("from my desk");
    let copy = mobile.hears("[alice]: from my desk");
    assert_eq!(copy.address("From"), "sip:bob@example.org");
    assert_eq!(copy.address("To"), "sip:alice@example.org");
    mobile.expect(200, "bob", "from my pocket");
    desk.hears("[alice]: from my pocket");
    mobile.unregister();
    desk.expect(200, "bob", "while the mobile is off");
    bob.expect(202, "team", "#create");
    desk.expect(202, "team", "#join");
    bob.hears("*** [alice] has joined the room");
    desk.expect(202, "team", "to all");
    bob.expect(200, "alice", "and back");
    daemon.terminate();
    daemon.restart();
    mobile.back();
    mobile.hears_that("what bob wrote", |m| m.text().ends_with("and back"));
    let texts: Vec<String> = mobile.texts();
    assert_eq!(
        texts[1..],
        [
            "[alice]: while the mobile is off",
            "*** [alice] has joined the room",
            "[alice]: to all",
            "and back"
        ],
    );
    assert!(desk.texts().iter().all(|text| !text.contains("from my desk") && !text.contains("to all")));
}

#[test]
fn without_copies_nobody_gets_what_he_wrote_and_nothing_of_it_waits() {
    let daemon = Setup::new().set("offline.max_messages", "2").start();
    let (alice, mobile) =
        (daemon.phone("alice").instance(1).registered(), daemon.phone("alice").instance(2).registered());
    let bob = daemon.udp("bob");
    mobile.unregister();
    for n in 0..5 {
        alice.expect(200, "bob", &format!("letter {n}"));
    }
    alice.unregister();
    // His own copies do not fill his mailbox.
    bob.expect(202, "alice", "one");
    bob.expect(202, "alice", "two");
    bob.expect(480, "alice", "three");
    mobile.register();
    mobile.hears("two");
    assert_eq!(mobile.texts(), ["one", "two"]);
}
