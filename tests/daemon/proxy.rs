//! Members behind an outbound proxy (spec §3, §5.5): what goes through it, what waits, and who comes back.

use crate::chat::room;
use crate::kit::{Daemon, Msg, Over, Phone, Proxy, Setup};

const PROXY: &str = "127.0.0.9";

fn behind(proxy: &Proxy) -> Setup {
    Setup::new()
        .set("sip.outbound_proxy", &proxy.uri())
        .set("sip.trusted_peers", &format!("[\"{PROXY}/32\"]"))
}

/// A phone behind the proxy: not registered with us; what it sends comes from the proxy's address.
fn through(daemon: &Daemon, user: &str) -> Phone {
    daemon.phone(user).ip(PROXY).header(&format!("P-Asserted-Identity: <sip:{user}@example.org>")).up()
}

fn posts(texts: &[String]) -> Vec<String> {
    texts.iter().filter(|t| t.contains("]: post ")).cloned().collect()
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("[alice]: post {n}")).collect()
}

fn say(alice: &Phone, range: std::ops::Range<usize>) {
    for n in range {
        alice.expect(202, "team", &format!("post {n}"));
    }
}

fn ends_with(n: usize) -> impl Fn(&[String]) -> bool {
    move |texts| texts.last().is_some_and(|t| t.ends_with(&format!("post {n}")))
}

fn has(n: usize) -> impl Fn(&Msg) -> bool {
    move |m: &Msg| m.text() == format!("[alice]: post {n}")
}

fn members_get_their_posts_through_it(over: Over) {
    let proxy = Proxy::new(PROXY, over);
    let mut daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    let (bob, carol) = (through(&daemon, "bob"), through(&daemon, "carol"));
    room("team", &alice, &[]);
    for phone in [&bob, &carol] {
        phone.expect(202, "team", "#join");
    }
    say(&alice, 0..10);
    for user in ["bob", "carol"] {
        let all = proxy.until(user, "the last post", ends_with(9));
        assert_eq!(posts(&all), expected(0..10));
    }
    let (copy, _) = proxy.got("bob").pop().unwrap();
    assert_eq!(copy.uri(), "sip:bob@example.org");
    assert_eq!(copy.address("To"), "sip:bob@example.org");
    assert_eq!(copy.address("From"), "sip:team@example.org");
    assert_eq!(copy.address("P-Asserted-Identity"), "sip:alice@example.org");
    assert!(copy.header("Via").contains(&daemon.addr.to_string()), "Via: {}", copy.header("Via"));
    assert!(copy.get("Contact").is_none() && copy.get("Route").is_none(), "{copy:?}");
    bob.expect(202, "team", "hi alice");
    alice.hears("[bob]: hi alice");
    proxy.until("carol", "bob's post", |texts| texts.iter().any(|t| t == "[bob]: hi alice"));
    assert!(!proxy.took("bob").iter().any(|t| t.contains("hi alice")), "no copy to the author");
    // Over a restart too.
    daemon.kill_and_restart();
    alice.back();
    say(&alice, 10..12);
    for user in ["bob", "carol"] {
        let all = proxy.until(user, "a post after the restart", ends_with(11));
        assert_eq!(posts(&all)[10..], expected(10..12));
    }
}

#[test]
fn members_behind_a_proxy_get_their_posts_through_it_over_udp() {
    members_get_their_posts_through_it(Over::Udp);
}

#[test]
fn members_behind_a_proxy_get_their_posts_through_it_over_tcp() {
    members_get_their_posts_through_it(Over::Tcp);
}

