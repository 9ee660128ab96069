//! People of other domains, found by their domains' records (RFC 3263): who is asked what, and what waits.

use std::net::UdpSocket;
use std::time::Instant;

use crate::chat::room;
use crate::kit::{Daemon, Dns, Msg, Over, PATIENCE, Phone, Proxy, Setup};

/// Where the servers of the other domain are; trusted, for else nobody would write to loopback.
const THERE: &str = "127.0.0.11";
const BOB: &str = "sip:bob@other.example";

fn relaying(dns: &Dns) -> Setup {
    Setup::new()
        .digest()
        .set("sip.relay_foreign", "true")
        .set("sip.nameservers", &dns.list())
        .set("sip.trusted_peers", &format!("[\"{THERE}/32\"]"))
}

fn alice(daemon: &Daemon) -> Phone {
    daemon.account("alice", "secret");
    daemon.udp("alice")
}

/// Servers of the domain in this order, by SRV records of their own.
fn zone(over: Over, ports: &[u16]) -> String {
    let transport = if over == Over::Udp { "udp" } else { "tcp" };
    let letter = if over == Over::Udp { "U" } else { "T" };
    let mut zone =
        format!("other.example 300 NAPTR 10 10 s SIP+D2{letter} _sip._{transport}.other.example\n");
    for (at, port) in ports.iter().enumerate() {
        zone += &format!("_sip._{transport}.other.example 300 SRV {at} 1 {port} s{at}.other.example\n");
        zone += &format!("s{at}.other.example 300 A {THERE}\n");
    }
    zone
}

fn has(text: &'static str) -> impl Fn(&[String]) -> bool {
    move |texts| texts.iter().any(|known| known == text)
}

