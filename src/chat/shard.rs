//! All contacts of one core: a state machine, bytes and time in, transmits and events out.
//!
//! A shard owns the outboxes of a hash range of accounts. A response is matched, the cursor moved and the next
//! MESSAGE sent in one call, without lock, task or channel. Responses find their outbox by our branch alone.
//! Never reads a clock, a socket or the store: pages are asked for by an event and come back as an input.

mod hops;
mod reach;
mod send;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::hops::Hop;
use self::reach::Departed;
use super::dialect::Dialect;
use super::ids::{Branch, Ids};
use super::outbox::{Outbox, Skips};
use super::render::{Aside, Contact, Target};
use super::wheel::Wheel;
use crate::config::Prefix;
use crate::sip::transaction::{Fire, Timers};
use crate::types::{
    AccountId, Announcement, Aor, ConvId, Dest, DeviceKey, Entry, EntryKind, Seq, Span, Spread, UnixMs,
};

/// What does not change while the shard lives.
pub struct Settings {
    pub shard: u8,
    pub ids: Ids,
    pub timers: Timers,
    pub dialect: Dialect,
    pub copy_to_sender: bool,
    /// `offline.prefix`.
    pub prefix: Prefix,
    /// A time as C's `ctime` writes it, in the server's time zone.
    pub ctime: fn(UnixMs) -> String,
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
    Alive {
        account: AccountId,
        source: std::net::SocketAddr,
    },
    /// Say this to the contact with this source address, or to all contacts of the account.
    Aside {
        account: AccountId,
        source: Option<std::net::SocketAddr>,
        aside: Arc<Aside>,
    },
    /// These entries of an account's mailbox were taken back: what is not on its way already is not sent.
    Withdrawn {
        account: AccountId,
        seqs: Arc<[Seq]>,
    },
    /// The route to an account is to close, but not over what is on its way: [`Event::Left`] tells when.
    Leave {
        account: AccountId,
    },
    /// A response that another shard's socket received.
    Response(Reply),
    /// The transport could not send, or heard that it did not arrive.
    Failed(Branch),
    /// An answer to [`Event::Locate`]: the targets of an account's route, in order, and how long they are good. None:
    /// there is no way now.
    Located {
        account: AccountId,
        targets: Arc<[Target]>,
        good_for: Duration,
    },
    /// Settings that may change while running.
    CopyToSender(bool),
    Prefix(Prefix),
}

