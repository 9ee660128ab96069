use super::*;

fn alice() -> Aor {
    Aor::parse("alice@127.0.0.1").unwrap()
}

fn taken(body: &str) -> Published {
    read(body.as_bytes(), &alice()).unwrap_or_else(|why| panic!("{why:?}: {body}"))
}

/// A document with this in it.
fn with(inner: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' xmlns:x='urn:x' entity='sip:alice@127.0.0.1'>{inner}</presence>"
    )
}

/// An open device whose person does this.
fn doing(activities: &str) -> String {
    with(&format!(
        "<tuple id='t'><status><basic>open</basic></status></tuple>\
         <dm:person id='p'><rpid:activities>{activities}</rpid:activities></dm:person>"
    ))
}

const BARESIP: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
    entity="sip:alice@127.0.0.1:5070">
  <dm:person id="p4159"><rpid:activities/></dm:person>
  <tuple id="t4109">
    <status>
      <basic>open</basic>
    </status>
    <contact>sip:alice@127.0.0.1:5070</contact>
  </tuple>
</presence>
"#;

const LINPHONE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd" entity="sip:alice@127.0.0.1:5071" xmlns="urn:ietf:params:xml:ns:pidf">
 <tuple id="sgnso3">
  <status>
   <basic>open</basic>
   <pidfonline:online/>
  </status>
  <contact priority="0.8">sip:alice@127.0.0.1:5071</contact>
  <timestamp>2026-11-20T21:57:31Z</timestamp>
 </tuple>
</presence>
"#;

const PJSUA: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:alice@127.0.0.1:5072" xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <tuple id="pj935c223b-1f2d-470e-af45-f50fc081945a">
  <status>
   <basic>open</basic>
  </status>
  <timestamp>2026-11-20T21:54:51.607Z</timestamp>
  <note>Busy</note>
 </tuple>
 <dm:person id="pjdce0b2c6-1bd8-4a92-8467-e7bf62b9f9db">
  <rpid:activities>
   <rpid:busy />
  </rpid:activities>
  <dm:note>Busy</dm:note>
 </dm:person>
</presence>
"#;

#[test]
fn what_real_phones_publish_is_taken() {
    let baresip = taken(BARESIP);
    assert_eq!((baresip.state, baresip.open, baresip.note), (State::Online, true, None));
    assert_eq!(baresip.tuples[0].id, "t4109");
    let contact = baresip.tuples[0].contact.as_ref().unwrap();
    assert_eq!((contact.uri.as_str(), contact.priority), ("sip:alice@127.0.0.1:5070", None));

    let linphone = taken(LINPHONE);
    assert_eq!(linphone.state, State::Online);
    assert_eq!(linphone.tuples[0].contact.as_ref().unwrap().priority, Some(800));
    assert!(linphone.tuples[0].status[0].is(xml::LINPHONE_ONLINE, "online"));

    let pjsua = taken(PJSUA);
    assert_eq!(pjsua.state, State::Busy);
    assert_eq!(pjsua.note.unwrap().text, "Busy");
    assert_eq!(pjsua.person.activities, ["busy"]);
}

/// C14.
#[test]
fn c14_nobody_publishes_in_anothers_name() {
    for entity in [
        "sip:alice@127.0.0.1",
        "sip:ALICE@127.0.0.1:5072",
        "sips:alice@127.0.0.1;transport=tcp",
        "pres:alice@127.0.0.1",
        " im:%61lice@127.0.0.1 ",
        "alice@127.0.0.1",
    ] {
        let body = BARESIP.replace("sip:alice@127.0.0.1:5070\"", &format!("{entity}\""));
        assert!(read(body.as_bytes(), &alice()).is_ok(), "{entity}");
    }
    for entity in [
        "sip:bob@127.0.0.1",
        "sip:alice@127.0.0.2",
        "sip:127.0.0.1",
        "tel:+49",
        "",
        "http://x/alice@127.0.0.1",
    ] {
        let body = BARESIP.replace("sip:alice@127.0.0.1:5070\"", &format!("{entity}\""));
        let refused = read(body.as_bytes(), &alice()).unwrap_err();
        assert_eq!(refused, Refused::Foreign, "{entity}");
        assert_eq!(Refusal::from(refused).status, 400);
    }
}

