//! The upper on disk: the environment's own site-packages, beneath the mount. Paths are relative to it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, StatVfs, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT, chmodat, fstat, fstatvfs, linkat, mkdirat, mknodat, openat, readlinkat, renameat,
    renameat_with, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::bytecode::Bytecode;
use super::crash::Crash;
use super::leave;
pub(super) use super::leave::STAGING;
use crate::sys::beneath::{self, Place};
use crate::sys::identity::{Owner, acting_as};

/// The environment's own site-packages, open, so that it stays reachable when a mount covers it.
#[derive(Debug)]
pub(super) struct Upper {
    root: OwnedFd,
    /// Where the bytecode of the archives' modules is.
    pub(super) bytecode: Option<Bytecode>,
    staged: AtomicU64,
    /// Held while the mode of an entry changes.
    pub(super) modes: Mutex<()>,
    pub(super) crash: Crash,
}

/// A file that is being made ready.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Upper {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            bytecode: None,
            staged: AtomicU64::new(0),
            modes: Mutex::new(()),
            crash: Crash::default(),
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Attributes, links not followed.
    pub(super) fn stat(&self, path: &Path) -> Result<Stat, Errno> {
        let place = self.place(path)?;
        statat(place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn read_link(&self, path: &Path) -> Result<OsString, Errno> {
        let place = self.place(path)?;
        let target = readlinkat(place.directory, place.name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let open = |flags| beneath::open(self.root_of(path), path, flags | OFlags::NONBLOCK);
        match open(flags) {
            Err(Errno::ACCESS) => self.open_in_spite(&open(OFlags::PATH)?, flags),
            opened => opened,
        }
    }

    /// Opens again what is open, with other rights.
    pub(super) fn reopen(&self, file: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        match reopen(&file, flags) {
            Err(Errno::ACCESS) => self.open_in_spite(file, flags),
            opened => opened,
        }
    }

    /// Opens what its mode forbids to its owner: who had it open before may go on, and the kernel has asked everybody else.
    fn open_in_spite(&self, file: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let _alone = self.modes.lock();
        let (mode, path) = (Mode::from_raw_mode(fstat(&file)?.st_mode & 0o7777), path_of(&file));
        chmodat(CWD, &path, mode | Mode::RUSR | Mode::WUSR, AtFlags::empty()).map_err(|_| Errno::ACCESS)?;
        let opened = reopen(&file, flags);
        chmodat(CWD, &path, mode, AtFlags::empty())?;
        opened
    }

    pub(super) fn space(&self) -> Result<StatVfs, Errno> {
        fstatvfs(&self.root)
    }

    /// Makes a new file, open for reading and writing.
    pub(super) fn create(&self, path: &Path, mode: Mode, owner: Owner) -> Result<OwnedFd, Errno> {
        let place = self.change(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        acting_as(owner, || openat(&place.directory, place.name, flags, mode))
    }

    pub(super) fn make_directory(&self, path: &Path, mode: Mode, owner: Owner) -> Result<(), Errno> {
        let place = self.change(path)?;
        acting_as(owner, || mkdirat(&place.directory, place.name, mode))
    }

    pub(super) fn make_link(&self, path: &Path, target: &OsStr, owner: Owner) -> Result<(), Errno> {
        let place = self.change(path)?;
        acting_as(owner, || symlinkat(target, &place.directory, place.name))
    }

    /// Makes a file, FIFO, socket or device.
    pub(super) fn make_node(
        &self,
        path: &Path,
        file_type: FileType,
        mode: Mode,
        device: u64,
        owner: Owner,
    ) -> Result<(), Errno> {
        let place = self.change(path)?;
        acting_as(owner, || mknodat(&place.directory, place.name, file_type, mode, device))
    }

    /// Gives a leaf a second name.
    pub(super) fn link(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let (from, to) = (self.place(from)?, self.change(to)?);
        linkat(&from.directory, from.name, &to.directory, to.name, AtFlags::empty())
    }

    pub(super) fn remove_leaf(&self, path: &Path) -> Result<(), Errno> {
        let place = self.change(path)?;
        unlinkat(&place.directory, place.name, AtFlags::empty())
    }

    pub(super) fn remove_directory(&self, path: &Path) -> Result<(), Errno> {
        let place = self.change(path)?;
        unlinkat(&place.directory, place.name, AtFlags::REMOVEDIR)?;
        self.no_bytecode(path);
        Ok(())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let (from_place, to_place) = (self.place(from)?, self.change(to)?);
        renameat(&from_place.directory, from_place.name, &to_place.directory, to_place.name)?;
        self.no_bytecode(from);
        Ok(())
    }

    fn no_bytecode(&self, path: &Path) {
        if let Some(bytecode) = &self.bytecode {
            bytecode.forget(path);
        }
    }

    pub(super) fn exchange(&self, one: &Path, other: &Path) -> Result<(), Errno> {
        let (one, other) = (self.place(one)?, self.change(other)?);
        renameat_with(&one.directory, one.name, &other.directory, other.name, RenameFlags::EXCHANGE)
    }

    pub(super) fn set_mode(&self, path: &Path, mode: Mode) -> Result<(), Errno> {
        let place = self.change(path)?;
        chmodat(&place.directory, place.name, mode, AtFlags::empty())
    }

    /// Sets when a directory was last changed: to now, or to another time.
    pub(super) fn set_modified(&self, path: &Path, time: Option<Timespec>) -> Result<(), Errno> {
        let place = self.change(path)?;
        let time = time.unwrap_or(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW });
        let times =
            Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time };
        utimensat(&place.directory, place.name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Puts in an entry that the view has already, or never shows: so the time of its directory must not change.
    pub(super) fn unseen(&self, path: &Path, put: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let directory = path.parent().unwrap_or(path);
        let before = self.stat(directory);
        put()?;
        // A directory of bytecode may be in none of the upper.
        if let Ok(before) = before {
            let time = Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ };
            self.keep_modified(directory, time);
        }
        Ok(())
    }

    /// What was done stays done where the time cannot be set.
    pub(super) fn keep_modified(&self, directory: &Path, time: Timespec) {
        if let Err(errno) = self.set_modified(directory, Some(time)) {
            ::log::warn!("{}: its time cannot be set: {errno}", directory.display());
        }
    }

    /// A new file, of which nobody knows. [Rename](Self::rename) it when it is ready, or [give it up](Self::give_up).
    pub(super) fn stage(&self, mode: Mode, owner: Owner) -> Result<Staged, Errno> {
        let staging = Path::new(STAGING);
        match self.unseen(staging, || self.make_directory(staging, Mode::RWXU, owner)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = staging.join(format!("{}-{number}", std::process::id()));
        let file = self.create(&path, mode, owner)?;
        Ok(Staged { path, file: file.into() })
    }

    pub(super) fn give_up(&self, staged: &Staged) {
        if let Err(errno) = self.remove_leaf(&staged.path) {
            ::log::warn!("{} stays until the next mount: {errno}", staged.path.display());
        }
    }

    /// Removes what a server that was killed had not finished. Only for who is alone with this environment.
    pub(super) fn sweep(&self) -> Result<(), Errno> {
        leave::sweep(self.root())
    }

    fn root_of(&self, path: &Path) -> BorrowedFd<'_> {
        match &self.bytecode {
            Some(bytecode) if bytecode.has(path) => bytecode.root(),
            _ => self.root(),
        }
    }

    fn place<'a>(&'a self, path: &'a Path) -> Result<Place<'a>, Errno> {
        beneath::place(self.root_of(path), path)
    }

    /// As [`Upper::place`], for a step that changes the disk.
    fn change<'a>(&'a self, path: &'a Path) -> Result<Place<'a>, Errno> {
        self.crash.point()?;
        self.place(path)
    }
}

/// A path to what is open, whatever its name is by now. Also opens again, with other rights.
///
/// Source: proc(5), `/proc/self/fd`.
pub(super) fn path_of(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Opens again what is open, with other rights.
pub(super) fn reopen(file: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, path_of(file), flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// The target of a link that is open with `O_PATH`.
pub(super) fn target(link: impl AsFd) -> Result<OsString, Errno> {
    let target = readlinkat(link, "", Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()))
}
