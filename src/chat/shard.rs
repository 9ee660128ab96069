//! All contacts of one core: a state machine, bytes and time in, transmits and events out.
//!
//! A shard owns the outboxes of a hash range of accounts. A response is matched, the cursor moved and the next
//! MESSAGE sent in one call, without lock, task or channel. Responses find their outbox by our branch alone.
//! Never reads a clock, a socket or the store: pages are asked for by an event and come back as an input.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dialect::Dialect;
use super::ids::{Branch, Ids};
use super::outbox::{ASIDE_MAX, Flight, Item, Large, Outbox, Skips, backoff};
use super::outcome::{Outcome, outcome};
use super::render::{self, Aside, Contact, DATAGRAM_MAX, Head};
use super::wheel::Wheel;
use crate::sip::transaction::{ClientTimer, Fire, Timers};
use crate::types::{
    AccountId, Announcement, Aor, ConvId, Dest, DeviceKey, Entry, EntryKind, Face, Seq, Span, UnixMs,
};

/// Transactions open at once towards one next hop of routes (design.md, routes).
const HOP_WINDOW: usize = 64;
/// Text parts are not made smaller than this.
const PART_MIN: usize = 200;

/// What does not change while the shard lives.
pub struct Settings {
    pub shard: u8,
    pub ids: Ids,
    pub timers: Timers,
    pub dialect: Dialect,
    pub copy_to_sender: bool,
    /// CRLFCRLF to UDP contacts behind NAT so often.
    pub keepalive: Option<Duration>,
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub at: Instant,
    pub ms: UnixMs,
}

/// What floors above tell a shard.
pub enum Input {
    /// A commit: spans first, then entries.
    Announce(Arc<Announcement>),
    /// All ways to an account, as they are now.
    Reach(Box<Reach>),
    /// An answer to [`Event::Page`].
    Page(Box<Page>),
    /// An account's device sent something from here: what is paused towards it is tried at once.
    Alive { account: AccountId, source: std::net::SocketAddr },
    /// Say this to the contact with this source address, or to all contacts of the account.
    Aside { account: AccountId, source: Option<std::net::SocketAddr>, aside: Arc<Aside> },
    /// A response that another shard's socket received.
    Response(Reply),
    /// The transport could not send, or heard that it did not arrive.
    Failed(Branch),
    /// Settings that may change while running.
    CopyToSender(bool),
}

/// What matters of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    pub branch: Branch,
    pub status: u16,
    /// Seconds.
    pub retry_after: Option<u32>,
}

/// All ways to an account. Outboxes that are not named any more close; new ones open.
pub struct Reach {
    pub account: AccountId,
    pub contacts: Vec<Contact>,
    /// Positions on disk.
    pub positions: Vec<(DeviceKey, Seq)>,
    /// Where a device without a position starts.
    pub furthest: Seq,
    /// Contacts that have just shown that they are there: no pause for them.
    pub fresh: Vec<Arc<str>>,
}

/// A piece of the log for one outbox.
pub struct Page {
    pub slot: u32,
    pub id: u64,
    pub entries: Vec<Arc<Entry>>,
    /// Complete up to here.
    pub through: Seq,
    pub more: bool,
    /// What the account may see, as of this page.
    pub spans: Vec<Span>,
    pub skips: Skips,
    /// Said before the entries: how many were skipped.
    pub asides: Vec<Arc<Aside>>,
}

/// What a shard tells the floors above.
#[derive(Debug)]
pub enum Event {
    /// Read the log for this outbox and answer with [`Input::Page`]. `skips` are those in force; `None`: find out.
    Page { slot: u32, id: u64, account: AccountId, after: Seq, skips: Option<Skips> },
    /// A contact said 404, 405 or 410: it is not used until it registers anew.
    Unbound { account: AccountId, contact: Arc<str> },
    /// A device does not get an entry.
    GaveUp { account: AccountId, device: DeviceKey, seq: Seq, status: u16 },
    /// A route refused us as a proxy of strangers would: somebody should look.
    RouteRefused { aor: Aor, status: u16 },
    /// A contact answered a direct message, finally; status 0: in silence.
    Answered { account: AccountId, contact: Arc<str>, seq: Seq, status: u16 },
}

