//! Rosters as an administrator keeps them: one by one, from a file, and by the words of Social Stream's script.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::kit::{Daemon, Setup};

fn done(daemon: &Daemon, args: &[&str]) -> Value {
    let output = daemon.imcctl(&[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the script prints; its exit code is always 0.
fn em(daemon: &Daemon, args: &[&str]) -> String {
    let output = daemon.imcctl(&[&["emanagement"], args].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn house(names: &[&str]) -> Daemon {
    let daemon = Setup::new().digest().set("presence.throttle", "false").start();
    for name in names {
        daemon.account(name, "secret");
    }
    daemon
}

#[test]
fn rosters_are_kept_by_the_script_of_social_stream() {
    let daemon = house(&["alice", "bob", "carol"]);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| format!("{user}@example.org"));
    let (alice, bob, carol) = (alice.as_str(), bob.as_str(), carol.as_str());
    assert_eq!(em(&daemon, &["isEjabberdNodeStarted"]), "true\n\n");
    assert_eq!(em(&daemon, &["getRoster", alice]), "Roster not found for user alice@example.org\n\n");
    assert_eq!(
        em(&daemon, &["setBidireccionalBuddys", alice, bob, "Ally", "Bobby", "x", "work"]),
        "Done\n\n"
    );
    assert_eq!(em(&daemon, &["addBuddyToRoster", alice, carol, "Caz", "friends", "to"]), "Done\n\n");
    assert_eq!(
        em(&daemon, &["getRoster", alice]),
        "bob@example.org\tBobby\tboth\tnone\twork\ncarol@example.org\tCaz\tto\tnone\tfriends\n\n"
    );
    assert_eq!(em(&daemon, &["getRoster", bob]), "alice@example.org\tAlly\tboth\tnone\tx\n\n");
    assert_eq!(em(&daemon, &["checkBidirecctionalBuddys", alice, bob]), "true\n\n");
    assert_eq!(em(&daemon, &["checkUserJid", "nobody@example.org"]), "false\n\n");
    assert_eq!(
        em(&daemon, &["printAllBidirecctionalBuddysByDomain", "all"]),
        "This may take a while...\n[alice@example.org,bob@example.org]\nDone\n\n"
    );
    let rule = "-".repeat(37);
    let printed = em(&daemon, &["printAllRostersByDomain", "example.org"]);
    assert!(
        printed.starts_with(&format!("\n{rule}\nalice@example.org Roster\n{rule}\nbob@example.org\t")),
        "{printed}"
    );
    assert!(printed.ends_with(&format!("{rule}\n\nDone\n\n")), "{printed}");
    // They see each other by it, without a question.
    let (b, watcher) = (daemon.udp("bob"), daemon.udp("alice"));
    let watch = watcher.watches("presence", "bob");
    watch.hears("bob is there", |notify| notify.text().contains("<basic>open</basic>"));
    assert_eq!(em(&daemon, &["unsetBidireccionalBuddys", bob, alice, "Al", "old"]), "Done\n\n");
    assert_eq!(
        em(&daemon, &["unsetBidireccionalBuddys", carol, bob, "Bob", "old"]),
        "carol@example.org and bob@example.org aren't bidireccional buddys\n\n"
    );
    assert_eq!(
        em(&daemon, &["removeBuddyFromRoster", carol, bob]),
        "User bob@example.org not found in carol@example.org roster.\n\n"
    );
    // An account's roster, however it is spelled; an account whose name is a word of ours is an account.
    daemon.account("all", "secret");
    for address in ["all", "sip:all@localhost", "<sip:All@example.org>", "sips:all", "sip:all"] {
        done(&daemon, &["roster", "link", "all@example.org", bob]);
        match address {
            "all" => assert_eq!(em(&daemon, &["removeRoster", address]), "Done\n\n"),
            _ => {
                assert_eq!(done(&daemon, &["roster", "clear", address]), json!({ "removed": 1 }), "{address}")
            }
        }
        assert!(em(&daemon, &["getRoster", bob]).starts_with("alice@example.org\t"), "{address}");
    }
    assert_eq!(em(&daemon, &["removeAllRosters"]), "Done\n\n");
    assert_eq!(em(&daemon, &["getAllUserJidsWithRosterByDomain", "all"]), "\n\n");
    b.never_heard("*** [alice] would like to see when you are there");
}

#[test]
fn people_and_rooms_are_run_by_the_script_of_social_stream() {
    let daemon = house(&["alice", "bob"]);
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    assert_eq!(em(&daemon, &["getConnectedJids"]), "alice@example.org\nbob@example.org\n\n");
    assert_eq!(em(&daemon, &["getConnectedJidsByDomain", "other.org"]), "\n\n");
    assert_eq!(em(&daemon, &["getUserResource", "bob@example.org"]), format!("{}\n\n", bob.contact()));
    assert_eq!(em(&daemon, &["sendPresence", "bob@example.org", "dnd"]), "Done\n\n");
    assert_eq!(done(&daemon, &["presence", "show", "bob"])["says"], "busy");
    assert_eq!(
        em(&daemon, &["sendMessageToUser", "alice@example.org", "bob@example.org", "hello bob"]),
        "Done\n\n"
    );
    bob.hears("hello bob");
    assert_eq!(em(&daemon, &["broadcastToConnectedUsers", "alice@example.org", "all", "to all"]), "Done\n\n");
    bob.hears("to all");
    assert_eq!(
        em(&daemon, &["broadcast", "alice@example.org", "[bob@example.org,zoe@example.org]", "hi"])
            .lines()
            .next(),
        Some("Error: zoe@example.org: No Such User or Room")
    );
    bob.hears("hi");
    assert_eq!(em(&daemon, &["createPersistentRoom", "team", "example.org"]), "Done\n\n");
    assert_eq!(
        em(&daemon, &["setJidAffiliationOfRoom", "team", "example.org", "alice@example.org", "owner"]),
        "Done\n\n"
    );
    assert_eq!(
        em(&daemon, &["setJidAffiliationOfRoom", "team", "example.org", "bob@example.org", "member"]),
        "Done\n\n"
    );
    alice.hears("*** [bob] has joined the room");
    assert_eq!(
        em(&daemon, &["getAllJidsOfRoom", "team", "example.org"]),
        "alice@example.org\nbob@example.org\n\n"
    );
    assert_eq!(
        em(&daemon, &["getAffiliationsOfRoom", "team", "example.org"]),
        "alice@example.org\nowner\nbob@example.org\nmember\n\n"
    );
    assert_eq!(
        em(&daemon, &["setJidAffiliationOfRoom", "team", "example.org", "bob@example.org", "none"]),
        "Done\n\n"
    );
    bob.hears("*** You have been removed from the room");
    assert_eq!(em(&daemon, &["printAllRooms"]), "team@example.org\n\n");
    assert_eq!(em(&daemon, &["destroyAllRoomsByDomain", "example.org"]), "Done\n\n");
    assert_eq!(em(&daemon, &["printAllRoomsByDomain", "example.org"]), "\n\n");
    assert_eq!(em(&daemon, &["destroyRoom", "team", "example.org"]), "Error: no room team@example.org\n\n");
    assert_eq!(em(&daemon, &["kickUserJid", "bob@example.org"]), "Done\n\n");
    assert_eq!(
        em(&daemon, &["getUserResource", "bob@example.org"]),
        "bob@example.org no have any active session\n\n"
    );
}

#[test]
fn rosters_are_made_what_a_file_says_in_one_go() {
    let daemon = house(&["alice", "bob", "carol"]);
    done(&daemon, &["roster", "put", "carol", "alice", "to", "--nick", "Al"]);
    let file = daemon.dir().join("rosters.tsv");
    std::fs::write(&file, "# account\tuser\tsight\tnick\tgroups\nalice\tbob\tboth\tBobby\twork,home\n")
        .unwrap();
    let file = file.display().to_string();
    let line = |change: &str, account: &str, user: &str, sight: &str, nick: &str, groups: Value| {
        let at = |user: &str| format!("{user}@example.org");
        json!({ "change": change, "account": at(account), "user": at(user), "sight": sight, "nick": nick, "groups": groups })
    };
    let steps = json!([
        line("remove", "alice", "carol", "none", "", json!([])),
        line("remove", "carol", "alice", "none", "", json!([])),
        line("add", "alice", "bob", "both", "Bobby", json!(["work", "home"])),
        line("add", "bob", "alice", "both", "", json!([])),
    ]);
    let before = done(&daemon, &["roster", "dump"]);
    assert_eq!(done(&daemon, &["roster", "sync", &file, "--dry-run"]), steps);
    assert_eq!(done(&daemon, &["roster", "dump"]), before, "a dry run changes nothing");
    assert_eq!(done(&daemon, &["roster", "sync", &file]), steps);
    assert_eq!(done(&daemon, &["roster", "sync", &file]), json!([]), "nothing is left to do");
    assert_eq!(
        done(&daemon, &["roster", "links"]),
        json!([{ "account": "alice@example.org", "user": "bob@example.org" }])
    );
    // What was dumped can be put back, from standard input too; also where one of two is no account.
    done(&daemon, &["roster", "link", "alice", "yet-to-come"]);
    let dumped = daemon.imcctl(&["--json", "roster", "dump"]).stdout;
    done(&daemon, &["roster", "clear", "all"]);
    let mut imcctl = Command::new(env!("CARGO_BIN_EXE_imcctl"))
        .args([
            "--json",
            "--socket",
            &daemon.dir().join("imcd.sock").display().to_string(),
            "roster",
            "sync",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    imcctl.stdin.take().unwrap().write_all(&dumped).unwrap();
    assert!(imcctl.wait_with_output().unwrap().status.success());
    assert_eq!(daemon.imcctl(&["--json", "roster", "dump"]).stdout, dumped);

    for (text, why) in [
        ("alice\tbob\nzoe\talice", "imcctl: no account zoe@example.org"),
        ("alice\tbob\tperhaps", "imcctl: line 1: \"perhaps\": expected none, to, from or both"),
        ("alice\talice", "imcctl: line 1: alice@example.org sees itself already"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = daemon.imcctl(&["roster", "sync", &file]);
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), why);
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(daemon.imcctl(&["--json", "roster", "dump"]).stdout, dumped, "a wrong file changes nothing");
}
