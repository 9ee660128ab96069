//! A file uses only its own floor or lower ones, and the rules floor touches no world.
//!
//! Prevents that the picture in `src/lib.rs` and the code drift apart.

use std::path::Path;

use crate::sources;

/// Top modules with their floors, as in `src/lib.rs`.
const FLOORS: &[(&str, u8)] = &[
    ("types", 1),
    ("refusal", 1),
    ("config", 1),
    ("sip", 2),
    ("chat", 2),
    ("presence", 2),
    ("registration", 2),
    ("migrate", 2),
    ("store", 3),
    ("service", 4),
    ("edge", 5),
    ("server", 6),
];
const RULES: u8 = 2;
/// `main.rs` and `bin/` stand on the roof.
const ROOF: u8 = 7;

/// What the rules floor may not name. Addresses, `Instant` and `Duration` as values are fine.
const WORLD: &[&str] = &[
    "tokio",
    "rusqlite",
    "socket2",
    "nix",
    "getrandom",
    "tracing",
    "SystemTime",
    "Instant::now",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "RandomState",
    "now_utc",
    "now_local",
];

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The top module of a file under `src`, its floor, and how deep its module lies (`src/store/x.rs`: 2).
fn place(path: &Path) -> (String, u8, usize) {
    let parts: Vec<String> =
        path.with_extension("").iter().skip(1).map(|p| p.to_string_lossy().into()).collect();
    let top = parts[0].clone();
    let depth = parts.len() - usize::from(parts.last().is_some_and(|p| p == "mod"));
    let floor = match top.as_str() {
        "main" | "bin" | "lib" => ROOF,
        module => floor_of(module).unwrap_or_else(|| panic!("{}: on which floor is it?", path.display())),
    };
    (top, floor, depth)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Top modules that `code` names: after `crate::` and `imcd::`, in their groups, and after enough `super::`.
fn named(code: &str, depth: usize) -> Vec<String> {
    let climb = "super::".repeat(depth);
    let mut found = Vec::new();
    for root in ["crate::", "imcd::", &climb] {
        for (at, _) in code.match_indices(root) {
            // A longer word, or a longer climb: found by itself where it ends at the root.
            if code[..at].ends_with(is_word) {
                continue;
            }
            found.extend(heads(&code[at + root.len()..]));
        }
    }
    found.retain(|name| floor_of(name).is_some());
    found
}

/// First names of what follows a root: `a::b` gives a; `{a::b, c::{d, e}}` gives a, c.
fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut heads, mut start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        if start && is_word(c) {
            heads.push(word(&group[at..]));
            start = false;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            _ => {}
        }
    }
    heads
}

#[test]
fn every_file_uses_only_its_own_floor_or_lower_ones() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources::files("src") {
        let (top, floor, depth) = place(&path);
        // lib.rs declares the floors.
        if top == "lib" || path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        for name in named(&sources::code(&sources::text(&path)), depth) {
            seen += 1;
            if floor_of(&name).is_some_and(|other| other > floor) {
                wrong.push(format!("{} (floor {floor}) uses {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 10, "the test sees nothing any more");
}

#[test]
fn the_rules_floor_touches_no_world() {
    let mut wrong = Vec::new();
    for path in sources::files("src") {
        let (_, floor, _) = place(&path);
        // Tests may read a clock to have an instant to begin with.
        if floor != RULES || path.iter().any(|p| p == "tests" || p == "tests.rs") {
            continue;
        }
        let code = sources::code(&sources::text(&path));
        wrong.extend(
            worldly(sources::without_tests(&code)).map(|word| format!("{} names {word}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn worldly(code: &str) -> impl Iterator<Item = &'static str> {
    WORLD.iter().copied().filter(move |word| {
        code.match_indices(word)
            .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
    })
}

#[test]
fn the_map_tells_every_floor() {
    let map = sources::text(Path::new("src/lib.rs"));
    for line in map.lines().filter_map(|l| l.strip_prefix("pub mod ")) {
        let module = line.trim_end_matches(';');
        let floor = floor_of(module).unwrap_or_else(|| panic!("{module}: on which floor is it?"));
        let row = map.lines().find(|l| l.contains(&format!("| {floor} "))).unwrap_or_default();
        assert!(row.contains(&format!("[`{module}`]")), "{module} is missing in row {floor} of the map");
    }
}

#[test]
fn a_climb_is_seen_in_every_form() {
    let see = |code: &str| named(code, 2).join(" ");
    assert_eq!(see("use crate::store::Store;"), "store");
    assert_eq!(see("use crate::{types::Aor, edge::{self, control}, sip};"), "types edge sip");
    assert_eq!(see("use super::super::server;"), "server");
    assert_eq!(see("use super::store; mycrate::store; let store = 1;"), "");
    assert_eq!(see("fn f() -> imcd::service::X { crate::config::y() }"), "config service");
    assert_eq!(worldly("let t = Instant::now(); my_tokio()").collect::<Vec<_>>(), ["Instant::now"]);
    assert_eq!(place(Path::new("src/edge/control/mod.rs")), ("edge".into(), 5, 2));
}
