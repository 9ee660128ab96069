//! How an entry becomes a MESSAGE (spec §4, "What a member receives").
//!
//! A message is rendered once per post; what differs per recipient is written before it. Everything that gets
//! into a header here was checked when it came in: addresses are [`Aor`]s, the contact's lines are made by the
//! registrar, `Entry::headers` by the focus. Never decides who gets what.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::content::{Content, content};
use super::convert::text_of;
use super::dialect::{Dialect, author_prefix};
use super::history::not_text;
use super::ids::{Branch, Ids};
use super::phones::Takes;
use super::search::text;
use crate::sip::header::{date_rfc3261, quote_display};
use crate::sip::write::decimal;
use crate::types::{AccountId, Aor, Dest, DeviceKey, Entry, EntryKind, Face, Seq};

/// What text without a Content-Type is sent as: all that every phone can show.
pub const PLAIN: &str = "text/plain;charset=UTF-8";
/// The same for a phone that stumbles over the parameter.
const PLAIN_BARE: &str = "text/plain";
const DATE: &str = "Date: ";
/// A Date that is not the first header line.
const DATE_WITHIN: &str = "\r\nDate: ";
/// No MESSAGE above this leaves in a datagram (RFC 3428 §8).
pub const DATAGRAM_MAX: usize = 1300;

/// Targets of one contact, at most; further ones are not tried.
pub const TARGETS_MAX: usize = 8;

/// A way to one contact of an account, or the route to an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    /// Which of the account's ways this is; stable over refreshes.
    pub key: Arc<str>,
    pub device: DeviceKey,
    /// The account's address.
    pub aor: Aor,
    /// Where it is reached: the first, and when that fails the next (RFC 3263 §4.3), up to [`TARGETS_MAX`]. Empty
    /// only with `by_name`.
    pub targets: Arc<[Target]>,
    /// It is the way to an address of which we hold no binding.
    pub is_route: bool,
    /// Its targets are looked up when something is to be sent, see [`super::shard::Event::Locate`].
    pub by_name: bool,
    /// What it can show.
    pub takes: Arc<Takes>,
}

/// One place where a contact is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Request-URI.
    pub uri: Box<str>,
    /// `user@host[:port]` as in the To of its REGISTER; the address itself on a route.
    pub to: Box<str>,
    /// Whole Route header line with CRLF, or empty (RFC 3327 §5.3).
    pub route: Box<str>,
    pub dest: Dest,
    /// Source address of its REGISTER: how we know it again when it sends something.
    pub source: Option<SocketAddr>,
    /// `SIP/2.0/UDP host:port` of ours, by the transport of `dest`.
    pub via: Arc<str>,
    /// Where a MESSAGE too large for a datagram may go, with its Via; `None`: nowhere.
    pub stream: Option<(SocketAddr, Arc<str>)>,
    /// It may see P-Asserted-Identity (RFC 3325 §7).
    pub trusted: bool,
    /// CRLFCRLF goes to it every `sip.nat_keepalive_s`.
    pub keepalive: bool,
}

impl Contact {
    /// This is the source address of one of its targets.
    pub fn is_at(&self, source: SocketAddr) -> bool {
        self.targets.iter().any(|target| target.source == Some(source))
    }

    /// The targets of another flow of the same device come after its own. Two that lead to the same place are one.
    pub fn fall_back_on(&mut self, older: &Contact) {
        let is_new = |target: &&Target| self.targets.iter().all(|known| known.dest != target.dest);
        let more = older.targets.iter().filter(is_new);
        self.targets = self.targets.iter().chain(more).take(TARGETS_MAX).cloned().collect();
    }

    /// Where its first target is.
    pub fn dest(&self) -> Option<Dest> {
        self.targets.first().map(|target| target.dest)
    }
}

/// What is said to one account's contacts now and kept nowhere: answers, words of refusal, typing notices and
/// receipts (design.md, asides).
#[derive(Debug)]
pub struct Aside {
    pub from: Face,
    pub body: Bytes,
    /// `None`: text of ours, for every phone. Else it goes to contacts that are known to take this type, and alone.
    pub content_type: Option<Arc<str>>,
    /// Header lines with CRLF, such as In-Reply-To.
    pub headers: Box<str>,
    pub hops: u8,
    pub at: crate::types::UnixMs,
}

impl Aside {
    /// Somebody is typing: of several such notices that wait only the last is worth telling (RFC 3994 §3).
    pub fn is_typing(&self) -> bool {
        self.content_type.is_some() && content(self.content_type.as_deref()) == Content::Composing
    }
}

/// The part of a MESSAGE that is one recipient's own.
pub struct Head<'a> {
    pub contact: &'a Contact,
    pub target: &'a Target,
    pub via: &'a str,
    pub account: AccountId,
    pub from: &'a Face,
    /// Negative for asides.
    pub seq: Seq,
    /// 0 for a message in one piece; else names the part and how the text was cut: the same part of a text cut
    /// otherwise is another message.
    pub part: u32,
    pub cseq: u32,
    pub branch: Branch,
    /// Author, where P-Asserted-Identity is due.
    pub asserted: Option<&'a Aor>,
}

