//! Phones of three makes see each other come, be busy and leave, with the configuration as it is shipped; and the lamp
//! of one is lit.

use crate::kit::{Baresip, Daemon, Linphone, MANAGER, Phone, Sipp, Transport, User, installed};

#[test]
fn two_people_see_each_other_come_be_busy_and_leave_over_udp() {
    see_each_other(Transport::Udp);
}

#[test]
fn two_people_see_each_other_come_be_busy_and_leave_over_tcp() {
    see_each_other(Transport::Tcp);
}

/// Nobody is asked: each looks at the other. linphonec looks by a list.
fn see_each_other(transport: Transport) {
    if !installed(&["baresip", "linphonec"]) {
        return;
    }
    let daemon = Daemon::open();
    let mut alice = Baresip::start(&daemon, User::new("alice", transport).watching(&["bob"]));
    let mut bob = Linphone::start(&daemon, User::new("bob", transport).watching(&["alice", "carol"]));
    bob.sees("alice", "Online");
    alice.finds("bob", "Online");
    // None of the two has a key for it.
    alice.send(MANAGER, "#status busy");
    bob.sees("alice", "Busy");
    bob.send(MANAGER, "#status busy");
    alice.finds("bob", "Busy");
    bob.send(MANAGER, "#status auto");
    alice.finds("bob", "Online");
    bob.quit();
    alice.finds("bob", "Offline");
    bob.come_back();
    bob.sees("alice", "Busy");
    alice.finds("bob", "Online");
    alice.quit();
    bob.sees("alice", "Offline");
}

#[test]
fn linphone_sees_all_its_friends_by_one_subscription() {
    if !installed(&["baresip", "linphonec"]) {
        return;
    }
    let daemon = Daemon::open();
    let friend = |name| User::new(name, Transport::Udp).watching(&["bob"]);
    let mut bob =
        Linphone::start(&daemon, User::new("bob", Transport::Udp).watching(&["alice", "carol", "dave"]));
    let mut alice = Baresip::start(&daemon, friend("alice"));
    bob.sees("alice", "Online");
    let mut carol = Baresip::start(&daemon, friend("carol"));
    bob.sees("carol", "Online");
    // That of the list, and one each of alice and carol.
    assert_eq!(daemon.count("subscriptions"), 3);
    alice.quit();
    bob.sees("alice", "Offline");
    carol.quit();
    bob.sees("carol", "Offline");
}

#[test]
fn a_script_publishes_and_subscribes_with_a_password_over_udp() {
    publish_and_subscribe(Transport::Udp);
}

#[test]
fn a_script_publishes_and_subscribes_with_a_password_over_tcp() {
    publish_and_subscribe(Transport::Tcp);
}

fn publish_and_subscribe(transport: Transport) {
    if !installed(&["sipp"]) {
        return;
    }
    let daemon = Daemon::digest();
    let phone = |name, password| {
        daemon.add_account(name, password);
        Sipp::switched_off(&daemon, User::with_password(name, password, transport))
    };
    let (alice, bob) = (phone("alice", "wonderland"), phone("bob", "builder"));
    let mut of_alice = alice.watch("bob");
    of_alice.is_told("pending");
    let mut of_bob = bob.watch("alice");
    of_bob.is_told("active");
    of_alice.is_told("active");
    alice.publish();
    bob.publish();
    of_alice.ends();
    of_bob.ends();
}

#[test]
fn a_lamp_is_lit_while_a_message_waits_for_another_phone() {
    if !installed(&["baresip", "linphonec", "sipp"]) {
        return;
    }
    let daemon = Daemon::open();
    let mut mobile = Linphone::start(&daemon, User::new("alice", Transport::Tcp));
    mobile.quit();
    let mut desk = Baresip::start(&daemon, User::new("alice", Transport::Udp).with_a_lamp());
    desk.counts(0, 0);
    // baresip takes every message; not registered, it still has its subscription.
    Sipp::switched_off(&daemon, User::new("alice", Transport::Udp)).unregister();
    let mut bob = Sipp::start(&daemon, User::new("bob", Transport::Udp));
    bob.send("alice", "call me back");
    desk.counts(1, 0);
    mobile.come_back();
    mobile.hears("bob", "call me back");
    desk.counts(0, 1);
}
