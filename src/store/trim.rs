//! Letting go of what nobody needs any more, a slice at a time.
//!
//! Prevents that the database grows for ever, and that the walk through it holds up those who post. Never removes
//! an entry before both its delivery and its history have ended, nor a seq from memory.

use rusqlite::{OptionalExtension, params};

use super::Store;
use super::sqlite::Failure;
use super::turn::Turn;
use crate::refusal::Fault;
use crate::types::{AccountId, ConvId, Origin, UnixMs};

/// Rows looked at in one slice: about a millisecond of the writer.
const SLICE: i64 = 500;
/// How long an answer is kept for repetitions, in ms (spec §5.7).
const ACCEPTED_KEEP: UnixMs = 24 * 3600 * 1000;

/// Where the walk through the database is.
#[derive(Clone, Default)]
pub(super) struct Walk {
    part: Part,
    /// Entries that this round removed.
    removed: u64,
}

#[derive(Clone, Default)]
enum Part {
    #[default]
    Start,
    Log(i64),
    Mailboxes(i64),
    Accepted(Origin),
    Bindings(i64, String),
    Devices(i64, String),
    Conversations(i64),
}

impl Store {
    /// Does the next slice of a walk through everything. False: the walk has come to its end; the next call
    /// begins another. Meant to be called from time to time by somebody who does not mind waiting.
    pub async fn trim_slice(&self, now: UnixMs) -> Result<bool, Fault> {
        self.write(move |turn| turn.trim(now)).await
    }
}

