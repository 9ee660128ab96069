//! One MESSAGE and what becomes of it: sent, sent again, answered or not.
//!
//! Prevents that an answer moves anything but the transaction it belongs to. Never decides who gets what.

use std::sync::Arc;
use std::time::Duration;

use super::hops::Admitted;
use super::{Event, Now, Outgoing, Reply, Shard, Slot};
use crate::chat::ids::Branch;
use crate::chat::outbox::{Flight, Item, Large, Looking, Outbox};
use crate::chat::outcome::{Outcome, outcome};
use crate::chat::phones::media;
use crate::chat::render::{self, DATAGRAM_MAX, Head};
use crate::chat::split::split_text;
use crate::sip::transaction::ClientTimer;
use crate::types::{Aor, Dest, EntryKind, Face};

/// A look-up that has not been answered by then has failed; whoever looks is given less time.
const LOOK_UP: Duration = Duration::from_secs(30);
/// The way on from a proxy is broken, not the phone (RFC 5626 §11.5).
const FLOW_FAILED: u16 = 430;
/// Text parts are not made smaller than this.
const PART_MIN: usize = 200;

impl Shard {
    /// Does what can be done for an outbox now: sends, asks for a page, or arms its timer.
    pub(super) fn pump(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let id = self.id(slot);
        loop {
            let (prefix, resting) = (self.settings.prefix, self.resting);
            let Some(outbox) = self.outbox(slot) else { return };
            if outbox.leaving && outbox.flight.is_none() {
                let account = outbox.account;
                self.close(slot, now, out, events);
                return events.push(Event::Left { account });
            }
            if outbox.flight.is_some() || outbox.parked.is_some() || outbox.looking.is_some() || resting {
                break;
            }
            if outbox.pause.is_some_and(|pause| pause > now.at) {
                break;
            }
            outbox.pause = None;
            let Some(item) = outbox.next(now.ms, prefix) else {
                if outbox.wants_page() {
                    let (account, device) = (outbox.account, outbox.contact.device.clone());
                    let (after, skips) = (outbox.tail(), outbox.skips.clone());
                    events.push(Event::Page { slot, id, account, device, after, skips });
                }
                break;
            };
            let is_route = outbox.contact.is_route;
            if outbox.contact.targets.is_empty() {
                self.locate(now, slot, None, events);
                break;
            }
            let probe = match if is_route { self.admit(now, slot) } else { Admitted::Open } {
                Admitted::Open => false,
                Admitted::Probe => true,
                Admitted::Parked => break,
            };
            let Some(outbox) = self.outbox(slot) else { return };
            let dest = outbox.target().map(|target| target.dest);
            if outbox.is_outdated(now.at) {
                // Its place is kept: while a next hop is down one look-up at a time asks where it is.
                self.locate(now, slot, dest.map(|dest| (dest, probe)), events);
                break;
            }
            match self.send(now, slot, &item, probe, out) {
                Sent::Yes => break,
                Sent::No(status) => {
                    if let Some(dest) = dest.filter(|_| is_route) {
                        self.leave_hop(dest, probe);
                    }
                    if let Some(outbox) = self.outbox(slot) {
                        answered(&item, outbox, status, None, events);
                    }
                    self.give_up(slot, &item, status, events);
                }
            }
        }
        self.note(slot);
        self.arm(slot);
    }

    /// Asks where an address is reached now.
    fn locate(&mut self, now: Now, slot: u32, hold: Option<(Dest, bool)>, events: &mut Vec<Event>) {
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.looking = Some(Looking { until: now.at + LOOK_UP, hold });
        events.push(Event::Locate { account: outbox.account, aor: outbox.contact.aor.clone() });
    }

    pub(super) fn note(&mut self, slot: u32) {
        if let Some(outbox) = self.outbox(slot)
            && outbox.moved
            && !outbox.listed
        {
            outbox.listed = true;
            self.moved.push(slot);
        }
    }

    pub(super) fn arm(&mut self, slot: u32) {
        let Some(Slot { outbox, .. }) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(due) = outbox.due()
            && outbox.armed.is_none_or(|armed| armed > due)
        {
            outbox.armed = Some(self.wheel.arm(slot, due));
        }
    }

    /// A number that cannot be guessed from outside: SplitMix64 over a random seed, hashed with the secret key.
    pub(super) fn nonce(&mut self) -> u64 {
        self.nonce = self.nonce.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let name = self.settings.ids.body(&self.nonce.to_be_bytes());
        name.max(1)
    }

