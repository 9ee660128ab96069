//! Where a SIP URI is served: which records to ask for, and what they mean (RFC 3263 §4).
//!
//! A state machine: questions out, records in, chance as an argument. Prevents that a message goes where its domain
//! does not want it, and that one domain's records keep us busy. Never asks by itself; never says whether a place that
//! it found may be used.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::uri::Uri;
use crate::types::Transport;

/// SIP's port on UDP and TCP (RFC 3261 §19.1.2).
const PORT: u16 = 5060;
/// Services whose records are asked for, at most.
const SERVICES_MAX: usize = 4;
/// Servers whose addresses are asked for, at most.
const SERVERS_MAX: usize = 8;
/// Addresses of one server that are used, at most.
const ADDRESSES_MAX: usize = 8;

/// What is to be asked; names are without the final dot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    Naptr(String),
    Srv(String),
    /// A and AAAA.
    Addresses(String),
}

/// What was answered. An empty list: there are no such records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Records {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
    /// No answer, or one of failure.
    Failed,
}

/// RFC 3403 §4.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub service: String,
    pub regexp: String,
    pub replacement: String,
}

/// RFC 2782.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Ask(Question),
    /// Places in the order in which to try them.
    Done(Vec<(Transport, SocketAddr)>),
    /// There is no place, and why.
    Nowhere(&'static str),
}

/// The search for one URI.
#[derive(Debug)]
pub struct Search {
    target: String,
    naptr: bool,
    services: VecDeque<(Transport, String)>,
    servers: VecDeque<(Transport, String, u16)>,
    places: Vec<(Transport, SocketAddr)>,
    /// Where the domain itself is tried when no service is found.
    itself: Option<Transport>,
    nowhere: &'static str,
}

impl Search {
    /// `sips:` and transports other than UDP and TCP lead nowhere: nothing is said in the clear that was to be sealed.
    pub fn new(uri: &Uri<'_>) -> Search {
        let target = uri.param("maddr").unwrap_or(uri.host);
        let mut search = Search {
            target: target.to_owned(),
            naptr: false,
            services: VecDeque::new(),
            servers: VecDeque::new(),
            places: Vec::new(),
            itself: None,
            nowhere: "the domain names no server",
        };
        let transport = match uri.transport() {
            None => None,
            Some(udp) if udp.eq_ignore_ascii_case("udp") => Some(Transport::Udp),
            Some(tcp) if tcp.eq_ignore_ascii_case("tcp") => Some(Transport::Tcp),
            Some(_) => {
                search.nowhere = "its transport is not spoken here";
                return search;
            }
        };
        if uri.is_sips() {
            search.nowhere = "TLS is not spoken here";
            return search;
        }
        let numeric = target.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let chosen = transport.unwrap_or(Transport::Udp);
        match (numeric, uri.port, transport) {
            (Ok(ip), port, _) => {
                search.places.push((chosen, SocketAddr::new(ip, port.unwrap_or(PORT))));
            }
            (Err(_), Some(port), _) => search.servers.push_back((chosen, search.target.clone(), port)),
            (Err(_), None, Some(transport)) => {
                search.itself = Some(transport);
                search.services.push_back((transport, service(transport, target)));
            }
            (Err(_), None, None) => {
                search.itself = Some(Transport::Udp);
                search.naptr = true;
            }
        }
        search
    }

    pub fn step(&mut self) -> Step {
        if self.naptr {
            return Step::Ask(Question::Naptr(self.target.clone()));
        }
        if let Some((_, name)) = self.services.front() {
            return Step::Ask(Question::Srv(name.clone()));
        }
        if self.servers.is_empty()
            && self.places.is_empty()
            && let Some(transport) = self.itself.take()
        {
            self.servers.push_back((transport, self.target.clone(), PORT));
        }
        if let Some((_, name, _)) = self.servers.front() {
            return Step::Ask(Question::Addresses(name.clone()));
        }
        match self.places.is_empty() {
            true => Step::Nowhere(self.nowhere),
            false => Step::Done(std::mem::take(&mut self.places)),
        }
    }

