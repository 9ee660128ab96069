//! Delivery to one contact: what it still has to get, and what is on its way.
//!
//! An outbox is a cursor in the log with a short queue before it. One MESSAGE is open towards the contact at a
//! time (RFC 3428 §8), so order holds on the wire and a slow phone cannot be flooded. It never sends by itself:
//! [`super::shard`] renders and times. It never forgets: what is not queued is read again from the store.

mod targets;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::phones::Manner;
use super::render::{Aside, Contact, as_text, is_sealed, is_text};
use crate::config::Prefix;
use crate::sip::transaction::ClientTimer;
use crate::types::{AccountId, ConvId, Dest, Entry, Seq, Span, UnixMs};

/// Entries that wait in memory; what goes beyond is read in pages.
pub const QUEUE_MAX: usize = 64;
/// Asides that wait; the oldest is lost first.
pub const ASIDE_MAX: usize = 64;
/// An entry refused with 5xx so often is given up (spec §5.5) …
const POISON_TRIES: u8 = 5;
/// … if the refusals are at least this far apart.
const POISON_APART: Duration = Duration::from_secs(60);
/// Text so old is late, whatever kept it.
const LATE_MS: UnixMs = 60_000;
/// A typing notice that waited so long tells nothing any more.
const TYPING_MS: UnixMs = 30_000;
/// Away: first pause, doubled up to the last.
const BACKOFF_MIN: Duration = Duration::from_secs(30);
pub const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);

/// How far conversations were shortened for this device by `offline.room_max`: entries up to the seq are skipped.
pub type Skips = Arc<[(ConvId, Seq)]>;

/// Where the outbox gets its next entries from.
#[derive(Debug)]
pub enum Supply {
    /// The queue has all there is; new entries are offered.
    Live,
    /// The log goes on beyond the queue.
    Behind {
        /// A page is on its way.
        asked: bool,
        /// Offered since then, contiguous with the page's end if nothing was lost.
        held: VecDeque<Arc<Entry>>,
        /// The highest seq offered that `held` has no room for.
        lost: Option<Seq>,
    },
}

/// What is to be sent next or is on its way.
#[derive(Clone, Debug)]
pub enum Item {
    Entry(Arc<Entry>),
    Aside(Arc<Aside>, Seq),
}

impl Item {
    pub fn seq(&self) -> Seq {
        match self {
            Item::Entry(entry) => entry.seq,
            Item::Aside(_, name) => *name,
        }
    }

    /// Text whose charset is the one that phones assume.
    fn is_our_text(&self) -> bool {
        match self {
            Item::Entry(entry) => entry.content_type.is_none(),
            Item::Aside(aside, _) => aside.content_type.is_none(),
        }
    }

    /// The body may be cut into parts.
    pub fn is_text(&self) -> bool {
        match self {
            Item::Entry(entry) => is_text(entry),
            Item::Aside(aside, _) => aside.content_type.is_none(),
        }
    }

    /// A typing notice or receipt: its loss is no loss, so that no answer to it says anything about the contact.
    pub fn is_notice(&self) -> bool {
        matches!(self, Item::Aside(aside, _) if aside.content_type.is_some())
    }
}

/// How the current item is sent; starts anew with each item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Text goes in parts of at most this many bytes.
    pub split: Option<usize>,
    /// Parts already taken.
    pub part: u16,
    /// Content-Type without parameters.
    pub bare: bool,
    /// Its time stands before the text.
    pub late: bool,
    /// The phone cannot show it, and there is no text in it.
    pub unfit: bool,
}

/// The one open transaction.
#[derive(Debug)]
pub struct Flight {
    pub item: Item,
    /// Last part of the branch.
    pub nonce: u64,
    pub cseq: u32,
    pub timer: ClientTimer,
    /// Of its target.
    pub dest: Dest,
    /// Where it goes: there, or on a detour for large messages.
    pub over: Dest,
    /// How many parts the item has in its present shape.
    pub parts: u16,
    pub started: Instant,
    /// It finds out whether a next hop that was down is up again.
    pub probe: bool,
}

