//! How `#history` shows what was said.
//!
//! Prevents that a post with line feeds in it passes for posts of others. Never reads a clock: the caller turns
//! times into local ones.

use super::dialect::{Dialect, author_prefix, is_hidden};
use super::split::{PART_BYTES, parts};
use crate::types::Aor;

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

/// What was said.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub at: LocalTime,
    pub author: &'a Aor,
    /// The text; for what is no text, a word in brackets that says what it is, see [`not_text`].
    pub text: &'a str,
}

/// Stands for a body that is no text, or none that we can read.
pub fn not_text(content_type: Option<&str>, body: &[u8]) -> String {
    if super::search::is_encrypted(body) {
        return "(encrypted)".into();
    }
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    format!("({})", super::dialect::clean(media))
}

/// The answer to `#history`: one line for each post, in the order given, in numbered parts when it is long.
pub fn history(dialect: Dialect, room: &Aor, today: LocalTime, posts: &[Said<'_>]) -> Vec<String> {
    if posts.is_empty() {
        return vec!["*** No messages".into()];
    }
    let lines: Vec<String> = posts.iter().map(|post| line(dialect, room, today, post)).collect();
    parts(&lines.join("\n"), PART_BYTES)
}

/// `[21:04] [alice]: hello`, with the date before the time when it is not today's (spec §4). Further lines of a
/// post are set in.
fn line(dialect: Dialect, room: &Aor, today: LocalTime, post: &Said<'_>) -> String {
    let at = post.at;
    let date = if at.date() == today.date() {
        String::new()
    } else {
        format!("{:04}-{:02}-{:02} ", at.year, at.month, at.day)
    };
    let prefix = author_prefix(dialect, post.author, room);
    let mut line = format!("[{date}{:02}:{:02}] {prefix}", at.hour, at.minute);
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
        history(dialect, &room, NOON, &[Said { at, author: &author, text }]).join("|")
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
        let posts: Vec<Said<'_>> = (0..100).map(|_| Said { at: NOON, author: &alice, text: &text }).collect();
        let all = history(Dialect::Kamailio, &room, NOON, &posts);
        assert!(all.len() > 10 && all.iter().all(|part| part.len() <= PART_BYTES));
        assert_eq!(all.iter().map(|part| part.matches("[alice]: ").count()).sum::<usize>(), 100);
    }
}
