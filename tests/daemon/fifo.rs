//! The MI FIFO and the datagram socket of a real daemon, as scripts and tools of the peers use them.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::kit::{Daemon, Dice, PATIENCE, Setup, long_form};

const OPENSIPS: &str =
    "{\"jsonrpc\": \"2.0\", \"id\": \"1\", \"method\": \"imc_list_rooms\", \"params\": {}}";

fn open() -> Daemon {
    let setup = Setup::new();
    let dir = format!("{:?}", setup.dir().display().to_string());
    setup.set("control.reply_dir", &dir).set("control.datagram", "\"imcd_rpc.sock\"").start()
}

/// A client of the FIFO, as far as it gets before it vanishes.
struct Caller {
    fifo: PathBuf,
    reply: PathBuf,
}

impl Caller {
    fn new(daemon: &Daemon) -> Caller {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let reply = daemon.dir().join(format!("reply_{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        mkfifo(&reply, Mode::from_bits_truncate(0o600)).expect("a reply FIFO can be made");
        Caller { fifo: daemon.dir().join("imcd_fifo"), reply }
    }

    fn name(&self) -> &str {
        self.reply.file_name().and_then(|name| name.to_str()).expect("it has a name")
    }

    fn write(&self, request: &str) {
        write(&self.fifo, request.as_bytes());
    }

    fn read(&self) -> String {
        self.read_for(PATIENCE).unwrap_or_else(|| panic!("no answer over {}", self.name()))
    }

    fn read_for(&self, patience: Duration) -> Option<String> {
        let (path, (told, heard)) = (self.reply.clone(), mpsc::channel());
        thread::spawn(move || told.send(fs::read_to_string(path)));
        heard.recv_timeout(patience).ok().map(|answer| answer.expect("the answer can be read"))
    }

    fn text(&self, command: &str, argument: &str) -> String {
        let argument = if argument.is_empty() { String::new() } else { format!("{argument}\n") };
        self.write(&format!(":{command}:{}\n{argument}\n", self.name()));
        self.read()
    }

    fn opensips(&self) -> String {
        self.write(&format!(":{}:{OPENSIPS}", self.name()));
        self.read()
    }

    fn kamailio(&self) -> String {
        let name = self.name();
        self.write(&format!(
            "{{\"jsonrpc\": \"2.0\", \"method\": \"imc.list_rooms\", \"reply_name\": \"{name}\", \"id\": 1}}\n"
        ));
        self.read()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // A test that failed has other worries.
        let _ = fs::remove_file(&self.reply);
    }
}

fn write(fifo: &Path, bytes: &[u8]) {
    let mut fifo = OpenOptions::new().write(true).open(fifo).expect("the FIFO can be opened");
    fifo.write_all(bytes).expect("the FIFO takes it");
}

const EMPTY: &str = "{\"jsonrpc\":\"2.0\",\"result\":{\"ROOMS\":[]},\"id\":\"1\"}";

#[test]
fn a_shell_asks_with_echo_and_reads_with_cat() {
    let daemon = open();
    let fifo = fs::symlink_metadata(daemon.dir().join("imcd_fifo")).expect("it is there");
    assert!(fifo.file_type().is_fifo());
    assert_eq!(fifo.permissions().mode() & 0o777, 0o660);
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, "team", "#create");
    bob.expect(202, "team", "#join");
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        let output = command.args(["-ec", script]).current_dir(daemon.dir()).stdin(Stdio::null()).output();
        String::from_utf8(output.expect("there is a shell").stdout).expect("text")
    };
    let rooms = shell("mkfifo r; echo ':imc_list_rooms:r\n' > imcd_fifo; cat r");
    assert_eq!(rooms, "200 OK\nROOM::  URI=sip:team@example.org MEMBERS=2 OWNER=sip:alice@example.org\n\n");
    let members = shell("printf ':imc_list_members:r\nsip:team@example.org\n\n' > imcd_fifo; cat r");
    assert_eq!(
        members,
        "200 OK\nROOM:: sip:team@example.org NR_OF_MEMBERS=2\n\tMEMBER:: sip:alice@example.org\n\tMEMBER:: sip:bob@example.org\n\n"
    );
    // What no peer has goes through it too, and chat goes on.
    let said =
        shell("printf ':message.send:r\nalice\nbob\n\"say \\\\\"hi\\\\\"\nto all\"\n\n' > imcd_fifo; cat r");
    assert_eq!(said, "200 OK\nfrom:: alice@example.org\nto:: bob@example.org\n\n");
    bob.hears("say \"hi\"\nto all");
}

