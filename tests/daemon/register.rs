//! Registration and digest as a phone meets them, and the configurations that must not start.

use std::time::Instant;

use crate::chat::room;
use crate::kit::sip::Challenge;
use crate::kit::{Daemon, Msg, Over, PATIENCE, Phone, Setup};

/// The contacts of the account, sorted, without parameters of the header.
fn contacts(answer: &Msg) -> Vec<String> {
    let rows = answer.all("Contact");
    let values = rows.iter().flat_map(|row| row.split(',')).map(crate::kit::sip::uri_of);
    let mut contacts: Vec<String> = values.filter(|c| !c.is_empty()).collect();
    contacts.sort();
    contacts
}

fn fetch(phone: &Phone) -> Msg {
    let answer = phone.ask(phone.register_request("", 0));
    assert_eq!(answer.status(), 200, "a fetch is a REGISTER without Contact: {}", answer.start);
    answer
}

fn granted(answer: &Msg, contact: &str) -> u32 {
    let row = answer.all("Contact").into_iter().find(|c| c.contains(contact)).expect("the contact is listed");
    let expires = crate::kit::sip::param(row, "expires").expect("each contact has its expires");
    expires.parse().expect("expires is a number")
}

#[test]
fn a_registration_is_listed_refreshed_and_ended() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let answer = fetch(&alice);
    assert_eq!(contacts(&answer), [alice.contact()]);
    assert!((3500..=3600).contains(&granted(&answer, &alice.contact())));
    assert!(answer.get("Record-Route").is_none());

    let second = daemon.udp("alice");
    let mut both = vec![alice.contact(), second.contact()];
    both.sort();
    assert_eq!(contacts(&fetch(&alice)), both);
    second.unregister();
    assert_eq!(contacts(&fetch(&alice)), [alice.contact()]);

    let wrong = alice.ask(alice.register_request("*", 60));
    assert_eq!(wrong.status(), 400, "`*` is for Expires 0 alone: {}", wrong.start);
    assert_eq!(contacts(&fetch(&alice)), [alice.contact()]);
    second.register();
    let all_off = alice.ask(alice.register_request("*", 0));
    assert_eq!(all_off.status(), 200, "{}", all_off.start);
    assert!(contacts(&fetch(&alice)).is_empty());
}

#[test]
fn expiry_is_bounded_from_both_sides() {
    let daemon = Daemon::open();
    let alice = daemon.phone("alice").up();
    let brief = alice.ask(alice.register_request(&alice.contact(), 10));
    assert_eq!(brief.status(), 423, "{}", brief.start);
    assert_eq!(brief.header("Min-Expires"), "60");
    assert!(contacts(&fetch(&alice)).is_empty());
    let long = alice.ask(alice.register_request(&alice.contact(), 10_000_000));
    assert_eq!(long.status(), 200);
    assert_eq!(granted(&long, &alice.contact()), 86400, "max_expires");
    let mut default = alice.register_request(&alice.contact(), 1);
    default.headers.retain(|h| !h.starts_with("Expires:"));
    let default = alice.ask(default);
    assert_eq!(granted(&default, &alice.contact()), 3600, "default_expires");
    // The Contact's own parameter beats the header (RFC 3261 §10.3).
    let mut own = alice.register_request(&alice.contact(), 3000);
    own.headers.retain(|h| !h.starts_with("Contact:"));
    let own = alice.ask(own.header(&format!("Contact: <{}>;expires=120", alice.contact())));
    assert_eq!(granted(&own, &alice.contact()), 120);
}

#[test]
fn an_expired_binding_is_gone_and_messages_wait() {
    let daemon = Setup::new().set("registrar.min_expires", "1").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.phone("bob").up());
    assert_eq!(bob.ask(bob.register_request(&bob.contact(), 1)).status(), 200);
    let deadline = Instant::now() + PATIENCE;
    while !contacts(&fetch(&bob)).is_empty() {
        assert!(Instant::now() < deadline, "a binding of one second lives on");
    }
    // The list may round the last second down; soon the binding is not used either.
    let stored = loop {
        let text = format!("for later, {}", crate::kit::token());
        let answer = alice.say("bob", &text);
        if answer.status() == 202 && !bob.texts().contains(&text) {
            break text;
        }
        assert!(Instant::now() < deadline, "an expired binding is still used");
    };
    bob.register();
    bob.hears_that("the stored message", |m| m.text().ends_with(&stored));
}

