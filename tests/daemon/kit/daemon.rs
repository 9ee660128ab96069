//! The daemon as a process: own data directory, own loopback address, ended by its own process id.
//!
//! Each daemon has an address of 127.0.0.0/8 for itself, so that no other socket of the run can take its port
//! while it is down between a kill and a restart. Prints the daemon's log when a test fails.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::phone::PhoneSetup;
use super::{Msg, PATIENCE, Phone, token};

/// The served domain of all tests that do not say otherwise.
pub const DOMAIN: &str = "example.org";

/// Configuration of a daemon to be. Values are TOML.
pub struct Setup {
    keys: BTreeMap<String, String>,
    wrapper: Vec<String>,
    env: Vec<(String, String)>,
    addr: SocketAddr,
    dir: TempDir,
}

impl Setup {
    pub fn new() -> Setup {
        let addr = free_address();
        let dir = TempDir::with_prefix("imcd-test-").expect("a temporary directory");
        let path = dir.path().display().to_string();
        let mut setup = Setup { keys: BTreeMap::new(), wrapper: Vec::new(), env: Vec::new(), addr, dir };
        let lines = [
            ("domains", format!("[\"{DOMAIN}\"]")),
            ("aliases", format!("{{ \"localhost\" = \"{DOMAIN}\" }}")),
            ("data_dir", format!("\"{path}\"")),
            ("run_dir", format!("\"{path}\"")),
            ("sip.listen", format!("[\"udp:{addr}\", \"tcp:{addr}\"]")),
            ("limits.posts_per_s", "0".into()),
            ("control.http", "\"\"".into()),
        ];
        for (key, value) in lines {
            setup.keys.insert(key.into(), value);
        }
        setup
    }

    /// One key, dotted, with its TOML value.
    pub fn set(mut self, key: &str, value: &str) -> Setup {
        self.keys.insert(key.into(), value.into());
        self
    }

    pub fn digest(self) -> Setup {
        self.set("auth.mode", "\"digest\"")
    }

    /// Command that starts the daemon's command line, for example strace. Its process must become the daemon.
    pub fn wrap(mut self, args: &[&str]) -> Setup {
        self.wrapper = args.iter().map(|a| a.to_string()).collect();
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Listens on every IPv4 address. The port is below those that the kernel hands out: no other socket of the
    /// run, at whatever address, may have it.
    pub fn on_every_address(mut self) -> Setup {
        let ports = (0..200).map(|n| 12_000 + ((std::process::id() + n * 37) % 20_000) as u16);
        let free = |port: &u16| {
            UdpSocket::bind(("0.0.0.0", *port)).is_ok() && TcpListener::bind(("0.0.0.0", *port)).is_ok()
        };
        let port = ports.into_iter().find(free).expect("a free port");
        self.addr.set_port(port);
        self.set("sip.listen", &format!("[\"udp:0.0.0.0:{port}\", \"tcp:0.0.0.0:{port}\"]"))
    }

    /// Where it will listen.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// One more variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.into(), value.into()));
        self
    }

    fn write_config(&self) -> PathBuf {
        let mut text = String::new();
        for (key, value) in &self.keys {
            text.push_str(&format!("{key} = {value}\n"));
        }
        let path = self.dir.path().join("imcd.toml");
        // At once or not at all: the daemon may be reading it for an earlier signal.
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).expect("the configuration file is written");
        std::fs::rename(&fresh, &path).expect("the configuration file is put in place");
        path
    }

    fn command(&self, config: &Path) -> Command {
        let binary = env!("CARGO_BIN_EXE_imcd");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(binary);
                command
            }
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMCD_")) {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.arg("--config").arg(config).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it answers OPTIONS.
    pub fn start(self) -> Daemon {
        let config = self.write_config();
        let mut daemon = Daemon {
            addr: self.addr,
            setup: self,
            config,
            child: None,
            log: Arc::new(Mutex::new(VecDeque::new())),
            accounts: Mutex::new(BTreeMap::new()),
        };
        daemon.launch();
        daemon
    }

    /// Runs it to its end: for configurations that must be refused. Ends it after [`PATIENCE`].
    pub fn run_to_end(&self, more: &[&str]) -> Output {
        let config = self.write_config();
        run_to_end(self.command(&config).args(more))
    }
}

