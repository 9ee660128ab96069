//! What phones can show: known by what they say, what they send, what they refuse, and by name.
//!
//! A 200 does not prove that a message was shown: some phones take a body and show its headers, its tags or nothing.
//! Prevents that somebody gets what his phone cannot show, and that a phone is offered again what it refused. Never
//! looks into a body.

use super::content::{Content, content};

/// Types that are remembered for one contact, each way.
pub const LEARNED_MAX: usize = 32;

/// A kind of phone, told by its User-Agent.
#[derive(PartialEq, Eq, Debug)]
struct Profile {
    /// Part of its User-Agent, in lower case.
    agent: &'static str,
    /// What it shows correctly, besides text/plain.
    shows: &'static [&'static str],
    /// It shows nothing else correctly, whatever it answers.
    nothing_else: bool,
    /// It shows the time of the Date header.
    date: bool,
}

const COMPOSING: &str = "application/im-iscomposing+xml";
const IMDN: &str = "message/imdn+xml";
const FILE: &str = "application/vnd.gsma.rcs-ft-http+xml";

/// Measured with these phones; a phone that is not named here is known by what it says and does alone.
const PROFILES: &[Profile] = &[
    Profile { agent: "linphone", shows: &[COMPOSING, IMDN, FILE], nothing_else: false, date: true },
    Profile { agent: "belle-sip", shows: &[COMPOSING, IMDN, FILE], nothing_else: false, date: true },
    Profile { agent: "pjsua", shows: &[COMPOSING], nothing_else: false, date: false },
    Profile { agent: "twinkle", shows: &[COMPOSING], nothing_else: true, date: false },
    Profile { agent: "blink", shows: &["message/cpim", COMPOSING, IMDN], nothing_else: false, date: false },
    Profile { agent: "baresip", shows: &[], nothing_else: false, date: false },
];

/// What one contact takes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Takes {
    /// Media types in lower case, without parameters.
    shows: Vec<Box<str>>,
    refuses: Vec<Box<str>>,
    nothing_else: bool,
    date: bool,
}

/// How a body goes to a contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    AsItIs,
    /// The text in it; if there is none, as it is.
    TextIfAny,
    /// The text in it; if there is none, not at all.
    TextOnly,
}

impl Takes {
    /// `agent`: User-Agent. `accept`: media types that it listed or sent itself. `refused`: those it answered with
    /// 415 or 488.
    pub fn new<'a>(
        agent: Option<&str>,
        accept: impl IntoIterator<Item = &'a str>,
        refused: impl IntoIterator<Item = &'a str>,
    ) -> Takes {
        let agent = agent.unwrap_or_default().to_ascii_lowercase();
        let profile = PROFILES.iter().find(|profile| agent.contains(profile.agent));
        let mut takes = Takes {
            nothing_else: profile.is_some_and(|profile| profile.nothing_else),
            date: profile.is_some_and(|profile| profile.date),
            ..Takes::default()
        };
        for media in profile.map_or(&[][..], |profile| profile.shows).iter().copied().chain(accept) {
            put(&mut takes.shows, media);
        }
        for media in refused {
            put(&mut takes.refuses, media);
        }
        takes
    }

    /// It is known to show this: it said so, sent it itself, or is known for it.
    pub fn knows(&self, content_type: &str) -> bool {
        let media = media(content_type);
        let has = |list: &[Box<str>]| list.iter().any(|known| covers(known, &media));
        has(&self.shows) && !self.refuses(content_type)
    }

    /// It has refused this.
    pub fn refuses(&self, content_type: &str) -> bool {
        let media = media(content_type);
        self.refuses.iter().any(|known| **known == *media)
    }

    /// It shows when a message was written.
    pub fn shows_date(&self) -> bool {
        self.date
    }

    /// It has refused this type just now. False: it was known.
    pub fn refused(&mut self, content_type: &str) -> bool {
        put(&mut self.refuses, content_type)
    }

    /// How a body of this type goes to it (spec §4, §5).
    pub fn manner(&self, content_type: Option<&str>) -> Manner {
        let Some(given) = content_type else { return Manner::AsItIs };
        let what = content(content_type);
        if what == Content::Plain {
            return Manner::AsItIs;
        }
        if self.refuses(given) {
            return Manner::TextOnly;
        }
        if self.knows(given) {
            return Manner::AsItIs;
        }
        match what {
            _ if self.nothing_else => Manner::TextOnly,
            Content::Cpim | Content::Multipart | Content::Html => Manner::TextIfAny,
            _ if media(given) == FILE => Manner::TextIfAny,
            _ => Manner::AsItIs,
        }
    }
}

