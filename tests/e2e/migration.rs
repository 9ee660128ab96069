//! Moving from a real Kamailio with imc and msilo, and back to it.

use crate::kit::{Baresip, Daemon, Holds, Imc, Phone, ROOM, Sipp, Transport, User, installed};

/// What a Kamailio wrote when it was stopped is here afterwards, and goes on here.
#[test]
fn rooms_members_and_messages_of_a_kamailio_are_here() {
    if !installed(&["kamailio", "baresip", "sipp"]) {
        return;
    }
    let mut theirs = Imc::start(Holds::Text);
    let user = |name| User::new(name, Transport::Udp);
    let [mut alice, mut dave] = ["alice", "dave"].map(|name| Sipp::switched_off(&theirs, user(name)));
    alice.send("chat-manager", "#create team private");
    alice.send(ROOM, "#add bob");
    alice.send(ROOM, "#invite carol");
    dave.send("lounge", "#create lounge");
    alice.send(ROOM, "tea: at \\five?");
    // It takes one at a time: when it has answered this, the copies of the others are stored.
    alice.send("bob", "just for you");
    theirs.stop();

    let ours = Daemon::open();
    let source = format!("text:{}", theirs.dir().display());
    let told = ours.imcctl(&["import", "imc", &source]);
    assert!(!told.contains("skipped"), "{told}");
    let rooms = ours.imcctl(&["rooms"]);
    let room = |line: &str| rooms.lines().any(|shown| shown.split_whitespace().eq(line.split_whitespace()));
    assert!(room("team@127.0.0.1 alice@127.0.0.1 yes 2 1"), "{rooms}");
    assert!(room("lounge@127.0.0.1 dave@127.0.0.1 no 1 0"), "{rooms}");
    let members = ours.imcctl(&["members", ROOM]);
    let members: Vec<_> =
        members.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(
        members,
        [["alice@127.0.0.1", "owner"], ["bob@127.0.0.1", "member"], ["carol@127.0.0.1", "invited"]]
    );
    let told = ours.imcctl(&["import", "silo", &source]);
    assert!(!told.contains("skipped"), "{told}");

    // What waited there comes, in its order, and the room goes on.
    let mut bob = Baresip::start(&ours, user("bob"));
    bob.hears(ROOM, "*** [bob] has joined the room");
    bob.hears(ROOM, "[alice]: tea: at \\five?");
    bob.hears("alice", "just for you");
    let mut alice = Baresip::start(&ours, user("alice"));
    alice.send(ROOM, "we have moved");
    bob.hears(ROOM, "[alice]: we have moved");
    let mut carol = Baresip::start(&ours, user("carol"));
    carol.hears(ROOM, "*** [alice] invites you to join the room (send '#accept' or '#reject')");
    carol.send(ROOM, "#accept");
    bob.hears(ROOM, "*** [carol] has joined the room");
    // Nothing of it twice.
    let told = ours.imcctl(&["import", "silo", &source]);
    assert!(told.lines().any(|line| line.split_whitespace().eq(["silo", "made", "0"])), "{told}");
}

/// A Kamailio that is given a copy of our database has our rooms. What it writes there when it stops is not looked at:
/// 5.6 with db_sqlite crashes then, with its own tables too.
#[test]
fn a_kamailio_goes_on_with_our_database() {
    if !installed(&["kamailio", "sipp"]) {
        return;
    }
    let ours = Daemon::open();
    let user = |name| User::new(name, Transport::Udp);
    let mut alice = Sipp::start(&ours, user("alice"));
    ours.imcctl(&["room", "create", ROOM, "alice", "private"]);
    ours.imcctl(&["member", "add", ROOM, "bob"]);
    alice.send(ROOM, "here");
    let dir = tempfile::tempdir().expect("a directory for the copy");
    let copy = dir.path().join("copy.db");
    ours.imcctl(&["backup", &copy.display().to_string()]);

    let mut theirs = Imc::start(Holds::Sqlite(copy.clone()));
    let [mut alice, mut mallory] = ["alice", "mallory"].map(|name| Sipp::switched_off(&theirs, user(name)));
    mallory.send(ROOM, "#join");
    alice.send(ROOM, "there");
    // It takes one at a time: when it has answered this, the copies are stored.
    alice.send("bob", "and you?");
    theirs.stop();
    let db = rusqlite::Connection::open(&copy).expect("the copy");
    let all = |sql: &str| -> Vec<String> {
        let mut select = db.prepare(sql).expect("its table");
        let rows = select.query_map([], |row| row.get(0)).expect("its rows");
        rows.map(|row| row.expect("a text")).collect()
    };
    let heard = all("SELECT CAST(body AS TEXT) FROM silo WHERE username = 'bob' ORDER BY id");
    assert!(heard.contains(&"[alice]: there".to_owned()), "{heard:?}");
    assert!(!heard.iter().any(|text| text.contains("mallory] has joined")), "a private room: {heard:?}");
}
