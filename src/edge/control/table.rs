//! The table of management commands: name, arguments, help, right. Every door and `imcctl` read it.
//!
//! Prevents a command without help, and arguments whose order differs between doors. Never does a deed itself:
//! [`perform`] calls [`Management`].

use serde::Serialize;
use serde_json::{Value, json};

use super::deeds::{Denied, Management};
use crate::types::Aor;

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
    /// The name of a setting, or its value.
    Word,
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
    deed: Deed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
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
    MemberList,
    OfflineList,
    OfflinePurge,
    OfflineDeliver,
    MessageSend,
    Which,
}

const fn need(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, required: true }
}

const fn may(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, required: false }
}

/// Bytes of a [`Kind::Text`].
const TEXT_MAX: usize = 32_768;

const ROOM_COLUMNS: &[&str] = &["room", "title", "owner", "private", "members", "invited"];

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
        name: "member.list",
        short: "members",
        args: &[need("room", Kind::Address)],
        help: "list the members of a room and who is invited",
        right: Right::Read,
        columns: &["user", "role"],
        deed: Deed::MemberList,
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
        name: "which",
        short: "",
        args: &[may("command", Kind::Command)],
        help: "list the commands, or the parameters of one",
        right: Right::Read,
        columns: &[],
        deed: Deed::Which,
    },
];

/// The command with this RPC name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

impl Command {
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

/// Checked arguments, one place per [`Command::args`].
pub struct Values {
    given: Vec<Option<String>>,
    default_domain: String,
}

impl Values {
    /// `given` has one place per argument of `command`, `None` for what was left out.
    /// The error says what was expected.
    pub fn check(
        command: &Command,
        given: Vec<Option<String>>,
        default_domain: String,
    ) -> Result<Values, String> {
        let values = Values { given, default_domain };
        for (at, arg) in command.args.iter().enumerate() {
            let Some(text) = values.text(at) else {
                if arg.required {
                    return Err(format!("{}: missing", arg.name));
                }
                continue;
            };
            let wanted = match arg.kind {
                Kind::Address if values.address(at).is_none() => {
                    "expected an address such as alice@example.org"
                }
                Kind::Domain if Aor::new("a", &text).is_none() => "expected a domain such as example.org",
                Kind::Secret if !is_secret(&text) => "expected 1 to 255 bytes without control characters",
                Kind::Text if text.is_empty() || text.len() > TEXT_MAX => "expected 1 to 32768 bytes",
                Kind::Command if find(&text).is_none() => "no such command",
                _ => continue,
            };
            return Err(format!("{}: {wanted}", arg.name));
        }
        Ok(values)
    }

    fn text(&self, at: usize) -> Option<String> {
        self.given.get(at).cloned().flatten()
    }

