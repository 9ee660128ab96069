//! Random interleavings: whatever happens, one NOTIFY is open in a dialog, the last one tells the truth, and in the
//! end nothing is left.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Watch(u8, u8),
    Room(u8),
    Winfo(u8),
    List(u8),
    Refresh(u8, bool),
    Publish(u8, u8),
    Register(u8, bool),
    Stand(u8, u8, u8),
    Members(u8),
    Answer(u16),
    Pass(u16),
    Gone(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4u8, 0..4u8).prop_map(|(watcher, who)| Step::Watch(watcher, who)),
        1 => (0..4u8).prop_map(Step::Room),
        1 => (0..4u8).prop_map(Step::Winfo),
        1 => (0..4u8).prop_map(Step::List),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, ends)| Step::Refresh(which, ends)),
        4 => (0..4u8, 0..4u8).prop_map(|(who, what)| Step::Publish(who, what)),
        1 => (0..4u8, any::<bool>()).prop_map(|(who, is)| Step::Register(who, is)),
        2 => (0..4u8, 0..4u8, 0..4u8).prop_map(|(who, watcher, what)| Step::Stand(who, watcher, what)),
        2 => (0..16u8).prop_map(Step::Members),
        6 => prop_oneof![5 => Just(200u16), 1 => Just(481), 1 => Just(500)].prop_map(Step::Answer),
        4 => (1..8000u16).prop_map(Step::Pass),
        1 => (0..4u8).prop_map(Step::Gone),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

struct Run {
    world: World,
    phones: Vec<Phone>,
    open: Vec<Sent>,
    etags: HashMap<u8, u64>,
    /// The highest CSeq of each dialog.
    cseqs: HashMap<String, u32>,
}

impl Run {
    /// What left is looked at: one open in each dialog, rising CSeqs.
    fn look(&mut self) {
        for sent in self.world.sent() {
            let call = sent.get("Call-ID").to_owned();
            if let Some(same) = self.open.iter().find(|open| open.get("Call-ID") == call) {
                assert_eq!(same.text, sent.text, "a second NOTIFY is open in {call}");
                continue;
            }
            let before = self.cseqs.insert(call, sent.cseq());
            assert!(before.is_none_or(|before| before < sent.cseq()));
            self.open.push(sent);
        }
    }

