//! The endpoint under bad networks, late callers and floods. Rows of the RFCs are in `conformance/`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use imcd::sip::endpoint::{Keep, TxKey};
use imcd::sip::transaction::{ClientTimer, Fire, Timers};
use imcd::types::{ConnId, Dest, Flow};

use crate::hostile::{self, Verdict};
use crate::net::{Net, Rng, Weather};
use crate::rig::{Ask, Asked, Heard, Reply, Rig, tcp, udp, udp_from};

const MS: Duration = Duration::from_millis(1);

#[derive(Clone)]
enum Packet {
    ToServer(usize, Vec<u8>),
    ToClient(usize, String),
}

/// One client transaction of the simplest user agent.
struct Client {
    request: Vec<u8>,
    starts: Instant,
    timer: Option<ClientTimer>,
    sends: usize,
    heard_100: bool,
    finals: Vec<String>,
    timed_out: Option<Instant>,
}

/// What the caller of the endpoint does about one request.
struct Decision {
    at: Instant,
    key: TxKey,
    client: usize,
    status: u16,
}

struct Story {
    clients: Vec<Client>,
    /// How often the caller got each request.
    runs: Vec<usize>,
    /// When the endpoint first saw it.
    seen: Vec<Option<Instant>>,
    /// Everything it sent, by client.
    sent: Vec<Vec<(Instant, String)>>,
    rig: Rig,
}

const SENDERS: usize = 30;

/// Runs `SENDERS` requests over the weather of a seed, until everybody has an answer or has given up.
fn story(seed: u64, weather: Weather) -> Story {
    let timers = Timers::default();
    let mut rig = Rig::new();
    let mut net: Net<Packet> = Net::new(seed, weather);
    let mut choice = Rng::new(!seed);
    let clients = (0..SENDERS).map(|i| Client {
        request: Ask::message(&format!("s{seed}c{i}")).bytes(),
        starts: rig.t0 + MS * choice.below(10_000) as u32,
        timer: None,
        sends: 0,
        heard_100: false,
        finals: Vec::new(),
        timed_out: None,
    });
    let mut story = Story {
        clients: clients.collect(),
        runs: vec![0; SENDERS],
        seen: vec![None; SENDERS],
        sent: vec![Vec::new(); SENDERS],
        rig: Rig::new(),
    };
    let mut decisions: Vec<Decision> = Vec::new();
    loop {
        let starts = story.clients.iter().filter(|c| c.sends == 0).map(|c| c.starts);
        let timers_due = story.clients.iter().filter_map(|c| c.timer.map(|timer| timer.due()));
        let decided = decisions.iter().map(|decision| decision.at);
        let others = [net.due(), rig.endpoint.due()].into_iter().flatten();
        let Some(now) = starts.chain(timers_due).chain(decided).chain(others).min() else { break };
        rig.now = now.max(rig.now);
        let now = rig.now;

        for (i, client) in story.clients.iter_mut().enumerate() {
            let send = match &mut client.timer {
                None if client.sends == 0 && client.starts <= now => {
                    client.timer = Some(ClientTimer::start(now, &timers, false));
                    true
                }
                Some(timer) => match timer.on_due(now, &timers) {
                    Fire::Retransmit => true,
                    Fire::TimedOut => {
                        client.timed_out = Some(now);
                        client.timer = None;
                        false
                    }
                    Fire::None => false,
                },
                None => false,
            };
            if send {
                client.sends += 1;
                net.send(now, Packet::ToServer(i, client.request.clone()));
            }
        }
        while let Some(packet) = net.arrived(now) {
            match packet {
                Packet::ToServer(i, bytes) => {
                    story.seen[i].get_or_insert(now);
                    if let Heard::Request { key, .. } = rig.hears(flow(i), &bytes) {
                        story.runs[i] += 1;
                        let status = [200, 202, 202, 404, 603][choice.below(5) as usize];
                        let at = now + MS * choice.below(5_000) as u32;
                        decisions.push(Decision { at, key, client: i, status });
                    }
                }
                Packet::ToClient(i, text) => {
                    let client = &mut story.clients[i];
                    if text.starts_with("SIP/2.0 100") {
                        client.heard_100 = true;
                        if let Some(timer) = &mut client.timer {
                            timer.provisional(&timers);
                        }
                    } else {
                        client.finals.push(text);
                        client.timer = None;
                    }
                }
            }
        }
        while let Some(next) = decisions.iter().position(|decision| decision.at <= now) {
            let Decision { key, client, status, .. } = decisions.swap_remove(next);
            let extra: &[(&str, &str)] = if client % 3 == 0 { &[("X-Own", "yes")] } else { &[] };
            let asked = Asked { flow: flow(client), bytes: &story.clients[client].request, extra };
            rig.answers(key, &asked, status, Keep::Cached);
        }
        let mut sent = rig.sent();
        if rig.endpoint.due().is_some_and(|due| due <= now) {
            sent.extend(rig.passes(Duration::ZERO));
        }
        for reply in sent {
            let i = usize::from(port(&reply.to) - 20_000);
            story.sent[i].push((now, reply.text.clone()));
            net.send(now, Packet::ToClient(i, reply.text));
        }
    }
    story.rig = rig;
    story
}

