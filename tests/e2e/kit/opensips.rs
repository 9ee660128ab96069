//! A real OpenSIPS in front of the daemon, with the configuration that we recommend: `examples/opensips.cfg`.
//!
//! Phones register with it as they would with the daemon. It keeps contacts in memory only.

use super::process::{Process, Speaks, write};
use super::{PATIENCE, Server, find_program, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub struct OpenSips {
    port: u16,
    process: Process,
    _dir: TempDir,
}

impl OpenSips {
    /// `tell`: the route by which the daemon is told who is back. It comes up before the daemon, which need not run yet.
    pub fn start(imcd_port: u16, tell: &str) -> OpenSips {
        let dir = TempDir::new().expect("a directory for opensips");
        let port = free_port();
        let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/opensips.cfg");
        let example = std::fs::read_to_string(example).expect("the example is there");
        let ours = [
            ("/usr/lib/x86_64-linux-gnu/opensips/modules/", modules().display().to_string()),
            ("    route(SAY_HE_IS_BACK);", format!("    route({tell});")),
            ("127.0.0.1:5060", format!("127.0.0.1:{port}")),
            ("127.0.0.1:5070", format!("127.0.0.1:{imcd_port}")),
            ("$sp == 5070", format!("$sp == {imcd_port}")),
        ];
        let config = ours.iter().fold(example, |text, (theirs, ours)| {
            assert!(text.contains(theirs), "the example has no {theirs}");
            text.replace(theirs, ours)
        });
        let config = write(&dir, "opensips.cfg", &config);
        let mut command = Command::new("opensips");
        command.arg("-f").arg(config).args(["-F", "-m", "64", "-M", "8", "-w"]).arg(dir.path());
        command.stdin(Stdio::null());
        let process = Process::start("opensips", &mut command, Speaks::Stderr);
        OpenSips { port, process: super::await_options(port, process), _dir: dir }
    }
}

/// Where its modules are: beside the program, as its package or its own installation puts them.
fn modules() -> PathBuf {
    let program = find_program("opensips").expect("opensips is installed");
    let prefix = program.parent().and_then(|sbin| sbin.parent()).expect("a program is in a directory");
    ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"]
        .iter()
        .map(|lib| prefix.join(lib).join("opensips/modules"))
        .find(|modules| modules.is_dir())
        .expect("opensips is installed with its modules")
}

impl Server for OpenSips {
    fn port(&self) -> u16 {
        self.port
    }

    fn echoes_port(&self) -> bool {
        false
    }
}

impl Drop for OpenSips {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- opensips said ---\n{}\n---", self.process.stderr.text());
        }
        // Its children go with it only if it is asked.
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id fits"));
        if kill(pid, Signal::SIGTERM).is_ok() {
            self.process.wait(PATIENCE);
        }
    }
}
