//! `imcctl tail`: what is said, line by line, as it is said.
//!
//! Prevents that a text with line feeds passes for what others said. Never ends by itself while the daemon is there.

use std::io::Write;

use serde_json::{Map, Value};

use super::Failure;
use super::call::Daemon;
use super::guess;
use super::show::{harmless, harmless_json};

/// Shows what is said until standard output or the daemon is gone.
pub fn tail(daemon: &mut Daemon, params: Map<String, Value>, json: bool) -> Result<String, Failure> {
    match daemon.call("tail", params.into()) {
        Err(Failure::Refused(text)) => return Err(Failure::Refused(guess::helped(text, daemon))),
        answer => drop(answer?),
    }
    daemon.wait_long()?;
    let mut out = std::io::stdout();
    loop {
        let heard = daemon.document()?;
        let text = match json {
            true => harmless_json(&format!("{}\n", heard["params"])),
            false => line(&heard["params"]),
        };
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(String::new());
        }
    }
}

fn line(heard: &Value) -> String {
    let field = |name: &str| harmless(heard[name].as_str().unwrap_or_default());
    let [at, room, from, to] = ["at", "room", "from", "to"].map(field);
    // Further lines stand under the first, where nobody's name can stand.
    let lines: Vec<String> = heard["text"].as_str().unwrap_or_default().lines().map(harmless).collect();
    let text = lines.join("\n    ");
    match heard["kind"].as_str() {
        Some("post") => format!("{at}  {room}  {from}: {text}\n"),
        Some("direct") => format!("{at}  {from} -> {to}\n"),
        Some("lost") => format!("imcctl: {} lost here: too many at once\n", heard["lost"]),
        _ => format!("{at}  {room}  {text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_has_its_line_and_no_text_makes_a_line_of_another() {
        let heard = |kind: &str, text: &str| {
            line(
                &json!({ "kind": kind, "at": "T", "room": "team@a", "from": "al@a", "to": "bo@a", "text": text, "lost": 3 }),
            )
        };
        assert_eq!(
            heard("post", "a\nT  team@a  bo@a: b\u{1b}"),
            "T  team@a  al@a: a\n    T  team@a  bo@a: b\u{fffd}\n"
        );
        assert_eq!(heard("notice", "*** joined"), "T  team@a  *** joined\n");
        assert_eq!(heard("direct", ""), "T  al@a -> bo@a\n");
        assert_eq!(heard("lost", ""), "imcctl: 3 lost here: too many at once\n");
    }
}
