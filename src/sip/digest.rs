//! Digest access authentication: challenge, nonce, credentials, verdict.
//!
//! Prevents password guessing by side channel, replay of credentials, and a downgrade to an algorithm that was not
//! offered. Never reads a clock or randomness, never keeps a password, never shows a secret in Debug.
//!
//! Sources: RFC 3261 §22, RFC 7616 §3, RFC 8760 §2. The order of use: [`Credentials::parse`], [`NonceKey::check`],
//! [`verify`], look whether the request is a repetition of an accepted one, then [`NonceCounts::take`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::types::UnixMs;

/// Bytes of one Authorization value that are read at most. A longer one is no credentials.
const MAX_VALUE: usize = 8192;
/// Parameters of one Authorization value.
const MAX_PARAMS: usize = 32;
/// How far in the future a nonce may seem to be issued, when the wall clock was set back.
const MAX_SKEW_MS: UnixMs = 60_000;

/// Hash algorithm of a challenge (RFC 8760 §2.2). The `-sess` forms are not served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// As in the `algorithm` parameter: `MD5`, `SHA-256`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// Hash of the parts joined by colons, in lower-case hex.
    fn hex_of(self, parts: &[&[u8]]) -> String {
        match self {
            Algorithm::Md5 => hex(&joined::<Md5>(parts)),
            Algorithm::Sha256 => hex(&joined::<Sha256>(parts)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no algorithm that we serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected \"MD5\" or \"SHA-256\"")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Tokens are compared without case (RFC 3261 §7.3.1).
    fn from_str(text: &str) -> Result<Algorithm, UnknownAlgorithm> {
        [Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or(UnknownAlgorithm)
    }
}

fn joined<H: Digest>(parts: &[&[u8]]) -> sha2::digest::Output<H> {
    let mut hash = H::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize()
}

/// HMAC-SHA-256 over the parts one after the other (RFC 2104 §2).
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new_with_prefix(block.map(|b| b ^ 0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha256::new_with_prefix(block.map(|b| b ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Exactly `N` bytes from lower-case hex, as [`hex`] writes it.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// Equality whose time depends on the lengths alone.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y))) == 0
}

/// What is kept instead of a password: H(username:realm:password) for both spellings of the username and both
/// algorithms (RFC 7616 §3.4.2). As good as the password for this realm; Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    pub md5: [u8; 16],
    /// With the username `alice@domain`.
    pub md5_domain: [u8; 16],
    pub sha256: [u8; 32],
    /// With the username `alice@domain`.
    pub sha256_domain: [u8; 32],
}

impl Ha1 {
    /// The username counts as it is spelled here: hashes know no case-insensitivity.
    pub fn of(user: &str, domain: &str, realm: &str, password: &str) -> Ha1 {
        let long = format!("{user}@{domain}");
        let short: [&[u8]; 3] = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
        let long: [&[u8]; 3] = [long.as_bytes(), realm.as_bytes(), password.as_bytes()];
        Ha1 {
            md5: joined::<Md5>(&short).into(),
            md5_domain: joined::<Md5>(&long).into(),
            sha256: joined::<Sha256>(&short).into(),
            sha256_domain: joined::<Sha256>(&long).into(),
        }
    }

    /// Stands in for an unknown user, so that [`verify`] takes the same time for him. Nobody can know it.
    pub fn decoy(key: &NonceKey, user: &str) -> Ha1 {
        let sha256 = hmac(&key.0, &[b"decoy 1\0", user.as_bytes()]);
        let sha256_domain = hmac(&key.0, &[b"decoy 2\0", user.as_bytes()]);
        let (mut md5, mut md5_domain) = ([0; 16], [0; 16]);
        md5.copy_from_slice(&sha256[..16]);
        md5_domain.copy_from_slice(&sha256_domain[..16]);
        Ha1 { md5, md5_domain, sha256, sha256_domain }
    }

    /// As the store keeps it, in lower-case hex: md5, md5_domain, sha256, sha256_domain.
    pub fn to_hex(&self) -> [String; 4] {
        [hex(&self.md5), hex(&self.md5_domain), hex(&self.sha256), hex(&self.sha256_domain)]
    }

    /// The inverse of [`Ha1::to_hex`]. A form that is missing or unreadable is taken from `decoy`: nobody knows
    /// a password for it.
    pub fn from_hex(forms: [Option<&str>; 4], decoy: &Ha1) -> Ha1 {
        let [md5, md5_domain, sha256, sha256_domain] = forms;
        Ha1 {
            md5: md5.and_then(unhex).unwrap_or(decoy.md5),
            md5_domain: md5_domain.and_then(unhex).unwrap_or(decoy.md5_domain),
            sha256: sha256.and_then(unhex).unwrap_or(decoy.sha256),
            sha256_domain: sha256_domain.and_then(unhex).unwrap_or(decoy.sha256_domain),
        }
    }

    fn hex_for(&self, algorithm: Algorithm, with_domain: bool) -> String {
        match (algorithm, with_domain) {
            (Algorithm::Md5, false) => hex(&self.md5),
            (Algorithm::Md5, true) => hex(&self.md5_domain),
            (Algorithm::Sha256, false) => hex(&self.sha256),
            (Algorithm::Sha256, true) => hex(&self.sha256_domain),
        }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(..)")
    }
}

/// The server's secret for nonces. Kept in the store, so that a nonce outlives a restart (RFC 7616 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct NonceKey([u8; 32]);

/// What [`NonceKey::check`] thinks of a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nonce {
    /// Not issued by us for this realm.
    Forged,
    /// Ours, but its life is over.
    Stale {
        issued: UnixMs,
    },
    Fresh {
        issued: UnixMs,
    },
}

/// The parts of a nonce: time, randomness, and a truncated MAC over both and the realm. In hex 64 characters.
struct NonceParts {
    issued: UnixMs,
    random: [u8; 8],
    mac: [u8; 16],
}

impl NonceParts {
    fn read(nonce: &str) -> Option<NonceParts> {
        let bytes: [u8; 32] = unhex(nonce)?;
        let (mut time, mut random, mut mac) = ([0; 8], [0; 8], [0; 16]);
        time.copy_from_slice(&bytes[..8]);
        random.copy_from_slice(&bytes[8..16]);
        mac.copy_from_slice(&bytes[16..]);
        Some(NonceParts { issued: UnixMs::from_be_bytes(time), random, mac })
    }
}

impl NonceKey {
    /// From 32 random bytes.
    pub fn new(secret: [u8; 32]) -> NonceKey {
        NonceKey(secret)
    }

    fn mac(&self, realm: &str, issued: UnixMs, random: [u8; 8]) -> [u8; 16] {
        let full = hmac(&self.0, &[b"nonce\0", &issued.to_be_bytes(), &random, realm.as_bytes()]);
        let mut mac = [0; 16];
        mac.copy_from_slice(&full[..16]);
        mac
    }

    /// A new nonce. Nothing is remembered of it: a flood of challenges costs no memory.
    pub fn issue(&self, realm: &str, now: UnixMs, random: [u8; 8]) -> String {
        let mac = self.mac(realm, now, random);
        [hex(&now.to_be_bytes()), hex(&random), hex(&mac)].concat()
    }

    /// A nonce lives for `life` from its issue, inclusive.
    pub fn check(&self, realm: &str, nonce: &str, now: UnixMs, life: Duration) -> Nonce {
        let Some(NonceParts { issued, random, mac }) = NonceParts::read(nonce) else {
            return Nonce::Forged;
        };
        if !same_bytes(&self.mac(realm, issued, random), &mac) {
            return Nonce::Forged;
        }
        let age = now.saturating_sub(issued);
        if age < -MAX_SKEW_MS || age > millis(life) {
            Nonce::Stale { issued }
        } else {
            Nonce::Fresh { issued }
        }
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

fn millis(duration: Duration) -> UnixMs {
    UnixMs::try_from(duration.as_millis()).unwrap_or(UnixMs::MAX)
}

/// The value of one WWW-Authenticate or Proxy-Authenticate header (RFC 8760 §2.6, RFC 7616 §3.3): qop is quoted,
/// algorithm and stale are not. Several algorithms are several headers, the preferred one first (RFC 8760 §2.3).
pub fn challenge(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> String {
    let mut value = String::with_capacity(96 + realm.len() + nonce.len());
    value.push_str("Digest realm=\"");
    for c in realm.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            value.push('\\');
        }
        value.push(c);
    }
    value.push_str("\", nonce=\"");
    value.push_str(nonce);
    value.push_str("\", algorithm=");
    value.push_str(algorithm.name());
    value.push_str(", qop=\"auth\"");
    if stale {
        value.push_str(", stale=true");
    }
    value
}

/// The value of an Authorization or Proxy-Authorization header (RFC 3261 §20.7). Values are without their quotes,
/// and with their escapes: hashes are taken over this form (RFC 7616 §3.4). Debug shows who and for what, no more.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub username: &'a str,
    pub realm: &'a str,
    pub nonce: &'a str,
    pub uri: &'a str,
    pub response: &'a str,
    /// Absent means MD5 (RFC 3261 §22.4).
    pub algorithm: Option<&'a str>,
    pub qop: Option<&'a str>,
    /// As sent; [`verify`] wants eight hex digits.
    pub nc: Option<&'a str>,
    pub cnonce: Option<&'a str>,
    pub opaque: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("uri", &self.uri)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl<'a> Credentials<'a> {
    /// Tolerant of what phones do: values quoted or not, any order, any space or folding, unknown parameters,
    /// empty list elements. `None` for another scheme, a parameter given twice, one of the five that are needed
    /// missing, or anything beyond the bounds.
    pub fn parse(value: &'a str) -> Option<Credentials<'a>> {
        let value = value.trim();
        let scheme = value.get(..6)?;
        let mut rest = value.get(6..)?;
        if value.len() > MAX_VALUE
            || !scheme.eq_ignore_ascii_case("Digest")
            || !rest.starts_with(|c: char| c.is_ascii_whitespace())
        {
            return None;
        }
        const NAMES: [&str; 10] =
            ["username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce", "opaque"];
        let mut found = [None; NAMES.len()];
        let mut count = 0;
        loop {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
            if rest.is_empty() {
                break;
            }
            count += 1;
            if count > MAX_PARAMS {
                return None;
            }
            let (name, text, after) = param(rest)?;
            rest = after;
            if let Some(at) = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
                && found[at].replace(text).is_some()
            {
                // Two values: whichever we took, somebody in the path may have taken the other.
                return None;
            }
        }
        let [username, realm, nonce, uri, response, algorithm, qop, nc, cnonce, opaque] = found;
        Some(Credentials {
            username: username?,
            realm: realm?,
            nonce: nonce?,
            uri: uri?,
            response: response?,
            algorithm,
            qop,
            nc,
            cnonce,
            opaque,
        })
    }

    /// The first credentials for this realm among all rows of the header: a request through other proxies may
    /// carry theirs too (RFC 3261 §22.3).
    pub fn for_realm(rows: impl Iterator<Item = &'a str>, realm: &str) -> Option<Credentials<'a>> {
        rows.filter_map(Credentials::parse).find(|credentials| credentials.realm == realm)
    }

    /// The user part of the username: `alice` for `alice` and for `alice@domain`.
    pub fn user(&self) -> &'a str {
        self.split_username().0
    }

    /// The domain of the username, if it has one.
    pub fn domain(&self) -> Option<&'a str> {
        self.split_username().1
    }

    fn split_username(&self) -> (&'a str, Option<&'a str>) {
        match self.username.rsplit_once('@') {
            Some((user, domain)) => (user, Some(domain)),
            None => (self.username, None),
        }
    }
}

/// One `name=value` at the start of the text: name, value, what follows its comma.
fn param(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end();
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b',')) {
        return None;
    }
    let rest = rest.trim_start();
    let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
        let end = end_of_quoted(quoted)?;
        (&quoted[..end], quoted[end + 1..].trim_start())
    } else {
        let end = rest.find([',', '"', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        (&rest[..end], rest[end..].trim_start())
    };
    if value.bytes().any(|c| c.is_ascii_control()) {
        return None;
    }
    match rest.strip_prefix(',') {
        Some(after) => Some((name, value, after)),
        None if rest.is_empty() => Some((name, value, rest)),
        None => None,
    }
}

/// Where the closing quote stands.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|c| match c {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        c => c == b'"',
    })
}

