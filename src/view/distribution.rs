//! A distribution as the view shows it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::entries::Entries;
use super::generated::layer_prefixes;
use super::outside::OutsideLayer;
use crate::cache::Archive;
use crate::error::Result;
use crate::outside::Planned;
use crate::place::Placement;
use crate::python::PackageName;
use crate::sys::beneath;
use crate::sys::directory;
use crate::sys::posix::AsFd;
use crate::venv::Layout;

/// A distribution as the view shows it.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Its archive.
    pub archive: Archive,
    /// What it has outside site-packages.
    pub placements: Vec<Placement>,
    /// The directories of the archive that are layers of the view, lowest first: the archive itself, and what its
    /// `.data` directory has for site-packages.
    pub layers: Vec<PathBuf>,
    /// What it has outside site-packages that the view serves.
    pub outside: Vec<OutsideLayer>,
    /// The directories of the environment that it has a part of there.
    pub served: Vec<String>,
    /// Where the environment has its own in the place of that.
    pub kept: HashSet<PathBuf>,
    /// The files that an installer adds to the dist-info directory, RECORD apart: name and bytes.
    ///
    /// Source: <https://packaging.python.org/en/latest/specifications/recording-installed-packages/>
    pub added: Vec<(String, Vec<u8>)>,
    /// How its files are shown in a mounted view.
    pub entries: Entries,
    label: String,
}

impl Distribution {
    /// A distribution with its archive and what it has outside site-packages.
    pub fn new(archive: Archive, planned: Planned, layout: &Layout, entries: Entries) -> Self {
        let Planned { placements, served, programs } = planned;
        let part = |name: &str| archive.data.as_ref().map(|data| archive.root.join(data).join(name));
        let served_data = part("data").filter(|_| !served.is_empty());
        let programs = part("scripts").filter(|_| programs);
        let outside = served_data.map(|root| OutsideLayer::at(Path::new(""), root)).into_iter();
        let outside = outside.chain(programs.map(|root| OutsideLayer::at(&layout.scheme.scripts, root)));
        let outside = outside.collect();
        let layers = layers_of(&archive, layout);
        let mut added =
            vec![("INSTALLER".to_owned(), b"sitefs".to_vec()), ("REQUESTED".to_owned(), Vec::new())];
        added.extend(
            archive.direct_url.iter().map(|text| ("direct_url.json".to_owned(), text.clone().into_bytes())),
        );
        added.extend(archive.generated.iter().cloned());
        let label = archive.to_string();
        Self { archive, placements, layers, outside, served, kept: HashSet::new(), added, entries, label }
    }

    /// `NAME==VERSION`.
    pub fn label(&self) -> &str {
        &self.label
    }
}

/// The directories of an archive that are layers of the view, lowest first.
pub fn layers_of(archive: &Archive, layout: &Layout) -> Vec<PathBuf> {
    let mut layers = vec![archive.root.clone()];
    if let Some(data) = &archive.data {
        let data = archive.root.join(data);
        layers.extend(layer_prefixes(layout).map(|prefix| data.join(prefix)).filter(|path| path.is_dir()));
    }
    layers
}

/// The names of the distributions that are installed in the environment's own site-packages, by those of its entries that
/// count.
///
/// # Errors
/// The directory cannot be listed.
pub fn installed(upper: impl AsFd, counts: impl Fn(&OsStr) -> bool) -> Result<Vec<PackageName>> {
    let entries = directory::list(&upper, Path::new(".")).map_err(std::io::Error::from)?;
    let counted = entries.iter().filter(|entry| counts(&entry.name));
    let named = counted.filter_map(|entry| Some((&entry.name, installed_name(&entry.name)?)));
    Ok(named.filter(|(file_name, _)| is_whole(&upper, file_name)).map(|(_, name)| name).collect())
}

/// The name of the distribution whose directory this is: `name-version.dist-info`, or the older
/// `name-version-py3.11.egg-info`.
pub fn installed_name(file_name: &OsStr) -> Option<PackageName> {
    let file_name = file_name.to_str()?;
    let name = match file_name.strip_suffix(".dist-info") {
        Some(stem) => stem.rsplit_once('-')?.0,
        None => file_name.strip_suffix(".egg-info")?.split('-').next()?,
    };
    Some(PackageName::new(name))
}

/// Of a locked distribution, the upper may have a file that somebody changed in its dist-info directory.
fn is_whole(upper: impl AsFd, file_name: &OsStr) -> bool {
    let path = Path::new(file_name);
    path.extension() != Some(OsStr::new("dist-info"))
        || beneath::place(upper.as_fd(), &path.join("METADATA")).is_ok_and(|place| place.look().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_distribution_is_known_by_its_directory() {
        let name =
            |file_name: &str| installed_name(OsStr::new(file_name)).map(|name| name.as_str().to_owned());
        assert_eq!(name("zope.interface-7.2.dist-info").as_deref(), Some("zope-interface"));
        assert_eq!(name("PyYAML-6.0-py3.11.egg-info").as_deref(), Some("pyyaml"));
        assert_eq!(name("six.py"), None);
        assert_eq!(name("dist-info"), None);
    }
}
