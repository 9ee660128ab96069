//! kill -9 at random moments under load: what was answered 202 is never lost, never doubled, never out of order.
//!
//! IMCD_PROOF=1 makes 100 rounds of the 10.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::chat::room;
use crate::kit::{Act, Daemon, Dice, Over, PATIENCE, Phone, Setup, long_form};

const ROOMS: [&str; 4] = ["north", "east", "south", "west"];
const SENDERS: usize = 8;
/// Posts of one sender in one round: all rooms together stay below `offline.room_max`.
const POSTS: usize = 150;

/// How a post ended for its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Accepted,
    Refused,
    Unknown,
}

struct Post {
    room: &'static str,
    sender: String,
    text: String,
    fate: Fate,
}

/// Open once the daemon is up again.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) -> bool {
        let guard = self.1.wait_timeout_while(self.0.lock().unwrap(), PATIENCE * 2, |open| !*open).unwrap().0;
        *guard
    }
}

/// Posts until told to stop; what is open when the daemon dies is repeated until it is answered.
fn post_until(stop: &AtomicBool, accepted: &AtomicU32, gate: &Gate, phone: &Phone, label: &str) -> Vec<Post> {
    let mut posts = Vec::new();
    for n in 0..POSTS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let room = ROOMS[(n + label.len()) % ROOMS.len()];
        let text = format!("{label} n{n}");
        let sent = phone.send_through(phone.message(room, &text), || gate.pass());
        let fate = match sent.outcome.as_ref().map(|m| m.status()) {
            Ok(202) => Fate::Accepted,
            Ok(_) => Fate::Refused,
            Err(_) => Fate::Unknown,
        };
        if fate == Fate::Accepted {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
        posts.push(Post {
            room,
            sender: phone.user().into(),
            text: format!("[{}]: {text}", phone.user()),
            fate,
        });
    }
    posts
}

/// Room and text of every post that a phone ever heard, with its Call-ID.
type Memory = HashMap<(String, String), String>;

/// What a phone heard since the last round, room by room, in order. Fails if a text ever came under two Call-IDs.
fn heard(phone: &Phone, memory: &mut Memory) -> BTreeMap<String, Vec<String>> {
    let mut rooms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for got in phone.taken().iter().filter(|g| g.msg.text().contains("]: k")) {
        let key = (got.msg.sender_user(), got.msg.text());
        if let Some(first) = memory.insert(key.clone(), got.msg.call_id().into()) {
            phone.fail(&format!("{key:?} came twice, with Call-ID {first} and {}", got.msg.call_id()));
        }
        rooms.entry(key.0).or_default().push(key.1);
    }
    rooms
}

/// Waits until every phone has every accepted post of the others, then compares.
fn judge(round: usize, posts: &[Post], phones: &[Phone], memories: &mut [Memory]) {
    for phone in phones {
        let mut missing: HashSet<(String, String)> = posts
            .iter()
            .filter(|p| p.fate == Fate::Accepted && p.sender != phone.user())
            .map(|p| (p.room.into(), p.text.clone()))
            .collect();
        let mut at = 0;
        let what = format!("round {round}: all accepted posts");
        phone.until_within(Duration::from_secs(90), &what, |all| {
            for got in &all[at..] {
                missing.remove(&(got.msg.sender_user(), got.msg.text()));
            }
            at = all.len();
            missing.is_empty()
        });
        phone.one_at_a_time();
    }
    let refused: HashSet<&str> =
        posts.iter().filter(|p| p.fate == Fate::Refused).map(|p| p.text.as_str()).collect();
    // The last phone only listens: it hears every post.
    let orders: Vec<_> = phones.iter().zip(memories).map(|(p, m)| heard(p, m)).collect();
    let reference = orders.last().unwrap();
    for (phone, rooms) in phones.iter().zip(&orders) {
        for (room, order) in rooms {
            for text in order {
                phone.check(!refused.contains(text.as_str()), &format!("{text:?} was refused, but arrived"));
            }
            let all: HashSet<&String> = order.iter().collect();
            let empty = Vec::new();
            let others = reference.get(room).unwrap_or(&empty);
            let common: HashSet<&String> = others.iter().filter(|t| all.contains(t)).collect();
            let expected: Vec<&String> = others.iter().filter(|t| common.contains(t)).collect();
            let seen: Vec<&String> = order.iter().filter(|t| common.contains(t)).collect();
            if let Some(at) = (0..expected.len()).find(|&i| expected[i] != seen[i]) {
                let around = at.saturating_sub(3)..(at + 4).min(expected.len());
                phone.fail(&format!(
                    "round {round}: another order in {room} at {at}: {:?}, the listener has {:?}",
                    &seen[around.clone()],
                    &expected[around]
                ));
            }
        }
    }
}

