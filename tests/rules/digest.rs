//! Digest authentication as a phone and an attacker see it (RFC 7616, RFC 8760; RFC 3261 §22).

use std::time::Duration;

use imcd::sip::digest::{
    Algorithm, Asked, Credentials, Ha1, Nonce, NonceCounts, NonceKey, Verdict, challenge, verify,
};
use md5::Md5;
use sha2::{Digest, Sha256};

const NOW: i64 = 1_700_000_000_000;
const LIFE: Duration = Duration::from_secs(300);
const REALM: &str = "example.org";
const BOB: &str = "sip:bob@example.org";

fn key() -> NonceKey {
    NonceKey::new([9; 32])
}

fn hash(algorithm: Algorithm, text: &str) -> String {
    let bytes = match algorithm {
        Algorithm::Md5 => Md5::digest(text).to_vec(),
        Algorithm::Sha256 => Sha256::digest(text).to_vec(),
    };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A phone: it answers a challenge as RFC 7616 §3.4.1 says, written independently of what is tested.
#[derive(Clone)]
struct Phone {
    username: &'static str,
    password: &'static str,
    algorithm: Algorithm,
    method: &'static str,
    uri: &'static str,
    qop: &'static str,
    nc: &'static str,
    body: &'static str,
    nonce: String,
}

impl Phone {
    fn new() -> Phone {
        Phone {
            username: "alice",
            password: "wonder",
            algorithm: Algorithm::Md5,
            method: "MESSAGE",
            uri: BOB,
            qop: "auth",
            nc: "00000001",
            body: "hello",
            nonce: key().issue(REALM, NOW, [1; 8]),
        }
    }

    fn authorization(&self) -> String {
        let Phone { username, password, algorithm, method, uri, qop, nc, body, nonce } = self;
        let a1 = hash(*algorithm, &format!("{username}:{REALM}:{password}"));
        let a2 = if *qop == "auth-int" {
            hash(*algorithm, &format!("{method}:{uri}:{}", hash(*algorithm, body)))
        } else {
            hash(*algorithm, &format!("{method}:{uri}"))
        };
        let response = hash(*algorithm, &format!("{a1}:{nonce}:{nc}:c0ffee:{qop}:{a2}"));
        format!(
            r#"Digest username="{username}", realm="{REALM}", nonce="{nonce}", uri="{uri}", response="{response}", algorithm={algorithm}, cnonce="c0ffee", qop={qop}, nc={nc}"#
        )
    }
}

struct Server {
    method: &'static str,
    request_uri: &'static str,
    body: &'static str,
    offered: Vec<Algorithm>,
    now: i64,
    ha1: Ha1,
}

impl Server {
    fn new() -> Server {
        Server {
            method: "MESSAGE",
            request_uri: BOB,
            body: "hello",
            offered: vec![Algorithm::Sha256, Algorithm::Md5],
            now: NOW,
            ha1: Ha1::of("alice", "example.org", REALM, "wonder"),
        }
    }

    fn judge(&self, authorization: &str) -> Verdict {
        let credentials = Credentials::parse(authorization).expect("credentials");
        let asked = Asked {
            method: self.method,
            request_uri: self.request_uri,
            body: self.body.as_bytes(),
            realm: REALM,
            offered: &self.offered,
            nonce: key().check(REALM, credentials.nonce, self.now, LIFE),
            same_host: &|_, _| false,
        };
        verify(&credentials, &asked, &self.ha1)
    }
}

const OK: Verdict = Verdict::Ok { nc: 1, issued: NOW };

#[test]
fn the_examples_of_rfc_7616_are_right() {
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let value = format!(
            "Digest username=\"Mufasa\",\r\n realm=\"http-auth@example.org\",\r\n uri=\"/dir/index.html\",\r\n \
             algorithm={algorithm},\r\n nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\",\r\n nc=00000001,\r\n \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\",\r\n qop=auth,\r\n response=\"{response}\",\r\n \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        let credentials = Credentials::parse(&value).unwrap();
        let asked = Asked {
            method: "GET",
            request_uri: "/dir/index.html",
            body: b"",
            realm: "http-auth@example.org",
            offered: &[Algorithm::Md5, Algorithm::Sha256],
            nonce: Nonce::Fresh { issued: 5 },
            same_host: &|_, _| false,
        };
        let ha1 = Ha1::of("Mufasa", "example.org", "http-auth@example.org", "Circle of Life");
        assert_eq!(verify(&credentials, &asked, &ha1), Verdict::Ok { nc: 1, issued: 5 }, "{algorithm}");
    }
}

#[test]
fn a_phone_that_knows_the_password_gets_in_by_either_name_and_algorithm() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        for username in ["alice", "alice@example.org"] {
            let phone = Phone { username, algorithm, ..Phone::new() };
            assert_eq!(Server::new().judge(&phone.authorization()), OK, "{username} {algorithm}");
        }
    }
}

