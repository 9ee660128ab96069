//! What people ask of what was said: their letters, what they missed, what they search for.

use super::*;

fn sent(from: &str, to: &str, body: &str) -> NewEntry {
    NewEntry { peer: Some(aor(to)), ..entry(Place::Mailbox(aor(from)), EntryKind::Sent, Some(from), body) }
}

/// A direct message as it is committed: in both mailboxes.
async fn letter(store: &Store, from: &str, to: &str, body: &str) -> Vec<Seq> {
    let entries = vec![direct(to, from, body), sent(from, to, body)];
    done(store, Commit { entries, ..Commit::default() }).await
}

async fn said(store: &Store, room: &str, who: &str, body: &str) -> Seq {
    let version = state(store, room).version;
    done(store, step(room, version, vec![], vec![post(who, body)])).await[0]
}

fn texts(entries: &[Arc<Entry>]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.body).into_owned()).collect()
}

async fn search(store: &Store, who: &str, question: &str) -> Vec<String> {
    let words = imcd::chat::search::words(question);
    texts(&store.search(id(store, who), words, 20, true).await.unwrap().expect("there is an index"))
}

async fn letters(store: &Store, who: &str, with: Option<&str>, n: usize) -> Vec<String> {
    let mailbox = store.account(&aor(who)).unwrap().unwrap().mailbox;
    texts(&store.letters(mailbox, with.map(aor), n).await.unwrap())
}

#[tokio::test]
async fn a_letter_is_in_both_mailboxes_and_sent_to_one() {
    let (_dir, store) = fresh();
    letter(&store, "alice", "bob", "one").await;
    letter(&store, "bob", "alice", "two").await;
    letter(&store, "alice", "carol", "three").await;
    assert_eq!(letters(&store, "alice", None, 10).await, ["one", "two", "three"]);
    assert_eq!(letters(&store, "alice", Some("bob"), 10).await, ["one", "two"]);
    assert_eq!(letters(&store, "alice", Some("BOB@EX.org"), 1).await, ["two"]);
    assert_eq!(letters(&store, "bob", None, 10).await, ["one", "two"]);
    assert_eq!(letters(&store, "carol", Some("bob"), 10).await, [""; 0]);
    assert_eq!(heard(&store, "alice"), ["two"]);
    let spans = spans(&store, "alice");
    assert_eq!(store.count_after(&spans[0], Seq(0), NOW).unwrap(), 1, "what he sent does not wait for him");
    let page = store.page_of(&spans, (Seq(0), store.head()), 9, NOW, true).unwrap();
    assert_eq!(texts(&page.entries), ["one", "two", "three"]);
    let copy = &page.entries[0];
    assert_eq!((copy.kind, copy.from.aor.as_str()), (EntryKind::Sent, "bob@ex.org"));
    assert_eq!(copy.sender.as_ref().unwrap().1, aor("alice"));
}

#[tokio::test]
async fn letters_are_found_behind_many_of_others() {
    let (dir, store) = fresh();
    letter(&store, "alice", "bob", "long ago").await;
    drop(store);
    raw(&dir)
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             INSERT INTO log (conversation, kind, sender, peer, body, at, expires, hops, private)
             SELECT mailbox, 3, 9, 'carol@ex.org', x'41', 0, 1 << 60, 9, 0 FROM n, account
             WHERE username = 'alice'",
        )
        .unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(letters(&store, "alice", Some("bob"), 10).await, ["long ago"]);
    assert_eq!(letters(&store, "alice", Some("carol"), 100).await.len(), 100);
}

