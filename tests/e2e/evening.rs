//! The evening that goes the same way behind every proxy that looks its people up.

use crate::kit::{Baresip, Daemon, Phone, ROOM, Server, Sipp, Transport, User, post};

/// Two phones and a third that goes and comes: rooms, a word in private, what was missed, over a kill of the daemon.
pub fn behind(proxy: &impl Server, imcd: &mut Daemon) {
    let mut alice = Baresip::start(proxy, User::new("alice", Transport::Udp));
    let mut bob = Baresip::start(proxy, User::new("bob", Transport::Udp));
    let mut carol = Sipp::start(proxy, User::new("carol", Transport::Udp));
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

    // He says goodbye: the proxy does not find him any more.
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
