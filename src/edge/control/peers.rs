//! The names and shapes of the peers: what clients of OpenSIPS, Kamailio and OpenSER ask, and what they expect.
//!
//! Prevents that a script which managed rooms before has to be written anew, and that two doors translate differently.
//! Never does a deed of its own: every name leads to a command of the table. No sockets.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::deeds::{Denied, Management};
use super::frame::MAX_DOCUMENT;
use super::listing::Page;
use super::ordered::Json;
use super::perform::perform;
use super::rooms::RoomInfo;
use super::rpc::{self, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, REFUSED, RpcError};
use super::table::{self, COMMANDS, Command, Right};
use super::values::Values;

/// Whose manners a caller has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// OpenSIPS 3 and 4: JSON-RPC in one line.
    OpenSips,
    /// Kamailio's `jsonrpcs`: JSON-RPC over lines, other codes.
    Kamailio,
    /// OpenSER, OpenSIPS before 3, Kamailio before 5: a tree in lines of text.
    OpenSer,
}

impl Peer {
    /// Whose spelling a method has, where the door does not tell: OpenSIPS writes `imc_list_rooms`.
    pub fn of(method: &str) -> Peer {
        if method.contains(['_', ':']) && !method.contains('.') { Peer::OpenSips } else { Peer::Kamailio }
    }
}

/// How the result looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Rooms,
    Members,
    Statistics,
    Names,
    Help,
    Version,
    /// A command of ours under its own name.
    Ours,
}

/// A name of the peers.
struct Known {
    names: &'static [&'static str],
    /// Of our table.
    command: &'static str,
    shape: Shape,
    /// Its one parameter; empty: none.
    param: &'static str,
    help: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        names: &["imc_list_rooms", "imc:list_rooms", "imc.list_rooms"],
        command: "room.list",
        shape: Shape::Rooms,
        param: "",
        help: "lists the rooms",
    },
    Known {
        names: &["imc_list_members", "imc:list_members", "imc.list_members"],
        command: "member.list",
        shape: Shape::Members,
        param: "room",
        help: "lists the members of a room",
    },
    Known {
        names: &["get_statistics", "statistics:get", "stats.get_statistics"],
        command: "server.stats",
        shape: Shape::Statistics,
        param: "statistics",
        help: "prints statistics: all, those of a group as in imc:, or by name",
    },
    Known {
        names: &["which", "mi:which", "system.listMethods"],
        command: "which",
        shape: Shape::Names,
        param: "command",
        help: "lists the commands, or the parameters of one",
    },
    Known {
        names: &["help", "mi:help", "system.methodHelp"],
        command: "help",
        shape: Shape::Help,
        param: "mi_cmd",
        help: "tells what a command does",
    },
    Known {
        names: &["version", "core:version", "core.version"],
        command: "server.version",
        shape: Shape::Version,
        param: "",
        help: "prints the version",
    },
];

/// All names of the peers, with the parameter that each takes, if any, and what it does.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let only = |known: &'static Known| known.names.iter().map(|name| (*name, known.param, known.help));
    KNOWN.iter().flat_map(only).filter(|(name, ..)| knows(name))
}

/// Whether it is a name that only the peers have.
pub(super) fn knows(method: &str) -> bool {
    known(method).is_some() && table::find(method).is_none()
}

fn known(method: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.names.contains(&method))
}

/// What somebody gave with a method: a name, if he gave one, and the value.
pub(super) type Params = Vec<(Option<String>, Value)>;

/// Parameters by place or by name; `None` if they are neither.
pub(super) fn params(given: Option<Value>) -> Option<Params> {
    match given {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => Some(list.into_iter().map(|value| (None, value)).collect()),
        Some(Value::Object(map)) => Some(map.into_iter().map(|(name, value)| (Some(name), value)).collect()),
        Some(_) => None,
    }
}

/// A request in terms of our table.
#[derive(Debug)]
pub(super) struct Ask {
    command: &'static Command,
    shape: Shape,
    /// One place per argument of `command`, where the shape is [`Shape::Ours`].
    given: Vec<Option<String>>,
    /// All that was given, in its order, where it is not.
    words: Vec<String>,
}

fn error(code: i64, message: &'static str) -> RpcError {
    RpcError { code, message: message.into(), data: None }
}

/// A wrong number of parameters, or names that do not fit.
fn wrong(peer: Peer, what: Cow<'static, str>) -> RpcError {
    match peer {
        Peer::Kamailio => RpcError { code: 400, message: what, data: None },
        _ => RpcError { code: INVALID_PARAMS, message: "Invalid params".into(), data: Some(what.into()) },
    }
}

