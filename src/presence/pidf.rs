//! What one device publishes of a person: PIDF read, with the data model and RPID (RFC 3863, RFC 4479, RFC 4480).
//!
//! Prevents that a phone publishes in another's name (C14), and that a document which is only sloppy is refused: what
//! cannot be used is left out, what is unknown is kept. Never composes: see [`super::compose`].

use super::State;
use super::extension::{self, ACTIVITIES, Note, Place, is_uri, keep};
use super::xml::{self, DATA_MODEL, Element, PIDF, RPID};
use crate::refusal::Refusal;
use crate::sip::uri::Uri;
use crate::types::Aor;

/// Media type (RFC 3863 §5.1).
pub const MEDIA: &str = "application/pidf+xml";

/// Tuples of one document that count.
const TUPLES_MAX: usize = 32;
const PERSONS_MAX: usize = 4;
const DEVICES_MAX: usize = 16;
/// Notes and extensions at one place that go on.
const NOTES_MAX: usize = 4;
const EXTENSIONS_MAX: usize = 32;
/// Bytes of an id that go on.
const ID_MAX: usize = 64;

/// Why a document was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Not PIDF, or not XML that we read.
    Malformed,
    /// It speaks of somebody else.
    Foreign,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::Malformed => Refusal::BAD_PRESENCE,
            Refused::Foreign => Refusal::FOREIGN_PRESENCE,
        }
    }
}

/// What one device says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    pub tuples: Vec<Tuple>,
    /// Of the presentity.
    pub notes: Vec<Note>,
    pub person: Person,
    pub devices: Vec<Device>,
    /// What is unknown and stands beside the tuples.
    pub extensions: Vec<Element>,
    /// Of this device: closed is offline whatever it does besides. Without any basic state it is what the activities
    /// say, and does not mean that somebody can be reached: see `open`.
    pub state: State,
    /// Some tuple is open.
    pub open: bool,
    /// The user's own words: the first note of the person, else of the presentity, else of a tuple.
    pub note: Option<Note>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// Unique in the document, of letters that every id may have. As published, if it was like that.
    pub id: String,
    pub open: Option<bool>,
    /// What stands in the status beside the basic state.
    pub status: Vec<Element>,
    pub extensions: Vec<Element>,
    pub contact: Option<Contact>,
    pub notes: Vec<Note>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    pub uri: String,
    /// Thousandths, 0 to 1000. `None`: not given, or not one (RFC 3863 §4.1.5).
    pub priority: Option<u16>,
}

/// All that the document says of the human, from however many person elements.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Person {
    /// Words of [`ACTIVITIES`], each once. Activities with `from` or `until` are plans, not what is: nobody is told when
    /// they begin, so they are not taken.
    pub activities: Vec<&'static str>,
    /// Activities that nobody here knows.
    pub further: Vec<Element>,
    pub extensions: Vec<Element>,
    pub notes: Vec<Note>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub device_id: String,
    pub extensions: Vec<Element>,
    pub notes: Vec<Note>,
}

/// Reads one document that `presentity` has published. The caller bounds its bytes.
pub fn read(body: &[u8], presentity: &Aor) -> Result<Published, Refused> {
    let root = xml::parse(body).map_err(|_| Refused::Malformed)?;
    if !root.is(PIDF, "presence") {
        return Err(Refused::Malformed);
    }
    let entity = root.attribute("entity").ok_or(Refused::Malformed)?;
    if address(entity).as_ref() != Some(presentity) {
        return Err(Refused::Foreign);
    }
    let mut read = Published { notes: notes(&root, PIDF), ..Published::default() };
    for element in root.elements() {
        match (element.ns(), element.local()) {
            (PIDF, "tuple") if read.tuples.len() < TUPLES_MAX => read.tuple(element),
            (DATA_MODEL, "device") if read.devices.len() < DEVICES_MAX => {
                read.devices.extend(device(element));
            }
            _ => {}
        }
    }
    let persons = root.named(DATA_MODEL, "person").take(PERSONS_MAX);
    persons.for_each(|person| read.person.add(person));
    read.extensions = kept(&root, Place::Presence);
    read.open = read.tuples.iter().any(|tuple| tuple.open == Some(true));
    let said = extension::state_of(&read.person.activities);
    read.state = match said {
        _ if read.closed() => State::Offline,
        Some(state) => state,
        None if read.open => State::Online,
        None => State::Offline,
    };
    let tuples = read.tuples.iter().flat_map(|tuple| &tuple.notes);
    let mut all = read.person.notes.iter().chain(&read.notes).chain(tuples);
    read.note = all.next().cloned();
    Ok(read)
}

/// Whom an entity names: scheme, port and parameters do not matter, phones give them as they like. `None`: nobody.
fn address(entity: &str) -> Option<Aor> {
    let entity = entity.trim();
    match Uri::parse(entity) {
        Ok(uri) if uri.is_sip_like() => uri.aor(),
        // Some write the address alone.
        _ if !entity.contains(':') => Aor::parse(entity),
        _ => None,
    }
}

