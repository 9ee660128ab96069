//! Bare sockets, for what no phone would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::{Msg, sip};

/// Sends datagrams and reads what comes back.
pub struct Datagrams {
    socket: UdpSocket,
    daemon: SocketAddr,
}

impl Datagrams {
    pub fn new(daemon: SocketAddr) -> Datagrams {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        Datagrams { socket, daemon }
    }

    /// Hears only what comes from the daemon's own address.
    pub fn connected(daemon: SocketAddr) -> Datagrams {
        let one = Datagrams::new(daemon);
        one.socket.connect(daemon).expect("a datagram socket can be connected");
        one
    }

    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// A datagram over 65,507 bytes cannot be sent; that is the kernel's doing.
    pub fn send(&self, bytes: &[u8]) -> bool {
        self.socket.send_to(bytes, self.daemon).or_else(|_| self.socket.send(bytes)).is_ok()
    }

    /// The next datagram, or `None` after `wait`.
    pub fn receive(&self, wait: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).expect("read timeout");
        let mut buffer = vec![0; 65535];
        let (n, _) = self.socket.recv_from(&mut buffer).ok()?;
        buffer.truncate(n);
        Some(buffer)
    }

    /// The answer with this Call-ID, within `wait`.
    pub fn answer(&self, call_id: &str, wait: Duration) -> Option<Msg> {
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            let bytes = self.receive(deadline.saturating_duration_since(Instant::now()))?;
            match Msg::parse(&bytes) {
                Some(msg) if msg.call_id() == call_id => return Some(msg),
                _ => {}
            }
        }
        None
    }
}

/// What came back over a connection.
#[derive(Debug)]
pub struct Reply {
    pub messages: Vec<Msg>,
    pub crlfs: usize,
    /// The daemon closed the connection.
    pub closed: bool,
}

pub fn connect(daemon: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&daemon, super::PATIENCE).expect("the daemon takes connections");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// Writes these bytes on a new connection and reads until `enough` or the daemon closes it.
pub fn exchange(daemon: SocketAddr, bytes: &[u8], enough: impl Fn(&Reply) -> bool) -> Reply {
    let mut stream = connect(daemon);
    // The daemon may close before it has read all.
    let _ = stream.write_all(bytes);
    read_until(&mut stream, super::PATIENCE, enough)
}

pub fn read_until(stream: &mut TcpStream, wait: Duration, enough: impl Fn(&Reply) -> bool) -> Reply {
    let deadline = Instant::now() + wait;
    let mut reply = Reply { messages: Vec::new(), crlfs: 0, closed: false };
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16384]);
    while !reply.closed && !enough(&reply) && Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).expect("read timeout");
        match stream.read(&mut chunk) {
            Ok(0) => reply.closed = true,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(_) => reply.closed = true,
        }
        while let Some(bytes) = sip::take(&mut buffer, &mut reply.crlfs) {
            reply.messages.extend(Msg::parse(&bytes));
        }
    }
    reply
}
