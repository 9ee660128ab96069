//! Coming back after an absence: pages, what is said meanwhile, spans, skips, positions.

use std::sync::Arc;

use imcd::chat::shard::Input;
use imcd::types::{Announcement, ConvId, EntryKind, Seq};

use super::log::post;
use super::world::*;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("[alice]: {i}")).collect()
}

fn alice_says(w: &mut World, range: std::ops::Range<usize>) {
    for i in range {
        w.alice(&i.to_string());
    }
}

#[test]
fn a_return_reads_pages_in_order() {
    let mut w = World::team();
    alice_says(&mut w, 0..300);
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    assert_eq!(w.take_all(), numbers(0..300));
    assert_eq!(w.position(BOB, ""), Some(w.log.head()));
    alice_says(&mut w, 300..301);
    assert_eq!(w.take_all(), numbers(300..301));
}

#[test]
fn what_is_said_between_opening_and_the_page_is_not_lost() {
    let mut w = World::team();
    w.paging = Paging::ByHand;
    alice_says(&mut w, 0..3);
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let ask = w.asked.remove(0);
    let page = w.read(&ask);
    // Committed and announced after the page was read, before anybody listens.
    alice_says(&mut w, 3..6);
    w.input(Input::Page(Box::new(page)));
    assert_eq!(w.take_all(), numbers(0..3));
    alice_says(&mut w, 6..8);
    w.turn_page();
    assert_eq!(w.take_all(), numbers(3..8));
    assert!(w.asked.is_empty(), "now it is live");
    alice_says(&mut w, 8..9);
    assert_eq!(w.take_all(), numbers(8..9));
}

#[test]
fn what_is_said_between_two_pages_is_not_lost_whatever_its_number() {
    for during in [0, 1, 63, 64, 65, 200] {
        let mut w = World::team();
        w.paging = Paging::ByHand;
        alice_says(&mut w, 0..100);
        w.reach(BOB, vec![contact(BOB, "", 5001)]);
        w.turn_page();
        let mut taken = w.take_all();
        assert_eq!(taken.len(), 64);
        let ask = w.asked.remove(0);
        let page = w.read(&ask);
        alice_says(&mut w, 100..100 + during);
        w.input(Input::Page(Box::new(page)));
        taken.extend(w.take_all());
        while !w.asked.is_empty() {
            w.turn_page();
            taken.extend(w.take_all());
        }
        assert_eq!(taken, numbers(0..100 + during), "{during}");
        let asked = w.counters().sent;
        w.alice("last");
        assert_eq!(w.take_all(), said(&["last"]));
        assert_eq!(w.counters().sent, asked + 1);
    }
}

#[test]
fn a_page_that_was_asked_after_a_gap_holds_what_comes_while_it_is_read() {
    let mut w = World::bob(5001);
    w.paging = Paging::ByHand;
    // More than the queue takes: it falls behind.
    alice_says(&mut w, 0..80);
    let mut taken = w.take_all();
    let ask = w.asked.remove(0);
    let page = w.read(&ask);
    alice_says(&mut w, 80..90);
    w.input(Input::Page(Box::new(page)));
    taken.extend(w.take_all());
    assert!(w.asked.is_empty(), "the queue has seen all that the page could not hold");
    assert_eq!(taken, numbers(0..90));
}

#[test]
fn the_page_of_a_contact_that_has_gone_is_nobodys() {
    let mut w = World::team();
    w.paging = Paging::ByHand;
    alice_says(&mut w, 0..3);
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let ask = w.asked.remove(0);
    let old = w.read(&ask);
    w.reach(BOB, vec![]);
    w.reach(CAROL, vec![contact(CAROL, "", 5002)]);
    w.input(Input::Page(Box::new(old)));
    w.none();
    w.turn_page();
    assert_eq!(w.serve(|_| 200).len(), 3);
}

