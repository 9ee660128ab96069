//! Reading the log: pages for devices that are behind, counts, history.
//!
//! Prevents that a device in thousands of rooms costs a query for each of them: only conversations with something
//! above its position are asked, and they are merged. Nobody may assume that seqs are dense. Never reads outside
//! the spans it is given.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dashmap::DashMap;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Store;
use super::rooms::address;
use super::turn::{device_key, face_of};
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, ConvId, Entry, EntryKind, Face, Seq, Span, UnixMs};

/// Rows looked at for one page, so that a long stretch of expired entries cannot hold a thread.
const BUDGET: usize = 4096;
/// Rows that are walked through at once for a device in many rooms, before its rooms are asked one by one.
const WALK: i64 = 512;
/// Rows that are walked through in the time of asking one conversation.
const SEEK: i64 = 4;
/// Conversations that are few enough to be asked at once.
const FEW: usize = 16;

/// A piece of the log for one device.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Rising seq.
    pub entries: Vec<Arc<Entry>>,
    /// Nothing up to here is missing.
    pub through: Seq,
    /// There may be more above `through`. A page may be empty and have more.
    pub more: bool,
}

/// A statement on rows of the log with what an [`Entry`] is made of.
macro_rules! rows {
    ($rest:literal) => {
        concat!(
            "SELECT l.seq, l.conversation, l.kind, l.sender, a.username, a.domain, l.peer, l.source,
                l.content_type, l.headers, l.body, l.at, l.expires, l.hops, l.private, a.name
             FROM log l LEFT JOIN account a ON a.id = l.sender ",
            $rest
        )
    };
}

