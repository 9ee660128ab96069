//! A proxy as far as the daemon sees it: takes MESSAGEs at one address and answers as its script says.
//!
//! Knows which transactions are open, so that a test sees how many the daemon dares at once. Never forwards.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::{Msg, Over, PATIENCE, sip};

/// What the proxy answers: a status and further header lines; `None` is silence.
pub type Said = Option<(u16, &'static str)>;
type Script = Box<dyn FnMut(&Msg) -> Said + Send>;

#[derive(Default)]
struct State {
    /// MESSAGE transactions in order of arrival, and what they were answered.
    got: Vec<(Msg, u16)>,
    branches: HashSet<String>,
    /// Unanswered, by branch.
    open: HashMap<String, (Msg, Way)>,
    most_open: usize,
}

#[derive(Clone)]
enum Way {
    Udp(Arc<UdpSocket>, SocketAddr),
    Tcp(Arc<TcpStream>),
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    script: Mutex<Script>,
    stop: AtomicBool,
}

pub struct Proxy {
    shared: Arc<Shared>,
    pub addr: SocketAddr,
    over: Over,
}

impl Proxy {
    /// Listens at this IP address; takes everything with 200.
    pub fn new(ip: &str, over: Over) -> Proxy {
        let script: Script = Box::new(|_| Some((200, "")));
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            script: Mutex::new(script),
            stop: AtomicBool::new(false),
        });
        let reader = shared.clone();
        let addr = match over {
            Over::Udp => {
                let socket = UdpSocket::bind((ip, 0)).expect("a free port");
                let addr = socket.local_addr().expect("an address");
                std::thread::spawn(move || reader.datagrams(&Arc::new(socket)));
                addr
            }
            Over::Tcp => {
                let listener = TcpListener::bind((ip, 0)).expect("a free port");
                let addr = listener.local_addr().expect("an address");
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        if reader.stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let reader = reader.clone();
                        std::thread::spawn(move || reader.stream(&Arc::new(stream)));
                    }
                });
                addr
            }
        };
        Proxy { shared, addr, over }
    }

    /// As `sip.outbound_proxy`, in TOML.
    pub fn uri(&self) -> String {
        let transport = if self.over == Over::Udp { "udp" } else { "tcp" };
        format!("\"sip:{};transport={transport}\"", self.addr)
    }

    /// How it answers from now on.
    pub fn answers(&self, script: impl FnMut(&Msg) -> Said + Send + 'static) {
        *self.shared.script.lock().unwrap_or_else(|e| e.into_inner()) = Box::new(script);
    }

    /// Answers all that is open, now.
    pub fn release(&self, status: u16) {
        let mut state = self.shared.lock();
        for (branch, (msg, way)) in std::mem::take(&mut state.open) {
            if let Some(known) = state.got.iter_mut().find(|(m, _)| m.branch() == branch) {
                known.1 = status;
            }
            way.send(&response(&msg, status, ""));
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Texts for `user` that it took with a 2xx, each Call-ID once.
    pub fn took(&self, user: &str) -> Vec<String> {
        took(&self.shared.lock(), user)
    }

    /// Everything that came for `user`, with what it was answered (0: not yet).
    pub fn got(&self, user: &str) -> Vec<(Msg, u16)> {
        let is_for = |m: &Msg| for_user(m, user);
        self.shared.lock().got.iter().filter(|(m, _)| is_for(m)).cloned().collect()
    }

    /// Waits until `enough` of what it took for `user`. Less than the 30 s of a first back-off.
    pub fn until(&self, user: &str, what: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |s| !enough(&took(s, user)));
        let (state, _) = waited.unwrap_or_else(|e| e.into_inner());
        let all = took(&state, user);
        drop(state);
        assert!(enough(&all), "the proxy waited for {what} for {user} and took {all:?}");
        all
    }

    /// Waits until something with this text came for `user`, however answered.
    pub fn offered(&self, user: &str, text: &str) -> Msg {
        let is_it = |m: &Msg| for_user(m, user) && m.text() == text;
        let state = self.shared.lock();
        let none = |s: &mut State| !s.got.iter().any(|(m, _)| is_it(m));
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, none);
        let (state, _) = waited.unwrap_or_else(|e| e.into_inner());
        let found = state.got.iter().find(|(m, _)| is_it(m)).map(|(m, _)| m.clone());
        drop(state);
        found.unwrap_or_else(|| panic!("the proxy was never offered {text:?} for {user}"))
    }

    /// Waits until so many transactions are open.
    pub fn until_open(&self, n: usize) {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |s| s.open.len() < n);
        let (state, _) = waited.unwrap_or_else(|e| e.into_inner());
        let open = state.open.len();
        drop(state);
        assert!(open >= n, "{open} transactions are open, not {n}");
    }

    /// Transactions that were open at the same time, at most.
    pub fn most_open(&self) -> usize {
        self.shared.lock().most_open
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the reader, which then sees `stop`.
        match self.over {
            Over::Udp => {
                drop(UdpSocket::bind((self.addr.ip(), 0)).and_then(|s| s.send_to(b"", self.addr)));
            }
            Over::Tcp => drop(TcpStream::connect(self.addr)),
        }
    }
}