/// Each client has a port of its own, so that an answer is known by where it goes.
fn flow(client: usize) -> Flow {
    udp_from(&format!("192.0.2.7:{}", 20_000 + client))
}

fn port(to: &Dest) -> u16 {
    match to {
        Dest::Udp { to, .. } => to.port(),
        other => panic!("answered to {other:?}"),
    }
}

#[test]
fn in_any_weather_a_request_is_done_once_and_answered_the_same() {
    let mut answered = 0;
    for seed in 0..60 {
        let story = story(seed, Weather::STORM);
        for (i, client) in story.clients.iter().enumerate() {
            let tale = format!("seed {seed} client {i}");
            assert_eq!(story.runs[i], usize::from(story.seen[i].is_some()), "{tale}");
            assert!(client.finals.windows(2).all(|pair| pair[0] == pair[1]), "{tale}: {:?}", client.finals);
            let finals = story.sent[i].iter().filter(|(_, text)| !text.starts_with("SIP/2.0 100"));
            let mut finals = finals.map(|(_, text)| text);
            if let Some(first) = finals.next() {
                assert!(finals.all(|text| text == first), "{tale}");
            }
            for (at, text) in &story.sent[i] {
                if text.starts_with("SIP/2.0 100") {
                    assert!(*at >= story.seen[i].unwrap() + 3500 * MS, "{tale}: early 100");
                }
            }
            if let Some(at) = client.timed_out {
                assert_eq!(at - client.starts, Duration::from_secs(32), "{tale}");
                assert!(client.heard_100 || client.sends == 11, "{tale}: {} sends", client.sends);
            } else {
                assert!(!client.finals.is_empty(), "{tale}");
                answered += 1;
            }
        }
        // Timer J has run out for all of them: nothing stays behind.
        assert_eq!((story.rig.endpoint.pending(), story.rig.endpoint.completed()), (0, 0), "seed {seed}");
        assert_eq!(story.rig.endpoint.due(), None);
    }
    // 30 % loss each way: about 0.51^11 of them fail.
    assert!(answered >= 60 * SENDERS - 20, "{answered} answered");
}

#[test]
fn in_fair_weather_nobody_asks_more_often_than_the_timers_say() {
    let story = story(1, Weather::FAIR);
    for (i, client) in story.clients.iter().enumerate() {
        assert!(client.timed_out.is_none());
        let finals = story.sent[i].iter().filter(|(_, text)| !text.starts_with("SIP/2.0 100")).count();
        // A copy that was under way when the answer left is answered again.
        assert!((1..=2).contains(&finals) && client.sends <= 5, "client {i}: {finals}, {}", client.sends);
    }
}

