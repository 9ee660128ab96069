//! The characters of SIP: one table, and the small scanners that every reader here shares.
//!
//! Prevents that two readers draw the line between a token and its neighbour differently, which is how
//! headers are smuggled. Never allocates, never decides what a field means.

/// Something that does not obey the grammar. What it was is known by who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bad(pub &'static str);

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for Bad {}

const TOKEN: u8 = 1;
const USER: u8 = 2;
const PARAM: u8 = 4;
const URI_PARAM: u8 = 8;
const CALL_ID: u8 = 16;
const UNRESERVED: u8 = 32;

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        if c.is_ascii_alphanumeric() {
            table[i] = TOKEN | USER | URI_PARAM | UNRESERVED;
        }
        if c > 0x20 && c < 0x7f {
            table[i] |= CALL_ID;
            if !matches!(c, b';' | b',' | b'"' | b'<' | b'>') {
                table[i] |= PARAM;
            }
        }
        i += 1;
    }
    const fn mark(mut table: [u8; 256], chars: &[u8], class: u8) -> [u8; 256] {
        let mut i = 0;
        while i < chars.len() {
            table[chars[i] as usize] |= class;
            i += 1;
        }
        table
    }
    table = mark(table, b"-.!%*_+`'~", TOKEN);
    table = mark(table, b"-_.!~*'()", UNRESERVED | USER | URI_PARAM);
    table = mark(table, b"&=+$,;?/", USER);
    mark(table, b"[]/:&+$@,", URI_PARAM)
}

static CLASS: [u8; 256] = classes();

fn all(text: &[u8], class: u8) -> bool {
    text.iter().all(|c| CLASS[*c as usize] & class != 0)
}

/// A non-empty token (RFC 3261 §25.1).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

/// Callid, taken wide: visible ASCII without spaces (RFC 3261 §20.8).
pub fn is_call_id(text: &[u8]) -> bool {
    !text.is_empty() && all(text, CALL_ID)
}

/// White space inside a header value. CR and LF can only be a fold there: the scanner has seen to it.
pub fn is_lws(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

/// May stand unescaped or escaped with the same meaning (RFC 3261 §25.1 unreserved).
pub fn is_unreserved(c: u8) -> bool {
    CLASS[c as usize] & UNRESERVED != 0
}

/// `text` in characters of `user`, escapes complete (RFC 3261 §25.1).
pub fn is_user(text: &[u8]) -> bool {
    escaped_run(text, USER)
}

/// `text` in characters of a uri-parameter, escapes complete, a few more than RFC 3261 §25.1 has.
pub fn is_uri_param(text: &[u8]) -> bool {
    escaped_run(text, URI_PARAM)
}

fn escaped_run(text: &[u8], class: u8) -> bool {
    let mut i = 0;
    while i < text.len() {
        if CLASS[text[i] as usize] & class != 0 {
            i += 1;
        } else if text[i] == b'%' && unescape(&text[i..]).is_some() {
            i += 3;
        } else {
            return false;
        }
    }
    true
}

/// The octet that `%XX` at the start of `text` stands for.
pub fn unescape(text: &[u8]) -> Option<u8> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    match text {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// `text` without white space at its ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [first, rest @ ..] = text {
        if !is_lws(*first) {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !is_lws(*last) {
            break;
        }
        text = rest;
    }
    text
}

/// Decimal digits alone, any number of leading zeros. `Err(true)`: digits, but too large for u32.
pub fn number(text: &[u8]) -> Result<u32, bool> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(false);
    }
    let mut value = 0u32;
    for c in text {
        value = value.checked_mul(10).and_then(|v| v.checked_add((c - b'0') as u32)).ok_or(true)?;
    }
    Ok(value)
}

/// Length of the run of token characters that `text` starts with.
pub fn token_len(text: &[u8]) -> usize {
    text.iter().take_while(|c| CLASS[**c as usize] & TOKEN != 0).count()
}

/// Length of the quoted-string, quotes included, that `text` starts with. `None` if it is not closed.
pub fn quoted_len(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', &text[at..])? + 1;
        if text[at - 1] == b'"' {
            return Some(at);
        }
        // A quoted-pair never hides a line end (RFC 3261 §25.1).
        if text.get(at).is_none_or(|c| *c == b'\r' || *c == b'\n') {
            return None;
        }
        at += 1;
    }
}

/// A place in a header value that moves forward. It stands between characters, never inside one: every run
/// is of ASCII.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn skip_lws(&mut self) {
        while self.peek().is_some_and(is_lws) {
            self.at += 1;
        }
    }

    pub fn eat(&mut self, c: u8) -> bool {
        let hit = self.peek() == Some(c);
        self.at += hit as usize;
        hit
    }

    fn run(&mut self, class: u8) -> &'a str {
        let from = self.at;
        let run = self.text.as_bytes()[from..].iter().take_while(|c| CLASS[**c as usize] & class != 0);
        self.at += run.count();
        &self.text[from..self.at]
    }

    pub fn token(&mut self) -> Option<&'a str> {
        Some(self.run(TOKEN)).filter(|t| !t.is_empty())
    }

    pub fn digits(&mut self) -> &'a str {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        &self.text[from..self.at]
    }

    /// The next `;name[=value]`; `Ok(None)` at the end. A quoted value has its quotes.
    #[inline]
    pub fn param(&mut self) -> Result<Option<(&'a str, Option<&'a str>)>, Bad> {
        self.skip_lws();
        if self.peek().is_none() {
            return Ok(None);
        }
        if !self.eat(b';') {
            return Err(Bad("Bad Parameter"));
        }
        self.skip_lws();
        let name = self.token().ok_or(Bad("Bad Parameter Name"))?;
        self.skip_lws();
        if !self.eat(b'=') {
            return Ok(Some((name, None)));
        }
        self.skip_lws();
        let value = if self.peek() == Some(b'"') {
            let length = quoted_len(self.rest().as_bytes()).ok_or(Bad("Unterminated Quote"))?;
            self.at += length;
            &self.text[self.at - length..self.at]
        } else {
            self.run(PARAM)
        };
        if value.is_empty() {
            return Err(Bad("Bad Parameter Value"));
        }
        Ok(Some((name, Some(value))))
    }
}

/// `text` as str if it is ASCII.
pub fn ascii(text: &[u8]) -> Option<&str> {
    if text.is_ascii() { std::str::from_utf8(text).ok() } else { None }
}
