//! One request to several people (RFC 5365): who gets it, who does not, and what each of them sees.

use crate::kit::{Daemon, Msg, Over, Phone, Req, Setup};

const LIST: &str = "multipart/mixed;boundary=b";

fn body(entries: &[(&str, &str)]) -> String {
    let entries: String = entries
        .iter()
        .map(|(uri, copy)| format!("<entry uri=\"{uri}\" cp:copyControl=\"{copy}\"/>"))
        .collect();
    format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nto all of you\r\n--b\r\nContent-Type: application/resource-lists+xml\r\n\
         Content-Disposition: recipient-list\r\n\r\n<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\" \
         xmlns:cp=\"urn:ietf:params:xml:ns:copycontrol\"><list>{entries}</list></resource-lists>\r\n--b--\r\n"
    )
}

fn listed(phone: &Phone, to: &str, entries: &[(&str, &str)]) -> Req {
    phone.message(to, &body(entries)).content_type(LIST).header("Require: recipient-list-message")
}

fn letters(phone: &Phone) -> Vec<String> {
    phone.texts().into_iter().filter(|text| text.contains("to all of you")).collect()
}

#[test]
fn everybody_on_the_list_gets_it_once_and_who_is_away_later() {
    let mut daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    carol.unregister();
    let who = [
        ("sip:bob@example.org", "bcc"),
        ("sip:BOB@example.org;x=y", "bcc"),
        ("sip:carol@example.org", "bcc"),
    ];
    for to in ["chat-manager", "sip:example.org"] {
        assert_eq!(alice.ask(listed(&alice, to, &who)).status(), 202, "to {to}");
    }
    let copy = bob.hears_that("a copy", |msg| msg.text() == "to all of you");
    assert_eq!(copy.header("Content-Type"), "text/plain");
    assert_eq!(copy.address("To"), "sip:bob@example.org");
    assert!(copy.header("From").contains("sip:alice@example.org"));
    bob.until("both copies", |got| got.iter().filter(|g| g.msg.text() == "to all of you").count() == 2);
    daemon.kill_and_restart();
    carol.register();
    carol.until("both copies", |got| got.iter().filter(|g| g.msg.text() == "to all of you").count() == 2);
    alice.expect(200, "bob", "marker");
    bob.hears("marker");
    assert_eq!(letters(&bob).len(), 2, "{:?}", bob.texts());
}

#[test]
fn others_are_seen_unless_they_got_it_blindly() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let rich = |name: &str| daemon.phone(name).header("Accept: multipart/mixed").registered();
    let (bob, carol, dave) = (rich("bob"), rich("carol"), rich("dave"));
    let who = [
        ("sip:bob@example.org", "to"),
        ("sip:carol@example.org", "cc"),
        ("sip:dave@example.org?Subject=hidden", "bcc"),
    ];
    assert_eq!(alice.ask(listed(&alice, "chat-manager", &who)).status(), 202);
    for phone in [&bob, &carol, &dave] {
        let copy: Msg = phone.hears_that("the list", |msg| msg.text().contains("to all of you")).clone();
        let text = copy.text();
        assert!(text.contains("recipient-list-history;handling=optional"), "{text}");
        assert!(text.contains("sip:bob@example.org") && text.contains("sip:carol@example.org"), "{text}");
        assert!(!text.contains("dave") && !text.contains("bcc"), "{text}");
        assert_eq!((copy.get("Require"), copy.get("Subject")), (None, None));
    }
    // A phone that shows text alone gets the text alone.
    let plain = daemon.udp("erin");
    assert_eq!(alice.ask(listed(&alice, "chat-manager", &[("sip:erin@example.org", "to")])).status(), 202);
    plain.hears("to all of you");
}

#[test]
fn who_does_not_want_it_or_is_nobody_gets_none() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    bob.expect(202, "chat-manager", "#block alice");
    alice.expect(202, "team", "#create");
    carol.expect(202, "team", "#join");
    let none = [
        ("sip:bob@example.org", "to"),
        ("sip:nobody@example.org", "to"),
        ("sip:team@example.org", "to"),
        ("sip:chat-manager@example.org", "to"),
        ("sip:zoe@elsewhere.example", "to"),
    ];
    assert_eq!(alice.ask(listed(&alice, "chat-manager", &none)).status(), 404);
    let mut some = none.to_vec();
    some.push(("sip:carol@example.org", "to"));
    assert_eq!(alice.ask(listed(&alice, "chat-manager", &some)).status(), 202);
    carol.hears("to all of you");
    alice.expect(202, "team", "marker");
    carol.hears("[alice]: marker");
    assert!(letters(&bob).is_empty() && letters(&alice).is_empty());
    assert_eq!(letters(&carol).len(), 1, "nothing came from the room: {:?}", carol.texts());
}

#[test]
fn bad_lists_are_refused_whole_and_options_offers_lists() {
    let daemon = Setup::new().set("limits.message_bytes", "65536").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let without = alice.message("chat-manager", "hello").header("Require: recipient-list-message");
    assert_eq!(alice.ask(without).status(), 400);
    let many: Vec<String> = (0..101).map(|n| format!("sip:user{n}@example.org")).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|uri| (uri.as_str(), "to")).collect();
    many.insert(0, ("sip:bob@example.org", "to"));
    assert_eq!(alice.ask(listed(&alice, "chat-manager", &many)).status(), 413);
    alice.expect(200, "bob", "marker");
    bob.hears("marker");
    assert!(letters(&bob).is_empty());
    let options = alice.request("OPTIONS", "sip:example.org");
    let answer = alice.ask(options);
    assert!(answer.header("Supported").contains("recipient-list-message"), "{answer:?}");
}

#[test]
fn without_credentials_a_list_is_one_challenge() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    daemon.account("bob", "secret of bob");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let request = listed(&alice, "chat-manager", &[("sip:bob@example.org", "to")]);
    let bare = alice.transact(&request.bytes(Over::Udp, alice.local(), None), &request.branch).unwrap();
    assert_eq!(bare.status(), 401);
    alice.expect(200, "bob", "marker");
    bob.hears("marker");
    assert!(letters(&bob).is_empty());
    // With them, a repetition after a fresh challenge is no second copy either.
    let sent = alice.send(listed(&alice, "chat-manager", &[("sip:bob@example.org", "to")]));
    assert_eq!(sent.outcome.as_ref().map(|m| m.status()), Ok(202));
    bob.hears("to all of you");
    let mut again = sent.request.clone();
    again.branch = format!("z9hG4bK{}", crate::kit::token());
    let challenge = alice.transact(&again.bytes(Over::Udp, alice.local(), None), &again.branch).unwrap();
    assert_eq!(challenge.status(), 401);
    alice.take_challenge(&challenge);
    assert_eq!(alice.ask(again.again()).status(), 202);
    alice.expect(200, "bob", "last");
    bob.hears("last");
    assert_eq!(letters(&bob).len(), 1);
}
