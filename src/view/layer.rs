//! A layer: one directory tree of an archive that the view is made of.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::OutsideLayer;
use crate::sys::directory::{self, Entry};

/// A layer's place in the order of the view: a higher one hides a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerId(pub u32);

impl LayerId {
    /// The upper, above all others.
    pub(super) const UPPER: Self = Self(u32::MAX);
}

/// A directory tree of an archive. It does not change.
#[derive(Debug)]
pub struct Layer {
    root: PathBuf,
    /// Where the view has it, if that is not its root.
    outside: Option<OutsideLayer>,
    /// Where links lead that are shown for its files, where that is not the root.
    shown: Option<PathBuf>,
    top_level: Option<Vec<Entry>>,
}

impl Layer {
    /// The tree below an absolute path.
    pub fn at(root: PathBuf) -> Self {
        Self { root, outside: None, shown: None, top_level: None }
    }

    /// The tree below an absolute path, whose entries are known already.
    pub fn listed(root: PathBuf, top_level: Vec<Entry>) -> Self {
        Self { root, outside: None, shown: None, top_level: Some(top_level) }
    }

    /// What belongs outside site-packages.
    pub fn outside(outside: OutsideLayer) -> Self {
        let root = outside.root.clone();
        Self { root, outside: Some(outside), shown: None, top_level: None }
    }

    /// Whether it is what belongs outside site-packages.
    pub fn is_outside(&self) -> bool {
        self.outside.is_some()
    }

    /// The path of an entry: absolute.
    pub fn path(&self, relative: &Path) -> PathBuf {
        if let Some(path) = self.outside.as_ref().and_then(|outside| outside.path(relative)) {
            return path;
        }
        if relative.as_os_str().is_empty() { self.root.clone() } else { self.root.join(relative) }
    }

    /// Has links for its files lead there.
    pub fn show_at(&mut self, root: PathBuf) {
        self.shown = Some(root);
    }

    /// The target of the link that is shown for a file.
    pub fn target(&self, relative: &Path) -> PathBuf {
        self.shown.as_ref().unwrap_or(&self.root).join(relative)
    }

    /// The length in bytes of [`Layer::target`], without making it.
    pub fn target_length(&self, relative_length: usize) -> usize {
        self.shown.as_ref().unwrap_or(&self.root).as_os_str().len() + 1 + relative_length
    }

    /// The entries of a directory, in no order.
    ///
    /// # Errors
    /// As [`directory::list`].
    pub fn list(&self, relative: &Path) -> Result<Vec<Entry>, Errno> {
        if let Some(step) = self.outside.as_ref().and_then(|outside| outside.step(relative)) {
            return Ok(vec![step]);
        }
        match &self.top_level {
            Some(entries) if relative.as_os_str().is_empty() => Ok(entries.clone()),
            _ => directory::list(CWD, &self.path(relative)),
        }
    }

    /// Whether there is an entry at this path.
    ///
    /// # Errors
    /// What stat(2) says, save that there is none.
    pub fn has(&self, relative: &Path) -> Result<bool, Errno> {
        if self.outside.as_ref().is_some_and(|outside| outside.path(relative).is_none()) {
            return Ok(false);
        }
        match (&self.top_level, relative.components().count()) {
            (Some(entries), 1) => Ok(entries.iter().any(|entry| relative == Path::new(&entry.name))),
            _ => match self.stat(relative) {
                Ok(_) => Ok(true),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
                Err(errno) => Err(errno),
            },
        }
    }

    /// An entry's attributes, links not followed.
    ///
    /// # Errors
    /// What stat(2) says.
    pub fn stat(&self, relative: &Path) -> Result<Stat, Errno> {
        statat(CWD, self.path(relative), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Opens a file of an archive for reading.
///
/// # Errors
/// What open(2) says.
pub(super) fn open_archived(path: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}
