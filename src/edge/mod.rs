//! Sockets and foreign protocols; no decisions.
