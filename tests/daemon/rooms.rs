//! Rooms among the other addresses of a domain, and what may be sent to them (spec §3, §4, §8).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::chat::room;
use crate::kit::{Act, Daemon, Msg, Over, PATIENCE, Phone, Req, Setup};

const TYPING: &str = "application/im-iscomposing+xml";

/// The text that must not be anywhere in the database files.
fn on_disk(daemon: &Daemon, text: &str) -> bool {
    ["imcd.db", "imcd.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(daemon.dir().join(name)).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn what_is_refused_leaves_no_trace_in_the_log() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "#invite carol");
    carol.hears("*** [alice] invites you to join the room (send '#accept' or '#reject')");
    carol.expect(603, "team", "refused-as-invited");
    daemon.udp("dave").expect(603, "team", "refused-as-stranger");
    alice.expect(404, "nowhere", "refused-as-nowhere");
    assert_eq!(alice.ask(alice.message("team", "refused-as-spent").hops(0)).status(), 483);
    let packed = alice.message("team", "refused-as-packed").header("Content-Encoding: gzip");
    let answer = alice.ask(packed);
    assert_eq!(answer.status(), 415);
    assert!(answer.get("Accept-Encoding").is_some(), "{answer:?}");
    bob.expect(202, "team", "#leave");
    bob.expect(603, "team", "refused-as-gone");
    alice.expect(202, "team", "accepted-and-kept");
    assert!(on_disk(&daemon, "accepted-and-kept"), "the search finds what is there");
    for why in ["invited", "stranger", "nowhere", "spent", "packed", "gone"] {
        assert!(!on_disk(&daemon, &format!("refused-as-{why}")), "{why}");
    }
}

#[test]
fn typing_notices_and_receipts_are_answered_by_who_may_post_and_never_put_into_words() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "#invite carol");
    let send = |phone: &Phone, to: &str, kind: &str, encoding: &str| {
        let mut notice = phone.message(to, "#destroy").content_type(kind);
        if !encoding.is_empty() {
            notice = notice.header(&format!("Content-Encoding: {encoding}"));
        }
        phone.ask(notice).status()
    };
    for kind in [TYPING, "Message/IMDN+xml", "application/im-iscomposing+xml; charset=utf-8"] {
        assert_eq!(send(&bob, "team", kind, ""), 200, "{kind}");
        assert_eq!(send(&bob, "team", kind, "gzip"), 200, "{kind}, whatever its encoding");
        assert_eq!(send(&alice, "team", kind, ""), 200, "{kind}: not taken for a command");
        assert_eq!(send(&carol, "team", kind, ""), 603, "{kind} of somebody only invited");
        assert_eq!(send(&bob, "chat-manager", kind, ""), 200, "{kind}");
        assert_eq!(send(&bob, "nowhere", kind, ""), 404, "{kind}");
    }
    alice.expect(202, "team", "the room is still there");
    bob.hears("[alice]: the room is still there");
    assert!(!carol.texts().iter().any(|text| text.contains("not a member")), "{:?}", carol.texts());
    assert!(!on_disk(&daemon, "#destroy"));
}

#[test]
fn typing_notices_do_not_count_as_posts_and_commands_do() {
    let daemon = Setup::new().set("limits.posts_per_s", "1").start();
    let alice = daemon.udp("alice");
    alice.expect(202, "team", "#create");
    for _ in 0..30 {
        assert_eq!(alice.ask(alice.message("team", "<x/>").content_type(TYPING)).status(), 200);
    }
    let busy = (0..30).map(|_| alice.say("team", "#members")).find(|answer| answer.status() != 202);
    let busy = busy.expect("30 commands at once are more than one a second");
    assert_eq!(busy.status(), 480);
    assert!(busy.header("Retry-After").parse::<u32>().is_ok_and(|wait| wait > 0), "{busy:?}");
}

