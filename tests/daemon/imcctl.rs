//! imcctl beside the running daemon: what it guesses, watches, follows and puts back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::chat::room;
use crate::kit::{Daemon, PATIENCE, Setup};

/// The exit code, and what it says on both ways.
fn said(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String, String) {
    let output = daemon.imcctl(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn who_names_what_is_not_there_is_told_what_is_like_it() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "x");
    for name in ["teams", "kitchen"] {
        assert_eq!(said(&daemon, &["room", "create", name, "--owner", "alice", "--private"]).0, Some(0));
    }
    for (args, told) in [
        (&["members", "team"][..], "no room team@example.org; did you mean teams?"),
        (&["room", "show", "garden"], "no room garden@example.org"),
        (&["tail", "kichen"], "no room kichen@example.org; did you mean kitchen?"),
        (&["presence", "show", "alcie"], "no account alcie@example.org; did you mean alice?"),
        (&["room", "create", "den", "alic"], "no user alic@example.org; did you mean alice?"),
        (&["stats", "activ_rooms"], "no statistic activ_rooms; did you mean active_rooms?"),
    ] {
        assert_eq!(said(&daemon, args), (Some(1), String::new(), format!("imcctl: {told}")), "{args:?}");
    }
    let (code, listed, _) = said(&daemon, &["imc_list_rooms"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let uris: Vec<_> = listed["ROOMS"].as_array().unwrap().iter().map(|room| room["URI"].as_str()).collect();
    assert_eq!((code, uris), (Some(0), vec![Some("sip:kitchen@example.org"), Some("sip:teams@example.org")]));
    assert_eq!(said(&daemon, &["imc_list_members", "nowhere"]).0, Some(1));
}

#[test]
fn counters_are_watched_until_nobody_looks() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let watching = daemon.imcctl_on(&["stats", "active_rooms", "--watch", "0.1"]);
    assert_eq!(watching.line(), "NAME          VALUE  PER SECOND");
    assert_eq!(watching.line(), "active_rooms  0");
    alice.expect(202, "team", "#create");
    while !watching.line().starts_with("active_rooms  1") {}
    drop(watching);
    let watching = daemon.imcctl_on(&["--json", "stats", "active_rooms", "--watch=0.1"]);
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!(line, json!([{ "name": "active_rooms", "value": 1 }]));
    }
}

#[test]
fn a_room_or_everything_is_followed_and_letters_stay_private() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[]);
    let team = daemon.imcctl_on(&["--json", "tail", "team"]);
    let all = daemon.imcctl_on(&["tail"]);
    for follower in [&team, &all] {
        // It follows when it has heard one.
        while follower.line_soon().is_none() {
            alice.expect(202, "team", "is anybody there?");
        }
    }
    let heard = || -> Value { serde_json::from_str(&team.line()).unwrap() };
    let marker = "now both are there";
    alice.expect(202, "team", marker);
    while heard()["text"] != marker {}
    while !all.line().ends_with(&format!("  team@example.org  alice@example.org: {marker}")) {}

    bob.expect(202, "team", "#join");
    alice.hears("*** [bob] has joined the room");
    alice.expect(200, "bob", "only for bob");
    bob.hears("only for bob");
    bob.expect(202, "den", "#create");
    bob.expect(202, "den", "in the den\nT  team@example.org  alice@example.org: never said");
    bob.expect(202, "team", "to the team");
    let joined = heard();
    assert_eq!(
        (&joined["kind"], &joined["room"], &joined["text"]),
        (&json!("notice"), &json!("team@example.org"), &json!("*** [bob] has joined the room"))
    );
    let post = heard();
    assert_eq!(
        (&post["kind"], &post["from"], &post["text"]),
        (&json!("post"), &json!("bob@example.org"), &json!("to the team"))
    );
    let mut everything = Vec::new();
    while !everything.last().is_some_and(|line: &String| line.ends_with("bob@example.org: to the team")) {
        everything.push(all.line());
    }
    let ends = |end: &str| everything.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!(ends("  alice@example.org -> bob@example.org"), 1, "{everything:#?}");
    assert_eq!(ends("  den@example.org  bob@example.org: in the den"), 1, "{everything:#?}");
    assert_eq!(ends("    T  team@example.org  alice@example.org: never said"), 1, "{everything:#?}");
    assert!(!everything.iter().any(|line| line.contains("only for bob")), "{everything:#?}");

    let (status, _) = daemon.terminate();
    assert!(status.success());
    for follower in [team, all] {
        assert_eq!(follower.end(), (Some(2), "imcctl: the daemon closed the connection\n".into()));
    }
}

