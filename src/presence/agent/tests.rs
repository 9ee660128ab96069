//! The agent in virtual time: subscriptions, publications, what watchers are told and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::chat::shard::Reply;
use crate::presence::conference::Member;
use crate::presence::pidf;
use crate::presence::publication::{Body, tag};
use crate::sip::dialog::{DialogId, Update};
use crate::sip::message::{Framing, Limits, Message, Name};
use crate::types::{Dest, Transport};

mod lists;
mod random;
mod rooms;
mod subscriptions;
mod survival;
mod watchers;

fn aor(name: &str) -> Aor {
    Aor::new(name, "h").unwrap()
}

fn pidf_of(who: &str, basic: &str, activity: &str) -> Body {
    let text = format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:{who}@h\"><tuple id=\"t1\"><status><basic>{basic}</basic></status></tuple>\
         <dm:person id=\"p\"><rpid:activities>{activity}</rpid:activities></dm:person></presence>"
    );
    let published = pidf::read(text.as_bytes(), &aor(who)).unwrap();
    Body::Pidf(Bytes::from(text), Arc::new(published))
}

/// A NOTIFY as it left.
#[derive(Clone, Debug)]
struct Sent {
    to: Dest,
    text: String,
    branch: Branch,
}

impl Sent {
    fn get(&self, name: &str) -> &str {
        let start = format!("\r\n{name}: ");
        let head = self.text.split("\r\n\r\n").next().unwrap();
        let Some(at) = head.find(&start) else { return "" };
        head[at + start.len()..].split("\r\n").next().unwrap()
    }
    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").unwrap().1
    }
    fn state(&self) -> &str {
        self.get("Subscription-State")
    }
    fn cseq(&self) -> u32 {
        self.get("CSeq").split(' ').next().unwrap().parse().unwrap()
    }
    fn says(&self, words: &str) -> bool {
        self.body().contains(words)
    }
}

/// What the world around the agent knows, and answers at once.
struct World {
    agent: Agent,
    start: Instant,
    /// Milliseconds since the start.
    time: u64,
    out: Outgoing,
    /// Told when asked for.
    people: HashMap<Aor, Person>,
    rooms: HashMap<Aor, RoomNow>,
    mails: HashMap<Aor, (u64, u64)>,
    lists: HashMap<Aor, Vec<Entry>>,
    answers: HashMap<Ticket, Answer>,
    states: HashMap<Aor, State>,
    ticket: Ticket,
    calls: u32,
    /// Questions wait until they are let through.
    is_slow: bool,
    asked: Vec<Source>,
}

const ZERO: UnixMs = 1_800_000_000_000;

fn settings() -> Settings {
    Settings {
        shard: 2,
        ids: Ids::new(&[7; 32]),
        timers: Timers::default(),
        ways: Box::new(|flow, _| {
            Some(Way {
                dest: Dest::Udp { listener: 0, to: flow.remote },
                via: "SIP/2.0/UDP 127.0.0.1:5060".into(),
                contact: "<sip:127.0.0.1:5060>".into(),
                stream: None,
            })
        }),
        publications: Lives { min: 10, default: 3600, max: 7200 },
        subscriptions: Lives { min: 10, default: 3600, max: 7200 },
        pace: 100,
        registered_is_online: true,
        max: 1000,
        max_per_watcher: 20,
        max_per_address: 50,
    }
}

/// A dialog as its watcher keeps it.
#[derive(Clone)]
struct Phone {
    name: String,
    call: u32,
    cseq: u32,
    package: Package,
    id: DialogId,
}

impl World {
    fn new() -> World {
        World::with(settings())
    }

