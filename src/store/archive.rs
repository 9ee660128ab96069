//! The archive: what people ask of what was said, and the thread that looks it up.
//!
//! These questions may take a while, and a search waits for its index: one thread answers them, one after another,
//! and builds the index in between. Prevents that a question of one person holds up a shard, a page or a post.
//! Never shows anybody what lies outside his mailbox and his spans.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::pages::Faces;
use super::search::{Index, file_of, is_damaged, remove};
use super::turn::device_key;
use super::{Shared, Store, sqlite, writer};
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, ConvId, DeviceKey, Entry, EntryKind, Seq, Span};

/// Questions that may wait; above it the archive is unavailable.
const QUEUE: usize = 256;
/// How often somebody looks whether there is something new to index: the most that an idle index lags.
const IDLE: Duration = Duration::from_secs(1);
/// Pause between two slices while others post: posting comes first.
const POLITE: Duration = Duration::from_millis(20);
/// After an index that could not be written.
const RETRY: Duration = Duration::from_secs(30);
/// Slices that a search waits for, so that it finds what was said a moment ago.
const CATCH_UP: usize = 8;
/// Letters of a mailbox that are looked at for one answer.
const LETTERS: i64 = 65_536;
/// Rows read at once.
const CHUNK: i64 = 1024;
/// A conversation in which more was missed is counted no further.
const MISSED_MAX: usize = 1000;
/// Conversations whose newest messages are considered for the lines of what was missed.
const MISSED_PLACES: usize = 64;

/// What was missed of one person or room.
#[derive(Clone, Debug)]
pub struct MissedOf {
    /// The newest of it.
    pub entry: Arc<Entry>,
    pub count: usize,
    /// It was counted no further.
    pub more: bool,
}

/// What was said while a device was away.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// By person and room; the latest first.
    pub counts: Vec<MissedOf>,
    /// The newest of them, oldest first.
    pub newest: Vec<Arc<Entry>>,
}

/// What a question has at hand.
struct Room {
    shared: Arc<Shared>,
    log: Connection,
    /// `None`: nothing is kept here that could be searched, or it could not be opened; see `again`.
    index: Option<Index>,
    /// When to try to open the index.
    again: Option<Instant>,
    /// The head when it was looked at last.
    seen: i64,
}

/// How a search ended.
enum Search {
    Found(Vec<Arc<Entry>>),
    /// The index could not be written lately.
    Later,
    /// Nothing is kept here that could be searched.
    Never,
}

type Question = Box<dyn FnOnce(&mut Room) + Send>;

/// The way to the thread. It ends when this is closed.
pub(super) struct Archive {
    ask: Mutex<Option<SyncSender<Question>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// How far the index is.
    indexed: Arc<AtomicI64>,
}

impl Archive {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Archive, Fault> {
        let (ask, questions) = sync_channel(QUEUE);
        let options = &shared.options;
        let log = sqlite::open_reader(&options.path, options.busy_timeout).map_err(sqlite::fault)?;
        let kept = !options.history_keep.is_zero();
        let indexed = Arc::new(AtomicI64::new(0));
        let mut room = Room { shared, log, index: None, again: kept.then(Instant::now), seen: 0 };
        if !kept {
            // What may not be read again is not left in an index of former days either.
            remove(&file_of(&room.shared.options.path));
        }
        let place = indexed.clone();
        let thread = std::thread::Builder::new()
            .name("archive".into())
            .spawn(move || room.run(&questions, &place))
            .map_err(|error| Fault::Unavailable(error.to_string()))?;
        Ok(Archive { ask: Mutex::new(Some(ask)), thread: Mutex::new(Some(thread)), indexed })
    }

    pub(super) fn close(&self) {
        drop(self.ask.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the archive's thread panicked");
        }
    }
}

