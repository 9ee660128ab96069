//! PUBLISH and SUBSCRIBE: read, authenticated, handed on, answered (RFC 3903, RFC 6665).
//!
//! Prevents that a body is read before its sender is known, and that two faults of one request are judged in the
//! wrong order (RFC 3903 §6). Decides nothing.

use std::sync::Arc;

use bytes::Bytes;

use super::{Answering, Uas};
use crate::presence::agent::{Answer, No};
use crate::presence::package::{ALLOW_EVENTS, LIST_MEDIA, Package};
use crate::presence::publication::{self, Body, Put, tag};
use crate::presence::rlmi::Dialect;
use crate::presence::{lists, pidf};
use crate::refusal::Refusal;
use crate::service::identity::Speaker;
use crate::service::presence::{Again, Asked, Moment};
use crate::sip::dialog::{Dialog, DialogId, Update};
use crate::sip::grammar::is_token;
use crate::sip::header::Params;
use crate::sip::message::{Message, Name};
use crate::sip::uri::Uri;
use crate::types::{Aor, Flow};

/// Characters of an event id.
const ID_MAX: usize = 128;
/// What a 503 asks for when too many watch, in seconds.
const FULL_RETRY: &str = "60";

impl Uas {
    fn proven(&self, message: &Message<'_>, flow: &Flow) -> Result<Speaker, Answering> {
        let speaker = self.identity.speaker(message, flow).map_err(|denial| self.denied(denial))?;
        if let Some(proof) = &speaker.proof
            && !self.identity.count(proof)
        {
            return Err(self.denied(self.identity.replayed(message, flow)));
        }
        Ok(speaker)
    }

    /// The address of ours that a request is for.
    fn addressed(&self, message: &Message<'_>, flow: &Flow) -> Result<Aor, Answering> {
        let uri = message.uri_text().and_then(|text| Uri::parse(text).ok());
        let uri = uri.ok_or_else(|| Answering::of(400, "Bad Request-URI"))?;
        let local = flow.local.ip();
        let named = match uri.user {
            Some(_) => self.domains.address(&uri, local),
            // Lists that come in a body are asked of the domain.
            None => self.focus.manager_of(uri.host, local).map(|manager| (manager, true)),
        };
        named.filter(|(_, served)| *served).map(|(aor, _)| aor).ok_or_else(|| Refusal::NO_SUCH_USER.into())
    }

    // ── PUBLISH ──────────────────────────────────────────────────────────────────────────────────────────

    pub(super) async fn publish(&self, bytes: &Bytes, message: &Message<'_>, flow: Flow) -> Answering {
        let moment = self.presence.moment();
        match self.put(bytes, message, flow) {
            Ok((speaker, put)) => {
                self.presence.publish(moment, speaker, put).await.map_or_else(Answering::from, published)
            }
            Err(answer) => answer,
        }
    }

    /// In the order of RFC 3903 §6: what comes later is left for the one who knows the tags.
    fn put(&self, bytes: &Bytes, message: &Message<'_>, flow: Flow) -> Result<(Speaker, Put), Answering> {
        let speaker = self.proven(message, &flow)?;
        let who = self.addressed(message, &flow)?;
        if who != speaker.aor {
            return Err(match self.presence.exists(&who).map_err(Answering::from)? {
                true => Refusal::NOT_YOUR_ACCOUNT.into(),
                false => Refusal::NO_SUCH_USER.into(),
            });
        }
        // A tag that holds was given to a person.
        if message.get(Name::SipIfMatch).is_none()
            && self.focus.is_no_person(&who).map_err(Answering::from)?
        {
            return Err(Refusal::NOT_A_PERSON.into());
        }
        if !event(message).is_some_and(|(package, _)| package == Package::Presence) {
            return Err(bad_event());
        }
        let mut tags = message.list(Name::SipIfMatch);
        let etag = tags.next().map(|value| String::from_utf8_lossy(value).into());
        if tags.next().is_some() {
            return Err(Answering::of(400, "Two Entity-Tags"));
        }
        let body = self.published_body(bytes, message, &who);
        let phone = self.registrar.phone_at(&who, &flow);
        // Proxies put theirs above it.
        let from = message.vias().filter_map(Result::ok).last().map(|via| via.sent_by).unwrap_or_default();
        let digest = self.ids.body(&[from.as_bytes(), b" ", message.body()].concat());
        Ok((speaker, Put { etag, expires: message.expires(), phone, digest, body }))
    }

