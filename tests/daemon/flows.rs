//! Flows by which a phone is reached (RFC 5626): those that are asked for signs of life, and those that others stand in for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::kit::{Act, Daemon, Over, Phone, Setup};

fn pick_up(silent: &Arc<AtomicBool>, phone: &Phone) {
    let silent = silent.clone();
    phone.responds(move |_| if silent.load(Ordering::Relaxed) { Act::Silence } else { Act::Answer(200) });
}

#[test]
fn a_flow_without_the_signs_of_life_that_it_was_asked_for_is_closed_and_the_phone_is_away() {
    let daemon = Setup::new().set("sip.flow_timer_s", "2").start();
    let alice = daemon.udp("alice");
    let quiet = daemon.phone("bob").instance(1).flow(1).over(Over::Tcp).up();
    assert_eq!(quiet.register().header("Flow-Timer"), "2");
    let pings = daemon.phone("carol").instance(2).flow(1).over(Over::Tcp).up();
    assert_eq!(pings.register().header("Flow-Timer"), "2");
    // Not asked: one without outbound, and one whose answer goes in datagrams.
    let plain = daemon.phone("dave").instance(3).over(Over::Tcp).up();
    let datagrams = daemon.phone("erin").instance(4).flow(1).up();
    for phone in [&plain, &datagrams] {
        assert_eq!(phone.register().get("Flow-Timer"), None);
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            while !quiet.is_broken() && !pings.is_broken() {
                let seen = pings.keepalives();
                // Two of them: two pongs are what the phone counts as one.
                pings.raw(b"\r\n\r\n\r\n\r\n");
                pings.until_keepalives(seen + 1);
            }
        });
        quiet.until_broken();
    });
    for (name, phone) in [("carol", &pings), ("dave", &plain), ("erin", &datagrams)] {
        alice.expect(200, name, "are you there?");
        phone.hears("are you there?");
        phone.check(!phone.is_broken(), "its connection stays");
    }
    alice.expect(202, "bob", "are you there?");
    quiet.back();
    quiet.hears("are you there?");
    alice.expect(200, "bob", "good");
}

#[test]
fn no_flow_timer_is_offered_where_it_is_switched_off() {
    let daemon = Setup::new().set("sip.flow_timer_s", "0").start();
    let bob = daemon.phone("bob").instance(1).flow(1).over(Over::Tcp).up();
    let answer = bob.register();
    assert_eq!((answer.header("Require"), answer.get("Flow-Timer")), ("outbound", None));
}

#[test]
fn an_older_flow_takes_what_the_newest_does_not_and_the_newest_is_first_again_when_it_registers() {
    let daemon = Setup::new().set("sip.t1_ms", "50").start();
    let alice = daemon.udp("alice");
    let older = daemon.phone("bob").instance(1).flow(1).registered();
    let newest = daemon.phone("bob").instance(1).flow(2).over(Over::Tcp).registered();
    alice.expect(200, "bob", "to the newest");
    newest.hears("to the newest");
    let silent = Arc::new(AtomicBool::new(true));
    pick_up(&silent, &newest);
    alice.expect(202, "bob", "to the older one");
    let (first, second) = (newest.offered("to the older one").msg, older.hears("to the older one"));
    assert_eq!(first.call_id(), second.call_id());
    assert_ne!(first.branch(), second.branch());
    // It stays where it was found …
    alice.expect(200, "bob", "here again");
    older.hears("here again");
    // … until the other one shows itself.
    silent.store(false, Ordering::Relaxed);
    newest.register();
    alice.expect(200, "bob", "to the newest again");
    newest.hears("to the newest again");
    for (phone, heard) in [(&older, 2), (&newest, 2)] {
        assert_eq!(phone.texts().len(), heard, "{:?}", phone.texts());
    }
}

#[test]
fn a_connection_that_breaks_hands_over_to_the_older_flow_at_once() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let older = daemon.phone("bob").instance(1).flow(1).over(Over::Tcp).registered();
    let newest = daemon.phone("bob").instance(1).flow(2).over(Over::Tcp).registered();
    newest.responds(|_| Act::Silence);
    thread::scope(|scope| {
        // Its own answer waits 2 s at most; nobody waits for Timer F.
        scope.spawn(|| alice.say("bob", "on its way"));
        newest.offered("on its way");
        newest.hang_up();
        older.hears("on its way");
    });
    alice.expect(200, "bob", "and the next");
    older.hears("and the next");
    // Nothing is left of it: a device without a flow is away.
    older.hang_up();
    older.until_broken();
    newest.responds(|_| Act::Answer(200));
    newest.back();
    alice.expect(200, "bob", "back");
    newest.hears("back");
    newest.never_heard("and the next");
}