#[test]
fn who_reads_slowly_loses_lines_and_slows_nobody() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    let mut slow = UnixStream::connect(daemon.dir().join("imcd.sock")).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(slow, r#"{{"jsonrpc":"2.0","id":1,"method":"tail"}}"#).unwrap();
    let mut slow = BufReader::new(slow);
    let mut next = || -> Value {
        let mut line = String::new();
        slow.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next()["result"]["following"], "");
    let posts = 800;
    let filling = "x".repeat(6000);
    for n in 1..posts {
        alice.expect(202, "team", &format!("{n} {filling}"));
    }
    let (mut heard, mut lost) = (0, 0);
    while heard + lost < posts - 1 {
        let line = next();
        match line["params"]["lost"].as_u64() {
            Some(n) => lost += n,
            None => heard += 1,
        }
    }
    assert!(heard >= 512 && lost > 0, "{heard} heard, {lost} lost");
    // And it is there again.
    alice.expect(202, "team", "the last");
    assert_eq!(next()["params"]["text"], "the last");
}

#[test]
fn a_backup_is_put_back_while_the_daemon_is_stopped() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "before the backup");
    bob.hears("[alice]: before the backup");
    let file = daemon.dir().join("copy.db").display().to_string();
    let config = daemon.config().display().to_string();
    let restore = ["restore", &file, "--config", &config];
    assert_eq!(said(&daemon, &["backup", &file]).0, Some(0));
    alice.expect(202, "later", "#create");
    alice.expect(202, "team", "after the backup");

    let (code, _, err) = said(&daemon, &restore);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("imcctl: another imcd uses the data directory "), "{err}");
    assert!(err.ends_with("; stop it first"), "{err}");
    bob.hears("[alice]: after the backup");

    daemon.terminate();
    let (code, out, err) = said(&daemon, &restore);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let kept = daemon.dir().join("imcd.db.before-restore");
    assert!(out.contains(&format!("kept      {}\nrooms     1\n", kept.display())), "{out}");
    let rooms = rusqlite::Connection::open(&kept).unwrap();
    let rooms: i64 = rooms.query_row("SELECT count(*) FROM imc_rooms", [], |row| row.get(0)).unwrap();
    assert_eq!(rooms, 2, "what was there is kept whole");
    daemon.restart();
    assert_eq!(said(&daemon, &["room", "show", "later"]).0, Some(1));
    let (_, history, _) = said(&daemon, &["room", "history", "team"]);
    assert!(history.contains("before the backup") && !history.contains("after the backup"), "{history}");
    alice.expect(202, "team", "after the restore");
    bob.hears("[alice]: after the restore");

    daemon.terminate();
    let (code, out, _) =
        said(&daemon, &["--json", "restore", &kept.display().to_string(), "--config", &config]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["rooms"]), (Some(0), &json!(2)));
    let none = daemon.dir().join("none").display().to_string();
    assert_eq!(said(&daemon, &["restore", &none, "--config", &config]).0, Some(1));
    let directory = daemon.dir().display().to_string();
    let (code, _, err) = said(&daemon, &["restore", &directory, "--config", &config]);
    assert_eq!((code, err.as_str()), (Some(1), &*format!("imcctl: {directory}: is no file")));
    daemon.restart();
    assert_eq!(said(&daemon, &["room", "show", "later"]).0, Some(0));
}
