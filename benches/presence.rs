//! What presence costs: bytes of a subscription, NOTIFYs per CPU second, a storm of changes and a room beside it.
//!
//! `cargo bench --bench presence`. 5,000 accounts that publish, 20,000 subscriptions to them, all on one UDP socket of
//! ours, which answers every NOTIFY 200. Then, in turns and several times, for imcd and for Kamailio's presence module
//! if that is installed (Debian: kamailio-presence-modules; `KAMAILIO_MODULES` names a directory to look in as well):
//!
//! * *bytes*: the memory that the server took for its subscriptions, by each.
//! * *steady*: the next account publishes a new state when the watchers of an earlier one have all seen theirs, so
//!   that both servers send one NOTIFY for each change and watcher. NOTIFYs per CPU second of the whole server.
//! * *storm*: 10,000 changes per second, whatever becomes of them. NOTIFYs that came while an earlier one of their
//!   dialog was not answered; that came again; that came too late, with an old CSeq; watchers whose last NOTIFY is not
//!   the last state, of which there may be none.
//! * *room*: posts per second in a room of ten, during such a storm as share of those without it. imcd alone, once
//!   more with its paces (`presence.throttle`, as shipped).
//!
//! imcd runs with `presence.open` and without `presence.throttle`: nobody asks, nobody waits, as Kamailio does with
//! `force_active` and `send_fast_notify`. Neither asks for passwords. Kamailio keeps everything in memory
//! (`subs_db_mode` 0, `publ_cache` 2), imcd writes behind as it always does. `IMCD` names another build of imcd.
//! Any server that runs already, with its main process: `cargo bench --bench presence -- 192.0.2.1:5060 4711`.
//! `BENCH_SUBSCRIPTIONS`, `BENCH_ACCOUNTS`, `BENCH_CHANGES`, `BENCH_SECONDS` and `BENCH_ROUNDS` change the measures.

#![allow(clippy::unwrap_used)]

#[path = "kit.rs"]
mod kit;
#[path = "presence/load.rs"]
mod load;
#[path = "presence/peer.rs"]
mod peer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kit::{Daemon, Room, cpu_seconds, memory};
use load::Load;

/// How much is asked of a server.
#[derive(Clone, Copy)]
pub struct Measure {
    pub accounts: usize,
    pub subscriptions: usize,
    /// Of all accounts together, per second.
    pub changes: f64,
    pub time: Duration,
}

/// What came of it.
struct Found {
    bytes: f64,
    steady: f64,
    storm: f64,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn main() {
    let measure = Measure {
        accounts: number("BENCH_ACCOUNTS", 5_000),
        subscriptions: number("BENCH_SUBSCRIPTIONS", 20_000),
        changes: number("BENCH_CHANGES", 10_000) as f64,
        time: Duration::from_secs(number("BENCH_SECONDS", 4) as u64),
    };
    println!(
        "   server  bytes  steady/s  storm/s changes/s NOTIFYs/s 2nd open  again    old  wrong  room in the storm"
    );
    // `cargo bench` adds --bench.
    let given: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [server, pid] = &given[..] {
        run("given", server, pid, measure, true);
        println!();
        return;
    }
    let kamailio = peer::find();
    if kamailio.is_none() {
        println!("Kamailio's presence module is not there: imcd alone");
    }
    let mut rounds = Vec::new();
    for _ in 0..number("BENCH_ROUNDS", 3) {
        let ours = imcd("false");
        let (us, mut load) = run("imcd", &ours.address, &ours.pid(), measure, true);
        room_in_storm(&ours.address, measure, &mut load);
        drop(ours);
        if let Some(modules) = &kamailio {
            let theirs = peer::start(modules);
            let (them, _) = run("kamailio", &theirs.address, &theirs.pid(), measure, true);
            println!();
            rounds.push((us, them));
        }
        let paced = imcd("true");
        let (_, mut load) = run("paced", &paced.address, &paced.pid(), measure, false);
        room_in_storm(&paced.address, measure, &mut load);
    }
    for (us, them) in &rounds {
        println!(
            "imcd to kamailio: NOTIFYs per CPU second {:.2} times steady, {:.2} times in the storm; bytes {:.2} times",
            us.steady / them.steady,
            us.storm / them.storm,
            us.bytes / them.bytes
        );
    }
}

fn imcd(throttle: &str) -> Daemon {
    Daemon::start(&[
        ("IMCD_PRESENCE__OPEN", "true"),
        ("IMCD_PRESENCE__THROTTLE", throttle),
        ("IMCD_PRESENCE__MAX_SUBSCRIPTIONS", "1000000"),
    ])
}

/// Begins a line of the table. `at_once`: the server tells of every change as soon as it can.
fn run(name: &str, server: &str, pid: &str, measure: Measure, at_once: bool) -> (Found, Load) {
    let mut load = Load::new(server, measure);
    load.publish_all();
    let empty = memory(pid);
    load.subscribe_all();
    // What is written behind is written.
    std::thread::sleep(Duration::from_secs(2));
    let bytes = (memory(pid) - empty) / measure.subscriptions as f64;

    let mut steady = f64::NAN;
    if at_once {
        let cpu = cpu_seconds(pid);
        let notified = load.steady(measure.time);
        steady = notified as f64 / (cpu_seconds(pid) - cpu);
    }
    let (cpu, before) = (cpu_seconds(pid), load.counts);
    load.storm(measure.time);
    let said = load.counts - before;
    let wrong = load.settle();
    let after = load.counts - before;
    let storm = after.notified as f64 / (cpu_seconds(pid) - cpu);
    let seconds = measure.time.as_secs_f64();
    print!(
        "{name:>9} {bytes:>6.0} {steady:>9.0} {storm:>8.0} {:>9.0} {:>9.0} {:>8} {:>6} {:>6} {wrong:>6}  ",
        said.changes as f64 / seconds,
        said.notified as f64 / seconds,
        after.second_open,
        after.again,
        after.old,
    );
    (Found { bytes, steady, storm }, load)
}

/// Ends a line of the table.
fn room_in_storm(server: &str, measure: Measure, load: &mut Load) {
    let mut room = Room::new(server, 10);
    let calm = room.post(measure.time).0 as f64 / measure.time.as_secs_f64();
    let over = AtomicBool::new(false);
    let stormy = std::thread::scope(|scope| {
        let posting = scope.spawn(|| {
            let (mut posts, start) = (0, std::time::Instant::now());
            while !over.load(Ordering::Relaxed) {
                posts += room.post(Duration::from_millis(200)).0;
            }
            posts as f64 / start.elapsed().as_secs_f64()
        });
        load.storm(measure.time);
        over.store(true, Ordering::Relaxed);
        posting.join().unwrap()
    });
    println!("{:.0}%: {calm:.0} to {stormy:.0} posts/s", 100.0 * stormy / calm);
}