impl Room {
    fn run(&mut self, questions: &Receiver<Question>, place: &AtomicI64) {
        let mut pause = Duration::ZERO;
        loop {
            match questions.recv_timeout(pause) {
                Ok(question) => question(self),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => pause = self.work(),
            }
            place.store(self.index.as_ref().map_or(0, Index::cursor), Ordering::Relaxed);
        }
    }

    /// A slice of the index. Returns how long to wait for the next.
    fn work(&mut self) -> Duration {
        let head = self.shared.head.load(Ordering::Acquire);
        let busy = std::mem::replace(&mut self.seen, head) != head;
        match self.slice(head) {
            Ok(true) if busy => POLITE,
            Ok(true) => Duration::ZERO,
            Ok(false) => {
                let swept = match &mut self.index {
                    Some(index) => index.sweep(&self.log),
                    None => Ok(()),
                };
                if let Err(error) = swept {
                    self.broken(&error);
                }
                IDLE
            }
            Err(error) => {
                self.broken(&error);
                IDLE
            }
        }
    }

    /// True: something was taken in.
    fn slice(&mut self, head: i64) -> rusqlite::Result<bool> {
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.again = None;
            self.index = Some(Index::open(&file_of(&self.shared.options.path), &self.log)?);
        }
        match &mut self.index {
            Some(index) => index.advance(&self.log, head),
            None => Ok(false),
        }
    }

    fn broken(&mut self, error: &rusqlite::Error) {
        tracing::warn!(%error, "the search index is not kept up");
        self.index = None;
        self.again = Some(Instant::now() + RETRY);
        if is_damaged(error) {
            remove(&file_of(&self.shared.options.path));
        }
    }

    fn entries(&self, seqs: impl IntoIterator<Item = Seq>) -> rusqlite::Result<Vec<Arc<Entry>>> {
        let mut faces = Faces::default();
        let mut entries = Vec::new();
        for seq in seqs {
            entries.extend(faces.at(&self.log, seq)?);
        }
        Ok(entries)
    }

    /// Spans in which something was said above `after`.
    fn spans(&self, account: AccountId, after: i64) -> rusqlite::Result<(Option<ConvId>, Vec<Span>)> {
        let Some((_, mailbox, mut spans)) = super::accounts::spans_of(&self.log, account)? else {
            return Ok((None, Vec::new()));
        };
        spans.retain(|span| self.shared.heads.get(&span.conversation).is_some_and(|head| head.0 > after));
        Ok((Some(mailbox), spans))
    }

    fn search(
        &mut self,
        account: AccountId,
        words: &[String],
        limit: usize,
        mailbox_too: bool,
    ) -> rusqlite::Result<Search> {
        let head = self.shared.head.load(Ordering::Acquire);
        for _ in 0..CATCH_UP {
            match self.slice(head) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.broken(&error);
                    break;
                }
            }
        }
        let Some(index) = &self.index else {
            return Ok(if self.again.is_some() { Search::Later } else { Search::Never });
        };
        let (mailbox, mut spans) = self.spans(account, 0)?;
        spans.retain(|span| mailbox_too || Some(span.conversation) != mailbox);
        let hits = if words.is_empty() { Vec::new() } else { index.find(&self.log, &spans, words, limit)? };
        self.entries(hits).map(Search::Found)
    }

    fn letters(&self, mailbox: ConvId, with: Option<&Aor>, n: usize) -> rusqlite::Result<Vec<Arc<Entry>>> {
        let mut select = self.log.prepare_cached(
            "SELECT seq, kind, peer FROM log WHERE conversation = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
        )?;
        let (mut found, mut before, mut looked) = (Vec::new(), i64::MAX, 0);
        while found.len() < n && looked < LETTERS {
            let mut rows = select.query([mailbox.0, before, CHUNK])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count += 1;
                before = row.get(0)?;
                let kind: i64 = row.get(1)?;
                let letter = kind == EntryKind::Direct as i64 || kind == EntryKind::Sent as i64;
                let peer = row.get_ref(2)?.as_str_or_null()?;
                let his =
                    with.is_none_or(|with| peer.is_some_and(|peer| with.as_str().eq_ignore_ascii_case(peer)));
                if letter && his {
                    found.push(Seq(before));
                    if found.len() == n {
                        break;
                    }
                }
            }
            looked += CHUNK;
            if count < CHUNK {
                break;
            }
        }
        found.reverse();
        self.entries(found)
    }

    fn missed(
        &self,
        account: AccountId,
        device: Option<&str>,
        lines: usize,
    ) -> rusqlite::Result<Option<Missed>> {
        let Some((from, upto)) = self.absence(account, device)? else { return Ok(None) };
        let (mailbox, mut spans) = self.spans(account, from)?;
        let newest = |span: &Span| self.shared.heads.get(&span.conversation).map_or(0, |head| head.0);
        spans.sort_by_key(|span| std::cmp::Reverse(newest(span)));
        // By whom or what it was from: the newest seq, how many, whether there may be more.
        let mut counts: Vec<(i64, usize, bool)> = Vec::new();
        let mut seqs: Vec<i64> = Vec::new();
        let mut select = self.log.prepare_cached(
            "SELECT seq, peer FROM log WHERE conversation = ?1 AND seq BETWEEN ?2 AND ?3
                AND kind IN (1, 3) AND sender IS NOT ?4 ORDER BY seq DESC LIMIT ?5",
        )?;
        for (place, span) in spans.iter().enumerate() {
            let low = span.since.0.max(from + 1);
            let high = span.until.map_or(upto, |until| until.0.min(upto));
            let mut rows =
                select.query(params![span.conversation.0, low, high, account.0, MISSED_MAX as i64])?;
            let mut by_peer: Vec<(Option<String>, i64, usize)> = Vec::new();
            let (mut taken, mut all) = (0, 0);
            while let Some(row) = rows.next()? {
                all += 1;
                let (seq, peer): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
                if taken < lines && place < MISSED_PLACES {
                    taken += 1;
                    seqs.push(seq);
                }
                let peer =
                    peer.filter(|_| Some(span.conversation) == mailbox).map(|p| p.to_ascii_lowercase());
                match by_peer.iter_mut().find(|(known, ..)| *known == peer) {
                    Some((_, _, count)) => *count += 1,
                    None => by_peer.push((peer, seq, 1)),
                }
            }
            let more = all == MISSED_MAX;
            counts.extend(by_peer.into_iter().map(|(_, seq, count)| (seq, count, more)));
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        seqs.sort_unstable();
        let newest = seqs.split_off(seqs.len().saturating_sub(lines));
        let mut faces = Faces::default();
        let mut missed = Missed { counts: Vec::new(), newest: self.entries(newest.into_iter().map(Seq))? };
        for (seq, count, more) in counts {
            if let Some(entry) = faces.at(&self.log, Seq(seq))? {
                missed.counts.push(MissedOf { entry, count, more });
            }
        }
        Ok(Some(missed))
    }

    /// The last absence of this device, else the latest of all his devices.
    fn absence(&self, account: AccountId, device: Option<&str>) -> rusqlite::Result<Option<(i64, i64)>> {
        let mut select = self.log.prepare_cached(
            "SELECT instance, away_from, away_to FROM device
             WHERE account = ?1 AND away_to IS NOT NULL ORDER BY away_to DESC",
        )?;
        let mut rows = select.query([account.0])?;
        let mut latest = None;
        while let Some(row) = rows.next()? {
            let interval = (row.get(1)?, row.get(2)?);
            match device {
                Some(device) if *device_key(row.get_ref(0)?.as_str()?) == *device => {
                    return Ok(Some(interval));
                }
                _ => latest = latest.or(Some(interval)),
            }
        }
        Ok(latest.filter(|_| device.is_none()))
    }
}