impl Published {
    /// It says that nobody is there, and nothing else.
    pub fn closed(&self) -> bool {
        !self.open && self.tuples.iter().any(|tuple| tuple.open == Some(false))
    }

    fn tuple(&mut self, element: &Element) {
        let status = element.child(PIDF, "status");
        let basic = status.and_then(|status| status.child(PIDF, "basic")).map(Element::text);
        let open = match basic.as_deref() {
            Some(text) if text.eq_ignore_ascii_case("open") => Some(true),
            Some(text) if text.eq_ignore_ascii_case("closed") => Some(false),
            _ => None,
        };
        // Activities belong to the person, wherever a phone has put them.
        for place in status.into_iter().chain([element]) {
            place.named(RPID, "activities").for_each(|activities| self.person.activities(activities));
        }
        let tuple = Tuple {
            id: self.id(element.attribute("id").unwrap_or_default()),
            open,
            status: status.map(|status| kept(status, Place::Status)).unwrap_or_default(),
            extensions: kept(element, Place::Tuple),
            contact: element.child(PIDF, "contact").and_then(contact),
            notes: notes(element, PIDF),
        };
        // Without a status value it says nothing (RFC 3863 §4.1.3).
        if tuple.open.is_some() || !tuple.status.is_empty() {
            self.tuples.push(tuple);
        }
    }

    /// The published id, or one by number for those that are none or are there already.
    fn id(&self, given: &str) -> String {
        let given = given.trim();
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let taken = |id: &str| self.tuples.iter().any(|tuple| tuple.id == id);
        if (1..=ID_MAX).contains(&given.len()) && given.bytes().all(plain) && !taken(given) {
            return given.to_owned();
        }
        let numbered = (self.tuples.len()..).map(|n| format!("n{n}")).find(|id| !taken(id));
        numbered.unwrap_or_default()
    }
}

impl Person {
    fn add(&mut self, element: &Element) {
        element.named(RPID, "activities").for_each(|activities| self.activities(activities));
        for extension in kept(element, Place::Person) {
            // Without from and until an element of RPID stands there once (RFC 4480 §5).
            let again = |known: &Element| {
                known == &extension
                    || known.is(extension.ns(), extension.local())
                        && extension.ns() == RPID
                        && extension.attribute("from").or(extension.attribute("until")).is_none()
            };
            if !self.extensions.iter().any(again) && self.extensions.len() < EXTENSIONS_MAX {
                self.extensions.push(extension);
            }
        }
        self.notes.extend(notes(element, DATA_MODEL));
        let of_activities = element.named(RPID, "activities").flat_map(|one| notes(one, RPID));
        self.notes.extend(of_activities);
        self.notes.truncate(NOTES_MAX);
    }

    fn activities(&mut self, element: &Element) {
        if element.attribute("from").or(element.attribute("until")).is_some() {
            return;
        }
        for one in element.elements() {
            if one.ns() == RPID {
                let known = ACTIVITIES.iter().find(|(word, _)| *word == one.local());
                let word = known.map(|(word, _)| *word).filter(|word| !self.activities.contains(word));
                self.activities.extend(word);
            } else if self.further.len() < EXTENSIONS_MAX {
                self.further.extend(keep(one, Place::Presence).filter(|one| !self.further.contains(one)));
            }
        }
    }
}

fn kept(parent: &Element, place: Place) -> Vec<Element> {
    let mut all: Vec<Element> = Vec::new();
    for one in parent.elements().filter_map(|one| keep(one, place)).take(EXTENSIONS_MAX) {
        // RFC 4480 §5, as for persons; and one device for a service.
        let once = [RPID, DATA_MODEL].contains(&one.ns()) && one.attribute("from").is_none();
        if !(once && all.iter().any(|known| known.is(one.ns(), one.local()))) {
            all.push(one);
        }
    }
    all
}

fn notes(parent: &Element, ns: &'static str) -> Vec<Note> {
    parent.named(ns, "note").filter_map(Note::of).take(NOTES_MAX).collect()
}

fn device(element: &Element) -> Option<Device> {
    let device_id = element.child(DATA_MODEL, "deviceID")?.text();
    is_uri(&device_id).then(|| Device {
        device_id,
        extensions: kept(element, Place::Device),
        notes: notes(element, DATA_MODEL),
    })
}

fn contact(element: &Element) -> Option<Contact> {
    let uri = element.text();
    let priority = element.attribute("priority").and_then(priority);
    is_uri(&uri).then_some(Contact { uri, priority })
}

/// `0` to `1` with up to three decimals, in thousandths.
fn priority(text: &str) -> Option<u16> {
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if decimals.len() > 3 || !decimals.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let decimals = format!("{decimals:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
