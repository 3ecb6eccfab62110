//! What macOS does in its own way. Written by Apple's manual pages and type-checked; never run by us.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Child;

use rustix::fs::{CloneFlags, Mode, OFlags, fclonefileat, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::beneath::Place;

/// How to open a directory that is only to be held. There is no `O_PATH`: it must be readable.
pub const HOLD: OFlags = OFlags::RDONLY;

/// There is no openat2(2).
pub fn open_directory_below(
    _start: BorrowedFd,
    _path: &Path,
    _flags: OFlags,
) -> Option<Result<OwnedFd, Errno>> {
    None
}

/// Nothing tells here which processes see the same files by the same paths.
pub fn surroundings() -> Option<String> {
    None
}

/// Makes a new file that shares the blocks of another, and has its mode.
///
/// Source: clonefile(2).
///
/// # Errors
/// What fclonefileat(2) says; `EXDEV` and `ENOTSUP` where the file system has no clones.
pub fn clone_file(source: &File, copy: &Place, _executable: bool) -> io::Result<File> {
    fclonefileat(source, &copy.directory, copy.name, CloneFlags::NOOWNERCOPY)?;
    // The source may be read-only, and its clone then is; mode and time are set without writing.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&copy.directory, copy.name, flags, Mode::empty())?.into())
}

/// Asks a process to end, by SIGTERM.
pub fn ask_to_end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}
