//! The doors of management: one table of commands, served alike by every door.
//!
//! Prevents that two doors differ in what they can do or what they allow. Never decides: deeds are done by
//! whoever implements [`Management`].

mod deeds;
mod follow;
mod frame;
mod http;
mod imports;
mod listing;
mod mi;
mod ordered;
pub mod peers;
mod perform;
mod rooms;
mod rosters;
pub mod rpc;
mod socket;
pub mod table;
mod values;
mod works;

pub use deeds::{
    AccountInfo, BindingInfo, BlockedInfo, BroadcastInfo, Denied, DomainInfo, LetterInfo, Management,
    ReloadInfo, RemovedInfo, SettingInfo, Stat, Status, Vitals,
};
pub use follow::{Following, Overheard};
pub use frame::MAX_DOCUMENT;
pub use http::{Gate, HttpDoor, HttpLimits, HttpServing};
pub use imports::{ImportInfo, Imports};
pub use listing::Page;
pub use mi::{MiDoors, MiServing};
pub use rooms::{MemberInfo, RoomInfo, Rooms, SaidInfo};
pub use rosters::{AvatarInfo, BuddyInfo, EntryInfo, PairInfo, PresenceInfo, Rosters, StepInfo};
pub use socket::{ControlServing, ControlSocket, SocketLimits};
pub use values::address as read_address;
pub use works::{Work, WorkInfo, Works};

#[cfg(test)]
mod tests;
