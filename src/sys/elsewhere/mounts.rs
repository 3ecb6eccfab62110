//! The mount table of a system on which sitefs mounts nothing: it is empty.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sys::posix::Errno;

/// A mount, of which there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type of its file system.
    pub file_system_type: String,
    /// Who mounted it.
    pub user: Option<u32>,
}

impl Mount {
    /// Whether sitefs made it.
    pub fn is_ours(&self) -> bool {
        false
    }
}

/// All mounts that matter: none.
///
/// # Errors
/// None.
pub fn all() -> Result<Vec<Mount>> {
    Ok(Vec::new())
}

/// What is mounted on this directory: nothing that matters.
///
/// # Errors
/// None.
pub fn at(_point: &Path) -> Result<Option<Mount>> {
    Ok(None)
}

/// Unmounts.
///
/// # Errors
/// Always: nothing is mounted.
pub fn detach(_point: &Path, _lazily: bool) -> Result<(), Errno> {
    Err(Errno::INVAL)
}
