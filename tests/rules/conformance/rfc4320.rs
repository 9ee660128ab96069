//! RFC 4320: what a non-INVITE request is told before its answer, and what it is never told.

use std::time::Duration;

use bytes::Bytes;
use imcd::sip::endpoint::Keep;

use crate::rig::{Ask, Asked, Rig, tcp, udp};

#[test]
fn x10_no_provisional_answer_but_100_leaves() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(udp(), &bytes);
    for status in [180, 183, 199] {
        rig.answers(key, &Asked::new(udp(), &bytes), status, Keep::Cached);
    }
    assert_eq!(rig.sent(), []);
    rig.answers(key, &Asked::new(udp(), &bytes), 202, Keep::Cached);
    assert_eq!(rig.sent().len(), 1);
}

#[test]
fn x11_the_100_leaves_at_3_5_s_and_not_before() {
    for flow in [udp(), tcp()] {
        let mut rig = Rig::new();
        let bytes = Ask::message("x").bytes();
        let key = rig.taken(flow, &bytes);
        assert_eq!(rig.passes(Duration::from_millis(3_499)), []);
        // Copies before are absorbed in silence.
        rig.ignored(flow, &bytes);
        let sent = rig.passes(Duration::from_millis(1));
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].code(), rig.ms(sent[0].at)), (100, 3_500));
        // A copy after it is told again (RFC 3261 §17.2.2), and the answer comes as if nothing had been.
        assert_eq!(rig.refused(flow, &bytes).text, sent[0].text);
        assert_eq!(rig.passes(Duration::from_millis(1_500)), []);
        rig.answers(key, &Asked::new(flow, &bytes), 202, Keep::Cached);
        assert_eq!(rig.sent()[0].code(), 202);
    }
}

#[test]
fn x11_an_answered_request_gets_no_100() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(udp(), &bytes);
    rig.answers(key, &Asked::new(udp(), &bytes), 202, Keep::Cached);
    rig.sent();
    assert_eq!(rig.passes(Duration::from_secs(60)), []);
}

#[test]
fn x11_a_stale_timer_does_not_hurry_a_later_request_of_the_same_name() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    // Something undecided in front keeps the timer of the first try in the queue.
    rig.taken(tcp(), &Ask::message("before").bytes());
    let key = rig.taken(tcp(), &bytes);
    rig.answers(key, &Asked::new(tcp(), &bytes), 401, Keep::Stateless);
    rig.sent();
    rig.passes(Duration::from_millis(2_000));
    rig.taken(tcp(), &bytes);
    let sent = rig.passes(Duration::from_millis(10_000));
    let times: Vec<u128> = sent.iter().map(|reply| rig.ms(reply.at)).collect();
    assert_eq!(times, [3_500, 5_500]);
}

#[test]
fn x11_a_caller_in_a_hurry_cannot_send_100_early_on_udp() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(udp(), &bytes);
    rig.answers(key, &Asked::new(udp(), &bytes), 100, Keep::Cached);
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.passes(Duration::from_millis(3_500)).len(), 1);
    let key = rig.taken(tcp(), &Ask::message("y").bytes());
    rig.answers(key, &Asked::new(tcp(), &Ask::message("y").bytes()), 100, Keep::Cached);
    assert_eq!(rig.sent()[0].code(), 100);
    // Told once is enough.
    assert_eq!(rig.passes(Duration::from_millis(3_500)), []);
}

#[test]
fn x12_408_never_leaves() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(udp(), &bytes);
    rig.answers(key, &Asked::new(udp(), &bytes), 408, Keep::Cached);
    assert_eq!(rig.sent(), []);
    assert_eq!((rig.endpoint.pending(), rig.endpoint.completed()), (0, 0));
}

#[test]
fn x12_no_answer_leaves_when_the_client_has_given_up() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let late = rig.taken(udp(), &bytes);
    rig.passes(Duration::from_millis(31_999));
    assert_eq!(rig.endpoint.pending(), 1);
    rig.passes(Duration::from_millis(1));
    assert_eq!(rig.endpoint.pending(), 0);
    rig.answers(late, &Asked::new(udp(), &bytes), 202, Keep::Cached);
    rig.endpoint.respond(rig.now, late, Bytes::from_static(b"not a response"), Keep::Cached, &mut Vec::new());
    assert_eq!(rig.sent(), []);
}

#[test]
fn x12_a_stale_timer_does_not_end_a_later_request_of_the_same_name() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let first = rig.taken(tcp(), &Ask::message("before").bytes());
    let key = rig.taken(tcp(), &bytes);
    rig.passes(Duration::from_millis(20_000));
    rig.answers(key, &Asked::new(tcp(), &bytes), 401, Keep::Stateless);
    assert_eq!(rig.sent()[0].code(), 401);
    let again = rig.taken(tcp(), &bytes);
    rig.passes(Duration::from_millis(12_000));
    rig.answers(first, &Asked::new(tcp(), &Ask::message("before").bytes()), 202, Keep::Cached);
    assert_eq!(rig.sent(), [], "the client of the first has given up");
    rig.answers(again, &Asked::new(tcp(), &bytes), 202, Keep::Cached);
    assert_eq!(rig.sent()[0].code(), 202);
}
