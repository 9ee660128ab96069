//! NOTIFYs: when one is due, what becomes of it (RFC 6665 §4.2.2).
//!
//! Prevents that two are open in one dialog, and that a phone that does not answer is told for ever. What a document
//! says is [`super::documents`]' business.

use std::time::Duration;

use super::documents::Made;
use super::subscription::{Document, Flight, Reason, Target};
use super::{Agent, Event, Now, Outgoing, Reply, instant};
use crate::chat::ids::Branch;
use crate::chat::render::DATAGRAM_MAX;
use crate::presence::Standing;
use crate::presence::winfo::Cause;
use crate::sip::transaction::{ClientTimer, Fire};
use crate::sip::write::finish;
use crate::types::{Dest, UnixMs};

/// Answers that end a subscription (RFC 6665 §4.2.2).
const ENDS: &[u16] = &[404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604];
/// The last NOTIFY waits for its document so long, in milliseconds.
const LAST_WAIT: i64 = 30_000;
/// The longest that a phone may ask us to wait.
const RETRY_MAX: u32 = 3600;

impl Agent {
    /// Does what can be done for a subscription now: sends, asks, or waits.
    pub(super) fn pump(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let Some(subscription) = self.slot(slot) else { return };
        if let Some(flight) = &subscription.flight {
            let due = flight.timer.due();
            if due <= now.at {
                return self.fire(now, slot, out, events);
            }
            return self.arm(slot, due);
        }
        if subscription.expires_at <= now.ms && subscription.ending.is_none() {
            subscription.ending = Some(Reason::Timeout);
        }
        let ending = subscription.ending;
        let ended_at = subscription.expires_at;
        let expires_at = instant(now, ended_at);
        if !subscription.owed && ending.is_none() {
            return self.arm(slot, expires_at);
        }
        let from = match ending {
            Some(_) => subscription.hold,
            None => subscription.hold.max(subscription.not_before),
        };
        if from > now.at {
            return self.arm(slot, from.min(expires_at));
        }
        match self.document(slot, events) {
            // Whoever is asked for it does not answer: the end is told without.
            Made::Wait if ending.is_some() && ended_at + LAST_WAIT <= now.ms => {
                self.send(now, slot, None, out, events);
            }
            Made::Wait => self.arm(slot, expires_at.max(now.at + Duration::from_secs(1))),
            Made::Nothing => {
                if let Some(subscription) = self.slot(slot) {
                    subscription.owed = false;
                }
                self.arm(slot, expires_at);
            }
            Made::Empty => self.send(now, slot, None, out, events),
            Made::Document(document) => self.send(now, slot, Some(document), out, events),
        }
    }

    fn arm(&mut self, slot: u32, due: std::time::Instant) {
        let Some(subscription) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if subscription.armed.is_none_or(|armed| armed > due) {
            subscription.armed = Some(self.wheel.arm(slot, due));
        }
    }

    fn send(
        &mut self,
        now: Now,
        slot: u32,
        body: Option<Document>,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let nonce = self.nonce();
        let (timers, pace) = (self.settings.timers, self.settings.pace);
        let Some(subscription) = self.slot(slot) else { return };
        subscription.cseq = next_cseq(now.ms, subscription.cseq);
        let state = state_of(now.ms, subscription);
        let large = body.as_ref().map_or(0, |(_, bytes)| bytes.len()) + HEAD > DATAGRAM_MAX;
        let over = match (&subscription.way.stream, subscription.way.dest) {
            (Some((to, _)), Dest::Udp { .. }) if large => Dest::Connect(*to),
            (_, dest) => dest,
        };
        let reliable = !matches!(over, Dest::Udp { .. });
        subscription.flight = Some(Box::new(Flight {
            nonce,
            cseq: subscription.cseq,
            timer: ClientTimer::start(now.at, &timers, reliable),
            over,
            state,
            body,
            is_last: subscription.ending.is_some(),
        }));
        (subscription.owed, subscription.full) = (std::mem::take(&mut subscription.more), false);
        subscription.unsaved += 1;
        let is_due = subscription.unsaved >= super::saved::LAG;
        subscription.not_before = now.at + subscription.package.row().pace * pace / 100;
        let due = subscription.flight.as_ref().map(|flight| flight.timer.due());
        let ending = subscription.ending;
        self.counters.notified += 1;
        if is_due {
            // So that a restart can go on above what was said.
            self.changed.insert(slot);
        }
        self.write(slot, out);
        if let Some(due) = due {
            self.arm(slot, due);
        }
        if let Some(reason) = ending {
            self.watcher_gone(now, slot, reason, out, events);
        }
    }

