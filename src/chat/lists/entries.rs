//! The entries of a resource list (RFC 4826 §3), one by one as they stand there.
//!
//! Prevents that a list costs more than its bytes: few levels, a bounded number of steps, no DTD. References to lists
//! elsewhere are never followed.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::NoList;

/// Lists within lists (RFC 4826 §3.1).
const DEPTH_MAX: usize = 4;
/// Events of the XML that are read for each entry that a list may have: its tags, its name, the space between.
const EVENTS_PER_ENTRY: usize = 40;

/// One line of a list, unescaped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    pub uri: String,
    /// `<display-name>`; empty if there is none.
    pub name: String,
    /// `cp:copyControl` (RFC 5364 §4.1.1).
    pub copy_control: Option<String>,
    /// `cp:anonymize` (RFC 5364 §4.1.2).
    pub anonymous: bool,
}

/// Hands on each entry that has a URI, in order. `most`: how many entries the caller takes.
pub fn each(
    xml: &[u8],
    most: usize,
    take: &mut dyn FnMut(Entry) -> Result<(), NoList>,
) -> Result<(), NoList> {
    let mut reader = Reader::from_str(std::str::from_utf8(xml).map_err(|_| NoList::Malformed)?);
    let (mut depth, mut seen) = (0usize, false);
    let mut open: Option<Entry> = None;
    let mut named = false;
    for _ in 0..most.saturating_mul(EVENTS_PER_ENTRY) {
        match reader.read_event().map_err(|_| NoList::Malformed)? {
            // Entities are declared nowhere, references are not followed.
            Event::DocType(_) => return Err(NoList::Malformed),
            Event::Eof => return if seen && depth == 0 { Ok(()) } else { Err(NoList::Malformed) },
            Event::Start(tag) => {
                seen |= tag.local_name().as_ref() == "resource-lists";
                depth += 1;
                // The root, the lists, and an entry with what is in it.
                if depth > DEPTH_MAX + 3 {
                    return Err(NoList::TooLong);
                }
                match tag.local_name().as_ref() {
                    "entry" => open.replace(entry(&tag)).map_or(Ok(()), |before| given(before, take))?,
                    "display-name" => named = true,
                    _ => {}
                }
            }
            Event::Empty(tag) if tag.local_name().as_ref() == "entry" => given(entry(&tag), take)?,
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                match tag.local_name().as_ref() {
                    "entry" => open.take().map_or(Ok(()), |entry| given(entry, take))?,
                    "display-name" => named = false,
                    _ => {}
                }
            }
            Event::Text(text) => name(&mut open, named, &text.xml10_content()),
            Event::CData(text) => name(&mut open, named, &text.xml10_content()),
            Event::GeneralRef(reference) => name(&mut open, named, &resolved(&reference)),
            _ => {}
        }
    }
    Err(NoList::TooLong)
}

fn given(entry: Entry, take: &mut dyn FnMut(Entry) -> Result<(), NoList>) -> Result<(), NoList> {
    if entry.uri.is_empty() { Ok(()) } else { take(entry) }
}

fn name(open: &mut Option<Entry>, named: bool, more: &str) {
    if let Some(entry) = open.as_mut().filter(|_| named) {
        entry.name.push_str(more);
    }
}

/// One of the five, or a character by its number. Others mean nothing here.
fn resolved(reference: &BytesRef<'_>) -> String {
    match reference.resolve_char_ref() {
        Ok(Some(c)) => c.to_string(),
        _ => resolve_predefined_entity(reference).unwrap_or_default().to_owned(),
    }
}

fn entry(tag: &BytesStart<'_>) -> Entry {
    let attribute = |wanted: &str| {
        let found = tag.attributes().flatten().find(|a| a.key.local_name().as_ref() == wanted)?;
        quick_xml::escape::unescape(&found.value).ok().map(|value| value.into_owned())
    };
    Entry {
        uri: attribute("uri").unwrap_or_default(),
        name: String::new(),
        copy_control: attribute("copyControl"),
        anonymous: attribute("anonymize").is_some_and(|value| value == "true" || value == "1"),
    }
}
