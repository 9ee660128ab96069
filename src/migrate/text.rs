//! Tables of the db_text module: a file each, a line of columns with their types, then a line for each row.
//!
//! Prevents that a row of which one value was not escaped shifts the values of the others. Never looks at the types:
//! what is a number, the meaning of the column says.

use std::io::BufRead;

use super::bytes::Bytes;
use super::{CELL_MAX, COLUMNS_MAX, Columns, Found, Row, Sink, Table, Unreadable, Why};

/// Bytes of the line of columns.
const HEAD_MAX: usize = 16 * 1024;
/// Bytes of a row.
const ROW_MAX: usize = 4 * CELL_MAX;

/// Reads one table.
///
/// # Errors
/// [`Unreadable::Shape`] if the first line does not name columns.
pub fn read_text(file: impl BufRead, table: Table, sink: Sink<'_>) -> Result<(), Unreadable> {
    let mut bytes = Bytes::new(file);
    let head = bytes.line(HEAD_MAX)?.filter(|head| !head.cut);
    let Some(columns) = head.and_then(|head| columns(&head.text)) else {
        let what = format!(
            "{}: the first line does not name columns, as in id(int,auto) name(string)",
            table.name()
        );
        return Err(Unreadable::Shape(what));
    };
    let mut at = 0;
    while let Some(line) = bytes.line(ROW_MAX)? {
        if line.text.is_empty() {
            continue;
        }
        at += 1;
        let row = if line.cut { Err("a value is too long") } else { row(&columns, &line.text) };
        if sink(Found { table, at, row }).is_break() {
            break;
        }
    }
    Ok(())
}

/// `id(int,auto) name(string) `.
fn columns(head: &[u8]) -> Option<Columns> {
    let head = std::str::from_utf8(head).ok()?;
    let mut names: Vec<Box<str>> = Vec::new();
    let mut rest = head.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('(')?;
        let (kind, after) = after.split_once(')')?;
        let name = name.trim_end_matches([' ', '\t']);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) || kind.is_empty() || names.len() == COLUMNS_MAX {
            return None;
        }
        names.push(name.to_ascii_lowercase().into());
        rest = after.trim_start_matches([' ', '\t']);
    }
    (!names.is_empty()).then(|| names.into())
}

fn row(columns: &Columns, line: &[u8]) -> Result<Row, Why> {
    let mut cells = Vec::with_capacity(columns.len());
    let mut cell = Vec::new();
    let mut bytes = line.iter();
    // NULL and the empty text look alike here.
    let whole = |cell: Vec<u8>| Some(cell).filter(|cell| !cell.is_empty());
    while let Some(&byte) = bytes.next() {
        match byte {
            b':' if cells.len() == COLUMNS_MAX => return Err("too many values"),
            b':' => cells.push(whole(std::mem::take(&mut cell))),
            b'\\' => cell.push(match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(&escaped @ (b'\\' | b':')) => escaped,
                _ => return Err("a backslash that escapes nothing"),
            }),
            byte => cell.push(byte),
        }
        if cell.len() > CELL_MAX {
            return Err("a value is too long");
        }
    }
    cells.push(whole(cell));
    Row::new(columns, cells).ok_or("not as many values as columns")
}