#[test]
fn active_rooms_is_right() {
    let daemon = open();
    let alice = daemon.udp("alice");
    let caller = Caller::new(&daemon);
    let active = |count: u32| {
        let told = caller.text("get_statistics", "imc:");
        assert_eq!(told, format!("200 OK\nimc:active_rooms = {count}\n\n"));
    };
    active(0);
    alice.expect(202, "team", "#create");
    alice.expect(202, "two", "#create");
    active(2);
    alice.expect(202, "two", "#destroy");
    active(1);
}

/// Others are not held up by what takes long; it is answered when it is done.
#[test]
fn an_import_is_done_beside_what_comes_after_it() {
    let daemon = open();
    daemon.account("bob", "pw");
    let letters: Vec<String> = (0..40_000)
        .map(|n| format!("({n},'sip:alice@example.org','bob','example.org','letter {n}')"))
        .collect();
    let dump =
        format!("INSERT INTO silo (id, src_addr, username, domain, body) VALUES {};\n", letters.join(","));
    fs::write(daemon.dir().join("old.sql"), dump).unwrap();
    let (long, short) = (Caller::new(&daemon), Caller::new(&daemon));
    let url = format!("dump:{}", daemon.dir().join("old.sql").display());
    let import = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"import.silo","params":["{url}"],"reply_name":"{}"}}"#,
        long.name()
    );
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| long.read());
        long.write(&import);
        assert!(short.text("imc_list_rooms", "").starts_with("200 OK\n"));
        let work = short.text("server.work", "");
        assert!(work.contains("command=import.silo") && work.contains("state=running"), "{work}");
        answer.join().unwrap()
    });
    assert!(answer.contains("\"rows\":\t40000"), "{answer}");
    assert!(short.text("server.work", "").contains("state=done"));
}

#[test]
fn many_ask_at_once_while_others_vanish() {
    let daemon = open();
    thread::scope(|all| {
        for worker in 0..20 {
            let daemon = &daemon;
            all.spawn(move || {
                for turn in 0..50 {
                    let caller = Caller::new(daemon);
                    match (worker + turn) % 7 {
                        // Never reads; its FIFO goes.
                        0 => caller.write(&format!(":imc_list_rooms:{}\n\n", caller.name())),
                        // Opens, and goes before the answer.
                        1 => {
                            let flags = nix::fcntl::OFlag::O_NONBLOCK;
                            use std::os::unix::fs::OpenOptionsExt;
                            let mut reader = OpenOptions::new();
                            let reader = reader.read(true).custom_flags(flags.bits()).open(&caller.reply);
                            caller.write(&format!(":{}:{OPENSIPS}", caller.name()));
                            drop(reader.expect("it can be opened"));
                        }
                        // Looks whether there is a FIFO.
                        2 => caller.write(""),
                        3 | 4 => assert_eq!(caller.opensips(), EMPTY),
                        5 => assert!(caller.kamailio().contains("\t\"result\":\t[],\n")),
                        _ => assert_eq!(caller.opensips(), EMPTY),
                    }
                }
            });
        }
    });
    daemon.must_be_alive();
}

#[test]
fn a_thousand_requests_in_one_breath_are_all_answered() {
    let daemon = open();
    let callers: Vec<_> = (0..200).map(|_| Caller::new(&daemon)).collect();
    for round in 0..5 {
        thread::scope(|all| {
            for caller in &callers {
                all.spawn(move || assert_eq!(caller.read(), EMPTY, "round {round}"));
            }
            let requests: String =
                callers.iter().map(|caller| format!(":{}:{OPENSIPS}", caller.name())).collect();
            write(&callers[0].fifo, requests.as_bytes());
        });
    }
}

