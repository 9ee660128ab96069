//! The server side of one shard's SIP: bytes and time in, requests and transmits out.
//!
//! Prevents that a retransmission is done twice, that an answer leaves too early, too late or for somebody else,
//! and that what nobody serves costs state. Serves only non-INVITE transactions (RFC 3261 §17.2.2, RFC 4320).
//! Never reads a clock, never authenticates, never retransmits by itself, never sends to an IP address that
//! did not send to us.

mod completed;
mod identity;
mod reply;
mod screen;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use self::completed::{Answer, Completed};
use self::identity::{Identity, KeyMap};
pub use self::identity::{ToTag, TxKey};
pub use self::reply::reason_of;
use self::reply::{Asked, Rows, status_of};
use self::screen::{Verdict, screen};
use super::message::{Framing, Limits, Malformed, Message};
use super::transaction::Timers;
use super::write;
use crate::types::{Dest, Flow, Transmit};

/// What the endpoint serves and how much of it.
#[derive(Clone)]
pub struct Config {
    pub timers: Timers,
    pub limits: Limits,
    /// Requests that wait for their answer; above it new ones get 503.
    pub max_pending: usize,
    /// Answered requests remembered for Timer J; above it the oldest go.
    pub completed_max: usize,
    /// Bytes of those answers that are kept as a whole; above it the oldest go.
    pub completed_bytes: usize,
    /// Key of To tags and transaction keys. Random, of this process.
    pub secret: [u8; 16],
    /// Methods served, as in Allow. OPTIONS is answered here, the others by the caller.
    pub allow: &'static [&'static str],
    /// Option tags that a request may require.
    pub supported: &'static [&'static str],
    /// Media types, for OPTIONS only.
    pub accept: &'static [&'static str],
    /// For OPTIONS only.
    pub accept_encoding: &'static [&'static str],
    /// Event packages; none: the header is left out.
    pub allow_events: &'static [&'static str],
    /// Value of Server in what the endpoint answers by itself.
    pub server: Option<String>,
}

impl Config {
    pub fn new(secret: [u8; 16]) -> Config {
        Config {
            timers: Timers::default(),
            limits: Limits::default(),
            max_pending: 20_000,
            completed_max: 500_000,
            completed_bytes: 16 << 20,
            secret,
            allow: &["MESSAGE", "REGISTER", "PUBLISH", "SUBSCRIBE", "OPTIONS"],
            supported: &["path", "recipient-list-message", "recipient-list-subscribe", "eventlist"],
            accept: &["text/plain", "message/cpim", "*/*"],
            accept_encoding: &["identity", "deflate"],
            allow_events: &[],
            server: None,
        }
    }
}

/// What became of one incoming message.
pub enum Received<'a> {
    /// Nothing for the caller: absorbed, answered here, or dropped.
    Nothing,
    /// Nothing for the caller, and on this stream nobody knows where the next message starts: to be closed when
    /// what was sent is out.
    Broken,
    /// For the client transactions. Whether its top Via is ours is theirs to judge (RFC 3261 §18.1.2).
    Response(Message<'a>),
    /// A new request. The caller owes [`Endpoint::respond`] or [`Endpoint::answer`].
    Request { key: TxKey, message: Message<'a> },
}

/// What happens to a retransmission of a request that has got its final answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It gets the same answer, for Timer J.
    Cached,
    /// It is a new request: for challenges, which cost an attacker nothing to cause (RFC 3261 §26.3.2.4).
    Stateless,
}

/// What 503 asks for when too many requests are undecided, in seconds.
const RETRY_AFTER: &str = "5";

struct Pending {
    to: Dest,
    stream: bool,
    since: Instant,
    rows: Rows,
    /// A 100 has been sent: a copy gets it again (RFC 3261 §17.2.2).
    told: bool,
    merged: Option<TxKey>,
}

/// Server transactions of one shard.
pub struct Endpoint {
    config: Config,
    identity: Identity,
    pending: KeyMap<Pending>,
    /// Undecided requests by what their copies over other ways have in common (RFC 3261 §8.2.2.2).
    merged: KeyMap<TxKey>,
    /// When a 100 is due. Answered ones stay until they reach the front.
    trying: VecDeque<(Instant, TxKey)>,
    /// When the client has given up. Entered when the 100 was due.
    hopeless: VecDeque<(Instant, TxKey)>,
    completed: Completed,
}

impl Endpoint {
    pub fn new(config: Config) -> Endpoint {
        Endpoint {
            identity: Identity::new(config.secret),
            completed: Completed::new(config.completed_max, config.completed_bytes),
            pending: KeyMap::default(),
            merged: KeyMap::default(),
            trying: VecDeque::new(),
            hopeless: VecDeque::new(),
            config,
        }
    }

