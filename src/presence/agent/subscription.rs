//! One subscription: its dialog, what it watches, what it is owed (RFC 6665 §4.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::presence::Standing;
use crate::presence::package::Package;
use crate::presence::rlmi::Dialect;
use crate::presence::winfo;
use crate::sip::dialog::{Dialog, DialogId, Update};
use crate::sip::transaction::ClientTimer;
use crate::types::{Aor, Dest, Flow, UnixMs};

/// Where NOTIFYs go, and what they say of us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    pub dest: Dest,
    /// Everything of Via before the branch, by the transport of `dest`.
    pub via: Arc<str>,
    /// Value of Contact.
    pub contact: Arc<str>,
    /// Where a NOTIFY too large for a datagram may go, or any when the connection is gone, with its Via.
    pub stream: Option<(SocketAddr, Arc<str>)>,
}

impl Way {
    /// It goes in a datagram, whatever its size.
    pub fn is_datagram(&self) -> bool {
        matches!(self.dest, Dest::Udp { .. }) && self.stream.is_none()
    }
}

/// Somebody on a list, and what its watcher may see of him.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// As its watcher spelled it.
    pub uri: Box<str>,
    /// `None`: nobody that we could know.
    pub who: Option<Aor>,
    /// What a list that we keep calls him.
    pub name: Option<Box<str>>,
    pub is_room: bool,
    pub standing: Standing,
}

/// A list of people as one resource (RFC 4662).
#[derive(Clone, Debug, Default)]
pub struct List {
    /// How the watcher called it.
    pub uri: Box<str>,
    /// The server keeps it under the subscription's address and says when it changes; else it came in the SUBSCRIBE.
    pub is_kept: bool,
    /// How the watcher reads lists.
    pub dialect: Dialect,
    pub entries: Vec<Listed>,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub entry: Entry,
    /// Generation of what the watcher has seen of him; 0: nothing.
    pub seen: u64,
}

impl List {
    pub fn new(uri: Box<str>, is_kept: bool, dialect: Dialect, entries: &[Entry]) -> List {
        let mut list = List { uri, is_kept, dialect, entries: Vec::new() };
        list.set(entries);
        list
    }

    /// Takes new entries; of those that were there before it stays known what was seen. True: some are gone.
    pub fn set(&mut self, entries: &[Entry]) -> bool {
        let mut before = std::mem::take(&mut self.entries);
        for entry in entries {
            let known = before.iter().position(|known| known.entry.uri == entry.uri);
            let known = known.map(|at| before.swap_remove(at)).filter(|known| known.entry == *entry);
            self.entries.push(Listed { entry: entry.clone(), seen: known.map_or(0, |known| known.seen) });
        }
        !before.is_empty()
    }
}

#[derive(Clone, Debug)]
pub enum Target {
    Person,
    Room,
    List(Box<List>),
}

impl Target {
    /// Entries on it.
    pub fn size(&self) -> usize {
        match self {
            Target::Person | Target::Room => 0,
            Target::List(list) => list.entries.len(),
        }
    }
}

/// A SUBSCRIBE that begins a dialog, judged by the floors above.
pub struct New {
    pub dialog: Dialog,
    pub flow: Flow,
    pub package: Package,
    pub event_id: Option<Box<str>>,
    pub watcher: Aor,
    pub address: Aor,
    pub target: Target,
    pub standing: Standing,
    /// Seconds asked for.
    pub expires: Option<u32>,
}

/// A SUBSCRIBE within a dialog.
pub struct Refresh {
    pub id: DialogId,
    pub update: Update,
    pub flow: Flow,
    pub package: Package,
    pub event_id: Option<Box<str>>,
    /// Who was authenticated.
    pub watcher: Aor,
    pub expires: Option<u32>,
    /// A list in its body replaces the former.
    pub entries: Option<Vec<Entry>>,
}

/// Why a subscription ends (RFC 6665 §4.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Deactivated,
    NoResource,
    Rejected,
    Timeout,
}

impl Reason {
    pub fn text(self) -> &'static str {
        match self {
            Reason::Deactivated => "deactivated",
            Reason::NoResource => "noresource",
            Reason::Rejected => "rejected",
            Reason::Timeout => "timeout",
        }
    }
}

/// What a watcher has been shown last, for those packages that tell differences.
#[derive(Default)]
pub enum Shown {
    #[default]
    Nothing,
    Room(Arc<super::RoomNow>),
    /// Watchers whose state has changed since: id, address, status, cause.
    Watchers(Vec<(u64, Aor, winfo::Status, winfo::Cause)>),
}

/// A document and its type.
pub type Document = (Arc<str>, Arc<[u8]>);

/// A NOTIFY on its way.
pub struct Flight {
    pub nonce: u64,
    pub cseq: u32,
    pub timer: ClientTimer,
    pub over: Dest,
    /// Value of Subscription-State.
    pub state: Box<str>,
    pub body: Option<Document>,
    /// It ends the subscription.
    pub is_last: bool,
}

pub struct Subscription {
    /// Never that of another one.
    pub uid: u64,
    pub dialog: Dialog,
    pub flow: Flow,
    pub way: Way,
    pub package: Package,
    pub event_id: Option<Box<str>>,
    pub watcher: Aor,
    pub address: Aor,
    pub target: Target,
    pub standing: Standing,
    pub expires_at: UnixMs,
    /// It ends: the last NOTIFY is owed, or on its way.
    pub ending: Option<Reason>,
    /// Of the next document that counts.
    pub version: u32,
    pub cseq: u32,
    /// It was not asked for: the key of the phone. Nothing of it is saved.
    pub lamp: Option<Arc<str>>,
    /// NOTIFYs since its row was written.
    pub unsaved: u32,
    /// There may be something to tell.
    pub owed: bool,
    /// It is told in any case, and whole.
    pub full: bool,
    /// Of a list not everybody had room in the last document.
    pub more: bool,
    /// Generation of what was told last.
    pub seen: u64,
    pub shown: Shown,
    /// Nothing is sent before.
    pub hold: Instant,
    /// Nothing but the last NOTIFY is sent before.
    pub not_before: Instant,
    pub flight: Option<Box<Flight>>,
    /// When the wheel visits it.
    pub armed: Option<Instant>,
}

impl Subscription {
    /// Why its watcher may not see a room as it is now, if that is what it is about; `None`: he may.
    pub fn why_not(&self, room: Option<&super::RoomNow>) -> Option<Reason> {
        let may = |room: &super::RoomNow| match self.package {
            Package::Presence => room.is_open_to(&self.watcher),
            _ => room.has(&self.watcher),
        };
        match room {
            None => Some(Reason::NoResource),
            Some(room) => (!may(room)).then_some(Reason::Rejected),
        }
    }

    /// One that was told nothing yet, and is owed everything at once.
    pub fn new(uid: u64, new: New, way: Way, expires_at: UnixMs, now: Instant) -> Subscription {
        Subscription {
            uid,
            dialog: new.dialog,
            flow: new.flow,
            way,
            package: new.package,
            event_id: new.event_id,
            watcher: new.watcher,
            address: new.address,
            target: new.target,
            standing: new.standing,
            expires_at,
            ending: None,
            version: 0,
            cseq: 0,
            lamp: None,
            unsaved: 0,
            owed: true,
            full: true,
            more: false,
            seen: 0,
            shown: Shown::Nothing,
            hold: now,
            not_before: now,
            flight: None,
            armed: None,
        }
    }
}
