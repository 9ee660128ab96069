//! What may stand in a presence document beside what PIDF itself names: RPID, notes, and what nobody here knows.
//!
//! Prevents that one phone's sloppy document makes the composed one invalid for every watcher: of the vocabularies whose
//! schema watchers have, only what obeys it goes on. Never executes anything, never drops what is merely unknown
//! (RFC 3863 §4.2.3).

use super::State;
use super::xml::{CIPID, DATA_MODEL, Element, Node, PIDF, RPID, XML, XSI};
use crate::types::UnixMs;

/// What the activities say of somebody (RFC 4480 §3.2). Those that are missing here say nothing: working,
/// looking-for-work, other, unknown.
pub const ACTIVITIES: &[(&str, State)] = &[
    ("busy", State::Busy),
    ("meeting", State::Busy),
    ("appointment", State::Busy),
    ("performance", State::Busy),
    ("presentation", State::Busy),
    ("worship", State::Busy),
    ("on-the-phone", State::OnThePhone),
    ("away", State::Away),
    ("meal", State::Away),
    ("breakfast", State::Away),
    ("dinner", State::Away),
    ("steering", State::Away),
    ("in-transit", State::Away),
    ("travel", State::Away),
    ("shopping", State::Away),
    ("spectator", State::Away),
    ("tv", State::Away),
    ("playing", State::Away),
    ("sleeping", State::Away),
    ("vacation", State::ExtendedAway),
    ("holiday", State::ExtendedAway),
    ("permanent-absence", State::ExtendedAway),
];

/// The words that say a state to every watcher. Somebody who looks for `away` alone has to find it too, and Linphone,
/// which shows the last one, is not to say that somebody has moved.
pub fn words(state: State) -> &'static [&'static str] {
    match state {
        State::Offline | State::Online => &[],
        State::ExtendedAway => &["permanent-absence", "away"],
        State::Away => &["away"],
        State::OnThePhone => &["on-the-phone"],
        State::Busy => &["busy"],
    }
}

/// What these activities say together: the greatest. `away` beside one that says how far is not heard.
pub fn state_of(words: &[&str]) -> Option<State> {
    let said = |word: &&str| ACTIVITIES.iter().find(|(known, _)| known == word).map(|(_, state)| *state);
    let far = words.iter().filter_map(said).any(|state| state == State::ExtendedAway);
    words.iter().filter(|word| !(far && **word == "away")).filter_map(said).max()
}

/// Where an element stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Presence,
    Status,
    Tuple,
    Person,
    Device,
}

/// Characters of a note that go on.
const NOTE_MAX: usize = 256;
/// Bytes of a URI that go on.
const URI_MAX: usize = 512;

/// A note (RFC 3863 §4.1.6), clean of what is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Not empty, at most 256 characters.
    pub text: String,
    pub lang: Option<String>,
}

impl Note {
    pub fn of(element: &Element) -> Option<Note> {
        let text = short(&element.text());
        let lang = element.attribute_ns(XML, "lang").filter(|lang| is_lang(lang));
        (!text.is_empty()).then(|| Note { text, lang: lang.map(str::to_owned) })
    }
}

/// A note's text as it goes on: one line, for it is shown in lists and messages too.
pub fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(NOTE_MAX).collect();
    line.trim_end().to_owned()
}

/// RFC 3066 §2.1, as the schemas have it.
fn is_lang(text: &str) -> bool {
    text.split('-').enumerate().all(|(n, part)| {
        (1..=8).contains(&part.len())
            && part.bytes().all(|c| c.is_ascii_alphabetic() || n > 0 && c.is_ascii_digit())
    })
}

/// An absolute URI of characters that need no second thought (RFC 3986 §2), brackets for IPv6 included.
pub fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let bytes = rest.as_bytes();
    let escaped =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    text.len() <= URI_MAX
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
        && !bytes.is_empty()
        && bytes.iter().filter(|c| **c == b'#').count() <= 1
        && bytes.iter().enumerate().all(|(at, c)| match c {
            b'%' => escaped(at),
            c => c.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?#[]".contains(c),
        })
}

