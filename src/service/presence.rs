//! The presence agent's deeds: what it may be asked, what it asks, what moves it (spec §6).
//!
//! Judges who may watch what and asks the roster; fetches what the agent wants to know. Prevents that a watcher is
//! accepted without authorisation, and that the agent's thread waits for the disk. Never reads SIP.

mod found;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::oneshot;
use tracing::warn;

use super::focus::Focus;
use super::identity::Speaker;
use super::offline::Offline;
use super::registrar::Registrar;
use super::roster::{Roster, Watched};
use crate::chat::ids::Ids;
use crate::presence::agent::{
    Answer, Entry, Event, Input, List, New, No, Refresh, Save, Source, Target, Ticket,
};
use crate::presence::lists;
use crate::presence::package::Package;
use crate::presence::publication::Put;
use crate::presence::rlmi::Dialect;
use crate::presence::{Standing, State};
use crate::refusal::{Fault, Refusal};
use crate::sip::dialog::{Dialog, DialogId, Update};
use crate::store::Store;
use crate::types::{AccountId, Announcement, Aor, ConvId, DeviceKey, EntryKind, Flow, Seq};

/// The agent answers at once; longer than this nobody waits (RFC 4320 §4.2).
const PATIENCE: Duration = Duration::from_secs(30);

/// How the agent is told something. Returns at once.
pub type Tell = Box<dyn Fn(Input) + Send + Sync>;

/// A SUBSCRIBE that begins a dialog.
pub struct Asked {
    pub speaker: Speaker,
    pub dialog: Dialog,
    pub flow: Flow,
    pub package: Package,
    pub event_id: Option<Box<str>>,
    pub address: Aor,
    /// Request-URI as spelled.
    pub uri: Box<str>,
    pub expires: Option<u32>,
    /// Lists are understood (RFC 4662 §4.1).
    pub takes_lists: bool,
    /// How its phone reads lists.
    pub dialect: Dialect,
    /// Came in the body (RFC 5367).
    pub list: Option<Vec<lists::Entry>>,
}

/// A SUBSCRIBE within a dialog.
pub struct Again {
    pub speaker: Speaker,
    pub id: DialogId,
    pub update: Update,
    pub flow: Flow,
    pub package: Package,
    pub event_id: Option<Box<str>>,
    pub expires: Option<u32>,
    pub list: Option<Vec<lists::Entry>>,
}

pub struct Presence {
    pub store: Store,
    pub focus: Arc<Focus>,
    pub registrar: Arc<Registrar>,
    pub offline: Arc<Offline>,
    pub roster: Arc<Roster>,
    pub runtime: tokio::runtime::Handle,
    tell: Tell,
    /// `presence.unsolicited_summary`: names dialogs that nobody asked for.
    lamps: Option<Ids>,
    tickets: Mutex<HashMap<Ticket, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    /// How often it was decided who may see whom; held while what is true is read and told, so that the agent hears it
    /// in the order in which it became true.
    decisions: Mutex<u64>,
    /// Everybody who is not offline.
    states: DashMap<Aor, State>,
    /// Conversations of rooms and mailboxes that were asked for.
    rooms: DashMap<ConvId, Aor>,
    mails: DashMap<ConvId, Aor>,
    mailboxes: DashMap<AccountId, Aor>,
}

impl Presence {
    pub fn new(
        focus: Arc<Focus>,
        offline: Arc<Offline>,
        roster: Arc<Roster>,
        runtime: tokio::runtime::Handle,
        lamps: Option<Ids>,
        tell: Tell,
    ) -> Presence {
        Presence {
            store: focus.store.clone(),
            registrar: focus.registrar.clone(),
            focus,
            offline,
            roster,
            runtime,
            tell,
            lamps,
            tickets: Mutex::default(),
            next: AtomicU64::new(1),
            decisions: Mutex::new(0),
            states: DashMap::new(),
            rooms: DashMap::new(),
            mails: DashMap::new(),
            mailboxes: DashMap::new(),
        }
    }

