//! Requests: authenticate → service → response. Reads SIP, writes SIP, decides nothing.

mod presence;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, error, warn};

use crate::chat::content::content;
use crate::chat::ids::Ids;
use crate::chat::lists::OPTION;
use crate::chat::phones::{LEARNED_MAX, media};
use crate::refusal::{Fault, Refusal};
use crate::registration::{self, Request};
use crate::service::clock::Clock;
use crate::service::domains::Domains;
use crate::service::focus::{Focus, Incoming, Reply};
use crate::service::identity::{Denial, Identity, Proof, Speaker};
use crate::service::presence::Presence;
use crate::service::registrar::{No, Registrar};
use crate::service::relay::Relay;
use crate::sip::encoding::{ACCEPTED, Encoding, NotUnpacked, encoding, inflate};
use crate::sip::endpoint::Keep;
use crate::sip::header::{date_rfc3261, parse_date};
use crate::sip::message::{Framing, Limits, Message, Name};
use crate::sip::uri::Uri;
use crate::sip::write::Response;
use crate::store::Store;
use crate::types::{Accepted, Answer, Aor, Flow, UnixMs};

/// What 503 asks for while the store takes no writes, in seconds.
const RETRY_AFTER: &str = "10";
/// A longer Call-ID is not repeated in In-Reply-To: the copies would not fit a datagram (RFC 3428 §8).
const CALL_ID_MAX: usize = 200;
/// The Call-IDs of In-Reply-To, in bytes.
const IN_REPLY_TO_MAX: usize = 400;
/// Header lines of a direct message that are passed on, in bytes.
const PASSED_MAX: usize = 4096;
/// Seconds that a sender's Date may be ahead of our clock: a phone whose time zone is set wrong.
const DATE_AHEAD_MAX: i64 = 86_400;
/// How names begin that are a matter between two neighbours alone (RFC 3329); FreeSWITCH takes for a loop whatever comes
/// back with its own.
const NEXT_DOOR: [&str; 2] = ["security-", "x-fs-sending-message"];
/// Headers of a direct message that are never passed on, or are made anew (spec §4).
const NOT_PASSED: &[Name] = &[
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::Contact,
    Name::ContentType,
    Name::ContentEncoding,
    Name::ContentLength,
    Name::Authorization,
    Name::ProxyAuthorization,
    Name::WwwAuthenticate,
    Name::Route,
    Name::RecordRoute,
    Name::Path,
    Name::Supported,
    Name::Require,
    Name::ProxyRequire,
    Name::Accept,
    Name::Allow,
    Name::UserAgent,
    Name::PAssertedIdentity,
    Name::PPreferredIdentity,
    Name::Privacy,
];

/// What every request goes through.
pub struct Uas {
    pub identity: Arc<Identity>,
    pub registrar: Arc<Registrar>,
    pub focus: Arc<Focus>,
    pub relay: Arc<Relay>,
    pub presence: Arc<Presence>,
    pub domains: Arc<Domains>,
    pub store: Store,
    pub clock: Clock,
    pub ids: Ids,
    pub limits: Limits,
    /// 64·T1 in milliseconds: how long a request may come again with a fresh challenge.
    pub patience_ms: UnixMs,
}

