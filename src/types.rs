//! The words of the house: addresses, ids, entries, what a commit is made of.
//!
//! Plain values only. Prevents that two floors mean different things by one word.
//! Never does IO, never decides.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

/// Milliseconds since 1970-01-01 UTC, wall clock.
pub type UnixMs = i64;

/// An address-of-record `user@host`: kept as first spelled, compared case-insensitively (spec §3).
///
/// The user part is in URI-escaped form and holds only characters that RFC 3261 §25.1 allows in `user`;
/// the host is a name, an IPv4 address or an IPv6 address in brackets. So an `Aor` may be put into a
/// header as it is. Port, scheme and parameters are not part of it.
#[derive(Clone)]
pub struct Aor {
    text: Arc<str>,
    at: u32,
}

impl Aor {
    /// `None` unless both parts obey the grammar above. At most 255 bytes each.
    pub fn new(user: &str, host: &str) -> Option<Aor> {
        if user.is_empty() || user.len() > 255 || host.is_empty() || host.len() > 255 {
            return None;
        }
        if !valid_user(user.as_bytes()) || !valid_host(host.as_bytes()) {
            return None;
        }
        let mut text = String::with_capacity(user.len() + host.len() + 1);
        text.push_str(user);
        text.push('@');
        text.push_str(host);
        Some(Aor { at: user.len() as u32, text: text.into() })
    }

    /// From `user@host`, without scheme; the inverse of [`Aor::as_str`].
    pub fn parse(text: &str) -> Option<Aor> {
        let (user, host) = text.rsplit_once('@')?;
        Aor::new(user, host)
    }

    pub fn user(&self) -> &str {
        &self.text[..self.at as usize]
    }

    pub fn host(&self) -> &str {
        &self.text[self.at as usize + 1..]
    }

    /// `user@host`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `sip:user@host`.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.text)
    }

    /// The form that equal addresses share: lower case. For keys in tables.
    pub fn key(&self) -> String {
        self.text.to_ascii_lowercase()
    }
}

fn valid_user(user: &[u8]) -> bool {
    let mut i = 0;
    while i < user.len() {
        match user[i] {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {}
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {}
            b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/' => {}
            // No other characters; `#` must come escaped.
            b'%' if i + 2 < user.len()
                && user[i + 1].is_ascii_hexdigit()
                && user[i + 2].is_ascii_hexdigit() =>
            {
                i += 2
            }
            _ => return false,
        }
        i += 1;
    }
    true
}

fn valid_host(host: &[u8]) -> bool {
    if host.first() == Some(&b'[') {
        let inner = &host[1..host.len().saturating_sub(1)];
        return host.last() == Some(&b']')
            && std::str::from_utf8(inner).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok());
    }
    host.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_'))
}

impl PartialEq for Aor {
    fn eq(&self, other: &Aor) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}
impl Eq for Aor {}
impl Hash for Aor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.text.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}
impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A conversation: a room's, or an account's mailbox. Never reused; a re-created room has a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConvId(pub i64);

/// Row id of an address that we keep state for: an account of ours or a foreign member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AccountId(pub i64);

/// Place of an entry in the log. One sequence over all conversations, rising in commit order, with gaps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Seq(pub i64);

/// Name of a device of an account: the `+sip.instance` URN, [`DEFAULT_DEVICE`] or [`ROUTE_DEVICE`].
pub type DeviceKey = Arc<str>;
/// All contacts without an instance are together this device.
pub const DEFAULT_DEVICE: &str = "";
/// The way to an address of which we hold no binding.
pub const ROUTE_DEVICE: &str = "route";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    /// As in Via: `UDP`, `TCP` (RFC 3261 §20.42).
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
    pub fn is_stream(self) -> bool {
        !matches!(self, Transport::Udp)
    }
}

/// A stream connection, unique over the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId(pub u64);

/// Where a request came from and by which door: enough to answer it and to know its sender again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    pub transport: Transport,
    /// Index of the listener in configuration order.
    pub listener: u16,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Set on streams.
    pub conn: Option<ConnId>,
}

/// Where bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dest {
    Udp {
        listener: u16,
        to: SocketAddr,
    },
    /// Over this connection or not at all.
    Conn(ConnId),
    /// Over a connection to this address, opened if there is none.
    Connect(SocketAddr),
}

/// One message to send. `bytes` is a whole SIP message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    pub to: Dest,
    pub bytes: Bytes,
}

