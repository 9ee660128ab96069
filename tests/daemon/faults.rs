//! What goes wrong around the daemon: slow and dead phones, a locked database, a full disk, a stop under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::chat::room;
use crate::kit::{Act, Daemon, Msg, NoAnswer, Over, PATIENCE, Phone, Setup, disk};

fn posts(phone: &Phone) -> Vec<String> {
    phone.texts().into_iter().filter(|t| t.contains("]: post ")).collect()
}

fn expected(author: &str, n: usize) -> Vec<String> {
    (0..n).map(|n| format!("[{author}]: post {n}")).collect()
}

fn has(n: usize) -> impl Fn(&Msg) -> bool {
    move |m: &Msg| m.text().ends_with(&format!("]: post {n}"))
}

#[test]
fn a_slow_and_a_dead_member_delay_nobody_in_a_room_of_two_hundred() {
    const POSTS: usize = 6;
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    alice.expect(202, "team", "#create");
    let members: Vec<Phone> = (0..199).map(|n| daemon.udp(&format!("m{n}"))).collect();
    for phone in &members {
        phone.expect(202, "team", "#join");
    }
    let last = "*** [m198] has joined the room";
    for phone in &members {
        // 20,000 notices of who joined go before.
        phone.until_within(PATIENCE * 4, last, |all| all.iter().rev().any(|g| g.msg.text() == last));
    }
    let (slow, dead, healthy) = (&members[0], &members[1], &members[2..]);
    slow.responds(|_| Act::After(Duration::from_secs(2), 200));
    dead.responds(|_| Act::Silence);
    for n in 0..POSTS {
        alice.expect(202, "team", &format!("post {n}"));
    }
    slow.hears_that("the third post", has(2));
    let third = slow.got().into_iter().find(|g| has(2)(&g.msg)).unwrap().at;
    let mut late = Vec::new();
    for phone in healthy {
        phone.hears_that("the last post", has(POSTS - 1));
        let at = phone.got().into_iter().find(|g| has(POSTS - 1)(&g.msg)).unwrap().at;
        if at >= third {
            late.push(format!("{} {:?} later", phone.user(), at - third));
        }
        assert_eq!(posts(phone), expected("alice", POSTS), "{}", phone.user());
    }
    assert!(late.is_empty(), "had the last post only after the slow one's third, which takes 4 s: {late:?}");
    slow.hears_that("the last post", has(POSTS - 1));
    assert_eq!(posts(slow), expected("alice", POSTS));
    assert_eq!(
        dead.got().iter().filter(|g| g.msg.text().contains("]: post ")).count(),
        1,
        "one open at a time"
    );
    for phone in &members {
        phone.one_at_a_time();
    }
    // The dead one gets everything in order once it lives again and says so.
    dead.responds(|_| Act::Answer(200));
    dead.register();
    dead.until_within(PATIENCE * 3, "the last post", |all| all.iter().any(|g| has(POSTS - 1)(&g.msg)));
    assert_eq!(posts(dead), expected("alice", POSTS));
    dead.one_at_a_time();
}

fn one_transaction_at_a_time(over: Over) {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let bob = daemon.phone("bob").over(over).registered();
    room("team", &alice, &[&bob]);
    bob.responds(|_| Act::After(Duration::from_millis(100), 200));
    for n in 0..50 {
        alice.expect(202, "team", &format!("post {n}"));
    }
    // Answers to commands and direct messages share the one slot.
    bob.expect(202, "team", "#members");
    bob.hears_that("the last post", has(49));
    bob.hears("Members:\n*[alice]\n[bob]");
    assert_eq!(posts(&bob), expected("alice", 50));
    bob.one_at_a_time();
}

#[test]
fn no_contact_has_two_message_transactions_open_over_udp() {
    one_transaction_at_a_time(Over::Udp);
}

#[test]
fn no_contact_has_two_message_transactions_open_over_tcp() {
    one_transaction_at_a_time(Over::Tcp);
}

