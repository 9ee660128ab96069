//! What outlives a restart: publications, and the dialogs of subscriptions.
//!
//! Written behind, at most a second late. Prevents that a watcher sees a CSeq or a version again after a crash: both
//! go on above what they can have been.

use serde::{Deserialize, Serialize};

use super::people::ends;
use super::subscription::{Entry, List, New, Reason, Subscription, Target};
use super::{Agent, Now};
use crate::presence::Standing;
use crate::presence::package::Package;
use crate::presence::publication::Publication;
use crate::presence::rlmi::Dialect;
use crate::sip::dialog::Dialog;
use crate::types::{Aor, Flow, Transport, UnixMs};

/// A row is written anew after so many NOTIFYs.
pub(super) const LAG: u32 = 64;
/// A restart goes on so many above what was written: more than can have left while the store took nothing.
const AHEAD: u32 = 1 << 16;

/// What is to be written.
#[derive(Clone, Debug)]
pub enum Save {
    /// `None`: the row goes.
    Subscription { key: i64, row: Option<(UnixMs, String)> },
    /// All that somebody has.
    Publications { who: Aor, list: Vec<Publication> },
}

/// What was written in a former life.
#[derive(Clone, Debug)]
pub enum Saved {
    Subscription {
        key: i64,
        row: String,
    },
    Publication(Aor, Publication),
    /// Of somebody's publications one cannot be read any more: they are written anew without it.
    Unreadable(Aor),
}

/// The form on disk. A new field needs a default: old rows do not have it.
#[derive(Serialize, Deserialize)]
struct Stored {
    dialog: Dialog,
    package: Package,
    event_id: Option<Box<str>>,
    watcher: String,
    address: String,
    kind: Kind,
    standing: Word,
    expires_at: UnixMs,
    version: u32,
    cseq: u32,
    transport: String,
    listener: u16,
    local: std::net::SocketAddr,
    remote: std::net::SocketAddr,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Person,
    Room,
    KeptList(Box<str>, Dialect),
    List(Box<str>, Dialect, Vec<StoredEntry>),
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    uri: Box<str>,
    who: Option<String>,
    name: Option<Box<str>>,
    is_room: bool,
    standing: Word,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum Word {
    Active,
    Pending,
    Blocked,
    Rejected,
}

impl From<Standing> for Word {
    fn from(standing: Standing) -> Word {
        match standing {
            Standing::Active => Word::Active,
            Standing::Pending => Word::Pending,
            Standing::Blocked => Word::Blocked,
            Standing::Rejected => Word::Rejected,
        }
    }
}

impl From<Word> for Standing {
    fn from(word: Word) -> Standing {
        match word {
            Word::Active => Standing::Active,
            Word::Pending => Standing::Pending,
            Word::Blocked => Standing::Blocked,
            Word::Rejected => Standing::Rejected,
        }
    }
}

impl Agent {
    /// Whether [`Agent::save`] has something.
    pub fn has_changed(&self) -> bool {
        !(self.changed.is_empty() && self.gone.is_empty() && self.republished.is_empty())
    }

    /// What has changed since it was last called, to be written in this order.
    pub fn save(&mut self, into: &mut Vec<Save>) {
        for key in std::mem::take(&mut self.gone) {
            into.push(Save::Subscription { key: key as i64, row: None });
        }
        for slot in std::mem::take(&mut self.changed) {
            let Some(subscription) = self.slot(slot) else { continue };
            if subscription.lamp.is_some() {
                continue;
            }
            subscription.unsaved = 0;
            let (id, row) = (subscription.dialog.id.clone(), (subscription.expires_at, stored(subscription)));
            let key = self.key_of(&id) as i64;
            into.push(Save::Subscription { key, row: Some(row) });
        }
        for who in std::mem::take(&mut self.republished) {
            let list = self.people.get(&who).map(|person| person.publications.clone()).unwrap_or_default();
            into.push(Save::Publications { who, list });
        }
    }