impl Store {
    /// The newest at most `limit` messages with all these words in what an account may see, newest first; his
    /// mailbox only with `mailbox_too`. `None`: there is no index, as nothing is kept here.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] while the index cannot be written.
    ///
    /// `words` as [`crate::chat::search::words`] makes them. What was said within the last moments of a flood may
    /// not be found yet.
    pub async fn search(
        &self,
        account: AccountId,
        words: Vec<String>,
        limit: usize,
        mailbox_too: bool,
    ) -> Result<Option<Vec<Arc<Entry>>>, Fault> {
        let found = self.ask_archive(move |room| {
            let found = room.search(account, &words, limit, mailbox_too);
            if let Err(error) = &found
                && is_damaged(error)
            {
                room.broken(error);
            }
            found
        });
        match found.await? {
            Search::Found(entries) => Ok(Some(entries)),
            Search::Never => Ok(None),
            Search::Later => Err(Fault::Unavailable("the search index could not be written".into())),
        }
    }

    /// How many entries of the log are not in the index yet, at most.
    pub fn search_lag(&self) -> i64 {
        self.head().0 - self.0.archive.indexed.load(Ordering::Relaxed)
    }

    /// The last `n` messages that an account got or sent, with this person or with all, oldest first.
    pub async fn letters(
        &self,
        mailbox: ConvId,
        with: Option<Aor>,
        n: usize,
    ) -> Result<Vec<Arc<Entry>>, Fault> {
        self.ask_archive(move |room| room.letters(mailbox, with.as_ref(), n)).await
    }

