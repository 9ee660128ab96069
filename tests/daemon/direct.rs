//! Messages from person to person: who is told what, and when (spec §5.4, §5.5).

use crate::kit::{Act, Daemon, Setup};

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
