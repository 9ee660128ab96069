//! SIP, SIPS, IM and PRES URIs as borrowed views (RFC 3261 §19.1, RFC 3860, RFC 3859).
//!
//! Prevents that an address is split on its decoded text, or that two spellings of one address are two
//! people. Never resolves a host, never decides whether an address is ours.

use std::borrow::Cow;
use std::net::Ipv6Addr;

pub use super::grammar::Bad;
use super::grammar::{is_unreserved, is_uri_param, is_user, number, unescape};
use crate::types::Aor;

/// A URI in its parts. Nothing in it is unescaped.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// As spelled.
    pub scheme: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// An IPv6 address has its brackets. Empty in a URI that is not sip-like.
    pub host: &'a str,
    pub port: Option<u16>,
    pub params: UriParams<'a>,
    /// What follows `?`, unsplit.
    pub headers: Option<&'a str>,
    /// All that follows the first colon.
    pub rest: &'a str,
}

/// The `;name=value` list of a URI.
#[derive(Clone, Copy, Debug, Default)]
pub struct UriParams<'a> {
    text: &'a str,
}

impl<'a> UriParams<'a> {
    /// In order, as spelled.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        self.text.split(';').filter(|p| !p.is_empty()).map(|p| match p.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (p, None),
        })
    }

    /// The value of the parameter called `name`, any case; `Some("")` if it has none.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or(""))
    }

    /// With the leading `;`, or empty.
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

fn is_sip_like(scheme: &str) -> bool {
    ["sip", "sips", "im", "pres"].iter().any(|s| scheme.eq_ignore_ascii_case(s))
}

impl<'a> Uri<'a> {
    /// Any absolute URI. One of a scheme that we know must obey that scheme's grammar; in particular an IPv6
    /// address needs its brackets (RFC 5118 §4.2) and only one `@` may stand unescaped.
    pub fn parse(text: &'a str) -> Result<Uri<'a>, Bad> {
        let colon = memchr::memchr(b':', text.as_bytes()).ok_or(Bad("URI Without Scheme"))?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let mut letters = scheme.bytes();
        if !letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            || !letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
        {
            return Err(Bad("Bad URI Scheme"));
        }
        let mut uri = Uri {
            scheme,
            user: None,
            password: None,
            host: "",
            port: None,
            params: UriParams::default(),
            headers: None,
            rest,
        };
        if !is_sip_like(scheme) {
            let visible = |c: u8| c > b' ' && c < 0x7f && !matches!(c, b'<' | b'>' | b'"');
            if rest.is_empty() || !rest.bytes().all(visible) {
                return Err(Bad("Bad URI"));
            }
            return Ok(uri);
        }
        let after_user = uri.take_user(rest)?;
        uri.take_host(after_user)?;
        Ok(uri)
    }

    fn take_user(&mut self, rest: &'a str) -> Result<&'a str, Bad> {
        let Some(at) = memchr::memchr(b'@', rest.as_bytes()) else {
            return Ok(rest);
        };
        let (user, password) = match rest[..at].split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (&rest[..at], None),
        };
        if user.is_empty() || !is_user(user.as_bytes()) || !password.is_none_or(|p| is_user(p.as_bytes())) {
            return Err(Bad("Bad User in URI"));
        }
        self.user = Some(user);
        self.password = password;
        Ok(&rest[at + 1..])
    }

    fn take_host(&mut self, rest: &'a str) -> Result<(), Bad> {
        let end = host_end(rest).ok_or(Bad("Bad Host in URI"))?;
        self.host = &rest[..end];
        let mut rest = &rest[end..];
        if let Some(tail) = rest.strip_prefix(':') {
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            self.port = Some(port(&tail[..digits]).ok_or(Bad("Bad Port in URI"))?);
            rest = &tail[digits..];
        }
        if let Some(question) = memchr::memchr(b'?', rest.as_bytes()) {
            self.headers = Some(&rest[question + 1..]);
            rest = &rest[..question];
        }
        let headers_ok = |h: &str| {
            !h.is_empty()
                && h.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'<' | b'>' | b'@'))
        };
        if !self.headers.is_none_or(headers_ok) {
            return Err(Bad("Bad Headers in URI"));
        }
        for param in rest.split(';').skip(1) {
            let (name, value) = param.split_once('=').unwrap_or((param, "-"));
            if name.is_empty() || !is_uri_param(name.as_bytes()) || !is_value(value) {
                return Err(Bad("Bad Parameter in URI"));
            }
        }
        if !rest.is_empty() && !rest.starts_with(';') {
            return Err(Bad("Bad URI"));
        }
        self.params = UriParams { text: rest };
        Ok(())
    }

    /// The value of a uri-parameter, any case; `Some("")` if it has none.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }

    pub fn transport(&self) -> Option<&'a str> {
        self.param("transport")
    }

    /// sip, sips, im or pres: an address of the form `user@host`.
    pub fn is_sip_like(&self) -> bool {
        is_sip_like(self.scheme)
    }

    pub fn is_sips(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("sips")
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The address-of-record: user and host, port and parameters dropped, and every escape undone that means
    /// the same undone, so that `%61lice` is alice (RFC 3261 §10.3 step 5). `None` without a user.
    pub fn aor(&self) -> Option<Aor> {
        if !self.is_sip_like() {
            return None;
        }
        Aor::new(&canonical(self.user?), self.host)
    }
}

