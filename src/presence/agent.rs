//! The presence agent: who publishes, who watches, what is owed to whom (RFC 3856, RFC 6665).
//!
//! A state machine: words, answers and time in; NOTIFYs, questions and answers out. Every subscription sends the
//! latest state when nothing of its own is in flight and its pace allows, so that a storm of changes ends in few
//! words and in the truth. Prevents that a watcher is left with an old state, and that a change costs more than a
//! mark on each of its watchers. What it does not know it asks for by an event, once, when somebody is to be told.
//! Never reads a clock, a socket or the store; never decides who may see whom.

mod documents;
mod lamps;
mod notify;
mod people;
mod saved;
mod subscription;
#[cfg(test)]
mod tests;
mod watching;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::people::Person;
use self::people::Presentity;
pub use self::saved::{Save, Saved};
use self::subscription::Subscription;
pub use self::subscription::{Entry, List, New, Refresh, Target, Way};
use self::watching::{Load, Waiting};
use super::conference::Snapshot;
use super::package::Package;
use super::publication::{self, Lives, Put};
use super::{Standing, State, winfo};
use crate::chat::ids::{Branch, Ids};
use crate::chat::shard::{Now, Outgoing, Reply};
use crate::chat::wheel::Wheel;
use crate::sip::dialog::Dialog;
use crate::sip::transaction::Timers;
use crate::types::{Aor, Flow, UnixMs};

/// Where packets of a dialog go; `None`: nowhere.
pub type Ways = Box<dyn Fn(&Flow, &Dialog) -> Option<Way> + Send>;

/// What does not change while the agent lives.
pub struct Settings {
    /// The number in our branches by which responses find the agent.
    pub shard: u8,
    pub ids: Ids,
    pub timers: Timers,
    pub ways: Ways,
    pub publications: Lives,
    pub subscriptions: Lives,
    /// Factor on the pace of the packages, in percent; 0: nothing waits.
    pub pace: u32,
    /// A phone that is registered and publishes nothing counts as online.
    pub registered_is_online: bool,
    /// Subscriptions in all, and publications; subscriptions of one watcher; to one address.
    pub max: usize,
    pub max_per_watcher: usize,
    pub max_per_address: usize,
}

/// Something that the agent does not hold itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// What somebody says of himself beside what his phones publish.
    Person(Aor),
    Room(Aor),
    /// Texts that wait for somebody.
    Mail(Aor),
    /// The people on a list that the server keeps.
    List(Aor),
}

/// The answer to [`Event::Ask`].
#[derive(Clone, Debug)]
pub enum Told {
    Person(Aor, Person),
    /// `None`: there is no such room.
    Room(Aor, Option<Arc<RoomNow>>),
    /// New and old.
    Mail(Aor, (u64, u64)),
    List(Aor, Vec<Entry>),
}

/// A room as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomNow {
    pub shown: Snapshot,
    /// Only members may see that there is anybody.
    pub is_private: bool,
}

impl RoomNow {
    pub fn has(&self, who: &Aor) -> bool {
        self.shown.members.iter().any(|member| member.who == *who)
    }

    /// Whether somebody may see how many are there.
    pub fn is_open_to(&self, who: &Aor) -> bool {
        !self.is_private || self.has(who)
    }
}

/// Names a request that waits for its answer.
pub type Ticket = u64;

/// What floors above tell the agent.
pub enum Input {
    /// `who` was authenticated and owns what he publishes.
    Publish {
        ticket: Ticket,
        who: Aor,
        put: Put,
    },
    Subscribe {
        ticket: Ticket,
        new: Box<New>,
    },
    Refresh {
        ticket: Ticket,
        refresh: Box<Refresh>,
    },
    /// Keys of somebody's contacts that can be reached now.
    Registered {
        who: Aor,
        phones: Vec<Arc<str>>,
    },
    /// The phones of somebody that are told of waiting messages without having asked: all of them, each by its key.
    Lamps {
        who: Aor,
        phones: Vec<(Arc<str>, Flow, Dialog)>,
    },
    /// His account is no more.
    Gone(Aor),
    /// What `watcher` may see of `presentity` from now on.
    Standing {
        presentity: Aor,
        watcher: Aor,
        standing: Standing,
    },
    /// Somebody's buddies or their groups have changed.
    Roster(Aor),
    /// Something has changed there: whoever watches it asks again.
    Moved(Source),
    Told(Told),
    Response(Reply),
    /// The transport could not send, or heard that it did not arrive.
    Failed(Branch),
    /// Every watcher is told that we go (RFC 6665 §4.1.3, deactivated).
    Stop,
}

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Published(Result<publication::Done, publication::Refused>),
    /// For so many seconds; `contact` is ours in this dialog, a header value. `is_list`: to a list (RFC 4662 §4.2).
    Subscribed {
        seconds: u32,
        contact: Arc<str>,
        is_list: bool,
    },
    No(No),
}

