//! Subscriptions that begin, are refreshed, may see more or less, and end (RFC 6665 §4.2).
//!
//! Prevents that a subscription leaves anything behind: whatever adds one to an index has its counterpart in
//! [`Agent::remove`].

use std::time::Duration;

use super::people::ends;
use super::subscription::{Listed, New, Reason, Refresh, Shown, Subscription, Target};
use super::{Agent, Answer, Entry, Event, No, Now, Outgoing, RoomNow};
use crate::presence::Standing;
use crate::presence::package::Package;
use crate::presence::winfo;
use crate::sip::dialog::DialogId;
use crate::types::Aor;

/// The first NOTIFY lets the answer to the SUBSCRIBE go first: some phones know the dialog from it alone.
const AFTER_ANSWER: Duration = Duration::from_millis(20);

impl Agent {
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        new: New,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) -> Answer {
        let seconds = match self.settings.subscriptions.grant(new.expires) {
            Ok(seconds) => seconds,
            Err(min) => return Answer::No(No::TooBrief(min)),
        };
        let Some(way) = (self.settings.ways)(&new.flow, &new.dialog) else {
            return Answer::No(No::Unreachable);
        };
        let watched = self.watches.get(&(new.package, new.address.clone())).map_or(0, Vec::len);
        let watching = self.watchers.get(&new.watcher).map_or(0, |load| load.dialogs);
        if watching >= self.settings.max_per_watcher || new.target.size() > self.listable(&new.watcher, 0) {
            return Answer::No(No::WatcherFull);
        }
        if watched >= self.settings.max_per_address || self.slots.len() - self.free.len() >= self.settings.max
        {
            return Answer::No(No::Full);
        }
        let (contact, is_list) = (way.contact.clone(), matches!(new.target, Target::List(_)));
        if new.package == Package::Presence {
            // Whom he waited for he asks anew.
            self.waits_no_more(now, &new.address, &new.watcher, winfo::Cause::Giveup, out, events);
        }
        let expires_at = now.ms + i64::from(seconds) * 1000;
        let subscription = Subscription {
            // One that ends at once is a question (RFC 6665 §4.4.3).
            ending: (seconds == 0).then_some(Reason::Timeout),
            hold: now.at + AFTER_ANSWER,
            ..Subscription::new(self.nonce(), new, way, expires_at, now.at)
        };
        if subscription.package == Package::Summary {
            self.unlight(&subscription.address.clone(), &subscription.flow.clone());
        }
        let slot = self.enter(subscription);
        self.changed.insert(slot);
        self.watcher_changed(now, slot, winfo::Cause::Subscribe, out, events);
        self.pump(now, slot, out, events);
        Answer::Subscribed { seconds, contact, is_list }
    }

    /// Puts a subscription into all indexes.
    pub(super) fn enter(&mut self, subscription: Subscription) -> u32 {
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        let (package, address) = (subscription.package, subscription.address.clone());
        self.dialogs.insert(self.key_of(&subscription.dialog.id), slot);
        let size = subscription.target.size();
        let load = self.watchers.entry(subscription.watcher.clone()).or_default();
        (load.dialogs, load.listed, self.listed) = (load.dialogs + 1, load.listed + size, self.listed + size);
        self.hold(package, &address, &subscription.target);
        for one in addresses(&subscription) {
            self.watches.entry((package, one)).or_default().push(slot);
        }
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = Some(subscription),
            None => self.slots.push(Some(subscription)),
        }
        slot
    }

    /// Takes a subscription out of all indexes.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(subscription) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.free.push(slot);
        self.changed.remove(&slot);
        let key = self.key_of(&subscription.dialog.id);
        if self.dialogs.get(&key) == Some(&slot) {
            self.dialogs.remove(&key);
        }
        if subscription.lamp.is_none() {
            self.gone.push(key);
        }
        let size = subscription.target.size();
        if let Some(load) = self.watchers.get_mut(&subscription.watcher) {
            (load.dialogs, load.listed, self.listed) =
                (load.dialogs - 1, load.listed - size, self.listed - size);
            if load.dialogs == 0 {
                self.watchers.remove(&subscription.watcher);
            }
        }
        for one in addresses(&subscription) {
            self.unwatch(subscription.package, &one, slot);
            self.let_go(&one);
        }
    }

    fn unwatch(&mut self, package: Package, address: &Aor, slot: u32) {
        let key = (package, address.clone());
        if let Some(slots) = self.watches.get_mut(&key) {
            slots.retain(|known| *known != slot);
            if slots.is_empty() {
                self.watches.remove(&key);
            }
        }
    }

    /// What a dialog is found by, and the name of its row.
    pub(super) fn key_of(&self, id: &DialogId) -> u64 {
        let origin = self.settings.ids.origin(&[
            id.call_id.as_bytes(),
            id.local_tag.as_bytes(),
            id.remote_tag.as_bytes(),
        ]);
        u64::from_be_bytes(std::array::from_fn(|at| origin[at]))
    }

    pub(super) fn refresh(
        &mut self,
        now: Now,
        refresh: Refresh,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) -> Answer {
        const NO: Answer = Answer::No(No::Unknown);
        let key = self.key_of(&refresh.id);
        let Some(slot) = self.dialogs.get(&key).copied() else { return NO };
        let lives = self.settings.subscriptions;
        let Some(subscription) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return NO;
        };
        // A watcher is told nothing about the subscriptions of others (RFC 6665 §4.2.1.4).
        let same = subscription.dialog.id == refresh.id
            && subscription.package == refresh.package
            && subscription.event_id == refresh.event_id
            && subscription.watcher == refresh.watcher
            && subscription.lamp.is_none();
        if !same || subscription.ending.is_some() {
            return NO;
        }
        let seconds = match lives.grant(refresh.expires) {
            Ok(seconds) => seconds,
            Err(min) => return Answer::No(No::TooBrief(min)),
        };
        // A refresh that is refused changes nothing.
        let mut dialog = subscription.dialog.clone();
        if !dialog.take(refresh.update) {
            return Answer::No(No::OutOfOrder);
        }
        let Some(way) = (self.settings.ways)(&refresh.flow, &dialog) else {
            return Answer::No(No::Unreachable);
        };
        let (own, more) = (subscription.target.size(), refresh.entries.as_ref().map_or(0, Vec::len));
        let watcher = subscription.watcher.clone();
        if more > own && more > self.listable(&watcher, own) {
            return Answer::No(No::WatcherFull);
        }
        let Some(subscription) = self.slot(slot) else { return NO };
        let (contact, is_list) = (way.contact.clone(), matches!(subscription.target, Target::List(_)));
        (subscription.way, subscription.flow, subscription.dialog) = (way, refresh.flow, dialog);
        subscription.expires_at = now.ms + i64::from(seconds) * 1000;
        if seconds == 0 {
            subscription.ending = Some(Reason::Timeout);
        }
        (subscription.owed, subscription.full) = (true, true);
        (subscription.hold, subscription.not_before) = (now.at + AFTER_ANSWER, now.at);
        // A list that we keep is what its owner made it.
        let is_kept = matches!(&subscription.target, Target::List(list) if list.is_kept);
        self.changed.insert(slot);
        if let Some(entries) = refresh.entries.filter(|_| !is_kept) {
            self.relist(slot, &entries);
        }
        self.pump(now, slot, out, events);
        Answer::Subscribed { seconds, contact, is_list }
    }

    // ── who may see what ─────────────────────────────────────────────────────────────────────────────────

    pub(super) fn stand(
        &mut self,
        now: Now,
        presentity: &Aor,
        watcher: &Aor,
        standing: Standing,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let cause = match standing {
            Standing::Active => winfo::Cause::Approved,
            Standing::Rejected => winfo::Cause::Rejected,
            Standing::Pending | Standing::Blocked => winfo::Cause::Subscribe,
        };
        self.waits_no_more(now, presentity, watcher, cause, out, events);
        for slot in self.watching(Package::Presence, presentity) {
            let Some(subscription) = self.slot(slot).filter(|known| known.watcher == *watcher) else {
                continue;
            };
            match &mut subscription.target {
                Target::List(list) => {
                    let listed =
                        list.entries.iter_mut().filter(|known| known.entry.who.as_ref() == Some(presentity));
                    for known in listed {
                        (known.entry.standing, known.seen) = (standing, 0);
                    }
                }
                _ if subscription.standing == standing => continue,
                _ => {
                    subscription.standing = standing;
                    subscription.full = true;
                    if standing == Standing::Rejected {
                        subscription.ending = Some(Reason::Rejected);
                    }
                }
            }
            subscription.owed = true;
            // A decision is told at once.
            subscription.not_before = now.at;
            self.changed.insert(slot);
            self.watcher_changed(now, slot, cause, out, events);
            self.pump(now, slot, out, events);
        }
        // A watcher of watchers who is not the owner sees himself as long as he may see the owner (RFC 3857 §4.6), or
        // is to believe it.
        if matches!(standing, Standing::Pending | Standing::Rejected) {
            for slot in self.watching(Package::Winfo, presentity) {
                let other = |known: &&mut Subscription| known.watcher == *watcher && watcher != presentity;
                if let Some(subscription) = self.slot(slot).filter(other) {
                    subscription.ending = Some(Reason::Rejected);
                    self.pump(now, slot, out, events);
                }
            }
        }
    }

    /// Those who watch a room and may not any more are told so; all, when it is gone (RFC 4575 §4.6).
    pub(super) fn room_told(&mut self, room: &Aor, now: Option<&RoomNow>) {
        for package in [Package::Conference, Package::Presence] {
            for slot in self.watching(package, room) {
                if let Some(subscription) = self.slot(slot)
                    && matches!(subscription.target, Target::Room)
                    && let Some(reason) = subscription.why_not(now)
                {
                    subscription.ending = Some(reason);
                }
            }
        }
    }

    /// A list has other people on it.
    pub(super) fn relist(&mut self, slot: u32, entries: &[Entry]) {
        let Some(subscription) = self.slot(slot) else { return };
        let (package, address) = (subscription.package, subscription.address.clone());
        let Target::List(list) = &subscription.target else { return };
        let own = list.entries.len();
        let watcher = subscription.watcher.clone();
        // A roster that grows beyond what its owner may watch is cut.
        let entries = &entries[..entries.len().min(self.listable(&watcher, own))];
        if let Some(load) = self.watchers.get_mut(&watcher) {
            load.listed = load.listed + entries.len() - own;
            self.listed = self.listed + entries.len() - own;
        }
        let Some(subscription) = self.slot(slot) else { return };
        let Target::List(list) = &mut subscription.target else { return };
        let before: Vec<Aor> = list.entries.iter().filter_map(|known| known.entry.who.clone()).collect();
        // Those who are gone are gone from a full document only (RFC 4662 §5.2).
        subscription.full |= list.set(entries);
        self.changed.insert(slot);
        for who in before.iter().filter(|who| **who != address) {
            self.unwatch(package, who, slot);
        }
        for who in
            distinct(entries.iter().filter_map(|entry| entry.who.as_ref())).filter(|who| *who != address)
        {
            self.watches.entry((package, who)).or_default().push(slot);
        }
        for who in before {
            self.let_go(&who);
        }
    }

    /// How many entries `watcher` may have on a list that has `own` now.
    fn listable(&self, watcher: &Aor, own: usize) -> usize {
        let his = self.watchers.get(watcher).map_or(0, |load| load.listed) - own;
        let (most, most_of_all) = (self.settings.max_per_watcher * LISTED, self.settings.max * LISTED);
        most.saturating_sub(his).min(most_of_all.saturating_sub(self.listed - own))
    }

    /// An account is no more: whoever watches it is told so, and what it watches and publishes ends.
    pub(super) fn gone(&mut self, now: Now, who: &Aor, out: &mut Outgoing, events: &mut Vec<Event>) {
        // All are marked before anything is sent: what ends hears nothing more of the others.
        let mut concerned = Vec::new();
        for slot in 0..self.slots.len() as u32 {
            let Some(subscription) = self.slot(slot) else { continue };
            let is_his = |entry: &Entry| entry.who.as_ref() == Some(who);
            let reason = match &subscription.target {
                _ if subscription.watcher == *who => Reason::Rejected,
                Target::Person if subscription.address == *who => Reason::NoResource,
                Target::List(list) if list.entries.iter().any(|known| is_his(&known.entry)) => {
                    let mut entries: Vec<Entry> =
                        list.entries.iter().map(|known| known.entry.clone()).collect();
                    entries.iter_mut().filter(|entry| is_his(entry)).for_each(|entry| entry.who = None);
                    subscription.owed = true;
                    self.relist(slot, &entries);
                    concerned.push(slot);
                    continue;
                }
                _ => continue,
            };
            subscription.ending = Some(subscription.ending.unwrap_or(reason));
            concerned.push(slot);
        }
        for slot in concerned {
            self.pump(now, slot, out, events);
        }
        self.waiting.remove(who);
        let waits = |waiting: &[Waiting]| waiting.iter().any(|known| known.who == *who);
        let for_whom = self.waiting.iter().filter(|(_, waiting)| waits(waiting));
        for presentity in for_whom.map(|(presentity, _)| presentity.clone()).collect::<Vec<_>>() {
            self.waits_no_more(now, &presentity, who, winfo::Cause::Noresource, out, events);
        }
        if let Some(person) = self.people.get_mut(who) {
            let before = ends(&person.publications);
            person.publications.clear();
            self.reschedule(who, &before, &[]);
            self.republished.insert(who.clone());
            self.touch(now, who, events);
            self.forget(who);
        }
    }

    /// What watchers may see may have changed while nobody listened: `judge` says it anew, of many people at once.
    /// `None`: there is nobody.
    pub fn rejudge<E>(
        &mut self,
        mut judge: impl FnMut(&Aor, &[Aor]) -> Result<Vec<Option<Standing>>, E>,
    ) -> Result<(), E> {
        for slot in 0..self.slots.len() as u32 {
            let Some(subscription) = self.slot(slot) else { continue };
            let package = subscription.package;
            match &mut subscription.target {
                Target::Person if package != Package::Summary => {
                    let found = judge(&subscription.watcher, std::slice::from_ref(&subscription.address))?;
                    match (package, found.first().copied().flatten()) {
                        (_, None) => subscription.ending = Some(Reason::NoResource),
                        (Package::Winfo, Some(Standing::Pending | Standing::Rejected)) => {
                            subscription.ending = Some(Reason::Rejected);
                        }
                        (_, Some(standing)) => subscription.standing = standing,
                    }
                }
                Target::List(list) => {
                    let people: Vec<Aor> =
                        list.entries.iter().filter_map(|known| person_of(&known.entry).cloned()).collect();
                    let mut found = judge(&subscription.watcher, &people)?.into_iter();
                    let mut entries: Vec<Entry> =
                        list.entries.iter().map(|known| known.entry.clone()).collect();
                    for entry in entries.iter_mut().filter(|entry| person_of(entry).is_some()) {
                        match found.next().flatten() {
                            Some(standing) => entry.standing = standing,
                            None => entry.who = None,
                        }
                    }
                    self.relist(slot, &entries);
                }
                Target::Person | Target::Room => continue,
            }
            self.changed.insert(slot);
        }
        Ok(())
    }

    // ── who waits ────────────────────────────────────────────────────────────────────────────────────────

    /// A subscription that nobody decided about has ended: its watcher waits (RFC 3857 §4.7.1).
    pub(super) fn keep_waiting(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let Some(subscription) = self.slot(slot) else { return };
        let pending =
            subscription.standing == Standing::Pending && matches!(subscription.target, Target::Person);
        if !pending || subscription.package != Package::Presence {
            return;
        }
        let (who, uid, address) =
            (subscription.watcher.clone(), subscription.uid, subscription.address.clone());
        self.waits_no_more(now, &address, &who, winfo::Cause::Giveup, out, events);
        let waiting = self.waiting.entry(address.clone()).or_default();
        if waiting.len() < winfo::UNDECIDED {
            waiting.push(Waiting { uid, who });
            self.patience.push_back((now.ms, address, uid));
        }
        self.give_up(now, out, events);
    }

    /// Lets those go who have waited for too long, or are too many (RFC 3857 §4.7.1).
    pub(super) fn give_up(&mut self, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        while let Some((since, ..)) = self.patience.front()
            && (now.ms - since >= winfo::GIVE_UP || self.patience.len() > WAITING_MAX)
            && let Some((_, address, uid)) = self.patience.pop_front()
        {
            self.wait_ends(now, &address, |waiting| waiting.uid == uid, winfo::Cause::Giveup, out, events);
        }
    }

    /// `watcher` waits no more for an answer of `presentity`.
    fn waits_no_more(
        &mut self,
        now: Now,
        presentity: &Aor,
        watcher: &Aor,
        cause: winfo::Cause,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        self.wait_ends(now, presentity, |waiting| waiting.who == *watcher, cause, out, events);
    }

    fn wait_ends(
        &mut self,
        now: Now,
        presentity: &Aor,
        is_it: impl Fn(&Waiting) -> bool,
        cause: winfo::Cause,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let Some(waiting) = self.waiting.get_mut(presentity) else { return };
        let ended: Vec<Waiting> = waiting.extract_if(.., |known| is_it(known)).collect();
        if waiting.is_empty() {
            self.waiting.remove(presentity);
        }
        for Waiting { uid, who } in ended {
            let change = (uid, who, winfo::Status::Terminated, cause);
            self.tell_seers(now, presentity, &change, out, events);
        }
    }

    // ── watcher information (RFC 3857) ───────────────────────────────────────────────────────────────────

    /// A subscription to somebody's presence has begun, changed or ended: those who watch the watchers hear of it.
    pub(super) fn watcher_changed(
        &mut self,
        now: Now,
        slot: u32,
        cause: winfo::Cause,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let Some(subscription) = self.slot(slot).filter(|known| known.package == Package::Presence) else {
            return;
        };
        let (uid, watcher, ending) = (subscription.uid, subscription.watcher.clone(), subscription.ending);
        let standings: Vec<(Aor, Standing)> = match &subscription.target {
            Target::Room => return,
            Target::Person => vec![(subscription.address.clone(), subscription.standing)],
            Target::List(list) => {
                let known = |known: &Listed| Some((known.entry.who.clone()?, known.entry.standing));
                list.entries.iter().filter_map(known).collect()
            }
        };
        for (who, standing) in standings {
            let waits =
                self.waiting.get(&who).is_some_and(|waiting| waiting.iter().any(|known| known.uid == uid));
            let status = match ending {
                Some(_) if waits => winfo::Status::Waiting,
                Some(_) => winfo::Status::Terminated,
                None => winfo::first(standing),
            };
            self.tell_seers(now, &who, &(uid, watcher.clone(), status, cause), out, events);
        }
    }

    /// Those who watch the watchers of `who` have something to be told.
    fn tell_seers(
        &mut self,
        now: Now,
        who: &Aor,
        change: &(u64, Aor, winfo::Status, winfo::Cause),
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        for slot in self.watching(Package::Winfo, who) {
            let Some(seer) = self.slot(slot) else { continue };
            if let Shown::Watchers(changes) = &mut seer.shown {
                changes.retain(|(known, ..)| *known != change.0);
                changes.push(change.clone());
                if changes.len() > CHANGES_MAX {
                    changes.clear();
                    seer.full = true;
                }
            }
            seer.owed = true;
            self.pump(now, slot, out, events);
        }
    }
}

