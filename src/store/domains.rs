//! Domains that are served besides those of the configuration.
//!
//! Prevents that a domain which was added is forgotten by a restart. Never knows which the configuration names.

use super::Store;
use crate::refusal::Fault;

impl Store {
    /// By name.
    pub fn domains(&self) -> Result<Vec<String>, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT name FROM domain ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    pub async fn add_domain(&self, name: &str) -> Result<(), Fault> {
        let name = name.to_owned();
        self.write(move |turn| {
            turn.conn.prepare_cached("INSERT OR IGNORE INTO domain (name) VALUES (?1)")?.execute([name])?;
            Ok(())
        })
        .await
    }

    pub async fn remove_domain(&self, name: &str) -> Result<(), Fault> {
        let name = name.to_owned();
        self.write(move |turn| {
            turn.conn.prepare_cached("DELETE FROM domain WHERE name = ?1")?.execute([name])?;
            Ok(())
        })
        .await
    }
}
