//! Hands what was said to the shards, pages to returning devices, positions to the store.
//!
//! Prevents that a slow store, a slow device or a long absence holds up anybody else: shards never wait, pages are
//! read by threads of their own, one page an outbox at a time. Never renders, never times.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::clock::Clock;
use crate::chat::ids::Ids;
use crate::chat::outbox::Skips;
use crate::chat::render::{Aside, Contact, Target};
use crate::chat::shard::{Event, Input, Page, Reach};
use crate::refusal::Fault;
use crate::store::Store;
use crate::types::{AccountId, Announcement, Aor, ConvId, DeviceKey, Entry, EntryKind, Face, Seq, Span};

/// Entries of one page.
const PAGE: usize = 64;
/// Threads that read pages.
const READERS: usize = 2;
/// After a store that could not be read.
const RETRY: Duration = Duration::from_millis(500);
/// Answers kept for those who have not asked yet.
const EARLY: usize = 4096;
/// What is on its way through a proxy is waited for so long when its addressee registers.
const LEAVE: Duration = Duration::from_secs(2);

/// Puts an input into a shard's inbox.
pub type Tell = Box<dyn Fn(usize, Input) + Send + Sync>;

/// Asks a shard to hand in its positions; resolves when they are in the store's hands.
pub type Hurry = Box<dyn Fn(usize) -> tokio::sync::oneshot::Receiver<()> + Send + Sync>;

/// How the shards' threads are reached.
pub struct Wires {
    pub tell: Tell,
    pub hurry: Hurry,
    /// How many there are.
    pub shards: usize,
}

/// A page that somebody waits for.
struct Ask {
    shard: usize,
    slot: u32,
    id: u64,
    account: AccountId,
    device: DeviceKey,
    after: Seq,
    skips: Option<Skips>,
}

pub struct Delivery {
    tell: Tell,
    hurry: Hurry,
    shards: usize,
    ids: Ids,
    store: Store,
    clock: Clock,
    asks: Sender<Ask>,
    /// `offline.room_max`; may change while running.
    room_max: AtomicU32,
    /// `delivery.copy_to_sender`; may change while running.
    copies: AtomicBool,
    /// Command character, for the words that name a command.
    start: String,
    answers: Mutex<Answers>,
    /// Who waits for a route to close.
    leaving: Mutex<HashMap<AccountId, oneshot::Sender<()>>>,
}

/// How one contact answered a direct message.
#[derive(Clone, Debug)]
pub struct DirectAnswer {
    pub contact: Arc<str>,
    /// 0: in silence.
    pub status: u16,
    /// Accept of a 415.
    pub accept: Option<Arc<str>>,
}

/// Answers to direct messages on their way to the sender's request.
#[derive(Default)]
struct Answers {
    waiting: HashMap<(AccountId, Seq), UnboundedSender<DirectAnswer>>,
    /// Answers that came before anybody asked: a phone can be faster than the task that committed.
    early: VecDeque<((AccountId, Seq), DirectAnswer)>,
}

/// The whole of what a shard's thread reports, apart from pages.
pub enum Report {
    /// A binding is not used until it registers anew.
    Unbound { account: AccountId, contact: Arc<str> },
    /// A contact refused a media type, and perhaps said what it takes.
    Learned { account: AccountId, contact: Arc<str>, refuses: String, accept: Option<Arc<str>> },
    /// The way to this address has to be looked up.
    Locate { account: AccountId, aor: Aor },
    /// A device does not get this word of a room.
    GaveUp { account: AccountId, seq: Seq },
}

impl Delivery {
    /// `room_max`: `offline.room_max`. `start`: the command character.
    pub fn start(
        wires: Wires,
        ids: Ids,
        store: Store,
        clock: Clock,
        room_max: u32,
        start: String,
    ) -> Result<Arc<Delivery>, Fault> {
        let Wires { tell, hurry, shards } = wires;
        let (asks, inbox) = channel();
        let delivery = Arc::new(Delivery {
            tell,
            hurry,
            shards,
            ids,
            store,
            clock,
            asks,
            room_max: AtomicU32::new(room_max),
            copies: AtomicBool::new(false),
            start,
            answers: Mutex::default(),
            leaving: Mutex::default(),
        });
        let inbox = Arc::new(Mutex::new(inbox));
        for reader in 0..READERS {
            let (weak, inbox) = (Arc::downgrade(&delivery), inbox.clone());
            std::thread::Builder::new()
                .name(format!("pages-{reader}"))
                .spawn(move || read_pages(&weak, &inbox))
                .map_err(|error| Fault::Internal(format!("thread: {error}")))?;
        }
        Ok(delivery)
    }

