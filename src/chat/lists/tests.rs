//! Lists as they come (RFC 5365 §7, RFC 5364 §4), and as they must not.

use proptest::prelude::*;

use super::*;

const KIND: &str = "multipart/mixed;boundary=\"b\"";

fn list_part(entries: &str) -> String {
    format!(
        "--b\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n\
         <?xml version=\"1.0\"?><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"\
         xmlns:cp=\"urn:ietf:params:xml:ns:copycontrol\"><list>{entries}</list></resource-lists>\r\n"
    )
    .replace("lists\"xmlns", "lists\" xmlns")
}

fn message(entries: &str) -> String {
    format!("--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n{}--b--\r\n", list_part(entries))
}

fn of(body: &str) -> Result<Listed, NoList> {
    read(Some(KIND), body.as_bytes())
}

fn uris(listed: &Listed) -> Vec<&str> {
    listed.recipients.iter().map(|one| one.uri.as_str()).collect()
}

#[test]
fn everybody_is_on_it_once_with_the_weightiest_place() {
    let both = format!(
        "--b\r\n\r\nhello\r\n{}{}--b--",
        list_part("<entry uri=\"sip:bob@x\"/><entry uri=\"sip:ann@x\" cp:copyControl=\"bcc\"/>"),
        list_part(
            "<entry uri=\"sip:BOB@X;transport=tcp\" cp:copyControl=\"cc\"/><entry uri=\"sip:bob@x\" cp:copyControl=\"to\"/>"
        )
    );
    let listed = of(&both).unwrap();
    assert_eq!(uris(&listed), ["sip:bob@x", "sip:ann@x"]);
    assert_eq!(listed.recipients[0].copy, Copy::To);
}

#[test]
fn what_stands_in_an_address_besides_the_address_is_dropped() {
    let listed = of(&message(
        "<entry uri=\"sip:bob@x;method=INVITE?body=x&amp;From=sip:eve%40y&amp;Route=z\"/>\
         <entry uri=\"sip:carl@x?Subject=a%0D%0AVia:%20b\"/><entry uri=\"tel:+1\"/><entry uri=\"\"/><entry/>\
         <entry-ref ref=\"lists/1\"/><external anchor=\"http://example.org/list\"/>",
    ))
    .unwrap();
    assert_eq!(uris(&listed), ["sip:bob@x"]);
}

#[test]
fn blind_copies_leave_no_trace_and_one_body_needs_no_wrapper() {
    let listed =
        of(&message("<entry uri=\"sip:bob@x\"/><entry uri=\"sip:ann@x\" cp:copyControl=\"bcc\"/>")).unwrap();
    assert_eq!((listed.content_type.as_deref(), &listed.body[..]), (Some("text/plain"), &b"hello"[..]));
}

#[test]
fn the_history_shows_who_may_be_seen() {
    let listed = of(&message(
        "<entry uri=\"sip:bob@x\" cp:copyControl=\"to\"/><entry uri=\"sip:a&amp;b@x\" cp:copyControl=\"cc\"/>\
         <entry uri=\"sip:shy@x\" cp:copyControl=\"to\" cp:anonymize=\"true\"/>\
         <entry uri=\"sip:blind@x\" cp:copyControl=\"bcc\"/>",
    ))
    .unwrap();
    let text = String::from_utf8(listed.body.clone()).unwrap();
    assert!(text.contains("Content-Disposition: recipient-list-history;handling=optional\r\n"), "{text}");
    for seen in [
        "\"sip:bob@x\" cp:copyControl=\"to\"",
        "\"sip:a&amp;b@x\" cp:copyControl=\"cc\"",
        "sip:anonymous@anonymous.invalid",
    ] {
        assert!(text.contains(seen), "{seen} in {text}");
    }
    for hidden in ["shy", "blind", "bcc"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    let kind = listed.content_type.as_deref().unwrap();
    assert!(kind.starts_with("multipart/mixed;boundary="), "{kind}");
    assert_eq!(crate::chat::convert::text_of(Some(kind), &listed.body).as_deref(), Some("hello"));
}

#[test]
fn what_is_no_list_or_too_much_of_one_is_refused() {
    assert_eq!(read(Some("text/plain"), b"hello"), Err(NoList::Malformed));
    assert_eq!(read(None, b"hello"), Err(NoList::Malformed));
    assert_eq!(of("--b\r\n\r\nhello\r\n--b--"), Err(NoList::Malformed));
    assert_eq!(of(&list_part("<entry uri=\"sip:bob@x\"/>")), Err(NoList::Malformed));
    let bomb = message("").replace("<?xml version=\"1.0\"?>", "<!DOCTYPE x [<!ENTITY a \"b\">]>");
    assert_eq!(of(&bomb), Err(NoList::Malformed));
    let many =
        |n: usize| message(&(0..n).map(|i| format!("<entry uri=\"sip:u{i}@x\"/>")).collect::<String>());
    assert_eq!(of(&many(RECIPIENTS_MAX)).unwrap().recipients.len(), RECIPIENTS_MAX);
    assert_eq!(of(&many(RECIPIENTS_MAX + 1)), Err(NoList::TooLong));
    let nested =
        |n: usize| message(&("<list>".repeat(n) + "<entry uri=\"sip:b@x\"/>" + &"</list>".repeat(n)));
    assert_eq!(of(&nested(3)).unwrap().recipients.len(), 1);
    assert_eq!(of(&nested(50)), Err(NoList::TooLong));
}

proptest! {
    #[test]
    fn no_list_is_too_odd(pieces in prop::collection::vec(prop::sample::select(vec![
        "<entry uri=\"sip:b@x\"/>", "<list>", "</list>", "<entry", "\"", "&amp;", "&x;", "<!--", "]]>", "\u{0}", "é", "--b",
    ]), 0..30)) {
        if let Ok(listed) = of(&message(&pieces.concat())) {
            prop_assert!(listed.recipients.len() <= RECIPIENTS_MAX);
        }
    }
}
