//! Where a phone is reached (spec §5.9): behind NAT, over its connection, after it moved, after it was away.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::chat::room;
use crate::kit::{Daemon, Msg, Over, PATIENCE, Phone, Setup, wire};

fn post(n: usize) -> String {
    format!("post {n}")
}

fn posts(phone: &Phone) -> Vec<String> {
    phone.texts().into_iter().filter(|t| t.contains("]: post ")).collect()
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("[alice]: post {n}")).collect()
}

fn hears(phone: &Phone, n: usize) -> Msg {
    phone.hears(&format!("[alice]: post {n}"))
}

#[test]
fn a_phone_behind_nat_is_reached_at_its_source_from_the_socket_it_registered_at() {
    let daemon = Setup::new().set("sip.nat_keepalive_s", "1").start();
    let alice = daemon.udp("alice");
    let bob = daemon.phone("bob").up();
    let private = UdpSocket::bind("127.0.0.88:0").expect("a free port");
    let contact = format!("sip:bob@{};x=1", private.local_addr().unwrap());
    let answer = bob.ask(bob.register_request(&contact, 3600));
    assert_eq!(answer.status(), 200, "{}", answer.start);
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", &post(0));
    let copy = hears(&bob, 0);
    assert_eq!(copy.uri(), contact, "the Request-URI stays the Contact");
    assert!(copy.header("Via").contains(&daemon.addr.to_string()));
    // Keep-alives go the same way.
    bob.until_keepalives(2);
    private.set_nonblocking(true).unwrap();
    assert!(private.recv_from(&mut [0; 2000]).is_err(), "something went to the address behind the NAT");
}

#[test]
fn a_phone_that_is_where_its_contact_says_gets_no_keepalives() {
    let daemon = Setup::new().set("sip.nat_keepalive_s", "1").start();
    let (alice, nat) = (daemon.udp("alice"), daemon.phone("nat").up());
    assert_eq!(nat.ask(nat.register_request("sip:nat@127.0.0.88:9", 3600)).status(), 200);
    nat.until_keepalives(2);
    assert_eq!(alice.keepalives(), 0);
}

#[test]
fn a_lost_connection_means_away_and_what_was_missed_comes_in_order() {
    for instance in [false, true] {
        let daemon = Daemon::open();
        let alice = daemon.udp("alice");
        let bob = daemon.phone("bob").over(Over::Tcp);
        let bob = if instance { bob.instance(1) } else { bob }.registered();
        room("team", &alice, &[&bob]);
        alice.expect(202, "team", &post(0));
        hears(&bob, 0);
        bob.hang_up();
        for n in 1..5 {
            alice.expect(202, "team", &post(n));
        }
        let stored = alice.say("bob", "directly");
        assert_eq!(stored.status(), 202, "{}", stored.start);
        bob.back();
        bob.hears("directly");
        assert_eq!(posts(&bob), expected(0..5));
        // Once more, and now while he is being written to.
        bob.reconnect();
        alice.expect(202, "team", &post(5));
        bob.register();
        alice.expect(202, "team", &post(6));
        hears(&bob, 6);
        assert_eq!(posts(&bob), expected(0..7));
        bob.one_at_a_time();
    }
}

#[test]
fn a_refresh_over_a_new_connection_takes_over_at_once() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let bob = daemon.phone("bob").over(Over::Tcp).instance(1).registered();
    room("team", &alice, &[&bob]);
    for round in 0..20 {
        // The end of the old connection and the REGISTER over the new one come together.
        bob.reconnect();
        bob.register();
        alice.expect(202, "team", &post(round));
        bob.until_within(Duration::from_secs(10), "the post over the new connection", |all| {
            all.last().is_some_and(|g| g.msg.text().ends_with(&format!("post {round}")))
        });
    }
    assert_eq!(posts(&bob), expected(0..20));
}

#[test]
fn a_phone_that_registers_again_from_another_port_gets_nothing_twice() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let first = daemon.phone("bob").instance(1).registered();
    room("team", &alice, &[&first]);
    for n in 0..3 {
        alice.expect(202, "team", &post(n));
    }
    hears(&first, 2);
    let second = daemon.phone("bob").instance(1).registered();
    for n in 3..6 {
        alice.expect(202, "team", &post(n));
    }
    hears(&second, 5);
    assert_eq!(posts(&first), expected(0..3));
    assert_eq!(second.texts(), expected(3..6));
}

#[test]
fn two_registers_at_once_leave_both_or_the_later() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let phones: Vec<Phone> = (0..8).map(|n| daemon.phone("bob").instance(n).up()).collect();
    std::thread::scope(|scope| {
        for phone in &phones {
            scope.spawn(|| phone.register());
        }
    });
    room("team", &alice, &[&phones[0]]);
    alice.expect(202, "team", &post(0));
    for phone in &phones {
        hears(phone, 0);
    }
}

