//! Tells authors who asked what became of their messages (RFC 5438 §8), as the server between two people.
//!
//! *Stored*, when a message waits and they asked for processing; *failed*, when nobody will get it and they asked for
//! negative delivery. Prevents that a failure is told twice, told of what was taken, or forgotten over a restart.
//! Never stores a receipt: it is told to the author's phones that take it, now, or not at all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tracing::{info, warn};

use super::offline::Offline;
use crate::chat::imdn::{self, Asked, CONTENT_TYPE, Fate};
use crate::chat::render::Aside;
use crate::chat::shard::Event;
use crate::refusal::Fault;
use crate::sip::uri::Uri;
use crate::types::{AccountId, Announcement, Aor, DeviceKey, EntryKind, Seq, UnixMs};

/// A message that was given up may still be answered with a refusal and withdrawn (spec §5.4): until then it is not
/// told of. Longer than a direct message's sender is kept waiting.
const SETTLED: Duration = Duration::from_secs(3);
/// Expired messages that are looked at together.
const BATCH: usize = 64;

/// See the module's text.
pub struct Receipts {
    pub offline: Arc<Offline>,
    open: Mutex<HashMap<Seq, Open>>,
}

/// A message whose failure somebody wants to hear of.
struct Open {
    recipient: AccountId,
    /// When nobody can take it any more.
    expires: UnixMs,
    /// Devices that will not get it.
    gave_up: HashSet<DeviceKey>,
}

impl Open {
    fn new(recipient: AccountId, expires: UnixMs) -> Open {
        Open { recipient, expires, gave_up: HashSet::new() }
    }
}