#[tokio::test]
async fn words_are_found_in_what_one_may_see_and_nowhere_else() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice", "bob"]).await;
    said(&store, "team", "alice", "tea before carol came").await;
    done(&store, step("team", 1, vec![admit("carol", 0)], vec![notice("tea is a notice here")])).await;
    said(&store, "team", "alice", "Tea, at five!").await;
    done(&store, step("team", 2, vec![leave("bob")], vec![notice("bob left")])).await;
    said(&store, "team", "carol", "tea without bob").await;
    letter(&store, "alice", "bob", "more tea for bob").await;
    assert_eq!(
        search(&store, "alice", "tea").await,
        ["more tea for bob", "tea without bob", "Tea, at five!", "tea before carol came"]
    );
    assert_eq!(
        search(&store, "bob", "tea").await,
        ["more tea for bob", "Tea, at five!", "tea before carol came"]
    );
    assert_eq!(search(&store, "carol", "TEA").await, ["tea without bob", "Tea, at five!"]);
    assert_eq!(search(&store, "carol", "five tea").await, ["Tea, at five!"]);
    assert_eq!(search(&store, "carol", "tea coffee").await, [""; 0]);
    let room_only = store.search(id(&store, "bob"), vec!["tea".into()], 20, false).await.unwrap().unwrap();
    assert_eq!(texts(&room_only), ["Tea, at five!", "tea before carol came"]);
    let newest = store.search(id(&store, "alice"), vec!["tea".into()], 2, true).await.unwrap().unwrap();
    assert_eq!(texts(&newest), ["more tea for bob", "tea without bob"]);
    // Who comes back sees both times, not what was between them.
    done(&store, step("team", 3, vec![admit("bob", 0)], vec![notice("bob is back")])).await;
    said(&store, "team", "alice", "tea again").await;
    assert_eq!(
        search(&store, "bob", "tea").await,
        ["tea again", "more tea for bob", "Tea, at five!", "tea before carol came"]
    );
}

#[tokio::test]
async fn words_are_found_without_accents_in_other_scripts_and_never_as_syntax() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    for text in ["Größe und Café", "明日の会議は三時", "встреча в три", "say \"quoted\" NEAR c1", "?OTR:tea"]
    {
        said(&store, "team", "alice", text).await;
    }
    let image = NewEntry { content_type: Some("image/png".into()), ..post("alice", "tea") };
    done(&store, step("team", 1, vec![], vec![image])).await;
    assert_eq!(search(&store, "alice", "cafe GROSSE").await, [""; 0], "ß is no ss");
    assert_eq!(search(&store, "alice", "cafe größe").await, ["Größe und Café"]);
    assert_eq!(search(&store, "alice", "会議").await, ["明日の会議は三時"]);
    assert_eq!(search(&store, "alice", "議会").await, [""; 0]);
    assert_eq!(search(&store, "alice", "ВСТРЕЧА").await, ["встреча в три"]);
    assert_eq!(search(&store, "alice", "quoted near").await, ["say \"quoted\" NEAR c1"]);
    assert_eq!(search(&store, "alice", "tea").await, [""; 0]);
    let page = NewEntry { content_type: Some("text/html".into()), ..post("alice", "<p>tea<br>time</p>") };
    done(&store, step("team", 1, vec![], vec![page])).await;
    assert_eq!(search(&store, "alice", "tea time").await, ["<p>tea<br>time</p>"]);
    assert_eq!(search(&store, "alice", "br").await, [""; 0]);
    for odd in [
        "\"",
        "a\"b",
        "text:x",
        "NOT x",
        "x*",
        "^x",
        "(x",
        "x)",
        "{place}:c1",
        "-x",
        "+",
        "c1 OR c2",
        "ⓐ",
        "\u{300}x",
    ] {
        search(&store, "alice", odd).await;
    }
}

#[tokio::test]
async fn words_are_found_in_many_rooms_the_newest_first() {
    let (_dir, store) = fresh();
    let mut expected = Vec::new();
    for n in 0..150 {
        let name = format!("r{n}");
        let members: &[&str] = if n % 2 == 0 { &["alice", "bob"] } else { &["alice"] };
        room(&store, &name, members).await;
    }
    for n in 0..3000 {
        let room = (n * 7) % 150;
        let text = format!("tea number{n} {}", if n == 40 { "rare" } else { "common" });
        said(&store, &format!("r{room}"), "alice", &text).await;
        if room % 2 == 0 {
            expected.insert(0, text);
        }
    }
    // More than a first look takes: what bob wants is behind much that he may not see.
    for n in 0..1500 {
        said(&store, "r1", "alice", &format!("tea for alice {n}")).await;
    }
    assert_eq!(search(&store, "bob", "tea").await, expected[..20]);
    assert_eq!(search(&store, "bob", "rare").await, ["tea number40 rare"]);
    assert_eq!(search(&store, "bob", "number41").await, [""; 0]);
    assert_eq!(search(&store, "alice", "tea").await[0], "tea for alice 1499");
}

