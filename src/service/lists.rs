//! One request, several recipients (RFC 5365).
//!
//! Each copy is a direct message like others, in its recipient's mailbox; all of them and the answer are one commit.
//! Prevents that a list reaches anybody whom its sender could not write to himself. Never tells the sender who of
//! them that was.

use std::sync::Arc;

use super::focus::{Focus, Incoming, Reply, expires};
use super::offline::untaken;
use crate::chat::lists::{Listed, NoList, Recipient, read};
use crate::refusal::{Fault, Refusal};
use crate::sip::uri::Uri;
use crate::types::{Accepted, Answer, Aor, Commit, Committed, EntryKind, NewEntry, Place};

impl Focus {
    /// A MESSAGE to the people on the list in it. `lines`: headers that are passed on.
    pub async fn explode(&self, said: &Incoming, lines: Arc<str>) -> Result<Reply, Fault> {
        if let Err(busy) = self.pace(&said.speaker.aor) {
            return Ok(busy);
        }
        if said.speaker.foreign {
            return Ok(Refusal::DOMAIN_NOT_SERVED.into());
        }
        if said.max_forwards == 0 {
            return Ok(Reply::of(483, "Too Many Hops"));
        }
        if let Some(known) = self.store.accepted(&said.accepted.origin)? {
            return Ok(known.answer.into());
        }
        let listed = match read(said.content_type.as_deref(), &said.body) {
            Ok(listed) => listed,
            Err(NoList::Malformed) => return Ok(Refusal::NO_LIST.into()),
            Err(NoList::TooLong) => return Ok(Refusal::LIST_TOO_LONG.into()),
        };
        let mut entries = Vec::new();
        for recipient in &listed.recipients {
            entries.extend(self.copy_for(said, recipient, &listed, &lines)?);
        }
        if entries.is_empty() {
            return Ok(Refusal::NOBODY_ON_LIST.into());
        }
        let accepted = Accepted { answer: Answer { status: 202 }, ..said.accepted };
        match self.store.commit(Commit { room: None, entries, accepted: Some(accepted) }).await? {
            Committed::Done { .. } => Ok(Reply::accepted()),
            Committed::Repeat(answer) => Ok(answer.into()),
            Committed::Stale => Err(Fault::Internal("a mailbox has no version".into())),
        }
    }

    /// What one of them gets, and the author's own copy of it. Nothing if the author could not write to him.
    fn copy_for(
        &self,
        said: &Incoming,
        recipient: &Recipient,
        listed: &Listed,
        lines: &Arc<str>,
    ) -> Result<Vec<NewEntry>, Fault> {
        let Some(to) = self.on_list(said, recipient)? else { return Ok(Vec::new()) };
        let (rules, now) = (self.rules(), self.clock.wall());
        let entry = NewEntry {
            place: Place::Mailbox(to.clone()),
            kind: EntryKind::Direct,
            sender: Some(said.speaker.aor.clone()),
            peer: Some(said.speaker.aor.clone()),
            source: said.source.clone(),
            content_type: listed.content_type.as_deref().map(Into::into),
            headers: lines.clone(),
            body: listed.body.clone().into(),
            at: now,
            expires: expires(now, said.life, rules.expire_time),
            hops: said.max_forwards - 1,
            private: said.private,
        };
        let copy = self.copy_of(&said.speaker.aor, &to, &entry, said.headers.clone())?;
        Ok(std::iter::once(entry).chain(copy).collect())
    }

    /// The address of somebody on a list, if the sender may write to him and he can take it.
    fn on_list(&self, said: &Incoming, recipient: &Recipient) -> Result<Option<Aor>, Fault> {
        let Ok(uri) = Uri::parse(&recipient.uri) else { return Ok(None) };
        let Some((to, served)) = self.domains.address(&uri, said.flow.local.ip()) else { return Ok(None) };
        let rules = self.rules();
        if self.is_no_person(&to)? || (!served && !self.may_write_abroad(&said.speaker)) {
            return Ok(None);
        }
        let known = self.store.account(&to)?;
        if served && !self.is_account(&to)? {
            return Ok(None);
        }
        let stored = rules.offline && known.as_ref().is_none_or(|account| account.settings.offline);
        let there = stored || self.registrar.is_reachable(&to);
        if !there || !self.people.may_write(&said.speaker.aor, known.as_ref())? {
            return Ok(None);
        }
        if let Some(account) = &known
            && untaken(&self.store, account, self.clock.wall())? >= u64::from(rules.max_messages)
        {
            return Ok(None);
        }
        if self.pace_towards(&said.speaker.aor, &to).is_err() {
            return Ok(None);
        }
        Ok(Some(known.map_or(to, |account| account.address)))
    }
}
