//! What is addressed to a person.
//!
//! A direct message is committed to the recipient's mailbox, then offered to his devices; the answer waits up to
//! two seconds for one of them (spec §5.4). It is the same log and the same outboxes as for rooms.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::Delivery;
use super::focus::{Focus, Incoming, Reply};
use crate::chat::content::content;
use crate::refusal::{Fault, Refusal};
use crate::store::Store;
use crate::types::{Accepted, Answer, Commit, Committed, EntryKind, NewEntry, Place};

/// How long the sender's transaction waits for a device before it is told that the message is stored.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Relay {
    pub store: Store,
    pub delivery: Arc<Delivery>,
    pub focus: Arc<Focus>,
}

impl Relay {
    /// A MESSAGE to an account.
    pub async fn hear(&self, said: &Incoming, lines: Arc<str>) -> Result<Reply, Fault> {
        if content(said.content_type.as_deref()).is_automatic() {
            return Ok(Reply::ok());
        }
        if let Err(busy) = self.focus.pace(&said.speaker.aor) {
            return Ok(busy);
        }
        if said.max_forwards == 0 {
            return Ok(Reply::of(483, "Too Many Hops"));
        }
        let rules = self.focus.rules();
        let now = self.focus.clock.wall();
        let life = said.life.map_or(rules.expire_time, |life| life.min(rules.expire_time));
        let entry = NewEntry {
            place: Place::Mailbox(said.target.clone()),
            kind: EntryKind::Direct,
            sender: Some(said.speaker.aor.clone()),
            peer: Some(said.speaker.aor.clone()),
            source: said.source.clone(),
            content_type: said.content_type.clone(),
            headers: lines,
            body: said.body.clone(),
            at: now,
            expires: now + i64::from(life) * 1000,
            hops: said.max_forwards - 1,
            private: said.private,
        };
        let accepted = Accepted { answer: Answer { status: 202 }, ..said.accepted };
        let commit = Commit { room: None, entries: vec![entry], accepted: Some(accepted) };
        let seq = match self.store.commit(commit).await? {
            Committed::Done { seqs } => seqs.first().copied(),
            Committed::Repeat(answer) => return Ok(answer.into()),
            Committed::Stale => return Err(Fault::Internal("a mailbox has no version".into())),
        };
        let account = self.store.account(&said.target)?;
        let (Some(seq), Some(account)) = (seq, account) else { return Ok(Refusal::NO_SUCH_USER.into()) };
        let taken = tokio::time::timeout(PATIENCE, self.delivery.taken(account.id, seq)).await;
        Ok(if matches!(taken, Ok(Ok(_))) { Reply::ok() } else { Reply::accepted() })
    }
}
