//! The daemon stops, or is killed, between post and delivery: the phones get what they missed, once and in order.

use crate::kit::{Baresip, Daemon, Linphone, Phone, ROOM, Sipp, Transport, User, installed, post};

struct Evening {
    daemon: Daemon,
    alice: Baresip,
    bob: Linphone,
    carol: Sipp,
}

/// alice, bob and carol in one room.
fn evening(transport: Transport) -> Evening {
    let daemon = Daemon::open();
    let mut alice = Baresip::start(&daemon, User::new("alice", transport));
    let mut bob = Linphone::start(&daemon, User::new("bob", transport));
    let mut carol = Sipp::start(&daemon, User::new("carol", transport));
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    bob.send(ROOM, "#join");
    bob.hears(ROOM, "*** [bob] has joined the room");
    carol.send(ROOM, "#join");
    for phone in [&mut alice as &mut dyn Phone, &mut bob, &mut carol] {
        phone.hears(ROOM, "*** [carol] has joined the room");
    }
    Evening { daemon, alice, bob, carol }
}

/// What bob misses while he is away, before and after the daemon went down and came up.
const MISSED: [&str; 4] = ["one", "two", "three", "four"];

/// bob is away, the daemon goes down in `interruption`, bob comes back.
fn miss_posts(switch_off: fn(&mut dyn Phone), interruption: fn(&mut Daemon)) {
    if !installed(&["baresip", "linphonec", "sipp"]) {
        return;
    }
    let Evening { mut daemon, mut alice, mut bob, mut carol } = evening(Transport::Udp);
    switch_off(&mut bob);
    // carol hears them: then they are in the room, and their order is known.
    for text in &MISSED[..2] {
        post(&mut alice, "alice", text, &mut [&mut carol]);
    }
    carol.send("bob", "call me");
    interruption(&mut daemon);
    // Nobody but bob has to register again: bindings outlive the daemon.
    for text in &MISSED[2..] {
        post(&mut alice, "alice", text, &mut [&mut carol]);
    }
    bob.come_back();
    bob.hears(ROOM, "[alice]: one");
    bob.hears(ROOM, "[alice]: two");
    bob.hears("carol", "call me");
    bob.hears(ROOM, "[alice]: three");
    bob.hears(ROOM, "[alice]: four");

    post(&mut bob, "bob", "back again", &mut [&mut alice, &mut carol]);
    post(&mut alice, "alice", "good", &mut [&mut bob, &mut carol]);
    for text in MISSED {
        let times = bob.shown().matches(&format!("[alice]: {text}\n")).count();
        assert_eq!(times, 1, "bob shows {text:?} {times} times:\n{}", bob.shown());
    }
}

#[test]
fn a_phone_that_was_switched_off_gets_what_it_missed_over_a_restart() {
    miss_posts(|phone| phone.quit(), Daemon::restart);
}

#[test]
fn a_phone_that_lost_its_power_gets_what_it_missed_over_a_crash() {
    miss_posts(|phone| phone.vanish(), Daemon::crash);
}

#[test]
fn phones_on_tcp_that_register_again_after_a_restart_get_what_they_missed_in_order() {
    if !installed(&["baresip", "linphonec", "sipp"]) {
        return;
    }
    let Evening { mut daemon, mut alice, mut bob, mut carol } = evening(Transport::Tcp);
    alice.quit();
    bob.quit();
    carol.send(ROOM, "one");
    carol.send(ROOM, "two");
    daemon.restart();
    // Her connection went with the daemon.
    carol.vanish();
    carol.come_back();
    carol.send(ROOM, "three");
    for phone in [&mut alice as &mut dyn Phone, &mut bob] {
        phone.come_back();
        for text in ["one", "two", "three"] {
            phone.hears(ROOM, &format!("[carol]: {text}"));
        }
    }
    post(&mut alice, "alice", "all here again", &mut [&mut bob, &mut carol]);
    post(&mut bob, "bob", "so are we", &mut [&mut alice, &mut carol]);
}
