//! REGISTER by RFC 3261 §10.3, with Path (RFC 3327) and outbound (RFC 5626 §6): a list of bindings and a request
//! in, the whole new list out.
//!
//! Prevents half-done registrations, old requests that undo newer ones, and a phone that changed its address
//! getting everything twice. Never stores, never reads a clock, never asks who the sender is.

mod read;
mod stored;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use self::read::{MAX_INSTANCE, MAX_LIST, MAX_TEXT, clean, read_expires};
use serde::{Deserialize, Serialize};

use crate::chat::phones::LEARNED_MAX;
use crate::refusal::Refusal;
use crate::sip::uri::{self, Uri};
use crate::types::{DEFAULT_DEVICE, DeviceKey, Flow, Transport, UnixMs};

/// Bytes of a Contact or Path URI.
pub const MAX_URI: usize = 2048;
/// Contacts in one request.
pub const MAX_CONTACTS: usize = 64;
/// Path URIs of one request.
pub const MAX_PATH: usize = 16;
/// What a malformed expiry means, in seconds (RFC 3261 §10.2.1.1); also the limit above which none is too brief
/// (RFC 3261 §10.3 step 7).
const HOUR: u32 = 3600;

/// One registered contact of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The Contact URI as spelled.
    pub contact: String,
    /// `+sip.instance` without its `<>`.
    pub instance: Option<Arc<str>>,
    /// Set only where outbound is applied, so never without an instance.
    pub reg_id: Option<u32>,
    /// Preference in ‰; 1000 if the contact named none.
    pub q: u16,
    /// URIs in the order of the Path rows, which is the order of the Route to it.
    pub path: Vec<String>,
    pub call_id: String,
    pub cseq: u32,
    pub expires_at: UnixMs,
    /// Where the REGISTER came from. `conn` is `None` after a restart.
    pub flow: Flow,
    /// `alice@host:port` as spelled in the To of the REGISTER (spec §3).
    pub to: String,
    /// Display name, unquoted.
    pub name: Option<String>,
    pub user_agent: Option<String>,
    /// Media types that it takes, as listed in Accept.
    pub accept: Vec<String>,
    /// Of the `methods` parameter (RFC 3840 §9), else of Allow; `None`: not told.
    pub methods: Option<Vec<String>>,
    /// When it last registered.
    pub updated_at: UnixMs,
    /// What it showed of itself since; forgotten when its User-Agent changes.
    pub learned: Learned,
}

/// Media types, in lower case, without parameters; at most [`LEARNED_MAX`] each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Learned {
    /// It sent them itself, or listed them in an Accept other than that of its REGISTER.
    pub takes: Vec<String>,
    /// It answered them with 415 or 488.
    pub refuses: Vec<String>,
}

impl Learned {
    /// True: something is new. What is taken is not refused any more, and the other way round.
    pub fn add(&mut self, takes: &[String], refuses: &[String]) -> bool {
        let before = self.clone();
        let put = |media: &String, to: &mut Vec<String>, from: &mut Vec<String>| {
            from.retain(|known| known != media);
            if to.len() < LEARNED_MAX && !to.contains(media) {
                to.push(media.clone());
            }
        };
        takes.iter().for_each(|media| put(media, &mut self.takes, &mut self.refuses));
        refuses.iter().for_each(|media| put(media, &mut self.refuses, &mut self.takes));
        *self != before
    }
}

/// What makes two bindings of one account the same. `Display` gives a text that is unique in the account.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum BindingKey {
    /// RFC 5626 §6.
    Flow { instance: Arc<str>, reg_id: u32 },
    /// The canonical form of the Contact URI.
    Contact(String),
}

impl fmt::Display for BindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindingKey::Flow { instance, reg_id } => write!(f, "<{instance}>;reg-id={reg_id}"),
            BindingKey::Contact(uri) => f.write_str(uri),
        }
    }
}

