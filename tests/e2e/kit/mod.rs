//! What every end-to-end test needs: the daemon, and real SIP clients behind one trait.
//!
//! All waiting is for something that a program says, with a generous deadline; every program is ended by its own
//! process id when its driver is dropped.

mod asterisk;
mod baresip;
mod daemon;
mod database;
mod freeswitch;
mod imc;
mod kamailio;
mod linphone;
mod opensips;
mod process;
mod sipp;

pub use asterisk::Asterisk;
pub use baresip::Baresip;
pub use daemon::Daemon;
pub use database::{Database, databases_installed};
pub use freeswitch::FreeSwitch;
pub use imc::{Holds, Imc};
pub use kamailio::Kamailio;
pub use linphone::Linphone;
pub use opensips::OpenSips;
pub use sipp::Sipp;

use process::Process;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen. Only failures take that long.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The room of most tests.
pub const ROOM: &str = "team";

/// The address that takes what people say of themselves.
pub const MANAGER: &str = "chat-manager";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub fn param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// Who a phone belongs to.
#[derive(Clone, Debug)]
pub struct User {
    pub name: &'static str,
    pub password: Option<&'static str>,
    pub transport: Transport,
    /// It asks for outbound (RFC 5626), where the phone can.
    pub keeps_flows: bool,
    /// Whose presence it shows; if anybody's, it publishes its own.
    pub watches: &'static [&'static str],
    /// It has a lamp that says how many messages wait, where the phone can.
    pub has_lamp: bool,
}

impl User {
    pub fn new(name: &'static str, transport: Transport) -> User {
        User { name, password: None, transport, keeps_flows: false, watches: &[], has_lamp: false }
    }

    pub fn with_password(name: &'static str, password: &'static str, transport: Transport) -> User {
        User { password: Some(password), ..User::new(name, transport) }
    }

    pub fn keeping_flows(self) -> User {
        User { keeps_flows: true, ..self }
    }

    pub fn watching(self, watches: &'static [&'static str]) -> User {
        User { watches, ..self }
    }

    pub fn with_a_lamp(self) -> User {
        User { has_lamp: true, ..self }
    }
}

/// What phones register with.
pub trait Server {
    fn port(&self) -> u16;

    /// Whether rooms and people always come with this port in their addresses, as phones spell it. Behind a proxy
    /// that depends on who is first: its word to the daemon where the phone is, or the daemon's message for it.
    fn echoes_port(&self) -> bool;
}

/// A registered phone. Starting one returns when the daemon has accepted its REGISTER.
pub trait Phone {
    /// Sends `text` to the address of `to`, a bare name in the daemon's domain.
    fn send(&mut self, to: &str, text: &str);

    /// Waits until the phone has shown `text` from `from`, after what it was last seen to show: consecutive calls
    /// therefore check the order too.
    fn hears(&mut self, from: &str, text: &str);

    /// All that the phone has shown since it was switched on.
    fn shown(&self) -> String;

    /// Switches it off properly: it says goodbye to the daemon, if it knows how to.
    fn quit(&mut self);

    /// Pulls its plug.
    fn vanish(&mut self);

    /// Switches it on again, as the same device, and waits until it is registered.
    fn come_back(&mut self);
}

/// A post in the room, heard by all `others` as the room spells it.
pub fn post(author: &mut dyn Phone, name: &str, text: &str, others: &mut [&mut dyn Phone]) {
    author.send(ROOM, text);
    for other in others {
        other.hears(ROOM, &format!("[{name}]: {text}"));
    }
}

/// True if all `programs` are installed. Missing ones fail the test, unless `IMCD_SKIP_PEERS=1`.
pub fn installed(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|p| find_program(p).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let skip = std::env::var("IMCD_SKIP_PEERS").is_ok_and(|v| v == "1");
    assert!(skip, "not installed: {missing:?}; run tools/test-peers.sh, or set IMCD_SKIP_PEERS=1 to skip");
    eprintln!("skipped (IMCD_SKIP_PEERS=1): {missing:?} not installed");
    false
}

/// True if `program` is there. For what Debian has no package of: its absence is said, and fails nothing.
pub fn there(program: &str) -> bool {
    let found = find_program(program).is_some();
    if !found {
        eprintln!("skipped: no {program} is installed, and the distribution has none");
    }
    found
}

/// Where a program is: in the search path, or where `tools/test-peers.sh` puts what is not of the distribution.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("bin");
    std::env::split_paths(&path).chain([ours]).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Waits until a SIP server answers OPTIONS over UDP.
fn await_options(port: u16, process: Process) -> Process {
    await_answer(port, "OPTIONS", 200, process)
}

/// Waits until a SIP server answers `method` over UDP with `status`.
fn await_answer(port: u16, method: &str, status: u16, mut process: Process) -> Process {
    let ready = format!("SIP/2.0 {status}");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
    let from = socket.local_addr().expect("the socket is bound");
    let deadline = Instant::now() + PATIENCE;
    let mut answer = [0; 2048];
    let mut tries = 0;
    while Instant::now() < deadline && !process.has_ended() {
        tries += 1;
        let request = format!(
            "{method} sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-up{tries};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:harness@127.0.0.1>;tag=up\r\nTo: <sip:harness@127.0.0.1>\r\n\
             Call-ID: up{tries}@{from}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        // Refused until the server has bound its socket: that is what is waited for.
        let _ = socket.send_to(request.as_bytes(), ("127.0.0.1", port));
        match socket.recv(&mut answer) {
            Ok(length) if answer[..length].starts_with(ready.as_bytes()) => return process,
            _ => {}
        }
    }
    process.fail(&format!("does not answer {method} with {status}"))
}

/// A port of 127.0.0.1 that is free for UDP and TCP. Below the range from which the kernel takes the ports of
/// outgoing connections, and never given twice in one run.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const RANGE: u16 = 20_000;
    // Runs side by side on one machine begin at different places.
    let start = (std::process::id().wrapping_mul(97) % u32::from(RANGE)) as u16;
    for _ in 0..RANGE {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE;
        let address = ("127.0.0.1", port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1");
}
