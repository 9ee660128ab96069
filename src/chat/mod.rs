//! Rooms without IO: what is typed, what it means, what is answered; and delivery to one contact at a time.

pub mod address;
pub mod buddies;
pub mod command;
pub mod content;
pub mod convert;
pub mod decide;
pub mod depart;
pub mod dialect;
pub mod history;
pub mod ids;
pub mod imdn;
pub mod lists;
pub mod outbox;
pub mod outcome;
pub mod personal;
pub mod phones;
pub mod recall;
pub mod reminder;
pub mod render;
pub mod room;
pub mod search;
pub mod settings;
pub mod shard;
pub mod split;
pub mod table;
pub mod wheel;
