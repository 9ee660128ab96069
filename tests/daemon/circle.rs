//! Rooms of two servers that are members of each other: what is said goes round once, and no more.

use crate::kit::{Daemon, Phone, Setup};

/// Two servers, each the other's proxy and peer.
struct Pair {
    a: Daemon,
    b: Daemon,
}

fn pair(trusted_from: bool) -> Pair {
    let (a, b) = (Setup::new(), Setup::new());
    let (at, bt) = (a.addr(), b.addr());
    let peer = |setup: Setup, domain: &str, other: std::net::SocketAddr| {
        setup
            .set("domains", &format!("[\"{domain}\"]"))
            .set("aliases", "{}")
            .set("sip.outbound_proxy", &format!("\"sip:{other};transport=udp\""))
            .set("sip.trusted_peers", &format!("[\"{}/32\"]", other.ip()))
            .set("sip.trusted_from", &trusted_from.to_string())
            .start()
    };
    Pair { a: peer(a, "a.example", bt), b: peer(b, "b.example", at) }
}

/// Makes the room `who` of the server at `from` a member of a room of the server `of`.
fn wire(of: &Daemon, room: &str, from: &Daemon, who: &str) {
    let (user, domain) = who.split_once('@').unwrap();
    let voice = of.phone(user).domain(domain).ip(&from.addr.ip().to_string());
    let voice = voice.header(&format!("P-Asserted-Identity: <sip:{who}>")).up();
    let answer = voice.say(&format!("sip:{room}"), "#join");
    assert_eq!(answer.status(), 202, "{}", answer.start);
}

fn heard(phone: &Phone, what: &str) -> Vec<String> {
    phone.texts().into_iter().filter(|text| text.ends_with(what)).collect()
}

fn goes_round_once(trusted_from: bool) {
    let Pair { a, b } = pair(trusted_from);
    let alice = a.phone("alice").domain("a.example").registered();
    let bob = a.phone("bob").domain("a.example").registered();
    let carol = b.phone("carol").domain("b.example").registered();
    // Two rooms on each side, all wired to all of the other; alice and carol are in all four.
    let (ours, theirs) = (["ring@a.example", "hall@a.example"], ["ring@b.example", "hall@b.example"]);
    for (owner, others, rooms) in [(&alice, [&bob, &carol], ours), (&carol, [&alice, &carol], theirs)] {
        for room in rooms {
            let uri = format!("sip:{room}");
            owner.expect(202, &uri, "#create");
            for other in others.iter().filter(|other| other.user() != owner.user()) {
                other.expect(202, &uri, "#join");
            }
        }
    }
    for (of, from, rooms, members) in [(&a, &b, ours, theirs), (&b, &a, theirs, ours)] {
        for room in rooms {
            for member in members {
                wire(of, room, from, member);
            }
        }
    }
    alice.expect(202, "sip:ring@a.example", "hello");
    bob.hears("[alice]: hello");
    // What came back is refused for good: nobody waits to send it again.
    b.logs("status=482");
    carol.until("the post of both rooms", |taken| {
        taken.iter().filter(|got| got.msg.text().ends_with("hello")).count() >= 3
    });
    for round in 0..3 {
        let text = format!("again {round}");
        carol.expect(202, "sip:hall@b.example", &text);
        bob.hears_that("it", |m| m.text().ends_with(&text));
    }
    for daemon in [&a, &b] {
        daemon.must_be_alive();
    }
    for phone in [&alice, &bob, &carol] {
        let hello = heard(phone, "hello");
        assert!(hello.len() <= 4, "{}: {hello:#?}", phone.user());
    }
}

#[test]
fn a_post_in_rooms_that_are_wired_in_a_circle_goes_round_once() {
    goes_round_once(false);
}

#[test]
fn a_post_in_rooms_of_peers_that_believe_from_goes_round_once() {
    goes_round_once(true);
}