/// Refusals of the entry at the head of the queue.
#[derive(Clone, Copy, Debug)]
struct Poison {
    seq: Seq,
    tries: u8,
    counted: Instant,
}

/// What is known of sending large messages over a stream (spec §5.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Large {
    Untried,
    Works,
    Fails,
}

/// Its targets are being looked up.
#[derive(Clone, Copy, Debug)]
pub struct Looking {
    /// Then it has failed.
    pub until: Instant,
    /// A place towards a next hop that it keeps meanwhile, and whether it is the probe's.
    pub hold: Option<(Dest, bool)>,
}

#[derive(Debug)]
pub struct Outbox {
    pub account: AccountId,
    pub contact: Contact,
    /// The target in use.
    pub turn: usize,
    /// Targets that did not take the item at work since it was last put off: a bit each.
    tried: u8,
    pub looking: Option<Looking>,
    /// Targets that were looked up are good until then.
    pub good_until: Option<Instant>,
    /// All at or below is done.
    cursor: Seq,
    /// All at or below is done, queued or not for us.
    tail: Seq,
    queue: VecDeque<Arc<Entry>>,
    pub asides: VecDeque<(Arc<Aside>, Seq)>,
    /// The last typing notice.
    typing: Option<(Arc<Aside>, Seq)>,
    /// It was taken back while it was on its way: if it does not arrive, it is not sent again.
    recalled: Option<Seq>,
    pub supply: Supply,
    pub flight: Option<Flight>,
    /// The item that `shape` speaks of: begun and not finished.
    working: Option<Item>,
    pub shape: Shape,
    /// Away until then.
    pub pause: Option<Instant>,
    /// Pauses in a row.
    pauses: u32,
    poison: Option<Poison>,
    pub large: Large,
    /// It takes text/plain without parameters, after it refused it with them.
    pub takes_bare: bool,
    /// CSeq of the last request for the item at work.
    last_cseq: u32,
    /// Used before this outbox opened: what it begins must be above.
    pub first_cseq: u32,
    /// It sent something while its transaction was open: silence is then no reason for a pause.
    pub heard: bool,
    /// It was away since the log was last read for it: what waits is counted anew.
    was_away: bool,
    /// It closes when nothing is on its way any more.
    pub leaving: bool,
    pub keepalive_at: Option<Instant>,
    /// When the wheel will visit it; a later need waits for that visit.
    pub armed: Option<Instant>,
    /// `None` until the page that opens the outbox has said what was skipped.
    pub skips: Option<Skips>,
    pub spans: Vec<Span>,
    /// Waits for a place towards this next hop.
    pub parked: Option<Dest>,
    /// The cursor has moved since positions were last taken.
    pub moved: bool,
    /// It is on the shard's list of those whose position is to be taken.
    pub listed: bool,
    /// When it came, or came back after it was away.
    pub since: UnixMs,
}

impl Outbox {
    /// `now`: what was said before comes late to it.
    pub fn new(account: AccountId, contact: Contact, cursor: Seq, now: UnixMs) -> Outbox {
        Outbox {
            account,
            contact,
            turn: 0,
            tried: 0,
            looking: None,
            good_until: None,
            cursor,
            tail: cursor,
            queue: VecDeque::new(),
            asides: VecDeque::new(),
            typing: None,
            recalled: None,
            supply: Supply::Behind { asked: false, held: VecDeque::new(), lost: None },
            flight: None,
            working: None,
            shape: Shape::default(),
            pause: None,
            pauses: 0,
            poison: None,
            large: Large::Untried,
            takes_bare: false,
            last_cseq: 0,
            first_cseq: 0,
            heard: false,
            was_away: false,
            leaving: false,
            keepalive_at: None,
            armed: None,
            skips: None,
            spans: Vec::new(),
            parked: None,
            moved: false,
            listed: false,
            since: now,
        }
    }

    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    pub fn tail(&self) -> Seq {
        self.tail
    }