    fn published_body(&self, bytes: &Bytes, message: &Message<'_>, who: &Aor) -> Body {
        if message.body().is_empty() {
            return Body::None;
        }
        let kind = message.content_type().unwrap_or_default();
        if media_of(kind) != Package::Presence.row().media {
            return Body::WrongType;
        }
        match self.unpacked(bytes, message, Some(kind)) {
            Ok(body) => match pidf::read(&body, who) {
                Ok(published) => Body::Pidf(body, Arc::new(published)),
                Err(refused) => Body::Bad(Refusal::from(refused).reason),
            },
            Err(_) => Body::WrongType,
        }
    }

    // ── SUBSCRIBE ────────────────────────────────────────────────────────────────────────────────────────

    pub(super) async fn subscribe(
        &self,
        bytes: &Bytes,
        message: &Message<'_>,
        flow: Flow,
        tag: &str,
    ) -> Answering {
        let moment = self.presence.moment();
        let speaker = match self.proven(message, &flow) {
            Ok(speaker) => speaker,
            Err(answer) => return answer,
        };
        let begun = match DialogId::of_request(message) {
            Some(id) => self.again(bytes, message, flow, (moment, speaker), id).await,
            None => self.begin(bytes, message, flow, (moment, speaker), tag).await,
        };
        match begun {
            Ok(answer) => subscribed(message, answer),
            Err(answer) => answer,
        }
    }

    async fn begin(
        &self,
        bytes: &Bytes,
        message: &Message<'_>,
        flow: Flow,
        (moment, speaker): (Moment, Speaker),
        tag: &str,
    ) -> Result<Answer, Answering> {
        let address = self.addressed(message, &flow)?;
        let (package, event_id) = event(message).ok_or_else(bad_event)?;
        let list = self.listed(bytes, message, package)?;
        // Who names what he takes and leaves out what lists are told in does not take them (RFC 4662 §4.5).
        let takes_lists = list.is_some()
            || (has_tag(message, Name::Supported, "eventlist") && accepts(message, package, true));
        if !accepts(message, package, list.is_some()) {
            return Err(Answering::of(406, "Not Acceptable"));
        }
        let dialog = Dialog::begin(message, tag).map_err(|reason| Answering::of(400, reason))?;
        let uri = message.uri_text().unwrap_or_default().into();
        let expires = message.expires();
        let dialect = Dialect::of(message.text(Name::UserAgent));
        let asked = Asked {
            speaker,
            dialog,
            flow,
            package,
            event_id,
            address,
            uri,
            expires,
            takes_lists,
            dialect,
            list,
        };
        self.presence.subscribe(moment, asked).await.map_err(Answering::from)?.map_err(Answering::from)
    }

    async fn again(
        &self,
        bytes: &Bytes,
        message: &Message<'_>,
        flow: Flow,
        (moment, speaker): (Moment, Speaker),
        id: DialogId,
    ) -> Result<Answer, Answering> {
        let (package, event_id) = event(message).ok_or_else(bad_event)?;
        let list = self.listed(bytes, message, package)?;
        let update = Update::of_request(message).map_err(|reason| Answering::of(400, reason))?;
        let expires = message.expires();
        let again = Again { speaker, id, update, flow, package, event_id, expires, list };
        self.presence.refresh(moment, again).await.map_err(Answering::from)
    }

    /// The list in the body, if it is asked for one (RFC 5367 §5).
    fn listed(
        &self,
        bytes: &Bytes,
        message: &Message<'_>,
        package: Package,
    ) -> Result<Option<Vec<lists::Entry>>, Answering> {
        if !has_tag(message, Name::Require, lists::OPTION) || message.body().is_empty() {
            return Ok(None);
        }
        if package != Package::Presence {
            return Err(bad_event());
        }
        let kind = message.content_type();
        let body = self.unpacked(bytes, message, kind)?;
        match lists::read(kind, &body) {
            Ok(list) => Ok(Some(list)),
            Err(lists::NoList::Malformed) => Err(Refusal::NO_LIST.into()),
            Err(lists::NoList::TooLong) => Err(Refusal::LIST_TOO_LONG.into()),
        }
    }
}

