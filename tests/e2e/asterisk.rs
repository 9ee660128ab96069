//! The daemon behind a real Asterisk, as `examples/asterisk/` puts it there.
//!
//! Debian 12 has no Asterisk: this test runs where somebody has installed one, and says so where it does not.

use crate::kit::{
    Asterisk, Baresip, Daemon, Phone, ROOM, Server, Transport, User, free_port, installed, post, there,
};

/// As behind a proxy, but that nobody tells the daemon who is back: he has to say something himself.
#[test]
fn an_evening_behind_an_asterisk() {
    if !there("asterisk") || !installed(&["baresip"]) {
        return;
    }
    let port = free_port();
    let mut asterisk = Asterisk::start(port);
    let mut imcd = Daemon::behind(port, asterisk.port());
    let user = |name, password| User::with_password(name, password, Transport::Udp);
    let mut alice = Baresip::start(&asterisk, user("alice", "change-me-alice"));
    asterisk.finds("alice");
    let mut bob = Baresip::start(&asterisk, user("bob", "change-me-bob"));
    asterisk.finds("bob");
    // Asterisk asks by OPTIONS whether they are there, which sipp does not answer.
    let mut carol = Baresip::start(&asterisk, user("carol", "change-me-carol"));
    asterisk.finds("carol");
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    for (phone, name) in [(&mut bob as &mut dyn Phone, "bob"), (&mut carol, "carol")] {
        phone.send(ROOM, "#join");
        phone.hears(ROOM, &format!("*** [{name}] has joined the room"));
    }
    alice.hears(ROOM, "*** [carol] has joined the room");
    post(&mut alice, "alice", "hello through Asterisk", &mut [&mut bob, &mut carol]);
    post(&mut carol, "carol", "hello back", &mut [&mut alice, &mut bob]);
    alice.send("bob", "between the two of us");
    bob.hears("alice", "between the two of us");

    bob.quit();
    post(&mut alice, "alice", "one", &mut [&mut carol]);
    imcd.crash();
    post(&mut alice, "alice", "two", &mut [&mut carol]);
    carol.send("bob", "call me");
    bob.come_back();
    asterisk.finds("bob");
    post(&mut bob, "bob", "here again", &mut [&mut alice, &mut carol]);
    bob.hears(ROOM, "[alice]: one");
    bob.hears(ROOM, "[alice]: two");
    bob.hears("carol", "call me");
    for text in ["one", "two"] {
        let times = bob.shown().matches(&format!("\"[alice]: {text}\"")).count();
        assert_eq!(times, 1, "bob shows {text:?} {times} times:\n{}", bob.shown());
    }
    assert!(!carol.shown().contains("between the two"), "{}", carol.shown());
}
