//! Header values read on demand: name-addr, Via, Contact, lists, dates, display names.
//!
//! Prevents that a comma in a quote splits a list, or that a display name ends a header. Never allocates to
//! read, except where it says `Cow` and something had to be unescaped. Never decides.

use std::borrow::Cow;

pub use super::grammar::Bad;
use super::grammar::{Cursor, is_lws, quoted_len, trim};
use super::message::{Message, Name};
use super::uri::{Uri, host_end, port};

/// The elements of a comma-separated value, trimmed; commas in quotes and in `<>` do not count. Empty elements
/// are given as such, an empty value has none.
pub fn split_commas(value: &[u8]) -> Commas<'_> {
    Commas { rest: if trim(value).is_empty() { None } else { Some(value) } }
}

/// See [`split_commas`].
pub struct Commas<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Commas<'a> {
    /// What follows the comma behind the element given last.
    pub fn rest(&self) -> Option<&'a [u8]> {
        self.rest
    }
}

impl<'a> Iterator for Commas<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let value = self.rest?;
        let mut at = 0;
        // What is not closed takes all that follows.
        self.rest = loop {
            let Some(hit) = memchr::memchr3(b',', b'"', b'<', &value[at..]) else {
                at = value.len();
                break None;
            };
            at += hit;
            at += match value[at] {
                b',' => break Some(&value[at + 1..]),
                b'"' => quoted_len(&value[at..]).unwrap_or(value.len() - at),
                _ => memchr::memchr(b'>', &value[at..]).map_or(value.len() - at, |close| close + 1),
            };
        };
        Some(trim(&value[..at]))
    }
}

/// The `;name=value` list of a header value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    text: &'a str,
    count: usize,
}

impl<'a> Params<'a> {
    /// Reads all; shows each to `see`.
    pub fn parse(text: &'a str, mut see: impl FnMut(&'a str, Option<&'a str>)) -> Result<Params<'a>, Bad> {
        let mut cursor = Cursor::new(text);
        let mut count = 0;
        while let Some((name, value)) = cursor.param()? {
            see(name, value);
            count += 1;
        }
        Ok(Params { text, count })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In order, values raw: a quoted-string still has its quotes.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let mut cursor = Cursor::new(self.text);
        std::iter::from_fn(move || cursor.param().ok().flatten())
    }

    /// The raw value of the parameter called `name`, any case; `Some("")` if it has none.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or(""))
    }
}

/// The text of a quoted-string without quotes and escapes, folds made one space. Any other text as it is.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return unfold(text);
    };
    if !inner.contains('\\') {
        return unfold(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    match unfold(&out) {
        Cow::Borrowed(_) => Cow::Owned(out),
        Cow::Owned(unfolded) => Cow::Owned(unfolded),
    }
}

/// `text` with each fold, and the white space around it, made one space (RFC 3261 §7.3.1).
pub fn unfold(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\r', b'\n', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> = text.split(['\r', '\n']).map(str::trim).filter(|t| !t.is_empty()).collect();
    Cow::Owned(lines.join(" "))
}

/// `[display-name] <uri> ;params`, or `uri ;params` (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// Raw, still quoted. `None` too if it is not UTF-8.
    pub display: Option<&'a str>,
    /// Well-formed for its scheme.
    pub uri: &'a str,
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value. Without `<>` a URI ends at `;` and may hold neither `?` nor `,` (RFC 3261 §20.10).
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, Bad> {
        let value = trim(value);
        let (display, rest) = split_display(value)?;
        // A display name may be in another charset; all else is read as text.
        let rest = std::str::from_utf8(rest).map_err(|_| Bad("Not UTF-8"))?;
        let (uri, tail) = if let Some(inner) = rest.strip_prefix('<') {
            let close = memchr::memchr(b'>', inner.as_bytes()).ok_or(Bad("Unclosed <"))?;
            (&inner[..close], &inner[close + 1..])
        } else if display.is_some() {
            return Err(Bad("Display Name Without <"));
        } else {
            let ends = |c: u8| is_lws(c) || matches!(c, b';' | b'?' | b',' | b'<' | b'"');
            rest.split_at(rest.bytes().position(ends).unwrap_or(rest.len()))
        };
        Uri::parse(uri)?;
        Ok(NameAddr {
            display: display.and_then(|d| std::str::from_utf8(d).ok()),
            uri,
            params: Params::parse(tail, |_, _| {})?,
        })
    }

    /// The display name as meant: without quotes, escapes and folds. May hold anything; see [`quote_display`].
    pub fn display_text(&self) -> Option<Cow<'a, str>> {
        self.display.map(unquote)
    }

    /// The URI in its parts.
    pub fn uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri).ok()
    }

    pub fn tag(&self) -> Option<&'a str> {
        self.param("tag").filter(|t| !t.is_empty())
    }

    /// Raw value of a header parameter, any case; `Some("")` if it has none.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }
}

