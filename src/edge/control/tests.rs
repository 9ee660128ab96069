//! The engine and the socket, over a management that keeps its accounts in a list.

mod mi;
mod peers;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::table::Right;
use super::*;
use crate::migrate::{Source, What};
use crate::refusal::Fault;
use crate::types::{Aor, Spread};

#[derive(Default)]
struct Fake {
    accounts: Mutex<Vec<(String, Option<String>)>>,
}

fn pair(sight: &'static str) -> Result<PairInfo, Denied> {
    Ok(PairInfo { account: "bob@example.org".into(), user: "alice@example.org".into(), sight })
}

fn entry(account: &str, user: &str, sight: &'static str) -> EntryInfo {
    EntryInfo { account: account.into(), user: user.into(), sight, nick: String::new(), groups: Vec::new() }
}

fn picture() -> AvatarInfo {
    let media = "image/png".into();
    AvatarInfo { account: "bob@example.org".into(), media, sha1: "da39".into(), bytes: 8 }
}

fn presence(says: &'static str, note: &str) -> Result<PresenceInfo, Denied> {
    let (account, note) = ("bob@example.org".into(), note.to_owned());
    Ok(PresenceInfo { account, state: "", says, note, avatar: String::new() })
}

impl Rosters for Fake {
    async fn roster_list(&self, _: Aor) -> Result<Vec<BuddyInfo>, Denied> {
        Ok(vec![BuddyInfo {
            user: "alice@example.org".into(),
            nick: "Al".into(),
            groups: vec!["work".into()],
            sight: "both",
            state: "busy",
        }])
    }
    async fn roster_add(
        &self,
        _: Aor,
        _: Aor,
        _: Option<String>,
        _: Option<String>,
    ) -> Result<PairInfo, Denied> {
        pair("asked")
    }
    async fn roster_remove(&self, _: Aor, _: Aor) -> Result<PairInfo, Denied> {
        pair("none")
    }
    async fn roster_link(&self, _: Aor, _: Aor, link: bool) -> Result<PairInfo, Denied> {
        pair(if link { "both" } else { "none" })
    }
    async fn roster_put(
        &self,
        _: Aor,
        _: Aor,
        _: String,
        _: Option<String>,
        _: Option<String>,
    ) -> Result<PairInfo, Denied> {
        pair("to")
    }
    async fn roster_dump(&self, _: Option<String>) -> Result<Vec<EntryInfo>, Denied> {
        Ok(vec![entry("alice", "bob", "both"), entry("bob", "alice", "both"), entry("bob", "carol", "to")])
    }
    async fn roster_clear(&self, _: String) -> Result<usize, Denied> {
        Ok(3)
    }
    async fn roster_sync(&self, _: String, _: Option<String>, _: bool) -> Result<Vec<StepInfo>, Denied> {
        Ok(vec![StepInfo { change: "add", entry: entry("alice", "bob", "both") }])
    }
    async fn presence_show(&self, _: Aor) -> Result<PresenceInfo, Denied> {
        presence("auto", "")
    }
    async fn presence_set(&self, _: Aor, _: String, note: String) -> Result<PresenceInfo, Denied> {
        presence("away", &note)
    }
    async fn avatar_set(&self, _: Aor, data: Vec<u8>) -> Result<AvatarInfo, Denied> {
        Ok(AvatarInfo { bytes: data.len(), ..picture() })
    }
    async fn avatar_get(&self, _: Aor) -> Result<(AvatarInfo, Vec<u8>), Denied> {
        Ok((picture(), b"\x89PNG\r\n\x1a\n".to_vec()))
    }
    async fn avatar_find(&self, _: String) -> Result<(AvatarInfo, Vec<u8>), Denied> {
        Err(Denied::NotFound("no picture".into()))
    }
    async fn avatar_remove(&self, _: Aor) -> Result<(), Denied> {
        Ok(())
    }
}

impl Following for Fake {
    /// Somebody is written to, and something is lost; then nothing more comes, or, for a room, nothing at all.
    async fn tail(&self, room: Option<Aor>) -> Result<tokio::sync::mpsc::Receiver<Overheard>, Denied> {
        if room.is_some_and(|room| room.user() == "nowhere") {
            return Err(Denied::NotFound("no room nowhere@example.org".into()));
        }
        let (told, heard) = tokio::sync::mpsc::channel(4);
        let line = |kind, lost| Overheard { kind, lost, ..Overheard::default() };
        for line in [line("direct", 0), line("lost", 3)] {
            told.try_send(line).unwrap();
        }
        Ok(heard)
    }
}

