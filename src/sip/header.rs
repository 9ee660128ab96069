//! sip/header