#[test]
fn a_member_hears_from_his_joining_to_his_leaving_and_again_after_he_is_back() {
    for live in [false, true] {
        let mut w = World::new();
        w.log.spans.insert(BOB.0, vec![]);
        if live {
            w.reach(BOB, vec![contact(BOB, "", 5001)]);
        }
        let notice = |w: &World, text: &str| {
            let mut entry = post(TEAM, BOB, text, w.ms());
            (entry.sender, entry.kind) = (None, EntryKind::Notice);
            entry
        };
        w.alice("before");
        for round in ["1", "2"] {
            let news = w.log.join(BOB.0, notice(&w, &format!("joined {round}")));
            w.input(Input::Announce(Arc::new(news)));
            w.alice(&format!("inside {round}"));
            let news = w.log.leave(BOB.0, notice(&w, &format!("left {round}")));
            w.input(Input::Announce(Arc::new(news)));
            w.alice(&format!("outside {round}"));
        }
        if !live {
            // From the beginning of the log.
            w.disk.insert((BOB.0, "".into()), Seq(0));
            w.reach(BOB, vec![contact(BOB, "", 5001)]);
        }
        let wanted = ["joined 1", "[alice]: inside 1", "left 1", "joined 2", "[alice]: inside 2", "left 2"];
        assert_eq!(w.take_all(), wanted, "live: {live}");
        w.alice("outside 3");
        w.none();
    }
}

#[test]
fn a_page_read_before_somebody_left_does_not_let_him_listen_on() {
    let mut w = World::team();
    w.paging = Paging::ByHand;
    w.alice("one");
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let ask = w.asked.remove(0);
    let page = w.read(&ask);
    let mut left = post(TEAM, BOB, "left", w.ms());
    left.sender = None;
    let news = w.log.leave(BOB.0, left);
    w.input(Input::Announce(Arc::new(news)));
    w.input(Input::Page(Box::new(page)));
    let mut taken = w.take_all();
    w.alice("a secret");
    while !w.asked.is_empty() {
        w.turn_page();
        taken.extend(w.take_all());
    }
    w.alice("another");
    taken.extend(w.take_all());
    assert_eq!(taken, ["[alice]: one", "left"]);
}

#[test]
fn of_a_long_absence_the_newest_come_after_a_line_that_says_so() {
    let mut w = World::team();
    w.log.room_max = 10;
    alice_says(&mut w, 0..100);
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let taken = w.take_all();
    assert_eq!(taken[0], "*** 90 earlier");
    assert_eq!(taken[1..], numbers(90..100));
}

#[test]
fn skipping_is_decided_once_and_holds_for_later_pages() {
    let mut w = World::team();
    w.log.room_max = 100;
    alice_says(&mut w, 0..150);
    let mut other = post(ConvId(200), ALICE, "in another room", w.ms());
    let span = imcd::types::Span { conversation: other.conversation, since: Seq(0), until: None };
    w.log.spans.get_mut(&BOB.0).unwrap().push(span);
    other.seq = Seq(0);
    w.say(other);
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    w.alice("new");
    let taken = w.take_all();
    let mut wanted = vec!["*** 50 earlier".to_owned()];
    wanted.extend(numbers(50..150));
    wanted.extend(said(&["in another room", "new"]));
    assert_eq!(taken, wanted);
}

#[test]
fn a_phone_that_stayed_bound_and_silent_for_long_is_spared_as_well() {
    let mut w = World::bob(5001);
    w.log.room_max = 100;
    alice_says(&mut w, 0..1);
    w.pass_s(33);
    w.sent.clear();
    alice_says(&mut w, 1..400);
    w.alive(BOB, 5001);
    let taken = w.take_all();
    // What was queued when it went silent, one line, the newest.
    let line = taken.iter().position(|text| text.starts_with("***")).unwrap();
    assert_eq!(taken[..line], numbers(0..line));
    assert_eq!(taken[line], format!("*** {} earlier", 300 - line));
    assert_eq!(taken[line + 1..], numbers(300..400));
}

#[test]
fn a_caught_up_device_that_goes_is_set_to_the_head() {
    let mut w = World::bob(5001);
    w.alice("one");
    w.take_all();
    let elsewhere = w.say(post(ConvId(999), CAROL, "not for Bob", EPOCH));
    w.reach(BOB, vec![]);
    assert_eq!(w.position(BOB, ""), Some(elsewhere));
    // A new device starts there too.
    w.alice("two");
    w.reach(BOB, vec![contact(BOB, "urn:new", 5002)]);
    assert_eq!(w.take_all(), said(&["two"]));
}

