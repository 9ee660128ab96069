//! Invitations that end without an answer: nobody answered in time, or the invited's phone refused them.
//!
//! Prevents that an inviter waits for somebody who never heard of it (spec §4). Never touches an invitation that may
//! still be taken by another device.

use std::sync::{Arc, PoisonError};

use tracing::warn;

use super::Focus;
use crate::chat::decide::{self, Ctx};
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, Room, Seq};

impl Focus {
    /// Withdraws invitations that nobody answered while they lived, and tells who invited.
    pub async fn expire_invitations(&self) {
        if let Err(fault) = self.withdraw_old().await {
            warn!(%fault, "old invitations were not withdrawn");
        }
    }

    async fn withdraw_old(&self) -> Result<(), Fault> {
        let rules = self.rules();
        let now = self.clock.wall();
        let before = now - i64::from(rules.expire_time) * 1000;
        for (address, who) in self.store.stale_invitations(before)? {
            self.give_up_invitation(&address, &who).await?;
        }
        Ok(())
    }

    /// A device refused a message for good: if it was an invitation, and there is no other device that may have
    /// taken it or still may, nobody will answer it.
    pub async fn given_up(self: Arc<Focus>, account: AccountId, seq: Seq) {
        if let Err(fault) = self.withdraw_refused(account, seq).await {
            warn!(%fault, "an invitation that nobody got was not withdrawn");
        }
    }

    async fn withdraw_refused(&self, account: AccountId, seq: Seq) -> Result<(), Fault> {
        let (Some((room, at)), Some(who)) = (self.store.invitation(seq)?, self.store.address(account)?)
        else {
            return Ok(());
        };
        if self.registrar.ways(&who).len() > 1 || self.store.view(account)?.devices.len() > 1 {
            return Ok(());
        }
        let Some(cell) = self.room(&room)? else { return Ok(()) };
        let open = {
            let room = cell.read().unwrap_or_else(PoisonError::into_inner);
            room.find(&who).and_then(|member| member.invited.as_ref()).is_some_and(|(_, sent)| *sent == at)
        };
        if open { self.give_up_invitation(&room, &who).await } else { Ok(()) }
    }

    async fn give_up_invitation(&self, address: &Aor, who: &Aor) -> Result<(), Fault> {
        let judge = |room: &Room, ctx: &Ctx<'_>| Some((decide::give_up_invitation(room, who, ctx)?, ()));
        self.unasked(address, judge).await.map(|_| ())
    }
}
