//! Who may see when whom is there: asked by the presence agent, changed by people and their phones.
//!
//! Prevents that a watcher learns anything of somebody who has not agreed, not even that he was blocked or never asked.
//! Never sends a NOTIFY itself: [`Watched`] is told what has changed, after it is durable.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use sha1::{Digest, Sha1};

use super::person::Told;
use crate::chat::buddies::{self, Buddies, Line};
use crate::chat::settings::Change;
use crate::chat::split::{PART_BYTES, parts};
use crate::presence::avatar::{AVATAR_MAX, media};
use crate::presence::roster::{BUDDIES_MAX, Bond, Deed, Flags, decide};
use crate::presence::{Standing, State};
use crate::refusal::{Fault, Refusal};
use crate::store::{Avatar, Buddy, Called, Pair, Put, Related, Store, Words};
use crate::types::{Aor, NewEntry, UnixMs};

/// Max-Forwards of what nobody's MESSAGE caused (RFC 3261 §8.1.1.6).
pub const HOPS: u8 = 70;
/// Those who wait for an answer, as `#buddies` lists them at most.
const ASKING_MAX: usize = 100;

/// Told of what watchers may see now, after it is durable. Calls for one pair may come out of order: what counts is
/// what [`Roster::standing`] says then, but for a [`Standing::Rejected`], which is said once.
pub trait Watched: Send + Sync {
    /// What `watcher` may see of `presentity` has changed, or was refused.
    fn standing(&self, presentity: &Aor, watcher: &Aor, standing: Standing);
    /// Entries, names or groups of a roster have changed.
    fn roster(&self, owner: &Aor);
    /// What somebody says of himself, or his picture, has changed.
    fn status(&self, who: &Aor);
}

/// How a roster speaks to people.
pub trait Asks: Send + Sync {
    fn now(&self) -> UnixMs;
    /// Whether `asked` is somebody here who may be asked by `asker`; counts as writing to him.
    fn may_ask(&self, asker: &Aor, asked: &Aor) -> Result<bool, Fault>;
    /// A line from the manager for the mailbox of `to`; `None`: he has none.
    fn notice(&self, to: &Aor, words: String, hops: u8) -> Result<Option<NewEntry>, Fault>;
}

/// How somebody is, for those who may see it; the presence agent knows.
pub type StateOf = Box<dyn Fn(&Aor) -> Option<State> + Send + Sync>;

pub struct Roster {
    pub store: Store,
    /// The command character.
    pub start: String,
    /// `presence.open`: everybody sees everybody who has not blocked him.
    pub open: bool,
    pub asks: OnceLock<Box<dyn Asks>>,
    pub watched: OnceLock<Arc<dyn Watched>>,
    pub state_of: OnceLock<StateOf>,
}

impl Roster {
    pub fn new(store: Store, start: String, open: bool) -> Roster {
        Roster {
            store,
            start,
            open,
            asks: OnceLock::new(),
            watched: OnceLock::new(),
            state_of: OnceLock::new(),
        }
    }

    fn now(&self) -> UnixMs {
        self.asks.get().map_or(0, |asks| asks.now())
    }

    fn has_blocked(&self, who: &Aor, whom: &Aor) -> Result<bool, Fault> {
        let Some(account) = self.store.account(who)?.filter(|account| account.blocks) else {
            return Ok(false);
        };
        self.store.has_blocked(account.id, whom)
    }

    /// `seen`: the presentity has agreed. Who has not learns nothing from being blocked.
    fn standing_if(&self, seen: bool, presentity: &Aor, watcher: &Aor) -> Result<Standing, Fault> {
        Ok(match seen || self.open {
            _ if presentity == watcher => Standing::Active,
            false => Standing::Pending,
            true if self.has_blocked(presentity, watcher)? => Standing::Blocked,
            true => Standing::Active,
        })
    }

    /// What `watcher` may see of `presentity` now. Never [`Standing::Rejected`]: that is an event.
    pub fn standing(&self, presentity: &Aor, watcher: &Aor) -> Result<Standing, Fault> {
        let seen = match self.open || presentity == watcher {
            true => true,
            false => self.store.pair(watcher, presentity, 0)?.0.has(Flags::SEES),
        };
        self.standing_if(seen, presentity, watcher)
    }

