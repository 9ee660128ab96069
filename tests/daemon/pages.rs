//! Long lists come in pages (issue: management), whatever comes and goes in between.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chat::room;
use crate::kit::http::ask;
use crate::kit::{Daemon, Setup};

struct Door {
    daemon: Daemon,
    address: std::net::SocketAddr,
}

impl Door {
    fn open() -> Door {
        let (setup, address) = Setup::new().set("domains", r#"["example.org", "example.net"]"#).http();
        Door { daemon: setup.start(), address }
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let page = ask(self.address, "POST", "/rpc", &[], request.as_bytes());
        let mut reply: Value = serde_json::from_str(&page.text()).unwrap();
        assert_eq!(reply["error"], Value::Null, "{method} {params}");
        reply["result"].take()
    }

    /// The list in pages of `limit`, each row known by `key`.
    fn paged(&self, method: &str, params: &Value, limit: usize, key: &[&str]) -> Vec<Value> {
        let (mut params, mut rows) = (params.clone(), Vec::new());
        params["limit"] = limit.into();
        loop {
            let page = self.call(method, params.clone()).as_array().unwrap().clone();
            let Some(last) = page.last() else { return rows };
            assert!(page.len() <= limit, "{page:?}");
            let word = |name: &&str| last[*name].as_str().map_or(last[*name].to_string(), str::to_owned);
            params["after"] = key.iter().map(word).collect::<Vec<_>>().join(" ").into();
            rows.extend(page);
        }
    }
}

#[test]
fn pages_make_up_every_kind_of_list() {
    let door = Door::open();
    let names = ["a", "a-b", "A2", "ab", "Zoe", "zoe2", "_x", "7", "b.c", "x@example.net", "a@example.net"];
    for name in names {
        door.call("account.add", json!([name]));
    }
    door.call("room.create", json!(["team", "a"]));
    for name in names {
        door.call("room.create", json!([format!("r-{name}"), "a"]));
        if name != "a" {
            door.call("member.add", json!(["team", name]));
            door.call("roster.link", json!(["a", name]));
            door.call("message.send", json!(["a", name, "one"]));
            door.call("message.send", json!(["a", name, "two"]));
        }
    }
    // Theirs is the one account that nothing waits for: no list changes while it is looked at.
    let phones = [(); 3].map(|()| door.daemon.udp("a"));
    for (method, params, key) in [
        ("account.list", json!({}), &["account"][..]),
        ("account.list", json!({ "domain": "example.net" }), &["account"]),
        ("room.list", json!({}), &["room"]),
        ("room.list", json!({ "domain": "example.net" }), &["room"]),
        ("member.list", json!({ "room": "team" }), &["user"]),
        ("roster.list", json!({ "account": "a" }), &["user"]),
        ("roster.dump", json!({}), &["account", "user"]),
        ("roster.dump", json!({ "domain": "example.net" }), &["account", "user"]),
        ("roster.users", json!({}), &["account"]),
        ("roster.links", json!({}), &["account", "user"]),
        ("offline.list", json!({}), &["account", "id"]),
        ("offline.list", json!({ "account": "Zoe" }), &["account", "id"]),
        ("binding.list", json!({}), &["account", "contact"]),
    ] {
        let all = door.call(method, params.clone()).as_array().unwrap().clone();
        assert!(all.len() > 1, "{method} {params}: {all:?}");
        for limit in [1, 2, 3, 1000] {
            let mut paged = door.paged(method, &params, limit, key);
            let mut all = all.clone();
            if method == "binding.list" {
                // A second may have passed.
                [&mut paged, &mut all].into_iter().flatten().for_each(|row| row["expires_in"] = 0.into());
            }
            assert_eq!(paged, all, "{method} {params} by {limit}");
        }
    }
    drop(phones);
    // imcctl asks for pages by itself, and for one if that is what is wanted.
    let lines = |args: &[&str]| {
        let output = door.daemon.imcctl(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(lines(&["accounts"]), 1 + names.len());
    assert_eq!(lines(&["accounts", "--limit", "3"]), 1 + 3);
    assert_eq!(lines(&["rooms", "--limit", "3", "--after", "sip:r-zoe2"]), 1 + 1, "team");
}

#[test]
fn what_comes_and_goes_between_two_pages_shifts_nothing() {
    let door = Door::open();
    let made: BTreeSet<String> = (0..40).map(|n| format!("room{n:02}@example.org")).collect();
    for room in &made {
        door.call("room.create", json!([room]));
    }
    let mut n = 0;
    let mut list = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = door.call("room.list", json!({ "limit": 7, "after": after })).as_array().unwrap().clone();
        let Some(last) = page.last() else { break };
        after = last["room"].clone();
        list.extend(page.iter().map(|row| row["room"].as_str().unwrap().to_owned()));
        // The row that the next page begins behind goes, and others come before it.
        door.call("room.destroy", json!([after]));
        door.call("room.create", json!([format!("before{n}")]));
        n += 1;
    }
    assert_eq!(list, Vec::from_iter(made), "each once, in order");
}

#[test]
fn a_list_without_order_begins_again_when_its_mark_is_gone() {
    let (setup, address) = Setup::new().http();
    let door = Door { daemon: setup.start(), address };
    let phones = ["alice", "bob", "carol", "dave"].map(|user| door.daemon.udp(user));
    room("team", &phones[0], &[&phones[1], &phones[2], &phones[3]]);
    door.call("member.remove", json!(["team", "carol"]));
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"member.list","params":["team", 2, "carol"]}"#;
    let page = ask(door.address, "POST", "/rpc", &[], request.as_bytes());
    assert!(page.text().contains("carol@example.org is no longer in the list; begin again"), "{page:?}");
}
