//! Rooms, members, messages and accounts of another server become ours.
//!
//! Prevents that a migration changes what is here already, that it does half of a room, and that one made twice doubles
//! anything: what we have stays as it is. Nobody is told of rooms and members. Never reads a file: rows come in.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::domains::Domains;
use super::focus::Focus;
use super::identity::Identity;
use crate::chat::content::content;
use crate::migrate::{LetterRow, MemberRow, Outcome, Report, RoomRow, SubscriberRow, Table};
use crate::refusal::Fault;
use crate::sip::digest::Ha1;
use crate::store::{Credentials, Imported, Store};
use crate::types::{
    Aor, Commit, Committed, EntryKind, NewEntry, Origin, Place, RoomChange, RoomStep, UnixMs, member_flag,
};

/// Rooms that are on their way to the disk at once: they share its waits.
const AT_ONCE: usize = 64;
/// Messages of one commit.
const CHUNK: usize = 256;
/// Changes of one commit.
const CHANGES_MAX: usize = 5000;
/// A room that changes while it is filled is looked at again so often.
const JUDGEMENTS: usize = 16;
/// Bytes of a message: what a datagram can carry.
const BODY_MAX: usize = 65_535;
/// How much longer than `offline.expire_time` a message may wait because the other server said so, in ms.
const LIFE_MAX: UnixMs = 366 * 86_400_000;
/// Max-Forwards of what nobody's request caused (RFC 3261 §8.1.1.6).
const HOPS: u8 = 70;

const NOT_SERVED: &str = "its domain is not served here";
const ABROAD: &str = "its domain is not served here, and nothing goes out to others";
const MANAGER: &str = "it is the address of the manager";
const A_ROOM: &str = "it is a room";
const AN_ACCOUNT: &str = "it is an account";
const RESERVED: &str = "it is reserved by the account before the +";

/// Is told how many rows or rooms are done, and of how many.
pub type Told<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// See the module's text.
pub struct Import {
    pub store: Store,
    pub focus: Arc<Focus>,
    pub domains: Arc<Domains>,
    pub identity: Arc<Identity>,
}

/// A room with those who are to be in it, in the order of joining.
struct Filled {
    address: Aor,
    /// `None`: it is here already.
    private: Option<bool>,
    members: Vec<(Aor, u8)>,
}

/// What became of a room's members.
struct Admitted {
    room: Aor,
    made: u64,
    there: u64,
    /// Owners of a room that has one here.
    demoted: Vec<Aor>,
    gone: bool,
}

impl Import {
    /// The domain of addresses that name none.
    pub fn home(&self) -> &str {
        self.domains.default_domain()
    }

    /// An address as we spell its domain; `None`: not served.
    fn ours(&self, who: &Aor) -> Option<Aor> {
        let domain = self.domains.canonical(who.host(), Ipv4Addr::UNSPECIFIED.into())?;
        Aor::new(who.user(), &domain)
    }

    fn is_room(&self, who: &Aor) -> Result<bool, Fault> {
        Ok(self.store.room(who)?.is_some())
    }

