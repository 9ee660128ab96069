//! How far the daemon is with what takes long, on one line of the terminal.
//!
//! Prevents that somebody ends an import because nothing moves. Never writes where nobody looks: standard error, and
//! only if that is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use imcd::edge::control::table::Command;
use serde_json::{Value, json};

use super::Failure;
use super::call::Daemon;
use super::show::harmless;

/// How often the line is written anew.
const EVERY: Duration = Duration::from_secs(1);
/// To the beginning of the line, the line empty.
const ANEW: &str = "\r\x1b[K";

/// Does `work`, and tells beside it how far `command` is.
pub fn beside<T>(
    command: &Command,
    connect: impl FnOnce() -> Result<Daemon, Failure>,
    work: impl FnOnce() -> T,
) -> T {
    // Who gets no second connection is told nothing; the work is what counts.
    let watcher = if std::io::stderr().is_terminal() { connect().ok() } else { None };
    let Some(watcher) = watcher else { return work() };
    let (working, ended) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || tell(command.name, watcher, &ended));
        let done = work();
        drop(working);
        done
    })
}

fn tell(command: &str, mut daemon: Daemon, ended: &Receiver<()>) {
    let mut err = std::io::stderr();
    while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let Ok(Value::Array(works)) = daemon.call("server.work", json!([])) else { break };
        let ours = works.iter().rev().find(|work| work["command"] == command && work["state"] == "running");
        if let Some(line) = ours.and_then(line) {
            let _ = write!(err, "{ANEW}{line}").and_then(|()| err.flush());
        }
    }
    let _ = write!(err, "{ANEW}").and_then(|()| err.flush());
}

/// `None`: it has not begun to count.
fn line(work: &Value) -> Option<String> {
    let (step, done) = (work["step"].as_str().filter(|step| !step.is_empty())?, work["done"].as_u64()?);
    Some(match work["total"].as_u64() {
        Some(total) if total > 0 => format!("{}: {done} of {total}", harmless(step)),
        _ => format!("{}: {done}", harmless(step)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_is_one_line() {
        let work = |step: &str, total: u64| line(&json!({ "step": step, "done": 12, "total": total }));
        assert_eq!(work("filling rooms", 90).unwrap(), "filling rooms: 12 of 90");
        assert_eq!(work("reading rows", 0).unwrap(), "reading rows: 12");
        assert_eq!(work("", 0), None);
    }
}
