//! Listing a directory of the view: its layers are merged when it is first looked at.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, statat};
use rustix::io::Errno;

use super::layer::{Layer, LayerId};
use super::merge::{Merged, merge};
use super::nodes::{Child, Directory, NodeId, Nodes, Origin};
use super::upper::STAGING;
use super::{Distribution, Failure, OUTSIDE, View};
use crate::python::bytecode::CACHE;
use crate::sys::directory;

impl View {
    /// Lists and merges a directory, the first time. Others may look meanwhile; who is first has its result kept.
    pub(super) fn expand(&self, directory: NodeId) -> Result<(), Failure> {
        let Some(listing) = self.to_list(&self.nodes.read(), directory)? else {
            return Ok(());
        };
        let children = self.merged(&listing)?;
        self.nodes.write().expand(directory, children);
        Ok(())
    }

    /// The same for who changes the view.
    pub(super) fn expand_in(&self, nodes: &mut Nodes, directory: NodeId) -> Result<(), Failure> {
        if let Some(listing) = self.to_list(nodes, directory)? {
            let children = self.merged(&listing)?;
            nodes.expand(directory, children);
        }
        Ok(())
    }

    /// What there is to list, unless the directory was looked at before. The upper's directory is opened here, since it can
    /// get another name at any moment.
    fn to_list(&self, nodes: &Nodes, directory: NodeId) -> Result<Option<Listing>, Failure> {
        let found = nodes.get(directory).ok_or_else(Failure::absent)?;
        let path = || nodes.path(directory).unwrap_or_default();
        let found = found.directory().ok_or_else(|| Failure::new(Errno::NOTDIR, &path()))?;
        if found.children.is_some() { Ok(None) } else { self.listing(nodes, directory, path()).map(Some) }
    }

    /// Lists a directory again: another server has changed the upper.
    pub(super) fn expand_again(&self, nodes: &mut Nodes, directory: NodeId) -> Result<(), Failure> {
        let (Some(found), Some(path)) = (nodes.directory(directory), nodes.path(directory)) else {
            return Ok(());
        };
        if found.in_upper && self.upper()?.stat(&path).is_err() {
            if found.lower.is_empty() && directory != NodeId::ROOT {
                let parent = nodes.parent(directory);
                nodes.take_name(parent, path.file_name().unwrap_or_default());
                return Ok(());
            }
            if let Some(found) = nodes.directory_mut(directory) {
                found.in_upper = false;
            }
        }
        let mut children = self.merged(&self.listing(nodes, directory, path)?)?;
        self.keep_shown_bytecode(nodes, directory, &mut children);
        nodes.expand_again(directory, children);
        Ok(())
    }

    fn listing(&self, nodes: &Nodes, directory: NodeId, path: PathBuf) -> Result<Listing, Failure> {
        let found = nodes.directory(directory).ok_or_else(Failure::absent)?;
        let failed = |errno| Failure::new(errno, &path);
        let upper = if found.in_upper {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            Some(self.upper()?.open(&path, flags).map_err(failed)?)
        } else {
            None
        };
        let has_bytecode = match self.bytecode().filter(|_| !found.lower.is_empty()) {
            Some(bytecode) => bytecode.of(&path, upper.as_ref(), self.owner).map_err(failed)?,
            None => false,
        };
        let (lower, sources) = (found.lower.clone(), self.sources_beside(nodes, directory));
        Ok(Listing { lower, upper, has_bytecode, sources, path: path.into_os_string() })
    }

