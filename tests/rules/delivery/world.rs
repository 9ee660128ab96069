//! One shard with a clock, a log, and contacts that say nothing until a test makes them.
//!
//! Watches what every test relies on: never two transactions open towards one contact (RFC 3428 §8), a repeat
//! of a request byte for byte, no clock that stands still, every MESSAGE readable by others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imcd::chat::dialect::Dialect;
use imcd::chat::ids::{Branch, Ids};
use imcd::chat::render::{Contact, Target};
use imcd::chat::shard::{Counters, Event, Input, Now, Outgoing, Page, Reach, Reply, Settings, Shard};
use imcd::config::Prefix;
use imcd::sip::transaction::Timers;
use imcd::types::{AccountId, Announcement, Aor, ConvId, Dest, DeviceKey, Entry, Seq, UnixMs};

use super::judge::{Sent, judge};
use super::log::{Log, aside, post};

/// 2026-01-01, in ms.
pub const EPOCH: UnixMs = 1_767_225_600_000;
/// 64·T1.
const TIMER_F: Duration = Duration::from_secs(32);

pub const ALICE: (AccountId, &str) = (AccountId(1), "alice");
pub const BOB: (AccountId, &str) = (AccountId(2), "bob");
pub const CAROL: (AccountId, &str) = (AccountId(3), "carol");
/// Conversation of the room of most tests.
pub const TEAM: ConvId = ConvId(100);

pub fn ids() -> Ids {
    Ids::new(&[7; 32])
}

pub fn settings() -> Settings {
    Settings {
        shard: 0,
        ids: ids(),
        timers: Timers::default(),
        dialect: Dialect::Kamailio,
        copy_to_sender: false,
        prefix: Prefix::Never,
        ctime: |at| format!("at {at}"),
        keepalive: Some(Duration::from_secs(25)),
    }
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A contact on UDP. An empty `device` is the default one.
pub fn contact(who: (AccountId, &str), device: &str, port: u16) -> Contact {
    let key: Arc<str> = if device.is_empty() { format!("{}:{port}", who.1).into() } else { device.into() };
    Contact {
        key,
        device: device.into(),
        aor: Aor::new(who.1, "example.org").unwrap(),
        targets: [target(who, port)].into(),
        is_route: false,
        by_name: false,
        takes: Arc::default(),
    }
}

/// A place on UDP where a contact is.
pub fn target(who: (AccountId, &str), port: u16) -> Target {
    Target {
        uri: format!("sip:{}@127.0.0.1:{port}", who.1).into(),
        to: format!("{}@example.org", who.1).into(),
        route: "".into(),
        dest: Dest::Udp { listener: 0, to: address(port) },
        source: Some(address(port)),
        via: "SIP/2.0/UDP 127.0.0.1:5060".into(),
        stream: None,
        trusted: false,
        keepalive: false,
    }
}

/// The same contact with its first target changed.
pub fn with(mut contact: Contact, change: impl FnOnce(&mut Target)) -> Contact {
    let mut targets = contact.targets.to_vec();
    change(&mut targets[0]);
    contact.targets = targets.into();
    contact
}

/// The way to an address through the proxy at `port`.
pub fn route(who: (AccountId, &str), port: u16) -> Contact {
    let targets = [hop(who, port)].into();
    Contact { is_route: true, targets, ..contact(who, "route", port) }
}

/// A next hop towards an address.
pub fn hop(who: (AccountId, &str), port: u16) -> Target {
    Target { uri: format!("sip:{}@example.org", who.1).into(), source: None, ..target(who, port) }
}

/// When pages are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    AtOnce,
    /// The test takes them from [`World::asked`].
    ByHand,
}

pub struct World {
    pub shard: Shard,
    pub log: Log,
    start: Instant,
    /// Since the world began.
    pub at: Duration,
    pub paging: Paging,
    /// Pages asked for and not answered.
    pub asked: Vec<Event>,
    /// Events other than pages.
    pub events: Vec<Event>,
    /// MESSAGEs sent first, not taken by the test yet.
    pub sent: Vec<Sent>,
    /// When what was sent, first or again: (time, branch, first).
    pub wire: Vec<(Duration, Branch, bool)>,
    /// Everything else that went out.
    pub keepalives: Vec<(Duration, Dest)>,
    /// Positions as on disk.
    pub disk: HashMap<(AccountId, DeviceKey), Seq>,
    /// Open transactions by contact: branch, since when, the bytes.
    open: HashMap<String, (Sent, Duration)>,
    seed: u64,
}

impl World {
    pub fn new() -> World {
        World::with(settings())
    }

    pub fn with(settings: Settings) -> World {
        let start = Instant::now();
        World {
            shard: Shard::new(settings, start, 1, Seq(0)),
            log: Log::default(),
            start,
            at: Duration::ZERO,
            paging: Paging::AtOnce,
            asked: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            wire: Vec::new(),
            keepalives: Vec::new(),
            disk: HashMap::new(),
            open: HashMap::new(),
            seed: 1,
        }
    }

