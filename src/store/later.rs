//! What is to be said later (design.md): kept beside the log until it is due, moved into it in one commit.
//!
//! Prevents that a crash says a reminder twice or never: it leaves this table in the transaction in which it enters
//! the log. Never decides whether the recipient takes it.

use rusqlite::{OptionalExtension, params};

use super::Store;
use super::rooms::address;
use crate::refusal::Fault;
use crate::types::{Accepted, AccountId, Answer, Aor, Commit, NewEntry, UnixMs};

/// A reminder that is not due yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Later {
    pub id: i64,
    /// What its author calls it.
    pub n: u32,
    pub author: Aor,
    pub recipient: Aor,
    pub due: UnixMs,
    pub text: String,
    /// Max-Forwards of what it becomes.
    pub hops: u8,
}

/// A reminder to be.
#[derive(Clone, Debug)]
pub struct NewLater {
    pub author: Aor,
    pub recipient: Aor,
    pub due: UnixMs,
    pub text: String,
    pub hops: u8,
    pub accepted: Accepted,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// Durable, under this number.
    As(u32),
    /// He has as many as he may have. Nothing was written.
    Full,
    /// This request was accepted before. Nothing was written.
    Repeat(Answer),
}

const COLUMNS: &str = "l.id, l.n, a.username, a.domain, l.recipient, l.due, l.text, l.hops
    FROM later l JOIN account a ON a.id = l.account";

fn later(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Later>> {
    let (author, recipient) = (address(row, 2, 3)?, Aor::parse(row.get_ref(4)?.as_str()?));
    let (Some(author), Some(recipient)) = (author, recipient) else { return Ok(None) };
    Ok(Some(Later {
        id: row.get(0)?,
        n: row.get(1)?,
        author,
        recipient,
        due: row.get(5)?,
        text: row.get(6)?,
        hops: row.get(7)?,
    }))
}

impl Store {
    /// Keeps a reminder, of an author who may have `most` of them, and what its request was answered.
    pub async fn keep_later(&self, new: NewLater, most: u32) -> Result<Kept, Fault> {
        self.write(move |turn| {
            if let Some(answer) = turn.answered(Some(&new.accepted))? {
                return Ok(Kept::Repeat(answer));
            }
            let base = turn.head;
            let id = turn.account(&new.author, base)?.id;
            let (count, last): (u32, u32) = turn
                .conn
                .prepare_cached("SELECT count(*), coalesce(max(n), 0) FROM later WHERE account = ?1")?
                .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if count >= most {
                return Ok(Kept::Full);
            }
            turn.accept(&new.accepted)?;
            turn.conn
                .prepare_cached(
                    "INSERT INTO later (account, n, due, recipient, text, hops)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![id.0, last + 1, new.due, new.recipient.as_str(), new.text, new.hops])?;
            Ok(Kept::As(last + 1))
        })
        .await
    }

    /// An author's reminders, the next one first.
    pub fn laters(&self, author: AccountId) -> Result<Vec<Later>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let sql = format!("SELECT {COLUMNS} WHERE l.account = ?1 ORDER BY l.due, l.n");
            let found: Vec<_> =
                conn.prepare_cached(&sql)?.query_map([author.0], later)?.collect::<Result<_, _>>()?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    /// What is due at `now`, longest due first, at most `limit`; after the reminder with this due and id.
    pub fn due(&self, now: UnixMs, after: (UnixMs, i64), limit: usize) -> Result<Vec<Later>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let sql = format!(
                "SELECT {COLUMNS} WHERE l.due <= ?1 AND (l.due, l.id) > (?2, ?3) ORDER BY l.due, l.id LIMIT ?4"
            );
            let rows = params![now, after.0, after.1, limit as i64];
            let found: Vec<_> = conn.prepare_cached(&sql)?.query_map(rows, later)?.collect::<Result<_, _>>()?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    /// Says it: in one transaction it is no more to be said and is in the log. Without entries it is only dropped.
    /// False: it was said or forgotten meanwhile, and nothing was written.
    pub async fn say_later(&self, id: i64, entries: Vec<NewEntry>) -> Result<bool, Fault> {
        self.write(move |turn| {
            let rows = turn.conn.prepare_cached("DELETE FROM later WHERE id = ?1")?.execute([id])?;
            if rows > 0 && !entries.is_empty() {
                turn.commit(Commit { room: None, entries, accepted: None })?;
            }
            Ok(rows > 0)
        })
        .await
    }

    /// Takes a reminder back. False: there is none with this number.
    pub async fn forget_later(&self, author: AccountId, n: u32) -> Result<bool, Fault> {
        self.write(move |turn| {
            let gone = turn
                .conn
                .prepare_cached("DELETE FROM later WHERE account = ?1 AND n = ?2 RETURNING id")?
                .query_row(params![author.0, n], |row| row.get::<_, i64>(0))
                .optional()?;
            Ok(gone.is_some())
        })
        .await
    }
}
