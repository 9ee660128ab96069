//! Pages of lists: so many rows, behind the one that was seen last.
//!
//! Prevents that a list of a million rows becomes one answer, and that rows which come and go between two pages shift
//! the others: a page begins behind a row, not at a number. Never keeps anything between two pages.

use serde::Serialize;
use serde_json::Value;

use super::deeds::Denied;
use super::table::{Command, Kind};
use super::values::Values;

/// Rows of an answer that nobody asked for in pages.
pub const UNPAGED_MAX: usize = 100_000;

/// Which rows of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The key of the last row that was seen ([`Command::key`] with spaces between its columns).
    pub after: Option<String>,
    /// So many at most.
    pub limit: usize,
}

impl Page {
    /// The whole list.
    pub const ALL: Page = Page { after: None, limit: usize::MAX };

    /// What the arguments `limit` and `after` of a command ask for.
    pub(super) fn asked(command: &Command, values: &Values) -> Page {
        let at = |name| command.args.iter().position(|arg| arg.name == name);
        let after = at("after").and_then(|at| match command.args[at].kind {
            Kind::Address => values.address(at).map(|address| address.to_string()),
            _ => values.text(at),
        });
        let limit = at("limit").and_then(|at| values.count(at));
        // One more tells that there are too many.
        Page { after, limit: limit.unwrap_or(UNPAGED_MAX + 1) }
    }

    /// The rows of this page, of a whole list in the order in which it is shown.
    pub fn cut<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> Result<Vec<T>, Denied> {
        if let Some(after) = &self.after {
            let seen = match rows.iter().position(|row| key(row) == *after) {
                Some(at) => at + 1,
                // It is gone since. Where it stood is known only of what is sorted.
                None if rows.is_sorted_by_key(&key) => rows.partition_point(|row| key(row) < *after),
                None => {
                    return Err(Denied::NotFound(format!("{after} is no longer in the list; begin again")));
                }
            };
            rows.drain(..seen);
        }
        rows.truncate(self.limit);
        Ok(rows)
    }

    /// The answer that `rows` are.
    pub(super) fn answer(&self, rows: &[impl Serialize]) -> Result<Value, Denied> {
        if rows.len() > UNPAGED_MAX {
            return Err(Denied::Refused(format!(
                "more than {UNPAGED_MAX} rows; ask for pages, with limit and after"
            )));
        }
        Ok(serde_json::to_value(rows).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(rows: &str, after: Option<&str>, limit: usize) -> Result<String, String> {
        let page = Page { after: after.map(Into::into), limit };
        let rows = rows.chars().collect();
        let cut = page.cut(rows, |row| row.to_string()).map_err(|denied| denied.to_string())?;
        Ok(cut.into_iter().collect())
    }

    #[test]
    fn a_page_begins_behind_the_row_that_was_seen_last() {
        assert_eq!(cut("abcde", None, 2).unwrap(), "ab");
        assert_eq!(cut("abcde", Some("b"), 2).unwrap(), "cd");
        assert_eq!(cut("abcde", Some("e"), 2).unwrap(), "");
        assert_eq!(cut("abcde", None, usize::MAX).unwrap(), "abcde");
        assert_eq!(cut("ebdac", Some("b"), 2).unwrap(), "da", "in the order in which it is shown");
    }

    #[test]
    fn a_row_that_is_gone_has_left_its_place_where_there_is_an_order() {
        assert_eq!(cut("abde", Some("c"), 2).unwrap(), "de");
        assert_eq!(cut("bd", Some("a"), 2).unwrap(), "bd");
        assert_eq!(cut("bd", Some("x"), 2).unwrap(), "");
        assert_eq!(cut("", Some("x"), 2).unwrap(), "");
        assert_eq!(cut("dba", Some("c"), 2).unwrap_err(), "c is no longer in the list; begin again");
    }
}
