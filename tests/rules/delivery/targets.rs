//! A contact with several targets (RFC 3263 §4.3): the next one is tried in the place of one that failed.

use std::sync::Arc;
use std::time::Duration;

use imcd::chat::render::{Contact, TARGETS_MAX};
use imcd::chat::shard::{Event, Input};
use imcd::types::AccountId;

use super::judge::Sent;
use super::world::*;

type Who = (AccountId, &'static str);

/// The way to an address over next hops at these ports, in this order.
fn over(who: Who, ports: &[u16]) -> Contact {
    Contact { targets: ports.iter().map(|port| hop(who, *port)).collect(), ..route(who, ports[0]) }
}

/// A phone with flows from these ports, newest first.
fn flows(who: Who, ports: &[u16]) -> Contact {
    Contact {
        targets: ports.iter().map(|port| target(who, *port)).collect(),
        ..contact(who, "urn:a", ports[0])
    }
}

/// A way whose targets are looked up.
fn named(who: Who) -> Contact {
    Contact { targets: Arc::default(), by_name: true, ..route(who, 0) }
}

fn abroad(ports: &[u16]) -> World {
    let mut w = World::team();
    w.reach(BOB, vec![over(BOB, ports)]);
    w
}

/// The last message that was sent first, which may still be open.
fn last(w: &mut World) -> Sent {
    w.sent.pop().expect("something was sent")
}

fn asked(w: &mut World) -> usize {
    let events = std::mem::take(&mut w.events);
    let (asked, others) = events.into_iter().partition::<Vec<_>, _>(|e| matches!(e, Event::Locate { .. }));
    w.events = others;
    asked.len()
}

fn found(w: &mut World, ports: &[u16], good_for: Duration) {
    let targets = ports.iter().map(|port| hop(BOB, *port)).collect();
    w.input(Input::Located { account: BOB.0, targets, good_for });
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn the_next_target_gets_the_same_request_with_a_new_branch() {
    for how in ["503", "refused", "silence"] {
        let mut w = abroad(&[5081, 5082]);
        w.alice("hello");
        let first = w.one();
        assert_eq!(port(&first), 5081);
        match how {
            "503" => w.reply(&first, 503),
            "refused" => w.fail(&first),
            _ => w.pass_ms(32_010),
        }
        let second = last(&mut w);
        assert_eq!(port(&second), 5082, "{how}");
        assert_ne!(second.branch, first.branch, "{how}");
        let same = |sent: &Sent| (sent.call_id.clone(), sent.cseq, sent.tag.clone(), sent.body.clone());
        assert_eq!(same(&second), same(&first), "{how}");
        w.reply(&second, 200);
        // What failed is not asked again while it is down, and then by one request alone.
        w.alice("two");
        let sent = w.one();
        assert_eq!(port(&sent), 5082, "{how}");
        w.reply(&sent, 200);
        w.pass_s(31);
        w.alice("three");
        let sent = w.one();
        assert_eq!(port(&sent), 5081, "{how}");
        w.reply(&sent, 200);
        w.alice("four");
        assert_eq!(port(&w.one()), 5081, "{how}");
    }
}

#[test]
fn an_answer_of_another_kind_is_the_answer() {
    for status in [404, 480, 500, 603] {
        let mut w = abroad(&[5081, 5082]);
        w.alice("hello");
        let first = w.one();
        w.reply(&first, status);
        w.none();
    }
}

#[test]
fn when_all_have_failed_it_waits_for_the_first_that_is_back() {
    let mut w = abroad(&[5081, 5082, 5083]);
    w.alice("hello");
    let first = w.one();
    w.reply(&first, 503);
    let second = w.one();
    w.reply_after(&second, 503, Some(5));
    let third = w.one();
    w.fail(&third);
    w.pass_ms(4_900);
    w.none();
    w.pass_ms(200);
    let again = w.one();
    assert_eq!(port(&again), 5082);
    assert!(again.cseq > first.cseq, "a new round is a new request");
    assert_eq!(again.call_id, first.call_id);
    w.reply(&again, 200);
    assert_eq!(w.counters().delivered, 1);
}

#[test]
fn no_more_than_eight_are_tried() {
    let ports: Vec<u16> = (5081..5099).collect();
    let mut w = abroad(&ports);
    w.alice("hello");
    let mut tried = Vec::new();
    while let Some(sent) = w.sent.pop() {
        tried.push(port(&sent));
        w.fail(&sent);
    }
    assert_eq!(tried, ports[..TARGETS_MAX]);
}

#[test]
fn who_waits_for_a_place_goes_to_the_next_target_when_the_first_is_down() {
    let mut w = World::team();
    let members: Vec<Who> =
        (0..100).map(|n| (AccountId(1000 + n), &*Box::leak(format!("m{n}").into_boxed_str()))).collect();
    let head = w.log.head();
    for who in &members {
        let mut joined = super::log::post(TEAM, ALICE, "joined", w.ms());
        (joined.kind, joined.sender) = (imcd::types::EntryKind::Notice, None);
        w.log.join(who.0, joined);
        w.disk.insert((who.0, "route".into()), head);
    }
    let head = w.log.head();
    for who in &members {
        w.disk.insert((who.0, "route".into()), head);
        w.reach(*who, vec![over(*who, &[5081, 5082])]);
    }
    w.sent.clear();
    w.alice("hello");
    let open = std::mem::take(&mut w.sent);
    assert_eq!(open.len(), 64);
    assert!(open.iter().all(|sent| port(sent) == 5081), "a busy target is not passed over");
    w.fail(&open[0]);
    assert_eq!(w.sent.len(), 37);
    assert!(w.sent.iter().all(|sent| port(sent) == 5082));
    for sent in &open[1..] {
        w.fail(sent);
    }
    assert_eq!(w.take_all().len(), 100);
}

#[test]
fn a_target_that_was_down_is_asked_by_one_alone_when_somebody_comes() {
    let mut w = World::team();
    for who in [BOB, CAROL] {
        w.disk.insert((who.0, "route".into()), w.log.head());
        w.reach(who, vec![over(who, &[5081, 5082])]);
    }
    w.alice("hello");
    let open = std::mem::take(&mut w.sent);
    w.fail(&open[0]);
    w.fail(&open[1]);
    assert_eq!(w.take_all().len(), 2);
    w.pass_s(300);
    w.alice("two");
    let mut ports: Vec<u16> = w.sent.iter().map(port).collect();
    ports.sort();
    assert_eq!(ports, [5081, 5082]);
}

#[test]
fn a_phones_older_flow_takes_what_the_newest_did_not() {
    for how in ["silence", "refused", "430"] {
        let mut w = World::team();
        w.reach(BOB, vec![flows(BOB, &[5001, 5002])]);
        w.sent.clear();
        w.alice("hello");
        let first = last(&mut w);
        assert_eq!(port(&first), 5001);
        match how {
            "430" => w.reply(&first, 430),
            "refused" => w.fail(&first),
            _ => w.pass_ms(32_010),
        }
        let second = last(&mut w);
        assert_eq!((port(&second), &second.call_id), (5002, &first.call_id), "{how}");
        assert_eq!(second.uri, "sip:bob@127.0.0.1:5002");
        w.reply(&second, 200);
        // It stays there until it registers.
        w.alice("two");
        let sent = last(&mut w);
        assert_eq!(port(&sent), 5002, "{how}");
        w.reply(&sent, 200);
        w.reach_fresh(BOB, vec![flows(BOB, &[5001, 5002])], &[5001]);
        w.alice("three");
        assert_eq!(port(&last(&mut w)), 5001, "{how}");
    }
}

#[test]
fn a_phones_refusal_is_not_taken_for_a_broken_flow() {
    for status in [503, 480, 486] {
        let mut w = World::team();
        w.reach(BOB, vec![flows(BOB, &[5001, 5002])]);
        w.sent.clear();
        w.alice("hello");
        let first = last(&mut w);
        w.reply(&first, status);
        w.none();
    }
}

#[test]
fn when_all_flows_are_silent_the_phone_is_away() {
    let mut w = World::team();
    w.reach(BOB, vec![flows(BOB, &[5001, 5002])]);
    w.sent.clear();
    w.alice("hello");
    w.pass_ms(32_010);
    assert_eq!(port(&last(&mut w)), 5002);
    w.sent.clear();
    w.pass_ms(32_010);
    w.none();
    w.pass_ms(30_010);
    assert_eq!(port(&last(&mut w)), 5001, "from the first again");
}

#[test]
fn a_flow_that_registers_anew_gets_at_once_what_went_to_the_old_one() {
    let mut w = World::team();
    w.reach(BOB, vec![flows(BOB, &[5001])]);
    w.sent.clear();
    w.alice("hello");
    assert_eq!(port(&last(&mut w)), 5001);
    w.reach_fresh(BOB, vec![flows(BOB, &[5002, 5001])], &[5002]);
    let sent = last(&mut w);
    assert_eq!(port(&sent), 5002);
    // The older flow goes: what is on its way stays there.
    w.reach(BOB, vec![flows(BOB, &[5002])]);
    w.none();
    w.reply(&sent, 200);
    assert_eq!(w.counters().delivered, 1);
}

#[test]
fn what_is_on_its_way_to_a_fallback_stays_there_when_the_list_changes() {
    let mut w = World::team();
    w.reach(BOB, vec![flows(BOB, &[5001, 5002])]);
    w.sent.clear();
    w.alice("hello");
    let first = last(&mut w);
    w.fail(&first);
    let second = last(&mut w);
    w.reach(BOB, vec![flows(BOB, &[5001, 5003, 5002])]);
    w.none();
    // Sent again it is the same request; the world compares.
    w.pass_ms(600);
    assert_eq!(w.wire.last().map(|(_, branch, first)| (*branch, *first)), Some((second.branch, false)));
    w.reply(&second, 200);
    assert_eq!(w.counters().delivered, 1);
}

#[test]
fn a_way_by_name_is_looked_up_when_something_is_to_be_sent_and_not_before() {
    let mut w = World::team();
    w.reach(BOB, vec![named(BOB)]);
    assert_eq!(asked(&mut w), 0);
    w.alice("one");
    assert_eq!(asked(&mut w), 1);
    found(&mut w, &[5081], HOUR);
    w.take_all();
    w.alice("hello");
    assert_eq!(asked(&mut w), 0, "it is still good");
    assert_eq!(w.take_all(), said(&["hello"]));
    w.pass_s(3601);
    assert_eq!(asked(&mut w), 0, "nothing waits");
    w.alice("two");
    w.none();
    assert_eq!(asked(&mut w), 1);
    w.alice("three");
    assert_eq!(asked(&mut w), 0, "once");
    found(&mut w, &[5091], HOUR);
    let sent = w.one();
    assert_eq!(port(&sent), 5091);
    w.reply(&sent, 200);
    assert_eq!(w.take_all(), said(&["three"]));
}

#[test]
fn a_name_that_leads_nowhere_waits_and_is_looked_up_again() {
    let mut w = World::team();
    w.reach(BOB, vec![named(BOB)]);
    w.alice("hello");
    assert_eq!(asked(&mut w), 1);
    found(&mut w, &[], Duration::ZERO);
    w.alice("two");
    w.pass_ms(29_900);
    assert_eq!(asked(&mut w), 0);
    w.pass_ms(200);
    assert_eq!(asked(&mut w), 1);
    found(&mut w, &[], Duration::ZERO);
    w.pass_ms(59_900);
    assert_eq!(asked(&mut w), 0, "pauses grow");
    w.pass_ms(200);
    assert_eq!(asked(&mut w), 1);
    found(&mut w, &[5081], HOUR);
    assert_eq!(w.take_all(), said(&["hello", "two"]));
}

#[test]
fn a_look_up_that_is_never_answered_has_failed() {
    let mut w = World::team();
    w.reach(BOB, vec![named(BOB)]);
    w.alice("hello");
    assert_eq!(asked(&mut w), 1);
    w.pass_ms(30_010);
    assert_eq!(asked(&mut w), 0);
    // Too late: the answer belongs to no question.
    found(&mut w, &[5081], HOUR);
    w.none();
    w.pass_ms(30_010);
    assert_eq!(asked(&mut w), 1);
    found(&mut w, &[5081], HOUR);
    assert_eq!(w.take_all(), said(&["hello"]));
}

#[test]
fn an_address_told_again_keeps_what_was_found() {
    let mut w = World::team();
    w.reach(BOB, vec![named(BOB)]);
    w.alice("one");
    assert_eq!(asked(&mut w), 1);
    found(&mut w, &[5081], HOUR);
    w.take_all();
    w.reach(BOB, vec![named(BOB)]);
    w.alice("hello");
    assert_eq!(asked(&mut w), 0);
    let sent = w.one();
    w.reach(BOB, vec![named(BOB)]);
    w.none();
    w.reply(&sent, 200);
    assert_eq!(w.counters().delivered, 2);
}

#[test]
fn while_it_is_looked_up_anew_a_next_hop_that_was_down_has_one_asker() {
    let mut w = World::team();
    for who in [BOB, CAROL] {
        w.disk.insert((who.0, "route".into()), w.log.head());
        w.reach(who, vec![named(who)]);
    }
    w.alice("hello");
    assert_eq!(asked(&mut w), 2);
    let minute = Duration::from_secs(20);
    for who in [BOB, CAROL] {
        w.input(Input::Located { account: who.0, targets: [hop(who, 5081)].into(), good_for: minute });
    }
    for sent in std::mem::take(&mut w.sent) {
        w.fail(&sent);
    }
    w.pass_ms(30_020);
    w.none();
    assert_eq!(asked(&mut w), 1, "the probe's");
    // It goes away meanwhile: the other takes its place.
    w.reach(BOB, vec![]);
    let left = asked(&mut w);
    w.reach(CAROL, vec![]);
    assert_eq!((left, w.shard.load()), (1, (0, 0)));
}

#[test]
fn records_that_run_out_on_the_way_do_not_begin_the_round_again() {
    let mut w = World::team();
    w.reach(BOB, vec![named(BOB)]);
    w.alice("hello");
    found(&mut w, &[5081, 5082], Duration::from_secs(5));
    assert_eq!(asked(&mut w), 1);
    for port_of in [5081, 5082] {
        let sent = last(&mut w);
        assert_eq!(port(&sent), port_of);
        // The next hop is there; the address behind it is silent.
        w.pass_ms(10);
        w.reply(&sent, 100);
        w.pass_ms(32_010);
        assert_eq!(asked(&mut w), 0);
    }
    w.none();
    w.pass_ms(29_900);
    assert_eq!(asked(&mut w), 0);
    w.pass_ms(200);
    assert_eq!(asked(&mut w), 1, "after the pause");
}
