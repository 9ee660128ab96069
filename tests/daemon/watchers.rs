//! Watchers when things end or overtake each other: accounts that are removed, groups, settings, kills (spec §6).

use std::thread;

use crate::chat::room;
use crate::kit::watch::{Watch, pidf};
use crate::kit::{Daemon, Msg, PATIENCE, Phone, Setup};

const PRESENCE: &str = "presence";
const MANAGER: &str = "chat-manager";

fn house() -> Setup {
    Setup::new().set("presence.throttle", "false")
}

fn open_house() -> Daemon {
    house().set("presence.open", "true").start()
}

fn says(phone: &Phone, activity: &str) -> Msg {
    let answer = phone.publishes(None, 600, &pidf(&phone.aor()["sip:".len()..], "open", activity));
    assert_eq!(answer.status(), 200, "{}", answer.start);
    answer
}

fn state(said: &Msg) -> &str {
    said.header("Subscription-State")
}

fn has(word: &'static str) -> impl Fn(&Msg) -> bool {
    move |said| said.text().contains(word)
}

/// A list that the server keeps.
fn kept<'a>(phone: &'a Phone, list: &str) -> Watch<'a> {
    let watch = phone.watches_by(phone.subscribe_request(PRESENCE, list, 600).header("Supported: eventlist"));
    assert_eq!(watch.answer.header("Require"), "eventlist");
    watch
}

fn list_of(phone: &Phone, users: &[&str]) -> crate::kit::Req {
    let entries: String =
        users.iter().map(|user| format!("<entry uri=\"sip:{user}@example.org\"/>")).collect();
    phone
        .subscribe_request(PRESENCE, "sip:rls@example.org", 600)
        .header("Require: recipient-list-subscribe")
        .header("Supported: eventlist")
        .content_type("application/resource-lists+xml")
        .body(format!(
            "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
        ))
}

#[test]
fn s26_an_account_that_is_removed_ends_what_it_watches_and_who_watches_it() {
    let daemon = house().set("presence.open", "true").digest().start();
    for name in ["alice", "bob"] {
        daemon.account(name, "secret");
    }
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    says(&alice, "<rpid:busy/>");
    let (watch, winfo) = (bob.watches(PRESENCE, "alice"), alice.watches("presence.winfo", "alice"));
    let list = bob.watches_by(list_of(&bob, &["alice", "bob"]));
    let watching = alice.watches(PRESENCE, "bob");
    for one in [&watch, &winfo, &list, &watching] {
        one.hears("the first", |_| true);
    }
    watch.hears("she is busy", has("<rpid:busy/>"));
    list.hears("she is busy", has("<rpid:busy/>"));
    let removed = daemon.imcctl(&["account", "remove", "alice"]);
    assert!(removed.status.success(), "{removed:?}");
    watch.hears("there is nobody", |said| state(said) == "terminated;reason=noresource");
    list.hears("there is nobody on the list", |said| said.text().contains("reason=\"noresource\""));
    for one in [&winfo, &watching] {
        one.hears("no more for her", |said| state(said) == "terminated;reason=rejected");
    }
    assert_eq!(watch.again(600).status(), 481);
    // Nothing is left of her, and who has her name next is somebody else.
    daemon.account("alice", "another");
    let fresh = bob.watches(PRESENCE, "alice");
    fresh.hears("somebody who is not there", |said| {
        state(said).starts_with("active;") && said.text().contains("closed") && !said.text().contains("busy")
    });
    assert_eq!(list.again(600).status(), 200);
}

