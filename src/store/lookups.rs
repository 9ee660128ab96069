//! Questions that come up now and then: whose conversation is this, who has to be reached, which invitation is old.

use std::sync::Arc;

use rusqlite::OptionalExtension;

use super::rooms::{address, behind};
use super::schema::Tables;
use super::turn::face_of;
use super::{Account, Store};
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, ConvId, Face, Seq, UnixMs};

impl Store {
    /// The room that a conversation is or was of; `None` for a mailbox.
    pub fn room_of(&self, conversation: ConvId) -> Result<Option<Arc<Face>>, Fault> {
        let found = self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT address, title FROM conversation WHERE id = ?1 AND kind = 1")?
                .query_row([conversation.0], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
                })
                .optional()
        })?;
        Ok(found.and_then(|(address, title)| Some(face_of(&Aor::parse(&address)?, title.as_deref()))))
    }

    /// Whose mailbox a conversation is; `None` for a room.
    pub fn owner_of(&self, conversation: ConvId) -> Result<Option<Aor>, Fault> {
        let found = self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT address FROM conversation WHERE id = ?1 AND kind = 2")?
                .query_row([conversation.0], |row| row.get::<_, String>(0))
                .optional()
        })?;
        Ok(found.and_then(|address| Aor::parse(&address)))
    }

    /// Every address that belongs to a room or has something in its mailbox.
    pub fn listeners(&self) -> Result<Vec<(AccountId, Aor)>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT a.id, a.username, a.domain FROM account a
                 WHERE EXISTS (SELECT 1 FROM span s WHERE s.account = a.id)
                    OR EXISTS (SELECT 1 FROM log l WHERE l.conversation = a.mailbox AND l.kind <> 4)",
            )?;
            let mut rows = statement.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(who) = address(row, 1, 2)? {
                    all.push((AccountId(row.get(0)?), who));
                }
            }
            Ok(all)
        })
    }

    /// Accounts with a direct message that none of their devices has taken, by what is on disk: those behind `after`
    /// in the order of addresses, at most `most`.
    pub fn expecting(&self, now: UnixMs, after: Option<&Aor>, most: usize) -> Result<Vec<Account>, Fault> {
        let found: Vec<Aor> = self.0.shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT a.username, a.domain FROM account a WHERE EXISTS
                    (SELECT 1 FROM log l WHERE l.conversation = a.mailbox AND l.kind = 3 AND l.expires > ?1
                        AND l.seq > max(a.base, coalesce(
                            (SELECT max(d.position) FROM device d WHERE d.account = a.id), 0)))
                    AND (a.username, a.domain) > (?3, ?4)
                 ORDER BY a.username, a.domain LIMIT ?2",
            )?;
            let (user, host) = behind(after);
            let mut rows = statement.query((now, most as i64, user, host))?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.extend(address(row, 0, 1)?);
            }
            Ok(all)
        })?;
        let accounts = found.iter().map(|who| self.account(who)).collect::<Result<Vec<_>, _>>()?;
        Ok(accounts.into_iter().flatten().collect())
    }

    /// Direct messages of a mailbox up to `upto`, counted no further than `most`.
    pub fn count_taken(&self, mailbox: ConvId, upto: Seq, most: u32) -> Result<u64, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM log WHERE conversation = ?1 AND seq <= ?2 AND kind = 3
                    ORDER BY seq DESC LIMIT ?3)",
            )?
            .query_row([mailbox.0, upto.0, i64::from(most)], |row| Ok(row.get::<_, i64>(0)?.max(0) as u64))
        })
    }

    /// What a room said in somebody's mailbox: the room, and when. `None` for any other entry.
    pub fn invitation(&self, seq: Seq) -> Result<Option<(Aor, UnixMs)>, Fault> {
        let found = self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT peer, at FROM log WHERE seq = ?1 AND kind = 2 AND peer IS NOT NULL")?
                .query_row([seq.0], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
                .optional()
        })?;
        Ok(found.and_then(|(room, at)| Some((Aor::parse(&room)?, at))))
    }

    /// Invitations, as room and invited, that were sent before `before` and are still open.
    pub fn stale_invitations(&self, before: UnixMs) -> Result<Vec<(Aor, Aor)>, Fault> {
        let options = &self.0.shared.options;
        let tables = Tables::new(&options.rooms_table, &options.members_table)?;
        let sql = tables.fill(
            "SELECT substr(room, 5), username, domain FROM {members}
             WHERE invited_at < ?1 AND (flag & 4) <> 0 LIMIT 1000",
        );
        self.0.shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query([before])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                if let (Some(room), Some(who)) = (Aor::parse(row.get_ref(0)?.as_str()?), address(row, 1, 2)?)
                {
                    all.push((room, who));
                }
            }
            Ok(all)
        })
    }
}