/// A port of the other side where nobody listens.
fn nobody() -> u16 {
    let socket = UdpSocket::bind((THERE, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn a_message_goes_where_the_domains_records_say_over_udp_and_tcp() {
    for over in [Over::Udp, Over::Tcp] {
        let server = Proxy::new(THERE, over);
        let dns = Dns::new(&zone(over, &[server.addr.port()]));
        let daemon = relaying(&dns).start();
        let alice = alice(&daemon);
        assert_eq!(dns.asked(), [""; 0], "nothing is to be sent");
        alice.expect(200, BOB, "hello");
        let copy = server.offered("bob", "hello");
        assert_eq!((copy.uri(), &*copy.address("To")), (BOB, BOB));
        assert_eq!(copy.address("From"), "sip:alice@example.org");
        let transport = if over == Over::Udp { "UDP" } else { "TCP" };
        let via = format!("SIP/2.0/{transport} {}", daemon.addr);
        assert!(copy.header("Via").starts_with(&via), "Via: {}", copy.header("Via"));
        let service = format!("SRV _sip._{}.other.example", transport.to_lowercase());
        let asked = dns.asked();
        assert_eq!(asked[..2], ["NAPTR other.example".to_owned(), service]);
        assert!(asked[2..].iter().all(|question| question.ends_with("A s0.other.example")), "{asked:?}");
        // What is known is not asked again, for others of the domain neither.
        alice.expect(200, BOB, "again");
        alice.expect(200, "sip:carol@other.example", "and you");
        assert_eq!(dns.asked(), [""; 0]);
        // What the other side stored is accepted here, and its refusal is told.
        server.answers(|_| Some((202, "")));
        alice.expect(202, BOB, "stored there");
        server.answers(|_| Some((603, "")));
        alice.expect(603, BOB, "not wanted");
    }
}

fn branches(server: &Proxy) -> Vec<(String, String, String)> {
    let of = |m: &Msg| (m.branch(), m.call_id().to_owned(), m.cseq().to_string());
    server.got("bob").iter().map(|(m, _)| of(m)).collect()
}

#[test]
fn the_next_server_takes_what_one_refused_with_503_or_is_not_there() {
    for over in [Over::Udp, Over::Tcp] {
        let (busy, last) = (Proxy::new(THERE, over), Proxy::new(THERE, over));
        busy.answers(|_| Some((503, "")));
        let dns = Dns::new(&zone(over, &[nobody(), busy.addr.port(), last.addr.port()]));
        let daemon = relaying(&dns).start();
        let alice = alice(&daemon);
        alice.expect(200, BOB, "hello");
        last.until("bob", "the message", has("hello"));
        let ((first, call_id, cseq), (second, same, number)) =
            (branches(&busy).remove(0), branches(&last).remove(0));
        assert_eq!((call_id, cseq), (same, number));
        assert_ne!(first, second);
        // Those who failed are spared for a while.
        alice.expect(200, BOB, "two");
        last.until("bob", "the second", has("two"));
        assert_eq!(busy.got("bob").len(), 1);
    }
}

#[test]
fn the_next_server_takes_what_one_is_silent_about() {
    let (silent, last) = (Proxy::new(THERE, Over::Udp), Proxy::new(THERE, Over::Udp));
    silent.answers(|_| None);
    let dns = Dns::new(&zone(Over::Udp, &[silent.addr.port(), last.addr.port()]));
    // Timer F after 6.4 s.
    let daemon = relaying(&dns).set("sip.t1_ms", "100").set("sip.t2_ms", "400").start();
    let alice = alice(&daemon);
    alice.expect(202, BOB, "hello");
    last.until("bob", "the message", has("hello"));
    let (first, second) = (branches(&silent).remove(0), branches(&last).remove(0));
    assert_eq!((&first.1, &first.2), (&second.1, &second.2));
    assert_ne!(first.0, second.0);
    alice.expect(200, BOB, "two");
    last.until("bob", "the second", has("two"));
}

/// An administrator says that it is to be tried now, until it is there: what has failed just now is not asked again.
fn deliver(daemon: &Daemon, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it is not there");
        assert!(daemon.imcctl(&["offline", "deliver", "bob@other.example"]).status.success());
    }
}

#[test]
fn what_no_name_server_can_place_waits_and_goes_when_it_can() {
    let server = Proxy::new(THERE, Over::Udp);
    let port = server.addr.port();
    let dns = Dns::new("other.example 300 FAIL");
    let mut daemon = relaying(&dns).start();
    let alice = alice(&daemon);
    for text in ["one", "two"] {
        alice.expect(202, BOB, text);
    }
    daemon.logs("no way to this domain");
    assert!(server.got("bob").is_empty());
    // Asked again when an administrator says so, and after a restart.
    dns.says(&zone(Over::Udp, &[port]));
    deliver(&daemon, || !server.took("bob").is_empty());
    assert_eq!(server.until("bob", "both", |texts| texts.len() == 2), ["one", "two"]);
    server.answers(|_| Some((480, "")));
    alice.expect(202, BOB, "three");
    server.answers(|_| Some((200, "")));
    daemon.kill_and_restart();
    assert_eq!(server.until("bob", "the third", |texts| texts.len() == 3), ["one", "two", "three"]);
}

#[test]
fn a_member_of_another_domain_is_invited_joins_and_hears_all_over_a_restart() {
    let server = Proxy::new(THERE, Over::Udp);
    let dns = Dns::new(&zone(Over::Udp, &[server.addr.port()]));
    let mut daemon = relaying(&dns).start();
    let alice = alice(&daemon);
    room("team", &alice, &[]);
    alice.expect(202, "team", "#invite bob@other.example");
    server.until("bob", "the invitation", |texts| !texts.is_empty());
    let asserted = format!("P-Asserted-Identity: <{BOB}>");
    let bob = daemon.phone("bob").domain("other.example").ip(THERE).header(&asserted).up();
    let team = "sip:team@example.org";
    bob.expect(202, team, "#accept");
    alice.hears_that("that he is there", |m| {
        m.text().contains("bob@other.example") && m.text().contains("joined")
    });
    bob.expect(202, team, "hi");
    alice.hears("[bob@other.example]: hi");
    alice.expect(202, "team", "welcome");
    server.until("bob", "the post", has("[alice]: welcome"));
    let copy = server.offered("bob", "[alice]: welcome");
    assert_eq!((copy.uri(), &*copy.address("From")), (BOB, team));
    daemon.kill_and_restart();
    alice.back();
    alice.expect(202, "team", "still here?");
    server.until("bob", "the post after the restart", has("[alice]: still here?"));
    // A stranger of that domain is not passed on to another one.
    bob.expect(603, "sip:carol@third.example", "in transit");
}

#[test]
fn nobody_is_asked_for_who_may_not_write_abroad() {
    let dns = Dns::new("");
    let daemon = relaying(&dns).start();
    daemon.account("alice", "secret");
    let stranger = daemon.phone("mallory").up();
    stranger.expect(401, BOB, "hello");
    let open = Setup::new().set("sip.relay_foreign", "true").set("sip.nameservers", &dns.list()).start();
    let carol = open.udp("carol");
    carol.expect(603, BOB, "hello");
    room("team", &carol, &[]);
    carol.expect(603, "team", "#invite bob@other.example");
    // In the clear is not what he asked for.
    let alice = daemon.udp("alice");
    alice.expect(416, "sips:bob@other.example", "sealed");
    assert_eq!(dns.asked(), [""; 0]);
    // The one who may is asked for: the list is not empty because nobody listens.
    alice.expect(202, BOB, "hello");
    assert!(dns.asked().contains(&"NAPTR other.example".to_owned()));
}

#[test]
fn a_name_leads_neither_behind_walls_nor_back_to_us() {
    let walled = Proxy::new("127.0.0.12", Over::Udp);
    let dns = Dns::new("");
    let daemon = relaying(&dns).start();
    let alice = alice(&daemon);
    dns.says(&format!(
        "_sip._udp.walled.example 300 SRV 0 1 {} s.walled.example\n\
         s.walled.example 300 A 127.0.0.12\n\
         _sip._udp.us.example 300 SRV 0 1 {} s.us.example\n\
         s.us.example 300 A {}\n",
        walled.addr.port(),
        daemon.addr.port(),
        daemon.addr.ip()
    ));
    for domain in ["walled.example", "us.example", "localhost.localdomain", "127.0.0.12"] {
        alice.expect(202, &format!("sip:bob@{domain}"), "hello");
        daemon.logs(&format!("domain=\"{domain}\""));
    }
    assert!(walled.got("bob").is_empty());
    // The trusted part of the same range is no wall.
    let server = Proxy::new(THERE, Over::Udp);
    dns.says(&zone(Over::Udp, &[server.addr.port()]));
    alice.expect(200, BOB, "hello");
    alice.never_heard("hello");
}

#[test]
fn a_domain_that_moves_is_found_at_its_new_place_when_its_records_run_out() {
    let (old, new) = (Proxy::new(THERE, Over::Udp), Proxy::new(THERE, Over::Udp));
    let short = |server: &Proxy| zone(Over::Udp, &[server.addr.port()]).replace(" 300 ", " 1 ");
    let dns = Dns::new(&short(&old));
    let daemon = relaying(&dns).start();
    let alice = alice(&daemon);
    alice.expect(200, BOB, "first");
    assert_eq!(old.took("bob"), ["first"]);
    dns.says(&short(&new));
    let deadline = Instant::now() + PATIENCE;
    let mut said = 1;
    while new.got("bob").is_empty() {
        assert!(Instant::now() < deadline, "{said} messages went to the old place");
        alice.expect(200, BOB, &format!("and {said}"));
        said += 1;
    }
    assert_eq!(old.took("bob").len() + new.took("bob").len(), said);
}

#[test]
fn a_name_server_that_talks_nonsense_costs_a_domain_its_messages_time_and_nobody_else() {
    let server = Proxy::new(THERE, Over::Udp);
    let names = ["other.example", "_sip._udp.other.example", "_sip._tcp.other.example"];
    let mut junk: String = names.iter().map(|name| format!("{name} 300 JUNK\n")).collect();
    let good = zone(Over::Udp, &[server.addr.port()]).replace("other.example", "good.example");
    junk += &good;
    let dns = Dns::new(&junk);
    let daemon = relaying(&dns).start();
    let alice = alice(&daemon);
    alice.expect(202, BOB, "waits");
    alice.expect(200, "sip:bob@good.example", "goes");
    daemon.logs("no way to this domain");
    daemon.must_be_alive();
    dns.says(&(zone(Over::Udp, &[server.addr.port()]) + &good));
    deliver(&daemon, || has("waits")(&server.took("bob")));
}
