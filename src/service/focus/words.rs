//! What a room answers to one person: lists, history, words of refusal.
//!
//! Prevents that words go to a room, the manager or a foreign address, and that anybody is told the same no over and
//! over (spec §4). Nothing of it is kept: it is said as asides.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Instant;

use super::{Focus, Incoming};
use crate::chat::decide::{Decision, Refused, Wants};
use crate::chat::history::{LocalTime, Said, history, not_text};
use crate::chat::render::Aside;
use crate::chat::search::text;
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, Entry, UnixMs};

impl Focus {
    pub(super) async fn answer(&self, said: &Incoming, room: &Aor, decision: &Decision) -> Result<(), Fault> {
        let mut words = decision.words.clone();
        match decision.wants {
            Some(Wants::Rooms) => {
                let lines = self.store.rooms(Some(room.host()), Some(&said.speaker.aor))?;
                words.extend(self.voice(room).rooms(lines.iter().map(|line| &line.address)));
            }
            Some(Wants::History { n }) => words.extend(self.history(said, room, n)?),
            None => {}
        }
        for text in words {
            self.aside(said, room, text).await?;
        }
        Ok(())
    }

    fn history(&self, said: &Incoming, address: &Aor, n: u16) -> Result<Vec<String>, Fault> {
        let Some(cell) = self.room(address)? else { return Ok(Vec::new()) };
        let conversation = cell.read().unwrap_or_else(PoisonError::into_inner).conversation;
        let Some(account) = self.store.account(&said.speaker.aor)? else { return Ok(Vec::new()) };
        let entries = self.store.history(conversation, account.id, usize::from(n))?;
        let texts: Vec<_> = entries
            .iter()
            .filter_map(|entry| Some((local_time(entry.at), &entry.sender.as_ref()?.1, shown_text(entry))))
            .collect();
        let said: Vec<Said<'_>> =
            texts.iter().map(|(at, author, text)| Said { at: *at, author, place: None, text }).collect();
        Ok(history(self.dialect, address, local_time(self.clock.wall()), &said))
    }

    /// Words of refusal: to accounts of ours, once a minute for the same (spec §4).
    pub(super) async fn say_no(&self, said: &Incoming, room: &Aor, refused: &Refused) -> Result<(), Fault> {
        let Some(words) = &refused.words else { return Ok(()) };
        let why = (said.speaker.aor.clone(), room.clone(), words.clone());
        if !self.told.first(why, Instant::now()) {
            return Ok(());
        }
        self.aside(said, room, words.clone()).await
    }

    pub(super) async fn aside(&self, said: &Incoming, room: &Aor, text: String) -> Result<(), Fault> {
        if said.speaker.foreign || said.max_forwards == 0 {
            return Ok(());
        }
        let Some(account) = self.way_back(&said.speaker.aor)? else { return Ok(()) };
        let title = match self.room(room)? {
            Some(cell) => cell.read().unwrap_or_else(PoisonError::into_inner).title.clone(),
            None => None,
        };
        let aside = Aside {
            from: self.delivery.face(room, title.as_ref()),
            body: text.into(),
            content_type: None,
            headers: (*format!("{}{}", said.headers, self.rules().extra_hdrs)).into(),
            hops: said.max_forwards.saturating_sub(1),
            at: self.clock.wall(),
        };
        self.delivery.aside(account, Some(said.flow.remote), aside);
        Ok(())
    }

    /// The manager says something to a person of ours, on the device at `source`, else on all of his. `lines`: of
    /// the request that caused it (In-Reply-To).
    pub fn tell_person(
        &self,
        who: &Aor,
        source: Option<SocketAddr>,
        lines: &str,
        hops: u8,
        words: String,
    ) -> Result<(), Fault> {
        let Some(manager) = Aor::new(&self.manager, who.host()) else { return Ok(()) };
        let Some(account) = self.way_back(who)? else { return Ok(()) };
        let aside = Aside {
            from: self.delivery.face(&manager, None),
            body: words.into(),
            content_type: None,
            headers: format!("{lines}{}", self.rules().extra_hdrs).into(),
            hops,
            at: self.clock.wall(),
        };
        self.delivery.aside(account, source, aside);
        Ok(())
    }

    /// The row of whoever is to be answered. Behind a proxy he is reached by his route; whoever spoke has a row.
    fn way_back(&self, who: &Aor) -> Result<Option<AccountId>, Fault> {
        let known = self.store.account(who)?.map(|account| account.id);
        if let Some(id) = known
            && self.registrar.has_proxy()
            && !self.registrar.is_bound(who)
        {
            self.registrar.reach_unbound(id, who)?;
        }
        Ok(known)
    }
}

/// The text of an entry; of what is no text, a word in brackets that says what it is.
pub fn shown_text(entry: &Entry) -> String {
    let kind = entry.content_type.as_deref();
    text(kind, &entry.body).map_or_else(|| not_text(kind, &entry.body), Cow::into_owned)
}

/// In the server's time zone.
pub(super) fn local_time(at: UnixMs) -> LocalTime {
    let zoned = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let zoned = zoned.to_zoned(jiff::tz::TimeZone::system());
    LocalTime {
        year: i32::from(zoned.year()),
        month: zoned.month() as u8,
        day: zoned.day() as u8,
        hour: zoned.hour() as u8,
        minute: zoned.minute() as u8,
    }
}