/// The display name, raw, and what follows it and the white space behind it.
fn split_display(value: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Bad> {
    if value.first() == Some(&b'"') {
        let (quoted, rest) = value.split_at(quoted_len(value).ok_or(Bad("Unterminated Quote"))?);
        return Ok((Some(quoted), trim(rest)));
    }
    let words = trim(&value[..memchr::memchr(b'<', value).unwrap_or(0)]);
    if words.is_empty() || !words.iter().all(|c| may_stand_unquoted(*c)) {
        return Ok((None, value));
    }
    Ok((Some(words), trim(&value[words.len()..])))
}

/// Wider than the tokens of RFC 3261 §25.1: phones send names unquoted that should be quoted.
fn may_stand_unquoted(c: u8) -> bool {
    is_lws(c) || (c > b' ' && c != 0x7f && !matches!(c, b'"' | b'<' | b'>' | b',' | b';' | b':' | b'\\'))
}

/// One element of a Via header (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// As spelled.
    pub transport: &'a str,
    /// Host and port as spelled.
    pub sent_by: &'a str,
    /// An IPv6 address has its brackets.
    pub host: &'a str,
    pub port: Option<u16>,
    /// `None` in a message of RFC 2543.
    pub branch: Option<&'a str>,
    /// The whole element, trimmed.
    pub raw: &'a [u8],
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one element. The protocol version is not looked at, so that a request of another one can be
    /// answered (RFC 3261 §21.5.6).
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, Bad> {
        const BAD: Bad = Bad("Bad Via");
        let raw = trim(value);
        let text = std::str::from_utf8(raw).map_err(|_| BAD)?;
        let mut cursor = Cursor::new(text);
        for _ in 0..2 {
            cursor.token().ok_or(BAD)?;
            cursor.skip_lws();
            if !cursor.eat(b'/') {
                return Err(BAD);
            }
            cursor.skip_lws();
        }
        let transport = cursor.token().ok_or(BAD)?;
        if !cursor.peek().is_some_and(is_lws) {
            return Err(BAD);
        }
        cursor.skip_lws();
        let rest = cursor.rest();
        let (sent_by, params) = rest.split_at(memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len()));
        let sent_by = sent_by.trim_ascii_end();
        let (host, tail) = sent_by.split_at(host_end(sent_by).ok_or(BAD)?);
        let port = match tail.trim_ascii_start().strip_prefix(':') {
            Some(digits) => Some(port(digits.trim_ascii_start()).ok_or(BAD)?),
            None if tail.is_empty() => None,
            None => return Err(BAD),
        };
        let mut branch = None;
        let params = Params::parse(params, |name, value| {
            if branch.is_none() && name.eq_ignore_ascii_case("branch") {
                branch = value;
            }
        })?;
        Ok(Via { transport, sent_by, host, port, branch, raw, params })
    }

    /// `None`: no rport. `Some(None)`: it asks for one. `Some(Some(port))`: it was told (RFC 3581 §3).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.param("rport").map(port)
    }

    /// As spelled; an IPv6 address with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<&'a str> {
        self.param("received")
    }

    pub fn maddr(&self) -> Option<&'a str> {
        self.param("maddr")
    }

    /// Raw value of a via-param, any case; `Some("")` if it has none.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

