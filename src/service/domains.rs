//! Which hosts are ours, and what they are called (spec §3).
//!
//! Prevents that one person is two because his phone writes the server's address and the others its name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::config::Config;
use crate::sip::uri::Uri;
use crate::types::Aor;

/// Served domains and all their spellings. Those that are added at run time come behind the configuration's.
pub struct Domains {
    default: String,
    /// How many the configuration names.
    configured: usize,
    table: RwLock<Table>,
}

struct Table {
    served: Vec<Arc<str>>,
    /// Lower-case spelling → its domain.
    spellings: HashMap<String, Arc<str>>,
}

/// An address as a URI host spells it.
pub fn host_of(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

impl Domains {
    pub fn new(config: &Config) -> Domains {
        let served: Vec<Arc<str>> = config.domains.iter().map(|domain| domain.as_str().into()).collect();
        let default = served.first().map_or("127.0.0.1".into(), Arc::clone);
        let mut spellings = HashMap::new();
        // The later ones win: what the administrator wrote over what is derived.
        let listeners = config.sip.listen.iter().map(|listener| listener.addr.ip());
        for ip in listeners.filter(|ip| !ip.is_unspecified()) {
            spellings.insert(host_of(ip), default.clone());
        }
        if let Some(advertise) = &config.sip.advertise {
            spellings.insert(advertise.host.to_ascii_lowercase(), default.clone());
        }
        for (spelling, domain) in &config.aliases {
            if let Some(domain) = served.iter().find(|served| served.eq_ignore_ascii_case(domain)) {
                spellings.insert(spelling.to_ascii_lowercase(), domain.clone());
            }
        }
        for domain in &served {
            spellings.insert(domain.to_ascii_lowercase(), domain.clone());
        }
        let configured = served.len();
        Domains {
            default: (*default).to_owned(),
            configured,
            table: RwLock::new(Table { served, spellings }),
        }
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one more. False: it is a spelling of one that is served.
    pub fn add(&self, domain: &str) -> bool {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let lower = domain.to_ascii_lowercase();
        if table.spellings.contains_key(&lower) {
            return false;
        }
        let domain: Arc<str> = domain.into();
        table.spellings.insert(lower, domain.clone());
        table.served.push(domain);
        true
    }

    /// Serves one no more that was added.
    pub fn remove(&self, domain: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let is_it = |served: &Arc<str>| served.eq_ignore_ascii_case(domain);
        if let Some(at) = table.served.iter().position(is_it).filter(|at| *at >= self.configured) {
            table.served.remove(at);
            table.spellings.remove(&domain.to_ascii_lowercase());
        }
    }

    /// Of the first domain in the configuration; never another.
    pub fn default_domain(&self) -> &str {
        &self.default
    }

    /// All, and whether the configuration names each.
    pub fn served(&self) -> Vec<(Arc<str>, bool)> {
        let named = |(at, domain): (usize, &Arc<str>)| (domain.clone(), at < self.configured);
        self.table().served.iter().enumerate().map(named).collect()
    }

    /// Whether a domain is served by this name, and not by an alias.
    pub fn serves(&self, domain: &str) -> bool {
        self.table().served.iter().any(|served| served.eq_ignore_ascii_case(domain))
    }

    /// The served domain that `host` spells; `None` for a foreign host. `local`: the address that the request
    /// came to, which is ours whatever it is.
    pub fn canonical(&self, host: &str, local: IpAddr) -> Option<Arc<str>> {
        let table = self.table();
        let known = table.spellings.get(&host.to_ascii_lowercase());
        let known = known.or_else(|| {
            let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
            let spelled = table.spellings.get(&host_of(literal));
            spelled
                .or_else(|| table.served.first().filter(|_| literal.to_canonical() == local.to_canonical()))
        });
        known.cloned()
    }

    /// The address that a URI names, its domain in canonical form, and whether that domain is served.
    pub fn address(&self, uri: &Uri<'_>, local: IpAddr) -> Option<(Aor, bool)> {
        let aor = uri.aor()?;
        match self.canonical(aor.host(), local) {
            Some(domain) => Some((Aor::new(aor.user(), &domain)?, true)),
            None => Some((aor, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_ours_is_one_domain() {
        let toml = "domains = ['Example.org', 'b.example']\naliases = { 'chat.example.org' = 'example.org' }\n\
                    [sip]\nlisten = ['udp:127.0.0.1:5060', 'udp:[::1]:5060']\nadvertise = 'sip.example.net:5070'\n";
        let (config, _) = Config::from_toml("test", toml).unwrap();
        let domains = Domains::new(&config);
        let local: IpAddr = "192.0.2.7".parse().unwrap();
        for ours in [
            "example.org",
            "EXAMPLE.ORG",
            "chat.example.org",
            "127.0.0.1",
            "[::1]",
            "[0:0::1]",
            "sip.example.net",
            "192.0.2.7",
        ] {
            assert_eq!(domains.canonical(ours, local).as_deref(), Some("Example.org"), "{ours}");
        }
        assert_eq!(domains.canonical("B.example", local).as_deref(), Some("b.example"));
        for foreign in ["example.com", "192.0.2.8", "[::2]", ""] {
            assert_eq!(domains.canonical(foreign, local), None, "{foreign}");
        }
    }

    #[test]
    fn domains_come_and_go_at_run_time_behind_those_of_the_configuration() {
        let toml = "domains = ['example.org']\naliases = { 'chat.example.org' = 'example.org' }\n";
        let (config, _) = Config::from_toml("test", toml).unwrap();
        let domains = Domains::new(&config);
        let local: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(!domains.add("Chat.Example.org"), "an alias of another");
        assert!(domains.add("New.example") && !domains.add("new.EXAMPLE"));
        assert_eq!(domains.canonical("NEW.example", local).as_deref(), Some("New.example"));
        assert_eq!(domains.canonical("192.0.2.7", local).as_deref(), Some("example.org"));
        domains.remove("example.org");
        assert!(domains.serves("example.org"), "the configuration's stay");
        domains.remove("new.example");
        assert_eq!(domains.canonical("new.example", local), None);
        assert_eq!(domains.served(), [("example.org".into(), true)]);
    }
}
