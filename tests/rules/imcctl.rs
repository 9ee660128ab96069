//! imcctl as its users meet it: words in, table or JSON out, and an exit code. The daemon is a scripted one.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use imcd::edge::control::table::COMMANDS;
use serde_json::{Value, json};

fn imcctl(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imcctl"));
    // Of variables that would lead it to another daemon, none.
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|n| n.to_string_lossy().starts_with("IMCD_"));
    for name in ours {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Runs imcctl against a daemon that answers `reply`; gives what it was asked, and what imcctl said.
fn run(args: &[&str], reply: Value, stdin: Option<&str>) -> (Value, (String, String, Option<i32>)) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("test.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut first = None;
        let mut reply = reply;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap() == 0 {
                return first.unwrap();
            }
            let request: Value = serde_json::from_str(&line).unwrap();
            reply["jsonrpc"] = "2.0".into();
            reply["id"] = request["id"].clone();
            writeln!(stream.get_mut(), "{reply}").unwrap();
            first.get_or_insert(request);
            // The page behind the last row of a list.
            reply = json!({ "result": [] });
        }
    });
    let mut command = imcctl(dir.path(), args);
    command.env("IMCD_SOCKET", &socket).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.unwrap_or_default().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (daemon.join().unwrap(), said(&output))
}

#[test]
fn a_list_is_a_table_for_people_and_json_for_scripts() {
    let rooms = json!([
        {"room": "team@example.org", "title": "", "owner": "alice@example.org", "private": true, "members": 12, "invited": 0},
        {"room": "x@example.org", "title": "Böse\u{1b}[2J", "owner": "", "private": false, "members": 0, "invited": 3},
    ]);
    let reply = json!({ "result": rooms });
    let (request, (out, err, code)) = run(&["rooms"], reply.clone(), None);
    assert_eq!((&request["method"], &request["params"]), (&json!("room.list"), &json!({ "limit": "1000" })));
    assert_eq!(
        out,
        "ROOM              TITLE     OWNER              PRIVATE  MEMBERS  INVITED\n\
         team@example.org            alice@example.org  yes      12       0\n\
         x@example.org     Böse\u{fffd}[2J                     no       0        3\n"
    );
    assert_eq!((err.as_str(), code), ("", Some(0)));
    let (request, (out, _, code)) = run(&["room", "list", "example.org", "--json"], reply, None);
    assert_eq!(request["params"], json!({ "domain": "example.org", "limit": "1000" }));
    assert_eq!((serde_json::from_str::<Value>(&out).unwrap(), code), (rooms, Some(0)));
}

#[test]
fn an_object_is_shown_line_by_line() {
    let (request, (out, ..)) =
        run(&["members", "team"], json!({"result": [{"user": "a@b", "role": "owner"}]}), None);
    assert_eq!(
        (&request["method"], &request["params"]),
        (&json!("member.list"), &json!({ "room": "team", "limit": "1000" }))
    );
    assert_eq!(out, "USER  ROLE\na@b   owner\n");
    let removed =
        json!({"account": "a@b", "left": 2, "handed_over": ["x@b to c@b"], "destroyed": ["y@b", "z@b"]});
    let (_, (out, ..)) = run(&["account", "remove", "a@b"], json!({ "result": removed }), None);
    assert_eq!(out, "account      a@b\nleft         2\nhanded_over  x@b to c@b\ndestroyed    y@b, z@b\n");
    let (_, (out, ..)) = run(&["server", "version"], json!({"result": "imcd 9"}), None);
    assert_eq!(out, "imcd 9\n");
}

#[test]
fn a_password_comes_from_the_option_or_from_standard_input() {
    let done = json!({"result": {"account": "alice@example.org"}});
    let wanted = json!({"account": "alice@example.org", "password": "se cret"});
    for (args, stdin) in [
        (&["account", "add", "alice@example.org", "--password", "se cret"][..], None),
        (&["account", "add", "alice@example.org"][..], Some("se cret\r\nrest")),
        (&["account.add", "alice@example.org", "se cret"][..], None),
    ] {
        let (request, (_, _, code)) = run(args, done.clone(), stdin);
        assert_eq!((&request["method"], &request["params"], code), (&json!("account.add"), &wanted, Some(0)));
    }
    let (request, _) = run(&["account", "passwd", "alice"], done, Some("new\n"));
    assert_eq!(request["params"], json!({"account": "alice", "password": "new"}));
}

