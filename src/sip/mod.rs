//! SIP without sockets or clock.

pub mod digest;
pub mod endpoint;
pub mod framing;
pub mod header;
pub mod message;
pub mod transaction;
pub mod uri;
