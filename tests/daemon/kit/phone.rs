//! A SIP phone: blocking, with an [ear](super::ear) of its own, and a transcript for the day a test fails.
//!
//! Never retries what was answered, except with the credentials that a 401 asks for.

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::ear::{Act, Got, Line, Link, Responder, Shared, connect};
use super::request::{Req, Sent};
use super::sip::Challenge;
use super::{Msg, Over, PATIENCE};

/// T1 and T2 of the phone (RFC 3261 §17.1.1.1); Timer F is 64·T1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
pub const TIMER_F: Duration = Duration::from_secs(32);

/// How a phone is to be.
#[derive(Clone)]
pub struct PhoneSetup {
    pub daemon: SocketAddr,
    user: String,
    domain: String,
    password: Option<String>,
    pub over: Over,
    pub ip: String,
    instance: Option<String>,
    /// `;reg-id=1`, or nothing.
    reg_id: String,
    headers: Vec<String>,
}

impl PhoneSetup {
    pub fn new(daemon: SocketAddr, user: &str, domain: &str, password: Option<String>) -> PhoneSetup {
        PhoneSetup {
            daemon,
            user: user.into(),
            domain: domain.into(),
            password,
            over: Over::Udp,
            ip: "127.0.0.1".into(),
            instance: None,
            reg_id: String::new(),
            headers: Vec::new(),
        }
    }

    pub fn over(mut self, over: Over) -> PhoneSetup {
        self.over = over;
        self
    }

    pub fn domain(mut self, domain: &str) -> PhoneSetup {
        self.domain = domain.into();
        self
    }

    pub fn password(mut self, password: &str) -> PhoneSetup {
        self.password = Some(password.into());
        self
    }

    /// Source address.
    pub fn ip(mut self, ip: &str) -> PhoneSetup {
        self.ip = ip.into();
        self
    }

    /// `+sip.instance`: which device of the account it is (RFC 5626 §4.1).
    pub fn instance(mut self, n: u32) -> PhoneSetup {
        self.instance = Some(format!("urn:uuid:00000000-0000-4000-8000-{n:012}"));
        self
    }

    /// Which of its device's flows it is, and that it keeps it (RFC 5626 §4.2).
    pub fn flow(mut self, reg_id: u32) -> PhoneSetup {
        self.reg_id = format!(";reg-id={reg_id}");
        self.header("Supported: path, outbound")
    }

    /// A header line in everything it sends.
    pub fn header(mut self, line: &str) -> PhoneSetup {
        self.headers.push(line.into());
        self
    }

    /// Plugged in, not registered.
    pub fn up(self) -> Phone {
        let responder: Responder = Box::new(|_| Act::Answer(200));
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            responder: Mutex::new(responder),
            stop: AtomicBool::new(false),
        });
        let (link, local) = connect(&self, &shared);
        Phone {
            setup: self,
            shared,
            link: Mutex::new((link, local)),
            digest: Mutex::default(),
            registration: Mutex::new((super::token(), 0)),
        }
    }

    pub fn registered(self) -> Phone {
        let phone = self.up();
        phone.register();
        phone
    }
}

/// Why a request has no final answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    Timeout,
    Broken,
}

/// A phone in use. Prints its transcript when the test fails.
pub struct Phone {
    setup: PhoneSetup,
    pub(super) shared: Arc<Shared>,
    link: Mutex<(Link, SocketAddr)>,
    digest: Mutex<(Option<Challenge>, u32)>,
    registration: Mutex<(String, u32)>,
}

impl Phone {
    pub fn user(&self) -> &str {
        &self.setup.user
    }

