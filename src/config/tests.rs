use super::*;
use crate::types::Transport;

const MANUAL: &str = include_str!("../../etc/imcd.toml");

fn env(vars: &[(&str, &str)]) -> Result<(Config, Vec<String>), ConfigError> {
    let vars: Vec<_> = vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Config::load(None, vars.into_iter())
}

fn file(text: &str) -> Result<(Config, Vec<String>), ConfigError> {
    Config::from_toml("imcd.toml", text)
}

/// What is wrong with `text`, as the user reads it.
fn wrong(text: &str) -> String {
    file(text).expect_err(text).to_string()
}

#[test]
fn without_anything_the_defaults_hold_and_are_safe() {
    let (config, warnings) = env(&[]).unwrap();
    assert_eq!(config, Config::default());
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(!config.auth_required() && config.all_loopback());
    assert_eq!(config.room_shards(), 16);
    assert_eq!(config.db_file(), std::path::Path::new("./imcd.db"));
    assert_eq!(config.served_domain("LOCALHOST"), Some("127.0.0.1"));
    assert_eq!(config.served_domain("example.org"), None);
}

#[test]
fn the_manual_is_the_defaults() {
    let (config, warnings) = file(MANUAL).unwrap();
    assert_eq!(config, Config::default());
    assert!(warnings.is_empty());
}

/// Keys of the manual in file order, each with the comment lines right above it.
fn manual_keys() -> Vec<(String, String)> {
    let (mut section, mut comment, mut keys) = (String::new(), String::new(), Vec::new());
    for line in MANUAL.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
            comment.clear();
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push((format!("{section}{key}"), std::mem::take(&mut comment)));
        } else {
            comment.clear();
        }
    }
    keys
}

#[test]
fn the_manual_explains_every_key() {
    let mut known: Vec<String> = toml::Table::try_from(Config::default()).unwrap().into_iter().fold(
        Vec::new(),
        |mut keys, (name, value)| {
            match value {
                toml::Value::Table(inner) if name != "aliases" => {
                    keys.extend(inner.keys().map(|k| format!("{name}.{k}")));
                }
                _ => keys.push(name),
            }
            keys
        },
    );
    let mut told: Vec<String> = manual_keys().into_iter().map(|(key, _)| key).collect();
    known.sort();
    told.sort();
    assert_eq!(told, known);
    for (key, comment) in manual_keys() {
        assert!(comment.trim().len() > 20, "{key} needs a comment that explains it");
        assert_eq!(comment.contains("Reloadable"), is_reloadable(&key), "{key}: Reloadable or not?");
    }
    for key in RELOADABLE {
        assert!(known.iter().any(|k| k == key), "{key} is in RELOADABLE only");
    }
}

#[test]
fn every_integer_has_bounds_and_the_manual_tells_them() {
    for (name, value) in toml::Table::try_from(Config::default()).unwrap() {
        let toml::Value::Table(inner) = value else { continue };
        for (key, value) in inner.iter().filter(|(_, v)| v.is_integer()) {
            let key = format!("{name}.{key}");
            let (_, range) =
                BOUNDS.iter().find(|(k, _)| *k == key).unwrap_or_else(|| panic!("{key} has no bounds"));
            assert!(range.contains(&value.as_integer().unwrap()), "{key}");
            let told = match *range.end() {
                i64::MAX => format!("{} or more", range.start()),
                end => format!("{} to {end}", range.start()),
            };
            let comment = manual_keys().into_iter().find(|(k, _)| *k == key).unwrap().1;
            assert!(comment.contains(&told), "{key}: the comment should say {told:?}: {comment}");
        }
    }
}

#[test]
fn the_environment_overrides_single_keys_by_their_kind() {
    let (c, _) = env(&[
        ("IMCD_SIP__LISTEN", "udp:127.0.0.1:5070, tcp:[::1]:5070"),
        ("IMCD_DOMAINS", "example.org,example.net"),
        ("IMCD_ALIASES", "chat.example.org=example.org"),
        ("IMCD_SIP__T1_MS", "100"),
        ("IMCD_CONTROL__HTTP", ""),
        ("IMCD_OFFLINE__ENABLED", "false"),
        ("IMCD_IMC__DIALECT", "openser"),
        ("IMCD_HISTORY__KEEP", "12h"),
        ("IMCD_AUTH__REALM", "a, b"),
        ("IMCD_DATA_DIR", "/srv/imcd"),
    ])
    .unwrap();
    assert_eq!(c.sip.listen[1], Listener { transport: Transport::Tcp, addr: "[::1]:5070".parse().unwrap() });
    assert_eq!(c.domains, ["example.org", "example.net"]);
    assert_eq!(c.served_domain("chat.EXAMPLE.org"), Some("example.org"));
    assert_eq!((c.sip.t1_ms, c.control.http, c.offline.enabled), (100, None, false));
    assert_eq!((c.imc.dialect, c.history.keep.seconds()), (Dialect::Openser, 43_200));
    assert_eq!(c.auth.realm, "a, b", "a comma splits only lists");
    assert_eq!(c.db_file(), std::path::Path::new("/srv/imcd/imcd.db"));
}