#[test]
fn bodies_that_are_no_plain_text_pass_byte_for_byte() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.tcp("alice"), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    let cpim = "From: <im:alice@example.org>\r\nTo: <im:team@example.org>\r\n\r\n\
                Content-Type: text/plain\r\n\r\n#create nothing";
    let multipart = "--b\r\nContent-Type: text/plain\r\n\r\n#destroy\r\n--b--\r\n";
    let bodies: &[(&str, &[u8])] = &[
        ("application/x-foo", b"#destroy \x00\x01\xff\r\n\r\n"),
        ("text/html", b"#destroy<br>"),
        ("message/cpim", cpim.as_bytes()),
        ("multipart/mixed;boundary=b", multipart.as_bytes()),
        ("application/json", b"{\"text\": 1}"),
    ];
    for (kind, body) in bodies {
        // It can take all of them, and says so.
        bob.ask(bob.message("team", "").content_type(kind).body(body));
        let post = alice.message("team", "").content_type(kind).body(body);
        let answer = alice.ask(post);
        assert_eq!(answer.status(), 202, "{kind}: {}", answer.start);
        let copy = bob.hears_that(kind, |m| m.header("Content-Type") == *kind);
        assert_eq!(copy.body, *body, "{kind}");
    }
    bob.expect(202, "team", "the room is still there");
}

#[test]
fn odd_texts_are_posts_like_others() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    for body in
        [&b"latin \xe9\xe8 \xff"[..], b"nul \x00 in it", b" #join", "\u{202e}turned".as_bytes(), b"\r\n"]
    {
        let answer = alice.ask(alice.message("team", "").body(body));
        assert_eq!(answer.status(), 202, "{body:?}");
        let expected = [b"[alice]: ", body].concat();
        bob.hears_that(&format!("{body:?}"), |m| m.body == expected);
    }
    let latin = alice.message("team", "").content_type("text/plain;charset=iso-8859-1").body(b"caf\xe9");
    assert_eq!(alice.ask(latin).status(), 202);
    let copy = bob.hears_that("latin 1", |m| m.body == b"[alice]: caf\xe9");
    assert!(copy.header("Content-Type").to_ascii_lowercase().contains("iso-8859-1"), "{copy:?}");
    // A Call-ID may be long; what would not leave room for the text is not repeated.
    let mut post = alice.message("team", "long Call-ID");
    post.call_id = "x".repeat(1000);
    assert_eq!(alice.ask(post).status(), 202);
    bob.hears("[alice]: long Call-ID");
    let long = "n".repeat(200);
    room(&long, &alice, &[&bob]);
    alice.expect(202, &long, "in a room with a long name");
    bob.hears("[alice]: in a room with a long name");
    alice.expect(400, "chat-manager", &format!("#create {}", "n".repeat(256)));
    assert!(bob.datagrams_in().iter().all(|size| *size <= 1300));
}

