//! Feeds the presence agent with answers and time, and sends its NOTIFYs.
//!
//! One thread beside the shards, so that a storm of changes takes nothing from the rooms but its share of the
//! processor. It sends over the first shard's sockets and receives nothing: responses come from the shards, by the
//! branch. Decides nothing.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::driver::{Inbox, Mail};
use super::transport::tcp::Streams;
use super::transport::udp::{self, Faces};
use crate::chat::shard::{Input as ShardInput, Now, Outgoing};
use crate::presence::agent::{Agent, Counters, Event, Input, Save};
use crate::refusal::Fault;
use crate::service::clock::Clock;
use crate::types::Dest;

/// What has changed is written this long after the first change.
const SAVE_AFTER: Duration = Duration::from_millis(500);

/// Changes that wait for a store that takes no writes.
const UNSAVED_MAX: usize = 100_000;

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
    /// What the store did not take.
    pub unsaved: Vec<Save>,
}

impl Notifier {
    /// Starts the thread. It ends on [`Mail::Stop`], after every watcher was told.
    pub fn start(self) -> Result<JoinHandle<()>, Fault> {
        std::thread::Builder::new()
            .name("notifier".into())
            .spawn(move || self.run())
            .map_err(|error| Fault::Internal(format!("thread: {error}")))
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), ms: self.clock.steady() }
    }

    fn run(mut self) {
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
                    Mail::Stop => {
                        self.agent.input(self.now(), Input::Stop, &mut out, &mut events);
                        self.flush(&mut out, &mut events);
                        return self.save();
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
                self.save();
            }
            if save_at.is_none() && self.agent.has_changed() {
                save_at = Some(Instant::now() + SAVE_AFTER);
            }
        }
    }

    fn save(&mut self) {
        let mut saves = std::mem::take(&mut self.unsaved);
        self.agent.save(&mut saves);
        if saves.is_empty() || self.hears.save(saves.clone()) {
            return;
        }
        // Tried again with the next change. A store that stays away for long costs what is oldest.
        let surplus = saves.len().saturating_sub(UNSAVED_MAX);
        self.unsaved = saves.split_off(surplus);
    }

    fn flush(&mut self, out: &mut Outgoing, events: &mut Vec<Event>) {
        // A failed send is an input that may send again: a few rounds at most.
        for _ in 0..4 {
            if out.is_empty() {
                break;
            }
            let sending = std::mem::take(out);
            let mut failed = Vec::new();
            for (to, bytes, branch) in sending.iter() {
                let sent = match to {
                    Dest::Udp { listener, to } => {
                        udp::send(&self.sockets, &self.faces, listener, to, bytes).is_ok()
                    }
                    Dest::Conn(conn) => self.streams.send(conn, bytes, branch),
                    Dest::Connect(to) => {
                        self.streams.send_to(to, bytes, branch);
                        true
                    }
                };
                if let (false, Some(branch)) = (sent, branch) {
                    failed.push(branch);
                }
            }
            *out = sending;
            out.clear();
            for branch in failed {
                self.agent.input(self.now(), Input::Failed(branch), out, events);
            }
        }
        for event in events.drain(..) {
            self.hears.event(event);
        }
        *self.gauges.lock().unwrap_or_else(PoisonError::into_inner) = self.agent.counters();
    }
}
