//! The store against real files: what is promised of commits, spans, pages, positions and trimming.

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

#[tokio::test]
async fn a_room_and_its_posts_are_as_committed_and_survive_a_restart() {
    let (dir, store) = fresh();
    room(&store, "Team", &["alice", "bob"]).await;
    let mut said = post("bob", "hello");
    said.content_type = Some("text/html".into());
    said.headers = "Subject: x\r\n".into();
    said.source = Some("urn:uuid:1".into());
    said.private = true;
    let seqs = done(&store, step("team", 1, vec![], vec![said])).await;
    let invited = RoomChange::Admit {
        who: aor("carol@far.example"),
        flags: member_flag::INVITED,
        invited: Some((aor("alice"), NOW)),
    };
    done(&store, step("TEAM", 1, vec![invited, RoomChange::Title(Some("The \"Team\"".into()))], vec![]))
        .await;
    let before = state(&store, "team");
    assert_eq!(before.address.as_str(), "Team@ex.org");
    assert_eq!(before.version, 2);
    assert_eq!(before.members.iter().map(|m| m.who.user()).collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert_eq!(before.members[2].invited, Some((aor("alice"), NOW)));
    store.close();
    assert!(is_unavailable(store.commit(Commit::default()).await));
    drop(store);

    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(state(&store, "team"), before);
    assert_eq!(store.head(), seqs[0]);
    assert_eq!(store.active_rooms(), 1);
    let page = store.page(&spans(&store, "alice"), Seq(0), 10, NOW).unwrap();
    let entry = &page.entries[0];
    assert_eq!(&*entry.from.name, "The \"Team\"");
    assert_eq!(entry.from.aor, aor("team"));
    assert_eq!(entry.sender, Some((id(&store, "bob"), aor("bob"))));
    assert_eq!(entry.content_type.as_deref(), Some("text/html"));
    assert_eq!(&*entry.headers, "Subject: x\r\n");
    assert_eq!(entry.source.as_deref(), Some("urn:uuid:1"));
    assert!(entry.private);
    assert_eq!((entry.at, entry.expires, entry.hops, entry.kind), (NOW, NOW + 3 * DAY, 69, EntryKind::Post));
    assert!(!page.more);
    assert_eq!(page.through, store.head());
}

#[tokio::test]
async fn the_room_that_was_lent_moves_on_with_each_commit() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let lent = store.room(&aor("team")).unwrap().unwrap();
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![])).await;
    done(&store, step("team", 2, vec![RoomChange::SetFlags { who: aor("bob"), flags: 2 }], vec![])).await;
    assert_eq!(*lent.read().unwrap(), state(&store, "team"));
    assert_eq!(lent.read().unwrap().members[1].flags, member_flag::ADMIN);
    assert_eq!(lent.read().unwrap().version, 3);
    done(&store, step("team", 3, vec![leave("bob")], vec![notice("bob left")])).await;
    assert_eq!(lent.read().unwrap().members.len(), 1);
    done(&store, step("team", 4, vec![RoomChange::Destroy], vec![])).await;
    assert!(store.room(&aor("team")).unwrap().is_none());
    assert_eq!(store.active_rooms(), 0);
}

#[tokio::test]
async fn who_judged_by_an_old_version_is_told_so_after_the_new_one_can_be_read() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice", "bob"]).await;
    let kick = step("team", 1, vec![leave("bob")], vec![notice("bob removed")]);
    let late = step("team", 1, vec![], vec![post("bob", "too late")]);
    // One batch or two: either way the post comes after the removal.
    let (first, second) = tokio::join!(store.commit(kick), store.commit(late));
    assert!(matches!(first.unwrap(), Committed::Done { .. }));
    assert!(matches!(second.unwrap(), Committed::Stale));
    assert_eq!(state(&store, "team").version, 2);
    assert_eq!(heard(&store, "alice"), ["bob removed"]);
    assert!(matches!(store.commit(step("none", 3, vec![], vec![])).await.unwrap(), Committed::Stale));
}

#[tokio::test]
async fn a_repetition_gets_the_recorded_answer_and_writes_nothing() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let once = Commit { accepted: Some(origin(1)), ..step("team", 1, vec![], vec![post("alice", "once")]) };
    let (a, b) = tokio::join!(store.commit(once.clone()), store.commit(once.clone()));
    assert!(matches!(a.unwrap(), Committed::Done { .. }));
    assert!(matches!(b.unwrap(), Committed::Repeat(Answer { status: 202 })));
    // Also when the room has moved on since, and after a restart.
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![])).await;
    assert!(matches!(store.commit(once.clone()).await.unwrap(), Committed::Repeat(_)));
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert!(matches!(store.commit(once).await.unwrap(), Committed::Repeat(_)));
    assert_eq!(heard(&store, "alice"), ["once"]);
    assert_eq!(store.accepted(&[1; 16]).unwrap(), Some(origin(1)));
    assert_eq!(store.accepted(&[2; 16]).unwrap(), None);
}