    fn step(&mut self, step: &Step) {
        let name = |who: &u8| NAMES[usize::from(*who) % 4];
        let world = &mut self.world;
        match step {
            Step::Watch(watcher, who) => {
                let standing = if watcher == who { Standing::Active } else { Standing::Pending };
                let begun =
                    world.begin(name(watcher), Package::Presence, name(who), Target::Person, standing, 60);
                self.phones.extend(begun.ok());
            }
            Step::Room(watcher) => {
                let begun = world.begin(
                    name(watcher),
                    Package::Conference,
                    "team",
                    Target::Room,
                    Standing::Active,
                    60,
                );
                self.phones.extend(begun.ok());
            }
            Step::Winfo(who) => {
                let begun =
                    world.begin(name(who), Package::Winfo, name(who), Target::Person, Standing::Active, 60);
                self.phones.extend(begun.ok());
            }
            Step::List(watcher) => {
                let entry = |who: &&str| Entry {
                    uri: format!("sip:{who}@h").into(),
                    who: Some(aor(who)),
                    name: None,
                    is_room: false,
                    standing: Standing::Active,
                };
                let entries: Vec<Entry> = NAMES.iter().map(entry).collect();
                let target =
                    Target::List(Box::new(List::new("sip:l@h".into(), false, Default::default(), &entries)));
                let begun = world.begin(
                    name(watcher),
                    Package::Presence,
                    name(watcher),
                    target,
                    Standing::Active,
                    60,
                );
                self.phones.extend(begun.ok());
            }
            Step::Refresh(which, ends) if !self.phones.is_empty() => {
                let which = usize::from(*which) % self.phones.len();
                world.refresh(&mut self.phones[which], if *ends { 0 } else { 60 });
            }
            Step::Refresh(..) => {}
            Step::Publish(who, what) => {
                let activity = ["", "<rpid:away/>", "<rpid:busy/>", ""][usize::from(*what) % 4];
                let expires = if *what == 3 { 0 } else { 30 };
                let body = pidf_of(name(who), "open", activity);
                let answer = world.publish(name(who), self.etags.get(who).copied(), Some(expires), body);
                match answer {
                    Answer::Published(Ok(done)) if expires > 0 => drop(self.etags.insert(*who, done.etag)),
                    _ => drop(self.etags.remove(who)),
                }
            }
            Step::Register(who, is) => world.input(Input::Registered {
                who: aor(name(who)),
                phones: is.then(|| "desk".into()).into_iter().collect(),
            }),
            Step::Stand(who, watcher, what) => {
                let standing = [Standing::Active, Standing::Pending, Standing::Blocked, Standing::Rejected]
                    [usize::from(*what)];
                world.stand(name(who), name(watcher), standing);
            }
            Step::Members(0) => {
                world.rooms.clear();
                world.input(Input::Moved(Source::Room(aor("team"))));
            }
            Step::Members(bits) => {
                let members: Vec<(&str, bool)> =
                    (0..4).filter(|n| bits & (1 << n) != 0).map(|n| (NAMES[n], n % 2 == 0)).collect();
                world.rooms.insert(aor("team"), room("team", false, &members));
                world.input(Input::Moved(Source::Room(aor("team"))));
            }
            Step::Answer(status) => {
                if !self.open.is_empty() {
                    let sent = self.open.remove(0);
                    world.reply(&sent, *status);
                }
            }
            Step::Pass(ms) => {
                world.pass((*ms).into());
                // What was not answered for 32 s is not open any more.
                let live: std::collections::HashSet<u64> = world
                    .agent
                    .slots
                    .iter()
                    .flatten()
                    .filter_map(|subscription| subscription.flight.as_ref().map(|flight| flight.nonce))
                    .collect();
                self.look();
                self.open.retain(|sent| live.contains(&sent.branch.nonce));
            }
            Step::Gone(who) => {
                self.etags.remove(who);
                world.input(Input::Gone(aor(name(who))));
            }
            Step::Restart => {
                let (now, mut events) = (self.world.now(), Vec::new());
                let (mut saves, mut out) = (Vec::new(), Outgoing::default());
                for slot in 0..self.world.agent.slots.len() as u32 {
                    if self.world.agent.slots[slot as usize].is_some() {
                        self.world.agent.changed.insert(slot);
                    }
                }
                let published: Vec<Aor> = self.world.agent.people.keys().cloned().collect();
                self.world.agent.republished.extend(published);
                self.world.agent.save(&mut saves);
                self.look();
                self.open.clear();
                self.world.ticket += 1;
                self.world.agent = Agent::new(settings(), now.at, self.world.ticket << 32);
                for save in saves {
                    match save {
                        Save::Publications { who, list } => {
                            for publication in list {
                                self.world.agent.restore(now, Saved::Publication(who.clone(), publication));
                            }
                        }
                        Save::Subscription { row: Some((_, row)), .. } => {
                            self.world.agent.restore(now, Saved::Subscription { key: 0, row });
                        }
                        Save::Subscription { row: None, .. } => {}
                    }
                }
                self.world.agent.restored(now, &mut out, &mut events);
                for (to, bytes, branch) in out.iter() {
                    self.world.out.message(to, branch, |out| out.extend_from_slice(bytes));
                }
                self.world.hear(events);
            }
        }
        self.look();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_end_is_true_and_nothing_is_left(steps in steps()) {
        let mut run = Run {
            world: World::new(),
            phones: Vec::new(),
            open: Vec::new(),
            etags: HashMap::new(),
            cseqs: HashMap::new(),
        };
        run.world.rooms.insert(aor("team"), room("team", false, &[("alice", true)]));
        for step in &steps {
            run.step(step);
        }
        // Everything is answered, and the last that a watcher of alice hears is how she is.
        run.open.clear();
        let mut last: HashMap<String, Sent> = HashMap::new();
        run.world.run(40_000);
        let etag = run.world.says("alice", "open", "<rpid:on-the-phone/>");
        let watching: Vec<String> = run.world.agent.slots.iter().flatten()
            .filter(|known| known.package == Package::Presence && known.address == aor("alice"))
            .filter(|known| known.standing == Standing::Active && matches!(known.target, Target::Person))
            .map(|known| known.dialog.id.call_id.to_string())
            .collect();
        for sent in run.world.run(8000) {
            last.insert(sent.get("Call-ID").to_owned(), sent);
        }
        let state = run.world.states[&aor("alice")].word();
        for call in watching {
            let told = last.get(&call);
            prop_assert!(told.is_some_and(|told| told.says(state) || told.state().starts_with("terminated")), "{call} {told:?}");
        }
        // Time ends it all.
        run.world.publish("alice", Some(etag), Some(0), Body::None);
        for name in NAMES {
            run.world.input(Input::Registered { who: aor(name), phones: Vec::new() });
        }
        run.world.run(200_000);
        run.world.assert_empty();
    }
}
