//! Lists of people as one resource (RFC 4662, RFC 5367).

use super::*;

fn entry(who: &str, standing: Standing) -> Entry {
    Entry { uri: format!("sip:{who}@h").into(), who: Some(aor(who)), name: None, is_room: false, standing }
}

fn nobody(uri: &str) -> Entry {
    Entry { uri: uri.into(), who: None, name: None, is_room: false, standing: Standing::Active }
}

fn list(world: &mut World, entries: &[Entry]) -> Phone {
    let target = Target::List(Box::new(List::new("sip:rls@h".into(), false, Default::default(), entries)));
    world.begin("bob", Package::Presence, "bob", target, Standing::Active, 600).unwrap()
}

#[test]
fn l01_l02_l03_l04_everybody_is_on_the_first_document_and_who_changes_on_the_next() {
    let mut world = World::new();
    world.says("alice", "open", "");
    let entries = [
        entry("alice", Standing::Active),
        entry("carol", Standing::Pending),
        entry("dave", Standing::Active),
        nobody("sip:x@elsewhere"),
    ];
    list(&mut world, &entries);
    let first = world.run(1000).pop().unwrap();
    assert_eq!(first.get("Require"), "eventlist");
    assert!(first.get("Content-Type").starts_with("multipart/related"));
    for word in [
        "version=\"0\"",
        "fullState=\"true\"",
        "uri=\"sip:rls@h\"",
        "uri=\"sip:carol@h\"",
        "state=\"pending\"",
        "reason=\"noresource\"",
        "<basic>open</basic>",
        "<basic>closed</basic>",
    ] {
        assert!(first.says(word), "{word}: {}", first.body());
    }
    world.says("dave", "open", "<rpid:busy/>");
    let next = world.run(10_000);
    assert_eq!(next.len(), 1);
    for word in ["version=\"1\"", "fullState=\"false\"", "uri=\"sip:dave@h\"", "<rpid:busy/>"] {
        assert!(next[0].says(word), "{word}: {}", next[0].body());
    }
    assert!(!next[0].says("alice") && !next[0].says("carol"));
    world.says("carol", "open", "");
    assert!(world.run(10_000).is_empty(), "nobody sees who is pending");
}

#[test]
fn l07_two_watchers_of_one_list_see_what_each_may() {
    let mut world = World::new();
    world.says("alice", "open", "<rpid:busy/>");
    list(&mut world, &[entry("alice", Standing::Active)]);
    let target = Target::List(Box::new(List::new(
        "sip:rls@h".into(),
        false,
        Default::default(),
        &[entry("alice", Standing::Blocked)],
    )));
    world.begin("eve", Package::Presence, "eve", target, Standing::Active, 600).unwrap();
    let sent = world.run(1000);
    let of = |who: &str| sent.iter().find(|one| one.get("To").contains(who)).unwrap();
    assert!(of("bob").says("<rpid:busy/>"));
    assert!(!of("eve").says("busy") && of("eve").says("<basic>closed</basic>"));
}

#[test]
fn l03_a_refresh_is_whole_and_a_new_list_in_it_replaces_the_old() {
    let mut world = World::new();
    let mut phone = list(&mut world, &[entry("alice", Standing::Active), entry("carol", Standing::Active)]);
    world.run(1000);
    phone.cseq += 1;
    let entries = vec![entry("alice", Standing::Active), entry("dave", Standing::Active)];
    assert!(matches!(world.refresh_as(&phone, 600, None, Some(entries)), Answer::Subscribed { .. }));
    let sent = world.run(1000);
    assert!(sent[0].says("fullState=\"true\"") && sent[0].says("dave") && !sent[0].says("carol"));
    world.says("carol", "open", "");
    assert!(world.run(10_000).is_empty());
    world.refresh(&mut phone, 0);
    world.run(1000);
    world.says("dave", "closed", "");
    world.agent.people.retain(|_, person| !person.publications.is_empty());
    assert_eq!(world.agent.counters().subscriptions, 0);
    assert!(world.agent.watches.is_empty());
}

