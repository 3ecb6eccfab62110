//! The view where sitefs is built without FUSE: its leaves, for the link modes. They are those of the view that is
//! served; `tests/link` compares both with what they must be.

mod cache_mount;
mod clash;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "only a view that is served is changed")]
mod crash;
mod distribution;
mod entries;
mod generated;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "only a view that is served makes files ready in the upper")]
mod leave;
mod left;
mod merge;
mod outside;
#[cfg(target_os = "linux")]
#[allow(dead_code, unreachable_pub, reason = "only a view that is served is changed")]
mod whiteouts;

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

pub use cache_mount::{CACHE_MOUNT, CacheMount};
pub use clash::{Clash, clashes};
pub use distribution::{Distribution, installed, installed_name, layers_of};
pub use entries::{Entries, EntriesChoice, EntriesWord};
pub use generated::Generated;
pub use layer::LayerId;
#[cfg(target_os = "linux")]
pub use leave::{leave, undo};
pub use left::{Left, left};
use merge::{Merged, merge};
pub use outside::{OUTSIDE, OutsideLayer, links};
#[cfg(target_os = "linux")]
pub use whiteouts::Whiteouts;

#[cfg(not(target_os = "linux"))]
pub use self::nothing_removed::Whiteouts;
use crate::bytecode::Shelf;
use crate::error::Result;
use crate::place::Placement;
#[cfg(not(target_os = "linux"))]
pub use crate::place::undo;
use crate::python::PackageName;
use crate::sys::directory;
use crate::sys::posix::{CWD, OwnedFd};
use crate::venv::Layout;
use crate::venv::state::State;

mod layer {
    /// A layer's place in the order of the view: a higher one hides a lower one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct LayerId(pub u32);
}

/// What a mount leaves in the upper: there are no mounts.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn leave(_root: &Path, _state: &State) -> Result<()> {
    Ok(())
}

/// The archive's file that a mounted view shows as a regular file at this path: not to be known here.
pub fn archived(_path: &Path) -> Option<PathBuf> {
    None
}

/// Why the view cannot answer.
#[derive(Debug)]
pub struct Failure {
    /// What failed, on which path.
    pub reason: String,
}

/// A leaf of an archive, a generated file, or a directory that stands for its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its path, relative to site-packages.
    pub path: PathBuf,
    /// The distribution that it comes from.
    pub distribution: PackageName,
    /// What it holds.
    pub content: LeafContent,
}

/// What a leaf holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafContent {
    /// The same as this file of an archive.
    File(PathBuf),
    /// All that this directory of an archive has.
    Directory(PathBuf),
    /// Bytes that the view makes up.
    Generated(Vec<u8>),
}

/// A directory that only one layer has, and with it everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The layer.
    pub layer: LayerId,
    /// The directory in the archive.
    pub directory: PathBuf,
    /// Whose it is.
    pub distribution: PackageName,
}

/// What a walk over the view finds.
#[derive(Default)]
struct Walked {
    leaves: Vec<Leaf>,
    whole: BTreeMap<PathBuf, Whole>,
}

/// The union of the archives.
#[derive(Debug)]
pub struct View {
    distributions: Vec<Distribution>,
    /// The directory of each layer, lowest first, and its distribution.
    layers: BTreeMap<u32, (PathBuf, usize)>,
    whiteouts: Whiteouts,
    layout: Layout,
}

impl View {
    /// The view of these distributions, lowest first, without what was removed. The environment's own site-packages is
    /// not part of it.
    ///
    /// # Errors
    /// None.
    pub fn new(
        distributions: Vec<Distribution>,
        _upper: Option<OwnedFd>,
        whiteouts: Whiteouts,
        layout: Layout,
    ) -> Result<Self> {
        let of_all = distributions.iter().enumerate();
        let directories =
            of_all.flat_map(|(index, one)| one.layers.iter().map(move |layer| (layer.clone(), index)));
        let layers = (0..).zip(directories).collect();
        Ok(Self { distributions, layers, whiteouts, layout })
    }

    /// Does nothing: only a server leaves something unfinished.
    ///
    /// # Errors
    /// None.
    pub fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// Does nothing: nothing is imported from it.
    ///
    /// # Errors
    /// None.
    pub fn keep_bytecode(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }

    /// Does nothing: no link leads to it.
    pub fn lead_to(&mut self, _links: &[Placement]) {}

    /// Does nothing: it shows no links.
    pub fn show_cache(&mut self, _mount: CacheMount) {}

    /// Does nothing: nothing is imported from it.
    pub fn share_bytecode(&mut self, _shelves: Vec<Shelf>) {}

    /// All leaves.
    ///
    /// # Errors
    /// An archive cannot be read.
    pub fn leaves(&self) -> Result<Vec<Leaf>, Failure> {
        Ok(self.walked()?.leaves)
    }

    /// The directories of which one archive has the whole, and nothing was removed, by path relative to site-packages. A
    /// dist-info directory has generated files, and is none of them, nor what is in it.
    ///
    /// # Errors
    /// An archive cannot be read.
    pub fn whole_directories(&self) -> Result<BTreeMap<PathBuf, Whole>, Failure> {
        Ok(self.walked()?.whole)
    }

