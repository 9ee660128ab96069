//! The wire: what is taken, what is refused and how, and that what we write is what others read.

use std::net::SocketAddr;
use std::path::Path;

use imcd::sip::framing::{Frame, Framer};
use imcd::sip::header::{ContactValue, contacts, parse_date, quote_display};
use imcd::sip::message::{Framing, Limits, Message, Name, Start};
use imcd::sip::uri::Uri;
use imcd::sip::write::{Response, finish, header, header_bytes, request_line, respond};
use proptest::prelude::*;

use crate::hostile::{CASES, GOOD, Verdict};

fn scan(bytes: &[u8]) -> Result<Message<'_>, imcd::sip::message::Malformed<'_>> {
    Message::scan(bytes, Framing::Datagram, &Limits::default())
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 99], 40000))
}

fn verdict(bytes: &[u8]) -> Verdict {
    match scan(bytes) {
        Ok(_) => Verdict::Taken,
        Err(m) if m.answerable.is_some() => Verdict::Answered(m.status),
        Err(_) => Verdict::Dropped,
    }
}

/// Reads everything there is to read, so that a panic anywhere shows.
fn read_all(m: &Message<'_>) {
    let _ = (m.from().map(|a| a.display_text().is_some()), m.to(), m.cseq(), m.call_id(), m.top_via());
    let _ = (m.max_forwards(), m.expires(), m.retry_after(), m.content_type(), m.uri().map(|u| u.aor()));
    let _ = (m.vias().count(), contacts(m).count(), m.other("Subject").count(), format!("{m:?}"));
    for (_, name, value) in m.headers() {
        assert!(!name.is_empty());
        let _ = imcd::sip::header::split_commas(value).count();
        if let Ok(text) = std::str::from_utf8(value) {
            let _ = (parse_date(text), Uri::parse(text).map(|u| u.aor()), quote_display(text));
        }
    }
}

/// Whatever was asked, an answer is lines without controls, with the header count that we meant it to have.
fn assert_answer_is_clean(request: &Message<'_>) {
    let mut out = Vec::new();
    respond(&mut out, request, source(), 400, "Bad", "t", &[]);
    let Some(end) = memchr::memmem::find(&out, b"\r\n\r\n") else { panic!("not ended") };
    assert_eq!(end + 4, out.len());
    let text = &out[..end];
    let lines = text.split(|c| *c == b'\r').count();
    let copied = [Name::From, Name::To, Name::CallId, Name::CSeq];
    let meant =
        2 + request.all(Name::Via).count() + copied.iter().filter(|n| request.get(**n).is_some()).count();
    assert_eq!(lines, meant);
    for (i, c) in text.iter().enumerate() {
        let line_end =
            (*c == b'\r' && text.get(i + 1) == Some(&b'\n')) || (*c == b'\n' && text[i - 1] == b'\r');
        assert!(line_end || *c >= b' ' || *c == b'\t', "{c} at {i}");
    }
}

#[test]
fn hostile_messages_get_the_answer_of_their_section() {
    assert!(CASES.len() >= 60);
    for case in CASES {
        let bytes = case.bytes();
        assert!(case.section.starts_with("RFC ") && case.section.contains(" §"), "{}", case.section);
        assert_eq!(verdict(&bytes), case.verdict, "{}: {}", case.section, case.what);
        match scan(&bytes) {
            Ok(m) => {
                read_all(&m);
                assert_answer_is_clean(&m);
            }
            Err(e) => {
                if let Some(m) = e.answerable {
                    read_all(&m);
                    assert_answer_is_clean(&m);
                }
            }
        }
    }
}

