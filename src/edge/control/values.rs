//! Arguments of management commands, checked before anything is done.
//!
//! Prevents that a deed meets half an address, a text without end or a name with controls in it. Never looks at what
//! the daemon knows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::table::{Command, Kind, find};
use crate::chat::room::Role;
use crate::migrate::Source;
use crate::presence::avatar::AVATAR_MAX;
use crate::presence::roster::{self, Bond};
use crate::types::Aor;

/// Bytes of a [`Kind::Text`].
const TEXT_MAX: usize = 32_768;
/// Bytes of a [`Kind::Row`].
const ROW_MAX: usize = 4096;
/// Addresses in a [`Kind::People`].
const PEOPLE_MAX: usize = 10_000;

/// Checked arguments, one place per [`Command::args`].
pub struct Values {
    given: Vec<Option<String>>,
    default_domain: String,
}

impl Values {
    /// `given` has one place per argument of `command`, `None` for what was left out.
    /// The error says what was expected.
    pub fn check(
        command: &Command,
        given: Vec<Option<String>>,
        default_domain: String,
    ) -> Result<Values, String> {
        let values = Values { given, default_domain };
        for (at, arg) in command.args.iter().enumerate() {
            let Some(text) = values.text(at) else {
                if arg.required {
                    return Err(format!("{}: missing", arg.name));
                }
                continue;
            };
            let wanted = match arg.kind {
                Kind::Address if values.address(at).is_none() => {
                    "expected an address such as alice@example.org"
                }
                Kind::Domain if Aor::new("a", &text).is_none() => "expected a domain such as example.org",
                Kind::Secret if !is_secret(&text) => "expected 1 to 255 bytes without control characters",
                Kind::Text if text.is_empty() || text.len() > TEXT_MAX => "expected 1 to 32768 bytes",
                Kind::Nick if roster::name(&text).is_none() => "expected a name",
                Kind::Nick | Kind::Note if text.len() > TEXT_MAX => "expected at most 32768 bytes",
                Kind::Groups if text.len() > TEXT_MAX => "expected names with commas between them",
                Kind::File if values.data(at).is_none() => "expected a file of at most 64 KiB, in base64",
                Kind::Title if text.len() > TEXT_MAX || text.chars().any(char::is_control) => {
                    "expected one line"
                }
                Kind::Row
                    if text.is_empty() || text.len() > ROW_MAX || text.chars().any(char::is_control) =>
                {
                    "expected the first columns of a row"
                }
                Kind::Flag if flag(&text, arg.name).is_none() => "expected yes or no",
                Kind::Sight if Bond::named(&text).is_none_or(|bond| bond == Bond::Asked) => {
                    "expected none, to, from or both"
                }
                Kind::Role if Role::named(&text).is_none() => "expected owner, admin or member",
                Kind::Count if count(&text).is_none() => "expected a number from 1 to 1000",
                Kind::People if values.people(at).is_none() => {
                    "expected addresses such as alice@example.org, with commas between them"
                }
                Kind::Source if Source::parse(&text).is_none() => {
                    "expected sqlite:, text: or dump: with an absolute path behind it"
                }
                Kind::Path if !is_path(&text) => "expected the absolute path of a file",
                Kind::Command if find(&text).is_none() => "no such command",
                _ => continue,
            };
            return Err(format!("{}: {wanted}", arg.name));
        }
        Ok(values)
    }

    pub(super) fn text(&self, at: usize) -> Option<String> {
        self.given.get(at).cloned().flatten()
    }

    pub(super) fn address(&self, at: usize) -> Option<Aor> {
        address(self.given.get(at)?.as_deref()?, &self.default_domain)
    }

    pub(super) fn source(&self, at: usize) -> Option<Source> {
        Source::parse(self.given.get(at)?.as_deref()?)
    }

    /// A [`Kind::Flag`]; not given: no.
    pub(super) fn flag(&self, at: usize, name: &str) -> bool {
        self.text(at).and_then(|text| flag(&text, name)).unwrap_or(false)
    }

    pub(super) fn count(&self, at: usize) -> Option<usize> {
        count(self.given.get(at)?.as_deref()?)
    }

