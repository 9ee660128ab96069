//! `imcctl emanagement NAME ARGS…`: the commands of Social Stream's `emanagement` 2.1, for scripts that call it.
//!
//! Names, numbers of arguments, texts and the exit code, which is always 0, are that script's, its spelling included.
//! Prevents that a site has to write its scripts anew. Never does more than the management's own commands can do:
//! where the script said `Done` of what had failed, this says `Error: ` and why.

use imcd::edge::control::table::find;
use serde_json::{Map, Value, json};

use super::Failure;
use super::call::Daemon;
use super::pages;

/// What a function prints: lines, each ended.
type Printed = Result<Vec<String>, Failure>;

/// One function of the script.
struct Function {
    name: &'static str,
    args: usize,
    syntax: &'static str,
    does: fn(&mut Daemon, &[String]) -> Printed,
}

const fn function(
    name: &'static str,
    args: usize,
    syntax: &'static str,
    does: fn(&mut Daemon, &[String]) -> Printed,
) -> Function {
    Function { name, args, syntax, does }
}

/// Sessions by this name are all of them.
const ALL: &str = "all";
const USE_HELP: &str = "Use 'help' to get information about command syntax";

/// In the order of its help.
#[rustfmt::skip]
const FUNCTIONS: &[Function] = &[
    function("addBuddyToRoster", 5, "addBuddyToRoster userJid buddyJid buddyNick buddyGroup subscription_type", add_buddy),
    function("removeBuddyFromRoster", 2, "removeBuddyFromRoster userJid buddyJid", remove_buddy),
    function("setBidireccionalBuddys", 6, "setBidireccionalBuddys userAJid userBJid userANick userBNick groupForA groupForB", link),
    function("unsetBidireccionalBuddys", 4, "unsetBidireccionalBuddys userJid oldFriendJid oldFriendNick groupForOldFriend", unlink),
    function("getRoster", 1, "getRoster userJid", get_roster),
    function("removeRoster", 1, "removeRoster userJid", remove_roster),
    function("removeAllRostersByDomain", 1, "removeAllRostersByDomain domain", |d, a| clear(d, &a[0])),
    function("removeAllRosters", 0, "removeAllRosters", |d, _| clear(d, ALL)),
    function("getAllUserJidsWithRosterByDomain", 1, "getAllUserJidsWithRosterByDomain domain", |d, a| users(d, &a[0])),
    function("printAllRostersByDomain", 1, "printAllRostersByDomain domain", |d, a| print_rosters(d, &a[0])),
    function("printAllRosters", 0, "printAllRosters", |d, _| print_rosters(d, ALL)),
    function("printAllBidirecctionalBuddysByDomain", 1, "printAllBidirecctionalBuddysByDomain domain", print_links),
    function("checkUserJid", 1, "checkUserJid userJid", |d, a| Ok(truth(!roster(d, &a[0])?.is_empty()))),
    function("checkBidirecctionalBuddys", 2, "checkBidirecctionalBuddys userAJid userBJid", |d, a| Ok(truth(are_linked(d, &a[0], &a[1])?))),
    function("sendPresence", 2, "sendPresence userJid show", |d, a| presence(d, &a[0], &a[1])),
    function("setPresence", 1, "setPresence userJid", |d, a| presence(d, &a[0], "available")),
    function("unsetPresence", 1, "unsetPresence userJid", |d, a| presence(d, &a[0], "unavailable")),
    function("sendMessageToUser", 3, "sendMessageToUser fromJid toJid msg", |d, a| done(d, "message.send", json!([a[0], a[1], a[2]]))),
    function("getUserResource", 1, "getUserResource userJid", resource),
    function("isEjabberdNodeStarted", 0, "isEjabberdNodeStarted", |d, _| Ok(truth(d.call("server.version", json!([])).is_ok()))),
    function("broadcast", 3, "broadcast admin userJids msg ", |d, a| broadcast(d, &a[0], &elements(&a[1]), &a[2])),
    function("broadcastToConnectedUsers", 3, "broadcastToConnectedUsers admin userJids msg (userJids value: \"all\" or jids array [jid1,jid2,...,jidN])", broadcast_connected),
    function("getConnectedJidsByDomain", 1, "getConnectedJidsByDomain domain", |d, a| sessions(d, &a[0])),
    function("getConnectedJids", 0, "getConnectedJids", |d, _| sessions(d, ALL)),
    function("kickUserJid", 1, "kickUserJid(userJid)", kick),
    function("createPersistentRoom", 2, "createPersistentRoom roomName domain", create_room),
    function("createRoom", 2, "createRoom roomName domain", create_room),
    function("destroyRoom", 2, "destroyRoom roomName domain", |d, a| done(d, "room.destroy", json!([at(&a[0], &a[1])]))),
    function("destroyAllRoomsByDomain", 1, "destroyAllRoomsByDomain domain", |d, a| destroy_rooms(d, &a[0])),
    function("destroyAllRooms", 0, "destroyAllRooms", |d, _| destroy_rooms(d, ALL)),
    function("getAllJidsOfRoom", 2, "getAllJidsOfRoom roomName domain", |d, a| members(d, a, false)),
    function("getAffiliationsOfRoom", 2, "getAffiliationsOfRoom roomName domain", |d, a| members(d, a, true)),
    function("setJidAffiliationOfRoom", 4, "setJidAffiliationOfRoom roomName domain jid affiliation (affiliation value: owner/admin/member/outcast/none)", affiliate),
    function("printAllRoomsByDomain", 1, "printAllRoomsByDomain domain", |d, a| rooms(d, &a[0])),
    function("printAllRooms", 0, "printAllRooms", |d, _| rooms(d, ALL)),
    function("help", 0, "help", |_, _| Ok([help(), vec![String::new()]].concat())),
];

