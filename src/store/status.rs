//! How people say that they are, and their pictures.
//!
//! Prevents that composing a state costs a question to the disk: state, note and the picture's hash ride on the cached
//! [`super::Account`]; the picture itself is read when it is asked for. Never looks at who may see it.

use rusqlite::{OptionalExtension, params};

use super::Store;
use crate::presence::State;
use crate::refusal::Fault;
use crate::types::{AccountId, Aor};

/// A picture, as it is handed out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Avatar {
    pub media: String,
    /// SHA-1 of the data, lower-case hex.
    pub sha1: String,
    pub data: Vec<u8>,
}

impl Store {
    /// How somebody says that he is; `None`: he says nothing. Whoever is not known yet is from now on.
    pub async fn set_status(&self, who: &Aor, status: Option<(State, String)>) -> Result<(), Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let base = turn.head;
            let id = turn.account(&who, base)?.id;
            match status {
                None => {
                    turn.conn.prepare_cached("DELETE FROM status WHERE account = ?1")?.execute([id.0])?;
                }
                Some((state, note)) => {
                    turn.conn
                        .prepare_cached(
                            "INSERT OR REPLACE INTO status (account, state, note, at) VALUES (?1, ?2, ?3, ?4)",
                        )?
                        .execute(params![id.0, state.word(), note, turn.now])?;
                }
            }
            turn.account_changed(&who);
            Ok(())
        })
        .await
    }

    /// His picture; `None`: he has none any more. False: he had none before.
    pub async fn set_avatar(&self, who: &Aor, avatar: Option<Avatar>) -> Result<bool, Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let base = turn.head;
            let id = turn.account(&who, base)?.id;
            let had = turn.conn.prepare_cached("DELETE FROM avatar WHERE account = ?1")?.execute([id.0])?;
            if let Some(avatar) = avatar {
                turn.conn
                    .prepare_cached(
                        "INSERT INTO avatar (account, media, sha1, data) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![id.0, avatar.media, avatar.sha1, avatar.data])?;
            }
            turn.account_changed(&who);
            Ok(had > 0)
        })
        .await
    }

    /// The picture of an account.
    pub fn avatar(&self, account: AccountId) -> Result<Option<Avatar>, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT media, sha1, data FROM avatar WHERE account = ?1")?
                .query_row([account.0], |row| {
                    Ok(Avatar { media: row.get(0)?, sha1: row.get(1)?, data: row.get(2)? })
                })
                .optional()
        })
    }

    /// Somebody's picture with this hash, and whose it is.
    pub fn avatar_by_hash(&self, sha1: &str) -> Result<Option<(Aor, Avatar)>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT username, domain, media, sha1, data FROM avatar
                     JOIN account ON account.id = avatar.account WHERE sha1 = ?1 LIMIT 1",
                )?
                .query_row([sha1], |row| {
                    let avatar = Avatar { media: row.get(2)?, sha1: row.get(3)?, data: row.get(4)? };
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, avatar))
                })
                .optional()?;
            Ok(found.and_then(|(user, domain, avatar)| Some((Aor::new(&user, &domain)?, avatar))))
        })
    }
}
