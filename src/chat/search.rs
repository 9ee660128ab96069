//! What can be searched: the words of a text, and the words somebody searches for.
//!
//! Both pass through here, so that they meet. Prevents that what a user typed is read as the query language of the
//! index, and that scripts without spaces can only be found by their whole sentences. Never looks anything up.

use std::borrow::Cow;

use super::content::{Content, content};
use super::convert::text_of;
use super::render::is_sealed;

/// Words of one question; further ones are ignored.
pub const WORDS_MAX: usize = 8;
/// Characters of one word; a longer one is cut.
const WORD_CHARS: usize = 64;
/// Bytes of a text that are searched; what follows is not.
pub const TEXT_MAX: usize = 65_536;
/// The text of a body; `None`: it has none that people read, or only its receiver can read it.
pub fn text<'a>(content_type: Option<&str>, body: &'a [u8]) -> Option<Cow<'a, str>> {
    if is_sealed(body) {
        return None;
    }
    match (content(content_type), std::str::from_utf8(body)) {
        (Content::Plain, Ok(text)) => Some(Cow::Borrowed(text)),
        _ => text_of(content_type, body).filter(|text| !is_sealed(text.as_bytes())).map(Cow::Owned),
    }
}

/// A text for the index: each character of a script that sets no spaces is a word by itself.
pub fn indexed(text: &str) -> Cow<'_, str> {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    if !text.chars().any(stands_alone) {
        return Cow::Borrowed(text);
    }
    let mut spaced = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        let alone = stands_alone(c);
        if alone {
            spaced.push(' ');
        }
        spaced.push(c);
        if alone {
            spaced.push(' ');
        }
    }
    Cow::Owned(spaced)
}

/// The words of a question, each to be found as a whole; without anything that has no letter or digit.
pub fn words(question: &str) -> Vec<String> {
    let plain = |c: char| if c == '"' || c.is_control() { ' ' } else { c };
    let question: String = question.chars().take(WORDS_MAX * (WORD_CHARS + 1) * 2).map(plain).collect();
    question
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .take(WORDS_MAX)
        .map(|word| indexed(&word.chars().take(WORD_CHARS).collect::<String>()).into_owned())
        .collect()
}

/// Of a script that is written without spaces: Han, Kana, Thai, Lao, Khmer, Burmese.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_question_is_its_words_and_nothing_of_it_is_syntax() {
        assert_eq!(words("tea  at\tfive"), ["tea", "at", "five"]);
        assert_eq!(words("tea OR \"five\" -- * ()"), ["tea", "OR", "five"]);
        assert_eq!(words("text:tea^2 NEAR(a"), ["text:tea^2", "NEAR(a"]);
        assert_eq!(words(" ?! … \0 "), [""; 0]);
        assert_eq!(words("a b c d e f g h i j").len(), WORDS_MAX);
        assert_eq!(words(&"x".repeat(500)), ["x".repeat(WORD_CHARS)]);
    }

    #[test]
    fn scripts_without_spaces_are_found_by_their_characters() {
        assert_eq!(indexed("see 会議 now"), "see  会  議  now");
        assert_eq!(words("会議"), [" 会  議 "]);
        assert!(matches!(indexed("grüße, мир, 안녕"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_only_the_two_ends_can_read_has_no_words() {
        assert_eq!(text(None, b"hello").as_deref(), Some("hello"));
        assert_eq!(text(Some("text/plain"), b"caf\xe9").as_deref(), Some("caf\u{fffd}"));
        assert_eq!(text(None, b"?OTR:AAQD"), None);
        assert_eq!(text(Some("text/plain"), b"-----BEGIN PGP MESSAGE-----\n\nx"), None);
        assert_eq!(text(Some("text/html"), b"<p>?OTR:AAQD</p>"), None);
        assert_eq!(text(Some("image/png"), b"hello"), None);
    }

    #[test]
    fn the_text_in_other_bodies_has_words() {
        assert_eq!(
            text(Some("text/html"), b"<p>tea <b>time</b></p>").as_deref().map(str::trim),
            Some("tea time")
        );
        let cpim = b"From: <im:a@b>\r\nTo: <im:c@d>\r\n\r\nContent-Type: text/plain\r\n\r\ntea";
        assert_eq!(text(Some("message/cpim"), cpim).as_deref(), Some("tea"));
        assert_eq!(text(Some("text/plain;charset=iso-8859-1"), b"caf\xe9").as_deref(), Some("caf\u{e9}"));
    }

    proptest! {
        #[test]
        fn any_question_has_few_short_words(question in "\\PC{0,2000}") {
            let words = words(&question);
            prop_assert!(words.len() <= WORDS_MAX);
            prop_assert!(words.iter().all(|word| word.chars().count() <= 3 * WORD_CHARS && !word.contains('"')));
        }

        #[test]
        fn a_text_is_cut_between_characters(text in "[a-é会]{0,60000}") {
            prop_assert!(indexed(&text).len() <= 3 * TEXT_MAX);
        }
    }
}
