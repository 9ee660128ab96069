//! Rules tested pure: no daemon, no network, virtual time.

mod conformance;
mod digest;
mod endpoint;
mod hostile;
mod net;
mod registration;
mod rig;
mod scenario;
mod store;
mod wire;
