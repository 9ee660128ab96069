//! Dumps in SQL: what mysqldump, pg_dump and sqlite3 write, INSERT and COPY, with CREATE TABLE for the columns.
//!
//! Prevents that the tables beside ours have to be understood: everything else is stepped over. Never runs SQL.

mod lexer;
mod value;

use std::io::{self, BufRead};

use self::lexer::{Lexer, Token};
use self::value::{bytea, copied, value};
use super::bytes::Line;
use super::shape::foreign_shape;
use super::{CELL_MAX, COLUMNS_MAX, Columns, Found, Row, Sink, Table, Unreadable, Why};

/// Bytes of one row of COPY.
const COPY_ROW_MAX: usize = 4 * CELL_MAX;
/// Bytes of the name of a column.
const NAME_MAX: usize = 128;
/// Tokens of one value: `'text'::character varying(64)`, `replace(replace('text','\r',char(13)),'\n',char(10))`.
const VALUE_TOKENS: usize = 32;

/// Tables whose columns are remembered.
const CREATED_MAX: usize = 64;
/// What Windows begins files in UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const CUT_OFF: Why = "the file ends in the middle of it";
const TOO_LONG: Why = "a value is too long";
const NOT_A_VALUE: Why = "something that is no plain value";
const NO_COLUMNS: Why = "the file does not name its columns";
const WRONG_COUNT: Why = "not as many values as columns";

/// Reads the rows of `wanted` tables. Returns which of them the file speaks of.
///
/// # Errors
/// [`Unreadable::Shape`] if it is known for something else than SQL. Whatever it holds, it is read to its end.
pub fn read_dump(mut file: impl BufRead, wanted: &[Table], sink: Sink<'_>) -> Result<Vec<Table>, Unreadable> {
    let first = file.fill_buf()?;
    if let Some(what) = foreign_shape(first) {
        return Err(Unreadable::Shape(what.into()));
    }
    if first.starts_with(BYTE_ORDER_MARK) {
        file.consume(BYTE_ORDER_MARK.len());
    }
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
    created: Vec<Created>,
    /// Rows of each table.
    counts: [u64; Table::ALL.len()],
    sink: Sink<'s>,
    stopped: bool,
}

type Cells = Vec<Option<Vec<u8>>>;

/// A table of ours, with the schema or database that it was said to be in: more than one may have it.
type Place = (Table, Option<Vec<u8>>);

/// What CREATE TABLE says.
struct Created {
    place: Place,
    columns: Columns,
    /// Which of them are bytea.
    blobs: Vec<bool>,
}

/// A name of a table, if it is one of ours, and the token behind it.
type Named = (Option<Place>, Token);

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
                    b"DELIMITER" => self.routine()?,
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

    /// `DELIMITER ;;`: what follows is the body of a routine or a trigger, with statements of its own, up to a line that
    /// ends it in the same way.
    fn routine(&mut self) -> io::Result<()> {
        let ends = |line: &Line| line.text.trim_ascii() == b";";
        if self.lexer.line(NAME_MAX)?.as_ref().is_none_or(ends) {
            return Ok(());
        }
        while let Some(line) = self.lexer.line(NAME_MAX)? {
            let word = line.text.split(|byte| *byte == b' ').next().unwrap_or_default();
            if word.eq_ignore_ascii_case(b"DELIMITER") {
                return Ok(());
            }
        }
        Ok(())
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
        let (mut name, mut within) = (first, None);
        loop {
            let next = self.lexer.next()?;
            if next == Token::Mark(b'.') {
                let (Token::Word(outer) | Token::Name(outer)) = name else { return Ok((None, next)) };
                within = Some(outer);
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
            return Ok((table.map(|table| (table, within)), next));
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
        let (place, token) = self.named(token)?;
        let (Some(place), true) = (place, token == Token::Mark(b'(')) else { return self.skip_from(&token) };
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
                    if let (Some("bytea"), Some(blob)) = (spelled(&token).as_deref(), blobs.last_mut()) {
                        *blob = true;
                    }
                    second = false;
                }
                _ => {}
            }
        }
        self.created.retain(|known| known.place != place);
        if self.created.len() < CREATED_MAX {
            self.created.push(Created { place, columns: names.into(), blobs });
        }
        self.skip()
    }

    /// The table of this place; of one that was not made, the last one of that name.
    fn created(&self, place: &Place) -> Option<&Created> {
        let exact = self.created.iter().find(|known| known.place == *place);
        exact.or_else(|| self.created.iter().rev().find(|known| known.place.0 == place.0))
    }

    /// Which of `columns` are bytea: what CREATE TABLE says; without it those that both forks create so.
    fn blobs(&self, place: &Place, columns: &Columns) -> Vec<bool> {
        let created = self.created(place);
        let blob = |name: &str| match created {
            None => (place.0, name) == (Table::Silo, "body"),
            Some(created) => {
                let at = created.columns.iter().position(|known| **known == *name);
                at.is_some_and(|at| created.blobs[at])
            }
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
        let (place, mut token) = self.named(first)?;
        let Some(place) = place else { return self.skip_from(&token) };
        let table = place.0;
        let mut columns = self.created(&place).map(|created| created.columns.clone());
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
                    let row = cells.and_then(|cells| self.row(&place, columns.as_ref(), cells));
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
        let (place, mut token) = self.named(first)?;
        let created = place.as_ref().and_then(|place| self.created(place));
        let mut columns = created.map(|created| created.columns.clone());
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
                if let Some((table, _)) = place {
                    self.tell(table, Err(CUT_OFF));
                }
                return Ok(());
            };
            if line.text == br"\." {
                return Ok(());
            }
            let Some(place) = &place else { continue };
            let cells = if line.cut { Err(TOO_LONG) } else { copied(&line.text) };
            let row = cells.and_then(|cells| self.row(place, columns.as_ref(), cells));
            self.tell(place.0, row);
        }
        Ok(())
    }

    fn row(&self, place: &Place, columns: Option<&Columns>, mut cells: Cells) -> Result<Row, Why> {
        let usual = columns.cloned().or_else(|| place.0.usual_columns(cells.len()));
        let columns = usual.ok_or(NO_COLUMNS)?;
        if cells.len() != columns.len() {
            return Err(WRONG_COUNT);
        }
        if self.lexer.postgres {
            for (cell, blob) in cells.iter_mut().zip(self.blobs(place, &columns)) {
                if let (true, Some(bytes)) = (blob, cell) {
                    *bytes = bytea(bytes)?;
                }
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
