//! Digest against the vectors of the RFCs, and against what real phones sent.

use super::*;

fn from_hex<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).unwrap()
}

#[test]
fn hmac_gives_the_values_of_rfc_4231() {
    let cases: [(&[u8], &[u8], &str); 4] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ];
    for (key, data, mac) in cases {
        assert_eq!(hex(&hmac(key, &[data])), mac);
        let (a, b) = data.split_at(3);
        assert_eq!(hmac(key, &[a, b]), from_hex(mac), "in two parts");
    }
}

#[test]
fn what_a_digest_uri_names() {
    let alias = |a: &str, b: &str| [a, b].iter().all(|h| ["localhost", "127.0.0.1"].contains(h));
    let cases = [
        ("sip:bob@example.org", "sip:bob@example.org", true),
        ("sip:bob@example.org:5060", "SIPS:Bob@Example.ORG;transport=tcp", true),
        ("bob@example.org", "sip:bob@example.org", true),
        ("sip:example.org", "sip:example.org:5062", true),
        ("sip:[::1]:5060", "sip:[::1]", true),
        ("sip:[::1]", "sip:[::2]", false),
        ("sip:bob:pw@example.org", "sip:bob@example.org", true),
        ("sip:a;b?c@example.org", "sip:a;b?c@example.org;x", true),
        ("sip:127.0.0.1:5060", "sip:bob@127.0.0.1", true),
        ("sip:bob@localhost", "sip:bob@127.0.0.1:5070", true),
        ("sip:bob@localhost", "sip:bob@example.org", false),
        ("sip:eve@example.org", "sip:bob@example.org", false),
        ("sip:bob@example.org", "sip:example.org", false),
        ("sip:example.net", "sip:example.org", false),
        ("sip:bob@example.org", "sip:eve@example.org;x=bob@example.org", false),
        ("", "sip:bob@example.org", false),
        ("sip:", "sip:", false),
    ];
    for (digest, request, same) in cases {
        assert_eq!(same_resource(digest, request, &alias), same, "{digest} for {request}");
    }
}

#[test]
fn no_secret_is_in_debug() {
    let key = NonceKey::new([7; 32]);
    let ha1 = Ha1::of("alice", "example.org", "example.org", "wonder");
    let value = r#"Digest username="alice",realm="r",nonce="n",uri="sip:r",response="r5r5",cnonce="c6c6""#;
    let credentials = Credentials::parse(value).unwrap();
    let shown = format!("{key:?} {ha1:?} {credentials:?}");
    assert!(shown.contains("alice"));
    for secret in ["7, 7", "r5r5", "c6c6", &hex(&ha1.md5)] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
