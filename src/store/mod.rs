//! The durable verbs, in domain words. All SQL of the daemon lives on this floor.
//!
//! One thread writes, in batches: what it answers is on disk (spec §5.1). Reads go past it, on connections of their
//! own. Prevents that a 2xx is sent for what a power cut can still take back, and that two requests change one room
//! by the same version of it. Never decides who may do what, never sends anything.

mod accounts;
mod archive;
mod changes;
mod domains;
mod foreign;
mod import;
mod later;
mod lookups;
mod pages;
mod people;
mod presence;
mod receipts;
mod restore;
mod rooms;
mod roster;
mod schema;
mod search;
mod sqlite;
mod status;
mod trim;
mod turn;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use rusqlite::OptionalExtension;

use crate::refusal::Fault;
use crate::types::{
    Accepted, AccountId, Announcement, Answer, Aor, Commit, Committed, ConvId, DeviceKey, Origin, Seq,
    Spread, UnixMs,
};

pub use accounts::{Account, Credentials, StoredBinding, View};
pub use archive::{Missed, MissedOf};
pub use foreign::read_sqlite;
pub use import::Imported;
pub use later::{Kept, Later, NewLater};
pub use pages::Page;
pub use receipts::Receipt;
pub use restore::{Restored, Unrestored, restore};
pub use rooms::RoomLine;
pub use roster::{Buddy, Called, Pair, Put, Related, Words};
pub use status::Avatar;

/// How the store is to be. Durations of zero mean none.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file. Made if there is none.
    pub path: PathBuf,
    /// Names of the peers' tables; plain identifiers.
    pub rooms_table: String,
    pub members_table: String,
    /// 2^n shards of the tables in memory, at most 2^10.
    pub hash_size: u8,
    /// How long what was said can be read again.
    pub history_keep: Duration,
    /// Bytes of database at which history is shortened, then posts are refused; 0: no limit.
    pub history_max_bytes: u64,
    /// A device unseen for longer is forgotten.
    pub device_keep: Duration,
    /// How long a write waits for somebody else's lock on the file.
    pub busy_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            path: "imcd.db".into(),
            rooms_table: "imc_rooms".into(),
            members_table: "imc_members".into(),
            hash_size: 4,
            history_keep: Duration::from_secs(30 * 86400),
            history_max_bytes: 0,
            device_keep: Duration::from_secs(259_200),
            busy_timeout: Duration::from_secs(2),
        }
    }
}

/// Told after each durable commit.
pub type OnCommit = Box<dyn Fn(Announcement) + Send + Sync>;

/// The store. Clones are the same store; the last one to go closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: writer::Writer,
    archive: archive::Archive,
}

/// What the writer and the readers have in common.
struct Shared {
    options: Options,
    sql: rooms::Statements,
    readers: sqlite::Readers,
    rooms: DashMap<Aor, rooms::Cached>,
    accounts: DashMap<Aor, Account>,
    /// Newest seq of each conversation that has entries: 40 bytes each, so that a page asks only where there is
    /// something.
    heads: DashMap<ConvId, Seq>,
    head: AtomicI64,
    active_rooms: AtomicI64,
    /// Members that the rooms list.
    listed: AtomicI64,
    positions: Mutex<Positions>,
    on_commit: RwLock<Option<Arc<OnCommit>>>,
    healthy: AtomicBool,
    /// `history_max_bytes` is reached and nothing can be shortened.
    full: AtomicBool,
    trimmer: Mutex<trim::Walk>,
    /// Domains that were removed while it ran, in lower case: nothing is made there any more.
    retired: Mutex<HashSet<String>>,
    /// Jobs on their way to the writer.
    queued: AtomicUsize,
    /// How long batches took.
    took: Mutex<Spread>,
}

/// Positions that are not on disk yet, and what else is written behind.
#[derive(Default)]
struct Positions {
    pending: Moved,
    /// Requests that were answered 200 after all.
    taken: HashSet<Origin>,
    /// Being written by the running batch; empty between batches.
    flushing: Arc<Moved>,
    confirming: Arc<HashSet<Origin>>,
}

/// What a request is answered that a device has taken at once.
const TAKEN: Answer = Answer { status: 200 };

type Moved = HashMap<AccountId, Vec<(DeviceKey, Seq)>>;

impl Positions {
    fn put(map: &mut Moved, id: AccountId, key: DeviceKey, seq: Seq) {
        let devices = map.entry(id).or_default();
        match devices.iter_mut().find(|(known, _)| *known == key) {
            Some((_, position)) => *position = seq.max(*position),
            None => devices.push((key, seq)),
        }
    }

    /// Whether anything is to be written.
    fn waits(&self) -> bool {
        !self.pending.is_empty() || !self.taken.is_empty()
    }

    /// Hands everything pending to the running batch.
    fn flush(&mut self) -> (Arc<Moved>, Arc<HashSet<Origin>>) {
        self.flushing = Arc::new(std::mem::take(&mut self.pending));
        self.confirming = Arc::new(std::mem::take(&mut self.taken));
        (self.flushing.clone(), self.confirming.clone())
    }

