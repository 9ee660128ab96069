//! Long texts in numbered parts.
//!
//! Prevents that a list or a post is cut where a packet ends. Never splits a character, never drops one.

/// Room for one part of an answer, in bytes: with the headers of a MESSAGE it stays below 1300 (RFC 3428 §8).
pub const PART_BYTES: usize = 800;

/// The smallest limit that is kept; a lower one is taken as this.
const LEAST: usize = 32;

/// A text as `(1/3) …` parts of at most `max` bytes, prefix included, split between lines; the line feed at a
/// seam is dropped. A line that is too long by itself is split between characters. A text that fits is left alone.
pub fn parts(text: &str, max: usize) -> Vec<String> {
    numbered(text, max, lines_into)
}

/// A text as `(1/3) …` parts of at most `max` bytes, prefix included, split between characters. The parts
/// without their prefixes are the text. A text that fits is left alone.
pub fn split_text(text: &str, max: usize) -> Vec<String> {
    numbered(text, max, |text, room| {
        let mut chunks = Vec::new();
        chars_into(text, room, &mut chunks);
        chunks
    })
}

fn numbered(text: &str, max: usize, cut: impl Fn(&str, usize) -> Vec<String>) -> Vec<String> {
    let max = max.max(LEAST);
    if text.len() <= max {
        return vec![text.to_owned()];
    }
    // The prefix grows with the number of parts, which grows with the prefix: try one digit more until it fits.
    let mut digits = 1;
    loop {
        let room = max.saturating_sub("(/) ".len() + 2 * digits).max(4);
        let chunks = cut(text, room);
        let total = chunks.len();
        if total.to_string().len() <= digits {
            return chunks.iter().enumerate().map(|(i, c)| format!("({}/{total}) {c}", i + 1)).collect();
        }
        digits += 1;
    }
}

fn lines_into(text: &str, room: usize) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.split('\n') {
        if line.len() > room {
            chars_into(line, room, &mut chunks);
            open = false;
            continue;
        }
        match chunks.last_mut() {
            Some(last) if open && last.len() + 1 + line.len() <= room => {
                last.push('\n');
                last.push_str(line);
            }
            _ => chunks.push(line.to_owned()),
        }
        open = true;
    }
    chunks
}

fn chars_into(mut text: &str, room: usize, chunks: &mut Vec<String>) {
    while !text.is_empty() {
        let mut at = room.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (chunk, rest) = text.split_at(at);
        chunks.push(chunk.to_owned());
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn without_prefix(part: &str) -> &str {
        part.split_once(") ").unwrap().1
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(parts("Members:\n*[alice]", 100), ["Members:\n*[alice]"]);
        assert_eq!(split_text("hello", 100), ["hello"]);
        assert_eq!(split_text("", 100), [""]);
    }

    #[test]
    fn a_list_is_split_between_its_lines() {
        let text = "Members:\n*[alice]\n[bob]\n[carol]\n[dave]\n[erin]\n[frank]";
        assert_eq!(
            parts(text, 32),
            ["(1/3) Members:\n*[alice]\n[bob]", "(2/3) [carol]\n[dave]\n[erin]", "(3/3) [frank]"]
        );
    }

    #[test]
    fn a_line_longer_than_a_part_is_not_lost() {
        let text = format!("a\n{}\nb", "x".repeat(100));
        let all = parts(&text, 40);
        assert!(all.iter().all(|p| p.len() <= 40), "{all:?}");
        assert_eq!(all.iter().map(|p| without_prefix(p)).collect::<String>().matches('x').count(), 100);
    }

    proptest! {
        #[test]
        fn parts_of_a_text_are_the_text(text in "\\PC{0,3000}", max in 0usize..400) {
            let all = split_text(&text, max);
            prop_assert!(all.iter().all(|p| p.len() <= max.max(LEAST)));
            if all.len() > 1 {
                prop_assert_eq!(all.iter().map(|p| without_prefix(p)).collect::<String>(), text);
                for (i, part) in all.iter().enumerate() {
                    let prefix = format!("({}/{}) ", i + 1, all.len());
                    prop_assert!(part.starts_with(&prefix));
                }
            } else {
                prop_assert_eq!(&all[0], &text);
            }
        }

        #[test]
        fn no_line_of_a_list_is_lost(lines in prop::collection::vec("[a-zé]{1,24}", 1..300), max in 60usize..300) {
            let all = parts(&lines.join("\n"), max);
            prop_assert!(all.iter().all(|p| p.len() <= max));
            let back: Vec<&str> = if all.len() == 1 {
                all[0].split('\n').collect()
            } else {
                all.iter().flat_map(|p| without_prefix(p).split('\n')).collect()
            };
            prop_assert!(back.iter().eq(lines.iter()));
        }
    }
}
