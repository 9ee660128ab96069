//! The daemon's command line: arguments → configuration → [`imcd::server::run`].
//!
//! Prevents a start with a configuration other than the one that was checked. Never decides anything else.

use std::process::ExitCode;

use clap::Parser;
use imcd::config::Config;
use imcd::config::arguments::{self, Arguments};
use mimalloc::MiMalloc;

/// What a message needs is taken on one thread and given back on another: glibc's allocator spends more on that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let file = arguments::file(arguments.config);
    let name = file.as_ref().map_or("built-in defaults".into(), |f| f.display().to_string());
    // What is not Unicode cannot be a value of ours.
    let env =
        || std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let read = move || Config::load(file.as_deref(), env());
    let (config, warnings) = match read() {
        Ok(loaded) => loaded,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &warnings {
        eprintln!("{name}: warning: {warning}");
    }
    if arguments.check {
        if let Err(what) = config.http_token() {
            eprintln!("{name}: {what}");
            return ExitCode::FAILURE;
        }
        println!("{name}: ok");
        return ExitCode::SUCCESS;
    }
    if arguments.print_config {
        print!("{}", config.print());
        return ExitCode::SUCCESS;
    }
    match imcd::server::run(config, Box::new(read)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("imcd: {fault}");
            ExitCode::FAILURE
        }
    }
}
