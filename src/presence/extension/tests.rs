use super::super::xml::{self, Writer};
use super::*;

/// The child of an element that declares what these tests use.
fn read(text: &str) -> Element {
    let text = format!(
        "<a xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' xmlns:x='urn:x' \
         xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>{text}</a>"
    );
    xml::parse(text.as_bytes()).unwrap().elements().next().unwrap().clone()
}

/// What of it goes on, as written; empty: nothing.
fn kept(text: &str, place: Place) -> String {
    let Some(element) = keep(&read(text), place) else { return String::new() };
    let mut out = Writer::new(&[PIDF, DATA_MODEL, RPID]);
    out.open(PIDF, "a").element(&element);
    let text = String::from_utf8(out.finish()).unwrap();
    let (_, inner) = text.split_once("rpid\">").unwrap();
    inner.trim_end().trim_end_matches("</a>").to_owned()
}

/// C08.
#[test]
fn c08_what_is_unknown_goes_on_as_it_came() {
    let text = "<x:e x:a=\"1\" b=\"&lt;&amp;\" xml:lang=\"de\"><x:f>t<x:g/>u</x:f></x:e>";
    for place in [Place::Presence, Place::Status, Place::Tuple, Place::Person, Place::Device] {
        let want = "<e xmlns=\"urn:x\" xmlns:a0=\"urn:x\" a0:a=\"1\" b=\"&lt;&amp;\" xml:lang=\"de\">\
                    <f>t<g/>u</f></e>";
        assert_eq!(kept(text, place), want, "{place:?}");
    }
}

/// C08: in a status alone.
#[test]
fn c08_must_understand_matters_in_a_status() {
    let element = "<x:e xmlns:p='urn:ietf:params:xml:ns:pidf' p:mustUnderstand='1'/>";
    assert!(kept(element, Place::Status).contains("mustUnderstand=\"1\""));
    assert!(!kept(element, Place::Tuple).contains("mustUnderstand"));
    let wrong = "<x:e xmlns:p='urn:ietf:params:xml:ns:pidf' p:mustUnderstand='perhaps'/>";
    assert_eq!(kept(wrong, Place::Status), "<e xmlns=\"urn:x\"/>");
}

#[test]
fn nothing_in_an_unknown_element_makes_the_whole_invalid() {
    for text in [
        "<x:e xml:id='p'/>",
        "<x:e xsi:type='x:y'/>",
        "<x:e xml:lang='not a language'/>",
        "<x:e><presence/></x:e>",
        "<x:e><dm:person/></x:e>",
        "<x:e><rpid:class><a/></rpid:class></x:e>",
    ] {
        assert_eq!(kept(text, Place::Person), "<e xmlns=\"urn:x\"/>", "{text}");
    }
    for text in ["<note/>", "<e xmlns=''/>", "<dm:person/>", "<avatar xmlns='urn:imcd:avatar' sha1='00'/>"] {
        assert_eq!(kept(text, Place::Person), "", "{text}");
    }
}

