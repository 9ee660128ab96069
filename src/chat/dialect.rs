//! What a room says: the texts of the two dialects.
//!
//! Prevents that scripts and users who know a peer's words meet others: the texts are those of Kamailio's and
//! OpenSER's imc modules, byte for byte, with their plain mistakes put right (spec §4). Texts that a dialect does
//! not have are Kamailio's, else our own. Never decides when a text is said.

use super::command::{COMMANDS, Right, Row, row};
use super::room::Role;
use super::split::{PART_BYTES, parts};
pub use crate::config::Dialect;
use crate::types::{Aor, Room};

/// Longest word of a user that is shown back to him, in characters.
const SHOWN: usize = 32;

/// What a user typed, fit to be shown in a text of ours: no control or direction characters, bounded.
pub fn clean(typed: &str) -> String {
    let mut shown: String = typed.chars().filter(|c| !is_hidden(*c)).take(SHOWN + 1).collect();
    if let Some((at, _)) = shown.char_indices().nth(SHOWN) {
        shown.truncate(at);
        shown.push('…');
    }
    shown
}

/// The same for what is kept, without a mark where it was cut: at most `most` characters.
pub fn clean_to(typed: &str, most: usize) -> String {
    typed.chars().filter(|c| !is_hidden(*c)).take(most).collect()
}

/// Controls, and characters that turn the direction of all that follows.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What stands before the text of a post (spec §4): `[alice]: `, or `<alice@example.org>: `.
/// An author of another domain than the room's is named with his domain in both.
pub fn author_prefix(dialect: Dialect, author: &Aor, room: &Aor) -> String {
    match dialect {
        Dialect::Kamailio => format!("[{}]: ", short(author, room)),
        Dialect::Openser => format!("<{author}>: "),
    }
}

fn short<'a>(who: &'a Aor, room: &Aor) -> &'a str {
    if who.host().eq_ignore_ascii_case(room.host()) { who.user() } else { who.as_str() }
}

fn about_rooms() -> impl Iterator<Item = &'static Row> {
    COMMANDS.iter().filter(|row| row.right != Right::Oneself)
}

/// A room that speaks. Every text is complete, with the dialect's punctuation and without a trailing line feed
/// unless the dialect has one.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    pub dialect: Dialect,
    /// The command character.
    pub start: &'a str,
    /// Names of its domain are shown short.
    pub room: &'a Aor,
}

