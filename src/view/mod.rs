//! The view: the union of the archives, generated files and the upper, as site-packages shows it. It knows nothing of
//! FUSE.
//!
//! A directory is listed and merged when it is first looked at, and then remembered. So making a view costs per
//! distribution, never per file, and what nobody looks at costs nothing.

#![deny(clippy::indexing_slicing)]

mod clash;
mod distribution;
mod generated;
mod layer;
mod merge;
mod nodes;
mod walk;
mod whole;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use rustix::fs::{FileType, Stat, StatVfs};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

pub use clash::{Clash, clashes};
pub use distribution::{Distribution, installed};
pub use generated::Generated;
pub use layer::{Layer, LayerId};
use merge::{Merged, merge};
pub use nodes::NodeId;
use nodes::{Child, Node, Nodes, Origin};
pub use walk::{Leaf, LeafContent};
pub use whole::Whole;

use crate::error::Result;
use crate::venv::Layout;

/// Why the view cannot answer: the number for the caller, the reason for the log.
#[derive(Debug)]
pub struct Failure {
    /// The error number, as a system call gives it.
    pub errno: Errno,
    /// What failed, on which path.
    pub reason: String,
}

impl Failure {
    fn new(errno: Errno, path: &Path) -> Self {
        Self { errno, reason: format!("{}: {errno}", path.display()) }
    }
}

/// What an entry is, in the words of stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The entry; its number plus one is its inode number.
    pub node: NodeId,
    /// What it is.
    pub file_type: FileType,
    /// Permission bits.
    pub mode: u16,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change.
    pub modified: SystemTime,
    /// The owner's user id.
    pub user: u32,
    /// The owner's group id.
    pub group: u32,
}

/// The union that site-packages shows.
#[derive(Debug)]
pub struct View {
    distributions: Vec<Distribution>,
    layers: Vec<Layer>,
    upper: LayerId,
    /// The distribution of each layer but the upper, by its number.
    owners: Vec<usize>,
    /// The dist-info directories by name, to know where generated files belong.
    dist_infos: HashMap<OsString, usize>,
    layout: Layout,
    nodes: RwLock<Nodes>,
    made: SystemTime,
    owner: (u32, u32),
}

impl View {
    /// The view of these distributions, lowest first, beneath the environment's own site-packages, or without it.
    ///
    /// # Errors
    /// The upper cannot be looked at.
    pub fn new(distributions: Vec<Distribution>, upper: Option<OwnedFd>, layout: Layout) -> Result<Self> {
        let owner = match &upper {
            Some(upper) => rustix::fs::fstat(upper).map(|stat| (stat.st_uid, stat.st_gid)),
            None => Ok((geteuid().as_raw(), getegid().as_raw())),
        }
        .map_err(std::io::Error::from)?;
        let (mut layers, mut owners) = (Vec::new(), Vec::new());
        for (index, distribution) in distributions.iter().enumerate() {
            let archive = &distribution.archive;
            owners.extend(distribution.layers.iter().map(|_| index));
            layers.extend(distribution.layers.iter().map(|layer| {
                if *layer == archive.root {
                    Layer::listed(layer.clone(), archive.top_level.clone())
                } else {
                    Layer::at(layer.clone())
                }
            }));
        }
        let upper_id = LayerId(u32::try_from(layers.len()).unwrap_or(u32::MAX));
        layers.push(upper.map_or_else(|| Layer::listed(PathBuf::new(), Vec::new()), Layer::below));
        let all = (0..=upper_id.0).map(LayerId).collect();
        let dist_infos = distributions
            .iter()
            .enumerate()
            .map(|(index, distribution)| (OsString::from(&distribution.archive.dist_info), index))
            .collect();
        let nodes = RwLock::new(Nodes::new(all));
        Ok(Self {
            distributions,
            layers,
            upper: upper_id,
            owners,
            dist_infos,
            layout,
            nodes,
            made: SystemTime::now(),
            owner,
        })
    }

    /// The entry of this name in a directory, if there is one.
    ///
    /// # Errors
    /// `ENOTDIR`; `EIO` where an archive cannot be read any more.
    pub fn lookup(&self, directory: NodeId, name: &OsStr) -> Result<Option<Attributes>, Failure> {
        self.expand(directory)?;
        let found = self.nodes.read().child(directory, name);
        found.map(|node| self.attributes(node)).transpose()
    }

