//! An account that is removed leaves its rooms in order: nobody is listed who is no more, no room is without an owner.

use std::thread;

use serde_json::{Value, json};

use crate::chat::room;
use crate::kit::{Daemon, Phone, Setup};

/// What `imcctl` says of it.
fn remove(daemon: &Daemon, user: &str) -> Value {
    let removed = daemon.imcctl(&["--json", "account", "remove", user]);
    assert!(removed.status.success(), "{removed:?}");
    serde_json::from_slice(&removed.stdout).unwrap()
}

fn members(asker: &Phone, room: &str, list: &str) {
    asker.expect(202, room, "#members");
    asker.hears_that("the members", |m| m.text() == format!("Members:\n{list}"));
}

#[test]
fn an_account_that_goes_leaves_its_rooms_in_order() {
    let daemon = Setup::new().digest().start();
    for name in ["alice", "bob", "carol", "dave"] {
        daemon.account(name, "secret");
    }
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| daemon.udp(name));
    room("team", &alice, &[&bob, &carol]);
    room("club", &bob, &[&alice, &dave]);
    room("den", &alice, &[]);
    alice.expect(202, "team", "#modify carol admin");
    alice.expect(202, "den", "#invite dave");
    bob.expect(202, "club", "#modify alice admin");
    dave.expect(202, "lab", "#create lab private");
    dave.expect(202, "lab", "#invite alice");

    let removed = remove(&daemon, "alice");
    let (team, den) = (json!(["team@example.org to carol@example.org"]), json!(["den@example.org"]));
    let told = json!({ "account": "alice@example.org", "left": 2, "handed_over": team, "destroyed": den });
    assert_eq!(removed, told);
    for phone in [&bob, &carol] {
        phone.hears("*** [alice] has left the room");
        phone.hears("*** sip:carol@example.org is now owner");
    }
    dave.hears("*** [alice] has left the room");
    dave.hears("*** [alice] could not be invited");
    alice.never_heard("*** [alice] has left the room");
    assert_eq!(alice.say("team", "am I still here?").status(), 401);
    carol.expect(202, "team", "the room goes on");
    members(&carol, "team", "*[carol]\n[bob]");
    members(&bob, "club", "*[bob]\n[dave]");
    dave.expect(404, "den", "#accept");
    let again = daemon.imcctl(&["account", "remove", "alice"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");

    let table = daemon.imcctl(&["account", "remove", "bob"]);
    let table = String::from_utf8(table.stdout).unwrap();
    let lines: Vec<_> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "account bob@example.org",
            "left 1",
            "handed_over club@example.org to dave@example.org",
            "destroyed"
        ]
    );
    // Who comes back under the same name is somebody else.
    daemon.account("alice", "secret");
    let alice = daemon.udp("alice");
    alice.expect(603, "team", "hello?");
    alice.expect(202, "team", "#join");
    members(&alice, "team", "*[carol]\n[alice]");
    daemon.must_be_alive();
}

#[test]
fn a_departure_that_was_interrupted_is_gone_on_with() {
    const ROOMS: usize = 128;
    let mut daemon = Setup::new().set("limits.posts_per_s", "0").start();
    daemon.account("alice", "secret");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let name = |n: usize| format!("room-{n}");
    for n in 0..ROOMS {
        alice.expect(202, &name(n), "#create");
        bob.expect(202, &name(n), "#join");
    }
    let left = "*** [alice] has left the room";
    thread::scope(|scope| {
        let removing = scope.spawn(|| daemon.imcctl(&["account", "remove", "alice"]));
        bob.hears(left);
        // It dies with rooms left and rooms to leave, as a rule.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.pid() as i32), nix::sys::signal::SIGKILL)
            .unwrap();
        removing.join().unwrap();
    });
    daemon.kill_and_restart();
    let again = daemon.imcctl(&["account", "remove", "alice"]);
    assert!(matches!(again.status.code(), Some(0 | 1)), "{again:?}");
    bob.until("all rooms said so", |got| {
        let rooms: std::collections::HashSet<_> = got
            .iter()
            .filter(|got| got.msg.text() == left)
            .map(|got| got.msg.header("From").to_owned())
            .collect();
        rooms.len() == ROOMS
    });
    for n in 0..ROOMS {
        members(&bob, &name(n), "*[bob]");
    }
    let owned = daemon.imcctl(&["room", "list"]);
    let owned = String::from_utf8_lossy(&owned.stdout).into_owned();
    assert!(!owned.contains("alice") && owned.matches("bob@example.org").count() == ROOMS, "{owned}");
}
