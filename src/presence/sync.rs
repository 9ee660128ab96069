//! Rosters as they are to be, against rosters as they are: what has to change.
//!
//! Prevents that a file of wishes contradicts itself unnoticed, and that what is right already is touched. Never reads
//! or writes anything.

use std::collections::BTreeMap;

use super::roster::{Bond, groups, name};
use crate::types::Aor;

/// Lines of one file.
pub const LINES_MAX: usize = 200_000;

/// One entry of one roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub account: Aor,
    pub user: Aor,
    pub bond: Bond,
    pub nick: Option<String>,
    pub groups: Vec<String>,
}

/// What is to be done about one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Add(Entry),
    Change(Entry),
    Remove { account: Aor, user: Aor },
}

/// Reads a file: a JSON array of objects with `account`, `user` and, if they are there, `sight`, `nick` and `groups`
/// (a list, or names with commas between them); or a line each, with tabs between these in this order. Empty lines
/// and lines that begin with `#` are nothing. The error names the entry.
pub fn read(text: &str, domain: &str) -> Result<Vec<Entry>, String> {
    let rows = match text.trim_start().starts_with('[') {
        true => from_json(text)?,
        false => from_lines(text),
    };
    if rows.len() > LINES_MAX {
        return Err(format!("more than {LINES_MAX} entries"));
    }
    rows.into_iter().map(|row| entry(row, domain)).collect()
}

/// A row before it is understood, and where it stands.
struct Row {
    place: String,
    account: String,
    user: String,
    sight: String,
    nick: String,
    groups: String,
}

fn from_lines(text: &str) -> Vec<Row> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end_matches('\r')));
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let mut fields = line.split('\t').map(|field| field.trim().to_owned());
            let mut next = || fields.next().unwrap_or_default();
            let (account, user, sight, nick, groups) = (next(), next(), next(), next(), next());
            Row { place: format!("line {at}"), account, user, sight, nick, groups }
        })
        .collect()
}

fn from_json(text: &str) -> Result<Vec<Row>, String> {
    let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let row = |(at, value): (usize, serde_json::Value)| {
        let place = format!("entry {}", at + 1);
        let field = |name: &str| match &value[name] {
            serde_json::Value::Null => Ok(String::new()),
            serde_json::Value::String(text) => Ok(text.clone()),
            serde_json::Value::Array(list) if list.iter().all(serde_json::Value::is_string) => {
                Ok(list.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(","))
            }
            _ => Err(format!("{place}: {name}: expected a string")),
        };
        let (account, user, sight) = (field("account")?, field("user")?, field("sight")?);
        let (nick, groups) = (field("nick")?, field("groups")?);
        Ok(Row { place: place.clone(), account, user, sight, nick, groups })
    };
    list.into_iter().enumerate().map(row).collect()
}

fn entry(row: Row, domain: &str) -> Result<Entry, String> {
    let place = &row.place;
    let address = |text: &str| match text.contains('@') {
        true => Aor::parse(text.strip_prefix("sip:").unwrap_or(text)),
        false => Aor::new(text, domain),
    };
    let account = address(&row.account).ok_or_else(|| format!("{place}: {:?} is no address", row.account))?;
    let user = address(&row.user).ok_or_else(|| format!("{place}: {:?} is no address", row.user))?;
    if account == user {
        return Err(format!("{place}: {account} sees itself already"));
    }
    let bond = match row.sight.as_str() {
        "" => Some(Bond::Both),
        word => Bond::named(word).filter(|bond| *bond != Bond::Asked),
    };
    let bond = bond.ok_or_else(|| format!("{place}: {:?}: expected none, to, from or both", row.sight))?;
    Ok(Entry { account, user, bond, nick: name(&row.nick), groups: groups([row.groups.as_str()]) })
}

/// What has to be done so that `is` becomes `wanted`. Sight is one truth for two rosters: what one line says of a pair,
/// the other's entry has too, and is made if no line names it.
pub fn plan(is: &[Entry], wanted: &[Entry]) -> Vec<Step> {
    let key = |account: &Aor, user: &Aor| (account.key().to_owned(), user.key());
    let mut to_be: BTreeMap<_, Entry> = BTreeMap::new();
    for entry in wanted {
        to_be.insert(key(&entry.account, &entry.user), entry.clone());
    }
    for entry in wanted.iter().filter(|entry| entry.bond != Bond::None) {
        let mirrored = mirrored(entry.bond);
        let other = to_be.entry(key(&entry.user, &entry.account)).or_insert_with(|| Entry {
            account: entry.user.clone(),
            user: entry.account.clone(),
            bond: Bond::None,
            nick: None,
            groups: Vec::new(),
        });
        other.bond = joined(other.bond, mirrored);
        let bond = self::mirrored(other.bond);
        if let Some(mine) = to_be.get_mut(&key(&entry.account, &entry.user)) {
            mine.bond = bond;
        }
    }
    let is: BTreeMap<_, &Entry> = is.iter().map(|entry| (key(&entry.account, &entry.user), entry)).collect();
    let mut steps = Vec::new();
    for (key, entry) in &is {
        if !to_be.contains_key(key) {
            steps.push(Step::Remove { account: entry.account.clone(), user: entry.user.clone() });
        }
    }
    for (key, entry) in to_be {
        match is.get(&key) {
            None => steps.push(Step::Add(entry)),
            Some(now) if same(now, &entry) => {}
            Some(_) => steps.push(Step::Change(entry)),
        }
    }
    steps
}