pub(super) const COUNT: Cow<'static, str> = Cow::Borrowed("Too few or too many parameters");
pub(super) const NAMES: Cow<'static, str> = Cow::Borrowed("Named parameters do not match");

fn no_method(peer: Peer) -> RpcError {
    match peer {
        Peer::Kamailio => error(500, "Method Not Found"),
        _ => error(METHOD_NOT_FOUND, "Method not found"),
    }
}

/// A method and its parameters in terms of our table.
pub(super) fn read(peer: Peer, method: &str, params: Params) -> Result<Ask, RpcError> {
    let Some(known) = known(method) else { return ours(peer, method, params) };
    let command = table::find(known.command).ok_or_else(|| no_method(peer))?;
    let many = known.shape == Shape::Statistics;
    let mut words = Vec::new();
    for (name, value) in params {
        // Only OpenSIPS 3 looks at what a parameter is called.
        if peer == Peer::OpenSips && name.is_some_and(|name| name != known.param) {
            return Err(wrong(peer, NAMES));
        }
        match value {
            Value::Array(list) if many => {
                for item in &list {
                    words.push(word(item).ok_or_else(|| wrong(peer, COUNT))?);
                }
            }
            Value::Null => {}
            value => words.push(word(&value).ok_or_else(|| wrong(peer, COUNT))?),
        }
    }
    let most = match known.param {
        "" => 0,
        _ if many => usize::MAX,
        _ => 1,
    };
    if words.len() > most {
        // Kamailio does not look at what it does not need.
        match peer {
            Peer::Kamailio => words.truncate(most),
            _ => return Err(wrong(peer, COUNT)),
        }
    }
    if words.is_empty() {
        match (known.shape, peer) {
            (Shape::Members, Peer::Kamailio) => return Err(error(500, "No room name")),
            (Shape::Members | Shape::Statistics, _) => return Err(wrong(peer, COUNT)),
            _ => {}
        }
    }
    Ok(Ask { command, shape: known.shape, given: Vec::new(), words })
}

fn ours(peer: Peer, method: &str, params: Params) -> Result<Ask, RpcError> {
    let command = table::find(method).ok_or_else(|| no_method(peer))?;
    let mut given = vec![None; command.args.len()];
    for (at, (name, value)) in params.into_iter().enumerate() {
        let at = match name {
            None => at,
            Some(name) => {
                command.args.iter().position(|arg| arg.name == name).ok_or_else(|| wrong(peer, NAMES))?
            }
        };
        let (Some(place), Some(arg)) = (given.get_mut(at), command.args.get(at)) else {
            return Err(wrong(peer, COUNT));
        };
        *place = rpc::text(arg, Some(&value)).map_err(|e| wrong(peer, e.data.map_or(COUNT, Cow::Owned)))?;
    }
    Ok(Ask { command, shape: Shape::Ours, given, words: Vec::new() })
}

/// Clients send what looks like a number as a number.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A result, before a peer's words are put around it.
pub(super) enum Told {
    Rooms(Vec<RoomInfo>),
    /// A room and who belongs to it: `user@domain`.
    Members(String, Vec<String>),
    /// `group:name` and value.
    Statistics(Vec<(String, u64)>),
    /// Names, and whether they are lists of parameters.
    Names(Vec<String>, bool),
    Help(String),
    Version(String),
    Ours(Json),
}

