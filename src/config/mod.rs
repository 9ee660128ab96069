//! Configuration: one tree of structs, its defaults and its checks.
//!
//! Prevents a daemon that starts with a mistyped key, with a value out of range, or open to the world by
//! accident. Never reads anything after start but on reload; never guesses what an unknown key might mean.
//! For people, `etc/imcd.toml` is the manual; a test keeps it equal to the defaults here.

pub mod arguments;
mod check;
mod load;
mod secret;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use check::BOUNDS;
pub use load::{ConfigError, Problem, RELOADABLE, is_reloadable};
pub use values::{
    Algorithm, AuthMode, Cidr, CommandChar, Dialect, HostPort, Level, Listener, LogFormat, NameServer,
    OutboundProxy, Period, Prefix, WhoMayCreate, is_host,
};

/// Everything that can be set (spec §2). Every field has a default; an unknown key is an error.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Served domains; the first is the default one. Never empty.
    pub domains: Vec<String>,
    /// Other spellings of a served domain: spelling → domain.
    pub aliases: BTreeMap<String, String>,
    /// Where the store lives.
    pub data_dir: PathBuf,
    /// Where sockets and FIFOs live.
    pub run_dir: PathBuf,
    pub sip: Sip,
    pub registrar: Registrar,
    pub auth: Auth,
    pub imc: Imc,
    pub db: Db,
    pub offline: Offline,
    pub delivery: Delivery,
    pub history: History,
    pub presence: Presence,
    pub limits: Limits,
    pub control: Control,
    pub log: Log,
    /// The file it was read from; not a key. [`Config::reload`] reads it again.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// `[sip]`: listeners, the way out, whom we believe, timers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Where we listen, in this order.
    pub listen: Vec<Listener>,
    /// What Via and Contact show when we are behind NAT; `None`: the listener's own address.
    #[serde(with = "values::blank")]
    pub advertise: Option<HostPort>,
    /// Where everything goes that does not go to a binding of ours.
    #[serde(with = "values::blank")]
    pub outbound_proxy: Option<OutboundProxy>,
    /// Peers whose P-Asserted-Identity is believed without digest (RFC 3325 §5).
    pub trusted_peers: Vec<Cidr>,
    /// Trusted peers have checked From: believe it when there is no P-Asserted-Identity.
    pub trusted_from: bool,
    /// Authenticated accounts may write to domains that we do not serve.
    pub relay_foreign: bool,
    /// Who is asked where other domains are; empty: the system's name servers.
    pub nameservers: Vec<NameServer>,
    /// Seconds between CRLFCRLF to UDP bindings behind NAT; 0: none.
    pub nat_keepalive_s: u32,
    /// Seconds without a sign of life after which a phone's stream counts as dead, told to phones that keep flows as
    /// Flow-Timer (RFC 5626 §5.4); 0: never.
    pub flow_timer_s: u32,
    /// Milliseconds, RFC 3261 §17.1.2.2.
    pub t1_ms: u32,
    /// Milliseconds, RFC 3261 §17.1.2.2.
    pub t2_ms: u32,
    /// Milliseconds, RFC 3261 §17.1.2.2.
    pub t4_ms: u32,
}

/// `[registrar]`: bounds of a registration, in seconds (RFC 3261 §10.3).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registrar {
    /// A shorter wish gets 423.
    pub min_expires: u32,
    /// Without a wish.
    pub default_expires: u32,
    /// A longer wish is shortened to it.
    pub max_expires: u32,
    /// Bindings of one account; above it the longest unseen goes.
    pub max_contacts: u32,
}

/// `[auth]`: who must prove who he is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// As written; what it means here is [`Config::auth_required`].
    pub mode: AuthMode,
    /// Offered in this order (RFC 8760 §2.4).
    pub algorithms: Vec<Algorithm>,
    /// Empty: the served domain in From, of a REGISTER in To.
    pub realm: String,
    /// Lets mode `open` stand with a listener that is not loopback.
    pub open_on_purpose: bool,
}

