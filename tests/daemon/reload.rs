//! Running it (spec §1): reload, environment, checks, readiness, the stop, and what gets into the log.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::chat::room;
use crate::kit::{Act, Daemon, Msg, Over, PATIENCE, Phone, Setup, wire::Datagrams};

#[test]
fn sighup_brings_reloadable_keys_into_effect_and_warns_of_the_others() {
    let mut daemon = Setup::new().set("sip.t1_ms", "400").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let tablet = daemon.phone("alice").instance(1).registered();
    room("team", &alice, &[&bob]);
    daemon.reload("imc.create_on_join", "false");
    daemon.logs("configuration reloaded");
    alice.expect(404, "other", "#join");
    daemon.reload("delivery.copy_to_sender", "true");
    daemon.reload("sip.t1_ms", "600");
    daemon.logs("sip.t1_ms has changed");
    alice.expect(202, "team", "copied");
    tablet.hears("[alice]: copied");
    // A mistake keeps what is there.
    daemon.reload("registrar.min_expires", "\"soon\"");
    daemon.logs("configuration not reloaded");
    alice.expect(202, "team", "still here");
    bob.hears("[alice]: still here");
}

#[test]
fn the_environment_overrides_single_keys_and_print_config_shows_them() {
    let setup = Setup::new().env("IMCD_SIP__NAT_KEEPALIVE_S", "7").env("IMCD_OFFLINE__ENABLED", "false");
    let printed = setup.run_to_end(&["--print-config"]);
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.status.success(), "{printed:?}");
    assert!(text.contains("nat_keepalive_s = 7") && text.contains("enabled = false"), "{text}");
    let wrong = Setup::new().env("IMCD_SIP__NAT_KEEPALIVE_S", "often").run_to_end(&["--check"]);
    let words = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && words.contains("IMCD_SIP__NAT_KEEPALIVE_S"), "{words}");
    let public = Setup::new().set("sip.trusted_peers", "[\"8.8.8.0/24\"]").run_to_end(&["--check"]);
    let words = String::from_utf8_lossy(&public.stderr).into_owned();
    assert!(public.status.success() && words.contains("8.8.8.0/24"), "{words}");
}

#[test]
fn systemd_is_told_when_it_is_ready_that_it_lives_and_when_it_stops() {
    let setup = Setup::new();
    let path = setup.dir().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let setup = setup.env("NOTIFY_SOCKET", &path.display().to_string()).env("WATCHDOG_USEC", "200000");
    let mut daemon = setup.start();
    let heard = || {
        let mut buffer = [0; 512];
        let n = socket.recv(&mut buffer).expect("systemd is told");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let ready = heard();
    assert!(ready.contains("READY=1"), "{ready}");
    for _ in 0..3 {
        assert_eq!(heard().trim(), "WATCHDOG=1");
    }
    daemon.terminate();
    let mut last = heard();
    while last.contains("WATCHDOG=1") {
        last = heard();
    }
    assert!(last.contains("STOPPING=1"), "{last}");
}

#[test]
fn neither_what_is_said_nor_passwords_get_into_the_log() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "pass-phrase-of-alice");
    daemon.account("bob", "pass-phrase-of-bob");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    bob.responds(|m| Act::Answer(if m.text().contains("refused") { 603 } else { 200 }));
    for text in ["open-words", "refused-words"] {
        alice.expect(202, "team", text);
        bob.offered(&format!("[alice]: {text}"));
    }
    alice.expect(603, "bob", "refused-direct-words");
    alice.expect(202, "team", "last");
    bob.hears("[alice]: last");
    daemon.logs("a device does not get this message");
    for secret in ["words", "pass-phrase", "response=", "Authorization"] {
        assert!(!daemon.logged(secret), "{secret} is in the log:\n{}", daemon.log());
    }
}

