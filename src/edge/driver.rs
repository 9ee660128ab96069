//! Feeds the shards with bytes and time.
//!
//! One thread a shard, with its UDP sockets, its endpoint (server transactions) and its outboxes. It moves
//! inputs and outputs in batches and decides nothing. Other threads talk to it through its [`Inbox`] alone.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::error;

use super::tasks::{Serving, TaskId, Tasks};
use super::transport::tcp::{Place, StreamEvents, Streams};
use super::transport::udp::Faces;
use super::transport::{plain, send_all, udp};
use crate::chat::ids::{Branch, Ids};
use crate::chat::phones::{LEARNED_MAX, media};
use crate::chat::shard::{Counters, Event, Input, Now, Outgoing, Reply, Shard};
use crate::presence::agent as presence;
use crate::refusal::Fault;
use crate::service::clock::Clock;
use crate::sip::endpoint::{Endpoint, Keep, Received, TxKey};
use crate::sip::message::{Message, Name};
use crate::sip::stun;
use crate::types::{AccountId, ConnId, Dest, DeviceKey, Flow, Seq, Transmit, Transport};

/// Datagrams read from one socket before timers and inputs have their turn.
const BATCH: usize = 256;
/// Positions leave the shard this long after they moved; the store joins them to commits.
const POSITIONS: Duration = Duration::from_millis(50);
/// A phone that is there answers within this, also over a slow net; one that is not holds up a stop no longer.
const REST: Duration = Duration::from_secs(1);
/// How often a shard that stops looks whether the others have no need of it any more.
const REST_LOOK: Duration = Duration::from_millis(5);
/// Name of the inbox among the sockets.
const WAKE: u64 = u64::MAX;

