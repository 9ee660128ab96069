//! What a configuration must fulfil beyond its types: bounds, and what keys ask of each other.
//!
//! Prevents a start that goes well and a night that does not. Never changes a value.

use std::ops::RangeInclusive;

use super::values::is_host;
use super::{AuthMode, Config};
use crate::types::Aor;

/// Bounds of every integer key. `etc/imcd.toml` tells them; a test compares.
pub const BOUNDS: &[(&str, RangeInclusive<i64>)] = &[
    ("sip.nat_keepalive_s", 0..=3600),
    ("sip.flow_timer_s", 0..=3600),
    ("sip.t1_ms", 50..=10_000),
    ("sip.t2_ms", 100..=60_000),
    ("sip.t4_ms", 100..=60_000),
    // RFC 3261 §10.3: 423 only for less than an hour.
    ("registrar.min_expires", 1..=3600),
    ("registrar.default_expires", 1..=31_536_000),
    ("registrar.max_expires", 1..=31_536_000),
    ("registrar.max_contacts", 1..=1000),
    ("imc.hash_size", 0..=16),
    ("offline.expire_time", 1..=31_536_000),
    ("offline.max_messages", 1..=1_000_000),
    ("offline.room_max", 0..=100_000),
    ("history.max_bytes", 0..=i64::MAX),
    ("presence.min_expires", 1..=3600),
    ("presence.max_expires", 60..=86_400),
    ("presence.max_subscriptions", 1..=10_000_000),
    ("presence.max_per_watcher", 1..=100_000),
    ("presence.max_per_address", 1..=1_000_000),
    ("limits.message_bytes", 64..=1_048_576),
    ("limits.member_max", 1..=1_000_000),
    ("limits.posts_per_s", 0..=100_000),
    ("limits.recipient_per_s", 0..=100_000),
    ("limits.room_per_s", 0..=100_000),
    ("limits.first_contacts_per_h", 0..=100_000),
];

/// Headers of a MESSAGE that are ours alone, full and compact; `imc.extra_hdrs` may not hold them.
const OWN_HEADERS: &[&str] = &[
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "max-forwards",
    "route",
    "record-route",
    "path",
    "contact",
    "m",
    "content-type",
    "c",
    "content-length",
    "l",
    "content-encoding",
    "e",
    "date",
    "p-asserted-identity",
    "p-preferred-identity",
    "in-reply-to",
    "authorization",
    "proxy-authorization",
    "require",
    "k",
    "supported",
    "proxy-require",
    "expires",
];

