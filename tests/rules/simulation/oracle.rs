//! What must be true at each step, and what everybody must have at the end.

use std::collections::{HashMap, HashSet};

use imcd::types::{AccountId, ConvId, Entry, Seq};

use super::phones::{Phone, parts};
use crate::delivery::judge::Sent;
use crate::delivery::log::Log;
use crate::delivery::world::port;

/// The text with this id, as it is shown. Its length and letters follow from the id.
pub fn body(id: u64) -> String {
    let letters = ["", "", "", " x", " y"][id as usize * 7 % 5];
    let size = [0, 0, 0, 0, 40, 700, 2500][id as usize * 5 % 7];
    let long: String = ('一'..).take(size / 3).collect();
    format!("#{id}{letters} {long}")
}

/// `whole` as it has to be: the author's prefix and the text of `id`.
pub fn text_of(whole: &str, id: u64) -> String {
    let prefix = whole.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    match prefix {
        Some((author, _)) => format!("[{author}]: {}", body(id)),
        None => body(id),
    }
}

/// A post's or notice's id, from the header that all its parts carry.
pub fn id_of(sent: &Sent) -> Option<u64> {
    sent.header("In-Reply-To")?.split_once('@')?.0.parse().ok()
}

/// Number, count and bytes, so that parts of another cut are others; 0 of 1 for a whole text.
type Part = (usize, usize, usize);

fn part_of(sent: &Sent) -> Part {
    match parts(&sent.body) {
        (_, 1, _) => (0, 1, 0),
        (part, total, _) => (part, total, sent.body.len()),
    }
}

#[derive(Default)]
pub struct Oracle {
    /// By id.
    pub entries: HashMap<u64, std::sync::Arc<Entry>>,
    /// Transactions open, by Request-URI: nonce, since when (ms).
    pub open: HashMap<String, (u64, u64)>,
    /// What a Call-ID stands for, and the other way round.
    call_ids: HashMap<String, (AccountId, String, Seq, Part)>,
    meanings: HashMap<(AccountId, String, Seq, Part), String>,
    /// Highest CSeq by Call-ID, and where it went.
    cseqs: HashMap<String, (u32, u16)>,
    /// Taken, and the shard has heard the 2xx: (Request-URI's phone, seq, part).
    confirmed: HashSet<(usize, Seq, Part)>,
    /// Head of the log when a device was first known: what comes after is owed to it.
    born: HashMap<(AccountId, &'static str), Seq>,
    /// The same for the present outbox of each phone.
    pub session: HashMap<usize, Seq>,
    /// Conversations shortened for an account: from, to.
    pub skipped: HashMap<AccountId, Vec<(ConvId, Seq, Seq)>>,
}

impl Oracle {
    /// A request leaves for a phone, for the first time.
    pub fn sending(&mut self, at: u64, phone: usize, phones: &[Phone], log: &Log, sent: &Sent, now: i64) {
        let who = &phones[phone];
        let open = self.open.get(&sent.uri).filter(|(_, since)| at < since + 32_000);
        assert!(open.is_none(), "two transactions open towards {}", sent.uri);
        self.open.insert(sent.uri.clone(), (sent.branch.nonce, at));
        let Some(id) = id_of(sent) else { return };
        let entry = &self.entries[&id];
        assert!(log.sees(who.account.0, entry), "{} is not to see {id}", who.account.1);
        assert!(entry.sender.as_ref().is_none_or(|(author, _)| *author != who.account.0), "his own");
        assert!(entry.expires > now, "{id} has expired");
        let part = part_of(sent);
        let meaning = (who.account.0, who.device.to_owned(), entry.seq, part);
        let known = self.call_ids.entry(sent.call_id.clone()).or_insert_with(|| meaning.clone());
        assert_eq!(*known, meaning, "one Call-ID, two messages");
        let known = self.meanings.entry(meaning).or_insert_with(|| sent.call_id.clone());
        assert_eq!(*known, sent.call_id, "one message, two Call-IDs");
        // Of the contacts of the default device each counts for itself.
        let contact = format!("{} {}", sent.call_id, if who.device.is_empty() { who.port } else { 0 });
        if let Some((last, at)) = self.cseqs.insert(contact, (sent.cseq, port(sent))) {
            // The next target gets the very request that one before did not take.
            let next = sent.cseq == last && at != port(sent);
            assert!(sent.cseq > last || next, "CSeq rises over retries: {} after {last}", sent.cseq);
        }
        assert!(
            !self.confirmed.contains(&(phone, entry.seq, part)),
            "{id} part {part:?} was taken before by {} {:?}, and no crash since: {sent:?}",
            who.account.1,
            who.device
        );
    }

