//! What the endpoint answers by itself, without state: the table of RFC 3261 §8.2.1 to §8.2.2.
//!
//! Prevents that a request nobody serves costs memory, a challenge or a caller's attention. Never reads a body,
//! never decides on users, rooms or domains.

use crate::sip::header::split_commas;
use crate::sip::message::{Message, Name};

use super::Config;

/// An answer that needs nothing but the request. Header names and values in the order they are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    pub(super) status: u16,
    pub(super) extra: Vec<(&'static str, String)>,
}

impl Verdict {
    pub(super) fn bare(status: u16) -> Verdict {
        Verdict { status, extra: Vec::new() }
    }
    pub(super) fn with(status: u16, name: &'static str, value: String) -> Verdict {
        Verdict { status, extra: vec![(name, value)] }
    }
}

/// Methods that exist, whoever serves them: 405 where they are not served (RFC 3261 §21.4.6).
/// Anything not listed gets 501.
const KNOWN: [&str; 11] = [
    "INVITE",
    "BYE",
    "INFO",
    "PRACK",
    "UPDATE",
    "REFER",
    "SUBSCRIBE",
    "PUBLISH",
    "OPTIONS",
    "REGISTER",
    "MESSAGE",
];

/// Not served, so not in Allow; but who sends it is asked who he is first (spec §3), and that is the caller's business.
const ASKED: &str = "NOTIFY";

/// Schemes of a Request-URI that we read (RFC 3428 §5, RFC 3859 §3).
const SCHEMES: [&str; 4] = ["sip", "sips", "im", "pres"];

/// `None`: the request is for the caller. ACK and CANCEL never get here.
pub(super) fn screen(message: &Message<'_>, method: &str, config: &Config) -> Option<Verdict> {
    if method != ASKED && !config.allow.contains(&method) {
        return Some(match KNOWN.contains(&method) {
            true => Verdict::with(405, "Allow", config.allow.join(", ")),
            false => Verdict::bare(501),
        });
    }
    let scheme = message.uri_text().and_then(|uri| uri.split_once(':')).map(|(scheme, _)| scheme);
    if !scheme.is_some_and(|scheme| SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))) {
        return Some(Verdict::bare(416));
    }
    match unsupported(message, config) {
        None => return Some(Verdict::bare(400)),
        Some(missing) if !missing.is_empty() => {
            return Some(Verdict::with(420, "Unsupported", missing));
        }
        Some(_) => {}
    }
    (method == "OPTIONS").then(|| options(config))
}

/// Option tags that the request requires and we have not, as the value of Unsupported (RFC 3261 §8.2.2.3).
/// `None`: there is something that is no option tag at all.
fn unsupported(message: &Message<'_>, config: &Config) -> Option<String> {
    let rows = message.all(Name::Require).chain(message.all(Name::ProxyRequire));
    let mut missing = String::new();
    for tag in rows.flat_map(split_commas) {
        let tag = std::str::from_utf8(tag).ok()?.trim();
        if tag.is_empty() || config.supported.iter().any(|known| known.eq_ignore_ascii_case(tag)) {
            continue;
        }
        if !tag.bytes().all(token) {
            return None;
        }
        if !missing.is_empty() {
            missing.push_str(", ");
        }
        missing.push_str(tag);
    }
    Some(missing)
}

fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// What we can do, the same for every address, so that it reveals none (RFC 3261 §11.2).
fn options(config: &Config) -> Verdict {
    let mut extra = vec![
        ("Allow", config.allow.join(", ")),
        ("Accept", config.accept.join(", ")),
        ("Accept-Encoding", config.accept_encoding.join(", ")),
        ("Supported", config.supported.join(", ")),
    ];
    if !config.allow_events.is_empty() {
        extra.push(("Allow-Events", config.allow_events.join(", ")));
    }
    Verdict { status: 200, extra }
}