#[test]
fn variables_of_others_are_left_alone_and_mistyped_ones_are_not() {
    let (c, _) =
        env(&[("IMCD_SOCKET", "x"), ("IMCD_PROOF", "1"), ("SIP__LISTEN", "x"), ("IMCD_", "x")]).unwrap();
    assert_eq!(c, Config::default());
    let e = env(&[("IMCD_SIP__LISTNE", "x")]).unwrap_err().to_string();
    assert!(
        e.starts_with("environment variable IMCD_SIP__LISTNE: sip.listne: unknown key: expected one of"),
        "{e}"
    );
    let e = env(&[("IMCD_LOG", "debug")]).unwrap_err().to_string();
    assert!(e.contains("is a table: expected keys in it, such as log.format"), "{e}");
    let e = env(&[("IMCD_SIP__T1_MS", "soon")]).unwrap_err().to_string();
    assert_eq!(e, "environment variable IMCD_SIP__T1_MS: sip.t1_ms: \"soon\": expected an integer");
}

#[test]
fn an_error_names_file_key_and_what_was_expected() {
    for (text, expected) in [
        (
            "[sip]\nlistn = []",
            "imcd.toml: sip.listn: unknown key: expected one of advertise, flow_timer_s, listen, ",
        ),
        ("[sup]\nlisten = []", "imcd.toml: sup.listen: unknown table: expected one of aliases, auth, "),
        ("[sip]\nlisten = \"udp:127.0.0.1:5060\"", "imcd.toml: sip.listen: invalid type: string"),
        (
            "[sip]\nlisten = [\"udp:localhost:5060\"]",
            "imcd.toml: sip.listen: \"udp:localhost:5060\": expected udp:ADD",
        ),
        (
            "[sip]\nlisten = [\"wss:127.0.0.1:443\"]",
            "imcd.toml: sip.listen: \"wss:127.0.0.1:443\": wss: comes in a",
        ),
        ("[sip]\nlisten = []", "imcd.toml: sip.listen: expected at least one listener"),
        (
            "[sip]\ntrusted_peers = [\"10.0.0.0/33\"]",
            "imcd.toml: sip.trusted_peers: \"10.0.0.0/33\": expected an add",
        ),
        (
            "[sip]\nnameservers = [\"ns.example.org\"]",
            "imcd.toml: sip.nameservers: \"ns.example.org\": expected an IP",
        ),
        (
            "[sip]\noutbound_proxy = \"sip:proxy.example.org\"",
            "imcd.toml: sip.outbound_proxy: \"sip:proxy.example.o",
        ),
        ("[imc]\nhash_size = 17", "imcd.toml: imc.hash_size: 17: expected an integer from 0 to 16"),
        ("[imc]\nhash_size = \"4\"", "imcd.toml: imc.hash_size: \"4\": expected an integer from 0 to 16"),
        (
            "[imc]\ndialect = \"irc\"",
            "imcd.toml: imc.dialect: unknown variant `irc`, expected `kamailio` or `openser`",
        ),
        (
            "[imc]\nimc_cmd_start_char = \"ab\"",
            "imcd.toml: imc.imc_cmd_start_char: \"ab\": expected one ASCII",
        ),
        ("[imc]\nrooms_table = \"a;drop\"", "imcd.toml: imc.rooms_table: \"a;drop\": expected letters"),
        ("[imc]\nrooms_table = \"imc_members\"", "imcd.toml: imc.members_table: expected another name"),
        (
            "[imc]\nextra_hdrs = [\"From: x\"]",
            "imcd.toml: imc.extra_hdrs: \"From: x\": expected \"Name: value\"",
        ),
        ("[imc]\nextra_hdrs = [\"X: a\\r\\nY: b\"]", "imcd.toml: imc.extra_hdrs: "),
        ("[history]\nkeep = \"30\"", "imcd.toml: history.keep: \"30\": expected a time such as"),
        ("[auth]\nalgorithms = [\"SHA-512\"]", "imcd.toml: auth.algorithms: unknown variant `SHA-512`"),
        ("[auth]\nalgorithms = []", "imcd.toml: auth.algorithms: expected \"MD5\""),
        ("[db]\nurl = \"postgres://x\"", "imcd.toml: db.url: \"postgres://x\": expected \"sqlite:FILE\""),
        ("[control]\nhttp = \"localhost:80\"", "imcd.toml: control.http: \"localhost:80\": "),
        ("domains = []", "imcd.toml: domains: expected at least one domain"),
        ("domains = [\"a b\"]", "imcd.toml: domains: \"a b\": expected a host name"),
        ("aliases = { a = \"b\" }", "imcd.toml: aliases: \"b\": expected a domain that `domains` lists"),
        (
            "[registrar]\nmin_expires = 3600\ndefault_expires = 60",
            "imcd.toml: registrar.default_expires: expected a v",
        ),
        ("[sip]\nlisten = [", "imcd.toml: TOML parse error at line 2"),
        ("log = 1", "imcd.toml: log: is a table: expected keys in it"),
    ] {
        let e = wrong(text);
        assert!(e.starts_with(expected), "{text}\nsaid:     {e}\nexpected: {expected}");
    }
    let e =
        Config::load(Some(Path::new("/nonexistent/imcd.toml")), std::iter::empty()).unwrap_err().to_string();
    assert!(e.starts_with("/nonexistent/imcd.toml: cannot be read: "), "{e}");
}

