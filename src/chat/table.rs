//! The room commands: one row each.
//!
//! Prevents that a word is understood in one place and helped, allowed or refused differently in another: grammar,
//! right and help of a command are one row. Never reads a body, never decides.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    Create,
    Join,
    Invite,
    Add,
    Modify,
    Accept,
    Reject,
    Remove,
    Members,
    Rooms,
    Leave,
    Destroy,
    History,
    Missed,
    Search,
    Settings,
    Set,
    Block,
    Unblock,
    Remind,
    Reminders,
    Forget,
    Buddies,
    Buddy,
    Status,
    Help,
}

/// What may follow the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Args {
    None,
    /// `[room]`
    Room,
    /// `[room] [private]`
    NewRoom,
    /// `user [room]`
    User,
    /// `user role [room]`
    UserRole,
    /// `[n] [room]`, or `[n] with user`
    Count,
    /// What is searched for.
    Words,
    /// `setting value`
    Setting,
    /// `user`, of the sender's domain if it is a bare word.
    Person,
    /// `[user] when text`, text being the rest of the line.
    Reminder,
    /// About buddies and one's own state; the rest of the line.
    Buddies,
    /// A number.
    Number,
    /// `[command]`
    Topic,
}

/// Who may do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    Anyone,
    /// It concerns the sender alone, wherever it is sent.
    Oneself,
    /// On the list of the room: a member, or invited.
    Listed,
    Member,
    Invited,
    /// Owner or admin.
    Admin,
    Owner,
}

/// One command. Help lines are without the command character.
#[derive(Debug)]
pub struct Row {
    pub verb: Verb,
    /// The plain word, then its aliases. All are understood in every dialect.
    pub words: &'static [&'static str],
    pub args: Args,
    pub right: Right,
    /// What may follow the word, for people.
    pub usage: &'static str,
    /// "You don't have the permission to …".
    pub deed: &'static str,
    /// Line in the help of the kamailio dialect (5.7 and later); empty: not in it.
    pub kamailio: &'static str,
    /// Line in the help of the openser dialect; empty: not in it.
    pub openser: &'static str,
    /// Line that follows the help of every dialect; empty: no command of this project's own.
    pub added: &'static str,
}

/// The line of `#help` itself, which no dialect lists.
const HELP_LINE: &str = "help [<command>] - show what can be sent, or how to send one command";

impl Row {
    /// Its help line: of this dialect, else of the other, else our own. Never empty.
    pub fn line(&self, openser: bool) -> &'static str {
        let (first, second) =
            if openser { (self.openser, self.kamailio) } else { (self.kamailio, self.openser) };
        [first, second, self.added].into_iter().find(|line| !line.is_empty()).unwrap_or(HELP_LINE)
    }
}

