//! Presence as phones see it (spec §6): publish, watch, lists, rooms, the lamp; over restarts and kills.

use crate::kit::watch::{Watch, pidf};
use crate::kit::{Daemon, Msg, Phone, Setup};

const PRESENCE: &str = "presence";

/// Everybody sees everybody, and at once.
fn open_house() -> Daemon {
    Setup::new().set("presence.open", "true").set("presence.throttle", "false").start()
}

fn says(phone: &Phone, activity: &str) -> Msg {
    let answer = phone.publishes(None, 600, &pidf(&phone.aor()["sip:".len()..], "open", activity));
    assert_eq!(answer.status(), 200, "{}", answer.start);
    answer
}

fn state(said: &Msg) -> String {
    said.header("Subscription-State").to_owned()
}

fn body(word: &'static str) -> impl Fn(&Msg) -> bool {
    move |said| said.text().contains(word)
}

/// CSeqs rise, and no two documents of this dialog are one.
fn in_order(watch: &Watch<'_>) {
    let cseqs: Vec<u32> =
        watch.told().iter().map(|said| said.cseq().split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(cseqs.windows(2).all(|two| two[0] < two[1]), "{cseqs:?}");
}

#[test]
fn a_watcher_sees_somebody_come_be_busy_and_go() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    let watch = bob.watches(PRESENCE, "alice");
    assert_eq!(watch.answer.header("Expires"), "600");
    let first = watch.hears("somebody who is offline", body("<basic>closed</basic>"));
    assert_eq!(state(&first), "active;expires=600");
    assert_eq!(first.header("Event"), "presence");
    let alice = daemon.udp("alice");
    watch.hears("she registers", body("<basic>open</basic>"));
    let published = says(&alice, "<rpid:busy/>");
    watch.hears("she is busy", body("<rpid:busy/>"));
    let gone = alice.publishes(Some(published.header("SIP-ETag")), 0, "");
    assert_eq!((gone.status(), gone.header("Expires")), (200, "0"));
    alice.unregister();
    let count = watch.told().len();
    watch.hears("she goes", |said| {
        said.text().contains("<basic>closed</basic>") && said.cseq() != first.cseq()
    });
    assert!(count >= 3);
    assert_eq!(watch.again(0).status(), 200);
    watch.hears("the end", |said| state(said) == "terminated;reason=timeout");
    in_order(&watch);
}

#[test]
fn p01_faults_of_a_publish_are_told_in_the_order_of_the_rfc() {
    let daemon = open_house();
    let alice = daemon.udp("alice");
    let document = pidf("alice@example.org", "open", "");
    let publish = |to: &str| alice.request("PUBLISH", to);
    assert_eq!(alice.ask(publish("bob").header("Event: presence").body(&document)).status(), 403);
    let other = alice.ask(publish("alice").header("Event: dialog").header("SIP-If-Match: x").body(&document));
    assert_eq!(
        (other.status(), other.header("Allow-Events")),
        (489, "presence, presence.winfo, conference, message-summary")
    );
    assert_eq!(alice.ask(publish("alice").body(&document)).status(), 489);
    let event = |request: crate::kit::Req| request.header("Event: presence");
    let two =
        event(publish("alice")).header("SIP-If-Match: a").header("SIP-If-Match: b").header("Expires: 1");
    assert_eq!(alice.ask(two).status(), 400);
    let unknown = event(publish("alice")).header("SIP-If-Match: a").header("Expires: 1");
    assert_eq!(alice.ask(unknown).status(), 412);
    let brief = alice.ask(event(publish("alice")).header("Expires: 1").content_type("text/plain").body("x"));
    assert_eq!((brief.status(), brief.header("Min-Expires")), (423, "10"));
    let wrong = alice.ask(event(publish("alice")).content_type("text/plain").body("x"));
    assert_eq!((wrong.status(), wrong.header("Accept")), (415, "application/pidf+xml"));
    assert_eq!(alice.publishes(None, 600, "").status(), 400);
    assert_eq!(alice.publishes(None, 600, "<presence>").status(), 400);
    assert_eq!(alice.publishes(None, 600, &pidf("bob@example.org", "open", "")).status(), 400);
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE p [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><presence \
                xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@example.org\">&b;</presence>";
    assert_eq!(alice.publishes(None, 600, bomb).status(), 400);
    let long = alice.publishes(None, 9_999_999, &document);
    assert_eq!((long.status(), long.header("Expires")), (200, "7200"));
}

#[test]
fn p06_a_tag_is_of_one_person_and_p04_never_comes_twice() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let first = says(&alice, "").header("SIP-ETag").to_owned();
    let stolen = bob.publishes(Some(&first), 600, &pidf("bob@example.org", "open", ""));
    assert_eq!(stolen.status(), 412);
    let mut tags = std::collections::HashSet::from([first.clone()]);
    let mut tag = first;
    for _ in 0..50 {
        let answer = alice.publishes(Some(&tag), 600, "");
        assert_eq!(answer.status(), 200);
        let stale = std::mem::replace(&mut tag, answer.header("SIP-ETag").to_owned());
        assert!(tags.insert(tag.clone()));
        assert_eq!(alice.publishes(Some(&stale), 600, "").status(), 412);
    }
}

