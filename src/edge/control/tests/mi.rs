//! The FIFO and the datagram socket, byte for byte as the peers' clients know them (`imc.md` §3.3-3.5).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::Fake;
use crate::edge::control::{MiDoors, MiServing};

struct Doors {
    dir: TempDir,
    serving: Option<MiServing>,
}

impl Doors {
    fn open() -> Doors {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, socket) = (dir.path().join("fifo"), dir.path().join("dgram"));
        let doors = MiDoors::new(dir.path().to_path_buf());
        let doors = doors.with_fifo(Some(&fifo)).unwrap().with_datagram(Some(&socket)).unwrap();
        let serving = Some(doors.start(Arc::new(Fake::default())).unwrap());
        Doors { dir, serving }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, request: &str) {
        OpenOptions::new().write(true).open(self.at("fifo")).unwrap().write_all(request.as_bytes()).unwrap();
    }

    /// What comes back over the FIFO `name`.
    fn ask(&self, name: &str, request: &str) -> String {
        make(&self.at(name));
        self.write(request);
        let answer = fs::read_to_string(self.at(name)).unwrap();
        fs::remove_file(self.at(name)).unwrap();
        answer
    }

    /// What comes back as a datagram.
    fn send(&self, request: &str) -> Option<String> {
        let me = self.at("me");
        let socket = UnixDatagram::bind(&me).unwrap();
        socket.send_to(request.as_bytes(), self.at("dgram")).unwrap();
        // What a next request is answered came after the answer to this one.
        socket.send_to(b"!", self.at("dgram")).unwrap();
        let mut buffer = vec![0; 100_000];
        let mut receive = || {
            let bytes = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..bytes].to_vec()).unwrap()
        };
        let first = receive();
        let error =
            "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700,\"message\":\"Parse error\"},\"id\":null}";
        let answer = (first != error).then_some(first);
        if answer.is_some() {
            assert_eq!(receive(), error);
        }
        fs::remove_file(me).unwrap();
        answer
    }
}

fn make(path: &Path) {
    mkfifo(path, Mode::from_bits_truncate(0o600)).unwrap();
}

#[test]
fn the_text_form_is_answered_as_a_tree() {
    let doors = Doors::open();
    for (request, expected) in [
        (
            ":imc_list_rooms:r\n\n",
            "200 OK\nROOM::  URI=sip:team@example.org MEMBERS=1 OWNER=sip:alice@example.org\n\n",
        ),
        (
            ":imc_list_members:r\nsip:team@example.org\n\n",
            "200 OK\nROOM:: sip:team@example.org NR_OF_MEMBERS=1\n\tMEMBER:: sip:alice@example.org\n\n",
        ),
        (
            ":imc_list_members:r\nroom:: \"sip:team@example.org\"\n\n",
            "200 OK\nROOM:: sip:team@example.org NR_OF_MEMBERS=1\n\tMEMBER:: sip:alice@example.org\n\n",
        ),
        (":imc_list_members:r\nsip:none@example.org\n\n", "404 no such room\n\n"),
        (":imc_list_members:r\n\"\"\n\n", "400 empty param\n\n"),
        (":imc_list_members:r\ntel:+1\n\n", "400 bad param\n\n"),
        (":imc_list_members:r\n\n", "500 command 'imc_list_members' failed\n"),
        (":imc_list_members:r\na\nb\n\n", "500 command 'imc_list_members' failed\n"),
        (":imc_list_chairs:r\n\n", "500 command 'imc_list_chairs' not available\n"),
        (":get_statistics:r\nimc:\n\n", "200 OK\nimc:active_rooms = 2\n\n"),
        (":version:r\n\n", concat!("200 OK\nServer:: imcd ", env!("CARGO_PKG_VERSION"), "\n\n")),
        (":help:r\nimc_list_rooms\n\n", "200 OK\nHelp:: lists the rooms\n\n"),
        // Our own commands.
        (":account.add:r\naccount:: bob\n\n", "200 OK\naccount:: bob@example.org\n\n"),
        (":account.add:r\nbob\n\n", "403 bob@example.org is there already\n\n"),
        (":account.list:r\n\n", "200 OK\nACCOUNT::  account=bob@example.org password=false contacts=0\n\n"),
        (":account.add:r\n\n", "400 account: missing\n\n"),
        (":account.add:r\nno address\n\n", "400 account: expected an address such as alice@example.org\n\n"),
        (":server.version:r\n\n", concat!("200 OK\n\"imcd ", env!("CARGO_PKG_VERSION"), "\"\n\n")),
    ] {
        assert_eq!(doors.ask("r", request), expected, "{request:?}");
    }
    let names = doors.ask("r", ":which:r\n\n");
    assert!(names.starts_with("200 OK\nimc_list_rooms\n") && names.ends_with("\n\n"), "{names}");
}