#[tokio::test]
async fn a_stale_commit_leaves_no_answer_behind() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let stale = Commit { accepted: Some(origin(1)), ..step("team", 9, vec![], vec![post("alice", "x")]) };
    assert!(matches!(store.commit(stale).await.unwrap(), Committed::Stale));
    assert_eq!(store.accepted(&[1; 16]).unwrap(), None);
    let right = Commit { accepted: Some(origin(1)), ..step("team", 1, vec![], vec![post("alice", "x")]) };
    done(&store, right).await;
}

#[tokio::test]
async fn a_commit_that_contradicts_the_room_fails_alone() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let bad = [
        step("team", 1, vec![admit("bob", 0), admit("ALICE", 0)], vec![post("alice", "bad")]),
        step("team", 1, vec![leave("nobody")], vec![]),
        step("team", 1, vec![RoomChange::Create { private: true }], vec![]),
        step("other", 0, vec![RoomChange::Destroy], vec![]),
        step("other", 0, vec![], vec![post("alice", "nowhere")]),
        Commit { entries: vec![post("alice", "nowhere")], ..Commit::default() },
    ];
    for commit in bad {
        let commit = Commit { accepted: Some(origin(9)), ..commit };
        let good = step("team", 1, vec![], vec![post("alice", "good")]);
        let (bad, good) = tokio::join!(store.commit(commit.clone()), store.commit(good));
        assert!(matches!(bad, Err(Fault::Internal(_))), "{commit:?}: {bad:?}");
        assert!(matches!(good, Ok(Committed::Done { .. })), "{commit:?}");
    }
    assert_eq!(store.accepted(&[9; 16]).unwrap(), None);
    assert_eq!(state(&store, "team").members.len(), 1);
    assert_eq!(state(&store, "team").version, 1);
    assert!(store.account(&aor("bob")).unwrap().is_none());
    assert_eq!(heard(&store, "alice"), ["good"; 6]);
    assert!(store.healthy());
}

#[tokio::test]
async fn a_member_sees_what_is_said_from_his_coming_to_his_going() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    done(&store, step("team", 1, vec![], vec![post("alice", "before")])).await;
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![notice("bob joined")])).await;
    done(&store, step("team", 2, vec![], vec![post("alice", "hello bob")])).await;
    done(&store, step("team", 2, vec![leave("bob")], vec![notice("bob left")])).await;
    done(&store, step("team", 3, vec![], vec![post("alice", "he is gone")])).await;
    assert_eq!(heard(&store, "bob"), ["bob joined", "hello bob", "bob left"]);
    // He comes back, and goes again without a word: a second span; the silence between stays closed.
    done(&store, step("team", 3, vec![admit("bob", 0)], vec![notice("bob is back")])).await;
    let unheard = RoomChange::Drop { who: aor("bob"), hears: false };
    done(&store, step("team", 4, vec![unheard], vec![notice("bob thrown out")])).await;
    assert_eq!(heard(&store, "bob"), ["bob joined", "hello bob", "bob left", "bob is back"]);
    assert_eq!(
        heard(&store, "alice"),
        ["before", "bob joined", "hello bob", "bob left", "he is gone", "bob is back", "bob thrown out"]
    );
}

#[tokio::test]
async fn an_invited_hears_nothing_until_he_accepts() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    done(&store, step("team", 1, vec![admit("bob", member_flag::INVITED)], vec![])).await;
    done(&store, step("team", 2, vec![], vec![post("alice", "secret")])).await;
    assert_eq!(heard(&store, "bob"), [""; 0]);
    let accept = RoomChange::SetFlags { who: aor("bob"), flags: 0 };
    done(&store, step("team", 2, vec![accept], vec![notice("bob joined")])).await;
    assert_eq!(heard(&store, "bob"), ["bob joined"]);
    assert_eq!(state(&store, "team").members[1].flags, 0);
}

#[tokio::test]
async fn a_room_made_anew_shows_nothing_of_the_old_one_and_counts_on() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice", "bob"]).await;
    done(&store, step("team", 1, vec![], vec![post("alice", "old")])).await;
    let old = state(&store, "team");
    done(&store, step("team", 1, vec![RoomChange::Destroy], vec![notice("destroyed")])).await;
    let changes = vec![RoomChange::Create { private: true }, admit("bob", member_flag::OWNER)];
    done(&store, step("team", 0, changes, vec![notice("made anew")])).await;
    let new = state(&store, "team");
    assert_ne!(new.conversation, old.conversation);
    assert!(new.private);
    assert!(new.version > old.version, "who judged by the old room must be stale");
    let late = step("team", old.version, vec![], vec![post("alice", "late")]);
    assert!(matches!(store.commit(late).await.unwrap(), Committed::Stale));
    assert_eq!(heard(&store, "alice"), ["old", "destroyed"]);
    assert_eq!(heard(&store, "bob"), ["old", "destroyed", "made anew"]);
    let history = store.history(new.conversation, id(&store, "bob"), 10).unwrap();
    assert!(history.is_empty(), "notices are no posts, and the old posts are another room's");
}

