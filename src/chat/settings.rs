//! What a person decides for himself: who may write to him, whether messages wait for him, what is kept.
//!
//! One row for each setting. Prevents that a setting is understood in one place and listed, explained or stored
//! differently in another. Never asks who somebody is: see [`crate::service::person`].

/// Who may write to a person, besides himself and his confirmed buddies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Accept {
    #[default]
    Everybody,
    /// Accounts of this server.
    Authenticated,
    /// Senders of his own domain.
    SameDomain,
    Nobody,
}

/// The settings of one person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    pub accept: Accept,
    /// Direct messages wait for him while none of his phones takes them.
    pub offline: bool,
    /// What he wrote and got can be read again.
    pub archive: bool,
    /// Who may see him sees when he was last there.
    pub lastseen: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { accept: Accept::Everybody, offline: true, archive: true, lastseen: false }
    }
}

/// One setting: its name, its values, what it means.
pub struct Key {
    pub name: &'static str,
    pub values: &'static [&'static str],
    pub help: &'static str,
    /// Place of the present value in `values`.
    get: fn(&Settings) -> usize,
    set: fn(&mut Settings, usize),
}

const ACCEPT: [Accept; 4] = [Accept::Everybody, Accept::Authenticated, Accept::SameDomain, Accept::Nobody];

/// In the order in which they are listed.
pub const KEYS: &[Key] = &[
    Key {
        name: "accept",
        values: &["everybody", "authenticated", "same-domain", "nobody"],
        help: "who may write to you; authenticated: users of this server",
        get: |s| ACCEPT.iter().position(|accept| *accept == s.accept).unwrap_or(0),
        set: |s, at| s.accept = ACCEPT[at],
    },
    Key {
        name: "offline",
        values: &["on", "off"],
        help: "messages wait while none of your phones takes them",
        get: |s| usize::from(!s.offline),
        set: |s, at| s.offline = at == 0,
    },
    Key {
        name: "archive",
        values: &["on", "off"],
        help: "what you wrote and got is kept for you to read again",
        get: |s| usize::from(!s.archive),
        set: |s, at| s.archive = at == 0,
    },
    Key {
        name: "lastseen",
        values: &["off", "on"],
        help: "others may see when you were last there",
        get: |s| usize::from(s.lastseen),
        set: |s, at| s.lastseen = at == 1,
    },
];

/// Why a setting was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSuch {
    Key,
    /// The key is this one; it has no such value.
    Value(&'static str, &'static [&'static str]),
}

/// A key and a value that exist, as they are stored.
pub type Change = (&'static str, &'static str);

/// Finds what was typed, in any case.
pub fn change(key: &str, value: &str) -> Result<Change, NoSuch> {
    let key = KEYS.iter().find(|known| known.name.eq_ignore_ascii_case(key)).ok_or(NoSuch::Key)?;
    let value = key.values.iter().find(|known| known.eq_ignore_ascii_case(value));
    value.map(|value| (key.name, *value)).ok_or(NoSuch::Value(key.name, key.values))
}

impl Settings {
    /// Takes one stored pair. One that this version does not know changes nothing.
    pub fn put(&mut self, key: &str, value: &str) {
        let Some(key) = KEYS.iter().find(|known| known.name == key) else { return };
        if let Some(at) = key.values.iter().position(|known| *known == value) {
            (key.set)(self, at);
        }
    }

    /// The present value of a key.
    pub fn value(&self, key: &Key) -> &'static str {
        key.values[(key.get)(self)]
    }

    /// All of them, a line each, for people.
    pub fn lines(&self) -> String {
        let mut text = String::from("Your settings:");
        for key in KEYS {
            text.push_str(&format!(
                "\n{} {} - {} ({})",
                key.name,
                self.value(key),
                key.help,
                either(key.values)
            ));
        }
        text
    }
}

/// `a, b or c`.
pub fn either(values: &[&str]) -> String {
    match values {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_every_key_is_stored_and_read_back() {
        for key in KEYS {
            assert_eq!(Settings::default().value(key), key.values[0], "the first value is the default");
            for value in key.values {
                let mut settings = Settings::default();
                let (name, stored) = change(&key.name.to_uppercase(), &value.to_uppercase()).unwrap();
                settings.put(name, stored);
                assert_eq!(settings.value(key), *value);
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_said_precisely() {
        assert_eq!(change("colour", "red"), Err(NoSuch::Key));
        assert!(matches!(change("offline", "maybe"), Err(NoSuch::Value("offline", _))));
        let mut settings = Settings::default();
        settings.put("colour", "red");
        settings.put("offline", "maybe");
        assert_eq!(settings, Settings::default());
        assert_eq!(either(KEYS[0].values), "everybody, authenticated, same-domain or nobody");
    }
}
