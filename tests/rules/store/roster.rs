//! Rosters, states and pictures on disk.

use imcd::presence::State;
use imcd::presence::roster::{ASK_AGAIN, BUDDIES_MAX, Bond, Deed, Flags};
use imcd::store::{Avatar, Called, Related, Words};

use super::*;

fn asks(who: &str, whom: &str) -> Words {
    let question = entry(Place::Mailbox(aor(whom)), EntryKind::Notice, None, &format!("{who} asks {whom}"));
    Words { question: Some(question), answer: None }
}

fn answers(to: &str, body: &str) -> Words {
    let answer = entry(Place::Mailbox(aor(to)), EntryKind::Notice, None, body);
    Words { question: None, answer: Some(answer) }
}

async fn relate(store: &Store, who: &str, whom: &str, deed: Deed, now: UnixMs, words: Words) -> Related {
    store.relate(&aor(who), &aor(whom), deed, now, words).await.unwrap()
}

fn bond(store: &Store, who: &str, whom: &str) -> Option<Bond> {
    store.buddy(&aor(who), &aor(whom)).unwrap().map(|buddy| Bond::of(buddy.flags))
}

#[tokio::test]
async fn both_rows_and_the_question_are_one_commit_that_a_restart_finds() {
    let (dir, store) = fresh();
    let done = relate(&store, "alice", "bob", Deed::Subscribes, NOW, asks("alice", "bob")).await;
    assert!(matches!(done, Related::Done { asked: true, .. }));
    assert_eq!(heard(&store, "bob"), ["alice asks bob"]);
    assert_eq!(store.asking(&aor("BOB@EX.ORG"), 10).unwrap(), [aor("alice")]);
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!((bond(&store, "alice", "bob"), bond(&store, "bob", "alice")), (Some(Bond::Asked), None));
    // Within a week nobody is asked again, whatever the asker does in between.
    for (deed, later) in
        [(Deed::Subscribes, 1), (Deed::Removes, 2), (Deed::Adds, 3), (Deed::Adds, ASK_AGAIN - 1)]
    {
        let done = relate(&store, "alice", "bob", deed, NOW + later, asks("alice", "bob")).await;
        assert!(matches!(done, Related::Done { asked: false, .. }), "{deed:?} {done:?}");
    }
    assert!(!store.pair(&aor("alice"), &aor("bob"), NOW + ASK_AGAIN - 1).unwrap().2);
    assert!(store.pair(&aor("alice"), &aor("bob"), NOW + ASK_AGAIN).unwrap().2);
    relate(&store, "alice", "bob", Deed::Adds, NOW + ASK_AGAIN, asks("alice", "bob")).await;
    assert_eq!(heard(&store, "bob").len(), 2);
    relate(&store, "bob", "alice", Deed::Accepts, NOW + ASK_AGAIN, answers("alice", "bob agrees")).await;
    relate(&store, "bob", "alice", Deed::Accepts, NOW + ASK_AGAIN, answers("alice", "bob agrees")).await;
    assert_eq!(heard(&store, "alice"), ["bob agrees"], "said once, when it became so");
    assert_eq!(
        (bond(&store, "alice", "bob"), bond(&store, "bob", "alice")),
        (Some(Bond::To), Some(Bond::From))
    );
    assert!(!store.are_buddies(&aor("alice"), &aor("bob")).unwrap());
    relate(&store, "bob", "alice", Deed::Lists, NOW, Words::default()).await;
    assert!(store.are_buddies(&aor("alice"), &aor("bob")).unwrap());
    assert!(store.are_buddies(&aor("bob"), &aor("alice")).unwrap());
}

#[tokio::test]
async fn a_no_counts_for_a_week_from_when_it_was_said() {
    let (_dir, store) = fresh();
    relate(&store, "alice", "bob", Deed::Subscribes, NOW, asks("alice", "bob")).await;
    let said = NOW + ASK_AGAIN - 1;
    relate(&store, "bob", "alice", Deed::Refuses, said, answers("alice", "bob does not")).await;
    assert_eq!(heard(&store, "alice"), ["bob does not"]);
    assert_eq!(store.buddies(&aor("bob")).unwrap(), [], "a no is no buddy");
    relate(&store, "alice", "bob", Deed::Subscribes, said + ASK_AGAIN - 1, asks("alice", "bob")).await;
    assert_eq!(heard(&store, "bob").len(), 1);
    relate(&store, "alice", "bob", Deed::Subscribes, said + ASK_AGAIN, asks("alice", "bob")).await;
    assert_eq!(heard(&store, "bob").len(), 2);
}

