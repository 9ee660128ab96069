//! Sockets: datagrams and streams. Moves bytes, keeps bounds, knows no rule of SIP beyond framing.

pub mod resolve;
pub mod tcp;
pub mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use self::tcp::Streams;
use self::udp::Faces;
use crate::chat::ids::Branch;
use crate::chat::shard::Outgoing;
use crate::types::Dest;

/// Rounds of sending what failures have made.
const ROUNDS: usize = 4;

/// Sends everything that a state machine has made, and empties it. `failed` hears of each branch that could not be
/// sent, and may make more of it: a few rounds at most.
pub fn send_all(
    out: &mut Outgoing,
    sockets: &[Option<UdpSocket>],
    faces: &Faces,
    streams: &Arc<Streams>,
    mut failed: impl FnMut(Branch, &mut Outgoing),
) {
    for _ in 0..ROUNDS {
        if out.is_empty() {
            return;
        }
        let mut sending = std::mem::take(out);
        let mut lost = Vec::new();
        for (to, bytes, branch) in sending.iter() {
            let sent = match to {
                Dest::Udp { listener, to } => udp::send(sockets, faces, listener, to, bytes).is_ok(),
                Dest::Conn(conn) => streams.send(conn, bytes, branch),
                Dest::Connect(to) => {
                    streams.send_to(to, bytes, branch);
                    true
                }
            };
            lost.extend(branch.filter(|_| !sent));
        }
        // Its room is used again.
        sending.clear();
        *out = sending;
        for branch in lost {
            failed(branch, out);
        }
    }
}

/// The address of ours that packets to `remote` leave from; for listeners on the wildcard address.
pub fn local_towards(remote: SocketAddr, listener: SocketAddr) -> SocketAddr {
    if !listener.ip().is_unspecified() {
        return listener;
    }
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    SocketAddr::new(asked.map_or(listener.ip(), |local| local.ip()), listener.port())
}

/// IPv4 addresses that came through an IPv6 socket are IPv4 addresses. A link-local one keeps its scope: without
/// it nothing can be sent there (RFC 4007 §11).
pub fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_what_it_is_and_keeps_its_scope() {
        let read = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(plain(read("[::ffff:192.0.2.7]:5060")), read("192.0.2.7:5060"));
        assert_eq!(plain(read("[fe80::1%3]:5060")), read("[fe80::1%3]:5060"));
    }
}
