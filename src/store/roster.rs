//! Rosters: who may see when whom is there, and who asked whom.
//!
//! Both rows of a pair and the question that a deed causes are one transaction. Prevents that the one sees what the
//! other does not show, that a crash asks twice, and that a roster grows without bound. Never decides:
//! [`crate::presence::roster::decide`] does.

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::sqlite::Failure;
use super::turn::Turn;
use crate::presence::roster::{ASK_AGAIN, BUDDIES_MAX, Bond, Deed, Flags, decide};
use crate::refusal::Fault;
use crate::types::{Aor, Commit, NewEntry, UnixMs};

/// Rows that those who are no accounts of ours may make towards one address.
const STRANGERS_MAX: u32 = 10_000;

/// An entry of a roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buddy {
    pub contact: Aor,
    pub flags: Flags,
    pub nick: Option<String>,
    pub groups: Vec<String>,
}

/// A pair before and after a deed of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub mine: Aor,
    pub his: Aor,
    pub before: (Flags, Flags),
    pub after: (Flags, Flags),
}

/// What became of a deed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Related {
    /// It is so now. `asked`: the question was put.
    Done { pair: Pair, asked: bool },
    /// There is nothing to accept or to refuse.
    Nothing,
    /// One of both has as many buddies as he can have. Nothing was written.
    Full,
}

/// What a deed may cause in words.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Put to the other if he is to be asked, and was not within a week.
    pub question: Option<NewEntry>,
    /// Said to the other if he has asked and this answers it.
    pub answer: Option<NewEntry>,
}

/// How an entry is to be called; `None`: as it is.
#[derive(Clone, Debug, Default)]
pub struct Called {
    pub nick: Option<Option<String>>,
    pub groups: Option<Vec<String>>,
}

/// An entry of a roster as an administrator wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    pub owner: Aor,
    pub contact: Aor,
    /// `None`: it is to go.
    pub bond: Option<Bond>,
    pub nick: Option<String>,
    pub groups: Vec<String>,
}

/// What still fits into a roster.
struct Room {
    owner: Aor,
    left: usize,
    registered: bool,
}

fn row(conn: &Connection, owner: &Aor, contact: &Aor) -> rusqlite::Result<Option<Flags>> {
    conn.prepare_cached("SELECT flags FROM roster WHERE owner = ?1 AND contact = ?2")?
        .query_row([owner.as_str(), contact.as_str()], |row| row.get(0).map(Flags))
        .optional()
}

fn asked_at(conn: &Connection, asker: &Aor, asked: &Aor) -> rusqlite::Result<Option<UnixMs>> {
    conn.prepare_cached("SELECT asked_at FROM question WHERE asker = ?1 AND asked = ?2")?
        .query_row([asker.as_str(), asked.as_str()], |row| row.get(0))
        .optional()
}

/// `at` as in the table: whether a question is due again. A clock that was put back does not silence anybody for long.
fn is_due(at: Option<UnixMs>, now: UnixMs) -> bool {
    at.is_none_or(|at| (now - at).abs() >= ASK_AGAIN)
}