    /// What others said while this device was away last, or the one that came back last, with the newest at most
    /// `lines` messages. `None`: it has not been away.
    pub async fn missed(
        &self,
        account: AccountId,
        device: Option<DeviceKey>,
        lines: usize,
    ) -> Result<Option<Missed>, Fault> {
        self.ask_archive(move |room| room.missed(account, device.as_deref(), lines)).await
    }

    /// A device came back: what was said above `from` up to `upto` it had not got. Gone again before it had got all
    /// of it, it was away all the time. Not waited for, and lost in a crash of that moment.
    pub fn was_away(&self, account: AccountId, device: DeviceKey, from: Seq, upto: Seq) {
        let deed = writer::Job::deed(
            move |turn| {
                turn.conn
                    .prepare_cached(
                        "INSERT INTO device (account, instance, position, seen, away_from, away_to)
                         SELECT id, ?2, max(?3, base), ?5, ?3, ?4 FROM account WHERE id = ?1
                         ON CONFLICT (account, instance) DO UPDATE SET
                            away_from = CASE WHEN excluded.away_from < away_to
                                THEN min(away_from, excluded.away_from) ELSE excluded.away_from END,
                            away_to = excluded.away_to",
                    )?
                    .execute(params![account.0, &*device, from.0, upto.0, turn.now])?;
                Ok(())
            },
            |written: Result<(), Fault>| {
                if let Err(fault) = written {
                    tracing::warn!(%fault, "an absence was not noted");
                }
            },
        );
        if let Err(fault) = self.0.writer.send(&self.0.shared, deed) {
            tracing::warn!(%fault, "an absence was not noted");
        }
    }

    async fn ask_archive<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Room) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let question: Question = Box::new(move |room| {
            // Who no longer waits for the answer does not get it.
            drop(reply.send(question(room).map_err(sqlite::fault)));
        });
        {
            let ask = self.0.archive.ask.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = ask.as_ref().map(|ask| ask.try_send(question));
            match sent {
                Some(Ok(())) => {}
                Some(Err(TrySendError::Full(_))) => {
                    return Err(Fault::Unavailable(format!("{QUEUE} questions wait for the archive")));
                }
                Some(Err(TrySendError::Disconnected(_))) | None => return Err(writer::closed()),
            }
        }
        answer.await.unwrap_or_else(|_| Err(writer::closed()))
    }
}