#[test]
fn of_two_contacts_without_instance_a_dead_one_does_not_hold_the_other() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let (living, dead) = (daemon.udp("bob"), daemon.udp("bob"));
    room("team", &alice, &[&living]);
    dead.hears("*** [bob] has joined the room");
    dead.responds(|_| Act::Silence);
    for n in 0..20 {
        alice.expect(202, "team", &format!("post {n}"));
    }
    living.hears_that("the last post", has(19));
    assert_eq!(posts(&living), expected("alice", 20));
    living.one_at_a_time();
    dead.one_at_a_time();
    let answer = alice.say("bob", "for either");
    assert_eq!(answer.status(), 200, "one of them takes it: {}", answer.start);
    living.hears("for either");
}

#[test]
fn a_phone_that_refuses_one_text_gets_the_others_by_and_by() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    // 603 is given up at once; 500 means away, until the phone registers again.
    bob.responds(|m| Act::Answer(if m.text().contains("poison") { 603 } else { 200 }));
    alice.expect(202, "team", "post 0");
    alice.expect(202, "team", "poison");
    alice.expect(202, "team", "post 1");
    bob.hears_that("the post after", has(1));
    assert_eq!(posts(&bob), expected("alice", 2));
    let mut refusals = 1;
    bob.responds(move |m| {
        let refuse = m.text().contains("post 2") && refusals > 0;
        refusals -= i32::from(refuse);
        Act::Answer(if refuse { 500 } else { 200 })
    });
    alice.expect(202, "team", "post 2");
    alice.expect(202, "team", "post 3");
    bob.offered("[alice]: post 2");
    bob.register();
    bob.hears_that("the last post", has(3));
    assert_eq!(posts(&bob), expected("alice", 4), "order is kept over a refusal");
    let offers: Vec<String> = bob
        .got()
        .iter()
        .filter(|g| g.msg.text().ends_with("post 2"))
        .map(|g| g.msg.call_id().into())
        .collect();
    assert!(
        offers.len() >= 2 && offers.iter().all(|id| *id == offers[0]),
        "a retry keeps its Call-ID: {offers:?}"
    );
    bob.one_at_a_time();
}

/// A 503 that says when to come back, and nothing else.
fn must_be_503(answer: &Result<Msg, NoAnswer>, phone: &Phone) {
    match answer {
        Ok(m) if m.status() == 503 => {
            let after = m
                .get("Retry-After")
                .unwrap_or_else(|| phone.fail(&format!("503 without Retry-After: {m:?}")));
            let seconds: String = after.chars().take_while(char::is_ascii_digit).collect();
            assert!(seconds.parse::<u32>().is_ok(), "Retry-After: {after}");
        }
        other => phone.fail(&format!("expected 503 with Retry-After, got {other:?}")),
    }
}

/// Posts until one is accepted: the daemon may need a moment to see that the fault is over.
fn accepted_again(phone: &Phone, text: &str) {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let answer = phone.say("team", text);
        match answer.status() {
            202 => return,
            503 if Instant::now() < deadline => std::thread::yield_now(),
            _ => phone.fail(&format!("the fault is over, but {text:?} gets {}", answer.start)),
        }
    }
}

#[test]
fn a_database_locked_by_another_process_means_503_and_then_recovery() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "before");
    bob.hears("[alice]: before");

    let other = rusqlite::Connection::open(daemon.dir().join("imcd.db")).expect("the database can be opened");
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").expect("another process can lock the database");
    let sent = alice.send(alice.message("team", "into the lock"));
    must_be_503(&sent.outcome, &alice);
    daemon.must_be_alive();
    other.execute_batch("ROLLBACK").unwrap();

    accepted_again(&alice, "after");
    bob.hears("[alice]: after");
    bob.never_heard("[alice]: into the lock");
}

