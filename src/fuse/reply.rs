//! What many handlers answer alike: an entry, a listing, an extended attribute, or that it is done.

use std::ffi::OsStr;
use std::time::Duration;

use fuser::{Errno, Generation, INodeNo, ReplyEmpty, ReplyEntry, ReplyXattr};
use rustix::fs::FileType;

use super::convert::{attr, errno, node};
use crate::view::{Attributes, Failure, NodeId, View};

/// Without end: the kernel cuts it to the largest time it knows.
pub(super) const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Numbers are never given twice, so there are no generations.
pub(super) const GENERATION: Generation = Generation(0);

/// The directory's entries from `offset` on: `.`, `..`, then the view's. `add` takes one and says whether it is full.
pub(super) fn list(
    view: &View,
    directory: INodeNo,
    offset: u64,
    mut add: impl FnMut(NodeId, u64, &OsStr, FileType) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let directory = node(directory);
    for (position, name, of) in [(0, ".", directory), (1, "..", view.parent(directory))] {
        if offset <= position && add(of, position + 1, OsStr::new(name), FileType::Directory)? {
            return Ok(());
        }
    }
    for listed in view.entries(directory, offset.saturating_sub(2))? {
        if add(listed.node, listed.next + 2, &listed.name, listed.file_type)? {
            break;
        }
    }
    Ok(())
}

pub(super) fn entry(operation: &str, made: Result<Attributes, Failure>, reply: ReplyEntry) {
    match made {
        Ok(attributes) => reply.entry(&FOREVER, &attr(&attributes), GENERATION),
        Err(failure) => reply.error(errno(operation, &failure)),
    }
}

pub(super) fn done(operation: &str, result: Result<(), Failure>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(failure) => reply.error(errno(operation, &failure)),
    }
}

/// An extended attribute: its size, if the caller has no room for it yet.
pub(super) fn extended(value: &[u8], room: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(size) if room == 0 => reply.size(size),
        Ok(size) if size <= room => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}
