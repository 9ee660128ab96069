//! Which request is which: keys of server transactions, of merged requests, and the To tag.
//!
//! Prevents that one request is done twice, and that an answer goes to another request than the one it was made
//! for. All are keyed hashes: nobody outside can make two requests collide. Never keeps anything.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::sip::header::Via;
use crate::sip::message::{Message, Name};

/// One server transaction, as its client's retransmissions name it again.
///
/// It is RFC 3261 §17.2.3 (branch, sent-by, method) and besides Call-ID, CSeq number and From tag, which any
/// retransmission repeats: a client that reuses a branch must not get the 202 of another message for this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxKey {
    high: u64,
    low: u64,
}

impl TxKey {
    /// Half of it, as an index: which of two happen to share it the whole key tells.
    pub(super) fn index(self) -> u64 {
        self.low
    }
}

impl Hash for TxKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Already the outcome of a keyed hash: half of it will do.
        state.write_u64(self.low);
    }
}

/// Hashes nothing: its keys are hashes.
#[derive(Default)]
pub(super) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(super) type KeyMap<V> = std::collections::HashMap<TxKey, V, BuildHasherDefault<Plain>>;

/// A To tag of ours: 16 hexadecimal digits (RFC 3261 §19.3 asks for 32 random bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ToTag([u8; 16]);

impl ToTag {
    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits are ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for ToTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes the keys, with a secret of this process.
#[derive(Clone)]
pub(super) struct Identity {
    secret: [u8; 16],
}

/// What a hash is of, so that no two kinds of it can meet.
#[derive(Clone, Copy)]
enum Kind {
    Branch = 1,
    Old = 2,
    Merged = 3,
    Tag = 4,
}

impl Identity {
    pub(super) fn new(secret: [u8; 16]) -> Identity {
        Identity { secret }
    }

    /// The transaction of `message` as if its method were `method`: what a CANCEL means (RFC 3261 §9.2).
    ///
    /// `via`: the top one, if it can be read.
    pub(super) fn transaction(&self, message: &Message<'_>, via: Option<&Via<'_>>, method: &str) -> TxKey {
        let from = message.from();
        let from_tag = from.as_ref().and_then(|from| from.tag()).unwrap_or_default();
        let cseq = message.cseq().map_or(0, |(number, _)| number);
        let call = message.call_id().unwrap_or_default();
        let branch = via.and_then(|via| Some((via, via.branch.filter(|branch| has_cookie(branch))?)));
        let mut hash = match branch {
            Some((via, branch)) => {
                let mut hash = Parts::new(&self.secret, Kind::Branch);
                hash.part(branch.as_bytes());
                hash.lower(via.host.as_bytes());
                hash.number(via.port.unwrap_or(5060).into());
                hash
            }
            // RFC 2543 clients: the whole request is the name of the transaction (RFC 3261 §17.2.3).
            None => {
                let mut hash = Parts::new(&self.secret, Kind::Old);
                let to = message.to();
                hash.part(message.uri_text().unwrap_or_default().as_bytes());
                hash.part(to.as_ref().and_then(|to| to.tag()).unwrap_or_default().as_bytes());
                hash.part(via.map_or_else(|| message.get(Name::Via).unwrap_or_default(), |via| via.raw));
                hash
            }
        };
        hash.part(method.as_bytes());
        hash.part(from_tag.as_bytes());
        hash.part(call.as_bytes());
        hash.number(cseq.into());
        hash.finish()
    }

    /// Any number of keys, for tests of tables.
    #[cfg(test)]
    pub(super) fn numbered(&self, number: u64) -> TxKey {
        let mut hash = Parts::new(&self.secret, Kind::Branch);
        hash.number(number);
        hash.finish()
    }

    /// What copies of one request have in common that came here by different ways (RFC 3261 §8.2.2.2).
    /// `None` within a dialog, or where From has no tag to tell requests apart.
    pub(super) fn merged(&self, message: &Message<'_>) -> Option<TxKey> {
        if message.to().is_some_and(|to| to.tag().is_some()) {
            return None;
        }
        let from = message.from()?;
        let (number, method) = message.cseq()?;
        let mut hash = Parts::new(&self.secret, Kind::Merged);
        hash.part(from.tag()?.as_bytes());
        hash.part(message.get(Name::CallId)?);
        hash.number(number.into());
        hash.part(method.as_bytes());
        hash.part(message.uri_text()?.as_bytes());
        Some(hash.finish())
    }

    /// The same for every response to one request, and for every retransmission of it (RFC 3261 §8.2.6.2, §8.2.7).
    pub(super) fn tag(&self, key: TxKey) -> ToTag {
        let mut hash = Parts::new(&self.secret, Kind::Tag);
        hash.number(key.high);
        hash.number(key.low);
        let value = hash.finish().low;
        let mut tag = [0; 16];
        for (i, digit) in tag.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(value >> (60 - 4 * i)) as usize & 15];
        }
        ToTag(tag)
    }
}

/// The magic cookie with something after it; the cookie alone is no branch (RFC 3261 §8.1.1.7, RFC 4475 §3.2.1).
fn has_cookie(branch: &str) -> bool {
    branch.len() > 7 && branch.get(..7).is_some_and(|cookie| cookie.eq_ignore_ascii_case("z9hG4bK"))
}

/// A hash of parts that keeps their borders: ("ab","c") is not ("a","bc").
struct Parts(SipHasher13);

impl Parts {
    fn new(secret: &[u8; 16], kind: Kind) -> Parts {
        let mut hash = SipHasher13::new_with_key(secret);
        hash.write(&[kind as u8]);
        Parts(hash)
    }
    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.write(bytes);
    }
    /// Without case. One write a byte is fine: host names are short.
    fn lower(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for byte in bytes {
            self.0.write(&[byte.to_ascii_lowercase()]);
        }
    }
    fn number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }
    fn finish(self) -> TxKey {
        let hash = self.0.finish128();
        TxKey { high: hash.h1, low: hash.h2 }
    }
}
