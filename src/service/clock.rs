//! What time it is: the wall clock for people, a steady one for expiry.
//!
//! Prevents that a clock set forward ends all registrations at once, or one set back keeps them for ever
//! (conformance R25).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::UnixMs;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_ms: UnixMs,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now(), start_ms: wall() }
    }

    /// The time that people see.
    pub fn wall(&self) -> UnixMs {
        wall()
    }

    /// Wall clock at the start plus time passed since: never jumps while the daemon runs.
    pub fn steady(&self) -> UnixMs {
        self.start_ms + self.start.elapsed().as_millis() as i64
    }
}

fn wall() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
