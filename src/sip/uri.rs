//! sip/uri
