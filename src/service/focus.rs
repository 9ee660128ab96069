//! What is addressed to a room, or to the manager (spec §4).
//!
//! A request is judged by a snapshot of the room; its effects are one commit, which the store hands back when the
//! room has moved on meanwhile: then it is judged again. Prevents that anything of somebody removed lands after
//! his removal, and that anybody is left without an answer. Never holds a lock while it waits.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clock::Clock;
use super::delivery::Delivery;
use super::domains::Domains;
use super::identity::Speaker;
use super::ratelimit::{Once, RateLimit};
use super::registrar::Registrar;
use crate::chat::address::Names;
use crate::chat::command::{Command, Deed, Parsed, parse};
use crate::chat::content::{Content, content};
use crate::chat::decide::{self, Actor, Ctx, Decision, Facts, Refused, Wants, WhoMayCreate, Whom};
use crate::chat::dialect::{Dialect, Voice};
use crate::chat::history::{LocalTime, Said, history, not_text};
use crate::chat::render::Aside;
use crate::config::Config;
use crate::refusal::{Fault, Refusal};
use crate::store::Store;
use crate::types::{
    Accepted, AccountId, Answer, Aor, Commit, Committed, DeviceKey, EntryKind, Flow, NewEntry, Place, Room,
    RoomStep, UnixMs,
};

/// A request that finds its room changed so often gives up.
const JUDGEMENTS: usize = 64;

/// A MESSAGE that somebody known sent to one of our addresses, as the doors hand it in.
#[derive(Clone)]
pub struct Incoming {
    pub speaker: Speaker,
    /// The address of ours it was sent to, canonical.
    pub target: Aor,
    pub flow: Flow,
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
}

impl Reply {
    pub fn of(status: u16, reason: &'static str) -> Reply {
        Reply { status, reason, retry_after: None }
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
    /// `offline.max_messages`.
    pub max_messages: u32,
    pub member_max: usize,
    pub posts_per_s: u32,
}

impl Rules {
    pub fn new(config: &Config) -> Rules {
        let extra: String = config.imc.extra_hdrs.iter().map(|line| format!("{line}\r\n")).collect();
        Rules {
            create_on_join: config.imc.create_on_join,
            check_on_create: config.imc.check_on_create,
            who_may_create: config.imc.who_may_create,
            always_ok: config.imc.always_ok,
            extra_hdrs: extra.into(),
            expire_time: config.offline.expire_time,
            offline: config.offline.enabled,
            max_messages: config.offline.max_messages,
            member_max: config.limits.member_max,
            posts_per_s: config.limits.posts_per_s,
        }
    }
}

pub struct Focus {
    pub store: Store,
    pub delivery: Arc<Delivery>,
    pub registrar: Arc<Registrar>,
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
    pub told: Once<(Aor, Aor, u16, &'static str)>,
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
        address.user().eq_ignore_ascii_case(&self.manager)
            && self.domains.served().iter().any(|domain| domain.eq_ignore_ascii_case(address.host()))
    }

    /// One more of what a sender may say a second.
    pub fn pace(&self, who: &Aor) -> Result<(), Reply> {
        let wait = self.rate.take(who.clone(), self.rules().posts_per_s, Instant::now());
        wait.map_err(|wait| Reply {
            retry_after: Some(wait.as_secs_f64().ceil().max(1.0) as u32),
            ..Refusal::BUSY_SENDER.into()
        })
    }

    /// A MESSAGE to a room, to the manager, or to an address where a command may make a room.
    pub async fn hear(&self, said: &Incoming) -> Result<Reply, Fault> {
        let local = said.flow.local.ip();
        let canonical = |host: &str| self.domains.canonical(host, local).map(str::to_owned);
        let names = Names { addressed: &said.target, canonical: &canonical };
        let what = content(said.content_type.as_deref());
        if what.is_automatic() {
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
            Parsed::Command(command) => {
                let reply = self.command(said, &command).await?;
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
                    self.say_no(said, &said.target, &refused)?;
                }
                Ok(self.forgiving(refused.refusal.into()))
            }
        }
    }