#[test]
fn a_source_is_made_absolute_and_a_dry_run_is_an_option() {
    let done = json!({ "result": [] });
    let (request, (out, _, code)) = run(&["import", "silo", "dump:a.sql", "--dry-run"], done.clone(), None);
    let (url, dry) = (request["params"]["url"].as_str().unwrap(), &request["params"]["dry_run"]);
    assert!(url.starts_with("dump:/") && url.ends_with("/a.sql"), "{url}");
    assert_eq!((dry, out.as_str(), code), (&json!("yes"), "TABLE  OUTCOME  ROWS  WHY  EXAMPLES\n", Some(0)));
    let args = ["import", "subscriber", "sqlite:///x.db", "--realm", "a.org"];
    let (request, _) = run(&args, done, None);
    assert_eq!(request["params"], json!({ "url": "sqlite:/x.db", "realm": "a.org" }));
}

#[test]
fn the_exit_code_tells_a_refusal_from_wrong_usage() {
    let error = |code: i64| json!({"error": {"code": code, "message": "no", "data": "because"}});
    for (code, exit) in [(404, 1), (403, 1), (500, 1), (-32602, 2), (-32601, 2)] {
        let (_, (out, err, got)) = run(&["room", "show", "x"], error(code), None);
        assert_eq!((out.as_str(), got), ("", Some(exit)), "{code}");
        assert!(err.starts_with("imcctl: no: because"), "{err}");
    }
}

#[test]
fn without_a_daemon_or_a_command_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for (args, told) in [
        (&["rooms", "--socket", "./imcd.sock"][..], "imcctl: no daemon at ./imcd.sock (is imcd running?)"),
        (&["room"], "Rooms: make, run and destroy them\n\nUsage: imcctl room [OPTIONS] <COMMAND>"),
        (&["dance"], "imcctl: no command dance; imcctl --help lists all"),
        (&["rom", "list"], "imcctl: no command rom; did you mean room"),
        (&["room", "lst"], "imcctl: no command lst; did you mean list"),
        (&["room", "show"], "imcctl: the following required arguments were not provided:\n  <ROOM>"),
        (&["room", "show", "a", "b"], "imcctl: unexpected argument 'b' found"),
        (&["rooms", "--password", "x"], "imcctl: unexpected argument '--password' found"),
        (&["rooms", "--dry-run"], "imcctl: unexpected argument '--dry-run' found"),
        (&["rooms", "--config", "none.toml"], "imcctl: none.toml: cannot be read"),
        (&[], "Manage a running imcd\n\nUsage: imcctl [OPTIONS] <COMMAND>"),
        (&["rooms", "--nonsense"], "imcctl: unexpected argument '--nonsense' found"),
    ] {
        let (_, err, code) = said(&imcctl(dir.path(), args).output().unwrap());
        assert!(err.starts_with(told), "{args:?}: {err}");
        assert_eq!(code, Some(2), "{args:?}");
    }
}

#[test]
fn help_tells_nouns_verbs_and_arguments_and_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    for (args, told) in [
        (&["--help"][..], &[" Rooms: make", "  members ROOM          member list", "0 done, 1 refused"][..]),
        (&["room", "--help"], &["  create   Make a room;", "  destroy  Destroy a room;"]),
        (
            &["help", "room", "create"],
            &[
                "room create [OPTIONS] <ROOM> [OWNER] [PRIVATE]",
                "--owner <OWNER>",
                "JSON-RPC method: room.create",
            ],
        ),
        (&["room", "destroy", "--help"], &["-y, --yes"]),
    ] {
        let (out, err, code) = said(&imcctl(dir.path(), args).output().unwrap());
        for told in told {
            assert!(out.contains(told), "{args:?}: {told}: {out}");
        }
        assert_eq!((err.as_str(), code), ("", Some(0)), "{args:?}");
    }
}

#[test]
fn options_stand_for_arguments_and_the_peers_names_are_passed_on() {
    let args = ["room", "create", "team", "--owner", "alice", "--private"];
    let (request, _) = run(&args, json!({"result": {}}), None);
    assert_eq!(request["params"], json!({"room": "team", "owner": "alice", "private": "yes"}));
    let rooms = json!({"ROOMS": [{"URI": "sip:team@example.org"}]});
    let (request, (out, _, code)) = run(&["imc_list_rooms"], json!({ "result": rooms }), None);
    assert_eq!((&request["method"], &request["params"]), (&json!("imc_list_rooms"), &json!([])));
    assert_eq!((serde_json::from_str::<Value>(&out).unwrap(), code), (rooms, Some(0)));
    let (request, _) = run(&["imc_list_members", "team"], json!({"result": {}}), None);
    assert_eq!(request["params"], json!(["team"]));
}

#[test]
fn what_destroys_goes_ahead_where_nobody_can_be_asked() {
    for args in [&["room", "destroy", "team"][..], &["room", "destroy", "team", "--yes"]] {
        let (request, (_, _, code)) = run(args, json!({"result": {"room": "team@example.org"}}), None);
        assert_eq!((&request["method"], code), (&json!("room.destroy"), Some(0)));
    }
}

