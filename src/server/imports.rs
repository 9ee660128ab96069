//! Opens what another server left behind, and brings its rows to the import.
//!
//! Prevents that a long file keeps the daemon from its work: it is read on a thread of its own, and no more of it is in
//! memory than belongs together: all rooms and members, and as many messages as can be put in order. Never writes into it.

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

use super::Server;
use crate::edge::control::{Denied, ImportInfo, Imports, Work};
use crate::migrate::{
    Found, Holder, LetterRow, MemberRow, Outcome, ROWS_MAX, Report, RoomRow, Row, Sink, Source,
    SubscriberRow, Table, Unreadable, What, Why, read_dump, read_text,
};
use crate::refusal::Fault;
use crate::service::import::{Import, Rehearsal};
use crate::store::read_sqlite;

/// Rows that are handed over together.
const CHUNK: usize = 256;
/// Chunks that wait.
const CHUNKS: usize = 4;
/// Bytes of messages that are put in order in memory; a longer file is in order within its parts.
const SORTED_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// Some rows as they were read.
#[derive(Default)]
struct Chunk {
    rooms: Vec<RoomRow>,
    members: Vec<MemberRow>,
    letters: Vec<LetterRow>,
    subscribers: Vec<SubscriberRow>,
    /// What is no such row: which one, and why.
    wrong: Vec<(Table, u64, Why)>,
    /// Rows in it, by table.
    read: [u64; Table::ALL.len()],
}

impl Chunk {
    fn take(&mut self, found: &Found, home: &str) {
        self.read[found.table as usize] += 1;
        let row: Result<&Row, Why> = found.row.as_ref().map_err(|why| *why);
        let taken = match found.table {
            Table::Rooms => row.and_then(|row| RoomRow::read(row, home)).map(|row| self.rooms.push(row)),
            Table::Members => {
                row.and_then(|row| MemberRow::read(row, home)).map(|row| self.members.push(row))
            }
            Table::Silo => row.and_then(|row| LetterRow::read(row, home)).map(|row| self.letters.push(row)),
            Table::Subscriber => {
                row.and_then(|row| SubscriberRow::read(row, home)).map(|row| self.subscribers.push(row))
            }
        };
        if let Err(why) = taken {
            self.wrong.push((found.table, found.at, why));
        }
    }

    fn rows(&self) -> usize {
        self.read.iter().sum::<u64>() as usize
    }
}

