//! The adaptor from FUSE operations to the view: every operation is answered, and none can end the server.
//!
//! The view changes by no other way than through the kernel, so the kernel may remember all it is told, without end:
//! entries, absent names, directories, the targets of links, the pages of files. `ENOSYS` to the first open, opendir and
//! flush makes it stop asking.

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FopenFlags, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use rustix::fs::SeekFrom;
use rustix::io::Errno as SystemErrno;

use super::convert::{absent, attr, device_of, errno, handle, inode_of, kind, node, owner, time};
use super::reply::{FOREVER, GENERATION, done, entry, extended, list};
use super::requests::{self, Requests};
use super::watch::Asking;
use crate::view::{Changes, Failure, Replacing, View};

/// What we would have from the kernel, each asked for alone: it refuses all of a set for one that it lacks.
const CAPABILITIES: [InitFlags; 6] = [
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_PARALLEL_DIROPS,
];

/// A mounted view.
pub(super) struct Filesystem {
    view: Arc<View>,
    watch: Asking,
    requests: Requests,
}

impl Filesystem {
    pub(super) fn new(view: Arc<View>, watch: Asking) -> Self {
        Self { view, watch, requests: Requests::new() }
    }

    /// The answer for what an archive may have taken with it when it vanished.
    fn errno(&self, operation: &str, failure: &Failure) -> Errno {
        if self.view.has_newly_vanished() {
            self.watch.look();
        }
        errno(operation, failure)
    }

    /// Counts a request and runs its handler. If that panics, its reply is dropped, which answers `EIO`, and the server
    /// goes on.
    fn answer(&self, operation: &str, handler: impl FnOnce()) {
        self.requests.count(operation);
        if catch_unwind(AssertUnwindSafe(handler)).is_err() {
            ::log::error!("{operation} panicked; it was answered with EIO");
        }
    }
}

impl fuser::Filesystem for Filesystem {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in CAPABILITIES {
            if config.add_capabilities(capability).is_err() {
                ::log::info!("the kernel lacks {capability:?}");
            }
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.answer("lookup", || match self.view.lookup(node(parent), name) {
            Ok(Some(attributes)) => reply.entry(&FOREVER, &attr(&attributes), GENERATION),
            Ok(None) => reply.entry(&FOREVER, &absent(), GENERATION),
            Err(failure) => reply.error(self.errno("lookup", &failure)),
        });
    }

