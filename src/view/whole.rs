//! The directories of which one archive has the whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

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
    /// The directories of which one archive has the whole, and nothing was removed, by path relative to site-packages. A
    /// dist-info directory has generated files, and is none of them, nor what is in it.
    ///
    /// # Errors
    /// An archive cannot be read.
    pub fn whole_directories(&self) -> Result<BTreeMap<PathBuf, Whole>, Failure> {
        let mut found = BTreeMap::new();
        self.collect_whole(NodeId::ROOT, &mut found)?;
        Ok(found)
    }

    /// Says whether all directories in this one are whole.
    fn collect_whole(
        &self,
        directory: NodeId,
        found: &mut BTreeMap<PathBuf, Whole>,
    ) -> Result<bool, Failure> {
        let (mut from, mut all) = (0, true);
        loop {
            let entries = self.entries(directory, from)?;
            let Some(last) = entries.last() else { return Ok(all) };
            from = last.next;
            for entry in entries.iter().filter(|entry| entry.file_type == FileType::Directory) {
                let path = self.nodes.read().path(entry.node).unwrap_or_default();
                if self.dist_infos.contains_key(path.as_os_str()) {
                    all = false;
                    continue;
                }
                let are_below = self.collect_whole(entry.node, found)?;
                match self.whole(entry.node, &path)? {
                    Some(whole) if are_below => {
                        found.insert(path, whole);
                    }
                    _ => all = false,
                }
            }
        }
    }

    /// A directory that one layer alone has, whatever is in its directories.
    fn whole(&self, node: NodeId, path: &Path) -> Result<Option<Whole>, Failure> {
        let nodes = self.nodes.read();
        let Some(found) = nodes.directory(node).filter(|found| !found.in_upper) else { return Ok(None) };
        let [layer] = *found.lower else { return Ok(None) };
        let Some(owner) = self.distribution_of(layer) else { return Ok(None) };
        if self.whiteouts.lock().removed(owner.label(), path).is_some() {
            return Ok(None);
        }
        let directory = self.layer(layer)?.path(path);
        Ok(Some(Whole { layer, directory, distribution: owner.archive.name.clone() }))
    }
}
