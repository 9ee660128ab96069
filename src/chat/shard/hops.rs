//! Next hops of routes: what many addresses share, and what its failure means for them.
//!
//! Prevents that a proxy that is down is flooded, and that one address behind it that is silent holds back the others.
//! Never judges an address by its answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Event, Now, Outgoing, Shard};
use crate::chat::outbox::{BACKOFF_MAX, backoff};
use crate::types::Dest;

/// Transactions open at once towards one next hop (design.md, routes).
const HOP_WINDOW: usize = 64;

/// Next hops that are remembered without need, at most.
const HOPS_MAX: usize = 1024;

/// Towards one next hop of routes.
#[derive(Default)]
pub(super) struct Hop {
    pub(super) open: usize,
    pub(super) down_until: Option<Instant>,
    /// When it last said anything but 503.
    pub(super) heard: Option<Instant>,
    pub(super) fails: u32,
    pub(super) probing: bool,
    /// Its pause ended with nobody there to ask.
    was_down: bool,
    pub(super) waiting: VecDeque<(u32, u64)>,
}

impl Hop {
    /// The next who goes there finds out whether it is up again.
    fn is_doubtful(&self) -> bool {
        self.down_until.is_some() || self.was_down
    }

    /// It is not down, or long enough to ask whether it is up again.
    fn is_usable(&self, now: Instant) -> bool {
        !self.is_doubtful() || (!self.probing && self.down_until.is_none_or(|until| until <= now))
    }

    fn has_room(&self, now: Instant) -> bool {
        self.is_usable(now) && (self.is_doubtful() || self.open < HOP_WINDOW)
    }
}

/// May it be sent towards the next hop?
pub(super) enum Admitted {
    Open,
    Probe,
    /// It waits in the queue.
    Parked,
}

impl Shard {
    /// A place towards the first next hop of a route that may be tried, or a place in the queue for one.
    pub(super) fn admit(&mut self, now: Now, slot: u32) -> Admitted {
        let Some(outbox) = self.outbox(slot) else { return Admitted::Parked };
        let untried: Vec<(usize, Dest)> = outbox.untried().collect();
        for (at, dest) in &untried {
            self.tidy_hops(now);
            let hop = self.hops.entry(*dest).or_default();
            if !hop.is_usable(now.at) {
                continue;
            }
            if !hop.has_room(now.at) {
                // Whom others come after is not passed over because he is busy (RFC 2782).
                self.park(*dest, slot);
                return Admitted::Parked;
            }
            let probe = hop.is_doubtful();
            hop.open += 1;
            hop.probing |= probe;
            if let Some(outbox) = self.outbox(slot) {
                outbox.turn_to(*at);
            }
            return if probe { Admitted::Probe } else { Admitted::Open };
        }
        let wait = |dest: &Dest| self.hops.get(dest).and_then(|hop| hop.down_until);
        if let Some(dest) = untried.into_iter().map(|(_, dest)| dest).min_by_key(wait) {
            self.park(dest, slot);
        }
        Admitted::Parked
    }

    /// Puts an outbox at the end of those who wait for the next hop: who failed is not the next to try.
    fn park(&mut self, dest: Dest, slot: u32) {
        let id = self.id(slot);
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.parked = Some(dest);
        let hop = self.hops.entry(dest).or_default();
        hop.waiting.push_back((slot, id));
        if hop.waiting.len() > 2 * self.slots.len() {
            // Most of them have gone meanwhile.
            let lives = |slot: u32, id| {
                self.slots.get(slot as usize).and_then(Option::as_ref).is_some_and(|known| known.id == id)
            };
            hop.waiting.retain(|(slot, id)| lives(*slot, *id));
        }
    }

    pub(super) fn leave_hop(&mut self, dest: Dest, probe: bool) {
        if let Some(hop) = self.hops.get_mut(&dest) {
            hop.open = hop.open.saturating_sub(1);
            hop.probing &= !probe;
        }
    }

    pub(super) fn hop_answered(&mut self, now: Now, dest: Dest, out: &mut Outgoing, events: &mut Vec<Event>) {
        if let Some(hop) = self.hops.get_mut(&dest) {
            hop.down_until = None;
            hop.was_down = false;
            hop.heard = Some(now.at);
            hop.fails = 0;
        }
        self.next_for_hop(now, dest, out, events);
    }