/// Fills in the newest seq of every conversation that has entries: one seek for each.
pub(super) fn load_heads(conn: &Connection, heads: &DashMap<ConvId, Seq>) -> rusqlite::Result<()> {
    let mut newest = conn.prepare(
        "SELECT conversation, seq FROM log WHERE conversation < ?1
         ORDER BY conversation DESC, seq DESC LIMIT 1",
    )?;
    let mut above = i64::MAX;
    while let Some((conversation, seq)) =
        newest.query_row([above], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
    {
        heads.insert(ConvId(conversation), Seq(seq));
        above = conversation;
    }
    Ok(())
}

fn kind(number: i64) -> Option<EntryKind> {
    [EntryKind::Post, EntryKind::Notice, EntryKind::Direct, EntryKind::Sent]
        .into_iter()
        .find(|kind| *kind as i64 == number)
}

/// Faces met in one question.
#[derive(Default)]
pub(super) struct Faces(HashMap<ConvId, Arc<Face>>);

impl Faces {
    fn of(&mut self, conn: &Connection, conversation: ConvId) -> rusqlite::Result<Option<Arc<Face>>> {
        if let Some(face) = self.0.get(&conversation) {
            return Ok(Some(face.clone()));
        }
        let found = conn
            .prepare_cached("SELECT address, title FROM conversation WHERE id = ?1")?
            .query_row([conversation.0], |row| {
                let title = row.get_ref(1)?.as_str_or_null()?;
                Ok(Aor::parse(row.get_ref(0)?.as_str()?).map(|address| face_of(&address, title)))
            })
            .optional()?
            .flatten();
        if let Some(face) = &found {
            self.0.insert(conversation, face.clone());
        }
        Ok(found)
    }

    /// Of a room that speaks in somebody's mailbox: by its title, as in the room.
    fn of_room(conn: &Connection, room: &Aor) -> rusqlite::Result<Arc<Face>> {
        let title: Option<Option<String>> = conn
            .prepare_cached(
                "SELECT title FROM conversation WHERE address = ?1 AND kind = 1 ORDER BY id DESC LIMIT 1",
            )?
            .query_row([room.as_str()], |row| row.get(0))
            .optional()?;
        Ok(face_of(room, title.flatten().as_deref()))
    }

    /// The entry with this seq; `None`: there is none.
    pub(super) fn at(&mut self, conn: &Connection, seq: Seq) -> rusqlite::Result<Option<Arc<Entry>>> {
        let mut statement = conn.prepare_cached(rows!("WHERE l.seq = ?1"))?;
        let mut rows = statement.query([seq.0])?;
        match rows.next()? {
            Some(row) => self.entry(conn, row),
            None => Ok(None),
        }
    }

    /// `None`: the row is not one that we could have written.
    fn entry(&mut self, conn: &Connection, row: &Row<'_>) -> rusqlite::Result<Option<Arc<Entry>>> {
        let seq = Seq(row.get(0)?);
        let conversation = ConvId(row.get(1)?);
        let Some(kind) = kind(row.get(2)?) else { return Ok(None) };
        let sender = match row.get::<_, Option<i64>>(3)? {
            Some(id) if row.get_ref(4)?.as_str_or_null()?.is_some() => {
                address(row, 4, 5)?.map(|who| (AccountId(id), who))
            }
            _ => None,
        };
        let peer = row.get_ref(6)?.as_str_or_null()?.and_then(Aor::parse);
        let from = match peer {
            Some(peer) if kind == EntryKind::Notice => Some(Self::of_room(conn, &peer)?),
            Some(peer) => {
                let own = sender.as_ref().is_some_and(|(_, author)| *author == peer);
                let name = if own { row.get_ref(15)?.as_str_or_null()? } else { None };
                Some(face_of(&peer, name))
            }
            None => self.of(conn, conversation)?,
        };
        let Some(from) = from else { return Ok(None) };
        Ok(Some(Arc::new(Entry {
            seq,
            conversation,
            kind,
            from,
            sender,
            source: row.get_ref(7)?.as_str_or_null()?.map(device_key),
            content_type: row.get_ref(8)?.as_str_or_null()?.map(Into::into),
            headers: row.get_ref(9)?.as_str_or_null()?.unwrap_or("").into(),
            body: Bytes::copy_from_slice(row.get_ref(10)?.as_blob()?),
            at: row.get(11)?,
            expires: row.get(12)?,
            hops: row.get(13)?,
            private: row.get(14)?,
            rendered: OnceLock::new(),
            as_text: OnceLock::new(),
        })))
    }
}

/// What is left to read of one span.
struct Reach {
    conversation: ConvId,
    low: i64,
    high: i64,
    /// Seqs read ahead, rising.
    ahead: VecDeque<i64>,
}

impl Reach {
    fn refill(&mut self, conn: &Connection, chunk: usize) -> rusqlite::Result<()> {
        if !self.ahead.is_empty() || self.low > self.high {
            return Ok(());
        }
        let mut statement = conn.prepare_cached(
            "SELECT seq FROM log WHERE conversation = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4",
        )?;
        let mut rows = statement.query([self.conversation.0, self.low, self.high, chunk as i64])?;
        while let Some(row) = rows.next()? {
            self.ahead.push_back(row.get(0)?);
        }
        self.low = if self.ahead.len() < chunk { self.high + 1 } else { self.ahead[chunk - 1] + 1 };
        Ok(())
    }
}

/// One page being put together.
struct Reading<'c> {
    conn: &'c Connection,
    faces: Faces,
    now: UnixMs,
    limit: usize,
    /// A sender's own copies are delivered too.
    sent_too: bool,
    budget: usize,
    page: Page,
}

