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
