//! What real phones make of real bodies: every one ends up with something that it shows correctly, or the daemon
//! counts and logs that it gave up.

use std::sync::Arc;

use imcd::chat::phones::Takes;
use imcd::chat::shard::Event;
use imcd::config::Prefix;
use imcd::types::{Entry, EntryKind};

use super::judge::Sent;
use super::log::{face, post};
use super::world::*;

/// What becomes of a body on a screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    Well,
    /// Headers, tags, XML, nothing: it answered 200 all the same.
    Badly,
}
use Shown::{Badly, Well};

/// A phone as it was measured: its User-Agent, and how it answers media types. What is not listed is 415.
struct Phone {
    agent: &'static str,
    answers: &'static [(&'static str, u16, Shown)],
    /// Answer to an empty text.
    empty: u16,
}

const PHONES: &[Phone] = &[
    Phone { agent: "baresip v1.0.0 (x86_64/linux)", answers: &[("text/plain", 200, Well)], empty: 200 },
    Phone {
        agent: "baresip v4.10.0 (x86_64/linux)",
        answers: &[("text/plain", 200, Well), ("application/json", 200, Well)],
        empty: 200,
    },
    Phone {
        agent: "Linphonec/5.1.65 (belle-sip/5.1.60)",
        answers: &[
            ("text/plain", 200, Well),
            ("message/cpim", 488, Badly),
            ("multipart/mixed", 200, Well),
            ("application/vnd.gsma.rcs-ft-http+xml", 200, Well),
        ],
        empty: 200,
    },
    Phone {
        agent: "PJSUA v2.17 Linux-6.1/x86_64/glibc-2.36",
        answers: &[
            ("text/plain", 200, Well),
            ("message/cpim", 200, Badly),
            ("text/html", 200, Badly),
            ("application/json", 200, Well),
            ("multipart/mixed", 200, Badly),
            ("multipart/alternative", 200, Badly),
            ("application/vnd.gsma.rcs-ft-http+xml", 200, Badly),
        ],
        empty: 200,
    },
    Phone {
        agent: "Twinkle/1.10.2",
        answers: &[
            ("text/plain", 200, Well),
            ("text/html", 200, Badly),
            ("application/json", 200, Badly),
            ("application/vnd.gsma.rcs-ft-http+xml", 200, Badly),
        ],
        empty: 415,
    },
    Phone {
        agent: "JsSIP 3.10.1",
        answers: &[
            ("text/plain", 200, Well),
            ("message/cpim", 200, Badly),
            ("text/html", 200, Badly),
            ("application/json", 200, Well),
            ("multipart/mixed", 200, Badly),
            ("multipart/alternative", 200, Badly),
            ("application/vnd.gsma.rcs-ft-http+xml", 200, Badly),
        ],
        empty: 200,
    },
];

const FILE: &str = "<file><file-info type=\"file\"><file-size>10</file-size><file-name>a.txt</file-name>\
    <data url=\"https://f.example/a\"/></file-info></file>";

/// Content-Type, body, and a text that a person must see of it; `None`: there is none in it.
const BODIES: &[(Option<&str>, &str, Option<&str>)] = &[
    (None, "hello", Some("hello")),
    (Some("text/plain"), "hello", Some("hello")),
    (Some("text/plain;charset=UTF-8"), "h\u{e4}llo \u{1f600}\nworld", Some("h\u{e4}llo \u{1f600}\nworld")),
    (Some("message/cpim"), "From: <im:a@x>\r\n\r\nContent-Type: text/plain\r\n\r\nhello", Some("hello")),
    (Some("text/html"), "<p>hello</p>", Some("hello")),
    (Some("application/json"), "{\"a\": 1}", Some("{\"a\": 1}")),
    (Some("multipart/mixed;boundary=b"), "--b\r\n\r\nhello\r\n--b--", Some("hello")),
    (Some("multipart/alternative;boundary=b"), "--b\r\n\r\nhello\r\n--b--", Some("hello")),
    (Some("application/vnd.gsma.rcs-ft-http+xml"), FILE, Some("https://f.example/a")),
    (Some("text/plain"), "", Some("")),
    (Some("application/octet-stream"), "\u{1}\u{2}", None),
];

fn bob_with(takes: Takes) -> World {
    let mut world = World::team();
    world.reach(BOB, vec![imcd::chat::render::Contact { takes: Arc::new(takes), ..contact(BOB, "", 5001) }]);
    world
}

fn entry(kind: EntryKind, content_type: Option<&str>, body: &str, at: i64) -> Entry {
    let from = if kind == EntryKind::Direct { face("alice") } else { face("team") };
    Entry { kind, from, content_type: content_type.map(Into::into), ..post(TEAM, ALICE, body, at) }
}

fn media(sent: &Sent) -> String {
    imcd::chat::phones::media(sent.header("Content-Type").unwrap_or_default())
}

