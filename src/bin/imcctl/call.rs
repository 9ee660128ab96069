//! Calls over the daemon's Unix socket: JSON-RPC 2.0, one document a line.
//!
//! Prevents that a daemon which is not there looks like one that refuses. Never tries again by itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imcd::config::Config;
use imcd::edge::control::MAX_DOCUMENT;
use imcd::edge::control::rpc::{INVALID_PARAMS, METHOD_NOT_FOUND};
use imcd::edge::control::table::{self, Command};
use serde_json::{Value, json};

use super::Failure;

/// Where a packaged daemon listens, and then one started by hand.
const USUAL_SOCKETS: [&str; 2] = ["/run/imcd/imcd.sock", "./imcd.sock"];
/// Longer than the daemon needs for anything but what takes as long as it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open connection to the daemon.
pub struct Daemon {
    stream: BufReader<UnixStream>,
    calls: u64,
}

/// The configuration in this file, with the variables of the environment over it.
pub fn configuration(file: Option<&Path>) -> Result<Config, Failure> {
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::load(file, env).map(|(config, _)| config).map_err(|e| Failure::Usage(e.to_string()))
}

/// Where the daemon listens, as far as it was told.
pub fn socket_path(given: Option<&PathBuf>, config: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = given.cloned().or_else(|| std::env::var_os("IMCD_SOCKET").map(PathBuf::from)) {
        return Ok(path);
    }
    if let Some(file) = config {
        return Ok(configuration(Some(file))?.control_socket());
    }
    let [packaged, by_hand] = USUAL_SOCKETS.map(PathBuf::from);
    Ok(if packaged.exists() { packaged } else { by_hand })
}

fn lost(e: std::io::Error) -> Failure {
    Failure::Usage(format!("the daemon does not answer: {e}"))
}

impl Daemon {
    pub fn connect(path: &Path) -> Result<Daemon, Failure> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        let at = path.display();
        let stream = UnixStream::connect(path).map_err(|e| {
            Failure::Usage(match e.kind() {
                NotFound | ConnectionRefused => format!("no daemon at {at} (is imcd running?)"),
                PermissionDenied => format!("{at}: permission denied (are you in the daemon's group?)"),
                _ => format!("{at}: {e}"),
            })
        })?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(lost)?;
        Ok(Daemon { stream: BufReader::new(stream), calls: 0 })
    }

    /// Calls a method and waits for its result.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        self.calls += 1;
        let patience = (!table::find(method).is_some_and(Command::takes_long)).then_some(PATIENCE);
        self.stream.get_ref().set_read_timeout(patience).map_err(lost)?;
        let request = json!({ "jsonrpc": "2.0", "id": self.calls, "method": method, "params": params });
        let request = format!("{request}\n");
        if request.len() > MAX_DOCUMENT {
            let bytes = request.len();
            return Err(Failure::Usage(format!(
                "the daemon takes {MAX_DOCUMENT} bytes at once; this is {bytes}"
            )));
        }
        self.stream.get_mut().write_all(request.as_bytes()).map_err(lost)?;
        let mut reply = self.document()?;
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

    /// From now on the daemon may say nothing for as long as it likes.
    pub fn wait_long(&self) -> Result<(), Failure> {
        self.stream.get_ref().set_read_timeout(None).map_err(lost)
    }

    /// The next document.
    pub fn document(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(lost)?;
        serde_json::from_str(&line).map_err(|_| Failure::Usage("the daemon closed the connection".into()))
    }
}
