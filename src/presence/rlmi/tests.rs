//! Lists that an independent reader takes apart again (RFC 4662 §5).

use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;

use super::*;
use crate::presence::xml::parse;

/// What a reader of MIME makes of it: Content-Type, Content-ID and bytes of each part.
fn parts(content_type: &str, body: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let mut message = format!("MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n").into_bytes();
    message.extend_from_slice(body);
    let parsed = MessageParser::default().parse(&message).unwrap();
    let top = parsed.part(0).unwrap();
    let kind = top.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("related")));
    assert_eq!(kind.attribute("type"), Some(MEDIA));
    let parts: Vec<_> = top
        .sub_parts()
        .unwrap()
        .iter()
        .map(|n| {
            let part = parsed.part(*n).unwrap();
            assert_eq!(part.content_transfer_encoding(), Some("binary"));
            let kind = part.content_type().unwrap();
            let kind = format!("{}/{}", kind.ctype(), kind.subtype().unwrap());
            (kind, part.content_id().unwrap().to_owned(), part.contents().to_vec())
        })
        .collect();
    assert_eq!(kind.attribute("start"), Some(format!("<{}>", parts[0].1).as_str()));
    parts
}

fn resource<'a>(uri: &'a str, instance: Option<Instance<'a>>) -> Resource<'a> {
    Resource { uri, name: None, id: "i", instance }
}

#[test]
fn l02_l04_every_reference_leads_to_a_part_of_its_own() {
    let list = [
        Resource {
            name: Some("Bob & <Co>"),
            ..resource("sip:bob@x", Some(Instance::Active("application/pidf+xml", b"<p>b</p>")))
        },
        resource("sip:carl@x", Some(Instance::Pending)),
        resource("sip:dan@x", Some(Instance::Terminated("rejected"))),
        resource("sip:eve@x", Some(Instance::Active("application/pidf+xml;charset=\"UTF-8\"", b"\r\n\r\n"))),
        resource("sip:fred@x", None),
    ];
    let mut body = b"before".to_vec();
    let kind = document("sip:alice+buddies@x", 7, false, &list, "k3J9", Dialect::Rfc, &mut body);
    let parts = parts(&kind, body.strip_prefix(b"before").unwrap());
    assert_eq!(
        String::from_utf8(parts[0].2.clone()).unwrap().lines().nth(1).unwrap(),
        "<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:alice+buddies@x\" version=\"7\" fullState=\"false\">\
         <resource uri=\"sip:bob@x\"><name>Bob &amp; &lt;Co&gt;</name>\
         <instance id=\"i\" state=\"active\" cid=\"0@k3J9\"/></resource>\
         <resource uri=\"sip:carl@x\"><instance id=\"i\" state=\"pending\"/></resource>\
         <resource uri=\"sip:dan@x\"><instance id=\"i\" state=\"terminated\" reason=\"rejected\"/></resource>\
         <resource uri=\"sip:eve@x\"><instance id=\"i\" state=\"active\" cid=\"3@k3J9\"/></resource>\
         <resource uri=\"sip:fred@x\"/></list>"
    );
    let told = |n: usize| (parts[n].0.as_str(), parts[n].1.as_str(), &parts[n].2[..]);
    assert_eq!(parts.len(), 3);
    assert_eq!(told(1), ("application/pidf+xml", "0@k3J9", &b"<p>b</p>"[..]));
    assert_eq!(told(2), ("application/pidf+xml", "3@k3J9", &b"\r\n\r\n"[..]));
}

#[test]
fn an_empty_list_is_a_list() {
    let mut body = Vec::new();
    let kind = document("sip:alice+work@x", 0, true, &[], "t", Dialect::Rfc, &mut body);
    let parts = parts(&kind, &body);
    assert_eq!((parts.len(), parts[0].0.as_str()), (1, MEDIA));
    let root = parse(&parts[0].2).unwrap();
    assert_eq!((root.attribute("version"), root.attribute("fullState")), (Some("0"), Some("true")));
    assert_eq!(root.elements().count(), 0);
}

