//! The manual page of the configuration, made from `etc/imcd.toml`, which explains every key above its default.
//!
//! Prevents a second manual of the keys that grows old. Never changes a word of it.

use std::io::Write;

use clap_mangen::roff::{Roff, bold, roman};

/// The manual of every key.
const MANUAL: &str = include_str!("../../../etc/imcd.toml");

/// `imcd.toml(5)`.
pub fn page() -> std::io::Result<Vec<u8>> {
    let version = concat!("imcd ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["imcd.toml", "5", "", version, "imcd"]);
    page.control("SH", ["NAME"]);
    page.text([roman("imcd.toml - configuration of imcd")]);
    page.control("SH", ["DESCRIPTION"]);
    // The first line says again what NAME says.
    let (_, text) = MANUAL.split_once('\n').unwrap_or_default();
    let mut comment = Vec::new();
    let mut keys = false;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.strip_prefix(' ').unwrap_or(words));
        } else if let Some(table) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            page.control("SH", [format!("[{table}]").as_str()]);
            keys = true;
        } else if let Some((key, default)) = line.split_once(" = ") {
            if !keys {
                page.control("SH", ["KEYS BEFORE ANY TABLE"]);
                keys = true;
            }
            page.control("TP", []);
            page.text([bold(key), roman(format!(" = {default}"))]);
            paragraphs(&mut page, &comment);
            comment.clear();
        } else {
            paragraphs(&mut page, &comment);
            comment.clear();
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("imcd"), roman("(8), "), bold("imcctl"), roman("(1)")]);
    let mut bytes = Vec::new();
    page.to_writer(&mut bytes)?;
    bytes.flush()?;
    Ok(bytes)
}

/// Lines of a comment: empty ones end a paragraph, those that are set in stay as they are.
fn paragraphs(page: &mut Roff, lines: &[&str]) {
    let mut stays = false;
    for line in lines {
        let is_set_in = line.starts_with("  ");
        if is_set_in != stays {
            page.control(if is_set_in { "nf" } else { "fi" }, []);
            stays = is_set_in;
        }
        match line.trim().is_empty() {
            true => page.control("sp", []),
            false => page.text([roman(*line)]),
        };
    }
    if stays {
        page.control("fi", []);
    }
}
