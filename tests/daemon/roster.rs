//! Buddies: who asks, who agrees, what they may do then (spec §6).

use rusqlite::Connection;

use crate::kit::{Daemon, Setup};

const MANAGER: &str = "chat-manager";
const AGREES: &str =
    "*** bob@example.org is one of your buddies. You see each other as soon as bob@example.org agrees.";
const QUESTION: &str = "*** alice@example.org asks to see when you are there. \
    Send #buddy accept alice@example.org or #buddy refuse alice@example.org.";

#[test]
fn who_adds_somebody_asks_him_and_his_yes_is_told() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, MANAGER, "#buddy add bob Bobby the great");
    alice.hears(AGREES);
    bob.hears(QUESTION);
    bob.expect(202, MANAGER, "#buddies");
    bob.hears(
        "*** You have no buddies. Send #buddy add <user_name> to have one.\n\
         They ask to see when you are there:\nalice@example.org",
    );
    bob.expect(202, MANAGER, "#buddy accept alice@example.org");
    bob.hears(
        "*** alice@example.org sees now when you are there. \
         Send #buddy add alice@example.org to see alice@example.org too.",
    );
    alice.hears("*** bob@example.org lets you see when bob is there");
    alice.expect(202, MANAGER, "#buddy group bob work \"old friends\"");
    alice.hears("*** bob@example.org is in work, old friends");
    bob.expect(202, MANAGER, "#buddy add alice");
    bob.hears("*** You and alice@example.org see each other");
    alice.expect(202, MANAGER, "#buddies");
    // How he is follows a moment after he has registered.
    alice.hears_that("her buddy", |said| {
        said.text().starts_with("Your buddies:\nBobby the great <bob@example.org> [work, old friends] - both")
    });
    alice.expect(202, MANAGER, "#buddy nick bob");
    alice.hears("*** bob@example.org has no nickname on your list");
    bob.expect(202, MANAGER, "#buddy remove alice");
    bob.hears("*** alice@example.org is not one of your buddies any more");
    alice.expect(202, MANAGER, "#buddies");
    alice.hears("Your buddies:\nbob@example.org [work, old friends] - none");
    bob.expect(404, MANAGER, "#buddy remove alice");
    bob.hears("*** alice@example.org is not one of your buddies. Send #buddies to see them.");
}

#[test]
fn the_question_waits_for_who_is_away_and_survives_a_kill() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.unregister();
    alice.expect(202, MANAGER, "#buddy add bob");
    daemon.kill_and_restart();
    alice.register();
    bob.register();
    bob.hears(QUESTION);
    bob.expect(202, MANAGER, "#buddy refuse alice");
    bob.hears("*** alice@example.org does not see when you are there");
    alice.hears("*** bob@example.org does not let you see when bob is there");
    bob.expect(202, MANAGER, "#buddy refuse alice");
    alice.expect(202, MANAGER, "#buddies");
    alice.hears("Your buddies:\nbob@example.org - none");
}

#[test]
fn a_question_is_sent_once_per_pair_and_week() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, MANAGER, "#buddy add bob");
    bob.hears(QUESTION);
    for text in ["#buddy remove bob", "#buddy add bob", "#buddy add bob"] {
        alice.expect(202, MANAGER, text);
    }
    alice.expect(200, "bob", "did you get my question?");
    bob.hears("did you get my question?");
    assert_eq!(bob.texts().iter().filter(|text| *text == QUESTION).count(), 1);
    // A week later.
    daemon.kill();
    let path = daemon.dir().join("imcd.db");
    let conn = Connection::open(path).expect("the database");
    let rows = conn.execute("UPDATE question SET asked_at = asked_at - 604800000", []).expect("a week less");
    assert_eq!(rows, 1);
    drop(conn);
    daemon.restart();
    alice.register();
    bob.register();
    alice.expect(202, MANAGER, "#buddy add bob");
    bob.until("the second question", |got| {
        got.iter().filter(|said| said.msg.text() == QUESTION).count() == 2
    });
}

#[test]
fn two_who_add_each_other_are_not_asked_again_and_may_write_whatever_accept_says() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, MANAGER, "#buddy add bob");
    bob.expect(202, MANAGER, "#buddy add alice");
    bob.hears("*** You and alice@example.org see each other");
    bob.expect(202, MANAGER, "#set accept nobody");
    alice.expect(200, "bob", "a word among friends");
    bob.hears("a word among friends");
    daemon.udp("carol").expect(603, "bob", "buy this");
    bob.expect(202, MANAGER, "#block alice");
    alice.expect(603, "bob", "still there?");
    bob.never_heard("still there?");
}

#[test]
fn who_has_blocked_or_takes_no_strangers_is_not_asked_and_the_asker_cannot_tell() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    bob.expect(202, MANAGER, "#block alice");
    alice.expect(202, MANAGER, "#buddy add bob");
    alice.hears(AGREES);
    carol.expect(202, MANAGER, "#set accept nobody");
    alice.expect(202, MANAGER, "#buddy add carol");
    alice.expect(202, MANAGER, "#buddies");
    alice.hears("Your buddies:\nbob@example.org - asked\ncarol@example.org - asked");
    // Carol may look for herself.
    carol.expect(202, MANAGER, "#buddies");
    carol.hears_that("who asks", |said| said.text().ends_with("there:\nalice@example.org"));
    bob.expect(202, MANAGER, "#buddies");
    bob.hears("*** You have no buddies. Send #buddy add <user_name> to have one.");
    bob.never_heard(QUESTION);
    carol.never_heard(QUESTION);
}

