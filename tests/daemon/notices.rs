//! Typing notices and receipts between two people (RFC 3994, RFC 5438): passed on, never stored; and the receipts
//! that the server itself gives.

use crate::kit::{Act, Daemon, Msg, Phone};

const TYPING: &str = "application/im-iscomposing+xml";
const IMDN: &str = "message/imdn+xml";
const CPIM: &str = "message/cpim";
const XML: &str = "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\
    <state>active</state></isComposing>";

fn send(phone: &Phone, to: &str, kind: &str, body: &str) -> u16 {
    phone.ask(phone.message(to, body).content_type(kind)).status()
}

/// How many it was offered of this type.
fn offered(phone: &Phone, kind: &str) -> usize {
    phone.got().iter().filter(|got| got.msg.header("Content-Type") == kind).count()
}

fn letter(id: &str, wants: &str, text: &str) -> String {
    format!(
        "From: Alice <sip:alice@example.org>\r\nTo: <sip:bob@example.org>\r\nDateTime: 2026-11-20T21:04:00Z\r\n\
         NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {id}\r\nimdn.Disposition-Notification: {wants}\r\n\r\n\
         Content-Type: text/plain;charset=utf-8\r\n\r\n{text}"
    )
}

fn tells(msg: &Msg, id: &str, fate: &str) -> bool {
    msg.header("Content-Type") == CPIM
        && msg.text().contains(&format!("<message-id>{id}</message-id>"))
        && msg.text().contains(&format!("<status><{fate}/></status>"))
}

fn count(phone: &Phone, id: &str, fate: &str) -> usize {
    phone.taken().iter().filter(|got| tells(&got.msg, id, fate)).count()
}

#[test]
fn notices_pass_to_phones_that_take_them_and_are_never_stored() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let rich =
        daemon.phone("bob").instance(1).header(&format!("Accept: text/plain, {TYPING}, {IMDN}")).registered();
    let plain = daemon.phone("bob").instance(2).registered();
    for (kind, body) in [(TYPING, XML), (IMDN, "<imdn/>")] {
        assert_eq!(send(&alice, "bob", kind, body), 200);
        let notice = rich.hears_that(kind, |m| m.header("Content-Type") == kind);
        assert_eq!(notice.text(), body);
        assert!(notice.header("From").contains("<sip:alice@"), "{notice:?}");
    }
    alice.expect(200, "bob", "what I was typing");
    rich.hears("what I was typing");
    plain.hears("what I was typing");
    assert_eq!((offered(&plain, TYPING), offered(&plain, IMDN)), (0, 0));
    // Away: gone, not kept.
    rich.unregister();
    assert_eq!(send(&alice, "bob", TYPING, XML), 200);
    assert_eq!(send(&alice, "bob", IMDN, "<imdn/>"), 200);
    rich.register();
    alice.expect(200, "bob", "are you back?");
    rich.hears("are you back?");
    assert_eq!((offered(&rich, TYPING), offered(&rich, IMDN)), (1, 1));
    rich.one_at_a_time();
}

#[test]
fn who_refuses_a_notice_gets_no_more_of_them_and_all_messages() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let bob = daemon.phone("bob").header(&format!("Accept: {TYPING}, {IMDN}")).registered();
    for (kind, refusal) in [(TYPING, 415), (IMDN, 405)] {
        bob.responds(move |m| match m.header("Content-Type") == kind {
            true => Act::Answer(refusal),
            false => Act::Answer(200),
        });
        assert_eq!(send(&alice, "bob", kind, XML), 200);
        let text = format!("after {refusal}");
        alice.expect(200, "bob", &text);
        bob.hears(&text);
    }
    assert_eq!(offered(&bob, TYPING), 1);
    assert_eq!(send(&alice, "bob", TYPING, XML), 200);
    alice.expect(200, "bob", "still here");
    bob.hears("still here");
    assert_eq!(offered(&bob, TYPING), 1, "it was offered again what it refused");
    daemon.kill_and_restart();
    assert_eq!(send(&alice, "bob", TYPING, XML), 200);
    alice.expect(200, "bob", "and still");
    bob.hears("and still");
    assert_eq!(offered(&bob, TYPING), 1, "the next daemon offered it again");
}

#[test]
fn notices_of_those_who_may_not_write_end_here_in_silence() {
    let daemon = Daemon::open();
    let (alice, carol) = (daemon.udp("alice"), daemon.udp("carol"));
    let bob = daemon.phone("bob").header(&format!("Accept: {TYPING}")).registered();
    bob.expect(202, "chat-manager", "#block alice");
    assert_eq!(send(&alice, "bob", TYPING, XML), 200);
    assert_eq!(send(&carol, "bob", TYPING, XML), 200);
    bob.hears_that("carol's notice", |m| m.header("From").contains("<sip:carol@"));
    assert_eq!(offered(&bob, TYPING), 1);
}