    /// The answer to the last question. `chance(n)`: a number from 0 to n, both included.
    pub fn tell(&mut self, records: Records, chance: &mut dyn FnMut(u32) -> u32) {
        match records {
            // Name servers that know no NAPTR are not rare: then as if there were none.
            records if self.naptr => {
                self.naptr = false;
                let records = if let Records::Naptr(records) = records { records } else { Vec::new() };
                self.services_of(&records);
            }
            Records::Srv(records) => {
                let Some((transport, _)) = self.services.pop_front() else { return };
                for srv in in_order(records, chance) {
                    // A domain that names servers, or that there are none (RFC 2782, Target), is not asked further.
                    self.itself = None;
                    if srv.port > 0 && !matches!(&*srv.target, "" | ".") && self.servers.len() < SERVERS_MAX {
                        self.servers.push_back((transport, srv.target, srv.port));
                    }
                }
            }
            Records::Addresses(ips) => {
                let Some((transport, _, port)) = self.servers.pop_front() else { return };
                let places =
                    ips.into_iter().take(ADDRESSES_MAX).map(|ip| (transport, SocketAddr::new(ip, port)));
                self.places.extend(places);
            }
            Records::Naptr(_) | Records::Failed => {
                // What the domain would have said may differ from what we would guess.
                self.nowhere = "the name servers do not answer";
                if self.services.pop_front().is_some() {
                    self.itself = None;
                } else {
                    self.servers.pop_front();
                }
            }
        }
    }

    /// The most preferred services that the domain offers and we speak (RFC 3263 §4.1).
    fn services_of(&mut self, records: &[Naptr]) {
        let speaks = |naptr: &&Naptr| naptr.flags.eq_ignore_ascii_case("s") && naptr.regexp.is_empty();
        let mut usable: Vec<(&Naptr, Transport)> = Vec::new();
        for naptr in records.iter().filter(speaks).filter(|naptr| !matches!(&*naptr.replacement, "" | ".")) {
            match naptr.service.to_ascii_uppercase().as_str() {
                "SIP+D2U" => usable.push((naptr, Transport::Udp)),
                "SIP+D2T" => usable.push((naptr, Transport::Tcp)),
                _ => {}
            }
        }
        usable.sort_by_key(|(naptr, _)| (naptr.order, naptr.preference));
        // Rules of a higher order are for those who found none of a lower one (RFC 3403 §4.1).
        let first = usable.first().map(|(naptr, _)| naptr.order);
        let chosen = usable.iter().filter(|(naptr, _)| Some(naptr.order) == first).take(SERVICES_MAX);
        self.services = chosen.map(|(naptr, transport)| (*transport, naptr.replacement.clone())).collect();
        if self.services.is_empty() {
            let sip = |naptr: &Naptr| {
                naptr
                    .service
                    .get(..4)
                    .is_some_and(|start| ["SIP+", "SIPS"].contains(&&*start.to_ascii_uppercase()))
            };
            if records.iter().any(sip) {
                // It says how it is to be reached; in the clear at its address is not among that.
                self.itself = None;
                self.nowhere = "the domain offers only transports that are not spoken here";
            }
            let both = [Transport::Udp, Transport::Tcp];
            self.services = both.map(|transport| (transport, service(transport, &self.target))).into();
        }
    }
}

fn service(transport: Transport, domain: &str) -> String {
    format!("_sip._{}.{domain}", transport.via().to_ascii_lowercase())
}

/// Servers by priority; those of one priority by weight and chance (RFC 2782, Weight).
pub fn in_order(mut records: Vec<Srv>, chance: &mut dyn FnMut(u32) -> u32) -> Vec<Srv> {
    // Those without weight first: they have a chance only when the number is 0.
    records.sort_by_key(|srv| (srv.priority, srv.weight > 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|srv| srv.priority) {
        let same = records.iter().take_while(|srv| srv.priority == priority);
        let total = same.clone().map(|srv| u32::from(srv.weight)).sum();
        let number = chance(total).min(total);
        let mut sum = 0;
        let at = same.into_iter().position(|srv| {
            sum += u32::from(srv.weight);
            sum >= number
        });
        ordered.push(records.remove(at.unwrap_or_default()));
    }
    ordered
}
