//! Bytecode of archives' modules from the store, shown beside them.
//!
//! It is a leaf like those of archives, of a layer that lies below all others: whatever else has the name wins. Such a layer
//! is listed from what the store knows of the archive, and only for sources that the view shows from that archive. Its
//! files are compared with what they were compiled from when they are first looked at.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use rustix::fs::FileType;

use super::layer::{Layer, LayerId};
use super::nodes::{Child, Directory, NodeId, Nodes, Origin};
use super::{Listed, View};
use crate::bytecode::{Shelf, Shelved};
use crate::python::bytecode::CACHE;
use crate::python::record::slashed;
use crate::sys::directory::Entry;

/// The name of an entry that is not shown any more, with its directory.
pub type Hidden = (NodeId, OsString);

/// The bytecode of all archives. Their layers are numbered after those of the archives: for each of these, one for each
/// shelf.
#[derive(Debug)]
pub(super) struct Shared {
    shelves: Vec<Shelf>,
    first: u32,
    /// What was found when it was first looked for.
    found: Vec<OnceLock<Option<Found>>>,
    /// What was removed or replaced since this was mounted, by path.
    removed: Mutex<HashSet<PathBuf>>,
}

/// The bytecode of one layer of an archive.
#[derive(Debug)]
struct Found {
    layer: Layer,
    /// Where the layer is in its archive: empty, or with a `/` at its end.
    prefix: String,
    bytecode: Shelved,
}

impl Shared {
    /// The layers with the bytecode of an archive's layer.
    fn layers_of(&self, layer: LayerId) -> impl Iterator<Item = LayerId> {
        let shelves = u32::try_from(self.shelves.len()).unwrap_or(0);
        let start = self.first.saturating_add(layer.0.saturating_mul(shelves));
        (start..start.saturating_add(shelves)).map(LayerId)
    }

    /// The layer of an archive that a layer is bytecode of; none if it is not one of these.
    fn source_of(&self, layer: LayerId) -> Option<LayerId> {
        let number = layer.0.checked_sub(self.first)?;
        ((number as usize) < self.found.len()).then(|| LayerId(number / self.shelves.len() as u32))
    }

    fn shelf_of(&self, layer: LayerId) -> Option<&Shelf> {
        self.shelves.get(layer.0.checked_sub(self.first)? as usize % self.shelves.len().max(1))
    }
}

impl View {
    /// Shows what these shelves of a store have. Nothing is looked at yet.
    pub fn share_bytecode(&mut self, shelves: Vec<Shelf>) {
        let count = self.layers.len() * shelves.len();
        let first = u32::try_from(self.layers.len()).unwrap_or(u32::MAX);
        let found = (0..count).map(|_| OnceLock::new()).collect();
        self.shared = Some(Shared { shelves, first, found, removed: Mutex::default() });
    }

    /// Has everybody who was told of an entry be told when it is not shown any more, though nobody removed it.
    pub fn tell_hidden(&mut self, hidden: Sender<Hidden>) {
        self.hidden = Some(hidden);
    }

    /// The layer of an archive that a layer is bytecode of.
    pub(super) fn source_layer(&self, layer: LayerId) -> Option<LayerId> {
        self.shared.as_ref()?.source_of(layer)
    }

    /// A layer of bytecode, once it was found.
    pub(super) fn shared_layer(&self, layer: LayerId) -> Option<&Layer> {
        self.found(layer).map(|found| &found.layer)
    }

    /// What the store has for a layer. It is looked for once.
    fn found(&self, id: LayerId) -> Option<&Found> {
        let shared = self.shared.as_ref()?;
        let number = id.0.checked_sub(shared.first)? as usize;
        let find = || {
            let source = shared.source_of(id)?;
            let archive = &self.distribution_of(source)?.archive;
            let root = self.layers.get(source.0 as usize)?.path(Path::new(""));
            let place = root.strip_prefix(&archive.root).ok()?;
            let bytecode = shared.shelf_of(id)?.of(archive)?;
            let prefix = Some(slashed(place)).filter(|prefix| !prefix.is_empty());
            let prefix = prefix.map(|prefix| prefix + "/").unwrap_or_default();
            Some(Found { layer: Layer::at(bytecode.files().join(place)), prefix, bytecode })
        };
        shared.found.get(number)?.get_or_init(find).as_ref()
    }

    /// Says that what was found in the store is used.
    pub fn renew_bytecode(&self) {
        let found = self.shared.iter().flat_map(|shared| &shared.found);
        found.filter_map(|found| found.get()?.as_ref()).for_each(|found| found.bytecode.renew());
    }