    /// Those who watch the watchers hear that a subscription has ended.
    fn watcher_gone(
        &mut self,
        now: Now,
        slot: u32,
        reason: Reason,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let cause = match reason {
            Reason::Timeout => Cause::Timeout,
            Reason::Rejected => Cause::Rejected,
            Reason::NoResource => Cause::Noresource,
            Reason::Deactivated => Cause::Deactivated,
        };
        if reason == Reason::Timeout {
            self.keep_waiting(now, slot, out, events);
        }
        self.watcher_changed(now, slot, cause, out, events);
    }

    /// Appends the NOTIFY of the flight, as it is first sent and as it is sent again.
    fn write(&self, slot: u32, out: &mut Outgoing) {
        let Some(subscription) = self.slots.get(slot as usize).and_then(Option::as_ref) else { return };
        let Some(flight) = &subscription.flight else { return };
        let branch = Branch { shard: self.settings.shard, slot, nonce: flight.nonce };
        let way = &subscription.way;
        let via = match (&way.stream, flight.over == way.dest) {
            (Some((_, via)), false) => via,
            _ => &way.via,
        };
        out.message(flight.over, Some(branch), |out| {
            let ids = self.settings.ids;
            subscription.dialog.request("NOTIFY", via, |out| ids.write_branch(branch, out), flight.cseq, out);
            let event = match &subscription.target {
                Target::List(list) => list.dialect.event(),
                Target::Person | Target::Room => subscription.package.row().name,
            };
            put(out, &["Max-Forwards: 70\r\nEvent: ", event]);
            if let Some(id) = &subscription.event_id {
                put(out, &[";id=", id]);
            }
            put(out, &["\r\nContact: ", &way.contact, "\r\nSubscription-State: ", &flight.state, "\r\n"]);
            if matches!(subscription.target, Target::List(_)) {
                put(out, &["Require: eventlist\r\n"]);
            }
            match &flight.body {
                Some((kind, body)) => {
                    put(out, &["Content-Type: ", kind, "\r\n"]);
                    finish(out, body);
                }
                None => finish(out, &[]),
            }
        });
    }

    fn fire(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let timers = self.settings.timers;
        let Some(flight) = self.slot(slot).and_then(|known| known.flight.as_mut()) else { return };
        let fire = flight.timer.on_due(now.at, &timers);
        let due = flight.timer.due();
        match fire {
            Fire::Retransmit => {
                self.counters.retransmitted += 1;
                self.write(slot, out);
                self.arm(slot, due);
            }
            Fire::None => self.arm(slot, due),
            Fire::TimedOut => {
                self.counters.timed_out += 1;
                self.lose(now, slot, out, events);
            }
        }
    }

    /// The watcher is not there any more: nothing is told to him again (RFC 6665 §4.2.2).
    fn lose(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let Some(subscription) = self.slot(slot) else { return };
        let told = subscription.flight.take().is_some_and(|flight| flight.is_last);
        if !told {
            self.counters.lost += 1;
            if let Some(subscription) = self.slot(slot) {
                subscription.ending = Some(Reason::Timeout);
            }
            self.watcher_gone(now, slot, Reason::Timeout, out, events);
        }
        self.remove(slot);
    }

    pub(super) fn response(&mut self, now: Now, reply: Reply, out: &mut Outgoing, events: &mut Vec<Event>) {
        let (slot, timers) = (reply.branch.slot, self.settings.timers);
        let Some(subscription) = self.slot(slot) else { return };
        let Some(flight) = subscription.flight.as_mut().filter(|flight| flight.nonce == reply.branch.nonce)
        else {
            return;
        };
        if reply.status < 200 {
            return flight.timer.provisional(&timers);
        }
        if flight.is_last || ENDS.contains(&reply.status) {
            return self.lose(now, slot, out, events);
        }
        subscription.flight = None;
        if reply.status >= 300 {
            // What it does not know now it has to learn whole.
            subscription.full = true;
            if let Some(seconds) = reply.retry_after {
                subscription.owed = true;
                subscription.not_before = now.at + Duration::from_secs(seconds.min(RETRY_MAX).into());
            }
        }
        self.pump(now, slot, out, events);
    }