#[test]
fn l06_a_list_that_names_its_own_watcher_does_not_loop() {
    let mut world = World::new();
    list(&mut world, &[entry("bob", Standing::Active), entry("bob", Standing::Active)]);
    world.says("bob", "open", "");
    assert_eq!(world.run(60_000).len(), 1);
}

#[test]
fn s20_a_decision_about_one_entry_is_told_at_once() {
    let mut world = World::new();
    world.says("alice", "open", "<rpid:busy/>");
    list(&mut world, &[entry("alice", Standing::Pending), entry("carol", Standing::Active)]);
    assert!(!world.run(1000)[0].says("busy"));
    world.stand("alice", "bob", Standing::Active);
    let sent = world.run(100);
    assert!(sent[0].says("<rpid:busy/>") && sent[0].says("fullState=\"false\"") && !sent[0].says("carol"));
    world.stand("alice", "bob", Standing::Rejected);
    let sent = world.run(100);
    assert!(sent[0].says("reason=\"rejected\""), "{}", sent[0].body());
}

#[test]
fn a_roster_is_a_list_that_follows_its_owner() {
    let mut world = World::new();
    world.lists.insert(aor("bob+buddies"), vec![entry("alice", Standing::Active)]);
    let target = Target::List(Box::new(List::new("sip:bob+buddies@h".into(), true, Default::default(), &[])));
    world.begin("bob", Package::Presence, "bob+buddies", target, Standing::Active, 600).unwrap();
    let first = world.run(1000).pop().unwrap();
    assert!(first.says("uri=\"sip:alice@h\"") && first.says("fullState=\"true\""), "{}", first.body());
    world
        .lists
        .insert(aor("bob+buddies"), vec![entry("alice", Standing::Active), entry("carol", Standing::Active)]);
    world.input(Input::Roster(aor("bob")));
    let next = world.run(6000).pop().unwrap();
    assert!(next.says("carol") && !next.says("alice"), "{}", next.body());
    world.lists.insert(aor("bob+buddies"), vec![entry("carol", Standing::Active)]);
    world.input(Input::Roster(aor("bob")));
    let next = world.run(6000).pop().unwrap();
    assert!(next.says("fullState=\"true\"") && next.says("carol") && !next.says("alice"), "{}", next.body());
    world.says("alice", "open", "");
    assert!(world.run(10_000).is_empty());
}

#[test]
fn l01_a_refresh_is_one_of_a_list_whether_it_brings_one_or_not() {
    let mut world = World::new();
    let mut phone = list(&mut world, &[entry("alice", Standing::Active)]);
    assert!(matches!(world.refresh(&mut phone, 600), Answer::Subscribed { is_list: true, .. }));
    phone.cseq += 1;
    let new = Some(vec![entry("carol", Standing::Active)]);
    assert!(matches!(world.refresh_as(&phone, 600, None, new), Answer::Subscribed { is_list: true, .. }));
    let mut plain = world.watch("bob", "alice");
    assert!(matches!(world.refresh(&mut plain, 600), Answer::Subscribed { is_list: false, .. }));
    plain.cseq += 1;
    let strange = Some(vec![entry("carol", Standing::Active)]);
    assert!(matches!(
        world.refresh_as(&plain, 600, None, strange),
        Answer::Subscribed { is_list: false, .. }
    ));
    assert!(world.run(1000).iter().all(|one| !one.says("carol") || one.get("Require") == "eventlist"));
}

