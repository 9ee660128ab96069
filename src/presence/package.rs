//! The event packages served: their names, what their documents are called, how often they may speak.
//!
//! One row each. Prevents that a package is offered in one place and unknown in another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Package {
    /// RFC 3856
    Presence,
    /// RFC 3857
    Winfo,
    /// RFC 4575
    Conference,
    /// RFC 3842
    Summary,
}

/// What is fixed about a package.
pub struct Row {
    pub package: Package,
    /// As in Event.
    pub name: &'static str,
    /// Media type of its documents, taken for granted without Accept.
    pub media: &'static str,
    /// The shortest time between two NOTIFYs that the package allows (RFC 3856 §6.10, RFC 3857 §4.10, RFC 4575 §3.9,
    /// RFC 3842 §3.11).
    pub pace: Duration,
}

pub const PACKAGES: &[Row] = &[
    Row {
        package: Package::Presence,
        name: "presence",
        media: "application/pidf+xml",
        pace: Duration::from_secs(5),
    },
    Row {
        package: Package::Winfo,
        name: "presence.winfo",
        media: "application/watcherinfo+xml",
        pace: Duration::from_secs(5),
    },
    Row {
        package: Package::Conference,
        name: "conference",
        media: "application/conference-info+xml",
        pace: Duration::from_secs(5),
    },
    Row {
        package: Package::Summary,
        name: "message-summary",
        media: "application/simple-message-summary",
        pace: Duration::from_secs(1),
    },
];

/// Value of Allow-Events: all of them.
pub const ALLOW_EVENTS: &[&str] = &["presence", "presence.winfo", "conference", "message-summary"];

/// What a watcher of a list must take (RFC 4662 §4.5).
pub const LIST_MEDIA: [&str; 2] = ["multipart/related", "application/rlmi+xml"];

impl Package {
    pub fn row(self) -> &'static Row {
        &PACKAGES[self as usize]
    }

    /// Event types are compared byte by byte (RFC 6665 §8.2.1).
    pub fn of_name(name: &str) -> Option<Package> {
        PACKAGES.iter().find(|row| row.name == name).map(|row| row.package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_its_row_and_is_offered() {
        for (at, row) in PACKAGES.iter().enumerate() {
            assert_eq!(row.package as usize, at);
            assert_eq!(Package::of_name(row.name), Some(row.package));
            assert_eq!(ALLOW_EVENTS[at], row.name);
        }
        assert_eq!(Package::of_name("presence.winfo.winfo"), None);
        assert_eq!(Package::of_name("Presence"), None);
    }
}
