//! The scanner: a SIP message as a borrowed view over the bytes that came in.
//!
//! Prevents that two readers of one message see different headers or a different end of it. Scanning allocates
//! nothing unless the message is malformed; a value is read when it is asked for. Never changes a byte, never
//! answers, never decides who may do what.

use std::fmt;

pub use super::grammar::Bad;
use super::grammar::{self, Cursor};
use super::header::{ContactValue, NameAddr, Via, contacts, split_commas};
use super::lines::{Line, Lines, content_length, split_row};
pub use super::name::Name;
use super::uri::Uri;

/// The most header rows a message can have, whatever [`Limits::headers`] says.
pub const MAX_HEADERS: usize = 128;

/// How much we take. Bytes, unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A whole message; above it 513.
    pub message: usize,
    /// Header rows; above it 513. At most [`MAX_HEADERS`] count.
    pub headers: usize,
    /// Parameters of one From, To, Contact or top Via value; above it 400.
    pub params: usize,
    /// Request-URI; above it 414.
    pub uri: usize,
    /// Start-line and headers together; above it 513. At most 65535 count.
    pub header_block: usize,
    /// Body; above it 413.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 65535,
            headers: MAX_HEADERS,
            params: 32,
            uri: 2048,
            header_block: 16384,
            body: 32768,
        }
    }
}

impl Limits {
    /// Header rows that count.
    pub(super) fn rows(&self) -> usize {
        self.headers.min(MAX_HEADERS)
    }

    /// Bytes of start-line and headers that count: rows keep their places in 16 bits.
    pub(super) fn block(&self) -> usize {
        self.header_block.min(u16::MAX as usize)
    }
}

/// How the end of a message is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// A datagram, or one WebSocket message: Content-Length may be missing, bytes past it are cut
    /// (RFC 3261 §18.3, RFC 7118 §5).
    Datagram,
    /// Cut out of a stream by its Content-Length.
    Stream,
}

/// The start-line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start<'a> {
    Request { method: &'a str, uri: &'a str },
    Response { code: u16, reason: &'a [u8] },
}

/// One header row: where it is in the header block.
#[derive(Clone, Copy)]
struct Row {
    name: Name,
    name_len: u8,
    name_at: u16,
    value_at: u16,
    value_len: u16,
}

const NO_ROW: Row = Row { name: Name::Other, name_len: 0, name_at: 0, value_at: 0, value_len: 0 };

/// A scanned message. When [`Message::scan`] gave it, Via, From, To, Call-ID and CSeq are there and readable; in a
/// response From and To are there.
#[derive(Clone)]
pub struct Message<'a> {
    head: &'a [u8],
    body: &'a [u8],
    start: Start<'a>,
    count: u8,
    /// For each name the first row that has it, plus one.
    first: [u8; Name::COUNT],
    rows: [Row; MAX_HEADERS],
}

/// Why a message cannot be taken, and what could be read of it so that a request can still be answered.
#[derive(Debug)]
pub struct Malformed<'a> {
    /// 400, 413, 414, 505 or 513.
    pub status: u16,
    pub reason: &'static str,
    /// A request with at least one Via row. Its typed headers may be missing or unreadable; what is there can
    /// be copied into a response (RFC 3261 §8.2.6). Never a response. Boxed: only the malformed pay for it.
    pub answerable: Option<Box<Message<'a>>>,
    /// On a stream: nobody knows where the next message starts. Answer and close.
    pub fatal: bool,
}

impl fmt::Display for Malformed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}
impl std::error::Error for Malformed<'_> {}