/// Messages to send, packed: one buffer, no allocation each.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    list: Vec<(Dest, Range<usize>, Option<Branch>)>,
}

impl Outgoing {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    pub fn len(&self) -> usize {
        self.list.len()
    }
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }
    /// Destination, bytes, and the branch to report a failure for.
    pub fn iter(&self) -> impl Iterator<Item = (Dest, &[u8], Option<Branch>)> {
        self.list.iter().map(|(to, range, branch)| (*to, &self.bytes[range.clone()], *branch))
    }
    pub fn push(&mut self, to: Dest, bytes: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.list.push((to, from..self.bytes.len(), None));
    }
}

/// Monotonic counts since start.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    /// MESSAGE requests sent first.
    pub sent: u64,
    pub retransmitted: u64,
    /// Entries taken by a device.
    pub delivered: u64,
    /// Entries a device does not get.
    pub gave_up: u64,
    /// Transactions that ended in silence.
    pub timed_out: u64,
    /// Responses that matched nothing.
    pub strays: u64,
    /// Asides lost for want of room.
    pub asides_lost: u64,
    /// Taken with 202 by a route: stored there.
    pub stored_elsewhere: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        self.sent += other.sent;
        self.retransmitted += other.retransmitted;
        self.delivered += other.delivered;
        self.gave_up += other.gave_up;
        self.timed_out += other.timed_out;
        self.strays += other.strays;
        self.asides_lost += other.asides_lost;
        self.stored_elsewhere += other.stored_elsewhere;
    }
}

/// Towards one next hop of routes.
#[derive(Default)]
struct Hop {
    open: usize,
    down_until: Option<Instant>,
    fails: u32,
    probing: bool,
    waiting: VecDeque<(u32, u64)>,
}

/// Who listens to a conversation.
#[derive(Clone, Copy)]
struct Listener {
    slot: u32,
    since: Seq,
    until: Option<Seq>,
}

struct Slot {
    id: u64,
    outbox: Outbox,
}

/// See the module's text.
pub struct Shard {
    settings: Settings,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    accounts: HashMap<AccountId, Vec<u32>>,
    listeners: HashMap<ConvId, Vec<Listener>>,
    hops: HashMap<Dest, Hop>,
    wheel: Wheel,
    /// Highest seq announced.
    head: Seq,
    moved: Vec<u32>,
    /// Positions of outboxes that have closed.
    closed: Vec<(AccountId, DeviceKey, Seq)>,
    counters: Counters,
    next_id: u64,
    /// Source of nonces; seeded from the system, see [`Shard::nonce`].
    nonce: u64,
    scratch: Vec<u32>,
}

impl Shard {
    /// `seed`: random. `head`: the last seq of the log.
    pub fn new(settings: Settings, now: Instant, seed: u64, head: Seq) -> Shard {
        Shard {
            settings,
            slots: Vec::new(),
            free: Vec::new(),
            accounts: HashMap::new(),
            listeners: HashMap::new(),
            hops: HashMap::new(),
            wheel: Wheel::new(now),
            head,
            moved: Vec::new(),
            closed: Vec::new(),
            counters: Counters::default(),
            next_id: 1,
            nonce: seed,
            scratch: Vec::new(),
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Outboxes, and how many of them have a transaction open.
    pub fn load(&self) -> (usize, usize) {
        let open = self.slots.iter().flatten().filter(|slot| slot.outbox.flight.is_some()).count();
        (self.slots.len() - self.free.len(), open)
    }

    pub fn input(&mut self, now: Now, input: Input, out: &mut Outgoing, events: &mut Vec<Event>) {
        match input {
            Input::Announce(announcement) => self.announce(now, &announcement, out, events),
            Input::Reach(reach) => self.reach(now, *reach, out, events),
            Input::Page(page) => self.page(now, *page, out, events),
            Input::Response(reply) => self.response(now, reply, out, events),
            Input::Failed(branch) => self.failed(now, branch, out, events),
            Input::Alive { account, source } => {
                for slot in self.accounts.get(&account).cloned().unwrap_or_default() {
                    if let Some(outbox) = self.outbox(slot)
                        && outbox.pause.is_some()
                        && (outbox.contact.is_route || outbox.contact.source == Some(source))
                    {
                        outbox.answered();
                        self.pump(now, slot, out, events);
                    }
                }
            }
            Input::Aside { account, source, aside } => self.aside(now, account, source, &aside, out, events),
            Input::CopyToSender(on) => self.settings.copy_to_sender = on,
        }
    }

    fn outbox(&mut self, slot: u32) -> Option<&mut Outbox> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|slot| &mut slot.outbox)
    }

