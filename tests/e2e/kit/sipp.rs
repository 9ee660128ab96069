//! Drives `sipp`: one process registers and answers what arrives, another one, short-lived, sends each MESSAGE.
//!
//! The registration and the answering share a process, because the daemon answers where a REGISTER came from. sipp
//! has no instance id and no memory: it is the plainest of phones.

use super::process::{Process, Speaks};
use super::{PATIENCE, Phone, Server, User, free_port};
use std::path::Path;
use std::process::{Command, Stdio};

pub struct Sipp {
    user: User,
    server_port: u16,
    port: u16,
    running: Option<Process>,
}

impl Sipp {
    pub fn start(server: &impl Server, user: User) -> Sipp {
        let mut phone = Sipp::switched_off(server, user);
        phone.come_back();
        phone
    }

    /// One that is not registered.
    pub fn switched_off(server: &impl Server, user: User) -> Sipp {
        Sipp { user, server_port: server.port(), port: free_port(), running: None }
    }

    /// Subscribes to `whom` until he is seen busy; then refreshes, and subscribes no more.
    pub fn watch(&self, whom: &str) -> Watch {
        // Without user: it fits the account, and the daemon within the dialog.
        let mut command = self.command("watch.xml", free_port(), "127.0.0.1");
        command.args(["-key", "peer", whom]);
        Watch(Process::start(
            &format!("sipp of {}, watching {whom}", self.user.name),
            &mut command,
            Speaks::Stderr,
        ))
    }

    /// Takes all phones of its owner off the register, where no password is asked for.
    pub fn unregister(&self) {
        let mut command = self.command("unregister.xml", free_port(), "127.0.0.1");
        let name = format!("sipp of {}, unregistering", self.user.name);
        finish(Process::start(&name, &mut command, Speaks::Stderr));
    }

    /// Publishes that its owner is there, and then that he is busy.
    pub fn publish(&self) {
        let mut command = self.command("publish.xml", free_port(), "127.0.0.1");
        let name = format!("sipp of {}, publishing", self.user.name);
        finish(Process::start(&name, &mut command, Speaks::Stderr));
    }

    fn command(&self, scenario: &str, local_port: u16, auth_uri: &str) -> Command {
        let server = format!("127.0.0.1:{}", self.server_port);
        // The letter of the transport, then one socket for all calls.
        let transport = format!("{}1", &self.user.transport.param()[..1]);
        let mut command = Command::new("sipp");
        command
            .arg("-sf")
            .arg(scenario_file(scenario))
            .args(["-m", "1", "-nostdin", "-i", "127.0.0.1", "-p", &local_port.to_string(), "-t", &transport])
            .args(["-trace_err", "-error_file", "/dev/stderr", "-trace_logs", "-log_file", "/dev/stderr"])
            .args(["-key", "user", self.user.name, "-key", "domain", "127.0.0.1"])
            .args(["-au", self.user.name, "-ap", self.user.password.unwrap_or_default()])
            .args(["-auth_uri", auth_uri])
            .stdin(Stdio::null());
        command.arg(server);
        command
    }
}

/// Waits until the scenario went to its end as it is written.
fn finish(mut process: Process) {
    match process.wait(PATIENCE) {
        Some(status) if status.success() => {}
        Some(status) => process.fail(&format!("was answered otherwise than its scenario says ({status})")),
        None => process.fail("got no answer"),
    }
}

/// A subscription of a [`Sipp`].
pub struct Watch(Process);

impl Watch {
    /// Waits until a NOTIFY came in this Subscription-State, after the last one that was asked for.
    pub fn is_told(&mut self, state: &str) {
        self.0.expect(&format!("NOTIFY in state {state}"));
    }

    /// Waits until it has seen all that its scenario asks for.
    pub fn ends(self) {
        finish(self.0);
    }
}

fn scenario_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/sipp").join(name)
}

impl Phone for Sipp {
    fn send(&mut self, to: &str, text: &str) {
        let mut command = self.command("message.xml", free_port(), &format!("{to}@127.0.0.1"));
        command.args(["-key", "peer", to, "-key", "text", text]);
        let name = format!("sipp of {}, sending {text:?}", self.user.name);
        finish(Process::start(&name, &mut command, Speaks::Stderr));
    }

    fn hears(&mut self, from: &str, text: &str) {
        let words = format!("sip:{from}@ says \"{text}\"");
        self.running.as_mut().expect("sipp runs").expect(&words);
    }

    fn shown(&self) -> String {
        self.running.as_ref().map(|process| process.stderr.text()).unwrap_or_default()
    }

    /// sipp does not unregister: the same as vanishing.
    fn quit(&mut self) {
        self.vanish();
    }

    fn vanish(&mut self) {
        self.running = None;
    }

    fn come_back(&mut self) {
        let mut command = self.command("register.xml", self.port, "127.0.0.1");
        command.arg("-oocsf").arg(scenario_file("answer.xml"));
        let name = format!("sipp of {}", self.user.name);
        let mut process = Process::start(&name, &mut command, Speaks::Stderr);
        process.expect_ready(Speaks::Stderr, "registered");
        self.running = Some(process);
    }
}