#[test]
fn every_phone_ends_up_with_what_it_shows_or_the_daemon_says_that_it_gave_up() {
    for phone in PHONES {
        for kind in [EntryKind::Post, EntryKind::Direct] {
            for (content_type, body, wanted) in BODIES {
                let mut w = bob_with(Takes::new(Some(phone.agent), [], []));
                let case = format!("{} gets {content_type:?} as {kind:?}", phone.agent);
                let seq = w.say(entry(kind, *content_type, body, w.ms()));
                let mut seen = None;
                for _ in 0..3 {
                    let Some(sent) = w.sent.pop() else { break };
                    let (status, shown) =
                        match phone.answers.iter().find(|(known, ..)| *known == media(&sent)) {
                            Some((media, ..)) if *media == "text/plain" && sent.body.is_empty() => {
                                (phone.empty, Well)
                            }
                            Some((_, status, shown)) => (*status, *shown),
                            None => (415, Badly),
                        };
                    w.reply(&sent, status);
                    if status == 200 {
                        seen = Some((shown, sent.body));
                    }
                }
                w.none();
                match seen {
                    Some((shown, text)) => {
                        assert_eq!(shown, Well, "{case}: {text}");
                        let wanted = wanted.unwrap_or_else(|| panic!("{case}: nothing can be shown of it"));
                        assert!(text.contains(wanted), "{case}: {text}");
                        assert!(w.gave_up().is_empty(), "{case}");
                    }
                    None => {
                        assert_eq!(w.gave_up().first().map(|(at, _)| *at), Some(seq), "{case}");
                        assert_eq!(w.counters().gave_up, 1, "{case}");
                        let readable = wanted.is_some_and(|text| !text.is_empty());
                        let json = *content_type == Some("application/json");
                        assert!(!readable || json, "{case}: given up, though there is text in it");
                    }
                }
                // Whatever it was, the next message is not held up.
                w.say(post(TEAM, ALICE, "next", w.ms()));
                assert_eq!(w.take_all(), said(&["next"]), "{case}");
            }
        }
    }
}

#[test]
fn the_authors_name_stands_before_text_that_was_found_in_a_post_and_not_in_a_direct_message() {
    for (kind, shown) in [(EntryKind::Post, "[alice]: hello"), (EntryKind::Direct, "hello")] {
        let mut w = bob_with(Takes::default());
        let mut html = entry(kind, Some("text/html"), "<b>hello</b>", w.ms());
        html.headers = "Subject: s\r\nContent-Disposition: render\r\nMIME-Version: 1.0\r\n".into();
        w.say(html);
        let sent = w.one();
        assert_eq!(sent.body, shown);
        assert_eq!(sent.header("Content-Type"), Some("text/plain;charset=UTF-8"));
        assert_eq!((sent.header("Subject"), sent.header("Content-Disposition")), (Some("s"), None));
    }
}

#[test]
fn who_takes_a_type_gets_it_byte_for_byte() {
    let (_, cpim, _) = BODIES[3];
    let mut w = bob_with(Takes::new(None, ["message/cpim"], []));
    w.say(entry(EntryKind::Post, Some("message/cpim"), cpim, w.ms()));
    let sent = w.one();
    assert_eq!((sent.body.as_str(), sent.header("Content-Type")), (cpim, Some("message/cpim")));
}

#[test]
fn a_refused_type_is_remembered_told_and_not_offered_again() {
    for status in [415, 488] {
        let mut w = bob_with(Takes::default());
        for round in 0..2 {
            w.say(entry(EntryKind::Post, Some("image/svg+xml"), "<svg/>", w.ms()));
            if round == 0 {
                let sent = w.one();
                w.reply(&sent, status);
            }
            w.none();
        }
        assert_eq!(w.counters().gave_up, 2);
        let learned =
            |event: &Event| matches!(event, Event::Learned { refuses, .. } if refuses == "image/svg+xml");
        assert_eq!(w.events.iter().filter(|event| learned(event)).count(), 1, "{:?}", w.events);
    }
}

#[test]
fn a_long_text_that_was_found_goes_in_parts() {
    let mut w = bob_with(Takes::default());
    let long = "word ".repeat(800);
    w.say(entry(EntryKind::Direct, Some("text/html"), &format!("<p>{long}</p>"), w.ms()));
    let parts = w.take_all();
    assert!(parts.len() > 3 && parts[0].starts_with("(1/"), "{parts:?}");
    let whole: String = parts.iter().map(|part| part.split_once(") ").unwrap().1).collect();
    assert_eq!(whole.split_whitespace().count(), 800);
}

#[test]
fn the_time_of_late_text_is_said_where_the_phone_would_not_show_it() {
    let linphone = || Takes::new(Some("Linphone/5.0 (belle-sip/5.0)"), [], []);
    for (prefix, age_s, takes, late) in [
        (Prefix::Never, 3600, Takes::default(), false),
        (Prefix::Auto, 3600, Takes::default(), true),
        (Prefix::Auto, 61, Takes::default(), true),
        (Prefix::Auto, 59, Takes::default(), false),
        (Prefix::Auto, 3600, linphone(), false),
        (Prefix::Always, 3600, linphone(), true),
        (Prefix::Always, 1, Takes::default(), true),
    ] {
        let mut w = World::team();
        w.input(imcd::chat::shard::Input::Prefix(prefix));
        let at = w.ms();
        w.say(entry(EntryKind::Post, None, "early", at));
        w.say(entry(EntryKind::Direct, Some("application/x-odd"), "odd", at));
        w.say(entry(EntryKind::Direct, None, "?OTR:AAMD.", at));
        w.pass_s(age_s);
        let takes = Arc::new(takes);
        w.reach(BOB, vec![imcd::chat::render::Contact { takes, ..contact(BOB, "", 5001) }]);
        w.alice("live");
        let stamp = if late { format!("[Offline message - at {at}] ") } else { String::new() };
        let all =
            [format!("{stamp}[alice]: early"), "odd".into(), "?OTR:AAMD.".into(), "[alice]: live".into()];
        assert_eq!(w.take_all(), all, "{prefix:?} after {age_s} s");
    }
}
