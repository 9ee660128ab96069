//! The way to each contact of an account (spec §5.9), and to an address of which we hold no binding.
//!
//! Prevents that a phone behind NAT, on a stream or behind a Path is looked for elsewhere. Decides nothing about
//! bindings, and sends nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Registrar, State, key_of};
use crate::chat::render::{Contact, Target};
use crate::registration::Binding;
use crate::service::domains::host_of;
use crate::service::registrar::Listening;
use crate::sip::uri::Uri;
use crate::types::{Aor, Dest, Flow, ROUTE_DEVICE, Transport};

impl Registrar {
    /// An instance is reached on its newest flow, and where that fails on the others, newest first (RFC 5626 §7);
    /// contacts without an instance each for themselves.
    pub(super) fn contacts(&self, who: &Aor, state: &State) -> Vec<Contact> {
        let now = self.clock.steady();
        let mut bindings: Vec<&Binding> =
            state.bindings.iter().filter(|binding| binding.expires_at > now).collect();
        if bindings.is_empty() {
            return self.route_to(who).into_iter().collect();
        }
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.updated_at));
        let mut contacts: Vec<Contact> = Vec::new();
        for binding in bindings {
            if !binding.takes_messages() || state.dead.contains(&key_of(binding)) {
                continue;
            }
            let Some(contact) = self.contact(who, binding) else { continue };
            match contacts.iter_mut().find(|known| known.key == contact.key) {
                Some(known) => known.fall_back_on(&contact),
                None => contacts.push(contact),
            }
        }
        contacts
    }

    /// Keys of the contacts of `who` that can be reached, be it for messages or not.
    pub(super) fn phones(&self, who: &Aor, state: &State) -> Vec<Arc<str>> {
        let now = self.clock.steady();
        let live = state.bindings.iter().filter(|binding| binding.expires_at > now);
        let mut phones: Vec<Arc<str>> =
            live.filter(|binding| self.contact(who, binding).is_some()).map(key_of).collect();
        phones.retain(|key| !state.dead.contains(key));
        phones.sort();
        phones.dedup();
        phones
    }

    /// The way to one binding (spec §5.9); `None` if there is none now.
    pub(super) fn contact(&self, who: &Aor, binding: &Binding) -> Option<Contact> {
        let uri = Uri::parse(&binding.contact).ok()?;
        let literal = uri.ip().map(|ip| SocketAddr::new(ip, uri.port.unwrap_or(5060)));
        let wants_tcp = uri.transport().is_some_and(|transport| transport.eq_ignore_ascii_case("tcp"));
        let nat = binding.behind_nat();
        let flow = &binding.flow;
        let dest = if let Some(first) = binding.path.first() {
            let hop = Uri::parse(first).ok()?;
            let to = SocketAddr::new(hop.ip()?, hop.port.unwrap_or(5060));
            match hop.transport() {
                Some(transport) if transport.eq_ignore_ascii_case("tcp") => Dest::Connect(to),
                _ => {
                    let same = self.listener_for(flow).filter(|_| to.is_ipv4() == flow.remote.is_ipv4());
                    Dest::Udp { listener: same.or_else(|| self.udp_listener(to.ip(), None))?, to }
                }
            }
        } else if flow.transport.is_stream() {
            match flow.conn.filter(|conn| self.flows.is_open(*conn)) {
                Some(conn) => Dest::Conn(conn),
                // It promised a flow (RFC 5626 §5.3), or sits behind NAT: nobody can be called there.
                None if binding.reg_id.is_some() => return None,
                None => Dest::Connect(literal.filter(|to| to.ip() == flow.remote.ip())?),
            }
        } else if wants_tcp && !nat {
            Dest::Connect(literal?)
        } else {
            Dest::Udp { listener: self.listener_for(flow)?, to: flow.remote }
        };
        let local = match dest {
            Dest::Udp { listener, .. } => self.listening.get(usize::from(listener))?.address,
            // Should the connection break, an answer finds us where we listen.
            Dest::Connect(_) => self.tcp_local(flow.local.ip()).unwrap_or(flow.local),
            Dest::Conn(_) => flow.local,
        };
        // Behind a wildcard listener the address that the REGISTER came to is ours.
        let (dest, local) = match dest {
            Dest::Udp { listener, to } if local.ip().is_unspecified() => {
                let ours = flow.local.ip();
                // A Path may lead into the other family: there the kernel knows better.
                let same = ours.is_ipv4() == to.is_ipv4();
                let listener = if same { self.flows.face(listener, ours) } else { listener };
                (Dest::Udp { listener, to }, SocketAddr::new(ours, local.port()))
            }
            _ => (dest, local),
        };
        let transport = if matches!(dest, Dest::Udp { .. }) { Transport::Udp } else { Transport::Tcp };
        let stream = literal.filter(|_| transport == Transport::Udp && !nat && binding.path.is_empty());
        let stream = stream.and_then(|to| Some((to, self.via(Transport::Tcp, self.tcp_local(local.ip())?))));
        let route = binding.path.iter().map(|uri| format!("<{uri}>")).collect::<Vec<_>>().join(", ");
        let target = Target {
            uri: binding.request_uri().into(),
            to: binding.to.clone().into(),
            route: if route.is_empty() { "".into() } else { format!("Route: {route}\r\n").into() },
            dest,
            source: Some(flow.remote),
            via: self.via(transport, local),
            stream,
            trusted: self.is_trusted(dest, flow),
            keepalive: self.keepalive && nat,
        };
        Some(Contact {
            key: key_of(binding),
            device: binding.device(),
            aor: who.clone(),
            targets: [target].into(),
            is_route: false,
            by_name: false,
            takes: self.takes(binding),
        })
    }

    /// The way to an address of which we hold no binding: the outbound proxy, or what a look-up of its domain finds.
    pub(super) fn route_to(&self, who: &Aor) -> Option<Contact> {
        let (targets, by_name) = match (self.proxy, &self.abroad) {
            (Some((to, transport)), _) => (vec![self.hop(who, to, transport, self.towards_proxy)?], false),
            (None, Some(abroad)) if abroad.is_foreign(who) => (Vec::new(), true),
            _ => return None,
        };
        Some(Contact {
            key: ROUTE_DEVICE.into(),
            device: ROUTE_DEVICE.into(),
            aor: who.clone(),
            targets: targets.into(),
            is_route: true,
            by_name,
            takes: Arc::default(),
        })
    }

    /// A next hop towards `who`. `ours`: where packets to it leave from.
    pub(super) fn hop(
        &self,
        who: &Aor,
        to: SocketAddr,
        transport: Transport,
        ours: Option<IpAddr>,
    ) -> Option<Target> {
        let listener = self.udp_listener(to.ip(), ours.map(|ours| SocketAddr::new(ours, 0)));
        let dest = match transport {
            Transport::Udp => Dest::Udp { listener: listener?, to },
            Transport::Tcp => Dest::Connect(to),
        };
        let local = listener.and_then(|at| self.listening.get(usize::from(at))).map(|known| known.address);
        let local = local.or_else(|| self.listening.first().map(|known| known.address))?;
        // Behind a wildcard listener it is the address that the other side will see.
        let local = match ours {
            Some(ours) if local.ip().is_unspecified() => SocketAddr::new(ours, local.port()),
            _ => local,
        };
        let stream = (transport == Transport::Udp)
            .then(|| Some((to, self.via(Transport::Tcp, self.tcp_local(local.ip())?))))
            .flatten();
        Some(Target {
            uri: who.uri().into(),
            to: who.as_str().into(),
            route: "".into(),
            dest,
            source: None,
            via: self.via(transport, local),
            stream,
            trusted: self.is_peer(to.ip()),
            keepalive: false,
        })
    }

    pub(super) fn is_peer(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(ip))
    }

    pub(super) fn is_trusted(&self, dest: Dest, flow: &Flow) -> bool {
        let ip = match dest {
            Dest::Udp { to, .. } | Dest::Connect(to) => to.ip(),
            Dest::Conn(_) => flow.remote.ip(),
        };
        self.is_peer(ip)
    }

    /// What goes into Via before the branch.
    pub(super) fn via(&self, transport: Transport, local: SocketAddr) -> Arc<str> {
        let host = match &self.advertise {
            Some(advertise) => advertise.clone(),
            None => format!("{}:{}", host_of(local.ip()), local.port()),
        };
        format!("SIP/2.0/{} {host}", transport.via()).into()
    }

    /// The listener that a REGISTER came to; after a restart with another configuration one like it.
    pub(super) fn listener_for(&self, flow: &Flow) -> Option<u16> {
        self.udp_listener(flow.remote.ip(), Some(flow.local))
    }

    /// The UDP listener to write to `towards` from: on the port of `from` if that is one, bound to its address, to
    /// any, or else the first.
    pub(super) fn udp_listener(&self, towards: IpAddr, from: Option<SocketAddr>) -> Option<u16> {
        let fits = |known: &&Listening| {
            known.transport == Transport::Udp && known.address.is_ipv4() == towards.is_ipv4()
        };
        let rank = |known: &Listening| {
            let ours = known.address;
            let address = match from {
                Some(from) if from.ip() == ours.ip() => 0,
                _ if ours.ip().is_unspecified() => 1,
                _ => 2,
            };
            (from.is_none_or(|from| from.port() != ours.port()), address)
        };
        let all = self.listening.iter().enumerate().filter(|(_, known)| fits(known));
        all.min_by_key(|(_, known)| rank(known)).map(|(at, _)| at as u16)
    }

    pub(super) fn tcp_local(&self, like: IpAddr) -> Option<SocketAddr> {
        let fits = |known: &&Listening| {
            known.transport == Transport::Tcp && known.address.is_ipv4() == like.is_ipv4()
        };
        let known = self.listening.iter().find(fits)?.address;
        Some(if known.ip().is_unspecified() { SocketAddr::new(like, known.port()) } else { known })
    }
}