    /// `sip:user@domain`.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.setup.user, self.setup.domain)
    }

    pub fn local(&self) -> SocketAddr {
        self.link().1
    }

    fn link(&self) -> (Link, SocketAddr) {
        self.link.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The URI that it registers.
    pub fn contact(&self) -> String {
        let transport = if self.setup.over == Over::Tcp { ";transport=tcp" } else { "" };
        format!("sip:{}@{}{transport}", self.setup.user, self.local())
    }

    /// How it answers from now on.
    pub fn responds(&self, responder: impl FnMut(&Msg) -> Act + Send + 'static) {
        *self.shared.responder.lock().unwrap_or_else(|e| e.into_inner()) = Box::new(responder);
    }

    /// A request of this phone to an address: a bare name is of its own domain, `sip:…` is taken as it is.
    pub fn request(&self, method: &str, to: &str) -> Req {
        let uri = if to.contains(':') { to.to_string() } else { format!("sip:{to}@{}", self.setup.domain) };
        let mut request = Req::new(method, &uri, &self.aor());
        request.headers = self.setup.headers.clone();
        request
    }

    pub fn message(&self, to: &str, text: &str) -> Req {
        self.request("MESSAGE", to).header("Content-Type: text/plain").body(text)
    }

    pub fn register_request(&self, contact: &str, expires: u32) -> Req {
        let mut registration = self.registration.lock().unwrap_or_else(|e| e.into_inner());
        registration.1 += 1;
        let mut request = self.request("REGISTER", &format!("sip:{}", self.setup.domain));
        (request.to, request.call_id, request.cseq) = (self.aor(), registration.0.clone(), registration.1);
        if !contact.is_empty() {
            let instance = match &self.setup.instance {
                Some(urn) if contact != "*" => format!(";+sip.instance=\"<{urn}>\"{}", self.setup.reg_id),
                _ => String::new(),
            };
            let contact = if contact == "*" { "*".to_string() } else { format!("<{contact}>") };
            request = request.header(&format!("Contact: {contact}{instance}"));
            request = request.header(&format!("Expires: {expires}"));
        }
        request
    }

    /// Registers its contact for an hour; the 200.
    pub fn register(&self) -> Msg {
        let request = self.register_request(&self.contact(), 3600);
        let answer = self.ask(request);
        self.check(answer.status() == 200, &format!("REGISTER was answered {}", answer.start));
        answer
    }

    pub fn unregister(&self) {
        let request = self.register_request(&self.contact(), 0);
        let answer = self.ask(request);
        self.check(answer.status() == 200, &format!("REGISTER with Expires 0 was answered {}", answer.start));
    }

    /// A new connection (TCP) or the same socket (UDP), and registered again: after a restart of the daemon.
    pub fn back(&self) {
        if self.setup.over == Over::Tcp {
            self.reconnect();
        }
        self.register();
    }

    /// A new link in place of the old one.
    pub fn reconnect(&self) {
        let mut link = self.link.lock().unwrap_or_else(|e| e.into_inner());
        if let Link::Tcp(stream) = &link.0 {
            // Already closed by the other side is as good.
            let _ = stream.shutdown(Shutdown::Both);
            let (guard, late) = self
                .shared
                .changed
                .wait_timeout_while(self.shared.lock(), PATIENCE, |state| !state.broken)
                .unwrap_or_else(|e| e.into_inner());
            assert!(!late.timed_out(), "the old reader ends");
            drop(guard);
        }
        *link = connect(&self.setup, &self.shared);
        // What was open on the old connection cannot be answered any more.
        self.shared.lock().open.clear();
    }

    /// Forgets what it took so far, but not the Call-IDs: for runs whose whole transcript would fill the memory.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.got.clear();
        state.taken.clear();
        state.answered.retain(|_, answer| answer.is_none());
        state.finals.clear();
        state.lines.clear();
    }

    /// Sends and waits for the final answer; repeats with credentials when challenged. What was sent is in it.
    pub fn send(&self, request: Req) -> Sent {
        self.send_through(request, || false)
    }

    /// As [`Phone::send`]; when the connection breaks, `again` waits until a new one makes sense. Then the phone
    /// comes back and repeats the very same request.
    pub fn send_through(&self, mut request: Req, again: impl Fn() -> bool) -> Sent {
        let mut tries = 0;
        let mut line = self.credentials(&request);
        loop {
            let bytes = request.bytes(self.setup.over, self.local(), line.as_deref());
            let outcome = self.transact(&bytes, &request.branch);
            if matches!(outcome, Err(NoAnswer::Broken)) && again() {
                self.back();
                continue;
            }
            let challenge = match &outcome {
                Ok(answer) if answer.status() == 401 && self.setup.password.is_some() && tries < 2 => {
                    let challenges = answer.all("WWW-Authenticate");
                    challenges.iter().find_map(|c| Challenge::parse(c))
                }
                _ => None,
            };
            let Some(challenge) = challenge else { return Sent { request, bytes, outcome } };
            *self.digest.lock().unwrap_or_else(|e| e.into_inner()) = (Some(challenge), 0);
            tries += 1;
            request = request.again();
            if request.method == "REGISTER" {
                self.registration.lock().unwrap_or_else(|e| e.into_inner()).1 = request.cseq;
            }
            line = self.credentials(&request);
        }
    }

    /// Ends its connection, and does not come back by itself.
    pub fn hang_up(&self) {
        if let (Link::Tcp(stream), _) = self.link() {
            // Already closed by the other side is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Keep-alives of two CRLFs that have come.
    pub fn keepalives(&self) -> usize {
        self.shared.lock().crlfs / 2
    }

    pub fn until_keepalives(&self, n: usize) {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |state| state.crlfs / 2 < n)
            .unwrap_or_else(|e| e.into_inner());
        let came = state.crlfs / 2;
        drop(state);
        self.check(came >= n, &format!("{came} keep-alives came, not {n}"));
    }

    /// SIP that came over UDP from another address than the one it registered at.
    pub fn strangers(&self) -> usize {
        self.shared.lock().strangers
    }

    /// True when its connection is gone.
    pub fn is_broken(&self) -> bool {
        self.shared.lock().broken
    }

    pub fn until_broken(&self) {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |state| !state.broken)
            .unwrap_or_else(|e| e.into_inner());
        let broken = state.broken;
        drop(state);
        self.check(broken, "its connection is still open");
    }

    /// Uses the challenge of this 401 from now on.
    pub fn take_challenge(&self, answer: &Msg) {
        let challenge = answer.all("WWW-Authenticate").iter().find_map(|c| Challenge::parse(c));
        self.check(challenge.is_some(), &format!("a 401 has a challenge: {answer:?}"));
        *self.digest.lock().unwrap_or_else(|e| e.into_inner()) = (challenge, 0);
    }

    /// The Authorization line for a request, if there is a challenge to answer.
    pub fn credentials(&self, request: &Req) -> Option<String> {
        let password = self.setup.password.as_ref()?;
        let mut digest = self.digest.lock().unwrap_or_else(|e| e.into_inner());
        digest.1 += 1;
        let nc = digest.1;
        let challenge = digest.0.as_ref()?;
        Some(challenge.answer(&self.setup.user, password, &request.method, &request.uri, nc))
    }

    /// One client transaction of exactly these bytes (RFC 3261 §17.1.2): Timers E and F on UDP.
    pub fn transact(&self, bytes: &[u8], branch: &str) -> Result<Msg, NoAnswer> {
        let (link, _) = self.link();
        self.shared.lock().finals.remove(branch);
        let deadline = Instant::now() + TIMER_F;
        let mut interval = T1;
        loop {
            self.raw(bytes);
            let until = match link {
                Link::Udp(_) => deadline.min(Instant::now() + interval),
                Link::Tcp(_) => deadline,
            };
            let udp = matches!(link, Link::Udp(_));
            let wait = until.saturating_duration_since(Instant::now());
            let (mut state, _) = self
                .shared
                .changed
                .wait_timeout_while(self.shared.lock(), wait, |s| {
                    !s.finals.contains_key(branch) && (udp || !s.broken)
                })
                .unwrap_or_else(|e| e.into_inner());
            if let Some(answer) = state.finals.remove(branch) {
                return Ok(answer);
            }
            if !udp && state.broken {
                return Err(NoAnswer::Broken);
            }
            if Instant::now() >= deadline {
                return Err(NoAnswer::Timeout);
            }
            interval = if state.provisional.contains_key(branch) { T2 } else { (interval * 2).min(T2) };
        }
    }

    /// Puts bytes on the wire, as they are.
    pub fn raw(&self, bytes: &[u8]) {
        let (link, _) = self.link();
        self.shared.lock().lines.push(Line { at: Instant::now(), out: true, bytes: bytes.to_vec() });
        // A lost connection shows itself in the reader.
        let _ = link.send(bytes, self.setup.daemon);
    }

    /// The final answer; fails with the transcript when there is none.
    pub fn ask(&self, request: Req) -> Msg {
        let what = format!("{} {} {:?}", request.method, request.uri, String::from_utf8_lossy(&request.body));
        match self.send(request).outcome {
            Ok(answer) => answer,
            Err(why) => self.fail(&format!("no answer to {what}: {why:?}")),
        }
    }

    pub fn say(&self, to: &str, text: &str) -> Msg {
        self.ask(self.message(to, text))
    }

    /// Says it and insists on the status.
    pub fn expect(&self, status: u16, to: &str, text: &str) -> Msg {
        let answer = self.say(to, text);
        self.check(answer.status() == status, &format!("{text:?} to {to}: {}, not {status}", answer.start));
        answer
    }

    /// Every MESSAGE transaction that came in, whatever it was answered.
    pub fn got(&self) -> Vec<Got> {
        self.shared.lock().got.clone()
    }

    /// What it took with a 2xx, each Call-ID once, in the order of arrival.
    pub fn taken(&self) -> Vec<Got> {
        self.shared.lock().taken.clone()
    }

    /// The texts of [`Phone::taken`].
    pub fn texts(&self) -> Vec<String> {
        self.taken().iter().map(|g| g.msg.text()).collect()
    }

    /// Waits until what it took satisfies `enough`.
    pub fn until(&self, what: &str, enough: impl FnMut(&[Got]) -> bool) -> Vec<Got> {
        self.until_within(PATIENCE, what, enough)
    }

    pub fn until_within(
        &self,
        wait: Duration,
        what: &str,
        mut enough: impl FnMut(&[Got]) -> bool,
    ) -> Vec<Got> {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), wait, |state| !enough(&state.taken))
            .unwrap_or_else(|e| e.into_inner());
        let all = state.taken.clone();
        drop(state);
        self.check(enough(&all), &format!("waited {wait:?} for {what}"));
        all
    }

    /// Waits for a message with exactly this text.
    pub fn hears(&self, text: &str) -> Msg {
        self.hears_that(&format!("{text:?}"), |m| m.text() == text)
    }

    pub fn hears_that(&self, what: &str, is_it: impl Fn(&Msg) -> bool) -> Msg {
        let all = self.until(what, |all| all.iter().any(|g| is_it(&g.msg)));
        let found = all.iter().find(|g| is_it(&g.msg)).expect("it was just there");
        (*found.msg).clone()
    }

    /// Waits until it was offered a message with this text, whatever the phone answers.
    pub fn offered(&self, text: &str) -> Got {
        let is_it = |g: &Got| g.msg.text() == text;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |state| !state.got.iter().any(is_it))
            .unwrap_or_else(|e| e.into_inner());
        let found = state.got.iter().find(|g| is_it(g)).cloned();
        drop(state);
        found.unwrap_or_else(|| self.fail(&format!("was never offered {text:?}")))
    }

    /// Sizes of all requests that came in.
    pub fn datagrams_in(&self) -> Vec<usize> {
        let state = self.shared.lock();
        let came = state.lines.iter().filter(|l| !l.out && !l.bytes.starts_with(b"SIP/"));
        came.map(|l| l.bytes.len()).collect()
    }

    /// Fails if it ever took this text.
    pub fn never_heard(&self, text: &str) {
        self.check(!self.texts().iter().any(|t| t == text), &format!("it should not have heard {text:?}"));
    }

    /// Fails if two MESSAGE transactions were ever open towards it.
    pub fn one_at_a_time(&self) {
        let overlaps = self.shared.lock().overlaps.clone();
        self.check(overlaps.is_empty(), &format!("two MESSAGE transactions open: {overlaps:#?}"));
    }

    pub fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(what);
        }
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("{}: {what}", self.setup.user);
    }

    /// What went over the wire, one line a message, newest 40.
    pub fn transcript(&self) -> String {
        let state = self.shared.lock();
        let begun = state.lines.first().map_or_else(Instant::now, |l| l.at);
        let mut text = format!("--- {} at {} ({} messages)\n", self.aor(), self.local(), state.lines.len());
        for line in state.lines.iter().skip(state.lines.len().saturating_sub(40)) {
            let arrow = if line.out { "-->" } else { "<--" };
            let at = line.at.duration_since(begun).as_secs_f64();
            match Msg::parse(&line.bytes) {
                Some(m) => text.push_str(&format!(
                    "{at:9.3} {arrow} {}  [{} | {} | {}] {:?}\n",
                    m.start,
                    m.call_id(),
                    m.cseq(),
                    m.branch(),
                    m.text().chars().take(120).collect::<String>()
                )),
                None => {
                    text.push_str(&format!("{at:9.3} {arrow} {} bytes that are no SIP\n", line.bytes.len()))
                }
            }
        }
        text
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        static PRINTED: AtomicUsize = AtomicUsize::new(0);
        if std::thread::panicking() && PRINTED.fetch_add(1, Ordering::Relaxed) < 12 {
            eprintln!("{}", self.transcript());
        }
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.link() {
            // Wakes the reader, which then sees `stop`.
            (Link::Udp(socket), local) => drop(socket.send_to(b"", local)),
            (Link::Tcp(stream), _) => drop(stream.shutdown(Shutdown::Both)),
        }
    }
}
