//! The real MariaDB and PostgreSQL, each in a directory of its own: what dumps are made with.
//!
//! Neither listens on the network. Both end with their driver.

use super::process::{Process, Speaks};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Where Debian has the programs of servers, which is in nobody's search path.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let theirs = versions.map(|version| version.path().join("bin"));
    let places = theirs.chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
    places.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// True if both are installed. Their absence fails the test, unless `IMCD_SKIP_PEERS=1`.
pub fn databases_installed() -> bool {
    let needed = [
        "mariadbd",
        "mariadb-install-db",
        "mariadb",
        "mariadb-dump",
        "initdb",
        "postgres",
        "psql",
        "pg_dump",
    ];
    let missing: Vec<_> = needed.into_iter().filter(|name| program(name).is_none()).collect();
    missing.is_empty() || super::installed(&missing)
}

pub struct Database {
    dir: TempDir,
    client: Client,
    // Ends before its directory does.
    _process: Process,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Client {
    MariaDb,
    Postgres,
}

/// PostgreSQL refuses to be root.
fn command(client: Client, name: &str) -> Command {
    let program = program(name).unwrap_or_else(|| panic!("{name} is installed"));
    if client == Client::MariaDb || !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

impl Database {
    pub fn maria() -> Database {
        let dir = TempDir::new().expect("a directory for MariaDB");
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("users").expect("a user").name;
        let (data, user) = (with("--datadir=", &dir.path().join("data")), format!("--user={user}"));
        let mut make = command(Client::MariaDb, "mariadb-install-db");
        done(make.args(["--no-defaults", "--skip-test-db", &user]).arg(&data).current_dir(dir.path()), b"");
        let mut serve = command(Client::MariaDb, "mariadbd");
        serve
            .args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0", &user])
            .arg(&data);
        serve.arg(with("--socket=", &dir.path().join("sock"))).stdin(Stdio::null());
        let mut process = Process::start("mariadbd", &mut serve, Speaks::Stderr);
        process.expect_ready(Speaks::Stderr, "ready for connections");
        Database { dir, client: Client::MariaDb, _process: process }
    }

    pub fn postgres() -> Database {
        let dir = TempDir::new().expect("a directory for PostgreSQL");
        if nix::unistd::geteuid().is_root() {
            let theirs =
                nix::unistd::User::from_name("postgres").expect("users").expect("its user is installed");
            nix::unistd::chown(dir.path(), Some(theirs.uid), Some(theirs.gid)).expect("root may");
        }
        let data = dir.path().join("data");
        let mut make = command(Client::Postgres, "initdb");
        let options = ["-U", "imcd", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
        done(make.args(options).arg(&data).current_dir(dir.path()), b"");
        let mut serve = command(Client::Postgres, "postgres");
        serve.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-h", "", "-F"]);
        serve.current_dir(dir.path()).stdin(Stdio::null());
        let mut process = Process::start("postgres", &mut serve, Speaks::Stderr);
        process.expect_ready(Speaks::Stderr, "ready to accept connections");
        let database = Database { dir, client: Client::Postgres, _process: process };
        database.run("createdb", &["kamailio"], b"");
        database
    }

    /// Runs one of its programs against it; what that prints.
    fn run(&self, name: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = command(self.client, name);
        match self.client {
            Client::MariaDb => {
                command.arg("--no-defaults").arg(with("--socket=", &self.dir.path().join("sock")))
            }
            Client::Postgres => command.arg("-h").arg(self.dir.path()).args(["-U", "imcd"]),
        };
        done(command.args(arguments).current_dir(self.dir.path()), input)
    }

    /// Runs SQL, in a database called kamailio.
    pub fn sql(&self, sql: &str) {
        match self.client {
            Client::MariaDb => {
                let sql = format!(
                    "CREATE DATABASE IF NOT EXISTS kamailio CHARACTER SET utf8mb4;\nUSE kamailio;\n{sql}"
                );
                self.run("mariadb", &["--default-character-set=utf8mb4"], sql.as_bytes())
            }
            Client::Postgres => {
                self.run("psql", &["-q", "-v", "ON_ERROR_STOP=1", "kamailio"], sql.as_bytes())
            }
        };
    }

    /// Its dump, made with these options more.
    pub fn dump(&self, options: &[&str]) -> Vec<u8> {
        let name = if self.client == Client::MariaDb { "mariadb-dump" } else { "pg_dump" };
        self.run(name, &[options, &["kamailio"]].concat(), b"")
    }
}

fn with(option: &str, path: &Path) -> OsString {
    let mut whole = OsString::from(option);
    whole.push(path);
    whole
}

/// Runs a program to its end; what it prints. Panics with what it says if it fails.
fn done(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // Who fails may not read all: that he says himself.
    let _ = writer.join();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