/// Bits of `imc_members.flag`, as all imc modules have them.
pub mod member_flag {
    pub const OWNER: u8 = 1;
    pub const ADMIN: u8 = 2;
    pub const INVITED: u8 = 4;
}

/// Bits of `imc_rooms.flag`.
pub mod room_flag {
    pub const PRIVATE: u8 = 1;
}

/// Who belongs to a room, or is invited to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub who: Aor,
    /// [`member_flag`] bits.
    pub flags: u8,
    /// Who invited him, and when; kept while INVITED is set.
    pub invited: Option<(Aor, UnixMs)>,
}

/// What a room *is* now. `members` is in the order of joining, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    pub address: Aor,
    pub conversation: ConvId,
    /// Rises by one with every committed change of the room. Starts at 1.
    pub version: u64,
    pub private: bool,
    /// Display name in From; `None`: the user part.
    pub title: Option<Arc<str>>,
    pub members: Vec<Member>,
}

/// One step from one state of a room to the next. Applied by [`Room::apply`] in memory and by the store on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoomChange {
    /// The room comes to be, with a conversation of its own.
    Create { private: bool },
    /// Somebody not listed enters the table. Without INVITED he is a member, and sees the log from the first
    /// entry of this commit on. With INVITED he sees nothing yet.
    Admit { who: Aor, flags: u8, invited: Option<(Aor, UnixMs)> },
    /// Flags of somebody listed. Clearing INVITED makes him a member, as in `Admit`.
    SetFlags { who: Aor, flags: u8 },
    /// Somebody listed leaves the table. `hears`: he still gets the room entries of this commit.
    Drop { who: Aor, hears: bool },
    /// The room ends: all its rows go. Its members still get the room entries of this commit.
    Destroy,
    /// Display name; `None` removes it.
    Title(Option<Arc<str>>),
    /// Whether it is open to all.
    Private(bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// What a member said in a room. Body raw, the author's prefix is put on when rendered.
    Post = 1,
    /// What a room says: joined, left, destroyed; and in a mailbox: invited, removed, promoted. Body complete.
    Notice = 2,
    /// A person's message to a person, in the recipient's mailbox.
    Direct = 3,
    /// The author's own copy of a direct message, in his mailbox.
    Sent = 4,
}

/// Which conversation a new entry belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The room of [`Commit::room`], or the room with this conversation.
    Room,
    /// The mailbox of this address. The account row is made if there is none.
    Mailbox(Aor),
}

/// An entry to be: what is said, before it has a place in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEntry {
    pub place: Place,
    pub kind: EntryKind,
    /// Author of a post or direct message; `None` for what a room says by itself.
    pub sender: Option<Aor>,
    /// Whom the receiver sees in From when it is not the conversation's own address:
    /// the room for a mailbox notice, the author for a direct message.
    pub peer: Option<Aor>,
    /// Device of the sender that it came from, if it was recognised.
    pub source: Option<DeviceKey>,
    /// Content-Type value as received; `None` is text/plain in UTF-8.
    pub content_type: Option<Arc<str>>,
    /// Further header lines to send with it, each ended by CRLF, already checked (In-Reply-To, Subject …).
    pub headers: Arc<str>,
    pub body: Bytes,
    /// When it was accepted.
    pub at: UnixMs,
    /// When delivery of it ends.
    pub expires: UnixMs,
    /// Max-Forwards of every MESSAGE that carries it: the causing request's − 1 (RFC 7332 §5).
    pub hops: u8,
    /// Privacy: id was asked for (RFC 3325 §9.3): no P-Asserted-Identity.
    pub private: bool,
}

/// Who a message is from, as devices see it in From.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Face {
    pub aor: Aor,
    /// Display name, unquoted.
    pub name: Arc<str>,
}

/// An entry of the log, as delivery carries it. Immutable; shared by all outboxes.
#[derive(Debug)]
pub struct Entry {
    pub seq: Seq,
    pub conversation: ConvId,
    pub kind: EntryKind,
    pub from: Arc<Face>,
    pub sender: Option<(AccountId, Aor)>,
    pub source: Option<DeviceKey>,
    pub content_type: Option<Arc<str>>,
    pub headers: Arc<str>,
    pub body: Bytes,
    pub at: UnixMs,
    pub expires: UnixMs,
    pub hops: u8,
    pub private: bool,
    /// What all receivers have in common, rendered by the first outbox that needs it.
    pub rendered: OnceLock<Box<[u8]>>,
    /// The same as text, for phones that cannot show the body; made by the first outbox that needs it. `None`:
    /// there is no text in it.
    pub as_text: OnceLock<Option<Arc<Entry>>>,
}

