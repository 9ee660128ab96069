//! Results for people: tables, lines, and what cannot harm a terminal.
//!
//! Prevents that a name with controls in it repaints the administrator's screen, and that wide letters bend columns.
//! Never talks to anybody.

use imcd::edge::control::table::Command;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

/// Lists as tables, objects as lines, anything else as it is.
pub fn for_people(command: &Command, result: &Value) -> String {
    match result {
        Value::Array(rows) if !command.columns.is_empty() => {
            let titles = command.columns.iter().map(|c| c.to_uppercase()).collect();
            let cells = rows.iter().map(|row| command.columns.iter().map(|c| cell(&row[*c])).collect());
            aligned(std::iter::once(titles).chain(cells).collect())
        }
        Value::Object(fields) => {
            // A picture's data are no sight for people.
            let columns = command.columns.iter().filter(|column| **column != "data");
            aligned(
                columns.map(|c| vec![c.to_string(), cell(fields.get(*c).unwrap_or(&Value::Null))]).collect(),
            )
        }
        Value::Array(items) => items.iter().map(|item| format!("{}\n", cell(item))).collect(),
        other => format!("{}\n", cell(other)),
    }
}

/// One value in one line.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => harmless(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Without controls, and without what turns the direction of a line.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same JSON, in which no byte does anything to a terminal: what could stands in strings only, and is escaped.
pub fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // The line ends between values.
            '\n' => text.push(c),
            c if c.is_control() || turns(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// Rows with their columns under each other.
pub fn aligned(rows: Vec<Vec<String>>) -> String {
    let widest = |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(widest).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `a`, `a or b`, `a, b or c`.
pub fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_however_wide_the_letters_are() {
        let rows = [["NAME", "N"], ["日本", "1"], ["Zoë", "2"], ["e\u{301}tage", "3"]];
        let rows = rows.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect();
        assert_eq!(aligned(rows), "NAME   N\n日本   1\nZoë    2\ne\u{301}tage  3\n");
        assert_eq!(aligned(Vec::new()), "");
    }

    #[test]
    fn a_field_that_an_older_daemon_does_not_tell_is_empty() {
        let command = imcd::edge::control::table::find("binding.drop").unwrap();
        assert_eq!(for_people(command, &serde_json::json!({ "account": "a" })), "account  a\ndropped\n");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_could_repaint_it() {
        assert_eq!(harmless("a\u{1b}[2J\n\u{9b}\u{202e}b"), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}b");
    }

    #[test]
    fn json_for_a_terminal_means_the_same() {
        let value = serde_json::json!([{ "text": "a\u{1b}[2J\n\u{9b}\u{7f}\u{202e}é\\" }, 1]);
        for json in [format!("{value:#}"), value.to_string()] {
            let shown = harmless_json(&json);
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
            assert_eq!(
                shown.chars().filter(|c| c.is_control() && *c != '\n' || turns(*c)).count(),
                0,
                "{shown}"
            );
        }
    }

    #[test]
    fn words_are_listed_as_people_do() {
        assert_eq!(["", "a", "a or b", "a, b or c"].map(String::from), {
            let words = ["a", "b", "c"];
            [0, 1, 2, 3].map(|n| either(&words[..n]))
        });
    }
}
