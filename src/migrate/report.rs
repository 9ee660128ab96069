//! What became of the rows of a migration, counted, with the first examples of each kind.
//!
//! Prevents that something is left behind without a word, and that a million such rows fill the answer.

use super::Table;

/// Examples that are named of each line.
const EXAMPLES_MAX: usize = 20;
/// Characters of one example.
const EXAMPLE_CHARS: usize = 600;

/// In the order in which a report shows them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// Rows of the table.
    Read,
    /// What was made of them; in a dry run what would be.
    Made,
    /// Made, but not as it was.
    Changed,
    /// What we have already.
    There,
    Skipped,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Read => "read",
            Outcome::Made => "made",
            Outcome::Changed => "changed",
            Outcome::There => "already there",
            Outcome::Skipped => "skipped",
        }
    }
}

/// A line of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub table: Table,
    pub outcome: Outcome,
    /// Why; empty where that is clear.
    pub why: &'static str,
    pub rows: u64,
    /// The first of them: addresses, or which row it was.
    pub examples: Vec<String>,
}

/// Counts what became of rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Counts `rows` without an example. None is a line too: the table was there.
    pub fn count(&mut self, table: Table, outcome: Outcome, rows: u64) {
        self.line(table, outcome, "").rows += rows;
    }

    /// Counts one row that did not become what it was.
    pub fn note(&mut self, table: Table, outcome: Outcome, why: &'static str, example: &str) {
        let line = self.line(table, outcome, why);
        line.rows += 1;
        if line.examples.len() < EXAMPLES_MAX {
            line.examples.push(example.chars().take(EXAMPLE_CHARS).collect());
        }
    }

    fn line(&mut self, table: Table, outcome: Outcome, why: &'static str) -> &mut Line {
        let same = |line: &Line| (line.table, line.outcome, line.why) == (table, outcome, why);
        let at = self.lines.iter().position(same).unwrap_or_else(|| {
            self.lines.push(Line { table, outcome, why, rows: 0, examples: Vec::new() });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    /// By table, then by outcome.
    pub fn lines(mut self) -> Vec<Line> {
        self.lines.sort_by_key(|line| (line.table, line.outcome));
        self.lines
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}
