//! Layers of the configuration: defaults, then the file, then the environment.
//!
//! Prevents errors that leave the reader searching: each names where it is, the key, and what was expected.
//! All of them are told at once. Never takes an environment variable that is meant for another program.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use thiserror::Error;
use toml::{Table, Value};

use super::{Config, check};

/// Keys that SIGHUP brings into effect; all others need a restart. `etc/imcd.toml` tells the same; a test compares.
pub const RELOADABLE: &[&str] = &[
    "imc.create_on_join",
    "imc.check_on_create",
    "imc.who_may_create",
    "imc.always_ok",
    "imc.extra_hdrs",
    "offline.enabled",
    "offline.expire_time",
    "offline.max_messages",
    "offline.room_max",
    "offline.prefix",
    "offline.notice",
    "delivery.copy_to_sender",
    "limits.member_max",
    "limits.posts_per_s",
    "limits.recipient_per_s",
    "limits.room_per_s",
    "limits.first_contacts_per_h",
    "log.level",
];

/// Whether a reload brings `key` (dotted) into effect.
pub fn is_reloadable(key: &str) -> bool {
    RELOADABLE.contains(&key)
}

/// Keys whose value is a table of its own.
const TABLE_KEYS: &[&str] = &["aliases"];

/// One thing wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// File name, `environment variable IMCD_…`, or `built-in defaults`.
    pub place: String,
    /// Dotted key; empty when the text is not TOML at all.
    pub key: String,
    /// What was found and what was expected.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.what),
            key => write!(f, "{}: {key}: {}", self.place, self.what),
        }
    }
}

/// Why a configuration cannot be used: every problem, one line each.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

/// A value somebody set, and where.
struct Set {
    value: Value,
    place: String,
}

pub(super) fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<String>), ConfigError> {
    let Some(path) = file else { return from_text(None, env) };
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => from_text(Some((&name, &text)), env)
            .map(|(config, warnings)| (Config { file: Some(path.to_path_buf()), ..config }, warnings)),
        Err(e) => Err(ConfigError(vec![Problem {
            place: name,
            key: String::new(),
            what: format!("cannot be read: {e}"),
        }])),
    }
}

pub(super) fn from_text(
    file: Option<(&str, &str)>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<String>), ConfigError> {
    let defaults = leaves(&tree(&Config::default()));
    let mut set = BTreeMap::new();
    let mut problems = Vec::new();
    if let Some((name, text)) = file {
        read_file(name, text, &defaults, &mut set, &mut problems);
    }
    read_env(env, &defaults, &mut set, &mut problems);

    // Each value is tried alone on top of the defaults: what fails then is this key's fault and no other's.
    for (key, set) in &set {
        let tried = check_bounds(key, &set.value).and_then(|()| {
            build(defaults.iter().map(|(k, v)| (k, if k == key { &set.value } else { v }))).map(drop)
        });
        if let Err(what) = tried {
            problems.push(Problem { place: set.place.clone(), key: key.clone(), what });
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError(problems));
    }
    let built = build(defaults.iter().map(|(k, v)| (k, set.get(k).map_or(v, |s| &s.value))));
    let place = |key: &str| match (set.get(key), file) {
        (Some(set), _) => set.place.clone(),
        (None, Some((name, _))) => name.to_string(),
        (None, None) => "built-in defaults".to_string(),
    };
    let one = |key: &str, what| Problem { place: place(key), key: key.to_string(), what };
    let mut config = built.map_err(|what| ConfigError(vec![one("", what)]))?;
    if !set.contains_key("aliases") {
        // The built-in alias belongs to the built-in domain: a file that serves others need not mention it.
        let domains = config.domains.clone();
        config.aliases.retain(|spelling, domain| domains.contains(domain) && !domains.contains(spelling));
    }
    let problems: Vec<Problem> =
        check::problems(&config).into_iter().map(|(key, what)| one(key, what)).collect();
    if !problems.is_empty() {
        return Err(ConfigError(problems));
    }
    let warnings = check::warnings(&config);
    Ok((config, warnings))
}

fn read_file(
    name: &str,
    text: &str,
    defaults: &BTreeMap<String, Value>,
    set: &mut BTreeMap<String, Set>,
    problems: &mut Vec<Problem>,
) {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(e) => {
            return problems.push(Problem {
                place: name.into(),
                key: String::new(),
                what: e.to_string().trim().into(),
            });
        }
    };
    for (key, value) in leaves(&table) {
        if defaults.contains_key(&key) {
            set.insert(key, Set { value, place: name.into() });
        } else {
            let what = unknown(&key, defaults);
            problems.push(Problem { place: name.into(), key, what });
        }
    }
}

