//! Whom we believe (spec §3): trusted peers, what they assert, and those who only pretend.

use crate::chat::room;
use crate::kit::{Daemon, Over, Phone, Proxy, Setup};

const PEER: &str = "127.0.0.9";

fn trusting() -> Setup {
    Setup::new().set("sip.trusted_peers", &format!("[\"{PEER}/32\"]"))
}

fn asserted(daemon: &Daemon, user: &str, value: &str) -> Phone {
    daemon.phone(user).ip(PEER).header(&format!("P-Asserted-Identity: {value}")).up()
}

#[test]
fn a_trusted_peer_says_who_speaks_and_nobody_else_does() {
    for digest in [false, true] {
        let setup = if digest { trusting().digest() } else { trusting() };
        let daemon = setup.start();
        if digest {
            daemon.account("alice", "secret");
        }
        let alice = daemon.udp("alice");
        room("team", &alice, &[]);
        // The first sip URI counts, whatever stands before it and whatever From says.
        let gate = asserted(
            &daemon,
            "mallory",
            "<tel:+4930123>, \"Bob\" <sips:bob@example.org>, <sip:eve@example.org>",
        );
        gate.expect(202, "team", "#join");
        alice.hears("*** [bob] has joined the room");
        gate.expect(202, "team", "who am I");
        alice.hears("[bob]: who am I");
        // Without an identity: 403, even with a From that is right.
        let bare = daemon.phone("bob").ip(PEER).up();
        bare.expect(403, "team", "only From");
        let tel = asserted(&daemon, "bob", "<tel:+4930123>");
        tel.expect(403, "team", "only tel");
        // From others it is as if it were not there.
        let liar = daemon.phone("carl").header("P-Asserted-Identity: <sip:bob@example.org>").up();
        liar.expect(if digest { 401 } else { 603 }, "team", "I am bob");
        alice.expect(202, "team", "last");
        for text in ["only From", "only tel", "I am bob"] {
            assert!(!alice.texts().iter().any(|t| t.contains(text)), "{text}");
        }
    }
}

#[test]
fn trusted_from_is_believed_where_it_is_configured() {
    let daemon = trusting().digest().set("sip.trusted_from", "true").start();
    daemon.account("alice", "secret");
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    let bob = daemon.phone("bob").ip(PEER).up();
    bob.expect(202, "team", "#join");
    alice.hears("*** [bob] has joined the room");
    let asserted = asserted(&daemon, "bob", "<sip:carol@example.org>");
    asserted.expect(202, "team", "#join");
    alice.hears("*** [carol] has joined the room");
}

#[test]
fn foreign_senders_are_heard_through_a_trusted_peer_alone() {
    let proxy = Proxy::new(PEER, Over::Udp);
    let daemon = trusting().set("sip.outbound_proxy", &proxy.uri()).start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    let abroad = daemon.phone("zoe").domain("elsewhere.example").up();
    let request = abroad.message("sip:team@example.org", "from abroad");
    assert_eq!(abroad.ask(request).status(), 403);
    // Invited; he accepts through the peer, and is written to through the proxy.
    alice.expect(202, "team", "#invite zoe@elsewhere.example");
    proxy.until("zoe", "the invitation", |texts| !texts.is_empty());
    let zoe = daemon
        .phone("zoe")
        .domain("elsewhere.example")
        .ip(PEER)
        .header("P-Asserted-Identity: <sip:zoe@elsewhere.example>")
        .up();
    zoe.expect(202, "sip:team@example.org", "#accept");
    zoe.expect(202, "sip:team@example.org", "hello");
    alice.hears_that("zoe's post, with her domain", |m| m.text() == "[zoe@elsewhere.example]: hello");
    alice.expect(202, "team", "hello zoe");
    proxy.until("zoe", "the post", |texts| texts.iter().any(|t| t == "[alice]: hello zoe"));
    let copy = proxy.offered("zoe", "[alice]: hello zoe");
    assert_eq!(copy.uri(), "sip:zoe@elsewhere.example");
    let forged = abroad.message("sip:team@example.org", "forged");
    assert_eq!(abroad.ask(forged).status(), 403);
    assert!(!alice.texts().iter().any(|t| t.contains("forged")));
}

#[test]
fn without_a_way_abroad_nothing_leaves_for_foreign_domains() {
    let daemon = trusting().start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    for text in ["#invite zoe@elsewhere.example", "#add zoe@elsewhere.example"] {
        alice.expect(603, "team", text);
    }
    alice.expect(603, "sip:zoe@elsewhere.example", "directly");
}

