//! What each final answer does (spec §5.5), and silence.

use imcd::chat::shard::Event;

use super::log::post;
use super::world::*;

/// Statuses after which the phone is away and the message is kept.
const AWAY: &[u16] = &[408, 430, 480, 486, 491, 503, 504];

#[test]
fn away_is_tried_again_after_30_s_and_at_last_every_15_min() {
    for status in AWAY {
        let mut w = World::bob(5001);
        w.alice("one");
        let first = w.one();
        let mut last = first.clone();
        w.reply(&first, *status);
        for pause in [30, 60, 120, 240, 480, 900, 900] {
            w.pass_ms(pause * 1000 - 1);
            w.none();
            w.pass_ms(20);
            let again = w.one();
            assert_eq!((&again.call_id, &again.tag), (&first.call_id, &first.tag), "{status}");
            assert!(again.cseq > last.cseq && again.branch != last.branch, "{status}");
            w.reply(&again, *status);
            last = again;
        }
        w.pass_s(901);
        assert_eq!(w.take_all(), said(&["one"]));
        // It is there again: pauses start small.
        w.alice("two");
        let sent = w.one();
        w.reply(&sent, *status);
        w.pass_ms(30_020);
        assert_eq!(w.take_all(), said(&["two"]));
        assert!(w.gave_up().is_empty());
    }
}

#[test]
fn retry_after_is_heeded_up_to_15_min() {
    for (said_s, kept_s) in [(5, 5), (300, 300), (100_000, 900), (0, 1)] {
        let mut w = World::bob(5001);
        w.alice("one");
        let sent = w.one();
        w.reply_after(&sent, 480, Some(said_s));
        w.pass_ms(kept_s * 1000 - 1);
        w.none();
        w.pass_ms(20);
        assert_eq!(w.take_all().len(), 1, "{said_s}");
    }
}

#[test]
fn silence_is_away_and_a_sign_of_life_ends_it() {
    let mut w = World::bob(5001);
    w.alice("one");
    let first = w.one();
    w.pass_ms(32_010);
    w.none();
    assert_eq!(w.counters().timed_out, 1);
    w.alive(BOB, 5999);
    w.none();
    w.alive(BOB, 5001);
    let again = w.one();
    assert_eq!((&again.call_id, &again.tag), (&first.call_id, &first.tag));
    assert!(again.cseq > first.cseq && again.branch != first.branch);
    // An answer to what was given up does not count for what is under way.
    w.reply(&first, 200);
    w.none();
    assert_eq!(w.counters().strays, 1);
    w.reply(&again, 200);
    w.alice("two");
    assert_eq!(w.take_all(), said(&["two"]));
}

#[test]
fn a_register_ends_the_pause_and_a_refresh_of_another_contact_does_not() {
    let mut w = World::team();
    let contacts = vec![contact(BOB, "urn:a", 5001), contact(BOB, "urn:b", 5002)];
    w.reach(BOB, contacts.clone());
    w.alice("one");
    w.serve(|sent| if port(sent) == 5001 { 480 } else { 200 });
    w.reach_fresh(BOB, contacts.clone(), &[5002]);
    w.none();
    w.reach_fresh(BOB, contacts, &[5001]);
    assert_eq!(w.serve(|_| 200), [(5001, "[alice]: one".into())]);
}

#[test]
fn a_phone_that_registers_while_it_is_being_called_is_tried_again_at_once() {
    let mut w = World::bob(5001);
    w.alice("one");
    let lost = w.one();
    w.pass_ms(31_700);
    // The last retransmission is out; what it answers now would come too late.
    w.reach_fresh(BOB, vec![contact(BOB, "", 5001)], &[5001]);
    w.none();
    w.pass_ms(400);
    let again = w.one();
    assert_eq!(again.call_id, lost.call_id);
    // That was one sign of life: for the next silence there is a pause.
    w.pass_ms(32_100);
    w.none();
}

#[test]
fn a_transport_failure_is_silence_known_at_once() {
    let mut w = World::bob(5001);
    w.alice("one");
    let sent = w.one();
    w.fail(&sent);
    w.none();
    w.fail(&sent);
    w.pass_ms(30_020);
    assert_eq!(w.take_all(), said(&["one"]));
}