#[test]
fn s01_s05_s14_what_cannot_be_watched_is_refused_and_nothing_is_sent() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    for event in ["dialog", "Presence", "presence.winfo.winfo"] {
        let answer = bob.ask(bob.subscribe_request(event, "alice", 600));
        assert_eq!(answer.status(), 489, "{event}");
        assert!(!answer.header("Allow-Events").is_empty());
    }
    let accept = bob.subscribe_request(PRESENCE, "alice", 600).header("Accept: text/html");
    assert_eq!(bob.ask(accept).status(), 406);
    let mut bare = bob.subscribe_request(PRESENCE, "alice", 600);
    bare.headers.retain(|line| !line.starts_with("Contact"));
    assert_eq!(bob.ask(bare).status(), 400);
    let brief = bob.ask(bob.subscribe_request(PRESENCE, "alice", 5));
    assert_eq!((brief.status(), brief.header("Min-Expires")), (423, "10"));
    assert_eq!(bob.ask(bob.subscribe_request(PRESENCE, "sip:alice@elsewhere.example", 600)).status(), 404);
    let mut stray = bob.subscribe_request(PRESENCE, "alice", 600);
    stray.to = "sip:alice@example.org>;tag=none".into();
    assert_eq!(bob.ask(stray).status(), 481);
    assert_eq!(bob.ask(bob.subscribe_request("message-summary", "alice", 600)).status(), 403);
    assert!(bob.notified().is_empty());
    let watch = bob.watches_by(bob.subscribe_request("presence;id=7", "alice", 600));
    watch.hears("its id", |said| said.header("Event") == "presence;id=7");
}

#[test]
fn s18_without_credentials_it_is_401_and_costs_nothing() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "a");
    daemon.account("bob", "b");
    let eve = daemon.phone("eve").up();
    for request in [
        eve.subscribe_request(PRESENCE, "alice", 600),
        eve.request("PUBLISH", "alice").header("Event: presence"),
    ] {
        assert_eq!(eve.ask(request).status(), 401);
    }
    let bob = daemon.phone("bob").password("b").registered();
    let watch = bob.watches(PRESENCE, "alice");
    let first = watch.hears("nothing yet", |said| state(said).starts_with("pending;"));
    assert!(first.text().is_empty());
    assert_eq!(bob.ask(bob.subscribe_request(PRESENCE, "nobody", 600)).status(), 404);
}

