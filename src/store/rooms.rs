//! Rooms as they are: loading, remembering, listing.
//!
//! What is remembered of a room is what is on disk. Prevents that a reader puts an old state into the cache beside
//! the writer: a room is loaded while its place in the table is held, and moved on by version. Never changes a row.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::Entry;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::schema::Tables;
use super::turn::{Draft, face_of};
use super::{Shared, Store, now_ms};
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, ConvId, Member, Room, UnixMs, member_flag, room_flag};

/// A room that nobody asked for this long leaves the cache, in ms.
const IDLE: UnixMs = 600_000;
/// Accounts remembered; all are let go when they get more.
pub(super) const ACCOUNTS: usize = 100_000;

/// A room in memory.
pub(super) struct Cached {
    room: Arc<RwLock<Room>>,
    used: AtomicI64,
}

/// A line of the list of rooms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomLine {
    pub address: Aor,
    pub private: bool,
    /// Members, without those invited.
    pub members: usize,
    pub owner: Option<Aor>,
    pub invited: usize,
    pub title: Option<String>,
}

/// Statements on the peers' tables, with their names put in once.
pub(super) struct Statements {
    pub(super) count_rooms: String,
    pub(super) count_members: String,
    find_room: String,
    members: String,
    list: String,
    page: String,
    pub(super) count_of: String,
    listed_in: String,
    pub(super) insert_room: String,
    pub(super) flag_room: String,
    pub(super) delete_room: String,
    pub(super) insert_member: String,
    pub(super) find_member: String,
    pub(super) flag_member: String,
    pub(super) delete_member: String,
    pub(super) delete_members: String,
    pub(super) ended: String,
}

/// What a [`RoomLine`] needs of a room `r`.
const LINE: &str = "r.name, r.domain, r.flag,
    (SELECT count(*) FROM {members} m
     WHERE m.room = 'sip:' || r.name || '@' || r.domain COLLATE NOCASE AND (m.flag & 4) = 0),
    (SELECT m.username || '@' || m.domain FROM {members} m
     WHERE m.room = 'sip:' || r.name || '@' || r.domain COLLATE NOCASE AND (m.flag & 1) <> 0
     ORDER BY m.id LIMIT 1),
    (SELECT count(*) FROM {members} m
     WHERE m.room = 'sip:' || r.name || '@' || r.domain COLLATE NOCASE AND (m.flag & 4) <> 0),
    (SELECT c.title FROM conversation c WHERE c.id = r.conversation)";

impl Statements {
    pub(super) fn new(tables: &Tables) -> Statements {
        Statements {
            count_rooms: tables.fill("SELECT count(*) FROM {rooms}"),
            count_members: tables.fill("SELECT count(*) FROM {members}"),
            find_room: tables.fill(
                "SELECT r.name, r.domain, r.flag, r.conversation, c.title, c.version
                 FROM {rooms} r JOIN conversation c ON c.id = r.conversation
                 WHERE r.name = ?1 COLLATE NOCASE AND r.domain = ?2 COLLATE NOCASE ORDER BY r.id LIMIT 1",
            ),
            members: tables.fill(
                "SELECT username, domain, flag, inviter, invited_at FROM {members}
                 WHERE room = ?1 COLLATE NOCASE ORDER BY id",
            ),
            list: tables.fill(&format!(
                "SELECT {LINE} FROM {{rooms}} r
                 WHERE ((?2 IS NULL OR (r.flag & 1) = 0) AND (?1 IS NULL OR r.domain = ?1 COLLATE NOCASE))
                   OR (?2 IS NOT NULL AND (r.flag & 1) <> 0 AND EXISTS
                        (SELECT 1 FROM {{members}} m
                         WHERE m.room = 'sip:' || r.name || '@' || r.domain COLLATE NOCASE
                           AND m.username = ?2 COLLATE NOCASE AND m.domain = ?3 COLLATE NOCASE))
                 ORDER BY r.id"
            )),
            page: tables.fill(&format!(
                "SELECT {LINE} FROM {{rooms}} r
                 WHERE (?1 IS NULL OR r.domain = ?1 COLLATE NOCASE)
                    AND (r.name COLLATE NOCASE, r.domain COLLATE NOCASE) > (?2, ?3)
                 ORDER BY r.name COLLATE NOCASE, r.domain COLLATE NOCASE LIMIT ?4"
            )),
            count_of: tables.fill("SELECT count(*) FROM {rooms} WHERE domain = ?1 COLLATE NOCASE"),
            listed_in: tables
                .fill("SELECT id, room FROM {members} WHERE account = ?1 AND id > ?2 ORDER BY id LIMIT ?3"),
            insert_room: tables
                .fill("INSERT INTO {rooms} (name, domain, flag, conversation) VALUES (?1, ?2, ?3, ?4)"),
            flag_room: tables.fill("UPDATE {rooms} SET flag = (flag & ~?3) | ?2 WHERE conversation = ?1"),
            delete_room: tables.fill("DELETE FROM {rooms} WHERE conversation = ?1"),
            insert_member: tables.fill(
                "INSERT INTO {members} (username, domain, room, flag, account, inviter, invited_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            ),
            find_member: tables.fill(
                "SELECT id, flag FROM {members} WHERE room = ?1 COLLATE NOCASE
                    AND username = ?2 COLLATE NOCASE AND domain = ?3 COLLATE NOCASE ORDER BY id LIMIT 1",
            ),
            flag_member: tables.fill(
                "UPDATE {members} SET flag = ?2,
                    inviter = CASE WHEN ?2 & 4 THEN inviter END,
                    invited_at = CASE WHEN ?2 & 4 THEN invited_at END
                 WHERE id = ?1",
            ),
            delete_member: tables.fill(
                "DELETE FROM {members} WHERE room = ?1 COLLATE NOCASE
                    AND username = ?2 COLLATE NOCASE AND domain = ?3 COLLATE NOCASE",
            ),
            delete_members: tables.fill("DELETE FROM {members} WHERE room = ?1 COLLATE NOCASE"),
            ended: tables.fill(
                "SELECT c.id FROM conversation c WHERE c.id > ?1 AND c.id <= ?2 AND c.kind = 1
                    AND NOT EXISTS (SELECT 1 FROM {rooms} r WHERE r.conversation = c.id)
                    AND NOT EXISTS (SELECT 1 FROM log l WHERE l.conversation = c.id)",
            ),
        }
    }
}

/// Where the rows behind an address begin.
pub(super) fn behind(after: Option<&Aor>) -> (&str, &str) {
    after.map_or(("", ""), |after| (after.user(), after.host()))
}

fn lines(mut rows: Rows<'_>) -> rusqlite::Result<Vec<RoomLine>> {
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(address) = address(row, 0, 1)? else { continue };
        lines.push(RoomLine {
            address,
            private: row.get::<_, i64>(2)? & i64::from(room_flag::PRIVATE) != 0,
            members: row.get::<_, i64>(3)?.max(0) as usize,
            owner: row.get_ref(4)?.as_str_or_null()?.and_then(Aor::parse),
            invited: row.get::<_, i64>(5)?.max(0) as usize,
            title: row.get(6)?,
        });
    }
    Ok(lines)
}

