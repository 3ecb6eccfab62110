//! All leaves of a view, for those who make it real.

use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::nodes::Origin;
use super::{Failure, NodeId, View};
use crate::python::PackageName;

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

impl View {
    /// All leaves that do not come from the upper, sorted by path within each directory.
    ///
    /// # Errors
    /// An archive cannot be read.
    pub fn leaves(&self) -> Result<Vec<Leaf>, Failure> {
        let mut leaves = Vec::new();
        self.collect(NodeId::ROOT, &mut leaves)?;
        Ok(leaves)
    }

    fn collect(&self, directory: NodeId, leaves: &mut Vec<Leaf>) -> Result<(), Failure> {
        let mut from = 0;
        loop {
            let entries = self.entries(directory, from)?;
            let Some(last) = entries.last() else { return Ok(()) };
            from = last.next;
            for entry in entries {
                match self.leaf(entry.node)? {
                    Some(leaf) => leaves.push(leaf),
                    None if entry.file_type == FileType::Directory => self.collect(entry.node, leaves)?,
                    None => {}
                }
            }
        }
    }

    /// A leaf of an archive or a generated file; `None` for all else.
    fn leaf(&self, node: NodeId) -> Result<Option<Leaf>, Failure> {
        let nodes = self.nodes.read();
        let path = nodes.path(node).unwrap_or_default();
        let (owner, content) = match nodes.get(node).map(|node| &node.origin) {
            Some(Origin::Archive(layer)) => {
                (self.distribution_of(*layer), LeafContent::File(self.layer(*layer)?.path(&path)))
            }
            Some(&Origin::Generated { distribution, file, .. }) => (
                self.distributions.get(distribution),
                LeafContent::Generated(self.generate(distribution, file)?),
            ),
            _ => return Ok(None),
        };
        let distribution = owner.map(|owner| owner.archive.name.clone());
        let distribution = distribution.ok_or_else(|| Failure::new(Errno::IO, &path))?;
        Ok(Some(Leaf { path, distribution, content }))
    }
}
