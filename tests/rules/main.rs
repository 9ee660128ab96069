//! rules

mod hostile;
mod wire;
