//! SIP without sockets or clock.

pub mod dialog;
pub mod digest;
pub mod encoding;
pub mod endpoint;
pub mod framing;
pub mod grammar;
pub mod header;
mod lines;
pub mod locate;
pub mod message;
pub mod name;
pub mod stun;
pub mod transaction;
pub mod uri;
pub mod write;