#[test]
fn a_wrong_password_is_wrong_and_never_stale() {
    let phone = Phone { password: "wander", ..Phone::new() };
    assert_eq!(Server::new().judge(&phone.authorization()), Verdict::Wrong);
    let later = Server { now: NOW + 301_000, ..Server::new() };
    assert_eq!(later.judge(&phone.authorization()), Verdict::Wrong);
}

#[test]
fn the_right_password_with_an_expired_nonce_is_stale() {
    let phone = Phone::new().authorization();
    assert_eq!(Server { now: NOW + 300_000, ..Server::new() }.judge(&phone), OK);
    assert_eq!(Server { now: NOW + 300_001, ..Server::new() }.judge(&phone), Verdict::Stale);
    // The wall clock was set back by a day.
    assert_eq!(Server { now: NOW - 86_400_000, ..Server::new() }.judge(&phone), Verdict::Stale);
}

#[test]
fn a_forged_nonce_is_wrong_and_not_stale() {
    let ours = key().issue(REALM, NOW, [1; 8]);
    let altered = |at: usize| {
        let mut text = ours.clone().into_bytes();
        text[at] = if text[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(text).unwrap()
    };
    let foreign = NonceKey::new([8; 32]).issue(REALM, NOW, [1; 8]);
    let other_realm = key().issue("example.net", NOW, [1; 8]);
    let mut forged =
        vec![altered(15), altered(20), altered(63), foreign, other_realm, String::new(), ours.to_uppercase()];
    forged.push(ours[..62].to_string());
    forged.push(format!("{ours}00"));
    for nonce in forged {
        assert_eq!(key().check(REALM, &nonce, NOW, LIFE), Nonce::Forged, "{nonce}");
        let phone = Phone { nonce, ..Phone::new() };
        assert_eq!(Server::new().judge(&phone.authorization()), Verdict::Wrong);
    }
    assert_eq!(key().check(REALM, &ours, NOW, LIFE), Nonce::Fresh { issued: NOW });
}

#[test]
fn nonces_of_the_same_moment_differ() {
    assert_ne!(key().issue(REALM, NOW, [1; 8]), key().issue(REALM, NOW, [2; 8]));
}

#[test]
fn credentials_count_for_their_method_resource_and_realm_alone() {
    let phone = Phone::new().authorization();
    assert_eq!(Server { method: "REGISTER", ..Server::new() }.judge(&phone), Verdict::Wrong);
    let elsewhere = Server { request_uri: "sip:carol@example.org", ..Server::new() };
    assert_eq!(elsewhere.judge(&phone), Verdict::Wrong);
    let with_port = Server { request_uri: "sip:bob@example.org:5060;transport=udp", ..Server::new() };
    assert_eq!(with_port.judge(&phone), OK);
    let other_realm = phone.replace(r#"realm="example.org""#, r#"realm="example.net""#);
    assert_eq!(Server::new().judge(&other_realm), Verdict::Wrong);
}

#[test]
fn an_algorithm_that_was_not_offered_is_refused() {
    let only_sha = Server { offered: vec![Algorithm::Sha256], ..Server::new() };
    let phone = Phone::new().authorization();
    assert_eq!(only_sha.judge(&phone), Verdict::Wrong);
    // No algorithm means MD5.
    let unnamed = phone.replace(" algorithm=MD5,", "");
    assert_ne!(unnamed, phone);
    assert_eq!(only_sha.judge(&unnamed), Verdict::Wrong);
    assert_eq!(Server::new().judge(&unnamed), OK);
    for unknown in ["MD5-sess", "SHA-256-sess", "SHA-512-256", "token", ""] {
        let other = phone.replace("algorithm=MD5", &format!("algorithm=\"{unknown}\""));
        assert_eq!(Server::new().judge(&other), Verdict::Wrong, "{unknown}");
    }
}

#[test]
fn auth_int_covers_the_body() {
    let phone = Phone { qop: "auth-int", ..Phone::new() }.authorization();
    assert_eq!(Server::new().judge(&phone), OK);
    assert_eq!(Server { body: "hellp", ..Server::new() }.judge(&phone), Verdict::Wrong);
    let empty = Phone { qop: "auth-int", body: "", algorithm: Algorithm::Sha256, ..Phone::new() };
    assert_eq!(Server { body: "", ..Server::new() }.judge(&empty.authorization()), OK);
}

#[test]
fn an_answer_without_qop_is_refused_even_if_its_sum_is_right() {
    let Phone { nonce, .. } = Phone::new();
    let a1 = hash(Algorithm::Md5, "alice:example.org:wonder");
    let a2 = hash(Algorithm::Md5, &format!("MESSAGE:{BOB}"));
    let old = hash(Algorithm::Md5, &format!("{a1}:{nonce}:{a2}"));
    let value = format!(
        r#"Digest username="alice", realm="{REALM}", nonce="{nonce}", uri="{BOB}", response="{old}""#
    );
    assert_eq!(Server::new().judge(&value), Verdict::Wrong);
    // Nor is an empty qop taken for one.
    let empty = Phone { qop: "", ..Phone::new() }.authorization().replace("qop=,", "qop=\"\",");
    assert_eq!(Server::new().judge(&empty), Verdict::Wrong);
    let no_cnonce = Phone::new().authorization().replace(r#" cnonce="c0ffee","#, "");
    assert_eq!(Server::new().judge(&no_cnonce), Verdict::Wrong);
}

#[test]
fn a_nonce_count_is_eight_hex_digits() {
    for nc in ["1", "+0000001", "0000000g", "000000001", "0x000001", ""] {
        let phone = Phone { nc, ..Phone::new() }.authorization();
        assert_eq!(Server::new().judge(&phone), Verdict::Wrong, "{nc}");
    }
    let phone = Phone { nc: "0000abCD", ..Phone::new() }.authorization();
    assert_eq!(Server::new().judge(&phone), Verdict::Ok { nc: 0xabcd, issued: NOW });
}

#[test]
fn nobody_is_let_in_for_a_user_that_does_not_exist() {
    let decoy = Ha1::decoy(&key(), "alice");
    let server = Server { ha1: decoy.clone(), ..Server::new() };
    assert_eq!(server.judge(&Phone::new().authorization()), Verdict::Wrong);
    assert_eq!(decoy, Ha1::decoy(&key(), "alice"), "always the same, as a real one");
    assert_ne!(decoy, Ha1::decoy(&key(), "bob"));
    assert_ne!(decoy, Ha1::decoy(&NonceKey::new([8; 32]), "alice"));
}

#[test]
fn credentials_are_read_as_phones_write_them() {
    // Two spaces, as liblinphone.
    let linphone = r#" Digest realm="example.test", nonce="abc123", algorithm=MD5, username="alice",  uri="sip:127.0.0.1:5071", response="60a9fae11c872f1b4b4d4993435ae426", cnonce="yKnXhBDglilZ67GS", nc=00000001, qop=auth"#;
    let c = Credentials::parse(linphone).unwrap();
    assert_eq!(
        (c.username, c.realm, c.nonce, c.uri),
        ("alice", "example.test", "abc123", "sip:127.0.0.1:5071")
    );
    assert_eq!((c.algorithm, c.qop, c.nc), (Some("MD5"), Some("auth"), Some("00000001")));
    assert_eq!((c.cnonce, c.opaque, c.user(), c.domain()), (Some("yKnXhBDglilZ67GS"), None, "alice", None));

    let odd = "digest USERNAME = \"a, \\\" b@d\" ,, realm=r,nonce=n,uri=sip:x,response=0,qop=\"auth\",x-new=\"q,=\",auts=1,";
    let c = Credentials::parse(odd).unwrap();
    assert_eq!((c.username, c.realm, c.qop), ("a, \\\" b@d", "r", Some("auth")));
    assert_eq!(c.domain(), Some("d"));
}

#[test]
fn what_real_phones_computed_is_right() {
    let phones = [
        // liblinphone 5.1, then JsSIP 3.13, SIP.js 0.21, baresip 1.0.
        r#"Digest realm="example.test", nonce="abc123", algorithm=MD5, username="alice",  uri="sip:127.0.0.1:5071", response="60a9fae11c872f1b4b4d4993435ae426", cnonce="yKnXhBDglilZ67GS", nc=00000001, qop=auth"#,
        r#"Digest algorithm=MD5, username="alice", realm="example.test", nonce="abc123", uri="sip:example.test", response="6704f2d9b2693a30c21527ed5539fbe5", qop=auth, cnonce="ok8lsnoad3f0", nc=00000001"#,
        r#"Digest algorithm=MD5, username="alice", realm="example.test", nonce="abc123", uri="sip:example.test", response="e098f9d57525fce909c134efbe13cbe0", qop=auth, cnonce="8otr1qsct0d8", nc=00000001"#,
        r#"Digest username="alice", realm="example.test", nonce="abc123", uri="sip:127.0.0.1:5070", response="80f395d204e593ee94cc0774e7d21998", cnonce="fff183a89afec73a", qop=auth, nc=00000001"#,
    ];
    for phone in phones {
        let credentials = Credentials::parse(phone).unwrap();
        let asked = Asked {
            method: "REGISTER",
            request_uri: credentials.uri,
            body: b"",
            realm: "example.test",
            offered: &[Algorithm::Md5],
            nonce: Nonce::Fresh { issued: 5 },
            same_host: &|_, _| false,
        };
        let ha1 = Ha1::of("alice", "example.test", "example.test", "pw");
        assert_eq!(verify(&credentials, &asked, &ha1), Verdict::Ok { nc: 1, issued: 5 }, "{phone}");
    }
}

#[test]
fn what_is_no_digest_is_no_credentials() {
    let whole = Phone::new().authorization();
    assert!(Credentials::parse(&whole).is_some());
    let many: String = (0..40).map(|i| format!(", x{i}=1")).collect();
    let bad = [
        String::new(),
        "Basic YWxpY2U6d29uZGVy".into(),
        "Digest".into(),
        "Digest ".into(),
        whole.replace("Digest ", "Digest"),
        whole.replace("username", "user"),
        format!("{whole}, nonce=\"other\""),
        format!("{whole}, x"),
        format!("{whole}, x=\"open"),
        format!("{whole}, x=\"a\" b"),
        format!("{whole}, x=\"{}\"", "a".repeat(9000)),
        format!("{whole}{many}"),
        whole.replace("alice", "al\u{7}ice"),
        "Digéééé".into(),
    ];
    for value in bad {
        assert!(Credentials::parse(&value).is_none(), "{value}");
    }
}

#[test]
fn among_several_credentials_those_of_our_realm_are_taken() {
    let ours = Phone::new().authorization();
    let theirs = ours.replace(r#"realm="example.org""#, r#"realm="proxy""#);
    let rows = ["Basic x", theirs.as_str(), ours.as_str()];
    assert_eq!(Credentials::for_realm(rows.into_iter(), REALM), Credentials::parse(&ours));
    assert_eq!(Credentials::for_realm(rows.into_iter(), "other"), None);
}

#[test]
fn a_challenge_quotes_what_is_to_be_quoted() {
    assert_eq!(
        challenge("example.org", "abc", Algorithm::Md5, false),
        r#"Digest realm="example.org", nonce="abc", algorithm=MD5, qop="auth""#
    );
    assert_eq!(
        challenge("a\"\\\r\nb", "abc", Algorithm::Sha256, true),
        r#"Digest realm="a\"\\b", nonce="abc", algorithm=SHA-256, qop="auth", stale=true"#
    );
    assert_eq!("sha-256".parse(), Ok(Algorithm::Sha256));
    assert!("SHA1".parse::<Algorithm>().is_err());
}

fn nonce(issued: i64, n: u8) -> String {
    key().issue(REALM, issued, [n; 8])
}

#[test]
fn a_count_is_taken_once_and_may_be_overtaken_by_63() {
    let mut counts = NonceCounts::new(LIFE, 10);
    let n = nonce(NOW, 1);
    let takes = [
        (5, true),
        (5, false),
        (4, true),
        (4, false),
        (100, true),
        (37, true),
        (37, false),
        (36, false),
        (99, true),
        (u32::MAX, true),
        (u32::MAX, false),
        (100, false),
        (u32::MAX - 63, true),
        (u32::MAX - 64, false),
    ];
    for (step, (nc, taken)) in takes.into_iter().enumerate() {
        assert_eq!(counts.take(&n, nc, NOW), taken, "step {step}");
    }
    assert!(counts.take(&nonce(NOW, 2), 5, NOW), "another nonce has its own counts");
    assert!(!counts.take("no nonce", 1, NOW));
}

#[test]
fn counts_die_with_their_nonce() {
    let mut counts = NonceCounts::new(LIFE, 10);
    assert!(counts.take(&nonce(NOW, 1), 1, NOW));
    assert!(counts.take(&nonce(NOW + 1000, 2), 1, NOW + 300_000));
    assert_eq!(counts.len(), 2);
    assert!(counts.take(&nonce(NOW + 2000, 3), 1, NOW + 300_001));
    assert_eq!(counts.len(), 2);
}

#[test]
fn a_full_table_forgets_the_oldest_but_never_permits_a_replay() {
    let mut counts = NonceCounts::new(LIFE, 3);
    for i in 0..10u8 {
        assert!(counts.take(&nonce(NOW + i64::from(i), i), 1, NOW + 20));
        assert!(counts.len() <= 3);
    }
    for i in 0..10u8 {
        assert!(!counts.take(&nonce(NOW + i64::from(i), i), 1, NOW + 20), "{i}");
    }
    assert!(!counts.take(&nonce(NOW + 7, 77), 1, NOW + 20), "older than all that fit");
    assert!(counts.take(&nonce(NOW + 9, 9), 2, NOW + 20), "those in the table still count");
}
