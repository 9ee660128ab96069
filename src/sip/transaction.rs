//! sip/transaction
