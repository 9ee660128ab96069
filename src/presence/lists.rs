//! Whom a SUBSCRIBE wants to watch, when it brings their list with it (RFC 5367).
//!
//! Prevents that one request makes us watch without bound, or fetch anything: entries that stand elsewhere are not
//! read. Never asks who may watch.

use super::shown;
use crate::chat::lists::entries::each;
use crate::chat::lists::within;
use crate::sip::uri::Uri;
use crate::types::Aor;

pub use crate::chat::lists::{LIST as MEDIA, NoList};

/// The option tag (RFC 5367 §9).
pub const OPTION: &str = "recipient-list-subscribe";
/// People on one list.
pub const ENTRIES_MAX: usize = 1000;
/// Bytes of a URI.
const URI_MAX: usize = 1024;

/// Somebody on the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// As spelled there, for `rlmi::Resource::uri`.
    pub uri: String,
    /// `None`: not an address of anybody that we could know.
    pub who: Option<Aor>,
    pub name: Option<String>,
}

/// Reads the body of a SUBSCRIBE, inflated: a list, or a multipart with lists among its parts. Everybody is in the
/// answer once, in order, as first spelled.
pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Vec<Entry>, NoList> {
    let mut found: Vec<Entry> = Vec::new();
    let mut known: std::collections::HashSet<String> = std::collections::HashSet::new();
    for list in within(content_type, body)? {
        each(list, ENTRIES_MAX, &mut |entry| {
            let uri = entry.uri.trim();
            if uri.len() > URI_MAX || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Ok(());
            }
            let who = Uri::parse(uri).ok().and_then(|uri| uri.aor());
            let key = who.as_ref().map_or_else(|| uri.to_owned(), Aor::key);
            if !known.insert(key) {
                return Ok(());
            }
            if found.len() >= ENTRIES_MAX {
                return Err(NoList::TooLong);
            }
            found.push(Entry { uri: uri.to_owned(), who, name: shown(&entry.name).map(str::to_owned) });
            Ok(())
        })?;
    }
    Ok(found)
}

#[cfg(test)]
#[path = "lists/tests.rs"]
mod tests;
