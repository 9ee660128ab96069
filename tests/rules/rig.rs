//! One endpoint with a clock of its own, and requests to put to it.
//!
//! Prevents that each test writes its messages by hand and forgets a header. Never judges.

// A helper that cannot go on fails the test that called it.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use imcd::sip::endpoint::{Config, Endpoint, Keep, Received, TxKey, reason_of};
use imcd::sip::message::{Framing, Limits, Message};
use imcd::sip::write;
use imcd::types::{ConnId, Dest, Flow, Transmit, Transport};

/// Where the client of most tests is.
pub const CLIENT: &str = "192.0.2.7:40000";

pub fn udp_from(remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        listener: 3,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
        conn: None,
    }
}

pub fn udp() -> Flow {
    udp_from(CLIENT)
}

pub fn tcp() -> Flow {
    Flow { transport: Transport::Tcp, conn: Some(ConnId(9)), ..udp() }
}

pub fn to_udp(address: &str) -> Dest {
    Dest::Udp { listener: 3, to: address.parse::<SocketAddr>().unwrap() }
}

/// A request in the making. Rows are whole lines without CRLF, in the order they are sent.
#[derive(Clone)]
pub struct Ask {
    pub start: String,
    pub rows: Vec<String>,
    pub body: String,
}

impl Ask {
    /// A request with all its headers, named by `id`: branch, Call-ID and From tag come of it.
    pub fn new(method: &str, id: &str) -> Ask {
        Ask {
            start: format!("{method} sip:team@example.org SIP/2.0"),
            rows: vec![
                format!("Via: SIP/2.0/UDP 192.0.2.7:5099;branch=z9hG4bK{id};rport"),
                "Max-Forwards: 70".into(),
                format!("From: \"Alice\" <sip:alice@example.org>;tag=f{id}"),
                "To: <sip:team@example.org>".into(),
                format!("Call-ID: call-{id}"),
                format!("CSeq: 1 {method}"),
            ],
            body: String::new(),
        }
    }

    pub fn message(id: &str) -> Ask {
        let mut ask = Ask::new("MESSAGE", id).and("Content-Type: text/plain");
        ask.body = "hello".into();
        ask
    }

    /// Replaces the first row of that name; an empty `row` removes it.
    pub fn row(mut self, name: &str, row: &str) -> Ask {
        let at = self.rows.iter().position(|have| have.starts_with(&format!("{name}:"))).unwrap();
        if row.is_empty() {
            self.rows.remove(at);
        } else {
            self.rows[at] = row.into();
        }
        self
    }

    pub fn and(mut self, row: &str) -> Ask {
        self.rows.push(row.into());
        self
    }

    pub fn start(mut self, line: &str) -> Ask {
        self.start = line.into();
        self
    }

    pub fn body(mut self, body: &str) -> Ask {
        self.body = body.into();
        self
    }

    /// The bytes; Content-Length is added unless a row says it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for row in &self.rows {
            text.push_str(row);
            text.push_str("\r\n");
        }
        let counted = self.rows.iter().any(|row| row.starts_with("Content-Length:") || row.starts_with("l:"));
        if !counted {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// What the endpoint made of a message, without its borrow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Nothing,
    Broken,
    /// Status code and sent-by of the top Via.
    Response(u16, String),
    Request {
        key: TxKey,
        body: Vec<u8>,
    },
}

impl Heard {
    pub fn key(&self) -> TxKey {
        match self {
            Heard::Request { key, .. } => *key,
            other => panic!("not a request: {other:?}"),
        }
    }
}

/// A message that the endpoint sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub at: Instant,
    pub to: Dest,
    pub text: String,
}

impl Reply {
    pub fn code(&self) -> u16 {
        self.text["SIP/2.0 ".len()..][..3].parse().unwrap()
    }
    /// Values of all rows of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap();
        let rows = head.split("\r\n").skip(1).filter_map(|row| row.split_once(':'));
        rows.filter(|(have, _)| *have == name).map(|(_, value)| value.trim()).collect()
    }
    pub fn get(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {}", self.text);
        all[0]
    }
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
    /// Tag of To.
    pub fn tag(&self) -> Option<&str> {
        self.get("To").split_once(";tag=").map(|(_, tag)| tag)
    }
}

pub struct Rig {
    pub endpoint: Endpoint,
    pub t0: Instant,
    pub now: Instant,
    out: Vec<Transmit>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Rig {
        let mut config = Config::new(*b"a secret of ours");
        change(&mut config);
        let t0 = Instant::now();
        Rig { endpoint: Endpoint::new(config), t0, now: t0, out: Vec::new() }
    }

