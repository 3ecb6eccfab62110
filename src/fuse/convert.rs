//! Between the words of FUSE and those of the view.

use std::time::UNIX_EPOCH;

use fuser::{Errno, FileAttr, FileHandle, FileType, INodeNo, Request, TimeOrNow};
use rustix::io::Errno as SystemErrno;

use crate::sys::identity::Owner;
use crate::view::{Attributes, Failure, Handle, NewTime, NodeId};

pub(super) fn node(inode: INodeNo) -> NodeId {
    NodeId(inode.0.wrapping_sub(1))
}

pub(super) fn inode_of(node: NodeId) -> INodeNo {
    INodeNo(node.0 + 1)
}

/// Files that were opened without asking us have handle 0.
pub(super) fn handle(handle: FileHandle) -> Option<Handle> {
    (handle.0 != 0).then_some(Handle(handle.0))
}

/// To whom belongs what a request makes.
pub(super) fn owner(request: &Request) -> Owner {
    Owner { user: request.uid(), group: request.gid() }
}

pub(super) fn time(time: TimeOrNow) -> NewTime {
    match time {
        TimeOrNow::Now => NewTime::Now,
        TimeOrNow::SpecificTime(at) => NewTime::At(at),
    }
}

/// What could not be for a reason that lies with the disk is worth a line in the log; all else is the caller's to know.
pub(super) fn errno(operation: &str, failure: &Failure) -> Errno {
    if matches!(failure.errno, SystemErrno::IO | SystemErrno::NOSPC | SystemErrno::DQUOT) {
        ::log::warn!("{operation}: {}", failure.reason);
    }
    Errno::from_i32(failure.errno.raw_os_error())
}

pub(super) fn attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: inode_of(attributes.node),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: attributes.accessed,
        mtime: attributes.modified,
        ctime: attributes.changed,
        crtime: attributes.changed,
        kind: kind(attributes.file_type),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.user,
        gid: attributes.group,
        // As makedev(3) has it; the kernel's own form of 32 bits holds all numbers that it gives.
        rdev: device(attributes.device),
        blksize: 4096,
        flags: 0,
    }
}

/// The form of a device number in which FUSE has it: minor numbers in the low 8 and from the 20th bit on.
fn device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The other way.
pub(super) fn device_of(device: u32) -> u64 {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    rustix::fs::makedev(major, minor)
}

/// An entry with inode number 0 tells the kernel to remember that there is none.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn kind(file_type: rustix::fs::FileType) -> FileType {
    match file_type {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}