impl Binding {
    pub fn key(&self) -> BindingKey {
        match (&self.instance, self.reg_id) {
            (Some(instance), Some(reg_id)) => BindingKey::Flow { instance: instance.clone(), reg_id },
            _ => BindingKey::Contact(canonical(&self.contact)),
        }
    }

    /// The device that this contact is, or is one of the ways to.
    pub fn device(&self) -> DeviceKey {
        match &self.instance {
            // An instance is a URN. One that is none must not pass for a name of ours, such as `route`.
            Some(instance) if instance.contains(':') => instance.clone(),
            Some(instance) => format!("instance:{instance}").into(),
            None => DEFAULT_DEVICE.into(),
        }
    }

    /// Whether it is a way for messages: unless it told what it takes, and MESSAGE is not in it (RFC 3428 §9).
    /// It stays registered all the same.
    pub fn takes_messages(&self) -> bool {
        let told = self.methods.as_deref();
        told.is_none_or(|methods| methods.iter().any(|method| method.eq_ignore_ascii_case("MESSAGE")))
    }

    /// The Contact URI as a Request-URI: without `?headers`, which have no place there (RFC 3261 §19.1.1).
    pub fn request_uri(&self) -> &str {
        match Uri::parse(&self.contact).ok().and_then(|uri| uri.headers) {
            Some(headers) => &self.contact[..self.contact.len() - headers.len() - 1],
            None => &self.contact,
        }
    }

    /// Over UDP, not through a Path, and from elsewhere than the Contact says (spec §5.9): it is reached at the
    /// source of its REGISTER, and needs keep-alives. A Contact with a host name counts as elsewhere.
    pub fn behind_nat(&self) -> bool {
        if self.flow.transport != Transport::Udp || !self.path.is_empty() {
            return false;
        }
        let source = self.flow.remote;
        let said = Uri::parse(&self.contact).ok().and_then(|uri| Some((uri.ip()?, uri.port.unwrap_or(5060))));
        said.map(|(ip, port)| (plain(ip), port)) != Some((plain(source.ip()), source.port()))
    }
}

/// An IPv4 address that a dual-stack socket shows as IPv6 is still that IPv4 address.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// One spelling for URIs that differ in case and escapes alone. Finer than RFC 3261 §19.1.4, which is no
/// equivalence: two bindings that may stand side by side never share it.
fn canonical(text: &str) -> String {
    let Ok(uri) = Uri::parse(text) else {
        return text.to_owned();
    };
    let mut out = uri.scheme.to_ascii_lowercase();
    out.push(':');
    if let Some(user) = uri.user {
        // Case counts in the user of a contact; only its escapes are undone.
        out.push_str(uri.aor().as_ref().map_or(user, |aor| aor.user()));
        if let Some(password) = uri.password {
            out.push(':');
            out.push_str(password);
        }
        out.push('@');
    }
    out.push_str(&uri.host.to_ascii_lowercase());
    if let Some(port) = uri.port {
        out.push_str(&format!(":{port}"));
    }
    let mut params: Vec<String> =
        uri.params.as_str().split(';').skip(1).map(str::to_ascii_lowercase).collect();
    params.sort();
    for param in params {
        out.push(';');
        out.push_str(&param);
    }
    if let Some(headers) = uri.headers {
        out.push('?');
        out.push_str(headers);
    }
    out
}

/// A REGISTER, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub contacts: Contacts,
    /// Of the Expires header, in seconds, by [`read_expires`].
    pub expires: Option<u32>,
    pub call_id: String,
    pub cseq: u32,
    /// URIs of the Path rows, in order.
    pub path: Vec<String>,
    pub flow: Flow,
    /// It came from a trusted peer. Only from there is a Path taken.
    pub trusted: bool,
    /// It has one Via: nothing stands between the phone and us (RFC 5626 §6).
    pub direct: bool,
    /// `path` in Supported (RFC 3327 §5.3).
    pub supported_path: bool,
    /// `outbound` in Supported (RFC 5626 §6).
    pub supported_outbound: bool,
    /// As [`Binding::to`], and so on.
    pub to: String,
    pub name: Option<String>,
    pub user_agent: Option<String>,
    pub accept: Vec<String>,
    /// Of Allow.
    pub methods: Option<Vec<String>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Contacts {
    /// No Contact: he asks what is registered (RFC 3261 §10.2.3).
    None,
    /// `*`: all bindings go (RFC 3261 §10.2.2).
    Star,
    List(Vec<ContactIn>),
}

