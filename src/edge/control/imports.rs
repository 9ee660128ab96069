//! What management can ask for about the files of other servers: one deed, with plain types.
//!
//! Prevents that something is left behind without a line in the report. Never knows which door asks.

use std::future::Future;

use serde::Serialize;

use super::deeds::Denied;
use super::works::Work;
use crate::migrate::{Source, What};

/// What became of some rows of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ImportInfo {
    pub table: &'static str,
    /// `read`, `made` or `would be made`, `changed`, `already there`, `skipped`.
    pub outcome: &'static str,
    pub rows: u64,
    /// Empty where that is clear.
    pub why: &'static str,
    /// The first 20 of them.
    pub examples: Vec<String>,
}

/// The deeds.
pub trait Imports: Send + Sync + 'static {
    /// Takes over what is not here yet, or says what it would take. It goes on if whoever asked goes away. `realm`:
    /// what the hashes of subscribers were made for, if not each row's domain.
    fn import(
        &self,
        what: What,
        source: Source,
        dry_run: bool,
        realm: Option<String>,
        work: Work,
    ) -> impl Future<Output = Result<Vec<ImportInfo>, Denied>> + Send;
}
