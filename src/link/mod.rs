//! The view made real: the same names and bytes as the mount shows, as files of the environment.

mod fold;

use std::path::Path;

use crate::error::{Error, Result};
use crate::place::{Content, LinkMode, Placement};
use crate::venv::Layout;
use crate::view::{Failure, Leaf, LeafContent, View};

/// What makes a view real, as values; nothing is written.
///
/// # Errors
/// An archive cannot be read.
pub fn plan(view: &View, mode: LinkMode, layout: &Layout) -> Result<Vec<Placement>> {
    Ok(placements(view.leaves().map_err(unreadable)?, mode, layout))
}

/// The same with symbolic links, one for a whole directory where that is safe. `is_free` tells of a path of the
/// environment whether nothing of the user's is there.
///
/// # Errors
/// An archive cannot be read; what `is_free` says.
pub fn plan_folded(
    view: &View,
    layout: &Layout,
    is_free: impl Fn(&Path) -> Result<bool>,
) -> Result<Vec<Placement>> {
    let leaves = view.leaves().map_err(unreadable)?;
    let whole = view.whole_directories().map_err(unreadable)?;
    let site_packages = &layout.scheme.purelib;
    let folded = fold::fold(leaves, &whole, |path| is_free(&site_packages.join(path)))?;
    Ok(placements(folded, LinkMode::Symlink, layout))
}

fn placements(leaves: Vec<Leaf>, mode: LinkMode, layout: &Layout) -> Vec<Placement> {
    let placement = |Leaf { path, distribution, content }: Leaf| Placement {
        path: layout.scheme.purelib.join(path),
        distribution: Some(distribution),
        source: None,
        content: match content {
            LeafContent::File(from) => mode.content(from),
            LeafContent::Directory(from) => Content::Symlink(from),
            LeafContent::Generated(bytes) => Content::Bytes { bytes, executable: false },
        },
    };
    leaves.into_iter().map(placement).collect()
}

fn unreadable(failure: Failure) -> Error {
    Error::new(failure.reason)
}