/// One element of a Contact header.
#[derive(Clone, Copy, Debug)]
pub enum ContactValue<'a> {
    /// `*`
    Star,
    Addr(NameAddr<'a>),
}

/// All Contact elements, across rows and commas (RFC 3261 §20.10).
pub fn contacts<'a>(message: &Message<'a>) -> impl Iterator<Item = Result<ContactValue<'a>, Bad>> {
    message.list(Name::Contact).map(|value| match value {
        b"*" => Ok(ContactValue::Star),
        _ => NameAddr::parse(value).map(ContactValue::Addr),
    })
}

/// A name as a quoted-string that is safe in any header: controls, line separators and directional overrides
/// dropped, `\` and `"` escaped.
pub fn quote_display(name: &str) -> Cow<'static, str> {
    if name.is_empty() {
        return Cow::Borrowed("\"\"");
    }
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    for c in name.chars() {
        let unseen = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if unseen {
            continue;
        }
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    Cow::Owned(out)
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 10000-01-01: what follows has no four-digit year.
const LAST_SECOND: i64 = 253_402_300_799;

/// `Fri, 20 Nov 2026 21:52:16 GMT` (RFC 3261 §20.17). Seconds since 1970-01-01 UTC, held between then and 9999.
pub fn date_rfc3261(unix_seconds: i64) -> String {
    let seconds = unix_seconds.clamp(0, LAST_SECOND);
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = civil(days);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Seconds since 1970-01-01 UTC of a Date value. `None` for anything but GMT (RFC 4475 §3.1.2.12) and for days
/// that are none; the day of the week is not checked.
pub fn parse_date(value: &str) -> Option<i64> {
    let (weekday, rest) = value.split_once(',')?;
    let mut words = rest.split_ascii_whitespace();
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    if words.next().is_some() || !DAYS.iter().any(|d| d.eq_ignore_ascii_case(weekday)) || zone != "GMT" {
        return None;
    }
    let number = |text: &str, len: usize, max: i64| {
        let digits = text.len() <= len && !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        text.parse::<i64>().ok().filter(|n| digits && *n <= max)
    };
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))? as i64 + 1;
    let (day, year) = (number(day, 2, 31)?, number(year, 4, 9999)?);
    let mut parts = time.split(':');
    // 60: a leap second.
    let second = number(parts.next()?, 2, 23)? * 3600
        + number(parts.next()?, 2, 59)? * 60
        + number(parts.next()?, 2, 60)?;
    let days = days_from_civil(year, month, day);
    (parts.next().is_none() && year >= 1970 && civil(days) == (year, month, day))
        .then_some(days * 86400 + second)
}

/// Year, month and day of a day counted from 1970-01-01; proleptic Gregorian, days from year 0 on.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that the leap day is the last of one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + (month <= 2) as i64, month, day)
}

