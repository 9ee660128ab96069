//! Which hosts are ours, and what they are called (spec §3).
//!
//! Prevents that one person is two because his phone writes the server's address and the others its name.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::Config;
use crate::sip::uri::Uri;
use crate::types::Aor;

/// Served domains and all their spellings.
pub struct Domains {
    served: Vec<String>,
    /// Lower-case spelling → index of the domain.
    spellings: HashMap<String, usize>,
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
        let served = config.domains.clone();
        let mut spellings = HashMap::new();
        // The later ones win: what the administrator wrote over what is derived.
        let listeners = config.sip.listen.iter().map(|listener| listener.addr.ip());
        for ip in listeners.filter(|ip| !ip.is_unspecified()) {
            spellings.insert(host_of(ip), 0);
        }
        if let Some(advertise) = &config.sip.advertise {
            spellings.insert(advertise.host.to_ascii_lowercase(), 0);
        }
        let index = |name: &str| served.iter().position(|domain| domain.eq_ignore_ascii_case(name));
        for (spelling, domain) in &config.aliases {
            if let Some(at) = index(domain) {
                spellings.insert(spelling.to_ascii_lowercase(), at);
            }
        }
        for (at, domain) in served.iter().enumerate() {
            spellings.insert(domain.to_ascii_lowercase(), at);
        }
        Domains { served, spellings }
    }

    pub fn default_domain(&self) -> &str {
        self.served.first().map_or("127.0.0.1", String::as_str)
    }

    pub fn served(&self) -> &[String] {
        &self.served
    }

    /// The served domain that `host` spells; `None` for a foreign host. `local`: the address that the request
    /// came to, which is ours whatever it is.
    pub fn canonical(&self, host: &str, local: IpAddr) -> Option<&str> {
        let known = self.spellings.get(&host.to_ascii_lowercase()).copied();
        let known = known.or_else(|| {
            let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
            let spelled = self.spellings.get(&host_of(literal)).copied();
            spelled.or((literal.to_canonical() == local.to_canonical()).then_some(0))
        });
        known.and_then(|at| self.served.get(at)).map(String::as_str)
    }

    /// The address that a URI names, its domain in canonical form, and whether that domain is served.
    pub fn address(&self, uri: &Uri<'_>, local: IpAddr) -> Option<(Aor, bool)> {
        let aor = uri.aor()?;
        match self.canonical(aor.host(), local) {
            Some(domain) => Some((Aor::new(aor.user(), domain)?, true)),
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
            assert_eq!(domains.canonical(ours, local), Some("Example.org"), "{ours}");
        }
        assert_eq!(domains.canonical("B.example", local), Some("b.example"));
        for foreign in ["example.com", "192.0.2.8", "[::2]", ""] {
            assert_eq!(domains.canonical(foreign, local), None, "{foreign}");
        }
    }
}
