//! The peers' names, byte for byte as their clients know them (`imc.md` §3.4 and §3.5).

use serde_json::{Value, json};

use super::{Fake, runtime};
use crate::edge::control::peers::{Peer, answer};
use crate::edge::control::rpc;
use crate::edge::control::table::{COMMANDS, Right};

fn said(peer: Peer, document: &str) -> Option<String> {
    let fake = Fake::default();
    let reply = runtime().block_on(answer(&fake, Right::Manage, peer, document.as_bytes()))?;
    Some(String::from_utf8(reply).unwrap())
}

fn opensips(method: &str, params: &str) -> String {
    let request = format!(r#"{{"jsonrpc": "2.0", "id": "12345", "method": "{method}", "params": {params}}}"#);
    said(Peer::OpenSips, &request).unwrap()
}

fn kamailio(method: &str, params: &str) -> String {
    let request = format!(r#"{{"jsonrpc": "2.0", "method": "{method}", "params": {params}, "id": 7}}"#);
    said(Peer::Kamailio, &request).unwrap()
}

#[test]
fn opensips_is_answered_in_one_line() {
    let result = |result: &str| format!(r#"{{"jsonrpc":"2.0","result":{result},"id":"12345"}}"#);
    let error = |error: &str| format!(r#"{{"jsonrpc":"2.0","error":{error},"id":"12345"}}"#);
    let members = r#"{"ROOM":"sip:team@example.org","MEMBERS":["sip:alice@example.org"],"NO_MEMBERS":1}"#;
    let params = |data: &str| format!(r#"{{"code":-32602,"message":"Invalid params","data":"{data}"}}"#);
    for (method, given, expected) in [
        (
            "imc_list_rooms",
            "{}",
            result(
                r#"{"ROOMS":[{"URI":"sip:team@example.org","MEMBERS":1,"OWNER":"sip:alice@example.org"}]}"#,
            ),
        ),
        ("imc:list_members", r#"["sip:team@example.org"]"#, result(members)),
        ("imc_list_members", r#"{"room": "sip:team@example.org"}"#, result(members)),
        (
            "imc_list_members",
            r#"["sip:none@example.org"]"#,
            error(r#"{"code":404,"message":"no such room"}"#),
        ),
        ("imc_list_members", r#"[""]"#, error(r#"{"code":400,"message":"empty param"}"#)),
        ("imc_list_members", r#"["tel:+1"]"#, error(r#"{"code":400,"message":"bad param"}"#)),
        ("imc_list_members", "{}", error(&params("Too few or too many parameters"))),
        ("imc_list_members", r#"["a", "b"]"#, error(&params("Too few or too many parameters"))),
        ("imc_list_rooms", r#"["a"]"#, error(&params("Too few or too many parameters"))),
        ("imc_list_members", r#"{"name": "a"}"#, error(&params("Named parameters do not match"))),
        ("imc_list_chairs", "{}", error(r#"{"code":-32601,"message":"Method not found"}"#)),
        ("get_statistics", r#"{"statistics": ["imc:"]}"#, result(r#"{"imc:active_rooms":2}"#)),
        ("statistics:get", r#"[["active_rooms"]]"#, result(r#"{"imc:active_rooms":2}"#)),
        ("get_statistics", r#"[["all"]]"#, result(r#"{"imc:active_rooms":2,"imcd:delivered":7}"#)),
        ("get_statistics", r#"[["tm:"]]"#, error(r#"{"code":404,"message":"Statistics Not Found"}"#)),
        ("which", r#"{"command": "imc_list_members"}"#, result(r#"[["room"]]"#)),
        ("version", "[]", result(concat!(r#"{"Server":"imcd "#, env!("CARGO_PKG_VERSION"), r#""}"#))),
        ("account.add", r#"["bob"]"#, result(r#"{"account":"bob@example.org"}"#)),
        (
            "room.show",
            r#"["team"]"#,
            result(
                r#"{"room":"team@example.org","title":"","owner":"alice@example.org","private":false,"members":1,"invited":0}"#,
            ),
        ),
        // A command of ours takes what it takes elsewhere.
        (
            "room.create",
            r#"{"room": "team", "private": true}"#,
            result(
                r#"{"room":"team@example.org","title":"","owner":"","private":true,"members":1,"invited":0}"#,
            ),
        ),
        (
            "message.broadcast",
            r#"["alice", "hi", ["bob", 1001]]"#,
            result(r#"{"from":"alice@example.org","sent":2,"refused":[]}"#),
        ),
        ("room.show", "[{}]", error(&params("room: expected a string"))),
        (
            "help",
            r#"{"mi_cmd": "imc_list_rooms"}"#,
            result(r#"{"Help":"lists the rooms","Exported by":"imcd"}"#),
        ),
    ] {
        assert_eq!(opensips(method, given), expected, "{method} {given}");
    }
}

#[test]
fn kamailio_is_answered_with_tabs_and_its_codes() {
    let result =
        |text: &str| format!("{{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"result\":\t{text},\n\t\"id\":\t7\n}}");
    let error = |code: i64, text: &str| {
        format!(
            "{{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"error\":\t{{\n\t\t\"code\":\t{code},\n\t\t\"message\":\t\"{text}\"\n\t}},\n\t\"id\":\t7\n}}"
        )
    };
    let room = "[{\n\t\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\t\"members\":\t1,\n\t\t\t\"owner\":\t\"sip:alice@example.org\"\n\t\t}]";
    let members = "{\n\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\"members\":\t[\"sip:alice@example.org\"],\n\t\t\"count\":\t1\n\t}";
    for (method, given, expected) in [
        ("imc.list_rooms", "[]", result(room)),
        ("imc.list_members", r#"["sip:team@example.org"]"#, result(members)),
        ("imc.list_members", r#"{"whatever": "team", "more": 1}"#, error(500, "Room not found")),
        ("imc.list_members", "[]", error(500, "No room name")),
        ("imc.list_members", r#"[""]"#, error(500, "Empty room name")),
        ("imc.list_members", r#"["a b"]"#, error(500, "Invalid room name")),
        ("imc.list_members", r#"["sip:none@example.org"]"#, error(500, "Room not found")),
        ("imc.list_chairs", "[]", error(500, "Method Not Found")),
        ("stats.get_statistics", r#"["imc:"]"#, result("[\"imc:active_rooms = 2\"]")),
        ("stats.get_statistics", r#"["tm:"]"#, result("[]")),
        (
            "stats.get_statistics",
            r#"["imc:", "delivered"]"#,
            result("[\"imc:active_rooms = 2\", \"imcd:delivered = 7\"]"),
        ),
        ("account.remove", r#"["bob"]"#, error(404, "no account bob@example.org")),
    ] {
        assert_eq!(kamailio(method, given), expected, "{method} {given}");
    }
}

#[test]
fn notifications_and_what_is_no_request() {
    let silent = r#"{"jsonrpc":"2.0","method":"imc_list_rooms"}"#;
    assert_eq!(said(Peer::OpenSips, silent), None);
    let answered = said(Peer::Kamailio, silent).unwrap();
    assert!(answered.ends_with("}]\n}"), "{answered}: answered, without an id");
    for (document, code) in [
        ("{", -32700),
        ("", -32700),
        ("1", -32600),
        ("[]", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"2.0","method":"which","id":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","method":"which","id":1,"params":"x"}"#, -32600),
        (r#"{"jsonrpc":"1.0","method":["which"],"id":1}"#, -32600),
    ] {
        for peer in [Peer::OpenSips, Peer::Kamailio] {
            let reply: Value = serde_json::from_str(&said(peer, document).unwrap()).unwrap();
            assert_eq!((&reply["error"]["code"], &reply["id"]), (&json!(code), &Value::Null), "{document}");
        }
    }
    let deep = "[".repeat(100_000);
    assert!(said(Peer::OpenSips, &deep).unwrap().contains("-32700"));
    let stored = r#"{"jsonrpc":"2.0","method":"imc.list_rooms","id":7,"store_path":"/etc/passwd"}"#;
    assert!(said(Peer::Kamailio, stored).unwrap().contains("Storing failed"), "no files on a caller's word");
}

#[test]
fn every_command_of_ours_is_there_under_its_name_and_keeps_its_right() {
    let names: Value = serde_json::from_str(&opensips("which", "{}")).unwrap();
    let names = names["result"].as_array().unwrap();
    for command in COMMANDS {
        assert!(names.contains(&json!(command.name)), "{}", command.name);
        let params = json!(vec!["bob"; command.args.len().min(1)]);
        let request =
            json!({ "jsonrpc": "2.0", "id": 1, "method": command.name, "params": params }).to_string();
        for peer in [Peer::OpenSips, Peer::Kamailio] {
            let fake = Fake::default();
            let looking = answer(&fake, Right::Read, peer, request.as_bytes());
            let reply: Value = serde_json::from_slice(&runtime().block_on(looking).unwrap()).unwrap();
            let refused = reply["error"]["message"] == "Not allowed at this door";
            assert_eq!(refused, command.right == Right::Manage, "{}: {reply}", command.name);
        }
    }
    for name in names {
        let params = json!({ "command": name }).to_string();
        assert!(opensips("which", &params).contains(r#""result":[["#), "{name}");
        let params = json!({ "mi_cmd": name }).to_string();
        assert!(opensips("help", &params).contains(r#"{"Help":""#), "{name}");
    }
}

#[test]
fn spelling_tells_the_peer() {
    for (name, peer) in [
        ("imc_list_rooms", Peer::OpenSips),
        ("imc:list_rooms", Peer::OpenSips),
        ("imc.list_rooms", Peer::Kamailio),
        ("stats.get_statistics", Peer::Kamailio),
        ("room.list", Peer::Kamailio),
    ] {
        assert_eq!(Peer::of(name), peer, "{name}");
    }
}

#[test]
fn the_peers_names_are_at_home_in_our_own_doors_too() {
    let ours = |method: &str, params: Value| -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let reply = runtime().block_on(rpc::answer(&Fake::default(), Right::Read, request.as_bytes()));
        serde_json::from_slice(&reply.unwrap()).unwrap()
    };
    let listed = ours("imc_list_rooms", json!({}));
    assert_eq!(listed["result"]["ROOMS"][0]["URI"], "sip:team@example.org", "{listed}");
    let members = ours("imc.list_members", json!(["team"]));
    assert_eq!(members["result"]["members"], json!(["sip:alice@example.org"]), "{members}");
    let statistics = ours("get_statistics", json!([["imc:"]]));
    assert_eq!(statistics["result"], json!({ "imc:active_rooms": 2 }));
    assert_eq!(ours("imc.list_members", json!(1))["error"]["code"], json!(-32600));
    assert_eq!(ours("imc_list_members", json!([]))["error"]["code"], json!(-32602));
}