    /// The same of many, in their order.
    pub fn standings(&self, watcher: &Aor, people: &[Aor]) -> Result<Vec<Standing>, Fault> {
        let seen = match self.open {
            true => vec![true; people.len()],
            false => {
                self.store.pairs(watcher, people)?.iter().map(|(mine, _)| mine.has(Flags::SEES)).collect()
            }
        };
        people.iter().zip(seen).map(|(who, seen)| self.standing_if(seen, who, watcher)).collect()
    }

    /// A phone of `watcher` subscribes to `presentity`, anew or again: what he may see. It may confirm them, and may
    /// ask. Costs a write only if it changes something.
    pub async fn subscribes(&self, watcher: &Aor, presentity: &Aor) -> Result<Standing, Fault> {
        if self.open || watcher == presentity {
            return self.standing(presentity, watcher);
        }
        let (mine, his, due) = self.store.pair(watcher, presentity, self.now())?;
        let change = decide(mine, his, Deed::Subscribes);
        let changes = change.is_some_and(|change| (change.mine, change.his) != (mine, his));
        let question = match change.is_some_and(|change| change.asks) && due {
            true => self.question(watcher, presentity, HOPS)?,
            false => None,
        };
        if !changes && question.is_none() {
            return self.standing_if(mine.has(Flags::SEES), presentity, watcher);
        }
        let words = Words { question, answer: None };
        let done = self.store.relate(watcher, presentity, Deed::Subscribes, self.now(), words).await?;
        if let Related::Done { pair, .. } = &done {
            self.tell(pair, Deed::Subscribes)?;
        }
        self.standing(presentity, watcher)
    }

    /// A phone of `watcher` subscribes to a list: what he may see of each entry, in their order. Nobody is asked.
    pub async fn lists(&self, watcher: &Aor, entries: &[Aor]) -> Result<Vec<Standing>, Fault> {
        let seen = |(mine, _): &(Flags, Flags)| mine.has(Flags::SEES);
        if self.open {
            return entries.iter().map(|entry| self.standing_if(true, entry, watcher)).collect();
        }
        let mut pairs = self.store.pairs(watcher, entries)?;
        let changes = |(entry, (mine, his)): (&Aor, &(Flags, Flags))| {
            let after = decide(*mine, *his, Deed::Lists).map(|change| (change.mine, change.his));
            (entry != watcher && after != Some((*mine, *his))).then(|| entry.clone())
        };
        let new: Vec<Aor> = entries.iter().zip(&pairs).filter_map(changes).collect();
        if !new.is_empty() {
            let changed = self.store.lists(watcher, new, self.now()).await?;
            if changed.iter().any(|pair| pair.after.0.has(Flags::SEES)) {
                pairs = self.store.pairs(watcher, entries)?;
            }
            for pair in &changed {
                self.tell_standings(pair, Deed::Lists)?;
            }
            self.tell_rosters(&changed);
        }
        entries.iter().zip(&pairs).map(|(entry, pair)| self.standing_if(seen(pair), entry, watcher)).collect()
    }

    /// Whom somebody has on his roster, by address.
    pub fn buddies(&self, who: &Aor) -> Result<Vec<Buddy>, Fault> {
        self.store.buddies(who)
    }

    /// What the owner of a roster may see of a buddy on it; as [`Roster::standing`], without a question to the disk
    /// unless he has blocked somebody.
    pub fn standing_of(&self, owner: &Aor, buddy: &Buddy) -> Result<Standing, Fault> {
        self.standing_if(buddy.flags.has(Flags::SEES), &buddy.contact, owner)
    }

    /// Who sees whom, as the owner of the roster is shown it.
    pub fn bond(&self, buddy: &Buddy) -> Bond {
        if self.open { Bond::Both } else { Bond::of(buddy.flags) }
    }

    /// Who would see somebody and waits for his answer; whom he has blocked is not among them.
    pub fn asking(&self, who: &Aor) -> Result<Vec<Aor>, Fault> {
        let mut asking = self.store.asking(who, ASKING_MAX)?;
        let mut result = Ok(());
        asking.retain(|asker| match self.has_blocked(who, asker) {
            Ok(blocked) => !blocked,
            Err(fault) => {
                result = Err(fault);
                false
            }
        });
        result.map(|()| asking)
    }

