//! Random lives of rooms against a model that is too simple to be wrong.

use super::*;

/// What a member ought to hear, told in the simplest way: every entry is put into every ear that is open.
#[derive(Default, Debug)]
struct Model {
    rooms: std::collections::HashMap<String, ModelRoom>,
    ears: std::collections::HashMap<String, Vec<String>>,
}

#[derive(Default, Debug)]
struct ModelRoom {
    version: u64,
    /// Name, and whether he is only invited.
    listed: Vec<(String, bool)>,
}

#[derive(Clone, Debug)]
enum Deed {
    Create(usize, usize),
    Admit(usize, usize, bool),
    Accept(usize, usize),
    Drop(usize, usize, bool),
    Destroy(usize),
    Post(usize, usize),
    Direct(usize, usize),
    Restart,
    Sweep,
}

const ROOMS: [&str; 3] = ["red", "green", "blue"];
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn deeds() -> impl proptest::strategy::Strategy<Value = Vec<Deed>> {
    use proptest::prelude::*;
    let (r, p) = (0..ROOMS.len(), 0..PEOPLE.len());
    let deed = prop_oneof![
        3 => (r.clone(), p.clone()).prop_map(|(r, p)| Deed::Create(r, p)),
        6 => (r.clone(), p.clone(), any::<bool>()).prop_map(|(r, p, i)| Deed::Admit(r, p, i)),
        3 => (r.clone(), p.clone()).prop_map(|(r, p)| Deed::Accept(r, p)),
        4 => (r.clone(), p.clone(), any::<bool>()).prop_map(|(r, p, h)| Deed::Drop(r, p, h)),
        1 => r.clone().prop_map(Deed::Destroy),
        12 => (r, p.clone()).prop_map(|(r, p)| Deed::Post(r, p)),
        3 => (p.clone(), p).prop_map(|(a, b)| Deed::Direct(a, b)),
        1 => Just(Deed::Restart),
        1 => Just(Deed::Sweep),
    ];
    proptest::collection::vec(deed, 1..60)
}

impl Model {
    /// Does it in the model; returns the commit that says the same, if it is possible at all.
    fn act(&mut self, deed: &Deed, n: usize) -> Option<Commit> {
        let text = format!("{n}");
        if let Deed::Direct(from, to) = deed {
            self.ears.entry(PEOPLE[*to].into()).or_default().push(text.clone());
            return Some(Commit {
                entries: vec![direct(PEOPLE[*to], PEOPLE[*from], &text)],
                ..Commit::default()
            });
        }
        let (r, p) = match *deed {
            Deed::Create(r, p) | Deed::Admit(r, p, _) | Deed::Accept(r, p) | Deed::Drop(r, p, _) => (r, p),
            Deed::Post(r, p) => (r, p),
            Deed::Destroy(r) => (r, 0),
            _ => return None,
        };
        let (name, who) = (ROOMS[r], PEOPLE[p]);
        let room = self.rooms.entry(name.into()).or_default();
        let exists = !room.listed.is_empty();
        let place = room.listed.iter().position(|(listed, _)| listed == who);
        let hears = |listed: &[(String, bool)]| -> Vec<String> {
            listed.iter().filter(|(_, invited)| !invited).map(|(who, _)| who.clone()).collect()
        };
        let version = if exists { room.version } else { 0 };
        let before = hears(&room.listed);
        let mut ears = None;
        let changes = match *deed {
            Deed::Create(..) if !exists => {
                room.listed.push((who.into(), false));
                vec![RoomChange::Create { private: false }, admit(who, member_flag::OWNER)]
            }
            Deed::Admit(_, _, invited) if exists && place.is_none() => {
                room.listed.push((who.into(), invited));
                vec![admit(who, if invited { member_flag::INVITED } else { 0 })]
            }
            Deed::Accept(..) if place.is_some_and(|place| room.listed[place].1) => {
                room.listed[place?].1 = false;
                vec![RoomChange::SetFlags { who: aor(who), flags: 0 }]
            }
            Deed::Drop(_, _, last) if place.is_some() && room.listed.len() > 1 => {
                room.listed.remove(place?);
                ears = last.then_some(before);
                vec![RoomChange::Drop { who: aor(who), hears: last }]
            }
            Deed::Destroy(_) if exists => {
                room.listed.clear();
                ears = Some(before);
                vec![RoomChange::Destroy]
            }
            Deed::Post(..) if exists => vec![],
            _ => return None,
        };
        if !changes.is_empty() {
            room.version += 1;
        }
        // The end of a room is the last state of that version.
        if room.listed.is_empty() {
            room.version -= 1;
        }
        for ear in ears.unwrap_or_else(|| hears(&room.listed)) {
            self.ears.entry(ear).or_default().push(text.clone());
        }
        Some(step(name, version, changes, vec![post(who, &text)]))
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

    #[test]
    fn everybody_hears_what_the_simple_model_says(deeds in deeds(), limit in 1usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (dir, mut store) = fresh();
            let mut model = Model::default();
            for (n, deed) in deeds.iter().enumerate() {
                match deed {
                    Deed::Restart => {
                        drop(store);
                        store = Store::open(options(dir.path())).unwrap();
                    }
                    Deed::Sweep => store.sweep(i64::MAX),
                    deed => {
                        if let Some(commit) = model.act(deed, n) {
                            done(&store, commit).await;
                        }
                    }
                }
                for (name, expected) in &model.rooms {
                    let found = store.room(&aor(name)).unwrap().map(|room| room.read().unwrap().clone());
                    let found: Vec<(String, bool)> = found.into_iter().flat_map(|room| {
                        assert_eq!(room.version, expected.version, "{name}");
                        room.members
                    }).map(|m| (m.who.user().to_owned(), m.flags & member_flag::INVITED != 0)).collect();
                    assert_eq!(found, expected.listed);
                }
            }
            for who in PEOPLE {
                let expected = model.ears.get(who).cloned().unwrap_or_default();
                if store.account(&aor(who)).unwrap().is_some() {
                    assert_eq!(heard_after(&store, who, Seq(0), limit), expected, "{who}");
                } else {
                    assert!(expected.is_empty());
                }
            }
        });
    }
}