#[test]
fn a_list_that_is_kept_here_is_not_replaced_by_one_that_comes() {
    let mut world = World::new();
    world.lists.insert(aor("bob+buddies"), vec![entry("alice", Standing::Active)]);
    let target = Target::List(Box::new(List::new("sip:bob+buddies@h".into(), true, Default::default(), &[])));
    let mut phone =
        world.begin("bob", Package::Presence, "bob+buddies", target, Standing::Active, 600).unwrap();
    world.run(1000);
    phone.cseq += 1;
    world.refresh_as(&phone, 600, None, Some(vec![entry("carol", Standing::Active)]));
    let sent = world.run(1000);
    assert!(sent[0].says("alice") && !sent[0].says("carol"), "{}", sent[0].body());
}

#[test]
fn a_decision_that_overtakes_a_list_on_its_way_is_not_lost() {
    let mut world = World::new();
    world.says("alice", "open", "<rpid:busy/>");
    world.is_slow = true;
    world.lists.insert(aor("bob+buddies"), vec![entry("alice", Standing::Active)]);
    let target = Target::List(Box::new(List::new("sip:bob+buddies@h".into(), true, Default::default(), &[])));
    world.begin("bob", Package::Presence, "bob+buddies", target, Standing::Active, 600).unwrap();
    world.run(100);
    // It is read as it was; then she takes it back, which the agent hears first.
    let asked: Vec<Source> = world.asked.drain(..).collect();
    world.stand("alice", "bob", Standing::Pending);
    asked.into_iter().for_each(|source| world.tell(source));
    world.lists.insert(aor("bob+buddies"), vec![entry("alice", Standing::Pending)]);
    for _ in 0..5 {
        world.run(6000);
        let asked: Vec<Source> = world.asked.drain(..).collect();
        asked.into_iter().for_each(|source| world.tell(source));
    }
    let slot = world.agent.slots.iter().flatten().next().unwrap();
    let Target::List(list) = &slot.target else { panic!("no list") };
    assert_eq!(list.entries[0].entry.standing, Standing::Pending);
    world.says("alice", "open", "<rpid:away/>");
    assert!(world.run(10_000).is_empty());
}

#[test]
fn s27_nobody_has_more_on_his_lists_than_ten_for_each_subscription_that_he_may_have() {
    let mut world = World::with(Settings { max: 3, max_per_watcher: 2, ..settings() });
    let people: Vec<Entry> = (0..21).map(|n| entry(&format!("p{n}"), Standing::Active)).collect();
    let begin = |world: &mut World, watcher: &str, entries: &[Entry]| {
        let target = List::new("sip:rls@h".into(), false, Default::default(), entries);
        let target = Target::List(Box::new(target));
        world.begin(watcher, Package::Presence, watcher, target, Standing::Active, 600)
    };
    assert_eq!(begin(&mut world, "bob", &people).err(), Some(No::WatcherFull));
    let mut phone = begin(&mut world, "bob", &people[..15]).unwrap();
    assert_eq!(begin(&mut world, "bob", &people[..6]).err(), Some(No::WatcherFull));
    phone.cseq += 1;
    assert_eq!(world.refresh_as(&phone, 600, None, Some(people.clone())), Answer::No(No::WatcherFull));
    assert!(matches!(
        world.refresh_as(&phone, 600, None, Some(people[..20].to_vec())),
        Answer::Subscribed { .. }
    ));
    assert_eq!(world.agent.listed, 20);
    assert_eq!(begin(&mut world, "eve", &people[..11]).err(), Some(No::WatcherFull), "30 in all");
    let mut last = begin(&mut world, "eve", &people[..10]).unwrap();
    // A roster grows by itself: it is cut.
    world.lists.insert(aor("dan+buddies"), people.clone());
    world.refresh(&mut last, 0);
    world.run(1000);
    let target = Target::List(Box::new(List::new("sip:dan+buddies@h".into(), true, Default::default(), &[])));
    let mut dan =
        world.begin("dan", Package::Presence, "dan+buddies", target, Standing::Active, 600).unwrap();
    assert_eq!(world.run(6000).last().unwrap().body().matches("<resource ").count(), 10);
    world.refresh(&mut phone, 0);
    world.refresh(&mut dan, 0);
    world.run(6000);
    assert_eq!(world.agent.listed, 0);
    world.assert_empty();
}

