//! Presentities: what their phones publish, whether they are registered, what they say themselves.
//!
//! Prevents that somebody is shown online for longer than a publication lasts, or that a state is made of half of
//! what is known. Never knows who watches.

use std::sync::Arc;

use super::{Agent, Event, Fresh, Ticket, Want};
use crate::chat::shard::{Now, Outgoing};
use crate::presence::State;
use crate::presence::compose::{self, Source, Whole, compose};
use crate::presence::package::Package;
use crate::presence::publication::{self, Publication, Put, tag};
use crate::types::{Aor, UnixMs};

/// What somebody says of himself, beside what his phones publish.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Person {
    /// `#status`, with its note.
    pub manual: Option<(State, Box<str>)>,
    /// When he was last there, if others may see it and if it is known.
    pub seen: Option<UnixMs>,
    /// Others may see when he was last there.
    pub shows_seen: bool,
    /// SHA-1 of his picture, in hex.
    pub avatar: Option<Box<str>>,
}

/// A person whose state somebody may want to know.
#[derive(Default)]
pub(super) struct Presentity {
    /// The oldest first.
    pub publications: Vec<Publication>,
    /// Keys of contacts that can be reached.
    pub phones: Vec<Arc<str>>,
    pub own: Fresh<Person>,
    pub state: State,
    /// Of what would be shown now.
    pub generation: u64,
    /// What was composed last, and of which generation.
    pub shown: Option<(u64, Arc<[u8]>)>,
    /// When he went, if that was in this life of the agent.
    pub gone: Option<UnixMs>,
    pub changed_at: UnixMs,
}

impl Presentity {
    /// A phone is registered and publishes nothing. A publication that came from elsewhere may be of any of them.
    fn has_silent_phone(&self) -> bool {
        let of = |phone: &Arc<str>| self.publications.iter().any(|one| one.phone.as_ref() == Some(phone));
        let known = |one: &&Publication| one.phone.as_ref().is_some_and(|phone| self.phones.contains(phone));
        let silent = self.phones.iter().filter(|phone| !of(phone)).count();
        let strange = self.publications.iter().filter(|one| !known(one)).count();
        silent > strange
    }

    /// All that is known of him. `counts`: see [`super::Settings::registered_is_online`].
    fn known<T>(&self, who: &Aor, counts: bool, tell: impl FnOnce(&Whole<'_>) -> T) -> T {
        let counting: Vec<&Publication> = publication::counting(&self.publications).collect();
        let ids: Vec<String> = counting.iter().map(|one| tag(one.id)).collect();
        let sources: Vec<Source<'_>> = std::iter::zip(&ids, &counting)
            .map(|(id, one)| Source { id, published: &one.published, at: one.at })
            .collect();
        let own = self.own.value.as_ref();
        let seen = own.filter(|own| own.shows_seen).and_then(|own| self.gone.or(own.seen));
        tell(&Whole {
            who,
            sources: &sources,
            registered: counts && self.has_silent_phone(),
            manual: own.and_then(|own| own.manual.as_ref()).map(|(state, note)| (*state, &**note)),
            last_seen: seen,
            avatar: own.and_then(|own| own.avatar.as_deref()),
            changed: self.changed_at,
        })
    }
}

impl Agent {
    /// The document of somebody, as those see it who may see everything; `None`: it has to be asked for first.
    pub(super) fn document_of(&mut self, who: &Aor, events: &mut Vec<Event>) -> Option<(u64, Arc<[u8]>)> {
        self.meet(who);
        if !self.ask_person(who, events) {
            return None;
        }
        let counts = self.settings.registered_is_online;
        let person = self.people.get_mut(who)?;
        if let Some((generation, body)) = &person.shown
            && *generation == person.generation
        {
            return Some((*generation, body.clone()));
        }
        let body: Arc<[u8]> = person.known(who, counts, |whole| compose(whole).body).into();
        person.shown = Some((person.generation, body.clone()));
        Some((person.generation, body))
    }

    /// Somebody is of interest from now on.
    fn meet(&mut self, who: &Aor) {
        if !self.people.contains_key(who) {
            let fresh = Presentity { generation: self.next_generation(), ..Presentity::default() };
            self.people.insert(who.clone(), fresh);
        }
    }

    /// Whether it is known what somebody says of himself; if it has to be asked for, it is.
    pub(super) fn ask_person(&mut self, who: &Aor, events: &mut Vec<Event>) -> bool {
        let Some(person) = self.people.get_mut(who) else { return false };
        let want = person.own.want();
        if want == Want::Ask {
            events.push(Event::Ask(super::Source::Person(who.clone())));
        }
        want == Want::Ready
    }

