//! The search index: which word stands in which entry. A file of its own beside the database.
//!
//! Prevents that searching costs those who post anything: the index has its own file, its own thread and its own
//! cursor, which moves in the transaction that writes the rows, and it may lag. It is made from the log alone: lost,
//! damaged or another log's, it is made anew. An answer never rests on it alone: what the log does not hold any more,
//! or what lies outside the asker's spans, is not found. Never writes to the database.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::chat::search::{indexed, text};
use crate::types::{ConvId, EntryKind, Seq, Span};

/// Entries read and written at once: a few milliseconds.
const SLICE: usize = 256;
/// Bytes of text at which a slice is full as well.
const SLICE_BYTES: usize = 1 << 20;
/// Rows of the index that are compared with the log at once.
const SWEEP: usize = 2048;
/// Conversations that one query names.
const PLACES: usize = 64;
/// Entries with the words that are looked at for one answer.
const BUDGET: usize = 4096;
/// The same, of those that are looked at wherever they are, before the places are asked for.
const FIRST_LOOK: usize = 1024;
/// Form of the index; another one is made anew.
const VERSION: i64 = 1;

/// The file of the index of the database at `path`.
pub(super) fn file_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-search");
    name.into()
}

pub(super) struct Index {
    conn: Connection,
    /// Indexed up to here.
    cursor: i64,
    /// Compared with the log up to here.
    swept: i64,
}

