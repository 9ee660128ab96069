//! REGISTER by RFC 3261 §10.3, RFC 3327 and RFC 5626 §6, told by what phones do.

use std::collections::HashSet;
use std::net::SocketAddr;

use proptest::prelude::*;

use imcd::registration::{
    Binding, BindingKey, ContactIn, Contacts, Refused, Request, Rules, answer, contact_values, decide,
    read_expires,
};
use imcd::sip::message::{Framing, Limits, Message};
use imcd::types::{ConnId, Flow, Transport};

const NOW: i64 = 1_700_000_000_000;
const RULES: Rules = Rules { min_expires: 60, default_expires: 3600, max_expires: 86400, max_contacts: 4 };
const PHONE: &str = "sip:alice@192.0.2.7:5062";

fn flow(remote: &str) -> Flow {
    let local: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
    Flow {
        transport: Transport::Udp,
        listener: 0,
        local,
        remote: remote.parse().expect("an address"),
        conn: None,
    }
}

fn contact(uri: &str) -> ContactIn {
    ContactIn { uri: uri.into(), ..ContactIn::default() }
}

fn with_instance(uri: &str, instance: &str) -> ContactIn {
    ContactIn { instance: Some(instance.into()), ..contact(uri) }
}

fn with_flow(uri: &str, instance: &str, reg_id: u32) -> ContactIn {
    ContactIn { reg_id: Some(reg_id), ..with_instance(uri, instance) }
}

fn leaving(contact: ContactIn) -> ContactIn {
    ContactIn { expires: Some(0), ..contact }
}

fn register(cseq: u32, contacts: &[ContactIn]) -> Request {
    Request {
        contacts: Contacts::List(contacts.to_vec()),
        expires: None,
        call_id: "one".into(),
        cseq,
        path: vec![],
        flow: flow("192.0.2.7:5062"),
        trusted: false,
        direct: true,
        supported_path: false,
        supported_outbound: false,
        to: "alice@example.org".into(),
        name: None,
        user_agent: None,
        accept: vec![],
        methods: None,
    }
}

/// The bindings of an account, over time.
struct Account {
    bindings: Vec<Binding>,
    now: i64,
}

impl Account {
    fn new() -> Account {
        Account { bindings: vec![], now: NOW }
    }

    /// Registers, and tells the contacts that are bound then; a refusal changes nothing.
    fn takes(&mut self, request: Request) -> Result<Vec<String>, u16> {
        self.tries(request).map_err(|refused| refused.status)
    }

    fn tries(&mut self, request: Request) -> Result<Vec<String>, Refused> {
        self.bindings = decide(&self.bindings, &request, &RULES, self.now)?;
        Ok(self.bindings.iter().map(|b| b.contact.clone()).collect())
    }

    fn seconds_left(&self) -> Vec<i64> {
        self.bindings.iter().map(|b| (b.expires_at - self.now) / 1000).collect()
    }
}

fn bound(uris: &[&str]) -> Result<Vec<String>, u16> {
    Ok(uris.iter().map(|uri| uri.to_string()).collect())
}

#[test]
fn a_phone_registers_refreshes_and_leaves() {
    let mut alice = Account::new();
    assert_eq!(alice.takes(register(1, &[contact(PHONE)])), bound(&[PHONE]));
    assert_eq!(alice.seconds_left(), [3600]);
    alice.now += 1_000_000;
    assert_eq!(alice.seconds_left(), [2600]);
    assert_eq!(alice.takes(register(2, &[contact(PHONE)])), bound(&[PHONE]));
    assert_eq!(alice.seconds_left(), [3600]);
    assert_eq!(alice.bindings[0].cseq, 2);
    assert_eq!(alice.takes(register(3, &[leaving(contact(PHONE))])), bound(&[]));
    assert_eq!(alice.takes(register(4, &[leaving(contact(PHONE))])), bound(&[]), "leaving twice is no error");
}

#[test]
fn a_request_without_contact_asks_and_changes_nothing() {
    let mut alice = Account::new();
    alice.takes(register(1, &[contact(PHONE)])).unwrap();
    let before = alice.bindings.clone();
    let query = Request { contacts: Contacts::None, ..register(1, &[]) };
    assert_eq!(alice.takes(query.clone()), bound(&[PHONE]), "also with an old CSeq");
    assert_eq!(alice.bindings, before);
    alice.now += 3_600_000;
    assert_eq!(alice.takes(query), bound(&[]), "what has expired is not told");
}