/// The first fault of a message; later ones do not change the answer.
#[derive(Default)]
struct Fault(Option<(u16, &'static str)>);

impl Fault {
    fn note(&mut self, status: u16, reason: &'static str) {
        self.0.get_or_insert((status, reason));
    }
    fn check(&mut self, result: Result<(), &'static str>) {
        if let Err(reason) = result {
            self.note(400, reason);
        }
    }
}

impl<'a> Message<'a> {
    /// Reads one message. CRLFs before the start-line are skipped (RFC 3261 §7.5).
    pub fn scan(bytes: &'a [u8], framing: Framing, limits: &Limits) -> Result<Message<'a>, Malformed<'a>> {
        let mut fault = Fault::default();
        let mut fatal = false;
        if bytes.len() > limits.message {
            fault.note(513, "Message Too Large");
        }
        let mut bytes = bytes;
        while let [b'\r', b'\n', rest @ ..] = bytes {
            bytes = rest;
        }
        let head = &bytes[..bytes.len().min(limits.block())];
        let mut lines = Lines { head, at: 0 };
        let mut message = Message {
            head,
            body: &[],
            start: Start::Response { code: 0, reason: &[] },
            count: 0,
            first: [0; Name::COUNT],
            rows: [NO_ROW; MAX_HEADERS],
        };

        let opened = lines.next().filter(|line| !line.text.is_empty());
        let is_request = match &opened {
            Some(line) => message.read_start(line, limits, &mut fault),
            None => {
                fault.note(400, "No Start-Line");
                false
            }
        };
        let ended = opened.is_some() && message.read_rows(&mut lines, limits, &mut fault, &mut fatal);
        if ended {
            let lost = message.read_body(&bytes[lines.at..], framing, limits, &mut fault);
            fatal |= lost;
        } else {
            fatal = true;
            if head.len() < bytes.len() {
                fault.note(513, "Header Section Too Large");
            }
            fault.note(400, "Header Section Not Ended");
        }
        if fault.0.is_none() {
            message.check(limits, &mut fault);
        }
        match fault.0 {
            None => Ok(message),
            Some((status, reason)) => {
                let answerable = is_request && message.get(Name::Via).is_some();
                Err(Malformed {
                    status,
                    reason,
                    answerable: answerable.then(|| Box::new(message)),
                    fatal: fatal && framing == Framing::Stream,
                })
            }
        }
    }

    /// What of a damaged message is enough to answer it, as [`Malformed::answerable`]: for the first bytes of a
    /// stream whose framing is lost.
    pub fn salvage(head: &'a [u8], limits: &Limits) -> Option<Box<Message<'a>>> {
        match Message::scan(head, Framing::Datagram, limits) {
            Ok(message) if message.method().is_some() => Some(Box::new(message)),
            Ok(_) => None,
            Err(malformed) => malformed.answerable,
        }
    }

    /// True if it is a request with a method, however bad the rest.
    fn read_start(&mut self, line: &Line<'a>, limits: &Limits, fault: &mut Fault) -> bool {
        let text = line.text;
        if line.bare {
            fault.note(400, "Bare CR or LF");
        }
        if text.get(..4).is_some_and(|t| t.eq_ignore_ascii_case(b"SIP/")) {
            self.read_status(text, fault);
            return false;
        }
        let space = memchr::memchr(b' ', text).unwrap_or(text.len());
        let Some(method) = grammar::ascii(&text[..space]).filter(|m| grammar::is_token(m.as_bytes())) else {
            fault.note(400, "Bad Start-Line");
            return false;
        };
        self.start = Start::Request { method, uri: "" };
        let rest = text.get(space + 1..).unwrap_or_default();
        let Some(space) = memchr::memrchr(b' ', rest) else {
            fault.note(400, "Bad Request-Line");
            return true;
        };
        let (uri, version) = (&rest[..space], &rest[space + 1..]);
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            match is_version(version) {
                true => fault.note(505, "Version Not Supported"),
                false => fault.note(400, "Bad Request-Line"),
            }
        }
        if uri.len() > limits.uri {
            fault.note(414, "Request-URI Too Long");
            return true;
        }
        let Some(uri) = grammar::ascii(uri) else {
            fault.note(400, "Bad Request-URI");
            return true;
        };
        self.start = Start::Request { method, uri };
        match Uri::parse(uri) {
            // Headers have no place here (RFC 3261 §19.1.1) and must never become headers of ours.
            Ok(uri) if uri.headers.is_none() && uri.params.iter().count() <= limits.params => {}
            _ => fault.note(400, "Bad Request-URI"),
        }
        true
    }

    fn read_status(&mut self, text: &'a [u8], fault: &mut Fault) {
        let mut parts = text.splitn(3, |c| *c == b' ');
        let version = parts.next().unwrap_or_default();
        let code = parts.next().unwrap_or_default();
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            fault.note(505, "Version Not Supported");
        }
        match grammar::number(code) {
            Ok(n @ 100..=699) if code.len() == 3 => {
                self.start = Start::Response { code: n as u16, reason: parts.next().unwrap_or_default() };
            }
            _ => fault.note(400, "Bad Status-Code"),
        }
    }

    /// True if the header section is ended by an empty line.
    fn read_rows(
        &mut self,
        lines: &mut Lines<'a>,
        limits: &Limits,
        fault: &mut Fault,
        fatal: &mut bool,
    ) -> bool {
        let max = limits.rows();
        while let Some(line) = lines.next() {
            if line.text.is_empty() {
                return true;
            }
            if line.bare {
                *fatal = true;
                fault.note(400, "Bare CR or LF");
                continue;
            }
            let (name, value, value_at) = match split_row(line.text) {
                Ok(row) => row,
                Err(reason) => {
                    fault.note(400, reason);
                    continue;
                }
            };
            if self.count as usize >= max {
                *fatal = true;
                fault.note(513, "Too Many Headers");
                continue;
            }
            let row = Row {
                name: Name::of(name),
                name_len: name.len() as u8,
                name_at: line.at as u16,
                value_at: (line.at + value_at) as u16,
                value_len: value.len() as u16,
            };
            self.rows[self.count as usize] = row;
            self.count += 1;
            if self.first[row.name as usize] == 0 {
                self.first[row.name as usize] = self.count;
            } else if is_single(row.name) && self.get(row.name) != Some(value) {
                *fatal |= row.name == Name::ContentLength;
                fault.note(400, "Header Repeated with Another Value");
            }
        }
        false
    }

    /// True if on a stream the framing is lost.
    fn read_body(&mut self, rest: &'a [u8], framing: Framing, limits: &Limits, fault: &mut Fault) -> bool {
        let stream = framing == Framing::Stream;
        let length = match self.get(Name::ContentLength).map(content_length) {
            Some(Ok(length)) => length,
            Some(Err(reason)) => {
                fault.note(400, reason);
                return true;
            }
            None if stream => {
                fault.note(400, "Content-Length Missing");
                return true;
            }
            None => rest.len(),
        };
        if length > limits.body {
            fault.note(413, "Message Too Large");
            return length != rest.len();
        }
        if length > rest.len() || (stream && length != rest.len()) {
            fault.note(400, "Content-Length Does Not Fit");
            return true;
        }
        self.body = &rest[..length];
        false
    }

    /// What every message must have, readable (RFC 3261 §8.1.1), and what a REGISTER is about.
    fn check(&self, limits: &Limits, fault: &mut Fault) {
        let is_request = self.method().is_some();
        for name in [Name::From, Name::To] {
            fault.check(match self.get(name) {
                None => Err("From or To Missing"),
                // Of a response no more is needed than that it is ours.
                Some(_) if !is_request => Ok(()),
                Some(value) => match NameAddr::parse(value) {
                    Ok(addr) if addr.params.len() <= limits.params => Ok(()),
                    _ => Err("Bad From or To"),
                },
            });
        }
        fault.check(match self.vias().next() {
            None => Err("Via Missing"),
            Some(Ok(via)) if via.params.len() <= limits.params => Ok(()),
            Some(_) => Err("Bad Via"),
        });
        fault.check(match self.get(Name::CallId) {
            None => Err("Call-ID Missing"),
            Some(value) if grammar::is_call_id(value) => Ok(()),
            Some(_) => Err("Bad Call-ID"),
        });
        fault.check(match (self.get(Name::CSeq), self.cseq()) {
            (None, _) => Err("CSeq Missing"),
            (_, Some((_, method))) if self.method().is_none_or(|m| m == method) => Ok(()),
            (_, Some(_)) => Err("CSeq Is of Another Method"),
            (_, None) => Err("Bad CSeq"),
        });
        if self.get(Name::MaxForwards).is_some() && self.max_forwards().is_none() {
            fault.note(400, "Bad Max-Forwards");
        }
        if self.method() == Some("REGISTER") {
            let fits = |c: &ContactValue<'_>| match c {
                ContactValue::Star => true,
                ContactValue::Addr(addr) => addr.params.len() <= limits.params,
            };
            if !contacts(self).all(|c| c.as_ref().is_ok_and(fits)) {
                fault.note(400, "Bad Contact");
            }
        }
    }

    fn value(&self, row: &Row) -> &'a [u8] {
        let at = row.value_at as usize;
        &self.head[at..at + row.value_len as usize]
    }

    fn rows(&self) -> &[Row] {
        &self.rows[..self.count as usize]
    }

    pub fn start(&self) -> &Start<'a> {
        &self.start
    }

    /// `None` in a response.
    pub fn method(&self) -> Option<&'a str> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// `None` in a request.
    pub fn code(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { code, .. } => Some(code),
        }
    }

    /// The Request-URI; `None` in a response.
    pub fn uri_text(&self) -> Option<&'a str> {
        match self.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI in its parts; `None` in a response.
    pub fn uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri_text()?).ok()
    }

    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Value of the first row called so, without white space around it. Still folded if it was folded: then CR
    /// and LF stand in it, always followed by white space.
    pub fn get(&self, name: Name) -> Option<&'a [u8]> {
        match self.first[name as usize] {
            0 => None,
            n => Some(self.value(&self.rows[n as usize - 1])),
        }
    }

    /// [`Message::get`] as text; `None` too if it is not UTF-8.
    pub fn text(&self, name: Name) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Values of all rows called so, in order.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        self.rows().iter().filter(move |row| row.name == name).map(|row| self.value(row))
    }

    /// Values of all rows by long name in any case, also for names that [`Name`] does not know.
    pub fn other(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let known = Name::of(name.as_bytes());
        self.headers()
            .filter(move |(n, spelled, _)| {
                *n == known && (known != Name::Other || spelled.eq_ignore_ascii_case(name.as_bytes()))
            })
            .map(|(_, _, value)| value)
    }

    /// All rows in order: what it is, the name as spelled, the value.
    pub fn headers(&self) -> impl Iterator<Item = (Name, &'a [u8], &'a [u8])> {
        self.rows().iter().map(|row| {
            let at = row.name_at as usize;
            (row.name, &self.head[at..at + row.name_len as usize], self.value(row))
        })
    }

    /// All elements of a header that is a list, across rows and commas (RFC 3261 §7.3.1).
    pub fn list(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(split_commas)
    }

    /// All elements of a header that lists addresses (Route, Path, P-Asserted-Identity …).
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'a>, Bad>> {
        self.list(name).map(NameAddr::parse)
    }

    /// Top first, across rows and commas.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, Bad>> {
        self.list(Name::Via).map(Via::parse)
    }

    pub fn top_via(&self) -> Option<Via<'a>> {
        self.vias().next()?.ok()
    }

    pub fn from(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.get(Name::From)?).ok()
    }

    pub fn to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.get(Name::To)?).ok()
    }

    /// Number below 2^31 and method (RFC 3261 §8.1.1.5).
    pub fn cseq(&self) -> Option<(u32, &'a str)> {
        let mut cursor = Cursor::new(self.text(Name::CSeq)?);
        let number = grammar::number(cursor.digits().as_bytes()).ok()?;
        if number > i32::MAX as u32 || !cursor.peek().is_some_and(grammar::is_lws) {
            return None;
        }
        cursor.skip_lws();
        let method = cursor.token()?;
        cursor.peek().is_none().then_some((number, method))
    }

    pub fn call_id(&self) -> Option<&'a str> {
        self.text(Name::CallId)
    }

    /// `None` if there is none; one that is no number from 0 to 255 is malformed (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Option<u8> {
        grammar::number(self.get(Name::MaxForwards)?).ok().and_then(|n| u8::try_from(n).ok())
    }

    /// Seconds. More than 2^32 − 1 is that (RFC 4475 §3.1.2.4); what is no number is `None`.
    pub fn expires(&self) -> Option<u32> {
        seconds(self.get(Name::Expires)?)
    }

    /// Seconds, as [`Message::expires`]; comment and parameters are ignored (RFC 3261 §20.33).
    pub fn retry_after(&self) -> Option<u32> {
        let mut cursor = Cursor::new(self.text(Name::RetryAfter)?);
        let digits = cursor.digits().as_bytes();
        let ended = cursor.peek().is_none_or(|c| grammar::is_lws(c) || matches!(c, b';' | b'('));
        if ended { seconds(digits) } else { None }
    }

    /// As spelled, with its parameters.
    pub fn content_type(&self) -> Option<&'a str> {
        self.text(Name::ContentType)
    }
}

