//! The daemon's life after its start: what is done now and then, a new configuration, the end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

use super::Server;
use crate::chat::shard::Input;
use crate::config::ConfigError;
use crate::edge::driver::{Inbox, Mail, Rest};
use crate::service::clock::Clock;
use crate::service::focus::Rules;
use crate::store::Store;
use crate::types::UnixMs;

/// A stop takes no longer than this, whoever is still busy (spec §1).
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// Log entries and old answers are looked through this often.
const TRIM_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn wait_for_stop(
    server: &Server,
    terminate: &mut Signal,
    interrupt: &mut Signal,
    hangup: &mut Signal,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => drop(server.reload()),
        }
    }
}

impl Server {
    /// Reads the configuration again: its warnings, and the keys that take effect after a restart. A wrong one changes
    /// nothing.
    pub(super) fn reload(&self) -> Result<(Vec<String>, Vec<String>), ConfigError> {
        let (fresh, warnings) =
            (self.reread)().inspect_err(|error| error!("configuration not reloaded: {error}"))?;
        for warning in &warnings {
            warn!("{warning}");
        }
        let mut config = self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (now, needs_restart) = config.reloaded(&fresh);
        (self.set_level)(now.log.level);
        *self.focus.rules.write().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Arc::new(Rules::new(&now));
        self.delivery.set_room_max(now.offline.room_max);
        self.delivery.set_copies(now.delivery.copy_to_sender);
        self.delivery.tell_all(|| Input::Prefix(now.offline.prefix));
        *config = now;
        // Said when it is so: who reads it may rely on it.
        for key in &needs_restart {
            warn!("{key} has changed and takes effect after a restart");
        }
        info!("configuration reloaded");
        Ok((warnings, needs_restart))
    }
}

/// C's `ctime` without its line feed, in the server's time zone: `Fri Nov 20 21:52:16 2026`.
pub(super) fn ctime(at: UnixMs) -> String {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// What has to be done now and then.
pub(super) async fn upkeep(server: Arc<Server>, clock: Clock) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trimmed = Instant::now();
    loop {
        second.tick().await;
        server.registrar.expire().await;
        server.focus.expire_invitations().await;
        server.reminders.say_due(clock.wall()).await;
        server.receipts.expire(clock.wall()).await;
        if trimmed.elapsed() < TRIM_EVERY {
            continue;
        }
        trimmed = Instant::now();
        let now = clock.wall();
        server.store.sweep(now);
        if let Err(fault) = server.presence.tidy() {
            warn!(%fault, "presence was not tidied");
        }
        trim(&server.store, now).await;
    }
}

/// Walks through what may be removed, slice by slice, so that nobody waits long.
async fn trim(store: &Store, now: UnixMs) {
    loop {
        match store.trim_slice(now).await {
            Ok(true) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(false) => return,
            Err(fault) => return warn!(%fault, "the log was not trimmed"),
        }
    }
}

/// Lets phones take what is on its way, the shards hand in their positions, flushes the store.
pub(super) async fn stop(threads: Vec<JoinHandle<()>>, inboxes: &[Inbox], store: Store) {
    // The notifier's inbox is the last, and it is no shard.
    let rest = Arc::new(Rest::new(inboxes.len().saturating_sub(1)));
    for inbox in inboxes {
        inbox.push(Mail::Stop(rest.clone()));
    }
    let flushed = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                error!("a shard did not stop in order");
            }
        }
        store.close();
    });
    match tokio::time::timeout(STOP_WITHIN, flushed).await {
        Ok(_) => info!("stopped"),
        Err(_) => error!("stopped without flushing: the store did not answer in time"),
    }
}
