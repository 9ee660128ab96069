//! chat/command
