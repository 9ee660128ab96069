//! The command line: nouns, verbs, arguments and options, built from the daemon's own table of commands.
//!
//! Prevents that help, completion, manual and daemon tell different things. Never connects, never decides.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, ValueHint, value_parser};
use imcd::edge::control::peers;
use imcd::edge::control::table::{self, COMMANDS, Command, Kind};
use serde_json::{Map, Value};

use super::show::either;

/// What each noun is about, in the order of help.
const NOUNS: &[(&str, &str)] = &[
    ("account", "Who may register: accounts, passwords, settings, whom they block"),
    ("roster", "Whose presence an account sees, and who sees its"),
    ("presence", "How an account is"),
    ("avatar", "The picture of an account"),
    ("room", "Rooms: make, run and destroy them"),
    ("member", "Who belongs to a room, and as what"),
    ("binding", "The registered phones"),
    ("offline", "Direct messages that wait"),
    ("message", "Say something in somebody's name"),
    ("import", "Take over what another server left: its rooms, messages, accounts"),
    ("domain", "Domains that are served, in the configuration or added"),
    ("session", "The same as binding, for who calls them sessions"),
    ("server", "The daemon itself: status, counters, configuration, backup"),
    ("log", "What the daemon logs"),
];

/// What the words mean.
#[derive(Debug)]
pub enum Meaning {
    /// A command of the table.
    Command { command: &'static Command, params: Map<String, Value>, extra: Extra },
    /// A name of the peers, with its parameters by place.
    Peer { method: String, params: Vec<Value> },
    /// A backup in the place of the database, without a daemon.
    Restore { backup: PathBuf, yes: bool },
    /// A function of another manager of old, and what it is given.
    Emanagement(Vec<String>),
    /// The script that completes what is typed.
    Completion(clap_complete::Shell),
    /// Manual pages into this directory.
    Manual(PathBuf),
}

/// What `imcctl` does with a command beyond calling it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    /// Do not ask.
    pub yes: bool,
    /// Again and again, with so many seconds between.
    pub watch: Option<f64>,
}

/// The whole command line. `all`: also what works and is not shown, RPC methods and the names of the peers.
pub fn command(all: bool) -> clap::Command {
    let mut root = clap::Command::new("imcctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Manage a running imcd")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(false)
        .after_help(after_help())
        .args(options());
    for (noun, about) in nouns() {
        let verbs = table::names().filter_map(|(name, c)| Some((c, name.split_once('.')?)));
        let verbs = verbs.filter(|(_, (of, _))| *of == noun).map(|(c, (_, verb))| leaf(c, verb));
        root = root.subcommand(
            clap::Command::new(noun)
                .about(about)
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommands(verbs),
        );
    }
    // `help` is clap's own: it knows more.
    for c in COMMANDS.iter().filter(|c| !c.name.contains('.') && c.name != "help") {
        root = root.subcommand(leaf(c, c.name));
    }
    root = root.subcommands([restore(), emanagement(), completion(), manual()]);
    root.subcommands(COMMANDS.iter().filter(|c| !c.short.is_empty()).map(|c| leaf(c, c.short).hide(true)))
        .subcommands(if all { hidden() } else { Vec::new() })
}

/// The nouns of the table with what they are about.
pub fn nouns() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in table::names() {
        let noun = name.split_once('.').map(|(noun, _)| noun);
        seen.extend(noun.filter(|noun| !seen.contains(noun)));
    }
    seen.into_iter().map(|noun| {
        let known = NOUNS.iter().find(|(name, _)| *name == noun);
        (noun, known.map_or("", |(_, about)| about))
    })
}

fn after_help() -> String {
    let mut text = String::from("Short forms:\n");
    for c in COMMANDS.iter().filter(|c| !c.short.is_empty()) {
        let args = c.usage().split(' ').skip(2).map(|arg| format!(" {arg}")).collect::<String>();
        text.push_str(&format!("  {:<20}  {}\n", format!("{}{args}", c.short), c.name.replace('.', " ")));
    }
    text.push_str(
        "\nJSON-RPC methods (imcctl room.list) and the names of OpenSIPS and Kamailio (imcctl imc_list_rooms) work too.\n\
         Exit code: 0 done, 1 refused or not found, 2 wrong usage or no daemon.",
    );
    text
}