#[test]
fn rooms_and_accounts_share_one_namespace() {
    let daemon = Setup::new().digest().start();
    for name in ["alice", "bob"] {
        daemon.account(name, "secret");
    }
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    for (to, text) in [
        ("chat-manager", "#create bob"),
        ("chat-manager", "#join BOB@localhost private"),
        ("chat-manager", "#create bob+home"),
        ("chat-manager", "#create Alice+x private"),
        ("bob", "#create"),
        ("chat-manager", "#create team@elsewhere.example"),
        ("chat-manager", "#join team@elsewhere.example"),
    ] {
        let answer = alice.expect(603, to, text);
        assert!(!answer.reason().is_empty());
    }
    alice.expect(400, "chat-manager", "#create chat-manager");
    let added = daemon.imcctl(&["account", "add", "team", "--password", "x"]);
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(added.status.code() == Some(1) && said.contains("team@example.org"), "{added:?}");
    for name in ["chat-manager", "bob+home"] {
        let refused = daemon.imcctl(&["account", "add", name, "--password", "x"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    alice.expect(404, "team", "#invite nobody-here");
    alice.hears("*** [nobody-here] could not be invited");
    alice.expect(404, "team", "#add team");
    alice.expect(404, "team", "#invite chat-manager");
    // A command that names another room is, sent to a person, a message to him.
    alice.expect(200, "bob", "#join team");
    bob.hears("#join team");
}

#[test]
fn neither_a_room_nor_the_manager_can_be_registered_or_speak() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    room("other", &alice, &[]);
    let reserved = daemon.phone("bob+home").up();
    assert_eq!(reserved.ask(reserved.register_request(&reserved.contact(), 60)).status(), 403);
    daemon.phone("+49301234").registered();
    for name in ["team", "TEAM", "chat-manager"] {
        let phone = daemon.phone(name).up();
        let answer = phone.ask(phone.register_request(&phone.contact(), 60));
        assert_eq!(answer.status(), 403, "{name}: {}", answer.start);
        // Rooms that are members of each other would talk for ever.
        phone.expect(403, "other", "#join");
        phone.expect(403, "other", "hello");
        phone.expect(403, "alice", "hello");
        assert!(phone.got().is_empty(), "no words for {name}: {}", phone.transcript());
    }
    alice.expect(404, "team", "#add other");
    alice.expect(404, "team", "#invite other");
    alice.expect(202, "other", "#members");
    alice.hears("Members:\n*[alice]");
}

#[test]
fn management_shows_rooms_and_members() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob]);
    carol.expect(202, "den", "#create den private");
    carol.hears("*** Room was created");
    carol.expect(202, "den", "#invite bob");
    alice.expect(202, "team", "#modify bob admin");
    let ask = |args: &[&str]| {
        let output = daemon.imcctl(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let rooms: serde_json::Value = serde_json::from_str(&ask(&["--json", "room", "list"])).unwrap();
    let mut names: Vec<&str> =
        rooms.as_array().unwrap().iter().map(|r| r["room"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["den@example.org", "team@example.org"]);
    let den: serde_json::Value = serde_json::from_str(&ask(&["--json", "room", "show", "den"])).unwrap();
    assert_eq!((&den["private"], &den["members"], &den["invited"]), (&true.into(), &1.into(), &1.into()));
    assert_eq!(den["owner"], "carol@example.org");
    let members: serde_json::Value =
        serde_json::from_str(&ask(&["--json", "member", "list", "sip:team@example.org"])).unwrap();
    let roles: Vec<(&str, &str)> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["user"].as_str().unwrap(), m["role"].as_str().unwrap()))
        .collect();
    assert_eq!(roles, [("alice@example.org", "owner"), ("bob@example.org", "admin")]);
    assert!(ask(&["room", "list", "example.org"]).contains("team@example.org"));
    assert_eq!(daemon.imcctl(&["room", "show", "nowhere"]).status.code(), Some(1));
}

#[test]
fn rooms_of_other_domains_are_not_listed() {
    let daemon = Setup::new().set("domains", "[\"example.org\", \"example.net\"]").start();
    let alice = daemon.udp("alice");
    let zoe = daemon.phone("zoe").domain("example.net").registered();
    alice.expect(202, "team", "#create");
    alice.expect(202, "den", "#create den private");
    alice.expect(202, "den", "#add zoe@example.net");
    zoe.expect(202, "lab", "#create");
    for (phone, expected) in [(&alice, "Rooms:\n[team]\n[den]"), (&zoe, "Rooms:\n[den@example.org]\n[lab]")] {
        phone.expect(202, "chat-manager", "#rooms");
        phone.hears(expected);
    }
}

#[test]
fn a_proxys_user_is_answered_in_words_though_nobody_heard_of_him_before() {
    let proxy = UdpSocket::bind("127.0.0.9:0").unwrap();
    proxy.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let me = proxy.local_addr().unwrap();
    let daemon = Setup::new()
        .set("sip.outbound_proxy", &format!("\"sip:{me}\""))
        .set("sip.trusted_peers", "[\"127.0.0.9/32\"]")
        .set("sip.trusted_from", "true")
        .start();
    let alice = daemon.udp("alice");
    alice.expect(202, "den", "#create den private");
    for (user, to, text, words) in [
        ("bob", "chat-manager", "#rooms", "Rooms:"),
        ("carol", "den", "hello", "*** You are not a member of this room. Send #join to join it."),
        ("dave", "den", "#join", "*** Private rooms are by invitation only. Room owners have been notified."),
    ] {
        let request =
            Req::new("MESSAGE", &format!("sip:{to}@example.org"), &format!("sip:{user}@example.org"));
        let request = request.header("Content-Type: text/plain").body(text);
        proxy.send_to(&request.bytes(Over::Udp, me, None), daemon.addr).unwrap();
        let heard = await_message(&proxy, daemon.addr);
        assert_eq!(heard.text(), words, "{heard:?}");
        assert_eq!(heard.uri(), format!("sip:{user}@example.org"));
    }
    alice.hears("*** [dave] attempted to join the room");
}