fn for_user(msg: &Msg, user: &str) -> bool {
    msg.address("To").starts_with(&format!("sip:{user}@"))
}

fn took(state: &State, user: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let taken = state.got.iter().filter(|(m, status)| (200..300).contains(status) && for_user(m, user));
    taken.filter(|(m, _)| seen.insert(m.call_id().to_owned())).map(|(m, _)| m.text()).collect()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn datagrams(&self, socket: &Arc<UdpSocket>) {
        let mut buffer = vec![0; 65_536];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Some(msg) = Msg::parse(&buffer[..n]) {
                self.take_in(msg, Way::Udp(socket.clone(), from));
            }
        }
    }

    fn stream(&self, stream: &Arc<TcpStream>) {
        let (mut buffer, mut chunk, mut crlfs) = (Vec::new(), [0; 16_384], 0);
        // So that a test that has ended does not keep the thread.
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("read timeout");
        while let Ok(n @ 1..) = (&**stream).read(&mut chunk) {
            buffer.extend_from_slice(&chunk[..n]);
            while let Some(bytes) = sip::take(&mut buffer, &mut crlfs) {
                if let Some(msg) = Msg::parse(&bytes) {
                    self.take_in(msg, Way::Tcp(stream.clone()));
                }
            }
        }
    }

    fn take_in(&self, msg: Msg, way: Way) {
        if msg.method() != "MESSAGE" {
            return;
        }
        let branch = msg.branch();
        let mut state = self.lock();
        if !state.branches.insert(branch.clone()) {
            let known = state.got.iter().find(|(m, status)| *status > 0 && m.branch() == branch);
            if let Some((msg, status)) = known {
                way.send(&response(msg, *status, ""));
            }
            return;
        }
        drop(state);
        let said = (self.script.lock().unwrap_or_else(|e| e.into_inner()))(&msg);
        let mut state = self.lock();
        state.got.push((msg.clone(), said.map_or(0, |(status, _)| status)));
        match said {
            Some((status, more)) => way.send(&response(&msg, status, more)),
            None => {
                state.open.insert(branch, (msg, way));
                state.most_open = state.most_open.max(state.open.len());
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Way {
    fn send(&self, bytes: &[u8]) {
        // Who does not get an answer asks again.
        let _ = match self {
            Way::Udp(socket, to) => socket.send_to(bytes, to).map(drop),
            Way::Tcp(stream) => (&**stream).write_all(bytes),
        };
    }
}

fn response(request: &Msg, status: u16, more: &str) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status} Said by the Test Proxy\r\n");
    for via in request.all("Via") {
        text.push_str(&format!("Via: {via}\r\n"));
    }
    text.push_str(&format!(
        "From: {}\r\nTo: {};tag={}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
        request.header("From"),
        request.header("To"),
        super::token(),
        request.call_id(),
        request.cseq()
    ));
    text.into_bytes()
}
