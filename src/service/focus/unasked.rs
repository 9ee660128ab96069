//! What happens to rooms without anybody's MESSAGE: an administrator's orders, somebody's account ends and he leaves all
//! of them, an invitation is withdrawn.
//!
//! Prevents that a room is left half changed: each is one commit, and what was interrupted is found again by asking
//! who is listed. Never keeps posts from being written: rooms are read by pages, and left a few at a time.

use std::sync::{Arc, PoisonError};

use tokio::task::JoinSet;

use super::{Focus, JUDGEMENTS};
use crate::chat::decide::{Ctx, Decision, WhoMayCreate, Whom};
use crate::chat::depart::{Parted, depart};
use crate::chat::govern::{Known, Order, Undone, govern};
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

    /// Carries out an administrator's order. `Err`: it cannot be, and why.
    pub async fn govern(&self, address: &Aor, order: &Order) -> Result<Result<(), Undone>, Fault> {
        let _turn = self.turns.of(address).await;
        let look_up = || {
            Ok(Known {
                user: order.user().map_or(Ok(Whom::Ours), |user| self.whom_to_add(user))?,
                taken: self.is_manager(address) || self.is_reserved(address)?,
            })
        };
        let judge = |room: Option<&Room>, ctx: &Ctx<'_>, known: Known| {
            govern(room, address, order, ctx, known).map(|decision| (decision, ()))
        };
        self.ordered(address, look_up, judge).await
    }

    /// What a user can be whom an administrator names.
    fn whom_to_add(&self, user: &Aor) -> Result<Whom, Fault> {
        let ours = self.domains.serves(user.host());
        Ok(match ours {
            false if self.reaches_abroad => Whom::Foreign,
            false => Whom::Barred,
            true if self.is_no_person(user)? => Whom::Nobody,
            true if self.closed_house && !self.is_account(user)? => Whom::Nobody,
            true => Whom::Ours,
        })
    }

    /// Changes a room as `judge` says of it as it is; `None`: there is no such room, or nothing to change.
    pub(super) async fn unasked<T>(
        &self,
        address: &Aor,
        judge: impl Fn(&Room, &Ctx<'_>) -> Option<(Decision, T)>,
    ) -> Result<Option<T>, Fault> {
        let judge = |room: Option<&Room>, ctx: &Ctx<'_>, ()| room.and_then(|room| judge(room, ctx)).ok_or(());
        Ok(self.ordered(address, || Ok(()), judge).await?.ok())
    }

    /// Changes what is at an address as `judge` says of it as it is; its `Err` is handed on, and nothing changes.
    /// `look_up`: what it has to know beside the room.
    async fn ordered<T, E, K>(
        &self,
        address: &Aor,
        look_up: impl Fn() -> Result<K, Fault>,
        judge: impl Fn(Option<&Room>, &Ctx<'_>, K) -> Result<(Decision, T), E>,
    ) -> Result<Result<T, E>, Fault> {
        let rules = self.rules();
        let served = |host: &str| self.domains.serves(host);
        for _ in 0..JUDGEMENTS {
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
            let known = look_up()?;
            let cell = self.room(address)?;
            let (judged, address, version) = match &cell {
                Some(cell) => {
                    let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                    (judge(Some(&room), &ctx, known), room.address.clone(), room.version)
                }
                None => (judge(None, &ctx, known), address.clone(), 0),
            };
            let (decision, done) = match judged {
                Ok(judged) => judged,
                Err(why) => return Ok(Err(why)),
            };
            if decision.changes.is_empty() && decision.entries.is_empty() {
                return Ok(Ok(done));
            }
            let step = RoomStep { address, version, changes: decision.changes };
            let commit = Commit { room: Some(step), entries: decision.entries, accepted: None };
            match self.store.commit(commit).await? {
                Committed::Stale => continue,
                _ => return Ok(Ok(done)),
            }
        }
        Err(Fault::Unavailable("the room changes faster than it can be judged".into()))
    }
}
