//! Who may see when whom is there, as phones subscribe, people answer and time passes: the service on a real store.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use imcd::chat::buddies::Buddies;
use imcd::presence::roster::{ASK_AGAIN, Deed};
use imcd::presence::{Standing, State};
use imcd::refusal::Fault;
use imcd::service::roster::{Asks, HOPS, Roster, Watched};
use imcd::store::{Options, Store};
use imcd::types::{Aor, EntryKind, NewEntry, Place, Seq, UnixMs};
use tempfile::TempDir;

const NOW: UnixMs = 1_800_000_000_000;

fn aor(text: &str) -> Aor {
    Aor::parse(&format!("{text}@ex.org")).unwrap()
}

/// Time and willingness, as the test sets them.
struct House {
    now: AtomicI64,
    willing: AtomicBool,
}

struct Asking(Arc<House>);

impl Asks for Asking {
    fn now(&self) -> UnixMs {
        self.0.now.load(Ordering::Relaxed)
    }
    fn may_ask(&self, _: &Aor, _: &Aor) -> Result<bool, Fault> {
        Ok(self.0.willing.load(Ordering::Relaxed))
    }
    fn notice(&self, to: &Aor, words: String, hops: u8) -> Result<Option<NewEntry>, Fault> {
        Ok(Some(NewEntry {
            place: Place::Mailbox(to.clone()),
            kind: EntryKind::Notice,
            sender: None,
            peer: None,
            source: None,
            content_type: None,
            headers: "".into(),
            body: words.into(),
            at: self.now(),
            expires: self.now() + 30 * 86_400_000,
            hops,
            private: false,
        }))
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Watched for Heard {
    fn standing(&self, presentity: &Aor, watcher: &Aor, standing: Standing) {
        let line = format!("{} of {}: {standing:?}", watcher.user(), presentity.user());
        self.0.lock().unwrap().push(line);
    }
    fn roster(&self, owner: &Aor) {
        self.0.lock().unwrap().push(format!("roster {}", owner.user()));
    }
    fn status(&self, who: &Aor) {
        self.0.lock().unwrap().push(format!("status {}", who.user()));
    }
}

struct World {
    _dir: TempDir,
    roster: Roster,
    house: Arc<House>,
    heard: Arc<Heard>,
}

impl World {
    fn new(open: bool) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options { path: dir.path().join("t.db"), ..Options::default() }).unwrap();
        let roster = Roster::new(store, "#".into(), open);
        let house = Arc::new(House { now: AtomicI64::new(NOW), willing: AtomicBool::new(true) });
        let heard = Arc::new(Heard::default());
        assert!(roster.asks.set(Box::new(Asking(house.clone()))).is_ok());
        assert!(roster.watched.set(heard.clone()).is_ok());
        World { _dir: dir, roster, house, heard }
    }

    async fn subscribes(&self, who: &str, whom: &str) -> Standing {
        self.roster.subscribes(&aor(who), &aor(whom)).await.unwrap()
    }

    async fn does(&self, who: &str, deed: Deed, whom: &str) {
        self.roster.relate(&aor(who), &aor(whom), deed, HOPS).await.unwrap();
    }

    fn sees(&self, who: &str, whom: &str) -> Standing {
        self.roster.standing(&aor(whom), &aor(who)).unwrap()
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.0.lock().unwrap())
    }

    fn after(&self, ms: UnixMs) {
        self.house.now.fetch_add(ms, Ordering::Relaxed);
    }

    /// What waits in a mailbox.
    fn letters(&self, who: &str) -> Vec<String> {
        let store = &self.roster.store;
        let Some(account) = store.account(&aor(who)).unwrap() else { return Vec::new() };
        let spans = store.view(account.id).unwrap().spans;
        let page = store.page(&spans, Seq(0), 1000, self.house.now.load(Ordering::Relaxed)).unwrap();
        page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.body).into_owned()).collect()
    }

    async fn block(&self, who: &str, whom: &str, block: bool) {
        let store = &self.roster.store;
        match block {
            true => assert!(store.block(&aor(who), &aor(whom), 10).await.unwrap()),
            false => assert!(store.unblock(&aor(who), &aor(whom)).await.unwrap()),
        }
        self.roster.block_changed(&aor(who), &aor(whom)).unwrap();
    }
}

const QUESTION: &str = "*** alice@ex.org asks to see when you are there. \
    Send #buddy accept alice@ex.org or #buddy refuse alice@ex.org.";

