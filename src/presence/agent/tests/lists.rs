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