/// Every command, in the order of the help texts.
pub const COMMANDS: &[Row] = &[
    Row {
        verb: Verb::Create,
        words: &["create"],
        args: Args::NewRoom,
        right: Right::Anyone,
        usage: "[<room_name>] [private]",
        deed: "create rooms",
        kamailio: "create <room_name> - create new conference room",
        openser: "create <room_name> - create new conference room",
        added: "",
    },
    Row {
        verb: Verb::Join,
        words: &["join"],
        args: Args::Room,
        right: Right::Anyone,
        usage: "[<room_name>]",
        deed: "create rooms",
        kamailio: "join [<room_name>] - join the conference room",
        openser: "join [<room_name>] - join the conference room",
        added: "",
    },
    Row {
        verb: Verb::Invite,
        words: &["invite"],
        args: Args::User,
        right: Right::Admin,
        usage: "<user_name> [<room_name>]",
        deed: "invite users to this room",
        kamailio: "invite <user_name> [<room_name>] - invite a user to join a conference room",
        openser: "invite <user_name> [<room_name>] - invite a user to join a conference room",
        added: "",
    },
    Row {
        verb: Verb::Add,
        words: &["add"],
        args: Args::User,
        right: Right::Admin,
        usage: "<user_name> [<room_name>]",
        deed: "add members to this room",
        kamailio: "add <user_name> [<room_name>] - add a user to a conference room",
        openser: "",
        added: "",
    },
    Row {
        verb: Verb::Modify,
        words: &["modify"],
        args: Args::UserRole,
        right: Right::Admin,
        usage: "<user_name> owner|admin|member [<room_name>]",
        deed: "modify members in this room",
        kamailio: "modify <user_name> <role> [<room_name>] - modify user role in a conference room",
        openser: "",
        added: "",
    },
    Row {
        verb: Verb::Accept,
        words: &["accept"],
        args: Args::Room,
        right: Right::Invited,
        usage: "[<room_name>]",
        deed: "",
        kamailio: "accept - accept invitation to join a conference room",
        openser: "accept - accept invitation to join a conference room",
        added: "",
    },
    Row {
        verb: Verb::Reject,
        words: &["reject", "deny"],
        args: Args::Room,
        right: Right::Invited,
        usage: "[<room_name>]",
        deed: "",
        kamailio: "reject - reject invitation to join a conference room",
        openser: "deny - deny invitation to join a conference room",
        added: "",
    },
    Row {
        verb: Verb::Remove,
        words: &["remove"],
        args: Args::User,
        right: Right::Admin,
        usage: "<user_name> [<room_name>]",
        deed: "remove members from this room",
        kamailio: "remove <user_name> [<room_name>] - remove a user from the conference room",
        openser: "remove <user_name> [<room_name>] - remove an user from the conference room",
        added: "",
    },
    Row {
        verb: Verb::Members,
        words: &["members", "list"],
        args: Args::Room,
        right: Right::Listed,
        usage: "[<room_name>]",
        deed: "",
        kamailio: "members - list members is a conference room",
        openser: "list - list members is a conference room",
        added: "",
    },
    Row {
        verb: Verb::Rooms,
        words: &["rooms"],
        args: Args::None,
        right: Right::Anyone,
        usage: "",
        deed: "",
        kamailio: "rooms - list existing conference rooms",
        openser: "",
        added: "",
    },
    Row {
        verb: Verb::Leave,
        words: &["leave", "exit"],
        args: Args::Room,
        right: Right::Member,
        usage: "[<room_name>]",
        deed: "",
        kamailio: "leave [<room_name>] - leave from a conference room",
        openser: "exit [<room_name>] - exit from a conference room",
        added: "",
    },
    Row {
        verb: Verb::Destroy,
        words: &["destroy"],
        args: Args::Room,
        right: Right::Owner,
        usage: "[<room_name>]",
        deed: "destroy this room",
        kamailio: "destroy [<room_name>] - destroy conference room",
        openser: "destroy [<room_name>] - destroy conference room",
        added: "",
    },
    Row {
        verb: Verb::History,
        words: &["history"],
        args: Args::Count,
        right: Right::Member,
        usage: "[<n>] [<room_name>|with <user_name>]",
        deed: "",
        kamailio: "",
        openser: "",
        added: "history [<n>] [<room_name>|with <user_name>] - show the last messages",
    },
    Row {
        verb: Verb::Missed,
        words: &["missed"],
        args: Args::None,
        right: Right::Oneself,
        usage: "",
        deed: "",
        kamailio: "",
        openser: "",
        added: "missed - show what was said while your phone was away",
    },
    Row {
        verb: Verb::Search,
        words: &["search"],
        args: Args::Words,
        right: Right::Oneself,
        usage: "<word> [<word> …]",
        deed: "",
        kamailio: "",
        openser: "",
        added: "search <word> [<word> …] - find messages of you and to you, and in your rooms",
    },
    Row {
        verb: Verb::Settings,
        words: &["settings"],
        args: Args::None,
        right: Right::Oneself,
        usage: "",
        deed: "",
        kamailio: "",
        openser: "",
        added: "settings - show what you have set for yourself",
    },
    Row {
        verb: Verb::Set,
        words: &["set"],
        args: Args::Setting,
        right: Right::Oneself,
        usage: "<setting> <value>",
        deed: "",
        kamailio: "",
        openser: "",
        added: "set <setting> <value> - change what you have set for yourself",
    },
    Row {
        verb: Verb::Block,
        words: &["block"],
        args: Args::Person,
        right: Right::Oneself,
        usage: "<user_name>",
        deed: "",
        kamailio: "",
        openser: "",
        added: "block <user_name> - take no more messages from a user",
    },
    Row {
        verb: Verb::Unblock,
        words: &["unblock"],
        args: Args::Person,
        right: Right::Oneself,
        usage: "<user_name>",
        deed: "",
        kamailio: "",
        openser: "",
        added: "unblock <user_name> - take messages from a blocked user again",
    },
    Row {
        verb: Verb::Remind,
        words: &["remind"],
        args: Args::Reminder,
        right: Right::Oneself,
        usage: "[<user_name>] <20m|2h|21:30|2026-12-24 18:00> <text>",
        deed: "",
        kamailio: "",
        openser: "",
        added: "remind [<user_name>] <time> <text> - say something later, in 20m or 2h, at 21:30 or 2026-12-24 18:00",
    },
    Row {
        verb: Verb::Reminders,
        words: &["reminders"],
        args: Args::None,
        right: Right::Oneself,
        usage: "",
        deed: "",
        kamailio: "",
        openser: "",
        added: "reminders - show your reminders",
    },
    Row {
        verb: Verb::Forget,
        words: &["forget"],
        args: Args::Number,
        right: Right::Oneself,
        usage: "<n>",
        deed: "",
        kamailio: "",
        openser: "",
        added: "forget <n> - take back a reminder, by the number that reminders shows",
    },
    Row {
        verb: Verb::Buddies,
        words: &["buddies"],
        args: Args::Buddies,
        right: Right::Oneself,
        usage: "",
        deed: "",
        kamailio: "",
        openser: "",
        added: "buddies - show your buddies and who asks to see you",
    },
    Row {
        verb: Verb::Buddy,
        words: &["buddy"],
        args: Args::Buddies,
        right: Right::Oneself,
        usage: "add|accept|refuse|remove|group|nick <user_name> [<nickname>|<group> …]",
        deed: "",
        kamailio: "",
        openser: "",
        added: "buddy add|accept|refuse|remove|group|nick <user_name> … - see when a user is there, let him see you",
    },
    Row {
        verb: Verb::Status,
        words: &["status"],
        args: Args::Buddies,
        right: Right::Oneself,
        usage: "[auto|online|away|busy|on-the-phone|extended-away|offline [\"<note>\"]]",
        deed: "",
        kamailio: "",
        openser: "",
        added: "status [<state> [<note>]|auto] - say how you are, or let your phones say it",
    },
    Row {
        verb: Verb::Help,
        words: &["help"],
        args: Args::Topic,
        right: Right::Anyone,
        usage: "[<command>]",
        deed: "",
        kamailio: "",
        openser: "",
        added: "",
    },
];

