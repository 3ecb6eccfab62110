//! The view made real: the same names and bytes as the mount shows, as files of the environment.

use crate::error::{Error, Result};
use crate::place::{Content, LinkMode, Placement};
use crate::venv::Layout;
use crate::view::{Leaf, LeafContent, View};

/// What makes a view real, as values; nothing is written.
///
/// # Errors
/// An archive cannot be read.
pub fn plan(view: &View, mode: LinkMode, layout: &Layout) -> Result<Vec<Placement>> {
    let leaves = view.leaves().map_err(|failure| Error::new(failure.reason))?;
    let placement = |Leaf { path, distribution, content }: Leaf| Placement {
        path: layout.scheme.purelib.join(path),
        distribution,
        source: None,
        content: match content {
            LeafContent::File(from) => mode.content(from),
            LeafContent::Generated(bytes) => Content::Bytes { bytes, executable: false },
        },
    };
    Ok(leaves.into_iter().map(placement).collect())
}
