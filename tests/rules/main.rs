//! rules

mod digest;
mod conformance;
mod endpoint;
mod net;
mod rig;
mod hostile;
mod registration;
mod wire;