    /// Nothing queued, nothing on its way, nothing further in the log.
    pub fn caught_up(&self) -> bool {
        matches!(self.supply, Supply::Live) && self.queue.is_empty() && !self.entry_in_flight()
    }

    /// Entries and asides that wait in memory.
    pub fn waiting(&self) -> usize {
        let held = match &self.supply {
            Supply::Live => 0,
            Supply::Behind { held, .. } => held.len(),
        };
        self.queue.len() + held + self.asides.len()
    }

    pub fn entry_in_flight(&self) -> bool {
        matches!(self.flight, Some(Flight { item: Item::Entry(_), .. }))
    }

    /// A new entry of a conversation it listens to. `own`: this device does not get it.
    pub fn offer(&mut self, entry: &Arc<Entry>, own: bool) {
        match &mut self.supply {
            Supply::Live if entry.seq <= self.tail => {}
            Supply::Live if own => {
                self.tail = entry.seq;
                self.settle();
            }
            Supply::Live if self.queue.len() < QUEUE_MAX => {
                self.tail = entry.seq;
                self.queue.push_back(entry.clone());
            }
            Supply::Live => {
                self.supply = Supply::Behind { asked: false, held: VecDeque::new(), lost: Some(entry.seq) };
            }
            Supply::Behind { asked, held, lost } => {
                if *asked && lost.is_none() && held.len() < QUEUE_MAX {
                    held.push_back(entry.clone());
                } else {
                    held.clear();
                    *lost = Some(entry.seq);
                }
            }
        }
    }

    /// A page of the log came: everything for us up to `through`; `more` lies beyond. `own` tells entries that
    /// this device does not get. `unseen`: a seq announced before we listened, so that another look is due.
    pub fn page(
        &mut self,
        entries: Vec<Arc<Entry>>,
        through: Seq,
        more: bool,
        unseen: Option<Seq>,
        own: impl Fn(&Entry) -> bool,
    ) {
        let Supply::Behind { asked, held, lost } = &mut self.supply else { return };
        *asked = false;
        let held = std::mem::take(held);
        let lost = std::mem::take(lost);
        let skipped = |entry: &Entry, skips: &Option<Skips>| {
            let skips = skips.as_deref().unwrap_or_default();
            skips.iter().any(|(conversation, upto)| *conversation == entry.conversation && entry.seq <= *upto)
        };
        for entry in entries {
            if entry.seq > self.tail {
                self.tail = entry.seq;
                if !own(&entry) && !skipped(&entry, &self.skips) {
                    self.queue.push_back(entry);
                }
            }
        }
        self.tail = self.tail.max(through);
        let gap = [lost, unseen].into_iter().flatten().any(|seq| seq > self.tail);
        if !more && !gap {
            self.supply = Supply::Live;
            for entry in held {
                let own = own(&entry);
                self.offer(&entry, own);
            }
        }
        self.settle();
    }

    /// The log has to be read from [`Outbox::tail`] on; answers once per page.
    pub fn wants_page(&mut self) -> bool {
        if let Supply::Behind { asked, held, lost } = &mut self.supply
            && !*asked
            && self.queue.is_empty()
        {
            *asked = true;
            // What was announced until now is in the page, or beyond one that says `more`.
            held.clear();
            *lost = None;
            if std::mem::take(&mut self.was_away) {
                self.skips = None;
            }
            return true;
        }
        false
    }