/// RFC 3339 with capital T and Z, to the millisecond.
pub fn timestamp(at: UnixMs) -> String {
    let at = jiff::Timestamp::from_millisecond(at.max(0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_string()
}

/// The inverse; what has no offset says no time. Nothing before 1970.
fn moment(text: &str) -> Option<UnixMs> {
    let at = text.trim().parse::<jiff::Timestamp>().ok()?.as_millisecond();
    (at >= 0).then_some(at)
}

/// An element that goes on to the watchers: RPID in its form and where it belongs, what is unknown as it came.
/// `None`: not this one.
pub fn keep(element: &Element, place: Place) -> Option<Element> {
    match element.ns() {
        // Not where any other may stand (RFC 3863 §4.4).
        "" | PIDF => None,
        DATA_MODEL => device_id(element).filter(|_| place == Place::Tuple),
        RPID => rpid(element, place),
        AVATAR => None,
        _ => Some(foreign(element, place == Place::Status)),
    }
}

/// Avatars are ours to tell: see [`super::compose`].
pub const AVATAR: &str = "urn:imcd:avatar";

fn device_id(element: &Element) -> Option<Element> {
    let text = element.text();
    (element.local() == "deviceID" && is_uri(&text)).then(|| leaf(DATA_MODEL, "deviceID", text))
}

fn leaf(ns: &'static str, local: &'static str, text: impl Into<String>) -> Element {
    let mut element = Element::new(ns, local);
    element.children.push(Node::Text(text.into()));
    element
}

/// What is unknown, as it came; without what speaks to validators, and without ids, which are told apart over the
/// whole document. `mustUnderstand` means something in a status alone (RFC 3863 §4.2.3).
fn foreign(element: &Element, in_status: bool) -> Element {
    let mut kept = element.clone();
    scrub(&mut kept, in_status);
    kept
}

fn scrub(element: &mut Element, in_status: bool) {
    element.attributes.retain(|one| match (one.ns(), one.local()) {
        (XSI, _) => false,
        (XML, "lang") => is_lang(&one.value),
        (XML, _) => false,
        (PIDF, name) => {
            in_status && name == "mustUnderstand" && ["0", "1", "true", "false"].contains(&one.value.as_str())
        }
        (DATA_MODEL | RPID, _) => false,
        _ => true,
    });
    element.children.retain(|node| match node {
        Node::Element(child) => ![PIDF, DATA_MODEL, RPID].contains(&child.ns()),
        Node::Text(_) => true,
    });
    for node in &mut element.children {
        if let Node::Element(child) = node {
            scrub(child, in_status);
        }
    }
}

/// How an RPID element is made (RFC 4480 §5.1).
enum Form {
    Token,
    Uri,
    Integer,
    /// `active` or `idle`.
    Input,
    /// Any of these words, `other`, and what is unknown.
    Many(&'static [&'static str]),
    /// One of these words, or what is unknown.
    One(&'static [&'static str]),
    /// Those of these words that are said, in this order.
    Ordered(&'static [&'static str]),
    /// Parts with one word each.
    Parts(&'static [(&'static str, &'static [&'static str])]),
}

const PERSON: u8 = 1;
const TUPLE: u8 = 2;
const DEVICE: u8 = 4;

/// Name, where it may stand, whether it takes `from` and `until`, form (RFC 4480 §3.1, Table 1). Activities are read,
/// not kept: they are said once for the person.
const RPID_ELEMENTS: &[(&str, u8, bool, Form)] = &[
    ("class", PERSON | TUPLE | DEVICE, false, Form::Token),
    ("mood", PERSON, true, Form::Many(MOODS)),
    (
        "place-is",
        PERSON,
        true,
        Form::Parts(&[
            ("audio", &["noisy", "ok", "quiet", "unknown"]),
            ("video", &["toobright", "ok", "dark", "unknown"]),
            ("text", &["uncomfortable", "inappropriate", "ok", "unknown"]),
        ]),
    ),
    ("place-type", PERSON, true, Form::One(&["other"])),
    ("privacy", PERSON | TUPLE, true, Form::Ordered(&["audio", "text", "video"])),
    (
        "relationship",
        TUPLE,
        false,
        Form::One(&["assistant", "associate", "family", "friend", "other", "self", "supervisor", "unknown"]),
    ),
    (
        "service-class",
        TUPLE,
        false,
        Form::One(&["courier", "electronic", "freight", "in-person", "postal", "unknown"]),
    ),
    ("sphere", PERSON, true, Form::One(&["home", "work", "unknown"])),
    ("status-icon", PERSON | TUPLE, true, Form::Uri),
    ("time-offset", PERSON, true, Form::Integer),
    ("user-input", PERSON | TUPLE | DEVICE, false, Form::Input),
];

const MOODS: &[&str] = &[
    "afraid",
    "amazed",
    "angry",
    "annoyed",
    "anxious",
    "ashamed",
    "bored",
    "brave",
    "calm",
    "cold",
    "confused",
    "contented",
    "cranky",
    "curious",
    "depressed",
    "disappointed",
    "disgusted",
    "distracted",
    "embarrassed",
    "excited",
    "flirtatious",
    "frustrated",
    "grumpy",
    "guilty",
    "happy",
    "hot",
    "humbled",
    "humiliated",
    "hungry",
    "hurt",
    "impressed",
    "in_awe",
    "in_love",
    "indignant",
    "interested",
    "invincible",
    "jealous",
    "lonely",
    "mean",
    "moody",
    "nervous",
    "neutral",
    "offended",
    "playful",
    "proud",
    "relieved",
    "remorseful",
    "restless",
    "sad",
    "sarcastic",
    "serious",
    "shocked",
    "shy",
    "sick",
    "sleepy",
    "stressed",
    "surprised",
    "thirsty",
    "worried",
    "other",
];

