//! What is addressed to a person.
//!
//! A direct message is committed to the recipient's mailbox, then offered to his devices; the answer waits up to
//! two seconds for one of them (spec §5.4). It is the same log and the same outboxes as for rooms. Prevents that a
//! sender is told "taken" or "stored" of what was refused by every device.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::delivery::Delivery;
use super::focus::{Focus, Incoming, Reply, expires};
use super::offline::untaken;
use super::ratelimit::{Once, RateLimit};
use super::receipts::Receipts;
use super::registrar::Registrar;
use crate::chat::imdn::is_automatic;
use crate::chat::outcome::{Outcome, outcome};
use crate::chat::render::Aside;
use crate::refusal::{Fault, Refusal};
use crate::store::{Account, Store};
use crate::types::{Accepted, Answer, Aor, Commit, Committed, EntryKind, NewEntry, Place, ROUTE_DEVICE, Seq};

/// How long the sender's transaction waits for a device before it is told that the message is stored …
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// … and before it is told that nobody takes it, where nothing is stored.
const PATIENCE_UNSTORED: Duration = Duration::from_secs(30);

pub struct Relay {
    pub store: Store,
    pub delivery: Arc<Delivery>,
    pub registrar: Arc<Registrar>,
    pub focus: Arc<Focus>,
    /// Who was told that whom he wrote to is away.
    pub away: Once<(Aor, Aor)>,
    /// Typing notices and receipts have a rate of their own: they do not count as messages.
    pub notices: RateLimit<Aor>,
    pub receipts: Arc<Receipts>,
}

/// Bytes of a typing notice or receipt with its headers; a larger one is not passed on.
const NOTICE_MAX: usize = 4096;

/// The same person is told of another's absence once in this time.
pub const AWAY_AGAIN: Duration = Duration::from_secs(3600);

/// What the devices made of a direct message.
enum Verdict {
    /// By a device; or by a next hop that says it stored it there.
    Taken { elsewhere: bool },
    /// Refused for good by all, and none is away.
    Refused(u16, Option<Arc<str>>),
    /// Nobody has taken it yet.
    Open,
}

