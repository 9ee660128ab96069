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
fn a_row_that_cannot_be_read_costs_nothing_and_goes() {
    let mut world = World::new();
    for (key, row) in [(1, ""), (2, "{}"), (-3, "nonsense")] {
        let now = world.now();
        world.agent.restore(now, Saved::Subscription { key, row: row.into() });
    }
    let now = world.now();
    world.agent.restore(now, Saved::Unreadable(aor("alice")));
    let mut saves = Vec::new();
    world.agent.save(&mut saves);
    let removed = |save: &Save| match save {
        Save::Subscription { key, row: None } => *key,
        Save::Publications { list, .. } if list.is_empty() => 0,
        other => panic!("{other:?}"),
    };
    assert_eq!(saves.iter().map(removed).collect::<Vec<_>>(), [1, 2, -3, 0]);
    world.assert_empty();
}

#[test]
fn what_was_decided_while_nobody_listened_holds_after_a_restart() {
    let mut world = World::new();
    world.says("alice", "open", "<rpid:busy/>");
    world.watch("bob", "alice");
    world.watch("bob", "carol");
    world.begin("bob", Package::Winfo, "alice", Target::Person, Standing::Active, 600).unwrap();
    let entry = |who: &str| Entry {
        uri: format!("sip:{who}@h").into(),
        who: Some(aor(who)),
        name: None,
        is_room: false,
        standing: Standing::Active,
    };
    let entries = [entry("alice"), entry("carol"), entry("dave")];
    let list = List::new("sip:rls@h".into(), false, Default::default(), &entries);
    world
        .begin("bob", Package::Presence, "bob", Target::List(Box::new(list)), Standing::Active, 600)
        .unwrap();
    world.run(1000);
    let mut rows = Default::default();
    disk(&mut world, &mut rows);
    let mut next = World::new();
    (next.time, next.start) = (world.time, world.start);
    let now = next.now();
    for (key, row) in rows.0 {
        next.agent.restore(now, Saved::Subscription { key, row });
    }
    for publication in rows.1.remove(&aor("alice")).unwrap() {
        next.agent.restore(now, Saved::Publication(aor("alice"), publication));
    }
    // Alice has taken it back; carol's account has ended.
    let judge = |watcher: &Aor, people: &[Aor]| {
        assert_eq!(*watcher, aor("bob"));
        let judge = |who: &Aor| match who.user() {
            "alice" => Some(Standing::Pending),
            "carol" => None,
            _ => Some(Standing::Active),
        };
        Ok::<_, ()>(people.iter().map(judge).collect())
    };
    next.agent.rejudge(judge).unwrap();
    let mut events = Vec::new();
    next.agent.restored(now, &mut next.out, &mut events);
    next.hear(events);
    let sent = next.run(1000);
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|one| !one.says("busy")), "{sent:?}");
    let state = |call: &str| sent.iter().find(|one| one.get("Call-ID") == call).unwrap().state();
    assert!(state("c1").starts_with("pending;"));
    assert_eq!((state("c2"), state("c3")), ("terminated;reason=noresource", "terminated;reason=rejected"));
    let list = sent.iter().find(|one| one.get("Call-ID") == "c4").unwrap();
    assert!(
        list.says("state=\"pending\"") && list.says("reason=\"noresource\"") && list.says("<basic>closed")
    );
    assert_eq!(next.agent.rejudge(|_, _| Err("no store")), Err("no store"));
}

#[test]
fn s24_numbers_rise_even_if_the_store_took_nothing_for_hours() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.run(1000);
    let mut rows = Default::default();
    disk(&mut world, &mut rows);
    let mut last = 0;
    for change in 0..200 {
        let activity = if change % 2 == 0 { "<rpid:away/>" } else { "<rpid:busy/>" };
        let etag = world.says("alice", "open", activity);
        last = world.run(1).pop().map_or(last, |sent| sent.cseq());
        world.publish("alice", Some(etag), Some(0), Body::None);
        world.time += 5000;
    }
    let mut next = World::new();
    // The machine's clock has been set back meanwhile.
    next.time = 0;
    for (key, row) in rows.0 {
        let now = next.now();
        next.agent.restore(now, Saved::Subscription { key, row });
    }
    let (now, mut events) = (next.now(), Vec::new());
    next.agent.restored(now, &mut next.out, &mut events);
    next.hear(events);
    assert!(next.run(1000)[0].cseq() > last);
}
