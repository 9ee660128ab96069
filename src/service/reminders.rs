//! Says what is due (design.md, "what is to be said later is not said yet").
//!
//! A reminder for oneself comes from the manager, one for somebody else from its author, and then the recipient's
//! rules apply as they are when it is due. Prevents that a reminder is lost because the daemon was down at its time:
//! it is said when the daemon is back. Never says one twice: [`crate::store::Store::say_later`] moves it.

use std::sync::Arc;

use tracing::{info, warn};

use super::offline::Offline;
use crate::chat::reminder;
use crate::refusal::{Fault, Refusal};
use crate::store::Later;
use crate::types::{Aor, UnixMs};

/// Reminders that are looked at together.
const BATCH: usize = 64;

pub struct Reminders {
    pub offline: Arc<Offline>,
}

impl Reminders {
    /// Says everything that is due at `now`. Called every second or so.
    pub async fn say_due(&self, now: UnixMs) {
        let store = &self.offline.store;
        let mut after = (UnixMs::MIN, 0);
        loop {
            let due = match store.due(now, after, BATCH) {
                Ok(due) => due,
                Err(fault) => return warn!(%fault, "reminders were not looked up"),
            };
            let Some(last) = due.last() else { return };
            after = (last.due, last.id);
            for later in &due {
                // It stays, and is tried again.
                if let Err(fault) = self.say(later).await {
                    warn!(author = %later.author, %fault, "a reminder was not said");
                }
            }
        }
    }

    async fn say(&self, later: &Later) -> Result<(), Fault> {
        let offline = &self.offline;
        let text = reminder::due(&ctime(later.due), &later.text);
        if later.recipient == later.author {
            let Some(manager) = Aor::new(&offline.focus.manager, later.author.host()) else { return Ok(()) };
            let letter = offline.letter(&manager, None, &later.author, &text, later.hops);
            offline.store.say_later(later.id, vec![letter]).await?;
            return Ok(());
        }
        if let Err(refusal) = self.may(later).await? {
            info!(author = %later.author, recipient = %later.recipient, reason = refusal.reason, "a reminder is refused");
            if offline.store.say_later(later.id, Vec::new()).await? {
                let words = reminder::not_said(&later.recipient, refusal.reason);
                offline.focus.tell_person(&later.author, None, "", later.hops, words)?;
            }
            return Ok(());
        }
        let letter = offline.letter(&later.author, Some(&later.author), &later.recipient, &text, later.hops);
        let copy = offline.focus.copy_of(&later.author, &later.recipient, &letter, "".into())?;
        offline.store.say_later(later.id, std::iter::once(letter).chain(copy).collect()).await?;
        Ok(())
    }

    /// Whether the recipient takes it now, and there is a place for it.
    async fn may(&self, later: &Later) -> Result<Result<(), Refusal>, Fault> {
        let offline = &self.offline;
        let recipient = offline.store.account(&later.recipient)?;
        if !offline.focus.people.may_write(&later.author, recipient.as_ref())? {
            return Ok(Err(Refusal::NOT_WANTED));
        }
        offline.may_wait(&later.recipient).await
    }
}

/// `Fri Nov 20 21:52:16 2026`, in the server's time zone.
fn ctime(at: UnixMs) -> String {
    let zoned = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zoned.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}
