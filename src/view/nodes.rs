//! The entries of the view that were ever seen, numbered. A number is given once and never to another entry, and stays an
//! entry's own when it is renamed, copied up, or gets a second name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::FileType;

use super::children::Children;
use super::generated::Generated;
use super::layer::LayerId;

/// The number of an entry; its inode number is one higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The view's root.
    pub const ROOT: Self = Self(0);
}

/// What tells a file of the upper from all others: its device and inode numbers there.
pub(super) type Identity = (u64, u64);

/// An entry.
#[derive(Debug)]
pub(super) struct Node {
    /// Hard links have several, a removed entry that is still in use has none.
    names: Vec<Name>,
    pub(super) file_type: FileType,
    pub(super) origin: Origin,
    /// How often the kernel was told of it, less what it has forgotten.
    lookups: AtomicU64,
}

/// Where an entry is: an entry's path is derived from the names above it.
#[derive(Debug)]
struct Name {
    directory: NodeId,
    name: Arc<OsStr>,
}

/// Where an entry comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// A directory.
    Directory(Directory),
    /// A leaf of an archive.
    Archive(LayerId),
    /// A leaf of the upper.
    Upper,
    /// A generated file; its size is known once it was looked at.
    Generated { distribution: usize, file: Generated, size: Option<usize> },
    /// A leaf of the upper that was removed while it was in use.
    Removed(OwnedFd),
    /// A leaf of an archive, at this path there, that was removed while it was in use.
    RemovedArchive(PathBuf),
}

/// A directory of the view.
#[derive(Debug)]
pub(super) struct Directory {
    /// The layers of archives that have it, lowest first.
    pub(super) lower: Box<[LayerId]>,
    /// Whether the upper has it.
    pub(super) in_upper: bool,
    /// What is in it, once it was looked at.
    pub(super) children: Option<Box<Children>>,
    /// When something was last removed in it, unless the upper's own directory tells.
    pub(super) changed: Option<SystemTime>,
}

impl Directory {
    pub(super) fn new(lower: Box<[LayerId]>, in_upper: bool, children: Option<Box<Children>>) -> Self {
        Self { lower, in_upper, children, changed: None }
    }
}

/// An entry that is to be numbered.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: OsString,
    pub(super) origin: Origin,
    pub(super) file_type: FileType,
    /// For a leaf of the upper.
    pub(super) identity: Option<Identity>,
    /// Whether it has other names, too.
    pub(super) has_names: bool,
}

impl Node {
    fn new(file_type: FileType, origin: Origin) -> Self {
        Self { names: Vec::with_capacity(1), file_type, origin, lookups: AtomicU64::new(0) }
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.origin {
            Origin::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Whether this is its only name.
    pub(super) fn has_one_name(&self) -> bool {
        self.names.len() == 1
    }

    pub(super) fn is_removed(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.lookups.load(Ordering::Acquire) > 0
    }

    /// The kernel is told of it.
    pub(super) fn count(&self) {
        self.lookups.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nobody knows of it any more.
    fn forget(&self, lookups: u64) -> bool {
        let before = self
            .lookups
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| Some(known.saturating_sub(lookups)));
        before.is_ok_and(|known| known <= lookups)
    }
}

/// All entries that were ever seen.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    /// Files of the upper that were seen with several names.
    linked: HashMap<Identity, NodeId>,
}

impl Nodes {
    pub(super) fn new(lower: Box<[LayerId]>, in_upper: bool) -> Self {
        let root = Directory::new(lower, in_upper, None);
        let root = Node::new(FileType::Directory, Origin::Directory(root));
        Self { nodes: BTreeMap::from([(NodeId::ROOT, root)]), next: 1, linked: HashMap::new() }
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&node)
    }

    pub(super) fn directory(&self, node: NodeId) -> Option<&Directory> {
        self.get(node)?.directory()
    }

    pub(super) fn directory_mut(&mut self, node: NodeId) -> Option<&mut Directory> {
        match &mut self.get_mut(node)?.origin {
            Origin::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// An entry's path from the root of the view; `None` for one that was removed.
    pub(super) fn path(&self, node: NodeId) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut at = node;
        while at != NodeId::ROOT {
            let name = self.get(at)?.names.first()?;
            names.push(&name.name);
            at = name.directory;
        }
        Some(names.into_iter().rev().map(AsRef::<OsStr>::as_ref).collect())
    }

    /// The directory that an entry is in; the root is in itself.
    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.get(node).and_then(|node| node.names.first()).map_or(NodeId::ROOT, |name| name.directory)
    }

    /// Whether `node` is `above`, or lies below it.
    pub(super) fn is_below(&self, mut node: NodeId, above: NodeId) -> bool {
        while node != above && node != NodeId::ROOT {
            node = self.parent(node);
        }
        node == above
    }

    /// The child of this name.
    pub(super) fn child(&self, directory: NodeId, name: &OsStr) -> Option<NodeId> {
        self.directory(directory)?.children.as_ref()?.get(name)
    }

