//! Rooms before and after: what a subscriber makes of the documents is the room (RFC 4575 §4.6).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::presence::xml::{Element, parse};

fn aor(text: &str) -> Aor {
    Aor::parse(text).unwrap()
}

fn member(who: &str, role: &'static str, here: bool) -> Member {
    Member { who: aor(who), name: None, role, here, since: Some(1_700_000_000_000), anonymous: None }
}

fn room(members: &[Member]) -> Snapshot {
    Snapshot { address: aor("room@x"), title: None, members: members.to_vec() }
}

/// What a subscriber knows: the title, the count, and of each user name, role, status and joining.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Known {
    version: u32,
    title: String,
    count: String,
    users: BTreeMap<String, BTreeMap<String, String>>,
}

impl Known {
    /// The procedure of RFC 4575 §4.6, for the elements that we write.
    fn take(&mut self, document: &[u8]) {
        let root = parse(document).unwrap();
        assert!(root.is(CONFERENCE, "conference-info"));
        let version: u32 = root.attribute("version").unwrap().parse().unwrap();
        let whole = root.attribute("state") != Some("partial");
        assert!(whole || version == self.version + 1, "a gap");
        if whole {
            *self = Known::default();
        }
        self.version = version;
        if let Some(description) = root.child(CONFERENCE, "conference-description") {
            self.title = description.child(CONFERENCE, "display-text").unwrap().text();
        }
        if let Some(state) = root.child(CONFERENCE, "conference-state") {
            self.count = state.child(CONFERENCE, "user-count").unwrap().text();
        }
        let Some(users) = root.child(CONFERENCE, "users") else { return };
        assert_eq!(users.attribute("state"), root.attribute("state"));
        for user in users.elements() {
            let entity = user.attribute("entity").unwrap().to_owned();
            match user.attribute("state").unwrap() {
                "deleted" => {
                    assert!(self.users.remove(&entity).is_some(), "who was not there left: {entity}")
                }
                "full" => {
                    let told = said_of(user);
                    let before = self.users.insert(entity, told);
                    assert!(before.is_none() || !whole, "twice in one document");
                }
                "partial" => self.users.get_mut(&entity).unwrap().extend(said_of(user)),
                other => panic!("{other}"),
            }
        }
    }
}

/// Sub-elements by name. An endpoint replaces the one before as a whole.
fn said_of(user: &Element) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for element in user.elements() {
        let text = match element.local() {
            "display-text" => element.text(),
            "roles" => element.child(CONFERENCE, "entry").unwrap().text(),
            "endpoint" => {
                let when = element
                    .child(CONFERENCE, "joining-info")
                    .map(|info| info.elements().next().unwrap().text());
                format!("{} {when:?}", element.child(CONFERENCE, "status").unwrap().text())
            }
            other => panic!("{other}"),
        };
        told.insert(element.local().to_owned(), text);
    }
    told
}

fn known(documents: &[Vec<u8>]) -> Known {
    let mut known = Known::default();
    documents.iter().for_each(|document| known.take(document));
    known
}

#[test]
fn k01_a_whole_room_has_its_description_and_its_users() {
    let text = String::from_utf8(full(&room(&[member("ann@x", "owner", true)]), 0)).unwrap();
    assert_eq!(
        text.lines().nth(1).unwrap(),
        "<conference-info xmlns=\"urn:ietf:params:xml:ns:conference-info\" entity=\"sip:room@x\" state=\"full\" \
         version=\"0\"><conference-description><display-text>room</display-text><conf-uris><entry>\
         <uri>sip:room@x</uri><purpose>participation</purpose></entry></conf-uris><available-media>\
         <entry label=\"message\"><type>message</type><status>sendrecv</status></entry></available-media>\
         </conference-description><conference-state><user-count>1</user-count><active>true</active>\
         </conference-state><users state=\"full\"><user entity=\"sip:ann@x\" state=\"full\"><roles>\
         <entry>owner</entry></roles><endpoint entity=\"sip:ann@x\" state=\"full\"><status>connected</status>\
         <joining-info><when>2023-11-14T22:13:20Z</when></joining-info></endpoint></user></users>\
         </conference-info>"
    );
}

#[test]
fn k01_k02_who_joins_leaves_and_changes_is_told_and_nobody_else() {
    let before = room(&[
        member("ann@x", "owner", true),
        member("bob@x", "member", true),
        member("eve@x", "member", true),
    ]);
    let after = room(&[
        member("ann@x", "owner", true),
        member("bob@x", "admin", true),
        member("carl@x", "member", false),
    ]);
    let told = String::from_utf8(partial(&before, &after, 4).unwrap()).unwrap();
    assert!(told.contains("<user entity=\"sip:eve@x\" state=\"deleted\"/>"), "{told}");
    assert!(
        told.contains(
            "<user entity=\"sip:bob@x\" state=\"partial\"><roles><entry>admin</entry></roles></user>"
        )
    );
    assert!(
        told.contains("<user entity=\"sip:carl@x\" state=\"full\">") && told.contains("disconnected"),
        "{told}"
    );
    assert!(
        !told.contains("ann@x") && !told.contains("user-count") && !told.contains("description"),
        "{told}"
    );
    assert_eq!(known(&[full(&before, 3), told.into_bytes()]), known(&[full(&after, 4)]));
}

