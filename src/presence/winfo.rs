//! Who watches a presentity: the life of a subscription as its owner sees it, and the document that tells him
//! (RFC 3857, RFC 3858).
//!
//! Prevents that somebody who asked while the owner was away is forgotten, and that those who wait pile up without
//! bound. Never decides who may watch: that is the roster's.

use super::xml::{WATCHERINFO, Writer};
use super::{Standing, shown};
use crate::types::{Aor, UnixMs};

/// Media type of [`document`].
pub const MEDIA: &str = "application/watcherinfo+xml";
/// Somebody who waits for an answer as long is given up (RFC 3857 §4.7.1), ms. A question is asked anew after that.
pub const GIVE_UP: UnixMs = 7 * 24 * 3600 * 1000;
/// Undecided subscriptions of one watcher to one presentity: his phones, and some that are gone.
pub const UNDECIDED_PER_WATCHER: usize = 8;
/// Undecided subscriptions to one presentity.
pub const UNDECIDED: usize = 256;

/// Where a subscription stands (RFC 3857 §4.7.1). The init state is none: there is nothing to tell of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// It waits for the owner and is alive.
    Pending,
    Active,
    /// It ended before the owner answered: kept so that he learns of it.
    Waiting,
    Terminated,
}

impl Status {
    pub const ALL: [Status; 4] = [Status::Pending, Status::Active, Status::Waiting, Status::Terminated];

    /// As in the `status` attribute.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Waiting => "waiting",
            Status::Terminated => "terminated",
        }
    }

    /// The inverse of [`Status::word`].
    pub fn of_word(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// What brought a subscription where it stands (RFC 3858 §3, the `event` attribute).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    Subscribe,
    Approved,
    Deactivated,
    Probation,
    Rejected,
    Timeout,
    Giveup,
    Noresource,
}

impl Cause {
    pub const ALL: [Cause; 8] = [
        Cause::Subscribe,
        Cause::Approved,
        Cause::Deactivated,
        Cause::Probation,
        Cause::Rejected,
        Cause::Timeout,
        Cause::Giveup,
        Cause::Noresource,
    ];

    /// As in the `event` attribute, and as a reason in Subscription-State (RFC 6665 §4.1.3).
    pub fn word(self) -> &'static str {
        match self {
            Cause::Subscribe => "subscribe",
            Cause::Approved => "approved",
            Cause::Deactivated => "deactivated",
            Cause::Probation => "probation",
            Cause::Rejected => "rejected",
            Cause::Timeout => "timeout",
            Cause::Giveup => "giveup",
            Cause::Noresource => "noresource",
        }
    }

    /// The inverse of [`Cause::word`].
    pub fn of_word(word: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.word() == word)
    }
}

/// Where a new subscription begins, with [`Cause::Subscribe`]. Who is blocked politely is active: he must not see it
/// in his own watcherinfo either.
pub fn first(standing: Standing) -> Status {
    match standing {
        Standing::Active | Standing::Blocked => Status::Active,
        Standing::Pending => Status::Pending,
        Standing::Rejected => Status::Terminated,
    }
}

/// The next state, or `None` where this cause moves nothing (RFC 3857 §4.7.1, figure 1). A new subscription of
/// somebody who waits is [`Cause::Giveup`] for the old one. A refresh moves nothing.
pub fn next(from: Status, cause: Cause) -> Option<Status> {
    use Cause::*;
    match (from, cause) {
        (Status::Pending, Approved) => Some(Status::Active),
        (Status::Pending, Timeout) => Some(Status::Waiting),
        (Status::Pending, Noresource | Rejected | Deactivated | Probation | Giveup)
        | (Status::Active, Noresource | Rejected | Deactivated | Probation | Timeout)
        | (Status::Waiting, Noresource | Rejected | Giveup | Approved) => Some(Status::Terminated),
        _ => None,
    }
}

/// A subscription that is pending or waiting.
#[derive(Clone, Copy, Debug)]
pub struct Undecided<'a> {
    pub watcher: &'a Aor,
    /// When it became what it is.
    pub since: UnixMs,
}

/// Which of a presentity's undecided subscriptions end now with [`Cause::Giveup`], as rising indices: those older than
/// [`GIVE_UP`], then the oldest of a watcher beyond [`UNDECIDED_PER_WATCHER`], then the oldest beyond [`UNDECIDED`].
pub fn given_up(undecided: &[Undecided<'_>], now: UnixMs) -> Vec<usize> {
    let mut newest_first: Vec<usize> = (0..undecided.len()).collect();
    newest_first.sort_by_key(|&n| std::cmp::Reverse((undecided[n].since, n)));
    let mut of_watcher: std::collections::HashMap<&Aor, usize> = std::collections::HashMap::new();
    let mut kept = 0;
    let mut ends: Vec<usize> = newest_first
        .into_iter()
        .filter(|&n| {
            let one = &undecided[n];
            let own = of_watcher.entry(one.watcher).or_default();
            let stays =
                now.saturating_sub(one.since) < GIVE_UP && *own < UNDECIDED_PER_WATCHER && kept < UNDECIDED;
            *own += usize::from(stays);
            kept += usize::from(stays);
            !stays
        })
        .collect();
    ends.sort_unstable();
    ends
}

/// One subscription as the document shows it.
#[derive(Clone, Copy, Debug)]
pub struct Watcher<'a> {
    pub uri: &'a Aor,
    /// The same for the subscription's life, and no other's within a watcherinfo subscription; an RFC 3261 token.
    pub id: &'a str,
    pub status: Status,
    pub cause: Cause,
    pub name: Option<&'a str>,
    /// Seconds until it ends.
    pub expiration: Option<u32>,
    /// Seconds since it began.
    pub duration: Option<u32>,
}