#[test]
fn where_nothing_arrives_eleven_packets_are_sent_and_nothing_is_done() {
    let story = story(3, Weather { loss: 1000, ..Weather::STORM });
    for (i, client) in story.clients.iter().enumerate() {
        assert_eq!((client.sends, story.runs[i]), (11, 0));
        assert_eq!(client.timed_out, Some(client.starts + Duration::from_secs(32)));
    }
}

#[test]
fn one_request_too_many_gets_503_and_costs_nothing() {
    let mut rig = Rig::with(|config| config.max_pending = 3);
    let asks: Vec<Vec<u8>> = (0..4).map(|i| Ask::message(&format!("n{i}")).bytes()).collect();
    let keys: Vec<TxKey> = asks[..3].iter().map(|bytes| rig.taken(udp(), bytes)).collect();
    let reply = rig.refused(udp(), &asks[3]);
    assert_eq!((reply.code(), reply.get("Retry-After")), (503, "5"));
    // OPTIONS is still free, and one answer makes room for one request.
    assert_eq!(rig.refused(udp(), &Ask::new("OPTIONS", "o").bytes()).code(), 200);
    rig.answers(keys[0], &Asked::new(udp(), &asks[0]), 202, Keep::Cached);
    rig.sent();
    rig.taken(udp(), &asks[3]);
}

#[test]
fn of_answered_requests_the_oldest_are_forgotten_first() {
    let mut rig = Rig::with(|config| config.completed_max = 2);
    let asks: Vec<Vec<u8>> = (0..3).map(|i| Ask::message(&format!("n{i}")).bytes()).collect();
    for bytes in &asks {
        let key = rig.taken(udp(), bytes);
        rig.answers(key, &Asked::new(udp(), bytes), 202, Keep::Cached);
        rig.sent();
    }
    assert_eq!(rig.endpoint.completed(), 2);
    assert_eq!(rig.refused(udp(), &asks[1]).code(), 202);
    assert_eq!(rig.refused(udp(), &asks[2]).code(), 202);
    rig.taken(udp(), &asks[0]);
}

#[test]
fn answers_kept_as_bytes_are_bounded_by_their_bytes() {
    let long = "x".repeat(400);
    let extra = [("X-Long", long.as_str())];
    let mut rig = Rig::with(|config| config.completed_bytes = 2_000);
    let asks: Vec<Vec<u8>> = (0..10).map(|i| Ask::message(&format!("n{i}")).bytes()).collect();
    for bytes in &asks {
        let key = rig.taken(udp(), bytes);
        rig.answers(key, &Asked { flow: udp(), bytes, extra: &extra }, 202, Keep::Cached);
        rig.sent();
    }
    assert!((1..=4).contains(&rig.endpoint.completed()), "{}", rig.endpoint.completed());
    assert_eq!(rig.refused(udp(), &asks[9]).get("X-Long"), long);
    rig.taken(udp(), &asks[0]);
}

#[test]
fn a_challenge_is_forgotten_at_once_and_repeated_with_the_same_tag() {
    let mut rig = Rig::new();
    let bytes = Ask::message("c").bytes();
    let mut challenges = Vec::new();
    for _ in 0..3 {
        let key = rig.taken(udp(), &bytes);
        rig.answers(key, &Asked::new(udp(), &bytes), 401, Keep::Stateless);
        assert_eq!((rig.endpoint.pending(), rig.endpoint.completed()), (0, 0));
        challenges.extend(rig.sent());
    }
    assert_eq!(challenges[0], challenges[1]);
    assert_eq!(challenges[1], challenges[2]);
}

