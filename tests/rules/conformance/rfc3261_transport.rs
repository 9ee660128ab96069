//! RFC 3261 §7, §8.2, §18 and RFC 3581: how a request is read, refused and answered.

use std::time::Duration;

use imcd::sip::endpoint::Keep;
use imcd::types::{ConnId, Dest};

use crate::rig::{Ask, Asked, Heard, Rig, tcp, to_udp, udp, udp_from};

#[test]
fn t02_compact_names_and_any_case_say_the_same() {
    let mut rig = Rig::new();
    let compact = Ask::message("c")
        .row("Via", "v: SIP/2.0/UDP 192.0.2.7:5099;branch=z9hG4bKc;rport")
        .row("From", "f: \"Alice\" <sip:alice@example.org>;tag=fc")
        .row("To", "T: <sip:team@example.org>")
        .row("Call-ID", "i: call-c")
        .row("CSeq", "CSEQ: 1 MESSAGE")
        .row("Content-Type", "c: text/plain")
        .and("l: 5");
    let key = rig.taken(udp(), &compact.bytes());
    // And the long form is the same transaction.
    rig.ignored(udp(), &Ask::message("c").bytes());
    rig.answers(key, &Asked::new(udp(), &compact.bytes()), 202, Keep::Cached);
    assert_eq!(rig.sent()[0].code(), 202);
}

#[test]
fn t03_a_method_in_another_case_is_another_method() {
    let mut rig = Rig::new();
    assert_eq!(rig.refused(udp(), &Ask::new("message", "m").bytes()).code(), 501);
}

#[test]
fn t04_folded_lines_are_one_value() {
    let mut rig = Rig::new();
    let folded = Ask::message("f")
        .row("Via", "Via: SIP/2.0/UDP\r\n 192.0.2.7:5099\r\n\t;branch=z9hG4bKf\r\n ;rport")
        .and("Subject: one\r\n two");
    rig.taken(udp(), &folded.bytes());
    rig.ignored(udp(), &folded.bytes());
}

#[test]
fn t05_rows_and_commas_are_one_list() {
    let (one, two) = ("SIP/2.0/UDP p.example;branch=z9hG4bKp", "SIP/2.0/TCP q.example;branch=z9hG4bKq");
    let top = "SIP/2.0/UDP 192.0.2.7:5099;branch=z9hG4bKo";
    let rows = Ask::new("OPTIONS", "o")
        .row("Via", &format!("Via: {top}"))
        .and(&format!("Via: {one}"))
        .and(&format!("Via: {two}"));
    let comma = Ask::new("OPTIONS", "o").row("Via", &format!("Via: {top}, {one}, {two}"));
    let (mut a, mut b) = (Rig::new(), Rig::new());
    let (a, b) = (a.refused(udp(), &rows.bytes()), b.refused(udp(), &comma.bytes()));
    let flat = |values: Vec<&str>| values.join(", ");
    assert_eq!(flat(a.all("Via")), flat(b.all("Via")));
    assert_eq!((a.code(), a.to), (b.code(), b.to));
}

/// A message with one fault, and its answer.
fn refusals(rows: &[(&str, Ask, u16)]) {
    for (what, ask, status) in rows {
        let mut rig = Rig::new();
        let reply = rig.refused(udp(), &ask.bytes());
        assert_eq!(reply.code(), *status, "{what}: {}", reply.text);
        assert_eq!(reply.get("Call-ID"), "call-x", "{what}");
        assert_eq!(reply.get("Content-Length"), "0", "{what}");
        assert!(reply.tag().is_some(), "{what}");
        // A response or an ACK with the same fault is not answered (RFC 3261 §17).
        let ack = Ask { start: ask.start.replace("MESSAGE", "ACK"), ..ask.clone() };
        let rows = ack.rows.iter().map(|row| row.replace("MESSAGE", "ACK")).collect();
        rig.ignored(udp(), &Ask { rows, ..ack }.bytes());
        let response = Ask { start: "SIP/2.0 200 OK".into(), ..ask.clone() };
        rig.hears(udp(), &response.bytes());
        assert_eq!(rig.sent(), [], "{what}");
    }
}

#[test]
fn t06_t07_the_start_line_is_judged_first() {
    let message = || Ask::message("x");
    refusals(&[
        ("version", message().start("MESSAGE sip:team@example.org SIP/7.0"), 505),
        ("angles", message().start("MESSAGE <sip:team@example.org> SIP/2.0"), 400),
        ("space", message().start("MESSAGE sip:team@example.org; lr SIP/2.0"), 400),
    ]);
}

