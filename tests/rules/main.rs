//! The rules floor, tested without sockets, disk or clock.

mod conformance;
mod digest;
mod endpoint;
mod hostile;
mod net;
mod registration;
mod rig;
mod scenario;
mod wire;
