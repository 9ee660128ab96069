//! Cuts a byte stream into SIP messages (RFC 3261 §18.3), without IO.
//!
//! Prevents that the body of one message is read as the next one: a length that is missing, unclear or too
//! large ends the stream. Holds at most one header section and one body beyond what was pushed last. Never
//! answers, never looks at more than line ends and Content-Length.

use bytes::{Bytes, BytesMut};

use super::lines::{Lines, content_length, split_row};
use super::message::{Limits, Name};

/// What a stream holds next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// One message, exactly.
    Message(Bytes),
    /// CRLFCRLF between messages: answer one CRLF (RFC 5626 §3.5.1).
    KeepAlive,
    /// The framing is lost: answer `status` if [`super::message::Message::salvage`] can read a request from
    /// `head`, and close. Nothing comes after it.
    Bad { head: Bytes, status: u16, reason: &'static str },
    /// A message whose body is above the limit. It is skipped, the stream goes on after it: answer `status`.
    Skipped { head: Bytes, status: u16, reason: &'static str },
}

/// A body that is longer than this is not waited for: the stream ends.
const SKIP_MAX: usize = 16 << 20;

/// See the module. One per connection.
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    /// Up to here there is no end of a header section.
    searched: usize,
    /// Length of the whole message at the front, once known.
    wanted: Option<usize>,
    /// A CRLF was taken that may be the first half of a keep-alive.
    half: bool,
    lost: bool,
    /// Bytes of a body that are still to be thrown away.
    skip: usize,
}

/// Why the message at the front is not taken.
struct No {
    status: u16,
    reason: &'static str,
    /// Length of header section and body, if the stream can go on behind them.
    length: Option<(usize, usize)>,
}

impl From<(u16, &'static str)> for No {
    fn from((status, reason): (u16, &'static str)) -> No {
        No { status, reason, length: None }
    }
}

impl Framer {
    pub fn new(limits: Limits) -> Framer {
        Framer {
            limits,
            buffer: BytesMut::new(),
            searched: 0,
            wanted: None,
            half: false,
            lost: false,
            skip: 0,
        }
    }

    /// More bytes of the stream. Take all frames out before pushing again.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.lost {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            self.buffer.extend_from_slice(&bytes[skipped..]);
        }
    }

    /// Whether a message has begun and not ended: for the time-out on slow senders.
    pub fn has_partial(&self) -> bool {
        !self.lost && (self.skip > 0 || !self.buffer.is_empty())
    }

    /// The next frame, `None` until more bytes come.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame> {
        if self.lost {
            return None;
        }
        if self.wanted.is_none() {
            while self.buffer.starts_with(b"\r\n") {
                let _ = self.buffer.split_to(2);
                self.searched = 0;
                self.half = !self.half;
                if !self.half {
                    return Some(Frame::KeepAlive);
                }
            }
            match self.measure() {
                Ok(length) => self.wanted = Some(length?),
                Err(No { status, reason, length: Some((head, body)) }) => {
                    return Some(self.skip_over(head, body, status, reason));
                }
                Err(No { status, reason, length: None }) => return Some(self.give_up(status, reason)),
            }
        }
        let length = self.wanted.filter(|length| *length <= self.buffer.len())?;
        self.wanted = None;
        self.searched = 0;
        self.half = false;
        Some(Frame::Message(self.buffer.split_to(length).freeze()))
    }

    /// Length of the message at the front, once its header section is complete.
    fn measure(&mut self) -> Result<Option<usize>, No> {
        match self.buffer.first() {
            None => return Ok(None),
            // No method and no SIP-Version starts so: another protocol.
            Some(c) if !c.is_ascii_graphic() && *c != b'\r' => return Err((400, "Not SIP").into()),
            Some(_) => {}
        }
        let from = self.searched.saturating_sub(3);
        let Some(hit) = memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") else {
            self.searched = self.buffer.len();
            return match self.buffer.len() > self.limits.block() {
                true => Err((513, "Header Section Too Large").into()),
                false => Ok(None),
            };
        };
        let head = from + hit + 4;
        if head > self.limits.block() {
            return Err((513, "Header Section Too Large").into());
        }
        let body = body_length(&self.buffer[..head], &self.limits)?;
        if body > self.limits.body {
            let length = (body <= SKIP_MAX).then_some((head, body));
            return Err(No { status: 413, reason: "Message Too Large", length });
        }
        if head + body > self.limits.message {
            return Err((513, "Message Too Large").into());
        }
        Ok(Some(head + body))
    }

    fn skip_over(&mut self, head: usize, body: usize, status: u16, reason: &'static str) -> Frame {
        let head = self.buffer.split_to(head).freeze();
        let here = body.min(self.buffer.len());
        let _ = self.buffer.split_to(here);
        self.skip = body - here;
        self.searched = 0;
        self.half = false;
        Frame::Skipped { head, status, reason }
    }

    fn give_up(&mut self, status: u16, reason: &'static str) -> Frame {
        self.lost = true;
        let end = self.buffer.len().min(self.limits.block());
        let head = self.buffer.split_to(end).freeze();
        self.buffer = BytesMut::new();
        Frame::Bad { head, status, reason }
    }
}

