//! Two scripted phones hold a short conversation in a room and print it.
//!
//! In one terminal `cargo run --release`, in another `cargo run --example two_phones`. Another daemon's address can
//! be given: `cargo run --example two_phones -- 127.0.0.1:5070`.
//!
//! Everything a phone needs for group chat is in this file: REGISTER says where it is, MESSAGE carries what is said,
//! and each MESSAGE that comes in is answered with 200. It is plain SIP over UDP (RFC 3261, RFC 3428) and uses
//! nothing but the standard library. A real phone would also repeat a lost request and answer a password
//! challenge; on the loopback address of an open daemon neither is needed.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long to wait for an answer or a message before giving up.
const PATIENCE: Duration = Duration::from_secs(5);

/// No SIP message in a datagram is longer.
const DATAGRAM: usize = 65_535;

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5060".to_string());
    let Ok(server) = address.parse() else {
        eprintln!("{address} is not an address such as 127.0.0.1:5060");
        return ExitCode::from(2);
    };
    match conversation(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("two_phones: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The whole play. Every line that is printed has really been sent or received.
pub fn conversation(server: SocketAddr) -> io::Result<()> {
    // A new room each time, so that the example can be run again and again.
    let room = format!("lunch-{}", since_1970().as_secs() % 1_000_000);

    println!("== alice and bob switch on their phones and register at {server}");
    let mut alice = Phone::switch_on("alice", server)?;
    let mut bob = Phone::switch_on("bob", server)?;

    println!("== alice creates a room, bob joins it");
    alice.send(&room, "#create")?;
    alice.hears("*** Room was created")?;
    bob.send(&room, "#join")?;
    alice.hears("*** [bob] has joined the room")?;
    bob.hears("*** [bob] has joined the room")?;

    println!("== they talk; the room tells each what the other says");
    alice.send(&room, "Hello bob! Lunch at noon?")?;
    bob.hears("[alice]: Hello bob! Lunch at noon?")?;
    bob.send(&room, "Gladly. The place with the soup?")?;
    alice.hears("[bob]: Gladly. The place with the soup?")?;

    println!("== a word in private goes to the person, not to the room");
    alice.send("bob", "Bring an umbrella.")?;
    bob.hears("Bring an umbrella.")?;

    println!("== bob unregisters; what is said meanwhile waits for him");
    bob.register(0)?;
    alice.send(&room, "I am on my way.")?;
    println!("== bob registers again");
    bob.register(60)?;
    bob.hears("[alice]: I am on my way.")?;

    println!("== alice destroys the room, both switch off");
    alice.send(&room, "#destroy")?;
    alice.hears("*** Room has been destroyed")?;
    bob.hears("*** Room has been destroyed")?;
    alice.register(0)?;
    bob.register(0)?;
    Ok(())
}

/// A phone is a socket, a name, and a thread that takes what comes in.
struct Phone {
    name: &'static str,
    server: SocketAddr,
    socket: UdpSocket,
    own_address: SocketAddr,
    requests: u32,
    /// Answers to our requests.
    answers: Receiver<io::Result<String>>,
    /// What others said.
    inbox: Receiver<Heard>,
}

struct Heard {
    from: String,
    text: String,
}

impl Phone {
    fn switch_on(name: &'static str, server: SocketAddr) -> io::Result<Phone> {
        let socket = UdpSocket::bind(if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" })?;
        // A connected UDP socket knows its own address, and learns at once when nobody listens.
        socket.connect(server)?;
        let own_address = socket.local_addr()?;
        let (to_answers, answers) = mpsc::channel();
        let (to_inbox, inbox) = mpsc::channel();
        let ear = socket.try_clone()?;
        // It ends with the program.
        thread::spawn(move || listen(&ear, &to_answers, &to_inbox));
        let mut phone = Phone { name, server, socket, own_address, requests: 0, answers, inbox };
        phone.register(60)?;
        Ok(phone)
    }

    /// Tells the daemon where this phone is for the next `seconds`; 0 means that it goes away.
    fn register(&mut self, seconds: u32) -> io::Result<()> {
        let contact = format!("Contact: <sip:{}@{}>\r\nExpires: {seconds}\r\n", self.name, self.own_address);
        let registrar = format!("sip:{}", self.server);
        self.request("REGISTER", &registrar, self.name, &contact, "")
    }

    /// Says `text` to a person or a room; both are just addresses.
    fn send(&mut self, to: &str, text: &str) -> io::Result<()> {
        println!("{:>7} > {to}: {text}", self.name);
        let uri = format!("sip:{to}@{}", self.server);
        self.request("MESSAGE", &uri, to, "Content-Type: text/plain;charset=UTF-8\r\n", text)
    }

    /// Waits until this text has come in. What else came in meanwhile is shown too.
    fn hears(&mut self, text: &str) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(heard) = self.inbox.recv_timeout(left) else {
                return Err(io::Error::other(format!("{} waits for {text:?}, in vain", self.name)));
            };
            println!("{:>7} < {}: {}", self.name, heard.from, heard.text);
            if heard.text == text {
                return Ok(());
            }
        }
    }

    /// Sends one request and waits for its final answer.
    fn request(&mut self, method: &str, uri: &str, to: &str, headers: &str, body: &str) -> io::Result<()> {
        self.requests += 1;
        let (name, server, own) = (self.name, self.server, self.own_address);
        // Unique for this request; the answer brings it back.
        let id = format!("{}-{}-{}", own.port(), since_1970().as_nanos(), self.requests);
        let request = format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bK{id};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{name}@{server}>;tag={id}\r\n\
             To: <sip:{to}@{server}>\r\n\
             Call-ID: {id}\r\n\
             CSeq: {number} {method}\r\n\
             {headers}\
             Content-Length: {length}\r\n\
             \r\n\
             {body}",
            number = self.requests,
            length = body.len(),
        );
        self.socket.send(request.as_bytes()).map_err(|error| self.explain(error))?;

        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(answer) = self.answers.recv_timeout(left) else {
                return Err(io::Error::other(format!("{name}'s {method} to {uri} was not answered")));
            };
            let answer = answer.map_err(|error| self.explain(error))?;
            let status =
                answer.strip_prefix("SIP/2.0 ").and_then(|rest| rest.lines().next()).unwrap_or_default();
            if header(&answer, "Call-ID") != Some(&id) || status.starts_with('1') {
                continue;
            }
            if status.starts_with('2') {
                return Ok(());
            }
            let hint = if status.starts_with("401") { "; this example knows no password" } else { "" };
            return Err(io::Error::other(format!("{name}'s {method} to {uri} was answered: {status}{hint}")));
        }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return io::Error::other(format!(
                "nobody listens at {}. Start the daemon first: cargo run --release",
                self.server
            ));
        }
        error
    }
}