/// What the script would print for these words.
pub fn run(words: &[String], connect: impl FnOnce() -> Result<Daemon, Failure>) -> String {
    let lines = match words.split_first() {
        None => help(),
        Some((name, args)) => match FUNCTIONS.iter().find(|function| function.name == name) {
            None => vec!["Error: Command not recognized".into(), USE_HELP.into()],
            Some(function) if function.args != args.len() => vec![
                format!("Error: Params required for command {name}: {}", function.args),
                format!("Syntax for command {name}"),
                function.syntax.into(),
                USE_HELP.into(),
            ],
            Some(function) => called(function, args, connect),
        },
    };
    lines.into_iter().map(|line| line + "\n").collect()
}

fn called(
    function: &Function,
    args: &[String],
    connect: impl FnOnce() -> Result<Daemon, Failure>,
) -> Vec<String> {
    let printed = match connect() {
        Ok(mut daemon) => (function.does)(&mut daemon, args),
        // It asks just that.
        Err(_) if function.name == "isEjabberdNodeStarted" => Ok(truth(false)),
        Err(failure) => Err(failure),
    };
    let mut lines = match printed {
        // An empty list is an empty line.
        Ok(lines) if lines.is_empty() => vec![String::new()],
        Ok(lines) => lines,
        Err(Failure::Refused(why) | Failure::Usage(why)) => vec![format!("Error: {why}")],
    };
    lines.push(String::new());
    lines
}

fn help() -> Vec<String> {
    let rule = "-".repeat(24);
    let head = [rule.clone(), "Command list".into(), rule];
    let syntaxes = FUNCTIONS.iter().map(|function| function.syntax.to_owned());
    head.into_iter().chain(syntaxes).chain([String::new()]).collect()
}

fn said(line: impl Into<String>) -> Printed {
    Ok(vec![line.into()])
}

fn truth(holds: bool) -> Vec<String> {
    vec![holds.to_string()]
}

fn done(daemon: &mut Daemon, method: &str, params: Value) -> Printed {
    daemon.call(method, params)?;
    said("Done")
}