    /// How somebody is, whoever asks.
    pub fn state(&self, who: &Aor) -> State {
        self.states.get(who).map_or(State::Offline, |state| *state)
    }

    async fn ask(&self, input: impl FnOnce(Ticket) -> Input) -> Answer {
        let (tell, hear) = oneshot::channel();
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        self.tickets().insert(ticket, tell);
        // Whoever stops waiting, for whatever reason, leaves nothing behind.
        let _end = End { presence: self, ticket };
        (self.tell)(input(ticket));
        // An agent that has gone takes nobody any more.
        match tokio::time::timeout(PATIENCE, hear).await {
            Ok(Ok(answer)) => answer,
            _ => Answer::No(No::Full),
        }
    }

    fn tickets(&self) -> MutexGuard<'_, HashMap<Ticket, oneshot::Sender<Answer>>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decisions(&self) -> MutexGuard<'_, u64> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ── requests ─────────────────────────────────────────────────────────────────────────────────────────

    /// Whether there is somebody or something at `address` that could be watched.
    pub fn exists(&self, address: &Aor) -> Result<bool, Fault> {
        Ok(self.store.room(address)?.is_some() || self.has_person(address)?)
    }

    /// In an open house everybody is somebody.
    fn has_person(&self, address: &Aor) -> Result<bool, Fault> {
        Ok(!self.focus.is_manager(address)
            && (!self.focus.closed_house || self.focus.is_account(address)?)
            && !self.focus.is_anothers(address)?)
    }

    /// To be remembered before somebody is asked who he is: what is decided from then on is judged when his request is
    /// done.
    pub fn moment(&self) -> Moment {
        Moment(*self.decisions())
    }

    /// What the speaker says of himself. `moment`: before he was authenticated.
    pub async fn publish(&self, moment: Moment, speaker: Speaker, put: Put) -> Result<Answer, Fault> {
        let before = self.before(moment, &speaker)?;
        let who = speaker.aor;
        let answer = self.ask(|ticket| Input::Publish { ticket, who: who.clone(), put }).await;
        self.judge_anew(&before, &who, &[])?;
        Ok(answer)
    }

    fn before(&self, Moment(decisions): Moment, speaker: &Speaker) -> Result<Before, Fault> {
        // Who has proven himself had an account then, whatever has become of it since.
        let had_account = speaker.proof.is_some() || self.focus.is_account(&speaker.aor)?;
        Ok(Before { decisions, had_account })
    }

