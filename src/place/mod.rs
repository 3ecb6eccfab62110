//! Files that sitefs makes in an environment: planned as values, made real, and undone exactly.
//!
//! They are what wheels put outside site-packages, and, without FUSE, the whole view.

mod apply;
mod folders;
mod journal;
mod make;
mod mode;
mod root;
mod theirs;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

pub use apply::{apply, undo};
pub use journal::{changed, exists, has_dist_info, is_unfinished, owner, placed};
pub use make::Difficulty;
pub use mode::LinkMode;
pub use theirs::is_free;

use crate::python::PackageName;

/// One file to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where it goes, relative to the environment.
    pub path: PathBuf,
    /// The distribution that it belongs to; none where it leads to what several have.
    pub distribution: Option<PackageName>,
    /// The path that the archive's own RECORD has for it; none for generated files.
    pub source: Option<String>,
    /// What it holds.
    pub content: Content,
}

/// What making came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Paths where the environment already had something of its own, or above, which stays.
    pub kept: HashSet<PathBuf>,
    /// What the environment has of its own where a directory would be, and hides all that is below.
    pub hiding: BTreeSet<PathBuf>,
}

/// What a file holds, and how it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether it is a program.
        executable: bool,
    },
    /// A symbolic link to an archive's file, or to a whole directory of it.
    Symlink(PathBuf),
    /// Another name of an archive's file.
    HardLink(PathBuf),
    /// A private copy that shares the archive's blocks (reflink).
    Clone(PathBuf),
    /// A private copy of an archive's file.
    Copy {
        /// The archive's file.
        from: PathBuf,
        /// Whether it is a program, whatever the archive's mode bits say.
        executable: bool,
    },
}

/// The directories above these paths, the root of all apart.
pub(crate) fn directories_above<'a>(paths: impl Iterator<Item = &'a Path>) -> HashSet<&'a Path> {
    let mut found = HashSet::new();
    for path in paths {
        // Those above one that is known are known.
        for directory in path.ancestors().skip(1).take_while(|path| !path.as_os_str().is_empty()) {
            if !found.insert(directory) {
                break;
            }
        }
    }
    found
}
