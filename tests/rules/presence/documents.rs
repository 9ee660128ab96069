//! Whatever phones publish, what watchers get is valid, and true.

use imcd::presence::State;
use imcd::presence::compose::{Source, Whole, compose, offline};
use imcd::presence::pidf::{Published, read};
use imcd::presence::xml::{self, DATA_MODEL, Element, PIDF, RPID};
use imcd::types::Aor;
use proptest::prelude::*;

use super::schema::{PRESENCE, validates, verdict};

fn alice() -> Aor {
    Aor::parse("alice@example.org").unwrap()
}

fn document(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<p:presence xmlns:p='{PIDF}' xmlns:dm='{DATA_MODEL}' xmlns:r='{RPID}' xmlns:x='urn:x' \
         xmlns:c='urn:ietf:params:xml:ns:pidf:cipid' xmlns:o='http://www.linphone.org/xsds/pidfonline.xsd' \
         xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' entity='pres:alice@example.org'>{inner}</p:presence>"
    )
}

fn whole<'a>(who: &'a Aor, sources: &'a [Source<'a>]) -> Whole<'a> {
    Whole {
        who,
        sources,
        registered: false,
        manual: None,
        last_seen: None,
        avatar: None,
        changed: 1_795_211_851_607,
    }
}

/// Of everything something: valid or not, where it belongs or not.
fn pieces() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "<p:note>a &amp; b</p:note>", "<p:note xml:lang='de'>so</p:note>", "<p:note xml:lang='a b'>so</p:note>",
            "<dm:note>own</dm:note>", "<p:timestamp>2026-11-20T21:57:31Z</p:timestamp>", "<p:timestamp>now</p:timestamp>",
            "<dm:deviceID>urn:uuid:48662e19</dm:deviceID>", "<dm:deviceID>no uri</dm:deviceID>", "<dm:deviceID>urn:x:2</dm:deviceID>",
            "<p:contact priority='0.5'>sip:alice@192.0.2.1:5060;ob</p:contact>", "<p:contact priority='1.5'>tel:+49</p:contact>",
            "<p:contact>nowhere at all</p:contact>", "<p:contact/>",
        ]).prop_map(str::to_owned),
        3 => prop::sample::select(vec![
            "busy", "away", "on-the-phone", "meeting", "meal", "vacation", "permanent-absence", "holiday", "unknown",
            "working", "other", "odd",
        ]).prop_map(|word| format!("<r:activities id='p'><r:note>n</r:note><r:{word}/><x:mark/></r:activities>")),
        3 => prop::sample::select(vec![
            "<r:class>c</r:class>", "<r:class><x:e/></r:class>", "<r:mood><r:sad/><r:note>n</r:note></r:mood>",
            "<r:mood from='2026-11-20T21:57:31+01:00' id='i'><r:odd/><x:m/></r:mood>", "<r:mood/>",
            "<r:place-is><r:audio><r:ok/></r:audio><r:text/></r:place-is>", "<r:place-type><x:pub/></r:place-type>",
            "<r:place-type><r:other/></r:place-type>", "<r:privacy><r:text/><r:audio/></r:privacy>", "<r:privacy/>",
            "<r:relationship><r:family/></r:relationship>", "<r:service-class><r:postal/></r:service-class>",
            "<r:sphere><r:work/></r:sphere>", "<r:sphere>bored</r:sphere>", "<r:status-icon>http://x/y</r:status-icon>",
            "<r:time-offset>60</r:time-offset>", "<r:time-offset>1e3</r:time-offset>",
            "<r:user-input idle-threshold='-1' last-input='soon'>idle</r:user-input>", "<r:user-input/>", "<r:odd/>",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "<x:e p:mustUnderstand='1'>t<x:f/></x:e>", "<x:e xsi:type='x:t' p:mustUnderstand='odd'/>", "<e xmlns=''/>",
            "<o:online/>", "<c:display-name>A</c:display-name>", "<x:e><r:class><x:e/></r:class><p:presence/></x:e>",
            "<x:e xml:lang='??' xml:space='odd' x:a='&lt;&quot;&gt;&#10;'/>", "<dm:person/>", "<p:tuple/>",
            "<avatar xmlns='urn:imcd:avatar' sha1='00'/>", "<x:e x:id='person'/>",
        ]).prop_map(str::to_owned),
    ]
}

