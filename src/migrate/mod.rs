//! What another chat server left behind: its tables, read from whatever file holds them.
//!
//! `imc_rooms`, `imc_members`, `silo` and `subscriber` of Kamailio, OpenSIPS and OpenSER: columns in any order, some of
//! them missing. Prevents that one bad row ends a migration, and that a file makes the daemon take memory without
//! bound. Never opens a file, never decides what becomes of a row.

mod bytes;
mod dump;
mod report;
mod rows;
mod shape;
mod source;
mod text;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use thiserror::Error;

pub use dump::read_dump;
pub use report::{Line, Outcome, Report};
pub use rows::{LetterRow, MemberRow, RoomRow, SubscriberRow};
pub use source::{Holder, Source};
pub use text::read_text;

/// Bytes of one value. A row with a longer one is malformed.
pub const CELL_MAX: usize = 1 << 20;
/// Columns of one table.
pub const COLUMNS_MAX: usize = 128;
/// Rows of one import. What is above it has to be imported in parts.
pub const ROWS_MAX: u64 = 5_000_000;

/// A table that can be imported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Table {
    Rooms,
    Members,
    Silo,
    Subscriber,
}

impl Table {
    pub const ALL: [Table; 4] = [Table::Rooms, Table::Members, Table::Silo, Table::Subscriber];

    /// Its name, as every generation of the modules has it.
    pub fn name(self) -> &'static str {
        match self {
            Table::Rooms => "imc_rooms",
            Table::Members => "imc_members",
            Table::Silo => "silo",
            Table::Subscriber => "subscriber",
        }
    }

    /// The table among `wanted` with this name, whatever its case.
    fn named(name: &[u8], wanted: &[Table]) -> Option<Table> {
        wanted.iter().copied().find(|table| name.eq_ignore_ascii_case(table.name().as_bytes()))
    }

    /// The columns of a row that comes without their names, by how many there are: the order in which both forks
    /// create them. Of `subscriber` there were several orders with as many columns.
    fn usual_columns(self, count: usize) -> Option<Columns> {
        let names: &[&str] = match (self, count) {
            (Table::Rooms, 4) => &["id", "name", "domain", "flag"],
            (Table::Members, 5) => &["id", "username", "domain", "room", "flag"],
            (Table::Silo, 10 | 11 | 13) => &[
                "id",
                "src_addr",
                "dst_addr",
                "username",
                "domain",
                "inc_time",
                "exp_time",
                "snd_time",
                "ctype",
                "body",
                "extra_hdrs",
                "callid",
                "status",
            ],
            _ => return None,
        };
        Some(names.iter().take(count).map(|name| Box::from(*name)).collect())
    }
}

/// What an administrator asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Rooms and members.
    Imc,
    /// Messages that wait.
    Silo,
    /// Accounts.
    Subscriber,
}

impl What {
    /// Where it is found.
    pub fn tables(self) -> &'static [Table] {
        match self {
            What::Imc => &[Table::Rooms, Table::Members],
            What::Silo => &[Table::Silo],
            What::Subscriber => &[Table::Subscriber],
        }
    }
}

/// Names of columns, in lower case.
pub type Columns = Arc<[Box<str>]>;

/// One row as it was found. A cell is `None` where it was NULL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    columns: Columns,
    cells: Vec<Option<Vec<u8>>>,
}

impl Row {
    /// `None` if there is not one cell per column.
    pub fn new(columns: &Columns, cells: Vec<Option<Vec<u8>>>) -> Option<Row> {
        (columns.len() == cells.len()).then(|| Row { columns: columns.clone(), cells })
    }

    /// The value of a column; `None` also for a column that is not there.
    fn bytes(&self, column: &str) -> Option<&[u8]> {
        let at = self.columns.iter().position(|name| **name == *column)?;
        self.cells[at].as_deref()
    }
}

/// Why a row cannot be used: words for the report.
pub type Why = &'static str;

/// What a reader finds: a row, or why it is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub table: Table,
    /// Which row of its table, from 1.
    pub at: u64,
    pub row: Result<Row, Why>,
}

/// Takes what a reader finds. Whoever breaks wants no more.
pub type Sink<'s> = &'s mut dyn FnMut(Found) -> ControlFlow<()>;

/// Why a file cannot be read at all.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what it was said to be.
    #[error("{0}")]
    Shape(String),
}