impl Management for Fake {
    fn default_domain(&self) -> String {
        "example.org".into()
    }
    async fn account_add(&self, account: Aor, password: Option<String>) -> Result<(), Denied> {
        let mut accounts = self.accounts.lock().unwrap();
        if accounts.iter().any(|(a, _)| a.eq_ignore_ascii_case(account.as_str())) {
            return Err(Denied::Refused(format!("{account} is there already")));
        }
        accounts.push((account.to_string(), password));
        Ok(())
    }
    async fn account_remove(&self, account: Aor) -> Result<RemovedInfo, Denied> {
        let mut accounts = self.accounts.lock().unwrap();
        let before = accounts.len();
        accounts.retain(|(a, _)| a != account.as_str());
        if accounts.len() == before {
            return Err(Denied::NotFound(format!("no account {account}")));
        }
        Ok(RemovedInfo { account: account.to_string(), ..RemovedInfo::default() })
    }
    async fn account_passwd(&self, _: Aor, _: String) -> Result<(), Denied> {
        Err(Denied::Fault(Fault::Unavailable("the disk /dev/secret is full".into())))
    }
    async fn account_list(&self, domain: Option<String>) -> Result<Vec<AccountInfo>, Denied> {
        let accounts = self.accounts.lock().unwrap();
        let of = |a: &str| domain.as_deref().is_none_or(|d| a.ends_with(&format!("@{d}")));
        Ok(accounts
            .iter()
            .filter(|(a, _)| of(a))
            .map(|(a, p)| AccountInfo { account: a.clone(), password: p.is_some(), contacts: 0 })
            .collect())
    }
    async fn account_settings(&self, _: Aor) -> Result<Vec<SettingInfo>, Denied> {
        Ok(vec![SettingInfo { key: "offline", value: "on", values: "on or off".into() }])
    }
    async fn account_set(&self, _: Aor, _: String, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn account_blocked(&self, _: Aor) -> Result<Vec<BlockedInfo>, Denied> {
        Ok(vec![BlockedInfo { user: "mallory@example.org".into() }])
    }
    async fn account_block(&self, _: Aor, _: Aor, _: bool) -> Result<(), Denied> {
        Ok(())
    }
    async fn offline_list(&self, _: Option<Aor>) -> Result<Vec<LetterInfo>, Denied> {
        Ok(vec![LetterInfo {
            id: 1,
            account: "bob@example.org".into(),
            from: "alice@example.org".into(),
            at: "2026-11-20 21:04:00".into(),
            expires: "2026-11-23 21:04:00".into(),
            media: "text/plain".into(),
            bytes: 5,
        }])
    }
    async fn offline_purge(&self, _: Aor) -> Result<u64, Denied> {
        Ok(3)
    }
    async fn offline_deliver(&self, _: Aor) -> Result<(u64, usize), Denied> {
        Ok((2, 1))
    }
    async fn message_send(&self, _: Aor, _: Aor, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn domain_list(&self) -> Result<Vec<DomainInfo>, Denied> {
        Ok(vec![self.domain_add("example.org".into()).await?])
    }
    async fn domain_add(&self, domain: String) -> Result<DomainInfo, Denied> {
        Ok(DomainInfo { domain, configured: true, accounts: 2, rooms: 1 })
    }
    async fn domain_remove(&self, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn server_status(&self) -> Result<Status, Denied> {
        Ok(Status {
            version: "1".into(),
            pid: 1,
            uptime_s: 2,
            domains: vec!["example.org".into()],
            listeners: vec!["udp:127.0.0.1:5060".into()],
            auth: "open",
            accounts: 0,
            contacts: 0,
            rooms: 0,
        })
    }
    fn vitals(&self) -> Vitals {
        let (commits, deliveries) = (Spread::default(), Spread::default());
        Vitals { ready: true, uptime_s: 2, queued: 0, commits, deliveries }
    }
    async fn server_stats(&self) -> Result<Vec<Stat>, Denied> {
        Ok(vec![Stat { name: "active_rooms", value: 2 }, Stat { name: "delivered", value: 7 }])
    }
    async fn message_broadcast(
        &self,
        from: Aor,
        _: String,
        to: Option<Vec<Aor>>,
    ) -> Result<BroadcastInfo, Denied> {
        let sent = to.map_or(1000, |to| to.len());
        Ok(BroadcastInfo { from: from.to_string(), sent, refused: Vec::new() })
    }
    async fn binding_list(&self, _: Option<Aor>) -> Result<Vec<BindingInfo>, Denied> {
        Ok(vec![BindingInfo {
            account: "bob@example.org".into(),
            contact: "sip:bob@192.0.2.7:5062".into(),
            transport: "udp".into(),
            source: "192.0.2.7:5062".into(),
            expires_in: 3600,
            user_agent: "baresip".into(),
        }])
    }
    async fn binding_drop(&self, _: Aor, _: Option<String>) -> Result<usize, Denied> {
        Ok(1)
    }
    async fn server_reload(&self) -> Result<ReloadInfo, Denied> {
        Ok(ReloadInfo { warnings: Vec::new(), needs_restart: vec!["sip.listen".into()] })
    }
    async fn server_backup(&self, _: PathBuf) -> Result<u64, Denied> {
        Ok(4096)
    }
    async fn log_level(&self, _: Option<String>) -> Result<&'static str, Denied> {
        Ok("info")
    }
}

impl Imports for Fake {
    async fn import(
        &self,
        what: What,
        source: Source,
        dry_run: bool,
        realm: Option<String>,
    ) -> Result<Vec<ImportInfo>, Denied> {
        let (outcome, why) = if dry_run { ("would be made", "") } else { ("made", "why") };
        let examples = vec![format!("{what:?} {source} {realm:?}")];
        Ok(vec![ImportInfo { table: "silo", outcome, rows: 1, why, examples }])
    }
}

impl Rooms for Fake {
    async fn room_list(&self, _: Option<String>) -> Result<Vec<RoomInfo>, Denied> {
        Ok(vec![self.room_show(Aor::new("team", "example.org").unwrap()).await?])
    }
    async fn room_show(&self, room: Aor) -> Result<RoomInfo, Denied> {
        if room.user() != "team" && room.user() != "bob" {
            return Err(Denied::NotFound(format!("no room {room}")));
        }
        Ok(RoomInfo {
            room: room.to_string(),
            title: String::new(),
            owner: "alice@example.org".into(),
            private: false,
            members: 1,
            invited: 0,
        })
    }
    async fn member_list(&self, _: Aor) -> Result<Vec<MemberInfo>, Denied> {
        Ok(vec![MemberInfo { user: "alice@example.org".into(), role: "owner" }])
    }
    async fn room_create(&self, room: Aor, owner: Option<Aor>, private: bool) -> Result<RoomInfo, Denied> {
        let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
        Ok(RoomInfo { owner, private, ..self.room_show(room).await? })
    }
    async fn room_destroy(&self, _: Aor) -> Result<(), Denied> {
        Ok(())
    }
    async fn room_set(&self, room: Aor, key: String, value: String) -> Result<RoomInfo, Denied> {
        let title = if key == "title" { value } else { String::new() };
        Ok(RoomInfo { title, ..self.room_show(room).await? })
    }
    async fn room_post(&self, _: Aor, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn room_history(&self, _: Aor, n: usize) -> Result<Vec<SaidInfo>, Denied> {
        let said = |n: usize| SaidInfo {
            at: "2026-11-20 21:04:00".into(),
            user: "alice@example.org".into(),
            text: n.to_string(),
        };
        Ok((0..n).map(said).collect())
    }
    async fn member_add(&self, _: Aor, user: Aor, role: String) -> Result<MemberInfo, Denied> {
        let role = if role == "admin" { "admin" } else { "member" };
        Ok(MemberInfo { user: user.to_string(), role })
    }
    async fn member_remove(&self, _: Aor, _: Aor) -> Result<(), Denied> {
        Ok(())
    }
    async fn member_role(&self, room: Aor, user: Aor, role: String) -> Result<MemberInfo, Denied> {
        self.member_add(room, user, role).await
    }
}

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
    for (to, sent) in
        [(json!("bob, sip:carol@example.org,"), 2), (json!(["bob", "carol", "dave"]), 3), (json!(null), 1000)]
    {
        let said = ask(&fake, "message.broadcast", json!(["alice", "hello", to]));
        assert_eq!(said["result"]["sent"], sent, "{to}");
    }
    for (method, params, wrong) in [
        ("room.create", json!(["team", "alice", "maybe"]), "private: expected yes or no"),
        ("room.history", json!(["team", 0]), "n: expected a number from 1 to 1000"),
        ("room.history", json!(["team", 1001]), "n: expected a number from 1 to 1000"),
        ("room.rename", json!(["team", "a\r\nX: y"]), "name: expected one line"),
        ("member.role", json!(["team", "bob", "king"]), "role: expected owner, admin or member"),
        ("message.broadcast", json!(["alice", "hello", ["bob", 7]]), "to: expected a string"),
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
    served: Option<tokio::task::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Door {
    fn open(limits: SocketLimits) -> Door {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imcd.sock");
        let runtime = runtime();
        let socket = runtime.block_on(async { ControlSocket::bind(&path) }).unwrap();
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
            self.runtime.block_on(served).unwrap();
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
            writeln!(client.get_mut(), "{request}").unwrap();
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
    let runtime = runtime();
    let bind = |path: &Path| runtime.block_on(async { ControlSocket::bind(path) });

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