    pub fn shard_of(&self, account: AccountId) -> usize {
        self.ids.shard_of(account, self.shards)
    }

    pub fn set_room_max(&self, room_max: u32) {
        self.room_max.store(room_max, Ordering::Relaxed);
    }

    /// `delivery.copy_to_sender`.
    pub fn set_copies(&self, on: bool) {
        self.copies.store(on, Ordering::Relaxed);
        self.tell_all(|| Input::CopyToSender(on));
    }

    /// A commit is durable: everybody who listens hears of it.
    pub fn announce(&self, news: Announcement) {
        let news = Arc::new(news);
        for shard in 0..self.shards {
            (self.tell)(shard, Input::Announce(news.clone()));
        }
    }

    /// Tells `setting` to all shards.
    pub fn tell_all(&self, setting: impl Fn() -> Input) {
        for shard in 0..self.shards {
            (self.tell)(shard, setting());
        }
    }

    /// These are now all ways to an account. `fresh`: keys of contacts that have just shown that they are there.
    /// Routes live on the first shard, so that the next hop's state is one.
    pub fn reach(
        &self,
        account: AccountId,
        contacts: Vec<Contact>,
        fresh: Vec<Arc<str>>,
    ) -> Result<(), Fault> {
        let view = self.store.view(account)?;
        let furthest = view.devices.iter().map(|(_, position, _)| *position).fold(view.base, Seq::max);
        let positions: Vec<(DeviceKey, Seq)> =
            view.devices.into_iter().map(|(device, position, _)| (device, position)).collect();
        let (routes, bound): (Vec<_>, Vec<_>) = contacts.into_iter().partition(|contact| contact.is_route);
        let home = self.shard_of(account);
        let reach = |contacts| {
            let (positions, fresh) = (positions.clone(), fresh.clone());
            Box::new(Reach { account, contacts, positions, furthest, fresh })
        };
        if home == 0 {
            let all = bound.into_iter().chain(routes).collect();
            (self.tell)(0, Input::Reach(reach(all)));
        } else {
            (self.tell)(home, Input::Reach(reach(bound)));
            (self.tell)(0, Input::Reach(reach(routes)));
        }
        Ok(())
    }

    /// Where the route of an account leads now, and for how long that is good. No targets: nowhere now.
    pub fn located(&self, account: AccountId, targets: Vec<Target>, good_for: Duration) {
        (self.tell)(0, Input::Located { account, targets: targets.into(), good_for });
    }

    /// An account's device has sent something from `source`.
    pub fn alive(&self, account: AccountId, source: SocketAddr) {
        let home = self.shard_of(account);
        (self.tell)(home, Input::Alive { account, source });
        if home != 0 {
            (self.tell)(0, Input::Alive { account, source });
        }
    }

