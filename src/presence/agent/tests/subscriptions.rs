//! One watcher, one person (RFC 6665, RFC 3856).

use super::*;

#[test]
fn s02_s03_s04_a_subscription_is_told_at_once_and_then_of_changes() {
    let mut world = World::new();
    world.watch("bob", "alice");
    assert!(world.sent().is_empty(), "the answer goes first");
    let first = &world.run(1000)[..];
    let [first] = first else { panic!("one NOTIFY: {first:?}") };
    assert!(first.text.starts_with("NOTIFY sip:w@127.0.0.1:7 SIP/2.0\r\n"));
    assert_eq!((first.get("Event"), first.state()), ("presence", "active;expires=600"));
    assert_eq!(first.get("Content-Type"), "application/pidf+xml");
    assert!(first.says("<basic>closed</basic>"), "{}", first.body());
    world.pass(5000);
    world.says("alice", "open", "");
    let second = world.run(100);
    assert_eq!(second.len(), 1);
    assert!(second[0].says("<basic>open</basic>"));
    assert!(second[0].cseq() > first.cseq());
}

#[test]
fn s05_the_event_id_comes_back_and_s10_another_one_is_no_subscription() {
    let mut world = World::new();
    let mut phone = world.watch("bob", "alice");
    let slot = world.agent.slots[0].as_mut().unwrap();
    slot.event_id = Some("7".into());
    let sent = world.run(1000);
    assert_eq!(sent[0].get("Event"), "presence;id=7");
    phone.cseq += 1;
    assert_eq!(world.refresh_as(&phone, 600, None, None), Answer::No(No::Unknown));
    assert_eq!(world.refresh_as(&phone, 600, Some("8"), None), Answer::No(No::Unknown));
    assert!(matches!(world.refresh_as(&phone, 600, Some("7"), None), Answer::Subscribed { .. }));
    let stranger = Phone { name: "carol".into(), cseq: 9, ..phone.clone() };
    assert_eq!(world.refresh_as(&stranger, 600, Some("7"), None), Answer::No(No::Unknown));
    assert_eq!(world.refresh_as(&phone, 600, Some("7"), None), Answer::No(No::OutOfOrder));
}

#[test]
fn s08_a_fetch_is_answered_once_and_leaves_nothing() {
    let mut world = World::new();
    world.says("alice", "open", "");
    world.begin("bob", Package::Presence, "alice", Target::Person, Standing::Active, 0).unwrap();
    let sent = world.run(60_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].state(), "terminated;reason=timeout");
    assert!(sent[0].says("<basic>open</basic>"));
    assert_eq!(world.agent.counters().subscriptions, 0);
    world.run(3_600_000);
    world.assert_empty();
}

#[test]
fn s09_an_unsubscription_is_confirmed_once() {
    let mut world = World::new();
    let mut phone = world.watch("bob", "alice");
    world.run(1000);
    assert!(matches!(world.refresh(&mut phone, 0), Answer::Subscribed { seconds: 0, .. }));
    let sent = world.run(10_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].state(), "terminated;reason=timeout");
    assert_eq!(world.refresh(&mut phone, 600), Answer::No(No::Unknown));
    world.assert_empty();
}

#[test]
fn s11_s16_it_ends_when_it_expires_and_a_refresh_makes_it_go_on() {
    let mut world = World::new();
    let mut phone = world.watch("bob", "alice");
    world.run(500_000);
    world.refresh(&mut phone, 600);
    let refreshed = world.run(1000);
    assert_eq!(refreshed[0].state(), "active;expires=600");
    assert!(world.run(598_000).is_empty());
    let sent = world.run(3000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].state(), "terminated;reason=timeout");
    world.assert_empty();
}

#[test]
fn s07_too_brief_is_told_what_would_do() {
    let mut world = World::new();
    let brief = world.begin("bob", Package::Presence, "alice", Target::Person, Standing::Active, 5);
    assert_eq!(brief.err(), Some(No::TooBrief(10)));
    world.assert_empty();
}