#[test]
fn an_account_that_is_removed_while_its_phones_publish_and_subscribe_leaves_nothing() {
    let daemon = house().set("presence.open", "true").digest().start();
    daemon.account("alice", "secret");
    daemon.account("bob", "secret");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    thread::scope(|scope| {
        let removing = scope.spawn(|| daemon.imcctl(&["account", "remove", "alice"]));
        while !removing.is_finished() {
            alice.publishes(None, 600, &pidf("alice@example.org", "open", "<rpid:busy/>"));
            alice.ask(alice.subscribe_request(PRESENCE, "bob", 600));
        }
        assert!(removing.join().unwrap().status.success());
    });
    assert_eq!(alice.publishes(None, 600, &pidf("alice@example.org", "open", "")).status(), 401);
    daemon.account("alice", "another");
    let watch = bob.watches(PRESENCE, "alice");
    let first = watch.hears("she is not there", |_| true);
    assert!(first.text().contains("<basic>closed</basic>"), "{}", first.text());
    let winfo = bob.watches("presence.winfo", "bob");
    let watchers = winfo.hears("nobody watches", |_| true);
    assert!(!watchers.text().contains("status=\"active\""), "{}", watchers.text());
}

#[test]
fn each_group_of_a_roster_is_a_list_that_follows_it() {
    let daemon = house().start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| daemon.udp(name));
    for buddy in [&alice, &carol] {
        bob.expect(202, MANAGER, &format!("#buddy add {}", buddy.user()));
        buddy.expect(202, MANAGER, "#buddy add bob");
    }
    bob.expect(202, MANAGER, "#buddy group alice Work");
    says(&alice, "<rpid:busy/>");
    let (whole, work, none) = (kept(&bob, "bob+buddies"), kept(&bob, "bob+work"), kept(&bob, "bob+home"));
    whole.hears("both", |said| said.text().contains("sip:alice@") && said.text().contains("sip:carol@"));
    let first = work.hears("alice", has("<rpid:busy/>"));
    assert!(!first.text().contains("carol"), "{}", first.text());
    assert!(!none.hears("nobody", |_| true).text().contains("<resource "));
    bob.expect(202, MANAGER, "#buddy group carol work");
    let second = work.hears("carol too", has("sip:carol@example.org"));
    assert!(second.text().contains("fullState=\"false\"") && !second.text().contains("alice"));
    bob.expect(202, MANAGER, "#buddy group alice home");
    none.hears("alice is at home", has("<rpid:busy/>"));
    work.hears("carol alone", |said| {
        said.text().contains("fullState=\"true\"") && !said.text().contains("alice")
    });
    for stranger in [&alice, &carol] {
        let request = stranger.subscribe_request(PRESENCE, "bob+work", 600).header("Supported: eventlist");
        assert_eq!(stranger.ask(request).status(), 403);
    }
}

#[test]
fn who_lets_others_see_when_he_was_last_there_is_shown_with_it_until_he_does_not() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("she is there", has("<basic>open</basic>"));
    alice.expect(202, MANAGER, "#set lastseen on");
    alice.unregister();
    let gone = watch.hears("she was there just now", has("last seen "));
    assert!(gone.text().contains("<basic>closed</basic>"), "{}", gone.text());
    let set = daemon.imcctl(&["account", "set", "alice", "lastseen", "off"]);
    assert!(set.status.success(), "{set:?}");
    let heard = watch.told().iter().position(|said| said.text().contains("last seen ")).unwrap();
    watch.hears_after(heard + 1, "no more of it", |said| !said.text().contains("last seen"));
    // A watcher who comes later does not see it either.
    let fetch = bob.watches_by(bob.subscribe_request(PRESENCE, "alice", 0));
    assert!(!fetch.hears("the one", |_| true).text().contains("last seen"));
}

