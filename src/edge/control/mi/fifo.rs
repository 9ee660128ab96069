//! The FIFO file: made, kept, read, removed.
//!
//! Prevents a FIFO that somebody else made to read what administrators write, two daemons on one, and one that a
//! cleaner of temporary files took away for good. Never touches what is no FIFO of ours.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, geteuid, mkfifo};

/// A FIFO that is read. Its file goes when it does.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    /// Device and inode: the file is removed only if it is still this one.
    identity: (u64, u64),
    pub group: Gid,
}

impl Fifo {
    /// Makes the FIFO with mode 0660, or takes the one that a dead daemon of ours left: somebody may wait there.
    /// `AddrInUse` if somebody reads it, `AlreadyExists` if something else is there.
    pub fn make(path: &Path) -> io::Result<(Fifo, File)> {
        let told = |kind, what: &str| Err(io::Error::new(kind, format!("{}: {what}", path.display())));
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?,
            Err(e) => return Err(e),
            Ok(meta) if !meta.file_type().is_fifo() => {
                return told(io::ErrorKind::AlreadyExists, "is there already and is not a FIFO");
            }
            Ok(meta) if Uid::from_raw(meta.uid()) != geteuid() || meta.nlink() != 1 => {
                return told(io::ErrorKind::AlreadyExists, "is a FIFO that somebody else made");
            }
            Ok(_) => match open(path, OpenOptions::new().write(true)) {
                Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {}
                Err(e) => return Err(e),
                Ok(_) => return told(io::ErrorKind::AddrInUse, "somebody reads it: another daemon?"),
            },
        }
        let file = open(path, OpenOptions::new().read(true))?;
        let meta = file.metadata()?;
        // Between the looks somebody may have put another file there.
        if !meta.file_type().is_fifo() || Uid::from_raw(meta.uid()) != geteuid() || meta.nlink() != 1 {
            return told(io::ErrorKind::AlreadyExists, "is a FIFO that somebody else made");
        }
        file.set_permissions(Permissions::from_mode(0o660))?;
        let identity = (meta.dev(), meta.ino());
        Ok((Fifo { path: path.to_path_buf(), identity, group: Gid::from_raw(meta.gid()) }, file))
    }

    /// Whether its path still leads to it.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity)
    }

    /// Another reading end of it, or of a new one if its file is gone.
    pub fn reopen(&mut self) -> io::Result<File> {
        if self.is_there() {
            let file = open(&self.path, OpenOptions::new().read(true))?;
            let meta = file.metadata()?;
            if (meta.dev(), meta.ino()) == self.identity {
                return Ok(file);
            }
        }
        let (fresh, file) = Fifo::make(&self.path)?;
        tracing::info!(path = %self.path.display(), "the FIFO was gone: made anew");
        // What is dropped here no longer has its path, so it removes nothing.
        *self = fresh;
        Ok(file)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        if self.is_there() {
            // Nothing is lost if it stays: the next start takes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY).bits()).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_for_owner_and_group_and_goes_with_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imcd_fifo");
        let (fifo, _file) = Fifo::make(&path).unwrap();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(meta.file_type().is_fifo());
        assert_eq!(meta.permissions().mode() & 0o777, 0o660);
        assert_eq!(Fifo::make(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "a second daemon");
        drop(fifo);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_was_left_is_taken_and_anything_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = Mode::from_bits_truncate(0o666);
        mkfifo(&at("left"), mode).unwrap();
        let (_fifo, _file) = Fifo::make(&at("left")).unwrap();
        assert_eq!(fs::metadata(at("left")).unwrap().permissions().mode() & 0o777, 0o660);
        fs::write(at("file"), "precious").unwrap();
        mkfifo(&at("target"), mode).unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        mkfifo(&at("twice"), mode).unwrap();
        fs::hard_link(at("twice"), at("second")).unwrap();
        for name in ["file", "link", "twice"] {
            assert_eq!(Fifo::make(&at(name)).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
    }

    #[test]
    fn one_that_was_removed_is_made_anew_and_one_that_was_replaced_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imcd_fifo");
        let (mut fifo, _file) = Fifo::make(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!fifo.is_there());
        let _again = fifo.reopen().unwrap();
        assert!(fifo.is_there());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        assert_eq!(fifo.reopen().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(fifo);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else's");
    }
}