fn same(one: &Entry, other: &Entry) -> bool {
    one.bond == other.bond && one.nick == other.nick && one.groups == other.groups
}

fn mirrored(bond: Bond) -> Bond {
    match bond {
        Bond::To => Bond::From,
        Bond::From => Bond::To,
        other => other,
    }
}

fn joined(one: Bond, other: Bond) -> Bond {
    match (one, other) {
        (Bond::None | Bond::Asked, other) | (other, Bond::None | Bond::Asked) => other,
        (one, other) if one == other => one,
        _ => Bond::Both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(steps: &[Step]) -> Vec<String> {
        let shown = |entry: &Entry| {
            let nick = entry.nick.as_deref().unwrap_or("-");
            format!(
                "{} {} {} {nick} {:?}",
                entry.account.user(),
                entry.user.user(),
                entry.bond.word(),
                entry.groups
            )
        };
        let line = |step: &Step| match step {
            Step::Add(entry) => format!("+ {}", shown(entry)),
            Step::Change(entry) => format!("~ {}", shown(entry)),
            Step::Remove { account, user } => format!("- {} {}", account.user(), user.user()),
        };
        steps.iter().map(line).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let lines =
            "# team\nalice\tbob@example.org\tboth\tBobby\twork, home\n\ncarol\tsip:alice@example.org\r\n";
        let json = r#"[{"account":"alice","user":"bob@example.org","sight":"both","nick":"Bobby","groups":["work","home"]},
                       {"account":"carol","user":"sip:alice@example.org"}]"#;
        let read_lines = read(lines, "example.org").unwrap();
        assert_eq!(read_lines, read(json, "example.org").unwrap());
        assert_eq!(read_lines[0].groups, ["work", "home"]);
        assert_eq!(read_lines[1].bond, Bond::Both);
        assert_eq!(read("", "example.org"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, why) in [
            ("alice\tbob\nalice", "line 2: \"\" is no address"),
            ("alice\talice", "line 1: alice@example.org sees itself already"),
            ("alice\tbob\tall", "line 1: \"all\": expected none, to, from or both"),
            ("alice\tbob\tasked", "line 1: \"asked\": expected none, to, from or both"),
            (r#"[{"account":"alice","user":7}]"#, "entry 1: user: expected a string"),
            (r#"[{"account":"a b","user":"bob"}]"#, "entry 1: \"a b\" is no address"),
        ] {
            assert_eq!(read(text, "example.org"), Err(why.to_owned()), "{text}");
        }
        assert!(read("[{", "example.org").is_err());
    }

    #[test]
    fn one_line_stands_for_both_rosters_and_the_rest_goes() {
        let is = read("alice\tbob\tto\nbob\talice\tfrom\ndave\talice\tnone", "example.org").unwrap();
        let wanted = read("alice\tbob\tboth\tBobby\tcarol\tx", "example.org").unwrap();
        assert_eq!(
            text(&plan(&is, &wanted)),
            ["- dave alice", "~ alice bob both Bobby [\"carol\"]", "~ bob alice both - []"]
        );
        // Two lines that each say half.
        let halves = read("alice\tbob\tto\nbob\talice\tto", "example.org").unwrap();
        assert_eq!(text(&plan(&[], &halves)), ["+ alice bob both - []", "+ bob alice both - []"]);
    }

    fn arb_entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (0..5u8, 0..5u8, 0..4usize, proptest::option::of("[a-z]{1,3}"));
        proptest::collection::vec(entry, 0..20).prop_map(|rows| {
            let aor = |n: u8| Aor::new(&format!("u{n}"), "example.org").unwrap();
            let bonds = [Bond::None, Bond::To, Bond::From, Bond::Both];
            rows.into_iter()
                .filter(|(a, b, ..)| a != b)
                .map(|(a, b, bond, nick)| Entry {
                    account: aor(a),
                    user: aor(b),
                    bond: bonds[bond],
                    nick,
                    groups: Vec::new(),
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn done_once_there_is_nothing_left_to_do(is in arb_entries(), wanted in arb_entries()) {
            let mut now: BTreeMap<(String, String), Entry> = BTreeMap::new();
            for entry in is {
                now.insert((entry.account.key(), entry.user.key()), entry);
            }
            let list = |now: &BTreeMap<_, Entry>| now.values().cloned().collect::<Vec<_>>();
            for step in plan(&list(&now), &wanted) {
                match step {
                    Step::Add(entry) | Step::Change(entry) => {
                        now.insert((entry.account.key(), entry.user.key()), entry);
                    }
                    Step::Remove { account, user } => {
                        now.remove(&(account.key(), user.key()));
                    }
                }
            }
            prop_assert_eq!(text(&plan(&list(&now), &wanted)), Vec::<String>::new());
            for entry in now.values() {
                let other = now.get(&(entry.user.key(), entry.account.key()));
                let other = other.map_or(Bond::None, |other| other.bond);
                prop_assert_eq!(other, mirrored(entry.bond));
            }
        }
    }
}
