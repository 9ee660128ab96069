//! Listeners on IPv6, on every address, and behind an advertised one (spec §2, §3).

use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::chat::room;
use crate::kit::phone::PhoneSetup;
use crate::kit::{Daemon, Over, PATIENCE, Req, Setup, wire::Datagrams};

/// A port of this address that is free on UDP and TCP.
fn free(ip: &str) -> SocketAddr {
    for _ in 0..100 {
        let udp = UdpSocket::bind(format!("{ip}:0")).expect("this machine has the address");
        let addr = udp.local_addr().unwrap();
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no free port at {ip}");
}

fn both(addr: SocketAddr, more: &[String]) -> String {
    let mut all = vec![format!("\"udp:{addr}\""), format!("\"tcp:{addr}\"")];
    all.extend(more.iter().cloned());
    format!("[{}]", all.join(", "))
}

#[test]
fn phones_chat_over_ipv6_and_with_phones_on_ipv4() {
    let six = free("[::1]");
    let setup = Setup::new();
    let listen = both(setup.addr(), &[format!("\"udp:{six}\""), format!("\"tcp:{six}\"")]);
    let mut daemon = setup.set("sip.listen", &listen).start();
    let at = |daemon: &Daemon, user: &str, over| {
        let mut phone: PhoneSetup = daemon.phone(user).ip("::1").over(over);
        phone.daemon = six;
        phone
    };
    let alice = daemon.udp("alice");
    let bob = at(&daemon, "bob", Over::Udp).registered();
    let carol = at(&daemon, "carol", Over::Tcp).domain(&six.to_string()).registered();
    room("team", &alice, &[&bob]);
    carol.expect(202, "team", "#join");
    bob.hears("*** [carol] has joined the room");
    alice.expect(202, "team", "hello");
    let copy = bob.hears("[alice]: hello");
    assert!(copy.header("Via").contains(&six.to_string()), "Via: {}", copy.header("Via"));
    assert_eq!(copy.uri(), bob.contact());
    let copy = carol.hears("[alice]: hello");
    assert_eq!(copy.address("To"), format!("sip:carol@{six}"));
    assert_eq!(copy.address("From"), format!("sip:team@{six}"));
    carol.expect(202, "team", "hello back");
    for phone in [&alice, &bob] {
        phone.hears("[carol]: hello back");
    }
    bob.expect(200, "alice", "directly");
    // And after a restart, before anybody has registered again.
    daemon.kill_and_restart();
    alice.expect(202, "team", "are you there?");
    bob.hears("[alice]: are you there?");
}

#[test]
fn an_answer_over_ipv6_tells_where_the_request_came_from() {
    let six = free("[::1]");
    let setup = Setup::new();
    let daemon = {
        let listen = both(setup.addr(), &[format!("\"udp:{six}\"")]);
        setup.set("sip.listen", &listen).start()
    };
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let options = Req::new("OPTIONS", "sip:[::1]", "sip:probe@[::1]");
    let bytes = options.bytes(Over::Udp, "[2001:db8::9]:5060".parse().unwrap(), None);
    socket.send_to(&bytes, six).unwrap();
    let mut buffer = [0; 4096];
    let (n, from) = socket.recv_from(&mut buffer).unwrap();
    let answer = crate::kit::Msg::parse(&buffer[..n]).unwrap();
    assert_eq!((answer.status(), from), (200, six));
    let via = answer.header("Via");
    let port = socket.local_addr().unwrap().port();
    assert!(via.contains(&format!("rport={port}")) && via.contains("received=::1"), "{via}");
    daemon.must_be_alive();
}

#[test]
fn a_wildcard_listener_answers_from_the_address_it_was_asked_at_and_names_it() {
    let setup = Setup::new();
    let port = setup.addr().port();
    let wild: SocketAddr = format!("0.0.0.0:{port}").parse().unwrap();
    let daemon = setup
        .set("sip.listen", &both(wild, &[]))
        .set("auth.mode", "\"open\"")
        .set("auth.open_on_purpose", "true")
        .start();
    // `daemon.addr` is one address of 127.0.0.0/8; the kernel would answer from 127.0.0.1.
    let asker = Datagrams::connected(daemon.addr);
    let options = Req::new("OPTIONS", &format!("sip:{}", daemon.addr), "sip:probe@example.org");
    asker.send(&options.bytes(Over::Udp, asker.local(), None));
    let answer = asker.answer(&options.call_id, PATIENCE).expect("the answer comes from where it was asked");
    assert_eq!(answer.status(), 200);
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    // That address is a spelling of our domain.
    let carol = daemon.phone("carol").domain(&daemon.addr.to_string()).registered();
    room("team", &alice, &[&bob]);
    carol.expect(202, "team", "#join");
    bob.hears("*** [carol] has joined the room");
    alice.expect(202, "team", "hello");
    for phone in [&bob, &carol] {
        let copy = phone.hears("[alice]: hello");
        let via = copy.header("Via");
        assert!(via.contains(&daemon.addr.to_string()), "{}: Via: {via}", phone.user());
        assert_eq!(phone.strangers(), 0, "{}: from another address than it registered at", phone.user());
    }
}

#[test]
fn the_advertised_address_is_in_via_and_is_ours() {
    let daemon = Setup::new().set("sip.advertise", "\"chat.example.net:5099\"").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    let carol = daemon.phone("carol").domain("chat.example.net:5099").registered();
    carol.expect(202, "team", "#join");
    bob.hears("*** [carol] has joined the room");
    alice.expect(202, "team", "hello");
    for phone in [&bob, &carol] {
        let copy = phone.hears("[alice]: hello");
        assert!(copy.header("Via").contains("chat.example.net:5099"), "{}", copy.header("Via"));
        assert!(phone.got().iter().all(|got| got.status == 200));
    }
}
