//! The view: the union of the archives, generated files and the upper, as site-packages shows it. It knows nothing of
//! FUSE.
//!
//! A directory is listed and merged when it is first looked at, and then remembered. So making a view costs per
//! distribution, never per file, and what nobody looks at costs nothing. Changes go to the upper and are remembered as
//! they are made: nobody else changes the upper meanwhile.

#![deny(clippy::indexing_slicing)]

mod attributes;
mod bytecode;
mod cache_mount;
mod change;
mod children;
mod clash;
mod copy_up;
mod crash;
mod created;
mod data;
mod distribution;
mod entries;
mod expand;
mod extended;
mod generated;
mod layer;
mod leave;
mod left;
mod merge;
#[cfg(test)]
mod model;
mod nodes;
mod outside;
mod rename;
mod shared;
#[cfg(test)]
mod tests;
mod upper;
mod vanished;
mod walk;
mod whiteouts;
mod whole;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustix::fs::{FileType, StatVfs};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

pub use attributes::{Attributes, Changes, NewTime};
pub use cache_mount::{CACHE_MOUNT, CacheMount};
pub use clash::{Clash, clashes};
use created::Created;
pub use created::Handle;
pub use distribution::{Distribution, installed, installed_name, layers_of};
pub use entries::{Entries, EntriesChoice, EntriesWord};
pub use extended::archived;
pub use generated::Generated;
pub use layer::{Layer, LayerId};
pub use leave::{leave, undo};
pub use left::{Left, left};
pub use nodes::NodeId;
use nodes::{Directory, Node, Nodes, Origin};
pub use outside::{OUTSIDE, OutsideLayer, links};
pub use rename::Replacing;
pub use shared::Hidden;
use shared::Shared;
use upper::Upper;
use vanished::Vanished;
pub use walk::{Leaf, LeafContent};
pub use whiteouts::{What, Whiteouts};
pub use whole::Whole;

use crate::error::{Error, Result};
use crate::place::Placement;
use crate::sys::identity::Owner;
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

    /// For an entry that is not there, or not there any more.
    fn absent() -> Self {
        Self::new(Errno::NOENT, Path::new("an entry that is gone"))
    }
}

/// The union that site-packages shows.
#[derive(Debug)]
pub struct View {
    distributions: Vec<Distribution>,
    layers: Vec<Layer>,
    /// The distribution of each layer, by its number.
    owners: Vec<usize>,
    /// The dist-info directories by name, to know where generated files belong.
    dist_infos: HashMap<OsString, usize>,
    layout: Layout,
    upper: Option<Upper>,
    vanished: Vanished,
    /// The cache, and the directory on which it is mounted.
    cache_mount: Option<(CacheMount, NodeId)>,
    /// Where the environment's links to what is served outside site-packages lead.
    led_to: HashSet<PathBuf>,
    /// Taken after `nodes`, where both are.
    whiteouts: Mutex<Whiteouts>,
    journal: Option<Arc<File>>,
    /// Held while the upper is looked at by path, and alone while a name in it changes.
    nodes: RwLock<Nodes>,
    shared: Option<Shared>,
    hidden: Option<Sender<Hidden>>,
    created: Mutex<Created>,
    made: SystemTime,
    owner: Owner,
}