    /// Makes rooms and members. With `dry` it only says what it would make.
    pub async fn imc(
        self: &Arc<Import>,
        mut rooms: Vec<RoomRow>,
        mut members: Vec<MemberRow>,
        dry: bool,
        report: &mut Report,
        told: Told<'_>,
    ) -> Result<(), Fault> {
        let mut filled: Vec<Filled> = Vec::new();
        let mut places: HashMap<Aor, usize> = HashMap::new();
        // Ids rise in the order of making and joining; db_text writes them the other way round.
        rooms.sort_by_key(|row| row.id);
        members.sort_by_key(|row| row.id);
        for row in rooms {
            let no = |report: &mut Report, outcome, why| {
                report.note(Table::Rooms, outcome, why, row.address.as_str())
            };
            let Some(address) = self.ours(&row.address) else {
                no(report, Outcome::Skipped, NOT_SERVED);
                continue;
            };
            if places.contains_key(&address) {
                no(report, Outcome::Skipped, "it stands there twice");
                continue;
            }
            let known = self.store.room(&address)?;
            let private = match &known {
                Some(cell) => {
                    let private = cell.read().unwrap_or_else(PoisonError::into_inner).private;
                    let same = if private == row.private { "" } else { "it is as private as it is here" };
                    no(report, Outcome::There, same);
                    None
                }
                None => match self.no_room(&address)? {
                    Some(why) => {
                        no(report, Outcome::Skipped, why);
                        continue;
                    }
                    None => {
                        report.count(Table::Rooms, Outcome::Made, 1);
                        Some(row.private)
                    }
                },
            };
            places.insert(address.clone(), filled.len());
            filled.push(Filled { address, private, members: Vec::new() });
        }
        for row in members {
            let no = |report: &mut Report, why| {
                report.note(Table::Members, Outcome::Skipped, why, &format!("{} in {}", row.who, row.room));
            };
            let place = match self.ours(&row.room) {
                None => Err(NOT_SERVED),
                Some(room) => match places.get(&room) {
                    Some(place) => Ok(*place),
                    // The rooms may have come with another file.
                    None if self.is_room(&room)? => {
                        places.insert(room.clone(), filled.len());
                        filled.push(Filled { address: room, private: None, members: Vec::new() });
                        Ok(filled.len() - 1)
                    }
                    None => Err("there is no such room"),
                },
            };
            let place = match place {
                Ok(place) => place,
                Err(why) => {
                    no(report, why);
                    continue;
                }
            };
            let who = match self.ours(&row.who) {
                Some(who) => who,
                None if self.focus.reaches_abroad => row.who.clone(),
                None => {
                    no(report, ABROAD);
                    continue;
                }
            };
            if self.focus.is_manager(&who) {
                no(report, MANAGER);
            } else if places.contains_key(&who) || self.is_room(&who)? {
                no(report, A_ROOM);
            } else {
                filled[place].members.push((who, row.flags));
            }
        }
        let admitted = if dry { self.would_fill(&filled)? } else { self.fill(filled, told).await? };
        for room in admitted {
            report.count(Table::Members, Outcome::Made, room.made);
            for who in &room.demoted {
                let example = format!("{who} in {}", room.room);
                report.note(
                    Table::Members,
                    Outcome::Changed,
                    "an admin: the room has an owner here",
                    &example,
                );
            }
            if room.there > 0 {
                report.count(Table::Members, Outcome::There, room.there);
            }
            if room.gone {
                let why = "the room was destroyed meanwhile";
                report.note(Table::Members, Outcome::Skipped, why, room.room.as_str());
            }
        }
        Ok(())
    }

    /// Why there can be no room of this name.
    fn no_room(&self, address: &Aor) -> Result<Option<&'static str>, Fault> {
        Ok(if self.focus.is_manager(address) {
            Some(MANAGER)
        } else if self.focus.is_account(address)? {
            Some(AN_ACCOUNT)
        } else if self.focus.is_anothers(address)? {
            Some(RESERVED)
        } else {
            None
        })
    }

    fn would_fill(&self, filled: &[Filled]) -> Result<Vec<Admitted>, Fault> {
        filled.iter().map(|room| self.next_step(room, &mut 0).map(|(_, admitted)| admitted)).collect()
    }

    async fn fill(self: &Arc<Import>, filled: Vec<Filled>, told: Told<'_>) -> Result<Vec<Admitted>, Fault> {
        let (mut running, mut done) = (JoinSet::new(), Vec::new());
        let of = filled.len() as u64;
        for room in filled {
            told(done.len() as u64, of);
            if running.len() >= AT_ONCE
                && let Some(ended) = running.join_next().await
            {
                done.push(settled(ended)?);
            }
            let import = self.clone();
            running.spawn(async move { import.fill_one(room).await });
        }
        while let Some(ended) = running.join_next().await {
            done.push(settled(ended)?);
            told(done.len() as u64, of);
        }
        Ok(done)
    }

    async fn fill_one(&self, room: Filled) -> Result<Admitted, Fault> {
        let mut stale = 0;
        // What the first look said counts: whom we admit ourselves was not there.
        let mut first: Option<Admitted> = None;
        let mut done = 0;
        loop {
            let (step, admitted) = self.next_step(&room, &mut done)?;
            let Some(step) = step else { return Ok(first.unwrap_or(admitted)) };
            match self.store.commit(Commit { room: Some(step), entries: Vec::new(), accepted: None }).await? {
                Committed::Stale if stale == JUDGEMENTS => {
                    return Err(Fault::Unavailable("a room changes faster than it can be filled".into()));
                }
                Committed::Stale => stale += 1,
                _ => first = first.or(Some(admitted)),
            }
        }
    }

    /// The next commit that a room needs, if it needs one, and what becomes of its members with all of them.
    fn next_step(&self, filled: &Filled, done: &mut usize) -> Result<(Option<RoomStep>, Admitted), Fault> {
        let known = self.store.room(&filled.address)?;
        let known = known.as_ref().map(|cell| cell.read().unwrap_or_else(PoisonError::into_inner));
        let mut admitted =
            Admitted { room: filled.address.clone(), made: 0, there: 0, demoted: Vec::new(), gone: false };
        let mut changes = Vec::new();
        match (&known, filled.private) {
            (None, Some(private)) if *done == 0 => changes.push(RoomChange::Create { private }),
            (None, _) => {
                admitted.gone = true;
                return Ok((None, admitted));
            }
            (Some(_), _) => {}
        }
        let mut listed: HashSet<&Aor> =
            known.iter().flat_map(|room| room.members.iter().map(|member| &member.who)).collect();
        // A room that we make keeps all the owners that it had.
        let owned = filled.private.is_none() && known.as_ref().is_some_and(|room| room.owner().is_some());
        for (who, flags) in &filled.members {
            if !listed.insert(who) {
                admitted.there += 1;
                continue;
            }
            admitted.made += 1;
            let mut flags = *flags;
            if owned && flags & member_flag::OWNER != 0 {
                flags = flags & !member_flag::OWNER | member_flag::ADMIN;
                admitted.demoted.push(who.clone());
            }
            if changes.len() < CHANGES_MAX {
                changes.push(RoomChange::Admit { who: who.clone(), flags, invited: None });
            }
        }
        if changes.is_empty() {
            return Ok((None, admitted));
        }
        *done += 1;
        let version = known.as_ref().map_or(0, |room| room.version);
        Ok((Some(RoomStep { address: filled.address.clone(), version, changes }), admitted))
    }
}