impl Turn<'_> {
    fn trim(&mut self, now: UnixMs) -> Result<bool, Failure> {
        // Only the writer walks: nobody else holds this lock.
        let shared = self.shared;
        let mut walk = shared.trimmer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let next = match walk.part {
            Part::Start => {
                walk.removed = 0;
                Some(Part::Log(0))
            }
            Part::Log(after) => {
                let limit = shared.options.history_max_bytes;
                let over = limit > 0 && self.used_bytes()? >= limit;
                match self.trim_log(now, after, over, &mut walk.removed)? {
                    Some(seq) => Some(Part::Log(seq)),
                    None => {
                        let full = over && walk.removed == 0;
                        if shared.full.swap(full, std::sync::atomic::Ordering::Relaxed) != full {
                            tracing::warn!(full, "history.max_bytes");
                        }
                        Some(Part::Mailboxes(0))
                    }
                }
            }
            Part::Mailboxes(after) => Some(match self.trim_mailboxes(now, after)? {
                Some(account) => Part::Mailboxes(account),
                None => Part::Accepted([0; 16]),
            }),
            Part::Accepted(after) => Some(match self.trim_accepted(now, after)? {
                Some(origin) => Part::Accepted(origin),
                None => Part::Bindings(0, String::new()),
            }),
            Part::Bindings(account, key) => Some(match self.trim_bindings(now, account, &key)? {
                Some((account, key)) => Part::Bindings(account, key),
                None => Part::Devices(0, String::new()),
            }),
            Part::Devices(account, key) => Some(match self.trim_devices(now, account, &key)? {
                Some((account, key)) => Part::Devices(account, key),
                None => Part::Conversations(0),
            }),
            Part::Conversations(after) => self.trim_conversations(after)?.map(Part::Conversations),
        };
        let more = next.is_some();
        walk.part = next.unwrap_or_default();
        *shared.trimmer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = walk;
        Ok(more)
    }

    /// Bytes of the file that hold something.
    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| -> rusqlite::Result<i64> {
            self.conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
        };
        Ok(((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?).max(0) as u64)
    }

    /// `over`: history is shortened, whatever was to be kept of it.
    fn trim_log(
        &mut self,
        now: UnixMs,
        after: i64,
        over: bool,
        removed: &mut u64,
    ) -> rusqlite::Result<Option<i64>> {
        let keep = if over { 0 } else { self.shared.options.history_keep.as_millis() as i64 };
        let mut select = self.conn.prepare_cached(
            "SELECT seq, conversation, at, expires FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = select.query([after, SLICE])?;
        let (mut count, mut last) = (0, after);
        let mut gone: Vec<i64> = Vec::new();
        let mut conversations: Vec<ConvId> = Vec::new();
        while let Some(row) = rows.next()? {
            count += 1;
            last = row.get(0)?;
            let (at, expires): (UnixMs, UnixMs) = (row.get(2)?, row.get(3)?);
            if !over && at.saturating_add(keep) > now {
                // The log is in the order of time: what follows is younger.
                count = 0;
                break;
            }
            if expires <= now {
                gone.push(last);
                conversations.push(ConvId(row.get(1)?));
            }
        }
        drop(rows);
        drop(select);
        if !gone.is_empty() {
            let mut delete = self.conn.prepare_cached("DELETE FROM log WHERE seq = ?1")?;
            for seq in &gone {
                delete.execute([seq])?;
            }
            drop(delete);
            conversations.sort_unstable();
            conversations.dedup();
            self.entries_deleted(&conversations)?;
            *removed += gone.len() as u64;
        }
        Ok((count == SLICE).then_some(last))
    }

    /// Letters of those who keep none: they go when all devices have taken them, or when they have expired.
    fn trim_mailboxes(&mut self, now: UnixMs, after: i64) -> rusqlite::Result<Option<i64>> {
        let nobody_keeps = self.shared.options.history_keep.is_zero();
        let accounts: Vec<i64> = self
            .conn
            .prepare_cached(match nobody_keeps {
                true => "SELECT id FROM account WHERE id > ?1 ORDER BY id LIMIT ?2",
                false => "SELECT DISTINCT account FROM setting WHERE account > ?1 ORDER BY account LIMIT ?2",
            })?
            .query_map([after, SLICE], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for &account in &accounts {
            let mailbox: Option<i64> = self
                .conn
                .prepare_cached(
                    "SELECT mailbox FROM account a WHERE id = ?1 AND (?2 OR EXISTS
                        (SELECT 1 FROM setting WHERE account = a.id AND key = 'archive' AND value = 'off'))",
                )?
                .query_row(params![account, nobody_keeps], |row| row.get(0))
                .optional()?
                .flatten();
            let Some(mailbox) = mailbox else { continue };
            // As far as is on disk: what has moved since is seen in the next round. Without a device nothing is taken.
            let taken: Option<i64> = self
                .conn
                .prepare_cached("SELECT min(position) FROM device WHERE account = ?1")?
                .query_row([account], |row| row.get(0))?;
            let rows = self
                .conn
                .prepare_cached(
                    "DELETE FROM log WHERE seq IN
                        (SELECT seq FROM log WHERE conversation = ?1 AND kind IN (3, 4)
                            AND (seq <= ?2 OR expires <= ?3) ORDER BY seq LIMIT ?4)",
                )?
                .execute(params![mailbox, taken.unwrap_or(0), now, SLICE])?;
            if rows > 0 {
                self.entries_deleted(&[ConvId(mailbox)])?;
            }
            if rows as i64 == SLICE {
                // There may be more of his.
                return Ok(Some(account - 1));
            }
        }
        Ok(if accounts.len() as i64 == SLICE { accounts.last().copied() } else { None })
    }

    fn trim_accepted(&mut self, now: UnixMs, after: Origin) -> rusqlite::Result<Option<Origin>> {
        let last: Option<Vec<u8>> = self.conn.query_row(
            "SELECT max(origin) FROM
                (SELECT origin FROM accepted WHERE origin > ?1 ORDER BY origin LIMIT ?2)",
            params![&after[..], SLICE],
            |row| row.get(0),
        )?;
        let Some(last) = last.and_then(|last| Origin::try_from(last).ok()) else { return Ok(None) };
        self.conn
            .prepare_cached("DELETE FROM accepted WHERE origin > ?1 AND origin <= ?2 AND at <= ?3")?
            .execute(params![&after[..], &last[..], now - ACCEPTED_KEEP])?;
        Ok(Some(last))
    }

    fn trim_bindings(
        &mut self,
        now: UnixMs,
        account: i64,
        key: &str,
    ) -> rusqlite::Result<Option<(i64, String)>> {
        let last = self
            .conn
            .prepare_cached(
                "SELECT account, key FROM binding WHERE (account, key) > (?1, ?2)
                 ORDER BY account, key LIMIT 1 OFFSET ?3",
            )?
            .query_row(params![account, key, SLICE - 1], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (to, to_key) = last.clone().unwrap_or((i64::MAX, String::new()));
        self.conn
            .prepare_cached(
                "DELETE FROM binding WHERE (account, key) > (?1, ?2) AND (account, key) <= (?3, ?4)
                    AND expires <= ?5",
            )?
            .execute(params![account, key, to, to_key, now])?;
        Ok(last)
    }

    fn trim_devices(
        &mut self,
        now: UnixMs,
        account: i64,
        key: &str,
    ) -> rusqlite::Result<Option<(i64, String)>> {
        let unseen_since = self.shared.unseen_since(now);
        let rows = self
            .conn
            .prepare_cached(
                "SELECT account, instance, seen FROM device WHERE (account, instance) > (?1, ?2)
                 ORDER BY account, instance LIMIT ?3",
            )?
            .query_map(params![account, key, SLICE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<(i64, String, i64)>>>()?;
        let last = if rows.len() as i64 == SLICE { rows.last().cloned() } else { None };
        for (account, instance, seen) in rows {
            // Seen meanwhile, and not written yet: it lives.
            let moves = self.shared.positions().of(AccountId(account)).any(|(key, _)| **key == *instance);
            if seen <= unseen_since && !moves {
                self.forget_device(AccountId(account), &instance)?;
            }
        }
        Ok(last.map(|(account, instance, _)| (account, instance)))
    }

    /// Conversations of rooms that ended and were trimmed, with what could be seen of them.
    fn trim_conversations(&mut self, after: i64) -> rusqlite::Result<Option<i64>> {
        let highest: i64 =
            self.conn.query_row("SELECT coalesce(max(id), 0) FROM conversation", [], |row| row.get(0))?;
        let to = after + SLICE;
        let ended = self
            .conn
            .prepare_cached(&self.shared.sql.ended)?
            .query_map([after, to], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for id in ended {
            self.conn.prepare_cached("DELETE FROM span WHERE conversation = ?1")?.execute([id])?;
            self.conn.prepare_cached("DELETE FROM conversation WHERE id = ?1")?.execute([id])?;
        }
        Ok((to < highest).then_some(to))
    }
}
