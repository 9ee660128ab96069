//! imcctl: management from the command line, over the daemon's Unix socket.
//!
//! Reads the same table as the daemon, so `imcctl NOUN VERB` is the RPC method `noun.verb`. Prevents passwords
//! in the process list and in the shell's history. Never touches the database.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use imcd::config::Config;
use imcd::edge::control::rpc::{INVALID_PARAMS, METHOD_NOT_FOUND};
use imcd::edge::control::table::{self, COMMANDS, Command, Kind};
use imcd::migrate::Source;
use imcd::presence::avatar::AVATAR_MAX;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde_json::{Map, Value, json};

/// Where a packaged daemon listens, and then one started by hand.
const USUAL_SOCKETS: [&str; 2] = ["/run/imcd/imcd.sock", "./imcd.sock"];
/// Longer than the daemon needs for anything but imports.
const PATIENCE: Duration = Duration::from_secs(60);

/// Manage a running imcd.
#[derive(Parser)]
#[command(name = "imcctl", version, override_usage = "imcctl [OPTIONS] NOUN VERB [ARGUMENTS]", after_help = help_table())]
struct Arguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// The daemon's socket [default: $IMCD_SOCKET, else as --config says, else /run/imcd/imcd.sock, else ./imcd.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The daemon's configuration file, to find its socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The password, for commands that take one; without it, it is asked for, or read from standard input
    #[arg(long, value_name = "PW")]
    password: Option<String>,
    /// The nickname, for commands that take one
    #[arg(long, value_name = "NAME")]
    nick: Option<String>,
    /// A group, for commands that take groups; more than once for several
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// Only say what would be done, for commands that can
    #[arg(long)]
    dry_run: bool,
    /// What the hashes of passwords were made for, for commands that take it
    #[arg(long, value_name = "REALM")]
    realm: Option<String>,
    #[arg(hide = true)]
    words: Vec<String>,
}

/// Why it ended without success; the exit code follows.
enum Failure {
    /// 1: the daemon said no.
    Refused(String),
    /// 2: wrong usage, or no daemon.
    Usage(String),
}

