//! What people read again: letters, words, what they missed; and that nobody reads what is another's.

use crate::chat::room;
use crate::kit::{Act, Daemon, Got, Msg, Phone, Setup};

/// The lines of the answer, without the numbers of its parts and without the times.
fn asks(phone: &Phone, to: &str, question: &str) -> Vec<String> {
    // After a kill something may come once more, with the Call-ID it had.
    let known: Vec<String> = phone.got().iter().map(|got| got.msg.call_id().to_owned()).collect();
    phone.expect(202, to, question);
    let parts_of = |got: &[Got]| -> Vec<String> {
        let manager = format!("sip:{to}@example.org");
        let fresh = |msg: &Msg| !known.iter().any(|known| known == msg.call_id());
        let ours = got.iter().map(|got| &got.msg).filter(|msg| msg.address("From") == manager && fresh(msg));
        ours.map(|msg| msg.text()).collect()
    };
    let answer = phone.until(question, |got| {
        let parts = parts_of(got);
        parts.first().is_some_and(|first| parts.len() == part(first).1)
    });
    parts_of(&answer).iter().flat_map(|text| part(text).0.lines()).map(without_time).collect()
}

/// A text without `(1/3) `, and how many parts there are.
fn part(text: &str) -> (&str, usize) {
    let numbered = text.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    match numbered.and_then(|(number, rest)| Some((rest, number.split_once('/')?.1.parse().ok()?))) {
        Some(found) => found,
        None => (text, 1),
    }
}

fn without_time(line: &str) -> String {
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((time, rest)) if time.ends_with(|c: char| c.is_ascii_digit()) && time.contains(':') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    }
}

fn finds(phone: &Phone, question: &str, expected: &[&str]) {
    assert_eq!(asks(phone, "chat-manager", question), expected, "{question}");
}

#[test]
fn letters_are_read_again_by_both_and_by_nobody_else() {
    let mut daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.tcp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    alice.expect(200, "bob", "hello");
    bob.expect(200, "alice", "hi\nhow are you?");
    alice.expect(200, "carol", "for carol");
    alice.ask(alice.message("bob", "\u{89}PNG").content_type("image/png"));
    daemon.kill_and_restart();
    alice.register();
    let with_bob = ["[alice]: hello", "[bob]: hi", "    how are you?", "[alice]: (image/png)"];
    assert_eq!(asks(&alice, "chat-manager", "#history with bob"), with_bob);
    assert_eq!(asks(&alice, "chat-manager", "#history with BOB@example.org 1"), ["[alice]: (image/png)"]);
    assert_eq!(asks(&alice, "team", "#history with bob"), with_bob, "it is about him, not about the room");
    assert_eq!(
        asks(&alice, "chat-manager", "#history 3"),
        ["[bob]: hi", "    how are you?", "[alice] to [carol]: for carol", "[alice] to [bob]: (image/png)"]
    );
    bob.back();
    assert_eq!(asks(&bob, "chat-manager", "#history with alice"), with_bob);
    carol.register();
    assert_eq!(asks(&carol, "chat-manager", "#history with bob"), ["*** No messages"]);
    assert_eq!(asks(&carol, "chat-manager", "#history"), ["[alice]: for carol"]);
    alice.expect(202, "team", "to all");
    bob.expect(202, "chat-manager", "#history with team");
    let posts = bob.hears_that("the room's history", |m| m.text().ends_with("] [alice]: to all"));
    assert_eq!(posts.address("From"), "sip:team@example.org");
    carol.expect(603, "chat-manager", "#history with team");
}

#[test]
fn what_was_refused_is_not_kept_by_its_author_either() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.responds(|_| Act::Answer(603));
    alice.expect(603, "bob", "refused");
    bob.responds(|_| Act::Answer(200));
    bob.register();
    alice.expect(200, "bob", "taken");
    assert_eq!(asks(&alice, "chat-manager", "#history with bob"), ["[alice]: taken"]);
}

#[test]
fn words_are_found_by_those_who_may_read_them_also_after_a_kill() {
    let mut daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    for n in 0..300 {
        alice.expect(202, "team", &format!("pebble{n} of tea"));
    }
    alice.expect(200, "carol", "Tea for two");
    bob.hears("[alice]: pebble299 of tea");
    daemon.kill_and_restart();
    for phone in [&alice, &bob, &carol] {
        phone.register();
    }
    finds(&alice, "#search pebble7", &["[alice] in [team]: pebble7 of tea"]);
    finds(&alice, "#search TEA two", &["[alice] to [carol]: Tea for two"]);
    finds(&carol, "#search tea", &["[alice]: Tea for two"]);
    finds(&bob, "#search two", &["*** Nothing found"]);
    let many = asks(&bob, "chat-manager", "#search tea");
    assert_eq!(many.len(), 21, "{many:?}");
    assert_eq!(
        (many[0].as_str(), many[19].as_str()),
        ("[alice] in [team]: pebble299 of tea", "[alice] in [team]: pebble280 of tea")
    );
    assert_eq!(many[20], "*** There is more. Add a word to find less.");
    alice.expect(202, "team", "#remove bob");
    bob.hears("*** You have been removed from the room");
    alice.expect(202, "team", "tea without him");
    finds(&bob, "#search without", &["*** Nothing found"]);
    finds(&bob, "#search pebble12", &["[alice] in [team]: pebble12 of tea"]);
    finds(&bob, "#search \"tea\" OR text:without NOT", &["*** Nothing found"]);
    bob.expect(400, "chat-manager", "#search");
    bob.hears("*** Usage: #search <word> [<word> …]");
    bob.expect(400, "chat-manager", "#search ?! *");
    bob.one_at_a_time();
}