fn documents() -> impl Strategy<Value = String> {
    let some = |most: usize| prop::collection::vec(pieces(), 0..most).prop_map(|all| all.concat());
    let basic = prop::sample::select(vec![
        "<p:basic>open</p:basic>",
        "<p:basic>closed</p:basic>",
        "<p:basic> OPEN </p:basic>",
        "<p:basic>ajar</p:basic>",
        "",
    ]);
    let id = prop::sample::select(vec!["t1", "person", "account", "", "a b", "9"]);
    let tuple = (id.clone(), basic, some(3), some(4)).prop_map(|(id, basic, status, more)| {
        format!("<p:tuple id='{id}'>{more}<p:status>{basic}{status}</p:status></p:tuple>")
    });
    let person =
        (id.clone(), some(6)).prop_map(|(id, inner)| format!("<dm:person id='{id}'>{inner}</dm:person>"));
    let device = (id, some(5)).prop_map(|(id, inner)| format!("<dm:device id='{id}'>{inner}</dm:device>"));
    let child = prop_oneof![4 => tuple, 2 => person, 1 => device, 1 => pieces()];
    prop::collection::vec(child, 0..6).prop_map(|all| document(&all.concat()))
}

fn ids(element: &Element, found: &mut Vec<String>) {
    found.extend(element.attribute("id").map(str::to_owned));
    element.elements().for_each(|child| ids(child, found));
}

/// The state of the person as a watcher reads it.
fn shown(body: &[u8]) -> State {
    read(body, &alice()).unwrap().state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// C01, C02, C05, C06, C07.
    #[test]
    fn c01_whatever_is_published_the_composed_document_is_valid_and_true(
        documents in prop::collection::vec(documents(), 0..4),
        registered: bool,
        manual in prop::option::of((prop::sample::select(State::ALL.to_vec()), "[a-z<&\u{1}\u{fc}]{0,9}")),
        known: bool,
    ) {
        let published: Vec<Published> =
            documents.iter().map(|text| read(text.as_bytes(), &alice()).unwrap()).collect();
        let names: Vec<String> = (0..published.len()).map(|n| format!("{n}")).collect();
        let sources: Vec<Source<'_>> = published.iter().zip(&names)
            .map(|(published, id)| Source { id, published, at: 1_795_211_000_000 }).collect();
        let who = alice();
        let manual = manual.as_ref().map(|(state, words)| (*state, words.as_str()));
        let last_seen = known.then_some(1_795_211_000_000);
        let avatar = known.then_some("da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let composed = compose(&Whole { registered, manual, last_seen, avatar, ..whole(&who, &sources) });
        let text = String::from_utf8_lossy(&composed.body).into_owned();

        // As the schemas have it, which also see to unique ids and the order of elements.
        prop_assert_eq!(verdict(&composed.body, PRESENCE), Ok(()), "{}", text);
        let root = xml::parse(&composed.body).unwrap();
        let mut all = Vec::new();
        ids(&root, &mut all);
        let count = all.len();
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), count, "{}", text);
        prop_assert!(root.named(DATA_MODEL, "person").count() <= 1);
        prop_assert!(root.named(PIDF, "tuple").count() >= 1);
        for person in root.named(DATA_MODEL, "person") {
            prop_assert!(person.named(RPID, "activities").count() <= 1);
            prop_assert!(person.named("urn:imcd:avatar", "avatar").count() == usize::from(known));
        }

        // What it says is what we say, in the first tuple too.
        prop_assert_eq!(shown(&composed.body), composed.state, "{}", text);
        let first = root.named(PIDF, "tuple").next().and_then(|tuple| tuple.child(PIDF, "status")).unwrap();
        let basic = first.child(PIDF, "basic").map(Element::text);
        prop_assert_eq!(basic.as_deref() == Some("open"), composed.state.is_open(), "{}", text);

        let there = registered || published.iter().any(|one| one.open);
        let devices = published.iter().filter(|one| !one.closed()).map(|one| one.state).max();
        let devices = devices.filter(|state| state.is_open()).unwrap_or(State::Online);
        let want = match manual {
            _ if !there => State::Offline,
            None => devices,
            Some((State::Offline, _)) => State::Offline,
            Some((manual, _)) if devices == State::Online => manual,
            Some((manual, _)) => manual.max(devices),
        };
        prop_assert_eq!(composed.state, want, "{}", text);
    }

    #[test]
    fn what_was_composed_can_be_published_again(text in documents()) {
        let published = read(text.as_bytes(), &alice()).unwrap();
        let who = alice();
        let first = [Source { id: "a", published: &published, at: 0 }];
        let once = compose(&whole(&who, &first));
        let again = read(&once.body, &who).unwrap();
        let twice = compose(&whole(&who, &[Source { id: "a", published: &again, at: 0 }]));
        prop_assert_eq!(twice.state, once.state);
        prop_assert_eq!(twice.note, once.note);
    }
}

