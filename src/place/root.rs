//! The environment's directory, within which all is done: its owner may be somebody else, and no link leads out of it.

use std::io;
use std::path::{Path, PathBuf};

use super::journal::{Placed, Trace};
use crate::error::{Error, Result};
use crate::sys::beneath::{self, Place};
use crate::sys::directory::Entry;
use crate::sys::posix::{AsFd, Errno, OwnedFd};
use crate::sys::{Found, hold};

/// An environment's directory, open.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// Whether a directory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Absent,
    /// A link or a file is in its place.
    Hidden,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let directory = hold(path).map_err(|errno| failed("opened", path, errno))?;
        Ok(Self { path: path.to_path_buf(), directory })
    }

    /// The path of an entry, for messages.
    pub(super) fn path(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    /// The directory that an entry is in, and its name there.
    pub(super) fn place<'a>(&'a self, relative: &'a Path) -> Result<Place<'a>, Errno> {
        beneath::place(self.directory.as_fd(), relative)
    }

    /// The same, made if it is not there, with those above it. Another thread may be making it, too.
    pub(super) fn made(&self, relative: &Path) -> Result<Self> {
        if let Some(directory) = self.below(relative)? {
            return Ok(directory);
        }
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name().map(Path::new)) else {
            return Err(self.failed("made", relative, Errno::NOENT));
        };
        let parent = self.made(parent)?;
        match parent.place(name).and_then(|place| place.create_directory()) {
            Ok(()) | Err(Errno::EXIST) => {
                parent.below(name)?.ok_or_else(|| self.failed("made", relative, Errno::NOTDIR))
            }
            Err(errno) => Err(self.failed("made", relative, errno)),
        }
    }

    /// A directory below, to work in without walking its path again; nothing where there is none.
    pub(super) fn below(&self, relative: &Path) -> Result<Option<Self>> {
        match beneath::directory(self.directory.as_fd(), relative) {
            Ok(directory) => Ok(Some(Self { path: self.path(relative), directory })),
            Err(errno) if is_absent(errno) => Ok(None),
            Err(errno) => Err(self.failed("opened", relative, errno)),
        }
    }

    /// Whether nothing is at a path, and nothing but directories above it.
    pub(super) fn is_vacant(&self, relative: &Path) -> bool {
        self.place(relative).and_then(|place| place.look()) == Err(Errno::NOENT)
    }

    /// What an entry is; nothing where nothing is.
    pub(super) fn look(&self, relative: &Path) -> Result<Option<Trace>> {
        self.seen(relative, self.place(relative).and_then(|place| place.look()))
    }

    /// Whether an entry is as the journal says; nothing where nothing is.
    pub(super) fn is(&self, relative: &Path, placed: &Placed) -> Result<Option<bool>> {
        let look = |place: Place| if placed.is_symlink() { place.look_for_link() } else { place.look() };
        let there = self.seen(relative, self.place(relative).and_then(look))?;
        Ok(there.map(|there| placed.is(&there)))
    }

    fn seen(&self, relative: &Path, found: Result<Found, Errno>) -> Result<Option<Trace>> {
        match found {
            Ok(Found::Symlink(target)) => Ok(Some(Trace::Symlink(target))),
            Ok(Found::File { size, modified: (seconds, nanoseconds) }) => {
                Ok(Some(Trace::File { size, seconds, nanoseconds }))
            }
            Ok(Found::Other) => Ok(Some(Trace::Other)),
            Err(errno) if is_absent(errno) => Ok(None),
            Err(errno) => Err(self.failed("looked at", relative, errno)),
        }
    }

    /// Whether a directory is there.
    pub(super) fn directory(&self, relative: &Path) -> Result<Presence> {
        match self.place(relative).and_then(|place| place.check_directory()) {
            Ok(()) => Ok(Presence::There),
            Err(Errno::NOENT) => Ok(Presence::Absent),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(Presence::Hidden),
            Err(errno) => Err(self.failed("opened", relative, errno)),
        }
    }

    /// The entries of a directory; nothing where there is none.
    pub(super) fn list(&self, relative: &Path) -> Result<Option<Vec<Entry>>> {
        match self.place(relative).and_then(|place| place.list()) {
            Ok(entries) => Ok(Some(entries)),
            Err(errno) if is_absent(errno) => Ok(None),
            Err(errno) => Err(self.failed("listed", relative, errno)),
        }
    }

    pub(super) fn remove_file(&self, relative: &Path) -> Result<()> {
        self.unless_removed(relative, self.place(relative).and_then(|place| place.remove_file()))
    }

    pub(super) fn remove_directory_if_empty(&self, relative: &Path) -> Result<()> {
        self.unless_removed(relative, self.place(relative).and_then(|place| place.remove_directory()))
    }

    fn unless_removed(&self, relative: &Path, removed: Result<(), Errno>) -> Result<()> {
        match removed {
            Err(errno) if errno != Errno::NOTEMPTY && !is_absent(errno) => {
                Err(self.failed("removed", relative, errno))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, what: &str, relative: &Path, errno: Errno) -> Error {
        failed(what, &self.path(relative), errno)
    }
}

/// A link where a directory was is as good as nothing: what we made is not there any more. Nor did we make what lies
/// outside, whatever a journal says.
fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV)
}

fn failed(what: &str, path: &Path, errno: Errno) -> Error {
    Error::new(format!("{} cannot be {what}: {}", path.display(), io::Error::from(errno)))
}
