//! A name server as far as the daemon's resolver sees it: answers from a zone that tests write, over UDP.
//!
//! Remembers what was asked. Knows nothing of other name servers and nothing of compression.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Record types.
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

#[derive(Default)]
struct State {
    zone: String,
    asked: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

pub struct Dns {
    shared: Arc<Shared>,
    pub addr: SocketAddr,
}

impl Dns {
    /// The zone: `name TTL TYPE value` lines. NAPTR: order preference flags service replacement; SRV: priority weight
    /// port target; A and AAAA: an address. `name TTL FAIL` is answered SERVFAIL, `name TTL JUNK` with what no name
    /// server says.
    pub fn new(zone: &str) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let addr = socket.local_addr().expect("an address");
        let state = Mutex::new(State { zone: zone.into(), asked: Vec::new() });
        let shared = Arc::new(Shared { state, stop: AtomicBool::new(false) });
        let reader = shared.clone();
        std::thread::spawn(move || reader.serve(&socket));
        Dns { shared, addr }
    }

    /// As `sip.nameservers`, in TOML.
    pub fn list(&self) -> String {
        format!("[\"{}\"]", self.addr)
    }

    /// The zone from now on.
    pub fn says(&self, zone: &str) {
        self.shared.lock().zone = zone.into();
    }

    /// What was asked since this was last asked: `TYPE name`, each once, in order.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.shared.lock().asked);
        let all = asked.clone();
        let mut at = 0;
        asked.retain(|question| {
            at += 1;
            !all[..at - 1].contains(question)
        });
        asked
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the reader, which then sees `stop`.
        drop(UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.addr)));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn serve(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Some(answer) = self.answer(&buffer[..n]) {
                // Who does not get an answer asks again.
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = read_name(query, 12)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        let shown = match kind {
            A => "A",
            AAAA => "AAAA",
            SRV => "SRV",
            NAPTR => "NAPTR",
            _ => "?",
        };
        let mut state = self.lock();
        state.asked.push(format!("{shown} {name}"));
        let rows: Vec<Vec<&str>> = state.zone.lines().map(|line| line.split_whitespace().collect()).collect();
        let of_name = rows.iter().filter(|row| row.len() > 2 && row[0].eq_ignore_ascii_case(&name));
        let of_name: Vec<_> = of_name.collect();
        let records: Vec<_> = of_name.iter().filter(|row| row[2] == shown).collect();
        if of_name.iter().any(|row| row[2] == "JUNK") {
            // Counts that are not there, and a name that points at itself.
            return Some(
                [&query[..2], &[0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0], &[0xc0, 12, 0xc0, 12][..]]
                    .concat(),
            );
        }
        let code = match (of_name.iter().any(|row| row[2] == "FAIL"), of_name.is_empty()) {
            (true, _) => 2,
            (false, true) => 3,
            (false, false) => 0,
        };
        let mut out = Vec::new();
        out.extend_from_slice(&query[..2]);
        // A response, recursion wished and available.
        out.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        out.extend_from_slice(&query[12..end + 4]);
        for row in records {
            out.extend_from_slice(&query[12..end]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&row[1].parse::<u32>().expect("a TTL").to_be_bytes());
            let data = data(shown, &row[3..]);
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(&data);
        }
        Some(out)
    }
}

fn data(kind: &str, fields: &[&str]) -> Vec<u8> {
    let number = |text: &str| text.parse::<u16>().expect("a number").to_be_bytes().to_vec();
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    match kind {
        "SRV" => [number(fields[0]), number(fields[1]), number(fields[2]), name(fields[3])].concat(),
        "NAPTR" => {
            let numbers = [number(fields[0]), number(fields[1])].concat();
            [numbers, text(fields[2]), text(fields[3]), text(""), name(fields[4])].concat()
        }
        _ => match fields[0].parse().expect("an address") {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        },
    }
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut out: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    out.push(0);
    out
}

/// The name at `at`, in lower case, and where it ends.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
        at += length;
    }
}
