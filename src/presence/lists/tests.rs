//! Lists as phones send them (RFC 5367 §3), and as they must not.

use proptest::prelude::*;

use super::*;

/// What liblinphone sends, inflated.
const LINPHONE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\" \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n <list>\n  <entry uri=\"sip:bob@x\"/>\n  \
    <entry uri=\"sip:Carl@x;transport=tcp\"/>\n </list>\n</resource-lists>\n";

fn of(xml: &str) -> Result<Vec<Entry>, NoList> {
    read(Some("Application/Resource-Lists+XML;charset=utf-8"), xml.as_bytes())
}

fn list(entries: &str) -> String {
    format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
    )
}

fn uris(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.uri.as_str()).collect()
}

#[test]
fn linphones_list_is_read_and_its_spelling_kept() {
    let found = of(LINPHONE).unwrap();
    assert_eq!(uris(&found), ["sip:bob@x", "sip:Carl@x;transport=tcp"]);
    assert_eq!(found[1].who, Aor::parse("carl@x"));
    assert_eq!(found[0].name, None);
}

#[test]
fn a_list_among_other_parts_is_found() {
    let body = |disposition: &str| {
        format!(
            "--b\r\nContent-Type: application/simple-filter+xml\r\n\r\n<f/>\r\n--b\r\n\
             Content-Type: application/resource-lists+xml\r\n{disposition}\r\n{LINPHONE}\r\n--b--\r\n"
        )
    };
    let read =
        |body: String| read(Some("multipart/mixed;boundary=b"), body.as_bytes()).map(|found| found.len());
    assert_eq!(read(body("Content-Disposition: recipient-list\r\n")), Ok(2));
    assert_eq!(read(body("")), Ok(2));
    assert_eq!(read(body("Content-Disposition: recipient-list-history\r\n")), Err(NoList::Malformed));
}

#[test]
fn names_are_kept_and_everybody_is_there_once() {
    let found = of(&list(
        "<entry uri=\"sip:bob@x\"><display-name xml:lang=\"de\">B&#xf6;b &amp; <![CDATA[<Co>]]></display-name></entry>\
         <list><entry uri=\"sip:%62ob@X:5060\"/><entry uri=\"tel:+1\"/><entry uri=\"tel:+1\"/></list><entry/>\
         <entry uri=\"\"/><entry uri=\"sip:a b@x\"/><entry uri=\"sip:c&#10;d@x\"/>",
    ))
    .unwrap();
    assert_eq!(uris(&found), ["sip:bob@x", "tel:+1"]);
    assert_eq!(found[0].name.as_deref(), Some("Böb & <Co>"));
    assert_eq!(found[1].who, None);
}

#[test]
fn nothing_is_fetched() {
    let found = of(&list(
        "<entry-ref ref=\"resource-lists/users/sip:eve@x/index\"/><external anchor=\"http://h/list\">\
         <display-name>all</display-name></external>",
    ));
    assert_eq!(found, Ok(Vec::new()));
    assert_eq!(
        of(&format!("<!DOCTYPE r [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}", list(""))),
        Err(NoList::Malformed)
    );
}

#[test]
fn a_thousand_are_taken_and_no_more() {
    let with = |count: usize| {
        let one =
            |n| format!("\n <entry uri=\"sip:u{n}@x\">\n<display-name>A &amp; B</display-name>\n</entry>");
        of(&list(&(0..count).map(one).collect::<String>())).map(|found| found.len())
    };
    assert_eq!(with(ENTRIES_MAX), Ok(ENTRIES_MAX));
    assert_eq!(with(ENTRIES_MAX + 1), Err(NoList::TooLong));
    assert_eq!(of(&list(&"<list>".repeat(50))), Err(NoList::TooLong));
    assert_eq!(of(&list(&"<a/>".repeat(100_000))), Err(NoList::TooLong));
}

#[test]
fn what_is_no_list_is_refused() {
    for body in ["", "hello", "<resource-lists>", "<list><entry uri=\"sip:bob@x\"/></list>"] {
        assert_eq!(of(body), Err(NoList::Malformed), "{body}");
    }
    assert_eq!(read(None, LINPHONE.as_bytes()), Err(NoList::Malformed));
    assert_eq!(read(Some("application/pidf+xml"), LINPHONE.as_bytes()), Err(NoList::Malformed));
    assert_eq!(read(Some("multipart/mixed"), LINPHONE.as_bytes()), Err(NoList::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "(<entry uri=\"[a-z:@&;#]{0,9}\">|</entry>|<display-name>|</display-name>|<list>|&#x0;|&lt;|x){0,30}"
                .prop_map(|inside| list(&inside).into_bytes()),
        ],
    ) {
        if let Ok(found) = read(Some(MEDIA), &body) {
            prop_assert!(found.iter().all(|entry| !entry.uri.is_empty() && !entry.uri.contains('\n')));
        }
    }
}