#[test]
fn a_full_disk_means_503_and_then_recovery_without_a_restart() {
    let (setup, disk) = disk::bounded(Setup::new());
    let daemon = setup.start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "before");
    bob.hears("[alice]: before");

    disk.fill(&daemon);
    let long = "x".repeat(900);
    // What was reserved already may still take a few.
    let refused = (0..2000).find_map(|n| {
        let text = format!("post {n} {long}");
        let sent = alice.send(alice.message("team", &text));
        match sent.outcome.as_ref().map(Msg::status) {
            Ok(202) => {
                bob.hears(&format!("[alice]: {text}"));
                None
            }
            _ => Some((text, sent.outcome)),
        }
    });
    let (text, outcome) = refused.expect("a full disk must refuse some post");
    must_be_503(&outcome, &alice);
    daemon.must_be_alive();

    disk.free(&daemon);
    accepted_again(&alice, "after");
    bob.hears("[alice]: after");
    bob.never_heard(&format!("[alice]: {text}"));
}

#[test]
fn a_second_daemon_on_the_same_data_exits_with_a_clear_message() {
    let daemon = Daemon::open();
    let second = daemon.second();
    assert!(!second.status.success(), "it must not start: {second:?}");
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("data"), "the message names the data directory: {words}");
    let lower = words.to_lowercase();
    let clear = ["another", "already", "in use", "locked"].iter().any(|w| lower.contains(w));
    assert!(clear && !lower.contains("panicked"), "the message says what is wrong: {words}");
    daemon.must_be_alive();
}

#[test]
fn sigterm_under_load_exits_0_within_5_s_and_loses_nothing() {
    let mut daemon = Daemon::open();
    let senders = [daemon.udp("s0"), daemon.tcp("s1"), daemon.udp("s2")];
    let listener = daemon.udp("listener");
    let all: Vec<&Phone> = senders[1..].iter().chain([&listener]).collect();
    room("team", &senders[0], &all);
    let stop = AtomicBool::new(false);
    let accepted: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = senders
            .iter()
            .map(|phone| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut accepted = Vec::new();
                    for n in 0..400 {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let sent = phone.send(phone.message("team", &format!("post {n}")));
                        match sent.outcome.as_ref().map(Msg::status) {
                            Ok(202) => accepted.push(format!("[{}]: post {n}", phone.user())),
                            // Refused while draining, or cut off: no promise was made.
                            _ => break,
                        }
                    }
                    accepted
                })
            })
            .collect();
        listener.hears_that("the load", |m| m.text().contains("]: post 20"));
        let (status, took) = daemon.terminate();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0), "SIGTERM ends it with 0: {status}");
        assert!(took <= Duration::from_secs(5), "it took {took:?}");
        // Who sends into the stopped daemon would wait for Timer F; the restarted one answers him.
        daemon.restart();
        threads.into_iter().flat_map(|t| t.join().expect("a sender")).collect()
    });
    assert!(accepted.len() > 20, "too little load: {}", accepted.len());
    listener.register();
    let mut missing: std::collections::HashSet<String> = accepted.into_iter().collect();
    listener.until_within(PATIENCE * 2, "all accepted posts", |all| {
        for got in all {
            missing.remove(&got.msg.text());
        }
        missing.is_empty()
    });
    listener.one_at_a_time();
}

#[test]
fn a_message_over_1300_bytes_never_leaves_as_one_datagram() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.tcp("alice"), daemon.udp("bob"), daemon.tcp("carol"));
    room("team", &alice, &[&bob, &carol]);
    let long: String = (0..500).map(|n| format!("wörd{n} ")).collect();
    alice.expect(202, "team", &long);
    carol.hears(&format!("[alice]: {long}"));
    let parts = bob.until("all the text in parts", |all| {
        let text: String = all.iter().map(|g| g.msg.text()).collect();
        text.contains("wörd499")
    });
    let parts: Vec<&Msg> = parts.iter().map(|g| &*g.msg).filter(|m| m.text().contains("wörd")).collect();
    assert!(parts.len() > 1, "bob's phone is reachable over UDP alone");
    for part in &parts {
        assert!(std::str::from_utf8(&part.body).is_ok(), "a character was cut: {:?}", part.text());
        assert!(part.text().contains(&format!("/{})", parts.len())), "parts are numbered: {:?}", part.text());
    }
    for size in bob.datagrams_in() {
        assert!(size <= 1300, "a MESSAGE of {size} bytes left on UDP");
    }
    bob.one_at_a_time();
}
