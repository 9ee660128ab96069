//! Names that we put on the wire and know again: branches, Call-IDs, From tags.
//!
//! All are keyed with a secret that survives a restart. So a retry carries the same Call-ID, our own copy that
//! a proxy sends back to us is recognised without a table, and nobody can make up a response to a transaction
//! that he has not seen. Never reveals a key; never needs state.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::types::{AccountId, Seq};

/// RFC 3261 §8.1.1.7.
const COOKIE: &str = "z9hG4bK";
/// Hex digits after the cookie: shard 2, slot 8, nonce 16, mark 8.
const BRANCH_HEX: usize = 34;

/// Makes and recognises our names.
#[derive(Clone, Copy)]
pub struct Ids {
    key: [u8; 16],
}

/// What our branch says: which shard, which outbox, which of its transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branch {
    pub shard: u8,
    pub slot: u32,
    pub nonce: u64,
}

impl Ids {
    /// `secret`: 32 random bytes that survive restarts.
    pub fn new(secret: &[u8; 32]) -> Ids {
        let mut key = [0; 16];
        key.copy_from_slice(&secret[..16]);
        Ids { key }
    }

    fn hash(&self, purpose: u8, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u8(purpose);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }

    /// Appends the branch of a request of ours (RFC 3261 §8.1.1.7).
    pub fn write_branch(&self, branch: Branch, out: &mut Vec<u8>) {
        out.extend_from_slice(COOKIE.as_bytes());
        hex(u64::from(branch.shard), 2, out);
        hex(u64::from(branch.slot), 8, out);
        hex(branch.nonce, 16, out);
        hex(u64::from(self.branch_mark(branch)), 8, out);
    }

    fn branch_mark(&self, b: Branch) -> u32 {
        self.hash(1, &[&[b.shard], &b.slot.to_be_bytes(), &b.nonce.to_be_bytes()]) as u32
    }

    /// Reads a branch back; `None` if it is not ours.
    pub fn read_branch(&self, text: &str) -> Option<Branch> {
        let digits = text.strip_prefix(COOKIE)?;
        if digits.len() != BRANCH_HEX || !digits.is_ascii() {
            return None;
        }
        let branch = Branch {
            shard: u8::from_str_radix(&digits[..2], 16).ok()?,
            slot: u32::from_str_radix(&digits[2..10], 16).ok()?,
            nonce: u64::from_str_radix(&digits[10..26], 16).ok()?,
        };
        let mark = u32::from_str_radix(&digits[26..], 16).ok()?;
        (mark == self.branch_mark(branch)).then_some(branch)
    }

    /// Appends the Call-ID of a delivery without its `@host`: one per message, device and part, the same over
    /// all retries and after a restart (spec §4).
    pub fn write_call_id(&self, seq: Seq, account: AccountId, device: &str, part: u32, out: &mut Vec<u8>) {
        let parts: [&[u8]; 4] =
            [&seq.0.to_be_bytes(), &account.0.to_be_bytes(), device.as_bytes(), &part.to_be_bytes()];
        let name = self.hash(2, &parts);
        hex(name, 16, out);
        hex(self.hash(3, &[&name.to_be_bytes()]), 16, out);
    }

    /// A Call-ID of ours comes back to us in a request: a proxy has looped our copy (spec §5.7).
    pub fn own_call_id(&self, call_id: &str) -> bool {
        let local = call_id.split('@').next().unwrap_or_default();
        if local.len() != 32 || !local.is_ascii() {
            return false;
        }
        let (Ok(name), Ok(mark)) =
            (u64::from_str_radix(&local[..16], 16), u64::from_str_radix(&local[16..], 16))
        else {
            return false;
        };
        self.hash(3, &[&name.to_be_bytes()]) == mark
    }

    /// Appends the From tag that belongs to a Call-ID.
    pub fn write_tag(&self, seq: Seq, account: AccountId, part: u32, out: &mut Vec<u8>) {
        hex(self.hash(4, &[&seq.0.to_be_bytes(), &account.0.to_be_bytes(), &part.to_be_bytes()]), 16, out);
    }

    /// Identity of a request (spec §5.7) over `parts`: 128 bits.
    pub fn origin(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut origin = [0; 16];
        origin[..8].copy_from_slice(&self.hash(5, parts).to_be_bytes());
        origin[8..].copy_from_slice(&self.hash(6, parts).to_be_bytes());
        origin
    }

    /// Fingerprint of a body, to know a request again after a fresh challenge.
    pub fn body(&self, body: &[u8]) -> u64 {
        self.hash(7, &[body])
    }

    /// Which of `shards` an account lives on.
    pub fn shard_of(&self, account: AccountId, shards: usize) -> usize {
        (self.hash(8, &[&account.0.to_be_bytes()]) % shards.max(1) as u64) as usize
    }
}

/// Appends `value` as `digits` lower-case hex digits.
pub fn hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    for i in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * i)) as usize & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        Ids::new(&[7; 32])
    }

    #[test]
    fn our_branch_is_known_again_and_a_forged_one_is_not() {
        let branch = Branch { shard: 3, slot: 70_000, nonce: 0xdead_beef_0000_0001 };
        let mut text = Vec::new();
        ids().write_branch(branch, &mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(ids().read_branch(&text), Some(branch));
        let mut forged = text.clone().into_bytes();
        forged[20] ^= 1;
        assert_eq!(ids().read_branch(std::str::from_utf8(&forged).unwrap()), None);
        assert_eq!(Ids::new(&[8; 32]).read_branch(&text), None);
        for junk in ["", "z9hG4bK", "z9hG4bKüüüüüüüüüüüüüüüüü", "1234"] {
            assert_eq!(ids().read_branch(junk), None);
        }
    }

    #[test]
    fn a_call_id_is_stable_differs_by_device_and_part_and_is_known_again() {
        let call_id = |device: &str, part| {
            let mut out = Vec::new();
            ids().write_call_id(Seq(5), AccountId(2), device, part, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(call_id("urn:a", 0), call_id("urn:a", 0));
        assert_ne!(call_id("urn:a", 0), call_id("urn:b", 0));
        assert_ne!(call_id("urn:a", 0), call_id("urn:a", 1));
        assert!(ids().own_call_id(&format!("{}@127.0.0.1", call_id("", 0))));
        assert!(!ids().own_call_id("3848276298220188511@atlanta.example.com"));
        assert!(!ids().own_call_id(&"0".repeat(32)));
    }
}
