//! Who is to be told if his message fails (RFC 5438 §8.2), until it is taken, given up or expired.
//!
//! A request for it becomes a row in the transaction of the message, so that it is told of also over a restart.
//! Prevents that the same failure is told twice: whoever tells takes the row first. Never tells anybody itself.

use rusqlite::{OptionalExtension, Row, params};

use super::Store;
use super::turn::Turn;
use crate::chat::imdn::{self, Asked};
use crate::refusal::Fault;
use crate::types::{AccountId, Entry, EntryKind, Seq, UnixMs};

/// A message whose author wants to be told if it fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    pub seq: Seq,
    /// The recipient.
    pub account: AccountId,
    pub author: AccountId,
    /// When the message was accepted.
    pub at: UnixMs,
    pub asked: Asked,
}

fn receipt(row: &Row<'_>) -> rusqlite::Result<Option<Receipt>> {
    let asked = serde_json::from_str(row.get_ref(4)?.as_str()?).ok();
    let Some(asked) = asked else { return Ok(None) };
    Ok(Some(Receipt {
        seq: Seq(row.get(0)?),
        account: AccountId(row.get(1)?),
        author: AccountId(row.get(2)?),
        at: row.get(3)?,
        asked,
    }))
}

impl Turn<'_> {
    /// Remembers what the author of a direct message to `owner` asked to be told.
    pub(super) fn keep_receipt(&mut self, entry: &Entry, owner: AccountId) -> rusqlite::Result<()> {
        let (EntryKind::Direct, Some((author, _))) = (entry.kind, &entry.sender) else { return Ok(()) };
        let asked = imdn::asked(entry.content_type.as_deref(), &entry.body);
        let Some(asked) = asked.filter(|asked| asked.failure) else { return Ok(()) };
        let Ok(asked) = serde_json::to_string(&asked) else { return Ok(()) };
        self.conn
            .prepare_cached(
                "INSERT INTO receipt (seq, account, author, at, expires, asked) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![entry.seq.0, owner.0, author.0, entry.at, entry.expires, asked])?;
        Ok(())
    }
}

impl Store {
    /// Messages whose fate is open, with recipient and end: for the start.
    pub fn receipts(&self) -> Result<Vec<(Seq, AccountId, UnixMs)>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached("SELECT seq, account, expires FROM receipt")?;
            let rows =
                statement.query_map([], |row| Ok((Seq(row.get(0)?), AccountId(row.get(1)?), row.get(2)?)))?;
            rows.collect()
        })
    }

    /// Messages that expired before `now`, at most `limit`.
    pub fn expired_receipts(&self, now: UnixMs, limit: usize) -> Result<Vec<Seq>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT seq FROM receipt WHERE expires <= ?1 ORDER BY expires LIMIT ?2")?;
            statement.query_map(params![now, limit as i64], |row| row.get(0).map(Seq))?.collect()
        })
    }

    /// Takes the row, for whoever tells of it or knows that there is nothing to tell. `None`: it is gone.
    pub async fn take_receipt(&self, seq: Seq) -> Result<Option<Receipt>, Fault> {
        self.write(move |turn| {
            let found = turn
                .conn
                .prepare_cached(
                    "DELETE FROM receipt WHERE seq = ?1 RETURNING seq, account, author, at, asked",
                )?
                .query_row([seq.0], receipt)
                .optional()?;
            Ok(found.flatten())
        })
        .await
    }
}