#[test]
fn what_is_no_presence_document_is_refused() {
    for body in [
        "",
        "open",
        "<presence entity='sip:alice@127.0.0.1'/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        "<presents xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@127.0.0.1'/>",
        "<!DOCTYPE presence><presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@127.0.0.1'/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@127.0.0.1'>",
    ] {
        assert_eq!(read(body.as_bytes(), &alice()), Err(Refused::Malformed), "{body}");
    }
    assert_eq!(Refusal::from(Refused::Malformed).status, 400);
    assert_eq!(taken(&with("")).state, State::Offline);
}

#[test]
fn activities_say_what_the_device_is_in() {
    for (activities, state) in [
        ("", State::Online),
        ("<rpid:unknown/>", State::Online),
        ("<rpid:working/><rpid:other>reading</rpid:other>", State::Online),
        ("<rpid:meeting/>", State::Busy),
        ("<rpid:on-the-phone/>", State::OnThePhone),
        ("<rpid:away/><rpid:on-the-phone/>", State::OnThePhone),
        ("<rpid:on-the-phone/><rpid:worship/>", State::Busy),
        ("<rpid:meal/>", State::Away),
        ("<rpid:vacation/>", State::ExtendedAway),
        ("<rpid:away/><rpid:permanent-absence/>", State::ExtendedAway),
        ("<rpid:sleeping/><rpid:holiday/>", State::Away),
        ("<x:busy/>", State::Online),
    ] {
        assert_eq!(taken(&doing(activities)).state, state, "{activities}");
    }
    let closed = doing("<rpid:busy/>").replace("open", "closed");
    assert_eq!(taken(&closed).state, State::Offline);
    // Some phones put them into the tuple or its status.
    let busy = "<rpid:activities><rpid:busy/></rpid:activities>";
    for (status, tuple) in [(busy, ""), ("", busy)] {
        let body = format!("<tuple id='t'><status><basic>open</basic>{status}</status>{tuple}</tuple>");
        assert_eq!(taken(&with(&body)).state, State::Busy);
    }
    // A plan is not what is.
    let plan = doing("<rpid:vacation/>").replace("activities>", "activities from='2030-01-01T00:00:00Z'>");
    let plan = plan.replace("/rpid:activities from='2030-01-01T00:00:00Z'>", "/rpid:activities>");
    assert_eq!(taken(&plan).state, State::Online);
}

#[test]
fn a_device_is_open_if_any_of_its_tuples_is() {
    let tuple = |id: &str, basic: &str| format!("<tuple id='{id}'><status>{basic}</status></tuple>");
    let (open, closed) = ("<basic> Open\n</basic>", "<basic>closed</basic>");
    let read = |tuples: &[String]| taken(&with(&tuples.concat()));
    let both = read(&[tuple("a", closed), tuple("b", open)]);
    assert_eq!((both.open, both.closed(), both.state), (true, false, State::Online));
    let closed = read(&[tuple("a", closed)]);
    assert_eq!((closed.open, closed.closed(), closed.state), (false, true, State::Offline));
    // Neither: it says nothing of whether somebody can be reached.
    let neither = read(&[tuple("a", "<x:mood/>"), tuple("b", "<basic>maybe</basic>"), tuple("c", "")]);
    assert_eq!((neither.open, neither.closed(), neither.state), (false, false, State::Offline));
    assert_eq!(neither.tuples.len(), 1, "a tuple without status value is none");
    let person =
        taken(&with("<dm:person id='p'><rpid:activities><rpid:busy/></rpid:activities></dm:person>"));
    assert_eq!((person.open, person.closed(), person.state), (false, false, State::Busy));
}

#[test]
fn the_note_is_the_persons_before_that_of_a_tuple() {
    let tuple = "<tuple id='t'><status><basic>open</basic></status><note>tuple</note></tuple>";
    let presence = "<note xml:lang='de'>presence</note><note> </note>";
    let person = "<dm:person id='p'><dm:note>\n person \n</dm:note></dm:person>";
    let note = |inner: &[&str]| taken(&with(&inner.concat())).note.map(|note| note.text);
    assert_eq!(note(&[tuple, presence, person]).as_deref(), Some("person"));
    assert_eq!(note(&[tuple, presence]).as_deref(), Some("presence"));
    assert_eq!(note(&[tuple]).as_deref(), Some("tuple"));
    let of_activities =
        "<dm:person id='p'><rpid:activities><rpid:note>why</rpid:note></rpid:activities></dm:person>";
    assert_eq!(note(&[tuple, of_activities]).as_deref(), Some("why"));
    assert_eq!(taken(&with(presence)).notes[0].lang.as_deref(), Some("de"));
    assert_eq!(note(&["<note>a\r\n  b\u{2028}c</note>"]).as_deref(), Some("a b c"), "one line");
    let long = format!("<note>{}</note>", "ü".repeat(1000));
    assert_eq!(note(&[&long]).unwrap().chars().count(), 256);
}

