//! rules

mod digest;
mod hostile;
mod registration;
mod wire;
