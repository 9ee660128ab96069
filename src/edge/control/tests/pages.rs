//! Lists in pages, as every door gives them.

use super::*;

/// How `imcctl` asks for what comes behind a row.
fn key(command: &table::Command, row: &Value) -> String {
    let word = |column: &&str| row[*column].as_str().map_or_else(|| row[*column].to_string(), str::to_owned);
    command.key().iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_list_that_comes_in_pages_goes_on_behind_the_key_of_its_last_row() {
    let fake = Fake::default();
    for name in ["alice", "bob", "carol"] {
        ask(&fake, "account.add", json!([name]));
    }
    for command in table::COMMANDS.iter().filter(|command| !command.key().is_empty()) {
        let mut params = json!({});
        for arg in command.args.iter().filter(|arg| arg.required) {
            params[arg.name] = "bob".into();
        }
        let all = ask(&fake, command.name, params.clone())["result"].as_array().unwrap().clone();
        assert!(!all.is_empty(), "{}", command.name);
        params["limit"] = 1.into();
        let mut seen = Vec::new();
        loop {
            let page = ask(&fake, command.name, params.clone())["result"].as_array().unwrap().clone();
            let [row] = page.as_slice() else { break };
            params["after"] = key(command, row).into();
            seen.push(row.clone());
            assert!(seen.len() <= all.len(), "{}: no end", command.name);
        }
        assert_eq!(seen, all, "{}", command.name);
    }
}

#[test]
fn a_page_is_asked_for_in_order_and_within_bounds() {
    let fake = Fake::default();
    for name in ["alice", "bob", "carol"] {
        ask(&fake, "account.add", json!([name]));
    }
    let second = ask(&fake, "account.list", json!(["example.org", 1, "sip:alice"]));
    assert_eq!(second["result"][0]["account"], "bob@example.org");
    for (params, wrong) in [
        (json!({ "limit": 0 }), "limit: expected a number from 1 to 1000"),
        (json!({ "limit": 1001 }), "limit: expected a number from 1 to 1000"),
        (json!({ "after": "a b" }), "after: expected an address such as alice@example.org"),
    ] {
        assert_eq!(ask(&fake, "account.list", params)["error"]["data"], wrong);
    }
    let wrong = ask(&fake, "binding.list", json!({ "after": "a\nb" }));
    assert_eq!(wrong["error"]["data"], "after: expected the first columns of a row");
}

#[test]
fn what_takes_long_is_told_with_how_it_ended() {
    let fake = Fake::default();
    ask(&fake, "message.broadcast", json!(["alice", "hello"]));
    ask(&fake, "import.silo", json!(["dump:/x"]));
    let works = ask(&fake, "server.work", json!([]))["result"].clone();
    let told = |at: usize| (works[at]["command"].as_str().unwrap(), works[at]["about"].as_str().unwrap());
    assert_eq!(told(0), ("message.broadcast", "from alice@example.org"));
    assert_eq!(told(1), ("import.silo", "dump:/x"));
    assert_eq!((&works[0]["state"], &works[1]["state"]), (&json!("done"), &json!("failed")));
}