fn options() -> [Arg; 3] {
    let option = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).global(true).help_heading("General options")
    };
    [
        option("json", "").action(ArgAction::SetTrue).num_args(0).help("Print the result as JSON"),
        option("socket", "PATH")
            .value_hint(ValueHint::FilePath)
            .value_parser(value_parser!(PathBuf))
            .help("The daemon's socket [default: $IMCD_SOCKET, else as --config says, else /run/imcd/imcd.sock, else ./imcd.sock]"),
        option("config", "FILE")
            .value_hint(ValueHint::FilePath)
            .value_parser(value_parser!(PathBuf))
            .help("The daemon's configuration file, to find its socket"),
    ]
}

/// One command of the table under one of its names.
fn leaf(c: &'static Command, name: &'static str) -> clap::Command {
    let mut leaf = clap::Command::new(name)
        .about(sentence(c.help))
        .after_help(format!("JSON-RPC method: {}", c.name))
        .args(c.args.iter().filter(|arg| !arg.is_of_page()).map(place))
        .args(c.args.iter().filter_map(option));
    if c.destroys() {
        leaf = leaf.arg(yes());
    }
    if c.name == "server.stats" {
        leaf = leaf.arg(
            Arg::new("watch")
                .long("watch")
                .short('w')
                .num_args(0..=1)
                .value_name("SECONDS")
                .default_missing_value("2")
                .value_parser(seconds)
                .help("Show them again and again, with what each gains in a second [each 2 seconds]"),
        );
    }
    leaf
}

fn seconds(text: &str) -> Result<f64, String> {
    let wanted = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    wanted.ok_or_else(|| "expected seconds, from 0.1 to 3600".into())
}

/// An argument at its place.
fn place(arg: &table::Arg) -> Arg {
    let place = Arg::new(arg.name)
        .value_name(arg.name.to_ascii_uppercase())
        .help(expects(arg))
        // A password is asked for.
        .required(arg.required && arg.kind != Kind::Secret);
    let place = if arg.kind == Kind::People { place.num_args(1..) } else { place };
    hinted(place, arg.kind)
}

/// The same as an option, if it may be left out.
fn option(arg: &table::Arg) -> Option<Arg> {
    if arg.required && arg.kind != Kind::Secret {
        return None;
    }
    let option = Arg::new(option_id(arg)).long(option_name(arg));
    let option = if arg.is_of_page() { option } else { option.conflicts_with(arg.name) };
    let option = match (arg.name.len(), arg.name.chars().next()) {
        (1, Some(letter)) => option.short(letter),
        _ => option,
    };
    Some(match arg.kind {
        Kind::Flag => option.action(ArgAction::SetTrue).help("The same as yes"),
        Kind::Groups => option.action(ArgAction::Append).value_name("NAME").help("A group; may be repeated"),
        Kind::People => {
            option.action(ArgAction::Append).value_name("ADDRESS").help("An address; may be repeated")
        }
        kind => hinted(option.value_name(arg.name.to_ascii_uppercase()).help(expects(arg)), kind),
    })
}

fn expects(arg: &table::Arg) -> String {
    let expects = arg.kind.expects();
    // Rooms and people have addresses of one form.
    if arg.name == "room" { expects.replace("alice", "team") } else { expects.into() }
}

fn hinted(arg: Arg, kind: Kind) -> Arg {
    match kind {
        Kind::Role => arg.value_parser(PossibleValuesParser::new(["owner", "admin", "member"])),
        Kind::Sight => arg.value_parser(PossibleValuesParser::new(["none", "to", "from", "both"])),
        Kind::File | Kind::Document | Kind::Path | Kind::Output => arg.value_hint(ValueHint::FilePath),
        _ => arg.value_hint(ValueHint::Other),
    }
}

fn option_id(arg: &table::Arg) -> String {
    format!("--{}", arg.name)
}

fn option_name(arg: &table::Arg) -> &'static str {
    match arg.name {
        _ if arg.kind == Kind::Groups => "group",
        "dry_run" => "dry-run",
        name => name,
    }
}

fn emanagement() -> clap::Command {
    let words = Arg::new("words").value_name("NAME ARGUMENTS").num_args(0..).allow_hyphen_values(true);
    clap::Command::new("emanagement")
        .about("Do what Social Stream's script of this name does; without a name it lists what that is")
        .disable_help_flag(true)
        .arg(words.trailing_var_arg(true))
}

fn yes() -> Arg {
    Arg::new("yes").long("yes").short('y').action(ArgAction::SetTrue).help("Do not ask whether it is meant")
}