/// One Contact of a REGISTER.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContactIn {
    pub uri: String,
    /// Its own `expires`, in seconds, by [`read_expires`].
    pub expires: Option<u32>,
    /// In ‰.
    pub q: Option<u16>,
    /// Without `<>`.
    pub instance: Option<Arc<str>>,
    pub reg_id: Option<u32>,
    pub methods: Option<Vec<String>>,
}

/// What `[registrar]` of the configuration says. Times in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub min_expires: u32,
    pub default_expires: u32,
    pub max_expires: u32,
    pub max_contacts: usize,
}

/// A REGISTER that changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    pub status: u16,
    pub reason: &'static str,
    /// Seconds, for the Min-Expires header of a 423.
    pub min_expires: Option<u32>,
}

const fn refused(status: u16, reason: &'static str) -> Refused {
    Refused { status, reason, min_expires: None }
}

impl From<Refusal> for Refused {
    fn from(Refusal { status, reason }: Refusal) -> Refused {
        refused(status, reason)
    }
}

const BAD_STAR: Refused = refused(400, "Contact * Needs Expires: 0 and Stands Alone");
const BAD_CONTACT: Refused = refused(400, "Bad Contact");
const BAD_PATH: Refused = refused(400, "Bad Path");
const TOO_MANY_CONTACTS: Refused = refused(400, "Too Many Contacts");
const ONE_FLOW: Refused = refused(400, "One Contact at a Time with reg-id");
const NO_OUTBOUND: Refused = refused(439, "First Hop Lacks Outbound Support");
const OUT_OF_ORDER: Refused = refused(500, "CSeq Out of Order");

impl Request {
    /// Whether reg-id counts here: the first hop, if it is not us, must keep flows (RFC 5626 §6).
    fn keeps_flows(&self) -> bool {
        self.direct
            || self
                .path
                .first()
                .and_then(|first| Uri::parse(first).ok())
                .is_some_and(|first| first.param("ob").is_some())
    }

    /// Whether the 200 says `Require: outbound` (RFC 5626 §6).
    pub fn applies_outbound(&self) -> bool {
        let Contacts::List(contacts) = &self.contacts else {
            return false;
        };
        let flows = contacts.iter().any(|c| c.instance.is_some() && c.reg_id.is_some());
        self.supported_outbound && flows && self.keeps_flows()
    }

    /// Whether a phone at the other end of this connection keeps it alive, if it is asked to (RFC 5626 §6).
    pub fn keeps_alive(&self) -> bool {
        self.direct && self.flow.transport.is_stream() && self.applies_outbound()
    }

    /// It was sent before the request that made this binding (RFC 3261 §10.3 step 7). Another Call-ID is another
    /// life of the phone and always newer.
    fn is_older_than(&self, binding: &Binding) -> bool {
        self.call_id == binding.call_id && self.cseq <= binding.cseq
    }
}

