//! Answered requests that Timer J still remembers.
//!
//! Prevents that a retransmission is taken for a new request, and that memory of them grows with the load: a plain
//! answer is kept as its status code, in 24 bytes and an index, and made again from the retransmission itself.
//! Never sends.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::identity::{KeyMap, Plain, TxKey};

/// How an answer is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Nothing in it but what the request itself and this status say.
    Plain(u16),
    /// With headers or a body of its own: the bytes.
    Whole(Bytes),
}

struct Record {
    key: TxKey,
    /// Milliseconds from the origin to the end of Timer J, times 2^16, plus the status; 0: it is kept as a whole.
    end_and_status: u64,
}

impl Record {
    fn end(&self) -> u64 {
        self.end_and_status >> 16
    }
    fn status(&self) -> u16 {
        self.end_and_status as u16
    }
}

/// All completed transactions, oldest out first: by time, by number and by bytes kept.
pub(super) struct Completed {
    /// Oldest first.
    records: VecDeque<Record>,
    /// Running number of the oldest record. Wraps: only differences count.
    first: u32,
    /// Running number of each record, by half of its key.
    index: HashMap<u64, u32, BuildHasherDefault<Plain>>,
    whole: KeyMap<Bytes>,
    bytes: usize,
    max: usize,
    bytes_max: usize,
    /// From where time is counted: when the first record was kept.
    origin: Option<Instant>,
}

impl Completed {
    pub(super) fn new(max: usize, bytes_max: usize) -> Completed {
        Completed {
            records: VecDeque::new(),
            first: 0,
            index: HashMap::default(),
            whole: KeyMap::default(),
            bytes: 0,
            max: max.min(u32::MAX as usize),
            bytes_max,
            origin: None,
        }
    }

    pub(super) fn get(&self, key: TxKey) -> Option<Answer> {
        let number = *self.index.get(&key.index())?;
        let record = self.records.get(number.wrapping_sub(self.first) as usize)?;
        if record.key != key {
            return None;
        }
        match record.status() {
            0 => self.whole.get(&key).cloned().map(Answer::Whole),
            status => Some(Answer::Plain(status)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Remembers it for `timer_j` from `now`. The clock and the timer must be the same from call to call.
    pub(super) fn keep(&mut self, now: Instant, timer_j: Duration, key: TxKey, answer: Answer) {
        let weight = match &answer {
            Answer::Plain(_) => 0,
            Answer::Whole(bytes) => bytes.len(),
        };
        if self.max == 0 || weight > self.bytes_max || self.index.contains_key(&key.index()) {
            return;
        }
        while (self.records.len() >= self.max || self.bytes + weight > self.bytes_max) && self.drop_oldest() {
        }
        let origin = *self.origin.get_or_insert(now);
        let end = millis(now.saturating_duration_since(origin)) + millis(timer_j);
        let status = match answer {
            Answer::Plain(status) => status,
            Answer::Whole(bytes) => {
                self.bytes += weight;
                self.whole.insert(key, bytes);
                0
            }
        };
        self.index.insert(key.index(), self.first.wrapping_add(self.records.len() as u32));
        self.records.push_back(Record { key, end_and_status: end << 16 | u64::from(status) });
    }

    /// Forgets what Timer J has ended for.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(origin) = self.origin else { return };
        let now = millis(now.saturating_duration_since(origin));
        while self.records.front().is_some_and(|record| record.end() <= now) {
            self.drop_oldest();
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.origin? + Duration::from_millis(self.records.front()?.end()))
    }

    /// False: there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some(record) = self.records.pop_front() else { return false };
        self.first = self.first.wrapping_add(1);
        self.index.remove(&record.key.index());
        if record.status() == 0
            && let Some(bytes) = self.whole.remove(&record.key)
        {
            self.bytes -= bytes.len();
        }
        true
    }
}

/// In 46 bits: 2,000 years.
fn millis(time: Duration) -> u64 {
    (time.as_millis() as u64).min(1 << 46)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::endpoint::identity::Identity;

    #[test]
    fn a_record_stays_small() {
        assert_eq!(size_of::<Record>(), 24);
    }

    #[test]
    fn running_numbers_may_wrap() {
        let identity = Identity::new([7; 16]);
        let mut completed = Completed::new(3, 100);
        completed.first = u32::MAX - 1;
        let now = Instant::now();
        let keys: Vec<TxKey> = (0..6).map(|i| identity.numbered(i)).collect();
        for (i, key) in keys.iter().enumerate() {
            let answer = match i % 2 {
                0 => Answer::Plain(200 + i as u16),
                _ => Answer::Whole(Bytes::from(vec![i as u8; 10])),
            };
            completed.keep(now, Duration::from_secs(32), *key, answer.clone());
            assert_eq!(completed.get(*key), Some(answer));
        }
        assert_eq!(completed.len(), 3);
        assert_eq!(completed.bytes, 20);
        assert!(keys[..3].iter().all(|key| completed.get(*key).is_none()));
        assert!(keys[3..].iter().all(|key| completed.get(*key).is_some()));
        completed.expire(now + Duration::from_secs(32));
        assert_eq!((completed.len(), completed.bytes), (0, 0));
        assert!(completed.index.is_empty() && completed.whole.is_empty());
        assert_eq!(completed.due(), None);
    }

    #[test]
    fn what_cannot_be_kept_pushes_nothing_out() {
        let identity = Identity::new([7; 16]);
        let mut completed = Completed::new(3, 100);
        let now = Instant::now();
        completed.keep(now, Duration::from_secs(1), identity.numbered(1), Answer::Plain(200));
        completed.keep(
            now,
            Duration::from_secs(1),
            identity.numbered(2),
            Answer::Whole(Bytes::from(vec![0; 101])),
        );
        assert_eq!(completed.len(), 1);
        assert_eq!(completed.get(identity.numbered(1)), Some(Answer::Plain(200)));
    }
}
