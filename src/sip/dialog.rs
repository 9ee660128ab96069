//! A dialog that a SUBSCRIBE has made, seen by the notifier (RFC 3261 §12, RFC 6665 §4.4.1).
//!
//! Prevents that a request within the dialog misses a proxy that asked to stay in between, or carries a CSeq that
//! the other side has seen. Never says where packets go: that is decided by what the SUBSCRIBE proved.

use serde::{Deserialize, Serialize};

use super::header::{ContactValue, contacts};
use super::message::{Message, Name};
use super::uri::Uri;
use super::write::{decimal, guarded};
use crate::types::Aor;

/// Bytes of one value that is kept of a SUBSCRIBE: a Call-ID, a tag, an address.
const VALUE_MAX: usize = 512;
/// Proxies that can ask to stay in between.
const ROUTES_MAX: usize = 8;

/// What names a dialog (RFC 3261 §12).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DialogId {
    pub call_id: Box<str>,
    pub local_tag: Box<str>,
    /// Empty for phones of RFC 2543.
    pub remote_tag: Box<str>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dialog {
    pub id: DialogId,
    /// To of the SUBSCRIBE without our tag: From of what we send.
    local: Box<str>,
    /// From of the SUBSCRIBE with its tag: To of what we send.
    remote: Box<str>,
    /// URI of its Contact.
    target: Box<str>,
    /// URIs of Record-Route, the nearest first (RFC 3261 §12.1.1).
    routes: Box<[Box<str>]>,
    remote_cseq: u32,
}

/// Why a request makes no dialog: the reason phrase of a 400.
pub type Bad = &'static str;

/// What a request within a dialog changes of it: its CSeq, and its Contact as the new target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    cseq: u32,
    target: Option<Box<str>>,
}

impl Update {
    pub fn of_request(message: &Message<'_>) -> Result<Update, Bad> {
        let (cseq, _) = message.cseq().ok_or("Bad CSeq")?;
        Ok(Update { cseq, target: target(message)? })
    }
}

impl DialogId {
    /// The dialog that a request from the other side names; `None`: it names none.
    pub fn of_request(message: &Message<'_>) -> Option<DialogId> {
        let local_tag = message.to()?.tag()?.into();
        let remote_tag = message.from()?.tag().unwrap_or_default().into();
        Some(DialogId { call_id: message.call_id()?.into(), local_tag, remote_tag })
    }
}

impl Dialog {
    /// What a SUBSCRIBE without To tag makes, answered with `local_tag`.
    pub fn begin(message: &Message<'_>, local_tag: &str) -> Result<Dialog, Bad> {
        let from = message.from().ok_or("Bad From")?;
        let remote_tag = from.tag().unwrap_or_default().into();
        let call_id = message.call_id().ok_or("Bad Call-ID")?;
        let (cseq, _) = message.cseq().ok_or("Bad CSeq")?;
        let text = |name| message.text(name).filter(|text| text.len() <= VALUE_MAX).map(clean);
        let mut routes = Vec::new();
        for hop in message.addresses(Name::RecordRoute) {
            let uri = hop.map_err(|_| "Bad Record-Route")?.uri;
            if routes.len() >= ROUTES_MAX || uri.len() > VALUE_MAX || Uri::parse(uri).is_err() {
                return Err("Bad Record-Route");
            }
            routes.push(clean(uri));
        }
        let id = DialogId { call_id: clean(call_id), local_tag: local_tag.into(), remote_tag };
        if id.call_id.len() > VALUE_MAX {
            return Err("Call-ID Too Long");
        }
        Ok(Dialog {
            id,
            local: text(Name::To).ok_or("Bad To")?,
            remote: text(Name::From).ok_or("Bad From")?,
            target: target(message)?.ok_or("Contact Missing")?,
            routes: routes.into(),
            remote_cseq: cseq,
        })
    }

    /// What is told to a phone of `who` that has not asked (RFC 3842 §3.7): from himself, to the contact that it
    /// registered, by its Path. `name` is unlike any other and the same for one phone.
    pub fn unasked(who: &Aor, contact: &str, path: &[String], name: &str) -> Dialog {
        let local: Box<str> = format!("<sip:{who}>").into();
        Dialog {
            id: DialogId {
                call_id: format!("{name}@{}", who.host()).into(),
                local_tag: name.into(),
                remote_tag: "".into(),
            },
            remote: local.clone(),
            local,
            target: clean(contact),
            routes: path.iter().map(|hop| clean(hop)).collect(),
            remote_cseq: 0,
        }
    }

    /// Takes a further request of the other side (RFC 3261 §12.2.2). False: it is older than one that came before.
    pub fn take(&mut self, update: Update) -> bool {
        if update.cseq <= self.remote_cseq {
            return false;
        }
        if let Some(target) = update.target {
            self.target = target;
        }
        self.remote_cseq = update.cseq;
        true
    }

    /// The URI whose host is asked for the way: the first proxy, else the phone itself.
    pub fn next_hop(&self) -> &str {
        self.routes.first().unwrap_or(&self.target)
    }