impl Reading<'_> {
    /// Puts the entry into the page if it is to be delivered.
    fn take(&mut self, seq: i64) -> rusqlite::Result<()> {
        let mut statement = self.conn.prepare_cached(rows!("WHERE l.seq = ?1"))?;
        let mut rows = statement.query([seq])?;
        if let Some(row) = rows.next()? {
            let delivered = self.sent_too || row.get::<_, i64>(2)? != EntryKind::Sent as i64;
            if delivered && row.get::<_, i64>(12)? > self.now {
                self.page.entries.extend(self.faces.entry(self.conn, row)?);
            }
        }
        self.budget -= 1;
        self.page.through = Seq(seq);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.page.entries.len() >= self.limit || self.budget == 0
    }

    /// For many conversations: the next rows of the log, whosesoever they are. Rooms that are alive show up here at
    /// once. Goes on while that is cheaper than asking every conversation. Returns false if the page is full.
    fn walk(&mut self, reaches: &mut [Reach], head: i64) -> rusqlite::Result<bool> {
        let mut by_conversation: HashMap<ConvId, Vec<(i64, i64)>> = HashMap::with_capacity(reaches.len());
        for reach in reaches.iter() {
            by_conversation.entry(reach.conversation).or_default().push((reach.low, reach.high));
        }
        let is_his = |conversation: i64, seq: i64| {
            let spans = by_conversation.get(&ConvId(conversation));
            spans.is_some_and(|spans| spans.iter().any(|(low, high)| (*low..=*high).contains(&seq)))
        };
        let mut statement = self.conn.prepare_cached(
            "SELECT seq, conversation FROM log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut last = self.page.through.0;
        let mut walked = 0;
        loop {
            let mut rows = statement.query([last, head, WALK])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count += 1;
                last = row.get(0)?;
                if is_his(row.get(1)?, last) {
                    self.take(last)?;
                    if self.is_full() {
                        return Ok(false);
                    }
                }
            }
            walked += count;
            let found = self.page.entries.len() as i64;
            let to_walk = (self.limit as i64 - found).saturating_mul(walked) / found.max(1);
            if count < WALK {
                last = head;
            }
            if count < WALK || found == 0 || to_walk > SEEK * reaches.len() as i64 {
                break;
            }
        }
        self.page.through = Seq(last);
        for reach in reaches {
            reach.low = reach.low.max(last + 1);
        }
        Ok(true)
    }

    /// Merges what the conversations hold, lowest seq first.
    fn merge(&mut self, mut reaches: Vec<Reach>, head: i64) -> rusqlite::Result<()> {
        let chunk = (self.limit / reaches.len().max(1)).clamp(1, 64);
        let mut heap = BinaryHeap::with_capacity(reaches.len());
        for (index, reach) in reaches.iter_mut().enumerate() {
            reach.refill(self.conn, chunk)?;
            heap.extend(reach.ahead.pop_front().map(|seq| Reverse((seq, index))));
        }
        while let Some(Reverse((seq, index))) = heap.pop() {
            // Two spans of one conversation never hold the same seq, unless the caller gave one twice.
            if seq > self.page.through.0 {
                self.take(seq)?;
            }
            let reach = &mut reaches[index];
            reach.refill(self.conn, chunk)?;
            heap.extend(reach.ahead.pop_front().map(|seq| Reverse((seq, index))));
            if self.is_full() {
                self.page.more = !heap.is_empty();
                break;
            }
        }
        if !self.page.more {
            self.page.through = Seq(head);
        }
        Ok(())
    }
}

impl Store {
    /// The next at most `limit` entries above `after` within the spans that are to be delivered: not expired at
    /// `now`, and not a sender's own copy.
    pub fn page(&self, spans: &[Span], after: Seq, limit: usize, now: UnixMs) -> Result<Page, Fault> {
        self.page_of(spans, (after, Seq(i64::MAX)), limit, now, false)
    }

    /// The same of what lies above `after` up to `upto`, with a sender's own copies if `sent_too`. `upto`: the head
    /// before the spans were read; the page says nothing about what came since.
    pub fn page_of(
        &self,
        spans: &[Span],
        (after, upto): (Seq, Seq),
        limit: usize,
        now: UnixMs,
        sent_too: bool,
    ) -> Result<Page, Fault> {
        let shared = &self.0.shared;
        // Heads are moved before the head: what lies below it is seen in them.
        let head = self.head().0.min(upto.0);
        let mut reaches = Vec::new();
        for span in spans {
            let Some(newest) = shared.heads.get(&span.conversation).map(|seq| seq.0) else { continue };
            let low = span.since.0.max(after.0 + 1);
            let high = span.until.map_or(newest, |until| until.0.min(newest)).min(head);
            if low <= high {
                let reach = Reach { conversation: span.conversation, low, high, ahead: VecDeque::new() };
                reaches.push(reach);
            }
        }
        if reaches.is_empty() || limit == 0 {
            let through = if reaches.is_empty() { Seq(head.max(after.0)) } else { after };
            return Ok(Page { entries: Vec::new(), through, more: !reaches.is_empty() });
        }
        shared.readers.ask(|conn| {
            let mut reading = Reading {
                conn,
                faces: Faces::default(),
                now,
                limit,
                sent_too,
                budget: BUDGET,
                page: Page { entries: Vec::new(), through: after, more: false },
            };
            if reaches.len() > FEW && !reading.walk(&mut reaches, head)? {
                reading.page.more = true;
                return Ok(reading.page);
            }
            reaches.retain(|reach| reach.low <= reach.high);
            reading.merge(reaches, head)?;
            Ok(reading.page)
        })
    }