    pub(super) fn hop_failed(&mut self, now: Now, dest: Dest, probe: bool, retry_after: Option<Duration>) {
        let hop = self.hops.entry(dest).or_default();
        // Transactions that were open when it went down fail one by one; that is one failure.
        if hop.down_until.is_none() || probe {
            let pause = retry_after.unwrap_or_else(|| backoff(hop.fails)).max(Duration::from_secs(1));
            hop.down_until = Some(now.at + pause.min(BACKOFF_MAX));
            hop.was_down = false;
            hop.fails = hop.fails.saturating_add(1);
            for (slot, id) in std::mem::take(&mut hop.waiting) {
                let outbox = self.outbox(slot).filter(|outbox| outbox.parked == Some(dest));
                let others = outbox.is_some_and(|outbox| outbox.contact.targets.len() > 1);
                if others {
                    self.stranded.push((slot, id));
                } else if let Some(hop) = self.hops.get_mut(&dest) {
                    hop.waiting.push_back((slot, id));
                }
            }
        }
    }

    /// Lets those go on who waited for a next hop that went down and know another.
    pub(super) fn lead_on(&mut self, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        for (slot, id) in std::mem::take(&mut self.stranded) {
            if self.id(slot) == id
                && let Some(outbox) = self.outbox(slot)
            {
                outbox.parked = None;
                self.pump(now, slot, out, events);
            }
        }
    }

    /// The target in use did not take the item at work: the next one is tried at once, as another transaction
    /// (RFC 3263 §4.3). After the last it waits: for the next hop that is back first, or alone.
    pub(super) fn missed(&mut self, now: Now, slot: u32, after: Option<Duration>) {
        let Some(outbox) = self.outbox(slot) else { return };
        let is_route = outbox.contact.is_route;
        outbox.missed();
        let untried: Vec<(usize, Dest)> = outbox.untried().collect();
        let usable = |dest: &Dest| !is_route || self.hops.get(dest).is_none_or(|hop| hop.is_usable(now.at));
        let next = untried.iter().find(|(_, dest)| usable(dest)).map(|(at, _)| *at);
        let Some(outbox) = self.outbox(slot) else { return };
        if let Some(next) = next {
            return outbox.turn_to(next);
        }
        outbox.put_off();
        let all: Vec<Dest> = outbox.untried().map(|(_, dest)| dest).collect();
        let down = |dest: &Dest| self.hops.get(dest).and_then(|hop| hop.down_until);
        let first = all.into_iter().filter(|dest| is_route && down(dest).is_some()).min_by_key(down);
        let Some(outbox) = self.outbox(slot) else { return };
        match first {
            Some(dest) => {
                outbox.is_away();
                self.park(dest, slot);
            }
            None => {
                outbox.turn_to(0);
                if !std::mem::take(&mut outbox.heard) {
                    outbox.rest(now.at, after);
                }
            }
        }
    }

    /// Next hops that nothing waits for are forgotten when they have become many.
    fn tidy_hops(&mut self, now: Now) {
        if self.hops.len() >= HOPS_MAX {
            self.hops.retain(|_, hop| {
                hop.open > 0 || !hop.waiting.is_empty() || hop.down_until.is_some_and(|until| until > now.at)
            });
        }
    }

    /// Lets those who wait for the next hop go, as many as it may have open.
    pub(super) fn next_for_hop(&mut self, now: Now, dest: Dest, out: &mut Outgoing, events: &mut Vec<Event>) {
        loop {
            let Some(hop) = self.hops.get_mut(&dest) else { return };
            if !hop.has_room(now.at) {
                return;
            }
            let Some((slot, id)) = hop.waiting.pop_front() else {
                // Nobody left to probe with: the next who comes does.
                hop.was_down |= hop.down_until.take().is_some();
                if !hop.was_down && hop.open == 0 {
                    self.hops.remove(&dest);
                }
                return;
            };
            if self.id(slot) == id
                && let Some(outbox) = self.outbox(slot)
                && outbox.parked == Some(dest)
            {
                outbox.parked = None;
                self.pump(now, slot, out, events);
            }
        }
    }
}
