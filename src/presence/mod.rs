//! Presence without sockets, SQL or clock: what people publish, who watches it, what watchers are told (RFC 3856).
//!
//! Presence is not in the log: what *is* replaces what was. Prevents that a watcher is told what is no longer true.
//! Never decides who may see whom: that is the roster's, a floor above.

pub mod agent;
pub mod avatar;
pub mod compose;
pub mod conference;
pub mod extension;
pub mod lists;
pub mod package;
pub mod pidf;
pub mod publication;
pub mod rlmi;
pub mod roster;
pub mod summary;
pub mod sync;
pub mod winfo;
pub mod xml;

/// Characters of a display name that documents carry.
const NAME_MAX: usize = 128;

/// A person's state, in rising order of precedence: the greatest of his devices is his (spec §6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum State {
    #[default]
    Offline,
    ExtendedAway,
    Away,
    Online,
    OnThePhone,
    Busy,
}

impl State {
    pub const ALL: [State; 6] =
        [State::Offline, State::ExtendedAway, State::Away, State::Online, State::OnThePhone, State::Busy];

    /// As people type and read it.
    pub fn word(self) -> &'static str {
        match self {
            State::Offline => "offline",
            State::ExtendedAway => "extended-away",
            State::Away => "away",
            State::Online => "online",
            State::OnThePhone => "on-the-phone",
            State::Busy => "busy",
        }
    }

    /// The inverse of [`State::word`], in any case.
    pub fn of_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.word().eq_ignore_ascii_case(word))
    }

    /// `open` in PIDF (RFC 3863 §4.1.4): somebody can be reached.
    pub fn is_open(self) -> bool {
        self != State::Offline
    }
}

/// What a watcher may see of a person.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// Everything.
    Active,
    /// Not yet decided: he is told nothing (RFC 3856 §6.6.2).
    Pending,
    /// He is shown somebody who is offline, whatever is true.
    Blocked,
    /// He was refused: his subscription ends.
    Rejected,
}

/// A display name as documents carry it: its beginning, if there is anything to see in it.
fn shown(name: &str) -> Option<&str> {
    let name = name.trim();
    let end = name.char_indices().nth(NAME_MAX).map_or(name.len(), |(at, _)| at);
    Some(&name[..end]).filter(|name| name.chars().any(|c| !c.is_control() && !c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_busy_wins() {
        for state in State::ALL {
            assert_eq!(State::of_word(&state.word().to_uppercase()), Some(state));
        }
        assert_eq!(State::of_word("asleep"), None);
        assert_eq!(State::ALL.into_iter().max(), Some(State::Busy));
        assert!(!State::Offline.is_open() && State::ExtendedAway.is_open());
    }
}