/// `[imc]`: the rooms; names are those of the peers' imc module where it has one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imc {
    /// User part of the manager address.
    pub manager: String,
    /// What a command begins with.
    pub imc_cmd_start_char: CommandChar,
    /// Exponent: the room table has 2^hash_size shards.
    pub hash_size: u8,
    /// SQL name of the table of rooms.
    pub rooms_table: String,
    /// SQL name of the table of members.
    pub members_table: String,
    /// Whose texts and owner-exit rule.
    pub dialect: Dialect,
    /// `#join` makes a room that does not exist.
    pub create_on_join: bool,
    /// `#create` of an existing room is refused instead of joining it.
    pub check_on_create: bool,
    /// Who may make rooms.
    pub who_may_create: WhoMayCreate,
    /// Answer 200 to every command, as old OpenSER scripts did.
    pub always_ok: bool,
    /// Header lines `Name: value` added to every MESSAGE from a room.
    pub extra_hdrs: Vec<String>,
}

/// `[db]`: the store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Db {
    /// `sqlite:FILE`, the file relative to `data_dir`.
    pub url: String,
}

/// `[offline]`: what waits for somebody who is away.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Offline {
    /// `false`: nobody to take a direct message now means 480.
    pub enabled: bool,
    /// Seconds a message waits.
    pub expire_time: u32,
    /// Direct messages of one account that no device has taken yet.
    pub max_messages: u32,
    /// Posts of one room that wait for one device.
    pub room_max: u32,
    /// Whether late text says that it is late.
    pub prefix: Prefix,
    /// What a sender is told when the recipient is away; empty: nothing.
    pub notice: String,
}

/// `[presence]`: who sees when whom is there.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// Everybody sees everybody who has not blocked him, and nobody is asked.
    pub open: bool,
    /// A phone that is registered and publishes nothing counts as online.
    pub registered_is_online: bool,
    /// Phones that do not ask are told of waiting messages too.
    pub unsolicited_summary: bool,
    /// NOTIFYs keep the intervals that their packages ask for.
    pub throttle: bool,
    /// Seconds.
    pub min_expires: u32,
    /// Seconds.
    pub max_expires: u32,
    pub max_subscriptions: u32,
    pub max_per_watcher: u32,
    pub max_per_address: u32,
}

/// `[delivery]`: who gets what.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// The sender's other devices get his own messages too.
    pub copy_to_sender: bool,
}

/// `[history]`: how long what was said can be read again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Zero: only until delivered.
    pub keep: Period,
    /// Bytes; 0: no limit.
    pub max_bytes: u64,
}

/// `[limits]`: what one sender and one room may use.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a body; above it 413.
    pub message_bytes: usize,
    /// Members of a room.
    pub member_max: usize,
    /// Posts per second and sender, with a burst of 5 s; 0: no limit.
    pub posts_per_s: u32,
    /// What one person gets from all others together, per second; 0: ten times `posts_per_s`.
    pub recipient_per_s: u32,
    /// Posts in one room, per second; 0: fifty times `posts_per_s`.
    pub room_per_s: u32,
    /// People that one sender may write to for the first time, per hour; 0: fifty times `posts_per_s`.
    pub first_contacts_per_h: u32,
}

/// `[control]`: the doors of management.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Unix stream socket, relative to `run_dir`.
    pub socket: String,
    /// Unix datagram socket, relative to `run_dir`; empty: none.
    pub datagram: String,
    /// MI FIFO, relative to `run_dir`; empty: none.
    pub fifo: String,
    /// Directory of reply FIFOs.
    pub reply_dir: PathBuf,
    /// HTTP address; `None`: none.
    #[serde(with = "values::blank")]
    pub http: Option<SocketAddr>,
    /// File with the token that callers of HTTP must show, relative to `data_dir`; empty: none is asked for.
    pub http_token_file: String,
}