fn seconds(digits: &[u8]) -> Option<u32> {
    match grammar::number(digits) {
        Ok(n) => Some(n),
        Err(too_large) => too_large.then_some(u32::MAX),
    }
}

/// A header of which there is one (RFC 3261 §7.3.1, RFC 4475 §3.3.8).
fn is_single(name: Name) -> bool {
    use Name::*;
    matches!(name, From | To | CallId | CSeq | MaxForwards | ContentLength)
}

/// `SIP/` and a version, whichever.
fn is_version(text: &[u8]) -> bool {
    text.get(..4).is_some_and(|t| t.eq_ignore_ascii_case(b"SIP/"))
        && text.len() > 4
        && text[4..].iter().all(|c| c.is_ascii_digit() || *c == b'.')
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Message");
        out.field("start", &self.start);
        for (_, name, value) in self.headers() {
            out.field(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
        }
        out.field("body", &self.body.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"MESSAGE sip:team@example.org SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP b.example.org\r\n\
        v: SIP/2.0/UDP c.example.org\r\n\
        Max-Forwards: 70\r\n\
        f: \"Alice\" <sip:alice@example.org>;tag=1\r\n\
        TO : <sip:team@example.org>\r\n\
        i: a@b\r\n\
        CSeq: 0007\r\n MESSAGE\r\n\
        X-Odd: \x01\xff\r\n\
        Subject: one\r\n\ttwo\r\n\
        l: 5\r\n\
        \r\n\
        hello";

    fn scan(bytes: &[u8]) -> Result<Message<'_>, Malformed<'_>> {
        Message::scan(bytes, Framing::Datagram, &Limits::default())
    }

    #[test]
    fn what_is_in_a_message() {
        let m = scan(PLAIN).unwrap();
        assert_eq!(m.method(), Some("MESSAGE"));
        assert_eq!(m.uri_text(), Some("sip:team@example.org"));
        assert_eq!(m.code(), None);
        assert_eq!(m.body(), b"hello");
        assert_eq!(m.from().unwrap().tag(), Some("1"));
        assert_eq!(m.to().unwrap().uri, "sip:team@example.org");
        assert_eq!(m.cseq(), Some((7, "MESSAGE")));
        assert_eq!(m.call_id(), Some("a@b"));
        assert_eq!(m.max_forwards(), Some(70));
        assert_eq!(m.get(Name::Subject), Some(&b"one\r\n\ttwo"[..]));
        assert_eq!(m.other("x-odd").next(), Some(&b"\x01\xff"[..]));
        assert_eq!(m.other("Via").count(), 2);
        let hosts: Vec<_> = m.vias().map(|v| v.unwrap().host).collect();
        assert_eq!(hosts, ["192.0.2.7", "b.example.org", "c.example.org"]);
        assert_eq!(m.get(Name::Other), Some(&b"\x01\xff"[..]));
        assert_eq!(m.expires(), None);
    }

    #[test]
    fn a_datagram_is_cut_at_content_length_and_a_stream_must_fit() {
        let mut long = PLAIN.to_vec();
        long.extend_from_slice(b"MESSAGE sip:x SIP/2.0\r\n");
        assert_eq!(scan(&long).unwrap().body(), b"hello");
        let lost = Message::scan(&long, Framing::Stream, &Limits::default()).unwrap_err();
        assert!(lost.fatal && lost.status == 400);
        assert!(Message::scan(PLAIN, Framing::Stream, &Limits::default()).is_ok());
        let short = scan(&PLAIN[..PLAIN.len() - 1]).unwrap_err();
        assert_eq!((short.status, short.fatal), (400, false));
        assert_eq!(short.answerable.unwrap().call_id(), Some("a@b"));
    }

    #[test]
    fn every_limit_has_its_status() {
        let limits = Limits::default();
        let small = |change: fn(&mut Limits)| {
            let mut limits = limits;
            change(&mut limits);
            Message::scan(PLAIN, Framing::Datagram, &limits).unwrap_err()
        };
        for (status, malformed) in [
            (513, small(|l| l.message = 100)),
            (513, small(|l| l.headers = 5)),
            (513, small(|l| l.header_block = 200)),
            (414, small(|l| l.uri = 10)),
            (413, small(|l| l.body = 4)),
            (400, small(|l| l.params = 1)),
        ] {
            assert_eq!(malformed.status, status, "{}", malformed.reason);
            assert!(malformed.answerable.is_some());
        }
    }

    #[test]
    fn numbers_are_never_wrapped() {
        assert_eq!(seconds(b"4294967296"), Some(u32::MAX));
        assert_eq!(seconds(b"3600"), Some(3600));
        assert_eq!(seconds(b"-1"), None);
        assert_eq!(seconds(b""), None);
    }
}
