//! Locks, and databases that somebody else wrote.

use super::*;

#[tokio::test]
async fn a_locked_database_is_unavailable_and_comes_back_by_itself() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let other = raw(&dir);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let commit = Commit { accepted: Some(origin(1)), ..step("team", 1, vec![], vec![post("alice", "x")]) };
    assert!(is_unavailable(store.commit(commit.clone()).await));
    assert!(!store.healthy());
    assert_eq!(state(&store, "team").version, 1, "reads go on");
    other.execute_batch("COMMIT").unwrap();
    let seqs = done(&store, commit).await;
    assert_eq!(seqs, [Seq(1)], "the lost attempt gave out no seq");
    assert!(store.healthy());
    assert_eq!(heard(&store, "alice"), ["x"]);
}

#[tokio::test]
async fn an_unhealthy_store_tries_by_itself_and_loses_no_position() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap().unwrap();
    let other = raw(&dir);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    store.positions(vec![(id, DEFAULT_DEVICE.into(), Seq(4))]);
    store.flush().await;
    assert!(!store.healthy());
    assert_eq!(store.view(id).unwrap().devices[0].1, Seq(4));
    other.execute_batch("COMMIT").unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !store.healthy() {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    store.close();
    drop(store);
    assert_eq!(Store::open(options(dir.path())).unwrap().view(id).unwrap().devices[0].1, Seq(4));
}

/// The tables as kamdbctl makes them, with what a running Kamailio leaves in them.
pub(super) const PEER: &str = "
    CREATE TABLE imc_rooms (id INTEGER PRIMARY KEY NOT NULL, name VARCHAR(64) NOT NULL,
        domain VARCHAR(64) NOT NULL, flag INTEGER NOT NULL,
        CONSTRAINT imc_rooms_name_domain_idx UNIQUE (name, domain));
    CREATE TABLE imc_members (id INTEGER PRIMARY KEY NOT NULL, username VARCHAR(64) NOT NULL,
        domain VARCHAR(64) NOT NULL, room VARCHAR(64) NOT NULL, flag INTEGER NOT NULL,
        CONSTRAINT imc_members_account_room_idx UNIQUE (username, domain, room));
    INSERT INTO imc_rooms VALUES (1, 'Team', 'ex.org', 1), (2, 'empty', 'ex.org', 0), (3, 'dead', 'ex.org', 2),
        (4, 'lobby', 'ex.org', 0);
    INSERT INTO imc_members VALUES
        (10, 'alice', 'ex.org', 'sip:Team@ex.org', 1), (11, 'bob', 'ex.org', 'sip:Team@ex.org', 2),
        (12, 'carol', 'ex.org', 'sip:Team@ex.org', 4), (13, 'dave', 'ex.org', 'sip:Team@ex.org', 8),
        (14, 'alice', 'ex.org', 'sip:lobby@ex.org', 1), (15, 'eve', 'ex.org', 'sip:dead@ex.org', 1),
        (16, 'b ad', 'ex.org', 'sip:lobby@ex.org', 0);";

#[tokio::test]
async fn rooms_that_a_peer_wrote_are_taken_over_and_left_readable_for_it() {
    let dir = tempfile::tempdir().unwrap();
    raw(&dir).execute_batch(PEER).unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.active_rooms(), 3);
    let team = state(&store, "team");
    assert!(team.private);
    let members: Vec<(&str, u8)> = team.members.iter().map(|m| (m.who.user(), m.flags)).collect();
    assert_eq!(members, [("alice", 1), ("bob", 2), ("carol", 4)]);
    assert!(state(&store, "empty").members.is_empty());
    assert!(store.room(&aor("dead")).unwrap().is_none());
    assert_eq!(state(&store, "lobby").members.len(), 1, "an address that cannot be one is left out");

    done(&store, step("TEAM", team.version, vec![], vec![post("alice", "hello")])).await;
    assert_eq!(heard(&store, "bob"), ["hello"]);
    assert_eq!(heard(&store, "carol"), [""; 0]);
    let accept = RoomChange::SetFlags { who: aor("CAROL"), flags: 0 };
    done(&store, step("team", team.version, vec![accept], vec![notice("carol joined")])).await;
    assert_eq!(heard(&store, "carol"), ["carol joined"]);
    let changes = vec![RoomChange::Create { private: true }, admit("frank", 1)];
    done(&store, step("new", 0, changes, vec![])).await;
    let conn = raw(&dir);
    let row: (String, String, i64) = conn
        .query_row("SELECT username, room, flag FROM imc_members WHERE username = 'frank'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(row, ("frank".into(), "sip:new@ex.org".into(), 1));
    let flag: i64 =
        conn.query_row("SELECT flag FROM imc_rooms WHERE name = 'new'", [], |row| row.get(0)).unwrap();
    assert_eq!(flag, 1, "the private bit is written at once");
}