/// `[log]`: what goes to stderr.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: Level,
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            domains: vec!["127.0.0.1".into()],
            aliases: BTreeMap::from([("localhost".into(), "127.0.0.1".into())]),
            data_dir: ".".into(),
            run_dir: ".".into(),
            sip: Sip::default(),
            registrar: Registrar::default(),
            auth: Auth::default(),
            imc: Imc::default(),
            db: Db::default(),
            offline: Offline::default(),
            delivery: Delivery::default(),
            history: History::default(),
            presence: Presence::default(),
            limits: Limits::default(),
            control: Control::default(),
            log: Log::default(),
            file: None,
        }
    }
}

impl Default for Sip {
    fn default() -> Sip {
        let local = SocketAddr::from(([127, 0, 0, 1], 5060));
        Sip {
            listen: vec![Listener::udp(local), Listener::tcp(local)],
            advertise: None,
            outbound_proxy: None,
            trusted_peers: Vec::new(),
            trusted_from: false,
            relay_foreign: false,
            nameservers: Vec::new(),
            nat_keepalive_s: 25,
            flow_timer_s: 120,
            t1_ms: 500,
            t2_ms: 4000,
            t4_ms: 5000,
        }
    }
}

impl Default for Registrar {
    fn default() -> Registrar {
        Registrar { min_expires: 60, default_expires: 3600, max_expires: 86400, max_contacts: 16 }
    }
}

impl Default for Auth {
    fn default() -> Auth {
        Auth {
            mode: AuthMode::Auto,
            algorithms: vec![Algorithm::Md5],
            realm: String::new(),
            open_on_purpose: false,
        }
    }
}

impl Default for Imc {
    fn default() -> Imc {
        Imc {
            manager: "chat-manager".into(),
            imc_cmd_start_char: CommandChar::default(),
            hash_size: 4,
            rooms_table: "imc_rooms".into(),
            members_table: "imc_members".into(),
            dialect: Dialect::Kamailio,
            create_on_join: true,
            check_on_create: false,
            who_may_create: WhoMayCreate::Everybody,
            always_ok: false,
            extra_hdrs: Vec::new(),
        }
    }
}

impl Default for Db {
    fn default() -> Db {
        Db { url: "sqlite:imcd.db".into() }
    }
}

impl Default for Offline {
    fn default() -> Offline {
        Offline {
            enabled: true,
            expire_time: 259_200,
            max_messages: 1000,
            room_max: 500,
            prefix: Prefix::Auto,
            notice: String::new(),
        }
    }
}

impl Default for Presence {
    fn default() -> Presence {
        Presence {
            open: false,
            registered_is_online: true,
            unsolicited_summary: false,
            throttle: true,
            min_expires: 10,
            max_expires: 7200,
            max_subscriptions: 100_000,
            max_per_watcher: 1000,
            max_per_address: 2000,
        }
    }
}

impl Default for History {
    fn default() -> History {
        History { keep: Period::days(30), max_bytes: 0 }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_bytes: 32768,
            member_max: 10_000,
            posts_per_s: 20,
            recipient_per_s: 0,
            room_per_s: 0,
            first_contacts_per_h: 0,
        }
    }
}

impl Default for Control {
    fn default() -> Control {
        Control {
            socket: "imcd.sock".into(),
            datagram: String::new(),
            fifo: "imcd_fifo".into(),
            reply_dir: "/tmp".into(),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            http_token_file: String::new(),
        }
    }
}

impl Config {
    /// Whether senders must authenticate: `auth.mode`, with `auto` resolved by the listeners.
    pub fn auth_required(&self) -> bool {
        match self.auth.mode {
            AuthMode::Open => false,
            AuthMode::Digest => true,
            AuthMode::Auto => !self.all_loopback(),
        }
    }

    /// Whether every listener is loopback.
    pub fn all_loopback(&self) -> bool {
        self.sip.listen.iter().all(|l| l.addr.ip().is_loopback())
    }

