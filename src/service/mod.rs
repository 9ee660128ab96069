//! Deeds: what the daemon does. Async, protocol-neutral; knows no socket and no SQL.

pub mod clock;
pub mod delivery;
pub mod domains;
pub mod focus;
pub mod followers;
pub mod identity;
pub mod import;
mod lists;
pub mod offline;
pub mod person;
pub mod presence;
pub mod ratelimit;
pub mod receipts;
pub mod registrar;
pub mod relay;
pub mod reminders;
pub mod roster;