    /// The running batch is on disk.
    fn written(&mut self) {
        (self.flushing, self.confirming) = Default::default();
    }

    /// Whether a request was answered 200, as far as that is not on disk.
    fn is_taken(&self, origin: &Origin) -> bool {
        self.taken.contains(origin) || self.confirming.contains(origin)
    }

    /// The batch failed: what it held waits again.
    fn restore(&mut self) {
        self.taken.extend(std::mem::take(&mut self.confirming).iter());
        for (id, devices) in &*std::mem::take(&mut self.flushing) {
            for (key, seq) in devices {
                Self::put(&mut self.pending, *id, key.clone(), *seq);
            }
        }
    }

    /// Everything not on disk of one account.
    fn of(&self, id: AccountId) -> impl Iterator<Item = &(DeviceKey, Seq)> {
        self.flushing.get(&id).into_iter().chain(self.pending.get(&id)).flatten()
    }

    /// For deeds of the writer: between batches everything is pending.
    fn forget(&mut self, id: AccountId, device: Option<&str>) {
        match device {
            None => drop(self.pending.remove(&id)),
            Some(key) => {
                if let Some(devices) = self.pending.get_mut(&id) {
                    devices.retain(|(known, _)| &**known != key);
                }
            }
        }
    }
}

/// Wall clock, Unix milliseconds.
fn now_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMs)
}

impl Store {
    /// Opens the database, brings it to the present shape, adopts what the peers wrote, starts the writer.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] if the file cannot be written, [`Fault::Corrupt`] if it is not ours or newer than us.
    pub fn open(options: Options) -> Result<Store, Fault> {
        let tables = schema::Tables::new(&options.rooms_table, &options.members_table)?;
        let mut conn = sqlite::open_writer(&options.path, options.busy_timeout).map_err(sqlite::fault)?;
        schema::prepare(&mut conn, &tables)?;
        let readers = sqlite::Readers::open(&options.path, options.busy_timeout).map_err(sqlite::fault)?;
        let shards = 1usize << options.hash_size.clamp(1, 10);
        let heads = DashMap::with_shard_amount(shards);
        pages::load_heads(&conn, &heads).map_err(sqlite::fault)?;
        let head = schema::head(&conn).map_err(sqlite::fault)?;
        let sql = rooms::Statements::new(&tables);
        let count = |sql: &str| -> Result<i64, Fault> {
            conn.query_row(sql, [], |row| row.get(0)).map_err(sqlite::fault)
        };
        let (active, listed) = (count(&sql.count_rooms)?, count(&sql.count_members)?);
        let shared = Arc::new(Shared {
            sql,
            readers,
            rooms: DashMap::with_shard_amount(shards),
            accounts: DashMap::with_shard_amount(shards),
            heads,
            head: AtomicI64::new(head),
            active_rooms: AtomicI64::new(active),
            listed: AtomicI64::new(listed),
            positions: Mutex::default(),
            on_commit: RwLock::new(None),
            healthy: AtomicBool::new(true),
            full: AtomicBool::new(false),
            trimmer: Mutex::default(),
            retired: Mutex::default(),
            queued: AtomicUsize::new(0),
            took: Mutex::default(),
            options,
        });
        let writer = writer::Writer::start(shared.clone(), conn)?;
        let archive = archive::Archive::start(shared.clone())?;
        Ok(Store(Arc::new(Inner { shared, writer, archive })))
    }

