//! rules

mod conformance;
mod endpoint;
mod net;
mod rig;
