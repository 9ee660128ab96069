//! What somebody may have meant who named a thing that is not there.
//!
//! Prevents a second look at the list for a letter mistyped. Never acts on a guess.

use serde_json::{Value, json};
use strsim::osa_distance;

use super::call::Daemon;
use super::show::{either, harmless};

/// How a refusal begins, which list knows better, and the column of names in it.
const LISTS: &[(&str, &str, &str)] = &[
    ("no room ", "room.list", "room"),
    ("no account ", "account.list", "account"),
    ("no user ", "account.list", "account"),
    ("no statistic ", "server.stats", "name"),
];
/// Guesses that are told.
const MOST: usize = 3;

/// A refusal, and if something like it is there, what. The daemon is asked for its lists.
pub fn helped(refusal: String, daemon: &mut Daemon) -> String {
    let known = LISTS
        .iter()
        .find_map(|(start, method, column)| Some((refusal.strip_prefix(start)?.to_owned(), method, column)));
    let Some((wanted, method, column)) = known else { return refusal };
    // Whoever cannot be asked has no better idea.
    let Ok(Value::Array(rows)) = daemon.call(method, json!({})) else { return refusal };
    let names: Vec<&str> = rows.iter().filter_map(|row| row[*column].as_str()).collect();
    let near = nearest(&wanted, &names);
    let near: Vec<&str> = near.iter().map(String::as_str).collect();
    match near.as_slice() {
        [] => refusal,
        near => format!("{refusal}; did you mean {}?", either(near)),
    }
}

/// The names that are most like `wanted`, nearest first; those of its own domain without it.
fn nearest(wanted: &str, names: &[&str]) -> Vec<String> {
    let parts = |name: &str| -> (String, String) {
        let name = name.to_lowercase();
        let (user, domain) = name.split_once('@').unwrap_or((&name, ""));
        (user.to_owned(), domain.to_owned())
    };
    let (user, domain) = parts(wanted);
    let mut near: Vec<(usize, String)> = Vec::new();
    for name in names {
        let (its_user, its_domain) = parts(name);
        let far = osa_distance(&user, &its_user);
        // A letter in four may be wrong; or the rest was left out.
        let part = user.chars().count() >= 3 && its_user.starts_with(&user);
        let elsewhere = usize::from(domain != its_domain);
        if part || far <= (user.chars().count() + 1) / 4 {
            let short = if elsewhere == 0 { name.split('@').next().unwrap_or(name) } else { name };
            near.push((2 * far + elsewhere, harmless(short)));
        }
    }
    near.sort();
    near.into_iter().map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_far_ones_not_at_all() {
        let rooms = ["teams@example.org", "kitchen@example.org", "Team@example.net", "tea@example.org"];
        assert_eq!(nearest("team@example.org", &rooms), ["Team@example.net", "tea", "teams"]);
        assert_eq!(nearest("kitch@example.org", &rooms), ["kitchen"]);
        assert_eq!(nearest("kicthen@example.org", &rooms), ["kitchen"]);
        assert_eq!(nearest("garden@example.org", &rooms), [""; 0]);
        assert_eq!(nearest("al@example.org", &["bo@example.org"]), [""; 0]);
        assert_eq!(nearest("", &rooms), [""; 0]);
        let many: Vec<String> = (0..50).map(|n| format!("room{n}@example.org")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(nearest("rooms@example.org", &many).len(), MOST);
        assert_eq!(nearest("active_room", &["active_rooms", "accepted"]), ["active_rooms"]);
    }
}
