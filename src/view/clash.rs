//! Paths that several distributions bring.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::Distribution;
use crate::error::Result;
use crate::python::PackageName;

/// A path that distributions bring with different contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The path, relative to site-packages.
    pub path: PathBuf,
    /// Whose file the view shows.
    pub winner: PackageName,
    /// Whose file it hides.
    pub hidden: PackageName,
}

/// All clashes between these distributions, lowest first. Equal contents are no clash. This looks at every file.
///
/// # Errors
/// An archive cannot be read.
pub fn clashes(distributions: &[Distribution]) -> Result<Vec<Clash>> {
    let mut seen: HashMap<PathBuf, (&Distribution, PathBuf)> = HashMap::new();
    let mut clashes = Vec::new();
    for distribution in distributions {
        let data = distribution.archive.data.as_ref().map(|data| distribution.archive.root.join(data));
        for layer in &distribution.layers {
            let walk = WalkDir::new(layer).sort_by_file_name().into_iter();
            for entry in
                walk.filter_entry(|entry| data.as_deref() != Some(entry.path()) || entry.depth() == 0)
            {
                let entry = entry.map_err(std::io::Error::from)?;
                let Some(path) =
                    entry.path().strip_prefix(layer).ok().filter(|_| !entry.file_type().is_dir())
                else {
                    continue;
                };
                let file = entry.path().to_path_buf();
                let below = seen.insert(path.to_path_buf(), (distribution, file.clone()));
                let Some((hidden, hidden_file)) = below else {
                    continue;
                };
                if hidden.archive.name != distribution.archive.name && !same_bytes(&file, &hidden_file)? {
                    clashes.push(Clash {
                        path: path.to_path_buf(),
                        winner: distribution.archive.name.clone(),
                        hidden: hidden.archive.name.clone(),
                    });
                }
            }
        }
    }
    Ok(clashes)
}

fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let same_size = fs_err::metadata(one)?.len() == fs_err::metadata(other)?.len();
    Ok(same_size && fs_err::read(one)? == fs_err::read(other)?)
}
