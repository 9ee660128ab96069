//! Builds everything.

use crate::config::Config;
use crate::refusal::Fault;

/// Runs the daemon until it is told to stop.
pub fn run(_: Config) -> Result<(), Fault> {
    Ok(())
}