    /// What an entry is.
    ///
    /// # Errors
    /// `ENOENT` for a number that was never given; what stat(2) says of the upper.
    pub fn attributes(&self, node: NodeId) -> Result<Attributes, Failure> {
        let (origin, path) = self.origin(node)?;
        match origin {
            Origin::Directory { in_upper: true } | Origin::Upper => self.upper_attributes(node, &path),
            Origin::Directory { in_upper: false } => {
                Ok(self.attributes_of(node, FileType::Directory, 0o755, 0))
            }
            Origin::Archive(layer) => {
                let size = self.layer(layer)?.path_length(path.as_os_str().len());
                Ok(self.attributes_of(node, FileType::Symlink, 0o777, size))
            }
            Origin::Generated(distribution, file) => {
                let size = self.generated_size(node, distribution, file)?;
                Ok(self.attributes_of(node, FileType::RegularFile, 0o644, size))
            }
        }
    }

    /// The entries of a directory, sorted by name, from the one with this number on, each with its name and kind.
    ///
    /// # Errors
    /// As [`View::lookup`].
    pub fn entries(
        &self,
        directory: NodeId,
        from: usize,
    ) -> Result<Vec<(NodeId, OsString, FileType)>, Failure> {
        self.expand(directory)?;
        Ok(self.nodes.read().children(directory).skip(from).collect())
    }

    /// The directory that a directory is in; the root is in itself.
    pub fn parent(&self, node: NodeId) -> NodeId {
        self.nodes.read().get(node).map_or(NodeId::ROOT, |node| node.parent)
    }

    /// A link's target: for a leaf of an archive, the absolute path of the archive's file.
    ///
    /// # Errors
    /// `EINVAL` for what is no link.
    pub fn read_link(&self, node: NodeId) -> Result<OsString, Failure> {
        let (origin, path) = self.origin(node)?;
        match origin {
            Origin::Archive(layer) => Ok(self.layer(layer)?.path(&path).into_os_string()),
            Origin::Upper => {
                self.layer(self.upper)?.read_link(&path).map_err(|errno| Failure::new(errno, &path))
            }
            _ => Err(Failure::new(Errno::INVAL, &path)),
        }
    }

    /// Up to `size` bytes of a regular file, from `offset`; fewer only at its end.
    ///
    /// # Errors
    /// `EINVAL` for what is no file; what open(2) and pread(2) say of the upper; `EIO` where an archive's RECORD is gone.
    pub fn read(&self, node: NodeId, offset: u64, size: usize) -> Result<Vec<u8>, Failure> {
        let (origin, path) = self.origin(node)?;
        match origin {
            Origin::Upper => {
                self.layer(self.upper)?.read(&path, offset, size).map_err(|errno| Failure::new(errno, &path))
            }
            Origin::Generated(distribution, file) => {
                let bytes = self.generate(distribution, file)?;
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(size).min(bytes.len());
                Ok(bytes.get(start..end).unwrap_or_default().to_vec())
            }
            _ => Err(Failure::new(Errno::INVAL, &path)),
        }
    }

