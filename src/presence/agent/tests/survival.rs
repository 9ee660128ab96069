//! Restarts: publications and dialogs go on (P18, S24, S25).

use super::*;

/// What is on disk after everything was written.
fn disk(world: &mut World, disk: &mut (HashMap<i64, String>, HashMap<Aor, Vec<Publication>>)) {
    let mut saves = Vec::new();
    world.agent.save(&mut saves);
    for save in saves {
        match save {
            Save::Subscription { key, row: Some((_, row)) } => drop(disk.0.insert(key, row)),
            Save::Subscription { key, row: None } => drop(disk.0.remove(&key)),
            Save::Publications { who, list } => drop(disk.1.insert(who, list)),
        }
    }
}

use crate::presence::publication::Publication;

/// A new life that begins with what was written.
fn reborn(world: &mut World) -> World {
    let mut rows = Default::default();
    disk(world, &mut rows);
    let mut next = World::with(settings());
    next.time = world.time;
    next.start = world.start;
    let (subscriptions, publications) = rows;
    for (who, list) in publications {
        for publication in list {
            let now = next.now();
            next.agent.restore(now, Saved::Publication(who.clone(), publication));
        }
    }
    for row in subscriptions.into_values() {
        let now = next.now();
        next.agent.restore(now, Saved::Subscription { key: 0, row });
    }
    let (now, mut events) = (next.now(), Vec::new());
    next.agent.restored(now, &mut next.out, &mut events);
    next.hear(events);
    next
}

#[test]
fn p18_s24_after_a_restart_nobody_is_shown_as_gone_and_numbers_rise() {
    let mut world = World::new();
    let etag = world.says("alice", "open", "<rpid:busy/>");
    let mut phone = world.watch("bob", "alice");
    let before = world.run(60_000).pop().unwrap();
    let mut world = reborn(&mut world);
    let after = world.run(1000);
    assert_eq!(after.len(), 1);
    assert!(after[0].says("<rpid:busy/>"), "{}", after[0].body());
    assert!(after[0].cseq() > before.cseq());
    assert_eq!(after[0].get("Call-ID"), before.get("Call-ID"));
    assert_eq!(after[0].state(), "active;expires=540");
    assert!(matches!(world.publish("alice", Some(etag), Some(600), Body::None), Answer::Published(Ok(_))));
    assert!(matches!(world.refresh(&mut phone, 600), Answer::Subscribed { .. }));
    assert_eq!(world.run(1000).len(), 1);
}

#[test]
fn s24_versions_go_on_above_what_was_seen() {
    let mut world = World::new();
    world.begin("alice", Package::Winfo, "alice", Target::Person, Standing::Active, 7200).unwrap();
    for n in 0..70 {
        world.watch(&format!("w{n}"), "alice");
        world.run(6000);
        let count = world.agent.slots.iter().flatten().count();
        if count > 40 {
            let slot = world
                .agent
                .slots
                .iter()
                .position(|s| s.as_ref().is_some_and(|s| s.package == Package::Presence));
            world.agent.remove(slot.unwrap() as u32);
        }
    }
    let mut saves = Vec::new();
    world.agent.save(&mut saves);
    let version = world.agent.slots[0].as_ref().unwrap().version;
    assert!(version > 64);
    let mut world = World {
        agent: {
            world.agent.changed.insert(0);
            world.agent
        },
        ..world
    };
    // The row on disk is up to 63 documents old: as after a crash.
    let row = {
        let slot = world.agent.slots[0].as_mut().unwrap();
        let now = slot.version;
        slot.version = now - now % 64;
        let mut saves = Vec::new();
        world.agent.save(&mut saves);
        saves.into_iter().find_map(|save| match save {
            Save::Subscription { row: Some((_, row)), .. } => Some(row),
            _ => None,
        })
    };
    let mut next = World::new();
    next.time = world.time;
    let now = next.now();
    next.agent.restore(now, Saved::Subscription { key: 0, row: row.unwrap() });
    assert!(next.agent.slots[0].as_ref().unwrap().version >= version);
    assert!(next.agent.slots[0].as_ref().unwrap().full);
}

#[test]
fn what_has_expired_meanwhile_is_ended_and_removed() {
    let mut world = World::new();
    world.says("alice", "open", "");
    world.begin("bob", Package::Presence, "alice", Target::Person, Standing::Active, 600).unwrap();
    world.run(1000);
    let mut rows = Default::default();
    disk(&mut world, &mut rows);
    let mut next = World::new();
    next.time = world.time + 4_000_000;
    for (who, list) in &rows.1 {
        for publication in list {
            let now = next.now();
            next.agent.restore(now, Saved::Publication(who.clone(), publication.clone()));
        }
    }
    for row in rows.0.values() {
        let now = next.now();
        next.agent.restore(now, Saved::Subscription { key: 0, row: row.clone() });
    }
    let (now, mut events) = (next.now(), Vec::new());
    next.agent.restored(now, &mut next.out, &mut events);
    next.hear(events);
    let sent = next.run(1000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].state(), "terminated;reason=timeout");
    assert!(sent[0].says("<basic>closed</basic>"));
    disk(&mut next, &mut rows);
    assert!(rows.0.is_empty() && rows.1.values().all(Vec::is_empty));
}

#[test]
fn s25_whoever_stops_says_so_to_everybody_and_keeps_no_dialog() {
    let mut world = World::new();
    world.says("alice", "open", "");
    world.watch("bob", "alice");
    world.watch("carol", "alice");
    world.pass(100);
    let sent = world.sent();
    world.reply(&sent[0], 200);
    world.input(Input::Stop);
    let sent = world.sent();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|one| one.state() == "terminated;reason=deactivated"));
    let mut rows = Default::default();
    disk(&mut world, &mut rows);
    assert!(rows.0.is_empty());
    assert_eq!(rows.1[&aor("alice")].len(), 1, "what she publishes goes on");
}

#[test]
fn a_row_that_cannot_be_read_costs_nothing() {
    let mut world = World::new();
    for row in ["", "{}", "nonsense"] {
        let now = world.now();
        world.agent.restore(now, Saved::Subscription { key: 0, row: row.into() });
    }
    world.assert_empty();
}
