//! The calls of `posix.rs`, by the standard library.
//!
//! A directory is held by its path, since the standard library reaches nothing below an open one. So who can rename
//! directories of an environment while sitefs works on it is trusted here.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf, Prefix};
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err::OpenOptions;
use fs_err::os::windows::fs::OpenOptionsExt;

/// An error of the system, by its number.
///
/// Source: <https://learn.microsoft.com/windows/win32/debug/system-error-codes>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

#[expect(missing_docs, reason = "the names of POSIX, each for its nearest error of Windows")]
impl Errno {
    pub const NOTTY: Self = Self(1);
    pub const NOENT: Self = Self(2);
    pub const XDEV: Self = Self(17);
    pub const OPNOTSUPP: Self = Self(50);
    pub const EXIST: Self = Self(80);
    pub const INVAL: Self = Self(87);
    pub const NOSYS: Self = Self(120);
    pub const NOTEMPTY: Self = Self(145);
    pub const BUSY: Self = Self(170);
    pub const NOTDIR: Self = Self(267);
    pub const IO: Self = Self(1117);
    pub const MLINK: Self = Self(1142);
    /// ERROR_PRIVILEGE_NOT_HELD.
    pub const PERM: Self = Self(1314);
    pub const LOOP: Self = Self(1921);

    /// The error of this number: of two for one thing, always the same.
    pub fn from_raw_os_error(number: i32) -> Self {
        match number {
            // ERROR_PATH_NOT_FOUND, ERROR_ALREADY_EXISTS
            3 => Self::NOENT,
            183 => Self::EXIST,
            other => Self(other),
        }
    }

    /// Its number.
    pub fn raw_os_error(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from(*self).fmt(formatter)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        let inner =
            error.get_ref().and_then(|inner| inner.source()?.downcast_ref::<io::Error>()?.raw_os_error());
        error.raw_os_error().or(inner).map_or(Self::IO, Self::from_raw_os_error)
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileType {
    RegularFile,
    Directory,
    Symlink,
    Unknown,
}

impl From<std::fs::FileType> for FileType {
    fn from(file_type: std::fs::FileType) -> Self {
        if file_type.is_symlink() {
            Self::Symlink
        } else if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_file() {
            Self::RegularFile
        } else {
            Self::Unknown
        }
    }
}

/// A directory or a file, held by its path.
#[derive(Debug)]
pub struct OwnedFd(PathBuf);

/// The same, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct BorrowedFd<'a>(&'a Path);

/// What is, or holds, a directory.
pub trait AsFd {
    /// The directory.
    fn as_fd(&self) -> BorrowedFd<'_>;
}

impl AsFd for OwnedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        BorrowedFd(&self.0)
    }
}

impl AsFd for BorrowedFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        *self
    }
}

impl<T: AsFd> AsFd for &T {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self).as_fd()
    }
}

impl BorrowedFd<'_> {
    pub(super) fn path(self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() || relative == Path::new(".") {
            self.0.to_path_buf()
        } else {
            self.0.join(relative)
        }
    }
}

/// Where relative paths start from: what is given with it is absolute.
pub const CWD: Here = Here;

/// The type of [`CWD`].
#[derive(Clone, Copy, Debug)]
pub struct Here;

impl AsFd for Here {
    fn as_fd(&self) -> BorrowedFd<'_> {
        BorrowedFd(Path::new(""))
    }
}

/// Holds a directory.
///
/// # Errors
/// It is not there, or is none.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    if fs_err::metadata(path)?.is_dir() { Ok(OwnedFd(path.to_path_buf())) } else { Err(Errno::NOTDIR) }
}

/// The path without links, and as people and Python write it: not `\\?\C:\venv` but `C:\venv`.
///
/// # Errors
/// What the system says.
pub fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = fs_err::canonicalize(path.as_ref())?;
    let mut components = path.components();
    match components.next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::VerbatimDisk(letter) => {
                Ok(Path::new(&format!("{}:", char::from(letter))).join(components.as_path()))
            }
            _ => Ok(path),
        },
        _ => Ok(path),
    }
}

/// `FILE_FLAG_OPEN_REPARSE_POINT`.
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Has a link opened itself, not what it leads to.
pub fn no_links(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OPEN_REPARSE_POINT)
}

/// What is a program shows by its name here.
pub fn is_executable(_metadata: &Metadata) -> bool {
    false
}

/// A copy can be written from the start.
///
/// # Errors
/// None.
pub fn copy_mode(_source: &Metadata, _copy: &File, _executable: bool) -> io::Result<()> {
    Ok(())
}

/// Has all of a file be on the disk. It stays writable: what is read-only cannot be removed here.
///
/// # Errors
/// What the system says.
pub fn seal_file(file: &File, _executable: bool) -> io::Result<()> {
    file.sync_all()
}

/// A directory cannot be opened here, and needs no flushing.
///
/// # Errors
/// None.
pub fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// There are no modes here.
///
/// # Errors
/// None.
pub fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// There are no modes here.
pub fn mode(_metadata: &Metadata) -> u32 {
    0
}

/// The standard library does not tell it.
pub fn inode(_metadata: &Metadata) -> u64 {
    0
}

/// What the system lets one do shows when it is done.
pub fn is_mine(_metadata: &Metadata) -> bool {
    true
}

/// Makes a directory if it is not there.
///
/// # Errors
/// What the system says.
pub fn make_directory(path: &Path, _mode: u32) -> io::Result<()> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Has a file be written just now.
///
/// # Errors
/// What the system says.
pub fn touch(path: &Path) -> io::Result<()> {
    if fs_err::metadata(path)?.is_dir() {
        return Ok(());
    }
    OpenOptions::new().write(true).open(path)?.set_modified(SystemTime::now())
}

/// This machine's name.
pub fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// When a file was last written, in seconds since 1970 and nanoseconds.
pub fn modified(metadata: &Metadata) -> (i64, i64) {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos().into())
}

/// The same, as uv takes it here.
pub fn changed(metadata: &Metadata) -> (i64, i64) {
    modified(metadata)
}

/// Whether an open file is the one at this path. An open file keeps its name here as long as nobody renames it.
pub fn is_at(_file: &File, path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok()
}

/// Whether this user may write a file that is there: asked only of what is mounted.
pub fn may_write(_path: &Path) -> bool {
    false
}

/// The user's number, which Windows has not.
pub fn user() -> u32 {
    0
}

/// Whether this user may do everything: nobody may who is not asked first.
pub fn is_root() -> bool {
    false
}

/// What to do where a link mode does not work.
pub fn help_with_links(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::PERM) => {
            "Windows lets only administrators make symbolic links, unless Developer Mode is on: turn it on in \
             Settings, System, For developers, or use --link-mode hardlink or copy"
        }
        _ => "use --link-mode hardlink or copy, or allow copies with --fallback",
    }
}