#[test]
fn a_star_needs_expires_0() {
    let mut alice = Account::new();
    alice.takes(register(5, &[contact(PHONE), contact("sip:alice@192.0.2.8")])).unwrap();
    let star = |cseq, expires| Request { contacts: Contacts::Star, expires, ..register(cseq, &[]) };
    assert_eq!(alice.takes(star(6, None)), Err(400));
    assert_eq!(alice.takes(star(6, Some(60))), Err(400));
    assert_eq!(alice.takes(star(5, Some(0))), Err(500), "sent before what it would remove");
    assert_eq!(alice.bindings.len(), 2);
    assert_eq!(alice.takes(star(6, Some(0))), bound(&[]));
}

#[test]
fn a_contact_expiry_beats_the_header_beats_the_default() {
    let mut alice = Account::new();
    let asked = ContactIn { expires: Some(300), ..contact("sip:a@192.0.2.1") };
    let request = Request { expires: Some(600), ..register(1, &[asked, contact("sip:a@192.0.2.2")]) };
    alice.takes(request).unwrap();
    assert_eq!(alice.seconds_left(), [300, 600]);
}

#[test]
fn only_less_than_an_hour_can_be_too_brief() {
    let strict = Rules { min_expires: 7200, max_expires: 86400, ..RULES };
    for (rules, asked, given) in [
        (RULES, 1, Err(60)),
        (RULES, 59, Err(60)),
        (RULES, 60, Ok(60)),
        (RULES, 61, Ok(61)),
        (RULES, 86400, Ok(86400)),
        (RULES, 86401, Ok(86400)),
        (RULES, u32::MAX, Ok(86400)),
        (strict, 3599, Err(7200)),
        (strict, 3600, Ok(3600)),
    ] {
        let request = Request { expires: Some(asked), ..register(1, &[contact(PHONE)]) };
        let got = decide(&[], &request, &rules, NOW)
            .map(|list| (list[0].expires_at - NOW) / 1000)
            .map_err(|refused| (refused.status, refused.min_expires));
        assert_eq!(got, given.map_err(|least| (423, Some(least))), "{asked}");
    }
}

#[test]
fn a_malformed_expiry_is_an_hour() {
    for text in ["", "abc", "-1", "+60", "1.5", "60 ", "4294967296", "99999999999999999999"] {
        assert_eq!(read_expires(text), 3600, "{text}");
    }
    assert_eq!((read_expires("0"), read_expires("0060"), read_expires("4294967295")), (0, 60, u32::MAX));
}

#[test]
fn an_old_request_changes_nothing_and_fails() {
    let mut alice = Account::new();
    alice.takes(register(7, &[contact(PHONE)])).unwrap();
    for cseq in [6, 7] {
        let expires = ContactIn { expires: Some(100), ..contact(PHONE) };
        assert_eq!(alice.takes(register(cseq, &[expires])), Err(500));
        assert_eq!(alice.takes(register(cseq, &[leaving(contact(PHONE))])), Err(500));
    }
    assert_eq!(alice.seconds_left(), [3600]);
    // A phone that has started anew has another Call-ID, and counts from 1.
    let reborn = Request { call_id: "two".into(), ..register(1, &[leaving(contact(PHONE))]) };
    assert_eq!(alice.takes(reborn), bound(&[]));
}

#[test]
fn several_contacts_are_bound_all_or_none() {
    let other = "sip:alice@192.0.2.9";
    for bad in [
        contact("sip:alice@"),
        ContactIn { expires: Some(5), ..contact(other) },
        contact("tel:+123"),
        contact("http://example.org/"),
        contact("im:alice@example.org"),
        contact("sip:a\r\nX@h"),
        contact(&format!("sip:{}@h", "a".repeat(2048))),
        contact(""),
    ] {
        let mut alice = Account::new();
        alice.takes(register(1, &[contact(PHONE)])).unwrap();
        let before = alice.bindings.clone();
        let refused = alice.takes(register(2, &[leaving(contact(PHONE)), contact(other), bad.clone()]));
        assert!(matches!(refused, Err(400 | 423)), "{bad:?} {refused:?}");
        assert_eq!(alice.bindings, before, "{bad:?}");
    }
    let mut alice = Account::new();
    alice.takes(register(3, &[contact(PHONE)])).unwrap();
    assert_eq!(alice.takes(register(3, &[contact(other), contact(PHONE)])), Err(500));
    assert_eq!(alice.bindings.len(), 1, "the second was too old, so the first is not bound");
}