/// Does what was asked.
pub(super) async fn tell<M: Management>(
    management: &M,
    right: Right,
    peer: Peer,
    ask: Ask,
) -> Result<Told, RpcError> {
    let Ask { command, shape, given, words } = ask;
    if command.right > right {
        return Err(error(REFUSED, "Not allowed at this door"));
    }
    let first = words.first().map(String::as_str);
    let values = |given: Vec<Option<String>>| Values::check(command, given, management.default_domain());
    let none = || vec![None; command.args.len()];
    let failed = |denied: Denied| match denied {
        Denied::Fault(fault) => {
            tracing::error!(%fault, "management command failed");
            error(500, "Server error")
        }
        other => RpcError::from(other),
    };
    match shape {
        Shape::Rooms => {
            let mut rooms = management.room_list(None, Page::ALL).await.map_err(failed)?;
            rooms.sort_by(|a, b| a.room.cmp(&b.room));
            Ok(Told::Rooms(rooms))
        }
        Shape::Members => {
            let text = first.unwrap_or_default();
            if text.trim().is_empty() {
                return Err(match peer {
                    Peer::Kamailio => error(500, "Empty room name"),
                    _ => error(400, "empty param"),
                });
            }
            let address = values(vec![Some(text.to_owned())]).ok().and_then(|values| values.address(0));
            let Some(address) = address else {
                return Err(match peer {
                    Peer::Kamailio => error(500, "Invalid room name"),
                    _ => error(400, "bad param"),
                });
            };
            let gone = |denied| match (denied, peer) {
                // A domain that is not ours has no rooms.
                (Denied::NotFound(_) | Denied::Refused(_), Peer::Kamailio) => error(500, "Room not found"),
                (Denied::NotFound(_) | Denied::Refused(_), _) => error(404, "no such room"),
                (denied, _) => failed(denied),
            };
            // The room as it is called here, however the caller spelled it.
            let room = management.room_show(address.clone()).await.map_err(gone)?.room;
            let members = management.member_list(address).await.map_err(gone)?;
            Ok(Told::Members(room, members.into_iter().map(|member| member.user).collect()))
        }
        Shape::Statistics => {
            let all = management.server_stats().await.map_err(failed)?;
            let named = all.iter().map(|stat| {
                // The one that the peers have.
                let group = if stat.name == "active_rooms" { "imc" } else { "imcd" };
                (format!("{group}:{}", stat.name), stat.name, stat.value)
            });
            let wanted = |full: &str, name: &str| {
                words.iter().any(|word| {
                    word == "all"
                        || word == full
                        || word == name
                        || (word.ends_with(':') && full.starts_with(word))
                })
            };
            let found: Vec<_> = named
                .filter(|(full, name, _)| wanted(full, name))
                .map(|(full, _, value)| (full, value))
                .collect();
            if found.is_empty() && peer != Peer::Kamailio {
                return Err(error(404, "Statistics Not Found"));
            }
            Ok(Told::Statistics(found))
        }
        Shape::Names => match first {
            None => Ok(Told::Names(every_name().map(str::to_owned).collect(), false)),
            Some(name) => {
                let params = parameters(name).ok_or_else(|| error(404, "unknown MI command"))?;
                Ok(Told::Names(params.iter().map(|param| param.to_string()).collect(), true))
            }
        },
        Shape::Help => match first {
            None => Ok(Told::Help("Usage: help mi_cmd - returns information about 'mi_cmd'".into())),
            Some(name) => {
                let help = known(name).map(|known| known.help).or(table::find(name).map(|c| c.help));
                Ok(Told::Help(help.ok_or_else(|| error(404, "unknown MI command"))?.into()))
            }
        },
        Shape::Version => {
            let values = values(none()).map_err(|what| wrong(peer, what.into()))?;
            let version = perform(management, command, values).await.map_err(failed)?;
            Ok(Told::Version(version.as_str().unwrap_or_default().to_owned()))
        }
        Shape::Ours => {
            let values = values(given).map_err(|what| wrong(peer, what.into()))?;
            let result = perform(management, command, values).await.map_err(failed)?;
            Ok(Told::Ours(Json::ordered(result, command.columns)))
        }
    }
}

/// All names that can be asked for, the peers' first.
fn every_name() -> impl Iterator<Item = &'static str> {
    let peers = KNOWN.iter().flat_map(|known| known.names.iter().copied());
    peers.chain(COMMANDS.iter().map(|c| c.name).filter(|name| known(name).is_none()))
}

fn parameters(name: &str) -> Option<Vec<&'static str>> {
    match known(name) {
        Some(known) => Some(if known.param.is_empty() { Vec::new() } else { vec![known.param] }),
        None => Some(table::find(name)?.args.iter().map(|arg| arg.name).collect()),
    }
}

/// An address as the peers write it.
pub(super) fn uri(address: &str) -> String {
    if address.is_empty() { String::new() } else { format!("sip:{address}") }
}

