//! Answers: where they go, and how they are made from the rows of the request.
//!
//! Prevents that an answer goes to an address that did not ask (RFC 3261 §26.1.5), and that a repeated answer differs
//! from the first. Never decides what the answer is.

use bytes::Bytes;
use memchr::memmem;

use super::identity::{ToTag, TxKey};
use crate::sip::header::Via;
use crate::sip::message::Message;
use crate::sip::write;
use crate::types::{Dest, Flow, Transmit};

/// A request, and what is needed to answer it.
pub(super) struct Asked<'r, 'a> {
    pub(super) flow: Flow,
    pub(super) message: &'r Message<'a>,
    /// The top one. `None`: it cannot be read, and the request is refused for that.
    pub(super) via: Option<Via<'a>>,
    pub(super) key: TxKey,
}

impl Asked<'_, '_> {
    /// On streams the same connection. On UDP always the source's IP address: at its port if the client asked for
    /// that (RFC 3581 §4) or nothing else is known, else at the port in sent-by (RFC 3261 §18.2.2). `maddr` is not
    /// obeyed: it would let anybody point us at a victim.
    pub(super) fn reply_to(&self) -> Dest {
        let Flow { listener, remote, conn, .. } = self.flow;
        if let Some(conn) = conn {
            return Dest::Conn(conn);
        }
        let mut to = remote;
        if let Some(via) = &self.via
            && via.rport().is_none()
        {
            to.set_port(via.port.unwrap_or(5060));
        }
        if self.flow.transport.is_stream() { Dest::Connect(to) } else { Dest::Udp { listener, to } }
    }

    /// `reason`: `None` for the usual one.
    pub(super) fn answer(
        &self,
        status: u16,
        reason: Option<&str>,
        tag: &ToTag,
        extra: &[(&str, &str)],
    ) -> Transmit {
        let reason = reason.unwrap_or_else(|| reason_of(status));
        let mut out = Vec::with_capacity(512);
        write::respond(&mut out, self.message, self.flow.remote, status, reason, tag.as_str(), extra);
        Transmit { to: self.reply_to(), bytes: out.into() }
    }
}

/// The rows that every answer to one request has, in the form of its 100.
pub(super) struct Rows {
    trying: Bytes,
    /// Where the status line ends.
    line: usize,
    /// Where To ends, unless it has a tag already.
    tag_at: Option<usize>,
}

impl Rows {
    pub(super) fn of(asked: &Asked<'_, '_>) -> Rows {
        let mut trying = Vec::with_capacity(512);
        write::respond(&mut trying, asked.message, asked.flow.remote, 100, reason_of(100), "", &[]);
        let end = |from: usize| trying[from..].iter().position(|byte| *byte == b'\r').map(|at| from + at);
        let line = end(0).map_or(trying.len(), |at| at + 2);
        let tagged = asked.message.to().is_some_and(|to| to.tag().is_some());
        let tag_at = if tagged { None } else { memmem::find(&trying, b"\r\nTo:").and_then(|at| end(at + 2)) };
        Rows { trying: trying.into(), line, tag_at }
    }

    /// The 100 (RFC 3261 §8.2.6.1): without a To tag of ours.
    pub(super) fn trying(&self) -> Bytes {
        self.trying.clone()
    }

    /// The answer that says nothing but its status.
    pub(super) fn plain(&self, status: u16, tag: &ToTag) -> Bytes {
        self.pieces(&status_line(status), tag).concat().into()
    }

    /// Whether [`Rows::plain`] makes exactly these bytes.
    pub(super) fn is_plain(&self, status: u16, tag: &ToTag, bytes: &[u8]) -> bool {
        let line = status_line(status);
        let rest =
            self.pieces(&line, tag).into_iter().try_fold(bytes, |rest, piece| rest.strip_prefix(piece));
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// An answer with headers or a body of its own, as [`write::Response::write`] makes it from the request.
    pub(super) fn full(&self, answer: &write::Response<'_>, tag: &ToTag) -> Bytes {
        let mut out = Vec::with_capacity(self.trying.len() + 256);
        write::status_line(&mut out, answer.code, answer.reason);
        out.extend(self.pieces("", tag).concat());
        out.truncate(out.len() - EMPTY_END.len());
        for (name, value) in answer.extra {
            write::header(&mut out, name, value);
        }
        write::finish(&mut out, answer.body);
        out.into()
    }

    fn pieces<'p>(&'p self, line: &'p str, tag: &'p ToTag) -> [&'p [u8]; 5] {
        let at = self.tag_at.unwrap_or(self.trying.len());
        let (before, after) = (&self.trying[self.line..at], &self.trying[at..]);
        match self.tag_at {
            Some(_) => [line.as_bytes(), before, b";tag=", tag.as_str().as_bytes(), after],
            None => [line.as_bytes(), before, b"", b"", b""],
        }
    }
}

/// How a message without a body ends.
const EMPTY_END: &[u8] = b"Content-Length: 0\r\n\r\n";

fn status_line(status: u16) -> String {
    format!("SIP/2.0 {status} {}\r\n", reason_of(status))
}

/// Status code of a response of ours.
pub(super) fn status_of(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The usual reason phrase of a status (RFC 3261 §21; 202, 423 and 489 by their own RFCs).
pub fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirected",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_100_ends_as_the_other_answers_are_cut() {
        let mut out = Vec::new();
        write::finish(&mut out, b"");
        assert_eq!(out, EMPTY_END);
    }

    #[test]
    fn only_our_own_status_lines_have_a_status() {
        assert_eq!(status_of(b"SIP/2.0 202 Accepted\r\n"), Some(202));
        for other in ["", "SIP/2.0 ", "SIP/2.0 20", "MESSAGE sip:a SIP/2.0", "SIP/2.0 abc", "sip/2.0 200 OK"]
        {
            assert_eq!(status_of(other.as_bytes()), None, "{other}");
        }
    }
}
