//! Who speaks (spec §3).
//!
//! The digest-authenticated account; or what a trusted peer asserts; or, in open mode, From. Prevents that From is
//! believed where it must not be, and that anybody learns which accounts exist: an unknown user costs the same
//! work and gets the same answer as a wrong password. What cannot be right is refused before anything is looked up.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::domains::Domains;
use crate::config::{self, Config};
use crate::refusal::{Fault, Refusal};
use crate::sip::digest::{
    self, Algorithm, Asked, Credentials, Ha1, Nonce, NonceCounts, NonceKey, Verdict, challenge,
};
use crate::sip::header::NameAddr;
use crate::sip::message::{Message, Name};
use crate::store::Store;
use crate::types::{Aor, Flow, UnixMs};

/// A nonce older than this costs one more round trip (`stale=true`).
const NONCE_LIFE: Duration = Duration::from_secs(3600);
/// Nonces whose counts are remembered.
const NONCE_COUNTS: usize = 200_000;

/// Somebody who has shown who he is.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub aor: Aor,
    /// A trusted peer vouches for him.
    pub trusted: bool,
    /// His domain is not served here.
    pub foreign: bool,
    /// Credentials were checked; when their nonce was issued, and what has to be counted.
    pub proof: Option<Proof>,
}

#[derive(Clone, Debug)]
pub struct Proof {
    pub issued: UnixMs,
    nonce: String,
    /// Which use of the nonce this is, from 1.
    pub nc: u32,
}

/// Why a request is not from anybody we know.
#[derive(Debug)]
pub enum Denial {
    /// 401 with a challenge for this realm.
    Challenge {
        realm: String,
        stale: bool,
    },
    Refused(Refusal),
    Fault(Fault),
}

pub struct Identity {
    domains: Arc<Domains>,
    store: Store,
    clock: Clock,
    required: bool,
    trusted_from: bool,
    trusted: Vec<config::Cidr>,
    algorithms: Vec<Algorithm>,
    realm: String,
    key: NonceKey,
    counts: Mutex<NonceCounts>,
}

impl Identity {
    pub fn new(
        config: &Config,
        domains: Arc<Domains>,
        store: Store,
        clock: Clock,
    ) -> Result<Identity, Fault> {
        let algorithms = config.auth.algorithms.iter().map(|algorithm| match algorithm {
            config::Algorithm::Md5 => Algorithm::Md5,
            config::Algorithm::Sha256 => Algorithm::Sha256,
        });
        Ok(Identity {
            domains,
            clock,
            required: config.auth_required(),
            trusted_from: config.sip.trusted_from,
            trusted: config.sip.trusted_peers.clone(),
            algorithms: algorithms.collect(),
            realm: config.auth.realm.clone(),
            key: NonceKey::new(store.secret("nonce")?),
            counts: Mutex::new(NonceCounts::new(NONCE_LIFE, NONCE_COUNTS)),
            store,
        })
    }

