//! What a person sets for himself, and what follows for those who write to him.
//!
//! Prevents that one door lets through what another refuses: direct messages, invitations and recipient lists all
//! ask [`People::may_write`]. Never says anything itself.

use std::sync::Arc;

use super::roster::Roster;
use crate::chat::personal::{self, BLOCKED_MAX, Personal};
use crate::chat::settings::{self, Accept};
use crate::chat::split::{PART_BYTES, parts};
use crate::refusal::{Fault, Refusal};
use crate::store::{Account, Store};
use crate::types::Aor;

/// Answers to a person's command about himself: words, in parts, or a refusal with words.
pub type Told = Result<Vec<String>, (Refusal, String)>;

pub struct People {
    pub store: Store,
    /// Is told whom somebody blocks: it ends what that one sees of him.
    pub roster: Arc<Roster>,
    /// The command character.
    pub start: String,
}

impl People {
    /// Whether `to` takes messages from `from`, who was authenticated. Of an unknown address nothing is known that
    /// would speak against it.
    pub fn may_write(&self, from: &Aor, to: Option<&Account>) -> Result<bool, Fault> {
        let Some(to) = to.filter(|to| to.address != *from) else { return Ok(true) };
        if to.blocks && self.store.has_blocked(to.id, from)? {
            return Ok(false);
        }
        let willing = match to.settings.accept {
            Accept::Everybody => true,
            Accept::Authenticated => self.store.account(from)?.is_some_and(|account| account.registered),
            Accept::SameDomain => from.host().eq_ignore_ascii_case(to.address.host()),
            Accept::Nobody => false,
        };
        Ok(willing || self.store.are_buddies(&to.address, from)?)
    }

    /// Blocks `whom` for `who`. False: his list is full.
    pub async fn block(&self, who: &Aor, whom: &Aor) -> Result<bool, Fault> {
        let done = self.store.block(who, whom, BLOCKED_MAX).await?;
        if done {
            self.roster.block_changed(who, whom)?;
        }
        Ok(done)
    }

    /// Blocks `whom` no more. False: he was not blocked.
    pub async fn unblock(&self, who: &Aor, whom: &Aor) -> Result<bool, Fault> {
        let done = self.store.unblock(who, whom).await?;
        if done {
            self.roster.block_changed(who, whom)?;
        }
        Ok(done)
    }

    /// Does what `who` asks for himself.
    pub async fn command(&self, who: &Aor, command: &Personal) -> Result<Told, Fault> {
        let one = |text: String| Ok(Ok(vec![text]));
        match command {
            Personal::Settings => {
                let account = self.store.account(who)?;
                let blocked = match &account {
                    Some(account) if account.blocks => self.store.blocked(account.id)?,
                    _ => Vec::new(),
                };
                let settings = account.map(|account| account.settings).unwrap_or_default();
                Ok(Ok(parts(&personal::settings(&settings, &blocked), PART_BYTES)))
            }
            Personal::Set { key, value } => match settings::change(key, value) {
                Ok(change) => {
                    self.roster.set(who, change).await?;
                    one(personal::set(change.0, change.1))
                }
                Err(why) => Ok(Err((Refusal::MALFORMED, personal::not_set(key, &self.start, why)))),
            },
            Personal::Block(whom) if whom == who => Ok(Err((Refusal::NOT_ALLOWED, personal::not_yourself()))),
            Personal::Block(whom) => match self.block(who, whom).await? {
                true => one(personal::blocked(whom)),
                false => Ok(Err((Refusal::NOT_ALLOWED, personal::block_list_full()))),
            },
            Personal::Unblock(whom) => match self.unblock(who, whom).await? {
                true => one(personal::unblocked(whom)),
                false => one(personal::was_not_blocked(whom)),
            },
        }
    }
}
