//! The values of a dump: numbers, texts and blobs, as an INSERT and a line of COPY spell them.
//!
//! Prevents that a column nobody wants costs its row: whatever a dump writes for a plain value is one. Never computes
//! anything but what sqlite3 writes for texts with line breaks.

use super::lexer::{Token, unhex};
use super::{Cells, NOT_A_VALUE, TOO_LONG, WRONG_COUNT};
use crate::migrate::{CELL_MAX, COLUMNS_MAX, Why};

/// A value, from all its tokens.
pub(super) fn value(mut tokens: Vec<Token>) -> Result<Option<Vec<u8>>, Why> {
    if tokens.contains(&Token::TooLong) {
        return Err(TOO_LONG);
    }
    // What it is cast to is no matter: 'x'::bytea.
    if let Some(cast) = tokens.windows(2).position(|pair| pair == [Token::Mark(b':'), Token::Mark(b':')]) {
        tokens.truncate(cast);
    }
    // The character set of what follows: _binary 'x'.
    if matches!(tokens.as_slice(), [Token::Word(word), Token::Text(_) | Token::Word(_)] if word.starts_with(b"_"))
    {
        tokens.remove(0);
    }
    match tokens.as_mut_slice() {
        [Token::Text(text) | Token::Name(text)] => Ok(Some(std::mem::take(text))),
        // DEFAULT stands for what is computed from other columns.
        [Token::Word(word)] if [&b"NULL"[..], b"DEFAULT"].iter().any(|it| word.eq_ignore_ascii_case(it)) => {
            Ok(None)
        }
        [Token::Word(word)] if word.eq_ignore_ascii_case(b"TRUE") => Ok(Some(b"1".to_vec())),
        [Token::Word(word)] if word.eq_ignore_ascii_case(b"FALSE") => Ok(Some(b"0".to_vec())),
        [Token::Word(word)] if word.starts_with(b"0x") => unhex(&word[2..]).map(Some).ok_or(NOT_A_VALUE),
        tokens => number(tokens).or_else(|| with_breaks(tokens)).map(Some).ok_or(NOT_A_VALUE),
    }
}

/// `7`, `-0.5`, `1.5e-10`: as it is spelled.
fn number(tokens: &[Token]) -> Option<Vec<u8>> {
    let mut spelled = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            // Two words side by side are two values.
            Token::Word(_) if at > 0 && matches!(tokens[at - 1], Token::Word(_)) => return None,
            Token::Word(word) if word.first()?.is_ascii_digit() => spelled.extend_from_slice(word),
            Token::Mark(mark @ (b'-' | b'+' | b'.')) => spelled.push(*mark),
            _ => return None,
        }
    }
    std::str::from_utf8(&spelled).ok()?.parse::<f64>().ok()?;
    Some(spelled)
}

/// How sqlite3 writes a text with line breaks: `replace('a\nb','\n',char(10))`, since 3.50 `unistr('a\u000ab')`.
fn with_breaks(tokens: &[Token]) -> Option<Vec<u8>> {
    const OPEN: Token = Token::Mark(b'(');
    const CLOSE: Token = Token::Mark(b')');
    const COMMA: Token = Token::Mark(b',');
    match tokens {
        [Token::Text(text)] => Some(text.clone()),
        [Token::Word(unistr), OPEN, Token::Text(text), CLOSE] if unistr.eq_ignore_ascii_case(b"unistr") => {
            unicode(text)
        }
        [
            Token::Word(replace),
            OPEN,
            text @ ..,
            COMMA,
            Token::Text(from),
            COMMA,
            Token::Word(char),
            OPEN,
            Token::Word(code),
            CLOSE,
            CLOSE,
        ] if replace.eq_ignore_ascii_case(b"replace") && char.eq_ignore_ascii_case(b"char") => {
            let to: u8 = std::str::from_utf8(code).ok()?.parse().ok().filter(u8::is_ascii)?;
            replaced(&with_breaks(text)?, from, to)
        }
        _ => None,
    }
}

fn replaced(text: &[u8], from: &[u8], to: u8) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    if from.is_empty() {
        return None;
    }
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = rest.strip_prefix(from).map_or((byte, after), |after| (to, after));
        out.push(byte);
        rest = after;
    }
    Some(out)
}

/// `\u000a` for what is no letter, `\\` for a backslash.
fn unicode(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
        } else {
            let (digits, after) = rest.strip_prefix(b"u")?.split_at_checked(4)?;
            let code = unhex(digits)?;
            let letter = char::from_u32(u32::from(code[0]) << 8 | u32::from(code[1]))?;
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
    }
    Some(out)
}

/// The values of a line of COPY in its text form.
pub(super) fn copied(line: &[u8]) -> Result<Cells, Why> {
    let mut cells = Vec::new();
    for field in line.split(|byte| *byte == b'\t') {
        if cells.len() == COLUMNS_MAX {
            return Err(WRONG_COUNT);
        }
        cells.push(if field == br"\N" { None } else { Some(unescaped(field)) });
        if cells.last().and_then(Option::as_ref).is_some_and(|cell| cell.len() > CELL_MAX) {
            return Err(TOO_LONG);
        }
    }
    Ok(cells)
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let Some((&escaped, after)) = after.split_first().filter(|_| byte == b'\\') else {
            out.push(byte);
            continue;
        };
        rest = after;
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                let (value, after) = octal(escaped, after);
                rest = after;
                value
            }
            itself => itself,
        });
    }
    out
}

/// Up to three octal digits, the first of which was read.
fn octal(first: u8, mut rest: &[u8]) -> (u8, &[u8]) {
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let Some((digit @ b'0'..=b'7', after)) = rest.split_first() else { break };
        value = value * 8 + u32::from(digit - b'0');
        rest = after;
    }
    (value as u8, rest)
}

/// A blob of PostgreSQL: `\x6869`, or the older form in which every odd byte is `\ooo`.
pub(super) fn bytea(text: &[u8]) -> Result<Vec<u8>, Why> {
    if let Some(digits) = text.strip_prefix(br"\x") {
        return unhex(digits).ok_or(NOT_A_VALUE);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match after.split_first().filter(|_| byte == b'\\') {
            Some((&digit @ b'0'..=b'7', after)) => {
                let (value, after) = octal(digit, after);
                out.push(value);
                rest = after;
            }
            Some((_, after)) => {
                out.push(b'\\');
                rest = after;
            }
            None => out.push(byte),
        }
    }
    Ok(out)
}
