//! What the presence agent asks for, found out: people, rooms, waiting texts, lists that are kept here.
//!
//! Prevents that a change after what was read is missed, and that a store that fails for a moment shows somebody as gone.
//! Never judges a request.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::error;

use super::{Presence, list_of};
use crate::presence::agent::{Entry, Input, Person, RoomNow, Source, Told};
use crate::presence::conference::{self, Member, Snapshot};
use crate::refusal::Fault;
use crate::service::offline::OFFERED;
use crate::types::{Aor, Room, member_flag};

/// Names the whole roster as a list: `alice+buddies`; another word names one of its groups.
const WHOLE: &str = "buddies";
/// A store that failed is asked again after this, then after twice this, up to the second.
const FIND_AGAIN: Duration = Duration::from_millis(500);
const FIND_AGAIN_MAX: Duration = Duration::from_secs(30);

impl Presence {
    /// Tells the agent what it asked for. A store that fails is asked again: no watcher is told that nobody is there
    /// because a disk was busy.
    pub(super) async fn answer(self: Arc<Self>, source: Source) {
        let mut pause = FIND_AGAIN;
        loop {
            let (presence, asked) = (self.clone(), source.clone());
            let found = self.runtime.spawn_blocking(move || presence.find(&asked)).await;
            match found.unwrap_or_else(|error| Err(Fault::Internal(error.to_string()))) {
                Ok(told) => return (self.tell)(Input::Told(told)),
                Err(fault) => error!(%fault, ?source, "presence waits for what it has to know"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(FIND_AGAIN_MAX);
        }
    }

    fn find(self: &Arc<Self>, source: &Source) -> Result<Told, Fault> {
        Ok(match source {
            Source::Person(who) => Told::Person(who.clone(), self.person(who)?),
            Source::Room(address) => {
                let Some(cell) = self.store.room(address)? else {
                    self.rooms.retain(|_, known| known != address);
                    return Ok(Told::Room(address.clone(), None));
                };
                let read = || cell.read().unwrap_or_else(PoisonError::into_inner);
                // First, so that no change after what is read is missed.
                let conversation = read().conversation;
                self.rooms.insert(conversation, address.clone());
                let room = read().clone();
                Told::Room(address.clone(), Some(Arc::new(self.room_now(&room)?)))
            }
            Source::Mail(who) => {
                if let Some(account) = self.store.account(who)? {
                    self.mails.insert(account.mailbox, who.clone());
                    self.mailboxes.insert(account.id, who.clone());
                }
                let waiting = self.offline.waiting(who)?;
                if waiting.offered > 0 {
                    self.look_again(who);
                }
                // A lamp that is lit for every message says nothing.
                Told::Mail(who.clone(), (waiting.new - waiting.offered, waiting.old))
            }
            Source::List(address) => Told::List(address.clone(), self.kept(address)?),
        })
    }

    /// What is offered to somebody's devices now waits then, unless one has taken it.
    fn look_again(self: &Arc<Self>, who: &Aor) {
        let (presence, who) = (self.clone(), who.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(OFFERED).await;
            (presence.tell)(Input::Moved(Source::Mail(who)));
        });
    }

    fn person(&self, who: &Aor) -> Result<Person, Fault> {
        let own = self.roster.status(who)?;
        let avatar = self.roster.avatar_sha1(who)?;
        let account = self.store.account(who)?;
        let shows_seen = account.as_ref().is_some_and(|account| account.settings.lastseen);
        let seen = match account.filter(|_| shows_seen) {
            Some(account) => self.store.view(account.id)?.devices.iter().map(|(_, _, seen)| *seen).max(),
            None => None,
        };
        let manual = own.map(|(state, note)| (state, Box::from(&*note)));
        Ok(Person { manual, seen, shows_seen, avatar: avatar.map(|sha1| Box::from(&*sha1)) })
    }

    fn room_now(&self, room: &Room) -> Result<RoomNow, Fault> {
        let mut members = Vec::new();
        for member in room.members.iter().filter(|member| member.flags & member_flag::INVITED == 0) {
            let named = members.len() < conference::USERS_MAX;
            let account = if named { self.store.account(&member.who)? } else { None };
            members.push(Member {
                who: member.who.clone(),
                name: account.and_then(|account| account.name).map(|name| name.to_string()),
                role: match member.flags {
                    flags if flags & member_flag::OWNER != 0 => "owner",
                    flags if flags & member_flag::ADMIN != 0 => "admin",
                    _ => "member",
                },
                here: self.registrar.is_bound(&member.who),
                since: None,
                anonymous: None,
            });
        }
        let title = room.title.as_ref().map(|title| title.to_string());
        let shown = Snapshot { address: room.address.clone(), title, members };
        Ok(RoomNow { shown, is_private: room.private })
    }

    /// A list that is kept here: the owner's buddies, or one group of them.
    fn kept(&self, address: &Aor) -> Result<Vec<Entry>, Fault> {
        let Some((owner, group)) = list_of(address) else { return Ok(Vec::new()) };
        let whole = group.eq_ignore_ascii_case(WHOLE);
        let mut entries = Vec::new();
        for buddy in self.roster.buddies(&owner)? {
            if whole || buddy.groups.iter().any(|known| known.eq_ignore_ascii_case(&group)) {
                let standing = self.roster.standing_of(&owner, &buddy)?;
                let who = buddy.contact;
                entries.push(Entry {
                    uri: who.uri().into(),
                    standing,
                    is_room: self.store.room(&who)?.is_some(),
                    who: self.ours(&who),
                    name: buddy.nick.map(Into::into),
                });
            }
        }
        Ok(entries)
    }
}
