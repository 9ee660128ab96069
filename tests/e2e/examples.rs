//! The examples that the README names work against the daemon as it comes.

use crate::kit::{Daemon, Phone, Sipp, Transport, User, installed};
use std::net::SocketAddr;

#[path = "../../examples/room_bot.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod room_bot;
#[path = "../../examples/two_phones.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod two_phones;

#[test]
fn two_phones_hold_their_conversation() {
    let daemon = Daemon::open();
    if let Err(error) = two_phones::conversation(address(&daemon)) {
        panic!("{error}");
    }
}

#[test]
fn the_room_bot_answers_those_who_ask() {
    if !installed(&["sipp"]) {
        return;
    }
    let mut daemon = Daemon::open();
    let server = address(&daemon);
    let mut carol = Sipp::start(&daemon, User::new("carol", Transport::Udp));
    carol.send("lobby", "#create");
    carol.hears("lobby", "*** Room was created");
    // It ends with the test program: a bot ends by Ctrl-C alone.
    std::thread::spawn(move || room_bot::Bot::run("lobby".to_string(), server).map(|_| ()));
    carol.hears("lobby", "*** [bot] has joined the room");
    carol.send("lobby", "!echo is there an echo?");
    carol.hears("lobby", "[bot]: carol says: is there an echo?");
    daemon.restart();
    carol.send("lobby", "!echo still there?");
    carol.hears("lobby", "[bot]: carol says: still there?");
}

fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port))
}