/// What a REGISTER makes of the bindings of its account: the whole new list, or why nothing changes. Expired
/// bindings are not in the new list. No request is refused for too many bindings: the longest unseen go.
pub fn decide(
    existing: &[Binding],
    request: &Request,
    rules: &Rules,
    now: UnixMs,
) -> Result<Vec<Binding>, Refused> {
    check_path(request)?;
    let mut kept: Vec<Binding> = existing.iter().filter(|b| b.expires_at > now).cloned().collect();
    match &request.contacts {
        Contacts::None => {}
        Contacts::Star if request.expires != Some(0) => return Err(BAD_STAR),
        Contacts::Star if kept.iter().any(|b| request.is_older_than(b)) => return Err(OUT_OF_ORDER),
        Contacts::Star => kept.clear(),
        Contacts::List(contacts) => {
            let made = bind(&mut kept, contacts, request, rules, now)?;
            kept.extend(made);
            while kept.len() > rules.max_contacts.max(1) {
                let longest_unseen = kept.iter().enumerate().min_by_key(|(_, b)| b.updated_at);
                let Some((at, _)) = longest_unseen else { break };
                kept.remove(at);
            }
        }
    }
    Ok(kept)
}

fn check_path(request: &Request) -> Result<(), Refused> {
    if request.path.is_empty() {
        return Ok(());
    }
    if !request.trusted {
        return Err(Refusal::PATH_NOT_TRUSTED.into());
    }
    if request.path.len() > MAX_PATH || request.path.iter().any(|uri| reachable(uri).is_none()) {
        return Err(BAD_PATH);
    }
    Ok(())
}

/// A URI that a request can be sent to.
fn reachable(text: &str) -> Option<Uri<'_>> {
    if text.len() > MAX_URI {
        return None;
    }
    let sip = |uri: &Uri| uri.is_sips() || uri.scheme.eq_ignore_ascii_case("sip");
    Uri::parse(text).ok().filter(|uri| sip(uri) && !uri.host.is_empty())
}

/// A contact that obeys the grammar and the limits.
struct Wanted<'a> {
    contact: &'a ContactIn,
    uri: Uri<'a>,
    /// 0: it goes.
    seconds: u32,
    /// Only where outbound is applied.
    reg_id: Option<u32>,
}

impl Wanted<'_> {
    /// The binding that this contact is about (RFC 3261 §10.3 step 7, RFC 5626 §6). With a reg-id the same URI
    /// may stand in several bindings, one a flow.
    fn names(&self, binding: &Binding) -> bool {
        if self.reg_id.is_some() && binding.reg_id.is_some() {
            return self.reg_id == binding.reg_id && self.contact.instance == binding.instance;
        }
        // A URI that names a parameter twice does not even equal itself; keys must differ all the same.
        Uri::parse(&binding.contact).is_ok_and(|old| uri::equal(&old, &self.uri))
            || canonical(&binding.contact) == canonical(&self.contact.uri)
    }

    /// A binding that the same phone made from another address, or before it used flows. Taking leave with one
    /// contact says nothing about the others.
    fn replaces(&self, binding: &Binding) -> bool {
        self.seconds > 0
            && self.contact.instance.is_some()
            && self.contact.instance == binding.instance
            && (self.reg_id.is_none() || binding.reg_id.is_none())
    }
}

/// Checks all contacts before any is taken (RFC 3261 §10.3 step 7: all or none), takes those that they are about
/// from `kept`, and gives the new bindings.
fn bind(
    kept: &mut Vec<Binding>,
    contacts: &[ContactIn],
    request: &Request,
    rules: &Rules,
    now: UnixMs,
) -> Result<Vec<Binding>, Refused> {
    if contacts.len() > MAX_CONTACTS {
        return Err(TOO_MANY_CONTACTS);
    }
    let wanted: Vec<Wanted> =
        contacts.iter().map(|contact| want(contact, request, rules)).collect::<Result<_, _>>()?;
    let flows = |w: &&Wanted| w.contact.instance.is_some() && w.contact.reg_id.is_some();
    let staying = || wanted.iter().filter(|w| w.seconds > 0);
    if staying().count() > 1 && staying().any(|w| flows(&w)) {
        return Err(ONE_FLOW);
    }
    let mut made: Vec<Binding> = Vec::new();
    for w in &wanted {
        let concerns = |b: &Binding| w.names(b) || w.replaces(b);
        if kept.iter().any(|b| concerns(b) && request.is_older_than(b)) {
            return Err(OUT_OF_ORDER);
        }
        let same_phone = |b: &&Binding| concerns(b) && b.user_agent == request.user_agent;
        let learned = kept.iter().find(same_phone).map(|b| b.learned.clone()).unwrap_or_default();
        kept.retain(|b| !concerns(b));
        // Named twice in one request, the later word counts.
        made.retain(|b| !w.names(b));
        if w.seconds > 0 {
            made.push(Binding { learned, ..binding(w, request, now) });
        }
    }
    Ok(made)
}