/// Seen with liblinphone 5.1: another spelling of any of these is not found, or ends the phone.
#[test]
fn linphone_gets_the_letters_it_looks_for() {
    assert_eq!(Dialect::of(Some("Linphonec/5.1.65")).event(), "Presence");
    assert_eq!(Dialect::of(Some("LinphoneAndroid/5.2")), Dialect::Linphone);
    assert_eq!((Dialect::of(Some("baresip v1")), Dialect::of(None).event()), (Dialect::Rfc, "presence"));
    let list = [resource("sip:bob@x", Some(Instance::Active("application/pidf+xml", b"<p/>")))];
    let mut body = Vec::new();
    let kind = document("sip:l@x", 0, true, &list, "t", Dialect::Linphone, &mut body);
    let body = String::from_utf8(body).unwrap();
    assert!(kind.ends_with(";boundary=bt") && body.ends_with("\r\n--bt--\r\n"), "{kind}\n{body}");
    assert!(body.contains("\r\nContent-Id: 0@t\r\n") && body.contains(" cid=\"0@t\""), "{body}");
}

/// Even somebody who guessed the token cannot end a part.
#[test]
fn no_part_ends_where_its_bytes_say_so() {
    let evil = b"--bt\r\nContent-Type: text/html\r\n\r\n--bt1--\r\n--bt2\r\n";
    let list = [resource("sip:bob@x", Some(Instance::Active("application/pidf+xml", evil)))];
    let mut body = Vec::new();
    let kind = document("sip:l@x", 0, true, &list, "t", Dialect::Rfc, &mut body);
    assert!(kind.ends_with("boundary=bt3"), "{kind}");
    assert_eq!(parts(&kind, &body)[1].2, evil);
}

#[test]
fn a_token_or_a_type_cannot_end_a_line() {
    let list = [resource("sip:bob@x", Some(Instance::Active("text/plain\r\nEvil: 1", b"x")))];
    for token in ["a\r\nEvil: 1", "\"", "", &"a".repeat(999)] {
        let mut body = Vec::new();
        let kind = document("sip:l@x", 0, true, &list, token, Dialect::Rfc, &mut body);
        assert!(!kind.contains('\r') && kind.len() < 250, "{kind}");
        assert!(!String::from_utf8(body.clone()).unwrap().contains("\r\nEvil"));
        assert_eq!(parts(&kind, &body)[1].0, "application/octet-stream");
    }
}

proptest! {
    #[test]
    fn l02_whatever_is_in_the_parts_they_come_out_as_they_were(
        bodies in proptest::collection::vec(
            prop_oneof!["[-b0-9\r\n]{0,60}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..80)],
            0..5,
        ),
        uri in prop_oneof![".{0,99}", "[\"<&>]{0,20}", Just("\"<&".repeat(2700))],
        token in "[b01]{1,3}",
    ) {
        let instance = |body| Some(Instance::Active("application/octet-stream", body));
        let list: Vec<_> = bodies
            .iter()
            .map(|body| Resource { name: Some(&uri), ..resource(&uri, instance(body)) })
            .collect();
        let mut out = Vec::new();
        let kind = document(&uri, u32::MAX, true, &list, &token, Dialect::Rfc, &mut out);
        let parts = parts(&kind, &out);
        prop_assert_eq!(parts.len(), bodies.len() + 1);
        let root = parse(&parts[0].2).unwrap();
        for (resource, (body, part)) in root.elements().zip(bodies.iter().zip(&parts[1..])) {
            let instance = resource.elements().find(|e| e.local() == "instance").unwrap();
            prop_assert_eq!(instance.attribute("cid"), Some(part.1.as_str()));
            prop_assert_eq!(body, &part.2);
        }
    }
}