/// The request that the credentials came with, and what the server knows about it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    /// The Request-URI as received.
    pub request_uri: &'a str,
    pub body: &'a [u8],
    /// The realm of our challenge.
    pub realm: &'a str,
    /// The algorithms of our challenge.
    pub offered: &'a [Algorithm],
    /// What [`NonceKey::check`] said of the credentials' nonce.
    pub nonce: Nonce,
    /// Whether two hosts, without port, are spellings of one served domain. Equal names are taken as equal before
    /// it is asked.
    pub same_host: &'a dyn Fn(&str, &str) -> bool,
}

/// How a check of credentials ended. Both noes are answered 401 (407 from a proxy) with a fresh challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// He knows the password. `nc` is still to be taken by [`NonceCounts::take`].
    Ok { nc: u32, issued: UnixMs },
    /// Not proven, and not stale.
    Wrong,
    /// He knows the password, and the nonce was ours: the challenge says `stale=true`, and no user is asked again.
    Stale,
}

/// Checks the credentials of a request (RFC 7616 §3.4). Right are only: a nonce of ours for our realm, an algorithm
/// that was offered, a qop, an `nc` of eight hex digits, a digest-uri that names what the Request-URI names, and a
/// response that fits all of it. qop=auth-int covers the body. A wrong password is never stale.
///
/// All hashes are done whatever is found wrong before, and compared in constant time.
pub fn verify(credentials: &Credentials<'_>, asked: &Asked<'_>, ha1: &Ha1) -> Verdict {
    let named = credentials.algorithm.map_or(Ok(Algorithm::Md5), Algorithm::from_str);
    let algorithm = named.unwrap_or(Algorithm::Md5);
    let qop = credentials.qop.unwrap_or_default();
    let whole_body = qop.eq_ignore_ascii_case("auth-int");
    let nc = credentials.nc.unwrap_or_default();
    let count = read_count(nc);
    let cnonce = credentials.cnonce.unwrap_or_default();

    let body = if whole_body { algorithm.hex_of(&[asked.body]) } else { String::new() };
    let a2: [&[u8]; 3] = [asked.method.as_bytes(), credentials.uri.as_bytes(), body.as_bytes()];
    let ha2 = algorithm.hex_of(if whole_body { &a2 } else { &a2[..2] });
    let ha1 = ha1.hex_for(algorithm, credentials.domain().is_some());
    let expected = algorithm.hex_of(&[
        ha1.as_bytes(),
        credentials.nonce.as_bytes(),
        nc.as_bytes(),
        cnonce.as_bytes(),
        qop.as_bytes(),
        ha2.as_bytes(),
    ]);
    let proven = same_bytes(expected.as_bytes(), credentials.response.to_ascii_lowercase().as_bytes());

    let allowed = named.is_ok_and(|algorithm| asked.offered.contains(&algorithm))
        && (whole_body || qop.eq_ignore_ascii_case("auth"))
        && !cnonce.is_empty()
        && credentials.realm == asked.realm
        && same_resource(credentials.uri, asked.request_uri, asked.same_host);
    match (count, asked.nonce) {
        (Some(nc), Nonce::Fresh { issued }) if proven && allowed => Verdict::Ok { nc, issued },
        (Some(_), Nonce::Stale { .. }) if proven && allowed => Verdict::Stale,
        _ => Verdict::Wrong,
    }
}