#[test]
fn contacts_are_compared_as_uris() {
    for (first, second, same) in [
        ("sip:alice@Example.ORG", "SIP:alice@example.org", true),
        ("sip:%61lice@h", "sip:alice@h", true),
        ("sip:alice@h;transport=TCP", "sip:alice@h;transport=tcp", true),
        ("sip:alice@h;ob", "sip:alice@h", true),
        ("sip:alice@h", "sip:alice@h:5060", false),
        ("sip:alice@h", "sip:Alice@h", false),
        ("sip:alice@h", "sip:alice@h;transport=udp", false),
        ("sip:alice@h;x=1", "sip:alice@h;x=2", false),
        ("sip:alice@h", "sips:alice@h", false),
    ] {
        let mut alice = Account::new();
        alice.takes(register(1, &[contact(first)])).unwrap();
        let list = alice.takes(register(2, &[contact(second)])).unwrap();
        assert_eq!(list.len() == 1, same, "{first} {second}");
        if !same {
            assert_ne!(alice.bindings[0].key(), alice.bindings[1].key(), "{first} {second}");
        }
    }
    let mut alice = Account::new();
    let twice = [ContactIn { expires: Some(300), ..contact(PHONE) }, contact(PHONE)];
    alice.takes(register(1, &twice)).unwrap();
    assert_eq!(alice.seconds_left(), [3600], "named twice, the later word counts");
}

#[test]
fn a_new_contact_pushes_out_the_longest_unseen_and_is_never_refused() {
    let mut alice = Account::new();
    let uri = |n: i64| format!("sip:alice@192.0.2.{n}");
    for n in 0..4 {
        alice.now += 1000;
        alice.takes(register(n as u32 + 1, &[contact(&uri(n))])).unwrap();
    }
    alice.now += 1000;
    alice.takes(register(10, &[contact(&uri(0))])).unwrap();
    alice.now += 1000;
    let list = alice.takes(register(11, &[contact(&uri(9))])).unwrap();
    assert_eq!(list, [uri(2), uri(3), uri(0), uri(9)]);
    let many: Vec<ContactIn> = (20..30).map(|n| contact(&uri(n))).collect();
    alice.now += 1000;
    assert_eq!(alice.takes(register(12, &many)).unwrap().len(), 4);
    let flood: Vec<ContactIn> = (0..65).map(|n| contact(&uri(n))).collect();
    assert_eq!(alice.takes(register(13, &flood)), Err(400));
}

#[test]
fn a_phone_that_changed_its_address_is_there_once() {
    let (old, new) = ("sip:alice@192.0.2.7:1111", "sip:alice@192.0.2.7:2222");
    let mut alice = Account::new();
    alice.takes(register(1, &[with_instance(old, "urn:uuid:1")])).unwrap();
    alice.takes(register(2, &[with_instance("sip:alice@192.0.2.8", "urn:uuid:2")])).unwrap();
    let moved = register(3, &[with_instance(new, "urn:uuid:1")]);
    assert_eq!(alice.takes(moved), bound(&["sip:alice@192.0.2.8", new]));
    // The request from the old address, delayed on its way, does not bring it back.
    assert_eq!(alice.takes(register(1, &[with_instance(old, "urn:uuid:1")])), Err(500));
    // It takes leave with the old address: the new one stays.
    let leave = register(4, &[leaving(with_instance(old, "urn:uuid:1"))]);
    assert_eq!(alice.takes(leave), bound(&["sip:alice@192.0.2.8", new]));
    // Two addresses in one request are two ways to the phone.
    let both = register(5, &[with_instance(old, "urn:uuid:1"), with_instance(new, "urn:uuid:1")]);
    assert_eq!(alice.takes(both), bound(&["sip:alice@192.0.2.8", old, new]));
}

#[test]
fn contacts_without_an_instance_stand_side_by_side_as_one_device() {
    let mut alice = Account::new();
    alice.takes(register(1, &[contact("sip:alice@192.0.2.7:1111")])).unwrap();
    alice.takes(register(2, &[contact("sip:alice@192.0.2.7:2222")])).unwrap();
    alice.takes(register(3, &[with_instance("sip:alice@192.0.2.8", "urn:uuid:2")])).unwrap();
    let devices: Vec<String> = alice.bindings.iter().map(|b| b.device().to_string()).collect();
    assert_eq!(devices, ["", "", "urn:uuid:2"]);
}

