//! How a body is read: a post, or a command with its arguments.
//!
//! Prevents that a post is taken for a command or the other way round, and that an address is left half said: what
//! comes out is complete. The words are rows of [`super::table`]. Never decides; see [`crate::chat::decide`].

use nom::bytes::complete::{take_till, take_till1, take_while, take_while1};
use nom::multi::many_m_n;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::address::Names;
use super::buddies::Buddies;
use super::dialect::clean;
use super::personal::Personal;
use super::recall::Recall;
use super::reminder::Reminder;
use super::room::Role;
use super::search::WORDS_MAX;
use super::table::find;
pub use super::table::{Args, COMMANDS, Right, Row, Verb, row};
use crate::refusal::Refusal;
use crate::types::Aor;

/// Arguments that are read; further ones are ignored, as in all imc modules.
const ARGS_MAX: usize = WORDS_MAX;
/// Posts that `#history` shows without a number, and at most (spec §4).
pub const HISTORY_DEFAULT: u16 = 10;
pub const HISTORY_MAX: u16 = 100;

/// A command that was understood, its addresses complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The room it names; `None`: the one it was sent to.
    pub room: Option<Aor>,
    pub deed: Deed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    Create {
        private: bool,
    },
    Join,
    Invite(Aor),
    Add(Aor),
    Modify(Aor, Role),
    Accept,
    Reject,
    Remove(Aor),
    Members,
    Rooms,
    Leave,
    Destroy,
    /// How many posts, 1 to [`HISTORY_MAX`].
    History(u16),
    Help(Topic),
    /// About the sender himself, wherever it was sent.
    Personal(Personal),
    /// The same, about what was said.
    Recall(Recall),
    /// About what is to be said later, wherever it was sent.
    Reminder(Reminder),
    /// About whom the sender sees and how he is, wherever it was sent.
    Buddies(Buddies),
}

/// What help is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topic {
    Everything,
    Of(Verb),
    /// No command. Cleaned, fit to be shown.
    Unknown(String),
}

impl Command {
    pub fn verb(&self) -> Verb {
        match &self.deed {
            Deed::Create { .. } => Verb::Create,
            Deed::Join => Verb::Join,
            Deed::Invite(_) => Verb::Invite,
            Deed::Add(_) => Verb::Add,
            Deed::Modify(..) => Verb::Modify,
            Deed::Accept => Verb::Accept,
            Deed::Reject => Verb::Reject,
            Deed::Remove(_) => Verb::Remove,
            Deed::Members => Verb::Members,
            Deed::Rooms => Verb::Rooms,
            Deed::Leave => Verb::Leave,
            Deed::Destroy => Verb::Destroy,
            Deed::History(_) => Verb::History,
            Deed::Help(_) => Verb::Help,
            Deed::Personal(personal) => personal.verb(),
            Deed::Recall(recall) => recall.verb(),
            Deed::Reminder(reminder) => reminder.verb(),
            Deed::Buddies(buddies) => buddies.verb(),
        }
    }

    /// The user it is about.
    pub fn user(&self) -> Option<&Aor> {
        match &self.deed {
            Deed::Invite(user) | Deed::Add(user) | Deed::Modify(user, _) | Deed::Remove(user) => Some(user),
            Deed::Personal(personal) => personal.user(),
            Deed::Recall(recall) => recall.user(),
            _ => None,
        }
    }
}

impl Deed {
    /// The user it is about, to be spelled as he is known.
    pub fn user_mut(&mut self) -> Option<&mut Aor> {
        match self {
            Deed::Invite(user) | Deed::Add(user) | Deed::Modify(user, _) | Deed::Remove(user) => Some(user),
            Deed::Personal(personal) => personal.user_mut(),
            Deed::Recall(recall) => recall.user_mut(),
            Deed::Reminder(reminder) => reminder.user_mut(),
            Deed::Buddies(buddies) => buddies.user_mut(),
            _ => None,
        }
    }
}

/// What a body is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed<'a> {
    /// To be said in the room; a doubled command character is undone.
    Post(&'a [u8]),
    Command(Command),
    /// A word that is no command. Cleaned, fit to be shown.
    Unknown(String),
    /// The command character alone.
    Empty,
    /// The word is known, its arguments are not.
    Malformed(Verb, Refusal),
}