    fn merged(&self, listing: &Listing) -> Result<Vec<Child>, Failure> {
        let path = Path::new(&listing.path);
        let mut listings = Vec::with_capacity(listing.lower.len() + 1);
        for &id in &listing.lower {
            if self.source_layer(id).is_some() {
                listings.push((id, self.list_bytecode(id, path, &listing.sources)));
                continue;
            }
            let layer = self.layer(id)?;
            // A directory that was there and is gone is a broken cache, not an absent name.
            let mut entries = layer.list(path).map_err(|errno| {
                self.suspect(id);
                Failure {
                    errno: Errno::IO,
                    reason: format!("{} cannot be listed any more: {errno}", layer.path(path).display()),
                }
            })?;
            if path.as_os_str().is_empty() {
                // What is served for outside site-packages is nobody else's to add to.
                let is_free = |name: &OsStr| layer.is_outside() || name != OUTSIDE;
                entries.retain(|entry| !self.is_data_directory(&entry.name) && is_free(&entry.name));
            }
            if let Some(distribution) = self.distribution_of(id)
                && let Some(removed) = self.whiteouts.lock().removed(distribution.label(), path)
            {
                entries.retain(|entry| !removed.contains(&entry.name));
            }
            listings.push((id, entries));
        }
        let generated = self.generated_children(path, &listing.lower);
        let mut in_upper = HashSet::new();
        if let Some(upper) = &listing.upper {
            let mut entries =
                directory::list(upper, Path::new(".")).map_err(|errno| Failure::new(errno, path))?;
            entries.retain(|entry| !(path.as_os_str().is_empty() && entry.name == STAGING));
            in_upper = entries.iter().map(|entry| entry.name.clone()).collect();
            listings.push((LayerId::UPPER, entries));
        }
        if let Some(bytecode) = self.bytecode().filter(|_| listing.has_bytecode) {
            bytecode.show(&path.join(CACHE));
            let entry = directory::Entry { name: CACHE.into(), file_type: FileType::Directory };
            listings.push((LayerId::UPPER, vec![entry]));
        }
        let mut children: Vec<Child> =
            merge(listings).into_iter().map(|(name, entry)| self.child(name, entry)).collect();
        if let Some(upper) = &listing.upper {
            identify(upper, &mut children);
        }
        children.retain(|child| {
            in_upper.contains(&child.name) || !generated.iter().any(|made| made.name == child.name)
        });
        children.extend(generated.into_iter().filter(|made| !in_upper.contains(&made.name)));
        self.add_bytecode(path, &mut children);
        children.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(children)
    }

    fn child(&self, name: OsString, entry: Merged) -> Child {
        let (origin, file_type) = match entry {
            Merged::Directory(mut layers) => {
                let in_upper = layers.last() == Some(&LayerId::UPPER);
                layers.retain(|layer| *layer != LayerId::UPPER);
                let directory = Directory::new(layers.into(), in_upper, None);
                (Origin::Directory(directory), FileType::Directory)
            }
            Merged::Leaf(LayerId::UPPER, file_type) => (Origin::Upper, file_type),
            Merged::Leaf(layer, file_type) => {
                let is_outside = self.layer(layer).is_ok_and(Layer::is_outside);
                let entries = self.distribution_of(layer).map(|distribution| distribution.entries);
                let is_file = file_type == FileType::RegularFile
                    && (is_outside || entries.is_some_and(|entries| entries.is_file(&name)));
                let shown = if is_file { FileType::RegularFile } else { FileType::Symlink };
                (Origin::Archive(layer), shown)
            }
        };
        Child { name, origin, file_type, identity: None, has_names: false }
    }

    /// What the view makes up in a dist-info directory, as far as the archive's own part of it is not removed.
    fn generated_children(&self, path: &Path, lower: &[LayerId]) -> Vec<Child> {
        let Some((index, distribution)) = self.dist_info(path) else { return Vec::new() };
        let is_there = lower.iter().any(|layer| self.owners.get(layer.0 as usize) == Some(&index));
        let whiteouts = self.whiteouts.lock();
        let removed = whiteouts.removed(distribution.label(), path);
        let is_removed = |name: &str| removed.is_some_and(|removed| removed.contains(OsStr::new(name)));
        let generated = distribution.generated().filter(|(name, _)| is_there && !is_removed(name));
        generated
            .map(|(name, file)| Child {
                name: name.into(),
                origin: Origin::Generated { distribution: index, file, size: None },
                file_type: FileType::RegularFile,
                identity: None,
                has_names: false,
            })
            .collect()
    }

    /// The distribution whose dist-info directory this is, with its number.
    pub(super) fn dist_info(&self, path: &Path) -> Option<(usize, &Distribution)> {
        let index = *self.dist_infos.get(path.as_os_str())?;
        Some((index, self.distributions.get(index)?))
    }

    /// Whether a name at the root of an archive is the `.data` directory whose parts are layers of their own.
    fn is_data_directory(&self, name: &OsStr) -> bool {
        name.as_encoded_bytes().ends_with(b".data")
            && self
                .distributions
                .iter()
                .any(|distribution| distribution.archive.data.as_deref().is_some_and(|data| name == data))
    }
}

struct Listing {
    lower: Box<[LayerId]>,
    upper: Option<std::os::fd::OwnedFd>,
    /// Whether the bytecode of its modules is kept apart from the upper.
    has_bytecode: bool,
    /// The sources that the bytecode in it may be of.
    sources: HashMap<OsString, LayerId>,
    path: OsString,
}

/// Notes which file of the upper each is: those with several names are one entry of the view.
fn identify(upper: &std::os::fd::OwnedFd, children: &mut [Child]) {
    for child in children.iter_mut().filter(|child| matches!(child.origin, Origin::Upper)) {
        if let Ok(stat) = statat(upper, &child.name, AtFlags::SYMLINK_NOFOLLOW) {
            child.identity = Some((stat.st_dev, stat.st_ino));
            child.has_names = stat.st_nlink > 1;
        }
    }
}
