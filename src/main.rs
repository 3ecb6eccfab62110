//! Parses, calls, prints one error, gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use sitefs::cli::{Cli, tell};
use sitefs::commands;

fn main() -> ExitCode {
    match commands::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            tell(format_args!("error: {error}"));
            if let Some(help) = error.help() {
                tell(format_args!("help: {help}"));
            }
            ExitCode::FAILURE
        }
    }
}
