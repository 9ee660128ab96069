//! What goes to whom, in which order; what asides do to it; how a MESSAGE looks.

use std::sync::Arc;

use imcd::chat::shard::Input;
use imcd::types::{Announcement, EntryKind, Seq};

use super::log::{face, post};
use super::world::*;

#[test]
fn posts_arrive_one_at_a_time_in_the_order_of_the_log() {
    let mut w = World::bob(5001);
    for text in ["one", "two", "three"] {
        w.alice(text);
    }
    let first = w.one();
    assert_eq!(first.body, "[alice]: one");
    w.reply(&first, 200);
    let second = w.one();
    w.reply(&second, 202);
    assert_eq!(w.take_all(), said(&["three"]));
    assert_eq!(w.position(BOB, ""), Some(w.log.head()));
    assert_eq!(w.counters().delivered, 3);
}

#[test]
fn a_slow_phone_delays_nobody_else() {
    let mut w = World::bob(5001);
    w.reach(CAROL, vec![contact(CAROL, "", 5002)]);
    for i in 0..20 {
        w.alice(&i.to_string());
    }
    let taken = w.serve(|sent| if port(sent) == 5002 { 200 } else { 0 });
    assert_eq!(taken.len(), 20);
}

#[test]
fn before_a_stop_what_is_on_its_way_may_arrive_and_nothing_else_is_sent() {
    let mut w = World::bob(5001);
    let first = w.alice("on its way");
    let sent = w.one();
    w.alice("for later");
    w.shard.rest();
    assert!(!w.shard.is_idle());
    w.reply(&sent, 200);
    w.alice("for later, too");
    w.none();
    assert!(w.shard.is_idle());
    assert_eq!(w.position(BOB, ""), Some(first));
}

#[test]
fn the_author_gets_no_copy_and_his_position_moves_on() {
    let mut w = World::team();
    w.reach(ALICE, vec![contact(ALICE, "urn:a", 5001), contact(ALICE, "urn:b", 5002)]);
    let seq = w.alice("hello");
    w.none();
    assert_eq!(w.position(ALICE, "urn:a"), Some(seq));
    assert_eq!(w.position(ALICE, "urn:b"), Some(seq));
}

#[test]
fn with_copy_to_sender_his_other_devices_get_it() {
    let mut w = World::team();
    w.reach(ALICE, vec![contact(ALICE, "urn:a", 5001), contact(ALICE, "urn:b", 5002)]);
    w.input(Input::CopyToSender(true));
    let mut entry = post(TEAM, ALICE, "hello", w.ms());
    entry.source = Some("urn:a".into());
    w.say(entry);
    assert_eq!(w.serve(|_| 200), [(5002, "[alice]: hello".into())]);
    // From nobody knows which device: none of them.
    w.alice("again");
    w.none();
}

#[test]
fn a_copy_of_a_letter_comes_from_whom_it_was_to_and_says_who_wrote_it() {
    let mut w = World::team();
    // The copy is text: also a phone that takes nothing else shows it.
    let takes = Arc::new(imcd::chat::phones::Takes::new(Some("Twinkle/1.10"), [], []));
    let mobile = imcd::chat::render::Contact { takes, ..contact(ALICE, "urn:b", 5002) };
    w.reach(ALICE, vec![contact(ALICE, "urn:a", 5001), mobile]);
    let mailbox = imcd::types::ConvId(2);
    let span = imcd::types::Span { conversation: mailbox, since: Seq(0), until: None };
    w.input(Input::Announce(Arc::new(Announcement { spans: vec![(ALICE.0, span)], entries: vec![] })));
    let sent = |body: &'static str, content_type: Option<&str>, at| {
        let mut entry = post(mailbox, ALICE, body, at);
        (entry.kind, entry.from, entry.source) = (EntryKind::Sent, face("bob"), Some("urn:a".into()));
        entry.content_type = content_type.map(Into::into);
        entry
    };
    let seq = w.say(sent("hello", None, w.ms()));
    w.none();
    assert_eq!(w.position(ALICE, "urn:b"), Some(seq), "it is stepped over");
    w.input(Input::CopyToSender(true));
    w.say(sent("hello", None, w.ms()));
    let copy = w.one();
    assert_eq!((copy.uri.as_str(), copy.body.as_str()), ("sip:alice@127.0.0.1:5002", "[alice]: hello"));
    assert!(copy.from.starts_with("\"bob\" <sip:bob@"), "{}", copy.from);
    w.reply(&copy, 200);
    for (body, content_type, shown) in [
        ("\u{89}PNG", "image/png;x=y", "[alice]: (image/png)"),
        ("?OTR:AAMC", "text/plain", "[alice]: (encrypted)"),
        ("<p>hi</p>", "text/html", "[alice]: hi"),
    ] {
        w.say(sent(body, Some(content_type), w.ms()));
        let copy = w.one();
        assert_eq!(copy.body, shown);
        assert_eq!(copy.header("Content-Type"), Some("text/plain;charset=UTF-8"));
        w.reply(&copy, 200);
    }
    assert!(!w.events.iter().any(|event| matches!(event, imcd::chat::shard::Event::Answered { .. })));
}

