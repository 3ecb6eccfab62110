//! What is written down of a mount.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lock::Selection;
use crate::place::LinkMode;
use crate::python::PackageName;
use crate::view::{CacheMount, EntriesChoice, OutsideLayer};

/// What is, or was last, mounted on an environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountRecord {
    /// The version of sitefs that mounted it.
    pub sitefs: String,
    /// How it is made.
    pub link_mode: LinkMode,
    /// Whether symbolic links stand for whole directories.
    #[serde(default)]
    pub folded: bool,
    /// How a mount shows the cache's files.
    #[serde(default)]
    pub entries: EntriesChoice,
    /// The folder of archives that is mounted read-only, for links to lead through.
    #[serde(default)]
    pub mounted_folder: Option<PathBuf>,
    /// Whether the mount refuses every change.
    #[serde(default)]
    pub read_only: bool,
    /// Where what goes outside site-packages is, if the environment itself cannot be written.
    #[serde(default)]
    pub outside: Option<PathBuf>,
    /// Whether it is for `sitefs run`, and ends with the last that uses it.
    #[serde(default)]
    pub is_for_run: bool,
    /// The server's process id; 0 where there is none.
    pub pid: u32,
    /// When it was mounted, in seconds since 1970; 0 while files are being made.
    pub since: u64,
    /// The mount point.
    pub site_packages: PathBuf,
    /// The cache.
    pub cache: PathBuf,
    /// The lock files.
    pub requirements: Vec<PathBuf>,
    /// What was wanted of them.
    #[serde(default)]
    pub selection: Selection,
    /// What is mounted, lowest layer first.
    pub distributions: Vec<MountedDistribution>,
}

impl MountRecord {
    /// The read-only mount of the cache, through which links lead.
    pub fn cache_mount(&self) -> Option<CacheMount> {
        let folder = self.mounted_folder.clone()?;
        Some(CacheMount::new(folder, &self.site_packages))
    }

    /// The file of the cache that a link leads to.
    pub fn in_cache(&self, target: PathBuf) -> PathBuf {
        match self.cache_mount() {
            Some(mount) => mount.stored(target),
            None => target,
        }
    }

    /// How it is made, in a few words.
    pub fn how(&self) -> String {
        let folded = if self.folded { ", folded" } else { "" };
        let is_told = self.link_mode == LinkMode::Fuse && !self.entries.is_default();
        let entries = if is_told { format!(", entries {}", self.entries) } else { String::new() };
        let read_only = if self.read_only { ", read-only" } else { "" };
        format!("{}{folded}{entries}{read_only}", self.link_mode)
    }
}

/// A distribution of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedDistribution {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// The name of its dist-info directory.
    pub dist_info: String,
    /// The directories of the archive that are layers of the view, lowest first.
    pub layers: Vec<PathBuf>,
    /// Those of what it has outside site-packages.
    #[serde(default)]
    pub outside: Vec<OutsideLayer>,
}

impl MountRecord {
    /// The distributions whose archives are in the cache no more, where entries lead there.
    pub fn vanished(&self) -> Vec<&MountedDistribution> {
        let leads_there = matches!(self.link_mode, LinkMode::Fuse | LinkMode::Symlink);
        let is_gone = |distribution: &&MountedDistribution| {
            distribution.layers.iter().any(|layer| fs_err::symlink_metadata(layer).is_err())
        };
        self.distributions.iter().filter(|_| leads_there).filter(is_gone).collect()
    }
}

impl fmt::Display for MountedDistribution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=={}", self.name, self.version)
    }
}
