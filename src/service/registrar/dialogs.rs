//! The way back to somebody who subscribes: where NOTIFYs go, and what we are called there.
//!
//! A NOTIFY goes where the SUBSCRIBE proved that it can receive: to the address it came from, or to another port of
//! it. Prevents that a Contact makes us write to a stranger (amplification). Sends nothing.

use std::net::SocketAddr;

use super::{Listening, Registrar};
use crate::presence::agent::Way;
use crate::sip::dialog::Dialog;
use crate::sip::uri::Uri;
use crate::types::{Dest, Flow, Transport};

impl Registrar {
    /// `flow`: how the last SUBSCRIBE of the dialog came. `None`: there is no way now.
    pub fn way_back(&self, flow: &Flow, dialog: &Dialog) -> Option<Way> {
        let hop = Uri::parse(dialog.next_hop()).ok();
        let literal = hop
            .as_ref()
            .and_then(|uri| Some((SocketAddr::new(uri.ip()?, uri.port.unwrap_or(5060)), uri.transport())));
        // A proxy we trust may have more addresses than one.
        let proxied = dialog.is_routed() && self.trusted.iter().any(|range| range.contains(flow.remote.ip()));
        let proven = literal.filter(|(to, _)| proxied || to.ip() == flow.remote.ip());
        let wants_tcp =
            |transport: Option<&str>| transport.is_some_and(|name| name.eq_ignore_ascii_case("tcp"));
        let open = flow.conn.filter(|conn| self.flows.is_open(*conn));
        let dest = match (flow.transport, open, proven) {
            (Transport::Tcp, Some(conn), _) => Dest::Conn(conn),
            (Transport::Tcp, None, Some((to, _))) => Dest::Connect(to),
            (Transport::Tcp, None, None) => return None,
            (Transport::Udp, _, Some((to, transport))) if wants_tcp(transport) => Dest::Connect(to),
            (Transport::Udp, _, proven) => {
                let to = proven.map_or(flow.remote, |(to, _)| to);
                Dest::Udp { listener: self.udp_listener(to.ip(), Some(flow.local))?, to }
            }
        };
        let (dest, local) = match dest {
            Dest::Udp { listener, to } => {
                let Listening { address, .. } = self.listening.get(usize::from(listener))?;
                match address.ip().is_unspecified() && to.is_ipv4() == flow.local.is_ipv4() {
                    true => {
                        let face = self.flows.face(listener, flow.local.ip());
                        (Dest::Udp { listener: face, to }, SocketAddr::new(flow.local.ip(), address.port()))
                    }
                    false => (dest, *address),
                }
            }
            // Should the connection break, the phone finds us where we listen.
            Dest::Connect(_) | Dest::Conn(_) => (dest, self.tcp_local(flow.local.ip()).unwrap_or(flow.local)),
        };
        let transport = if matches!(dest, Dest::Udp { .. }) { Transport::Udp } else { Transport::Tcp };
        let via = self.via(transport, local);
        let host = via.split(' ').next_back().unwrap_or_default();
        let contact = match transport {
            Transport::Udp => format!("<sip:{host}>"),
            Transport::Tcp => format!("<sip:{host};transport=tcp>"),
        };
        let elsewhere = proven.filter(|_| !dialog.is_routed() || proxied).map(|(to, _)| to);
        let stream = elsewhere.filter(|_| !matches!(dest, Dest::Connect(_)));
        let stream = stream.and_then(|to| Some((to, self.via(Transport::Tcp, self.tcp_local(local.ip())?))));
        Some(Way { dest, contact: contact.into(), via, stream })
    }
}
