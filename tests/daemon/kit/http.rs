//! As much HTTP as a caller of the management door needs: bytes out, an answer in. Written from RFC 9112.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{PATIENCE, Setup};

/// An answer.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Page {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection to the door.
pub struct Caller {
    pub stream: TcpStream,
    waiting: Vec<u8>,
}

impl Caller {
    pub fn new(to: SocketAddr) -> Caller {
        let stream = TcpStream::connect(to).expect("the HTTP door is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("write timeout");
        Caller { stream, waiting: Vec::new() }
    }

    /// Whether it could be sent; a door that has closed takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next answer; `None`: the door closed the connection without one.
    pub fn page(&mut self) -> Option<Page> {
        self.answer(true)
    }

    /// The same; the answer to a HEAD tells a length and has no body (RFC 9110 §9.3.2).
    fn answer(&mut self, has_body: bool) -> Option<Page> {
        let end = loop {
            if let Some(at) = self.waiting.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.waiting.drain(..end).collect()).expect("a head is text");
        let mut lines = head.split("\r\n");
        let start = lines.next().expect("a start line");
        let status = start.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let has_body = has_body && ![204, 304].contains(&status);
        let length = headers.iter().find(|(name, _)| has_body && name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        while self.waiting.len() < length {
            self.more()?;
        }
        let body = self.waiting.drain(..length).collect();
        Some(Page { status, headers, body })
    }

    /// Waits until the door has closed the connection.
    pub fn closed(&mut self) {
        while self.more().is_some() {}
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => None,
            Ok(n) => {
                self.waiting.extend_from_slice(&chunk[..n]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the HTTP door neither answered nor closed within {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }

    /// Sends a request and takes the answer. `headers`: whole lines.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Page {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
            request.push_str("Host: 127.0.0.1\r\n");
        }
        for line in headers {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !body.is_empty() || ["POST", "PUT"].contains(&method) {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        assert!(self.send(request.as_bytes()) && self.send(body), "{method} {path} could not be sent");
        self.answer(method != "HEAD").unwrap_or_else(|| panic!("no answer to {method} {path} {headers:?}"))
    }
}

/// One request on a connection of its own.
pub fn ask(to: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Page {
    Caller::new(to).ask(method, path, headers, body)
}

impl Setup {
    /// Opens the HTTP door, at the daemon's own address.
    pub fn http(self) -> (Setup, SocketAddr) {
        let free = TcpListener::bind((self.addr().ip(), 0)).expect("a free port");
        let door = free.local_addr().expect("an address");
        (self.set("control.http", &format!("\"{door}\"")), door)
    }
}
