//! The Debian package, as far as it can be read: its configuration, manual pages, unit, file list.
//!
//! Prevents a package that grew old beside the sources. Never installs anything: tools/test-package.sh does.

use std::path::Path;
use std::process::Command;

use crate::sources;

/// What tools/package-files.sh makes, in a directory of its own.
fn made() -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_imcctl")).parent().unwrap();
    let made = Command::new(sources::root().join("tools/package-files.sh"))
        .args([binaries, out.path()])
        .output()
        .unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    out
}

fn manifest() -> toml::Value {
    let manifest: toml::Value = toml::from_str(&sources::text(Path::new("Cargo.toml"))).unwrap();
    manifest["package"]["metadata"]["deb"].clone()
}

/// Source and destination of each file of the package.
fn assets() -> Vec<(String, String)> {
    let manifest = manifest();
    let words = |asset: &toml::Value, n: usize| asset[n].as_str().unwrap().to_owned();
    manifest["assets"].as_array().unwrap().iter().map(|asset| (words(asset, 0), words(asset, 1))).collect()
}

/// Values of a key of the unit file.
fn unit(key: &str) -> Vec<String> {
    let text = sources::text(Path::new("etc/imcd.service"));
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    text.lines().filter_map(value).collect()
}

#[test]
fn its_configuration_is_the_manual_with_its_own_directories() {
    let out = made();
    let ours = std::fs::read_to_string(out.path().join("imcd.toml")).unwrap();
    let manual = sources::text(Path::new("etc/imcd.toml"));
    assert_eq!(ours.lines().count(), manual.lines().count());
    let changed: Vec<_> = ours.lines().zip(manual.lines()).filter(|(a, b)| a != b).map(|(a, _)| a).collect();
    assert_eq!(changed.len(), 4, "{changed:?}");
    assert!(changed[0].starts_with("# This file holds every key"), "{changed:?}");
    assert!(changed[1].starts_with("#aliases = {"), "{changed:?}");
    assert_eq!(changed[2..], ["data_dir = \"/var/lib/imcd\"", "run_dir = \"/run/imcd\""]);
    // With a domain of his own nobody has to touch the aliases.
    let own = ours.replace("\ndomains = [\"127.0.0.1\"]", "\ndomains = [\"example.org\"]");
    assert_ne!(own, ours);
    for text in [ours, own] {
        let file = out.path().join("checked.toml");
        std::fs::write(&file, text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_imcd"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"IMCD_"))
        {
            check.env_remove(name);
        }
        let checked = check.arg("--check").arg("--config").arg(&file).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    }
}

#[test]
fn everything_it_lists_is_made_or_is_in_the_repository() {
    let out = made();
    let binaries = [env!("CARGO_BIN_EXE_imcd"), env!("CARGO_BIN_EXE_imcctl")];
    let files = sources::files(".");
    for (source, to) in assets() {
        if let Some(name) = source.strip_prefix("target/release/package/") {
            let size = std::fs::metadata(out.path().join(name)).map(|file| file.len());
            assert!(size.is_ok_and(|size| size > 0), "{name} is not made");
        } else if let Some(name) = source.strip_prefix("target/release/") {
            assert!(binaries.iter().any(|path| path.ends_with(&format!("/{name}"))), "{name}");
        } else {
            let (start, end) = source.split_once('*').unwrap_or((&source, ""));
            let is_it = |path: &&std::path::PathBuf| {
                let path = path.to_string_lossy();
                path.starts_with(start) && path.ends_with(end)
            };
            assert!(files.iter().any(|path| is_it(&path)), "{source}: there is no such file");
        }
        assert!(!to.starts_with('/'), "{to}");
    }
    // Whoever adds an example or a page adds it to the package.
    for path in sources::files("examples").iter().chain(&sources::files("docs")) {
        let path = path.to_string_lossy();
        let listed = assets().iter().any(|(source, _)| match source.split_once('*') {
            Some((start, end)) => {
                let rest = path.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
                rest.is_some_and(|rest| !rest.contains('/'))
            }
            None => *source == path,
        });
        // These are for cargo.
        assert!(listed || path.ends_with(".rs"), "{path} is not in the package");
    }
}

#[test]
fn the_unit_starts_what_is_installed_with_the_package_s_configuration() {
    let assets = assets();
    let exec = unit("ExecStart").concat();
    let words: Vec<&str> = exec.split(' ').collect();
    let installed = |to: &str| {
        assets.iter().any(|(source, dir)| {
            let name = Path::new(source).file_name().unwrap().to_string_lossy();
            *dir == to[1..] || (dir.ends_with('/') && format!("{dir}{name}") == to[1..])
        })
    };
    assert!(matches!(words[..], ["/usr/sbin/imcd", "--config", "/etc/imcd/imcd.toml"]), "{exec}");
    assert!(installed(words[0]) && installed(words[2]), "{exec}");
    for (key, value) in [
        ("Type", "notify"),
        ("User", "imcd"),
        ("Group", "imcd"),
        ("StateDirectory", "imcd"),
        ("RuntimeDirectory", "imcd"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
    ] {
        assert_eq!(unit(key), [value], "{key}");
    }
    assert!(unit("WatchdogSec").len() == 1 && unit("ExecReload")[0].contains("-HUP"));
    // Clients of the FIFO make their reply FIFOs in the common /tmp.
    assert!(unit("PrivateTmp").is_empty());
}

#[test]
fn what_runs_at_installation_is_shell_that_can_be_read() {
    let scripts = ["packaging/scripts", "tools"].map(sources::files).concat();
    assert!(scripts.len() > 3);
    for path in scripts {
        let text = sources::text(&path);
        assert!(text.starts_with("#!/bin/sh\n# "), "{}: it says first what it is", path.display());
        let read = Command::new("sh").arg("-n").arg(sources::root().join(&path)).output().unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{}: {read:?}", path.display());
        if path.starts_with("packaging") {
            assert!(text.contains("\nset -e\n") && text.contains("\n#DEBHELPER#\n"), "{}", path.display());
        }
    }
}

#[test]
fn the_manual_pages_are_roff_that_man_shows() {
    let out = made();
    if Command::new("man").arg("--version").output().is_err() {
        eprintln!("skipped: there is no man here");
        return;
    }
    for (page, words) in [
        ("imcd.8", "SIGHUP"),
        ("imcctl.1", "imcctl room create"),
        ("imcd.toml.5", "flow_timer_s = 120"),
        // An empty line of the comments, and lines that stay as they are.
        ("imcd.toml.5", "IMCD_OFFLINE__ENABLED=false"),
    ] {
        let shown = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l"])
            .arg(out.path().join(format!("{page}.gz")))
            .env("MANWIDTH", "120")
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.status.success() && shown.stderr.is_empty(), "{page}: {shown:?}");
        assert!(text.contains(words), "{page}: no {words:?} in\n{text}");
    }
}