/// The result in the peer's JSON (`imc.md` §3.4 and §3.5). All who belong to a room count, the invited too.
fn shaped(peer: Peer, told: Told) -> Json {
    let list = |items: Vec<String>| Json::List(items.into_iter().map(Json::from).collect());
    match (told, peer) {
        (Told::Rooms(rooms), Peer::Kamailio) => {
            let line = |r: RoomInfo| {
                let members = (r.members + r.invited).into();
                Json::fields([
                    ("room", uri(&r.room).into()),
                    ("members", members),
                    ("owner", uri(&r.owner).into()),
                ])
            };
            Json::List(rooms.into_iter().map(line).collect())
        }
        (Told::Rooms(rooms), _) => {
            let line = |r: RoomInfo| {
                let members = (r.members + r.invited).into();
                Json::fields([
                    ("URI", uri(&r.room).into()),
                    ("MEMBERS", members),
                    ("OWNER", uri(&r.owner).into()),
                ])
            };
            Json::fields([("ROOMS", Json::List(rooms.into_iter().map(line).collect()))])
        }
        (Told::Members(room, who), peer) => {
            let count: Json = who.len().into();
            let who = list(who.iter().map(|who| uri(who)).collect());
            match peer {
                Peer::Kamailio => {
                    Json::fields([("room", uri(&room).into()), ("members", who), ("count", count)])
                }
                _ => Json::fields([("ROOM", uri(&room).into()), ("MEMBERS", who), ("NO_MEMBERS", count)]),
            }
        }
        (Told::Statistics(found), Peer::Kamailio) => {
            list(found.into_iter().map(|(name, value)| format!("{name} = {value}")).collect())
        }
        (Told::Statistics(found), _) => {
            Json::Fields(found.into_iter().map(|(name, value)| (name, value.into())).collect())
        }
        // For one command, the lists of parameters that it can be called with.
        (Told::Names(names, true), _) => Json::List(vec![list(names)]),
        (Told::Names(names, false), _) => list(names),
        (Told::Help(text) | Told::Version(text), Peer::Kamailio) => text.into(),
        (Told::Help(text), _) => Json::fields([("Help", text.into()), ("Exported by", "imcd".into())]),
        (Told::Version(text), _) => Json::fields([("Server", text.into())]),
        (Told::Ours(result), _) => result,
    }
}

// ── JSON documents ───────────────────────────────────────────────────────────────────────────────────────────

/// Answers one document in the manner of `peer` on behalf of a caller with `right`, without a line end.
/// `None`: a notification, nothing to say.
pub async fn answer<M: Management>(
    management: &M,
    right: Right,
    peer: Peer,
    document: &[u8],
) -> Option<Vec<u8>> {
    if document.len() > MAX_DOCUMENT {
        return Some(failed(peer, Some(Value::Null), error(INVALID_REQUEST, "Request too long")));
    }
    match serde_json::from_slice(document) {
        Ok(request) => answer_value(management, right, peer, request).await,
        Err(_) => Some(failed(peer, Some(Value::Null), error(PARSE_ERROR, "Parse error"))),
    }
}

/// The same for a document that was read already.
pub async fn answer_value<M: Management>(
    management: &M,
    right: Right,
    peer: Peer,
    request: Value,
) -> Option<Vec<u8>> {
    let invalid = || Some(failed(peer, Some(Value::Null), error(INVALID_REQUEST, "Invalid Request")));
    let Value::Object(mut request) = request else { return invalid() };
    let id = match request.remove("id") {
        Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => Some(id),
        Some(_) => return invalid(),
        None => None,
    };
    // Kamailio does not look at the version.
    let version = peer == Peer::Kamailio || request.get("jsonrpc") == Some(&json!("2.0"));
    let (true, Some(Value::String(method))) = (version, request.remove("method")) else { return invalid() };
    let Some(params) = params(request.remove("params")) else { return invalid() };
    // Kamailio would write the result into a file of the caller's choice.
    let told = if peer == Peer::Kamailio && request.contains_key("store_path") {
        Err(error(500, "Storing failed"))
    } else {
        result(management, right, peer, &method, params).await
    };
    // OpenSIPS does not answer what has no id. Kamailio does.
    if id.is_none() && peer != Peer::Kamailio {
        return None;
    }
    Some(match told {
        Ok(result) => written(peer, "result", result, id),
        Err(e) => failed(peer, id, e),
    })
}

/// The result of one call in the shape of `peer`.
pub(super) async fn result<M: Management>(
    management: &M,
    right: Right,
    peer: Peer,
    method: &str,
    params: Params,
) -> Result<Json, RpcError> {
    let ask = read(peer, method, params)?;
    Ok(shaped(peer, tell(management, right, peer, ask).await?))
}

/// What is said instead of an answer that its door cannot carry.
pub(super) fn too_long(peer: Peer, id: Option<Value>) -> Vec<u8> {
    failed(peer, id, error(500, "Reply too long"))
}

/// An error as `peer` tells it.
fn failed(peer: Peer, id: Option<Value>, e: RpcError) -> Vec<u8> {
    let mut fields =
        vec![("code".to_owned(), e.code.into()), ("message".to_owned(), e.message.into_owned().into())];
    fields.extend(e.data.map(|data| ("data".to_owned(), data.into())));
    written(peer, "error", Json::Fields(fields), id)
}

fn written(peer: Peer, what: &str, content: Json, id: Option<Value>) -> Vec<u8> {
    let mut fields = vec![("jsonrpc".to_owned(), "2.0".into()), (what.to_owned(), content)];
    fields.extend(id.map(|id| ("id".to_owned(), id.into())));
    let document = Json::Fields(fields);
    if peer == Peer::Kamailio { document.pretty() } else { document.compact() }
}
