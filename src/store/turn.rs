//! One batch while it is being written: what it has changed so far, and what is to be told once it is durable.
//!
//! Prevents that anybody sees, or is told, what is not on disk yet: caches, heads and announcements move in
//! [`Turn::publish`], after COMMIT. Never answers a request.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::accounts::Account;
use super::sqlite::Failure;
use super::{Shared, now_ms};
use crate::refusal::Fault;
use crate::types::{
    Accepted, AccountId, Announcement, Answer, Aor, Commit, Committed, ConvId, DeviceKey, Entry, EntryKind,
    Face, NewEntry, Place, RoomChange, RoomStep, Seq, Span, UnixMs,
};

/// The conversation of a room that never was.
pub(super) const NO_CONVERSATION: ConvId = ConvId(0);

/// A row of `account`, as far as writing needs it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: AccountId,
    pub(super) address: Aor,
    pub(super) mailbox: ConvId,
    pub(super) name: Option<Arc<str>>,
}

/// A room as the batch has it by now.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) face: Arc<Face>,
    pub(super) conversation: ConvId,
    /// 0: there is no such room.
    pub(super) version: u64,
    /// The version before the batch.
    pub(super) base: u64,
    /// It came to be, or ended: what is remembered of it is to be forgotten, not changed.
    pub(super) renewed: bool,
    pub(super) changes: Vec<RoomChange>,
}

impl Draft {
    /// What is needed to come back to this state: everything but the changes, and how many they were.
    fn mark(&self) -> (Draft, usize) {
        let Draft { face, conversation, version, base, renewed, changes } = self;
        let mark = Draft {
            face: face.clone(),
            conversation: *conversation,
            version: *version,
            base: *base,
            renewed: *renewed,
            changes: Vec::new(),
        };
        (mark, changes.len())
    }

    fn restore(&mut self, (mark, changes): (Draft, usize)) {
        let mut kept = std::mem::take(&mut self.changes);
        kept.truncate(changes);
        *self = Draft { changes: kept, ..mark };
    }
}

fn nowhere() -> Failure {
    Failure::Own(Fault::Internal("an entry in no room".into()))
}

/// What one commit adds, kept apart until all of it is written.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) announcement: Announcement,
    pub(super) rooms: i64,
    pub(super) members: i64,
}

pub(super) struct Turn<'c> {
    pub(super) conn: &'c Connection,
    pub(super) shared: &'c Shared,
    pub(super) now: UnixMs,
    /// The last seq given out.
    pub(super) head: i64,
    /// Whether a deed asked for the positions to be written with this batch.
    pub(super) flush_positions: bool,
    /// By estimate, for the checkpoints.
    pub(super) bytes: u64,
    pub(super) drafts: HashMap<Aor, Draft>,
    known: HashMap<Aor, Known>,
    /// Accounts of which the cache, until the batch is durable, knows something that is no longer so.
    changed: HashSet<Aor>,
    /// Newest seq of conversations; `None`: it has no entries left.
    heads: HashMap<ConvId, Option<Seq>>,
    stale: Vec<Aor>,
    rooms: i64,
    members: i64,
    announcements: Vec<Announcement>,
}

