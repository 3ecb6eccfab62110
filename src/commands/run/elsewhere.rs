//! `sitefs run` where there is no FUSE, no mount namespace and no parent for orphans: makes files, runs the command as a
//! child, and undoes the files when it ends. What the command leaves running is left alone. One at a time.

use std::env;
use std::io::ErrorKind;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::compile::compile_before;
use super::inputs::choose_venv;
use super::mount::open_or_create;
use super::work::Work;
use crate::cli::{CompileWhen, RunCommand, tell};
use crate::error::{Context, Error, Result};
use crate::fuse;
use crate::place::{self, LinkMode};
use crate::shell::quote;
use crate::sys::ask_to_end;
use crate::venv::{Layout, Venv};
use crate::view;

/// What shells answer for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// How often to look whether the command has ended.
const POLL: Duration = Duration::from_millis(20);

pub(super) fn run(command: &RunCommand) -> Result<ExitCode> {
    let (venv, is_new) = open_or_create(&choose_venv(command)?, &command.options)?;
    let result = run_in(&venv, command);
    if result.is_err() && is_new {
        fs_err::remove_dir_all(venv.root())?;
    }
    result.map(ExitCode::from)
}

fn run_in(venv: &Venv, command: &RunCommand) -> Result<u8> {
    let mut work = Work::plan(venv, command.cache.as_deref(), &command.options, true)?;
    compile_before(&work, command.options.compile_when(CompileWhen::Never)?, command.options.verbosity)?;
    // Held until the end: who comes meanwhile waits a while, and is refused.
    let _right = work.state.lock(|| Ok(()))?;
    let record = work.state.mount_record();
    if record.is_some_and(|record| !record.is_for_run) && place::exists(&work.state) {
        let error = Error::new(format!("{} is mounted already", venv.root().display()));
        return Err(error.with_help(format!("sitefs unmount {}", quote(venv.root()))));
    }
    // Ctrl-C reaches the command from the terminal, and must not end this process before it has cleaned up.
    let (interrupted, terminated) = (Arc::default(), Arc::default());
    flag::register(SIGINT, interrupted)?;
    flag::register(SIGTERM, Arc::clone(&terminated))?;
    let made = work.in_turn(|work, mode| {
        if mode == LinkMode::Fuse {
            fuse::check().map_err(place::Difficulty::Unsupported)?;
        }
        let distributions = work.distributions(mode)?;
        work.link(distributions, mode)
    });
    let ended = made.and_then(|_| stay_with(&work.layout, command, &terminated));
    view::undo(&work.layout.root, &work.state)?;
    ended
}

/// Runs the command until it ends, and gives its exit code.
fn stay_with(layout: &Layout, command: &RunCommand, terminated: &AtomicBool) -> Result<u8> {
    let Some((program, arguments)) = command.command.split_first() else {
        return Ok(NOT_FOUND);
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [layout.root.join(&layout.scheme.scripts)].into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(folders).context(|| "PATH cannot be set".to_owned())?;
    let started = Command::new(program)
        .args(arguments)
        .env_remove("PYTHONHOME")
        .env("VIRTUAL_ENV", &layout.root)
        .env("PATH", path)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tell(format_args!("error: {} cannot be run: {error}", program.display()));
            return Ok(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE });
        }
    };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(exit_code(status));
        }
        if terminated.swap(false, Ordering::Relaxed) {
            ask_to_end(&mut child);
        }
        std::thread::sleep(POLL);
    }
}

/// As a shell tells it: the exit code, or 128 and the number of the signal that ended it.
#[cfg(unix)]
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(0);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Windows has larger ones, which an exit code of Rust cannot hold.
#[cfg(not(unix))]
fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
