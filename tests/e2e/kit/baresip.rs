//! Drives `baresip` 1.0 over its control port: JSON in netstrings.
//!
//! Its `message` command writes to the *current* contact only, so the phone book names everybody that a test
//! writes to, and the driver steps through it. What arrives is shown by the `stdio` module alone, on standard error;
//! it needs standard input to be a pipe (with /dev/null it spins). Its addresses carry the port, as people type them.

use super::process::{Process, Speaks, write};
use super::{MANAGER, PATIENCE, Phone, ROOM, Server, User, free_port};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whom a baresip may write to: the phone book.
const CONTACTS: &[&str] = &[ROOM, MANAGER, "alice", "bob", "carol"];

pub struct Baresip {
    user: User,
    server_port: u16,
    echoed_port: bool,
    dir: TempDir,
    running: Option<Running>,
}

struct Running {
    process: Process,
    control: BufReader<TcpStream>,
    commands: u64,
    /// What it was last told of waiting messages.
    lamp: String,
    /// Held open: at its end the stdio module spins.
    _stdin: ChildStdin,
}

impl Baresip {
    pub fn start(server: &impl Server, user: User) -> Baresip {
        let dir = TempDir::new().expect("a directory for baresip");
        let mut phone = Baresip {
            user,
            server_port: server.port(),
            echoed_port: server.echoes_port(),
            dir,
            running: None,
        };
        phone.come_back();
        phone
    }

    fn address(&self, name: &str) -> String {
        format!("sip:{name}@127.0.0.1:{}", self.server_port)
    }

    fn configure(&self, control_port: u16) {
        let user = &self.user;
        // The kernel chooses the SIP port: of a given one baresip would take the next as well, for TLS.
        // uuid comes first: account reads the instance id that it keeps.
        let mut config = format!(
            "sip_listen 127.0.0.1:0\nmodule_path {}\nmodule stdio.so\nmodule uuid.so\n\
             module_app account.so\nmodule_app contact.so\nmodule_app menu.so\nmodule ctrl_tcp.so\n\
             ctrl_tcp_listen 127.0.0.1:{control_port}\n",
            module_path(),
        );
        let watches = !user.watches.is_empty();
        if watches {
            config.push_str("module_app presence.so\n");
        }
        if user.has_lamp {
            config.push_str("module_app mwi.so\n");
        }
        let password = user.password.map(|pw| format!("auth_pass={pw};")).unwrap_or_default();
        let flows = if user.keeps_flows { "sipnat=outbound;" } else { "" };
        let publishes = if watches { "pubint=300;" } else { "" };
        let lamp = if user.has_lamp { "mwi=yes;" } else { "mwi=no;" };
        let account = format!(
            "<{}>;{password}{flows}{publishes}{lamp}outbound=\"sip:127.0.0.1:{};transport={}\";regint=600\n",
            self.address(user.name),
            self.server_port,
            user.transport.param()
        );
        let contact = |name: &&str| {
            let presence = if user.watches.contains(name) { ";presence=p2p" } else { "" };
            format!("\"{name}\" <{}>{presence}\n", self.address(name))
        };
        let contacts: String = CONTACTS.iter().map(contact).collect();
        write(&self.dir, "config", &config);
        write(&self.dir, "accounts", &account);
        write(&self.dir, "contacts", &contacts);
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("baresip is switched on")
    }

    /// Waits until its lamp says that `new` texts are on no phone of his, and `old` ones are.
    pub fn counts(&mut self, new: u64, old: u64) {
        let words = format!("Text-Message: {new}/{old} ");
        let running = self.running();
        while !running.lamp.contains(&words) {
            match read_netstring(&mut running.control) {
                Ok(event) => running.note(&event),
                Err(error) => running.process.fail(&format!("does not count {new}/{old}: {error}")),
            }
        }
    }

    /// Waits until the phone book shows `name` with `status`: it says aloud only what changes, not the first it hears.
    pub fn finds(&mut self, name: &str, status: &str) {
        let wanted = format!("{}>", self.address(name));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let book = self.running().command("contacts", "");
            if book.lines().any(|line| line.contains(&wanted) && line.contains(status)) {
                return;
            }
            if Instant::now() > deadline {
                self.running().process.fail(&format!("does not find {name} {status}:\n{book}"));
            }
            // The book is asked again after what it says aloud, or soon: it never says this.
            self.running().process.stdout.wait_for("\0", 0, Duration::from_millis(100));
        }
    }

    /// Makes `name` the current contact: back to the first entry, then forward until it is shown.
    fn select(&mut self, name: &str) {
        let wanted = format!("<{}>", self.address(name));
        let running = self.running();
        for command in ["contact_prev", "contact_next"] {
            for _ in CONTACTS {
                if running.command(command, "").contains(&wanted) {
                    return;
                }
            }
        }
        running.process.fail(&format!("has no contact {wanted}"));
    }
}

