//! One message to several people: the recipient list in a MESSAGE, and what each of them sees of it (RFC 5365).
//!
//! Prevents that one request becomes a flood: lists are bounded, nothing is fetched, nobody gets two copies. Prevents
//! that a blind copy shows (RFC 5364 §4). Never asks who may write to whom.

use quick_xml::escape::escape;

use super::convert::{Part, between, param};
use super::phones::media;
use crate::sip::uri::Uri;

pub mod entries;

/// The option tag (RFC 5365 §6).
pub const OPTION: &str = "recipient-list-message";
/// People on one list.
pub const RECIPIENTS_MAX: usize = 100;
const PARTS_MAX: usize = 16;
/// Media type of a list (RFC 4826 §3.4).
pub const LIST: &str = "application/resource-lists+xml";
const BOUNDARY: &str = "imcd-recipient-list-history";

/// How somebody stands on the list, the weightiest first (RFC 5364 §4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Copy {
    To,
    Cc,
    Bcc,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// As it stands in the list, without headers and parameters.
    pub uri: String,
    pub copy: Copy,
    /// The others do not see who it is.
    pub anonymous: bool,
}

/// What a MESSAGE with a recipient list says, and to whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Each once.
    pub recipients: Vec<Recipient>,
    /// What they get: Content-Type and body.
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// Why a list was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoList {
    /// There is none, or it is not XML.
    Malformed,
    TooLong,
}

/// Reads the list and makes the body that all recipients share: what is left without the list, and a history list if
/// there is anybody on it who may be seen (RFC 5365 §7.3).
pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Listed, NoList> {
    let given = content_type.ok_or(NoList::Malformed)?;
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut rest: Vec<&[u8]> = Vec::new();
    if media(given) == LIST {
        return Err(NoList::Malformed);
    }
    let boundary = param(given, "boundary").filter(|_| media(given).starts_with("multipart/"));
    let delimiter = format!("--{}", boundary.filter(|text| !text.is_empty()).ok_or(NoList::Malformed)?);
    let mut lists = 0;
    for bytes in between(body, delimiter.as_bytes()).take(PARTS_MAX) {
        match Part::split(bytes).filter(is_list) {
            Some(part) => {
                lists += 1;
                add(part.body, &mut recipients)?;
            }
            None => rest.push(bytes),
        }
    }
    if lists == 0 || rest.is_empty() {
        return Err(NoList::Malformed);
    }
    let (content_type, body) = shared_body(given, &rest, &recipients);
    Ok(Listed { recipients, content_type, body })
}

/// The lists in a body that is a list or has some among its parts: those that say how they are meant, and say
/// `recipient-list` (RFC 5367 §3), or do not say it.
pub fn within<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<Vec<&'a [u8]>, NoList> {
    let given = content_type.ok_or(NoList::Malformed)?;
    if media(given) == LIST {
        return Ok(vec![body]);
    }
    let boundary = param(given, "boundary").filter(|_| media(given).starts_with("multipart/"));
    let delimiter = format!("--{}", boundary.filter(|text| !text.is_empty()).ok_or(NoList::Malformed)?);
    let parts = between(body, delimiter.as_bytes()).take(PARTS_MAX).filter_map(Part::split);
    let lists =
        parts.filter(|part| is_list(part) || part.get("Content-Disposition").is_none() && has_list(part));
    let lists: Vec<&[u8]> = lists.map(|part| part.body).collect();
    if lists.is_empty() { Err(NoList::Malformed) } else { Ok(lists) }
}

fn is_list(part: &Part<'_>) -> bool {
    let disposition = part.get("Content-Disposition").unwrap_or_default();
    let disposition = disposition.split(';').next().unwrap_or_default().trim();
    disposition.eq_ignore_ascii_case("recipient-list") && has_list(part)
}

fn has_list(part: &Part<'_>) -> bool {
    part.get("Content-Type").is_some_and(|kind| media(&kind) == LIST)
}

/// Adds the people of one list; whoever is there already keeps the weightier place (RFC 5364 §4).
fn add(list: &[u8], recipients: &mut Vec<Recipient>) -> Result<(), NoList> {
    entries::each(list, RECIPIENTS_MAX, &mut |entry| {
        let Some(uri) = address(&entry.uri) else { return Ok(()) };
        let copy = match entry.copy_control.as_deref() {
            Some("to") => Copy::To,
            Some("cc") => Copy::Cc,
            // Whoever is not said to be seen is not (RFC 5364 §4.1.1).
            _ => Copy::Bcc,
        };
        if let Some(known) = recipients.iter_mut().find(|known| known.uri.eq_ignore_ascii_case(&uri)) {
            known.copy = known.copy.min(copy);
            known.anonymous |= entry.anonymous;
            return Ok(());
        }
        if recipients.len() >= RECIPIENTS_MAX {
            return Err(NoList::TooLong);
        }
        recipients.push(Recipient { uri, copy, anonymous: entry.anonymous });
        Ok(())
    })
}

/// `sip:user@host` of an entry: its method, parameters, headers and body say nothing here (RFC 5365 §7). One that
/// hides a line end in them is no address.
fn address(text: &str) -> Option<String> {
    let uri = Uri::parse(text.trim()).ok()?;
    let lower = text.to_ascii_lowercase();
    if ["%0d", "%0a", "%00"].iter().any(|hidden| lower.contains(hidden)) {
        return None;
    }
    uri.aor().map(|aor| aor.uri())
}

fn shared_body(given: &str, rest: &[&[u8]], recipients: &[Recipient]) -> (Option<String>, Vec<u8>) {
    let history = history_list(recipients);
    if history.is_none()
        && let [only] = rest
        && let Some(part) = Part::split(only)
        && part.get("Content-Transfer-Encoding").is_none()
    {
        // One body needs no wrapper (RFC 5365 §7.3).
        return (part.get("Content-Type"), part.body.to_vec());
    }
    let mut body = Vec::new();
    // The boundary of what came may stand in what is new, and the other way round: ours is told apart by its name.
    let boundary = BOUNDARY;
    for part in rest.iter().copied().chain(history.as_deref().map(str::as_bytes)) {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (Some(format!("{};boundary=\"{boundary}\"", media(given))), body)
}

/// The part that shows who else got it: nobody who got a blind copy, and no name that was to be hidden (RFC 5364 §4.2).
fn history_list(recipients: &[Recipient]) -> Option<String> {
    let seen: Vec<&Recipient> = recipients.iter().filter(|one| one.copy != Copy::Bcc).collect();
    if seen.is_empty() {
        return None;
    }
    let mut text = format!(
        "Content-Type: {LIST}\r\nContent-Disposition: recipient-list-history;handling=optional\r\n\r\n\
         <?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\" \
         xmlns:cp=\"urn:ietf:params:xml:ns:copycontrol\">\r\n<list>\r\n"
    );
    for one in seen {
        let uri = if one.anonymous { "sip:anonymous@anonymous.invalid" } else { &one.uri };
        let copy = if one.copy == Copy::To { "to" } else { "cc" };
        text.push_str(&format!("<entry uri=\"{}\" cp:copyControl=\"{copy}\"/>\r\n", escape(uri)));
    }
    text.push_str("</list>\r\n</resource-lists>\r\n");
    Some(text)
}

#[cfg(test)]
#[path = "lists/tests.rs"]
mod tests;