#[tokio::test]
async fn a_direct_message_lies_in_two_mailboxes_and_the_senders_copy_is_not_delivered() {
    let (_dir, store) = fresh();
    let sent = NewEntry {
        peer: Some(aor("bob")),
        ..entry(Place::Mailbox(aor("alice")), EntryKind::Sent, Some("alice"), "hi")
    };
    let commit = Commit { entries: vec![direct("bob", "alice", "hi"), sent], ..Commit::default() };
    let seqs = done(&store, commit).await;
    assert_eq!(seqs.len(), 2);
    assert_eq!(heard(&store, "bob"), ["hi"]);
    assert_eq!(heard(&store, "alice"), [""; 0]);
    let page = store.page(&spans(&store, "bob"), Seq(0), 5, NOW).unwrap();
    assert_eq!(page.entries[0].from.aor, aor("alice"));
    assert_eq!(&*page.entries[0].from.name, "alice");
    assert_eq!(store.mailbox(id(&store, "bob")).unwrap(), Some(page.entries[0].conversation));
}

#[tokio::test]
async fn a_notice_in_a_mailbox_shows_the_room_by_its_title_then_and_later() {
    let (_dir, store) = fresh();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    store.on_commit(Box::new(move |announcement| sink.lock().unwrap().push(announcement)));
    room(&store, "team", &["alice"]).await;
    done(&store, step("team", 1, vec![RoomChange::Title(Some("Die Runde".into()))], vec![])).await;
    let invitation = NewEntry {
        peer: Some(aor("team")),
        ..entry(Place::Mailbox(aor("bob")), EntryKind::Notice, None, "come")
    };
    done(&store, step("team", 2, vec![admit("bob", member_flag::INVITED)], vec![invitation])).await;
    let live = told.lock().unwrap().last().unwrap().entries[0].from.clone();
    let read = store.page(&spans(&store, "bob"), Seq(0), 5, NOW).unwrap().entries[0].from.clone();
    assert_eq!(&*live.name, "Die Runde");
    assert_eq!(live, read);
}

#[tokio::test]
async fn what_is_announced_is_on_disk_in_order_and_comes_before_the_answer() {
    let (dir, store) = fresh();
    let told: Arc<Mutex<Vec<Announcement>>> = Arc::default();
    let (sink, reader) = (told.clone(), raw(&dir));
    let reader = Mutex::new(reader);
    store.on_commit(Box::new(move |announcement| {
        let conn = reader.lock().unwrap();
        for entry in &announcement.entries {
            let found: i64 = conn
                .query_row("SELECT count(*) FROM log WHERE seq = ?1", [entry.seq.0], |row| row.get(0))
                .unwrap();
            assert_eq!(found, 1);
        }
        sink.lock().unwrap().push(announcement);
    }));
    room(&store, "team", &["alice", "bob"]).await;
    assert_eq!(told.lock().unwrap()[0].spans.len(), 2);
    let mut tasks = Vec::new();
    for n in 0..50 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            done(&store, step("team", 1, vec![], vec![post("alice", &n.to_string())])).await[0]
        }));
    }
    let mut answered = Vec::new();
    for task in tasks {
        let seq = task.await.unwrap();
        assert!(told.lock().unwrap().iter().flat_map(|a| &a.entries).any(|entry| entry.seq == seq));
        answered.push(seq);
    }
    answered.sort();
    let told = told.lock().unwrap();
    let announced: Vec<Seq> = told.iter().flat_map(|a| &a.entries).map(|entry| entry.seq).collect();
    assert_eq!(announced, answered);
}

#[tokio::test]
async fn spans_are_announced_when_they_open_and_close_with_their_accounts() {
    let (_dir, store) = fresh();
    let told: Arc<Mutex<Vec<(AccountId, Span)>>> = Arc::default();
    let sink = told.clone();
    store.on_commit(Box::new(move |announcement| sink.lock().unwrap().extend(announcement.spans)));
    room(&store, "team", &["alice", "bob"]).await;
    let (alice, bob) = (id(&store, "alice"), id(&store, "bob"));
    let conversation = state(&store, "team").conversation;
    let left = done(&store, step("team", 1, vec![leave("bob")], vec![notice("bob left")])).await[0];
    let over = done(&store, step("team", 2, vec![RoomChange::Destroy], vec![notice("end")])).await[0];
    done(&store, Commit { entries: vec![direct("bob", "alice", "hi")], ..Commit::default() }).await;
    let mailbox = store.mailbox(bob).unwrap().unwrap();
    let span = |since, until| Span { conversation, since: Seq(since), until };
    assert_eq!(
        *told.lock().unwrap(),
        [
            (alice, span(1, None)),
            (bob, span(1, None)),
            (bob, span(1, Some(left))),
            (alice, span(1, Some(over))),
            (bob, Span { conversation: mailbox, since: Seq(0), until: None }),
        ]
    );
}

