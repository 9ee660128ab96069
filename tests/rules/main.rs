//! rules

mod store;
