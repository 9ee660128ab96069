//! A disk that can be full: a small tmpfs that only the daemon sees, or, where that is not allowed, a limit on
//! the size of its files (setrlimit(2), RLIMIT_FSIZE).
//!
//! Never touches a file system of the machine.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::{Daemon, Setup};

pub enum Disk {
    /// Mounted over the data directory in the daemon's own mount namespace.
    Tmpfs,
    FileSize,
}

/// A daemon whose data lies on a disk that [`Disk::fill`] can fill.
pub fn bounded(setup: Setup) -> (Setup, Disk) {
    let mount = "mount -t tmpfs -o size=16m,mode=700 imcd-test";
    let probe = Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{mount} '{}'", setup.dir().display())])
        .output()
        .is_ok_and(|o| o.status.success());
    if probe {
        let data = setup.dir().join("data");
        std::fs::create_dir(&data).expect("a data directory");
        let data = data.display().to_string();
        let script = format!("{mount} '{data}' && exec \"$@\"");
        let setup = setup.set("data_dir", &format!("\"{data}\""));
        return (setup.wrap(&["unshare", "-m", "sh", "-c", &script, "sh"]), Disk::Tmpfs);
    }
    // SIGXFSZ ignored: writes beyond the limit then fail with EFBIG.
    (setup.wrap(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"]), Disk::FileSize)
}

impl Disk {
    fn filler(daemon: &Daemon) -> PathBuf {
        let data = daemon.dir().join("data");
        let inside = data.strip_prefix("/").expect("temporary directories are absolute");
        PathBuf::from(format!("/proc/{}/root", daemon.pid())).join(inside).join("filler")
    }

    /// From now on the daemon cannot make its files grow.
    pub fn fill(&self, daemon: &Daemon) {
        match self {
            Disk::Tmpfs => {
                let mut file = File::create(Self::filler(daemon)).expect("the tmpfs is reachable");
                let (mut written, mut chunk) = (0usize, vec![0u8; 65536]);
                while !chunk.is_empty() {
                    match file.write(&chunk) {
                        Ok(n) => written += n,
                        Err(_) => chunk.truncate(chunk.len() / 2),
                    }
                    assert!(written < 64 << 20, "the tmpfs is not bounded");
                }
            }
            Disk::FileSize => limit(daemon, "4096:unlimited"),
        }
    }

    pub fn free(&self, daemon: &Daemon) {
        match self {
            Disk::Tmpfs => std::fs::remove_file(Self::filler(daemon)).expect("the filler can be removed"),
            Disk::FileSize => limit(daemon, "unlimited:unlimited"),
        }
    }
}

fn limit(daemon: &Daemon, fsize: &str) {
    let pid = daemon.pid().to_string();
    let output = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={fsize}")]).output();
    assert!(output.is_ok_and(|o| o.status.success()), "prlimit (util-linux) is needed for this proof");
}
