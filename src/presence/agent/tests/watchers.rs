//! Who may see what, and who watches the watchers (RFC 3856 §6.6, RFC 3857).

use super::*;

fn pending(world: &mut World, watcher: &str, who: &str) -> Phone {
    world.begin(watcher, Package::Presence, who, Target::Person, Standing::Pending, 600).unwrap()
}

fn winfo(world: &mut World, watcher: &str, who: &str) -> Phone {
    world.begin(watcher, Package::Winfo, who, Target::Person, Standing::Active, 600).unwrap()
}

#[test]
fn s18_s20_who_is_pending_learns_nothing_until_he_may() {
    let mut world = World::new();
    pending(&mut world, "bob", "alice");
    let sent = world.run(1000);
    assert_eq!((sent[0].state(), sent[0].body()), ("pending;expires=600", ""));
    world.says("alice", "open", "<rpid:busy/>");
    assert!(world.run(60_000).is_empty(), "a change of somebody unseen is silence");
    world.stand("alice", "bob", Standing::Active);
    let sent = world.run(100);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].state().starts_with("active;") && sent[0].says("<rpid:busy/>"));
}

#[test]
fn s20_who_is_refused_is_told_so_once() {
    let mut world = World::new();
    pending(&mut world, "bob", "alice");
    world.run(1000);
    world.stand("alice", "bob", Standing::Rejected);
    let sent = world.run(60_000);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].state(), sent[0].body()), ("terminated;reason=rejected", ""));
    world.assert_empty();
}

#[test]
fn s19_who_is_blocked_sees_what_he_would_see_of_somebody_who_is_offline() {
    let mut world = World::new();
    world.watch("bob", "idle");
    let idle = world.run(1000).pop().unwrap();
    world.says("alice", "open", "<rpid:busy/>");
    world.begin("bob", Package::Presence, "alice", Target::Person, Standing::Blocked, 600).unwrap();
    let blocked = world.run(1000).pop().unwrap();
    assert_eq!(blocked.body().replace("alice", "idle"), idle.body());
    assert_eq!(blocked.state(), idle.state());
    world.says("alice", "open", "<rpid:away/>");
    assert!(world.run(60_000).is_empty());
    // Whoever is blocked later sees her go.
    let mut world = World::new();
    world.says("alice", "open", "");
    world.watch("bob", "alice");
    world.run(1000);
    world.stand("alice", "bob", Standing::Blocked);
    let sent = world.run(1000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].body().replace("alice", "idle"), idle.body());
}

#[test]
fn w01_w03_w04_the_owner_sees_watchers_come_be_decided_and_go() {
    let mut world = World::new();
    winfo(&mut world, "alice", "alice");
    let sent = world.run(6000);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].says("version=\"0\"") && sent[0].says("state=\"full\""), "{}", sent[0].body());
    let mut phone = pending(&mut world, "bob", "alice");
    let sent: Vec<Sent> =
        world.run(6000).into_iter().filter(|one| one.get("Event") == "presence.winfo").collect();
    assert_eq!(sent.len(), 1);
    for word in
        ["version=\"1\"", "state=\"partial\"", "status=\"pending\"", "event=\"subscribe\"", "sip:bob@h"]
    {
        assert!(sent[0].says(word), "{word}: {}", sent[0].body());
    }
    world.stand("alice", "bob", Standing::Active);
    let sent: Vec<Sent> =
        world.run(6000).into_iter().filter(|one| one.get("Event") == "presence.winfo").collect();
    assert!(
        sent[0].says("version=\"2\"")
            && sent[0].says("event=\"approved\"")
            && sent[0].says("status=\"active\"")
    );
    world.refresh(&mut phone, 0);
    let sent: Vec<Sent> =
        world.run(6000).into_iter().filter(|one| one.get("Event") == "presence.winfo").collect();
    assert!(sent[0].says("version=\"3\"") && sent[0].says("status=\"terminated\""), "{}", sent[0].body());
}

