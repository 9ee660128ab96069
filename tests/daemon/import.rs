//! Moving from another server (spec §7, `import`): its files are read, what is in them is here, and once only.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::kit::{Daemon, PATIENCE, Setup, disk};

fn done(daemon: &Daemon, args: &[&str]) -> Value {
    let output = daemon.imcctl(&[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A report in short: `table outcome rows why: examples`.
fn report(daemon: &Daemon, args: &[&str]) -> Vec<String> {
    let lines = done(daemon, args);
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let short = |line: &Value| {
        let examples: Vec<_> =
            line["examples"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
        let (table, outcome, why) = (text(line, "table"), text(line, "outcome"), text(line, "why"));
        format!("{table} {outcome} {} {why}: {}", line["rows"], examples.join(", ")).replace(" : ", ": ")
    };
    let short = |line: &Value| short(line).trim_end_matches([':', ' ']).to_owned();
    lines.as_array().unwrap().iter().map(short).collect()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sqlite(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// The same rooms and members in four kinds of file; the arguments of `import imc`.
fn imc_files(dir: &Path) -> Vec<String> {
    let rooms = [
        (1, "team", "example.org", 1),
        (2, "lounge", "localhost", 0),
        (3, "gone", "example.org", 2),
        (4, "theirs", "other.net", 0),
        (5, "a b", "example.org", 0),
    ];
    let members = [
        (3, "carol", "example.org", "sip:team@example.org", 4),
        (1, "alice", "example.org", "sip:team@example.org", 1),
        (2, "bob", "localhost", "sip:team@example.org", 2),
        (4, "dave", "other.net", "sip:team@example.org", 0),
        (5, "erin", "example.org", "sip:team@example.org", 8),
        (6, "alice", "example.org", "sip:nowhere@example.org", 1),
        (7, "alice", "example.org", "sip:team@example.org", 0),
    ];
    let quoted = |quote: &str| {
        let rooms = rooms.map(|(id, name, domain, flag)| format!("({id},'{name}','{domain}',{flag})"));
        let members = members
            .map(|(id, name, domain, room, flag)| format!("({id},'{name}','{domain}','{room}',{flag})"));
        let insert = |table: &str, rows: &[String]| {
            format!("INSERT INTO {quote}{table}{quote} VALUES {};\n", rows.join(","))
        };
        insert("imc_rooms", &rooms) + &insert("imc_members", &members)
    };
    // Kamailio's own schema for SQLite.
    let schema = "CREATE TABLE imc_rooms (id INTEGER PRIMARY KEY NOT NULL, name VARCHAR(64) NOT NULL,
        domain VARCHAR(64) NOT NULL, flag INTEGER NOT NULL,
        CONSTRAINT imc_rooms_name_domain_idx UNIQUE (name, domain));
        CREATE TABLE imc_members (id INTEGER PRIMARY KEY NOT NULL, username VARCHAR(64) NOT NULL,
        domain VARCHAR(64) NOT NULL, room VARCHAR(64) NOT NULL, flag INTEGER NOT NULL);";
    sqlite(&dir.join("kamailio.db"), &format!("{schema}{}", quoted("")));
    std::fs::write(
        dir.join("my.sql"),
        format!("-- MySQL dump 10.13\n/*!40101 SET NAMES utf8 */;\n{}", quoted("`")),
    )
    .unwrap();
    let copy =
        |head: &str, rows: &[String]| format!("COPY public.{head} FROM stdin;\n{}\n\\.\n\n", rows.join("\n"));
    let pg = "--\n-- PostgreSQL database dump\n--\n\nSET standard_conforming_strings = on;\n\n".to_owned()
        + &copy(
            "imc_rooms (flag, id, name, domain)",
            &rooms.map(|(id, name, domain, flag)| format!("{flag}\t{id}\t{name}\t{domain}")),
        )
        + &copy(
            "imc_members (id, username, domain, room, flag)",
            &members.map(|(id, name, domain, room, flag)| format!("{id}\t{name}\t{domain}\t{room}\t{flag}")),
        );
    std::fs::write(dir.join("pg.sql"), pg).unwrap();
    let text = dir.join("dbtext");
    std::fs::create_dir(&text).unwrap();
    let lines = rooms.map(|(id, name, domain, flag)| format!("{id}:{name}:{domain}:{flag}\n")).concat();
    std::fs::write(
        text.join("imc_rooms"),
        "id(int,auto) name(string) domain(string) flag(int) \n".to_owned() + &lines,
    )
    .unwrap();
    let lines = members.map(|(id, name, domain, room, flag)| {
        format!("{id}:{name}:{domain}:{}:{flag}\n", room.replace(':', "\\:"))
    });
    let head = "id(int,auto) username(string) domain(string) room(string) flag(int) \n";
    std::fs::write(text.join("imc_members"), head.to_owned() + &lines.concat()).unwrap();
    let dir = dir.display();
    vec![
        format!("sqlite:{dir}/kamailio.db"),
        format!("dump:{dir}/my.sql"),
        format!("dump://{dir}/pg.sql"),
        format!("text:{dir}/dbtext"),
    ]
}

#[test]
fn rooms_and_members_come_from_every_kind_of_file_and_once_only() {
    let files = tempfile::tempdir().unwrap();
    let skipped = [
        "imc_rooms skipped 1 it was deleted there: row 3",
        "imc_rooms skipped 1 its address cannot be one: row 5",
        "imc_rooms skipped 1 its domain is not served here: theirs@other.net",
    ];
    let lost = [
        "imc_members skipped 1 it was deleted there: row 5",
        "imc_members skipped 1 its domain is not served here, and nothing goes out to others: \
         dave@other.net in team@example.org",
        "imc_members skipped 1 there is no such room: alice@example.org in nowhere@example.org",
    ];
    for url in imc_files(files.path()) {
        let mut daemon = Daemon::open();
        let carol = daemon.udp("carol");
        let sure = |made: &str| -> Vec<String> {
            let mut lines = vec!["imc_rooms read 5".to_owned(), format!("imc_rooms {made} 2")];
            lines.extend(skipped.map(str::to_owned));
            lines.extend(["imc_members read 7".to_owned(), format!("imc_members {made} 3")]);
            lines.push("imc_members already there 1".to_owned());
            lines.extend(lost.map(str::to_owned));
            lines
        };
        assert_eq!(report(&daemon, &["import", "imc", &url, "--dry-run"]), sure("would be made"), "{url}");
        assert_eq!(done(&daemon, &["room", "list"]), json!([]), "{url}");
        assert_eq!(report(&daemon, &["import", "imc", &url]), sure("made"), "{url}");
        daemon.kill_and_restart();
        let rooms = json!([
            { "room": "lounge@example.org", "title": "", "owner": "", "private": false, "members": 0, "invited": 0 },
            { "room": "team@example.org", "title": "", "owner": "alice@example.org", "private": true,
              "members": 2, "invited": 1 },
        ]);
        assert_eq!(done(&daemon, &["room", "list"]), rooms, "{url}");
        let members = json!([
            { "user": "alice@example.org", "role": "owner" },
            { "user": "bob@example.org", "role": "admin" },
            { "user": "carol@example.org", "role": "invited" },
        ]);
        assert_eq!(done(&daemon, &["member", "list", "team"]), members, "{url}");
        let again = report(&daemon, &["import", "imc", &url]);
        assert_eq!(again[1], "imc_rooms already there 2: team@example.org, lounge@localhost", "{url}");
        assert!(again.contains(&"imc_members made 0".to_owned()), "{again:?}");
        assert!(again.contains(&"imc_members already there 4".to_owned()), "{again:?}");
        assert_eq!(done(&daemon, &["member", "list", "team"]), members, "{url}");
        let stats = done(&daemon, &["stats", "active_rooms"]);
        assert_eq!(stats[0]["value"], 2);

        // They are members as any others, and nobody was told.
        let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
        alice.expect(202, "team", "we have moved");
        bob.hears("[alice]: we have moved");
        assert_eq!(bob.texts(), ["[alice]: we have moved"]);
        carol.back();
        carol.expect(202, "team", "#accept");
        carol.hears("*** [carol] has joined the room");
        assert_eq!(carol.texts(), ["*** [carol] has joined the room"]);
    }
}

#[test]
fn what_is_here_stays_as_it_is() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.expect(202, "team", "#create");
    let files = tempfile::tempdir().unwrap();
    let url = &imc_files(files.path())[1];
    // An account of that name, and a person who is a room here.
    alice.expect(202, "carol", "#create");
    let _lounge = daemon.udp("lounge");
    let told = report(&daemon, &["import", "imc", url]);
    for line in [
        "imc_rooms already there 1 it is as private as it is here: team@example.org",
        "imc_rooms skipped 1 it is an account: lounge@localhost",
        "imc_members changed 1 an admin: the room has an owner here: alice@example.org in team@example.org",
        "imc_members skipped 1 it is a room: carol@example.org in team@example.org",
    ] {
        assert!(told.contains(&line.to_owned()), "{line}: {told:#?}");
    }
    let members = json!([
        { "user": "bob@example.org", "role": "owner" },
        { "user": "alice@example.org", "role": "admin" },
    ]);
    assert_eq!(done(&daemon, &["member", "list", "team"]), members);
    assert_eq!(done(&daemon, &["room", "show", "team"])["private"], false);
    assert!(alice.texts().iter().all(|text| !text.contains("joined")), "{:?}", alice.texts());
}

#[test]
fn messages_that_wait_are_delivered_once() {
    let mut daemon = Setup::new().set("offline.prefix", "\"always\"").start();
    let files = tempfile::tempdir().unwrap();
    let (now, soon) = (seconds(), seconds() + 86400);
    let said = now - 7200;
    let path = files.path().join("silo.db");
    sqlite(
        &path,
        &format!(
            "CREATE TABLE silo (id INTEGER PRIMARY KEY NOT NULL, src_addr VARCHAR(255) NOT NULL DEFAULT '',
                dst_addr VARCHAR(255) NOT NULL DEFAULT '', username VARCHAR(64), domain VARCHAR(64), inc_time INTEGER,
                exp_time INTEGER, snd_time INTEGER, ctype VARCHAR(32), body BLOB, extra_hdrs TEXT);
             INSERT INTO silo VALUES
                (1, 'sip:alice@example.org', 'sip:bob@example.org', 'bob', 'example.org', {said}, {soon}, 0, 'text/plain',
                 x'68c3bc', 'X-Colour: red' || char(13, 10) || 'P-Asserted-Identity: <sip:mallory@example.org>' || char(13, 10)),
                (2, 'sip:team@example.org', 'sip:bob@example.org', 'bob', 'example.org', {said}, {soon}, 0, 'text/plain',
                 '[alice]: tea?', NULL),
                (3, 'sip:alice@example.org', 'sip:bob@example.org', 'bob', 'example.org', {said}, {now}, 0, 'text/plain',
                 'too late', NULL),
                (4, 'sip:alice@other.net', 'sip:bob@other.net', 'bob', 'other.net', {said}, {soon}, 0, 'text/plain',
                 'not ours', NULL),
                (5, 'sip:alice@example.org', 'sip:bob@example.org', 'bob', 'example.org', {said}, {soon}, {said},
                 'text/plain', 'the train', NULL),
                (6, 'sip:bob@example.org', 'sip:bob@example.org', 'bob', 'example.org', {said}, {soon}, {soon},
                 'text/plain', 'the concert', NULL),
                (7, 'tel:+49', 'sip:bob@example.org', 'bob', 'example.org', {said}, {soon}, 0, 'text/plain', 'x', NULL),
                (8, 'sip:alice@example.org', 'sip:bob@example.org', 'bob', 'example.org', {said}, {soon}, 0,
                 'application/im-iscomposing+xml', '<x/>', NULL),
                (9, 'sip:carol@elsewhere.net', 'sip:dave@example.org', 'dave', 'example.org', {said}, {soon}, 0,
                 'text/html', '<b>hi</b>', NULL);"
        ),
    );
    let url = format!("sqlite:{}", path.display());
    let told = |made: &str| {
        [
            "silo read 9".to_owned(),
            format!("silo {made} 5"),
            "silo skipped 1 its address cannot be one: row 7".into(),
            "silo skipped 1 its time is over: to bob@example.org from alice@example.org".into(),
            "silo skipped 1 its domain is not served here: to bob@other.net from alice@other.net".into(),
            "silo skipped 1 it is a typing notice or a receipt: to bob@example.org from alice@example.org"
                .into(),
        ]
    };
    assert_eq!(report(&daemon, &["import", "silo", &url, "--dry-run"]), told("would be made"));
    assert_eq!(report(&daemon, &["import", "silo", &url]), told("made"));
    daemon.kill_and_restart();
    assert_eq!(report(&daemon, &["import", "silo", &url])[2], "silo already there 5");
    let bob = daemon.udp("bob");
    let first = bob.hears_that("what alice wrote", |said| said.text().ends_with("] hü"));
    assert!(first.text().starts_with("[Offline message - "), "{}", first.text());
    assert_eq!((&*first.sender_user(), first.header("X-Colour")), ("alice", "red"));
    assert!(!format!("{first:?}").contains("mallory"), "{first:?}");
    let second = bob.hears_that("what the room said", |said| said.text().ends_with("] [alice]: tea?"));
    assert_eq!(second.sender_user(), "team");
    bob.hears_that("what is due", |said| {
        said.text().contains("[Reminder message - ") && said.text().ends_with("] the train")
    });
    bob.expect(202, "chat-manager", "#reminders");
    bob.hears_that("what is not due yet", |said| said.text().ends_with(": the concert"));
    let dave = daemon.udp("dave");
    let html = dave.hears_that("what came from elsewhere", |said| said.text().contains("hi"));
    assert_eq!(html.sender_user(), "carol");

    // What was taken is not said again, however often the file is read.
    assert_eq!(report(&daemon, &["import", "silo", &url])[1], "silo made 0");
    bob.never_heard("too late");
    assert_eq!(bob.texts().iter().filter(|text| text.ends_with("] hü")).count(), 1, "{:?}", bob.texts());
    // It is in the recipient's history, where search finds it.
    bob.expect(202, "chat-manager", "#history with alice");
    bob.hears_that("what she wrote", |said| said.text().contains("hü") && said.text().contains("[alice]"));
}

#[test]
fn accounts_log_in_with_the_passwords_they_had() {
    let daemon = Setup::new().digest().start();
    daemon.account("erin", "secret");
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("kamailio.sql");
    // H(alice:example.org:secret) and H(alice@example.org:example.org:secret), and others of the same kind.
    std::fs::write(
        &path,
        "CREATE TABLE `subscriber` (`id` int, `username` char(64), `domain` char(64), `password` char(25), `ha1` char(64), \
            `ha1b` char(64), PRIMARY KEY (`id`));\n\
         INSERT INTO `subscriber` VALUES \
            (1,'alice','example.org','','1adcec49fe6cb1ae5e3f73a4a6f25b36','1B6F3AA7C98A5D8A3B2E4B6E1C0C0D11'),\
            (2,'bob','example.org','it\\'s',NULL,''),\
            (3,'carol','localhost','','d41d8cd98f00b204e9800998ecf8427e',''),\
            (4,'dave','other.net','secret','',''),\
            (5,'erin','example.org','other','',''),\
            (6,'frank','example.org','','',''),\
            (7,'chat-manager','example.org','secret','','');\n"
            .replace("1adcec49fe6cb1ae5e3f73a4a6f25b36", &ha1("alice:example.org:secret"))
            .replace("1B6F3AA7C98A5D8A3B2E4B6E1C0C0D11", &ha1("alice@example.org:example.org:secret").to_uppercase()),
    )
    .unwrap();
    let url = format!("dump:{}", path.display());
    let told = |made: &str| {
        [
            "subscriber read 7".to_owned(),
            format!("subscriber {made} 4"),
            "subscriber changed 1 without a password: its hashes are of another realm: carol@example.org"
                .into(),
            "subscriber changed 1 without a password: frank@example.org".into(),
            "subscriber already there 1: erin@example.org".into(),
            "subscriber skipped 1 its domain is not served here: dave@other.net".into(),
            "subscriber skipped 1 it is the address of the manager: chat-manager@example.org".into(),
        ]
    };
    assert_eq!(report(&daemon, &["import", "subscriber", &url, "--dry-run"]), told("would be made"));
    assert_eq!(done(&daemon, &["account", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(report(&daemon, &["import", "subscriber", &url]), told("made"));
    let passwords: Vec<_> = done(&daemon, &["account", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|line| format!("{} {}", line["account"].as_str().unwrap(), line["password"]))
        .collect();
    assert_eq!(
        passwords,
        ["alice true", "bob true", "carol false", "erin true", "frank false"]
            .map(|line| line.replace(' ', "@example.org "))
    );
    let again = report(&daemon, &["import", "subscriber", &url]);
    assert!(
        again.contains(
            &"subscriber already there 5: alice@example.org, bob@example.org, carol@example.org, \
                             erin@example.org, frank@example.org"
                .to_owned()
        ),
        "{again:#?}"
    );
    // For the realm that they were made for, carol's are good.
    let told = report(&daemon, &["import", "subscriber", &url, "--realm", "example.org"]);
    assert!(told.contains(&"subscriber made 1".to_owned()), "{told:#?}");
    for (name, password) in [("alice", "secret"), ("bob", "it's"), ("erin", "secret")] {
        let phone = daemon.phone(name).password(password).registered();
        phone.expect(202, "team", "#join");
    }
    let log = daemon.log();
    assert!(!log.contains("it's") && !log.contains(&ha1("alice:example.org:secret")), "secrets in the log");
}

#[test]
fn a_dry_run_says_what_the_real_one_does_of_rows_that_stand_there_twice() {
    let daemon = Setup::new().digest().set("auth.algorithms", r#"["SHA-256"]"#).start();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("twice.sql");
    let sha256 = {
        use sha2::Digest;
        let hash = sha2::Sha256::digest(b"alice:example.org:secret");
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let soon = seconds() + 86400;
    std::fs::write(
        &path,
        format!(
            "INSERT INTO subscriber (username,domain,password,ha1) VALUES ('alice','example.org','','{sha256}'),\
                ('bob','example.org','',''),('alice','example.org','other',''),('bob','localhost','secret',''),\
                ('bob','example.org','secret','');
             INSERT INTO silo (id,src_addr,username,domain,exp_time,ctype,body) VALUES \
                (1,'sip:alice@example.org','bob','example.org',{soon},'text/plain','hi'),\
                (1,'sip:alice@example.org','bob','example.org',{soon},'text/plain','hi'),\
                (2,'sip:alice@example.org','bob','example.org',{soon},'text/plain','hi');"
        ),
    )
    .unwrap();
    let url = format!("dump:{}", path.display());
    for (noun, told) in [
        (
            "subscriber",
            [
                "subscriber read 5",
                "subscriber made 3",
                "subscriber changed 1 without a password: bob@example.org",
                "subscriber already there 2: alice@example.org, bob@example.org",
            ]
            .as_slice(),
        ),
        ("silo", &["silo read 3", "silo made 2", "silo already there 1"]),
    ] {
        let dry = report(&daemon, &["import", noun, &url, "--dry-run"]);
        let dry: Vec<_> = dry.iter().map(|line| line.replace("would be made", "made")).collect();
        assert_eq!(dry, told);
        assert_eq!(report(&daemon, &["import", noun, &url]), told);
    }
    // Kamailio's ha1 may be SHA-256.
    daemon.phone("alice").password("secret").registered().expect(202, "team", "#join");
}

/// A dump with this many messages that wait for bob, each of so many bytes.
fn letters(dir: &Path, count: usize, bytes: usize) -> String {
    let (soon, body) = (seconds() + 86400, "x".repeat(bytes));
    let row =
        |n| format!("({n},'sip:alice@example.org','bob','example.org',{soon},'text/plain','{n} {body}')");
    let rows: Vec<_> = (1..=count).map(row).collect();
    let path = dir.join("silo.sql");
    let head = "INSERT INTO silo (id,src_addr,username,domain,exp_time,ctype,body) VALUES ";
    std::fs::write(&path, format!("{head}{};\n", rows.join(","))).unwrap();
    format!("dump:{}", path.display())
}

/// How many messages were made and were there already, and that each is in the log once.
fn whole(daemon: &Daemon, url: &str, count: u64) -> (u64, u64) {
    let told = done(daemon, &["import", "silo", url]);
    let rows = |outcome: &str| {
        let line = told.as_array().unwrap().iter().find(|line| line["outcome"] == outcome);
        line.map_or(0, |line| line["rows"].as_u64().unwrap())
    };
    assert_eq!((rows("read"), rows("made") + rows("already there")), (count, count), "{told}");
    let mut list = std::process::Command::new(env!("CARGO_BIN_EXE_imcctl"));
    list.arg("--socket").arg(daemon.dir().join("imcd.sock")).args(["--json", "offline", "list", "bob"]);
    let waiting: Value = serde_json::from_slice(&list.output().unwrap().stdout).unwrap();
    assert_eq!(waiting.as_array().unwrap().len() as u64, count);
    (rows("made"), rows("already there"))
}

#[test]
fn an_import_that_a_kill_ends_is_made_again_and_is_whole() {
    const LETTERS: usize = 5000;
    let mut daemon = Daemon::open();
    let files = tempfile::tempdir().unwrap();
    let url = letters(files.path(), LETTERS, 100);
    let running = daemon.imcctl_on(&["import", "silo", &url]);
    let db = rusqlite::Connection::open(daemon.dir().join("imcd.db")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while db.query_row("SELECT count(*) FROM imported", [], |row| row.get::<_, i64>(0)).unwrap_or(0) == 0 {
        assert!(Instant::now() < deadline, "nothing of it was taken over");
    }
    drop(db);
    daemon.kill_and_restart();
    assert_ne!(running.end().0, Some(0), "it had ended before the kill");
    let (made, there) = whole(&daemon, &url, LETTERS as u64);
    assert!(made > 0 && there > 0, "{made} {there}");
}

#[test]
fn an_import_that_a_full_disk_ends_is_made_again_and_is_whole() {
    const LETTERS: usize = 1500;
    let (setup, disk) = disk::bounded(Setup::new());
    let daemon = setup.start();
    let files = tempfile::tempdir().unwrap();
    let url = letters(files.path(), LETTERS, 2000);
    disk.fill(&daemon);
    assert_eq!(daemon.imcctl(&["import", "silo", &url]).status.code(), Some(1));
    daemon.must_be_alive();
    disk.free(&daemon);
    let (made, _) = whole(&daemon, &url, LETTERS as u64);
    assert!(made > 0);
}

/// MD5 in hex.
fn ha1(text: &str) -> String {
    use md5::Digest;
    md5::Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_cannot_be_read_is_told_and_nothing_is_made() {
    let daemon = Daemon::open();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("empty.sql"), "").unwrap();
    std::fs::write(at("noise"), [0xff, 0, b'\'', b'(', 7].repeat(1000)).unwrap();
    nix::unistd::mkfifo(dir.path().join("pipe").as_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(at("dbtext")).unwrap();
    std::fs::write(at("dbtext/imc_rooms"), "no columns\n").unwrap();
    let code = |args: &[&str]| daemon.imcctl(args).status.code();
    for url in [
        format!("sqlite:{}", at("none.db")),
        format!("sqlite:{}", at("noise")),
        format!("sqlite:{}", at("pipe")),
        format!("dump:{}", at("none.sql")),
        format!("dump:{}", at("pipe")),
        format!("dump:{}", at("dbtext")),
        format!("text:{}", at("noise")),
        format!("text:{}", at("dbtext")),
        format!("dump:{}", at("empty.sql")),
        format!("dump:{}", at("noise")),
        "dump:/dev/zero".into(),
    ] {
        for noun in ["imc", "silo", "subscriber"] {
            assert_eq!(code(&["import", noun, &url]), Some(1), "{noun} {url}");
        }
    }
    for url in ["mysql://root@localhost/kamailio", "/etc/passwd", "sqlite:"] {
        assert_eq!(code(&["import", "imc", url]), Some(2), "{url}");
    }
    assert_eq!(code(&["room", "list", "--dry-run"]), Some(2));
    assert_eq!(done(&daemon, &["room", "list"]), json!([]));
    daemon.must_be_alive();
}

/// The way back: the tables of the module are the live ones, as its own statements find them.
#[test]
fn a_peer_reads_rooms_and_members_out_of_our_database() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    alice.expect(202, "team", "#create team private");
    alice.expect(202, "team", "#invite bob");
    alice.expect(202, "team", "#add carol");
    alice.expect(202, "team", "#modify carol admin");
    bob.expect(202, "lounge", "#create");
    carol.hears("*** sip:carol@example.org is now admin");
    let copy = daemon.dir().join("copy.db").display().to_string();
    done(&daemon, &["backup", &copy]);
    let db = rusqlite::Connection::open(&copy).unwrap();
    let rows = |sql: &str| -> Vec<String> {
        let mut select = db.prepare(sql).unwrap();
        let columns = select.column_count();
        let line = |row: &rusqlite::Row<'_>| {
            let cells: Vec<String> = (0..columns)
                .map(|at| match row.get_ref(at).unwrap() {
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    other => other.as_str().unwrap().to_owned(),
                })
                .collect();
            Ok(cells.join(" "))
        };
        select.query_map([], line).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(
        rows("select name,domain,flag from imc_rooms"),
        ["team example.org 1", "lounge example.org 0"]
    );
    assert_eq!(
        rows("select username,domain,flag from imc_members where room='sip:team@example.org'"),
        ["alice example.org 1", "bob example.org 4", "carol example.org 2"]
    );
    assert_eq!(
        rows("select username,domain,flag from imc_members where room='sip:lounge@example.org'"),
        ["bob example.org 1"]
    );
    // And it writes as it does; the daemon takes that over at its next start.
    db.execute_batch(
        "insert into imc_rooms (name,domain,flag) values ('tea','example.org',1);
         insert into imc_members (username,domain,flag,room) values ('bob','example.org',1,'sip:tea@example.org');",
    )
    .unwrap();
    // What we wrote can be imported as what they wrote.
    let other = Daemon::open();
    let told = report(&other, &["import", "imc", &format!("sqlite:{copy}")]);
    assert_eq!(told, ["imc_rooms read 3", "imc_rooms made 3", "imc_members read 5", "imc_members made 5"]);
}

#[test]
fn how_far_an_import_is_can_be_asked_and_how_it_ended() {
    let daemon = Daemon::open();
    let file = daemon.dir().join("old.db");
    let rooms: Vec<String> = (0..300).map(|n| format!("({n}, 'room{n}', 'example.org', 0)")).collect();
    sqlite(
        &file,
        &format!(
            "CREATE TABLE imc_rooms (id INTEGER, name TEXT, domain TEXT, flag INTEGER);
             INSERT INTO imc_rooms VALUES {};",
            rooms.join(",")
        ),
    );
    let url = format!("sqlite:{}", file.display());
    done(&daemon, &["import", "imc", &url]);
    let missing = daemon.imcctl(&["import", "silo", "sqlite:/nowhere.db"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    let works = done(&daemon, &["server", "work"]);
    let told = |at: usize, key: &str| works[at][key].clone();
    assert_eq!(
        (told(0, "command"), told(0, "about"), told(0, "state")),
        ("import.imc".into(), url.into(), "done".into())
    );
    assert_eq!(
        (told(0, "step"), told(0, "done"), told(0, "total")),
        ("filling rooms".into(), 300.into(), 300.into())
    );
    assert_eq!((told(1, "command"), told(1, "state")), ("import.silo".into(), "failed".into()));
    assert_eq!(told(2, "command"), Value::Null);
}
