//! All leaves of a view, for those who make it real.

use std::path::{Path, PathBuf};

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
        for (node, _, _) in self.entries(directory, 0)? {
            let (origin, path) = self.origin(node)?;
            match origin {
                Origin::Directory { .. } => self.collect(node, leaves)?,
                Origin::Upper => {}
                Origin::Archive(layer) => {
                    let content = LeafContent::File(self.layer(layer)?.path(&path));
                    let owner = self.owners.get(layer.0 as usize).copied();
                    leaves.push(self.leaf(path, owner, content)?);
                }
                Origin::Generated(distribution, file) => {
                    let content = LeafContent::Generated(self.generate(distribution, file)?);
                    leaves.push(self.leaf(path, Some(distribution), content)?);
                }
            }
        }
        Ok(())
    }

    fn leaf(&self, path: PathBuf, owner: Option<usize>, content: LeafContent) -> Result<Leaf, Failure> {
        let owner = owner.and_then(|index| self.distributions.get(index));
        let distribution = owner.map(|owner| owner.archive.name.clone());
        let distribution = distribution
            .ok_or_else(|| Failure::new(rustix::io::Errno::IO, Path::new("a leaf of no distribution")))?;
        Ok(Leaf { path, distribution, content })
    }
}
