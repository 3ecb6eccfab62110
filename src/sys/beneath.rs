//! Reaching into a directory without ever leaving it.
//!
//! An environment may belong to somebody else than the user who runs sitefs. Whoever owns it can put a link anywhere in
//! it at any moment, so paths in it are walked one directory at a time, and no link is followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::{HOLD, open_directory_below};

/// A directory below another, and the last name of a path in it.
#[derive(Debug)]
pub struct Place<'a> {
    /// The directory that the name is in.
    pub directory: Held<'a>,
    /// The name; `.` for the directory itself.
    pub name: &'a Path,
}

/// A directory that is borrowed, or was opened on the way.
#[derive(Debug)]
pub enum Held<'a> {
    /// The one that the walk started from.
    Start(BorrowedFd<'a>),
    /// One below it.
    Below(OwnedFd),
}

impl AsFd for Held<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Start(directory) => directory.as_fd(),
            Self::Below(directory) => directory.as_fd(),
        }
    }
}

/// Walks from `start` to the directory that the last component of `path` is in.
///
/// # Errors
/// `ELOOP` or `ENOTDIR` where a link or a file is in the way, `EXDEV` for a path that is absolute or climbs with `..`.
pub fn place<'a>(start: BorrowedFd<'a>, path: &'a Path) -> Result<Place<'a>, Errno> {
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => (parent, Path::new(name)),
        _ if path.as_os_str().is_empty() => (path, Path::new(".")),
        _ => return Err(Errno::XDEV),
    };
    let is_start = parent.as_os_str().is_empty();
    let directory = if is_start { Held::Start(start) } else { Held::Below(directory(start, parent)?) };
    Ok(Place { directory, name })
}

/// Opens a directory below `start`, to be held; `start` itself for an empty path.
///
/// # Errors
/// As [`place`]; `ENOENT`.
pub fn directory(start: BorrowedFd, path: &Path) -> Result<OwnedFd, Errno> {
    if path.components().any(|component| !matches!(component, Component::Normal(_))) {
        return Err(Errno::XDEV);
    }
    if path.as_os_str().is_empty() {
        return openat(start, ".", DIRECTORY, Mode::empty());
    }
    open_directory_below(start, path, DIRECTORY).unwrap_or_else(|| walk(start, path))
}

/// Opens what lies at a path below `start`.
///
/// # Errors
/// As [`place`], and what open(2) says; `ELOOP` where the last component is a link, save with `O_PATH`.
pub fn open(start: BorrowedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let place = place(start, path)?;
    openat(&place.directory, place.name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

const DIRECTORY: OFlags = HOLD.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The same, one directory at a time.
fn walk(start: BorrowedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let mut directory = openat(start, ".", DIRECTORY, Mode::empty())?;
    for component in path.components() {
        directory = openat(&directory, component.as_os_str(), DIRECTORY, Mode::empty())?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(path: &str) -> Result<(), Errno> {
        let scene = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(scene.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", scene.path().join("a/link")).unwrap();
        let start = fs_err::File::open(scene.path()).unwrap();
        place(start.file().as_fd(), Path::new(path)).map(|_| ())
    }

    #[test]
    fn what_lies_below_is_reached() {
        reach("").unwrap();
        reach("a").unwrap();
        reach("a/b/new").unwrap();
        reach("a/link").unwrap();
    }

    #[test]
    fn without_openat2_the_walk_is_the_same() {
        let scene = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(scene.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", scene.path().join("a/link")).unwrap();
        let start = fs_err::File::open(scene.path()).unwrap();
        walk(start.file().as_fd(), Path::new("a/b")).unwrap();
        assert_eq!(walk(start.file().as_fd(), Path::new("a/link")).unwrap_err(), Errno::NOTDIR);
        assert_eq!(walk(start.file().as_fd(), Path::new("a/new")).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn nothing_leads_out() {
        assert_eq!(reach("a/link/passwd"), Err(Errno::NOTDIR));
        assert_eq!(reach("../a"), Err(Errno::XDEV));
        assert_eq!(reach("a/../../b"), Err(Errno::XDEV));
        assert_eq!(reach("/etc/passwd"), Err(Errno::XDEV));
        assert_eq!(reach(".."), Err(Errno::XDEV));
    }
}
