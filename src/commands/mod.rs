//! A file a verb; each reads like its own summary.

mod inputs;
mod mount;
mod status;
mod unmount;
mod why;

use crate::cli::Command;
use crate::error::Result;

/// Does what was asked for.
///
/// # Errors
/// What kept it from being done.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Mount(options) => mount::mount(&options),
        Command::Unmount(options) => unmount::unmount(&options),
        Command::Status(options) => status::status(&options),
        Command::Why(options) => why::why(&options),
    }
}
