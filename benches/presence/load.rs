//! Publishers and watchers on one socket.
//!
//! Whatever has come is read before anything is answered: two NOTIFYs of one dialog in one reading were open at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::UdpSocket;
use std::ops::Sub;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use memchr::memmem;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Measure;
use crate::kit::{answer, socket};

/// Requests on their way at once, while nothing is measured by time.
const WINDOW: usize = 64;
/// What is not answered is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Transactions of a dialog by which one that comes again is known.
const BRANCHES: usize = 8;
/// Datagrams read before they are answered.
const BATCH: usize = 512;

#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// PUBLISHes that were answered 200.
    pub changes: u64,
    /// NOTIFYs, each once.
    pub notified: u64,
    /// NOTIFYs that came while another one of their dialog was not answered.
    pub second_open: u64,
    /// NOTIFYs that came again.
    pub again: u64,
    /// NOTIFYs whose CSeq is not above that of the last one: a phone refuses them.
    pub old: u64,
}

impl Sub for Counts {
    type Output = Counts;
    fn sub(self, before: Counts) -> Counts {
        Counts {
            changes: self.changes - before.changes,
            notified: self.notified - before.notified,
            second_open: self.second_open - before.second_open,
            again: self.again - before.again,
            old: self.old - before.old,
        }
    }
}

/// A request that is not answered yet.
struct Open {
    cseq: u64,
    sent: Instant,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Account {
    etag: String,
    /// The number of its last state that was accepted, and of that on its way.
    state: u64,
    cseq: u64,
    open: Option<Open>,
    /// Watchers that have not seen its state, while that is looked at.
    unseen: usize,
}

#[derive(Default)]
struct Dialog {
    open: Option<Open>,
    accepted: bool,
    /// Of its last NOTIFY.
    cseq: u64,
    /// Hashes of the last branches.
    branches: [u64; BRANCHES],
    unanswered: bool,
    seen: Option<u64>,
}

pub struct Load {
    pub counts: Counts,
    socket: UdpSocket,
    server: String,
    me: String,
    measure: Measure,
    accounts: Vec<Account>,
    dialogs: Vec<Dialog>,
    buffer: Vec<u8>,
    answers: Vec<u8>,
    ends: Vec<(usize, usize)>,
    /// Accounts whose change everybody has seen.
    done: usize,
    looked: Instant,
}

impl Load {
    pub fn new(server: &str, measure: Measure) -> Load {
        let socket = socket();
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
        socket.set_nonblocking(true).unwrap();
        Load {
            counts: Counts::default(),
            me: socket.local_addr().unwrap().to_string(),
            socket,
            server: server.to_owned(),
            measure,
            accounts: (0..measure.accounts).map(|_| Account::default()).collect(),
            dialogs: (0..measure.subscriptions).map(|_| Dialog::default()).collect(),
            buffer: vec![0; 65_536],
            answers: Vec::new(),
            ends: Vec::new(),
            done: 0,
            looked: Instant::now(),
        }
    }

    // ── what is done ─────────────────────────────────────────────────────────────────────────────────────

    pub fn publish_all(&mut self) {
        for account in 0..self.accounts.len() {
            self.publish(account);
            self.until(|load| load.accounts[account.saturating_sub(WINDOW)].open.is_none());
        }
        self.until(|load| load.accounts.iter().all(|account| account.open.is_none()));
    }

    pub fn subscribe_all(&mut self) {
        for dialog in 0..self.dialogs.len() {
            self.subscribe(dialog);
            self.until(|load| load.dialogs[dialog.saturating_sub(WINDOW)].accepted);
        }
        self.until(|load| load.dialogs.iter().all(|dialog| dialog.accepted && dialog.seen.is_some()));
    }

    /// Changes one after the other, a window of them at once, each seen by all before its account's next. How many
    /// NOTIFYs came.
    pub fn steady(&mut self, time: Duration) -> u64 {
        let (start, before) = (Instant::now(), self.counts.notified);
        let (mut next, mut begun) = (0, 0);
        self.done = 0;
        while start.elapsed() < time {
            while begun - self.done < WINDOW {
                self.accounts[next].unseen = self.watchers(next);
                self.publish(next);
                next = (next + 1) % self.accounts.len();
                begun += 1;
            }
            self.step(Duration::from_millis(20));
        }
        self.until(|load| load.done == begun);
        self.counts.notified - before
    }