#[test]
fn who_registers_is_reached_directly_and_gets_nothing_twice() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    // Enough of them that some are looked after elsewhere than routes are.
    let users: Vec<String> = (0..8).map(|n| format!("m{n}")).collect();
    for user in &users {
        through(&daemon, user).expect(202, "team", "#join");
    }
    for user in &users {
        proxy.until(user, "the last who joined", |texts| texts.iter().any(|t| t.contains("[m7] has joined")));
    }
    say(&alice, 0..3);
    for user in &users {
        proxy.until(user, "the third post", ends_with(2));
    }
    // At once, before positions are written.
    let phones: Vec<Phone> = users.iter().map(|user| daemon.udp(user)).collect();
    say(&alice, 3..6);
    for phone in &phones {
        phone.hears_that("the sixth post", has(5));
        assert_eq!(phone.texts(), expected(3..6), "{}", phone.user());
    }
    for phone in &phones {
        phone.unregister();
    }
    say(&alice, 6..9);
    for (user, phone) in users.iter().zip(&phones) {
        let all = proxy.until(user, "the ninth post", ends_with(8));
        let mut wanted = expected(0..3);
        wanted.extend(expected(6..9));
        assert_eq!(posts(&all), wanted, "{user}");
        assert_eq!(phone.texts(), expected(3..6), "{user}");
    }
}

#[test]
fn what_is_on_its_way_through_the_proxy_does_not_come_to_who_registers_a_second_time() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    // Enough of them that some are looked after elsewhere than routes are.
    let users: Vec<String> = (0..8).map(|n| format!("m{n}")).collect();
    for user in &users {
        through(&daemon, user).expect(202, "team", "#join");
    }
    for user in &users {
        proxy.until(user, "the last who joined", |texts| texts.iter().any(|t| t.contains("[m7] has joined")));
    }
    proxy.answers(|_| None);
    say(&alice, 0..1);
    proxy.until_open(users.len());
    let phones: Vec<Phone> = std::thread::scope(|scope| {
        let phones: Vec<_> = users.iter().map(|user| scope.spawn(|| daemon.udp(user))).collect();
        // They knock while the proxy is still busy with the post. Then it has been taken, from all of them.
        daemon.must_be_alive();
        proxy.release(200);
        phones.into_iter().map(|phone| phone.join().unwrap()).collect()
    });
    say(&alice, 1..3);
    for phone in &phones {
        phone.hears_that("the last post", has(2));
        assert_eq!(phone.texts(), expected(1..3), "{}", phone.user());
    }
}

#[test]
fn what_the_proxy_cannot_place_waits_and_comes_in_order_when_the_member_shows_up() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let mut daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    let statuses = [401, 403, 404, 408, 480, 604];
    let phones: Vec<Phone> = statuses.iter().map(|status| through(&daemon, &format!("m{status}"))).collect();
    for phone in &phones {
        phone.expect(202, "team", "#join");
        proxy.until(phone.user(), "his own notice", |texts| {
            texts.iter().any(|t| t.contains(&format!("[{}] has joined", phone.user())))
        });
    }
    for phone in &phones {
        proxy.until(phone.user(), "the last notice", |texts| texts.iter().any(|t| t.contains("[m604] has")));
    }
    proxy.answers(|m| {
        let user = m.address("To");
        let status = user.trim_start_matches("sip:m").split('@').next().and_then(|s| s.parse().ok());
        Some((status.unwrap_or(200), ""))
    });
    say(&alice, 0..3);
    for phone in &phones {
        proxy.offered(phone.user(), "[alice]: post 0");
    }
    // A direct message waits as well; it is not refused by the proxy's word.
    alice.expect(202, "m404", "are you there?");
    proxy.answers(|_| Some((200, "")));
    for phone in &phones[..4] {
        // Whatever he sends says that he is there.
        phone.expect(202, "team", "#help");
        let all = proxy.until(phone.user(), "the third post", |texts| posts(texts).len() == 3);
        assert_eq!(posts(&all), expected(0..3), "{}", phone.user());
    }
    proxy.until("m404", "the direct message", |texts| texts.iter().any(|t| t == "are you there?"));
    // Or the daemon is started again.
    daemon.kill_and_restart();
    for phone in &phones[4..] {
        let all = proxy.until(phone.user(), "the third post", |texts| posts(texts).len() == 3);
        assert_eq!(posts(&all), expected(0..3), "{}", phone.user());
    }
}

