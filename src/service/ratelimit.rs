//! How much one sender may say (spec §2 `limits.posts_per_s`), and how often he is told the same.
//!
//! Bounded: who has been silent is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::types::Aor;

/// Seconds of the rate that may come at once.
const BURST_S: f64 = 5.0;
/// Entries above which the silent are looked for.
const SWEEP_AT: usize = 4096;

/// A token bucket per key.
pub struct RateLimit<K> {
    buckets: Mutex<HashMap<K, (f64, Instant)>>,
}

impl<K: Hash + Eq> Default for RateLimit<K> {
    fn default() -> Self {
        RateLimit { buckets: Mutex::default() }
    }
}

impl<K: Hash + Eq> RateLimit<K> {
    /// Takes one token at `per_s` a second, with a burst of five seconds' worth; `Err`: wait so long. 0 is no limit.
    pub fn take(&self, key: K, per_s: u32, now: Instant) -> Result<(), Duration> {
        self.take_of(key, f64::from(per_s), f64::from(per_s) * BURST_S, now)
    }

    /// Takes one token at `per_h` an hour, all of which may come at once; `Err`: wait so long. 0 is no limit.
    pub fn take_hourly(&self, key: K, per_h: u32, now: Instant) -> Result<(), Duration> {
        self.take_of(key, f64::from(per_h) / 3600.0, f64::from(per_h), now)
    }

    fn take_of(&self, key: K, rate: f64, full: f64, now: Instant) -> Result<(), Duration> {
        if full < 1.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SWEEP_AT && !buckets.contains_key(&key) {
            buckets.retain(|_, (tokens, at)| *tokens + (now - *at).as_secs_f64() * rate < full);
        }
        let (tokens, at) = buckets.entry(key).or_insert((full, now));
        *tokens = (*tokens + now.saturating_duration_since(*at).as_secs_f64() * rate).min(full);
        *at = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - *tokens) / rate))
    }
}

/// Who has written to whom, for a day.
#[derive(Default)]
pub struct Acquainted {
    pairs: Mutex<HashMap<(Aor, Aor), Instant>>,
}

impl Acquainted {
    const KEPT: Duration = Duration::from_secs(86_400);
    const MOST: usize = 262_144;

    /// Neither has written to the other.
    pub fn are_strangers(&self, from: &Aor, to: &Aor, now: Instant) -> bool {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |pair: (Aor, Aor)| {
            pairs.get(&pair).is_some_and(|at| now.saturating_duration_since(*at) < Self::KEPT)
        };
        !lately((from.clone(), to.clone())) && !lately((to.clone(), from.clone()))
    }

    pub fn wrote(&self, from: &Aor, to: &Aor, now: Instant) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if pairs.len() >= Self::MOST {
            pairs.retain(|_, at| now.saturating_duration_since(*at) < Self::KEPT);
            if pairs.len() >= Self::MOST {
                // Rather count an old acquaintance as a stranger than grow without bound.
                pairs.clear();
            }
        }
        pairs.insert((from.clone(), to.clone()), now);
    }
}

/// Says yes once per key and period.
pub struct Once<K> {
    said: Mutex<HashMap<K, Instant>>,
    period: Duration,
}

impl<K: Hash + Eq> Once<K> {
    pub fn per(period: Duration) -> Once<K> {
        Once { said: Mutex::default(), period }
    }

    pub fn first(&self, key: K, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= SWEEP_AT {
            said.retain(|_, at| now.saturating_duration_since(*at) < self.period);
        }
        match said.get(&key) {
            Some(at) if now.saturating_duration_since(*at) < self.period => false,
            // Too many at once: rather silent than without bound.
            None if said.len() >= 16 * SWEEP_AT => false,
            _ => {
                said.insert(key, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_counts() {
        let limit = RateLimit::default();
        let start = Instant::now();
        for _ in 0..100 {
            assert!(limit.take("a", 20, start).is_ok());
        }
        assert_eq!(limit.take("a", 20, start), Err(Duration::from_millis(50)));
        assert!(limit.take("b", 20, start).is_ok());
        assert!(limit.take("a", 20, start + Duration::from_millis(51)).is_ok());
        assert!(limit.take("a", 0, start).is_ok());
    }

    #[test]
    fn an_hourly_rate_may_come_at_once() {
        let limit = RateLimit::default();
        let start = Instant::now();
        for _ in 0..10 {
            assert!(limit.take_hourly("a", 10, start).is_ok());
        }
        assert_eq!(limit.take_hourly("a", 10, start), Err(Duration::from_secs(360)));
        assert!(limit.take_hourly("a", 10, start + Duration::from_secs(361)).is_ok());
        assert!(limit.take_hourly("a", 0, start).is_ok());
    }

    #[test]
    fn who_wrote_or_was_written_to_is_no_stranger_for_a_day() {
        let known = Acquainted::default();
        let (a, b, c) = ("a@x", "b@x", "c@x");
        let [a, b, c] = [a, b, c].map(|text| Aor::parse(text).unwrap());
        let start = Instant::now();
        known.wrote(&a, &b, start);
        assert!(!known.are_strangers(&a, &b, start) && !known.are_strangers(&b, &a, start));
        assert!(known.are_strangers(&a, &c, start));
        assert!(known.are_strangers(&a, &b, start + Acquainted::KEPT));
    }

    #[test]
    fn the_silent_are_forgotten() {
        let limit = RateLimit::default();
        let start = Instant::now();
        for key in 0..SWEEP_AT {
            limit.take(key, 1, start).unwrap();
        }
        limit.take(SWEEP_AT, 1, start + Duration::from_secs(60)).unwrap();
        assert!(limit.buckets.lock().unwrap().len() <= 2);
    }

    #[test]
    fn the_same_is_said_once_a_minute() {
        let once = Once::per(Duration::from_secs(60));
        let start = Instant::now();
        assert!(once.first(1, start));
        assert!(!once.first(1, start + Duration::from_secs(59)));
        assert!(once.first(2, start));
        assert!(once.first(1, start + Duration::from_secs(60)));
    }
}
