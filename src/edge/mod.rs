//! Doors: sockets and foreign protocols. No decisions are made here.

pub mod control;
pub mod driver;
pub mod notifier;
pub mod tasks;
pub mod transport;
pub mod uas;