fn buddy(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Buddy>> {
    let Some(contact) = Aor::parse(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    let groups = row.get_ref(3)?.as_str_or_null()?.unwrap_or_default();
    Ok(Some(Buddy {
        contact,
        flags: Flags(row.get(1)?),
        nick: row.get(2)?,
        groups: groups.lines().map(str::to_owned).collect(),
    }))
}

impl Store {
    /// What two are to each other, the first towards the second at first; and whether the first may ask the second.
    pub fn pair(&self, one: &Aor, other: &Aor, now: UnixMs) -> Result<(Flags, Flags, bool), Fault> {
        self.0.shared.readers.ask(|conn| {
            let mine = row(conn, one, other)?.unwrap_or_default();
            let his = row(conn, other, one)?.unwrap_or_default();
            Ok((mine, his, is_due(asked_at(conn, one, other)?, now)))
        })
    }

    /// What somebody is to many and they to him, in their order.
    pub fn pairs(&self, who: &Aor, others: &[Aor]) -> Result<Vec<(Flags, Flags)>, Fault> {
        let others = serde_json::json!(others.iter().map(Aor::as_str).collect::<Vec<_>>()).to_string();
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT coalesce(mine.flags, 0), coalesce(his.flags, 0) FROM json_each(?2) AS entry
                 LEFT JOIN roster AS mine ON mine.owner = ?1 AND mine.contact = entry.value
                 LEFT JOIN roster AS his ON his.owner = entry.value AND his.contact = ?1
                 ORDER BY entry.key",
            )?
            .query_map([who.as_str(), &others], |row| Ok((Flags(row.get(0)?), Flags(row.get(1)?))))?
            .collect()
        })
    }

    /// Both see each other.
    pub fn are_buddies(&self, one: &Aor, other: &Aor) -> Result<bool, Fault> {
        let both = Flags::SEES.with(Flags::SEEN);
        self.0.shared.readers.ask(|conn| Ok(row(conn, one, other)?.is_some_and(|flags| flags.has(both))))
    }

    /// Whom somebody has on his roster, by address.
    pub fn buddies(&self, who: &Aor) -> Result<Vec<Buddy>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let rows = conn
                .prepare_cached(
                    "SELECT contact, flags, nick, in_groups FROM roster
                     WHERE owner = ?1 AND flags <> ?2 ORDER BY contact",
                )?
                .query_map(params![who.as_str(), Flags::REFUSED.0], buddy)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
    }

    /// One of them.
    pub fn buddy(&self, who: &Aor, contact: &Aor) -> Result<Option<Buddy>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT contact, flags, nick, in_groups FROM roster
                     WHERE owner = ?1 AND contact = ?2 AND flags <> ?3",
                )?
                .query_row(params![who.as_str(), contact.as_str(), Flags::REFUSED.0], buddy)
                .optional()?;
            Ok(found.flatten())
        })
    }

    /// Who would see somebody and waits for his answer; at most `limit`.
    pub fn asking(&self, who: &Aor, limit: usize) -> Result<Vec<Aor>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let rows = conn
                .prepare_cached(
                    "SELECT owner FROM roster WHERE contact = ?1 AND flags & ?2 <> 0
                     ORDER BY owner LIMIT ?3",
                )?
                .query_map(params![who.as_str(), Flags::ASKED.0, limit as i64], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            Ok(rows.iter().filter_map(|text| Aor::parse(text)).collect())
        })
    }

    /// Does to a pair what the first does, with what is to be said of it.
    pub async fn relate(
        &self,
        mine: &Aor,
        his: &Aor,
        deed: Deed,
        now: UnixMs,
        words: Words,
    ) -> Result<Related, Fault> {
        let (mine, his) = (mine.clone(), his.clone());
        self.write(move |turn| turn.relate(mine, his, deed, now, words, &mut None)).await
    }

    /// Somebody has all these on a list that he subscribes to: the pairs that changed. Who does not fit into his
    /// roster is left out.
    pub async fn lists(&self, who: &Aor, others: Vec<Aor>, now: UnixMs) -> Result<Vec<Pair>, Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let (mut changed, mut room) = (Vec::new(), None);
            for other in others {
                let done = turn.relate(who.clone(), other, Deed::Lists, now, Words::default(), &mut room)?;
                if let Related::Done { pair, .. } = done
                    && pair.before != pair.after
                {
                    changed.push(pair);
                }
            }
            Ok(changed)
        })
        .await
    }

    /// Makes entries of rosters as they are to be, all in one transaction: the pairs as they were and are, and those
    /// that did not fit into a roster.
    pub async fn put_buddies(&self, puts: Vec<Put>, now: UnixMs) -> Result<(Vec<Pair>, Vec<Put>), Fault> {
        self.write(move |turn| {
            let (mut pairs, mut full) = (Vec::with_capacity(puts.len()), Vec::new());
            for put in puts {
                let deed = put.bond.map_or(Deed::Drops, Deed::Puts);
                let (owner, contact) = (put.owner.clone(), put.contact.clone());
                match turn.relate(owner, contact, deed, now, Words::default(), &mut None)? {
                    Related::Done { pair, .. } => {
                        turn.put_names(&put)?;
                        pairs.push(pair);
                    }
                    Related::Nothing | Related::Full => full.push(put),
                }
            }
            Ok((pairs, full))
        })
        .await
    }

    /// Everybody who has a roster, in a domain or all; by address.
    pub fn roster_owners(&self, domain: Option<&str>) -> Result<Vec<Aor>, Fault> {
        let like = domain.map(|domain| format!("@{domain}"));
        self.0.shared.readers.ask(|conn| {
            let rows = conn
                .prepare_cached(
                    "SELECT DISTINCT owner FROM roster WHERE flags <> ?1
                        AND (?2 IS NULL OR substr(owner, -length(?2)) = ?2 COLLATE NOCASE) ORDER BY owner",
                )?
                .query_map(params![Flags::REFUSED.0, like], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            Ok(rows.iter().filter_map(|text| Aor::parse(text)).collect())
        })
    }

    /// How somebody calls a buddy. False: he is none.
    pub async fn call_buddy(&self, who: &Aor, contact: &Aor, called: Called) -> Result<bool, Fault> {
        let (who, contact) = (who.clone(), contact.clone());
        self.write(move |turn| {
            let rows = turn
                .conn
                .prepare_cached(
                    "UPDATE roster SET nick = CASE WHEN ?3 THEN ?4 ELSE nick END,
                        in_groups = CASE WHEN ?5 THEN ?6 ELSE in_groups END
                     WHERE owner = ?1 AND contact = ?2 AND flags <> ?7",
                )?
                .execute(params![
                    who.as_str(),
                    contact.as_str(),
                    called.nick.is_some(),
                    called.nick.flatten(),
                    called.groups.is_some(),
                    called.groups.filter(|groups| !groups.is_empty()).map(|groups| groups.join("\n")),
                    Flags::REFUSED.0,
                ])?;
            Ok(rows > 0)
        })
        .await
    }
}

