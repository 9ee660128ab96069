//! Domains that are served besides those of the configuration.
//!
//! Prevents that a domain which was added is forgotten by a restart. Never knows which the configuration names.

use std::sync::PoisonError;

use super::Store;
use super::turn::Turn;
use crate::refusal::Fault;
use crate::types::Aor;

impl Store {
    /// By name.
    pub fn domains(&self) -> Result<Vec<String>, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT name FROM served_domain ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    pub async fn add_domain(&self, name: &str) -> Result<(), Fault> {
        let name = name.to_owned();
        self.write(move |turn| {
            turn.conn
                .prepare_cached("INSERT OR IGNORE INTO served_domain (name) VALUES (?1)")?
                .execute([&name])?;
            let mut retired = turn.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.remove(&name.to_ascii_lowercase());
            Ok(())
        })
        .await
    }

    /// False: it has accounts or rooms, and stays. Once it is removed nobody makes one there who saw it served just
    /// before.
    pub async fn remove_domain(&self, name: &str) -> Result<bool, Fault> {
        let (name, retired) = (name.to_owned(), name.to_ascii_lowercase());
        let removed = self.write(move |turn| {
            let count = |sql: &str| -> rusqlite::Result<i64> {
                turn.conn.prepare_cached(sql)?.query_row([&name], |row| row.get(0))
            };
            let accounts = count(
                "SELECT count(*) FROM account WHERE created IS NOT NULL AND domain = ?1 COLLATE NOCASE",
            )?;
            if accounts > 0 || count(&turn.shared.sql.count_of)? > 0 {
                return Ok(false);
            }
            turn.conn.prepare_cached("DELETE FROM served_domain WHERE name = ?1")?.execute([&name])?;
            let mut retired = turn.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.insert(name.to_ascii_lowercase());
            Ok(true)
        });
        let removed = removed.await;
        if removed.is_err() {
            // It is still served: what failed has not happened.
            self.0.shared.retired.lock().unwrap_or_else(PoisonError::into_inner).remove(&retired);
        }
        removed
    }
}

impl Turn<'_> {
    /// Whether its domain is served no more.
    pub(super) fn is_retired(&self, who: &Aor) -> bool {
        let retired = self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Most of the time nobody removes a domain.
        !retired.is_empty() && retired.contains(&who.host().to_ascii_lowercase())
    }
}
