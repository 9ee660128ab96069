//! Rooms without IO.

pub mod command;
pub mod content;
pub mod dialect;
pub mod room;
