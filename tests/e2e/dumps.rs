//! Dumps of a real MariaDB and a real PostgreSQL, with rows that hurt: what goes in there comes out here, row by row.

use md5::Digest;

use crate::kit::{Daemon, Database, databases_installed};

/// The tables as both forks create them, in their newest shape; with columns beside them that are none of ours, and
/// in an order of their own. What is in braces is spelled differently by the two.
const TABLES: &str = "
CREATE TABLE imc_rooms (id {serial} PRIMARY KEY NOT NULL, flag INTEGER NOT NULL, name VARCHAR(64) NOT NULL,
    domain VARCHAR(64) NOT NULL, CONSTRAINT name_domain_idx UNIQUE (name, domain));
CREATE TABLE imc_members (id {serial} PRIMARY KEY NOT NULL, username VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL,
    room VARCHAR(64) NOT NULL, flag INTEGER NOT NULL, CONSTRAINT account_room_idx UNIQUE (username, domain, room));
CREATE TABLE silo (cost DECIMAL(5,2) DEFAULT -0.50, id {serial} PRIMARY KEY NOT NULL,
    src_addr VARCHAR(255) DEFAULT '' NOT NULL, dst_addr VARCHAR(255) DEFAULT '' NOT NULL,
    username VARCHAR(64) DEFAULT '' NOT NULL, domain VARCHAR(64) DEFAULT '' NOT NULL, inc_time INTEGER DEFAULT 0 NOT NULL,
    exp_time INTEGER DEFAULT 0 NOT NULL, snd_time INTEGER DEFAULT 0 NOT NULL, ctype VARCHAR(255) DEFAULT NULL,
    body {blob}, extra_hdrs TEXT, more {blob}, tiny DOUBLE PRECISION DEFAULT -1.5e-10);
CREATE TABLE subscriber (id {serial} PRIMARY KEY NOT NULL, username VARCHAR(64) DEFAULT '' NOT NULL,
    domain VARCHAR(64) DEFAULT '' NOT NULL, password VARCHAR(64) DEFAULT '' NOT NULL, bits BIT(4) DEFAULT {bits},
    since TIMESTAMP DEFAULT CURRENT_TIMESTAMP, ha1 VARCHAR(128) DEFAULT '' NOT NULL);
";

/// Passwords that look like something else to who reads them carelessly.
const PASSWORDS: [&str; 12] = [
    "it's",
    "a\\",
    "\\N",
    "\\.",
    "\\x41",
    "NULL",
    "-5",
    "0x41",
    "E'x'",
    "--/*;$$#",
    "\u{1f511}\u{e9}",
    "b`c\"d",
];