#[tokio::test]
async fn nothing_of_a_deed_stays_if_its_words_cannot_be_kept() {
    let (_dir, store) = fresh();
    let nowhere = Words { question: Some(post("alice", "a post in no room")), answer: None };
    let done = store.relate(&aor("alice"), &aor("bob"), Deed::Adds, NOW, nowhere).await;
    assert!(done.is_err());
    assert_eq!(bond(&store, "alice", "bob"), None);
    assert!(store.pair(&aor("alice"), &aor("bob"), NOW).unwrap().2, "nobody was asked");
}

#[tokio::test]
async fn a_list_is_one_question_and_only_mutual_entries_see_each_other() {
    let (dir, store) = fresh();
    relate(&store, "bob", "alice", Deed::Subscribes, NOW, Words::default()).await;
    relate(&store, "carol", "alice", Deed::Lists, NOW, Words::default()).await;
    relate(&store, "dave", "alice", Deed::Adds, NOW, Words::default()).await;
    relate(&store, "alice", "dave", Deed::Refuses, NOW, Words::default()).await;
    let list = ["dave", "Bob@EX.org", "nobody@else.net", "carol"].map(aor);
    let changed = store.lists(&aor("alice"), list.to_vec(), NOW).await.unwrap();
    assert_eq!(changed.len(), 4);
    let pairs = store.pairs(&aor("Alice"), &list).unwrap();
    let bonds: Vec<_> = pairs.iter().map(|(mine, his)| (Bond::of(*mine), Bond::of(*his))).collect();
    assert_eq!(
        bonds,
        [
            (Bond::None, Bond::None),
            (Bond::Both, Bond::Both),
            (Bond::None, Bond::None),
            (Bond::Both, Bond::Both)
        ]
    );
    assert!(store.lists(&aor("alice"), list.to_vec(), NOW).await.unwrap().is_empty(), "nothing new");
    assert!(store.pairs(&aor("alice"), &[]).unwrap().is_empty());
    // Both rows are found by their key: a list of a thousand must not walk through rosters.
    let plan: Vec<String> = raw(&dir)
        .prepare(
            "EXPLAIN QUERY PLAN SELECT mine.flags, his.flags FROM json_each(?2) AS entry
             LEFT JOIN roster AS mine ON mine.owner = ?1 AND mine.contact = entry.value
             LEFT JOIN roster AS his ON his.owner = entry.value AND his.contact = ?1",
        )
        .unwrap()
        .query_map(["a", "[]"], |row| row.get(3))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        plan.iter().filter(|line| line.contains("PRIMARY KEY (owner=? AND contact=?)")).count(),
        2,
        "{plan:?}"
    );
}

#[tokio::test]
async fn a_roster_has_a_thousand_entries_and_a_no_takes_no_place() {
    let (_dir, store) = fresh();
    store.put_account(&aor("alice"), None).await.unwrap();
    for n in 0..3 {
        relate(&store, "alice", &format!("x{n}"), Deed::Adds, NOW, Words::default()).await;
        relate(&store, "alice", &format!("x{n}"), Deed::Removes, NOW, Words::default()).await;
    }
    let many: Vec<Aor> = (0..BUDDIES_MAX + 5).map(|n| aor(&format!("u{n}"))).collect();
    assert_eq!(store.lists(&aor("alice"), many, NOW).await.unwrap().len(), BUDDIES_MAX);
    assert_eq!(relate(&store, "alice", "bob", Deed::Adds, NOW, asks("alice", "bob")).await, Related::Full);
    assert_eq!(store.account(&aor("bob")).unwrap(), None, "nothing was said");
    // Who is full can still say no, and somebody else can still ask.
    relate(&store, "bob", "alice", Deed::Adds, NOW, Words::default()).await;
    assert_eq!(relate(&store, "alice", "bob", Deed::Accepts, NOW, Words::default()).await, Related::Full);
    let no = relate(&store, "alice", "bob", Deed::Refuses, NOW, Words::default()).await;
    assert!(matches!(no, Related::Done { .. }));
    relate(&store, "alice", "u7", Deed::Removes, NOW, Words::default()).await;
    let done = relate(&store, "alice", "bob", Deed::Accepts, NOW, Words::default()).await;
    assert!(matches!(done, Related::Done { .. }), "{done:?}");
}