fn restore() -> clap::Command {
    let file = Arg::new("file").value_name("FILE").required(true).value_hint(ValueHint::FilePath);
    clap::Command::new("restore")
        .about("Put a backup in the place of the database, while the daemon is stopped")
        .after_help("The database is where the configuration says: --config, else /etc/imcd/imcd.toml. What is there now is kept beside.")
        .arg(file.value_parser(value_parser!(PathBuf)).help("What `imcctl backup` has written"))
        .arg(yes())
}

fn completion() -> clap::Command {
    clap::Command::new("completion").about("Print the script that completes imcctl's words in a shell").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(PossibleValuesParser::new(["bash", "zsh", "fish"])),
    )
}

fn manual() -> clap::Command {
    clap::Command::new("man").about("Write the manual pages into a directory").arg(
        Arg::new("directory")
            .value_name("DIRECTORY")
            .required(true)
            .value_hint(ValueHint::DirPath)
            .value_parser(value_parser!(PathBuf)),
    )
}

/// RPC methods as they are, and the names of the peers.
fn hidden() -> Vec<clap::Command> {
    let methods = table::names().filter(|(name, _)| name.contains('.')).map(|(name, c)| leaf(c, name));
    let shown = |name: &str| COMMANDS.iter().any(|c| c.short == name);
    let peers = peers::names().filter(|(name, ..)| !shown(name)).map(|(name, param, help)| {
        let words = Arg::new("words").value_name(param.to_ascii_uppercase()).num_args(0..);
        let peer = clap::Command::new(name).about(sentence(help));
        if param.is_empty() { peer } else { peer.arg(words) }
    });
    methods.chain(peers).map(|command| command.hide(true)).collect()
}

pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

// ── what was meant ───────────────────────────────────────────────────────────────────────────────────────────

/// The meaning of what clap has read.
pub fn meaning(matches: &ArgMatches) -> Option<Meaning> {
    let (first, rest) = matches.subcommand()?;
    let text = |name| rest.get_one::<String>(name);
    match first {
        "completion" => return Some(Meaning::Completion(text("shell")?.parse().ok()?)),
        "man" => {
            return Some(Meaning::Manual(rest.get_one::<PathBuf>("directory")?.clone()));
        }
        "restore" => {
            let backup = rest.get_one::<PathBuf>("file")?.clone();
            return Some(Meaning::Restore { backup, yes: rest.get_flag("yes") });
        }
        "emanagement" => {
            let words = rest.get_many::<String>("words");
            return Some(Meaning::Emanagement(words.into_iter().flatten().cloned().collect()));
        }
        _ => {}
    }
    if let Some(command) = table::find(first).or_else(|| COMMANDS.iter().find(|c| c.short == first)) {
        return Some(of_table(command, rest));
    }
    if let Some((verb, rest)) = rest.subcommand() {
        return Some(of_table(table::find(&format!("{first}.{verb}"))?, rest));
    }
    let words = rest.try_get_many::<String>("words").ok().flatten();
    let params = words.map(|words| words.map(|word| Value::from(word.as_str())).collect());
    Some(Meaning::Peer { method: first.to_owned(), params: params.unwrap_or_default() })
}

fn of_table(command: &'static Command, given: &ArgMatches) -> Meaning {
    let texts = |id: &str| -> Option<String> {
        let words = given.try_get_many::<String>(id).ok()??;
        Some(words.map(String::as_str).collect::<Vec<_>>().join(","))
    };
    let set = |id: &str| matches!(given.try_get_one::<bool>(id), Ok(Some(true)));
    let value = |arg: &table::Arg| {
        let flag = || (arg.kind == Kind::Flag && set(&option_id(arg))).then(|| "yes".to_owned());
        texts(arg.name).or_else(|| texts(&option_id(arg))).or_else(flag)
    };
    let params = command.args.iter().filter_map(|arg| Some((arg.name.to_owned(), value(arg)?.into())));
    let watch = given.try_get_one::<f64>("watch").ok().flatten().copied();
    Meaning::Command { command, params: params.collect(), extra: Extra { yes: set("yes"), watch } }
}

