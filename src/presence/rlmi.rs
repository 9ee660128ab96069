//! Many presentities in one NOTIFY: the list's document and theirs, in one multipart (RFC 4662).
//!
//! Prevents that a reference leads nowhere, that a part's bytes end the part, and that one instance says two things.
//! Never asks who may see whom: it says what it is given.

use serde::{Deserialize, Serialize};

use super::shown;
use super::xml::{RLMI, Writer};

/// Media type of the root part. The whole is `multipart/related`.
pub const MEDIA: &str = "application/rlmi+xml";
/// Characters of the random token that are used: a boundary has at most 70 (RFC 2046 §5.1.1).
const TOKEN_MAX: usize = 40;

/// What the list's subscriber is told of a resource (RFC 4662 §5.5).
#[derive(Clone, Copy, Debug)]
pub enum Instance<'a> {
    /// His document: Content-Type and bytes.
    Active(&'a str, &'a [u8]),
    /// The owner has not answered yet.
    Pending,
    /// A reason of Subscription-State (RFC 6665 §4.1.3): `rejected`, `noresource` …
    Terminated(&'a str),
}

/// How the subscriber reads lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Dialect {
    #[default]
    Rfc,
    /// liblinphone, seen with 5.1: it looks for the very letters `Content-Id`, without brackets around the value, and
    /// takes no list but under `Event: Presence`.
    Linphone,
}

impl Dialect {
    /// By the User-Agent of the SUBSCRIBE.
    pub fn of(user_agent: Option<&str>) -> Dialect {
        match user_agent {
            Some(name) if name.to_ascii_lowercase().contains("linphone") => Dialect::Linphone,
            _ => Dialect::Rfc,
        }
    }

    /// The event type of a NOTIFY with a list of `presence`. Others have that of the SUBSCRIBE, letter by letter
    /// (RFC 6665 §8.2.1).
    pub fn event(self) -> &'static str {
        match self {
            Dialect::Rfc => "presence",
            Dialect::Linphone => "Presence",
        }
    }

    fn content_id(self, id: &str) -> String {
        match self {
            Dialect::Rfc => format!("Content-ID: <{id}>"),
            Dialect::Linphone => format!("Content-Id: {id}"),
        }
    }
}

/// One line of the list. We are its only notifier: it has at most one instance.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// As the subscriber spelled it in his list: Linphone compares it letter by letter.
    pub uri: &'a str,
    /// Only for lists that we keep: Linphone crashes on a name for somebody whom its own list has no longer.
    pub name: Option<&'a str>,
    /// Names the instance within the resource, the same for as long as the subscription lives.
    pub id: &'a str,
    /// `None`: nothing is known yet.
    pub instance: Option<Instance<'a>>,
}

/// Appends the body to `out` and returns its Content-Type. `version` is 0 first, and one more with each NOTIFY of the
/// subscription; `full` for the first and after each SUBSCRIBE (RFC 4662 §5.2). `token` is random and new for each
/// body: boundary and Content-IDs are made of its letters and digits.
pub fn document(
    list_uri: &str,
    version: u32,
    full: bool,
    resources: &[Resource<'_>],
    token: &str,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> String {
    let mut token: String = token.chars().filter(char::is_ascii_alphanumeric).take(TOKEN_MAX).collect();
    if token.is_empty() {
        token.push_str("imcd");
    }
    let root = root(list_uri, version, full, resources, &token);
    let mut parts: Vec<(String, &str, &[u8])> = vec![(content_id("list", &token), MEDIA, &root)];
    for (n, resource) in resources.iter().enumerate() {
        if let Some(Instance::Active(kind, body)) = resource.instance {
            parts.push((content_id(n, &token), kind, body));
        }
    }
    let boundary = boundary(&token, &parts);
    for (id, kind, body) in &parts {
        let head = format!(
            "--{boundary}\r\nContent-Transfer-Encoding: binary\r\n{}\r\nContent-Type: {}\r\n\r\n",
            dialect.content_id(id),
            one_line(kind)
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }
    // Nothing may follow: belle-sip compares with the end of the body. And no quotes, though others have them: it takes
    // them for a part of the boundary, and Linphone crashes.
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    format!("multipart/related;type=\"{MEDIA}\";start=\"<{}>\";boundary={boundary}", parts[0].0)
}

fn root(list_uri: &str, version: u32, full: bool, resources: &[Resource<'_>], token: &str) -> Vec<u8> {
    let mut xml = Writer::new(&[RLMI]);
    xml.open(RLMI, "list").attribute("uri", list_uri).attribute("version", &version.to_string());
    xml.attribute("fullState", if full { "true" } else { "false" });
    for (n, resource) in resources.iter().enumerate() {
        xml.open(RLMI, "resource").attribute("uri", resource.uri);
        if let Some(name) = resource.name.and_then(shown) {
            xml.leaf(RLMI, "name", name);
        }
        if let Some(instance) = resource.instance {
            xml.open(RLMI, "instance").attribute("id", resource.id);
            match instance {
                Instance::Active(..) => {
                    xml.attribute("state", "active").attribute("cid", &content_id(n, token))
                }
                Instance::Pending => xml.attribute("state", "pending"),
                Instance::Terminated(reason) => {
                    xml.attribute("state", "terminated").attribute("reason", reason)
                }
            };
            xml.close();
        }
        xml.close();
    }
    xml.finish()
}

/// An addr-spec (RFC 2392 §2).
fn content_id(part: impl std::fmt::Display, token: &str) -> String {
    format!("{part}@{token}")
}

/// Grows until it stands in no part. The first differs from what is in the Content-IDs.
fn boundary(token: &str, parts: &[(String, &str, &[u8])]) -> String {
    let mut boundary = format!("b{token}");
    let mut more = 0u64;
    while parts.iter().any(|(_, _, body)| memchr::memmem::find(body, boundary.as_bytes()).is_some()) {
        more += 1;
        boundary = format!("b{token}{more}");
    }
    boundary
}

/// A media type cannot end its line, whoever gave it.
fn one_line(kind: &str) -> &str {
    if kind.bytes().all(|byte| (b' '..=b'~').contains(&byte)) { kind } else { "application/octet-stream" }
}

#[cfg(test)]
#[path = "rlmi/tests.rs"]
mod tests;
