//! The ear of a phone: reads what comes, answers as it was told, and notes everything.
//!
//! Watches RFC 3428 §8 by itself: a second MESSAGE that comes while the first has no answer is an overlap.
//! Never follows, forwards or authenticates towards what it is sent.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::phone::{PhoneSetup, TIMER_F};
use super::{Msg, Over, PATIENCE, sip};

/// What a phone does with a MESSAGE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Answer(u16),
    /// 415 with this Accept.
    Takes(&'static str),
    Silence,
    After(Duration, u16),
}

pub type Responder = Box<dyn FnMut(&Msg) -> Act + Send>;

/// A MESSAGE that came in, once per transaction.
#[derive(Clone, Debug)]
pub struct Got {
    pub msg: Arc<Msg>,
    pub at: Instant,
    /// What it is answered; 0: never.
    pub status: u16,
}

/// One message on the wire, in or out.
pub struct Line {
    pub at: Instant,
    pub out: bool,
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub struct State {
    pub got: Vec<Got>,
    pub taken: Vec<Got>,
    pub seen: HashSet<String>,
    pub finals: HashMap<String, Msg>,
    pub provisional: HashMap<String, Instant>,
    pub answered: HashMap<String, Option<Vec<u8>>>,
    pub open: HashMap<String, (Instant, String)>,
    pub overlaps: Vec<String>,
    pub lines: Vec<Line>,
    pub notified: Vec<Msg>,
    /// Answer to every NOTIFY, if not 200.
    pub notify_status: Option<u16>,
    pub notify_silent: bool,
    pub crlfs: usize,
    /// SIP that came from another address than the daemon's.
    pub strangers: usize,
    pub broken: bool,
}

pub struct Shared {
    pub state: Mutex<State>,
    pub changed: Condvar,
    pub responder: Mutex<Responder>,
    pub stop: AtomicBool,
}

#[derive(Clone)]
pub enum Link {
    Udp(Arc<UdpSocket>),
    Tcp(Arc<TcpStream>),
}

impl Link {
    pub fn send(&self, bytes: &[u8], to: SocketAddr) -> std::io::Result<()> {
        match self {
            Link::Udp(socket) => socket.send_to(bytes, to).map(|_| ()),
            Link::Tcp(stream) => (&**stream).write_all(bytes),
        }
    }
}

/// A new link to the daemon, with a thread that reads it.
pub fn connect(setup: &PhoneSetup, shared: &Arc<Shared>) -> (Link, SocketAddr) {
    let (link, local) = match setup.over {
        Over::Udp => {
            let socket = UdpSocket::bind((setup.ip.as_str(), 0)).expect("a free port");
            let local = socket.local_addr().expect("an address");
            (Link::Udp(Arc::new(socket)), local)
        }
        Over::Tcp => {
            let stream =
                TcpStream::connect_timeout(&setup.daemon, PATIENCE).expect("the daemon takes connections");
            stream.set_nodelay(true).expect("nodelay");
            let local = stream.local_addr().expect("an address");
            (Link::Tcp(Arc::new(stream)), local)
        }
    };
    shared.lock().broken = false;
    let (thread_link, shared, daemon) = (link.clone(), shared.clone(), setup.daemon);
    std::thread::spawn(move || match &thread_link {
        Link::Udp(socket) => read_datagrams(socket, &thread_link, &shared, daemon),
        Link::Tcp(stream) => read_stream(stream, &thread_link, &shared, daemon),
    });
    (link, local)
}

fn read_datagrams(socket: &UdpSocket, link: &Link, shared: &Arc<Shared>, daemon: SocketAddr) {
    let mut buffer = vec![0; 65535];
    while !shared.stop.load(Ordering::Relaxed) {
        // An ICMP error is of no interest to a phone.
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
        if buffer[..n].iter().all(|b| b"\r\n\0".contains(b)) {
            shared.lock().crlfs += n / 2;
            shared.changed.notify_all();
            continue;
        }
        if from != daemon {
            shared.lock().strangers += 1;
        }
        shared.take_in(&buffer[..n], link, from);
    }
}

fn read_stream(mut stream: &TcpStream, link: &Link, shared: &Arc<Shared>, daemon: SocketAddr) {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16384]);
    loop {
        let n = stream.read(&mut chunk).unwrap_or(0);
        if n == 0 {
            break;
        }
        buffer.extend_from_slice(&chunk[..n]);
        let mut crlfs = 0;
        while let Some(bytes) = sip::take(&mut buffer, &mut crlfs) {
            shared.take_in(&bytes, link, daemon);
        }
        shared.lock().crlfs += crlfs;
        shared.changed.notify_all();
    }
    shared.lock().broken = true;
    shared.changed.notify_all();
}

