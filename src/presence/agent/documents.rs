//! What a NOTIFY says: the document of each package, whole or what has changed.
//!
//! Prevents that a watcher sees more than he may: a list asks for each person on it what the subscription of one
//! would ask (RFC 4662 §7.2). Never sends.

use std::sync::Arc;

use super::subscription::{Document, Entry, Reason, Shown, Target};
use super::{Agent, Event, RoomNow, Source, Want};
use crate::presence::conference;
use crate::presence::package::Package;
use crate::presence::publication::tag;
use crate::presence::{Standing, compose, rlmi, summary, winfo};
use crate::types::Aor;

/// A document, or why there is none.
pub(super) enum Made {
    Document(Document),
    /// It is told without one.
    Empty,
    /// There is nothing new.
    Nothing,
    /// Something was asked for.
    Wait,
}

/// Bytes of what a list says of its people in one datagram, which holds less than 65508 in all; the others follow in the
/// next. And of what surrounds each.
const LIST_MAX: usize = 40_000;
const LINE: usize = 300;

/// What an entry that has no state to show has been shown as.
const SHOWN: u64 = 1;

impl Agent {
    /// The next document of a subscription, which counts as told.
    pub(super) fn document(&mut self, slot: u32, events: &mut Vec<Event>) -> Made {
        let Some(subscription) = self.slot(slot) else { return Made::Nothing };
        let (package, address) = (subscription.package, subscription.address.clone());
        let (full, ending) = (subscription.full || subscription.ending.is_some(), subscription.ending);
        let version = subscription.version;
        let made = match (package, ending) {
            (Package::Conference, Some(Reason::NoResource)) => {
                bare(package, conference::deleted(&address, version))
            }
            (_, Some(Reason::Rejected | Reason::NoResource | Reason::Deactivated)) => Made::Empty,
            (Package::Presence, _) => match subscription.target {
                Target::Person => self.person(slot, &address, full, events),
                Target::Room => self.room_presence(slot, &address, full, events),
                Target::List(_) => self.list(slot, &address, full, events),
            },
            (Package::Winfo, _) => self.winfo(slot, &address, full),
            (Package::Conference, _) => self.conference(slot, &address, full, events),
            (Package::Summary, _) => self.summary(slot, &address, full, events),
        };
        let counts = matches!(made, Made::Document(_));
        if let Some(subscription) = self.slot(slot)
            && counts
        {
            subscription.version = version.wrapping_add(1);
        }
        made
    }

    /// Marks what a subscription has been told; false: it knows already.
    fn is_news(&mut self, slot: u32, generation: u64, full: bool) -> bool {
        let Some(subscription) = self.slot(slot) else { return false };
        let news = full || subscription.seen != generation;
        subscription.seen = generation;
        news
    }

    fn person(&mut self, slot: u32, who: &Aor, full: bool, events: &mut Vec<Event>) -> Made {
        match self.slot(slot).map(|subscription| subscription.standing) {
            Some(Standing::Active) => {
                let Some((generation, body)) = self.document_of(who, events) else { return Made::Wait };
                match self.is_news(slot, generation, full) {
                    true => Made::Document((Package::Presence.row().media.into(), body)),
                    false => Made::Nothing,
                }
            }
            Some(Standing::Blocked) if full => bare(Package::Presence, compose::offline(who)),
            Some(Standing::Pending | Standing::Rejected) if full => Made::Empty,
            _ => Made::Nothing,
        }
    }

    // ── rooms ────────────────────────────────────────────────────────────────────────────────────────────

    /// What is known of a room; `None`: it is asked for. A room that does not exist has an empty one.
    fn room(&mut self, room: &Aor, events: &mut Vec<Event>) -> Option<(u64, Option<Arc<RoomNow>>)> {
        let known = self.rooms.entry(room.clone()).or_default();
        match known.want() {
            Want::Ready => Some((known.generation, known.value.clone().flatten())),
            Want::Wait => None,
            Want::Ask => {
                events.push(Event::Ask(Source::Room(room.clone())));
                None
            }
        }
    }

    fn room_presence(&mut self, slot: u32, room: &Aor, full: bool, events: &mut Vec<Event>) -> Made {
        match self.room(room, events) {
            None => Made::Wait,
            Some((generation, snapshot)) => {
                let Some(snapshot) = self.may_see(slot, snapshot) else { return Made::Empty };
                match self.is_news(slot, generation, full) {
                    true => bare(Package::Presence, conference::room_presence(&snapshot.shown)),
                    false => Made::Nothing,
                }
            }
        }
    }