#[test]
fn s12_every_answer_that_says_gone_ends_it_and_others_do_not() {
    for status in [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604] {
        let mut world = World::new();
        world.watch("bob", "alice");
        world.pass(100);
        let sent = world.sent();
        world.reply(&sent[0], status);
        world.says("alice", "open", "");
        assert!(world.run(60_000).is_empty(), "{status}");
        assert_eq!(world.agent.counters().subscriptions, 0, "{status}");
    }
    for status in [400, 401, 403, 408, 500, 503, 600, 302] {
        let mut world = World::new();
        world.watch("bob", "alice");
        world.pass(100);
        let sent = world.sent();
        world.reply(&sent[0], status);
        world.pass(5000);
        world.says("alice", "open", "");
        assert_eq!(world.run(10_000).len(), 1, "{status}");
    }
}

#[test]
fn a_phone_that_asks_us_to_come_again_later_is_told_then() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.pass(100);
    let sent = world.sent();
    world.reply_after(&sent[0], 503, Some(30));
    assert!(world.run(29_000).is_empty());
    assert_eq!(world.run(2000).len(), 1);
}

#[test]
fn s13_a_phone_that_is_silent_is_told_for_32_seconds_and_never_again() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.pass(60_000);
    let sent = world.sent();
    assert_eq!(sent.len(), 11);
    assert!(sent.iter().all(|copy| copy.text == sent[0].text));
    world.says("alice", "open", "");
    assert!(world.run(600_000).is_empty());
    assert_eq!(world.agent.counters().lost, 1);
}

#[test]
fn s16_s17_a_hundred_changes_in_a_second_are_two_words_and_the_truth() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.run(10_000);
    let mut etag = world.says("alice", "open", "");
    let mut sent = world.run(1);
    for change in 0..100 {
        let activity = if change % 2 == 0 { "<rpid:away/>" } else { "<rpid:busy/>" };
        let answer = world.publish("alice", Some(etag), Some(600), pidf_of("alice", "open", activity));
        let Answer::Published(Ok(done)) = answer else { panic!("{answer:?}") };
        etag = done.etag;
        sent.extend(world.run(10));
    }
    sent.extend(world.run(4000));
    assert_eq!(sent.len(), 2);
    assert!(sent[0].says("open") && !sent[0].says("busy"));
    assert!(sent[1].says("<rpid:busy/>"), "{}", sent[1].body());
    assert!(world.run(60_000).is_empty());
}

#[test]
fn s16_one_notify_is_open_and_the_latest_state_follows_it() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.pass(100);
    let first = world.sent();
    world.says("alice", "open", "<rpid:away/>");
    world.pass(400);
    world.says("alice", "open", "<rpid:busy/>");
    world.pass(6000);
    let open: std::collections::HashSet<u64> = world.sent().iter().map(|sent| sent.branch.nonce).collect();
    assert_eq!(open, [first[0].branch.nonce].into(), "copies of the first alone");
    world.reply(&first[0], 200);
    let next = world.sent();
    assert_eq!(next.len(), 1);
    assert!(next[0].says("<rpid:busy/>"));
}

#[test]
fn p09_p16_a_refreshed_publication_is_no_news_and_an_expired_one_is() {
    let mut world = World::new();
    world.watch("bob", "alice");
    let etag = world.says("alice", "open", "");
    world.run(10_000);
    let answer = world.publish("alice", Some(etag), Some(20), Body::None);
    assert!(matches!(answer, Answer::Published(Ok(done)) if done.etag != etag && !done.changed));
    assert!(world.run(19_000).is_empty());
    let sent = world.run(2000);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].says("<basic>closed</basic>"));
    assert_eq!(world.states[&aor("alice")], State::Offline);
}

#[test]
fn p10_c04_one_device_goes_and_the_other_stays() {
    let mut world = World::new();
    world.watch("bob", "alice");
    let desk = world.says("alice", "open", "");
    world.says("alice", "open", "<rpid:busy/>");
    world.run(10_000);
    assert_eq!(world.states[&aor("alice")], State::Busy);
    world.publish("alice", Some(desk), Some(0), Body::None);
    let sent = world.run(6000);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].says("<rpid:busy/>"));
    assert_eq!(sent[0].body().matches("<tuple").count(), 1);
}

