//! RFC 3263 §4 by tables: what is asked for a URI, in which order, and what comes of it.

use std::net::SocketAddr;

use imcd::sip::locate::{Naptr, Question, Records, Search, Srv, Step, in_order};
use imcd::sip::uri::Uri;
use imcd::types::Transport;

/// A zone: `name TYPE value` lines. NAPTR: order preference flags service replacement; SRV: priority weight port target.
struct Zone(&'static str);

impl Zone {
    fn rows(&self, name: &str, kind: &str) -> Vec<Vec<&'static str>> {
        let rows = self.0.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row.len() > 2 && row[0] == name && row[1] == kind)
            .map(|row| row[2..].to_vec())
            .collect()
    }

    fn answer(&self, question: &Question) -> Records {
        let (name, kind) = match question {
            Question::Naptr(name) => (name, "NAPTR"),
            Question::Srv(name) => (name, "SRV"),
            Question::Addresses(name) => (name, "A"),
        };
        let rows = self.rows(name, kind);
        if rows.iter().any(|row| row[0] == "FAIL") {
            return Records::Failed;
        }
        let number = |text: &str| text.parse::<u16>().unwrap();
        match question {
            Question::Naptr(_) => Records::Naptr(
                rows.iter()
                    .map(|row| Naptr {
                        order: number(row[0]),
                        preference: number(row[1]),
                        flags: row[2].into(),
                        service: row[3].into(),
                        replacement: row[4].into(),
                        regexp: row.get(5).copied().unwrap_or_default().into(),
                    })
                    .collect(),
            ),
            Question::Srv(_) => Records::Srv(
                rows.iter()
                    .map(|row| Srv {
                        priority: number(row[0]),
                        weight: number(row[1]),
                        port: number(row[2]),
                        target: row[3].into(),
                    })
                    .collect(),
            ),
            Question::Addresses(_) => {
                Records::Addresses(rows.iter().map(|row| row[0].parse().unwrap()).collect())
            }
        }
    }
}

/// What was asked, and what was found.
fn search(uri: &str, zone: &'static str) -> (Vec<String>, Result<Vec<String>, &'static str>) {
    let mut search = Search::new(&Uri::parse(uri).unwrap());
    let mut asked = Vec::new();
    loop {
        match search.step() {
            Step::Ask(question) => {
                asked.push(match &question {
                    Question::Naptr(name) => format!("NAPTR {name}"),
                    Question::Srv(name) => format!("SRV {name}"),
                    Question::Addresses(name) => format!("A {name}"),
                });
                assert!(asked.len() < 64, "{asked:?}");
                search.tell(Zone(zone).answer(&question), &mut |_| 0);
            }
            Step::Done(places) => {
                let shown = |(transport, to): &(Transport, SocketAddr)| format!("{} {to}", transport.via());
                return (asked, Ok(places.iter().map(shown).collect()));
            }
            Step::Nowhere(why) => return (asked, Err(why)),
        }
    }
}

const EXAMPLE: &str = "
    example.com NAPTR 50 50 s SIPS+D2T _sips._tcp.example.com
    example.com NAPTR 90 50 s SIP+D2T _sip._tcp.example.com
    example.com NAPTR 100 50 s SIP+D2U _sip._udp.example.com
    _sip._tcp.example.com SRV 0 1 5070 server1.example.com
    _sip._tcp.example.com SRV 1 1 5071 server2.example.com
    _sip._udp.example.com SRV 0 1 5072 server1.example.com
    server1.example.com A 192.0.2.1
    server1.example.com A 2001:db8::1
    server2.example.com A 192.0.2.2
    example.com A 192.0.2.9";

type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

