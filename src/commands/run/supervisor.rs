//! Staying with the command until it ends, and cleaning up after it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::cli::Verbosity;
use crate::commands::unmount::tell_of_left;
use crate::error::{Error, Result};
use crate::fuse;
use crate::place;
use crate::sys::answer::{Life, life_of};
use crate::sys::children::{self, Change};
use crate::sys::signals::Signals;
use crate::venv::state::{State, StateLock};

/// How long processes that the command left behind may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How long the server may take to end when nobody uses its mount any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A parent to the command and to all that it leaves behind.
pub(super) struct Supervisor<'a> {
    pub(super) signals: &'a Signals,
    pub(super) verbosity: Verbosity,
}

/// What undoes a mount.
pub(super) struct Unmounting {
    /// The server, as long as it lives.
    pub(super) server: Option<Pid>,
    /// The mount point, if the mount is not in a namespace of the command's.
    pub(super) point: Option<PathBuf>,
    pub(super) root: PathBuf,
    pub(super) state: State,
    /// What keeps files, or the mount of another run.
    pub(super) shared: Option<StateLock>,
}

impl Supervisor<'_> {
    /// Hands signals on until the command ends, then ends what it left behind and undoes the mount. Gives the exit code.
    pub(super) fn stay_with(&self, child: Pid, mut unmounting: Option<Unmounting>) -> Result<u8> {
        let code = self.wait_for(child, unmounting.as_mut())?;
        self.end_leftovers(unmounting.as_mut())?;
        if let Some(unmounting) = unmounting {
            let (root, state) = (unmounting.root.clone(), unmounting.state.clone());
            self.unmount(unmounting)?;
            // Others that still run bring home what is there.
            if !place::exists(&state) {
                tell_of_left(&root, &state, self.verbosity)?;
            }
        }
        Ok(code)
    }

    fn wait_for(&self, child: Pid, mut unmounting: Option<&mut Unmounting>) -> Result<u8> {
        let mut is_to_stop = false;
        loop {
            while let Some((pid, change)) = children::change() {
                match change {
                    Change::Ended(code) if pid == child => return Ok(code),
                    Change::Ended(code) => self.tell_if_server(pid, code, unmounting.as_deref_mut()),
                    Change::Stopped if pid == child && is_to_stop => {
                        is_to_stop = false;
                        // So that the shell has its terminal again. Whoever continues this process sends SIGCONT.
                        let _ = kill_process(getpid(), Signal::STOP);
                    }
                    Change::Stopped => {}
                }
            }
            let Some(signal) = self.signals.next(None)?.filter(|signal| !signal.is_about_children()) else {
                continue;
            };
            is_to_stop |= signal.asks_to_stop();
            if !signal.is_known_to(child) {
                signal.forward_to(child);
            }
        }
    }

    /// A server that ends well was told to, or has seen the command end before this process did.
    fn tell_if_server(&self, ended: Pid, code: u8, unmounting: Option<&mut Unmounting>) {
        if let Some(unmounting) = unmounting
            && unmounting.forget(ended)
            && code != 0
        {
            let venv = unmounting.root.display();
            self.verbosity.note(format!("the server of {venv} ended before the command did"));
        }
    }

    /// Ends what the command started and did not end: first as if it were asked, then for certain.
    fn end_leftovers(&self, mut unmounting: Option<&mut Unmounting>) -> Result<()> {
        let started = Instant::now();
        let mut asked = Vec::new();
        loop {
            while let Some((pid, change)) = children::change() {
                if let (Change::Ended(_), Some(unmounting)) = (change, unmounting.as_deref_mut()) {
                    unmounting.forget(pid);
                }
            }
            let server = unmounting.as_deref().and_then(|unmounting| unmounting.server);
            let leftovers: Vec<Pid> =
                children::all().into_iter().filter(|&pid| Some(pid) != server).collect();
            if leftovers.is_empty() {
                return Ok(());
            }
            for pid in leftovers {
                if started.elapsed() > GRACE {
                    let _ = kill_process(pid, Signal::KILL);
                } else if !asked.contains(&pid) {
                    let _ = kill_process(pid, Signal::TERM);
                    asked.push(pid);
                }
            }
            self.signals.next(Some(Duration::from_millis(50)))?;
        }
    }

    fn unmount(&self, mut unmounting: Unmounting) -> Result<()> {
        if unmounting.point.is_some() {
            unmounting.ask();
        }
        let started = Instant::now();
        while unmounting.server.is_some() {
            if let Some((pid, change)) = children::change() {
                if matches!(change, Change::Ended(_)) && unmounting.forget(pid) && change == Change::Ended(0)
                {
                    return Ok(());
                }
                continue;
            }
            match started.elapsed() {
                elapsed if elapsed > GRACE && unmounting.is_used_still() => return self.leave(&unmounting),
                // Somebody else is in the namespace. The command has ended, and with it the right to the mount.
                elapsed if elapsed > PATIENCE => unmounting.kill(),
                elapsed if elapsed > PATIENCE / 2 => unmounting.ask(),
                _ => {}
            }
            self.signals.next(Some(Duration::from_millis(50)))?;
        }
        // There was none, or it was killed and could not clean up.
        drop(unmounting.shared);
        fuse::clean_up_after_run(unmounting.point.as_deref(), &unmounting.root, &unmounting.state).map_err(
            |error| Error::new(format!("{} was not cleaned up", unmounting.root.display())).because(error),
        )
    }

    /// Leaves the mount to its server, which was told to end it as soon as nobody uses it.
    fn leave(&self, unmounting: &Unmounting) -> Result<()> {
        match unmounting.point.as_deref().map(life_of).transpose()? {
            Some(Life::Hangs) => self
                .verbosity
                .note(format!("{}; it unmounts when it goes on", unmounting.state.hangs(&unmounting.root))),
            _ => self.verbosity.detail("another `sitefs run` uses the mount, which ends with it"),
        }
        Ok(())
    }
}

impl Unmounting {
    /// Whether the server still has the right to the environment, because another run has, or because it hangs.
    fn is_used_still(&self) -> bool {
        self.point.is_some() && self.state.is_running()
    }

    /// Asks the server to unmount.
    pub(super) fn ask(&self) {
        self.signal(Signal::TERM);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = self.server {
            let _ = kill_process(server, signal);
        }
    }

    /// Whether this was the server; then it is none any more.
    fn forget(&mut self, ended: Pid) -> bool {
        let is_server = self.server == Some(ended);
        if is_server {
            self.server = None;
        }
        is_server
    }
}
