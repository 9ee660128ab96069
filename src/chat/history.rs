//! How what was said is shown again: `#history`, `#search`, `#missed`.
//!
//! Prevents that a post with line feeds in it passes for posts of others, and that one answer is longer than what is
//! kept for a device. Never reads a clock: the caller turns times into local ones.

use std::borrow::Cow;

use super::dialect::{Dialect, author_prefix, is_hidden};
use super::split::{PART_BYTES, parts};
use crate::types::Aor;

/// Bytes of one answer, by estimate: well below the asides that are kept for a device.
const ANSWER_BYTES: usize = 32_000;
/// Characters of a text where only an excerpt is shown.
const EXCERPT: usize = 160;
/// Conversations that are named in what was missed.
const NAMED: usize = 10;

/// A moment in the server's time zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalTime {
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
}

impl LocalTime {
    fn date(&self) -> (i32, u8, u8) {
        (self.year, self.month, self.day)
    }
}

/// Where something was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beside<'a> {
    /// To this person.
    To(&'a Aor),
    /// In this room.
    In(&'a Aor),
}

/// What was said.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub at: LocalTime,
    pub author: &'a Aor,
    /// To whom or where, unless that goes without saying.
    pub place: Option<Beside<'a>>,
    /// The text; for what is no text, a word in brackets that says what it is, see [`not_text`].
    pub text: &'a str,
}

/// Stands for a body that is no text, or none that we can read.
pub fn not_text(content_type: Option<&str>, body: &[u8]) -> String {
    if super::render::is_sealed(body) {
        return "(encrypted)".into();
    }
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    format!("({})", super::dialect::clean(media))
}

