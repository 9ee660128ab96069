//! A backup put in the place of the database, while no daemon runs.
//!
//! Prevents that a file which is damaged, of something else or of a newer daemon takes the place of what works, and that
//! what was there is lost: it is kept beside. Killed at any step, the place holds the old database or the new one, whole.
//! Never looks whether a daemon runs: the caller holds the lock of the data directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use thiserror::Error;

use super::schema::{self, Tables};
use super::{Options, search, sqlite};
use crate::refusal::Fault;

/// Names for what was there before, until one is free.
const KEPT_MOST: u32 = 1000;

/// The log goes on at least so far above its end, should the clock be wrong.
const STEP: i64 = 1_000_000;

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// Where the former database is now; `None`: there was none.
    pub kept: Option<PathBuf>,
    /// In the restored one.
    pub rooms: u64,
    pub accounts: u64,
}

/// Why it was not done. The place is as it was.
#[derive(Debug, Error)]
pub enum Unrestored {
    #[error("{}: {why}", file.display())]
    Unfit { file: PathBuf, why: String },
    #[error("{}: {error}", file.display())]
    Io { file: PathBuf, error: io::Error },
}

fn unfit(file: &Path, why: impl ToString) -> Unrestored {
    Unrestored::Unfit { file: file.into(), why: why.to_string() }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Removes a file that need not be there.
fn remove(path: &Path) -> Result<(), Unrestored> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Unrestored::Io { file: path.into(), error })
        }
        _ => Ok(()),
    }
}

/// Puts a copy of `backup` in the place that `options` names.
pub fn restore(backup: &Path, options: &Options) -> Result<Restored, Unrestored> {
    let place = options.path.as_path();
    let io = |file: &Path| {
        let file = file.to_owned();
        move |error| Unrestored::Io { file, error }
    };
    let same = |path: &Path| path.canonicalize().ok();
    if same(backup).is_some_and(|backup| Some(backup) == same(place)) {
        return Err(unfit(backup, "is the database itself"));
    }
    // SQLite would make one where none is.
    if !std::fs::metadata(backup).map_err(io(backup))?.is_file() {
        return Err(unfit(backup, "is no file"));
    }
    let source = sqlite::open_reader(backup, options.busy_timeout).map_err(|e| unfit(backup, e))?;
    let tables = Tables::new(&options.rooms_table, &options.members_table).map_err(|e| unfit(backup, e))?;
    let (rooms, accounts) = examine(&source, options, &tables).map_err(|why| unfit(backup, why))?;

    // The copy is whole and on disk before anything is moved.
    let fresh = with(place, ".restoring");
    remove(&fresh)?;
    remove(&with(&fresh, "-journal"))?;
    let former = std::fs::metadata(place).ok();
    let dir = place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = former.as_ref().map_or(0o600, |former| former.mode() & 0o777);
    drop(OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh).map_err(io(&fresh))?);
    let copied = source.execute("VACUUM INTO ?1", [fresh.to_string_lossy()]);
    if let Err(error) = copied.and_then(|_| step_ahead(&fresh)) {
        remove(&fresh)?;
        return Err(unfit(backup, error));
    }
    let copy = OpenOptions::new().write(true).open(&fresh).map_err(io(&fresh))?;
    // The daemon may run as somebody else than who restores.
    let owner = former.clone().map_or_else(|| std::fs::metadata(dir), Ok).map_err(io(dir))?;
    let ours = copy.metadata().map_err(io(&fresh))?;
    if (ours.uid(), ours.gid()) != (owner.uid(), owner.gid()) {
        chown(&fresh, Some(owner.uid()), Some(owner.gid())).map_err(io(&fresh))?;
    }
    copy.sync_all().map_err(io(&fresh))?;

    let kept = former.map(|_| keep(place, options)).transpose()?;
    remove(&with(place, "-shm"))?;
    search::remove(&search::file_of(place));
    std::fs::rename(&fresh, place).map_err(io(place))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))?;
    Ok(Restored { kept, rooms, accounts })
}

/// Lets the log go on above every seq that was given out after the backup was made. What was said then is forgotten here
/// and not by the phones: they would take the next to have its seq, and so its Call-ID, for a repetition.
fn step_ahead(fresh: &Path) -> rusqlite::Result<()> {
    let conn = Connection::open(fresh)?;
    let known = schema::head(&conn)?;
    // The clock, because nobody may know how far the lost log went: it gained less than one in a microsecond.
    let head = known.saturating_add(STEP).max(super::now_ms().saturating_mul(1000));
    conn.execute(
        "INSERT INTO meta (key, value) VALUES ('head', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [head],
    )?;
    Ok(())
}

/// How many rooms and accounts it holds, if it is a database of ours that we can read and that is healthy.
fn examine(conn: &Connection, options: &Options, tables: &Tables) -> Result<(u64, u64), String> {
    let told = |error: rusqlite::Error| error.to_string();
    schema::known(conn, &[&options.rooms_table, &options.members_table])?;
    let health: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(told)?;
    if health != "ok" {
        return Err(format!("is damaged: {health}"));
    }
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(told);
    let rooms = count(&tables.fill("SELECT count(*) FROM {rooms}"))?;
    let accounts = count("SELECT count(*) FROM account WHERE created IS NOT NULL")?;
    Ok((rooms.max(0) as u64, accounts.max(0) as u64))
}