/// Somebody who wanted to watch, was not decided about, and is gone.
pub(super) struct Waiting {
    pub uid: u64,
    pub who: Aor,
}

/// People who wait for an answer, in all.
const WAITING_MAX: usize = 10_000;

/// What one watcher has.
#[derive(Default)]
pub(super) struct Load {
    dialogs: usize,
    /// Entries on his lists.
    listed: usize,
}

/// Entries on lists for each subscription that somebody may have.
const LISTED: usize = 10;

/// The person that an entry of a list is about.
fn person_of(entry: &Entry) -> Option<&Aor> {
    entry.who.as_ref().filter(|_| !entry.is_room)
}

/// Changes that one partial document tells; of more a whole one is made.
const CHANGES_MAX: usize = 64;

/// Every address that a subscription watches, each once: its own, and those on its list.
fn addresses(subscription: &Subscription) -> Vec<Aor> {
    let own = std::iter::once(&subscription.address);
    let listed: &[_] = match &subscription.target {
        Target::List(list) => &list.entries,
        Target::Person | Target::Room => &[],
    };
    distinct(own.chain(listed.iter().filter_map(|known| known.entry.who.as_ref()))).collect()
}

fn distinct<'a>(all: impl Iterator<Item = &'a Aor>) -> impl Iterator<Item = Aor> {
    let mut seen = std::collections::HashSet::new();
    all.filter(move |who| seen.insert((*who).clone())).cloned().collect::<Vec<_>>().into_iter()
}
