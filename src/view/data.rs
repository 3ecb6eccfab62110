//! The content of files: reading, writing, room.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, fdatasync, fsync, seek};
use rustix::io::{Errno, pread, pwrite};

use super::layer::open_archived;
use super::nodes::{NodeId, Origin};
use super::{Failure, Handle, View};

impl View {
    /// Up to `size` bytes of a regular file, from `offset`; fewer only at its end.
    ///
    /// # Errors
    /// `EINVAL` for what is no file; what open(2) and pread(2) say; `EIO` where an archive's file is gone.
    pub fn read(
        &self,
        node: NodeId,
        handle: Option<Handle>,
        offset: u64,
        size: usize,
    ) -> Result<Vec<u8>, Failure> {
        if let Some(file) = handle.and_then(|handle| self.handle(handle)) {
            return read_at(&*file, offset, size).map_err(|errno| self.failed(errno, node));
        }
        let generated = match self.nodes.read().get(node).map(|node| &node.origin) {
            Some(&Origin::Generated { distribution, file, .. }) => Some((distribution, file)),
            _ => None,
        };
        if let Some((distribution, file)) = generated {
            let bytes = self.generate(distribution, file)?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(size).min(bytes.len());
            return Ok(bytes.get(start..end).unwrap_or_default().to_vec());
        }
        let file = self.open(node, OFlags::RDONLY)?;
        read_at(&file, offset, size).map_err(|errno| self.failed(errno, node))
    }

    /// Writes to a regular file; all of it, or it fails. What comes from an archive is copied up first.
    ///
    /// # Errors
    /// What open(2) and pwrite(2) say.
    pub fn write(
        &self,
        node: NodeId,
        handle: Option<Handle>,
        offset: u64,
        data: &[u8],
    ) -> Result<usize, Failure> {
        let file = self.writable(node, handle)?;
        let mut written = 0;
        while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
            self.upper()?.crash.point().map_err(|errno| self.failed(errno, node))?;
            match pwrite(&*file, rest, offset.saturating_add(written as u64)) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                // As write(2) does: what was written counts, and the next call says why it was not more.
                Err(_) if written > 0 => break,
                Err(errno) => return Err(self.failed(errno, node)),
            }
        }
        Ok(written)
    }

    /// Gives a file room, or takes it away.
    ///
    /// # Errors
    /// What fallocate(2) says.
    pub fn allocate(
        &self,
        node: NodeId,
        handle: Option<Handle>,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> Result<(), Failure> {
        let file = self.writable(node, handle)?;
        let mode = FallocateFlags::from_bits_retain(mode);
        fallocate(&*file, mode, offset, length).map_err(|errno| self.failed(errno, node))
    }

    /// Finds data or a hole: the offset of what `from` asks for.
    ///
    /// # Errors
    /// What lseek(2) says.
    pub fn seek(&self, node: NodeId, handle: Option<Handle>, from: SeekFrom) -> Result<u64, Failure> {
        let failed = |errno| self.failed(errno, node);
        match handle.and_then(|handle| self.handle(handle)) {
            // A descriptor of its own has a position of its own.
            Some(file) => {
                seek(self.upper()?.reopen(&*file, OFlags::RDONLY).map_err(failed)?, from).map_err(failed)
            }
            None => seek(self.open(node, OFlags::RDONLY)?, from).map_err(failed),
        }
    }

    /// Has an entry outlive a power failure, with its name: what was removed stays so, too.
    ///
    /// # Errors
    /// What fsync(2) says.
    pub fn sync(&self, node: NodeId, handle: Option<Handle>, data_only: bool) -> Result<(), Failure> {
        let failed = |errno| self.failed(errno, node);
        if let Some(file) = handle.and_then(|handle| self.handle(handle)) {
            return if data_only { fdatasync(&*file) } else { fsync(&*file) }.map_err(failed);
        }
        let (is_directory, in_upper) = match self.nodes.read().get(node).map(|node| &node.origin) {
            Some(Origin::Directory(directory)) => (true, directory.in_upper),
            Some(Origin::Upper | Origin::Removed(_)) => (false, true),
            _ => (false, false),
        };
        if is_directory {
            self.whiteouts.lock().sync().map_err(failed)?;
        }
        if in_upper {
            let file = self.open(node, OFlags::RDONLY)?;
            if data_only { fdatasync(file) } else { fsync(file) }.map_err(failed)?;
        }
        Ok(())
    }

    /// Opens an entry on disk, wherever it is by now.
    ///
    /// # Errors
    /// What open(2) says; `EINVAL` for what is not on disk.
    pub(super) fn open(&self, node: NodeId, flags: OFlags) -> Result<OwnedFd, Failure> {
        let nodes = self.nodes.read();
        let found = nodes.get(node).ok_or_else(Failure::absent)?;
        let path = nodes.path(node);
        let opened = match &found.origin {
            Origin::Upper => self.upper()?.open(&path.clone().ok_or_else(Failure::absent)?, flags),
            Origin::Directory(directory) if directory.in_upper => {
                self.upper()?.open(&path.clone().ok_or_else(Failure::absent)?, flags)
            }
            Origin::Archive(layer) => {
                let path = self.layer(*layer)?.path(&path.clone().unwrap_or_default());
                drop(nodes);
                return open_archived(&path).map_err(|errno| Failure {
                    errno: Errno::IO,
                    reason: format!("{} is in the cache no more: {errno}", path.display()),
                });
            }
            Origin::RemovedArchive(path) => open_archived(path),
            Origin::Removed(file) if flags.contains(OFlags::PATH) => {
                file.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
            Origin::Removed(file) => self.upper()?.reopen(file, flags),
            Origin::Generated { .. } | Origin::Directory(_) => Err(Errno::INVAL),
        };
        opened.map_err(|errno| Failure::new(errno, &path.unwrap_or_default()))
    }

    /// The file that a change goes to.
    fn writable(&self, node: NodeId, handle: Option<Handle>) -> Result<Arc<OwnedFd>, Failure> {
        match handle.and_then(|handle| self.handle(handle)) {
            Some(file) => Ok(file),
            None => {
                self.copy_up(node, None)?;
                self.open(node, OFlags::WRONLY).map(Arc::new)
            }
        }
    }

    pub(super) fn failed(&self, errno: Errno, node: NodeId) -> Failure {
        Failure::new(errno, &self.nodes.read().path(node).unwrap_or_default())
    }
}

/// Up to `size` bytes, fewer only at the end.
fn read_at(file: impl AsFd, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
    let mut data = vec![0; size];
    let mut filled = 0;
    while let Some(space) = data.get_mut(filled..).filter(|space| !space.is_empty()) {
        match pread(&file, space, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(data)
}
