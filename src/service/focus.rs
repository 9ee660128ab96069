//! What is addressed to a room, or to the manager (spec §4).
//!
//! A request is judged by a snapshot of the room; its effects are one commit, which the store hands back when the
//! room has moved on meanwhile: then it is judged again. Prevents that anything of somebody removed lands after
//! his removal, and that anybody is left without an answer. Never holds a lock while it waits.

mod archive;
pub mod buddies;

mod invitations;
mod reminders;
mod unasked;
mod words;

pub use words::shown_text;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clock::Clock;
use super::delivery::Delivery;
use super::domains::Domains;
use super::identity::Speaker;
use super::person::{People, Told};
use super::ratelimit::{Acquainted, Once, RateLimit};
use super::registrar::Registrar;
use super::roster::Roster;
use crate::chat::address::Names;
use crate::chat::command::{Command, Deed, Parsed, parse};
use crate::chat::content::{Content, content};
use crate::chat::decide::{self, Actor, Ctx, Facts, Refused, WhoMayCreate, Whom};
use crate::chat::dialect::{Dialect, Voice};
use crate::chat::imdn::is_automatic;
use crate::chat::personal::Personal;
use crate::chat::recall::Recall;
use crate::config::Config;
use crate::refusal::{Fault, Refusal};
use crate::store::Store;
use crate::types::{
    Accepted, Answer, Aor, Commit, Committed, DeviceKey, EntryKind, Flow, NewEntry, Place, Room, RoomStep,
    UnixMs,
};

/// A request that finds its room changed so often gives up.
const JUDGEMENTS: usize = 64;
/// Seconds that a message with `Expires: 0` lives: one transaction with somebody who is there (64·T1).
const NOW_OR_NEVER: u32 = 32;

/// A MESSAGE that somebody known sent to one of our addresses, as the doors hand it in.
#[derive(Clone)]
pub struct Incoming {
    pub speaker: Speaker,
    /// The address of ours it was sent to, canonical.
    pub target: Aor,
    /// The address is of a domain that is not served.
    pub is_abroad: bool,
    pub flow: Flow,
    /// The speaker's display name in From; bounded, without controls.
    pub name: Option<String>,
    /// Device it came from, if recognised.
    pub source: Option<DeviceKey>,
    /// Content-Type as received; `None`: none.
    pub content_type: Option<Arc<str>>,
    pub body: Bytes,
    /// Of the request; 70 if it had none.
    pub max_forwards: u8,
    /// Lines for what it causes (In-Reply-To), checked.
    pub headers: Arc<str>,
    /// Seconds that it may wait, of its own Expires and Date; `None`: not said.
    pub life: Option<u32>,
    /// Privacy: id.
    pub private: bool,
    pub accepted: Accepted,
}

/// How a MESSAGE is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub reason: &'static str,
    /// Seconds, for a Retry-After.
    pub retry_after: Option<u32>,
    /// Of a 415: what the refusing phone takes.
    pub accept: Option<Arc<str>>,
}

impl Reply {
    pub fn of(status: u16, reason: &'static str) -> Reply {
        Reply { status, reason, retry_after: None, accept: None }
    }
    pub fn accepted() -> Reply {
        Reply::of(202, "Accepted")
    }
    pub fn ok() -> Reply {
        Reply::of(200, "OK")
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::of(refusal.status, refusal.reason)
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        match answer.status {
            200 => Reply::ok(),
            202 => Reply::accepted(),
            status => Reply::of(status, "Answered Before"),
        }
    }
}

/// Settings that a reload may change.
#[derive(Clone)]
pub struct Rules {
    pub create_on_join: bool,
    pub check_on_create: bool,
    pub who_may_create: WhoMayCreate,
    pub always_ok: bool,
    pub extra_hdrs: Arc<str>,
    pub expire_time: u32,
    /// `offline.enabled`.
    pub offline: bool,
    /// `offline.notice`.
    pub notice: Arc<str>,
    /// `offline.max_messages`.
    pub max_messages: u32,
    pub member_max: usize,
    pub posts_per_s: u32,
    pub recipient_per_s: u32,
    pub room_per_s: u32,
    pub first_contacts_per_h: u32,
    /// `delivery.copy_to_sender`.
    pub copy_to_sender: bool,
    /// What was said can be read again: `history.keep` is not 0.
    pub archive: bool,
}

