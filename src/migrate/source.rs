//! Where a migration reads from, as the administrator writes it.
//!
//! Prevents that a relative path means another file to him than to the daemon. Never looks whether it is there.

use std::fmt;

/// Bytes of a whole source.
const SOURCE_MAX: usize = 4096;

/// What holds the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A file of SQLite.
    Sqlite,
    /// A directory of the db_text module.
    Text,
    /// A file of SQL, as mysqldump and pg_dump write it.
    Dump,
}

impl Holder {
    const ALL: [(Holder, &'static str); 3] =
        [(Holder::Sqlite, "sqlite"), (Holder::Text, "text"), (Holder::Dump, "dump")];
}

/// `sqlite:/var/lib/kamailio.db`, `text:///etc/kamailio/dbtext`, `dump:/tmp/kamailio.sql`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub holder: Holder,
    /// Absolute.
    pub path: String,
}

impl Source {
    /// Reads `KIND:PATH` or `KIND://PATH`; a relative path is `None`, as is a `KIND` that nobody has heard of.
    pub fn parse(text: &str) -> Option<Source> {
        let (holder, path) = Source::split(text)?;
        path.starts_with('/').then(|| Source { holder, path: path.to_owned() })
    }

    /// The same with a path that may be relative yet. `sqlite:///x` and `sqlite:/x` are one file.
    pub fn split(text: &str) -> Option<(Holder, &str)> {
        let (kind, path) = text.split_once(':')?;
        let (holder, _) = Holder::ALL.into_iter().find(|(_, name)| kind.eq_ignore_ascii_case(name))?;
        let path = path.strip_prefix("//").unwrap_or(path);
        (!path.is_empty() && text.len() <= SOURCE_MAX && !path.contains('\0')).then_some((holder, path))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = Holder::ALL.iter().find(|(holder, _)| *holder == self.holder).map_or("", |(_, name)| name);
        write!(f, "{kind}:{}", self.path)
    }
}
