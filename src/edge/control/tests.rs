//! The engine and the socket, over a management that keeps its accounts in a list.

mod fake;
mod http;
mod mi;
mod pages;
mod peers;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use self::fake::Fake;
use super::table::Right;
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What `document` is answered.
fn ask_as(fake: &Fake, right: Right, document: &str) -> Option<Value> {
    let reply = runtime().block_on(rpc::answer(fake, right, document.as_bytes()))?;
    Some(serde_json::from_slice(&reply).unwrap())
}

fn ask(fake: &Fake, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string();
    let reply = ask_as(fake, Right::Manage, &request).unwrap();
    assert_eq!((&reply["jsonrpc"], &reply["id"]), (&json!("2.0"), &json!(7)));
    reply
}

fn code(reply: &Value) -> i64 {
    reply["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error in {reply}"))
}

#[test]
fn positional_and_named_parameters_do_the_same() {
    let fake = Fake::default();
    assert_eq!(
        ask(&fake, "account.add", json!(["bob", "pw"]))["result"],
        json!({"account": "bob@example.org"})
    );
    let named = json!({"password": "pw", "account": "sip:alice@example.net:5060"});
    assert_eq!(ask(&fake, "account.add", named)["result"]["account"], "alice@example.net");
    assert_eq!(ask(&fake, "account.add", json!([4711]))["result"]["account"], "4711@example.org");
    let list = ask(&fake, "account.list", json!([]));
    assert_eq!(
        list["result"],
        json!([
            {"account": "4711@example.org", "password": false, "contacts": 0},
            {"account": "alice@example.net", "password": true, "contacts": 0},
            {"account": "bob@example.org", "password": true, "contacts": 0},
        ])
    );
    assert_eq!(
        ask(&fake, "account.list", json!({"domain": "example.net"}))["result"].as_array().unwrap().len(),
        1
    );
    assert_eq!(ask(&fake, "account.remove", json!(["bob"]))["result"]["account"], "bob@example.org");
    assert_eq!(fake.accounts.lock().unwrap().len(), 2);
}

#[test]
fn errors_have_the_codes_of_the_standard_and_help() {
    let fake = Fake::default();
    for (method, params, expected, said) in [
        ("room.paint", json!([]), rpc::METHOD_NOT_FOUND, "Method not found"),
        ("room.show", json!([]), rpc::INVALID_PARAMS, "room: missing"),
        ("room.show", json!(["a", "b"]), rpc::INVALID_PARAMS, "Too few or too many parameters"),
        ("room.show", json!({"rom": "a"}), rpc::INVALID_PARAMS, "rom: no such parameter"),
        ("room.show", json!([["a"]]), rpc::INVALID_PARAMS, "room: expected a string"),
        (
            "room.show",
            json!(["a b"]),
            rpc::INVALID_PARAMS,
            "room: expected an address such as alice@example.org",
        ),
        ("room.list", json!(["a b"]), rpc::INVALID_PARAMS, "domain: expected a domain such as example.org"),
        ("account.add", json!(["a", "p\nw"]), rpc::INVALID_PARAMS, "password: expected 1 to 255 bytes"),
        ("account.add", json!(["a", ""]), rpc::INVALID_PARAMS, "password: expected 1 to 255 bytes"),
        ("account.remove", json!(["nobody"]), rpc::NOT_FOUND, "no account nobody@example.org"),
        ("account.passwd", json!(["a", "b"]), rpc::FAULT, "Server error, see the log"),
    ] {
        let reply = ask(&fake, method, params);
        assert_eq!(code(&reply), expected, "{method}: {reply}");
        assert!(reply.to_string().contains(said), "{method}: {reply}");
        assert!(!reply.to_string().contains("/dev/secret"), "the cause stays in the log");
    }
    ask(&fake, "account.add", json!(["a"]));
    assert_eq!(code(&ask(&fake, "account.add", json!(["A@EXAMPLE.ORG"]))), rpc::REFUSED);
}

