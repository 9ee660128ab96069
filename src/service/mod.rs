//! What the daemon does; async, protocol-neutral.
