//! A user's runtime directory, on a system on which sitefs mounts nothing, and needs none.

use std::io;
use std::path::{Path, PathBuf};

/// The directory of this name: there is none.
pub fn find(_name: &str) -> Option<PathBuf> {
    None
}

/// Where a directory of this name can be made: nowhere.
pub fn choose(_name: &str) -> Option<PathBuf> {
    None
}

/// Makes such a directory.
///
/// # Errors
/// Always.
pub fn make(_path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a directory is one.
///
/// # Errors
/// Always.
pub fn check(_path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