#[test]
fn bindings_survive_a_kill() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.phone("bob").instance(7).registered());
    room("team", &alice, &[&bob]);
    daemon.kill_and_restart();
    assert_eq!(contacts(&fetch(&bob)), [bob.contact()]);
    alice.expect(202, "team", "still there?");
    bob.hears("[alice]: still there?");
    assert_eq!(alice.say("bob", "directly").status(), 200);
}

#[test]
fn one_device_has_one_binding_and_the_longest_unseen_goes_first() {
    let daemon = Setup::new().set("registrar.max_contacts", "2").start();
    let phones: Vec<Phone> = (1..=3).map(|_| daemon.udp("alice")).collect();
    let mut expected = vec![phones[1].contact(), phones[2].contact()];
    expected.sort();
    assert_eq!(contacts(&fetch(&phones[0])), expected);
    // A new REGISTER with an older CSeq of the same Call-ID changes nothing.
    let mut old = phones[2].register_request(&phones[2].contact(), 0);
    old.cseq = 1;
    let refused = phones[2].ask(old);
    assert!(refused.status() >= 400, "an old CSeq is refused: {}", refused.start);
    assert_eq!(contacts(&fetch(&phones[0])), expected);
}

#[test]
fn what_may_not_be_registered_is_403_and_leaves_nothing() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    alice.expect(202, "team", "#create");
    let squatter = daemon.phone("team").up();
    let answer = squatter.ask(squatter.register_request(&squatter.contact(), 3600));
    assert_eq!(answer.status(), 403, "a room's address: {}", answer.start);

    let bob = daemon.phone("bob").up();
    let path = bob.register_request(&bob.contact(), 3600).header("Path: <sip:127.0.0.1:5999;lr>");
    let answer = bob.ask(path);
    assert_eq!(answer.status(), 403, "Path from an untrusted peer: {}", answer.start);
    assert!(contacts(&fetch(&bob)).is_empty());

    let abroad = daemon.phone("alice").domain("elsewhere.example").up();
    let answer = abroad.ask(abroad.register_request(&abroad.contact(), 3600));
    assert!([403, 404].contains(&answer.status()), "a domain that is not ours: {}", answer.start);
}

#[test]
fn to_and_from_are_spelled_as_the_phone_registered() {
    let daemon = Daemon::open();
    let host = daemon.addr.to_string();
    let alice = daemon.udp("alice");
    let bob = daemon.phone("bob").domain(&host).registered();
    alice.expect(202, "team", "#create");
    bob.expect(202, "team", "#join");
    alice.expect(202, "team", "hello");
    let copy = bob.hears("[alice]: hello");
    assert_eq!(copy.address("To"), format!("sip:bob@{host}"));
    assert_eq!(copy.address("From"), format!("sip:team@{host}"));
    let copy = alice.hears("*** [bob] has joined the room");
    assert_eq!(copy.address("From"), "sip:team@example.org");
    bob.expect(200, "alice", "direct");
    assert_eq!(alice.hears("direct").address("From"), "sip:bob@example.org");
}

fn challenges(answer: &Msg) -> Vec<Challenge> {
    assert_eq!(answer.status(), 401, "{}", answer.start);
    let rows = answer.all("WWW-Authenticate");
    let all: Vec<Challenge> = rows.iter().filter_map(|row| Challenge::parse(row)).collect();
    assert_eq!(all.len(), rows.len(), "every challenge is Digest: {rows:?}");
    assert!(!all.is_empty(), "a 401 has a challenge: {answer:?}");
    all
}

#[test]
fn the_configured_algorithms_are_offered_in_order_and_work() {
    for (value, expected) in [
        ("[\"MD5\"]", vec!["MD5"]),
        ("[\"SHA-256\"]", vec!["SHA-256"]),
        ("[\"SHA-256\", \"MD5\"]", vec!["SHA-256", "MD5"]),
    ] {
        let daemon = Setup::new().digest().set("auth.algorithms", value).start();
        daemon.account("alice", "secret of alice");
        daemon.account("bob", "secret of bob");
        let bare = daemon.phone("carl").up();
        let offered = challenges(&bare.ask(bare.register_request(&bare.contact(), 60)));
        let algorithms: Vec<&str> = offered.iter().map(|c| c.algorithm.as_str()).collect();
        assert_eq!(algorithms, expected);
        assert!(offered.iter().all(|c| c.realm == "example.org" && c.qop == "auth"), "{offered:?}");
        let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
        room("team", &alice, &[&bob]);
        alice.expect(202, "team", value);
        bob.hears(&format!("[alice]: {value}"));
    }
}