#[test]
fn t43_what_is_asked_and_in_which_order() {
    let table: &[Row] = &[
        // §4.1: numeric addresses and explicit ports need no NAPTR and no SRV.
        ("sip:bob@192.0.2.7", &[], &["UDP 192.0.2.7:5060"]),
        ("sip:bob@192.0.2.7;transport=tcp", &[], &["TCP 192.0.2.7:5060"]),
        ("sip:bob@192.0.2.7:5080", &[], &["UDP 192.0.2.7:5080"]),
        ("sip:bob@[2001:db8::7]:5080;transport=TCP", &[], &["TCP [2001:db8::7]:5080"]),
        ("sip:bob@example.com:5080", &["A example.com"], &["UDP 192.0.2.9:5080"]),
        ("sip:bob@example.com:5060", &["A example.com"], &["UDP 192.0.2.9:5060"]),
        ("sip:bob@example.com:5080;transport=tcp", &["A example.com"], &["TCP 192.0.2.9:5080"]),
        ("sip:bob@example.com;maddr=192.0.2.77", &[], &["UDP 192.0.2.77:5060"]),
        // §4.2: a transport that is named is asked for alone.
        (
            "sip:bob@example.com;transport=udp",
            &["SRV _sip._udp.example.com", "A server1.example.com"],
            &["UDP 192.0.2.1:5072", "UDP [2001:db8::1]:5072"],
        ),
        // The example of §4.1: TCP comes before UDP, and TLS is not spoken.
        (
            "sip:bob@example.com",
            &[
                "NAPTR example.com",
                "SRV _sip._tcp.example.com",
                "A server1.example.com",
                "A server2.example.com",
            ],
            &["TCP 192.0.2.1:5070", "TCP [2001:db8::1]:5070", "TCP 192.0.2.2:5071"],
        ),
    ];
    for (uri, asked, found) in table {
        let (was_asked, was_found) = search(uri, EXAMPLE);
        assert_eq!((was_asked, was_found), (strings(asked), Ok(strings(found))), "{uri}");
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

#[test]
fn t43_without_naptr_both_services_are_asked_for_and_then_the_domain_itself() {
    let asked = ["NAPTR a.example", "SRV _sip._udp.a.example", "SRV _sip._tcp.a.example"];
    let with = |more: &[&str]| [&strings(&asked)[..], &strings(more)[..]].concat();
    let (was_asked, found) = search("sip:b@a.example", "a.example A 192.0.2.9");
    assert_eq!((was_asked, found), (with(&["A a.example"]), Ok(strings(&["UDP 192.0.2.9:5060"]))));
    let zone = "_sip._tcp.a.example SRV 0 0 5061 s.a.example
                s.a.example A 192.0.2.1
                a.example A 192.0.2.9";
    let (was_asked, found) = search("sip:b@a.example", zone);
    assert_eq!((was_asked, found), (with(&["A s.a.example"]), Ok(strings(&["TCP 192.0.2.1:5061"]))));
    // A transport that is named and has no service: the domain itself, by that transport.
    let (was_asked, found) = search("sip:b@a.example;transport=tcp", "a.example A 192.0.2.9");
    assert_eq!(was_asked, ["SRV _sip._tcp.a.example", "A a.example"]);
    assert_eq!(found, Ok(strings(&["TCP 192.0.2.9:5060"])));
}

#[test]
fn t43_what_leads_nowhere() {
    let table = [
        ("sips:bob@example.com", EXAMPLE, "TLS is not spoken here"),
        ("sips:bob@192.0.2.1", EXAMPLE, "TLS is not spoken here"),
        ("sip:bob@example.com;transport=tls", EXAMPLE, "its transport is not spoken here"),
        ("sip:bob@example.com;transport=sctp", EXAMPLE, "its transport is not spoken here"),
        ("sip:bob@nobody.example", EXAMPLE, "the domain names no server"),
        // It offers TLS alone: its address is no way in the clear.
        (
            "sip:b@a.example",
            "a.example NAPTR 50 50 s SIPS+D2T _sips._tcp.a.example
             a.example A 192.0.2.9",
            "the domain offers only transports that are not spoken here",
        ),
        // It says that there is no such service (RFC 2782, Target).
        (
            "sip:b@a.example",
            "_sip._udp.a.example SRV 0 0 0 .
             _sip._tcp.a.example SRV 0 0 0 .
             a.example A 192.0.2.9",
            "the domain names no server",
        ),
        ("sip:b@a.example", "_sip._udp.a.example SRV 0 0 5060 gone.example", "the domain names no server"),
        // What it would have said is not guessed.
        (
            "sip:b@a.example",
            "_sip._udp.a.example SRV FAIL
             a.example A 192.0.2.9",
            "the name servers do not answer",
        ),
        ("sip:b@a.example", "a.example A FAIL", "the name servers do not answer"),
    ];
    for (uri, zone, why) in table {
        assert_eq!(search(uri, zone).1, Err(why), "{uri} {zone}");
    }
}

#[test]
fn t43_records_that_are_not_for_us_are_passed_over() {
    let zone = "a.example NAPTR 10 10 u E2U+sip x.example !^.*$!sip:x@y!
                a.example NAPTR 20 10 s SIP+D2S _sip._sctp.a.example
                a.example NAPTR 30 10 a SIP+D2U s.a.example
                a.example NAPTR 40 10 s SIP+D2U .
                a.example NAPTR 50 20 S sip+d2t _sip._tcp.b.example
                a.example NAPTR 50 10 S Sip+D2u _sip._udp.b.example
                a.example NAPTR 60 10 s SIP+D2U _sip._udp.c.example
                _sip._udp.b.example SRV 0 0 0 zero.example
                _sip._udp.b.example SRV 1 0 5060 s.b.example
                _sip._tcp.b.example SRV 0 0 5061 s.b.example
                s.b.example A 192.0.2.3";
    let (asked, found) = search("sip:bob@a.example", zone);
    let services = ["NAPTR a.example", "SRV _sip._udp.b.example", "SRV _sip._tcp.b.example"];
    assert_eq!(asked[..3], strings(&services));
    assert_eq!(found, Ok(strings(&["UDP 192.0.2.3:5060", "TCP 192.0.2.3:5061"])));
    // A name server that knows no NAPTR is taken for a domain without.
    let (_, found) = search("sip:bob@a.example", "a.example NAPTR FAIL\na.example A 192.0.2.3");
    assert_eq!(found, Ok(strings(&["UDP 192.0.2.3:5060"])));
}

#[test]
fn a_domain_cannot_keep_us_busy_with_its_records() {
    let srv = |n: u16| Srv { priority: n, weight: 0, port: 5060, target: format!("s{n}.example") };
    let mut search = Search::new(&Uri::parse("sip:bob@a.example").unwrap());
    let mut asked = 0;
    let places = loop {
        match search.step() {
            Step::Ask(question) => {
                asked += 1;
                let records = match question {
                    Question::Naptr(_) => Records::Naptr(
                        (0..1000)
                            .map(|n| Naptr {
                                order: 1,
                                preference: n,
                                flags: "s".into(),
                                service: "SIP+D2U".into(),
                                regexp: String::new(),
                                replacement: format!("_sip._udp.{n}.example"),
                            })
                            .collect(),
                    ),
                    Question::Srv(_) => Records::Srv((0..1000).map(srv).collect()),
                    Question::Addresses(_) => {
                        Records::Addresses((0..1000u32).map(|n| std::net::Ipv4Addr::from(n).into()).collect())
                    }
                };
                search.tell(records, &mut |_| 0);
            }
            Step::Done(places) => break places,
            Step::Nowhere(why) => panic!("{why}"),
        }
    };
    assert_eq!((asked, places.len()), (1 + 4 + 8, 64));
}

#[test]
fn servers_come_by_priority_and_then_by_weight_and_chance() {
    let srv = |priority, weight, name: &str| Srv { priority, weight, port: 5060, target: name.into() };
    let zone = || vec![srv(20, 5, "d"), srv(10, 60, "a"), srv(10, 0, "z"), srv(10, 40, "b")];
    // The numbers drawn, and the order they give: z has the sum 0, a 60, b 100.
    let table: &[(&[u32], &str)] = &[
        (&[0, 0, 0, 0], "zabd"),
        (&[1, 1, 0, 0], "abzd"),
        (&[60, 0, 40, 5], "azbd"),
        (&[61, 60, 0, 0], "bazd"),
        (&[100, 0, 1, 0], "bzad"),
        (&[u32::MAX, 0, 0, 0], "bzad"),
    ];
    for (numbers, order) in table {
        let mut left = numbers.iter();
        let mut totals = Vec::new();
        let ordered = in_order(zone(), &mut |total| {
            totals.push(total);
            *left.next().unwrap()
        });
        let names: String = ordered.iter().map(|srv| srv.target.as_str()).collect();
        assert_eq!((names.as_str(), totals[0], totals[3]), (*order, 100, 5), "{numbers:?}");
    }
    // Over many draws each comes first as often as its weight says.
    let mut firsts = [0u32; 2];
    for number in 1..=100 {
        let first = in_order(zone(), &mut |total| number.min(total))[0].target.clone();
        firsts[usize::from(first == "b")] += 1;
    }
    assert_eq!(firsts, [60, 40]);
}
