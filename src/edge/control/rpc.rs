//! JSON-RPC 2.0: a document in, a document out. No sockets.
//!
//! Prevents that doors differ in how they read parameters or tell errors. Never lets a request grow without
//! bound, never tells the cause of a fault of ours.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::deeds::{Denied, Management};
use super::frame::MAX_DOCUMENT;
use super::peers::{self, Peer};
use super::perform::perform;
use super::table::{self, Arg, Command, Kind, Right};
use super::values::Values;

/// Most requests in one batch.
const MAX_BATCH: usize = 100;
/// Bytes of its answers: with more of them the rest is not done.
const MAX_REPLIES: usize = 16 << 20;

/// An error object. Codes below zero are those of JSON-RPC 2.0 §5.1; ours are like HTTP's.
#[derive(Clone, PartialEq, Debug)]
pub struct RpcError {
    pub code: i64,
    pub message: Cow<'static, str>,
    pub data: Option<String>,
}

/// What is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// What is JSON but no request.
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
/// The door does not give the right to it, or the deed is refused.
pub const REFUSED: i64 = 403;
/// No such account, room or member.
pub const NOT_FOUND: i64 = 404;
/// Ours.
pub const FAULT: i64 = 500;

fn error(code: i64, message: &'static str) -> RpcError {
    RpcError { code, message: message.into(), data: None }
}

impl From<Denied> for RpcError {
    fn from(denied: Denied) -> RpcError {
        match denied {
            Denied::NotFound(message) => RpcError { code: NOT_FOUND, message: message.into(), data: None },
            Denied::Refused(message) => RpcError { code: REFUSED, message: message.into(), data: None },
            Denied::Fault(fault) => {
                tracing::error!(%fault, "management command failed");
                error(FAULT, "Server error, see the log")
            }
        }
    }
}

/// A call, checked against the table.
pub(super) struct Call {
    pub(super) command: &'static Command,
    pub(super) given: Vec<Option<String>>,
}

/// Answers one document, a request or a batch, on behalf of a caller with `right`.
/// `None`: notifications only, nothing to say.
pub async fn answer<M: Management>(management: &M, right: Right, document: &[u8]) -> Option<Vec<u8>> {
    if document.len() > MAX_DOCUMENT {
        return Some(too_long());
    }
    let reply = match serde_json::from_slice(document) {
        Err(_) => Some(failed(Value::Null, error(PARSE_ERROR, "Parse error"))),
        Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > MAX_BATCH => {
            Some(failed(Value::Null, error(INVALID_REQUEST, "Invalid Request")))
        }
        Ok(Value::Array(batch)) => return many(management, right, batch).await,
        Ok(request) => one(management, right, request).await,
    };
    reply.map(|reply| reply.to_string().into_bytes())
}

/// The answers to a batch.
async fn many<M: Management>(management: &M, right: Right, batch: Vec<Value>) -> Option<Vec<u8>> {
    let mut replies = Vec::new();
    for request in batch {
        let reply = if replies.len() > MAX_REPLIES {
            let id = request.get("id").cloned();
            id.map(|id| failed(id, error(FAULT, "Not done: the answers to the batch are too long")))
        } else {
            one(management, right, request).await
        };
        let Some(reply) = reply else { continue };
        replies.push(if replies.is_empty() { b'[' } else { b',' });
        replies.extend(reply.to_string().into_bytes());
    }
    (!replies.is_empty()).then(|| {
        replies.push(b']');
        replies
    })
}

/// The answer to a document that does not end within bounds.
pub fn too_long() -> Vec<u8> {
    failed(Value::Null, error(INVALID_REQUEST, "Request too long")).to_string().into_bytes()
}

/// The answer of a door that has no room for another caller.
pub fn too_many() -> Vec<u8> {
    failed(Value::Null, error(-32000, "Too many connections")).to_string().into_bytes()
}

async fn one<M: Management>(management: &M, right: Right, request: Value) -> Option<Value> {
    let invalid = || Some(failed(Value::Null, error(INVALID_REQUEST, "Invalid Request")));
    let Value::Object(mut request) = request else { return invalid() };
    let id = match request.remove("id") {
        Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => Some(id),
        Some(_) => return invalid(),
        None => None,
    };
    let (Some("2.0"), Some(Value::String(method))) =
        (request.get("jsonrpc").and_then(Value::as_str), request.get("method"))
    else {
        return invalid();
    };
    let result = match call(method, request.get("params")) {
        // The peers' names are at home in every door, with the results that their clients expect.
        Err(_) if peers::knows(method) => match peers::params(request.get("params").cloned()) {
            None => return invalid(),
            Some(params) => peers::result(management, right, Peer::of(method), method, params)
                .await
                .map(|result| serde_json::to_value(result).unwrap_or_default()),
        },
        Err(e) => Err(e),
        Ok(call) if call.command.right > right => Err(error(REFUSED, "Not allowed at this door")),
        Ok(call) => match Values::check(call.command, call.given, management.default_domain()) {
            Err(what) => Err(invalid_params(what)),
            Ok(values) => perform(management, call.command, values).await.map_err(RpcError::from),
        },
    };
    // A notification is carried out and never answered (JSON-RPC 2.0 §4.1).
    let id = id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": id }),
        Err(e) => failed(id, e),
    })
}

pub(super) fn call(method: &str, params: Option<&Value>) -> Result<Call, RpcError> {
    let command = table::find(method).ok_or_else(|| error(METHOD_NOT_FOUND, "Method not found"))?;
    let given = match params {
        None | Some(Value::Null) => vec![None; command.args.len()],
        Some(Value::Array(list)) => positional(command, list)?,
        Some(Value::Object(map)) => named(command, map)?,
        Some(_) => return Err(error(INVALID_REQUEST, "Invalid Request")),
    };
    Ok(Call { command, given })
}

fn positional(command: &Command, list: &[Value]) -> Result<Vec<Option<String>>, RpcError> {
    if list.len() > command.args.len() {
        return Err(invalid_params("Too few or too many parameters".into()));
    }
    command.args.iter().enumerate().map(|(at, arg)| text(arg, list.get(at))).collect()
}

fn named(command: &Command, map: &Map<String, Value>) -> Result<Vec<Option<String>>, RpcError> {
    if let Some(stranger) = map.keys().find(|name| !command.args.iter().any(|arg| arg.name == **name)) {
        return Err(invalid_params(format!("{stranger}: no such parameter")));
    }
    command.args.iter().map(|arg| text(arg, map.get(arg.name))).collect()
}

/// Clients of the peers send what looks like a number as a number.
pub(super) fn text(arg: &Arg, value: Option<&Value>) -> Result<Option<String>, RpcError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(flag)) => Ok(Some(if *flag { "yes" } else { "no" }.into())),
        Some(Value::Array(items)) if arg.kind == Kind::People => {
            let one = |item: &Value| match item {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            let items: Option<Vec<String>> = items.iter().map(one).collect();
            let items = items.ok_or_else(|| invalid_params(format!("{}: expected strings", arg.name)))?;
            Ok(Some(items.join(",")))
        }
        Some(_) => Err(invalid_params(format!("{}: expected a string", arg.name))),
    }
}

pub(super) fn invalid_params(what: String) -> RpcError {
    RpcError { code: INVALID_PARAMS, message: "Invalid params".into(), data: Some(what) }
}

pub(super) fn failed(id: Value, e: RpcError) -> Value {
    let mut object = json!({ "code": e.code, "message": e.message });
    if let Some(data) = e.data {
        object["data"] = Value::String(data);
    }
    json!({ "jsonrpc": "2.0", "error": object, "id": id })
}