#[test]
fn all_problems_are_told_at_once() {
    let e = file("[sip]\nt1_ms = 1\nx = 1\n[log]\nlevel = \"loud\"").unwrap_err();
    assert_eq!(e.0.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["sip.x", "log.level", "sip.t1_ms"]);
    assert_eq!(e.to_string().lines().count(), 3);
}

#[test]
fn nobody_is_open_to_the_network_by_accident() {
    let listen =
        |addr: &str, rest: &str| file(&format!("[sip]\nlisten = [\"udp:{addr}:5060\"]\n[auth]\n{rest}"));
    for addr in ["0.0.0.0", "192.0.2.1", "[::]"] {
        let e = listen(addr, "mode = \"open\"").unwrap_err().to_string();
        assert!(e.starts_with("imcd.toml: auth.mode: \"open\" with a listener that is not loopback"), "{e}");
        assert!(listen(addr, "").unwrap().0.auth_required(), "auto means digest here");
        let (on_purpose, warnings) = listen(addr, "mode = \"open\"\nopen_on_purpose = true").unwrap();
        assert!(!on_purpose.auth_required() && warnings.len() == 1);
    }
    assert!(!listen("127.3.2.1", "mode = \"open\"").unwrap().0.auth_required());
    assert!(!listen("[::1]", "").unwrap().0.auth_required());
    assert!(listen("127.0.0.1", "mode = \"digest\"").unwrap().0.auth_required());
}

#[test]
fn a_trusted_range_that_is_neither_loopback_nor_private_is_warned_about() {
    let warned = |cidr: &str| !file(&format!("[sip]\ntrusted_peers = [\"{cidr}\"]")).unwrap().1.is_empty();
    for cidr in ["127.0.0.1", "10.0.0.0/8", "172.16.0.0/12", "192.168.1.0/24", "::1", "fd00::/8", "fe80::1"] {
        assert!(!warned(cidr), "{cidr}");
    }
    for cidr in ["192.0.2.1", "10.0.0.0/7", "0.0.0.0/0", "::/0", "172.32.0.0/12", "2001:db8::/32"] {
        assert!(warned(cidr), "{cidr}");
    }
}

