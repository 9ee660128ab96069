//! REGISTER by RFC 3261 §10, without IO.
