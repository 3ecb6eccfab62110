//! What Windows does in its own way. Written by Microsoft's documentation and type-checked; never run by us.

pub mod directory;
pub mod posix;

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Child;

use posix::{BorrowedFd, Errno, OFlags, OwnedFd};

/// How to open a directory that is only to be held.
pub const HOLD: OFlags = OFlags::RDONLY;

/// There is no openat2(2).
pub fn open_directory_below(
    _start: BorrowedFd,
    _path: &Path,
    _flags: OFlags,
) -> Option<Result<OwnedFd, Errno>> {
    None
}

/// ReFS has clones, NTFS has none; sitefs makes none on either.
///
/// # Errors
/// Always.
pub fn clone_file(_source: &File, _copy: &Path) -> io::Result<File> {
    Err(Errno::OPNOTSUPP.into())
}

/// Ends a process: nothing can be asked of one here.
pub fn ask_to_end(child: &mut Child) {
    let _ = child.kill();
}