#[test]
fn w02_who_was_never_decided_about_waits_and_the_owner_sees_him_later() {
    let mut world = World::new();
    pending(&mut world, "bob", "alice");
    world.run(700_000);
    assert_eq!(world.agent.counters().subscriptions, 0);
    winfo(&mut world, "alice", "alice");
    let sent = world.run(6000);
    assert!(sent[0].says("status=\"waiting\"") && sent[0].says("sip:bob@h"), "{}", sent[0].body());
    world.stand("alice", "bob", Standing::Active);
    world.run(10_000);
    winfo(&mut world, "alice", "alice");
    let sent = world.run(6000);
    assert!(!sent[0].says("sip:bob@h"), "{}", sent[0].body());
}

#[test]
fn w05_another_watcher_of_watchers_sees_himself_alone() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.watch("carol", "alice");
    winfo(&mut world, "bob", "alice");
    let sent: Vec<Sent> =
        world.run(6000).into_iter().filter(|one| one.get("Event") == "presence.winfo").collect();
    assert!(sent[0].says("sip:bob@h") && !sent[0].says("carol"));
    let winfos = |world: &mut World| -> Vec<Sent> {
        world.run(6000).into_iter().filter(|one| one.get("Event") == "presence.winfo").collect()
    };
    // Whom she blocks does not learn it here either.
    world.stand("alice", "bob", Standing::Blocked);
    assert!(winfos(&mut world).iter().all(|one| one.state().starts_with("active;")));
    world.stand("alice", "bob", Standing::Pending);
    assert!(winfos(&mut world).iter().any(|one| one.state() == "terminated;reason=rejected"));
}

#[test]
fn w02_who_waits_too_long_or_is_one_too_many_is_given_up_and_the_owner_hears_it() {
    let mut world = World::new();
    pending(&mut world, "bob", "alice");
    world.run(700_000);
    assert_eq!(world.agent.waiting.len(), 1);
    // The owner watches when the week is over.
    world.pass(winfo::GIVE_UP as u64 - 300_000);
    winfo(&mut world, "alice", "alice");
    assert!(world.run(6000)[0].says("status=\"waiting\""));
    let sent = world.run(200_000);
    assert!(
        sent.iter().any(|one| one.says("event=\"giveup\"") && one.says("status=\"terminated\"")),
        "{sent:?}"
    );
    assert!(world.agent.waiting.is_empty() && world.agent.patience.is_empty());
    // Nobody fills the memory by asking for everybody.
    for n in 0..10_100 {
        let now = world.now();
        world
            .begin("bob", Package::Presence, &format!("x{n}"), Target::Person, Standing::Pending, 0)
            .unwrap();
        world.time = (now.ms - ZERO) as u64 + 30;
        world.run(10);
    }
    let waiting: usize = world.agent.waiting.values().map(Vec::len).sum();
    assert!(waiting == 10_000 && world.agent.patience.len() == 10_000, "{waiting}");
}

#[test]
fn w02_who_comes_back_waits_once() {
    let mut world = World::new();
    for _ in 0..3 {
        pending(&mut world, "bob", "alice");
        world.run(700_000);
    }
    assert_eq!(world.agent.waiting[&aor("alice")].len(), 1);
    pending(&mut world, "bob", "alice");
    assert!(world.agent.waiting.is_empty());
    winfo(&mut world, "alice", "alice");
    let all = world.run(6000);
    let one = all.iter().find(|one| one.get("Event") == "presence.winfo").unwrap();
    assert_eq!(one.body().matches("sip:bob@h").count(), 1, "{}", one.body());
}

#[test]
fn w04_a_refresh_is_whole_and_versions_have_no_gap() {
    let mut world = World::new();
    let mut phone = winfo(&mut world, "alice", "alice");
    world.run(6000);
    let mut sent = Vec::new();
    for watcher in 0..100 {
        pending(&mut world, &format!("w{}", watcher % 18), "alice");
        sent.extend(world.run(10));
        if world.agent.counters().subscriptions > 40 {
            break;
        }
    }
    sent.extend(world.run(60_000));
    sent.retain(|one| one.get("Event") == "presence.winfo");
    world.refresh(&mut phone, 600);
    let whole = world.run(1000);
    let next = sent.len() + 1;
    for (n, one) in sent.iter().enumerate() {
        assert!(one.says(&format!("version=\"{}\"", n + 1)), "{n}: {}", one.body());
    }
    assert!(
        whole[0].says("state=\"full\"") && whole[0].says(&format!("version=\"{next}\"")),
        "{}",
        whole[0].body()
    );
}