/// Value of a uri-parameter: its own characters, and `=`, which phones put into `sip.instance` and tokens.
fn is_value(value: &str) -> bool {
    !value.is_empty() && value.split('=').all(|part| is_uri_param(part.as_bytes()))
}

/// A port number, 1 to 65535.
pub(super) fn port(digits: &str) -> Option<u16> {
    number(digits.as_bytes()).ok().and_then(|n| u16::try_from(n).ok()).filter(|p| *p > 0)
}

/// Length of the host that `text` starts with: a name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn host_end(text: &str) -> Option<usize> {
    if let Some(inner) = text.strip_prefix('[') {
        let close = inner.find(']')?;
        inner[..close].parse::<Ipv6Addr>().ok()?;
        return Some(close + 2);
    }
    let end = text
        .bytes()
        .position(|c| !(c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_')))
        .unwrap_or(text.len());
    (end > 0).then_some(end)
}

/// Escapes of unreserved characters undone, all others in upper-case hex: one user part has one spelling.
pub fn canonical(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        match unescape(&bytes[i..]) {
            Some(c) if is_unreserved(c) => out.push(c as char),
            Some(_) => out.push_str(&text[i..i + 3].to_ascii_uppercase()),
            None => {
                let c = text[i..].chars().next().unwrap_or_default();
                out.push(c);
                i += c.len_utf8();
                continue;
            }
        }
        i += 3;
    }
    Cow::Owned(out)
}

/// Whether two URIs are one and the same (RFC 3261 §19.1.4). URIs that are not sip-like are compared as text.
pub fn equal(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if !a.scheme.eq_ignore_ascii_case(b.scheme) {
        return false;
    }
    if !a.is_sip_like() {
        return a.rest == b.rest;
    }
    let same = |a: Option<&str>, b: Option<&str>| match (a, b) {
        (Some(a), Some(b)) => canonical(a) == canonical(b),
        (None, None) => true,
        _ => false,
    };
    same(a.user, b.user)
        && same(a.password, b.password)
        && (a.host.eq_ignore_ascii_case(b.host) || a.ip().is_some_and(|ip| b.ip() == Some(ip)))
        && a.port == b.port
        && params_agree(a, b)
        && params_agree(b, a)
        && same_headers(a.headers, b.headers)
}

/// Every parameter of `a` has the same value in `b`, or may be missing there.
fn params_agree(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    const NEEDED: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
    a.params.iter().all(|(name, value)| match b.param(name) {
        Some(other) => canonical(value.unwrap_or("")).eq_ignore_ascii_case(&canonical(other)),
        None => !NEEDED.iter().any(|n| n.eq_ignore_ascii_case(name)),
    })
}