    /// So many changes per second, each account in its turn. One that waits for the answer to its last is passed over.
    pub fn storm(&mut self, time: Duration) {
        let (start, mut sent, mut next) = (Instant::now(), 0.0, 0);
        while start.elapsed() < time {
            let wanted = start.elapsed().as_secs_f64() * self.measure.changes;
            let mut tries = 0;
            while sent < wanted && tries < WINDOW {
                tries += 1;
                if self.accounts[next].open.is_none() {
                    self.publish(next);
                }
                // What a slow server does not take in time is not made up for.
                sent += 1.0;
                next = (next + 1) % self.accounts.len();
            }
            self.step(Duration::from_millis(1));
        }
    }

    /// Waits until all is said; how many watchers have not seen the last state then.
    pub fn settle(&mut self) -> usize {
        // Longer than any pace.
        let quiet = Duration::from_secs(8);
        let (begun, mut last, mut notified) = (Instant::now(), Instant::now(), self.counts.notified);
        while begun.elapsed() < PATIENCE
            && (self.wrong() > 0 || self.accounts.iter().any(|known| known.open.is_some()))
        {
            self.step(Duration::from_millis(50));
            if self.counts.notified != notified {
                (notified, last) = (self.counts.notified, Instant::now());
            }
            if last.elapsed() > quiet {
                break;
            }
        }
        self.wrong()
    }

    fn wrong(&self) -> usize {
        let accounts = self.accounts.len();
        let last = |at: usize| self.accounts[at % accounts].state;
        self.dialogs.iter().enumerate().filter(|(at, dialog)| dialog.seen != Some(last(*at))).count()
    }

    fn watchers(&self, account: usize) -> usize {
        (self.dialogs.len() - account).div_ceil(self.accounts.len())
    }