#[test]
fn t08_bytes_past_content_length_are_dropped() {
    let mut rig = Rig::new();
    let ask = Ask::message("x").and("Content-Length: 5").body("hellojunkjunkjunkjunkjunk");
    match rig.hears(udp(), &ask.bytes()) {
        Heard::Request { body, .. } => assert_eq!(body, b"hello"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn t09_a_datagram_that_is_too_short_is_400_or_dropped() {
    let short = Ask::message("x").and("Content-Length: 50");
    let mut rig = Rig::new();
    assert_eq!(rig.refused(udp(), &short.bytes()).code(), 400);
    rig.ignored(udp(), &short.start("SIP/2.0 200 OK").bytes());
}

#[test]
fn t10_t11_a_stream_that_cannot_be_framed_is_answered_once() {
    let mut rig = Rig::new();
    let without = Ask::message("x").bytes();
    let without = String::from_utf8(without).unwrap().replace("Content-Length: 5\r\n", "");
    let mut out = Vec::new();
    rig.endpoint.refuse(tcp(), without.as_bytes(), 400, "Content-Length Missing", &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].to, Dest::Conn(ConnId(9)));
    assert!(out[0].bytes.starts_with(b"SIP/2.0 400 "));
    out.clear();
    rig.endpoint.refuse(tcp(), b"\x16\x03\x01 this is TLS", 400, "Bad Request", &mut out);
    let response = Ask::message("x").start("SIP/2.0 200 OK").bytes();
    rig.endpoint.refuse(tcp(), &response, 400, "Bad Request", &mut out);
    let ack = Ask::new("ACK", "x").bytes();
    rig.endpoint.refuse(tcp(), &ack, 400, "Bad Request", &mut out);
    assert_eq!(out, []);
}

#[test]
fn t11_a_content_length_that_is_none_is_400() {
    let message = || Ask::message("x");
    refusals(&[
        ("negative", message().and("Content-Length: -1"), 400),
        ("huge", message().and("Content-Length: 4294967328"), 400),
        ("signed", message().and("Content-Length: +5"), 400),
        ("hexadecimal", message().and("Content-Length: 0x5"), 400),
        ("two", message().and("Content-Length: 5").and("Content-Length: 4"), 400),
    ]);
}

#[test]
fn t12_t13_what_is_too_large_has_a_status_of_its_own() {
    let mut rig = Rig::with(|config| config.limits.body = 100);
    assert_eq!(rig.refused(udp(), &Ask::message("x").body(&"x".repeat(101)).bytes()).code(), 413);
    rig.taken(udp(), &Ask::message("y").body(&"x".repeat(100)).bytes());
    let long = format!("MESSAGE sip:{}@example.org SIP/2.0", "u".repeat(3000));
    refusals(&[
        ("uri", Ask::message("x").start(&long), 414),
        ("header", Ask::message("x").and(&format!("Subject: {}", "s".repeat(20_000))), 513),
    ]);
}

#[test]
fn t14_a_datagram_of_60_kb_is_taken_where_limits_allow() {
    let mut rig = Rig::with(|config| config.limits.body = 65_535);
    rig.taken(udp(), &Ask::message("x").body(&"x".repeat(60_000)).bytes());
}

#[test]
fn t15_each_header_that_must_be_there() {
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let mut rig = Rig::new();
        let heard = rig.hears(udp(), &Ask::message("x").row(name, "").bytes());
        assert_eq!(heard, Heard::Nothing, "{name}");
        let sent = rig.sent();
        assert!(sent.iter().all(|reply| reply.code() == 400), "{name}: {sent:?}");
    }
    let mut rig = Rig::new();
    rig.ignored(udp(), &Ask::message("x").row("Via", "").bytes());
    rig.taken(udp(), &Ask::message("x").row("Max-Forwards", "").bytes());
}

#[test]
fn t16_t17_cseq_has_the_method_and_a_number_below_two_to_the_31() {
    refusals(&[
        ("method", Ask::message("x").row("CSeq", "CSeq: 1 INVITE"), 400),
        ("number", Ask::message("x").row("CSeq", "CSeq: 4294967296 MESSAGE"), 400),
        ("limit", Ask::message("x").row("CSeq", "CSeq: 2147483648 MESSAGE"), 400),
    ]);
    Rig::new().taken(udp(), &Ask::message("x").row("CSeq", "CSeq: 0 MESSAGE").bytes());
}

#[test]
fn t18_what_is_not_needed_may_be_broken() {
    let ask = Ask::message("x").and("X-Foo: \x01").and("Date: yesterday").and("Subject: \u{7f}");
    Rig::new().taken(udp(), &ask.bytes());
}

#[test]
fn t19_only_the_schemes_we_serve() {
    let uri = |uri: &str| Ask::message("x").start(&format!("MESSAGE {uri} SIP/2.0"));
    refusals(&[("tel", uri("tel:+15551212"), 416), ("unknown", uri("unknown:x"), 416)]);
    for known in ["sip:team@d", "SIPS:team@d", "im:team@d", "pres:team@d"] {
        Rig::new().taken(udp(), &uri(known).bytes());
    }
}

#[test]
fn t21_an_option_we_have_not_is_named() {
    let mut rig = Rig::new();
    let reply = rig.refused(udp(), &Ask::message("x").and("Require: foo,bar").bytes());
    assert_eq!((reply.code(), reply.get("Unsupported")), (420, "foo, bar"));
    let mixed = Ask::message("y").and("Require: path, foo").and("Proxy-Require: baz");
    let reply = rig.refused(udp(), &mixed.bytes());
    assert_eq!((reply.code(), reply.get("Unsupported")), (420, "foo, baz"));
    let broken = Ask::message("z").and("Require: foo\";evil");
    assert_eq!(rig.refused(udp(), &broken.bytes()).code(), 400);
    rig.taken(udp(), &Ask::message("p").and("Require: path").bytes());
    // ACK and CANCEL must not be refused for it (RFC 3261 §8.2.2.3).
    assert_eq!(rig.refused(udp(), &Ask::new("CANCEL", "q").and("Require: foo").bytes()).code(), 481);
}

#[test]
fn t22_methods_we_do_not_serve() {
    let table = [
        ("INVITE", 405),
        ("BYE", 405),
        ("INFO", 405),
        ("PRACK", 405),
        ("UPDATE", 405),
        ("REFER", 405),
        ("FROBNICATE", 501),
    ];
    for (method, status) in table {
        let mut rig = Rig::new();
        let reply = rig.refused(udp(), &Ask::new(method, "x").bytes());
        assert_eq!(reply.code(), status, "{method}");
        if status == 405 {
            assert_eq!(reply.get("Allow"), "MESSAGE, REGISTER, PUBLISH, SUBSCRIBE, OPTIONS", "{method}");
        }
        assert!(!reply.has("WWW-Authenticate"), "{method}");
    }
    // Not served either, but for the caller to refuse, who challenges first.
    Rig::new().taken(udp(), &Ask::new("NOTIFY", "n").bytes());
    let mut rig = Rig::with(|config| config.allow = &["MESSAGE", "SUBSCRIBE", "NOTIFY"]);
    rig.taken(udp(), &Ask::new("SUBSCRIBE", "s").bytes());
    rig.taken(udp(), &Ask::new("NOTIFY", "n").bytes());
    assert_eq!(rig.refused(udp(), &Ask::new("REGISTER", "r").bytes()).code(), 405);
}

#[test]
fn t23_a_response_repeats_what_names_the_request() {
    let mut rig = Rig::new();
    let deeper =
        ["SIP/2.0/TCP  Proxy.Example ;branch=z9hG4bKdeep", "SIP/2.0/UDP [2001:db8::1]:5070;branch=1"];
    let ask = Ask::message("x").and(&format!("Via: {}", deeper[0])).and(&format!("Via: {}", deeper[1]));
    let key = rig.taken(udp(), &ask.bytes());
    rig.answers(key, &Asked::new(udp(), &ask.bytes()), 202, Keep::Cached);
    let reply = rig.sent().remove(0);
    let vias = reply.all("Via");
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[1..], deeper);
    assert!(vias[0].starts_with("SIP/2.0/UDP 192.0.2.7:5099;branch=z9hG4bKx;"), "{}", vias[0]);
    assert_eq!(reply.get("From"), "\"Alice\" <sip:alice@example.org>;tag=fx");
    assert_eq!((reply.get("Call-ID"), reply.get("CSeq")), ("call-x", "1 MESSAGE"));
    assert_eq!(reply.tag(), Some(rig.endpoint.tag(key).as_str()));
    // Only the 100 has no tag, and a tag that is there stays.
    let ask = Ask::message("y").row("To", "To: <sip:team@example.org>;tag=theirs");
    let key = rig.taken(udp(), &ask.bytes());
    rig.answers(key, &Asked::new(udp(), &ask.bytes()), 481, Keep::Cached);
    assert_eq!(rig.sent()[0].get("To"), "<sip:team@example.org>;tag=theirs");
    rig.taken(udp(), &Ask::message("z").bytes());
    let trying = rig.passes(Duration::from_millis(3_500));
    assert_eq!((trying[0].code(), trying[0].get("To")), (100, "<sip:team@example.org>"));
}