impl Turn<'_> {
    fn relate(
        &mut self,
        mine: Aor,
        his: Aor,
        deed: Deed,
        now: UnixMs,
        words: Words,
        room: &mut Option<Room>,
    ) -> Result<Related, Failure> {
        let rows = (row(self.conn, &mine, &his)?, row(self.conn, &his, &mine)?);
        let before = (rows.0.unwrap_or_default(), rows.1.unwrap_or_default());
        let Some(change) = decide(before.0, before.1, deed) else { return Ok(Related::Nothing) };
        let after = (change.mine, change.his);
        for (owner, contact, there, flags) in [(&mine, &his, rows.0, after.0), (&his, &mine, rows.1, after.1)]
        {
            let comes = flags != Flags::NONE && !there.is_some_and(Flags::is_listed) && flags.is_listed();
            if comes && !self.has_room(owner, contact, room)? {
                return Ok(Related::Full);
            }
        }
        self.put_flags(&mine, &his, rows.0, after.0)?;
        self.put_flags(&his, &mine, rows.1, after.1)?;
        if deed == Deed::Removes {
            self.conn
                .prepare_cached(
                    "UPDATE roster SET nick = NULL, in_groups = NULL WHERE owner = ?1 AND contact = ?2",
                )?
                .execute([mine.as_str(), his.as_str()])?;
        }
        let mut entries = Vec::new();
        let mut asked = false;
        if let Some(question) = words.question.filter(|_| change.asks) {
            asked = is_due(asked_at(self.conn, &mine, &his)?, now);
            if asked {
                self.note_question(&mine, &his, now)?;
                entries.push(question);
            }
        }
        if matches!(deed, Deed::Refuses | Deed::Removes) && before.1.is_more_than_no() {
            // A no is an answer for a week, whenever the question was.
            self.note_question(&his, &mine, now)?;
        }
        // One answer to one question: who changes his mind over and over does not write by it.
        entries.extend(words.answer.filter(|_| before.1.has(Flags::ASKED) && before.1 != after.1));
        if !entries.is_empty() {
            self.commit(Commit { room: None, entries, accepted: None })?;
        }
        Ok(Related::Done { pair: Pair { mine, his, before, after }, asked })
    }

    /// The entry's names; and its row, which stands for a buddy even if neither sees the other.
    fn put_names(&self, put: &Put) -> Result<(), Failure> {
        let (owner, contact) = (put.owner.as_str(), put.contact.as_str());
        if put.bond.is_none() {
            self.conn
                .prepare_cached("DELETE FROM roster WHERE owner = ?1 AND contact = ?2")?
                .execute([owner, contact])?;
            return Ok(());
        }
        let groups = (!put.groups.is_empty()).then(|| put.groups.join("\n"));
        self.conn
            .prepare_cached(
                "INSERT INTO roster (owner, contact, flags, nick, in_groups) VALUES (?1, ?2, 0, ?3, ?4)
                 ON CONFLICT (owner, contact) DO UPDATE SET nick = excluded.nick, in_groups = excluded.in_groups",
            )?
            .execute(params![owner, contact, put.nick, groups])?;
        Ok(())
    }

    /// Whether one more fits into a roster; of those who are no accounts, towards that contact. Takes the place.
    fn has_room(&self, owner: &Aor, contact: &Aor, room: &mut Option<Room>) -> Result<bool, Failure> {
        let known = room.take().filter(|room| room.owner == *owner);
        let room = room.insert(match known {
            Some(known) => known,
            None => self.room_of(owner)?,
        });
        if room.left == 0 {
            return Ok(false);
        }
        room.left -= 1;
        if room.registered {
            return Ok(true);
        }
        let towards: u32 = self
            .conn
            .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM roster WHERE contact = ?1 LIMIT ?2)")?
            .query_row(params![contact.as_str(), STRANGERS_MAX], |row| row.get(0))?;
        Ok(towards < STRANGERS_MAX)
    }

    fn room_of(&self, owner: &Aor) -> Result<Room, Failure> {
        let there: u32 = self
            .conn
            .prepare_cached("SELECT count(*) FROM roster WHERE owner = ?1 AND flags <> ?2")?
            .query_row(params![owner.as_str(), Flags::REFUSED.0], |row| row.get(0))?;
        let account = super::accounts::find(self.conn, owner)?;
        Ok(Room {
            owner: owner.clone(),
            left: BUDDIES_MAX.saturating_sub(there as usize),
            registered: account.is_some_and(|account| account.registered),
        })
    }

    fn put_flags(
        &self,
        owner: &Aor,
        contact: &Aor,
        there: Option<Flags>,
        flags: Flags,
    ) -> Result<(), Failure> {
        if there == Some(flags) || (there.is_none() && flags == Flags::NONE) {
            return Ok(());
        }
        if flags == Flags::REFUSED && there.is_none() {
            let said: u32 = self
                .conn
                .prepare_cached("SELECT count(*) FROM roster WHERE owner = ?1 AND flags = ?2")?
                .query_row(params![owner.as_str(), flags.0], |row| row.get(0))?;
            if said as usize >= BUDDIES_MAX {
                return Ok(());
            }
        }
        self.conn
            .prepare_cached(
                "INSERT INTO roster (owner, contact, flags) VALUES (?1, ?2, ?3)
                 ON CONFLICT (owner, contact) DO UPDATE SET flags = excluded.flags",
            )?
            .execute(params![owner.as_str(), contact.as_str(), flags.0])?;
        Ok(())
    }

    fn note_question(&self, asker: &Aor, asked: &Aor, now: UnixMs) -> Result<(), Failure> {
        self.conn
            .prepare_cached("DELETE FROM question WHERE asker = ?1 AND abs(?2 - asked_at) >= ?3")?
            .execute(params![asker.as_str(), now, ASK_AGAIN])?;
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO question (asker, asked, asked_at) VALUES (?1, ?2, ?3)")?
            .execute(params![asker.as_str(), asked.as_str(), now])?;
        Ok(())
    }

    /// An account goes: his roster with him. On those of others he stays, and is nothing to them any more.
    pub(super) fn forget_roster(&self, who: &Aor) -> rusqlite::Result<()> {
        for sql in [
            "DELETE FROM roster WHERE owner = ?1",
            "DELETE FROM roster WHERE contact = ?1 AND flags = 16",
            "UPDATE roster SET flags = 0 WHERE contact = ?1",
            "DELETE FROM question WHERE asker = ?1",
            "DELETE FROM question WHERE asked = ?1",
        ] {
            self.conn.execute(sql, [who.as_str()])?;
        }
        Ok(())
    }
}
