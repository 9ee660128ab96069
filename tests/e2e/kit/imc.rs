//! The real Kamailio as a chat server, with its imc and msilo: what people move from.
//!
//! Its tables are in a directory of its own, which it leaves behind when it is stopped.

use super::process::{Process, Speaks};
use super::{PATIENCE, Server, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// As the distribution ships them, but for two columns of silo that msilo leaves empty.
const TEXT: [(&str, &str); 4] = [
    ("version", "table_name(string) table_version(int)\nimc_rooms:1\nimc_members:1\nsilo:8\n"),
    ("imc_rooms", "id(int,auto) name(string) domain(string) flag(int)\n"),
    ("imc_members", "id(int,auto) username(string) domain(string) room(string) flag(int)\n"),
    (
        "silo",
        "id(int,auto) src_addr(string) dst_addr(string) username(string) domain(string) inc_time(int) exp_time(int) \
         snd_time(int) ctype(string) body(string,null) extra_hdrs(string,null) callid(string,null) status(int,null)\n",
    ),
];
/// What a file of SQLite with imc's tables in it needs beside them.
const SQL: &str = "CREATE TABLE version (table_name VARCHAR(32) PRIMARY KEY, table_version INTEGER);
    INSERT INTO version VALUES ('imc_rooms', 1), ('imc_members', 1), ('silo', 8);
    CREATE TABLE silo (id INTEGER PRIMARY KEY NOT NULL, src_addr VARCHAR(255) DEFAULT '' NOT NULL,
        dst_addr VARCHAR(255) DEFAULT '' NOT NULL, username VARCHAR(64) DEFAULT '' NOT NULL,
        domain VARCHAR(64) DEFAULT '' NOT NULL, inc_time INTEGER DEFAULT 0 NOT NULL, exp_time INTEGER DEFAULT 0 NOT NULL,
        snd_time INTEGER DEFAULT 0 NOT NULL, ctype VARCHAR(32) DEFAULT 'text/plain' NOT NULL, body BLOB,
        extra_hdrs TEXT, callid VARCHAR(128) DEFAULT '' NOT NULL, status INTEGER DEFAULT 0 NOT NULL);";

/// What it keeps its tables in.
pub enum Holds {
    /// db_text, empty.
    Text,
    /// A file of SQLite that has `imc_rooms` and `imc_members` already.
    Sqlite(PathBuf),
}

pub struct Imc {
    port: u16,
    dir: TempDir,
    /// Gone when it was stopped.
    process: Option<Process>,
}

impl Imc {
    pub fn start(holds: Holds) -> Imc {
        let dir = TempDir::new().expect("a directory for kamailio");
        let port = free_port();
        let (module, url) = match holds {
            Holds::Text => {
                for (table, text) in TEXT {
                    std::fs::write(dir.path().join(table), text).expect("a table");
                }
                ("db_text.so", format!("text://{}", dir.path().display()))
            }
            Holds::Sqlite(file) => {
                let db = rusqlite::Connection::open(&file).expect("the file");
                db.execute_batch(SQL).expect("tables beside imc's");
                ("db_sqlite.so", format!("sqlite:///{}", file.display()))
            }
        };
        let config = dir.path().join("imc.cfg");
        std::fs::write(&config, configuration(port, module, &url)).expect("its configuration");
        let mut command = Command::new("kamailio");
        command.arg("-f").arg(&config).args(["-DD", "-E", "-m", "64", "-M", "8"]);
        command.arg("-Y").arg(dir.path()).arg("-w").arg(dir.path()).stdin(Stdio::null());
        let process = super::await_options(port, Process::start("kamailio", &mut command, Speaks::Stderr));
        Imc { port, dir, process: Some(process) }
    }

    /// Stops it as its administrator does: it writes its tables then. They stay until this is dropped.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("a process id fits"));
        if kill(pid, Signal::SIGTERM).is_ok() {
            process.wait(PATIENCE);
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Server for Imc {
    fn port(&self) -> u16 {
        self.port
    }

    fn echoes_port(&self) -> bool {
        false
    }
}

impl Drop for Imc {
    fn drop(&mut self) {
        if let (true, Some(process)) = (std::thread::panicking(), &self.process) {
            eprintln!("--- kamailio said ---\n{}\n---", process.stderr.text());
        }
        self.stop();
    }
}

/// Rooms are `team` and `lounge`; nobody registers, so that what is sent to people waits.
fn configuration(port: u16, module: &str, url: &str) -> String {
    format!(
        r#"debug=2
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "{module}"
loadmodule "imc.so"
loadmodule "msilo.so"
modparam("imc|msilo", "db_url", "{url}")
modparam("imc", "outbound_proxy", "sip:127.0.0.1:{port}")
request_route {{
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    if (!is_method("MESSAGE")) {{ sl_send_reply("405", "Method Not Allowed"); exit; }}
    if (!t_newtran()) {{ sl_reply_error(); exit; }}
    if ($rU =~ "^(chat-manager|team|lounge)$") {{
        imc_manager();
        t_reply("202", "Accepted");
        exit;
    }}
    if (m_store("$ru")) {{ t_reply("202", "Accepted"); }} else {{ t_reply("503", "Service Unavailable"); }}
}}
"#
    )
}