impl Head<'_> {
    /// Appends everything up to and including P-Asserted-Identity.
    pub fn write(&self, ids: &Ids, out: &mut Vec<u8>) {
        let to = &*self.target.to;
        // The room's domain is spelled as the device spells it, port included (spec §3).
        let to_host = to.rsplit_once('@').map_or(to, |(_, host)| host);
        let host = if self.from.aor.host().eq_ignore_ascii_case(self.contact.aor.host()) {
            to_host
        } else {
            self.from.aor.host()
        };
        put(out, &["MESSAGE ", &self.target.uri, " SIP/2.0\r\nVia: ", self.via, ";branch="]);
        ids.write_branch(self.branch, out);
        put(out, &[";rport\r\n", &self.target.route, "From: "]);
        put(out, &[&quote_display(&self.from.name), " <sip:", self.from.aor.user(), "@", host, ">;tag="]);
        ids.write_tag(self.seq, self.account, self.part, out);
        put(out, &["\r\nTo: <sip:", to, ">\r\nCall-ID: "]);
        ids.write_call_id(self.seq, self.account, &self.contact.device, self.part, out);
        put(out, &["@", self.from.aor.host(), "\r\nCSeq: "]);
        decimal(out, u64::from(self.cseq));
        put(out, &[" MESSAGE\r\n"]);
        if let Some(author) = self.asserted {
            put(out, &["P-Asserted-Identity: <sip:", author.as_str(), ">\r\n"]);
        }
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends the part that all recipients share: from Max-Forwards to the end of `body`. A Date among `headers` is the
/// author's, and stays (spec §4).
pub fn tail(hops: u8, at_ms: i64, headers: &str, content_type: &str, body: &[u8], out: &mut Vec<u8>) {
    put(out, &["Max-Forwards: "]);
    decimal(out, u64::from(hops));
    if !headers.starts_with(DATE) && !headers.contains(DATE_WITHIN) {
        put(out, &["\r\n", DATE, &date_rfc3261(at_ms.div_euclid(1000))]);
    }
    put(out, &["\r\n", headers, "Content-Type: ", content_type, "\r\nContent-Length: "]);
    decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// The tail of an entry in one piece, made once and shared.
pub fn entry_tail(entry: &Entry, dialect: Dialect) -> &[u8] {
    entry.rendered.get_or_init(|| {
        let body = shown(entry, dialect);
        let mut out = Vec::with_capacity(body.len() + 256);
        tail(entry.hops, entry.at, &entry.headers, shown_type(entry), &body, &mut out);
        out.into_boxed_slice()
    })
}

/// The body as it is shown: with the author's name before a post and before an author's own copy, on text alone
/// (spec §4). A copy of what is no text says what it is: shown as it is it would pass for the other's.
pub fn shown(entry: &Entry, dialect: Dialect) -> Cow<'_, [u8]> {
    let Some((_, author)) = &entry.sender else { return Cow::Borrowed(&entry.body) };
    let prefix = || author_prefix(dialect, author, &entry.from.aor).into_bytes();
    match entry.kind {
        EntryKind::Post if is_plain(entry) => Cow::Owned([&prefix(), &entry.body[..]].concat()),
        EntryKind::Sent => {
            let kind = entry.content_type.as_deref();
            let what = text(kind, &entry.body).unwrap_or_else(|| not_text(kind, &entry.body).into());
            Cow::Owned([&prefix(), what.as_bytes()].concat())
        }
        _ => Cow::Borrowed(&entry.body),
    }
}

/// Content-Type of [`shown`].
pub fn shown_type(entry: &Entry) -> &str {
    match &entry.content_type {
        Some(given) if entry.kind != EntryKind::Sent => given,
        _ => PLAIN,
    }
}

/// The same entry with the text in it for a body (spec §5); `None`: there is none.
pub fn as_text(entry: &Entry) -> Option<Arc<Entry>> {
    let made = entry.as_text.get_or_init(|| {
        let text = text_of(entry.content_type.as_deref(), &entry.body)?;
        // What was said about the body does not hold for the text in it.
        let about = |line: &&str| line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("Content-"));
        let headers: String = entry.headers.split_inclusive("\r\n").filter(|line| !about(line)).collect();
        Some(Arc::new(Entry {
            seq: entry.seq,
            conversation: entry.conversation,
            kind: entry.kind,
            from: entry.from.clone(),
            sender: entry.sender.clone(),
            source: entry.source.clone(),
            content_type: None,
            headers: headers.into(),
            body: text.into(),
            at: entry.at,
            expires: entry.expires,
            hops: entry.hops,
            private: entry.private,
            rendered: OnceLock::new(),
            as_text: OnceLock::new(),
        }))
    });
    made.clone()
}

/// What stands before text that comes late (spec §2, `offline.prefix`), as msilo writes it: C's `ctime` of the
/// server's local time.
pub fn late_prefix(ctime: &str) -> String {
    format!("[Offline message - {ctime}] ")
}

/// A body that only its receiver can read: nothing may be put before it.
pub fn is_sealed(body: &[u8]) -> bool {
    body.starts_with(b"?OTR") || body.starts_with(b"-----BEGIN PGP ")
}

/// Text that may be prefixed, split and shown by any phone.
pub fn is_text(entry: &Entry) -> bool {
    entry.kind == EntryKind::Sent || is_plain(entry)
}

fn is_plain(entry: &Entry) -> bool {
    content(entry.content_type.as_deref()) == Content::Plain
}

/// Content-Type of a text entry for a phone that refused the one it came with.
pub fn bare_type() -> &'static str {
    PLAIN_BARE
}
