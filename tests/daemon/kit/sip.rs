//! SIP as far as a phone needs it: read a message, frame a stream, answer a challenge.
//!
//! Deliberately simple and separate from the daemon's parser. Never lenient where a test looks.

use md5::Digest as _;

/// One SIP message as it came off the wire.
#[derive(Clone, Debug)]
pub struct Msg {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

const COMPACT: &[(&str, &str)] = &[
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("k", "Supported"),
    ("s", "Subject"),
    ("o", "Event"),
    ("u", "Allow-Events"),
];

impl Msg {
    /// `None` if it is no SIP message, or the body is shorter than Content-Length says.
    pub fn parse(bytes: &[u8]) -> Option<Msg> {
        let end = find(bytes, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_string();
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let last = headers.last_mut()?;
                last.1.push(' ');
                last.1.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':')?;
            let name = name.trim();
            let long = COMPACT.iter().find(|(c, _)| c.eq_ignore_ascii_case(name)).map_or(name, |(_, l)| l);
            headers.push((long.to_string(), value.trim().to_string()));
        }
        let mut msg = Msg { start, headers, body: bytes[end + 4..].to_vec() };
        if let Some(length) = msg.get("Content-Length") {
            let length: usize = length.parse().ok()?;
            if msg.body.len() < length {
                return None;
            }
            msg.body.truncate(length);
        }
        Some(msg)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The header's value, or an empty string.
    pub fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/")
    }

    /// 0 for a request.
    pub fn status(&self) -> u16 {
        if self.is_request() {
            return 0;
        }
        self.start.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub fn reason(&self) -> &str {
        self.start.splitn(3, ' ').nth(2).unwrap_or("")
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or("")
    }

    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    pub fn cseq(&self) -> &str {
        self.header("CSeq")
    }

    pub fn call_id(&self) -> &str {
        self.header("Call-ID")
    }

    /// Branch of the top Via.
    pub fn branch(&self) -> String {
        let top = self.header("Via").split(',').next().unwrap_or("");
        param(top, "branch").unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// URI in From, To or Contact, without brackets and parameters of the header.
    pub fn address(&self, name: &str) -> String {
        uri_of(self.header(name))
    }

    /// User part of the URI in From: the room a member hears.
    pub fn sender_user(&self) -> String {
        let uri = self.address("From");
        let bare = uri.split_once(':').map_or(uri.as_str(), |(_, rest)| rest);
        bare.split('@').next().unwrap_or("").to_string()
    }
}

/// URI of a name-addr or addr-spec.
pub fn uri_of(value: &str) -> String {
    match (value.find('<'), value.find('>')) {
        (Some(open), Some(close)) if open < close => value[open + 1..close].to_string(),
        _ => value.split(';').next().unwrap_or("").trim().to_string(),
    }
}

/// Parameter after the address; brackets are stepped over.
pub fn param(value: &str, name: &str) -> Option<String> {
    let after = value.find('>').map_or(value, |at| &value[at + 1..]);
    after.split(';').skip(1).find_map(|p| {
        let (n, v) = p.split_once('=').unwrap_or((p, ""));
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim().trim_matches('"').to_string())
    })
}

/// Seconds since 1970 of a SIP-date, `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §25.1); nothing else is one.
pub fn date(value: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let fields: Vec<&str> = value.split(' ').collect();
    let [weekday, day, month, year, clock, "GMT"] = fields[..] else { return None };
    let clock: Vec<i64> =
        clock.split(':').map(|n| n.parse().ok().filter(|_| n.len() == 2)).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    let (day, year): (i64, i64) = (day.parse().ok().filter(|_| day.len() == 2)?, year.parse().ok()?);
    let month = MONTHS.find(month).filter(|at| at % 3 == 0 && month.len() == 3)? as i64 / 3 + 1;
    // Days since 1970 by the civil calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let names = ["Thu,", "Fri,", "Sat,", "Sun,", "Mon,", "Tue,", "Wed,"];
    (weekday == names[days.rem_euclid(7) as usize])
        .then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

/// Takes one whole message off a stream buffer. Leading CRLFs are dropped and counted.
pub fn take(buffer: &mut Vec<u8>, crlfs: &mut usize) -> Option<Vec<u8>> {
    while buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
        *crlfs += 1;
    }
    let end = find(buffer, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length: usize = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.trim().eq_ignore_ascii_case("Content-Length") || n.trim().eq_ignore_ascii_case("l"))
        .and_then(|(_, v)| v.trim().parse().ok())
        .unwrap_or(0);
    if buffer.len() < end + length {
        return None;
    }
    Some(buffer.drain(..end + length).collect())
}

/// A digest challenge, as in WWW-Authenticate (RFC 7616 §3.3).
#[derive(Clone, Debug, Default)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: String,
    pub algorithm: String,
    pub qop: String,
    pub stale: bool,
}

impl Challenge {
    pub fn parse(value: &str) -> Option<Challenge> {
        let rest = value.strip_prefix("Digest ").or_else(|| value.strip_prefix("digest "))?;
        let mut challenge = Challenge { algorithm: "MD5".into(), ..Challenge::default() };
        for (name, value) in pairs(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value,
                "nonce" => challenge.nonce = value,
                "opaque" => challenge.opaque = value,
                "algorithm" => challenge.algorithm = value,
                "qop" => challenge.qop = value,
                "stale" => challenge.stale = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        (!challenge.nonce.is_empty()).then_some(challenge)
    }

    fn hash(&self, text: &str) -> String {
        if self.algorithm.eq_ignore_ascii_case("SHA-256") {
            hex(&sha2::Sha256::digest(text.as_bytes()))
        } else {
            hex(&md5::Md5::digest(text.as_bytes()))
        }
    }

    /// The Authorization header line for one request.
    pub fn answer(&self, user: &str, password: &str, method: &str, uri: &str, nc: u32) -> String {
        let ha1 = self.hash(&format!("{user}:{}:{password}", self.realm));
        let ha2 = self.hash(&format!("{method}:{uri}"));
        let (cnonce, nc) = (super::token(), format!("{nc:08x}"));
        let mut line = format!(
            "Authorization: Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", algorithm={}",
            self.realm, self.nonce, self.algorithm
        );
        let response = if self.qop.split(',').any(|q| q.trim() == "auth") {
            line.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
            self.hash(&format!("{ha1}:{}:{nc}:{cnonce}:auth:{ha2}", self.nonce))
        } else {
            self.hash(&format!("{ha1}:{}:{ha2}", self.nonce))
        };
        if !self.opaque.is_empty() {
            line.push_str(&format!(", opaque=\"{}\"", self.opaque));
        }
        line.push_str(&format!(", response=\"{response}\""));
        line
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `name=value` and `name="value"`, separated by commas outside of quotes.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut quoted = false;
    for part in text.split(move |c| {
        if c == '"' {
            quoted = !quoted;
        }
        c == ',' && !quoted
    }) {
        if let Some((name, value)) = part.split_once('=') {
            out.push((name.trim().to_string(), value.trim().trim_matches('"').to_string()));
        }
    }
    out
}