#[test]
fn ten_thousand_malformed_requests_leave_it_healthy() {
    let daemon = open();
    let alice = daemon.udp("alice");
    alice.expect(202, "team", "#create");
    let mut dice = Dice::new("fifo");
    let before = daemon.rss_kib();
    let fifo = daemon.dir().join("imcd_fifo");
    let socket = UnixDatagram::unbound().expect("a socket");
    let whole = [
        ":imc_list_rooms:r\n\n".to_owned(),
        ":imc_list_members:r\nname:: \"sip:team@example.org\"\n\n".to_owned(),
        format!(":r:{OPENSIPS}"),
        "{\"jsonrpc\": \"2.0\", \"method\": \"imc.list_members\", \"params\": [\"x\"], \"reply_name\": \"r\", \"id\": 1}\n"
            .to_owned(),
    ];
    for _ in 0..if long_form() { 100_000 } else { 10_000 } {
        let mut bytes = whole[dice.below(whole.len())].clone().into_bytes();
        for _ in 0..1 + dice.below(4) {
            let at = dice.below(bytes.len().max(1)).min(bytes.len());
            match dice.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, dice.roll() as u8),
                2 if at < bytes.len() => bytes[at] = dice.roll() as u8,
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes.truncate(4096);
        write(&fifo, &bytes);
        if dice.below(4) == 0 {
            socket.send_to(&bytes, daemon.dir().join("imcd_rpc.sock")).expect("it is taken");
        }
    }
    // What was begun last ends with its writer: at the latest the second one who asks is answered.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let caller = Caller::new(&daemon);
        let (name, document) = (caller.name(), "\"method\": \"imc.list_rooms\", \"id\": 1");
        caller.write(&format!("\n{{\"jsonrpc\": \"2.0\", {document}, \"reply_name\": \"{name}\"}}\n"));
        let answer = caller.read_for(Duration::from_secs(2)).unwrap_or_default();
        if answer.contains("sip:team@example.org") {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
    }
    alice.expect(202, "team", "still here");
    let after = daemon.rss_kib();
    assert!(after < before + 100 * 1024, "{before} KiB have become {after} KiB");
}

#[test]
fn it_outlives_a_kill_and_goes_with_a_stop() {
    let mut daemon = open();
    daemon.kill();
    let fifo = daemon.dir().join("imcd_fifo");
    assert!(fifo.exists(), "nobody took it away");
    // Somebody asks while nobody is there.
    let caller = Caller::new(&daemon);
    let (path, request) = (fifo.clone(), format!(":imc_list_rooms:{}\n\n", caller.name()));
    let waiting = thread::spawn(move || write(&path, request.as_bytes()));
    daemon.restart();
    waiting.join().expect("it could write");
    assert_eq!(caller.read(), "200 OK\n\n");
    let (status, _) = daemon.terminate();
    assert!(status.success(), "{status}");
    assert!(!fifo.exists() && !daemon.dir().join("imcd_rpc.sock").exists());
}

#[test]
fn one_that_was_taken_away_comes_back() {
    let daemon = open();
    let fifo = daemon.dir().join("imcd_fifo");
    let writer = OpenOptions::new().write(true).open(&fifo).expect("the FIFO can be opened");
    fs::remove_file(&fifo).expect("it can be removed");
    // A writer that ends lets it be looked after; so does half a minute.
    drop(writer);
    let deadline = Instant::now() + PATIENCE;
    while !fifo.exists() {
        assert!(Instant::now() < deadline, "it never came back");
        thread::yield_now();
    }
    assert_eq!(Caller::new(&daemon).opensips(), EMPTY);
}

#[test]
fn what_stands_in_the_way_is_named_and_kept() {
    for (key, name) in [("control.fifo", "imcd_fifo"), ("control.datagram", "imcd_rpc.sock")] {
        let setup = Setup::new().set("control.datagram", "\"imcd_rpc.sock\"");
        let file = setup.dir().join(name);
        fs::write(&file, "precious").expect("written");
        let output = setup.run_to_end(&[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(key) && said.contains("is there already"),
            "{said}"
        );
        let mut kept = String::new();
        fs::File::open(file).and_then(|mut file| file.read_to_string(&mut kept)).expect("it is there");
        assert_eq!(kept, "precious");
    }
    let setup = Setup::new().set("control.datagram", "\"imcd_fifo\"");
    let output = setup.run_to_end(&["--check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("expected another file than control.datagram"),
        "{said}"
    );
}

#[test]
fn kamcli_s_datagrams_are_answered() {
    let daemon = open();
    daemon.udp("alice").expect(202, "team", "#create");
    let me = daemon.dir().join("kamailio_rpc_reply.sock.1");
    let socket = UnixDatagram::bind(&me).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = "{\n  \"jsonrpc\": \"2.0\",\n  \"method\": \"imc.list_rooms\",\n  \"id\": 7\n}\n";
    socket.send_to(request.as_bytes(), daemon.dir().join("imcd_rpc.sock")).expect("it is taken");
    let mut buffer = [0; 65_536];
    let bytes = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(
        String::from_utf8_lossy(&buffer[..bytes]),
        "{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"result\":\t[{\n\t\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\t\"members\":\t1,\n\t\t\t\"owner\":\t\"sip:alice@example.org\"\n\t\t}],\n\t\"id\":\t7\n}"
    );
}