    pub(super) fn person_told(&mut self, who: &Aor, told: Person, now: Now, events: &mut Vec<Event>) {
        let Some(person) = self.people.get_mut(who) else { return };
        let news = person.own.value.as_ref() != Some(&told);
        let generation = person.own.generation.max(1);
        person.own.told(told, generation);
        if news {
            self.touch(now, who, events);
        }
    }

    /// Something of somebody has changed: his state is found out anew. His watchers are told by the caller.
    pub(super) fn touch(&mut self, now: Now, who: &Aor, events: &mut Vec<Event>) {
        let generation = self.next_generation();
        let counts = self.settings.registered_is_online;
        let Some(person) = self.people.get_mut(who) else { return };
        // Successive documents do not carry the same time (RFC 3863 §4.1.7).
        person.changed_at = now.ms.max(person.changed_at + 1);
        person.generation = generation;
        let before = person.state;
        // Written when somebody is to be told: most changes of a storm are passed over.
        person.shown = None;
        let state = person.known(who, counts, compose::state);
        person.state = state;
        match (before.is_open(), state.is_open()) {
            (true, false) => person.gone = Some(now.ms),
            (_, true) => person.gone = None,
            (false, false) => {}
        }
        if person.state != before {
            events.push(Event::State { who: who.clone(), state: person.state });
        }
    }

    fn changed(&mut self, now: Now, who: &Aor, out: &mut Outgoing, events: &mut Vec<Event>) {
        self.touch(now, who, events);
        self.owe(now, Package::Presence, who, out, events);
        self.forget(who);
    }

    pub(super) fn registered(
        &mut self,
        now: Now,
        who: Aor,
        phones: Vec<Arc<str>>,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        if !phones.is_empty() {
            self.meet(&who);
        }
        let Some(person) = self.people.get_mut(&who).filter(|person| person.phones != phones) else {
            return;
        };
        person.phones = phones;
        self.ask_person(&who, events);
        self.changed(now, &who, out, events);
    }

    // ── PUBLISH ──────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn publish(
        &mut self,
        now: Now,
        ticket: Ticket,
        who: Aor,
        put: Put,
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) {
        if put.etag.is_none() && self.publishers.len() >= self.settings.max {
            return events.push(Event::Answer { ticket, answer: super::Answer::No(super::No::Full) });
        }
        self.meet(&who);
        let expired = self.expire_one(now, &who);
        let (fresh, lives) = (self.nonce(), self.settings.publications);
        let Some(person) = self.people.get_mut(&who) else { return };
        let before = ends(&person.publications);
        let done = publication::put(&mut person.publications, put, lives, now.ms, fresh);
        let after = ends(&person.publications);
        events.push(Event::Answer { ticket, answer: super::Answer::Published(done) });
        if done.is_ok() {
            self.counters.published += 1;
            self.reschedule(&who, &before, &after);
            self.republished.insert(who.clone());
        }
        match expired || done.is_ok_and(|done| done.changed) {
            true => {
                self.ask_person(&who, events);
                self.changed(now, &who, out, events);
            }
            false => self.forget(&who),
        }
    }

    pub(super) fn reschedule(&mut self, who: &Aor, before: &[(UnixMs, u64)], after: &[(UnixMs, u64)]) {
        for end in before {
            self.ends.remove(end);
            self.publishers.remove(&end.1);
        }
        for end in after {
            self.ends.insert(*end);
            self.publishers.insert(end.1, who.clone());
        }
    }

    /// Ends what has expired of one person; his watchers hear of it from the caller. True: there was something.
    fn expire_one(&mut self, now: Now, who: &Aor) -> bool {
        let Some(person) = self.people.get_mut(who) else { return false };
        let before = ends(&person.publications);
        let expired = publication::expire(&mut person.publications, now.ms);
        if expired {
            let after = ends(&person.publications);
            self.reschedule(who, &before, &after);
            self.republished.insert(who.clone());
        }
        expired
    }

    pub(super) fn expire_publications(&mut self, now: Now, out: &mut Outgoing, events: &mut Vec<Event>) {
        while let Some((at, id)) = self.ends.first().copied()
            && at <= now.ms
        {
            let Some(who) = self.publishers.get(&id).cloned() else {
                self.ends.pop_first();
                continue;
            };
            if self.expire_one(now, &who) {
                self.changed(now, &who, out, events);
            } else {
                self.ends.pop_first();
            }
        }
    }

    /// Lets go of somebody of whom there is nothing to know and whom nobody watches.
    pub(super) fn forget(&mut self, who: &Aor) {
        let Some(person) = self.people.get(who) else { return };
        let nothing = person.publications.is_empty() && person.phones.is_empty();
        if nothing && !self.watches.contains_key(&(Package::Presence, who.clone())) {
            self.people.remove(who);
        }
    }
}

/// When publications end, each with its number.
pub(super) fn ends(publications: &[Publication]) -> Vec<(UnixMs, u64)> {
    publications.iter().map(|one| (one.expires_at, one.id)).collect()
}