#[test]
fn a_phone_that_registers_and_publishes_nothing_is_online() {
    let mut world = World::new();
    world.watch("bob", "alice");
    world.run(10_000);
    world.input(Input::Registered { who: aor("alice"), phones: vec!["desk".into()] });
    assert!(world.run(6000)[0].says("<basic>open</basic>"));
    world.input(Input::Registered { who: aor("alice"), phones: Vec::new() });
    assert!(world.run(6000)[0].says("<basic>closed</basic>"));
    let mut strict = World::with(Settings { registered_is_online: false, ..settings() });
    strict.input(Input::Registered { who: aor("alice"), phones: vec!["desk".into()] });
    strict.watch("bob", "alice");
    assert!(strict.run(6000)[0].says("<basic>closed</basic>"));
}

#[test]
fn a_phone_that_says_it_is_closed_is_not_online_because_it_is_registered() {
    let mut world = World::new();
    world.watch("bob", "alice");
    let phones = |keys: &[&str]| Input::Registered {
        who: aor("alice"),
        phones: keys.iter().map(|key| Arc::from(*key)).collect(),
    };
    world.input(phones(&["desk", "sofa"]));
    let closed = |phone: Option<&str>| Put {
        etag: None,
        expires: Some(3600),
        phone: phone.map(Into::into),
        digest: 1,
        body: pidf_of("alice", "closed", ""),
    };
    world.input(Input::Publish { ticket: 1, who: aor("alice"), put: closed(Some("desk")) });
    assert_eq!(world.states[&aor("alice")], State::Online, "the other one says nothing");
    world.input(phones(&["desk"]));
    assert_eq!(world.states[&aor("alice")], State::Offline);
    world.input(phones(&["desk", "sofa"]));
    assert_eq!(world.states[&aor("alice")], State::Online);
    world.input(Input::Publish { ticket: 2, who: aor("alice"), put: Put { digest: 2, ..closed(None) } });
    assert_eq!(
        world.states[&aor("alice")],
        State::Offline,
        "one that came from elsewhere may be the other's"
    );
    world.run(60_000);
}

#[test]
fn what_somebody_says_of_himself_is_asked_for_and_told() {
    let mut world = World::new();
    world.input(Input::Registered { who: aor("alice"), phones: vec!["desk".into()] });
    world.watch("bob", "alice");
    world.run(10_000);
    let manual = Some((State::Away, "lunch".into()));
    world.people.insert(aor("alice"), Person { manual, ..Person::default() });
    world.input(Input::Moved(Source::Person(aor("alice"))));
    let sent = world.run(6000);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].says("<rpid:away/>") && sent[0].says("lunch"), "{}", sent[0].body());
    assert_eq!(world.states[&aor("alice")], State::Away);
}

#[test]
fn what_moves_while_it_is_asked_for_is_asked_for_again_and_nobody_starves() {
    let mut world = World::with(Settings { pace: 0, ..settings() });
    world.watch("bob", "alice");
    world.run(1000);
    world.is_slow = true;
    world.asked.clear();
    let alice = Source::Person(aor("alice"));
    let mut told = 0;
    for note in 0..20 {
        world.input(Input::Moved(alice.clone()));
        world.input(Input::Moved(alice.clone()));
        assert_eq!(world.asked.len(), 1, "one question at a time");
        let manual = Some((State::Away, format!("n{note}").into()));
        world.people.insert(aor("alice"), Person { manual, ..Person::default() });
        // It moves once more before the answer.
        world.input(Input::Moved(alice.clone()));
        world.asked.clear();
        world.tell(alice.clone());
        told += world.run(10).len();
    }
    assert!(told >= 19, "{told}");
    while let Some(source) = world.asked.pop() {
        world.tell(source);
    }
    world.run(1000);
    assert!(world.agent.people[&aor("alice")].own.value.as_ref().unwrap().manual.is_some());
}

