//! A file a verb; each reads like its own summary.

mod cache;
mod compile;
mod fetch;
mod inputs;
mod mount;
#[cfg(target_os = "linux")]
mod reset;
mod resolve;
#[cfg(not(target_os = "linux"))]
mod reset {
    use crate::cli::Verbosity;
    use crate::error::{Error, Result};
    use crate::venv::Layout;
    use crate::venv::state::State;
    use crate::view::Distribution;

    pub(super) fn reset(_: &Layout, _: &State, _: &[Distribution], _: Verbosity) -> Result<()> {
        Err(Error::new("--reset works on Linux only: nothing is mounted elsewhere"))
    }
}
#[cfg(target_os = "linux")]
mod run;
#[cfg(not(target_os = "linux"))]
#[path = "run/elsewhere.rs"]
mod run;
mod status;
mod tool;
mod unmount;
mod why;
mod work;

use std::process::ExitCode;

use crate::cli::Command;
use crate::error::Result;

/// Does what was asked for. The exit code is 0, or that of the command that was run.
///
/// # Errors
/// What kept it from being done.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Mount(command) => mount::mount(&command),
        Command::Unmount(options) => unmount::unmount(&options),
        Command::Run(command) => return run::run(&command),
        Command::Status(options) => status::status(&options),
        Command::Why(options) => why::why(&options),
        Command::Cache(command) => cache::cache(&command),
    }
    .map(|()| ExitCode::SUCCESS)
}
