//! The way to addresses of domains that are not served here (RFC 3263), looked up when something waits for them.
//!
//! Prevents that a name leads us back to ourselves, or behind walls that keep its owner out. Asks no name server by
//! itself, and nobody for an address that nobody writes to.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::Registrar;
use crate::chat::render::{TARGETS_MAX, Target};
use crate::config::Config;
use crate::service::ratelimit::Once;
use crate::types::{AccountId, Aor, Transport};

/// The same trouble with a domain is told once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);

/// Where a domain is served, in the order in which to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub places: Vec<(Transport, SocketAddr)>,
    pub good_for: Duration,
}

/// The end of a look-up; an error says why there is no way now.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<Found, String>> + Send + 'a>>;

/// Who looks names up, within seconds.
pub trait Finder: Send + Sync {
    fn find<'a>(&'a self, host: &'a str) -> Finding<'a>;
}

/// What it takes to write to other domains.
pub(super) struct Abroad {
    finder: Arc<dyn Finder>,
    served: Vec<String>,
    told: Once<String>,
}

impl Abroad {
    pub(super) fn new(config: &Config, finder: Arc<dyn Finder>) -> Abroad {
        Abroad { finder, served: config.domains.clone(), told: Once::per(TOLD_AGAIN) }
    }

    pub(super) fn is_foreign(&self, who: &Aor) -> bool {
        !self.served.iter().any(|domain| domain.eq_ignore_ascii_case(who.host()))
    }
}

impl Registrar {
    /// Answers a shard that asks where `who` is reached now.
    pub async fn locate(&self, account: AccountId, who: &Aor) {
        let (targets, good_for) = self.find(who).await.unwrap_or_default();
        self.delivery.located(account, targets, good_for);
    }

    async fn find(&self, who: &Aor) -> Option<(Vec<Target>, Duration)> {
        let abroad = self.abroad.as_ref()?;
        let host = who.host();
        let (found, why) = match abroad.finder.find(host).await {
            Ok(found) => (Some(found), "it leads nowhere that may be written to".to_owned()),
            Err(why) => (None, why),
        };
        let targets: Vec<Target> = found.iter().flat_map(|found| self.targets(who, found)).collect();
        if !targets.is_empty() {
            debug!(domain = host, targets = targets.len(), "looked up");
            return Some((targets, found?.good_for));
        }
        if abroad.told.first(host.to_ascii_lowercase(), Instant::now()) {
            warn!(domain = host, %why, "no way to this domain: what is for it waits");
        }
        None
    }

    fn targets(&self, who: &Aor, found: &Found) -> Vec<Target> {
        let mut seen = HashSet::new();
        let places = found.places.iter().filter(|place| seen.insert(**place));
        let targets = places.filter_map(|(transport, to)| {
            let ours = self.flows.ours_towards(*to);
            let fine = !self.is_here(*to, ours) && (is_public(to.ip()) || self.is_peer(to.ip()));
            fine.then(|| self.hop(who, *to, *transport, Some(ours))).flatten()
        });
        targets.take(TARGETS_MAX).collect()
    }

    /// We listen there; `ours`: where packets to it leave from.
    fn is_here(&self, to: SocketAddr, ours: IpAddr) -> bool {
        self.listening.iter().any(|known| {
            let ip = known.address.ip();
            known.address.port() == to.port() && (ip == to.ip() || (ip.is_unspecified() && ours == to.ip()))
        })
    }
}

/// Anybody can be there. What is not public is no business of who writes a zone: it is used for trusted peers alone.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_documentation();
    // This network; shared address space (RFC 6598); protocol assignments; benchmarks; groups, reserved, broadcast.
    let special = special
        || a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 224;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let low = || Ipv4Addr::from((u32::from(parts[6]) << 16) | u32::from(parts[7]));
    match parts {
        // Through a translator (RFC 6052), and by 6to4 (RFC 3056): whoever is meant inside.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(low()),
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        // Documentation; protocol assignments, tunnels among them.
        [0x2001, 0xdb8, ..] | [0x2001, 0..0x200, ..] | [0x3fff, 0..0x1000, ..] => false,
        // Global unicast is all that is given out (RFC 4291 §2.4).
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_our_side_of_a_wall_sees_is_not_public() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for public in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1", "64:ff9b::101:101"]
        {
            assert!(is_public(ip(public)), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.1.75",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip(other)), "{other}");
        }
    }
}
