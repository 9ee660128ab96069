//! The text in a body that not every phone can show: CPIM, multipart, HTML, a file that was sent.
//!
//! Bounded in depth, parts and size; what comes out is never longer than what a person would read of it. Prevents
//! that somebody sees headers, tags or nothing. Never touches what is encrypted, never fetches anything, and never
//! changes a body that is passed on as it is (RFC 3862 §2.2).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::content::{Content, content};
use super::phones::media;

/// Multiparts within multiparts.
const DEPTH_MAX: usize = 5;
/// Parts that are looked at in all.
const PARTS_MAX: usize = 64;
/// Bytes of the headers of a part.
const HEAD_MAX: usize = 8192;

const FILE: &str = "application/vnd.gsma.rcs-ft-http+xml";

/// The text that a person would read in this body. `None`: there is none, or it is encrypted.
pub fn text_of(content_type: Option<&str>, body: &[u8]) -> Option<String> {
    let mut parts = PARTS_MAX;
    let text = find(content_type, body, 0, &mut parts)?;
    (!text.trim().is_empty()).then_some(text)
}

fn find(content_type: Option<&str>, body: &[u8], depth: usize, parts: &mut usize) -> Option<String> {
    *parts = parts.checked_sub(1)?;
    if depth > DEPTH_MAX {
        return None;
    }
    match content(content_type) {
        Content::Plain => Some(decode(content_type, body)),
        Content::Html => Some(without_tags(&decode(content_type, body))),
        Content::Cpim => within_cpim(body, depth, parts),
        Content::Multipart => within_multipart(content_type?, body, depth, parts),
        Content::Other if media(content_type?) == FILE => file_line(body),
        _ => None,
    }
}

/// Text of a known charset; of any other what is UTF-8 in it.
fn decode(content_type: Option<&str>, body: &[u8]) -> String {
    let charset = content_type.and_then(|value| param(value, "charset")).unwrap_or_default();
    let latin =
        ["iso-8859-1", "latin1", "windows-1252"].iter().any(|name| charset.eq_ignore_ascii_case(name));
    match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(_) if latin => body.iter().map(|byte| char::from(*byte)).collect(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// A parameter of a Content-Type, without quotes.
pub(super) fn param(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (found, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim(), &after[end..])
            }
        };
        if key.trim().trim_start_matches(';').trim().eq_ignore_ascii_case(name) {
            return Some(found.to_owned());
        }
        rest = next.trim_start().strip_prefix(';')?;
    }
}

/// Header lines of a part, and what follows the empty line.
pub(super) struct Part<'a> {
    pub(super) head: &'a [u8],
    pub(super) body: &'a [u8],
}

impl<'a> Part<'a> {
    /// A part may begin with the empty line: then it has no headers (RFC 2046 §5.1).
    pub(super) fn split(bytes: &'a [u8]) -> Option<Part<'a>> {
        for newline in [&b"\r\n"[..], b"\n"] {
            if let Some(body) = bytes.strip_prefix(newline) {
                return Some(Part { head: b"", body });
            }
        }
        let window = &bytes[..bytes.len().min(HEAD_MAX)];
        [&b"\r\n\r\n"[..], b"\n\n"]
            .into_iter()
            .filter_map(|end| memchr::memmem::find(window, end).map(|at| (at, end.len())))
            .min()
            .map(|(at, len)| Part { head: &bytes[..at], body: &bytes[at + len..] })
    }

    /// The value of a header, folded lines joined.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let text = std::str::from_utf8(self.head).ok()?;
        let unfolded = text.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
        unfolded.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    fn text(&self, depth: usize, parts: &mut usize) -> Option<String> {
        let kind = self.get("Content-Type");
        let encoding = self.get("Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
        let body = match encoding.as_str() {
            "" | "7bit" | "8bit" | "binary" => return find(kind.as_deref(), self.body, depth + 1, parts),
            "base64" => base64_of(self.body)?,
            "quoted-printable" => quoted_printable(self.body),
            _ => return None,
        };
        find(kind.as_deref(), &body, depth + 1, parts)
    }
}

/// The message within: its headers, an empty line, then a MIME body (RFC 3862 §2).
fn within_cpim(body: &[u8], depth: usize, parts: &mut usize) -> Option<String> {
    let message = Part::split(body)?;
    Part::split(message.body)?.text(depth, parts)
}

/// The first text, plain before other forms (RFC 2046 §5.1.3, §5.1.4). What is encrypted or only related stays shut.
fn within_multipart(content_type: &str, body: &[u8], depth: usize, parts: &mut usize) -> Option<String> {
    if media(content_type) == "multipart/encrypted" {
        return None;
    }
    let boundary = format!("--{}", param(content_type, "boundary").filter(|boundary| !boundary.is_empty())?);
    let mut second_best = None;
    for part in between(body, boundary.as_bytes()).take(PARTS_MAX) {
        let Some(part) = Part::split(part) else { continue };
        let plain = content(part.get("Content-Type").as_deref()) == Content::Plain;
        match part.text(depth, parts) {
            Some(text) if plain => return Some(text),
            Some(text) if second_best.is_none() => second_best = Some(text),
            _ => {}
        }
    }
    second_best
}

/// What lies between the delimiters, each of which begins a line (RFC 2046 §5.1.1).
pub(super) fn between<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let begins_line = move |at: &usize| *at == 0 || body[at - 1] == b'\n';
    let starts: Vec<usize> = memchr::memmem::find_iter(body, boundary).filter(begins_line).collect();
    let pairs: Vec<(usize, usize)> = starts
        .iter()
        .enumerate()
        .map(|(n, at)| (at + boundary.len(), starts.get(n + 1).copied().unwrap_or(body.len())))
        .collect();
    pairs.into_iter().filter_map(move |(from, to)| {
        let part = body.get(from..to)?;
        if part.starts_with(b"--") {
            return None;
        }
        // The rest of the delimiter's line, and the line end that belongs to the next delimiter.
        let line = memchr::memchr(b'\n', part)?;
        let part = &part[line + 1..];
        let part = part.strip_suffix(b"\n").map_or(part, |part| part.strip_suffix(b"\r").unwrap_or(part));
        Some(part)
    })
}

fn base64_of(body: &[u8]) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let compact: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    GeneralPurpose::new(&STANDARD, lenient).decode(compact).ok()
}

