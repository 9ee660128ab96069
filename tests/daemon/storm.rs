//! Everybody comes back at once: what waits is delivered in order, memory stays bounded, rooms go on.

use std::time::Instant;

use crate::chat::room;
use crate::kit::{Setup, long_form};

/// Messages that wait for each.
const LETTERS: usize = 10;

#[test]
fn who_registers_all_at_once_gets_what_waits_in_order_while_a_room_goes_on() {
    let accounts = if long_form() { 1000 } else { 60 };
    let daemon = Setup::new().set("sip.nat_keepalive_s", "0").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let people: Vec<_> = (0..accounts).map(|n| daemon.udp(&format!("user{n}"))).collect();
    for person in &people {
        person.unregister();
    }
    for letter in 0..LETTERS {
        for person in &people {
            alice.expect(202, person.user(), &format!("letter {letter}"));
        }
    }
    let rate = |what: &str| {
        let start = Instant::now();
        for n in 0..100 {
            alice.expect(202, "team", &format!("{what} {n}"));
        }
        bob.hears(&format!("[alice]: {what} 99"));
        100.0 / start.elapsed().as_secs_f64()
    };
    let calm = rate("calm");
    let before = daemon.rss_kib();
    let start = Instant::now();
    let stormy = std::thread::scope(|scope| {
        for some in people.chunks(people.len().div_ceil(8)) {
            scope.spawn(move || some.iter().for_each(|person| drop(person.register())));
        }
        rate("storm")
    });
    for person in &people {
        person.hears(&format!("letter {}", LETTERS - 1));
    }
    let (took, after) = (start.elapsed(), daemon.rss_kib());
    println!(
        "{} letters to {accounts} who came at once: {took:?}; memory {before} to {after} KiB; a room {calm:.0} \
         posts/s before, {stormy:.0} meanwhile",
        accounts * LETTERS
    );
    let expected: Vec<String> = (0..LETTERS).map(|letter| format!("letter {letter}")).collect();
    for person in &people {
        assert_eq!(person.texts(), expected, "{}", person.user());
        person.one_at_a_time();
    }
    bob.one_at_a_time();
    // Pages are read by two threads, and each outbox holds a bounded queue: a few KiB for each who came.
    let grown = after.saturating_sub(before);
    assert!(grown < 20_000 + 16 * accounts as u64, "{grown} KiB more for {accounts} accounts");
}
