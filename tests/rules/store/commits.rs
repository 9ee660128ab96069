//! What a commit does, and what it never does.

use super::*;

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
    assert_eq!((store.active_rooms(), store.listed_members()), (1, 3));
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
    assert_eq!(store.listed_members(), 2);
    let twice = store.commit(step("team", 2, vec![admit("carol", 0), admit("bob", 0)], vec![])).await;
    assert!(twice.is_err());
    assert_eq!(store.listed_members(), 2, "what is taken back does not count");
    done(&store, step("team", 2, vec![RoomChange::SetFlags { who: aor("bob"), flags: 2 }], vec![])).await;
    assert_eq!(*lent.read().unwrap(), state(&store, "team"));
    assert_eq!(lent.read().unwrap().members[1].flags, member_flag::ADMIN);
    assert_eq!(lent.read().unwrap().version, 3);
    done(&store, step("team", 3, vec![leave("bob")], vec![notice("bob left")])).await;
    assert_eq!(lent.read().unwrap().members.len(), 1);
    assert_eq!(store.listed_members(), 1);
    done(&store, step("team", 4, vec![RoomChange::Destroy], vec![])).await;
    assert!(store.room(&aor("team")).unwrap().is_none());
    assert_eq!((store.active_rooms(), store.listed_members()), (0, 0));
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
async fn what_is_withdrawn_is_gone_and_its_seq_with_it() {
    let (dir, store) = fresh();
    let entries = vec![direct("bob", "alice", "stays"), direct("bob", "alice", "goes")];
    let seqs = done(&store, Commit { entries, ..Commit::default() }).await;
    assert_eq!(store.withdraw(vec![seqs[1], Seq(99)], None).await.unwrap(), 1);
    assert_eq!(heard(&store, "bob"), ["stays"]);
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    let next =
        done(&store, Commit { entries: vec![direct("bob", "alice", "next")], ..Commit::default() }).await;
    assert!(next[0] > seqs[1]);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_remembered_of_a_room_never_parts_from_the_disk() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, busy) = (store.clone(), busy.clone());
            std::thread::spawn(move || {
                while busy.load(std::sync::atomic::Ordering::Relaxed) {
                    if let Some(room) = store.room(&aor("team")).unwrap() {
                        let room = room.read().unwrap();
                        // Somebody joins with every even version, and leaves with every odd one.
                        assert_eq!(room.members.len() as u64, 2 - room.version % 2, "{room:?}");
                    }
                    store.sweep(i64::MAX);
                }
            })
        })
        .collect();
    for n in 0..150u64 {
        let change = if n % 2 == 0 { admit("bob", 0) } else { leave("bob") };
        done(&store, step("team", n + 1, vec![change], vec![])).await;
        assert_eq!(state(&store, "team").version, n + 2);
    }
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    let remembered = state(&store, "team");
    drop(store);
    assert_eq!(state(&Store::open(options(dir.path())).unwrap(), "team"), remembered);
}

#[tokio::test]
async fn a_message_beside_the_end_of_its_account_goes_to_the_mailbox_that_is_there() {
    let (_dir, store) = fresh();
    store.put_account(&aor("bob"), None).await.unwrap();
    assert!(store.account(&aor("bob")).unwrap().is_some(), "it is in the cache");
    for text in ["a", "b", "c"] {
        let message = Commit { entries: vec![direct("bob", "alice", text)], ..Commit::default() };
        let bob = aor("bob");
        let (gone, sent) = tokio::join!(store.remove_account(&bob), store.commit(message));
        assert!(gone.unwrap() && sent.is_ok());
        assert_eq!(heard(&store, "bob"), [text]);
        store.put_account(&bob, None).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_as_they_lie_there() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let copy = tempfile::tempdir().unwrap();
    for n in 0..20 {
        done(&store, step("team", 1, vec![], vec![post("alice", &n.to_string())])).await;
        // As if the process were killed in this moment: the log is read back from what it left.
        for name in ["t.db", "t.db-wal"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let left = Store::open(options(copy.path())).unwrap();
        assert_eq!(heard(&left, "alice").len(), n + 1);
        drop(left);
        for file in std::fs::read_dir(copy.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[tokio::test]
async fn an_address_is_a_rooms_or_an_accounts_whoever_comes_first() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    assert_eq!(store.put_account(&aor("Team"), Some(Credentials::default())).await.unwrap(), None);
    assert_eq!(store.bind(&aor("team"), vec![], vec!["urn:a".into()]).await.unwrap(), None);
    assert_eq!(store.add_accounts(vec![(aor("team"), None)]).await.unwrap(), [false]);
    assert!(!store.account(&aor("team")).unwrap().is_some_and(|known| known.registered));

    // Whoever is heard of only, as alice is by now, is no account.
    room(&store, "alice", &["bob"]).await;
    store.put_account(&aor("bob"), None).await.unwrap().unwrap();
    let create = step("BOB", 0, vec![RoomChange::Create { private: false }], vec![]);
    assert!(matches!(store.commit(create).await, Ok(Committed::Stale)));
    // Neither when both are on their way together: one of them comes first.
    let carol = aor("carol");
    let create = step("carol", 0, vec![RoomChange::Create { private: false }], vec![]);
    let (account, made) = tokio::join!(store.put_account(&carol, None), store.commit(create));
    assert_ne!(account.unwrap().is_some(), !matches!(made, Ok(Committed::Stale)));
    let rooms = 2 + u64::from(store.room(&carol).unwrap().is_some());
    assert_eq!(store.active_rooms(), rooms);
    // With the account its address is free.
    assert!(store.remove_account(&aor("bob")).await.unwrap());
    room(&store, "bob", &[]).await;
}

#[tokio::test]
async fn a_domain_that_is_removed_is_empty_and_stays_so() {
    let (_dir, store) = fresh();
    for domain in ["one.org", "Two.org", "three.org"] {
        store.add_domain(domain).await.unwrap();
    }
    let at = |domain: &str| Aor::new("team", domain).unwrap();
    let create = |domain: &str| {
        let changes = vec![RoomChange::Create { private: false }];
        let step = RoomStep { address: at(domain), version: 0, changes };
        Commit { room: Some(step), ..Commit::default() }
    };
    done(&store, create("one.org")).await;
    store.put_account(&at("two.org"), None).await.unwrap().unwrap();
    assert!(!store.remove_domain("one.org").await.unwrap(), "it has a room");
    assert!(!store.remove_domain("Two.org").await.unwrap(), "it has an account");
    assert!(store.remove_domain("three.org").await.unwrap());
    assert_eq!(store.domains().unwrap(), ["one.org", "Two.org"]);
    // Who saw it served a moment ago makes nothing there.
    assert_eq!(store.put_account(&at("Three.org"), None).await.unwrap(), None);
    assert!(matches!(store.commit(create("three.ORG")).await, Ok(Committed::Stale)));
    store.add_domain("Three.org").await.unwrap();
    done(&store, create("three.org")).await;
}