#[test]
fn rpid_stands_where_it_belongs_and_in_its_form() {
    let person = |text: &str, want: &str| assert_eq!(kept(text, Place::Person), want, "{text}");
    person("<rpid:class id='a'> b  c </rpid:class>", "<rpid:class>b c</rpid:class>");
    person("<rpid:class/>", "");
    person("<rpid:activities><rpid:busy/></rpid:activities>", "");
    person("<rpid:relationship><rpid:self/></rpid:relationship>", "");
    person("<rpid:unheard-of/>", "");
    person(
        "<rpid:mood from='2005-05-30T12:00:00+05:00' until='soon' id='p'><rpid:sad x='1'>!</rpid:sad><x:m/><rpid:note>n</rpid:note>\
         <rpid:odd/></rpid:mood>",
        "<rpid:mood from=\"2005-05-30T07:00:00Z\"><rpid:note>n</rpid:note><rpid:sad/><m xmlns=\"urn:x\"/></rpid:mood>",
    );
    person("<rpid:mood><rpid:odd/></rpid:mood>", "");
    person("<rpid:mood><rpid:unknown/></rpid:mood>", "<rpid:mood><rpid:unknown/></rpid:mood>");
    person(
        "<rpid:place-is><rpid:video><rpid:dark/></rpid:video><rpid:audio><rpid:ok/><rpid:quiet/></rpid:audio></rpid:place-is>",
        "<rpid:place-is><rpid:audio><rpid:ok/></rpid:audio><rpid:video><rpid:dark/></rpid:video></rpid:place-is>",
    );
    person("<rpid:place-is><rpid:audio/></rpid:place-is>", "");
    person(
        "<rpid:place-type><lt:bus xmlns:lt='urn:ietf:params:xml:ns:location-type'/></rpid:place-type>",
        "<rpid:place-type><lt:bus xmlns:lt=\"urn:ietf:params:xml:ns:location-type\"/></rpid:place-type>",
    );
    person(
        "<rpid:place-type><rpid:other> den </rpid:other></rpid:place-type>",
        "<rpid:place-type><rpid:other>den</rpid:other></rpid:place-type>",
    );
    person(
        "<rpid:privacy><rpid:video/><rpid:audio/></rpid:privacy>",
        "<rpid:privacy><rpid:audio/><rpid:video/></rpid:privacy>",
    );
    person("<rpid:sphere><rpid:work/></rpid:sphere>", "<rpid:sphere><rpid:work/></rpid:sphere>");
    person(
        "<rpid:status-icon>http://x/y.png</rpid:status-icon>",
        "<rpid:status-icon>http://x/y.png</rpid:status-icon>",
    );
    person("<rpid:status-icon>java script</rpid:status-icon>", "");
    person(
        "<rpid:time-offset description='d' y='z'>+120</rpid:time-offset>",
        "<rpid:time-offset description=\"d\">120</rpid:time-offset>",
    );
    person("<rpid:time-offset>two</rpid:time-offset>", "");
    person(
        "<rpid:user-input idle-threshold='600' last-input='2004-10-21T13:20:00-05:00'>idle</rpid:user-input>",
        "<rpid:user-input idle-threshold=\"600\" last-input=\"2004-10-21T18:20:00Z\">idle</rpid:user-input>",
    );
    person("<rpid:user-input idle-threshold='0'>asleep</rpid:user-input>", "");
    let relationship = "<rpid:relationship><rpid:family/></rpid:relationship>";
    assert_eq!(kept(relationship, Place::Tuple), relationship);
    assert_eq!(
        kept("<dm:deviceID>urn:x:1</dm:deviceID>", Place::Tuple),
        "<dm:deviceID>urn:x:1</dm:deviceID>"
    );
    assert_eq!(kept("<dm:deviceID>urn:x:1</dm:deviceID>", Place::Person), "");
}

#[test]
fn every_state_is_read_back_from_its_words() {
    for state in [State::ExtendedAway, State::Away, State::OnThePhone, State::Busy] {
        assert_eq!(state_of(words(state)), Some(state));
    }
    assert!(words(State::Offline).is_empty() && words(State::Online).is_empty());
    assert_eq!(state_of(&["working"]), None);
}

#[test]
fn uris_and_times_are_told_from_what_is_none() {
    for text in [
        "sip:alice@[2001:db8::1]:5060;transport=tcp",
        "urn:uuid:1",
        "tel:+49",
        "http://x/y?z#a",
        "sip:a%20b@c",
    ] {
        assert!(is_uri(text), "{text}");
    }
    for text in [
        "", "alice", "sip:", ":x", "sip:a b", "sip:a<b", "sip:a\"b", "sip:%zz", "sip:a%2", "9:x", "a:#b#c",
        "sip:ü",
    ] {
        assert!(!is_uri(text), "{text}");
    }
    assert_eq!(timestamp(1_795_211_851_000), "2026-11-20T21:57:31Z");
    assert_eq!(timestamp(1_795_211_851_607), "2026-11-20T21:57:31.607Z");
    assert_eq!(moment("2026-11-20t21:57:31.607z"), Some(1_795_211_851_607));
    for text in ["2026-11-20T21:57:31", "1969-01-01T00:00:00Z", "last tuesday", ""] {
        assert_eq!(moment(text), None, "{text}");
    }
}
