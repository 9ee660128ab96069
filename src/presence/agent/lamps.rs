//! Phones that never subscribe and still want to know that something waits (RFC 3842 §3.7).
//!
//! Each is a subscription that nobody asked for: it lives as long as the phone is registered, and is written nowhere.
//! Prevents that such a phone is told twice when it does ask. Never told anything else than a message summary.

use std::sync::Arc;

use super::subscription::{New, Subscription, Target};
use super::{Agent, Event, Now, Outgoing};
use crate::presence::Standing;
use crate::presence::package::Package;
use crate::sip::dialog::Dialog;
use crate::types::{Aor, Flow, UnixMs};

impl Agent {
    /// These are now all phones of `who` that are to be told. Each is told at once, as it has just registered.
    pub(super) fn lamps(
        &mut self,
        now: Now,
        who: &Aor,
        phones: Vec<(Arc<str>, Flow, Dialog)>,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let mut lit = Vec::new();
        let mut asked = Vec::new();
        for slot in self.watching(Package::Summary, who) {
            let Some(known) = self.slot(slot) else { continue };
            match known.lamp.clone() {
                None => asked.push(known.flow),
                Some(key) if phones.iter().any(|(phone, ..)| *phone == key) => lit.push((key, slot)),
                Some(_) => self.remove(slot),
            }
        }
        for (key, flow, dialog) in phones {
            if asked.iter().any(|known| known.remote == flow.remote) {
                continue;
            }
            let Some(way) = (self.settings.ways)(&flow, &dialog) else { continue };
            let known = lit.iter().find(|(lamp, _)| *lamp == key).map(|(_, slot)| *slot);
            let slot = match known.and_then(|slot| Some((slot, self.slot(slot)?))) {
                Some((slot, known)) => {
                    (known.way, known.flow, known.dialog) = (way, flow, dialog);
                    (known.owed, known.full) = (true, true);
                    slot
                }
                None => {
                    let uid = self.nonce();
                    let new = New {
                        dialog,
                        flow,
                        package: Package::Summary,
                        event_id: None,
                        watcher: who.clone(),
                        address: who.clone(),
                        target: Target::Person,
                        standing: Standing::Active,
                        expires: None,
                    };
                    let unasked = Subscription::new(uid, new, way, UnixMs::MAX / 4, now.at);
                    self.enter(Subscription { lamp: Some(key), ..unasked })
                }
            };
            self.pump(now, slot, out, events);
        }
    }

    /// A phone asks by itself: it needs no telling.
    pub(super) fn unlight(&mut self, who: &Aor, flow: &Flow) {
        for slot in self.watching(Package::Summary, who) {
            let unasked =
                |known: &&mut Subscription| known.lamp.is_some() && known.flow.remote == flow.remote;
            if self.slot(slot).filter(unasked).is_some() {
                self.remove(slot);
            }
        }
    }
}