/// Everything wrong with `c`: the key, and what was expected.
pub(super) fn problems(c: &Config) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut need = |fine: bool, key: &'static str, what: String| {
        if !fine {
            found.push((key, what));
        }
    };
    need(!c.domains.is_empty(), "domains", "expected at least one domain".into());
    for domain in &c.domains {
        need(is_host(domain), "domains", format!("{domain:?}: expected a host name or address"));
        let same = c.domains.iter().filter(|d| d.eq_ignore_ascii_case(domain)).count();
        need(same == 1, "domains", format!("{domain:?}: expected each domain once"));
    }
    for (spelling, domain) in &c.aliases {
        need(is_host(spelling), "aliases", format!("{spelling:?}: expected a host name or address"));
        let served = c.domains.iter().any(|d| d.eq_ignore_ascii_case(domain));
        need(served, "aliases", format!("{domain:?}: expected a domain that `domains` lists"));
        let own = c.domains.iter().any(|d| d.eq_ignore_ascii_case(spelling));
        need(!own, "aliases", format!("{spelling:?}: expected a spelling that `domains` does not list"));
    }
    need(!c.data_dir.as_os_str().is_empty(), "data_dir", "expected a directory".into());
    need(!c.run_dir.as_os_str().is_empty(), "run_dir", "expected a directory".into());

    need(!c.sip.listen.is_empty(), "sip.listen", "expected at least one listener".into());
    for (i, listener) in c.sip.listen.iter().enumerate() {
        // Port 0 asks the kernel for a free port each time: that is no conflict.
        let again = listener.addr.port() != 0 && c.sip.listen[..i].contains(listener);
        need(!again, "sip.listen", format!("\"{listener}\": expected each listener once"));
    }
    need(c.sip.nameservers.len() <= 8, "sip.nameservers", "expected at most 8 name servers".into());
    need(c.sip.t1_ms <= c.sip.t2_ms, "sip.t2_ms", format!("expected at least sip.t1_ms ({})", c.sip.t1_ms));

    let r = &c.registrar;
    need(
        c.presence.min_expires <= c.presence.max_expires,
        "presence.max_expires",
        format!("expected at least min_expires ({})", c.presence.min_expires),
    );
    need(
        r.min_expires <= r.default_expires && r.default_expires <= r.max_expires,
        "registrar.default_expires",
        format!("expected a value from min_expires ({}) to max_expires ({})", r.min_expires, r.max_expires),
    );

    need(!c.auth.algorithms.is_empty(), "auth.algorithms", "expected \"MD5\", \"SHA-256\" or both".into());
    let twice = c.auth.algorithms.iter().enumerate().any(|(i, a)| c.auth.algorithms[..i].contains(a));
    need(!twice, "auth.algorithms", "expected each algorithm once".into());
    let realm_fine = c.auth.realm.len() <= 255
        && !c.auth.realm.chars().any(|ch| ch.is_control() || ch == '"' || ch == '\\');
    need(
        realm_fine,
        "auth.realm",
        "expected at most 255 bytes without quotes, backslashes and control characters".into(),
    );
    need(
        c.auth.mode != AuthMode::Open || c.all_loopback() || c.auth.open_on_purpose,
        "auth.mode",
        "\"open\" with a listener that is not loopback lets anybody speak as anybody: expected \"digest\" or \"auto\", \
         or auth.open_on_purpose = true"
            .into(),
    );

    need(
        Aor::new(&c.imc.manager, "a").is_some(),
        "imc.manager",
        "expected the user part of a SIP address".into(),
    );
    for (key, table) in [("imc.rooms_table", &c.imc.rooms_table), ("imc.members_table", &c.imc.members_table)]
    {
        need(
            is_table_name(table),
            key,
            format!("{table:?}: expected letters, digits and underscores, at most 63"),
        );
    }
    let differ = !c.imc.rooms_table.eq_ignore_ascii_case(&c.imc.members_table);
    need(differ, "imc.members_table", "expected another name than imc.rooms_table".into());
    need(c.imc.extra_hdrs.len() <= 32, "imc.extra_hdrs", "expected at most 32 header lines".into());
    for line in &c.imc.extra_hdrs {
        let what = "expected \"Name: value\" in one line of at most 512 bytes, and not a header that the daemon sets";
        need(is_extra_header(line), "imc.extra_hdrs", format!("{line:?}: {what}"));
    }

    let says =
        c.offline.notice.len() <= 1000 && !c.offline.notice.contains(|c: char| c.is_control() && c != '\n');
    need(says, "offline.notice", "expected a text of at most 1000 bytes".into());
    let file = c.db.url.strip_prefix("sqlite:").unwrap_or_default();
    need(!file.is_empty(), "db.url", format!("{:?}: expected \"sqlite:FILE\"", c.db.url));
    need(!c.control.socket.is_empty(), "control.socket", "expected a file name".into());
    // sun_path is 108 bytes with its closing zero.
    for (key, path) in
        [("control.socket", Some(c.control_socket())), ("control.datagram", c.control_datagram())]
    {
        let fits = path.is_none_or(|p| p.as_os_str().len() <= 107);
        need(fits, key, "expected a path of at most 107 bytes together with run_dir".into());
    }
    let socket = c.control_socket();
    let named = [("control.datagram", c.control_datagram()), ("control.fifo", c.control_fifo())];
    for (key, path) in &named {
        need(path.as_ref() != Some(&socket), key, "expected another file than control.socket".into());
    }
    let differ = named[0].1.is_none() || named[0].1 != named[1].1;
    need(differ, "control.fifo", "expected another file than control.datagram".into());
    let door = c.control.http.filter(|address| !address.ip().is_loopback());
    if let Some(http) = door.filter(|_| c.http_token_file().is_none()) {
        let what =
            "who reaches it manages this server: expected a loopback address, or control.http_token_file";
        found.push(("control.http", format!("{http} is not loopback, {what}")));
    }
    found
}

/// What is allowed and still worth a second look.
pub(super) fn warnings(c: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for peer in c.sip.trusted_peers.iter().filter(|p| !p.is_local()) {
        found.push(format!(
            "sip.trusted_peers: {peer} is neither loopback nor private: whoever sends from there is believed to be anybody"
        ));
    }
    if let Some(http) = c.control.http.filter(|a| !a.ip().is_loopback()) {
        found.push(format!(
            "control.http: {http} is not loopback: what goes there, the token too, goes in the clear; let a proxy speak \
             TLS in front of it"
        ));
    }
    if !c.auth_required() && !c.all_loopback() {
        found.push("auth.mode: open to the network on purpose: anybody can speak as anybody".into());
    }
    if c.sip.trusted_from && c.sip.trusted_peers.is_empty() {
        found.push("sip.trusted_from: has no effect while sip.trusted_peers is empty".into());
    }
    if c.sip.relay_foreign && !c.auth_required() && c.sip.trusted_peers.is_empty() {
        found.push("sip.relay_foreign: has no effect while nobody authenticates: see auth.mode".into());
    }
    found
}

fn is_table_name(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_extra_header(line: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return false };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    !name.is_empty()
        && name.bytes().all(token)
        && line.len() <= 512
        && !value.chars().any(char::is_control)
        && !OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}