impl Rules {
    pub fn new(config: &Config) -> Rules {
        let or_times = |limit: u32, times: u32| match limit {
            0 => config.limits.posts_per_s.saturating_mul(times),
            limit => limit,
        };
        let extra: String = config.imc.extra_hdrs.iter().map(|line| format!("{line}\r\n")).collect();
        Rules {
            create_on_join: config.imc.create_on_join,
            check_on_create: config.imc.check_on_create,
            who_may_create: config.imc.who_may_create,
            always_ok: config.imc.always_ok,
            extra_hdrs: extra.into(),
            expire_time: config.offline.expire_time,
            offline: config.offline.enabled,
            notice: config.offline.notice.as_str().into(),
            max_messages: config.offline.max_messages,
            member_max: config.limits.member_max,
            posts_per_s: config.limits.posts_per_s,
            recipient_per_s: or_times(config.limits.recipient_per_s, 10),
            room_per_s: or_times(config.limits.room_per_s, 50),
            first_contacts_per_h: or_times(config.limits.first_contacts_per_h, 50),
            copy_to_sender: config.delivery.copy_to_sender,
            archive: !config.history.keep.is_zero(),
        }
    }
}

pub struct Focus {
    pub store: Store,
    pub delivery: Arc<Delivery>,
    pub registrar: Arc<Registrar>,
    pub people: Arc<People>,
    pub roster: Arc<Roster>,
    pub domains: Arc<Domains>,
    pub clock: Clock,
    pub dialect: Dialect,
    /// The command character.
    pub start: String,
    /// User part of the manager's address.
    pub manager: String,
    /// All accounts are known: nobody else can exist.
    pub closed_house: bool,
    /// Members abroad can be written to.
    pub reaches_abroad: bool,
    pub rules: RwLock<Arc<Rules>>,
    pub rate: RateLimit<Aor>,
    pub recipients: RateLimit<Aor>,
    pub rooms: RateLimit<Aor>,
    pub beginners: RateLimit<Aor>,
    pub acquainted: Acquainted,
    /// Keyed by the words: who is told why one thing is refused may still ask about another.
    pub told: Once<(Aor, Aor, String)>,
    pub knocks: Once<(Aor, Aor)>,
    pub turns: Turns,
}

/// Commands to one room are decided one after another: a thousand who join at once would otherwise spend their
/// time judging each other's stale snapshots. A queue, not a lock on state: posts do not wait in it.
pub struct Turns(Vec<tokio::sync::Mutex<()>>);

impl Default for Turns {
    fn default() -> Turns {
        Turns((0..1024).map(|_| tokio::sync::Mutex::new(())).collect())
    }
}

impl Turns {
    async fn of(&self, room: &Aor) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        room.hash(&mut hasher);
        self.0[hasher.finish() as usize % self.0.len()].lock().await
    }
}

impl Focus {
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_manager(&self, address: &Aor) -> bool {
        address.user().eq_ignore_ascii_case(&self.manager) && self.domains.serves(address.host())
    }

    /// The manager of a served domain.
    pub fn manager_of(&self, host: &str, local: std::net::IpAddr) -> Option<Aor> {
        self.domains.canonical(host, local).and_then(|domain| Aor::new(&self.manager, &domain))
    }

    /// Rooms and the manager speak for themselves: what comes in their name would go round between rooms.
    pub fn is_no_person(&self, who: &Aor) -> Result<bool, Fault> {
        Ok(self.is_manager(who) || self.room(who)?.is_some())
    }

    /// One more of what a sender may say a second.
    pub fn pace(&self, who: &Aor) -> Result<(), Reply> {
        let wait = self.rate.take(who.clone(), self.rules().posts_per_s, Instant::now());
        wait.map_err(|wait| later(Refusal::BUSY_SENDER, wait))
    }

    /// One more of what a person gets a second, and of those whom a sender writes to for the first time.
    pub fn pace_towards(&self, from: &Aor, to: &Aor) -> Result<(), Reply> {
        let (rules, now) = (self.rules(), Instant::now());
        if rules.posts_per_s == 0 {
            return Ok(());
        }
        let wait = self.recipients.take(to.clone(), rules.recipient_per_s, now);
        wait.map_err(|wait| later(Refusal::BUSY_RECIPIENT, wait))?;
        if from != to && self.acquainted.are_strangers(from, to, now) {
            let wait = self.beginners.take_hourly(from.clone(), rules.first_contacts_per_h, now);
            wait.map_err(|wait| later(Refusal::TOO_MANY_STRANGERS, wait))?;
        }
        self.acquainted.wrote(from, to, now);
        Ok(())
    }