    /// The room, if there is one and its watcher may see it: he may have been judged just before it changed, and have
    /// come in just after. Else his subscription ends.
    fn may_see(&mut self, slot: u32, room: Option<Arc<RoomNow>>) -> Option<Arc<RoomNow>> {
        let subscription = self.slot(slot)?;
        if let Some(reason) = subscription.why_not(room.as_deref()) {
            subscription.ending = Some(subscription.ending.unwrap_or(reason));
            return None;
        }
        room
    }

    fn conference(&mut self, slot: u32, room: &Aor, full: bool, events: &mut Vec<Event>) -> Made {
        let Some((generation, snapshot)) = self.room(room, events) else { return Made::Wait };
        let Some(after) = self.may_see(slot, snapshot) else { return Made::Empty };
        let Some(subscription) = self.slot(slot) else { return Made::Nothing };
        subscription.seen = generation;
        let version = subscription.version;
        let body = match std::mem::replace(&mut subscription.shown, Shown::Room(after.clone())) {
            Shown::Room(before) if !full => conference::partial(&before.shown, &after.shown, version),
            _ => Some(conference::full(&after.shown, version)),
        };
        body.map_or(Made::Nothing, |body| bare(Package::Conference, body))
    }

    // ── waiting texts ────────────────────────────────────────────────────────────────────────────────────

    fn summary(&mut self, slot: u32, who: &Aor, full: bool, events: &mut Vec<Event>) -> Made {
        let known = self.mails.entry(who.clone()).or_default();
        match known.want() {
            Want::Ask => {
                events.push(Event::Ask(Source::Mail(who.clone())));
                Made::Wait
            }
            Want::Wait => Made::Wait,
            Want::Ready => {
                let (generation, (new, old)) = (known.generation, known.value.unwrap_or_default());
                match self.is_news(slot, generation, full) {
                    true => bare(Package::Summary, summary::body(who, new, old)),
                    false => Made::Nothing,
                }
            }
        }
    }

    // ── watchers ─────────────────────────────────────────────────────────────────────────────────────────

    fn winfo(&mut self, slot: u32, who: &Aor, full: bool) -> Made {
        let Some(subscription) = self.slot(slot) else { return Made::Nothing };
        let (version, seer) = (subscription.version, subscription.watcher.clone());
        let changes = match std::mem::replace(&mut subscription.shown, Shown::Watchers(Vec::new())) {
            Shown::Watchers(changes) => changes,
            _ => Vec::new(),
        };
        let changes = if full { self.all_watchers(who) } else { changes };
        // Somebody else than the owner sees himself alone (RFC 3857 §4.6).
        let seen: Vec<_> =
            changes.into_iter().filter(|(_, watcher, ..)| seer == *who || *watcher == seer).collect();
        if seen.is_empty() && !full {
            return Made::Nothing;
        }
        let ids: Vec<String> = seen.iter().map(|(uid, ..)| format!("w{}", tag(*uid))).collect();
        let watchers: Vec<winfo::Watcher<'_>> = std::iter::zip(&ids, &seen)
            .map(|(id, (_, watcher, status, cause))| winfo::Watcher {
                uri: watcher,
                id,
                status: *status,
                cause: *cause,
                name: None,
                expiration: None,
                duration: None,
            })
            .collect();
        bare(Package::Winfo, winfo::document(who, Package::Presence.row().name, version, full, &watchers))
    }

    fn all_watchers(&mut self, who: &Aor) -> Vec<(u64, Aor, winfo::Status, winfo::Cause)> {
        let mut all = Vec::new();
        for slot in self.watching(Package::Presence, who) {
            let Some(subscription) = self.slot(slot) else { continue };
            if subscription.ending.is_some() {
                continue;
            }
            let standing = match &subscription.target {
                Target::Person => Some(subscription.standing),
                Target::Room => None,
                Target::List(list) => {
                    let known = list.entries.iter().find(|known| known.entry.who.as_ref() == Some(who));
                    known.map(|known| known.entry.standing)
                }
            };
            if let Some(standing) = standing {
                let status = winfo::first(standing);
                all.push((subscription.uid, subscription.watcher.clone(), status, winfo::Cause::Subscribe));
            }
        }
        let waiting = self.waiting.get(who).into_iter().flatten();
        all.extend(waiting.map(|waiting| {
            (waiting.uid, waiting.who.clone(), winfo::Status::Waiting, winfo::Cause::Timeout)
        }));
        all
    }

    // ── lists ────────────────────────────────────────────────────────────────────────────────────────────

