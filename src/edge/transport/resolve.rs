//! Look-ups of names by the system's or the configured name servers; what to ask is [`crate::sip::locate`]'s.
//!
//! Prevents that a slow name server holds up anything but what waits for its names: a domain is searched for once at a
//! time and within seconds, answers are remembered as long as they say, within bounds. Judges no answer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::Mutex;

use crate::refusal::Fault;
use crate::service::registrar::{Finder, Finding, Found};
use crate::sip::locate::{Naptr, Question, Records, Search, Srv, Step};
use crate::sip::uri::Uri;

/// Searches at a time: one for those whose names fall into one turn.
const TURNS: usize = 256;
/// One search with all its questions …
const SEARCH: Duration = Duration::from_secs(15);
/// … and with the wait for its turn.
const WAIT: Duration = Duration::from_secs(25);
/// A search that has failed has failed for all who ask so soon after; there may be thousands.
const FAILED: Duration = Duration::from_secs(1);
/// Failures remembered in one turn.
const FAILURES: usize = 64;
/// One question to one server, asked twice.
const QUESTION: Duration = Duration::from_secs(2);
/// Answers that are remembered, however many names are asked for.
const REMEMBERED: u64 = 4096;
/// Bounds of how long an answer is good: a name of no duration would be asked for with each message.
const GOOD_FOR: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// That there is no such name is believed so long at most.
const NO_NAME: Duration = Duration::from_secs(60);

/// Looks names up. Lives on a runtime.
pub struct Names {
    resolver: TokioResolver,
    /// Names fall into turns by chance: nobody can choose whom he makes wait.
    chance: RandomState,
    turns: Vec<Mutex<Failures>>,
}

/// Hosts that were not found lately: when, and why.
type Failures = HashMap<String, (Instant, String)>;

impl Names {
    /// `servers`: those to ask; none: the system's. `families`: what can be written to, IPv4 and IPv6.
    pub fn new(servers: &[SocketAddr], families: (bool, bool)) -> Result<Names, Fault> {
        let failed = |error: NetError| Fault::Internal(format!("name servers: {error}; see sip.nameservers"));
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        };
        let options = builder.options_mut();
        options.timeout = QUESTION;
        options.attempts = 1;
        options.ip_strategy = match families {
            (true, false) => LookupIpStrategy::Ipv4Only,
            (false, true) => LookupIpStrategy::Ipv6Only,
            _ => LookupIpStrategy::Ipv4AndIpv6,
        };
        options.cache_size = REMEMBERED;
        options.positive_min_ttl = Some(GOOD_FOR.0);
        options.positive_max_ttl = Some(GOOD_FOR.1);
        options.negative_max_ttl = Some(NO_NAME);
        let resolver = builder.build().map_err(failed)?;
        let turns = (0..TURNS).map(|_| Mutex::default()).collect();
        Ok(Names { resolver, chance: RandomState::new(), turns })
    }

    async fn in_turn(&self, host: String) -> Result<Found, String> {
        let turn = self.chance.hash_one(&host) as usize % TURNS;
        let mut failures = self.turns[turn].lock().await;
        failures.retain(|_, (at, _)| at.elapsed() < FAILED);
        if let Some((_, why)) = failures.get(&host) {
            return Err(why.clone());
        }
        let found = tokio::time::timeout(SEARCH, self.search(&host)).await;
        let found = found.unwrap_or_else(|_| Err("the name servers take too long".into()));
        if let Err(why) = &found
            && failures.len() < FAILURES
        {
            failures.insert(host, (Instant::now(), why.clone()));
        }
        found
    }

    async fn search(&self, host: &str) -> Result<Found, String> {
        let uri = format!("sip:{host}");
        let uri = Uri::parse(&uri).map_err(|bad| bad.0)?;
        let mut search = Search::new(&uri);
        let mut chance = |most: u32| -> u32 { random() % most.saturating_add(1).max(1) };
        let mut good_until = Instant::now() + GOOD_FOR.1;
        loop {
            match search.step() {
                Step::Ask(question) => {
                    let records = self.ask(&question, &mut good_until).await;
                    search.tell(records, &mut chance);
                }
                Step::Done(places) => {
                    let left = good_until.saturating_duration_since(Instant::now());
                    return Ok(Found { places, good_for: left.clamp(GOOD_FOR.0, GOOD_FOR.1) });
                }
                Step::Nowhere(why) => return Err(why.into()),
            }
        }
    }

    async fn ask(&self, question: &Question, good_until: &mut Instant) -> Records {
        let (text, none) = match question {
            Question::Naptr(name) => (name, Records::Naptr(Vec::new())),
            Question::Srv(name) => (name, Records::Srv(Vec::new())),
            Question::Addresses(name) => (name, Records::Addresses(Vec::new())),
        };
        // The final dot keeps search lists away.
        let Ok(name) = Name::from_ascii(format!("{text}.")) else { return none };
        let answer = match question {
            Question::Naptr(_) => self.resolver.lookup(name, RecordType::NAPTR).await,
            Question::Srv(_) => self.resolver.srv_lookup(name).await,
            Question::Addresses(_) => self.resolver.lookup_ip(name).await.map(Lookup::from),
        };
        match answer {
            Ok(found) => {
                *good_until = found.valid_until().min(*good_until);
                let records = found.answers().iter().map(|record| &record.data);
                match none {
                    Records::Naptr(_) => Records::Naptr(records.filter_map(naptr).collect()),
                    Records::Srv(_) => Records::Srv(records.filter_map(srv).collect()),
                    _ => Records::Addresses(records.filter_map(RData::ip_addr).collect()),
                }
            }
            Err(error) if error.is_no_records_found() => none,
            Err(_) => Records::Failed,
        }
    }
}

impl Finder for Names {
    fn find<'a>(&'a self, host: &'a str) -> Finding<'a> {
        Box::pin(async move {
            let found = tokio::time::timeout(WAIT, self.in_turn(host.to_ascii_lowercase())).await;
            found.unwrap_or_else(|_| Err("too many names are being looked up".into()))
        })
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// Spreads load; need not be secret.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(naptr) = data else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Naptr {
        order: naptr.order,
        preference: naptr.preference,
        flags: text(&naptr.flags),
        service: text(&naptr.services),
        regexp: text(&naptr.regexp),
        replacement: plain(&naptr.replacement),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(srv) = data else { return None };
    Some(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target: plain(&srv.target) })
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}
