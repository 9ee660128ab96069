//! Publications of one presentity and their entity-tags (RFC 3903 §6).
//!
//! A pure judgement over a list. Prevents that a phone changes what another one published, that a tag is used
//! twice, and that a refused request leaves anything behind. Never composes, never notifies.

use std::sync::Arc;

use bytes::Bytes;

use super::pidf::Published;
use crate::types::UnixMs;

/// Publications that one presentity can have; of more the oldest give way, as phones that crash leave some behind.
pub const PUBLICATIONS_MAX: usize = 16;

/// What one phone said of its user.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The same as long as the publication is refreshed and modified.
    pub id: u64,
    /// SIP-ETag, as a number that is written in hex.
    pub etag: u64,
    pub expires_at: UnixMs,
    /// When it was last changed.
    pub at: UnixMs,
    /// Key of the registered contact that published it, if it is one.
    pub phone: Option<Arc<str>>,
    /// Hash of the document that it began with, and of where that says it was sent from.
    pub first: u64,
    /// As it came.
    pub body: Bytes,
    pub published: Arc<Published>,
}

impl Publication {
    /// Neither refreshed nor modified.
    fn is_untouched(&self) -> bool {
        self.etag == self.id
    }

    /// The same phone began both in the same words. Of one that came before the registration was done, or through a
    /// proxy, it is not known which phone it was: then the words have to do.
    fn is_repeated_by(&self, other: &Publication) -> bool {
        let alike = self.phone == other.phone || self.phone.is_none() || other.phone.is_none();
        self.first == other.first && alike
    }
}

/// The body of a PUBLISH, as the door has read it.
#[derive(Clone, Debug)]
pub enum Body {
    None,
    /// A media type that is not PIDF.
    WrongType,
    /// The reason phrase of a 400.
    Bad(&'static str),
    Pidf(Bytes, Arc<Published>),
}

/// A PUBLISH whose target and event package are known.
#[derive(Clone, Debug)]
pub struct Put {
    /// SIP-If-Match.
    pub etag: Option<Box<str>>,
    /// Seconds.
    pub expires: Option<u32>,
    /// Key of the registered contact that it came from, if it is one.
    pub phone: Option<Arc<str>>,
    /// Hash of the document, and of where the request says it was sent from.
    pub digest: u64,
    pub body: Body,
}

/// Seconds that a publication or subscription may live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lives {
    pub min: u32,
    pub default: u32,
    pub max: u32,
}

impl Lives {
    /// What is granted; `Err`: it is too brief, and this would do (RFC 3903 §6 step 4, RFC 6665 §4.2.1.1). Never more
    /// than was asked for.
    pub fn grant(self, asked: Option<u32>) -> Result<u32, u32> {
        match asked {
            Some(0) => Ok(0),
            Some(seconds) if seconds < self.min => Err(self.min),
            asked => Ok(asked.unwrap_or(self.default).min(self.max)),
        }
    }
}

/// Why a PUBLISH changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// 412.
    NoSuchTag,
    /// 423 with this Min-Expires.
    TooBrief(u32),
    /// 415.
    WrongType,
    /// 400 with this reason.
    Bad(&'static str),
}

/// What a PUBLISH came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// After a removal it names nothing any more.
    pub etag: u64,
    /// Seconds.
    pub expires: u32,
    /// Watchers have something new to see.
    pub changed: bool,
}

/// How a tag is written.
pub fn tag(etag: u64) -> String {
    format!("{etag:016x}")
}