#[tokio::test]
async fn what_a_peer_rewrote_keeps_its_conversation() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice", "bob"]).await;
    done(&store, step("team", 1, vec![], vec![post("alice", "kept")])).await;
    let before = state(&store, "team");
    drop(store);
    // What Kamailio does at its stop, after bob left and eve joined there.
    raw(&dir)
        .execute_batch(
            "REPLACE INTO imc_rooms (name, domain, flag) VALUES ('team', 'ex.org', 0);
             DELETE FROM imc_members;
             INSERT INTO imc_members (username, domain, room, flag) VALUES
                ('alice', 'ex.org', 'sip:team@ex.org', 1), ('eve', 'ex.org', 'sip:team@ex.org', 0);",
        )
        .unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let after = state(&store, "team");
    assert_eq!(after.conversation, before.conversation);
    assert!(after.version > before.version);
    done(&store, step("team", after.version, vec![], vec![post("alice", "later")])).await;
    assert_eq!(heard(&store, "alice"), ["kept", "later"]);
    assert_eq!(heard(&store, "bob"), ["kept"]);
    assert_eq!(heard(&store, "eve"), ["later"]);
}

#[tokio::test]
async fn other_table_names_are_taken_and_no_other_text() {
    let dir = tempfile::tempdir().unwrap();
    let named = |rooms: &str, members: &str| Options {
        rooms_table: rooms.into(),
        members_table: members.into(),
        ..options(dir.path())
    };
    let store = Store::open(named("my_rooms", "My_members2")).unwrap();
    room(&store, "team", &["alice"]).await;
    let count: i64 = raw(&dir).query_row("SELECT count(*) FROM my_rooms", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    drop(store);
    for bad in ["", "a b", "a;b", "1a", "log", "sqlite_x", "a\"", "ü"] {
        assert!(Store::open(named(bad, "m")).is_err(), "{bad:?}");
        assert!(Store::open(named("r", bad)).is_err(), "{bad:?}");
    }
    assert!(Store::open(named("same", "SAME")).is_err());
}

#[tokio::test]
async fn a_database_of_a_newer_daemon_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    raw(&dir).execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(Store::open(options(dir.path())), Err(Fault::Corrupt(_))));
    std::fs::write(dir.path().join("x.db"), [b'x'; 5000]).unwrap();
    let junk = Options { path: dir.path().join("x.db"), ..options(dir.path()) };
    assert!(matches!(Store::open(junk), Err(Fault::Corrupt(_))));
}

#[tokio::test]
async fn lists_show_a_viewer_public_rooms_and_his_own() {
    let (_dir, store) = fresh();
    room(&store, "open", &["alice", "bob"]).await;
    let private = vec![
        RoomChange::Create { private: true },
        admit("alice", member_flag::OWNER),
        admit("carol", member_flag::INVITED),
    ];
    done(&store, step("closed", 0, private, vec![])).await;
    done(&store, step("far@other.org", 0, vec![RoomChange::Create { private: false }], vec![])).await;
    let names = |domain, viewer: Option<&str>| -> Vec<String> {
        let viewer = viewer.map(aor);
        let lines = store.rooms(domain, viewer.as_ref()).unwrap();
        lines.iter().map(|line| line.address.user().to_owned()).collect()
    };
    assert_eq!(names(None, None), ["open", "closed", "far"]);
    assert_eq!(names(Some("EX.org"), None), ["open", "closed"]);
    assert_eq!(names(Some("ex.org"), Some("BOB")), ["open"]);
    assert_eq!(names(Some("ex.org"), Some("alice")), ["open", "closed"]);
    assert_eq!(names(Some("ex.org"), Some("carol")), ["open", "closed"]);
    let lines = store.rooms(None, None).unwrap();
    assert_eq!((lines[0].members, lines[0].owner.clone()), (2, Some(aor("alice"))));
    assert_eq!((lines[1].members, lines[1].private), (1, true));
    assert_eq!(lines[2].owner, None);
}
