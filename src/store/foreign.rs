//! Tables in somebody else's SQLite file, read row by row.
//!
//! Prevents that a migration changes what it reads, and that a file made for it holds the daemon up: it is opened to
//! be read only, and a value has a bound. Never looks at what the rows mean.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::migrate::{CELL_MAX, COLUMNS_MAX, Columns, Found, Row, Sink, Table, Unreadable};

/// How long somebody else may be writing to it.
const PATIENCE: Duration = Duration::from_secs(2);

const JOURNAL: &str = "its journal cannot be read here: stop the other server, or take what sqlite3 FILE .dump \
                       writes as dump:";

fn unreadable(error: rusqlite::Error) -> Unreadable {
    Unreadable::Shape(error.to_string())
}

/// Opens a file that may be read only, in a directory where we may make nothing beside it: a packaged daemon may write
/// nowhere but to its own.
fn open(path: &Path) -> Result<Connection, Unreadable> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(unreadable)?;
    let first = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    // It keeps a journal, which even who reads has to prepare.
    let journals = |error: &rusqlite::Error| {
        matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
    };
    if !first.is_err_and(|error| journals(&error)) {
        return Ok(conn);
    }
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        Path::new(&name).metadata().is_ok_and(|file| file.len() > 0)
    };
    if ["-wal", "-journal"].into_iter().any(beside) {
        return Err(Unreadable::Shape(JOURNAL.into()));
    }
    // Nothing is in it: the file is whole as it stands.
    let Some(plain) = path.to_str() else { return Ok(conn) };
    let plain = plain.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = flags | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{plain}?immutable=1"), flags).map_err(unreadable)
}

/// Reads the rows of `wanted` tables. Returns which of them are there. Blocks.
///
/// # Errors
/// [`Unreadable::Shape`] if it is no database that can be read.
pub fn read_sqlite(path: &Path, wanted: &[Table], sink: Sink<'_>) -> Result<Vec<Table>, Unreadable> {
    let conn = open(path)?;
    conn.busy_timeout(PATIENCE).map_err(unreadable)?;
    // A view or an index over functions of its maker is no table of the modules. In one transaction: rooms and members
    // are of one moment.
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN;")
        .map_err(unreadable)?;
    let mut seen = Vec::new();
    for &table in wanted {
        let name: Option<String> = conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE")
            .and_then(|mut find| find.query_row([table.name()], |row| row.get(0)).optional())
            .map_err(unreadable)?;
        if name.is_none() {
            continue;
        }
        seen.push(table);
        if read_table(&conn, table, sink).map_err(unreadable)?.is_break() {
            break;
        }
    }
    Ok(seen)
}

