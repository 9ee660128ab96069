//! What people set for themselves, and whom they have blocked.
//!
//! Prevents that a message costs a question to the disk for settings: they ride on the cached [`super::Account`], and
//! the block list is asked only for those who have one. Never judges who may write to whom.

use rusqlite::params;

use super::Store;
use crate::chat::settings::Change;
use crate::refusal::Fault;
use crate::types::{AccountId, Aor};

impl Store {
    /// Changes a setting of a person. Whoever is not known yet is from now on.
    pub async fn set(&self, who: &Aor, (key, value): Change) -> Result<(), Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let base = turn.head;
            let id = turn.account(&who, base)?.id;
            turn.conn
                .prepare_cached("INSERT OR REPLACE INTO setting (account, key, value) VALUES (?1, ?2, ?3)")?
                .execute(params![id.0, key, value])?;
            turn.account_changed(&who);
            Ok(())
        })
        .await
    }

    /// Keeps how somebody calls himself. Whoever is not known yet is from now on.
    pub async fn called(&self, who: &Aor, name: &str) -> Result<(), Fault> {
        let (who, name) = (who.clone(), name.to_owned());
        self.write(move |turn| {
            let base = turn.head;
            let id = turn.account(&who, base)?.id;
            turn.conn
                .prepare_cached("UPDATE account SET name = ?2 WHERE id = ?1")?
                .execute(params![id.0, name])?;
            turn.account_changed(&who);
            Ok(())
        })
        .await
    }

    /// Blocks `whom` for a person, who has blocked fewer than `most`. False: his list is full.
    pub async fn block(&self, who: &Aor, whom: &Aor, most: usize) -> Result<bool, Fault> {
        let (who, whom) = (who.clone(), whom.clone());
        self.write(move |turn| {
            let base = turn.head;
            let id = turn.account(&who, base)?.id;
            let there: u32 = turn
                .conn
                .prepare_cached("SELECT count(*) FROM blocked WHERE account = ?1 AND address <> ?2")?
                .query_row(params![id.0, whom.as_str()], |row| row.get(0))?;
            if there as usize >= most {
                return Ok(false);
            }
            turn.conn
                .prepare_cached("INSERT OR IGNORE INTO blocked (account, address, at) VALUES (?1, ?2, ?3)")?
                .execute(params![id.0, whom.as_str(), turn.now])?;
            turn.account_changed(&who);
            Ok(true)
        })
        .await
    }

    /// Takes `whom` off the block list of a person. False: he was not on it.
    pub async fn unblock(&self, who: &Aor, whom: &Aor) -> Result<bool, Fault> {
        let (who, whom) = (who.clone(), whom.clone());
        self.write(move |turn| {
            let Some(account) = super::accounts::find(turn.conn, &who)? else { return Ok(false) };
            let rows = turn
                .conn
                .prepare_cached("DELETE FROM blocked WHERE account = ?1 AND address = ?2")?
                .execute(params![account.id.0, whom.as_str()])?;
            turn.account_changed(&who);
            Ok(rows > 0)
        })
        .await
    }

    /// Whom an account has blocked, by address.
    pub fn blocked(&self, account: AccountId) -> Result<Vec<Aor>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT address FROM blocked WHERE account = ?1 ORDER BY address")?;
            let rows = statement.query_map([account.0], |row| row.get::<_, String>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.iter().filter_map(|text| Aor::parse(text)).collect())
        })
    }

    /// Whether an account has blocked `whom`.
    pub fn has_blocked(&self, account: AccountId, whom: &Aor) -> Result<bool, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM blocked WHERE account = ?1 AND address = ?2)")?
                .query_row(params![account.0, whom.as_str()], |row| row.get(0))
        })
    }
}
