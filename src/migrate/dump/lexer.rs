//! SQL in tokens, as far as dumps need it, in the spellings of MySQL, PostgreSQL and SQLite.
//!
//! Prevents that a quote within a text ends it: whether a backslash escapes depends on who wrote the file. Never
//! judges what the tokens mean together.

use std::io::{self, BufRead};

use super::super::CELL_MAX;
use super::super::bytes::{Bytes, Line};

/// Bytes of a word: a blob may be written as one hexadecimal number.
const WORD_MAX: usize = 2 * CELL_MAX + 2;
/// Bytes of a comment that are looked at.
const COMMENT_MAX: usize = 200;
/// Bytes of the tag of a text between dollars.
const TAG_MAX: usize = 64;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A keyword, a name or a number, as it is spelled.
    Word(Vec<u8>),
    /// A name in quotes.
    Name(Vec<u8>),
    /// A text; a blob that is written as X'…'.
    Text(Vec<u8>),
    /// What is longer than a value may be, whatever it was.
    TooLong,
    Mark(u8),
    End,
}

pub(super) struct Lexer<R> {
    bytes: Bytes<R>,
    /// A backslash in a plain text escapes what follows: so in MySQL, not where the standard is kept.
    pub(super) backslash: bool,
    /// The file is of PostgreSQL.
    pub(super) postgres: bool,
}

impl<R: BufRead> Lexer<R> {
    /// Takes the file for one of MySQL until it says otherwise.
    pub(super) fn new(file: R) -> Lexer<R> {
        Lexer { bytes: Bytes::new(file), backslash: true, postgres: false }
    }

    /// What is left of this line, raw; for data that are no SQL.
    pub(super) fn line(&mut self, most: usize) -> io::Result<Option<Line>> {
        self.bytes.line(most)
    }

    pub(super) fn next(&mut self) -> io::Result<Token> {
        loop {
            let Some(byte) = self.bytes.next()? else { return Ok(Token::End) };
            match byte {
                byte if byte.is_ascii_whitespace() => {}
                b'#' if self.backslash => drop(self.bytes.line(0)?),
                b'-' if self.bytes.peek()? == Some(b'-') => self.comment()?,
                b'/' if self.bytes.take(b'*')? => self.block_comment()?,
                b'\'' => return self.text(self.backslash),
                b'"' | b'`' => return self.quoted(byte).map(|name| name.map_or(Token::TooLong, Token::Name)),
                b'$' if self.postgres => {
                    if let Some(token) = self.dollars()? {
                        return Ok(token);
                    }
                }
                byte if is_word(byte) => return self.word(byte),
                mark => return Ok(Token::Mark(mark)),
            }
        }
    }

    /// `-- …`, in which a dump says whose it is.
    fn comment(&mut self) -> io::Result<()> {
        let said = self.bytes.line(COMMENT_MAX)?.unwrap_or_default().text;
        if said.windows(10).any(|at| at == b"PostgreSQL") {
            self.backslash = false;
            self.postgres = true;
        }
        Ok(())
    }

    fn block_comment(&mut self) -> io::Result<()> {
        loop {
            match self.bytes.next()? {
                None => return Ok(()),
                Some(b'*') if self.bytes.take(b'/')? => return Ok(()),
                Some(_) => {}
            }
        }
    }

    fn word(&mut self, first: u8) -> io::Result<Token> {
        let (mut word, mut cut) = (vec![first], false);
        while let Some(byte) = self.bytes.peek()?.filter(|byte| is_word(*byte)) {
            self.bytes.next()?;
            if word.len() < WORD_MAX { word.push(byte) } else { cut = true }
        }
        if cut {
            return Ok(Token::TooLong);
        }
        // A letter that says how to read the text right behind it.
        if self.bytes.peek()? == Some(b'\'') {
            match word.to_ascii_lowercase().as_slice() {
                b"e" => return self.bytes.next().and_then(|_| self.text(true)),
                b"n" => return self.bytes.next().and_then(|_| self.text(self.backslash)),
                // Bits, of which none of our columns is.
                b"b" => return self.bytes.next().and_then(|_| self.text(false)),
                b"x" => {
                    self.bytes.next()?;
                    let digits = self.text(false)?;
                    // What is no hexadecimal number is left as it is, a mark that no value begins with.
                    return Ok(match digits {
                        Token::Text(digits) => unhex(&digits).map_or(Token::Mark(b'\''), Token::Text),
                        other => other,
                    });
                }
                _ => {}
            }
        }
        Ok(Token::Word(word))
    }