fn at(name: &str, domain: &str) -> String {
    format!("{name}@{domain}")
}

/// The rows of a list; `all` is no domain.
fn rows(daemon: &mut Daemon, method: &str, domain: &str) -> Result<Vec<Value>, Failure> {
    let mut params = Map::new();
    if domain != ALL {
        params.insert("domain".into(), domain.into());
    }
    let command = find(method).ok_or_else(|| Failure::Usage(format!("{method}: no such command")))?;
    match pages::whole(daemon, command, params)? {
        Value::Array(rows) => Ok(rows),
        _ => Ok(Vec::new()),
    }
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

/// `[a,b]`.
fn elements(list: &str) -> Vec<String> {
    let inner = list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(list);
    inner.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

// ── rosters ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Empty: there is none. Somebody unknown has none.
fn roster(daemon: &mut Daemon, user: &str) -> Result<Vec<Value>, Failure> {
    match daemon.call("roster.list", json!([user])) {
        Ok(list) => Ok(list.as_array().cloned().unwrap_or_default()),
        Err(Failure::Refused(_)) => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

fn is_in(roster: &[Value], user: &str) -> bool {
    roster.iter().any(|row| row["user"].as_str().is_some_and(|listed| listed.eq_ignore_ascii_case(user)))
}

fn are_linked(daemon: &mut Daemon, one: &str, other: &str) -> Result<bool, Failure> {
    Ok(is_in(&roster(daemon, one)?, other) && is_in(&roster(daemon, other)?, one))
}

fn put(daemon: &mut Daemon, user: &str, buddy: &str, sight: &str, nick: &str, group: &str) -> Printed {
    let nick = (!nick.trim().is_empty()).then_some(nick);
    done(daemon, "roster.put", json!([user, buddy, sight, nick, group]))
}

fn add_buddy(daemon: &mut Daemon, a: &[String]) -> Printed {
    put(daemon, &a[0], &a[1], &a[4], &a[2], &a[3])
}

fn remove_buddy(daemon: &mut Daemon, a: &[String]) -> Printed {
    if !is_in(&roster(daemon, &a[0])?, &a[1]) {
        return said(format!("User {} not found in {} roster.", a[1], a[0]));
    }
    done(daemon, "roster.remove", json!([a[0], a[1]]))
}

fn link(daemon: &mut Daemon, a: &[String]) -> Printed {
    put(daemon, &a[0], &a[1], "both", &a[3], &a[5])?;
    put(daemon, &a[1], &a[0], "both", &a[2], &a[4])
}

fn unlink(daemon: &mut Daemon, a: &[String]) -> Printed {
    if !are_linked(daemon, &a[0], &a[1])? {
        return said(format!("{} and {} aren't bidireccional buddys", a[0], a[1]));
    }
    daemon.call("roster.remove", json!([a[0], a[1]]))?;
    daemon.call("roster.remove", json!([a[1], a[0]]))?;
    put(daemon, &a[0], &a[1], "to", &a[2], &a[3])
}

/// As ejabberd prints one: address, name, subscription, question and group; one in several groups has several lines.
fn lines_of(roster: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in roster {
        let (sight, ask) = match row["sight"].as_str().unwrap_or("none") {
            "asked" => ("none", "out"),
            sight => (sight, "none"),
        };
        let groups: Vec<&str> =
            row["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let groups = if groups.is_empty() { vec![""] } else { groups };
        for group in groups {
            lines.push([&text(row, "user"), &text(row, "nick"), sight, ask, group].join("\t"));
        }
    }
    lines
}

fn get_roster(daemon: &mut Daemon, a: &[String]) -> Printed {
    let roster = roster(daemon, &a[0])?;
    if roster.is_empty() {
        said(format!("Roster not found for user {}", a[0]))
    } else {
        Ok(lines_of(&roster))
    }
}

fn remove_roster(daemon: &mut Daemon, a: &[String]) -> Printed {
    if roster(daemon, &a[0])?.is_empty() {
        return said(format!("Roster not found for userJid {}", a[0]));
    }
    // A bare name could be taken for a domain, or for `all`.
    clear(daemon, &if a[0].contains([':', '@']) { a[0].clone() } else { format!("sip:{}", a[0]) })
}

fn clear(daemon: &mut Daemon, of: &str) -> Printed {
    done(daemon, "roster.clear", json!([of]))
}

fn users(daemon: &mut Daemon, domain: &str) -> Printed {
    Ok(rows(daemon, "roster.users", domain)?.iter().map(|row| text(row, "account")).collect())
}

fn print_rosters(daemon: &mut Daemon, domain: &str) -> Printed {
    let rule = "-".repeat(37);
    let mut lines = Vec::new();
    for user in users(daemon, domain)? {
        lines.extend([String::new(), rule.clone(), format!("{user} Roster"), rule.clone()]);
        lines.extend(lines_of(&roster(daemon, &user)?));
        lines.extend([rule.clone(), String::new()]);
    }
    lines.push("Done".into());
    Ok(lines)
}

fn print_links(daemon: &mut Daemon, a: &[String]) -> Printed {
    let pairs = rows(daemon, "roster.links", &a[0])?;
    let shown = pairs.iter().map(|row| format!("[{},{}]", text(row, "account"), text(row, "user")));
    Ok(["This may take a while...".to_owned()].into_iter().chain(shown).chain(["Done".to_owned()]).collect())
}

// ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// The words of XMPP (RFC 6121 §4.7.2.1) beside our own.
fn presence(daemon: &mut Daemon, user: &str, show: &str) -> Printed {
    let state = match show {
        "available" | "chat" | "" => "online",
        "unavailable" => "offline",
        "dnd" => "busy",
        "xa" => "extended-away",
        other => other,
    };
    done(daemon, "presence.set", json!([user, state]))
}

fn bindings(daemon: &mut Daemon, user: &str) -> Result<Vec<Value>, Failure> {
    match daemon.call("binding.list", json!([user])) {
        Ok(list) => Ok(list.as_array().cloned().unwrap_or_default()),
        Err(Failure::Refused(_)) => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

fn resource(daemon: &mut Daemon, a: &[String]) -> Printed {
    said(match bindings(daemon, &a[0])?.first() {
        Some(first) => text(first, "contact"),
        None => format!("{} no have any active session", a[0]),
    })
}

/// The first session only, as the script does.
fn kick(daemon: &mut Daemon, a: &[String]) -> Printed {
    match bindings(daemon, &a[0])?.first() {
        Some(first) => done(daemon, "binding.drop", json!([a[0], text(first, "contact")])),
        None => said("Done"),
    }
}

/// One for each session.
fn sessions(daemon: &mut Daemon, domain: &str) -> Printed {
    let all = rows(daemon, "binding.list", ALL)?;
    let accounts = all.iter().map(|row| text(row, "account"));
    let of = |account: &String| {
        domain == ALL || account.rsplit_once('@').is_some_and(|(_, host)| host.eq_ignore_ascii_case(domain))
    };
    Ok(accounts.filter(of).collect())
}

fn broadcast(daemon: &mut Daemon, from: &str, to: &[String], text: &str) -> Printed {
    if to.is_empty() {
        return said("Done");
    }
    let told = daemon.call("message.broadcast", json!([from, text, to]))?;
    match told["refused"].as_array().and_then(|refused| refused.first()).and_then(Value::as_str) {
        Some(why) => said(format!("Error: {why}")),
        None => said("Done"),
    }
}

fn broadcast_connected(daemon: &mut Daemon, a: &[String]) -> Printed {
    let mut connected = sessions(daemon, ALL)?;
    connected.dedup();
    let wanted = elements(&a[1]);
    connected.retain(|user| a[1] == ALL || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(user)));
    broadcast(daemon, &a[0], &connected, &a[2])
}

// ── rooms ────────────────────────────────────────────────────────────────────────────────────────────────────────

fn create_room(daemon: &mut Daemon, a: &[String]) -> Printed {
    done(daemon, "room.create", json!([at(&a[0], &a[1])]))
}

fn rooms(daemon: &mut Daemon, domain: &str) -> Printed {
    Ok(rows(daemon, "room.list", domain)?.iter().map(|row| text(row, "room")).collect())
}

fn destroy_rooms(daemon: &mut Daemon, domain: &str) -> Printed {
    for room in rooms(daemon, domain)? {
        daemon.call("room.destroy", json!([room]))?;
    }
    said("Done")
}

/// `roles`: each on a line of its own behind its owner, as Ruby prints a list of pairs.
fn members(daemon: &mut Daemon, a: &[String], roles: bool) -> Printed {
    let list = daemon.call("member.list", json!([at(&a[0], &a[1])]))?;
    let rows = list.as_array().into_iter().flatten();
    let there = rows.filter(|row| row["role"] != "invited");
    Ok(there
        .flat_map(|row| match roles {
            true => vec![text(row, "user"), text(row, "role")],
            false => vec![text(row, "user")],
        })
        .collect())
}

fn affiliate(daemon: &mut Daemon, a: &[String]) -> Printed {
    let room = at(&a[0], &a[1]);
    if ["none", "outcast"].contains(&a[3].as_str()) {
        return done(daemon, "member.remove", json!([room, a[2]]));
    }
    let listed = members(daemon, a, false)?.iter().any(|user| user.eq_ignore_ascii_case(&a[2]));
    done(daemon, if listed { "member.role" } else { "member.add" }, json!([room, a[2], a[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_daemon(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        run(&words, || Err(Failure::Usage("no daemon".into())))
    }

    #[test]
    fn there_are_its_thirty_five_functions_and_help() {
        assert_eq!(FUNCTIONS.len(), 36);
        for function in FUNCTIONS {
            assert!(function.syntax.starts_with(function.name), "{}", function.name);
        }
    }

    #[test]
    fn wrong_words_are_answered_as_the_script_does() {
        assert_eq!(
            without_daemon(&["getRoster"]),
            "Error: Params required for command getRoster: 1\nSyntax for command getRoster\ngetRoster userJid\n\
             Use 'help' to get information about command syntax\n"
        );
        assert_eq!(
            without_daemon(&["fly", "away"]),
            "Error: Command not recognized\nUse 'help' to get information about command syntax\n"
        );
        assert_eq!(without_daemon(&["isEjabberdNodeStarted"]), "false\n\n");
        assert_eq!(without_daemon(&["getConnectedJids"]), "Error: no daemon\n\n");
        let help = without_daemon(&[]);
        let rule = "-".repeat(24);
        assert!(
            help.starts_with(&format!("{rule}\nCommand list\n{rule}\naddBuddyToRoster userJid")),
            "{help}"
        );
        assert!(help.ends_with("printAllRooms\nhelp\n\n"), "{help}");
    }

    #[test]
    fn a_list_is_read_with_and_without_its_brackets() {
        assert_eq!(elements("[a@b,c@d]"), ["a@b", "c@d"]);
        assert_eq!(elements("a@b, c@d"), ["a@b", "c@d"]);
        assert!(elements("[]").is_empty());
    }

    #[test]
    fn a_roster_has_a_line_for_each_group() {
        let row = json!({"user": "bob@x", "nick": "Bob", "sight": "asked", "groups": ["a", "b"]});
        assert_eq!(lines_of(&[row]), ["bob@x\tBob\tnone\tout\ta", "bob@x\tBob\tnone\tout\tb"]);
        let row = json!({"user": "bob@x", "nick": "", "sight": "both", "groups": []});
        assert_eq!(lines_of(&[row]), ["bob@x\t\tboth\tnone\t"]);
    }
}
