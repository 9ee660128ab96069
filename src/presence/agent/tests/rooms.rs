//! Rooms as presentities and conferences, waiting texts (RFC 4575, RFC 3842).

use super::*;

fn conference(world: &mut World, watcher: &str) -> Phone {
    world.begin(watcher, Package::Conference, "team", Target::Room, Standing::Active, 600).unwrap()
}

fn moved(world: &mut World) {
    world.input(Input::Moved(Source::Room(aor("team"))));
}

#[test]
fn k01_k02_a_member_sees_the_room_and_then_who_comes_and_goes() {
    let mut world = World::new();
    world.rooms.insert(aor("team"), room("team", false, &[("alice", true), ("bob", false)]));
    conference(&mut world, "alice");
    let first = world.run(1000).pop().unwrap();
    assert_eq!(first.get("Content-Type"), "application/conference-info+xml");
    assert!(first.says("state=\"full\"") && first.says("version=\"0\"") && first.says("sip:bob@h"));
    world.rooms.insert(aor("team"), room("team", false, &[("alice", true), ("bob", false), ("carol", true)]));
    moved(&mut world);
    assert!(world.run(3000).is_empty(), "not before its time");
    let next = world.run(3000).pop().unwrap();
    assert!(
        next.says("state=\"partial\"") && next.says("version=\"1\"") && next.says("sip:carol@h"),
        "{}",
        next.body()
    );
    moved(&mut world);
    assert!(world.run(60_000).is_empty(), "the same again is no news");
}

#[test]
fn k04_a_room_that_ends_ends_its_watchers() {
    let mut world = World::new();
    world.rooms.insert(aor("team"), room("team", false, &[("alice", true)]));
    conference(&mut world, "alice");
    world.begin("bob", Package::Presence, "team", Target::Room, Standing::Active, 600).unwrap();
    let sent = world.run(1000);
    assert!(sent.iter().any(|one| one.says("1 member")), "{sent:?}");
    world.rooms.clear();
    moved(&mut world);
    let sent = world.run(10_000);
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|one| one.state() == "terminated;reason=noresource"));
    assert!(sent.iter().any(|one| one.says("state=\"deleted\"")));
    world.assert_empty();
}

#[test]
fn k03_who_is_no_member_any_more_is_told_nothing_more() {
    let mut world = World::new();
    world.rooms.insert(aor("team"), room("team", true, &[("alice", true), ("bob", true)]));
    conference(&mut world, "bob");
    world.begin("bob", Package::Presence, "team", Target::Room, Standing::Active, 600).unwrap();
    world.run(1000);
    world.rooms.insert(aor("team"), room("team", true, &[("alice", true)]));
    moved(&mut world);
    let sent = world.run(10_000);
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|one| one.state() == "terminated;reason=rejected" && one.body().is_empty()));
    world.assert_empty();
}

#[test]
fn k03_who_was_a_member_when_he_asked_and_is_none_when_he_comes_in_sees_nothing() {
    let mut world = World::new();
    world.rooms.insert(aor("team"), room("team", true, &[("alice", true), ("bob", true)]));
    conference(&mut world, "alice");
    world.run(1000);
    // He is put out; the room is asked for and told, before his SUBSCRIBE that was judged before reaches the agent.
    world.rooms.insert(aor("team"), room("team", true, &[("alice", true)]));
    moved(&mut world);
    world.run(10_000);
    conference(&mut world, "bob");
    world.begin("bob", Package::Presence, "team", Target::Room, Standing::Active, 600).unwrap();
    let sent = world.run(10_000);
    assert_eq!(sent.len(), 2);
    assert!(
        sent.iter().all(|one| one.state() == "terminated;reason=rejected" && one.body().is_empty()),
        "{sent:?}"
    );
    assert_eq!(world.agent.counters().subscriptions, 1);
    // The room is destroyed, and its last watcher has not answered yet.
    world.rooms.clear();
    moved(&mut world);
    world.pass(10_000);
    assert_eq!(world.agent.counters().subscriptions, 1);
    world.begin("carol", Package::Presence, "team", Target::Room, Standing::Active, 600).unwrap();
    let sent = world.run(1000);
    let carol = sent
        .iter()
        .find(|one| one.get("From").contains("sip:x@h") && one.get("To").contains("carol"))
        .unwrap();
    assert_eq!(carol.state(), "terminated;reason=noresource");
    world.assert_empty();
}

