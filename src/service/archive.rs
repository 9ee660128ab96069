//! What an author keeps of what he wrote to a person.
//!
//! A direct message is two entries in one commit: the recipient's, and the author's own copy in his mailbox, for
//! `#history`, `#search` and, with `delivery.copy_to_sender`, his other devices. Prevents that one is there without
//! the other. Never keeps anything for strangers.

use super::focus::{Focus, Incoming};
use crate::refusal::Fault;
use crate::store::Account;
use crate::types::{EntryKind, NewEntry, Place};

impl Focus {
    /// The author's own copy of a direct message to `said.target`; `None`: he keeps none. It belongs into the same
    /// commit, behind the message, and is withdrawn with it.
    pub fn own_copy(&self, said: &Incoming, message: &NewEntry) -> Result<Option<NewEntry>, Fault> {
        let author = &said.speaker.aor;
        // What somebody writes to himself lies in his mailbox already.
        if said.speaker.foreign || *author == said.target {
            return Ok(None);
        }
        let rules = self.rules();
        // From a device that is not recognised, no device gets a copy (spec §4).
        let copied = rules.copy_to_sender && said.source.is_some();
        let kept = |account: &Account| rules.archive && account.settings.archive;
        let account = self.store.account(author)?;
        if !(copied || account.as_ref().is_some_and(kept)) || !self.is_account(author)? {
            return Ok(None);
        }
        Ok(Some(NewEntry {
            place: Place::Mailbox(author.clone()),
            kind: EntryKind::Sent,
            peer: Some(said.target.clone()),
            headers: said.headers.clone(),
            ..message.clone()
        }))
    }
}