/// What matters of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub branch: Branch,
    pub status: u16,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// Accept of a 415 or 488: media types, comma-separated, bounded.
    pub accept: Option<Arc<str>>,
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
    Page { slot: u32, id: u64, account: AccountId, device: DeviceKey, after: Seq, skips: Option<Skips> },
    /// Something waits for an address whose targets are not known, or not any more: look them up and answer with
    /// [`Input::Located`].
    Locate { account: AccountId, aor: Aor },
    /// An answer to [`Input::Leave`]: no route to this account is open any more.
    Left { account: AccountId },
    /// A device shows itself again after it was away: what was said above `from` up to `upto` waits for it.
    Returned { account: AccountId, device: DeviceKey, from: Seq, upto: Seq },
    /// A contact said 404, 405 or 410: it is not used until it registers anew.
    Unbound { account: AccountId, contact: Arc<str> },
    /// A device does not get an entry. `notice`: it is a word of a room, perhaps an invitation.
    GaveUp { account: AccountId, device: DeviceKey, seq: Seq, status: u16, notice: bool },
    /// A route refused us as a proxy of strangers would: somebody should look.
    RouteRefused { aor: Aor, status: u16 },
    /// A contact answered a direct message, finally; status 0: in silence.
    Answered { account: AccountId, contact: Arc<str>, seq: Seq, status: u16, accept: Option<Arc<str>> },
    /// A contact refused a media type, and perhaps said what it takes instead.
    Learned { account: AccountId, contact: Arc<str>, refuses: String, accept: Option<Arc<str>> },
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
    /// Appends what `write` makes; a failure is reported for `branch`.
    pub fn message(&mut self, to: Dest, branch: Option<Branch>, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len();
        write(&mut self.bytes);
        self.list.push((to, from..self.bytes.len(), branch));
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
    /// Typing notices and receipts that a contact was not told: it does not take them, or is away.
    pub notices_dropped: u64,
    /// Taken with 202 by a route: stored there.
    pub stored_elsewhere: u64,
    /// From accepting an entry to a device taking it.
    pub took: Spread,
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
        self.notices_dropped += other.notices_dropped;
        self.stored_elsewhere += other.stored_elsewhere;
        self.took += other.took;
    }
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
    /// They waited for a next hop that has just gone down, and have another.
    stranded: Vec<(u32, u64)>,
    wheel: Wheel,
    /// Highest seq announced.
    head: Seq,
    moved: Vec<u32>,
    /// Positions of outboxes that have closed.
    closed: Vec<(AccountId, DeviceKey, Seq)>,
    /// The same, for those who come back before that is known.
    departed: HashMap<AccountId, Vec<Departed>>,
    departures: VecDeque<(Instant, AccountId)>,
    counters: Counters,
    next_id: u64,
    /// Nothing new is begun.
    resting: bool,
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
            stranded: Vec::new(),
            wheel: Wheel::new(now),
            head,
            moved: Vec::new(),
            closed: Vec::new(),
            departed: HashMap::new(),
            departures: VecDeque::new(),
            counters: Counters::default(),
            next_id: 1,
            resting: false,
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

    /// The end is near: what is on its way may still arrive, nothing else is sent.
    pub fn rest(&mut self) {
        self.resting = true;
    }

    /// No answer is awaited.
    pub fn is_idle(&self) -> bool {
        self.slots.iter().flatten().all(|slot| slot.outbox.flight.is_none())
    }

    /// How much waits in memory for the contact with most of it.
    pub fn longest(&self) -> usize {
        self.slots.iter().flatten().map(|slot| slot.outbox.waiting()).max().unwrap_or_default()
    }

    pub fn input(&mut self, now: Now, input: Input, out: &mut Outgoing, events: &mut Vec<Event>) {
        match input {
            Input::Announce(announcement) => self.announce(now, &announcement, out, events),
            Input::Reach(reach) => self.reach(now, *reach, out, events),
            Input::Page(page) => self.page(now, *page, out, events),
            Input::Response(reply) => self.response(now, reply, out, events),
            Input::Located { account, targets, good_for } => {
                for slot in self.accounts.get(&account).cloned().unwrap_or_default() {
                    self.located(now, slot, &targets, good_for, out, events);
                }
            }
            Input::Failed(branch) => self.failed(now, branch, out, events),
            Input::Alive { account, source } => {
                for slot in self.accounts.get(&account).cloned().unwrap_or_default() {
                    if let Some(outbox) = self.outbox(slot)
                        && (outbox.contact.is_route || outbox.contact.is_at(source))
                    {
                        outbox.heard = outbox.flight.is_some();
                        if outbox.pause.is_some() {
                            outbox.answered();
                            self.pump(now, slot, out, events);
                        }
                    }
                }
            }
            Input::Aside { account, source, aside } => self.aside(now, account, source, &aside, out, events),
            Input::Withdrawn { account, seqs } => {
                for slot in self.accounts.get(&account).cloned().unwrap_or_default() {
                    if let Some(outbox) = self.outbox(slot) {
                        outbox.withdraw(&seqs);
                        self.pump(now, slot, out, events);
                    }
                }
            }
            Input::Leave { account } => self.leave(now, account, out, events),
            Input::CopyToSender(on) => self.settings.copy_to_sender = on,
            Input::Prefix(prefix) => self.settings.prefix = prefix,
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
        let head = self.head;
        for (account, span) in news.spans.iter().filter(|(_, span)| span.until.is_some()) {
            if let Some(listeners) = self.listeners.get_mut(&span.conversation) {
                listeners.retain(|listener| listener.until.is_none_or(|until| until > head));
                if listeners.is_empty() {
                    self.listeners.remove(&span.conversation);
                }
            }
            for slot in self.accounts.get(account).cloned().unwrap_or_default() {
                self.forget_spans(slot);
            }
        }
    }

    /// Lets go of spans that have ended. Not while a page is awaited that may still show them open.
    fn forget_spans(&mut self, slot: u32) {
        let head = self.head;
        if let Some(outbox) = self.outbox(slot)
            && outbox.skips.is_some()
        {
            outbox.spans.retain(|span| span.until.is_none_or(|until| until > head));
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
        let head = self.head;
        let Some(outbox) = self.outbox(slot) else { return };
        let known =
            outbox.spans.iter_mut().find(|s| s.conversation == span.conversation && s.since == span.since);
        if let Some(known) = known {
            // An end that was heard of is not taken back by a page that was read before it.
            if known.until.is_none() && span.until.is_some() {
                known.until = span.until;
                let listeners = self.listeners.entry(span.conversation).or_default();
                for listener in listeners.iter_mut().filter(|l| l.slot == slot && l.since == span.since) {
                    listener.until = span.until;
                }
            }
        } else if span.until.is_none_or(|until| until > head) {
            outbox.spans.push(span);
            let listener = Listener { slot, since: span.since, until: span.until };
            self.listeners.entry(span.conversation).or_default().push(listener);
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
            .filter(|slot| source.is_some_and(|at| self.outbox(*slot).is_some_and(|o| o.contact.is_at(at))))
            .collect();
        for slot in if asked.is_empty() { slots } else { asked } {
            let name = Seq(-((self.nonce() >> 2) as i64) - 1);
            let Some(outbox) = self.outbox(slot) else { continue };
            let takes = aside.content_type.as_deref().is_none_or(|kind| outbox.contact.takes.knows(kind));
            let away = outbox.pause.is_some_and(|pause| pause > now.at);
            if !takes || (away && aside.is_typing()) {
                self.counters.notices_dropped += 1;
                continue;
            }
            let lost = outbox.aside(aside.clone(), name);
            self.counters.asides_lost += u64::from(lost);
            self.pump(now, slot, out, events);
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
            if let Some(dest) = outbox.keepalive_dest() {
                out.push(dest, b"\r\n\r\n");
            }
        }
        if outbox.looking.is_some_and(|looking| looking.until <= now.at) {
            return self.located(now, slot, &Arc::default(), Duration::ZERO, out, events);
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
                    self.silence(now, slot, false, events);
                }
            }
        }
        self.pump(now, slot, out, events);
        self.lead_on(now, out, events);
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
}

/// This device does not get this entry: its account said it (spec §4, `delivery.copy_to_sender`).
fn is_own(entry: &Entry, account: AccountId, device: &DeviceKey, copies: bool) -> bool {
    let Some((author, _)) = &entry.sender else { return false };
    // What somebody writes to himself is addressed to him.
    if *author != account || entry.kind == EntryKind::Direct {
        return false;
    }
    !copies || entry.source.as_ref().is_none_or(|source| source == device)
}