/// Type and subtype in lower case.
pub fn media(content_type: &str) -> String {
    let media = content_type.split(';').next().unwrap_or_default();
    let compact: String = media.chars().filter(|c| !c.is_whitespace()).collect();
    compact.to_ascii_lowercase()
}

/// `*/*` says nothing about what is shown: only what is named counts, and whole families of named types.
fn covers(known: &str, media: &str) -> bool {
    match known.strip_suffix("/*") {
        Some("*") => false,
        Some(family) => media.strip_prefix(family).is_some_and(|rest| rest.starts_with('/')),
        None => known == media,
    }
}

/// True: it was not there, and there was room.
fn put(list: &mut Vec<Box<str>>, content_type: &str) -> bool {
    let media = media(content_type);
    let fits = !media.is_empty() && list.len() < LEARNED_MAX && list.iter().all(|known| **known != *media);
    if fits {
        list.push(media.into());
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(agent: &str) -> Takes {
        Takes::new(Some(agent), [], [])
    }

    #[test]
    fn who_says_nothing_gets_the_text_of_what_not_every_phone_shows() {
        let unknown = Takes::default();
        for what in ["message/cpim", "multipart/mixed;boundary=x", "text/html", "Application/XHTML+xml", FILE]
        {
            assert_eq!(unknown.manner(Some(what)), Manner::TextIfAny, "{what}");
        }
        for what in [None, Some("text/plain"), Some("application/json"), Some("image/png")] {
            assert_eq!(unknown.manner(what), Manner::AsItIs, "{what:?}");
        }
    }

    #[test]
    fn what_was_listed_is_taken_and_what_was_refused_is_not() {
        let mut takes = Takes::new(None, ["Message/CPIM", "image/*"], ["application/json"]);
        assert_eq!(takes.manner(Some("message/cpim; x=y")), Manner::AsItIs);
        assert_eq!(takes.manner(Some("application/json;charset=utf-8")), Manner::TextOnly);
        assert!(takes.knows("image/png") && !takes.knows("imagery/png"));
        assert!(takes.refused("message / cpim"));
        assert!(!takes.refused("message/cpim"), "it was known");
        assert_eq!(takes.manner(Some("message/cpim")), Manner::TextOnly);
        assert!(!Takes::new(None, ["*/*"], []).knows("message/cpim"), "that says nothing about showing");
    }

    #[test]
    fn phones_are_known_by_their_names() {
        assert!(named("LinphoneDesktop/5.0 (linphone-sdk)").knows(FILE));
        assert!(named("Linphone/5.1.65 (belle-sip/5.1.60)").shows_date());
        assert!(named("Blink Pro 5.0").knows("message/cpim"));
        assert!(!named("PJSUA v2.17").knows(IMDN));
        assert_eq!(named("Twinkle/1.10.2").manner(Some("application/json")), Manner::TextOnly);
        assert_eq!(named("baresip v1.0.0").manner(Some("message/cpim")), Manner::TextIfAny);
    }

    #[test]
    fn what_is_learned_has_a_bound() {
        let many: Vec<String> = (0..100).map(|n| format!("application/x-{n}")).collect();
        let takes = Takes::new(None, many.iter().map(String::as_str), many.iter().map(String::as_str));
        assert_eq!((takes.shows.len(), takes.refuses.len()), (LEARNED_MAX, LEARNED_MAX));
    }
}
