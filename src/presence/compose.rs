//! One true document of a person, from what his devices publish, what he says himself, and whether he is registered
//! (RFC 3856 §6.9, RFC 4480 §4).
//!
//! Prevents that watchers get as many persons as there are phones, and that a phone which looks at the first basic
//! state, or for the letters `<rpid:busy/>`, sees another state than the rest. Never says that somebody is there when
//! nobody is, never tells those who may see nothing more than [`offline`] does.
//!
//! # The state
//!
//! The greatest of the open devices, by the order of [`State`]. Registered without an open device: online. What he says
//! himself (`#status`) takes the place of plain online, and counts as one more device otherwise: busy on the phone stays
//! above away by hand. Offline by hand is offline.
//!
//! # The avatar
//!
//! `<avatar xmlns="urn:imcd:avatar" sha1="…"/>` in the person: the SHA-1 of the image in hexadecimal digits, so that a
//! watcher fetches an image once. Devices cannot publish one.

use std::cmp::Reverse;

use super::State;
use super::extension::{self, AVATAR, Note, short, timestamp};
use super::pidf::{Device, Published, Tuple};
use super::xml::{CIPID, DATA_MODEL, Element, LINPHONE_ONLINE, PIDF, RPID, Writer};
use crate::types::{Aor, UnixMs};

/// Bytes of a composed document: it fits a datagram.
pub const WHOLE_MAX: usize = 60_000;
/// What is left out of one that is too large, step by step.
const STEPS: &[Step] = &[
    Step { extensions: true, notes: true, tuples: usize::MAX },
    Step { extensions: false, notes: true, tuples: usize::MAX },
    Step { extensions: false, notes: true, tuples: 32 },
    Step { extensions: false, notes: false, tuples: 8 },
];
/// Of the person, from all devices.
const EXTENSIONS_MAX: usize = 64;
const NOTES_MAX: usize = 4;

/// One publication.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Of letters a-z and digits, unique and the same as long as the publication lives.
    pub id: &'a str,
    pub published: &'a Published,
    /// When it last changed.
    pub at: UnixMs,
}

/// All that is known of somebody.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    pub who: &'a Aor,
    /// Oldest first.
    pub sources: &'a [Source<'a>],
    /// Some device is registered: somebody can be reached without any publication.
    pub registered: bool,
    /// What he says himself, and his words to it.
    pub manual: Option<(State, &'a str)>,
    /// When he was last there, if others may know. Not told while he is offline by hand.
    pub last_seen: Option<UnixMs>,
    /// SHA-1 of his image, hexadecimal.
    pub avatar: Option<&'a str>,
    /// When any of this last changed. Rises from document to document (RFC 3863 §4.1.7).
    pub changed: UnixMs,
}

/// What watchers are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Composed {
    pub state: State,
    /// His own words to it.
    pub note: Option<String>,
    /// `application/pidf+xml`.
    pub body: Vec<u8>,
}

/// The document of somebody of whom nothing is known: what those see who may see nothing.
pub fn offline(who: &Aor) -> Vec<u8> {
    let nothing = Whole {
        who,
        sources: &[],
        registered: false,
        manual: None,
        last_seen: None,
        avatar: None,
        changed: 0,
    };
    compose(&nothing).body
}

/// The state alone, without the document that says it.
pub fn state(whole: &Whole<'_>) -> State {
    judge(whole).state
}

pub fn compose(whole: &Whole<'_>) -> Composed {
    let verdict = judge(whole);
    let mut body = Vec::new();
    for step in STEPS {
        body = write(whole, &verdict, step);
        if body.len() <= WHOLE_MAX {
            break;
        }
    }
    Composed { state: verdict.state, note: verdict.note.map(|note| note.text), body }
}

struct Step {
    extensions: bool,
    notes: bool,
    tuples: usize,
}

struct Verdict<'a> {
    state: State,
    note: Option<Note>,
    /// The device whose state it is, or would be if he said nothing himself.
    winner: Option<&'a Source<'a>>,
    by_hand: bool,
}

fn speaking<'a>(whole: &Whole<'a>) -> impl DoubleEndedIterator<Item = &'a Source<'a>> {
    whole.sources.iter().filter(|source| !source.published.closed())
}

fn judge<'a>(whole: &Whole<'a>) -> Verdict<'a> {
    let words = whole.manual.map(|(_, words)| short(words)).filter(|words| !words.is_empty());
    let words = words.map(|text| Note { text, lang: None });
    let there = whole.registered || whole.sources.iter().any(|source| source.published.open);
    if !there || whole.manual.is_some_and(|(state, _)| state == State::Offline) {
        return Verdict { state: State::Offline, note: words, winner: None, by_hand: whole.manual.is_some() };
    }
    // Of equals the last: the newest.
    let winner = speaking(whole).max_by_key(|source| source.published.state);
    let device = winner.map_or(State::Offline, |source| source.published.state);
    let device = if device == State::Offline { State::Online } else { device };
    let (state, by_hand) = match whole.manual {
        Some((manual, _)) if device == State::Online || manual > device => (manual, true),
        _ => (device, false),
    };
    let of_winner = winner.and_then(|source| source.published.note.clone());
    let of_others = || speaking(whole).rev().find_map(|source| source.published.note.clone());
    let note = if by_hand { words.or(of_winner) } else { of_winner.or(words) };
    Verdict { state, note: note.or_else(of_others), winner, by_hand }
}