/// Answers everything until a MESSAGE comes.
fn await_message(socket: &UdpSocket, daemon: std::net::SocketAddr) -> Msg {
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 65536];
    while Instant::now() < until {
        let Ok((size, _)) = socket.recv_from(&mut buffer) else { continue };
        let Some(msg) = Msg::parse(&buffer[..size]).filter(Msg::is_request) else { continue };
        let mut answer = String::from("SIP/2.0 200 OK\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            answer.push_str(&format!("{name}: {}\r\n", msg.header(name)));
        }
        answer.push_str("Content-Length: 0\r\n\r\n");
        socket.send_to(answer.as_bytes(), daemon).unwrap();
        return msg;
    }
    panic!("no MESSAGE came to the proxy");
}

#[test]
fn what_a_phone_refuses_is_not_offered_again_and_hurts_nobody() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob, &carol]);
    for (n, status) in [603u16, 302, 400, 420, 505, 600].into_iter().enumerate() {
        let text = format!("[alice]: refused with {status}");
        bob.responds(move |m| Act::Answer(if m.text().contains("refused") { status } else { 200 }));
        alice.expect(202, "team", &format!("refused with {status}"));
        bob.offered(&text);
        let after = format!("[alice]: after {n}");
        alice.expect(202, "team", &format!("after {n}"));
        bob.hears(&after);
        carol.hears(&after);
        assert_eq!(bob.got().iter().filter(|got| got.msg.text() == text).count(), 1, "{status}");
    }
    bob.one_at_a_time();
}

/// Tables as Kamailio's SQLite scripts make them, with rows as its module writes them.
const KAMAILIO: &str = "
    CREATE TABLE version (id INTEGER PRIMARY KEY NOT NULL, table_name VARCHAR(32) NOT NULL,
        table_version INTEGER DEFAULT 0 NOT NULL);
    CREATE TABLE imc_rooms (id INTEGER PRIMARY KEY NOT NULL, name VARCHAR(64) NOT NULL,
        domain VARCHAR(64) NOT NULL, flag INTEGER NOT NULL,
        CONSTRAINT imc_rooms_name_domain_idx UNIQUE (name, domain));
    CREATE TABLE imc_members (id INTEGER PRIMARY KEY NOT NULL, username VARCHAR(64) NOT NULL,
        domain VARCHAR(64) NOT NULL, room VARCHAR(64) NOT NULL, flag INTEGER NOT NULL,
        CONSTRAINT imc_members_account_room_idx UNIQUE (username, domain, room));
    INSERT INTO version (table_name, table_version) VALUES ('imc_rooms', 1), ('imc_members', 1);
    INSERT INTO imc_rooms (name, domain, flag) VALUES
        ('Team', 'example.org', 0), ('empty', 'example.org', 0), ('den', 'example.org', 1),
        ('old', 'example.org', 2), ('abroad', 'example.net', 0);
    INSERT INTO imc_members (username, domain, room, flag) VALUES
        ('alice', 'example.org', 'sip:Team@example.org', 1), ('bob', 'example.org', 'sip:Team@example.org', 0),
        ('carol', 'example.org', 'sip:Team@example.org', 4), ('alice', 'example.org', 'sip:den@example.org', 1),
        ('dave', 'example.org', 'sip:den@example.org', 2), ('alice', 'example.org', 'sip:old@example.org', 1);";