fn same_headers(a: Option<&str>, b: Option<&str>) -> bool {
    fn each(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.split('&').map(|h| h.split_once('=').unwrap_or((h, "")))
    }
    fn inside(a: &str, b: &str) -> bool {
        each(a).all(|(name, value)| {
            each(b).any(|(n, v)| n.eq_ignore_ascii_case(name) && canonical(v) == canonical(value))
        })
    }
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => inside(a, b) && inside(b, a),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_parts_of_a_uri() {
        let u = uri("sip:alice:secret@[2001:db8::10]:5070;transport=tcp;lr?Subject=x&a=b");
        assert_eq!((u.user, u.password), (Some("alice"), Some("secret")));
        assert_eq!((u.host, u.port), ("[2001:db8::10]", Some(5070)));
        assert_eq!((u.transport(), u.param("LR"), u.param("x")), (Some("tcp"), Some(""), None));
        assert_eq!(u.headers, Some("Subject=x&a=b"));
        assert_eq!(uri("tel:+1-201-555-0123").rest, "+1-201-555-0123");
        assert_eq!(uri("sip:[2001:db8::10:5070]").port, None);
    }

    #[test]
    fn user_parts_may_look_like_parameters() {
        let u = uri("sip:user;par=u%40example.net@example.com");
        assert_eq!((u.user, u.params.as_str()), (Some("user;par=u%40example.net"), ""));
        assert_eq!(uri("sip:sips%3Auser%40example.com@example.net").user, Some("sips%3Auser%40example.com"));
        assert_eq!(uri("sip:null-%00-null@example.com").user, Some("null-%00-null"));
    }

    #[test]
    fn what_is_no_uri() {
        for text in [
            "",
            "sip",
            "sip:",
            ":a@b",
            "sip:@host",
            "sip:a@",
            "sip:a@b@c",
            "sip:2001:db8::10",
            "sip:a@h:",
            "sip:a@h:0",
            "sip:a@h:65536",
            "sip:a@h:5060x",
            "sip:a b@h",
            "sip:a@h h",
            "sip:a@h;",
            "sip:a@h;;x",
            "sip:a@h;=x",
            "sip:a@h;x=",
            "sip:a@h?",
            "sip:%4@h",
            "sip:ü@h",
            "sip:a@[::1",
            "sip:a@[:::1]",
            "sip:a@h\r\n",
            "sip:a@h<",
            "1sip:a@h",
            "http:",
            "http://a b",
            "sip:a@h;x=\"y\"",
            "sip:a#b@h",
        ] {
            assert!(Uri::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_person_in_many_spellings() {
        let alice = uri("sip:alice@example.org").aor();
        assert!(alice.is_some());
        for text in [
            "sip:%61lice@example.org",
            "SIP:al%69ce:pw@Example.ORG:5061;user=phone",
            "im:alice@example.org",
            "sips:ALICE@example.org",
        ] {
            assert_eq!(uri(text).aor(), alice, "{text}");
        }
        assert_eq!(uri("sip:a%2f%c3%bc@h").aor().unwrap().as_str(), "a%2F%C3%BC@h");
        assert_ne!(uri("sip:a%3Bb@h").aor(), uri("sip:a;b@h").aor());
        assert!(uri("sip:example.org").aor().is_none());
        assert!(uri("tel:+1").aor().is_none());
    }

    /// The examples of RFC 3261 §19.1.4.
    #[test]
    fn comparison() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ] {
            assert!(equal(&uri(a), &uri(b)) && equal(&uri(b), &uri(a)), "{a} {b}");
        }
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com;security=off", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:a@h", "sips:a@h"),
            ("sip:a@h;maddr=x", "sip:a@h"),
        ] {
            assert!(!equal(&uri(a), &uri(b)) && !equal(&uri(b), &uri(a)), "{a} {b}");
        }
    }
}