#[tokio::test]
async fn a_page_merges_many_rooms_and_mailbox_in_the_order_of_the_log() {
    let (_dir, store) = fresh();
    let rooms: Vec<String> = (0..40).map(|n| format!("room{n}")).collect();
    for name in &rooms {
        room(&store, name, &["alice"]).await;
    }
    room(&store, "foreign", &["mallory"]).await;
    let mut expected = Vec::new();
    for n in 0..300usize {
        let name = &rooms[n * n % 40];
        let text = format!("{n}");
        done(&store, step(name, 1, vec![], vec![post("alice", &text)])).await;
        expected.push(text);
        done(&store, step("foreign", 1, vec![], vec![post("mallory", "not for her")])).await;
        if n % 50 == 0 {
            let text = format!("direct {n}");
            let mut gone = direct("alice", "bob", "expired");
            gone.expires = NOW;
            let entries = vec![direct("alice", "bob", &text), gone];
            done(&store, Commit { entries, ..Commit::default() }).await;
            expected.push(text);
        }
    }
    for limit in [1, 7, 64, 1000] {
        assert_eq!(heard_after(&store, "alice", Seq(0), limit), expected, "limit {limit}");
    }
    let page = store.page(&spans(&store, "alice"), store.head(), 64, NOW).unwrap();
    assert!(page.entries.is_empty() && !page.more);
    // Two rooms alone: asked directly, not walked to.
    let two: Vec<Span> = spans(&store, "alice").into_iter().skip(1).take(2).collect();
    let mut after = Seq(0);
    let mut count = 0;
    loop {
        let page = store.page(&two, after, 2, NOW).unwrap();
        assert!(
            page.entries.iter().all(|entry| two.iter().any(|span| span.conversation == entry.conversation))
        );
        count += page.entries.len();
        after = page.through;
        if !page.more {
            break;
        }
    }
    let all = store.page(&two, Seq(0), 1000, NOW).unwrap();
    assert_eq!(count, all.entries.len());
    assert!(count > 0);
}

#[tokio::test]
async fn a_long_stretch_of_expired_entries_is_stepped_over_in_pieces() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    for _ in 0..5 {
        let entries = (0..1000).map(|_| NewEntry { expires: NOW - 1, ..post("alice", "x") }).collect();
        done(&store, step("team", 1, vec![], entries)).await;
    }
    done(&store, step("team", 1, vec![], vec![post("alice", "alive")])).await;
    let first = store.page(&spans(&store, "alice"), Seq(0), 64, NOW).unwrap();
    assert!(first.entries.is_empty() && first.more && first.through > Seq(0));
    assert_eq!(heard(&store, "alice"), ["alive"]);
}

#[tokio::test]
async fn counting_and_skipping_know_messages_from_notices() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let mut seqs = Vec::new();
    for n in 0..10 {
        let entries = vec![post("alice", &n.to_string()), notice("so it goes")];
        seqs.push(done(&store, step("team", 1, vec![], entries)).await[0]);
    }
    let span = spans(&store, "alice")[1];
    assert_eq!(store.count_after(&span, Seq(0), NOW).unwrap(), 10);
    assert_eq!(store.count_after(&span, seqs[3], NOW).unwrap(), 6);
    assert_eq!(store.count_after(&span, seqs[3], NOW + 4 * DAY).unwrap(), 0);
    assert_eq!(store.nth_newest(&span, 1).unwrap(), Some(seqs[9]));
    assert_eq!(store.nth_newest(&span, 10).unwrap(), Some(seqs[0]));
    assert_eq!(store.nth_newest(&span, 11).unwrap(), None);
    assert_eq!(store.nth_newest(&span, 0).unwrap(), None);
    let closed = Span { until: Some(seqs[4]), ..span };
    assert_eq!(store.nth_newest(&closed, 1).unwrap(), Some(seqs[4]));
    assert_eq!(store.count_after(&closed, Seq(0), NOW).unwrap(), 5);
}

#[tokio::test]
async fn history_is_the_last_posts_that_he_may_see() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    done(&store, step("team", 1, vec![], vec![post("alice", "before him")])).await;
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![notice("bob joined")])).await;
    for n in 0..5 {
        let mut late = post("alice", &n.to_string());
        late.expires = NOW - 1;
        done(&store, step("team", 2, vec![], vec![late])).await;
    }
    done(&store, step("team", 2, vec![leave("bob")], vec![])).await;
    done(&store, step("team", 3, vec![], vec![post("alice", "after him")])).await;
    let conversation = state(&store, "team").conversation;
    let texts = |who: &str, n| -> Vec<String> {
        let entries = store.history(conversation, id(&store, who), n).unwrap();
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.body).into_owned()).collect()
    };
    assert_eq!(texts("bob", 3), ["2", "3", "4"]);
    assert_eq!(texts("bob", 100), ["0", "1", "2", "3", "4"]);
    assert_eq!(texts("alice", 2), ["4", "after him"]);
}