#[test]
fn rooms_that_kamailio_wrote_live_on() {
    let setup = Setup::new();
    let file = setup.dir().join("imcd.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch(KAMAILIO).unwrap();
    let daemon = setup.start();
    let phones: Vec<Phone> = ["alice", "bob", "carol", "dave"].iter().map(|name| daemon.udp(name)).collect();
    let [alice, bob, carol, dave] = &phones[..] else { panic!() };
    alice.expect(202, "team", "here we are again");
    bob.hears("[alice]: here we are again");
    carol.expect(202, "team", "#accept");
    alice.hears("*** [carol] has joined the room");
    bob.expect(202, "team", "#members");
    bob.hears("Members:\n*[alice]\n[carol]\n[bob]");
    bob.expect(603, "den", "#join");
    dave.expect(202, "den", "#add bob");
    bob.hears("*** [bob] has joined the room");
    alice.expect(404, "old", "nobody is left here");
    carol.expect(202, "empty", "#join");
    carol.expect(202, "chat-manager", "#rooms");
    carol.hears("Rooms:\n[Team]\n[empty]");
    // What the peers wrote is still there in their form, with what was done since.
    let rows = rusqlite::Connection::open(&file).unwrap();
    let flags = |name: &str, room: &str| -> i64 {
        let sql = "SELECT flag FROM imc_members WHERE username = ?1 AND domain = 'example.org' AND room = ?2";
        rows.query_row(sql, [name, room], |row| row.get(0)).unwrap()
    };
    assert_eq!(flags("carol", "sip:Team@example.org"), 0);
    assert_eq!(flags("bob", "sip:den@example.org"), 0);
    assert_eq!(flags("dave", "sip:den@example.org"), 2);
    let private: i64 =
        rows.query_row("SELECT flag FROM imc_rooms WHERE name = 'den'", [], |row| row.get(0)).unwrap();
    assert_eq!(private, 1);
}

#[test]
fn a_max_forwards_goes_on_reduced_and_none_is_70() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    bob.unregister();
    assert_eq!(alice.ask(alice.message("team", "five").hops(5)).status(), 202);
    let bytes = alice.message("team", "none").bytes(Over::Udp, alice.local(), None);
    let text = String::from_utf8(bytes).unwrap().replace("Max-Forwards: 70\r\n", "");
    let branch = Msg::parse(text.as_bytes()).unwrap().branch();
    assert_eq!(alice.transact(text.as_bytes(), &branch).unwrap().status(), 202);
    bob.register();
    let late = |text: &'static str| move |m: &Msg| m.text().ends_with(text);
    assert_eq!(bob.hears_that("five", late("[alice]: five")).header("Max-Forwards"), "4");
    assert_eq!(bob.hears_that("none", late("[alice]: none")).header("Max-Forwards"), "69");
}

#[test]
fn active_rooms_counts_what_is_there() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let count = |daemon: &Daemon| {
        let output = daemon.imcctl(&["--json", "server", "status"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["rooms"].as_u64().expect("a number")
    };
    assert_eq!(count(&daemon), 0);
    for name in ["one", "two", "three"] {
        alice.expect(202, name, "#create");
    }
    assert_eq!(count(&daemon), 3);
    alice.expect(202, "two", "#destroy");
    assert_eq!(count(&daemon), 2);
    daemon.kill_and_restart();
    assert_eq!(count(&daemon), 2);
}

#[test]
fn the_counters_are_right_soon_after_the_last_word() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "counted");
    bob.hears("[alice]: counted");
    let count = |name: &str| {
        let output = daemon.imcctl(&["--json", "server", "stats", name]);
        let stats: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        stats[0]["value"].as_u64().expect("a number")
    };
    // Nothing more happens now: the shards bring their counters by themselves.
    let deadline = Instant::now() + Duration::from_secs(15);
    while count("delivered") < 3 {
        assert!(Instant::now() < deadline, "{} delivered", count("delivered"));
    }
    assert_eq!(count("contacts"), 2);
    assert_eq!(count("gave_up"), 0);
}