#[test]
fn k01_nothing_new_is_no_document() {
    let mut one = room(&[member("ann@x", "owner", true)]);
    assert_eq!(partial(&one, &one.clone(), 1), None);
    let before = one.clone();
    one.title = Some("Room".into());
    let told = String::from_utf8(partial(&before, &one, 1).unwrap()).unwrap();
    assert!(told.contains("<display-text>Room</display-text>") && !told.contains("<users"), "{told}");
}

/// A row of the subscriber's table is known by its letters: another spelling is somebody new.
#[test]
fn another_spelling_of_an_address_leaves_no_ghost() {
    let (before, after) = (room(&[member("ann@x", "owner", true)]), room(&[member("Ann@x", "owner", true)]));
    let told = partial(&before, &after, 1).unwrap();
    assert_eq!(known(&[full(&before, 0), told]), known(&[full(&after, 1)]));
}

#[test]
fn k02_an_anonymous_member_shows_nothing_of_himself() {
    let mut secret = member("whistleblower@example.org", "member", true);
    (secret.name, secret.anonymous) = (Some("Edward".into()), Some(2));
    let before = room(&[member("ann@x", "owner", true)]);
    let after = room(&[member("ann@x", "owner", true), secret]);
    for document in
        [full(&after, 0), partial(&before, &after, 1).unwrap(), partial(&after, &before, 1).unwrap()]
    {
        let text = String::from_utf8(document).unwrap();
        assert!(text.contains("sip:anonymous2@anonymous.invalid"), "{text}");
        assert!(
            !text.contains("whistle") && !text.contains("example.org") && !text.contains("Edward"),
            "{text}"
        );
    }
}

#[test]
fn a_large_room_is_counted_whole_and_named_in_part() {
    let members: Vec<Member> =
        (0..USERS_MAX + 5).map(|n| member(&format!("u{n}@x"), "member", n % 2 == 0)).collect();
    let text = String::from_utf8(full(&room(&members), 0)).unwrap();
    assert!(text.contains("<user-count>1005</user-count>") && text.contains("sip:u999@x"));
    assert_eq!((text.matches("<user ").count(), text.contains("sip:u1000@x")), (USERS_MAX, false));
}

#[test]
fn k04_a_room_that_is_no_more_says_so() {
    let root = parse(&deleted(&aor("room@x"), 9)).unwrap();
    assert_eq!((root.attribute("state"), root.attribute("version")), (Some("deleted"), Some("9")));
    assert_eq!(root.elements().count(), 0);
}

#[test]
fn a_room_is_open_and_says_who_is_here() {
    let text = |members: &[Member]| String::from_utf8(room_presence(&room(members))).unwrap();
    let two = text(&[member("ann@x", "owner", true), member("bob@x", "member", false)]);
    assert!(two.contains("<basic>open</basic>") && two.contains("entity=\"sip:room@x\""), "{two}");
    assert_eq!(two.matches("<note>2 members, 1 here</note>").count(), 2);
    assert!(text(&[member("ann@x", "owner", false)]).contains("<note>1 member, 0 here</note>"));
    assert!(text(&[]).contains("<note>0 members, 0 here</note>"));
}

fn any_name() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof!["[\"<&>'\\]a]{0,9}", ".{0,40}", Just("\0\u{b}\u{fffe}".to_owned())])
}

prop_compose! {
    fn any_member()(
        n in 0u8..6, upper in any::<bool>(), name in any_name(), role in 0usize..3, here in any::<bool>(),
        since in proptest::option::of(prop_oneof![any::<i64>(), 0i64..4_000_000_000_000]),
        hides in proptest::bool::weighted(0.2),
    ) -> Member {
        let letter = char::from(b'a' + n);
        let letter = if upper { letter.to_ascii_uppercase() } else { letter };
        let role = ["owner", "admin", "member"][role];
        let anonymous = hides.then_some(u32::from(n));
        Member { who: aor(&format!("{letter}&'$@x")), name, role, here, since, anonymous }
    }
}

prop_compose! {
    fn any_room()(title in any_name(), members in proptest::collection::vec(any_member(), 0..7)) -> Snapshot {
        Snapshot { address: aor("room@x"), title, members }
    }
}

proptest! {
    #[test]
    fn k01_what_came_before_and_the_change_are_what_is_now(rooms in proptest::collection::vec(any_room(), 1..6)) {
        let mut told = vec![full(&rooms[0], 0)];
        for pair in rooms.windows(2) {
            let version = told.len() as u32;
            match partial(&pair[0], &pair[1], version) {
                Some(document) => told.push(document),
                None => prop_assert_eq!(known(&[full(&pair[0], 0)]), known(&[full(&pair[1], 0)])),
            }
        }
        let last = full(&rooms[rooms.len() - 1], told.len() as u32 - 1);
        prop_assert_eq!(known(&told), known(&[last]));
    }
}