    pub(super) fn send(&mut self, now: Now, slot: u32, item: &Item, probe: bool, out: &mut Outgoing) -> Sent {
        let nonce = self.nonce();
        let reliable_is = |dest: Dest| !matches!(dest, Dest::Udp { .. });
        let timers = self.settings.timers;
        let Some(outbox) = self.outbox(slot) else { return Sent::Yes };
        if outbox.shape.unfit {
            return Sent::No(415);
        }
        let cseq = outbox.next_cseq(now.ms);
        let Some(dest) = outbox.target().map(|target| target.dest) else { return Sent::Yes };
        outbox.heard = false;
        outbox.flight = Some(Flight {
            item: item.clone(),
            nonce,
            cseq,
            timer: ClientTimer::start(now.at, &timers, reliable_is(dest)),
            dest,
            over: dest,
            parts: 1,
            started: now.at,
            probe,
        });
        let from = out.bytes.len();
        loop {
            self.render(slot, out);
            let size = out.bytes.len() - from;
            let Some(outbox) = self.outbox(slot) else { return Sent::Yes };
            let Some(flight) = outbox.flight.as_mut() else { return Sent::Yes };
            if reliable_is(flight.over) || size <= DATAGRAM_MAX {
                break;
            }
            out.bytes.truncate(from);
            match outbox.contact.targets.get(outbox.turn).and_then(|target| target.stream.as_ref()) {
                Some(&(to, _)) if outbox.large != Large::Fails => {
                    flight.over = Dest::Connect(to);
                    flight.timer = ClientTimer::start(now.at, &timers, true);
                }
                _ if !item.is_text() || outbox.shape.split.is_some_and(|at| at <= PART_MIN) => {
                    outbox.flight = None;
                    return Sent::No(513);
                }
                _ => {
                    let smaller = match outbox.shape.split {
                        None => DATAGRAM_MAX.saturating_sub(size - body_len(item) + 16),
                        Some(at) => at / 2,
                    };
                    outbox.shape.split = Some(smaller.max(PART_MIN));
                    // Parts cut otherwise are other parts: those taken do not count.
                    outbox.shape.part = 0;
                }
            }
        }
        self.counters.sent += 1;
        self.post(slot, from, out);
        Sent::Yes
    }

    /// Appends the MESSAGE of the flight, as it is first sent and as it is sent again.
    pub(super) fn render(&mut self, slot: u32, out: &mut Outgoing) {
        let (ids, dialect, shard) = (self.settings.ids, self.settings.dialect, self.settings.shard);
        let ctime = self.settings.ctime;
        let Some(outbox) = self.outbox(slot) else { return };
        let (shape, contact, account) = (outbox.shape, &outbox.contact, outbox.account);
        let Some(target) = contact.targets.get(outbox.turn) else { return };
        let Some(flight) = outbox.flight.as_mut() else { return };
        let via = match (&target.stream, flight.over == flight.dest) {
            (Some((_, via)), false) => via,
            _ => &target.via,
        };
        let (face, asserted): (&Face, Option<&Aor>) = match &flight.item {
            Item::Entry(entry) => {
                // What nobody said, the room says.
                let author = entry.sender.as_ref().map_or(&entry.from.aor, |(_, aor)| aor);
                (&entry.from, Some(author).filter(|_| target.trusted && !entry.private))
            }
            Item::Aside(aside, _) => (&aside.from, Some(&aside.from.aor).filter(|_| target.trusted)),
        };
        let head = Head {
            contact,
            target,
            via,
            account,
            from: face,
            seq: flight.item.seq(),
            part: shape.split.map_or(0, |size| (size as u32) << 16 | (u32::from(shape.part) + 1)),
            cseq: flight.cseq,
            branch: Branch { shard, slot, nonce: flight.nonce },
            asserted,
        };
        head.write(&ids, &mut out.bytes);
        let (hops, at, headers, content_type, body) = match &flight.item {
            Item::Entry(entry) => {
                if shape.split.is_none() && !shape.bare && !shape.late {
                    flight.parts = 1;
                    out.bytes.extend_from_slice(render::entry_tail(entry, dialect));
                    return;
                }
                let content_type = render::shown_type(entry);
                let mut body = render::shown(entry, dialect);
                if shape.late {
                    body.to_mut().splice(0..0, render::late_prefix(&ctime(entry.at)).into_bytes());
                }
                (entry.hops, entry.at, &*entry.headers, content_type, body)
            }
            Item::Aside(aside, _) => {
                let content_type = aside.content_type.as_deref().unwrap_or(render::PLAIN);
                (aside.hops, aside.at, &*aside.headers, content_type, (&aside.body[..]).into())
            }
        };
        let content_type = if shape.bare { render::bare_type() } else { content_type };
        match shape.split {
            None => {
                flight.parts = 1;
                render::tail(hops, at, headers, content_type, &body, &mut out.bytes);
            }
            Some(max) => {
                let parts = split_text(&String::from_utf8_lossy(&body), max);
                flight.parts = parts.len() as u16;
                let part = parts.get(usize::from(shape.part)).map_or("", String::as_str);
                render::tail(hops, at, headers, content_type, part.as_bytes(), &mut out.bytes);
            }
        }
    }