/// Reads the whole source, chunk by chunk. Returns the tables that are there, and whether it was too long. Blocks.
fn read(
    source: &Source,
    wanted: &[Table],
    home: &str,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(Vec<Table>, bool), Unreadable> {
    let (mut chunk, mut count, mut full) = (Chunk::default(), 0, false);
    let mut sink = |found: Found| {
        if count == ROWS_MAX {
            full = true;
            return ControlFlow::Break(());
        }
        count += 1;
        chunk.take(&found, home);
        if chunk.rows() >= CHUNK && chunks.blocking_send(std::mem::take(&mut chunk)).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let seen = read_tables(source, wanted, &mut sink)?;
    // Whoever no longer listens has failed, and says so himself.
    let _ = chunks.blocking_send(chunk);
    Ok((seen, full))
}

fn read_tables(source: &Source, wanted: &[Table], sink: Sink<'_>) -> Result<Vec<Table>, Unreadable> {
    let path = Path::new(&source.path);
    match source.holder {
        Holder::Sqlite => {
            regular(path)?;
            read_sqlite(path, wanted, sink)
        }
        Holder::Dump => read_dump(open(path)?, wanted, sink),
        Holder::Text => {
            if !path.metadata()?.is_dir() {
                return Err(Unreadable::Shape("it is no directory, which text: needs".into()));
            }
            let mut seen = Vec::new();
            for &table in wanted {
                let file = path.join(table.name());
                if file.exists() {
                    seen.push(table);
                    read_text(open(&file)?, table, sink)?;
                }
            }
            Ok(seen)
        }
    }
}

/// Nothing that would keep its reader waiting, and nothing without an end.
fn regular(path: &Path) -> Result<(), Unreadable> {
    match path.metadata()?.is_file() {
        true => Ok(()),
        false => Err(Unreadable::Shape("it is no file".into())),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Unreadable> {
    regular(path)?;
    Ok(BufReader::with_capacity(BUFFER, File::open(path)?))
}

/// Reads and takes over.
async fn run(
    import: Arc<Import>,
    what: What,
    source: Source,
    dry: bool,
    realm: Option<String>,
    work: &Work,
) -> Result<Report, Denied> {
    work.at("reading rows", 0, 0);
    let (sender, mut chunks) = mpsc::channel(CHUNKS);
    let (home, named) = (import.home().to_owned(), source.to_string());
    let reader = tokio::task::spawn_blocking(move || read(&source, what.tables(), &home, &sender));
    let mut report = Report::default();
    let mut rehearsal = dry.then(Rehearsal::default);
    let (mut rooms, mut members, mut letters, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while let Some(mut chunk) = chunks.recv().await {
        work.add(chunk.rows() as u64);
        for (table, count) in Table::ALL.into_iter().zip(chunk.read).filter(|(_, count)| *count > 0) {
            report.count(table, Outcome::Read, count);
        }
        for (table, at, why) in chunk.wrong {
            report.note(table, Outcome::Skipped, why, &format!("row {at}"));
        }
        rooms.append(&mut chunk.rooms);
        members.append(&mut chunk.members);
        bytes += chunk.letters.iter().map(|row| row.body.len() + size_of::<LetterRow>()).sum::<usize>();
        letters.append(&mut chunk.letters);
        if bytes > SORTED_BYTES {
            bytes = 0;
            // How many rows there are is not known yet: it goes on with what was read.
            let ready = std::mem::take(&mut letters);
            import.letters(ready, rehearsal.as_mut(), &mut report, &|_, _| {}).await?;
        }
        if !chunk.subscribers.is_empty() {
            import.subscribers(chunk.subscribers, realm.as_deref(), rehearsal.as_mut(), &mut report).await?;
        }
    }
    let told = |done, of| work.at("taking messages over", done, of);
    import.letters(letters, rehearsal.as_mut(), &mut report, &told).await?;
    let ended = reader.await.map_err(|error| Fault::Internal(error.to_string()))?;
    let (seen, full) = ended.map_err(|error| Denied::Refused(format!("{named}: {error}")))?;
    if seen.is_empty() {
        let names: Vec<_> = what.tables().iter().map(|table| table.name()).collect();
        return Err(Denied::Refused(format!("{named}: there is no table {}", names.join(" or "))));
    }
    let told = |done, of| work.at("filling rooms", done, of);
    import.imc(rooms, members, dry, &mut report, &told).await?;
    for table in seen {
        report.count(table, Outcome::Read, 0);
        if full {
            report.note(table, Outcome::Skipped, "the source has more rows than are read at once", "");
        }
    }
    Ok(report)
}

impl Imports for Server {
    async fn import(
        &self,
        what: What,
        source: Source,
        dry_run: bool,
        realm: Option<String>,
        work: Work,
    ) -> Result<Vec<ImportInfo>, Denied> {
        let Ok(turn) = self.importing.clone().try_lock_owned() else {
            return Err(Denied::Refused("another import is running".into()));
        };
        let import = self.import.clone();
        let task = tokio::spawn(async move {
            let report = run(import, what, source, dry_run, realm, &work).await;
            drop(turn);
            work.end(report)
        });
        let report = task.await.map_err(|error| Fault::Internal(error.to_string()))??;
        let lines = report.lines();
        if !dry_run {
            for line in &lines {
                info!(
                    table = line.table.name(),
                    rows = line.rows,
                    why = line.why,
                    "import: {}",
                    line.outcome.word()
                );
            }
        }
        let info = |line: crate::migrate::Line| ImportInfo {
            table: line.table.name(),
            outcome: match line.outcome {
                Outcome::Made if dry_run => "would be made",
                outcome => outcome.word(),
            },
            rows: line.rows,
            why: line.why,
            examples: line.examples,
        };
        Ok(lines.into_iter().map(info).collect())
    }
}
