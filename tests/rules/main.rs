//! Rules tested pure: no daemon, no network, virtual time.
#![allow(clippy::unwrap_used)]

mod command_line;
mod conformance;
mod delivery;
mod digest;
mod endpoint;
mod floors;
mod habits;
mod hostile;
mod imcctl;
mod locate;
mod net;
mod package;
mod presence;
mod registration;
mod rig;
mod roster;
mod scenario;
mod simulation;
mod sources;
mod store;
mod wire;