    /// All of a [`Kind::People`]; `None` also if one of them is no address, or there are too many.
    pub(super) fn people(&self, at: usize) -> Option<Vec<Aor>> {
        let list = self.given.get(at)?.as_deref()?;
        let one_by_one = list.split(',').filter(|one| !one.trim().is_empty());
        let people: Vec<Aor> =
            one_by_one.map(|one| address(one, &self.default_domain)).collect::<Option<_>>()?;
        (1..=PEOPLE_MAX).contains(&people.len()).then_some(people)
    }

    /// What a [`Kind::File`] holds.
    pub(super) fn data(&self, at: usize) -> Option<Vec<u8>> {
        let text = self.given.get(at)?.as_deref()?;
        let data = STANDARD.decode(text.trim()).ok()?;
        (data.len() <= AVATAR_MAX).then_some(data)
    }
}

fn is_secret(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn flag(text: &str, name: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        word => (word == name).then_some(true),
    }
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| (1..=1000).contains(n))
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() < 4096 && !text.contains('\0')
}

/// An address as people write it. Port and parameters do not belong to its identity (spec §3).
pub fn address(text: &str, default_domain: &str) -> Option<Aor> {
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
    let text = match text.split_once(':') {
        Some((scheme, rest)) if ["sip", "sips", "im"].iter().any(|s| s.eq_ignore_ascii_case(scheme)) => rest,
        _ => text,
    };
    let Some((user, rest)) = text.rsplit_once('@') else { return Aor::new(text, default_domain) };
    let host = rest.split([';', '?']).next().unwrap_or(rest);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => {
            port.parse::<u16>().ok()?;
            name
        }
        _ => host,
    };
    Aor::new(user, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_are_bounded_before_anything_is_done() {
        let check = |name: &str, given: &[&str]| {
            let command = find(name).unwrap();
            let mut given: Vec<_> = given.iter().map(|text| Some(text.to_string())).collect();
            given.resize(command.args.len(), None);
            Values::check(command, given, "example.org".into()).map(|values| values.data(1))
        };
        assert_eq!(check("avatar.set", &["bob", "AAEC"]).unwrap(), Some(vec![0, 1, 2]));
        let most = STANDARD.encode(vec![0; AVATAR_MAX]);
        assert!(check("avatar.set", &["bob", &most]).is_ok());
        let more = STANDARD.encode(vec![0; AVATAR_MAX + 1]);
        for data in ["AAE", "%%%%", "../../etc/passwd", &more] {
            assert!(check("avatar.set", &["bob", data]).is_err(), "{data:.20}");
        }
        assert!(check("roster.add", &["bob", "alice", "Al", "work,home"]).is_ok());
        assert!(check("roster.add", &["bob", "alice", "\u{1}\r\n"]).is_err());
        assert!(check("roster.add", &["bob", "alice", "Al", &"x".repeat(TEXT_MAX + 1)]).is_err());
        assert!(check("presence.set", &["bob", "away", &"x".repeat(TEXT_MAX + 1)]).is_err());
        assert!(check("presence.set", &["bob", "away", "lunch"]).is_ok());
        assert!(check("import.silo", &["sqlite:/a.db", "yes"]).is_ok());
        for (url, dry) in [("sqlite:a.db", "yes"), ("/a.db", "yes"), ("sqlite:/a.db", "perhaps")] {
            assert!(check("import.silo", &[url, dry]).is_err(), "{url} {dry}");
        }
    }

    #[test]
    fn an_address_is_taken_as_people_write_it() {
        let read = |t: &str| address(t, "example.org").map(|a| a.as_str().to_string());
        for text in [
            "alice",
            "alice@example.org",
            "sip:alice@example.org",
            "<sip:alice@example.org>",
            "SIP:alice@example.org:5060;transport=udp",
            " sips:alice@example.org?x=y ",
        ] {
            assert_eq!(read(text).as_deref(), Some("alice@example.org"), "{text}");
        }
        assert_eq!(read("sip:a@[::1]:5060").as_deref(), Some("a@[::1]"));
        assert_eq!(read("sip:a@[::1]").as_deref(), Some("a@[::1]"));
        for text in ["", "@example.org", "a b", "tel:+1", "alice@", "alice@h:x", "<alice", "a@h\r\nX: y"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