#[test]
fn a_peer_registers_with_path_and_is_written_to_through_it() {
    for over in [Over::Udp, Over::Tcp] {
        let proxy = Proxy::new(PEER, over);
        let mut daemon = trusting().digest().start();
        daemon.account("alice", "secret");
        daemon.account("bob", "secret");
        let alice = daemon.udp("alice");
        room("team", &alice, &[]);
        let edge = asserted(&daemon, "bob", "<sip:bob@example.org>");
        let transport = if over == Over::Tcp { ";transport=tcp" } else { "" };
        let path = format!("<sip:{}{transport};lr;ob>", proxy.addr);
        let contact = "sip:bob@192.0.2.55:5062";
        let register = edge.register_request(contact, 3600).header("Supported: path");
        let answer = edge.ask(register.header(&format!("Path: {path}, <sip:inner.example.net;lr>")));
        assert_eq!(answer.status(), 200, "{}", answer.start);
        assert!(answer.header("Path").contains(&proxy.addr.to_string()), "{answer:?}");
        edge.expect(202, "team", "#join");
        alice.expect(202, "team", "hello");
        proxy.until("bob", "the post", |texts| texts.iter().any(|t| t == "[alice]: hello"));
        let copy = proxy.offered("bob", "[alice]: hello");
        assert_eq!(copy.uri(), contact);
        assert_eq!(copy.all("Route").join(", "), format!("{path}, <sip:inner.example.net;lr>"));
        assert_eq!(copy.address("P-Asserted-Identity"), "sip:alice@example.org");
        let shy = alice.ask(alice.message("team", "guess").header("Privacy: id"));
        assert_eq!(shy.status(), 202);
        assert!(proxy.offered("bob", "[alice]: guess").get("P-Asserted-Identity").is_none());
        // The binding and its Path outlive the daemon.
        daemon.kill_and_restart();
        alice.expect(202, "team", "after");
        proxy.until("bob", "the post after", |texts| texts.iter().any(|t| t == "[alice]: after"));
        assert_eq!(proxy.took("bob").iter().filter(|text| *text == "[alice]: hello").count(), 1);
    }
}

#[test]
fn nobody_registers_as_the_manager() {
    let daemon = trusting().start();
    for phone in [daemon.phone("chat-manager").up(), daemon.phone("Chat-Manager").ip(PEER).up()] {
        let answer = phone.ask(phone.register_request(&phone.contact(), 3600));
        assert_eq!(answer.status(), 403, "{}", answer.start);
    }
    daemon.udp("alice").expect(202, "chat-manager", "#help");
}

#[test]
fn messages_to_people_abroad_leave_through_the_proxy_and_wait_for_it() {
    let proxy = Proxy::new(PEER, Over::Udp);
    let mut daemon = trusting().set("sip.outbound_proxy", &proxy.uri()).start();
    let alice = daemon.udp("alice");
    alice.expect(200, "sip:Zoe@elsewhere.example", "directly");
    let copy = proxy.offered("Zoe", "directly");
    assert_eq!(
        (copy.uri(), &*copy.address("To")),
        ("sip:Zoe@elsewhere.example", "sip:Zoe@elsewhere.example")
    );
    assert_eq!(copy.address("From"), "sip:alice@example.org");
    assert_eq!(copy.address("P-Asserted-Identity"), "sip:alice@example.org");
    // Stored there is accepted here.
    proxy.answers(|_| Some((202, "")));
    alice.expect(202, "sip:zoe@elsewhere.example", "stored there");
    // Nobody there: it waits here, over a kill.
    proxy.answers(|_| Some((480, "")));
    alice.expect(202, "sip:zoe@elsewhere.example", "later");
    proxy.answers(|_| Some((200, "")));
    daemon.kill_and_restart();
    proxy.until("Zoe", "the message that waited", |texts| texts.iter().any(|text| text == "later"));
    // A foreign sender is not passed on abroad.
    let zoe = daemon
        .phone("zoe")
        .domain("elsewhere.example")
        .ip(PEER)
        .header("P-Asserted-Identity: <sip:zoe@elsewhere.example>")
        .up();
    zoe.expect(603, "sip:yan@elsewhere.example", "in transit");
    assert!(proxy.got("yan").is_empty());
}