/// Why a SUBSCRIBE is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum No {
    /// 481
    Unknown,
    /// 500 (RFC 3261 §12.2.2)
    OutOfOrder,
    /// 423 with this Min-Expires
    TooBrief(u32),
    /// 403: he watches too many already.
    WatcherFull,
    /// 503 with Retry-After: too many watch or publish already.
    Full,
    /// 400: there is no way to where NOTIFYs should go.
    Unreachable,
}

/// What the agent tells the floors above.
#[derive(Clone, Debug)]
pub enum Event {
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// To be answered by [`Input::Told`].
    Ask(Source),
    /// Somebody's state has changed.
    State {
        who: Aor,
        state: State,
    },
}

/// Monotonic counts since start, and how much there is now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    pub notified: u64,
    pub retransmitted: u64,
    /// NOTIFYs that nobody answered.
    pub timed_out: u64,
    /// Subscriptions that ended because their NOTIFY was refused or nobody answered.
    pub lost: u64,
    pub published: u64,
    pub subscriptions: u64,
    pub publications: u64,
}

/// A thing that has to be asked for, and whether what is known of it is still true.
struct Fresh<T> {
    /// Unlike any other of any thing; 0: never told.
    generation: u64,
    value: Option<T>,
    stale: bool,
    asked: bool,
    /// It has just been told: good enough for those who wait, even if it has moved since it was asked for.
    ready: bool,
}

impl<T> Default for Fresh<T> {
    fn default() -> Fresh<T> {
        Fresh { generation: 0, value: None, stale: true, asked: false, ready: false }
    }
}

/// Whether a thing can be told to watchers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Ready,
    /// Its answer is on the way.
    Wait,
    /// It has to be asked for, now.
    Ask,
}

impl<T> Fresh<T> {
    /// One question at a time: answers cannot overtake each other.
    fn want(&mut self) -> Want {
        match (self.ready, self.asked, self.stale) {
            (true, ..) | (_, false, false) => Want::Ready,
            (_, true, _) => Want::Wait,
            (_, false, true) => {
                (self.asked, self.stale) = (true, false);
                Want::Ask
            }
        }
    }

    fn told(&mut self, value: T, generation: u64) {
        (self.asked, self.ready) = (false, true);
        (self.value, self.generation) = (Some(value), generation);
    }

    /// Everybody who waited was told. True: it has moved meanwhile.
    fn settle(&mut self) -> bool {
        self.ready = false;
        self.stale
    }
}

/// See the module's text.
pub struct Agent {
    settings: Settings,
    slots: Vec<Option<Subscription>>,
    free: Vec<u32>,
    /// Slots by the hash of their dialog.
    dialogs: HashMap<u64, u32>,
    watches: HashMap<(Package, Aor), Vec<u32>>,
    watchers: HashMap<Aor, Load>,
    /// Entries on all lists.
    listed: usize,
    people: HashMap<Aor, Presentity>,
    rooms: HashMap<Aor, Fresh<Option<Arc<RoomNow>>>>,
    mails: HashMap<Aor, Fresh<(u64, u64)>>,
    lists: HashMap<Aor, Fresh<Vec<Entry>>>,
    /// Who wants to watch whom and is gone.
    waiting: HashMap<Aor, Vec<Waiting>>,
    /// The same in the order in which they are given up: since when, whom, and their ids.
    patience: VecDeque<(UnixMs, Aor, u64)>,
    /// When publications end: by time and a number that tells them apart.
    ends: BTreeSet<(UnixMs, u64)>,
    /// Whose publication a number is.
    publishers: HashMap<u64, Aor>,
    wheel: Wheel,
    /// Source of nonces, entity-tags and generations; seeded from the system.
    nonce: u64,
    generation: u64,
    changed: HashSet<u32>,
    /// Rows of subscriptions that are gone.
    gone: Vec<u64>,
    /// People whose publications are not as they were saved.
    republished: HashSet<Aor>,
    counters: Counters,
    due: Vec<u32>,
}