#[test]
fn gone_for_good_is_told_and_the_position_is_kept() {
    for status in [404, 405, 410] {
        let mut w = World::bob(5001);
        let before = w.alice("one");
        w.take_all();
        w.alice("two");
        let sent = w.one();
        w.reply(&sent, status);
        let unbound = |e: &Event| matches!(e, Event::Unbound { account, contact } if *account == BOB.0 && &**contact == "bob:5001");
        assert!(w.events.iter().any(unbound), "{status}: {:?}", w.events);
        assert_eq!(w.position(BOB, ""), Some(before));
        assert_eq!(w.shard.load(), (0, 0));
        w.alice("three");
        w.tell(BOB, None, "lost");
        w.none();
        w.reach_fresh(BOB, vec![contact(BOB, "", 5001)], &[5001]);
        assert_eq!(w.take_all(), said(&["two", "three"]));
    }
}

#[test]
fn any_other_refusal_spares_the_device_this_message_alone() {
    for status in
        [300, 302, 400, 401, 402, 403, 406, 407, 414, 416, 420, 481, 482, 501, 505, 600, 603, 604, 606]
    {
        let mut w = World::bob(5001);
        let seq = w.alice("one");
        w.alice("two");
        let sent = w.one();
        w.reply(&sent, status);
        assert_eq!(w.take_all(), said(&["two"]), "{status}");
        assert_eq!(w.gave_up(), [(seq, status)]);
    }
}

#[test]
fn text_that_is_refused_for_its_type_is_sent_bare_once() {
    for status in [415, 488] {
        let mut w = World::bob(5001);
        let seq = w.alice("one");
        let sent = w.one();
        assert_eq!(sent.header("Content-Type"), Some("text/plain;charset=UTF-8"));
        w.reply(&sent, status);
        let again = w.one();
        assert_eq!(again.header("Content-Type"), Some("text/plain"));
        assert_eq!((&again.body, &again.call_id), (&sent.body, &sent.call_id));
        w.reply(&again, status);
        w.none();
        assert_eq!(w.gave_up(), [(seq, status)]);
    }
}

#[test]
fn a_picture_that_is_refused_is_given_up() {
    for status in [413, 415, 488, 513] {
        let mut w = World::bob(5001);
        let mut picture = post(TEAM, ALICE, "GIF89a", w.ms());
        picture.content_type = Some("image/gif".into());
        let seq = w.say(picture);
        let sent = w.one();
        assert_eq!(sent.body, "GIF89a");
        w.reply(&sent, status);
        assert_eq!(w.gave_up(), [(seq, status)]);
        w.alice("two");
        assert_eq!(w.take_all(), said(&["two"]));
    }
}

#[test]
fn text_that_is_too_large_is_halved_once() {
    for status in [413, 513] {
        let mut w = World::bob(5001);
        let seq = w.alice(&"é".repeat(300));
        let sent = w.one();
        w.reply(&sent, status);
        let parts = w.serve(|_| 200);
        assert!(parts.len() > 1, "{status}");
        assert!(parts[0].1.starts_with(&format!("(1/{}) [alice]: ", parts.len())));
        assert!(w.gave_up().is_empty());
        let seq2 = w.alice(&"é".repeat(300));
        w.serve(|_| status);
        assert!(seq2 > seq);
        assert_eq!(w.gave_up(), [(seq2, status)]);
    }
}

#[test]
fn poison_is_given_up_after_five_refusals_a_minute_apart() {
    for status in [500, 502, 580] {
        let mut w = World::bob(5001);
        let seq = w.alice("x");
        w.alice("two");
        for _ in 0..4 {
            let sent = w.one();
            w.reply(&sent, status);
            w.none();
            w.pass_ms(59_990);
            w.none();
            w.pass_ms(30);
        }
        assert!(w.gave_up().is_empty());
        let sent = w.one();
        assert_eq!(sent.body, "[alice]: x");
        w.reply(&sent, status);
        assert_eq!(w.gave_up(), [(seq, status)]);
        assert_eq!(w.take_all(), said(&["two"]));
    }
}