/// The command character as text: the first of what is configured, `#` if nothing is.
pub fn start_char(configured: &str) -> &str {
    match configured.chars().next() {
        Some(c) => &configured[..c.len_utf8()],
        None => "#",
    }
}

/// Reads a text/plain body (spec §4). A command begins at byte 0 and ends with its first line.
pub fn parse<'a>(body: &'a [u8], start: &str, names: &Names<'_>) -> Parsed<'a> {
    let start = start_char(start).as_bytes();
    let Some(after) = body.strip_prefix(start) else { return Parsed::Post(body) };
    if after.starts_with(start) {
        return Parsed::Post(after);
    }
    let Ok((_, (word, args))) = line(after) else { return Parsed::Empty };
    if word.is_empty() {
        return Parsed::Empty;
    }
    let Some(row) = std::str::from_utf8(word).ok().and_then(find) else {
        return Parsed::Unknown(clean(&String::from_utf8_lossy(word)));
    };
    if matches!(row.args, Args::Reminder | Args::Buddies) {
        let typed = String::from_utf8_lossy(first_line(&after[word.len()..])).into_owned();
        let deed = match row.args {
            Args::Reminder => Reminder::read(&typed, names).map(Deed::Reminder),
            _ => Buddies::read(row.verb, &typed, names).map(Deed::Buddies),
        };
        return match deed {
            Ok(deed) => Parsed::Command(Command { room: None, deed }),
            Err(refusal) => Parsed::Malformed(row.verb, refusal),
        };
    }
    // Bytes that are no UTF-8 can not be part of an address, a role or a number either.
    let args: Vec<String> = args.into_iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    match arguments(row, &args, start, names) {
        Ok(command) => Parsed::Command(command),
        Err(refusal) => Parsed::Malformed(row.verb, refusal),
    }
}

/// A word and what follows it.
type Line<'a> = (&'a [u8], Vec<&'a [u8]>);

fn line(input: &[u8]) -> IResult<&[u8], Line<'_>> {
    let (rest, line) = take_till(|c| matches!(c, b'\r' | b'\n' | 0)).parse(input)?;
    let word = take_while(|c| !is_blank(c));
    let arg = preceded(take_while1(is_blank), take_till1(is_blank));
    let (_, found) = (word, many_m_n(0, ARGS_MAX, arg)).parse(line)?;
    Ok((rest, found))
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|c| matches!(c, b'\r' | b'\n' | 0)).next().unwrap_or_default()
}

fn is_blank(c: u8) -> bool {
    c == b' ' || c == b'\t'
}