    /// One framed message as it came in. What has to be sent at once is appended to `out`.
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        flow: Flow,
        bytes: &'a [u8],
        out: &mut Vec<Transmit>,
    ) -> Received<'a> {
        self.completed.expire(now);
        let framing = if flow.transport.is_stream() { Framing::Stream } else { Framing::Datagram };
        let message = match Message::scan(bytes, framing, &self.config.limits) {
            Ok(message) => message,
            Err(malformed) => {
                let broken = malformed.fatal;
                self.malformed(flow, malformed, out);
                return if broken { Received::Broken } else { Received::Nothing };
            }
        };
        if message.code().is_some() {
            return Received::Response(message);
        }
        let Some(method) = message.method() else { return Received::Nothing };
        let via = message.top_via();
        let key = self.identity.transaction(&message, via.as_ref(), method);
        let asked = Asked { flow, message: &message, via, key };
        match method {
            // Never answered, whatever is wrong with it (RFC 3261 §17).
            "ACK" => return Received::Nothing,
            "CANCEL" => {
                self.cancel(asked, out);
                return Received::Nothing;
            }
            _ => {}
        }
        if let Some(pending) = self.pending.get_mut(&key) {
            if pending.stream {
                // A client whose connection broke asks again over a new one; the old one leads nowhere.
                pending.to = asked.reply_to();
            }
            if pending.told {
                out.push(Transmit { to: pending.to, bytes: pending.rows.trying() });
            }
            return Received::Nothing;
        }
        if let Some(answer) = self.completed.get(key) {
            let bytes = match answer {
                Answer::Whole(bytes) => bytes,
                Answer::Plain(status) => Rows::of(&asked).plain(status, &self.identity.tag(key)),
            };
            out.push(Transmit { to: asked.reply_to(), bytes });
            return Received::Nothing;
        }
        if let Some(verdict) = screen(&message, method, &self.config) {
            self.stateless(&asked, verdict, out);
            return Received::Nothing;
        }
        let merged = self.identity.merged(&message);
        if merged.is_some_and(|merged| self.merged.contains_key(&merged)) {
            self.stateless(&asked, Verdict::bare(482), out);
            return Received::Nothing;
        }
        if self.pending.len() >= self.config.max_pending {
            let busy = Verdict::with(503, "Retry-After", RETRY_AFTER.to_owned());
            self.stateless(&asked, busy, out);
            return Received::Nothing;
        }
        if let Some(merged) = merged {
            self.merged.insert(merged, key);
        }
        let pending = Pending {
            to: asked.reply_to(),
            stream: flow.transport.is_stream(),
            since: now,
            rows: Rows::of(&asked),
            told: false,
            merged,
        };
        self.pending.insert(key, pending);
        self.trying.push_back((now + self.config.timers.trying(), key));
        Received::Request { key, message }
    }

    /// The tag that every answer to this request carries in To, unless the request brought one.
    pub fn tag(&self, key: TxKey) -> ToTag {
        self.identity.tag(key)
    }

    /// Sends `bytes`, a whole response, as the answer to `key`: a final one, or 100.
    ///
    /// Nothing is sent for a transaction that was answered before or that the client has given up. Other 1xx than
    /// 100 are not sent, nor is a 100 on UDP before it is due, nor is ever 408; that one only ends the transaction
    /// (RFC 4320 §4.1, §4.2).
    pub fn respond(&mut self, now: Instant, key: TxKey, bytes: Bytes, keep: Keep, out: &mut Vec<Transmit>) {
        match status_of(&bytes) {
            Some(100) => {
                let due = self.config.timers.trying();
                if let Some(pending) = self.pending.get_mut(&key)
                    && !pending.told
                    && (pending.stream || now >= pending.since + due)
                {
                    pending.told = true;
                    out.push(Transmit { to: pending.to, bytes });
                }
            }
            Some(408) => {
                self.take(key);
            }
            Some(status @ 200..=699) => {
                let Some(pending) = self.take(key) else { return };
                if keep == Keep::Cached && !pending.stream {
                    let plain = pending.rows.is_plain(status, &self.identity.tag(key), &bytes);
                    let answer = if plain { Answer::Plain(status) } else { Answer::Whole(bytes.clone()) };
                    self.completed.keep(now, self.config.timers.patience(), key, answer);
                }
                out.push(Transmit { to: pending.to, bytes });
            }
            _ => {}
        }
    }

    /// Makes and sends the final answer to `key` from what was kept of the request: for callers that have not kept
    /// the request themselves. The To tag is ours; an empty `reason` is the usual one. Otherwise as
    /// [`Endpoint::respond`].
    pub fn answer(
        &mut self,
        now: Instant,
        key: TxKey,
        mut answer: write::Response<'_>,
        keep: Keep,
        out: &mut Vec<Transmit>,
    ) {
        let Some(pending) = self.pending.get(&key) else { return };
        if answer.reason.is_empty() {
            answer.reason = reason_of(answer.code);
        }
        let bytes = pending.rows.full(&answer, &self.identity.tag(key));
        self.respond(now, key, bytes, keep, out);
    }

    /// When [`Endpoint::on_due`] wants to be called. May be early: a request answered meanwhile does not move it.
    pub fn due(&self) -> Option<Instant> {
        let fronts = [self.trying.front(), self.hopeless.front()];
        fronts.into_iter().flatten().map(|(at, _)| *at).chain(self.completed.due()).min()
    }

    /// Sends each 100 that is due (RFC 4320 §4.1), and forgets what Timer J or the client's Timer F has ended.
    pub fn on_due(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        self.completed.expire(now);
        let (trying, patience) = (self.config.timers.trying(), self.config.timers.patience());
        while let Some(&(at, key)) = self.trying.front()
            && at <= now
        {
            self.trying.pop_front();
            if let Some(pending) = self.pending.get_mut(&key) {
                if pending.since + trying > now {
                    continue;
                }
                if !pending.told {
                    pending.told = true;
                    out.push(Transmit { to: pending.to, bytes: pending.rows.trying() });
                }
                self.hopeless.push_back((pending.since + patience, key));
            }
        }
        while let Some(&(at, key)) = self.hopeless.front()
            && at <= now
        {
            self.hopeless.pop_front();
            if self.pending.get(&key).is_some_and(|pending| pending.since + patience <= now) {
                self.take(key);
            }
        }
    }

    /// Requests that wait for their answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Answered requests that Timer J still remembers.
    pub fn completed(&self) -> usize {
        self.completed.len()
    }

    fn take(&mut self, key: TxKey) -> Option<Pending> {
        let pending = self.pending.remove(&key)?;
        if let Some(merged) = pending.merged {
            self.merged.remove(&merged);
        }
        // So that the queues hold no more than was asked since the oldest undecided request.
        for queue in [&mut self.trying, &mut self.hopeless] {
            while queue.front().is_some_and(|(_, key)| !self.pending.contains_key(key)) {
                queue.pop_front();
            }
        }
        Some(pending)
    }

    /// Answers what came as the head of a stream that cannot be framed, if it can be answered. The caller closes.
    pub fn refuse(
        &mut self,
        flow: Flow,
        head: &[u8],
        status: u16,
        reason: &'static str,
        out: &mut Vec<Transmit>,
    ) {
        let answerable = Message::salvage(head, &self.config.limits);
        self.malformed(flow, Malformed { status, reason, answerable, fatal: true }, out);
    }

    fn malformed(&self, flow: Flow, malformed: Malformed<'_>, out: &mut Vec<Transmit>) {
        let Some(message) = malformed.answerable else { return };
        let Some(method) = message.method() else { return };
        if method == "ACK" {
            return;
        }
        let via = message.top_via();
        let key = self.identity.transaction(&message, via.as_ref(), method);
        let asked = Asked { flow, message: &message, via, key };
        out.push(asked.answer(malformed.status, Some(malformed.reason), &self.identity.tag(key), &[]));
    }

    /// Without effect on what it cancels (RFC 3261 §9.2): no request here can be taken back.
    fn cancel(&self, mut asked: Asked<'_, '_>, out: &mut Vec<Transmit>) {
        let live = self.config.allow.iter().find_map(|method| {
            let meant = self.identity.transaction(asked.message, asked.via.as_ref(), method);
            (self.pending.contains_key(&meant) || self.completed.get(meant).is_some()).then_some(meant)
        });
        let status = if live.is_some() { 200 } else { 481 };
        // The To tag is that of the answer to the request (RFC 3261 §9.2).
        asked.key = live.unwrap_or(asked.key);
        self.stateless(&asked, Verdict::bare(status), out);
    }

    fn stateless(&self, asked: &Asked<'_, '_>, verdict: Verdict, out: &mut Vec<Transmit>) {
        let server = self.config.server.iter().map(|server| ("Server", server.as_str()));
        let extra: Vec<(&str, &str)> =
            verdict.extra.iter().map(|(name, value)| (*name, value.as_str())).chain(server).collect();
        out.push(asked.answer(verdict.status, None, &self.identity.tag(asked.key), &extra));
    }
}
