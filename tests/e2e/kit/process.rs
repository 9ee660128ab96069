//! A child process whose output is followed as it appears, and which dies with its driver.

use super::PATIENCE;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Text that grows while others wait for words in it.
#[derive(Default)]
pub struct Transcript {
    text: Mutex<Text>,
    grew: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

impl Transcript {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Reads `source` to its end on a thread of its own.
    pub fn follow(mut source: impl Read + Send + 'static) -> Arc<Transcript> {
        let transcript = Arc::new(Transcript::default());
        let writer = Arc::clone(&transcript);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = source.read(&mut chunk) {
                writer.lock().bytes.extend_from_slice(&chunk[..read]);
                writer.grew.notify_all();
            }
            writer.lock().ended = true;
            writer.grew.notify_all();
        });
        transcript
    }

    /// Waits until `words` stand after byte `start`; the position behind them, or None at the deadline or the
    /// end of the output.
    pub fn wait_for(&self, words: &str, start: usize, patience: Duration) -> Option<usize> {
        self.wait_for_any(&[words], start, patience)
    }

    /// The same for whichever of `spellings` comes first.
    fn wait_for_any(&self, spellings: &[&str], start: usize, patience: Duration) -> Option<usize> {
        let deadline = Instant::now() + patience;
        let mut text = self.lock();
        loop {
            let unread = &text.bytes[start.min(text.bytes.len())..];
            let behind = |words: &&str| Some(find(unread, words.as_bytes())? + words.len());
            if let Some(behind) = spellings.iter().filter_map(behind).min() {
                return Some(start + behind);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if text.ended {
                return None;
            }
            text = self.grew.wait_timeout(text, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Waits until no more can come, at most `patience`.
    fn wait_for_end(&self, patience: Duration) {
        let text = self.lock();
        let ended = self.grew.wait_timeout_while(text, patience, |text| !text.ended);
        drop(ended);
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Where a program says what the tests listen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Stdout,
    Stderr,
}

pub struct Process {
    name: String,
    speaks: Speaks,
    child: Child,
    pub stdout: Arc<Transcript>,
    pub stderr: Arc<Transcript>,
    seen: usize,
}

impl Process {
    /// Starts `command` with its output followed. Standard input is what the caller set.
    pub fn start(name: &str, command: &mut Command, speaks: Speaks) -> Process {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let stdout = Transcript::follow(child.stdout.take().expect("stdout is piped"));
        let stderr = Transcript::follow(child.stderr.take().expect("stderr is piped"));
        Process { name: name.to_string(), speaks, child, stdout, stderr, seen: 0 }
    }

    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin is piped")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn voice(&self, speaks: Speaks) -> &Transcript {
        match speaks {
            Speaks::Stdout => &self.stdout,
            Speaks::Stderr => &self.stderr,
        }
    }

    /// Waits for `words`, after those of the last call; panics with all that was said otherwise.
    pub fn expect(&mut self, words: &str) {
        self.expect_any(&[words]);
    }

    /// The same for whichever of `spellings` comes first.
    pub fn expect_any(&mut self, spellings: &[&str]) {
        match self.voice(self.speaks).wait_for_any(spellings, self.seen, PATIENCE) {
            Some(behind) => self.seen = behind,
            None => self.fail(&format!("did not show {}", spellings.join(" or "))),
        }
    }

    /// Waits until it says anywhere that it is ready. All stays unread: what waited for a phone may come before its
    /// word that it has registered.
    pub fn expect_ready(&mut self, speaks: Speaks, words: &str) {
        if self.voice(speaks).wait_for(words, 0, PATIENCE).is_none() {
            self.fail(&format!("is not ready: it did not say {words:?}"));
        }
    }

    pub fn fail(&mut self, what: &str) -> ! {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("it has ended, {status}"),
            _ => "it is running".to_string(),
        };
        let (output, errors) = (self.stdout.text(), self.stderr.text());
        panic!(
            "{}: {what} ({state}; {} bytes were read)\n--- stdout ---\n{output}\n--- stderr ---\n{errors}\n---",
            self.name, self.seen
        );
    }

    /// None if it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        // Its output closes when it ends: that is the event. The status follows at once.
        self.stdout.wait_for_end(patience);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                _ if Instant::now() > deadline => return None,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Ends it the hard way, as a power cut ends a phone.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The path of a new file in `dir`.
pub fn write(dir: &tempfile::TempDir, file: &str, text: &str) -> PathBuf {
    let path = dir.path().join(file);
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}
