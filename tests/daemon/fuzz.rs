//! The torture messages, and a long rain of spoiled requests: no crash, no growth, the chat goes on.
//!
//! IMCD_PROOF=1 rains for 10 minutes instead of 30 s; IMCD_SEED repeats a run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::chat::room;
use crate::kit::watch::pidf;
use crate::kit::wire::{self, Datagrams};
use crate::kit::{Daemon, Dice, Msg, Over, PATIENCE, Phone, Req, Setup, long_form};

/// More than a daemon with two phones can need.
const RSS_LIMIT_KIB: u64 = 300 * 1024;

/// What is always there, whatever files there are.
const NASTY: &[&[u8]] = &[
    b"",
    b"\0",
    b"\r\n\r\n\r\n\r\n",
    b"MESSAGE",
    b"MESSAGE sip:team@example.org SIP/2.0\r\n\r\n",
    b"SIP/2.0 200\r\n\r\n",
    b"SIP/2.0 99999999999999999999 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n",
    b"OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP [::1;branch=z9hG4bK\r\nCSeq: 1 OPTIONS\r\n\r\n",
    b"OPTIONS sip:example.org SIP/2.0\r\nVia: ,,,;;;===\"\"\"\r\nTo: <<<>>>\r\nFrom: \"\\\r\nCSeq: 1 OPTIONS\r\n\r\n",
    b"\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\xff\xff\xff\xff\xff\xff\xff\xff",
];

fn torture_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/torture");
    let mut files = Vec::new();
    for dir in ["rfc4475", "rfc5118"] {
        let Ok(entries) = std::fs::read_dir(root.join(dir)) else { continue };
        files.extend(
            entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "dat")),
        );
    }
    files.sort();
    files
}

/// The files whose parser verdict is "reject".
fn rejected(files: &[PathBuf]) -> Vec<String> {
    let Some(root) = files.first().and_then(|f| f.parent()?.parent()) else { return Vec::new() };
    let table =
        std::fs::read_to_string(root.join("expected.csv")).expect("expected.csv lies beside the files");
    let lines = table.lines().filter(|l| l.contains(",request,") && l.contains(",reject,"));
    lines.filter_map(|l| l.split(',').next()).map(str::to_string).collect()
}

fn chat_works(alice: &Phone, bob: &Phone, text: &str) {
    bob.register();
    alice.register();
    alice.expect(202, "team", text);
    bob.hears(&format!("[alice]: {text}"));
    bob.expect(202, "team", &format!("re {text}"));
    alice.hears(&format!("[bob]: re {text}"));
}

#[test]
fn the_torture_messages_are_survived_over_udp_and_tcp() {
    for setup in [Setup::new(), Setup::new().digest()] {
        let daemon = setup.start();
        daemon.account("alice", "secret of alice");
        daemon.account("bob", "secret of bob");
        let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
        room("team", &alice, &[&bob]);
        let files = torture_files();
        let rejected = rejected(&files);
        let named =
            files.iter().map(|f| (f.display().to_string(), std::fs::read(f).expect("the file can be read")));
        let nasty = NASTY.iter().enumerate().map(|(n, bytes)| (format!("nasty {n}"), bytes.to_vec()));
        for (name, bytes) in nasty.chain(named) {
            let wrong =
                |m: &Msg| m.status() / 100 == 2 && rejected.iter().any(|r| name.ends_with(r.as_str()));
            let socket = Datagrams::new(daemon.addr);
            socket.send(&bytes);
            let mut stream = wire::connect(daemon.addr);
            stream.write_all(&bytes).expect("a new connection takes a few bytes");
            stream.shutdown(std::net::Shutdown::Write).expect("the write side closes");
            let reply = wire::read_until(&mut stream, PATIENCE, |_| false);
            assert!(reply.closed, "{name}: a connection that we closed stays open");
            assert!(!reply.messages.iter().any(wrong), "{name} over TCP: {reply:?}");
            assert!(daemon.options(PATIENCE).is_some(), "{name}: no answer to OPTIONS\n{}", daemon.log());
            while let Some(bytes) = socket.receive(Duration::from_millis(1)) {
                let answer = Msg::parse(&bytes).unwrap_or_else(|| panic!("{name}: an answer that is no SIP"));
                assert!(!wrong(&answer), "{name} over UDP: {}", answer.start);
            }
        }
        chat_works(&alice, &bob, "after the torture");
        assert!(daemon.rss_kib() < RSS_LIMIT_KIB);
    }
}

