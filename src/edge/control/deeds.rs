//! What management can ask for: one method per deed, with plain types.
//!
//! Prevents that a door reaches into the store. Never knows which door asks.

use std::future::Future;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use super::follow::Following;
use super::imports::Imports;
use super::listing::Page;
use super::rooms::Rooms;
use super::rosters::Rosters;
use super::works::{Work, WorkInfo};
use crate::refusal::Fault;
use crate::types::{Aor, Spread};

/// Why a deed was not done.
#[derive(Debug, Error)]
pub enum Denied {
    /// No such account, room or member. The text goes to the one who asked.
    #[error("{0}")]
    NotFound(String),
    /// It may not be, or is there already. The text goes to the one who asked.
    #[error("{0}")]
    Refused(String),
    /// Ours: logged at the door, told without its cause.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An account, as management shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AccountInfo {
    /// `user@domain`.
    pub account: String,
    /// Whether it has a password.
    pub password: bool,
    /// Registered contacts.
    pub contacts: usize,
}

/// One setting of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SettingInfo {
    pub key: &'static str,
    pub value: &'static str,
    /// What it can be.
    pub values: String,
}

/// Somebody who may not write to an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlockedInfo {
    /// `user@domain`.
    pub user: String,
}

/// A contact that a phone has registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BindingInfo {
    /// `user@domain`.
    pub account: String,
    /// URI as the phone spelled it.
    pub contact: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// Where the REGISTER came from.
    pub source: String,
    /// Seconds.
    pub expires_in: i64,
    /// Empty: not told.
    pub user_agent: String,
}

/// A domain that is served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DomainInfo {
    pub domain: String,
    /// The configuration names it: it cannot be removed otherwise.
    pub configured: bool,
    pub accounts: u64,
    pub rooms: u64,
}

/// What became of something that was said to many.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BroadcastInfo {
    pub from: String,
    /// Accounts and rooms that it was said to.
    pub sent: usize,
    /// To whom it was not said, and why; the first hundred.
    pub refused: Vec<String>,
}

/// What a reload has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReloadInfo {
    pub warnings: Vec<String>,
    /// Keys that have changed and take effect after a restart.
    pub needs_restart: Vec<String>,
}

/// A direct message that waits, as management shows it: without its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LetterInfo {
    /// Its place in the log.
    pub id: i64,
    /// Whom it waits for.
    pub account: String,
    pub from: String,
    /// When it was accepted, in the server's time zone.
    pub at: String,
    /// When it stops waiting.
    pub expires: String,
    /// Media type.
    #[serde(rename = "type")]
    pub media: String,
    /// Of its body.
    pub bytes: usize,
}

/// What became of the rooms of an account that was removed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RemovedInfo {
    pub account: String,
    /// Rooms that it just left.
    pub left: usize,
    /// Rooms that it owned: `team@example.org to bob@example.org`.
    pub handed_over: Vec<String>,
    /// Rooms that it owned, and that nobody else belonged to.
    pub destroyed: Vec<String>,
}

/// How the daemon is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    pub domains: Vec<String>,
    /// As in `sip.listen`.
    pub listeners: Vec<String>,
    /// `open` or `digest`.
    pub auth: &'static str,
    pub accounts: u64,
    /// Registered contacts.
    pub contacts: usize,
    pub rooms: u64,
}

/// One number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stat {
    pub name: &'static str,
    pub value: u64,
}

/// What is measured beside the statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vitals {
    /// The store takes writes.
    pub ready: bool,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Writes on their way to the store.
    pub queued: u64,
    /// How long a group of writes took to be durable.
    pub commits: Spread,
    /// From accepting a message to a device taking it.
    pub deliveries: Spread,
}