#[test]
fn t24_one_request_has_one_to_tag() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").bytes();
    let mut tags = Vec::new();
    for status in [401, 401, 202] {
        let key = rig.taken(udp(), &bytes);
        let keep = if status == 401 { Keep::Stateless } else { Keep::Cached };
        rig.answers(key, &Asked::new(udp(), &bytes), status, keep);
        tags.extend(rig.sent().iter().map(|reply| reply.tag().unwrap().to_owned()));
    }
    assert_eq!(tags[0].len(), 16);
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    let other = rig.refused(udp(), &Ask::new("OPTIONS", "y").bytes());
    assert_ne!(other.tag(), Some(tags[0].as_str()));
    // Another process has other tags: they cannot be foretold.
    let mut stranger = Rig::with(|config| config.secret = *b"somebody else's.");
    let theirs = stranger.refused(udp(), &Ask::new("OPTIONS", "y").bytes());
    assert_ne!(theirs.tag(), other.tag());
}

#[test]
fn t25_received_is_added_where_sent_by_is_not_the_source() {
    let ask = Ask::new("OPTIONS", "x").row("Via", "Via: SIP/2.0/UDP example.invalid;branch=z9hG4bKx");
    let reply = Rig::new().refused(udp(), &ask.bytes());
    assert!(reply.get("Via").contains(";received=192.0.2.7"), "{}", reply.text);
    let ask = Ask::new("OPTIONS", "x").row("Via", "Via: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKx");
    assert!(Rig::new().refused(udp(), &ask.bytes()).get("Via").contains(";received=192.0.2.7"));
}

