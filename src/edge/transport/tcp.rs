//! Streams: accepting, connecting, framing, and who may keep a connection open for how long.
//!
//! A connection that a live binding was registered over is *held*: no idle time-out, slow-header time-out or cap
//! closes it (spec §5.9). All others are closed when idle. A peer that does not read has a bounded queue and
//! never blocks anybody else; nobody is read faster than he is served and reads his answers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::chat::ids::Branch;
use crate::sip::framing::{Frame, Framer};
use crate::sip::message::Limits;
use crate::types::{ConnId, Flow, Transport};

/// Messages that wait for a peer to read.
const QUEUE: usize = 256;
/// What a peer has not acknowledged by then will not arrive: as long as Timer F.
const UNACKNOWLEDGED: Duration = Duration::from_secs(32);
/// The kernel asks a silent peer whether it is there after this long (RFC 5626 §4.4 lets phones ask us) …
const SILENT: Duration = Duration::from_secs(120);
/// … and four times more, this far apart.
const ASKED_AGAIN: Duration = Duration::from_secs(15);
/// A connection nobody is bound to is closed after this long without a byte.
const IDLE: Duration = Duration::from_secs(120);
/// From the first byte of a message to its last, and from connecting to the first message.
const SLOW: Duration = Duration::from_secs(20);
/// A connection of ours must stand within this (spec §5.6).
const CONNECT: Duration = Duration::from_secs(2);
/// Connections from one address that no binding holds.
const PER_ADDRESS: usize = 512;

/// Messages of one connection that wait to be looked at; meanwhile no more is read from it.
const AHEAD: usize = 16;

/// In place of a listener: we opened it.
const OUTGOING: u16 = u16::MAX;

