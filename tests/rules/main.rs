//! rules

mod conformance;
mod endpoint;
mod hostile;
mod net;
mod rig;
mod wire;
