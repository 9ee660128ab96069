//! A REGISTER read from a message.
//!
//! Prevents that a bound list or text grows without end, and that what a phone wrote about itself comes back to
//! it, or into a log, with controls in it. Never decides what is bound.

use std::sync::Arc;

use super::{
    BAD_CONTACT, BAD_PATH, BAD_STAR, ContactIn, Contacts, HOUR, MAX_CONTACTS, MAX_PATH, Refused, Request,
    refused,
};
use crate::sip::header::{self, ContactValue, NameAddr, unfold, unquote};
use crate::sip::message::{Message, Name};
use crate::types::Flow;

/// Bytes of a `+sip.instance`; a longer one is taken for none.
pub const MAX_INSTANCE: usize = 255;
/// Media types of an Accept header, methods of an Allow header; the rest is not looked at.
pub const MAX_LIST: usize = 32;
/// Bytes of a display name, a User-Agent, and each element of a list; what is longer is cut or left out.
pub const MAX_TEXT: usize = 255;

const BAD_TO: Refused = refused(400, "To Names No Account");
const BAD_ORDER: Refused = refused(400, "Call-ID or CSeq Missing");

/// Seconds from the text of an Expires header or `expires` parameter. What is no 32-bit number counts as an hour
/// (RFC 3261 §10.2.1.1).
pub fn read_expires(text: &str) -> u32 {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if digits { text.parse().unwrap_or(HOUR) } else { HOUR }
}

impl Request {
    /// Reads a REGISTER that the scanner has taken. Whether To names an account of ours is not asked here.
    /// What only informs (names, Accept, q, instance) is dropped where it is malformed; what decides is refused.
    pub fn from_message(message: &Message<'_>, flow: Flow, trusted: bool) -> Result<Request, Refused> {
        let to = message.to().ok_or(BAD_TO)?;
        let (cseq, _) = message.cseq().ok_or(BAD_ORDER)?;
        let call_id = message.call_id().ok_or(BAD_ORDER)?.to_owned();
        let supports = |tag: &[u8]| message.list(Name::Supported).any(|t| t.eq_ignore_ascii_case(tag));
        let path = message
            .list(Name::Path)
            .take(MAX_PATH + 1)
            .map(|value| NameAddr::parse(value).map(|hop| hop.uri.to_owned()).map_err(|_| BAD_PATH))
            .collect::<Result<_, _>>()?;
        let allow: Vec<String> = texts(message.list(Name::Allow));
        Ok(Request {
            contacts: read_contacts(message)?,
            expires: message.get(Name::Expires).map(|v| read_expires(std::str::from_utf8(v).unwrap_or(""))),
            call_id,
            cseq,
            path,
            flow,
            trusted,
            direct: message.vias().count() == 1,
            supported_path: supports(b"path"),
            supported_outbound: supports(b"outbound"),
            to: as_spelled(&to).ok_or(BAD_TO)?,
            name: read_name(message, &to),
            user_agent: message.text(Name::UserAgent).and_then(clean),
            accept: texts(message.list(Name::Accept).map(before_params)),
            methods: Some(allow).filter(|methods| !methods.is_empty()),
        })
    }
}

/// `user@host[:port]` of a To, as the phone spelled it.
fn as_spelled(to: &NameAddr<'_>) -> Option<String> {
    let uri = to.uri()?;
    let (user, host) = (uri.user?, uri.host);
    Some(match uri.port {
        Some(port) => format!("{user}@{host}:{port}"),
        None => format!("{user}@{host}"),
    })
}

/// The display name: of To, else of From if the phone registers itself.
fn read_name(message: &Message<'_>, to: &NameAddr<'_>) -> Option<String> {
    let name = |who: &NameAddr| who.display_text().as_deref().and_then(clean);
    let aor = |who: &NameAddr| who.uri().and_then(|uri| uri.aor());
    name(to).or_else(|| message.from().filter(|from| aor(from) == aor(to)).and_then(|from| name(&from)))
}

fn read_contacts(message: &Message<'_>) -> Result<Contacts, Refused> {
    let mut list = Vec::new();
    let mut star = false;
    for value in header::contacts(message).take(MAX_CONTACTS + 1) {
        match value.map_err(|_| BAD_CONTACT)? {
            ContactValue::Star => star = true,
            ContactValue::Addr(contact) => list.push(read_contact(&contact)),
        }
    }
    match (star, list.is_empty()) {
        (true, true) => Ok(Contacts::Star),
        (true, false) => Err(BAD_STAR),
        (false, true) => Ok(Contacts::None),
        (false, false) => Ok(Contacts::List(list)),
    }
}

fn read_contact(contact: &NameAddr<'_>) -> ContactIn {
    let methods = contact.param("methods").map(unquote);
    ContactIn {
        uri: contact.uri.to_owned(),
        expires: contact.param("expires").map(|text| read_expires(&unquote(text))),
        q: contact.param("q").and_then(read_q),
        instance: contact.param("+sip.instance").and_then(read_instance),
        reg_id: contact.param("reg-id").and_then(|text| text.parse().ok()).filter(|id| *id > 0),
        methods: methods.map(|list| texts(list.split(',').map(|m| m.trim().as_bytes()))),
    }
}

/// A qvalue in ‰ (RFC 3261 §25.1).
fn read_q(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|c| c.is_ascii_digit());
    let thousandths = || format!("{fraction:0<3}").parse::<u16>().ok();
    match whole {
        "0" | "" if digits && !text.is_empty() => thousandths(),
        "1" if digits && thousandths() == Some(0) => Some(1000),
        _ => None,
    }
}

/// The URN in `"<…>"` (RFC 5626 §4.1), in characters that are safe to echo in quotes.
fn read_instance(text: &str) -> Option<Arc<str>> {
    let text = unquote(text);
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(&text);
    let safe = inner.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\' | b'<' | b'>'));
    (safe && !inner.is_empty() && inner.len() <= MAX_INSTANCE).then(|| inner.into())
}

/// Elements of a list header that are visible ASCII, as many and as long as is allowed.
fn texts<'a>(list: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    list.filter(|text| !text.is_empty() && text.len() <= MAX_TEXT && text.iter().all(u8::is_ascii_graphic))
        .filter_map(|text| std::str::from_utf8(text).ok())
        .take(MAX_LIST)
        .map(str::to_owned)
        .collect()
}

fn before_params(value: &[u8]) -> &[u8] {
    value.split(|c| *c == b';').next().unwrap_or_default().trim_ascii()
}

/// Unfolded, without controls, cut to [`MAX_TEXT`]; nothing left is `None`.
pub fn clean(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in unfold(text).chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    let out = out.trim();
    (!out.is_empty()).then(|| out.to_owned())
}
