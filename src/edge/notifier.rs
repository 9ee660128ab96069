//! Feeds the presence agent with answers and time, and sends its NOTIFYs.
//!
//! One thread beside the shards, so that a storm of changes takes nothing from the rooms but its share of the
//! processor. It sends over the first shard's sockets and receives nothing: responses come from the shards, by the
//! branch. What is to be kept another thread hands to the store: no watcher waits for the disk. Decides nothing.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::driver::{Inbox, Mail};
use super::transport::send_all;
use super::transport::tcp::Streams;
use super::transport::udp::Faces;
use crate::chat::shard::{Input as ShardInput, Now, Outgoing};
use crate::presence::agent::{Agent, Counters, Event, Input, Save};
use crate::refusal::Fault;
use crate::service::clock::Clock;

/// What has changed is written this long after the first change.
const SAVE_AFTER: Duration = Duration::from_millis(500);

/// Changes that wait for a store that takes no writes.
const UNSAVED_MAX: usize = 100_000;

/// They are offered to it again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who hears what the agent says.
pub trait Hears: Send + Sync + 'static {
    fn event(&self, event: Event);
    /// To be written, in this order. Waits until it is; false: it is not.
    fn save(&self, saves: Vec<Save>) -> bool;
}

/// Everything the thread owns.
pub struct Notifier {
    pub agent: Agent,
    /// Place of its inbox among `inboxes`.
    pub index: usize,
    pub inboxes: Arc<Vec<Inbox>>,
    /// By listener index; `None` for listeners that are not UDP.
    pub sockets: Vec<Option<UdpSocket>>,
    pub faces: Arc<Faces>,
    pub streams: Arc<Streams>,
    pub hears: Arc<dyn Hears>,
    pub clock: Clock,
    pub gauges: Arc<Mutex<Counters>>,
}

