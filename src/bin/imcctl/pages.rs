//! Long lists, page by page.
//!
//! Prevents that the daemon makes one answer of a hundred thousand rows. Never shows half a list.

use imcd::edge::control::table::Command;
use serde_json::{Map, Value};

use super::Failure;
use super::call::Daemon;

/// Rows of one page: the most that the daemon gives.
const ROWS: usize = 1000;

/// The whole list, or from `after` on, if that is asked for. What comes in one piece is that.
pub fn whole(
    daemon: &mut Daemon,
    command: &Command,
    mut params: Map<String, Value>,
) -> Result<Value, Failure> {
    if command.key().is_empty() {
        return daemon.call(command.name, params.into());
    }
    params.insert("limit".into(), ROWS.to_string().into());
    let mut rows = Vec::new();
    loop {
        let page = match daemon.call(command.name, params.clone().into())? {
            Value::Array(page) => page,
            other => return Ok(other),
        };
        // A page may be short because what stands in other tables is no address; only an empty one is the end.
        let Some(last) = page.last() else { return Ok(rows.into()) };
        params.insert("after".into(), key(command, last).into());
        rows.extend(page);
    }
}

/// What the row is known by.
fn key(command: &Command, row: &Value) -> String {
    let word = |column: &&str| match &row[*column] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    command.key().iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use imcd::edge::control::table::find;
    use serde_json::json;

    #[test]
    fn a_row_is_known_by_the_columns_that_the_table_names() {
        let of = |name: &str, row: Value| key(find(name).unwrap(), &row);
        assert_eq!(of("room.list", json!({ "room": "team@a", "owner": "x@a" })), "team@a");
        assert_eq!(of("offline.list", json!({ "account": "bob@a", "id": 17, "from": "al@a" })), "bob@a 17");
    }
}
