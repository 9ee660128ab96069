//! The log of these tests: entries and spans in memory, read in pages as the service reads the store.
//!
//! Prevents that a test of delivery depends on a database. Keeps everything, forgets nothing.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use imcd::chat::outbox::Skips;
use imcd::chat::render::Aside;
use imcd::chat::shard::Page;
use imcd::types::{AccountId, Announcement, Aor, ConvId, Entry, EntryKind, Face, Seq, Span, UnixMs};

/// Entries of one page, as in the daemon.
pub const PAGE: usize = 64;
/// A day, in ms: longer than any test looks on.
pub const DAY: UnixMs = 86_400_000;

pub fn face(name: &str) -> Arc<Face> {
    Arc::new(Face { aor: Aor::new(name, "example.org").unwrap(), name: name.into() })
}

/// A post of `sender` to the room with this conversation. Tests change what matters to them.
pub fn post(conversation: ConvId, sender: (AccountId, &str), text: &str, at: UnixMs) -> Entry {
    Entry {
        seq: Seq(0),
        conversation,
        kind: EntryKind::Post,
        from: face("team"),
        sender: Some((sender.0, Aor::new(sender.1, "example.org").unwrap())),
        source: None,
        content_type: None,
        headers: "".into(),
        body: text.to_owned().into(),
        at,
        expires: at + DAY,
        hops: 69,
        private: false,
        rendered: OnceLock::new(),
        as_text: OnceLock::new(),
    }
}

/// A copy that nobody has rendered yet, as one read from a store is.
fn reread(entry: &Entry) -> Arc<Entry> {
    Arc::new(Entry {
        seq: entry.seq,
        conversation: entry.conversation,
        kind: entry.kind,
        from: entry.from.clone(),
        sender: entry.sender.clone(),
        source: entry.source.clone(),
        content_type: entry.content_type.clone(),
        headers: entry.headers.clone(),
        body: entry.body.clone(),
        at: entry.at,
        expires: entry.expires,
        hops: entry.hops,
        private: entry.private,
        rendered: OnceLock::new(),
        as_text: OnceLock::new(),
    })
}

#[derive(Default)]
pub struct Log {
    pub entries: Vec<Arc<Entry>>,
    pub spans: HashMap<AccountId, Vec<Span>>,
    /// `offline.room_max`; 0: all.
    pub room_max: usize,
}

impl Log {
    pub fn head(&self) -> Seq {
        self.entries.last().map_or(Seq(0), |entry| entry.seq)
    }

    /// Appends an entry. Seqs have gaps, as in the store.
    pub fn append(&mut self, mut entry: Entry) -> Arc<Entry> {
        entry.seq = Seq(self.head().0 + 1 + self.entries.len() as i64 % 3);
        let entry = Arc::new(entry);
        self.entries.push(entry.clone());
        entry
    }

    /// A member comes with this entry, which he is the first to see.
    pub fn join(&mut self, account: AccountId, entry: Entry) -> Announcement {
        let entry = self.append(entry);
        let span = Span { conversation: entry.conversation, since: entry.seq, until: None };
        self.spans.entry(account).or_default().push(span);
        Announcement { spans: vec![(account, span)], entries: vec![entry] }
    }

    /// A member goes with this entry, the last that he sees.
    pub fn leave(&mut self, account: AccountId, entry: Entry) -> Announcement {
        let entry = self.append(entry);
        let spans = self.spans.entry(account).or_default();
        let open = spans.iter_mut().find(|s| s.conversation == entry.conversation && s.until.is_none());
        let open = open.unwrap();
        open.until = Some(entry.seq);
        Announcement { spans: vec![(account, *open)], entries: vec![entry] }
    }

    pub fn is_member(&self, account: AccountId, conversation: ConvId) -> bool {
        let spans = self.spans.get(&account).into_iter().flatten();
        spans.into_iter().any(|span| span.conversation == conversation && span.until.is_none())
    }

    pub fn sees(&self, account: AccountId, entry: &Entry) -> bool {
        let spans = self.spans.get(&account).into_iter().flatten();
        spans.into_iter().any(|span| within(span, entry))
    }

    /// What the service answers to [`imcd::chat::shard::Event::Page`].
    pub fn page(
        &self,
        (slot, id, account): (u32, u64, AccountId),
        after: Seq,
        skips: Option<Skips>,
        now: UnixMs,
    ) -> Page {
        let spans = self.spans.get(&account).cloned().unwrap_or_default();
        let (skips, asides) = match skips {
            Some(skips) => (skips, Vec::new()),
            None => self.skips(&spans, after, now),
        };
        let wanted = |entry: &&Arc<Entry>| {
            let skipped = skips.iter().any(|(c, upto)| *c == entry.conversation && entry.seq <= *upto);
            let live = entry.seq > after && entry.expires > now;
            live && !skipped && spans.iter().any(|span| within(span, entry))
        };
        let from = self.entries.partition_point(|entry| entry.seq <= after);
        let mut entries: Vec<Arc<Entry>> =
            self.entries[from..].iter().filter(wanted).map(|e| reread(e)).collect();
        let more = entries.len() > PAGE;
        entries.truncate(PAGE);
        let through = if more { entries[PAGE - 1].seq } else { self.head().max(after) };
        Page { slot, id, entries, through, more, spans, skips, asides }
    }

    fn skips(&self, spans: &[Span], after: Seq, now: UnixMs) -> (Skips, Vec<Arc<Aside>>) {
        let (mut skips, mut asides) = (Vec::new(), Vec::new());
        for span in spans.iter().filter(|_| self.room_max > 0) {
            let waiting: Vec<&Arc<Entry>> = self
                .entries
                .iter()
                .filter(|e| e.seq > after && e.expires > now && within(span, e) && e.kind == EntryKind::Post)
                .collect();
            if waiting.len() > self.room_max {
                let first = waiting[waiting.len() - self.room_max];
                skips.push((span.conversation, Seq(first.seq.0 - 1)));
                let text = format!("*** {} earlier", waiting.len() - self.room_max);
                asides.push(Arc::new(aside("team", &text, now)));
            }
        }
        (skips.into(), asides)
    }
}

fn within(span: &Span, entry: &Entry) -> bool {
    span.conversation == entry.conversation
        && entry.seq >= span.since
        && span.until.is_none_or(|until| entry.seq <= until)
}

pub fn aside(from: &str, text: &str, at: UnixMs) -> Aside {
    Aside {
        from: (*face(from)).clone(),
        body: text.to_owned().into(),
        content_type: None,
        headers: "".into(),
        hops: 70,
        at,
    }
}
