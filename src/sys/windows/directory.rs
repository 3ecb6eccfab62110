//! Listing a directory, with what each entry is.

use std::ffi::OsString;
use std::path::Path;

use super::posix::{AsFd, CWD, Errno, FileType, Mode, OFlags, openat};

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
/// What the system says; `NOTDIR` where a link stands in its place.
pub fn list(base: impl AsFd, path: &Path) -> Result<Vec<Entry>, Errno> {
    let directory = openat(base, path, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let entries = fs_err::read_dir(directory.as_fd().path(CWD, Path::new("")))?;
    entries
        .map(|entry| {
            let entry = entry?;
            Ok(Entry { name: entry.file_name(), file_type: entry.file_type()?.into() })
        })
        .collect()
}