#[test]
fn an_answer_given_twice_leaves_once() {
    let mut rig = Rig::new();
    let bytes = Ask::message("t").bytes();
    let key = rig.taken(udp(), &bytes);
    rig.answers(key, &Asked::new(udp(), &bytes), 202, Keep::Cached);
    rig.answers(key, &Asked::new(udp(), &bytes), 500, Keep::Cached);
    let sent = rig.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].code(), 202);
    assert_eq!(rig.refused(udp(), &bytes), sent[0]);
}

#[test]
fn a_caller_who_never_answers_leaks_nothing() {
    let mut rig = Rig::new();
    for i in 0..50 {
        rig.taken(udp(), &Ask::message(&format!("u{i}")).bytes());
        rig.taken(tcp(), &Ask::message(&format!("t{i}")).bytes());
    }
    rig.passes(Duration::from_secs(32));
    assert_eq!((rig.endpoint.pending(), rig.endpoint.completed()), (0, 0));
    assert_eq!(rig.endpoint.due(), None);
}

#[test]
fn a_client_that_connects_anew_is_answered_on_its_new_connection() {
    let mut rig = Rig::new();
    let bytes = Ask::message("r").bytes();
    let key = rig.taken(tcp(), &bytes);
    let anew = Flow { conn: Some(ConnId(10)), ..tcp() };
    rig.ignored(anew, &bytes);
    rig.answers(key, &Asked::new(tcp(), &bytes), 202, Keep::Cached);
    assert_eq!(rig.sent()[0].to, Dest::Conn(ConnId(10)));
}

#[test]
fn one_branch_for_two_messages_does_not_answer_the_second_for_the_first() {
    // Such clients exist, and a 202 means that this very message is on disk.
    let mut rig = Rig::new();
    let first = Ask::message("b").bytes();
    let key = rig.taken(udp(), &first);
    rig.answers(key, &Asked::new(udp(), &first), 202, Keep::Cached);
    rig.sent();
    rig.taken(udp(), &Ask::message("b").row("Call-ID", "Call-ID: other").bytes());
    rig.taken(udp(), &Ask::message("b").row("CSeq", "CSeq: 2 MESSAGE").bytes());
}

#[test]
fn answers_are_kept_small_and_come_back_byte_for_byte() {
    // Every shape of an answer, with every shape of a request that it must be made again from.
    let shapes = [
        Ask::message("plain"),
        Ask::message("tagged").row("To", "To: <sip:team@example.org>;tag=theirs"),
        Ask::message("folded").row("To", "To: Team\r\n <sip:team@example.org>"),
        Ask::message("bare").row("To", "To: sip:team@example.org"),
        Ask::message("param").row("To", "To: <sip:team@example.org>;x=y"),
        Ask::message("compact").row("To", "t: <sip:team@example.org>"),
        Ask::message("vias").and("Via: SIP/2.0/TCP a.example;branch=z9hG4bKa, SIP/2.0/UDP b.example"),
        Ask::message("old").row("Via", "Via: SIP/2.0/UDP old.example"),
        Ask::message("name").row("Via", "Via: SIP/2.0/UDP ua.example;branch=z9hG4bKname"),
    ];
    for shape in shapes {
        for (status, extra) in [(202, [].as_slice()), (404, &[]), (200, &[("Expires", "60")])] {
            let mut rig = Rig::new();
            let bytes = shape.bytes();
            let key = rig.taken(udp(), &bytes);
            rig.answers(key, &Asked { flow: udp(), bytes: &bytes, extra }, status, Keep::Cached);
            let first = rig.sent().remove(0);
            rig.passes(Duration::from_secs(5));
            let again = rig.refused(udp(), &bytes);
            assert_eq!((&again.text, again.to), (&first.text, first.to));
        }
    }
}

