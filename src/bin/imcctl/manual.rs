//! Manual pages and completion scripts, made from the same words as the command line.
//!
//! Prevents a manual that tells of options which are not there. Never overwrites anything but the pages.

use std::io::Write;
use std::path::Path;

use clap::{ArgAction, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use imcd::config::arguments::Arguments;

use super::Failure;
use super::keys;
use super::words::{self, sentence};

/// Name, and text of the sections that follow what clap knows.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const IMCD: &[Section] = &[
    (
        "FILES",
        &[
            ("/etc/imcd/imcd.toml", "The configuration; it explains every key."),
            ("/var/lib/imcd", "The data of a packaged daemon: data_dir in the configuration."),
            ("/run/imcd/imcd.sock", "The socket of a packaged daemon for imcctl."),
        ],
    ),
    (
        "SIGNALS",
        &[
            ("SIGHUP", "Read the configuration again. What needs a restart is told in the log."),
            ("SIGTERM, SIGINT", "Stop: what was accepted is on disk, watchers are told."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Stopped when told to, or the check found nothing."),
            ("1", "It could not start, or the check found something."),
        ],
    ),
    (
        "SEE ALSO",
        &[("imcctl(1)", "Management from the command line."), ("imcd.toml(5)", "The configuration.")],
    ),
];

const IMCCTL: &[Section] = &[
    ("ENVIRONMENT", &[("IMCD_SOCKET", "The daemon's socket, where --socket is not given.")]),
    ("EXIT STATUS", &[("0", "Done."), ("1", "Refused, or not found."), ("2", "Wrong usage, or no daemon.")]),
    (
        "EXAMPLES",
        &[
            ("imcctl account add alice", "Make an account; the password is asked for."),
            ("imcctl room create team --owner alice --private", "Make a room that one has to be invited to."),
            ("imcctl members team", "Who belongs to it."),
            ("imcctl stats --watch", "The counters, and what they gain in a second."),
            ("imcctl tail team", "What is said in it, as it is said."),
            (
                "imcctl backup /var/lib/imcd/backup.db",
                "Copy the database, while the daemon runs, to a place where it may write.",
            ),
            ("imcctl restore /var/backups/imcd.db", "Put it back while the daemon is stopped."),
            ("imcctl --json rooms", "The rooms, for a script."),
        ],
    ),
    ("SEE ALSO", &[("imcd(8)", "The daemon."), ("imcd.toml(5)", "Its configuration.")]),
];

/// The script that completes imcctl's words.
pub fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut command = words::command(false);
    clap_complete::generate(shell, &mut command, "imcctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish { script + &fish_places(&command) } else { script }
}

/// What stands at its place and not behind an option, which fish would be told nothing of and offer files for.
fn fish_places(command: &clap::Command) -> String {
    let mut script = String::new();
    for noun in command.get_subcommands().filter(|noun| noun.get_name() != "help") {
        let of = format!("__fish_imcctl_using_subcommand {}", noun.get_name());
        fish_place(&mut script, &of, noun);
        for verb in noun.get_subcommands().filter(|verb| verb.get_name() != "help") {
            fish_place(
                &mut script,
                &format!("{of}; and __fish_seen_subcommand_from {}", verb.get_name()),
                verb,
            );
        }
    }
    script
}

fn fish_place(script: &mut String, when: &str, command: &clap::Command) {
    let is_file = |hint| matches!(hint, ValueHint::FilePath | ValueHint::DirPath);
    let places: Vec<_> = command.get_positionals().collect();
    if places.is_empty() || places.iter().any(|place| is_file(place.get_value_hint())) {
        return;
    }
    let values = places.iter().flat_map(|place| place.get_possible_values());
    let values: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
    let values = if values.is_empty() { String::new() } else { format!(" -a \"{}\"", values.join(" ")) };
    script.push_str(&format!("complete -c imcctl -n \"{when}\" -f{values}\n"));
}

/// Writes `imcd.8`, `imcctl.1` and `imcd.toml.5`.
pub fn write(directory: &Path) -> Result<String, Failure> {
    let told = |path: &Path, e: std::io::Error| Failure::Usage(format!("{}: {e}", path.display()));
    std::fs::create_dir_all(directory).map_err(|e| told(directory, e))?;
    let mut written = String::new();
    for (name, page) in [("imcd.8", imcd()), ("imcctl.1", imcctl()), ("imcd.toml.5", keys::page())] {
        let path = directory.join(name);
        let page = titled(page.map_err(|e| told(&path, e))?, name);
        std::fs::write(&path, page).map_err(|e| told(&path, e))?;
        written.push_str(&format!("{}\n", path.display()));
    }
    Ok(written)
}

/// The page with a title line of ours: without a date, whose place clap gives to the version.
fn titled(page: Vec<u8>, file: &str) -> Vec<u8> {
    let (name, section) = file.rsplit_once('.').unwrap_or((file, ""));
    let title = format!(".TH \"{name}\" \"{section}\" \"\" \"imcd {}\" \"imcd\"", env!("CARGO_PKG_VERSION"));
    let mut titled = Vec::with_capacity(page.len() + title.len());
    for line in page.split_inclusive(|byte| *byte == b'\n') {
        match line.starts_with(b".TH ") {
            true => titled.extend([title.as_bytes(), b"\n"].concat()),
            false => titled.extend(line),
        }
    }
    titled
}

fn imcd() -> std::io::Result<Vec<u8>> {
    let man = Man::new(Arguments::command()).section("8").manual("imcd");
    let mut page = Vec::new();
    man.render(&mut page)?;
    sections(IMCD, &mut page)?;
    Ok(page)
}

fn imcctl() -> std::io::Result<Vec<u8>> {
    let mut command = words::command(false);
    command.build();
    let man = Man::new(command.clone()).section("1").manual("imcd");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut head = Roff::new();
    head.control("SH", ["SYNOPSIS"]);
    head.text([
        bold("imcctl"),
        roman(" ["),
        italic("OPTIONS"),
        roman("] "),
        italic("NOUN"),
        roman(" "),
        italic("VERB"),
        roman(" ["),
        italic("ARGUMENTS"),
        roman("]"),
    ]);
    head.control("SH", ["DESCRIPTION"]);
    head.text([
        roman("Manages a running imcd over its Unix socket. "),
        bold("imcctl"),
        roman(" "),
        italic("NOUN"),
        roman(" "),
        italic("VERB"),
        roman(" is the JSON-RPC method noun.verb. Results are tables, or JSON with "),
        bold("--json"),
        roman("."),
    ]);
    head.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    for noun in command.get_subcommands().filter(|noun| !noun.is_hide_set() && noun.get_name() != "help") {
        let verbs: Vec<_> = noun.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
        if verbs.is_empty() {
            describe(&mut commands, "imcctl", noun);
            continue;
        }
        commands.control("SS", [noun.get_name()]);
        commands.text([roman(noun.get_about().map(ToString::to_string).unwrap_or_default() + ".")]);
        for verb in verbs {
            describe(&mut commands, &format!("imcctl {}", noun.get_name()), verb);
        }
    }
    commands.control("SS", ["Short forms"]);
    for short in command.get_subcommands().filter(|c| c.is_hide_set()) {
        let about = short.get_about().map(ToString::to_string).unwrap_or_default();
        entry(&mut commands, synopsis("imcctl", short), &sentence(&about));
    }
    commands.to_writer(&mut page)?;
    sections(IMCCTL, &mut page)?;
    Ok(page)
}

/// `imcctl room create ROOM [OWNER] [PRIVATE]`.
fn synopsis(before: &str, command: &clap::Command) -> Vec<Inline> {
    let mut line = vec![bold(format!("{before} {}", command.get_name()))];
    for arg in command.get_positionals() {
        let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        let (open, close) = if arg.is_required_set() { (" ", "") } else { (" [", "]") };
        line.extend([roman(open), italic(name), roman(close)]);
    }
    line
}

fn describe(page: &mut Roff, before: &str, command: &clap::Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    entry(page, synopsis(before, command), &format!("{about}."));
    let own = |arg: &&clap::Arg| !arg.is_positional() && !arg.is_global_set() && arg.get_id() != "help";
    for option in command.get_arguments().filter(own) {
        let Some(long) = option.get_long() else { continue };
        let mut line = vec![bold(format!("--{long}"))];
        if matches!(option.get_action(), ArgAction::Set | ArgAction::Append) {
            let name = option.get_value_names().and_then(|names| names.first()).map_or("", |n| n.as_str());
            line.extend([roman(" "), italic(name)]);
        }
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        page.control("RS", []);
        entry(page, line, &sentence(&help));
        page.control("RE", []);
    }
}

fn entry(page: &mut Roff, title: Vec<Inline>, text: &str) {
    page.control("TP", []);
    page.text(title);
    page.text([roman(text)]);
}

fn sections(sections: &[Section], page: &mut impl Write) -> std::io::Result<()> {
    let mut roff = Roff::new();
    for (title, entries) in sections {
        roff.control("SH", [*title]);
        for (name, text) in *entries {
            entry(&mut roff, vec![bold(*name)], text);
        }
    }
    roff.to_writer(page)
}