    /// The children from a position on, each with its name, its kind, and the position after it.
    pub(super) fn children(
        &self,
        directory: NodeId,
        from: u64,
    ) -> impl Iterator<Item = (NodeId, &OsStr, FileType, u64)> {
        let children = self.directory(directory).and_then(|directory| directory.children.as_ref());
        children
            .into_iter()
            .flat_map(move |children| children.from(from))
            .filter_map(|(node, name, next)| self.get(node).map(|found| (node, name, found.file_type, next)))
    }

    /// Gives numbers to a directory's children, unless it has them.
    pub(super) fn expand(&mut self, directory: NodeId, children: Vec<Child>) {
        match self.directory_mut(directory) {
            Some(found) if found.children.is_none() => found.children = Some(Box::default()),
            _ => return,
        }
        children.into_iter().for_each(|child| self.add_child(directory, child));
    }

    /// Adds those children that are new, and takes away those of the upper that are gone. The others stay what they are.
    pub(super) fn expand_again(&mut self, directory: NodeId, children: Vec<Child>) {
        let listed: HashSet<&OsStr> = children.iter().map(|child| child.name.as_os_str()).collect();
        let gone: Vec<OsString> = self
            .children(directory, 0)
            .filter(|(_, name, ..)| !listed.contains(name))
            .map(|(_, name, ..)| name.to_os_string())
            .collect();
        gone.iter().for_each(|name| self.take_name(directory, name));
        for child in children {
            if self.child(directory, &child.name).is_none() {
                self.add_child(directory, child);
            }
        }
    }

    fn add_child(&mut self, directory: NodeId, child: Child) {
        let Child { name, origin, file_type, identity, has_names } = child;
        let known = identity.and_then(|identity| self.linked.get(&identity).copied());
        let node = known.unwrap_or_else(|| self.add(file_type, origin));
        if let Some(identity) = identity.filter(|_| has_names) {
            self.linked.insert(identity, node);
        }
        if let Some(known) = known.and_then(|known| self.get_mut(known))
            && known.is_removed()
        {
            // All names that were seen are gone, and here is another.
            known.origin = Origin::Upper;
        }
        self.give_name(node, directory, &name);
    }

    /// A new entry, without a name yet.
    pub(super) fn add(&mut self, file_type: FileType, origin: Origin) -> NodeId {
        let node = NodeId(self.next);
        self.next += 1;
        self.nodes.insert(node, Node::new(file_type, origin));
        node
    }

    /// Gives an entry a name, its first or another.
    pub(super) fn give_name(&mut self, node: NodeId, directory: NodeId, name: &OsStr) {
        let name: Arc<OsStr> = name.into();
        if let Some(children) = self.directory_mut(directory).and_then(|found| found.children.as_mut()) {
            children.insert(&name, node);
        }
        if let Some(node) = self.get_mut(node) {
            node.names.push(Name { directory, name });
        }
    }

    /// Takes a name from an entry. One without names goes when nobody uses it any more.
    pub(super) fn take_name(&mut self, directory: NodeId, name: &OsStr) {
        let children = self.directory_mut(directory).and_then(|found| found.children.as_mut());
        let Some(node) = children.and_then(|children| children.remove(name)) else { return };
        if let Some(found) = self.get_mut(node) {
            found.names.retain(|known| known.directory != directory || *known.name != *name);
            if found.is_removed() && !found.is_in_use() {
                self.free(node);
            }
        }
    }

    /// Moves a name from one place to another, which must be free.
    pub(super) fn move_name(&mut self, node: NodeId, from: (NodeId, &OsStr), to: (NodeId, &OsStr)) {
        // First the new one: an entry without a name may go.
        self.give_name(node, to.0, to.1);
        self.take_name(from.0, from.1);
    }

    /// Has two entries exchange a name each.
    pub(super) fn exchange_names(&mut self, one: (NodeId, NodeId, &OsStr), other: (NodeId, NodeId, &OsStr)) {
        for ((node, from, name), (_, to, new)) in [(one, other), (other, one)] {
            let there = self.directory_mut(to).and_then(|found| found.children.as_mut());
            let Some(new) = there.and_then(|children| children.replace(new, node)) else { continue };
            let names = self.get_mut(node).map(|node| &mut node.names);
            let mut names = names.into_iter().flatten();
            if let Some(known) = names.find(|known| known.directory == from && *known.name == *name) {
                *known = Name { directory: to, name: new };
            }
        }
    }

    /// The kernel has forgotten an entry that often. Says whether it knows of it no more.
    pub(super) fn forget(&self, node: NodeId, lookups: u64) -> bool {
        node != NodeId::ROOT && self.get(node).is_some_and(|node| node.forget(lookups))
    }

    /// Frees an entry, unless somebody has come to use it.
    pub(super) fn free(&mut self, node: NodeId) {
        if node != NodeId::ROOT && self.get(node).is_some_and(|node| node.is_removed() && !node.is_in_use()) {
            self.nodes.remove(&node);
            self.linked.retain(|_, linked| *linked != node);
        }
    }
}
