//! A small world in memory: rooms, mailboxes and ears, over the rules alone.
//!
//! It honours what the log and its spans promise: who joins hears from the commit of his joining on, who goes hears
//! the last one only if the change says so, a room that is made again is a new conversation.

use std::collections::{BTreeMap, HashMap, VecDeque};

use imcd::chat::address::Names;
use imcd::chat::command::{Command, Deed, Parsed, parse};
use imcd::chat::decide::{
    Actor, Ctx, Decision, Facts, Refused, Wants, WhoMayCreate, Whom, decide, give_up_invitation, may_post,
    unreadable,
};
use imcd::chat::dialect::{Dialect, Voice, author_prefix};
use imcd::chat::history::{LocalTime, Said, history};
use imcd::chat::recall::Recall;
use imcd::refusal::Refusal;
use imcd::types::{Aor, ConvId, NewEntry, Place, Room, RoomChange, UnixMs};

use super::letters::{Asked, Text};

pub const DOMAIN: &str = "example.org";
const MANAGER: &str = "chat-manager";
/// 2026-11-20 21:04 UTC.
const START: UnixMs = 1_795_208_640_000;
const MINUTE: UnixMs = 60_000;

struct Post {
    /// Place in the order of all that was said.
    n: usize,
    room: Aor,
    conversation: ConvId,
    author: Aor,
    text: String,
    at: UnixMs,
}

/// What one person has heard and nobody has written down yet: from whom, and the text.
type Ears = VecDeque<(Aor, String)>;

/// Whether somebody's phone is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    Now,
    Later,
}

pub struct World {
    pub dialect: Dialect,
    pub start: String,
    pub create_on_join: bool,
    pub check_on_create: bool,
    pub who_may_create: WhoMayCreate,
    pub member_max: usize,
    pub relay: bool,
    pub rooms: HashMap<Aor, Room>,
    pub now: UnixMs,
    nobody: Vec<Aor>,
    accounts: Vec<Aor>,
    /// Who speaks without being an account.
    guests: Vec<Aor>,
    knocks: Vec<(Aor, Aor, UnixMs)>,
    posts: Vec<Post>,
    pub letters: Vec<Text>,
    /// How many texts were said.
    pub said: usize,
    /// Who is away, since when, and what waits for him.
    away: HashMap<Aor, (usize, Ears)>,
    absences: HashMap<Aor, (usize, usize)>,
    /// Index of the first post that somebody may see of a conversation.
    since: HashMap<(ConvId, Aor), usize>,
    conversations: i64,
    ears: BTreeMap<String, Ears>,
    answer: Option<(u16, &'static str)>,
    /// Who was to hear what was said last.
    audience: Vec<Aor>,
}

impl Default for World {
    fn default() -> World {
        World {
            dialect: Dialect::Kamailio,
            start: "#".into(),
            create_on_join: true,
            check_on_create: false,
            who_may_create: WhoMayCreate::Everybody,
            member_max: 1000,
            relay: false,
            rooms: HashMap::new(),
            now: START,
            nobody: Vec::new(),
            accounts: Vec::new(),
            guests: Vec::new(),
            knocks: Vec::new(),
            posts: Vec::new(),
            letters: Vec::new(),
            said: 0,
            away: HashMap::new(),
            absences: HashMap::new(),
            since: HashMap::new(),
            conversations: 0,
            ears: BTreeMap::new(),
            answer: None,
            audience: Vec::new(),
        }
    }
}

fn aor(name: &str) -> Result<Aor, String> {
    let full = if name.contains('@') { name.to_owned() } else { format!("{name}@{DOMAIN}") };
    Aor::parse(&full).ok_or_else(|| format!("{name} is no address"))
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => out.push(match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('e') => '\u{1b}',
                Some(other) => other,
                None => '\\',
            }),
            (c, false) => out.push(c),
        }
    }
    out
}

