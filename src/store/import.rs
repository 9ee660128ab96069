//! What comes over from another server, many rows in one commit.
//!
//! Prevents that a migration of a hundred thousand rows waits for the disk a hundred thousand times, and that one that
//! is made again says what it has said before. Never tells anybody but the recipients.

use rusqlite::params;

use super::Store;
use super::accounts::{Credentials, find};
use crate::refusal::Fault;
use crate::types::{Aor, Commit, NewEntry, Origin, UnixMs};

/// A message that waits, or a reminder.
#[derive(Clone, Debug)]
pub enum Imported {
    /// Into the recipient's mailbox.
    Letter(NewEntry),
    Later {
        author: Aor,
        recipient: Aor,
        due: UnixMs,
        text: String,
        hops: u8,
    },
}

impl Store {
    /// Takes messages over that were not yet. Says of each whether it was new. All of them are durable, or none.
    pub async fn import_letters(&self, letters: Vec<(Origin, Imported)>) -> Result<Vec<bool>, Fault> {
        self.write(move |turn| {
            let (mut new, mut entries) = (Vec::with_capacity(letters.len()), Vec::new());
            for (origin, letter) in letters {
                let rows = turn
                    .conn
                    .prepare_cached("INSERT INTO imported (origin) VALUES (?1) ON CONFLICT DO NOTHING")?
                    .execute([&origin[..]])?;
                new.push(rows == 1);
                match letter {
                    _ if rows == 0 => {}
                    Imported::Letter(entry) => entries.push(entry),
                    Imported::Later { author, recipient, due, text, hops } => {
                        let base = turn.head;
                        let id = turn.account(&author, base)?.id;
                        turn.conn
                            .prepare_cached(
                                "INSERT INTO later (account, n, due, recipient, text, hops)
                                 SELECT ?1, 1 + coalesce(max(n), 0), ?2, ?3, ?4, ?5 FROM later WHERE account = ?1",
                            )?
                            .execute(params![id.0, due, recipient.as_str(), text, hops])?;
                    }
                }
            }
            if !entries.is_empty() {
                turn.commit(Commit { room: None, entries, accepted: None })?;
            }
            Ok(new)
        })
        .await
    }

    /// Which of these messages were taken over before.
    pub fn were_imported(&self, origins: &[Origin]) -> Result<Vec<bool>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut find = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM imported WHERE origin = ?1)")?;
            origins.iter().map(|origin| find.query_row([&origin[..]], |row| row.get(0))).collect()
        })
    }

    /// Makes accounts, or gives credentials to those that have none. Says of each whether it was so.
    pub async fn add_accounts(&self, accounts: Vec<(Aor, Option<Credentials>)>) -> Result<Vec<bool>, Fault> {
        self.write(move |turn| {
            let mut new = Vec::with_capacity(accounts.len());
            for (who, credentials) in accounts {
                let known = find(turn.conn, &who)?;
                let is = known.as_ref().is_some_and(|known| known.registered);
                let has = known.is_some_and(|known| known.credentials.is_some());
                let id = if has { None } else { turn.registered(&who)? };
                new.push(id.is_some() && (credentials.is_some() || !is));
                let Some(id) = id else { continue };
                if let Some(credentials) = &credentials {
                    turn.set_credentials(id, &who, credentials)?;
                }
            }
            Ok(new)
        })
        .await
    }
}