#[test]
fn what_waits_when_a_binding_expires_is_delivered_at_the_next_register() {
    let daemon = Setup::new().set("registrar.min_expires", "1").set("sip.t1_ms", "50").start();
    let alice = daemon.udp("alice");
    let bob = daemon.phone("bob").up();
    bob.register();
    room("team", &alice, &[&bob]);
    bob.responds(|_| crate::kit::Act::Silence);
    for n in 0..3 {
        alice.expect(202, "team", &post(n));
    }
    assert_eq!(bob.ask(bob.register_request(&bob.contact(), 1)).status(), 200);
    // Fetches until it is gone.
    let deadline = Instant::now() + PATIENCE;
    while !bob.ask(bob.register_request("", 0)).all("Contact").is_empty() {
        assert!(Instant::now() < deadline, "a binding of one second lives on");
    }
    bob.responds(|_| crate::kit::Act::Answer(200));
    bob.register();
    hears(&bob, 2);
    assert_eq!(posts(&bob), expected(0..3));
}

#[test]
fn a_peer_that_does_not_read_delays_neither_the_others_nor_the_stop() {
    let mut daemon = Daemon::open();
    let alice = daemon.udp("alice");
    // Registers over TCP, and never reads again.
    let stuck = daemon.phone("stuck").up();
    let mut stream = wire::connect(daemon.addr);
    let local = stream.local_addr().unwrap();
    let register = stuck.register_request(&format!("sip:stuck@{local};transport=tcp"), 3600);
    stream.write_all(&register.bytes(Over::Tcp, local, None)).unwrap();
    let reply = wire::read_until(&mut stream, PATIENCE, |r| !r.messages.is_empty());
    assert_eq!(reply.messages[0].status(), 200);
    let bob = daemon.tcp("bob");
    room("team", &alice, &[&bob]);
    let join = stuck.message("team", "#join");
    stream.write_all(&join.bytes(Over::Tcp, local, None)).unwrap();
    bob.hears("*** [stuck] has joined the room");
    // A client that asks and asks and reads nothing fills its queue.
    let mut flood = wire::connect(daemon.addr);
    flood.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let options = crate::kit::Req::new("OPTIONS", "sip:example.org", "sip:x@example.org");
    let bytes = options.bytes(Over::Tcp, flood.local_addr().unwrap(), None).repeat(50);
    let full = Instant::now() + Duration::from_secs(5);
    while Instant::now() < full && flood.write_all(&bytes).is_ok() {}
    for n in 0..3 {
        alice.expect(202, "team", &post(n));
        hears(&bob, n);
    }
    let (status, took) = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

/// A connection from this address.
fn connect_from(ip: &str, daemon: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{ip}:0").parse().unwrap();
    socket.bind(&from.into()).expect("a free port");
    socket.connect(&daemon.into()).expect("the daemon takes connections");
    socket.into()
}

#[test]
fn an_address_has_a_bounded_number_of_connections_that_no_binding_holds() {
    const CAP: usize = 512;
    let daemon = Setup::new().set("sip.trusted_peers", "[\"127.0.0.9/32\"]").start();
    let alice = daemon.udp("alice");
    // His connection is held by his binding, and does not count.
    let bob = daemon.tcp("bob");
    room("team", &alice, &[&bob]);
    let crowd = |ip: &str| -> Vec<TcpStream> { (0..=CAP).map(|_| connect_from(ip, daemon.addr)).collect() };
    let answered = |stream: &mut TcpStream| {
        let options = crate::kit::Req::new("OPTIONS", "sip:example.org", "sip:x@example.org");
        // It may be closed already.
        let _ = stream.write_all(&options.bytes(Over::Tcp, stream.local_addr().unwrap(), None));
        let reply = wire::read_until(stream, PATIENCE, |r| !r.messages.is_empty());
        !reply.messages.is_empty()
    };
    let mut strangers = crowd("127.0.0.1");
    assert!(answered(&mut strangers[0]) && answered(&mut strangers[CAP - 1]));
    assert!(!answered(&mut strangers[CAP]), "one more than the cap");
    let mut trusted = crowd("127.0.0.9");
    assert!(answered(&mut trusted[CAP]), "a trusted peer has no cap");
    assert!(answered(&mut connect_from("127.0.0.5", daemon.addr)), "nor is it another address's");
    alice.expect(202, "team", "over the old connection");
    bob.hears("[alice]: over the old connection");
    assert!(!bob.is_broken());
    // Whoever goes makes room.
    strangers.truncate(1);
    let deadline = Instant::now() + PATIENCE;
    while !answered(&mut connect_from("127.0.0.1", daemon.addr)) {
        assert!(Instant::now() < deadline, "closed connections still count");
    }
}

#[test]
fn t35_a_phone_learns_its_address_by_stun_on_the_sip_port_and_junk_like_it_is_dropped() {
    let daemon = Daemon::open();
    let phone = wire::Datagrams::new(daemon.addr);
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend_from_slice(b"transaction!");
    let mut junk = request.clone();
    junk[3] = 200;
    assert!(phone.send(&junk) && phone.send(&request));
    let answer = phone.receive(PATIENCE).expect("an answer");
    assert_eq!((&answer[..4], &answer[4..20]), (&[1, 1, 0, 12][..], &request[4..20]));
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    let ip: Vec<u8> = std::iter::zip(&answer[28..32], &request[4..8]).map(|(one, key)| one ^ key).collect();
    assert_eq!((port, &ip[..]), (phone.local().port(), &[127, 0, 0, 1][..]));
    daemon.must_be_alive();
}
