//! What the rows mean: rooms, members, messages that wait, accounts.
//!
//! Prevents that anything out of a foreign table gets into a header or an address unchecked. Never decides whether a
//! domain is served, or what becomes of a row.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Row, Why};
use crate::sip::name::Name;
use crate::sip::uri::{Uri, canonical};
use crate::types::{Aor, Origin, member_flag, room_flag};

/// Bits of the modules that we have no word for.
const ROOM_DELETED: i64 = 2;
const MEMBER_DELETED: i64 = 8;
/// Bytes of the header lines of one message.
const HEADERS_MAX: usize = 4096;
/// Bytes of a content type.
const TYPE_MAX: usize = 255;
/// Characters of a password.
const PASSWORD_MAX: usize = 255;
/// Headers beside those that nobody knows (`Name::Other`) that a message keeps.
const KEPT: [Name; 5] = [Name::Subject, Name::Priority, Name::Organization, Name::InReplyTo, Name::ReplyTo];
/// How names begin that are a matter between two neighbours alone.
const NEXT_DOOR: [&str; 3] = ["security-", "x-fs-sending-message", "proxy-"];

const NO_ADDRESS: Why = "its address cannot be one";
const NO_NUMBER: Why = "a number is missing or none";
const NO_TEXT: Why = "a text is not UTF-8";
pub(super) const DELETED: Why = "it was deleted there";

impl Row {
    /// A text without what surrounds it; `None` if it is NULL, empty or not there.
    fn text(&self, column: &str) -> Result<Option<&str>, Why> {
        let Some(bytes) = self.bytes(column) else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| NO_TEXT)?.trim();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A whole number; 0 if it is NULL or not there.
    fn number(&self, column: &str) -> Result<i64, Why> {
        match self.text(column)? {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| NO_NUMBER),
        }
    }

    /// An address in two columns. Without a domain it is of `home`.
    fn address(&self, user: &str, host: &str, home: &str) -> Result<Aor, Why> {
        let (user, host) = (self.text(user)?.ok_or(NO_ADDRESS)?, self.text(host)?.unwrap_or(home));
        Aor::new(&canonical(user), host).ok_or(NO_ADDRESS)
    }

    /// An address in a URI; without a scheme it is taken for one too.
    fn uri(&self, column: &str) -> Result<Aor, Why> {
        let text = self.text(column)?.ok_or(NO_ADDRESS)?;
        let uri = Uri::parse(text).ok().and_then(|uri| uri.aor());
        uri.or_else(|| Aor::parse(text)).ok_or(NO_ADDRESS)
    }
}

/// A row of `imc_rooms`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomRow {
    pub address: Aor,
    pub private: bool,
    /// In the order of making.
    pub id: i64,
}

impl RoomRow {
    /// `home`: the domain of a row that names none.
    ///
    /// # Errors
    /// Why it is no room.
    pub fn read(row: &Row, home: &str) -> Result<RoomRow, Why> {
        let address = row.address("name", "domain", home)?;
        let flag = row.number("flag")?;
        if flag & ROOM_DELETED != 0 {
            return Err(DELETED);
        }
        let private = flag & i64::from(room_flag::PRIVATE) != 0;
        Ok(RoomRow { address, private, id: row.number("id")? })
    }
}

/// A row of `imc_members`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRow {
    pub room: Aor,
    pub who: Aor,
    /// [`member_flag`] bits.
    pub flags: u8,
    /// In the order of joining.
    pub id: i64,
}

impl MemberRow {
    /// # Errors
    /// Why it is no member.
    pub fn read(row: &Row, home: &str) -> Result<MemberRow, Why> {
        // The column was called `user` before 2007.
        let user = if row.bytes("username").is_some() { "username" } else { "user" };
        let who = row.address(user, "domain", home)?;
        let room = row.uri("room")?;
        let flag = row.number("flag")?;
        if flag & MEMBER_DELETED != 0 {
            return Err(DELETED);
        }
        let known = member_flag::OWNER | member_flag::ADMIN | member_flag::INVITED;
        Ok(MemberRow { room, who, flags: (flag & i64::from(known)) as u8, id: row.number("id")? })
    }
}

/// A row of `silo`: a message that waits, or a reminder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LetterRow {
    pub recipient: Aor,
    pub author: Aor,
    /// In the order of storing.
    pub id: i64,
    /// When it was said, in seconds since 1970.
    pub at: i64,
    /// When it stops waiting; 0: not said.
    pub expires: i64,
    /// When it is to be said; 0: now.
    pub due: i64,
    /// `None`: text/plain in UTF-8.
    pub content_type: Option<Arc<str>>,
    /// Whole lines with CRLF, checked.
    pub headers: Arc<str>,
    /// `Privacy: id` was among them (RFC 3325 §9.3).
    pub private: bool,
    pub body: Vec<u8>,
    /// The same for the same row, in whatever file it is found.
    pub key: Origin,
}

