//! Members behind a proxy: its failures, the probe, the window, and who is to blame.

use imcd::chat::shard::{Event, Input};
use imcd::types::{AccountId, EntryKind};

use super::judge::Sent;
use super::log::post;
use super::world::*;

/// A room with this many members behind the proxy at 5080.
fn behind_proxy(members: i64) -> World {
    let mut w = World::team();
    for i in 0..members {
        let who = member(i);
        let mut joined = post(TEAM, ALICE, "joined", w.ms());
        (joined.kind, joined.sender) = (EntryKind::Notice, None);
        let news = w.log.join(who.0, joined);
        w.input(imcd::chat::shard::Input::Announce(std::sync::Arc::new(news)));
        w.disk.insert((who.0, "route".into()), w.log.head());
    }
    let head = w.log.head();
    for i in 0..members {
        w.disk.insert((member(i).0, "route".into()), head);
        w.reach(member(i), vec![route(member(i), 5080)]);
    }
    w
}

/// All have their own user part.
fn member(i: i64) -> (AccountId, &'static str) {
    // A few names for the life of a test.
    let name = Box::leak(format!("m{i}").into_boxed_str());
    (AccountId(1000 + i), name)
}

fn is(sent: &Sent, name: &str) -> bool {
    sent.uri == format!("sip:{name}@example.org")
}

#[test]
fn at_most_64_are_open_towards_the_proxy_and_all_get_it() {
    let mut w = behind_proxy(200);
    w.alice("hello");
    assert_eq!(w.sent.len(), 64);
    let first = w.sent.remove(0);
    w.reply(&first, 202);
    assert_eq!(w.sent.len(), 64);
    assert_eq!(w.take_all().len(), 199);
    assert_eq!(w.shard.load(), (200, 0));
    assert_eq!(w.counters().stored_elsewhere, 1);
}

#[test]
fn a_503_stops_all_and_one_probe_finds_out() {
    let mut w = behind_proxy(100);
    w.alice("hello");
    let batch = std::mem::take(&mut w.sent);
    for sent in &batch {
        w.reply(sent, 503);
    }
    w.none();
    w.pass_ms(29_990);
    w.none();
    w.pass_ms(20);
    let probe = w.one();
    w.reply(&probe, 503);
    w.pass_s(59);
    w.none();
    w.pass_s(2);
    let probe = w.one();
    w.pass_s(10);
    w.none();
    w.reply(&probe, 200);
    assert_eq!(w.sent.len(), 64);
    assert_eq!(w.take_all().len(), 99);
}

#[test]
fn retry_after_of_the_proxy_is_heeded() {
    let mut w = behind_proxy(1);
    w.alice("hello");
    let sent = w.one();
    w.reply_after(&sent, 503, Some(120));
    w.pass_s(119);
    w.none();
    w.pass_s(2);
    assert_eq!(w.take_all().len(), 1);
}

#[test]
fn silence_of_the_proxy_is_one_failure_and_not_one_for_each() {
    let mut w = behind_proxy(10);
    w.alice("hello");
    w.sent.clear();
    w.pass_ms(32_020);
    w.none();
    // The first pause is half a minute, however many fell silent.
    w.pass_s(30);
    let probe = w.one();
    w.reply(&probe, 200);
    assert_eq!(w.take_all().len(), 9);
}

#[test]
fn a_refused_connection_is_known_at_once() {
    let mut w = behind_proxy(2);
    w.alice("hello");
    let sent = std::mem::take(&mut w.sent);
    w.fail(&sent[0]);
    w.fail(&sent[1]);
    w.alice("two");
    w.none();
    w.pass_ms(30_020);
    assert_eq!(w.sent.len(), 1);
    assert_eq!(w.take_all().len(), 4);
}

#[test]
fn one_address_that_is_silent_does_not_stop_the_others() {
    let mut w = behind_proxy(3);
    for i in 0..20 {
        w.alice(&i.to_string());
        w.serve(|sent| if is(sent, "m0") { 0 } else { 200 });
        w.pass_s(40);
    }
    w.serve(|sent| if is(sent, "m0") { 0 } else { 200 });
    for who in [member(1), member(2)] {
        assert_eq!(w.position(who, "route"), Some(w.log.head()), "{}", who.1);
    }
}

#[test]
fn the_probe_is_another_one_each_time() {
    let mut w = behind_proxy(2);
    w.alice("hello");
    w.sent.clear();
    w.pass_s(33);
    // One is silent for ever: the other must get its turn.
    w.pass_s(200);
    let silent = if is(&w.sent[0], "m0") { "m0" } else { "m1" };
    let tried: Vec<bool> = w.sent.iter().map(|sent| is(sent, silent)).collect();
    assert!(tried.contains(&false), "{tried:?}");
}