impl World {
    /// One line of a transcript.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some((who, to, text)) = spoken(line, " > ") {
            self.settled()?;
            return self.speak(&aor(who)?, &aor(to)?, unescaped(text).as_bytes());
        }
        if let Some((who, from, text)) = spoken(line, " < ") {
            return self.heard(who, &aor(from)?, &unescaped(text));
        }
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            return self.answered(line);
        }
        self.settled()?;
        self.setting(line)
    }

    /// Nothing is left that nobody wrote down.
    pub fn settled(&self) -> Result<(), String> {
        if let Some((status, reason)) = self.answer {
            return Err(format!("the answer is missing: {status} {reason}"));
        }
        match self.ears.iter().find(|(_, ears)| !ears.is_empty()) {
            None => Ok(()),
            Some((who, ears)) => Err(format!("{who} also heard {:?} from {}", ears[0].1, ears[0].0)),
        }
    }

    /// Everything that was heard since the last call, by person.
    pub fn take_heard(&mut self) -> Vec<(Aor, Aor, String)> {
        self.answer = None;
        let ears = std::mem::take(&mut self.ears);
        ears.into_iter()
            .flat_map(|(who, ears)| {
                ears.into_iter().map(move |(from, text)| (aor(&who).unwrap(), from, text))
            })
            .collect()
    }

    fn answered(&mut self, line: &str) -> Result<(), String> {
        let (status, reason) = self.answer.take().ok_or("nothing was asked")?;
        if line == status.to_string() || line == format!("{status} {reason}") {
            return Ok(());
        }
        Err(format!("the answer was {status} {reason}"))
    }

    fn heard(&mut self, who: &str, from: &Aor, text: &str) -> Result<(), String> {
        if self.answer.is_some() {
            return Err("the answer comes first".into());
        }
        let listeners = if who == "*" { self.audience.clone() } else { vec![aor(who)?] };
        if listeners.is_empty() {
            return Err("there is nobody in the room".into());
        }
        for listener in listeners {
            let ears = self.ears.entry(listener.key()).or_default();
            let Some((room, said)) = ears.pop_front() else {
                return Err(format!("{listener} heard nothing"));
            };
            let same = match text.strip_suffix('…') {
                Some(beginning) => said.starts_with(beginning),
                None => said == text,
            };
            if !same || room != *from {
                return Err(format!("{listener} heard {said:?} from {room}"));
            }
        }
        Ok(())
    }

    fn setting(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["dialect", "openser"] => self.dialect = Dialect::Openser,
            ["dialect", "kamailio"] => self.dialect = Dialect::Kamailio,
            ["start", start] => self.start = start.into(),
            ["set", "no_create_on_join"] => self.create_on_join = false,
            ["set", "check_on_create"] => self.check_on_create = true,
            ["set", "create", "accounts"] => self.who_may_create = WhoMayCreate::Accounts,
            ["set", "create", "admins"] => self.who_may_create = WhoMayCreate::Admins,
            ["set", "relay"] => self.relay = true,
            ["set", "member_max", n] => self.member_max = n.parse().map_err(|_| "no number")?,
            ["nobody", who] => self.nobody.push(aor(who)?),
            ["account", who] => self.accounts.push(aor(who)?),
            ["away", who] => drop(self.away.insert(aor(who)?, (self.said, Ears::new()))),
            ["back", who] => {
                let who = aor(who)?;
                let (since, waiting) = self.away.remove(&who).ok_or("he is not away")?;
                self.absences.insert(who.clone(), (since, self.said));
                self.ears.entry(who.key()).or_default().extend(waiting);
            }
            ["guest", who] => self.guests.push(aor(who)?),
            // The invitation of `who` cannot be delivered.
            ["undeliverable", who, room] => self.give_up(&aor(who)?, &aor(room)?)?,
            // Many join, and what is heard of it is not written down.
            ["crowd", n, room] => {
                for i in 1..=n.parse().map_err(|_| "no number")? {
                    self.speak(&aor(&format!("user{i}"))?, &aor(room)?, b"#join")?;
                    self.take_heard();
                }
            }
            ["wait", time] => {
                let (n, unit) = time.split_at(time.len() - 1);
                let unit = match unit {
                    "m" => MINUTE,
                    "h" => 60 * MINUTE,
                    "d" => 24 * 60 * MINUTE,
                    _ => return Err("a time is written 5m, 2h or 1d".into()),
                };
                self.now += n.parse::<UnixMs>().map_err(|_| "no number")? * unit;
            }
            _ => return Err("not understood".into()),
        }
        Ok(())
    }

    /// A MESSAGE of text/plain.
    pub fn speak(&mut self, who: &Aor, to: &Aor, body: &[u8]) -> Result<(), String> {
        let canonical =
            |host: &str| host.eq_ignore_ascii_case("alias.example.org").then(|| DOMAIN.to_owned());
        let start = self.start.clone();
        let parsed = parse(body, &start, &Names { addressed: to, canonical: &canonical });
        let served = |host: &str| host.eq_ignore_ascii_case(DOMAIN);
        let ctx = self.ctx(&start, &served);
        if let Parsed::Post(text) = &parsed
            && self.accounts.contains(to)
        {
            let status = self.letter(who, to, &String::from_utf8_lossy(text));
            self.answer = Some((status, "OK"));
            return Ok(());
        }
        if let Some(question) = recalled(&parsed, to) {
            let texts = self.texts_of(who);
            let asked = Asked { who, texts, today: self.now, absence: self.absences.get(who).copied() };
            let (refusal, words) = self.recall(&asked, &question);
            self.answer = Some((refusal.unwrap_or(202), "Accepted"));
            for text in words {
                self.whisper(who, to, &text);
            }
            return Ok(());
        }
        let voice_of = match &parsed {
            Parsed::Command(command) => command.room.clone().unwrap_or_else(|| to.clone()),
            _ => to.clone(),
        };
        let room = self.rooms.get(&voice_of).cloned();
        let verdict = match &parsed {
            Parsed::Post(text) => self.post(room.as_ref(), to, who, text, &ctx),
            Parsed::Command(command) => {
                let actor = self.actor(who);
                let facts = self.facts(&voice_of, who, command.user());
                decide(room.as_ref(), &voice_of, &actor, command, &ctx, &facts)
            }
            other => Err(unreadable(other, to, &ctx).ok_or("readable after all")?),
        };
        match verdict {
            Ok(decision) => {
                self.answer = Some((decision.status, "Accepted"));
                if matches!(&parsed, Parsed::Post(_)) {
                    return Ok(());
                }
                for text in &decision.words {
                    self.whisper(who, &voice_of, text);
                }
                self.commit(&voice_of, &decision.changes, &decision.entries);
                for text in self.wanted(who, &voice_of, &decision) {
                    self.whisper(who, &voice_of, &text);
                }
            }
            Err(Refused { refusal, words, entries }) => {
                if refusal == Refusal::NOT_ALLOWED && !entries.is_empty() {
                    self.knocks.push((voice_of.clone(), who.clone(), self.now));
                }
                self.answer = Some((refusal.status, refusal.reason));
                // Words go to accounts of ours only (spec §4).
                for text in words.iter().filter(|_| served(who.host())) {
                    self.whisper(who, &voice_of, text);
                }
                self.commit(&voice_of, &[], &entries);
            }
        }
        Ok(())
    }

    fn ctx<'a>(&self, start: &'a str, served: &'a (dyn Fn(&str) -> bool + Sync)) -> Ctx<'a> {
        Ctx {
            dialect: self.dialect,
            start,
            create_on_join: self.create_on_join,
            check_on_create: self.check_on_create,
            who_may_create: self.who_may_create,
            member_max: self.member_max,
            now: self.now,
            expires: self.now + 72 * 60 * MINUTE,
            hops: 69,
            headers: "".into(),
            served,
        }
    }

    fn actor(&self, who: &Aor) -> Actor {
        Actor {
            aor: who.clone(),
            is_account: !self.guests.contains(who),
            is_admin: false,
            foreign: !who.host().eq_ignore_ascii_case(DOMAIN),
            source: None,
        }
    }

    fn facts(&self, room: &Aor, who: &Aor, user: Option<&Aor>) -> Facts {
        let user = match user {
            Some(user) if !user.host().eq_ignore_ascii_case(DOMAIN) && self.relay => Whom::Foreign,
            Some(user) if !user.host().eq_ignore_ascii_case(DOMAIN) => Whom::Barred,
            Some(user) if self.nobody.contains(user) || self.rooms.contains_key(user) => Whom::Nobody,
            _ => Whom::Ours,
        };
        let lately = |(r, w, at): &(Aor, Aor, UnixMs)| r == room && w == who && self.now - at < MINUTE;
        Facts {
            user,
            manager: room.user() == MANAGER,
            taken: self.accounts.contains(room),
            knocked: self.knocks.iter().any(lately),
        }
    }

    fn post(
        &mut self,
        room: Option<&Room>,
        to: &Aor,
        who: &Aor,
        text: &[u8],
        ctx: &Ctx<'_>,
    ) -> Result<Decision, Refused> {
        let Some(room) = room else {
            return Err(Refused { refusal: Refusal::NO_SUCH_USER, words: None, entries: Vec::new() });
        };
        may_post(room, who, ctx)?;
        let text = String::from_utf8_lossy(text).into_owned();
        let shown = author_prefix(self.dialect, who, to) + &text;
        self.posts.push(Post {
            n: self.said,
            room: to.clone(),
            conversation: room.conversation,
            author: who.clone(),
            text,
            at: self.now,
        });
        self.said += 1;
        self.audience = members(room).filter(|member| member != who).collect();
        for member in self.audience.clone() {
            self.whisper(&member, to, &shown);
        }
        Ok(Decision { status: 202, ..Decision::default() })
    }

    pub fn whisper(&mut self, who: &Aor, from: &Aor, text: &str) -> Heard {
        let said = (from.clone(), text.to_owned());
        if let Some((_, waiting)) = self.away.get_mut(who) {
            waiting.push_back(said);
            return Heard::Later;
        }
        self.ears.entry(who.key()).or_default().push_back(said);
        Heard::Now
    }

    /// What he may see of the rooms that he belongs to.
    pub fn posts_of(&self, who: &Aor) -> impl Iterator<Item = Text> {
        let seen = self.posts.iter().enumerate().filter(|(i, post)| {
            let since = self.since.get(&(post.conversation, who.clone()));
            since.is_some_and(|since| i >= since) && self.rooms.get(&post.room).is_some_and(|r| r.hears(who))
        });
        seen.map(|(_, post)| Text {
            n: post.n,
            at: post.at,
            author: post.author.clone(),
            beside: post.room.clone(),
            is_post: true,
            text: post.text.clone(),
        })
    }

    fn commit(&mut self, address: &Aor, changes: &[RoomChange], entries: &[NewEntry]) {
        let before = self.rooms.remove(address);
        let mut after = before.clone();
        for change in changes {
            if let RoomChange::Create { private } = change {
                assert!(after.is_none(), "{address} is created twice");
                self.conversations += 1;
                after = Some(Room::new(address.clone(), ConvId(self.conversations), *private));
            }
        }
        let destroyed = changes.contains(&RoomChange::Destroy);
        if let Some(room) = &mut after {
            room.apply(changes);
        }
        let mut audience: Vec<Aor> = match (&after, destroyed) {
            (Some(room), false) => members(room).collect(),
            _ => before.iter().flat_map(members).collect(),
        };
        self.audience = audience.clone();
        for member in audience.iter() {
            let new = before.as_ref().is_none_or(|room| !room.hears(member));
            if let (true, Some(room)) = (new, &after) {
                self.since.insert((room.conversation, member.clone()), self.posts.len());
            }
        }
        audience.extend(changes.iter().filter_map(|change| match change {
            RoomChange::Drop { who, hears: true } => Some(who.clone()),
            _ => None,
        }));
        for entry in entries {
            let text = String::from_utf8(entry.body.to_vec()).unwrap();
            assert!(entry.expires > self.now && entry.hops == 69 && entry.sender.is_none());
            match &entry.place {
                Place::Room => {
                    assert!(before.is_some(), "a notice of {address}, which is no room");
                    for member in audience.clone() {
                        self.whisper(&member, address, &text);
                    }
                }
                Place::Mailbox(who) => {
                    let from = entry.peer.clone().expect("a mailbox notice says which room it is from");
                    self.whisper(who, &from, &text);
                }
            }
        }
        if let Some(room) = after.filter(|_| !destroyed) {
            self.rooms.insert(address.clone(), room);
        }
    }

    fn wanted(&self, who: &Aor, address: &Aor, decision: &Decision) -> Vec<String> {
        match decision.wants {
            None => Vec::new(),
            Some(Wants::Rooms) => {
                let mut seen: Vec<&Aor> = self
                    .rooms
                    .values()
                    .filter(|room| room.visible_to(who))
                    .map(|room| &room.address)
                    .collect();
                seen.sort_by_key(|room| room.user().to_ascii_lowercase());
                Voice { dialect: self.dialect, start: &self.start, room: address }.rooms(seen)
            }
            Some(Wants::History { n }) => {
                let conversation = self.rooms[address].conversation;
                let since = self.since[&(conversation, who.clone())];
                let seen: Vec<&Post> =
                    self.posts[since..].iter().filter(|p| p.conversation == conversation).collect();
                let said: Vec<Said<'_>> = seen[seen.len().saturating_sub(usize::from(n))..]
                    .iter()
                    .map(|post| Said {
                        at: local(post.at),
                        author: &post.author,
                        place: None,
                        text: &post.text,
                    })
                    .collect();
                history(self.dialect, address, local(self.now), &said)
            }
        }
    }

    fn give_up(&mut self, who: &Aor, address: &Aor) -> Result<(), String> {
        let served = |_: &str| true;
        let start = self.start.clone();
        let room = self.rooms.get(address).ok_or("no such room")?;
        let decision = give_up_invitation(room, who, &self.ctx(&start, &served)).ok_or("not invited")?;
        self.commit(address, &decision.changes, &decision.entries);
        Ok(())
    }
}

