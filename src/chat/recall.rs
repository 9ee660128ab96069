//! Questions about what was said: `#history with`, `#missed`, `#search`; and the words where there is nothing to show.
//!
//! They concern the sender's own mailbox and rooms, wherever they are sent. Prevents that silence is an answer.
//! How the lines look: [`super::history`].

use super::command::Verb;
use crate::types::Aor;

/// What a person asks of what was said to him and by him.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recall {
    /// His last `n` letters, with one person or room or with all persons.
    Letters {
        n: u16,
        with: Option<Aor>,
    },
    Missed,
    /// As typed.
    Search(String),
}

impl Recall {
    pub fn verb(&self) -> Verb {
        match self {
            Recall::Letters { .. } => Verb::History,
            Recall::Missed => Verb::Missed,
            Recall::Search(_) => Verb::Search,
        }
    }

    /// The user or room it names.
    pub fn user(&self) -> Option<&Aor> {
        match self {
            Recall::Letters { with, .. } => with.as_ref(),
            _ => None,
        }
    }

    pub fn user_mut(&mut self) -> Option<&mut Aor> {
        match self {
            Recall::Letters { with, .. } => with.as_mut(),
            _ => None,
        }
    }
}

pub fn archive_is_off(start: &str) -> String {
    format!("*** Your archive is off. Send {start}set archive on to keep what you write and get.")
}

pub fn nothing_is_kept() -> String {
    "*** Nothing is kept here to be read again".into()
}

pub fn nothing_to_search(start: &str) -> String {
    format!("*** Usage: {start}search <word> [<word> …]")
}