/// Over a stream a message is taken or refused as in a datagram, and where its end is in doubt, nothing behind
/// it is read.
#[test]
fn hostile_messages_in_a_stream() {
    for case in CASES {
        let mut framer = Framer::new(Limits::default());
        framer.push(&case.bytes());
        framer.push(GOOD);
        let mut good = 0;
        let mut lost = false;
        while let Some(frame) = framer.next() {
            assert!(!lost, "{}: a frame after the last", case.what);
            match frame {
                Frame::KeepAlive => {}
                Frame::Skipped { head, .. } => {
                    if let Some(m) = Message::salvage(&head, &Limits::default()) {
                        assert_answer_is_clean(&m);
                    }
                }
                Frame::Bad { head, .. } => {
                    lost = true;
                    if let Some(m) = Message::salvage(&head, &Limits::default()) {
                        assert_answer_is_clean(&m);
                    }
                }
                Frame::Message(bytes) => match Message::scan(&bytes, Framing::Stream, &Limits::default()) {
                    Ok(_) => good += 1,
                    Err(e) => assert!(!e.fatal, "{}: framed, but lost: {e}", case.what),
                },
            }
        }
        let says_one_length = !matches!(
            case.what,
            "a length above what is there" | "bytes behind the body" | "nothing but an empty line"
        );
        if case.verdict == Verdict::Taken && !lost && says_one_length {
            assert_eq!(good, 2, "{}: {}", case.section, case.what);
        }
    }
}

/// The messages of RFC 4475 and RFC 5118, if they are beside the repository.
#[test]
fn torture_messages_get_the_verdict_that_was_written_for_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/torture");
    let Ok(table) = std::fs::read_to_string(folder.join("expected.csv")) else {
        return;
    };
    let mut seen = 0;
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split(',').collect();
        let (file, kind) = (columns[0], columns[4]);
        let expected = columns.iter().find(|c| ["accept", "reject", "either"].contains(c)).copied();
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let got = scan(&bytes);
        // To accept is to deliver, be it with an error to answer (RFC 4475 §3.3).
        let delivered = got.as_ref().is_ok() || got.as_ref().is_err_and(|e| e.answerable.is_some());
        match (expected, &got) {
            (Some("accept"), _) => assert!(delivered, "{file}: {got:?}"),
            (Some("reject"), Ok(_)) => panic!("{file} was taken"),
            (Some("reject"), Err(e)) => {
                assert_eq!(e.answerable.is_some(), kind == "request", "{file}");
                assert_eq!(e.status, if file.contains("badvers") { 505 } else { 400 }, "{file}");
                assert!(
                    kind == "response"
                        || e.answerable
                            .as_ref()
                            .is_some_and(|m| m.cseq().is_some() || file.contains("scalar02"))
                );
            }
            (Some("either"), _) => {}
            other => panic!("{file}: {other:?}"),
        }
        let refused = ["insuf", "multi01", "mcl01"].iter().any(|f| file.contains(f));
        if expected == Some("accept") {
            assert_eq!(got.is_err(), refused, "{file}: {got:?}");
        }
        if let Ok(m) = got {
            read_all(&m);
            assert_answer_is_clean(&m);
        }
        seen += 1;
    }
    assert_eq!(seen, 61);
}

#[test]
fn torture_values_are_read_as_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/torture");
    let read = |file: &str| std::fs::read(folder.join(file)).ok();
    let Some(wsinv) = read("rfc4475/wsinv.dat") else {
        return;
    };
    let m = scan(&wsinv).unwrap();
    assert_eq!(m.to().unwrap().tag(), Some("1918181833n"));
    assert_eq!(m.from().unwrap().display_text().as_deref(), Some("J Rosenberg \\\""));
    assert_eq!((m.max_forwards(), m.cseq()), (Some(68), Some((9, "INVITE"))));
    let vias: Vec<_> = m.vias().map(|v| v.unwrap()).map(|v| (v.transport, v.host, v.branch)).collect();
    assert_eq!(
        vias,
        [
            ("UDP", "192.0.2.2", Some("390skdjuw")),
            ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8")),
            ("UDP", "192.168.255.111", Some("z9hG4bK30239")),
        ]
    );
    assert_eq!(m.get(Name::Subject), Some(&b""[..]));
    let dblreq = read("rfc4475/dblreq.dat").unwrap();
    assert_eq!(scan(&dblreq).unwrap().body(), b"");
    let mpart = read("rfc4475/mpart01.dat").unwrap();
    assert_eq!(
        scan(&mpart).unwrap().body(),
        &mpart[memchr::memmem::find(&mpart, b"\r\n\r\n").unwrap() + 4..]
    );
    let cparam = read("rfc4475/cparam01.dat").unwrap();
    let m = scan(&cparam).unwrap();
    let Some(Ok(ContactValue::Addr(contact))) = contacts(&m).next() else { panic!() };
    assert_eq!(
        (contact.param("unknownparam"), contact.uri().unwrap().param("unknownparam")),
        (Some(""), None)
    );
    let cparam = read("rfc4475/cparam02.dat").unwrap();
    let m = scan(&cparam).unwrap();
    let Some(Ok(ContactValue::Addr(contact))) = contacts(&m).next() else { panic!() };
    assert_eq!(
        (contact.param("unknownparam"), contact.uri().unwrap().param("unknownparam")),
        (None, Some(""))
    );
    let unreason = read("rfc4475/unreason.dat").unwrap();
    let m = scan(&unreason).unwrap();
    let Start::Response { code: 200, reason } = m.start() else { panic!() };
    assert!(std::str::from_utf8(reason).is_ok() && !reason.is_ascii());
}