#[tokio::test]
async fn an_index_is_made_from_a_log_that_was_there_before_it_and_again_when_it_is_lost() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    for n in 0..1500 {
        said(&store, "team", "alice", &format!("number{n} of many")).await;
    }
    drop(store);
    let index = dir.path().join("t.db-search");
    for damage in ["none", "lost", "garbage", "of another log", "cut"] {
        match damage {
            "none" => {}
            "lost" => std::fs::remove_file(&index).unwrap(),
            "garbage" => std::fs::write(&index, vec![7; 50_000]).unwrap(),
            "cut" => {
                let whole = std::fs::read(&index).unwrap();
                std::fs::write(&index, &whole[..whole.len() / 2]).unwrap();
            }
            _ => {
                Connection::open(&index)
                    .unwrap()
                    .execute("UPDATE state SET value = x'00' WHERE key = 'log'", [])
                    .unwrap();
            }
        }
        let store = Store::open(options(dir.path())).unwrap();
        for _ in 0..10 {
            // A damage may be met in the middle of a question, which then fails; the index is made anew.
            if store.search_lag() == 0 {
                break;
            }
            let _ = store.search(id(&store, "alice"), vec!["many".into()], 20, true).await;
        }
        assert_eq!(search(&store, "alice", "number7").await, ["number7 of many"], "{damage}");
        assert_eq!(search(&store, "alice", "many").await.len(), 20, "{damage}");
        assert_eq!(store.search_lag(), 0, "{damage}");
    }
}