/// Gives the database a second name, with all that its write-ahead log holds.
fn keep(place: &Path, options: &Options) -> Result<PathBuf, Unrestored> {
    let wal = with(place, "-wal");
    let settled = settle(place, options).map_err(|why| unfit(place, why))?;
    let names = (1..KEPT_MOST).map(|n| match n {
        1 => with(place, ".before-restore"),
        n => with(place, &format!(".before-restore-{n}")),
    });
    for name in names {
        // The log goes where the name goes, if it could not be moved into the file.
        match std::fs::hard_link(place, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Unrestored::Io { file: name, error }),
            Ok(()) if settled => remove(&wal)?,
            Ok(()) if wal.exists() => {
                let error = std::fs::rename(&wal, with(&name, "-wal")).err();
                if let Some(error) = error {
                    return Err(Unrestored::Io { file: wal, error });
                }
            }
            Ok(()) => {}
        }
        return Ok(name);
    }
    Err(unfit(place, "too many former databases are kept beside it"))
}

/// Moves the write-ahead log into the file. False: it is too damaged for that.
fn settle(place: &Path, options: &Options) -> Result<bool, String> {
    let busy = sqlite::open_writer(place, options.busy_timeout)
        .and_then(|conn| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)));
    match busy.map_err(sqlite::fault) {
        Ok(false) => Ok(true),
        Ok(true) => Err("somebody else has it open".into()),
        Err(Fault::Corrupt(_)) => Ok(false),
        Err(other) => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    struct Home {
        dir: tempfile::TempDir,
        options: Options,
    }

    impl Home {
        fn new() -> Home {
            let dir = tempfile::tempdir().unwrap();
            let options = Options { path: dir.path().join("imcd.db"), ..Options::default() };
            Home { dir, options }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Accounts, by their users.
        fn accounts(&self) -> Vec<String> {
            let store = Store::open(self.options.clone()).unwrap();
            let mut users: Vec<_> = store
                .accounts(None, None, 100)
                .unwrap()
                .iter()
                .map(|a| a.address.user().to_owned())
                .collect();
            users.sort();
            store.close();
            users
        }

        fn add(&self, users: &[&str], backup: Option<&Path>) {
            let store = Store::open(self.options.clone()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for user in users {
                let who = crate::types::Aor::new(user, "example.org").unwrap();
                runtime.block_on(store.put_account(&who, None)).unwrap();
            }
            if let Some(file) = backup {
                store.backup(file).unwrap();
            }
            store.close();
        }
    }

    fn why(result: Result<Restored, Unrestored>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_was_is_back_and_what_is_now_is_kept_beside() {
        let home = Home::new();
        let backup = home.file("b");
        home.add(&["alice", "bob"], Some(&backup));
        home.add(&["carol"], None);
        std::fs::write(home.file("imcd.db.restoring"), "of one that was killed").unwrap();
        let done = restore(&backup, &home.options).unwrap();
        assert_eq!((done.rooms, done.accounts), (0, 2));
        assert_eq!(done.kept, Some(home.file("imcd.db.before-restore")));
        assert_eq!(home.accounts(), ["alice", "bob"]);
        // No seq is given out twice.
        let store = Store::open(home.options.clone()).unwrap();
        assert!(store.head().0 > 1_700_000_000_000_000, "{:?}", store.head());
        store.close();
        // And back again.
        let again = restore(&done.kept.unwrap(), &home.options).unwrap();
        assert_eq!(again.kept, Some(home.file("imcd.db.before-restore-2")));
        assert_eq!(home.accounts(), ["alice", "bob", "carol"]);
        assert!(!home.file("imcd.db.restoring").exists());
    }

    #[test]
    fn it_needs_no_former_database_and_does_without_a_healthy_one() {
        let home = Home::new();
        let backup = home.file("b");
        home.add(&["alice"], Some(&backup));
        std::fs::write(home.file("imcd.db"), [7; 9000]).unwrap();
        std::fs::write(home.file("imcd.db-wal"), "log of the damaged").unwrap();
        let kept = restore(&backup, &home.options).unwrap().kept.unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), [7; 9000]);
        assert_eq!(home.accounts(), ["alice"]);
        std::fs::remove_file(home.file("imcd.db")).unwrap();
        assert_eq!(restore(&backup, &home.options).unwrap().kept, None);
        assert_eq!(home.accounts(), ["alice"]);
    }

    #[test]
    fn what_is_no_healthy_database_of_ours_changes_nothing() {
        let home = Home::new();
        let backup = home.file("b");
        home.add(&["alice"], Some(&backup));
        let before = std::fs::read(home.file("imcd.db")).unwrap();
        let refused = |file: &Path, told: &str| {
            let why = why(restore(file, &home.options));
            assert!(why.contains(told), "{why}");
            assert_eq!(std::fs::read(home.file("imcd.db")).unwrap(), before);
            assert!(!home.file("imcd.db.before-restore").exists());
        };
        refused(&home.file("nowhere"), "No such file");
        refused(&home.options.path, "is the database itself");
        std::fs::write(home.file("text"), "no database at all, but long enough to be one".repeat(100))
            .unwrap();
        refused(&home.file("text"), "not a database");
        std::fs::write(home.file("empty"), "").unwrap();
        refused(&home.file("empty"), "is no database of imcd");
        Connection::open(home.file("other"))
            .unwrap()
            .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 3")
            .unwrap();
        refused(&home.file("other"), "is no database of imcd");
        let newer = home.file("newer");
        std::fs::copy(&backup, &newer).unwrap();
        Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 999").unwrap();
        refused(&newer, "newer");
        let renamed = home.file("renamed");
        std::fs::copy(&backup, &renamed).unwrap();
        Connection::open(&renamed)
            .unwrap()
            .execute_batch("ALTER TABLE imc_rooms RENAME TO my_rooms")
            .unwrap();
        refused(&renamed, "has no table imc_rooms");
        let damaged = home.file("damaged");
        let mut bytes = std::fs::read(&backup).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xff);
        std::fs::write(&damaged, bytes).unwrap();
        assert!(restore(&damaged, &home.options).is_err());
        refused(&damaged, "damaged");
    }
}
