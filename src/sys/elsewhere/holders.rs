//! Which processes use a mount, where there are no mounts: none.

use std::path::Path;

use super::mounts::Mount;

/// A process that keeps a mount busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub what: &'static str,
}

/// The processes that use something of a mount: none.
pub fn of(_mount: &Mount, _apart: &Path) -> Vec<Holder> {
    Vec::new()
}
