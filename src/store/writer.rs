//! The thread that writes: takes everything queued, commits it as one transaction, then tells and answers.
//!
//! Prevents that an answer leaves before fsync, and that one request's misfortune takes its neighbours along.
//! Never waits to make a batch bigger, never decides.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::sqlite::{Failure, checkpoint, fault, open_checkpointer, open_writer, wants_reopen};
use super::turn::Turn;
use super::{Moved, Shared};
use crate::refusal::Fault;
use crate::types::{Commit, Committed, Origin};

/// Jobs in one transaction.
const BATCH: usize = 2048;
/// Jobs that may wait; above it the store is unavailable.
const QUEUE: usize = 65_536;
/// An idle writer writes positions after this long.
const IDLE_FLUSH: Duration = Duration::from_millis(50);
/// A busy writer writes positions this often, unless they are few.
const BUSY_FLUSH: Duration = Duration::from_secs(1);
/// Accounts whose positions ride on any commit: about 1 µs each.
const FEW: usize = 64;
/// How often an unhealthy store is tried.
const PROBE: Duration = Duration::from_secs(1);
/// Bytes written, by estimate, at which a checkpoint is due.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// Pages in the write-ahead log at which the writer stops for a moment, so that it can start over.
const WAL_PAGES: i64 = 16_384;

pub(super) type Reply = oneshot::Sender<Result<Committed, Fault>>;
type Finish = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// Something to write that is not a commit. Given a fault instead of a turn, it passes it on.
type Deed = Box<dyn FnOnce(Result<&mut Turn<'_>, Fault>) -> Verdict + Send>;

/// What a deed came to before the transaction ended, and who is to be told how that went.
pub(super) struct Verdict {
    failure: Option<Failure>,
    finish: Finish,
}

pub(super) enum Job {
    Commit(Commit, Reply),
    Deed(Deed),
    Wake,
    Close,
}

impl Job {
    pub(super) fn deed<T: Send + 'static>(
        deed: impl FnOnce(&mut Turn<'_>) -> Result<T, Failure> + Send + 'static,
        reply: impl FnOnce(Result<T, Fault>) + Send + 'static,
    ) -> Job {
        Job::Deed(Box::new(move |turn| {
            let result = match turn {
                Ok(turn) => deed(turn),
                Err(fault) => Err(Failure::Own(fault)),
            };
            match result {
                Ok(value) => {
                    Verdict { failure: None, finish: Box::new(move |end| reply(end.map(|()| value))) }
                }
                Err(failure) => Verdict {
                    failure: Some(failure),
                    finish: Box::new(move |end| reply(end.and(Err(closed())))),
                },
            }
        }))
    }
}

pub(super) fn closed() -> Fault {
    Fault::Unavailable("the store is closed".into())
}

/// The way to the thread.
pub(super) struct Writer {
    queue: Sender<Job>,
    threads: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
    checkpoints: Arc<Checkpoints>,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>, conn: Connection) -> Result<Writer, Fault> {
        let (queue, jobs) = mpsc::channel();
        let checkpoints = Arc::new(Checkpoints::default());
        let spawn = |error: std::io::Error| Fault::Unavailable(error.to_string());
        let second = open_checkpointer(&shared.options.path).map_err(fault)?;
        let sweeper = {
            let checkpoints = checkpoints.clone();
            std::thread::Builder::new().name("checkpoint".into()).spawn(move || checkpoints.run(&second))
        }
        .map_err(spawn)?;
        let thread = Thread {
            shared,
            conn: Some(conn),
            jobs,
            checkpoints: checkpoints.clone(),
            flushed: Instant::now(),
        };
        let writer =
            std::thread::Builder::new().name("store".into()).spawn(move || thread.run()).map_err(spawn)?;
        Ok(Writer { queue, threads: Mutex::new(Some((writer, sweeper))), checkpoints })
    }

    pub(super) fn send(&self, shared: &Shared, job: Job) -> Result<(), Fault> {
        if shared.queued.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            shared.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(Fault::Unavailable(format!("{QUEUE} writes wait")));
        }
        self.queue.send(job).map_err(|_| closed())
    }

    pub(super) fn wake(&self) {
        // Fails only when the thread has ended, and then nobody is left to be woken.
        drop(self.queue.send(Job::Wake));
    }

    pub(super) fn runs(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.as_ref().is_some_and(|(writer, _)| !writer.is_finished())
    }

    pub(super) fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((writer, sweeper)) = threads else { return };
        drop(self.queue.send(Job::Close));
        // The last clone may have been held by whom the writer tells of commits: it cannot wait for itself.
        if writer.thread().id() != std::thread::current().id() && writer.join().is_err() {
            tracing::error!("the store's writer panicked");
        }
        self.checkpoints.close();
        if sweeper.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    /// `None` after an error that only a new connection can mend.
    conn: Option<Connection>,
    jobs: Receiver<Job>,
    checkpoints: Arc<Checkpoints>,
    flushed: Instant,
}

