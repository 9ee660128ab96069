//! What was taken back (spec §5.4, an administrator's purge) and is still in an outbox's memory.

use imcd::chat::shard::Input;
use imcd::types::Seq;

use super::world::*;

fn withdraw(world: &mut World, seqs: &[Seq]) {
    world.input(Input::Withdrawn { account: BOB.0, seqs: seqs.into() });
}

#[test]
fn what_was_taken_back_is_not_sent_unless_it_is_on_its_way() {
    let mut world = World::bob(5062);
    let seqs: Vec<Seq> = ["one", "two", "three", "four"].iter().map(|text| world.alice(text)).collect();
    let first = world.one();
    withdraw(&mut world, &[seqs[0], seqs[1], seqs[3]]);
    world.reply(&first, 200);
    assert_eq!(world.take_all(), said(&["three"]));
    assert_eq!(world.position(BOB, ""), Some(seqs[3]), "it has got all there is");
    world.alice("five");
    assert_eq!(world.take_all(), said(&["five"]));
}

#[test]
fn what_was_taken_back_during_a_pause_is_not_tried_again() {
    let mut world = World::bob(5062);
    let first = world.alice("one");
    let sent = world.one();
    world.reply(&sent, 480);
    withdraw(&mut world, &[first]);
    world.alice("two");
    world.pass_s(31);
    assert_eq!(world.take_all(), said(&["two"]));
}

#[test]
fn what_was_taken_back_while_it_is_on_its_way_and_then_refused_is_not_tried_again() {
    let mut world = World::bob(5062);
    let first = world.alice("one");
    let sent = world.one();
    withdraw(&mut world, &[first]);
    world.reply(&sent, 480);
    world.alice("two");
    world.pass_s(31);
    assert_eq!(world.take_all(), said(&["two"]));
}