#[test]
fn only_the_right_password_and_ones_own_name_are_believed() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    daemon.account("bob", "secret of bob");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);

    let liar = daemon.phone("alice").password("guess").up();
    let answer = liar.ask(liar.register_request(&liar.contact(), 3600));
    assert!(!challenges(&answer)[0].stale, "a wrong password is never stale: {answer:?}");
    let answer = liar.ask(liar.message("team", "believe me"));
    challenges(&answer);
    assert_eq!(contacts(&fetch(&alice)), [alice.contact()]);

    let mut forged = bob.message("team", "I am alice");
    forged.from = alice.aor();
    let answer = bob.ask(forged);
    assert_eq!(answer.status(), 403, "From is not the authenticated user: {}", answer.start);
    let mut theft = bob.register_request(&bob.contact(), 3600);
    theft.to = alice.aor();
    let answer = bob.ask(theft);
    assert_eq!(answer.status(), 403, "To is not the authenticated user: {}", answer.start);
    assert_eq!(contacts(&fetch(&alice)), [alice.contact()]);

    bob.expect(202, "team", "it is me");
    alice.hears("[bob]: it is me");
    for phone in [&alice, &bob] {
        assert!(!phone.texts().iter().any(|t| t.contains("believe me") || t.contains("I am alice")));
    }
}

#[test]
fn credentials_serve_one_request_alone() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    let alice = daemon.udp("alice");
    alice.expect(202, "team", "#create");
    let line = alice.credentials(&alice.message("team", "x")).expect("she has been challenged");
    let first = alice.message("team", "first");
    let sent = alice.transact(&first.bytes(Over::Udp, alice.local(), Some(&line)), &first.branch).unwrap();
    assert_eq!(sent.status(), 202, "{}", sent.start);
    let replay = alice.message("team", "replayed credentials");
    let sent = alice.transact(&replay.bytes(Over::Udp, alice.local(), Some(&line)), &replay.branch).unwrap();
    challenges(&sent);
    let line = alice.credentials(&alice.message("team", "x")).unwrap();
    let other = alice.message("bob", "other address");
    let sent = alice.transact(&other.bytes(Over::Udp, alice.local(), Some(&line)), &other.branch).unwrap();
    assert!([400, 401, 403].contains(&sent.status()), "made for another Request-URI: {}", sent.start);
}

#[test]
fn a_configuration_that_is_open_to_the_world_is_refused() {
    let open = |purpose: bool| {
        Setup::new()
            .set("sip.listen", "[\"udp:0.0.0.0:5999\"]")
            .set("auth.mode", "\"open\"")
            .set("auth.open_on_purpose", if purpose { "true" } else { "false" })
    };
    for args in [&[][..], &["--check"][..]] {
        let refused = open(false).run_to_end(args);
        assert!(!refused.status.success(), "{args:?}: {refused:?}");
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(words.contains("open_on_purpose"), "the message names the key: {words}");
    }
    let allowed = open(true).run_to_end(&["--check"]);
    assert!(allowed.status.success(), "{allowed:?}");
    let digest = Setup::new().set("sip.listen", "[\"udp:0.0.0.0:5999\"]").run_to_end(&["--check"]);
    assert!(digest.status.success(), "mode auto is digest then: {digest:?}");
}

#[test]
fn a_wrong_configuration_names_file_and_key() {
    for (key, value) in
        [("sip.lisen", "[]"), ("registrar.min_expires", "\"soon\""), ("imc.dialect", "\"klingon\"")]
    {
        let refused = Setup::new().set(key, value).run_to_end(&["--check"]);
        assert!(!refused.status.success(), "{key}: {refused:?}");
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        let last = key.rsplit('.').next().unwrap();
        assert!(words.contains("imcd.toml") && words.contains(last), "{key} = {value}: {words}");
    }
}
