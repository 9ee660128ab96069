//! `#buddies`, `#buddy`, `#status`: how they are typed, and what is said of them.
//!
//! They concern the sender, wherever they are sent. Prevents that an answer shows whether somebody was asked, or has
//! blocked the sender: whoever is added hears the same. Never decides who sees whom.

use super::address::Names;
use super::table::Verb;
use crate::presence::State;
use crate::presence::roster::{self, BUDDIES_MAX, Bond, Flags};
use crate::refusal::Refusal;
use crate::types::Aor;

/// What a person asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Buddies {
    List,
    Add(Aor, Option<String>),
    Accept(Aor),
    Refuse(Aor),
    Remove(Aor),
    /// The groups that he is in from now on.
    Group(Aor, Vec<String>),
    /// `None`: no nickname any more.
    Nick(Aor, Option<String>),
    /// What he has said of himself.
    Status,
    /// `None`: his phones say it again.
    SetStatus(Option<(State, String)>),
}

impl Buddies {
    pub fn verb(&self) -> Verb {
        match self {
            Buddies::List => Verb::Buddies,
            Buddies::Status | Buddies::SetStatus(_) => Verb::Status,
            _ => Verb::Buddy,
        }
    }

    pub fn user_mut(&mut self) -> Option<&mut Aor> {
        match self {
            Buddies::Add(user, _)
            | Buddies::Accept(user)
            | Buddies::Refuse(user)
            | Buddies::Remove(user)
            | Buddies::Group(user, _)
            | Buddies::Nick(user, _) => Some(user),
            Buddies::List | Buddies::Status | Buddies::SetStatus(_) => None,
        }
    }

    /// Reads what follows the word.
    pub fn read(verb: Verb, typed: &str, names: &Names<'_>) -> Result<Buddies, Refusal> {
        match verb {
            Verb::Buddy => buddy(typed, names),
            Verb::Status => status(typed),
            _ => Ok(Buddies::List),
        }
    }
}

fn buddy(typed: &str, names: &Names<'_>) -> Result<Buddies, Refusal> {
    let (deed, rest) = word(typed);
    let (user, rest) = word(rest);
    let is = |name: &str| deed.eq_ignore_ascii_case(name);
    if !["add", "accept", "refuse", "remove", "group", "nick"].iter().any(|name| is(name)) {
        return Err(Refusal::MALFORMED);
    }
    let user = names.read(user).ok_or(Refusal::NEED_USER)?;
    Ok(match () {
        () if is("add") => Buddies::Add(user, roster::name(unquoted(rest))),
        () if is("accept") => Buddies::Accept(user),
        () if is("refuse") => Buddies::Refuse(user),
        () if is("remove") => Buddies::Remove(user),
        () if is("group") => Buddies::Group(user, roster::groups(words(rest))),
        () => Buddies::Nick(user, roster::name(unquoted(rest))),
    })
}

fn status(typed: &str) -> Result<Buddies, Refusal> {
    let (state, note) = word(typed);
    match state {
        "" => Ok(Buddies::Status),
        auto if auto.eq_ignore_ascii_case("auto") => Ok(Buddies::SetStatus(None)),
        state => {
            let state = State::of_word(state).ok_or(Refusal::MALFORMED)?;
            Ok(Buddies::SetStatus(Some((state, roster::note(unquoted(note))))))
        }
    }
}

/// The first word and the rest.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// Words, or several of them in quotes.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split('"').enumerate();
    pieces.flat_map(|(at, piece)| -> Box<dyn Iterator<Item = &str>> {
        if at % 2 == 1 { Box::new(std::iter::once(piece)) } else { Box::new(piece.split_whitespace()) }
    })
}

/// One line of the list.
pub struct Line<'a> {
    pub contact: &'a Aor,
    pub nick: Option<&'a str>,
    pub groups: &'a [String],
    pub bond: Bond,
    /// How he is, if that may be seen.
    pub state: Option<State>,
}

