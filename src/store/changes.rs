//! A change of a room, as rows: who belongs now, and what he may see, in one transaction.
//!
//! Prevents that a member sees what was said before he came or after he went, and that a room made anew shows what
//! the former one held. Never judges whether the change is allowed.

use rusqlite::{OptionalExtension, params};

use super::sqlite::Failure;
use super::turn::{Draft, NO_CONVERSATION, Staged, Turn, face_of};
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, ConvId, RoomChange, Seq, Span, member_flag, room_flag};

/// Where in the log a change takes place.
#[derive(Clone, Copy)]
pub(super) struct When {
    /// Whoever comes sees the log from here on: the first entry of the commit.
    pub(super) opens: i64,
    /// The last seq before the commit.
    pub(super) before: i64,
    /// The last room entry of the commit, if there is one: what those who go still hear.
    pub(super) heard: i64,
}

fn refuse(what: &str, room: &Aor) -> Failure {
    Failure::Own(Fault::Internal(format!("{what}: {room}")))
}

impl Turn<'_> {
    /// The room as this batch has it by now; from memory, else from disk.
    pub(super) fn draft(&mut self, address: &Aor) -> rusqlite::Result<&mut Draft> {
        if !self.drafts.contains_key(address) {
            let remembered = self.shared.room_as_remembered(address);
            let draft = match remembered {
                Some(draft) => draft,
                None => match super::rooms::find(self.conn, &self.shared.sql, address)? {
                    Some(room) => Draft::of(&room),
                    None => Draft {
                        face: face_of(address, None),
                        conversation: NO_CONVERSATION,
                        version: 0,
                        base: 0,
                        renewed: false,
                        changes: Vec::new(),
                    },
                },
            };
            self.drafts.insert(address.clone(), draft);
        }
        Ok(self.drafts.get_mut(address).expect("put there above"))
    }

    /// Writes one change. `room` is the address as the step has it; rows keep the first spelling.
    pub(super) fn change(
        &mut self,
        room: &Aor,
        change: &RoomChange,
        when: When,
        staged: &mut Staged,
    ) -> Result<(), Failure> {
        let draft = self.draft(room)?;
        let (exists, conversation, address) = (draft.version > 0, draft.conversation, draft.face.aor.clone());
        if exists == matches!(change, RoomChange::Create { .. }) {
            return Err(refuse(if exists { "the room is there" } else { "there is no such room" }, room));
        }
        let sql = &self.shared.sql;
        match change {
            RoomChange::Create { private } => self.create(room, *private, staged)?,
            RoomChange::Admit { who, flags, invited } => {
                if self.member(&address, who)?.is_some() {
                    return Err(refuse("he is listed already", room));
                }
                let account = self.account(who, when.before)?;
                let invited = invited.as_ref().filter(|_| flags & member_flag::INVITED != 0);
                self.conn.prepare_cached(&sql.insert_member)?.execute(params![
                    who.user(),
                    who.host(),
                    address.uri(),
                    flags,
                    account.id.0,
                    invited.map(|(inviter, _)| inviter.as_str()),
                    invited.map(|(_, at)| at),
                ])?;
                staged.members += 1;
                if flags & member_flag::INVITED == 0 {
                    self.open_span(account.id, conversation, when, staged)?;
                }
            }
            RoomChange::SetFlags { who, flags } => {
                let (id, old) =
                    self.member(&address, who)?.ok_or_else(|| refuse("he is not listed", room))?;
                self.conn.prepare_cached(&sql.flag_member)?.execute(params![id, flags])?;
                let account = self.account(who, when.before)?;
                match (old & member_flag::INVITED != 0, flags & member_flag::INVITED != 0) {
                    (true, false) => self.open_span(account.id, conversation, when, staged)?,
                    (false, true) => self.close_span(account.id, conversation, when.before, staged)?,
                    _ => {}
                }
            }
            RoomChange::Drop { who, hears } => {
                let rows = self.conn.prepare_cached(&sql.delete_member)?.execute([
                    &*address.uri(),
                    who.user(),
                    who.host(),
                ])?;
                if rows == 0 {
                    return Err(refuse("he is not listed", room));
                }
                staged.members -= rows as i64;
                let account = self.account(who, when.before)?;
                let until = if *hears { when.heard } else { when.before };
                self.close_span(account.id, conversation, until, staged)?;
            }
            RoomChange::Destroy => {
                let members = self.conn.prepare_cached(&sql.delete_members)?.execute([address.uri()])?;
                self.conn.prepare_cached(&sql.delete_room)?.execute([conversation.0])?;
                self.conn
                    .prepare_cached("UPDATE conversation SET ended = 1 WHERE id = ?1")?
                    .execute([conversation.0])?;
                let mut close = self.conn.prepare_cached(
                    "UPDATE span SET until = ?2 WHERE conversation = ?1 AND until IS NULL
                     RETURNING account, since",
                )?;
                let mut rows = close.query([conversation.0, when.heard])?;
                while let Some(row) = rows.next()? {
                    let span = Span { conversation, since: Seq(row.get(1)?), until: Some(Seq(when.heard)) };
                    staged.announcement.spans.push((AccountId(row.get(0)?), span));
                }
                drop(rows);
                drop(close);
                staged.rooms -= 1;
                staged.members -= members as i64;
                let draft = self.draft(room)?;
                draft.version = 0;
                draft.renewed = true;
            }
            RoomChange::Title(title) => {
                self.conn
                    .prepare_cached("UPDATE conversation SET title = ?2 WHERE id = ?1")?
                    .execute(params![conversation.0, title.as_deref()])?;
                self.draft(room)?.face = face_of(&address, title.as_deref());
            }
            RoomChange::Private(private) => {
                let flag = if *private { room_flag::PRIVATE } else { 0 };
                self.conn.prepare_cached(&sql.flag_room)?.execute(params![
                    conversation.0,
                    flag,
                    room_flag::PRIVATE
                ])?;
            }
        }
        Ok(())
    }

    /// A room made anew has another conversation, and goes on counting versions where the former one ended: who
    /// judged by the former room is stale.
    fn create(&mut self, room: &Aor, private: bool, staged: &mut Staged) -> Result<(), Failure> {
        self.conn
            .prepare_cached(
                "INSERT INTO conversation (kind, address, version)
                 SELECT 1, ?1, 1 + coalesce(max(version), 0) FROM conversation WHERE address = ?1 AND kind = 1",
            )?
            .execute([room.as_str()])?;
        let conversation = ConvId(self.conn.last_insert_rowid());
        let version: i64 = self
            .conn
            .prepare_cached("SELECT version FROM conversation WHERE id = ?1")?
            .query_row([conversation.0], |row| row.get(0))?;
        let flag = if private { room_flag::PRIVATE } else { 0 };
        self.conn.prepare_cached(&self.shared.sql.insert_room)?.execute(params![
            room.user(),
            room.host(),
            flag,
            conversation.0
        ])?;
        staged.rooms += 1;
        let draft = self.draft(room)?;
        draft.face = face_of(room, None);
        draft.conversation = conversation;
        draft.version = version as u64;
        draft.renewed = true;
        Ok(())
    }

    /// Counts the changes of one commit as one version.
    pub(super) fn next_version(
        &mut self,
        room: &Aor,
        judged: u64,
        changes: Vec<RoomChange>,
    ) -> Result<(), Failure> {
        let draft = self.draft(room)?;
        draft.changes.extend(changes);
        if judged == 0 || draft.version == 0 {
            return Ok(());
        }
        draft.version += 1;
        let (conversation, version) = (draft.conversation, draft.version);
        self.conn
            .prepare_cached("UPDATE conversation SET version = ?2 WHERE id = ?1")?
            .execute(params![conversation.0, version as i64])?;
        Ok(())
    }

    /// Row id and flags of somebody listed.
    fn member(&self, room: &Aor, who: &Aor) -> rusqlite::Result<Option<(i64, u8)>> {
        self.conn
            .prepare_cached(&self.shared.sql.find_member)?
            .query_row([&*room.uri(), who.user(), who.host()], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)? as u8))
            })
            .optional()
    }

    fn open_span(
        &mut self,
        account: AccountId,
        conversation: ConvId,
        when: When,
        staged: &mut Staged,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO span (account, conversation, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET until = NULL",
            )?
            .execute([account.0, conversation.0, when.opens])?;
        let span = Span { conversation, since: Seq(when.opens), until: None };
        staged.announcement.spans.push((account, span));
        Ok(())
    }

    fn close_span(
        &mut self,
        account: AccountId,
        conversation: ConvId,
        until: i64,
        staged: &mut Staged,
    ) -> rusqlite::Result<()> {
        let since: Option<i64> = self
            .conn
            .prepare_cached(
                "UPDATE span SET until = ?3 WHERE account = ?1 AND conversation = ?2 AND until IS NULL
                 RETURNING since",
            )?
            .query_row([account.0, conversation.0, until], |row| row.get(0))
            .optional()?;
        if let Some(since) = since {
            let span = Span { conversation, since: Seq(since), until: Some(Seq(until)) };
            staged.announcement.spans.push((account, span));
        }
        Ok(())
    }
}