    /// One more of what is said in a room a second.
    fn pace_in(&self, room: &Aor) -> Result<(), Reply> {
        let rules = self.rules();
        let limit = if rules.posts_per_s == 0 { 0 } else { rules.room_per_s };
        let wait = self.rooms.take(room.clone(), limit, Instant::now());
        wait.map_err(|wait| later(Refusal::BUSY_ROOM, wait))
    }

    /// A MESSAGE to a room, to the manager, or to an address where a command may make a room.
    pub async fn hear(&self, said: &Incoming) -> Result<Reply, Fault> {
        let local = said.flow.local.ip();
        let canonical = |host: &str| self.domains.canonical(host, local).map(|domain| domain.to_string());
        let names = Names { addressed: &said.target, canonical: &canonical };
        let what = content(said.content_type.as_deref());
        if is_automatic(said.content_type.as_deref(), &said.body) {
            return self.automatic(said);
        }
        if let Err(busy) = self.pace(&said.speaker.aor) {
            return Ok(busy);
        }
        if what != Content::Plain {
            return self.post(said, said.body.clone()).await;
        }
        match parse(&said.body, &self.start, &names) {
            Parsed::Post(text) => self.post(said, said.body.slice_ref(text)).await,
            Parsed::Command(mut command) => {
                if let Some(user) = command.deed.user_mut()
                    && let Some(known) = self.store.account(user)?
                {
                    // Addresses are kept as first spelled (spec §3).
                    *user = known.address;
                }
                // Done before, it must not be judged by what it has done (spec §5.7).
                if let Some(known) = self.store.accepted(&said.accepted.origin)? {
                    return Ok(known.answer.into());
                }
                let reply = match &command.deed {
                    Deed::Personal(personal) => self.personal(said, personal).await?,
                    Deed::Recall(recall) => self.recall(said, recall).await?,
                    // Whoever asks the manager and names no room asks for his own.
                    Deed::History(n) if command.room.is_none() && self.is_manager(&said.target) => {
                        self.recall(said, &Recall::Letters { n: *n, with: None }).await?
                    }
                    Deed::Reminder(reminder) => self.remind(said, reminder).await?,
                    Deed::Buddies(buddies) => self.buddies(said, buddies).await?,
                    _ => self.command(said, &command).await?,
                };
                Ok(self.forgiving(reply))
            }
            other => {
                let rules = self.rules();
                let served = |host: &str| self.domains.canonical(host, local).is_some();
                let ctx = self.ctx(said, &rules, &served);
                let refused = decide::unreadable(&other, &said.target, &ctx);
                let refused = refused.unwrap_or(Refused {
                    refusal: Refusal::MALFORMED,
                    words: None,
                    entries: Vec::new(),
                });
                // Somebody who mistypes a command to a stranger's address gets no more than the status.
                let known = self.is_manager(&said.target) || self.room(&said.target)?.is_some();
                if known {
                    self.say_no(said, &said.target, &refused).await?;
                }
                Ok(self.forgiving(refused.refusal.into()))
            }
        }
    }

    /// A command that would make a room of the address it is sent to: the focus refuses it if the name is taken.
    pub fn makes_a_room(&self, said: &Incoming) -> bool {
        let canonical =
            |host: &str| self.domains.canonical(host, said.flow.local.ip()).map(|domain| domain.to_string());
        let names = Names { addressed: &said.target, canonical: &canonical };
        content(said.content_type.as_deref()) == Content::Plain
            && matches!(
                parse(&said.body, &self.start, &names),
                Parsed::Command(Command { deed: Deed::Create { .. } | Deed::Join, room })
                    if room.as_ref().is_none_or(|room| *room == said.target)
            )
    }

    /// `imc.always_ok`: old scripts expect 200 whatever became of a command.
    fn forgiving(&self, reply: Reply) -> Reply {
        let ours_to_answer = reply.status < 500 || reply.status >= 600;
        if self.rules().always_ok && ours_to_answer { Reply::ok() } else { reply }
    }

