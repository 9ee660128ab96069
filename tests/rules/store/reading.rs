//! Pages, counts, history, positions, accounts.

use super::*;

#[tokio::test]
async fn a_page_merges_many_rooms_and_mailbox_in_the_order_of_the_log() {
    let (_dir, store) = fresh();
    let rooms: Vec<String> = (0..40).map(|n| format!("room{n}")).collect();
    for name in &rooms {
        room(&store, name, &["alice"]).await;
    }
    room(&store, "foreign", &["mallory"]).await;
    let mut expected = Vec::new();
    for n in 0..300usize {
        let name = &rooms[n * n % 40];
        let text = format!("{n}");
        done(&store, step(name, 1, vec![], vec![post("alice", &text)])).await;
        expected.push(text);
        done(&store, step("foreign", 1, vec![], vec![post("mallory", "not for her")])).await;
        if n % 50 == 0 {
            let text = format!("direct {n}");
            let mut gone = direct("alice", "bob", "expired");
            gone.expires = NOW;
            let entries = vec![direct("alice", "bob", &text), gone];
            done(&store, Commit { entries, ..Commit::default() }).await;
            expected.push(text);
        }
    }
    for limit in [1, 7, 64, 1000] {
        assert_eq!(heard_after(&store, "alice", Seq(0), limit), expected, "limit {limit}");
    }
    let page = store.page(&spans(&store, "alice"), store.head(), 64, NOW).unwrap();
    assert!(page.entries.is_empty() && !page.more);
    // Two rooms alone: asked directly, not walked to.
    let two: Vec<Span> = spans(&store, "alice").into_iter().skip(1).take(2).collect();
    let mut after = Seq(0);
    let mut count = 0;
    loop {
        let page = store.page(&two, after, 2, NOW).unwrap();
        assert!(
            page.entries.iter().all(|entry| two.iter().any(|span| span.conversation == entry.conversation))
        );
        count += page.entries.len();
        after = page.through;
        if !page.more {
            break;
        }
    }
    let all = store.page(&two, Seq(0), 1000, NOW).unwrap();
    assert_eq!(count, all.entries.len());
    assert!(count > 0);
}

#[tokio::test]
async fn a_long_stretch_of_expired_entries_is_stepped_over_in_pieces() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    for _ in 0..5 {
        let entries = (0..1000).map(|_| NewEntry { expires: NOW - 1, ..post("alice", "x") }).collect();
        done(&store, step("team", 1, vec![], entries)).await;
    }
    done(&store, step("team", 1, vec![], vec![post("alice", "alive")])).await;
    let first = store.page(&spans(&store, "alice"), Seq(0), 64, NOW).unwrap();
    assert!(first.entries.is_empty() && first.more && first.through > Seq(0));
    assert_eq!(heard(&store, "alice"), ["alive"]);
}

#[tokio::test]
async fn counting_and_skipping_know_messages_from_notices() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    let mut seqs = Vec::new();
    for n in 0..10 {
        let entries = vec![post("alice", &n.to_string()), notice("so it goes")];
        seqs.push(done(&store, step("team", 1, vec![], entries)).await[0]);
    }
    let span = spans(&store, "alice")[1];
    assert_eq!(store.count_after(&span, Seq(0), NOW).unwrap(), 10);
    assert_eq!(store.count_after(&span, seqs[3], NOW).unwrap(), 6);
    assert_eq!(store.count_after(&span, seqs[3], NOW + 4 * DAY).unwrap(), 0);
    assert_eq!(store.nth_newest(&span, 1).unwrap(), Some(seqs[9]));
    assert_eq!(store.nth_newest(&span, 10).unwrap(), Some(seqs[0]));
    assert_eq!(store.nth_newest(&span, 11).unwrap(), None);
    assert_eq!(store.nth_newest(&span, 0).unwrap(), None);
    let closed = Span { until: Some(seqs[4]), ..span };
    assert_eq!(store.nth_newest(&closed, 1).unwrap(), Some(seqs[4]));
    assert_eq!(store.count_after(&closed, Seq(0), NOW).unwrap(), 5);
    // All were said at NOW.
    let young = |since, now| store.count_young(&span, seqs[3], since, now).unwrap();
    assert_eq!((young(NOW - 1, NOW), young(NOW - 1, NOW + 1)), (6, 6));
    assert_eq!((young(NOW, NOW + 1), young(NOW - 2, NOW - 1)), (0, 0));
    assert_eq!(store.count_young(&closed, Seq(0), NOW - 1, NOW).unwrap(), 5);
}