/// Two hundred friends, each with 600 bytes to say, one with very much.
fn crowd(world: &mut World) -> Vec<Entry> {
    let note = "x".repeat(200);
    for n in 0..200 {
        world.says(&format!("p{n}"), "open", &format!("<rpid:other>{note}</rpid:other>"));
    }
    world.says("loud", "open", &format!("<rpid:other>{}</rpid:other>", "y".repeat(50_000)));
    let names = (0..200).map(|n| format!("p{n}")).chain(["loud".to_owned()]);
    names.map(|name| entry(&name, Standing::Active)).collect()
}

#[test]
fn more_people_than_a_datagram_holds_come_in_several() {
    let mut world = World::with(Settings { max_per_watcher: 100, ..settings() });
    let entries = crowd(&mut world);
    list(&mut world, &entries);
    let sent = world.run(60_000);
    assert!((3..8).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|one| one.text.len() < 65_000));
    assert!(sent[0].says("fullState=\"true\"") && sent[0].body().matches("<resource ").count() == 201);
    for (version, one) in sent.iter().enumerate() {
        assert!(one.says(&format!("version=\"{version}\"")));
        assert_eq!(one.says("fullState=\"true\""), version == 0);
    }
    for n in 0..200 {
        let words = format!("entity=\"sip:p{n}@h\"");
        assert_eq!(sent.iter().filter(|one| one.says(&words)).count(), 1, "{n}");
    }
    assert!(world.run(60_000).is_empty());
    // Who changes meanwhile is told as he is.
    world.says("p199", "open", "<rpid:busy/>");
    let next = world.run(6000);
    assert!(next.len() == 1 && next[0].says("<rpid:busy/>") && !next[0].says("sip:p198@h"));
}

#[test]
fn a_list_too_large_for_a_datagram_goes_over_a_stream_and_in_parts_where_there_is_none() {
    let ways: Ways = Box::new(|flow, _| {
        Some(Way {
            dest: Dest::Udp { listener: 0, to: flow.remote },
            via: "SIP/2.0/UDP us".into(),
            contact: "<sip:us>".into(),
            stream: Some(("127.0.0.1:7".parse().unwrap(), Arc::from("SIP/2.0/TCP us"))),
        })
    });
    let mut world = World::with(Settings { ways, max_per_watcher: 100, ..settings() });
    let entries = crowd(&mut world);
    list(&mut world, &entries);
    world.pass(100);
    let sent = world.sent();
    assert!(matches!(sent[0].to, Dest::Connect(_)));
    assert_eq!((sent.len(), sent[0].text.len() > 100_000), (1, true), "{}", sent[0].text.len());
    world.input(Input::Failed(sent[0].branch));
    let parts = world.run(60_000);
    assert!(parts.len() >= 3 && parts.iter().all(|one| one.text.len() < 65_000));
    assert!(parts[0].says("fullState=\"true\"") && matches!(parts[0].to, Dest::Udp { .. }));
    assert!(parts.iter().any(|one| one.says("entity=\"sip:p199@h\"")));
}

#[test]
fn a_room_on_a_list_is_shown_as_far_as_its_watcher_may_see_it() {
    let mut world = World::new();
    world.rooms.insert(aor("team"), room("team", true, &[("bob", true)]));
    let team = Entry { is_room: true, ..entry("team", Standing::Active) };
    list(&mut world, &[team]);
    assert!(world.run(1000)[0].says("1 member"));
    world.rooms.insert(aor("team"), room("team", true, &[("alice", true)]));
    world.input(Input::Moved(Source::Room(aor("team"))));
    let sent = world.run(6000);
    assert!(sent[0].says("reason=\"rejected\"") && !sent[0].says("1 member"), "{}", sent[0].body());
}
