//! Read-only mounts, on a system on which sitefs mounts nothing.

use std::convert::Infallible;
use std::path::Path;

use crate::sys::posix::Errno;

/// A directory tree seen through a read-only mount: there is none.
#[derive(Debug)]
pub struct ReadOnlyTree(Infallible);

impl ReadOnlyTree {
    /// The tree at a path.
    ///
    /// # Errors
    /// Always.
    pub fn of(_path: &Path) -> Result<Self, Errno> {
        Err(Errno::INVAL)
    }

    /// Mounts it on a directory.
    ///
    /// # Errors
    /// None: there is no such tree.
    pub fn mount_on(&self, _point: &Path) -> Result<(), Errno> {
        match self.0 {}
    }
}
