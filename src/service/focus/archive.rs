//! What people keep of what was said, and ask of it: letters, words, what they missed.
//!
//! A direct message is two entries in one commit: the recipient's, and the author's own copy in his mailbox, for
//! `#history`, `#search` and, with `delivery.copy_to_sender`, his other devices. Prevents that one is there without
//! the other, and that anybody reads what he may not see: mailbox and spans are those of the account that speaks.
//! Never keeps anything for strangers.

use std::sync::Arc;

use super::words::{local_time, shown_text};
use super::{Focus, Incoming, Reply};
use crate::chat::command::{Command, Deed};
use crate::chat::history::{self, Beside, LocalTime, Said};
use crate::chat::recall::{self, Recall};
use crate::chat::search::words;
use crate::refusal::{Fault, Refusal};
use crate::service::person::Told;
use crate::store::Account;
use crate::types::{Aor, Entry, EntryKind, NewEntry, Place};

/// What a search shows at most.
const HITS: usize = 20;
/// Of what was missed, the newest lines.
const MISSED_LINES: usize = 20;

/// One line of an answer, before it borrows.
struct Line {
    entry: Arc<Entry>,
    text: String,
}

impl Line {
    /// `everywhere`: the lines are of several conversations.
    fn said(&self, everywhere: bool) -> Said<'_> {
        // What nobody is known to have written is shown as from whom it came.
        let author = self.entry.sender.as_ref().map_or(&self.entry.from.aor, |(_, author)| author);
        let place = match self.entry.kind {
            EntryKind::Post => Some(Beside::In(&self.entry.from.aor)),
            EntryKind::Sent => Some(Beside::To(&self.entry.from.aor)),
            EntryKind::Direct | EntryKind::Notice => None,
        };
        let at = local_time(self.entry.at);
        Said { at, author, place: place.filter(|_| everywhere), text: &self.text }
    }
}

impl Focus {
    /// The author's own copy of a direct message to `said.target`; `None`: he keeps none. It belongs into the same
    /// commit, behind the message, and is withdrawn with it.
    pub fn own_copy(&self, said: &Incoming, message: &NewEntry) -> Result<Option<NewEntry>, Fault> {
        match said.speaker.foreign {
            true => Ok(None),
            false => self.copy_of(&said.speaker.aor, &said.target, message, said.headers.clone()),
        }
    }

    /// The same for an author of ours, whose message to `to` nobody's request carried. `headers`: what the copy has.
    pub fn copy_of(
        &self,
        author: &Aor,
        to: &Aor,
        message: &NewEntry,
        headers: Arc<str>,
    ) -> Result<Option<NewEntry>, Fault> {
        // What somebody writes to himself lies in his mailbox already.
        if author == to {
            return Ok(None);
        }
        let rules = self.rules();
        // From a device that is not recognised, no device gets a copy (spec §4).
        let copied = rules.copy_to_sender && message.source.is_some();
        let kept = |account: &Account| rules.archive && account.settings.archive;
        let account = self.store.account(author)?;
        if !(copied || account.as_ref().is_some_and(kept)) || !self.is_account(author)? {
            return Ok(None);
        }
        Ok(Some(NewEntry {
            place: Place::Mailbox(author.clone()),
            kind: EntryKind::Sent,
            peer: Some(to.clone()),
            headers,
            ..message.clone()
        }))
    }

    /// Answers what somebody asks of what was said to him and by him.
    pub(super) async fn recall(&self, said: &Incoming, question: &Recall) -> Result<Reply, Fault> {
        if let Some(refusal) = self.about_oneself(said)? {
            return Ok(refusal.into());
        }
        if let Recall::Letters { n, with: Some(room) } = question
            && self.room(room)?.is_some()
        {
            let command = Command { room: Some(room.clone()), deed: Deed::History(*n) };
            return self.command(said, &command).await;
        }
        let Some(account) = self.store.account(&said.speaker.aor)? else {
            // Whoever is not known has got nothing and said nothing.
            return self
                .tell(said, Ok(history::history(self.dialect, &said.target, self.today(), &[])))
                .await;
        };
        let told = match question {
            Recall::Letters { n, with } => Ok(self.letters(&account, *n, with.as_ref()).await?),
            Recall::Missed => Ok(self.missed(&account, said).await?),
            Recall::Search(question) => self.find(&account, question).await?,
        };
        self.tell(said, told).await
    }

    async fn letters(&self, account: &Account, n: u16, with: Option<&Aor>) -> Result<Vec<String>, Fault> {
        if let Some(why) = self.keeps_nothing(account) {
            return Ok(vec![why]);
        }
        let entries = self.store.letters(account.mailbox, with.cloned(), usize::from(n)).await?;
        let lines = lines(entries);
        let said: Vec<Said<'_>> = lines.iter().map(|line| line.said(with.is_none())).collect();
        Ok(history::history(self.dialect, &account.address, self.today(), &said))
    }

    async fn find(&self, account: &Account, question: &str) -> Result<Told, Fault> {
        let words = words(question);
        if words.is_empty() {
            return Ok(Err((Refusal::MALFORMED, recall::nothing_to_search(&self.start))));
        }
        let found = self.store.search(account.id, words, HITS + 1, account.settings.archive).await?;
        let Some(entries) = found else { return Ok(Ok(vec![recall::nothing_is_kept()])) };
        let more = entries.len() > HITS;
        let lines = lines(entries);
        let hits: Vec<Said<'_>> = lines.iter().take(HITS).map(|line| line.said(true)).collect();
        Ok(Ok(history::found(self.dialect, &account.address, self.today(), &hits, more)))
    }

    async fn missed(&self, account: &Account, said: &Incoming) -> Result<Vec<String>, Fault> {
        let missed = self.store.missed(account.id, said.source.clone(), MISSED_LINES).await?;
        let missed = missed.unwrap_or_default();
        let counts = missed.counts.iter().map(|missed| history::Missed {
            who: &missed.entry.from.aor,
            is_room: missed.entry.kind == EntryKind::Post,
            count: missed.count,
            more: missed.more,
        });
        let counts: Vec<history::Missed<'_>> = counts.collect();
        let lines = lines(missed.newest);
        let newest: Vec<Said<'_>> = lines.iter().map(|line| line.said(true)).collect();
        Ok(history::missed(self.dialect, &account.address, self.today(), &counts, &newest))
    }

    fn today(&self) -> LocalTime {
        local_time(self.clock.wall())
    }

    /// Why there is nothing to be read of an account's letters.
    fn keeps_nothing(&self, account: &Account) -> Option<String> {
        match (self.rules().archive, account.settings.archive) {
            (false, _) => Some(recall::nothing_is_kept()),
            (true, false) => Some(recall::archive_is_off(&self.start)),
            (true, true) => None,
        }
    }
}

fn lines(entries: Vec<Arc<Entry>>) -> Vec<Line> {
    entries.into_iter().map(|entry| Line { text: shown_text(&entry), entry }).collect()
}
