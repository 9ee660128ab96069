//! What waits for somebody: counted, listed, thrown away, tried again; and a letter that the house writes itself.
//!
//! It is the same log and the same positions as for everything else: what waits is what lies above the furthest
//! device. Prevents that the administrator's view of a mailbox and the sender's 480 are two different counts.
//! Never shows a text: who manages a server need not read its people's letters.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::delivery::Delivery;
use super::focus::Focus;
use super::registrar::Registrar;
use crate::refusal::{Fault, Refusal};
use crate::store::{Account, Store};
use crate::types::{Aor, Commit, Committed, Entry, EntryKind, NewEntry, Place, RoomStep, Seq, Span, UnixMs};

/// Letters, or accounts with letters, that are looked at together.
const LIST_MAX: usize = 1000;
/// Taken letters are counted up to here: enough for a lamp on a phone.
const OLD_MAX: u32 = 9999;
/// Max-Forwards of what nobody's request caused (RFC 3261 §8.1.1.6).
const HOPS: u8 = 70;
/// A room that changes while a letter to it is judged is judged again so often.
const JUDGEMENTS: usize = 64;

/// How long a text counts as being offered to the devices that are there.
pub const OFFERED: Duration = super::relay::PATIENCE;

/// How full a mailbox is, as a message summary says it (RFC 3842 §3.5, `Text-Message: new/old`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Waiting {
    /// Texts that no device has taken.
    pub new: u64,
    /// Those of them that came within [`OFFERED`]: a device may be taking them.
    pub offered: u64,
    /// Texts that a device has taken and that can still be read again; at most 9999.
    pub old: u64,
}

/// The mailbox of an account, and how far its furthest device has got in it.
fn mailbox(store: &Store, account: &Account) -> Result<(Span, Seq), Fault> {
    let view = store.view(account.id)?;
    let furthest = view.devices.iter().map(|(_, position, _)| *position).fold(view.base, Seq::max);
    let span = view.spans.into_iter().find(|span| span.conversation == account.mailbox);
    Ok((span.unwrap_or(Span { conversation: account.mailbox, since: Seq(0), until: None }), furthest))
}

/// Direct messages that no device of an account has taken: what `offline.max_messages` bounds.
pub fn untaken(store: &Store, account: &Account, now: UnixMs) -> Result<u64, Fault> {
    let (span, furthest) = mailbox(store, account)?;
    store.count_after(&span, furthest, now)
}

/// See the module's text.
pub struct Offline {
    pub store: Store,
    pub delivery: Arc<Delivery>,
    pub registrar: Arc<Registrar>,
    pub focus: Arc<Focus>,
}

impl Offline {
    fn now(&self) -> UnixMs {
        self.focus.clock.wall()
    }

    /// What a message summary of this account says (RFC 3842). Nothing for somebody unknown.
    pub fn waiting(&self, who: &Aor) -> Result<Waiting, Fault> {
        let Some(account) = self.store.account(who)? else { return Ok(Waiting::default()) };
        let (span, furthest) = mailbox(&self.store, &account)?;
        let now = self.now();
        let new = self.store.count_after(&span, furthest, now)?;
        let since = now - OFFERED.as_millis() as UnixMs;
        let offered = self.store.count_young(&span, furthest, since, now)?.min(new);
        Ok(Waiting { new, offered, old: self.store.count_taken(account.mailbox, furthest, OLD_MAX)? })
    }

    /// Direct messages that wait for an account, oldest first: those behind `after`, at most `most`.
    fn letters(&self, account: &Account, after: Seq, most: usize) -> Result<Vec<Arc<Entry>>, Fault> {
        let (span, furthest) = mailbox(&self.store, account)?;
        let (mut after, mut letters) = (furthest.max(after), Vec::new());
        while letters.len() < most {
            let page = self.store.page(&[span], after, LIST_MAX, self.now())?;
            letters.extend(page.entries.into_iter().filter(|entry| entry.kind == EntryKind::Direct));
            after = page.through;
            if !page.more {
                break;
            }
        }
        letters.truncate(most);
        Ok(letters)
    }

    /// What waits, for one account or for all, by account: those behind the letter `after`, at most `most`, each as it
    /// is to be shown.
    pub fn list<T>(
        &self,
        who: Option<&Account>,
        after: Option<(Aor, Seq)>,
        most: usize,
        show: impl Fn(&Aor, &Entry) -> T,
    ) -> Result<Vec<T>, Fault> {
        let mut list = Vec::new();
        let mut add = |account: &Account, mut behind: Seq| -> Result<bool, Fault> {
            // Letters are long, and so may the list be: no more of them than a part is in memory at once.
            while list.len() < most {
                let part = self.letters(account, behind, LIST_MAX.min(most - list.len()))?;
                let Some(last) = part.last() else { return Ok(true) };
                behind = last.seq;
                list.extend(part.iter().map(|letter| show(&account.address, letter)));
            }
            Ok(false)
        };
        let seen = after.as_ref().map_or(Seq(0), |(_, seq)| *seq);
        if let Some(account) = who {
            add(account, seen)?;
            return Ok(list);
        }
        let mut behind = after.map(|(account, _)| account);
        // There may be more for the account that the last page ended with.
        if let Some(account) = behind.as_ref().map(|who| self.store.account(who)).transpose()?.flatten()
            && !add(&account, seen)?
        {
            return Ok(list);
        }
        loop {
            let accounts = self.store.expecting(self.now(), behind.as_ref(), LIST_MAX)?;
            let Some(last) = accounts.last() else { return Ok(list) };
            behind = Some(last.address.clone());
            for account in &accounts {
                if !add(account, Seq(0))? {
                    return Ok(list);
                }
            }
        }
    }

