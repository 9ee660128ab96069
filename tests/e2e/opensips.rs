//! The daemon behind a real OpenSIPS, as `examples/opensips.cfg` puts it there.
//!
//! Debian has no OpenSIPS: these tests run where somebody has installed one, and say so where they do not.

use crate::evening;
use crate::kit::{
    Baresip, Daemon, OpenSips, PATIENCE, Phone, Server, Transport, User, free_port, installed, there,
};
use std::time::Instant;

fn an_evening(tell: &'static str) {
    if !there("opensips") || !installed(&["baresip", "sipp"]) {
        return;
    }
    let port = free_port();
    let opensips = OpenSips::start(port, tell);
    let mut imcd = Daemon::behind(port, opensips.port());
    evening::behind(&opensips, &mut imcd);
}

#[test]
fn an_evening_behind_an_opensips_that_looks_everybody_up() {
    an_evening("SAY_HE_IS_BACK");
}

#[test]
fn an_evening_behind_an_opensips_that_shows_the_way_to_everybody() {
    an_evening("SHOW_THE_WAY");
}

/// As JsSIP asks for it. The daemon holds their contacts only if it took the copies of their REGISTERs.
#[test]
fn a_phone_that_keeps_flows_is_taken_behind_opensips() {
    if !there("opensips") || !installed(&["baresip"]) {
        return;
    }
    let port = free_port();
    let opensips = OpenSips::start(port, "SHOW_THE_WAY");
    let mut imcd = Daemon::behind(port, opensips.port());
    let mut alice = Baresip::start(&opensips, User::new("alice", Transport::Udp).keeping_flows());
    let mut bob = Baresip::start(&opensips, User::new("bob", Transport::Udp).keeping_flows());
    alice.send("bob", "over your flow");
    bob.hears("alice", "over your flow");
    bob.quit();
    alice.send("bob", "for later");
    imcd.crash();
    bob.come_back();
    bob.hears("alice", "for later");
    // OpenSIPS answers first and tells the daemon afterwards.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = imcd.imcctl(&["status"]);
        let contacts = status.lines().find_map(|line| line.strip_prefix("contacts"));
        if contacts.map(str::trim) == Some("2") {
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
    }
}