    fn address(&self, at: usize) -> Option<Aor> {
        address(self.given.get(at)?.as_deref()?, &self.default_domain)
    }
}

fn is_secret(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// An address as people write it. Port and parameters do not belong to its identity (spec §3).
fn address(text: &str, default_domain: &str) -> Option<Aor> {
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
    let text = match text.split_once(':') {
        Some((scheme, rest)) if ["sip", "sips", "im"].iter().any(|s| s.eq_ignore_ascii_case(scheme)) => rest,
        _ => text,
    };
    let Some((user, rest)) = text.rsplit_once('@') else { return Aor::new(text, default_domain) };
    let host = rest.split([';', '?']).next().unwrap_or(rest);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => {
            port.parse::<u16>().ok()?;
            name
        }
        _ => host,
    };
    Aor::new(user, host)
}

/// Does what `command` says. `values` were checked against it.
pub async fn perform<M: Management>(
    management: &M,
    command: &Command,
    values: Values,
) -> Result<Value, Denied> {
    // `check` has seen to it that required arguments are there.
    let aor = |at| values.address(at).ok_or_else(|| Denied::Refused("address missing".into()));
    match command.deed {
        Deed::AccountAdd => {
            let account = aor(0)?;
            management.account_add(account.clone(), values.text(1)).await?;
            Ok(json!({ "account": account.as_str() }))
        }
        Deed::AccountRemove => {
            let mut removed = management.account_remove(aor(0)?).await?;
            removed.handed_over.sort_unstable();
            removed.destroyed.sort_unstable();
            Ok(plain(&removed))
        }
        Deed::AccountPasswd => {
            let account = aor(0)?;
            management.account_passwd(account.clone(), values.text(1).unwrap_or_default()).await?;
            Ok(json!({ "account": account.as_str() }))
        }
        Deed::AccountList => {
            let mut list = management.account_list(values.text(0)).await?;
            list.sort_by(|a, b| a.account.cmp(&b.account));
            Ok(plain(&list))
        }
        Deed::AccountSettings => Ok(plain(&management.account_settings(aor(0)?).await?)),
        Deed::AccountSet => {
            let (account, text) = (aor(0)?, |at| values.text(at).unwrap_or_default());
            management.account_set(account.clone(), text(1), text(2)).await?;
            Ok(plain(&management.account_settings(account).await?))
        }
        Deed::AccountBlocked => Ok(plain(&management.account_blocked(aor(0)?).await?)),
        Deed::AccountBlock | Deed::AccountUnblock => {
            let (account, user) = (aor(0)?, aor(1)?);
            let block = matches!(command.deed, Deed::AccountBlock);
            management.account_block(account.clone(), user.clone(), block).await?;
            Ok(json!({ "account": account.as_str(), "user": user.as_str() }))
        }
        Deed::ServerVersion => Ok(json!(concat!("imcd ", env!("CARGO_PKG_VERSION")))),
        Deed::ServerStatus => Ok(plain(&management.server_status().await?)),
        Deed::ServerStats => {
            let mut list = management.server_stats().await?;
            let wanted = values.text(0).unwrap_or_default();
            list.retain(|stat| stat.name.starts_with(&wanted));
            if list.is_empty() {
                return Err(Denied::NotFound(format!("no statistic {wanted}")));
            }
            Ok(plain(&list))
        }
        Deed::RoomList => {
            let mut list = management.room_list(values.text(0)).await?;
            list.sort_by(|a, b| a.room.cmp(&b.room));
            Ok(plain(&list))
        }
        Deed::RoomShow => Ok(plain(&management.room_show(aor(0)?).await?)),
        Deed::MemberList => Ok(plain(&management.member_list(aor(0)?).await?)),
        Deed::OfflineList => {
            let who = values.address(0);
            Ok(plain(&management.offline_list(who).await?))
        }
        Deed::OfflinePurge => {
            let account = aor(0)?;
            let purged = management.offline_purge(account.clone()).await?;
            Ok(json!({ "account": account.as_str(), "purged": purged }))
        }
        Deed::OfflineDeliver => {
            let account = aor(0)?;
            let (waiting, ways) = management.offline_deliver(account.clone()).await?;
            Ok(json!({ "account": account.as_str(), "waiting": waiting, "ways": ways }))
        }
        Deed::MessageSend => {
            let (from, to) = (aor(0)?, aor(1)?);
            management.message_send(from.clone(), to.clone(), values.text(2).unwrap_or_default()).await?;
            Ok(json!({ "from": from.as_str(), "to": to.as_str() }))
        }
        // As OpenSIPS' clients ask at their start: names, or for one command its list of parameter lists.
        Deed::Which => Ok(match values.text(0).as_deref().and_then(find) {
            None => COMMANDS.iter().map(|c| c.name).collect(),
            Some(c) => json!([c.args.iter().map(|a| a.name).collect::<Vec<_>>()]),
        }),
    }
}

fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("structs of strings, numbers and booleans have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_people_write_it() {
        let read = |t: &str| address(t, "example.org").map(|a| a.as_str().to_string());
        for text in [
            "alice",
            "alice@example.org",
            "sip:alice@example.org",
            "<sip:alice@example.org>",
            "SIP:alice@example.org:5060;transport=udp",
            " sips:alice@example.org?x=y ",
        ] {
            assert_eq!(read(text).as_deref(), Some("alice@example.org"), "{text}");
        }
        assert_eq!(read("sip:a@[::1]:5060").as_deref(), Some("a@[::1]"));
        assert_eq!(read("sip:a@[::1]").as_deref(), Some("a@[::1]"));
        for text in ["", "@example.org", "a b", "tel:+1", "alice@", "alice@h:x", "<alice", "a@h\r\nX: y"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn usage_shows_what_may_be_left_out() {
        assert_eq!(find("account.add").unwrap().usage(), "account add ACCOUNT [PASSWORD]");
        assert_eq!(find("which").unwrap().usage(), "which [COMMAND]");
    }
}
