//! A network out of a seed: packets are lost, doubled, delayed and overtaken, and the same seed does it again.
//!
//! Prevents tests that fail once a week and cannot be repeated. Never sleeps: time is whatever the test says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// SplitMix64: enough for weather, and the whole state is one number to print on failure.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What happens to a packet on its way.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Per mille that vanish.
    pub loss: u64,
    /// Per mille that arrive twice.
    pub twice: u64,
    /// Every packet takes at least so long.
    pub delay: Duration,
    /// And up to so much more; what differs overtakes.
    pub jitter: Duration,
}

impl Weather {
    pub const FAIR: Weather = Weather { loss: 0, twice: 0, delay: Duration::ZERO, jitter: Duration::ZERO };
    pub const STORM: Weather = Weather {
        loss: 300,
        twice: 100,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(300),
    };
}

/// Packets under way, in order of arrival.
pub struct Net<P> {
    pub rng: Rng,
    weather: Weather,
    under_way: BTreeMap<(Instant, u64), P>,
    sent: u64,
}

impl<P: Clone> Net<P> {
    pub fn new(seed: u64, weather: Weather) -> Net<P> {
        Net { rng: Rng::new(seed), weather, under_way: BTreeMap::new(), sent: 0 }
    }

    pub fn send(&mut self, now: Instant, packet: P) {
        let copies = if self.rng.chance(self.weather.twice) { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.chance(self.weather.loss) {
                continue;
            }
            let jitter = self.rng.below(self.weather.jitter.as_millis() as u64 + 1);
            let at = now + self.weather.delay + Duration::from_millis(jitter);
            self.sent += 1;
            self.under_way.insert((at, self.sent), packet.clone());
        }
    }

    /// When the next packet arrives.
    pub fn due(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// The next packet that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<P> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[test]
fn the_same_seed_is_the_same_weather() {
    let t0 = Instant::now();
    let log = |seed| {
        let mut net = Net::new(seed, Weather::STORM);
        for packet in 0..200 {
            net.send(t0 + Duration::from_millis(packet), packet);
        }
        let mut log = Vec::new();
        while let Some(at) = net.due() {
            log.extend(net.arrived(at));
        }
        log
    };
    assert_eq!(log(7), log(7));
    assert_ne!(log(7), log(8));
    let arrived = log(7);
    assert!(!arrived.is_sorted(), "something is overtaken");
    assert!((120..180).contains(&arrived.len()), "{} of 200 arrived", arrived.len());
}
