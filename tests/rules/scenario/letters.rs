//! Letters between persons, and what people ask of what was said, in the world of the transcripts.
//!
//! `account bob` is somebody one can write to; `away bob` and `back bob` are his phone. What is looked up here is what
//! the store promises; how it is shown is the daemon's own.

use imcd::chat::history::{Beside, Missed, Said, found, history, missed};
use imcd::chat::recall::{Recall, nothing_to_search};
use imcd::chat::search::words;
use imcd::types::{Aor, UnixMs};

use super::world::{Heard, World, local};

/// One text, as somebody may read it again.
#[derive(Clone)]
pub struct Text {
    /// Place in the order of all that was said.
    pub n: usize,
    pub at: UnixMs,
    pub author: Aor,
    /// The other of a letter, or the room.
    pub beside: Aor,
    pub is_post: bool,
    pub text: String,
}

impl Text {
    fn said<'a>(&'a self, who: &Aor, everywhere: bool) -> Said<'a> {
        let place = match (self.is_post, self.author == *who) {
            _ if !everywhere => None,
            (true, _) => Some(Beside::In(&self.beside)),
            (false, true) => Some(Beside::To(&self.beside)),
            (false, false) => None,
        };
        Said { at: local(self.at), author: &self.author, place, text: &self.text }
    }
}

/// What the person asks himself: his letters and the posts he may see, in order.
pub struct Asked<'a> {
    pub who: &'a Aor,
    pub texts: Vec<Text>,
    pub today: UnixMs,
    /// Between which of all that was said he was away last.
    pub absence: Option<(usize, usize)>,
}

impl World {
    /// The answer, and its status if it is a refusal.
    pub fn recall(&self, asked: &Asked<'_>, question: &Recall) -> (Option<u16>, Vec<String>) {
        let (who, today, dialect) = (asked.who, local(asked.today), self.dialect);
        match question {
            Recall::Letters { n, with } => {
                let his =
                    |text: &&Text| !text.is_post && with.as_ref().is_none_or(|with| text.beside == *with);
                let letters: Vec<&Text> = asked.texts.iter().filter(his).collect();
                let last = &letters[letters.len().saturating_sub(usize::from(*n))..];
                let said: Vec<Said<'_>> = last.iter().map(|text| text.said(who, with.is_none())).collect();
                (None, history(dialect, who, today, &said))
            }
            Recall::Search(question) => {
                let words = words(question);
                if words.is_empty() {
                    return (Some(400), vec![nothing_to_search(&self.start)]);
                }
                let has = |text: &str, word: &str| {
                    let mut found = text.split(|c: char| !c.is_alphanumeric());
                    found.any(|found| found.to_lowercase() == word.to_lowercase())
                };
                let hits = asked.texts.iter().rev().filter(|t| words.iter().all(|word| has(&t.text, word)));
                let hits: Vec<Said<'_>> = hits.map(|text| text.said(who, true)).collect();
                (None, found(dialect, who, today, &hits, false))
            }
            Recall::Missed => {
                let (from, upto) = asked.absence.unwrap_or((0, 0));
                let texts = asked.texts.iter();
                let gone: Vec<&Text> =
                    texts.filter(|t| (from..upto).contains(&t.n) && t.author != *who).collect();
                let mut counts: Vec<Missed<'_>> = Vec::new();
                for text in gone.iter().rev() {
                    match counts.iter_mut().find(|c| *c.who == text.beside) {
                        Some(known) => known.count += 1,
                        None => counts.push(Missed {
                            who: &text.beside,
                            is_room: text.is_post,
                            count: 1,
                            more: false,
                        }),
                    }
                }
                let newest: Vec<Said<'_>> = gone.iter().map(|text| text.said(who, true)).collect();
                (None, missed(dialect, who, today, &counts, &newest))
            }
        }
    }

    /// Somebody writes to a person: 200 if a phone took it, 202 if it waits.
    pub fn letter(&mut self, from: &Aor, to: &Aor, text: &str) -> u16 {
        self.letters.push(Text {
            n: self.said,
            at: self.now,
            author: from.clone(),
            beside: to.clone(),
            is_post: false,
            text: text.to_owned(),
        });
        self.said += 1;
        match self.whisper(to, from, text) {
            Heard::Now => 200,
            Heard::Later => 202,
        }
    }

    /// His letters, each with the other's name, and what he may see of rooms.
    pub fn texts_of(&self, who: &Aor) -> Vec<Text> {
        let letters = self.letters.iter().filter(|letter| letter.author == *who || letter.beside == *who);
        let named = |letter: &Text| match letter.author == *who {
            true => letter.clone(),
            false => Text { beside: letter.author.clone(), ..letter.clone() },
        };
        let mut texts: Vec<Text> = letters.map(named).chain(self.posts_of(who)).collect();
        texts.sort_by_key(|text| text.n);
        texts
    }
}
