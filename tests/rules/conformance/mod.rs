//! Conformance, row by row: a test is named for its row, and `conformance.md` beside this file tells which rows are
//! proven where. Here are those that the endpoint alone can show.

mod rfc3261_transactions;
mod rfc3261_transport;
mod rfc4320;

/// Every row of sections T and X stands in the table exactly once.
#[test]
fn the_table_has_every_row() {
    let table = include_str!("../conformance.md");
    let rows = (1..=48).map(|i| format!("T{i:02}")).chain((1..=21).map(|i| format!("X{i:02}")));
    for row in rows {
        let found = table.lines().filter(|line| line.starts_with(&format!("| {row} |"))).count();
        assert_eq!(found, 1, "{row}");
    }
}

/// What the table calls proven by a test is a test.
#[test]
fn the_table_names_tests_that_exist() {
    let table = include_str!("../conformance.md");
    let sources = [
        include_str!("rfc3261_transactions.rs"),
        include_str!("rfc3261_transport.rs"),
        include_str!("rfc4320.rs"),
        include_str!("../endpoint.rs"),
        include_str!("../../../src/sip/transaction.rs"),
    ];
    let named: Vec<&str> =
        table.split('`').filter(|name| name.contains("_") && !name.contains('.')).collect();
    assert!(named.len() > 40, "{} tests named", named.len());
    for name in named {
        let head = format!("fn {name}()");
        assert!(sources.iter().any(|source| source.contains(&head)), "{name}");
    }
}