#[test]
fn what_somebody_writes_to_himself_arrives() {
    let mut w = World::bob(5001);
    let mailbox = imcd::types::ConvId(2);
    let span = imcd::types::Span { conversation: mailbox, since: Seq(0), until: None };
    w.input(Input::Announce(Arc::new(Announcement { spans: vec![(BOB.0, span)], entries: vec![] })));
    let mut entry = post(mailbox, BOB, "milk", w.ms());
    (entry.kind, entry.from) = (EntryKind::Direct, face("bob"));
    w.say(entry);
    assert_eq!(w.take_all(), ["milk"]);
}

#[test]
fn a_message_looks_as_the_contract_says() {
    let mut w = World::team();
    let bob = with(contact(BOB, "urn:b", 5001), |to| to.to = "Bob@127.0.0.1:5060".into());
    w.reach(BOB, vec![bob.clone()]);
    let mut entry = post(TEAM, ALICE, "hello", EPOCH);
    entry.headers = "In-Reply-To: one@a\r\n".into();
    w.say(entry);
    let sent = w.one();
    assert_eq!(sent.uri, "sip:bob@127.0.0.1:5001");
    assert!(sent.from.starts_with("\"team\" <sip:team@127.0.0.1:5060>;tag="), "{}", sent.from);
    assert_eq!(sent.to, "sip:Bob@127.0.0.1:5060");
    assert_eq!(sent.header("Date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
    assert_eq!(sent.header("Content-Type"), Some("text/plain;charset=UTF-8"));
    assert_eq!(sent.header("In-Reply-To"), Some("one@a"));
    assert_eq!(sent.header("Max-Forwards"), Some("69"));
    assert_eq!(sent.header("P-Asserted-Identity"), None);
    assert_eq!(sent.header("Route"), None);
    assert!(ids().own_call_id(&sent.call_id));
    w.reply(&sent, 200);

    let trusted = with(bob, |to| (to.trusted, to.route) = (true, "Route: <sip:p;lr>\r\n".into()));
    w.reach(BOB, vec![trusted]);
    w.alice("again");
    let sent = w.one();
    assert_eq!(sent.header("P-Asserted-Identity"), Some("<sip:alice@example.org>"));
    assert_eq!(sent.header("Route"), Some("<sip:p;lr>"));
    w.reply(&sent, 200);
    let mut private = post(TEAM, ALICE, "psst", w.ms());
    private.private = true;
    w.say(private);
    assert_eq!(w.one().header("P-Asserted-Identity"), None);
}

#[test]
fn asides_go_before_the_next_entry_and_after_the_one_on_its_way() {
    let mut w = World::bob(5001);
    w.alice("one");
    w.alice("two");
    w.tell(BOB, Some(5001), "answer");
    w.tell(BOB, None, "answer 2");
    assert_eq!(w.take_all(), ["[alice]: one", "answer", "answer 2", "[alice]: two"]);
}

#[test]
fn an_aside_goes_to_the_contact_that_asked_else_to_all() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001), contact(BOB, "urn:b", 5002)]);
    w.tell(BOB, Some(5002), "to b");
    assert_eq!(w.serve(|_| 200), [(5002, "to b".into())]);
    w.tell(BOB, Some(5999), "to all");
    assert_eq!(w.serve(|_| 200).len(), 2);
}