#[test]
fn refusals_that_come_faster_than_a_minute_count_once() {
    let mut w = World::bob(5001);
    w.alice("x");
    for _ in 0..20 {
        let sent = w.one();
        w.reply(&sent, 500);
        w.pass_s(2);
        w.alive(BOB, 5001);
    }
    assert!(w.gave_up().is_empty());
    assert_eq!(w.take_all(), said(&["x"]));
}

#[test]
fn a_503_between_refusals_is_no_refusal() {
    let mut w = World::bob(5001);
    w.alice("x");
    for _ in 0..4 {
        let sent = w.one();
        w.reply(&sent, 500);
        w.pass_s(61);
        let sent = w.one();
        w.reply(&sent, 503);
        assert!(w.gave_up().is_empty());
        w.alive(BOB, 5001);
    }
    let sent = w.one();
    w.reply(&sent, 500);
    assert_eq!(w.gave_up().len(), 1);
}

#[test]
fn retry_after_of_a_500_is_heeded() {
    let mut w = World::bob(5001);
    w.alice("x");
    let sent = w.one();
    w.reply_after(&sent, 500, Some(300));
    w.pass_s(299);
    w.none();
    w.pass_s(2);
    assert_eq!(w.take_all(), said(&["x"]));
}

#[test]
fn a_phone_that_chokes_on_every_x_gets_all_the_rest() {
    let mut w = World::bob(5001);
    let (mut taken, mut xs) = (Vec::new(), 0);
    for i in 0..60 {
        w.alice(&if i % 10 == 3 { format!("x{i}") } else { i.to_string() });
    }
    for _ in 0..60 {
        taken.extend(w.serve(|sent| if sent.body.contains('x') { 500 } else { 200 }));
        w.pass_s(61);
        xs = w.gave_up().len();
    }
    let wanted: Vec<String> = (0..60).filter(|i| i % 10 != 3).map(|i| format!("[alice]: {i}")).collect();
    assert_eq!(taken.into_iter().map(|(_, body)| body).collect::<Vec<_>>(), wanted);
    assert_eq!(xs, 6);
}

#[test]
fn whoever_waits_for_a_direct_message_is_told_the_final_answer_alone() {
    let mut w = World::bob(5001);
    let mailbox = imcd::types::ConvId(2);
    let span = imcd::types::Span { conversation: mailbox, since: imcd::types::Seq(0), until: None };
    let news = imcd::types::Announcement { spans: vec![(BOB.0, span)], entries: vec![] };
    w.input(imcd::chat::shard::Input::Announce(std::sync::Arc::new(news)));
    let answers: [(&[u16], Option<u16>); 5] = [
        (&[200], Some(200)),
        (&[415, 415], Some(415)),
        (&[415, 202], Some(202)),
        (&[603], Some(603)),
        (&[480], Some(480)),
    ];
    for (statuses, wanted) in answers {
        let mut entry = post(mailbox, ALICE, "hello", w.ms());
        entry.kind = imcd::types::EntryKind::Direct;
        let direct = w.say(entry);
        for status in statuses {
            let sent = w.one();
            w.reply(&sent, *status);
        }
        let told: Vec<u16> = w
            .events
            .iter()
            .filter_map(|e| match e {
                Event::Answered { seq, status, .. } if *seq == direct => Some(*status),
                _ => None,
            })
            .collect();
        assert_eq!(told, Vec::from_iter(wanted), "{statuses:?}");
    }
    w.events.clear();
    w.pass_s(31);
    w.one();
    w.pass_s(33);
    assert!(w.events.iter().any(|e| matches!(e, Event::Answered { status: 0, .. })), "{:?}", w.events);
}

#[test]
fn a_404_that_crosses_a_new_registration_ends_nothing() {
    let mut w = World::bob(5001);
    w.alice("one");
    let old = w.one();
    // It restarts: what it answers now is about the time before.
    w.reach_fresh(BOB, vec![contact(BOB, "", 5001)], &[5001]);
    w.reply(&old, 404);
    let again = w.one();
    assert_eq!(again.call_id, old.call_id);
    assert!(!w.events.iter().any(|event| matches!(event, Event::Unbound { .. })));
    // Said once more, it means it.
    w.reply(&again, 404);
    w.none();
    assert!(w.events.iter().any(|event| matches!(event, Event::Unbound { .. })));
    assert!(w.gave_up().is_empty());
}
