//! The HTTP door of management: what it answers, whom it lets in, and that nobody there can hurt the chat.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chat::room;
use crate::kit::http::{Caller, Page, ask};
use crate::kit::{Daemon, Dice, PATIENCE, Setup};

fn open() -> (Daemon, SocketAddr) {
    let (setup, door) = Setup::new().http();
    (setup.start(), door)
}

fn rpc(door: SocketAddr, document: &str) -> Page {
    ask(door, "POST", "/rpc", &["Content-Type: application/json"], document.as_bytes())
}

#[test]
fn json_rpc_over_http_is_that_of_the_socket() {
    let (daemon, door) = open();
    let made = rpc(door, r#"{"jsonrpc":"2.0","id":1,"method":"account.add","params":["alice","pw"]}"#);
    assert_eq!((made.status, made.header("content-type")), (200, Some("application/json")));
    assert_eq!(made.text(), r#"{"id":1,"jsonrpc":"2.0","result":{"account":"alice@example.org"}}"#);
    let list = daemon.imcctl(&["account", "list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("alice@example.org"), "{list:?}");
    let again = rpc(door, r#"{"jsonrpc":"2.0","id":2,"method":"account.add","params":{"account":"alice"}}"#);
    assert!(again.text().contains(r#""code":403"#) && again.status == 200, "{again:?}");
    // A notification is done and not answered.
    let quiet = rpc(door, r#"{"jsonrpc":"2.0","method":"account.add","params":["bob"]}"#);
    assert_eq!((quiet.status, quiet.body.len()), (204, 0));
    let batch = rpc(
        door,
        r#"[{"jsonrpc":"2.0","id":1,"method":"which"},{"jsonrpc":"2.0","id":2,"method":"account.list"}]"#,
    );
    assert!(batch.text().starts_with('[') && batch.text().contains("bob@example.org"), "{batch:?}");
    for (document, code) in [("", "-32700"), ("{", "-32700"), ("[]", "-32600"), ("7", "-32600")] {
        let page = rpc(door, document);
        assert!(page.status == 200 && page.text().contains(code), "{document}: {page:?}");
    }
    for (method, path, status) in [("GET", "/rpc", 405), ("GET", "/", 404), ("POST", "/rpc/", 404)] {
        assert_eq!(ask(door, method, path, &[], b"").status, status, "{method} {path}");
    }
    // Several requests come over one connection.
    let mut caller = Caller::new(door);
    for _ in 0..3 {
        assert_eq!(caller.ask("GET", "/healthz", &[], b"").text(), "ok\n");
    }
}

/// The bytes of the peers' own doors, `imc.md` §3.4 and §3.5.
#[test]
fn clients_of_the_peers_are_answered_as_they_are_used_to() {
    let (daemon, door) = open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let post = |path: &str, document: &str, status: u16| {
        let page = ask(door, "POST", path, &["Content-Type: application/json"], document.as_bytes());
        let told = (page.status, page.header("content-type"));
        assert_eq!(told, (status, Some("application/json")), "{page:?}");
        page.text()
    };
    for (asked, said) in [
        (
            r#""method": "imc_list_rooms", "params": {}"#,
            r#""result":{"ROOMS":[{"URI":"sip:team@example.org","MEMBERS":2,"OWNER":"sip:alice@example.org"}]}"#,
        ),
        (
            r#""method": "imc_list_members", "params": ["sip:team@example.org"]"#,
            r#""result":{"ROOM":"sip:team@example.org","MEMBERS":["sip:alice@example.org","sip:bob@example.org"],"NO_MEMBERS":2}"#,
        ),
        (
            r#""method": "imc:list_members", "params": {"room": "sip:none@example.org"}"#,
            r#""error":{"code":404,"message":"no such room"}"#,
        ),
        (
            r#""method": "get_statistics", "params": {"statistics": ["imc:active_rooms"]}"#,
            r#""result":{"imc:active_rooms":1}"#,
        ),
        (
            r#""method": "imc_list_chairs", "params": {}"#,
            r#""error":{"code":-32601,"message":"Method not found"}"#,
        ),
    ] {
        let said = format!(r#"{{"jsonrpc":"2.0",{said},"id":"12345"}}"#);
        assert_eq!(
            post("/mi", &format!(r#"{{"jsonrpc": "2.0", "id": "12345", {asked}}}"#), 200),
            said,
            "{asked}"
        );
    }
    for (asked, said) in [
        (
            r#""method": "imc.list_rooms""#,
            "\"result\":\t[{\n\t\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\t\"members\":\t2,\n\t\t\t\"owner\":\t\"sip:alice@example.org\"\n\t\t}]",
        ),
        (
            r#""method": "imc.list_members", "params": ["sip:team@example.org"]"#,
            "\"result\":\t{\n\t\t\"room\":\t\"sip:team@example.org\",\n\t\t\"members\":\t[\"sip:alice@example.org\", \"sip:bob@example.org\"],\n\t\t\"count\":\t2\n\t}",
        ),
        (
            r#""method": "imc.list_members", "params": ["sip:none@example.org"]"#,
            "\"error\":\t{\n\t\t\"code\":\t500,\n\t\t\"message\":\t\"Room not found\"\n\t}",
        ),
        (
            r#""method": "stats.get_statistics", "params": ["imc:"]"#,
            "\"result\":\t[\"imc:active_rooms = 1\"]",
        ),
    ] {
        let said = format!("{{\n\t\"jsonrpc\":\t\"2.0\",\n\t{said},\n\t\"id\":\t7\n}}");
        // As the real one does with jsonrpc_dispatch() in event_route[xhttp:request].
        let status = if said.contains("error") { 500 } else { 200 };
        let document = format!(r#"{{"jsonrpc": "2.0", {asked}, "id": 7}}"#);
        assert_eq!(post("/RPC", &document, status), said, "{asked}");
    }
    // What OpenSIPS does not answer it accepts; Kamailio answers everything.
    let quiet = r#"{"jsonrpc":"2.0","method":"account.add","params":["carol","pw"]}"#;
    let accepted = ask(door, "POST", "/mi", &[], quiet.as_bytes());
    assert_eq!((accepted.status, accepted.body.len()), (202, 0));
    assert!(post("/RPC", quiet, 403).contains("403"), "carol is there already");
    for path in ["/mi", "/RPC"] {
        assert_eq!(ask(door, "POST", path, &[], b"").status, 400, "{path}");
        assert_eq!(ask(door, "GET", path, &[], b"").status, 405, "{path}");
        let status = if path == "/mi" { 200 } else { 400 };
        assert!(post(path, "{", status).contains("-32700"), "{path}");
        let evil = ask(door, "POST", path, &["Host: evil.example"], quiet.as_bytes());
        assert_eq!(evil.status, 421, "{path}");
    }
    // Who knows both names and batches asks there.
    let ours = r#"[{"jsonrpc":"2.0","id":1,"method":"imc_list_rooms"}]"#;
    let page = ask(door, "POST", "/rpc", &[], ours.as_bytes());
    assert!(page.text().contains(r#""URI":"sip:team@example.org""#), "{page:?}");
}

#[test]
fn metrics_show_every_statistic_and_how_long_things_took() {
    let (daemon, door) = open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "hello");
    bob.hears("[alice]: hello");
    let stats = rpc(door, r#"{"jsonrpc":"2.0","id":1,"method":"server.stats"}"#).text();
    let count = stats.matches(r#""name":"#).count();
    assert!(count > 10, "{stats}");
    // The counters of a shard are handed on a moment after what they count.
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = ask(door, "GET", "/metrics", &[], b"");
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = page.text();
        if !text.contains("\nimcd_delivered_total 0\n") {
            break text;
        }
        assert!(Instant::now() < deadline, "{text}");
    };
    assert!(page.contains("\nimcd_rooms 1\n") && page.contains("\nimcd_contacts 2\n"), "{page}");
    assert!(page.contains("\nimcd_ready 1\n") && page.contains("\nimcd_members 2\n"), "{page}");
    // A new statistic needs its line in the table of metrics; four gauges and two histograms are not among them.
    assert_eq!(page.matches("# TYPE imcd_").count(), count + 6, "{page}");
    let value = |metric: &str| -> f64 {
        let line = page
            .lines()
            .find(|line| line.starts_with(metric))
            .unwrap_or_else(|| panic!("no {metric}: {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("imcd_commit_seconds_count ") > 0.0 && value("imcd_commit_seconds_sum ") > 0.0, "{page}");
    assert_eq!(value("imcd_delivery_seconds_count "), value("imcd_delivered_total "));
    assert_eq!(value("imcd_delivery_seconds_bucket{le=\"+Inf\"} "), value("imcd_delivered_total "));
    for line in page.lines().filter(|line| !line.starts_with("# ")) {
        let (metric, value) = line.rsplit_once(' ').unwrap();
        assert!(metric.starts_with("imcd_") && value.parse::<f64>().is_ok(), "{line}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(door, "GET", path, &[], b"").status, 200, "{path}");
        assert_eq!(ask(door, "HEAD", path, &[], b"").body, b"", "{path}");
    }
}

#[test]
fn another_sites_page_does_not_get_in() {
    let (_daemon, door) = open();
    let document = br#"{"jsonrpc":"2.0","method":"account.add","params":["mallory"]}"#;
    for (headers, status) in [
        (&["Host: evil.example"][..], 421),
        (&["Host: evil.example:8080"], 421),
        (&["Origin: http://evil.example"], 403),
        (&["Origin: null", "Content-Type: text/plain"], 403),
        (&["Host: localhost", "Host: localhost"], 400),
    ] {
        let page = ask(door, "POST", "/rpc", headers, document);
        assert_eq!(page.status, status, "{headers:?}");
        assert_eq!(page.header("access-control-allow-origin"), None);
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
    let preflight = ["Origin: http://evil.example", "Access-Control-Request-Method: POST"];
    assert_eq!(ask(door, "OPTIONS", "/rpc", &preflight, b"").status, 403);
    let list = rpc(door, r#"{"jsonrpc":"2.0","id":1,"method":"account.list"}"#);
    assert!(!list.text().contains("mallory"), "{list:?}");
    for host in ["Host: localhost:1", "Host: example.org", "Host: [::1]:8080"] {
        assert_eq!(ask(door, "GET", "/metrics", &[host], b"").status, 200, "{host}");
    }
}

#[test]
fn where_others_reach_it_the_door_has_a_token() {
    let outside = Setup::new().set("control.http", "\"0.0.0.0:18080\"");
    for more in [&["--check"][..], &[]] {
        let refused = outside.run_to_end(more);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("control.http_token_file"), "{said}");
    }
    let (setup, door) = Setup::new().http();
    let setup = setup.set("control.http_token_file", "\"token\"");
    let file = setup.dir().join("token");
    let put = |content: &str, mode| {
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (wrong, mode, why) in [
        (None, 0, "cannot be read"),
        (Some("0123456789abcdef\n"), 0o644, "expected mode 0600"),
        (Some("short\n"), 0o600, "expected 16 to 1024 characters"),
    ] {
        if let Some(content) = wrong {
            put(content, mode);
        }
        for more in [&["--check"][..], &[]] {
            let refused = setup.run_to_end(more);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains(why) && !said.contains("short"), "{said}");
        }
    }
    put("0123456789abcdef\n", 0o600);
    assert!(setup.run_to_end(&["--check"]).status.success());
    let printed = setup.run_to_end(&["--print-config"]);
    assert!(!String::from_utf8_lossy(&printed.stdout).contains("0123456789abcdef"));
    let daemon = setup.start();
    let document = br#"{"jsonrpc":"2.0","id":1,"method":"server.version"}"#;
    let mut caller = Caller::new(door);
    for (shown, status) in [
        ("X: y", 401),
        ("Authorization: Bearer 0123456789abcdeX", 401),
        ("Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==", 401),
        ("Authorization: Bearer 0123456789abcdef", 200),
    ] {
        let page = caller.ask("POST", "/rpc", &[shown, "Host: chat.example.net"], document);
        assert_eq!(
            (page.status, page.header("www-authenticate").is_some()),
            (status, status == 401),
            "{shown}"
        );
    }
    for (path, status) in [("/metrics", 401), ("/nothing", 401), ("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(caller.ask("GET", path, &[], b"").status, status, "{path}");
    }
    assert!(!daemon.logged("0123456789abcdef"));
}

#[test]
fn a_picture_is_put_looked_at_and_taken_away() {
    let (daemon, door) = open();
    daemon.account("alice", "pw");
    let picture = b"\x89PNG\r\n\x1a\nwhatever";
    let sha1 = "f71b6b7f1f4ad7d8dcaeb9ab1d0efd4c7fbab7cf";
    let mut caller = Caller::new(door);
    let put = caller.ask("PUT", "/avatar/alice@example.org", &[], picture);
    assert_eq!(put.status, 200, "{put:?}");
    let hash = put.text().split(r#""sha1":""#).nth(1).unwrap()[..40].to_owned();
    assert_ne!(hash, sha1, "what another picture has");
    let by_name = caller.ask("GET", "/avatar/alice@example.org", &[], b"");
    let by_hash = caller.ask("GET", &format!("/avatar/{}", hash.to_uppercase()), &[], b"");
    for page in [&by_name, &by_hash] {
        assert_eq!((page.status, &page.body[..]), (200, &picture[..]));
        assert_eq!(page.header("content-type"), Some("image/png"));
        assert_eq!(page.header("etag"), Some(format!("\"{hash}\"").as_str()));
    }
    assert_eq!(by_name.header("cache-control"), Some("private, no-cache"));
    assert_eq!(by_hash.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let tag = format!("If-None-Match: \"{hash}\"");
    let known = caller.ask("GET", "/avatar/alice@example.org", &[&tag], b"");
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(daemon.imcctl(&["avatar", "get", "alice"]).status.code(), Some(0));

    assert_eq!(caller.ask("GET", &format!("/avatar/{sha1}"), &[], b"").status, 404);
    assert_eq!(caller.ask("PUT", &format!("/avatar/{hash}"), &[], picture).status, 405);
    assert_eq!(caller.ask("PUT", "/avatar/alice@example.org", &[], b"<svg onload=x>").status, 415);
    assert_eq!(caller.ask("PUT", "/avatar/nobody@example.org", &[], picture).status, 404);
    assert_eq!(caller.ask("PUT", "/avatar/alice@elsewhere.net", &[], picture).status, 403);
    assert_eq!(caller.ask("GET", "/avatar/a%0d%0ab@example.org", &[], b"").status, 400);
    // A name of somebody, and never of a file.
    assert_eq!(caller.ask("GET", "/avatar/..%2f..%2fetc%2fpasswd", &[], b"").status, 404);
    assert_eq!(caller.ask("GET", "/avatar/%ff@example.org", &[], b"").status, 400);
    let large = ask(door, "PUT", "/avatar/alice@example.org", &[], &vec![0; 64 * 1024 + 1]);
    assert_eq!(large.status, 413);

    let mut caller = Caller::new(door);
    assert_eq!(caller.ask("DELETE", "/avatar/alice@example.org", &[], b"").status, 204);
    assert_eq!(caller.ask("DELETE", "/avatar/alice@example.org", &[], b"").status, 404);
    assert_eq!(caller.ask("GET", &format!("/avatar/{hash}"), &[], b"").status, 404);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let (daemon, door) = open();
    let mut by_length = Caller::new(door);
    by_length.send(b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!(by_length.page().map(|page| page.status), Some(413));
    for length in ["99999999999999999999999", "-1", "1, 2", "x"] {
        let mut caller = Caller::new(door);
        caller.send(
            format!("POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
        );
        assert_eq!(caller.page().map(|page| page.status), Some(400), "{length}");
    }
    let mut head = Caller::new(door);
    head.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ");
    head.send(&[b'x'; 64 * 1024]);
    assert!(head.page().is_none_or(|page| page.status == 431));
    let mut chunks = Caller::new(door);
    chunks.send(b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend([b' '; 0x10000]);
    chunk.extend(b"\r\n");
    let sent = (0..64).take_while(|_| chunks.send(&chunk)).count();
    // It may have said 413, or closed while we were still sending: it did not take it.
    assert!(chunks.page().is_none_or(|page| page.status == 413), "{sent} chunks were taken");
    let mut badly = Caller::new(door);
    badly.send(
        b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    );
    assert_eq!(badly.page().map(|page| page.status), Some(400));
    let longest = format!("{}{}", " ".repeat((1 << 20) - 46), r#"{"jsonrpc":"2.0","id":1,"method":"which"}"#);
    assert_eq!(rpc(door, &longest).status, 200, "1 MiB is not too large");
    daemon.must_be_alive();
}

#[test]
fn who_is_slow_is_cut_off_and_keeps_nobody_from_chatting() {
    let (daemon, door) = open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    // Who asks and asks and takes no answer is not heard further than fits into his window.
    let mut deaf = Caller::new(door);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let many = b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 41\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"which\"}".repeat(1000);
    let taken = (0..1000).take_while(|_| deaf.send(&many)).count();
    assert!(taken < 1000, "a hundred megabytes were taken of somebody who reads nothing");
    let beginnings: [&[u8]; 4] = [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ];
    // More than it has places for.
    let mut slow: Vec<Caller> = (0..160).map(|_| Caller::new(door)).collect();
    for (caller, beginning) in slow.iter_mut().zip(beginnings.iter().cycle()) {
        caller.send(beginning);
    }
    alice.expect(202, "team", "still here");
    bob.hears("[alice]: still here");
    for (mut caller, beginning) in slow.into_iter().zip(beginnings.iter().cycle()) {
        match caller.page() {
            Some(page) if beginning.starts_with(b"POST") => {
                assert!([408, 503].contains(&page.status), "{page:?}")
            }
            Some(page) => assert!([408, 503].contains(&page.status), "{page:?}"),
            None => {}
        }
        caller.closed();
    }
    assert_eq!(ask(door, "GET", "/readyz", &[], b"").status, 200);
}

#[test]
fn ten_thousand_malformed_requests_leave_it_healthy() {
    let (daemon, door) = open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let whole: [&[u8]; 5] = [
        b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 41\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"which\"}",
        b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET /avatar/alice@example.org HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"x\"\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"PUT /avatar/alice@example.org HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nGIF8",
    ];
    let mut dice = Dice::new("ten_thousand_malformed_requests_leave_it_healthy");
    let before = daemon.rss_kib();
    for n in 0..10_000 {
        let mut request = whole[n % whole.len()].to_vec();
        for _ in 0..=dice.roll() % 4 {
            let at = dice.roll() as usize % request.len();
            match dice.roll() % 4 {
                0 => request[at] = dice.roll() as u8,
                1 => drop(request.drain(at..)),
                2 => request.insert(at, dice.roll() as u8),
                _ => {
                    let again = request[at..].to_vec();
                    request.extend(again);
                }
            }
            if request.is_empty() {
                break;
            }
        }
        let mut caller = Caller::new(door);
        caller.send(&request);
        // The door hears that nothing more comes.
        let _ = caller.stream.shutdown(std::net::Shutdown::Write);
        if n % 8 == 0 {
            caller.closed();
        }
    }
    // The last ones are being closed: a place is free when they are.
    let deadline = Instant::now() + PATIENCE;
    while ask(door, "GET", "/readyz", &[], b"").status != 200 {
        assert!(Instant::now() < deadline, "the door does not recover");
    }
    alice.expect(202, "team", "still here");
    bob.hears("[alice]: still here");
    assert!(daemon.rss_kib() < before + 64 * 1024, "{} KiB before, {} after", before, daemon.rss_kib());
    assert!(!daemon.logged("panicked"));
}

#[test]
fn open_connections_do_not_hold_up_a_stop_and_the_port_is_free_again() {
    let (mut daemon, door) = open();
    let mut idle = Caller::new(door);
    assert_eq!(idle.ask("GET", "/healthz", &[], b"").status, 200);
    let mut half = Caller::new(door);
    half.send(b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
    let (status, _) = daemon.terminate();
    assert!(status.success(), "{status}");
    idle.closed();
    half.closed();
    daemon.restart();
    assert_eq!(ask(door, "GET", "/healthz", &[], b"").status, 200);
    daemon.kill_and_restart();
    assert_eq!(ask(door, "GET", "/healthz", &[], b"").status, 200);
}

/// As on the socket: an answer, then what is said, until the caller goes or the daemon does.
#[test]
fn what_is_said_is_followed_over_http() {
    let (mut daemon, door) = open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let refused = rpc(door, r#"{"jsonrpc":"2.0","id":1,"method":"tail","params":["tea"]}"#);
    assert!(refused.status == 200 && refused.text().contains("no room tea@example.org"), "{refused:?}");

    let mut caller = Caller::new(door);
    let asked = r#"{"jsonrpc":"2.0","id":7,"method":"tail","params":["team"]}"#;
    let head = format!("POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", asked.len());
    assert!(caller.send(head.as_bytes()) && caller.send(asked.as_bytes()));
    let mut lines = BufReader::new(caller.stream);
    // Of the chunks, the documents alone.
    let mut next = || -> Option<Value> {
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    };
    assert_eq!(next().unwrap()["result"]["following"], "team@example.org");
    alice.expect(202, "team", "hello");
    bob.hears("[alice]: hello");
    let heard = next().unwrap();
    assert_eq!(
        (&heard["method"], &heard["params"]["from"], &heard["params"]["text"]),
        (&"tail".into(), &"alice@example.org".into(), &"hello".into())
    );
    // It does not hold up the stop, and its end is a proper one.
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < PATIENCE, "{status} {took:?}");
    assert_eq!(next(), None);
}