    fn with(settings: Settings) -> World {
        let start = Instant::now();
        World {
            agent: Agent::new(settings, start, 1),
            start,
            time: 0,
            out: Outgoing::default(),
            people: HashMap::new(),
            rooms: HashMap::new(),
            mails: HashMap::new(),
            lists: HashMap::new(),
            answers: HashMap::new(),
            states: HashMap::new(),
            ticket: 0,
            calls: 0,
            is_slow: false,
            asked: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { at: self.start + Duration::from_millis(self.time), ms: ZERO + self.time as i64 }
    }

    fn input(&mut self, input: Input) {
        let mut events = Vec::new();
        let now = self.now();
        self.agent.input(now, input, &mut self.out, &mut events);
        self.hear(events);
    }

    fn hear(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Answer { ticket, answer } => drop(self.answers.insert(ticket, answer)),
                Event::State { who, state } => drop(self.states.insert(who, state)),
                Event::Ask(source) => {
                    self.asked.push(source.clone());
                    if !self.is_slow {
                        self.tell(source);
                    }
                }
            }
        }
    }

    fn tell(&mut self, source: Source) {
        let told = match source {
            Source::Person(who) => {
                Told::Person(who.clone(), self.people.get(&who).cloned().unwrap_or_default())
            }
            Source::Room(room) => Told::Room(room.clone(), self.rooms.get(&room).cloned().map(Arc::new)),
            Source::Mail(who) => Told::Mail(who.clone(), self.mails.get(&who).copied().unwrap_or_default()),
            Source::List(list) => {
                Told::List(list.clone(), self.lists.get(&list).cloned().unwrap_or_default())
            }
        };
        self.input(Input::Told(told));
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, ms: u64) {
        let until = self.time + ms;
        loop {
            let now = self.now();
            let due = self
                .agent
                .due(now)
                .map(|due| due.saturating_duration_since(self.start).as_micros().div_ceil(1000) as u64);
            match due.filter(|due| *due <= until) {
                Some(due) => self.time = due.max(self.time),
                None => break,
            }
            let mut events = Vec::new();
            let now = self.now();
            self.agent.poll(now, &mut self.out, &mut events);
            self.hear(events);
        }
        self.time = until;
    }

    /// What left since it was last asked.
    fn sent(&mut self) -> Vec<Sent> {
        let sent = self
            .out
            .iter()
            .map(|(to, bytes, branch)| Sent {
                to,
                text: String::from_utf8(bytes.to_vec()).unwrap(),
                branch: branch.unwrap(),
            })
            .collect();
        self.out.clear();
        sent
    }

    fn reply(&mut self, sent: &Sent, status: u16) {
        self.reply_after(sent, status, None);
    }

    fn reply_after(&mut self, sent: &Sent, status: u16, retry_after: Option<u32>) {
        self.input(Input::Response(Reply { branch: sent.branch, status, retry_after, accept: None }));
    }

    /// Lets time pass and answers every NOTIFY with 200; all that left.
    fn run(&mut self, ms: u64) -> Vec<Sent> {
        let mut all = Vec::new();
        let until = self.time + ms;
        loop {
            for sent in self.sent() {
                self.reply(&sent, 200);
                all.push(sent);
            }
            if self.time >= until {
                return all;
            }
            self.pass(10.min(until - self.time));
        }
    }

    fn publish(&mut self, who: &str, etag: Option<u64>, expires: Option<u32>, body: Body) -> Answer {
        self.ticket += 1;
        // Each in its own words.
        let digest = self.ticket;
        let put = Put { etag: etag.map(|etag| tag(etag).into()), expires, phone: None, digest, body };
        self.input(Input::Publish { ticket: self.ticket, who: aor(who), put });
        self.answers.remove(&self.ticket).unwrap()
    }

    fn says(&mut self, who: &str, basic: &str, activity: &str) -> u64 {
        match self.publish(who, None, Some(3600), pidf_of(who, basic, activity)) {
            Answer::Published(Ok(done)) => done.etag,
            other => panic!("{other:?}"),
        }
    }

    fn request(&self, phone: &Phone, to_tag: &str) -> String {
        format!(
            "SUBSCRIBE sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:7;branch=z9hG4bKx\r\nFrom: <sip:{}@h>;tag=f\r\n\
             To: <sip:x@h>{to_tag}\r\nCall-ID: c{}\r\nCSeq: {} SUBSCRIBE\r\nContact: <sip:w@127.0.0.1:7>\r\n\r\n",
            phone.name, phone.call, phone.cseq
        )
    }

    fn flow() -> Flow {
        let (local, remote) = ("127.0.0.1:5060".parse().unwrap(), "127.0.0.1:7".parse().unwrap());
        Flow { transport: Transport::Udp, listener: 0, local, remote, conn: None }
    }

    fn begin(
        &mut self,
        watcher: &str,
        package: Package,
        address: &str,
        target: Target,
        standing: Standing,
        expires: u32,
    ) -> Result<Phone, No> {
        self.calls += 1;
        let id = DialogId {
            call_id: format!("c{}", self.calls).into(),
            local_tag: "t".into(),
            remote_tag: "f".into(),
        };
        let phone = Phone { name: watcher.into(), call: self.calls, cseq: 1, package, id };
        let text = self.request(&phone, "");
        let message = Message::scan(text.as_bytes(), Framing::Datagram, &Limits::default()).unwrap();
        assert_eq!(message.get(Name::To).map(<[u8]>::len), Some(9));
        let dialog = Dialog::begin(&message, "t").unwrap();
        self.ticket += 1;
        let new = New {
            dialog,
            flow: World::flow(),
            package,
            event_id: None,
            watcher: aor(watcher),
            address: aor(address),
            target,
            standing,
            expires: Some(expires),
        };
        self.input(Input::Subscribe { ticket: self.ticket, new: Box::new(new) });
        match self.answers.remove(&self.ticket).unwrap() {
            Answer::Subscribed { seconds, .. } => {
                assert_eq!(seconds, expires);
                Ok(phone)
            }
            Answer::No(no) => Err(no),
            other => panic!("{other:?}"),
        }
    }

    /// Somebody who may see everything watches somebody.
    fn watch(&mut self, watcher: &str, who: &str) -> Phone {
        self.begin(watcher, Package::Presence, who, Target::Person, Standing::Active, 600).unwrap()
    }

    fn refresh(&mut self, phone: &mut Phone, expires: u32) -> Answer {
        phone.cseq += 1;
        self.refresh_as(phone, expires, None, None)
    }

    fn refresh_as(
        &mut self,
        phone: &Phone,
        expires: u32,
        event_id: Option<&str>,
        entries: Option<Vec<Entry>>,
    ) -> Answer {
        let text = self.request(phone, ";tag=t");
        let message = Message::scan(text.as_bytes(), Framing::Datagram, &Limits::default()).unwrap();
        self.ticket += 1;
        let refresh = Refresh {
            id: phone.id.clone(),
            update: Update::of_request(&message).unwrap(),
            flow: World::flow(),
            package: phone.package,
            event_id: event_id.map(Into::into),
            watcher: aor(&phone.name),
            expires: Some(expires),
            entries,
        };
        self.input(Input::Refresh { ticket: self.ticket, refresh: Box::new(refresh) });
        self.answers.remove(&self.ticket).unwrap()
    }

    fn stand(&mut self, presentity: &str, watcher: &str, standing: Standing) {
        self.input(Input::Standing { presentity: aor(presentity), watcher: aor(watcher), standing });
    }

    /// Nothing is left of anybody.
    fn assert_empty(&self) {
        let agent = &self.agent;
        assert_eq!(agent.slots.iter().flatten().count(), 0);
        assert!(agent.dialogs.is_empty() && agent.watches.is_empty() && agent.watchers.is_empty());
        assert!(agent.people.is_empty() && agent.rooms.is_empty() && agent.mails.is_empty());
        assert!(agent.lists.is_empty() && agent.ends.is_empty() && agent.publishers.is_empty());
        assert!(agent.changed.is_empty() && agent.listed == 0);
    }
}

fn member(name: &str, here: bool) -> Member {
    Member { who: aor(name), name: None, role: "member", here, since: None, anonymous: None }
}

fn room(name: &str, is_private: bool, members: &[(&str, bool)]) -> RoomNow {
    let members = members.iter().map(|(name, here)| member(name, *here)).collect();
    RoomNow { shown: Snapshot { address: aor(name), title: None, members }, is_private }
}