#[tokio::test]
async fn a_first_subscription_asks_once_and_the_answer_decides() {
    let world = World::new(false);
    assert_eq!(world.subscribes("alice", "alice").await, Standing::Active, "oneself");
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Pending);
    assert_eq!(world.told(), ["roster alice"]);
    for _ in 0..3 {
        assert_eq!(world.subscribes("alice", "bob").await, Standing::Pending);
    }
    assert_eq!(world.told(), [""; 0], "a refresh changes nothing");
    assert_eq!(world.letters("bob"), [QUESTION]);
    world.does("bob", Deed::Accepts, "alice").await;
    assert_eq!(world.told(), ["alice of bob: Active", "roster bob", "roster alice"]);
    assert_eq!(
        (world.sees("alice", "bob"), world.sees("bob", "alice")),
        (Standing::Active, Standing::Pending)
    );
    assert_eq!(world.letters("alice"), ["*** bob@ex.org lets you see when bob is there"]);
    // Who lets him see, and looks in turn, is not asked about.
    assert_eq!(world.subscribes("bob", "alice").await, Standing::Active);
    assert_eq!(world.told(), ["bob of alice: Active", "roster bob", "roster alice"]);
    assert_eq!(world.letters("alice").len(), 1);
}

#[tokio::test]
async fn a_no_ends_the_subscription_once_and_silences_the_question_for_a_week() {
    let world = World::new(false);
    world.subscribes("alice", "bob").await;
    world.told();
    world.does("bob", Deed::Refuses, "alice").await;
    assert_eq!(world.told(), ["alice of bob: Rejected", "roster bob", "roster alice"]);
    assert_eq!(world.letters("alice"), ["*** bob@ex.org does not let you see when bob is there"]);
    world.after(ASK_AGAIN - 1);
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Pending);
    assert_eq!(world.letters("bob").len(), 1);
    world.after(1);
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Pending);
    assert_eq!(world.letters("bob").len(), 2);
    // His own phone does not undo his no …
    assert_eq!(world.subscribes("bob", "alice").await, Standing::Pending);
    assert_eq!(world.sees("alice", "bob"), Standing::Pending);
    // … he himself does.
    world.does("bob", Deed::Adds, "alice").await;
    assert_eq!(
        (world.sees("alice", "bob"), world.sees("bob", "alice")),
        (Standing::Active, Standing::Active)
    );
}

#[tokio::test]
async fn two_who_look_at_each_other_need_no_question() {
    let world = World::new(false);
    world.subscribes("alice", "bob").await;
    world.told();
    assert_eq!(world.subscribes("bob", "alice").await, Standing::Active);
    assert_eq!(world.told(), ["bob of alice: Active", "alice of bob: Active", "roster bob", "roster alice"]);
    assert_eq!(world.letters("alice"), [""; 0]);
    // By lists alone as well, and lists never ask.
    let lists = |who: &str, entries: &[&str]| {
        let (who, entries) = (aor(who), entries.iter().map(|entry| aor(entry)).collect::<Vec<_>>());
        let roster = &world.roster;
        async move { roster.lists(&who, &entries).await.unwrap() }
    };
    use Standing::{Active, Pending};
    assert_eq!(lists("carol", &["dave", "carol", "erin"]).await, [Pending, Active, Pending]);
    assert_eq!(world.told(), ["roster carol"]);
    assert_eq!(lists("dave", &["erin", "carol"]).await, [Pending, Active]);
    assert_eq!(
        world.told(),
        ["dave of carol: Active", "carol of dave: Active", "roster dave", "roster carol"]
    );
    assert_eq!(lists("dave", &["erin", "carol"]).await, [Pending, Active]);
    assert_eq!(world.told(), [""; 0]);
    assert_eq!((world.letters("erin"), world.letters("carol")), (vec![], vec![]));
    assert_eq!(lists("dave", &[]).await, []);
}

#[tokio::test]
async fn who_is_removed_sees_nothing_and_his_phone_does_not_bring_him_back() {
    let world = World::new(false);
    world.does("alice", Deed::Links, "bob").await;
    assert_eq!(world.sees("alice", "bob"), Standing::Active);
    world.told();
    world.does("alice", Deed::Removes, "bob").await;
    let told = ["alice of bob: Rejected", "bob of alice: Rejected", "roster alice", "roster bob"];
    assert_eq!(world.told(), told);
    assert_eq!(world.subscribes("bob", "alice").await, Standing::Pending);
    assert_eq!(world.letters("alice"), [""; 0], "who has just removed him is not asked");
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Pending);
    assert_eq!(world.letters("bob"), [""; 0], "nor does her own phone, which goes on, ask for her");
    assert_eq!(world.sees("bob", "alice"), Standing::Pending);
    world.after(ASK_AGAIN);
    world.subscribes("bob", "alice").await;
    assert_eq!(world.letters("alice").len(), 1);
    world.does("alice", Deed::Accepts, "bob").await;
    assert_eq!(
        (world.sees("bob", "alice"), world.sees("alice", "bob")),
        (Standing::Active, Standing::Active)
    );
}

