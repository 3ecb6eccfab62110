//! Copying the bytes of a file, and not the holes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// The unit of [`MetadataExt::blocks`], whatever the file system's own is.
const BLOCK: u64 = 512;

/// Copies a file into an empty one. What is a hole in one is a hole in the other.
///
/// # Errors
/// A file that cannot be read, a disk that is full.
pub fn copy_bytes(source: &mut File, copy: &mut File) -> io::Result<()> {
    let metadata = source.metadata()?;
    let size = metadata.size();
    if metadata.blocks().saturating_mul(BLOCK) >= size {
        return io::copy(source, copy).map(drop);
    }
    let mut end = 0;
    while let Some(start) = seek(source, SeekFrom::Data(end))? {
        end = seek(source, SeekFrom::Hole(start))?.unwrap_or(size);
        source.seek(io::SeekFrom::Start(start))?;
        copy.seek(io::SeekFrom::Start(start))?;
        io::copy(&mut source.take(end - start), copy)?;
    }
    copy.flush()?;
    copy.set_len(size)
}

/// Where there is data, or a hole, next; nothing after the last. A file system that does not tell has data all through.
fn seek(file: &File, from: SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, from) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
