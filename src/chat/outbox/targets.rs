//! Which of a contact's targets is in use, and which have had their turn (RFC 3263 §4.3).
//!
//! Prevents that one item goes to the same target twice in a round, or to none. Never decides that a target has
//! failed.

use std::time::Instant;

use super::{Large, Outbox};
use crate::chat::render::{TARGETS_MAX, Target};
use crate::types::Dest;

impl Outbox {
    /// Where it sends to. `None`: that has to be looked up.
    pub fn target(&self) -> Option<&Target> {
        self.contact.targets.get(self.turn)
    }

    pub fn keepalive_dest(&self) -> Option<Dest> {
        let wants = |target: &&Target| target.keepalive && matches!(target.dest, Dest::Udp { .. });
        self.target().filter(wants).map(|target| target.dest)
    }

    /// Other targets, or in another order: from the first again.
    pub fn retarget(&mut self) {
        (self.turn, self.tried) = (0, 0);
    }

    /// The target in use did not take it.
    pub fn missed(&mut self) {
        self.tried |= 1u8.checked_shl(self.turn as u32).unwrap_or_default();
    }

    /// Targets that may still take the item at work, in order; an account's phone starts where it was found last.
    pub fn untried(&self) -> impl Iterator<Item = (usize, Dest)> + use<> {
        let (tried, count) = (self.tried, self.contact.targets.len().min(TARGETS_MAX));
        let first = if self.contact.is_route { 0 } else { self.turn };
        let order = (0..count).map(move |n| (first + n) % count);
        let targets = self.contact.targets.clone();
        order.filter(move |at| tried & (1 << at) == 0).map(move |at| (at, targets[at].dest))
    }

    /// Its targets have to be looked up anew: not while an item goes from one to the next (RFC 3263 §4).
    pub fn is_outdated(&self, now: Instant) -> bool {
        let old = self.good_until.is_none_or(|until| until <= now);
        self.contact.by_name && self.tried == 0 && old
    }

    /// Uses this target from now on.
    pub fn turn_to(&mut self, at: usize) {
        if self.turn != at {
            self.turn = at;
            self.large = Large::Untried;
        }
    }

    /// All targets have had their turn.
    pub fn put_off(&mut self) {
        self.tried = 0;
    }
}
