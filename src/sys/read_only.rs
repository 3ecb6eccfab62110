//! A directory tree seen through a read-only mount of its own: not even root can change it by way of that.
#![expect(unsafe_code, reason = "rustix has no mount_setattr")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

/// Such a mount, which is nowhere yet, and goes when it is dropped before it is anywhere.
#[derive(Debug)]
pub struct ReadOnlyTree(OwnedFd);

impl ReadOnlyTree {
    /// The tree at a path, with what is mounted in it.
    ///
    /// Source: open_tree(2), mount_setattr(2).
    ///
    /// # Errors
    /// `EPERM` for who may not mount, `ENOSYS` on kernels before 5.12.
    pub fn of(path: &Path) -> Result<Self, Errno> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, path, flags)?;
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_RDONLY,
            attr_clr: 0,
            // What others mount in the tree later would be writable.
            propagation: libc::MS_PRIVATE,
            userns_fd: 0,
        };
        // SAFETY: the path is an empty C string, and the attributes are of the size that is given with them.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                tree.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if answer == 0 { Ok(Self(tree)) } else { Err(last_error()) }
    }

    /// Mounts it on a directory.
    ///
    /// # Errors
    /// What move_mount(2) says.
    pub fn mount_on(&self, point: &Path) -> Result<(), Errno> {
        move_mount(&self.0, "", CWD, point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }
}

impl AsFd for ReadOnlyTree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_mount_gets_one_and_others_are_told() {
        let directory = tempfile::tempdir().unwrap();
        match ReadOnlyTree::of(directory.path()) {
            Ok(tree) => assert_eq!(tree.mount_on(&directory.path().join("absent")), Err(Errno::NOENT)),
            Err(errno) => assert!(matches!(errno, Errno::PERM | Errno::NOSYS), "{errno}"),
        }
    }
}
