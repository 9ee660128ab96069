//! A real FreeSWITCH in front of the daemon, with the files that we recommend: `examples/freeswitch/`.
//!
//! Around them stands the least that it runs with: a profile for phones and three people. It reads nothing of /etc.

use super::process::{Process, Speaks, write};
use super::{PATIENCE, Server, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What its own installation brings: the profile that phones register with, its domain and its people.
const AROUND: &str = r#"<document type="freeswitch/xml">
  <X-PRE-PROCESS cmd="set" data="domain=127.0.0.1"/>
  <section name="configuration">
    <configuration name="switch.conf"><settings/></configuration>
    <configuration name="modules.conf"><modules>
      <load module="mod_commands"/><load module="mod_sofia"/><load module="mod_sms"/>
    </modules></configuration>
    <configuration name="sofia.conf"><global_settings/><profiles>
      <profile name="internal"><settings>
        <param name="sip-ip" value="127.0.0.1"/><param name="rtp-ip" value="127.0.0.1"/>
        <param name="sip-port" value="5060"/><param name="context" value="public"/>
        <param name="auth-messages" value="true"/>
        <param name="force-register-domain" value="127.0.0.1"/>
        <param name="force-register-db-domain" value="127.0.0.1"/>
      </settings></profile>
      <X-PRE-PROCESS cmd="include" data="imcd_profile.xml"/>
    </profiles></configuration>
  </section>
  <section name="directory"><domain name="127.0.0.1"><groups><group name="default"><users>
    <user id="alice"><params><param name="password" value="change-me-alice"/></params></user>
    <user id="bob"><params><param name="password" value="change-me-bob"/></params></user>
    <user id="carol"><params><param name="password" value="change-me-carol"/></params></user>
  </users></group></groups></domain></section>
  <section name="chatplan">
    <X-PRE-PROCESS cmd="include" data="imcd_chatplan.xml"/>
  </section>
</document>
"#;

pub struct FreeSwitch {
    port: u16,
    /// Where it takes what comes from the daemon.
    pub inner_port: u16,
    process: Process,
    _dir: TempDir,
}

impl FreeSwitch {
    /// It comes up before the daemon, which need not run yet.
    pub fn start(imcd_port: u16) -> FreeSwitch {
        let dir = TempDir::new().expect("a directory for freeswitch");
        let (port, inner_port) = (free_port(), free_port());
        let ours = |text: &str| {
            text.replace("\"5060\"", &format!("\"{port}\""))
                .replace("\"5090\"", &format!("\"{inner_port}\""))
                .replace("127.0.0.1:5070", &format!("127.0.0.1:{imcd_port}"))
        };
        for file in ["imcd_profile.xml", "imcd_chatplan.xml"] {
            let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/freeswitch").join(file);
            let example = std::fs::read_to_string(example).expect("the example is there");
            write(&dir, file, &ours(&example));
        }
        write(&dir, "freeswitch.xml", &ours(AROUND));
        let mut command = Command::new("freeswitch");
        command.args(["-nf", "-nc", "-nonat"]).stdin(Stdio::null());
        for kept in ["-conf", "-log", "-db", "-run"] {
            command.arg(kept).arg(dir.path());
        }
        let process = Process::start("freeswitch", &mut command, Speaks::Stdout);
        let process = super::await_options(inner_port, process);
        // It answers OPTIONS while it still refuses all else.
        let process = super::await_answer(port, "REGISTER", 401, process);
        FreeSwitch { port, inner_port, process, _dir: dir }
    }
}

impl Server for FreeSwitch {
    fn port(&self) -> u16 {
        self.port
    }

    fn echoes_port(&self) -> bool {
        false
    }
}

impl Drop for FreeSwitch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- freeswitch said ---\n{}\n---", self.process.stdout.text());
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id fits"));
        if kill(pid, Signal::SIGTERM).is_ok() {
            self.process.wait(PATIENCE);
        }
    }
}