#[test]
fn the_documents_of_opensips_and_kamailio_are_answered_as_theirs() {
    let doors = Doors::open();
    let request =
        ":r:{\"jsonrpc\": \"2.0\", \"id\": \"12345\", \"method\": \"imc_list_rooms\", \"params\": {}}";
    let rooms = "{\"jsonrpc\":\"2.0\",\"result\":{\"ROOMS\":[{\"URI\":\"sip:team@example.org\",\"MEMBERS\":1,\"OWNER\":\"sip:alice@example.org\"}]},\"id\":\"12345\"}";
    assert_eq!(doors.ask("r", request), rooms);
    let broken = "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700,\"message\":\"Parse error\"},\"id\":null}";
    assert_eq!(doors.ask("r", ":r:{,}"), broken);
    let request = "{\"jsonrpc\": \"2.0\", \"method\": \"imc.list_members\", \"params\": [\"sip:team@example.org\"], \"reply_name\": \"r\", \"id\": 7}\n";
    let members = "{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"result\":\t{\n\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\"members\":\t[\"sip:alice@example.org\"],\n\t\t\"count\":\t1\n\t},\n\t\"id\":\t7\n}";
    assert_eq!(doors.ask("r", request), members);
    // A probe opens and closes; what needs no answer gets none; neither does any harm.
    for silent in [
        "",
        "\n",
        "::{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"which\"}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"which\"}\n",
        ":which:\n\n",
    ] {
        doors.write(silent);
        assert_eq!(doors.ask("r", request), members, "after {silent:?}");
    }
}

#[test]
fn a_bad_reply_name_means_that_nothing_is_done() {
    let doors = Doors::open();
    let outside = tempfile::tempdir().unwrap();
    make(&outside.path().join("r"));
    let name = format!("../{}/r", outside.path().file_name().unwrap().to_str().unwrap());
    doors.write(&format!(":account.add:{name}\neve\n\n"));
    doors.write(&format!(
        ":{name}:{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"account.add\",\"params\":[\"eve\"]}}"
    ));
    doors.write(&format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"account.add\",\"params\":[\"eve\"],\"reply_name\":\"{name}\"}}"
    ));
    // Without a reply name it is done in silence.
    doors.write(":account.add:\nbob\n\n");
    let accounts = doors.ask("r", ":account.list:r\n\n");
    assert_eq!(accounts, "200 OK\nACCOUNT::  account=bob@example.org password=false contacts=0\n\n");
}

#[test]
fn half_a_request_is_forgotten_when_its_writer_goes() {
    let doors = Doors::open();
    let accounts = "{\"jsonrpc\": \"2.0\", \"method\": \"account.list\", \"reply_name\": \"r\", \"id\": 7}\n";
    for half in [
        ":account.add:gone\n\"eve\n",
        "{\"method\": {",
        "{\"jsonrpc\": \"2.0\", \"method\": \"account.add\", \"params\": [\"eve\"]",
        ":gone:{ {",
        ":",
        "x",
    ] {
        // Whether the door has seen its end or not.
        doors.write(half);
        assert!(doors.ask("r", accounts).contains("\"result\":\t[]"), "{half:?}");
    }
}

#[test]
fn datagrams_are_answered_to_the_address_of_their_sender() {
    let doors = Doors::open();
    assert_eq!(fs::metadata(doors.at("dgram")).unwrap().permissions().mode() & 0o777, 0o660);
    let members = doors.send("{\n  \"jsonrpc\": \"2.0\",\n  \"method\": \"imc.list_members\",\n  \"params\": [\"team\"],\n  \"id\": 7\n}");
    assert_eq!(
        members.unwrap(),
        "{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"result\":\t{\n\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\"members\":\t[\"sip:alice@example.org\"],\n\t\t\"count\":\t1\n\t},\n\t\"id\":\t7\n}"
    );
    let opensips = doors.send(
        "{\"jsonrpc\":\"2.0\",\"method\":\"imc_list_members\",\"params\":{\"room\":\"team\"},\"id\":1}",
    );
    assert_eq!(
        opensips.unwrap(),
        "{\"jsonrpc\":\"2.0\",\"result\":{\"ROOM\":\"sip:team@example.org\",\"MEMBERS\":[\"sip:alice@example.org\"],\"NO_MEMBERS\":1},\"id\":1}"
    );
    let tree = doors.send(":imc_list_members:\nsip:team@example.org\n");
    assert_eq!(
        tree.unwrap(),
        "200 OK\nROOM:: sip:team@example.org NR_OF_MEMBERS=1\n\tMEMBER:: sip:alice@example.org\n\n"
    );
    assert_eq!(doors.send("{\"jsonrpc\":\"2.0\",\"method\":\"imc_list_rooms\"}"), None, "a notification");
    let long = format!(":imc_list_{}:\n", "x".repeat(70_000));
    assert_eq!(doors.send(&long), None);
    // Somebody who has no address, and one who does not read, hold nobody up.
    let nobody = UnixDatagram::unbound().unwrap();
    nobody.send_to(b"{\"jsonrpc\":\"2.0\",\"method\":\"which\",\"id\":1}", doors.at("dgram")).unwrap();
    let deaf = UnixDatagram::bind(doors.at("deaf")).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    for _ in 0..600 {
        deaf.send_to(b"{\"jsonrpc\":\"2.0\",\"method\":\"which\",\"id\":1}", doors.at("dgram")).unwrap();
    }
    assert!(doors.send("{\"jsonrpc\":\"2.0\",\"method\":\"which\",\"id\":1}").is_some());
}

#[test]
fn the_files_go_with_the_doors() {
    let mut doors = Doors::open();
    assert!(doors.at("fifo").exists() && doors.at("dgram").exists());
    drop(doors.serving.take());
    assert!(!doors.at("fifo").exists() && !doors.at("dgram").exists());
}
