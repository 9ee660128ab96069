//! What is to be said later: said when it is due, once, whatever happens in between.

use std::time::{Duration, Instant};

use crate::kit::{Daemon, Phone, Setup};

const MANAGER: &str = "chat-manager";

fn reminds(phone: &Phone, text: &str) -> crate::kit::Msg {
    let end = format!("] {text}");
    phone.hears_that(&format!("the reminder {text:?}"), |m| {
        m.text().starts_with("[Reminder message - ") && m.text().ends_with(&end)
    })
}

fn count(phone: &Phone, text: &str) -> usize {
    phone.texts().iter().filter(|t| t.contains(text) && t.starts_with("[Reminder message")).count()
}

#[test]
fn a_reminder_comes_from_the_manager_when_it_is_due_and_not_before() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let asked = Instant::now();
    alice.expect(202, MANAGER, "#remind 2s tea is ready");
    alice.hears_that("the answer", |m| m.text().starts_with("*** Reminder 1 is set for 2"));
    let reminder = reminds(&alice, "tea is ready");
    assert!(asked.elapsed() >= Duration::from_secs(2), "after {:?}", asked.elapsed());
    assert!(reminder.header("From").contains("<sip:chat-manager@"), "{reminder:?}");
    alice.expect(202, MANAGER, "#reminders");
    alice.hears("*** You have no reminders");
}

#[test]
fn a_reminder_for_somebody_else_survives_kills_and_is_said_once() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, MANAGER, "#remind bob 1s lunch?");
    // It becomes due while nobody is there to say it, or just before.
    daemon.kill_and_restart();
    let letter = reminds(&bob, "lunch?");
    assert!(letter.header("From").contains("<sip:alice@"), "{letter:?}");
    for n in 0..3 {
        daemon.kill_and_restart();
        alice.expect(202, MANAGER, &format!("#remind bob 1s number {n}"));
        daemon.kill_and_restart();
        reminds(&bob, &format!("number {n}"));
    }
    alice.expect(200, "bob", "and now I come");
    bob.hears("and now I come");
    for text in ["lunch?", "number 0", "number 1", "number 2"] {
        assert_eq!(count(&bob, text), 1, "{text}");
    }
    bob.one_at_a_time();
}

#[test]
fn who_is_away_when_it_is_due_gets_it_when_he_is_back() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.unregister();
    alice.expect(202, MANAGER, "#remind bob 1s call me");
    alice.expect(202, MANAGER, "#remind 2s did he?");
    reminds(&alice, "did he?");
    bob.register();
    reminds(&bob, "call me");
}

#[test]
fn reminders_are_listed_and_taken_back() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let bob = daemon.udp("bob");
    alice.expect(202, MANAGER, "#remind 2h tea");
    alice.expect(202, MANAGER, "#remind bob 3d the fair");
    alice.expect(202, MANAGER, "#remind 1h first");
    daemon.kill_and_restart();
    alice.expect(202, MANAGER, "#reminders");
    let list = alice.hears_that("the list", |m| m.text().starts_with("3: "));
    let lines: Vec<String> = list.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("1: ") && lines[1].ends_with(": tea"), "{lines:?}");
    assert!(lines[2].starts_with("2: ") && lines[2].ends_with(" for bob: the fair"), "{lines:?}");
    bob.expect(202, MANAGER, "#reminders");
    bob.hears("*** You have no reminders");
    // Nobody takes back what is another's.
    bob.expect(404, MANAGER, "#forget 1");
    alice.expect(202, MANAGER, "#forget 1");
    alice.hears("*** Reminder 1 is forgotten");
    alice.expect(404, MANAGER, "#forget 1");
    alice.hears("*** You have no reminder 1. Send #reminders to see them.");
    for (text, status) in [
        ("#remind", 400),
        ("#remind tomorrow tea", 400),
        ("#remind 2001-01-01 12:00 tea", 400),
        ("#remind 20m", 400),
        ("#forget", 400),
        ("#remind nobody@elsewhere.invalid 5m tea", 404),
    ] {
        assert_eq!(alice.say(MANAGER, text).status(), status, "{text}");
    }
}

#[test]
fn there_is_an_end_to_what_one_person_can_be_reminded_of() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    for n in 0..100 {
        alice.expect(202, MANAGER, &format!("#remind 1h number {n}"));
    }
    alice.expect(603, MANAGER, "#remind 1h one too many");
    alice.hears("*** You have 100 reminders. Take one back with #forget first.");
    alice.expect(202, MANAGER, "#forget 7");
    alice.expect(202, MANAGER, "#remind 1h in its place");
}

#[test]
fn who_does_not_want_it_when_it_is_due_is_spared_and_the_author_is_told() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, MANAGER, "#remind bob 2s look here");
    bob.expect(202, MANAGER, "#block alice");
    alice.hears_that("the reason", |m| {
        m.text().starts_with("*** bob@example.org did not get your reminder: ")
    });
    assert_eq!(count(&bob, "look here"), 0);
}

#[test]
fn a_repeated_request_reminds_once() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let request = alice.message(MANAGER, "#remind 1h once");
    assert_eq!(alice.ask(request.clone()).status(), 202);
    daemon.kill_and_restart();
    assert_eq!(alice.ask(request).status(), 202);
    alice.expect(202, MANAGER, "#reminders");
    let list = alice.hears_that("the list", |m| m.text().ends_with(": once"));
    assert_eq!(list.text().lines().count(), 1, "{list:?}");
}

#[test]
fn a_reminder_for_a_stranger_counts_as_writing_to_him() {
    let limits = Setup::new().set("limits.posts_per_s", "20").set("limits.first_contacts_per_h", "1");
    let daemon = limits.start();
    let alice = daemon.udp("alice");
    let (_bob, _carol) = (daemon.udp("bob"), daemon.udp("carol"));
    alice.expect(202, MANAGER, "#remind bob 1h tea");
    let busy = alice.expect(480, MANAGER, "#remind carol 1h tea");
    assert!(busy.get("Retry-After").is_some(), "{busy:?}");
    alice.expect(202, MANAGER, "#remind 1h of that");
    alice.expect(202, MANAGER, "#reminders");
    let list = alice.hears_that("the list", |m| m.text().contains("of that"));
    assert!(list.text().contains("for bob") && !list.text().contains("carol"), "{list:?}");
}

#[test]
fn a_kill_in_the_midst_of_many_that_are_due_loses_and_doubles_none() {
    const MANY: usize = 40;
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    for n in 0..MANY {
        alice.expect(202, MANAGER, &format!("#remind bob 2s number {n}."));
    }
    for some in [1, MANY / 3] {
        bob.until("some of them", |all| all.len() >= some);
        daemon.kill_and_restart();
    }
    bob.until("all of them", |all| all.len() >= MANY);
    alice.expect(200, "bob", "the end");
    bob.hears("the end");
    for n in 0..MANY {
        assert_eq!(count(&bob, &format!("number {n}.")), 1, "number {n}");
    }
    bob.one_at_a_time();
}