    fn room(&self, address: &Aor) -> Result<Option<Arc<RwLock<Room>>>, Fault> {
        self.store.room(address)
    }

    /// Typing notices and receipts: answered, never shown, stored or taken for a command.
    fn automatic(&self, said: &Incoming) -> Result<Reply, Fault> {
        let Some(room) = self.room(&said.target)? else {
            return Ok(if self.is_manager(&said.target) {
                Reply::ok()
            } else {
                Refusal::NO_SUCH_USER.into()
            });
        };
        let belongs = room.read().unwrap_or_else(PoisonError::into_inner).hears(&said.speaker.aor);
        Ok(if belongs { Reply::ok() } else { Refusal::NOT_A_MEMBER.into() })
    }

    fn ctx<'a>(
        &'a self,
        said: &Incoming,
        rules: &Rules,
        served: &'a (dyn Fn(&str) -> bool + Sync),
    ) -> Ctx<'a> {
        let now = self.clock.wall();
        Ctx {
            dialect: self.dialect,
            start: &self.start,
            create_on_join: rules.create_on_join,
            check_on_create: rules.check_on_create,
            who_may_create: rules.who_may_create,
            member_max: rules.member_max,
            now,
            expires: now + i64::from(rules.expire_time) * 1000,
            hops: said.max_forwards.saturating_sub(1),
            headers: format!("{}{}", said.headers, rules.extra_hdrs).into(),
            served,
        }
    }

    async fn post(&self, said: &Incoming, body: Bytes) -> Result<Reply, Fault> {
        let rules = self.rules();
        let served = |host: &str| self.domains.canonical(host, said.flow.local.ip()).is_some();
        for _ in 0..JUDGEMENTS {
            let Some(cell) = self.room(&said.target)? else {
                if self.is_manager(&said.target) {
                    let voice = self.voice(&said.target);
                    let words = Some(voice.invalid_command(""));
                    let refused = Refused { refusal: Refusal::NO_SUCH_ROOM, words, entries: Vec::new() };
                    self.say_no(said, &said.target, &refused).await?;
                    return Ok(self.forgiving(refused.refusal.into()));
                }
                return Ok(match self.store.accepted(&said.accepted.origin)? {
                    Some(known) => known.answer.into(),
                    None => Refusal::NO_SUCH_USER.into(),
                });
            };
            let ctx = self.ctx(said, &rules, &served);
            let judged = {
                let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                decide::may_post(&room, &said.speaker.aor, &ctx).map(|()| RoomStep {
                    address: room.address.clone(),
                    version: room.version,
                    changes: Vec::new(),
                })
            };
            let step = match judged {
                Ok(step) => step,
                Err(refused) => {
                    // A repetition of what he said while he belonged is no new attempt (spec §5.7).
                    if let Some(known) = self.store.accepted(&said.accepted.origin)? {
                        return Ok(known.answer.into());
                    }
                    self.say_no(said, &said.target, &refused).await?;
                    return Ok(refused.refusal.into());
                }
            };
            if said.max_forwards == 0 {
                return Ok(Reply::of(483, "Too Many Hops"));
            }
            if let Err(busy) = self.pace_in(&step.address) {
                return Ok(busy);
            }
            let entry = NewEntry {
                place: Place::Room,
                kind: EntryKind::Post,
                sender: Some(said.speaker.aor.clone()),
                peer: None,
                source: said.source.clone(),
                content_type: sent_type(said),
                headers: ctx.headers.clone(),
                body: body.clone(),
                at: ctx.now,
                expires: expires(ctx.now, said.life, rules.expire_time),
                hops: ctx.hops,
                private: said.private,
            };
            let commit = Commit { room: Some(step), entries: vec![entry], accepted: Some(said.accepted) };
            match self.store.commit(commit).await? {
                Committed::Done { .. } => return Ok(Reply::accepted()),
                Committed::Repeat(answer) => return Ok(answer.into()),
                Committed::Stale => continue,
            }
        }
        Err(Fault::Unavailable("the room changes faster than a post can be judged".into()))
    }

    /// A command about the sender himself. It is answered by whom it was sent to.
    async fn personal(&self, said: &Incoming, personal: &Personal) -> Result<Reply, Fault> {
        match self.about_oneself(said)? {
            Some(refusal) => Ok(refusal.into()),
            None => self.tell(said, self.people.command(&said.speaker.aor, personal).await?).await,
        }
    }

    /// Why a command about the sender himself is refused, whatever it is.
    fn about_oneself(&self, said: &Incoming) -> Result<Option<Refusal>, Fault> {
        if !self.is_manager(&said.target) && self.room(&said.target)?.is_none() {
            return Ok(Some(Refusal::NO_SUCH_USER));
        }
        Ok(said.speaker.foreign.then_some(Refusal::NO_SETTINGS))
    }

    /// Says what came of it, as whom it was sent to.
    async fn tell(&self, said: &Incoming, told: Told) -> Result<Reply, Fault> {
        match told {
            Ok(words) => {
                for text in words {
                    self.aside(said, &said.target, text).await?;
                }
                Ok(Reply::accepted())
            }
            Err((refusal, words)) => {
                let refused = Refused { refusal, words: Some(words), entries: Vec::new() };
                self.say_no(said, &said.target, &refused).await?;
                Ok(refusal.into())
            }
        }
    }

    async fn command(&self, said: &Incoming, command: &Command) -> Result<Reply, Fault> {
        let local = said.flow.local.ip();
        let rules = self.rules();
        let served = |host: &str| self.domains.canonical(host, local).is_some();
        let address = command.room.clone().unwrap_or_else(|| said.target.clone());
        let actor = Actor {
            aor: said.speaker.aor.clone(),
            is_account: self.is_account(&said.speaker.aor)?,
            is_admin: false,
            foreign: said.speaker.foreign,
            source: said.source.clone(),
        };
        let _turn = self.turns.of(&address).await;
        let mut knocked = None;
        for _ in 0..JUDGEMENTS {
            let cell = self.room(&address)?;
            let makes_rooms = matches!(command.deed, Deed::Create { .. } | Deed::Join);
            if cell.is_none() && !makes_rooms && command.room.is_none() && !self.is_manager(&address) {
                // Nobody is there to answer in words.
                return Ok(Refusal::NO_SUCH_USER.into());
            }
            let facts = self.facts(said, &address, cell.as_deref(), command, &mut knocked)?;
            let ctx = self.ctx(said, &rules, &served);
            let (verdict, version, room_address) = match &cell {
                Some(cell) => {
                    let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                    let verdict = decide::decide(Some(&room), &address, &actor, command, &ctx, &facts);
                    (verdict, room.version, room.address.clone())
                }
                None => (decide::decide(None, &address, &actor, command, &ctx, &facts), 0, address.clone()),
            };
            let step = |changes| Some(RoomStep { address: room_address.clone(), version, changes });
            // Repeated, it is answered the same.
            let accepted = |status| {
                let status = if rules.always_ok { 200 } else { status };
                Some(Accepted { answer: Answer { status }, ..said.accepted })
            };
            let decision = match verdict {
                Ok(decision) => decision,
                Err(refused) => {
                    if !refused.entries.is_empty() && said.max_forwards > 0 {
                        let entries = refused.entries.clone();
                        let accepted = accepted(refused.refusal.status);
                        let commit = Commit { room: step(Vec::new()), entries, accepted };
                        match self.store.commit(commit).await? {
                            Committed::Stale => continue,
                            Committed::Repeat(_) => return Ok(refused.refusal.into()),
                            Committed::Done { .. } => {}
                        }
                    }
                    self.say_no(said, &address, &refused).await?;
                    return Ok(refused.refusal.into());
                }
            };
            if !decision.changes.is_empty() || !decision.entries.is_empty() {
                if said.max_forwards == 0 && !decision.entries.is_empty() {
                    return Ok(Reply::of(483, "Too Many Hops"));
                }
                let commit = Commit {
                    room: step(decision.changes.clone()),
                    entries: decision.entries.clone(),
                    accepted: accepted(decision.status),
                };
                match self.store.commit(commit).await? {
                    Committed::Stale => continue,
                    Committed::Repeat(answer) => return Ok(answer.into()),
                    Committed::Done { .. } => {}
                }
            }
            self.answer(said, &room_address, &decision).await?;
            return Ok(Reply::of(decision.status, if decision.status == 200 { "OK" } else { "Accepted" }));
        }
        Err(Fault::Unavailable("the room changes faster than a command can be judged".into()))
    }

    /// What a decision needs to know beyond the room.
    fn facts(
        &self,
        said: &Incoming,
        address: &Aor,
        cell: Option<&RwLock<Room>>,
        command: &Command,
        knocked: &mut Option<bool>,
    ) -> Result<Facts, Fault> {
        let user = match command.user() {
            Some(user) => self.whom(said, user)?,
            None => Whom::Ours,
        };
        let manager = self.is_manager(address);
        let taken = cell.is_none() && !manager && self.is_reserved(address)?;
        let who = &said.speaker.aor;
        let shut = |room: &Room| room.private && room.find(who).is_none();
        let knock = command.deed == Deed::Join
            && cell.is_some_and(|cell| shut(&cell.read().unwrap_or_else(PoisonError::into_inner)));
        // Asked once for a request, however often it is judged.
        let told = || !self.knocks.first((who.clone(), address.clone()), Instant::now());
        let knocked = knock && *knocked.get_or_insert_with(told);
        Ok(Facts { user, manager, taken, knocked })
    }

    /// What a user that a command names can be.
    fn whom(&self, said: &Incoming, user: &Aor) -> Result<Whom, Fault> {
        if !self.domains.serves(user.host()) {
            return Ok(if self.may_write_abroad(&said.speaker) { Whom::Foreign } else { Whom::Barred });
        }
        if self.is_manager(user) || self.room(user)?.is_some() {
            return Ok(Whom::Nobody);
        }
        if self.closed_house && !self.is_account(user)? {
            return Ok(Whom::Nobody);
        }
        let willing = self.people.may_write(&said.speaker.aor, self.store.account(user)?.as_ref())?;
        Ok(if willing { Whom::Ours } else { Whom::Unwilling })
    }

    /// Only who has shown that he is of ours, or whom a peer vouches for, may make us write abroad (spec §3).
    pub fn may_write_abroad(&self, speaker: &Speaker) -> bool {
        let known = speaker.proof.is_some() || speaker.trusted || self.registrar.has_proxy();
        self.reaches_abroad && known && !speaker.foreign
    }

    /// It has credentials or a binding, or had one; behind a proxy, whoever was ever heard of (spec §3).
    pub fn is_account(&self, who: &Aor) -> Result<bool, Fault> {
        if self.registrar.is_bound(who) {
            return Ok(true);
        }
        let Some(account) = self.store.account(who)? else { return Ok(false) };
        Ok(account.registered || self.registrar.has_proxy())
    }

    /// The name is an account's, or reserved by one as `NAME+…`.
    fn is_reserved(&self, address: &Aor) -> Result<bool, Fault> {
        Ok(self.is_account(address)? || self.is_anothers(address)?)
    }

    /// `NAME+…` of an account NAME, and no account yet (spec §3): nobody else can take it.
    pub fn is_anothers(&self, address: &Aor) -> Result<bool, Fault> {
        match address.user().split_once('+').and_then(|(name, _)| Aor::new(name, address.host())) {
            Some(owner) => Ok(self.is_account(&owner)? && !self.is_account(address)?),
            None => Ok(false),
        }
    }

    fn voice<'a>(&'a self, room: &'a Aor) -> Voice<'a> {
        Voice { dialect: self.dialect, start: &self.start, room }
    }
}

/// No for now: come again after `wait`.
fn later(refusal: Refusal, wait: Duration) -> Reply {
    Reply { retry_after: Some(wait.as_secs_f64().ceil().max(1.0) as u32), ..refusal.into() }
}

/// Content-Type as it is kept: text that every phone shows is kept without.
fn sent_type(said: &Incoming) -> Option<Arc<str>> {
    let given = said.content_type.as_deref()?;
    let (media, params) = given.split_once(';').map_or((given, ""), |(media, params)| (media, params));
    let params = params.trim();
    let utf8 = params.is_empty()
        || params.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    let plain = media.trim().eq_ignore_ascii_case("text/plain") && utf8;
    if plain { None } else { said.content_type.clone() }
}

/// The earlier of its own end and ours.
pub(super) fn expires(now: UnixMs, life: Option<u32>, expire_time: u32) -> UnixMs {
    let life = match life {
        None => expire_time,
        Some(0) => NOW_OR_NEVER,
        Some(life) => life.min(expire_time),
    };
    now + i64::from(life) * 1000
}

/// How long the same words are not said again.
pub const TOLD_AGAIN: Duration = Duration::from_secs(60);