/// One deed of a batch, done and not yet durable.
enum Waiting {
    Commit(Reply, Committed),
    /// The one that met the error which ends the batch; answered with the others, after the rollback.
    Refused(Reply),
    Deed(Finish),
}

impl Thread {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut open = true;
        while open {
            let idle = match self.next() {
                Ok(job) => {
                    let mut next = Some(job);
                    while let Some(job) = next {
                        match job {
                            Job::Wake => {}
                            Job::Close => open = false,
                            job => {
                                self.shared.queued.fetch_sub(1, Ordering::Relaxed);
                                batch.push(job);
                            }
                        }
                        next = if batch.len() < BATCH { self.jobs.try_recv().ok() } else { None };
                    }
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    true
                }
            };
            if !batch.is_empty() || idle || !open {
                self.batch(&mut batch, idle || !open);
            }
        }
    }

    /// The next job, or the time-out at which there is something to do without one.
    fn next(&self) -> Result<Job, RecvTimeoutError> {
        let positions = self.shared.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = positions.waits();
        drop(positions);
        if !self.shared.healthy.load(Ordering::Relaxed) {
            self.jobs.recv_timeout(PROBE)
        } else if pending {
            self.jobs.recv_timeout(IDLE_FLUSH)
        } else {
            self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    fn batch(&mut self, jobs: &mut Vec<Job>, flush: bool) {
        let shared = self.shared.clone();
        let count = jobs.len();
        let conn = match self.connect() {
            Ok(conn) => conn,
            Err(error) => return refuse(&shared, jobs.drain(..), Vec::new(), &error),
        };
        let mut waiting = Vec::with_capacity(jobs.len());
        let mut jobs = jobs.drain(..);
        let begun = Instant::now();
        match Self::transact(&shared, &conn, &mut jobs, &mut waiting, flush, &mut self.flushed) {
            Ok(done) => {
                shared.took.lock().unwrap_or_else(PoisonError::into_inner).add(begun.elapsed());
                if !shared.healthy.swap(true, Ordering::Relaxed) {
                    tracing::info!("the store takes writes again");
                }
                shared.positions().written();
                let bytes = done.bytes;
                done.publish();
                for deed in waiting {
                    match deed {
                        // Who no longer waits for the answer does not get it; the deed stands.
                        Waiting::Commit(reply, committed) => drop(reply.send(Ok(committed))),
                        // Its batch did not get here; for the compiler's sake it is told no.
                        Waiting::Refused(reply) => drop(reply.send(Err(closed()))),
                        Waiting::Deed(finish) => finish(Ok(())),
                    }
                }
                if self.checkpoints.pages.load(Ordering::Relaxed) > WAL_PAGES {
                    // Appends beside the checkpoints keep the log from starting over: stop for once.
                    if let Err(error) = checkpoint(&conn) {
                        tracing::warn!(%error, "checkpoint failed");
                    }
                    self.checkpoints.pages.store(0, Ordering::Relaxed);
                }
                self.checkpoints.owe(bytes + 8192 * count as u64);
                self.conn = Some(conn);
            }
            Err(error) => {
                if !conn.is_autocommit()
                    && let Err(second) = conn.execute_batch("ROLLBACK")
                {
                    tracing::error!(error = %second, "rollback failed");
                }
                shared.positions().restore();
                if wants_reopen(&error) {
                    // What the file holds now is not known: nothing remembered of it is to be trusted.
                    shared.rooms.clear();
                    shared.accounts.clear();
                } else {
                    self.conn = Some(conn);
                }
                refuse(&shared, jobs, waiting, &error);
            }
        }
    }

    fn connect(&mut self) -> rusqlite::Result<Connection> {
        if let Some(conn) = self.conn.take() {
            return Ok(conn);
        }
        let conn = open_writer(&self.shared.options.path, self.shared.options.busy_timeout)?;
        let head = super::schema::head(&conn)?;
        self.shared.head.fetch_max(head, Ordering::AcqRel);
        tracing::warn!("database opened anew");
        Ok(conn)
    }

    fn transact<'s>(
        shared: &'s Shared,
        conn: &'s Connection,
        jobs: &mut impl Iterator<Item = Job>,
        waiting: &mut Vec<Waiting>,
        flush: bool,
        flushed: &mut Instant,
    ) -> rusqlite::Result<Turn<'s>> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut turn = Turn::new(conn, shared);
        for job in jobs {
            match job {
                Job::Commit(commit, reply) => match turn.commit(commit) {
                    Ok(committed) => waiting.push(Waiting::Commit(reply, committed)),
                    Err(Failure::Own(fault)) => drop(reply.send(Err(fault))),
                    Err(Failure::Storage(error)) => {
                        waiting.push(Waiting::Refused(reply));
                        return Err(error);
                    }
                },
                Job::Deed(deed) => {
                    conn.prepare_cached("SAVEPOINT deed")?.execute([])?;
                    let verdict = deed(Ok(&mut turn));
                    match verdict.failure {
                        None => waiting.push(Waiting::Deed(verdict.finish)),
                        Some(Failure::Own(fault)) => {
                            conn.prepare_cached("ROLLBACK TO deed")?.execute([])?;
                            turn.forget_known();
                            (verdict.finish)(Err(fault));
                        }
                        Some(Failure::Storage(error)) => {
                            waiting.push(Waiting::Deed(verdict.finish));
                            return Err(error);
                        }
                    }
                    conn.prepare_cached("RELEASE deed")?.execute([])?;
                }
                Job::Wake | Job::Close => {}
            }
        }
        let due = {
            let mut positions = shared.positions.lock().unwrap_or_else(PoisonError::into_inner);
            let due = flush
                || turn.flush_positions
                || flushed.elapsed() >= BUSY_FLUSH
                || positions.pending.len().max(positions.taken.len()) <= FEW;
            due.then(|| positions.flush())
        };
        if let Some((moved, taken)) = due {
            *flushed = Instant::now();
            turn.write_positions(&moved)?;
            turn.write_taken(&taken)?;
        }
        if !shared.healthy.load(Ordering::Relaxed) {
            // Something must be written, or a full disk would look well.
            conn.execute(
                "INSERT INTO meta (key, value) VALUES ('probe', 1)
                 ON CONFLICT (key) DO UPDATE SET value = value + 1",
                [],
            )?;
        }
        conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(turn)
    }
}