    pub(super) fn post(&mut self, slot: u32, from: usize, out: &mut Outgoing) {
        let shard = self.settings.shard;
        if let Some(flight) = self.outbox(slot).and_then(|outbox| outbox.flight.as_ref()) {
            let branch = Branch { shard, slot, nonce: flight.nonce };
            out.list.push((flight.over, from..out.bytes.len(), Some(branch)));
        }
    }

    /// Ends the open transaction of an outbox.
    pub(super) fn land(&mut self, slot: u32) -> Option<Flight> {
        let outbox = self.outbox(slot)?;
        let flight = outbox.flight.take()?;
        if outbox.contact.is_route {
            self.leave_hop(flight.dest, flight.probe);
        }
        Some(flight)
    }

    /// A response with a branch of ours.
    pub fn response(&mut self, now: Now, reply: Reply, out: &mut Outgoing, events: &mut Vec<Event>) {
        let slot = reply.branch.slot;
        let timers = self.settings.timers;
        let flight = self.outbox(slot).and_then(|outbox| outbox.flight.as_mut());
        let Some(flight) = flight.filter(|flight| flight.nonce == reply.branch.nonce) else {
            self.counters.strays += 1;
            return;
        };
        if reply.status < 200 {
            flight.timer.provisional(&timers);
            let dest = flight.dest;
            if self.outbox(slot).is_some_and(|outbox| outbox.contact.is_route) {
                self.hops.entry(dest).or_default().heard = Some(now.at);
            }
            return self.arm(slot);
        }
        self.settle(now, slot, reply, out, events);
        self.pump(now, slot, out, events);
        self.lead_on(now, out, events);
    }

    pub(super) fn settle(
        &mut self,
        now: Now,
        slot: u32,
        reply: Reply,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let (status, prefix) = (reply.status, self.settings.prefix);
        let Some(flight) = self.land(slot) else { return };
        let Some(outbox) = self.outbox(slot) else { return };
        let (is_route, dest, account) = (outbox.contact.is_route, flight.dest, outbox.account);
        let retry_after = reply.retry_after.map(|s| Duration::from_secs(u64::from(s)));
        let verdict = match outcome(status, is_route) {
            Outcome::Unbound | Outcome::Poison if flight.item.is_notice() => Outcome::GiveUp,
            verdict => verdict,
        };
        if is_route && verdict != Outcome::HopDown {
            self.hop_answered(now, dest, out, events);
        }
        let Some(outbox) = self.outbox(slot) else { return };
        if verdict == Outcome::Unbound && std::mem::take(&mut outbox.heard) {
            // It has registered or spoken since this was sent: the answer is about how it was before.
            outbox.answered();
            return;
        }
        if !matches!(verdict, Outcome::Done | Outcome::Convert) {
            answered(&flight.item, outbox, status, None, events);
        }
        match verdict {
            Outcome::Done => {
                outbox.answered();
                outbox.takes_bare |= outbox.shape.bare;
                if flight.over != dest {
                    outbox.large = Large::Works;
                }
                if outbox.shape.part + 1 < flight.parts {
                    outbox.shape.part += 1;
                    return;
                }
                answered(&flight.item, outbox, status, None, events);
                outbox.finish(&flight.item);
                if let Item::Entry(entry) = &flight.item {
                    let ms = u64::try_from(now.ms - entry.at).unwrap_or(0);
                    self.counters.took.add(Duration::from_millis(ms));
                    self.counters.delivered += 1;
                    self.counters.stored_elsewhere += u64::from(is_route && status == 202);
                }
            }
            Outcome::Away => {
                if is_route && !matches!(status, 408 | 430 | 480 | 486 | 491 | 504) {
                    events.push(Event::RouteRefused { aor: outbox.contact.aor.clone(), status });
                }
                if status == FLOW_FAILED && !is_route {
                    self.missed(now, slot, retry_after);
                } else {
                    outbox.rest(now.at, retry_after);
                }
            }
            Outcome::HopDown => {
                self.hop_failed(now, dest, flight.probe, retry_after);
                self.missed(now, slot, retry_after);
            }
            Outcome::Poison => {
                if matches!(flight.item, Item::Aside(..)) || outbox.refused(now.at, &flight.item, retry_after)
                {
                    outbox.answered();
                    self.give_up(slot, &flight.item, status, events);
                }
            }
            Outcome::Unbound => {
                events.push(Event::Unbound { account, contact: outbox.contact.key.clone() });
                self.close(slot, now, out, events);
            }
            Outcome::Convert => {
                outbox.answered();
                let (shape, text) = (outbox.shape, flight.item.is_text());
                let size = body_len(&flight.item);
                let too_large = matches!(status, 413 | 513);
                if !too_large {
                    events.extend(refused_type(outbox, &flight.item, &reply));
                }
                if !text && outbox.convert(now.ms, prefix) {
                    return;
                }
                if text && too_large && shape.split.is_none() && size > PART_MIN {
                    outbox.shape.split = Some((size / 2).max(PART_MIN));
                } else if text && !too_large && !shape.bare {
                    outbox.shape.bare = true;
                } else {
                    answered(&flight.item, outbox, status, reply.accept.as_ref(), events);
                    self.give_up(slot, &flight.item, status, events);
                }
            }
            Outcome::GiveUp => {
                outbox.answered();
                self.give_up(slot, &flight.item, status, events);
            }
        }
    }

