//! chat/dialect
