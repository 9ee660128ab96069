//! Numbers for people. Proves nothing.

use super::misfortune::PEER;
use super::*;

/// Run with `--ignored --nocapture`.
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
            let wal = std::fs::metadata(dir.path().join("t.db-wal")).unwrap().len() >> 20;
            println!("{submitters:5} submitters: {rate:9.0} commits/s, log of {wal} MB");
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
        let peers = tempfile::tempdir().unwrap();
        raw(&peers).execute_batch(PEER).unwrap();
        raw(&peers)
            .execute_batch(
                "BEGIN;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                 INSERT INTO imc_rooms (name, domain, flag) SELECT 'r' || i, 'ex.org', i & 1 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)
                 INSERT INTO imc_members (username, domain, room, flag)
                 SELECT 'u' || (i * 7 % 300000), 'ex.org', 'sip:r' || (1 + i / 10) || '@ex.org', 0 FROM n;
                 COMMIT;",
            )
            .unwrap();
        for what in ["adopting", "opening"] {
            let start = std::time::Instant::now();
            let store = Store::open(options(peers.path())).unwrap();
            println!("{what} 100k rooms with 1M members: {:?}", start.elapsed());
            assert_eq!(state(&store, "r77").members.len(), 10);
        }
    });
}

fn getrandom_like(bytes: &mut [u8; 16], seed: u64) {
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes[8..].copy_from_slice(&seed.to_be_bytes());
}

/// Commits a second with 200 submitters for a few seconds.
async fn rate(store: &Store, commit: impl Fn(usize) -> Commit + Clone + Send + 'static) -> f64 {
    let start = std::time::Instant::now();
    let tasks: Vec<_> = (0..200)
        .map(|s| {
            let (store, commit) = (store.clone(), commit.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while start.elapsed() < Duration::from_secs(4) {
                    done(&store, commit(s * 1_000_000 + count)).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// Run with `--ignored --nocapture`. Ratios of one run: absolute figures mean little on a shared machine.
#[test]
#[ignore = "measures, proves nothing"]
fn measure_what_the_archive_costs() {
    const WORDS: [&str; 8] = ["tea", "at", "five", "in", "the", "garden", "with", "everybody"];
    let text = |n: usize| -> String {
        (0..40).map(|i| format!("{}{} ", WORDS[(n + i) % 8], (n * 31 + i * 7) % 5000)).collect()
    };
    let accepted = |n: usize| {
        let mut origin = [0; 16];
        getrandom_like(&mut origin, n as u64);
        Some(Accepted { origin, answer: Answer { status: 202 }, body: 0, at: NOW })
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        for round in 0..3 {
            for indexed in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let keep = Duration::from_secs(if indexed { 30 * 86400 } else { 0 });
                let store = Store::open(Options { history_keep: keep, ..options(dir.path()) }).unwrap();
                room(&store, "team", &["alice"]).await;
                let posts = rate(&store, move |n| Commit {
                    accepted: accepted(n),
                    ..step("team", 1, vec![], vec![post("alice", &text(n))])
                })
                .await;
                let lag = if indexed { store.search_lag() } else { 0 };
                println!("round {round}, index {indexed}: {posts:7.0} posts/s, {lag} behind");
                if indexed {
                    let (lag, start) = (store.search_lag(), std::time::Instant::now());
                    while store.search_lag() > 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    println!("    caught up: {:.0} entries/s", lag as f64 / start.elapsed().as_secs_f64());
                    let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len() >> 20;
                    println!("    database {} MB, index {} MB", size("t.db"), size("t.db-search"));
                    for question in ["garden17", "tea16 garden17", "tea0 at7 five14 in21", "nothing"] {
                        let start = std::time::Instant::now();
                        let words = imcd::chat::search::words(question);
                        let found =
                            store.search(id(&store, "alice"), words, 20, true).await.unwrap().unwrap();
                        println!("    {question:?}: {} in {:?}", found.len(), start.elapsed());
                    }
                }
            }
            for both in [false, true] {
                let (_dir, store) = fresh();
                let letters = rate(&store, move |n| {
                    let body = text(n);
                    let sent = NewEntry {
                        peer: Some(aor("bob")),
                        ..entry(Place::Mailbox(aor("alice")), EntryKind::Sent, Some("alice"), &body)
                    };
                    let first = direct("bob", "alice", &body);
                    let entries = if both { vec![first, sent] } else { vec![first] };
                    Commit { entries, accepted: accepted(n), ..Commit::default() }
                })
                .await;
                println!("round {round}, kept by its author {both}: {letters:7.0} letters/s");
            }
        }
    });
}

/// Run with `--ignored --nocapture`.
#[test]
#[ignore = "measures, proves nothing"]
fn measure_searching_in_many_rooms() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let (dir, store) = fresh();
        room(&store, "team", &["alice"]).await;
        drop(store);
        raw(&dir)
            .execute_batch(
                "BEGIN;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
                 INSERT INTO log (conversation, kind, sender, body, at, expires, hops, private)
                 SELECT 10000 + i * 7919 % 100000, 1, 1, CAST('tea word' || (i % 1000) || ' rare' || i AS BLOB),
                    1, 1 << 60, 9, 0 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                 INSERT INTO span (account, conversation, since) SELECT 1, 10000 + i * 20, 0 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                 INSERT OR IGNORE INTO conversation (id, kind, address) SELECT 10000 + i, 1, 'c' || i || '@y' FROM n;
                 COMMIT;",
            )
            .unwrap();
        let start = std::time::Instant::now();
        let store = Store::open(options(dir.path())).unwrap();
        println!("open: {:?}", start.elapsed());
        while store.search_lag() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("an index of 1M entries: {:?}", start.elapsed());
        for question in ["tea", "word7", "tea word7", "rare500000", "rare7919", "nothing"] {
            let start = std::time::Instant::now();
            let words = imcd::chat::search::words(question);
            let found = store.search(id(&store, "alice"), words, 20, true).await.unwrap().unwrap();
            println!("{question:?} in 5,000 rooms: {} in {:?}", found.len(), start.elapsed());
        }
    });
}