impl View {
    /// The view of these distributions, lowest first, without what was removed, beneath the environment's own
    /// site-packages, or without it.
    ///
    /// # Errors
    /// The upper cannot be looked at.
    pub fn new(
        distributions: Vec<Distribution>,
        upper: Option<OwnedFd>,
        whiteouts: Whiteouts,
        layout: Layout,
    ) -> Result<Self> {
        let owner = match &upper {
            Some(upper) => {
                let stat = rustix::fs::fstat(upper).map_err(std::io::Error::from)?;
                Owner { user: stat.st_uid, group: stat.st_gid }
            }
            None => Owner { user: geteuid().as_raw(), group: getegid().as_raw() },
        };
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
            owners.extend(distribution.outside.iter().map(|_| index));
            layers.extend(distribution.outside.iter().cloned().map(Layer::outside));
        }
        let all = (0..u32::try_from(layers.len()).unwrap_or(u32::MAX)).map(LayerId).collect();
        let dist_infos = distributions
            .iter()
            .enumerate()
            .map(|(index, distribution)| (OsString::from(&distribution.archive.dist_info), index))
            .collect();
        Ok(Self {
            nodes: RwLock::new(Nodes::new(all, upper.is_some())),
            vanished: Vanished::none_of(distributions.len()),
            distributions,
            layers,
            owners,
            dist_infos,
            layout,
            upper: upper.map(Upper::new),
            cache_mount: None,
            led_to: HashSet::new(),
            journal: whiteouts.journal(),
            whiteouts: Mutex::new(whiteouts),
            shared: None,
            hidden: None,
            created: Mutex::default(),
            made: SystemTime::now(),
            owner,
        })
    }

    /// Keeps directories there to which these [`links`] of the environment lead.
    pub fn lead_to(&mut self, links: &[Placement]) {
        self.led_to = links.iter().map(|link| Path::new(OUTSIDE).join(&link.path)).collect();
    }

    /// Has links lead through a mount of the cache, which is for the caller to make when the view is served: a directory
    /// for it is there from now on, and not listed.
    pub fn show_cache(&mut self, mount: CacheMount) {
        for layer in &mut self.layers {
            layer.show_at(mount.shown(layer.path(Path::new(""))));
        }
        let mut nodes = self.nodes.write();
        let directory = Directory::new(Box::default(), false, Some(Box::default()));
        let node = nodes.add(FileType::Directory, Origin::Directory(directory));
        // It has no name, and would go when it is forgotten.
        nodes.get(node).inspect(|node| node.count());
        drop(nodes);
        self.cache_mount = Some((mount, node));
    }

    /// The entry of this name in a directory, if there is one. It is kept until it is [forgotten](View::forget).
    ///
    /// # Errors
    /// `ENOTDIR`; `EIO` where an archive cannot be read any more.
    pub fn lookup(&self, directory: NodeId, name: &OsStr) -> Result<Option<Attributes>, Failure> {
        check_name(name)?;
        let hidden = self.cache_mount.as_ref().map(|(_, node)| *node);
        let hidden = hidden.filter(|_| directory == NodeId::ROOT && name == CACHE_MOUNT);
        if hidden.is_none() {
            self.expand(directory)?;
        }
        let found = {
            let nodes = self.nodes.read();
            let found = hidden.or_else(|| nodes.child(directory, name));
            let is_stale = found.is_some_and(|node| self.is_stale(&nodes, node));
            found.and_then(|node| nodes.get(node)).filter(|_| !is_stale).inspect(|node| node.count());
            found.map(|node| (node, is_stale))
        };
        let node = match found {
            None => return Ok(None),
            Some((_, true)) => {
                self.drop_stale(directory, name);
                return Ok(None);
            }
            Some((node, false)) => node,
        };
        match self.attributes(node) {
            Ok(attributes) => Ok(Some(attributes)),
            Err(failure) => {
                self.forget(node, 1);
                // What is gone from the upper was removed by another server, or with the environment.
                self.look_again(&mut self.nodes.write(), directory, Err(failure))
                    .or_else(|failure| if failure.errno == Errno::NOENT { Ok(None) } else { Err(failure) })
            }
        }
    }

    /// The kernel is told of an entry that was listed. Says whether it is still there.
    pub fn remember(&self, node: NodeId) -> bool {
        self.nodes.read().get(node).inspect(|node| node.count()).is_some()
    }

    /// The kernel has forgotten an entry that it was told of so often.
    pub fn forget(&self, node: NodeId, lookups: u64) {
        let (is_unused, is_removed) = {
            let nodes = self.nodes.read();
            let is_unused = nodes.forget(node, lookups);
            (is_unused, nodes.get(node).is_some_and(Node::is_removed))
        };
        if is_unused {
            self.created.lock().remove(node);
        }
        if is_unused && is_removed {
            self.nodes.write().free(node);
        }
    }

    /// Some entries of a directory, from a position on. There are more until it gives none.
    ///
    /// # Errors
    /// As [`View::lookup`].
    pub fn entries(&self, directory: NodeId, from: u64) -> Result<Vec<Listed>, Failure> {
        self.expand(directory)?;
        let mut from = from;
        loop {
            let listed = self.listed(directory, from);
            let Some(last) = listed.last() else { return Ok(listed) };
            from = last.next;
            let valid = self.without_stale(directory, listed);
            if !valid.is_empty() {
                return Ok(valid);
            }
        }
    }

    fn listed(&self, directory: NodeId, from: u64) -> Vec<Listed> {
        let nodes = self.nodes.read();
        let is_listed = |name: &OsStr| directory != NodeId::ROOT || name != OUTSIDE;
        let listed = nodes.children(directory, from).filter(|(_, name, ..)| is_listed(name));
        let listed = listed.take(LISTED_AT_ONCE);
        listed
            .map(|(node, name, file_type, next)| Listed { node, name: name.to_os_string(), file_type, next })
            .collect()
    }

    /// The directory that a directory is in; the root is in itself.
    pub fn parent(&self, node: NodeId) -> NodeId {
        self.nodes.read().parent(node)
    }

    /// A link's target: for a leaf of an archive, the absolute path of the archive's file, or that through the mount of the
    /// cache.
    ///
    /// # Errors
    /// `EINVAL` for what is no link.
    pub fn read_link(&self, node: NodeId) -> Result<OsString, Failure> {
        let nodes = self.nodes.read();
        let found = nodes.get(node).ok_or_else(Failure::absent)?;
        let path = nodes.path(node).unwrap_or_default();
        match &found.origin {
            _ if found.file_type != FileType::Symlink => Err(Failure::new(Errno::INVAL, &path)),
            Origin::Archive(layer) => Ok(self.layer(*layer)?.target(&path).into_os_string()),
            Origin::RemovedArchive(path) => Ok(self.shown(path.clone())),
            Origin::Upper => {
                let target = self.upper()?.read_link(&path).map_err(|errno| Failure::new(errno, &path))?;
                Ok(self.shown(target))
            }
            Origin::Removed(link) => upper::target(link)
                .map(|target| self.shown(target))
                .map_err(|errno| Failure::new(errno, &path)),
            _ => Err(Failure::new(Errno::INVAL, &path)),
        }
    }

    /// Removes what a server that was killed had not finished. Only for who is alone with the environment.
    ///
    /// # Errors
    /// The upper cannot be written.
    pub fn sweep(&self) -> Result<()> {
        let swept = self.upper.as_ref().map_or(Ok(()), Upper::sweep);
        let staging = || self.layout.site_packages().join(upper::STAGING);
        swept.map_err(|errno| Error::new(format!("{} cannot be removed: {errno}", staging().display())))
    }

    /// All descriptors that the view needs.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let journal = self.journal.as_ref().map(AsFd::as_fd);
        let bytecode = self.bytecode().map(bytecode::Bytecode::root);
        self.upper.as_ref().map(Upper::root).into_iter().chain(journal).chain(bytecode)
    }

    /// The room on the file system of the upper.
    ///
    /// # Errors
    /// What fstatvfs(2) says.
    pub fn space(&self) -> Result<StatVfs, Failure> {
        self.upper()?.space().map_err(|errno| Failure::new(errno, &self.layout.site_packages()))
    }

    fn upper(&self) -> Result<&Upper, Failure> {
        self.upper.as_ref().ok_or_else(|| Failure::new(Errno::ROFS, Path::new("a view without an upper")))
    }

    /// A link's target as the view shows it.
    fn shown(&self, target: impl Into<PathBuf>) -> OsString {
        let target = target.into();
        match &self.cache_mount {
            Some((mount, _)) => mount.shown(target).into_os_string(),
            None => target.into_os_string(),
        }
    }

    fn layer(&self, id: LayerId) -> Result<&Layer, Failure> {
        self.layers
            .get(id.0 as usize)
            .or_else(|| self.shared_layer(id))
            .ok_or_else(|| Failure::new(Errno::IO, Path::new("a layer that is not there")))
    }

    /// The distribution that a layer belongs to.
    fn distribution_of(&self, layer: LayerId) -> Option<&Distribution> {
        let layer = self.source_layer(layer).unwrap_or(layer);
        self.distributions.get(*self.owners.get(layer.0 as usize)?)
    }

    fn generate(&self, distribution: usize, file: Generated) -> Result<Vec<u8>, Failure> {
        let broken = |reason: String| Failure { errno: Errno::IO, reason };
        let distribution =
            self.distributions.get(distribution).ok_or_else(|| broken("no such distribution".into()))?;
        distribution.generate(file, &self.layout).map_err(|error| broken(error.to_string()))
    }
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entry.
    pub node: NodeId,
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub file_type: FileType,
    /// The position after it.
    pub next: u64,
}

/// A reply to the kernel holds fewer.
const LISTED_AT_ONCE: usize = 1024;

/// The most bytes that a name may have (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

fn check_name(name: &OsStr) -> Result<(), Failure> {
    if name.len() > LONGEST_NAME { Err(Failure::new(Errno::NAMETOOLONG, Path::new(name))) } else { Ok(()) }
}