/// Runs a command to its end; ends it after [`PATIENCE`].
pub fn run_to_end(command: &mut Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the daemon can be started");
    // Both are read while it runs: what it says may be longer than a pipe.
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("the child can be waited for") {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            status => break status,
        }
    };
    if status.is_none() {
        child.kill().expect("the child can be killed");
        child.wait().expect("the child can be waited for");
    }
    let [stdout, stderr] = [stdout, stderr].map(|pipe| pipe.join().expect("its output can be read"));
    let Some(status) = status else {
        panic!("it should have ended by itself, but ran on:\n{}", String::from_utf8_lossy(&stderr));
    };
    Output { status, stdout, stderr }
}

fn read(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("it is piped");
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("a pipe can be read");
        all
    })
}

/// A running daemon, or one that was killed and waits to be started again.
pub struct Daemon {
    pub addr: SocketAddr,
    setup: Setup,
    config: PathBuf,
    child: Option<Child>,
    log: Arc<Mutex<VecDeque<String>>>,
    accounts: Mutex<BTreeMap<String, String>>,
}

impl Daemon {
    /// With the tests' usual configuration: open, loopback.
    pub fn open() -> Daemon {
        Setup::new().start()
    }

    fn launch(&mut self) {
        let mut child = self
            .setup
            .command(&self.config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let mut log = log.lock().expect("log");
                if log.len() >= 2000 {
                    log.pop_front();
                }
                log.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        });
        self.child = Some(child);
        self.await_answer();
    }

    fn await_answer(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten()) {
                panic!("the daemon ended while starting: {status}\n{}", self.log());
            }
            // It answers phones a moment before it answers administrators.
            let control = || UnixStream::connect(self.dir().join("imcd.sock")).is_ok();
            let http =
                self.setup.keys.get("control.http").and_then(|door| door.trim_matches('"').parse().ok());
            let web = || http.is_none_or(|door: SocketAddr| TcpStream::connect(door).is_ok());
            if self.options(Duration::from_millis(200)).is_some() && control() && web() {
                return;
            }
        }
        panic!("the daemon did not answer OPTIONS within {PATIENCE:?}\n{}", self.log());
    }

    /// Its answer to an OPTIONS over UDP; `None` when it stays silent for `wait`.
    pub fn options(&self, wait: Duration) -> Option<Msg> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(wait)).expect("read timeout");
        let me = socket.local_addr().expect("an address");
        let id = token();
        let request = format!(
            "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {me};rport;branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:probe@{DOMAIN}>;tag={id}\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), self.addr).ok()?;
        let mut buffer = [0; 65535];
        let (n, _) = socket.recv_from(&mut buffer).ok()?;
        Msg::parse(&buffer[..n]).filter(|m| m.call_id() == id)
    }

    /// Fails unless it answers OPTIONS with 200 within [`PATIENCE`].
    pub fn must_be_alive(&self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(answer) = self.options(Duration::from_millis(500)) {
                assert_eq!(answer.status(), 200, "OPTIONS is answered {}", answer.start);
                return;
            }
        }
        panic!("the daemon no longer answers OPTIONS\n{}", self.log());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    pub fn dir(&self) -> &Path {
        self.setup.dir()
    }

    /// Changes one key of its configuration file and sends SIGHUP.
    pub fn reload(&mut self, key: &str, value: &str) {
        self.set(key, value);
        self.hang_up();
    }

    /// Changes one key of its configuration file, and does not tell it.
    pub fn set(&mut self, key: &str, value: &str) {
        self.setup.keys.insert(key.into(), value.into());
        self.setup.write_config();
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGHUP).expect("SIGHUP can be sent");
    }

    /// Waits until its log has this text.
    pub fn logs(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.logged(text) {
            assert!(Instant::now() < deadline, "the log never said {text:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let log = self.log.lock().expect("log");
        log.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n")
    }

    /// True when its log, as far as it is kept, has this text.
    pub fn logged(&self, text: &str) -> bool {
        self.log.lock().expect("log").iter().any(|line| line.contains(text))
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("SIGKILL can be sent");
        child.wait().expect("the killed daemon is reaped");
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::terminate`], same address and data.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        self.launch();
    }

    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGTERM; how it ended and after what time.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut child = self.child.take().expect("the daemon runs");
        let begun = Instant::now();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("SIGTERM can be sent");
        let deadline = begun + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().expect("the child can be waited for") {
                return (status, begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().expect("SIGKILL can be sent");
        child.wait().expect("the killed daemon is reaped");
        panic!("SIGTERM did not end the daemon within {PATIENCE:?}\n{}", self.log());
    }

    /// Adds an account with a password by `imcctl`; phones of this user know the password from now on.
    pub fn account(&self, user: &str, password: &str) {
        let output = self.imcctl(&["account", "add", &format!("{user}@{DOMAIN}"), "--password", password]);
        assert!(output.status.success(), "imcctl account add {user}: {output:?}\n{}", self.log());
        self.accounts.lock().expect("accounts").insert(user.into(), password.into());
    }

    pub fn imcctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imcctl"));
        command.arg("--socket").arg(self.dir().join("imcd.sock")).args(args).stdin(Stdio::null());
        run_to_end(&mut command)
    }

    /// Runs imcctl until the test ends it, or it ends itself; its lines can be waited for.
    pub fn imcctl_on(&self, args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imcctl"));
        command.arg("--socket").arg(self.dir().join("imcd.sock")).args(args);
        Running::start(command)
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A phone of this user, to be set up further.
    pub fn phone(&self, user: &str) -> PhoneSetup {
        let password = self.accounts.lock().expect("accounts").get(user).cloned();
        PhoneSetup::new(self.addr, user, DOMAIN, password)
    }

    /// A registered UDP phone.
    pub fn udp(&self, user: &str) -> Phone {
        self.phone(user).registered()
    }

    /// A registered TCP phone.
    pub fn tcp(&self, user: &str) -> Phone {
        self.phone(user).over(super::Over::Tcp).registered()
    }

    /// A second daemon on the same data, with listeners of its own: must end by itself.
    pub fn second(&self) -> Output {
        let other = free_address();
        let mut command = self.setup.command(&self.config);
        run_to_end(command.env("IMCD_SIP__LISTEN", format!("udp:{other},tcp:{other}")))
    }

    /// Resident memory in KiB, from /proc.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc is there");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS is there");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("VmRSS is a number")
    }
}

/// A program that prints lines.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let (say, lines) = mpsc::channel();
        let out = child.stdout.take().expect("its output");
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.take_while(|line| say.send(line.clone()).is_ok()).for_each(drop);
        });
        Running { child, lines }
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// The next line, if it comes within a moment.
    pub fn line_soon(&self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_millis(50)).ok()
    }

    /// How it ends, and what it says of that.
    pub fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("the child can be waited for").is_none() {
            assert!(Instant::now() < deadline, "it should have ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("its errors");
        stderr.read_to_string(&mut said).expect("they can be read");
        (self.child.wait().expect("it has ended").code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the daemon at {} ---\n{}\n---", self.addr, self.log());
        }
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An address that this process alone uses, with a port that is free on UDP and TCP.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    for _ in 0..100 {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let ip = format!("127.{}.{}.{}", 16 + pid % 200, (pid / 200) % 250, 1 + n % 250);
        let Ok(udp) = UdpSocket::bind(format!("{ip}:0")) else { continue };
        let addr = udp.local_addr().expect("an address");
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no free loopback address");
}