fn write(whole: &Whole<'_>, verdict: &Verdict<'_>, step: &Step) -> Vec<u8> {
    let mut out = Writer::new(&[PIDF, DATA_MODEL, RPID]);
    out.open(PIDF, "presence").attribute("entity", &whole.who.uri());
    if verdict.state == State::Offline {
        closed_tuple(&mut out, whole, verdict);
    } else {
        tuples(&mut out, whole, verdict, step);
        if step.notes {
            presence_notes(&mut out, whole, verdict);
        }
    }
    person(&mut out, whole, verdict, step);
    if verdict.state != State::Offline && step.extensions {
        devices(&mut out, whole);
        extensions(&mut out, whole);
    }
    out.finish()
}

/// Of the account itself: its id has no dot, those of devices have one.
fn account_tuple(out: &mut Writer, who: &Aor, open: bool) {
    out.open(PIDF, "tuple").attribute("id", "account");
    out.open(PIDF, "status").leaf(PIDF, "basic", if open { "open" } else { "closed" }).close();
    out.leaf(PIDF, "contact", &who.uri());
}

/// Nothing in it tells when it was made: it is the same for all who are offline and say nothing.
fn closed_tuple(out: &mut Writer, whole: &Whole<'_>, verdict: &Verdict<'_>) {
    account_tuple(out, whole.who, false);
    if let Some(note) = &verdict.note {
        out.leaf(PIDF, "note", &note.text);
    }
    if let Some(at) = whole.last_seen.filter(|_| whole.manual.is_none_or(|(state, _)| state.is_open())) {
        let at = timestamp(at - at.rem_euclid(60_000)).replace('T', " ");
        out.leaf(PIDF, "note", &format!("last seen {} UTC", at.trim_end_matches(":00Z")));
    }
    out.close();
}

/// The most important first: phones look at the first basic state.
fn tuples(out: &mut Writer, whole: &Whole<'_>, verdict: &Verdict<'_>, step: &Step) {
    let mut all: Vec<(&Source<'_>, &Tuple)> = Vec::new();
    for source in whole.sources {
        all.extend(source.published.tuples.iter().map(|tuple| (source, tuple)));
    }
    all.sort_by_key(|(source, tuple)| {
        let priority = tuple.contact.as_ref().and_then(|contact| contact.priority);
        Reverse((tuple.open == Some(true), source.published.state, priority, source.at))
    });
    let mut room = step.tuples;
    if all.first().is_none_or(|(_, tuple)| tuple.open != Some(true)) {
        account_tuple(out, whole.who, true);
        out.leaf(PIDF, "timestamp", &timestamp(whole.changed)).close();
        room -= 1;
    }
    for (source, tuple) in all.into_iter().take(room) {
        if out.written() > WHOLE_MAX {
            return;
        }
        write_tuple(out, source, tuple, verdict.state, step);
    }
}

fn write_tuple(out: &mut Writer, source: &Source<'_>, tuple: &Tuple, state: State, step: &Step) {
    // Linphone takes this for the state of all, over what the activities say.
    let fits = |one: &&Element| state == State::Online || one.ns() != LINPHONE_ONLINE;
    let status: Vec<&Element> = tuple.status.iter().filter(|_| step.extensions).filter(fits).collect();
    if tuple.open.is_none() && status.is_empty() {
        return;
    }
    out.open(PIDF, "tuple").attribute("id", &format!("t{}.{}", source.id, tuple.id));
    out.open(PIDF, "status");
    if let Some(open) = tuple.open {
        out.leaf(PIDF, "basic", if open { "open" } else { "closed" });
    }
    status.into_iter().for_each(|one| {
        out.element(one);
    });
    out.close();
    if step.extensions {
        all_of(out, &tuple.extensions);
    }
    if let Some(contact) = &tuple.contact {
        out.open(PIDF, "contact");
        if let Some(priority) = contact.priority {
            out.attribute("priority", &decimal(priority));
        }
        out.text(&contact.uri).close();
    }
    if step.notes {
        tuple.notes.iter().for_each(|note| write_note(out, PIDF, note));
    }
    out.leaf(PIDF, "timestamp", &timestamp(source.at)).close();
}

/// Thousandths as RFC 3863 §4.1.5 has them.
fn decimal(thousandths: u16) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn write_note(out: &mut Writer, ns: &'static str, note: &Note) {
    out.open(ns, "note");
    if let Some(lang) = &note.lang {
        out.attribute_ns(super::xml::XML, "lang", lang);
    }
    out.text(&note.text).close();
}

fn all_of(out: &mut Writer, elements: &[Element]) {
    for one in elements {
        if out.written() > WHOLE_MAX {
            return;
        }
        out.element(one);
    }
}

/// What devices say of the presentity, unless it is said of the person anyway.
fn presence_notes(out: &mut Writer, whole: &Whole<'_>, verdict: &Verdict<'_>) {
    let mut notes: Vec<&Note> = verdict.note.iter().collect();
    let said = notes.len();
    for note in speaking(whole).rev().flat_map(|source| &source.published.notes) {
        if !notes.contains(&note) && notes.len() < said + NOTES_MAX {
            notes.push(note);
        }
    }
    notes.into_iter().skip(said).for_each(|note| write_note(out, PIDF, note));
}

/// One person for all devices (RFC 4479 §3.1), or none if there is nothing to say of him.
fn person(out: &mut Writer, whole: &Whole<'_>, verdict: &Verdict<'_>, step: &Step) {
    let there = verdict.state != State::Offline;
    let (words, further) = activities(whole, verdict);
    let extensions = if there && step.extensions { person_extensions(whole, verdict) } else { Vec::new() };
    let notes = person_notes(verdict, step);
    if words.is_empty() && extensions.is_empty() && notes.is_empty() && whole.avatar.is_none() {
        return;
    }
    out.open(DATA_MODEL, "person").attribute("id", "person");
    if !words.is_empty() {
        out.open(RPID, "activities");
        for word in words {
            out.empty(RPID, word);
        }
        if step.extensions {
            all_of(out, further);
        }
        out.close();
    }
    for one in extensions {
        if out.written() > WHOLE_MAX {
            break;
        }
        out.element(one);
    }
    if let Some(sha1) = whole.avatar {
        out.open(AVATAR, "avatar").attribute("sha1", sha1).close();
    }
    notes.into_iter().for_each(|note| write_note(out, DATA_MODEL, note));
    if there {
        out.leaf(DATA_MODEL, "timestamp", &timestamp(whole.changed));
    }
    out.close();
}

/// The words of the state, then what the devices that are in it say more closely.
fn activities<'a>(whole: &Whole<'a>, verdict: &Verdict<'a>) -> (Vec<&'static str>, &'a [Element]) {
    let mut words = extension::words(verdict.state).to_vec();
    if words.is_empty() || verdict.by_hand {
        return (words, &[]);
    }
    let same = speaking(whole).filter(|source| source.published.state == verdict.state);
    for word in same.flat_map(|source| &source.published.person.activities) {
        if extension::state_of(&[word]) == Some(verdict.state) && !words.contains(word) {
            words.push(word);
        }
    }
    (words, verdict.winner.map_or(&[], |source| &source.published.person.further))
}