impl Agent {
    /// `seed`: random.
    pub fn new(settings: Settings, now: Instant, seed: u64) -> Agent {
        Agent {
            settings,
            slots: Vec::new(),
            free: Vec::new(),
            dialogs: HashMap::new(),
            watches: HashMap::new(),
            watchers: HashMap::new(),
            listed: 0,
            people: HashMap::new(),
            rooms: HashMap::new(),
            mails: HashMap::new(),
            lists: HashMap::new(),
            waiting: HashMap::new(),
            patience: VecDeque::new(),
            ends: BTreeSet::new(),
            publishers: HashMap::new(),
            wheel: Wheel::new(now),
            nonce: seed,
            generation: 0,
            changed: HashSet::new(),
            gone: Vec::new(),
            republished: HashSet::new(),
            counters: Counters::default(),
            due: Vec::new(),
        }
    }

    pub fn counters(&self) -> Counters {
        Counters {
            subscriptions: (self.slots.len() - self.free.len()) as u64,
            publications: self.publishers.len() as u64,
            ..self.counters
        }
    }

    pub fn input(&mut self, now: Now, input: Input, out: &mut Outgoing, events: &mut Vec<Event>) {
        match input {
            Input::Publish { ticket, who, put } => self.publish(now, ticket, who, put, out, events),
            Input::Subscribe { ticket, new } => {
                let answer = self.subscribe(now, *new, out, events);
                events.push(Event::Answer { ticket, answer });
            }
            Input::Refresh { ticket, refresh } => {
                let answer = self.refresh(now, *refresh, out, events);
                events.push(Event::Answer { ticket, answer });
            }
            Input::Registered { who, phones } => self.registered(now, who, phones, out, events),
            Input::Lamps { who, phones } => self.lamps(now, &who, phones, out, events),
            Input::Gone(who) => self.gone(now, &who, out, events),
            Input::Standing { presentity, watcher, standing } => {
                self.doubt_lists(&watcher);
                self.stand(now, &presentity, &watcher, standing, out, events);
            }
            Input::Roster(owner) => {
                for list in self.lists_of(&owner) {
                    self.moved(now, Source::List(list), out, events);
                }
            }
            Input::Moved(source) => self.moved(now, source, out, events),
            Input::Told(told) => self.told(now, told, out, events),
            Input::Response(reply) => self.response(now, reply, out, events),
            Input::Failed(branch) => self.failed(now, branch, out, events),
            Input::Stop => self.stop(now, out),
        }
    }

    /// When [`Agent::poll`] wants to be called.
    pub fn due(&self, now: Now) -> Option<Instant> {
        let ends = self.ends.first().map(|(at, _)| instant(now, *at));
        let patience = self.patience.front().map(|(since, ..)| instant(now, since + winfo::GIVE_UP));
        ends.into_iter().chain(patience).chain(self.wheel.next()).min()
    }

