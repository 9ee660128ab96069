//! A bot that sits in a room and answers: `!time` tells the time, `!echo TEXT` says TEXT, `!help` lists them.
//!
//! `cargo run --example room_bot -- ROOM [ADDRESS]`, for instance `-- team 127.0.0.1:5060`. Ctrl-C ends it.
//!
//! It is plain SIP over UDP with the standard library alone, like `two_phones`, which explains the messages. What a
//! lasting program needs beyond that: it registers again before the registration ends, it does not answer a
//! repeated request twice, it outlives a restart of the daemon, it never answers itself or the room's own notices,
//! and it says ten things in ten seconds at most, so that two bots cannot drown a room.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NAME: &str = "bot";

/// How long a registration lasts; it is renewed at half of that.
const EXPIRES: Duration = Duration::from_secs(120);

/// At most so many answers in such a time; what is asked beyond that is not answered.
const ANSWERS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// A longer text is not echoed.
const LONGEST: usize = 500;

/// So many Call-IDs are remembered against repeated requests.
const REMEMBERED: usize = 64;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let room = arguments.next();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5060".to_string());
    let (Some(room), Ok(server)) = (room, address.parse()) else {
        eprintln!("usage: room_bot ROOM [ADDRESS], for instance: room_bot team 127.0.0.1:5060");
        return ExitCode::from(2);
    };
    match Bot::run(room, server) {
        Ok(never) => match never {},
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            eprintln!("room_bot: nobody listens at {server}. Start the daemon first: cargo run --release");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("room_bot: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the bot says to a line in the room, if anything.
fn reply(text: &str) -> Option<String> {
    // "[alice]: !time"; a notice ("*** …") has no author and gets no reply.
    let (author, said) = text.strip_prefix('[')?.split_once("]: ")?;
    if author.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let (word, rest) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
    match word {
        "!time" => Some(format!("{author}: it is {} UTC", time_of_day())),
        // The author stands before it, so that an echo can be neither a command nor a question to another bot.
        "!echo" if said.len() <= LONGEST => Some(format!("{author} says: {rest}")),
        "!echo" => Some(format!("{author}: that is too long for me")),
        "!help" => Some("I know !time, !echo TEXT and !help".to_string()),
        _ => None,
    }
}

/// A phone that nobody holds.
pub struct Bot {
    room: String,
    server: SocketAddr,
    socket: UdpSocket,
    own_address: SocketAddr,
    requests: u32,
    registered_at: Instant,
    window_from: Instant,
    answers: u32,
    /// True once the daemon was heard: from then on its absence is taken for a restart.
    met: bool,
    answered: VecDeque<String>,
}

/// Has no value: the bot ends by Ctrl-C or by an error.
pub enum Never {}

impl Bot {
    /// Joins the room and answers there until an error ends it.
    pub fn run(room: String, server: SocketAddr) -> io::Result<Never> {
        let any = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(EXPIRES / 10))?;
        let own_address = socket.local_addr()?;
        let mut bot = Bot {
            room,
            server,
            socket,
            own_address,
            requests: 0,
            registered_at: Instant::now(),
            window_from: Instant::now(),
            answers: 0,
            met: false,
            answered: VecDeque::new(),
        };
        bot.register()?;
        bot.say("#join")?;
        println!("{NAME} is in the room {} at {server}; Ctrl-C ends it", bot.room);
        loop {
            if bot.registered_at.elapsed() > EXPIRES / 2 {
                bot.register()?;
            }
            bot.take_one()?;
        }
    }

    fn register(&mut self) -> io::Result<()> {
        self.registered_at = Instant::now();
        let contact =
            format!("Contact: <sip:{NAME}@{}>\r\nExpires: {}\r\n", self.own_address, EXPIRES.as_secs());
        let registrar = format!("sip:{}", self.server);
        self.request("REGISTER", &registrar, NAME, &contact, "")
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let uri = format!("sip:{}@{}", self.room, self.server);
        let room = self.room.clone();
        self.request("MESSAGE", &uri, &room, "Content-Type: text/plain;charset=UTF-8\r\n", text)
    }

    /// Sends a request. Its answer is looked at when it comes, in `take_one`.
    fn request(&mut self, method: &str, uri: &str, to: &str, headers: &str, body: &str) -> io::Result<()> {
        self.requests += 1;
        let (server, own, number) = (self.server, self.own_address, self.requests);
        let id = format!("{}-{}-{number}", own.port(), since_1970().as_nanos());
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{NAME}@{server}>;tag={id}\r\nTo: <sip:{to}@{server}>\r\nCall-ID: {id}\r\n\
             CSeq: {number} {method}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.send(request.as_bytes()).map(|_| ()).or_else(|error| self.forgive(error))
    }

    /// A daemon that restarts knows its members and registrations again, so the bot only has to be patient.
    fn forgive(&self, error: io::Error) -> io::Result<()> {
        if self.met && error.kind() == io::ErrorKind::ConnectionRefused { Ok(()) } else { Err(error) }
    }

    /// Takes one datagram, if one comes in time.
    fn take_one(&mut self) -> io::Result<()> {
        let mut datagram = [0; 65_535];
        let length = match self.socket.recv(&mut datagram) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(());
            }
            Err(error) => return self.forgive(error),
        };
        self.met = true;
        let message = String::from_utf8_lossy(&datagram[..length]);
        if let Some(status) = message.strip_prefix("SIP/2.0 ") {
            let status = status.lines().next().unwrap_or_default();
            if !status.starts_with(['1', '2']) {
                eprintln!("room_bot: the daemon answered {status}");
            }
            return Ok(());
        }
        if !message.starts_with("MESSAGE ") {
            return Ok(());
        }
        self.answer(&message)?;
        let (head, body) = message.split_once("\r\n\r\n").unwrap_or((&message, ""));
        let call_id = head.lines().find(|line| line.starts_with("Call-ID:")).unwrap_or_default();
        if self.answered.iter().any(|known| known == call_id) {
            return Ok(());
        }
        self.answered.truncate(REMEMBERED - 1);
        self.answered.push_front(call_id.to_string());
        println!("{body}");
        match reply(body) {
            Some(text) if self.may_speak() => self.say(&text),
            _ => Ok(()),
        }
    }

    fn may_speak(&mut self) -> bool {
        if self.window_from.elapsed() > WINDOW {
            self.window_from = Instant::now();
            self.answers = 0;
        }
        self.answers += 1;
        self.answers <= ANSWERS
    }

    /// 200 OK: the headers that name the transaction go back as they came.
    fn answer(&self, request: &str) -> io::Result<()> {
        let mut answer = String::from("SIP/2.0 200 OK\r\n");
        for line in request.lines().take_while(|line| !line.is_empty()) {
            match line.split(':').next().unwrap_or_default().trim() {
                "To" if !line.contains(";tag=") => answer += &format!("{line};tag={NAME}\r\n"),
                "Via" | "From" | "To" | "Call-ID" | "CSeq" => answer += &format!("{line}\r\n"),
                _ => {}
            }
        }
        answer += "Content-Length: 0\r\n\r\n";
        self.socket.send(answer.as_bytes()).map(|_| ()).or_else(|error| self.forgive(error))
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn time_of_day() -> String {
    let seconds = since_1970().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
