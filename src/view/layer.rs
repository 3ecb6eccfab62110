//! A layer: one directory tree that the view is made of.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, StatVfs, fstatvfs, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::sys::beneath;
use crate::sys::directory::{self, Entry};

/// A layer's place in the order of the view: a higher one hides a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerId(pub u32);

/// A directory tree that the view is made of: reached by its path, or by a descriptor where a mount covers the path.
#[derive(Debug)]
pub struct Layer {
    directory: Option<OwnedFd>,
    root: PathBuf,
    top_level: Option<Vec<Entry>>,
}

impl Layer {
    /// The tree below an absolute path.
    pub fn at(root: PathBuf) -> Self {
        Self { directory: None, root, top_level: None }
    }

    /// The tree below an absolute path, whose entries are known already.
    pub fn listed(root: PathBuf, top_level: Vec<Entry>) -> Self {
        Self { directory: None, root, top_level: Some(top_level) }
    }

    /// The tree below an open directory, which stays reachable when a mount covers it.
    pub fn below(directory: OwnedFd) -> Self {
        Self { directory: Some(directory), root: PathBuf::new(), top_level: None }
    }

    /// The path of an entry, for layers that have one: absolute.
    pub fn path(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() { self.root.clone() } else { self.root.join(relative) }
    }

    /// The length in bytes of [`Layer::path`], without making it.
    pub fn path_length(&self, relative_length: usize) -> usize {
        self.root.as_os_str().len() + 1 + relative_length
    }

    /// The entries of a directory, in no order.
    ///
    /// # Errors
    /// As [`directory::list`].
    pub fn list(&self, relative: &Path) -> Result<Vec<Entry>, Errno> {
        match &self.top_level {
            Some(entries) if relative.as_os_str().is_empty() => Ok(entries.clone()),
            _ => self.reach(relative, |directory, name| directory::list(directory, name)),
        }
    }

    /// An entry's attributes, links not followed.
    ///
    /// # Errors
    /// What stat(2) says.
    pub fn stat(&self, relative: &Path) -> Result<Stat, Errno> {
        self.reach(relative, |directory, name| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// A link's target.
    ///
    /// # Errors
    /// What readlink(2) says.
    pub fn read_link(&self, relative: &Path) -> Result<OsString, Errno> {
        let target = self.reach(relative, |directory, name| readlinkat(directory, name, Vec::new()))?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Up to `size` bytes of a file, from `offset`; fewer only at its end.
    ///
    /// # Errors
    /// What open(2) and pread(2) say.
    pub fn read(&self, relative: &Path, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = self.reach(relative, |directory, name| openat(directory, name, flags, Mode::empty()))?;
        let mut data = vec![0; size];
        let mut filled = 0;
        while let Some(space) = data.get_mut(filled..).filter(|space| !space.is_empty()) {
            match rustix::io::pread(&file, space, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    /// The room on the layer's file system.
    ///
    /// # Errors
    /// What fstatvfs(2) says.
    pub fn space(&self) -> Result<StatVfs, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root =
            self.reach(Path::new(""), |directory, name| openat(directory, name, flags, Mode::empty()))?;
        fstatvfs(&root)
    }

    /// What relative paths start from.
    pub(super) fn base(&self) -> BorrowedFd<'_> {
        self.directory.as_ref().map_or(CWD, AsFd::as_fd)
    }

    /// Does something with an entry. The environment's owner can change what lies below an open directory at any moment:
    /// no link leads out of it.
    fn reach<T>(
        &self,
        relative: &Path,
        act: impl FnOnce(BorrowedFd, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match &self.directory {
            None => act(CWD, &self.path(relative)),
            Some(directory) => {
                let place = beneath::place(directory.as_fd(), relative)?;
                act(place.directory.as_fd(), place.name)
            }
        }
    }
}