    /// Does what time asks for.
    pub fn poll(&mut self, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        self.expire_publications(now, out, events);
        self.give_up(now, out, events);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.at, &mut due);
        for slot in due.drain(..) {
            // Another visit than the one it waits for is forgotten: else every NOTIFY would leave one more behind.
            let is_it = |subscription: &&mut Subscription| subscription.armed.is_none_or(|at| at <= now.at);
            if let Some(subscription) = self.slot(slot).filter(is_it) {
                subscription.armed = None;
                self.pump(now, slot, out, events);
            }
        }
        self.due = due;
    }

    fn slot(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// A number that cannot be guessed from outside and does not come twice.
    fn nonce(&mut self) -> u64 {
        self.nonce = self.nonce.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.settings.ids.body(&self.nonce.to_be_bytes()).max(1)
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Who watches an address by a package, copied: pumping changes the lists.
    fn watching(&self, package: Package, address: &Aor) -> Vec<u32> {
        self.watches.get(&(package, address.clone())).cloned().unwrap_or_default()
    }

    /// Something new is to be told to all who watch.
    fn owe(
        &mut self,
        now: Now,
        package: Package,
        address: &Aor,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        for slot in self.watching(package, address) {
            if let Some(subscription) = self.slot(slot) {
                subscription.owed = true;
                self.pump(now, slot, out, events);
            }
        }
    }

    // ── what is asked for ────────────────────────────────────────────────────────────────────────────────

    fn moved(&mut self, now: Now, source: Source, out: &mut Outgoing, events: &mut Vec<Event>) {
        let known = match &source {
            Source::Person(who) => self.people.get_mut(who).map(|person| person.own.stale = true),
            Source::Room(room) => self.rooms.get_mut(room).map(|room| room.stale = true),
            Source::Mail(who) => self.mails.get_mut(who).map(|mail| mail.stale = true),
            Source::List(list) => self.lists.get_mut(list).map(|list| list.stale = true),
        };
        if known.is_some() {
            self.spread(now, &source, out, events);
        }
        if let Source::Person(who) = source {
            // His state is known to others too, whether anybody watches or not.
            self.ask_person(&who, events);
        }
    }

    fn lists_of(&self, owner: &Aor) -> Vec<Aor> {
        let of_owner = |list: &&Aor| {
            let name = list.user().split_once('+').map(|(name, _)| name);
            name.is_some_and(|name| name.eq_ignore_ascii_case(owner.user()))
                && list.host().eq_ignore_ascii_case(owner.host())
        };
        self.lists.keys().filter(of_owner).cloned().collect()
    }

    /// What `owner` may see has changed: a list that is on its way to us may have been read before.
    fn doubt_lists(&mut self, owner: &Aor) {
        for list in self.lists_of(owner) {
            if let Some(list) = self.lists.get_mut(&list) {
                list.stale |= list.asked;
            }
        }
    }

    /// Whoever watches a source may have something to be told.
    fn spread(&mut self, now: Now, source: &Source, out: &mut Outgoing, events: &mut Vec<Event>) {
        let (packages, address): (&[Package], &Aor) = match source {
            Source::Person(who) => (&[Package::Presence], who),
            Source::Room(room) => (&[Package::Presence, Package::Conference], room),
            Source::Mail(who) => (&[Package::Summary], who),
            Source::List(list) => (&[Package::Presence], list),
        };
        for package in packages {
            self.owe(now, *package, address, out, events);
        }
    }

    fn told(&mut self, now: Now, told: Told, out: &mut Outgoing, events: &mut Vec<Event>) {
        let generation = self.next_generation();
        let source = match told {
            Told::Person(who, person) => {
                self.person_told(&who, person, now, events);
                Source::Person(who)
            }
            Told::Room(room, snapshot) => {
                let Some(known) = self.rooms.get_mut(&room) else { return };
                known.told(snapshot.clone(), generation);
                self.room_told(&room, snapshot.as_deref());
                Source::Room(room)
            }
            Told::Mail(who, counts) => {
                let Some(known) = self.mails.get_mut(&who) else { return };
                // The same again is nothing to tell.
                let generation = if known.value == Some(counts) { known.generation } else { generation };
                known.told(counts, generation);
                Source::Mail(who)
            }
            Told::List(list, entries) => {
                let Some(known) = self.lists.get_mut(&list) else { return };
                known.told(entries.clone(), generation);
                for slot in self.watching(Package::Presence, &list) {
                    self.relist(slot, &entries);
                }
                Source::List(list)
            }
        };
        self.spread(now, &source, out, events);
        let again = match &source {
            Source::Person(who) => self.people.get_mut(who).map(|person| person.own.settle()),
            Source::Room(room) => self.rooms.get_mut(room).map(Fresh::settle),
            Source::Mail(who) => self.mails.get_mut(who).map(Fresh::settle),
            Source::List(list) => self.lists.get_mut(list).map(Fresh::settle),
        };
        if again == Some(true) {
            self.spread(now, &source, out, events);
        }
    }

    /// Holds a source as long as somebody watches it.
    fn hold(&mut self, package: Package, address: &Aor, target: &Target) {
        match (package, target) {
            (Package::Summary, _) => {
                self.mails.entry(address.clone()).or_default();
            }
            (Package::Conference, _) | (Package::Presence, Target::Room) => {
                self.rooms.entry(address.clone()).or_default();
            }
            (Package::Presence, Target::List(list)) if list.is_kept => {
                self.lists.entry(address.clone()).or_default();
            }
            _ => {}
        }
    }

    /// Lets go of what nobody watches any more.
    fn let_go(&mut self, address: &Aor) {
        let watched = |package| self.watches.contains_key(&(package, address.clone()));
        let (presence, conference) = (watched(Package::Presence), watched(Package::Conference));
        if !watched(Package::Summary) {
            self.mails.remove(address);
        }
        if !presence && !conference {
            self.rooms.remove(address);
        }
        if !presence {
            self.lists.remove(address);
            self.forget(address);
        }
    }
}

/// The instant of a time in milliseconds.
fn instant(now: Now, at: UnixMs) -> Instant {
    now.at + Duration::from_millis(u64::try_from(at - now.ms).unwrap_or_default())
}