#[test]
fn a_proxy_that_is_down_is_asked_once_and_then_gets_everything_in_order() {
    const MEMBERS: usize = 70;
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    let users: Vec<String> = (0..MEMBERS).map(|n| format!("m{n}")).collect();
    for user in &users {
        through(&daemon, user).expect(202, "team", "#join");
    }
    for user in &users {
        proxy.until(user, "the last notice", |texts| texts.iter().any(|t| t.contains("[m69] has joined")));
    }
    // Silence: no more than 64 at once.
    proxy.answers(|_| None);
    say(&alice, 0..2);
    proxy.until_open(64);
    alice.expect(202, "team", "post 2");
    assert_eq!(proxy.most_open(), 64);
    // The proxy is overloaded: everybody waits for one probe.
    proxy.answers(|_| Some((503, "Retry-After: 1\r\n")));
    let before: usize = users.iter().map(|user| proxy.got(user).len()).sum();
    proxy.release(503);
    let probes = |n: usize| {
        let deadline = std::time::Instant::now() + crate::kit::PATIENCE * 2;
        let count = || users.iter().map(|user| proxy.got(user).len()).sum::<usize>() - before;
        while count() < n {
            assert!(std::time::Instant::now() < deadline, "{} probes", count());
            std::thread::yield_now();
        }
        count()
    };
    // The first answer of the release stops what had not left: a few may have.
    let first = probes(1);
    assert!(first <= 2, "{first} at once towards a proxy that said 503");
    let third = probes(3);
    assert!(third <= 4, "{third} probes");
    proxy.answers(|_| Some((200, "")));
    for user in &users {
        let all = proxy.until(user, "the third post", ends_with(2));
        assert_eq!(posts(&all), expected(0..3), "{user}");
    }
}

#[test]
fn a_probe_whose_member_registers_meanwhile_leaves_the_way_open_for_the_others() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    room("team", &alice, &[]);
    for user in ["bob", "carol"] {
        through(&daemon, user).expect(202, "team", "#join");
    }
    for user in ["bob", "carol"] {
        proxy.until(user, "carol's notice", |texts| texts.iter().any(|t| t.contains("[carol] has joined")));
    }
    // The first refusals, then nobody answers the probe.
    proxy.answers(|_| Some((503, "Retry-After: 1\r\n")));
    say(&alice, 0..1);
    for user in ["bob", "carol"] {
        proxy.offered(user, "[alice]: post 0");
    }
    proxy.answers(|_| None);
    proxy.until_open(1);
    proxy.answers(|_| Some((200, "")));
    let probed = if proxy.got("bob").last().unwrap().1 == 0 { "bob" } else { "carol" };
    let phone = daemon.udp(probed);
    phone.hears("[alice]: post 0");
    let other = if probed == "bob" { "carol" } else { "bob" };
    proxy.until(other, "the post", ends_with(0));
}

#[test]
fn our_own_copy_that_comes_back_is_480_and_stores_nothing() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let (alice, gate) = (daemon.udp("alice"), through(&daemon, "gate"));
    room("team", &alice, &[]);
    through(&daemon, "bob").expect(202, "team", "#join");
    say(&alice, 0..1);
    proxy.until("bob", "the post", ends_with(0));
    let (copy, _) = proxy.got("bob").pop().unwrap();
    // As a failure route sends it: our Via below its own; or, through a B2BUA, our Call-ID alone.
    let mut looped = gate.message("bob", "looped");
    looped.from = copy.address("From");
    let by_call_id = {
        let mut request = looped.clone().again();
        request.call_id = copy.call_id().into();
        request
    };
    looped = looped.header(&format!("Via: {}", copy.header("Via")));
    for request in [looped, by_call_id] {
        let answer = gate.ask(request);
        assert_eq!(answer.status(), 480, "{}", answer.start);
    }
    say(&alice, 1..2);
    proxy.until("bob", "the next post", ends_with(1));
    assert!(!proxy.took("bob").iter().any(|t| t == "looped"));
}

