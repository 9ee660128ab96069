//! The store against real files: what is promised of commits, spans, pages, positions and trimming.

#![allow(clippy::unwrap_used)]

mod archive;
mod commits;
mod measure;
mod misfortune;
mod model;
mod offline;
mod reading;
mod roster;
mod trimming;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use imcd::refusal::Fault;
use imcd::store::{Credentials, Options, Store, StoredBinding};
use imcd::types::*;
use rusqlite::Connection;
use tempfile::TempDir;

const NOW: UnixMs = 1_800_000_000_000;
const DAY: UnixMs = 86_400_000;

fn options(dir: &Path) -> Options {
    Options { path: dir.join("t.db"), busy_timeout: Duration::from_millis(50), ..Options::default() }
}

fn fresh() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    (dir, store)
}

fn raw(dir: &TempDir) -> Connection {
    Connection::open(dir.path().join("t.db")).unwrap()
}

fn aor(text: &str) -> Aor {
    let text = if text.contains('@') { text.to_owned() } else { format!("{text}@ex.org") };
    Aor::parse(&text).unwrap()
}

fn entry(place: Place, kind: EntryKind, sender: Option<&str>, body: &str) -> NewEntry {
    NewEntry {
        place,
        kind,
        sender: sender.map(aor),
        peer: None,
        source: None,
        content_type: None,
        headers: "".into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        at: NOW,
        expires: NOW + 3 * DAY,
        hops: 69,
        private: false,
    }
}

fn post(sender: &str, body: &str) -> NewEntry {
    entry(Place::Room, EntryKind::Post, Some(sender), body)
}

fn notice(body: &str) -> NewEntry {
    entry(Place::Room, EntryKind::Notice, None, body)
}

fn direct(to: &str, from: &str, body: &str) -> NewEntry {
    NewEntry { peer: Some(aor(from)), ..entry(Place::Mailbox(aor(to)), EntryKind::Direct, Some(from), body) }
}

fn step(room: &str, version: u64, changes: Vec<RoomChange>, entries: Vec<NewEntry>) -> Commit {
    Commit { room: Some(RoomStep { address: aor(room), version, changes }), entries, accepted: None }
}

fn admit(who: &str, flags: u8) -> RoomChange {
    RoomChange::Admit { who: aor(who), flags, invited: None }
}

fn leave(who: &str) -> RoomChange {
    RoomChange::Drop { who: aor(who), hears: true }
}

fn origin(n: u8) -> Accepted {
    Accepted { origin: [n; 16], answer: Answer { status: 202 }, body: 7, at: NOW }
}

/// Commits what must go through; returns the seqs.
async fn done(store: &Store, commit: Commit) -> Vec<Seq> {
    match store.commit(commit).await.unwrap() {
        Committed::Done { seqs } => seqs,
        other => panic!("{other:?}"),
    }
}

/// A room with these members, the first its owner. Version 1.
async fn room(store: &Store, name: &str, members: &[&str]) {
    let mut changes = vec![RoomChange::Create { private: false }];
    for (index, who) in members.iter().enumerate() {
        changes.push(admit(who, if index == 0 { member_flag::OWNER } else { 0 }));
    }
    done(store, step(name, 0, changes, vec![])).await;
}

fn state(store: &Store, name: &str) -> Room {
    store.room(&aor(name)).unwrap().expect("the room is there").read().unwrap().clone()
}

fn id(store: &Store, who: &str) -> AccountId {
    store.account(&aor(who)).unwrap().expect("the account is there").id
}

fn spans(store: &Store, who: &str) -> Vec<Span> {
    store.view(id(store, who)).unwrap().spans
}

/// All that a device of his at `after` is sent, page by page.
fn heard_after(store: &Store, who: &str, mut after: Seq, limit: usize) -> Vec<String> {
    let spans = spans(store, who);
    let mut texts = Vec::new();
    loop {
        let page = store.page(&spans, after, limit, NOW).unwrap();
        assert!(page.entries.len() <= limit);
        assert!(page.entries.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        assert!(page.entries.iter().all(|entry| entry.seq > after && entry.seq <= page.through));
        texts.extend(page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.body).into_owned()));
        if !page.more {
            return texts;
        }
        assert!(page.through > after, "a page that does not move on");
        after = page.through;
    }
}

fn heard(store: &Store, who: &str) -> Vec<String> {
    heard_after(store, who, Seq(0), 3)
}

fn is_unavailable<T>(result: Result<T, Fault>) -> bool {
    matches!(result, Err(Fault::Unavailable(_)))
}
