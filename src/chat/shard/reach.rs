//! Contacts that come, move and go; pages of the log for those that are behind.
//!
//! Prevents that what was taken is told again after a contact has gone and come, and that a page read a moment ago
//! overrules what was announced since. Never renders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Event, Now, Outgoing, Page, Reach, Shard, Slot, is_own};
use crate::chat::outbox::{Large, Outbox};
use crate::chat::render::{Contact, Target};
use crate::types::{AccountId, Dest, DeviceKey, Seq};

/// Positions of closed outboxes are remembered so long: an input under way may still bring older ones.
const DEPARTED: Duration = Duration::from_secs(10);

/// What is remembered of an outbox that has closed.
pub(super) struct Departed {
    device: DeviceKey,
    cursor: Seq,
    cseq: u32,
}

impl Shard {
    pub(super) fn reach(&mut self, now: Now, reach: Reach, out: &mut Outgoing, events: &mut Vec<Event>) {
        let existing = self.accounts.get(&reach.account).cloned().unwrap_or_default();
        let mut live: Vec<(DeviceKey, Seq)> = Vec::new();
        let mut furthest = reach.furthest;
        let head = self.head;
        for slot in &existing {
            if let Some(outbox) = self.outbox(*slot) {
                if outbox.caught_up() {
                    outbox.advance(head);
                }
                live.push((outbox.contact.device.clone(), outbox.cursor()));
            }
        }
        let departed = self.departed.get(&reach.account).into_iter().flatten();
        live.extend(departed.map(|old| (old.device.clone(), old.cursor)));
        for (_, position) in live.iter().chain(&reach.positions) {
            furthest = furthest.max(*position);
        }
        let mut kept = Vec::new();
        for slot in existing {
            let Some(outbox) = self.outbox(slot) else { continue };
            match reach.contacts.iter().find(|contact| contact.key == outbox.contact.key) {
                None => self.close(slot, now, out, events),
                Some(contact) => {
                    kept.push(contact.key.clone());
                    let fresh = reach.fresh.contains(&contact.key);
                    self.renew(now, slot, contact, fresh, out, events);
                }
            }
        }
        for contact in reach.contacts {
            if kept.contains(&contact.key) {
                continue;
            }
            let known = live.iter().chain(&reach.positions).filter(|(device, _)| *device == contact.device);
            // A route does not repeat what a phone has taken meanwhile.
            let known = known.map(|(_, position)| *position).max().filter(|_| !contact.is_route);
            let cursor = known.unwrap_or(furthest);
            self.open(now, reach.account, contact, cursor, out, events);
        }
    }

    pub(super) fn open(
        &mut self,
        now: Now,
        account: AccountId,
        contact: Contact,
        cursor: Seq,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let mut outbox = Outbox::new(account, contact, cursor, now.ms);
        outbox.keepalive_at = self.keepalive_after(&outbox.contact, now);
        let departed = self.departed.get(&account).into_iter().flatten();
        let same = departed.filter(|old| old.device == outbox.contact.device);
        outbox.first_cseq = same.map(|old| old.cseq).max().unwrap_or_default();
        // Even an unmoved position is written: the device exists from now on.
        outbox.moved = true;
        let id = self.next_id;
        self.next_id += 1;
        let slot = Slot { id, outbox };
        let name = match self.free.pop() {
            Some(name) => {
                self.slots[name as usize] = Some(slot);
                name
            }
            None => {
                self.slots.push(Some(slot));
                (self.slots.len() - 1) as u32
            }
        };
        self.accounts.entry(account).or_default().push(name);
        self.pump(now, name, out, events);
    }

    pub(super) fn keepalive_after(&self, contact: &Contact, now: Now) -> Option<Instant> {
        let first = contact.targets.first();
        let wanted = first.is_some_and(|to| to.keepalive && matches!(to.dest, Dest::Udp { .. }));
        self.settings.keepalive.filter(|_| wanted).map(|every| now.at + every)
    }

    /// A contact registered again, perhaps from elsewhere.
    pub(super) fn renew(
        &mut self,
        now: Now,
        slot: u32,
        contact: &Contact,
        fresh: bool,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let keepalive = self.keepalive_after(contact, now);
        let upto = self.head;
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.leaving = false;
        let mut contact = contact.clone();
        if contact.by_name {
            contact.targets = outbox.contact.targets.clone();
        }
        let moved = outbox.contact.dest() != contact.dest();
        let changed = outbox.contact != contact;
        if changed {
            let stream = |contact: &Contact| contact.targets.first().and_then(|to| to.stream.clone());
            if stream(&outbox.contact) != stream(&contact) {
                outbox.large = Large::Untried;
            }
            outbox.contact = contact;
            outbox.keepalive_at = keepalive;
        }
        if changed || fresh {
            outbox.retarget();
            let is_route = outbox.contact.is_route;
            let at = |dest| outbox.contact.targets.iter().position(|target| target.dest == dest);
            if outbox.parked.is_some_and(|dest| at(dest).is_none()) {
                outbox.parked = None;
            }
            match outbox.flight.as_ref().map(|flight| at(flight.dest)) {
                None | Some(Some(0)) => {}
                Some(Some(at)) if is_route || !(moved || fresh) => outbox.turn = at,
                // What went to the old place is sent to the new one now, not after Timer F.
                Some(_) => {
                    let flight = outbox.flight.take();
                    if let Some(flight) = flight.filter(|_| is_route) {
                        self.leave_hop(flight.dest, flight.probe);
                        self.next_for_hop(now, flight.dest, out, events);
                    }
                }
            }
        }
        if let Some(outbox) = self.outbox(slot)
            && fresh
        {
            if outbox.pause.is_some() {
                outbox.since = now.ms;
                if outbox.large == Large::Fails {
                    // It failed towards somebody who was away.
                    outbox.large = Large::Untried;
                }
                if !outbox.caught_up() {
                    let (account, device) = (outbox.account, outbox.contact.device.clone());
                    events.push(Event::Returned { account, device, from: outbox.cursor(), upto });
                }
            }
            outbox.heard = outbox.flight.is_some();
            outbox.answered();
        }
        self.pump(now, slot, out, events);
    }

