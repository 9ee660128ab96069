//! UDP sockets of a shard, one per listener, sharing the port with the other shards' (SO_REUSEPORT).
//!
//! ICMP errors are read from the error queue with the datagram that caused them, so that "nobody listens there"
//! is known at once and for the right transaction (RFC 3261 §18.4).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{PoisonError, RwLock};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

/// Room for a burst while the shard is busy, as far as the kernel grants it.
const BUFFER: usize = 8 * 1024 * 1024;
/// Addresses of ours behind wildcard listeners that are told apart; what goes beyond leaves as the kernel likes.
const FACES: usize = 1024;

/// The addresses that wildcard listeners were asked at, as listeners of their own: an answer, and later every
/// request over the same flow, leaves from the address that the other side knows. Numbers follow the configured
/// listeners' and live as long as the process.
pub struct Faces {
    configured: u16,
    known: RwLock<Vec<(u16, IpAddr)>>,
}

impl Faces {
    /// `configured`: how many listeners there are.
    pub fn new(configured: usize) -> Faces {
        let configured = configured.try_into().unwrap_or(u16::MAX);
        Faces { configured, known: RwLock::default() }
    }

    /// The number of the wildcard listener `listener` at our address `ours`.
    pub fn number(&self, listener: u16, ours: IpAddr) -> u16 {
        let face = (listener, ours);
        let find = |known: &[(u16, IpAddr)]| {
            let at = known.iter().position(|known| *known == face)?;
            self.configured.checked_add(at.try_into().ok()?)
        };
        if let Some(number) = find(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return number;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if find(&known).is_none() && known.len() < FACES {
            known.push(face);
        }
        find(&known).unwrap_or(listener)
    }

    /// The configured listener of a number, and our address where that is not the listener's own.
    pub fn listener(&self, number: u16) -> (u16, Option<IpAddr>) {
        let Some(at) = number.checked_sub(self.configured) else { return (number, None) };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(usize::from(at)).map_or((number, None), |(listener, ours)| (*listener, Some(*ours)))
    }
}

/// Binds `count` sockets to one address. Fails if anybody else has it, even with SO_REUSEPORT.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    // Our own sockets share the port; a stranger's must not be joined. Without the option the kernel tells.
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..count)
        .map(|_| {
            let socket = socket(address)?;
            if count > 1 {
                socket.set_reuse_port(true)?;
            }
            socket.bind(&address.into())?;
            let socket: UdpSocket = socket.into();
            match address {
                SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
                SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
            }
            if address.ip().is_unspecified() {
                match address {
                    SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                    SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
                }
            }
            Ok(socket)
        })
        .collect()
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What the kernel does not grant is no reason not to run.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    Ok(socket)
}

/// As `recv_from`, on a wildcard listener; and the address of ours that the datagram was sent to.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let ours = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::from(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
        _ => None,
    });
    // Asked at a group address, we answer from one of our own.
    let ours = ours.filter(|ours| !ours.is_multicast() && !ours.is_unspecified());
    let from = message.address.as_ref().and_then(|from| {
        let four = from.as_sockaddr_in().map(|from| SocketAddr::V4((*from).into()));
        four.or_else(|| from.as_sockaddr_in6().map(|from| SocketAddr::V6((*from).into())))
    });
    Ok((message.bytes, from.ok_or(io::ErrorKind::InvalidData)?, ours))
}

/// As `send_to`, from our address `ours`.
pub fn send_from(socket: &UdpSocket, ours: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<usize> {
    let slices = [IoSlice::new(bytes)];
    let to = SockaddrStorage::from(to);
    let send = |control| {
        sendmsg(socket.as_raw_fd(), &slices, &[control], MsgFlags::MSG_DONTWAIT, Some(&to))
            .map_err(io::Error::from)
    };
    match ours {
        IpAddr::V4(ours) => {
            let ours = libc::in_addr { s_addr: u32::from(ours).to_be() };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: ours,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            send(ControlMessage::Ipv4PacketInfo(&info))
        }
        IpAddr::V6(ours) => {
            let ours = libc::in6_addr { s6_addr: ours.octets() };
            send(ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr: ours, ipi6_ifindex: 0 }))
        }
    }
}

/// Sends a datagram over a listener or a face of one. An error means that it will not arrive; a full buffer is not one,
/// Timer E sends again.
pub fn send(
    sockets: &[Option<UdpSocket>],
    faces: &Faces,
    listener: u16,
    to: SocketAddr,
    bytes: &[u8],
) -> io::Result<()> {
    let (listener, ours) = faces.listener(listener);
    let Some(Some(socket)) = sockets.get(usize::from(listener)) else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    for _ in 0..2 {
        let sent = match ours {
            Some(ours) => send_from(socket, ours, to, bytes),
            None => socket.send_to(bytes, to),
        };
        match sent {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // Somebody else's ICMP error waits on the socket and is reported here once: not ours.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                debug!(%to, %error, "datagram not sent");
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Takes one report from the error queue: the start of the datagram that did not arrive. `None`: queue empty.
pub fn undelivered(socket: &UdpSocket, buffer: &mut [u8]) -> Option<usize> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, SockaddrStorage);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
        .ok()
        .map(|message| message.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_wildcard_listener_has_a_number_up_to_a_bound() {
        let faces = Faces::new(2);
        let ip = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        let first = faces.number(1, ip(1));
        assert_eq!((first, faces.number(0, ip(1)), faces.number(1, ip(1))), (2, 3, 2));
        assert_eq!(faces.listener(2), (1, Some(ip(1))));
        assert_eq!(faces.listener(1), (1, None));
        for n in 0..2 * FACES as u32 {
            faces.number(0, ip(n));
        }
        assert_eq!(faces.number(0, ip(u32::MAX)), 0, "beyond the bound it is the listener itself");
        assert_eq!(faces.listener(2), (1, Some(ip(1))));
    }
}
