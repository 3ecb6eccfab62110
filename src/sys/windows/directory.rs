//! Listing a directory, with what each entry is.

use std::ffi::OsString;
use std::path::Path;

use super::posix::{AsFd, Errno, FileType};

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its file name.
    pub name: OsString,
    /// What it is, links not followed.
    pub file_type: FileType,
}

/// The entries of a directory below `base`, in no order.
///
/// # Errors
/// What the system says; `NOTDIR` where a link or a file stands in its place.
pub fn list(base: impl AsFd, path: &Path) -> Result<Vec<Entry>, Errno> {
    let directory = base.as_fd().path(path);
    if !fs_err::symlink_metadata(&directory)?.is_dir() {
        return Err(Errno::NOTDIR);
    }
    let entry = |entry: std::io::Result<fs_err::DirEntry>| {
        let entry = entry?;
        Ok(Entry { name: entry.file_name(), file_type: entry.file_type()?.into() })
    };
    fs_err::read_dir(directory)?.map(entry).collect()
}