#[test]
#[ignore = "prints how soon a device in 5,000 rooms, a million entries behind, gets its first page"]
fn measure_a_return_to_many_rooms() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let (dir, store) = fresh();
        room(&store, "team", &["alice"]).await;
        drop(store);
        raw(&dir)
            .execute_batch(
                "BEGIN;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
                 INSERT INTO log (conversation, kind, sender, body, at, expires, hops, private)
                 SELECT 10000 + i * 7919 % 5000, 1, 1, CAST('entry ' || i AS BLOB), 1, 1 << 60, 9, 0 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
                 INSERT INTO span (account, conversation, since) SELECT 1, 10000 + i, 0 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
                 INSERT OR IGNORE INTO conversation (id, kind, address) SELECT 10000 + i, 1, 'c' || i || '@y' FROM n;
                 COMMIT;",
            )
            .unwrap();
        let store = Store::open(options(dir.path())).unwrap();
        let account = id(&store, "alice");
        let now = 2;
        let mut after = Seq(0);
        for page in 1..=5 {
            let start = std::time::Instant::now();
            let upto = store.head();
            let spans = store.view(account).unwrap().spans;
            let viewed = start.elapsed();
            let read = store.page_of(&spans, (after, upto), 64, now, false).unwrap();
            let paged = start.elapsed();
            for entry in &read.entries {
                let span = spans.iter().find(|span| span.conversation == entry.conversation).unwrap();
                assert!(store.count_after(span, after, now).unwrap() <= 500);
            }
            println!(
                "page {page}: {} entries; spans after {viewed:?}, entries after {paged:?}, counted after {:?}",
                read.entries.len(),
                start.elapsed()
            );
            after = read.through;
        }
    });
}
