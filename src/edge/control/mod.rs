//! The doors of management: one table of commands, served alike by every door.
//!
//! Prevents that two doors differ in what they can do or what they allow. Never decides: deeds are done by
//! whoever implements [`Management`].

mod deeds;
mod frame;
pub mod rpc;
mod socket;
pub mod table;

pub use deeds::{
    AccountInfo, BlockedInfo, Denied, LetterInfo, Management, MemberInfo, RemovedInfo, RoomInfo, SettingInfo,
    Stat, Status,
};
pub use socket::{ControlSocket, SocketLimits};

#[cfg(test)]
mod tests;
