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

/// Towards one next hop of routes.
#[derive(Default)]
pub(super) struct Hop {
    pub(super) open: usize,
    pub(super) down_until: Option<Instant>,
    /// When it last said anything but 503.
    pub(super) heard: Option<Instant>,
    pub(super) fails: u32,
    pub(super) probing: bool,
    pub(super) waiting: VecDeque<(u32, u64)>,
}

/// May it be sent towards the next hop?
pub(super) enum Admitted {
    Open,
    Probe,
    /// It waits in the queue.
    Parked,
}

impl Shard {
    /// A place towards the next hop, or a place in the queue for one.
    pub(super) fn admit(&mut self, now: Now, dest: Dest, slot: u32) -> Admitted {
        let hop = self.hops.entry(dest).or_default();
        let down = hop.down_until.is_some();
        let probe = hop.down_until.is_some_and(|until| until <= now.at) && !hop.probing;
        if (!down && hop.open < HOP_WINDOW) || probe {
            hop.open += 1;
            hop.probing |= probe;
            return if probe { Admitted::Probe } else { Admitted::Open };
        }
        self.park(dest, slot);
        Admitted::Parked
    }

    /// Puts an outbox at the end of those who wait for the next hop: who failed is not the next to try.
    pub(super) fn park(&mut self, dest: Dest, slot: u32) {
        let id = self.id(slot);
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.parked = true;
        let Some(hop) = self.hops.get_mut(&dest) else { return };
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
            hop.heard = Some(now.at);
            hop.fails = 0;
        }
        self.next_for_hop(now, dest, out, events);
    }

    pub(super) fn hop_failed(
        &mut self,
        now: Now,
        dest: Dest,
        slot: u32,
        probe: bool,
        retry_after: Option<Duration>,
    ) {
        let hop = self.hops.entry(dest).or_default();
        // Transactions that were open when it went down fail one by one; that is one failure.
        if hop.down_until.is_none() || probe {
            let pause = retry_after.unwrap_or_else(|| backoff(hop.fails)).max(Duration::from_secs(1));
            hop.down_until = Some(now.at + pause.min(BACKOFF_MAX));
            hop.fails = hop.fails.saturating_add(1);
        }
        if let Some(outbox) = self.outbox(slot) {
            outbox.is_away();
        }
        self.park(dest, slot);
    }

    /// Lets those who wait for the next hop go, as many as it may have open.
    pub(super) fn next_for_hop(&mut self, now: Now, dest: Dest, out: &mut Outgoing, events: &mut Vec<Event>) {
        loop {
            let Some(hop) = self.hops.get_mut(&dest) else { return };
            let ready = match hop.down_until {
                None => hop.open < HOP_WINDOW,
                Some(until) => until <= now.at && !hop.probing,
            };
            if !ready {
                return;
            }
            let Some((slot, id)) = hop.waiting.pop_front() else {
                // Nobody left to probe with: the next who comes does.
                if hop.down_until.take().is_none() && hop.open == 0 {
                    self.hops.remove(&dest);
                }
                return;
            };
            if self.id(slot) == id
                && let Some(outbox) = self.outbox(slot)
                && outbox.parked
                && outbox.contact.dest == dest
            {
                outbox.parked = false;
                self.pump(now, slot, out, events);
            }
        }
    }
}
