//! The shape of the database: numbered migrations, the peers' tables, and the adoption of rows that a peer wrote.
//!
//! Prevents that an update loses data, and that rooms of a former installation are not seen. Never drops a column
//! or a room of the peers.

use rusqlite::Connection;

use super::sqlite::fault;
use crate::refusal::Fault;

/// In order; the number of those applied is `PRAGMA user_version`. Only ever append.
const MIGRATIONS: &[&str] = &[
    include_str!("../../sql/sqlite/0001_the_log.sql"),
    include_str!("../../sql/sqlite/0002_people.sql"),
    include_str!("../../sql/sqlite/0003_archive.sql"),
    include_str!("../../sql/sqlite/0004_offline.sql"),
    include_str!("../../sql/sqlite/0005_names.sql"),
    include_str!("../../sql/sqlite/0006_roster.sql"),
    include_str!("../../sql/sqlite/0007_presence.sql"),
    include_str!("../../sql/sqlite/0008_pictures.sql"),
    include_str!("../../sql/sqlite/0009_domains.sql"),
    include_str!("../../sql/sqlite/0010_imported.sql"),
];
const IMC: &str = include_str!("../../sql/sqlite/imc.sql");
const IMC_INDEXES: &str = include_str!("../../sql/sqlite/imc_indexes.sql");
const ADOPT: &str = include_str!("../../sql/sqlite/adopt.sql");

/// Our columns in the peers' tables. Nullable, so that the peers can go on inserting.
const ROOM_COLUMNS: &[(&str, &str)] = &[("conversation", "INTEGER")];
const MEMBER_COLUMNS: &[(&str, &str)] =
    &[("account", "INTEGER"), ("inviter", "TEXT"), ("invited_at", "INTEGER")];

/// Names of the peers' tables, known to be plain identifiers, so that they may stand in a statement.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    rooms: String,
    members: String,
}

impl Tables {
    /// Refuses what is not a plain identifier of at most 63 characters, or is one of our own tables.
    pub(super) fn new(rooms: &str, members: &str) -> Result<Tables, Fault> {
        const OURS: &[&str] = &[
            "accepted",
            "account",
            "avatar",
            "binding",
            "blocked",
            "conversation",
            "device",
            "domain",
            "imported",
            "later",
            "log",
            "meta",
            "publication",
            "question",
            "receipt",
            "roster",
            "setting",
            "span",
            "status",
            "subscription",
        ];
        for name in [rooms, members] {
            let mut chars = name.chars();
            let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.len() <= 63;
            let lower = name.to_ascii_lowercase();
            if !plain || lower.starts_with("sqlite_") || OURS.contains(&lower.as_str()) {
                return Err(Fault::Internal(format!("{name:?} cannot be the name of a table")));
            }
        }
        if rooms.eq_ignore_ascii_case(members) {
            return Err(Fault::Internal("rooms_table and members_table are the same".into()));
        }
        Ok(Tables { rooms: rooms.into(), members: members.into() })
    }

    /// Puts the names into a statement.
    pub(super) fn fill(&self, sql: &str) -> String {
        sql.replace("{rooms}", &self.rooms).replace("{members}", &self.members)
    }
}

/// Whether it is a database of ours that this daemon can read, and has these tables of the peers. The error says why not.
pub(super) fn known(conn: &Connection, peers: &[&str]) -> Result<(), String> {
    let told = |error: rusqlite::Error| error.to_string();
    let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(told)?;
    let there = |table: &str| {
        conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1))",
            [table],
            |row| row.get::<_, bool>(0),
        )
        .map_err(told)
    };
    for table in ["log", "conversation", "account", "span", "device", "meta"] {
        if version < 1 || !there(table)? {
            return Err("is no database of imcd".into());
        }
    }
    if version > MIGRATIONS.len() as i64 {
        return Err(newer(version));
    }
    for table in peers {
        if !there(table)? {
            return Err(format!("has no table {table}; was [imc] in the configuration another one then?"));
        }
    }
    Ok(())
}

fn newer(version: i64) -> String {
    let ours = MIGRATIONS.len();
    format!("the database has schema {version}, this daemon knows {ours}: it was written by a newer one")
}

/// Brings the file to the present shape and takes in what the peers wrote. One transaction: all or nothing.
pub(super) fn prepare(conn: &mut Connection, tables: &Tables) -> Result<(), Fault> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fault)?;
    let version = version.max(0) as usize;
    if version > MIGRATIONS.len() {
        return Err(Fault::Corrupt(newer(version as i64)));
    }
    for sql in &MIGRATIONS[version..] {
        tx.execute_batch(sql).map_err(fault)?;
    }
    tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64).map_err(fault)?;
    tx.execute_batch(&tables.fill(IMC)).map_err(fault)?;
    add_columns(&tx, &tables.rooms, ROOM_COLUMNS).map_err(fault)?;
    add_columns(&tx, &tables.members, MEMBER_COLUMNS).map_err(fault)?;
    tx.execute_batch(&tables.fill(IMC_INDEXES)).map_err(fault)?;
    let foreign: bool = tx
        .query_row(
            &tables.fill(
                "SELECT EXISTS (SELECT 1 FROM {rooms} WHERE conversation IS NULL)
                     OR EXISTS (SELECT 1 FROM {members} WHERE account IS NULL)",
            ),
            [],
            |row| row.get(0),
        )
        .map_err(fault)?;
    if foreign {
        let head = head(&tx).map_err(fault)?;
        tx.execute_batch(&tables.fill(ADOPT).replace(":head", &head.to_string())).map_err(fault)?;
    }
    tx.commit().map_err(fault)
}

fn add_columns(conn: &Connection, table: &str, columns: &[(&str, &str)]) -> rusqlite::Result<()> {
    let mut there = conn.prepare(&format!("PRAGMA table_info({table})"))?;
    let there: Vec<String> = there.query_map([], |row| row.get(1))?.collect::<Result<_, _>>()?;
    for (name, kind) in columns {
        if !there.iter().any(|column| column.eq_ignore_ascii_case(name)) {
            conn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {kind}"))?;
        }
    }
    Ok(())
}

/// The highest seq ever given out, as far as anybody can still remember it.
///
/// The log alone does not know: its newest entries may have been trimmed. A seq given out twice would be taken
/// for delivered by every device that is past it.
pub(super) fn head(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(
        "SELECT max(coalesce((SELECT max(seq) FROM log), 0),
                    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'head'), 0))",
        [],
        |row| row.get(0),
    )
}