fn arguments(row: &Row, args: &[String], start: &[u8], names: &Names<'_>) -> Result<Command, Refusal> {
    let arg = |i: usize| args.get(i).map(String::as_str);
    let room = |arg: Option<&str>| match arg {
        None => Ok(None),
        Some(typed) => names.read(typed).map(Some).ok_or(Refusal::NEED_ROOM),
    };
    let user = || arg(0).and_then(|typed| names.read(typed)).ok_or(Refusal::NEED_USER);
    let plain = |deed: Deed, room: Option<Aor>| Ok(Command { room, deed });
    match row.args {
        Args::None => plain(deed_of(row.verb)?, None),
        Args::Room => plain(deed_of(row.verb)?, room(arg(0))?),
        Args::NewRoom => {
            let is_private = |arg: Option<&str>| arg.is_some_and(|a| a.eq_ignore_ascii_case("private"));
            match (arg(0), arg(1)) {
                (first, None) if is_private(first) => plain(Deed::Create { private: true }, None),
                (first, None) => plain(Deed::Create { private: false }, room(first)?),
                (first, second) if is_private(second) => plain(Deed::Create { private: true }, room(first)?),
                _ => Err(Refusal::MALFORMED),
            }
        }
        Args::User => {
            let user = user()?;
            let deed = match row.verb {
                Verb::Add => Deed::Add(user),
                Verb::Remove => Deed::Remove(user),
                _ => Deed::Invite(user),
            };
            plain(deed, room(arg(1))?)
        }
        Args::UserRole => {
            let user = user()?;
            let role = arg(1).and_then(Role::named).ok_or(Refusal::MALFORMED)?;
            // Kamailio reads the room from the fourth argument, its manual says the third: the fourth is meant
            // by whoever writes one.
            plain(Deed::Modify(user, role), room(arg(3).or(arg(2)))?)
        }
        Args::Count => {
            let number = |arg: &str| arg.bytes().all(|c| c.is_ascii_digit()).then(|| arg.parse().ok());
            // A number too large to be read is larger than the most that is shown.
            let count = |typed: Option<u16>| typed.unwrap_or(HISTORY_MAX).clamp(1, HISTORY_MAX);
            let with = args.iter().position(|arg| arg.eq_ignore_ascii_case("with"));
            if let Some(at) = with.filter(|at| *at + 1 < args.len()) {
                let who = names.read(&args[at + 1]).ok_or(Refusal::NEED_USER)?;
                let others = args[..at].iter().chain(&args[at + 2..]);
                let n = others.filter_map(|arg| number(arg)).next().map_or(HISTORY_DEFAULT, count);
                return plain(Deed::Recall(Recall::Letters { n, with: Some(who) }), None);
            }
            let (n, named) = match (arg(0).and_then(number), arg(1).and_then(number)) {
                (Some(n), _) => (count(n), arg(1)),
                (None, Some(n)) => (count(n), arg(0)),
                (None, None) => (HISTORY_DEFAULT, arg(0)),
            };
            plain(Deed::History(n), room(named)?)
        }
        Args::Words => match args.is_empty() {
            true => Err(Refusal::MALFORMED),
            false => plain(Deed::Recall(Recall::Search(args.join(" "))), None),
        },
        Args::Setting => {
            let (Some(key), Some(value)) = (arg(0), arg(1)) else { return Err(Refusal::MALFORMED) };
            plain(Deed::Personal(Personal::Set { key: key.into(), value: value.into() }), None)
        }
        Args::Person => {
            let user = user()?;
            let deed = match row.verb {
                Verb::Unblock => Personal::Unblock(user),
                _ => Personal::Block(user),
            };
            plain(Deed::Personal(deed), None)
        }
        Args::Number => {
            let n = arg(0).and_then(|n| n.parse().ok()).ok_or(Refusal::MALFORMED)?;
            plain(Deed::Reminder(Reminder::Forget(n)), None)
        }
        // Read as a line, before it was cut into words.
        Args::Reminder | Args::Buddies => Err(Refusal::MALFORMED),
        Args::Topic => {
            let topic = match arg(0) {
                None => Topic::Everything,
                Some(word) => {
                    let bare =
                        std::str::from_utf8(start).ok().and_then(|s| word.strip_prefix(s)).unwrap_or(word);
                    find(bare).map_or_else(|| Topic::Unknown(clean(bare)), |row| Topic::Of(row.verb))
                }
            };
            plain(Deed::Help(topic), None)
        }
    }
}

