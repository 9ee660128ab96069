//! Reminders: how they are asked for, and what is said of them.
//!
//! Prevents that a text is taken for a time or the other way round: what can be read as a time is one. Never reads a
//! clock or a time zone: which moment a [`When`] is, the caller finds out.

use super::address::Names;
use super::dialect::clean;
use super::history::LocalTime;
use super::table::Verb;
use crate::refusal::Refusal;
use crate::types::{Aor, UnixMs};

/// Reminders that one account may have open.
pub const PENDING_MAX: u32 = 100;
/// How far ahead a reminder may be, in ms: a year.
pub const AHEAD_MAX: UnixMs = 366 * 86_400_000;

/// When it is to be said, as typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// After so many ms.
    After(UnixMs),
    /// The next time that the clock shows this.
    Next { hour: u8, minute: u8 },
    /// At this local time.
    On(LocalTime),
}

/// What a person asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reminder {
    /// `whom` is `None`: the sender himself.
    Set {
        whom: Option<Aor>,
        when: When,
        text: String,
    },
    List,
    /// By the number that the list shows.
    Forget(u32),
}

impl Reminder {
    pub fn verb(&self) -> Verb {
        match self {
            Reminder::Set { .. } => Verb::Remind,
            Reminder::List => Verb::Reminders,
            Reminder::Forget(_) => Verb::Forget,
        }
    }

    pub fn user_mut(&mut self) -> Option<&mut Aor> {
        match self {
            Reminder::Set { whom, .. } => whom.as_mut(),
            _ => None,
        }
    }

    /// Reads `[user] when text`, all that follows the word. A user whose name is a time is written with his domain.
    pub fn read(typed: &str, names: &Names<'_>) -> Result<Reminder, Refusal> {
        let set = |whom, (when, text): (When, &str)| match text.trim() {
            "" => Err(Refusal::MALFORMED),
            text => Ok(Reminder::Set { whom, when, text: text.to_owned() }),
        };
        if let Some(read) = when(typed) {
            return set(None, read);
        }
        let (user, rest) = word(typed);
        let whom = names.read(user).ok_or(Refusal::NEED_USER)?;
        set(Some(whom), when(rest).ok_or(Refusal::MALFORMED)?)
    }
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

/// The time that a text begins with, and the rest.
fn when(text: &str) -> Option<(When, &str)> {
    let (first, rest) = word(text);
    if let Some(after) = after(first) {
        return Some((When::After(after), rest));
    }
    if let Some((hour, minute)) = time(first) {
        return Some((When::Next { hour, minute }, rest));
    }
    let (year, month, day) = date(first)?;
    let (second, rest) = word(rest);
    let (hour, minute) = time(second)?;
    Some((When::On(LocalTime { year, month, day, hour, minute }), rest))
}

/// `20m`, `2h`, `1h30m`, `3d`, in ms; not above [`AHEAD_MAX`].
fn after(text: &str) -> Option<UnixMs> {
    let (mut sum, mut number): (UnixMs, Option<UnixMs>) = (0, None);
    for c in text.chars() {
        number = match (c.to_digit(10), number) {
            (Some(digit), number) => {
                let digits = number.unwrap_or(0) * 10 + UnixMs::from(digit);
                Some(digits).filter(|n| *n <= AHEAD_MAX)
            }
            (None, Some(n)) => {
                let unit = match c.to_ascii_lowercase() {
                    's' => 1000,
                    'm' => 60_000,
                    'h' => 3_600_000,
                    'd' => 86_400_000,
                    'w' => 7 * 86_400_000,
                    _ => return None,
                };
                sum += n.saturating_mul(unit).min(AHEAD_MAX + 1);
                None
            }
            (None, None) => return None,
        };
        if sum > AHEAD_MAX || (number.is_none() && c.is_ascii_digit()) {
            return None;
        }
    }
    (number.is_none() && sum > 0).then_some(sum)
}

/// `21:30`.
fn time(text: &str) -> Option<(u8, u8)> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (digits(hour, 1..=2)? as u8, digits(minute, 2..=2)? as u8);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// `2026-12-24`. Whether there is such a day, the calendar says.
fn date(text: &str) -> Option<(i32, u8, u8)> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let read = (digits(year, 4..=4)? as i32, digits(month, 1..=2)? as u8, digits(day, 1..=2)? as u8);
    parts.next().is_none().then_some(read)
}

fn digits(text: &str, long: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let all = text.bytes().all(|c| c.is_ascii_digit());
    if all && long.contains(&text.len()) { text.parse().ok() } else { None }
}

// ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────

/// What is said when it is due; `at` as `ctime` writes it, which is what msilo puts there.
pub fn due(at: &str, text: &str) -> String {
    format!("[Reminder message - {at}] {text}")
}

/// `2026-12-24 18:00`.
fn civil(at: LocalTime) -> String {
    format!("{:04}-{:02}-{:02} {:02}:{:02}", at.year, at.month, at.day, at.hour, at.minute)
}

/// ` for bob`, by his address if his domain is another than `near`'s; nothing for oneself.
fn for_whom(whom: Option<&Aor>, near: &Aor) -> String {
    match whom {
        None => String::new(),
        Some(whom) if whom.host().eq_ignore_ascii_case(near.host()) => format!(" for {}", whom.user()),
        Some(whom) => format!(" for {whom}"),
    }
}