#[test]
fn a_range_holds_what_its_bits_say() {
    let holds = |cidr: &str, ip: &str| cidr.parse::<Cidr>().unwrap().contains(ip.parse().unwrap());
    assert!(holds("10.1.0.0/16", "10.1.255.3") && !holds("10.1.0.0/16", "10.2.0.0"));
    assert!(holds("0.0.0.0/0", "198.51.100.7") && !holds("0.0.0.0/0", "::1"));
    assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
    assert!(holds("192.0.2.0/24", "::ffff:192.0.2.9"), "IPv4 in IPv6 clothes");
    assert!(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::1"));
    for bad in ["", "10.0.0.0/", "10.0.0.0/-1", "10/8", "::/129", "host"] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
}

#[test]
fn times_and_proxies_and_hosts_are_read_as_written() {
    let seconds = |t: &str| t.parse::<Period>().map(Period::seconds).ok();
    assert_eq!(
        ["0", "10s", "5m", "12h", "30d", "2w"].map(seconds),
        [0, 10, 300, 43_200, 2_592_000, 1_209_600].map(Some)
    );
    assert_eq!(["", "d", "-1d", "1.5h", "+1d", "30", "99999999999999999d", "5µ"].map(seconds), [None; 8]);
    assert_eq!("14d".parse::<Period>().unwrap().to_string(), "14d");

    let proxy = |t: &str| t.parse::<OutboundProxy>().ok().map(|p| (p.addr.to_string(), p.transport));
    assert_eq!(proxy("sip:127.0.0.1"), Some(("127.0.0.1:5060".into(), Transport::Udp)));
    assert_eq!(proxy("sip:[::1]:5080;transport=TCP;lr"), Some(("[::1]:5080".into(), Transport::Tcp)));
    assert_eq!(proxy("sip:[::1]"), Some(("[::1]:5060".into(), Transport::Udp)));
    for bad in
        ["127.0.0.1", "sips:127.0.0.1", "sip:a@127.0.0.1", "sip:h:5060", "sip:1.2.3.4;transport=tls", "sip:"]
    {
        assert_eq!(proxy(bad), None, "{bad}");
    }
    let host = |t: &str| t.parse::<HostPort>().ok().map(|h| (h.host, h.port));
    assert_eq!(host("chat.example.org:5061"), Some(("chat.example.org".into(), Some(5061))));
    assert_eq!(host("[2001:db8::1]"), Some(("[2001:db8::1]".into(), None)));
    assert_eq!(["", "a b", "h:0", "h:99999", "2001:db8::1", "h\r\n"].map(host), [const { None }; 6]);
}

#[test]
fn what_is_printed_loads_again_to_the_same() {
    let (c, _) = file(
        "domains = [\"example.org\"]\n[sip]\nlisten = [\"tcp:[::1]:5062\"]\nadvertise = \"h:5\"\n\
         outbound_proxy = \"sip:10.0.0.1;lr\"\ntrusted_peers = [\"10.0.0.0/8\"]\nrelay_foreign = true\n\
         nameservers = [\"192.0.2.53\", \"[2001:db8::53]\", \"[::1]:5353\"]\n[history]\nkeep = \"90m\"\n\
         [auth]\nalgorithms = [\"SHA-256\", \"MD5\"]\n[control]\nhttp = \"\"\n[imc]\nextra_hdrs = [\"X-A: \\\"b\\\"\"]",
    )
    .unwrap();
    for c in [c, Config::default()] {
        assert_eq!(file(&c.print()).unwrap().0, c, "{}", c.print());
    }
}

#[test]
fn a_reload_takes_what_is_reloadable_and_names_the_rest() {
    let running = Config::default();
    let (fresh, _) = file("[log]\nlevel = \"debug\"\nformat = \"json\"\n[limits]\nposts_per_s = 0").unwrap();
    let (now, waiting) = running.reloaded(&fresh);
    assert_eq!((now.log.level, now.log.format, now.limits.posts_per_s), (Level::Debug, LogFormat::Text, 0));
    assert_eq!(waiting, ["log.format"]);
    assert_eq!(running.reloaded(&running), (running.clone(), Vec::new()));
}

#[test]
fn a_reload_reads_the_same_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imcd.toml");
    std::fs::write(&path, "[limits]\nposts_per_s = 5").unwrap();
    let (running, _) = Config::load(Some(&path), std::iter::empty()).unwrap();
    std::fs::write(&path, "domains = [\"example.org\"]\n[limits]\nposts_per_s = 7").unwrap();
    let reload = running.reload(std::iter::empty()).unwrap();
    assert_eq!(reload.config.limits.posts_per_s, 7);
    assert_eq!(reload.config.domains, running.domains);
    assert_eq!(reload.waiting, ["aliases", "domains"]);
    std::fs::write(&path, "[limits]\nposts_per_s = -1").unwrap();
    assert!(reload.config.reload(std::iter::empty()).is_err());
}
