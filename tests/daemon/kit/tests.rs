//! The tests' own instruments: a phone that sees no overlap, or a date read wrong, would prove nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::phone::PhoneSetup;
use super::wire::Datagrams;
use super::{Act, Over, Req, sip};

#[test]
fn a_phone_notices_two_open_transactions_and_takes_a_call_id_once() {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let phone = PhoneSetup::new(nobody, "bob", "example.org", None).up();
    let daemon = Datagrams::new(phone.local());
    let first = Req::new("MESSAGE", "sip:bob@example.org", "sip:team@example.org").body("first");
    let bytes = first.bytes(Over::Udp, daemon.local(), None);
    daemon.send(&bytes);
    daemon.send(&bytes);
    daemon.send(&first.clone().again().bytes(Over::Udp, daemon.local(), None));
    let second = Req::new("MESSAGE", "sip:bob@example.org", "sip:team@example.org").body("second");
    daemon.send(&second.bytes(Over::Udp, daemon.local(), None));
    phone.hears("second");
    assert_eq!(phone.texts(), ["first", "second"], "a retransmission and a repeated Call-ID are one message");
    phone.one_at_a_time();

    phone.responds(|_| Act::Silence);
    for text in ["third", "fourth"] {
        let request = Req::new("MESSAGE", "sip:bob@example.org", "sip:team@example.org").body(text);
        daemon.send(&request.bytes(Over::Udp, daemon.local(), None));
        phone.offered(text);
    }
    assert!(catch_unwind(AssertUnwindSafe(|| phone.one_at_a_time())).is_err(), "the overlap went unseen");
}

#[test]
fn a_sip_date_is_read_to_the_second_and_nothing_else_is_one() {
    assert_eq!(sip::date("Sat, 13 Nov 2010 23:29:00 GMT"), Some(1_289_690_940));
    assert_eq!(sip::date("Thu, 29 Feb 2024 00:00:01 GMT"), Some(1_709_164_801));
    let wrong =
        ["Sun, 13 Nov 2010 23:29:00 GMT", "Sat, 13 Nov 2010 23:29:00 CET", "Sat, 13 Nov 2010 23:29 GMT"];
    for wrong in wrong {
        assert_eq!(sip::date(wrong), None, "{wrong}");
    }
}