/// What real clients sent, if the captures are beside the repository.
#[test]
fn captured_messages_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    let (mut requests, mut responses) = (0, 0);
    for path in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "txt")) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for part in text.split("\n=== ").skip(1) {
            let (mark, message) = part.split_once('\n').unwrap();
            if !mark.contains("->") || message.trim().is_empty() {
                continue;
            }
            let (head, _) = message.split_once("\n\n").unwrap_or((message, ""));
            // Bodies lost their line ends when they were stored, so their length no longer fits.
            let rows = head.lines().filter(|l| !l.to_ascii_lowercase().starts_with("content-length"));
            let bytes = format!("{}\r\n\r\n", rows.collect::<Vec<_>>().join("\r\n"));
            let m = scan(bytes.as_bytes()).unwrap_or_else(|e| panic!("{path:?} {mark}: {e}\n{bytes}"));
            read_all(&m);
            assert!(m.top_via().is_some_and(|v| v.branch.is_some()));
            assert!(m.from().is_some_and(|f| f.tag().is_some() && f.uri().and_then(|u| u.aor()).is_some()));
            assert!(m.vias().all(|v| v.is_ok()) && contacts(&m).all(|c| c.is_ok()), "{bytes}");
            match m.method() {
                Some(_) => requests += 1,
                None => responses += 1,
            }
        }
    }
    assert!(requests > 100 && responses > 100, "{requests} {responses}");
}

/// rsip has read nothing of ours: if it finds in a response what we meant, others will.
#[test]
fn an_independent_reader_understands_what_we_write() {
    use rsip::prelude::*;
    let mut request = Vec::new();
    request_line(&mut request, "MESSAGE", "sip:team@example.org");
    header(&mut request, "Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx;rport");
    header(&mut request, "Via", "SIP/2.0/TCP proxy.example.org;branch=z9hG4bKy");
    header(
        &mut request,
        "From",
        &format!("{} <sip:alice@example.org>;tag=1", quote_display("Al\r\n\"ice\\")),
    );
    header(&mut request, "To", "<sip:team@example.org>");
    header(&mut request, "Call-ID", "one@10.0.0.1");
    header(&mut request, "CSeq", "1 MESSAGE");
    header(&mut request, "Max-Forwards", "70");
    finish(&mut request, "héllo".as_bytes());
    let theirs = rsip::Request::try_from(&request[..]).unwrap();
    assert_eq!(theirs.method, rsip::Method::Message);
    assert_eq!(theirs.body, "héllo".as_bytes());
    assert_eq!(theirs.headers.iter().count(), 8);
    assert_eq!(theirs.from_header().unwrap().tag().unwrap().unwrap().value(), "1");

    let ours = scan(&request).unwrap();
    let mut out = Vec::new();
    Response {
        code: 401,
        reason: "Unauthorized\r\nInjected: yes",
        to_tag: "t1",
        extra: &[("WWW-Authenticate", "Digest realm=\"r\r\nInjected: yes\", nonce=\"n\"")],
        body: b"",
    }
    .write(&mut out, &ours, source());
    let theirs = rsip::Response::try_from(&out[..]).unwrap();
    assert_eq!(theirs.status_code.code(), 401);
    assert_eq!(theirs.headers.iter().count(), 8);
    assert_eq!(theirs.to_header().unwrap().tag().unwrap().unwrap().value(), "t1");
    let via = theirs.via_header().unwrap().typed().unwrap();
    assert_eq!(via.received().unwrap().unwrap().to_string(), "192.0.2.99");
    assert_eq!(via.branch().unwrap().value(), "z9hG4bKx");
    assert_eq!(theirs.call_id_header().unwrap().value(), "one@10.0.0.1");
    assert_eq!(theirs.cseq_header().unwrap().typed().unwrap().seq, 1);
}