#[test]
fn s23_a_cancel_changes_nothing() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("the first", |_| true);
    let mut cancel = watch.first_request();
    cancel.method = "CANCEL".into();
    cancel.headers.clear();
    assert_eq!(bob.ask(cancel).status(), 200);
    let alice = daemon.udp("alice");
    says(&alice, "<rpid:away/>");
    watch.hears("she is away", body("<rpid:away/>"));
}

#[test]
fn p18_s24_over_a_kill_nobody_seems_to_go_and_dialogs_and_tags_live_on() {
    let mut daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let tag = says(&alice, "<rpid:busy/>").header("SIP-ETag").to_owned();
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("she is busy", body("<rpid:busy/>"));
    saved(&daemon, "SELECT count(*) FROM subscription", 1);
    saved(&daemon, "SELECT count(*) FROM publication", 1);
    let before = watch.told().len();
    daemon.kill_and_restart();
    watch.hears_after(before, "the same again", body("<rpid:busy/>"));
    assert!(watch.told().iter().all(|said| !said.text().contains("closed")));
    assert_eq!(watch.again(600).status(), 200);
    let refreshed = alice.publishes(Some(&tag), 600, "");
    assert_eq!(refreshed.status(), 200, "{}", refreshed.start);
    in_order(&watch);
}

#[test]
fn s25_a_stop_tells_every_watcher_and_a_start_knows_no_dialog() {
    let mut daemon = open_house();
    let bob = daemon.udp("bob");
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("the first", |_| true);
    let (status, _) = daemon.terminate();
    assert!(status.success());
    watch.hears("the end", |said| state(said) == "terminated;reason=deactivated");
    daemon.restart();
    assert_eq!(watch.again(600).status(), 481);
}

/// Waits until the database says so: it is written behind.
pub fn saved(daemon: &Daemon, question: &str, count: i64) {
    let db = rusqlite::Connection::open(daemon.dir().join("imcd.db")).unwrap();
    let begun = std::time::Instant::now();
    loop {
        let found: i64 = db.query_row(question, [], |row| row.get(0)).unwrap();
        if found == count {
            return;
        }
        assert!(begun.elapsed() < crate::kit::PATIENCE, "{question}: {found}");
        std::thread::yield_now();
    }
}

#[test]
fn s12_who_answers_481_is_forgotten_and_leaves_no_row() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("the first", |_| true);
    bob.answers_notify(481);
    let alice = daemon.udp("alice");
    watch.hears("she comes", body("<basic>open</basic>"));
    saved(&daemon, "SELECT count(*) FROM subscription", 0);
    let told = watch.told().len();
    says(&alice, "<rpid:busy/>");
    let second = bob.watches(PRESENCE, "alice");
    second.hears("anew", body("<rpid:busy/>"));
    assert_eq!(watch.told().len(), told);
}

#[test]
fn a_watcher_over_tcp_is_told_over_his_connection() {
    let daemon = open_house();
    let bob = daemon.tcp("bob");
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("the first", |said| said.header("Via").contains("SIP/2.0/TCP"));
    assert!(watch.answer.header("Contact").contains("transport=tcp"));
    let alice = daemon.udp("alice");
    says(&alice, "<rpid:on-the-phone/>");
    watch.hears("she talks", body("<rpid:on-the-phone/>"));
    assert_eq!(watch.again(0).status(), 200);
    watch.hears("the end", |said| state(said) == "terminated;reason=timeout");
}

#[test]
fn s22_a_contact_elsewhere_is_not_written_to() {
    let daemon = open_house();
    let bob = daemon.udp("bob");
    let mut request = bob.subscribe_request(PRESENCE, "alice", 600);
    request.headers.retain(|line| !line.starts_with("Contact"));
    let watch = bob.watches_by(request.header("Contact: <sip:bob@127.9.9.9:9>"));
    let told = watch.hears("he is told where he asked from", |_| true);
    assert_eq!(told.uri(), "sip:bob@127.9.9.9:9");
}

