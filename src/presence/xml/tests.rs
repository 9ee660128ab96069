use std::fmt::Write;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Element {
    parse(text.as_bytes()).unwrap_or_else(|why| panic!("{why:?}: {text}"))
}

fn refused(text: &str) -> Malformed {
    match parse(text.as_bytes()) {
        Err(why) => why,
        Ok(tree) => panic!("taken: {text}: {tree:?}"),
    }
}

fn written(element: &Element, namespaces: &[&'static str]) -> String {
    let mut writer = Writer::new(namespaces);
    writer.element(element);
    String::from_utf8(writer.finish()).unwrap()
}

#[test]
fn names_are_what_their_prefix_stands_for() {
    let root = read(
        "<?xml version='1.0' encoding='utf-8' standalone='no'?>\r\n<p:presence xmlns:p=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns=\"urn:x&#45;y\" entity=\"pres:a@b\" p:mustUnderstand='1' xml:lang='de'><!-- so --><tuple/> \
         <q xmlns='' xmlns:p='urn:z'><p:r/></q><p:note>a &lt; b<![CDATA[ <&> ]]>&#x41;</p:note></p:presence>\n",
    );
    assert!(root.is(PIDF, "presence"));
    assert_eq!(root.attribute("entity"), Some("pres:a@b"));
    assert_eq!(root.attribute("mustUnderstand"), None);
    assert_eq!(root.attribute_ns(PIDF, "mustUnderstand"), Some("1"));
    assert_eq!(root.attribute_ns(XML, "lang"), Some("de"));
    let children: Vec<(&str, &str)> = root.elements().map(|one| (one.ns(), one.local())).collect();
    assert_eq!(children, [("urn:x-y", "tuple"), ("", "q"), (PIDF, "note")]);
    assert!(root.child("", "q").unwrap().child("urn:z", "r").is_some());
    assert_eq!(root.child(PIDF, "note").unwrap().text(), "a < b <&> A");
    assert_eq!(root.named(PIDF, "note").count(), 1);
    assert_eq!(root.children.len(), 3, "space between elements is nothing");
}

#[test]
fn what_declares_or_instructs_is_refused() {
    for text in [
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
        "<a>&nbsp;</a>",
        "<a b='&c;'/>",
        "<?php x?><a/>",
        "<a/><?x y?>",
        "<a/><?xml version='1.0'?>",
    ] {
        assert_eq!(refused(text), Malformed::Forbidden, "{text}");
    }
}

#[test]
fn what_is_no_document_is_refused() {
    for text in [
        "",
        "   ",
        "a",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<p:a/>",
        "<a p:b='c'/>",
        "<a b='c' b='d'/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<a b='<'/>",
        "<a b=c/>",
        "<a b/>",
        "<:a/>",
        "<a:/>",
        "<1a/>",
        "<a\u{d7}/>",
        "<a\"/>",
        "<a:b:c xmlns:a='u'/>",
        "<a xmlns:p=''/>",
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<a>&lt</a>",
        "<a>&#1114112;</a>",
        "<a>&#xd800;</a>",
    ] {
        refused(text);
    }
}

#[test]
fn only_utf_8_without_control_characters_is_read() {
    assert_eq!(parse(b"<a>\xff</a>"), Err(Malformed::Encoding));
    let utf_16: Vec<u8> = "\u{feff}<a/>".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(parse(&utf_16), Err(Malformed::Encoding));
    let utf_16: Vec<u8> = "<a/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse(&utf_16), Err(Malformed::Encoding));
    for text in [
        "<?xml version='1.0' encoding='UTF-16'?><a/>",
        "<?xml version='1.0' encoding='ISO-8859-1'?><a/>",
        "<a>\u{0}</a>",
        "<a>\u{1b}[2J</a>",
        "<a>&#27;</a>",
        "<a>&#xfffe;</a>",
        "<a b='&#7;'/>",
        "<a>\u{85}</a>",
    ] {
        assert_eq!(refused(text), Malformed::Encoding, "{text}");
    }
    assert!(read("\u{feff}<?xml version=\"1.0\" encoding=\"Utf-8\"?><a>\u{1f600} \u{fc}</a>").is("", "a"));
    assert!(read("\r\n <?xml version=\"1.0\"?><a/>").is("", "a"), "a phone's empty first line does no harm");
}

#[test]
fn depth_nodes_and_names_are_bounded() {
    let nested = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
    read(&nested(DEPTH_MAX));
    assert_eq!(refused(&nested(DEPTH_MAX + 1)), Malformed::TooLarge);
    // Refused at the seventeenth, not after the millionth.
    assert_eq!(refused(&"<a>".repeat(1_000_000)), Malformed::TooLarge);
    let broad = |n: usize| format!("<a>{}</a>", "<b/>".repeat(n));
    read(&broad(NODES_MAX - 1));
    assert_eq!(refused(&broad(NODES_MAX)), Malformed::TooLarge);
    let attributes = |n: usize| (0..n).fold("<a".to_owned(), |all, n| format!("{all} b{n}=''")) + "/>";
    read(&attributes(ATTRIBUTES_MAX));
    assert_eq!(refused(&attributes(ATTRIBUTES_MAX + 1)), Malformed::TooLarge);
    let declared = |n: usize| (0..n).fold(String::new(), |all, n| format!("{all}<b xmlns='u{n}'/>"));
    read(&format!("<a>{}</a>", declared(NAMESPACES_MAX)));
    assert_eq!(refused(&format!("<a>{}</a>", declared(NAMESPACES_MAX + 1))), Malformed::TooLarge);
    assert_eq!(refused(&format!("<a xmlns='{}'/>", "u".repeat(NAME_MAX + 1))), Malformed::TooLarge);
    assert_eq!(refused(&format!("<{}/>", "a".repeat(NAME_MAX + 1))), Malformed::Syntax);
}

#[test]
fn a_billion_laughs_are_not_heard() {
    let mut text = String::from("<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\">");
    for n in 1..10 {
        let last = if n == 1 { "lol".to_owned() } else { format!("lol{}", n - 1) };
        write!(text, "<!ENTITY lol{n} \"{}\">", format!("&{last};").repeat(10)).unwrap();
    }
    text.push_str("]><presence>&lol9;</presence>");
    assert_eq!(refused(&text), Malformed::Forbidden);
}

#[test]
fn prefixes_are_those_that_phones_look_for() {
    let root = read(
        "<q:presence xmlns:q='urn:ietf:params:xml:ns:pidf' xmlns:z='urn:ietf:params:xml:ns:pidf:rpid'><q:note/>\
         <z:away/></q:presence>",
    );
    assert_eq!(
        written(&root, &[PIDF, RPID]),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\"><note/><rpid:away/></presence>\n"
    );
    // One that the root does not declare is declared where it comes, once.
    assert_eq!(
        written(&root.child(RPID, "away").unwrap().clone(), &[]).lines().nth(1),
        Some("<rpid:away xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\"/>")
    );
}

#[test]
fn foreign_namespaces_go_with_their_elements() {
    let text = "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:e='urn:e' xmlns:f='urn:f'>\
                <e:a f:b='1' f:c='2' d='3'><e:b/><note/><none xmlns=''/></e:a></presence>";
    let root = read(text);
    let again = written(&root, &[PIDF]);
    assert_eq!(read(&again), root, "{again}");
    assert!(again.contains("<a xmlns=\"urn:e\" xmlns:a0=\"urn:f\" a0:b=\"1\""), "{again}");
    assert!(again.contains("<b/><note xmlns=\"urn:ietf:params:xml:ns:pidf\"/><none xmlns=\"\"/>"), "{again}");
}

#[test]
fn nothing_written_becomes_markup() {
    let mut writer = Writer::new(&[PIDF]);
    writer
        .open(PIDF, "presence")
        .attribute("entity", "a\"/><b c='\r\n\t&\u{0}")
        .text("]]></presence>\r&amp;\u{1b}");
    let bytes = writer.finish();
    let root = parse(&bytes).unwrap();
    assert_eq!(root.attribute("entity"), Some("a\"/><b c='\r\n\t&"));
    assert_eq!(root.children, [Node::Text("]]></presence>\r&amp;".into())]);
}

#[test]
fn names_are_told_from_what_is_none() {
    for name in ["a", "_", "t4109", "pj935c223b-1f2d", "é", "a.b"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "1", "-a", "a:b", "a b", "a\n", "a>", "\u{d7}", "a\u{2028}"] {
        assert!(!is_name(name), "{name:?}");
    }
}

/// Trees as a document could have them.
fn trees() -> impl Strategy<Value = String> {
    let value = "[a-z<>&\"' \t\n\r\u{fc}\u{1f600}]{0,8}".prop_map(|text| {
        let mut out = String::new();
        writer::escape(&mut out, &text, true);
        out
    });
    let names = prop::sample::select(vec!["a", "p:a", "q:b", "r:c", "x-1", "rpid:busy", "dm:person"]);
    let attribute = (prop::sample::select(vec!["", "p:", "q:", "xml:", "rpid:"]), value.clone());
    let leaf = value.clone();
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let attribute = attribute.clone();
        (
            names.clone(),
            prop::collection::vec(attribute, 0..3),
            prop::collection::vec(inner, 0..4),
            any::<bool>(),
        )
            .prop_map(|(name, attributes, inner, default)| {
                let mut tag = format!("<{name}");
                for (n, (prefix, value)) in attributes.iter().enumerate() {
                    write!(tag, " {prefix}n{n}=\"{value}\"").unwrap();
                }
                let default = if default { " xmlns='urn:d'" } else { "" };
                format!("{tag}{default}>{}</{name}>", inner.concat())
            })
    })
}

proptest! {
    #[test]
    fn what_was_read_is_written_as_it_was(tree in trees()) {
        let text = format!(
            "<presence xmlns='{PIDF}' xmlns:p='urn:p' xmlns:q='urn:q' xmlns:r='urn:r' xmlns:rpid='{RPID}' \
             xmlns:dm='{DATA_MODEL}'>{tree}</presence>"
        );
        let root = read(&text);
        for namespaces in [&[PIDF, RPID][..], &[PIDF][..], &[][..], &[RPID, PIDF][..]] {
            let again = written(&root, namespaces);
            prop_assert_eq!(&read(&again), &root, "{}", again);
        }
    }

    #[test]
    fn no_bytes_are_too_wild(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(root) = parse(&bytes) {
            prop_assert_eq!(read(&written(&root, &[])), root);
        }
    }

    #[test]
    fn no_markup_is_too_wild(text in "[<>/!?&;:=\"'a-c#x0-9 \\-\\[\\]]{0,60}") {
        if let Ok(root) = parse(text.as_bytes()) {
            prop_assert_eq!(read(&written(&root, &[])), root);
        }
    }
}
