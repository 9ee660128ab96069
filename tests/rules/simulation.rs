//! Random rooms, phones, networks and crashes, from a seed; an oracle that knows what everybody had to get.
//!
//! Prevents what nobody thought of. 2,000 seeds in a normal run, 100,000 with `IMCD_PROOF=1`; `IMCD_SEED=n` runs
//! one. A failure prints its seed. Time is virtual: an hour takes a millisecond.

mod network;
mod oracle;
mod phones;

use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64: small, and the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both inclusive.
    pub fn roll(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.roll(1, 100) <= chance
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(0, from.len() as u64 - 1) as usize]
    }
}

/// Says which seed it was if the run ends in a panic.
struct Confession(u64);

impl Drop for Confession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with IMCD_SEED={}", self.0);
        }
    }
}

#[derive(Default)]
struct Sums {
    taken: AtomicU64,
    crashes: AtomicU64,
    timed_out: AtomicU64,
    repeated: AtomicU64,
}

fn run(seed: u64, sums: &Sums) {
    let _confession = Confession(seed);
    let counts = network::Network::new(seed).run();
    sums.taken.fetch_add(counts.taken, Ordering::Relaxed);
    sums.crashes.fetch_add(counts.crashes, Ordering::Relaxed);
    sums.timed_out.fetch_add(counts.timed_out, Ordering::Relaxed);
    sums.repeated.fetch_add(counts.repeated, Ordering::Relaxed);
}

#[test]
fn whatever_happens_everybody_gets_everything_in_order() {
    let sums = Sums::default();
    if let Some(seed) = std::env::var("IMCD_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed, &sums);
    }
    let seeds = if std::env::var("IMCD_PROOF").is_ok_and(|v| v == "1") { 100_000 } else { 2_000 };
    let next = AtomicU64::new(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        break;
                    }
                    run(seed, &sums);
                }
            });
        }
    });
    // The dice must have done something, else this proves nothing.
    let sum = |of: &AtomicU64| of.load(Ordering::Relaxed);
    assert!(sum(&sums.taken) > 20 * seeds, "{} taken", sum(&sums.taken));
    assert!(sum(&sums.crashes) > seeds / 2, "{} crashes", sum(&sums.crashes));
    assert!(sum(&sums.timed_out) > seeds, "{} silences", sum(&sums.timed_out));
    assert!(sum(&sums.repeated) > seeds / 4, "{} repeats", sum(&sums.repeated));
}
