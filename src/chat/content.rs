//! chat/content