/// `#buddies`: all of them, and who waits for an answer.
pub fn list(lines: &[Line<'_>], asking: &[Aor], start: &str) -> String {
    let mut text = match lines {
        [] => format!("*** You have no buddies. Send {start}buddy add <user_name> to have one."),
        _ => String::from("Your buddies:"),
    };
    for line in lines {
        text.push('\n');
        match line.nick {
            Some(nick) => text.push_str(&format!("{nick} <{}>", line.contact)),
            None => text.push_str(line.contact.as_str()),
        }
        if !line.groups.is_empty() {
            text.push_str(&format!(" [{}]", line.groups.join(", ")));
        }
        text.push_str(&format!(" - {}", line.bond.word()));
        if let Some(state) = line.state {
            text.push_str(&format!(", {}", state.word()));
        }
    }
    if !asking.is_empty() {
        text.push_str("\nThey ask to see when you are there:");
    }
    for who in asking {
        text.push_str(&format!("\n{who}"));
    }
    text
}

/// To the one who is asked.
pub fn question(asker: &Aor, start: &str) -> String {
    format!(
        "*** {asker} asks to see when you are there. Send {start}buddy accept {asker} or {start}buddy refuse {asker}."
    )
}

/// To the asker.
pub fn accepted(by: &Aor) -> String {
    format!("*** {by} lets you see when {} is there", by.user())
}

/// To the asker.
pub fn declined(by: &Aor) -> String {
    format!("*** {by} does not let you see when {} is there", by.user())
}

/// What became of `#buddy add` or `#buddy accept`; `mine`: what the sender is to him now. Whether he was asked is not
/// said: it would show who has blocked whom.
pub fn related(whom: &Aor, mine: Flags, start: &str) -> String {
    match Bond::of(mine) {
        Bond::Both => format!("*** You and {whom} see each other"),
        Bond::From if mine.has(Flags::WANTS) => added(whom),
        Bond::From => {
            format!("*** {whom} sees now when you are there. Send {start}buddy add {whom} to see {whom} too.")
        }
        Bond::To => format!("*** You see when {whom} is there"),
        _ => added(whom),
    }
}

fn added(whom: &Aor) -> String {
    format!("*** {whom} is one of your buddies. You see each other as soon as {whom} agrees.")
}

/// Where everybody sees everybody.
pub fn listed(whom: &Aor) -> String {
    format!("*** {whom} is one of your buddies")
}

pub fn refused(whom: &Aor) -> String {
    format!("*** {whom} does not see when you are there")
}

pub fn has_not_asked(whom: &Aor) -> String {
    format!("*** {whom} has not asked to see when you are there")
}

pub fn removed(whom: &Aor) -> String {
    format!("*** {whom} is not one of your buddies any more")
}

pub fn no_such(whom: &Aor, start: &str) -> String {
    format!("*** {whom} is not one of your buddies. Send {start}buddies to see them.")
}

pub fn not_yourself() -> String {
    "*** You see yourself already".into()
}

pub fn full() -> String {
    format!("*** You have {BUDDIES_MAX} buddies. Remove somebody first.")
}

pub fn grouped(whom: &Aor, groups: &[String]) -> String {
    match groups {
        [] => format!("*** {whom} is in no group"),
        groups => format!("*** {whom} is in {}", groups.join(", ")),
    }
}

pub fn called(whom: &Aor, nick: Option<&str>) -> String {
    match nick {
        Some(nick) => format!("*** {whom} is called {nick} on your list"),
        None => format!("*** {whom} has no nickname on your list"),
    }
}

/// `#status`: what he says himself, and how he is shown.
pub fn status_is(said: Option<(State, &str)>, shown: Option<State>, start: &str) -> String {
    let mut text = match said {
        Some((state, note)) => {
            format!("*** You say that you are {}. Send {start}status auto to end it.", noted(state, note))
        }
        None => "*** Your phones say how you are".into(),
    };
    if let Some(shown) = shown {
        text.push_str(&format!("\nOthers see: {}", shown.word()));
    }
    text
}

pub fn status_set(said: Option<(State, &str)>) -> String {
    match said {
        Some((state, note)) => format!("*** Your status is now {}", noted(state, note)),
        None => "*** Your phones say again how you are".into(),
    }
}

fn noted(state: State, note: &str) -> String {
    if note.is_empty() { state.word().into() } else { format!("{} ({note})", state.word()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(verb: Verb, typed: &str) -> Result<Buddies, Refusal> {
        let addressed = Aor::parse("chat-manager@example.org").unwrap();
        Buddies::read(verb, typed, &Names { addressed: &addressed, canonical: &|_| None })
    }

    fn bob() -> Aor {
        Aor::parse("bob@example.org").unwrap()
    }

    #[test]
    fn buddies_are_named_grouped_and_answered() {
        let groups = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        for (typed, wanted) in [
            (" add bob", Buddies::Add(bob(), None)),
            (
                " ADD sip:bob@example.org  Bobby the\tgreat ",
                Buddies::Add(bob(), Some("Bobby the\tgreat".replace('\t', ""))),
            ),
            (" add bob \"Bobby\"", Buddies::Add(bob(), Some("Bobby".into()))),
            (" accept bob", Buddies::Accept(bob())),
            (" refuse bob and more", Buddies::Refuse(bob())),
            ("\tremove\tbob", Buddies::Remove(bob())),
            (" group bob", Buddies::Group(bob(), vec![])),
            (
                " group bob work \"my friends\",home",
                Buddies::Group(bob(), groups(&["work", "my friends", "home"])),
            ),
            (" nick bob", Buddies::Nick(bob(), None)),
            (" nick bob \u{202e}B\u{0}ob", Buddies::Nick(bob(), Some("Bob".into()))),
        ] {
            assert_eq!(read(Verb::Buddy, typed), Ok(wanted), "{typed}");
        }
        assert_eq!(read(Verb::Buddy, ""), Err(Refusal::MALFORMED));
        assert_eq!(read(Verb::Buddy, " bob"), Err(Refusal::MALFORMED));
        assert_eq!(read(Verb::Buddy, " add"), Err(Refusal::NEED_USER));
        assert_eq!(read(Verb::Buddy, " add <bob"), Err(Refusal::NEED_USER));
        assert_eq!(read(Verb::Buddies, " whatever"), Ok(Buddies::List));
    }

    #[test]
    fn a_status_is_one_of_the_six_with_a_note_in_quotes_or_without() {
        let set = |state, note: &str| Ok(Buddies::SetStatus(Some((state, note.into()))));
        assert_eq!(read(Verb::Status, ""), Ok(Buddies::Status));
        assert_eq!(read(Verb::Status, " AUTO"), Ok(Buddies::SetStatus(None)));
        assert_eq!(read(Verb::Status, " away \"lunch\""), set(State::Away, "lunch"));
        assert_eq!(read(Verb::Status, " On-The-Phone  with bob "), set(State::OnThePhone, "with bob"));
        assert_eq!(read(Verb::Status, " busy"), set(State::Busy, ""));
        assert_eq!(read(Verb::Status, " asleep"), Err(Refusal::MALFORMED));
    }

    #[test]
    fn the_list_shows_names_groups_and_states() {
        let (bob, carol) = (bob(), Aor::parse("carol@example.org").unwrap());
        let groups = ["work".to_owned(), "home".to_owned()];
        let lines = [
            Line {
                contact: &bob,
                nick: Some("Bobby"),
                groups: &groups,
                bond: Bond::Both,
                state: Some(State::Away),
            },
            Line { contact: &carol, nick: None, groups: &[], bond: Bond::Asked, state: None },
        ];
        assert_eq!(
            list(&lines, std::slice::from_ref(&carol), "#"),
            "Your buddies:\nBobby <bob@example.org> [work, home] - both, away\ncarol@example.org - asked\n\
             They ask to see when you are there:\ncarol@example.org"
        );
        assert_eq!(list(&[], &[], "!"), "*** You have no buddies. Send !buddy add <user_name> to have one.");
    }

    proptest! {
        #[test]
        fn nothing_typed_is_kept_longer_than_it_may_be_or_with_controls(typed in ".{0,400}") {
            let buddy = |line: String| read(Verb::Buddy, &line);
            let mut names = Vec::new();
            if let Ok(Buddies::Nick(_, Some(nick))) = buddy(format!(" nick bob {typed}")) {
                names.push(nick);
            }
            if let Ok(Buddies::Group(_, groups)) = buddy(format!(" group bob {typed}")) {
                prop_assert!(groups.len() <= roster::GROUPS_MAX);
                prop_assert!(!groups.iter().any(|group| group.contains(',')));
                names.extend(groups);
            }
            for name in names {
                prop_assert!(!name.is_empty() && name.chars().count() <= roster::NAME_MAX);
                prop_assert!(!name.chars().any(char::is_control));
            }
            match read(Verb::Status, &format!(" away {typed}")) {
                Ok(Buddies::SetStatus(Some((State::Away, note)))) => {
                    prop_assert!(note.chars().count() <= roster::NOTE_MAX);
                    prop_assert!(!note.chars().any(char::is_control));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let _ = (buddy(typed.clone()), read(Verb::Status, &typed));
        }
    }
}