#[tokio::test]
async fn history_is_the_last_posts_that_he_may_see() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    done(&store, step("team", 1, vec![], vec![post("alice", "before him")])).await;
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![notice("bob joined")])).await;
    for n in 0..5 {
        let mut late = post("alice", &n.to_string());
        late.expires = NOW - 1;
        done(&store, step("team", 2, vec![], vec![late])).await;
    }
    done(&store, step("team", 2, vec![leave("bob")], vec![])).await;
    done(&store, step("team", 3, vec![], vec![post("alice", "after him")])).await;
    let conversation = state(&store, "team").conversation;
    let texts = |who: &str, n| -> Vec<String> {
        let entries = store.history(conversation, id(&store, who), n).unwrap();
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.body).into_owned()).collect()
    };
    assert_eq!(texts("bob", 3), ["2", "3", "4"]);
    assert_eq!(texts("bob", 100), ["0", "1", "2", "3", "4"]);
    assert_eq!(texts("alice", 2), ["4", "after him"]);
}

#[tokio::test]
async fn positions_only_grow_are_seen_at_once_and_are_kept() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap().unwrap();
    let device = |key: &str, seq| (id, DeviceKey::from(key), Seq(seq));
    let known = |store: &Store| -> Vec<(String, i64)> {
        let mut devices: Vec<_> =
            store.view(id).unwrap().devices.iter().map(|d| (d.0.to_string(), d.1.0)).collect();
        devices.sort();
        devices
    };
    store.positions(vec![device("", 5), device("urn:a", 7)]);
    assert_eq!(known(&store), [("".to_owned(), 5), ("urn:a".to_owned(), 7)]);
    store.flush().await;
    store.positions(vec![device("", 3), device("urn:a", 9), device("urn:a", 8)]);
    assert_eq!(known(&store), [("".to_owned(), 5), ("urn:a".to_owned(), 9)]);
    store.close();
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(known(&store), [("".to_owned(), 5), ("urn:a".to_owned(), 9)]);
    assert!(store.view(id).unwrap().devices.iter().all(|(_, _, seen)| *seen > 0));
}

#[tokio::test]
async fn positions_reach_the_disk_by_themselves() {
    let (dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap().unwrap();
    store.positions(vec![(id, DEFAULT_DEVICE.into(), Seq(4))]);
    let conn = raw(&dir);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let found: Option<i64> =
            conn.query_row("SELECT max(position) FROM device", [], |row| row.get(0)).unwrap();
        if found == Some(4) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "never flushed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_forgotten_device_starts_as_new_and_nobody_falls_behind_it() {
    let (_dir, store) = fresh();
    let id = store.put_account(&aor("alice"), None).await.unwrap().unwrap();
    store.positions(vec![(id, "urn:a".into(), Seq(12))]);
    store.forget_device(id, "urn:a").await.unwrap();
    let view = store.view(id).unwrap();
    assert!(view.devices.is_empty());
    assert_eq!(view.base, Seq(12));
    assert_eq!(store.account(&aor("alice")).unwrap().unwrap().base, Seq(12));
    store.positions(vec![(id, "urn:b".into(), Seq(3))]);
    store.flush().await;
    assert_eq!(store.view(id).unwrap().devices[0].1, Seq(12));
}

#[tokio::test]
async fn accounts_keep_their_spelling_their_credentials_and_their_bindings() {
    let (dir, store) = fresh();
    let credentials = Credentials {
        realm: "ex.org".into(),
        md5: Some("d41d8cd98f00b204e9800998ecf8427e".into()),
        ..Credentials::default()
    };
    let id = store.put_account(&aor("Alice"), Some(credentials.clone())).await.unwrap().unwrap();
    assert_eq!(store.put_account(&aor("alice@EX.org"), None).await.unwrap(), Some(id));
    let found = store.account(&aor("ALICE")).unwrap().unwrap();
    assert_eq!(found.address.as_str(), "Alice@ex.org");
    assert_eq!(found.credentials, Some(credentials));
    assert!(found.registered);

    let bound = |key: &str, expires_at| StoredBinding { key: key.into(), data: "{}".into(), expires_at };
    store.bind(&aor("alice"), vec![bound("a", NOW + 1), bound("b", NOW + 2)], vec![]).await.unwrap();
    let bob = store.bind(&aor("bob"), vec![bound("c", NOW)], vec![]).await.unwrap().unwrap();
    store.bind(&aor("alice"), vec![bound("b", NOW + 9)], vec![]).await.unwrap();
    assert_eq!(store.bindings(&aor("alice")).unwrap(), [bound("b", NOW + 9)]);
    drop(store);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(
        store.all_bindings().unwrap(),
        [(aor("alice"), id, vec![bound("b", NOW + 9)]), (aor("bob"), bob, vec![bound("c", NOW)])]
    );
    let names: Vec<String> =
        store.accounts(Some("EX.ORG"), None, 100).unwrap().iter().map(|a| a.address.to_string()).collect();
    assert_eq!(names, ["Alice@ex.org", "bob@ex.org"]);
    assert!(store.accounts(Some("other"), None, 100).unwrap().is_empty());
    assert_eq!(store.address(bob).unwrap(), Some(aor("bob")));
}

#[tokio::test]
async fn somebody_who_is_only_a_member_is_no_account() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    assert!(!store.account(&aor("alice")).unwrap().unwrap().registered);
    assert!(store.accounts(None, None, 100).unwrap().is_empty());
    store.bind(&aor("alice"), vec![], vec![]).await.unwrap();
    assert!(store.account(&aor("alice")).unwrap().unwrap().registered);
}