/// Judges in the order of RFC 3903 §6 and does it. `fresh`: a number that was never a tag or an id before.
pub fn put(
    list: &mut Vec<Publication>,
    put: Put,
    lives: Lives,
    now: UnixMs,
    fresh: u64,
) -> Result<Done, Refused> {
    let known = match &put.etag {
        None => None,
        Some(given) => {
            let live = |known: &Publication| known.expires_at > now && tag(known.etag) == **given;
            Some(list.iter().position(live).ok_or(Refused::NoSuchTag)?)
        }
    };
    let expires = lives.grant(put.expires).map_err(Refused::TooBrief)?;
    let said = match (put.body, known) {
        (Body::WrongType, _) => return Err(Refused::WrongType),
        (Body::Bad(reason), _) => return Err(Refused::Bad(reason)),
        // Nothing to begin with (RFC 3903 §6 step 5).
        (Body::None, None) => return Err(Refused::Bad("Nothing Published")),
        (Body::None, Some(_)) => None,
        (Body::Pidf(bytes, published), _) => Some((bytes, published)),
    };
    if expires == 0 {
        // An initial one that ends at once leaves nothing behind.
        let ended = known.map(|at| list.remove(at));
        if let Some(ended) = &ended {
            list.retain(|one| !(one.is_untouched() && one.is_repeated_by(ended)));
        }
        return Ok(Done { etag: fresh, expires, changed: ended.is_some() });
    }
    let expires_at = now + i64::from(expires) * 1000;
    let changed = said.is_some();
    match (known, said) {
        (Some(at), said) => {
            let publication = &mut list[at];
            publication.etag = fresh;
            publication.expires_at = expires_at;
            if let Some((body, published)) = said {
                (publication.body, publication.published, publication.at) = (body, published, now);
            }
        }
        (None, Some((body, published))) => {
            if list.len() >= PUBLICATIONS_MAX {
                list.remove(0);
            }
            let (phone, first) = (put.phone, put.digest);
            list.push(Publication {
                id: fresh,
                etag: fresh,
                expires_at,
                at: now,
                phone,
                first,
                body,
                published,
            });
        }
        (None, None) => {}
    }
    Ok(Done { etag: fresh, expires, changed })
}

/// Those that count. Phones that publish the same twice, as baresip does, refresh and end the second alone: the first
/// would show for as long as it lives how its user was at the start. It ends with the second.
pub fn counting(list: &[Publication]) -> impl Iterator<Item = &Publication> {
    let repeated = |at: usize, one: &Publication| {
        one.is_untouched() && list[at + 1..].iter().any(|later| one.is_repeated_by(later))
    };
    list.iter().enumerate().filter(move |(at, one)| !repeated(*at, one)).map(|(_, one)| one)
}

