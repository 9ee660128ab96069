//! What the daemon is told by its administrator.