impl Index {
    /// Opens the index of `log`, or begins one. What is there and of no use is removed.
    pub(super) fn open(path: &Path, log: &Connection) -> rusqlite::Result<Index> {
        let name: Vec<u8> =
            log.query_row("SELECT value FROM meta WHERE key = 'log'", [], |row| row.get(0))?;
        let head = super::schema::head(log)?;
        match Self::open_existing(path, &name, head) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(error) if is_no_index(&error) => tracing::warn!(%error, "the search index is made anew"),
            Err(error) => return Err(error),
        }
        remove(path);
        Self::make(path, &name)
    }

    /// `None`: there is none, or it is another log's, or of a time that this log has not seen.
    fn open_existing(path: &Path, name: &[u8], head: i64) -> rusqlite::Result<Option<Index>> {
        if !path.exists() {
            return Ok(None);
        }
        let conn = connect(path, OpenFlags::empty())?;
        let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != VERSION {
            return Ok(None);
        }
        let its: Option<Vec<u8>> =
            conn.query_row("SELECT value FROM state WHERE key = 'log'", [], |row| row.get(0)).optional()?;
        let place = |key: &str| -> rusqlite::Result<i64> {
            let found = conn.query_row("SELECT value FROM state WHERE key = ?1", [key], |row| row.get(0));
            Ok(found.optional()?.unwrap_or(0))
        };
        let (cursor, swept) = (place("cursor")?, place("swept")?);
        if its.as_deref() != Some(name) || cursor > head {
            return Ok(None);
        }
        Ok(Some(Index { conn, cursor, swept }))
    }

    fn make(path: &Path, name: &[u8]) -> rusqlite::Result<Index> {
        let mut conn = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        let tx = conn.transaction()?;
        tx.execute_batch(include_str!("../../sql/sqlite/search.sql"))?;
        tx.execute("INSERT INTO state (key, value) VALUES ('log', ?1)", [name])?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
        Ok(Index { conn, cursor: 0, swept: 0 })
    }

    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Takes in the next entries of the log, at most up to `head`. False: there are none.
    pub(super) fn advance(&mut self, log: &Connection, head: i64) -> rusqlite::Result<bool> {
        if self.cursor >= head {
            return Ok(false);
        }
        // Read first, so that no transaction on the log is open while the index is written.
        let (mut rows, mut through, mut bytes) = (Vec::new(), head, 0);
        {
            let mut select = log.prepare_cached(
                "SELECT seq, conversation, kind, content_type, body FROM log
                 WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
            )?;
            let mut found = select.query([self.cursor, head, SLICE as i64])?;
            let mut count = 0;
            while let Some(row) = found.next()? {
                count += 1;
                let seq: i64 = row.get(0)?;
                let said = row.get::<_, i64>(2)? != EntryKind::Notice as i64;
                if let Some(text) = text(row.get_ref(3)?.as_str_or_null()?, row.get_ref(4)?.as_blob()?)
                    && said
                {
                    let text = indexed(&text).into_owned();
                    bytes += text.len();
                    rows.push((seq, row.get::<_, i64>(1)?, text));
                }
                if count == SLICE || bytes >= SLICE_BYTES {
                    through = seq;
                    break;
                }
            }
        }
        let tx = self.conn.transaction()?;
        {
            let mut insert =
                tx.prepare_cached("INSERT INTO words (rowid, place, text) VALUES (?1, 'c' || ?2, ?3)")?;
            for (seq, conversation, text) in &rows {
                insert.execute(params![seq, conversation, text])?;
            }
        }
        put(&tx, "cursor", through)?;
        tx.commit()?;
        self.cursor = through;
        Ok(true)
    }

    /// Compares the next rows with the log and removes those of entries that are gone; after the last it begins
    /// again with the first.
    pub(super) fn sweep(&mut self, log: &Connection) -> rusqlite::Result<()> {
        let rows = seqs(
            &self.conn,
            "SELECT rowid FROM words WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3",
            self.swept,
            self.cursor,
        )?;
        let through = if rows.len() < SWEEP { self.cursor } else { rows[SWEEP - 1] };
        let mut there = Vec::new();
        let mut after = self.swept;
        while let Some(&first) = rows.iter().find(|seq| **seq > after) {
            // The log has entries that the index has not: notices, and what is no text.
            let found = seqs(
                log,
                "SELECT seq FROM log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
                first - 1,
                through,
            )?;
            after = if found.len() < SWEEP { through } else { found[SWEEP - 1] };
            there.extend(found);
        }
        let gone: Vec<i64> = rows.iter().filter(|seq| there.binary_search(seq).is_err()).copied().collect();
        let next = if rows.len() < SWEEP { 0 } else { through };
        if gone.is_empty() && next == self.swept {
            return Ok(());
        }
        let tx = self.conn.transaction()?;
        {
            let mut delete = tx.prepare_cached("DELETE FROM words WHERE rowid = ?1")?;
            for seq in &gone {
                delete.execute([seq])?;
            }
        }
        put(&tx, "swept", next)?;
        tx.commit()?;
        self.swept = next;
        Ok(())
    }

    /// The newest at most `limit` entries within these spans that have all the words, newest first.
    /// `words` are as [`crate::chat::search::words`] makes them.
    pub(super) fn find(
        &self,
        log: &Connection,
        spans: &[Span],
        words: &[String],
        limit: usize,
    ) -> rusqlite::Result<Vec<Seq>> {
        let mut spans = spans.to_vec();
        spans.sort_unstable_by_key(|span| span.conversation);
        let spans = &spans[..];
        let mut places: Vec<ConvId> = spans.iter().map(|span| span.conversation).collect();
        places.dedup();
        let text: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let text = text.join(" AND ");
        if places.len() > PLACES {
            // Rare words, and words that are in everybody's mouth, are found sooner without asking for the places.
            let all = Wanted { question: format!("text : ({text})"), spans, limit, above: Seq(0) };
            let (hits, complete) = self.scan(log, &all, &mut { FIRST_LOOK })?;
            if complete {
                return Ok(hits);
            }
        }
        let mut hits: Vec<Seq> = Vec::new();
        let mut budget = BUDGET;
        for some in places.chunks(PLACES) {
            let names: Vec<String> = some.iter().map(|place| format!("\"c{}\"", place.0)).collect();
            let question = format!("place : ({}) AND text : ({text})", names.join(" OR "));
            let above = if hits.len() < limit { Seq(0) } else { hits[limit - 1] };
            let (found, _) = self.scan(log, &Wanted { question, spans, limit, above }, &mut budget)?;
            hits.extend(found);
            hits.sort_unstable_by(|a, b| b.cmp(a));
            hits.truncate(limit);
        }
        Ok(hits)
    }

    /// The newest that are wanted, and whether nothing that is wanted was left out for want of budget.
    fn scan(
        &self,
        log: &Connection,
        wanted: &Wanted<'_>,
        budget: &mut usize,
    ) -> rusqlite::Result<(Vec<Seq>, bool)> {
        let mut select = self.conn.prepare_cached(
            "SELECT rowid FROM words WHERE words MATCH ?1 AND rowid > ?2 ORDER BY rowid DESC",
        )?;
        let mut place_of = log.prepare_cached("SELECT conversation FROM log WHERE seq = ?1")?;
        let mut rows = select.query(params![wanted.question, wanted.above.0])?;
        let mut hits = Vec::new();
        while let Some(row) = rows.next()? {
            if *budget == 0 {
                return Ok((hits, false));
            }
            *budget -= 1;
            let seq = Seq(row.get(0)?);
            // Gone from the log, it is nowhere.
            let place = place_of.query_row([seq.0], |row| row.get(0).map(ConvId)).optional()?;
            let Some(place) = place else { continue };
            let first = wanted.spans.partition_point(|span| span.conversation < place);
            let mut there = wanted.spans[first..].iter().take_while(|span| span.conversation == place);
            if there.any(|span| seq >= span.since && span.until.is_none_or(|until| seq <= until)) {
                hits.push(seq);
                if hits.len() == wanted.limit {
                    break;
                }
            }
        }
        Ok((hits, true))
    }
}

/// What is looked for in one pass.
struct Wanted<'a> {
    /// In the language of the index.
    question: String,
    /// By conversation.
    spans: &'a [Span],
    limit: usize,
    /// Only what is newer.
    above: Seq,
}

fn connect(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let conn = Connection::open_with_flags(path, flags)?;
    // A power cut may take the last rows with their cursor, and then they are written again.
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8192;
         PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=4194304;",
    )?;
    Ok(conn)
}

/// Takes the file away, with what SQLite keeps beside it.
pub(super) fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        if let Err(error) = std::fs::remove_file(&name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the search index cannot be removed");
        }
    }
}

/// Whether the file itself is the trouble.
pub(super) fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// The same when it is opened: a file of ours that lacks a table is of no use either.
fn is_no_index(error: &rusqlite::Error) -> bool {
    is_damaged(error) || error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown)
}

fn put(conn: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO state (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

fn seqs(conn: &Connection, sql: &str, after: i64, upto: i64) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached(sql)?.query_map([after, upto, SWEEP as i64], |row| row.get(0))?.collect()
}
