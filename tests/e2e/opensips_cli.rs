//! The management client of OpenSIPS, as it is, against the HTTP door.
//!
//! Debian has no `opensips-cli`; PyPI has it (`opensipscli`). The test runs where somebody has installed it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::kit::{Baresip, Daemon, Phone, ROOM, Transport, User, installed, there};

struct Client {
    config: NamedTempFile,
}

impl Client {
    fn new(http: &str) -> Client {
        let mut config = NamedTempFile::new().expect("a file");
        write!(config, "[default]\ncommunication_type: http\nurl: http://{http}/mi\n").expect("written");
        Client { config }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new("opensips-cli");
        command.arg("-f").arg(self.config.path()).args(["-x", "mi"]).args(words).stdin(Stdio::null());
        command.output().expect("opensips-cli starts")
    }

    fn tells(&self, words: &[&str]) -> Value {
        let output = self.run(words);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {output:?}"))
    }
}

#[test]
fn opensips_cli_manages_the_daemon_over_http() {
    if !there("opensips-cli") || !installed(&["baresip"]) {
        return;
    }
    let (daemon, http) = Daemon::with_http();
    let mut alice = Baresip::start(&daemon, User::new("alice", Transport::Udp));
    let mut bob = Baresip::start(&daemon, User::new("bob", Transport::Udp));
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    bob.send(ROOM, "#join");
    alice.hears(ROOM, "*** [bob] has joined the room");

    let client = Client::new(&http);
    let (room, owner, member) = ("sip:team@127.0.0.1", "sip:alice@127.0.0.1", "sip:bob@127.0.0.1");
    let line = json!({ "URI": room, "MEMBERS": 2, "OWNER": owner });
    assert_eq!(client.tells(&["imc_list_rooms"]), json!({ "ROOMS": [line] }));
    let members = json!({ "ROOM": room, "MEMBERS": [owner, member], "NO_MEMBERS": 2 });
    assert_eq!(client.tells(&["imc_list_members", room]), members);
    assert_eq!(client.tells(&["imc_list_members", &format!("room={room}")]), members);
    assert_eq!(client.tells(&["get_statistics", "imc:"]), json!({ "imc:active_rooms": 1 }));
    let unknown = client.run(&["imc_list_members", "sip:none@127.0.0.1"]);
    let said = String::from_utf8_lossy(&unknown.stdout) + String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("404: no such room"), "{said}");
    // The nouns and verbs that no peer has come through it too.
    client.tells(&["account.add", "carol", "a password"]);
    assert!(daemon.imcctl(&["account", "list"]).contains("carol@127.0.0.1"));
}
