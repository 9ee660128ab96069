//! A word to somebody whose phone is off: he gets it when it is on again, and sees when it was said.

use jiff::{Timestamp, tz::TimeZone};

use crate::kit::{Baresip, Daemon, Linphone, Phone, Transport, User, installed};

const DAY_S: i64 = 86_400;

#[test]
fn two_people_write_to_each_other_and_to_phones_that_are_off_over_udp() {
    write_to_each_other(Transport::Udp);
}

#[test]
fn two_people_write_to_each_other_and_to_phones_that_are_off_over_tcp() {
    write_to_each_other(Transport::Tcp);
}

fn write_to_each_other(transport: Transport) {
    if !installed(&["baresip", "linphonec"]) {
        return;
    }
    let mut daemon = Daemon::open();
    let mut alice = Baresip::start(&daemon, User::new("alice", transport));
    let mut bob = Linphone::start(&daemon, User::new("bob", transport));
    alice.send("bob", "hello bob");
    bob.hears("alice", "hello bob");
    bob.send("alice", "hello alice");
    alice.hears("bob", "hello alice");

    // linphonec puts it in its place among the others, by its Date.
    bob.quit();
    alice.send("bob", "are you asleep?");
    daemon.await_letter("bob");
    let said = daemon.said_earlier(DAY_S);
    bob.come_back();
    bob.hears("alice", "are you asleep?");
    assert_eq!(bob.time_of("are you asleep?"), said);

    // baresip shows no Date: the text says it.
    alice.quit();
    bob.send("alice", "not any more");
    daemon.await_letter("alice");
    let said = daemon.said_earlier(DAY_S);
    alice.come_back();
    let at = Timestamp::from_second(said).expect("a time of our days").to_zoned(TimeZone::system());
    alice.hears("bob", &format!("[Offline message - {}] not any more", at.strftime("%a %b %e %H:%M:%S %Y")));
}
