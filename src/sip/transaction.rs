//! Client timers of a non-INVITE transaction, as a value of 24 bytes.
//!
//! Prevents that a lost packet is a lost message, and that a dead peer is asked for ever. The rest of a client
//! transaction needs no memory of its own: a response is matched by its branch, and after the final one Timer K
//! is the plain fact that an unmatched response is dropped (RFC 3261 §17.1.2.2).
//! Never sends, never reads a clock.

use std::time::{Duration, Instant};

/// Base values of all SIP timers (RFC 3261 Table 4). Counted in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Round trip estimate; the first retransmission comes after it.
    pub t1: Duration,
    /// Longest interval between retransmissions.
    pub t2: Duration,
    /// How long a packet can stay in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            t1: Duration::from_millis(500),
            t2: Duration::from_millis(4_000),
            t4: Duration::from_millis(5_000),
        }
    }
}

impl Timers {
    /// 64·T1: Timer F of the client, Timer J of the server on UDP (RFC 3261 §17.1.2.2, §17.2.2).
    pub fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// When a client's Timer E reaches T2: before it no 100 may go out on UDP, and at it one is due
    /// (RFC 4320 §4.1). 3.5 s with the default values.
    pub fn trying(&self) -> Duration {
        // T1 of zero would never reach T2.
        let mut step = self.t1.max(Duration::from_millis(1));
        let mut sum = Duration::ZERO;
        while step < self.t2 {
            sum += step;
            step *= 2;
        }
        sum
    }
}

/// What a timer that has come due asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fire {
    /// Timer E: send the same bytes again.
    Retransmit,
    /// Timer F: nobody answered. An internal event, never a 408 to anybody (RFC 4320 §4.2).
    TimedOut,
    /// Not due yet.
    None,
}

/// Timers E and F of one client transaction (RFC 3261 §17.1.2.2). The request itself is sent by the caller at `start`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientTimer {
    start: Instant,
    /// Milliseconds after `start` at which E or F fires next.
    due: u32,
    /// What E is set to when it fires next. 0: no E, the transport is reliable.
    step: u32,
}

impl ClientTimer {
    /// `reliable`: a stream carries it; it is sent once and only Timer F runs.
    pub fn start(now: Instant, timers: &Timers, reliable: bool) -> ClientTimer {
        let fail = millis(timers.patience());
        if reliable {
            return ClientTimer { start: now, due: fail, step: 0 };
        }
        let t1 = millis(timers.t1).max(1);
        let step = t1.saturating_mul(2).min(millis(timers.t2)).max(1);
        ClientTimer { start: now, due: t1.min(fail), step }
    }

    /// When [`ClientTimer::on_due`] wants to be called.
    pub fn due(&self) -> Instant {
        self.start + Duration::from_millis(self.due.into())
    }

    /// To be called at or after [`ClientTimer::due`]. A late call does not shift the later ones, and what was
    /// missed meanwhile is not made up for by a burst.
    pub fn on_due(&mut self, now: Instant, timers: &Timers) -> Fire {
        let elapsed = millis(now.saturating_duration_since(self.start));
        if elapsed < self.due {
            return Fire::None;
        }
        let fail = millis(timers.patience());
        if elapsed >= fail || self.step == 0 {
            return Fire::TimedOut;
        }
        let mut next = self.due.saturating_add(self.step);
        if next <= elapsed {
            next = elapsed.saturating_add(self.step);
        }
        self.due = next.min(fail);
        self.step = self.step.saturating_mul(2).min(millis(timers.t2)).max(1);
        Fire::Retransmit
    }

    /// A 1xx came: from its next firing on, E is T2 flat; F is unchanged (RFC 3261 §17.1.2.2).
    pub fn provisional(&mut self, timers: &Timers) {
        if self.step != 0 {
            self.step = millis(timers.t2).max(1);
        }
    }
}

fn millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a timer against silence: when it sent (the first send included), and when it gave up.
    fn run(
        timers: &Timers,
        reliable: bool,
        provisional_at: Option<u64>,
        lateness: Duration,
    ) -> (Vec<u64>, u64) {
        let t0 = Instant::now();
        let mut timer = ClientTimer::start(t0, timers, reliable);
        let mut heard = provisional_at.map(|ms| t0 + Duration::from_millis(ms));
        let mut sends = vec![0];
        loop {
            if let Some(at) = heard
                && at < timer.due()
            {
                timer.provisional(timers);
                heard = None;
            }
            let now = timer.due() + lateness;
            match timer.on_due(now, timers) {
                Fire::Retransmit => sends.push((now - t0).as_millis() as u64),
                Fire::TimedOut => return (sends, (now - t0).as_millis() as u64),
                Fire::None => panic!("due and yet not due"),
            }
        }
    }

    #[test]
    fn x06_a_silent_peer_gets_eleven_packets_and_then_timer_f() {
        let (sends, failed) = run(&Timers::default(), false, None, Duration::ZERO);
        assert_eq!(sends, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(failed, 32_000);
    }

    #[test]
    fn x07_after_a_100_timer_e_is_t2_flat_and_f_unchanged() {
        let (sends, failed) = run(&Timers::default(), false, Some(600), Duration::ZERO);
        assert_eq!(sends, [0, 500, 1500, 5500, 9500, 13500, 17500, 21500, 25500, 29500]);
        assert_eq!(failed, 32_000);
    }

    #[test]
    fn x08_a_stream_carries_it_once() {
        let (sends, failed) = run(&Timers::default(), true, None, Duration::ZERO);
        assert_eq!((sends, failed), (vec![0], 32_000));
        let (sends, failed) = run(&Timers::default(), true, Some(100), Duration::ZERO);
        assert_eq!((sends, failed), (vec![0], 32_000));
    }

    #[test]
    fn a_late_driver_does_not_shift_the_schedule() {
        let (sends, _) = run(&Timers::default(), false, None, Duration::from_millis(20));
        assert_eq!(sends[..5], [0, 520, 1520, 3520, 7520]);
    }

    #[test]
    fn a_stalled_driver_sends_once_and_not_in_a_burst() {
        let t0 = Instant::now();
        let timers = Timers::default();
        let mut timer = ClientTimer::start(t0, &timers, false);
        let late = t0 + Duration::from_secs(10);
        assert_eq!(timer.on_due(late, &timers), Fire::Retransmit);
        assert_eq!(timer.on_due(late, &timers), Fire::None);
        assert_eq!(timer.due(), late + Duration::from_secs(1));
        assert_eq!(timer.on_due(t0 + Duration::from_secs(40), &timers), Fire::TimedOut);
    }

    #[test]
    fn other_base_values_keep_the_shape() {
        let timers = Timers { t1: Duration::from_millis(100), ..Timers::default() };
        let (sends, failed) = run(&timers, false, None, Duration::ZERO);
        assert_eq!(sends, [0, 100, 300, 700, 1500, 3100, 6300]);
        assert_eq!(failed, 6_400);
        assert_eq!(timers.trying(), Duration::from_millis(6_300));
        assert_eq!(Timers::default().trying(), Duration::from_millis(3_500));
        let zero = Timers { t1: Duration::ZERO, t2: Duration::ZERO, t4: Duration::ZERO };
        assert_eq!(run(&zero, false, None, Duration::ZERO).1, 0);
    }

    #[test]
    fn it_stays_small() {
        assert!(size_of::<ClientTimer>() <= 24);
    }
}
