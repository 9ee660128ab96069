//! UDP sockets of a shard, one per listener, sharing the port with the other shards' (SO_REUSEPORT).
//!
//! ICMP errors are read from the error queue with the datagram that caused them, so that "nobody listens there"
//! is known at once and for the right transaction (RFC 3261 §18.4).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Room for a burst while the shard is busy, as far as the kernel grants it.
const BUFFER: usize = 8 * 1024 * 1024;

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

/// Takes one report from the error queue: the start of the datagram that did not arrive. `None`: queue empty.
pub fn undelivered(socket: &UdpSocket, buffer: &mut [u8]) -> Option<usize> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, SockaddrStorage);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
        .ok()
        .map(|message| message.bytes)
}
