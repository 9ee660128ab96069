//! Deliveries per CPU second of the daemon, as a ratio to what the kernel alone allows on this machine.
//!
//! `cargo bench --bench fanout`. Rooms of 10, 100 and 1000 registered members on one UDP socket of ours; every post
//! is on disk before it is delivered. The floor is a bare `sendto` and `recvfrom` of messages of the same size in
//! the same run: absolute figures mean little on a shared machine, the ratio does. Loopback only, bounded in time.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(4);
/// Posts on their way at once.
const WINDOW: usize = 4;

fn main() {
    let floor = floor();
    println!("kernel floor: {floor:.0} round trips per CPU second");
    println!("{:>8} {:>12} {:>14} {:>8}", "members", "deliveries", "per CPU second", "floor");
    for members in [10, 100, 1000] {
        let (delivered, cpu) = run(members);
        let rate = delivered as f64 / cpu;
        println!("{members:>8} {delivered:>12} {rate:>14.0} {:>7.0}%", 100.0 * rate / floor);
    }
}

/// Sends 600 bytes and takes 350, in one thread: the least that a delivery can cost.
fn floor() -> f64 {
    let (a, b) = (socket(), socket());
    let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let mut buffer = [0; 1500];
    let (start, mut count, cpu) = (Instant::now(), 0u64, cpu_seconds("self"));
    while start.elapsed() < Duration::from_secs(1) {
        for _ in 0..100 {
            a.send_to(&buffer[..600], to_b).unwrap();
            b.recv(&mut buffer).unwrap();
            b.send_to(&buffer[..350], to_a).unwrap();
            a.recv(&mut buffer).unwrap();
            count += 1;
        }
    }
    // Two sends and two receipts were paid for; a delivery needs one of each.
    2.0 * count as f64 / (cpu_seconds("self") - cpu)
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// User and system time of a process and all its threads.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

struct Daemon {
    child: Child,
    _dir: tempfile::TempDir,
    address: String,
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let address = socket().local_addr().unwrap().to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_imcd"))
            .current_dir(dir.path())
            .env("IMCD_SIP__LISTEN", format!("udp:{address}"))
            .env("IMCD_LIMITS__POSTS_PER_S", "0")
            .env("IMCD_CONTROL__HTTP", "")
            .env("IMCD_LOG__LEVEL", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Daemon { child, _dir: dir, address }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All phones of the run, on one socket.
struct Phones {
    socket: UdpSocket,
    server: String,
    count: u64,
    buffer: Vec<u8>,
    /// Deliveries of each post so far.
    heard: HashMap<u64, usize>,
    delivered: u64,
}

enum Heard {
    Answer(u64, u16),
    Other,
}

impl Phones {
    fn request(&mut self, method: &str, user: usize, uri: &str, extra: &str, body: &str) -> u64 {
        self.count += 1;
        let (n, me) = (self.count, self.socket.local_addr().unwrap());
        let to = if method == "REGISTER" { format!("sip:m{user}@127.0.0.1") } else { uri.to_owned() };
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{n};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:m{user}@127.0.0.1>;tag={n}\r\nTo: <{to}>\r\nCall-ID: {n}@bench\r\nCSeq: {n} {method}\r\n\
             {extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.send_to(request.as_bytes(), &self.server).unwrap();
        n
    }

    /// Takes one datagram: answers a MESSAGE, counts a delivery.
    fn hear(&mut self) -> Heard {
        let (size, from) = self.socket.recv_from(&mut self.buffer).expect("the daemon is silent");
        let text = std::str::from_utf8(&self.buffer[..size]).unwrap();
        if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
            let cseq = text.split("\r\nCSeq: ").nth(1).unwrap();
            let n = cseq.split(' ').next().unwrap().parse().unwrap();
            return Heard::Answer(n, rest[..3].parse().unwrap());
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut answer = String::from("SIP/2.0 200 OK\r\n");
        for line in head.split("\r\n").skip(1) {
            let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            if copied.iter().any(|name| line.starts_with(name)) {
                answer.push_str(line);
                answer.push_str("\r\n");
            }
        }
        answer.push_str("Content-Length: 0\r\n\r\n");
        let post = body.split_once("post ").and_then(|(_, n)| n.split(' ').next()?.parse().ok());
        self.socket.send_to(answer.as_bytes(), from).unwrap();
        if let Some(post) = post {
            *self.heard.entry(post).or_default() += 1;
            self.delivered += 1;
        }
        Heard::Other
    }

    fn expect(&mut self, wanted: u64) {
        loop {
            if let Heard::Answer(n, status) = self.hear()
                && n == wanted
            {
                assert!((200..300).contains(&status), "answered {status}");
                return;
            }
        }
    }
}

fn run(members: usize) -> (u64, f64) {
    let daemon = Daemon::start();
    let socket = socket();
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
    let server = daemon.address.clone();
    let buffer = vec![0; 65536];
    let mut phones = Phones { socket, server, count: 0, buffer, heard: HashMap::new(), delivered: 0 };
    wait_until_up(&mut phones);
    let contact = phones.socket.local_addr().unwrap();
    for user in 0..members {
        let extra = format!("Contact: <sip:m{user}@{contact}>\r\nExpires: 3600\r\n");
        let n = phones.request("REGISTER", user, "sip:127.0.0.1", &extra, "");
        phones.expect(n);
        let n = phones.request("MESSAGE", user, "sip:team@127.0.0.1", "", "#join");
        phones.expect(n);
    }
    let pid = daemon.child.id().to_string();
    let (start, cpu) = (Instant::now(), cpu_seconds(&pid));
    phones.delivered = 0;
    let (mut sent, mut done) = (0, 0);
    while start.elapsed() < TIME || done < sent {
        while start.elapsed() < TIME && sent - done < WINDOW as u64 {
            let body = format!("post {sent} {}", "x".repeat(100));
            phones.request("MESSAGE", 0, "sip:team@127.0.0.1", "Content-Type: text/plain\r\n", &body);
            sent += 1;
        }
        phones.hear();
        while phones.heard.get(&done) == Some(&(members - 1)) {
            phones.heard.remove(&done);
            done += 1;
        }
    }
    (phones.delivered, cpu_seconds(&pid) - cpu)
}

fn wait_until_up(phones: &mut Phones) {
    phones.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut tries = 0;
    loop {
        phones.request("OPTIONS", 0, "sip:127.0.0.1", "", "");
        let mut buffer = [0; 2000];
        if phones.socket.recv(&mut buffer).is_ok() {
            break;
        }
        tries += 1;
        assert!(tries < 100, "the daemon does not come up");
    }
    phones.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
}
