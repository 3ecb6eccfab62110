//! What wheels have outside site-packages, where the view serves it: below a directory of its root that is not listed, laid
//! out as the environment is. The environment leads there by links, as few as possible: one for all that is below, unless
//! it has something of its own there.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layer::LayerId;
use super::merge::{Merged, merge};
use super::{Distribution, Whiteouts};
use crate::error::Result;
pub use crate::outside::OUTSIDE;
use crate::place::{Applied, Content, Placement};
use crate::sys::directory::{self, Entry};
use crate::sys::posix::{CWD, FileType};
use crate::venv::Layout;

/// A directory of an archive that the view has somewhere below its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideLayer {
    /// Where the view has it.
    pub below: PathBuf,
    /// The directory: absolute.
    pub root: PathBuf,
}

impl OutsideLayer {
    /// The layer of what belongs at a path of the environment.
    pub fn at(path: &Path, root: PathBuf) -> Self {
        let below = Path::new(OUTSIDE).join(path);
        // Without the slash that joining nothing leaves.
        Self { below: below.components().collect(), root }
    }

    /// Where this layer has an entry of the view; the layer's own directory for the directories above it.
    pub fn path(&self, entry: &Path) -> Option<PathBuf> {
        match entry.strip_prefix(&self.below) {
            Ok(inside) if inside.as_os_str().is_empty() => Some(self.root.clone()),
            Ok(inside) => Some(self.root.join(inside)),
            Err(_) => self.below.starts_with(entry).then(|| self.root.clone()),
        }
    }

    /// The one entry that it has in a directory above its own.
    pub fn step(&self, above: &Path) -> Option<Entry> {
        match self.below.strip_prefix(above).ok()?.components().next()? {
            Component::Normal(name) => {
                Some(Entry { name: name.to_os_string(), file_type: FileType::Directory })
            }
            _ => None,
        }
    }
}

/// The links of an environment to what the view serves of it, and where the environment has its own instead: `is_free` tells of
/// a path whether it has nothing there.
///
/// # Errors
/// An archive that cannot be read; what `is_free` says.
pub fn links(
    distributions: &[Distribution],
    layout: &Layout,
    whiteouts: &Whiteouts,
    is_free: impl Fn(&Path) -> Result<bool>,
) -> Result<(Vec<Placement>, Applied)> {
    let layers: Vec<(&Distribution, &OutsideLayer)> = distributions
        .iter()
        .flat_map(|one| one.outside.iter().map(move |layer| (one, layer)))
        .filter(|(_, layer)| layer.below == Path::new(OUTSIDE))
        .collect();
    let served = layout.site_packages().join(OUTSIDE);
    let (found, own) = (Vec::new(), Applied::default());
    let mut links = Links { layers, root: &layout.root, served, whiteouts, is_free, found, own };
    let all = (0..links.layers.len()).collect();
    links.add_in(Path::new(""), all, |one, name| one.served.iter().any(|served| name == served.as_str()))?;
    Ok((links.found, links.own))
}

struct Links<'a, IsFree> {
    layers: Vec<(&'a Distribution, &'a OutsideLayer)>,
    root: &'a Path,
    /// Where the environment finds it.
    served: PathBuf,
    whiteouts: &'a Whiteouts,
    is_free: IsFree,
    found: Vec<Placement>,
    own: Applied,
}

impl<IsFree: Fn(&Path) -> Result<bool>> Links<'_, IsFree> {
    /// Adds the link for a path, or, in a directory of the environment's own, those for what is in it. `directory` are the
    /// layers that have a directory there.
    fn add(&mut self, path: PathBuf, directory: Option<Vec<usize>>) -> Result<()> {
        let served = self.served.join(&path);
        // A link of ours that the journal does not know is left of a mount whose state was removed.
        let is_ours = || fs_err::read_link(self.root.join(&path)).is_ok_and(|target| target == served);
        if (self.is_free)(&path)? || is_ours() {
            let content = Content::Symlink(served);
            self.found.push(Placement { path, distribution: None, source: None, content });
            return Ok(());
        }
        let Some(having) = directory else {
            self.own.kept.insert(path);
            return Ok(());
        };
        if !fs_err::symlink_metadata(self.root.join(&path)).is_ok_and(|metadata| metadata.is_dir()) {
            self.own.hiding.insert(path.clone());
            self.own.kept.insert(path);
            return Ok(());
        }
        self.add_in(&path, having, |_, _| true)
    }

    /// Adds what these layers have in a directory, as far as it is wanted.
    fn add_in(
        &mut self,
        directory: &Path,
        having: Vec<usize>,
        is_wanted: impl Fn(&Distribution, &OsStr) -> bool,
    ) -> Result<()> {
        let entry = Path::new(OUTSIDE).join(directory);
        let mut listings = Vec::with_capacity(having.len());
        for index in having {
            let Some((distribution, layer)) = self.layers.get(index) else { continue };
            let listed = layer.path(&entry).map(|from| directory::list(CWD, &from));
            let mut entries = listed.transpose().map_err(std::io::Error::from)?.unwrap_or_default();
            entries.retain(|entry| is_wanted(distribution, &entry.name));
            if let Some(removed) = self.whiteouts.removed(distribution.label(), &entry) {
                entries.retain(|entry| !removed.contains(&entry.name));
            }
            listings.push((LayerId(u32::try_from(index).unwrap_or(u32::MAX)), entries));
        }
        for (name, merged) in merge(listings) {
            let having = match merged {
                Merged::Directory(layers) => Some(layers.iter().map(|layer| layer.0 as usize).collect()),
                Merged::Leaf(..) => None,
            };
            self.add(directory.join(name), having)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_reached_through_the_directories_above_it() {
        let layer = OutsideLayer::at(Path::new("bin"), "/archive/a.data/scripts".into());
        let path = |entry: &str| layer.path(Path::new(entry)).map(|path| path.display().to_string());
        assert_eq!(path("").as_deref(), Some("/archive/a.data/scripts"));
        assert_eq!(path(".sitefs-outside").as_deref(), Some("/archive/a.data/scripts"));
        assert_eq!(path(".sitefs-outside/bin/ruff").as_deref(), Some("/archive/a.data/scripts/ruff"));
        assert_eq!(path(".sitefs-outside/share"), None);
        assert_eq!(path("bin"), None);
        let step = |above: &str| layer.step(Path::new(above)).map(|entry| entry.name);
        assert_eq!(step(""), Some(OUTSIDE.into()));
        assert_eq!(step(OUTSIDE), Some("bin".into()));
        assert_eq!(step(".sitefs-outside/bin"), None);
        assert_eq!(OutsideLayer::at(Path::new(""), "/a".into()).below.as_os_str(), OUTSIDE);
    }
}