impl State {
    /// A MESSAGE that is dealt with now: one line of `got` for each transaction.
    fn note(&mut self, got: Got, branch: &str) {
        if (200..300).contains(&got.status) && self.seen.insert(got.msg.call_id().to_string()) {
            self.taken.push(got.clone());
        }
        if self.open.contains_key(branch) {
            if let Some(known) = self.got.iter_mut().rev().find(|g| g.msg.branch() == branch) {
                known.status = got.status;
            }
            return;
        }
        // A transaction without an answer is open until Timer F; half a second is left to the clocks.
        let limit = TIMER_F - Duration::from_millis(500);
        self.open.retain(|_, (since, _)| got.at.duration_since(*since) < limit);
        if let Some((other, (since, text))) = self.open.iter().next() {
            let wait = got.at.duration_since(*since);
            let report =
                format!("{:?} came {wait:?} after {other} {text:?}, still unanswered", got.msg.text());
            self.overlaps.push(report);
        }
        self.open.insert(branch.to_string(), (got.at, got.msg.text()));
        self.got.push(got);
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not hide the transcript.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn take_in(self: &Arc<Self>, bytes: &[u8], link: &Link, from: SocketAddr) {
        let now = Instant::now();
        let mut state = self.lock();
        state.lines.push(Line { at: now, out: false, bytes: bytes.to_vec() });
        let Some(msg) = Msg::parse(bytes) else {
            panic!("the daemon sent what is no SIP:\n{}", String::from_utf8_lossy(bytes));
        };
        if !msg.is_request() {
            match msg.status() {
                ..200 => state.provisional.insert(msg.branch(), now).map(|_| ()),
                _ => state.finals.insert(msg.branch(), msg).map(|_| ()),
            };
            drop(state);
            self.changed.notify_all();
            return;
        }
        let branch = msg.branch();
        if let Some(answer) = state.answered.get(&branch) {
            // A retransmission: the stored answer, if there is one already.
            if let Some(answer) = answer.clone() {
                self.put_out(state, link, from, answer);
            }
            return;
        }
        state.answered.insert(branch.clone(), None);
        if msg.method() == "NOTIFY" {
            if !state.notified.iter().any(|known| known.branch() == branch) {
                state.notified.push(msg.clone());
            }
            match state.notify_silent {
                true => drop(state),
                false => {
                    let answer = response(&msg, state.notify_status.unwrap_or(200), "");
                    state.answered.insert(branch, Some(answer.clone()));
                    self.put_out(state, link, from, answer);
                }
            }
            self.changed.notify_all();
            return;
        }
        if msg.method() != "MESSAGE" {
            let answer = response(&msg, 200, "");
            state.answered.insert(branch, Some(answer.clone()));
            self.put_out(state, link, from, answer);
            return;
        }
        drop(state);
        let act = (self.responder.lock().unwrap_or_else(|e| e.into_inner()))(&msg);
        let status = match act {
            Act::Answer(status) | Act::After(_, status) => status,
            Act::Takes(_) => 415,
            Act::Silence => 0,
        };
        let mut state = self.lock();
        state.note(Got { msg: Arc::new(msg.clone()), at: now, status }, &branch);
        if act == Act::Silence {
            // Its retransmission asks the responder again: a phone may come back to life.
            state.answered.remove(&branch);
        }
        match act {
            Act::Silence => drop(state),
            Act::Answer(status) => self.answer(state, link, from, &msg, status, ""),
            Act::Takes(types) => {
                self.answer(state, link, from, &msg, 415, &format!("Accept: {types}\r\n"));
            }
            Act::After(wait, status) => {
                drop(state);
                let (shared, link) = (self.clone(), link.clone());
                std::thread::spawn(move || {
                    std::thread::sleep(wait);
                    let state = shared.lock();
                    shared.answer(state, &link, from, &msg, status, "");
                });
            }
        }
        self.changed.notify_all();
    }

    fn answer(
        &self,
        mut state: MutexGuard<'_, State>,
        link: &Link,
        to: SocketAddr,
        msg: &Msg,
        status: u16,
        more: &str,
    ) {
        let bytes = response(msg, status, more);
        state.answered.insert(msg.branch(), Some(bytes.clone()));
        state.open.remove(&msg.branch());
        self.put_out(state, link, to, bytes);
    }

    fn put_out(&self, mut state: MutexGuard<'_, State>, link: &Link, to: SocketAddr, bytes: Vec<u8>) {
        state.lines.push(Line { at: Instant::now(), out: true, bytes: bytes.clone() });
        drop(state);
        // A lost connection shows itself in the reader.
        let _ = link.send(&bytes, to);
    }
}

fn response(request: &Msg, status: u16, more: &str) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status} Said by the Test Phone\r\n");
    for via in request.all("Via") {
        text.push_str(&format!("Via: {via}\r\n"));
    }
    let to = request.header("To");
    let tag =
        if sip::param(to, "tag").is_some() { String::new() } else { format!(";tag={}", super::token()) };
    text.push_str(&format!(
        "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
        request.header("From"),
        request.call_id(),
        request.cseq()
    ));
    text.into_bytes()
}
