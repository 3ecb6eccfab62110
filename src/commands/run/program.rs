//! The command that `run` runs.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use crate::error::{Context, Result};
use crate::sys::fork::{Fork, fork};
use crate::sys::signals::Signals;
use crate::venv::Layout;
use crate::venv::state::State;

/// Where programs are looked for if PATH is not set.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What shells and env(1) answer for a command that is not there, and for one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// The command, as it is when its environment is active.
pub(super) struct Program<'a> {
    words: &'a [OsString],
    environment: [(&'static str, OsString); 2],
    signals: &'a Signals,
    parent: Pid,
}

impl<'a> Program<'a> {
    pub(super) fn new(layout: &Layout, state: &State, words: &'a [OsString], signals: &'a Signals) -> Self {
        let path = env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
        let mut paths = layout.root.join(&layout.scheme.scripts).into_os_string();
        if state.is_apart() {
            let mut apart = state.outside(&layout.root).join(&layout.scheme.scripts).into_os_string();
            apart.push(":");
            apart.push(paths);
            paths = apart;
        }
        paths.push(":");
        paths.push(path);
        let environment = [("VIRTUAL_ENV", layout.root.clone().into_os_string()), ("PATH", paths)];
        Self { words, environment, signals, parent: getpid() }
    }

    /// Starts it in a new process.
    pub(super) fn start(&self) -> Result<Pid> {
        match fork().context(|| "the command cannot be started".to_owned())? {
            Fork::Parent(child) => Ok(child),
            Fork::Child => {
                let Err(code) = self.become_it();
                std::process::exit(code);
            }
        }
    }

    /// Puts it into the place of this process, which ends with the other. If that cannot be done, says why, and gives
    /// the exit code for it.
    pub(super) fn become_it(&self) -> Result<Infallible, i32> {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        if getppid() != Some(self.parent) || self.signals.restore().is_err() {
            return Err(1);
        }
        let Some((program, arguments)) = self.words.split_first() else {
            return Err(NOT_FOUND);
        };
        let program = Path::new(program);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("PYTHONHOME")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let error = command.exec();
        if !self.is_there(program) {
            eprintln!("error: {} is not there, neither in the environment nor on PATH", program.display());
            return Err(NOT_FOUND);
        }
        eprintln!("error: {} cannot be run: {error}", program.display());
        Err(NOT_EXECUTABLE)
    }

    /// The kernel's answer cannot tell: a folder of PATH that cannot be read is permission denied to it, and a missing
    /// interpreter of a script is a missing file.
    fn is_there(&self, program: &Path) -> bool {
        if program.as_os_str().as_bytes().contains(&b'/') {
            return fs_err::metadata(program).is_ok();
        }
        let [_, (_, paths)] = &self.environment;
        env::split_paths(paths).any(|folder| fs_err::metadata(folder.join(program)).is_ok())
    }
}