#[tokio::test]
async fn positions_only_grow_are_seen_at_once_and_are_kept() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap();
    let device = |key: &str, seq| (id, DeviceKey::from(key), Seq(seq));
    let known = |store: &Store| -> Vec<(String, i64)> {
        let mut devices: Vec<_> =
            store.view(id).unwrap().devices.iter().map(|d| (d.0.to_string(), d.1.0)).collect();
        devices.sort();
        devices
    };
    store.positions(vec![device("", 5), device("urn:a", 7)]);
    assert_eq!(known(&store), [("".to_owned(), 5), ("urn:a".to_owned(), 7)]);
    store.flush().await;
    store.positions(vec![device("", 3), device("urn:a", 9), device("urn:a", 8)]);
    assert_eq!(known(&store), [("".to_owned(), 5), ("urn:a".to_owned(), 9)]);
    store.close();
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(known(&store), [("".to_owned(), 5), ("urn:a".to_owned(), 9)]);
    assert!(store.view(id).unwrap().devices.iter().all(|(_, _, seen)| *seen > 0));
}

#[tokio::test]
async fn positions_reach_the_disk_by_themselves() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap();
    store.positions(vec![(id, DEFAULT_DEVICE.into(), Seq(4))]);
    let conn = raw(&dir);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let found: Option<i64> =
            conn.query_row("SELECT max(position) FROM device", [], |row| row.get(0)).unwrap();
        if found == Some(4) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "never flushed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_forgotten_device_starts_as_new_and_nobody_falls_behind_it() {
    let (_dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap();
    store.positions(vec![(id, "urn:a".into(), Seq(12))]);
    store.forget_device(id, "urn:a").await.unwrap();
    let view = store.view(id).unwrap();
    assert!(view.devices.is_empty());
    assert_eq!(view.base, Seq(12));
    assert_eq!(store.account(&aor("alice")).unwrap().unwrap().base, Seq(12));
    store.positions(vec![(id, "urn:b".into(), Seq(3))]);
    store.flush().await;
    assert_eq!(store.view(id).unwrap().devices[0].1, Seq(12));
}

#[tokio::test]
async fn accounts_keep_their_spelling_their_credentials_and_their_bindings() {
    let (dir, store) = fresh();
    let credentials = Credentials {
        realm: "ex.org".into(),
        md5: Some("d41d8cd98f00b204e9800998ecf8427e".into()),
        ..Credentials::default()
    };
    let id = store.put_account(&aor("Alice"), Some(credentials.clone())).await.unwrap();
    assert_eq!(store.put_account(&aor("alice@EX.org"), None).await.unwrap(), id);
    let found = store.account(&aor("ALICE")).unwrap().unwrap();
    assert_eq!(found.address.as_str(), "Alice@ex.org");
    assert_eq!(found.credentials, Some(credentials));
    assert!(found.registered);

    let bound = |key: &str, expires_at| StoredBinding { key: key.into(), data: "{}".into(), expires_at };
    store.bind(&aor("alice"), vec![bound("a", NOW + 1), bound("b", NOW + 2)]).await.unwrap();
    let bob = store.bind(&aor("bob"), vec![bound("c", NOW)]).await.unwrap();
    store.bind(&aor("alice"), vec![bound("b", NOW + 9)]).await.unwrap();
    assert_eq!(store.bindings(&aor("alice")).unwrap(), [bound("b", NOW + 9)]);
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(
        store.all_bindings().unwrap(),
        [(aor("alice"), id, vec![bound("b", NOW + 9)]), (aor("bob"), bob, vec![bound("c", NOW)])]
    );
    let names: Vec<String> =
        store.accounts(Some("EX.ORG")).unwrap().iter().map(|a| a.address.to_string()).collect();
    assert_eq!(names, ["Alice@ex.org", "bob@ex.org"]);
    assert!(store.accounts(Some("other")).unwrap().is_empty());
    assert_eq!(store.address(bob).unwrap(), Some(aor("bob")));
}

#[tokio::test]
async fn somebody_who_is_only_a_member_is_no_account() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    assert!(!store.account(&aor("alice")).unwrap().unwrap().registered);
    assert!(store.accounts(None).unwrap().is_empty());
    store.bind(&aor("alice"), vec![]).await.unwrap();
    assert!(store.account(&aor("alice")).unwrap().unwrap().registered);
}

#[tokio::test]
async fn who_takes_over_a_removed_account_reads_nothing_of_the_former() {
    let (_dir, store) = fresh();
    let id = store.put_account(&aor("bob"), Some(Credentials::default())).await.unwrap();
    let last =
        done(&store, Commit { entries: vec![direct("bob", "alice", "old")], ..Commit::default() }).await;
    store.positions(vec![(id, "urn:a".into(), Seq(0))]);
    assert!(store.remove_account(&aor("bob")).await.unwrap());
    assert!(!store.remove_account(&aor("bob")).await.unwrap());
    assert!(!store.account(&aor("bob")).unwrap().unwrap().registered);
    store.put_account(&aor("bob"), None).await.unwrap();
    assert_eq!(heard(&store, "bob"), [""; 0]);
    let view = store.view(id).unwrap();
    assert!(view.devices.is_empty());
    assert_eq!(view.base, last[0]);
    done(&store, Commit { entries: vec![direct("bob", "alice", "new")], ..Commit::default() }).await;
    assert_eq!(heard(&store, "bob"), ["new"]);
}