#[tokio::test]
async fn names_and_groups_are_kept_and_go_with_the_entry() {
    let (_dir, store) = fresh();
    let (alice, bob) = (aor("alice"), aor("bob"));
    let called = |nick: Option<&str>, groups: &[&str]| Called {
        nick: Some(nick.map(str::to_owned)),
        groups: Some(groups.iter().map(|group| group.to_string()).collect()),
    };
    assert!(!store.call_buddy(&alice, &bob, called(Some("Bobby"), &[])).await.unwrap());
    relate(&store, "alice", "bob", Deed::Adds, NOW, Words::default()).await;
    assert!(
        store.call_buddy(&alice, &bob, called(Some("Bob's \"'; --"), &["work", "my friends"])).await.unwrap()
    );
    assert!(store.call_buddy(&alice, &bob, Called::default()).await.unwrap());
    let buddy = store.buddy(&alice, &bob).unwrap().unwrap();
    assert_eq!(
        (buddy.nick.as_deref(), buddy.groups),
        (Some("Bob's \"'; --"), vec!["work".into(), "my friends".into()])
    );
    relate(&store, "bob", "alice", Deed::Adds, NOW, Words::default()).await;
    relate(&store, "bob", "alice", Deed::Removes, NOW, Words::default()).await;
    let buddy = store.buddy(&alice, &bob).unwrap().unwrap();
    assert_eq!((Bond::of(buddy.flags), buddy.groups.len()), (Bond::None, 2), "the other's entry stays");
    relate(&store, "alice", "bob", Deed::Removes, NOW, Words::default()).await;
    relate(&store, "alice", "bob", Deed::Adds, NOW, Words::default()).await;
    let buddy = store.buddy(&alice, &bob).unwrap().unwrap();
    assert_eq!((buddy.nick, buddy.groups), (None, vec![]));
}

#[tokio::test]
async fn states_and_pictures_ride_on_the_account_and_go_with_it() {
    let (dir, store) = fresh();
    let (alice, bob) = (aor("alice"), aor("bob"));
    store.put_account(&alice, None).await.unwrap();
    for (state, note) in State::ALL.into_iter().zip(["", "lunch time", "'; --", "é", "a b", "z"]) {
        store.set_status(&alice, Some((state, note.into()))).await.unwrap();
        let status = store.account(&alice).unwrap().unwrap().status;
        assert_eq!(status.as_ref().map(|(state, note)| (*state, &**note)), Some((state, note)));
    }
    let avatar = Avatar { media: "image/png".into(), sha1: "ab".into(), data: vec![0, 1, 255] };
    assert!(!store.set_avatar(&alice, Some(avatar.clone())).await.unwrap());
    relate(&store, "alice", "bob", Deed::Links, NOW, Words::default()).await;
    relate(&store, "bob", "alice", Deed::Removes, NOW, Words::default()).await;
    relate(&store, "bob", "alice", Deed::Links, NOW, Words::default()).await;
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    let account = store.account(&alice).unwrap().unwrap();
    assert_eq!(account.avatar.as_deref(), Some("ab"));
    assert_eq!(store.avatar(account.id).unwrap(), Some(avatar));
    assert!(store.remove_account(&alice).await.unwrap());
    let account = store.account(&alice).unwrap().unwrap();
    assert_eq!((account.status, account.avatar), (None, None));
    assert_eq!(store.avatar(account.id).unwrap(), None);
    assert_eq!(store.buddies(&alice).unwrap(), []);
    let left = store.buddy(&bob, &alice).unwrap().unwrap();
    assert_eq!(left.flags, Flags::NONE);
    let questions: i64 = raw(&dir).query_row("SELECT count(*) FROM question", [], |row| row.get(0)).unwrap();
    assert_eq!(questions, 0);
}