    pub(super) fn failed(&mut self, now: Now, branch: Branch, out: &mut Outgoing, events: &mut Vec<Event>) {
        let slot = branch.slot;
        let timers = self.settings.timers;
        let Some(subscription) = self.slot(slot) else { return };
        let way = &mut subscription.way;
        let Some(flight) = subscription.flight.as_mut().filter(|flight| flight.nonce == branch.nonce) else {
            return;
        };
        match (flight.over, way.dest, way.stream.clone()) {
            // An unreachable port may be a phone that restarts: Timer F decides.
            (Dest::Udp { .. }, ..) => return,
            // The phone does not take it over TCP: then as one large datagram, now and later.
            (Dest::Connect(_), Dest::Udp { .. }, _) => {
                way.stream = None;
                if !flight.is_last && flight.body.as_ref().is_some_and(|(_, body)| body.len() > LARGEST) {
                    // No datagram holds it: it is told anew, in parts.
                    (subscription.flight, subscription.owed, subscription.full) = (None, true, true);
                    subscription.not_before = now.at;
                    return self.pump(now, slot, out, events);
                }
                flight.over = way.dest;
                flight.timer = ClientTimer::start(now.at, &timers, false);
            }
            // Its connection is gone: it may be called where it said that it is.
            (Dest::Conn(_), _, Some((to, via))) => {
                (way.dest, way.via, way.stream) = (Dest::Connect(to), via, None);
                flight.over = way.dest;
            }
            _ => return self.lose(now, slot, out, events),
        }
        let due = flight.timer.due();
        self.write(slot, out);
        self.arm(slot, due);
    }

    /// Tells everybody that we go, and waits for nobody.
    pub(super) fn stop(&mut self, now: Now, out: &mut Outgoing) {
        for slot in 0..self.slots.len() as u32 {
            let nonce = self.nonce();
            let timers = self.settings.timers;
            let Some(subscription) = self.slot(slot) else { continue };
            subscription.ending = Some(subscription.ending.unwrap_or(Reason::Deactivated));
            subscription.cseq = next_cseq(now.ms, subscription.cseq);
            subscription.flight = Some(Box::new(Flight {
                nonce,
                cseq: subscription.cseq,
                timer: ClientTimer::start(now.at, &timers, true),
                over: subscription.way.dest,
                state: state_of(now.ms, subscription),
                body: None,
                is_last: true,
            }));
            self.write(slot, out);
            self.remove(slot);
        }
    }
}

/// Bytes of a body in a datagram, its head beside it.
const LARGEST: usize = 64_000;

/// What is left for the head of a NOTIFY in a datagram, in bytes.
const HEAD: usize = 600;

/// Value of Subscription-State (RFC 6665 §4.1.3).
fn state_of(now: UnixMs, subscription: &super::subscription::Subscription) -> Box<str> {
    if let Some(reason) = subscription.ending {
        return format!("terminated;reason={}", reason.text()).into();
    }
    if subscription.lamp.is_some() {
        // Nothing that was not asked for can expire.
        return "active".into();
    }
    let left = (subscription.expires_at - now).max(0).unsigned_abs().div_ceil(1000);
    let state = if subscription.standing == Standing::Pending { "pending" } else { "active" };
    format!("{state};expires={left}").into()
}

/// Above every CSeq that this dialog has seen, before a restart too: a quarter of a second each, since 2024.
fn next_cseq(now: UnixMs, last: u32) -> u32 {
    const IN_2024: UnixMs = 1_704_067_200_000;
    let clock = ((now - IN_2024) / 250).clamp(1, i64::from(i32::MAX) - 1_000_000) as u32;
    clock.max(last.saturating_add(1))
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}