/// Lets expired ones go. True: there were some.
pub fn expire(list: &mut Vec<Publication>, now: UnixMs) -> bool {
    let before = list.len();
    list.retain(|publication| publication.expires_at > now);
    list.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::pidf;
    use crate::types::Aor;

    const LIVES: Lives = Lives { min: 60, default: 3600, max: 7200 };
    const PIDF: &[u8] = br#"<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@h"><tuple id="a"><status><basic>open</basic></status></tuple></presence>"#;

    fn pidf() -> Body {
        let alice = Aor::parse("alice@h").unwrap();
        Body::Pidf(Bytes::from_static(PIDF), Arc::new(pidf::read(PIDF, &alice).unwrap()))
    }

    fn asked(etag: Option<u64>, expires: Option<u32>, body: Body) -> Put {
        Put { etag: etag.map(|etag| tag(etag).into()), expires, phone: None, digest: 0, body }
    }

    #[test]
    fn p03_p04_p09_p10_a_publication_lives_changes_and_goes() {
        let mut list = Vec::new();
        let done = put(&mut list, asked(None, None, pidf()), LIVES, 0, 1).unwrap();
        assert_eq!(done, Done { etag: 1, expires: 3600, changed: true });
        let done = put(&mut list, asked(Some(1), Some(600), Body::None), LIVES, 10, 2).unwrap();
        assert_eq!(done, Done { etag: 2, expires: 600, changed: false });
        assert_eq!((list[0].id, list[0].at, list[0].expires_at), (1, 0, 600_010));
        let done = put(&mut list, asked(Some(2), Some(600), pidf()), LIVES, 20, 3).unwrap();
        assert!(done.changed && list.len() == 1 && list[0].id == 1 && list[0].at == 20);
        let done = put(&mut list, asked(Some(3), Some(0), Body::None), LIVES, 30, 4).unwrap();
        assert_eq!((done, list.len()), (Done { etag: 4, expires: 0, changed: true }, 0));
    }

    #[test]
    fn p05_p07_a_tag_that_is_old_unknown_expired_or_a_star_changes_nothing() {
        let mut list = Vec::new();
        put(&mut list, asked(None, Some(60), pidf()), LIVES, 0, 1).unwrap();
        put(&mut list, asked(Some(1), Some(60), Body::None), LIVES, 0, 2).unwrap();
        for etag in [tag(1), tag(7), "*".into(), "".into()] {
            let with = Put { etag: Some(etag.into()), ..asked(None, None, pidf()) };
            assert_eq!(put(&mut list, with, LIVES, 0, 9), Err(Refused::NoSuchTag));
        }
        assert_eq!(
            put(&mut list, asked(Some(2), None, Body::None), LIVES, 60_000, 9),
            Err(Refused::NoSuchTag)
        );
        assert_eq!((list.len(), list[0].etag), (1, 2));
    }

    #[test]
    fn p01_of_several_faults_the_first_counts() {
        let mut list = Vec::new();
        let wrong = |etag, expires| asked(etag, expires, Body::WrongType);
        assert_eq!(put(&mut list, wrong(Some(5), Some(1)), LIVES, 0, 1), Err(Refused::NoSuchTag));
        assert_eq!(put(&mut list, wrong(None, Some(1)), LIVES, 0, 1), Err(Refused::TooBrief(60)));
        assert_eq!(put(&mut list, wrong(None, Some(60)), LIVES, 0, 1), Err(Refused::WrongType));
        let nothing = asked(None, None, Body::None);
        assert_eq!(put(&mut list, nothing, LIVES, 0, 1), Err(Refused::Bad("Nothing Published")));
        assert!(list.is_empty());
    }

    #[test]
    fn p08_no_life_is_longer_than_asked_for() {
        assert_eq!(LIVES.grant(Some(1)), Err(60));
        assert_eq!(LIVES.grant(Some(60)), Ok(60));
        assert_eq!(LIVES.grant(Some(9_999_999)), Ok(7200));
        assert_eq!((LIVES.grant(None), LIVES.grant(Some(0))), (Ok(3600), Ok(0)));
    }

    #[test]
    fn what_a_phone_publishes_twice_counts_once_until_it_makes_two_of_it() {
        let mut list = Vec::new();
        let from =
            |phone: &str, digest| Put { phone: Some(phone.into()), digest, ..asked(None, None, pidf()) };
        for (fresh, with) in
            [(1, from("desk", 5)), (2, from("desk", 5)), (3, from("sofa", 5)), (4, from("desk", 6))]
        {
            put(&mut list, with, LIVES, 0, fresh).unwrap();
        }
        let ids = |list: &[Publication]| counting(list).map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(&list), [2, 3, 4]);
        // The second one has moved on: the first is as it was.
        put(&mut list, asked(Some(2), None, pidf()), LIVES, 0, 5).unwrap();
        assert_eq!(ids(&list), [2, 3, 4]);
        put(&mut list, asked(Some(1), None, Body::None), LIVES, 0, 6).unwrap();
        assert_eq!(ids(&list), [1, 2, 3, 4], "refreshed, it is one of its own");
    }

    #[test]
    fn what_a_phone_publishes_twice_ends_with_the_one_that_it_ends() {
        let from = |phone: Option<&str>, digest| Put {
            phone: phone.map(Into::into),
            digest,
            ..asked(None, None, pidf())
        };
        let end = |etag| asked(Some(etag), Some(0), Body::None);
        // The first may come before the phone's registration is done, or both by way of a proxy.
        for phones in [[Some("desk"), Some("desk")], [None, Some("desk")], [None, None]] {
            for ended in [1, 2] {
                let mut list = Vec::new();
                put(&mut list, from(phones[0], 5), LIVES, 0, 1).unwrap();
                put(&mut list, from(phones[1], 5), LIVES, 0, 2).unwrap();
                assert_eq!(counting(&list).count(), 1, "{phones:?}");
                put(&mut list, end(ended), LIVES, 0, 3).unwrap();
                assert!(list.is_empty(), "{phones:?} {ended}");
            }
        }
        // Another phone, other words, or one that is kept up.
        let mut list = Vec::new();
        for (fresh, with) in [
            (1, from(Some("sofa"), 5)),
            (2, from(Some("desk"), 6)),
            (3, from(Some("desk"), 5)),
            (4, from(Some("desk"), 5)),
        ] {
            put(&mut list, with, LIVES, 0, fresh).unwrap();
        }
        put(&mut list, asked(Some(3), None, Body::None), LIVES, 0, 5).unwrap();
        put(&mut list, end(4), LIVES, 0, 6).unwrap();
        assert_eq!(list.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn an_initial_publication_that_ends_at_once_leaves_nothing() {
        let mut list = Vec::new();
        let done = put(&mut list, asked(None, Some(0), pidf()), LIVES, 0, 1).unwrap();
        assert_eq!((done, list.len()), (Done { etag: 1, expires: 0, changed: false }, 0));
    }

    #[test]
    fn a_phone_that_crashes_over_and_over_does_not_fill_the_list() {
        let mut list = Vec::new();
        for at in 0..100 {
            put(&mut list, asked(None, None, pidf()), LIVES, at, at as u64 + 1).unwrap();
        }
        assert_eq!((list.len(), list[0].id), (PUBLICATIONS_MAX, 85));
        assert!(expire(&mut list, 3_600_099) && list.is_empty());
    }
}
