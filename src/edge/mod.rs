//! Sockets and foreign protocols; no decisions.

pub mod control;