    /// Messages (posts and direct ones, no notices) in the span above `after`, not expired at `now`.
    pub fn count_after(&self, span: &Span, after: Seq, now: UnixMs) -> Result<u64, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT count(*) FROM log WHERE conversation = ?1 AND seq BETWEEN ?2 AND ?3
                    AND kind IN (1, 3) AND expires > ?4",
            )?
            .query_row(
                [
                    span.conversation.0,
                    span.since.0.max(after.0 + 1),
                    span.until.map_or(i64::MAX, |until| until.0),
                    now,
                ],
                |row| Ok(row.get::<_, i64>(0)?.max(0) as u64),
            )
        })
    }

    /// Those of [`Store::count_after`] that came after `since`, and not after `now`: clocks are set back.
    pub fn count_young(&self, span: &Span, after: Seq, since: UnixMs, now: UnixMs) -> Result<u64, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT count(*) FROM log WHERE conversation = ?1 AND seq BETWEEN ?2 AND ?3
                    AND kind IN (1, 3) AND expires > ?5 AND at > ?4 AND at <= ?5",
            )?
            .query_row(
                [
                    span.conversation.0,
                    span.since.0.max(after.0 + 1),
                    span.until.map_or(i64::MAX, |until| until.0),
                    since,
                    now,
                ],
                |row| Ok(row.get::<_, i64>(0)?.max(0) as u64),
            )
        })
    }

    /// The seq of the n-th newest message (post or direct one) in the span, from 1; `None`: there are fewer.
    pub fn nth_newest(&self, span: &Span, n: u32) -> Result<Option<Seq>, Fault> {
        let Some(offset) = n.checked_sub(1) else { return Ok(None) };
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT seq FROM log WHERE conversation = ?1 AND seq BETWEEN ?2 AND ?3 AND kind IN (1, 3)
                 ORDER BY seq DESC LIMIT 1 OFFSET ?4",
            )?
            .query_row(
                params![
                    span.conversation.0,
                    span.since.0,
                    span.until.map_or(i64::MAX, |until| until.0),
                    offset
                ],
                |row| row.get(0).map(Seq),
            )
            .optional()
        })
    }

    /// The last `n` posts of a conversation that this account may see, oldest first; also those whose delivery has
    /// ended.
    pub fn history(
        &self,
        conversation: ConvId,
        account: AccountId,
        n: usize,
    ) -> Result<Vec<Arc<Entry>>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut faces = Faces::default();
            let mut statement = conn.prepare_cached(rows!(
                "WHERE l.conversation = ?1 AND l.kind = 1 AND EXISTS
                    (SELECT 1 FROM span s WHERE s.account = ?2 AND s.conversation = ?1
                        AND l.seq >= s.since AND (s.until IS NULL OR l.seq <= s.until))
                 ORDER BY l.seq DESC LIMIT ?3"
            ))?;
            let mut rows = statement.query([conversation.0, account.0, n.min(1000) as i64])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.extend(faces.entry(conn, row)?);
            }
            entries.reverse();
            Ok(entries)
        })
    }

    /// The last `n` posts of a conversation, oldest first, whoever may see them.
    pub fn posts(&self, conversation: ConvId, n: usize) -> Result<Vec<Arc<Entry>>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut faces = Faces::default();
            let mut statement = conn.prepare_cached(rows!(
                "WHERE l.conversation = ?1 AND l.kind = 1 ORDER BY l.seq DESC LIMIT ?2"
            ))?;
            let mut rows = statement.query([conversation.0, n.min(1000) as i64])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.extend(faces.entry(conn, row)?);
            }
            entries.reverse();
            Ok(entries)
        })
    }
}
