//! What rosters need of the manager: who may be asked, and lines into mailboxes; and the commands about buddies.
//!
//! Prevents that a SUBSCRIBE is a way round the limits for those who write to strangers, or round their choice of who
//! may write to them.

use std::sync::Weak;

use bytes::Bytes;

use super::{Focus, Incoming, Reply};
use crate::chat::buddies::Buddies;
use crate::refusal::Fault;
use crate::service::roster::Asks;
use crate::types::{Aor, EntryKind, NewEntry, Place, UnixMs};

/// The roster belongs to the focus, so it holds it weakly.
pub struct Questions(pub Weak<Focus>, pub super::Clock);

impl Asks for Questions {
    fn now(&self) -> UnixMs {
        self.1.wall()
    }

    fn may_ask(&self, asker: &Aor, asked: &Aor) -> Result<bool, Fault> {
        let Some(focus) = self.0.upgrade() else { return Ok(false) };
        if !focus.is_person_here(asked)? {
            return Ok(false);
        }
        let willing = focus.people.may_write(asker, focus.store.account(asked)?.as_ref())?;
        Ok(willing && focus.pace_towards(asker, asked).is_ok())
    }

    fn notice(&self, to: &Aor, words: String, hops: u8) -> Result<Option<NewEntry>, Fault> {
        let Some(focus) = self.0.upgrade() else { return Ok(None) };
        if !focus.is_person_here(to)? {
            return Ok(None);
        }
        let (rules, now) = (focus.rules(), focus.clock.wall());
        Ok(Some(NewEntry {
            place: Place::Mailbox(to.clone()),
            kind: EntryKind::Notice,
            sender: None,
            peer: Aor::new(&focus.manager, to.host()),
            source: None,
            content_type: None,
            headers: rules.extra_hdrs.clone(),
            body: Bytes::from(words),
            at: now,
            expires: now + i64::from(rules.expire_time) * 1000,
            hops,
            private: false,
        }))
    }
}

impl Focus {
    /// Somebody of a domain of ours who can answer.
    fn is_person_here(&self, who: &Aor) -> Result<bool, Fault> {
        let ours = self.domains.serves(who.host());
        Ok(ours && !self.is_no_person(who)? && self.is_account(who)?)
    }

    /// A command about buddies or about how the sender is. It is answered by whom it was sent to.
    pub(super) async fn buddies(&self, said: &Incoming, command: &Buddies) -> Result<Reply, Fault> {
        if let Some(refusal) = self.about_oneself(said)? {
            return Ok(refusal.into());
        }
        if said.max_forwards == 0 {
            return Ok(Reply::of(483, "Too Many Hops"));
        }
        let told = self.roster.command(&said.speaker.aor, command, said.max_forwards - 1).await?;
        self.tell(said, told).await
    }
}
