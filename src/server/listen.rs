//! Sockets that we listen on, how many connections we may have, and whom we ask where others are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::config::Config;
use crate::edge::transport::resolve::Names;
use crate::edge::transport::{local_towards, udp};
use crate::refusal::Fault;
use crate::service::registrar::{Finder, Listening};
use crate::types::Transport;

pub(super) type Bound = (Vec<Vec<Option<std::net::UdpSocket>>>, Vec<(TcpListener, u16)>, Vec<Listening>);

/// Binds all listeners: for each shard its UDP sockets by listener index, and the TCP listeners.
pub(super) fn bind(config: &Config, shards: usize) -> Result<Bound, Fault> {
    let mut sockets: Vec<Vec<Option<std::net::UdpSocket>>> = (0..shards).map(|_| Vec::new()).collect();
    let (mut streams, mut listening) = (Vec::new(), Vec::new());
    for (index, listener) in config.sip.listen.iter().enumerate() {
        let failed = |error| Fault::Internal(format!("cannot listen on {listener}: {error}"));
        let address = match listener.transport {
            Transport::Udp => {
                let bound = udp::bind(listener.addr, shards).map_err(failed)?;
                let address =
                    bound.first().map(std::net::UdpSocket::local_addr).transpose().map_err(failed)?;
                for (mine, socket) in sockets.iter_mut().zip(bound) {
                    mine.push(Some(socket));
                }
                address.unwrap_or(listener.addr)
            }
            Transport::Tcp => {
                let bound = tcp_listener(listener.addr).map_err(failed)?;
                let address = bound.local_addr().map_err(failed)?;
                streams.push((bound, index as u16));
                for mine in &mut sockets {
                    mine.push(None);
                }
                address
            }
        };
        listening.push(Listening { transport: listener.transport, address });
    }
    Ok((sockets, streams, listening))
}

/// The address of ours that packets to `remote` leave from.
pub(super) fn our_side(remote: SocketAddr) -> IpAddr {
    let any = if remote.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    local_towards(remote, SocketAddr::new(any, 0)).ip()
}

fn tcp_listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    // Connections of the daemon before us may linger on the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn descriptors() -> usize {
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(1024, |(soft, _)| soft as usize)
}

/// A connection is a descriptor: as many as we may have.
pub(super) fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused: then there are fewer.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Who looks other domains up, where that is wanted and no proxy does it.
pub(super) fn finder(config: &Config) -> Result<Option<Arc<dyn Finder>>, Fault> {
    if !config.sip.relay_foreign || config.sip.outbound_proxy.is_some() {
        return Ok(None);
    }
    let servers: Vec<SocketAddr> = config.sip.nameservers.iter().map(|server| server.0).collect();
    let listens = |v4: bool| config.sip.listen.iter().any(|known| known.addr.is_ipv4() == v4);
    Ok(Some(Arc::new(Names::new(&servers, (listens(true), listens(false)))?)))
}