#[test]
fn what_was_missed_is_told_to_the_device_that_was_away() {
    let daemon = Setup::new().set("offline.room_max", "2").start();
    let alice = daemon.udp("alice");
    let desk = daemon.phone("bob").instance(1).registered();
    let mobile = daemon.phone("bob").instance(2).registered();
    room("team", &alice, &[&desk]);
    assert_eq!(asks(&mobile, "chat-manager", "#missed"), ["*** You have missed nothing"]);
    mobile.unregister();
    for n in 0..4 {
        alice.expect(202, "team", &format!("post {n}"));
    }
    alice.expect(200, "bob", "where are you?");
    desk.expect(200, "alice", "here");
    mobile.register();
    mobile.hears("where are you?");
    alice.expect(200, "bob", "ah");
    mobile.hears("ah");
    assert_eq!(
        asks(&mobile, "chat-manager", "#missed"),
        [
            "*** While you were away: 1 message from [alice], 4 messages in [team]",
            "[alice] in [team]: post 0",
            "[alice] in [team]: post 1",
            "[alice] in [team]: post 2",
            "[alice] in [team]: post 3",
            "[alice]: where are you?"
        ]
    );
    assert_eq!(asks(&desk, "chat-manager", "#missed"), ["*** You have missed nothing"]);
}

#[test]
fn whose_archive_is_off_keeps_nothing_and_finds_nothing_of_it() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(200, "bob", "tea before");
    assert_eq!(asks(&alice, "chat-manager", "#set archive off"), ["*** archive is now off"]);
    alice.expect(200, "bob", "tea after");
    let off = "*** Your archive is off. Send #set archive on to keep what you write and get.";
    assert_eq!(asks(&alice, "chat-manager", "#history with bob"), [off]);
    finds(&alice, "#search tea", &["*** Nothing found"]);
    finds(&bob, "#search tea", &["[alice]: tea after", "[alice]: tea before"]);
    assert_eq!(asks(&alice, "chat-manager", "#set archive on"), ["*** archive is now on"]);
    alice.expect(200, "bob", "tea again");
    let history = asks(&alice, "chat-manager", "#history with bob");
    assert!(
        history.ends_with(&["[alice]: tea again".into()]) && !history.contains(&"[alice]: tea after".into())
    );
}

#[test]
fn where_nothing_is_kept_that_is_what_is_said() {
    let daemon = Setup::new().set("history.keep", "\"0\"").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(200, "bob", "once");
    bob.hears("once");
    let nothing = ["*** Nothing is kept here to be read again"];
    assert_eq!(asks(&alice, "chat-manager", "#history with bob"), nothing);
    assert_eq!(asks(&alice, "chat-manager", "#search once"), nothing);
}

#[test]
fn a_stranger_to_the_server_is_told_nothing() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    alice.expect(404, "nobody", "#missed");
    alice.expect(404, "nobody", "#search tea");
    let ghost = daemon.phone("ghost").up();
    let answers: Vec<Msg> =
        ["#missed", "#history", "#search tea"].map(|q| ghost.say("chat-manager", q)).into();
    assert!(
        answers.iter().all(|answer| answer.status() == 202),
        "he may speak, and there is nowhere to answer"
    );
    assert!(ghost.texts().is_empty());
}

#[test]
fn an_index_in_the_making_survives_kills_with_each_entry_once() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "the first");
    daemon.terminate();
    let log = rusqlite::Connection::open(daemon.dir().join("imcd.db")).unwrap();
    log.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO log (conversation, kind, sender, body, at, expires, hops, private)
         SELECT conversation, 1, sender, CAST('pebble' || i || ' of the many' AS BLOB), at, 1, 9, 0
         FROM n, (SELECT * FROM log WHERE kind = 1 LIMIT 1)",
    )
    .unwrap();
    let count = |conn: &rusqlite::Connection, sql: &str| -> i64 {
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let said = count(&log, "SELECT count(*) FROM log WHERE kind = 1");
    drop(log);
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(daemon.dir().join(format!("imcd.db-search{end}"))).ok();
    }
    for _ in 0..5 {
        daemon.restart();
        daemon.kill();
    }
    daemon.restart();
    alice.register();
    for _ in 0..25 {
        // Each question takes in a piece of the log first.
        finds(&alice, "#search nowhere", &["*** Nothing found"]);
    }
    finds(&alice, "#search pebble40000", &["[alice] in [team]: pebble40000 of the many"]);
    finds(&alice, "#search first", &["[alice] in [team]: the first"]);
    assert_eq!(asks(&alice, "chat-manager", "#search many").len(), 21);
    daemon.terminate();
    let index = rusqlite::Connection::open(daemon.dir().join("imcd.db-search")).unwrap();
    assert_eq!(count(&index, "SELECT count(*) FROM words"), said);
    assert_eq!(count(&index, "SELECT count(*) FROM words('pebble39999')"), 1);
}