#[tokio::test]
async fn a_secret_is_made_once() {
    let (dir, store) = fresh();
    let secret = store.secret("nonce").unwrap();
    assert_ne!(secret, [0; 32]);
    assert_ne!(secret, store.secret("origin").unwrap());
    drop(store);
    assert_eq!(Store::open(options(dir.path())).unwrap().secret("nonce").unwrap(), secret);
}

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
    let id = store.put_account(&aor("alice"), None).await.unwrap();
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
const PEER: &str = "
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

async fn trim(store: &Store, now: UnixMs) {
    while store.trim_slice(now).await.unwrap() {}
}

#[tokio::test]
async fn trimming_removes_what_is_past_both_ends_and_no_seq_comes_back() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    for n in 0..1200 {
        let mut said = post("alice", &n.to_string());
        if n % 100 == 0 {
            said.expires = NOW + 60 * DAY;
        }
        done(&store, Commit { accepted: (n == 0).then(|| origin(1)), ..step("team", 1, vec![], vec![said]) })
            .await;
    }
    let head = store.head();
    trim(&store, NOW + 10 * DAY).await;
    let conversation = state(&store, "team").conversation;
    assert_eq!(
        store.history(conversation, id(&store, "alice"), 1000).unwrap().len(),
        1000,
        "history is kept"
    );
    assert_eq!(store.accepted(&[1; 16]).unwrap(), None, "answers are kept for a day");
    trim(&store, NOW + 31 * DAY).await;
    let left: Vec<String> = heard(&store, "alice");
    assert_eq!(left.len(), 12, "what is not expired stays: {left:?}");
    trim(&store, NOW + 61 * DAY).await;
    assert_eq!(heard(&store, "alice"), [""; 0]);
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.head(), head, "the log is empty, and still its end is known");
    let seqs = done(&store, step("team", 1, vec![], vec![post("alice", "new")])).await;
    assert!(seqs[0] > head);
}

#[tokio::test]
async fn trimming_forgets_old_devices_bindings_and_ended_rooms() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap();
    store.positions(vec![(id, "urn:a".into(), Seq(3))]);
    store.flush().await;
    // Devices are seen by the wall clock.
    let seen = store.view(id).unwrap().devices[0].2;
    let bound = |key: &str, expires_at| StoredBinding { key: key.into(), data: "{}".into(), expires_at };
    store.bind(&aor("alice"), vec![bound("old", seen), bound("new", seen + DAY)]).await.unwrap();
    room(&store, "team", &["alice"]).await;
    let end = NewEntry { at: seen, expires: seen + 3 * DAY, ..notice("end") };
    done(&store, step("team", 1, vec![RoomChange::Destroy], vec![end])).await;
    trim(&store, seen + 1).await;
    assert_eq!(store.bindings(&aor("alice")).unwrap(), [bound("new", seen + DAY)]);
    let count = |sql: &str| -> i64 { raw(&dir).query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM span"), 1, "its end is still to be heard");
    trim(&store, seen + 2 * DAY).await;
    assert_eq!(store.view(id).unwrap().devices.len(), 1);
    trim(&store, seen + 4 * DAY).await;
    let view = store.view(id).unwrap();
    assert!(view.devices.is_empty());
    assert_eq!(view.base, Seq(3));
    trim(&store, seen + 40 * DAY).await;
    assert_eq!(count("SELECT count(*) FROM span"), 0);
    assert_eq!(count("SELECT count(*) FROM conversation WHERE kind = 1"), 0);
    assert_eq!(count("SELECT count(*) FROM conversation WHERE kind = 2"), 1);
}

#[tokio::test]
async fn at_the_limit_history_is_shortened_first_and_then_posts_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { history_max_bytes: 400_000, ..options(dir.path()) };
    let store = Store::open(small).unwrap();
    room(&store, "team", &["alice"]).await;
    let big = "x".repeat(10_000);
    for n in 0..60 {
        let mut said = post("alice", &big);
        said.expires = NOW + if n < 30 { 1 } else { 3 * DAY };
        done(&store, step("team", 1, vec![], vec![said])).await;
    }
    trim(&store, NOW + 2).await;
    assert_eq!(heard(&store, "alice").len(), 30);
    done(&store, step("team", 1, vec![], vec![post("alice", "there is room")])).await;
    for _ in 0..20 {
        done(&store, step("team", 1, vec![], vec![post("alice", &big)])).await;
    }
    trim(&store, NOW + 2).await;
    trim(&store, NOW + 2).await;
    assert!(is_unavailable(store.commit(step("team", 1, vec![], vec![post("alice", "full")])).await));
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![notice("bob joined")])).await;
    trim(&store, NOW + 4 * DAY).await;
    trim(&store, NOW + 4 * DAY).await;
    done(&store, step("team", 2, vec![], vec![post("alice", "again")])).await;
}

