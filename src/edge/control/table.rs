//! The table of management commands: name, arguments, help, right. Every door and `imcctl` read it.
//!
//! Prevents a command without help, and arguments whose order differs between doors. Never does a deed itself:
//! that is `perform.rs`.

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
    /// Data in base64. `imcctl` is given a file and reads it.
    File,
    /// `yes` or `no`; the argument's own name is yes.
    Flag,
    /// `owner`, `admin` or `member`.
    Role,
    /// A number from 1 to 1000.
    Count,
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
            Kind::File => "a file, to be read",
            Kind::Flag => "yes or no",
            Kind::Role => "owner, admin or member",
            Kind::Count => "a number from 1 to 1000",
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
    pub(super) deed: Deed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    AccountAdd,
    AccountRemove,
    AccountPasswd,
    AccountList,
    AccountSettings,
    AccountSet,
    AccountBlocked,
    AccountBlock,
    AccountUnblock,
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
    ServerReload,
    ServerBackup,
    ImportImc,
    ImportSilo,
    ImportSubscriber,
    LogLevel,
    RosterList,
    RosterAdd,
    RosterRemove,
    RosterLink,
    RosterUnlink,
    PresenceShow,
    PresenceSet,
    AvatarSet,
    AvatarGet,
    AvatarRemove,
    Which,
    Help,
}

const fn need(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, required: true }
}

const fn may(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, required: false }
}

const ROOM_COLUMNS: &[&str] = &["room", "title", "owner", "private", "members", "invited"];

const MEMBER_COLUMNS: &[&str] = &["user", "role"];
const BUDDY_COLUMNS: &[&str] = &["account", "user", "sight"];
const PRESENCE_COLUMNS: &[&str] = &["account", "state", "says", "note", "avatar"];

const IMPORT_ARGS: &[Arg] = &[need("url", Kind::Source), may("dry_run", Kind::Flag)];
const IMPORT_COLUMNS: &[&str] = &["table", "outcome", "rows", "why", "examples"];