/// What a member may see: an interval of a conversation's log. Both ends inclusive; `until` open while he belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub conversation: ConvId,
    pub since: Seq,
    pub until: Option<Seq>,
}

/// Identity of a request over retransmissions, restarts and forks: keyed hash of sender, Request-URI address,
/// From tag, Call-ID and CSeq number (spec §5.7).
pub type Origin = [u8; 16];

/// What a request was answered; kept so that a repetition is answered the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// SIP status code.
    pub status: u16,
}

/// All effects of one request, made durable together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The room it concerns. A stale `version` commits nothing (design.md, stale judgement).
    pub room: Option<RoomStep>,
    pub entries: Vec<NewEntry>,
    pub accepted: Option<Accepted>,
}

#[derive(Clone, Debug)]
pub struct RoomStep {
    pub address: Aor,
    /// The version it was judged by; 0: there was no such room.
    pub version: u64,
    /// In order. Empty for a post.
    pub changes: Vec<RoomChange>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    pub origin: Origin,
    pub answer: Answer,
    /// Hash of the body, to know the request again after a fresh challenge.
    pub body: u64,
    /// By the steady clock of the nonces (`service::clock`): what was challenged later has a later nonce.
    pub at: UnixMs,
}

/// How a commit ended. An error is a [`crate::refusal::Fault`].
#[derive(Clone, Debug)]
pub enum Committed {
    /// Durable. `seqs` as `Commit::entries`.
    Done { seqs: Vec<Seq> },
    /// The room has moved on: judge again. Nothing was written.
    Stale,
    /// This origin was accepted before. Nothing was written.
    Repeat(Answer),
}

/// Told to delivery after a commit, in commit order.
#[derive(Clone, Debug, Default)]
pub struct Announcement {
    pub spans: Vec<(AccountId, Span)>,
    pub entries: Vec<Arc<Entry>>,
}

/// Upper bounds of the classes of a [`Spread`], in milliseconds; the last class has none.
pub const SPREAD_MS: [u64; 15] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

/// How long things took: how many in each class of durations, and their sum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spread {
    counts: [u64; SPREAD_MS.len() + 1],
    sum_us: u64,
}

impl Spread {
    pub fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = SPREAD_MS.iter().position(|most| us <= most * 1000).unwrap_or(SPREAD_MS.len());
        self.counts[class] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Each bound, and how many took no longer.
    pub fn cumulated(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        SPREAD_MS.into_iter().zip(sums)
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

impl std::ops::AddAssign for Spread {
    fn add_assign(&mut self, other: Spread) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_compared_without_case_and_kept_as_spelled() {
        let a = Aor::new("Alice", "Example.ORG").unwrap();
        assert_eq!(a, Aor::parse("alice@example.org").unwrap());
        assert_eq!(a.as_str(), "Alice@Example.ORG");
        assert_eq!(a.key(), "alice@example.org");
    }

    #[test]
    fn nothing_that_could_end_a_header_gets_into_an_address() {
        for user in ["a b", "a\r\nX: y", "a>b", "a\"b", "a@b", "a%zz", "", "ü", "#x", "%4"] {
            assert!(Aor::new(user, "h").is_none(), "{user:?}");
        }
        for host in ["h h", "h\r\n", "[::1", "::1", "[zz]", "h>", ""] {
            assert!(Aor::new("a", host).is_none(), "{host:?}");
        }
        assert!(Aor::new("a;b=c%20d", "[2001:db8::1]").is_some());
    }

    #[test]
    fn durations_are_counted_in_the_class_that_they_do_not_exceed() {
        let mut spread = Spread::default();
        for ms in [0, 1, 2, 3, 60_000, 60_001] {
            spread.add(Duration::from_millis(ms));
        }
        let mut twice = spread;
        twice += spread;
        let at = |spread: &Spread, bound| spread.cumulated().find(|(most, _)| *most == bound).map(|(_, n)| n);
        assert_eq!([1, 2, 5, 30_000, 60_000].map(|b| at(&spread, b)), [2, 3, 4, 4, 5].map(Some));
        assert_eq!((spread.count(), twice.count(), at(&twice, 60_000)), (6, 12, Some(10)));
        assert_eq!(twice.sum_us(), 2 * 120_007_000);
        spread.add(Duration::MAX);
        assert_eq!(spread.sum_us(), u64::MAX);
    }
}
