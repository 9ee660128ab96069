//! RFC 3261 §17.2 and §8.2.2.2: which request is which, and how long we know.

use std::time::Duration;

use imcd::sip::endpoint::Keep;

use crate::rig::{Ask, Asked, Rig, tcp, udp};

#[test]
fn x01_a_transaction_is_branch_and_sent_by_and_method() {
    let via = |host: &str| format!("Via: SIP/2.0/UDP {host};branch=z9hG4bKsame;rport");
    let mut rig = Rig::new();
    let first = Ask::message("same").row("Via", &via("Client.example"));
    rig.taken(udp(), &first.bytes());
    // The host name has no case, and the port that is not said is 5060.
    for same in ["client.EXAMPLE", "client.example:5060"] {
        rig.ignored(udp(), &Ask::message("same").row("Via", &via(same)).bytes());
    }
    // Other sent-by or method: another transaction, here seen as a merged request.
    for other in ["other.example", "client.example:5062"] {
        let ask = Ask::message("same").row("Via", &via(other));
        assert_eq!(rig.refused(udp(), &ask.bytes()).code(), 482, "{other}");
    }
    rig.taken(udp(), &Ask::new("REGISTER", "same").row("Via", &via("client.example")).bytes());
}

#[test]
fn x02_without_cookie_the_whole_request_is_the_name() {
    for branch in ["", ";branch=1", ";branch=z9hG4bK"] {
        let mut rig = Rig::new();
        let via = format!("Via: SIP/2.0/UDP 192.0.2.7:5099{branch}");
        let ask = |id: &str| Ask::message(id).row("Via", &via);
        let key = rig.taken(udp(), &ask("a").bytes());
        rig.ignored(udp(), &ask("a").bytes());
        rig.taken(udp(), &ask("b").bytes());
        rig.taken(udp(), &ask("a").row("CSeq", "CSeq: 2 MESSAGE").bytes());
        rig.taken(udp(), &ask("a").start("MESSAGE sip:other@example.org SIP/2.0").bytes());
        rig.taken(udp(), &ask("a").row("To", "To: <sip:team@example.org>;tag=1").bytes());
        let bytes = ask("a").bytes();
        rig.answers(key, &Asked::new(udp(), &bytes), 202, Keep::Cached);
        let first = rig.sent().remove(0);
        assert_eq!(rig.refused(udp(), &bytes), first);
        assert_eq!(rig.refused(udp(), &Ask::new("CANCEL", "a").row("Via", &via).bytes()).code(), 200);
    }
}

#[test]
fn x03_eleven_copies_are_one_request_and_eleven_equal_answers() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(udp(), &bytes);
    rig.answers(key, &Asked::new(udp(), &bytes), 202, Keep::Cached);
    let mut answers = rig.sent();
    for _ in 0..10 {
        answers.push(rig.refused(udp(), &bytes));
    }
    assert_eq!(answers.len(), 11);
    assert!(answers.iter().all(|answer| (&answer.text, answer.to) == (&answers[0].text, answers[0].to)));
}

#[test]
fn x03_an_answer_with_headers_of_its_own_is_repeated_too() {
    let mut rig = Rig::new();
    let bytes = Ask::new("REGISTER", "x").bytes();
    let key = rig.taken(udp(), &bytes);
    let extra = [("Contact", "<sip:alice@192.0.2.7:40000>;expires=3600"), ("Date", "Fri, 20 Nov 2026")];
    rig.answers(key, &Asked { flow: udp(), bytes: &bytes, extra: &extra }, 200, Keep::Cached);
    let first = rig.sent().remove(0);
    assert_eq!(first.get("Contact"), extra[0].1);
    rig.passes(Duration::from_secs(20));
    assert_eq!(rig.refused(udp(), &bytes).text, first.text);
}

#[test]
fn x04_timer_j_is_32_s_after_the_answer_on_udp() {
    for extra in [[].as_slice(), &[("Expires", "60")]] {
        let mut rig = Rig::new();
        let bytes = Ask::message("x").bytes();
        let key = rig.taken(udp(), &bytes);
        rig.passes(Duration::from_millis(1_000));
        rig.answers(key, &Asked { flow: udp(), bytes: &bytes, extra }, 202, Keep::Cached);
        rig.sent();
        rig.passes(Duration::from_millis(31_999));
        assert_eq!(rig.refused(udp(), &bytes).code(), 202);
        rig.passes(Duration::from_millis(1));
        rig.taken(udp(), &bytes);
    }
}

#[test]
fn x04_timer_j_ends_on_time_even_if_nobody_fires_it() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(udp(), &bytes);
    rig.answers(key, &Asked::new(udp(), &bytes), 202, Keep::Cached);
    rig.sent();
    rig.now += Duration::from_secs(32);
    rig.taken(udp(), &bytes);
}

#[test]
fn x04_timer_j_is_zero_on_streams() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let key = rig.taken(tcp(), &bytes);
    rig.ignored(tcp(), &bytes);
    rig.answers(key, &Asked::new(tcp(), &bytes), 202, Keep::Cached);
    assert_eq!((rig.endpoint.pending(), rig.endpoint.completed()), (0, 0));
    rig.sent();
    rig.taken(tcp(), &bytes);
}

#[test]
fn x13_a_copy_by_another_way_gets_482_while_the_first_is_undecided() {
    let mut rig = Rig::new();
    let first = Ask::message("x");
    let via = "Via: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKother;rport";
    let second = first.clone().row("Via", via);
    let key = rig.taken(udp(), &first.bytes());
    assert_eq!(rig.refused(udp(), &second.bytes()).code(), 482);
    assert_eq!(rig.refused(udp(), &second.bytes()).code(), 482);
    // Within a dialog, or to another address, it is none.
    let by = |branch: &str| first.clone().row("Via", &format!("Via: SIP/2.0/UDP 192.0.2.8;branch={branch}"));
    rig.taken(udp(), &by("z9hG4bKthird").row("To", "To: <sip:team@example.org>;tag=1").bytes());
    rig.taken(udp(), &by("z9hG4bKfourth").start("MESSAGE sip:bob@example.org SIP/2.0").bytes());
    // Once it is decided, the caller knows what it was answered.
    rig.answers(key, &Asked::new(udp(), &first.bytes()), 202, Keep::Cached);
    rig.sent();
    rig.taken(udp(), &second.bytes());
}

#[test]
fn x13_a_challenged_request_does_not_merge_with_its_next_try() {
    let mut rig = Rig::new();
    let first = Ask::message("x").bytes();
    let key = rig.taken(udp(), &first);
    rig.answers(key, &Asked::new(udp(), &first), 401, Keep::Stateless);
    rig.sent();
    // Even with the same CSeq, as some clients do.
    rig.taken(udp(), &Ask::message("x").row("Via", "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK2").bytes());
}