#[test]
fn people_who_agreed_see_each_other_and_others_learn_nothing() {
    let daemon = Setup::new().set("presence.throttle", "false").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    says(&alice, "<rpid:busy/>");
    let watch = bob.watches(PRESENCE, "alice");
    let first = watch.hears("nothing yet", |said| state(said).starts_with("pending;"));
    assert!(first.text().is_empty());
    alice.hears_that("the question", |said| said.text().contains("#buddy accept bob"));
    let winfo = alice.watches("presence.winfo", "alice");
    winfo.hears("somebody waits", |said| {
        said.text().contains("status=\"pending\"") && said.text().contains("sip:bob@")
    });
    alice.expect(202, "chat-manager", "#buddy accept bob");
    watch.hears("she is busy", |said| {
        state(said).starts_with("active;") && said.text().contains("<rpid:busy/>")
    });
    winfo.hears("he may", |said| said.text().contains("event=\"approved\""));
    alice.expect(202, "chat-manager", "#block bob");
    let last = watch.hears("she seems to go", body("<basic>closed</basic>"));
    assert!(state(&last).starts_with("active;"));
}

#[test]
fn who_is_refused_is_told_so() {
    let daemon = Setup::new().set("presence.throttle", "false").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches(PRESENCE, "alice");
    alice.hears_that("the question", |said| said.text().contains("#buddy refuse bob"));
    alice.expect(202, "chat-manager", "#buddy refuse bob");
    watch.hears("no", |said| state(said) == "terminated;reason=rejected");
}

#[test]
fn what_people_say_of_themselves_is_seen() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches(PRESENCE, "alice");
    watch.hears("she is there", body("<basic>open</basic>"));
    alice.expect(202, "chat-manager", "#status away \"lunch\"");
    watch.hears("she is away", |said| said.text().contains("<rpid:away/>") && said.text().contains("lunch"));
    alice.expect(202, "chat-manager", "#status auto");
    let back = watch.hears_after(watch.told().len() - 1, "she is back", |said| !said.text().contains("away"));
    assert!(back.text().contains("<basic>open</basic>"));
}

fn list_body(users: &[&str]) -> String {
    let entries: String =
        users.iter().map(|user| format!("<entry uri=\"sip:{user}@example.org\"/>")).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\">\
         <list>{entries}</list></resource-lists>"
    )
}

#[test]
fn l01_a_list_in_the_body_is_one_subscription() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    says(&alice, "<rpid:busy/>");
    let request = bob
        .subscribe_request(PRESENCE, "sip:rls@example.org", 600)
        .header("Require: recipient-list-subscribe")
        .header("Supported: eventlist")
        .header("Accept: multipart/related, application/pidf+xml, application/rlmi+xml")
        .header("Content-Disposition: recipient-list")
        .content_type("application/resource-lists+xml")
        .body(list_body(&["alice", "carol"]));
    let watch = bob.watches_by(request);
    assert_eq!(watch.answer.header("Require"), "eventlist");
    let first = watch.hears("both", |said| said.text().contains("fullState=\"true\""));
    assert!(first.header("Content-Type").starts_with("multipart/related"));
    assert_eq!(first.header("Require"), "eventlist");
    for word in
        ["uri=\"sip:alice@example.org\"", "uri=\"sip:carol@example.org\"", "<rpid:busy/>", "version=\"0\""]
    {
        assert!(first.text().contains(word), "{word}");
    }
    let _carol = daemon.udp("carol");
    let next = watch.hears("carol comes", |said| said.text().contains("version=\"1\""));
    assert!(next.text().contains("carol") && !next.text().contains("alice"));
}