#[tokio::test]
async fn a_block_is_not_to_be_told_from_silence_or_absence() {
    let world = World::new(false);
    world.block("bob", "alice", true).await;
    assert_eq!(world.told(), ["alice of bob: Pending"]);
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Pending);
    let list = |who: &str| {
        let (who, roster) = (aor(who), &world.roster);
        async move { roster.command(&who, &Buddies::List, HOPS).await.unwrap().unwrap() }
    };
    assert_eq!(list("alice").await, ["Your buddies:\nbob@ex.org - asked"]);
    assert_eq!(world.letters("bob"), [""; 0]);
    assert!(!list("bob").await[0].contains("alice"), "nor is he bothered with it");
    // Unblocked, the next subscription asks: nothing was used up.
    world.block("bob", "alice", false).await;
    world.subscribes("alice", "bob").await;
    assert_eq!(world.letters("bob"), [QUESTION]);
    world.does("bob", Deed::Accepts, "alice").await;
    world.told();
    world.block("bob", "alice", true).await;
    assert_eq!(world.told(), ["alice of bob: Blocked"]);
    assert_eq!(world.sees("alice", "bob"), Standing::Blocked);
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Blocked);
    world.block("bob", "alice", false).await;
    assert_eq!(world.told(), ["alice of bob: Active"]);
}

#[tokio::test]
async fn who_may_not_be_asked_is_asked_when_he_may() {
    let world = World::new(false);
    world.house.willing.store(false, Ordering::Relaxed);
    // What the asker hears does not say which it was.
    let words = "*** bob@ex.org is one of your buddies. You see each other as soon as bob@ex.org agrees.";
    let told = world.roster.command(&aor("alice"), &Buddies::Add(aor("bob"), None), HOPS).await;
    assert_eq!(told.unwrap().unwrap(), [words]);
    assert_eq!(world.letters("bob"), [""; 0]);
    world.house.willing.store(true, Ordering::Relaxed);
    let again = Buddies::Add(aor("bob"), Some("Bobby".into()));
    let told = world.roster.command(&aor("alice"), &again, HOPS).await;
    assert_eq!(told.unwrap().unwrap(), [words]);
    assert_eq!(world.letters("bob"), [QUESTION]);
    assert_eq!(world.roster.buddies(&aor("alice")).unwrap()[0].nick.as_deref(), Some("Bobby"));
}

#[tokio::test]
async fn in_an_open_house_everybody_sees_everybody_who_has_not_blocked_him() {
    let world = World::new(true);
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Active);
    assert_eq!(world.roster.buddies(&aor("alice")).unwrap(), []);
    let command = Buddies::Add(aor("bob"), None);
    let told = world.roster.command(&aor("alice"), &command, HOPS).await.unwrap().unwrap();
    assert_eq!(told, ["*** bob@ex.org is one of your buddies"]);
    assert_eq!(world.letters("bob"), [""; 0]);
    world.block("bob", "alice", true).await;
    assert_eq!(world.subscribes("alice", "bob").await, Standing::Blocked);
    let standings = world.roster.lists(&aor("alice"), &[aor("bob"), aor("carol")]).await.unwrap();
    assert_eq!(standings, [Standing::Blocked, Standing::Active]);
}

#[tokio::test]
async fn a_state_is_shown_only_of_those_who_may_be_seen() {
    let world = World::new(false);
    assert!(world.roster.state_of.set(Box::new(|_| Some(State::Busy))).is_ok());
    world.does("alice", Deed::Links, "bob").await;
    world.does("alice", Deed::Links, "dave").await;
    world.does("alice", Deed::Adds, "carol").await;
    world.block("dave", "alice", true).await;
    let told = world.roster.command(&aor("alice"), &Buddies::List, HOPS).await.unwrap().unwrap();
    let lines = "bob@ex.org - both, busy\ncarol@ex.org - asked\ndave@ex.org - both, offline";
    assert_eq!(told, [format!("Your buddies:\n{lines}")]);
}

