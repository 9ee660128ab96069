//! Connections to the database file, and what their errors mean to us.
//!
//! One connection writes, one checkpoints, a few read. Prevents that a reader ever waits for the writer, and that
//! an answer leaves before the disk has it: `synchronous=FULL`. Never decides what is written.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::refusal::Fault;

/// Read-only connections kept open. Reads take microseconds, so few are enough for all cores.
const READERS: usize = 4;
/// Prepared statements kept per connection; more than there are in this floor.
const STATEMENTS: usize = 192;

/// Why a deed was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Its own fault. Its neighbours in the batch are not concerned.
    Own(Fault),
    /// The storage cannot take writes now. Ends the batch.
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        if concerns_storage(&error) { Failure::Storage(error) } else { Failure::Own(fault(error)) }
    }
}

/// Whether the error speaks of the file rather than of one statement.
fn concerns_storage(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        None | Some(
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
                | ErrorCode::OperationAborted
                | ErrorCode::Unknown
        )
    )
}

/// Whether only a new connection can help. A full disk or a lock go away by themselves.
pub(super) fn wants_reopen(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::OutOfMemory
        )
    )
}

/// A database error in the words of the house.
pub(super) fn fault(error: rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Corrupt(error.to_string()),
        _ if concerns_storage(&error) => Fault::Unavailable(error.to_string()),
        _ => Fault::Internal(error.to_string()),
    }
}

/// The writing connection. Makes the file if there is none.
pub(super) fn open_writer(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(busy)?;
    let mode: String = conn.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(format!("the file system does not carry a write-ahead log (journal mode {mode})")),
        ));
    }
    // Checkpoints run elsewhere: inline they cost the poster 30 ms and more.
    conn.execute_batch(
        "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864;
         PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;",
    )?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// A connection that cannot write.
pub(super) fn open_reader(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(busy)?;
    conn.execute_batch("PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;")?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// The connection of the checkpoint thread.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::ZERO)?;
    conn.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;")?;
    Ok(conn)
}

/// Moves what the log holds into the file, without waiting for anybody.
///
/// Returns how many pages the log holds; it starts over with the first write that finds all of them moved.
pub(super) fn checkpoint(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}

/// Read-only connections, lent for one question each.
pub(super) struct Readers {
    pool: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

impl Readers {
    pub(super) fn open(path: &Path, busy: Duration) -> rusqlite::Result<Readers> {
        let mut pool = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            pool.push(Mutex::new(open_reader(path, busy)?));
        }
        Ok(Readers { pool, next: AtomicUsize::new(0) })
    }

    /// Asks one question. `question` must not take a lock that a thread may hold while it waits for a reader.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        for i in 0..self.pool.len() {
            if let Ok(conn) = self.pool[(start + i) % self.pool.len()].try_lock() {
                return question(&conn).map_err(fault);
            }
        }
        // A reader that panicked left no state behind: its connection is as good as before.
        let conn = self.pool[start % self.pool.len()].lock().unwrap_or_else(|held| held.into_inner());
        question(&conn).map_err(fault)
    }
}
