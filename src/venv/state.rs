//! What sitefs keeps in `VENV/.sitefs/`: a lock, the record of the mount, the server's log.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::place::LinkMode;
use crate::python::PackageName;

/// The directory in an environment that is sitefs's own.
pub const DIRECTORY: &str = ".sitefs";

/// How long to wait for another sitefs that works on the same environment.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory `VENV/.sitefs/`.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

/// What is, or was last, mounted on an environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountRecord {
    /// The version of sitefs that mounted it.
    pub sitefs: String,
    /// How it is made.
    pub link_mode: LinkMode,
    /// The server's process id; 0 where there is none.
    pub pid: u32,
    /// When it was mounted, in seconds since 1970; 0 while files are being made.
    pub since: u64,
    /// The mount point.
    pub site_packages: PathBuf,
    /// The cache.
    pub cache: PathBuf,
    /// The lock files.
    pub requirements: Vec<PathBuf>,
    /// What is mounted, lowest layer first.
    pub distributions: Vec<MountedDistribution>,
}

/// A distribution of a mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountedDistribution {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// The name of its dist-info directory.
    pub dist_info: String,
    /// The directories of the archive that are layers of the view, lowest first.
    pub layers: Vec<PathBuf>,
}

/// The right to change an environment; given back when dropped, by whichever process drops it last.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

impl AsFd for StateLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl State {
    /// The state of the environment at `root`; nothing is made yet.
    pub fn of(root: &Path) -> Self {
        Self { directory: root.join(DIRECTORY) }
    }

    /// Takes the lock if it is free. The server holds it as long as it lives.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn try_lock(&self) -> Result<Option<StateLock>> {
        fs_err::create_dir_all(&self.directory).context(|| "the environment cannot be changed".to_owned())?;
        let path = self.directory.join("lock");
        let file =
            fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?.into_file();
        match file.try_lock() {
            Ok(()) => Ok(Some(StateLock { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(Error::new(format!("{} cannot be locked", path.display())).because(error))
            }
        }
    }

    /// Waits a while for the lock.
    ///
    /// # Errors
    /// As [`State::try_lock`], or another process keeps it.
    pub fn lock(&self) -> Result<StateLock> {
        let started = Instant::now();
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if started.elapsed() > PATIENCE {
                let path = self.directory.join("lock");
                return Err(Error::new(format!("another sitefs process holds {}", path.display()))
                    .with_help("wait for it to end; `fuser -v` or `lslocks` names it"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether some process holds the lock: a server lives, or a command is at work.
    pub fn is_locked(&self) -> bool {
        self.directory.is_dir() && matches!(self.try_lock(), Ok(None))
    }

    /// What is, or was last, mounted; nothing where it was never, or where the record cannot be read.
    pub fn mount_record(&self) -> Option<MountRecord> {
        self.load("mount.json")
    }

    /// Writes down what is mounted.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save_mount_record(&self, record: &MountRecord) -> Result<()> {
        self.save("mount.json", record)
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// A directory for files that are not finished.
    pub fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    /// Whether a file of the state is there.
    pub fn has(&self, name: &str) -> bool {
        self.directory.join(name).is_file()
    }

    /// Removes the whole state of an environment that was never mounted.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub fn remove_if_unused(&self) -> Result<()> {
        if self.mount_record().is_none() && self.directory.is_dir() {
            fs_err::remove_dir_all(&self.directory)?;
        }
        Ok(())
    }

    /// Reads a file of the state; nothing where it is missing or not what it should be.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs_err::read(self.directory.join(name)).ok()?).ok()
    }

    /// Writes a file of the state: it is the old one or the new one, never half.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.directory.join(name);
        let unfinished = path.with_extension("tmp");
        let text = serde_json::to_vec(value).context(|| format!("{} cannot be written", path.display()))?;
        fs_err::File::create(&unfinished)?.write_all(&text)?;
        Ok(fs_err::rename(&unfinished, &path)?)
    }

    /// Removes a file of the state.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn remove(&self, name: &str) -> Result<()> {
        match fs_err::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
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
    fn a_record_that_is_broken_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::of(directory.path());
        drop(state.try_lock().unwrap());
        fs_err::write(directory.path().join(".sitefs/mount.json"), b"{\"sitefs\":").unwrap();
        assert!(state.mount_record().is_none());
    }
}
