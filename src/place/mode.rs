//! How files of archives are made in an environment.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Content;

/// How a view is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkMode {
    /// Mounted, with FUSE.
    Fuse,
    /// Real directories, a symbolic link for each file.
    Symlink,
    /// Real directories, another name of the cache's file for each file: cache and environment share it.
    Hardlink,
    /// Private copies that share the cache's blocks (btrfs, XFS).
    Clone,
    /// Private copies.
    Copy,
}

impl LinkMode {
    /// What makes an archive's file appear in an environment outside of a mount.
    pub fn content(self, from: PathBuf) -> Content {
        match self {
            Self::Fuse | Self::Symlink => Content::Symlink(from),
            Self::Hardlink => Content::HardLink(from),
            Self::Clone => Content::Clone(from),
            Self::Copy => Content::Copy { from, executable: false },
        }
    }
}

impl fmt::Display for LinkMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fuse => "fuse",
            Self::Symlink => "symlink",
            Self::Hardlink => "hardlink",
            Self::Clone => "clone",
            Self::Copy => "copy",
        })
    }
}
