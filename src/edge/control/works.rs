//! What takes long, and how far it is.
//!
//! Prevents that an administrator stares at an import and does not know whether it is alive. Never holds anything up:
//! who works counts, who wants to know looks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::deeds::Denied;

/// Ended works that are remembered.
const ENDED_MAX: usize = 20;
/// Works that run at the same time. Each goes on when whoever asked for it hangs up, and asks for another.
const RUNNING_MAX: usize = 64;

/// How a work is, as management shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WorkInfo {
    /// Its name in the table.
    pub command: &'static str,
    /// Whom or what it is done for.
    pub about: String,
    /// When it began, in the server's time zone.
    pub since: String,
    /// `running`, `done` or `failed`.
    pub state: &'static str,
    /// What it is at.
    pub step: &'static str,
    /// Of this step: rows, letters or bytes.
    pub done: u64,
    /// How many there are; 0: not known.
    pub total: u64,
}

#[derive(Debug)]
struct Entry {
    command: &'static str,
    about: String,
    since: String,
    /// An index into [`STATES`].
    state: AtomicU8,
    step: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
}

const STATES: [&str; 3] = ["running", "done", "failed"];

/// All works: what runs, and what has ended last.
#[derive(Clone, Default, Debug)]
pub struct Works(Arc<Mutex<VecDeque<Arc<Entry>>>>);

/// One that runs. It has failed when it is dropped before [`Work::end`].
#[derive(Debug)]
pub struct Work(Arc<Entry>);

impl Works {
    /// A work begins, unless too many run already. `since`: now, as people read it.
    pub fn begin(&self, command: &'static str, about: String, since: String) -> Result<Work, Denied> {
        let step = Mutex::new("");
        let (state, done, total) = (AtomicU8::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let entry = Arc::new(Entry { command, about, since, state, step, done, total });
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = entries.iter().filter(|entry| !entry.runs()).count();
        if entries.len() - ended >= RUNNING_MAX {
            return Err(Denied::Refused(format!(
                "{RUNNING_MAX} such works run already; server work tells which"
            )));
        }
        if ended >= ENDED_MAX
            && let Some(oldest) = entries.iter().position(|entry| !entry.runs())
        {
            entries.remove(oldest);
        }
        entries.push_back(entry.clone());
        Ok(Work(entry))
    }

    /// In the order in which they began.
    pub fn list(&self) -> Vec<WorkInfo> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| entry.info()).collect()
    }
}

impl Entry {
    fn runs(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    fn info(&self) -> WorkInfo {
        WorkInfo {
            command: self.command,
            about: self.about.clone(),
            since: self.since.clone(),
            state: STATES[usize::from(self.state.load(Ordering::Relaxed)) % STATES.len()],
            step: *self.step.lock().unwrap_or_else(PoisonError::into_inner),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
        }
    }
}

impl Work {
    /// How far it is: so many of `total` things of this step; 0: nobody knows how many there are.
    pub fn at(&self, step: &'static str, done: u64, total: u64) {
        *self.0.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
        self.0.done.store(done, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// So many more of the step are done.
    pub fn add(&self, done: u64) {
        self.0.done.fetch_add(done, Ordering::Relaxed);
    }

    /// It is done, or it failed.
    pub fn end<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        self.0.state.store(if result.is_ok() { 1 } else { 2 }, Ordering::Relaxed);
        result
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What was told its end has one already.
        let _ = self.0.state.compare_exchange(0, 2, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(works: &Works) -> Vec<(String, &'static str, u64)> {
        works.list().into_iter().map(|work| (work.about, work.state, work.done)).collect()
    }

    #[test]
    fn a_work_tells_how_far_it_is_and_how_it_ended() {
        let works = Works::default();
        let begin = |about: &str| works.begin("import.imc", about.into(), "now".into()).unwrap();
        let (first, second, third) = (begin("a"), begin("b"), begin("c"));
        first.at("reading", 3, 0);
        first.add(4);
        assert_eq!(states(&works)[0], ("a".into(), "running", 7));
        first.at("making rooms", 1, 9);
        assert_eq!(
            (works.list()[0].done, works.list()[0].total, works.list()[0].step),
            (1, 9, "making rooms")
        );
        assert_eq!(first.end(Ok::<_, ()>(1)), Ok(1));
        assert_eq!(second.end(Err::<(), _>(2)), Err(2));
        drop(third);
        let ended: Vec<_> = states(&works).into_iter().map(|(_, state, _)| state).collect();
        assert_eq!(ended, ["done", "failed", "failed"]);
    }

    #[test]
    fn what_has_ended_long_ago_makes_way_and_what_runs_stays() {
        let works = Works::default();
        let running = works.begin("server.backup", "first".into(), String::new()).unwrap();
        for n in 0..100 {
            drop(works.begin("server.backup", n.to_string(), String::new()).unwrap());
        }
        let list = works.list();
        assert_eq!(list.len(), ENDED_MAX + 1);
        assert_eq!((list[0].about.as_str(), list[1].about.as_str()), ("first", "80"));
        drop(running);
    }
    #[test]
    fn so_many_run_and_no_more_until_one_has_ended() {
        let works = Works::default();
        let begin = || works.begin("message.broadcast", String::new(), String::new());
        let mut running: Vec<_> = (0..RUNNING_MAX).map(|_| begin().unwrap()).collect();
        assert!(matches!(begin(), Err(Denied::Refused(_))));
        drop(running.pop());
        assert!(begin().is_ok());
        assert!(works.list().len() <= RUNNING_MAX + ENDED_MAX);
    }
}