    pub fn hears(&mut self, flow: Flow, bytes: &[u8]) -> Heard {
        match self.endpoint.receive(self.now, flow, bytes, &mut self.out) {
            Received::Nothing => Heard::Nothing,
            Received::Broken => Heard::Broken,
            Received::Response(message) => {
                let via = message.top_via().map(|via| via.sent_by.to_owned());
                Heard::Response(message.code().unwrap(), via.unwrap_or_default())
            }
            Received::Request { key, message } => Heard::Request { key, body: message.body().to_vec() },
        }
    }

    /// What was sent since the last call.
    pub fn sent(&mut self) -> Vec<Reply> {
        let at = self.now;
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        self.out.drain(..).map(|sent| Reply { at, to: sent.to, text: text(&sent.bytes) }).collect()
    }

    /// [`Rig::sent`] for answers that need not be UTF-8.
    pub fn sent_bytes(&mut self) -> Vec<Transmit> {
        std::mem::take(&mut self.out)
    }

    /// A caller answers who has not kept the request.
    pub fn answers_from_memory(&mut self, key: TxKey, answer: write::Response<'_>) {
        self.endpoint.answer(self.now, key, answer, Keep::Cached, &mut self.out);
    }

    /// Puts a request that must be answered at once by exactly one message, and keep no state.
    pub fn refused(&mut self, flow: Flow, bytes: &[u8]) -> Reply {
        let before = self.endpoint.pending() + self.endpoint.completed();
        let heard = self.hears(flow, bytes);
        assert_eq!(heard, Heard::Nothing, "{}", String::from_utf8_lossy(bytes));
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?} to {}", String::from_utf8_lossy(bytes));
        assert_eq!(self.endpoint.pending() + self.endpoint.completed(), before);
        sent.remove(0)
    }

    /// Puts something that must vanish without a trace.
    pub fn ignored(&mut self, flow: Flow, bytes: &[u8]) {
        assert_eq!(self.hears(flow, bytes), Heard::Nothing, "{}", String::from_utf8_lossy(bytes));
        assert_eq!(self.sent(), [], "{}", String::from_utf8_lossy(bytes));
    }

    /// Puts a request that must reach the caller, with nothing sent.
    pub fn taken(&mut self, flow: Flow, bytes: &[u8]) -> TxKey {
        let heard = self.hears(flow, bytes);
        assert_eq!(self.sent(), [], "{}", String::from_utf8_lossy(bytes));
        heard.key()
    }

    /// The caller answers, as the doors do.
    pub fn answers(&mut self, key: TxKey, asked: &Asked<'_>, status: u16, keep: Keep) {
        let bytes = self.render(key, asked, status);
        self.endpoint.respond(self.now, key, bytes, keep, &mut self.out);
    }

    pub fn render(&self, key: TxKey, asked: &Asked<'_>, status: u16) -> Bytes {
        let framing = if asked.flow.transport.is_stream() { Framing::Stream } else { Framing::Datagram };
        let Ok(message) = Message::scan(asked.bytes, framing, &Limits::default()) else {
            panic!("only what was scanned is answered")
        };
        let (tag, mut out) = (self.endpoint.tag(key), Vec::new());
        let (remote, reason) = (asked.flow.remote, reason_of(status));
        write::respond(&mut out, &message, remote, status, reason, tag.as_str(), asked.extra);
        out.into()
    }

    /// Lets time go by, with every timer fired when it is due. What was sent, with its time.
    pub fn passes(&mut self, time: Duration) -> Vec<Reply> {
        let end = self.now + time;
        let mut sent = self.sent();
        while let Some(due) = self.endpoint.due().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.endpoint.on_due(self.now, &mut self.out);
            assert!(self.endpoint.due().is_none_or(|next| next > self.now), "a timer that does not go away");
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }

    /// Milliseconds since the start.
    pub fn ms(&self, at: Instant) -> u128 {
        (at - self.t0).as_millis()
    }
}

/// A request that is answered: how it came, and what the answer has beside the usual rows.
pub struct Asked<'a> {
    pub flow: Flow,
    pub bytes: &'a [u8],
    pub extra: &'a [(&'a str, &'a str)],
}

impl<'a> Asked<'a> {
    pub fn new(flow: Flow, bytes: &'a [u8]) -> Asked<'a> {
        Asked { flow, bytes, extra: &[] }
    }
}
