//! The world around one shard: a network that loses and delays, a store, a registrar, and things that happen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use imcd::chat::render::Target;
use imcd::chat::shard::{Event, Input, Now, Outgoing, Page, Reach, Reply, Shard};
use imcd::types::{AccountId, Announcement, ConvId, Dest, DeviceKey, Entry, EntryKind, Seq};

use super::Dice;
use super::oracle::{Oracle, body};
use super::phones::{Mode, Phone};
use crate::delivery::judge::{Sent, glance};
use crate::delivery::log::{DAY, Log, aside, post};
use crate::delivery::world::{EPOCH, ids, port, settings};

const NAMES: [&str; 6] = ["ann", "ben", "cia", "dan", "eva", "fox"];
/// Port of the proxy that all routes go to.
const PROXY: u16 = 5080;

/// Something that will happen.
enum Next {
    Arrive(Sent),
    Reply(Reply, Sent),
    Failed(Sent),
    Announce(Announcement),
    Reach(usize, Vec<usize>, Vec<usize>, Reach),
    Read(Event),
    Page(Page),
    Flush,
    Commit,
    /// A look-up has ended: targets, and for how long (ms).
    Located(AccountId, Arc<[Target]>, u64),
    /// The registrar has heard of a 404.
    Unbound(usize),
    Act,
}

pub struct Counts {
    pub taken: u64,
    pub crashes: u64,
    pub timed_out: u64,
    pub repeated: u64,
}

pub struct Network {
    dice: Dice,
    shard: Shard,
    log: Log,
    oracle: Oracle,
    phones: Vec<Phone>,
    by_uri: HashMap<String, usize>,
    accounts: usize,
    rooms: u64,
    start: Instant,
    /// Virtual time, ms.
    at: u64,
    agenda: BTreeMap<(u64, u64), Next>,
    order: u64,
    /// Inputs of one kind keep their order.
    last_news: u64,
    last_reach: u64,
    /// Percent of datagrams.
    loss: u64,
    proxy_down: bool,
    /// Ports where nobody is: nothing comes back, or that nobody is there.
    dead: HashMap<u16, bool>,
    acts: u32,
    ids: u64,
    /// Retransmissions are told by the branch; the first is kept to compare.
    seen: HashMap<u64, Sent>,
    /// Positions that the store knows, and those on disk.
    known: BTreeMap<(AccountId, DeviceKey), Seq>,
    disk: BTreeMap<(AccountId, DeviceKey), Seq>,
    crashes: u64,
    timed_out: u64,
    /// The end: nothing is lost, nobody is away.
    calm: bool,
}

impl Network {
    pub fn new(seed: u64) -> Network {
        let mut dice = Dice::new(seed);
        let start = Instant::now();
        let accounts = dice.roll(2, 6) as usize;
        let mut phones = Vec::new();
        for (i, name) in NAMES.into_iter().enumerate().take(accounts) {
            let who = (AccountId(i as i64 + 1), name);
            let base = 6000 + 10 * i as u16;
            match dice.roll(0, 5) {
                0 => phones.push(Phone::new(who, "route", PROXY, &mut dice)),
                1 => phones.push(Phone::new(who, "", base, &mut dice)),
                2 => {
                    for n in 0..2 {
                        phones.push(Phone::new(who, "", base + n, &mut dice));
                    }
                }
                _ => {
                    for (n, device) in ["urn:a", "urn:b", ""].into_iter().enumerate() {
                        if n == 0 || dice.percent(40) {
                            phones.push(Phone::new(who, device, base + n as u16, &mut dice));
                        }
                    }
                }
            }
        }
        let mut settings = settings();
        settings.keepalive = None;
        let mut log = Log::default();
        if dice.percent(20) {
            log.room_max = dice.roll(3, 80) as usize;
        }
        let mut network = Network {
            shard: Shard::new(settings, start, seed, Seq(0)),
            log,
            oracle: Oracle::default(),
            by_uri: phones.iter().enumerate().map(|(i, p)| (p.uri(), i)).collect(),
            phones,
            accounts,
            rooms: dice.roll(1, 3),
            start,
            at: 0,
            agenda: BTreeMap::new(),
            order: 0,
            last_news: 0,
            last_reach: 0,
            loss: dice.pick(&[0, 0, 5, 30]),
            proxy_down: false,
            dead: HashMap::new(),
            acts: dice.roll(30, 100) as u32,
            ids: 0,
            seen: HashMap::new(),
            known: BTreeMap::new(),
            disk: BTreeMap::new(),
            crashes: 0,
            timed_out: 0,
            calm: false,
            dice,
        };
        for account in 0..accounts {
            network.log.spans.insert(AccountId(account as i64 + 1), Vec::new());
            for room in 0..network.rooms {
                if network.dice.percent(80) {
                    network.join(account, room);
                }
            }
        }
        network
    }