#[tokio::test]
async fn what_is_trimmed_is_not_found_and_leaves_the_index() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let seq = said(&store, "team", "alice", "gone tomorrow").await;
    let stays = NewEntry { at: NOW + 9 * DAY, expires: NOW + 99 * DAY, ..post("alice", "stays") };
    done(&store, step("team", 1, vec![], vec![stays])).await;
    assert_eq!(search(&store, "alice", "gone").await, ["gone tomorrow"]);
    while store.trim_slice(NOW + 31 * DAY).await.unwrap() {}
    assert_eq!(search(&store, "alice", "gone").await, [""; 0]);
    assert_eq!(search(&store, "alice", "stays").await, ["stays"]);
    let index = Connection::open(dir.path().join("t.db-search")).unwrap();
    let left = || -> Vec<i64> {
        let mut rows = index.prepare("SELECT rowid FROM words").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while left().contains(&seq.0) {
        assert!(std::time::Instant::now() < patience, "it is still in the index");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(left().len(), 1);
}

#[tokio::test]
async fn where_nothing_is_kept_nothing_is_searched() {
    let (dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    said(&store, "team", "alice", "secret").await;
    assert_eq!(search(&store, "alice", "secret").await, ["secret"]);
    drop(store);
    let store = Store::open(Options { history_keep: Duration::ZERO, ..options(dir.path()) }).unwrap();
    assert!(store.search(id(&store, "alice"), vec!["secret".into()], 20, true).await.unwrap().is_none());
    assert!(!dir.path().join("t.db-search").exists());
}

#[tokio::test]
async fn what_was_missed_is_counted_by_person_and_room() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice", "bob"]).await;
    said(&store, "team", "alice", "before").await;
    let bob = id(&store, "bob");
    assert!(store.missed(bob, None, 5).await.unwrap().is_none(), "he was not away");
    let from = store.head();
    letter(&store, "alice", "bob", "one").await;
    letter(&store, "bob", "alice", "his own").await;
    for n in 0..4 {
        said(&store, "team", "alice", &format!("post {n}")).await;
    }
    said(&store, "team", "bob", "his own post").await;
    letter(&store, "Alice", "bob", "two").await;
    let upto = store.head();
    letter(&store, "alice", "bob", "after").await;
    store.was_away(bob, "urn:a".into(), from, upto);
    store.was_away(bob, "urn:b".into(), from, from);
    store.flush().await;
    let missed = store.missed(bob, Some("urn:a".into()), 3).await.unwrap().unwrap();
    let counts: Vec<_> = missed.counts.iter().map(|of| (of.entry.from.aor.as_str(), of.count)).collect();
    assert_eq!(counts, [("Alice@ex.org", 2), ("team@ex.org", 4)]);
    assert_eq!(texts(&missed.newest), ["post 2", "post 3", "two"]);
    assert_eq!(texts(&store.missed(bob, None, 1).await.unwrap().unwrap().newest), ["two"]);
    let nothing = store.missed(bob, Some("urn:b".into()), 3).await.unwrap().unwrap();
    assert!(nothing.counts.is_empty() && nothing.newest.is_empty());
    assert!(store.missed(bob, Some("urn:c".into()), 3).await.unwrap().is_none());
    // Gone again with half of it, it was away all the time; then it came back with all of it, and went.
    store.was_away(bob, "urn:a".into(), Seq(upto.0 - 2), store.head());
    store.flush().await;
    let missed = store.missed(bob, Some("urn:a".into()), 1).await.unwrap().unwrap();
    assert_eq!((missed.counts[0].count, missed.counts[1].count), (3, 4));
    let head = store.head();
    let last = letter(&store, "alice", "bob", "much later").await;
    store.was_away(bob, "urn:a".into(), head, last[1]);
    store.flush().await;
    let missed = store.missed(bob, Some("urn:a".into()), 9).await.unwrap().unwrap();
    assert_eq!(texts(&missed.newest), ["much later"]);
    let view = store.view(bob).unwrap();
    let devices: Vec<_> = view.devices.iter().map(|(key, position, _)| (&**key, *position)).collect();
    assert_eq!(devices, [("urn:a", from), ("urn:b", from)], "an absence moves no position");
}

#[tokio::test]
async fn an_index_that_cannot_be_written_is_unavailable_and_harms_nobody() {
    let (dir, store) = fresh();
    drop(store);
    std::fs::remove_file(dir.path().join("t.db-search")).ok();
    // A directory in its place, which nobody can open as a file and nobody removes.
    std::fs::create_dir_all(dir.path().join("t.db-search").join("inside")).unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    room(&store, "team", &["alice"]).await;
    said(&store, "team", "alice", "tea").await;
    for _ in 0..2 {
        assert!(is_unavailable(store.search(id(&store, "alice"), vec!["tea".into()], 20, true).await));
    }
    letter(&store, "alice", "bob", "still here").await;
    assert_eq!(letters(&store, "alice", None, 9).await, ["still here"]);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, ..Default::default() })]

    #[test]
    fn any_question_has_an_answer(questions in proptest::collection::vec("\\PC{0,60}|[ \"'*^:(){}+.AND OR NOT-]{0,40}", 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = fresh();
            room(&store, "team", &["alice"]).await;
            for text in &questions {
                said(&store, "team", "alice", text).await;
            }
            for question in &questions {
                let found = search(&store, "alice", question).await;
                let words = imcd::chat::search::words(question);
                let plain = |word: &String| word.chars().all(|c| c.is_ascii_alphanumeric());
                if !words.is_empty() && words.iter().all(plain) && question.split_whitespace().count() <= 8 {
                    assert!(found.contains(question), "{question:?} is not among {found:?}");
                }
            }
        });
    }
}

#[tokio::test]
async fn of_very_much_that_was_missed_the_count_says_that_there_is_more() {
    let (dir, store) = fresh();
    letter(&store, "alice", "bob", "first").await;
    let from = store.head();
    drop(store);
    raw(&dir)
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
             INSERT INTO log (conversation, kind, sender, peer, body, at, expires, hops, private)
             SELECT mailbox, 3, 99, 'carol@ex.org', CAST('x' || i AS BLOB), 0, 1 << 60, 9, 0 FROM n, account
             WHERE username = 'bob'",
        )
        .unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let bob = id(&store, "bob");
    store.was_away(bob, "".into(), from, store.head());
    store.flush().await;
    let missed = store.missed(bob, None, 2).await.unwrap().unwrap();
    assert_eq!((missed.counts.len(), missed.counts[0].count, missed.counts[0].more), (1, 1000, true));
    assert_eq!(missed.counts[0].entry.from.aor, aor("carol"));
}