#[test]
fn no_instance_passes_for_the_route() {
    let mut eve = Account::new();
    eve.takes(register(1, &[with_instance(PHONE, "route")])).unwrap();
    assert_eq!(eve.bindings[0].device().as_ref(), "instance:route");
}

#[test]
fn a_flow_is_known_by_instance_and_reg_id() {
    let (a, b) = ("sip:a@x.invalid;transport=ws", "sip:b@y.invalid;transport=ws");
    let mut alice = Account::new();
    alice.takes(register(1, &[with_flow(a, "urn:uuid:1", 1)])).unwrap();
    assert_eq!(alice.takes(register(2, &[with_flow(b, "urn:uuid:1", 1)])), bound(&[b]));
    // A second flow may have the same URI.
    assert_eq!(alice.takes(register(3, &[with_flow(b, "urn:uuid:1", 2)])), bound(&[b, b]));
    let keys: Vec<BindingKey> = alice.bindings.iter().map(Binding::key).collect();
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[1].to_string(), "<urn:uuid:1>;reg-id=2");
    assert_eq!(alice.takes(register(3, &[with_flow(a, "urn:uuid:1", 2)])), Err(500));
    assert_eq!(alice.takes(register(4, &[leaving(with_flow(a, "urn:uuid:1", 2))])), bound(&[b]));
    // It gives up flows, then takes them up again.
    assert_eq!(alice.takes(register(5, &[with_instance(a, "urn:uuid:1")])), bound(&[a]));
    assert_eq!(alice.takes(register(6, &[with_flow(b, "urn:uuid:1", 1)])), bound(&[b]));
}

#[test]
fn a_reg_id_without_instance_is_ignored() {
    let mut alice = Account::new();
    let odd = ContactIn { reg_id: Some(1), ..contact(PHONE) };
    let request = Request { supported_outbound: true, ..register(1, &[odd]) };
    assert!(!request.applies_outbound());
    alice.takes(request).unwrap();
    assert_eq!(alice.bindings[0].reg_id, None);
}

#[test]
fn one_request_makes_one_flow() {
    let mut alice = Account::new();
    let (a, b) =
        (with_flow("sip:a@192.0.2.1", "urn:uuid:1", 1), with_flow("sip:a@192.0.2.2", "urn:uuid:1", 2));
    assert_eq!(alice.takes(register(1, &[a.clone(), b.clone()])), Err(400));
    assert_eq!(alice.takes(register(1, &[a.clone(), contact(PHONE)])), Err(400));
    assert_eq!(alice.takes(register(1, &[a, leaving(b)])), bound(&["sip:a@192.0.2.1"]));
}

#[test]
fn outbound_is_applied_only_where_the_first_hop_keeps_flows() {
    let direct = Request { supported_outbound: true, ..register(1, &[with_flow(PHONE, "urn:uuid:1", 1)]) };
    let via_proxy = |path: &[&str], supported_outbound| Request {
        direct: false,
        trusted: true,
        path: path.iter().map(|uri| uri.to_string()).collect(),
        supported_outbound,
        ..direct.clone()
    };
    let require = ("Require", "outbound".to_string());
    for (request, expected) in [
        (direct.clone(), Ok((Some(1), true))),
        (Request { supported_outbound: false, ..direct.clone() }, Ok((Some(1), false))),
        (via_proxy(&["sip:edge.example.org;lr;ob"], true), Ok((Some(1), true))),
        (via_proxy(&["sip:edge.example.org;lr"], true), Err(439)),
        (via_proxy(&["sip:core.example.org;lr", "sip:edge.example.org;lr;ob"], true), Err(439)),
        (via_proxy(&[], true), Err(439)),
        (via_proxy(&["sip:edge.example.org;lr"], false), Ok((None, false))),
    ] {
        let got = decide(&[], &request, &RULES, NOW)
            .map(|list| (list[0].reg_id, answer(&request, &list, NOW).contains(&require)))
            .map_err(|refused| refused.status);
        assert_eq!(got, expected, "{request:?}");
    }
}

