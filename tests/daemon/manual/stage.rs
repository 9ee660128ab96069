//! Plays a chapter: its commands in a shell, its phones, its systemctl, against a daemon of its own.
//!
//! Prevents a manual that only its author could follow: nothing is set up that the chapter does not say, but for
//! open doors on free ports. Never touches the paths that it shows: they lead into the daemon's own directory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::page::{Block, Step, fits};
use crate::kit::daemon::run_to_end;
use crate::kit::{Daemon, Phone, Setup};

pub struct Stage {
    daemon: Daemon,
    door: SocketAddr,
    /// With how many of its messages the chapter has shown.
    phones: BTreeMap<String, (Phone, Vec<usize>)>,
}

impl Stage {
    /// A daemon as the manual presumes it: management on all doors, phones without passwords.
    pub fn new() -> Stage {
        let (setup, door) = Setup::new().http();
        let dir = format!("{:?}", setup.dir().display().to_string());
        let setup = setup.set("control.reply_dir", &dir).set("control.datagram", "\"imcd_rpc.sock\"");
        let daemon = setup.start();
        std::fs::create_dir(daemon.dir().join("backups")).expect("a directory");
        Stage { daemon, door, phones: BTreeMap::new() }
    }

    pub fn door(&self) -> SocketAddr {
        self.door
    }

    /// What the manual calls `/run/imcd/…` and `127.0.0.1:8080`, as it is called here.
    fn here(&self, text: &str) -> String {
        let dir = format!("{}/", self.daemon.dir().display());
        let places = [
            ("/run/imcd/", dir.clone()),
            ("/etc/imcd/", dir.clone()),
            ("/var/lib/imcd/", dir.clone()),
            ("/var/backups/", format!("{dir}backups/")),
            ("/tmp/", dir),
            ("127.0.0.1:8080", self.door.to_string()),
            ("127.0.0.1:5060", self.daemon.addr.to_string()),
        ];
        let mut here = String::new();
        let mut rest = text;
        // Not replace() after replace(): what was put in is not looked at again.
        while let Some(next) = rest.chars().next() {
            match places.iter().find(|(there, _)| rest.starts_with(there)) {
                Some((there, place)) => {
                    here.push_str(place);
                    rest = &rest[there.len()..];
                }
                None => {
                    here.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        here
    }

    /// A file that is there before the chapter begins, in what it calls `/tmp`.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.daemon.dir().join(name), text).expect("a file");
    }

    /// Statements that a peer makes of the database, or of a copy: they find their tables and columns.
    pub fn sql(&self, block: &Block) {
        let copy = self.daemon.dir().join("for-a-peer.db");
        let output = self.daemon.imcctl(&["backup", &copy.display().to_string()]);
        assert!(output.status.success(), "{output:?}");
        let copy = rusqlite::Connection::open(copy).expect("a database");
        for statement in block.lines.join("\n").split_inclusive(';').filter(|text| !text.trim().is_empty()) {
            let rows = copy.prepare(statement).and_then(|mut found| found.exists([]));
            assert!(
                rows.unwrap_or_else(|e| panic!("line {}: {statement}: {e}", block.line)),
                "{statement}: no rows"
            );
        }
    }

    /// A block of commands.
    pub fn shell(&mut self, block: &Block) {
        for step in block.steps() {
            let (output, success) = match step.command.split_once(' ') {
                Some(("systemctl", verb)) => self.systemctl(verb),
                Some(("journalctl", "-u imcd")) => (self.daemon.log(), true),
                _ => self.run(&step.command),
            };
            self.judge(block, &step, &output, success);
        }
    }

    fn judge(&self, block: &Block, step: &Step, output: &str, success: bool) {
        let at = format!("line {}: $ {}", block.line, step.command);
        let prints = step.prints.as_deref().map(|prints| self.here(prints));
        // A page that shows a command failing shows its words.
        let may_fail = prints.as_deref().is_some_and(|prints| prints.starts_with("imcctl: "));
        assert!(success != may_fail, "{at}\nsuccess: {success}\n{output}\n{}", self.daemon.log());
        if let Some(prints) = prints {
            assert!(fits(&prints, output), "{at}\nprints\n{output}\nand not\n{prints}");
        }
    }

    /// What a command prints, on standard output and standard error together, and whether it succeeds.
    pub fn run(&self, command: &str) -> (String, bool) {
        let ours = Path::new(env!("CARGO_BIN_EXE_imcctl")).parent().expect("a directory").display();
        let path = format!("{ours}:{}", std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMCD_")) {
            shell.env_remove(name);
        }
        shell.args(["-c", &format!("exec 2>&1\n{}", self.here(command))]).env("PATH", path);
        shell.env("IMCD_SOCKET", self.daemon.dir().join("imcd.sock"));
        let output = run_to_end(shell.current_dir(self.daemon.dir()).stdin(Stdio::null()));
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
    }

    /// What systemd would do.
    fn systemctl(&mut self, verb: &str) -> (String, bool) {
        let stop = |daemon: &mut Daemon| assert!(daemon.terminate().0.success(), "it stops in order");
        match verb {
            "stop imcd" => stop(&mut self.daemon),
            "start imcd" => self.daemon.restart(),
            "restart imcd" => {
                stop(&mut self.daemon);
                self.daemon.restart();
            }
            "reload imcd" => {
                // What a second one did would not be told from what the first has done.
                assert!(!self.daemon.logged("configuration reloaded"), "a page reloads once");
                self.daemon.hang_up();
                self.daemon.logs("configuration reloaded");
            }
            other => panic!("systemctl {other}: the test does not play that"),
        }
        (String::new(), true)
    }

    /// A part of a configuration file. `now`: the chapter's daemon has it from now on, once it is reloaded.
    pub fn configuration(&mut self, block: &Block, now: bool) {
        let text = self.here(&block.lines.join("\n"));
        let file = self.daemon.dir().join("check.toml");
        std::fs::write(&file, &text).expect("a file");
        let (output, success) = self.run("imcd --check --config check.toml");
        assert!(success, "line {}: {text}\n{output}", block.line);
        let mut table = String::new();
        for line in text.lines().filter(|_| now) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                table = format!("{name}.");
            } else if let Some((key, value)) = line.split_once('=') {
                self.daemon.set(&format!("{table}{}", key.trim()), value.trim());
            }
        }
    }