/// What other threads tell a shard's thread.
pub enum Mail {
    Shard(Input),
    /// The answer to a request; `keep`: what the endpoint remembers of it.
    Respond {
        key: TxKey,
        bytes: Bytes,
        keep: Keep,
    },
    /// A message that came over a stream.
    Stream {
        flow: Flow,
        bytes: Bytes,
        broken: Option<(u16, &'static str)>,
        /// Dropped when it has been dealt with: then more is read.
        place: Place,
    },
    /// For the notifier, which is no shard.
    Presence(Box<presence::Input>),
    /// Hand in the positions now, and say when that is done.
    Positions(tokio::sync::oneshot::Sender<()>),
    /// A request that is served here can go on.
    Poll(TaskId),
    Stop(Arc<Rest>),
}

/// How long a stop waits: nothing new is sent, and what phones are taking right now they may still take, so that nothing
/// is repeated after the restart (spec §5.2).
pub struct Rest {
    /// Shards that await an answer. All read their sockets until none does: an answer may come to any of them.
    busy: AtomicUsize,
    until: Instant,
}

impl Rest {
    pub fn new(shards: usize) -> Rest {
        Rest { busy: AtomicUsize::new(shards), until: Instant::now() + REST }
    }
}

/// The one way into a shard's thread.
pub struct Inbox {
    mail: Mutex<Vec<Mail>>,
    wake: EventFd,
    woken: AtomicBool,
}

impl Inbox {
    pub fn new() -> Result<Inbox, Fault> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|error| Fault::Internal(format!("eventfd: {error}")))?;
        Ok(Inbox { mail: Mutex::default(), wake, woken: AtomicBool::new(false) })
    }

    pub fn push(&self, mail: Mail) {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Can fail only when it is already readable.
            let _ = self.wake.write(1);
        }
    }

    /// Waits until something was pushed, at most for so long, rounded up to milliseconds.
    pub(super) fn wait(&self, at_most: Option<Duration>) {
        let mut ready = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        let at_most = at_most.map(|left| left.as_micros().div_ceil(1000).min(60_000) as u16);
        // Woken for nothing, one looks and waits again.
        let _ = poll(&mut ready, at_most.map_or(PollTimeout::NONE, PollTimeout::from));
    }

    pub(crate) fn take(&self, into: &mut Vec<Mail>) {
        let _ = self.wake.read();
        self.woken.store(false, Ordering::Release);
        std::mem::swap(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}

/// A request as it came in.
pub struct NewRequest {
    pub flow: Flow,
    pub bytes: Bytes,
    pub tag: String,
}

/// The answer to a request; `None`: there is none.
pub type Served = Option<(Bytes, Keep)>;

/// What the thread hands to the floors below and above it. All calls return at once.
pub trait House: Send + Sync + 'static {
    /// A request that may be refused without looking anything up: the answer, or `None`.
    fn screen(&self, message: &Message<'_>, flow: &Flow, tag: &str) -> Option<Bytes>;
    /// A new request; `tag` goes into To. Given back, it is served on this thread; else it is answered through
    /// `shard`'s inbox.
    fn request(&self, shard: usize, key: TxKey, request: NewRequest) -> Option<Serving<Served>>;
    fn event(&self, shard: usize, event: Event);
    fn positions(&self, moved: Vec<(AccountId, DeviceKey, Seq)>);
}

/// Numbers of one shard for the statistics, refreshed about once a second.
#[derive(Default)]
pub struct Gauges {
    pub counters: Mutex<Counters>,
    pub outboxes: AtomicU64,
    pub open: AtomicU64,
}

/// Everything a shard's thread owns.
pub struct Driver {
    pub index: usize,
    pub shard: Shard,
    pub endpoint: Endpoint,
    /// By listener index; `None` for listeners that are not UDP.
    pub sockets: Vec<Option<UdpSocket>>,
    pub faces: Arc<Faces>,
    pub inboxes: Arc<Vec<Inbox>>,
    pub streams: Arc<Streams>,
    pub house: Arc<dyn House>,
    pub ids: Ids,
    pub clock: Clock,
    pub gauges: Arc<Gauges>,
    pub runtime: tokio::runtime::Handle,
}

impl Driver {
    /// Starts the thread. It ends on [`Mail::Stop`], when phones have answered what was on its way.
    pub fn start(self) -> Result<JoinHandle<()>, Fault> {
        std::thread::Builder::new()
            .name(format!("shard-{}", self.index))
            .spawn(move || {
                let index = self.index;
                if let Err(fault) = self.run() {
                    error!(shard = index, error = %fault, "shard stopped");
                    std::process::abort();
                }
            })
            .map_err(|error| Fault::Internal(format!("thread: {error}")))
    }

    fn run(mut self) -> io::Result<()> {
        // What is served here may wait for the runtime's timers.
        let runtime = self.runtime.clone();
        let _runtime = runtime.enter();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let inboxes = self.inboxes.clone();
        epoll.add(inboxes[self.index].wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let mut locals = Vec::new();
        for (name, socket) in self.sockets.iter().enumerate() {
            locals.push(socket.as_ref().map(UdpSocket::local_addr).transpose()?);
            if let Some(socket) = socket {
                epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, name as u64))?;
            }
        }
        let mut work = Work {
            out: Outgoing::default(),
            events: Vec::new(),
            transmits: Vec::new(),
            tasks: Tasks::new(inboxes.clone(), self.index),
            closing: Vec::new(),
            mail: Vec::new(),
            moved: Vec::new(),
            buffer: vec![0; 65_536],
            locals,
            positions_at: None,
            gauges_at: Instant::now(),
            busy: false,
            rest: None,
            idle: false,
        };
        let mut ready = [EpollEvent::empty(); 16];
        loop {
            let wait = self.wait(&work);
            let count = match epoll.wait(&mut ready, wait) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            work.busy |= count > 0;
            for event in &ready[..count] {
                if event.data() == WAKE {
                    let mut mail = std::mem::take(&mut work.mail);
                    inboxes[self.index].take(&mut mail);
                    for letter in mail.drain(..) {
                        self.letter(letter, &mut work);
                    }
                    work.mail = mail;
                } else {
                    self.receive(event.data() as u16, &mut work);
                }
            }
            self.time(&mut work);
            self.flush(&mut work);
            if self.has_rested(&mut work) {
                self.last_positions(&mut work);
                return Ok(());
            }
        }
    }

    /// Whether it was told to stop, and there is nothing more to wait for.
    fn has_rested(&self, work: &mut Work) -> bool {
        let Some(rest) = &work.rest else { return false };
        if !work.idle && self.shard.is_idle() {
            work.idle = true;
            rest.busy.fetch_sub(1, Ordering::AcqRel);
        }
        rest.busy.load(Ordering::Acquire) == 0 || Instant::now() >= rest.until
    }

    /// Until the next timer, rounded up; forever if there is none.
    fn wait(&self, work: &Work) -> EpollTimeout {
        let gauges_at = work.busy.then_some(work.gauges_at);
        let others = work.rest.as_ref().map(|_| Instant::now() + REST_LOOK);
        let due = [self.shard.due(), self.endpoint.due(), work.positions_at, gauges_at, others];
        let due = due.into_iter().flatten().min();
        let Some(due) = due else { return EpollTimeout::NONE };
        let left = due.saturating_duration_since(Instant::now());
        let ms = left.as_micros().div_ceil(1000).min(60_000) as u16;
        EpollTimeout::from(ms)
    }

    fn time(&mut self, work: &mut Work) {
        let now = self.now();
        if self.shard.due().is_some_and(|due| due <= now.at) {
            work.busy = true;
            self.shard.poll(now, &mut work.out, &mut work.events);
        }
        if self.endpoint.due().is_some_and(|due| due <= now.at) {
            self.endpoint.on_due(now.at, &mut work.transmits);
        }
        if work.positions_at.is_some_and(|at| at <= now.at) {
            self.last_positions(work);
        }
        if work.positions_at.is_none() && self.shard.has_moved() {
            work.positions_at = Some(now.at + POSITIONS);
        }
        if work.busy && now.at >= work.gauges_at {
            work.busy = false;
            work.gauges_at = now.at + Duration::from_secs(1);
            let (outboxes, open) = self.shard.load();
            self.gauges.outboxes.store(outboxes as u64, Ordering::Relaxed);
            self.gauges.open.store(open as u64, Ordering::Relaxed);
            *self.gauges.counters.lock().unwrap_or_else(PoisonError::into_inner) = self.shard.counters();
        }
    }

    fn last_positions(&mut self, work: &mut Work) {
        work.positions_at = None;
        self.shard.positions(&mut work.moved);
        if !work.moved.is_empty() {
            self.house.positions(std::mem::take(&mut work.moved));
        }
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), ms: self.clock.wall() }
    }

    fn letter(&mut self, letter: Mail, work: &mut Work) {
        let now = self.now();
        match letter {
            Mail::Shard(input) => self.shard.input(now, input, &mut work.out, &mut work.events),
            Mail::Respond { key, bytes, keep } => {
                self.endpoint.respond(now.at, key, bytes, keep, &mut work.transmits);
            }
            Mail::Stream { flow, bytes, broken: Some((status, reason)), place: _place } => {
                self.endpoint.refuse(flow, &bytes, status, reason, &mut work.transmits);
            }
            Mail::Stream { flow, bytes, broken: None, place: _place } => {
                self.message(now, flow, bytes, work);
            }
            Mail::Positions(done) => {
                self.last_positions(work);
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            Mail::Poll(task) => {
                let done = work.tasks.poll(task);
                self.served(now, done, work);
            }
            Mail::Stop(rest) => {
                self.shard.rest();
                work.rest = Some(rest);
            }
            Mail::Presence(_) => {}
        }
    }

    fn receive(&mut self, listener: u16, work: &mut Work) {
        let Some(Some(local)) = work.locals.get(usize::from(listener)).copied() else { return };
        for turn in 0..BATCH {
            let Some(Some(socket)) = self.sockets.get(usize::from(listener)) else { return };
            let received = match local.ip().is_unspecified() {
                true => udp::receive(socket, &mut work.buffer),
                false => socket.recv_from(&mut work.buffer).map(|(size, from)| (size, from, None)),
            };
            match received {
                Ok((size, from, ours)) => {
                    let remote = plain(from);
                    // A few bytes are a keep-alive (RFC 5626 §3.5.1 knows no pong for CRLF on UDP).
                    if size < 16 {
                        continue;
                    }
                    let (listener, local) = match ours {
                        Some(ours) => {
                            (self.faces.number(listener, ours), SocketAddr::new(ours, local.port()))
                        }
                        None => (listener, local),
                    };
                    if stun::is_stun(&work.buffer[..size]) {
                        if let Some(answer) = stun::answer(&work.buffer[..size], remote) {
                            udp::send(&self.sockets, &self.faces, listener, remote, &answer)
                                .unwrap_or_default();
                        }
                        continue;
                    }
                    let flow = Flow { transport: Transport::Udp, listener, local, remote, conn: None };
                    let bytes = std::mem::take(&mut work.buffer);
                    self.scanned(self.now(), flow, &bytes[..size], None, work);
                    work.buffer = bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.undelivered(listener, work),
            }
            // Answers in flight wait for nobody: send what a full batch has made.
            if turn % 64 == 63 {
                self.flush(work);
            }
        }
        self.undelivered(listener, work);
    }

    /// ICMP said that something of ours did not arrive: the datagram comes back with our branch in it.
    fn undelivered(&mut self, listener: u16, work: &mut Work) {
        for _ in 0..BATCH {
            let Some(Some(socket)) = self.sockets.get(usize::from(listener)) else { return };
            let Some(size) = udp::undelivered(socket, &mut work.buffer) else { return };
            if let Some(branch) = branch_within(&self.ids, &work.buffer[..size]) {
                self.route_to_shard(branch, Input::Failed(branch), work);
            }
        }
    }

    fn route_to_shard(&mut self, branch: Branch, input: Input, work: &mut Work) {
        if usize::from(branch.shard) == self.index {
            let now = self.now();
            self.shard.input(now, input, &mut work.out, &mut work.events);
        } else if let Some(inbox) = inbox_of(&self.inboxes, branch) {
            inbox.push(Mail::Shard(input));
        }
    }

    fn message(&mut self, now: Now, flow: Flow, bytes: Bytes, work: &mut Work) {
        let whole = bytes.clone();
        self.scanned(now, flow, &whole, Some(bytes), work);
    }

    fn scanned(&mut self, now: Now, flow: Flow, bytes: &[u8], owned: Option<Bytes>, work: &mut Work) {
        match self.endpoint.receive(now.at, flow, bytes, &mut work.transmits) {
            Received::Nothing => {}
            Received::Broken => {
                if let Some(conn) = flow.conn {
                    work.closing.push(conn);
                }
            }
            Received::Response(message) => {
                let branch =
                    message.top_via().and_then(|via| via.branch).and_then(|b| self.ids.read_branch(b));
                if let (Some(branch), Some(status)) = (branch, message.code()) {
                    // Only there it says what is shown instead.
                    let accept = matches!(status, 415 | 488).then(|| accepted_types(&message)).flatten();
                    let reply = Reply { branch, status, retry_after: message.retry_after(), accept };
                    if usize::from(branch.shard) == self.index {
                        self.shard.response(now, reply, &mut work.out, &mut work.events);
                    } else {
                        self.route_to_shard(branch, Input::Response(reply), work);
                    }
                }
            }
            Received::Request { key, message } => {
                let tag = self.endpoint.tag(key);
                match self.house.screen(&message, &flow, tag.as_str()) {
                    Some(answer) => {
                        self.endpoint.respond(now.at, key, answer, Keep::Stateless, &mut work.transmits);
                    }
                    None => {
                        let bytes = owned.unwrap_or_else(|| Bytes::copy_from_slice(bytes));
                        let request = NewRequest { flow, bytes, tag: tag.as_str().to_owned() };
                        if let Some(serving) = self.house.request(self.index, key, request) {
                            let done = work.tasks.start(key, serving);
                            self.served(now, done, work);
                        }
                    }
                }
            }
        }
    }

    fn served(&mut self, now: Now, done: Option<(TxKey, Served)>, work: &mut Work) {
        if let Some((key, Some((bytes, keep)))) = done {
            self.endpoint.respond(now.at, key, bytes, keep, &mut work.transmits);
        }
    }

    fn flush(&mut self, work: &mut Work) {
        for Transmit { to, bytes } in work.transmits.drain(..) {
            match to {
                Dest::Udp { listener, to } => {
                    udp::send(&self.sockets, &self.faces, listener, to, &bytes).unwrap_or_default()
                }
                Dest::Conn(conn) => {
                    self.streams.send(conn, &bytes, None);
                }
                Dest::Connect(to) => self.streams.send_to(to, &bytes, None),
            }
        }
        for conn in work.closing.drain(..) {
            self.streams.close(conn);
        }
        let now = self.now();
        let (shard, events) = (&mut self.shard, &mut work.events);
        send_all(&mut work.out, &self.sockets, &self.faces, &self.streams, |branch, out| {
            shard.input(now, Input::Failed(branch), out, events);
        });
        for event in work.events.drain(..) {
            self.house.event(self.index, event);
        }
    }
}

/// Buffers of the loop, reused.
struct Work {
    out: Outgoing,
    events: Vec<Event>,
    transmits: Vec<Transmit>,
    tasks: Tasks<TxKey, Served>,
    /// Connections to close when what was answered is on its way.
    closing: Vec<ConnId>,
    mail: Vec<Mail>,
    moved: Vec<(AccountId, DeviceKey, Seq)>,
    buffer: Vec<u8>,
    locals: Vec<Option<SocketAddr>>,
    positions_at: Option<Instant>,
    gauges_at: Instant,
    /// Something happened since the gauges were last set.
    busy: bool,
    /// Told to stop.
    rest: Option<Arc<Rest>>,
    /// Has said that it awaits no answer.
    idle: bool,
}

/// Whose transaction a branch names.
fn inbox_of(inboxes: &[Inbox], branch: Branch) -> Option<&Inbox> {
    inboxes.get(usize::from(branch.shard))
}

/// Our branch in the start of a datagram of ours.
fn branch_within(ids: &Ids, datagram: &[u8]) -> Option<Branch> {
    let at = memchr::memmem::find(datagram, b";branch=")? + b";branch=".len();
    let rest = &datagram[at..];
    let end = memchr::memchr2(b';', b'\r', rest)?;
    ids.read_branch(std::str::from_utf8(&rest[..end]).ok()?)
}

/// Hands what streams receive to the shards; one connection always to the same one.
pub struct StreamsToShards {
    pub inboxes: Arc<Vec<Inbox>>,
    /// How many of the inboxes are shards'.
    pub shards: usize,
    pub closed: Box<dyn Fn(ConnId) + Send + Sync>,
}

impl StreamEvents for StreamsToShards {
    fn received(&self, flow: Flow, bytes: Bytes, broken: Option<(u16, &'static str)>, place: Place) {
        let shard = flow.conn.map_or(0, |conn| conn.0 as usize % self.shards);
        self.inboxes[shard].push(Mail::Stream { flow, bytes, broken, place });
    }

    fn closed(&self, flow: Flow) {
        if let Some(conn) = flow.conn {
            (self.closed)(conn);
        }
    }

    fn failed(&self, branch: Branch) {
        if let Some(inbox) = inbox_of(&self.inboxes, branch) {
            inbox.push(Mail::Shard(Input::Failed(branch)));
        }
    }
}
/// The media types of Accept, comma-separated: as many and as long as is worth remembering.
fn accepted_types(message: &Message<'_>) -> Option<Arc<str>> {
    let types = message.list(Name::Accept).filter_map(|value| std::str::from_utf8(value).ok());
    let types: Vec<String> = types.map(media).filter(|kind| kind.len() <= 64).take(LEARNED_MAX).collect();
    (!types.is_empty()).then(|| types.join(", ").into())
}
