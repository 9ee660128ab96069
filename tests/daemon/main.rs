//! The whole daemon, seen from outside: the real binary, real sockets, real files, phones of our own.
//!
//! Written from the specification alone. Prevents that the parts are right and the whole is wrong.
//! Never uses the crate's code, never leaves 127.0.0.0/8, never waits by sleeping.

#![allow(clippy::unwrap_used)]

mod kit;

mod abroad;
mod archive;
mod changes;
mod chat;
mod circle;
mod commands;
mod content;
mod dashboard;
mod departures;
mod devices;
mod direct;
mod emanagement;
mod faults;
mod fifo;
mod flows;
mod fsync;
mod fuzz;
mod govern;
mod hostile;
mod http;
mod imcctl;
mod import;
mod ipv6;
mod kill;
mod lists;
mod manual;
mod message;
mod nat;
mod notices;
mod offline;
mod pages;
mod people;
mod presence;
mod proxy;
mod refusals;
mod register;
mod reload;
mod reminders;
mod rooms;
mod roster;
mod storm;
mod trusted;
mod watchers;