fn kill_under_load(name: &str, digest: bool) {
    let mut dice = Dice::new(name);
    let setup = Setup::new().set("offline.prefix", "\"never\"");
    let mut daemon = if digest { setup.digest() } else { setup }.start();
    let names: Vec<String> =
        (0..SENDERS).map(|n| format!("s{n}")).chain(["l0".into(), "l1".into()]).collect();
    let phones: Vec<Phone> = names
        .iter()
        .enumerate()
        .map(|(n, user)| {
            if digest {
                daemon.account(user, &format!("pw-{user}"));
            }
            let over = if n % 2 == 0 { Over::Tcp } else { Over::Udp };
            daemon.phone(user).over(over).registered()
        })
        .collect();
    for name in ROOMS {
        room(name, &phones[0], &phones[1..].iter().collect::<Vec<_>>());
    }
    let rounds = if long_form() { 100 } else { 10 };
    let mut total = 0;
    let mut memories = vec![Memory::new(); phones.len()];
    for round in 0..rounds {
        let (stop, accepted, gate) = (AtomicBool::new(false), AtomicU32::new(0), Gate::default());
        let delay = Duration::from_millis(dice.below(500) as u64);
        let posts: Vec<Post> = std::thread::scope(|scope| {
            let threads: Vec<_> = phones[..SENDERS]
                .iter()
                .enumerate()
                .map(|(n, phone)| {
                    let label = format!("k{round} {}", "s".repeat(n + 1));
                    let (stop, accepted, gate) = (&stop, &accepted, &gate);
                    scope.spawn(move || post_until(stop, accepted, gate, phone, &label))
                })
                .collect();
            // The random moment is what is tested; nothing is synchronised by it.
            std::thread::sleep(delay);
            daemon.kill();
            daemon.restart();
            stop.store(true, Ordering::Relaxed);
            gate.open();
            threads.into_iter().flat_map(|t| t.join().expect("a sender")).collect()
        });
        total += accepted.load(Ordering::Relaxed);
        for phone in &phones {
            if phone.is_broken() {
                phone.back();
            }
        }
        judge(round, &posts, &phones, &mut memories);
        phones.iter().for_each(Phone::forget);
    }
    println!("{name}: {rounds} kills, {total} posts accepted");
    assert!(total > rounds as u32, "too little load to prove anything: {total} posts in {rounds} rounds");
}

#[test]
fn every_accepted_post_survives_kills_under_load_open() {
    kill_under_load("kill, open", false);
}

#[test]
fn every_accepted_post_survives_kills_under_load_digest() {
    kill_under_load("kill, digest", true);
}

fn times_heard(phone: &Phone, text: &str) -> usize {
    phone.texts().iter().filter(|t| *t == text).count()
}

fn repeated_into_the_restarted_daemon(digest: bool, over: Over) {
    let setup = Setup::new();
    let mut daemon = if digest { setup.digest() } else { setup }.start();
    if digest {
        daemon.account("alice", "secret of alice");
        daemon.account("bob", "secret of bob");
    }
    let alice = daemon.phone("alice").over(over).registered();
    let bob = daemon.udp("bob");
    room("team", &alice, &[&bob]);
    let sent = alice.send(alice.message("team", "once only"));
    assert_eq!(sent.outcome.as_ref().map(|m| m.status()), Ok(202));

    daemon.kill_and_restart();
    if over == Over::Tcp {
        alice.reconnect();
    }
    // Same branch, Call-ID and CSeq: what a phone does whose answer was lost in the crash.
    let again = alice.transact(&sent.bytes, &sent.request.branch);
    assert_eq!(again.map(|m| m.status()), Ok(202), "a repetition is answered as the first was");
    // A copy by another branch, as over a new connection.
    let mut copy = sent.request.clone();
    copy.branch = format!("z9hG4bK{}", crate::kit::token());
    let answer = alice.ask(copy);
    assert_eq!(answer.status(), 202, "{}", answer.start);

    alice.back();
    alice.expect(202, "team", "marker");
    bob.hears("[alice]: marker");
    assert_eq!(times_heard(&bob, "[alice]: once only"), 1);
    bob.expect(202, "team", "#history 100");
    let history =
        bob.hears_that("the history", |m| m.text().contains("[alice]: marker") && m.text().contains("once"));
    assert_eq!(history.text().matches("once only").count(), 1, "{}", history.text());
}

