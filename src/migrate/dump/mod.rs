//! Dumps in SQL: what mysqldump, pg_dump and sqlite3 write, INSERT and COPY, with CREATE TABLE for the columns.
//!
//! Prevents that the tables beside ours have to be understood: everything else is stepped over. Never runs SQL.

mod lexer;

use std::io::{self, BufRead};

use self::lexer::{Lexer, Token, unhex};
use super::{CELL_MAX, COLUMNS_MAX, Columns, Found, Row, Sink, Table, Unreadable, Why};

/// Bytes of one row of COPY.
const COPY_ROW_MAX: usize = 4 * CELL_MAX;
/// Bytes of the name of a column.
const NAME_MAX: usize = 128;
/// Tokens of one value: `_binary 'text'`, `'text'::character varying(64)`.
const VALUE_TOKENS: usize = 16;

const CUT_OFF: Why = "the file ends in the middle of it";
const TOO_LONG: Why = "a value is too long";
const NOT_A_VALUE: Why = "something that is no plain value";
const NO_COLUMNS: Why = "the file does not name its columns";
const WRONG_COUNT: Why = "not as many values as columns";

/// Reads the rows of `wanted` tables. Returns which of them the file speaks of.
///
/// # Errors
/// [`Unreadable::Io`]. Whatever the file holds, it is read to its end.
pub fn read_dump(file: impl BufRead, wanted: &[Table], sink: Sink<'_>) -> Result<Vec<Table>, Unreadable> {
    let mut dump = Dump {
        lexer: Lexer::new(file),
        wanted,
        seen: Vec::new(),
        created: Vec::new(),
        counts: [0; Table::ALL.len()],
        sink,
        stopped: false,
    };
    dump.read()?;
    Ok(dump.seen)
}

struct Dump<'s, R> {
    lexer: Lexer<R>,
    wanted: &'s [Table],
    seen: Vec<Table>,
    /// Columns as CREATE TABLE has them.
    created: Vec<(Table, Columns, Vec<bool>)>,
    /// Rows of each table.
    counts: [u64; Table::ALL.len()],
    sink: Sink<'s>,
    stopped: bool,
}

type Cells = Vec<Option<Vec<u8>>>;

/// A name of a table, ours or not, and the token behind it.
type Named = (Option<Table>, Token);