#[test]
fn questions_to_strangers_count_as_first_contacts() {
    let daemon = Setup::new().set("limits.posts_per_s", "20").set("limits.first_contacts_per_h", "2").start();
    let alice = daemon.udp("alice");
    let others: Vec<_> = (0..3).map(|n| daemon.udp(&format!("u{n}"))).collect();
    for other in &others {
        alice.expect(202, MANAGER, &format!("#buddy add {}", other.user()));
    }
    for other in &others[..2] {
        other.hears(QUESTION);
    }
    alice.expect(480, "u2", "a third stranger");
    others[2].never_heard(QUESTION);
}

#[test]
fn a_status_is_said_shown_and_ended() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    alice.expect(202, MANAGER, "#status");
    alice.hears_that("nothing said", |said| said.text().starts_with("*** Your phones say how you are"));
    alice.expect(202, MANAGER, "#status Away \"out for\u{202e} lunch\"");
    alice.hears("*** Your status is now away (out for lunch)");
    daemon.kill_and_restart();
    alice.expect(202, MANAGER, "#status");
    alice.hears_that("what he said", |said| {
        said.text().starts_with("*** You say that you are away (out for lunch). Send #status auto to end it.")
    });
    alice.expect(202, MANAGER, "#status auto");
    alice.hears("*** Your phones say again how you are");
    alice.expect(400, MANAGER, "#status asleep");
    alice.hears("*** Usage: #status [auto|online|away|busy|on-the-phone|extended-away|offline [\"<note>\"]]");
    alice.expect(400, MANAGER, "#buddy");
    alice.expect(400, MANAGER, "#buddy add");
    alice.expect(603, MANAGER, "#buddy add alice");
    alice.hears("*** You see yourself already");
    alice.expect(404, MANAGER, "#buddy accept bob");
    alice.hears("*** bob@example.org has not asked to see when you are there");
    alice.expect(404, "nowhere", "#buddies");
}

#[test]
fn administrators_link_people_and_say_how_they_are() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let asked = |args: &[&str], wanted: i32| {
        let output = daemon.imcctl(args);
        assert_eq!(output.status.code(), Some(wanted), "{args:?} {output:?}");
        String::from_utf8_lossy(if wanted == 0 { &output.stdout } else { &output.stderr }).into_owned()
    };
    asked(
        &["roster", "add", "alice", "bob", "--nick", "Bobby", "--group", "work", "--group", "my friends"],
        0,
    );
    bob.hears(QUESTION);
    let list = asked(&["roster", "list", "alice"], 0);
    assert!(list.contains("bob@example.org  Bobby  work, my friends  asked"), "{list}");
    assert!(asked(&["roster", "link", "bob", "alice"], 0).contains("both"));
    alice.expect(202, MANAGER, "#buddies");
    alice.hears_that("her buddy", |said| {
        said.text().starts_with("Your buddies:\nBobby <bob@example.org> [work, my friends] - both")
    });
    assert!(asked(&["roster", "unlink", "alice", "bob"], 0).contains("none"));
    asked(&["roster", "remove", "alice", "bob"], 0);
    assert!(asked(&["roster", "remove", "alice", "bob"], 1).contains("is no buddy of"));
    assert!(asked(&["roster", "add", "alice", "alice"], 1).contains("sees itself already"));
    assert!(asked(&["roster", "list", "nobody"], 1).contains("no account nobody@example.org"));
    assert!(asked(&["room", "list", "--nick", "x"], 2).contains("unexpected argument '--nick'"));

    let shown = asked(&["presence", "set", "alice", "Busy", "in a meeting"], 0);
    assert!(shown.contains("says     busy") && shown.contains("note     in a meeting"), "{shown}");
    assert!(asked(&["presence", "set", "alice", "asleep"], 1).contains("no such state; it can be offline, "));
    assert!(asked(&["presence", "set", "alice", "auto"], 0).contains("says     auto"));
    assert!(asked(&["presence", "show", "alice"], 0).contains("says     auto"));
}

#[test]
fn a_picture_goes_in_and_comes_out_as_it_was() {
    let mut daemon = Daemon::open();
    let _alice = daemon.udp("alice");
    let file = |name: &str| daemon.dir().join(name).display().to_string();
    let (png, page, large, out) = (file("a.png"), file("a.html"), file("large.png"), file("out.png"));
    let data = [&b"\x89PNG\r\n\x1a\n"[..], &[0, 1, 2, 255]].concat();
    std::fs::write(&png, &data).expect("a picture");
    std::fs::write(&page, "<html>").expect("a page");
    std::fs::write(&large, [&data[..], &[0; 65_536]].concat()).expect("a large picture");
    let code = |daemon: &Daemon, args: &[&str]| daemon.imcctl(args).status.code();
    assert_eq!(code(&daemon, &["avatar", "get", "alice", &out]), Some(1));
    assert_eq!(code(&daemon, &["avatar", "set", "alice", &page]), Some(1));
    assert_eq!(code(&daemon, &["avatar", "set", "alice", &large]), Some(2));
    assert_eq!(code(&daemon, &["avatar", "set", "alice", "/nonexistent.png"]), Some(2));
    let set = daemon.imcctl(&["avatar", "set", "alice", &png]);
    let said = String::from_utf8_lossy(&set.stdout).into_owned();
    assert!(said.contains("image/png") && said.contains("bytes    12"), "{said}");
    daemon.kill_and_restart();
    let got = daemon.imcctl(&["avatar", "get", "alice", &out]);
    assert_eq!(String::from_utf8_lossy(&got.stdout), said, "{got:?}");
    assert_eq!(std::fs::read(&out).expect("what was written"), data);
    assert_eq!(code(&daemon, &["avatar", "remove", "alice"]), Some(0));
    assert_eq!(code(&daemon, &["avatar", "remove", "alice"]), Some(1));
}