    /// Whether a proxy asked to stay in between.
    pub fn is_routed(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Appends a request up to and including CSeq. `via` is everything of Via before the branch.
    pub fn request(
        &self,
        method: &str,
        via: &str,
        branch: impl FnOnce(&mut Vec<u8>),
        cseq: u32,
        out: &mut Vec<u8>,
    ) {
        // A strict router takes the Request-URI for itself (RFC 3261 §12.2.1.1).
        let strict = self.routes.first().filter(|first| !is_loose(first));
        put(out, &[method, " ", strict.unwrap_or(&self.target), " SIP/2.0\r\nVia: ", via, ";branch="]);
        branch(out);
        put(out, &[";rport\r\n"]);
        let rest = if strict.is_some() { &self.routes[1..] } else { &self.routes[..] };
        for hop in rest.iter().chain(strict.map(|_| &self.target)) {
            put(out, &["Route: <", hop, ">\r\n"]);
        }
        put(out, &["From: ", &self.local, ";tag=", &self.id.local_tag, "\r\nTo: ", &self.remote]);
        put(out, &["\r\nCall-ID: ", &self.id.call_id, "\r\nCSeq: "]);
        decimal(out, u64::from(cseq));
        put(out, &[" ", method, "\r\n"]);
    }
}

fn is_loose(uri: &str) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.param("lr").is_some())
}

/// The URI of the one Contact (RFC 6665 §4.1.2.1); `None`: there is none.
fn target(message: &Message<'_>) -> Result<Option<Box<str>>, Bad> {
    let mut all = contacts(message);
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(Ok(ContactValue::Addr(contact))), None) => match contact.uri() {
            Some(uri) if uri.is_sip_like() && contact.uri.len() <= VALUE_MAX => Ok(Some(clean(contact.uri))),
            _ => Err("Bad Contact"),
        },
        _ => Err("Bad Contact"),
    }
}

/// On one line, whatever it was folded to.
fn clean(text: &str) -> Box<str> {
    let mut out = Vec::with_capacity(text.len());
    guarded(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap_or_default().into()
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Framing, Limits};

    fn scan(text: &str) -> Message<'_> {
        Message::scan(text.as_bytes(), Framing::Datagram, &Limits::default()).unwrap()
    }

    fn subscribe(to_tag: &str, cseq: u32, rows: &str) -> String {
        format!(
            "SUBSCRIBE sip:bob@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n\
             From: \"Al\" <sip:alice@h>;tag=f\r\nTo: <sip:bob@h:5070>{to_tag}\r\nCall-ID: c\r\n\
             CSeq: {cseq} SUBSCRIBE\r\n{rows}Content-Length: 0\r\n\r\n"
        )
    }

    fn notify(dialog: &Dialog) -> String {
        let mut out = Vec::new();
        dialog.request(
            "NOTIFY",
            "SIP/2.0/UDP us:5060",
            |out| out.extend_from_slice(b"z9hG4bKy"),
            7,
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn s15_a_notify_goes_by_the_route_set_in_order() {
        let text = subscribe(
            "",
            1,
            "Contact: <sip:alice@192.0.2.1:5062>\r\nRecord-Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\n",
        );
        let dialog = Dialog::begin(&scan(&text), "t").unwrap();
        assert_eq!(
            notify(&dialog),
            "NOTIFY sip:alice@192.0.2.1:5062 SIP/2.0\r\n\
             Via: SIP/2.0/UDP us:5060;branch=z9hG4bKy;rport\r\n\
             Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n\
             From: <sip:bob@h:5070>;tag=t\r\nTo: \"Al\" <sip:alice@h>;tag=f\r\n\
             Call-ID: c\r\nCSeq: 7 NOTIFY\r\n"
        );
        assert_eq!(dialog.next_hop(), "sip:p1;lr");
    }

    #[test]
    fn a_strict_router_gets_the_request_uri() {
        let text = subscribe("", 1, "Contact: <sip:a@h>\r\nRecord-Route: <sip:p1>, <sip:p2;lr>\r\n");
        let sent = notify(&Dialog::begin(&scan(&text), "t").unwrap());
        assert!(sent.starts_with("NOTIFY sip:p1 SIP/2.0\r\n"), "{sent}");
        assert!(sent.contains("\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:a@h>\r\n"), "{sent}");
    }

    #[test]
    fn s15_a_refresh_moves_the_target_and_an_old_one_changes_nothing() {
        let text = subscribe("", 4, "Contact: <sip:a@192.0.2.1>\r\n");
        let mut dialog = Dialog::begin(&scan(&text), "t").unwrap();
        let again = subscribe(";tag=t", 5, "Contact: <sip:a@192.0.2.9>\r\n");
        assert_eq!(DialogId::of_request(&scan(&again)).as_ref(), Some(&dialog.id));
        assert!(dialog.take(Update::of_request(&scan(&again)).unwrap()));
        assert_eq!(dialog.next_hop(), "sip:a@192.0.2.9");
        let before = dialog.clone();
        assert!(!dialog.take(Update::of_request(&scan(&again)).unwrap()));
        assert_eq!(dialog, before);
        let silent = subscribe(";tag=t", 6, "");
        assert!(dialog.take(Update::of_request(&scan(&silent)).unwrap()));
        assert_eq!(dialog.next_hop(), "sip:a@192.0.2.9");
    }

    #[test]
    fn what_makes_no_dialog_is_said() {
        for (rows, why) in [
            ("", "Contact Missing"),
            ("Contact: *\r\n", "Bad Contact"),
            ("Contact: <tel:+1>\r\n", "Bad Contact"),
            ("Contact: <sip:a@h>, <sip:b@h>\r\n", "Bad Contact"),
            ("Contact: <sip:a@h>\r\nRecord-Route: p\r\n", "Bad Record-Route"),
        ] {
            assert_eq!(Dialog::begin(&scan(&subscribe("", 1, rows)), "t"), Err(why), "{rows}");
        }
    }
}
