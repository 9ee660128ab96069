//! What management can ask for about rooms: one method per deed, with plain types.
//!
//! Prevents that an administrator changes a room by another way than people do. Never knows which door asks.

use std::future::Future;

use serde::Serialize;

use super::deeds::Denied;
use super::listing::Page;
use crate::types::Aor;

/// A room, as management shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RoomInfo {
    /// `name@domain`.
    pub room: String,
    /// Display name; empty if it has none.
    pub title: String,
    /// `user@domain`; empty if nobody owns it.
    pub owner: String,
    pub private: bool,
    /// Members without the invited.
    pub members: usize,
    pub invited: usize,
}

/// Somebody who belongs to a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MemberInfo {
    /// `user@domain`.
    pub user: String,
    /// `owner`, `admin`, `member` or `invited`.
    pub role: &'static str,
}

/// Something that was said in a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SaidInfo {
    /// In the server's time zone.
    pub at: String,
    /// `user@domain`.
    pub user: String,
    /// What is no text is named in brackets.
    pub text: String,
}

/// The deeds. Rooms and users may be spelled as people write them.
pub trait Rooms: Send + Sync + 'static {
    /// Of all served domains, or of one.
    fn room_list(
        &self,
        domain: Option<String>,
        page: Page,
    ) -> impl Future<Output = Result<Vec<RoomInfo>, Denied>> + Send;
    fn room_show(&self, room: Aor) -> impl Future<Output = Result<RoomInfo, Denied>> + Send;
    /// Without an owner, nobody but management changes the room.
    fn room_create(
        &self,
        room: Aor,
        owner: Option<Aor>,
        private: bool,
    ) -> impl Future<Output = Result<RoomInfo, Denied>> + Send;
    /// Its members are told.
    fn room_destroy(&self, room: Aor) -> impl Future<Output = Result<(), Denied>> + Send;
    /// `title` or `private`. The members are told.
    fn room_set(
        &self,
        room: Aor,
        key: String,
        value: String,
    ) -> impl Future<Output = Result<RoomInfo, Denied>> + Send;
    /// The room itself says it.
    fn room_post(&self, room: Aor, text: String) -> impl Future<Output = Result<(), Denied>> + Send;
    /// The last `n` posts, oldest first.
    fn room_history(&self, room: Aor, n: usize)
    -> impl Future<Output = Result<Vec<SaidInfo>, Denied>> + Send;
    /// In the order of `#members`: owner first, then newest first; the invited last.
    fn member_list(&self, room: Aor) -> impl Future<Output = Result<Vec<MemberInfo>, Denied>> + Send;
    /// Without asking him. `role`: as in [`MemberInfo`].
    fn member_add(
        &self,
        room: Aor,
        user: Aor,
        role: String,
    ) -> impl Future<Output = Result<MemberInfo, Denied>> + Send;
    /// Him and the others are told. An owner's room goes to the next one, as when his account ends.
    fn member_remove(&self, room: Aor, user: Aor) -> impl Future<Output = Result<(), Denied>> + Send;
    fn member_role(
        &self,
        room: Aor,
        user: Aor,
        role: String,
    ) -> impl Future<Output = Result<MemberInfo, Denied>> + Send;
}