#[test]
fn t26_rport_is_filled_and_obeyed() {
    let reply = Rig::new().refused(udp(), &Ask::new("OPTIONS", "x").bytes());
    let via = reply.get("Via");
    assert!(via.contains(";rport=40000") && via.contains(";received=192.0.2.7"), "{via}");
    // The same listener and the source's own port.
    assert_eq!(reply.to, to_udp("192.0.2.7:40000"));
}

#[test]
fn t27_without_rport_the_port_is_that_of_sent_by() {
    let to = |via: &str| {
        let ask = Ask::new("OPTIONS", "x").row("Via", &format!("Via: {via};branch=z9hG4bKx"));
        Rig::new().refused(udp(), &ask.bytes()).to
    };
    assert_eq!(to("SIP/2.0/UDP 192.0.2.7:5099"), to_udp("192.0.2.7:5099"));
    assert_eq!(to("SIP/2.0/UDP 192.0.2.7"), to_udp("192.0.2.7:5060"));
    assert_eq!(to("SIP/2.0/UDP elsewhere.example:5099"), to_udp("192.0.2.7:5099"));
    let six = udp_from("[2001:db8::7]:40000");
    let ask = Ask::new("OPTIONS", "x").row("Via", "Via: SIP/2.0/UDP [2001:db8::7]:5099;branch=z9hG4bKx");
    assert_eq!(Rig::new().refused(six, &ask.bytes()).to, to_udp("[2001:db8::7]:5099"));
}

#[test]
fn t28_on_a_stream_the_answer_takes_the_same_connection() {
    let mut rig = Rig::new();
    let ask = Ask::message("x").row("Via", "Via: SIP/2.0/TCP 192.0.2.7:5099;branch=z9hG4bKx");
    assert_eq!(
        rig.refused(tcp(), &ask.clone().start("MESSAGE tel:1 SIP/2.0").bytes()).to,
        Dest::Conn(ConnId(9))
    );
    let key = rig.taken(tcp(), &ask.bytes());
    rig.answers(key, &Asked::new(tcp(), &ask.bytes()), 202, Keep::Cached);
    assert_eq!(rig.sent()[0].to, Dest::Conn(ConnId(9)));
}

