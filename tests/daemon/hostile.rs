//! Wrong, malformed and malicious traffic: each gets the answer it deserves, and the daemon lives on unmoved.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::chat::room;
use crate::kit::wire::{self, Datagrams};
use crate::kit::{Act, Daemon, Msg, Over, PATIENCE, Phone, Req, Setup, token};

/// Sends a request over UDP from a bare socket, changed by `change` as text; the answer.
fn ask(daemon: &Daemon, request: &Req, change: impl Fn(String) -> String) -> Option<Msg> {
    let socket = Datagrams::new(daemon.addr);
    let text = String::from_utf8(request.bytes(Over::Udp, socket.local(), None)).unwrap();
    socket.send(change(text).as_bytes());
    socket.answer(&request.call_id, Duration::from_secs(3))
}

fn request(method: &str, uri: &str) -> Req {
    Req::new(method, uri, "sip:mallory@example.org")
}

fn post(text: &str) -> Req {
    request("MESSAGE", "sip:team@example.org").header("Content-Type: text/plain").body(text)
}

fn same(text: String) -> String {
    text
}

#[test]
fn methods_and_headers_we_do_not_serve_are_answered_by_the_book() {
    for setup in [Setup::new(), Setup::new().digest()] {
        let daemon = setup.start();
        let invite =
            ask(&daemon, &request("INVITE", "sip:team@example.org"), same).expect("INVITE is answered");
        assert_eq!(invite.status(), 405, "{}", invite.start);
        let allow = invite.header("Allow").to_string();
        for method in ["MESSAGE", "REGISTER", "OPTIONS"] {
            assert!(allow.contains(method), "Allow: {allow}");
        }
        assert!(!allow.contains("INVITE"), "Allow: {allow}");
        for method in ["BOGUS", "message"] {
            let answer =
                ask(&daemon, &request(method, "sip:team@example.org"), same).expect("it is answered");
            assert_eq!(answer.status(), 501, "{method}: {}", answer.start);
            assert!(answer.get("WWW-Authenticate").is_none());
        }
        let options = daemon.options(PATIENCE).expect("OPTIONS is free");
        assert_eq!(options.status(), 200);
        assert!(
            options.header("Allow").contains("MESSAGE") && options.get("Accept").is_some(),
            "{options:?}"
        );
        let required = request("OPTIONS", "sip:example.org").header("Require: foo, bar");
        let answer = ask(&daemon, &required, same).expect("it is answered");
        assert_eq!(answer.status(), 420, "{}", answer.start);
        let unsupported = answer.all("Unsupported").join(",");
        assert!(unsupported.contains("foo") && unsupported.contains("bar"), "Unsupported: {unsupported}");
        let seven = ask(&daemon, &request("OPTIONS", "sip:example.org"), |t| {
            t.replacen(" SIP/2.0\r", " SIP/7.0\r", 1)
        });
        assert_eq!(seven.expect("it is answered").status(), 505);
        let cancel = ask(&daemon, &request("CANCEL", "sip:team@example.org"), same).expect("it is answered");
        assert_eq!(cancel.status(), 481, "{}", cancel.start);
        let ack = Datagrams::new(daemon.addr);
        ack.send(&request("ACK", "sip:team@example.org").bytes(Over::Udp, ack.local(), None));
        let after = request("OPTIONS", "sip:example.org");
        ack.send(&after.bytes(Over::Udp, ack.local(), None));
        let first = Msg::parse(&ack.receive(PATIENCE).expect("OPTIONS is answered")).unwrap();
        assert_eq!(first.call_id(), after.call_id, "an ACK is never answered: {}", first.start);
    }
}

/// Changes one thing in a request as text.
type Spoil = fn(String) -> String;

