//! Timers of a shard: a hashed wheel of ten-millisecond slots.
//!
//! Arming costs a push, expiring costs a visit, nothing is ever cancelled: who is visited too early says so and
//! is armed again. So half a million short timers a second cost less than one ordered insert each.

use std::time::{Duration, Instant};

/// Width of a slot.
pub const TICK: Duration = Duration::from_millis(10);
/// Slots: 41 s, more than Timer F. A later time is armed at the end and again from there.
const SLOTS: usize = 4096;

/// A wheel of `u32` names.
pub struct Wheel {
    start: Instant,
    /// Ticks passed.
    now: u64,
    slots: Vec<Vec<u32>>,
    /// One bit a slot that is not empty, so that the next one is found without looking at each.
    occupied: [u64; SLOTS / 64],
    armed: usize,
}

impl Wheel {
    pub fn new(now: Instant) -> Wheel {
        Wheel { start: now, now: 0, slots: vec![Vec::new(); SLOTS], occupied: [0; SLOTS / 64], armed: 0 }
    }

    fn tick_of(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_micros() as u64;
        since.div_ceil(TICK.as_micros() as u64)
    }

    fn time_of(&self, tick: u64) -> Instant {
        self.start + Duration::from_millis(tick * TICK.as_millis() as u64)
    }

    /// Visits `name` at `at` or up to one tick later; at most 41 s from now. Returns when that will be.
    pub fn arm(&mut self, name: u32, at: Instant) -> Instant {
        let tick = self.tick_of(at).clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        let at = tick as usize % SLOTS;
        self.slots[at].push(name);
        self.occupied[at / 64] |= 1 << (at % 64);
        self.armed += 1;
        self.time_of(tick)
    }

    /// Takes all names that are due at `now`.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        let until = now.saturating_duration_since(self.start).as_micros() as u64 / TICK.as_micros() as u64;
        while self.now < until {
            if self.armed == 0 {
                self.now = until;
                return;
            }
            self.now += 1;
            let at = self.now as usize % SLOTS;
            self.occupied[at / 64] &= !(1 << (at % 64));
            let slot = &mut self.slots[at];
            self.armed -= slot.len();
            due.append(slot);
        }
    }

    /// When [`Wheel::expire`] will next have something.
    pub fn next(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        // From the slot after now around to now itself; the first word is met twice, cut at both ends.
        let first = (self.now as usize + 1) % SLOTS;
        let words = self.occupied.len();
        (0..=words).find_map(|ahead| {
            let word = (first / 64 + ahead) % words;
            let before = (1u64 << (first % 64)) - 1;
            let bits = match ahead {
                0 => self.occupied[word] & !before,
                last if last == words => self.occupied[word] & before,
                _ => self.occupied[word],
            };
            let slot = word * 64 + bits.trailing_zeros() as usize;
            let ticks = (slot + SLOTS - first) % SLOTS;
            (bits != 0).then(|| self.time_of(self.now + 1 + ticks as u64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_at_their_time_and_not_before() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for (name, ms) in [(1u32, 500u64), (2, 15), (3, 32_000)] {
            wheel.arm(name, start + Duration::from_millis(ms));
        }
        let mut due = Vec::new();
        assert_eq!(wheel.next(), Some(start + Duration::from_millis(20)));
        wheel.expire(start + Duration::from_millis(14), &mut due);
        assert!(due.is_empty());
        wheel.expire(start + Duration::from_millis(20), &mut due);
        assert_eq!(due, [2]);
        wheel.expire(start + Duration::from_millis(40_000), &mut due);
        assert_eq!(due, [2, 1, 3]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn the_next_time_is_right_wherever_the_wheel_stands() {
        let start = Instant::now();
        for turn in (0..9_000u64).step_by(37) {
            for ahead in [1, 2, 63, 64, 65, 4_000, 4_095] {
                let mut wheel = Wheel::new(start);
                let mut due = Vec::new();
                wheel.expire(start + TICK * turn as u32, &mut due);
                let visit = wheel.arm(7, start + TICK * (turn + ahead) as u32);
                assert_eq!(wheel.next(), Some(visit), "{turn} {ahead}");
                assert_eq!(visit, start + TICK * (turn + ahead) as u32);
                wheel.expire(visit - TICK, &mut due);
                assert!(due.is_empty());
                wheel.expire(visit, &mut due);
                assert_eq!((due, wheel.next()), (vec![7], None));
            }
        }
    }

    #[test]
    fn a_time_beyond_the_wheel_is_visited_early_rather_than_lost() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let visit = wheel.arm(9, start + Duration::from_secs(900));
        assert!(visit < start + Duration::from_secs(42));
        let mut due = Vec::new();
        wheel.expire(visit, &mut due);
        assert_eq!(due, [9]);
    }
}