#[tokio::test]
async fn a_picture_is_one_and_is_told_by_its_hash() {
    let world = World::new(false);
    let png = b"\x89PNG\r\n\x1a\nrest".to_vec();
    let alice = aor("alice");
    assert_eq!(world.roster.set_avatar(&alice, b"<html>".to_vec()).await.unwrap(), None);
    let large = [&png[..], &[0; 65_536]].concat();
    assert_eq!(world.roster.set_avatar(&alice, large).await.unwrap(), None);
    assert_eq!(world.roster.avatar_sha1(&alice).unwrap(), None);
    let avatar = world.roster.set_avatar(&alice, png).await.unwrap().unwrap();
    assert_eq!((avatar.media.as_str(), avatar.sha1.len()), ("image/png", 40));
    assert_eq!(world.roster.avatar_sha1(&alice).unwrap().as_deref(), Some(avatar.sha1.as_str()));
    assert_eq!(world.roster.avatar(&alice).unwrap(), Some(avatar));
    assert!(world.roster.remove_avatar(&alice).await.unwrap());
    assert!(!world.roster.remove_avatar(&alice).await.unwrap());
    assert_eq!(world.told(), ["status alice", "status alice"]);
    world.roster.set_status(&alice, Some((State::Away, "lunch".into()))).await.unwrap();
    let status = world.roster.status(&alice).unwrap();
    assert_eq!(status.map(|(state, note)| (state, note.to_string())), Some((State::Away, "lunch".into())));
    world.roster.set_status(&alice, None).await.unwrap();
    assert_eq!(world.roster.status(&alice).unwrap(), None);
    assert_eq!(world.told(), ["status alice", "status alice"]);
}

#[tokio::test]
async fn who_changes_his_mind_over_and_over_does_not_write_by_it() {
    let world = World::new(false);
    world.subscribes("alice", "bob").await;
    for deed in [Deed::Accepts, Deed::Refuses, Deed::Accepts, Deed::Refuses] {
        world.does("bob", deed, "alice").await;
    }
    assert_eq!(world.letters("alice"), ["*** bob@ex.org lets you see when bob is there"]);
    // Nor does he to somebody who has asked him and blocked him since.
    world.subscribes("carol", "bob").await;
    world.block("carol", "bob", true).await;
    world.does("bob", Deed::Refuses, "carol").await;
    assert_eq!(world.letters("carol"), [""; 0]);
}

#[tokio::test]
async fn the_end_of_an_account_ends_what_others_saw_of_it() {
    let world = World::new(false);
    world.roster.store.put_account(&aor("alice"), None).await.unwrap();
    world.does("alice", Deed::Links, "bob").await;
    world.subscribes("carol", "alice").await;
    world.told();
    let concerned = world.roster.concerned(&aor("alice")).unwrap();
    assert!(world.roster.store.remove_account(&aor("alice")).await.unwrap());
    world.roster.ended(&aor("alice"), &concerned);
    let told = [
        "bob of alice: Rejected",
        "roster bob",
        "carol of alice: Rejected",
        "roster carol",
        "alice of bob: Rejected",
        "roster alice",
        "status alice",
    ];
    assert_eq!(world.told(), told);
    // Whoever has the name next is nobody's friend.
    assert_eq!(
        (world.sees("bob", "alice"), world.sees("alice", "bob")),
        (Standing::Pending, Standing::Pending)
    );
    assert_eq!(world.subscribes("alice", "carol").await, Standing::Pending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_subscribe_at_the_same_moment_see_each_other_and_nobody_is_asked_twice() {
    let world = Arc::new(World::new(false));
    for n in 0..50 {
        let (a, b) = (format!("a{n}"), format!("b{n}"));
        let subscribe = |who: &str, whom: &str| {
            let (world, who, whom) = (world.clone(), who.to_owned(), whom.to_owned());
            tokio::spawn(async move { world.subscribes(&who, &whom).await })
        };
        let tasks = [subscribe(&a, &b), subscribe(&b, &a), subscribe(&a, &b), subscribe(&b, &a)];
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!((world.sees(&a, &b), world.sees(&b, &a)), (Standing::Active, Standing::Active));
        assert!(world.letters(&a).len() <= 1 && world.letters(&b).len() <= 1);
    }
}

/// How long a list of a thousand and a single question take. Run with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "measures"]
async fn how_long_a_thousand_entries_take() {
    let world = World::new(false);
    world.roster.store.put_account(&aor("alice"), None).await.unwrap();
    let entries: Vec<Aor> = (0..1000).map(|n| aor(&format!("user{n}"))).collect();
    for round in ["first", "again", "once more"] {
        let start = std::time::Instant::now();
        world.roster.lists(&aor("alice"), &entries).await.unwrap();
        println!("a list of 1000, {round}: {:?}", start.elapsed());
    }
    let start = std::time::Instant::now();
    for entry in &entries {
        world.roster.standing(entry, &aor("alice")).unwrap();
    }
    println!("a standing: {:?}", start.elapsed() / 1000);
    let start = std::time::Instant::now();
    for entry in &entries {
        world.roster.subscribes(&aor("alice"), entry).await.unwrap();
    }
    println!("a first subscription: {:?}", start.elapsed() / 1000);
    let start = std::time::Instant::now();
    for entry in &entries {
        world.roster.subscribes(&aor("alice"), entry).await.unwrap();
    }
    println!("a refresh: {:?}", start.elapsed() / 1000);
}
