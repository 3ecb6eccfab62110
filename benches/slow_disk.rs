//! A slow disk: a read-only FUSE pass-through that answers each operation a while later.
//!
//! `slow_disk SOURCE POINT MICROSECONDS` serves SOURCE at POINT until it is unmounted. Operations wait side by side, as on
//! a drive that is far away, not on one that does one thing at a time. The kernel remembers what it was told, as of a file
//! system that nobody changes. How many operations were asked, by name, is in the extended attribute `user.operations` of
//! POINT, which costs nothing to read.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::main()
}

#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "errors are answered as numbers, without a path")]
mod linux {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::fs::{File, Metadata, read_dir, read_link, symlink_metadata};
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::{Path, PathBuf};
    use std::thread::sleep;
    use std::time::Duration;

    use fuser::{
        Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
        InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
        ReplyEntry, ReplyOpen, ReplyXattr, Request, SessionACL,
    };
    use parking_lot::Mutex;

    const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

    pub(super) fn main() -> io::Result<()> {
        let usage = || io::Error::other("usage: slow_disk SOURCE POINT MICROSECONDS");
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        let [source, point, delay] = arguments.as_slice() else { return Err(usage()) };
        let delay = delay.to_str().and_then(|delay| delay.parse().ok()).ok_or_else(usage)?;
        let (delay, paths) = (Duration::from_micros(delay), Mutex::new(vec![source.into()]));
        let disk = SlowDisk { delay, paths, counts: Mutex::default() };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        // So many operations wait side by side.
        config.n_threads = Some(32);
        fuser::mount(disk, Path::new(point), &config)
    }

    struct SlowDisk {
        delay: Duration,
        /// What was looked up, by its number from 1, the root.
        paths: Mutex<Vec<PathBuf>>,
        counts: Mutex<BTreeMap<&'static str, u64>>,
    }

    impl SlowDisk {
        /// Counts an operation on a file, and carries it out when its time has come.
        fn ask<T>(
            &self,
            operation: &'static str,
            node: INodeNo,
            carry_out: impl FnOnce(&Path) -> io::Result<T>,
        ) -> Result<T, Errno> {
            *self.counts.lock().entry(operation).or_default() += 1;
            sleep(self.delay);
            let index = usize::try_from(node.0).unwrap_or_default().wrapping_sub(1);
            let path = self.paths.lock().get(index).cloned().ok_or(Errno::ENOENT)?;
            Ok(carry_out(&path)?)
        }

        fn answer_open(&self, operation: &'static str, node: INodeNo, flags: FopenFlags, reply: ReplyOpen) {
            match self.ask(operation, node, |_| Ok(())) {
                Ok(()) => reply.opened(FileHandle(0), flags),
                Err(error) => reply.error(error),
            }
        }

        fn find(&self, folder: &Path, name: &OsStr) -> io::Result<FileAttr> {
            let path = folder.join(name);
            match symlink_metadata(&path) {
                Ok(metadata) => {
                    let mut paths = self.paths.lock();
                    paths.push(path);
                    attributes(INodeNo(paths.len() as u64), &metadata)
                }
                // Number 0 has the kernel remember that there is none, whatever else is said of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    attributes(INodeNo(0), &symlink_metadata(folder)?)
                }
                Err(error) => Err(error),
            }
        }
    }

    impl Filesystem for SlowDisk {
        fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
            for capability in [InitFlags::FUSE_CACHE_SYMLINKS, InitFlags::FUSE_PARALLEL_DIROPS] {
                // A kernel that lacks one asks more often.
                let _ = config.add_capabilities(capability);
            }
            Ok(())
        }

        fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
            match self.ask("lookup", parent, |folder| self.find(folder, name)) {
                Ok(found) => reply.entry(&FOREVER, &found, Generation(0)),
                Err(error) => reply.error(error),
            }
        }

        fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
            match self.ask("getattr", node, |path| attributes(node, &symlink_metadata(path)?)) {
                Ok(found) => reply.attr(&FOREVER, &found),
                Err(error) => reply.error(error),
            }
        }

        fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
            match self.ask("readlink", node, |path| read_link(path)) {
                Ok(target) => reply.data(target.as_os_str().as_bytes()),
                Err(error) => reply.error(error),
            }
        }

        fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
            self.answer_open("open", node, FopenFlags::FOPEN_KEEP_CACHE, reply);
        }

        fn read(
            &self,
            _: &Request,
            node: INodeNo,
            _: FileHandle,
            offset: u64,
            size: u32,
            _: OpenFlags,
            _: Option<LockOwner>,
            reply: ReplyData,
        ) {
            let mut buffer = vec![0; size as usize];
            match self.ask("read", node, |path| File::open(path)?.read_at(&mut buffer, offset)) {
                Ok(length) => reply.data(buffer.get(..length).unwrap_or_default()),
                Err(error) => reply.error(error),
            }
        }

        fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
            self.answer_open(
                "opendir",
                node,
                FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
                reply,
            );
        }

        fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
            let list = |path: &Path| read_dir(path)?.collect::<io::Result<Vec<_>>>();
            let entries = match self.ask("readdir", node, list) {
                Ok(entries) => entries,
                Err(error) => return reply.error(error),
            };
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            for (entry, next) in entries.iter().zip(1..).skip(from) {
                let kind = entry.file_type().ok().and_then(FileType::from_std);
                // The kernel wants some number here, and looks the name up all the same.
                if reply.add(node, next, kind.unwrap_or(FileType::RegularFile), entry.file_name()) {
                    break;
                }
            }
            reply.ok();
        }

        fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
            if node != INodeNo::ROOT || name != "user.operations" {
                return reply.error(Errno::ENODATA);
            }
            let counts = self.counts.lock();
            let text: String = counts.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
            if size == 0 { reply.size(text.len() as u32) } else { reply.data(text.as_bytes()) }
        }
    }

    fn attributes(node: INodeNo, metadata: &Metadata) -> io::Result<FileAttr> {
        let modified = metadata.modified()?;
        Ok(FileAttr {
            ino: node,
            size: metadata.len(),
            blocks: metadata.blocks(),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind: FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile),
            perm: (metadata.mode() & 0o7777) as u16,
            nlink: 1,
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}