/// Requests that a daemon takes, as they look before they are spoiled.
fn seeds(local: std::net::SocketAddr, over: Over, user: &str) -> Vec<Vec<u8>> {
    let me = format!("sip:{user}@example.org");
    let to = |method: &str, uri: &str| Req::new(method, uri, &me);
    let mut register =
        to("REGISTER", "sip:example.org").header(&format!("Contact: <sip:{user}@{local}>;expires=60"));
    register.to = me.clone();
    let credentials = format!(
        "Authorization: Digest username=\"{user}\", realm=\"example.org\", nonce=\"abc\", uri=\"sip:fuzz@example.org\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"x\", response=\"0123456789abcdef0123456789abcdef\""
    );
    let cpim = "From: <im:a@b>\r\nTo: <im:c@d>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain\r\n\r\nhi";
    let parts = "--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x\r\nContent-Type: text/html\r\n\r\n<b>hi</b>\r\n--x--\r\n";
    let list = [
        to("OPTIONS", "sip:example.org"),
        register,
        to("MESSAGE", "sip:fuzz@example.org").header("Content-Type: text/plain").body("hello there"),
        to("MESSAGE", "sip:fuzz@example.org").header("Content-Type: text/plain").body("#join"),
        to("MESSAGE", "sip:chat-manager@example.org")
            .header("Content-Type: text/plain")
            .body("#create x private"),
        to("MESSAGE", "sip:fuzz@example.org").header("Content-Type: message/cpim").body(cpim),
        to("MESSAGE", "sip:fuzz@example.org").header("Content-Type: multipart/mixed;boundary=x").body(parts),
        to("MESSAGE", &format!("sip:{user}@example.org"))
            .header("Expires: 5")
            .header(&credentials)
            .body("to me"),
        to("SUBSCRIBE", "sip:fuzz@example.org").header("Event: presence").header("Expires: 0"),
        to("PUBLISH", &me).header("Event: presence").header("SIP-If-Match: abc").body("<presence/>"),
        to("INVITE", "sip:fuzz@example.org").header("Route: <sip:127.0.0.1;lr>, <sip:127.0.0.2;lr>"),
    ];
    list.iter().map(|request| request.bytes(over, local, None)).collect()
}

const SPICE: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\xff\xfe",
    b"%00",
    b"\"",
    b"<",
    b">",
    b";",
    b",",
    b"=",
    b":",
    b"@",
    b" ",
    b"\t",
    b"4294967296",
    b"-1",
    b"99999999999999999999",
    b"SIP/2.0",
    b"z9hG4bK",
    b"[::1]",
    b"[::",
    b"Content-Length: 7\r\n",
    b"Via: x\r\n",
    b"*",
    b"%",
    b"\xc0\xaf",
    b"\\",
    b"--x",
    b"#",
    b"sip:",
    b"tag=",
    b"branch=",
];

