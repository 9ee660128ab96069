//! Conformance, row by row: a test is named for its row, and `conformance.md` beside this file tells which rows are
//! proven where. Here are those that the endpoint alone can show.

mod rfc3261_transactions;
mod rfc3261_transport;
mod rfc4320;

use crate::sources;

/// Every row of these sections stands in the table exactly once.
#[test]
fn the_table_has_every_row() {
    let table = include_str!("../conformance.md");
    let sections = [
        ('T', 48),
        ('X', 21),
        ('M', 26),
        ('U', 12),
        ('R', 25),
        ('I', 14),
        ('P', 18),
        ('S', 27),
        ('C', 14),
        ('W', 6),
        ('L', 7),
        ('K', 6),
    ];
    let rows = sections.iter().flat_map(|(name, last)| (1..=*last).map(move |n| format!("{name}{n:02}")));
    for row in rows {
        let found = table.lines().filter(|line| line.starts_with(&format!("| {row} |"))).count();
        assert_eq!(found, 1, "{row}");
    }
}

/// What the table calls proven by a test is a test.
#[test]
fn the_table_names_tests_that_exist() {
    let named = named_tests(include_str!("../conformance.md"));
    assert!(named.len() > 80, "{} tests named", named.len());
    all_exist(&named);
}

/// Every fault of the peers that concerns rooms has tests, and they exist.
#[test]
fn the_peers_faults_are_tested() {
    let table = include_str!("../peers_faults.md");
    for fault in 1..=33 {
        let row = table.lines().find(|line| line.starts_with(&format!("| {fault} |")));
        let row = row.unwrap_or_else(|| panic!("fault {fault} has no row"));
        assert!(row.contains('`') || row.contains("not ours"), "no test and no reason: {row}");
    }
    all_exist(&named_tests(table));
}

fn named_tests(table: &str) -> Vec<&str> {
    table.split('`').filter(|name| name.contains('_') && !name.contains(['.', ' ', '/', '\n'])).collect()
}

fn all_exist(named: &[&str]) {
    let tests: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|dir| sources::files(dir))
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
        .map(|path| sources::text(&path))
        .collect();
    for name in named {
        let head = format!("fn {name}(");
        assert!(tests.iter().any(|source| source.contains(&head)), "{name}");
    }
}