    /// What somebody says of himself: from the cache.
    pub fn status(&self, who: &Aor) -> Result<Option<(State, Arc<str>)>, Fault> {
        Ok(self.store.account(who)?.and_then(|account| account.status))
    }

    /// SHA-1 of his picture, lower-case hex: from the cache.
    pub fn avatar_sha1(&self, who: &Aor) -> Result<Option<Arc<str>>, Fault> {
        Ok(self.store.account(who)?.and_then(|account| account.avatar))
    }

    pub fn avatar(&self, who: &Aor) -> Result<Option<Avatar>, Fault> {
        match self.store.account(who)?.filter(|account| account.avatar.is_some()) {
            Some(account) => self.store.avatar(account.id),
            None => Ok(None),
        }
    }

    // ── changes ──────────────────────────────────────────────────────────────────────────────────────────────

    /// A deed of `who` towards `whom`, with the words that it causes. The first flag of the pair is his.
    pub async fn relate(&self, who: &Aor, whom: &Aor, deed: Deed, hops: u8) -> Result<Related, Fault> {
        let words = match deed {
            Deed::Adds if !self.open => Words { question: self.question(who, whom, hops)?, answer: None },
            Deed::Accepts => self.answer(who, whom, buddies::accepted(who), hops)?,
            Deed::Refuses => self.answer(who, whom, buddies::declined(who), hops)?,
            _ => Words::default(),
        };
        let done = self.store.relate(who, whom, deed, self.now(), words).await?;
        if let Related::Done { pair, .. } = &done {
            self.tell(pair, deed)?;
        }
        Ok(done)
    }

    /// Names a buddy. False: he is none.
    pub async fn call(&self, who: &Aor, whom: &Aor, called: Called) -> Result<bool, Fault> {
        let known = self.store.call_buddy(who, whom, called).await?;
        if known {
            self.told(|watched| watched.roster(who));
        }
        Ok(known)
    }

    /// Makes entries of rosters as an administrator wants them. What did not fit.
    pub async fn put(&self, puts: Vec<Put>) -> Result<Vec<Put>, Fault> {
        let (pairs, full) = self.store.put_buddies(puts, self.now()).await?;
        for pair in &pairs {
            self.tell_standings(pair, Deed::Drops)?;
        }
        let concerned: BTreeSet<&str> =
            pairs.iter().flat_map(|pair| [pair.mine.as_str(), pair.his.as_str()]).collect();
        for owner in concerned.into_iter().filter_map(Aor::parse) {
            self.told(|watched| watched.roster(&owner));
        }
        Ok(full)
    }

    /// One setting of his; what others see of him may hang on it.
    pub async fn set(&self, who: &Aor, change: Change) -> Result<(), Fault> {
        self.store.set(who, change).await?;
        self.told(|watched| watched.status(who));
        Ok(())
    }

    pub async fn set_status(&self, who: &Aor, status: Option<(State, String)>) -> Result<(), Fault> {
        self.store.set_status(who, status).await?;
        self.told(|watched| watched.status(who));
        Ok(())
    }

    /// Keeps a picture. `None`: it is no picture, or too large.
    pub async fn set_avatar(&self, who: &Aor, data: Vec<u8>) -> Result<Option<Avatar>, Fault> {
        let Some(media) = media(&data).filter(|_| data.len() <= AVATAR_MAX) else { return Ok(None) };
        let sha1 = Sha1::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
        let avatar = Avatar { media: media.into(), sha1, data };
        self.store.set_avatar(who, Some(avatar.clone())).await?;
        self.told(|watched| watched.status(who));
        Ok(Some(avatar))
    }

    /// False: he had none.
    pub async fn remove_avatar(&self, who: &Aor) -> Result<bool, Fault> {
        let had = self.store.set_avatar(who, None).await?;
        if had {
            self.told(|watched| watched.status(who));
        }
        Ok(had)
    }