impl LetterRow {
    /// # Errors
    /// Why it is no message.
    pub fn read(row: &Row, home: &str) -> Result<LetterRow, Why> {
        // The owner of the row is the recipient; older ones know him by the URI alone.
        let recipient = match row.text("username")? {
            Some(_) => row.address("username", "domain", home)?,
            None => row.uri("dst_addr")?,
        };
        let author = row.uri("src_addr")?;
        let times = [row.number("inc_time")?, row.number("exp_time")?, row.number("snd_time")?];
        let [at, expires, due] = times.map(|time| time.clamp(0, i64::from(u32::MAX)));
        let body = row.bytes("body").filter(|body| !body.is_empty()).ok_or("it has no body")?.to_vec();
        let content_type = content_type(row.text("ctype")?)?;
        let (headers, private) = headers(row.bytes("extra_hdrs").unwrap_or_default());
        let mut hasher = Sha256::new();
        for column in ["id", "username", "domain", "src_addr", "inc_time", "snd_time", "ctype", "body"] {
            let cell = row.bytes(column).unwrap_or_default();
            hasher.update((cell.len() as u64).to_be_bytes());
            hasher.update(cell);
        }
        let mut key = Origin::default();
        key.copy_from_slice(&hasher.finalize()[..16]);
        let id = row.number("id")?;
        Ok(LetterRow { recipient, author, id, at, expires, due, content_type, headers, private, body, key })
    }
}

/// `text/plain` is kept without: every phone shows it. Parameters are checked for what could end a header alone.
fn content_type(given: Option<&str>) -> Result<Option<Arc<str>>, Why> {
    let Some(given) = given else { return Ok(None) };
    let media = given.split(';').next().unwrap_or_default().trim();
    let token = |text: &str| {
        let letter = |c: u8| c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c);
        !text.is_empty() && text.bytes().all(letter)
    };
    let whole = media.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name));
    if !whole || given.len() > TYPE_MAX || given.bytes().any(|c| c.is_ascii_control()) {
        return Err("its content type is none");
    }
    let plain = given.eq_ignore_ascii_case("text/plain");
    Ok(if plain { None } else { Some(given.into()) })
}

/// Header lines that are passed on, and whether privacy was asked for.
fn headers(lines: &[u8]) -> (Arc<str>, bool) {
    let (mut kept, mut private) = (String::new(), false);
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        // What continues another line is lost: nobody folds lines in a database.
        let Some((spelled, value)) = line.trim_end_matches('\r').split_once(':') else { continue };
        let (spelled, value) = (spelled.trim_end(), value.trim());
        let token = |c: u8| c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c);
        if spelled.is_empty() || !spelled.bytes().all(token) || value.chars().any(char::is_control) {
            continue;
        }
        let (name, lower) = (Name::of(spelled.as_bytes()), spelled.to_ascii_lowercase());
        if name == Name::Privacy {
            private |= value.split(';').any(|part| part.trim().eq_ignore_ascii_case("id"));
        }
        let passes = name == Name::Other || KEPT.contains(&name);
        let next_door = NEXT_DOOR.iter().any(|beginning| lower.starts_with(beginning));
        if passes && !next_door && kept.len() + spelled.len() + value.len() + 4 <= HEADERS_MAX {
            kept.push_str(&format!("{spelled}: {value}\r\n"));
        }
    }
    (kept.into(), private)
}

/// A row of `subscriber`.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriberRow {
    pub who: Aor,
    /// The domain as the row has it, for which the hashes were made.
    pub realm: String,
    pub password: Option<String>,
    /// H(user:realm:password) in MD5, lower-case hex.
    pub ha1: Option<String>,
    /// H(user@domain:realm:password) in MD5.
    pub ha1b: Option<String>,
    /// H(user:realm:password) in SHA-256.
    pub ha1_sha256: Option<String>,
    /// H(user@domain:realm:password) in SHA-256.
    pub ha1b_sha256: Option<String>,
}

impl SubscriberRow {
    /// # Errors
    /// Why it is no account.
    pub fn read(row: &Row, home: &str) -> Result<SubscriberRow, Why> {
        let who = row.address("username", "domain", home)?;
        let hash = |column: &str, digits: usize| -> Result<Option<String>, Why> {
            let text = row.text(column)?.unwrap_or_default();
            let whole = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            Ok(whole.then(|| text.to_ascii_lowercase()))
        };
        let password = match row.bytes("password") {
            None | Some(b"") => None,
            // Blanks at its ends belong to it.
            Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| NO_TEXT)?.to_owned()),
        };
        if password
            .as_ref()
            .is_some_and(|text| text.len() > PASSWORD_MAX || text.chars().any(char::is_control))
        {
            return Err("its password cannot be one");
        }
        Ok(SubscriberRow {
            realm: row.text("domain")?.unwrap_or(home).to_owned(),
            who,
            password,
            ha1: hash("ha1", 32)?,
            ha1b: hash("ha1b", 32)?,
            // OpenSIPS has a column for it; Kamailio puts it into the same one when it is told to use SHA-256.
            ha1_sha256: hash("ha1_sha256", 64)?.or(hash("ha1", 64)?),
            ha1b_sha256: hash("ha1b", 64)?,
        })
    }
}

/// Without its secrets.
impl std::fmt::Debug for SubscriberRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hashes = [&self.ha1, &self.ha1b, &self.ha1_sha256, &self.ha1b_sha256];
        let has = (self.password.is_some(), hashes.map(Option::is_some));
        write!(f, "SubscriberRow({}, realm {}, has {has:?})", self.who, self.realm)
    }
}
