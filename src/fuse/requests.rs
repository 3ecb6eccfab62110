//! How often the kernel has asked for what. Anybody who sees the mount can read it, from an attribute of its root that is
//! not listed: so it costs a server nothing until somebody asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::sys::answer;

/// The attribute's name.
pub(super) const ATTRIBUTE: &str = "user.sitefs.requests";

/// More than the text of all counts can have.
const LONGEST: usize = 4096;

/// The operations that are counted.
const OPERATIONS: [&str; 32] = [
    "access",
    "create",
    "fallocate",
    "flush",
    "forget",
    "fsync",
    "fsyncdir",
    "getattr",
    "getxattr",
    "ioctl",
    "link",
    "listxattr",
    "lookup",
    "lseek",
    "mkdir",
    "mknod",
    "open",
    "opendir",
    "read",
    "readdir",
    "readdirplus",
    "readlink",
    "release",
    "removexattr",
    "rename",
    "rmdir",
    "setattr",
    "setxattr",
    "statfs",
    "symlink",
    "unlink",
    "write",
];

/// How often each was asked for.
#[derive(Debug)]
pub(super) struct Requests {
    counts: BTreeMap<&'static str, AtomicU64>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { counts: OPERATIONS.map(|operation| (operation, AtomicU64::new(0))).into() }
    }

    pub(super) fn count(&self, operation: &str) {
        if let Some(count) = self.counts.get(operation) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All that were asked for, as JSON.
    pub(super) fn to_json(&self) -> String {
        let counts = self.counts.iter().map(|(operation, count)| (*operation, count.load(Ordering::Relaxed)));
        let counts: BTreeMap<&str, u64> = counts.filter(|(_, count)| *count > 0).collect();
        serde_json::to_string(&counts).unwrap_or_default()
    }
}

/// The requests that the server of a mount has answered, by operation; nothing where it does not answer, or does not
/// count. This process must have one thread.
pub fn requests(point: &Path) -> Option<BTreeMap<String, u64>> {
    let asked = answer::ask(|| {
        let mut value = Vec::with_capacity(LONGEST);
        rustix::fs::getxattr(point, ATTRIBUTE, rustix::buffer::spare_capacity(&mut value))
            .map_err(|errno| Error::from(std::io::Error::from(errno)))?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    });
    serde_json::from_str(&asked.ok().flatten()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_counted_by_operation() {
        let requests = Requests::new();
        ["lookup", "write", "lookup", "nonsense"].iter().for_each(|operation| requests.count(operation));
        assert_eq!(requests.to_json(), r#"{"lookup":2,"write":1}"#);
    }
}