#[tokio::test]
async fn an_unused_room_leaves_the_cache_and_comes_back_the_same() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let lent = store.room(&aor("team")).unwrap().unwrap();
    let later = NOW * 2;
    store.sweep(later);
    assert!(Arc::ptr_eq(&lent, &store.room(&aor("team")).unwrap().unwrap()), "it is in use");
    let weak = Arc::downgrade(&lent);
    drop(lent);
    store.sweep(later);
    assert!(weak.upgrade().is_none());
    assert_eq!(state(&store, "team").version, 1);
}

#[tokio::test]
async fn a_backup_is_a_whole_database() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let file = dir.path().join("copy.db");
    store.backup(&file).unwrap();
    assert!(store.backup(&file).is_err());
    let copy = Store::open(Options { path: file, ..options(dir.path()) }).unwrap();
    assert_eq!(state(&copy, "team"), state(&store, "team"));
}

/// What a member ought to hear, told in the simplest way: every entry is put into every ear that is open.
#[derive(Default, Debug)]
struct Model {
    rooms: std::collections::HashMap<String, ModelRoom>,
    ears: std::collections::HashMap<String, Vec<String>>,
}

#[derive(Default, Debug)]
struct ModelRoom {
    version: u64,
    /// Name, and whether he is only invited.
    listed: Vec<(String, bool)>,
}

#[derive(Clone, Debug)]
enum Deed {
    Create(usize, usize),
    Admit(usize, usize, bool),
    Accept(usize, usize),
    Drop(usize, usize, bool),
    Destroy(usize),
    Post(usize, usize),
    Direct(usize, usize),
    Restart,
    Sweep,
}

const ROOMS: [&str; 3] = ["red", "green", "blue"];
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn deeds() -> impl proptest::strategy::Strategy<Value = Vec<Deed>> {
    use proptest::prelude::*;
    let (r, p) = (0..ROOMS.len(), 0..PEOPLE.len());
    let deed = prop_oneof![
        3 => (r.clone(), p.clone()).prop_map(|(r, p)| Deed::Create(r, p)),
        6 => (r.clone(), p.clone(), any::<bool>()).prop_map(|(r, p, i)| Deed::Admit(r, p, i)),
        3 => (r.clone(), p.clone()).prop_map(|(r, p)| Deed::Accept(r, p)),
        4 => (r.clone(), p.clone(), any::<bool>()).prop_map(|(r, p, h)| Deed::Drop(r, p, h)),
        1 => r.clone().prop_map(Deed::Destroy),
        12 => (r, p.clone()).prop_map(|(r, p)| Deed::Post(r, p)),
        3 => (p.clone(), p).prop_map(|(a, b)| Deed::Direct(a, b)),
        1 => Just(Deed::Restart),
        1 => Just(Deed::Sweep),
    ];
    proptest::collection::vec(deed, 1..60)
}

