//! A room as the conference package shows it: who belongs to it, as what, and who is here (RFC 4575).
//!
//! Prevents that a member is shown under an address that he hides, and that a change is told which leaves a subscriber
//! with another room than there is. Never asks who may subscribe.

use std::collections::{HashMap, HashSet};

use super::shown;
use super::xml::{CONFERENCE, PIDF, Writer};
use crate::types::{Aor, UnixMs};

/// Media type of [`full`], [`partial`] and [`deleted`].
pub const MEDIA: &str = "application/conference-info+xml";
/// Members that a document names, the oldest first; `user-count` counts all (RFC 4575 §5.5.1).
pub const USERS_MAX: usize = 1000;

/// A room at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub address: Aor,
    /// `None`: the user part of the address.
    pub title: Option<String>,
    /// In the order of joining. Whoever is only invited is no member.
    pub members: Vec<Member>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub who: Aor,
    pub name: Option<String>,
    /// owner, admin, member.
    pub role: &'static str,
    /// A device of his is connected.
    pub here: bool,
    pub since: Option<UnixMs>,
    /// He hides his address and name: his number among those who do, which he keeps while he belongs (RFC 4575 §5.6).
    pub anonymous: Option<u32>,
}

impl Member {
    /// The key of his element. Compared letter by letter (RFC 4575 §4.5).
    fn entity(&self) -> String {
        match self.anonymous {
            Some(number) => format!("sip:anonymous{number}@anonymous.invalid"),
            None => self.who.uri(),
        }
    }

    fn display_text(&self) -> Option<String> {
        match self.anonymous {
            Some(number) => Some(format!("Anonymous{number}")),
            None => self.name.as_deref().and_then(shown).map(str::to_owned),
        }
    }

    /// All ways to him are one endpoint: how many there are is his affair (RFC 4575 §5.6.6). Who is away still
    /// belongs, but no device of his takes part (§5.7.3).
    fn status(&self) -> &'static str {
        if self.here { "connected" } else { "disconnected" }
    }

    /// RFC 3339, to the second.
    fn since(&self) -> Option<String> {
        let seconds = self.since?.div_euclid(1000);
        jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string())
    }

    /// What a subscriber is told of him.
    fn told(&self) -> (Option<String>, &'static str, &'static str, Option<String>) {
        (self.display_text(), self.role, self.status(), self.since())
    }
}

impl Snapshot {
    fn title(&self) -> &str {
        self.title.as_deref().and_then(shown).unwrap_or(self.address.user())
    }

    fn here(&self) -> usize {
        self.members.iter().filter(|member| member.here).count()
    }

    /// Those who are named, each once.
    fn users(&self) -> Vec<(String, &Member)> {
        let mut seen = HashSet::new();
        let named = self.members.iter().take(USERS_MAX).map(|member| (member.entity(), member));
        named.filter(|(entity, _)| seen.insert(entity.clone())).collect()
    }
}

/// The whole room. `version` rises by one with each document of a subscription (RFC 4575 §5.2).
pub fn full(room: &Snapshot, version: u32) -> Vec<u8> {
    let mut xml = root(&room.address, "full", version);
    description(&mut xml, room);
    state(&mut xml, room);
    xml.open(CONFERENCE, "users").attribute("state", "full");
    for (entity, member) in room.users() {
        user(&mut xml, &entity, member);
    }
    xml.finish()
}

/// What changed from one moment to the next, in a document that makes the one from the other (RFC 4575 §4.6).
/// `None`: nothing that a subscriber is told.
pub fn partial(before: &Snapshot, after: &Snapshot, version: u32) -> Option<Vec<u8>> {
    let (old, new) = (before.users(), after.users());
    let known: HashMap<&str, &Member> =
        old.iter().map(|(entity, member)| (entity.as_str(), *member)).collect();
    let stays: HashSet<&str> = new.iter().map(|(entity, _)| entity.as_str()).collect();
    let left = old.iter().filter(|(entity, _)| !stays.contains(entity.as_str()));
    let left: Vec<&str> = left.map(|(entity, _)| entity.as_str()).collect();
    let changed: Vec<_> = new
        .iter()
        .map(|(entity, member)| (entity, *member, known.get(entity.as_str()).copied()))
        .filter(|(_, member, was)| was.is_none_or(|was| was.told() != member.told()))
        .collect();
    let (retitled, recounted) =
        (before.title() != after.title(), before.members.len() != after.members.len());
    if !retitled && !recounted && left.is_empty() && changed.is_empty() {
        return None;
    }
    let mut xml = root(&after.address, "partial", version);
    if retitled {
        description(&mut xml, after);
    }
    if recounted {
        state(&mut xml, after);
    }
    if !left.is_empty() || !changed.is_empty() {
        xml.open(CONFERENCE, "users").attribute("state", "partial");
        for entity in left {
            xml.open(CONFERENCE, "user").attribute("entity", entity).attribute("state", "deleted").close();
        }
        for (entity, member, was) in changed {
            match was {
                // A name that is gone cannot be said in part.
                Some(was) if was.display_text().is_none() || member.display_text().is_some() => {
                    change(&mut xml, entity, was, member);
                }
                _ => user(&mut xml, entity, member),
            }
        }
    }
    Some(xml.finish())
}

