//! Phones and the proxy: what they answer, and what they remember of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use imcd::chat::render::{Contact, Target};
use imcd::types::{AccountId, Dest};

use super::Dice;
use crate::delivery::judge::Sent;
use crate::delivery::world::{address, contact, hop, route, target};

/// How a phone behaves at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Good,
    /// Says nothing.
    Dead,
    /// Answers this to everything, and takes nothing.
    Always(u16),
    /// 500 to every text with an `x` in it.
    ChokesOnX,
    /// Refuses every text with a `y` for good.
    Refuses(u16),
    /// 413 to bodies above 300 bytes.
    Small,
    /// Answers at random.
    Mad,
}

/// What is taken of one text: its parts, put together when all are there.
#[derive(Default)]
struct Pieces {
    total: usize,
    texts: HashMap<usize, String>,
}

pub struct Phone {
    pub account: (AccountId, &'static str),
    pub device: &'static str,
    pub port: u16,
    pub is_route: bool,
    /// It is reached at further ports too: a phone's older flows, or a domain's other servers.
    pub others: u16,
    /// These are looked up.
    pub by_name: bool,
    /// A connection to it can be made.
    pub stream: bool,
    pub mode: Mode,
    /// It has a binding that has not been refused.
    pub bound: bool,
    answered: HashMap<u64, u16>,
    pieces: HashMap<u64, Pieces>,
    /// Ids in the order in which they were first complete.
    pub taken: Vec<u64>,
    pub has: HashSet<u64>,
    /// Ids that it refused once in a way that may end in giving up.
    pub refused: HashSet<u64>,
    /// Complete ones that came again.
    pub repeated: u64,
}

impl Phone {
    pub fn new(
        account: (AccountId, &'static str),
        device: &'static str,
        port: u16,
        dice: &mut Dice,
    ) -> Phone {
        Phone {
            account,
            device,
            port,
            is_route: device == "route",
            others: if dice.percent(30) { dice.roll(1, 9) as u16 } else { 0 },
            by_name: device == "route" && dice.percent(50),
            stream: dice.percent(30),
            mode: Mode::Good,
            bound: false,
            answered: HashMap::new(),
            pieces: HashMap::new(),
            taken: Vec::new(),
            has: HashSet::new(),
            refused: HashSet::new(),
            repeated: 0,
        }
    }

    pub fn contact(&self) -> Contact {
        if self.is_route {
            let targets = if self.by_name { Arc::default() } else { self.targets() };
            return Contact { targets, by_name: self.by_name, ..route(self.account, self.port) };
        }
        Contact { targets: self.targets(), ..contact(self.account, self.device, self.port) }
    }

    /// Everywhere it is reached.
    pub fn targets(&self) -> Arc<[Target]> {
        let one = if self.is_route { hop(self.account, self.port) } else { target(self.account, self.port) };
        let stream = self.stream && !self.is_route;
        let all = (0..=self.others).map(|n| {
            let to = address(self.port + 100 * n);
            let dest = Dest::Udp { listener: 0, to };
            let stream = stream.then(|| (to, Arc::from("SIP/2.0/TCP 127.0.0.1:5060")));
            Target { dest, stream, ..one.clone() }
        });
        all.collect()
    }

    pub fn uri(&self) -> String {
        self.targets()[0].uri.to_string()
    }

    pub fn any_mode(&self, dice: &mut Dice) -> Mode {
        let away = dice.pick(&[408, 430, 480, 486, 491, 503, 504]);
        let gone = if self.is_route { 404 } else { dice.pick(&[404, 405, 410]) };
        let no = dice.pick(&[300, 400, 406, 481, 501, 505, 600, 603, 606]);
        match dice.roll(0, 9) {
            0..=2 => Mode::Good,
            3 | 4 => Mode::Dead,
            5 => Mode::Always(if dice.percent(70) { away } else { gone }),
            6 => Mode::ChokesOnX,
            7 => Mode::Refuses(no),
            8 => Mode::Small,
            _ => Mode::Mad,
        }
    }

    /// The status it answers, if any. The same to a retransmission.
    pub fn receive(&mut self, id: u64, sent: &Sent, dice: &mut Dice) -> Option<u16> {
        if self.mode == Mode::Dead {
            return None;
        }
        if let Some(status) = self.answered.get(&sent.branch.nonce) {
            return Some(*status);
        }
        let status = match self.mode {
            Mode::Always(status) => status,
            Mode::ChokesOnX if sent.body.contains('x') => 500,
            Mode::Refuses(status) if sent.body.contains('y') => status,
            Mode::Small if sent.body.len() > 300 => 413,
            Mode::Mad => dice.pick(&[200, 202, 200, 480, 500, 502, 415, 413, 488, 400, 603, 503, 299]),
            _ => 200,
        };
        self.answered.insert(sent.branch.nonce, status);
        if status >= 300 {
            self.refused.insert(id);
        } else {
            self.take(id, sent);
        }
        Some(status)
    }

    fn take(&mut self, id: u64, sent: &Sent) {
        let (part, total, text) = parts(&sent.body);
        let pieces = self.pieces.entry(id).or_default();
        if pieces.total != total {
            *pieces = Pieces { total, texts: HashMap::new() };
        }
        pieces.texts.insert(part, text.to_owned());
        if pieces.texts.len() < total {
            return;
        }
        let whole: String = (1..=total).map(|i| pieces.texts[&i].as_str()).collect();
        assert_eq!(whole, super::oracle::text_of(&whole, id), "a text is put together as it was said");
        self.pieces.remove(&id);
        if self.has.insert(id) {
            self.taken.push(id);
        } else {
            self.repeated += 1;
        }
    }
}

/// Number, count and text of a part; 1 of 1 for a whole text.
pub fn parts(body: &str) -> (usize, usize, &str) {
    let numbers = body.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    let Some((numbers, text)) = numbers else { return (1, 1, body) };
    let (part, total) = numbers.split_once('/').unwrap();
    (part.parse().unwrap(), total.parse().unwrap(), text)
}