    /// Adds bytecode to a directory: its layers to the directory for it, which is made up where there is none.
    pub(super) fn add_bytecode(&self, directory: &Path, children: &mut Vec<Child>) {
        let Some(shared) = &self.shared else { return };
        let sources = children.iter().filter_map(|child| source(&child.name, &child.origin));
        let mut layers: Vec<LayerId> = Vec::new();
        for (name, layer) in sources {
            for id in shared.layers_of(layer).filter(|id| !layers.contains(id)).collect::<Vec<_>>() {
                let has_it = self.found(id).is_some_and(|found| found.has(directory, name));
                if has_it && !self.is_cache_removed(layer, directory) {
                    layers.push(id);
                }
            }
        }
        if layers.is_empty() {
            return;
        }
        match children.iter_mut().find(|child| child.name == CACHE) {
            Some(Child { origin: Origin::Directory(there), .. }) => {
                layers.extend(&there.lower);
                there.lower = layers.into();
            }
            Some(_) => {}
            None => children.push(Child {
                name: CACHE.into(),
                origin: Origin::Directory(Directory::new(layers.into(), false, None)),
                file_type: FileType::Directory,
                identity: None,
                has_names: false,
            }),
        }
    }

    fn is_cache_removed(&self, layer: LayerId, directory: &Path) -> bool {
        let whiteouts = self.whiteouts.lock();
        let label = self.distribution_of(layer).map(super::Distribution::label);
        let removed = label.and_then(|label| whiteouts.removed(label, directory));
        removed.is_some_and(|removed| removed.contains(OsStr::new(CACHE)))
    }

    /// The sources that a directory for bytecode is about, with the layers that they come from; none for others.
    pub(super) fn sources_beside(&self, nodes: &Nodes, directory: NodeId) -> HashMap<OsString, LayerId> {
        let layers = nodes.directory(directory).map(|found| &*found.lower).unwrap_or_default();
        if !layers.iter().any(|layer| self.source_layer(*layer).is_some()) {
            return HashMap::new();
        }
        let beside = nodes.children(nodes.parent(directory), 0);
        let source = |(node, name, ..): (NodeId, &OsStr, FileType, u64)| {
            let (_, layer) = source(name, &nodes.get(node)?.origin)?;
            Some((name.to_os_string(), layer))
        };
        beside.filter_map(source).collect()
    }

    /// The bytecode of a layer in a directory for it, for those sources that the view shows.
    pub(super) fn list_bytecode(
        &self,
        id: LayerId,
        path: &Path,
        sources: &HashMap<OsString, LayerId>,
    ) -> Vec<Entry> {
        let (Some(found), Some(layer), Some(directory)) =
            (self.found(id), self.source_layer(id), path.parent())
        else {
            return Vec::new();
        };
        let Some(shared) = &self.shared else { return Vec::new() };
        let removed = shared.removed.lock();
        let modules = found.modules(directory).into_iter().flatten();
        modules
            .filter(|(name, _)| sources.get(OsStr::new(name)) == Some(&layer))
            .map(|(name, _)| Entry {
                name: found.bytecode.bytecode_of(name).into(),
                file_type: FileType::RegularFile,
            })
            .filter(|entry| !removed.contains(&path.join(&entry.name)))
            .collect()
    }

    /// An entry is about to be removed or replaced: if it is bytecode, it does not come back before the next mount.
    pub(super) fn remember_removed(&self, nodes: &Nodes, node: NodeId) {
        if let (Some(shared), Some(Origin::Archive(id)), Some(path)) =
            (&self.shared, nodes.get(node).map(|node| &node.origin), nodes.path(node))
            && shared.source_of(*id).is_some()
        {
            shared.removed.lock().insert(path);
        }
    }

    /// Adds what is shown of it in a directory to what was found when it was listed again: that of a source which was removed
    /// meanwhile stays, too.
    pub(super) fn keep_shown_bytecode(&self, nodes: &Nodes, directory: NodeId, children: &mut Vec<Child>) {
        let is_shared = |layer: &LayerId| self.source_layer(*layer).is_some();
        let shown = nodes.children(directory, 0).filter_map(|(node, name, file_type, _)| {
            let origin = match &nodes.get(node)?.origin {
                Origin::Archive(layer) if is_shared(layer) => Origin::Archive(*layer),
                Origin::Directory(found) if found.lower.iter().any(is_shared) => {
                    Origin::Directory(Directory::new(found.lower.clone(), found.in_upper, None))
                }
                _ => return None,
            };
            Some(Child { name: name.to_os_string(), origin, file_type, identity: None, has_names: false })
        });
        let kept: Vec<Child> =
            shown.filter(|child| !children.iter().any(|listed| listed.name == child.name)).collect();
        children.extend(kept);
    }