/// The document for one watcherinfo subscription. `version` starts at 0 and rises by one with each document of that
/// subscription. `full`: `watchers` are all; else those that changed since the last one (RFC 3858 §3, §4).
pub fn document(
    resource: &Aor,
    package: &str,
    version: u32,
    full: bool,
    watchers: &[Watcher<'_>],
) -> Vec<u8> {
    let mut xml = Writer::new(&[WATCHERINFO]);
    xml.open(WATCHERINFO, "watcherinfo").attribute("version", &version.to_string());
    xml.attribute("state", if full { "full" } else { "partial" });
    xml.open(WATCHERINFO, "watcher-list")
        .attribute("resource", &resource.uri())
        .attribute("package", package);
    for one in watchers {
        xml.open(WATCHERINFO, "watcher").attribute("id", one.id);
        xml.attribute("status", one.status.word()).attribute("event", one.cause.word());
        if let Some(name) = one.name.and_then(shown) {
            xml.attribute("display-name", name);
        }
        if let Some(seconds) = one.expiration {
            xml.attribute("expiration", &seconds.to_string());
        }
        if let Some(seconds) = one.duration {
            xml.attribute("duration-subscribed", &seconds.to_string());
        }
        xml.text(&one.uri.uri()).close();
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aor(text: &str) -> Aor {
        Aor::parse(text).unwrap()
    }

    /// Every state with every cause, by the arrows of RFC 3857 figure 1.
    #[test]
    fn w01_the_states_of_a_subscription_are_those_of_the_figure() {
        let arrows = [
            (Status::Pending, "approved", Status::Active),
            (Status::Pending, "timeout", Status::Waiting),
            (Status::Pending, "noresource rejected deactivated probation giveup", Status::Terminated),
            (Status::Active, "noresource rejected deactivated probation timeout", Status::Terminated),
            (Status::Waiting, "noresource rejected giveup approved", Status::Terminated),
        ];
        for from in Status::ALL {
            for cause in Cause::ALL {
                let to = arrows
                    .iter()
                    .find(|(state, causes, _)| *state == from && causes.split(' ').any(|c| c == cause.word()))
                    .map(|(_, _, to)| *to);
                assert_eq!(next(from, cause), to, "{from:?} {cause:?}");
            }
        }
        let first_of = |standing| first(standing).word();
        assert_eq!(first_of(Standing::Active), "active");
        assert_eq!(first_of(Standing::Pending), "pending");
        assert_eq!(first_of(Standing::Rejected), "terminated");
        assert_eq!(first_of(Standing::Blocked), "active");
    }

    #[test]
    fn words_are_read_back() {
        assert!(Status::ALL.into_iter().all(|status| Status::of_word(status.word()) == Some(status)));
        assert!(Cause::ALL.into_iter().all(|cause| Cause::of_word(cause.word()) == Some(cause)));
        assert_eq!((Status::of_word("init"), Cause::of_word("invariant")), (None, None));
    }

    #[test]
    fn w02_who_watched_and_left_waits_for_the_owner_for_a_week() {
        assert_eq!(next(Status::Pending, Cause::Timeout), Some(Status::Waiting));
        let bob = aor("bob@x");
        let one = [Undecided { watcher: &bob, since: 1000 }];
        assert_eq!(given_up(&one, 1000 + GIVE_UP - 1), Vec::<usize>::new());
        assert_eq!(given_up(&one, 1000 + GIVE_UP), [0]);
        assert_eq!(next(Status::Waiting, Cause::Giveup), Some(Status::Terminated));
        // A clock that went back gives nobody up.
        assert_eq!(given_up(&one, 0), Vec::<usize>::new());
    }

    #[test]
    fn w02_one_watcher_cannot_fill_the_list_and_all_together_neither() {
        let (bob, eve) = (aor("bob@x"), aor("eve@x"));
        let mut list = vec![Undecided { watcher: &bob, since: 0 }];
        list.extend((0..20).map(|n| Undecided { watcher: &eve, since: 100 - n }));
        // Eve's newest stay; Bob is untouched though he is the oldest.
        let ends = given_up(&list, 200);
        assert_eq!(ends, (1 + UNDECIDED_PER_WATCHER..21).collect::<Vec<_>>());
        let many: Vec<Aor> = (0..UNDECIDED + 3).map(|n| aor(&format!("u{n}@x"))).collect();
        let list: Vec<_> =
            many.iter().enumerate().map(|(n, watcher)| Undecided { watcher, since: n as UnixMs }).collect();
        assert_eq!(given_up(&list, 1000), [0, 1, 2]);
    }

    #[test]
    fn a_document_says_who_and_since_when() {
        let (bob, resource) = (aor("bob@x"), aor("alice@x"));
        let watcher = Watcher {
            uri: &bob,
            id: "w1",
            status: Status::Waiting,
            cause: Cause::Timeout,
            name: Some("Bob \"the\" <b> & Co"),
            expiration: Some(0),
            duration: Some(9),
        };
        let text = String::from_utf8(document(&resource, "presence", 3, false, &[watcher])).unwrap();
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "<watcherinfo xmlns=\"urn:ietf:params:xml:ns:watcherinfo\" version=\"3\" state=\"partial\">\
             <watcher-list resource=\"sip:alice@x\" package=\"presence\">\
             <watcher id=\"w1\" status=\"waiting\" event=\"timeout\" \
             display-name=\"Bob &quot;the&quot; &lt;b&gt; &amp; Co\" expiration=\"0\" duration-subscribed=\"9\">\
             sip:bob@x</watcher></watcher-list></watcherinfo>"
        );
    }
}
