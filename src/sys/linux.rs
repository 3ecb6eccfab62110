//! What only Linux does in this way.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, ioctl_ficlone, openat2};
use rustix::io::Errno;

use super::beneath::Place;

/// How to open a directory that is only to be held: needs no right to read it.
pub const HOLD: OFlags = OFlags::PATH;

/// Opens a directory below another in one call, following no link; none where the kernel cannot.
pub fn open_directory_below(start: BorrowedFd, path: &Path, flags: OFlags) -> Option<Result<OwnedFd, Errno>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(start, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and containers whose system call filter is older than that.
        Err(Errno::NOSYS | Errno::PERM) => None,
        opened => Some(opened),
    }
}

/// What all processes have in common that see the same files by the same paths, since the machine was started.
pub fn surroundings() -> Option<String> {
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs_err::read_link("/proc/self/ns/mnt").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Makes a new file that shares the blocks of another.
///
/// # Errors
/// What open(2) and `FICLONE` say; `EXDEV` and `EOPNOTSUPP` where the file system has no clones.
pub fn clone_file(source: &File, copy: &Place, executable: bool) -> io::Result<File> {
    let file = copy.create_file(executable)?;
    ioctl_ficlone(&file, source)?;
    Ok(file)
}