    pub fn run(mut self) -> Counts {
        self.later(1, Next::Act);
        self.later(2, Next::Flush);
        while self.acts > 0 {
            self.step();
        }
        self.calm();
        let end = self.at + 2 * 3_600_000;
        while self.at < end && self.step() {}
        let now = self.now().ms;
        self.oracle.judge(&self.phones, &self.log, now);
        let (outboxes, open) = self.shard.load();
        assert_eq!((outboxes, open), (self.phones.iter().filter(|p| p.bound).count(), 0));
        Counts {
            taken: self.phones.iter().map(|p| p.has.len() as u64).sum(),
            crashes: self.crashes,
            timed_out: self.timed_out + self.shard.counters().timed_out,
            repeated: self.phones.iter().map(|p| p.repeated).sum(),
        }
    }

    fn now(&self) -> Now {
        Now { at: self.start + Duration::from_millis(self.at), ms: EPOCH + self.at as i64 }
    }

    fn later(&mut self, ms: u64, next: Next) {
        self.order += 1;
        self.agenda.insert((self.at + ms, self.order), next);
    }

    /// Does what comes next. False: nothing will ever happen.
    fn step(&mut self) -> bool {
        let first = self.agenda.keys().next().map(|(at, _)| *at);
        let micros =
            |due: Instant| due.saturating_duration_since(self.start).as_micros().div_ceil(1000) as u64;
        let due = self.shard.due().map(micros);
        let Some(next) = [first, due].into_iter().flatten().min() else { return false };
        assert!(first.is_some() || due > Some(self.at), "due again and again");
        self.at = self.at.max(next);
        let (mut out, mut events) = (Outgoing::default(), Vec::new());
        if due.is_some_and(|due| due <= self.at) {
            self.shard.poll(self.now(), &mut out, &mut events);
            self.outputs(out, events);
            let still = self.shard.due().map(|due| due.saturating_duration_since(self.start));
            assert!(still.is_none_or(|due| due > Duration::from_millis(self.at)), "due again and again");
        } else if let Some((_, next)) = self.agenda.pop_first() {
            self.happens(next);
        }
        assert!(
            self.shard.longest() <= 3 * 64 + self.rooms as usize,
            "a queue grows: {}",
            self.shard.longest()
        );
        true
    }

    fn input(&mut self, input: Input) {
        let (mut out, mut events) = (Outgoing::default(), Vec::new());
        self.shard.input(self.now(), input, &mut out, &mut events);
        self.outputs(out, events);
    }

    fn phone_at(&self, uri: &str) -> usize {
        self.by_uri[uri]
    }

    fn outputs(&mut self, out: Outgoing, events: Vec<Event>) {
        for (dest, bytes, branch) in out.iter() {
            let nonce = branch.unwrap().nonce;
            let sent = match self.seen.get(&nonce) {
                Some(first) => {
                    assert_eq!(first.bytes, bytes, "a retransmission is the same request");
                    first.clone()
                }
                None => {
                    let sent = glance(&ids(), dest, bytes);
                    let phone = self.phone_at(&sent.uri);
                    let now = self.now().ms;
                    self.oracle.sending(self.at, phone, &self.phones, &self.log, &sent, now);
                    self.seen.insert(nonce, sent.clone());
                    sent
                }
            };
            if matches!(dest, Dest::Connect(_)) && !self.calm && self.dice.percent(40) {
                let delay = self.dice.roll(1, 2000);
                self.later(delay, Next::Failed(sent));
            } else if let (Dest::Udp { .. }, Some(told)) = (dest, self.dead.get(&port(&sent)).copied()) {
                if told {
                    let delay = self.delay();
                    self.later(delay, Next::Failed(sent));
                }
            } else if matches!(dest, Dest::Connect(_)) || !self.lost() {
                let delay = self.delay();
                self.later(delay, Next::Arrive(sent));
            }
        }
        for event in events {
            match event {
                Event::Page { .. } => {
                    let delay = self.dice.roll(0, 300);
                    self.later(delay, Next::Read(event));
                }
                Event::Locate { account, .. } => {
                    let phone = self.phones.iter().find(|p| p.account.0 == account && p.by_name).unwrap();
                    let all = phone.targets();
                    let found: Vec<Target> =
                        all.iter().filter(|_| self.calm || self.dice.percent(70)).cloned().collect();
                    let good_for = self.dice.pick(&[0, 5_000, 60_000, 3_600_000]);
                    // Sometimes it is never answered.
                    if self.calm || self.dice.percent(95) {
                        let delay = self.dice.pick(&[0, 10, 3_000, 29_000, 31_000]);
                        let good_for = if self.calm { 3_600_000 } else { good_for };
                        let delay = if self.calm { 10 } else { delay };
                        self.later(delay, Next::Located(account, found.into(), good_for));
                    }
                }
                Event::Unbound { account, contact } => {
                    let is = |p: &Phone| p.account.0 == account && p.contact().key == contact;
                    let phone = self.phones.iter().position(is).unwrap();
                    self.oracle.left(phone, "");
                    let delay = self.dice.roll(1, 2000);
                    self.later(delay, Next::Unbound(phone));
                }
                _ => {}
            }
        }
    }

