//! The real Kamailio in front of the daemon, with the configuration that we recommend: `examples/kamailio.cfg`.
//!
//! Phones register with it as they would with the daemon. It keeps contacts in memory only.

use super::process::{Process, Speaks};
use super::{PATIENCE, Server, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub struct Kamailio {
    port: u16,
    imcd_port: u16,
    defines: &'static [&'static str],
    dir: TempDir,
    process: Process,
}

impl Kamailio {
    /// `defines`: the choices of the configuration. It comes up before the daemon, which need not run yet.
    pub fn start(imcd_port: u16, defines: &'static [&'static str]) -> Kamailio {
        let dir = TempDir::new().expect("a directory for kamailio");
        let port = free_port();
        let process = launch(&dir, port, imcd_port, defines);
        Kamailio { port, imcd_port, defines, dir, process }
    }

    /// It forgets who was registered.
    pub fn restart(&mut self) {
        self.stop();
        self.process = launch(&self.dir, self.port, self.imcd_port, self.defines);
    }

    /// Its children go with it only if it is asked.
    fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id fits"));
        if kill(pid, Signal::SIGTERM).is_ok() {
            self.process.wait(PATIENCE);
        }
    }
}

impl Server for Kamailio {
    fn port(&self) -> u16 {
        self.port
    }

    fn echoes_port(&self) -> bool {
        false
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- kamailio said ---\n{}\n---", self.process.stderr.text());
        }
        self.stop();
    }
}

fn launch(dir: &TempDir, port: u16, imcd_port: u16, defines: &[&str]) -> Process {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kamailio.cfg");
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(config).args(["-DD", "-E", "-m", "64", "-M", "8"]);
    command.arg("-Y").arg(dir.path()).arg("-w").arg(dir.path()).stdin(Stdio::null());
    for define in defines {
        command.args(["-A", define]);
    }
    command.args(["-A", &format!("LISTEN_PORT={port}"), "-A", &format!("IMCD_PORT={imcd_port}")]);
    let process = Process::start("kamailio", &mut command, Speaks::Stderr);
    super::await_options(port, process)
}