impl<R: BufRead> Dump<'_, R> {
    fn read(&mut self) -> io::Result<()> {
        while !self.stopped {
            match self.lexer.next()? {
                Token::End => return Ok(()),
                // A command to psql: \restrict, \connect.
                Token::Mark(b'\\') => drop(self.lexer.line(0)?),
                Token::Word(word) => match word.to_ascii_uppercase().as_slice() {
                    b"INSERT" | b"REPLACE" => self.insert()?,
                    b"COPY" => self.copy()?,
                    b"CREATE" => self.create()?,
                    b"SET" => self.set()?,
                    b"PRAGMA" => {
                        self.lexer.backslash = false;
                        self.skip()?;
                    }
                    _ => self.skip()?,
                },
                Token::Mark(b';') => {}
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    /// To the end of the statement.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            if matches!(self.lexer.next()?, Token::Mark(b';') | Token::End) {
                return Ok(());
            }
        }
    }

    /// The same from a token that was read already.
    fn skip_from(&mut self, token: &Token) -> io::Result<()> {
        if matches!(token, Token::Mark(b';') | Token::End) { Ok(()) } else { self.skip() }
    }

    fn tell(&mut self, table: Table, row: Result<Row, Why>) {
        let count = &mut self.counts[table as usize];
        *count += 1;
        let found = Found { table, at: *count, row };
        self.stopped |= (self.sink)(found).is_break();
    }

    /// `public.imc_rooms`, `"imc_rooms"`, from its first token on.
    fn named(&mut self, first: Token) -> io::Result<Named> {
        let mut name = first;
        loop {
            let next = self.lexer.next()?;
            if next == Token::Mark(b'.') {
                name = self.lexer.next()?;
                continue;
            }
            let table = match &name {
                Token::Word(name) | Token::Name(name) => Table::named(name, self.wanted),
                _ => None,
            };
            if let Some(table) = table.filter(|table| !self.seen.contains(table)) {
                self.seen.push(table);
            }
            return Ok((table, next));
        }
    }

    /// `SET standard_conforming_strings = on`.
    fn set(&mut self) -> io::Result<()> {
        let first = self.lexer.next()?;
        if !is(&first, "standard_conforming_strings") {
            return self.skip_from(&first);
        }
        loop {
            match self.lexer.next()? {
                Token::Mark(b';') | Token::End => return Ok(()),
                value => {
                    self.lexer.postgres = true;
                    match () {
                        () if is(&value, "on") => self.lexer.backslash = false,
                        () if is(&value, "off") => self.lexer.backslash = true,
                        () => {}
                    }
                }
            }
        }
    }

    /// `CREATE TABLE name (column type …, …)`.
    fn create(&mut self) -> io::Result<()> {
        let mut token = self.lexer.next()?;
        if !is(&token, "TABLE") {
            return self.skip_from(&token);
        }
        token = self.lexer.next()?;
        for word in ["IF", "NOT", "EXISTS"] {
            if is(&token, word) {
                token = self.lexer.next()?;
            }
        }
        let (table, token) = self.named(token)?;
        let (Some(table), true) = (table, token == Token::Mark(b'(')) else { return self.skip_from(&token) };
        let (mut names, mut blobs): (Vec<Box<str>>, Vec<bool>) = (Vec::new(), Vec::new());
        let (mut depth, mut first, mut second) = (1, true, false);
        loop {
            let token = self.lexer.next()?;
            match &token {
                Token::End => return Ok(()),
                Token::Mark(b'(') => depth += 1,
                Token::Mark(b')') if depth == 1 => break,
                Token::Mark(b')') => depth -= 1,
                Token::Mark(b',') if depth == 1 => {
                    (first, second) = (true, false);
                    continue;
                }
                _ if first => {
                    if let Some(name) = column(&token).filter(|_| names.len() < COLUMNS_MAX) {
                        names.push(name);
                        blobs.push(false);
                        second = true;
                    }
                    first = false;
                    continue;
                }
                _ if second => {
                    if let (true, Some(blob)) = (is(&token, "bytea"), blobs.last_mut()) {
                        *blob = true;
                    }
                    second = false;
                }
                _ => {}
            }
        }
        self.created.retain(|(known, ..)| *known != table);
        self.created.push((table, names.into(), blobs));
        self.skip()
    }

    /// Which of `columns` are bytea: what CREATE TABLE says; without it `None`.
    fn blobs(&self, table: Table, columns: &Columns) -> Vec<Option<bool>> {
        let created = self.created.iter().find(|(known, ..)| *known == table);
        let blob = |name: &str| {
            let (_, names, blobs) = created?;
            names.iter().position(|known| **known == *name).map(|at| blobs[at])
        };
        columns.iter().map(|name| blob(name)).collect()
    }

    /// `(a, "b", `c`)`, behind the opening bracket. `None`: not so.
    fn column_list(&mut self) -> io::Result<Option<Columns>> {
        let mut names: Vec<Box<str>> = Vec::new();
        loop {
            match self.lexer.next()? {
                Token::Mark(b')') => return Ok(Some(names.into())),
                Token::Mark(b',') => {}
                token => match spelled(&token) {
                    Some(name) if names.len() < COLUMNS_MAX => names.push(name),
                    _ => {
                        // A token of a wrong list may have been its statement's end.
                        self.skip_from(&token)?;
                        return Ok(None);
                    }
                },
            }
        }
    }

    /// `INSERT INTO name (columns) VALUES (…), (…);`
    fn insert(&mut self) -> io::Result<()> {
        // IGNORE, OR REPLACE, LOW_PRIORITY may stand before it.
        let mut token = self.lexer.next()?;
        while matches!(&token, Token::Word(_)) && !is(&token, "INTO") {
            token = self.lexer.next()?;
        }
        if !is(&token, "INTO") {
            return self.skip_from(&token);
        }
        let first = self.lexer.next()?;
        let (table, mut token) = self.named(first)?;
        let Some(table) = table else { return self.skip_from(&token) };
        let mut columns =
            self.created.iter().find(|(known, ..)| *known == table).map(|(_, names, _)| names.clone());
        if token == Token::Mark(b'(') {
            let Some(listed) = self.column_list()? else {
                self.tell(table, Err(NO_COLUMNS));
                return Ok(());
            };
            columns = Some(listed);
            token = self.lexer.next()?;
        }
        while matches!(&token, Token::Word(_)) && !is(&token, "VALUES") && !is(&token, "VALUE") {
            token = self.lexer.next()?;
        }
        if !matches!(&token, Token::Word(_)) {
            self.tell(table, Err(NOT_A_VALUE));
            return self.skip_from(&token);
        }
        loop {
            match self.lexer.next()? {
                Token::Mark(b',') => {}
                Token::Mark(b'(') => {
                    let (cells, ended) = self.tuple()?;
                    let row = cells.and_then(|cells| self.row(table, columns.as_ref(), cells));
                    self.tell(table, row);
                    if ended || self.stopped {
                        return Ok(());
                    }
                }
                // What came before was OVERRIDING SYSTEM VALUE.
                token if is(&token, "VALUES") => {}
                token => return self.skip_from(&token),
            }
        }
    }

    /// What is between the brackets, the first of which was read; and whether the statement ended in it.
    fn tuple(&mut self) -> io::Result<(Result<Cells, Why>, bool)> {
        let (mut cells, mut wrong) = (Ok(Vec::new()), None);
        let mut tokens = Vec::new();
        let mut depth = 0;
        loop {
            let token = self.lexer.next()?;
            match token {
                Token::End => return Ok((Err(CUT_OFF), true)),
                Token::Mark(b';') => return Ok((Err(NOT_A_VALUE), true)),
                Token::Mark(mark @ (b',' | b')')) if depth == 0 => {
                    let cell = value(std::mem::take(&mut tokens));
                    let full = cells.as_ref().is_ok_and(|cells: &Cells| cells.len() == COLUMNS_MAX);
                    match (cell, &mut cells) {
                        (_, Ok(_)) if full => wrong = wrong.or(Some(WRONG_COUNT)),
                        (Ok(cell), Ok(cells)) => cells.push(cell),
                        (Err(why), _) => wrong = wrong.or(Some(why)),
                        _ => {}
                    }
                    if mark == b')' {
                        return Ok((wrong.map_or(cells, Err), false));
                    }
                }
                token => {
                    match token {
                        Token::Mark(b'(') => depth += 1,
                        Token::Mark(b')') => depth -= 1,
                        _ => {}
                    }
                    if tokens.len() < VALUE_TOKENS {
                        tokens.push(token)
                    } else {
                        wrong = wrong.or(Some(NOT_A_VALUE))
                    }
                }
            }
        }
    }

    /// `COPY name (columns) FROM stdin;` and its lines, up to `\.`.
    fn copy(&mut self) -> io::Result<()> {
        if !self.lexer.postgres {
            (self.lexer.postgres, self.lexer.backslash) = (true, false);
        }
        let first = self.lexer.next()?;
        let (table, mut token) = self.named(first)?;
        let mut columns =
            self.created.iter().find(|(known, ..)| Some(*known) == table).map(|(_, names, _)| names.clone());
        if token == Token::Mark(b'(') {
            let Some(listed) = self.column_list()? else { return Ok(()) };
            columns = Some(listed);
            token = self.lexer.next()?;
        }
        let mut inline = false;
        while !matches!(token, Token::Mark(b';') | Token::End) {
            inline |= is(&token, "stdin");
            token = self.lexer.next()?;
        }
        if !inline {
            return Ok(());
        }
        self.lexer.line(0)?;
        while !self.stopped {
            let Some(line) = self.lexer.line(COPY_ROW_MAX)? else {
                if let Some(table) = table {
                    self.tell(table, Err(CUT_OFF));
                }
                return Ok(());
            };
            if line.text == br"\." {
                return Ok(());
            }
            let Some(table) = table else { continue };
            let cells = if line.cut { Err(TOO_LONG) } else { copied(&line.text) };
            let row = cells.and_then(|cells| self.row(table, columns.as_ref(), cells));
            self.tell(table, row);
        }
        Ok(())
    }

    fn row(&self, table: Table, columns: Option<&Columns>, mut cells: Cells) -> Result<Row, Why> {
        let usual = columns.cloned().or_else(|| table.usual_columns(cells.len()));
        let columns = usual.ok_or(NO_COLUMNS)?;
        if cells.len() != columns.len() {
            return Err(WRONG_COUNT);
        }
        if self.lexer.postgres {
            for (cell, blob) in cells.iter_mut().zip(self.blobs(table, &columns)) {
                let Some(bytes) = cell else { continue };
                *bytes = bytea(std::mem::take(bytes), blob)?;
            }
        }
        Row::new(&columns, cells).ok_or(WRONG_COUNT)
    }
}

