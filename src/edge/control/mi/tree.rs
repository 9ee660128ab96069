//! The old text form of management: requests' results as a tree in lines (`imc.md` §3.3).
//!
//! Prevents that a text with a line end in it makes a line of its own. Never decides: `peers.rs` does.

use serde_json::Value;

use super::super::deeds::Management;
use super::super::ordered::Json;
use super::super::peers::{self, Params, Peer, Told, uri};
use super::super::rooms::RoomInfo;
use super::super::rpc::{INVALID_PARAMS, METHOD_NOT_FOUND, RpcError};
use super::super::table::Right;

/// Answers a command of the text form on behalf of a caller with `right`.
pub async fn answer<M: Management>(management: &M, right: Right, command: &str, params: Params) -> Vec<u8> {
    let told = match peers::read(Peer::OpenSer, command, params) {
        Ok(ask) => peers::tell(management, right, Peer::OpenSer, ask).await,
        Err(error) => Err(error),
    };
    match told {
        Ok(told) => written(told, command),
        Err(error) => failed(command, error),
    }
    .into_bytes()
}

/// `name:: value attribute=…`: two spaces where the value is empty, as the peers have it.
fn written(told: Told, command: &str) -> String {
    let mut text = String::from("200 OK\n");
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    match told {
        Told::Rooms(rooms) => {
            for RoomInfo { room, owner, members, invited, .. } in rooms {
                let count = members + invited;
                line(format!("ROOM::  URI={} MEMBERS={count} OWNER={}", uri(&room), uri(&owner)));
            }
        }
        Told::Members(room, who) => {
            line(format!("ROOM:: {} NR_OF_MEMBERS={}", uri(&room), who.len()));
            who.iter().for_each(|who| line(format!("\tMEMBER:: {}", uri(who))));
        }
        Told::Statistics(found) => {
            found.into_iter().for_each(|(name, value)| line(format!("{name} = {value}")));
        }
        Told::Names(names, _) => names.into_iter().for_each(line),
        Told::Help(help) => line(format!("Help:: {}", one_line(&help))),
        Told::Version(version) => line(format!("Server:: {}", one_line(&version))),
        Told::Ours(Json::List(items)) => {
            let noun = command.split('.').next().unwrap_or(command).to_ascii_uppercase();
            for item in items {
                match item {
                    Json::Fields(fields) => {
                        let mut words = format!("{noun}:: ");
                        for (name, value) in fields {
                            words.push_str(&format!(" {name}={}", word(&value)));
                        }
                        line(words);
                    }
                    other => line(word(&other)),
                }
            }
        }
        Told::Ours(Json::Fields(fields)) => {
            fields.into_iter().for_each(|(name, value)| line(format!("{name}:: {}", word(&value))));
        }
        Told::Ours(scalar) => line(word(&scalar)),
    }
    text.push('\n');
    text
}

/// A value as one word: what could be taken for two, or for a line, has quotes around it as in JSON.
fn word(value: &Json) -> String {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '=');
    match value {
        Json::Value(Value::String(text)) if !text.is_empty() && text.chars().all(plain) => text.clone(),
        other => String::from_utf8_lossy(&other.compact()).into_owned(),
    }
}

/// The engine's own errors have no empty line after them.
fn failed(command: &str, error: RpcError) -> String {
    match (error.code, error.data) {
        (METHOD_NOT_FOUND, _) => format!("500 command '{}' not available\n", one_line(command)),
        (INVALID_PARAMS, data) => match data {
            Some(data) if data != peers::COUNT && data != peers::NAMES => {
                format!("400 {}\n\n", one_line(&data))
            }
            _ => format!("500 command '{}' failed\n", one_line(command)),
        },
        (code, _) => format!("{code} {}\n\n", one_line(&error.message)),
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