    fn id(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).and_then(Option::as_ref).map_or(0, |slot| slot.id)
    }

    // ── what was said ────────────────────────────────────────────────────────────────────────────────────

    fn announce(&mut self, now: Now, news: &Announcement, out: &mut Outgoing, events: &mut Vec<Event>) {
        for (account, span) in &news.spans {
            for slot in self.accounts.get(account).cloned().unwrap_or_default() {
                self.listen(slot, *span);
            }
        }
        for entry in &news.entries {
            self.head = self.head.max(entry.seq);
            // Taken out while outboxes change; `offer` and `pump` never touch the lists.
            let Some(listeners) = self.listeners.get_mut(&entry.conversation).map(std::mem::take) else {
                continue;
            };
            for listener in &listeners {
                if entry.seq >= listener.since && listener.until.is_none_or(|until| entry.seq <= until) {
                    self.offer(now, listener.slot, entry, out, events);
                }
            }
            self.listeners.insert(entry.conversation, listeners);
        }
        for (_, span) in &news.spans {
            if span.until.is_some()
                && let Some(listeners) = self.listeners.get_mut(&span.conversation)
            {
                listeners.retain(|listener| listener.until.is_none());
            }
        }
    }

    fn offer(
        &mut self,
        now: Now,
        slot: u32,
        entry: &Arc<Entry>,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let copies = self.settings.copy_to_sender;
        let Some(outbox) = self.outbox(slot) else { return };
        let own = is_own(entry, outbox.account, &outbox.contact.device, copies);
        outbox.offer(entry, own);
        if outbox.flight.is_none() {
            self.pump(now, slot, out, events);
        }
    }

    fn listen(&mut self, slot: u32, span: Span) {
        let Some(outbox) = self.outbox(slot) else { return };
        match outbox.spans.iter_mut().find(|s| s.conversation == span.conversation && s.since == span.since) {
            Some(known) => known.until = known.until.or(span.until),
            None => outbox.spans.push(span),
        }
        let listeners = self.listeners.entry(span.conversation).or_default();
        match listeners.iter_mut().find(|l| l.slot == slot && l.since == span.since) {
            Some(known) => known.until = known.until.or(span.until),
            None => listeners.push(Listener { slot, since: span.since, until: span.until }),
        }
    }

    fn aside(
        &mut self,
        now: Now,
        account: AccountId,
        source: Option<std::net::SocketAddr>,
        aside: &Arc<Aside>,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let slots = self.accounts.get(&account).cloned().unwrap_or_default();
        let asked: Vec<u32> = slots
            .iter()
            .copied()
            .filter(|slot| source.is_some() && self.outbox(*slot).is_some_and(|o| o.contact.source == source))
            .collect();
        for slot in if asked.is_empty() { slots } else { asked } {
            let name = Seq(-((self.nonce() >> 2) as i64) - 1);
            let Some(outbox) = self.outbox(slot) else { continue };
            outbox.asides.push_back((aside.clone(), name));
            if outbox.asides.len() > ASIDE_MAX {
                // The one on its way stays: the oldest behind it goes.
                outbox.asides.remove(1);
                self.counters.asides_lost += 1;
            }
            self.pump(now, slot, out, events);
        }
    }

    // ── ways to accounts ─────────────────────────────────────────────────────────────────────────────────

    fn reach(&mut self, now: Now, reach: Reach, out: &mut Outgoing, events: &mut Vec<Event>) {
        let existing = self.accounts.get(&reach.account).cloned().unwrap_or_default();
        let mut live: Vec<(DeviceKey, Seq)> = Vec::new();
        let mut furthest = reach.furthest;
        let head = self.head;
        for slot in &existing {
            if let Some(outbox) = self.outbox(*slot) {
                if outbox.caught_up() {
                    outbox.advance(head);
                }
                furthest = furthest.max(outbox.cursor());
                live.push((outbox.contact.device.clone(), outbox.cursor()));
            }
        }
        for (_, position) in &reach.positions {
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
            let known = known.map(|(_, position)| *position).max().filter(|_| !contact.is_route);
            // A route goes on where the account's devices are (design.md, routes).
            let cursor = known.unwrap_or(furthest);
            self.open(now, reach.account, contact, cursor, out, events);
        }
    }

    fn open(
        &mut self,
        now: Now,
        account: AccountId,
        contact: Contact,
        cursor: Seq,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let mut outbox = Outbox::new(account, contact, cursor);
        outbox.keepalive_at = self.keepalive_after(&outbox.contact, now);
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

    fn keepalive_after(&self, contact: &Contact, now: Now) -> Option<Instant> {
        self.settings.keepalive.filter(|_| contact.keepalive).map(|every| now.at + every)
    }

    /// A contact registered again, perhaps from elsewhere.
    fn renew(
        &mut self,
        now: Now,
        slot: u32,
        contact: &Contact,
        fresh: bool,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let keepalive = self.keepalive_after(contact, now);
        let Some(outbox) = self.outbox(slot) else { return };
        if outbox.contact != *contact {
            let moved = outbox.contact.dest != contact.dest;
            if outbox.contact.stream != contact.stream {
                outbox.large = Large::Untried;
            }
            outbox.contact = contact.clone();
            outbox.keepalive_at = keepalive;
            if moved && outbox.flight.is_some() {
                // What went to the old place is sent to the new one now, not after Timer F.
                self.land(slot);
            }
        }
        if let Some(outbox) = self.outbox(slot)
            && fresh
        {
            outbox.answered();
        }
        self.pump(now, slot, out, events);
    }

    fn close(&mut self, slot: u32, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        let flight = self.land(slot);
        let Some(Slot { outbox, .. }) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        if outbox.cursor() > Seq(0) {
            self.closed.push((outbox.account, outbox.contact.device.clone(), outbox.cursor()));
        }
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
        if flight.is_some() && outbox.contact.is_route {
            self.unproven(outbox.contact.dest);
            self.next_for_hop(now, outbox.contact.dest, out, events);
        }
    }

    // ── pages of the log ─────────────────────────────────────────────────────────────────────────────────

    fn page(&mut self, now: Now, page: Page, out: &mut Outgoing, events: &mut Vec<Event>) {
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

    // ── sending ──────────────────────────────────────────────────────────────────────────────────────────

    /// Does what can be done for an outbox now: sends, asks for a page, or arms its timer.
    fn pump(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let id = self.id(slot);
        loop {
            let Some(outbox) = self.outbox(slot) else { return };
            if outbox.flight.is_some() || outbox.parked {
                break;
            }
            if outbox.pause.is_some_and(|pause| pause > now.at) {
                break;
            }
            outbox.pause = None;
            let Some(item) = outbox.next(now.ms) else {
                if outbox.wants_page() {
                    let (account, after, skips) = (outbox.account, outbox.tail(), outbox.skips.clone());
                    events.push(Event::Page { slot, id, account, after, skips });
                }
                break;
            };
            let (is_route, dest) = (outbox.contact.is_route, outbox.contact.dest);
            if is_route && !self.admit(now, dest, slot) {
                break;
            }
            match self.send(now, slot, &item, out) {
                Sent::Yes => break,
                Sent::TooLarge => {
                    if is_route {
                        self.leave_hop(dest);
                        self.unproven(dest);
                    }
                    self.give_up(slot, &item, 513, events);
                }
            }
        }
        self.note(slot);
        self.arm(slot);
    }

    fn note(&mut self, slot: u32) {
        if let Some(outbox) = self.outbox(slot)
            && outbox.moved
            && !outbox.listed
        {
            outbox.listed = true;
            self.moved.push(slot);
        }
    }

    fn arm(&mut self, slot: u32) {
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
    fn nonce(&mut self) -> u64 {
        self.nonce = self.nonce.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let name = self.settings.ids.body(&self.nonce.to_be_bytes());
        name.max(1)
    }

    fn send(&mut self, now: Now, slot: u32, item: &Item, out: &mut Outgoing) -> Sent {
        let nonce = self.nonce();
        let reliable_is = |dest: Dest| !matches!(dest, Dest::Udp { .. });
        let timers = self.settings.timers;
        let Some(outbox) = self.outbox(slot) else { return Sent::Yes };
        let cseq = outbox.next_cseq(now.ms);
        let dest = outbox.contact.dest;
        outbox.flight = Some(Flight {
            item: item.clone(),
            nonce,
            cseq,
            timer: ClientTimer::start(now.at, &timers, reliable_is(dest)),
            over: dest,
            parts: 1,
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
            match outbox.contact.stream {
                Some((to, _)) if outbox.large != Large::Fails => {
                    flight.over = Dest::Connect(to);
                    flight.timer = ClientTimer::start(now.at, &timers, true);
                }
                _ if !item.is_text() || outbox.shape.split.is_some_and(|at| at <= PART_MIN) => {
                    outbox.flight = None;
                    return Sent::TooLarge;
                }
                _ => {
                    let smaller = match outbox.shape.split {
                        None => DATAGRAM_MAX.saturating_sub(size - body_len(item) + 16),
                        Some(at) => at / 2,
                    };
                    outbox.shape.split = Some(smaller.max(PART_MIN));
                }
            }
        }
        self.counters.sent += 1;
        self.post(slot, from, out);
        Sent::Yes
    }

    /// Appends the MESSAGE of the flight, as it is first sent and as it is sent again.
    fn render(&mut self, slot: u32, out: &mut Outgoing) {
        let (ids, dialect, shard) = (self.settings.ids, self.settings.dialect, self.settings.shard);
        let Some(outbox) = self.outbox(slot) else { return };
        let (shape, contact, account) = (outbox.shape, &outbox.contact, outbox.account);
        let Some(flight) = outbox.flight.as_mut() else { return };
        let via = match (&contact.stream, flight.over == contact.dest) {
            (Some((_, via)), false) => via,
            _ => &contact.via,
        };
        let (face, asserted): (&Face, Option<&Aor>) = match &flight.item {
            Item::Entry(entry) => {
                let author = entry.sender.as_ref().map(|(_, aor)| aor);
                (&entry.from, author.filter(|_| contact.trusted && !entry.private))
            }
            Item::Aside(aside, _) => (&aside.from, None),
        };
        let head = Head {
            contact,
            via,
            account,
            from: face,
            seq: flight.item.seq(),
            part: if shape.split.is_some() { shape.part + 1 } else { 0 },
            cseq: flight.cseq,
            branch: Branch { shard, slot, nonce: flight.nonce },
            asserted,
        };
        head.write(&ids, &mut out.bytes);
        let (hops, at, headers, content_type, body) = match &flight.item {
            Item::Entry(entry) => {
                if shape.split.is_none() && !shape.bare {
                    flight.parts = 1;
                    out.bytes.extend_from_slice(render::entry_tail(entry, dialect));
                    return;
                }
                let content_type = entry.content_type.as_deref().unwrap_or(render::PLAIN);
                (entry.hops, entry.at, &*entry.headers, content_type, render::shown(entry, dialect))
            }
            Item::Aside(aside, _) => {
                (aside.hops, aside.at, &*aside.headers, render::PLAIN, aside.body.as_bytes().into())
            }
        };
        let content_type = if shape.bare { render::bare_type() } else { content_type };
        match shape.split {
            None => {
                flight.parts = 1;
                render::tail(hops, at, headers, content_type, &body, &mut out.bytes);
            }
            Some(max) => {
                let parts = super::split::split_text(&String::from_utf8_lossy(&body), max);
                flight.parts = parts.len() as u16;
                let part = parts.get(usize::from(shape.part)).map_or("", String::as_str);
                render::tail(hops, at, headers, content_type, part.as_bytes(), &mut out.bytes);
            }
        }
    }

    fn post(&mut self, slot: u32, from: usize, out: &mut Outgoing) {
        let shard = self.settings.shard;
        if let Some(flight) = self.outbox(slot).and_then(|outbox| outbox.flight.as_ref()) {
            let branch = Branch { shard, slot, nonce: flight.nonce };
            out.list.push((flight.over, from..out.bytes.len(), Some(branch)));
        }
    }

    // ── answers ──────────────────────────────────────────────────────────────────────────────────────────

    /// Ends the open transaction of an outbox.
    fn land(&mut self, slot: u32) -> Option<Flight> {
        let outbox = self.outbox(slot)?;
        let flight = outbox.flight.take()?;
        let (is_route, dest) = (outbox.contact.is_route, outbox.contact.dest);
        if is_route {
            self.leave_hop(dest);
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
            return self.arm(slot);
        }
        self.settle(now, slot, reply.status, reply.retry_after, out, events);
        self.pump(now, slot, out, events);
    }

    fn settle(
        &mut self,
        now: Now,
        slot: u32,
        status: u16,
        retry_after: Option<u32>,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        let Some(flight) = self.land(slot) else { return };
        let Some(outbox) = self.outbox(slot) else { return };
        let (is_route, dest, account) = (outbox.contact.is_route, outbox.contact.dest, outbox.account);
        let retry_after = retry_after.map(|s| Duration::from_secs(u64::from(s)));
        let verdict = outcome(status, is_route);
        if is_route && verdict != Outcome::HopDown {
            self.hop_answered(now, dest, out, events);
        }
        let Some(outbox) = self.outbox(slot) else { return };
        answered(&flight.item, outbox, status, events);
        match verdict {
            Outcome::Done => {
                outbox.answered();
                if flight.over != dest {
                    outbox.large = Large::Works;
                }
                if outbox.shape.part + 1 < flight.parts {
                    outbox.shape.part += 1;
                    return;
                }
                outbox.finish(&flight.item);
                if let Item::Entry(_) = &flight.item {
                    self.counters.delivered += 1;
                    self.counters.stored_elsewhere += u64::from(is_route && status == 202);
                }
            }
            Outcome::Away => {
                if is_route && !matches!(status, 408 | 430 | 480 | 486 | 491 | 504) {
                    events.push(Event::RouteRefused { aor: outbox.contact.aor.clone(), status });
                }
                outbox.rest(now.at, retry_after);
            }
            Outcome::HopDown => self.hop_failed(now, dest, slot, retry_after),
            Outcome::Poison => {
                if matches!(flight.item, Item::Aside(..)) || outbox.refused(now.at, &flight.item) {
                    self.give_up(slot, &flight.item, status, events);
                    if let Some(outbox) = self.outbox(slot) {
                        outbox.answered();
                    }
                }
            }
            Outcome::Unbound => {
                events.push(Event::Unbound { account, contact: outbox.contact.key.clone() });
                self.close(slot, now, out, events);
            }
            Outcome::Convert => {
                let (shape, text) = (outbox.shape, flight.item.is_text());
                let size = body_len(&flight.item);
                let too_large = matches!(status, 413 | 513);
                if text && too_large && shape.split.is_none() && size > PART_MIN {
                    outbox.shape.split = Some((size / 2).max(PART_MIN));
                } else if text && !too_large && !shape.bare {
                    outbox.shape.bare = true;
                } else {
                    self.give_up(slot, &flight.item, status, events);
                }
            }
            Outcome::GiveUp => self.give_up(slot, &flight.item, status, events),
        }
    }

    fn give_up(&mut self, slot: u32, item: &Item, status: u16, events: &mut Vec<Event>) {
        let Some(outbox) = self.outbox(slot) else { return };
        outbox.finish(item);
        if let Item::Entry(entry) = item {
            let (account, device) = (outbox.account, outbox.contact.device.clone());
            events.push(Event::GaveUp { account, device, seq: entry.seq, status });
            self.counters.gave_up += 1;
        }
    }

    /// The transport could not send or was told that nobody is there: silence, but known at once (RFC 3261 §18.4).
    fn failed(&mut self, now: Now, branch: Branch, out: &mut Outgoing, events: &mut Vec<Event>) {
        let slot = branch.slot;
        let flight = self.outbox(slot).and_then(|outbox| outbox.flight.as_ref());
        if flight.is_some_and(|flight| flight.nonce == branch.nonce) {
            self.silence(now, slot, events);
            self.pump(now, slot, out, events);
        }
    }

    fn silence(&mut self, now: Now, slot: u32, events: &mut Vec<Event>) {
        let Some(flight) = self.land(slot) else { return };
        let Some(outbox) = self.outbox(slot) else { return };
        if flight.over == outbox.contact.dest {
            answered(&flight.item, outbox, 0, events);
        }
        let dest = outbox.contact.dest;
        if flight.over != dest {
            // Only the detour for a large message failed: without it then.
            outbox.large = Large::Fails;
            if outbox.contact.is_route {
                self.unproven(dest);
            }
        } else if outbox.contact.is_route {
            self.hop_failed(now, dest, slot, None);
        } else {
            outbox.rest(now.at, None);
        }
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────────────────

    /// When [`Shard::poll`] is due next.
    pub fn due(&self) -> Option<Instant> {
        let hops = self.hops.values().filter(|hop| !hop.probing).filter_map(|hop| hop.down_until);
        hops.chain(self.wheel.next()).min()
    }

    pub fn poll(&mut self, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        let mut due = std::mem::take(&mut self.scratch);
        self.wheel.expire(now.at, &mut due);
        for slot in due.drain(..) {
            self.visit(now, slot, out, events);
        }
        self.scratch = due;
        let down = self.hops.iter().filter(|(_, hop)| hop.down_until.is_some_and(|until| until <= now.at));
        for dest in down.map(|(dest, _)| *dest).collect::<Vec<_>>() {
            self.next_for_hop(now, dest, out, events);
        }
    }

    fn visit(&mut self, now: Now, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let (timers, every) = (self.settings.timers, self.settings.keepalive);
        let Some(outbox) = self.outbox(slot) else { return };
        if outbox.armed.is_some_and(|armed| armed > now.at) {
            return;
        }
        outbox.armed = None;
        if let (Some(at), Some(every)) = (outbox.keepalive_at, every)
            && at <= now.at
        {
            outbox.keepalive_at = Some(now.at + every);
            out.push(outbox.contact.dest, b"\r\n\r\n");
        }
        if let Some(flight) = outbox.flight.as_mut() {
            match flight.timer.on_due(now.at, &timers) {
                Fire::None => {}
                Fire::Retransmit => {
                    self.counters.retransmitted += 1;
                    let from = out.bytes.len();
                    self.render(slot, out);
                    self.post(slot, from, out);
                }
                Fire::TimedOut => {
                    self.counters.timed_out += 1;
                    self.silence(now, slot, events);
                }
            }
        }
        self.pump(now, slot, out, events);
    }

    /// Positions that have moved since this was last asked.
    pub fn positions(&mut self, out: &mut Vec<(AccountId, DeviceKey, Seq)>) {
        out.append(&mut self.closed);
        let moved = std::mem::take(&mut self.moved);
        for slot in &moved {
            if let Some(outbox) = self.outbox(*slot) {
                outbox.listed = false;
                outbox.moved = false;
                out.push((outbox.account, outbox.contact.device.clone(), outbox.cursor()));
            }
        }
        self.moved = moved;
        self.moved.clear();
    }

    /// [`Shard::positions`] has something.
    pub fn has_moved(&self) -> bool {
        !self.moved.is_empty() || !self.closed.is_empty()
    }

    // ── next hops of routes ──────────────────────────────────────────────────────────────────────────────

    /// A place towards the next hop, or a place in the queue for one.
    fn admit(&mut self, now: Now, dest: Dest, slot: u32) -> bool {
        let id = self.id(slot);
        let hop = self.hops.entry(dest).or_default();
        let down = hop.down_until.is_some();
        let probe = hop.down_until.is_some_and(|until| until <= now.at) && !hop.probing;
        if (!down && hop.open < HOP_WINDOW) || probe {
            hop.open += 1;
            hop.probing |= probe;
            return true;
        }
        hop.waiting.push_back((slot, id));
        if let Some(outbox) = self.outbox(slot) {
            outbox.parked = true;
        }
        false
    }

    fn leave_hop(&mut self, dest: Dest) {
        if let Some(hop) = self.hops.get_mut(&dest) {
            hop.open = hop.open.saturating_sub(1);
        }
    }

    /// A transaction towards the next hop ended without a word on how it is: was it the probe, the next one is.
    fn unproven(&mut self, dest: Dest) {
        if let Some(hop) = self.hops.get_mut(&dest)
            && hop.open == 0
        {
            hop.probing = false;
        }
    }

    fn hop_answered(&mut self, now: Now, dest: Dest, out: &mut Outgoing, events: &mut Vec<Event>) {
        if let Some(hop) = self.hops.get_mut(&dest) {
            hop.down_until = None;
            hop.probing = false;
            hop.fails = 0;
        }
        self.next_for_hop(now, dest, out, events);
    }

    fn hop_failed(&mut self, now: Now, dest: Dest, slot: u32, retry_after: Option<Duration>) {
        let id = self.id(slot);
        let hop = self.hops.entry(dest).or_default();
        // Transactions that were open when it went down fail one by one; that is one failure.
        if hop.down_until.is_none() || hop.probing {
            let pause = retry_after.unwrap_or_else(|| backoff(hop.fails)).max(Duration::from_secs(1));
            hop.down_until = Some(now.at + pause.min(super::outbox::BACKOFF_MAX));
            hop.fails = hop.fails.saturating_add(1);
            hop.probing = false;
        }
        hop.waiting.push_front((slot, id));
        if let Some(outbox) = self.outbox(slot) {
            outbox.parked = true;
        }
    }

    /// Lets those who wait for the next hop go, as many as it may have open.
    fn next_for_hop(&mut self, now: Now, dest: Dest, out: &mut Outgoing, events: &mut Vec<Event>) {
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
                hop.down_until = None;
                if hop.open == 0 {
                    self.hops.remove(&dest);
                }
                return;
            };
            if self.id(slot) == id
                && let Some(outbox) = self.outbox(slot)
            {
                outbox.parked = false;
                self.pump(now, slot, out, events);
            }
        }
    }
}

enum Sent {
    Yes,
    TooLarge,
}

/// Somebody may be waiting for the answer to a direct message (spec §5.4).
fn answered(item: &Item, outbox: &Outbox, status: u16, events: &mut Vec<Event>) {
    if let Item::Entry(entry) = item
        && entry.kind == EntryKind::Direct
    {
        let (account, contact) = (outbox.account, outbox.contact.key.clone());
        events.push(Event::Answered { account, contact, seq: entry.seq, status });
    }
}

fn body_len(item: &Item) -> usize {
    match item {
        Item::Entry(entry) => entry.body.len(),
        Item::Aside(aside, _) => aside.body.len(),
    }
}

/// This device does not get this entry: its account said it (spec §4, `delivery.copy_to_sender`).
fn is_own(entry: &Entry, account: AccountId, device: &DeviceKey, copies: bool) -> bool {
    let Some((author, _)) = &entry.sender else { return false };
    if *author != account {
        return false;
    }
    !copies || entry.source.as_ref().is_none_or(|source| source == device)
}