/// All commands, in the order in which help shows them.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "account.add",
        short: "",
        args: &[need("account", Kind::Address), may("password", Kind::Secret)],
        help: "make an account; over RPC, one without a password cannot authenticate",
        right: Right::Manage,
        columns: &["account"],
        deed: Deed::AccountAdd,
    },
    Command {
        name: "account.remove",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "remove an account with its contacts and what waits for it, and take it out of its rooms",
        right: Right::Manage,
        columns: &["account", "left", "handed_over", "destroyed"],
        deed: Deed::AccountRemove,
    },
    Command {
        name: "account.passwd",
        short: "",
        args: &[need("account", Kind::Address), need("password", Kind::Secret)],
        help: "set the password of an account",
        right: Right::Manage,
        columns: &["account"],
        deed: Deed::AccountPasswd,
    },
    Command {
        name: "account.list",
        short: "accounts",
        args: &[may("domain", Kind::Domain)],
        help: "list the accounts, of all served domains or of one",
        right: Right::Read,
        columns: &["account", "password", "contacts"],
        deed: Deed::AccountList,
    },
    Command {
        name: "account.settings",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "show what an account has set for itself",
        right: Right::Read,
        columns: &["key", "value", "values"],
        deed: Deed::AccountSettings,
    },
    Command {
        name: "account.set",
        short: "",
        args: &[need("account", Kind::Address), need("key", Kind::Word), need("value", Kind::Word)],
        help: "change a setting of an account",
        right: Right::Manage,
        columns: &["key", "value", "values"],
        deed: Deed::AccountSet,
    },
    Command {
        name: "account.blocked",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "list who may not write to an account",
        right: Right::Read,
        columns: &["user"],
        deed: Deed::AccountBlocked,
    },
    Command {
        name: "account.block",
        short: "",
        args: &[need("account", Kind::Address), need("user", Kind::Address)],
        help: "let an account take no more messages from a user",
        right: Right::Manage,
        columns: &["account", "user"],
        deed: Deed::AccountBlock,
    },
    Command {
        name: "account.unblock",
        short: "",
        args: &[need("account", Kind::Address), need("user", Kind::Address)],
        help: "let an account take messages from a blocked user again",
        right: Right::Manage,
        columns: &["account", "user"],
        deed: Deed::AccountUnblock,
    },
    Command {
        name: "roster.list",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "list the buddies of an account",
        right: Right::Read,
        columns: &["user", "nick", "groups", "sight", "state"],
        deed: Deed::RosterList,
    },
    Command {
        name: "roster.add",
        short: "",
        args: &[
            need("account", Kind::Address),
            need("user", Kind::Address),
            may("nick", Kind::Nick),
            may("groups", Kind::Groups),
        ],
        help: "add a buddy to an account, as its owner would: he is asked; or name one anew",
        right: Right::Manage,
        columns: BUDDY_COLUMNS,
        deed: Deed::RosterAdd,
    },
    Command {
        name: "roster.remove",
        short: "",
        args: &[need("account", Kind::Address), need("user", Kind::Address)],
        help: "remove a buddy of an account",
        right: Right::Manage,
        columns: BUDDY_COLUMNS,
        deed: Deed::RosterRemove,
    },
    Command {
        name: "roster.link",
        short: "",
        args: &[need("account", Kind::Address), need("user", Kind::Address)],
        help: "let two see each other, without asking them",
        right: Right::Manage,
        columns: BUDDY_COLUMNS,
        deed: Deed::RosterLink,
    },
    Command {
        name: "roster.unlink",
        short: "",
        args: &[need("account", Kind::Address), need("user", Kind::Address)],
        help: "let two see each other no more",
        right: Right::Manage,
        columns: BUDDY_COLUMNS,
        deed: Deed::RosterUnlink,
    },
    Command {
        name: "presence.show",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "show how an account is, and what it says of itself",
        right: Right::Read,
        columns: PRESENCE_COLUMNS,
        deed: Deed::PresenceShow,
    },
    Command {
        name: "presence.set",
        short: "",
        args: &[need("account", Kind::Address), need("state", Kind::Word), may("note", Kind::Note)],
        help: "say how an account is, in its name; auto: its phones say it",
        right: Right::Manage,
        columns: PRESENCE_COLUMNS,
        deed: Deed::PresenceSet,
    },
    Command {
        name: "avatar.set",
        short: "",
        args: &[need("account", Kind::Address), need("file", Kind::File)],
        help: "give an account a picture: PNG, JPEG, GIF or WebP of at most 64 KiB",
        right: Right::Manage,
        columns: &["account", "media", "sha1", "bytes"],
        deed: Deed::AvatarSet,
    },
    Command {
        name: "avatar.get",
        short: "",
        args: &[need("account", Kind::Address), may("file", Kind::Output)],
        help: "show what picture an account has, and write it into a file",
        right: Right::Read,
        columns: &["account", "media", "sha1", "bytes", "data"],
        deed: Deed::AvatarGet,
    },
    Command {
        name: "avatar.remove",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "take the picture of an account away",
        right: Right::Manage,
        columns: &["account"],
        deed: Deed::AvatarRemove,
    },
    Command {
        name: "room.list",
        short: "rooms",
        args: &[may("domain", Kind::Domain)],
        help: "list the rooms, of all served domains or of one",
        right: Right::Read,
        columns: ROOM_COLUMNS,
        deed: Deed::RoomList,
    },
    Command {
        name: "room.show",
        short: "",
        args: &[need("room", Kind::Address)],
        help: "show a room",
        right: Right::Read,
        columns: ROOM_COLUMNS,
        deed: Deed::RoomShow,
    },
    Command {
        name: "room.create",
        short: "",
        args: &[need("room", Kind::Address), may("owner", Kind::Address), may("private", Kind::Flag)],
        help: "make a room; without an owner only management changes it",
        right: Right::Manage,
        columns: ROOM_COLUMNS,
        deed: Deed::RoomCreate,
    },
    Command {
        name: "room.destroy",
        short: "",
        args: &[need("room", Kind::Address)],
        help: "destroy a room; its members are told",
        right: Right::Manage,
        columns: &["room"],
        deed: Deed::RoomDestroy,
    },
    Command {
        name: "room.rename",
        short: "",
        args: &[need("room", Kind::Address), need("name", Kind::Title)],
        help: "give a room the name that phones show; its address stays, and an empty name takes it away",
        right: Right::Manage,
        columns: ROOM_COLUMNS,
        deed: Deed::RoomRename,
    },
    Command {
        name: "room.set",
        short: "",
        args: &[need("room", Kind::Address), need("key", Kind::Word), need("value", Kind::Title)],
        help: "change a setting of a room: title, or private to yes or no",
        right: Right::Manage,
        columns: ROOM_COLUMNS,
        deed: Deed::RoomSet,
    },
    Command {
        name: "room.post",
        short: "",
        args: &[need("room", Kind::Address), need("text", Kind::Text)],
        help: "say something to all members, from the room itself",
        right: Right::Manage,
        columns: &["room"],
        deed: Deed::RoomPost,
    },
    Command {
        name: "room.history",
        short: "",
        args: &[need("room", Kind::Address), may("n", Kind::Count)],
        help: "show what was said last in a room: 10 posts, or n",
        right: Right::Read,
        columns: &["at", "user", "text"],
        deed: Deed::RoomHistory,
    },
    Command {
        name: "member.list",
        short: "members",
        args: &[need("room", Kind::Address)],
        help: "list the members of a room and who is invited",
        right: Right::Read,
        columns: MEMBER_COLUMNS,
        deed: Deed::MemberList,
    },
    Command {
        name: "member.add",
        short: "",
        args: &[need("room", Kind::Address), need("user", Kind::Address), may("role", Kind::Role)],
        help: "add a member to a room, without asking; as its owner, the old one becomes an admin",
        right: Right::Manage,
        columns: MEMBER_COLUMNS,
        deed: Deed::MemberAdd,
    },
    Command {
        name: "member.remove",
        short: "",
        args: &[need("room", Kind::Address), need("user", Kind::Address)],
        help: "remove a member from a room, or an invitation; an owner's room goes to the next one",
        right: Right::Manage,
        columns: &["room", "user"],
        deed: Deed::MemberRemove,
    },
    Command {
        name: "member.role",
        short: "",
        args: &[need("room", Kind::Address), need("user", Kind::Address), need("role", Kind::Role)],
        help: "make a member the owner, an admin, or a plain member",
        right: Right::Manage,
        columns: MEMBER_COLUMNS,
        deed: Deed::MemberRole,
    },
    Command {
        name: "binding.list",
        short: "bindings",
        args: &[may("account", Kind::Address)],
        help: "list the registered phones, of all accounts or of one",
        right: Right::Read,
        columns: &["account", "contact", "transport", "source", "expires_in", "user_agent"],
        deed: Deed::BindingList,
    },
    Command {
        name: "binding.drop",
        short: "",
        args: &[need("account", Kind::Address), may("contact", Kind::Word)],
        help: "drop the registered phones of an account, or one contact, until they register again",
        right: Right::Manage,
        columns: &["account", "dropped"],
        deed: Deed::BindingDrop,
    },
    Command {
        name: "offline.list",
        short: "",
        args: &[may("account", Kind::Address)],
        help: "list the direct messages that wait, of all accounts or of one",
        right: Right::Read,
        columns: &["id", "account", "from", "at", "expires", "type", "bytes"],
        deed: Deed::OfflineList,
    },
    Command {
        name: "offline.purge",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "throw away the direct messages that wait for an account",
        right: Right::Manage,
        columns: &["account", "purged"],
        deed: Deed::OfflinePurge,
    },
    Command {
        name: "offline.deliver",
        short: "",
        args: &[need("account", Kind::Address)],
        help: "try now to deliver what waits for an account",
        right: Right::Manage,
        columns: &["account", "waiting", "ways"],
        deed: Deed::OfflineDeliver,
    },
    Command {
        name: "message.send",
        short: "",
        args: &[need("from", Kind::Address), need("to", Kind::Address), need("text", Kind::Text)],
        help: "say something in an account's name, to a person or to a room it belongs to",
        right: Right::Manage,
        columns: &["from", "to"],
        deed: Deed::MessageSend,
    },
    Command {
        name: "message.broadcast",
        short: "",
        args: &[need("from", Kind::Address), need("text", Kind::Text), may("to", Kind::People)],
        help: "say something in an account's name, or the manager's, to all accounts or to these",
        right: Right::Manage,
        columns: &["from", "sent", "refused"],
        deed: Deed::MessageBroadcast,
    },
    Command {
        name: "server.status",
        short: "status",
        args: &[],
        help: "show how the daemon is",
        right: Right::Read,
        columns: &[
            "version",
            "pid",
            "uptime_s",
            "domains",
            "listeners",
            "auth",
            "accounts",
            "contacts",
            "rooms",
        ],
        deed: Deed::ServerStatus,
    },
    Command {
        name: "server.stats",
        short: "stats",
        args: &[may("name", Kind::Statistic)],
        help: "show the counters since the start, all or those that begin with a name",
        right: Right::Read,
        columns: &["name", "value"],
        deed: Deed::ServerStats,
    },
    Command {
        name: "server.version",
        short: "version",
        args: &[],
        help: "show the daemon's version",
        right: Right::Read,
        columns: &[],
        deed: Deed::ServerVersion,
    },
    Command {
        name: "server.reload",
        short: "reload",
        args: &[],
        help: "read the configuration again",
        right: Right::Manage,
        columns: &["warnings", "needs_restart"],
        deed: Deed::ServerReload,
    },
    Command {
        name: "import.imc",
        short: "",
        args: IMPORT_ARGS,
        help: "take over rooms and members of another server: imc_rooms, imc_members",
        right: Right::Manage,
        columns: IMPORT_COLUMNS,
        deed: Deed::ImportImc,
    },
    Command {
        name: "import.silo",
        short: "",
        args: IMPORT_ARGS,
        help: "take over messages that wait on another server: silo",
        right: Right::Manage,
        columns: IMPORT_COLUMNS,
        deed: Deed::ImportSilo,
    },
    Command {
        name: "import.subscriber",
        short: "",
        args: &[need("url", Kind::Source), may("dry_run", Kind::Flag), may("realm", Kind::Title)],
        help: "take over accounts of another server: subscriber",
        right: Right::Manage,
        columns: IMPORT_COLUMNS,
        deed: Deed::ImportSubscriber,
    },
    Command {
        name: "server.backup",
        short: "backup",
        args: &[need("file", Kind::Path)],
        help: "copy the database into a new file, while the daemon goes on",
        right: Right::Manage,
        columns: &["file", "bytes"],
        deed: Deed::ServerBackup,
    },
    Command {
        name: "log.level",
        short: "",
        args: &[may("level", Kind::Word)],
        help: "show how much is logged, or change it until the next reload or restart",
        right: Right::Manage,
        columns: &["level"],
        deed: Deed::LogLevel,
    },
    Command {
        name: "which",
        short: "",
        args: &[may("command", Kind::Command)],
        help: "list the commands, or the parameters of one",
        right: Right::Read,
        columns: &[],
        deed: Deed::Which,
    },
    Command {
        name: "help",
        short: "",
        args: &[may("command", Kind::Command)],
        help: "tell what the commands do, or one",
        right: Right::Read,
        columns: &["command", "usage", "help", "changes"],
        deed: Deed::Help,
    },
];

/// What cannot be got back: `imcctl` asks before it does one of these.
const DESTROYS: &[&str] = &["account.remove", "avatar.remove", "room.destroy", "offline.purge"];

/// The command with this RPC name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

impl Command {
    /// Whether what it takes away cannot be got back.
    pub fn destroys(&self) -> bool {
        DESTROYS.contains(&self.name)
    }

    /// `account add ACCOUNT [PASSWORD]`: how `imcctl` writes it.
    pub fn usage(&self) -> String {
        let mut usage = self.name.replace('.', " ");
        for arg in self.args {
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
    fn usage_shows_what_may_be_left_out() {
        assert_eq!(find("account.add").unwrap().usage(), "account add ACCOUNT [PASSWORD]");
        assert_eq!(find("which").unwrap().usage(), "which [COMMAND]");
    }
}