    fn list(&mut self, slot: u32, address: &Aor, full: bool, events: &mut Vec<Event>) -> Made {
        let Some(subscription) = self.slots.get(slot as usize).and_then(Option::as_ref) else {
            return Made::Nothing;
        };
        let Target::List(list) = &subscription.target else { return Made::Nothing };
        let (version, kept, watcher) = (subscription.version, list.is_kept, subscription.watcher.clone());
        let (uri, dialect, entries) = (list.uri.clone(), list.dialect, list.entries.clone());
        let mut room = if subscription.way.is_datagram() { LIST_MAX } else { usize::MAX };
        if kept {
            match self.lists.entry(address.clone()).or_default().want() {
                Want::Ready => {}
                Want::Wait => return Made::Wait,
                Want::Ask => {
                    events.push(Event::Ask(Source::List(address.clone())));
                    return Made::Wait;
                }
            }
        }
        let mut shown = Vec::with_capacity(entries.len());
        for listed in &entries {
            shown.push(self.listed(&listed.entry, &watcher, events));
        }
        // All of them are asked for before anybody waits.
        let Some(shown) = shown.into_iter().collect::<Option<Vec<_>>>() else { return Made::Wait };
        let media = Package::Presence.row().media;
        let mut resources = Vec::new();
        // What has been seen of each after this.
        let mut seen: Vec<u64> = entries.iter().map(|listed| listed.seen).collect();
        let mut more = false;
        for ((listed, (generation, instance)), seen) in entries
            .iter()
            .zip(&shown)
            .zip(&mut seen)
            .filter(|((listed, (now, _)), _)| full || listed.seen != *now)
        {
            let size = LINE + if let Instance::Active(body) = instance { body.len() } else { 0 };
            let fits = size <= room;
            // Whoever says more than any list can hold is shown without it: he does not take it from the others.
            let never = size > LIST_MAX && !fits;
            (*seen, more) = (if fits || never { *generation } else { 0 }, more || !(fits || never));
            room -= if fits { size } else { 0 };
            if !(fits || never || full) {
                continue;
            }
            resources.push(rlmi::Resource {
                uri: &listed.entry.uri,
                name: listed.entry.name.as_deref(),
                id: "1",
                instance: fits.then_some(match instance {
                    Instance::Active(body) => rlmi::Instance::Active(media, body),
                    Instance::Pending => rlmi::Instance::Pending,
                    Instance::Terminated(reason) => rlmi::Instance::Terminated(reason.text()),
                }),
            });
        }
        if resources.is_empty() && !full {
            return Made::Nothing;
        }
        let token = tag(self.nonce());
        let mut body = Vec::new();
        let kind = rlmi::document(&uri, version, full, &resources, &token, dialect, &mut body);
        if let Some(subscription) = self.slot(slot) {
            subscription.more = more;
            if let Target::List(list) = &mut subscription.target {
                list.entries.iter_mut().zip(seen).for_each(|(listed, seen)| listed.seen = seen);
            }
        }
        Made::Document((kind.into(), body.into()))
    }

    /// What is shown of somebody on a list, and its generation; `None`: it was asked for.
    fn listed(&mut self, entry: &Entry, watcher: &Aor, events: &mut Vec<Event>) -> Option<(u64, Instance)> {
        let Some(who) = &entry.who else { return Some((SHOWN, Instance::Terminated(Reason::NoResource))) };
        match (entry.standing, entry.is_room) {
            (Standing::Active, false) => {
                self.document_of(who, events).map(|(generation, body)| (generation, Instance::Active(body)))
            }
            (Standing::Active, true) => self.room(who, events).map(|(generation, room)| match room {
                Some(room) if !room.is_open_to(watcher) => {
                    (generation, Instance::Terminated(Reason::Rejected))
                }
                Some(room) => (generation, Instance::Active(conference::room_presence(&room.shown).into())),
                None => (generation, Instance::Terminated(Reason::NoResource)),
            }),
            (Standing::Blocked, _) => Some((SHOWN, Instance::Active(compose::offline(who).into()))),
            (Standing::Pending, _) => Some((SHOWN, Instance::Pending)),
            (Standing::Rejected, _) => Some((SHOWN, Instance::Terminated(Reason::Rejected))),
        }
    }
}

/// What a list says of somebody on it.
enum Instance {
    Active(Arc<[u8]>),
    Pending,
    Terminated(Reason),
}

fn bare(package: Package, body: Vec<u8>) -> Made {
    Made::Document((package.row().media.into(), body.into()))
}