#[test]
fn a_locked_store_means_100_after_3_5_s_and_a_copy_meanwhile_is_482() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let other = rusqlite::Connection::open(daemon.dir().join("imcd.db")).expect("the database can be opened");
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").expect("another process can lock the database");
    let asker = Datagrams::new(daemon.addr);
    let post = alice.message("team", "into the lock");
    let begun = Instant::now();
    asker.send(&post.bytes(Over::Udp, asker.local(), None));
    // The same request over another way, to the same shard: another branch.
    let mut copy = post.clone();
    copy.branch = format!("z9hG4bK{}", crate::kit::token());
    asker.send(&copy.bytes(Over::Udp, asker.local(), None));
    let merged = asker.answer(&post.call_id, PATIENCE).expect("the copy is answered at once");
    assert_eq!((merged.status(), merged.branch()), (482, copy.branch.clone()), "{}", merged.start);
    let next = asker.answer(&post.call_id, PATIENCE).expect("it is answered");
    assert_eq!(next.branch(), post.branch);
    let after = begun.elapsed();
    if next.status() == 100 {
        assert!(after >= Duration::from_millis(3400), "a 100 after {after:?}");
        assert!(after <= Duration::from_millis(5000), "a 100 after {after:?}");
        let last = asker.answer(&post.call_id, PATIENCE).expect("it is answered finally");
        must_be_503(&last);
    } else {
        assert!(after < Duration::from_millis(3600), "no 100 before {after:?}");
        must_be_503(&next);
    }
    other.execute_batch("ROLLBACK").unwrap();
    daemon.must_be_alive();
}

fn must_be_503(answer: &Msg) {
    assert_eq!(answer.status(), 503, "{}", answer.start);
    assert!(answer.get("Retry-After").is_some(), "{answer:?}");
}

#[test]
fn the_hops_that_are_left_are_counted_over_the_store_too() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    bob.unregister();
    for (to, status) in [("team", 202), ("bob", 202)] {
        let answer = alice.ask(alice.message(to, &format!("to {to}")).hops(5));
        assert_eq!(answer.status(), status, "{}", answer.start);
        let answer = alice.ask(alice.message(to, "no further").hops(0));
        assert_eq!(answer.status(), 483, "{}", answer.start);
    }
    bob.register();
    assert_eq!(bob.hears("[alice]: to team").header("Max-Forwards"), "4");
    assert_eq!(bob.hears("to bob").header("Max-Forwards"), "4");
    let answer = bob.ask(bob.message("team", "#members").hops(1));
    assert_eq!(answer.status(), 202);
    let list = bob.hears_that("the list", |m| m.text().starts_with("Members:"));
    assert_eq!(list.header("Max-Forwards"), "0");
    bob.never_heard("[alice]: no further");
}

#[test]
fn phones_that_do_not_answer_do_not_hold_the_stop() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let silent: Vec<Phone> = (0..5).map(|n| daemon.udp(&format!("s{n}"))).collect();
    room("team", &alice, &[]);
    for phone in &silent {
        phone.expect(202, "team", "#join");
    }
    for phone in &silent {
        phone.hears("*** [s4] has joined the room");
        phone.responds(|_| Act::Silence);
    }
    alice.expect(202, "team", "nobody answers");
    silent[0].offered("[alice]: nobody answers");
    let (status, took) = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    daemon.restart();
    for phone in &silent {
        phone.responds(|_| Act::Answer(200));
        phone.register();
        phone.hears("[alice]: nobody answers");
    }
}

#[test]
fn a_locked_store_does_not_hold_the_stop() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "before");
    bob.hears("[alice]: before");
    let other = rusqlite::Connection::open(daemon.dir().join("imcd.db")).expect("the database can be opened");
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").expect("another process can lock the database");
    let asker = Datagrams::new(daemon.addr);
    let post = alice.message("team", "into the lock");
    asker.send(&post.bytes(Over::Udp, asker.local(), None));
    let (status, took) = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    other.execute_batch("ROLLBACK").unwrap();
    daemon.restart();
    alice.register();
    alice.expect(202, "team", "after");
    bob.hears("[alice]: after");
}
