//! The repository's own files, as the house tests read them.

use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under `dir` that a commit would hold, as paths relative to the root, sorted.
pub fn files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    found.sort();
    found.iter().map(|p| p.strip_prefix(root()).unwrap().to_path_buf()).collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let left_out = ["target", ".git"].contains(&name.as_str()) || name.starts_with("imcd.db");
        if left_out {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// The text of a file; bytes that are not UTF-8 do not matter to these tests.
pub fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(root().join(path)).unwrap()).into_owned()
}

/// Rust source without comments, and with string and character literals emptied.
pub fn code(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut i = 0;
    while i < bytes.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < bytes.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                while i < bytes.len() && (at(i), at(i + 1)) != ('*', '/') {
                    i += 1;
                }
                i += 2;
            }
            ('r', '"' | '#') if !out.ends_with(|c: char| c.is_alphanumeric() && c != 'b') => {
                let hashes = (i + 1..).take_while(|j| at(*j) == '#').count();
                if at(i + 1 + hashes) != '"' {
                    out.push('r');
                    i += 1;
                    continue;
                }
                let closes = |j: usize| at(j) == '"' && (1..=hashes).all(|k| at(j + k) == '#');
                i += 2 + hashes;
                while i < bytes.len() && !closes(i) {
                    i += 1;
                }
                i += 1 + hashes;
                out.push_str("\"\"");
            }
            ('"', _) => {
                i += 1;
                while i < bytes.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                out.push_str("\"\"");
            }
            // A quote, a brace or a slash as a character; anything else in quotes does no harm.
            ('\'', '\\') => {
                i += 3;
                while i < bytes.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// What of `code` is not for tests alone: up to the first `#[cfg(test)]` at the margin.
pub fn without_tests(code: &str) -> &str {
    code.split("\n#[cfg(test)]").next().unwrap_or(code)
}

#[test]
fn comments_and_literals_are_not_code() {
    let source =
        "a // crate::x\nb /* crate::y */ c \"crate::z \\\" //\" d r#\"crate::\"w\"# e '\"' f '\\'' g 'h' &'a";
    let code = code(source);
    assert_eq!(code, "a \nb  c \"\" d \"\" e  f  g  &'a");
    assert_eq!(without_tests("x\n#[cfg(test)]\nmod tests;"), "x");
}