    /// A command that would make a room of the address it is sent to: the focus refuses it if the name is taken.
    pub fn makes_a_room(&self, said: &Incoming) -> bool {
        let canonical = |host: &str| self.domains.canonical(host, said.flow.local.ip()).map(str::to_owned);
        let names = Names { addressed: &said.target, canonical: &canonical };
        content(said.content_type.as_deref()) == Content::Plain
            && matches!(
                parse(&said.body, &self.start, &names),
                Parsed::Command(Command { deed: Deed::Create { .. } | Deed::Join, .. })
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
                    self.say_no(said, &said.target, &refused)?;
                    return Ok(self.forgiving(refused.refusal.into()));
                }
                return Ok(Refusal::NO_SUCH_USER.into());
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
                    self.say_no(said, &said.target, &refused)?;
                    return Ok(refused.refusal.into());
                }
            };
            if said.max_forwards == 0 {
                return Ok(Reply::of(483, "Too Many Hops"));
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
        for _ in 0..JUDGEMENTS {
            let cell = self.room(&address)?;
            let makes_rooms = matches!(command.deed, Deed::Create { .. } | Deed::Join);
            if cell.is_none() && !makes_rooms && command.room.is_none() && !self.is_manager(&address) {
                // Nobody is there to answer in words.
                return Ok(Refusal::NO_SUCH_USER.into());
            }
            let facts = self.facts(said, &address, cell.as_deref(), command)?;
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
            let accepted = |status| Some(Accepted { answer: Answer { status }, ..said.accepted });
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
                    self.say_no(said, &address, &refused)?;
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
            self.answer(said, &room_address, &decision)?;
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
    ) -> Result<Facts, Fault> {
        let user = match command.user() {
            Some(user) => self.whom(said, user)?,
            None => Whom::Ours,
        };
        let manager = self.is_manager(address);
        let taken = cell.is_none() && !manager && self.is_reserved(address)?;
        let private = cell.is_some_and(|cell| cell.read().unwrap_or_else(PoisonError::into_inner).private);
        let knock = private && command.deed == Deed::Join;
        let key = || (said.speaker.aor.clone(), address.clone());
        let knocked = knock && !self.knocks.first(key(), Instant::now());
        Ok(Facts { user, manager, taken, knocked })
    }

    /// What a user that a command names can be.
    fn whom(&self, said: &Incoming, user: &Aor) -> Result<Whom, Fault> {
        if !self.domains.served().iter().any(|domain| domain.eq_ignore_ascii_case(user.host())) {
            // Only who has shown that he is of ours, or whom a peer vouches for, may make us write abroad (spec §3).
            let may = self.reaches_abroad
                && (said.speaker.proof.is_some() || said.speaker.trusted || !self.closed_house);
            return Ok(if may { Whom::Foreign } else { Whom::Barred });
        }
        if self.is_manager(user) || self.room(user)?.is_some() {
            return Ok(Whom::Nobody);
        }
        if self.closed_house && !self.is_account(user)? {
            return Ok(Whom::Nobody);
        }
        Ok(Whom::Ours)
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
        if self.is_account(address)? {
            return Ok(true);
        }
        match address.user().split_once('+').and_then(|(name, _)| Aor::new(name, address.host())) {
            Some(owner) => self.is_account(&owner),
            None => Ok(false),
        }
    }

    // ── words ────────────────────────────────────────────────────────────────────────────────────────────

    fn voice<'a>(&'a self, room: &'a Aor) -> Voice<'a> {
        Voice { dialect: self.dialect, start: &self.start, room }
    }

    fn answer(&self, said: &Incoming, room: &Aor, decision: &Decision) -> Result<(), Fault> {
        let mut words = decision.words.clone();
        match decision.wants {
            Some(Wants::Rooms) => {
                let lines = self.store.rooms(None, Some(&said.speaker.aor))?;
                words.extend(self.voice(room).rooms(lines.iter().map(|line| &line.address)));
            }
            Some(Wants::History { n }) => words.extend(self.history(said, room, n)?),
            None => {}
        }
        for text in words {
            self.aside(said, room, text)?;
        }
        Ok(())
    }

    fn history(&self, said: &Incoming, address: &Aor, n: u16) -> Result<Vec<String>, Fault> {
        let Some(cell) = self.room(address)? else { return Ok(Vec::new()) };
        let conversation = cell.read().unwrap_or_else(PoisonError::into_inner).conversation;
        let Some(account) = self.store.account(&said.speaker.aor)? else { return Ok(Vec::new()) };
        let entries = self.store.history(conversation, account.id, usize::from(n))?;
        let texts: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let (_, author) = entry.sender.as_ref()?;
                let text = match content(entry.content_type.as_deref()) {
                    Content::Plain => String::from_utf8_lossy(&entry.body).into_owned(),
                    _ => not_text(entry.content_type.as_deref().unwrap_or_default()),
                };
                Some((local_time(entry.at), author, text))
            })
            .collect();
        let said: Vec<Said<'_>> =
            texts.iter().map(|(at, author, text)| Said { at: *at, author, text }).collect();
        Ok(history(self.dialect, address, local_time(self.clock.wall()), &said))
    }

    /// Words of refusal: to accounts of ours, once a minute for the same (spec §4).
    fn say_no(&self, said: &Incoming, room: &Aor, refused: &Refused) -> Result<(), Fault> {
        let Some(words) = &refused.words else { return Ok(()) };
        let why = (said.speaker.aor.clone(), room.clone(), refused.refusal.status, refused.refusal.reason);
        if !self.told.first(why, Instant::now()) {
            return Ok(());
        }
        self.aside(said, room, words.clone())
    }

    fn aside(&self, said: &Incoming, room: &Aor, text: String) -> Result<(), Fault> {
        if said.speaker.foreign || said.max_forwards == 0 {
            return Ok(());
        }
        let Some(account) = self.store.account(&said.speaker.aor)? else { return Ok(()) };
        let title = match self.room(room)? {
            Some(cell) => cell.read().unwrap_or_else(PoisonError::into_inner).title.clone(),
            None => None,
        };
        let aside = Aside {
            from: self.delivery.face(room, title.as_ref()),
            body: text.into(),
            headers: (*format!("{}{}", said.headers, self.rules().extra_hdrs)).into(),
            hops: said.max_forwards.saturating_sub(1),
            at: self.clock.wall(),
        };
        self.delivery.aside(account.id, Some(said.flow.remote), aside);
        Ok(())
    }

    // ── invitations that end ─────────────────────────────────────────────────────────────────────────────

    /// Withdraws invitations that nobody answered while they lived, and tells who invited.
    pub async fn expire_invitations(&self) -> Result<(), Fault> {
        let rules = self.rules();
        let now = self.clock.wall();
        let before = now - i64::from(rules.expire_time) * 1000;
        for (address, who) in self.store.stale_invitations(before)? {
            self.give_up_invitation(&address, &who).await?;
        }
        Ok(())
    }

    /// The only device of somebody does not get what a room has told it: if that was an invitation, it has failed.
    /// With several devices another one may have it; then the invitation lives on until it expires.
    pub async fn notice_lost(&self, account: AccountId, room: &Aor) -> Result<(), Fault> {
        let Some(who) = self.store.address(account)? else { return Ok(()) };
        if self.registrar.ways(&who).len() > 1 {
            return Ok(());
        }
        self.give_up_invitation(room, &who).await
    }

    async fn give_up_invitation(&self, address: &Aor, who: &Aor) -> Result<(), Fault> {
        let rules = self.rules();
        for _ in 0..JUDGEMENTS {
            let Some(cell) = self.room(address)? else { return Ok(()) };
            let now = self.clock.wall();
            let ctx = Ctx {
                dialect: self.dialect,
                start: &self.start,
                create_on_join: false,
                check_on_create: false,
                who_may_create: WhoMayCreate::Admins,
                member_max: rules.member_max,
                now,
                expires: now + i64::from(rules.expire_time) * 1000,
                hops: 70,
                headers: rules.extra_hdrs.clone(),
                served: &|_| true,
            };
            let (decision, step) = {
                let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                let Some(decision) = decide::give_up_invitation(&room, who, &ctx) else { return Ok(()) };
                let changes = decision.changes.clone();
                (decision, RoomStep { address: room.address.clone(), version: room.version, changes })
            };
            let commit = Commit { room: Some(step), entries: decision.entries, accepted: None };
            match self.store.commit(commit).await? {
                Committed::Stale => continue,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
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
fn expires(now: UnixMs, life: Option<u32>, expire_time: u32) -> UnixMs {
    now + i64::from(life.map_or(expire_time, |life| life.min(expire_time))) * 1000
}

/// In the server's time zone.
fn local_time(at: UnixMs) -> LocalTime {
    let zoned = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let zoned = zoned.to_zoned(jiff::tz::TimeZone::system());
    LocalTime {
        year: i32::from(zoned.year()),
        month: zoned.month() as u8,
        day: zoned.day() as u8,
        hour: zoned.hour() as u8,
        minute: zoned.minute() as u8,
    }
}

/// How long the same words are not said again.
pub const TOLD_AGAIN: Duration = Duration::from_secs(60);
