//! Misfortunes that can only be arranged from inside: a full disk, a file that has become read-only, an IO error's
//! aftermath.

use std::time::Duration;

use bytes::Bytes;

use super::{Options, Store};
use crate::refusal::Fault;
use crate::types::{
    Accepted, Answer, Aor, Commit, Committed, EntryKind, NewEntry, Place, RoomChange, RoomStep, Seq,
    member_flag,
};

fn aor(user: &str) -> Aor {
    Aor::new(user, "ex.org").unwrap()
}

fn commit(version: u64, changes: Vec<RoomChange>, body: Vec<u8>) -> Commit {
    let entry = NewEntry {
        place: Place::Room,
        kind: EntryKind::Post,
        sender: Some(aor("alice")),
        peer: None,
        source: None,
        content_type: None,
        headers: "".into(),
        body: Bytes::from(body),
        at: 1,
        expires: i64::MAX,
        hops: 1,
        private: false,
    };
    let room = Some(RoomStep { address: aor("team"), version, changes });
    Commit { room, entries: vec![entry], accepted: None }
}

async fn with_room() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { path: dir.path().join("t.db"), busy_timeout: Duration::ZERO, ..Options::default() };
    let store = Store::open(options).unwrap();
    let changes = vec![
        RoomChange::Create { private: false },
        RoomChange::Admit { who: aor("alice"), flags: member_flag::OWNER, invited: None },
    ];
    assert!(matches!(store.commit(commit(0, changes, vec![])).await, Ok(Committed::Done { .. })));
    (dir, store)
}

fn pragma(store: &Store, name: &'static str, value: i64) {
    store
        .write_now(move |turn| {
            turn.conn.query_row(&format!("PRAGMA {name}={value}"), [], |_| Ok(())).or_else(|error| {
                match error {
                    rusqlite::Error::QueryReturnedNoRows => Ok(()),
                    error => Err(error),
                }
            })?;
            Ok(())
        })
        .unwrap();
}

fn bodies(store: &Store) -> usize {
    let id = store.account(&aor("alice")).unwrap().unwrap().id;
    let spans = store.view(id).unwrap().spans;
    store.page(&spans, Seq(0), 1000, 2).unwrap().entries.len()
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_takes_writes_again_when_there_is_room() {
    let (_dir, store) = with_room().await;
    pragma(&store, "max_page_count", 60);
    let mut written = 1;
    let refused = loop {
        match store.commit(commit(1, vec![], vec![0; 20_000])).await {
            Ok(Committed::Done { .. }) => written += 1,
            other => break other,
        }
        assert!(written < 100, "the disk is never full");
    };
    assert!(matches!(refused, Err(Fault::Unavailable(_))), "{refused:?}");
    assert!(!store.healthy());
    assert_eq!(bodies(&store), written);
    let head = store.head();
    // A change of the room fails as a whole: not in the answers, not in memory.
    let bob = RoomChange::Admit { who: aor("bob"), flags: 0, invited: None };
    let accepted = Accepted { origin: [1; 16], answer: Answer { status: 202 }, body: 0, at: 1 };
    let change = Commit { accepted: Some(accepted), ..commit(1, vec![bob], vec![0; 20_000]) };
    assert!(store.commit(change.clone()).await.is_err());
    assert_eq!(store.room(&aor("team")).unwrap().unwrap().read().unwrap().version, 1);
    assert_eq!(store.accepted(&[1; 16]).unwrap(), None);
    assert_eq!(store.head(), head);
    pragma(&store, "max_page_count", 100_000);
    let Ok(Committed::Done { seqs }) = store.commit(change).await else { panic!("still full") };
    assert_eq!(seqs, [Seq(head.0 + 1)]);
    assert!(store.healthy());
    assert_eq!(store.room(&aor("team")).unwrap().unwrap().read().unwrap().members.len(), 2);
    assert_eq!(bodies(&store), written + 1);
}

#[tokio::test]
async fn a_database_that_became_read_only_is_opened_anew() {
    let (_dir, store) = with_room().await;
    pragma(&store, "query_only", 1);
    let refused = store.commit(commit(1, vec![], vec![1])).await;
    assert!(matches!(refused, Err(Fault::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.commit(commit(1, vec![], vec![2])).await, Ok(Committed::Done { .. })));
    assert_eq!(bodies(&store), 2);
    assert!(store.healthy());
}

#[tokio::test]
async fn somebody_else_writing_the_log_costs_one_batch_and_no_entry() {
    let (dir, store) = with_room().await;
    rusqlite::Connection::open(dir.path().join("t.db"))
        .unwrap()
        .execute(
            "INSERT INTO log (seq, conversation, kind, body, at, expires, hops, private)
             VALUES (2, 999, 1, x'00', 1, 1, 1, 0)",
            [],
        )
        .unwrap();
    assert!(store.commit(commit(1, vec![], vec![1])).await.is_err());
    let Ok(Committed::Done { seqs }) = store.commit(commit(1, vec![], vec![1])).await else {
        panic!("the sequence was not found again")
    };
    assert_eq!(seqs, [Seq(3)]);
}

#[tokio::test]
async fn the_writer_waits_for_the_disk_and_never_checkpoints_inline() {
    let (_dir, store) = with_room().await;
    let read = |name: &'static str| -> i64 {
        store
            .write_now(move |turn| {
                Ok(turn.conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
            })
            .unwrap()
    };
    assert_eq!(read("synchronous"), 2, "FULL");
    assert_eq!(read("wal_autocheckpoint"), 0);
}