#[test]
fn what_a_phone_is_taking_when_the_daemon_is_told_to_stop_is_not_said_again() {
    let mut daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let carol = daemon.tcp("carol");
    room("team", &alice, &[&bob, &carol]);
    for slow in [&bob, &carol] {
        slow.responds(|_| Act::After(Duration::from_millis(200), 200));
    }
    alice.expect(202, "team", "the last word");
    bob.offered("[alice]: the last word");
    carol.offered("[alice]: the last word");
    let (status, _) = daemon.terminate();
    assert!(status.success(), "{status}");
    daemon.restart();
    bob.back();
    carol.back();
    alice.expect(202, "team", "after");
    for phone in [&bob, &carol] {
        phone.hears("[alice]: after");
        let offered = phone.got().iter().filter(|got| got.msg.text() == "[alice]: the last word").count();
        assert_eq!(offered, 1, "{}", phone.transcript());
    }
}

#[test]
fn a_repetition_into_the_restarted_daemon_is_no_second_post_open_udp() {
    repeated_into_the_restarted_daemon(false, Over::Udp);
}

#[test]
fn a_repetition_into_the_restarted_daemon_is_no_second_post_open_tcp() {
    repeated_into_the_restarted_daemon(false, Over::Tcp);
}

#[test]
fn a_repetition_into_the_restarted_daemon_is_no_second_post_digest_udp() {
    repeated_into_the_restarted_daemon(true, Over::Udp);
}

#[test]
fn a_repetition_into_the_restarted_daemon_is_no_second_post_digest_tcp() {
    repeated_into_the_restarted_daemon(true, Over::Tcp);
}

#[test]
fn a_repetition_after_a_fresh_challenge_is_no_second_post() {
    let mut daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    daemon.account("bob", "secret of bob");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let sent = alice.send(alice.message("team", "once only"));
    assert_eq!(sent.outcome.as_ref().map(|m| m.status()), Ok(202));

    for restart in [false, true] {
        if restart {
            daemon.kill_and_restart();
        }
        // The repetition without credentials is challenged, the answer to that has the next CSeq.
        let mut bare = sent.request.clone();
        bare.branch = format!("z9hG4bK{}", crate::kit::token());
        let challenge = alice.transact(&bare.bytes(Over::Udp, alice.local(), None), &bare.branch).unwrap();
        assert_eq!(challenge.status(), 401, "{}", challenge.start);
        alice.take_challenge(&challenge);
        let answer = alice.ask(bare.again());
        assert_eq!(answer.status(), 202, "restart {restart}: {}", answer.start);
    }
    alice.expect(202, "team", "marker");
    bob.hears("[alice]: marker");
    assert_eq!(times_heard(&bob, "[alice]: once only"), 1, "{:?}", bob.texts());
    // Another text under the next CSeq is another post.
    let mut other = sent.request.clone().again().again();
    other.body = b"another text".to_vec();
    assert_eq!(alice.ask(other).status(), 202);
    bob.hears("[alice]: another text");
}

#[test]
fn a_copy_while_the_daemon_runs_is_absorbed() {
    let daemon = Daemon::open();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    room("team", &alice, &[&bob]);
    let sent = alice.send(alice.message("team", "eleven times"));
    assert_eq!(sent.outcome.as_ref().map(|m| m.status()), Ok(202));
    let first = sent.outcome.unwrap();
    for _ in 0..10 {
        let again = alice.transact(&sent.bytes, &sent.request.branch).unwrap();
        assert_eq!(
            (again.status(), again.header("To")),
            (202, first.header("To")),
            "the same answer, tag and all"
        );
    }
    alice.expect(202, "team", "marker");
    bob.hears("[alice]: marker");
    assert_eq!(times_heard(&bob, "[alice]: eleven times"), 1);
}