fn main() -> ExitCode {
    let (text, code) = match run(Arguments::parse()) {
        Ok(output) => {
            // A closed pipe (`| head`) is no failure.
            let _ = std::io::stdout().write_all(output.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Failure::Refused(text)) => (text, 1),
        Err(Failure::Usage(text)) => (text, 2),
    };
    eprintln!("imcctl: {text}");
    ExitCode::from(code)
}

fn help_table() -> String {
    let width = COMMANDS.iter().map(|c| c.usage().len()).max().unwrap_or(0);
    let mut help = String::from("Commands:\n");
    for c in COMMANDS {
        let short = if c.short.is_empty() { String::new() } else { format!(" (short: {})", c.short) };
        help.push_str(&format!("  {:width$}  {}{short}\n", c.usage(), c.help));
    }
    help.push_str("\nExit code: 0 done, 1 refused or not found, 2 wrong usage or no daemon.");
    help
}

fn run(arguments: Arguments) -> Result<String, Failure> {
    if arguments.words.first().is_some_and(|word| word == "help") {
        return Ok(help_table() + "\n");
    }
    let (command, rest) = find(&arguments.words)?;
    let mut params = Map::new();
    // The last argument may be a list of addresses: all words that are left.
    let fixed = command.args.len() - usize::from(command.args.last().is_some_and(|a| a.kind == Kind::People));
    let (rest, people) = rest.split_at(rest.len().min(fixed));
    if let (Some(arg), false) = (command.args.get(fixed), people.is_empty()) {
        params.insert(arg.name.into(), people.join(",").into());
    } else if !people.is_empty() {
        return Err(Failure::Usage(format!("too many arguments; usage: imcctl {}", command.usage())));
    }
    for (arg, word) in command.args.iter().zip(rest) {
        params.insert(arg.name.into(), word.clone().into());
    }
    let groups = (!arguments.group.is_empty()).then(|| arguments.group.join(","));
    for (kind, option, given) in [
        (Kind::Secret, "--password", arguments.password),
        (Kind::Nick, "--nick", arguments.nick),
        (Kind::Groups, "--group", groups),
    ] {
        let Some(given) = given else { continue };
        let Some(arg) = command.args.iter().find(|arg| arg.kind == kind) else {
            return Err(Failure::Usage(format!("{} takes no {option}", command.name.replace('.', " "))));
        };
        params.insert(arg.name.into(), given.into());
    }
    let dry_run = arguments.dry_run.then(|| "yes".to_owned());
    for (name, option, given) in [("dry_run", "--dry-run", dry_run), ("realm", "--realm", arguments.realm)] {
        let Some(given) = given else { continue };
        if !command.args.iter().any(|arg| arg.name == name) {
            return Err(Failure::Usage(format!("{} takes no {option}", command.name.replace('.', " "))));
        }
        params.insert(name.into(), given.into());
    }
    let secret = command.args.iter().find(|arg| arg.kind == Kind::Secret);
    let output = command.args.iter().find(|arg| arg.kind == Kind::Output);
    let output = output.and_then(|arg| params.remove(arg.name));
    let missing = |params: &Map<String, Value>| {
        command.args.iter().find(|arg| arg.required && !params.contains_key(arg.name)).map(|arg| arg.kind)
    };
    if missing(&params).is_some_and(|kind| kind != Kind::Secret) {
        return Err(Failure::Usage(format!("an argument is missing; usage: imcctl {}", command.usage())));
    }
    for arg in command.args.iter().filter(|arg| arg.kind == Kind::File) {
        if let Some(file) = params.get(arg.name).and_then(Value::as_str) {
            let data = read_file(Path::new(file))?;
            params.insert(arg.name.into(), data.into());
        }
    }
    for arg in command.args.iter().filter(|arg| arg.kind == Kind::Path) {
        if let Some(path) = params.get(arg.name).and_then(Value::as_str) {
            let told = |e: std::io::Error| Failure::Usage(format!("{path}: {e}"));
            let path = std::path::absolute(path).map_err(told)?;
            params.insert(arg.name.into(), path.to_string_lossy().into());
        }
    }
    for arg in command.args.iter().filter(|arg| arg.kind == Kind::Source) {
        if let Some((kind, path)) = params.get(arg.name).and_then(Value::as_str).and_then(source) {
            let told = |e: std::io::Error| Failure::Usage(format!("{path}: {e}"));
            let path = std::path::absolute(path).map_err(told)?;
            params.insert(arg.name.into(), format!("{kind}:{}", path.to_string_lossy()).into());
        }
    }
    // Connect first: nobody types a password for a daemon that is not there.
    let path = socket_path(arguments.socket, arguments.config.as_deref())?;
    // A large import takes its time.
    let patience = (!command.name.starts_with("import.")).then_some(PATIENCE);
    let stream = connect(&path, patience)?;
    if let Some(arg) = secret.filter(|arg| !params.contains_key(arg.name)) {
        params.insert(arg.name.into(), read_password()?.into());
    }
    let result = call(stream, command, params).map_err(|failure| match failure {
        Failure::Usage(text) => Failure::Usage(format!("{text}; usage: imcctl {}", command.usage())),
        refused => refused,
    })?;
    if let Some(file) = output.as_ref().and_then(Value::as_str) {
        write_file(Path::new(file), &result)?;
    }
    Ok(if arguments.json { format!("{result:#}\n") } else { for_people(command, &result) })
}

/// The kind of a source, and its path, which may be relative yet.
fn source(text: &str) -> Option<(&str, &str)> {
    let (_, path) = Source::split(text)?;
    Some((text.split_once(':')?.0, path))
}

/// The command that the words begin with, and its arguments.
fn find(words: &[String]) -> Result<(&'static Command, &[String]), Failure> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::Usage(format!("no command\n\n{}", help_table())));
    };
    let whole = COMMANDS.iter().find(|c| c.name == first || (c.short == first && !c.short.is_empty()));
    if let Some(command) = whole {
        return Ok((command, rest));
    }
    let (second, rest) = rest.split_first().map_or(("", rest), |(second, rest)| (second.as_str(), rest));
    if let Some(command) = table::find(&format!("{first}.{second}")) {
        return Ok((command, rest));
    }
    let verbs: Vec<&str> =
        COMMANDS.iter().filter_map(|c| c.name.strip_prefix(first.as_str())?.strip_prefix('.')).collect();
    Err(Failure::Usage(match verbs.as_slice() {
        [] => format!("unknown command {first}; imcctl --help lists all"),
        verbs => format!("{first} needs one of: {}", verbs.join(", ")),
    }))
}

