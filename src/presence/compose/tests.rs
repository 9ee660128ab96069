use super::super::pidf::read;
use super::super::xml;
use super::*;

fn alice() -> Aor {
    Aor::parse("alice@example.org").unwrap()
}

/// What a device publishes that is open or closed and does this.
fn device(basic: &str, activities: &str, more: &str) -> Published {
    let body = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' xmlns:x='urn:x' entity='sip:alice@example.org'>\
         <tuple id='t1'><status><basic>{basic}</basic></status><contact>sip:alice@192.0.2.1</contact></tuple>\
         <dm:person id='p'><rpid:activities>{activities}</rpid:activities>{more}</dm:person></presence>"
    );
    read(body.as_bytes(), &alice()).unwrap()
}

/// Those who are of it, oldest first, composed.
struct Case {
    published: Vec<Published>,
    registered: bool,
    manual: Option<(State, &'static str)>,
    last_seen: Option<UnixMs>,
    avatar: Option<&'static str>,
}

impl Case {
    fn of(published: Vec<Published>) -> Case {
        Case { published, registered: true, manual: None, last_seen: None, avatar: None }
    }

    fn compose(&self) -> (State, Option<String>, String) {
        let ids: Vec<String> = (0..self.published.len()).map(|n| format!("s{n}")).collect();
        let sources: Vec<Source<'_>> = (self.published.iter().zip(&ids).enumerate())
            .map(|(n, (published, id))| Source { id, published, at: 1_795_211_851_000 + n as i64 })
            .collect();
        let composed = compose(&Whole {
            who: &alice(),
            sources: &sources,
            registered: self.registered,
            manual: self.manual,
            last_seen: self.last_seen,
            avatar: self.avatar,
            changed: 1_795_211_900_000,
        });
        assert!(composed.body.len() <= WHOLE_MAX);
        xml::parse(&composed.body).unwrap();
        (composed.state, composed.note, String::from_utf8(composed.body).unwrap())
    }
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
                    xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
                    entity=\"sip:alice@example.org\">";

/// C11.
#[test]
fn c11_of_somebody_idle_there_is_one_closed_tuple() {
    let closed = format!(
        "{HEAD}<tuple id=\"account\"><status><basic>closed</basic></status><contact>sip:alice@example.org</contact>\
         </tuple></presence>\n"
    );
    let mut nobody = Case::of(Vec::new());
    nobody.registered = false;
    assert_eq!(nobody.compose(), (State::Offline, None, closed.clone()));
    assert_eq!(offline(&alice()), closed.as_bytes());
    // Closed by his devices, or by hand, looks the same: whoever is blocked cannot tell.
    nobody.published = vec![device("closed", "<rpid:busy/>", "<dm:note>gone</dm:note><x:e/>")];
    assert_eq!(nobody.compose(), (State::Offline, None, closed.clone()));
    let mut hidden = Case::of(vec![device("open", "", "<dm:note>here</dm:note>")]);
    (hidden.manual, hidden.last_seen) = (Some((State::Offline, "")), Some(1));
    assert_eq!(hidden.compose(), (State::Offline, None, closed));
}

#[test]
fn somebody_who_is_away_leaves_words_behind() {
    let mut gone = Case::of(Vec::new());
    gone.registered = false;
    (gone.manual, gone.last_seen) = (Some((State::Away, " back <soon> ")), Some(1_795_211_851_607));
    let (state, note, body) = gone.compose();
    assert_eq!((state, note.as_deref()), (State::Offline, Some("back <soon>")));
    let notes = "<note>back &lt;soon&gt;</note><note>last seen 2026-11-20 21:57 UTC</note></tuple>";
    assert!(body.contains(notes), "{body}");
    assert!(!body.contains("rpid:away"), "who is offline does nothing: {body}");
    gone.avatar = Some("da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert!(
        gone.compose().2.contains(
            "<avatar xmlns=\"urn:imcd:avatar\" sha1=\"da39a3ee5e6b4b0d3255bfef95601890afd80709\"/>"
        )
    );
}

#[test]
fn registered_without_an_open_device_is_online() {
    let registered = Case::of(Vec::new());
    let (state, _, body) = registered.compose();
    assert_eq!(state, State::Online);
    assert_eq!(
        body,
        format!(
            "{HEAD}<tuple id=\"account\"><status><basic>open</basic></status><contact>sip:alice@example.org</contact>\
             <timestamp>2026-11-20T21:58:20Z</timestamp></tuple></presence>\n"
        )
    );
    // What a closed device says stands behind.
    let (state, _, body) = Case::of(vec![device("closed", "<rpid:busy/>", "")]).compose();
    assert_eq!(state, State::Online);
    assert!(body.find("id=\"account\"").unwrap() < body.find("ts0.t1").unwrap(), "{body}");
    assert!(!body.contains("busy"));
}

#[test]
fn the_greatest_of_the_devices_is_the_persons_state() {
    let (online, away) = (|| device("open", "", ""), || device("open", "<rpid:meal/>", ""));
    let busy = || device("open", "<rpid:meeting/>", "<dm:note>until 3</dm:note>");
    for (published, state, words) in [
        (vec![online(), away()], State::Online, None),
        (vec![away(), away()], State::Away, Some("<rpid:away/><rpid:meal/></rpid:activities>")),
        (vec![busy(), online(), away()], State::Busy, Some("<rpid:busy/><rpid:meeting/></rpid:activities>")),
        (
            vec![device("open", "<rpid:vacation/>", "")],
            State::ExtendedAway,
            Some("<rpid:permanent-absence/><rpid:away/><rpid:vacation/></rpid:activities>"),
        ),
        (
            vec![away(), device("open", "<rpid:on-the-phone/>", "")],
            State::OnThePhone,
            Some("<rpid:activities><rpid:on-the-phone/></rpid:activities>"),
        ),
    ] {
        let (found, _, body) = Case::of(published).compose();
        assert_eq!(found, state);
        assert_eq!(body.contains("activities"), words.is_some(), "{body}");
        assert!(words.is_none_or(|words| body.contains(words)), "{body}");
        assert!(!body.contains("account"), "{body}");
    }
    let (_, note, body) = Case::of(vec![busy(), online()]).compose();
    assert_eq!(note.as_deref(), Some("until 3"));
    // The busy one first, though the other is newer.
    assert!(body.find("ts0.t1").unwrap() < body.find("ts1.t1").unwrap(), "{body}");
}

#[test]
fn what_he_says_himself_takes_the_place_of_plain_online() {
    let doing = |activities: &str| vec![device("open", activities, "<dm:note>device</dm:note>")];
    for (activities, manual, state, note) in [
        ("", State::Away, State::Away, "hand"),
        ("", State::ExtendedAway, State::ExtendedAway, "hand"),
        ("", State::Busy, State::Busy, "hand"),
        ("", State::Online, State::Online, "hand"),
        ("<rpid:busy/>", State::Away, State::Busy, "device"),
        ("<rpid:on-the-phone/>", State::Away, State::OnThePhone, "device"),
        ("<rpid:on-the-phone/>", State::Busy, State::Busy, "hand"),
        ("<rpid:meal/>", State::Busy, State::Busy, "hand"),
        ("<rpid:meal/>", State::ExtendedAway, State::Away, "device"),
    ] {
        let mut case = Case::of(doing(activities));
        case.manual = Some((manual, "hand"));
        let (found, said, body) = case.compose();
        assert_eq!((found, said.as_deref()), (state, Some(note)), "{activities} {manual:?}");
        assert!(
            extension::words(state).iter().all(|word| body.contains(&format!("<rpid:{word}/>"))),
            "{body}"
        );
        assert!(!body.contains("meal") || state == State::Away);
    }
    let mut registered = Case::of(Vec::new());
    registered.manual = Some((State::Busy, "hand"));
    let (state, _, body) = registered.compose();
    assert_eq!(state, State::Busy);
    assert!(body.contains("<basic>open</basic>") && body.contains("<dm:note>hand</dm:note>"), "{body}");
}

/// A calendar says what the person does; it does not say that anybody can be reached.
#[test]
fn a_publication_without_basic_state_opens_nothing() {
    let calendar = || Published {
        tuples: Vec::new(),
        open: false,
        ..device("open", "<rpid:meeting/>", "<dm:note>review</dm:note>")
    };
    let mut case = Case::of(vec![calendar()]);
    let (state, note, body) = case.compose();
    assert_eq!((state, note.as_deref()), (State::Busy, Some("review")));
    assert!(body.contains("id=\"account\"") && body.contains("<rpid:busy/><rpid:meeting/>"), "{body}");
    case.registered = false;
    assert_eq!(case.compose().0, State::Offline);
}

/// Linphone shows whoever has `online` in any status as online, whatever he does.
#[test]
fn linphones_online_goes_on_only_if_it_is_true() {
    let body = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@example.org'>\
                <tuple id='a'><status><basic>open</basic><online xmlns='http://www.linphone.org/xsds/pidfonline.xsd'/>\
                </status></tuple></presence>";
    let mut case = Case::of(vec![read(body.as_bytes(), &alice()).unwrap()]);
    let online = "<pidfonline:online xmlns:pidfonline=\"http://www.linphone.org/xsds/pidfonline.xsd\"/>";
    assert!(case.compose().2.contains(online));
    case.published.push(device("open", "<rpid:busy/>", ""));
    assert!(!case.compose().2.contains("pidfonline"));
}

/// C02, C03, C04.
#[test]
fn c02_ids_are_unique_over_devices_and_stay() {
    let mut case = Case::of(vec![device("open", "", ""), device("open", "<rpid:busy/>", "")]);
    let ids = |body: &str| {
        let mut ids: Vec<String> =
            body.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let before = case.compose().2;
    assert_eq!(ids(&before), ["person", "ts0.t1", "ts1.t1"]);
    // Another state, the same ids.
    case.published[1] = device("open", "", "");
    assert_eq!(ids(&case.compose().2), ["ts0.t1", "ts1.t1"]);
    // One publication is removed: the other is untouched.
    case.published.pop();
    let after = case.compose().2;
    assert_eq!(ids(&after), ["ts0.t1"]);
    let tuple = |body: &str| {
        body.split("<tuple id=\"ts0.t1\">").nth(1).unwrap().split("</tuple>").next().unwrap().to_owned()
    };
    assert_eq!(tuple(&before), tuple(&after));
}

/// C06, C07.
#[test]
fn c06_all_persons_are_one() {
    let case = Case::of(vec![
        device("open", "", "<rpid:class>old</rpid:class><x:e>1</x:e><dm:note xml:lang='en'>a</dm:note>"),
        device(
            "open",
            "<rpid:busy/>",
            "<rpid:class>new</rpid:class><x:e>1</x:e><x:e>2</x:e><dm:note xml:lang='de'>b</dm:note><dm:note xml:lang='fr'>c</dm:note>",
        ),
        device("open", "", "<rpid:class>newest</rpid:class>"),
        device("closed", "", "<x:closed/>"),
    ]);
    let body = case.compose().2;
    assert_eq!(body.matches("<dm:person").count(), 1, "{body}");
    assert!(
        body.contains(
            "<dm:person id=\"person\"><rpid:activities><rpid:busy/></rpid:activities><rpid:class>new</rpid:class>\
             <e xmlns=\"urn:x\">1</e><e xmlns=\"urn:x\">2</e><dm:note xml:lang=\"de\">b</dm:note>\
             <dm:note xml:lang=\"fr\">c</dm:note><dm:timestamp>2026-11-20T21:58:20Z</dm:timestamp></dm:person>"
        ),
        "{body}"
    );
}

#[test]
fn the_document_is_bounded_whatever_is_published() {
    let long = "&amp;".repeat(255);
    let note = format!("<note>{long}</note>");
    let tuples: String = (0..32)
        .map(|n| {
            format!(
                "<tuple id='t{n}'><status><basic>open</basic><e xmlns='urn:e'>{long}</e></status>\
                 <contact>sip:{}</contact>{}</tuple>",
                "&amp;".repeat(500),
                note.repeat(4)
            )
        })
        .collect();
    let namespace = "n".repeat(250);
    // Each of the short names becomes a declaration of 250 bytes.
    let redeclared = format!("<a xmlns='u:' xmlns:p='u:{namespace}'>{}</a>", "<p:b/>".repeat(400));
    let body = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@example.org'>{tuples}{redeclared}</presence>"
    );
    let published = read(body.as_bytes(), &alice()).unwrap();
    let case = Case::of(vec![published; 30]);
    let (state, note, body) = case.compose();
    assert_eq!((state, note), (State::Online, Some("&".repeat(255))));
    assert_eq!(body.matches("<tuple").count(), 8);
    // One is small enough without what is unknown.
    let few = "<tuple id='t'><status><basic>open</basic></status><note>n</note></tuple>";
    let body = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@example.org'>{few}{redeclared}</presence>"
    );
    let body = Case::of(vec![read(body.as_bytes(), &alice()).unwrap()]).compose().2;
    assert!(!body.contains("xmlns=\"u:") && body.contains("<note>n</note>"), "{body}");
}

#[test]
fn priorities_are_written_as_they_may_be() {
    for (thousandths, text) in [(0, "0"), (21, "0.021"), (500, "0.5"), (800, "0.8"), (1000, "1")] {
        assert_eq!(decimal(thousandths), text);
    }
}

/// `cargo test --release --lib presence::compose -- --ignored --nocapture`
#[test]
#[ignore = "measures, proves nothing"]
fn how_long_it_takes() {
    let body = "<?xml version=\"1.0\"?><presence xmlns='urn:ietf:params:xml:ns:pidf' \
                xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' \
                entity='sip:alice@example.org'><tuple id='t1'><status><basic>open</basic></status>\
                <contact>sip:alice@192.0.2.1</contact></tuple><dm:person id='p'><rpid:activities><rpid:busy/>\
                </rpid:activities></dm:person></presence>";
    let per = |what: &str, rounds: u32, deed: &dyn Fn()| {
        let began = std::time::Instant::now();
        (0..rounds).for_each(|_| deed());
        println!("{what}: {:?}", began.elapsed() / rounds);
    };
    per("read", 20_000, &|| drop(std::hint::black_box(read(body.as_bytes(), &alice()))));
    let case = Case::of(vec![device("open", "<rpid:busy/>", ""), device("open", "", "")]);
    let who = alice();
    let sources: Vec<Source<'_>> = case
        .published
        .iter()
        .zip(["a", "b"])
        .map(|(published, id)| Source { id, published, at: 1 })
        .collect();
    let whole = Whole {
        who: &who,
        sources: &sources,
        registered: true,
        manual: None,
        last_seen: None,
        avatar: None,
        changed: 2,
    };
    per("compose two", 20_000, &|| drop(std::hint::black_box(compose(&whole))));
    let mut laughs = String::from("<!DOCTYPE lolz [<!ENTITY a \"lol\">");
    for n in 1..10 {
        laughs.push_str(&format!("<!ENTITY b{n} \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">"));
    }
    laughs.push_str("]><presence>&b9;</presence>");
    per("refuse a billion laughs", 20_000, &|| drop(std::hint::black_box(read(laughs.as_bytes(), &who))));
    let deep = "<a>".repeat(20_000);
    per("refuse 60 kB of depth", 2_000, &|| drop(std::hint::black_box(read(deep.as_bytes(), &who))));
}