    /// The next thing to send: what was begun, then asides, then entries that have not expired; in the form that
    /// its contact can show.
    pub fn next(&mut self, now: UnixMs, prefix: Prefix) -> Option<Item> {
        match self.working.take() {
            Some(Item::Entry(entry)) if !self.is_due(&entry, now) => {
                self.shape = Shape::default();
                self.tried = 0;
            }
            begun => self.working = begun,
        }
        if self.working.is_none() {
            self.typing = self.typing.take().filter(|(typing, _)| typing.at + TYPING_MS > now);
            self.working = match self.asides.front().or(self.typing.as_ref()) {
                Some((aside, name)) => Some(Item::Aside(aside.clone(), *name)),
                None => self.front(now).map(Item::Entry),
            };
            self.last_cseq = self.first_cseq;
            if let Some(Item::Entry(entry)) = &self.working {
                // An author's own copy is text whatever the message was.
                let given = entry.content_type.as_deref().filter(|_| !is_text(entry));
                let manner = self.contact.takes.manner(given);
                let text = if manner == Manner::AsItIs { None } else { as_text(entry) };
                self.shape.unfit = manner == Manner::TextOnly && text.is_none();
                if let Some(text) = text {
                    self.working = Some(Item::Entry(text));
                }
            }
            self.shape.bare = self.takes_bare && self.working.as_ref().is_some_and(Item::is_our_text);
            self.shape.late = self.working.as_ref().is_some_and(|item| self.is_late(item, now, prefix));
        }
        self.working.clone()
    }

    /// Its time is said in the text (spec §2, `offline.prefix`).
    fn is_late(&self, item: &Item, now: UnixMs, prefix: Prefix) -> bool {
        let Item::Entry(entry) = item else { return false };
        if !is_text(entry) || is_sealed(&entry.body) {
            return false;
        }
        let old = now.saturating_sub(entry.at) > LATE_MS;
        match prefix {
            Prefix::Never => false,
            Prefix::Auto => old && !self.contact.takes.shows_date(),
            Prefix::Always => old || entry.at < self.since,
        }
    }

    /// It refused the item at work for its type: the text in it is tried, if there is some. False: there is none.
    pub fn convert(&mut self, now: UnixMs, prefix: Prefix) -> bool {
        let Some(Item::Entry(entry)) = &self.working else { return false };
        let Some(text) = as_text(entry).filter(|_| !is_text(entry)) else { return false };
        let item = Item::Entry(text);
        let late = self.is_late(&item, now, prefix);
        self.shape = Shape { bare: self.takes_bare, late, ..Shape::default() };
        self.working = Some(item);
        true
    }

    /// Says something besides the log. True: an older one was lost for it.
    pub fn aside(&mut self, aside: Arc<Aside>, name: Seq) -> bool {
        if aside.is_typing() {
            self.typing = Some((aside, name));
            return false;
        }
        self.asides.push_back((aside, name));
        if self.asides.len() <= ASIDE_MAX {
            return false;
        }
        // The one on its way stays: the oldest behind it goes.
        let begun = self.working.as_ref().map(Item::seq);
        let first = self.asides.front().is_some_and(|(_, name)| Some(*name) == begun);
        self.asides.remove(usize::from(first));
        true
    }

    fn is_due(&self, entry: &Entry, now: UnixMs) -> bool {
        entry.expires > now && self.recalled != Some(entry.seq)
    }

    fn front(&mut self, now: UnixMs) -> Option<Arc<Entry>> {
        while let Some(entry) = self.queue.front() {
            if self.is_due(entry, now) {
                return Some(entry.clone());
            }
            self.drop_front();
        }
        None
    }

    /// `item` is done with, taken or given up.
    pub fn finish(&mut self, item: &Item) {
        self.shape = Shape::default();
        self.working = None;
        self.poison = None;
        self.tried = 0;
        if matches!(self.supply, Supply::Live) {
            self.was_away = false;
        }
        match item {
            Item::Entry(entry) => {
                if self.queue.front().is_some_and(|front| front.seq == entry.seq) {
                    self.drop_front();
                }
            }
            Item::Aside(_, name) => {
                if self.asides.front().is_some_and(|(_, front)| front == name) {
                    self.asides.pop_front();
                }
                self.typing = self.typing.take().filter(|(_, typing)| typing != name);
            }
        }
    }

