//! `imcctl restore`: a backup in the place of the database, while the daemon is stopped.
//!
//! Prevents that a running daemon's database is changed under it: the lock of the data directory is taken first. Never
//! decides what a good backup is: the store does.

use std::path::Path;

use imcd::config::arguments;
use imcd::server::{lock_data_dir, store_options};
use imcd::store;
use serde_json::json;

use super::show::aligned;
use super::{Failure, ask, call};

/// Restores `backup` where the configuration says that the database is.
pub fn restore(backup: &Path, config: Option<&Path>, yes: bool, as_json: bool) -> Result<String, Failure> {
    let file = arguments::file(config.map(Path::to_owned));
    let config = call::configuration(file.as_deref())?;
    let dir = &config.data_dir;
    if !dir.is_dir() {
        let which = file.map_or("the built-in defaults say so; see --config".into(), |file| {
            format!("{} says so", file.display())
        });
        return Err(Failure::Usage(format!("no data directory {}: {which}", dir.display())));
    }
    let _lock = lock_data_dir(dir).map_err(|fault| Failure::Refused(format!("{fault}; stop it first")))?;
    let options = store_options(&config);
    if !yes {
        let (place, backup) = (options.path.display(), backup.display());
        ask::meant(&format!("Put {backup} in the place of the database {place}, which is kept beside?"))?;
    }
    let done = store::restore(backup, &options).map_err(|why| Failure::Refused(why.to_string()))?;
    let kept = done.kept.as_ref().map(|kept| kept.display().to_string()).unwrap_or_default();
    let place = options.path.display().to_string();
    if as_json {
        let told = json!({ "database": place, "kept": kept, "rooms": done.rooms, "accounts": done.accounts });
        return Ok(format!("{told:#}\n"));
    }
    let (rooms, accounts) = (done.rooms.to_string(), done.accounts.to_string());
    let lines = [("database", place), ("kept", kept), ("rooms", rooms), ("accounts", accounts)];
    Ok(aligned(lines.map(|(name, value)| vec![name.to_owned(), value]).to_vec()))
}