/// A task of ours that panicked is our fault.
fn settled<T>(ended: Result<Result<T, Fault>, tokio::task::JoinError>) -> Result<T, Fault> {
    ended.unwrap_or_else(|error| Err(Fault::Internal(error.to_string())))
}

/// What a dry run would have made so far: a row that stands there twice is told as it will be.
#[derive(Default)]
pub struct Rehearsal {
    letters: HashSet<Origin>,
    /// With whether they have credentials.
    accounts: HashMap<Aor, bool>,
}

// ── messages that wait ───────────────────────────────────────────────────────────────────────────────────────

impl Import {
    /// Puts messages into the mailboxes of their recipients, in the order in which they were stored, and reminders
    /// beside the log.
    pub async fn letters(
        &self,
        mut rows: Vec<LetterRow>,
        mut dry: Option<&mut Rehearsal>,
        report: &mut Report,
        told: Told<'_>,
    ) -> Result<(), Fault> {
        rows.sort_by_key(|row| (row.at, row.id));
        let of = rows.len() as u64;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            told(of - rows.len() as u64, of);
            let some = rows.by_ref().take(CHUNK).collect();
            self.some_letters(some, dry.as_deref_mut(), report).await?;
        }
        if of > 0 {
            told(of, of);
        }
        Ok(())
    }

    async fn some_letters(
        &self,
        rows: Vec<LetterRow>,
        dry: Option<&mut Rehearsal>,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let mut letters = Vec::with_capacity(rows.len());
        for row in rows {
            let example = format!("to {} from {}", row.recipient, row.author);
            let key = row.key;
            match self.letter(row)? {
                Ok(letter) => letters.push((key, letter)),
                Err(why) => report.note(Table::Silo, Outcome::Skipped, why, &example),
            }
        }
        let new = match dry {
            Some(rehearsal) => {
                let keys: Vec<_> = letters.iter().map(|(key, _)| *key).collect();
                let were = self.store.were_imported(&keys)?;
                keys.into_iter().zip(were).map(|(key, was)| rehearsal.letters.insert(key) && !was).collect()
            }
            None => self.store.import_letters(letters).await?,
        };
        let made = new.iter().filter(|new| **new).count() as u64;
        report.count(Table::Silo, Outcome::Made, made);
        if made < new.len() as u64 {
            report.count(Table::Silo, Outcome::There, new.len() as u64 - made);
        }
        Ok(())
    }

    /// What a row becomes, or why nothing.
    fn letter(&self, row: LetterRow) -> Result<Result<Imported, &'static str>, Fault> {
        let Some(recipient) = self.ours(&row.recipient) else { return Ok(Err(NOT_SERVED)) };
        if self.focus.is_manager(&recipient) {
            return Ok(Err(MANAGER));
        }
        if self.is_room(&recipient)? {
            return Ok(Err(A_ROOM));
        }
        let author = self.ours(&row.author).unwrap_or(row.author);
        // Of somebody unknown it is only shown from whom it came: he gets no row, which might take a room's name.
        let known = self.store.account(&author)?.is_some();
        let now = self.focus.clock.wall();
        if row.due > 0 {
            let text = match row.content_type {
                None => String::from_utf8(row.body).ok(),
                Some(_) => None,
            };
            let Some(text) = text else { return Ok(Err("it is a reminder that is no text")) };
            let author = if known { author } else { recipient.clone() };
            return Ok(Ok(Imported::Later { author, recipient, due: row.due * 1000, text, hops: HOPS }));
        }
        if content(row.content_type.as_deref()).is_automatic() {
            return Ok(Err("it is a typing notice or a receipt"));
        }
        if row.body.len() > BODY_MAX {
            return Ok(Err("it is longer than any message can be"));
        }
        let life = i64::from(self.focus.rules().expire_time) * 1000;
        let expires = if row.expires == 0 { now + life } else { row.expires * 1000 };
        if expires <= now {
            return Ok(Err("its time is over"));
        }
        Ok(Ok(Imported::Letter(NewEntry {
            place: Place::Mailbox(recipient),
            kind: EntryKind::Direct,
            sender: known.then(|| author.clone()),
            peer: Some(author),
            source: None,
            content_type: row.content_type,
            headers: row.headers,
            body: Bytes::from(row.body),
            at: if row.at == 0 { now } else { now.min(row.at * 1000) },
            // Whoever wrote nonsense there is not kept for ever.
            expires: expires.min(now + life.max(LIFE_MAX)),
            hops: HOPS,
            private: row.private,
        })))
    }
}

// ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────

impl Import {
    /// Makes accounts. `realm`: what their hashes were made for; `None`: each row's domain.
    pub async fn subscribers(
        &self,
        rows: Vec<SubscriberRow>,
        realm: Option<&str>,
        dry: Option<&mut Rehearsal>,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let mut accounts = Vec::with_capacity(rows.len());
        for row in rows {
            match self.account_of(&row.who)? {
                Ok(who) => {
                    let (credentials, but) = self.credentials(&who, &row, realm.unwrap_or(&row.realm));
                    accounts.push((who, credentials, but));
                }
                Err(why) => report.note(Table::Subscriber, Outcome::Skipped, why, row.who.as_str()),
            }
        }
        let new = match dry {
            Some(rehearsal) => {
                let new = |(who, with, _): &_| self.is_new(rehearsal, who, with);
                accounts.iter().map(new).collect::<Result<_, _>>()?
            }
            None => {
                let put = accounts.iter().map(|(who, credentials, _)| (who.clone(), credentials.clone()));
                self.store.add_accounts(put.collect()).await?
            }
        };
        for ((who, _, but), new) in accounts.iter().zip(new) {
            match (new, but) {
                (false, _) => report.note(Table::Subscriber, Outcome::There, "", who.as_str()),
                (true, but) => {
                    report.count(Table::Subscriber, Outcome::Made, 1);
                    if let Some(but) = but {
                        report.note(Table::Subscriber, Outcome::Changed, but, who.as_str());
                    }
                }
            }
        }
        Ok(())
    }

    fn is_new(&self, dry: &mut Rehearsal, who: &Aor, with: &Option<Credentials>) -> Result<bool, Fault> {
        let known = match dry.accounts.get(who) {
            Some(has) => Some(*has),
            None => {
                let known = self.store.account(who)?.filter(|known| known.registered);
                known.map(|known| known.credentials.is_some())
            }
        };
        let has = known.unwrap_or_default();
        dry.accounts.insert(who.clone(), has || with.is_some());
        Ok(!has && (with.is_some() || known.is_none()))
    }

    /// An address that may be an account, or why not.
    fn account_of(&self, who: &Aor) -> Result<Result<Aor, &'static str>, Fault> {
        let Some(who) = self.ours(who) else { return Ok(Err(NOT_SERVED)) };
        Ok(if self.focus.is_manager(&who) {
            Err(MANAGER)
        } else if self.is_room(&who)? {
            Err(A_ROOM)
        } else if self.focus.is_anothers(&who)? {
            Err(RESERVED)
        } else {
            Ok(who)
        })
    }

    /// What somebody can log in with, and what is not as it was. `realm`: what his hashes were made for.
    fn credentials(
        &self,
        who: &Aor,
        row: &SubscriberRow,
        realm: &str,
    ) -> (Option<Credentials>, Option<&'static str>) {
        let served = self.identity.realm_of(who);
        let of_password = row.password.as_ref().map(|password| {
            Ha1::of(who.user(), who.host(), &served, password).to_hex().map(|hex| Some(Arc::from(hex)))
        });
        let some = |hex: &Option<String>| hex.as_deref().map(Arc::from);
        let stored = [&row.ha1, &row.ha1b, &row.ha1_sha256, &row.ha1b_sha256].map(some);
        // Those of name and realm alone, which everybody's are: in MD5, in SHA-256.
        let main = [0, 2];
        let is_hashed = main.iter().any(|at| stored[*at].is_some());
        let hashed = is_hashed && realm == served;
        let same = |all: &[Option<Arc<str>>; 4]| {
            main.iter().all(|at| stored[*at].is_none() || stored[*at] == all[*at])
        };
        let ([md5, md5_domain, sha256, sha256_domain], but) = match of_password {
            Some(all) if !hashed || same(&all) => (all, None),
            other if hashed => (stored, other.map(|_| "by its hash: its password is another one")),
            _ if is_hashed => return (None, Some("without a password: its hashes are of another realm")),
            _ => return (None, Some("without a password")),
        };
        (Some(Credentials { realm: served.into(), md5, md5_domain, sha256, sha256_domain }), but)
    }
}