#[test]
fn who_asked_for_it_is_told_once_that_his_message_waits() {
    let daemon = Daemon::open();
    let alice = daemon.phone("alice").header(&format!("Accept: {CPIM}")).registered();
    let bob = daemon.udp("bob");
    bob.unregister();
    let request = alice.message("bob", &letter("m1", "processing, display", "first")).content_type(CPIM);
    assert_eq!(alice.ask(request.clone()).status(), 202);
    let receipt = alice.hears_that("the receipt", |m| tells(m, "m1", "stored"));
    assert!(receipt.header("From").contains("<sip:bob@"), "{receipt:?}");
    assert!(receipt.text().contains("\r\nContent-Disposition: notification\r\n"), "{receipt:?}");
    // The same again is the same message, and whoever did not ask is not told.
    let mut again = request;
    again.branch.push('x');
    assert_eq!(alice.ask(again).status(), 202);
    assert_eq!(send(&alice, "bob", CPIM, &letter("m2", "display", "second")), 202);
    // A receipt is never stored and never answered by one.
    let asks = letter("m3", "processing", "").replace("text/plain;charset=utf-8", IMDN);
    assert_eq!(send(&alice, "bob", CPIM, &asks), 200);
    assert_eq!(send(&alice, "bob", CPIM, &letter("m4", "processing", "third")), 202);
    alice.hears_that("the last receipt", |m| tells(m, "m4", "stored"));
    assert_eq!(["m1", "m2", "m3", "m4"].map(|id| count(&alice, id, "stored")), [1, 0, 0, 1]);
    bob.register();
    bob.hears("third");
    assert_eq!(bob.texts(), ["first", "second", "third"]);
}

#[test]
fn who_asked_for_it_is_told_once_that_his_message_expired_also_over_kills() {
    let mut daemon = Daemon::open();
    let alice = daemon.phone("alice").header(&format!("Accept: {CPIM}")).registered();
    let (bob, carol) = (daemon.udp("bob"), daemon.udp("carol"));
    // Taken: there is no failure to tell of, whatever time passes.
    let write = |to: &str, id: &str, seconds: u32| {
        let body = letter(id, "negative-delivery", &format!("text of {id}"));
        let request = alice.message(to, &body).content_type(CPIM).header(&format!("Expires: {seconds}"));
        alice.ask(request).status()
    };
    assert_eq!(write("bob", "taken", 2), 200);
    carol.unregister();
    assert_eq!(write("carol", "lost", 2), 202);
    daemon.kill_and_restart();
    alice.hears_that("the failure", |m| tells(m, "lost", "failed"));
    assert_eq!(write("carol", "lost, too", 1), 202);
    alice.hears_that("the other failure", |m| tells(m, "lost, too", "failed"));
    daemon.kill_and_restart();
    carol.register();
    alice.expect(200, "carol", "after all that");
    carol.hears("after all that");
    assert_eq!(carol.texts(), ["after all that"]);
    bob.hears("text of taken");
    assert_eq!(["taken", "lost", "lost, too"].map(|id| count(&alice, id, "failed")), [0, 1, 1]);
}

#[test]
fn who_asked_for_it_is_told_that_the_phone_refused_what_had_waited() {
    let daemon = Daemon::open();
    let alice = daemon.phone("alice").header(&format!("Accept: {CPIM}")).registered();
    let bob = daemon.udp("bob");
    bob.unregister();
    assert_eq!(send(&alice, "bob", CPIM, &letter("m1", "negative-delivery", "not this")), 202);
    assert_eq!(send(&alice, "bob", CPIM, &letter("m2", "negative-delivery", "but this")), 202);
    bob.responds(|m| Act::Answer(if m.text() == "not this" { 603 } else { 200 }));
    bob.register();
    bob.hears("but this");
    alice.hears_that("the failure", |m| tells(m, "m1", "failed"));
    assert_eq!(count(&alice, "m2", "failed"), 0);
}

#[test]
fn who_heard_the_refusal_himself_is_not_told_again() {
    let daemon = Daemon::open();
    let alice = daemon.phone("alice").header(&format!("Accept: {CPIM}")).registered();
    let bob = daemon.udp("bob");
    bob.responds(|_| Act::Answer(603));
    assert_eq!(send(&alice, "bob", CPIM, &letter("m1", "negative-delivery", "not this")), 603);
    bob.unregister();
    // It expires after the other would have been told of.
    let body = letter("m2", "negative-delivery", "nor this");
    let second = alice.message("bob", &body).content_type(CPIM).header("Expires: 5");
    assert_eq!(alice.ask(second).status(), 202);
    alice.hears_that("the failure of the second", |m| tells(m, "m2", "failed"));
    assert_eq!(count(&alice, "m1", "failed"), 0);
}

#[test]
fn no_receipt_is_given_for_a_post_in_a_room() {
    let daemon = Daemon::open();
    let alice = daemon.phone("alice").header(&format!("Accept: {CPIM}")).registered();
    let bob = daemon.udp("bob");
    crate::chat::room("team", &alice, &[&bob]);
    bob.unregister();
    assert_eq!(send(&alice, "team", CPIM, &letter("m1", "processing, negative-delivery", "to all")), 202);
    // A receipt in an envelope is no post.
    let receipt = letter("m2", "processing", "").replace("text/plain;charset=utf-8", IMDN);
    assert_eq!(send(&alice, "team", CPIM, &receipt), 200);
    assert_eq!(send(&alice, "bob", CPIM, &letter("m3", "processing", "to him")), 202);
    alice.hears_that("the receipt of the letter", |m| tells(m, "m3", "stored"));
    assert_eq!(alice.taken().iter().filter(|got| got.msg.text().contains("<message-id>")).count(), 1);
    bob.register();
    bob.hears("to him");
    assert_eq!(bob.texts()[1..], ["[alice]: to all", "to him"]);
}
