//! Packages of a uv.lock as pins.

use std::path::Path;

use pep508_rs::MarkerTree;

use super::file::{self, Package, Wheel};
use crate::error::{Context, Error, Result};
use crate::lock::hashes::Hashes;
use crate::lock::{BuildSettings, Origin, Pin, Source, Target, artifact};

/// The pin of a package whose paths count from `folder`; none for one that is not to be installed (`virtual`).
///
/// # Errors
/// Nothing of the package fits the interpreter; a source that is not understood.
pub(super) fn pin(
    package: &Package,
    origin: Origin,
    folder: &Path,
    target: Target<'_>,
) -> Result<Option<Pin>> {
    if package.source.r#virtual.is_some() {
        return Ok(None);
    }
    let name = package.name.get_ref();
    let pin = || -> Result<Pin> {
        let source = source(&package.source, folder)?;
        let mut hashes = Hashes::default();
        if let Some(hash) = hash(package, &source, target)? {
            hashes.add(hash)?;
        }
        Ok(Pin {
            name: name.clone(),
            version: package.version.clone(),
            source,
            hashes: hashes.sha256,
            marker: MarkerTree::TRUE,
            build: BuildSettings::default(),
            origin,
        })
    };
    pin().map(Some).context(|| format!("`{name}`"))
}

fn source(written: &file::Source, folder: &Path) -> Result<Source> {
    let file::Source { registry, git, url, subdirectory, path, directory, editable, .. } = written;
    if let Some(path) = editable.as_ref().or(directory.as_ref()) {
        let path = artifact::absolute(folder, path)?;
        Ok(Source::Directory { path, editable: Some(editable.is_some()) })
    } else if let Some(git) = git {
        git_source(git)
    } else if url.is_some() || path.is_some() {
        artifact::archive(folder, url.as_deref(), path.as_deref(), subdirectory.clone())
    } else if registry.is_some() {
        Ok(Source::Index)
    } else {
        Err(Error::new("its source is of a kind that is not known").with_help("a newer sitefs may know it"))
    }
}

/// `https://git.example/a.git?tag=v1&subdirectory=b#COMMIT`, or with `path=` for a file in the repository.
fn git_source(text: &str) -> Result<Source> {
    let (address, commit) =
        text.split_once('#').ok_or_else(|| Error::new("its Git source names no commit"))?;
    let mut repository = artifact::parse_url(address)?;
    let (mut revision, mut subdirectory, mut file) = (None, None, None);
    for (key, value) in repository.query_pairs() {
        match &*key {
            "tag" | "branch" | "rev" => revision = Some(value.into_owned()),
            "subdirectory" => subdirectory = Some(value.into_owned()),
            "path" => file = Some(value.into_owned()),
            _ => {}
        }
    }
    repository.set_query(None);
    Ok(Source::Git { repository, revision, commit: Some(commit.to_owned()), subdirectory, file })
}

/// The hash of what uv would install: of the wheel that fits best, or else of the source archive.
fn hash<'a>(package: &'a Package, source: &Source, target: Target<'_>) -> Result<Option<&'a str>> {
    if matches!(source, Source::Directory { .. } | Source::Git { file: None, .. }) {
        return Ok(None);
    }
    let best = artifact::best_wheel(&package.wheels, target.tags, Wheel::file_name);
    match (best, &package.sdist) {
        (Some(wheel), _) => Ok(wheel.hash.as_deref()),
        (None, Some(sdist)) => Ok(sdist.hash.as_deref()),
        (None, None) if matches!(source, Source::Archive { url, .. } if !url.path().ends_with(".whl")) => {
            Ok(None)
        }
        (None, None) => {
            Err(Error::new("no wheel of the lock fits this interpreter, and there is no source archive"))
        }
    }
}

impl Wheel {
    fn file_name(&self) -> Option<String> {
        let address = self.filename.as_ref().or(self.path.as_ref()).or(self.url.as_ref())?;
        Some(artifact::file_name(address))
    }
}
