//! The table of management commands: name, arguments, help, right. Every door and `imcctl` read it.
//!
//! Prevents a command without help, and arguments whose order differs between doors. Never does a deed itself:
//! that is `perform.rs`.

mod commands;

pub use commands::COMMANDS;

/// What a door lets its callers do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Right {
    /// Look.
    Read,
    /// Look and change.
    Manage,
}

/// What an argument must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `alice`, `alice@example.org`, `sip:alice@example.org`, `<sip:alice@example.org>`.
    Address,
    /// A host name or address.
    Domain,
    /// A password: 1 to 255 bytes, no control characters. `imcctl` asks for it when it is missing.
    Secret,
    /// The name of a command.
    Command,
    /// What is to be said: 1 to 32768 bytes.
    Text,
    /// The name of a statistic, or the start of several.
    Statistic,
    /// The name of a setting, or its value; or a state.
    Word,
    /// A nickname. `imcctl` takes it from `--nick`.
    Nick,
    /// A title: one line, possibly empty.
    Title,
    /// Names of groups, with commas between them. `imcctl` takes them from `--group`.
    Groups,
    /// A note beside a state.
    Note,
    /// `none`, `to`, `from` or `both`.
    Sight,
    /// Text. `imcctl` is given a file, or `-` for standard input, and reads it.
    Document,
    /// Data in base64. `imcctl` is given a file and reads it.
    File,
    /// `yes` or `no`; the argument's own name is yes.
    Flag,
    /// `owner`, `admin` or `member`.
    Role,
    /// A number from 1 to 1000.
    Count,
    /// What a row of a list is known by: its [`Command::key`], with spaces between the columns.
    Row,
    /// Addresses, with commas between them. Over RPC also an array. `imcctl` takes all words that are left.
    People,
    /// What holds tables on the daemon's machine: `sqlite:`, `text:` or `dump:` and an absolute path. `imcctl` makes it
    /// absolute.
    Source,
    /// An absolute path on the daemon's machine. `imcctl` makes it absolute.
    Path,
    /// Where `imcctl` writes the data of the result. Over RPC it has no meaning.
    Output,
}

impl Kind {
    /// What it must be, in the words of help.
    pub fn expects(self) -> &'static str {
        match self {
            Kind::Address => "alice, alice@example.org or sip:alice@example.org",
            Kind::Domain => "a domain such as example.org",
            Kind::Secret => "a password; left out, it is asked for, or read from standard input",
            Kind::Command => "the name of a command",
            Kind::Text => "what is to be said; in quotes if it has spaces",
            Kind::Statistic => "the name of a statistic, or the start of several",
            Kind::Word => "one word",
            Kind::Nick => "a nickname",
            Kind::Title => "one line; in quotes if it has spaces",
            Kind::Groups => "names of groups, with commas between them",
            Kind::Note => "a note; in quotes if it has spaces",
            Kind::Sight => "none, to, from or both",
            Kind::Document => "a file, to be read; - is standard input",
            Kind::File => "a file, to be read",
            Kind::Flag => "yes or no",
            Kind::Role => "owner, admin or member",
            Kind::Count => "a number from 1 to 1000",
            Kind::Row => "the first columns of the row that was seen last, with a space between them",
            Kind::People => "addresses, as many as you like",
            Kind::Source => "sqlite:FILE, text:DIRECTORY or dump:FILE, on the daemon's machine",
            Kind::Path => "a file on the daemon's machine",
            Kind::Output => "a file, to be written",
        }
    }
}

/// One argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arg {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
}

impl Arg {
    /// Whether it says which page of a list is wanted. `imcctl` has options alone for it.
    pub fn is_of_page(&self) -> bool {
        matches!(self.name, "limit" | "after")
    }
}

/// One command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// `noun.verb`, or one word.
    pub name: &'static str,
    /// What `imcctl` takes for it besides `noun verb`; empty: nothing.
    pub short: &'static str,
    /// In the order of positional parameters; required ones first.
    pub args: &'static [Arg],
    /// One line.
    pub help: &'static str,
    pub right: Right,
    /// Fields of the result, in the order in which people see them; empty: the result is no object.
    pub columns: &'static [&'static str],
    pub(in crate::edge::control) deed: Deed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::edge::control) enum Deed {
    AccountAdd,
    AccountRemove,
    AccountPasswd,
    AccountList,
    AccountSettings,
    AccountSet,
    AccountBlocked,
    AccountBlock,
    AccountUnblock,
    DomainList,
    DomainAdd,
    DomainRemove,
    ServerVersion,
    ServerStatus,
    ServerStats,
    RoomList,
    RoomShow,
    RoomCreate,
    RoomDestroy,
    RoomRename,
    RoomSet,
    RoomPost,
    RoomHistory,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberRole,
    BindingList,
    BindingDrop,
    OfflineList,
    OfflinePurge,
    OfflineDeliver,
    MessageSend,
    MessageBroadcast,
    ServerWork,
    ServerReload,
    ServerBackup,
    ImportImc,
    ImportSilo,
    ImportSubscriber,
    LogLevel,
    Tail,
    RosterList,
    RosterAdd,
    RosterRemove,
    RosterLink,
    RosterUnlink,
    RosterPut,
    RosterDump,
    RosterUsers,
    RosterLinks,
    RosterClear,
    RosterSync,
    PresenceShow,
    PresenceSet,
    AvatarSet,
    AvatarGet,
    AvatarRemove,
    Which,
    Help,
}

