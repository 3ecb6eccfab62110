//! The directories of which one archive has the whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::nodes::Stored;
use super::{Failure, LayerId, NodeId, View};
use crate::python::PackageName;

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

impl View {
    /// The directories of which one archive has the whole, by path relative to site-packages, parents first. A dist-info
    /// directory has generated files, and is none of them.
    ///
    /// # Errors
    /// An archive cannot be read.
    pub fn whole_directories(&self) -> Result<BTreeMap<PathBuf, Whole>, Failure> {
        let mut found = BTreeMap::new();
        self.collect_whole(NodeId::ROOT, &mut found)?;
        Ok(found)
    }

    fn collect_whole(&self, directory: NodeId, found: &mut BTreeMap<PathBuf, Whole>) -> Result<(), Failure> {
        for (node, _, file_type) in self.entries(directory, 0)? {
            if !file_type.is_dir() {
                continue;
            }
            let path = self.nodes.read().path(node);
            if self.dist_info(&path).is_none() {
                if let Some(whole) = self.whole(node, &path)? {
                    found.insert(path, whole);
                }
                self.collect_whole(node, found)?;
            }
        }
        Ok(())
    }

    fn whole(&self, node: NodeId, path: &std::path::Path) -> Result<Option<Whole>, Failure> {
        let layer = match self.nodes.read().get(node).map(|node| &node.origin) {
            Some(Stored::Directory { layers, .. }) => match **layers {
                [layer] => layer,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let owner = self.owners.get(layer.0 as usize).and_then(|index| self.distributions.get(*index));
        let Some(owner) = owner else { return Ok(None) };
        let directory = self.layer(layer)?.path(path);
        Ok(Some(Whole { layer, directory, distribution: owner.archive.name.clone() }))
    }
}