    /// Whether an entry is bytecode that the interpreter would reject: its source was written since, or it is not whole.
    pub(super) fn is_stale(&self, nodes: &Nodes, node: NodeId) -> bool {
        let Some(Origin::Archive(id)) = nodes.get(node).map(|node| &node.origin) else { return false };
        let Some(layer) = self.source_layer(*id) else { return false };
        !self.is_valid(nodes, node, *id, layer).unwrap_or(false)
    }

    fn is_valid(&self, nodes: &Nodes, node: NodeId, id: LayerId, layer: LayerId) -> Option<bool> {
        let (found, path) = (self.found(id)?, nodes.path(node)?);
        let name = found.bytecode.source_of(path.file_name()?.to_str()?)?;
        let directory = path.parent()?.parent()?;
        let expected = found.modules(directory)?.get(&name)?;
        let source = self.layer(layer).ok()?.stat(&directory.join(&name)).ok()?;
        let bytecode = found.layer.stat(&path).ok()?;
        Some(
            source.st_mtime as u32 == expected.modified
                && source.st_size as u32 == expected.size
                && u64::try_from(bytecode.st_size) == Ok(expected.bytes),
        )
    }

    /// Leaves out of a listing what the interpreter would reject.
    pub(super) fn without_stale(&self, directory: NodeId, mut listed: Vec<Listed>) -> Vec<Listed> {
        let nodes = self.nodes.read();
        let layers = nodes.directory(directory).map(|found| &*found.lower).unwrap_or_default();
        if !layers.iter().any(|layer| self.source_layer(*layer).is_some()) {
            return listed;
        }
        let (stale, valid): (Vec<_>, Vec<_>) =
            listed.drain(..).partition(|entry| self.is_stale(&nodes, entry.node));
        drop(nodes);
        for entry in stale {
            self.drop_stale(directory, &entry.name);
        }
        valid
    }

    /// From now on, the view does not have this entry.
    pub(super) fn drop_stale(&self, directory: NodeId, name: &OsStr) {
        let mut nodes = self.nodes.write();
        let is_stale = nodes.child(directory, name).is_some_and(|node| self.is_stale(&nodes, node));
        if is_stale {
            nodes.take_name(directory, name);
        }
    }

    /// Hides the bytecode of a source whose place another takes. (One that is only removed keeps it until it is removed
    /// itself, as on any file system: whoever uninstalls a distribution has seen it, and comes for it.)
    pub(super) fn hide_bytecode(&self, nodes: &mut Nodes, directory: NodeId, name: &OsStr) {
        if self.shared.is_none() || !is_source(name) {
            return;
        }
        let Some(cache) = nodes.child(directory, OsStr::new(CACHE)) else { return };
        let is_of_it = |(node, bytecode, ..): &(NodeId, &OsStr, FileType, u64)| {
            let Some(Origin::Archive(id)) = nodes.get(*node).map(|node| &node.origin) else { return false };
            let source = self.found(*id).and_then(|found| found.bytecode.source_of(bytecode.to_str()?));
            source.is_some_and(|source| name == OsStr::new(&source))
        };
        let hidden: Vec<OsString> =
            nodes.children(cache, 0).filter(is_of_it).map(|(_, name, ..)| name.to_os_string()).collect();
        for name in hidden {
            nodes.take_name(cache, &name);
            if let Some(sender) = &self.hidden {
                // Whoever listened may have ended.
                let _ = sender.send((cache, name));
            }
        }
    }
}

impl Found {
    fn modules(&self, directory: &Path) -> Option<&HashMap<String, crate::bytecode::Expected>> {
        let directory = format!("{}{}", self.prefix, directory.to_str().map(|_| slashed(directory))?);
        self.bytecode.modules(directory.trim_end_matches('/'))
    }

    fn has(&self, directory: &Path, name: &OsStr) -> bool {
        let name = name.to_str();
        name.is_some_and(|name| self.modules(directory).is_some_and(|modules| modules.contains_key(name)))
    }
}

/// A source of an archive, and its layer.
fn source<'a>(name: &'a OsStr, origin: &Origin) -> Option<(&'a OsStr, LayerId)> {
    match origin {
        Origin::Archive(layer) if is_source(name) => Some((name, *layer)),
        _ => None,
    }
}

fn is_source(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(b".py")
}