/// The element anew, in its form. What does not belong to it is left out; `None` if nothing is left.
fn rpid(element: &Element, place: Place) -> Option<Element> {
    let bit = match place {
        Place::Person => PERSON,
        Place::Tuple => TUPLE,
        Place::Device => DEVICE,
        Place::Presence | Place::Status => return None,
    };
    let (name, _, ranged, form) =
        RPID_ELEMENTS.iter().find(|(name, at, ..)| *name == element.local() && at & bit != 0)?;
    let mut kept = Element::new(RPID, name);
    if *ranged {
        for limit in ["from", "until"] {
            if let Some(at) = element.attribute(limit).and_then(moment) {
                kept.set(limit, timestamp(at));
            }
        }
    }
    let text = element.text();
    match form {
        Form::Token => kept.children.push(Node::Text(Some(short(&text)).filter(|token| !token.is_empty())?)),
        Form::Uri => kept.children.push(Node::Text(Some(text).filter(|text| is_uri(text))?)),
        Form::Integer => {
            kept.children.push(Node::Text(text.parse::<i32>().ok()?.to_string()));
            if let Some(description) = element.attribute("description") {
                kept.set("description", short(description));
            }
        }
        Form::Input => {
            kept.children.push(Node::Text(Some(text).filter(|text| text == "active" || text == "idle")?));
            if let Some(seconds) =
                element.attribute("idle-threshold").and_then(|n| n.trim().parse::<u32>().ok())
                && seconds > 0
            {
                kept.set("idle-threshold", seconds.to_string());
            }
            if let Some(at) = element.attribute("last-input").and_then(moment) {
                kept.set("last-input", timestamp(at));
            }
        }
        Form::Many(words) => {
            kept.children.extend(notes(element));
            let all: Vec<Node> = element.elements().filter_map(|one| said(one, words)).collect();
            let few = if all.is_empty() { unknown(element) } else { Vec::new() };
            kept.children.extend(Some([all, few].concat()).filter(|all| !all.is_empty())?);
        }
        Form::One(words) => {
            if *name != "sphere" {
                kept.children.extend(notes(element));
            }
            kept.children.push(element.elements().find_map(|one| said(one, words))?);
        }
        Form::Ordered(words) => {
            kept.children.extend(notes(element));
            let said = words.iter().filter(|word| element.child(RPID, word).is_some());
            let said: Vec<Node> = said.map(|word| Node::Element(Element::new(RPID, word))).collect();
            let few = if said.is_empty() { unknown(element) } else { Vec::new() };
            kept.children.extend(Some([said, few].concat()).filter(|all| !all.is_empty())?);
        }
        Form::Parts(parts) => {
            kept.children.extend(notes(element));
            let before = kept.children.len();
            for (part, words) in *parts {
                let Some(given) = element.child(RPID, part) else { continue };
                let Some(word) = given.elements().find_map(|one| said(one, words)) else { continue };
                let mut made = Element::new(RPID, part);
                made.children.push(word);
                kept.children.push(Node::Element(made));
            }
            if kept.children.len() == before {
                return None;
            }
        }
    }
    Some(kept)
}

fn notes(element: &Element) -> Vec<Node> {
    let notes = element.named(RPID, "note").filter_map(Note::of).take(2);
    notes.map(|note| Node::Element(note_element(RPID, &note))).collect()
}

pub fn note_element(ns: &'static str, note: &Note) -> Element {
    let mut made = leaf(ns, "note", note.text.as_str());
    if let Some(lang) = &note.lang {
        made.set_lang(lang.as_str());
    }
    made
}

fn unknown(element: &Element) -> Vec<Node> {
    let said = element.child(RPID, "unknown").map(|_| Node::Element(Element::new(RPID, "unknown")));
    said.into_iter().collect()
}

/// One of the words, or something from elsewhere.
fn said(one: &Element, words: &'static [&'static str]) -> Option<Node> {
    if one.ns() != RPID {
        return keep(one, Place::Presence).filter(|one| one.ns() != CIPID).map(Node::Element);
    }
    let word = words.iter().find(|word| **word == one.local())?;
    Some(Node::Element(match *word {
        // Its text says what.
        "other" => leaf(RPID, "other", short(&one.text())),
        word => Element::new(RPID, word),
    }))
}

#[cfg(test)]
mod tests;
