//! The daemon's command line as a value: `imcd` reads it, its manual page is made from it.
//!
//! Prevents that the manual and the daemon differ. Never reads a file itself.

use std::path::{Path, PathBuf};

use clap::Parser;

/// Read when `--config` is not given and it exists.
const DEFAULT_FILE: &str = "/etc/imcd/imcd.toml";

/// Group chat, presence and offline messages for any SIP phone that can send a MESSAGE.
#[derive(Parser)]
#[command(name = "imcd", version, after_help = "Environment variables IMCD_TABLE__KEY override single keys.")]
pub struct Arguments {
    /// Configuration file [default: /etc/imcd/imcd.toml if it exists, else built-in defaults]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration, tell what is wrong with it, and exit
    #[arg(long, conflicts_with = "print_config")]
    pub check: bool,
    /// Print the effective configuration and exit
    #[arg(long)]
    pub print_config: bool,
}

/// The configuration file to read; `None`: there is none, the defaults hold.
pub fn file(given: Option<PathBuf>) -> Option<PathBuf> {
    given.or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()))
}
