//! The management clients of OpenSIPS and of Kamailio, as they are.
//!
//! Debian has no `opensips-cli`; PyPI has it (`opensipscli`), and `tools/test-peers.sh` installs it where it may.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::kit::{Baresip, Daemon, Phone, ROOM, Transport, User, find_program, installed, there};

const TEAM: &str = "sip:team@127.0.0.1";

struct Client {
    config: NamedTempFile,
}

impl Client {
    /// Writes its configuration, with these lines in it.
    fn new(lines: &str) -> Client {
        let mut config = NamedTempFile::new().expect("a file");
        write!(config, "[default]\n{lines}\n").expect("written");
        Client { config }
    }

    fn http(address: &str) -> Client {
        Client::new(&format!("communication_type: http\nurl: http://{address}/mi"))
    }

    fn fifo(fifo: &Path) -> Client {
        let fifo = fifo.display();
        Client::new(&format!("communication_type: fifo\nfifo_file: {fifo}\nfifo_file_fallback: {fifo}"))
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(find_program("opensips-cli").expect("it is there"));
        command.arg("-f").arg(self.config.path()).args(["-x", "mi"]).args(words).stdin(Stdio::null());
        command.output().expect("opensips-cli starts")
    }

    fn tells(&self, words: &[&str]) -> Value {
        let output = self.run(words);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {output:?}"))
    }
}

/// Alice and bob in their room.
fn two_in_a_room(daemon: &Daemon) -> (Baresip, Baresip) {
    let mut alice = Baresip::start(daemon, User::new("alice", Transport::Udp));
    let mut bob = Baresip::start(daemon, User::new("bob", Transport::Udp));
    alice.send(ROOM, "#create");
    alice.hears(ROOM, "*** Room was created");
    bob.send(ROOM, "#join");
    alice.hears(ROOM, "*** [bob] has joined the room");
    (alice, bob)
}

#[test]
fn opensips_cli_manages_the_daemon_over_http_and_fifo() {
    if !there("opensips-cli") || !installed(&["baresip"]) {
        return;
    }
    let (daemon, http) = Daemon::with_http();
    let _phones = two_in_a_room(&daemon);
    for (client, newcomer) in [(Client::http(&http), "carol"), (Client::fifo(&daemon.fifo()), "dave")] {
        let (owner, member) = ("sip:alice@127.0.0.1", "sip:bob@127.0.0.1");
        let line = json!({ "URI": TEAM, "MEMBERS": 2, "OWNER": owner });
        assert_eq!(client.tells(&["imc_list_rooms"]), json!({ "ROOMS": [line] }));
        let members = json!({ "ROOM": TEAM, "MEMBERS": [owner, member], "NO_MEMBERS": 2 });
        assert_eq!(client.tells(&["imc_list_members", TEAM]), members);
        assert_eq!(client.tells(&["imc_list_members", &format!("room={TEAM}")]), members);
        assert_eq!(client.tells(&["get_statistics", "imc:"]), json!({ "imc:active_rooms": 1 }));
        let unknown = client.run(&["imc_list_members", "sip:none@127.0.0.1"]);
        let said = String::from_utf8_lossy(&unknown.stdout) + String::from_utf8_lossy(&unknown.stderr);
        assert!(said.contains("404: no such room"), "{said}");
        // The nouns and verbs that no peer has come through it too.
        client.tells(&["account.add", newcomer, "a password"]);
        assert!(daemon.imcctl(&["account", "list"]).contains(&format!("{newcomer}@127.0.0.1")));
    }
}

#[test]
fn kamctl_manages_the_daemon_over_the_fifo() {
    if !installed(&["kamctl", "baresip"]) {
        return;
    }
    let daemon = Daemon::open();
    let _phones = two_in_a_room(&daemon);
    let home = TempDir::new().expect("a directory");
    let kamctl = |words: &[&str]| {
        let mut command = Command::new("kamctl");
        command.args(words).env("RPCFIFOPATH", daemon.fifo()).env("HOME", home.path());
        let output = command.current_dir(home.path()).stdin(Stdio::null()).output().expect("kamctl starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {output:?}");
        // What it did before its answer, it tells too.
        let start = said.find('{').unwrap_or_else(|| panic!("{words:?}: {output:?}"));
        serde_json::from_str::<Value>(&said[start..]).unwrap_or_else(|_| panic!("{words:?}: {output:?}"))
    };
    let rooms = kamctl(&["rpc", "imc.list_rooms"]);
    let line = json!({ "room": TEAM, "members": 2, "owner": "sip:alice@127.0.0.1" });
    assert_eq!(rooms["result"], json!([line]), "{rooms}");
    let members = kamctl(&["rpc", "imc.list_members", TEAM]);
    let (owner, member) = ("sip:alice@127.0.0.1", "sip:bob@127.0.0.1");
    let expected = json!({ "room": TEAM, "members": [owner, member], "count": 2 });
    assert_eq!(members["result"], expected, "{members}");
    let active = kamctl(&["rpc", "stats.get_statistics", "imc:"]);
    assert_eq!(active["result"], json!(["imc:active_rooms = 1"]), "{active}");
    let unknown = kamctl(&["rpc", "imc.list_members", "sip:none@127.0.0.1"]);
    assert_eq!(unknown["error"], json!({ "code": 500, "message": "Room not found" }), "{unknown}");
}