impl Receipts {
    /// Takes up what the last run left open.
    pub fn new(offline: Arc<Offline>) -> Result<Receipts, Fault> {
        let mut open = HashMap::new();
        for (seq, recipient, expires) in offline.store.receipts()? {
            let Ok(view) = offline.store.view(recipient) else { continue };
            // What a device is past was taken, or told of.
            if view.devices.iter().all(|(_, position, _)| *position < seq) {
                open.insert(seq, Open::new(recipient, expires));
            }
        }
        Ok(Receipts { offline, open: Mutex::new(open) })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<Seq, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit is durable, and not announced yet: nobody has answered what is in it.
    pub fn committed(&self, news: &Announcement) {
        for entry in news.entries.iter().filter(|entry| entry.kind == EntryKind::Direct) {
            let asked = imdn::asked(entry.content_type.as_deref(), &entry.body);
            let mailbox = news.spans.iter().find(|(_, span)| span.conversation == entry.conversation);
            if let (Some((recipient, _)), true) = (mailbox, asked.is_some_and(|asked| asked.failure)) {
                self.open().insert(entry.seq, Open::new(*recipient, entry.expires));
            }
        }
    }

    /// What a shard reports, before anybody acts on it. True: [`Receipts::given_up`] is to be asked.
    pub fn event(&self, event: &Event) -> bool {
        match event {
            Event::Answered { seq, status: 200..=299, .. } => {
                self.open().remove(seq);
                false
            }
            Event::GaveUp { seq, device, .. } => match self.open().get_mut(seq) {
                Some(open) => open.gave_up.insert(device.clone()),
                None => false,
            },
            _ => false,
        }
    }

    /// A device will not get a message: if it was the last that could, its author is told.
    pub async fn given_up(&self, seq: Seq) {
        tokio::time::sleep(SETTLED).await;
        if let Err(fault) = self.judge(seq, false).await {
            warn!(%fault, "who asked for it was not told that his message failed");
        }
    }

    /// Tells of messages that expired before `now`. Called every second or so.
    pub async fn expire(&self, now: UnixMs) {
        loop {
            let expired = match self.offline.store.expired_receipts(now, BATCH) {
                Ok(expired) => expired,
                Err(fault) => return warn!(%fault, "expired messages were not looked up"),
            };
            if expired.is_empty() {
                // What was taken back has no row, and is told of by nobody.
                return self.open().retain(|_, open| open.expires > now);
            }
            for seq in expired {
                if let Err(fault) = self.judge(seq, true).await {
                    return warn!(%fault, "who asked for it was not told that his message expired");
                }
            }
        }
    }

    /// Finds out what became of a message, and tells. `expired`: nobody can take it any more.
    async fn judge(&self, seq: Seq, expired: bool) -> Result<(), Fault> {
        let store = &self.offline.store;
        // `None`: somebody took it.
        let known = self.open().get(&seq).map(|open| (open.recipient, open.gave_up.clone()));
        let Some((recipient, gave_up)) = known else {
            if expired {
                store.take_receipt(seq).await?;
            }
            return Ok(());
        };
        if !expired {
            self.offline.delivery.settled(recipient).await;
            let devices = store.view(recipient)?.devices;
            let may = |device: &DeviceKey, position: Seq| position < seq && !gave_up.contains(device);
            if devices.iter().any(|(device, position, _)| may(device, *position)) {
                return Ok(());
            }
        }
        self.open().remove(&seq);
        // Durably gone before anybody is told: a crash in between tells nobody, and nobody twice.
        let Some(receipt) = store.take_receipt(seq).await? else { return Ok(()) };
        let Some(author) = store.address(receipt.author)? else { return Ok(()) };
        let Some(recipient) = store.address(receipt.account)? else { return Ok(()) };
        info!(%author, %recipient, seq = seq.0, "the author is told that his message failed");
        self.tell(&receipt.asked, Fate::Failed, &author, &recipient, receipt.at)
    }

    /// A message of `author` to `recipient` waits: told, if its author asked for that. Once: the caller says it when
    /// the message is accepted, and a repetition is not accepted again.
    pub fn stored(
        &self,
        content_type: Option<&str>,
        body: &Bytes,
        author: &Aor,
        recipient: &Aor,
        at: UnixMs,
    ) {
        let Some(asked) = imdn::asked(content_type, body).filter(|asked| asked.processing) else { return };
        if let Err(fault) = self.tell(&asked, Fate::Stored, author, recipient, at) {
            warn!(%fault, "who asked for it was not told that his message waits");
        }
    }

    fn tell(
        &self,
        asked: &Asked,
        fate: Fate,
        author: &Aor,
        recipient: &Aor,
        at: UnixMs,
    ) -> Result<(), Fault> {
        let offline = &self.offline;
        let focus = &offline.focus;
        // Whoever wants to see receipts first must be of ours, and take messages from the author: nobody is to be
        // pelted in another's name.
        let to = match asked.first_route() {
            None => author.clone(),
            Some(route) => {
                let none = std::net::Ipv4Addr::UNSPECIFIED.into();
                let address = Uri::parse(route).ok().and_then(|uri| focus.domains.address(&uri, none));
                match address {
                    Some((address, true)) => address,
                    _ => return Ok(()),
                }
            }
        };
        let Some(account) = offline.store.account(&to)? else { return Ok(()) };
        if !focus.people.may_write(author, Some(&account))? {
            return Ok(());
        }
        let now = focus.clock.wall();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Fault::Internal(format!("randomness: {error}")))?;
        let id = format!("{:032x}", u128::from_be_bytes(random));
        let aside = Aside {
            from: offline.delivery.face(recipient, None),
            body: asked.receipt(fate, &id, &rfc3339(at), &rfc3339(now)).into(),
            content_type: Some(CONTENT_TYPE.into()),
            headers: "".into(),
            hops: 70,
            at: now,
        };
        offline.delivery.aside(account.id, None, aside);
        Ok(())
    }
}

/// `2026-11-20T21:04:00Z` (RFC 3862 §2.3, DateTime).
fn rfc3339(at: UnixMs) -> String {
    let seconds = jiff::Timestamp::from_second(at.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    seconds.to_string()
}
