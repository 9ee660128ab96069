//! What management can ask for about rosters, states and pictures: one method per deed, with plain types.
//!
//! Prevents that an administrator does by another way what people do by message. Never knows which door asks.

use std::future::Future;

use serde::Serialize;

use super::deeds::Denied;
use super::listing::Page;
use crate::types::Aor;

/// An entry of a roster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BuddyInfo {
    /// `user@domain`.
    pub user: String,
    /// Empty if he has none.
    pub nick: String,
    pub groups: Vec<String>,
    /// Who sees whom: `none`, `to`, `from`, `both` or `asked`.
    pub sight: &'static str,
    /// How he is; empty: not known.
    pub state: &'static str,
}

/// A pair, after a deed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PairInfo {
    pub account: String,
    pub user: String,
    /// As in [`BuddyInfo`].
    pub sight: &'static str,
}

/// An entry of somebody's roster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EntryInfo {
    pub account: String,
    pub user: String,
    /// As in [`BuddyInfo`].
    pub sight: &'static str,
    /// Empty if he has none.
    pub nick: String,
    pub groups: Vec<String>,
}

/// What a synchronisation does, or would do, about one entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StepInfo {
    /// `add`, `change` or `remove`; `full` if there was no room for it.
    pub change: &'static str,
    #[serde(flatten)]
    pub entry: EntryInfo,
}

/// How an account is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PresenceInfo {
    pub account: String,
    /// How others see it; empty: not known.
    pub state: &'static str,
    /// What its owner says: a state, or `auto`.
    pub says: &'static str,
    pub note: String,
    /// SHA-1 of its picture; empty: it has none.
    pub avatar: String,
}

/// A picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AvatarInfo {
    pub account: String,
    /// Media type.
    pub media: String,
    pub sha1: String,
    pub bytes: usize,
}

/// The deeds. `user` may be anybody's address.
pub trait Rosters: Send + Sync + 'static {
    /// By address.
    fn roster_list(&self, account: Aor) -> impl Future<Output = Result<Vec<BuddyInfo>, Denied>> + Send;
    /// The other is asked. What is not given stays as it is.
    fn roster_add(
        &self,
        account: Aor,
        user: Aor,
        nick: Option<String>,
        groups: Option<String>,
    ) -> impl Future<Output = Result<PairInfo, Denied>> + Send;
    fn roster_remove(&self, account: Aor, user: Aor)
    -> impl Future<Output = Result<PairInfo, Denied>> + Send;
    /// They see each other, or no more. Nobody is asked or told.
    fn roster_link(
        &self,
        account: Aor,
        user: Aor,
        link: bool,
    ) -> impl Future<Output = Result<PairInfo, Denied>> + Send;
    /// Puts an entry on a roster as it is given, and what it says of both onto the other's. Nobody is asked.
    fn roster_put(
        &self,
        account: Aor,
        user: Aor,
        sight: String,
        nick: Option<String>,
        groups: Option<String>,
    ) -> impl Future<Output = Result<PairInfo, Denied>> + Send;
    /// All entries of all rosters, or of one domain's accounts; by address.
    fn roster_dump(
        &self,
        domain: Option<String>,
        page: Page,
    ) -> impl Future<Output = Result<Vec<EntryInfo>, Denied>> + Send;
    /// Empties the roster of an account, of all of a domain, or `all`. How many entries they were.
    fn roster_clear(&self, of: String) -> impl Future<Output = Result<usize, Denied>> + Send;
    /// Makes the rosters, or those of a domain's accounts, what `text` says ([`crate::presence::sync::read`]), in one
    /// transaction; or only tells what that would be.
    fn roster_sync(
        &self,
        text: String,
        domain: Option<String>,
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<StepInfo>, Denied>> + Send;
    fn presence_show(&self, account: Aor) -> impl Future<Output = Result<PresenceInfo, Denied>> + Send;
    /// `state` as people type it, or `auto`.
    fn presence_set(
        &self,
        account: Aor,
        state: String,
        note: String,
    ) -> impl Future<Output = Result<PresenceInfo, Denied>> + Send;
    /// What is no picture is [`Denied::Refused`].
    fn avatar_set(
        &self,
        account: Aor,
        data: Vec<u8>,
    ) -> impl Future<Output = Result<AvatarInfo, Denied>> + Send;
    fn avatar_get(&self, account: Aor) -> impl Future<Output = Result<(AvatarInfo, Vec<u8>), Denied>> + Send;
    /// Somebody's picture with this SHA-1, lower-case.
    fn avatar_find(&self, sha1: String)
    -> impl Future<Output = Result<(AvatarInfo, Vec<u8>), Denied>> + Send;
    fn avatar_remove(&self, account: Aor) -> impl Future<Output = Result<(), Denied>> + Send;
}