impl Running {
    /// Runs one command; what baresip says to it.
    fn command(&mut self, command: &str, params: &str) -> String {
        self.commands += 1;
        let token = self.commands.to_string();
        let request = json!({ "command": command, "params": params, "token": token }).to_string();
        // In one piece: baresip reads no netstring that arrives in two.
        let netstring = format!("{}:{request},", request.len());
        if let Err(error) = self.control.get_mut().write_all(netstring.as_bytes()) {
            self.process.fail(&format!("its control port is gone: {error}"));
        }
        loop {
            match read_netstring(&mut self.control) {
                Ok(answer) if answer["token"] == token.as_str() => {
                    if answer["ok"] != true {
                        self.process.fail(&format!("refused {command} {params:?}: {answer}"));
                    }
                    return answer["data"].as_str().unwrap_or_default().to_string();
                }
                Ok(event) => self.note(&event),
                Err(error) => self.process.fail(&format!("no answer to {command}: {error}")),
            }
        }
    }

    /// Only the lamp is told by events alone.
    fn note(&mut self, event: &Value) {
        if event["type"] == "MWI_NOTIFY" {
            self.lamp = event["param"].as_str().unwrap_or_default().to_string();
        }
    }
}

/// `LENGTH:JSON,`
fn read_netstring(from: &mut impl BufRead) -> std::io::Result<Value> {
    let mut length = Vec::new();
    from.take(12).read_until(b':', &mut length)?;
    let digits = String::from_utf8_lossy(&length);
    let length: usize = digits.trim_end_matches(':').parse().map_err(std::io::Error::other)?;
    let mut text = vec![0; length + 1];
    from.read_exact(&mut text)?;
    serde_json::from_slice(&text[..length]).map_err(std::io::Error::other)
}

/// Where Debian puts the modules, or another distribution.
fn module_path() -> &'static str {
    ["/usr/lib/baresip/modules", "/usr/lib64/baresip/modules", "/usr/local/lib/baresip/modules"]
        .into_iter()
        .find(|dir| std::path::Path::new(dir).is_dir())
        .expect("baresip is installed with its modules")
}

fn connect(process: &mut Process, port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + PATIENCE;
    // "baresip is ready." comes after all modules are loaded, the listening one among them.
    process.expect_ready(Speaks::Stdout, "baresip is ready");
    match TcpStream::connect_timeout(&address, deadline - Instant::now()) {
        Ok(stream) => {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            stream
        }
        Err(error) => process.fail(&format!("does not take control connections: {error}")),
    }
}

impl Phone for Baresip {
    fn send(&mut self, to: &str, text: &str) {
        self.select(to);
        self.running().command("message", text);
    }

    fn hears(&mut self, from: &str, text: &str) {
        let with_port = format!("{}: \"{text}\"", self.address(from));
        let without = format!("sip:{from}@127.0.0.1: \"{text}\"");
        let spellings = [with_port.as_str(), &without];
        let shown = if self.echoed_port { &spellings[..1] } else { &spellings[..] };
        self.running().process.expect_any(shown);
    }

    fn shown(&self) -> String {
        self.running.as_ref().map(|running| running.process.stderr.text()).unwrap_or_default()
    }

    fn quit(&mut self) {
        self.running().command("quit", "");
        let mut running = self.running.take().expect("baresip is switched on");
        if running.process.wait(PATIENCE).is_none() {
            running.process.fail("did not quit");
        }
    }

    fn vanish(&mut self) {
        self.running = None;
    }

    fn come_back(&mut self) {
        let control_port = free_port();
        self.configure(control_port);
        let mut command = Command::new("baresip");
        command.arg("-f").arg(self.dir.path()).env("HOME", self.dir.path()).stdin(Stdio::piped());
        let name = format!("baresip of {}", self.user.name);
        let mut process = Process::start(&name, &mut command, Speaks::Stderr);
        let stdin = process.stdin();
        let control = BufReader::new(connect(&mut process, control_port));
        // "alice@127.0.0.1: {0/UDP/v4} 200 OK (server) [1 binding]"
        process.expect_ready(Speaks::Stdout, "} 200 OK");
        self.running = Some(Running { process, control, commands: 0, lamp: String::new(), _stdin: stdin });
    }
}