    /// `moment`: before the speaker was authenticated.
    pub async fn subscribe(&self, moment: Moment, asked: Asked) -> Result<Result<Answer, Refusal>, Fault> {
        let before = self.before(moment, &asked.speaker)?;
        let (target, standing, address) = match self.target(&asked).await? {
            Ok(target) => target,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let watcher = asked.speaker.aor;
        let judged: Vec<(Aor, Standing)> = match &target {
            Target::Person if asked.package != Package::Summary => vec![(address.clone(), standing)],
            Target::Person | Target::Room => Vec::new(),
            Target::List(list) => judged(list.entries.iter().map(|listed| &listed.entry)),
        };
        let new = New {
            dialog: asked.dialog,
            flow: asked.flow,
            package: asked.package,
            event_id: asked.event_id,
            watcher: watcher.clone(),
            address,
            target,
            standing,
            expires: asked.expires,
        };
        let answer = self.ask(|ticket| Input::Subscribe { ticket, new: Box::new(new) }).await;
        self.judge_anew(&before, &watcher, &judged)?;
        Ok(Ok(answer))
    }

    /// `moment`: before the speaker was authenticated.
    pub async fn refresh(&self, moment: Moment, again: Again) -> Result<Answer, Fault> {
        let before = self.before(moment, &again.speaker)?;
        let watcher = again.speaker.aor;
        let entries = match again.list {
            Some(list) => Some(self.entries(&watcher, &list).await?),
            None => None,
        };
        let judged = judged(entries.iter().flatten());
        let refresh = Refresh {
            id: again.id,
            update: again.update,
            flow: again.flow,
            package: again.package,
            event_id: again.event_id,
            watcher: watcher.clone(),
            expires: again.expires,
            entries,
        };
        let answer = self.ask(|ticket| Input::Refresh { ticket, refresh: Box::new(refresh) }).await;
        self.judge_anew(&before, &watcher, &judged)?;
        Ok(answer)
    }

    /// What was decided while a request was on its way to the agent has missed it: the agent is told once more, and
    /// whose account has ended meanwhile leaves nothing behind.
    fn judge_anew(&self, before: &Before, who: &Aor, judged: &[(Aor, Standing)]) -> Result<(), Fault> {
        let decisions = self.decisions();
        if *decisions == before.decisions {
            return Ok(());
        }
        if before.had_account && !self.focus.is_account(who)? {
            (self.tell)(Input::Gone(who.clone()));
        }
        let people: Vec<Aor> = judged.iter().map(|(who, _)| who.clone()).collect();
        for ((presentity, was), standing) in judged.iter().zip(self.standings(who, &people)?) {
            match standing {
                None => (self.tell)(Input::Gone(presentity.clone())),
                Some(standing) if standing == *was => {}
                Some(standing) => {
                    let (presentity, watcher) = (presentity.clone(), who.clone());
                    (self.tell)(Input::Standing { presentity, watcher, standing });
                }
            }
        }
        Ok(())
    }

    /// What `watcher` may see of people now; `None`: there is nobody.
    pub fn standings(&self, watcher: &Aor, people: &[Aor]) -> Result<Vec<Option<Standing>>, Fault> {
        let standings = self.roster.standings(watcher, people)?;
        let found = people.iter().zip(standings);
        found.map(|(who, standing)| Ok(self.has_person(who)?.then_some(standing))).collect()
    }

    /// What a SUBSCRIBE is about, and what its watcher may see of it. No acceptance without authorisation
    /// (RFC 3856 §6.6.2).
    async fn target(&self, asked: &Asked) -> Result<Result<(Target, Standing, Aor), Refusal>, Fault> {
        let (watcher, address) = (&asked.speaker.aor, &asked.address);
        let active = |target| Ok(Ok((target, Standing::Active, address.clone())));
        let room = self.store.room(address)?;
        match (asked.package, room) {
            (Package::Presence, _) if asked.list.is_some() => {
                let entries = self.entries(watcher, asked.list.as_deref().unwrap_or_default()).await?;
                let list = List::new(asked.uri.clone(), false, asked.dialect, &entries);
                Ok(Ok((Target::List(Box::new(list)), Standing::Active, watcher.clone())))
            }
            (Package::Presence | Package::Conference, Some(cell)) => {
                let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                let open = asked.package == Package::Presence && !room.private;
                match open || room.hears(watcher) {
                    true => active(Target::Room),
                    false => Ok(Err(Refusal::MEMBERS_ONLY)),
                }
            }
            (Package::Conference, None) => Ok(Err(Refusal::NO_SUCH_ROOM)),
            (_, Some(_)) => Ok(Err(Refusal::IS_A_ROOM)),
            (Package::Presence, None) => {
                if let Some((owner, _)) = list_of(address)
                    && self.focus.is_anothers(address)?
                {
                    return match (owner == *watcher, asked.takes_lists) {
                        (false, _) => Ok(Err(Refusal::NOT_YOUR_ACCOUNT)),
                        (true, true) => active(Target::List(Box::new(List::new(
                            asked.uri.clone(),
                            true,
                            asked.dialect,
                            &[],
                        )))),
                        // Without lists he sees the one whose list it is.
                        (true, false) => Ok(Ok((Target::Person, Standing::Active, owner))),
                    };
                }
                if !self.has_person(address)? {
                    return Ok(Err(Refusal::NO_SUCH_USER));
                }
                let standing = self.roster.subscribes(watcher, address).await?;
                Ok(Ok((Target::Person, standing, address.clone())))
            }
            (Package::Winfo, None) => {
                if !self.has_person(address)? {
                    return Ok(Err(Refusal::NO_SUCH_USER));
                }
                match self.roster.standing(address, watcher)? {
                    // Whom the owner has blocked does not learn it here either.
                    Standing::Active | Standing::Blocked => active(Target::Person),
                    Standing::Pending | Standing::Rejected => Ok(Err(Refusal::NOT_YOUR_ACCOUNT)),
                }
            }
            (Package::Summary, None) if address == watcher => active(Target::Person),
            (Package::Summary, None) => Ok(Err(Refusal::NOT_YOUR_ACCOUNT)),
        }
    }

    /// The people and rooms of a list in the order of the list, each with what `watcher` may see of it. Whoever is not
    /// of this server, or nobody, has no address.
    async fn entries(&self, watcher: &Aor, list: &[lists::Entry]) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::with_capacity(list.len());
        let mut people = Vec::new();
        for listed in list {
            let mut entry = Entry {
                uri: listed.uri.as_str().into(),
                who: None,
                name: None,
                is_room: false,
                standing: Standing::Active,
            };
            if let Some(who) = listed.who.as_ref().and_then(|who| self.ours(who)) {
                entry.is_room = self.store.room(&who)?.is_some();
                if entry.is_room {
                    entry.who = Some(who);
                } else if self.has_person(&who)? {
                    people.push(who.clone());
                    entry.who = Some(who);
                }
            }
            entries.push(entry);
        }
        let mut standings = self.roster.lists(watcher, &people).await?.into_iter();
        for entry in entries.iter_mut().filter(|entry| entry.who.is_some() && !entry.is_room) {
            entry.standing = standings.next().unwrap_or(Standing::Pending);
        }
        Ok(entries)
    }