fn socket_path(given: Option<PathBuf>, config: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given.or_else(|| std::env::var_os("IMCD_SOCKET").map(PathBuf::from)) {
        return Ok(path);
    }
    if let Some(file) = config {
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let (config, _) = Config::load(Some(file), env).map_err(|e| Failure::Usage(e.to_string()))?;
        return Ok(config.control_socket());
    }
    let [packaged, by_hand] = USUAL_SOCKETS.map(PathBuf::from);
    Ok(if packaged.exists() { packaged } else { by_hand })
}

fn connect(path: &Path, patience: Option<Duration>) -> Result<UnixStream, Failure> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let at = path.display();
    let stream = UnixStream::connect(path).map_err(|e| {
        Failure::Usage(match e.kind() {
            NotFound | ConnectionRefused => format!("no daemon at {at} (is imcd running?)"),
            PermissionDenied => format!("{at}: permission denied (are you in the daemon's group?)"),
            _ => format!("{at}: {e}"),
        })
    })?;
    let patient = stream.set_read_timeout(patience).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    patient.map_err(lost)?;
    Ok(stream)
}

fn lost(e: std::io::Error) -> Failure {
    Failure::Usage(format!("the daemon does not answer: {e}"))
}

fn call(mut stream: UnixStream, command: &Command, params: Map<String, Value>) -> Result<Value, Failure> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": command.name, "params": params });
    stream.write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(lost)?;
    let mut reply: Value =
        serde_json::from_str(&line).map_err(|_| Failure::Usage("the daemon closed the connection".into()))?;
    let Some(error) = reply.get("error") else { return Ok(reply["result"].take()) };
    let message = error["message"].as_str().unwrap_or("refused");
    let text = match error["data"].as_str() {
        Some(data) => format!("{message}: {data}"),
        None => message.to_string(),
    };
    Err(match error["code"].as_i64() {
        Some(METHOD_NOT_FOUND | INVALID_PARAMS) => Failure::Usage(text),
        _ => Failure::Refused(text),
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

/// Writes the data of a result into a file.
fn write_file(path: &Path, result: &Value) -> Result<(), Failure> {
    let data = result["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
    let data = data.ok_or_else(|| Failure::Usage("the daemon sent no data".into()))?;
    std::fs::write(path, data).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

/// From the terminal without echo, twice; else the first line of standard input.
fn read_password() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let password = if stdin.is_terminal() {
        let password = ask("Password: ")?;
        if !password.is_empty() && ask("Again: ")? != password {
            return Err(Failure::Usage("the passwords differ".into()));
        }
        password
    } else {
        one_line(&mut stdin.lock())?
    };
    match password.as_str() {
        "" => Err(Failure::Usage("no password given".into())),
        _ => Ok(password),
    }
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let refused = |e: nix::Error| Failure::Usage(format!("cannot silence the terminal: {e}"));
    let loud = tcgetattr(&stdin).map_err(refused)?;
    let mut silent = loud.clone();
    // Without signals: an interrupt would leave the terminal silent.
    silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    silent.local_flags.insert(LocalFlags::ECHONL);
    // Silence first: what is typed at the prompt must not be shown, nor thrown away.
    tcsetattr(&stdin, SetArg::TCSADRAIN, &silent).map_err(refused)?;
    eprint!("{prompt}");
    let answer = one_line(&mut stdin.lock());
    tcsetattr(&stdin, SetArg::TCSADRAIN, &loud).map_err(refused)?;
    match answer? {
        text if text.contains('\u{3}') => Err(Failure::Usage("given up".into())),
        text => Ok(text),
    }
}

fn one_line(from: &mut impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    from.take(1024)
        .read_line(&mut line)
        .map_err(|e| Failure::Usage(format!("cannot read the password: {e}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

/// Lists as tables, objects as lines, anything else as it is.
fn for_people(command: &Command, result: &Value) -> String {
    match result {
        Value::Array(rows) if !command.columns.is_empty() => {
            let titles = command.columns.iter().map(|c| c.to_uppercase()).collect();
            let cells = rows.iter().map(|row| command.columns.iter().map(|c| cell(&row[*c])).collect());
            aligned(std::iter::once(titles).chain(cells).collect())
        }
        Value::Object(fields) => {
            // A picture's data are no sight for people.
            let columns = command.columns.iter().filter(|column| **column != "data");
            aligned(columns.map(|c| vec![c.to_string(), cell(&fields[*c])]).collect())
        }
        Value::Array(items) => items.iter().map(|item| format!("{}\n", cell(item))).collect(),
        other => format!("{}\n", cell(other)),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn aligned(rows: Vec<Vec<String>>) -> String {
    let width =
        |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