#[test]
fn a_probe_whose_account_registers_here_leaves_its_place_to_the_next() {
    let mut w = behind_proxy(3);
    w.alice("hello");
    for sent in std::mem::take(&mut w.sent) {
        w.reply(&sent, 503);
    }
    w.pass_ms(30_020);
    let probe = w.one();
    let who = (0..3).map(member).find(|who| is(&probe, who.1)).unwrap();
    w.reach(who, vec![contact(who, "", 5001)]);
    // Its own phone, and another probe.
    assert_eq!(w.sent.len(), 2, "{:?}", w.sent);
    assert_eq!(w.take_all().len(), 3);
}

#[test]
fn a_hop_that_is_down_with_nobody_waiting_does_not_spin() {
    let mut w = behind_proxy(2);
    w.alice("hello");
    let sent = std::mem::take(&mut w.sent);
    w.reply(&sent[0], 503);
    // The one that failed goes; the other is still open when the pause ends.
    let gone = (0..2).map(member).find(|who| is(&sent[0], who.1)).unwrap();
    w.reach(gone, vec![]);
    w.pass_s(200);
    w.take_all();
    assert_eq!(w.shard.load(), (1, 0));
}

#[test]
fn other_refusals_concern_the_address_and_are_told() {
    for status in [401, 403, 404, 405, 407, 410, 604] {
        let mut w = behind_proxy(2);
        w.alice("hello");
        let taken = w.serve(|sent| if is(sent, "m0") { status } else { 200 });
        assert_eq!(taken.len(), 1);
        let told = |e: &Event| matches!(e, Event::RouteRefused { status: s, .. } if *s == status);
        assert_eq!(w.events.iter().filter(|e| told(e)).count(), 1, "{status}");
        // The way is kept, and tried after a pause.
        w.pass_ms(30_020);
        assert_eq!(w.take_all(), said(&["hello"]));
    }
}

#[test]
fn an_address_that_is_away_pauses_alone_and_quietly() {
    for status in [408, 430, 480, 486, 491, 504] {
        let mut w = behind_proxy(2);
        w.alice("hello");
        assert_eq!(w.serve(|sent| if is(sent, "m0") { status } else { 200 }).len(), 1);
        w.alice("two");
        assert_eq!(w.take_all().len(), 1);
        w.pass_ms(30_020);
        assert_eq!(w.take_all(), said(&["hello", "two"]));
        assert!(w.events.is_empty(), "{:?}", w.events);
    }
}

#[test]
fn a_route_starts_where_the_phones_were() {
    let mut w = World::team();
    w.reach(BOB, vec![route(BOB, 5080)]);
    w.alice("by the proxy");
    assert_eq!(w.take_all().len(), 1);
    w.reach(BOB, vec![contact(BOB, "urn:a", 5001)]);
    w.alice("by the phone");
    assert_eq!(w.take_all(), said(&["by the phone"]));
    w.reach(BOB, vec![route(BOB, 5080)]);
    w.none();
    w.alice("by the proxy again");
    assert_eq!(w.take_all(), said(&["by the proxy again"]));
}

#[test]
fn a_route_that_is_left_takes_what_is_on_its_way_and_nothing_more() {
    let leave = |w: &mut World| w.input(Input::Leave { account: member(0).0 });
    let left = |w: &World| w.events.iter().filter(|e| matches!(e, Event::Left { .. })).count();
    for status in [200, 404, 503, 0] {
        let mut w = behind_proxy(1);
        leave(&mut w);
        assert_eq!(left(&w), 1, "nothing was on its way");
        w.reach(member(0), vec![route(member(0), 5080)]);
        w.alice("on its way");
        let sent = w.one();
        leave(&mut w);
        w.alice("too late");
        w.none();
        assert_eq!(left(&w), 1);
        match status {
            0 => w.pass_ms(32_010),
            status => w.reply(&sent, status),
        }
        assert_eq!(left(&w), 2, "{status}");
        w.reach(member(0), vec![contact(member(0), "urn:a", 5001)]);
        let phone = if status == 200 { said(&["too late"]) } else { said(&["on its way", "too late"]) };
        assert_eq!(w.take_all(), phone, "{status}");
    }
}

#[test]
fn what_is_too_large_for_the_way_gives_its_place_back() {
    let mut w = behind_proxy(1);
    for _ in 0..70 {
        let mut picture = post(TEAM, ALICE, &"x".repeat(2000), w.ms());
        picture.content_type = Some("image/gif".into());
        w.say(picture);
    }
    assert_eq!(w.gave_up().len(), 70);
    w.alice("two");
    assert_eq!(w.take_all(), said(&["two"]));
}

#[test]
fn a_proxy_that_moves_takes_along_who_waits() {
    let mut w = behind_proxy(1);
    w.alice("hello");
    let sent = w.one();
    w.reply(&sent, 503);
    w.alice("two");
    w.reach(member(0), vec![route(member(0), 5090)]);
    assert_eq!(w.sent.first().map(port), Some(5090));
    assert_eq!(w.take_all().len(), 2);
    w.pass_s(100);
    w.none();
}
