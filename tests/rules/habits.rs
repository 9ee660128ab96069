//! Habits of the house that a machine can check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use imcd::edge::control::table::COMMANDS;

use crate::sources;

/// Lines from which on a file must say why it is not split.
const LONG: usize = 700;
/// Files that may be longer, each with its reason.
const LONG_FOR_A_REASON: &[(&str, &str)] = &[];

/// Crates that the architecture settles; any other needs its reason in the CHANGELOG.
const SETTLED: &[&str] = &[
    "axum",
    "bytes",
    "clap",
    "config",
    "dashmap",
    "hickory-resolver",
    "memchr",
    "metrics",
    "metrics-exporter-prometheus",
    "nix",
    "nom",
    "quick-xml",
    "rsip",
    "rusqlite",
    "rustls",
    "sd-notify",
    "serde",
    "socket2",
    "thiserror",
    "tokio",
    "tokio-tungstenite",
    "tracing",
    "tracing-subscriber",
];

fn rust_files() -> Vec<PathBuf> {
    let mut files = sources::files("src");
    files.extend(sources::files("tests"));
    files.retain(|p| p.extension().is_some_and(|e| e == "rs"));
    files
}

#[test]
fn every_command_of_the_table_is_explained_and_well_formed() {
    let mut names = BTreeSet::new();
    for c in COMMANDS {
        assert!(
            c.help.len() > 10 && c.help.len() < 90 && !c.help.contains('\n'),
            "{}: help: {:?}",
            c.name,
            c.help
        );
        assert!(c.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'.'), "{}", c.name);
        assert!(names.insert(c.name), "{} is there twice", c.name);
        assert!(c.short.is_empty() || names.insert(c.short), "{} is there twice", c.short);
        let optional_from = c.args.iter().position(|a| !a.required).unwrap_or(c.args.len());
        assert!(
            c.args[optional_from..].iter().all(|a| !a.required),
            "{}: required arguments come first",
            c.name
        );
        let args: BTreeSet<_> = c.args.iter().map(|a| a.name).collect();
        assert_eq!(args.len(), c.args.len(), "{}: two arguments of one name", c.name);
    }
}

#[test]
fn nothing_depends_on_the_machine_it_was_written_on() {
    // In halves, so that this file passes its own test.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tmp/", "target"),
        concat!(".cargo/", "registry"),
    ];
    for path in sources::files(".") {
        let text = sources::text(&path);
        for place in places {
            assert!(!text.contains(place), "{} names {place}", path.display());
        }
    }
}

#[test]
fn every_source_file_says_first_what_it_is() {
    for path in rust_files() {
        let text = sources::text(&path);
        // tests.rs files belong to the module above them.
        if path.file_name().is_none_or(|n| n != "tests.rs") {
            assert!(text.starts_with("//! "), "{}: the first line says what it is", path.display());
        }
    }
}

#[test]
fn a_long_file_has_a_reason() {
    for path in rust_files() {
        let lines = sources::text(&path).lines().count();
        let excused = LONG_FOR_A_REASON.iter().any(|(p, why)| Path::new(p) == path && !why.is_empty());
        assert!(lines <= LONG || excused, "{}: {lines} lines: split it, or say why not", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
    ];
    for path in rust_files() {
        let text = sources::text(&path);
        for mark in marks {
            assert!(!text.contains(mark), "{}: {mark}", path.display());
        }
    }
}

#[test]
fn standards_are_cited_in_one_form() {
    for path in rust_files() {
        for line in sources::text(&path).lines().filter(|l| l.trim_start().starts_with("//")) {
            let glued = line
                .match_indices("RFC")
                .any(|(at, _)| line[at + 3..].starts_with(|c: char| c.is_ascii_digit()));
            let wordy = line.contains("RFC ") && (line.contains(", section ") || line.contains(" Section "));
            assert!(!glued && !wordy, "{}: cite as `RFC 3428 §8`: {line}", path.display());
        }
    }
}

#[test]
fn a_crate_beyond_the_settled_ones_has_its_reason_in_the_changelog() {
    let changelog = sources::text(Path::new("CHANGELOG.md"));
    let manifest: toml::Table = sources::text(Path::new("Cargo.toml")).parse().unwrap();
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(crates) = manifest.get(table).and_then(toml::Value::as_table) else { continue };
        for name in crates.keys().filter(|name| !SETTLED.contains(&name.as_str())) {
            assert!(changelog.contains(&format!("`{name}`")), "{name}: why? CHANGELOG.md should tell");
        }
    }
}

#[test]
fn each_release_says_first_whether_configuration_or_database_changed() {
    let changelog = sources::text(Path::new("CHANGELOG.md"));
    let releases: Vec<&str> = changelog.split("\n## ").skip(1).collect();
    assert!(!releases.is_empty());
    for release in releases {
        let mut said = release.lines().skip(1).filter(|l| !l.trim().is_empty());
        let starts = |line: Option<&str>, with: &str| line.is_some_and(|l| l.starts_with(with));
        assert!(starts(said.next(), "- Configuration: "), "{release}");
        assert!(said.any(|l| l.starts_with("- Database: ")), "{release}");
    }
}
