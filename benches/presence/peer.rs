//! Kamailio's presence module as the bench runs it: everything in memory, everybody sees everybody.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kit::{Daemon, socket};

/// Where packages put modules and empty tables.
const MODULES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/kamailio/modules",
    "/usr/lib/aarch64-linux-gnu/kamailio/modules",
    "/usr/lib64/kamailio/modules",
    "/usr/local/lib64/kamailio/modules",
];
const TABLES: &[&str] = &["/usr/share/kamailio/dbtext/kamailio", "/usr/local/share/kamailio/dbtext/kamailio"];

/// The directories of modules, if the one for presence is among them.
pub fn find() -> Option<String> {
    let mut dirs: Vec<PathBuf> = std::env::var("KAMAILIO_MODULES").ok().into_iter().map(Into::into).collect();
    dirs.extend(MODULES.iter().map(PathBuf::from));
    dirs.retain(|dir| dir.is_dir());
    let has = |module: &str| dirs.iter().any(|dir| dir.join(module).exists());
    let whole = has("presence.so") && has("presence_xml.so") && has("db_text.so") && tables().is_some();
    let dirs: Vec<&str> = dirs.iter().filter_map(|dir| dir.to_str()).collect();
    whole.then(|| dirs.join(":"))
}

fn tables() -> Option<&'static Path> {
    TABLES.iter().map(Path::new).find(|dir| dir.join("active_watchers").exists())
}

/// Starts it in the foreground; its workers are its children.
pub fn start(modules: &str) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let address = socket().local_addr().unwrap().to_string();
    // It wants to see its tables, and leaves them alone.
    for table in ["version", "presentity", "active_watchers", "watchers", "xcap"] {
        std::fs::copy(tables().unwrap().join(table), dir.path().join(table)).unwrap();
    }
    let config = dir.path().join("kamailio.cfg");
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::fs::write(&config, configuration(modules, &address, dir.path(), workers)).unwrap();
    let child = Command::new("kamailio")
        .args(["-DD", "-E", "-m", "2048", "-M", "64", "-x", "tlsf", "-X", "tlsf", "-b", "8388608", "-f"])
        .arg(&config)
        .arg("-w")
        .arg(dir.path())
        .arg("-Y")
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Daemon::of(child, dir, address)
}

fn configuration(modules: &str, address: &str, dir: &Path, workers: usize) -> String {
    let db = format!("text://{}", dir.display());
    format!(
        r#"#!KAMAILIO
debug=-1
fork=yes
children={workers}
disable_tcp=yes
enable_sctp=no
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=off
use_dst_blocklist=off
server_signature=no
listen=udp:{address}
mpath="{modules}"
loadmodule "db_text.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
modparam("presence|presence_xml", "db_url", "{db}")
modparam("presence", "publ_cache", 2)
modparam("presence", "subs_db_mode", 0)
modparam("presence", "subs_htable_size", 14)
modparam("presence", "pres_htable_size", 14)
modparam("presence", "send_fast_notify", 1)
modparam("presence_xml", "force_active", 1)
request_route {{
	if (is_method("PUBLISH")) {{
		if (t_newtran()) handle_publish();
		exit;
	}}
	if (is_method("SUBSCRIBE")) {{
		if (t_newtran()) handle_subscribe();
		exit;
	}}
	sl_send_reply("405", "Method Not Allowed");
}}
"#
    )
}