fn want<'a>(contact: &'a ContactIn, request: &Request, rules: &Rules) -> Result<Wanted<'a>, Refused> {
    let uri = reachable(&contact.uri).ok_or(BAD_CONTACT)?;
    let asked = contact.expires.or(request.expires);
    if asked.is_some_and(|s| s > 0 && s < HOUR && s < rules.min_expires) {
        return Err(Refused { min_expires: Some(rules.min_expires), ..refused(423, "Interval Too Brief") });
    }
    let reg_id = contact.reg_id.filter(|_| contact.instance.is_some());
    if reg_id.is_some() && !request.keeps_flows() && request.supported_outbound {
        return Err(NO_OUTBOUND);
    }
    Ok(Wanted {
        contact,
        uri,
        seconds: asked.unwrap_or(rules.default_expires).min(rules.max_expires),
        reg_id: reg_id.filter(|_| request.keeps_flows()),
    })
}

fn binding(wanted: &Wanted<'_>, request: &Request, now: UnixMs) -> Binding {
    let contact = wanted.contact;
    Binding {
        contact: contact.uri.clone(),
        instance: contact.instance.clone(),
        reg_id: wanted.reg_id,
        q: contact.q.unwrap_or(1000).min(1000),
        path: request.path.clone(),
        call_id: request.call_id.clone(),
        cseq: request.cseq,
        expires_at: now.saturating_add(UnixMs::from(wanted.seconds) * 1000),
        flow: request.flow,
        to: request.to.clone(),
        name: request.name.clone(),
        user_agent: request.user_agent.clone(),
        accept: request.accept.clone(),
        methods: contact.methods.clone().filter(|told| !told.is_empty()).or_else(|| request.methods.clone()),
        updated_at: now,
        learned: Learned::default(),
    }
}

/// The values of the Contact headers of the 200, one a binding, with what phones look for in them: the URI as they
/// spelled it, the seconds that are left, and their own instance and reg-id (RFC 3261 §10.3 step 8, RFC 5626 §6).
pub fn contact_values(bindings: &[Binding], now: UnixMs) -> Vec<String> {
    bindings.iter().map(|binding| contact_value(binding, now)).collect()
}

fn contact_value(binding: &Binding, now: UnixMs) -> String {
    let left = binding.expires_at.saturating_sub(now).max(0);
    let mut value = format!("<{}>;expires={}", binding.contact, (left + 999) / 1000);
    if binding.q < 1000 {
        value.push_str(&format!(";q=0.{:03}", binding.q));
    }
    if let Some(instance) = &binding.instance {
        value.push_str(&format!(";+sip.instance=\"<{instance}>\""));
    }
    if let Some(reg_id) = binding.reg_id {
        value.push_str(&format!(";reg-id={reg_id}"));
    }
    value
}

/// What the 200 to this REGISTER says, as header names and values: the bindings, the Path if the phone knows Path
/// (RFC 3327 §5.3), and whether outbound is applied. Date is added by who has a clock.
pub fn answer(request: &Request, bindings: &[Binding], now: UnixMs) -> Vec<(&'static str, String)> {
    let mut headers: Vec<_> =
        contact_values(bindings, now).into_iter().map(|value| ("Contact", value)).collect();
    if request.supported_path {
        headers.extend(request.path.iter().map(|uri| ("Path", format!("<{uri}>"))));
    }
    if request.applies_outbound() {
        headers.push(("Require", "outbound".to_owned()));
    }
    headers
}
