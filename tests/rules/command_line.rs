//! `imcd --check` and `--print-config`: what an administrator sees before he starts the daemon.

use std::path::Path;
use std::process::Command;

/// Runs imcd with these variables of ours and no others: stdout, stderr, exit code.
fn imcd(dir: &Path, args: &[&str], vars: &[(&str, &str)]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imcd"));
    let inherited =
        std::env::vars_os().map(|(name, _)| name).filter(|n| n.to_string_lossy().starts_with("IMCD_"));
    for name in inherited {
        command.env_remove(name);
    }
    let output = command.current_dir(dir).args(args).envs(vars.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn check_says_ok_or_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, vars: &[(&str, &str)]| {
        std::fs::write(dir.path().join("imcd.toml"), text).unwrap();
        imcd(dir.path(), &["--check", "--config", "imcd.toml"], vars)
    };
    assert_eq!(check("", &[]), ("imcd.toml: ok\n".into(), String::new(), Some(0)));
    let (out, err, code) = check("[sip]\nlisten = [\"tls:127.0.0.1:5061\"]\nt0_ms = 1", &[]);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(err.contains("imcd.toml: sip.t0_ms: unknown key: expected one of "), "{err}");
    assert!(
        err.contains("imcd.toml: sip.listen: \"tls:127.0.0.1:5061\": tls: comes in a later version"),
        "{err}"
    );
    let (out, err, code) = check("[sip]\ntrusted_peers = [\"192.0.2.0/24\"]", &[]);
    assert_eq!((out.as_str(), code), ("imcd.toml: ok\n", Some(0)));
    assert!(
        err.starts_with("imcd.toml: warning: sip.trusted_peers: 192.0.2.0/24 is neither loopback"),
        "{err}"
    );
    let (_, err, code) = check("", &[("IMCD_IMC__HASH_SIZE", "99")]);
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "environment variable IMCD_IMC__HASH_SIZE: imc.hash_size: 99: expected an integer from 0 to 16\n"
    );
    assert_eq!(imcd(dir.path(), &["--check", "--config", "none.toml"], &[]).2, Some(1));
}

#[test]
fn what_is_printed_is_what_is_in_effect_and_can_be_used_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.toml"), "domains = [\"example.org\"]\n[imc]\nhash_size = 6").unwrap();
    let vars = [("IMCD_IMC__HASH_SIZE", "8")];
    let (printed, _, code) = imcd(dir.path(), &["--print-config", "--config", "a.toml"], &vars);
    assert_eq!(code, Some(0));
    assert!(
        printed.contains("domains = [\"example.org\"]") && printed.contains("hash_size = 8"),
        "{printed}"
    );
    std::fs::write(dir.path().join("b.toml"), &printed).unwrap();
    assert_eq!(imcd(dir.path(), &["--print-config", "--config", "b.toml"], &[]).0, printed);
}