impl Model {
    /// Does it in the model; returns the commit that says the same, if it is possible at all.
    fn act(&mut self, deed: &Deed, n: usize) -> Option<Commit> {
        let text = format!("{n}");
        if let Deed::Direct(from, to) = deed {
            self.ears.entry(PEOPLE[*to].into()).or_default().push(text.clone());
            return Some(Commit {
                entries: vec![direct(PEOPLE[*to], PEOPLE[*from], &text)],
                ..Commit::default()
            });
        }
        let (r, p) = match *deed {
            Deed::Create(r, p) | Deed::Admit(r, p, _) | Deed::Accept(r, p) | Deed::Drop(r, p, _) => (r, p),
            Deed::Post(r, p) => (r, p),
            Deed::Destroy(r) => (r, 0),
            _ => return None,
        };
        let (name, who) = (ROOMS[r], PEOPLE[p]);
        let room = self.rooms.entry(name.into()).or_default();
        let exists = !room.listed.is_empty();
        let place = room.listed.iter().position(|(listed, _)| listed == who);
        let hears = |listed: &[(String, bool)]| -> Vec<String> {
            listed.iter().filter(|(_, invited)| !invited).map(|(who, _)| who.clone()).collect()
        };
        let version = if exists { room.version } else { 0 };
        let before = hears(&room.listed);
        let mut ears = None;
        let changes = match *deed {
            Deed::Create(..) if !exists => {
                room.listed.push((who.into(), false));
                vec![RoomChange::Create { private: false }, admit(who, member_flag::OWNER)]
            }
            Deed::Admit(_, _, invited) if exists && place.is_none() => {
                room.listed.push((who.into(), invited));
                vec![admit(who, if invited { member_flag::INVITED } else { 0 })]
            }
            Deed::Accept(..) if place.is_some_and(|place| room.listed[place].1) => {
                room.listed[place?].1 = false;
                vec![RoomChange::SetFlags { who: aor(who), flags: 0 }]
            }
            Deed::Drop(_, _, last) if place.is_some() && room.listed.len() > 1 => {
                room.listed.remove(place?);
                ears = last.then_some(before);
                vec![RoomChange::Drop { who: aor(who), hears: last }]
            }
            Deed::Destroy(_) if exists => {
                room.listed.clear();
                ears = Some(before);
                vec![RoomChange::Destroy]
            }
            Deed::Post(..) if exists => vec![],
            _ => return None,
        };
        if !changes.is_empty() {
            room.version += 1;
        }
        // The end of a room is the last state of that version.
        if room.listed.is_empty() {
            room.version -= 1;
        }
        for ear in ears.unwrap_or_else(|| hears(&room.listed)) {
            self.ears.entry(ear).or_default().push(text.clone());
        }
        Some(step(name, version, changes, vec![post(who, &text)]))
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

    #[test]
    fn everybody_hears_what_the_simple_model_says(deeds in deeds(), limit in 1usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (dir, mut store) = fresh();
            let mut model = Model::default();
            for (n, deed) in deeds.iter().enumerate() {
                match deed {
                    Deed::Restart => {
                        drop(store);
                        store = Store::open(options(dir.path())).unwrap();
                    }
                    Deed::Sweep => store.sweep(i64::MAX),
                    deed => {
                        if let Some(commit) = model.act(deed, n) {
                            done(&store, commit).await;
                        }
                    }
                }
                for (name, expected) in &model.rooms {
                    let found = store.room(&aor(name)).unwrap().map(|room| room.read().unwrap().clone());
                    let found: Vec<(String, bool)> = found.into_iter().flat_map(|room| {
                        assert_eq!(room.version, expected.version, "{name}");
                        room.members
                    }).map(|m| (m.who.user().to_owned(), m.flags & member_flag::INVITED != 0)).collect();
                    assert_eq!(found, expected.listed);
                }
            }
            for who in PEOPLE {
                let expected = model.ears.get(who).cloned().unwrap_or_default();
                if store.account(&aor(who)).unwrap().is_some() {
                    assert_eq!(heard_after(&store, who, Seq(0), limit), expected, "{who}");
                } else {
                    assert!(expected.is_empty());
                }
            }
        });
    }
}

/// Numbers for people; run with `--ignored --nocapture`.
#[test]
#[ignore = "measures, proves nothing"]
fn measure_commits_and_pages() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let (dir, store) = fresh();
        for n in 0..1000 {
            room(&store, &format!("r{n}"), &["alice"]).await;
        }
        for submitters in [1usize, 10, 100, 1000] {
            let start = std::time::Instant::now();
            let each = if submitters == 1 { 2000 } else { 20_000 / submitters };
            let tasks: Vec<_> = (0..submitters)
                .map(|s| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        for n in 0..each {
                            let mut origin = [0; 16];
                            getrandom_like(&mut origin, (submitters * 1_000_000 + s * 10_000 + n) as u64);
                            let accepted =
                                Accepted { origin, answer: Answer { status: 202 }, body: 0, at: NOW };
                            let said = step(
                                &format!("r{}", (s * 37 + n) % 1000),
                                1,
                                vec![],
                                vec![post("alice", &"x".repeat(300))],
                            );
                            done(&store, Commit { accepted: Some(accepted), ..said }).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let rate = (submitters * each) as f64 / start.elapsed().as_secs_f64();
            println!("{submitters:5} submitters: {rate:9.0} commits/s");
        }
        store.close();
        drop(store);
        raw(&dir)
            .execute_batch(
                "BEGIN;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
                 INSERT INTO log (conversation, kind, sender, body, at, expires, hops, private)
                 SELECT 10000 + i * 7919 % 100000, 1, 1, randomblob(300), 0, 1 << 60, 9, 0 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                 INSERT INTO span (account, conversation, since) SELECT 1, 10000 + i * 20, 0 FROM n;
                 INSERT INTO conversation (kind, address) SELECT 1, 'x@y' FROM log LIMIT 0;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                 INSERT OR IGNORE INTO conversation (id, kind, address) SELECT 10000 + i, 1, 'c' || i || '@y' FROM n;
                 COMMIT;",
            )
            .unwrap();
        let start = std::time::Instant::now();
        let store = Store::open(options(dir.path())).unwrap();
        println!("open with 1M entries in 100k conversations: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        let spans = spans(&store, "alice");
        println!("view of {} spans: {:?}", spans.len(), start.elapsed());
        let mut after = Seq(20_000);
        for _ in 0..4 {
            let start = std::time::Instant::now();
            let page = store.page(&spans, after, 64, NOW).unwrap();
            println!("page of {} in 5,000 rooms: {:?}", page.entries.len(), start.elapsed());
            after = page.through;
        }
    });
}

fn getrandom_like(bytes: &mut [u8; 16], seed: u64) {
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes[8..].copy_from_slice(&seed.to_be_bytes());
}