impl Notifier {
    /// Starts the thread. It ends on [`Mail::Stop`], after every watcher was told.
    pub fn start(self) -> Result<JoinHandle<()>, Fault> {
        let saver = Saver::start(self.hears.clone())?;
        thread("notifier", move || self.run(saver))
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), ms: self.clock.steady() }
    }

    fn run(mut self, saver: Saver) {
        let inboxes = self.inboxes.clone();
        let inbox = &inboxes[self.index];
        let (mut out, mut events, mut mail) = (Outgoing::default(), Vec::new(), Vec::new());
        let mut save_at: Option<Instant> = None;
        self.agent.restored(self.now(), &mut out, &mut events);
        self.flush(&mut out, &mut events);
        loop {
            let due = self.agent.due(self.now()).into_iter().chain(save_at).min();
            inbox.wait(due.map(|due| due.saturating_duration_since(Instant::now())));
            inbox.take(&mut mail);
            for letter in mail.drain(..) {
                let input = match letter {
                    Mail::Presence(input) => *input,
                    Mail::Shard(ShardInput::Response(reply)) => Input::Response(reply),
                    Mail::Shard(ShardInput::Failed(branch)) => Input::Failed(branch),
                    Mail::Stop(_) => {
                        self.agent.input(self.now(), Input::Stop, &mut out, &mut events);
                        self.flush(&mut out, &mut events);
                        return saver.end(self.changes());
                    }
                    _ => continue,
                };
                self.agent.input(self.now(), input, &mut out, &mut events);
                // Nothing waits for the end of a storm.
                if out.len() >= 64 {
                    self.flush(&mut out, &mut events);
                }
            }
            self.agent.poll(self.now(), &mut out, &mut events);
            self.flush(&mut out, &mut events);
            if save_at.is_some_and(|at| at <= Instant::now()) {
                save_at = None;
                // What the store is slow to take is marked meanwhile, each thing once.
                if !saver.is_busy() {
                    saver.take(self.changes());
                }
            }
            if save_at.is_none() && self.agent.has_changed() {
                save_at = Some(Instant::now() + SAVE_AFTER);
            }
        }
    }

    fn changes(&mut self) -> Vec<Save> {
        let mut changes = Vec::new();
        self.agent.save(&mut changes);
        changes
    }

    fn flush(&mut self, out: &mut Outgoing, events: &mut Vec<Event>) {
        let (now, agent) = (self.now(), &mut self.agent);
        send_all(out, &self.sockets, &self.faces, &self.streams, |branch, out| {
            agent.input(now, Input::Failed(branch), out, events);
        });
        for event in events.drain(..) {
            self.hears.event(event);
        }
        *self.gauges.lock().unwrap_or_else(PoisonError::into_inner) = self.agent.counters();
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fault> {
    let started = std::thread::Builder::new().name(name.into()).spawn(run);
    started.map_err(|error| Fault::Internal(format!("thread: {error}")))
}

/// Waits for the store in the notifier's place.
struct Saver {
    changes: SyncSender<Vec<Save>>,
    busy: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Saver {
    fn start(hears: Arc<dyn Hears>) -> Result<Saver, Fault> {
        let (changes, taken) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let works = busy.clone();
        let thread = thread("presence-saver", move || save_all(&*hears, &taken, &works))?;
        Ok(Saver { changes, busy, thread })
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Waits if it is busy.
    fn take(&self, changes: Vec<Save>) {
        self.busy.store(true, Ordering::Release);
        // It takes until it is told to end.
        drop(self.changes.send(changes));
    }

    /// Waits until everything is written, or cannot be.
    fn end(self, last: Vec<Save>) {
        self.take(last);
        drop(self.changes);
        drop(self.thread.join());
    }
}

fn save_all(hears: &dyn Hears, taken: &Receiver<Vec<Save>>, busy: &AtomicBool) {
    let mut unsaved: Vec<Save> = Vec::new();
    loop {
        let more = match unsaved.is_empty() {
            true => taken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => taken.recv_timeout(AGAIN_AFTER),
        };
        if matches!(more, Err(RecvTimeoutError::Disconnected)) {
            return;
        }
        unsaved.extend(more.unwrap_or_default());
        if unsaved.is_empty() || hears.save(unsaved.clone()) {
            unsaved.clear();
        }
        // A store that stays away for long costs what is oldest.
        unsaved.drain(..unsaved.len().saturating_sub(UNSAVED_MAX));
        busy.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that fails until it is offered the row `until`, or has failed often enough, and keeps what it took.
    struct Moody {
        until: i64,
        fails: Mutex<usize>,
        took: Mutex<Vec<i64>>,
    }

    impl Hears for Moody {
        fn event(&self, _: Event) {}

        fn save(&self, saves: Vec<Save>) -> bool {
            let key = |save: &Save| match save {
                Save::Subscription { key, .. } => *key,
                Save::Publications { .. } => 0,
            };
            let keys: Vec<i64> = saves.iter().map(key).collect();
            let mut fails = self.fails.lock().unwrap();
            if *fails > 0 && !keys.contains(&self.until) {
                *fails -= 1;
                return false;
            }
            self.took.lock().unwrap().extend(keys);
            true
        }
    }

    fn saver(until: i64, fails: usize) -> (Arc<Moody>, Saver) {
        let moody = Arc::new(Moody { until, fails: Mutex::new(fails), took: Mutex::default() });
        (moody.clone(), Saver::start(moody).unwrap())
    }

    fn rows(keys: std::ops::Range<i64>) -> Vec<Save> {
        keys.map(|key| Save::Subscription { key, row: None }).collect()
    }

    #[test]
    fn p13_what_a_store_does_not_take_it_is_offered_again() {
        let (moody, saver) = saver(i64::MAX, 1);
        saver.take(rows(1..3));
        while saver.is_busy() || moody.took.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(*moody.took.lock().unwrap(), [1, 2]);
        saver.end(rows(3..4));
        assert_eq!(*moody.took.lock().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn a_store_that_stays_away_costs_what_is_oldest_and_nothing_of_the_order() {
        let most = UNSAVED_MAX as i64;
        let (moody, saver) = saver(most + 10, usize::MAX);
        saver.take(rows(0..10));
        saver.take(rows(10..most + 10));
        saver.end(rows(most + 10..most + 11));
        let took = moody.took.lock().unwrap();
        assert!(took.is_sorted());
        assert_eq!((took.first().copied(), took.len()), (Some(10), UNSAVED_MAX + 1));
    }
}
