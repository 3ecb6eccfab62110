//! Reaching into a directory without following a link. Links that appear between the look and the deed are followed: the
//! standard library reaches nothing below an open directory.

use std::fs::File;
use std::marker::PhantomData;
use std::os::windows::fs::{symlink_dir, symlink_file};
use std::path::{Component, Path, PathBuf};

use super::directory::{self, Entry};
use super::posix::{BorrowedFd, CWD, Errno, FileType, OwnedFd, modified, open_directory};
use crate::sys::Found;

/// An entry below a directory.
#[derive(Debug)]
pub struct Place<'a> {
    path: PathBuf,
    start: PhantomData<&'a Path>,
}

/// A directory to start from.
///
/// # Errors
/// It is not there, or is none.
pub fn hold(path: &Path) -> Result<OwnedFd, Errno> {
    open_directory(path)
}

/// Walks from `start` to the directory that the last component of `path` is in.
///
/// # Errors
/// `NOTDIR` where a link or a file is in the way, `XDEV` for a path that is absolute or climbs with `..`.
pub fn place<'a>(start: BorrowedFd<'a>, path: &'a Path) -> Result<Place<'a>, Errno> {
    let mut reached = start.path(Path::new(""));
    if path.components().any(|component| !matches!(component, Component::Normal(_))) {
        return Err(Errno::XDEV);
    }
    for component in path.parent().unwrap_or(path).components() {
        reached.push(component);
        // A junction is a link to the standard library, too.
        if !fs_err::symlink_metadata(&reached)?.is_dir() {
            return Err(Errno::NOTDIR);
        }
    }
    if let Some(name) = path.file_name() {
        reached.push(name);
    }
    Ok(Place { path: reached, start: PhantomData })
}

/// A directory below `start`; `start` itself for an empty path.
///
/// # Errors
/// As [`place`]; `NOENT`.
pub fn directory(start: BorrowedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let place = place(start, path)?;
    place.check_directory()?;
    open_directory(&place.path)
}

impl Place<'_> {
    /// What is there.
    ///
    /// # Errors
    /// `NOENT`, or what else the system says.
    pub fn look(&self) -> Result<Found, Errno> {
        let metadata = fs_err::symlink_metadata(&self.path)?;
        Ok(match metadata.file_type().into() {
            FileType::Symlink => Found::Symlink(fs_err::read_link(&self.path)?),
            FileType::RegularFile => Found::File { size: metadata.len(), modified: modified(&metadata) },
            _ => Found::Other,
        })
    }

    /// The same.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn look_for_link(&self) -> Result<Found, Errno> {
        self.look()
    }

    /// Asks whether a directory is there, and no link.
    ///
    /// # Errors
    /// `NOENT`; `NOTDIR` where something else is.
    pub fn check_directory(&self) -> Result<(), Errno> {
        if fs_err::symlink_metadata(&self.path)?.is_dir() { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    /// The entries of the directory.
    ///
    /// # Errors
    /// As [`directory::list`].
    pub fn list(&self) -> Result<Vec<Entry>, Errno> {
        directory::list(CWD, &self.path)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_directory(&self) -> Result<(), Errno> {
        Ok(fs_err::create_dir(&self.path)?)
    }

    /// Makes a file, to be written.
    ///
    /// # Errors
    /// `EXIST`, or what else the system says.
    pub fn create_file(&self, _executable: bool) -> Result<File, Errno> {
        Ok(fs_err::File::create_new(&self.path)?.into_file())
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_file(&self) -> Result<(), Errno> {
        // A link to a directory is removed as one.
        fs_err::remove_file(&self.path).or_else(|error| match fs_err::read_link(&self.path) {
            Ok(_) => fs_err::remove_dir(&self.path),
            Err(_) => Err(error),
        })?;
        Ok(())
    }

    /// Removes a directory.
    ///
    /// # Errors
    /// `NOTEMPTY`, or what else the system says.
    pub fn remove_directory(&self) -> Result<(), Errno> {
        Ok(fs_err::remove_dir(&self.path)?)
    }

    /// Makes a symbolic link. Its kind is that of its target.
    ///
    /// # Errors
    /// `PERM` (`ERROR_PRIVILEGE_NOT_HELD`) for who is no administrator, unless Developer Mode is on.
    pub fn symlink(&self, target: &Path) -> Result<(), Errno> {
        let is_directory = fs_err::metadata(target).is_ok_and(|metadata| metadata.is_dir());
        let link = if is_directory { symlink_dir } else { symlink_file };
        Ok(link(target, &self.path)?)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// `XDEV` across volumes; what else the system says.
    pub fn hard_link(&self, from: &Path) -> Result<(), Errno> {
        Ok(fs_err::hard_link(from, &self.path)?)
    }

    /// Gives what is finished its name. What is there stays.
    ///
    /// # Errors
    /// `EXIST`, or what else the system says.
    pub fn move_here(&self, finished: &Self) -> Result<(), Errno> {
        if fs_err::symlink_metadata(&self.path).is_ok() {
            return Err(Errno::EXIST);
        }
        Ok(fs_err::rename(&finished.path, &self.path)?)
    }
}