#[test]
fn malformed_requests_are_refused_and_change_nothing() {
    let daemon = Daemon::open();
    let (alice, mallory) = (daemon.udp("alice"), daemon.udp("mallory"));
    room("team", &alice, &[&mallory]);
    let table: &[(&str, Spoil)] = &[
        ("CSeq of another method", |t| t.replacen("CSeq: 1 MESSAGE", "CSeq: 1 INVITE", 1)),
        ("CSeq too large", |t| t.replacen("CSeq: 1 ", "CSeq: 4294967296 ", 1)),
        ("CSeq without number", |t| t.replacen("CSeq: 1 ", "CSeq: x ", 1)),
        ("no From", |t| t.replacen("From: ", "X-From: ", 1)),
        ("no To", |t| t.replacen("\r\nTo: ", "\r\nX-To: ", 1)),
        ("no CSeq", |t| t.replacen("CSeq: ", "X-CSeq: ", 1)),
        ("two From", |t| t.replacen("\r\nTo: ", "\r\nFrom: <sip:alice@example.org>;tag=zz\r\nTo: ", 1)),
        ("two CSeq", |t| t.replacen("\r\nTo: ", "\r\nCSeq: 7 MESSAGE\r\nTo: ", 1)),
        ("space before the body of the URI", |t| t.replacen("MESSAGE sip:team", "MESSAGE sip:te am", 1)),
        ("brackets around the URI", |t| {
            t.replacen("sip:team@example.org SIP", "<sip:team@example.org> SIP", 1)
        }),
        ("Content-Length above the datagram", |t| t.replacen("Content-Length: ", "Content-Length: 9", 1)),
        ("negative Content-Length", |t| t.replacen("Content-Length: ", "Content-Length: -", 1)),
        ("signed Content-Length", |t| t.replacen("Content-Length: ", "Content-Length: +", 1)),
        ("hexadecimal Content-Length", |t| t.replacen("Content-Length: ", "Content-Length: 0x", 1)),
        ("Content-Length above 2^31", |t| t.replacen("Content-Length: ", "Content-Length: 42949672", 1)),
        ("two Content-Lengths", |t| {
            t.replacen("Content-Length: ", "Content-Length: 1\r\nContent-Length: ", 1)
        }),
    ];
    for (n, (what, spoil)) in table.iter().enumerate() {
        let answer = ask(&daemon, &post(&format!("malformed {n}")), spoil);
        // Without a usable Via or Call-ID there is nobody to answer; all of these have both.
        let answer = answer.unwrap_or_else(|| panic!("{what}: not answered"));
        assert_eq!(answer.status(), 400, "{what}: {}", answer.start);
    }
    let fine = ask(&daemon, &post("odd but fine"), |t| {
        let odd = "X-Foo: \u{1}\r\ndate: nonsense\r\nSubject: folded\r\n over lines\r\n\tand more\r\n";
        format!("{}{}", t.replacen("Content-Length", &format!("{odd}l"), 1), "junk after the body")
    });
    assert_eq!(fine.expect("it is answered").status(), 202);
    alice.hears("[mallory]: odd but fine");
    let zero = ask(&daemon, &post("CSeq 0"), |t| t.replacen("CSeq: 1 ", "CSeq: 0 ", 1));
    assert_eq!(zero.expect("it is answered").status(), 202);
    let bare = ask(&daemon, &post("no Max-Forwards"), |t| t.replacen("Max-Forwards: 70\r\n", "", 1));
    assert_eq!(bare.expect("it is answered").status(), 202);
    alice.hears("[mallory]: no Max-Forwards");
    assert!(!alice.texts().iter().any(|t| t.contains("malformed")), "{:?}", alice.texts());
}

#[test]
fn a_stream_whose_framing_is_lost_is_answered_400_and_closed() {
    let daemon = Daemon::open();
    let (alice, mallory) = (daemon.udp("alice"), daemon.udp("mallory"));
    room("team", &alice, &[&mallory]);
    let inner = String::from_utf8(post("smuggled").bytes(Over::Tcp, mallory.local(), None)).unwrap();
    for length in [
        "-1",
        "4294967328",
        "99999999999999999999",
        "1 2",
        "+5",
        "0x10",
        "5\r\nContent-Length: 6",
        "",
        "none",
    ] {
        let outer = post("").bytes(Over::Tcp, mallory.local(), None);
        let outer = String::from_utf8(outer).unwrap();
        let line = if length == "none" { String::new() } else { format!("Content-Length: {length}\r\n") };
        let bytes = outer.replacen("Content-Length: 0\r\n", &line, 1) + &inner;
        let reply = wire::exchange(daemon.addr, bytes.as_bytes(), |_| false);
        assert!(reply.closed, "Content-Length {length:?}: the connection stays open");
        let statuses: Vec<u16> = reply.messages.iter().map(Msg::status).collect();
        assert!(
            statuses.len() <= 1 && statuses.iter().all(|s| *s == 400 || *s == 513),
            "{length:?}: {statuses:?}"
        );
    }
    alice.expect(202, "team", "marker");
    mallory.hears("[alice]: marker");
    assert!(!alice.texts().iter().any(|t| t.contains("smuggled")), "{:?}", alice.texts());
    daemon.must_be_alive();
}

