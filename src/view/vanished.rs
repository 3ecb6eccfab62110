//! Archives that vanish from the cache while they are in use. What came from them is an error from then on, and no absent
//! name: Python takes a directory without its files for an empty namespace package.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::layer::LayerId;
use super::nodes::{Directory, Node, NodeId, Nodes, Origin};
use super::{Failure, View};

/// Which archives have vanished, as far as that is known.
#[derive(Debug)]
pub(super) struct Vanished {
    /// By the number of the distribution.
    archives: Box<[Presence]>,
    any: AtomicBool,
    has_news: AtomicBool,
}

/// Whether an archive was gone when it was last looked for.
#[derive(Debug, Default)]
struct Presence {
    is_gone: AtomicBool,
    /// Held from the look until that is noted: a look from before it vanished must not be noted after one that missed it.
    looking: Mutex<()>,
}

impl Vanished {
    pub(super) fn none_of(distributions: usize) -> Self {
        let archives = (0..distributions).map(|_| Presence::default()).collect();
        Self { archives, any: AtomicBool::new(false), has_news: AtomicBool::new(false) }
    }
}

impl View {
    /// The folders in which archives lie: what vanishes does so there.
    pub fn folders_of_archives(&self) -> BTreeSet<&Path> {
        self.distributions.iter().filter_map(|distribution| distribution.archive.root.parent()).collect()
    }

    /// Looks whether all archives are there, and gives the entries that nobody may remember any more: the directory and the
    /// name of each, those in a directory after it.
    pub fn look_for_vanished(&self) -> Vec<(NodeId, OsString)> {
        for index in 0..self.distributions.len() {
            self.look_for(index);
        }
        self.vanished.has_news.store(false, Ordering::Release);
        let mut lost = Vec::new();
        if self.vanished.any.load(Ordering::Acquire) {
            self.collect_lost(&self.nodes.read(), NodeId::ROOT, &mut lost);
        }
        lost
    }

    /// Whether an archive was found to have vanished since they were last looked for.
    pub fn has_newly_vanished(&self) -> bool {
        self.vanished.has_news.load(Ordering::Acquire)
    }

    /// Something of a layer could not be read.
    pub(super) fn suspect(&self, layer: LayerId) {
        if let Some(&index) = self.owners.get(layer.0 as usize) {
            self.look_for(index);
        }
    }

    /// An error for what came from an archive that has vanished.
    pub(super) fn check_presence(&self, nodes: &Nodes, node: NodeId, found: &Node) -> Result<(), Failure> {
        // The root stays: other distributions are in it.
        if !self.vanished.any.load(Ordering::Acquire) || node == NodeId::ROOT {
            return Ok(());
        }
        let lost = match &found.origin {
            Origin::Directory(directory) => self.lost_in(nodes, node, directory),
            origin => self.distribution_at(origin).filter(|&index| self.is_gone(index)),
        };
        match lost.and_then(|index| self.distributions.get(index)) {
            None => Ok(()),
            Some(distribution) => Err(Failure {
                errno: Errno::IO,
                reason: format!(
                    "{} is gone from the cache, with {}",
                    distribution.label(),
                    distribution.archive.root.display()
                ),
            }),
        }
    }

    /// The vanished distribution for which a directory is an error: all who brought it have vanished, or something in it
    /// came from one that has. What several bring only directories to, as a namespace, stays for the others.
    fn lost_in(&self, nodes: &Nodes, node: NodeId, directory: &Directory) -> Option<usize> {
        let owners = || directory.lower.iter().filter_map(|layer| self.owners.get(layer.0 as usize).copied());
        let gone = owners().find(|&index| self.is_gone(index))?;
        if owners().all(|index| self.is_gone(index)) {
            return Some(gone);
        }
        let mut leaves =
            nodes.children(node, 0).filter_map(|(child, ..)| self.distribution_at(&nodes.get(child)?.origin));
        leaves.find(|&index| self.is_gone(index))
    }

    /// The distribution that brought a leaf.
    fn distribution_at(&self, origin: &Origin) -> Option<usize> {
        match origin {
            Origin::Archive(layer) => self.owners.get(layer.0 as usize).copied(),
            Origin::Generated { distribution, .. } => Some(*distribution),
            _ => None,
        }
    }

    /// Whether an archive has vanished, and did not come back, as that of a drive does.
    fn is_gone(&self, index: usize) -> bool {
        let is_known = |archive: &Presence| archive.is_gone.load(Ordering::Acquire);
        self.vanished.archives.get(index).is_some_and(is_known) && !self.look_for(index)
    }

    /// Whether an archive is there. Takes note, and tells the log.
    fn look_for(&self, index: usize) -> bool {
        let (Some(distribution), Some(Presence { is_gone, looking })) =
            (self.distributions.get(index), self.vanished.archives.get(index))
        else {
            return true;
        };
        let _alone = looking.lock();
        let (label, archive) = (distribution.label(), &distribution.archive.root);
        let looked = rustix::fs::lstat(archive);
        let is_there = looked.is_ok();
        match (is_gone.swap(!is_there, Ordering::AcqRel), looked) {
            (false, Err(errno)) => {
                self.vanished.any.store(true, Ordering::Release);
                self.vanished.has_news.store(true, Ordering::Release);
                ::log::error!("{label} is gone from the cache: {}: {errno}", archive.display());
            }
            (true, Ok(_)) => ::log::info!("{label} is in the cache again: {}", archive.display()),
            _ => {}
        }
        is_there
    }

    fn collect_lost(&self, nodes: &Nodes, directory: NodeId, lost: &mut Vec<(NodeId, OsString)>) {
        for (child, name, ..) in nodes.children(directory, 0) {
            let Some(found) = nodes.get(child) else { continue };
            let is_lost = self.check_presence(nodes, child, found).is_err();
            if is_lost {
                lost.push((directory, name.to_os_string()));
            }
            if found.directory().is_some() {
                self.collect_lost(nodes, child, lost);
            }
        }
    }
}