/// `nc-value`: exactly eight hex digits (RFC 7616 §3.4).
fn read_count(text: &str) -> Option<u32> {
    // from_str_radix would take a sign.
    let digits = text.len() == 8 && text.bytes().all(|c| c.is_ascii_hexdigit());
    if digits { u32::from_str_radix(text, 16).ok() } else { None }
}

/// Whether a digest-uri names what the Request-URI names (RFC 8760 §2.6): the same user at the same host. Scheme,
/// port, password, parameters and headers do not count, since proxies change them. A digest-uri without user names
/// the server, which some clients put there for every request (sipp by default): it fits every user of that host.
fn same_resource(digest_uri: &str, request_uri: &str, same_host: &dyn Fn(&str, &str) -> bool) -> bool {
    let (digest_user, digest_host) = user_and_host(digest_uri);
    let (request_user, request_host) = user_and_host(request_uri);
    (digest_user.is_empty() || digest_user.eq_ignore_ascii_case(request_user))
        && !digest_host.is_empty()
        && (digest_host.eq_ignore_ascii_case(request_host) || same_host(digest_host, request_host))
}

/// User (empty if there is none) and host of a URI, without looking whether it is a good one.
fn user_and_host(uri: &str) -> (&str, &str) {
    let uri = uri.trim();
    let bare = ["sip:", "sips:", "im:", "pres:"]
        .iter()
        .find_map(|scheme| {
            uri.get(..scheme.len()).filter(|s| s.eq_ignore_ascii_case(scheme)).map(|_| &uri[scheme.len()..])
        })
        .unwrap_or(uri);
    // A user part may hold `;` and `?`, but never `@`; a host holds none of them. With a second `@` two readers
    // could see two users.
    let (user, rest) = bare.split_once('@').unwrap_or(("", bare));
    if rest.contains('@') {
        return ("", "");
    }
    let user = user.split(':').next().unwrap_or_default();
    let hostport = rest.split([';', '?', '>']).next().unwrap_or_default();
    let host_end = match hostport.find(']') {
        Some(bracket) => bracket + 1,
        None => hostport.find(':').unwrap_or(hostport.len()),
    };
    (user, &hostport[..host_end])
}