    /// The room TEAM with Alice, Bob and Carol in it; nobody is reachable yet.
    pub fn team() -> World {
        let mut world = World::new();
        for who in [ALICE, BOB, CAROL] {
            let now = world.ms();
            world.log.spans.entry(who.0).or_default();
            let mut joined = post(TEAM, who, "joined", now);
            joined.sender = None;
            joined.kind = imcd::types::EntryKind::Notice;
            let news = world.log.join(who.0, joined);
            world.input(Input::Announce(Arc::new(news)));
        }
        // Who was there before the test begins has heard this.
        for who in [ALICE, BOB, CAROL] {
            world.disk.insert((who.0, "".into()), world.log.head());
        }
        world
    }

    /// The team, and Bob on one phone that has everything.
    pub fn bob(port: u16) -> World {
        let mut world = World::team();
        world.reach(BOB, vec![contact(BOB, "", port)]);
        world
    }

    pub fn ms(&self) -> UnixMs {
        EPOCH + self.at.as_millis() as i64
    }

    fn now(&self) -> Now {
        Now { at: self.start + self.at, ms: self.ms() }
    }

    pub fn counters(&self) -> Counters {
        self.shard.counters()
    }

    // ── inputs ───────────────────────────────────────────────────────────────────────────────────────────

    pub fn input(&mut self, input: Input) {
        let (mut out, mut events) = (Outgoing::default(), Vec::new());
        self.shard.input(self.now(), input, &mut out, &mut events);
        self.outputs(out, events);
    }

    fn outputs(&mut self, out: Outgoing, events: Vec<Event>) {
        for (dest, bytes, branch) in out.iter() {
            if bytes == b"\r\n\r\n" {
                self.keepalives.push((self.at, dest));
                continue;
            }
            let sent = judge(&ids(), dest, bytes);
            assert_eq!(Some(sent.branch), branch);
            let known = self.open.get(&sent.uri).filter(|(_, since)| self.at < *since + TIMER_F);
            let first = known.is_none();
            if let Some((open, _)) = known {
                assert_eq!(open.branch, sent.branch, "two transactions open towards {}", sent.uri);
                assert_eq!(open.bytes, sent.bytes, "a retransmission is the same request");
            } else {
                self.open.insert(sent.uri.clone(), (sent.clone(), self.at));
                self.sent.push(sent.clone());
            }
            self.wire.push((self.at, sent.branch, first));
        }
        for event in events {
            match event {
                Event::Page { .. } if self.paging == Paging::AtOnce => {
                    let page = self.read(&event);
                    self.input(Input::Page(Box::new(page)));
                }
                Event::Page { .. } => self.asked.push(event),
                other => self.events.push(other),
            }
        }
    }

    /// The page that answers this event, as the log is now.
    pub fn read(&self, event: &Event) -> Page {
        let Event::Page { slot, id, account, after, skips, .. } = event else { panic!("{event:?}") };
        self.log.page((*slot, *id, *account), *after, skips.clone(), self.ms())
    }

    /// Answers the oldest page asked for.
    pub fn turn_page(&mut self) {
        let event = self.asked.remove(0);
        let page = self.read(&event);
        self.input(Input::Page(Box::new(page)));
    }