    /// Closes the route to an account as soon as nothing is on its way there: who registers meanwhile is not told the
    /// same by another name.
    pub(super) fn leave(
        &mut self,
        now: Now,
        account: AccountId,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let mut busy = false;
        for slot in self.accounts.get(&account).cloned().unwrap_or_default() {
            let Some(outbox) = self.outbox(slot).filter(|outbox| outbox.contact.is_route) else { continue };
            outbox.leaving = outbox.flight.is_some();
            match outbox.leaving {
                true => busy = true,
                false => self.close(slot, now, out, events),
            }
        }
        if !busy {
            events.push(Event::Left { account });
        }
    }

    pub(super) fn close(&mut self, slot: u32, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        let landed = self.land(slot).map(|flight| flight.dest);
        let held = self.stop_looking(slot);
        let head = self.head;
        let Some(Slot { mut outbox, .. }) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        if outbox.caught_up() {
            outbox.advance(head);
        }
        let (device, cursor) = (outbox.contact.device.clone(), outbox.cursor());
        self.closed.push((outbox.account, device.clone(), cursor));
        self.depart(now.at, outbox.account, Departed { device, cursor, cseq: outbox.last_cseq() });
        for span in &outbox.spans {
            if let Some(listeners) = self.listeners.get_mut(&span.conversation) {
                listeners.retain(|listener| listener.slot != slot);
                if listeners.is_empty() {
                    self.listeners.remove(&span.conversation);
                }
            }
        }
        if let Some(slots) = self.accounts.get_mut(&outbox.account) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.accounts.remove(&outbox.account);
            }
        }
        self.free.push(slot);
        for dest in landed.filter(|_| outbox.contact.is_route).into_iter().chain(held) {
            self.next_for_hop(now, dest, out, events);
        }
    }

    /// The targets of a route were looked up, or could not be.
    pub(super) fn located(
        &mut self,
        now: Now,
        slot: u32,
        targets: &Arc<[Target]>,
        good_for: Duration,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let asked = self.outbox(slot).is_some_and(|outbox| outbox.looking.is_some());
        if !asked {
            return;
        }
        let held = self.stop_looking(slot);
        if let Some(outbox) = self.outbox(slot) {
            outbox.contact.targets = targets.clone();
            outbox.good_until = Some(now.at + good_for);
            outbox.large = Large::Untried;
            outbox.retarget();
            if targets.is_empty() {
                outbox.rest(now.at, None);
            }
        }
        self.pump(now, slot, out, events);
        if let Some(dest) = held {
            self.next_for_hop(now, dest, out, events);
        }
    }

    /// A look-up is over; its place towards a next hop is given back.
    fn stop_looking(&mut self, slot: u32) -> Option<Dest> {
        let (dest, probe) = self.outbox(slot)?.looking.take()?.hold?;
        self.leave_hop(dest, probe);
        Some(dest)
    }

    pub(super) fn depart(&mut self, now: Instant, account: AccountId, gone: Departed) {
        while self.departures.front().is_some_and(|(at, _)| *at + DEPARTED <= now) {
            if let Some((_, old)) = self.departures.pop_front()
                && let Some(known) = self.departed.get_mut(&old)
            {
                // One departure, one position: the oldest of this account.
                known.remove(0);
                if known.is_empty() {
                    self.departed.remove(&old);
                }
            }
        }
        self.departures.push_back((now, account));
        self.departed.entry(account).or_default().push(gone);
    }

    pub(super) fn page(&mut self, now: Now, page: Page, out: &mut Outgoing, events: &mut Vec<Event>) {
        if self.id(page.slot) != page.id {
            return;
        }
        let (slot, head, copies) = (page.slot, self.head, self.settings.copy_to_sender);
        let Some(outbox) = self.outbox(slot) else { return };
        let first = outbox.skips.is_none();
        outbox.skips = Some(page.skips);
        let (account, device) = (outbox.account, outbox.contact.device.clone());
        if first {
            // Commits announced before we listened are in no queue: look again if there were any.
            for span in page.spans {
                self.listen(slot, span);
            }
            self.forget_spans(slot);
        }
        let unseen = (first && head > page.through).then_some(head);
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.page(page.entries, page.through, page.more, unseen, |entry| {
            is_own(entry, account, &device, copies)
        });
        for aside in page.asides {
            let name = Seq(-((self.nonce() >> 2) as i64) - 1);
            if let Some(outbox) = self.outbox(slot) {
                outbox.asides.push_back((aside, name));
            }
        }
        self.pump(now, slot, out, events);
    }
}