    /// An address of ours with its domain as we call it; by an alias, or our own IP address, too.
    fn ours(&self, who: &Aor) -> Option<Aor> {
        let unspecified = std::net::Ipv4Addr::UNSPECIFIED.into();
        let host = who.host().trim_start_matches('[').trim_end_matches(']');
        let local = host.parse().unwrap_or(unspecified);
        let domain = self.focus.domains.canonical(who.host(), local)?;
        Aor::new(who.user(), &domain)
    }

    // ── what the agent says ──────────────────────────────────────────────────────────────────────────────

    /// Returns at once.
    pub fn event(self: &Arc<Self>, event: Event) {
        match event {
            Event::Answer { ticket, answer } => {
                let waiting = self.tickets().remove(&ticket);
                // Whoever has stopped waiting needs no answer.
                drop(waiting.map(|waiting| waiting.send(answer)));
            }
            Event::State { who, state: State::Offline } => drop(self.states.remove(&who)),
            Event::State { who, state } => drop(self.states.insert(who, state)),
            Event::Ask(source) => {
                self.runtime.spawn(self.clone().answer(source));
            }
        }
    }

    /// Writes what the agent wants kept; blocks. False: it is not written.
    pub fn save(&self, saves: Vec<Save>) -> bool {
        match self.store.save_presence(saves) {
            Ok(()) => true,
            Err(fault) => {
                warn!(%fault, "publications and subscriptions are not saved");
                false
            }
        }
    }

    // ── what moves it ────────────────────────────────────────────────────────────────────────────────────

    /// These of somebody's contacts can be reached now.
    pub fn registered(&self, who: &Aor, phones: Vec<Arc<str>>) {
        (self.tell)(Input::Registered { who: who.clone(), phones });
        if let Some(ids) = &self.lamps {
            let name = |key: &str| format!("{:016x}", ids.body(format!("{} {key}", who.key()).as_bytes()));
            let phones = self.registrar.unasked(who, name);
            (self.tell)(Input::Lamps { who: who.clone(), phones });
        }
        if self.rooms.is_empty() {
            return;
        }
        let spans = self.store.account(who).and_then(|account| match account {
            Some(account) => Ok(self.store.view(account.id)?.spans),
            None => Ok(Vec::new()),
        });
        match spans {
            Ok(spans) => {
                for span in spans.iter().filter(|span| span.until.is_none()) {
                    self.room_moved(span.conversation);
                }
            }
            Err(fault) => warn!(account = %who, %fault, "his rooms do not hear that he comes or goes"),
        }
    }