impl Relay {
    /// A MESSAGE to an account. `lines`: headers that are passed on.
    pub async fn hear(&self, said: &Incoming, lines: Arc<str>) -> Result<Reply, Fault> {
        if is_automatic(said.content_type.as_deref(), &said.body) {
            if let Err(fault) = self.pass_on(said, &lines) {
                warn!(%fault, "a notice was not passed on");
            }
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
        let known = self.store.account(&said.target)?;
        if !self.focus.people.may_write(&said.speaker.aor, known.as_ref())? {
            return self.refuse(said, Refusal::NOT_WANTED);
        }
        if let Err(busy) = self.focus.pace_towards(&said.speaker.aor, &said.target) {
            return Ok(busy);
        }
        // Now or never: it is not kept for anybody (RFC 3428 §7).
        let kept = rules.offline && said.life != Some(0);
        let offline = kept && known.as_ref().is_none_or(|account| account.settings.offline);
        if let Some(account) = &known {
            let most = u64::from(rules.max_messages);
            if untaken(&self.store, account, now)? >= most {
                // What was taken a moment ago may not be known yet.
                self.delivery.settled(account.id).await;
                if untaken(&self.store, account, now)? >= most {
                    return self.refuse(said, Refusal::MAILBOX_FULL);
                }
            }
        }
        if !offline && !self.registrar.is_reachable(&said.target) {
            return self.refuse(said, Refusal::NOBODY_THERE);
        }
        let entry = NewEntry {
            place: Place::Mailbox(said.target.clone()),
            kind: EntryKind::Direct,
            sender: Some(said.speaker.aor.clone()),
            peer: Some(said.speaker.aor.clone()),
            source: said.source.clone(),
            content_type: said.content_type.clone(),
            headers: lines.clone(),
            body: said.body.clone(),
            at: now,
            expires: expires(now, said.life, rules.expire_time),
            hops: said.max_forwards - 1,
            private: said.private,
        };
        // Before it is offered: a contact that refuses it with 404 is no way any more when we come to ask.
        let ways = self.registrar.ways(&said.target);
        let accepted = Accepted { answer: Answer { status: 202 }, ..said.accepted };
        let copy = self.focus.own_copy(said, &entry)?;
        let entries = std::iter::once(entry).chain(copy).collect();
        let commit = Commit { room: None, entries, accepted: Some(accepted) };
        let seqs = match self.store.commit(commit).await? {
            Committed::Done { seqs } => seqs,
            Committed::Repeat(answer) => return Ok(answer.into()),
            Committed::Stale => return Err(Fault::Internal("a mailbox has no version".into())),
        };
        let account = self.store.account(&said.target)?;
        let (Some(&seq), Some(account)) = (seqs.first(), account) else {
            return Ok(Refusal::NO_SUCH_USER.into());
        };
        let patience = if offline { PATIENCE } else { PATIENCE_UNSTORED };
        match self.verdict(&account, seq, &ways, patience).await? {
            Verdict::Taken { elsewhere: true } => Ok(Reply::accepted()),
            Verdict::Taken { elsewhere: false } => {
                self.store.taken(said.accepted.origin);
                Ok(Reply::ok())
            }
            Verdict::Open if offline => {
                if let Err(fault) = self.tell_away(said, &lines) {
                    warn!(%fault, "the sender was not told that the recipient is away");
                }
                let kind = said.content_type.as_deref();
                self.receipts.stored(kind, &said.body, &said.speaker.aor, &said.target, now);
                Ok(Reply::accepted())
            }
            Verdict::Open => {
                self.withdraw(said, &account, seqs).await?;
                Ok(Refusal::NOBODY_THERE.into())
            }
            Verdict::Refused(status, accept) => {
                self.withdraw(said, &account, seqs).await?;
                Ok(Reply { accept, ..refusal(status) })
            }
        }
    }

    /// No, unless this is a repetition of what was accepted while it could be: that is no new attempt (spec §5.7).
    fn refuse(&self, said: &Incoming, refusal: Refusal) -> Result<Reply, Fault> {
        let before = self.store.accepted(&said.accepted.origin)?;
        Ok(before.map_or(refusal.into(), |known| known.answer.into()))
    }

    /// A typing notice or receipt goes to the recipient's phones that take it, now, or nowhere. Whoever sends it
    /// hears 200 whatever becomes of it: it is no message.
    fn pass_on(&self, said: &Incoming, lines: &str) -> Result<(), Fault> {
        let author = &said.speaker.aor;
        // An empty one had an encoding that nobody could undo.
        let readable = !said.body.is_empty() && said.body.len() + lines.len() <= NOTICE_MAX;
        if *author == said.target || said.max_forwards == 0 || !readable {
            return Ok(());
        }
        let Some(account) = self.store.account(&said.target)? else { return Ok(()) };
        if !self.focus.people.may_write(author, Some(&account))? {
            return Ok(());
        }
        let rate = self.focus.rules().posts_per_s;
        if self.notices.take(author.clone(), rate, std::time::Instant::now()).is_err() {
            return Ok(());
        }
        let aside = Aside {
            from: self.delivery.face(author, None),
            body: said.body.clone(),
            content_type: said.content_type.clone(),
            headers: lines.into(),
            hops: said.max_forwards - 1,
            at: self.focus.clock.wall(),
        };
        self.delivery.aside(account.id, None, aside);
        Ok(())
    }

    /// Takes a message back that nobody took, its author's copy with it. Repeated, it is a new attempt.
    async fn withdraw(&self, said: &Incoming, account: &Account, seqs: Vec<Seq>) -> Result<(), Fault> {
        self.store.withdraw(seqs.clone(), Some(said.accepted.origin)).await?;
        self.delivery.withdrawn(account.id, &seqs);
        if let Some(author) = self.store.account(&said.speaker.aor)?.filter(|_| seqs.len() > 1) {
            self.delivery.withdrawn(author.id, &seqs);
        }
        Ok(())
    }

    /// Tells the sender that the recipient is away, as `offline.notice` words it: once per conversation and hour,
    /// and never somebody who is abroad or a machine, which might answer.
    fn tell_away(&self, said: &Incoming, lines: &str) -> Result<(), Fault> {
        let rules = self.focus.rules();
        let (author, target) = (&said.speaker.aor, &said.target);
        if rules.notice.is_empty() || said.speaker.foreign || author == target || is_from_a_machine(lines) {
            return Ok(());
        }
        let pair = (author.clone(), target.clone());
        if !self.away.first(pair, std::time::Instant::now()) {
            return Ok(());
        }
        let near = target.host().eq_ignore_ascii_case(author.host());
        let words = rules.notice.replace("%u", if near { target.user() } else { target.as_str() });
        self.focus.tell_person(author, Some(said.flow.remote), &said.headers, said.max_forwards - 1, words)
    }

    /// Waits for the devices, as long as their answers can still change what the sender is told.
    async fn verdict(
        &self,
        account: &Account,
        seq: Seq,
        ways: &[Arc<str>],
        patience: Duration,
    ) -> Result<Verdict, Fault> {
        if ways.is_empty() {
            // Nobody is there who could answer.
            return Ok(Verdict::Open);
        }
        let mut answers = self.delivery.answers(account.id, seq);
        let deadline = Instant::now() + patience;
        let devices = self.store.view(account.id)?.devices.len();
        let mut refused: HashMap<Arc<str>, u16> = HashMap::new();
        let mut accept = None;
        while let Ok(Some(answer)) = timeout_at(deadline, answers.recv()).await {
            match weigh(&answer.contact, answer.status) {
                Outcome::Done => {
                    let elsewhere = answer.status == 202 && *answer.contact == *ROUTE_DEVICE;
                    return Ok(Verdict::Taken { elsewhere });
                }
                Outcome::GiveUp | Outcome::Convert | Outcome::Unbound => {
                    refused.insert(answer.contact, answer.status);
                    accept = answer.accept.or(accept);
                }
                // It is kept for him: the sender need not wait for what may take hours.
                _ => {}
            }
            let all = !ways.is_empty() && ways.iter().all(|way| refused.contains_key(way));
            if all && devices <= ways.len() {
                let status = best(refused.values().copied());
                return Ok(Verdict::Refused(status, accept.filter(|_| status == 415)));
            }
        }
        Ok(Verdict::Open)
    }
}

/// Header lines that a machine puts on what it sends by itself (RFC 3834 §5, as SIP gateways to mail pass it on).
fn is_from_a_machine(lines: &str) -> bool {
    lines.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        let (name, value) = (name.trim(), value.trim());
        name.eq_ignore_ascii_case("Auto-Submitted") && !value.eq_ignore_ascii_case("no")
            || name.eq_ignore_ascii_case("Precedence")
                && ["bulk", "junk", "list"].iter().any(|word| value.eq_ignore_ascii_case(word))
    })
}