impl Voice<'_> {
    fn name(&self, who: &Aor) -> String {
        format!("[{}]", short(who, self.room))
    }

    fn either(&self, kamailio: String, openser: String) -> String {
        match self.dialect {
            Dialect::Kamailio => kamailio,
            Dialect::Openser => openser,
        }
    }

    // Notices: what the members hear.

    pub fn joined(&self, who: &Aor) -> String {
        self.either(
            format!("*** {} has joined the room", self.name(who)),
            format!("*** <{}> has joined the room", who.uri()),
        )
    }

    pub fn attempted(&self, who: &Aor) -> String {
        self.either(
            format!("*** {} attempted to join the room", self.name(who)),
            format!("*** <{who}> attempted to join the room"),
        )
    }

    /// Also after a removal, where OpenSER says "has joined" by mistake.
    pub fn left(&self, who: &Aor) -> String {
        self.either(
            format!("*** {} has left the room", self.name(who)),
            format!("The user {} has left the room", self.name(who)),
        )
    }

    pub fn destroyed(&self) -> String {
        self.either("*** Room has been destroyed".into(), "The room has been destroyed".into())
    }

    pub fn role_given(&self, who: &Aor, role: Role) -> String {
        format!("*** {} is now {}", who.uri(), role.word())
    }

    /// No peer has titles.
    pub fn titled(&self, title: &str) -> String {
        format!("*** The room is now called {title}")
    }

    /// No peer changes it after the room was made.
    pub fn closed(&self, private: bool) -> String {
        format!("*** The room is now {}", if private { "private" } else { "public" })
    }

    // What one person hears, wherever he is.

    /// OpenSER names the invited by mistake; it is the inviter that is meant.
    pub fn invitation(&self, inviter: &Aor) -> String {
        let start = self.start;
        self.either(
            format!(
                "*** {} invites you to join the room (send '{start}accept' or '{start}reject')",
                self.name(inviter)
            ),
            format!("INVITE from: {inviter}(Type: '{start}accept' or '{start}deny')"),
        )
    }

    pub fn removed_you(&self) -> String {
        self.either(
            "*** You have been removed from the room".into(),
            "You have been removed from this room".into(),
        )
    }

    pub fn declined(&self, who: &Aor) -> String {
        format!("*** {} declined the invitation", self.name(who))
    }

    pub fn could_not_invite(&self, who: &Aor) -> String {
        format!("*** {} could not be invited", self.name(who))
    }

    // Answers to who asked.

    pub fn created(&self) -> String {
        self.either("*** Room was created".into(), "*** room was created".into())
    }

    pub fn exists(&self) -> String {
        "*** Room already exists".into()
    }

    pub fn exists_private(&self) -> String {
        "*** A private room with the same name already exists".into()
    }

    pub fn exists_yours(&self) -> String {
        "*** Room already exists and you are a member".into()
    }

    pub fn not_found(&self) -> String {
        "*** Room not found".into()
    }

    /// To a member who joins again. OpenSER tells everybody once more that he joined; here he alone hears it.
    pub fn already_in(&self, who: &Aor) -> String {
        self.either("*** You are in the room already".into(), self.joined(who))
    }

    pub fn invited(&self, who: &Aor) -> String {
        format!("*** {} has been invited", self.name(who))
    }

    pub fn uninvited(&self, who: &Aor) -> String {
        format!("*** {} is not invited any more", self.name(who))
    }

    // Refusals in words.

    pub fn by_invitation_only(&self) -> String {
        "*** Private rooms are by invitation only. Room owners have been notified.".into()
    }

    pub fn owner_stays(&self) -> String {
        let start = self.start;
        format!(
            "*** You are the room's owner and cannot leave. Use {start}destroy if you wish to destroy the room."
        )
    }

    pub fn not_a_member(&self) -> String {
        format!("*** You are not a member of this room. Send {}join to join it.", self.start)
    }

    pub fn only_invited(&self) -> String {
        let start = self.start;
        self.either(
            format!("*** You are only invited to this room. Send {start}accept or {start}reject."),
            format!("*** You are only invited to this room. Send {start}accept or {start}deny."),
        )
    }

    pub fn no_invitation(&self) -> String {
        "*** You have no invitation to this room".into()
    }

    pub fn no_permission(&self, deed: &str) -> String {
        format!("*** You don't have the permission to {deed}")
    }

    pub fn is_in_already(&self, who: &Aor) -> String {
        format!("*** {} is in the room already", self.name(who))
    }

    pub fn no_such_member(&self, who: &Aor) -> String {
        format!("*** {} is not a member of this room", self.name(who))
    }

    pub fn could_not_add(&self, who: &Aor) -> String {
        format!("*** {} could not be added", self.name(who))
    }

    pub fn owner_is_safe(&self, who: &Aor) -> String {
        format!("*** {} is the room's owner", self.name(who))
    }

    pub fn hand_over_first(&self) -> String {
        format!(
            "*** You are the room's owner. Hand the room over first: {}modify <user_name> owner",
            self.start
        )
    }

    pub fn full(&self) -> String {
        "*** This room is full".into()
    }

    pub fn name_taken(&self) -> String {
        "*** This name belongs to a user. Choose another one.".into()
    }

    pub fn domain_not_served(&self) -> String {
        "*** There can be no rooms in this domain".into()
    }

    pub fn usage(&self, row: &Row) -> String {
        let blank = if row.usage.is_empty() { "" } else { " " };
        format!("*** Usage: {}{}{blank}{}", self.start, row.words[0], row.usage)
    }

    /// `word` is clean. OpenSIPS has one quote too many in it; it is not kept.
    pub fn invalid_command(&self, word: &str) -> String {
        let start = self.start;
        self.either(
            format!("*** Invalid command '{word}' (send '{start}help' for help)"),
            format!("invalid command '{word}' - send '{start}help' for details"),
        )
    }

    // Lists and help.

    /// Who belongs to the room; long lists in numbered parts.
    pub fn members(&self, room: &Room) -> Vec<String> {
        let mut text = String::from("Members:");
        for member in room.listed() {
            text.push('\n');
            text.push_str(match member.role() {
                Role::Owner => "*",
                Role::Admin => "~",
                _ => "",
            });
            text.push_str(&self.either(self.name(&member.who), member.who.uri()));
        }
        parts(&text, PART_BYTES)
    }

    /// The rooms that somebody may see; long lists in numbered parts.
    pub fn rooms<'r>(&self, rooms: impl IntoIterator<Item = &'r Aor>) -> Vec<String> {
        let mut text = String::from("Rooms:");
        for room in rooms {
            text.push('\n');
            text.push_str(&self.name(room));
        }
        parts(&text, PART_BYTES)
    }

    /// The help about rooms: the dialect's lines, then those of the commands that this project adds. It fits into a
    /// datagram whole, so that it comes as the peers send it.
    pub fn help(&self) -> String {
        let mut text = String::from("\r\n");
        let theirs = |row: &Row| match self.dialect {
            Dialect::Kamailio => row.kamailio,
            Dialect::Openser => row.openser,
        };
        let lines = COMMANDS.iter().map(theirs).chain(about_rooms().map(|row| row.added));
        for line in lines.filter(|line| !line.is_empty()) {
            text.push_str(self.start);
            text.push_str(line);
            text.push_str("\r\n");
        }
        text
    }

    /// The help about what a person does for himself; in numbered parts when it is long.
    pub fn help_for_oneself(&self) -> Vec<String> {
        let mut text = String::from("For yourself:");
        for row in COMMANDS.iter().filter(|row| row.right == Right::Oneself) {
            text.push('\n');
            text.push_str(self.start);
            text.push_str(row.added);
        }
        parts(&text, PART_BYTES)
    }

    /// The line of one command.
    pub fn help_about(&self, verb: super::command::Verb) -> String {
        format!("{}{}", self.start, row(verb).line(self.dialect == Dialect::Openser))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::command::Verb;
    use crate::types::{ConvId, Member};

    fn aor(text: &str) -> Aor {
        Aor::parse(text).unwrap()
    }

    fn voice(dialect: Dialect, room: &Aor) -> Voice<'_> {
        Voice { dialect, start: "#", room }
    }

    #[test]
    fn the_help_is_that_of_kamailio_and_a_line_of_ours() {
        let room = aor("team@ex.org");
        let help = voice(Dialect::Kamailio, &room).help();
        let wanted = "\r\n\
            #create <room_name> - create new conference room\r\n\
            #join [<room_name>] - join the conference room\r\n\
            #invite <user_name> [<room_name>] - invite a user to join a conference room\r\n\
            #add <user_name> [<room_name>] - add a user to a conference room\r\n\
            #modify <user_name> <role> [<room_name>] - modify user role in a conference room\r\n\
            #accept - accept invitation to join a conference room\r\n\
            #reject - reject invitation to join a conference room\r\n\
            #remove <user_name> [<room_name>] - remove a user from the conference room\r\n\
            #members - list members is a conference room\r\n\
            #rooms - list existing conference rooms\r\n\
            #leave [<room_name>] - leave from a conference room\r\n\
            #destroy [<room_name>] - destroy conference room\r\n";
        assert_eq!(wanted.len(), 701);
        let ours = help.strip_prefix(wanted).expect("the help begins with Kamailio's");
        assert_eq!(ours, "#history [<n>] [<room_name>|with <user_name>] - show the last messages\r\n");
    }

    #[test]
    fn the_help_is_that_of_openser_and_a_line_of_ours() {
        let room = aor("team@ex.org");
        let help = voice(Dialect::Openser, &room).help();
        let wanted = "\r\n\
            #create <room_name> - create new conference room\r\n\
            #join [<room_name>] - join the conference room\r\n\
            #invite <user_name> [<room_name>] - invite a user to join a conference room\r\n\
            #accept - accept invitation to join a conference room\r\n\
            #deny - deny invitation to join a conference room\r\n\
            #remove <user_name> [<room_name>] - remove an user from the conference room\r\n\
            #list - list members is a conference room\r\n\
            #exit [<room_name>] - exit from a conference room\r\n\
            #destroy [<room_name>] - destroy conference room\r\n\
            #history [<n>] [<room_name>|with <user_name>] - show the last messages\r\n";
        assert_eq!(help, wanted);
    }

    #[test]
    fn help_shows_the_command_character_that_is_in_use() {
        let room = aor("team@ex.org");
        let voice = Voice { dialect: Dialect::Kamailio, start: "!", room: &room };
        assert!(!voice.help().contains('#'));
        assert_eq!(voice.help_about(Verb::Leave), "!leave [<room_name>] - leave from a conference room");
        assert_eq!(voice.usage(row(Verb::Rooms)), "*** Usage: !rooms");
    }

    #[test]
    fn every_command_has_a_help_line_in_both_dialects() {
        let room = aor("team@ex.org");
        for dialect in [Dialect::Kamailio, Dialect::Openser] {
            for row in COMMANDS {
                let line = voice(dialect, &room).help_about(row.verb);
                assert!(line.starts_with('#') && line.contains(" - "), "{line}");
            }
        }
        assert_eq!(
            voice(Dialect::Openser, &room).help_about(Verb::Leave),
            "#exit [<room_name>] - exit from a conference room"
        );
    }

    #[test]
    fn an_author_of_another_domain_is_named_with_it() {
        let room = aor("team@ex.org");
        let prefix = |dialect, who: &str| author_prefix(dialect, &aor(who), &room);
        assert_eq!(prefix(Dialect::Kamailio, "alice@EX.org"), "[alice]: ");
        assert_eq!(prefix(Dialect::Kamailio, "alice@other.net"), "[alice@other.net]: ");
        assert_eq!(prefix(Dialect::Openser, "alice@ex.org"), "<alice@ex.org>: ");
        assert_eq!(prefix(Dialect::Openser, "alice@other.net"), "<alice@other.net>: ");
    }

    #[test]
    fn what_a_user_typed_is_shown_clean_and_bounded() {
        assert_eq!(clean("a\r\nb\u{202e}c\u{0}"), "abc");
        assert_eq!(clean(&"x".repeat(32)).chars().count(), 32);
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), 33);
    }

    #[test]
    fn a_list_of_ten_thousand_comes_in_parts_and_whole() {
        let mut room = Room::new(aor("team@ex.org"), ConvId(1), false);
        for i in 0..10_000 {
            room.members.push(Member {
                who: aor(&format!("u{i}@ex.org")),
                flags: u8::from(i == 0),
                invited: None,
            });
        }
        let address = room.address.clone();
        let all = voice(Dialect::Kamailio, &address).members(&room);
        assert!(all.iter().all(|part| part.len() <= PART_BYTES));
        assert!(all[0].starts_with(&format!("(1/{}) Members:\n*[u0]\n[u9999]", all.len())));
        let lines: usize = all.iter().map(|part| part.matches("[u").count()).sum();
        assert_eq!(lines, 10_000);
    }
}