/// Bodies of that kind.
fn bodies() -> Vec<Vec<u8>> {
    let texts = [
        "it's",
        "a\\'b",
        "line\nline\r\n",
        "  blanks\t",
        "\\x41",
        "\\N",
        "\\.",
        "\\303\\274",
        "');DROP TABLE silo;--",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.push((0..=255).collect());
    all.push(b"\xff\xfe".to_vec());
    all.push("\u{1f600}".repeat(5000).into_bytes());
    all
}

const ROOMS: [(&str, i32); 4] = [("team", 1), ("lounge", 0), ("o'neil", 1), ("empty", 0)];
const MEMBERS: [(&str, &str, i32); 5] = [
    ("alice", "team", 1),
    ("o'brien", "team", 2),
    ("carol", "team", 4),
    ("alice", "o'neil", 1),
    ("bob", "lounge", 0),
];
const HEADERS: &str = "X-Colour: it's \\ \"red\"\r\nSubject: t\u{e9}\r\n";

/// INSERTs of all rows; `text` and `blob` spell bytes as literals.
fn rows(text: fn(&[u8]) -> String, blob: fn(&[u8]) -> String) -> String {
    let text = |value: &str| text(value.as_bytes());
    let (mut sql, domain) = (String::new(), text("127.0.0.1"));
    let mut insert = |table: &str, columns: &str, values: &[String]| {
        sql +=
            &format!("INSERT INTO {table} (domain, {columns}) VALUES ({domain}, {});\n", values.join(", "));
    };
    for (name, flag) in ROOMS {
        insert("imc_rooms", "name, flag", &[text(name), flag.to_string()]);
    }
    for (who, room, flag) in MEMBERS {
        let room = text(&format!("sip:{room}@127.0.0.1"));
        insert("imc_members", "username, room, flag", &[text(who), room, flag.to_string()]);
    }
    for (n, password) in PASSWORDS.iter().enumerate() {
        insert("subscriber", "username, password", &[text(&format!("user{n}")), text(password)]);
    }
    for body in bodies() {
        let (from, to) = (text("sip:o'brien@127.0.0.1"), text("bob"));
        let values = [from, to, text(HEADERS), blob(&body), blob(&body)];
        insert("silo", "src_addr, username, extra_hdrs, body, more", &values);
    }
    sql
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Imports the dump into a daemon of its own, and looks at every row.
fn is_whole(dump: &[u8], how: &[&str]) {
    let ours = Daemon::open();
    let dir = tempfile::tempdir().expect("a directory for the dump");
    let path = dir.path().join("dump.sql");
    std::fs::write(&path, dump).expect("the dump is written");
    let source = format!("dump:{}", path.display());
    for noun in ["subscriber", "imc", "silo"] {
        let told = ours.imcctl(&["import", noun, &source]);
        assert!(!told.contains("skipped"), "{how:?}: {told}");
    }
    let hashes: Vec<String> = PASSWORDS
        .iter()
        .enumerate()
        .map(|(n, password)| {
            let ha1 = md5::Md5::digest(format!("user{n}:127.0.0.1:{password}"));
            format!("user{n} {}", hex(&ha1))
        })
        .collect();
    let accounts = "SELECT username || ' ' || md5 FROM account WHERE md5 IS NOT NULL ORDER BY id";
    assert_eq!(ours.rows(accounts), hashes, "{how:?}");
    let rooms = ROOMS.map(|(name, flag)| format!("{name} {flag}"));
    assert_eq!(ours.rows("SELECT name || ' ' || flag FROM imc_rooms ORDER BY id"), rooms, "{how:?}");
    let mut members = MEMBERS.map(|(who, room, flag)| format!("{who} sip:{room}@127.0.0.1 {flag}"));
    members.sort();
    let sql = "SELECT username || ' ' || room || ' ' || flag AS line FROM imc_members ORDER BY line";
    assert_eq!(ours.rows(sql), members, "{how:?}");
    let letters: Vec<String> = bodies().iter().map(|body| hex(body)).collect();
    assert_eq!(ours.rows("SELECT lower(hex(body)) FROM log ORDER BY seq"), letters, "{how:?}");
    assert_eq!(
        ours.rows("SELECT DISTINCT headers || peer FROM log"),
        [format!("{HEADERS}o'brien@127.0.0.1")],
        "{how:?}"
    );
}

#[test]
fn every_row_of_a_mariadb_is_here() {
    if !databases_installed() {
        return;
    }
    let theirs = Database::maria();
    let tables = TABLES.replace("{serial}", "INT UNSIGNED AUTO_INCREMENT").replace("{blob}", "BLOB");
    theirs.sql(&tables.replace("{bits}", "b'1010'"));
    let literal: fn(&[u8]) -> String = |bytes| format!("X'{}'", hex(bytes));
    theirs.sql(&rows(literal, literal));
    // Statements within statements, which are nobody's rows.
    theirs.sql(
        "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN\nINSERT INTO subscriber (username, password) VALUES ('evil', 'x'); \
         -- don't\nEND;;\nCREATE TRIGGER t BEFORE DELETE ON silo FOR EACH ROW BEGIN\n\
         INSERT INTO imc_rooms VALUES (9, 0, 'it''s', 'evil'); END;;\nDELIMITER ;\n",
    );
    for options in [
        &[][..],
        &["--skip-extended-insert", "--hex-blob", "--routines"],
        &["--complete-insert", "--no-create-info", "--routines"],
        &["--skip-opt", "--compact", "--insert-ignore"],
        &["--skip-quote-names", "--replace", "--hex-blob"],
    ] {
        is_whole(&theirs.dump(options), options);
    }
}

#[test]
fn every_row_of_a_postgresql_is_here() {
    if !databases_installed() {
        return;
    }
    let theirs = Database::postgres();
    let tables = TABLES.replace("{serial}", "SERIAL").replace("{blob}", "BYTEA");
    theirs.sql(&tables.replace("{bits}", "B'1010'"));
    theirs.sql(&rows(
        |bytes| format!("convert_from('\\x{}', 'UTF8')", hex(bytes)),
        |bytes| format!("'\\x{}'", hex(bytes)),
    ));
    theirs.sql(
        "CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN\nINSERT INTO subscriber (username, password) VALUES ('evil', 'x');\n\
         RETURN new; END $$ LANGUAGE plpgsql;\nCOMMENT ON TABLE silo IS 'it''s; \\';\nCREATE SCHEMA other;\n\
         CREATE TABLE other.subscriber (username TEXT, more INTEGER);\n\
         ALTER TABLE subscriber ADD COLUMN twice TEXT GENERATED ALWAYS AS (username || '''') STORED;\n",
    );
    for options in [
        &[][..],
        &["--inserts"],
        &["--column-inserts", "--quote-all-identifiers"],
        &["--rows-per-insert=5", "--clean", "--if-exists"],
        &["--data-only"],
    ] {
        is_whole(&theirs.dump(options), options);
    }
    // The same as the server spells it for who asks it to: blobs in the old form, backslashes that escape.
    theirs.sql(
        "ALTER DATABASE kamailio SET bytea_output = 'escape'; ALTER DATABASE kamailio SET standard_conforming_strings = off;",
    );
    for options in [&[][..], &["--inserts"], &["--data-only"]] {
        is_whole(&theirs.dump(options), options);
    }
}