/// Of the winner first, then of the others, the newest first. RPID without `from` and `until`, and contact data, once
/// each (RFC 4480 §5).
fn person_extensions<'a>(whole: &Whole<'a>, verdict: &Verdict<'a>) -> Vec<&'a Element> {
    let mut all: Vec<&Element> = Vec::new();
    for source in verdict.winner.into_iter().chain(speaking(whole).rev()) {
        for one in &source.published.person.extensions {
            let ranged = one.attribute("from").or(one.attribute("until")).is_some();
            let once = [RPID, CIPID].contains(&one.ns()) && !ranged;
            let again = |known: &&Element| *known == one || once && known.is(one.ns(), one.local());
            if all.len() < EXTENSIONS_MAX && !all.iter().any(again) {
                all.push(one);
            }
        }
    }
    all
}

/// The note, and what the same device says in other languages.
fn person_notes<'a>(verdict: &'a Verdict<'a>, step: &Step) -> Vec<&'a Note> {
    let mut notes: Vec<&Note> = verdict.note.iter().collect();
    let of_winner = verdict.winner.map_or(&[][..], |source| &source.published.person.notes);
    if step.notes && of_winner.first() == verdict.note.as_ref() {
        notes.extend(of_winner.iter().skip(1).take(NOTES_MAX - 1));
    }
    notes
}

/// Each device once, as published last (RFC 4479 §3.3).
fn devices(out: &mut Writer, whole: &Whole<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for source in speaking(whole).rev() {
        for (n, device) in source.published.devices.iter().enumerate() {
            if !seen.contains(&device.device_id.as_str()) && out.written() <= WHOLE_MAX {
                seen.push(&device.device_id);
                write_device(out, source, n, device);
            }
        }
    }
}

fn write_device(out: &mut Writer, source: &Source<'_>, n: usize, device: &Device) {
    out.open(DATA_MODEL, "device").attribute("id", &format!("d{}.{n}", source.id));
    all_of(out, &device.extensions);
    out.leaf(DATA_MODEL, "deviceID", &device.device_id);
    device.notes.iter().for_each(|note| write_note(out, DATA_MODEL, note));
    out.leaf(DATA_MODEL, "timestamp", &timestamp(source.at)).close();
}

fn extensions(out: &mut Writer, whole: &Whole<'_>) {
    let mut seen: Vec<&Element> = Vec::new();
    for one in speaking(whole).rev().flat_map(|source| &source.published.extensions) {
        if seen.len() < EXTENSIONS_MAX && !seen.contains(&one) && out.written() <= WHOLE_MAX {
            seen.push(one);
            out.element(one);
        }
    }
}

#[cfg(test)]
mod tests;