fn weigh(contact: &str, status: u16) -> Outcome {
    // A proxy's 404 says that he is away, a phone's that it is not his (spec §5.5).
    if status == 0 { Outcome::Away } else { outcome(status, contact == ROUTE_DEVICE) }
}

/// The refusal that tells the sender most: the first in the order of RFC 3261 §16.7 step 6, 6xx before all.
fn best(statuses: impl Iterator<Item = u16>) -> u16 {
    statuses.min_by_key(|status| if *status >= 600 { 0 } else { *status }).unwrap_or(480)
}

/// A device's refusal as the sender is told: what concerns only our way to the device is "not there" (spec §5.4).
fn refusal(status: u16) -> Reply {
    match status {
        300..=399 | 401 | 403..=405 | 407 | 410 | 481..=483 => Refusal::NOBODY_THERE.into(),
        status => Reply::of(status, "Refused by the Recipient's Phone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_hears_the_refusal_that_says_most() {
        assert_eq!(best([486, 603].into_iter()), 603);
        assert_eq!(best([415, 488].into_iter()), 415);
        assert_eq!(refusal(404).status, 480);
        assert_eq!(refusal(302).status, 480);
        assert_eq!(refusal(488).status, 488);
    }

    #[test]
    fn what_a_machine_sends_is_known_by_its_headers() {
        for lines in ["Auto-Submitted: auto-replied\r\n", "X: y\r\nprecedence: Bulk\r\n"] {
            assert!(is_from_a_machine(lines), "{lines}");
        }
        for lines in
            ["", "Auto-Submitted: no\r\n", "Precedence: urgent\r\n", "Subject: Auto-Submitted: x\r\n"]
        {
            assert!(!is_from_a_machine(lines), "{lines}");
        }
    }

    #[test]
    fn a_proxy_that_finds_nobody_means_away_and_a_phone_means_no() {
        assert_eq!(weigh(ROUTE_DEVICE, 404), Outcome::Away);
        assert_eq!(weigh("sip:bob@192.0.2.7", 404), Outcome::Unbound);
    }
}