/// What a connection tells the house.
pub trait StreamEvents: Send + Sync + 'static {
    /// A whole message, or one that cannot be framed: then it is the start of it, for an answer. `place` is to be
    /// dropped when it has been looked at.
    fn received(&self, flow: Flow, bytes: Bytes, broken: Option<(u16, &'static str)>, place: Place);
    fn closed(&self, flow: Flow);
    /// A request did not leave.
    fn failed(&self, branch: Branch);
}

/// One of the places that a connection has among what waits to be looked at.
pub type Place = OwnedSemaphorePermit;

struct Conn {
    queue: mpsc::Sender<(Bytes, Option<Branch>)>,
    held: AtomicBool,
    /// Its phone was asked for signs of life.
    keeps_alive: AtomicBool,
    remote: SocketAddr,
}

/// All open connections.
pub struct Streams {
    events: Arc<dyn StreamEvents>,
    limits: Limits,
    conns: DashMap<ConnId, Arc<Conn>>,
    /// Connections that we opened, by where they go.
    outgoing: Mutex<HashMap<SocketAddr, ConnId>>,
    unheld: Mutex<HashMap<IpAddr, usize>>,
    exempt: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    total_max: usize,
    /// Silence of a phone that was asked for signs of life.
    silence_max: Option<Duration>,
    next: AtomicU64,
    runtime: tokio::runtime::Handle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// `exempt`: addresses without a cap (trusted peers). `total_max`: connections in all. `silence_max`: see
    /// [`silence_max`].
    pub fn new(
        events: Arc<dyn StreamEvents>,
        limits: Limits,
        exempt: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
        (total_max, silence_max): (usize, Option<Duration>),
        runtime: tokio::runtime::Handle,
    ) -> Arc<Streams> {
        Arc::new(Streams {
            events,
            limits,
            conns: DashMap::new(),
            outgoing: Mutex::default(),
            unheld: Mutex::default(),
            exempt,
            total_max,
            silence_max,
            next: AtomicU64::new(1),
            runtime,
        })
    }

    pub fn count(&self) -> usize {
        self.conns.len()
    }

    pub fn is_open(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// A live binding holds this connection open, or does so no more.
    pub fn hold(&self, conn: ConnId, held: bool) {
        let Some(known) = self.conns.get(&conn).map(|known| known.clone()) else { return };
        if known.held.swap(held, Ordering::Relaxed) != held {
            self.count_unheld(known.remote.ip(), if held { -1 } else { 1 });
        }
    }

    /// The phone at the other end was asked for signs of life.
    pub fn keeps_alive(&self, conn: ConnId) {
        if let Some(known) = self.conns.get(&conn) {
            known.keeps_alive.store(true, Ordering::Relaxed);
        }
    }

    fn count_unheld(&self, address: IpAddr, change: isize) -> usize {
        let mut unheld = lock(&self.unheld);
        let count = unheld.entry(address).or_default();
        *count = count.saturating_add_signed(change);
        let now = *count;
        if now == 0 {
            unheld.remove(&address);
        }
        now
    }

    /// Sends over an open connection. False: there is none, or its peer does not read.
    pub fn send(&self, conn: ConnId, bytes: &[u8], branch: Option<Branch>) -> bool {
        let queue = self.conns.get(&conn).map(|known| known.queue.clone());
        queue.is_some_and(|queue| queue.try_send((Bytes::copy_from_slice(bytes), branch)).is_ok())
    }

    /// Closes a connection after what was sent over it so far.
    pub fn close(&self, conn: ConnId) {
        let queue = self.conns.get(&conn).map(|known| known.queue.clone());
        // A queue that is full belongs to a peer that does not read: idle time-outs end it.
        let _ = queue.map(|queue| queue.try_send((Bytes::new(), None)));
    }

    /// Sends over a connection to `to`, opening one if need be. What does not leave is reported as failed.
    pub fn send_to(self: &Arc<Self>, to: SocketAddr, bytes: &[u8], branch: Option<Branch>) {
        let message = (Bytes::copy_from_slice(bytes), branch);
        let mut outgoing = lock(&self.outgoing);
        let open = outgoing.get(&to).and_then(|id| self.conns.get(id).map(|conn| conn.queue.clone()));
        let refused = match open {
            Some(queue) => queue.try_send(message).err().map(|refused| refused.into_inner()),
            None if self.conns.len() >= self.total_max => Some(message),
            None => {
                let (id, conn, inbox) = self.enter(to, true);
                // The place is taken before the connection stands: what comes meanwhile queues behind it.
                let _ = conn.queue.try_send(message);
                outgoing.insert(to, id);
                let streams = self.clone();
                self.runtime.spawn(async move { streams.connect(to, id, conn, inbox).await });
                None
            }
        };
        drop(outgoing);
        if let Some((_, Some(branch))) = refused {
            self.events.failed(branch);
        }
    }

    fn enter(&self, remote: SocketAddr, held: bool) -> (ConnId, Arc<Conn>, Inbox) {
        let id = ConnId(self.next.fetch_add(1, Ordering::Relaxed));
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (held_now, keeps_alive) = (AtomicBool::new(held), AtomicBool::new(false));
        let conn = Arc::new(Conn { queue, held: held_now, keeps_alive, remote });
        self.conns.insert(id, conn.clone());
        if !held {
            self.count_unheld(remote.ip(), 1);
        }
        (id, conn, inbox)
    }

    fn leave(&self, id: ConnId, inbox: &mut Inbox) {
        if let Some((_, conn)) = self.conns.remove(&id) {
            if !conn.held.load(Ordering::Relaxed) {
                self.count_unheld(conn.remote.ip(), -1);
            }
            lock(&self.outgoing).retain(|_, known| *known != id);
        }
        inbox.close();
        while let Ok((_, branch)) = inbox.try_recv() {
            if let Some(branch) = branch {
                self.events.failed(branch);
            }
        }
    }

    async fn connect(self: Arc<Self>, to: SocketAddr, id: ConnId, conn: Arc<Conn>, mut inbox: Inbox) {
        match timeout(CONNECT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) if is_itself(&stream) => {
                debug!(%to, "nobody listens: the connection has met itself");
                drop(stream);
                self.leave(id, &mut inbox);
            }
            Ok(Ok(stream)) => {
                self.hold(id, false);
                let local = stream.local_addr().unwrap_or(to);
                let flow =
                    Flow { transport: Transport::Tcp, listener: OUTGOING, local, remote: to, conn: Some(id) };
                self.serve(stream, flow, conn, inbox).await;
            }
            Ok(Err(error)) => {
                debug!(%to, %error, "connection refused");
                self.leave(id, &mut inbox);
            }
            Err(_) => {
                debug!(%to, "connection not established in time");
                self.leave(id, &mut inbox);
            }
        }
    }

    /// Accepts until the listener fails for good.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, index: u16) {
        loop {
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those who are connected go on, new ones wait.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let remote = super::plain(remote);
            let address = remote.ip();
            let crowded = lock(&self.unheld).get(&address).is_some_and(|count| *count >= PER_ADDRESS);
            if (crowded && !(self.exempt)(address)) || self.conns.len() >= self.total_max {
                debug!(%remote, "too many connections, closing the new one");
                continue;
            }
            let Ok(local) = stream.local_addr() else { continue };
            let (id, conn, inbox) = self.enter(remote, false);
            let local = super::plain(local);
            let flow = Flow { transport: Transport::Tcp, listener: index, local, remote, conn: Some(id) };
            let streams = self.clone();
            tokio::spawn(async move { streams.serve(stream, flow, conn, inbox).await });
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, flow: Flow, conn: Arc<Conn>, mut inbox: Inbox) {
        prepare(&stream);
        let (read, mut write) = stream.into_split();
        let queue = conn.queue.clone();
        let reader = self.read(read, flow, &conn, queue);
        let writer = send_all(&mut write, &mut inbox);
        let gone = tokio::select! {
            gone = reader => gone,
            gone = writer => gone.err(),
        };
        if let Some(error) = gone {
            debug!(remote = %flow.remote, %error, "connection lost");
        }
        // A last answer, such as 400 for what could not be framed, still leaves if it can.
        let _ = timeout(Duration::from_millis(500), async {
            while let Ok((bytes, _)) = inbox.try_recv() {
                write.write_all(&bytes).await?;
            }
            write.shutdown().await
        })
        .await;
        if let Some(id) = flow.conn {
            self.leave(id, &mut inbox);
        }
        self.events.closed(flow);
    }

    /// Reads until the peer closes, breaks framing, or is too slow. `None`: closed in order.
    async fn read(
        &self,
        mut read: OwnedReadHalf,
        flow: Flow,
        conn: &Conn,
        queue: mpsc::Sender<(Bytes, Option<Branch>)>,
    ) -> Option<io::Error> {
        let mut framer = Framer::new(self.limits);
        let mut buffer = vec![0; 16 * 1024];
        let (mut begun, mut heard) = (Instant::now(), Instant::now());
        let look = self.silence_max.map_or(IDLE, |silence| silence.min(IDLE));
        // Whom we called has nothing to say before we have been answered, which takes up to Timer F.
        let mut spoken = flow.listener == OUTGOING;
        let places = Arc::new(Semaphore::new(AHEAD));
        loop {
            // Who does not read his answers is not asked for more.
            if queue.capacity() == 0 {
                match timeout(IDLE, queue.reserve()).await {
                    Ok(_) => {}
                    Err(_) if conn.held.load(Ordering::Relaxed) => continue,
                    Err(_) => return Some(io::ErrorKind::TimedOut.into()),
                }
            }
            let partial = framer.has_partial();
            let hurried = partial || !spoken;
            let deadline = match conn.held.load(Ordering::Relaxed) {
                _ if hurried => begun + SLOW,
                true => Instant::now() + look,
                false => (Instant::now() + look).min(heard + IDLE),
            };
            let is_silent = || {
                let asked = conn.keeps_alive.load(Ordering::Relaxed);
                self.silence_max.is_some_and(|silence| asked && heard + silence <= Instant::now())
            };
            let read = match timeout_at(deadline, read.read(&mut buffer)).await {
                Ok(Ok(0)) => return None,
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Some(error),
                Err(_) if is_silent() => return Some(io::ErrorKind::TimedOut.into()),
                Err(_) if conn.held.load(Ordering::Relaxed) => {
                    begun = Instant::now();
                    continue;
                }
                Err(_) if !hurried && heard + IDLE > Instant::now() => continue,
                Err(_) => return Some(io::ErrorKind::TimedOut.into()),
            };
            heard = Instant::now();
            if !partial {
                begun = Instant::now();
            }
            framer.push(&buffer[..read]);
            while let Some(frame) = framer.next() {
                let (bytes, broken, lost) = match frame {
                    // RFC 5626 §3.5.1: a pong. A peer that does not read its pongs does not need them.
                    Frame::KeepAlive => {
                        let _ = queue.try_send((Bytes::from_static(b"\r\n"), None));
                        continue;
                    }
                    Frame::Message(bytes) => (bytes, None, false),
                    Frame::Skipped { head, status, reason } => (head, Some((status, reason)), false),
                    Frame::Bad { head, status, reason } => (head, Some((status, reason)), true),
                };
                // Never closed: it is ours.
                let Ok(place) = places.clone().acquire_owned().await else { return None };
                (spoken, begun) = (true, Instant::now());
                self.events.received(flow, bytes, broken, place);
                if lost {
                    // The answer is made elsewhere: give it the time to come back to the queue.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return Some(io::ErrorKind::InvalidData.into());
                }
            }
        }
    }
}

type Inbox = mpsc::Receiver<(Bytes, Option<Branch>)>;

/// Writes what is queued, until nothing comes any more or an empty message asks to close.
async fn send_all(write: &mut OwnedWriteHalf, inbox: &mut Inbox) -> io::Result<()> {
    while let Some((bytes, _)) = inbox.recv().await {
        if bytes.is_empty() {
            break;
        }
        write.write_all(&bytes).await?;
    }
    Ok(())
}

/// How long a phone may be silent that was asked by Flow-Timer for a sign of life every so many seconds: a quarter
/// longer, for transport delay (RFC 5626 §5.4). `None`: for ever.
pub fn silence_max(flow_timer_s: u32) -> Option<Duration> {
    (flow_timer_s > 0).then(|| Duration::from_secs(u64::from(flow_timer_s)) * 5 / 4)
}

/// Small messages must not wait for each other; and a phone that vanished without a word is found out: by what it does
/// not acknowledge, or, when nothing is said, by the kernel's own questions. Where the kernel refuses, Timer F is left.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let asked = socket2::TcpKeepalive::new().with_time(SILENT).with_interval(ASKED_AGAIN).with_retries(4);
    let _ = socket.set_tcp_keepalive(&asked);
}

/// Where nobody listens on a port of ours from which connections leave, one may be connected to itself. What was said
/// there would be answered by us.
fn is_itself(stream: &TcpStream) -> bool {
    stream.local_addr().is_ok_and(|local| stream.peer_addr().is_ok_and(|peer| peer == local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_met_itself_is_known() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let to = listener.local_addr().unwrap();
            assert!(!is_itself(&TcpStream::connect(to).await.unwrap()));
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let own = socket.local_addr().unwrap();
            assert!(is_itself(&socket.connect(own).await.unwrap()));
        });
    }

    #[test]
    fn a_peer_that_vanishes_is_found_out_by_the_kernel() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            prepare(&stream);
            let socket = socket2::SockRef::from(&stream);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
            assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENT);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), ASKED_AGAIN);
        });
    }
}
