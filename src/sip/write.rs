//! Writes messages: lines that cannot be broken, and the response that a request asks for.
//!
//! Prevents that text from outside becomes a header of ours: of whatever is written into a start-line or a
//! header, no CR, LF, NUL or other control leaves. Never fails, never decides what to say.

use std::net::SocketAddr;

use super::grammar::is_token;
use super::header::{Via, split_commas};
use super::message::{Message, Name};

/// `name: value` and CRLF. Controls in the value become spaces, what is no token in the name `-`; an empty name
/// is `-`.
pub fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    header_bytes(out, name, value.as_bytes());
}

/// [`header`] with a value that need not be UTF-8.
pub fn header_bytes(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let name = if name.is_empty() { "-" } else { name };
    out.extend(name.bytes().map(|c| if is_token(&[c]) { c } else { b'-' }));
    out.extend_from_slice(b": ");
    guarded(out, value);
    out.extend_from_slice(b"\r\n");
}

/// `METHOD uri SIP/2.0` and CRLF.
pub fn request_line(out: &mut Vec<u8>, method: &str, uri: &str) {
    guarded(out, method.as_bytes());
    out.push(b' ');
    guarded(out, uri.as_bytes());
    out.extend_from_slice(b" SIP/2.0\r\n");
}

/// `SIP/2.0 code reason` and CRLF.
pub fn status_line(out: &mut Vec<u8>, code: u16, reason: &str) {
    out.extend_from_slice(b"SIP/2.0 ");
    decimal(out, code as u64);
    out.push(b' ');
    guarded(out, reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Content-Length, the empty line, the body.
pub fn finish(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// `value` with a space for each control; tabs stay. A fold becomes spaces, which mean the same.
pub fn guarded(out: &mut Vec<u8>, value: &[u8]) {
    let from = out.len();
    out.extend_from_slice(value);
    for c in &mut out[from..] {
        if (*c < b' ' && *c != b'\t') || *c == 0x7f {
            *c = b' ';
        }
    }
}

/// A number without allocating.
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut value = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// What a response says, besides what it copies from its request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'r> {
    pub code: u16,
    pub reason: &'r str,
    /// Added to To unless it has one or the code is 100; empty for none (RFC 3261 §8.2.6.2).
    pub to_tag: &'r str,
    /// Further headers, in order.
    pub extra: &'r [(&'r str, &'r str)],
    pub body: &'r [u8],
}

impl Response<'_> {
    /// Appends the whole response to `out`: Vias in order, From, To, Call-ID and CSeq copied, with `received`
    /// and `rport` of the top Via telling `source` (RFC 3261 §18.2.1, RFC 3581 §4). A header that the request
    /// lacks, or that is unreadable, is left out or copied as it is.
    pub fn write(&self, out: &mut Vec<u8>, request: &Message<'_>, source: SocketAddr) {
        status_line(out, self.code, self.reason);
        for (i, row) in request.all(Name::Via).enumerate() {
            out.extend_from_slice(b"Via: ");
            match i {
                0 => top_via_row(out, row, source),
                _ => guarded(out, row),
            }
            out.extend_from_slice(b"\r\n");
        }
        if let Some(from) = request.get(Name::From) {
            header_bytes(out, "From", from);
        }
        if let Some(to) = request.get(Name::To) {
            out.extend_from_slice(b"To: ");
            guarded(out, to);
            let tagged = request.to().is_some_and(|to| to.tag().is_some());
            if !tagged && self.code != 100 && is_token(self.to_tag.as_bytes()) {
                out.extend_from_slice(b";tag=");
                out.extend_from_slice(self.to_tag.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        if let Some(call_id) = request.get(Name::CallId) {
            header_bytes(out, "Call-ID", call_id);
        }
        if let Some(cseq) = request.get(Name::CSeq) {
            header_bytes(out, "CSeq", cseq);
        }
        // RFC 3261 §8.2.6.1.
        if let Some(stamp) = request.get(Name::Timestamp).filter(|_| self.code == 100) {
            header_bytes(out, "Timestamp", stamp);
        }
        for (name, value) in self.extra {
            header(out, name, value);
        }
        finish(out, self.body);
    }
}

/// [`Response::write`] without a body.
pub fn respond(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    source: SocketAddr,
    code: u16,
    reason: &str,
    to_tag: &str,
    extra: &[(&str, &str)],
) {
    Response { code, reason, to_tag, extra, body: &[] }.write(out, request, source);
}

/// The first Via row; its first element is the top Via and tells the sender where it was seen.
fn top_via_row(out: &mut Vec<u8>, row: &[u8], source: SocketAddr) {
    let mut elements = split_commas(row);
    let top = elements.next().map(Via::parse);
    let Some(Ok(via)) = top else {
        return guarded(out, row);
    };
    top_via(out, &via, source);
    if let Some(rest) = elements.rest() {
        out.push(b',');
        guarded(out, rest);
    }
}

fn top_via(out: &mut Vec<u8>, via: &Via<'_>, source: SocketAddr) {
    let ip = source.ip().to_canonical();
    let asks = via.rport().is_some();
    // A `received` that came with the request is somebody's claim.
    if via.ip() == Some(ip) && !asks && via.received().is_none() {
        return guarded(out, via.raw);
    }
    let before_params = memchr::memchr(b';', via.raw).unwrap_or(via.raw.len());
    guarded(out, &via.raw[..before_params]);
    for (name, value) in via.params.iter() {
        if name.eq_ignore_ascii_case("received") {
            continue;
        }
        out.push(b';');
        guarded(out, name.as_bytes());
        if name.eq_ignore_ascii_case("rport") {
            out.push(b'=');
            decimal(out, source.port() as u64);
        } else if let Some(value) = value {
            out.push(b'=');
            guarded(out, value.as_bytes());
        }
    }
    out.extend_from_slice(b";received=");
    out.extend_from_slice(ip.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Framing, Limits};

    fn answer(vias: &str, to: &str, source: &str, code: u16) -> String {
        let request = format!(
            "OPTIONS sip:h SIP/2.0\r\n{vias}From: <sip:a@h>;tag=1\r\nTo: {to}\r\nCall-ID: x\r\nCSeq: 3\r\n OPTIONS\r\n\r\n"
        );
        let message = Message::scan(request.as_bytes(), Framing::Datagram, &Limits::default()).unwrap();
        let mut out = Vec::new();
        respond(
            &mut out,
            &message,
            source.parse().unwrap(),
            code,
            "OK\r\nX: y",
            "t-1",
            &[("Al\r\nlow", "a\0b\r\nc")],
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response_copies_what_it_must() {
        let vias = "Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKx , SIP/2.0/TCP p;branch=z9\r\nv:SIP/2.0/UDP q;received=1.2.3.4\r\n";
        assert_eq!(
            answer(vias, "<sip:b@h>", "192.0.2.9:4444", 200),
            "SIP/2.0 200 OK  X: y\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5060;rport=4444;branch=z9hG4bKx;received=192.0.2.9, SIP/2.0/TCP p;branch=z9\r\n\
             Via: SIP/2.0/UDP q;received=1.2.3.4\r\n\
             From: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>;tag=t-1\r\n\
             Call-ID: x\r\n\
             CSeq: 3   OPTIONS\r\n\
             Al--low: a b  c\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_tag_is_added_where_there_is_none() {
        let via = "Via: SIP/2.0/UDP 192.0.2.9\r\n";
        assert!(answer(via, "sip:b@h", "192.0.2.9:1", 100).contains("\r\nTo: sip:b@h\r\n"));
        assert!(answer(via, "sip:b@h;tag=u", "192.0.2.9:1", 200).contains("\r\nTo: sip:b@h;tag=u\r\n"));
        assert!(answer(via, "sip:b@h", "192.0.2.9:1", 404).contains("\r\nTo: sip:b@h;tag=t-1\r\n"));
    }

    #[test]
    fn a_timestamp_comes_back_in_100_alone() {
        let rows = "Via: SIP/2.0/UDP 192.0.2.9\r\nTimestamp: 54.1\r\n";
        assert!(answer(rows, "sip:b@h", "192.0.2.9:1", 100).contains("\r\nTimestamp: 54.1\r\n"));
        assert!(!answer(rows, "sip:b@h", "192.0.2.9:1", 200).contains("Timestamp"));
    }

    #[test]
    fn the_top_via_tells_the_truth() {
        for (via, source, expected) in [
            ("192.0.2.9:5060;branch=z9hG4bKx", "192.0.2.9:7", "192.0.2.9:5060;branch=z9hG4bKx"),
            ("192.0.2.9;branch=b", "[::ffff:192.0.2.9]:7", "192.0.2.9;branch=b"),
            ("h.example;branch=b", "192.0.2.9:7", "h.example;branch=b;received=192.0.2.9"),
            ("192.0.2.9;received=6.6.6.6;branch=b", "192.0.2.9:7", "192.0.2.9;branch=b;received=192.0.2.9"),
            ("192.0.2.9;rport=9", "192.0.2.9:7", "192.0.2.9;rport=7;received=192.0.2.9"),
            ("[2001:db8:0::1]", "[2001:db8::1]:7", "[2001:db8:0::1]"),
            ("[2001:db8::1];RPORT", "[2001:db8::2]:7", "[2001:db8::1];RPORT=7;received=2001:db8::2"),
        ] {
            let got = answer(&format!("Via: SIP/2.0/UDP {via}\r\n"), "sip:b@h", source, 200);
            assert_eq!(got.lines().nth(1), Some(&*format!("Via: SIP/2.0/UDP {expected}")));
        }
    }

    #[test]
    fn numbers() {
        for n in [0, 7, 10, 65535, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
        }
    }
}
