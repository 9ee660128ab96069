//! imcctl: management from the command line, over the daemon's Unix socket.
//!
//! Reads the same table as the daemon, so `imcctl NOUN VERB` is the RPC method `noun.verb`. Prevents passwords
//! in the process list and in the shell's history. Never touches the database of a running daemon.

mod ask;
mod call;
mod emanagement;
mod guess;
mod keys;
mod manual;
mod pages;
mod progress;
mod restore;
mod show;
mod tail;
mod watch;
mod words;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ArgMatches;
use imcd::edge::control::MAX_DOCUMENT;
use imcd::edge::control::table::{Command, Kind};
use imcd::migrate::Source;
use imcd::presence::avatar::AVATAR_MAX;
use serde_json::{Map, Value};

use self::call::Daemon;
use self::words::{Extra, Meaning};

/// Why it ended without success; the exit code follows.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// 1: the daemon said no.
    Refused(String),
    /// 2: wrong usage, or no daemon.
    Usage(String),
}

fn main() -> ExitCode {
    let matches = match words::command(true).try_get_matches() {
        Ok(matches) => matches,
        // Help and version go where they can be paged.
        Err(help) if !help.use_stderr() => return code(help.print().is_ok()),
        Err(help) if help.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = help.print();
            return ExitCode::from(2);
        }
        Err(error) => return failed(&Failure::Usage(words::complaint(&error))),
    };
    match run(&matches) {
        Ok(output) => {
            let mut out = std::io::stdout();
            match out.write_all(output.as_bytes()).and_then(|()| out.flush()) {
                // A closed pipe (`| head`) is no failure. A full disk is one: half a list must not pass for a whole.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    failed(&Failure::Usage(format!("done, but the result cannot be written: {error}")))
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Err(failure) => failed(&failure),
    }
}

fn code(done: bool) -> ExitCode {
    if done { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn failed(failure: &Failure) -> ExitCode {
    let (text, code) = match failure {
        Failure::Refused(text) => (text, 1),
        Failure::Usage(text) => (text, 2),
    };
    eprintln!("imcctl: {text}");
    ExitCode::from(code)
}

fn run(matches: &ArgMatches) -> Result<String, Failure> {
    let json = matches.get_flag("json");
    let connect =
        || Daemon::connect(&call::socket_path(matches.get_one("socket"), matches.get_one("config"))?);
    match words::meaning(matches) {
        Some(Meaning::Command { command, params, extra }) => perform(command, params, extra, json, connect),
        Some(Meaning::Peer { method, params }) => {
            Ok(show::harmless_json(&format!("{:#}\n", connect()?.call(&method, params.into())?)))
        }
        Some(Meaning::Emanagement(words)) => Ok(emanagement::run(&words, connect)),
        Some(Meaning::Completion(shell)) => Ok(manual::completion(shell)),
        Some(Meaning::Restore { backup, yes }) => {
            let config = matches.get_one::<PathBuf>("config");
            restore::restore(&backup, config.map(PathBuf::as_path), yes, json)
        }
        Some(Meaning::Manual(directory)) => manual::write(&directory),
        None => Err(Failure::Usage("no command; imcctl --help lists all".into())),
    }
}

fn perform(
    command: &Command,
    mut params: Map<String, Value>,
    extra: Extra,
    json: bool,
    connect: impl Fn() -> Result<Daemon, Failure>,
) -> Result<String, Failure> {
    let of_kind = |kind| command.args.iter().find(move |arg| arg.kind == kind);
    let text =
        |params: &Map<String, Value>, name| params.get(name).and_then(Value::as_str).map(str::to_owned);
    let output = of_kind(Kind::Output).and_then(|arg| params.remove(arg.name));
    if let Some(arg) = of_kind(Kind::File)
        && let Some(file) = text(&params, arg.name)
    {
        params.insert(arg.name.into(), read_file(Path::new(&file))?.into());
    }
    if let Some(arg) = of_kind(Kind::Document)
        && let Some(file) = text(&params, arg.name)
    {
        params.insert(arg.name.into(), read_text(&file)?.into());
    }
    if let Some(arg) = of_kind(Kind::Path)
        && let Some(path) = text(&params, arg.name)
    {
        let whole = std::path::absolute(&path).map_err(|e| Failure::Usage(format!("{path}: {e}")))?;
        params.insert(arg.name.into(), whole.to_string_lossy().into());
    }
    if let Some(arg) = of_kind(Kind::Source)
        && let Some(source) = text(&params, arg.name)
        && let (Some((_, path)), Some((kind, _))) = (Source::split(&source), source.split_once(':'))
    {
        let whole = std::path::absolute(path).map_err(|e| Failure::Usage(format!("{path}: {e}")))?;
        params.insert(arg.name.into(), format!("{kind}:{}", whole.to_string_lossy()).into());
    }
    // Connect first: nobody types a password for a daemon that is not there.
    let mut daemon = connect()?;
    if let Some(arg) = of_kind(Kind::Secret).filter(|arg| !params.contains_key(arg.name)) {
        params.insert(arg.name.into(), ask::password()?.into());
    }
    if command.destroys() && !extra.yes {
        let whom: Vec<String> = command.args.iter().filter_map(|arg| text(&params, arg.name)).collect();
        let what = format!("{} {}: {}", command.name.replace('.', " "), whom.join(" "), command.help);
        ask::meant(&format!("{}. Go on?", show::harmless(&what)))?;
    }
    if let Some(seconds) = extra.watch {
        return watch::watch(&mut daemon, &params, seconds, json);
    }
    if command.name == "tail" {
        return tail::tail(&mut daemon, params, json);
    }
    let result = if command.takes_long() {
        progress::beside(command, &connect, || daemon.call(command.name, params.into()))
    } else if params.contains_key("limit") {
        daemon.call(command.name, params.into())
    } else {
        pages::whole(&mut daemon, command, params)
    };
    let result = result.map_err(|failure| match failure {
        Failure::Usage(text) => Failure::Usage(format!("{text}; usage: imcctl {}", command.usage())),
        Failure::Refused(text) => Failure::Refused(guess::helped(text, &mut daemon)),
    })?;
    if let Some(file) = output.as_ref().and_then(Value::as_str) {
        write_file(Path::new(file), &result)?;
    }
    Ok(match json {
        true => show::harmless_json(&format!("{result:#}\n")),
        false => show::for_people(command, &result),
    })
}

/// A picture's file, in base64. What is too long for a picture is not read to its end.
fn read_file(path: &Path) -> Result<String, Failure> {
    let told = |e: std::io::Error| Failure::Usage(format!("{}: {e}", path.display()));
    let mut data = Vec::new();
    let file = std::fs::File::open(path).map_err(told)?;
    file.take(AVATAR_MAX as u64 + 1).read_to_end(&mut data).map_err(told)?;
    if data.len() > AVATAR_MAX {
        return Err(Failure::Usage(format!("{}: longer than {AVATAR_MAX} bytes", path.display())));
    }
    Ok(STANDARD.encode(data))
}

/// What a file holds, or standard input. The daemon takes no more than this.
fn read_text(file: &str) -> Result<String, Failure> {
    let told = |e: std::io::Error| Failure::Usage(format!("{file}: {e}"));
    let from: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        path => Box::new(std::fs::File::open(path).map_err(told)?),
    };
    let mut text = String::new();
    from.take(MAX_DOCUMENT as u64 + 1).read_to_string(&mut text).map_err(told)?;
    if text.len() > MAX_DOCUMENT {
        return Err(Failure::Usage(format!("{file}: longer than {MAX_DOCUMENT} bytes")));
    }
    Ok(text)
}

/// Writes the data of a result into a file.
fn write_file(path: &Path, result: &Value) -> Result<(), Failure> {
    let data = result["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
    let data = data.ok_or_else(|| Failure::Usage("the daemon sent no data".into()))?;
    std::fs::write(path, data).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}
