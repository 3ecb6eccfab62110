//! The locks of an environment's state: the right to change the environment, and those `sitefs run` that share it.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err::OpenOptions;

use super::{MountRecord, State, is_absent, is_refused};
use crate::error::{Context, Error, Result};
use crate::place::LinkMode;
use crate::shell::quote;
use crate::sys::posix::{is_at, no_links};

/// The lock file.
pub(super) const LOCK: &str = "lock";

/// The lock that those `sitefs run` share that use an environment.
pub(super) const RUNS: &str = "runs";

/// How long to wait for another sitefs that works on the same environment.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server that was killed may take to end.
pub const DYING: Duration = Duration::from_millis(200);

/// The right to change an environment; given back when dropped, by whichever process drops it last.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

#[cfg(unix)]
impl std::os::fd::AsFd for StateLock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl State {
    /// Takes the lock, and waits a while for a sitefs that is at work. The server holds it as long as it lives:
    /// `is_mounted` tells that waiting is in vain.
    ///
    /// # Errors
    /// The directory cannot be made or written; another process keeps the lock.
    pub fn lock(&self, is_mounted: impl Fn() -> Result<()>) -> Result<StateLock> {
        let started = Instant::now();
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            is_mounted()?;
            if started.elapsed() > PATIENCE {
                return Err(self.held());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The error for a lock that another process keeps.
    pub fn held(&self) -> Error {
        let lock = self.directory.join(LOCK);
        let error = Error::new(format!("another sitefs process holds {}", lock.display()));
        match self.mount_record() {
            Some(MountRecord { link_mode: LinkMode::Fuse, pid, .. }) => error.with_help(format!(
                "process {pid} may still serve a mount that was detached, or is in another mount namespace; end it"
            )),
            _ => error.with_help("wait for it to end; `lslocks` names it"),
        }
    }

    /// The error for a mount of the environment at `root` whose server lives and does not answer.
    pub fn hangs(&self, root: &Path) -> Error {
        let pid = self.mount_record().map_or(0, |record| record.pid);
        Error::new(format!("{} is mounted, but its server, process {pid}, does not answer", root.display()))
            .with_help(format!(
                "it may be stopped (`kill -CONT {pid}`), or wait for the cache's drive; `kill -KILL {pid}` ends it, and then \
                 `sitefs unmount {}` undoes its mount",
                quote(root)
            ))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn try_lock(&self) -> Result<Option<StateLock>> {
        self.make()?;
        let path = self.directory.join(LOCK);
        let file = match no_links(OpenOptions::new().create(true).truncate(false).write(true)).open(&path) {
            // Who had it before has just removed it.
            Err(error) if is_absent(&error) && self.is_apart() => return Ok(None),
            Err(error) if is_refused(&error) => {
                let help = "another user has mounted it before, or it is read-only: give it back with chown, or mount \
                            with --read-only";
                return Err(Error::from(error).with_help(help));
            }
            opened => opened?,
        };
        let file = file.into_file();
        match file.try_lock() {
            // Somebody may have removed the file while we waited: then it locks nothing any more.
            Ok(()) if is_at(&file, &path) => Ok(Some(StateLock { file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(Error::new(format!("{} cannot be locked", path.display())).because(error))
            }
        }
    }

    /// The lock, if no server lives. One that was killed a moment ago may still be about to let go of it.
    pub(super) fn lock_of_dead(&self) -> Result<Option<StateLock>> {
        let started = Instant::now();
        loop {
            match self.try_lock()? {
                None if started.elapsed() < DYING => std::thread::sleep(Duration::from_millis(10)),
                found => return Ok(found),
            }
        }
    }

    /// Whether some process holds the lock: a server lives, or a command is at work. Nothing is made.
    pub fn is_locked(&self) -> bool {
        match no_links(OpenOptions::new().read(true)).open(self.directory.join(LOCK)) {
            Ok(file) => matches!(file.into_file().try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(error) => !is_absent(&error),
        }
    }

    /// Whether a lock is still that of this state, whose directory may have been removed and made anew meanwhile.
    pub fn is_locked_by(&self, lock: &StateLock) -> bool {
        is_at(&lock.file, &self.directory.join(LOCK))
    }

    /// Joins those `sitefs run` that use the environment at the same time, told by a lock that they share. Who joins, or
    /// asks for them, has the right to the environment at that moment.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn join_runs(&self, _right: &StateLock) -> Result<StateLock> {
        self.check()?;
        let path = self.directory.join(RUNS);
        let options = &mut OpenOptions::new();
        let file = no_links(options.create(true).truncate(false).write(true)).open(&path)?.into_file();
        file.lock_shared().context(|| format!("{} cannot be locked", path.display()))?;
        Ok(StateLock { file })
    }

    /// Whether some `sitefs run` uses the environment.
    pub fn has_runs(&self, _right: &StateLock) -> bool {
        self.is_runs_locked()
    }

    /// The same, without the right to the environment. Nothing is made; false where a command is at work.
    pub fn is_running(&self) -> bool {
        let Ok(lock) = no_links(OpenOptions::new().read(true)).open(self.directory.join(LOCK)) else {
            return false;
        };
        let lock = lock.into_file();
        // Meanwhile nobody has the right to the environment, who could take this for another run.
        lock.try_lock_shared().is_ok() && self.is_runs_locked()
    }

    /// Others who ask at the same moment hold it no longer than that.
    fn is_runs_locked(&self) -> bool {
        let Ok(runs) = no_links(OpenOptions::new().read(true)).open(self.directory.join(RUNS)) else {
            return false;
        };
        let runs = runs.into_file();
        (0..5).all(|attempt| {
            std::thread::sleep(Duration::from_millis(attempt));
            matches!(runs.try_lock(), Err(TryLockError::WouldBlock))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_held_once_and_free_again_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::of(directory.path());
        assert!(!state.is_locked());
        let lock = state.try_lock().unwrap().unwrap();
        assert!(state.try_lock().unwrap().is_none());
        assert!(state.is_locked());
        drop(lock);
        assert!(state.try_lock().unwrap().is_some());
    }

    #[test]
    fn several_runs_share_an_environment_and_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::of(directory.path());
        let right = state.try_lock().unwrap().unwrap();
        assert!(!state.has_runs(&right));
        let runs = [state.join_runs(&right).unwrap(), state.join_runs(&right).unwrap()];
        assert!(state.has_runs(&right));
        drop(right);
        assert!(state.is_running());
        drop(runs);
        assert!(!state.is_running());
    }
}
