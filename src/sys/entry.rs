//! What is done with an entry below a directory. On Windows, `windows/beneath.rs` does it.

use std::fs::File;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, mkdirat, open, openat, renameat_with, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::beneath::Place;
use super::directory::{self, Entry};
use super::posix::{OwnedFd, read_link_at};
use super::{Found, HOLD};

const DIRECTORY: OFlags = HOLD.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory to start from.
///
/// # Errors
/// What open(2) says; `ENOTDIR` or `ELOOP` for a link.
pub fn hold(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, DIRECTORY, Mode::empty())
}

impl Place<'_> {
    /// What is there.
    ///
    /// # Errors
    /// What stat(2) says.
    pub fn look(&self) -> Result<Found, Errno> {
        let stat = statat(&self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Found::Symlink(read_link_at(&self.directory, self.name)?),
            FileType::RegularFile => Found::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            },
            _ => Found::Other,
        })
    }

    /// The same where a link is most likely: that is then all there is to ask.
    ///
    /// # Errors
    /// What readlink(2) and stat(2) say.
    pub fn look_for_link(&self) -> Result<Found, Errno> {
        match read_link_at(&self.directory, self.name) {
            Err(Errno::INVAL) => self.look(),
            target => target.map(Found::Symlink),
        }
    }

    /// Asks whether a directory is there, and no link.
    ///
    /// # Errors
    /// `ENOENT`; `ENOTDIR` or `ELOOP` where something else is.
    pub fn check_directory(&self) -> Result<(), Errno> {
        openat(&self.directory, self.name, DIRECTORY, Mode::empty()).map(drop)
    }

    /// The entries of the directory.
    ///
    /// # Errors
    /// As [`directory::list`].
    pub fn list(&self) -> Result<Vec<Entry>, Errno> {
        directory::list(&self.directory, self.name)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// What mkdir(2) says.
    pub fn create_directory(&self) -> Result<(), Errno> {
        mkdirat(&self.directory, self.name, Mode::RWXU | Mode::RWXG | Mode::RWXO)
    }

    /// Makes a file, to be written; a program or not, as the user's mask allows.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn create_file(&self, executable: bool) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = if executable { 0o777 } else { 0o666 };
        openat(&self.directory, self.name, flags, Mode::from_raw_mode(mode)).map(File::from)
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// What unlink(2) says.
    pub fn remove_file(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name, AtFlags::empty())
    }

    /// Removes a directory.
    ///
    /// # Errors
    /// What rmdir(2) says.
    pub fn remove_directory(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name, AtFlags::REMOVEDIR)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// What symlink(2) says.
    pub fn symlink(&self, target: &Path) -> Result<(), Errno> {
        symlinkat(target, &self.directory, self.name)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// What link(2) says.
    pub fn hard_link(&self, from: &Path) -> Result<(), Errno> {
        linkat(CWD, from, &self.directory, self.name, AtFlags::empty())
    }

    /// Gives what is finished its name. What is there stays.
    ///
    /// # Errors
    /// What rename(2) says. Some file systems (NFS) cannot do that with directories.
    pub fn move_here(&self, finished: &Self) -> Result<(), Errno> {
        let (from, to) = (&finished.directory, &self.directory);
        match renameat_with(from, finished.name, to, self.name, RenameFlags::NOREPLACE) {
            // They have no rename that replaces nothing; a link replaces nothing either.
            Err(Errno::INVAL | Errno::NOSYS) => linkat(from, finished.name, to, self.name, AtFlags::empty()),
            renamed => renamed,
        }
    }
}