    /// These were taken back: what is not on its way already is not sent.
    pub fn withdraw(&mut self, seqs: &[Seq]) {
        let stays = |entry: &Arc<Entry>| !seqs.contains(&entry.seq);
        if self.flight.is_none()
            && let Some(Item::Entry(entry)) = &self.working
            && !stays(entry)
        {
            self.working = None;
            self.shape = Shape::default();
            self.tried = 0;
        }
        let flying = self.working.as_ref().map(Item::seq);
        self.recalled = flying.filter(|seq| seqs.contains(seq)).or(self.recalled);
        self.queue.retain(|entry| stays(entry) || Some(entry.seq) == flying);
        if let Supply::Behind { held, .. } = &mut self.supply {
            held.retain(stays);
        }
        self.settle();
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.queue.pop_front() {
            self.advance(entry.seq);
        }
        self.settle();
    }

    /// With nothing queued all up to the tail is done.
    fn settle(&mut self) {
        if self.queue.is_empty() {
            self.advance(self.tail);
        }
    }

    /// The device is caught up and goes away: what was said up to `head` was not for it.
    pub fn advance(&mut self, seq: Seq) {
        if seq > self.cursor {
            self.cursor = seq;
            self.moved = true;
        }
        self.tail = self.tail.max(self.cursor);
    }

    /// It answered. Pauses start small again.
    pub fn answered(&mut self) {
        self.pauses = 0;
        self.pause = None;
        self.tried = 0;
    }

    /// It cannot be reached, for whatever reason.
    pub fn is_away(&mut self) {
        self.was_away = true;
    }

    /// Away: stop until `after` (a Retry-After), or for a pause that grows each time.
    pub fn rest(&mut self, now: Instant, after: Option<Duration>) {
        self.is_away();
        self.tried = 0;
        let pause = after.map_or_else(|| backoff(self.pauses), |after| after.min(BACKOFF_MAX));
        self.pauses = self.pauses.saturating_add(1);
        self.pause = Some(now + pause.max(Duration::from_secs(1)));
    }

    /// A refusal of `item` with 5xx. True: it was the last one, give the entry up. Else try again in a minute,
    /// or after a longer Retry-After.
    pub fn refused(&mut self, now: Instant, item: &Item, after: Option<Duration>) -> bool {
        let seq = item.seq();
        let mut poison = match self.poison {
            Some(poison) if poison.seq == seq => poison,
            _ => Poison { seq, tries: 0, counted: now },
        };
        if poison.tries == 0 || now.saturating_duration_since(poison.counted) >= POISON_APART {
            poison.tries += 1;
            poison.counted = now;
        }
        self.poison = Some(poison);
        self.tried = 0;
        let after = now + after.unwrap_or_default().min(BACKOFF_MAX);
        self.pause = Some(after.max(poison.counted + POISON_APART));
        poison.tries >= POISON_TRIES
    }

    /// CSeq of the next request: rises over the retries of one Call-ID, also over a restart (RFC 3261 §8.1.1.5).
    /// So it starts from the clock, for each message anew: a busy contact must not run ahead of the clock.
    /// In quarters of a second it lasts until 2041.
    /// The next target gets the request that the one before did not take (RFC 3263 §4.3).
    pub fn next_cseq(&mut self, now: UnixMs) -> u32 {
        if self.tried != 0 {
            return self.last_cseq;
        }
        const IN_2024: i64 = 1_704_067_200_000;
        let clock = ((now - IN_2024) / 250).clamp(1, i64::from(i32::MAX) - 1_000_000) as u32;
        self.last_cseq = clock.max(self.last_cseq + 1);
        self.last_cseq
    }

    /// The highest CSeq that its contact may have seen of the message at work.
    pub fn last_cseq(&self) -> u32 {
        self.last_cseq
    }

    /// When somebody has to look at it.
    pub fn due(&self) -> Option<Instant> {
        let work = match (&self.flight, self.looking, self.pause) {
            (Some(flight), ..) => Some(flight.timer.due()),
            (None, Some(looking), _) => Some(looking.until),
            (None, None, pause) => pause,
        };
        [work, self.keepalive_at].into_iter().flatten().min()
    }
}

/// 30 s, 1 min, 2 min … 15 min.
pub fn backoff(pauses: u32) -> Duration {
    (BACKOFF_MIN * 2u32.pow(pauses.min(5))).min(BACKOFF_MAX)
}