#[test]
fn a_device_that_goes_in_the_middle_keeps_its_place() {
    let mut w = World::bob(5001);
    alice_says(&mut w, 0..5);
    let sent = w.one();
    w.reply(&sent, 200);
    w.one();
    w.reach(BOB, vec![]);
    alice_says(&mut w, 5..7);
    w.reach(BOB, vec![contact(BOB, "", 5002)]);
    assert_eq!(w.take_all(), numbers(1..7));
}

#[test]
fn a_device_starts_where_it_was_and_a_new_one_at_the_furthest() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001), contact(BOB, "urn:b", 5002)]);
    alice_says(&mut w, 0..10);
    w.serve(|sent| if port(sent) == 5001 { 200 } else { 480 });
    // A third comes while the second is away.
    let all = vec![contact(BOB, "urn:a", 5001), contact(BOB, "urn:b", 5002), contact(BOB, "urn:c", 5003)];
    w.reach(BOB, all);
    w.alice("news");
    let taken = w.serve(|_| 200);
    assert_eq!(taken, [(5001, "[alice]: news".into()), (5003, "[alice]: news".into())]);
    w.alive(BOB, 5002);
    assert_eq!(w.take_all().len(), 11);
}

#[test]
fn a_phone_that_comes_back_before_its_position_is_written_is_not_told_twice() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001)]);
    let written: Vec<_> = w.disk.iter().map(|((_, d), p)| (d.clone(), *p)).collect();
    alice_says(&mut w, 0..10);
    w.take_all();
    let reach = |contacts| imcd::chat::shard::Reach {
        account: BOB.0,
        contacts,
        positions: written.clone(),
        furthest: Seq(0),
        fresh: vec![],
    };
    w.input(Input::Reach(Box::new(reach(vec![]))));
    // Even when the position has left the shard, this input may be older.
    let mut moved = Vec::new();
    w.shard.positions(&mut moved);
    assert!(!moved.is_empty());
    w.input(Input::Reach(Box::new(reach(vec![contact(BOB, "urn:a", 5002)]))));
    w.none();
    w.alice("new");
    assert_eq!(w.take_all(), said(&["new"]));
}

#[test]
fn a_phone_that_moves_is_sent_the_open_message_at_its_new_place() {
    let mut w = World::team();
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001)]);
    w.alice("one");
    let old = w.one();
    w.reach_fresh(BOB, vec![contact(BOB, "urn:a", 5002)], &[5002]);
    let new = w.one();
    assert_eq!((port(&new), &new.call_id), (5002, &old.call_id));
    w.reply(&old, 200);
    w.none();
    w.reply(&new, 200);
    w.alice("two");
    assert_eq!(w.take_all(), said(&["two"]));
}

#[test]
fn a_crash_repeats_with_the_same_call_id_and_loses_nothing() {
    let mut w = World::bob(5001);
    alice_says(&mut w, 0..3);
    let first = w.one();
    w.reply(&first, 200);
    w.flush();
    let second = w.one();
    w.reply(&second, 200);
    w.one();
    w.pass_s(1);
    w.crash();
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let again = w.one();
    assert_eq!((&again.call_id, &again.tag, &again.body), (&second.call_id, &second.tag, &second.body));
    assert!(again.cseq > second.cseq && again.branch != second.branch);
    w.reply(&again, 200);
    assert_eq!(w.take_all(), numbers(2..3));
}

#[test]
fn joining_while_the_first_page_is_read_is_heard_once() {
    let mut w = World::new();
    w.log.spans.insert(BOB.0, vec![]);
    w.paging = Paging::ByHand;
    w.reach(BOB, vec![contact(BOB, "", 5001)]);
    let ask = w.asked.remove(0);
    let page = w.read(&ask);
    let mut joined = post(TEAM, BOB, "joined", w.ms());
    joined.sender = None;
    let news = w.log.join(BOB.0, joined);
    w.input(Input::Announce(Arc::new(news)));
    w.input(Input::Page(Box::new(page)));
    let mut taken = w.take_all();
    while !w.asked.is_empty() {
        w.turn_page();
        taken.extend(w.take_all());
    }
    w.alice("one");
    taken.extend(w.take_all());
    assert_eq!(taken, ["joined", "[alice]: one"]);
    w.input(Input::Announce(Arc::new(Announcement::default())));
    w.none();
}
