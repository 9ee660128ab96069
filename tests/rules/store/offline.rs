//! What is to be said later, who is to be told of a failure, and what waits.

use imcd::store::{Kept, NewLater};

use super::*;

const CPIM: &str = "From: <im:alice@ex.org>\r\nTo: <im:bob@ex.org>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
    imdn.Message-ID: m1\r\nimdn.Disposition-Notification: negative-delivery\r\n\r\nContent-Type: text/plain\r\n\r\nx";

fn later(author: &str, to: &str, due: UnixMs, n: u8) -> NewLater {
    NewLater {
        author: aor(author),
        recipient: aor(to),
        due,
        text: format!("reminder {n}"),
        hops: 69,
        accepted: origin(n),
    }
}

#[tokio::test]
async fn a_reminder_is_in_the_table_or_in_the_log_and_never_in_both() {
    let (dir, store) = fresh();
    for (n, due) in [(1, NOW + 3000), (2, NOW + 1000), (3, NOW + 2000)] {
        assert_eq!(store.keep_later(later("alice", "bob", due, n), 100).await.unwrap(), Kept::As(n.into()));
    }
    assert_eq!(store.due(NOW, (0, 0), 10).unwrap(), []);
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    let due = store.due(NOW + 2500, (0, 0), 10).unwrap();
    assert_eq!(due.iter().map(|later| later.n).collect::<Vec<_>>(), [2, 3]);
    let rest = store.due(NOW + 2500, (due[0].due, due[0].id), 10).unwrap();
    assert_eq!(rest, due[1..]);
    let entry = direct("bob", "alice", &due[0].text);
    assert!(store.say_later(due[0].id, vec![entry.clone()]).await.unwrap());
    assert_eq!(heard(&store, "bob"), ["reminder 2"]);
    // Said twice, by whoever does not know it yet, it is said once.
    assert!(!store.say_later(due[0].id, vec![entry.clone()]).await.unwrap());
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert!(!store.say_later(due[0].id, vec![entry]).await.unwrap());
    assert_eq!(heard(&store, "bob"), ["reminder 2"]);
    // Refused: it is gone and nobody hears it.
    assert!(store.say_later(due[1].id, vec![]).await.unwrap());
    assert_eq!(store.laters(id(&store, "alice")).unwrap().len(), 1);
    assert_eq!(heard(&store, "bob"), ["reminder 2"]);
}

#[tokio::test]
async fn a_reminder_that_cannot_enter_the_log_stays() {
    let (dir, store) = fresh();
    store.keep_later(later("alice", "bob", NOW, 1), 100).await.unwrap();
    let due = store.due(NOW, (0, 0), 10).unwrap().remove(0);
    // A post needs a room: the commit fails within the transaction.
    assert!(store.say_later(due.id, vec![post("alice", "x")]).await.is_err());
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.due(NOW, (0, 0), 10).unwrap(), [due]);
}

#[tokio::test]
async fn reminders_are_numbered_bounded_and_ones_own() {
    let (_dir, store) = fresh();
    assert_eq!(store.keep_later(later("alice", "alice", NOW, 1), 2).await.unwrap(), Kept::As(1));
    // The same request again.
    let repeat = store.keep_later(later("alice", "alice", NOW, 1), 2).await.unwrap();
    assert_eq!(repeat, Kept::Repeat(Answer { status: 202 }));
    assert_eq!(store.keep_later(later("alice", "bob", NOW, 2), 2).await.unwrap(), Kept::As(2));
    assert_eq!(store.keep_later(later("alice", "bob", NOW, 3), 2).await.unwrap(), Kept::Full);
    assert_eq!(store.accepted(&[3; 16]).unwrap(), None, "what was not taken is no repetition");
    assert_eq!(store.keep_later(later("bob", "alice", NOW, 4), 2).await.unwrap(), Kept::As(1));
    let (alice, bob) = (id(&store, "alice"), id(&store, "bob"));
    assert!(store.forget_later(bob, 1).await.unwrap());
    assert!(!store.forget_later(bob, 1).await.unwrap());
    assert_eq!(store.laters(alice).unwrap().len(), 2);
    assert!(store.forget_later(alice, 1).await.unwrap());
    assert_eq!(store.keep_later(later("alice", "bob", NOW, 5), 2).await.unwrap(), Kept::As(3));
    store.put_account(&aor("alice"), None).await.unwrap();
    assert!(store.remove_account(&aor("alice")).await.unwrap());
    assert_eq!(store.due(i64::MAX, (0, 0), 10).unwrap(), []);
}

#[tokio::test]
async fn who_asked_to_hear_of_a_failure_is_known_until_somebody_tells() {
    let (dir, store) = fresh();
    let cpim =
        |body: &str| NewEntry { content_type: Some("message/cpim".into()), ..direct("bob", "alice", body) };
    let entries = vec![cpim(CPIM), direct("bob", "alice", CPIM), cpim(CPIM), cpim("no headers")];
    let seqs = done(&store, Commit { entries, ..Commit::default() }).await;
    let bob = id(&store, "bob");
    let end = NOW + 3 * DAY;
    assert_eq!(store.receipts().unwrap(), [(seqs[0], bob, end), (seqs[2], bob, end)]);
    // Withdrawn, the sender knows it already.
    store.withdraw(vec![seqs[2]], None).await.unwrap();
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.expired_receipts(end - 1, 10).unwrap(), []);
    assert_eq!(store.expired_receipts(end, 10).unwrap(), [seqs[0]]);
    let receipt = store.take_receipt(seqs[0]).await.unwrap().unwrap();
    assert_eq!((receipt.account, receipt.author, receipt.at), (bob, id(&store, "alice"), NOW));
    assert_eq!(receipt.asked.message_id, "m1");
    assert_eq!(store.take_receipt(seqs[0]).await.unwrap(), None);
    assert_eq!(store.receipts().unwrap(), []);
}

#[tokio::test]
async fn accounts_that_expect_something_are_found_and_what_was_taken_is_counted() {
    let (_dir, store) = fresh();
    let expired = NewEntry { expires: NOW, ..direct("carol", "alice", "too late") };
    let entries = vec![direct("bob", "alice", "1"), direct("bob", "alice", "2"), expired];
    let seqs = done(&store, Commit { entries, ..Commit::default() }).await;
    let expecting = |store: &Store| -> Vec<String> {
        store.expecting(NOW, None, 10).unwrap().iter().map(|account| account.address.to_string()).collect()
    };
    assert_eq!(expecting(&store), ["bob@ex.org"]);
    let bob = store.account(&aor("bob")).unwrap().unwrap();
    assert_eq!(store.count_taken(bob.mailbox, seqs[0], 100).unwrap(), 1);
    assert_eq!(store.count_taken(bob.mailbox, seqs[1], 100).unwrap(), 2);
    assert_eq!(store.count_taken(bob.mailbox, seqs[1], 1).unwrap(), 1);
    store.positions(vec![(bob.id, "".into(), seqs[1])]);
    store.flush().await;
    assert_eq!(expecting(&store), Vec::<String>::new());
}
