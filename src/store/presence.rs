//! Publications and subscriptions, written behind.
//!
//! Prevents that a restart shows somebody as gone who is there. Never judges whether a row still holds.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::params;

use super::Store;
use crate::presence::agent::{Save, Saved};
use crate::presence::pidf;
use crate::presence::publication::Publication;
use crate::refusal::Fault;
use crate::types::Aor;

impl Store {
    /// Writes what has changed, in order. Blocks until it is durable.
    pub fn save_presence(&self, saves: Vec<Save>) -> Result<(), Fault> {
        self.write_now(move |turn| {
            for save in &saves {
                match save {
                    Save::Subscription { key, row: None } => {
                        turn.conn.prepare_cached("DELETE FROM subscription WHERE id = ?1")?.execute([key])?;
                    }
                    Save::Subscription { key, row: Some((expires_at, data)) } => {
                        turn.conn
                            .prepare_cached("INSERT OR REPLACE INTO subscription VALUES (?1, ?2, ?3)")?
                            .execute(params![key, expires_at, data])?;
                    }
                    Save::Publications { who, list } => {
                        turn.conn
                            .prepare_cached("DELETE FROM publication WHERE address = ?1")?
                            .execute([who.key()])?;
                        for one in list {
                            turn.conn
                                .prepare_cached(
                                    // Replacing would open a journal for each row; no other has its id.
                                    "INSERT OR IGNORE INTO publication VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                                )?
                                .execute(params![
                                    one.id as i64,
                                    who.key(),
                                    one.etag as i64,
                                    one.expires_at,
                                    one.at,
                                    one.phone.as_deref(),
                                    one.first as i64,
                                    &*one.body
                                ])?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// What was written last, publications first. One that cannot be read any more is left out.
    pub fn saved_presence(&self) -> Result<Vec<Saved>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut saved = Vec::new();
            let mut statement = conn
                .prepare("SELECT id, address, etag, expires_at, at, phone, first, body FROM publication ORDER BY at, id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let Some(who) = Aor::parse(row.get_ref(1)?.as_str()?) else { continue };
                let body = Bytes::copy_from_slice(row.get_ref(7)?.as_blob()?);
                let Ok(published) = pidf::read(&body, &who) else {
                    saved.push(Saved::Unreadable(who));
                    continue;
                };
                let publication = Publication {
                    id: row.get::<_, i64>(0)? as u64,
                    etag: row.get::<_, i64>(2)? as u64,
                    expires_at: row.get(3)?,
                    at: row.get(4)?,
                    phone: row.get_ref(5)?.as_str_or_null()?.map(Into::into),
                    first: row.get::<_, i64>(6)? as u64,
                    body,
                    published: Arc::new(published),
                };
                saved.push(Saved::Publication(who, publication));
            }
            let mut statement = conn.prepare("SELECT id, data FROM subscription ORDER BY id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                saved.push(Saved::Subscription { key: row.get(0)?, row: row.get(1)? });
            }
            Ok(saved)
        })
    }
}
