//! Addresses as people type them: `bob`, `bob@example.org`, `sip:bob@example.org`, `<sip:bob@example.org>`.
//!
//! Prevents that one person is two members because he was spelled in two ways (spec §3). Never looks anything up;
//! which host is another spelling of a served domain is asked of the caller.

use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_till, take_till1, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, opt, recognize, rest};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::sip::uri::canonical;
use crate::types::Aor;

/// Longest spelling that is read, in bytes.
const LONGEST: usize = 600;

/// What a typed address is completed with.
pub struct Names<'a> {
    /// The address that the command was sent to; its domain completes a bare word.
    pub addressed: &'a Aor,
    /// The served domain that a host is a spelling of; `None` for a foreign host.
    pub canonical: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl Names<'_> {
    /// `None` if it is no address. Port, parameters, headers and password do not belong to an identity and are
    /// dropped (RFC 3261 §19.1.4); letters beyond ASCII are escaped as a URI wants them (RFC 3261 §25.1).
    pub fn read(&self, typed: &str) -> Option<Aor> {
        if typed.len() > LONGEST {
            return None;
        }
        let (_, (user, host)) = all_consuming(address).parse(typed).ok()?;
        let user = canonical(&escaped(user)).into_owned();
        match host {
            None => Aor::new(&user, self.addressed.host()),
            Some(host) => match (self.canonical)(host) {
                Some(canonical) => Aor::new(&user, &canonical),
                None => Aor::new(&user, host),
            },
        }
    }
}

type Parts<'a> = (&'a str, Option<&'a str>);

fn address(input: &str) -> IResult<&str, Parts<'_>> {
    alt((bracketed, uri)).parse(input)
}

fn bracketed(input: &str) -> IResult<&str, Parts<'_>> {
    let (after, inner) = delimited(char('<'), take_till1(|c| c == '>'), char('>')).parse(input)?;
    // Header parameters may follow a name-addr; they say nothing about who it is.
    let (after, _) = opt(preceded(char(';'), rest)).parse(after)?;
    let (_, parts) = all_consuming(uri).parse(inner)?;
    Ok((after, parts))
}

fn uri(input: &str) -> IResult<&str, Parts<'_>> {
    let (input, _) =
        opt(alt((tag_no_case("sips:"), tag_no_case("sip:"), tag_no_case("im:")))).parse(input)?;
    alt((full, bare)).parse(input)
}

fn full(input: &str) -> IResult<&str, Parts<'_>> {
    let (input, user) = terminated(take_till1(|c| c == '@' || c == ':'), opt(password)).parse(input)?;
    let (input, host) =
        preceded(char('@'), alt((ipv6, take_till1(|c| matches!(c, ':' | ';' | '?'))))).parse(input)?;
    let (input, _) = opt(preceded(char(':'), take_while1(|c: char| c.is_ascii_digit()))).parse(input)?;
    let (input, _) = opt((alt((char(';'), char('?'))), rest)).parse(input)?;
    Ok((input, (user, Some(host))))
}

fn password(input: &str) -> IResult<&str, &str> {
    preceded(char(':'), take_till(|c| c == '@')).parse(input)
}

fn ipv6(input: &str) -> IResult<&str, &str> {
    recognize(delimited(char('['), take_till1(|c| c == ']'), char(']'))).parse(input)
}

fn bare(input: &str) -> IResult<&str, Parts<'_>> {
    let (input, user) = take_till1(|c| c == '@').parse(input)?;
    Ok((input, (user, None)))
}

fn escaped(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for c in user.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &str) -> Option<String> {
        let addressed = Aor::parse("team@example.org").unwrap();
        let canonical = |host: &str| {
            (host.eq_ignore_ascii_case("example.org") || host == "192.0.2.1")
                .then(|| "example.org".to_owned())
        };
        Names { addressed: &addressed, canonical: &canonical }.read(typed).map(|aor| aor.as_str().to_owned())
    }

    #[test]
    fn every_spelling_of_an_address_is_one_address() {
        for typed in [
            "bob",
            "bob@example.org",
            "bob@EXAMPLE.org",
            "bob@192.0.2.1",
            "bob@192.0.2.1:5070",
            "sip:bob",
            "SIP:bob@example.org",
            "sips:bob@example.org",
            "im:bob@example.org",
            "sip:bob@example.org:5060;transport=tcp",
            "sip:bob:secret@example.org?Subject=x@y",
            "<sip:bob@example.org>",
            "<sip:bob@example.org;transport=udp>;tag=1",
            "<bob>",
            "b%6fb",
            "sip:%62%6F%62@example.org",
        ] {
            assert_eq!(read(typed).as_deref(), Some("bob@example.org"), "{typed}");
        }
    }

    #[test]
    fn a_foreign_host_is_kept_as_typed() {
        assert_eq!(read("bob@Other.net").as_deref(), Some("bob@Other.net"));
        assert_eq!(read("<sip:bob@[2001:db8::1]:5060>").as_deref(), Some("bob@[2001:db8::1]"));
    }

    #[test]
    fn letters_beyond_ascii_are_escaped() {
        assert_eq!(read("café").as_deref(), Some("caf%C3%A9@example.org"));
        assert_eq!(read("caf%C3%A9").as_deref(), Some("caf%C3%A9@example.org"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = "x".repeat(300);
        for typed in [
            "",
            "<",
            ">",
            "<>",
            "@",
            "bob@",
            "@example.org",
            "tel:+4930123",
            "bob:5060",
            "#team",
            "a\"b",
            "a<b>",
            "a>b",
            "bob@exa mple.org",
            "bob@example.org:x",
            "bob@[::1",
            "bob@a@b",
            "<sip:bob@example.org",
            "a\u{7}b",
            "100%",
            "\u{0}",
            "http://example.org",
            &long,
        ] {
            assert_eq!(read(typed), None, "{typed:?}");
        }
    }
}