/// What clap says against it, in our words where they help more.
pub fn complaint(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
    {
        let known = match error.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(known)) => {
                // Nearest last. Methods are near to one another: only for who writes methods.
                let near = known.iter().rev().map(String::as_str);
                near.filter(|name| word.contains('.') || !name.contains('.')).take(3).collect()
            }
            _ => Vec::new(),
        };
        return match known.as_slice() {
            [] => format!("no command {word}; imcctl --help lists all"),
            known => format!("no command {word}; did you mean {}?", either(known)),
        };
    }
    let text = error.to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Meaning, String> {
        let words = std::iter::once("imcctl").chain(words.split(' '));
        let matches = command(true).try_get_matches_from(words).map_err(|e| complaint(&e))?;
        Ok(meaning(&matches).unwrap())
    }

    fn params(words: &str) -> (&'static str, Value) {
        match read(words) {
            Ok(Meaning::Command { command, params, .. }) => (command.name, params.into()),
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound_in_both_forms() {
        command(true).debug_assert();
        command(false).debug_assert();
    }

    #[test]
    fn every_noun_says_what_it_is_about() {
        let nouns: Vec<_> = nouns().collect();
        assert!(nouns.iter().all(|(_, about)| about.len() > 10), "{nouns:?}");
        assert_eq!(nouns.len(), NOUNS.len());
    }

    #[test]
    fn an_argument_that_may_be_left_out_is_an_option_too() {
        let made = serde_json::json!({ "room": "team", "owner": "alice", "private": "yes" });
        for words in [
            "room create team alice yes",
            "room create team --owner alice --private",
            "room create --private --owner=alice team",
            "room.create team alice --private",
        ] {
            assert_eq!(params(words), ("room.create", made.clone()), "{words}");
        }
        let buddy = serde_json::json!({ "account": "a", "user": "b", "nick": "B", "groups": "x,y" });
        assert_eq!(params("roster add a b --nick B --group x --group y"), ("roster.add", buddy.clone()));
        assert_eq!(params("roster add a b B x,y"), ("roster.add", buddy));
        assert_eq!(params("room history team -n 5").1["n"], "5");
        assert_eq!(params("message broadcast a text b c").1["to"], "b,c");
        assert_eq!(params("import silo dump:/x --dry-run").1["dry_run"], "yes");
        assert_eq!(params("message broadcast a text --to b --to c").1["to"], "b,c");
        assert!(read("room create team alice --owner bob").unwrap_err().contains("cannot be used with"));
        assert!(read("member add team bob king").unwrap_err().contains("owner, admin, member"));
    }

    #[test]
    fn short_forms_methods_and_the_names_of_the_peers_are_understood() {
        assert_eq!(params("rooms"), ("room.list", serde_json::json!({})));
        assert_eq!(params("members team").1["room"], "team");
        assert_eq!(params("version").0, "server.version");
        assert_eq!(params("which room.list").1["command"], "room.list");
        assert_eq!(params("session.kick bob").0, "binding.drop");
        assert_eq!(params("roster.show bob").0, "roster.list");
        match read("imc_list_members team").unwrap() {
            Meaning::Peer { method, params } => {
                assert_eq!((method.as_str(), params), ("imc_list_members", vec!["team".into()]));
            }
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(read("get_statistics a b").unwrap(), Meaning::Peer { params, .. } if params.len() == 2)
        );
        assert!(read("imc_list_rooms x").unwrap_err().contains("unexpected argument 'x'"));
    }

    #[test]
    fn what_is_misspelt_is_guessed() {
        assert_eq!(read("romm list").unwrap_err(), "no command romm; did you mean room or rooms?");
        assert_eq!(read("room craete").unwrap_err(), "no command craete; did you mean create?");
        assert_eq!(read("xyzzy").unwrap_err(), "no command xyzzy; imcctl --help lists all");
        assert!(read("room create --ownr x y").unwrap_err().contains("similar argument exists: '--owner'"));
    }

    #[test]
    fn only_what_destroys_takes_yes_and_only_counters_are_watched() {
        let extra = |words: &str| match read(words) {
            Ok(Meaning::Command { extra, .. }) => extra,
            other => panic!("{words}: {other:?}"),
        };
        assert!(extra("room destroy team --yes").yes && !extra("room destroy team").yes);
        assert!(read("room create team --yes").is_err());
        assert_eq!(extra("stats --watch").watch, Some(2.0));
        assert_eq!(extra("server stats imcd --watch 0.5").watch, Some(0.5));
        assert_eq!(extra("stats").watch, None);
        for wrong in ["0", "-1", "nan", "1e9", "soon"] {
            assert!(read(&format!("stats --watch={wrong}")).is_err(), "{wrong}");
        }
    }
}
