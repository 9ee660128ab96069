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
//! | 2 rules | [`sip`], [`chat`], [`presence`], [`registration`], [`migrate`] | SIP, rooms, presence and what other servers left, without sockets, SQL or clock |
//! | 1 words | [`types`], [`refusal`], [`config`] | values, refusals, configuration |
//!
//! # The flows
//!
//! **A post.** [`edge::transport`] → [`edge::driver`] → [`sip::endpoint`] (absorbs retransmissions) → [`edge::uas`]
//! reads it, [`service::identity`] says whose it is → [`service::focus`]: the room's snapshot says whether he may
//! ([`chat::decide`]) → [`store::Store::commit`] (one writer, group commit) → 202. After the commit the writer
//! announces → [`service::delivery`] hands the entry to the shards → [`chat::shard`]: an outbox per contact, one
//! MESSAGE in flight each → the outcome moves a position. A command takes the same road; its changes and notices
//! are one commit under the room's version, and a stale judgement is made again.
//!
//! **A device that returns.** REGISTER → [`registration`] → [`service::registrar`]: durable, then 200 → all ways to
//! the account go to its shard → an outbox opens at the device's position → pages of the log → live queue.
//!
//! **PUBLISH and SUBSCRIBE.** [`edge::uas`] → [`service::presence`]: may he? → [`presence::agent`] on its own thread
//! ([`edge::notifier`]): entity-tags, the aggregate, a mark on each watcher; each subscription sends the latest document when
//! nothing of its own is in flight and its pace allows. What it does not know it asks for; rows are written behind.
//!
//! **A message to a person.** As a post, by [`service::relay`]: into his mailbox, which is a conversation like a
//! room's; the answer waits a moment for a device.
//!
//! # Where a change belongs
//!
//! | change | place |
//! | --- | --- |
//! | a chat command | a row in [`chat::table`], its meaning in [`chat::decide`], its words in [`chat::dialect`], a scenario |
//! | what a person sets for himself | [`chat::settings`], its words in [`chat::personal`], its meaning in [`service::person`] |
//! | what a person asks of what was said | [`chat::recall`], how it is shown in [`chat::history`], looked up by [`store`] |
//! | what is to be said later | [`chat::reminder`], said by [`service::reminders`] |
//! | who sees when whom is there | [`presence::roster`], asked and changed through [`service::roster`] |
//! | what waits, and who is told of its fate | [`service::offline`], [`service::receipts`], asked for as [`chat::imdn`] reads it |
//! | what watchers of a room, a list or of watchers read | [`presence::conference`], [`presence::rlmi`], [`presence::winfo`] |
//! | where another domain is reached | [`sip::locate`] says what to ask, [`edge::transport::resolve`] asks, [`service::registrar`] says what may be used |
//! | what a phone's answer means | [`chat::outcome`] |
//! | what becomes of a room when an account ends | [`chat::depart`] |
//! | what an administrator does to a room | [`chat::govern`], carried out by [`service::focus`] |
//! | how rosters become what a file says | [`presence::sync`] |
//! | what members see of a message | [`chat::render`] |
//! | what watchers are told of a person | [`presence::compose`], from what [`presence::pidf`] reads |
//! | what a watcher is told, and when | [`presence::agent`], in virtual time; the documents beside it |
//! | who may see whom | [`presence::roster`], done by [`service::roster`] |
//! | what presence has to know of rooms, mailboxes, phones | [`service::presence`] |
//! | a management command | a row in [`edge::control::table`] and a method of [`edge::control::Management`], [`edge::control::Rooms`], [`edge::control::Rosters`] or [`edge::control::Imports`] |
//! | what management overhears | [`service::followers`], told by [`edge::control`] |
//! | how `imcctl` is spoken to, asks and shows | `src/bin/imcctl/` |
//! | a backup put back | [`store::restore()`] |
//! | a configuration key | [`config`] and `etc/imcd.toml` |
//! | a table or column | a new file in `sql/sqlite/`, the statement in [`store`] |
//! | what is taken over from another chat server | its files are read by [`migrate`] (SQLite's by [`store`]), its rows become ours in [`service::import`] |
//! | a way to say no | [`refusal`] |

pub mod chat;
pub mod config;
pub mod edge;
pub mod migrate;
pub mod presence;
pub mod refusal;
pub mod registration;
pub mod server;
pub mod service;
pub mod sip;
pub mod store;
pub mod types;
