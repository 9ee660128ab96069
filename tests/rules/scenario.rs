//! Transcripts of chats: `scenario/*.chat`, each a page that a user can read.
//!
//! ```text
//! dialect openser                 the world: also `start`, `set`, `nobody`, `account`, see world.rs
//! alice > team: #create           somebody sends; \n, \r, \t, \e and \\ are escapes
//! 202                             the answer, with or without its reason phrase
//! alice < team: *** room was created
//! * < team: …                     everybody who is in the room; who was, if it has just ended
//! wait 61m                        time passes
//! away bob                        his phone is off, until `back bob`
//! ```
//!
//! Strict: each person hears exactly the lines that are written, in their order, before anybody speaks again.
//! A line that ends in `…` says how the text begins.

#![allow(clippy::unwrap_used)] // All of this file and its modules is test code.

mod letters;
mod random;
mod world;

use std::path::Path;

use world::World;

/// The first line that is not what happened, in words.
fn play(text: &str) -> Result<(), String> {
    let mut world = World::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        world.line(line).map_err(|why| format!("line {}: {line}\n    {why}", i + 1))?;
    }
    world.settled().map_err(|why| format!("at the end: {why}"))
}

fn transcripts() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/scenario");
    let mut all: Vec<(String, String)> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "chat"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_chat_goes_as_its_transcript_says() {
    let all = transcripts();
    assert!(all.len() >= 25, "only {} transcripts were found", all.len());
    let failures: Vec<String> =
        all.iter().filter_map(|(name, text)| play(text).err().map(|why| format!("{name}, {why}"))).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), all.len(), failures.join("\n"));
}

#[test]
fn every_command_word_is_in_a_transcript_of_each_dialect() {
    let (openser, kamailio): (Vec<_>, Vec<_>) =
        transcripts().into_iter().partition(|(_, text)| text.contains("dialect openser"));
    use imcd::chat::command::{COMMANDS, Right};
    // What a person does for himself needs no room: it is tested with the whole daemon.
    for row in COMMANDS.iter().filter(|row| row.right != Right::Oneself) {
        for word in row.words {
            let said = format!(": #{word}");
            for (dialect, texts) in [("openser", &openser), ("kamailio", &kamailio)] {
                let found = texts.iter().any(|(_, text)| text.contains(&said));
                assert!(found, "no transcript of the {dialect} dialect has #{word}");
            }
        }
    }
}

#[test]
fn a_transcript_that_is_wrong_is_noticed() {
    let good = "alice > team: #create\n202\nalice < team: *** Room was created\n\
                bob > team: #join\n202\n* < team: *** [bob] has joined the room\n";
    assert_eq!(play(good), Ok(()));
    let wrong = [
        ("202\nalice", "603\nalice", "status"),
        ("202\nalice", "202 OK\nalice", "phrase"),
        ("was created", "was destroyed", "text"),
        ("alice < team: *** Room was created\n", "", "missing line"),
        ("* < team", "bob < team", "one who heard it is missing"),
        ("* < team: *** [bob] has joined the room\n", "", "missing last line"),
        ("alice < team", "alice < other", "room"),
        ("202\nalice", "alice", "missing status"),
        ("bob > team", "bob ? team", "no such line"),
        ("\nbob >", "\nalice < team: *** Room was created\nbob >", "one line too many"),
    ];
    for (from, to, what) in wrong {
        assert!(play(&good.replacen(from, to, 1)).is_err(), "{what}");
    }
}