    /// Takes what was written in a former life: watchers are told the state anew, as a whole.
    pub fn restore(&mut self, now: Now, saved: Saved) {
        match saved {
            Saved::Publication(who, publication) => {
                if publication.expires_at <= now.ms {
                    self.republished.insert(who);
                    return;
                }
                let person = self.people.entry(who.clone()).or_default();
                person.publications.push(publication);
                let after = ends(&person.publications);
                self.reschedule(&who, &[], &after);
            }
            Saved::Unreadable(who) => drop(self.republished.insert(who)),
            Saved::Subscription { key, row } => {
                // Without a way to its watcher it is over.
                let Some(subscription) = self.revive(now, &row) else { return self.gone.push(key as u64) };
                let slot = self.enter(subscription);
                self.changed.insert(slot);
            }
        }
    }

    /// To be called when everything is restored.
    pub fn restored(&mut self, now: Now, out: &mut super::Outgoing, events: &mut Vec<super::Event>) {
        for who in self.people.keys().cloned().collect::<Vec<_>>() {
            self.touch(now, &who, events);
            self.ask_person(&who, events);
        }
        for slot in 0..self.slots.len() as u32 {
            self.pump(now, slot, out, events);
        }
    }

    fn revive(&self, now: Now, row: &str) -> Option<Subscription> {
        let stored: Stored = serde_json::from_str(row).ok()?;
        let transport = match stored.transport.as_str() {
            "UDP" => Transport::Udp,
            _ => Transport::Tcp,
        };
        let flow = Flow {
            transport,
            listener: stored.listener,
            local: stored.local,
            remote: stored.remote,
            conn: None,
        };
        let target = match stored.kind {
            Kind::Person => Target::Person,
            Kind::Room => Target::Room,
            Kind::KeptList(uri, dialect) => Target::List(Box::new(List::new(uri, true, dialect, &[]))),
            Kind::List(uri, dialect, entries) => {
                let entries: Vec<Entry> = entries
                    .into_iter()
                    .map(|entry| Entry {
                        uri: entry.uri,
                        who: entry.who.as_deref().and_then(Aor::parse),
                        name: entry.name,
                        is_room: entry.is_room,
                        standing: entry.standing.into(),
                    })
                    .collect();
                Target::List(Box::new(List::new(uri, false, dialect, &entries)))
            }
        };
        let way = (self.settings.ways)(&flow, &stored.dialog)?;
        let new = New {
            dialog: stored.dialog,
            flow,
            package: stored.package,
            event_id: stored.event_id,
            watcher: Aor::parse(&stored.watcher)?,
            address: Aor::parse(&stored.address)?,
            target,
            standing: stored.standing.into(),
            expires: None,
        };
        let uid = self.settings.ids.body(row.as_bytes());
        Some(Subscription {
            ending: (stored.expires_at <= now.ms).then_some(Reason::Timeout),
            version: stored.version.wrapping_add(AHEAD),
            cseq: stored.cseq.saturating_add(AHEAD),
            // What has ended meanwhile ends now.
            ..Subscription::new(uid, new, way, stored.expires_at.max(now.ms), now.at)
        })
    }
}

fn stored(subscription: &Subscription) -> String {
    let kind = match &subscription.target {
        Target::Person => Kind::Person,
        Target::Room => Kind::Room,
        Target::List(list) if list.is_kept => Kind::KeptList(list.uri.clone(), list.dialect),
        Target::List(list) => Kind::List(
            list.uri.clone(),
            list.dialect,
            list.entries
                .iter()
                .map(|known| &known.entry)
                .map(|entry| StoredEntry {
                    uri: entry.uri.clone(),
                    who: entry.who.as_ref().map(|who| who.as_str().to_owned()),
                    name: entry.name.clone(),
                    is_room: entry.is_room,
                    standing: entry.standing.into(),
                })
                .collect(),
        ),
    };
    let stored = Stored {
        dialog: subscription.dialog.clone(),
        package: subscription.package,
        event_id: subscription.event_id.clone(),
        watcher: subscription.watcher.as_str().to_owned(),
        address: subscription.address.as_str().to_owned(),
        kind,
        standing: subscription.standing.into(),
        expires_at: subscription.expires_at,
        version: subscription.version,
        cseq: subscription.cseq,
        transport: subscription.flow.transport.via().to_owned(),
        listener: subscription.flow.listener,
        local: subscription.flow.local,
        remote: subscription.flow.remote,
    };
    // No map in it has keys other than strings: it cannot fail.
    serde_json::to_string(&stored).unwrap_or_default()
}
