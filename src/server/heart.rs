//! Tells systemd's watchdog that the daemon lives (`sd_notify(3)`, `WATCHDOG=1`).
//!
//! Prevents that a daemon whose threads hang goes on as if it worked: a sign of life is given only after every shard,
//! the notifier and the writer of the store have each done something. Never judges the disk: a store that says no
//! lives, and a restart would not mend it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::edge::driver::{Inbox, Mail};
use crate::store::Store;

/// Gives signs of life at half of systemd's time, where there is a systemd that waits for them.
pub(super) async fn beat(inboxes: Arc<Vec<Inbox>>, store: Store) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut due = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        everybody(&inboxes).await;
        store.has_turned().await;
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

/// Waits until every thread has read its mail up to now.
async fn everybody(inboxes: &[Inbox]) {
    let mut read = Vec::with_capacity(inboxes.len());
    for inbox in inboxes {
        let (done, heard) = oneshot::channel();
        inbox.push(Mail::Positions(done));
        read.push(heard);
    }
    for heard in read {
        // A thread that has no positions drops the letter: that is reading it, too.
        let _ = heard.await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Reads its mail once.
    fn read(inbox: &Inbox) {
        let mut mail = Vec::new();
        inbox.take(&mut mail);
        for letter in mail {
            if let Mail::Positions(done) = letter {
                done.send(()).unwrap();
            }
        }
    }

    #[test]
    fn one_thread_that_hangs_is_enough_for_no_sign_of_life() {
        let inboxes = [Inbox::new().unwrap(), Inbox::new().unwrap()];
        let mut all = pin!(everybody(&inboxes));
        let mut context = Context::from_waker(Waker::noop());
        assert!(all.as_mut().poll(&mut context).is_pending());
        read(&inboxes[0]);
        assert!(all.as_mut().poll(&mut context).is_pending(), "the second has read nothing");
        read(&inboxes[1]);
        assert!(all.as_mut().poll(&mut context).is_ready());
    }
}
