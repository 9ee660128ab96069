//! What the whole-daemon tests stand on: the daemon as a process, a phone, and as much SIP as a phone needs.
//!
//! Knows the daemon from outside alone: its own reading of SIP, so that a fault of the daemon's parser cannot
//! hide itself. Never uses the crate's code.

pub mod daemon;
pub mod disk;
pub mod dns;
pub mod ear;
pub mod http;
pub mod phone;
pub mod proxy;
pub mod request;
pub mod sip;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod wire;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

pub use daemon::{Daemon, Setup};
pub use dns::Dns;
pub use ear::{Act, Got};
pub use phone::{NoAnswer, Phone};
pub use proxy::Proxy;
pub use request::Req;
pub use sip::Msg;

/// How long a test waits for what must come. Generous: a slow machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// Over which transport a phone talks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    Udp,
    Tcp,
}

/// 64 random bits.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A token that no other request of any run has.
pub fn token() -> String {
    format!("{:016x}", random())
}

/// True when the long form of the proofs is asked for.
pub fn long_form() -> bool {
    std::env::var_os("IMCD_PROOF").is_some_and(|v| v != "0" && !v.is_empty())
}

/// Small seeded generator, so that a failing run can be named by its seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    /// Seeded from IMCD_SEED, else at random; the seed is printed.
    pub fn new(what: &str) -> Dice {
        let seed = std::env::var("IMCD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(random);
        println!("{what}: IMCD_SEED={seed}");
        Dice(seed | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0 up to, not including, `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.roll() >> 16) % n.max(1) as u64) as usize
    }
}
