//! Answered requests that Timer J still remembers.
//!
//! Prevents that a retransmission is taken for a new request, and that memory of them grows with the load: a plain
//! answer is kept as its status code and made again from the retransmission itself. Never sends.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::identity::{KeyMap, TxKey};

/// How an answer is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Nothing in it but what the request itself and this status say.
    Plain(u16),
    /// With headers or a body of its own: the bytes.
    Whole(Bytes),
}

impl Answer {
    fn weight(&self) -> usize {
        match self {
            Answer::Plain(_) => 0,
            Answer::Whole(bytes) => bytes.len(),
        }
    }
}

/// All completed transactions, oldest out first: by time, by number and by bytes kept.
pub(super) struct Completed {
    answers: KeyMap<Answer>,
    order: VecDeque<(TxKey, Instant)>,
    max: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Completed {
    pub(super) fn new(max: usize, bytes_max: usize) -> Completed {
        Completed { answers: KeyMap::default(), order: VecDeque::new(), max, bytes: 0, bytes_max }
    }

    pub(super) fn get(&self, key: TxKey) -> Option<&Answer> {
        self.answers.get(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// `until` must not fall from call to call: it is the clock plus the same Timer J each time.
    pub(super) fn keep(&mut self, key: TxKey, answer: Answer, until: Instant) {
        let weight = answer.weight();
        if self.max == 0 || weight > self.bytes_max || self.answers.contains_key(&key) {
            return;
        }
        while self.order.len() >= self.max || self.bytes + weight > self.bytes_max {
            self.drop_oldest();
        }
        self.bytes += weight;
        self.answers.insert(key, answer);
        self.order.push_back((key, until));
    }

    /// Forgets what Timer J has ended for.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            self.drop_oldest();
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.order.front().map(|(_, until)| *until)
    }

    fn drop_oldest(&mut self) {
        if let Some((key, _)) = self.order.pop_front()
            && let Some(answer) = self.answers.remove(&key)
        {
            self.bytes -= answer.weight();
        }
    }
}