/// What cannot be got back: `imcctl` asks before it does one of these.
const DESTROYS: &[&str] =
    &["account.remove", "avatar.remove", "room.destroy", "roster.clear", "offline.purge"];

/// What may take long: `imcctl` waits without end and tells how far it is; the FIFO does it beside what comes next.
const LONG: &[&str] =
    &["import.imc", "import.silo", "import.subscriber", "message.broadcast", "server.backup"];

/// Lists that come in pages: they have the arguments `limit` and `after`. And the columns by which a row is known.
const PAGED: &[(&str, &[&str])] = &[
    ("account.list", &["account"]),
    ("binding.list", &["account", "contact"]),
    ("member.list", &["user"]),
    ("offline.list", &["account", "id"]),
    ("room.list", &["room"]),
    ("roster.dump", &["account", "user"]),
    ("roster.links", &["account", "user"]),
    ("roster.list", &["user"]),
    ("roster.users", &["account"]),
];

/// Second names, for who comes from other servers, whose sessions are our bindings.
const ALIASES: &[(&str, &str)] =
    &[("roster.show", "roster.list"), ("session.list", "binding.list"), ("session.kick", "binding.drop")];

/// Every name of every command, second names behind.
pub fn names() -> impl Iterator<Item = (&'static str, &'static Command)> {
    let first = COMMANDS.iter().map(|command| (command.name, command));
    let second = ALIASES.iter().filter_map(|(alias, name)| {
        let command = COMMANDS.iter().find(|command| command.name == *name)?;
        Some((*alias, command))
    });
    first.chain(second)
}

/// The command with this RPC name.
pub fn find(name: &str) -> Option<&'static Command> {
    names().find(|(known, _)| *known == name).map(|(_, command)| command)
}

impl Command {
    /// Whether what it takes away cannot be got back.
    pub fn destroys(&self) -> bool {
        DESTROYS.contains(&self.name)
    }

    /// Whether it may take long.
    pub fn takes_long(&self) -> bool {
        LONG.contains(&self.name)
    }

    /// The columns by which a row is known, of a list that comes in pages; empty: it does not.
    pub fn key(&self) -> &'static [&'static str] {
        PAGED.iter().find(|(name, _)| *name == self.name).map_or(&[], |(_, key)| key)
    }

    /// `account add ACCOUNT [PASSWORD]`: how `imcctl` writes it.
    pub fn usage(&self) -> String {
        let mut usage = self.name.replace('.', " ");
        for arg in self.args.iter().filter(|arg| !arg.is_of_page()) {
            let name = arg.name.to_ascii_uppercase();
            usage.push_str(&if arg.required { format!(" {name}") } else { format!(" [{name}]") });
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_destroys_is_in_the_table_and_changes_something() {
        assert!(DESTROYS.iter().all(|name| find(name).is_some_and(|c| c.right == Right::Manage)));
    }

    #[test]
    fn what_takes_long_is_in_the_table() {
        assert!(LONG.iter().all(|name| find(name).is_some()));
    }

    #[test]
    fn what_comes_in_pages_has_the_arguments_for_it_and_a_key_of_its_columns() {
        for command in COMMANDS {
            let has = |name| command.args.iter().any(|arg| arg.name == name && !arg.required);
            assert_eq!(!command.key().is_empty(), has("limit") && has("after"), "{}", command.name);
            assert!(command.key().iter().all(|key| command.columns.contains(key)), "{}", command.name);
        }
    }

    #[test]
    fn second_names_lead_to_commands_and_are_nobody_elses() {
        for (alias, name) in ALIASES {
            assert_eq!(find(alias).map(|c| c.name), Some(*name));
            assert!(COMMANDS.iter().all(|c| c.name != *alias && c.short != *alias));
        }
    }

    #[test]
    fn usage_shows_what_may_be_left_out() {
        assert_eq!(find("account.add").unwrap().usage(), "account add ACCOUNT [PASSWORD]");
        assert_eq!(find("which").unwrap().usage(), "which [COMMAND]");
    }
}
