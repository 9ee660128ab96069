//! Typed values of the configuration: what a string must look like, and what it then means.
//!
//! Prevents that a mistyped address or time is found at three in the morning. Never resolves names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Aor, Transport};

/// A value that is written as a string. The error says what was expected.
macro_rules! written_as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<$name, String> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )*};
}
written_as_text!(Listener, Cidr, NameServer, Period, HostPort, OutboundProxy, CommandChar);

/// An optional value that is written as a string, `""` for none.
pub(super) mod blank {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_str(""),
        }
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|e| D::Error::custom(format!("{text:?}: {e}")))
    }
}

/// `udp:127.0.0.1:5060`, `tcp:[::1]:5060`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listener {
    pub transport: Transport,
    pub addr: SocketAddr,
}

impl Listener {
    pub fn udp(addr: SocketAddr) -> Listener {
        Listener { transport: Transport::Udp, addr }
    }
    pub fn tcp(addr: SocketAddr) -> Listener {
        Listener { transport: Transport::Tcp, addr }
    }
}

impl FromStr for Listener {
    type Err = String;
    fn from_str(text: &str) -> Result<Listener, String> {
        let wanted = || {
            format!("{text:?}: expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT, such as \"udp:127.0.0.1:5060\"")
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(wanted)?;
        let transport = match scheme {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" | "ws" | "wss" => {
                return Err(format!("{text:?}: {scheme}: comes in a later version; expected udp: or tcp:"));
            }
            _ => return Err(wanted()),
        };
        rest.parse().map(|addr| Listener { transport, addr }).map_err(|_| wanted())
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(f, "{scheme}:{}", self.addr)
    }
}

/// A name server: `192.0.2.53`, `[2001:db8::53]:5353`. Port 53 if none is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NameServer(pub SocketAddr);

impl FromStr for NameServer {
    type Err = String;
    fn from_str(text: &str) -> Result<NameServer, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let addr = text.parse().or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        match addr {
            Ok(addr) if addr.port() > 0 => Ok(NameServer(addr)),
            _ => Err(format!("{text:?}: expected an IP address, or one with a port, such as \"192.0.2.53\"")),
        }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == 53 { self.0.ip().fmt(f) } else { self.0.fmt(f) }
    }
}

/// A range of addresses, `10.0.0.0/8`; an address alone means itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    addr: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether `ip` is in the range. An IPv4 address that came in IPv6 clothes counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                net.to_bits() & mask4(self.bits) == ip.to_bits() & mask4(self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                net.to_bits() & mask6(self.bits) == ip.to_bits() & mask6(self.bits)
            }
            _ => false,
        }
    }

    /// Whether nothing but loopback, private (RFC 1918, RFC 4193) or link-local addresses is in it.
    pub fn is_local(&self) -> bool {
        LOCAL_RANGES
            .iter()
            .any(|(net, bits)| *bits <= self.bits && Cidr { addr: *net, bits: *bits }.contains(self.addr))
    }
}

const LOCAL_RANGES: [(IpAddr, u8); 8] = [
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
];

fn mask4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)
}

fn mask6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Cidr, String> {
        let wanted = || format!("{text:?}: expected an address range such as \"10.0.0.0/8\" or \"::1\"");
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| wanted())?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|b| *b <= most).ok_or_else(wanted)?,
        };
        Ok(Cidr { addr, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.bits)
    }
}

/// A length of time in whole seconds: `30d`, `12h`, `5m`, `10s`, `0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    seconds: u64,
}

/// Unit letters with their seconds, longest first.
const UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
/// Longest period: a hundred years.
const PERIOD_MAX_S: u64 = 36_525 * 86_400;

