//! Messages that do not fit a datagram (spec §5.6): over a stream, else in parts, else not.

use imcd::chat::render::Contact;
use imcd::types::Dest;

use super::log::post;
use super::world::*;

fn with_stream(port: u16) -> Contact {
    with(contact(BOB, "", port), |to| to.stream = Some((address(port), "SIP/2.0/TCP 127.0.0.1:5060".into())))
}

/// 3 bytes a character, so that a cut in the wrong place shows.
fn long(chars: usize) -> String {
    ('一'..).take(chars).collect()
}

/// Parts put together again.
fn joined(parts: &[String]) -> String {
    let total = parts.len();
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        text.push_str(part.strip_prefix(&format!("({}/{total}) ", i + 1)).unwrap());
    }
    text
}

#[test]
fn a_large_message_goes_over_a_stream_if_there_is_one() {
    let mut w = World::team();
    w.reach(BOB, vec![with_stream(5001)]);
    w.alice(&long(500));
    let sent = w.one();
    assert_eq!(sent.dest, Dest::Connect(address(5001)));
    assert!(sent.header("Via").unwrap().starts_with("SIP/2.0/TCP "));
    assert_eq!(sent.body, format!("[alice]: {}", long(500)));
    w.reply(&sent, 200);
    w.alice("short");
    assert!(matches!(w.one().dest, Dest::Udp { .. }));
}

#[test]
fn a_stream_that_fails_is_remembered_and_the_text_goes_in_parts() {
    let mut w = World::team();
    w.reach(BOB, vec![with_stream(5001)]);
    w.alice(&long(900));
    let sent = w.one();
    w.fail(&sent);
    let parts = w.take_all();
    assert_eq!(joined(&parts), format!("[alice]: {}", long(900)));
    w.alice(&long(900));
    assert!(matches!(w.sent[0].dest, Dest::Udp { .. }), "not tried again");
    w.take_all();
    // Unless it offers another way.
    let other = with(with_stream(5001), |to| {
        to.stream = Some((address(5009), "SIP/2.0/TCP 127.0.0.1:5060".into()));
    });
    w.reach(BOB, vec![other]);
    w.alice(&long(900));
    assert_eq!(w.one().dest, Dest::Connect(address(5009)));
}

#[test]
fn a_stream_that_failed_while_the_phone_was_away_is_tried_again_when_it_is_back() {
    let mut w = World::team();
    w.reach(BOB, vec![with_stream(5001)]);
    w.alice(&long(900));
    let sent = w.one();
    w.fail(&sent);
    w.one();
    w.pass_s(33);
    w.none();
    w.reach_fresh(BOB, vec![with_stream(5001)], &[5001]);
    w.take_all();
    w.alice(&long(900));
    assert_eq!(w.one().dest, Dest::Connect(address(5001)));
}

#[test]
fn parts_have_names_of_their_own_and_a_retry_sends_only_what_is_missing() {
    let mut w = World::bob(5001);
    w.alice(&long(1200));
    w.alice("after");
    let one = w.one();
    w.reply(&one, 200);
    let two = w.one();
    assert!(one.body.starts_with("(1/") && two.body.starts_with("(2/"));
    assert!(one.call_id != two.call_id && one.tag != two.tag);
    w.reply(&two, 480);
    w.pass_ms(30_020);
    let again = w.one();
    assert_eq!((&again.call_id, &again.tag, &again.body), (&two.call_id, &two.tag, &two.body));
    w.reply(&again, 200);
    let mut parts = vec![one.body, two.body];
    parts.extend(w.take_all());
    assert_eq!(parts.pop().unwrap(), "[alice]: after");
    assert_eq!(joined(&parts), format!("[alice]: {}", long(1200)));
    assert_eq!(w.counters().delivered, 2, "an entry is delivered once, not once a part");
}

#[test]
fn an_aside_waits_until_all_parts_are_there() {
    let mut w = World::bob(5001);
    w.alice(&long(900));
    w.tell(BOB, None, "answer");
    let taken = w.take_all();
    assert_eq!(taken.iter().position(|text| text == "answer"), Some(taken.len() - 1));
}

#[test]
fn a_message_whose_parts_no_longer_fit_starts_again() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001)]);
    w.alice(&long(1200));
    let one = w.one();
    w.reply(&one, 200);
    w.one();
    // The phone comes back with a much longer way to it.
    let route = format!("Route: <sip:{}.example.org;lr>\r\n", "p".repeat(400));
    let far = with(contact(BOB, "urn:a", 5002), |to| to.route = route.into());
    w.reach_fresh(BOB, vec![far], &[5002]);
    assert_eq!(joined(&w.take_all()), format!("[alice]: {}", long(1200)));
}

#[test]
fn what_cannot_be_split_is_not_sent_in_a_datagram() {
    let mut w = World::bob(5001);
    let mut picture = post(TEAM, ALICE, &"x".repeat(2000), w.ms());
    picture.content_type = Some("image/gif".into());
    let seq = w.say(picture);
    w.alice("two");
    assert_eq!(w.take_all(), said(&["two"]));
    assert_eq!(w.gave_up(), [(seq, 513)]);
}

#[test]
fn headers_that_fill_a_datagram_by_themselves_do_not_block_the_rest() {
    let mut w = World::bob(5001);
    let mut entry = post(TEAM, ALICE, &long(300), w.ms());
    entry.headers = format!("Subject: {}\r\n", "s".repeat(1300)).into();
    let seq = w.say(entry);
    w.alice("two");
    assert_eq!(w.take_all(), said(&["two"]));
    assert_eq!(w.gave_up(), [(seq, 513)]);
}

#[test]
fn every_length_around_the_limit_fits_and_arrives_whole() {
    let mut w = World::bob(5001);
    for chars in (300..460).step_by(3).chain([2_000, 10_000]) {
        w.alice(&long(chars));
        let parts = w.take_all();
        let whole = if parts.len() == 1 { parts[0].clone() } else { joined(&parts) };
        assert_eq!(whole, format!("[alice]: {}", long(chars)), "{chars}");
    }
    assert!(w.gave_up().is_empty());
}

#[test]
fn a_long_aside_goes_in_parts_too() {
    let mut w = World::bob(5001);
    w.tell(BOB, None, &long(900));
    assert_eq!(joined(&w.take_all()), long(900));
}

#[test]
fn a_stream_takes_any_size_at_once() {
    let mut w = World::team();
    let bob = with(contact(BOB, "", 5001), |to| {
        (to.dest, to.via) = (Dest::Conn(imcd::types::ConnId(4)), "SIP/2.0/TCP 127.0.0.1:5060".into());
    });
    w.reach(BOB, vec![bob]);
    w.alice(&long(10_000));
    assert_eq!(w.take_all(), [format!("[alice]: {}", long(10_000))]);
}