impl<'c> Turn<'c> {
    pub(super) fn new(conn: &'c Connection, shared: &'c Shared) -> Turn<'c> {
        Turn {
            conn,
            shared,
            now: now_ms(),
            head: shared.head.load(Ordering::Acquire),
            flush_positions: false,
            bytes: 0,
            drafts: HashMap::new(),
            known: HashMap::new(),
            changed: HashSet::new(),
            heads: HashMap::new(),
            stale: Vec::new(),
            rooms: 0,
            members: 0,
            announcements: Vec::new(),
        }
    }

    /// Writes one commit into the transaction. On [`Failure::Own`] nothing of it remains.
    pub(super) fn commit(&mut self, commit: Commit) -> Result<Committed, Failure> {
        if let Some(step) = &commit.room
            && (self.draft(&step.address)?.version != step.version || self.is_taken(step)?)
        {
            if let Some(answer) = self.answered(commit.accepted.as_ref())? {
                return Ok(Committed::Repeat(answer));
            }
            self.stale.push(step.address.clone());
            return Ok(Committed::Stale);
        }
        let exists = commit.room.as_ref().is_some_and(|step| step.version > 0 || !step.changes.is_empty());
        if !exists && commit.entries.iter().any(|entry| entry.place == Place::Room) {
            return Err(nowhere());
        }
        let said = |entry: &NewEntry| matches!(entry.kind, EntryKind::Post | EntryKind::Direct);
        if self.shared.full.load(Ordering::Relaxed) && commit.entries.iter().any(said) {
            return match self.answered(commit.accepted.as_ref())? {
                Some(answer) => Ok(Committed::Repeat(answer)),
                None => Err(Failure::Own(Fault::Unavailable("history.max_bytes is reached".into()))),
            };
        }
        let address = commit.room.as_ref().filter(|step| !step.changes.is_empty()).map(|step| &step.address);
        let Some(address) = address.cloned() else {
            // A post cannot fail by itself: no savepoint, which would cost a copy of every page it touches.
            return self.write(commit).map_err(|failure| match failure {
                Failure::Own(fault) => {
                    Failure::Storage(rusqlite::Error::ToSqlConversionFailure(fault.into()))
                }
                storage => storage,
            });
        };
        let head = self.head;
        let before = self.draft(&address)?.mark();
        self.conn.prepare_cached("SAVEPOINT commit_")?.execute([])?;
        let result = self.write(commit);
        if let Err(Failure::Own(_)) = &result {
            self.conn.prepare_cached("ROLLBACK TO commit_")?.execute([])?;
            self.head = head;
            self.forget_known();
            self.draft(&address)?.restore(before);
        }
        self.conn.prepare_cached("RELEASE commit_")?.execute([])?;
        result
    }

    /// Whether it would make a room where since it was judged an account came to be, or the domain went.
    fn is_taken(&self, step: &RoomStep) -> rusqlite::Result<bool> {
        let makes = step.changes.iter().any(|change| matches!(change, RoomChange::Create { .. }));
        if !makes || self.is_retired(&step.address) {
            return Ok(makes);
        }
        Ok(super::accounts::find(self.conn, &step.address)?.is_some_and(|known| known.registered))
    }

    /// What follows when the version is right: the answer, the changes, the entries.
    fn write(&mut self, commit: Commit) -> Result<Committed, Failure> {
        if let Some(accepted) = &commit.accepted
            && !self.accept(accepted)?
            && let Some(answer) = self.answered(Some(accepted))?
        {
            return Ok(Committed::Repeat(answer));
        }
        let before = self.head;
        let mut staged = Staged::default();
        let last_room = commit.entries.iter().rposition(|entry| entry.place == Place::Room);
        // What ends with this commit ends with the last thing its members hear of it.
        let heard = last_room.map_or(before, |index| before + 1 + index as i64);
        let mut room = None;
        if let Some(step) = commit.room {
            let opens = before + 1;
            for change in &step.changes {
                self.change(
                    &step.address,
                    change,
                    super::changes::When { opens, before, heard },
                    &mut staged,
                )?;
            }
            if !step.changes.is_empty() {
                self.next_version(&step.address, step.version, step.changes)?;
            }
            let draft = self.draft(&step.address)?;
            room = Some((step.address, draft.conversation, draft.face.clone()));
        }
        let mut seqs = Vec::with_capacity(commit.entries.len());
        let mut mailboxes = Vec::new();
        for entry in commit.entries {
            let (conversation, own_face) = match &entry.place {
                Place::Room => match &room {
                    Some((_, conversation, face)) if *conversation != NO_CONVERSATION => {
                        (*conversation, face.clone())
                    }
                    _ => return Err(nowhere()),
                },
                Place::Mailbox(who) => {
                    let owner = self.account(who, before)?;
                    let span = Span { conversation: owner.mailbox, since: Seq(0), until: None };
                    if !mailboxes.contains(&(owner.id, span)) {
                        mailboxes.push((owner.id, span));
                    }
                    (owner.mailbox, face_of(&owner.address, None))
                }
            };
            let sender = match &entry.sender {
                None => None,
                Some(sender) => Some(self.account(sender, before)?),
            };
            let from = match (&entry.peer, &room, &sender) {
                (None, ..) => own_face,
                (Some(peer), Some((address, _, face)), _) if peer == address => face.clone(),
                (Some(peer), _, Some(author)) if *peer == author.address => {
                    face_of(peer, author.name.as_deref())
                }
                (Some(peer), ..) => face_of(peer, None),
            };
            let sender = sender.map(|known| (known.id, known.address));
            self.head += 1;
            let entry = self.append(entry, Seq(self.head), conversation, from, sender)?;
            if let Some((owner, _)) = mailboxes.iter().find(|(_, span)| span.conversation == conversation) {
                self.keep_receipt(&entry, *owner)?;
            }
            seqs.push(entry.seq);
            staged.announcement.entries.push(entry);
        }
        for entry in &staged.announcement.entries {
            self.heads.insert(entry.conversation, Some(entry.seq));
        }
        staged.announcement.spans.extend(mailboxes);
        self.rooms += staged.rooms;
        self.members += staged.members;
        if !staged.announcement.spans.is_empty() || !staged.announcement.entries.is_empty() {
            self.announcements.push(staged.announcement);
        }
        Ok(Committed::Done { seqs })
    }

    fn append(
        &mut self,
        entry: NewEntry,
        seq: Seq,
        conversation: ConvId,
        from: Arc<Face>,
        sender: Option<(AccountId, Aor)>,
    ) -> rusqlite::Result<Arc<Entry>> {
        let headers = if entry.headers.is_empty() { None } else { Some(&*entry.headers) };
        self.conn
            .prepare_cached(
                "INSERT INTO log (seq, conversation, kind, sender, peer, source, content_type, headers, body,
                                  at, expires, hops, private)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                seq.0,
                conversation.0,
                entry.kind as u8,
                sender.as_ref().map(|(id, _)| id.0),
                entry.peer.as_ref().map(Aor::as_str),
                entry.source.as_deref(),
                entry.content_type.as_deref(),
                headers,
                &entry.body[..],
                entry.at,
                entry.expires,
                entry.hops,
                entry.private,
            ])?;
        self.bytes += entry.body.len() as u64;
        Ok(Arc::new(Entry {
            seq,
            conversation,
            kind: entry.kind,
            from,
            sender,
            source: entry.source,
            content_type: entry.content_type,
            headers: entry.headers,
            body: entry.body,
            at: entry.at,
            expires: entry.expires,
            hops: entry.hops,
            private: entry.private,
            rendered: OnceLock::new(),
            as_text: OnceLock::new(),
        }))
    }

    /// Records the answer. False: this origin has one already.
    pub(super) fn accept(&self, accepted: &Accepted) -> rusqlite::Result<bool> {
        let rows = self
            .conn
            .prepare_cached(
                "INSERT INTO accepted (origin, status, body, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                &accepted.origin[..],
                accepted.answer.status,
                accepted.body as i64,
                accepted.at
            ])?;
        Ok(rows == 1)
    }

    pub(super) fn answered(&self, accepted: Option<&Accepted>) -> rusqlite::Result<Option<Answer>> {
        let Some(accepted) = accepted else { return Ok(None) };
        let taken = self.shared.positions().is_taken(&accepted.origin);
        self.conn
            .prepare_cached("SELECT status FROM accepted WHERE origin = ?1")?
            .query_row([&accepted.origin[..]], |row| {
                if taken { Ok(super::TAKEN) } else { Ok(Answer { status: row.get(0)? }) }
            })
            .optional()
    }

    /// The row of an address, made with its mailbox if there is none. `base`: where its devices start.
    pub(super) fn account(&mut self, who: &Aor, base: i64) -> Result<Known, Failure> {
        if let Some(known) = self.known.get(who) {
            return Ok(known.clone());
        }
        let cached = match self.changed.contains(who) {
            true => None,
            false => self.shared.accounts.get(who).map(|account| Known {
                id: account.id,
                address: account.address.clone(),
                mailbox: account.mailbox,
                name: account.name.clone(),
            }),
        };
        let known = match cached {
            Some(known) => known,
            None => match super::accounts::find(self.conn, who)? {
                Some(Account { id, address, mailbox, name, .. }) => Known { id, address, mailbox, name },
                None => self.make_account(who, base)?,
            },
        };
        self.known.insert(who.clone(), known.clone());
        Ok(known)
    }

    fn make_account(&mut self, who: &Aor, base: i64) -> Result<Known, Failure> {
        let mailbox = self.make_mailbox(who)?;
        self.conn
            .prepare_cached("INSERT INTO account (username, domain, mailbox, base) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![who.user(), who.host(), mailbox.0, base])?;
        Ok(Known { id: AccountId(self.conn.last_insert_rowid()), address: who.clone(), mailbox, name: None })
    }

    pub(super) fn make_mailbox(&mut self, who: &Aor) -> rusqlite::Result<ConvId> {
        self.conn
            .prepare_cached("INSERT INTO conversation (kind, address) VALUES (2, ?1)")?
            .execute([who.as_str()])?;
        Ok(ConvId(self.conn.last_insert_rowid()))
    }

    /// The row of an address changed: the cache forgets it when the batch is durable.
    pub(super) fn account_changed(&mut self, who: &Aor) {
        self.known.remove(who);
        self.changed.insert(who.clone());
    }

    /// Rows made by a deed that was taken back are no longer known.
    pub(super) fn forget_known(&mut self) {
        self.known.clear();
    }

    /// Entries of these conversations were deleted. Keeps the head for good, so that no seq is given out twice.
    pub(super) fn entries_deleted(&mut self, conversations: &[ConvId]) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO meta (key, value) VALUES ('head', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
            )?
            .execute([self.head])?;
        for &conversation in conversations {
            let head: Option<i64> = self
                .conn
                .prepare_cached("SELECT max(seq) FROM log WHERE conversation = ?1")?
                .query_row([conversation.0], |row| row.get(0))?;
            self.heads.insert(conversation, head.map(Seq));
        }
        Ok(())
    }

    /// The batch is durable: moves what is remembered, in order, and tells.
    pub(super) fn publish(self) {
        let shared = self.shared;
        for (conversation, head) in self.heads {
            match head {
                Some(seq) => drop(shared.heads.insert(conversation, seq)),
                None => drop(shared.heads.remove(&conversation)),
            }
        }
        shared.head.fetch_max(self.head, Ordering::AcqRel);
        for who in &self.changed {
            shared.accounts.remove(who);
        }
        for (address, draft) in &self.drafts {
            if draft.renewed {
                shared.rooms.remove(address);
            } else if draft.version != draft.base {
                shared.advance_room(address, draft);
            }
        }
        for address in &self.stale {
            shared.doubt_room(address, self.drafts.get(address).map_or(0, |draft| draft.version));
        }
        shared.active_rooms.fetch_add(self.rooms, Ordering::Relaxed);
        shared.listed.fetch_add(self.members, Ordering::Relaxed);
        let told = shared.on_commit.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told {
            for announcement in self.announcements {
                told(announcement);
            }
        }
    }
}

/// How an address is shown: by its title, else by its user part.
pub(super) fn face_of(address: &Aor, title: Option<&str>) -> Arc<Face> {
    Arc::new(Face { aor: address.clone(), name: title.unwrap_or(address.user()).into() })
}

/// Device keys are few: the two that everybody has share their text.
pub(super) fn device_key(text: &str) -> DeviceKey {
    static COMMON: OnceLock<[DeviceKey; 2]> = OnceLock::new();
    let common =
        COMMON.get_or_init(|| [crate::types::DEFAULT_DEVICE.into(), crate::types::ROUTE_DEVICE.into()]);
    common.iter().find(|key| &***key == text).cloned().unwrap_or_else(|| text.into())
}
