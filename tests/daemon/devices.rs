//! Several devices of one person: each gets all, the one that is off later, and one that never comes back hinders nobody.

use std::collections::HashMap;
use std::time::Duration;

use crate::kit::{Act, Daemon, Over, Phone, Setup, sip};

fn texts(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|n| format!("letter {n}")).collect()
}

fn has_all(phone: &Phone, texts: &[String]) {
    phone.until("everything", |taken| {
        texts.iter().all(|text| taken.iter().any(|got| got.msg.text() == *text))
    });
    let taken: Vec<String> = phone.texts().into_iter().filter(|text| texts.contains(text)).collect();
    phone.check(taken == texts, &format!("in order and once: {taken:?}"));
}

fn one_of_two_is_off(over: Over) {
    let mut daemon = Setup::new().set("offline.prefix", "\"never\"").start();
    let alice = daemon.udp("alice");
    let desk = daemon.phone("bob").instance(1).registered();
    let tablet = daemon.phone("bob").instance(2).over(over).registered();
    alice.expect(200, "bob", "letter 0");
    tablet.hears("letter 0");
    tablet.unregister();
    for text in texts(1..=5) {
        alice.expect(200, "bob", &text);
    }
    has_all(&desk, &texts(1..=5));
    daemon.kill_and_restart();
    for text in texts(6..=8) {
        alice.expect(200, "bob", &text);
    }
    has_all(&desk, &texts(0..=8));

    // It takes three of them, and the daemon dies over the fourth.
    tablet.responds(|msg| if msg.text() == "letter 4" { Act::Silence } else { Act::Answer(200) });
    tablet.back();
    tablet.offered("letter 4");
    daemon.kill_and_restart();
    tablet.responds(|_| Act::Answer(200));
    tablet.back();
    has_all(&tablet, &texts(0..=8));
    let mut ids: HashMap<String, String> = HashMap::new();
    for got in tablet.got() {
        let known = ids.entry(got.msg.text()).or_insert_with(|| got.msg.call_id().to_owned());
        tablet.check(*known == got.msg.call_id(), "what is repeated has the Call-ID that it had");
    }
    // When it was said, not when it came.
    let date = |phone: &Phone, text: &str| sip::date(phone.hears(text).header("Date")).expect("a SIP date");
    for text in texts(1..=8) {
        assert_eq!(date(&tablet, &text), date(&desk, &text), "{text}");
    }
    alice.expect(200, "bob", "letter 9");
    for phone in [&desk, &tablet] {
        has_all(phone, &texts(0..=9));
    }
}

#[test]
fn of_two_devices_one_has_it_at_once_and_the_other_when_it_is_back_over_udp() {
    one_of_two_is_off(Over::Udp);
}

#[test]
fn of_two_devices_one_has_it_at_once_and_the_other_when_it_is_back_over_tcp() {
    one_of_two_is_off(Over::Tcp);
}

/// While the daemon is down, so long passes for this device.
fn was_away(daemon: &mut Daemon, device: &str, time: Duration) {
    daemon.terminate();
    let file = rusqlite::Connection::open(daemon.dir().join("imcd.db")).expect("the database can be opened");
    let (like, ms) = (format!("%{device}%"), time.as_millis() as i64);
    let aged =
        file.execute("UPDATE device SET seen = seen - ?2 WHERE instance LIKE ?1", (&like, ms)).unwrap();
    assert_eq!(aged, 1, "the device is known");
    file.execute("DELETE FROM binding WHERE data LIKE ?1", [&like]).unwrap();
    drop(file);
    daemon.restart();
}

#[test]
fn a_device_that_is_dead_for_a_year_never_fills_the_mailbox() {
    const DAY: Duration = Duration::from_secs(86_400);
    const MAX: usize = 10;
    let mut daemon = Setup::new()
        .set("offline.max_messages", &MAX.to_string())
        .set("offline.prefix", "\"never\"")
        .set("limits.posts_per_s", "0")
        .start();
    let alice = daemon.udp("alice");
    let desk = daemon.phone("bob").instance(1).registered();
    let tablet = daemon.phone("bob").instance(2).registered();
    alice.expect(200, "bob", "letter 0");
    tablet.hears("letter 0");
    tablet.hang_up();
    tablet.responds(|_| Act::Silence);
    let mut said = 0;
    // A device that is known and away, then one that is due to be forgotten, then none.
    for away in [Duration::ZERO, DAY, 365 * DAY, Duration::ZERO] {
        if !away.is_zero() {
            was_away(&mut daemon, "000000000002", away);
        }
        for _ in 0..3 * MAX {
            said += 1;
            alice.expect(200, "bob", &format!("letter {said}"));
        }
        has_all(&desk, &texts(0..=said));
    }
    // The last one to be on goes too: now, and only now, they count.
    desk.unregister();
    let waiting = said + 1..=said + MAX;
    for text in texts(waiting.clone()) {
        alice.expect(202, "bob", &text);
    }
    alice.expect(480, "bob", "one too many");
    tablet.responds(|_| Act::Answer(200));
    tablet.register();
    let waited = texts(waiting);
    tablet.until("what waits", |taken| taken.iter().any(|got| got.msg.text() == waited[MAX - 1]));
    // After a year it is as new: it starts where the other one was.
    let heard: Vec<String> = tablet.texts().into_iter().filter(|text| text != "letter 0").collect();
    assert_eq!(heard, waited);
    desk.register();
    has_all(&desk, &waited);
    alice.expect(200, "bob", "there is room again");
}