#[test]
fn keep_alives_on_a_stream_are_answered_by_one_crlf() {
    let daemon = Daemon::open();
    let reply = wire::exchange(daemon.addr, b"\r\n\r\n", |r| r.crlfs > 0);
    // A lone CRLF comes back; `take` counts it.
    assert_eq!((reply.crlfs, reply.messages.len()), (1, 0), "{reply:?}");
    let options =
        request("OPTIONS", "sip:example.org").bytes(Over::Tcp, "127.0.0.1:9".parse().unwrap(), None);
    let lone = [b"\r\n".as_slice(), &options].concat();
    let reply = wire::exchange(daemon.addr, &lone, |r| !r.messages.is_empty());
    assert_eq!((reply.crlfs, reply.messages.len()), (0, 1), "a lone CRLF asks for nothing: {reply:?}");
    assert_eq!(reply.messages[0].status(), 200);
    // Byte by byte, and two in one piece, are framed alike.
    let two = [
        options.clone(),
        request("OPTIONS", "sip:example.org").bytes(Over::Tcp, "127.0.0.1:9".parse().unwrap(), None),
    ];
    let reply = wire::exchange(daemon.addr, &two.concat(), |r| r.messages.len() == 2);
    assert_eq!(reply.messages.len(), 2);
    let mut stream = wire::connect(daemon.addr);
    for byte in &options {
        std::io::Write::write_all(&mut stream, &[*byte]).unwrap();
    }
    let reply = wire::read_until(&mut stream, PATIENCE, |r| !r.messages.is_empty());
    assert_eq!(reply.messages.len(), 1);
}

#[test]
fn a_slow_loris_is_closed_while_a_bound_connection_stays() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    let mut idle = wire::connect(daemon.addr);
    let mut loris = wire::connect(daemon.addr);
    let bytes = post("never whole").bytes(Over::Tcp, "127.0.0.1:9".parse().unwrap(), None);
    let begun = Instant::now();
    let mut closed = false;
    for byte in bytes.iter().cycle() {
        // One byte, then a second of listening for the end.
        let gone =
            std::io::Write::write_all(&mut loris, &[if *byte == b'\r' { b'x' } else { *byte }]).is_err();
        closed = gone || wire::read_until(&mut loris, Duration::from_secs(1), |_| false).closed;
        if closed || begun.elapsed() > Duration::from_secs(120) {
            break;
        }
    }
    assert!(closed, "a byte each second kept a connection open for {:?}", begun.elapsed());
    let reply = wire::read_until(&mut idle, Duration::from_secs(120), |_| false);
    assert!(
        reply.closed && reply.messages.is_empty(),
        "an idle connection without a binding stays: {reply:?}"
    );
    assert!(!bob.is_broken(), "the connection of a live binding was closed");
    alice.expect(202, "team", "over the old connection");
    bob.hears("[alice]: over the old connection");
    assert!(!bob.is_broken());
}

#[test]
fn an_answer_goes_back_where_the_request_came_from_and_nowhere_else() {
    let daemon = Daemon::open();
    let victim = UdpSocket::bind("127.0.0.77:0").expect("a free port");
    let there = victim.local_addr().unwrap();
    for via in [
        format!("{there};rport;maddr=127.0.0.77"),
        format!("{there};rport;received=127.0.0.77"),
        format!("{there};rport"),
    ] {
        let options = request("OPTIONS", "sip:example.org");
        let socket = Datagrams::new(daemon.addr);
        let text = String::from_utf8(options.bytes(Over::Udp, socket.local(), None)).unwrap();
        let text = text.replacen(&format!("{};rport", socket.local()), &via, 1);
        assert!(text.contains(&via));
        socket.send(text.as_bytes());
        let answer = socket.answer(&options.call_id, PATIENCE).expect("the answer comes to the sender");
        assert!(answer.header("Via").contains("received=127.0.0.1"), "{}", answer.header("Via"));
    }
    victim.set_nonblocking(true).unwrap();
    assert!(victim.recv_from(&mut [0; 2000]).is_err(), "a packet was sent to an address that Via named");
}

#[test]
fn vias_and_their_order_come_back_unchanged() {
    let daemon = Daemon::open();
    let answer = ask(&daemon, &request("OPTIONS", "sip:example.org"), |t| {
        let more = "Via: SIP/2.0/UDP b.invalid;branch=z9hG4bKb, SIP/2.0/TCP c.invalid:99;branch=z9hG4bKc;x=\"y,z\"\r\n";
        let at = t.find("Max-Forwards").unwrap();
        format!("{}{more}{}", &t[..at], &t[at..])
    });
    let answer = answer.expect("it is answered");
    let vias = answer.all("Via").join(", ");
    let tail = "SIP/2.0/UDP b.invalid;branch=z9hG4bKb, SIP/2.0/TCP c.invalid:99;branch=z9hG4bKc;x=\"y,z\"";
    assert!(vias.ends_with(tail), "{vias}");
}

