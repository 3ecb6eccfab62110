//! What sitefs keeps in `VENV/.sitefs/`: a lock, the record of the mount, the server's log.
//!
//! Of a read-only mount of an environment that this user may not write, it is kept apart, in the user's runtime directory,
//! as long as the mount is there.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use fs_err::OpenOptions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use super::record::{MountRecord, MountedDistribution};
use crate::error::{Context, Error, Result};
use crate::place::LinkMode;
use crate::shell::quote;
use crate::sys::posix::{is_at, may_write, no_links, user};
use crate::sys::runtime;

/// The directory in an environment that is sitefs's own.
pub const DIRECTORY: &str = ".sitefs";

/// How long to wait for another sitefs that works on the same environment.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server that was killed may take to end.
pub const DYING: Duration = Duration::from_millis(200);

/// The directory `VENV/.sitefs/`, or the one that takes its place.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
    /// `VENV/.sitefs/`, where the state is kept apart from it.
    beside: Option<PathBuf>,
}

/// The right to change an environment; given back when dropped, by whichever process drops it last.
#[derive(Debug)]
pub struct StateLock {
    #[cfg_attr(windows, expect(dead_code, reason = "it is held, and never read"))]
    file: File,
}

#[cfg(unix)]
impl std::os::fd::AsFd for StateLock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl State {
    /// The state of the environment at `root`; nothing is made yet. It is the one that is kept apart, if there is one, unless
    /// somebody who may write the environment has mounted it since.
    pub fn of(root: &Path) -> Self {
        let within = Self::within(root);
        match runtime::find(&name_apart(root)) {
            Some(directory) if !within.is_locked() => Self { directory, beside: Some(within.directory) },
            _ => within,
        }
    }

    /// The state for a mount that is to be made. What is left of one that was kept apart and is dead is removed where it is
    /// not needed.
    ///
    /// # Errors
    /// There is no place where it can be kept.
    pub fn for_mount(root: &Path, read_only: bool) -> Result<Self> {
        let state = Self::of(root);
        if read_only && !state.is_apart() && !state.is_locked() && !state.is_writable(root) {
            let help = "set XDG_RUNTIME_DIR to a directory that is this user's alone";
            let error = || Error::new("there is no runtime directory for what a mount needs").with_help(help);
            let directory = runtime::choose(&name_apart(root)).ok_or_else(error)?;
            return Ok(Self { directory, beside: Some(state.directory) });
        }
        if read_only || !state.is_apart() {
            return Ok(state);
        }
        let Some(lock) = state.lock_of_dead()? else { return Ok(state) };
        let within = Self::within(root);
        if !within.is_writable(root) {
            let error = Error::new(format!("{} cannot be written", root.display()));
            return Err(error.with_help(NEEDS));
        }
        if state.has_runs(&lock) { Ok(state) } else { state.remove_apart().map(|()| within) }
    }

    /// The lock, if no server lives. One that was killed a moment ago may still be about to let go of it.
    fn lock_of_dead(&self) -> Result<Option<StateLock>> {
        let started = Instant::now();
        loop {
            match self.try_lock()? {
                None if started.elapsed() < DYING => std::thread::sleep(Duration::from_millis(10)),
                found => return Ok(found),
            }
        }
    }

    fn within(root: &Path) -> Self {
        Self { directory: root.join(DIRECTORY), beside: None }
    }

    /// Whether it is not in the environment, which then is only read.
    pub fn is_apart(&self) -> bool {
        self.beside.is_some()
    }

    fn is_writable(&self, root: &Path) -> bool {
        may_write(if self.is_there() { &self.directory } else { root })
    }

    /// Where what wheels put outside site-packages is made: in the environment, or, apart from it, in its place.
    pub fn outside(&self, root: &Path) -> PathBuf {
        if self.is_apart() { self.directory.join(OUTSIDE) } else { root.to_path_buf() }
    }

    /// What was last mounted by who may write the environment.
    pub fn record_in_environment(&self) -> Option<MountRecord> {
        self.of_environment().mount_record()
    }

    fn of_environment(&self) -> Self {
        Self { directory: self.in_environment().to_path_buf(), beside: None }
    }

    fn in_environment(&self) -> &Path {
        self.beside.as_deref().unwrap_or(&self.directory)
    }

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
            opened => opened.map_err(|error| {
                let help = "another user has mounted it before, or it is read-only: give it back with chown, or mount \
                            with --read-only";
                Error::from(error).with_help(help)
            })?,
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

