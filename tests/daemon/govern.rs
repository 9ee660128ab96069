//! Rooms, phones and the daemon as an administrator runs them (spec §7): what he orders, members hear and see.

use serde_json::{Value, json};

use crate::chat::room;
use crate::kit::{Daemon, Setup};

/// What `imcctl --json` says; it must be done.
fn done(daemon: &Daemon, args: &[&str]) -> Value {
    let output = daemon.imcctl(&[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code and the words of a refusal.
fn refused(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String) {
    let output = daemon.imcctl(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
}

#[test]
fn a_room_is_made_run_and_destroyed_by_management() {
    let mut daemon = Setup::new().digest().start();
    for name in ["alice", "bob", "carol", "dave"] {
        daemon.account(name, "secret");
    }
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| daemon.udp(name));
    let made = done(&daemon, &["room", "create", "team", "alice", "private"]);
    assert_eq!(
        made,
        json!({ "room": "team@example.org", "title": "", "owner": "alice@example.org", "private": true,
                "members": 1, "invited": 0 })
    );
    assert_eq!(done(&daemon, &["member", "add", "team", "bob"])["role"], "member");
    // However an address is spelled, the answer names it as it is known.
    let said = done(&daemon, &["message", "send", "sip:Alice@localhost", "sips:bob@localhost:5061", "psst"]);
    assert_eq!(said, json!({ "from": "alice@example.org", "to": "bob@example.org" }));
    bob.hears("psst");
    alice.hears("*** [bob] has joined the room");
    carol.expect(603, "team", "#join");
    done(&daemon, &["room", "rename", "team", "Tea & \"cake\""]);
    bob.hears("*** The room is now called Tea & \"cake\"");
    alice.expect(202, "team", "hello");
    let copy = bob.hears("[alice]: hello");
    assert!(copy.header("From").starts_with(r#""Tea & \"cake\"" <sip:team@example.org>"#), "{copy:?}");
    done(&daemon, &["room", "set", "team", "private", "no"]);
    bob.hears("*** The room is now public");
    carol.expect(202, "team", "#join");
    done(&daemon, &["member", "role", "team", "bob", "owner"]);
    carol.hears("*** sip:bob@example.org is now owner");
    carol.hears("*** sip:alice@example.org is now admin");
    done(&daemon, &["room", "post", "team", "maintenance at nine"]);
    for phone in [&alice, &bob, &carol] {
        let copy = phone.hears("maintenance at nine");
        assert_eq!(copy.sender_user(), "team");
    }
    carol.expect(603, "team", "#invite alice");
    bob.expect(202, "team", "#invite dave");
    assert_eq!(done(&daemon, &["rooms"])[0], done(&daemon, &["room", "show", "team"]), "one truth in both");
    let said = done(&daemon, &["room", "history", "team"]);
    let said = said.as_array().unwrap();
    assert_eq!(
        (said.len(), &said[0]["user"], &said[0]["text"]),
        (1, &json!("alice@example.org"), &json!("hello"))
    );

    // It is on disk.
    daemon.kill_and_restart();
    let shown = done(&daemon, &["room", "show", "team"]);
    assert_eq!((&shown["title"], &shown["private"]), (&json!("Tea & \"cake\""), &json!(false)));
    assert_eq!(shown["owner"], "bob@example.org");

    done(&daemon, &["member", "remove", "team", "bob"]);
    bob.hears("*** You have been removed from the room");
    carol.hears("*** [bob] has left the room");
    carol.hears("*** sip:alice@example.org is now owner");
    bob.expect(603, "team", "am I still here?");
    let list = done(&daemon, &["members", "team"]);
    assert_eq!(
        list,
        json!([{ "user": "alice@example.org", "role": "owner" }, { "user": "carol@example.org", "role": "member" },
                { "user": "dave@example.org", "role": "invited" }])
    );
    done(&daemon, &["room", "destroy", "team"]);
    carol.hears("*** Room has been destroyed");
    assert_eq!(done(&daemon, &["rooms"]), json!([]));
    assert_eq!(done(&daemon, &["stats", "active_rooms"])[0]["value"], 0);
}

#[test]
fn what_cannot_be_is_refused_in_words_and_changes_nothing() {
    let daemon = Setup::new().digest().start();
    for name in ["alice", "bob"] {
        daemon.account(name, "secret");
    }
    done(&daemon, &["room", "create", "team", "alice"]);
    for (args, code, words) in [
        (&["room", "create", "team"][..], 1, "imcctl: the room team@example.org exists already"),
        (&["room", "create", "bob"], 1, "imcctl: the name bob@example.org belongs to somebody"),
        (&["room", "create", "den", "zoe"], 1, "imcctl: no user zoe@example.org"),
        (&["room", "create", "den@example.net"], 1, "imcctl: the domain example.net is not served here"),
        (&["room", "destroy", "den"], 1, "imcctl: no room den@example.org"),
        (&["room", "set", "team", "colour", "red"], 1, "imcctl: no such setting; it can be title or private"),
        (
            &["member", "add", "team", "alice"],
            1,
            "imcctl: alice@example.org is a member of team@example.org already",
        ),
        (&["member", "add", "team", "team"], 1, "imcctl: no user team@example.org"),
        (
            &["member", "add", "team", "eve@far.example"],
            1,
            "imcctl: the domain far.example is not served here, and not relayed to",
        ),
        (
            &["member", "role", "team", "alice", "member"],
            1,
            "imcctl: alice@example.org is the owner; make somebody else the owner instead",
        ),
        (&["member", "remove", "team", "bob"], 1, "imcctl: bob@example.org is no member of team@example.org"),
        (&["binding", "drop", "alice", "sip:x@y"], 1, "imcctl: alice@example.org has no contact sip:x@y"),
        (&["log", "level", "loud"], 1, "imcctl: no such level; it can be error, warn, info, debug or trace"),
        (
            &["server", "backup", "/nowhere/imcd.bak"],
            1,
            "imcctl: /nowhere/imcd.bak: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(refused(&daemon, args), (Some(code), words.to_owned()), "{args:?}");
    }
    assert_eq!(refused(&daemon, &["member", "role", "team", "alice", "king"]).0, Some(2));
    assert_eq!(
        done(&daemon, &["members", "team"]),
        json!([{ "user": "alice@example.org", "role": "owner" }])
    );
}

#[test]
fn phones_are_listed_and_dropped_until_they_register_again() {
    let mut daemon = Setup::new().digest().start();
    for name in ["alice", "bob"] {
        daemon.account(name, "secret");
    }
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    let list = done(&daemon, &["bindings"]);
    let transports: Vec<_> =
        list.as_array().unwrap().iter().map(|b| (&b["account"], &b["transport"])).collect();
    assert_eq!(
        transports,
        [(&json!("alice@example.org"), &json!("udp")), (&json!("bob@example.org"), &json!("tcp"))]
    );
    assert_eq!(list[0]["contact"], json!(alice.contact()));
    assert_eq!(done(&daemon, &["session", "list"]), list);
    assert_eq!(done(&daemon, &["binding", "drop", "bob"])["dropped"], 1);
    assert_eq!(done(&daemon, &["binding", "list", "bob"]), json!([]));
    alice.expect(202, "bob", "see you later");
    daemon.kill_and_restart();
    assert_eq!(done(&daemon, &["binding", "list", "bob"]), json!([]), "dropped for good");
    bob.never_heard("see you later");
    bob.reconnect();
    bob.register();
    bob.hears("see you later");
}

#[test]
fn a_broadcast_reaches_everybody_or_those_who_are_named() {
    let daemon = Setup::new().digest().start();
    for name in ["alice", "bob", "carol"] {
        daemon.account(name, "secret");
    }
    let [alice, bob] = ["alice", "bob"].map(|name| daemon.udp(name));
    room("team", &alice, &[&bob]);
    let said = done(&daemon, &["message", "broadcast", "chat-manager", "good morning"]);
    assert_eq!(said, json!({ "from": "chat-manager@example.org", "sent": 3, "refused": [] }));
    for phone in [&alice, &bob] {
        assert_eq!(phone.hears("good morning").sender_user(), "chat-manager");
    }
    let said = done(
        &daemon,
        &[
            "message",
            "broadcast",
            "alice",
            "just you",
            "bob",
            "zoe",
            "team",
            "eve@far.example",
            "sip:Bob@localhost",
            "alice@localhost",
        ],
    );
    assert_eq!(said["sent"], 2);
    assert_eq!(said["refused"].as_array().unwrap().len(), 2, "{said}");
    bob.hears("just you");
    bob.hears("[alice]: just you");
    let carol = daemon.udp("carol");
    carol.hears_that("good morning, late", |m| m.text().ends_with("good morning"));
    carol.never_heard("just you");
}

#[test]
fn the_daemon_is_reloaded_backed_up_and_made_talkative_while_it_runs() {
    let daemon = Setup::new().start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    assert_eq!(done(&daemon, &["reload"]), json!({ "warnings": [], "needs_restart": [] }));
    daemon.logs("configuration reloaded");
    assert_eq!(done(&daemon, &["log", "level"])["level"], "info");
    assert_eq!(done(&daemon, &["log", "level", "warn"])["level"], "warn");
    let file = daemon.dir().join("copy.db");
    let copied = done(&daemon, &["backup", &file.display().to_string()]);
    assert_eq!(copied["bytes"], std::fs::metadata(&file).unwrap().len());
    assert_eq!(
        refused(&daemon, &["backup", &file.display().to_string()]),
        (Some(1), format!("imcctl: {}: File exists (os error 17)", file.display()))
    );
    let copy = rusqlite::Connection::open(&file).unwrap();
    let members: i64 = copy.query_row("SELECT count(*) FROM imc_members", [], |row| row.get(0)).unwrap();
    assert_eq!(members, 2);
    bob.expect(202, "team", "still here");
    alice.hears("[bob]: still here");
}

#[test]
fn domains_are_added_and_removed_while_it_runs() {
    let mut daemon = Setup::new().digest().start();
    daemon.account("alice", "secret");
    let alice = daemon.udp("alice");
    alice.expect(603, "sip:bob@new.example", "are you there?");
    let added = done(&daemon, &["domain", "add", "new.example"]);
    assert_eq!(added, json!({ "domain": "new.example", "configured": false, "accounts": 0, "rooms": 0 }));
    done(&daemon, &["account", "add", "bob@new.example", "--password", "secret"]);
    done(&daemon, &["room", "create", "team@new.example", "bob@new.example"]);
    // After a crash too.
    daemon.kill_and_restart();
    let bob = daemon.phone("bob").domain("new.example").password("secret").registered();
    alice.expect(200, "sip:bob@new.example", "hello over there");
    bob.hears("hello over there");
    alice.expect(202, "sip:team@new.example", "#join");
    bob.hears("*** [alice@example.org] has joined the room");
    let list = done(&daemon, &["domains"]);
    assert_eq!(list[1], json!({ "domain": "new.example", "configured": false, "accounts": 1, "rooms": 1 }));
    for (args, words) in [
        (["domain", "add", "NEW.example"], "imcctl: the domain NEW.example is served already"),
        (["domain", "add", "new example"], ""),
        (["domain", "remove", "other.example"], "imcctl: no domain other.example"),
        (
            ["domain", "remove", "example.org"],
            "imcctl: the configuration names example.org; take it out there",
        ),
        (
            ["domain", "remove", "new.example"],
            "imcctl: new.example has accounts (1) or rooms (1); remove these first",
        ),
    ] {
        let (code, told) = refused(&daemon, &args);
        assert!(code != Some(0) && (words.is_empty() || told == words), "{args:?}: {told}");
    }
    done(&daemon, &["room", "destroy", "team@new.example"]);
    done(&daemon, &["account", "remove", "bob@new.example"]);
    done(&daemon, &["domain", "remove", "new.example"]);
    daemon.kill_and_restart();
    assert_eq!(done(&daemon, &["domains"]).as_array().unwrap().len(), 1);
}

#[test]
fn who_comes_at_the_same_time_makes_a_room_or_an_account_of_a_name_and_never_both() {
    let daemon = Setup::new().digest().start();
    for turn in 0..10 {
        let name = format!("name{turn}");
        let make = |args: &[&str]| daemon.imcctl(args).status.success();
        let (rooms, accounts) = std::thread::scope(|all| {
            let rooms = [(); 2].map(|()| all.spawn(|| make(&["room", "create", &name])));
            let accounts = [(); 2].map(|()| all.spawn(|| make(&["account", "add", &name, "secret"])));
            let made = |some: [std::thread::ScopedJoinHandle<bool>; 2]| some.map(|one| one.join().unwrap());
            (made(rooms), made(accounts))
        });
        assert_eq!([rooms, accounts].concat().into_iter().filter(|done| *done).count(), 1, "{name}");
    }
    let rooms = done(&daemon, &["rooms"]).as_array().unwrap().len();
    assert_eq!(done(&daemon, &["accounts"]).as_array().unwrap().len(), 10 - rooms);
    assert_eq!(done(&daemon, &["stats", "active_rooms"])[0]["value"], rooms);
}

#[test]
fn a_domain_that_goes_takes_nobody_in_who_comes_at_that_moment() {
    let daemon = Setup::new().digest().start();
    for turn in 0..10 {
        let domain = format!("d{turn}.example.net");
        let (account, room) = (format!("alice@{domain}"), format!("team@{domain}"));
        done(&daemon, &["domain", "add", &domain]);
        let does = |args: &[&str]| daemon.imcctl(args).status.success();
        let (removed, added, made) = std::thread::scope(|all| {
            let removed = all.spawn(|| does(&["domain", "remove", &domain]));
            let added = all.spawn(|| does(&["account", "add", &account, "secret"]));
            let made = all.spawn(|| does(&["room", "create", &room]));
            (removed.join().unwrap(), added.join().unwrap(), made.join().unwrap())
        });
        assert_ne!(removed, added || made, "{domain}: {removed} {added} {made}");
    }
}