    /// `who` has blocked `whom`, or does so no more.
    pub fn block_changed(&self, who: &Aor, whom: &Aor) -> Result<(), Fault> {
        let standing = self.standing(who, whom)?;
        self.told(|watched| watched.standing(who, whom, standing));
        Ok(())
    }

    /// Whom the end of an account concerns: to be asked before it ends, and told with [`Roster::ended`] after. Who
    /// watches him, and whom he watches.
    pub fn concerned(&self, who: &Aor) -> Result<(Vec<Aor>, Vec<Aor>), Fault> {
        let buddies = self.store.buddies(who)?;
        let with = |flag: Flags| {
            let has = buddies.iter().filter(move |buddy| buddy.flags.has(flag));
            has.map(|buddy| buddy.contact.clone())
        };
        let watchers = with(Flags::SEEN).chain(self.store.asking(who, BUDDIES_MAX)?).collect();
        Ok((watchers, with(Flags::SEES).collect()))
    }

    /// The account of `who` is no more, nor what it was to others.
    pub fn ended(&self, who: &Aor, (watchers, watching): &(Vec<Aor>, Vec<Aor>)) {
        for watcher in watchers {
            self.told(|watched| watched.standing(who, watcher, Standing::Rejected));
            self.told(|watched| watched.roster(watcher));
        }
        for presentity in watching {
            self.told(|watched| watched.standing(presentity, who, Standing::Rejected));
        }
        self.told(|watched| watched.roster(who));
        self.told(|watched| watched.status(who));
    }

    // ── words ────────────────────────────────────────────────────────────────────────────────────────────────

    /// The question, if it may be put now; whether it is due, the store sees.
    fn question(&self, asker: &Aor, asked: &Aor, hops: u8) -> Result<Option<NewEntry>, Fault> {
        let Some(asks) = self.asks.get() else { return Ok(None) };
        let (mine, his, due) = self.store.pair(asker, asked, asks.now())?;
        let wanted = decide(mine, his, Deed::Adds).is_some_and(|change| change.asks) && due;
        if !wanted || self.has_blocked(asked, asker)? || !asks.may_ask(asker, asked)? {
            return Ok(None);
        }
        asks.notice(asked, buddies::question(asker, &self.start), hops)
    }

    fn answer(&self, who: &Aor, asker: &Aor, words: String, hops: u8) -> Result<Words, Fault> {
        let answer = match self.asks.get() {
            // Who has blocked him meanwhile wants no answer.
            Some(asks) if !self.has_blocked(asker, who)? => asks.notice(asker, words, hops)?,
            _ => None,
        };
        Ok(Words { question: None, answer })
    }

    // ── who is told ──────────────────────────────────────────────────────────────────────────────────────────

    fn told(&self, tell: impl Fn(&dyn Watched)) {
        if let Some(watched) = self.watched.get() {
            tell(&**watched);
        }
    }

    fn tell(&self, pair: &Pair, deed: Deed) -> Result<(), Fault> {
        self.tell_standings(pair, deed)?;
        self.tell_rosters(std::slice::from_ref(pair));
        Ok(())
    }

    fn tell_standings(&self, pair: &Pair, deed: Deed) -> Result<(), Fault> {
        let Pair { mine, his, before, after } = pair;
        for (presentity, watcher, before, after) in
            [(his, mine, before.0, after.0), (mine, his, before.1, after.1)]
        {
            let (saw, sees) = (before.has(Flags::SEES), after.has(Flags::SEES));
            // Whoever waits for an answer, his phone in any case, is told a no as well.
            let waited = !saw && before.is_more_than_no();
            let no = matches!(deed, Deed::Refuses | Deed::Removes) && watcher == his && waited;
            if (saw && !sees) || no {
                self.told(|watched| watched.standing(presentity, watcher, Standing::Rejected));
            } else if !saw && sees {
                let standing = self.standing(presentity, watcher)?;
                self.told(|watched| watched.standing(presentity, watcher, standing));
            }
        }
        Ok(())
    }