#[test]
fn twenty_thousand_plain_answers_need_no_bytes_of_their_own() {
    // Through `completed_bytes: 0`: whatever is kept as bytes would not be kept at all.
    let mut rig = Rig::with(|config| config.completed_bytes = 0);
    let mut firsts: HashMap<usize, (Vec<u8>, Bytes)> = HashMap::new();
    for i in 0..20_000 {
        let bytes = Ask::message(&format!("m{i}")).bytes();
        let key = rig.hears(udp(), &bytes).key();
        let answer = rig.render(key, &Asked::new(udp(), &bytes), 202);
        rig.endpoint.respond(rig.now, key, answer.clone(), Keep::Cached, &mut Vec::new());
        if i % 1000 == 0 {
            firsts.insert(i, (bytes, answer));
        }
    }
    assert_eq!(rig.endpoint.completed(), 20_000);
    for (bytes, answer) in firsts.values() {
        assert_eq!(rig.refused(udp(), bytes).text.as_bytes(), answer);
    }
}

#[test]
fn a_caller_who_kept_nothing_answers_as_one_who_kept_the_request() {
    let extra = [("Expires", "60"), ("X-Guarded", "a\r\nb")];
    for (id, to) in [("a", "To: sip:team@example.org"), ("b", "To: <sip:team@example.org>;tag=theirs")] {
        let bytes = Ask::message(id).row("To", to).bytes();
        let mut rig = Rig::new();
        let key = rig.taken(udp(), &bytes);
        let asked = Asked { flow: udp(), bytes: &bytes, extra: &extra };
        let expected = rig.render(key, &asked, 202);
        let answer = imcd::sip::write::Response { code: 202, extra: &extra, ..Default::default() };
        let mut out = Vec::new();
        rig.endpoint.answer(rig.now, key, answer, Keep::Cached, &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].bytes, expected);
        assert_eq!(rig.refused(udp(), &bytes).text.as_bytes(), expected);
        rig.endpoint.answer(rig.now, key, answer, Keep::Cached, &mut out);
        assert_eq!(out.len(), 1);
    }
}

#[test]
fn a_stream_that_lost_its_framing_is_answered_and_closed() {
    let mut rig = Rig::new();
    let bytes = Ask::message("x").and("Content-Length: 99").bytes();
    assert_eq!(rig.hears(tcp(), &bytes), Heard::Broken);
    assert_eq!(rig.sent()[0].code(), 400);
    // On UDP the next datagram is a new start.
    assert_eq!(rig.hears(udp(), &bytes), Heard::Nothing);
    assert_eq!(rig.sent()[0].code(), 400);
}

#[test]
fn every_hostile_message_gets_its_status_from_the_endpoint_too() {
    for case in hostile::CASES {
        let mut rig = Rig::new();
        let heard = rig.hears(udp(), &case.bytes());
        let codes: Vec<u16> = rig.sent().iter().map(Reply::code).collect();
        let tale = format!("{} {}", case.section, case.what);
        match case.verdict {
            Verdict::Dropped => assert_eq!((heard, codes), (Heard::Nothing, vec![]), "{tale}"),
            Verdict::Answered(status) => assert_eq!((heard, codes), (Heard::Nothing, vec![status]), "{tale}"),
            Verdict::Taken => assert!(codes.len() + usize::from(heard != Heard::Nothing) <= 1, "{tale}"),
        }
    }
}

#[test]
fn what_is_no_sip_is_dropped_in_silence() {
    let mut rig = Rig::new();
    let junk: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"jaK",
        b"\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
    ];
    for bytes in junk {
        rig.ignored(udp(), bytes);
    }
    assert_eq!(rig.endpoint.due(), None);
}