#[test]
fn t29_nothing_in_via_points_us_at_somebody_else() {
    let vias = [
        "SIP/2.0/UDP 192.0.2.7:5099;maddr=203.0.113.9;branch=z9hG4bKx;rport",
        "SIP/2.0/UDP 203.0.113.9:5099;maddr=203.0.113.9;branch=z9hG4bKx",
        "SIP/2.0/UDP 203.0.113.9:5099;received=203.0.113.9;branch=z9hG4bKx",
        "SIP/2.0/UDP 203.0.113.9:5099;received=203.0.113.9;rport=7;branch=z9hG4bKx",
        "SIP/2.0/UDP 203.0.113.9;ttl=9;branch=z9hG4bKx",
    ];
    for via in vias {
        for ask in [Ask::new("OPTIONS", "x"), Ask::new("INVITE", "x")] {
            let reply = Rig::new().refused(udp(), &ask.row("Via", &format!("Via: {via}")).bytes());
            match reply.to {
                Dest::Udp { to, .. } => {
                    assert_eq!(to.ip().to_string(), "192.0.2.7", "{via}");
                }
                other => panic!("{via}: {other:?}"),
            }
        }
    }
}

#[test]
fn t30_a_response_is_handed_on_with_its_top_via() {
    let mut rig = Rig::new();
    let foreign = Ask::new("MESSAGE", "x")
        .start("SIP/2.0 200 OK")
        .row("Via", "Via: SIP/2.0/UDP elsewhere.example:5080;branch=z9hG4bKx");
    assert_eq!(rig.hears(udp(), &foreign.bytes()), Heard::Response(200, "elsewhere.example:5080".to_owned()));
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.endpoint.due(), None);
}

#[test]
fn t47_options_tells_what_we_can_do() {
    let mut rig = Rig::new();
    let ask = Ask::new("OPTIONS", "x").row("Max-Forwards", "Max-Forwards: 0");
    let reply = rig.refused(udp(), &ask.bytes());
    assert_eq!(reply.code(), 200);
    assert_eq!(reply.get("Allow"), "MESSAGE, REGISTER, PUBLISH, SUBSCRIBE, OPTIONS");
    assert_eq!(reply.get("Accept"), "text/plain, message/cpim, */*");
    assert_eq!(reply.get("Accept-Encoding"), "identity, deflate");
    assert_eq!(reply.get("Supported"), "path, recipient-list-message, recipient-list-subscribe, eventlist");
    assert!(!reply.has("Allow-Events") && !reply.has("Server"));
    // The same answer for everybody and every address.
    let nobody = ask.start("OPTIONS sip:nobody@example.org SIP/2.0").bytes();
    assert_eq!(rig.refused(udp(), &nobody).text, reply.text);
    let mut rig = Rig::with(|config| {
        config.server = Some("imcd/1".to_owned());
        config.allow_events = &["presence"];
    });
    let reply = rig.refused(udp(), &Ask::new("OPTIONS", "x").bytes());
    assert_eq!((reply.get("Server"), reply.get("Allow-Events")), ("imcd/1", "presence"));
}

#[test]
fn t48_ack_is_never_answered_and_cancel_changes_nothing() {
    let mut rig = Rig::new();
    rig.ignored(udp(), &Ask::new("ACK", "a").bytes());
    rig.ignored(udp(), &Ask::new("ACK", "a").and("Require: foo").start("ACK tel:1 SIP/2.0").bytes());
    let cancel = |id: &str| Ask::new("CANCEL", id).bytes();
    assert_eq!(rig.refused(udp(), &cancel("nothing")).code(), 481);
    let ask = Ask::message("x").bytes();
    let key = rig.taken(udp(), &ask);
    let reply = rig.refused(udp(), &cancel("x"));
    assert_eq!((reply.code(), reply.get("CSeq")), (200, "1 CANCEL"));
    assert_eq!(reply.tag(), Some(rig.endpoint.tag(key).as_str()));
    assert_eq!(rig.refused(udp(), &cancel("x")).text, reply.text);
    // The MESSAGE goes on, and after its answer too the CANCEL finds it.
    rig.answers(key, &Asked::new(udp(), &ask), 202, Keep::Cached);
    assert_eq!(rig.sent()[0].code(), 202);
    assert_eq!(rig.refused(udp(), &cancel("x")).text, reply.text);
    // Another client's branch of the same name is another transaction.
    let stranger =
        Ask::new("CANCEL", "x").row("Via", "Via: SIP/2.0/UDP 192.0.2.9:5099;branch=z9hG4bKx;rport");
    assert_eq!(rig.refused(udp(), &stranger.bytes()).code(), 481);
}