#[test]
fn without_credentials_there_is_a_challenge_and_no_trace() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    let alice = daemon.udp("alice");
    alice.expect(202, "team", "#create");
    let before = daemon.rss_kib();
    let methods = ["REGISTER", "MESSAGE", "SUBSCRIBE", "PUBLISH", "NOTIFY"];
    let socket = Datagrams::new(daemon.addr);
    let rounds = if crate::kit::long_form() { 200_000 } else { 10_000 };
    let (mut sent, mut came, mut checked) = (0u32, 0u32, 0u32);
    let mut look = |bytes: Vec<u8>| {
        came += 1;
        let Some(msg) = Msg::parse(&bytes) else { panic!("no SIP: {}", String::from_utf8_lossy(&bytes)) };
        assert_eq!(msg.status(), 401, "{}", msg.start);
        assert!(
            msg.get("WWW-Authenticate").is_some_and(|c| c.starts_with("Digest ")),
            "401 without challenge: {msg:?}"
        );
        checked += 1;
    };
    for n in 0..rounds {
        let method = methods[n % methods.len()];
        let uri = if method == "REGISTER" {
            "sip:example.org".to_string()
        } else {
            format!("sip:u{n}@example.org")
        };
        let mut flood = Req::new(method, &uri, &format!("sip:u{n}@example.org"));
        flood.to = format!("sip:u{n}@example.org");
        flood.headers = vec![format!("Contact: <sip:u{n}@{}>", socket.local()), "Event: presence".into()];
        sent += u32::from(socket.send(&flood.bytes(Over::Udp, socket.local(), None)));
        if n % 50 == 49 {
            // Keeps step with the daemon, so that the kernel drops little.
            socket.receive(Duration::from_secs(2)).into_iter().for_each(&mut look);
            while let Some(bytes) = socket.receive(Duration::from_millis(1)) {
                look(bytes);
            }
        }
    }
    while let Some(bytes) = socket.receive(Duration::from_millis(300)) {
        look(bytes);
    }
    assert!(
        came <= sent && checked > sent / 2,
        "{sent} requests, {came} answers: one packet for one, at most"
    );
    let after = daemon.rss_kib();
    assert!(after < before + 64 * 1024, "memory grew from {before} to {after} KiB");
    let file = rusqlite::Connection::open(daemon.dir().join("imcd.db")).unwrap();
    let count = |table: &str| -> i64 {
        file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("imc_rooms"), count("imc_members")), (1, 1), "strangers left rooms or members");
    alice.expect(202, "team", "still served");
    // Who has shown who he is hears that we watch nobody.
    let stray = alice.request("NOTIFY", "alice").header("Event: presence");
    assert_eq!(alice.ask(stray.header("Subscription-State: active")).status(), 481);
}

/// What a stranger can see of an answer: status, reason, and each header with the length of its value.
fn shape(answer: &Msg) -> (String, Vec<(String, usize)>) {
    let line = |(n, v): &(String, String)| (n.clone(), if n == "Date" { 0 } else { v.len() });
    (answer.start.clone(), answer.headers.iter().map(line).collect())
}

#[test]
fn existing_and_unknown_users_are_not_told_apart() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    let (known, unknown) =
        (daemon.phone("alice").password("wrong").up(), daemon.phone("zelda").password("wrong").up());
    let register = |phone: &Phone| phone.register_request(&phone.contact(), 3600);
    for send in [
        |phone: &Phone, request: Req| {
            phone.transact(&request.bytes(Over::Udp, phone.local(), None), &request.branch).unwrap()
        },
        Phone::ask,
    ] {
        let (a, b) = (send(&known, register(&known)), send(&unknown, register(&unknown)));
        assert_eq!(a.status(), 401);
        assert_eq!(shape(&a), shape(&b), "REGISTER tells whether a user exists");
        let (a, b) = (send(&known, known.message("alice", "x")), send(&known, known.message("zelda", "x")));
        assert_eq!(shape(&a), shape(&b), "MESSAGE tells whether its recipient exists");
    }
}

#[test]
fn a_members_own_challenge_is_never_answered() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    bob.responds(|_| Act::Answer(407));
    alice.expect(202, "team", "challenge this");
    bob.offered("[alice]: challenge this");
    bob.responds(|_| Act::Answer(200));
    bob.register();
    alice.expect(202, "team", "after");
    bob.hears("[alice]: after");
    for got in bob.got() {
        let leaked = got.msg.get("Authorization").or(got.msg.get("Proxy-Authorization"));
        assert!(leaked.is_none(), "credentials were sent to a member: {:?}", got.msg);
    }
}

#[test]
fn responses_that_belong_to_nothing_are_dropped() {
    let daemon = Daemon::open();
    let socket = Datagrams::new(daemon.addr);
    for via in [daemon.addr.to_string(), "elsewhere.invalid".into()] {
        let id = token();
        socket.send(
            format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{id}\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>;tag=2\r\nCall-ID: {id}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        );
    }
    let options = request("OPTIONS", "sip:example.org");
    socket.send(&options.bytes(Over::Udp, socket.local(), None));
    let first = Msg::parse(&socket.receive(PATIENCE).expect("OPTIONS is answered")).unwrap();
    assert_eq!(first.call_id(), options.call_id, "a response was answered: {}", first.start);
}
