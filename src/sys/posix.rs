//! What files are made with on every system, by its POSIX name. On Windows, `windows/posix.rs` answers.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt;

pub use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use fs_err::canonicalize;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, open, utimensat};
pub use rustix::fs::{CWD, FileType};
pub use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::system::uname;

/// Opens a directory for reading.
///
/// # Errors
/// What open(2) says.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The user's number.
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// Whether this user may do everything.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether this user may write a file that is there.
pub fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// A link's target.
///
/// # Errors
/// What readlink(2) says; `EINVAL` for what is no link.
pub fn read_link_at(directory: impl AsFd, name: &Path) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// Has a file opened only if it is no link.
pub fn no_links(options: &mut OpenOptions) -> &mut OpenOptions {
    // The server has no umask, for its users' files.
    options.custom_flags(libc::O_NOFOLLOW).mode(0o644)
}

/// Whether a file is a program.
pub fn is_executable(metadata: &Metadata) -> bool {
    metadata.mode() & 0o111 != 0
}

/// Gives a copy the mode of its source. A cache may be read-only; the copy is the user's own.
///
/// # Errors
/// What fchmod(2) says.
pub fn copy_mode(source: &Metadata, copy: &File, executable: bool) -> io::Result<()> {
    let mode = source.mode() & 0o777 | 0o200 | if executable { 0o111 } else { 0 };
    // Mostly it was made with that, and to look costs much less than to change.
    if copy.metadata()?.mode() & 0o777 == mode {
        return Ok(());
    }
    copy.set_permissions(PermissionsExt::from_mode(mode))
}

/// Makes a file read-only, and a program where it is one; then all of it is on the disk.
///
/// # Errors
/// What fchmod(2) and fsync(2) say.
pub fn seal_file(file: &File, executable: bool) -> io::Result<()> {
    file.set_permissions(PermissionsExt::from_mode(if executable { 0o555 } else { 0o444 }))?;
    file.sync_all()
}

/// Has what a directory lists be on the disk.
///
/// # Errors
/// What open(2) and fsync(2) say.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    fs_err::File::open(path)?.sync_all()
}

/// Sets who may do what with a file or directory.
///
/// # Errors
/// What chmod(2) says.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs_err::set_permissions(path, PermissionsExt::from_mode(mode))
}

/// Who may do what with a file or directory; the bits of set-group-id and of sticky directories included.
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// What tells a file from all others of its file system.
pub fn inode(metadata: &Metadata) -> u64 {
    metadata.ino()
}

/// Whether a file is this user's, who then may do with it what they like. Root may with all.
pub fn is_mine(metadata: &Metadata) -> bool {
    is_root() || metadata.uid() == user()
}

/// Makes a directory if it is not there; it has this mode then, whatever the user's mask says.
///
/// # Errors
/// What mkdir(2) and chmod(2) say.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match fs_err::create_dir(path) {
        Ok(()) => set_mode(path, mode),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Has a file or directory be written just now, by the clock of its file system.
///
/// # Errors
/// What utimensat(2) says.
pub fn touch(path: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// This machine's name.
pub fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

/// When a file was last written, in seconds since 1970 and nanoseconds.
pub fn modified(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// When a file was last changed, its attributes included.
pub fn changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

/// Whether an open file is the one at this path.
pub fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let (ours, there) = (file.metadata().map(identity), fs_err::symlink_metadata(path).map(identity));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
}

/// What to do where a link mode does not work.
pub fn help_with_links(_errno: Option<Errno>) -> &'static str {
    "use --link-mode symlink or copy, or allow that with --fallback"
}
