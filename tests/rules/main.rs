//! rules

mod digest;