#[test]
fn s27_caps_hold_and_leave_nothing() {
    let mut world = World::with(Settings { max: 6, max_per_watcher: 2, max_per_address: 3, ..settings() });
    let begin = |world: &mut World, watcher: &str, who: &str| {
        world.begin(watcher, Package::Presence, who, Target::Person, Standing::Active, 600).map(drop)
    };
    assert_eq!(begin(&mut world, "a", "x"), Ok(()));
    assert_eq!(begin(&mut world, "a", "y"), Ok(()));
    assert_eq!(begin(&mut world, "a", "z"), Err(No::WatcherFull));
    assert_eq!(begin(&mut world, "b", "x"), Ok(()));
    assert_eq!(begin(&mut world, "c", "x"), Ok(()));
    assert_eq!(begin(&mut world, "d", "x"), Err(No::Full));
    assert_eq!(begin(&mut world, "d", "y"), Ok(()));
    assert_eq!(begin(&mut world, "d", "z"), Ok(()));
    assert_eq!(begin(&mut world, "e", "z"), Err(No::Full));
    assert_eq!(world.agent.counters().subscriptions, 6);
}

#[test]
fn s27_publications_have_a_cap_too() {
    let mut world = World::with(Settings { max: 2, ..settings() });
    let etag = world.says("a", "open", "");
    world.says("b", "open", "");
    let full = world.publish("c", None, Some(600), pidf_of("c", "open", ""));
    assert_eq!(full, Answer::No(No::Full));
    assert!(matches!(world.publish("a", Some(etag), Some(0), Body::None), Answer::Published(Ok(_))));
    world.says("c", "open", "");
    assert_eq!(world.agent.people.len(), 2);
}

#[test]
fn s10_a_refresh_that_is_refused_changes_nothing() {
    let ways: Ways = Box::new(|flow, dialog| {
        let to = dialog.next_hop().contains("127.0.0.1").then_some(flow.remote)?;
        let (via, contact) = ("SIP/2.0/UDP us".into(), "<sip:us>".into());
        Some(Way { dest: Dest::Udp { listener: 0, to }, via, contact, stream: None })
    });
    let mut world = World::with(Settings { ways, ..settings() });
    let mut phone = world.watch("bob", "alice");
    world.run(1000);
    let text = world
        .request(&phone, ";tag=t")
        .replace("CSeq: 1", "CSeq: 2")
        .replace("sip:w@127.0.0.1", "sip:w@192.0.2.1");
    let message = Message::scan(text.as_bytes(), Framing::Datagram, &Limits::default()).unwrap();
    let refresh = Refresh {
        id: phone.id.clone(),
        update: Update::of_request(&message).unwrap(),
        flow: World::flow(),
        package: Package::Presence,
        event_id: None,
        watcher: aor("bob"),
        expires: Some(600),
        entries: None,
    };
    world.input(Input::Refresh { ticket: 77, refresh: Box::new(refresh) });
    assert_eq!(world.answers[&77], Answer::No(No::Unreachable));
    world.says("alice", "open", "");
    assert!(world.run(6000)[0].text.starts_with("NOTIFY sip:w@127.0.0.1:7 "));
    // Its CSeq was not taken either.
    assert!(matches!(world.refresh(&mut phone, 600), Answer::Subscribed { .. }));
}

#[test]
fn s26_an_account_that_ends_ends_all_that_hangs_on_it() {
    let mut world = World::new();
    world.says("alice", "open", "<rpid:busy/>");
    world.says("bob", "open", "");
    world.watch("bob", "alice");
    world.watch("alice", "bob");
    world.begin("alice", Package::Winfo, "alice", Target::Person, Standing::Active, 600).unwrap();
    world.begin("alice", Package::Summary, "alice", Target::Person, Standing::Active, 600).unwrap();
    world.begin("alice", Package::Presence, "carol", Target::Person, Standing::Pending, 0).unwrap();
    let entry = |who: &str| Entry {
        uri: format!("sip:{who}@h").into(),
        who: Some(aor(who)),
        name: None,
        is_room: false,
        standing: Standing::Active,
    };
    let list = List::new("sip:rls@h".into(), false, Default::default(), &[entry("alice"), entry("bob")]);
    world
        .begin("bob", Package::Presence, "bob", Target::List(Box::new(list)), Standing::Active, 600)
        .unwrap();
    world.run(10_000);
    world.begin("carol", Package::Winfo, "carol", Target::Person, Standing::Active, 600).unwrap();
    assert!(world.run(6000)[0].says("status=\"waiting\""));
    world.input(Input::Gone(aor("alice")));
    let sent = world.run(10_000);
    let state = |call: &str| sent.iter().find(|one| one.get("Call-ID") == call).unwrap().state().to_owned();
    assert_eq!(state("c1"), "terminated;reason=noresource");
    for (call, reason) in [("c2", "rejected"), ("c3", "rejected"), ("c4", "rejected")] {
        assert_eq!(state(call), format!("terminated;reason={reason}"));
    }
    let list = sent.iter().find(|one| one.get("Call-ID") == "c6").unwrap();
    assert!(list.says("reason=\"noresource\"") && list.says("uri=\"sip:alice@h\"") && !list.says("busy"));
    let owner = sent.iter().find(|one| one.get("Call-ID") == "c7").unwrap();
    assert!(owner.says("status=\"terminated\"") && owner.says("sip:alice@h"), "{}", owner.body());
    assert!(world.agent.waiting.is_empty());
    assert_eq!(world.agent.counters().subscriptions, 2);
    assert_eq!((world.agent.counters().publications, world.agent.people.len()), (1, 1));
    let mut saves = Vec::new();
    world.agent.save(&mut saves);
    assert!(saves.iter().any(
        |save| matches!(save, Save::Publications { who, list } if *who == aor("alice") && list.is_empty())
    ));
}

