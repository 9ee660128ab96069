//! How much one sender may say (spec §2 `limits.posts_per_s`), and how often he is told the same.
//!
//! Bounded: who has been silent is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// Takes one token at `per_s` a second; `Err`: wait so long. 0 is no limit.
    pub fn take(&self, key: K, per_s: u32, now: Instant) -> Result<(), Duration> {
        if per_s == 0 {
            return Ok(());
        }
        let (rate, full) = (f64::from(per_s), f64::from(per_s) * BURST_S);
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