/// The inverse of [`civil`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let split = |t: &'static str| -> Vec<String> {
            split_commas(t.as_bytes()).map(|e| String::from_utf8_lossy(e).into_owned()).collect()
        };
        assert_eq!(
            split(r#""a, \"b" <sip:a,b@h>;x="1,2" , <sip:c@h>"#),
            [r#""a, \"b" <sip:a,b@h>;x="1,2""#, "<sip:c@h>"]
        );
        assert_eq!(split("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(split(" \r\n "), Vec::<String>::new());
        assert_eq!(split("\"open, a"), ["\"open, a"]);
    }

    #[test]
    fn names_and_addresses() {
        let a = addr("\"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8");
        assert_eq!(a.display_text().as_deref(), Some("J Rosenberg \\\""));
        assert_eq!((a.uri, a.tag()), ("sip:jdrosen@example.com", Some("98asjd8")));
        let a = addr("caller<sip:caller@example.com>;tag=323");
        assert_eq!((a.display, a.tag()), (Some("caller"), Some("323")));
        let a = addr("sip:+1972@gw1.example.net;unknownparam");
        assert_eq!(
            (a.uri, a.param("UNKNOWNPARAM"), a.param("x")),
            ("sip:+1972@gw1.example.net", Some(""), None)
        );
        let a = addr("<sip:a@h;lr?Route=x>;expires=5");
        assert_eq!((a.display, a.uri, a.param("expires")), (None, "sip:a@h;lr?Route=x", Some("5")));
        let a = NameAddr::parse(b"M\xfcller <sip:m@h>;tag=1").unwrap();
        assert_eq!((a.display, a.tag()), (None, Some("1")));
        assert_eq!(addr("sip:a@h;x=\"<;,\"").param("x"), Some("\"<;,\""));
        assert_eq!(addr("\"one\r\n two\" <sip:a@h>").display_text().as_deref(), Some("one two"));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "\"a <sip:a@h>",
            "\"a\" sip:a@h",
            "<sip:a@h",
            "sip:a@h>",
            "< sip:a@h >",
            "<sip:a@h>;;x",
            "<sip:a@h>;",
            "<sip:a@h>;x=",
            "<sip:a@h> y",
            "sip:a@h?x=y",
            "sip:a@h, sip:b@h",
            "a, b <sip:a@h>",
            "<a@h>",
            "<>",
            "sip:a@h;x=\"",
            "<sip:a@h>;tag=a,b",
            "sip:x@y, <sip:a@h>",
            "<sip:a@h>;=x",
        ] {
            assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_via_in_every_shape() {
        let via = Via::parse(
            b"SIP  /   2.0\r\n /UDP\r\n    [2001:db8::9:1] : 6050 ; branch=\r\n z9hG4bK30239;rport",
        )
        .unwrap();
        assert_eq!((via.transport, via.host, via.port), ("UDP", "[2001:db8::9:1]", Some(6050)));
        assert_eq!((via.branch, via.rport()), (Some("z9hG4bK30239"), Some(None)));
        let via = Via::parse(b"SIP/2.0/TCP a.example;received=2001:db8::9:255;rport=7;maddr=m").unwrap();
        assert_eq!((via.branch, via.received(), via.rport()), (None, Some("2001:db8::9:255"), Some(Some(7))));
        assert_eq!((via.sent_by, via.maddr()), ("a.example", Some("m")));
        assert_eq!(
            Via::parse(b"SIP/2.0/UDP [::1];received=[2001:db8::9]").unwrap().received(),
            Some("[2001:db8::9]")
        );
        for text in [
            "",
            "SIP/2.0 a",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP a;;",
            "SIP/2.0/UDP a:0",
            "SIP/2.0/UDP a:x",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP ::1",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP a:70000",
            "SIP/2.0/UDP a;branch=",
            "SIP/2.0/UDP a,b",
            "SIP/2.0/UDP ;branch=x",
        ] {
            assert!(Via::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(quote_display("Bob \"x\\\r\n\0Via: y\u{202e}ü"), "\"Bob \\\"x\\\\Via: yü\"");
        assert_eq!(quote_display(""), "\"\"");
        assert_eq!(unquote(&quote_display("a\"b\\c")), "a\"b\\c");
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_795_211_536, "Fri, 20 Nov 2026 21:52:16 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(date_rfc3261(seconds), text);
            assert_eq!(parse_date(text), Some(seconds));
        }
        assert_eq!(date_rfc3261(-5), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(parse_date("Fri, 01 Jan 2010 16:00:00 GMT"), Some(1_262_361_600));
        for text in [
            "Fri, 01 Jan 2010 16:00:00 EST",
            "Fri, 31 Feb 2010 16:00:00 GMT",
            "Fri, 01 Jan 2010 24:00:00 GMT",
            "",
            "Fri, 01 Jan 2010",
            "Fri, 01 Jan 2010 16:00:00:00 GMT",
            "Fri, +1 Jan 2010 16:00:00 GMT",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
