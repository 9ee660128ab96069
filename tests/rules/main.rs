//! rules

mod digest;
mod registration;
