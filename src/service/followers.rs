//! Who listens in on what is committed: management's `tail`.
//!
//! Prevents that somebody who reads slowly slows the chat: each follower has a bounded queue, and what does not fit is
//! counted and told instead of waited for. Never holds more than the queues, never renders: readers do that.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::types::{Announcement, Aor, Entry, EntryKind};

/// Followers at the same time.
const MOST: usize = 16;
/// Entries that wait for one follower.
const QUEUE: usize = 512;

/// What a follower gets.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Something that was said, and is on disk.
    Entry(Arc<Entry>),
    /// So many entries did not fit before the next one.
    Lost(u64),
}

struct Seat {
    /// Only what this room says, or is said in it.
    room: Option<Aor>,
    queue: mpsc::Sender<Heard>,
    lost: Arc<AtomicU64>,
}

impl Seat {
    fn put(&self, entry: &Arc<Entry>) {
        // Only this thread adds to it: what is taken out here cannot be told twice.
        let lost = self.lost.swap(0, Ordering::AcqRel);
        let told = lost == 0 || self.queue.try_send(Heard::Lost(lost)).is_ok();
        if !told || self.queue.try_send(Heard::Entry(entry.clone())).is_err() {
            self.lost.fetch_add(if told { 1 } else { lost + 1 }, Ordering::AcqRel);
        }
    }
}

/// All who follow.
#[derive(Default)]
pub struct Followers {
    seats: Mutex<Vec<Seat>>,
    /// As many as there are seats: with nobody there, a commit costs one look.
    taken: AtomicUsize,
}

impl Followers {
    /// Follows one room, or everything; `None`: too many do already.
    pub fn follow(&self, room: Option<Aor>) -> Option<Follower> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| !seat.queue.is_closed());
        if seats.len() >= MOST {
            return None;
        }
        let (queue, heard) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        seats.push(Seat { room, queue, lost: lost.clone() });
        self.taken.store(seats.len(), Ordering::Release);
        Some(Follower { heard, lost })
    }

    /// Called on the writer's thread after each commit. Never waits for a follower.
    pub fn committed(&self, news: &Announcement) {
        if self.taken.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| !seat.queue.is_closed());
        self.taken.store(seats.len(), Ordering::Release);
        for entry in news.entries.iter().filter(|entry| entry.kind != EntryKind::Sent) {
            let wanted = |seat: &&Seat| seat.room.as_ref().is_none_or(|room| *room == entry.from.aor);
            seats.iter().filter(wanted).for_each(|seat| seat.put(entry));
        }
    }
}

/// One who follows. Gone when it is dropped.
#[derive(Debug)]
pub struct Follower {
    heard: mpsc::Receiver<Heard>,
    lost: Arc<AtomicU64>,
}

impl Follower {
    /// What comes next. `None`: nothing will come any more.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.heard.try_recv() {
            Ok(heard) => return Some(heard),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        // What was lost last is told even if nothing follows it.
        match self.lost.swap(0, Ordering::AcqRel) {
            0 => self.heard.recv().await,
            lost => Some(Heard::Lost(lost)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use bytes::Bytes;

    use super::*;
    use crate::types::{ConvId, Face, Seq};

    fn said(seq: i64, room: &str, kind: EntryKind) -> Announcement {
        let entry = Entry {
            seq: Seq(seq),
            conversation: ConvId(1),
            kind,
            from: Arc::new(Face { aor: Aor::parse(room).unwrap(), name: "".into() }),
            sender: None,
            source: None,
            content_type: None,
            headers: "".into(),
            body: Bytes::new(),
            at: 0,
            expires: 0,
            hops: 70,
            private: false,
            rendered: OnceLock::new(),
            as_text: OnceLock::new(),
        };
        Announcement { spans: Vec::new(), entries: vec![Arc::new(entry)] }
    }

    async fn next(follower: &mut Follower) -> Result<i64, u64> {
        match follower.next().await.unwrap() {
            Heard::Entry(entry) => Ok(entry.seq.0),
            Heard::Lost(lost) => Err(lost),
        }
    }

    #[tokio::test]
    async fn each_hears_his_room_and_copies_for_their_author_are_heard_by_nobody() {
        let followers = Followers::default();
        let mut all = followers.follow(None).unwrap();
        let mut team = followers.follow(Aor::parse("Team@example.org")).unwrap();
        followers.committed(&said(1, "tea@example.org", EntryKind::Post));
        followers.committed(&said(2, "team@example.org", EntryKind::Sent));
        followers.committed(&said(3, "team@example.org", EntryKind::Notice));
        assert_eq!([next(&mut all).await, next(&mut all).await], [Ok(1), Ok(3)]);
        assert_eq!(next(&mut team).await, Ok(3));
    }

    #[tokio::test]
    async fn who_is_slow_loses_what_does_not_fit_and_is_told_where_and_how_much() {
        let followers = Followers::default();
        let mut slow = followers.follow(None).unwrap();
        let most = QUEUE as i64;
        for seq in 1..=most + 7 {
            followers.committed(&said(seq, "team@example.org", EntryKind::Post));
        }
        for seq in 1..=2 {
            assert_eq!(next(&mut slow).await, Ok(seq));
        }
        followers.committed(&said(most + 8, "team@example.org", EntryKind::Post));
        for seq in 3..=most {
            assert_eq!(next(&mut slow).await, Ok(seq));
        }
        assert_eq!([next(&mut slow).await, next(&mut slow).await], [Err(7), Ok(most + 8)]);
        // The same when nothing follows.
        for seq in 1..=most + 3 {
            followers.committed(&said(seq, "team@example.org", EntryKind::Post));
        }
        for seq in 1..=most {
            assert_eq!(next(&mut slow).await, Ok(seq));
        }
        assert_eq!(next(&mut slow).await, Err(3));
    }

    #[test]
    fn there_are_so_many_seats_and_who_goes_frees_his() {
        let followers = Followers::default();
        let mut there: Vec<_> = (0..MOST).map(|_| followers.follow(None).unwrap()).collect();
        assert!(followers.follow(None).is_none());
        there.pop();
        assert!(followers.follow(None).is_some());
        drop(there);
        followers.committed(&said(1, "team@example.org", EntryKind::Post));
        assert_eq!(followers.taken.load(Ordering::Acquire), 0);
    }
}
