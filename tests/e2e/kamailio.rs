//! The daemon behind a real Kamailio, as `examples/kamailio.cfg` puts it there: phones know Kamailio alone.

use crate::evening;
use crate::kit::{Baresip, Daemon, Kamailio, Phone, ROOM, Transport, User, free_port, installed};

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

fn an_evening(defines: &'static [&'static str]) {
    let Some(House { kamailio, mut imcd }) = house(defines) else { return };
    evening::behind(&kamailio, &mut imcd);
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
fn an_evening_behind_a_proxy_that_passes_on_every_register_itself() {
    an_evening(&["PASS_IT_ON"]);
}

/// As JsSIP and others ask for it: with reg-id and `Supported: outbound`, which the first hop has to be able to keep.
#[test]
fn a_phone_that_keeps_flows_is_taken_behind_the_proxy() {
    let Some(House { kamailio, mut imcd }) = house(&["PASS_IT_ON"]) else { return };
    let mut alice = Baresip::start(&kamailio, User::new("alice", Transport::Udp).keeping_flows());
    let mut bob = Baresip::start(&kamailio, User::new("bob", Transport::Udp).keeping_flows());
    alice.send("bob", "over your flow");
    bob.hears("alice", "over your flow");
    imcd.crash();
    bob.send("alice", "and over yours");
    alice.hears("bob", "and over yours");
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