/// A keyword, without case.
fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word.as_bytes()))
}

/// A name, in lower case.
fn spelled(token: &Token) -> Option<Box<str>> {
    let (Token::Word(name) | Token::Name(name)) = token else { return None };
    let name = std::str::from_utf8(name).ok().filter(|name| (1..=NAME_MAX).contains(&name.len()))?;
    Some(name.to_ascii_lowercase().into())
}

/// The name of a column, which a line of CREATE TABLE begins with; `None` for a constraint or an index.
fn column(first: &Token) -> Option<Box<str>> {
    const OTHERS: [&str; 10] = [
        "PRIMARY",
        "UNIQUE",
        "KEY",
        "INDEX",
        "CONSTRAINT",
        "CHECK",
        "FOREIGN",
        "FULLTEXT",
        "SPATIAL",
        "EXCLUDE",
    ];
    if OTHERS.iter().any(|word| is(first, word)) { None } else { spelled(first) }
}

/// A value, from all its tokens.
fn value(mut tokens: Vec<Token>) -> Result<Option<Vec<u8>>, Why> {
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
    let number = |word: &[u8]| word.first().is_some_and(u8::is_ascii_digit);
    match tokens.as_mut_slice() {
        [Token::Text(text) | Token::Name(text)] => Ok(Some(std::mem::take(text))),
        [Token::Word(word)] if word.eq_ignore_ascii_case(b"NULL") => Ok(None),
        [Token::Word(word)] if word.eq_ignore_ascii_case(b"TRUE") => Ok(Some(b"1".to_vec())),
        [Token::Word(word)] if word.eq_ignore_ascii_case(b"FALSE") => Ok(Some(b"0".to_vec())),
        [Token::Word(word)] if word.starts_with(b"0x") => unhex(&word[2..]).map(Some).ok_or(NOT_A_VALUE),
        [Token::Word(word)] if number(word) => Ok(Some(std::mem::take(word))),
        [Token::Mark(b'-'), Token::Word(word)] if number(word) => {
            word.insert(0, b'-');
            Ok(Some(std::mem::take(word)))
        }
        [Token::Word(whole), Token::Mark(b'.'), Token::Word(part)] if number(whole) && number(part) => {
            whole.push(b'.');
            whole.append(part);
            Ok(Some(std::mem::take(whole)))
        }
        _ => Err(NOT_A_VALUE),
    }
}

/// The values of a line of COPY in its text form.
fn copied(line: &[u8]) -> Result<Cells, Why> {
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

/// A value of PostgreSQL, if it is a blob: `\x6869`, or the older form in which every odd byte is `\ooo`. `blob`:
/// whether CREATE TABLE says so; `None`: it says nothing.
fn bytea(text: Vec<u8>, blob: Option<bool>) -> Result<Vec<u8>, Why> {
    let digits = text.strip_prefix(br"\x");
    match (blob, digits) {
        (Some(true), Some(digits)) => unhex(digits).ok_or(NOT_A_VALUE),
        (Some(true), None) => {
            let mut out = Vec::with_capacity(text.len());
            let mut rest = text.as_slice();
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
        (None, Some(digits)) if digits.len() > 1 => Ok(unhex(digits).unwrap_or_else(|| text.clone())),
        _ => Ok(text),
    }
}
