//! What is let go of, and what is not.

use super::*;

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
    let id = store.put_account(&aor("alice"), None).await.unwrap().unwrap();
    store.positions(vec![(id, "urn:a".into(), Seq(3))]);
    store.flush().await;
    // Devices are seen by the wall clock.
    let seen = store.view(id).unwrap().devices[0].2;
    let bound = |key: &str, expires_at| StoredBinding { key: key.into(), data: "{}".into(), expires_at };
    store.bind(&aor("alice"), vec![bound("old", seen), bound("new", seen + DAY)], vec![]).await.unwrap();
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

/// Letters of both kinds in somebody's mailbox.
fn kept(dir: &TempDir, store: &Store, who: &str) -> Vec<String> {
    let mailbox = store.account(&aor(who)).unwrap().unwrap().mailbox;
    let conn = raw(dir);
    let mut rows =
        conn.prepare("SELECT CAST(body AS TEXT) FROM log WHERE conversation = ?1 ORDER BY seq").unwrap();
    rows.query_map([mailbox.0], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn letters_of_those_who_keep_none_go_with_their_delivery() {
    let (dir, store) = fresh();
    let sent = |body: &str| NewEntry {
        peer: Some(aor("bob")),
        ..entry(Place::Mailbox(aor("alice")), EntryKind::Sent, Some("alice"), body)
    };
    let mut seqs = Vec::new();
    for n in 0..1200 {
        let entries = vec![direct("bob", "alice", &n.to_string()), sent(&n.to_string())];
        seqs.push(done(&store, Commit { entries, ..Commit::default() }).await);
    }
    store.set(&aor("bob"), ("archive", "off")).await.unwrap();
    store.set(&aor("carol"), ("archive", "off")).await.unwrap();
    trim(&store, NOW).await;
    assert_eq!(kept(&dir, &store, "bob").len(), 1200, "nothing is taken yet");
    let bob = id(&store, "bob");
    store.positions(vec![(bob, "urn:a".into(), seqs[1199][1]), (bob, "urn:b".into(), seqs[1099][0])]);
    store.flush().await;
    trim(&store, NOW).await;
    assert_eq!(kept(&dir, &store, "bob")[0], "1100", "one of his devices is to get it yet");
    assert_eq!(kept(&dir, &store, "alice").len(), 1200, "hers are hers");
    assert_eq!(heard_after(&store, "bob", seqs[1099][0], 64).len(), 100);
    store.positions(vec![(bob, "urn:b".into(), seqs[1199][1])]);
    store.flush().await;
    trim(&store, NOW).await;
    assert_eq!(kept(&dir, &store, "bob"), [""; 0]);
    let head = store.head();
    drop(store);
    let nothing = Options { history_keep: Duration::ZERO, ..options(dir.path()) };
    let store = Store::open(nothing).unwrap();
    assert_eq!(store.head(), head);
    trim(&store, NOW).await;
    assert_eq!(kept(&dir, &store, "alice").len(), 1200, "she has no device, and they have not expired");
    store.positions(vec![(id(&store, "alice"), "".into(), seqs[9][1])]);
    store.flush().await;
    trim(&store, NOW).await;
    assert_eq!(kept(&dir, &store, "alice").len(), 1190);
    trim(&store, NOW + 4 * DAY).await;
    assert_eq!(kept(&dir, &store, "alice"), [""; 0]);
}

#[tokio::test]
async fn a_device_that_registers_is_not_forgotten_and_one_that_is_due_needs_no_trimmer() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap().unwrap();
    store.positions(vec![(id, "urn:a".into(), Seq(3)), (id, "urn:b".into(), Seq(5))]);
    store.flush().await;
    let pass = |device: &str, time: i64| {
        let sql = "UPDATE device SET seen = seen - ?2 WHERE instance = ?1";
        assert_eq!(raw(&dir).execute(sql, (device, time)).unwrap(), 1);
    };
    let known = || -> Vec<(String, i64)> {
        let devices = store.view(id).unwrap().devices;
        devices.iter().map(|(key, position, _)| (key.to_string(), position.0)).collect()
    };
    // It has nothing to take, but it is there.
    for _ in 0..3 {
        pass("urn:a", 2 * DAY);
        store.bind(&aor("alice"), vec![], vec!["urn:a".into(), "urn:new".into()]).await.unwrap();
    }
    let at = |device: &str, position| (device.to_string(), position);
    assert_eq!(
        known(),
        [at("urn:a", 3), at("urn:b", 5), at("urn:new", 5)],
        "a new one starts at the furthest"
    );
    pass("urn:b", 4 * DAY);
    pass("urn:new", 4 * DAY);
    assert_eq!(known(), [at("urn:a", 3)]);
    assert_eq!(store.view(id).unwrap().base, Seq(5), "nobody falls behind it");
    store.positions(vec![(id, "urn:a".into(), Seq(9))]);
    store.bind(&aor("alice"), vec![], vec!["urn:b".into()]).await.unwrap();
    assert_eq!(known(), [at("urn:a", 9), at("urn:b", 9)], "it is as new");
    // What the other one took and nobody has written yet counts too, as it does after a crash.
    trim(&store, store.view(id).unwrap().devices[0].2).await;
    assert_eq!(known(), [at("urn:a", 9), at("urn:b", 9)]);
}
