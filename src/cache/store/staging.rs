//! Where a store's writers put together what is not finished, each in a directory of its own.
//!
//! A writer gives a sign of life now and then. What had none for long was left by one that was killed, on whichever
//! machine, and is swept by the next. Should it live after all, its rename fails, and nothing half-swept is published.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use fs_err::OpenOptions;
use walkdir::WalkDir;

use super::Store;
use crate::error::{Context, Error, Result};
use crate::sys::posix;

/// How often a writer gives a sign of life.
const BEAT: Duration = Duration::from_secs(60);

/// How long a writer may go without: reading one block from a slow drive takes less.
pub(in crate::cache) const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// A directory that is removed again unless it is renamed.
pub(crate) struct Staging {
    path: PathBuf,
    last_beat: Instant,
    is_done: bool,
}

impl Staging {
    /// A new directory, which will be as shared as the store.
    pub(crate) fn new(store: &Store) -> Result<Self> {
        let failed = || {
            let message = format!("the store {} cannot be written", store.root.display());
            Error::new(message).with_help("its owner can let a group write, or use another: SITEFS_STORE")
        };
        let parent = store.root.join("staging");
        loop {
            let path = parent.join(unique());
            match fs_err::create_dir(&path) {
                Ok(()) => {
                    posix::set_mode(&path, store.mode)?;
                    return Ok(Self { path, last_beat: Instant::now(), is_done: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    posix::make_directory(&parent, store.mode).map_err(|error| failed().because(error))?;
                }
                Err(error) => return Err(failed().because(error)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A sign of life, if it is time for one.
    pub(crate) fn alive(&mut self) {
        if self.last_beat.elapsed() > BEAT {
            // Whoever cannot tell that it lives may lose its work, and says so then.
            let _ = posix::touch(&self.path);
            self.last_beat = Instant::now();
        }
    }

    /// It has another name now.
    pub(crate) fn renamed(mut self) {
        self.is_done = true;
    }

    /// Now, by the clock of the store's drive.
    pub(crate) fn now(&self) -> Result<SystemTime> {
        posix::touch(&self.path)?;
        Ok(fs_err::metadata(&self.path)?.modified()?)
    }

    /// Removes what writers left behind that were killed.
    pub(crate) fn sweep(&self) -> Result<()> {
        let parent = self.path.parent().unwrap_or(&self.path);
        let now = self.now()?;
        for entry in fs_err::read_dir(parent)? {
            let path = entry?.path();
            let modified = fs_err::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            let Ok(age) = modified.map(|modified| now.duration_since(modified).unwrap_or_default()) else {
                continue;
            };
            if age < LEFT_BEHIND || path == self.path {
                continue;
            }
            let taken = parent.join(unique());
            // Another may be faster, and only its owner can remove what is in it.
            if fs_err::rename(&path, &taken).is_ok()
                && let Err(error) = remove(&taken)
            {
                log::debug!("{error}");
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = remove(&self.path)
        {
            log::debug!("{error}");
        }
    }
}

/// Writes a file of the store, readable by all: it is the old one or the new one, never half.
pub(in crate::cache) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    let unfinished = parent.join(format!(".sitefs-{}", unique()));
    let written = create(&unfinished, bytes).and_then(|()| fs_err::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs_err::remove_file(&unfinished);
    }
    written.context(|| format!("{} cannot be written", path.display()))
}

/// Creates a file, readable by all and on the disk.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    posix::set_mode(path, 0o644)?;
    file.sync_all()
}

/// Removes a directory with all that is in it, and says how many bytes that had.
pub(crate) fn remove(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in WalkDir::new(path) {
        let entry = entry?;
        if entry.file_type().is_dir() {
            posix::set_mode(entry.path(), 0o700)?;
        } else {
            bytes += entry.metadata()?.len();
        }
    }
    fs_err::remove_dir_all(path)?;
    Ok(bytes)
}

/// A name that nobody else chooses.
pub(super) fn unique() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