/// An answer in the making: status, reason, further headers.
struct Answering {
    status: u16,
    reason: String,
    headers: Vec<(&'static str, String)>,
    keep: Keep,
}

impl Answering {
    fn of(status: u16, reason: &str) -> Answering {
        Answering { status, reason: reason.into(), headers: Vec::new(), keep: Keep::Cached }
    }
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Answering {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Reply> for Answering {
    fn from(reply: Reply) -> Answering {
        let answer = Answering::of(reply.status, reply.reason);
        let answer = match reply.retry_after {
            Some(seconds) => answer.with("Retry-After", seconds.to_string()),
            None => answer,
        };
        match reply.accept {
            Some(accept) => answer.with("Accept", &*accept),
            None => answer,
        }
    }
}

impl From<Refusal> for Answering {
    fn from(refusal: Refusal) -> Answering {
        Answering::of(refusal.status, refusal.reason)
    }
}

impl From<Fault> for Answering {
    fn from(fault: Fault) -> Answering {
        error!(%fault, "request not served");
        match fault {
            Fault::Unavailable(_) => {
                Answering::of(503, "Service Unavailable").with("Retry-After", RETRY_AFTER)
            }
            Fault::Corrupt(_) | Fault::Internal(_) => Answering::of(500, "Server Internal Error"),
        }
    }
}

impl Uas {
    /// The answer to a request that can be refused without looking anything up.
    pub fn screen(&self, message: &Message<'_>, flow: &Flow, tag: &str) -> Option<Bytes> {
        let denial = self.identity.screen(message, flow)?;
        if message.method() == Some("MESSAGE") && self.is_our_own(message) {
            // Whoever returns it: a challenge would end its delivery, this means away (spec §5.7).
            return Some(self.write(message, flow, tag, Refusal::OWN_COPY.into()));
        }
        Some(self.write(message, flow, tag, self.denied(denial)))
    }

    /// The answer to a request, and how long it is remembered.
    pub async fn serve(&self, bytes: &Bytes, flow: Flow, tag: &str) -> Option<(Bytes, Keep)> {
        let framing = if flow.transport.is_stream() { Framing::Stream } else { Framing::Datagram };
        let message = Message::scan(bytes, framing, &self.limits).ok()?;
        let answer = match message.method() {
            Some("REGISTER") => self.register(&message, flow).await,
            Some("MESSAGE") => self.message(bytes, &message, flow).await,
            Some("PUBLISH") => self.publish(bytes, &message, flow).await,
            Some("SUBSCRIBE") => self.subscribe(bytes, &message, flow, tag).await,
            Some("NOTIFY") => self.stray(&message, flow),
            // The endpoint lets nothing else through.
            _ => Answering::of(501, "Not Implemented"),
        };
        let keep = answer.keep;
        Some((self.write(&message, &flow, tag, answer), keep))
    }

    /// Whether this is a post: judged by what is in memory, then waiting for the disk. Commands may read long
    /// lists, and registrations are written and read; those are for the runtime. So is what people publish: read on
    /// the shard's thread, a storm of it takes from the rooms what their datagrams need to be heard at all.
    pub fn never_blocks(&self, bytes: &Bytes, flow: &Flow) -> bool {
        let start = self.focus.start.as_bytes();
        let body = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| &bytes[at + 4..]);
        bytes.starts_with(b"MESSAGE ")
            && body.is_some_and(|body| !body.starts_with(start))
            && !self.identity.proves_itself(flow)
    }

    fn write(&self, message: &Message<'_>, flow: &Flow, tag: &str, answer: Answering) -> Bytes {
        let extra: Vec<(&str, &str)> =
            answer.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut out = Vec::with_capacity(512);
        let response =
            Response { code: answer.status, reason: &answer.reason, to_tag: tag, extra: &extra, body: &[] };
        response.write(&mut out, message, flow.remote);
        out.into()
    }

    fn denied(&self, denial: Denial) -> Answering {
        match denial {
            Denial::Challenge { realm, stale } => {
                let challenges = self.identity.challenges(&realm, stale);
                let headers = challenges.into_iter().map(|value| ("WWW-Authenticate", value)).collect();
                Answering { headers, keep: Keep::Stateless, ..Answering::of(401, "Unauthorized") }
            }
            Denial::Refused(refusal) => refusal.into(),
            Denial::Fault(fault) => fault.into(),
        }
    }

    /// A NOTIFY: we watch nobody, so it belongs to no subscription (RFC 6665 §4.1.3). Who has not shown who he is is
    /// asked first, as for all that could change something (spec §3).
    fn stray(&self, message: &Message<'_>, flow: Flow) -> Answering {
        match self.identity.speaker(message, &flow) {
            Err(denial @ Denial::Challenge { .. }) => self.denied(denial),
            _ => Answering::of(481, "Subscription Does Not Exist"),
        }
    }

    // ── REGISTER ─────────────────────────────────────────────────────────────────────────────────────────

    async fn register(&self, message: &Message<'_>, flow: Flow) -> Answering {
        let local = flow.local.ip();
        let Some(uri) = message.uri_text().and_then(|text| Uri::parse(text).ok()) else {
            return Answering::of(400, "Bad Request-URI");
        };
        // RFC 3261 §10.2: the Request-URI names the domain alone. Phones that add a user are forgiven.
        if self.domains.canonical(uri.host, local).is_none() {
            return Refusal::NO_SUCH_DOMAIN.into();
        }
        let speaker = match self.identity.registrant(message, &flow) {
            Ok(speaker) => speaker,
            Err(denial) => return self.denied(denial),
        };
        if let Some(proof) = &speaker.proof
            && !self.identity.count(proof)
        {
            return self.denied(self.identity.replayed(message, &flow));
        }
        let request = match Request::from_message(message, flow, speaker.trusted) {
            Ok(request) => request,
            Err(refused) => return refused_registration(refused),
        };
        if self.focus.is_manager(&speaker.aor) {
            return Refusal::IS_THE_MANAGER.into();
        }
        match self.focus.is_anothers(&speaker.aor) {
            Ok(true) => return Refusal::RESERVED.into(),
            Ok(false) => {}
            Err(fault) => return fault.into(),
        }
        match self.registrar.register(&speaker.aor, &request).await {
            Ok(bindings) => {
                self.call(&speaker.aor, request.name.as_deref()).await;
                let mut answer = Answering::of(200, "OK");
                answer.headers = registration::answer(&request, &bindings, self.clock.steady());
                let timer = self.registrar.flow_timer(&request);
                answer.headers.extend(timer.map(|seconds| ("Flow-Timer", seconds.to_string())));
                answer.with("Date", date_rfc3261(self.clock.wall().div_euclid(1000)))
            }
            Err(No::Refused(refused)) => refused_registration(refused),
            Err(No::Domain(refusal)) => refusal.into(),
            Err(No::Fault(fault)) => fault.into(),
        }
    }

    /// What the speaker calls himself in From, if it is he who stands there.
    fn name(&self, message: &Message<'_>, speaker: &Aor, local: IpAddr) -> Option<String> {
        let from = message.from()?;
        let name = from.display_text().as_deref().and_then(registration::clean)?;
        let (who, _) = self.domains.address(&from.uri()?, local)?;
        (who == *speaker).then_some(name)
    }

    /// Keeps the name that a phone registers with. Without it, nothing is lost but the name.
    async fn call(&self, who: &Aor, name: Option<&str>) {
        let Some(name) = name else { return };
        let told = match self.store.account(who) {
            Ok(Some(account)) if account.name.as_deref() != Some(name) => self.store.called(who, name).await,
            other => other.map(drop),
        };
        if let Err(fault) = told {
            warn!(account = %who, %fault, "a display name is not kept");
        }
    }

    // ── MESSAGE ──────────────────────────────────────────────────────────────────────────────────────────

    async fn message(&self, bytes: &Bytes, message: &Message<'_>, flow: Flow) -> Answering {
        if self.is_our_own(message) {
            return Refusal::OWN_COPY.into();
        }
        let speaker = match self.identity.speaker(message, &flow) {
            Ok(speaker) => speaker,
            Err(denial) => return self.denied(denial),
        };
        if self.goes_round(message, &speaker, flow.local.ip()) {
            return Refusal::ROUND.into();
        }
        let uri = message.uri_text().and_then(|text| Uri::parse(text).ok());
        let Some(uri) = uri else { return Answering::of(400, "Bad Request-URI") };
        // A list goes to the domain, or to the manager (RFC 5365 §7).
        let listed = message.list(Name::Require).any(|tag| tag.eq_ignore_ascii_case(OPTION.as_bytes()));
        let explodes = listed && uri.user.is_none();
        let named = match explodes {
            true => self.focus.manager_of(uri.host, flow.local.ip()).map(|manager| (manager, true)),
            false => self.domains.address(&uri, flow.local.ip()),
        };
        let Some((target, served)) = named else { return Refusal::NO_SUCH_USER.into() };
        let explodes = listed && self.focus.is_manager(&target);
        let said = match self.incoming(bytes, message, flow, speaker, target, served) {
            Ok(said) => said,
            Err(answer) => return answer,
        };
        if let Some(proof) = &said.speaker.proof {
            match self.repeat(message, &said, proof) {
                Ok(Some(answer)) => return Reply::from(answer).into(),
                Ok(None) if !self.identity.count(proof) => {
                    return self.denied(self.identity.replayed(message, &flow));
                }
                Ok(None) => {}
                Err(fault) => return fault.into(),
            }
        }
        if !served && !self.focus.may_write_abroad(&said.speaker) {
            return Refusal::DOMAIN_NOT_SERVED.into();
        }
        if !served && uri.is_sips() && !self.registrar.has_proxy() {
            // Abroad goes nothing sealed, and in the clear is not what he asked for (RFC 3261 §26.2.2).
            return Refusal::SCHEME.into();
        }
        let heard = match explodes {
            true => self.focus.explode(&said, passed_lines(message, self.clock.wall()).into()).await,
            false => self.hear(said, message).await,
        };
        match heard {
            Ok(reply) => reply.into(),
            Err(fault) => fault.into(),
        }
    }

    /// What a phone sends, or lists in Accept, it can show (spec §4).
    async fn learn(&self, who: &Aor, flow: &Flow, message: &Message<'_>) {
        let sent = message.get(Name::ContentType).and_then(|_| message.content_type());
        let listed = message.list(Name::Accept).filter_map(|value| std::str::from_utf8(value).ok());
        let types: Vec<String> = listed
            .chain(sent)
            .map(media)
            .filter(|kind| kind != "text/plain" && kind.len() <= 64 && kind.is_ascii())
            .take(LEARNED_MAX)
            .collect();
        if !types.is_empty() {
            self.registrar.heard(who, flow, types).await;
        }
    }

    async fn hear(&self, mut said: Incoming, message: &Message<'_>) -> Result<Reply, Fault> {
        let behind_proxy = self.registrar.has_proxy();
        let account = self.store.account(&said.speaker.aor)?;
        let known = account.as_ref().is_some_and(|account| account.registered);
        if !known && self.focus.is_no_person(&said.speaker.aor)? {
            // What a peer says in the name of our room came from it: tried again it would be no better.
            let refusal = if said.speaker.trusted { Refusal::ROUND } else { Refusal::NOT_A_PERSON };
            return Ok(refusal.into());
        }
        match account {
            Some(account) => {
                self.focus.delivery.alive(account.id, said.flow.remote);
                self.learn(&account.address, &said.flow, message).await;
                let name = said.name.as_deref().filter(|_| said.max_forwards > 0);
                if let Some(name) = name.filter(|name| account.name.as_deref() != Some(name)) {
                    self.store.called(&account.address, name).await?;
                }
                // Everybody knows him by his first spelling (spec §3).
                said.speaker.aor = account.address;
            }
            // Whoever speaks is known from now on, and reached through the proxy (spec §3).
            None if behind_proxy && !said.speaker.foreign && said.max_forwards > 0 => {
                self.store.meet(&said.speaker.aor).await?;
            }
            None => {}
        }
        let said = &said;
        if said.is_abroad {
            return self.relay.hear(said, passed_lines(message, self.clock.wall()).into()).await;
        }
        let to_room = self.focus.is_manager(&said.target) || self.store.room(&said.target)?.is_some();
        let to_person = self.focus.is_account(&said.target)? || (behind_proxy && said.speaker.trusted);
        if !to_room && to_person && !self.focus.makes_a_room(said) {
            return self.relay.hear(said, passed_lines(message, self.clock.wall()).into()).await;
        }
        self.focus.hear(said).await
    }

    /// A copy of ours that somebody sends back: by our Via below the top, or our Call-ID (spec §5.7).
    fn is_our_own(&self, message: &Message<'_>) -> bool {
        let ours = |branch: Option<&str>| branch.is_some_and(|branch| self.ids.read_branch(branch).is_some());
        message.call_id().is_some_and(|call_id| self.ids.own_call_id(call_id))
            || message.vias().skip(1).flatten().any(|via| ours(via.branch))
    }

    /// A room of a peer tells us, in an author's name, what a room of ours told it: by the Call-IDs that it answers.
    /// Where rooms of two servers are members of each other it would go round for ever.
    fn goes_round(&self, message: &Message<'_>, speaker: &Speaker, local: IpAddr) -> bool {
        let is_ours =
            |id: &[u8]| std::str::from_utf8(id).is_ok_and(|id| self.ids.own_call_id(id.trim_ascii()));
        if !speaker.trusted || !message.list(Name::InReplyTo).any(is_ours) {
            return false;
        }
        let from = message.from().and_then(|from| from.uri());
        from.and_then(|uri| self.domains.address(&uri, local)).is_none_or(|(from, _)| from != speaker.aor)
    }

    fn incoming(
        &self,
        bytes: &Bytes,
        message: &Message<'_>,
        flow: Flow,
        speaker: Speaker,
        target: Aor,
        served: bool,
    ) -> Result<Incoming, Answering> {
        let (Some((cseq, _)), Some(call_id)) = (message.cseq(), message.call_id()) else {
            return Err(Answering::of(400, "Bad Request"));
        };
        let content_type = message.get(Name::ContentType).map(|_| message.content_type());
        let content_type = match content_type {
            // What cannot be read cannot be passed on either.
            Some(None) => return Err(Answering::of(400, "Bad Content-Type")),
            Some(Some("")) => None,
            Some(Some(value)) => Some(visible(value)),
            None => None,
        };
        let body = self.unpacked(bytes, message, content_type.as_deref())?;
        let now = self.clock.wall();
        let origin = self.origin(&speaker.aor, &target, message, cseq);
        let source = self.registrar.device_at(&speaker.aor, &flow);
        let headers = in_reply_to(message, call_id, speaker.trusted);
        let privacy = |value: &[u8]| value.split(|c| *c == b';').any(|part| part.trim_ascii() == b"id");
        Ok(Incoming {
            target,
            is_abroad: !served,
            name: self.name(message, &speaker.aor, flow.local.ip()),
            source,
            content_type: content_type.map(Into::into),
            body,
            max_forwards: message.max_forwards().unwrap_or(70),
            headers: headers.into(),
            life: life(message, now),
            private: message.all(Name::Privacy).any(privacy),
            accepted: Accepted {
                origin,
                answer: Answer { status: 202 },
                body: self.ids.body(message.body()),
                // By the clock of the nonces, with which it is compared.
                at: self.clock.steady(),
            },
            speaker,
            flow,
        })
    }

    /// The body as it was before its Content-Encoding.
    fn unpacked(
        &self,
        bytes: &Bytes,
        message: &Message<'_>,
        content_type: Option<&str>,
    ) -> Result<Bytes, Answering> {
        let packed = bytes.slice_ref(message.body());
        let unpacked = match encoding(message.text(Name::ContentEncoding).unwrap_or_default()) {
            Encoding::Identity => return Ok(packed),
            Encoding::Deflate => inflate(&packed, self.limits.body),
            Encoding::Unknown => Err(NotUnpacked::Broken),
        };
        match unpacked {
            Ok(body) => Ok(body.into()),
            // Typing notices and receipts are known by their type, and answered whatever is in them (spec §4).
            Err(_) if content(content_type).is_automatic() => Ok(Bytes::new()),
            Err(NotUnpacked::TooLarge) => Err(Refusal::TOO_LARGE.into()),
            Err(NotUnpacked::Broken) => {
                Err(Answering::of(415, "Unsupported Media Type").with("Accept-Encoding", ACCEPTED))
            }
        }
    }

    fn origin(&self, speaker: &Aor, target: &Aor, message: &Message<'_>, cseq: u32) -> [u8; 16] {
        let tag = message.from().and_then(|from| from.tag()).unwrap_or_default();
        self.ids.origin(&[
            speaker.key().as_bytes(),
            target.key().as_bytes(),
            tag.as_bytes(),
            message.call_id().unwrap_or_default().as_bytes(),
            &cseq.to_be_bytes(),
        ])
    }

    /// What this request, or the same before a fresh challenge, was answered (spec §5.7).
    fn repeat(&self, message: &Message<'_>, said: &Incoming, proof: &Proof) -> Result<Option<Answer>, Fault> {
        if let Some(known) = self.store.accepted(&said.accepted.origin)? {
            return Ok(Some(known.answer));
        }
        let Some(before) = message.cseq().and_then(|(cseq, _)| cseq.checked_sub(1)) else { return Ok(None) };
        let origin = self.origin(&said.speaker.aor, &said.target, message, before);
        let Some(known) = self.store.accepted(&origin)? else { return Ok(None) };
        let age = said.accepted.at - known.at;
        // It was challenged since: its nonce is younger than the acceptance of the first. In the same millisecond a
        // second use of the nonce tells that it is the older one.
        let challenged = proof.issued > known.at || (proof.issued == known.at && proof.nc <= 1);
        let again = known.body == said.accepted.body && challenged && (0..=self.patience_ms).contains(&age);
        if again {
            debug!(from = %said.speaker.aor, "the same message after a fresh challenge");
        }
        Ok(again.then_some(known.answer))
    }
}

fn refused_registration(refused: registration::Refused) -> Answering {
    let answer = Answering::of(refused.status, refused.reason);
    let answer = match refused.min_expires {
        Some(seconds) => answer.with("Min-Expires", seconds.to_string()),
        None => answer,
    };
    if refused.status == 439 { answer.with("Supported", "outbound") } else { answer }
}

/// Without anything that could end a header line.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Seconds that a message wants to live (RFC 3428 §7): its Expires, counted from its Date if that makes sense. 0: now or
/// never.
fn life(message: &Message<'_>, now: UnixMs) -> Option<u32> {
    let expires = message.expires()?;
    let date = message.text(Name::Date).and_then(parse_date).unwrap_or(now / 1000);
    // A clock that goes ahead makes nothing live longer; one that is far behind is no clock.
    let age = (now / 1000 - date).max(0);
    if age > 86_400 * 365 {
        return Some(expires);
    }
    Some(expires.saturating_sub(age.try_into().unwrap_or(u32::MAX)))
}

/// What is caused answers this request, and what this one answers if a peer says so: thus a post that goes round is
/// known where it began.
fn in_reply_to(message: &Message<'_>, call_id: &str, trusted: bool) -> String {
    let earlier = message.list(Name::InReplyTo).filter(|_| trusted);
    let earlier = earlier.filter_map(|id| std::str::from_utf8(id).ok()).map(str::trim);
    let mut line = String::new();
    for id in std::iter::once(call_id).chain(earlier).filter(|id| id.len() <= CALL_ID_MAX) {
        let before = if line.is_empty() { "In-Reply-To: " } else { ", " };
        if line.len() + before.len() + id.len() > IN_REPLY_TO_MAX {
            break;
        }
        line.push_str(before);
        line.push_str(&visible(id));
    }
    if !line.is_empty() {
        line.push_str("\r\n");
    }
    line
}

/// Header lines that a direct message keeps, whole and with CRLF. A Date that cannot be read, or lies ahead of every time
/// zone, is not kept: ours goes in its place.
fn passed_lines(message: &Message<'_>, now: UnixMs) -> String {
    let latest = now / 1000 + DATE_AHEAD_MAX;
    let dated = message.text(Name::Date).and_then(parse_date).is_some_and(|date| date <= latest);
    let mut lines = String::new();
    for (name, spelled, value) in message.headers() {
        let (Ok(spelled), Ok(value)) = (std::str::from_utf8(spelled), std::str::from_utf8(value)) else {
            continue;
        };
        let lower = spelled.to_ascii_lowercase();
        let next_door = NEXT_DOOR.iter().any(|beginning| lower.starts_with(beginning));
        let undated = name == Name::Date && !dated;
        if NOT_PASSED.contains(&name) || next_door || undated || lines.len() + value.len() > PASSED_MAX {
            continue;
        }
        let name = if name == Name::Other { spelled } else { name.text() };
        lines.push_str(&format!("{}: {}\r\n", visible(name), visible(value)));
    }
    lines
}