#[test]
fn whoever_speaks_or_is_spoken_to_behind_the_proxy_is_an_account() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let bob = through(&daemon, "bob");
    // He has never been heard of: the answer in words finds him all the same.
    bob.expect(202, "chat-manager", "#help");
    proxy.until("bob", "the help", |texts| texts.iter().any(|t| t.contains("#join")));
    // A peer sends a MESSAGE for somebody never heard of: he is told, or it waits for him.
    bob.expect(200, "dave", "hello dave");
    proxy.until("dave", "the message", |texts| texts == ["hello dave"]);
    proxy.answers(|_| Some((404, "")));
    bob.expect(202, "erin", "hello erin");
    proxy.answers(|_| Some((200, "")));
    through(&daemon, "erin").expect(202, "chat-manager", "#help");
    proxy.until("erin", "the message", |texts| texts.iter().any(|t| t == "hello erin"));
    // From others it is still 404.
    let stranger = daemon.udp("stranger");
    stranger.expect(404, "nobody", "anybody?");
}

#[test]
fn a_register_whose_contact_is_the_proxy_only_says_that_he_is_back() {
    let proxy = Proxy::new(PROXY, Over::Udp);
    let daemon = behind(&proxy).start();
    let alice = daemon.udp("alice");
    let bob = through(&daemon, "bob");
    room("team", &alice, &[]);
    bob.expect(202, "team", "#join");
    proxy.until("bob", "the notice", |texts| !texts.is_empty());
    proxy.answers(|_| Some((404, "")));
    say(&alice, 0..3);
    proxy.offered("bob", "[alice]: post 0");
    // Nobody waits for the back-off.
    proxy.answers(|_| Some((200, "")));
    let contact = format!("sip:bob@{}", proxy.addr);
    let answer = bob.ask(bob.register_request(&contact, 600));
    assert_eq!(answer.status(), 200, "{}", answer.start);
    assert!(answer.header("Contact").contains(&contact), "{answer:?}");
    let all = proxy.until("bob", "the last post", ends_with(2));
    assert_eq!(posts(&all), expected(0..3));
    // It is no binding: his address is looked up as before, and so is that of somebody who goes.
    let listed = String::from_utf8_lossy(&daemon.imcctl(&["accounts"]).stdout).into_owned();
    assert!(!listed.lines().any(|line| line.contains("bob") && line.contains('1')), "{listed}");
    assert_eq!(bob.ask(bob.register_request(&contact, 0)).status(), 200);
    say(&alice, 3..4);
    let all = proxy.until("bob", "the post after", ends_with(3));
    assert_eq!(posts(&all), expected(0..4));
    let (copy, _) = proxy.got("bob").pop().unwrap();
    assert_eq!(copy.uri(), "sip:bob@example.org");
    // From anybody else it is a contact like others.
    let stranger = daemon.phone("carol").up();
    assert_eq!(stranger.ask(stranger.register_request(&contact, 600)).status(), 200);
}

#[test]
fn our_own_copy_from_a_stranger_means_away_and_not_who_are_you() {
    let daemon = Setup::new().digest().start();
    daemon.account("alice", "secret of alice");
    daemon.account("bob", "secret of bob");
    let (alice, bob) = (daemon.udp("alice"), daemon.udp("bob"));
    alice.expect(200, "bob", "hello");
    let copy = bob.hears("hello");
    let mut returned = bob.message("bob", "hello");
    returned.call_id = copy.call_id().to_owned();
    let answer = bob.transact(&returned.bytes(Over::Udp, bob.local(), None), &returned.branch).unwrap();
    assert_eq!((answer.status(), answer.reason()), (480, "Loop Detected"));
}
