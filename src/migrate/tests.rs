use proptest::prelude::*;

use super::*;
use crate::types::Aor;

/// What a reader found of a table: columns `wanted` of each row, or why it is none.
fn shown(found: &[Found], table: Table, wanted: &[&str]) -> Vec<Result<String, Why>> {
    let cells = |row: &Row| {
        let cell = |name: &&str| {
            row.bytes(name).map_or("NULL".into(), |cell| String::from_utf8_lossy(cell).into_owned())
        };
        wanted.iter().map(cell).collect::<Vec<_>>().join("|")
    };
    found.iter().filter(|f| f.table == table).map(|f| f.row.as_ref().map(cells).map_err(|why| *why)).collect()
}

fn text(table: Table, file: &[u8]) -> Result<Vec<Found>, Unreadable> {
    let mut all = Vec::new();
    read_text(file, table, &mut |found| {
        all.push(found);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

fn dump(file: &[u8]) -> (Vec<Table>, Vec<Found>) {
    let mut all = Vec::new();
    let seen = read_dump(file, &Table::ALL, &mut |found| {
        all.push(found);
        ControlFlow::Continue(())
    });
    (seen.unwrap(), all)
}

const KAMAILIO_MEMBERS: &[&str] = &["id", "username", "domain", "room", "flag"];

#[test]
fn a_table_of_db_text_is_read_with_its_escapes() {
    let file = b"id(int,auto) username(string) domain(string) room(string) flag(int) \n\
        1:alice:ex.org:sip\\:chat-1@ex.org:1\n\n2:b\\\\o\\:b\\n\\t\\0\\r:ex.org::4\r\n";
    let found = text(Table::Members, file).unwrap();
    assert_eq!(
        shown(&found, Table::Members, KAMAILIO_MEMBERS),
        [Ok("1|alice|ex.org|sip:chat-1@ex.org|1".into()), Ok("2|b\\o:b\n\t\0\r|ex.org|NULL|4".into())]
    );
    assert_eq!(found.iter().map(|f| f.at).collect::<Vec<_>>(), [1, 2]);
    // Without a line feed at the end, types in other spellings, columns in another order.
    let found = text(Table::Rooms, b"flag(INT,null) Domain (str)\tname(string)\n:ex.org:a").unwrap();
    assert_eq!(
        shown(&found, Table::Rooms, &["name", "domain", "flag", "id"]),
        [Ok("a|ex.org|NULL|NULL".into())]
    );
}

#[test]
fn a_row_of_db_text_that_is_none_is_told_and_the_next_one_read() {
    let file =
        b"id(int,auto) name(string) domain(string) flag(int)\n1:a:ex.org\n2:a:ex.org:0:0\n3:a\\x:ex.org:0\n\
        4:a:ex.org:0\n5:a:ex.org:\\";
    let wrong = Err("not as many values as columns");
    let escapes = Err("a backslash that escapes nothing");
    let found = shown(&text(Table::Rooms, file).unwrap(), Table::Rooms, &["id"]);
    assert_eq!(found, [wrong.clone(), wrong, escapes.clone(), Ok("4".into()), escapes]);
    let long = [b"name(string)\n".as_slice(), &vec![b'x'; CELL_MAX + 1], b"\nb\n"].concat();
    let found = shown(&text(Table::Rooms, &long).unwrap(), Table::Rooms, &["name"]);
    assert_eq!(found, [Err("a value is too long"), Ok("b".into())]);
    for no_columns in
        [b"".as_slice(), b"\n", b"id name\n", b"id(int) name(", b"(int)", b"\xff(int)", b"id() x(int)"]
    {
        assert!(matches!(text(Table::Rooms, no_columns), Err(Unreadable::Shape(_))), "{no_columns:?}");
    }
}

#[test]
fn a_dump_of_mysql_is_read_with_its_escapes() {
    let file = br#"-- MySQL dump 10.13  Distrib 8.0
/*!40101 SET NAMES utf8 */;
DROP TABLE IF EXISTS `imc_rooms`;
CREATE TABLE `imc_rooms` (
  `id` int(10) unsigned NOT NULL AUTO_INCREMENT,
  `domain` varchar(64) NOT NULL DEFAULT 'it''s (a, \'b\')',
  `name` varchar(64) NOT NULL,
  `flag` int(11) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `name_domain_idx` (`name`,`domain`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='don''t; \\';
/*!40000 ALTER TABLE `imc_rooms` DISABLE KEYS */;
INSERT INTO `acc` VALUES (1,'it''s); INSERT INTO imc_rooms VALUES (9,\'x\')');
INSERT INTO `imc_rooms` VALUES (1,'ex.org','a',0),(2,'ex.org','b\'c\\\n\0\Z\%\"',-1),
  (3,NULL,'d''e',0x41);
INSERT IGNORE INTO imc_rooms (`name`, flag) VALUES ('f', 1) ON DUPLICATE KEY UPDATE flag = 1;
REPLACE INTO kamailio.imc_rooms (name,domain) VALUES (_utf8mb4'g',X'4142'), (_binary 0x43, 'h');
INSERT INTO `silo` VALUES (1,'sip:a@ex.org','sip:b@ex.org','b','ex.org',1,2,0,'text/plain','hi');
"#;
    let (seen, found) = dump(file);
    assert_eq!(seen, [Table::Rooms, Table::Silo]);
    assert_eq!(
        shown(&found, Table::Rooms, &["id", "domain", "name", "flag"]),
        [
            Ok("1|ex.org|a|0".into()),
            Ok("2|ex.org|b'c\\\n\0\u{1a}\\%\"|-1".into()),
            Ok("3|NULL|d'e|A".into()),
            Ok("NULL|NULL|f|1".into()),
            Ok("NULL|AB|g|NULL".into()),
            Ok("NULL|h|C|NULL".into()),
        ]
    );
    assert_eq!(
        shown(&found, Table::Silo, &["username", "inc_time", "body", "extra_hdrs"]),
        [Ok("b|1|hi|NULL".into())]
    );
}

#[test]
fn a_dump_of_postgresql_is_read_with_copy_and_bytea() {
    let file = br"--
-- PostgreSQL database dump
--
\restrict it's
SET standard_conforming_strings = on;
CREATE FUNCTION public.f() RETURNS text AS $_$ BEGIN RETURN 'it''s; don''t'; END; $_$ LANGUAGE plpgsql;
COMMENT ON TABLE public.acc IS 'back\';
CREATE TABLE public.silo (
    id integer NOT NULL,
    username character varying(64) DEFAULT ''::character varying NOT NULL,
    ctype character varying(32),
    body bytea,
    CONSTRAINT x CHECK ((id > 0))
);
CREATE TABLE public.acc (id integer);
COPY public.acc (id, what) FROM stdin;
1	INSERT INTO imc_rooms VALUES (1,'a','b',0);
\.
COPY public.silo (id, username, body, ctype) FROM stdin;
1	bob	\\x6869c3bc00	text/plain
2	b\\o\tb\055	a\\\\b\\303\\274	\N
3	bob
4	bob	\\x6	text/plain
\.


INSERT INTO public.silo VALUES (5, 'b\o''b', 'text/plain', '\x6869'::bytea), (6, 'c', NULL, NULL);
INSERT INTO public.silo (id, username, body) OVERRIDING SYSTEM VALUE VALUES (7, E'b\\o\'b\n', '\x00'::bytea);
";
    let (seen, found) = dump(file);
    assert_eq!(seen, [Table::Silo]);
    assert_eq!(
        shown(&found, Table::Silo, &["id", "username", "ctype", "body"]),
        [
            Ok("1|bob|text/plain|hi\u{fc}\0".into()),
            Ok("2|b\\o\tb-|NULL|a\\b\u{fc}".into()),
            Err("not as many values as columns"),
            Err("something that is no plain value"),
            Ok("5|b\\o'b|text/plain|hi".into()),
            Ok("6|c|NULL|NULL".into()),
            Ok("7|b\\o'b\n|NULL|\0".into()),
        ]
    );
}

#[test]
fn a_dump_of_sqlite_has_backslashes_that_are_only_that() {
    let (_, found) = dump(
        b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE imc_rooms ( id INTEGER PRIMARY KEY, name VARCHAR(64), \
          flag INTEGER );\nINSERT INTO imc_rooms VALUES(1,'a\\',0);\nINSERT INTO imc_rooms VALUES(2,'b',1.5);\n",
    );
    let rows = shown(&found, Table::Rooms, &["name", "flag"]);
    assert_eq!(rows, [Ok("a\\|0".into()), Ok("b|1.5".into())]);
}

/// Texts of the one table of a file, after what comes before.
fn names(before: &str, rows: &[&str]) -> Vec<Result<String, Why>> {
    let insert = |row: &&str| format!("INSERT INTO silo (body) VALUES ({row});\n");
    let (_, found) = dump((before.to_owned() + &rows.iter().map(insert).collect::<String>()).as_bytes());
    shown(&found, Table::Silo, &["body"])
}

#[test]
fn a_text_with_line_breaks_is_what_sqlite3_means_by_it() {
    // As sqlite3 3.40 writes them, the fourth as 3.50 does.
    let rows = [
        r"replace('x\ny\n','\n',char(10))",
        r"replace(replace('x\r\ny','\r',char(13)),'\n',char(10))",
        r"replace('\n is no \012','\012',char(10))",
        r"unistr('x\u000d\u000a\\u\u00fc')",
    ];
    let texts = ["x\ny\n", "x\r\ny", "\\n is no \n", "x\r\n\\u\u{fc}"];
    assert_eq!(names("PRAGMA foreign_keys=OFF;\n", &rows), texts.map(|text| Ok(text.to_owned())));
    let wrong = [
        r"replace('x','',char(10))",
        r"replace('x','x',char(200))",
        r"replace('x','x')",
        r"unistr('\ud800')",
        r"unistr('\u00')",
        r"unistr('\x')",
        r"upper('x')",
    ];
    let none = || Err("something that is no plain value");
    assert_eq!(names("PRAGMA foreign_keys=OFF;\n", &wrong), wrong.map(|_| none()));
}

#[test]
fn values_that_nobody_wants_cost_no_row() {
    let (_, found) = dump(
        b"INSERT INTO imc_rooms (a,b,c,d,e,name) VALUES (-3.50,-1.5e-10,1e20,b'1010',DEFAULT,'team'),\
          (B'',+1,.5,-1e+999,0xff,'tea'),(1-2-3,0,0,0,0,'x'),(nan,0,0,0,0,'x'),(1 2,0,0,0,0,'x');",
    );
    let none = Err("something that is no plain value");
    assert_eq!(
        shown(&found, Table::Rooms, &["a", "b", "d", "e", "name"]),
        [
            Ok("-3.50|-1.5e-10|1010|NULL|team".into()),
            Ok("|+1|-1e+999|\u{fffd}|tea".into()),
            none.clone(),
            none.clone(),
            none,
        ]
    );
}

#[test]
fn what_a_routine_would_insert_is_no_row() {
    // As mysqldump --routines and pg_dump write them.
    let (_, found) = dump(
        br"-- MariaDB dump 10.19
DELIMITER ;;
CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()
begin insert into imc_rooms values (1,'evil','x',0); insert into imc_rooms values (2,'it''s','x',0); -- don't
end ;;
DELIMITER ;
INSERT INTO `imc_rooms` VALUES (3,'team','x',0);
DELIMITER //
INSERT INTO `imc_rooms` VALUES (4,'never','x',0)//
",
    );
    assert_eq!(shown(&found, Table::Rooms, &["name"]), [Ok("team".into())]);
}

#[test]
fn a_table_that_stands_in_two_schemas_has_the_columns_of_each() {
    let (_, found) = dump(
        b"-- PostgreSQL database dump\nCREATE TABLE public.silo (id int, \"body\" \"bytea\");\n\
          CREATE TABLE other.silo (body text, username text, id int);\n\
          INSERT INTO public.silo VALUES (1, '\\x6869');\nINSERT INTO other.silo VALUES ('\\x6869', 'bob', 2);\n\
          INSERT INTO third.silo VALUES ('c', 'carol', 3);\n",
    );
    let rows = [Ok("1|hi|NULL".into()), Ok("2|\\x6869|bob".into()), Ok("3|c|carol".into())];
    assert_eq!(shown(&found, Table::Silo, &["id", "body", "username"]), rows);
    // Without CREATE TABLE (pg_dump -a) body is bytea, in either of its forms, and a password is what it looks like.
    let (_, found) = dump(
        b"-- PostgreSQL database dump\nCOPY public.silo (id, body) FROM stdin;\n1\t\\\\x\n2\t\\\\x6869\n3\th\\\\303\\\\274\n\\.\n\
          COPY public.subscriber (password) FROM stdin;\n\\\\x41\n\\.\n",
    );
    let rows = [Ok("1|".into()), Ok("2|hi".into()), Ok("3|h\u{fc}".into())];
    assert_eq!(shown(&found, Table::Silo, &["id", "body"]), rows);
    assert_eq!(shown(&found, Table::Subscriber, &["password"]), [Ok("\\x41".into())]);
}

#[test]
fn a_file_that_is_no_sql_is_called_what_it_is() {
    let tar = [vec![b'x'; 257], b"ustar\0".to_vec()].concat();
    let files: [(&[u8], &str); 7] = [
        (b"\x1f\x8b\x08\0", "compressed"),
        (b"\xfd7zXZ\0", "compressed"),
        (b"PGDMP\x01\x0e", "pg_restore"),
        (&tar, "pg_restore"),
        (b"\xff\xfe-\0-\0", "UTF-16"),
        (b"<?xml version=\"1.0\"?>", "--xml"),
        (b"SQLite format 3\0", "sqlite:"),
    ];
    for (file, word) in files {
        let told = read_dump(file, &Table::ALL, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(told.to_string().contains(word), "{word}: {told}");
    }
    let (_, found) = dump("\u{feff}INSERT INTO imc_rooms (name) VALUES ('a');".as_bytes());
    assert_eq!(shown(&found, Table::Rooms, &["name"]), [Ok("a".into())]);
}

#[test]
fn a_row_of_a_dump_that_is_none_is_told_and_the_next_one_read() {
    let (seen, found) = dump(
        b"INSERT INTO imc_rooms VALUES (1,'a','x',0),(now(),'b','x',0),(3,'c'),(4,'d','x',0,0),(),('e' 'f',2,3,4);\n\
          INSERT INTO imc_rooms SELECT * FROM other;\nINSERT INTO subscriber VALUES (1,'a');\n\
          INSERT INTO imc_rooms VALUES (5,'g','x',0;\nINSERT INTO imc_rooms VALUES (6,'h','x',0),(7,'i",
    );
    assert_eq!(seen, [Table::Rooms, Table::Subscriber]);
    let no_value = Err("something that is no plain value");
    let no_columns = Err("the file does not name its columns");
    assert_eq!(
        shown(&found, Table::Rooms, &["id"]),
        [
            Ok("1".into()),
            no_value.clone(),
            no_columns.clone(),
            no_columns.clone(),
            no_value.clone(),
            no_value.clone(),
            no_value.clone(),
            no_value,
            Ok("6".into()),
            Err("the file ends in the middle of it"),
        ]
    );
    assert_eq!(shown(&found, Table::Subscriber, &["id"]), [no_columns]);
    let (_, found) = dump(b"COPY imc_rooms (id, name, domain, flag) FROM stdin;\n1\ta\tx\t0\n");
    let rows = shown(&found, Table::Rooms, &["name"]);
    assert_eq!(rows, [Ok("a".into()), Err("the file ends in the middle of it")]);
}

#[test]
fn what_is_too_long_is_told_and_the_rest_read() {
    let long = "x".repeat(CELL_MAX + 1);
    let file = format!(
        "INSERT INTO imc_rooms VALUES (1,'{long}','x',0),(2,'a','x',0x{long}),(3,'b','x',0);\n\
         COPY imc_rooms (id, name) FROM stdin;\n4\t{long}\n5\tc\n\\.\n"
    );
    let (_, found) = dump(file.as_bytes());
    let rows = shown(&found, Table::Rooms, &["id"]);
    let wrong = Err("a value is too long");
    assert_eq!(rows[0], wrong);
    assert!(rows[1].is_err());
    assert_eq!(rows[2..], [Ok("3".into()), wrong, Ok("5".into())]);
}

#[test]
fn who_has_enough_is_told_no_more() {
    let mut count = 0;
    let mut stop = |_| {
        count += 1;
        ControlFlow::Break(())
    };
    read_dump(
        b"INSERT INTO imc_rooms VALUES (1,'a','x',0),(2,'b','x',0);".as_slice(),
        &Table::ALL,
        &mut stop,
    )
    .unwrap();
    read_text(b"name(string)\na\nb\n".as_slice(), Table::Rooms, &mut stop).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn a_source_is_absolute_and_of_a_kind_that_is_known() {
    let read = |text: &str| Source::parse(text).map(|source| source.to_string());
    assert_eq!(read("sqlite:/a/b.db").as_deref(), Some("sqlite:/a/b.db"));
    assert_eq!(read("SQLite:///a/b.db").as_deref(), Some("sqlite:/a/b.db"));
    assert_eq!(read("text:///etc/db").as_deref(), Some("text:/etc/db"));
    assert_eq!(read("dump:/a:b.sql").as_deref(), Some("dump:/a:b.sql"));
    for wrong in
        ["", "/a/b.db", "sqlite:", "sqlite:b.db", "mysql://root@localhost/x", "dump:/a\0b", "text://"]
    {
        assert_eq!(read(wrong), None, "{wrong:?}");
    }
    assert_eq!(Source::split("dump:x.sql"), Some((Holder::Dump, "x.sql")));
}

// ── what the rows mean ───────────────────────────────────────────────────────────────────────────────────────

fn row(cells: &[(&str, &str)]) -> Row {
    let columns: Columns = cells.iter().map(|(name, _)| Box::from(*name)).collect();
    Row::new(&columns, cells.iter().map(|(_, cell)| Some(cell.as_bytes().to_vec())).collect()).unwrap()
}

fn aor(text: &str) -> Aor {
    Aor::parse(text).unwrap()
}

#[test]
fn rooms_and_members_of_every_generation_are_understood() {
    let room = |cells: &[(&str, &str)]| RoomRow::read(&row(cells), "home.org");
    let team = |private| Ok(RoomRow { address: aor("team@ex.org"), private, id: 0 });
    assert_eq!(room(&[("flag", "1"), ("domain", "ex.org"), ("name", "team")]), team(true));
    assert_eq!(room(&[("name", "team"), ("domain", "ex.org"), ("flag", "0"), ("more", "x")]), team(false));
    assert_eq!(room(&[("name", "team"), ("domain", "ex.org")]), team(false));
    assert_eq!(room(&[("name", "team")]).unwrap().address, aor("team@home.org"));
    assert_eq!(room(&[("name", "team"), ("flag", "3")]), Err(rows::DELETED));
    for name in ["", "a b", "a\r\nX: y", "a@b", "\u{e4}"] {
        assert_eq!(
            room(&[("name", name), ("domain", "ex.org")]),
            Err("its address cannot be one"),
            "{name:?}"
        );
    }
    assert_eq!(room(&[("name", "team"), ("flag", "x")]), Err("a number is missing or none"));

    let member = |user: &str, room: &str, flag: &str| {
        let cells = [("id", "7"), (user, "bob"), ("domain", "ex.org"), ("room", room), ("flag", flag)];
        MemberRow::read(&row(&cells), "home.org").map(|row| (row.room.to_string(), row.flags, row.id))
    };
    let team = |flags| Ok(("team@ex.org".to_owned(), flags, 7));
    assert_eq!(member("username", "sip:team@ex.org", "1"), team(1));
    assert_eq!(member("user", "sip:team@ex.org:5060;transport=udp", "4"), team(4));
    assert_eq!(member("username", "team@ex.org", "18"), team(2));
    assert_eq!(member("username", "sip:team@ex.org", "8"), Err(rows::DELETED));
    assert_eq!(member("username", "tel:+49", "0"), Err("its address cannot be one"));
    assert_eq!(member("name", "sip:team@ex.org", "0"), Err("its address cannot be one"));
}

fn letter(more: &[(&str, &str)]) -> Result<LetterRow, Why> {
    let mut cells = vec![
        ("id", "1"),
        ("src_addr", "sip:alice@ex.org:5070"),
        ("dst_addr", "sip:bob@ex.org"),
        ("username", "bob"),
        ("domain", "ex.org"),
        ("inc_time", "1700000000"),
        ("exp_time", "1700259200"),
        ("snd_time", "0"),
        ("ctype", "text/plain"),
        ("body", "hi"),
    ];
    for (name, cell) in more {
        cells.retain(|(known, _)| known != name);
        cells.push((name, cell));
    }
    LetterRow::read(&row(&cells), "home.org")
}

#[test]
fn a_message_that_waits_keeps_what_may_be_passed_on() {
    let read = letter(&[]).unwrap();
    assert_eq!((&read.recipient, &read.author), (&aor("bob@ex.org"), &aor("alice@ex.org")));
    assert_eq!((read.at, read.expires, read.due), (1_700_000_000, 1_700_259_200, 0));
    assert_eq!((read.content_type.as_deref(), &*read.headers, read.private), (None, "", false));
    let read = letter(&[
        ("ctype", "text/html"),
        (
            "extra_hdrs",
            "X-Foo: bar\r\nP-Asserted-Identity: <sip:alice@ex.org>\r\nPrivacy: id\r\nVia: SIP/2.0/UDP x\r\n\
                        Proxy-Foo: x\r\nSubject: tea\nX-\u{1}: y\r\nX Y: z\r\n folded\r\nnothing\r\n",
        ),
    ])
    .unwrap();
    assert_eq!(read.content_type.as_deref(), Some("text/html"));
    assert_eq!((&*read.headers, read.private), ("X-Foo: bar\r\nSubject: tea\r\n", true));
    let many = "X-A: b\r\n".repeat(2000);
    assert!(letter(&[("extra_hdrs", &many)]).unwrap().headers.len() <= 4096);
    // The owner may be known by the URI alone, times may be nonsense.
    let read = letter(&[("username", ""), ("dst_addr", "sip:carol@ex.org"), ("inc_time", "-5")]).unwrap();
    assert_eq!((read.recipient, read.at), (aor("carol@ex.org"), 0));
    for (column, cell) in [
        ("body", ""),
        ("src_addr", "tel:+49"),
        ("src_addr", ""),
        ("username", "a b"),
        ("inc_time", "soon"),
        ("ctype", "text"),
        ("ctype", "text/plain\r\nX: y"),
        ("ctype", "text/ plain"),
    ] {
        assert!(letter(&[(column, cell)]).is_err(), "{column}: {cell:?}");
    }
}

#[test]
fn the_same_message_is_known_again_and_no_other_is_taken_for_it() {
    let key = |more: &[(&str, &str)]| letter(more).unwrap().key;
    assert_eq!(key(&[]), key(&[("status", "0"), ("callid", "x"), ("exp_time", "1")]));
    for other in [("id", "2"), ("body", "ho"), ("inc_time", "1"), ("src_addr", "sip:carol@ex.org")] {
        assert_ne!(key(&[]), key(&[other]), "{other:?}");
    }
    assert_ne!(key(&[("username", "bo"), ("domain", "bex.org")]), key(&[("username", "bob")]));
}

#[test]
fn an_account_has_hashes_only_where_they_can_be_some() {
    let read = |cells: &[(&str, &str)]| SubscriberRow::read(&row(cells), "home.org");
    let (md5, sha256) = ("AB".repeat(16), "cd".repeat(32));
    let all = [
        ("username", "Alice"),
        ("domain", "Ex.org"),
        ("password", " p "),
        ("ha1", &*md5),
        ("ha1_sha256", &sha256),
    ];
    let account = read(&all).unwrap();
    assert_eq!((account.who.as_str(), &*account.realm), ("Alice@Ex.org", "Ex.org"));
    assert_eq!(account.password.as_deref(), Some(" p "));
    assert_eq!(account.ha1, Some("ab".repeat(16)));
    assert_eq!((account.ha1b, account.ha1_sha256), (None, Some(sha256.clone())));
    // Kamailio's columns hold what its algorithm makes.
    let account = read(&[("username", "bob"), ("ha1", &sha256), ("ha1b", &sha256)]).unwrap();
    assert_eq!((account.ha1, account.ha1_sha256.as_ref()), (None, Some(&sha256)));
    assert_eq!((account.ha1b, account.ha1b_sha256), (None, Some(sha256.clone())));
    assert_eq!(read(&[("username", "bob"), ("ha1", "xyz"), ("password", "")]).unwrap().ha1, None);
    assert_eq!(read(&[("username", "bob")]).unwrap().realm, "home.org");
    assert!(read(&[("username", "bob"), ("password", "a\nb")]).is_err());
    assert!(read(&[("domain", "ex.org")]).is_err());
    let shown = format!("{:?}", read(&all).unwrap());
    assert!(!shown.contains(" p ") && !shown.contains("abab"), "{shown}");
}

#[test]
fn a_report_counts_all_and_names_the_first_twenty() {
    let mut report = Report::default();
    for n in 0..30 {
        report.note(Table::Members, Outcome::Skipped, "why", &format!("row {n}"));
    }
    report.note(Table::Members, Outcome::Skipped, "other", &"x".repeat(2000));
    report.count(Table::Members, Outcome::Read, 31);
    report.count(Table::Rooms, Outcome::Read, 0);
    let lines = report.lines();
    let told: Vec<_> = lines.iter().map(|l| (l.table, l.outcome, l.why, l.rows, l.examples.len())).collect();
    assert_eq!(
        told,
        [
            (Table::Rooms, Outcome::Read, "", 0, 0),
            (Table::Members, Outcome::Read, "", 31, 0),
            (Table::Members, Outcome::Skipped, "why", 30, 20),
            (Table::Members, Outcome::Skipped, "other", 1, 1),
        ]
    );
    assert_eq!(lines[3].examples[0].len(), 600);
}

// ── whatever the file holds ──────────────────────────────────────────────────────────────────────────────────

fn escaped_text(cell: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\t' => b"\\t".to_vec(),
        0 => b"\\0".to_vec(),
        b'\\' | b':' => vec![b'\\', *byte],
        byte => vec![*byte],
    };
    cell.iter().flat_map(escape).collect()
}

fn escaped_mysql(cell: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'\n' => b"\\n".to_vec(),
        0 => b"\\0".to_vec(),
        26 => b"\\Z".to_vec(),
        b'\\' | b'\'' | b'"' => vec![b'\\', *byte],
        byte => vec![*byte],
    };
    cell.iter().flat_map(escape).collect()
}

fn escaped_copy(cell: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\t' => b"\\t".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        byte => vec![*byte],
    };
    cell.iter().flat_map(escape).collect()
}

fn shown_bytes<'f>(found: &'f [Found], column: &str) -> &'f [u8] {
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].row.as_ref().unwrap().bytes(column).unwrap_or_default()
}

fn cell_of(found: &[Found]) -> Vec<u8> {
    shown_bytes(found, "name").to_vec()
}

/// Pieces that dumps are made of, so that random files get further than their first line.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("INSERT INTO imc_rooms VALUES ".to_owned()),
        Just("INSERT INTO `silo` (id,`body`) VALUES ".to_owned()),
        Just("COPY imc_rooms (id, name) FROM stdin;\n".to_owned()),
        Just("CREATE TABLE imc_rooms (id int, body bytea".to_owned()),
        Just("-- PostgreSQL\n".to_owned()),
        Just("SET standard_conforming_strings = on;".to_owned()),
        Just("\\.\n".to_owned()),
        Just("$a$".to_owned()),
        Just("/*!".to_owned()),
        Just("*/".to_owned()),
        Just("X'41'".to_owned()),
        Just("0x4".to_owned()),
        "[(),;'\"`\\\\:.\t\n -]{1,3}",
        "[a-z0-9]{1,3}",
    ];
    let pieces = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![pieces, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn whatever_a_value_holds_comes_back(cell in prop::collection::vec(any::<u8>(), 1..40)) {
        // A carriage return at the end of a line is the line's: db_text escapes it, COPY too.
        let file = [b"name(string) flag(int)\n".as_slice(), &escaped_text(&cell), b":1\n"].concat();
        prop_assert_eq!(&cell_of(&text(Table::Rooms, &file).unwrap()), &cell);
        let file = [b"INSERT INTO imc_rooms (name) VALUES ('".as_slice(), &escaped_mysql(&cell), b"');"].concat();
        prop_assert_eq!(&cell_of(&dump(&file).1), &cell);
        let hex: String = cell.iter().map(|byte| format!("{byte:02x}")).collect();
        for blob in [format!("0x{hex}"), format!("X'{hex}'"), format!("x'{hex}'")] {
            let file = format!("INSERT INTO imc_rooms (name) VALUES ({blob});");
            prop_assert_eq!(&cell_of(&dump(file.as_bytes()).1), &cell);
        }
        let copy = |head: &[u8], cell: &[u8]| [b"COPY ".as_slice(), head, b" FROM stdin;\n", cell, b"\n\\.\n"].concat();
        let blob = dump(&copy(b"silo (body)", format!("\\\\x{hex}").as_bytes())).1;
        prop_assert_eq!(shown_bytes(&blob, "body"), cell.as_slice());
        prop_assert_eq!(&cell_of(&dump(&copy(b"imc_rooms (name)", &escaped_copy(&cell))).1), &cell);
    }

    #[test]
    fn no_file_breaks_a_reader_or_a_row(file in pieces()) {
        let mut found = dump(&file).1;
        let _ = Source::parse(&String::from_utf8_lossy(&file));
        let with_head = [b"id(int) name(string) username(string) room(string) body(string)\n".as_slice(), &file].concat();
        for table in Table::ALL {
            found.extend(text(table, &file).unwrap_or_default());
            found.extend(text(table, &with_head).unwrap());
        }
        for row in found.iter().filter_map(|found| found.row.as_ref().ok()) {
            let _ = RoomRow::read(row, "ex.org");
            let _ = MemberRow::read(row, "ex.org");
            let _ = SubscriberRow::read(row, "ex.org");
            if let Ok(letter) = LetterRow::read(row, "ex.org") {
                prop_assert!(letter.headers.is_empty() || letter.headers.ends_with("\r\n"));
            }
        }
    }

    #[test]
    fn no_header_line_gets_out_of_its_line(lines in "[A-Za-z:\\-\r\n\t \u{0}é]{0,120}") {
        let read = letter(&[("extra_hdrs", &lines)]).unwrap();
        for line in read.headers.split_terminator("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            prop_assert!(!name.is_empty() && !name.contains(char::is_whitespace));
            prop_assert!(!value.contains(char::is_control), "{:?}", value);
        }
    }
}