#[test]
fn a_path_is_kept_and_told_if_a_trusted_proxy_sent_it() {
    let path = vec!["sip:p1.example.org;lr".to_string(), "sip:p2.example.org;lr".to_string()];
    let request =
        Request { path: path.clone(), trusted: true, direct: false, ..register(1, &[contact(PHONE)]) };
    let list = decide(&[], &request, &RULES, NOW).unwrap();
    assert_eq!(list[0].path, path);
    let paths = |request: &Request| -> Vec<String> {
        answer(request, &list, NOW).into_iter().filter(|(name, _)| *name == "Path").map(|(_, v)| v).collect()
    };
    assert!(paths(&request).is_empty(), "a phone that does not know Path is not told");
    let knows = Request { supported_path: true, ..request.clone() };
    assert_eq!(paths(&knows), ["<sip:p1.example.org;lr>", "<sip:p2.example.org;lr>"]);

    let stranger = Request { trusted: false, ..request.clone() };
    assert_eq!(decide(&[], &stranger, &RULES, NOW).unwrap_err().status, 403);
    let query = Request { contacts: Contacts::None, ..stranger };
    assert_eq!(decide(&[], &query, &RULES, NOW).unwrap_err().status, 403);
    for bad in [vec!["tel:1".to_string()], vec![path[0].clone(); 17]] {
        let request = Request { path: bad, ..request.clone() };
        assert_eq!(decide(&[], &request, &RULES, NOW).unwrap_err().status, 400);
    }
}

#[test]
fn who_is_behind_nat() {
    for (uri, source, nat) in [
        ("sip:alice@192.0.2.7:5062", "192.0.2.7:5062", false),
        ("sip:alice@192.0.2.7", "192.0.2.7:5060", false),
        ("sip:alice@192.0.2.7", "[::ffff:192.0.2.7]:5060", false),
        ("sip:alice@[2001:db8::7]", "[2001:DB8:0::7]:5060", false),
        ("sip:alice@192.0.2.7", "192.0.2.7:5062", true),
        ("sip:alice@10.0.0.1:5062", "192.0.2.7:5062", true),
        ("sip:alice@phone.example.org", "192.0.2.7:5060", true),
    ] {
        let request = Request { flow: flow(source), ..register(1, &[contact(uri)]) };
        let binding = decide(&[], &request, &RULES, NOW).unwrap().remove(0);
        assert_eq!(binding.behind_nat(), nat, "{uri} {source}");
        let stream = Flow { transport: Transport::Tcp, conn: Some(ConnId(1)), ..binding.flow };
        assert!(!Binding { flow: stream, ..binding.clone() }.behind_nat(), "{uri} over TCP");
        assert!(!Binding { path: vec!["sip:p;lr".into()], ..binding }.behind_nat(), "{uri} through a Path");
    }
}

#[test]
fn the_answer_tells_each_binding_as_the_phone_knows_it() {
    let mut alice = Account::new();
    alice.takes(register(1, &[contact("sip:Alice@192.0.2.7;ob")])).unwrap();
    let flow = ContactIn { q: Some(50), expires: Some(600), ..with_flow("sip:a@x.invalid", "urn:uuid:1", 1) };
    alice.takes(register(2, &[flow])).unwrap();
    assert_eq!(
        contact_values(&alice.bindings, NOW + 1),
        [
            "<sip:Alice@192.0.2.7;ob>;expires=3600",
            "<sip:a@x.invalid>;expires=600;q=0.050;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
        ]
    );
    assert_eq!(contact_values(&alice.bindings[..1], NOW + 3_599_999), ["<sip:Alice@192.0.2.7;ob>;expires=1"]);
}

#[test]
fn headers_in_a_contact_do_not_get_into_the_request_uri() {
    let mut alice = Account::new();
    alice.takes(register(1, &[contact("sip:a?b@192.0.2.7;x=1?Route=%3Csip:evil%3E")])).unwrap();
    assert_eq!(alice.bindings[0].request_uri(), "sip:a?b@192.0.2.7;x=1");
    alice.takes(register(2, &[contact("sip:a?b@192.0.2.8")])).unwrap();
    assert_eq!(alice.bindings[1].request_uri(), "sip:a?b@192.0.2.8");
}

