//! Random chats: whatever is sent, in whatever order, some things stay true.

use std::collections::HashSet;

use imcd::chat::dialect::Dialect;
use imcd::chat::room::Role;
use imcd::types::Aor;
use proptest::prelude::*;

use super::world::{DOMAIN, World};

const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "zoe@other.net"];
const ROOMS: [&str; 2] = ["team", "club"];

fn aor(name: &str) -> Aor {
    Aor::parse(name).unwrap_or_else(|| Aor::new(name, DOMAIN).unwrap())
}

fn body() -> impl Strategy<Value = String> {
    let user = prop::sample::select(&PEOPLE[..]);
    let role = prop::sample::select(&["owner", "admin", "member"][..]);
    let user_word = prop::sample::select(&["invite", "add", "remove"][..]);
    let plain = prop::sample::select(
        &[
            "#create",
            "#create private",
            "#join",
            "#join",
            "#accept",
            "#reject",
            "#leave",
            "#destroy",
            "#members",
            "#rooms",
            "#history",
            "#help",
            "#nonsense",
            "#",
            "hello",
            "##hello",
        ][..],
    );
    prop_oneof![
        4 => plain.prop_map(str::to_owned),
        3 => (user_word, user.clone()).prop_map(|(word, user)| format!("#{word} {user}")),
        2 => (user, role).prop_map(|(user, role)| format!("#modify {user} {role}")),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    prop::collection::vec((0..PEOPLE.len(), 0..ROOMS.len(), body()), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_room_has_one_owner_and_only_members_hear(
        steps in steps(),
        openser in any::<bool>(),
        relay in any::<bool>(),
        member_max in 2usize..6,
    ) {
        let dialect = if openser { Dialect::Openser } else { Dialect::Kamailio };
        let mut world = World::default();
        (world.dialect, world.relay, world.member_max) = (dialect, relay, member_max);
        for (person, room, body) in steps {
            let (who, to) = (aor(PEOPLE[person]), aor(ROOMS[room]));
            let before = world.rooms.get(&to).cloned();
            world.speak(&who, &to, body.as_bytes()).unwrap();
            let heard = world.take_heard();

            for room in world.rooms.values() {
                let owners = room.members.iter().filter(|m| m.role() == Role::Owner).count();
                prop_assert_eq!(owners, 1, "{} after {}: {}", room.address, who, body);
                prop_assert!(room.members.len() <= member_max);
                prop_assert_eq!(room.listed()[0].role(), Role::Owner);
                let names: HashSet<String> = room.members.iter().map(|m| m.who.key()).collect();
                prop_assert_eq!(names.len(), room.members.len());
                for member in &room.members {
                    prop_assert_eq!(member.invited.is_some(), member.role() == Role::Invited);
                }
            }
            let after = world.rooms.get(&to);
            if let (Some(before), Some(after)) = (&before, after) {
                let changed = before.members != after.members;
                prop_assert_eq!(after.version, before.version + u64::from(changed));
            }
            for (listener, from, text) in &heard {
                prop_assert_eq!(from, &to);
                prop_assert!(!text.is_empty());
                if body.trim_start_matches('#') == "hello" && *listener != who {
                    prop_assert!(before.as_ref().is_some_and(|room| room.hears(listener) && room.hears(&who)));
                }
            }
            let own = heard.iter().any(|(listener, _, text)| *listener == who && text.ends_with("hello"));
            prop_assert!(!own || body == "#history", "{} heard his own post", who);
        }
    }
}
