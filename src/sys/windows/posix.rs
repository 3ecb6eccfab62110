//! The calls of `posix.rs`, by the standard library.
//!
//! A directory is held by its path, since the standard library reaches nothing below an open one. So who can rename
//! directories of an environment while sitefs works on it is trusted here.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::ops::BitOr;
use std::os::windows::fs::{FileTypeExt, symlink_dir, symlink_file};
use std::path::{Path, PathBuf};
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

impl FileType {
    /// What [`Stat::st_mode`] says.
    pub fn from_raw_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Directory,
            0o100_000 => Self::RegularFile,
            0o120_000 => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    fn raw_mode(self) -> u32 {
        match self {
            Self::Directory => 0o040_755,
            Self::RegularFile => 0o100_644,
            Self::Symlink => 0o120_777,
            Self::Unknown => 0,
        }
    }
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
