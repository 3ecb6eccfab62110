//! What Windows does in its own way. Written by Microsoft's documentation and type-checked; never run by us.

pub mod beneath;
pub mod directory;
pub mod posix;

use std::fs::File;
use std::io;
use std::process::Child;

use posix::Errno;

/// Nothing tells here which processes see the same files by the same paths.
pub fn surroundings() -> Option<String> {
    None
}

/// ReFS has clones, NTFS has none; sitefs makes none on either.
///
/// # Errors
/// Always.
pub fn clone_file(_source: &File, _copy: &beneath::Place, _executable: bool) -> io::Result<File> {
    Err(Errno::OPNOTSUPP.into())
}

/// Copies the bytes of a file into an empty one. Holes are filled.
///
/// # Errors
/// A file that cannot be read, a disk that is full.
pub fn copy_bytes(source: &mut File, copy: &mut File) -> io::Result<()> {
    io::copy(source, copy).map(drop)
}

/// Ends a process: nothing can be asked of one here.
pub fn ask_to_end(child: &mut Child) {
    let _ = child.kill();
}