fn spoil(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let to = (at + dice.below(40)).min(bytes.len());
        match dice.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes.truncate(at),
            4 => {
                let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
                let (a, b) = (dice.below(lines.len()), dice.below(lines.len()));
                let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
                lines.swap(a, b);
                *bytes = lines.join(&b'\n');
            }
            5 => {
                let long = vec![b"aA0;,<\"\\"[dice.below(8)]; 1 << dice.below(13)];
                bytes.splice(at..at, long);
            }
            6 => {
                let piece = SPICE[dice.below(SPICE.len())];
                bytes.splice(at..to, piece.iter().copied());
            }
            _ => {
                let piece = SPICE[dice.below(SPICE.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes.truncate(60_000);
}

/// What phones say of presence, before it is spoiled: each package, each kind of body.
fn presence_seeds(local: std::net::SocketAddr, over: Over, user: &str) -> Vec<Vec<u8>> {
    let me = format!("sip:{user}@example.org");
    let publish = |body: &str| {
        let request = Req::new("PUBLISH", &me, &me).header("Event: presence").header("Expires: 600");
        request.header("Content-Type: application/pidf+xml").body(body)
    };
    let subscribe = |event: &str, to: &str| {
        Req::new("SUBSCRIBE", to, &me)
            .header(&format!("Event: {event}"))
            .header("Expires: 600")
            .header(&format!("Contact: <sip:{user}@{local}>"))
            .header("Accept: application/pidf+xml, application/rlmi+xml, multipart/related;q=0.5, */*")
            .header("Supported: eventlist")
    };
    let listed = |body: &str| {
        subscribe("presence", "sip:rls@example.org")
            .header("Require: recipient-list-subscribe")
            .header("Content-Disposition: recipient-list")
            .header("Content-Type: application/resource-lists+xml")
            .body(body)
    };
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><p:presence xmlns:p=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"{me}\"><p:tuple id=\"t1\"><p:status><p:basic>open</p:basic><x xmlns=\"urn:x\"><y/></x></p:status>\
         <p:contact priority=\"0.8\">{me}</p:contact><p:note xml:lang=\"en\">&#x41;&amp;b</p:note>\
         <p:timestamp>2026-01-01T00:00:00Z</p:timestamp></p:tuple><dm:person id=\"p1\"><rpid:activities>\
         <rpid:busy/><rpid:note>n</rpid:note></rpid:activities></dm:person><dm:device id=\"d\">\
         <dm:deviceID>urn:x</dm:deviceID></dm:device></p:presence>"
    );
    let list = "<?xml version=\"1.0\"?><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>\
                <entry uri=\"sip:alice@example.org\"><display-name>A</display-name></entry><list name=\"x\">\
                <entry uri=\"sip:bob@example.org;x=y?z=1\"/></list></list></resource-lists>";
    let mut within = subscribe("presence;id=1", "sip:alice@example.org");
    within.to = "sip:alice@example.org>;tag=0123456789abcdef".into();
    let list = [
        publish(&document),
        publish(&document).header("SIP-If-Match: 0123456789abcdef"),
        publish("").header("SIP-If-Match: 0123456789abcdef"),
        publish(&document).header("Content-Encoding: deflate"),
        subscribe("presence", "sip:alice@example.org"),
        subscribe("presence;id=7", &me).header("Record-Route: <sip:127.0.0.1;lr>, <sip:127.0.0.2;lr>"),
        subscribe("presence", &format!("sip:{user}+buddies@example.org")),
        subscribe("presence.winfo", &me),
        subscribe("conference", "sip:team@example.org"),
        subscribe("presence", "sip:team@example.org"),
        subscribe("message-summary", &me),
        listed(list),
        listed(list).header("Content-Encoding: gzip"),
        within,
    ];
    list.iter().map(|request| request.bytes(over, local, None)).collect()
}

type Seeds = fn(std::net::SocketAddr, Over, &str) -> Vec<Vec<u8>>;

/// Rains on a daemon; it must be as before. Then it is given to `after`.
fn rain(name: &str, setup: Setup, seeds: Seeds, after: impl Fn(&Daemon, &Phone, &Phone)) {
    let mut dice = Dice::new(name);
    let daemon = setup.start();
    daemon.account("alice", "secret of alice");
    daemon.account("bob", "secret of bob");
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    let duration = Duration::from_secs(if long_form() { 300 } else { 15 });
    let begun = Instant::now();
    let socket = Datagrams::new(daemon.addr);
    let (mut datagrams, mut streams, mut round) = (0u64, 0u64, 0u32);
    while begun.elapsed() < duration {
        let seeds_udp = seeds(socket.local(), Over::Udp, "fuzz-udp");
        for _ in 0..100 {
            let mut bytes = seeds_udp[dice.below(seeds_udp.len())].clone();
            spoil(&mut dice, &mut bytes);
            datagrams += u64::from(socket.send(&bytes));
        }
        while socket.receive(Duration::from_millis(1)).is_some() {}
        let mut stream = wire::connect(daemon.addr);
        let seeds_tcp = seeds(stream.local_addr().expect("an address"), Over::Tcp, "fuzz-tcp");
        for _ in 0..10 {
            let mut bytes = seeds_tcp[dice.below(seeds_tcp.len())].clone();
            if dice.below(3) > 0 {
                spoil(&mut dice, &mut bytes);
            }
            // The daemon closes a stream whose framing is lost.
            if stream.write_all(&bytes).is_err() {
                break;
            }
            streams += 1;
        }
        if dice.below(2) == 0 {
            // Closing the write side, not both: what is written is still read.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            wire::read_until(&mut stream, Duration::from_millis(20), |_| false);
        }
        round += 1;
        if round.is_multiple_of(20) {
            assert!(daemon.options(PATIENCE).is_some(), "{name}: no answer to OPTIONS\n{}", daemon.log());
            assert!(daemon.rss_kib() < RSS_LIMIT_KIB, "{name}: {} KiB resident", daemon.rss_kib());
        }
    }
    println!("{name}: {datagrams} datagrams, {streams} messages on streams");
    assert!(datagrams > 500 && streams > 100, "too little rain: {datagrams}, {streams}");
    daemon.must_be_alive();
    chat_works(&alice, &bob, "after the rain");
    after(&daemon, &alice, &bob);
    assert!(daemon.rss_kib() < RSS_LIMIT_KIB, "{name}: {} KiB resident", daemon.rss_kib());
    assert!(!daemon.logged("panicked"), "{name}: a panic in the log");
}

#[test]
fn a_rain_of_spoiled_requests_is_survived_open() {
    rain("fuzz, open", Setup::new(), seeds, |_, _, _| {});
}

#[test]
fn a_rain_of_spoiled_requests_is_survived_digest() {
    rain("fuzz, digest", Setup::new().digest(), seeds, |_, _, _| {});
}

#[test]
fn a_rain_of_spoiled_presence_is_survived_and_watchers_are_told_as_before() {
    let setup = Setup::new().set("presence.open", "true").set("presence.throttle", "false");
    rain("fuzz, presence", setup, presence_seeds, |_, alice, bob| {
        let watch = bob.watches("presence", "alice");
        let answer = alice.publishes(None, 600, &pidf("alice@example.org", "open", "<rpid:busy/>"));
        assert_eq!(answer.status(), 200, "{}", answer.start);
        watch.hears("she is busy", |said| said.text().contains("<rpid:busy/>"));
        assert_eq!(watch.again(0).status(), 200);
        watch.hears("the end", |said| said.header("Subscription-State").starts_with("terminated;"));
    });
}
