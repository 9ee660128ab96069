//! `#remind`, `#reminders`, `#forget`: what a person asks to be said later.
//!
//! Durable before it is answered. Prevents that a repeated request reminds twice. Never says a reminder itself: see
//! [`crate::service::reminders`].

use jiff::civil;
use jiff::tz::TimeZone;

use super::words::local_time;
use super::{Focus, Incoming, Reply, Told, Whom};
use crate::chat::history::LocalTime;
use crate::chat::reminder::{self, AHEAD_MAX, PENDING_MAX, Reminder, When};
use crate::chat::split::{PART_BYTES, parts};
use crate::refusal::{Fault, Refusal};
use crate::store::{Kept, NewLater};
use crate::types::{Accepted, Answer, Aor, UnixMs};

impl Focus {
    /// A command about reminders. It is answered by whom it was sent to.
    pub(super) async fn remind(&self, said: &Incoming, command: &Reminder) -> Result<Reply, Fault> {
        if let Some(refusal) = self.about_oneself(said)? {
            return Ok(refusal.into());
        }
        if said.max_forwards == 0 {
            return Ok(Reply::of(483, "Too Many Hops"));
        }
        let author = &said.speaker.aor;
        let told = match command {
            Reminder::Set { whom, when, text } => {
                let whom = whom.as_ref().filter(|whom| *whom != author);
                match self.set_reminder(said, whom, *when, text).await? {
                    Ok(told) => told,
                    Err(reply) => return Ok(reply),
                }
            }
            Reminder::List => Ok(parts(&self.reminders(author)?, PART_BYTES)),
            Reminder::Forget(n) => match self.store.account(author)? {
                Some(account) if self.store.forget_later(account.id, *n).await? => {
                    Ok(vec![reminder::forgotten(*n)])
                }
                _ => Err((Refusal::NO_SUCH_REMINDER, reminder::no_such(*n, &self.start))),
            },
        };
        self.tell(said, told).await
    }

    /// The outer error: it was answered before, or he writes to too many.
    async fn set_reminder(
        &self,
        said: &Incoming,
        whom: Option<&Aor>,
        when: When,
        text: &str,
    ) -> Result<Result<Told, Reply>, Fault> {
        let author = &said.speaker.aor;
        if let Some(whom) = whom
            && self.whom(said, whom)? != Whom::Ours
        {
            return Ok(Ok(Err((Refusal::NO_SUCH_USER, reminder::no_such_user(whom)))));
        }
        let Some(due) = due(when, self.clock.wall(), &TimeZone::system()) else {
            return Ok(Ok(Err((Refusal::MALFORMED, reminder::not_to_come()))));
        };
        // Later is no way around the limits for strangers.
        if let Some(Err(busy)) = whom.map(|whom| self.pace_towards(author, whom)) {
            return Ok(Err(busy));
        }
        let new = NewLater {
            author: author.clone(),
            recipient: whom.unwrap_or(author).clone(),
            due,
            text: text.to_owned(),
            hops: said.max_forwards - 1,
            accepted: Accepted { answer: Answer { status: 202 }, ..said.accepted },
        };
        Ok(match self.store.keep_later(new, PENDING_MAX).await? {
            Kept::As(n) => Ok(Ok(vec![reminder::is_set(n, local_time(due), whom, author)])),
            Kept::Full => Ok(Err((Refusal::NOT_ALLOWED, reminder::too_many(&self.start)))),
            Kept::Repeat(answer) => Err(answer.into()),
        })
    }

    fn reminders(&self, author: &Aor) -> Result<String, Fault> {
        let laters = match self.store.account(author)? {
            Some(account) => self.store.laters(account.id)?,
            None => Vec::new(),
        };
        let lines: Vec<String> = laters
            .iter()
            .map(|later| {
                let whom = Some(&later.recipient).filter(|whom| *whom != author);
                reminder::line(later.n, local_time(later.due), whom, author, &later.text)
            })
            .collect();
        Ok(if lines.is_empty() { reminder::none() } else { lines.join("\n") })
    }
}

/// The moment that is meant, if it is to come and not too far away. Where the clock is put forward, a time that does
/// not exist is taken as much later; where it is put back, the first of two is meant.
fn due(when: When, now: UnixMs, zone: &TimeZone) -> Option<UnixMs> {
    let at = |local: LocalTime| {
        let date = civil::Date::new(local.year.try_into().ok()?, local.month as i8, local.day as i8).ok()?;
        let time = civil::Time::new(local.hour as i8, local.minute as i8, 0, 0).ok()?;
        let zoned = date.to_datetime(time).to_zoned(zone.clone()).ok()?;
        Some(zoned.timestamp().as_millisecond())
    };
    let due = match when {
        When::After(ms) => now.checked_add(ms)?,
        When::On(local) => at(local)?,
        When::Next { hour, minute } => {
            let today = jiff::Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone()).date();
            let days = [Some(today), today.tomorrow().ok()];
            let on = |day: civil::Date| {
                let (year, month, day) = (day.year().into(), day.month() as u8, day.day() as u8);
                at(LocalTime { year, month, day, hour, minute })
            };
            days.into_iter().flatten().filter_map(on).find(|at| *at > now)?
        }
    };
    (due > now && due - now <= AHEAD_MAX).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20 21:04 UTC.
    const NOW: UnixMs = 1_795_208_640_000;
    const MINUTE: UnixMs = 60_000;

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let zone = TimeZone::UTC;
        let next = |hour, minute| due(When::Next { hour, minute }, NOW, &zone).map(|at| (at - NOW) / MINUTE);
        assert_eq!(next(21, 30), Some(26));
        assert_eq!(next(21, 4), Some(1440), "this minute has begun");
        assert_eq!(next(20, 0), Some(1440 - 64));
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(due(When::Next { hour: 22, minute: 30 }, NOW, &berlin), Some(NOW + 26 * MINUTE));
    }

    #[test]
    fn a_date_is_one_of_the_calendar_and_to_come() {
        let on = |year, month, day, hour| {
            due(When::On(LocalTime { year, month, day, hour, minute: 4 }), NOW, &TimeZone::UTC)
        };
        assert_eq!(on(2026, 11, 21, 21), Some(NOW + 1440 * MINUTE));
        assert_eq!(on(2026, 11, 20, 21), None);
        assert_eq!(on(2026, 2, 30, 1), None);
        assert_eq!(on(2027, 2, 29, 1), None);
        assert_eq!(on(2028, 1, 1, 1), None, "more than a year");
        assert!(on(2027, 11, 20, 21).is_some());
        assert_eq!(due(When::After(i64::MAX), NOW, &TimeZone::UTC), None);
    }
}