/// What Content-Length says, if it says one thing (RFC 3261 §20.14). Lines are seen as the scanner sees them;
/// one that another reader may see differently is refused, because behind it a second message could hide.
fn body_length(head: &[u8], limits: &Limits) -> Result<usize, (u16, &'static str)> {
    let mut lines = Lines { head, at: 0 };
    let mut length = None;
    let mut first = true;
    let mut rows = 0;
    while let Some(line) = lines.next() {
        if line.bare {
            return Err((400, "Bare CR or LF"));
        }
        if line.text.is_empty() {
            break;
        }
        if std::mem::take(&mut first) {
            continue;
        }
        let Ok((name, value, _)) = split_row(line.text) else {
            // The scanner refuses the message; its end is not in doubt.
            continue;
        };
        rows += 1;
        // The scanner keeps no more rows, so Content-Length could be among those that it drops.
        if rows > limits.rows() {
            return Err((513, "Too Many Headers"));
        }
        if Name::of(name) == Name::ContentLength {
            let this = content_length(value).map_err(|reason| (400, reason))?;
            if length.is_some_and(|l| l != this) {
                return Err((400, "Header Repeated with Another Value"));
            }
            length = Some(this);
        }
    }
    length.ok_or((400, "Content-Length Missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;

    fn options(rows: &str, body: &str) -> Vec<u8> {
        format!("OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{rows}\r\n{body}").into_bytes()
    }

    fn frames(bytes: &[u8], step: usize) -> Vec<Frame> {
        let mut framer = Framer::new(Limits::default());
        let mut out = Vec::new();
        for chunk in bytes.chunks(step) {
            framer.push(chunk);
            out.extend(std::iter::from_fn(|| framer.next()));
        }
        out
    }

    #[test]
    fn messages_come_out_the_same_however_the_bytes_arrive() {
        let one = options("Content-Length: 2\r\n", "\r\n");
        let two = options("l : \r\n 0\r\n", "");
        let mut stream = b"\r\n\r\n".to_vec();
        for part in [&one[..], b"\r\n", &two, &one, b"\r\n\r\n", b"\r\n\r\n"] {
            stream.extend_from_slice(part);
        }
        let message = |m: &[u8]| Frame::Message(Bytes::copy_from_slice(m));
        let expected = [
            Frame::KeepAlive,
            message(&one),
            message(&two),
            message(&one),
            Frame::KeepAlive,
            Frame::KeepAlive,
        ];
        for step in 1..stream.len() {
            assert_eq!(frames(&stream, step), expected, "{step}");
        }
    }

    #[test]
    fn a_length_in_doubt_ends_the_stream() {
        for rows in [
            "",
            "Content-Length: -1\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x10\r\n",
            "Content-Length: 1 2\r\n",
            "Content-Length: 4294967328\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length: 5\r\nl: 6\r\n",
            "Content-Length:\r\n",
            "X: a\nContent-Length: 5\r\nContent-Length: 5\r\n",
            "X: a\rContent-Length: 5\r\n",
        ] {
            let mut bytes = options(rows, "hello");
            bytes.extend_from_slice(&options("Content-Length: 0\r\n", ""));
            let got = frames(&bytes, bytes.len());
            assert!(matches!(&got[..], [Frame::Bad { status: 400, .. }]), "{rows:?} {got:?}");
        }
    }

    #[test]
    fn nothing_is_held_beyond_the_limits() {
        let big = options("Content-Length: 99999999\r\n", "x");
        let got = frames(&big, 7);
        let [Frame::Bad { head, status: 413, .. }] = &got[..] else { panic!("{got:?}") };
        assert!(Message::salvage(head, &Limits::default()).is_some());

        let mut long = options("", "")[..40].to_vec();
        long.resize(70_000, b'x');
        let got = frames(&long, 1000);
        let [Frame::Bad { head, status: 513, .. }] = &got[..] else { panic!("{got:?}") };
        assert!(head.len() <= Limits::default().header_block);

        assert!(matches!(frames(b"\x16\x03\x01", 3)[..], [Frame::Bad { status: 400, .. }]));
    }

    #[test]
    fn a_body_above_the_limit_is_skipped_and_the_stream_goes_on() {
        let mut bytes = options("Content-Length: 40000\r\n", &"x".repeat(40_000));
        bytes.extend_from_slice(&options("Content-Length: 0\r\n", ""));
        for step in [1, 7, 1000, bytes.len()] {
            let got = frames(&bytes, step);
            let [Frame::Skipped { head, status: 413, .. }, Frame::Message(_)] = &got[..] else {
                panic!("{got:?}")
            };
            assert!(Message::salvage(head, &Limits::default()).is_some());
        }
    }

    #[test]
    fn a_begun_message_is_known_as_such() {
        let mut framer = Framer::new(Limits::default());
        assert!(!framer.has_partial());
        framer.push(b"\r\n");
        assert_eq!(framer.next(), None);
        assert!(!framer.has_partial());
        framer.push(b"OPT");
        assert_eq!(framer.next(), None);
        assert!(framer.has_partial());
    }
}
