//! Parses, calls, prints one error, gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use sitefs::cli::Cli;
use sitefs::commands;

fn main() -> ExitCode {
    match commands::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(help) = error.help() {
                eprintln!("help: {help}");
            }
            ExitCode::FAILURE
        }
    }
}
