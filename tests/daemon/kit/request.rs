//! A request as the test phone writes it: every part can be changed before it is sent.

use std::net::SocketAddr;

use super::phone::NoAnswer;
use super::{Msg, Over, token};

#[derive(Clone, Debug)]
pub struct Req {
    pub method: String,
    pub uri: String,
    /// What stands before the address in From, with its blank.
    pub name: String,
    pub from: String,
    pub from_tag: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    pub max_forwards: u32,
    pub branch: String,
    /// Header lines, without line ends.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Req {
    pub fn new(method: &str, uri: &str, from: &str) -> Req {
        Req {
            method: method.into(),
            uri: uri.into(),
            name: String::new(),
            from: from.into(),
            from_tag: token(),
            to: uri.into(),
            call_id: format!("{}@phone.invalid", token()),
            cseq: 1,
            max_forwards: 70,
            branch: format!("z9hG4bK{}", token()),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, line: &str) -> Req {
        self.headers.push(line.into());
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Req {
        self.body = body.as_ref().to_vec();
        self
    }

    /// In place of the Content-Type that is there.
    pub fn content_type(mut self, value: &str) -> Req {
        self.headers.retain(|h| !h.starts_with("Content-Type:"));
        self.header(&format!("Content-Type: {value}"))
    }

    pub fn hops(mut self, max_forwards: u32) -> Req {
        self.max_forwards = max_forwards;
        self
    }

    /// The same request after a challenge: CSeq one higher, new branch (RFC 3261 §22.2).
    pub fn again(mut self) -> Req {
        self.cseq += 1;
        self.branch = format!("z9hG4bK{}", token());
        self
    }

    pub fn bytes(&self, over: Over, local: SocketAddr, authorization: Option<&str>) -> Vec<u8> {
        let transport = if over == Over::Udp { "UDP" } else { "TCP" };
        let mut text = format!(
            "{} {} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};rport;branch={}\r\nMax-Forwards: {}\r\n\
             From: {}<{}>;tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
            self.method,
            self.uri,
            self.branch,
            self.max_forwards,
            self.name,
            self.from,
            self.from_tag,
            // Within a dialog it comes with its tag.
            if self.to.contains('>') { format!("<{}", self.to) } else { format!("<{}>", self.to) },
            self.call_id,
            self.cseq,
            self.method
        );
        for line in self.headers.iter().map(String::as_str).chain(authorization) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A request that was sent, as it was sent last, and how it ended.
pub struct Sent {
    pub request: Req,
    pub bytes: Vec<u8>,
    pub outcome: Result<Msg, NoAnswer>,
}
