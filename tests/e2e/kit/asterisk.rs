//! A real Asterisk in front of the daemon, with the configuration that we recommend: `examples/asterisk/`.
//!
//! Phones register with it, by their passwords. It runs in a directory of its own and reads nothing of /etc.

use super::process::{Process, Speaks, write};
use super::{PATIENCE, Server, find_program, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What the example needs of it; a whole Asterisk has a hundred more.
const MODULES: &[&str] = &[
    "pbx_config",
    "func_strings",
    "func_cut",
    "res_http_websocket",
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_sorcery_astdb",
    "res_statsd",
    "res_geolocation",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_session",
    "res_pjsip_pubsub",
    "res_pjsip_outbound_publish",
    "res_pjsip_endpoint_identifier_ip",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_authenticator_digest",
    "res_pjsip_nat",
    "res_pjsip_messaging",
    "res_pjsip_registrar",
];

pub struct Asterisk {
    port: u16,
    process: Process,
    _dir: TempDir,
}

impl Asterisk {
    /// It comes up before the daemon, which need not run yet.
    pub fn start(imcd_port: u16) -> Asterisk {
        let dir = TempDir::new().expect("a directory for asterisk");
        let port = free_port();
        for file in ["pjsip.conf", "extensions.conf"] {
            let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/asterisk").join(file);
            let example = std::fs::read_to_string(example).expect("the example is there");
            let ours = example
                .replace("127.0.0.1:5060", &format!("127.0.0.1:{port}"))
                .replace("127.0.0.1:5070", &format!("127.0.0.1:{imcd_port}"))
                .replace("DOMAIN=example.org", "DOMAIN=127.0.0.1");
            write(&dir, file, &ours);
        }
        let loads: String = MODULES.iter().map(|module| format!("load={module}.so\n")).collect();
        write(&dir, "modules.conf", &format!("[modules]\nautoload=no\n{loads}"));
        let ours = dir.path().display();
        let kept = ["etc", "varlib", "db", "key", "data", "agi", "spool", "run", "log"];
        let kept: String = kept.iter().map(|kind| format!("ast{kind}dir={ours}\n")).collect();
        let config = format!("[directories]\n{kept}astmoddir={}\n", modules().display());
        let config = write(&dir, "asterisk.conf", &config);
        let mut command = Command::new("asterisk");
        command.arg("-C").arg(config).args(["-f", "-n", "-vvv"]).stdin(Stdio::null());
        let mut process = Process::start("asterisk", &mut command, Speaks::Stdout);
        process.expect_ready(Speaks::Stdout, "Asterisk Ready");
        Asterisk { port, process, _dir: dir }
    }

    /// Waits until it finds `name` at his phone: not when it registers, but when it answers OPTIONS afterwards. What comes
    /// for him before that is answered 404.
    pub fn finds(&mut self, name: &str) {
        self.process.expect(&format!("Endpoint {name} is now Reachable"));
    }
}

/// Where its modules are: beside the program, as its package or its own installation puts them.
fn modules() -> PathBuf {
    let program = find_program("asterisk").expect("asterisk is installed");
    let prefix = program.parent().and_then(Path::parent).expect("a program is in a directory");
    ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"]
        .iter()
        .map(|lib| prefix.join(lib).join("asterisk/modules"))
        .find(|modules| modules.is_dir())
        .expect("asterisk is installed with its modules")
}

impl Server for Asterisk {
    fn port(&self) -> u16 {
        self.port
    }

    fn echoes_port(&self) -> bool {
        false
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- asterisk said ---\n{}\n---", self.process.stdout.text());
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id fits"));
        if kill(pid, Signal::SIGTERM).is_ok() {
            self.process.wait(PATIENCE);
        }
    }
}
