//! What happens to rooms without anybody's MESSAGE: somebody's account ends and he leaves all of them, an invitation
//! is withdrawn.
//!
//! Prevents that a room is left half changed: each is one commit, and what was interrupted is found again by asking
//! who is listed. Never keeps posts from being written: rooms are read by pages, and left a few at a time.

use std::sync::{Arc, PoisonError};

use tokio::task::JoinSet;

use super::{Focus, JUDGEMENTS};
use crate::chat::decide::{Ctx, Decision, WhoMayCreate};
use crate::chat::depart::{Parted, depart};
use crate::refusal::Fault;
use crate::types::{Aor, Commit, Committed, Room, RoomStep};

/// Rooms that are left at the same time: they share commits, and the writer has much more in one batch.
const AT_ONCE: usize = 32;

impl Focus {
    /// Takes `who` out of all rooms that list him, and tells what became of them.
    pub async fn leave_all(self: &Arc<Focus>, who: &Aor) -> Result<Vec<(Aor, Parted)>, Fault> {
        let Some(account) = self.store.account(who)? else { return Ok(Vec::new()) };
        let mut rooms = Vec::new();
        let mut after = 0;
        loop {
            let page = self.store.listed_in(account.id, after, AT_ONCE)?;
            let Some((last, _)) = page.last() else { return Ok(rooms) };
            after = *last;
            let mut leaving = JoinSet::new();
            for room in page.into_iter().filter_map(|(_, room)| room) {
                let (focus, who) = (self.clone(), who.clone());
                leaving.spawn(async move { focus.leave(room, &who).await });
            }
            while let Some(left) = leaving.join_next().await {
                rooms.extend(left.map_err(|error| Fault::Internal(error.to_string()))??);
            }
        }
    }

    async fn leave(&self, room: Aor, who: &Aor) -> Result<Option<(Aor, Parted)>, Fault> {
        let _turn = self.turns.of(&room).await;
        let parted = self.unasked(&room, |room, ctx| depart(room, who, ctx)).await?;
        Ok(parted.map(|parted| (room, parted)))
    }

    /// Changes a room as `judge` says of it as it is; `None`: there is no such room, or nothing to change.
    pub(super) async fn unasked<T>(
        &self,
        address: &Aor,
        judge: impl Fn(&Room, &Ctx<'_>) -> Option<(Decision, T)>,
    ) -> Result<Option<T>, Fault> {
        let rules = self.rules();
        let served = |host: &str| self.domains.served().iter().any(|ours| ours.eq_ignore_ascii_case(host));
        for _ in 0..JUDGEMENTS {
            let Some(cell) = self.room(address)? else { return Ok(None) };
            let now = self.clock.wall();
            let ctx = Ctx {
                dialect: self.dialect,
                start: &self.start,
                create_on_join: false,
                check_on_create: false,
                who_may_create: WhoMayCreate::Admins,
                member_max: rules.member_max,
                now,
                expires: now + i64::from(rules.expire_time) * 1000,
                hops: 70,
                headers: rules.extra_hdrs.clone(),
                served: &served,
            };
            let (decision, done, step) = {
                let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                let Some((decision, done)) = judge(&room, &ctx) else { return Ok(None) };
                let changes = decision.changes.clone();
                (decision, done, RoomStep { address: room.address.clone(), version: room.version, changes })
            };
            let commit = Commit { room: Some(step), entries: decision.entries, accepted: None };
            match self.store.commit(commit).await? {
                Committed::Stale => continue,
                _ => return Ok(Some(done)),
            }
        }
        Err(Fault::Unavailable("the room changes faster than it can be left".into()))
    }
}
