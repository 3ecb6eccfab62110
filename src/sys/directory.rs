//! Listing a directory, with what each entry is.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its file name.
    pub name: OsString,
    /// What it is, links not followed.
    pub file_type: FileType,
}

/// The entries of a directory below `base`, in no order, without `.` and `..`.
///
/// # Errors
/// What open(2) and getdents(2) say; `ENOTDIR` or `ELOOP` where a link stands in its place.
pub fn list(base: impl AsFd, path: &Path) -> Result<Vec<Entry>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // `Dir::read_from` would open it once more.
    let mut directory = Dir::new(openat(base, path, flags, Mode::empty())?)?;
    let mut entries = Vec::new();
    while let Some(entry) = directory.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let file_type = match entry.file_type() {
            FileType::Unknown => type_by_stat(directory.fd()?, name)?,
            known => known,
        };
        entries.push(Entry { name: OsStr::from_bytes(name.to_bytes()).to_owned(), file_type });
    }
    Ok(entries)
}

/// Some file systems do not say in a listing what an entry is.
fn type_by_stat(directory: BorrowedFd, name: &CStr) -> Result<FileType, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}