#[test]
fn a_roster_is_a_list_for_its_owner_alone() {
    let daemon = Setup::new().set("presence.throttle", "false").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    bob.expect(202, "chat-manager", "#buddy add alice");
    alice.expect(202, "chat-manager", "#buddy add bob");
    let list =
        |phone: &Phone| phone.subscribe_request(PRESENCE, "bob+buddies", 600).header("Supported: eventlist");
    let watch = bob.watches_by(list(&bob));
    assert_eq!(watch.answer.header("Require"), "eventlist");
    watch.hears("his buddy", |said| {
        said.text().contains("sip:alice@example.org") && said.text().contains("<basic>open")
    });
    assert_eq!(alice.ask(list(&alice)).status(), 403);
    // A phone that knows no lists is shown the one whose list it is.
    let plain = bob.watches_by(bob.subscribe_request(PRESENCE, "bob+buddies", 600));
    plain.hears("himself", |said| said.header("Content-Type") == "application/pidf+xml");
    bob.expect(202, "chat-manager", "#buddy remove alice");
    watch
        .hears("nobody", |said| said.text().contains("fullState=\"true\"") && !said.text().contains("alice"));
}

#[test]
fn k01_k03_k04_a_room_shows_itself_to_its_members() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(202, "team", "#create");
    let eve = daemon.udp("eve");
    assert_eq!(eve.ask(eve.subscribe_request("conference", "team", 600)).status(), 403);
    let outside = eve.watches(PRESENCE, "team");
    outside.hears("one is there", |said| said.text().contains("1 member, 1 here"));
    let watch = alice.watches("conference", "team");
    let first = watch.hears("the whole", |said| said.text().contains("state=\"full\""));
    assert_eq!(first.header("Content-Type"), "application/conference-info+xml");
    bob.expect(202, "team", "#join");
    watch.hears("bob comes", |said| {
        said.text().contains("state=\"partial\"") && said.text().contains("sip:bob@example.org")
    });
    outside.hears("two are there", |said| said.text().contains("2 members, 2 here"));
    bob.unregister();
    watch.hears("bob is away", |said| said.text().contains("disconnected"));
    alice.expect(202, "team", "#destroy");
    watch.hears("the end", |said| state(said) == "terminated;reason=noresource");
    outside.hears("the end", |said| state(said) == "terminated;reason=noresource");
}

#[test]
fn k05_the_lamp_shows_what_waits() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches("message-summary", "bob");
    let none = watch.hears("nothing waits", |_| true);
    assert!(none.text().contains("Messages-Waiting: no"), "{}", none.text());
    bob.unregister();
    alice.expect(202, "bob", "are you there?");
    watch.hears("one waits", |said| {
        said.text().contains("Messages-Waiting: yes") && said.text().contains("Text-Message: 1/0")
    });
    bob.register();
    bob.hears("are you there?");
    watch.hears("none waits", |said| said.text().contains("Text-Message: 0/1"));
}

#[test]
fn k05_what_is_taken_at_once_lights_no_lamp() {
    let daemon = open_house();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let watch = bob.watches("message-summary", "bob");
    watch.hears("nothing waits", |said| said.text().contains("Text-Message: 0/0"));
    for text in ["one", "two"] {
        alice.expect(200, "bob", text);
        bob.hears(text);
    }
    watch.hears("both were taken", |said| said.text().contains("Text-Message: 0/2"));
    for told in watch.told() {
        assert!(told.text().contains("Messages-Waiting: no"), "{}", told.text());
    }
}

#[test]
fn phones_that_never_ask_are_told_what_waits_if_the_house_wants_it() {
    let daemon =
        Setup::new().set("presence.unsolicited_summary", "true").set("presence.throttle", "false").start();
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    let hears = |what: &str, word: &'static str| bob.is_notified(what, body(word));
    hears("nothing waits", "Messages-Waiting: no");
    bob.unregister();
    alice.expect(202, "bob", "are you there?");
    bob.register();
    bob.hears("are you there?");
    let told = hears("it has been read", "Text-Message: 0/1");
    assert_eq!((told.header("Event"), told.header("Subscription-State")), ("message-summary", "active"));
    assert!(told.uri().starts_with("sip:bob@127.0.0.1:"), "{}", told.uri());
}