/// The answer to `#history`: one line for each post, in the order given, in numbered parts when it is long. Names of
/// the domain of `near` are shown short.
pub fn history(dialect: Dialect, near: &Aor, today: LocalTime, posts: &[Said<'_>]) -> Vec<String> {
    if posts.is_empty() {
        return vec!["*** No messages".into()];
    }
    let all: usize = posts.iter().map(|post| post.text.len()).sum();
    let most = if all > ANSWER_BYTES { ANSWER_BYTES / posts.len() } else { ANSWER_BYTES };
    let lines: Vec<String> = posts
        .iter()
        .map(|post| line(dialect, near, today, &Said { text: &shortened(post.text, most), ..*post }))
        .collect();
    parts(&lines.join("\n"), PART_BYTES)
}

/// The answer to `#search`: excerpts in the order given. `more`: not all that was found is among them.
pub fn found(dialect: Dialect, near: &Aor, today: LocalTime, hits: &[Said<'_>], more: bool) -> Vec<String> {
    if hits.is_empty() {
        return vec!["*** Nothing found".into()];
    }
    let mut lines = excerpts(dialect, near, today, hits);
    if more {
        lines.push("*** There is more. Add a word to find less.".into());
    }
    parts(&lines.join("\n"), PART_BYTES)
}

/// What was missed of one person or room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed<'a> {
    /// To whom it was said: a room; else who said it.
    pub who: &'a Aor,
    pub is_room: bool,
    pub count: usize,
    /// There may be more than `count`.
    pub more: bool,
}

/// The answer to `#missed`: how many of whom, then excerpts of the newest.
pub fn missed(
    dialect: Dialect,
    near: &Aor,
    today: LocalTime,
    counts: &[Missed<'_>],
    newest: &[Said<'_>],
) -> Vec<String> {
    if counts.is_empty() {
        return vec!["*** You have missed nothing".into()];
    }
    let of = |missed: &Missed<'_>| {
        let messages = if missed.count == 1 { "message" } else { "messages" };
        let more = if missed.more { " or more" } else { "" };
        let place = if missed.is_room { "in" } else { "from" };
        format!("{}{more} {messages} {place} {}", missed.count, name(dialect, missed.who, near))
    };
    let mut named: Vec<String> = counts.iter().take(NAMED).map(of).collect();
    if counts.len() > NAMED {
        named.push(format!("more in {} other conversations", counts.len() - NAMED));
    }
    let mut lines = vec![format!("*** While you were away: {}", named.join(", "))];
    lines.extend(excerpts(dialect, near, today, newest));
    parts(&lines.join("\n"), PART_BYTES)
}

fn excerpts(dialect: Dialect, near: &Aor, today: LocalTime, said: &[Said<'_>]) -> Vec<String> {
    let shown = |said: &Said<'_>| {
        let text: Vec<&str> = said.text.split_whitespace().collect();
        let text = text.join(" ");
        let text = match text.char_indices().nth(EXCERPT) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        };
        line(dialect, near, today, &Said { text: &text, ..*said })
    };
    said.iter().map(shown).collect()
}

fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

fn name(dialect: Dialect, who: &Aor, near: &Aor) -> String {
    let prefix = author_prefix(dialect, who, near);
    prefix.strip_suffix(": ").unwrap_or(&prefix).to_owned()
}

/// `[21:04] [alice]: hello`, with the date before the time when it is not today's (spec §4). Further lines of a
/// post are set in.
fn line(dialect: Dialect, near: &Aor, today: LocalTime, post: &Said<'_>) -> String {
    let at = post.at;
    let date = if at.date() == today.date() {
        String::new()
    } else {
        format!("{:04}-{:02}-{:02} ", at.year, at.month, at.day)
    };
    let author = name(dialect, post.author, near);
    let place = match post.place {
        None => String::new(),
        Some(Beside::To(who)) => format!(" to {}", name(dialect, who, near)),
        Some(Beside::In(room)) => format!(" in {}", name(dialect, room, near)),
    };
    let mut line = format!("[{date}{:02}:{:02}] {author}{place}: ", at.hour, at.minute);
    for (i, text) in post.text.trim_end().lines().enumerate() {
        if i > 0 {
            line.push_str("\n    ");
        }
        line.extend(text.chars().filter(|c| *c == '\t' || !is_hidden(*c)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: LocalTime = LocalTime { year: 2026, month: 11, day: 20, hour: 12, minute: 0 };

    fn shown(dialect: Dialect, at: LocalTime, author: &str, text: &str) -> String {
        let (room, author) = (Aor::parse("team@ex.org").unwrap(), Aor::parse(author).unwrap());
        history(dialect, &room, NOON, &[Said { at, author: &author, place: None, text }]).join("|")
    }

    #[test]
    fn a_line_has_the_time_and_the_date_only_of_other_days() {
        let at = LocalTime { hour: 21, minute: 4, ..NOON };
        assert_eq!(shown(Dialect::Kamailio, at, "alice@ex.org", "hello"), "[21:04] [alice]: hello");
        assert_eq!(shown(Dialect::Openser, at, "alice@ex.org", "hello"), "[21:04] <alice@ex.org>: hello");
        let before = LocalTime { day: 9, hour: 9, ..NOON };
        assert_eq!(shown(Dialect::Kamailio, before, "a@b.net", "hi"), "[2026-11-09 09:00] [a@b.net]: hi");
    }

    #[test]
    fn nobody_can_forge_a_line_of_another() {
        let text = "hi\r\n[12:01] [bob]: I resign\u{1b}[31m\n";
        assert_eq!(
            shown(Dialect::Kamailio, NOON, "alice@ex.org", text),
            "[12:00] [alice]: hi\n    [12:01] [bob]: I resign[31m"
        );
    }

    #[test]
    fn no_posts_and_no_text_are_said_so() {
        let room = Aor::parse("team@ex.org").unwrap();
        assert_eq!(history(Dialect::Kamailio, &room, NOON, &[]), ["*** No messages"]);
        assert_eq!(not_text(Some("image/png;name=\"x\""), b"\x89PNG"), "(image/png)");
    }

    #[test]
    fn a_long_history_comes_in_parts() {
        let (room, alice) = (Aor::parse("team@ex.org").unwrap(), Aor::parse("alice@ex.org").unwrap());
        let text = "x".repeat(90);
        let posts: Vec<Said<'_>> =
            (0..100).map(|_| Said { at: NOON, author: &alice, place: None, text: &text }).collect();
        let all = history(Dialect::Kamailio, &room, NOON, &posts);
        assert!(all.len() > 10 && all.iter().all(|part| part.len() <= PART_BYTES));
        assert_eq!(all.iter().map(|part| part.matches("[alice]: ").count()).sum::<usize>(), 100);
    }

    #[test]
    fn an_answer_is_bounded_however_long_the_posts_are() {
        let (room, alice) = (Aor::parse("team@ex.org").unwrap(), Aor::parse("alice@ex.org").unwrap());
        let text = "ä".repeat(16_000);
        for n in [2, 10, 100] {
            let posts: Vec<Said<'_>> =
                (0..n).map(|_| Said { at: NOON, author: &alice, place: None, text: &text }).collect();
            let all = history(Dialect::Kamailio, &room, NOON, &posts);
            assert!(all.len() <= super::super::outbox::ASIDE_MAX, "{} parts", all.len());
            assert_eq!(all.iter().map(|part| part.matches("[alice]: ").count()).sum::<usize>(), n);
        }
    }

    #[test]
    fn what_was_found_says_where_and_shows_an_excerpt() {
        let [near, alice, bob] = ["x@ex.org", "alice@ex.org", "bob@b.net"].map(|a| Aor::parse(a).unwrap());
        let team = Aor::parse("team@ex.org").unwrap();
        let long = format!("two\r\n  lines and {}", "x".repeat(200));
        let said = |author, place, text| Said { at: NOON, author, place, text };
        let hits = [
            said(&alice, Some(Beside::In(&team)), "tea"),
            said(&bob, None, &long),
            said(&alice, Some(Beside::To(&bob)), "five"),
        ];
        let shown = |dialect, more| found(dialect, &near, NOON, &hits, more).join("|");
        let excerpt = format!("two lines and {}…", "x".repeat(146));
        assert_eq!(
            shown(Dialect::Kamailio, false),
            format!(
                "[12:00] [alice] in [team]: tea\n[12:00] [bob@b.net]: {excerpt}\n[12:00] [alice] to [bob@b.net]: five"
            )
        );
        assert!(shown(Dialect::Openser, true).starts_with("[12:00] <alice@ex.org> in <team@ex.org>: tea\n"));
        assert!(shown(Dialect::Openser, true).ends_with("\n*** There is more. Add a word to find less."));
        assert_eq!(found(Dialect::Kamailio, &near, NOON, &[], false), ["*** Nothing found"]);
    }

    #[test]
    fn what_was_missed_is_counted_and_its_newest_shown() {
        let [near, bob, team] = ["x@ex.org", "bob@ex.org", "team@ex.org"].map(|a| Aor::parse(a).unwrap());
        let counts = [
            Missed { who: &bob, is_room: false, count: 1, more: false },
            Missed { who: &team, is_room: true, count: 1000, more: true },
        ];
        let newest = [Said { at: NOON, author: &bob, place: Some(Beside::In(&team)), text: "hi" }];
        let answer =
            |counts: &[Missed<'_>]| missed(Dialect::Kamailio, &near, NOON, counts, &newest).join("|");
        assert_eq!(
            answer(&counts),
            "*** While you were away: 1 message from [bob], 1000 or more messages in [team]\n[12:00] [bob] in [team]: hi"
        );
        assert!(answer(&[counts[0]; 12]).contains("[bob], more in 2 other conversations\n"));
        assert_eq!(answer(&[]), "*** You have missed nothing");
    }
}