#[test]
fn of_too_many_asides_the_oldest_is_lost_and_the_one_on_its_way_stays() {
    let mut w = World::bob(5001);
    for i in 0..70 {
        w.tell(BOB, None, &i.to_string());
    }
    let wanted: Vec<String> = [0].into_iter().chain(7..70).map(|i: i32| i.to_string()).collect();
    assert_eq!(w.take_all(), wanted);
    assert_eq!(w.counters().asides_lost, 6);
}

#[test]
fn behind_an_entry_on_its_way_the_very_oldest_aside_is_lost() {
    let mut w = World::bob(5001);
    w.alice("one");
    for i in 0..66 {
        w.tell(BOB, None, &i.to_string());
    }
    let taken = w.take_all();
    assert_eq!(taken.len(), 65);
    assert_eq!(taken[..2], ["[alice]: one".to_owned(), "2".to_owned()]);
}

#[test]
fn an_aside_that_is_refused_is_dropped_and_blocks_nothing() {
    let mut w = World::bob(5001);
    for status in [500, 415, 415, 603, 400] {
        w.tell(BOB, None, "words");
        w.alice("post");
        // A conversion is tried once, then it is given up too.
        let taken = w.serve(|sent| if sent.body == "words" { status } else { 200 });
        assert_eq!(taken.len(), 1, "{status}");
    }
    assert!(w.gave_up().is_empty());
}

#[test]
fn what_has_expired_is_stepped_over() {
    let mut w = World::bob(5001);
    let mut short = post(TEAM, ALICE, "gone by then", w.ms());
    short.expires = w.ms() + 60_000;
    w.alice("one");
    let first = w.one();
    w.say(short);
    w.alice("two");
    w.reply(&first, 480);
    w.pass_s(20);
    // The next try is at 30 s, then at 90 s: by then the second has expired.
    w.pass_s(20);
    let again = w.one();
    w.reply(&again, 480);
    w.pass_s(60);
    assert_eq!(w.take_all(), said(&["one", "two"]));
}

#[test]
fn an_entry_that_expires_between_two_tries_is_not_sent_again() {
    let mut w = World::bob(5001);
    let mut short = post(TEAM, ALICE, "gone by then", w.ms());
    short.expires = w.ms() + 20_000;
    w.say(short);
    let sent = w.one();
    w.reply(&sent, 480);
    w.alice("two");
    w.pass_s(31);
    assert_eq!(w.take_all(), said(&["two"]));
}

#[test]
fn two_contacts_of_the_default_device_one_dead_and_the_other_gets_all() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "", 5001), contact(BOB, "", 5002)]);
    for i in 0..200 {
        w.alice(&i.to_string());
        w.serve(|sent| if port(sent) == 5002 { 200 } else { 0 });
    }
    assert_eq!(w.position(BOB, ""), Some(w.log.head()), "the furthest counts");
    // The dead one comes back, and has missed nothing while it stayed bound.
    w.pass_s(40);
    w.reach_fresh(BOB, vec![contact(BOB, "", 5001), contact(BOB, "", 5002)], &[5001]);
    let taken = w.serve(|_| 200);
    assert_eq!(taken.len(), 200);
    assert!(taken.iter().all(|(port, _)| *port == 5001));
    assert_eq!(w.position(BOB, ""), Some(w.log.head()));
}

#[test]
fn what_differs_by_device_is_the_call_id() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001), contact(BOB, "urn:b", 5002)]);
    w.alice("hello");
    assert_eq!(w.sent.len(), 2);
    assert_ne!(w.sent[0].call_id, w.sent[1].call_id);
}
