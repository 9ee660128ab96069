//! Drives `linphonec`, the console phone of liblinphone 5.1, through standard input and output.
//!
//! It runs in a home directory of its own, so that its instance id and its message database survive a restart of
//! the phone and nobody else's are touched. It says nothing when it has registered, so it is asked. Its addresses
//! carry no port: the way to the daemon is its proxy.

use super::process::{Process, Speaks, write};
use super::{PATIENCE, Phone, Server, Transport, User, free_port};
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Linphone {
    user: User,
    server_port: u16,
    dir: TempDir,
    running: Option<Running>,
}

struct Running {
    process: Process,
    stdin: ChildStdin,
}

impl Linphone {
    pub fn start(server: &impl Server, user: User) -> Linphone {
        let dir = TempDir::new().expect("a directory for linphonec");
        // Without these it starts, but cannot keep anything.
        for inner in ["linphone", ".local/share/linphone"] {
            std::fs::create_dir_all(dir.path().join(inner)).expect("a directory for linphonec");
        }
        let mut phone = Linphone { user, server_port: server.port(), dir, running: None };
        phone.configure();
        phone.come_back();
        phone
    }

    /// Written once: linphonec keeps its instance id in this file.
    fn configure(&self) {
        let User { name, password, transport, watches, .. } = &self.user;
        // A port of 0 switches a transport off.
        let (udp, tcp) = match transport {
            Transport::Udp => (free_port(), 0),
            Transport::Tcp => (0, free_port()),
        };
        let publish = i32::from(!watches.is_empty());
        let mut config = format!(
            "[sip]\nsip_port={udp}\nsip_tcp_port={tcp}\nsip_tls_port=0\nbind_address=127.0.0.1\nuse_ipv6=0\n\
             guess_hostname=0\ncontact=<sip:{name}@127.0.0.1>\ndefault_proxy=0\n\
             register_only_when_network_is_up=0\npublish_presence={publish}\n\
             rls_uri=sip:friends@127.0.0.1\nuse_rls_presence={publish}\n\
             [proxy_0]\nreg_proxy=<sip:127.0.0.1:{port};transport={transport}>\n\
             reg_identity=<sip:{name}@127.0.0.1>\nreg_expires=600\nreg_sendregister=1\npublish={publish}\n\
             [sound]\nplayback_dev_id=\ncapture_dev_id=\nringer_dev_id=\n",
            port = self.server_port,
            transport = transport.param(),
        );
        if let Some(password) = password {
            config.push_str(&format!("[auth_info_0]\nusername={name}\npasswd={password}\n"));
        }
        for (n, friend) in watches.iter().enumerate() {
            config
                .push_str(&format!("[friend_{n}]\nurl=<sip:{friend}@127.0.0.1>\npol=accept\nsubscribe=1\n"));
        }
        write(&self.dir, "linphonerc", &config);
    }

    /// When a message was said, as the phone keeps it: in seconds since 1970.
    pub fn time_of(&self, text: &str) -> i64 {
        let file = self.dir.path().join(".local/share/linphone/linphone.db");
        let file = rusqlite::Connection::open(file).expect("linphone's database");
        file.busy_timeout(PATIENCE).expect("a timeout can be set");
        let sql = "SELECT strftime('%s', e.time) FROM chat_message_content c
                   JOIN conference_chat_message_event e USING (event_id) WHERE c.body = ?1";
        let time: String = file.query_row(sql, [text], |row| row.get(0)).expect("the message is kept");
        time.parse().expect("seconds")
    }

    /// Waits until the phone has said that `friend` is `status`, after what it was last seen to show.
    pub fn sees(&mut self, friend: &str, status: &str) {
        self.running().process.expect(&format!("sip:{friend}@127.0.0.1> is {status}\n"));
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("linphonec is switched on")
    }
}

impl Running {
    fn say(&mut self, line: &str) {
        if let Err(error) = writeln!(self.stdin, "{line}") {
            self.process.fail(&format!("does not read {line:?}: {error}"));
        }
    }

    /// It registers by itself, and only tells when asked. What waited for it may come first: it stays unread.
    fn await_registration(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !self.process.has_ended() {
            self.say("status register");
            if self.process.stdout.wait_for("registered, identity=", 0, Duration::from_millis(200)).is_some()
            {
                return;
            }
        }
        self.process.fail("did not register");
    }
}

impl Phone for Linphone {
    fn send(&mut self, to: &str, text: &str) {
        self.running().say(&format!("chat sip:{to}@127.0.0.1 {text}"));
    }

    fn hears(&mut self, from: &str, text: &str) {
        self.running().process.expect(&format!("Message received from sip:{from}@127.0.0.1: {text}\n"));
    }

    fn shown(&self) -> String {
        self.running.as_ref().map(|running| running.process.stdout.text()).unwrap_or_default()
    }

    fn quit(&mut self) {
        self.running().say("quit");
        let mut running = self.running.take().expect("linphonec is switched on");
        if running.process.wait(PATIENCE).is_none() {
            running.process.fail("did not quit");
        }
    }

    fn vanish(&mut self) {
        self.running = None;
    }

    fn come_back(&mut self) {
        let home = self.dir.path();
        let mut command = Command::new("linphonec");
        command
            .arg("-b")
            .arg(home.join("linphonerc"))
            .env("HOME", home)
            .env("XDG_DATA_HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .stdin(Stdio::piped());
        let name = format!("linphonec of {}", self.user.name);
        let mut process = Process::start(&name, &mut command, Speaks::Stdout);
        let stdin = process.stdin();
        let mut running = Running { process, stdin };
        running.await_registration();
        self.running = Some(running);
    }
}