    fn text(&mut self, backslash: bool) -> io::Result<Token> {
        let (mut text, mut cut) = (Vec::new(), false);
        loop {
            let Some(byte) = self.bytes.next()? else { return Ok(Token::End) };
            let unescaped = match byte {
                b'\'' if self.bytes.take(b'\'')? => b'\'',
                b'\'' => break,
                b'\\' if backslash => match self.bytes.next()? {
                    None => return Ok(Token::End),
                    // Kept for LIKE, in which they mean something.
                    Some(kept @ (b'%' | b'_')) if !self.postgres => {
                        text.push(b'\\');
                        kept
                    }
                    Some(escaped) => self.unescape(escaped)?,
                },
                byte => byte,
            };
            if text.len() < CELL_MAX { text.push(unescaped) } else { cut = true }
        }
        Ok(if cut { Token::TooLong } else { Token::Text(text) })
    }

    fn unescape(&mut self, escaped: u8) -> io::Result<u8> {
        Ok(match escaped {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' if self.postgres => 12,
            b'0'..=b'7' if self.postgres => {
                let mut value = u32::from(escaped - b'0');
                for _ in 0..2 {
                    let Some(digit) = self.bytes.peek()?.filter(|digit| matches!(digit, b'0'..=b'7')) else {
                        break;
                    };
                    self.bytes.next()?;
                    value = value * 8 + u32::from(digit - b'0');
                }
                value as u8
            }
            b'0' => 0,
            b'Z' => 26,
            itself => itself,
        })
    }

    /// A name in quotes, which are doubled within it; `None`: too long, or the file ends in it.
    fn quoted(&mut self, quote: u8) -> io::Result<Option<Vec<u8>>> {
        let (mut name, mut cut) = (Vec::new(), false);
        while let Some(byte) = self.bytes.next()? {
            if byte == quote && !self.bytes.take(quote)? {
                return Ok(Some(name).filter(|_| !cut));
            }
            if name.len() < CELL_MAX { name.push(byte) } else { cut = true }
        }
        Ok(None)
    }

    /// `$tag$ … $tag$`: bodies of functions, in which semicolons end nothing. `None`: it was no such text.
    fn dollars(&mut self) -> io::Result<Option<Token>> {
        let mut end = vec![b'$'];
        while let Some(byte) = self.bytes.peek()?.filter(|byte| is_word(*byte) && *byte != b'$') {
            self.bytes.next()?;
            end.push(byte);
            if end.len() > TAG_MAX {
                return Ok(Some(Token::TooLong));
            }
        }
        if !self.bytes.take(b'$')? {
            return Ok(Some(Token::Word(end)));
        }
        end.push(b'$');
        let (mut text, mut cut) = (Vec::new(), false);
        // What was read last, as long as the end: a text that is cut still ends where it ends.
        let mut last: Vec<u8> = Vec::new();
        while let Some(byte) = self.bytes.next()? {
            if text.len() < CELL_MAX + end.len() {
                text.push(byte)
            } else {
                cut = true
            }
            if last.len() == end.len() {
                last.remove(0);
            }
            last.push(byte);
            if last == end {
                text.truncate(text.len().saturating_sub(end.len()));
                return Ok(Some(if cut { Token::TooLong } else { Token::Text(text) }));
            }
        }
        Ok(Some(Token::End))
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Pairs of hexadecimal digits.
pub(super) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}
