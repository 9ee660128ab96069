//! What the benches share: the daemon, what a process costs, a room whose members listen on one socket.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Posts on their way at once.
const WINDOW: u64 = 4;
/// What has no answer is sent again after this long, so often.
const AGAIN: Duration = Duration::from_millis(500);
const TRIES: u32 = 20;

/// A socket on loopback whose reads end some time.
pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// User and system time of a process, all its threads and its children, in seconds.
pub fn cpu_seconds(pid: &str) -> f64 {
    tree(pid).iter().map(|pid| own_seconds(pid)).sum()
}

fn own_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Bytes of memory that a process and its children hold, each page once, without what is only mapped from files.
pub fn memory(pid: &str) -> f64 {
    let rollups = tree(pid).into_iter().map(|pid| format!("/proc/{pid}/smaps_rollup"));
    let kib = |path: String| -> f64 {
        let text = std::fs::read_to_string(path).unwrap();
        let lines =
            text.lines().filter(|line| line.starts_with("Pss_Anon:") || line.starts_with("Pss_Shmem:"));
        lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()).sum()
    };
    rollups.map(kib).sum::<f64>() * 1024.0
}

fn tree(pid: &str) -> Vec<String> {
    let mut all = vec![pid.to_owned()];
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    all.extend(children.split_whitespace().flat_map(tree));
    all
}

pub struct Daemon {
    child: Child,
    _dir: tempfile::TempDir,
    pub address: String,
}

impl Daemon {
    /// With shipped settings but for these; `IMCD` in the environment names another build of it.
    pub fn start(settings: &[(&str, &str)]) -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let address = socket().local_addr().unwrap().to_string();
        let program = std::env::var("IMCD").unwrap_or_else(|_| env!("CARGO_BIN_EXE_imcd").into());
        let child = Command::new(program)
            .current_dir(dir.path())
            .env("IMCD_SIP__LISTEN", format!("udp:{address}"))
            .env("IMCD_LIMITS__POSTS_PER_S", "0")
            .env("IMCD_CONTROL__HTTP", "")
            .env("IMCD_LOG__LEVEL", "warn")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Daemon::of(child, dir, address)
    }

    /// Another server, and the directory that goes with it.
    pub fn of(child: Child, dir: tempfile::TempDir, address: String) -> Daemon {
        let daemon = Daemon { child, _dir: dir, address };
        daemon.wait_until_up();
        daemon
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn wait_until_up(&self) {
        let socket = socket();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        for n in 0..100 {
            let request = request("OPTIONS", n, "probe", "sip:127.0.0.1", "sip:127.0.0.1", &socket, "", "");
            let sent = socket.send_to(request.as_bytes(), &self.address);
            if sent.is_ok() && socket.recv(&mut [0; 2000]).is_ok() {
                return;
            }
        }
        panic!("the server does not come up");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let processes = tree(&self.pid());
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A server of many processes leaves some behind that nobody tells to end.
        for pid in processes.iter().skip(1).filter_map(|pid| pid.parse().ok()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
    }
}

/// A request of `user` from the socket: `n` is its CSeq, branch, tag and Call-ID.
#[allow(clippy::too_many_arguments)]
pub fn request(
    method: &str,
    n: u64,
    user: &str,
    uri: &str,
    to: &str,
    socket: &UdpSocket,
    extra: &str,
    body: &str,
) -> String {
    let me = socket.local_addr().unwrap();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{n};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@127.0.0.1>;tag={n}\r\nTo: <{to}>\r\nCall-ID: {n}@bench\r\nCSeq: {n} {method}\r\n\
         {extra}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Appends the 200 to a request with this head.
pub fn answer(head: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
    for line in head.split("\r\n").skip(1) {
        let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// A room, with all its members on one socket.
pub struct Room {
    socket: UdpSocket,
    server: String,
    members: usize,
    count: u64,
    posts: u64,
    buffer: Vec<u8>,
    /// Requests that are not answered: CSeq and bytes.
    open: Vec<(u64, String)>,
    /// Deliveries of each post so far.
    heard: HashMap<u64, usize>,
    delivered: u64,
}

enum Heard {
    Answer(u64, u16),
    Other,
}

impl Room {
    pub fn new(server: &str, members: usize) -> Room {
        let socket = socket();
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
        let contact = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(AGAIN)).unwrap();
        let (buffer, heard, server) = (vec![0; 65536], HashMap::new(), server.to_owned());
        let mut room = Room {
            socket,
            server,
            members,
            count: 0,
            posts: 0,
            buffer,
            open: Vec::new(),
            heard,
            delivered: 0,
        };
        for user in 0..members {
            let extra = format!("Contact: <sip:m{user}@{contact}>\r\nExpires: 3600\r\n");
            let n = room.request("REGISTER", user, "sip:127.0.0.1", &extra, "");
            room.expect(n);
            let n = room.request("MESSAGE", user, "sip:team@127.0.0.1", "", "#join");
            room.expect(n);
        }
        room
    }

    fn request(&mut self, method: &str, user: usize, uri: &str, extra: &str, body: &str) -> u64 {
        self.count += 1;
        let me = format!("m{user}");
        let to = if method == "REGISTER" { format!("sip:{me}@127.0.0.1") } else { uri.to_owned() };
        let request = request(method, self.count, &me, uri, &to, &self.socket, extra, body);
        self.socket.send_to(request.as_bytes(), &self.server).unwrap();
        self.open.push((self.count, request));
        self.count
    }

    /// The next datagram. In a silence, what has no answer is sent again: a storm may have flooded it.
    fn receive(&mut self) -> (usize, SocketAddr) {
        for _ in 0..TRIES {
            if let Ok(received) = self.socket.recv_from(&mut self.buffer) {
                return received;
            }
            for (_, request) in &self.open {
                self.socket.send_to(request.as_bytes(), &self.server).unwrap();
            }
        }
        panic!("the daemon is silent");
    }

    /// Takes one datagram: answers a MESSAGE, counts a delivery.
    fn hear(&mut self) -> Heard {
        let (size, from) = self.receive();
        let text = std::str::from_utf8(&self.buffer[..size]).unwrap();
        if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
            let cseq = text.split("\r\nCSeq: ").nth(1).unwrap();
            let n = cseq.split(' ').next().unwrap().parse().unwrap();
            self.open.retain(|(open, _)| *open != n);
            return Heard::Answer(n, rest[..3].parse().unwrap());
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut out = Vec::new();
        answer(head, &mut out);
        let post = body.split_once("post ").and_then(|(_, n)| n.split(' ').next()?.parse().ok());
        self.socket.send_to(&out, from).unwrap();
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

    /// Posts for so long, a few at once; how many posts and deliveries there were. Ends when all is delivered.
    pub fn post(&mut self, time: Duration) -> (u64, u64) {
        let (start, first) = (Instant::now(), self.posts);
        let mut done = first;
        self.delivered = 0;
        while start.elapsed() < time || done < self.posts {
            while start.elapsed() < time && self.posts - done < WINDOW {
                let body = format!("post {} {}", self.posts, "x".repeat(100));
                self.request("MESSAGE", 0, "sip:team@127.0.0.1", "Content-Type: text/plain\r\n", &body);
                self.posts += 1;
            }
            self.hear();
            // More than there are, if one came again because its answer was lost.
            while self.heard.get(&done).is_some_and(|heard| *heard >= self.members - 1) {
                self.heard.remove(&done);
                done += 1;
            }
        }
        (self.posts - first, self.delivered)
    }
}