    /// The shard hears a final answer.
    pub fn answered(&mut self, at: u64, phone: usize, sent: &Sent, status: u16) {
        // After Timer F it comes too late.
        let open = self.open.get(&sent.uri);
        if open.is_none_or(|(nonce, since)| *nonce != sent.branch.nonce || at >= since + 32_000) {
            return;
        }
        self.open.remove(&sent.uri);
        if let (200..=299, Some(id)) = (status, id_of(sent)) {
            self.confirmed.insert((phone, self.entries[&id].seq, part_of(sent)));
        }
    }

    /// The shard hears that there is a way to this phone now.
    pub fn reached(&mut self, phone: usize, who: &Phone, head: Seq) {
        self.session.entry(phone).or_insert(head);
        self.born.entry((who.account.0, who.device)).or_insert(head);
    }

    pub fn left(&mut self, phone: usize, uri: &str) {
        self.session.remove(&phone);
        self.open.remove(uri);
        // A position is that of whole messages: parts of one may come again.
        self.confirmed.retain(|(who, _, part)| *who != phone || part.1 == 1);
    }

    /// `remembered`: it has a binding, or a position on disk. A device that was here for a moment and has neither
    /// is new when it comes again.
    pub fn crashed(&mut self, remembered: impl Fn(AccountId, &str) -> bool) {
        self.born.retain(|(account, device), _| remembered(*account, device));
        self.open.clear();
        self.confirmed.clear();
        self.session.clear();
    }

    fn owed<'a>(
        &'a self,
        log: &'a Log,
        account: AccountId,
        since: Seq,
        now: i64,
    ) -> impl Iterator<Item = u64> + 'a {
        let mut ids: Vec<(Seq, u64)> = self
            .entries
            .iter()
            .filter(|(_, e)| e.seq > since && e.expires > now && log.sees(account, e))
            .filter(|(_, e)| e.sender.as_ref().is_none_or(|(author, _)| *author != account))
            .filter(move |(_, e)| !self.is_skipped(account, e))
            .map(|(id, e)| (e.seq, *id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id)
    }

    fn is_skipped(&self, account: AccountId, e: &Entry) -> bool {
        let mut all = self.skipped.get(&account).into_iter().flatten();
        all.any(|(c, from, to)| *c == e.conversation && e.seq > *from && e.seq <= *to)
    }

    /// All is quiet, all phones are good and bound: everybody has what is his.
    pub fn judge(&self, phones: &[Phone], log: &Log, now: i64) {
        for phone in phones {
            // What was refused, and forgotten in a crash, may come again later and be taken; the last packet of
            // what then expired may be overtaken.
            let lasting = |id: &&u64| self.entries[id].expires > now;
            // What was passed over before a crash may be among the newest after it, when others have expired.
            let told = |id: &&u64| !self.is_skipped(phone.account.0, &self.entries[id]);
            let taken =
                phone.taken.iter().filter(|id| !phone.refused.contains(id)).filter(lasting).filter(told);
            let seqs: Vec<Seq> = taken.map(|id| self.entries[id].seq).collect();
            assert!(seqs.is_sorted(), "{} {}: out of order: {seqs:?}", phone.account.1, phone.device);
        }
        for ((account, device), born) in &self.born {
            let all: Vec<&Phone> =
                phones.iter().filter(|p| p.account.0 == *account && p.device == *device).collect();
            for id in self.owed(log, *account, *born, now) {
                let has = all.iter().any(|p| p.has.contains(&id) || p.refused.contains(&id));
                assert!(has, "{} {device:?} never got {id} ({:?})", all[0].account.1, self.entries[&id].seq);
            }
        }
        for (phone, since) in &self.session {
            let phone = &phones[*phone];
            for id in self.owed(log, phone.account.0, *since, now) {
                let has = phone.has.contains(&id) || phone.refused.contains(&id);
                assert!(has, "{}:{} has not got {id} since it is bound", phone.account.1, phone.port);
            }
        }
    }
}