/// Whatever comes in, at most one answer goes out, to its sender alone, hardly larger than what came (RFC 3261
/// §26.1.5), readable, and a response; and what the caller gets it can answer.
#[test]
fn damaged_requests_cause_at_most_one_answer_to_their_sender() {
    let mut rng = Rng::new(20_26);
    let mut rig = Rig::with(|config| config.max_pending = 500);
    let (mut answered, mut taken) = (0, 0);
    for round in 0..20_000 {
        let seeds = seeds(round / 3);
        let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].clone();
        for _ in 0..rng.below(4) {
            damage(&mut rng, &mut bytes, &seeds);
        }
        let flow = if rng.chance(300) { tcp() } else { udp() };
        let heard = rig.hears(flow, &bytes);
        if let Heard::Request { key, .. } = heard {
            taken += 1;
            assert_eq!(rig.sent_bytes(), []);
            let answer = imcd::sip::write::Response { code: 202, ..Default::default() };
            rig.answers_from_memory(key, answer);
        }
        let sent = rig.sent_bytes();
        assert!(sent.len() <= 1, "{}", String::from_utf8_lossy(&bytes));
        for transmit in sent {
            answered += 1;
            match transmit.to {
                Dest::Udp { to, .. } => assert_eq!(to.ip(), udp().remote.ip()),
                Dest::Conn(conn) => assert_eq!(Some(conn), flow.conn),
                other => panic!("{other:?}"),
            }
            let tale = String::from_utf8_lossy(&transmit.bytes);
            assert!(transmit.bytes.len() <= bytes.len() + 300, "{tale}");
            assert!(tale.starts_with("SIP/2.0 ") && tale.ends_with("\r\n\r\n"), "{tale}");
            assert_eq!(tale.matches("\r\n\r\n").count(), 1, "{tale}");
            assert_eq!(tale.matches("\nContent-Length:").count(), 1, "{tale}");
        }
        rig.now += MS;
    }
    assert!(answered > 5_000 && taken > 1_000, "{answered} {taken}");
    rig.passes(Duration::from_secs(64));
    assert_eq!((rig.endpoint.pending(), rig.endpoint.completed()), (0, 0));
}

/// One of each kind. Three rounds share them, so that copies and a CANCEL meet what they mean.
fn seeds(round: u64) -> Vec<Vec<u8>> {
    let via = "Via: SIP/2.0/UDP 203.0.113.9:5;maddr=203.0.113.9;received=203.0.113.9";
    let asks = [
        Ask::message(&format!("m{round}")),
        Ask::new("OPTIONS", "o"),
        Ask::new("CANCEL", &format!("m{round}")),
        Ask::new("INVITE", "i").and("Require: foo, bar").and("Proxy-Require: baz"),
        Ask::new("REGISTER", &format!("r{round}")).and("Contact: <sip:alice@203.0.113.9>;expires=60"),
        Ask::message(&format!("v{round}")).row("Via", via),
        Ask::message(&format!("w{round}"))
            .and("Via: SIP/2.0/TCP a.example;branch=z9hG4bKa, SIP/2.0/UDP [2001:db8::1]"),
    ];
    asks.iter().map(Ask::bytes).collect()
}

/// One small change: of a byte, of a piece, or with a piece of another message.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    const BYTES: &[u8] = b"\r\n\0 \t:;,<>\"@=%\xff9zA/";
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len() as u64) as usize;
    let end = (at + rng.below(40) as usize).min(bytes.len());
    match rng.below(5) {
        0 => bytes[at] = BYTES[rng.below(BYTES.len() as u64) as usize],
        1 => bytes.insert(at, BYTES[rng.below(BYTES.len() as u64) as usize]),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let other = &others[rng.below(others.len() as u64) as usize];
            let from = rng.below(other.len() as u64) as usize;
            let piece = other[from..(from + 60).min(other.len())].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

#[test]
fn a_via_that_cannot_be_read_is_refused_at_the_source() {
    let ask = Ask::message("x").row("Via", "Via: SIP/2.0/UDP 192.0.2.15:5099;;,;,,");
    let reply = Rig::new().refused(udp(), &ask.bytes());
    assert_eq!((reply.code(), reply.to), (400, Dest::Udp { listener: 3, to: udp().remote }));
    let reply = Rig::new().refused(tcp(), &ask.bytes());
    assert_eq!((reply.code(), reply.to), (400, Dest::Conn(ConnId(9))));
}
