//! What watchers of watchers, lists and rooms are sent, judged by the schemas of the RFCs.

use imcd::presence::conference::{self, Member, Snapshot};
use imcd::presence::rlmi::{self, Dialect, Instance, Resource};
use imcd::presence::winfo::{self, Cause, Status, Watcher};
use imcd::types::Aor;
use proptest::prelude::*;

use super::schema::{PRESENCE, validates, verdict};

const WATCHERINFO: &str = "watcherinfo.xsd";
const RLMI: &str = "rlmi.xsd";
const CONFERENCE: &str = "conference-info.xsd";

/// What people type where a document must not break: markup, controls, what XML has no number for, and much of it.
fn names() -> Vec<String> {
    let odd = [
        "",
        "Bob",
        "\"<&>'",
        "]]>",
        "<!--",
        "&#0;",
        "a\r\n\tb",
        "\0\u{1b}\u{7f}\u{85}\u{fffe}\u{ffff}",
        "日本🙂",
    ];
    odd.iter().map(|name| name.to_string()).chain(["\"<&".repeat(2731)]).collect()
}

fn longest() -> Aor {
    Aor::new(&"&'".repeat(127), &"h".repeat(255)).unwrap()
}

#[test]
fn w03_watchers_are_valid_by_the_schema() {
    let (alice, bob) = (Aor::parse("alice@x").unwrap(), longest());
    let names = names();
    let mut watchers = Vec::new();
    for status in Status::ALL {
        for cause in Cause::ALL {
            let n = watchers.len();
            let name = names.get(n % (names.len() + 1)).map(String::as_str);
            let seconds = [None, Some(0), Some(u32::MAX)][n % 3];
            watchers.push(Watcher {
                uri: &bob,
                id: "a-b.1",
                status,
                cause,
                name,
                expiration: seconds,
                duration: seconds,
            });
        }
    }
    for full in [true, false] {
        validates(&winfo::document(&alice, "presence", u32::MAX, full, &watchers), WATCHERINFO);
        validates(&winfo::document(&bob, "presence", 0, full, &[]), WATCHERINFO);
    }
    let document = String::from_utf8(winfo::document(&alice, "presence", 0, true, &watchers[..1])).unwrap();
    let wrong = document.replace(" event=", " evnt=");
    assert!(verdict(wrong.as_bytes(), WATCHERINFO).is_err(), "the schema judges");
}

/// The root part, which is as long as it says nowhere: it lies between two delimiters.
fn root_of(list: &[Resource<'_>], uri: &str, full: bool) -> Vec<u8> {
    let mut body = Vec::new();
    rlmi::document(uri, 7, full, list, "t0k3n", Dialect::Rfc, &mut body);
    let text = String::from_utf8(body).unwrap();
    let part = text.split("--bt0k3n").nth(1).unwrap();
    part.split_once("\r\n\r\n").unwrap().1.trim_end().as_bytes().to_vec()
}

#[test]
fn l04_lists_are_valid_by_the_schema() {
    let names = names();
    let instances = [
        None,
        Some(Instance::Pending),
        Some(Instance::Terminated("noresource")),
        Some(Instance::Active("application/pidf+xml", b"<presence/>")),
    ];
    let list: Vec<_> = names
        .iter()
        .zip(instances.iter().cycle())
        .map(|(name, instance)| Resource { uri: "sip:bob@x", name: Some(name), id: "1", instance: *instance })
        .collect();
    for full in [true, false] {
        validates(&root_of(&list, "sip:alice+buddies@x", full), RLMI);
        validates(&root_of(&[], "sip:alice+buddies@x", full), RLMI);
    }
    let wrong = String::from_utf8(root_of(&list, "sip:l@x", true))
        .unwrap()
        .replace("state=\"pending\"", "state=\"\"");
    assert!(verdict(wrong.as_bytes(), RLMI).is_err(), "the schema judges");
}

fn room(names: &[String], title: &str, here: bool) -> Snapshot {
    let member = |(n, name): (usize, &String)| Member {
        who: Aor::new(&format!("u{n}&'"), "x").unwrap(),
        name: Some(name.clone()),
        role: ["owner", "admin", "member"][n % 3],
        here: here ^ (n % 2 == 0),
        since: [None, Some(0), Some(1_763_700_000_123), Some(i64::MAX)][n % 4],
        anonymous: (n % 5 == 4).then_some(n as u32),
    };
    Snapshot {
        address: longest(),
        title: Some(title.to_owned()),
        members: names.iter().enumerate().map(member).collect(),
    }
}

#[test]
fn k01_rooms_are_valid_by_the_schema() {
    let names = names();
    for title in &names {
        let (before, after) = (room(&names[2..], "Before", true), room(&names[..7], title, false));
        validates(&conference::full(&after, 0), CONFERENCE);
        validates(&conference::partial(&before, &after, 1).unwrap(), CONFERENCE);
    }
    validates(&conference::full(&room(&[], "", true), 0), CONFERENCE);
    validates(&conference::deleted(&longest(), u32::MAX), CONFERENCE);
    validates(&conference::room_presence(&room(&names, "Room", true)), PRESENCE);
    let document = String::from_utf8(conference::full(&room(&names, "Room", true), 0)).unwrap();
    let wrong = document.replace("<status>connected", "<status>here");
    assert!(verdict(wrong.as_bytes(), CONFERENCE).is_err(), "the schema judges");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Judged by our own reader, which is strict; xmllint would need a process for each.
    #[test]
    fn w06_whatever_a_watcher_is_called_the_document_is_well_formed(
        user in "[a-z&='(),;?/%]{1,255}".prop_map(|user| user.replace('%', "%22")),
        name in prop_oneof![".{0,200}", "[\"<&>\u{0}-\u{1f}\u{fffe}]{0,200}", Just("\"<&".repeat(2731))],
        id in "[!-~]{1,20}",
    ) {
        let Some(who) = Aor::new(&user[..user.len().min(250)], "x") else { return Ok(()) };
        let watcher = Watcher {
            uri: &who,
            id: &id,
            status: Status::Pending,
            cause: Cause::Subscribe,
            name: Some(&name),
            expiration: None,
            duration: None,
        };
        let document = winfo::document(&who, "presence", 0, true, &[watcher]);
        let root = imcd::presence::xml::parse(&document).unwrap();
        let list = root.elements().next().unwrap();
        let read = list.elements().next().unwrap();
        prop_assert_eq!(read.text(), who.uri());
        prop_assert_eq!(read.attribute("id"), Some(id.as_str()));
        prop_assert!(document.len() < 4096, "bounded");
    }
}
