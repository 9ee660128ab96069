//! Commands about oneself: what they say to the one who sends them.
//!
//! They concern the sender, wherever they are sent: to the manager, or to a room. Prevents that they are judged by a
//! room's rights. Never decides about others.

use super::command::{Row, Verb, row};
use super::dialect::clean;
use super::settings::{NoSuch, Settings, either};
use crate::types::Aor;

/// People that one person can block.
pub const BLOCKED_MAX: usize = 1000;

/// What a person asks for himself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Personal {
    Settings,
    /// As typed.
    Set {
        key: String,
        value: String,
    },
    Block(Aor),
    Unblock(Aor),
}

impl Personal {
    pub fn verb(&self) -> Verb {
        match self {
            Personal::Settings => Verb::Settings,
            Personal::Set { .. } => Verb::Set,
            Personal::Block(_) => Verb::Block,
            Personal::Unblock(_) => Verb::Unblock,
        }
    }

    /// The user it is about.
    pub fn user(&self) -> Option<&Aor> {
        match self {
            Personal::Block(user) | Personal::Unblock(user) => Some(user),
            _ => None,
        }
    }

    pub fn user_mut(&mut self) -> Option<&mut Aor> {
        match self {
            Personal::Block(user) | Personal::Unblock(user) => Some(user),
            _ => None,
        }
    }

    pub fn row(&self) -> &'static Row {
        row(self.verb())
    }
}

/// `#settings`: all of them, and who is blocked.
pub fn settings(settings: &Settings, blocked: &[Aor]) -> String {
    let mut text = settings.lines();
    text.push_str(if blocked.is_empty() { "\nBlocked: nobody" } else { "\nBlocked:" });
    for who in blocked {
        text.push_str(&format!("\n{who}"));
    }
    text
}

pub fn set(key: &str, value: &str) -> String {
    format!("*** {key} is now {value}")
}

pub fn not_set(key: &str, start: &str, why: NoSuch) -> String {
    match why {
        NoSuch::Key => {
            format!("*** There is no setting '{}'. Send {start}settings to see them.", clean(key))
        }
        NoSuch::Value(key, values) => format!("*** {key} can be {}", either(values)),
    }
}

pub fn blocked(who: &Aor) -> String {
    format!("*** {who} cannot write to you any more")
}

pub fn unblocked(who: &Aor) -> String {
    format!("*** {who} is not blocked any more")
}

pub fn was_not_blocked(who: &Aor) -> String {
    format!("*** {who} is not blocked")
}

pub fn block_list_full() -> String {
    format!("*** You have blocked {BLOCKED_MAX} users. Unblock somebody first.")
}

pub fn not_yourself() -> String {
    "*** You cannot block yourself".into()
}