/// Which nonce counts were used (RFC 7616 §3.4): a window of 64 below the highest, so that requests may overtake
/// each other, and none counts twice. Bounded: when full, the oldest nonces are given up together with everything
/// issued before them, so that forgetting never permits a replay.
#[derive(Debug)]
pub struct NonceCounts {
    life: UnixMs,
    capacity: usize,
    counts: HashMap<[u8; 16], Count>,
    by_age: BTreeSet<(UnixMs, [u8; 16])>,
    /// Nonces issued until then and not in the table count as used up.
    given_up: UnixMs,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    highest: u32,
    /// Bit i: highest − i was used.
    window: u64,
}

impl NonceCounts {
    /// `life`: that of [`NonceKey::check`]. `capacity`: nonces in use at a time, at least 1.
    pub fn new(life: Duration, capacity: usize) -> NonceCounts {
        NonceCounts {
            life: millis(life),
            capacity: capacity.max(1),
            counts: HashMap::new(),
            by_age: BTreeSet::new(),
            given_up: UnixMs::MIN,
        }
    }

    /// Uses up one count of a nonce. False: it was used before, or is too far behind, or the nonce was given up.
    /// Then the answer is 401 with a fresh challenge and `stale=true`, since the password was right.
    ///
    /// Only for a nonce that [`verify`] accepted: strangers must not fill the table.
    pub fn take(&mut self, nonce: &str, nc: u32, now: UnixMs) -> bool {
        self.forget_dead(now);
        let Some(NonceParts { issued, mac, .. }) = NonceParts::read(nonce) else {
            return false;
        };
        if let Some(count) = self.counts.get_mut(&mac) {
            return count.take(nc);
        }
        if issued <= self.given_up {
            return false;
        }
        while self.counts.len() >= self.capacity
            && let Some((oldest, key)) = self.by_age.first().copied()
        {
            if issued <= oldest {
                return false;
            }
            self.by_age.pop_first();
            self.counts.remove(&key);
            self.given_up = oldest;
        }
        self.counts.insert(mac, Count { highest: nc, window: 1 });
        self.by_age.insert((issued, mac));
        true
    }

    /// Nonces in the table.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn forget_dead(&mut self, now: UnixMs) {
        while let Some((issued, key)) = self.by_age.first().copied() {
            if now.saturating_sub(issued) <= self.life {
                break;
            }
            self.by_age.pop_first();
            self.counts.remove(&key);
        }
    }
}

impl Count {
    fn take(&mut self, nc: u32) -> bool {
        if nc > self.highest {
            let ahead = nc - self.highest;
            self.window = self.window.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = nc;
            return true;
        }
        match 1u64.checked_shl(self.highest - nc) {
            Some(bit) if self.window & bit == 0 => {
                self.window |= bit;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