    fn make(&self) -> Result<()> {
        if self.is_apart() {
            return Ok(runtime::make(&self.directory).and_then(|()| runtime::check(&self.directory))?);
        }
        match fs_err::create_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::from(error).with_help(NEEDS))
            }
            _ => self.check(),
        }
    }

    /// Whether some process holds the lock: a server lives, or a command is at work. Nothing is made.
    pub fn is_locked(&self) -> bool {
        match no_links(OpenOptions::new().read(true)).open(self.directory.join(LOCK)) {
            Ok(file) => matches!(file.into_file().try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(error) => !is_absent(&error),
        }
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

    /// What is, or was last, mounted; nothing where it was never, or where the record cannot be read.
    pub fn mount_record(&self) -> Option<MountRecord> {
        self.load("mount.json").ok().flatten()
    }

    /// Writes down what is mounted.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save_mount_record(&self, record: &MountRecord) -> Result<()> {
        self.save("mount.json", record)
    }

    /// The server's log, open for writing at its end: those of several `sitefs run` share it.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn open_log(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        Ok(no_links(options.create(true).append(true)).open(self.log())?.into_file())
    }

    /// The journal of what was removed in the environment, open for reading and appending.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn open_whiteouts(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        let path = self.directory.join(WHITEOUTS);
        Ok(no_links(options.create(true).read(true).append(true)).open(path)?.into_file())
    }

    /// The same as it is now, open for reading alone; nothing where nothing was ever mounted. It is always the environment's.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_whiteouts(&self) -> Result<Option<File>> {
        match no_links(OpenOptions::new().read(true)).open(self.in_environment().join(WHITEOUTS)) {
            Ok(file) => Ok(Some(file.into_file())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of that journal in the state's directory.
    pub fn whiteouts_name(&self) -> &'static str {
        WHITEOUTS
    }

    /// The path of the server's log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// A directory for files that are not finished.
    pub fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    /// A directory for the bytecode of what is mounted. It is always the environment's.
    pub fn bytecode(&self) -> PathBuf {
        self.in_environment().join(BYTECODE)
    }

    /// Which layers that bytecode was made from; nothing where that cannot be told.
    pub fn bytecode_layers(&self) -> Option<Vec<PathBuf>> {
        self.of_environment().load(MADE_FROM).ok().flatten()
    }

    /// Writes that down.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save_bytecode_layers(&self, layers: &[PathBuf]) -> Result<()> {
        self.save(MADE_FROM, &layers)
    }

    /// Whether there is any state.
    pub fn is_there(&self) -> bool {
        self.directory.is_dir()
    }

    /// Whether a file of the state is there.
    pub fn has(&self, name: &str) -> bool {
        fs_err::symlink_metadata(self.directory.join(name)).is_ok()
    }

    /// Removes the whole state of an environment that was never mounted. Only for who holds the lock.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub fn remove_if_unused(&self, _lock: &StateLock) -> Result<()> {
        let entries = fs_err::read_dir(&self.directory)?.collect::<io::Result<Vec<_>>>()?;
        let is_unused = |entry: &fs_err::DirEntry| match entry.file_name() {
            name if name == WHITEOUTS => entry.metadata().is_ok_and(|metadata| metadata.len() == 0),
            name if name == OUTSIDE => fs_err::read_dir(entry.path()).is_ok_and(|mut it| it.next().is_none()),
            name => [LOCK, RUNS, BYTECODE, MADE_FROM, "server.log"].iter().any(|unused| name == *unused),
        };
        match entries.iter().all(is_unused) {
            true if self.is_apart() => self.remove_apart(),
            true => Ok(fs_err::remove_dir_all(&self.directory)?),
            false => Ok(()),
        }
    }

    /// Removes the state of a mount that was kept apart, with all that was made there. Only for who is alone with it. The lock
    /// goes last: who waits for it may make the state anew at any moment.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub fn remove_apart(&self) -> Result<()> {
        for entry in fs_err::read_dir(&self.directory)?.collect::<io::Result<Vec<_>>>()? {
            match entry.file_type()?.is_dir() {
                true => fs_err::remove_dir_all(entry.path())?,
                false if entry.file_name() != LOCK => fs_err::remove_file(entry.path())?,
                false => {}
            }
        }
        self.remove(LOCK)?;
        match fs_err::remove_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty || is_absent(&error) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Reads a file of the state; nothing where it is missing.
    ///
    /// # Errors
    /// It is there, and cannot be read or is not what it should be.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.directory.join(name);
        let mut text = Vec::new();
        match no_links(OpenOptions::new().read(true)).open(&path) {
            Ok(mut file) => file.read_to_end(&mut text)?,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::new(format!("{} is damaged", path.display()))
                .because(error)
                .with_help("remove it; the files in the environment that it names are then yours to remove")
        })
    }

    /// Writes a file of the state: it is the old one or the new one, never half.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.check()?;
        let path = self.directory.join(name);
        let unfinished = path.with_extension("tmp");
        self.remove_file(&unfinished)?;
        let text = serde_json::to_vec(value).context(|| format!("{} cannot be written", path.display()))?;
        no_links(OpenOptions::new().create_new(true).write(true)).open(&unfinished)?.write_all(&text)?;
        Ok(fs_err::rename(&unfinished, &path)?)
    }

    /// Removes a file of the state.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.remove_file(&self.directory.join(name))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        match fs_err::remove_file(path) {
            Err(error) if !is_absent(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The environment may belong to somebody else: what is kept in it must not lead anywhere else.
    fn check(&self) -> Result<()> {
        if self.is_apart() {
            return Ok(runtime::check(&self.directory)?);
        }
        if fs_err::symlink_metadata(&self.directory)?.is_dir() {
            return Ok(());
        }
        Err(Error::new(format!("{} is not a directory", self.directory.display())).with_help("remove it"))
    }
}

/// What a mount needs.
const NEEDS: &str = "mounting needs an environment that this user may write, or --read-only";

/// The lock file.
const LOCK: &str = "lock";

/// Bytecode of what is mounted.
const BYTECODE: &str = "bytecode";

/// Which layers that was made from.
const MADE_FROM: &str = "bytecode.json";

/// What is made outside site-packages, where the state is kept apart.
const OUTSIDE: &str = "outside";

/// What was removed in the environment.
const WHITEOUTS: &str = "whiteouts";

/// The lock that those `sitefs run` share that use an environment.
const RUNS: &str = "runs";

/// The name of the directory for an environment's state in a user's runtime directory.
fn name_apart(root: &Path) -> String {
    let digest = HEXLOWER.encode(&Sha256::digest(root.as_os_str().as_encoded_bytes()));
    format!("sitefs-{}-{}", user(), &digest[..32])
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
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

    #[test]
    fn a_record_that_is_broken_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::of(directory.path());
        drop(state.try_lock().unwrap());
        fs_err::write(directory.path().join(".sitefs/mount.json"), b"{\"sitefs\":").unwrap();
        assert!(state.mount_record().is_none());
    }
}
