//! The entries of the view that were ever seen, numbered. A number is given once and never to another entry.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::fs::FileType;

use super::generated::Generated;
use super::layer::LayerId;

/// The number of an entry; its inode number is one higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The view's root.
    pub const ROOT: Self = Self(0);
}

/// An entry and where it is in the tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: NodeId,
    name: Box<OsStr>,
    file_type: FileType,
    pub(super) origin: Stored,
}

/// Where an entry comes from, as it is stored: an entry's path is derived from the names above it.
#[derive(Debug)]
pub(super) enum Stored {
    /// A directory over those layers; its children are sorted by name, and known once it was looked at.
    Directory { layers: Box<[LayerId]>, children: Option<Box<[NodeId]>> },
    /// A leaf of an archive.
    Archive(LayerId),
    /// A leaf of the upper.
    Upper,
    /// A generated file; its size is known once it was looked at.
    Generated { distribution: usize, file: Generated, size: Option<usize> },
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Directory { in_upper: bool },
    Archive(LayerId),
    Upper,
    Generated(usize, Generated),
}

impl Stored {
    pub(super) fn origin(&self, upper: LayerId) -> Origin {
        match *self {
            Self::Directory { ref layers, .. } => Origin::Directory { in_upper: layers.contains(&upper) },
            Self::Archive(layer) => Origin::Archive(layer),
            Self::Upper => Origin::Upper,
            Self::Generated { distribution, file, .. } => Origin::Generated(distribution, file),
        }
    }
}

/// An entry that is to be numbered.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: OsString,
    pub(super) origin: Stored,
    pub(super) file_type: FileType,
}

/// All entries that were ever seen.
#[derive(Debug)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    pub(super) fn new(root_layers: Box<[LayerId]>) -> Self {
        Self(vec![Node {
            parent: NodeId::ROOT,
            name: OsString::new().into(),
            file_type: FileType::Directory,
            origin: Stored::Directory { layers: root_layers, children: None },
        }])
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Node> {
        self.0.get(node.0 as usize)
    }

    /// An entry's path from the root of the view.
    pub(super) fn path(&self, node: NodeId) -> PathBuf {
        let mut names = Vec::new();
        let mut at = node;
        while let Some(found) = self.get(at).filter(|_| at != NodeId::ROOT) {
            names.push(&found.name);
            at = found.parent;
        }
        names.into_iter().rev().map(AsRef::<OsStr>::as_ref).collect()
    }

    /// Gives numbers to a directory's children, sorted by name, unless it has them.
    pub(super) fn expand(&mut self, directory: NodeId, sorted: Vec<Child>) {
        let first = self.0.len();
        match self.0.get_mut(directory.0 as usize).map(|node| &mut node.origin) {
            Some(Stored::Directory { children: children @ None, .. }) => {
                let numbers = first..first + sorted.len();
                *children =
                    Some(numbers.filter_map(|number| u32::try_from(number).ok().map(NodeId)).collect());
            }
            _ => return,
        }
        self.0.extend(sorted.into_iter().map(|Child { name, origin, file_type }| Node {
            parent: directory,
            name: name.into(),
            file_type,
            origin,
        }));
    }

    /// The child of this name.
    pub(super) fn child(&self, directory: NodeId, name: &OsStr) -> Option<NodeId> {
        let numbers = self.numbers(directory);
        let at = numbers
            .binary_search_by(|&number| self.get(number).map_or(OsStr::new(""), |node| &node.name).cmp(name))
            .ok()?;
        numbers.get(at).copied()
    }

    /// The children, sorted by name.
    pub(super) fn children(&self, directory: NodeId) -> impl Iterator<Item = (NodeId, OsString, FileType)> {
        let numbers = self.numbers(directory).iter();
        numbers.filter_map(|&number| {
            self.get(number).map(|node| (number, node.name.to_os_string(), node.file_type))
        })
    }

    /// The size of a generated file, if it was ever made.
    pub(super) fn size(&self, node: NodeId) -> Option<usize> {
        match self.get(node)?.origin {
            Stored::Generated { size, .. } => size,
            _ => None,
        }
    }

    pub(super) fn set_size(&mut self, node: NodeId, bytes: usize) {
        if let Some(Stored::Generated { size, .. }) =
            self.0.get_mut(node.0 as usize).map(|node| &mut node.origin)
        {
            *size = Some(bytes);
        }
    }

    fn numbers(&self, directory: NodeId) -> &[NodeId] {
        match self.get(directory).map(|node| &node.origin) {
            Some(Stored::Directory { children: Some(numbers), .. }) => numbers,
            _ => &[],
        }
    }
}