#[test]
fn on_a_terminal_it_asks_before_it_destroys() {
    for (answer, asked, exit) in [("yes\n", true, 0), ("n\n", false, 1), ("\n", false, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("test.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if !line.is_empty() {
                writeln!(stream.get_mut(), "{}", json!({"jsonrpc": "2.0", "id": 1, "result": {}})).unwrap();
            }
            line
        });
        let terminal = nix::pty::openpty(None, None).unwrap();
        std::fs::File::from(terminal.master.try_clone().unwrap()).write_all(answer.as_bytes()).unwrap();
        let mut command = imcctl(dir.path(), &["room", "destroy", "team"]);
        let output = command.env("IMCD_SOCKET", &socket).stdin(terminal.slave).output().unwrap();
        let (_, err, code) = said(&output);
        assert!(
            err.starts_with("room destroy team: destroy a room; its members are told. Go on? [y/N] "),
            "{err}"
        );
        assert_eq!(err.ends_with("imcctl: nothing done\n"), !asked, "{err}");
        assert_eq!(
            (daemon.join().unwrap().contains("room.destroy"), code),
            (asked, Some(exit)),
            "{answer:?}"
        );
    }
}

#[test]
fn completion_and_manual_tell_what_the_command_line_takes() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (out, err, code) = said(&imcctl(dir.path(), &["completion", shell]).output().unwrap());
        assert!(out.contains("destroy") && out.contains("broadcast") && out.contains("owner"), "{shell}");
        // What stands at its place, too.
        assert!(out.contains("owner admin member"), "{shell}");
        assert!(!out.contains("imc_list_rooms") && !out.contains("room.create"), "{shell}");
        assert_eq!((err.as_str(), code), ("", Some(0)), "{shell}");
    }
    assert_eq!(said(&imcctl(dir.path(), &["completion", "cmd"]).output().unwrap()).2, Some(2));
    let (out, err, code) = said(&imcctl(dir.path(), &["man", "pages"]).output().unwrap());
    let pages = "pages/imcd.8\npages/imcctl.1\npages/imcd.toml.5\n";
    assert_eq!((out.as_str(), err.as_str(), code), (pages, "", Some(0)));
    let page = |name: &str| std::fs::read_to_string(dir.path().join("pages").join(name)).unwrap();
    let (imcd, imcctl, keys) = (page("imcd.8"), page("imcctl.1"), page("imcd.toml.5"));
    for (page, name) in [(&imcd, "imcd\" \"8"), (&imcctl, "imcctl\" \"1"), (&keys, "imcd.toml\" \"5")] {
        let version = env!("CARGO_PKG_VERSION");
        let title = format!(".TH \"{name}\" \"\" \"imcd {version}\" \"imcd\"");
        assert_eq!(page.lines().filter(|line| line.starts_with(".TH")).collect::<Vec<_>>(), [title]);
    }
    assert!(imcd.contains("SIGHUP") && imcd.contains("print\\-config"), "{imcd}");
    for (key, words) in [("data_dir", "Directory of the database"), ("flow_timer_s", "RFC 5626")] {
        assert!(keys.contains(&format!("\\fB{key}\\fR = ")) && keys.contains(words), "{keys}");
    }
    for command in COMMANDS.iter().filter(|command| command.name != "help") {
        let said = format!("imcctl {}", command.name.replace('.', " "));
        assert!(imcctl.contains(&said), "{said}");
        let help = command.help[1..].replace('-', "\\-").replace('\'', "\\*(Aq");
        assert!(imcctl.contains(&help), "{help}");
    }
}

#[test]
fn a_result_that_finds_no_room_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = imcctl(dir.path(), &["completion", "bash"]).stdout(full).output().unwrap();
    let (_, err, code) = said(&output);
    assert!(err.starts_with("imcctl: done, but the result cannot be written: "), "{err}");
    assert_eq!(code, Some(2));
}

#[test]
fn what_the_daemon_would_not_take_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("imcd.sock")).unwrap();
    // In JSON each line end is two bytes.
    std::fs::write(dir.path().join("rosters"), "\n".repeat(600_000)).unwrap();
    let args = ["--socket", "imcd.sock", "roster", "sync", "rosters"];
    let (_, err, code) = said(&imcctl(dir.path(), &args).output().unwrap());
    assert!(err.starts_with("imcctl: the daemon takes 1048576 bytes at once; this is 12000"), "{err}");
    assert_eq!(code, Some(2));
}

#[test]
fn the_socket_is_found_through_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("imcd.toml"), "run_dir = \"run\"\n[control]\nsocket = \"c.sock\"")
        .unwrap();
    let (_, err, _) = said(&imcctl(dir.path(), &["rooms", "--config", "imcd.toml"]).output().unwrap());
    assert_eq!(err, "imcctl: no daemon at run/c.sock (is imcd running?)\n");
}
