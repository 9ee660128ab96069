//! The rules: the house's own, and those of modules that need no running daemon.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod command_line;
mod floors;
mod habits;
mod imcctl;
mod sources;
