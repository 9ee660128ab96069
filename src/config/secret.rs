//! A secret in a file of its own.
//!
//! Prevents that a secret stands in the configuration, which `--print-config` prints and everybody may read; that it is
//! in a file which everybody may read; and one that can be guessed by its length. Never tells what it read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Characters of a secret.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=1024;

/// What the file holds, without white space at both ends. The error says what is wrong.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let meta = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if !meta.is_file() {
        return Err("expected a file".into());
    }
    if meta.permissions().mode() & 0o007 != 0 {
        return Err("everybody may use this file: expected mode 0600 or 0640".into());
    }
    let mut text = String::new();
    let most = *LENGTH.end() as u64 + 64;
    let wrong =
        || format!("expected {} to {} characters of ASCII without spaces", LENGTH.start(), LENGTH.end());
    file.take(most).read_to_string(&mut text).map_err(|_| wrong())?;
    let text = text.trim();
    let fine = LENGTH.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fine { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_its_file_is_not_everybodys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let said = |content: &[u8], mode| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&path)
        };
        assert_eq!(said(b"0123456789abcdef\n", 0o600), Ok("0123456789abcdef".into()));
        assert_eq!(said(b"  0123456789abcdef  ", 0o640), Ok("0123456789abcdef".into()));
        for mode in [0o644, 0o604, 0o602] {
            assert!(said(b"0123456789abcdef", mode).unwrap_err().contains("mode 0600"), "{mode:o}");
        }
        let long = [b'x'; 5000];
        for content in [&b""[..], b"\n", b"short", b"0123456789 abcdef", b"0123456789\xff\xfeabcdef", &long] {
            assert!(said(content, 0o600).unwrap_err().starts_with("expected 16 to 1024"), "{content:?}");
        }
        assert!(read(dir.path()).unwrap_err().contains("expected a file"));
        assert!(read(&dir.path().join("none")).unwrap_err().starts_with("cannot be read: "));
    }
}
