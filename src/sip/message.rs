//! sip/message