fn read_table(conn: &Connection, table: Table, sink: Sink<'_>) -> rusqlite::Result<ControlFlow<()>> {
    // Names of tables are ours, and plain; those of columns are not.
    let all = format!("SELECT * FROM {}", table.name());
    let columns: Vec<String> = conn.prepare(&all)?.column_names().map(str::to_owned).collect();
    if columns.len() > COLUMNS_MAX {
        return Ok(sink(Found { table, at: 1, row: Err("too many columns") }));
    }
    // A value that is too long is not even fetched.
    let bounded = |name: &String| {
        let name = format!("\"{}\"", name.replace('"', "\"\""));
        format!("CASE WHEN octet_length({name}) > {CELL_MAX} THEN zeroblob({CELL_MAX} + 1) ELSE {name} END")
    };
    let bounded: Vec<String> = columns.iter().map(bounded).collect();
    let mut select = conn.prepare(&format!("SELECT {} FROM {}", bounded.join(", "), table.name()))?;
    let columns: Columns = columns.iter().map(|name| name.to_ascii_lowercase().into()).collect();
    let mut rows = select.query([])?;
    let mut at = 0;
    while let Some(found) = rows.next()? {
        at += 1;
        let mut cells = Vec::with_capacity(columns.len());
        let mut too_long = false;
        for column in 0..columns.len() {
            let cell = match found.get_ref(column)? {
                ValueRef::Null => None,
                ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
                ValueRef::Real(number) => Some(number.to_string().into_bytes()),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    too_long |= bytes.len() > CELL_MAX;
                    Some(bytes).filter(|_| !too_long).map(<[u8]>::to_vec)
                }
            };
            cells.push(cell);
        }
        let row = match too_long {
            true => Err("a value is too long"),
            false => Row::new(&columns, cells).ok_or("not as many values as columns"),
        };
        if sink(Found { table, at, row }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path, wanted: &[Table]) -> Result<(Vec<Table>, Vec<Found>), Unreadable> {
        let mut all = Vec::new();
        let seen = read_sqlite(path, wanted, &mut |found| {
            all.push(found);
            ControlFlow::Continue(())
        })?;
        Ok((seen, all))
    }

    #[test]
    fn a_foreign_file_is_read_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kamailio.db");
        let theirs = Connection::open(&path).unwrap();
        theirs
            .execute_batch(
                "CREATE TABLE imc_rooms (ID INTEGER PRIMARY KEY, flag INT, Name TEXT, domain TEXT);
                 INSERT INTO imc_rooms VALUES (1, 1, 'a', 'x'), (2, NULL, x'ff', 1.5);
                 CREATE TABLE Silo (id INTEGER PRIMARY KEY, body BLOB);
                 INSERT INTO Silo VALUES (1, zeroblob(1048577)), (2, 'hi');
                 CREATE VIEW subscriber AS SELECT 1 AS id, 'alice' AS username;",
            )
            .unwrap();
        drop(theirs);
        let before = std::fs::read(&path).unwrap();
        let (seen, found) = read(&path, &Table::ALL).unwrap();
        assert_eq!(seen, [Table::Rooms, Table::Silo]);
        let columns: Columns = ["id", "flag", "name", "domain"].map(Box::from).into();
        let cell = |text: &[u8]| Some(text.to_vec());
        let rooms = [
            vec![cell(b"1"), cell(b"1"), cell(b"a"), cell(b"x")],
            vec![cell(b"2"), None, cell(b"\xff"), cell(b"1.5")],
        ];
        let rooms = rooms.map(|cells| Ok(Row::new(&columns, cells).unwrap()));
        assert_eq!([found[0].row.clone(), found[1].row.clone()], rooms);
        assert_eq!(found[2].row, Err("a value is too long"));
        assert!(found[3].row.is_ok() && found.len() == 4);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn a_file_beside_which_nothing_can_be_made_is_read_unless_its_journal_holds_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a?b#c%20.db");
        let theirs = Connection::open(&path).unwrap();
        theirs
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE imc_rooms (name); INSERT INTO imc_rooms VALUES ('a');")
            .unwrap();
        // What one reader has to prepare for the others, root too.
        let nowhere = dir.path().join("none/none");
        let prevented = |name: &str| std::os::unix::fs::symlink(&nowhere, dir.path().join(name)).unwrap();
        let running = dir.path().join("running.db");
        std::fs::copy(&path, &running).unwrap();
        std::fs::copy(dir.path().join("a?b#c%20.db-wal"), dir.path().join("running.db-wal")).unwrap();
        prevented("running.db-shm");
        let told = read(&running, &[Table::Rooms]).unwrap_err().to_string();
        assert!(told.contains("sqlite3 FILE .dump"), "{told}");
        drop(theirs);
        prevented("a?b#c%20.db-shm");
        assert_eq!(read(&path, &[Table::Rooms]).unwrap().1.len(), 1);
    }

    #[test]
    fn what_is_no_database_is_told_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no.db");
        assert!(read(&path, &Table::ALL).is_err());
        assert!(!path.exists());
        std::fs::write(&path, "id(int) name(string)\n".repeat(100)).unwrap();
        assert!(matches!(read(&path, &Table::ALL), Err(Unreadable::Shape(_))));
    }
}