    fn lost(&mut self) -> bool {
        !self.calm && self.dice.percent(self.loss)
    }

    /// At most T4 (RFC 3261 Table 4).
    fn delay(&mut self) -> u64 {
        if !self.calm && self.dice.percent(3) { self.dice.roll(1, 5_000) } else { self.dice.roll(1, 80) }
    }

    fn happens(&mut self, next: Next) {
        match next {
            Next::Arrive(sent) => self.arrive(sent),
            Next::Reply(reply, sent) => {
                if reply.status >= 200 {
                    let phone = self.phone_at(&sent.uri);
                    self.oracle.answered(self.at, phone, &sent, reply.status);
                    self.seen.remove(&sent.branch.nonce);
                }
                self.input(Input::Response(reply));
            }
            Next::Failed(sent) => {
                let phone = self.phone_at(&sent.uri);
                self.oracle.answered(self.at, phone, &sent, 0);
                self.input(Input::Failed(sent.branch));
            }
            Next::Located(account, targets, good_for) => {
                let good_for = Duration::from_millis(good_for);
                self.input(Input::Located { account, targets, good_for });
            }
            Next::Announce(news) => self.input(Input::Announce(Arc::new(news))),
            Next::Reach(account, phones, gone, reach) => {
                for phone in gone {
                    let uri = self.phones[phone].uri();
                    self.oracle.left(phone, &uri);
                    // What is on the wire to a phone that goes does not wait for it to come again.
                    self.agenda.retain(|_, next| !matches!(next, Next::Arrive(sent) if *sent.uri == *uri));
                }
                for phone in phones {
                    let who = &self.phones[phone];
                    let open = self.oracle.open.get(&who.uri()).and_then(|(nonce, _)| self.seen.get(nonce));
                    let aside = open.is_some_and(|sent| port(sent) != who.port);
                    if aside && !who.is_route && reach.fresh.contains(&who.contact().key) {
                        // What went to an older flow is sent to the newest at once.
                        self.oracle.open.remove(&who.uri());
                    }
                    self.oracle.reached(phone, &self.phones[phone], self.log.head());
                }
                assert_eq!(reach.account.0, account as i64 + 1);
                self.input(Input::Reach(Box::new(reach)));
            }
            Next::Read(event) => {
                let Event::Page { slot, id, account, after, skips, .. } = event else { return };
                let now = self.now().ms;
                let page = self.log.page((slot, id, account), after, skips, now);
                let skipped = self.oracle.skipped.entry(account).or_default();
                skipped.extend(page.skips.iter().map(|(conversation, upto)| (*conversation, after, *upto)));
                let delay = self.dice.roll(0, 300);
                self.later(delay, Next::Page(page));
            }
            Next::Page(page) => self.input(Input::Page(Box::new(page))),
            Next::Flush => {
                self.flush();
                let (delay, again) = (self.dice.roll(1, 900), self.dice.roll(50, 1000));
                self.later(delay, Next::Commit);
                // At the end only what can still happen keeps the world turning.
                if !self.calm {
                    self.later(again, Next::Flush);
                }
            }
            Next::Commit => self.disk = self.known.clone(),
            Next::Unbound(phone) => {
                // At the end it notices, and registers anew.
                self.phones[phone].bound = self.calm;
                self.reach(phone, self.calm);
            }
            Next::Act => {
                self.acts -= 1;
                self.act();
                let pause = self.dice.pick(&[0, 5, 100, 1000, 1000, 10_000, 40_000, 200_000]);
                let pause = self.dice.roll(0, pause);
                self.later(pause, Next::Act);
            }
        }
    }

