//! Real SIP clients against the real daemon: what a user sees who installs it today.
//!
//! The phones are baresip, linphonec and sipp as the distribution ships them; `tools/test-peers.sh` installs them.
//! Nothing here looks into the daemon: only what the phones show counts.

mod asterisk;
mod digest;
mod dumps;
mod evening;
mod examples;
mod freeswitch;
mod kamailio;

mod kit;
mod migration;
mod offline;
mod opensips;
mod opensips_cli;
mod presence;
mod restart;
mod rooms;
