//! Reply FIFOs: where a client of the FIFO waits for its answer.
//!
//! Prevents that an answer is written into a file, over a link, into another directory, or to somebody who may not
//! manage; and that a client which vanished holds anything for long. Never makes a file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// After what times, in ms, somebody is looked for who reads, and how often in all: for 2 s. The peers give up after
/// 320 ms; a shell on a busy machine may take longer to its `cat`.
const LOOKS: [u64; 5] = [2, 5, 10, 20, 40];
const MAX_LOOKS: usize = 53;
/// Who reads nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(5);
/// Bytes between two looks at the clock.
const CHUNK: usize = 64 * 1024;
/// Answers that may wait for their readers.
const MAX_WAITING: usize = 256;
/// Bytes of these answers together.
const MAX_BYTES: usize = 64 << 20;

/// Whether a client may name its FIFO so: no `.`, `/` or `\`, as with the peers.
pub fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '.' | '/' | '\\'))
}

/// Answers on their way.
pub struct Replies {
    dir: PathBuf,
    /// Whose members may have answers, besides root and ourselves.
    group: Gid,
    tasks: JoinSet<()>,
    /// Oldest first, with their sizes.
    waiting: VecDeque<(AbortHandle, usize)>,
}

impl Replies {
    pub fn new(dir: PathBuf, group: Gid) -> Replies {
        Replies { dir, group, tasks: JoinSet::new(), waiting: VecDeque::new() }
    }

    /// Sends `answer` to the FIFO `name`; the oldest answers that nobody reads make way for it.
    pub fn send(&mut self, name: &str, answer: Vec<u8>) {
        if !is_name(name) {
            tracing::debug!(?name, "FIFO: no name for a reply FIFO");
            return;
        }
        while self.tasks.try_join_next().is_some() {}
        self.waiting.retain(|(task, _)| !task.is_finished());
        let mut bytes: usize = self.waiting.iter().map(|(_, bytes)| bytes).sum();
        while self.waiting.len() >= MAX_WAITING || bytes > MAX_BYTES {
            let Some((oldest, size)) = self.waiting.pop_front() else { break };
            oldest.abort();
            bytes -= size;
        }
        let (path, group, size) = (self.dir.join(name), self.group, answer.len());
        let task = self.tasks.spawn(async move {
            if let Err(error) = deliver(&path, group, &answer).await {
                tracing::debug!(path = %path.display(), %error, "FIFO: answer not taken");
            }
        });
        self.waiting.push_back((task, size));
    }
}

async fn deliver(path: &Path, group: Gid, answer: &[u8]) -> io::Result<()> {
    let mut looks = LOOKS.into_iter().chain(std::iter::repeat(40)).take(MAX_LOOKS);
    let fifo = loop {
        match (open(path, group), looks.next()) {
            (Err(error), Some(pause)) if error.raw_os_error() == Some(libc::ENXIO) => {
                sleep(Duration::from_millis(pause)).await;
            }
            (opened, _) => break opened?,
        }
    };
    let mut fifo = pipe::Sender::from_file(fifo)?;
    for chunk in answer.chunks(CHUNK) {
        timeout(STALLED, fifo.write_all(chunk)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}

/// Opens the FIFO at `path` for writing; `ENXIO` while nobody reads.
fn open(path: &Path, group: Gid) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
    let file = OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)?;
    // What was opened is looked at, not what has the name now.
    let meta = file.metadata()?;
    let refused = |what: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned()));
    if !meta.file_type().is_fifo() {
        return refused("it is not a FIFO");
    }
    if meta.nlink() != 1 {
        return refused("it has other names, or none");
    }
    if !may_have_answers(Uid::from_raw(meta.uid()), group) {
        return refused("it belongs to somebody who may not write to the command FIFO");
    }
    Ok(file)
}

/// Root, ourselves, and the members of the command FIFO's group.
fn may_have_answers(owner: Uid, group: Gid) -> bool {
    if owner.is_root() || owner == geteuid() {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(owner) else { return false };
    let Ok(name) = std::ffi::CString::new(user.name) else { return false };
    user.gid == group || getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        for name in ["kamailio_receiver_4711", "r", "opensips_fifo_reply_4711_1795211535_123", "a-b"] {
            assert!(is_name(name), "{name}");
        }
        let long = "x".repeat(101);
        for name in ["", ".", "..", "a.b", "/tmp/x", "a/b", "a\\b", "a b", "a\nb", "a\0", "ü", &long] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn only_a_fifo_that_is_one_and_nothing_else_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let opened = |name: &str| open(&at(name), Gid::current());
        let fifo = |name: &str| mkfifo(&at(name), Mode::from_bits_truncate(0o600)).unwrap();
        let reader = |name: &str| {
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(at(name)).unwrap()
        };
        assert_eq!(opened("none").unwrap_err().kind(), io::ErrorKind::NotFound);
        fifo("good");
        assert_eq!(opened("good").unwrap_err().raw_os_error(), Some(libc::ENXIO), "nobody reads");
        let mut end = reader("good");
        assert!(opened("good").is_ok());
        std::fs::write(at("file"), "precious").unwrap();
        assert_eq!(opened("file").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "precious");
        symlink(at("good"), at("link")).unwrap();
        assert_eq!(opened("link").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        fifo("twice");
        std::fs::hard_link(at("twice"), at("second")).unwrap();
        let _end = reader("twice");
        assert_eq!(opened("twice").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        // Nothing came out of any of them.
        assert_eq!(end.read(&mut [0; 8]).unwrap(), 0);
        assert!(may_have_answers(Uid::current(), Gid::from_raw(0)));
        assert!(!may_have_answers(Uid::from_raw(0x7fff_0000), Gid::from_raw(0)), "nobody knows him");
    }

    #[test]
    fn answers_that_nobody_reads_make_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mode = Mode::from_bits_truncate(0o600);
        mkfifo(&dir.path().join("dead"), mode).unwrap();
        mkfifo(&dir.path().join("live"), mode).unwrap();
        let live = dir.path().join("live");
        let reader = std::thread::spawn(move || std::fs::read_to_string(live));
        runtime.block_on(async {
            let mut replies = Replies::new(dir.path().to_path_buf(), Gid::current());
            for _ in 0..1000 {
                replies.send("dead", vec![b'x'; 1 << 20]);
                assert!(replies.waiting.len() <= MAX_WAITING);
                assert!(replies.waiting.iter().map(|(_, size)| size).sum::<usize>() <= MAX_BYTES + (1 << 20));
            }
            replies.send("live", b"here".to_vec());
            let (newest, _) = replies.waiting.back().cloned().unwrap();
            while !newest.is_finished() {
                replies.tasks.join_next().await;
            }
        });
        assert_eq!(reader.join().unwrap().unwrap(), "here");
    }
}
