//! What people read of bodies that their phones cannot show.

use proptest::prelude::*;

use super::*;

fn text(content_type: &str, body: &str) -> Option<String> {
    text_of(Some(content_type), body.as_bytes())
}

const CPIM: &str = "From: Alice <im:alice@example.org>\r\nTo: <im:bob@example.org>\r\n\
    DateTime: 2026-11-20T21:00:00Z\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHällo";

#[test]
fn of_cpim_the_message_within() {
    assert_eq!(text("message/cpim", CPIM).as_deref(), Some("Hällo"));
    assert_eq!(text("message/cpim", &CPIM.replace("\r\n", "\n")).as_deref(), Some("Hällo"));
    let html = CPIM.replace("text/plain; charset=utf-8", "text/html").replace("Hällo", "<b>Hi</b>");
    assert_eq!(text("message/cpim", &html).as_deref(), Some("Hi"));
    let bare = "From: <im:a@x>\r\n\r\n\r\nno MIME headers";
    assert_eq!(text("message/cpim", bare).as_deref(), Some("no MIME headers"));
    for none in ["", "From: <im:a@x>", "From: <im:a@x>\r\n\r\nContent-Type: image/png\r\n\r\n\u{1}"] {
        assert_eq!(text("message/cpim", none), None, "{none:?}");
    }
}

#[test]
fn of_multipart_the_first_plain_text_wherever_it_is() {
    let body = "preamble\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>fancy</p>\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b--\r\nepilogue";
    assert_eq!(text("multipart/alternative;boundary=b", body).as_deref(), Some("plain"));
    assert_eq!(text("multipart/mixed; x=y; boundary=\"b\"", body).as_deref(), Some("plain"));
    assert_eq!(text("multipart/mixed; boundary=other", body), None);
    assert_eq!(text("multipart/mixed", body), None);
    let nested = format!("--o\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n{body}\r\n--o--");
    assert_eq!(text("multipart/mixed;boundary=o", &nested).as_deref(), Some("plain"));
    let bare = "--b\r\n\r\nwithout headers\r\n--b--";
    assert_eq!(text("multipart/mixed;boundary=b", bare).as_deref(), Some("without headers"));
    let only = "--b\r\nContent-Type: text/html\r\n\r\n<p>fancy</p>\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--";
    assert_eq!(text("multipart/mixed;boundary=b", only).as_deref(), Some("fancy"));
    let coded =
        "--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVs\r\nbG8\r\n--b--";
    assert_eq!(text("multipart/mixed;boundary=b", coded).as_deref(), Some("Hello"));
    let quoted = "--b\r\nContent-Type: text/plain;charset=utf-8\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\nH=C3=A4l=\r\nlo =zz\r\n--b--";
    assert_eq!(text("multipart/mixed;boundary=b", quoted).as_deref(), Some("Hällo =zz"));
}

#[test]
fn what_is_encrypted_stays_shut() {
    let body =
        "--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n\r\nsecret\r\n--b--";
    assert_eq!(text("multipart/encrypted;boundary=b;protocol=\"application/pgp-encrypted\"", body), None);
    assert_eq!(text("application/pkcs7-mime", "x"), None);
    let otr = "?OTR:AAMDJ+MVmSfjFZcAAAAAAQAAAAIAAADA1g5IjD1ZGLDVQEyCgCyn9hbrL3KAbGDdzE2ZkMyTKl7XfkSxh8YJnudstiB74i4.";
    assert_eq!(text("text/plain", otr).as_deref(), Some(otr));
}

#[test]
fn of_html_what_a_person_would_read() {
    for (html, shown) in [
        ("<p>Hello <b>world</b></p>", "Hello world"),
        ("one<br>two<BR/>three", "one\ntwo\nthree"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<ul><li>x</li><li>y</li></ul>", "x\ny"),
        ("a &lt;b&gt; &amp; &#228;&#xE4; &nope; &", "a <b> & ää &nope; &"),
        ("<html><head><title>T</title><style>p{}</style></head><body>B</body></html>", "B"),
        ("<script>alert('<p>')</script>ok<!-- <p>no</p> -->", "ok"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("  a \n\t b  ", "a b"),
        ("broken <b", "broken <b"),
    ] {
        assert_eq!(text("text/html", html).unwrap_or_default(), shown, "{html}");
    }
    assert_eq!(text("text/html", "<img src=x>"), None);
    let latin = b"<p>H\xe4llo</p>";
    assert_eq!(text_of(Some("text/html; charset=ISO-8859-1"), latin).as_deref(), Some("Hällo"));
}

#[test]
fn of_a_file_its_name_size_and_place() {
    let file = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><file xmlns=\"urn:gsma:params:xml:ns:rcs:rcs:fthttp\">\
        <file-info type=\"thumbnail\"><file-size>7</file-size><data url=\"https://t.example/t\"/></file-info>\
        <file-info type=\"file\"><file-size>123456</file-size><file-name>cat &amp; dog.jpg</file-name>\
        <content-type>image/jpeg</content-type><data url=\"https://f.example/1?a=b&amp;c=d\" until=\"2027-01-01T00:00:00Z\"/>\
        </file-info></file>";
    assert_eq!(text(FILE, file).as_deref(), Some("cat & dog.jpg (124 kB): https://f.example/1?a=b&c=d"));
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><file><file-info type=\"file\"><data url=\"x\"/></file-info></file>";
    assert_eq!(text(FILE, bomb), None);
    assert_eq!(text(FILE, "no xml at all"), None);
}

#[test]
fn depth_and_number_of_parts_have_bounds() {
    let mut body = "the bottom".to_owned();
    let mut kind = "text/plain".to_owned();
    for level in 0..DEPTH_MAX + 1 {
        body = format!("--b{level}\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--b{level}--");
        kind = format!("multipart/mixed;boundary=b{level}");
        let found = text(&kind, &body);
        assert_eq!(found.is_some(), level < DEPTH_MAX, "{level}: {found:?}");
    }
    let many = "--b\r\nContent-Type: image/png\r\n\r\nx\r\n".repeat(10_000) + "--b\r\n\r\ntext\r\n--b--";
    assert_eq!(text("multipart/mixed;boundary=b", &many), None);
}

proptest! {
    #[test]
    fn no_body_is_too_odd(
        kind in prop::sample::select(vec![
            "message/cpim", "multipart/mixed;boundary=b", "multipart/mixed;boundary=\"", "text/html", FILE, "text/plain",
        ]),
        body in prop::collection::vec(
            prop::sample::select(vec![
                "--b", "\r\n", "\n", "<", ">", "&", "&#x110000;", "=", "=4", "--", "<script", "</script>", "<!--",
                "Content-Type: text/plain", "Content-Type: multipart/mixed;boundary=b", "é", "<data url='", "\u{0}",
                "<file-info type=\"file\">", "<br/>",
            ]),
            0..60,
        ),
        cut in 0usize..40,
    ) {
        let body = body.concat().into_bytes();
        let cut = &body[cut.min(body.len())..];
        if let Some(text) = text_of(Some(kind), cut) {
            // A lossy byte becomes three; nothing else grows.
            prop_assert!(text.len() <= 3 * cut.len() + 64);
        }
    }
}
