//! The counters again and again, with what each gains in a second.
//!
//! Prevents arithmetic by eye. Never asks faster than it was told to.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Failure;
use super::call::Daemon;
use super::show::{aligned, cell};

/// The cursor to the corner, the screen empty.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the counters until standard output is closed.
pub fn watch(
    daemon: &mut Daemon,
    params: &Map<String, Value>,
    seconds: f64,
    json: bool,
) -> Result<String, Failure> {
    let mut out = std::io::stdout();
    let redraw = out.is_terminal() && !json;
    let mut before: Option<(Instant, HashMap<String, i128>)> = None;
    loop {
        let counters = daemon.call("server.stats", params.clone().into())?;
        let (now, values) = (Instant::now(), values(&counters));
        let text = match &before {
            _ if json => format!("{counters}\n"),
            Some((then, old)) => table(&counters, old, (now - *then).as_secs_f64()),
            None => table(&counters, &values, 1.0),
        };
        // On a terminal the last one is painted over; elsewhere an empty line parts them.
        let text = if redraw {
            format!("{CLEAR}{text}")
        } else if json {
            text
        } else {
            format!("{text}\n")
        };
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(String::new());
        }
        before = Some((now, values));
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
}

fn values(counters: &Value) -> HashMap<String, i128> {
    let rows = counters.as_array().map(Vec::as_slice).unwrap_or_default();
    let value = |row: &Value| Some((row["name"].as_str()?.to_owned(), i128::from(row["value"].as_u64()?)));
    rows.iter().filter_map(value).collect()
}

fn table(counters: &Value, before: &HashMap<String, i128>, seconds: f64) -> String {
    let title = ["NAME", "VALUE", "PER SECOND"].map(String::from).to_vec();
    let rows = counters.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|row| {
        let (name, value) = (cell(&row["name"]), row["value"].as_u64().map_or(0, i128::from));
        let gain = before.get(&name).map_or(0, |old| value - old) as f64 / seconds;
        let gain = if gain == 0.0 { String::new() } else { format!("{gain:+.1}") };
        vec![name, value.to_string(), gain]
    });
    aligned(std::iter::once(title).chain(rows).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_moved_is_shown_for_a_second() {
        let old = values(
            &json!([{"name": "up", "value": 10}, {"name": "down", "value": 5}, {"name": "same", "value": 1}]),
        );
        let new = json!([{"name": "up", "value": 40}, {"name": "down", "value": 4}, {"name": "same", "value": 1}, {"name": "new", "value": 7}]);
        let wanted = "NAME  VALUE  PER SECOND\nup    40     +15.0\ndown  4      -0.5\nsame  1\nnew   7\n";
        assert_eq!(table(&new, &old, 2.0), wanted);
    }
}