/// C01, C11: an address may have what must be escaped.
#[test]
fn c11_the_document_of_somebody_idle_is_valid() {
    for address in ["alice@example.org", "a'&%22b;c=d@example.org", "a@192.0.2.1"] {
        let who = Aor::parse(address).unwrap();
        let body = offline(&who);
        validates(&body, PRESENCE);
        let root = xml::parse(&body).unwrap();
        assert_eq!(root.attribute("entity"), Some(who.uri().as_str()));
        assert_eq!(read(&body, &who).unwrap().state, State::Offline);
    }
}

/// C10.
#[test]
fn c10_timestamps_rise_and_are_of_one_form() {
    let busy = "<p:tuple id='t1'><p:status><p:basic>open</p:basic></p:status><p:timestamp>2026-11-20t21:57:31+01:00\
                </p:timestamp></p:tuple><dm:person id='p'><r:activities><r:busy/></r:activities></dm:person>";
    let published = read(document(busy).as_bytes(), &alice()).unwrap();
    let who = alice();
    let told = |at: i64| {
        let sources = [Source { id: "a", published: &published, at }];
        let body = compose(&Whole { changed: at, ..whole(&who, &sources) }).body;
        validates(&body, PRESENCE);
        let root = xml::parse(&body).unwrap();
        let of = |element: Option<&Element>, ns| {
            element.and_then(|one| one.child(ns, "timestamp")).unwrap().text()
        };
        (of(root.child(PIDF, "tuple"), PIDF), of(root.child(DATA_MODEL, "person"), DATA_MODEL))
    };
    let (tuple, person) = told(1_795_211_851_607);
    assert_eq!((tuple.as_str(), person.as_str()), ("2026-11-20T21:57:31.607Z", "2026-11-20T21:57:31.607Z"));
    // A millisecond is enough to tell the next from it.
    assert_ne!(told(1_795_211_851_608), (tuple, person));
}

/// C12: refused before anything is made of it. The time of it is measured in `presence::compose`.
#[test]
fn c12_what_could_grow_is_refused() {
    let mut laughs = String::from("<?xml version=\"1.0\"?><!DOCTYPE p [<!ENTITY l0 \"lol\">");
    for n in 1..30 {
        laughs.push_str(&format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)));
    }
    laughs.push_str("]>");
    let inner = document("<p:note>&l29;</p:note>");
    let laughs = inner.replace("<?xml version=\"1.0\"?>", &laughs);
    let external = inner.replace(
        "<?xml version=\"1.0\"?>",
        "<?xml version=\"1.0\"?><!DOCTYPE p [<!ENTITY l29 SYSTEM \"file:///etc/hostname\">]>",
    );
    let deep = document(&("<x:a>".repeat(5000) + &"</x:a>".repeat(5000)));
    let many = document(&"<x:a/>".repeat(5000));
    let utf_16: Vec<u8> = document("").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let bodies =
        [laughs.as_bytes(), external.as_bytes(), inner.as_bytes(), deep.as_bytes(), many.as_bytes(), &utf_16];
    for body in bodies {
        assert!(read(body, &alice()).is_err(), "{}", String::from_utf8_lossy(&body[..80]));
    }
}