/// Takes what comes in: answers to our requests, and MESSAGEs, which are answered at once.
fn listen(socket: &UdpSocket, answers: &Sender<io::Result<String>>, inbox: &Sender<Heard>) {
    let mut datagram = [0; DATAGRAM];
    loop {
        let message = match socket.recv(&mut datagram) {
            Ok(length) => String::from_utf8_lossy(&datagram[..length]).into_owned(),
            Err(error) => {
                // Sending fails when the phone is gone.
                if answers.send(Err(error)).is_err() {
                    return;
                }
                continue;
            }
        };
        if message.starts_with("SIP/2.0 ") {
            let _ = answers.send(Ok(message));
        } else if message.starts_with("MESSAGE ") {
            let _ = socket.send(ok(&message).as_bytes());
            let from = header(&message, "From").map(user_of).unwrap_or_default();
            let text = message.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            let _ = inbox.send(Heard { from, text: text.to_string() });
        }
    }
}

/// The answer "200 OK": the headers that name the transaction go back as they came.
fn ok(request: &str) -> String {
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        match line.split(':').next().unwrap_or_default().trim() {
            "To" if !line.contains(";tag=") => answer += &format!("{line};tag=phone\r\n"),
            "Via" | "From" | "To" | "Call-ID" | "CSeq" => answer += &format!("{line}\r\n"),
            _ => {}
        }
    }
    answer + "Content-Length: 0\r\n\r\n"
}

/// The value of the first header of that name.
fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `"lunch" <sip:lunch@127.0.0.1>;tag=1` is from `lunch`.
fn user_of(address: &str) -> String {
    let uri = address.split_once("sip:").map(|(_, rest)| rest).unwrap_or(address);
    uri.split(['@', '>', ';']).next().unwrap_or_default().to_string()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
