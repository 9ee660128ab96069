//! The daemon behind a real Kamailio, as `examples/kamailio.cfg` puts it there: phones know Kamailio alone.

use crate::kit::{Baresip, Daemon, Kamailio, Phone, ROOM, Sipp, Transport, User, free_port, installed, post};

struct House {
    kamailio: Kamailio,
    imcd: Daemon,
}

fn house(defines: &'static [&'static str]) -> Option<House> {
    if !installed(&["kamailio", "baresip", "sipp"]) {
        return None;
    }
    let port = free_port();
    let kamailio = Kamailio::start(port, defines);
    let imcd = Daemon::behind(port, crate::kit::Server::port(&kamailio));
    Some(House { kamailio, imcd })
}

/// Two phones and a third that goes and comes: rooms, a word in private, what was missed, over a kill of the daemon.
fn an_evening(defines: &'static [&'static str]) {
    let Some(House { kamailio, mut imcd }) = house(defines) else { return };
    let mut alice = Baresip::start(&kamailio, User::new("alice", Transport::Udp));
    let mut bob = Baresip::start(&kamailio, User::new("bob", Transport::Udp));
    let mut carol = Sipp::start(&kamailio, User::new("carol", Transport::Udp));
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    for (phone, name) in [(&mut bob as &mut dyn Phone, "bob"), (&mut carol, "carol")] {
        phone.send(ROOM, "#join");
        phone.hears(ROOM, &format!("*** [{name}] has joined the room"));
    }
    alice.hears(ROOM, "*** [carol] has joined the room");
    post(&mut alice, "alice", "hello through the proxy", &mut [&mut bob, &mut carol]);
    post(&mut carol, "carol", "hello back", &mut [&mut alice, &mut bob]);
    alice.send("bob", "between the two of us");
    bob.hears("alice", "between the two of us");

    // He says goodbye: Kamailio does not find him any more.
    bob.quit();
    post(&mut alice, "alice", "one", &mut [&mut carol]);
    carol.send("bob", "call me");
    imcd.crash();
    post(&mut alice, "alice", "two", &mut [&mut carol]);
    bob.come_back();
    bob.hears(ROOM, "[alice]: one");
    bob.hears("carol", "call me");
    bob.hears(ROOM, "[alice]: two");
    post(&mut bob, "bob", "here again", &mut [&mut alice, &mut carol]);
    for text in ["one", "two"] {
        let times = bob.shown().matches(&format!("\"[alice]: {text}\"")).count();
        assert_eq!(times, 1, "bob shows {text:?} {times} times:\n{}", bob.shown());
    }
    assert!(!carol.shown().contains("between the two"), "{}", carol.shown());
}

#[test]
fn an_evening_behind_a_proxy_that_looks_everybody_up() {
    an_evening(&[]);
}

#[test]
fn an_evening_behind_a_proxy_that_passes_registrations_on_with_its_path() {
    an_evening(&["WITH_PATH"]);
}

#[test]
fn a_proxy_that_returns_what_it_cannot_place_makes_no_circle_and_loses_nothing() {
    an_evening(&["RETURN_WHAT_IS_NOT_HERE"]);
}

#[test]
fn a_proxy_that_forgets_everybody_gets_what_waits_when_they_register_again() {
    let Some(House { mut kamailio, imcd }) = house(&[]) else { return };
    let mut alice = Baresip::start(&kamailio, User::new("alice", Transport::Udp));
    let mut bob = Baresip::start(&kamailio, User::new("bob", Transport::Udp));
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    bob.send(ROOM, "#join");
    alice.hears(ROOM, "*** [bob] has joined the room");
    kamailio.restart();
    alice.vanish();
    alice.come_back();
    alice.send(ROOM, "are you there?");
    alice.send("bob", "hello?");
    bob.vanish();
    bob.come_back();
    bob.hears(ROOM, "[alice]: are you there?");
    bob.hears("alice", "hello?");
    drop(imcd);
}