    /// Sets who is told of commits: called on the writer thread after each is durable, in commit order, before the
    /// one who asked is answered. It must be quick, and must not wait for the store.
    pub fn on_commit(&self, f: OnCommit) {
        *self.0.shared.on_commit.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(f));
    }

    /// Makes all effects of one request durable, or none.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] if the storage takes no writes now: nothing was written, try again later.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.0.writer.send(&self.0.shared, writer::Job::Commit(commit, reply))?;
        answer.await.unwrap_or_else(|_| Err(writer::closed()))
    }

    /// What a request was answered, if it was accepted within the last 24 h (spec §5.7).
    pub fn accepted(&self, origin: &Origin) -> Result<Option<Accepted>, Fault> {
        // Asked first: what is written meanwhile is read below.
        let taken = self.0.shared.positions().is_taken(origin);
        let known = self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT status, body, at FROM accepted WHERE origin = ?1")?
                .query_row([&origin[..]], |row| {
                    Ok(Accepted {
                        origin: *origin,
                        answer: Answer { status: row.get(0)? },
                        body: row.get::<_, i64>(1)? as u64,
                        at: row.get(2)?,
                    })
                })
                .optional()
        })?;
        Ok(known.map(|known| if taken { Accepted { answer: TAKEN, ..known } } else { known }))
    }

    /// How long groups of writes took to be durable.
    pub fn took(&self) -> Spread {
        *self.0.shared.took.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes on their way to the disk.
    pub fn queued(&self) -> usize {
        self.0.shared.queued.load(Ordering::Relaxed)
    }

    /// The highest committed seq.
    pub fn head(&self) -> Seq {
        Seq(self.0.shared.head.load(Ordering::Acquire))
    }

    /// A random key of this name: made at the first use, the same ever after.
    ///
    /// Blocks until it is durable; meant for the start.
    pub fn secret(&self, name: &str) -> Result<[u8; 32], Fault> {
        let key = format!("secret:{name}");
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|error| Fault::Internal(error.to_string()))?;
        self.write_now(move |turn| {
            turn.conn.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                rusqlite::params![key, &fresh[..]],
            )?;
            let kept: Vec<u8> =
                turn.conn.query_row("SELECT value FROM meta WHERE key = ?1", [&key], |row| row.get(0))?;
            <[u8; 32]>::try_from(kept)
                .map_err(|_| sqlite::Failure::Own(Fault::Corrupt(format!("{key} has not 32 bytes"))))
        })
    }

    /// Takes entries back that nobody has taken (spec §5.4), and returns how many there were. `origin`: the request that
    /// brought them was not accepted after all.
    pub async fn withdraw(&self, seqs: Vec<Seq>, origin: Option<Origin>) -> Result<usize, Fault> {
        self.write(move |turn| {
            if let Some(origin) = origin {
                turn.conn.prepare_cached("DELETE FROM accepted WHERE origin = ?1")?.execute([&origin[..]])?;
            }
            let mut conversations = Vec::new();
            for seq in seqs {
                let conversation = turn
                    .conn
                    .prepare_cached("DELETE FROM log WHERE seq = ?1 RETURNING conversation")?
                    .query_row([seq.0], |row| row.get(0).map(ConvId))
                    .optional()?;
                conversations.extend(conversation);
                turn.conn.prepare_cached("DELETE FROM receipt WHERE seq = ?1")?.execute([seq.0])?;
            }
            turn.entries_deleted(&conversations)?;
            Ok(conversations.len())
        })
        .await
    }

    /// A device took what this request brought: it was answered 200, and so are its repetitions (spec §5.7). Written like
    /// positions; lost in a crash, they hear 202.
    pub fn taken(&self, origin: Origin) {
        let mut positions = self.0.shared.positions();
        let wake = !positions.waits();
        positions.taken.insert(origin);
        drop(positions);
        if wake {
            self.0.writer.wake();
        }
    }

    /// How far devices have got. Not waited for: the newest of it may be lost in a crash, and then some
    /// deliveries are repeated. A position only grows; a device not known yet is made. Touches `seen`.
    pub fn positions(&self, moved: Vec<(AccountId, DeviceKey, Seq)>) {
        if moved.is_empty() {
            return;
        }
        let mut positions = self.0.shared.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let wake = !positions.waits();
        for (id, key, seq) in moved {
            Positions::put(&mut positions.pending, id, key, seq);
        }
        drop(positions);
        if wake {
            self.0.writer.wake();
        }
    }

    /// Resolves when everything told so far, positions included, is on disk or could not be written.
    pub async fn flush(&self) {
        let flushed = self.write(|turn| {
            turn.flush_positions = true;
            Ok(())
        });
        if let Err(fault) = flushed.await {
            tracing::warn!(%fault, "positions not flushed");
        }
    }

    /// Resolves when the writer has come to the end of what was queued, whether or not the disk took it. Writes nothing.
    pub async fn has_turned(&self) {
        // A fault is an answer, too.
        let _ = self.write(|_| Ok(())).await;
    }

    /// Copies the database into `file`, which must be empty or not there, as it is at one moment. Takes no lock that a writer
    /// would wait for; blocks the caller.
    pub fn backup(&self, file: &std::path::Path) -> Result<(), Fault> {
        let file = file.to_string_lossy().into_owned();
        self.0.shared.readers.ask(|conn| conn.execute("VACUUM INTO ?1", [file]).map(drop))
    }

    /// Whether the last write got through. False: every commit is tried, and the writer tries by itself.
    pub fn healthy(&self) -> bool {
        self.0.shared.healthy.load(Ordering::Relaxed) && self.0.writer.runs()
    }

    /// Flushes positions, moves the write-ahead log into the file and ends the threads. Later commits fail.
    pub fn close(&self) {
        self.0.archive.close();
        self.0.writer.close();
        *self.0.shared.on_commit.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets go of what nobody asked for during ten minutes.
    pub fn sweep(&self, now: UnixMs) {
        self.0.shared.sweep_rooms(now);
        self.0.shared.sweep_accounts();
    }

    /// Queues a deed of ours behind the commits and waits for it to be durable.
    async fn write<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&mut turn::Turn<'_>) -> Result<T, sqlite::Failure> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let job = writer::Job::deed(deed, move |result| drop(reply.send(result)));
        self.0.writer.send(&self.0.shared, job)?;
        answer.await.unwrap_or_else(|_| Err(writer::closed()))
    }

    /// The same, blocking.
    fn write_now<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&mut turn::Turn<'_>) -> Result<T, sqlite::Failure> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let job = writer::Job::deed(deed, move |result| drop(reply.send(result)));
        self.0.writer.send(&self.0.shared, job)?;
        answer.recv().unwrap_or_else(|_| Err(writer::closed()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.archive.close();
        self.writer.close();
    }
}
