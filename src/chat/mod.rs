//! Rooms without IO: what is typed, what it means, what is answered.

pub mod address;
pub mod command;
pub mod content;
pub mod decide;
pub mod dialect;
pub mod history;
pub mod room;
pub mod split;
pub mod table;