#[test]
fn a_binding_outlives_a_restart_but_its_connection_does_not() {
    let mut request = register(7, &[with_flow("sip:a@x.invalid", "urn:uuid:1", 1), leaving(contact(PHONE))]);
    request.flow = Flow { transport: Transport::Tcp, conn: Some(ConnId(3)), ..flow("[2001:db8::7]:5062") };
    request.path = vec!["sip:p;lr".into()];
    request.trusted = true;
    request.name = Some("Ali\"ce\u{1f600}".into());
    request.user_agent = Some("Phone/1".into());
    request.accept = vec!["text/plain".into()];
    request.methods = Some(vec!["MESSAGE".into()]);
    let binding = decide(&[], &request, &RULES, NOW).unwrap().remove(0);
    let kept = Binding { flow: Flow { conn: None, ..binding.flow }, ..binding.clone() };
    assert_eq!(Binding::from_json(&binding.to_json()), Some(kept));

    let bare = decide(&[], &register(1, &[contact(PHONE)]), &RULES, NOW).unwrap().remove(0);
    assert_eq!(Binding::from_json(&bare.to_json()), Some(bare.clone()));
    assert_eq!(Binding::from_json(&bare.to_json().replace("UDP", "SCTP")), None);
    assert_eq!(Binding::from_json("{}"), None);
}

#[test]
fn a_phone_that_says_what_it_takes_and_not_message_is_no_way_for_messages() {
    let takes = |allow: &str, contact: &str| {
        let head =
            format!("{HEAD}\nTo: <sip:a@example.org>\nContact: <sip:a@h>{contact}\nExpires: 90{allow}");
        let list = decide(&[], &read(&head).unwrap(), &RULES, NOW).unwrap();
        // What it said is remembered over a restart.
        Binding::from_json(&list[0].to_json()).unwrap().takes_messages()
    };
    let cases = [
        ("", "", true),
        ("\nAllow: INVITE, MESSAGE", "", true),
        ("\nAllow: INVITE, ACK\nAllow: MESSAGE", "", true),
        ("\nAllow: INVITE, ACK", "", false),
        ("\nAllow:", "", true),
        // The contact's own word counts before the phone's (RFC 3840).
        ("\nAllow: INVITE, MESSAGE", ";methods=\"INVITE,ACK\"", false),
        ("\nAllow: INVITE, ACK", ";methods=\"message\"", true),
        ("", ";methods=\"INVITE\"", false),
        ("\nAllow: INVITE", ";methods=\"\"", false),
    ];
    for (allow, contact, wanted) in cases {
        assert_eq!(takes(allow, contact), wanted, "{allow:?} {contact:?}");
    }
}

fn read(head: &str) -> Result<Request, Refused> {
    let text =
        format!("REGISTER sip:example.org SIP/2.0\n{head}\nContent-Length: 0\n\n").replace('\n', "\r\n");
    let message = Message::scan(text.as_bytes(), Framing::Datagram, &Limits::default()).expect("a message");
    Request::from_message(&message, flow("192.0.2.7:5062"), true)
}

const HEAD: &str = "Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK1\nCall-ID: c1\nCSeq: 4 REGISTER\n\
                    From: \"Alice \\\"A\\\"\" <sip:alice@example.org>;tag=1";

#[test]
fn a_register_is_read_from_the_wire() {
    // As liblinphone and JsSIP write it.
    let request = read(&format!(
        "{HEAD}\nTo: <sip:Alice@Example.org:5070;user=phone>\nVia: SIP/2.0/UDP 10.0.0.1\nExpires: 600\n\
         m: \"Alice A\" <sip:alice@127.0.0.1:5101;transport=udp>;q=0.7;expires=300\n ;+sip.instance=\"<urn:uuid:28b2>\";\
         reg-id=1;methods=\"INVITE, MESSAGE\", <sip:b@h>\nPath: <sip:p1;lr>, <sip:p2;lr>\nPath: <sip:p3;lr;ob>\n\
         Accept: application/sdp\nAccept: text/plain;q=1, application/vnd.gsma.rcs-ft-http+xml\n\
         k: replaces, Outbound\nSupported: path\nUser-Agent: Phone/1 (x)\nAllow: MESSAGE,NOTIFY"
    ))
    .unwrap();
    let wanted = Request {
        contacts: Contacts::List(vec![
            ContactIn {
                uri: "sip:alice@127.0.0.1:5101;transport=udp".into(),
                expires: Some(300),
                q: Some(700),
                instance: Some("urn:uuid:28b2".into()),
                reg_id: Some(1),
                methods: Some(vec!["INVITE".into(), "MESSAGE".into()]),
            },
            contact("sip:b@h"),
        ]),
        expires: Some(600),
        call_id: "c1".into(),
        cseq: 4,
        path: vec!["sip:p1;lr".into(), "sip:p2;lr".into(), "sip:p3;lr;ob".into()],
        flow: flow("192.0.2.7:5062"),
        trusted: true,
        direct: false,
        supported_path: true,
        supported_outbound: true,
        to: "Alice@Example.org:5070".into(),
        name: Some("Alice \"A\"".into()),
        user_agent: Some("Phone/1 (x)".into()),
        accept: ["application/sdp", "text/plain", "application/vnd.gsma.rcs-ft-http+xml"]
            .map(Into::into)
            .into(),
        methods: Some(vec!["MESSAGE".into(), "NOTIFY".into()]),
    };
    assert_eq!(request, wanted);
}