fn unavailable(error: &rusqlite::Error) -> Fault {
    Fault::Unavailable(error.to_string())
}

/// Tells everybody in a batch that nothing of it was written.
fn refuse(shared: &Shared, jobs: impl Iterator<Item = Job>, waiting: Vec<Waiting>, error: &rusqlite::Error) {
    if shared.healthy.swap(false, Ordering::Relaxed) {
        tracing::error!(%error, "the store takes no writes");
    }
    for deed in waiting {
        match deed {
            Waiting::Commit(reply, _) | Waiting::Refused(reply) => drop(reply.send(Err(unavailable(error)))),
            Waiting::Deed(finish) => finish(Err(unavailable(error))),
        }
    }
    for job in jobs {
        match job {
            Job::Commit(_, reply) => drop(reply.send(Err(unavailable(error)))),
            Job::Deed(deed) => (deed(Err(unavailable(error))).finish)(Err(unavailable(error))),
            Job::Wake | Job::Close => {}
        }
    }
}

/// Moves the write-ahead log into the file, beside the writer.
#[derive(Default)]
struct Checkpoints {
    owed: Mutex<Owed>,
    due: Condvar,
    /// Pages in the log, as the last checkpoint found it.
    pages: AtomicI64,
}

#[derive(Default)]
struct Owed {
    bytes: u64,
    closing: bool,
}

impl Checkpoints {
    fn owe(&self, bytes: u64) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.bytes += bytes;
        if owed.bytes >= CHECKPOINT_BYTES {
            self.due.notify_one();
        }
    }

    fn close(&self) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).closing = true;
        self.due.notify_one();
    }

    fn run(&self, conn: &Connection) {
        loop {
            let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
            // A log that is left alone is emptied as well, so that the next start need not.
            let wait = |owed: &mut Owed| !owed.closing && owed.bytes < CHECKPOINT_BYTES;
            let (mut owed, _) = match self.due.wait_timeout_while(owed, Duration::from_secs(1), wait) {
                Ok(woken) => woken,
                Err(poisoned) => poisoned.into_inner(),
            };
            let closing = owed.closing;
            let bytes = std::mem::take(&mut owed.bytes);
            drop(owed);
            if bytes > 0 || closing {
                match checkpoint(conn) {
                    Ok(pages) => self.pages.store(pages, Ordering::Relaxed),
                    Err(error) => tracing::warn!(%error, "checkpoint failed"),
                }
            }
            if closing {
                return;
            }
        }
    }
}

impl Turn<'_> {
    fn write_taken(&self, taken: &HashSet<Origin>) -> rusqlite::Result<()> {
        let mut put = self.conn.prepare_cached("UPDATE accepted SET status = ?2 WHERE origin = ?1")?;
        for origin in taken {
            put.execute(rusqlite::params![&origin[..], super::TAKEN.status])?;
        }
        Ok(())
    }

    fn write_positions(&self, moved: &Moved) -> rusqlite::Result<()> {
        let mut put = self.conn.prepare_cached(
            "INSERT INTO device (account, instance, position, seen)
             SELECT id, ?2, max(?3, base), ?4 FROM account WHERE id = ?1
             ON CONFLICT (account, instance) DO UPDATE SET
                position = max(position, excluded.position), seen = max(seen, excluded.seen)",
        )?;
        for (id, devices) in moved {
            for (key, seq) in devices {
                put.execute(rusqlite::params![id.0, &**key, seq.0, self.now])?;
            }
        }
        Ok(())
    }
}