#[test]
fn what_is_no_request_is_told_so() {
    let fake = Fake::default();
    for (document, expected) in [
        ("{", rpc::PARSE_ERROR),
        ("hello", rpc::PARSE_ERROR),
        ("1", rpc::INVALID_REQUEST),
        ("[]", rpc::INVALID_REQUEST),
        ("{}", rpc::INVALID_REQUEST),
        (r#"{"jsonrpc":"1.0","method":"which","id":1}"#, rpc::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","method":"which","id":[]}"#, rpc::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","method":1,"id":1}"#, rpc::INVALID_REQUEST),
    ] {
        let reply = ask_as(&fake, Right::Manage, document).unwrap();
        assert_eq!((code(&reply), &reply["id"]), (expected, &Value::Null), "{document}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(code(&ask_as(&fake, Right::Manage, &deep).unwrap()), rpc::PARSE_ERROR);
    let long = " ".repeat(super::frame::MAX_DOCUMENT + 1);
    assert_eq!(code(&ask_as(&fake, Right::Manage, &long).unwrap()), rpc::INVALID_REQUEST);
}

#[test]
fn the_answers_to_a_batch_are_bounded_together() {
    let add = |name: &str| format!(r#""jsonrpc":"2.0","method":"account.add","params":["{name}"]"#);
    let history = r#"{"jsonrpc":"2.0","method":"room.history","params":["bulky",1000],"id":1}"#;
    let [first, last, silent] = ["bob", "carol", "dave"].map(add);
    let batch = format!(r#"[{{{first},"id":0}},{},{{{last},"id":2}},{{{silent}}}]"#, [history; 97].join(","));
    let fake = Fake::default();
    let replies = ask_as(&fake, Right::Manage, &batch).unwrap();
    let replies = replies.as_array().unwrap();
    assert_eq!(replies.len(), 99);
    let done = replies.iter().filter(|reply| reply.get("result").is_some()).count();
    assert!((2..90).contains(&done), "{done}");
    assert_eq!((code(&replies[98]), &replies[98]["id"]), (rpc::FAULT, &json!(2)));
    let accounts = ask(&fake, "account.list", json!([]));
    assert_eq!(accounts["result"].as_array().unwrap().len(), 1, "what is not answered for is not done");
}

#[test]
fn a_notification_is_done_and_not_answered() {
    let fake = Fake::default();
    let add = r#"{"jsonrpc":"2.0","method":"account.add","params":["bob"]}"#;
    assert_eq!(ask_as(&fake, Right::Manage, add), None);
    assert_eq!(fake.accounts.lock().unwrap().len(), 1);
    let batch = format!(r#"[{add},1,{{"jsonrpc":"2.0","method":"account.list","id":"x"}}]"#);
    let replies = ask_as(&fake, Right::Manage, &batch).unwrap();
    assert_eq!(replies.as_array().unwrap().len(), 2);
    assert_eq!((code(&replies[0]), &replies[1]["id"]), (rpc::INVALID_REQUEST, &json!("x")));
    assert_eq!(ask_as(&fake, Right::Manage, &format!("[{add}]")), None);
    let endless = vec!["1"; 101].join(",");
    assert!(
        ask_as(&fake, Right::Manage, &format!("[{endless}]")).unwrap().is_object(),
        "a batch has a bound"
    );
}

#[test]
fn a_door_that_only_lets_look_changes_nothing() {
    let fake = Fake::default();
    for command in table::COMMANDS {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": command.name, "params": vec!["bob"; command.args.len().min(1)] });
        let reply = ask_as(&fake, Right::Read, &request.to_string()).unwrap();
        let refused = reply["error"]["message"] == "Not allowed at this door";
        assert_eq!(refused, command.right == Right::Manage, "{}: {reply}", command.name);
    }
    assert!(fake.accounts.lock().unwrap().is_empty());
}

#[test]
fn every_result_has_the_columns_that_the_table_promises() {
    let fake = Fake::default();
    for command in table::COMMANDS.iter().filter(|c| !c.columns.is_empty() && c.name != "account.passwd") {
        if command.name != "account.add" {
            let _ = ask(&fake, "account.add", json!(["bob"]));
        }
        let required = command.args.iter().filter(|a| a.required);
        let fitting = |kind| match kind {
            table::Kind::File => "AAEC",
            table::Kind::Path => "/tmp/x",
            table::Kind::Source => "dump:/x",
            table::Kind::Role => "admin",
            table::Kind::Sight => "both",
            _ => "bob",
        };
        let params: Vec<&str> = required.map(|a| fitting(a.kind)).collect();
        let result = ask(&fake, command.name, json!(params))["result"].clone();
        let first = if result.is_array() { &result[0] } else { &result };
        let mut fields: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns = command.columns.to_vec();
        fields.sort();
        columns.sort();
        assert_eq!(fields, columns, "{}", command.name);
        fake.accounts.lock().unwrap().clear();
    }
}

#[test]
fn flags_numbers_roles_and_lists_are_taken_as_people_and_programs_write_them() {
    let fake = Fake::default();
    for (private, is) in [
        (json!("private"), true),
        (json!("yes"), true),
        (json!(true), true),
        (json!("no"), false),
        (json!(false), false),
        (json!(null), false),
    ] {
        let made = ask(&fake, "room.create", json!(["team", "alice", private]));
        assert_eq!(made["result"]["private"], is, "{private}");
    }
    assert_eq!(ask(&fake, "room.history", json!(["team"]))["result"].as_array().unwrap().len(), 10);
    assert_eq!(ask(&fake, "room.history", json!(["team", 3]))["result"].as_array().unwrap().len(), 3);
    assert_eq!(ask(&fake, "member.add", json!(["team", "bob", "ADMIN"]))["error"], Value::Null);
    for (to, sent) in [
        (json!("bob, sip:carol@example.org,"), 2),
        (json!(["bob", "carol", "dave"]), 3),
        (json!(["bob", 1001]), 2),
        (json!(null), 1000),
    ] {
        let said = ask(&fake, "message.broadcast", json!(["alice", "hello", to]));
        assert_eq!(said["result"]["sent"], sent, "{to}");
    }
    for (method, params, wrong) in [
        ("room.create", json!(["team", "alice", "maybe"]), "private: expected yes or no"),
        ("room.history", json!(["team", 0]), "n: expected a number from 1 to 1000"),
        ("room.history", json!(["team", 1001]), "n: expected a number from 1 to 1000"),
        ("room.rename", json!(["team", "a\r\nX: y"]), "name: expected one line"),
        ("member.role", json!(["team", "bob", "king"]), "role: expected owner, admin or member"),
        ("message.broadcast", json!(["alice", "hello", ["bob", []]]), "to: expected strings"),
        ("room.post", json!(["team", ["a", "b"]]), "text: expected a string"),
        ("server.backup", json!(["imcd.bak"]), "file: expected the absolute path of a file"),
    ] {
        let refused = ask(&fake, method, params);
        assert_eq!((code(&refused), &refused["error"]["data"]), (rpc::INVALID_PARAMS, &json!(wrong)));
    }
    let nobody = ask(&fake, "message.broadcast", json!(["alice", "hello", []]));
    assert_eq!(code(&nobody), rpc::INVALID_PARAMS);
}

#[test]
fn who_has_a_roster_and_who_sees_whom_is_told_from_the_entries() {
    let fake = Fake::default();
    let users = ask(&fake, "roster.users", json!([]))["result"].clone();
    assert_eq!(users, json!([{"account": "alice", "buddies": 1}, {"account": "bob", "buddies": 2}]));
    assert_eq!(ask(&fake, "roster.links", json!([]))["result"], json!([{"account": "alice", "user": "bob"}]));
}

#[test]
fn which_tells_every_command_and_its_parameters() {
    let fake = Fake::default();
    let names = ask(&fake, "which", json!([]))["result"].clone();
    assert_eq!(names, json!(table::COMMANDS.iter().map(|c| c.name).collect::<Vec<_>>()));
    assert_eq!(ask(&fake, "which", json!(["account.add"]))["result"], json!([["account", "password"]]));
}

/// A served socket; ends when dropped.
struct Door {
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    _dir: tempfile::TempDir,
}

impl Door {
    fn open(limits: SocketLimits) -> Door {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imcd.sock");
        let runtime = runtime();
        let socket = ControlSocket::bind(&path).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = runtime.spawn(socket.serve(Arc::new(Fake::default()), limits, async {
            let _ = stopped.await;
        }));
        Door { path, runtime, stop: Some(stop), served: Some(served), _dir: dir }
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        BufReader::new(stream)
    }

    fn close(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).unwrap().unwrap();
        }
    }
}

fn line(from: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

const VERSION: &str = r#"{"jsonrpc":"2.0","method":"server.version","id":1}"#;

#[test]
fn documents_back_to_back_are_answered_in_order_a_line_each() {
    let door = Door::open(SocketLimits::default());
    let mut client = door.connect();
    let spread = VERSION.replace("\"id\":1", "\n\"id\" :\n 2\n").replace(',', ",\n");
    write!(client.get_mut(), "{VERSION}{spread}\nnonsense\n{VERSION}").unwrap();
    assert!(line(&mut client).contains("\"id\":1"));
    assert!(line(&mut client).contains("\"id\":2"));
    assert!(line(&mut client).contains("-32700"));
    assert!(line(&mut client).contains("\"id\":1"));
    write!(client.get_mut(), "{{\"unfinished\"").unwrap();
    client.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(line(&mut client).contains("-32700"));
    assert_eq!(line(&mut client), "", "closed");
}

#[test]
fn only_owner_and_group_may_open_it_and_it_goes_with_the_daemon() {
    let mut door = Door::open(SocketLimits::default());
    assert_eq!(std::fs::metadata(&door.path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut idle = door.connect();
    writeln!(idle.get_mut(), "{VERSION}").unwrap();
    assert!(line(&mut idle).contains("result"));
    door.close();
    assert_eq!(line(&mut idle), "", "told by a close");
    assert!(!door.path.exists());
}

#[test]
fn what_is_followed_comes_as_notifications_until_the_client_speaks() {
    let door = Door::open(SocketLimits::default());
    let mut client = door.connect();
    let tail = |params| json!({ "jsonrpc": "2.0", "id": "f", "method": "tail", "params": params });
    let mut next = |request: Value| {
        if !request.is_null() {
            // In one piece: what comes late may find nobody there.
            client.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        }
        let line = line(&mut client);
        serde_json::from_str::<Value>(&line).unwrap_or_else(|_| json!({ "end": line }))
    };
    // What is refused leaves the connection as it was.
    assert_eq!(code(&next(tail(json!(["nowhere"])))), rpc::NOT_FOUND);
    assert_eq!(code(&next(tail(json!(["a b"])))), rpc::INVALID_PARAMS);
    assert_eq!(code(&next(tail(json!(["a", "b"])))), rpc::INVALID_PARAMS);
    let fake = Fake::default();
    assert_eq!(code(&ask(&fake, "tail", json!([]))), rpc::REFUSED, "a door that answers once");
    assert_eq!(next(tail(json!(["team"])))["result"]["following"], "team@example.org");
    let heard = next(Value::Null);
    assert_eq!((&heard["method"], &heard["id"]), (&json!("tail"), &Value::Null));
    assert_eq!((&heard["params"]["kind"], &heard["params"]["lost"]), (&json!("direct"), &Value::Null));
    assert_eq!(next(Value::Null)["params"]["lost"], 3);
    assert_eq!(next(Value::Null)["end"], "", "nothing will come any more");
}

#[test]
fn a_request_without_end_is_answered_and_cut() {
    let door = Door::open(SocketLimits::default());
    let mut client = door.connect();
    let mut writer = client.get_ref().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let chunk = vec![b'['; 64 * 1024];
        while writer.write_all(&chunk).is_ok() {}
    });
    assert!(line(&mut client).contains("Request too long"));
    sender.join().unwrap();
}

#[test]
fn connections_and_their_idle_time_are_bounded() {
    let door = Door::open(SocketLimits { connections: 1, idle: Duration::from_secs(60) });
    let mut first = door.connect();
    writeln!(first.get_mut(), "{VERSION}").unwrap();
    assert!(line(&mut first).contains("result"));
    assert!(line(&mut door.connect()).contains("Too many connections"));
    writeln!(first.get_mut(), "{VERSION}").unwrap();
    assert!(line(&mut first).contains("result"), "the first is still served");

    let door = Door::open(SocketLimits { connections: 1, idle: Duration::from_millis(50) });
    let mut rest = Vec::new();
    door.connect().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "closed for idleness");
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imcd.sock");
    let bind = ControlSocket::bind;

    let dead = StdListener::bind(&path).unwrap();
    assert_eq!(bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(dead);
    assert!(path.exists(), "a dead daemon's socket stays behind");
    let first = bind(&path).unwrap();
    let e = bind(&path).unwrap_err();
    assert!(e.to_string().contains("another daemon listens there"), "{e}");

    // Somebody else's file in our place is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(first);
    assert_eq!(bind(&path).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