#[test]
fn what_only_informs_may_be_malformed() {
    let request = read(&format!(
        "{HEAD}\nTo: <sip:bob@example.org>\nExpires: soon\nContact: <sip:b@h>;expires=abc;q=2;reg-id=x;\
         +sip.instance=\"<a\\\"b>\"\nAccept: {}, text/plain",
        "a".repeat(300)
    ))
    .unwrap();
    let odd = ContactIn { expires: Some(3600), ..contact("sip:b@h") };
    assert_eq!((request.contacts, request.expires), (Contacts::List(vec![odd]), Some(3600)));
    assert_eq!(request.accept, ["text/plain"]);
    assert_eq!((request.name, request.direct), (None, true), "a third party's name is not his");
}

#[test]
fn what_decides_must_be_right() {
    let to = "To: <sip:bob@example.org>";
    for (rest, status) in [
        (format!("{to}\nContact: *\nExpires: 0"), None),
        (format!("{to}\nContact: *, <sip:b@h>\nExpires: 0"), Some(400)),
        (format!("{to}\nContact: <sip:b@h>\nContact: *\nExpires: 0"), Some(400)),
        (format!("{to}\nPath: <p>"), Some(400)),
        ("To: <sip:example.org>".into(), Some(400)),
        (to.into(), None),
    ] {
        assert_eq!(read(&format!("{HEAD}\n{rest}")).err().map(|refused| refused.status), status, "{rest}");
    }
}

fn any_contact() -> impl Strategy<Value = ContactIn> {
    let uris = [
        "sip:a@h",
        "sip:A@h",
        "sip:%61@H",
        "sip:a@h:5060",
        "sip:a@h;x=1;x=2",
        "sip:a@h;x=2;x=1",
        "sip:a@h;x=1",
        "sip:a@h;ob",
        "sips:a@h",
        "sip:a@h?x=1",
    ];
    let instance = prop::sample::select(vec![None, Some("urn:1"), Some("urn:2")]);
    let reg_id = prop::sample::select(vec![None, Some(1), Some(2)]);
    let expires = prop::sample::select(vec![None, Some(0), Some(60), Some(7200)]);
    (prop::sample::select(uris.to_vec()), instance, reg_id, expires).prop_map(
        |(uri, instance, reg_id, expires)| ContactIn {
            instance: instance.map(Into::into),
            reg_id,
            expires,
            ..contact(uri)
        },
    )
}

proptest! {
    #[test]
    fn whatever_phones_send_the_list_keeps_its_form(
        requests in prop::collection::vec((prop::collection::vec(any_contact(), 1..4), 0..2usize, 0..40_000i64), 1..12)
    ) {
        let mut alice = Account::new();
        for (n, (contacts, caller, pause)) in requests.into_iter().enumerate() {
            alice.now += pause;
            let call_id = ["one", "two"][caller].to_string();
            let request = Request { call_id, ..register(n as u32 + 1, &contacts) };
            let Ok(list) = alice.takes(request) else { continue };
            prop_assert!(list.len() <= RULES.max_contacts);
            let keys: HashSet<String> = alice.bindings.iter().map(|b| b.key().to_string()).collect();
            prop_assert_eq!(keys.len(), list.len(), "every binding has a key of its own");
            prop_assert!(alice.bindings.iter().all(|b| b.expires_at > alice.now));
            prop_assert!(alice.bindings.iter().all(|b| b.reg_id.is_none() || b.instance.is_some()));
            for contact in contacts.iter().filter(|c| c.expires == Some(0) && c.reg_id.is_none()) {
                let again = contacts.iter().filter(|c| c.expires != Some(0)).count() > 0;
                prop_assert!(again || !list.contains(&contact.uri), "who took leave is gone");
            }
        }
    }
}