impl Period {
    pub const fn days(days: u32) -> Period {
        Period { seconds: days as u64 * 86_400 }
    }
    pub fn seconds(self) -> u64 {
        self.seconds
    }
    pub fn is_zero(self) -> bool {
        self.seconds == 0
    }
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl FromStr for Period {
    type Err = String;
    fn from_str(text: &str) -> Result<Period, String> {
        let parsed = if text == "0" {
            Some(0)
        } else {
            UNITS.iter().find_map(|(unit, seconds)| {
                let digits = text.strip_suffix(unit)?;
                let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(*seconds)
            })
        };
        parsed.filter(|s| *s <= PERIOD_MAX_S).map(|seconds| Period { seconds }).ok_or_else(|| {
            format!("{text:?}: expected a time such as \"30d\", \"12h\", \"5m\", \"10s\" or \"0\", at most 100 years")
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days are the longest unit written: "30d" stays what the reader wrote.
        match UNITS[1..].iter().find(|(_, s)| self.seconds > 0 && self.seconds.is_multiple_of(*s)) {
            Some((unit, s)) => write!(f, "{}{unit}", self.seconds / s),
            None => f.write_str("0"),
        }
    }
}

/// `host[:port]` as Via and Contact show it (RFC 3261 §18.1.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
    pub port: Option<u16>,
}

impl FromStr for HostPort {
    type Err = String;
    fn from_str(text: &str) -> Result<HostPort, String> {
        let wanted = || {
            "expected HOST or HOST:PORT, such as \"chat.example.org:5060\" or \"[2001:db8::1]\"".to_string()
        };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => None,
            Some(port) => Some(port.parse().ok().filter(|p| *p > 0).ok_or_else(wanted)?),
        };
        if !is_host(host) {
            return Err(wanted());
        }
        Ok(HostPort { host: host.into(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Whether `text` can be the host of an address.
pub fn is_host(text: &str) -> bool {
    Aor::new("a", text).is_some()
}

/// The next hop of everything that does not go to a binding of ours. A literal address, so that no name
/// service stands between us and the proxy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OutboundProxy {
    pub addr: SocketAddr,
    pub transport: Transport,
    /// As written; goes into Route with `;lr` (RFC 3261 §8.1.2).
    pub uri: String,
}

impl FromStr for OutboundProxy {
    type Err = String;
    fn from_str(text: &str) -> Result<OutboundProxy, String> {
        let wanted =
            "expected a SIP URI with a literal IP address, such as \"sip:127.0.0.1:5080;transport=udp\"";
        let (scheme, rest) = text.split_once(':').ok_or(wanted)?;
        if !scheme.eq_ignore_ascii_case("sip") || rest.contains(['@', '?', '<', '>']) {
            return Err(wanted.into());
        }
        let mut parts = rest.split(';');
        let host_port = parts.next().unwrap_or_default();
        let addr = match (host_port.parse::<SocketAddr>(), host_port.parse::<HostPort>()) {
            (Ok(addr), _) => addr,
            (_, Ok(HostPort { host, port: None })) => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                SocketAddr::new(bare.parse().map_err(|_| wanted)?, 5060)
            }
            _ => return Err(wanted.into()),
        };
        let mut transport = Transport::Udp;
        for part in parts {
            transport = match part.to_ascii_lowercase().as_str() {
                "transport=udp" => Transport::Udp,
                "transport=tcp" => Transport::Tcp,
                "lr" => transport,
                _ => {
                    return Err(
                        "expected no other parameters than ;transport=udp, ;transport=tcp and ;lr".into()
                    );
                }
            };
        }
        if addr.port() == 0 {
            return Err(wanted.into());
        }
        Ok(OutboundProxy { addr, transport, uri: text.into() })
    }
}

impl fmt::Display for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// The character that a command begins with: one ASCII punctuation character.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandChar(u8);

impl CommandChar {
    pub fn byte(self) -> u8 {
        self.0
    }
}

impl Default for CommandChar {
    fn default() -> CommandChar {
        CommandChar(b'#')
    }
}

impl FromStr for CommandChar {
    type Err = String;
    fn from_str(text: &str) -> Result<CommandChar, String> {
        match text.as_bytes() {
            [byte] if byte.is_ascii_punctuation() => Ok(CommandChar(*byte)),
            _ => Err(format!("{text:?}: expected one ASCII punctuation character, such as \"#\"")),
        }
    }
}

impl fmt::Display for CommandChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.0))
    }
}

/// Who must authenticate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Nobody: From is believed.
    Open,
    /// Everybody but trusted peers.
    Digest,
    /// Open if every listener is loopback, else digest.
    #[default]
    Auto,
}

/// Digest algorithms (RFC 8760 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "MD5")]
    Md5,
    #[serde(rename = "SHA-256")]
    Sha256,
}

/// Whose texts and owner-exit rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Kamailio 5.3 and later.
    #[default]
    Kamailio,
    /// OpenSER 1.x and OpenSIPS.
    Openser,
}

/// Who may make rooms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhoMayCreate {
    /// Everybody who may speak here.
    #[default]
    Everybody,
    /// Accounts of ours only.
    Accounts,
    /// Nobody by MESSAGE; only the management doors make rooms.
    Admins,
}

/// Whether late text begins with `[Offline message - …] `.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefix {
    Always,
    Never,
    /// Messages over a minute old, to phones not known to show the Date header.
    #[default]
    Auto,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    pub const ALL: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// For people or for machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}