fn deed_of(verb: Verb) -> Result<Deed, Refusal> {
    Ok(match verb {
        Verb::Join => Deed::Join,
        Verb::Accept => Deed::Accept,
        Verb::Reject => Deed::Reject,
        Verb::Members => Deed::Members,
        Verb::Rooms => Deed::Rooms,
        Verb::Leave => Deed::Leave,
        Verb::Destroy => Deed::Destroy,
        Verb::Settings => Deed::Personal(Personal::Settings),
        Verb::Missed => Deed::Recall(Recall::Missed),
        Verb::Reminders => Deed::Reminder(Reminder::List),
        // These need more than a room; their rows say so.
        Verb::Create
        | Verb::Invite
        | Verb::Add
        | Verb::Modify
        | Verb::Remove
        | Verb::History
        | Verb::Search
        | Verb::Set
        | Verb::Block
        | Verb::Unblock
        | Verb::Remind
        | Verb::Forget
        | Verb::Buddies
        | Verb::Buddy
        | Verb::Status
        | Verb::Help => {
            return Err(Refusal::MALFORMED);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with<R>(f: impl FnOnce(&Names<'_>) -> R) -> R {
        let addressed = Aor::parse("team@example.org").unwrap();
        f(&Names {
            addressed: &addressed,
            canonical: &|host| (host == "alias").then(|| "example.org".to_owned()),
        })
    }

    fn aor(text: &str) -> Aor {
        Aor::parse(text).unwrap()
    }

    fn command(body: &str) -> Command {
        with(|names| match parse(body.as_bytes(), "#", names) {
            Parsed::Command(command) => command,
            other => panic!("{body:?} is {other:?}"),
        })
    }

    fn refusal(body: &str) -> Refusal {
        with(|names| match parse(body.as_bytes(), "#", names) {
            Parsed::Malformed(_, refusal) => refusal,
            other => panic!("{body:?} is {other:?}"),
        })
    }

    #[test]
    fn every_word_of_every_generation_is_understood() {
        let words = "create join invite add accept reject deny remove leave exit destroy members list rooms modify help";
        for word in words.split(' ').chain(["history"]) {
            let body = format!("#{} bob admin", word.to_uppercase());
            let read = with(|names| match parse(body.as_bytes(), "#", names) {
                Parsed::Command(command) => Some(command.verb()),
                Parsed::Malformed(verb, _) => Some(verb),
                _ => None,
            });
            assert_eq!(read, find(word).map(|row| row.verb), "{word}");
        }
    }

    #[test]
    fn commands_that_need_no_more_than_a_room_have_a_deed() {
        for row in COMMANDS.iter().filter(|row| matches!(row.args, Args::None | Args::Room)) {
            assert!(deed_of(row.verb).is_ok(), "{:?}", row.verb);
        }
    }

    #[test]
    fn a_doubled_command_character_is_a_post() {
        with(|names| {
            assert_eq!(parse(b"##lunch", "#", names), Parsed::Post(b"#lunch"));
            assert_eq!(parse(b"##", "#", names), Parsed::Post(b"#"));
            assert_eq!(parse(b" #join", "#", names), Parsed::Post(b" #join"));
            assert_eq!(parse(b"hello", "#", names), Parsed::Post(b"hello"));
            assert_eq!(parse(b"", "#", names), Parsed::Post(b""));
            assert_eq!(parse(b"\xff\xfe", "#", names), Parsed::Post(b"\xff\xfe"));
        });
    }

    #[test]
    fn the_command_character_is_the_first_of_what_is_configured() {
        with(|names| {
            assert_eq!(parse(b"#join", "!", names), Parsed::Post(b"#join"));
            assert!(matches!(parse(b"!join", "!#", names), Parsed::Command(_)));
            assert!(matches!(parse("§join".as_bytes(), "§", names), Parsed::Command(_)));
            assert_eq!(parse("§§join".as_bytes(), "§", names), Parsed::Post("§join".as_bytes()));
            assert!(matches!(parse(b"#join", "", names), Parsed::Command(_)));
        });
    }

    #[test]
    fn only_the_first_line_counts_and_blanks_are_any_number() {
        let wanted = Command { room: None, deed: Deed::Invite(aor("bob@example.org")) };
        for body in
            ["#invite bob", "#invite \t bob ", "#invite bob\r\nteam", "#invite bob\nx", "#invite bob\0x"]
        {
            assert_eq!(command(body), wanted, "{body:?}");
        }
    }

    #[test]
    fn a_room_may_be_named_in_every_form() {
        for room in ["pub", "pub@example.org", "sip:pub@alias", "<sip:pub@example.org>"] {
            let read = command(&format!("#join {room}"));
            assert_eq!(read, Command { room: Some(aor("pub@example.org")), deed: Deed::Join }, "{room}");
        }
    }

    #[test]
    fn create_takes_a_name_and_private_in_the_peers_ways() {
        let create = |body: &str| {
            let c = command(body);
            (c.room.map(|r| r.as_str().to_owned()), c.deed == Deed::Create { private: true })
        };
        assert_eq!(create("#create"), (None, false));
        assert_eq!(create("#create Private"), (None, true));
        assert_eq!(create("#create pub"), (Some("pub@example.org".into()), false));
        assert_eq!(create("#create pub PRIVATE"), (Some("pub@example.org".into()), true));
        assert_eq!(refusal("#create pub secret"), Refusal::MALFORMED);
        assert_eq!(refusal("#create <pub"), Refusal::NEED_ROOM);
    }

    #[test]
    fn modify_takes_the_room_third_or_fourth() {
        let room = |body: &str| command(body).room.map(|r| r.user().to_owned());
        assert_eq!(room("#modify bob admin"), None);
        assert_eq!(room("#modify bob Admin pub").as_deref(), Some("pub"));
        assert_eq!(room("#modify bob admin x pub").as_deref(), Some("pub"));
        assert_eq!(command("#modify bob OWNER").deed, Deed::Modify(aor("bob@example.org"), Role::Owner));
        assert_eq!(refusal("#modify bob king"), Refusal::MALFORMED);
        assert_eq!(refusal("#modify bob invited"), Refusal::MALFORMED);
        assert_eq!(refusal("#modify"), Refusal::NEED_USER);
    }

    #[test]
    fn history_takes_a_number_and_a_room_in_any_order() {
        let read = |body: &str| {
            let c = command(body);
            let Deed::History(n) = c.deed else { panic!() };
            (n, c.room.map(|r| r.user().to_owned()))
        };
        assert_eq!(read("#history"), (10, None));
        assert_eq!(read("#history 25"), (25, None));
        assert_eq!(read("#history 0"), (1, None));
        assert_eq!(read("#history 101"), (100, None));
        assert_eq!(read("#history 99999999999999999999"), (100, None));
        assert_eq!(read("#history pub"), (10, Some("pub".into())));
        assert_eq!(read("#history 3 pub"), (3, Some("pub".into())));
        assert_eq!(read("#history pub 3"), (3, Some("pub".into())));
        assert_eq!(read("#history 3 4"), (3, Some("4".into())));
    }

    #[test]
    fn history_with_somebody_is_about_oneself() {
        let read = |body: &str| match command(body) {
            Command { room: None, deed: Deed::Recall(Recall::Letters { n, with }) } => {
                (n, with.map(|who| who.as_str().to_owned()).unwrap_or_default())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(read("#history with bob"), (10, "bob@example.org".into()));
        assert_eq!(read("#history 25 WITH bob@alias"), (25, "bob@example.org".into()));
        assert_eq!(read("#history with <sip:bob@b.net> 999999"), (100, "bob@b.net".into()));
        assert_eq!(read("#history with 42"), (10, "42@example.org".into()));
        assert_eq!(refusal("#history with @"), Refusal::NEED_USER);
        assert_eq!(command("#history with").room, Some(aor("with@example.org")), "a room of that name");
    }

    #[test]
    fn a_search_is_all_that_follows_the_word() {
        let search = |words: &str| Command { room: None, deed: Deed::Recall(Recall::Search(words.into())) };
        assert_eq!(command("#search  tea \tat five"), search("tea at five"));
        assert_eq!(command("#search a b c d e f g h i j"), search("a b c d e f g h"));
        assert_eq!(refusal("#search"), Refusal::MALFORMED);
        assert_eq!(command("#missed now").deed, Deed::Recall(Recall::Missed));
    }

    #[test]
    fn help_knows_a_command_with_and_without_its_character() {
        assert_eq!(command("#help").deed, Deed::Help(Topic::Everything));
        assert_eq!(command("#help exit").deed, Deed::Help(Topic::Of(Verb::Leave)));
        assert_eq!(command("#help #Exit").deed, Deed::Help(Topic::Of(Verb::Leave)));
        assert_eq!(command("#help a\u{1b}b").deed, Deed::Help(Topic::Unknown("ab".into())));
    }

    #[test]
    fn a_user_is_needed_where_one_is_meant() {
        for body in ["#invite", "#add", "#remove", "#invite @", "#add tel:1"] {
            assert_eq!(refusal(body), Refusal::NEED_USER, "{body}");
        }
        assert_eq!(refusal("#invite bob @"), Refusal::NEED_ROOM);
    }

    #[test]
    fn an_unknown_word_is_shown_clean_and_short() {
        with(|names| {
            assert_eq!(parse(b"#", "#", names), Parsed::Empty);
            assert_eq!(parse(b"# help", "#", names), Parsed::Empty);
            assert_eq!(parse(b"#\r\nhelp", "#", names), Parsed::Empty);
            assert_eq!(parse(b"#fo\x1bo bar", "#", names), Parsed::Unknown("foo".into()));
            let long = format!("#{}", "é".repeat(500));
            let Parsed::Unknown(shown) = parse(long.as_bytes(), "#", names) else { panic!() };
            assert!(shown.chars().count() <= 40);
        });
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut body = body;
            with(|names| { parse(&body, "#", names); });
            body.insert(0, b'#');
            with(|names| { parse(&body, "#", names); });
        }

        #[test]
        fn any_arguments_are_read_without_panic(i in 0usize..14, args in "[ \\t<>@:;a-z0-9\\PC]{0,80}") {
            let body = format!("#{} {args}", COMMANDS[i].words[0]);
            with(|names| { parse(body.as_bytes(), "#", names); });
        }
    }
}
