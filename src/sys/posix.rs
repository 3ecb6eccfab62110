//! The calls that files are made with on every system, by their POSIX names: on Windows, `windows/posix.rs` answers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, mkdirat, open, openat, renameat_with, statat,
    symlinkat, unlinkat,
};
pub use rustix::io::Errno;
pub use rustix::process::{getegid, geteuid};

/// A link's target.
///
/// # Errors
/// What readlink(2) says; `EINVAL` for what is no link.
pub fn read_link_at(directory: impl AsFd, name: &Path) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}