    fn tell_rosters(&self, changed: &[Pair]) {
        if changed.iter().any(|pair| pair.before.0 != pair.after.0)
            && let Some(pair) = changed.first()
        {
            self.told(|watched| watched.roster(&pair.mine));
        }
        for pair in changed.iter().filter(|pair| pair.before.1 != pair.after.1) {
            self.told(|watched| watched.roster(&pair.his));
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────

    /// Does what `who` asks for himself. `hops`: Max-Forwards of what it causes.
    pub async fn command(&self, who: &Aor, command: &Buddies, hops: u8) -> Result<Told, Fault> {
        let one = |text: String| Ok(Ok(vec![text]));
        let no_such = |whom: &Aor| Ok(Err((Refusal::NO_SUCH_BUDDY, buddies::no_such(whom, &self.start))));
        match command {
            Buddies::List => Ok(Ok(parts(&self.list(who)?, PART_BYTES))),
            Buddies::Add(whom, _) | Buddies::Accept(whom) | Buddies::Refuse(whom) if whom == who => {
                Ok(Err((Refusal::NOT_ALLOWED, buddies::not_yourself())))
            }
            Buddies::Add(whom, nick) => {
                let Related::Done { pair, .. } = self.relate(who, whom, Deed::Adds, hops).await? else {
                    return Ok(Err((Refusal::NOT_ALLOWED, buddies::full())));
                };
                if nick.is_some() {
                    self.call(who, whom, Called { nick: Some(nick.clone()), groups: None }).await?;
                }
                one(match self.open {
                    true => buddies::listed(whom),
                    false => buddies::related(whom, pair.after.0, &self.start),
                })
            }
            Buddies::Accept(whom) => match self.relate(who, whom, Deed::Accepts, hops).await? {
                Related::Done { pair, .. } => one(buddies::related(whom, pair.after.0, &self.start)),
                Related::Nothing => Ok(Err((Refusal::NOT_ASKED, buddies::has_not_asked(whom)))),
                Related::Full => Ok(Err((Refusal::NOT_ALLOWED, buddies::full()))),
            },
            Buddies::Refuse(whom) => match self.relate(who, whom, Deed::Refuses, hops).await? {
                Related::Done { .. } => one(buddies::refused(whom)),
                _ => Ok(Err((Refusal::NOT_ASKED, buddies::has_not_asked(whom)))),
            },
            Buddies::Remove(whom) => {
                if self.store.buddy(who, whom)?.is_none() {
                    return no_such(whom);
                }
                self.relate(who, whom, Deed::Removes, hops).await?;
                one(buddies::removed(whom))
            }
            Buddies::Group(whom, groups) => {
                let called = Called { nick: None, groups: Some(groups.clone()) };
                match self.call(who, whom, called).await? {
                    true => one(buddies::grouped(whom, groups)),
                    false => no_such(whom),
                }
            }
            Buddies::Nick(whom, nick) => {
                let called = Called { nick: Some(nick.clone()), groups: None };
                match self.call(who, whom, called).await? {
                    true => one(buddies::called(whom, nick.as_deref())),
                    false => no_such(whom),
                }
            }
            Buddies::Status => {
                let said = self.status(who)?;
                let said = said.as_ref().map(|(state, note)| (*state, &**note));
                one(buddies::status_is(said, self.state(who), &self.start))
            }
            Buddies::SetStatus(status) => {
                self.set_status(who, status.clone()).await?;
                one(buddies::status_set(status.as_ref().map(|(state, note)| (*state, note.as_str()))))
            }
        }
    }

    /// How somebody is, as the presence agent composes it; it does not know who asks.
    pub fn state(&self, who: &Aor) -> Option<State> {
        self.state_of.get().and_then(|state_of| state_of(who))
    }

    fn list(&self, who: &Aor) -> Result<String, Fault> {
        let all = self.buddies(who)?;
        let mut lines = Vec::with_capacity(all.len());
        for buddy in &all {
            let state = match self.standing_of(who, buddy)? {
                Standing::Active => self.state(&buddy.contact),
                // As somebody who is not there: no more can be seen of him.
                Standing::Blocked => self.state_of.get().map(|_| State::Offline),
                _ => None,
            };
            lines.push(Line {
                contact: &buddy.contact,
                nick: buddy.nick.as_deref(),
                groups: &buddy.groups,
                bond: self.bond(buddy),
                state,
            });
        }
        Ok(buddies::list(&lines, &self.asking(who)?, &self.start))
    }
}