/// A question of somebody about what was said; whoever asks the manager and names no room asks for his own letters.
fn recalled(parsed: &Parsed<'_>, to: &Aor) -> Option<Recall> {
    match parsed {
        Parsed::Command(Command { deed: Deed::Recall(question), .. }) => Some(question.clone()),
        Parsed::Command(Command { deed: Deed::History(n), room: None }) if to.user() == MANAGER => {
            Some(Recall::Letters { n: *n, with: None })
        }
        _ => None,
    }
}

fn members(room: &Room) -> impl Iterator<Item = Aor> + '_ {
    room.members.iter().map(|member| member.who.clone()).filter(|who| room.hears(who))
}

pub fn local(at: UnixMs) -> LocalTime {
    let time = jiff::Timestamp::from_millisecond(at).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    LocalTime {
        year: time.year().into(),
        month: time.month().unsigned_abs(),
        day: time.day().unsigned_abs(),
        hour: time.hour().unsigned_abs(),
        minute: time.minute().unsigned_abs(),
    }
}

/// `who > to: text`. A colon that is not followed by text ends an empty one.
fn spoken<'a>(line: &'a str, arrow: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (who, rest) = line.split_once(arrow)?;
    let (to, text) = rest.split_once(": ").or_else(|| rest.strip_suffix(':').map(|to| (to, "")))?;
    (!who.contains(' ') && !to.contains(' ')).then_some((who, to, text))
}
