//! sip/framing