    /// The first of `domains`.
    pub fn default_domain(&self) -> &str {
        self.domains.first().map_or("127.0.0.1", String::as_str)
    }

    /// The served domain that `host` names by itself or by an alias, as configured; case does not matter.
    /// Listener addresses are aliases too, but only the doors know them all.
    pub fn served_domain(&self, host: &str) -> Option<&str> {
        let own = |name: &str| self.domains.iter().find(|d| d.eq_ignore_ascii_case(name)).map(String::as_str);
        own(host).or_else(|| {
            let alias = self.aliases.iter().find(|(spelling, _)| spelling.eq_ignore_ascii_case(host));
            alias.and_then(|(_, domain)| own(domain))
        })
    }

    /// Number of shards of the room table: 2^hash_size, at least 2 as the table needs.
    pub fn room_shards(&self) -> usize {
        (1usize << self.imc.hash_size.min(16)).max(2)
    }

    /// The SQLite file, `data_dir` put before a relative one.
    pub fn db_file(&self) -> PathBuf {
        self.data_dir.join(self.db.url.strip_prefix("sqlite:").unwrap_or(&self.db.url))
    }

    /// The Unix stream socket of management.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join(&self.control.socket)
    }

    /// The Unix datagram socket of management, if there is to be one.
    pub fn control_datagram(&self) -> Option<PathBuf> {
        Some(&self.control.datagram).filter(|name| !name.is_empty()).map(|name| self.run_dir.join(name))
    }

    /// The MI FIFO, if there is to be one.
    pub fn control_fifo(&self) -> Option<PathBuf> {
        Some(&self.control.fifo).filter(|name| !name.is_empty()).map(|name| self.run_dir.join(name))
    }

    /// The file of the token that callers of HTTP must show, if they must.
    pub fn http_token_file(&self) -> Option<PathBuf> {
        Some(&self.control.http_token_file)
            .filter(|name| !name.is_empty())
            .map(|name| self.data_dir.join(name))
    }

    /// The token that callers of HTTP must show, if they must.
    ///
    /// # Errors
    /// What is wrong with the file, without what is in it.
    pub fn http_token(&self) -> Result<Option<String>, String> {
        let Some(path) = self.http_token_file().filter(|_| self.control.http.is_some()) else {
            return Ok(None);
        };
        let read = secret::read(&path).map(Some);
        read.map_err(|what| format!("control.http_token_file: {}: {what}", path.display()))
    }

    /// Defaults, then `file`, then those of `env` that begin with `IMCD_` and a known key or table.
    /// Gives the configuration and its warnings, or every problem found.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Config, Vec<String>), ConfigError> {
        load::load(file, env)
    }

    /// As [`Config::load`], from text; `name` stands for the file in errors.
    pub fn from_toml(name: &str, text: &str) -> Result<(Config, Vec<String>), ConfigError> {
        load::from_text(Some((name, text)), std::iter::empty())
    }

    /// The effective configuration as TOML that loads again to the same.
    pub fn print(&self) -> String {
        load::print(self)
    }

    /// Reads the file again and takes from it what is reloadable.
    pub fn reload(&self, env: impl Iterator<Item = (String, String)>) -> Result<Reload, ConfigError> {
        let (fresh, warnings) = load::load(self.file.as_deref(), env)?;
        let (config, waiting) = self.reloaded(&fresh);
        Ok(Reload { config, waiting, warnings })
    }

    /// What a reload makes of `self` and the `fresh` file: `self` with the reloadable keys of `fresh`,
    /// and the keys that differ but need a restart.
    pub fn reloaded(&self, fresh: &Config) -> (Config, Vec<String>) {
        load::reloaded(self, fresh)
    }
}

/// What came of a reload.
#[derive(Clone, PartialEq, Debug)]
pub struct Reload {
    /// The configuration now in effect.
    pub config: Config,
    /// Keys that changed but wait for a restart.
    pub waiting: Vec<String>,
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests;
