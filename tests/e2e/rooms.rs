//! Three makes of phone in one room, and a word in private.

use crate::kit::{Baresip, Daemon, Linphone, Phone, ROOM, Sipp, Transport, User, installed, post};

#[test]
fn phones_of_three_makes_share_a_room_over_udp() {
    share_a_room(Transport::Udp);
}

#[test]
fn phones_of_three_makes_share_a_room_over_tcp() {
    share_a_room(Transport::Tcp);
}

fn share_a_room(transport: Transport) {
    if !installed(&["baresip", "linphonec", "sipp"]) {
        return;
    }
    let daemon = Daemon::open();
    let mut alice = Baresip::start(&daemon, User::new("alice", transport));
    let mut bob = Linphone::start(&daemon, User::new("bob", transport));
    let mut carol = Sipp::start(&daemon, User::new("carol", transport));
    converse(&mut alice, &mut bob, &mut carol);
}

/// A whole evening: create, join, post, list, a private word, leave, destroy.
pub fn converse(alice: &mut impl Phone, bob: &mut impl Phone, carol: &mut impl Phone) {
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    bob.send(ROOM, "#join");
    alice.hears(ROOM, "*** [bob] has joined the room");
    bob.hears(ROOM, "*** [bob] has joined the room");
    carol.send(ROOM, "#join");
    for phone in [alice as &mut dyn Phone, bob, carol] {
        phone.hears(ROOM, "*** [carol] has joined the room");
    }

    post(alice, "alice", "hello, everybody", &mut [&mut *bob, &mut *carol]);
    post(bob, "bob", "grüße aus Köln 👋", &mut [&mut *alice, &mut *carol]);
    post(carol, "carol", "who brings the \"cake\"?", &mut [&mut *alice, &mut *bob]);

    carol.send(ROOM, "#members");
    carol.hears(ROOM, "Members:\n*[alice]\n[carol]\n[bob]");

    alice.send("bob", "between the two of us");
    bob.hears("alice", "between the two of us");

    bob.send(ROOM, "#leave");
    for phone in [alice as &mut dyn Phone, bob, carol] {
        phone.hears(ROOM, "*** [bob] has left the room");
    }
    post(alice, "alice", "he is gone", &mut [&mut *carol]);
    // Deliveries to one phone keep their order, so that this one shows what did not come before it.
    alice.send("bob", "are you still there?");
    bob.hears("alice", "are you still there?");
    assert!(!bob.shown().contains("he is gone"), "bob left and still hears:\n{}", bob.shown());
    assert!(!carol.shown().contains("between the two"), "carol hears what is private:\n{}", carol.shown());
    assert!(!alice.shown().contains("[alice]: "), "alice hears her own posts:\n{}", alice.shown());

    alice.send(ROOM, "#destroy");
    carol.hears(ROOM, "*** Room has been destroyed");
    alice.hears(ROOM, "*** Room has been destroyed");
}
