//! rules

mod digest;
mod conformance;
mod endpoint;
mod net;
mod rig;
