//! What sitefs keeps in `VENV/.sitefs/`: its locks, the record of the mount, the server's log.
//!
//! Of a read-only mount of an environment that this user may not write, it is kept apart, in the user's runtime directory,
//! as long as the mount is there.

mod lock;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use fs_err::OpenOptions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use self::lock::{DYING, StateLock};
use self::lock::{LOCK, RUNS};
pub use super::record::{MountRecord, MountedDistribution};
use crate::error::{Context, Error, Result};
use crate::sys::posix::{may_write, no_links, user};
use crate::sys::runtime;

/// The directory in an environment that is sitefs's own.
pub const DIRECTORY: &str = ".sitefs";

/// The directory `VENV/.sitefs/`, or the one that takes its place.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
    /// `VENV/.sitefs/`, where the state is kept apart from it.
    beside: Option<PathBuf>,
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

    fn make(&self) -> Result<()> {
        if self.is_apart() {
            return Ok(runtime::make(&self.directory).and_then(|()| runtime::check(&self.directory))?);
        }
        match fs_err::create_dir(&self.directory) {
            Err(error) if is_refused(&error) => Err(Error::from(error).with_help(NEEDS)),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => self.check(),
        }
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

/// Bytecode of what is mounted.
const BYTECODE: &str = "bytecode";

/// Which layers that was made from.
const MADE_FROM: &str = "bytecode.json";

/// What is made outside site-packages, where the state is kept apart.
const OUTSIDE: &str = "outside";

/// What was removed in the environment.
const WHITEOUTS: &str = "whiteouts";

/// The name of the directory for an environment's state in a user's runtime directory.
fn name_apart(root: &Path) -> String {
    let digest = HEXLOWER.encode(&Sha256::digest(root.as_os_str().as_encoded_bytes()));
    format!("sitefs-{}-{}", user(), &digest[..32])
}

/// Whether it is not for this user to write there. A full disk is another matter.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_broken_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::of(directory.path());
        drop(state.try_lock().unwrap());
        fs_err::write(directory.path().join(".sitefs/mount.json"), b"{\"sitefs\":").unwrap();
        assert!(state.mount_record().is_none());
    }
}