    fn walked(&self) -> Result<Walked, Failure> {
        let mut walked = Walked::default();
        let all = self.layers.keys().copied().map(LayerId).collect();
        self.walk(Path::new(""), all, &mut walked)?;
        Ok(walked)
    }

    /// Says whether all directories in this one are whole.
    fn walk(&self, directory: &Path, layers: Vec<LayerId>, walked: &mut Walked) -> Result<bool, Failure> {
        let generated = self.generated(directory, &layers)?;
        let names: HashSet<PathBuf> = generated.iter().map(|leaf| leaf.path.clone()).collect();
        walked.leaves.extend(generated);
        let mut listings = Vec::with_capacity(layers.len());
        for id in layers {
            let Some((root, distribution)) = self.layer(id) else { continue };
            let path =
                if directory.as_os_str().is_empty() { root.to_path_buf() } else { root.join(directory) };
            let mut entries = directory::list(CWD, &path).map_err(|errno| Failure {
                reason: format!("{} cannot be listed any more: {errno}", path.display()),
            })?;
            let removed = self.whiteouts.removed(distribution.label(), directory);
            entries.retain(|entry| {
                let is_data = directory.as_os_str().is_empty() && self.is_data_directory(&entry.name);
                !is_data && !removed.is_some_and(|removed| removed.contains(&entry.name))
            });
            listings.push((id, entries));
        }
        let mut all = true;
        for (name, entry) in merge(listings) {
            let path = directory.join(&name);
            match entry {
                _ if names.contains(&path) => {}
                Merged::Directory(layers) => {
                    let whole = self.whole(&path, &layers);
                    let are_below = self.walk(&path, layers, walked)?;
                    match whole.filter(|_| are_below) {
                        Some(whole) => drop(walked.whole.insert(path, whole)),
                        None => all = false,
                    }
                }
                Merged::Leaf(layer, _) => {
                    let Some((root, distribution)) = self.layer(layer) else { continue };
                    let content = LeafContent::File(root.join(&path));
                    walked.leaves.push(Leaf {
                        path,
                        distribution: distribution.archive.name.clone(),
                        content,
                    });
                }
            }
        }
        Ok(all)
    }

    /// A directory that one layer alone has, whatever is in its directories.
    fn whole(&self, path: &Path, layers: &[LayerId]) -> Option<Whole> {
        let &[layer] = layers else { return None };
        let (root, owner) = self.layer(layer)?;
        let is_in = |one: &Distribution| path.starts_with(&one.archive.dist_info);
        if self.distributions.iter().any(is_in) || self.whiteouts.removed(owner.label(), path).is_some() {
            return None;
        }
        Some(Whole { layer, directory: root.join(path), distribution: owner.archive.name.clone() })
    }

    /// What the view makes up in a dist-info directory, as far as the archive's own part of it is not removed.
    fn generated(&self, directory: &Path, layers: &[LayerId]) -> Result<Vec<Leaf>, Failure> {
        let is_its = |one: &&Distribution| directory == Path::new(&one.archive.dist_info);
        let Some(distribution) = self.distributions.iter().rfind(is_its) else { return Ok(Vec::new()) };
        let is_there = layers
            .iter()
            .filter_map(|id| self.layer(*id))
            .any(|(_, owner)| std::ptr::eq(owner, distribution));
        let removed = self.whiteouts.removed(distribution.label(), directory);
        let is_removed = |name: &str| removed.is_some_and(|removed| removed.contains(OsStr::new(name)));
        let kept = distribution.generated().filter(|(name, _)| is_there && !is_removed(name));
        kept.map(|(name, file)| {
            let bytes = distribution.generate(file, &self.layout);
            Ok(Leaf {
                path: directory.join(name),
                distribution: distribution.archive.name.clone(),
                content: LeafContent::Generated(
                    bytes.map_err(|error| Failure { reason: error.to_string() })?,
                ),
            })
        })
        .collect()
    }

    fn layer(&self, id: LayerId) -> Option<(&Path, &Distribution)> {
        let (root, distribution) = self.layers.get(&id.0)?;
        Some((root, self.distributions.get(*distribution)?))
    }

    /// Whether a name at the root of an archive is the `.data` directory whose parts are layers of their own.
    fn is_data_directory(&self, name: &OsString) -> bool {
        let data = |one: &Distribution| one.archive.data.as_deref().is_some_and(|data| name == data);
        self.distributions.iter().any(data)
    }
}

/// Where nothing is ever mounted, nothing is removed from a mount.
#[cfg(not(target_os = "linux"))]
mod nothing_removed {
    use std::collections::HashSet;
    use std::ffi::OsString;
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// What was removed in an environment: nothing.
    #[derive(Debug, Default)]
    pub struct Whiteouts;

    impl Whiteouts {
        /// Reads the journal, which is empty.
        ///
        /// # Errors
        /// None.
        pub fn open(_journal: File) -> io::Result<Self> {
            Ok(Self)
        }

        /// The names in a directory that were removed: none.
        pub fn removed(&self, _distribution: &str, _directory: &Path) -> Option<&HashSet<OsString>> {
            None
        }

        /// Whether a path was removed.
        pub fn is_removed(&self, _distribution: &str, _path: &Path) -> bool {
            false
        }
    }
}