    /// Lets time pass; timers fire when they are due.
    pub fn pass(&mut self, time: Duration) {
        let until = self.at + time;
        let mut turns = 0;
        while let Some(due) = self.shard.due() {
            let due = due.saturating_duration_since(self.start);
            if due > until {
                break;
            }
            turns = if due > self.at { 0 } else { turns + 1 };
            assert!(turns < 100, "the shard is due at {due:?} again and again, now is {:?}", self.at);
            self.at = self.at.max(due);
            let (mut out, mut events) = (Outgoing::default(), Vec::new());
            self.shard.poll(self.now(), &mut out, &mut events);
            self.outputs(out, events);
        }
        self.at = until;
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    pub fn pass_s(&mut self, s: u64) {
        self.pass(Duration::from_secs(s));
    }

    /// These are all ways to `who` now; none of them has just registered.
    pub fn reach(&mut self, who: (AccountId, &str), contacts: Vec<Contact>) {
        self.reach_fresh(who, contacts, &[]);
    }

    /// The same; contacts with these ports have just registered.
    pub fn reach_fresh(&mut self, who: (AccountId, &str), contacts: Vec<Contact>, ports: &[u16]) {
        self.flush();
        // A contact that goes or moves leaves its transaction behind.
        let stays = |sent: &Sent| {
            let ours = sent.uri.starts_with(&format!("sip:{}@", who.1));
            !ours
                || contacts.iter().any(|c| c.by_name)
                || contacts
                    .iter()
                    .flat_map(|c| c.targets.iter())
                    .any(|to| *to.uri == *sent.uri && (to.dest == sent.dest || to.stream.is_some()))
        };
        self.open.retain(|_, (sent, _)| stays(sent));
        let of_account = self.disk.iter().filter(|((account, _), _)| *account == who.0);
        let positions: Vec<(DeviceKey, Seq)> = of_account.map(|((_, d), p)| (d.clone(), *p)).collect();
        let furthest = positions.iter().map(|(_, p)| *p).max().unwrap_or_default();
        let has_port = |c: &&Contact| ports.iter().any(|port| c.is_at(address(*port)));
        let fresh = contacts.iter().filter(has_port).map(|c| c.key.clone()).collect();
        self.input(Input::Reach(Box::new(Reach { account: who.0, contacts, positions, furthest, fresh })));
    }

    /// Positions go to disk; they only grow there.
    pub fn flush(&mut self) {
        let mut moved = Vec::new();
        self.shard.positions(&mut moved);
        for (account, device, seq) in moved {
            let position = self.disk.entry((account, device)).or_default();
            *position = seq.max(*position);
        }
    }

    pub fn position(&mut self, who: (AccountId, &str), device: &str) -> Option<Seq> {
        self.flush();
        self.disk.get(&(who.0, device.into())).copied()
    }

    /// The daemon dies, with what it had not written; a new one knows the log and the disk.
    pub fn crash(&mut self) {
        self.seed += 1;
        self.shard = Shard::new(settings(), self.start + self.at, self.seed, self.log.head());
        self.open.clear();
        self.sent.clear();
    }

    pub fn say(&mut self, entry: Entry) -> Seq {
        let entry = self.log.append(entry);
        let seq = entry.seq;
        self.input(Input::Announce(Arc::new(Announcement { spans: Vec::new(), entries: vec![entry] })));
        seq
    }

    /// Alice says something in the room.
    pub fn alice(&mut self, text: &str) -> Seq {
        let now = self.ms();
        self.say(post(TEAM, ALICE, text, now))
    }

    pub fn tell(&mut self, who: (AccountId, &str), source: Option<u16>, text: &str) {
        let aside = Arc::new(aside("team", text, self.ms()));
        self.input(Input::Aside { account: who.0, source: source.map(address), aside });
    }

    pub fn alive(&mut self, who: (AccountId, &str), port: u16) {
        self.input(Input::Alive { account: who.0, source: address(port) });
    }

    // ── phones ───────────────────────────────────────────────────────────────────────────────────────────

    /// The one MESSAGE that was sent since the last look.
    pub fn one(&mut self) -> Sent {
        let mut sent = std::mem::take(&mut self.sent);
        assert_eq!(sent.len(), 1, "{:?}", sent.iter().map(|s| &s.body).collect::<Vec<_>>());
        sent.remove(0)
    }

    pub fn none(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent.iter().map(|s| &s.body).collect::<Vec<_>>());
    }

    pub fn reply(&mut self, to: &Sent, status: u16) {
        self.reply_after(to, status, None);
    }

    pub fn reply_after(&mut self, to: &Sent, status: u16, retry_after: Option<u32>) {
        if status >= 200 && self.open.get(&to.uri).is_some_and(|(open, _)| open.branch == to.branch) {
            self.open.remove(&to.uri);
        }
        self.input(Input::Response(Reply { branch: to.branch, status, retry_after, accept: None }));
    }

    /// The transport says that it did not arrive.
    pub fn fail(&mut self, sent: &Sent) {
        if self.open.get(&sent.uri).is_some_and(|(open, _)| open.branch == sent.branch) {
            self.open.remove(&sent.uri);
        }
        self.input(Input::Failed(sent.branch));
    }

    /// Phones answer as `answer` says, until nothing more comes. Bodies that were taken, in order, with the
    /// port that took them.
    pub fn serve(&mut self, answer: impl Fn(&Sent) -> u16) -> Vec<(u16, String)> {
        let mut taken = Vec::new();
        while !self.sent.is_empty() {
            let sent = self.sent.remove(0);
            let status = answer(&sent);
            if status == 0 {
                continue;
            }
            if status < 300 {
                taken.push((port(&sent), sent.body.clone()));
            }
            self.reply(&sent, status);
        }
        taken
    }

    /// All answer 200. The texts that were taken.
    pub fn take_all(&mut self) -> Vec<String> {
        self.serve(|_| 200).into_iter().map(|(_, body)| body).collect()
    }

    pub fn gave_up(&self) -> Vec<(Seq, u16)> {
        let gave_up = |event: &Event| match event {
            Event::GaveUp { seq, status, .. } => Some((*seq, *status)),
            _ => None,
        };
        self.events.iter().filter_map(gave_up).collect()
    }
}

pub fn port(sent: &Sent) -> u16 {
    match sent.dest {
        Dest::Udp { to, .. } | Dest::Connect(to) => to.port(),
        Dest::Conn(_) => 0,
    }
}

/// `[alice]: text` for each.
pub fn said(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| format!("[alice]: {text}")).collect()
}