    /// Throws away what waits for an account. How many they were. What is on its way this moment still arrives.
    pub async fn purge(&self, account: &Account) -> Result<u64, Fault> {
        // What was taken a moment ago may not be known yet: it stays readable.
        self.delivery.settled(account.id).await;
        let mut purged = 0;
        loop {
            let seqs: Vec<Seq> =
                self.letters(account, Seq(0), LIST_MAX)?.iter().map(|letter| letter.seq).collect();
            if seqs.is_empty() {
                return Ok(purged);
            }
            purged += self.store.withdraw(seqs.clone(), None).await? as u64;
            self.delivery.withdrawn(account.id, &seqs);
        }
    }

    /// Tries to deliver now, whatever pause the ways to an account are in: what waits, and how many ways there are.
    pub fn deliver(&self, account: &Account) -> Result<(u64, usize), Fault> {
        let ways = self.registrar.retry(&account.address)?;
        Ok((self.waiting(&account.address)?.new, ways))
    }

    /// Says something in somebody's name: to a person as a direct message, to a room as a post of a member.
    pub async fn send(&self, from: &Aor, to: &Aor, text: &str) -> Result<Result<(), Refusal>, Fault> {
        match self.store.room(to)?.is_some() {
            true => self.post(from, to, text).await,
            false => {
                if let Err(refusal) = self.may_wait(to).await? {
                    return Ok(Err(refusal));
                }
                let letter = self.letter(from, Some(from), to, text, HOPS);
                let copy = self.focus.copy_of(from, to, &letter, letter.headers.clone())?;
                let entries = std::iter::once(letter).chain(copy).collect();
                let commit = Commit { room: None, entries, accepted: None };
                match self.store.commit(commit).await? {
                    Committed::Stale => Err(Fault::Internal("a mailbox has no version".into())),
                    _ => Ok(Ok(())),
                }
            }
        }
    }

    /// Whether there is somebody `to`, and a place for one more letter to him.
    pub async fn may_wait(&self, to: &Aor) -> Result<Result<(), Refusal>, Fault> {
        if self.focus.is_manager(to) || !(self.focus.is_account(to)? || self.registrar.has_proxy()) {
            return Ok(Err(Refusal::NO_SUCH_USER));
        }
        let rules = self.focus.rules();
        let known = self.store.account(to)?;
        let waits = rules.offline && known.as_ref().is_none_or(|account| account.settings.offline);
        if !waits && !self.registrar.is_reachable(to) {
            return Ok(Err(Refusal::NOBODY_THERE));
        }
        if let Some(account) = known {
            let most = u64::from(rules.max_messages);
            if untaken(&self.store, &account, self.now())? >= most {
                self.delivery.settled(account.id).await;
                if untaken(&self.store, &account, self.now())? >= most {
                    return Ok(Err(Refusal::MAILBOX_FULL));
                }
            }
        }
        Ok(Ok(()))
    }

    /// A direct message that is to be. `from`: whom the recipient sees; `author`: whose words they are.
    pub fn letter(&self, from: &Aor, author: Option<&Aor>, to: &Aor, text: &str, hops: u8) -> NewEntry {
        let (rules, now) = (self.focus.rules(), self.now());
        NewEntry {
            place: Place::Mailbox(to.clone()),
            kind: EntryKind::Direct,
            sender: author.cloned(),
            peer: Some(from.clone()),
            source: None,
            content_type: None,
            headers: "".into(),
            body: Bytes::copy_from_slice(text.as_bytes()),
            at: now,
            expires: now + i64::from(rules.expire_time) * 1000,
            hops,
            private: false,
        }
    }

    async fn post(&self, from: &Aor, to: &Aor, text: &str) -> Result<Result<(), Refusal>, Fault> {
        for _ in 0..JUDGEMENTS {
            let Some(cell) = self.store.room(to)? else { return Ok(Err(Refusal::NO_SUCH_ROOM)) };
            let step = {
                let room = cell.read().unwrap_or_else(PoisonError::into_inner);
                if !room.hears(from) {
                    return Ok(Err(Refusal::NOT_A_MEMBER));
                }
                let (address, version) = (room.address.clone(), room.version);
                RoomStep { address, version, changes: Vec::new() }
            };
            let letter = self.letter(from, Some(from), to, text, HOPS);
            let post = NewEntry { place: Place::Room, kind: EntryKind::Post, peer: None, ..letter };
            match self.store.commit(Commit { room: Some(step), entries: vec![post], accepted: None }).await? {
                Committed::Stale => continue,
                _ => return Ok(Ok(())),
            }
        }
        Err(Fault::Unavailable("the room changes faster than a post can be judged".into()))
    }
}