#[test]
fn our_own_reader_sees_one_response_whatever_the_text() {
    let m = scan(GOOD).unwrap();
    for text in ["a\r\nX: y", "a\r\n\r\nbody", "\0\x01\x7f", "a\n b", "\u{85}\u{2028}", "\r", ""] {
        let mut out = Vec::new();
        let extra = [(text, text), ("Subject", text)];
        Response { code: 200, reason: text, to_tag: text, extra: &extra, body: text.as_bytes() }.write(
            &mut out,
            &m,
            source(),
        );
        let got = scan(&out).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(got.headers().count(), 5 + 2 + 1, "{text:?}");
        assert_eq!(got.body(), text.as_bytes());
    }
}

prop_compose! {
    fn token()(text in "[A-Za-z0-9.!%*_+`'~-]{1,20}") -> String { text }
}

fn header_row() -> impl Strategy<Value = (String, Vec<u8>)> {
    // No name that has a meaning of its own: those are in the frame.
    let value = proptest::collection::vec(
        any::<u8>().prop_map(|c| if (c < b' ' && c != b'\t') || c == 0x7f { b'~' } else { c }),
        0..60,
    );
    ("X-[A-Za-z0-9.!%*_+`'~-]{1,20}", value)
}

/// How a name, and the white space around the colon, may be spelled.
fn respell(name: &str, how: u8) -> String {
    let compact = match name {
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Call-ID" => "i",
        "Content-Length" => "l",
        other => other,
    };
    match how % 6 {
        0 => format!("{name}: "),
        1 => format!("{}:", name.to_uppercase()),
        2 => format!("{}\t :  ", name.to_lowercase()),
        3 => format!("{compact}:"),
        4 => format!("{name}:\r\n "),
        _ => format!("{} :\t\r\n\t  ", compact.to_uppercase()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read(
        method in token(), user in "[a-z0-9._~-]{1,12}", cseq in 0u32..=i32::MAX as u32, hops: u8,
        display in ".{0,20}", tag in token(), rows in proptest::collection::vec(header_row(), 0..20),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let uri = format!("sip:{user}@example.org;transport=udp");
        let mut out = Vec::new();
        request_line(&mut out, &method, &uri);
        header(&mut out, "Via", "SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKp;rport");
        header(&mut out, "From", &format!("{} <{uri}>;tag={tag}", quote_display(&display)));
        header(&mut out, "To", &format!("<{uri}>"));
        header(&mut out, "Call-ID", &tag);
        header(&mut out, "CSeq", &format!("{cseq} {method}"));
        header(&mut out, "Max-Forwards", &hops.to_string());
        for (name, value) in &rows {
            header_bytes(&mut out, name, value);
        }
        finish(&mut out, &body);

        for framing in [Framing::Datagram, Framing::Stream] {
            let m = Message::scan(&out, framing, &Limits::default());
            prop_assert!(m.is_ok(), "{:?}", m);
            let m = m.unwrap();
            prop_assert_eq!(m.method(), Some(&*method));
            prop_assert_eq!(m.uri_text(), Some(&*uri));
            prop_assert_eq!(m.cseq(), Some((cseq, &*method)));
            prop_assert_eq!(m.max_forwards(), Some(hops));
            prop_assert_eq!(m.call_id(), Some(&*tag));
            prop_assert_eq!(m.from().unwrap().tag(), Some(&*tag));
            let seen: String = display.chars().filter(|c| {
                !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            }).collect();
            prop_assert_eq!(m.from().unwrap().display_text().unwrap(), seen);
            prop_assert_eq!(m.body(), &body[..]);
            let got: Vec<(Vec<u8>, Vec<u8>)> =
                m.headers().skip(6).take(rows.len()).map(|(_, n, v)| (n.to_vec(), v.to_vec())).collect();
            let trimmed: Vec<(Vec<u8>, Vec<u8>)> =
                rows.iter().map(|(n, v)| (n.clone().into_bytes(), trim(v).to_vec())).collect();
            prop_assert_eq!(got, trimmed);
        }
    }

    /// Spelling, folding and the choice of rows or commas change nothing (RFC 3261 §7.3).
    #[test]
    fn however_it_is_spelled_it_is_the_same_message(how in proptest::collection::vec(any::<u8>(), 8), comma: bool) {
        let spell = |i: usize, name: &str, value: &str| format!("{}{value}\r\n", respell(name, how[i]));
        let (one, two) = ("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKa", "SIP/2.0/TCP p.example.org;branch=z9hG4bKb");
        let vias = match comma {
            true => spell(0, "Via", &format!("{one} ,\r\n {two}")),
            false => spell(0, "Via", one) + &spell(1, "Via", two),
        };
        let text = format!(
            "MESSAGE sip:b@h SIP/2.0\r\n{vias}{}{}{}{}{}{}\r\nbody",
            spell(2, "From", "<sip:a@h>;tag=1"), spell(3, "To", "<sip:b@h>"), spell(4, "Call-ID", "c"),
            spell(5, "CSeq", "1 MESSAGE"), spell(6, "Max-Forwards", "7"), spell(7, "Content-Length", "4"),
        );
        let m = Message::scan(text.as_bytes(), Framing::Stream, &Limits::default());
        prop_assert!(m.is_ok(), "{text} {:?}", m);
        let m = m.unwrap();
        let branches: Vec<_> = m.vias().map(|v| v.unwrap().branch.unwrap()).collect();
        prop_assert_eq!(branches, ["z9hG4bKa", "z9hG4bKb"]);
        prop_assert_eq!(m.from().unwrap().tag(), Some("1"));
        prop_assert_eq!((m.call_id(), m.cseq(), m.max_forwards()), (Some("c"), Some((1, "MESSAGE")), Some(7)));
        prop_assert_eq!(m.body(), b"body");
        let mut framer = Framer::new(Limits::default());
        framer.push(text.as_bytes());
        prop_assert_eq!(framer.next(), Some(Frame::Message(text.clone().into())));
    }
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// Random damage: nothing panics, an answer is always clean, and whatever a stream says is a message has the
/// length that the scanner sees.
#[test]
fn damage_never_panics() {
    let mut random = 0x5eed_u64;
    let mut next = move || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize
    };
    let seeds: Vec<Vec<u8>> = CASES.iter().map(|c| c.bytes()).filter(|b| b.len() < 2000).collect();
    const PIECES: [&[u8]; 16] = [
        b"\r\n", b"\r", b"\n", b" ", b":", b";", b",", b"\"", b"\\", b"<", b">", b"%", b"\0", b"\r\n ", b"[",
        b"@",
    ];
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..30_000 {
        let mut bytes = seeds[next() % seeds.len()].clone();
        for _ in 0..1 + next() % 3 {
            let at = next() % bytes.len();
            match next() % 9 {
                0..3 => bytes[at] = next() as u8,
                3 => drop(bytes.drain(at..(at + 1 + next() % 9).min(bytes.len()))),
                4..7 => drop(bytes.splice(at..at, PIECES[next() % PIECES.len()].iter().copied())),
                7 => bytes.truncate(at.max(1)),
                _ => {
                    let copy = bytes[at..(at + next() % 60).min(bytes.len())].to_vec();
                    let to = next() % bytes.len();
                    drop(bytes.splice(to..to, copy));
                }
            }
            if bytes.is_empty() {
                bytes.push(b'x');
            }
        }
        match scan(&bytes) {
            Ok(m) => {
                taken += 1;
                assert!(m.cseq().is_some() && m.top_via().is_some() && m.call_id().is_some());
                let addressed = m.from().is_some() && m.to().is_some() && m.uri().is_some();
                assert!(addressed || m.code().is_some());
                read_all(&m);
                assert_answer_is_clean(&m);
            }
            Err(e) => {
                refused += 1;
                assert!([400, 413, 414, 505, 513].contains(&e.status));
                if let Some(m) = e.answerable {
                    read_all(&m);
                    assert_answer_is_clean(&m);
                }
            }
        }
        let mut framer = Framer::new(Limits::default());
        framer.push(&bytes);
        while let Some(frame) = framer.next() {
            if let Frame::Message(bytes) = frame
                && let Err(e) = Message::scan(&bytes, Framing::Stream, &Limits::default())
            {
                assert!(!e.fatal, "{e}: {}", String::from_utf8_lossy(&bytes));
            }
        }
    }
    assert!(taken > 1000 && refused > 1000, "{taken} {refused}");
}
