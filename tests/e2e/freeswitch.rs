//! The daemon behind a real FreeSWITCH, as `examples/freeswitch/` puts it there.
//!
//! Debian 12 has no FreeSWITCH: that test runs where somebody has installed one, and says so where it does not. That the
//! files are well-formed is tested everywhere.

use crate::kit::{
    Baresip, Daemon, FreeSwitch, Phone, ROOM, Transport, User, free_port, installed, post, there,
};
use std::path::Path;
use std::process::Command;

#[test]
fn its_files_are_well_formed() {
    if !installed(&["xmllint"]) {
        return;
    }
    for file in ["imcd_profile.xml", "imcd_chatplan.xml"] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/freeswitch").join(file);
        let output = Command::new("xmllint").arg("--noout").arg(&example).output().expect("xmllint starts");
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Rooms and words between two people who are there, over a kill of the daemon. Who is away is not part of it: a
/// FreeSWITCH takes what is for him and drops it.
#[test]
fn an_evening_behind_a_freeswitch() {
    if !there("freeswitch") || !installed(&["baresip"]) {
        return;
    }
    let port = free_port();
    let freeswitch = FreeSwitch::start(port);
    let mut imcd = Daemon::behind(port, freeswitch.inner_port);
    let user = |name, password| User::with_password(name, password, Transport::Udp);
    let mut alice = Baresip::start(&freeswitch, user("alice", "change-me-alice"));
    let mut bob = Baresip::start(&freeswitch, user("bob", "change-me-bob"));
    let mut carol = Baresip::start(&freeswitch, user("carol", "change-me-carol"));
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    for (phone, name) in [(&mut bob as &mut dyn Phone, "bob"), (&mut carol, "carol")] {
        phone.send(ROOM, "#join");
        phone.hears(ROOM, &format!("*** [{name}] has joined the room"));
    }
    alice.hears(ROOM, "*** [carol] has joined the room");
    post(&mut alice, "alice", "hello through FreeSWITCH", &mut [&mut bob, &mut carol]);
    alice.send("bob", "between the two of us");
    bob.hears("alice", "between the two of us");
    imcd.crash();
    post(&mut carol, "carol", "hello back", &mut [&mut alice, &mut bob]);
    bob.quit();
    bob.come_back();
    post(&mut alice, "alice", "there again", &mut [&mut bob, &mut carol]);
    assert!(!carol.shown().contains("between the two"), "{}", carol.shown());
}