    fn flush(&mut self) {
        let mut moved = Vec::new();
        self.shard.positions(&mut moved);
        for (account, device, seq) in moved {
            let position = self.known.entry((account, device)).or_default();
            *position = seq.max(*position);
        }
    }

    fn arrive(&mut self, sent: Sent) {
        let at = self.phone_at(&sent.uri);
        let phone = &mut self.phones[at];
        let status = match (phone.is_route && port(&sent) == PROXY, self.proxy_down) {
            (true, true) => Some(503),
            _ => {
                let id = super::oracle::id_of(&sent);
                id.map_or(Some(200), |id| phone.receive(id, &sent, &mut self.dice))
            }
        };
        let Some(status) = status else { return };
        let retry_after = if self.dice.percent(10) { Some(self.dice.roll(0, 200) as u32) } else { None };
        for copy in 0..3 {
            let reply = Reply { branch: sent.branch, status, retry_after, accept: None };
            let reply = if copy == 2 { Reply { status: 100, ..reply } } else { reply };
            if (copy == 0 || self.dice.percent(10)) && !self.lost() {
                let delay = self.delay();
                self.later(delay, Next::Reply(reply, sent.clone()));
            }
        }
    }

    // ── things that happen ───────────────────────────────────────────────────────────────────────────────

    fn act(&mut self) {
        let phone = self.dice.roll(0, self.phones.len() as u64 - 1) as usize;
        let account = self.dice.roll(0, self.accounts as u64 - 1) as usize;
        let room = self.dice.roll(0, self.rooms - 1);
        let member = self.log.is_member(AccountId(account as i64 + 1), conversation(room));
        match self.dice.roll(0, 99) {
            0..=39 => {
                for _ in 0..self.dice.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5, 5, 90]) {
                    self.post(account, room);
                }
            }
            40..=44 if member => self.leave(account, room),
            40..=49 if !member => self.join(account, room),
            40..=74 => {
                // A phone comes: somehow, and perhaps from elsewhere.
                let who = &mut self.phones[phone];
                who.mode = who.any_mode(&mut self.dice);
                who.bound = true;
                self.reach(phone, true);
            }
            75..=79 => {
                self.phones[phone].bound = false;
                self.reach(phone, false);
            }
            80..=87 => {
                let who = &mut self.phones[phone];
                who.mode = who.any_mode(&mut self.dice);
            }
            88 | 89 => self.proxy_down = !self.proxy_down,
            90 => {
                let at = self.phones[phone].port + 100 * self.dice.roll(0, 2) as u16;
                let told = self.dice.percent(50);
                if self.dead.remove(&at).is_none() {
                    self.dead.insert(at, told);
                }
            }
            91..=93 => {
                let account = self.phones[phone].account.0;
                if let Some(source) = self.phones[phone].targets()[0].source {
                    self.input(Input::Alive { account, source });
                }
            }
            94..=96 => {
                let said = Arc::new(aside("team", "an answer", self.now().ms));
                self.input(Input::Aside {
                    account: AccountId(account as i64 + 1),
                    source: None,
                    aside: said,
                });
            }
            _ => self.crash(),
        }
    }

    fn entry(&mut self, account: usize, room: u64) -> Entry {
        self.ids += 1;
        let who = (AccountId(account as i64 + 1), NAMES[account]);
        let mut entry = post(conversation(room), who, &body(self.ids), self.now().ms);
        entry.headers = format!("In-Reply-To: {}@x\r\n", self.ids).into();
        entry.expires = entry.at + if self.dice.percent(5) { 60_000 } else { 30 * DAY };
        entry
    }

    /// A commit: durable now, announced a little later, in order.
    fn commit(&mut self, news: Announcement) {
        for entry in &news.entries {
            self.oracle.entries.insert(self.ids, entry.clone());
        }
        let delay = self.dice.pick(&[0, 0, 1, 200, 1500]);
        self.last_news = self.last_news.max(self.at + self.dice.roll(0, delay));
        self.order += 1;
        self.agenda.insert((self.last_news, self.order), Next::Announce(news));
    }

    fn post(&mut self, account: usize, room: u64) {
        let entry = self.entry(account, room);
        let entry = self.log.append(entry);
        self.commit(Announcement { spans: Vec::new(), entries: vec![entry] });
    }

    fn notice(&mut self, account: usize, room: u64) -> Entry {
        let mut entry = self.entry(account, room);
        (entry.kind, entry.sender) = (EntryKind::Notice, None);
        entry
    }

    fn join(&mut self, account: usize, room: u64) {
        let entry = self.notice(account, room);
        let news = self.log.join(AccountId(account as i64 + 1), entry);
        self.commit(news);
    }

    fn leave(&mut self, account: usize, room: u64) {
        let entry = self.notice(account, room);
        let news = self.log.leave(AccountId(account as i64 + 1), entry);
        self.commit(news);
    }

    /// The registrar tells delivery all ways to the account of this phone, as the store knows its positions now.
    fn reach(&mut self, phone: usize, fresh: bool) {
        let who = self.phones[phone].account;
        let all: Vec<usize> = (0..self.phones.len()).filter(|i| self.phones[*i].account.0 == who.0).collect();
        let (bound, gone): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|i| self.phones[*i].bound);
        let contacts = bound.iter().map(|i| self.phones[*i].contact()).collect();
        let of_account = self.known.iter().filter(|((account, _), _)| *account == who.0);
        let positions: Vec<(DeviceKey, Seq)> = of_account.map(|((_, d), p)| (d.clone(), *p)).collect();
        let furthest = positions.iter().map(|(_, p)| *p).max().unwrap_or_default();
        let fresh = if fresh { vec![self.phones[phone].contact().key] } else { Vec::new() };
        let reach = Reach { account: who.0, contacts, positions, furthest, fresh };
        let delay = self.dice.pick(&[0, 0, 1, 200, 1500]);
        self.last_reach = self.last_reach.max(self.at + self.dice.roll(0, delay));
        self.order += 1;
        let next = Next::Reach(who.0.0 as usize - 1, bound, gone, reach);
        self.agenda.insert((self.last_reach, self.order), next);
    }

    /// The daemon dies and starts: what was not on disk is gone. Answers on the wire are not, and find nobody.
    fn crash(&mut self) {
        self.crashes += 1;
        self.timed_out += self.shard.counters().timed_out;
        let (phones, disk) = (&self.phones, &self.disk);
        self.oracle.crashed(|account, device| {
            let bound = phones.iter().any(|p| p.bound && p.account.0 == account && p.device == device);
            bound || disk.contains_key(&(account, device.into()))
        });
        let sharing =
            |account| self.phones.iter().filter(|p| p.account.0 == account && p.device.is_empty()).count();
        let alone: Vec<bool> =
            self.phones.iter().map(|p| !p.device.is_empty() || sharing(p.account.0) == 1).collect();
        for (phone, alone) in self.phones.iter_mut().zip(alone) {
            // Where a device began, or a contact that shares one, may be forgotten: it hears what was said before.
            if !alone || !self.disk.contains_key(&(phone.account.0, phone.device.into())) {
                phone.taken.clear();
            }
        }
        self.agenda.retain(|_, next| matches!(next, Next::Reply(..) | Next::Act));
        self.known = self.disk.clone();
        self.at += self.dice.roll(300, 3000);
        let mut settings = settings();
        settings.keepalive = None;
        self.shard = Shard::new(settings, self.now().at, self.dice.next(), self.log.head());
        self.later(1, Next::Flush);
        for account in 0..self.accounts {
            let phone = self.phones.iter().position(|p| p.account.0.0 == account as i64 + 1).unwrap();
            self.reach(phone, false);
        }
    }

    /// From now on all is well.
    fn calm(&mut self) {
        self.calm = true;
        self.proxy_down = false;
        self.dead.clear();
        self.agenda.retain(|_, next| !matches!(next, Next::Act));
        for phone in 0..self.phones.len() {
            self.phones[phone].mode = Mode::Good;
            self.phones[phone].bound = true;
            self.reach(phone, true);
        }
    }
}

fn conversation(room: u64) -> ConvId {
    ConvId(100 + room as i64)
}