/// The deeds. Addresses are complete; `domain` as the one who asked spelled it.
pub trait Management: Rooms + Rosters + Following + Imports {
    /// What a name without a domain belongs to.
    fn default_domain(&self) -> String;
    /// The address as it is known here, of whatever spelling and alias: what an answer names.
    fn known_as(&self, who: Aor) -> Aor;
    /// What takes long begins.
    fn begin(&self, command: &'static str, about: String) -> Result<Work, Denied>;
    /// What takes long and runs, or has ended last.
    fn works(&self) -> Vec<WorkInfo>;

    /// An existing account or a room's name is [`Denied::Refused`]; so is a domain that is not served.
    fn account_add(
        &self,
        account: Aor,
        password: Option<String>,
    ) -> impl Future<Output = Result<(), Denied>> + Send;
    /// The account's credentials, bindings and mailbox go, and it leaves its rooms. What was interrupted is gone on
    /// with when it is asked again.
    fn account_remove(&self, account: Aor) -> impl Future<Output = Result<RemovedInfo, Denied>> + Send;
    fn account_passwd(
        &self,
        account: Aor,
        password: String,
    ) -> impl Future<Output = Result<(), Denied>> + Send;
    /// Of all served domains, or of one.
    fn account_list(
        &self,
        domain: Option<String>,
        page: Page,
    ) -> impl Future<Output = Result<Vec<AccountInfo>, Denied>> + Send;
    /// What the account has set for itself, in the order of `#settings`.
    fn account_settings(&self, account: Aor)
    -> impl Future<Output = Result<Vec<SettingInfo>, Denied>> + Send;
    fn account_set(
        &self,
        account: Aor,
        key: String,
        value: String,
    ) -> impl Future<Output = Result<(), Denied>> + Send;
    fn account_blocked(&self, account: Aor) -> impl Future<Output = Result<Vec<BlockedInfo>, Denied>> + Send;
    /// Blocks `user` for the account, or does so no more. To unblock somebody who is not blocked is
    /// [`Denied::NotFound`].
    fn account_block(
        &self,
        account: Aor,
        user: Aor,
        block: bool,
    ) -> impl Future<Output = Result<(), Denied>> + Send;
    fn domain_list(&self) -> impl Future<Output = Result<Vec<DomainInfo>, Denied>> + Send;
    /// Serves one more, from now on and after a restart.
    fn domain_add(&self, domain: String) -> impl Future<Output = Result<DomainInfo, Denied>> + Send;
    /// One that the configuration does not name, and that has no accounts and no rooms.
    fn domain_remove(&self, domain: String) -> impl Future<Output = Result<(), Denied>> + Send;
    fn server_status(&self) -> impl Future<Output = Result<Status, Denied>> + Send;
    /// Asks no disk.
    fn vitals(&self) -> Vitals;
    fn server_stats(&self) -> impl Future<Output = Result<Vec<Stat>, Denied>> + Send;
    /// What waits, for everybody or for one account; of each the oldest first.
    fn offline_list(
        &self,
        account: Option<Aor>,
        page: Page,
    ) -> impl Future<Output = Result<Vec<LetterInfo>, Denied>> + Send;
    /// How many were thrown away.
    fn offline_purge(&self, account: Aor) -> impl Future<Output = Result<u64, Denied>> + Send;
    /// How many wait, and how many ways there are to the account.
    fn offline_deliver(&self, account: Aor) -> impl Future<Output = Result<(u64, usize), Denied>> + Send;
    /// In the name of an account or of the manager; what a user could not say either is [`Denied::Refused`].
    fn message_send(
        &self,
        from: Aor,
        to: Aor,
        text: String,
    ) -> impl Future<Output = Result<(), Denied>> + Send;
    /// The same to many: to these accounts and rooms, else to every account. Whom it cannot be said to is no failure.
    /// It goes on if whoever asked goes away.
    fn message_broadcast(
        &self,
        from: Aor,
        text: String,
        to: Option<Vec<Aor>>,
        work: Work,
    ) -> impl Future<Output = Result<BroadcastInfo, Denied>> + Send;
    /// What is registered, by everybody or by one account.
    fn binding_list(
        &self,
        account: Option<Aor>,
    ) -> impl Future<Output = Result<Vec<BindingInfo>, Denied>> + Send;
    /// Drops one contact of an account, or all. How many they were.
    fn binding_drop(
        &self,
        account: Aor,
        contact: Option<String>,
    ) -> impl Future<Output = Result<usize, Denied>> + Send;
    /// Reads the configuration again. A wrong one is [`Denied::Refused`], and nothing changes.
    fn server_reload(&self) -> impl Future<Output = Result<ReloadInfo, Denied>> + Send;
    /// Copies the database into a file that does not exist, as it is at one moment. Bytes.
    fn server_backup(&self, file: PathBuf, work: Work) -> impl Future<Output = Result<u64, Denied>> + Send;
    /// The level of the log, after it was set if one is given.
    fn log_level(&self, level: Option<String>) -> impl Future<Output = Result<&'static str, Denied>> + Send;
}