/// The row of a command. Every verb has one; a test proves it.
pub fn row(verb: Verb) -> &'static Row {
    COMMANDS.iter().find(|row| row.verb == verb).unwrap_or(&COMMANDS[COMMANDS.len() - 1])
}

pub(super) fn find(word: &str) -> Option<&'static Row> {
    COMMANDS.iter().find(|row| row.words.iter().any(|w| w.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBS: [Verb; 26] = [
        Verb::Create,
        Verb::Join,
        Verb::Invite,
        Verb::Add,
        Verb::Modify,
        Verb::Accept,
        Verb::Reject,
        Verb::Remove,
        Verb::Members,
        Verb::Rooms,
        Verb::Leave,
        Verb::Destroy,
        Verb::History,
        Verb::Missed,
        Verb::Search,
        Verb::Settings,
        Verb::Set,
        Verb::Block,
        Verb::Unblock,
        Verb::Remind,
        Verb::Reminders,
        Verb::Forget,
        Verb::Buddies,
        Verb::Buddy,
        Verb::Status,
        Verb::Help,
    ];

    #[test]
    fn every_verb_has_one_row_and_every_word_one_meaning() {
        assert_eq!(COMMANDS.len(), VERBS.len());
        for verb in VERBS {
            assert_eq!(row(verb).verb, verb);
        }
        let mut words: Vec<&str> = COMMANDS.iter().flat_map(|row| row.words).copied().collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
    }
}
