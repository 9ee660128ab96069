//! Typing notices and receipts beside the messages: the last one, while it is fresh, to whom it tells something.

use std::sync::Arc;

use imcd::chat::phones::Takes;
use imcd::chat::shard::{Event, Input};

use super::log::aside;
use super::world::*;

const TYPING: &str = "application/im-iscomposing+xml";
const IMDN: &str = "message/imdn+xml";

/// Bob on a phone that takes both.
fn world() -> World {
    let mut world = World::team();
    let takes = Arc::new(Takes::new(None, [TYPING, IMDN], []));
    world.reach(BOB, vec![imcd::chat::render::Contact { takes, ..contact(BOB, "", 5062) }]);
    world
}

fn notice(world: &mut World, kind: &str, body: &str) {
    let mut notice = aside("alice", body, world.ms());
    notice.content_type = Some(kind.into());
    world.input(Input::Aside { account: BOB.0, source: None, aside: Arc::new(notice) });
}

#[test]
fn of_typing_notices_that_wait_only_the_last_is_told_and_before_the_next_message() {
    let mut world = world();
    world.alice("open");
    let open = world.one();
    for body in ["active", "idle", "active again"] {
        notice(&mut world, TYPING, body);
    }
    notice(&mut world, IMDN, "displayed");
    notice(&mut world, IMDN, "displayed, too");
    world.alice("next");
    world.none();
    world.reply(&open, 200);
    assert_eq!(world.take_all(), ["displayed", "displayed, too", "active again", "[alice]: next"]);
    world.none();
}

#[test]
fn a_newer_notice_follows_the_one_on_its_way() {
    let mut world = world();
    notice(&mut world, TYPING, "active");
    let first = world.one();
    assert!(String::from_utf8_lossy(&first.bytes).contains(&format!("\r\nContent-Type: {TYPING}\r\n")));
    notice(&mut world, TYPING, "idle");
    world.reply(&first, 200);
    let second = world.one();
    assert_eq!(second.body, "idle");
    assert_ne!(second.call_id, first.call_id);
    world.reply(&second, 200);
    world.none();
}

#[test]
fn what_is_old_or_for_somebody_away_is_dropped() {
    let mut world = world();
    world.alice("open");
    let open = world.one();
    notice(&mut world, TYPING, "active");
    world.pass_s(31);
    world.sent.clear();
    world.reply(&open, 480);
    // Away: nobody is told now.
    notice(&mut world, TYPING, "idle");
    assert_eq!(world.counters().notices_dropped, 1);
    world.pass_s(31);
    assert_eq!(world.take_all(), said(&["open"]));
    world.none();
}

#[test]
fn a_phone_not_known_to_take_it_gets_no_notice_and_never_one_that_it_refused() {
    let mut world = world();
    world.reach(CAROL, vec![contact(CAROL, "", 5063)]);
    let plain = aside("alice", "active", world.ms());
    let plain = imcd::chat::render::Aside { content_type: Some(TYPING.into()), ..plain };
    world.input(Input::Aside { account: CAROL.0, source: None, aside: Arc::new(plain) });
    world.none();
    notice(&mut world, TYPING, "active");
    let refused = world.one();
    world.reply(&refused, 415);
    notice(&mut world, TYPING, "idle");
    world.none();
    assert_eq!(world.counters().notices_dropped, 2);
    assert!(
        world.events.iter().any(|event| matches!(event, Event::Learned { refuses, .. } if refuses == TYPING))
    );
}

#[test]
fn no_answer_to_a_notice_costs_a_phone_its_messages() {
    for status in [403, 404, 405, 410, 500, 501, 603] {
        let mut world = world();
        notice(&mut world, TYPING, "active");
        let sent = world.one();
        world.reply(&sent, status);
        world.alice("hello");
        assert_eq!(world.take_all(), said(&["hello"]), "after {status}");
        assert!(!world.events.iter().any(|event| matches!(event, Event::Unbound { .. })), "{status}");
        assert!(world.gave_up().is_empty(), "{status}");
    }
}