    fn until(&mut self, is: impl Fn(&Load) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < PATIENCE, "the server does not answer");
            self.step(Duration::from_millis(20));
        }
    }

    // ── what is sent ─────────────────────────────────────────────────────────────────────────────────────

    fn publish(&mut self, at: usize) {
        let account = &mut self.accounts[at];
        account.state += 1;
        account.cseq += 1;
        let (cseq, state, me) = (account.cseq, account.state, &self.me);
        let activity = if state.is_multiple_of(2) { "busy" } else { "away" };
        let known = match &*account.etag {
            "" => String::new(),
            etag => format!("SIP-If-Match: {etag}\r\n"),
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
             xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
             entity=\"sip:a{at}@127.0.0.1\"><tuple id=\"t1\"><status><basic>open</basic></status>\
             <note>state {state}</note></tuple><dm:person id=\"p1\"><rpid:activities><rpid:{activity}/>\
             </rpid:activities></dm:person></presence>"
        );
        let request = format!(
            "PUBLISH sip:a{at}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKp{at}x{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a{at}@127.0.0.1>;tag=p{at}x{cseq}\r\nTo: <sip:a{at}@127.0.0.1>\r\n\
             Call-ID: p{at}@bench\r\nCSeq: {cseq} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{known}\
             Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        account.open = Some(Open { cseq, sent: Instant::now(), bytes: request.into() });
        let _ = self.socket.send_to(&self.accounts[at].open.as_ref().unwrap().bytes, &self.server);
    }

    fn subscribe(&mut self, at: usize) {
        let (me, whom) = (&self.me, at % self.accounts.len());
        // Each watcher has four.
        let watcher = at / 4;
        let request = format!(
            "SUBSCRIBE sip:a{whom}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKs{at};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:w{watcher}@127.0.0.1>;tag=s{at}\r\nTo: <sip:a{whom}@127.0.0.1>\r\n\
             Call-ID: s{at}@bench\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:w{watcher}@{me}>\r\nEvent: presence\r\n\
             Accept: application/pidf+xml\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
        );
        let _ = self.socket.send_to(request.as_bytes(), &self.server);
        self.dialogs[at].open = Some(Open { cseq: 1, sent: Instant::now(), bytes: request.into() });
    }

    fn again(&mut self) {
        if self.looked.elapsed() < AGAIN / 4 {
            return;
        }
        self.looked = Instant::now();
        let (accounts, dialogs) = (self.accounts.iter_mut(), self.dialogs.iter_mut());
        let all = accounts.map(|known| &mut known.open).chain(dialogs.map(|known| &mut known.open));
        for open in all.flatten().filter(|open| open.sent.elapsed() > AGAIN) {
            open.sent = Instant::now();
            let _ = self.socket.send_to(&open.bytes, &self.server);
        }
    }

    // ── what comes ───────────────────────────────────────────────────────────────────────────────────────

    /// Takes what has come, waits for something if there is nothing; then answers.
    fn step(&mut self, at_most: Duration) {
        self.again();
        let mut count = 0;
        while count < BATCH {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((size, _)) => {
                    count += 1;
                    let datagram = std::mem::take(&mut self.buffer);
                    self.hear(&datagram[..size]);
                    self.buffer = datagram;
                }
                Err(_) if count > 0 => break,
                Err(_) => {
                    let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut ready, PollTimeout::from(at_most.as_millis() as u16));
                    return;
                }
            }
        }
        let mut from = 0;
        for (dialog, end) in self.ends.drain(..) {
            let _ = self.socket.send_to(&self.answers[from..end], &self.server);
            from = end;
            if let Some(dialog) = self.dialogs.get_mut(dialog) {
                dialog.unanswered = false;
            }
        }
        self.answers.clear();
    }

    fn hear(&mut self, datagram: &[u8]) {
        let text = std::str::from_utf8(datagram).unwrap();
        let call = value(text, "\r\nCall-ID: ");
        let cseq: u64 = value(text, "\r\nCSeq: ").split(' ').next().unwrap().parse().unwrap();
        let (kind, at) = call.split_at(1);
        let Ok(at) = at.trim_end_matches("@bench").parse::<usize>() else { return };
        match (text.strip_prefix("SIP/2.0 "), kind) {
            (Some(rest), "p") => self.published(at, cseq, &rest[..3], text),
            (Some(rest), _) => {
                assert!(rest.starts_with('2'), "a SUBSCRIBE was answered {rest}");
                (self.dialogs[at].open, self.dialogs[at].accepted) = (None, true);
            }
            (None, _) => self.notified(at, cseq, text),
        }
    }

    fn published(&mut self, at: usize, cseq: u64, status: &str, text: &str) {
        let account = &mut self.accounts[at];
        if account.open.as_ref().is_none_or(|open| open.cseq != cseq) || status.starts_with('1') {
            return;
        }
        assert_eq!(status, "200", "{text}");
        account.open = None;
        account.etag = value(text, "\r\nSIP-ETag: ").to_owned();
        self.counts.changes += 1;
        self.finished(at);
    }

    fn notified(&mut self, at: usize, cseq: u64, text: &str) {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        answer(head, &mut self.answers);
        self.ends.push((at, self.answers.len()));
        let dialog = &mut self.dialogs[at];
        let branch = hash(value(text, ";branch=").split(';').next());
        if dialog.branches.contains(&branch) {
            self.counts.again += 1;
            return;
        }
        dialog.branches.rotate_right(1);
        dialog.branches[0] = branch;
        self.counts.notified += 1;
        self.counts.second_open += u64::from(dialog.unanswered);
        dialog.unanswered = true;
        if cseq <= dialog.cseq {
            self.counts.old += 1;
            return;
        }
        dialog.cseq = cseq;
        let Some(seen) = memmem::find(body.as_bytes(), b"state ") else { return };
        // A server may trim the note.
        let digits = body[seen + "state ".len()..].split(|c: char| !c.is_ascii_digit()).next();
        let Some(state) = digits.and_then(|digits| digits.parse().ok()) else { return };
        dialog.seen = Some(state);
        let whom = at % self.accounts.len();
        let account = &mut self.accounts[whom];
        if account.unseen > 0 && state == account.state {
            account.unseen -= 1;
            self.finished(whom);
        }
    }

    fn finished(&mut self, account: usize) {
        let account = &self.accounts[account];
        self.done += usize::from(account.unseen == 0 && account.open.is_none());
    }
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// What follows `name` up to the end of its line.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let at = memmem::find(text.as_bytes(), name.as_bytes()).map(|at| at + name.len()).unwrap();
    text[at..].split("\r\n").next().unwrap()
}