#[test]
fn s08_a_fetch_of_what_cannot_be_found_out_ends_without_it() {
    let mut world = World::new();
    world.is_slow = true;
    world.begin("bob", Package::Presence, "alice", Target::Person, Standing::Active, 0).unwrap();
    assert!(world.run(29_000).is_empty());
    let sent = world.run(3000);
    assert_eq!((sent.len(), sent[0].state(), sent[0].body()), (1, "terminated;reason=timeout", ""));
    world.assert_empty();
}

#[test]
fn an_old_visit_of_the_wheel_is_forgotten() {
    let mut world = World::new();
    world.begin("bob", Package::Presence, "alice", Target::Person, Standing::Active, 7200).unwrap();
    for change in 0..100 {
        let etag = world.says("alice", "open", if change % 2 == 0 { "<rpid:away/>" } else { "<rpid:busy/>" });
        world.run(6000);
        world.publish("alice", Some(etag), Some(0), Body::None);
        world.run(6000);
    }
    // Each NOTIFY was armed for its Timer E; quiet, one visit in 41 s is left.
    world.run(60_000);
    let mut visits = 0;
    let until = world.time + 400_000;
    while world.time < until {
        let Some(due) = world.agent.due(world.now()) else { break };
        world.time = due.saturating_duration_since(world.start).as_millis() as u64 + 1;
        let (now, mut events) = (world.now(), Vec::new());
        world.agent.poll(now, &mut world.out, &mut events);
        visits += 1;
    }
    assert!(visits <= 12, "{visits}");
}

#[test]
fn a_notify_too_large_for_a_datagram_goes_over_a_stream_where_there_is_one() {
    let stream = || Some(("127.0.0.1:7".parse().unwrap(), Arc::from("SIP/2.0/TCP us")));
    let ways: Ways = Box::new(move |flow, _| {
        Some(Way {
            dest: Dest::Udp { listener: 0, to: flow.remote },
            via: "SIP/2.0/UDP us".into(),
            contact: "<sip:us>".into(),
            stream: stream(),
        })
    });
    let mut world = World::with(Settings { ways, ..settings() });
    world.watch("bob", "alice");
    let note = "x".repeat(200);
    for _ in 0..10 {
        world.says("alice", "open", &format!("<rpid:other>{note}</rpid:other>"));
    }
    world.pass(100);
    let sent = world.sent();
    assert!(sent[0].text.len() > 1300, "{}", sent[0].text);
    assert!(matches!(sent[0].to, Dest::Connect(_)) && sent[0].get("Via").starts_with("SIP/2.0/TCP"));
    // It takes no connections: the same, as a datagram.
    world.input(Input::Failed(sent[0].branch));
    let again = world.sent();
    assert!(matches!(again[0].to, Dest::Udp { .. }) && again[0].get("Via").starts_with("SIP/2.0/UDP"));
    assert_eq!(again[0].cseq(), sent[0].cseq());
}