/// The room is no more (RFC 4575 §5.2).
pub fn deleted(address: &Aor, version: u32) -> Vec<u8> {
    root(address, "deleted", version).finish()
}

/// A room as a presentity (spec §6): it is open as long as it is, and says how many belong to it and are here.
pub fn room_presence(room: &Snapshot) -> Vec<u8> {
    let members = room.members.len();
    let note = format!("{members} member{}, {} here", if members == 1 { "" } else { "s" }, room.here());
    let uri = room.address.uri();
    let mut xml = Writer::new(&[PIDF]);
    xml.open(PIDF, "presence").attribute("entity", &uri);
    xml.open(PIDF, "tuple").attribute("id", "room");
    xml.open(PIDF, "status").leaf(PIDF, "basic", "open").close();
    xml.leaf(PIDF, "contact", &uri).leaf(PIDF, "note", &note).close();
    xml.leaf(PIDF, "note", &note);
    xml.finish()
}

fn root(address: &Aor, state: &str, version: u32) -> Writer {
    let mut xml = Writer::new(&[CONFERENCE]);
    xml.open(CONFERENCE, "conference-info").attribute("entity", &address.uri());
    xml.attribute("state", state).attribute("version", &version.to_string());
    xml
}

fn description(xml: &mut Writer, room: &Snapshot) {
    xml.open(CONFERENCE, "conference-description").leaf(CONFERENCE, "display-text", room.title());
    xml.open(CONFERENCE, "conf-uris").open(CONFERENCE, "entry");
    xml.leaf(CONFERENCE, "uri", &room.address.uri()).leaf(CONFERENCE, "purpose", "participation");
    xml.close().close();
    xml.open(CONFERENCE, "available-media").open(CONFERENCE, "entry").attribute("label", "message");
    xml.leaf(CONFERENCE, "type", "message").leaf(CONFERENCE, "status", "sendrecv");
    xml.close().close().close();
}

fn state(xml: &mut Writer, room: &Snapshot) {
    xml.open(CONFERENCE, "conference-state");
    xml.leaf(CONFERENCE, "user-count", &room.members.len().to_string())
        .leaf(CONFERENCE, "active", "true")
        .close();
}

/// All of a member.
fn user(xml: &mut Writer, entity: &str, member: &Member) {
    xml.open(CONFERENCE, "user").attribute("entity", entity).attribute("state", "full");
    if let Some(text) = member.display_text() {
        xml.leaf(CONFERENCE, "display-text", &text);
    }
    role(xml, member);
    endpoint(xml, entity, member);
    xml.close();
}

/// What is new of a member.
fn change(xml: &mut Writer, entity: &str, was: &Member, member: &Member) {
    xml.open(CONFERENCE, "user").attribute("entity", entity).attribute("state", "partial");
    if let Some(text) = member.display_text().filter(|text| was.display_text().as_ref() != Some(text)) {
        xml.leaf(CONFERENCE, "display-text", &text);
    }
    if was.role != member.role {
        role(xml, member);
    }
    if (was.status(), was.since()) != (member.status(), member.since()) {
        endpoint(xml, entity, member);
    }
    xml.close();
}

fn role(xml: &mut Writer, member: &Member) {
    xml.open(CONFERENCE, "roles").leaf(CONFERENCE, "entry", member.role).close();
}

fn endpoint(xml: &mut Writer, entity: &str, member: &Member) {
    xml.open(CONFERENCE, "endpoint").attribute("entity", entity).attribute("state", "full");
    xml.leaf(CONFERENCE, "status", member.status());
    if let Some(since) = member.since() {
        xml.open(CONFERENCE, "joining-info").leaf(CONFERENCE, "when", &since).close();
    }
    xml.close();
}

#[cfg(test)]
#[path = "conference/tests.rs"]
mod tests;