/// C09.
#[test]
fn c09_a_priority_that_is_none_is_ignored() {
    for (text, thousandths) in [
        ("0", Some(0)),
        ("0.", Some(0)),
        ("0.8", Some(800)),
        ("0.021", Some(21)),
        ("1.00", Some(1000)),
        (" 1 ", Some(1000)),
        ("1.5", None),
        ("0.1234", None),
        ("-0.5", None),
        ("+0.5", None),
        (".5", None),
        ("1e0", None),
        ("", None),
        ("high", None),
        ("0.+5", None),
    ] {
        let body = LINPHONE.replace("\"0.8\"", &format!("\"{text}\""));
        let contact = taken(&body).tuples[0].contact.clone().unwrap();
        assert_eq!(
            (contact.priority, contact.uri.as_str()),
            (thousandths, "sip:alice@127.0.0.1:5071"),
            "{text:?}"
        );
    }
}

#[test]
fn ids_are_made_unique_within_a_document() {
    let ids = ["a", "a", "", "n1", "b c", "é", "9", "x:y", "-"];
    let tuples =
        ids.iter().map(|id| format!("<tuple id='{id}'><status><basic>open</basic></status></tuple>"));
    let read = taken(&with(&tuples.collect::<String>()));
    let found: Vec<&str> = read.tuples.iter().map(|tuple| tuple.id.as_str()).collect();
    assert_eq!(found, ["a", "n1", "n2", "n3", "n4", "n5", "9", "n7", "-"]);
}

#[test]
fn what_is_too_much_is_left_out() {
    let tuples: String = (0..100)
        .map(|n| {
            format!(
                "<tuple id='t{n}'><status><basic>open</basic></status>{}</tuple>",
                "<note>n</note>".repeat(9)
            )
        })
        .collect();
    let read = taken(&with(&tuples));
    assert_eq!(read.tuples.len(), TUPLES_MAX);
    assert!(read.tuples.iter().all(|tuple| tuple.notes.len() == NOTES_MAX));
    let extensions: String = (0..100).map(|n| format!("<x:e{n}/>")).collect();
    assert_eq!(taken(&with(&extensions)).extensions.len(), EXTENSIONS_MAX);
    let person = with(&format!("<dm:person id='p'>{extensions}</dm:person>").repeat(3));
    assert_eq!(taken(&person).person.extensions.len(), EXTENSIONS_MAX);
}

#[test]
fn several_persons_of_one_document_are_one() {
    let read = taken(&with(
        "<dm:person id='p'><rpid:activities><rpid:away/></rpid:activities><rpid:class>a</rpid:class><x:e/></dm:person>\
         <dm:person id='q'><rpid:activities><rpid:busy/><rpid:away/></rpid:activities><rpid:class>b</rpid:class><x:e/>\
         <dm:note>n</dm:note></dm:person>",
    ));
    assert_eq!(read.person.activities, ["away", "busy"]);
    let kept: Vec<String> =
        read.person.extensions.iter().map(|one| format!("{}={}", one.local(), one.text())).collect();
    assert_eq!(kept, ["class=a", "e="]);
}

#[test]
fn devices_have_an_id_or_are_none() {
    let read = taken(&with(
        "<dm:device id='d'><rpid:user-input>idle</rpid:user-input><rpid:mood/><dm:deviceID>urn:uuid:1</dm:deviceID>\
         <dm:note>desk</dm:note></dm:device><dm:device id='e'/><dm:device id='f'><dm:deviceID>no uri</dm:deviceID></dm:device>",
    ));
    assert_eq!(read.devices.len(), 1);
    assert_eq!(read.devices[0].device_id, "urn:uuid:1");
    assert_eq!(read.devices[0].extensions.len(), 1);
}
