//! sip/digest