#[test]
fn k05_the_lamp_is_lit_and_put_out_at_most_once_a_second() {
    let mut world = World::new();
    world.mails.insert(aor("alice"), (3, 0));
    world.begin("alice", Package::Summary, "alice", Target::Person, Standing::Active, 600).unwrap();
    let first = world.run(1000).pop().unwrap();
    assert_eq!(first.get("Content-Type"), "application/simple-message-summary");
    assert!(
        first.says("Messages-Waiting: yes\r\n") && first.says("Text-Message: 3/0 (0/0)\r\n"),
        "{}",
        first.body()
    );
    for taken in 1..=3 {
        world.mails.insert(aor("alice"), (3 - taken, taken));
        world.input(Input::Moved(Source::Mail(aor("alice"))));
        world.run(10);
    }
    let sent = world.run(3000);
    assert!(sent.last().unwrap().says("Messages-Waiting: no\r\n"), "{sent:?}");
    assert!(sent.len() <= 2);
    world.input(Input::Moved(Source::Mail(aor("alice"))));
    assert!(world.run(3000).is_empty(), "the same counts are no news");
}

fn lamps(world: &mut World, keys: &[&str]) {
    let phones = keys.iter().map(|key| {
        let contact = format!("sip:alice@127.0.0.1:7;x={key}");
        (Arc::from(*key), World::flow(), Dialog::unasked(&aor("alice"), &contact, &[], &format!("n{key}")))
    });
    let phones = phones.collect();
    world.input(Input::Lamps { who: aor("alice"), phones });
}

#[test]
fn phones_that_never_ask_light_their_lamps_too_if_that_is_wanted() {
    let mut world = World::new();
    world.mails.insert(aor("alice"), (1, 0));
    lamps(&mut world, &["desk", "hall"]);
    let sent = world.run(2000);
    assert_eq!(sent.len(), 2);
    assert!(sent[0].text.starts_with("NOTIFY sip:alice@127.0.0.1:7;x="));
    assert!(sent.iter().all(|one| one.state() == "active" && one.says("Text-Message: 1/0")));
    assert!(sent[0].get("Call-ID") != sent[1].get("Call-ID"));
    world.mails.insert(aor("alice"), (0, 1));
    world.input(Input::Moved(Source::Mail(aor("alice"))));
    assert_eq!(world.run(3000).len(), 2);
    // It has registered again: its lamp may have gone out.
    lamps(&mut world, &["desk"]);
    let sent = world.run(3000);
    assert!(sent.len() == 1 && sent[0].says("Text-Message: 0/1") && sent[0].get("Call-ID") == "ndesk@h");
    let mut saves = Vec::new();
    world.agent.save(&mut saves);
    assert!(saves.is_empty(), "{saves:?}");
    // One that asks by itself is not told twice.
    world.begin("alice", Package::Summary, "alice", Target::Person, Standing::Active, 60).unwrap();
    lamps(&mut world, &["desk"]);
    assert_eq!(world.run(3000).len(), 1);
    world.run(100_000);
    lamps(&mut world, &["desk"]);
    let sent = world.run(3000);
    world.reply(&sent[0], 200);
    lamps(&mut world, &[]);
    world.run(3000);
    world.assert_empty();
}

#[test]
fn a_phone_that_does_not_know_lamps_is_left_alone_until_it_registers_again() {
    let mut world = World::new();
    lamps(&mut world, &["desk"]);
    world.pass(10);
    let sent = world.sent();
    world.reply(&sent[0], 481);
    world.mails.insert(aor("alice"), (1, 0));
    world.input(Input::Moved(Source::Mail(aor("alice"))));
    assert!(world.run(60_000).is_empty());
    world.assert_empty();
}