    pub fn is_trusted(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(ip))
    }

    /// Whoever sends from there has to show credentials, which may have to be looked up.
    pub fn proves_itself(&self, flow: &Flow) -> bool {
        self.required && !self.is_trusted(flow.remote.ip())
    }

    /// The realm that an account's password is hashed for.
    pub fn realm_of(&self, account: &Aor) -> String {
        if self.realm.is_empty() { account.host().to_owned() } else { self.realm.clone() }
    }

    /// The realm of a challenge: the served domain in From, of a REGISTER in To (spec §2 `auth.realm`).
    fn realm_for(&self, message: &Message<'_>, flow: &Flow) -> String {
        if !self.realm.is_empty() {
            return self.realm.clone();
        }
        let named = if message.method() == Some("REGISTER") { message.to() } else { message.from() };
        let host = named.and_then(|named| named.uri().map(|uri| uri.host));
        let domain = host.and_then(|host| self.domains.canonical(host, flow.local.ip()));
        domain.map_or_else(|| self.domains.default_domain().to_owned(), |domain| domain.to_string())
    }

    /// Refuses at once what cannot be authenticated, without any look-up: no credentials, or a nonce that is
    /// not ours. `None`: it is worth looking.
    pub fn screen(&self, message: &Message<'_>, flow: &Flow) -> Option<Denial> {
        if !self.required || self.is_trusted(flow.remote.ip()) {
            return None;
        }
        let realm = self.realm_for(message, flow);
        match credentials(message, &realm) {
            Some(given)
                if self.key.check(&realm, given.nonce, self.clock.steady(), NONCE_LIFE) != Nonce::Forged =>
            {
                None
            }
            _ => Some(Denial::Challenge { realm, stale: false }),
        }
    }

    /// Values of the WWW-Authenticate headers of a 401, the preferred algorithm first (RFC 8760 §2.4).
    pub fn challenges(&self, realm: &str, stale: bool) -> Vec<String> {
        let mut random = [0; 8];
        // Without randomness two clients might share a nonce and refuse each other's counts: no worse.
        let _ = getrandom::fill(&mut random);
        let nonce = self.key.issue(realm, self.clock.steady(), random);
        self.algorithms.iter().map(|algorithm| challenge(realm, &nonce, *algorithm, stale)).collect()
    }

    /// The account that a REGISTER is for, if whoever sent it may register it.
    pub fn registrant(&self, message: &Message<'_>, flow: &Flow) -> Result<Speaker, Denial> {
        let to = message.to().and_then(|to| to.uri()).filter(|uri| uri.is_sip_like());
        let to = to.and_then(|uri| self.domains.address(&uri, flow.local.ip()));
        let Some((account, served)) = to else {
            return Err(Denial::Refused(Refusal { status: 400, reason: "To Must Be a SIP Address" }));
        };
        let trusted = self.is_trusted(flow.remote.ip());
        let mut speaker = Speaker { aor: account, trusted, foreign: !served, proof: None };
        if self.required && !trusted {
            let (who, proof) = self.digest(message, flow)?;
            if who != speaker.aor {
                return Err(Denial::Refused(Refusal::NOT_YOUR_ACCOUNT));
            }
            speaker.proof = Some(proof);
        }
        if !served {
            return Err(Denial::Refused(Refusal::NO_SUCH_DOMAIN));
        }
        Ok(speaker)
    }

    /// Who sent this request.
    pub fn speaker(&self, message: &Message<'_>, flow: &Flow) -> Result<Speaker, Denial> {
        let local = flow.local.ip();
        let from = message.from().and_then(|from| from.uri());
        let from = from.and_then(|uri| self.domains.address(&uri, local));
        if self.is_trusted(flow.remote.ip()) {
            let asserted = message
                .list(Name::PAssertedIdentity)
                .filter_map(|value| NameAddr::parse(value).ok()?.uri())
                .find(|uri| uri.scheme.eq_ignore_ascii_case("sip") || uri.is_sips())
                .and_then(|uri| self.domains.address(&uri, local));
            let vouched = asserted.or(if self.trusted_from { from.clone() } else { None });
            if let Some((aor, served)) = vouched {
                return Ok(Speaker { aor, trusted: true, foreign: !served, proof: None });
            }
            // A phone behind the peer may still prove itself.
            if !self.required || message.get(Name::Authorization).is_none() {
                return Err(Denial::Refused(Refusal::NO_IDENTITY));
            }
        }
        if !self.required {
            return match from {
                Some((aor, true)) => Ok(Speaker { aor, trusted: false, foreign: false, proof: None }),
                _ => Err(Denial::Refused(Refusal::FOREIGN_SENDER)),
            };
        }
        let (who, proof) = self.digest(message, flow)?;
        if from.as_ref().map(|(aor, _)| aor) != Some(&who) {
            return Err(Denial::Refused(Refusal::FORGED_FROM));
        }
        Ok(Speaker { aor: who, trusted: false, foreign: false, proof: Some(proof) })
    }

    /// The account that the credentials prove.
    fn digest(&self, message: &Message<'_>, flow: &Flow) -> Result<(Aor, Proof), Denial> {
        let realm = self.realm_for(message, flow);
        let again = |stale| Denial::Challenge { realm: realm.clone(), stale };
        let Some(given) = credentials(message, &realm) else { return Err(again(false)) };
        let local = flow.local.ip();
        let domain = match given.domain() {
            Some(spelled) => self.domains.canonical(spelled, local),
            // Without a domain the realm's, or that of the account which the request names.
            None => self.domains.canonical(&realm, local).or_else(|| {
                let named = if message.method() == Some("REGISTER") { message.to() } else { message.from() };
                let host = named.and_then(|named| named.uri().map(|uri| uri.host))?;
                self.domains.canonical(host, local)
            }),
        };
        let account = domain.and_then(|domain| Aor::new(given.user(), &domain));
        let known = match &account {
            Some(aor) => self.store.account(aor).map_err(Denial::Fault)?,
            None => None,
        };
        let credentials = known.and_then(|account| account.credentials);
        let decoy = Ha1::decoy(&self.key, given.username);
        let ha1 = match &credentials {
            Some(stored) if *stored.realm == *realm => {
                let forms = [&stored.md5, &stored.md5_domain, &stored.sha256, &stored.sha256_domain];
                Ha1::from_hex(forms.map(Option::as_deref), &decoy)
            }
            _ => decoy,
        };
        let nonce = self.key.check(&realm, given.nonce, self.clock.steady(), NONCE_LIFE);
        let asked = Asked {
            method: message.method().unwrap_or_default(),
            request_uri: message.uri_text().unwrap_or_default(),
            body: message.body(),
            realm: &realm,
            offered: &self.algorithms,
            nonce,
            same_host: &|a, b| {
                let canonical = |host| self.domains.canonical(host, local);
                canonical(a).is_some() && canonical(a) == canonical(b)
            },
        };
        match (digest::verify(&given, &asked, &ha1), account) {
            (Verdict::Ok { nc, issued }, Some(account)) => {
                Ok((account, Proof { issued, nonce: given.nonce.to_owned(), nc }))
            }
            (Verdict::Stale, Some(_)) => Err(again(true)),
            _ => Err(again(false)),
        }
    }

    /// Counts a proof: false, it was used before (RFC 7616 §3.4). To be asked after the look-up of repeats.
    pub fn count(&self, proof: &Proof) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.take(&proof.nonce, proof.nc, self.clock.steady())
    }

    /// The challenge for a proof that was used before: the password was right, so no user is asked again.
    pub fn replayed(&self, message: &Message<'_>, flow: &Flow) -> Denial {
        Denial::Challenge { realm: self.realm_for(message, flow), stale: true }
    }
}

fn credentials<'a>(message: &Message<'a>, realm: &str) -> Option<Credentials<'a>> {
    let rows = message.all(Name::Authorization).filter_map(|row| std::str::from_utf8(row).ok());
    Credentials::for_realm(rows, realm)
}