fn published(answer: Answer) -> Answering {
    match answer {
        Answer::Published(Ok(done)) => Answering::of(200, "OK")
            .with("SIP-ETag", tag(done.etag))
            .with("Expires", done.expires.to_string()),
        Answer::Published(Err(refused)) => match refused {
            publication::Refused::NoSuchTag => Answering::of(412, "Conditional Request Failed"),
            publication::Refused::TooBrief(min) => too_brief(min),
            publication::Refused::WrongType => {
                Answering::of(415, "Unsupported Media Type").with("Accept", Package::Presence.row().media)
            }
            publication::Refused::Bad(reason) => Answering::of(400, reason),
        },
        Answer::No(no) => refused(no),
        Answer::Subscribed { .. } => Answering::of(500, "Server Internal Error"),
    }
}

fn subscribed(message: &Message<'_>, answer: Answer) -> Answering {
    match answer {
        Answer::Subscribed { seconds, contact, is_list } => {
            let mut answer = Answering::of(200, "OK");
            // The route set of the dialog (RFC 3261 §12.1.1).
            for row in message.all(Name::RecordRoute) {
                answer = answer.with("Record-Route", String::from_utf8_lossy(row));
            }
            answer = answer.with("Contact", &*contact).with("Expires", seconds.to_string());
            match is_list {
                true => answer.with("Require", "eventlist"),
                false => answer.with("Supported", "eventlist"),
            }
        }
        Answer::No(no) => refused(no),
        Answer::Published(_) => Answering::of(500, "Server Internal Error"),
    }
}

fn refused(no: No) -> Answering {
    match no {
        No::Unknown => Answering::of(481, "Subscription Does Not Exist"),
        No::OutOfOrder => Answering::of(500, "CSeq Out of Order"),
        No::TooBrief(min) => too_brief(min),
        No::WatcherFull => Answering::of(403, "Too Many Subscriptions"),
        No::Full => Answering::of(503, "Too Many Subscriptions").with("Retry-After", FULL_RETRY),
        No::Unreachable => Answering::of(400, "Contact Cannot Be Reached"),
    }
}

fn too_brief(min: u32) -> Answering {
    Answering::of(423, "Interval Too Brief").with("Min-Expires", min.to_string())
}

fn bad_event() -> Answering {
    Answering::of(489, "Bad Event").with("Allow-Events", ALLOW_EVENTS.join(", "))
}

/// The package of Event, and its id (RFC 6665 §8.2.1).
fn event(message: &Message<'_>) -> Option<(Package, Option<Box<str>>)> {
    let value = message.text(Name::Event)?;
    let (name, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
    let mut id = None;
    Params::parse(rest, |name, value| {
        if name.eq_ignore_ascii_case("id") {
            id = value;
        }
    })
    .ok()?;
    // It is repeated in a header: only what a token holds (RFC 6665 §8.4).
    let fits = |id: &&str| id.len() <= ID_MAX && is_token(id.as_bytes());
    let id = match id {
        Some(id) => Some(Some(id).filter(fits)?.into()),
        None => None,
    };
    Some((Package::of_name(name.trim())?, id))
}

fn has_tag(message: &Message<'_>, name: Name, option: &str) -> bool {
    message.list(name).any(|tag| tag.eq_ignore_ascii_case(option.as_bytes()))
}

fn media_of(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether Accept leaves room for what would be sent; without it the package's own type is meant (RFC 6665 §3.1.3).
fn accepts(message: &Message<'_>, package: Package, is_list: bool) -> bool {
    let listed: Vec<String> = message
        .list(Name::Accept)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .map(media_of)
        .collect();
    let takes = |kind: &str| {
        let group = kind.split('/').next().unwrap_or_default();
        listed.iter().any(|known| known == kind || known == "*/*" || *known == format!("{group}/*"))
    };
    listed.is_empty() || (takes(package.row().media) && (!is_list || LIST_MEDIA.into_iter().all(takes)))
}
