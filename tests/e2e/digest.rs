//! The same evening with passwords: accounts made with `imcctl`, every request challenged.

use crate::kit::{Baresip, Daemon, Linphone, Sipp, Transport, User, installed};
use crate::rooms::converse;

#[test]
fn phones_with_passwords_share_a_room_over_udp() {
    share_a_room(Transport::Udp);
}

#[test]
fn phones_with_passwords_share_a_room_over_tcp() {
    share_a_room(Transport::Tcp);
}

fn share_a_room(transport: Transport) {
    if !installed(&["baresip", "linphonec", "sipp"]) {
        return;
    }
    let daemon = Daemon::digest();
    for (name, password) in [("alice", "wonderland"), ("bob", "builder"), ("carol", "singer")] {
        daemon.add_account(name, password);
    }
    let accounts = daemon.imcctl(&["account", "list"]);
    for name in ["alice", "bob", "carol"] {
        assert!(accounts.contains(name), "imcctl account list does not name {name}:\n{accounts}");
    }
    let mut alice = Baresip::start(&daemon, User::with_password("alice", "wonderland", transport));
    let mut bob = Linphone::start(&daemon, User::with_password("bob", "builder", transport));
    let mut carol = Sipp::start(&daemon, User::with_password("carol", "singer", transport));
    converse(&mut alice, &mut bob, &mut carol);
}