#[test]
fn l01_every_answer_to_a_list_says_so_whether_the_list_comes_again_or_not() {
    let daemon = open_house();
    let (_alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches_by(list_of(&bob, &["alice"]));
    watch.hears("the first", has("sip:alice@example.org"));
    let whole = watch.again_request(600);
    let mut bare = watch.again_request(600);
    bare.headers.retain(|line| !line.starts_with("Require") && !line.starts_with("Content-Type"));
    bare.body.clear();
    for request in [whole, bare] {
        let answer = bob.ask(request);
        assert_eq!((answer.status(), answer.header("Require")), (200, "eventlist"), "{}", answer.start);
    }
    let plain = bob.watches(PRESENCE, "alice");
    assert_eq!((plain.answer.header("Require"), plain.answer.header("Supported")), ("", "eventlist"));
    assert_eq!(plain.again(600).header("Require"), "");
    // Who names what he takes and leaves lists out is not sent one.
    let kept = bob.subscribe_request(PRESENCE, "bob+buddies", 600).header("Supported: eventlist");
    let plain = bob.watches_by(kept.header("Accept: application/pidf+xml"));
    assert_eq!(plain.answer.header("Require"), "");
    plain.hears("himself", |said| said.header("Content-Type") == "application/pidf+xml");
}

#[test]
fn s06_without_expires_an_hour_is_meant_by_each_package_and_in_a_dialog_too() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    room("team", &bob, &[]);
    for (event, to) in
        [(PRESENCE, "alice"), ("presence.winfo", "bob"), ("conference", "team"), ("message-summary", "bob")]
    {
        let mut request = bob.subscribe_request(event, to, 0);
        request.headers.retain(|line| !line.starts_with("Expires"));
        let watch = bob.watches_by(request);
        assert_eq!(watch.answer.header("Expires"), "3600", "{event}");
        let first = watch.hears("the first", |_| true);
        assert_eq!((state(&first), first.header("Event")), ("active;expires=3600", event));
        let mut again = watch.again_request(0);
        again.headers.retain(|line| !line.starts_with("Expires"));
        assert_eq!(bob.ask(again).header("Expires"), "3600", "{event}");
        assert_eq!(watch.again(0).header("Expires"), "0", "{event}");
        watch.hears("the end", |said| state(said) == "terminated;reason=timeout");
    }
}

#[test]
fn s10_nobody_refreshes_anothers_subscription_and_no_request_is_taken_twice() {
    let daemon = open_house();
    let (bob, eve) = (daemon.udp("bob"), daemon.udp("eve"));
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("the first", |_| true);
    let mut stolen = watch.again_request(600);
    stolen.from = eve.aor();
    assert_eq!(eve.ask(stolen).status(), 481);
    let mut other = watch.again_request(600);
    other.headers.retain(|line| !line.starts_with("Event"));
    assert_eq!(bob.ask(other.clone().header("Event: presence;id=2")).status(), 481);
    other.branch.push('x');
    assert_eq!(bob.ask(other.header("Event: presence.winfo")).status(), 481);
    let mut old = watch.again_request(600);
    assert_eq!(watch.again(600).status(), 200);
    old.branch.push('y');
    assert_eq!(bob.ask(old).status(), 500);
    let mut far = watch.again_request(600);
    far.cseq = i32::MAX as u32;
    far.branch.push('z');
    assert_eq!(bob.ask(far).status(), 200);
    assert_eq!(watch.again(600).status(), 500, "nothing is above the highest");
}

#[test]
fn s15_routes_come_back_and_too_many_of_them_are_none() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    let routed = |count: usize| {
        let row = vec!["<sip:127.0.0.1:9;lr>"; count].join(", ");
        bob.subscribe_request(PRESENCE, "alice", 600).header(&format!("Record-Route: {row}"))
    };
    let answer = bob.ask(routed(8));
    assert_eq!((answer.status(), answer.all("Record-Route").len()), (200, 1), "{}", answer.start);
    assert_eq!(bob.ask(routed(9)).status(), 400);
    for bad in ["sip:127.0.0.1", "<sip:>", "<tel:1>", "<sip:a", ",", "<sip:x;lr>,"] {
        let answer =
            bob.ask(bob.subscribe_request(PRESENCE, "alice", 600).header(&format!("Record-Route: {bad}")));
        assert!([200, 400].contains(&answer.status()), "{bad}: {}", answer.start);
    }
}