/// An address that may be none: rows of the peers hold what their users typed.
pub(super) fn address(row: &Row<'_>, user: usize, host: usize) -> rusqlite::Result<Option<Aor>> {
    Ok(Aor::new(row.get_ref(user)?.as_str()?, row.get_ref(host)?.as_str()?))
}

/// The room without its members.
pub(super) fn find(conn: &Connection, sql: &Statements, who: &Aor) -> rusqlite::Result<Option<Room>> {
    let found = conn
        .prepare_cached(&sql.find_room)?
        .query_row([who.user(), who.host()], |row| {
            Ok(Room {
                address: address(row, 0, 1)?.unwrap_or_else(|| who.clone()),
                conversation: ConvId(row.get(3)?),
                version: row.get::<_, i64>(5)?.max(1) as u64,
                private: row.get::<_, i64>(2)? & i64::from(room_flag::PRIVATE) != 0,
                title: row.get_ref(4)?.as_str_or_null()?.map(Into::into),
                members: Vec::new(),
            })
        })
        .optional()?;
    Ok(found)
}

fn load(conn: &Connection, sql: &Statements, who: &Aor) -> rusqlite::Result<Option<Room>> {
    // One moment for both statements: a change between them would give members of another version.
    let tx = conn.unchecked_transaction()?;
    let Some(mut room) = find(&tx, sql, who)? else { return Ok(None) };
    let mut statement = tx.prepare_cached(&sql.members)?;
    let mut rows = statement.query([room.address.uri()])?;
    let mut seen = std::collections::HashSet::new();
    while let Some(row) = rows.next()? {
        let flags =
            row.get::<_, i64>(2)? as u8 & (member_flag::OWNER | member_flag::ADMIN | member_flag::INVITED);
        let Some(who) = address(row, 0, 1)? else {
            tracing::warn!(room = %room.address, "a member whose address cannot be one is left out");
            continue;
        };
        if !seen.insert(who.clone()) {
            continue;
        }
        let inviter = row.get_ref(3)?.as_str_or_null()?.and_then(Aor::parse);
        let invited = match (inviter, row.get::<_, Option<i64>>(4)?) {
            (Some(inviter), at) if flags & member_flag::INVITED != 0 => Some((inviter, at.unwrap_or(0))),
            _ => None,
        };
        room.members.push(Member { who, flags, invited });
    }
    Ok(Some(room))
}

