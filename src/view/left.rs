//! What a mount served outside site-packages, and could not bring home when it ended.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::OUTSIDE;
use crate::error::Result;
use crate::sys::mounts;
use crate::venv::state::State;

/// What the user made outside site-packages, and could not be moved to its place.
#[derive(Clone, Debug, Serialize)]
pub struct Left {
    /// The directory that has it.
    pub directory: PathBuf,
    #[serde(skip)]
    root: PathBuf,
}

impl fmt::Display for Left {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, root) = (self.directory.display(), self.root.display());
        write!(
            formatter,
            "{directory} has what could not be moved to its place in {root}: something else is there, it is on another \
             file system, or it cannot be written"
        )
    }
}

/// What the last mount left so. Nothing while it is mounted: the mount serves it.
///
/// # Errors
/// The mount table cannot be read.
pub fn left(root: &Path, state: &State) -> Result<Option<Left>> {
    let Some(record) = state.mount_record() else { return Ok(None) };
    let Some((_, site_packages)) = split(&record.site_packages, root) else { return Ok(None) };
    let point = root.join(site_packages);
    let directory = point.join(OUTSIDE);
    let is_left = mounts::at(&point)?.is_none() && directory.is_dir();
    Ok(is_left.then(|| Left { directory, root: root.to_path_buf() }))
}

/// Where the environment was when it was mounted, and site-packages in it: it may have been moved since.
pub(super) fn split<'a>(site_packages: &'a Path, root: &Path) -> Option<(&'a Path, &'a Path)> {
    site_packages.ancestors().collect::<Vec<_>>().into_iter().rev().find_map(|above| {
        let inside = site_packages.strip_prefix(above).ok().filter(|it| !it.as_os_str().is_empty())?;
        (above == root || (!site_packages.starts_with(root) && root.join(inside).is_dir()))
            .then_some((above, inside))
    })
}