    pub(super) fn give_up(&mut self, slot: u32, item: &Item, status: u16, events: &mut Vec<Event>) {
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.finish(item);
        if let Item::Entry(entry) = item {
            let (account, device) = (outbox.account, outbox.contact.device.clone());
            let notice = entry.kind == EntryKind::Notice;
            events.push(Event::GaveUp { account, device, seq: entry.seq, status, notice });
            self.counters.gave_up += 1;
        }
    }

    /// The transport could not send or was told that nobody is there: silence, but known at once (RFC 3261 §18.4).
    pub(super) fn failed(&mut self, now: Now, branch: Branch, out: &mut Outgoing, events: &mut Vec<Event>) {
        let slot = branch.slot;
        let flight = self.outbox(slot).and_then(|outbox| outbox.flight.as_ref());
        if flight.is_some_and(|flight| flight.nonce == branch.nonce) {
            self.silence(now, slot, true, events);
            self.pump(now, slot, out, events);
            self.lead_on(now, out, events);
        }
    }

    /// Nobody answered; `known`: nobody will, says the transport.
    pub(super) fn silence(&mut self, now: Now, slot: u32, known: bool, events: &mut Vec<Event>) {
        let Some(flight) = self.land(slot) else { return };
        let Some(outbox) = self.outbox(slot) else { return };
        let dest = flight.dest;
        if flight.over != dest {
            // Only the detour for a large message failed: without it then.
            outbox.large = Large::Fails;
            return;
        }
        answered(&flight.item, outbox, 0, None, events);
        if outbox.contact.is_route {
            // A next hop that has answered others meanwhile is not down: this address is.
            let heard = self.hops.get(&dest).and_then(|hop| hop.heard);
            if known || heard.is_none_or(|heard| heard < flight.started) {
                self.hop_failed(now, dest, flight.probe, None);
            }
        }
        self.missed(now, slot, None);
    }
}

pub(super) enum Sent {
    Yes,
    /// It cannot go there, for this reason.
    No(u16),
}

/// Somebody may be waiting for the answer to a direct message (spec §5.4). Not told of an answer after which the
/// same message is tried in another shape.
fn answered(item: &Item, outbox: &Outbox, status: u16, accept: Option<&Arc<str>>, events: &mut Vec<Event>) {
    if let Item::Entry(entry) = item
        && entry.kind == EntryKind::Direct
    {
        let (account, contact) = (outbox.account, outbox.contact.key.clone());
        events.push(Event::Answered { account, contact, seq: entry.seq, status, accept: accept.cloned() });
    }
}

/// A body that is no text was refused for its type: it is remembered, here at once.
fn refused_type(outbox: &mut Outbox, item: &Item, reply: &Reply) -> Option<Event> {
    let given = match item {
        Item::Entry(entry) => entry.content_type.as_deref(),
        Item::Aside(aside, _) => aside.content_type.as_deref(),
    };
    let given = given.filter(|_| !item.is_text())?;
    let refuses = media(given);
    Arc::make_mut(&mut outbox.contact.takes).refused(&refuses);
    let (account, contact) = (outbox.account, outbox.contact.key.clone());
    Some(Event::Learned { account, contact, refuses, accept: reply.accept.clone() })
}

fn body_len(item: &Item) -> usize {
    match item {
        Item::Entry(entry) => entry.body.len(),
        Item::Aside(aside, _) => aside.body.len(),
    }
}
