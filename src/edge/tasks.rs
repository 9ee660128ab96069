//! Requests that are served on the shard's own thread.
//!
//! A post is judged in microseconds and then waits for the disk. Carried to a runtime and back, it would pay four
//! wake-ups on the way; served here it pays one, and the one that brings its answer also brings what is to be
//! delivered. Only for deeds that never block: everything else belongs on the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::driver::{Inbox, Mail};

/// What a served request comes to.
pub type Serving<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A task's name; `turn` tells it from former ones in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    place: u32,
    turn: u32,
}

struct Task<K, T> {
    key: K,
    future: Serving<T>,
    waker: Waker,
}

/// Tasks of one shard.
pub struct Tasks<K, T> {
    places: Vec<(u32, Option<Task<K, T>>)>,
    free: Vec<u32>,
    inboxes: Arc<Vec<Inbox>>,
    shard: usize,
}

struct Knock {
    inboxes: Arc<Vec<Inbox>>,
    shard: usize,
    id: TaskId,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.inboxes[self.shard].push(Mail::Poll(self.id));
    }
}

impl<K: Copy, T> Tasks<K, T> {
    pub fn new(inboxes: Arc<Vec<Inbox>>, shard: usize) -> Tasks<K, T> {
        Tasks { places: Vec::new(), free: Vec::new(), inboxes, shard }
    }

    /// Begins a task. `Some`: it is done already.
    pub fn start(&mut self, key: K, future: Serving<T>) -> Option<(K, T)> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push((0, None));
                (self.places.len() - 1) as u32
            }
        };
        let id = TaskId { place, turn: self.places[place as usize].0 };
        let knock = Knock { inboxes: self.inboxes.clone(), shard: self.shard, id };
        let task = Task { key, future, waker: Arc::new(knock).into() };
        self.places[place as usize].1 = Some(task);
        self.poll(id)
    }

    /// Goes on with a task that was woken. `Some`: it is done.
    pub fn poll(&mut self, id: TaskId) -> Option<(K, T)> {
        let (turn, place) = self.places.get_mut(id.place as usize)?;
        let task = place.as_mut().filter(|_| *turn == id.turn)?;
        let mut context = Context::from_waker(&task.waker);
        let Poll::Ready(done) = task.future.as_mut().poll(&mut context) else { return None };
        let key = task.key;
        *place = None;
        *turn = turn.wrapping_add(1);
        self.free.push(id.place);
        Some((key, done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_waits_is_woken_through_the_inbox_and_a_late_knock_is_harmless() {
        let inboxes = Arc::new(vec![Inbox::new().unwrap()]);
        let mut tasks: Tasks<u8, u8> = Tasks::new(inboxes.clone(), 0);
        assert_eq!(tasks.start(1, Box::pin(async { 7 })), Some((1, 7)));
        let (tell, hear) = tokio::sync::oneshot::channel();
        assert_eq!(tasks.start(2, Box::pin(async { hear.await.unwrap() })), None);
        tell.send(9).unwrap();
        let mut mail = Vec::new();
        inboxes[0].take(&mut mail);
        let [Mail::Poll(id)] = mail[..] else { panic!("one knock was expected") };
        assert_eq!(tasks.poll(id), Some((2, 9)));
        assert_eq!(tasks.poll(id), None);
    }
}