    /// The open directory of the upper.
    pub fn upper(&self) -> BorrowedFd<'_> {
        self.layers.last().map_or(rustix::fs::CWD, Layer::base)
    }

    /// The room on the file system of the upper.
    ///
    /// # Errors
    /// What fstatvfs(2) says.
    pub fn space(&self) -> Result<StatVfs, Failure> {
        self.layer(self.upper)?.space().map_err(|errno| Failure::new(errno, &self.layout.site_packages()))
    }

    /// Lists and merges a directory, the first time. Others may look meanwhile; who is first has its result kept.
    fn expand(&self, directory: NodeId) -> Result<(), Failure> {
        let (layers, path) = {
            let nodes = self.nodes.read();
            let path = || nodes.path(directory);
            match nodes.get(directory) {
                Some(Node { origin: nodes::Stored::Directory { children: Some(_), .. }, .. }) => {
                    return Ok(());
                }
                Some(Node { origin: nodes::Stored::Directory { layers, children: None }, .. }) => {
                    (layers.clone(), path())
                }
                Some(_) => return Err(Failure::new(Errno::NOTDIR, &path())),
                None => return Err(Failure::new(Errno::NOENT, &path())),
            }
        };
        let children = self.merged(&layers, &path)?;
        self.nodes.write().expand(directory, children);
        Ok(())
    }

    fn merged(&self, layers: &[LayerId], path: &Path) -> Result<Vec<Child>, Failure> {
        let mut listings = Vec::with_capacity(layers.len());
        for &id in layers {
            let layer = self.layer(id)?;
            // A directory that was there and is gone is a broken cache, not an absent name.
            let mut listing = layer.list(path).map_err(|errno| Failure {
                errno: Errno::IO,
                reason: format!("{} cannot be listed any more: {errno}", layer.path(path).display()),
            })?;
            if path.as_os_str().is_empty() {
                listing.retain(|listed| !self.is_data_directory(id, &listed.name));
            }
            listings.push((id, listing));
        }
        let mut children: Vec<Child> =
            merge(listings).into_iter().map(|(name, entry)| self.child(name, entry)).collect();
        if let Some((index, distribution)) = self.dist_info(path) {
            children.retain(|child| !distribution.generated().any(|(name, _)| child.name == name));
            children.extend(distribution.generated().map(|(name, file)| Child {
                name: name.into(),
                origin: nodes::Stored::Generated { distribution: index, file, size: None },
                file_type: FileType::RegularFile,
            }));
            children.sort_by(|left, right| left.name.cmp(&right.name));
        }
        Ok(children)
    }

    fn child(&self, name: OsString, entry: Merged) -> Child {
        let (origin, file_type) = match entry {
            Merged::Directory(layers) => {
                (nodes::Stored::Directory { layers: layers.into(), children: None }, FileType::Directory)
            }
            Merged::Leaf(layer, file_type) if layer == self.upper => (nodes::Stored::Upper, file_type),
            Merged::Leaf(layer, _) => (nodes::Stored::Archive(layer), FileType::Symlink),
        };
        Child { name, origin, file_type }
    }

    /// Whether a name at the root of an archive is the `.data` directory whose parts are layers of their own.
    fn is_data_directory(&self, layer: LayerId, name: &OsStr) -> bool {
        layer != self.upper
            && name.as_encoded_bytes().ends_with(b".data")
            && self
                .distributions
                .iter()
                .any(|distribution| distribution.archive.data.as_deref().is_some_and(|data| name == data))
    }

    fn dist_info(&self, path: &Path) -> Option<(usize, &Distribution)> {
        let index = *self.dist_infos.get(path.as_os_str())?;
        Some((index, self.distributions.get(index)?))
    }

    fn origin(&self, node: NodeId) -> Result<(Origin, PathBuf), Failure> {
        let nodes = self.nodes.read();
        let origin = nodes.get(node).map(|node| node.origin.origin(self.upper));
        let origin =
            origin.ok_or_else(|| Failure::new(Errno::NOENT, Path::new("an inode that was never given")))?;
        Ok((origin, nodes.path(node)))
    }

    fn layer(&self, id: LayerId) -> Result<&Layer, Failure> {
        self.layers
            .get(id.0 as usize)
            .ok_or_else(|| Failure::new(Errno::IO, Path::new("a layer that is not there")))
    }

    fn generate(&self, distribution: usize, file: Generated) -> Result<Vec<u8>, Failure> {
        let broken = |reason: String| Failure { errno: Errno::IO, reason };
        let distribution =
            self.distributions.get(distribution).ok_or_else(|| broken("no such distribution".into()))?;
        distribution.generate(file, &self.layout).map_err(|error| broken(error.to_string()))
    }

    fn generated_size(&self, node: NodeId, distribution: usize, file: Generated) -> Result<usize, Failure> {
        if let Some(size) = self.nodes.read().size(node) {
            return Ok(size);
        }
        let size = self.generate(distribution, file)?.len();
        self.nodes.write().set_size(node, size);
        Ok(size)
    }

    fn upper_attributes(&self, node: NodeId, path: &Path) -> Result<Attributes, Failure> {
        let stat: Stat = self.layer(self.upper)?.stat(path).map_err(|errno| Failure::new(errno, path))?;
        Ok(Attributes {
            node,
            file_type: FileType::from_raw_mode(stat.st_mode),
            mode: (stat.st_mode & 0o7777) as u16,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            user: stat.st_uid,
            group: stat.st_gid,
        })
    }

    /// What is not in the upper looks as if it was made when the view was, by the owner of site-packages.
    fn attributes_of(&self, node: NodeId, file_type: FileType, mode: u16, size: usize) -> Attributes {
        let (user, group) = self.owner;
        Attributes { node, file_type, mode, size: size as u64, modified: self.made, user, group }
    }
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::new(seconds, nanoseconds),
        Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + Duration::new(0, nanoseconds),
    }
}
