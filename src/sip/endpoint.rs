//! sip/endpoint
