//! Timers E and F, the wheel over long pauses, keep-alives, CSeq.

use std::time::Duration;

use imcd::types::{ConnId, Dest};

use super::world::*;

fn times(w: &World) -> Vec<u64> {
    w.wire.iter().map(|(at, ..)| at.as_millis() as u64).collect()
}

/// The wheel may be late by its slot.
fn near(got: &[u64], wanted: &[u64]) {
    assert_eq!(got.len(), wanted.len(), "{got:?}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((*wanted..=wanted + 10).contains(got), "{got} is not {wanted}");
    }
}

#[test]
fn a_silent_phone_hears_eleven_packets() {
    let mut w = World::bob(5001);
    w.alice("one");
    w.pass_ms(32_020);
    near(&times(&w), &[0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
}

#[test]
fn after_a_100_it_is_asked_every_4_s() {
    let mut w = World::bob(5001);
    w.alice("one");
    w.pass_ms(600);
    let sent = w.one();
    w.reply(&sent, 100);
    w.pass_ms(31_500);
    near(&times(&w), &[0, 500, 1500, 5500, 9500, 13500, 17500, 21500, 25500, 29500]);
    assert_eq!(w.counters().timed_out, 1);
}

#[test]
fn over_a_stream_it_is_sent_once() {
    let mut w = World::team();
    let bob = with(contact(BOB, "", 5001), |to| {
        (to.dest, to.via) = (Dest::Conn(ConnId(4)), "SIP/2.0/TCP 127.0.0.1:5060".into());
    });
    w.reach(BOB, vec![bob]);
    w.alice("one");
    w.pass_ms(31_990);
    assert_eq!(w.wire.len(), 1);
    w.pass_ms(30);
    assert_eq!(w.counters().timed_out, 1);
}

#[test]
fn keep_alives_go_to_datagram_contacts_behind_nat_alone() {
    let mut w = World::team();
    let nat = |port| with(contact(BOB, "", port), |to| to.keepalive = true);
    let stream = with(nat(5003), |to| {
        (to.dest, to.via) = (Dest::Conn(ConnId(4)), "SIP/2.0/TCP 127.0.0.1:5060".into());
    });
    w.reach(BOB, vec![nat(5001), contact(BOB, "", 5002), stream]);
    w.pass_s(101);
    let seconds: Vec<u64> = w.keepalives.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(seconds, [25, 50, 75, 100]);
    assert!(w.keepalives.iter().all(|(_, to)| Some(*to) == nat(5001).dest()));
    // Also while it is away, and no longer when it is gone.
    w.alice("one");
    w.pass_s(100);
    assert_eq!(w.keepalives.len(), 8);
    w.reach(BOB, vec![]);
    w.pass_s(100);
    assert_eq!(w.keepalives.len(), 8);
}

#[test]
fn a_quarter_of_an_hour_is_not_lost_in_a_wheel_of_41_s() {
    let mut w = World::bob(5001);
    w.alice("one");
    let sent = w.one();
    w.reply_after(&sent, 480, Some(900));
    w.pass_ms(899_990);
    w.none();
    w.pass_ms(20);
    assert_eq!(w.take_all().len(), 1);
}

#[test]
fn cseq_rises_over_retries_however_fast_and_over_a_restart() {
    let mut w = World::bob(5001);
    // A busy phone must not run ahead of what a restarted daemon will count.
    for i in 0..5_000 {
        w.alice(&i.to_string());
        w.take_all();
    }
    w.alice("one");
    let mut last = w.one();
    for _ in 0..3 {
        w.reply(&last, 480);
        w.alive(BOB, 5001);
        let again = w.one();
        assert!(again.cseq > last.cseq && again.call_id == last.call_id);
        last = again;
    }
    w.flush();
    w.pass_s(1);
    w.crash();
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let again = w.one();
    assert_eq!((&again.call_id, &again.tag), (&last.call_id, &last.tag));
    assert!(again.cseq > last.cseq, "{} {}", again.cseq, last.cseq);
    assert_ne!(again.branch, last.branch);
}

#[test]
fn a_clock_that_jumps_sends_no_burst() {
    let mut w = World::bob(5001);
    w.alice("one");
    w.at += Duration::from_secs(10);
    w.pass_ms(0);
    assert_eq!(w.wire.len(), 2);
}