/// RFC 2045 §6.7; what is no escape stands for itself.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            out.push(*first);
            continue;
        }
        let hex = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (hex(0), hex(1)) {
            (Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ if after.starts_with(b"\r\n") => rest = &after[2..],
            _ if after.starts_with(b"\n") => rest = &after[1..],
            _ => out.push(b'='),
        }
    }
    out
}

/// Elements whose content is not for people.
const UNREAD: &[&str] = &["script", "style", "head", "title", "template", "noscript"];
/// Elements that begin a line.
const LINES: &[&str] = &[
    "br",
    "p",
    "div",
    "li",
    "tr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "pre",
    "hr",
    "ul",
    "ol",
];

/// What a browser would show of a small piece of HTML, without its looks. Never fails: what is no tag is text.
fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    let mut unread: Option<&str> = None;
    // Asked once: many opening signs and no closing one must not cost the square of their number.
    let last_end = html.rfind('>');
    while !rest.is_empty() {
        let Some(at) = rest.find('<') else {
            if unread.is_none() {
                words(rest, &mut out);
            }
            break;
        };
        if unread.is_none() {
            words(&rest[..at], &mut out);
        }
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let is_tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        let behind = last_end.is_none_or(|last| last < html.len() - rest.len());
        let end = if behind || !is_tag { None } else { rest.find('>') };
        let Some(end) = end else {
            if unread.is_none() {
                words("<", &mut out);
            }
            rest = &rest[1..];
            continue;
        };
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        let closes = tag.starts_with('/');
        let name: String =
            tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        match unread {
            Some(open) if closes && name == open => unread = None,
            Some(_) => {}
            None if !closes && !tag.ends_with('/') => {
                unread = UNREAD.iter().find(|known| **known == name).copied()
            }
            None => {}
        }
        if unread.is_none()
            && LINES.contains(&name.as_str())
            && !out.is_empty()
            && (name == "br" || !out.ends_with('\n'))
        {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
    }
    out.trim().to_owned()
}

/// Appends text with its character references resolved and its blanks folded into one.
fn words(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '&'
            && let Some((shown, after)) = reference(rest)
        {
            out.push(shown);
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if !c.is_ascii_whitespace() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with([' ', '\n']) {
            out.push(' ');
        }
    }
}

/// `&amp;`, `&#228;`, `&#xe4;` at the start of `text`, and what follows.
fn reference(text: &str) -> Option<(char, &str)> {
    const NAMED: &[(&str, char)] = &[
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("auml", 'ä'),
        ("ouml", 'ö'),
        ("uuml", 'ü'),
        ("Auml", 'Ä'),
        ("Ouml", 'Ö'),
        ("Uuml", 'Ü'),
        ("szlig", 'ß'),
        ("euro", '€'),
        ("copy", '©'),
        ("hellip", '…'),
        ("ndash", '–'),
        ("mdash", '—'),
        ("eacute", 'é'),
        ("egrave", 'è'),
    ];
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let (name, rest) = (&text[1..end], &text[end + 1..]);
    let shown = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| !c.is_control() || *c == '\n')?
        }
        None => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((shown, rest))
}

/// A file that was sent: its name, its size, and where it lies. Documents that declare types are refused.
fn file_line(body: &[u8]) -> Option<String> {
    let mut reader = Reader::from_str(std::str::from_utf8(body).ok()?);
    let (mut name, mut size, mut url) = (String::new(), String::new(), None);
    let (mut inside, mut within) = (String::new(), false);
    for _ in 0..256 {
        let event = reader.read_event().ok()?;
        let said = match &event {
            Event::DocType(_) | Event::Eof => break,
            Event::Start(tag) | Event::Empty(tag) => {
                inside = tag.local_name().as_ref().to_owned();
                let attribute = |wanted: &str| {
                    let mut all = tag.attributes().flatten();
                    Some(plain(&all.find(|a| a.key.local_name().as_ref() == wanted)?.value))
                };
                match inside.as_str() {
                    "file-info" => within = attribute("type").is_some_and(|kind| kind == "file"),
                    "data" if within && url.is_none() => url = attribute("url"),
                    _ => {}
                }
                continue;
            }
            Event::End(_) => {
                inside.clear();
                continue;
            }
            Event::Text(text) => text.to_string(),
            Event::GeneralRef(name) => format!("&{};", &**name),
            _ => continue,
        };
        match inside.as_str() {
            "file-name" if within => name.push_str(&said),
            "file-size" if within => size.push_str(&said),
            _ => {}
        }
    }
    let (name, url) = (plain(&name), url?);
    let size = size.trim().parse().map(|bytes| format!(" ({})", sized(bytes))).unwrap_or_default();
    Some(format!("{}{size}: {url}", if name.is_empty() { "File" } else { &name }))
}

/// References resolved, no controls: it is shown to a person.
fn plain(text: &str) -> String {
    let mut out = String::new();
    words(text, &mut out);
    out.retain(|c| !super::dialect::is_hidden(c));
    out.trim().to_owned()
}

fn sized(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
#[path = "convert/tests.rs"]
mod tests;
