//! MESSAGE by the book (RFC 3428): what is carried, what is not, when it ends.

use std::time::Duration;

use crate::chat::room;
use crate::kit::{Act, Daemon, Over, PATIENCE, sip};

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

#[test]
fn a_message_makes_no_dialog_and_no_route() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let post = alice
        .message("team", "routed")
        .header("Record-Route: <sip:127.0.0.77;lr>")
        .header("Contact: <sip:alice@127.0.0.77>")
        .header("Accept: text/html");
    let answer = alice.ask(post);
    assert_eq!(answer.status(), 202);
    for name in ["Record-Route", "Contact", "Accept"] {
        assert!(answer.get(name).is_none(), "{name}: {answer:?}");
        assert!(bob.hears("[alice]: routed").get(name).is_none(), "{name}");
    }
    assert!(answer.body.is_empty() && answer.header("Content-Length") == "0", "{answer:?}");
}

#[test]
fn a_late_copy_has_the_date_of_the_post_and_a_date_of_the_sender_changes_nothing() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    bob.unregister();
    let dated = |text: &str, date: &str| {
        let post = alice.message("team", text).header(&format!("Date: {date}")).header("Expires: 600");
        assert_eq!(alice.ask(post).status(), 202);
    };
    dated("from the future", "Wed, 01 Jan 2099 00:00:00 GMT");
    dated("from nowhere", "yesterday");
    alice.expect(202, "team", "from now");
    let now = now();
    bob.register();
    let last = bob.hears_that("the last", |m| m.text().ends_with("[alice]: from now"));
    for copy in bob.taken().iter().filter(|got| got.msg.text().contains("from ")) {
        let date = sip::date(copy.msg.header("Date")).expect("a SIP date");
        assert!((now - 60..=now + 1).contains(&date), "{:?}", copy.msg);
    }
    assert!(last.get("Date").is_some());
    let order: Vec<String> =
        bob.texts().iter().filter_map(|text| Some(text.split_once("from ")?.1.to_string())).collect();
    assert_eq!(order, ["the future", "nowhere", "now"]);
}

#[test]
fn a_letter_keeps_its_date_unless_it_is_none() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let heard = |text: &str, date: &str| {
        assert_eq!(alice.ask(alice.message("bob", text).header(&format!("Date: {date}"))).status(), 200);
        let copy = bob.hears(text);
        assert_eq!(copy.headers.iter().filter(|(name, _)| name == "Date").count(), 1, "{copy:?}");
        copy.header("Date").to_string()
    };
    let written = "Sat, 13 Nov 2010 23:29:00 GMT";
    assert_eq!(heard("from a slow hand", written), written);
    for (text, date) in [("from the future", "Wed, 01 Jan 2099 00:00:00 GMT"), ("from nowhere", "yesterday")]
    {
        let shown = sip::date(&heard(text, date)).expect("a SIP date");
        assert!((now() - 60..=now() + 1).contains(&shown), "{text}: {shown}");
    }
}

#[test]
fn what_expires_at_once_is_for_who_is_there_and_waits_for_nobody() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let now_or_never =
        |to: &str, text: &str| alice.ask(alice.message(to, text).header("Expires: 0")).status();
    assert_eq!(now_or_never("bob", "now"), 200);
    assert_eq!(now_or_never("team", "now to all"), 202);
    bob.hears("now");
    bob.hears("[alice]: now to all");
    bob.unregister();
    assert_eq!(now_or_never("bob", "never"), 480);
    bob.register();
    alice.expect(200, "bob", "later");
    bob.hears("later");
    bob.never_heard("never");
}

#[test]
fn a_copy_of_ours_that_comes_back_is_480_and_said_to_nobody() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    alice.expect(202, "team", "round and round");
    let copy = bob.hears("[alice]: round and round");
    // As a proxy loops it, with our Via below its own; and as a phone does that forwards everything it gets.
    let mut looped = bob.message("team", "[alice]: round and round");
    looped = looped.header(&format!("Via: {}", copy.header("Via")));
    let mut forwarded = bob.message("team", "[alice]: round and round");
    forwarded.call_id = copy.call_id().to_string();
    for request in [looped, forwarded] {
        let answer = bob.ask(request);
        assert_eq!(answer.status(), 480, "{}", answer.start);
    }
    alice.expect(202, "team", "after");
    bob.hears("[alice]: after");
    assert!(!alice.texts().iter().any(|text| text.contains("round")), "{:?}", alice.texts());
}

#[test]
fn one_device_with_two_flows_gets_one_copy() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let first = daemon.phone("bob").instance(1).registered();
    room("team", &alice, &[&first]);
    let second = daemon.phone("bob").instance(1).over(Over::Tcp).registered();
    alice.expect(202, "team", "once");
    second.hears("[alice]: once");
    alice.expect(202, "team", "and again");
    second.hears("[alice]: and again");
    first.never_heard("[alice]: once");
}

#[test]
fn what_means_away_is_kept_for_the_next_registration() {
    let daemon = Daemon::open();
    let (alice, bob, carol) = (daemon.udp("alice"), daemon.udp("bob"), daemon.udp("carol"));
    room("team", &alice, &[&bob, &carol]);
    bob.hears("*** [carol] has joined the room");
    for status in [408u16, 430, 480, 486, 491, 500, 502, 503, 504, 580] {
        let text = format!("kept over {status}");
        bob.responds(move |_| Act::Answer(status));
        alice.expect(202, "team", &text);
        bob.offered(&format!("[alice]: {text}"));
        carol.hears(&format!("[alice]: {text}"));
        bob.responds(|_| Act::Answer(200));
        bob.register();
        bob.hears(&format!("[alice]: {text}"));
    }
    bob.one_at_a_time();
}

#[test]
fn a_redirection_is_followed_nowhere() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let victim = std::net::UdpSocket::bind("127.0.0.66:0").unwrap();
    victim.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    bob.responds(|_| Act::Silence);
    alice.expect(202, "team", "go elsewhere");
    let offer = bob.offered("[alice]: go elsewhere").msg;
    // Answered by hand, with the address that we are to write to.
    let mut answer = String::from("SIP/2.0 302 Moved Temporarily\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        answer.push_str(&format!("{name}: {}\r\n", offer.header(name)));
    }
    let to = victim.local_addr().unwrap();
    answer.push_str(&format!("Contact: <sip:bob@{to}>\r\nContent-Length: 0\r\n\r\n"));
    bob.raw(answer.as_bytes());
    bob.responds(|_| Act::Answer(200));
    alice.expect(202, "team", "and on");
    bob.hears("[alice]: and on");
    assert!(victim.recv_from(&mut [0; 2000]).is_err(), "somebody else was written to");
    daemon.options(PATIENCE).expect("it goes on");
}
