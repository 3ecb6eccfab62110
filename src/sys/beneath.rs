//! Reaching into a directory without ever leaving it.
//!
//! An environment may belong to somebody else than the user who runs sitefs. Whoever owns it can put a link anywhere in
//! it at any moment, so paths in it are walked one directory at a time, and no link is followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

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
    let mut directory = Held::Start(start);
    for component in parent.components() {
        let Component::Normal(component) = component else { return Err(Errno::XDEV) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        directory = Held::Below(openat(&directory, component, flags, Mode::empty())?);
    }
    Ok(Place { directory, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str) -> Result<(), Errno> {
        let scene = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(scene.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", scene.path().join("a/link")).unwrap();
        let start = fs_err::File::open(scene.path()).unwrap();
        place(start.file().as_fd(), Path::new(path)).map(|_| ())
    }

    #[test]
    fn what_lies_below_is_reached() {
        walk("").unwrap();
        walk("a").unwrap();
        walk("a/b/new").unwrap();
        walk("a/link").unwrap();
    }

    #[test]
    fn nothing_leads_out() {
        assert_eq!(walk("a/link/passwd"), Err(Errno::NOTDIR));
        assert_eq!(walk("../a"), Err(Errno::XDEV));
        assert_eq!(walk("a/../../b"), Err(Errno::XDEV));
        assert_eq!(walk("/etc/passwd"), Err(Errno::XDEV));
        assert_eq!(walk(".."), Err(Errno::XDEV));
    }
}