    /// What phones say and hear; the forms are in `docs/README.md`.
    pub fn chat(&mut self, block: &Block) {
        let mut lines: Vec<String> = Vec::new();
        for line in block.lines.iter().filter(|line| !line.trim().is_empty()) {
            match (line.starts_with(' '), lines.last_mut()) {
                (true, Some(last)) => {
                    last.push('\n');
                    last.push_str(line.trim());
                }
                _ => lines.push(line.clone()),
            }
        }
        // Who has a part is there from the beginning.
        for who in lines.iter().filter_map(|line| line.split(' ').next()) {
            self.phone(who);
        }
        for line in lines {
            self.line(&line).unwrap_or_else(|| panic!("line {}: {line}: not understood", block.line));
        }
    }

    fn phone(&mut self, who: &str) -> &mut (Phone, Vec<usize>) {
        let daemon = &self.daemon;
        self.phones.entry(who.into()).or_insert_with(|| (daemon.udp(who), Vec::new()))
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (who, what) = line.split_once(' ')?;
        let (phone, shown) = self.phone(who);
        match what {
            "goes away" => {
                phone.unregister();
                return Some(());
            }
            "is back" => {
                phone.register();
                return Some(());
            }
            _ => {}
        }
        let (whom, text) = what.get(what.find(' ')? + 1..)?.split_once(": ")?;
        if what.starts_with("→ ") {
            let (text, status) = match text.rsplit_once("   (") {
                Some((text, status)) => (text.trim_end(), Some(status.trim_end_matches(')').parse().ok()?)),
                None => (text, None),
            };
            let answer = phone.say(whom, text);
            let good = status.map_or((200..300).contains(&answer.status()), |s: u16| s == answer.status());
            phone.check(good, &format!("{line}: {}", answer.start));
        } else if what.starts_with("← ") {
            let is_it = |shown: &[usize], all: &[crate::kit::Got]| {
                let new = all.iter().enumerate().filter(|(i, _)| !shown.contains(i));
                let mut fitting =
                    new.filter(|(_, got)| got.msg.sender_user() == whom && fits(text, &got.msg.text()));
                fitting.next().map(|(i, _)| i)
            };
            let all = phone.until(line, |all| is_it(shown, all).is_some());
            shown.extend(is_it(shown, &all));
        } else {
            return None;
        }
        Some(())
    }
}