fn read_env(
    env: impl Iterator<Item = (String, String)>,
    defaults: &BTreeMap<String, Value>,
    set: &mut BTreeMap<String, Set>,
    problems: &mut Vec<Problem>,
) {
    let mut vars: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with("IMCD_")).collect();
    vars.sort();
    for (name, text) in vars {
        let key = name["IMCD_".len()..].to_ascii_lowercase().replace("__", ".");
        let first = key.split('.').next().unwrap_or_default();
        // IMCD_SOCKET and the like belong to others.
        if !defaults.keys().any(|k| k.split('.').next() == Some(first)) {
            continue;
        }
        let place = format!("environment variable {name}");
        let read = match defaults.get(&key) {
            None => Err(unknown(&key, defaults)),
            Some(like) => typed(&text, like),
        };
        match read {
            Ok(value) => {
                set.insert(key, Set { value, place });
            }
            Err(what) => problems.push(Problem { place, key, what }),
        }
    }
}

/// `text` as a value of the kind that the default has.
fn typed(text: &str, like: &Value) -> Result<Value, String> {
    let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
    match like {
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("{text:?}: expected true or false"))
        }
        Value::Integer(_) => {
            text.parse().map(Value::Integer).map_err(|_| format!("{text:?}: expected an integer"))
        }
        Value::Array(_) => Ok(Value::Array(items().map(|item| Value::String(item.into())).collect())),
        Value::Table(_) => items()
            .map(|item| match item.split_once('=') {
                Some((k, v)) => Ok((k.trim().to_string(), Value::String(v.trim().into()))),
                None => Err(format!("{item:?}: expected name=value, separated by commas")),
            })
            .collect::<Result<Table, String>>()
            .map(Value::Table),
        _ => Ok(Value::String(text.into())),
    }
}

fn unknown(key: &str, defaults: &BTreeMap<String, Value>) -> String {
    let table = format!("{key}.");
    if let Some(example) = defaults.keys().find(|k| k.starts_with(&table)) {
        return format!("is a table: expected keys in it, such as {example}");
    }
    if let Some(parent) = key.rsplit_once('.').map(|(parent, _)| parent).filter(|p| defaults.contains_key(*p))
    {
        return format!("unknown key: {parent} is not a table");
    }
    let prefix = key.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
    let names = |prefix: &str| {
        let mut names: Vec<&str> = Vec::new();
        for k in defaults.keys().filter_map(|k| k.strip_prefix(prefix)) {
            let name = k.split('.').next().unwrap_or(k);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    };
    match names(&prefix) {
        siblings if siblings.is_empty() => format!("unknown table: expected one of {}", names("")),
        siblings => format!("unknown key: expected one of {siblings}"),
    }
}

fn check_bounds(key: &str, value: &Value) -> Result<(), String> {
    let Some((_, range)) = check::BOUNDS.iter().find(|(k, _)| *k == key) else { return Ok(()) };
    let wanted = match *range.end() {
        i64::MAX => format!("expected an integer, {} or more", range.start()),
        end => format!("expected an integer from {} to {end}", range.start()),
    };
    match value {
        Value::Integer(n) if range.contains(n) => Ok(()),
        other => Err(format!("{other}: {wanted}")),
    }
}

/// The configuration as a tree of plain values.
fn tree(config: &Config) -> Table {
    // Every field has a TOML form: strings, integers within i64, booleans, lists and tables.
    Table::try_from(config).expect("a configuration has a TOML form")
}

/// Dotted keys with their values.
fn leaves(table: &Table) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, table: &Table, into: &mut BTreeMap<String, Value>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(inner) if !TABLE_KEYS.contains(&key.as_str()) && !inner.is_empty() => {
                    walk(&key, inner, into);
                }
                // An empty [section] sets nothing.
                Value::Table(inner) if inner.is_empty() && !TABLE_KEYS.contains(&key.as_str()) => {}
                other => {
                    into.insert(key, other.clone());
                }
            }
        }
    }
    let mut into = BTreeMap::new();
    walk("", table, &mut into);
    into
}

/// The inverse of [`leaves`], read as a configuration.
fn build<'a>(leaves: impl Iterator<Item = (&'a String, &'a Value)>) -> Result<Config, String> {
    let mut root = Table::new();
    for (key, value) in leaves {
        match key.split_once('.') {
            None => {
                root.insert(key.clone(), value.clone());
            }
            Some((section, name)) => {
                let section = root.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(name.into(), value.clone());
                }
            }
        }
    }
    root.try_into().map_err(|e: toml::de::Error| e.message().to_string())
}

pub(super) fn print(config: &Config) -> String {
    toml::to_string(config).expect("a configuration has a TOML form")
}

pub(super) fn reloaded(running: &Config, fresh: &Config) -> (Config, Vec<String>) {
    let mut merged = leaves(&tree(running));
    let mut waiting = Vec::new();
    for (key, value) in leaves(&tree(fresh)) {
        if merged.get(&key) == Some(&value) {
            continue;
        }
        if is_reloadable(&key) {
            merged.insert(key, value);
        } else {
            waiting.push(key);
        }
    }
    let config = build(merged.iter()).expect("values of two configurations make a configuration");
    (Config { file: running.file.clone(), ..config }, waiting)
}
