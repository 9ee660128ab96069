//! chat/room