impl Store {
    /// The room of this address, as it is on disk. What is lent moves on with every commit; a room that ended, or
    /// that nobody asked for in a long time, is let go, so ask again instead of keeping it.
    pub fn room(&self, address: &Aor) -> Result<Option<Arc<RwLock<Room>>>, Fault> {
        let shared = &self.0.shared;
        if let Some(cached) = shared.rooms.get(address) {
            cached.used.store(now_ms(), Ordering::Relaxed);
            return Ok(Some(cached.room.clone()));
        }
        // Most addresses that are asked for are no rooms; they need not hold a place.
        if shared.readers.ask(|conn| find(conn, &shared.sql, address))?.is_none() {
            return Ok(None);
        }
        match shared.rooms.entry(address.clone()) {
            Entry::Occupied(cached) => Ok(Some(cached.get().room.clone())),
            Entry::Vacant(place) => {
                // The place is held: the writer, done with a commit, finds either nothing yet or what we put there.
                let Some(room) = shared.readers.ask(|conn| load(conn, &shared.sql, address))? else {
                    return Ok(None);
                };
                let room = Arc::new(RwLock::new(room));
                place.insert(Cached { room: room.clone(), used: AtomicI64::new(now_ms()) });
                Ok(Some(room))
            }
        }
    }

    /// Rooms of a domain, or of all, oldest first. With a viewer the public ones of these, and the private ones
    /// that he is listed in, wherever they are (spec §4, `#rooms`).
    pub fn rooms(&self, domain: Option<&str>, viewer: Option<&Aor>) -> Result<Vec<RoomLine>, Fault> {
        let shared = &self.0.shared;
        shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(&shared.sql.list)?;
            lines(statement.query((domain, viewer.map(Aor::user), viewer.map(Aor::host)))?)
        })
    }

    /// All rooms, or those of a domain: those behind `after` in the order of addresses, at most `most`.
    pub fn some_rooms(
        &self,
        domain: Option<&str>,
        after: Option<&Aor>,
        most: usize,
    ) -> Result<Vec<RoomLine>, Fault> {
        let (shared, (user, host)) = (&self.0.shared, behind(after));
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(&shared.sql.page)?;
            lines(statement.query((domain, user, host, most))?)
        })
    }

    /// How many rooms a domain has.
    pub fn count_rooms(&self, domain: &str) -> Result<u64, Fault> {
        let shared = &self.0.shared;
        shared.readers.ask(|conn| {
            let count = |row: &Row<'_>| Ok(row.get::<_, i64>(0)?.max(0) as u64);
            conn.prepare_cached(&shared.sql.count_of)?.query_row([domain], count)
        })
    }

    /// Rooms that an account is listed in, as a member or invited, in the order in which it came; `after` is the
    /// place of the last one that was read, 0 at first. `None`: what a peer wrote can be no room's address.
    pub fn listed_in(
        &self,
        id: AccountId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Option<Aor>)>, Fault> {
        let shared = &self.0.shared;
        shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(&shared.sql.listed_in)?;
            let mut rows = statement.query((id.0, after, limit as i64))?;
            let mut listed = Vec::new();
            while let Some(row) = rows.next()? {
                let room = row.get_ref(1)?.as_str()?.split_once(':');
                listed.push((row.get(0)?, room.and_then(|(_, room)| Aor::parse(room))));
            }
            Ok(listed)
        })
    }

    /// Rooms there are.
    pub fn active_rooms(&self) -> u64 {
        self.0.shared.active_rooms.load(Ordering::Relaxed).max(0) as u64
    }

    /// Members that all rooms list together, the invited too.
    pub fn listed_members(&self) -> u64 {
        self.0.shared.listed.load(Ordering::Relaxed).max(0) as u64
    }
}

impl Draft {
    pub(super) fn of(room: &Room) -> Draft {
        Draft {
            face: face_of(&room.address, room.title.as_deref()),
            conversation: room.conversation,
            version: room.version,
            base: room.version,
            renewed: false,
            changes: Vec::new(),
        }
    }
}

impl Shared {
    /// What the cache knows of a room, for the writer.
    pub(super) fn room_as_remembered(&self, address: &Aor) -> Option<Draft> {
        let room = self.rooms.get(address).map(|cached| cached.room.clone())?;
        let room = room.read().unwrap_or_else(PoisonError::into_inner);
        Some(Draft::of(&room))
    }

    /// After COMMIT: moves the room, if it is remembered, to the version that is on disk.
    pub(super) fn advance_room(&self, address: &Aor, draft: &Draft) {
        let Some(room) = self.rooms.get(address).map(|cached| cached.room.clone()) else { return };
        let mut held = room.write().unwrap_or_else(PoisonError::into_inner);
        if held.conversation == draft.conversation && held.version == draft.base {
            held.apply(&draft.changes);
            held.version = draft.version;
        } else if held.conversation != draft.conversation || held.version < draft.version {
            drop(held);
            self.rooms.remove(address);
        }
    }

    /// Somebody judged by a version that is not so. If we gave it to him, it was our fault: forget it.
    pub(super) fn doubt_room(&self, address: &Aor, version: u64) {
        let remembered = self.rooms.get(address).map(|cached| cached.room.clone());
        let wrong = remembered
            .is_some_and(|room| room.read().unwrap_or_else(PoisonError::into_inner).version != version);
        if wrong {
            self.rooms.remove(address);
        }
    }

    pub(super) fn sweep_rooms(&self, now: UnixMs) {
        // Whoever holds a room still works with it; then it stays, so that there is only one of it.
        self.rooms.retain(|_, cached| {
            now - cached.used.load(Ordering::Relaxed) < IDLE || Arc::strong_count(&cached.room) > 1
        });
    }
}
