//! The real `imcd`, on a port and in a directory of its own.

use super::process::{Process, Speaks, write};
use super::{PATIENCE, Server, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

pub struct Daemon {
    pub port: u16,
    dir: TempDir,
    auth_mode: &'static str,
    /// `control.http`.
    http: String,
    process: Process,
}

impl Daemon {
    /// A daemon that believes the From of anybody on loopback, as `cargo run` gives it.
    pub fn open() -> Daemon {
        Daemon::start("auto")
    }

    /// A daemon that asks everybody for his password.
    pub fn digest() -> Daemon {
        Daemon::start("digest")
    }

    /// A daemon at `port` behind the proxy at `proxy_port`, which says who speaks.
    pub fn behind(port: u16, proxy_port: u16) -> Daemon {
        let config = format!(
            "[sip]\noutbound_proxy = \"sip:127.0.0.1:{proxy_port};transport=udp\"\n\
             trusted_peers = [\"127.0.0.1/32\"]\n"
        );
        Daemon::with("auto", port, &config, String::new())
    }

    fn start(auth_mode: &'static str) -> Daemon {
        // An empty file, so that one in /etc is not taken.
        Daemon::with(auth_mode, free_port(), "", String::new())
    }

    fn with(auth_mode: &'static str, port: u16, config: &str, http: String) -> Daemon {
        let dir = TempDir::new().expect("a directory for the daemon");
        write(&dir, "imcd.toml", config);
        let process = launch(&dir, port, auth_mode, &http);
        Daemon { port, dir, auth_mode, http, process }
    }

    /// One that is managed over HTTP too, at this address and port.
    pub fn with_http() -> (Daemon, String) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let http = free.local_addr().expect("it is bound").to_string();
        drop(free);
        (Daemon::with("auto", free_port(), "", http.clone()), http)
    }

    /// The FIFO through which it is managed.
    pub fn fifo(&self) -> std::path::PathBuf {
        self.dir.path().join("imcd_fifo")
    }

    /// Asks it to stop, as a service manager does, and starts it again on what it had stored.
    pub fn restart(&mut self) {
        self.stop();
        self.process = launch(&self.dir, self.port, self.auth_mode, &self.http);
    }

    pub fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id fits"));
        kill(pid, Signal::SIGTERM).expect("the daemon runs");
        match self.process.wait(PATIENCE) {
            Some(status) if status.success() => {}
            Some(status) => self.process.fail(&format!("ended with {status} after SIGTERM")),
            None => self.process.fail("did not end after SIGTERM"),
        }
    }

    /// Ends it as a power cut does, and starts it again.
    pub fn crash(&mut self) {
        self.process.kill();
        self.process = launch(&self.dir, self.port, self.auth_mode, &self.http);
    }

    /// Waits until something waits for `user`.
    pub fn await_letter(&self, user: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.imcctl(&["offline", "list", user]).contains(user) {
            assert!(Instant::now() < deadline, "nothing waits for {user}");
        }
    }

    /// What was said last was said so many seconds earlier; when, in seconds since 1970. It runs again then.
    pub fn said_earlier(&mut self, seconds: i64) -> i64 {
        self.stop();
        let file = rusqlite::Connection::open(self.dir.path().join("imcd.db")).expect("its database");
        let moved = file.query_row(
            "UPDATE log SET at = at - ?1 * 1000 WHERE at = (SELECT max(at) FROM log) RETURNING at / 1000",
            [seconds],
            |row| row.get(0),
        );
        drop(file);
        self.process = launch(&self.dir, self.port, self.auth_mode, &self.http);
        moved.expect("something was said")
    }

    /// A number of its statistics.
    pub fn count(&self, statistic: &str) -> u64 {
        let stats = self.imcctl(&["server", "stats"]);
        let value = |line: &str| line.strip_prefix(statistic)?.trim().parse().ok();
        stats.lines().find_map(value).unwrap_or_else(|| panic!("no {statistic} in:\n{stats}"))
    }

    /// The first column of what its database answers.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let file = rusqlite::Connection::open(self.dir.path().join("imcd.db")).expect("its database");
        let mut select = file.prepare(sql).expect("its tables");
        let rows = select.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a text")).collect()
    }

    pub fn add_account(&self, name: &str, password: &str) {
        self.imcctl(&["account", "add", &format!("{name}@127.0.0.1"), "--password", password]);
    }

    /// Runs the management tool against this daemon; its output. Panics if it is refused.
    pub fn imcctl(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_imcctl"))
            .arg("--socket")
            .arg(self.dir.path().join("imcd.sock"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("imcctl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "imcctl {arguments:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

impl Server for Daemon {
    fn port(&self) -> u16 {
        self.port
    }

    fn echoes_port(&self) -> bool {
        true
    }
}

fn launch(dir: &TempDir, port: u16, auth_mode: &str, http: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imcd"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"IMCD_")) {
        command.env_remove(name);
    }
    command
        .arg("--config")
        .arg(dir.path().join("imcd.toml"))
        .env("IMCD_DATA_DIR", dir.path())
        .env("IMCD_RUN_DIR", dir.path())
        .env("IMCD_SIP__LISTEN", format!("udp:127.0.0.1:{port},tcp:127.0.0.1:{port}"))
        .env("IMCD_AUTH__MODE", auth_mode)
        .env("IMCD_CONTROL__HTTP", http)
        .env("RUST_BACKTRACE", "1")
        .current_dir(dir.path())
        .stdin(Stdio::null());
    super::await_options(port, Process::start("imcd", &mut command, Speaks::Stderr))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.process.stderr.text();
            eprintln!("--- imcd on port {} logged ---\n{log}\n---", self.port);
        }
    }
}