    /// Lets the route to an account go before a phone of it is reached directly. What is on its way there may still be
    /// taken, and is not to come to the phone a second time; but nobody waits long for a proxy that is silent.
    pub async fn leave_route(&self, account: AccountId) {
        let (tell, left) = oneshot::channel();
        let leaving = || self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving().insert(account, tell);
        (self.tell)(0, Input::Leave { account });
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            leaving().remove(&account);
        }
    }

    /// Closes all ways to an account whose next one may be on another shard, and waits until it is known how far
    /// they got: what one has delivered the other does not repeat.
    pub async fn close(&self, account: AccountId) {
        let home = Some(self.shard_of(account)).filter(|home| *home != 0);
        for shard in std::iter::once(0).chain(home) {
            let (contacts, positions, fresh) = (Vec::new(), Vec::new(), Vec::new());
            let nothing = Reach { account, contacts, positions, furthest: Seq(0), fresh };
            (self.tell)(shard, Input::Reach(Box::new(nothing)));
            // A shard that is gone has handed in everything.
            let _ = (self.hurry)(shard).await;
        }
    }

    /// Resolves when what the account's devices have taken so far is known to the store.
    pub async fn settled(&self, account: AccountId) {
        // A shard that is gone has handed in everything.
        let _ = (self.hurry)(self.shard_of(account)).await;
    }

    /// Says something to the device that asked, else to all of the account's.
    pub fn aside(&self, account: AccountId, source: Option<SocketAddr>, aside: Aside) {
        let aside = Arc::new(aside);
        let home = self.shard_of(account);
        (self.tell)(home, Input::Aside { account, source, aside: aside.clone() });
        if home != 0 {
            (self.tell)(0, Input::Aside { account, source: None, aside });
        }
    }

    /// Entries of an account's mailbox were taken back: no device gets them that has not begun to.
    pub fn withdrawn(&self, account: AccountId, seqs: &[Seq]) {
        let seqs: Arc<[Seq]> = seqs.into();
        let home = self.shard_of(account);
        (self.tell)(home, Input::Withdrawn { account, seqs: seqs.clone() });
        if home != 0 {
            (self.tell)(0, Input::Withdrawn { account, seqs });
        }
    }

    /// The answers of the contacts of `account` to a direct message, those that came already first. The sender
    /// of them goes when the receiver does.
    pub fn answers(&self, account: AccountId, seq: Seq) -> UnboundedReceiver<DirectAnswer> {
        let (tell, hear) = unbounded_channel();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.early.retain(|(key, answer)| {
            let ours = *key == (account, seq);
            if ours {
                // The receiver is in our hands.
                let _ = tell.send(answer.clone());
            }
            !ours
        });
        answers.waiting.retain(|_, known| !known.is_closed());
        answers.waiting.insert((account, seq), tell);
        hear
    }

    /// What a shard has to say. `None`: dealt with here.
    pub fn event(&self, shard: usize, event: Event) -> Option<Report> {
        match event {
            Event::Page { slot, id, account, device, after, skips } => {
                // The readers live as long as we do.
                let _ = self.asks.send(Ask { shard, slot, id, account, device, after, skips });
                None
            }
            Event::Locate { account, aor } => Some(Report::Locate { account, aor }),
            Event::Returned { account, device, from, upto } => {
                self.store.was_away(account, device, from, upto);
                None
            }
            Event::Left { account } => {
                let left = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).remove(&account);
                // Whoever has stopped waiting has gone on.
                let _ = left.map(|left| left.send(()));
                None
            }
            Event::Unbound { account, contact } => Some(Report::Unbound { account, contact }),
            Event::GaveUp { account, device, seq, status, notice } => {
                info!(account = account.0, %device, seq = seq.0, status, "a device does not get this message");
                notice.then_some(Report::GaveUp { account, seq })
            }
            Event::RouteRefused { aor, status } => {
                warn!(address = %aor, status, "a next hop refuses messages to this address");
                None
            }
            Event::Learned { account, contact, refuses, accept } => {
                Some(Report::Learned { account, contact, refuses, accept })
            }
            Event::Answered { account, contact, seq, status, accept } => {
                let answer = DirectAnswer { contact, status, accept };
                let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                match answers.waiting.get(&(account, seq)) {
                    // Whoever has stopped waiting has been answered.
                    Some(tell) => drop(tell.send(answer)),
                    None => {
                        answers.early.push_back(((account, seq), answer));
                        if answers.early.len() > EARLY {
                            answers.early.pop_front();
                        }
                    }
                }
                None
            }
        }
    }

    fn page(&self, ask: &Ask) -> Result<Page, Fault> {
        // Before the spans: above it somebody may have come to see what these spans do not show yet.
        let upto = self.store.head();
        let mut spans = self.store.view(ask.account)?.spans;
        let now = self.clock.wall();
        let seen = spans.clone();
        let mut skips: HashMap<ConvId, Seq> =
            ask.skips.iter().flat_map(|skips| skips.iter().copied()).collect();
        for span in &mut spans {
            if let Some(upto) = skips.get(&span.conversation) {
                span.since = span.since.max(Seq(upto.0 + 1));
            }
        }
        let copies = self.copies.load(Ordering::Relaxed);
        let mut page = self.store.page_of(&spans, (ask.after, upto), PAGE, now, copies)?;
        let before = skips.len();
        let asides = self.skip(&spans, ask.after, &page.entries, &mut skips)?;
        page.entries.retain(|entry| skips.get(&entry.conversation).is_none_or(|upto| entry.seq > *upto));
        let of_others = |entry: &Arc<Entry>| {
            let said = matches!(entry.kind, EntryKind::Post | EntryKind::Direct);
            said && entry.sender.as_ref().is_none_or(|(author, _)| *author != ask.account)
        };
        if ask.skips.is_none() && (!asides.is_empty() || page.entries.iter().any(of_others)) {
            self.store.was_away(ask.account, ask.device.clone(), ask.after, upto);
        }
        let skips = match &ask.skips {
            Some(known) if skips.len() == before => known.clone(),
            _ => skips.into_iter().collect(),
        };
        Ok(Page {
            slot: ask.slot,
            id: ask.id,
            entries: page.entries,
            through: page.through,
            more: page.more,
            spans: seen,
            skips,
            asides,
        })
    }

    /// Of a long absence only the newest posts of each room are told, after a line that says so (spec §5.2). Found out
    /// for a room when the first of its entries turns up: somebody in thousands of rooms does not wait for all of them
    /// to be counted. `skips` gets every conversation that was looked at, with the last seq that is skipped, or 0.
    fn skip(
        &self,
        spans: &[Span],
        after: Seq,
        entries: &[Arc<Entry>],
        skips: &mut HashMap<ConvId, Seq>,
    ) -> Result<Vec<Arc<Aside>>, Fault> {
        let now = self.clock.wall();
        let most = self.room_max.load(Ordering::Relaxed);
        let mut asides = Vec::new();
        for entry in entries {
            let conversation = entry.conversation;
            if skips.contains_key(&conversation) {
                continue;
            }
            skips.insert(conversation, Seq(0));
            let Some(room) = self.store.room_of(conversation)? else { continue };
            for span in spans.iter().filter(|span| span.conversation == conversation) {
                let count = self.store.count_after(span, after, now)?;
                if count <= u64::from(most) {
                    continue;
                }
                let Some(first) = self.store.nth_newest(span, most)? else { continue };
                skips.entry(conversation).and_modify(|upto| *upto = Seq(first.0 - 1).max(*upto));
                asides.push(Arc::new(Aside {
                    body: earlier(count - u64::from(most), &self.start).into(),
                    content_type: None,
                    from: (*room).clone(),
                    headers: "".into(),
                    hops: 70,
                    at: now,
                }));
            }
        }
        Ok(asides)
    }

    /// The sender of asides that come from `address`.
    pub fn face(&self, address: &Aor, title: Option<&Arc<str>>) -> Face {
        Face { aor: address.clone(), name: title.cloned().unwrap_or_else(|| address.user().into()) }
    }
}

/// The line before what a device gets after a long absence.
fn earlier(count: u64, start: &str) -> String {
    let (messages, are) = if count == 1 { ("message", "is") } else { ("messages", "are") };
    format!("*** {count} earlier {messages} {are} not shown. Send {start}history to read what was said.")
}

fn read_pages(delivery: &std::sync::Weak<Delivery>, inbox: &Mutex<Receiver<Ask>>) {
    loop {
        let ask = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let (Ok(ask), Some(delivery)) = (ask, delivery.upgrade()) else { return };
        match delivery.page(&ask) {
            Ok(page) => (delivery.tell)(ask.shard, Input::Page(Box::new(page))),
            Err(fault) => {
                warn!(%fault, "cannot read the log for a device, trying again");
                std::thread::sleep(RETRY);
                let _ = delivery.asks.send(ask);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_before_a_shortened_absence_says_how_many_and_how_to_read_them() {
        assert_eq!(
            earlier(120, "#"),
            "*** 120 earlier messages are not shown. Send #history to read what was said."
        );
        assert_eq!(
            earlier(1, "!"),
            "*** 1 earlier message is not shown. Send !history to read what was said."
        );
    }
}
