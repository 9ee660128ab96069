//! Bodies that not every phone can show (spec §4, §5): who gets them as they are, who gets the text in them.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};

use crate::chat::room;
use crate::kit::{Act, Daemon, Phone, Setup};

const CPIM: &str = "From: <im:alice@example.org>\r\nTo: <im:team@example.org>\r\n\r\n\
    Content-Type: text/plain;charset=utf-8\r\n\r\nin an envelope";
const MIXED: &str = "--b\r\nContent-Type: text/plain\r\n\r\nwith a picture\r\n--b\r\n\
    Content-Type: image/png\r\n\r\nPNG\r\n--b--";

fn say(phone: &Phone, to: &str, kind: &str, body: &str) -> u16 {
    phone.ask(phone.message(to, body).content_type(kind)).status()
}

#[test]
fn who_did_not_say_that_he_takes_it_gets_the_text_in_it_and_who_did_gets_it_whole() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let plain = daemon.phone("bob").header("User-Agent: baresip v1.0.0").registered();
    let rich = daemon
        .phone("carol")
        .header("Accept: text/plain, message/cpim")
        .header("Accept: multipart/*, text/html;level=1")
        .registered();
    room("team", &alice, &[&plain, &rich]);
    for (kind, body, text) in [
        ("message/cpim", CPIM, "in an envelope"),
        ("multipart/mixed;boundary=b", MIXED, "with a picture"),
        ("text/html", "<p>with <b>tags</b></p>", "with tags"),
    ] {
        assert_eq!(say(&alice, "team", kind, body), 202);
        let got = plain.hears(&format!("[alice]: {text}"));
        assert_eq!(got.header("Content-Type"), "text/plain;charset=UTF-8", "{kind}");
        let whole = rich.hears(body);
        assert_eq!(whole.header("Content-Type"), kind);
        // From person to person there is no name before it.
        assert_eq!(say(&alice, "bob", kind, body), 200);
        plain.hears(text);
        assert_eq!(say(&alice, "carol", kind, body), 200);
    }
    for phone in [&plain, &rich] {
        phone.one_at_a_time();
    }
}

#[test]
fn what_a_phone_refuses_is_converted_once_and_known_over_a_kill() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.phone("bob").header("User-Agent: Odd/1").registered());
    room("team", &alice, &[&bob]);
    let picky = |msg: &crate::kit::Msg| match msg.header("Content-Type") {
        kind if kind.starts_with("text/plain") => Act::Answer(200),
        _ => Act::Answer(415),
    };
    bob.responds(picky);
    let odd = |phone: &Phone| say(phone, "team", "application/x-odd", "no text in it");
    let offers = |bob: &Phone| bob.got().iter().filter(|got| got.msg.text() == "no text in it").count();
    assert_eq!(odd(&alice), 202);
    alice.expect(202, "team", "first marker");
    bob.hears("[alice]: first marker");
    assert_eq!(offers(&bob), 1, "it was tried as it is");
    // What was learned is on disk once another of it is not offered any more.
    assert_eq!(odd(&alice), 202);
    alice.expect(202, "team", "second marker");
    bob.hears("[alice]: second marker");
    assert_eq!(offers(&bob), 1, "it is not tried again");
    daemon.kill_and_restart();
    assert_eq!(odd(&alice), 202);
    alice.expect(202, "team", "third marker");
    bob.hears("[alice]: third marker");
    assert_eq!(offers(&bob), 1, "not by the next daemon either");
}

#[test]
fn a_new_user_agent_is_a_new_phone() {
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    let setup = || daemon.phone("bob").instance(7);
    let old = setup().header("User-Agent: Odd/1").registered();
    old.responds(|msg| {
        Act::Answer(if msg.header("Content-Type").starts_with("text/plain") { 200 } else { 415 })
    });
    assert_eq!(say(&alice, "bob", "application/x-odd", "odd"), 415);
    assert_eq!(say(&alice, "bob", "application/x-odd", "odd"), 415);
    assert_eq!(old.got().iter().filter(|got| got.msg.text() == "odd").count(), 1);
    old.hang_up();
    let new = setup().header("User-Agent: Odd/2").registered();
    assert_eq!(say(&alice, "bob", "application/x-odd", "even"), 200);
    new.hears("even");
}

#[test]
fn who_sends_a_type_is_known_to_take_it() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    assert_eq!(say(&alice, "bob", "message/cpim", CPIM), 200);
    bob.hears("in an envelope");
    assert_eq!(say(&bob, "alice", "message/cpim", CPIM), 200);
    assert_eq!(alice.hears(CPIM).header("Content-Type"), "message/cpim", "alice has sent it herself");
    assert_eq!(say(&alice, "bob", "message/cpim", CPIM), 200);
    bob.hears(CPIM);
}

#[test]
fn a_refusal_for_the_type_is_passed_back_with_what_is_taken() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.responds(|_| Act::Takes("text/plain, image/gif"));
    let answer = alice.ask(alice.message("bob", "\u{1}").content_type("image/png"));
    assert_eq!((answer.status(), answer.get("Accept")), (415, Some("text/plain, image/gif")));
}

#[test]
fn packed_bodies_are_unpacked_under_the_limit() {
    let daemon = Setup::new().set("limits.message_bytes", "4096").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let zlib = |text: &[u8]| {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    };
    let bare = |text: &[u8]| {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    };
    let send = |to: &str, encoding: &str, body: Vec<u8>| {
        let packed = alice.message(to, "").body(body).header(&format!("Content-Encoding: {encoding}"));
        alice.ask(packed)
    };
    assert_eq!(send("team", "deflate", zlib(b"packed with a frame")).status(), 202);
    bob.hears("[alice]: packed with a frame");
    assert_eq!(send("bob", "Deflate", bare(b"packed bare")).status(), 200);
    assert_eq!(bob.hears("packed bare").get("Content-Encoding"), None);
    assert_eq!(send("team", "deflate", zlib(b"#members")).status(), 202);
    alice.hears("Members:\n*[alice]\n[bob]");
    for body in [zlib(&[b'x'; 4097]), zlib(&vec![0; 3_000_000])] {
        assert_eq!(send("team", "deflate", body).status(), 413);
    }
    let refused = send("team", "gzip", zlib(b"x"));
    assert_eq!((refused.status(), refused.get("Accept-Encoding")), (415, Some("identity, deflate")));
    assert_eq!(send("team", "deflate", b"not packed".to_vec()).status(), 415);
}

#[test]
fn the_time_of_what_waited_is_said_where_it_is_wished() {
    let daemon = Setup::new().set("offline.prefix", "\"always\"").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(200, "bob", "live");
    bob.hears("live");
    bob.unregister();
    alice.expect(202, "bob", "late");
    bob.register();
    let late = bob.hears_that("the late message", |msg| msg.text().ends_with("] late"));
    let text = late.text();
    let stamp = text.strip_prefix("[Offline message - ").and_then(|rest| rest.strip_suffix("] late"));
    // ctime: `Fri Nov 20 21:52:16 2026`.
    assert!(stamp.is_some_and(|stamp| stamp.len() == 24 && stamp.split_whitespace().count() == 5), "{text}");
    alice.expect(200, "bob", "live again");
    bob.hears("live again");
}