    fn forget(&self, _request: &Request, inode: INodeNo, lookups: u64) {
        self.answer("forget", || self.view.forget(node(inode), lookups));
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.answer("getattr", || match self.view.attributes(node(inode)) {
            Ok(attributes) => reply.attr(&FOREVER, &attr(&attributes)),
            Err(failure) => reply.error(errno("getattr", &failure)),
        });
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        self.answer("readlink", || match self.view.read_link(node(inode)) {
            Ok(target) => reply.data(target.as_encoded_bytes()),
            Err(failure) => reply.error(errno("readlink", &failure)),
        });
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer("read", || match self.view.read(node(inode), handle(file), offset, size as usize) {
            Ok(data) => reply.data(&data),
            Err(failure) => reply.error(errno("read", &failure)),
        });
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.answer("readdir", || {
            let listed = list(&self.view, inode, offset, |node, next, name, file_type| {
                Ok(reply.add(inode_of(node), next, kind(file_type), name))
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(failure) => reply.error(self.errno("readdir", &failure)),
            }
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.answer("readdirplus", || {
            let listed = list(&self.view, inode, offset, |node, next, name, file_type| {
                let is_dots = next <= 2;
                // What cannot be told of is listed all the same; the kernel asks again, and hears why.
                let (told, valid) = match self.view.attributes(node) {
                    Ok(known) => (attr(&known), FOREVER),
                    Err(_) => {
                        let unknown = FileAttr { ino: inode_of(node), kind: kind(file_type), ..absent() };
                        (unknown, Duration::ZERO)
                    }
                };
                // What was removed since it was listed is listed no more.
                if !is_dots && !self.view.remember(node) {
                    return Ok(false);
                }
                let is_full = reply.add(inode_of(node), next, name, &valid, &told, GENERATION);
                if is_full && !is_dots {
                    self.view.forget(node, 1);
                }
                Ok(is_full)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(failure) => reply.error(self.errno("readdirplus", &failure)),
            }
        });
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        self.answer("statfs", || match self.view.space() {
            Ok(space) => reply.statfs(
                space.f_blocks,
                space.f_bfree,
                space.f_bavail,
                space.f_files,
                space.f_ffree,
                u32::try_from(space.f_bsize).unwrap_or(4096),
                u32::try_from(space.f_namemax).unwrap_or(255),
                u32::try_from(space.f_frsize).unwrap_or(4096),
            ),
            Err(failure) => reply.error(errno("statfs", &failure)),
        });
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.requests.count("open");
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.requests.count("opendir");
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.answer("release", || {
            if let Some(handle) = handle(file) {
                self.view.release(handle);
            }
            reply.ok();
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.requests.count("flush");
        reply.error(Errno::ENOSYS);
    }

    fn fsync(
        &self,
        _request: &Request,
        inode: INodeNo,
        file: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.answer("fsync", || done("fsync", self.view.sync(node(inode), handle(file), data_only), reply));
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.answer("fsyncdir", || done("fsyncdir", self.view.sync(node(inode), None, data_only), reply));
    }

    /// The kernel checks permissions itself (`default_permissions`).
    fn access(&self, _request: &Request, _inode: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        self.requests.count("access");
        reply.error(Errno::ENOSYS);
    }

    /// Python asks every file that it opens whether it is a terminal.
    fn ioctl(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_size: u32,
        reply: ReplyIoctl,
    ) {
        self.requests.count("ioctl");
        reply.error(Errno::ENOTTY);
    }

    fn getxattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if inode == INodeNo::ROOT && name == requests::ATTRIBUTE {
            return extended(self.requests.to_json().as_bytes(), size, reply);
        }
        self.answer("getxattr", || match self.view.extended(node(inode), name) {
            Ok(value) => extended(&value, size, reply),
            Err(failure) => reply.error(errno("getxattr", &failure)),
        });
    }

    fn listxattr(&self, _request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        self.answer("listxattr", || match self.view.extended_names(node(inode)) {
            Ok(names) => extended(&names, size, reply),
            Err(failure) => reply.error(errno("listxattr", &failure)),
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        inode: INodeNo,
        file: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.answer("lseek", || {
            // The kernel asks of data and holes only.
            let from = match (u64::try_from(offset), whence) {
                (Ok(offset), libc::SEEK_DATA) => SeekFrom::Data(offset),
                (Ok(offset), libc::SEEK_HOLE) => SeekFrom::Hole(offset),
                _ => return reply.error(Errno::EINVAL),
            };
            match self.view.seek(node(inode), handle(file), from) {
                Ok(offset) => reply.offset(i64::try_from(offset).unwrap_or(i64::MAX)),
                Err(failure) => reply.error(errno("lseek", &failure)),
            }
        });
    }

    fn poll(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getlk(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        reply: ReplyLock,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn setlk(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _request: &Request, _inode: INodeNo, _block_size: u32, _index: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        file: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed_at: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (accessed, modified) = (accessed.map(time), modified.map(time));
        let changes = Changes { mode, user, group, size, accessed, modified };
        self.answer("setattr", || match self.view.change(node(inode), file.and_then(handle), changes) {
            Ok(attributes) => reply.attr(&FOREVER, &attr(&attributes)),
            Err(failure) => reply.error(errno("setattr", &failure)),
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = || match self.view.create(node(parent), name, mode & 0o7777, owner(request)) {
            Err(failure) if failure.errno == SystemErrno::EXIST && flags & libc::O_EXCL == 0 => {
                self.view.open_created(node(parent), name, flags & libc::O_TRUNC != 0)
            }
            created => created,
        };
        self.answer("create", || match create() {
            Ok((attributes, handle)) => {
                let handle = FileHandle(handle.0);
                reply.created(&FOREVER, &attr(&attributes), GENERATION, handle, FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(failure) => reply.error(errno("create", &failure)),
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        self.answer("mknod", || {
            let made = self.view.make_node(node(parent), name, mode, device_of(device), owner(request));
            entry("mknod", made, reply);
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.answer("mkdir", || {
            entry(
                "mkdir",
                self.view.make_directory(node(parent), name, mode & 0o7777, owner(request)),
                reply,
            );
        });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.answer("symlink", || {
            let made = self.view.make_link(node(parent), name, target.as_os_str(), owner(request));
            entry("symlink", made, reply);
        });
    }

    fn link(&self, _request: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.answer("link", || entry("link", self.view.link(node(inode), node(parent), name), reply));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer("unlink", || done("unlink", self.view.remove_leaf(node(parent), name), reply));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer("rmdir", || done("rmdir", self.view.remove_directory(node(parent), name), reply));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replacing = if flags.is_empty() {
            Replacing::Allowed
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            Replacing::Refused
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            Replacing::Exchange
        } else {
            return reply.error(Errno::EINVAL);
        };
        self.answer("rename", || {
            let renamed = self.view.rename((node(parent), name), (node(new_parent), new_name), replacing);
            done("rename", renamed, reply);
        });
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.answer("write", || match self.view.write(node(inode), handle(file), offset, data) {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
            Err(failure) => reply.error(errno("write", &failure)),
        });
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        file: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.answer("fallocate", || {
            let mode = mode.cast_unsigned();
            let allocated = self.view.allocate(node(inode), handle(file), mode, offset, length);
            done("fallocate", allocated, reply);
        });
    }

    /// The kernel then copies by reading and writing.
    fn copy_file_range(
        &self,
        _request: &Request,
        _inode_in: INodeNo,
        _handle_in: FileHandle,
        _offset_in: u64,
        _inode_out: INodeNo,
        _handle_out: FileHandle,
        _offset_out: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.answer("setxattr", || {
            done("setxattr", self.view.set_extended(node(inode), name, value, flags), reply);
        });
    }

    fn removexattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer("removexattr", || {
            done("removexattr", self.view.remove_extended(node(inode), name), reply);
        });
    }
}