    fn room_moved(&self, conversation: ConvId) {
        if let Some(room) = self.rooms.get(&conversation) {
            (self.tell)(Input::Moved(Source::Room(room.clone())));
        }
    }

    /// A commit: somebody may have joined or left a room, something may wait for somebody.
    pub fn committed(&self, news: &Announcement) {
        for (_, span) in &news.spans {
            self.room_moved(span.conversation);
        }
        for entry in &news.entries {
            match entry.kind {
                EntryKind::Notice => self.room_moved(entry.conversation),
                EntryKind::Direct => self.mail_moved(entry.conversation),
                EntryKind::Post | EntryKind::Sent => {}
            }
        }
    }

    fn mail_moved(&self, mailbox: ConvId) {
        if let Some(who) = self.mails.get(&mailbox) {
            (self.tell)(Input::Moved(Source::Mail(who.clone())));
        }
    }

    /// Whose lamps have to do with these devices.
    pub fn watched(&self, moved: &[(AccountId, DeviceKey, Seq)]) -> Vec<Aor> {
        moved.iter().filter_map(|(account, ..)| Some(self.mailboxes.get(account)?.clone())).collect()
    }

    /// Devices of these have taken something, and the store knows it.
    pub fn taken(&self, watched: Vec<Aor>) {
        for who in watched {
            (self.tell)(Input::Moved(Source::Mail(who)));
        }
    }

    /// His account is no more.
    pub fn gone(&self, who: &Aor) {
        *self.decisions() += 1;
        (self.tell)(Input::Gone(who.clone()));
    }

    /// Lets go of what is no more: to be called now and then.
    pub fn tidy(&self) -> Result<(), Fault> {
        let mut result = Ok(());
        let mut is_there = |found: Result<bool, Fault>| {
            found.unwrap_or_else(|fault| {
                result = Err(fault);
                true
            })
        };
        self.rooms.retain(|_, room| is_there(self.store.room(room).map(|room| room.is_some())));
        self.mails.retain(|_, who| is_there(self.store.account(who).map(|account| account.is_some())));
        self.mailboxes.retain(|_, who| is_there(self.store.account(who).map(|account| account.is_some())));
        result
    }

    /// What waits for somebody was thrown away.
    pub fn purged(&self, who: &Aor) {
        (self.tell)(Input::Moved(Source::Mail(who.clone())));
    }
}

/// How many decisions there were.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

/// What was true before a request was judged.
struct Before {
    decisions: u64,
    had_account: bool,
}

/// Who waits no longer for the answer to a request.
struct End<'a> {
    presence: &'a Presence,
    ticket: Ticket,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.presence.tickets().remove(&self.ticket);
    }
}

/// The people on a list, and what was judged about them.
fn judged<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<(Aor, Standing)> {
    let people = entries.filter(|entry| !entry.is_room);
    people.filter_map(|entry| Some((entry.who.clone()?, entry.standing))).collect()
}

/// Whose list an address names, and which: `alice+buddies`.
fn list_of(address: &Aor) -> Option<(Aor, String)> {
    let (owner, list) = address.user().split_once('+')?;
    Some((Aor::new(owner, address.host())?, list.to_owned()))
}

impl Watched for Presence {
    fn standing(&self, presentity: &Aor, watcher: &Aor, standing: Standing) {
        // Calls may come out of order: what counts is what is true now.
        let mut decisions = self.decisions();
        *decisions += 1;
        let standing = match standing {
            Standing::Rejected => standing,
            known => self.roster.standing(presentity, watcher).unwrap_or(known),
        };
        let (presentity, watcher) = (presentity.clone(), watcher.clone());
        (self.tell)(Input::Standing { presentity, watcher, standing });
    }

    fn roster(&self, owner: &Aor) {
        (self.tell)(Input::Roster(owner.clone()));
    }

    fn status(&self, who: &Aor) {
        (self.tell)(Input::Moved(Source::Person(who.clone())));
    }
}