#[test]
fn p14_a_publication_makes_no_dialog_and_p15_a_copy_gets_the_same_answer() {
    let daemon = open_house();
    let alice = daemon.udp("alice");
    let request = alice
        .request("PUBLISH", "alice")
        .header("Event: presence")
        .header(&format!("Contact: <{}>", alice.contact()))
        .header("Record-Route: <sip:127.0.0.1;lr>")
        .content_type("application/pidf+xml")
        .body(pidf("alice@example.org", "open", ""));
    let sent = alice.send(request);
    let answer = sent.outcome.unwrap();
    assert_eq!((answer.status(), answer.header("Expires")), (200, "3600"));
    assert_eq!((answer.header("Contact"), answer.header("Record-Route")), ("", ""));
    let copy = alice.transact(&sent.bytes, &sent.request.branch).unwrap();
    assert_eq!(copy.header("SIP-ETag"), answer.header("SIP-ETag"));
    assert_eq!(alice.publishes(Some(answer.header("SIP-ETag")), 600, "").status(), 200, "it was put once");
}

#[test]
fn a_watcher_whose_connection_is_gone_is_called_where_he_said_that_he_is() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("the first", |_| true);
    bob.hang_up();
    bob.until_broken();
    bob.reconnect();
    // He takes his subscription up again over the new one.
    assert_eq!(watch.again(600).status(), 200);
    says(&alice, "<rpid:busy/>");
    watch.hears("she is busy", has("<rpid:busy/>"));
    assert!(daemon.options(PATIENCE).is_some());
}

#[test]
fn p13_a_locked_database_stops_no_watcher_and_what_was_published_is_kept_later() {
    let mut daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("she is there", has("<basic>open</basic>"));
    let other = rusqlite::Connection::open(daemon.dir().join("imcd.db")).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut tag = says(&alice, "<rpid:busy/>").header("SIP-ETag").to_owned();
    watch.hears("she is busy", has("<rpid:busy/>"));
    // Until the store has given up once.
    daemon.logs("publications and subscriptions are not saved");
    let away = pidf("alice@example.org", "open", "<rpid:away/>");
    tag = alice.publishes(Some(&tag), 600, &away).header("SIP-ETag").to_owned();
    watch.hears("she is away", has("<rpid:away/>"));
    other.execute_batch("ROLLBACK").unwrap();
    let begun = std::time::Instant::now();
    let count =
        || other.query_row("SELECT count(*) FROM publication", [], |row| row.get::<_, i64>(0)).unwrap();
    while count() != 1 {
        assert!(begun.elapsed() < PATIENCE, "it is never saved");
        thread::yield_now();
    }
    daemon.terminate();
    daemon.restart();
    assert_eq!(alice.publishes(Some(&tag), 600, "").status(), 200);
}

#[test]
fn s20_a_decision_made_while_a_subscription_is_on_its_way_is_not_lost() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.tcp("bob"));
    says(&alice, "<rpid:busy/>");
    // She is judged first, the others take their time.
    let others: Vec<String> = (0..400).map(|n| format!("p{n}")).collect();
    let people: Vec<&str> = std::iter::once("alice").chain(others.iter().map(String::as_str)).collect();
    for round in 0..20 {
        let blocks = round % 2 == 0;
        let command = if blocks { "#block bob" } else { "#unblock bob" };
        let watch = thread::scope(|scope| {
            let deciding = scope.spawn(|| alice.expect(202, MANAGER, command));
            let watch = bob.watches_by(list_of(&bob, &people));
            deciding.join().unwrap();
            watch
        });
        let mut last = watch.again_request(0);
        last.headers.retain(|line| !line.starts_with("Require") && !line.starts_with("Content-Type"));
        last.body.clear();
        assert_eq!(bob.ask(last).status(), 200);
        let last = watch.hears("the end", |said| state(said) == "terminated;reason=timeout");
        assert_eq!(last.text().contains("<rpid:busy/>"), !blocks, "round {round}, {command}");
        // Four hundred times the same says nothing new of the schema.
        std::mem::forget(watch);
    }
}