#[tokio::test]
async fn who_takes_over_a_removed_account_reads_nothing_of_the_former() {
    let (_dir, store) = fresh();
    let id = store.put_account(&aor("bob"), Some(Credentials::default())).await.unwrap().unwrap();
    let last =
        done(&store, Commit { entries: vec![direct("bob", "alice", "old")], ..Commit::default() }).await;
    store.positions(vec![(id, "urn:a".into(), Seq(0))]);
    assert!(store.remove_account(&aor("bob")).await.unwrap());
    assert!(!store.remove_account(&aor("bob")).await.unwrap());
    assert!(!store.account(&aor("bob")).unwrap().unwrap().registered);
    store.put_account(&aor("bob"), None).await.unwrap();
    assert_eq!(heard(&store, "bob"), [""; 0]);
    let view = store.view(id).unwrap();
    assert!(view.devices.is_empty());
    assert_eq!(view.base, last[0]);
    done(&store, Commit { entries: vec![direct("bob", "alice", "new")], ..Commit::default() }).await;
    assert_eq!(heard(&store, "bob"), ["new"]);
}

#[tokio::test]
async fn a_secret_is_made_once() {
    let (dir, store) = fresh();
    let secret = store.secret("nonce").unwrap();
    assert_ne!(secret, [0; 32]);
    assert_ne!(secret, store.secret("origin").unwrap());
    drop(store);
    assert_eq!(Store::open(options(dir.path())).unwrap().secret("nonce").unwrap(), secret);
}

#[tokio::test]
async fn a_page_of_old_spans_does_not_speak_of_what_came_since() {
    let (_dir, store) = fresh();
    room(&store, "team", &["alice"]).await;
    done(&store, Commit { entries: vec![direct("bob", "alice", "hi")], ..Commit::default() }).await;
    let upto = store.head();
    let old = spans(&store, "bob");
    // Between the two looks he joins: what he hears of it is in no span that was read.
    done(&store, step("team", 1, vec![admit("bob", 0)], vec![notice("bob joined")])).await;
    let page = store.page_of(&old, (Seq(0), upto), 64, NOW, false).unwrap();
    assert_eq!((page.entries.len(), page.through, page.more), (1, upto, false));
    assert_eq!(heard_after(&store, "bob", page.through, 64), ["bob joined"]);
}

/// Every table of Kamailio 5.6's own schemas but the imc module's.
#[rustfmt::skip]
const KAMAILIOS: &[&str] = &[
    "acc", "acc_cdrs", "active_watchers", "address", "aliases", "carrier_name", "carrierfailureroute",
    "carrierroute", "cpl", "dbaliases", "dialog", "dialog_vars", "dialplan", "dispatcher", "domain",
    "domain_attrs", "domain_name", "domainpolicy", "dr_gateways", "dr_groups", "dr_gw_lists", "dr_rules",
    "globalblocklist", "grp", "htable", "lcr_gw", "lcr_rule", "lcr_rule_target", "location",
    "location_attrs", "matrix", "missed_calls", "mohqcalls", "mohqueues", "mtree", "mtrees", "pdt",
    "pl_pipes", "presentity", "pua", "purplemap", "re_grp", "rls_presentity", "rls_watchers", "rtpengine",
    "rtpproxy", "sca_subscriptions", "secfilter", "silo", "sip_trace", "speed_dial", "subscriber",
    "topos_d", "topos_t", "trusted", "uacreg", "uid_credentials", "uid_domain", "uid_domain_attrs",
    "uid_global_attrs", "uid_uri", "uid_uri_attrs", "uid_user_attrs", "uri", "userblocklist",
    "usr_preferences", "version", "watchers", "xcap",
];

#[test]
fn a_whole_database_of_kamailio_can_be_ours_too() {
    let dir = tempfile::tempdir().unwrap();
    for name in KAMAILIOS {
        raw(&dir).execute_batch(&format!("CREATE TABLE \"{name}\" (theirs TEXT)")).unwrap();
    }
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.active_rooms(), 0);
    drop(store);
    for name in KAMAILIOS {
        let column: String =
            raw(&dir).query_row("SELECT name FROM pragma_table_info(?1)", [name], |row| row.get(0)).unwrap();
        assert_eq!(column, "theirs", "{name} is left alone");
    }
}
