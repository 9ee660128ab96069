//! imcd: group chat, presence and offline messages for any SIP phone that can send a MESSAGE.
//!
//! **The one idea.** What is said is an entry in a log. A device is a position in that log. Posting appends;
//! delivering moves a position. Fan-out, order, offline messages, history, retries and crash recovery are this
//! one mechanism.
//!
//! # Floors
//!
//! A file uses only its own floor or lower ones; `tests/rules/floors.rs` enforces it. The rules floor has no
//! tokio, no SQL, no sockets and reads no clock: time, randomness and bytes come in as arguments.
//!
//! | floor | rooms | what they are for |
//! | --- | --- | --- |
//! | 6 whole | [`server`] | builds everything; start, reload, drain; lock on the data directory |
//! | 5 doors | [`edge`] | sockets and foreign protocols; no decisions |
//! | 4 deeds | [`service`] | what the daemon does; protocol-neutral |
//! | 3 memory | [`store`] | the durable verbs in domain words; all SQL |
//! | 2 rules | [`sip`], [`chat`], [`registration`] | SIP and rooms without sockets, SQL or clock |
//! | 1 words | [`types`], [`refusal`], [`config`] | values, refusals, configuration |

pub mod chat;
pub mod config;
pub mod edge;
pub mod refusal;
pub mod registration;
pub mod server;
pub mod service;
pub mod sip;
pub mod store;
pub mod types;