pub fn is_set(n: u32, at: LocalTime, whom: Option<&Aor>, author: &Aor) -> String {
    format!("*** Reminder {n}{} is set for {}", for_whom(whom, author), civil(at))
}

/// A line of the list.
pub fn line(n: u32, at: LocalTime, whom: Option<&Aor>, author: &Aor, text: &str) -> String {
    let text: String = clean(text).chars().take(60).collect();
    format!("{n}: {}{}: {text}", civil(at), for_whom(whom, author))
}

pub fn none() -> String {
    "*** You have no reminders".into()
}

pub fn forgotten(n: u32) -> String {
    format!("*** Reminder {n} is forgotten")
}

pub fn no_such(n: u32, start: &str) -> String {
    format!("*** You have no reminder {n}. Send {start}reminders to see them.")
}

pub fn too_many(start: &str) -> String {
    format!("*** You have {PENDING_MAX} reminders. Take one back with {start}forget first.")
}

pub fn not_to_come() -> String {
    "*** That time is past, more than a year ahead, or no time".into()
}

pub fn no_such_user(whom: &Aor) -> String {
    format!("*** {whom} cannot be reminded")
}

/// To the author: it was due, and could not be said. `why`: a reason phrase.
pub fn not_said(whom: &Aor, why: &str) -> String {
    format!("*** {whom} did not get your reminder: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(typed: &str) -> Result<Reminder, Refusal> {
        let addressed = Aor::parse("chat-manager@example.org").unwrap();
        Reminder::read(typed, &Names { addressed: &addressed, canonical: &|_| None })
    }

    fn set(typed: &str) -> (Option<String>, When, String) {
        match read(typed) {
            Ok(Reminder::Set { whom, when, text }) => (whom.map(|w| w.to_string()), when, text),
            other => panic!("{typed:?}: {other:?}"),
        }
    }

    #[test]
    fn a_time_is_written_as_people_write_it() {
        const M: UnixMs = 60_000;
        for (typed, wanted) in [
            ("20m tea", When::After(20 * M)),
            ("2h tea", When::After(120 * M)),
            ("1h30m tea", When::After(90 * M)),
            (" 90S\ttea", When::After(90_000)),
            ("1w2d tea", When::After(9 * 1440 * M)),
            ("21:30 tea", When::Next { hour: 21, minute: 30 }),
            ("7:05 tea", When::Next { hour: 7, minute: 5 }),
            (
                "2026-12-24  18:00 tea",
                When::On(LocalTime { year: 2026, month: 12, day: 24, hour: 18, minute: 0 }),
            ),
        ] {
            assert_eq!(set(typed), (None, wanted, "tea".into()), "{typed}");
            let other = set(&format!("bob {typed}"));
            assert_eq!(other, (Some("bob@example.org".into()), wanted, "tea".into()), "{typed}");
        }
        assert_eq!(set("20m@b.net 5m x").0.as_deref(), Some("20m@b.net"));
        assert_eq!(set("5m 21:30 is the train").2, "21:30 is the train");
    }

    #[test]
    fn what_is_no_time_or_says_nothing_is_refused() {
        for typed in [
            "",
            "20m",
            "20m  ",
            "bob",
            "bob tea",
            "bob 20 tea",
            "0m tea",
            "24:00 tea",
            "12:60 tea",
            "12:5 tea",
            "2026-12-24 tea",
            "2026-12-24 25:00 tea",
            "367d tea",
            "99999999999999999999m tea",
            "9999999999999d9999999999999d tea",
            "1m20 tea",
            "m tea",
            "-5m tea",
            "@ 5m tea",
        ] {
            assert!(read(typed).is_err(), "{typed:?}: {:?}", read(typed));
        }
    }

    #[test]
    fn the_words_name_number_time_and_person() {
        let at = LocalTime { year: 2026, month: 12, day: 24, hour: 18, minute: 0 };
        let (alice, bob) = (Aor::parse("alice@a.org").unwrap(), Aor::parse("bob@b.org").unwrap());
        assert_eq!(is_set(3, at, None, &alice), "*** Reminder 3 is set for 2026-12-24 18:00");
        assert_eq!(
            is_set(3, at, Some(&bob), &alice),
            "*** Reminder 3 for bob@b.org is set for 2026-12-24 18:00"
        );
        assert_eq!(line(1, at, Some(&alice), &alice, "te\u{1b}a"), "1: 2026-12-24 18:00 for alice: tea");
        assert_eq!(
            due("Fri Nov 20 21:52:16 2026", "tea"),
            "[Reminder message - Fri Nov 20 21:52:16 2026] tea"
        );
    }

    proptest! {
        #[test]
        fn nothing_typed_breaks_the_reader(typed in "\\PC{0,40}") {
            let _ = read(&typed);
        }

        #[test]
        fn no_time_is_further_ahead_than_a_year(typed in "[0-9smhdw]{1,24}") {
            if let Some(ms) = after(&typed) {
                prop_assert!(ms > 0 && ms <= AHEAD_MAX);
            }
        }
    }
}
