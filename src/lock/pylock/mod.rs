//! pylock.toml: a list of packages, each with its marker.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/pylock-toml/> (PEP 751).

mod excerpt;
mod file;
mod marker;

use std::path::Path;

use pep508_rs::{ExtraName, MarkerTree};

pub(super) use self::excerpt::excerpt;
use self::file::{Artifact, Directory, File, Header, Package, Vcs};
use super::hashes::Hashes;
use super::selection::DefaultGroups;
use super::toml_file::{self, Lines};
use super::{BuildSettings, Lock, Origin, Pin, Selection, Source, Target, artifact, environment};
use crate::error::{Context, Error, Result};
use crate::python::PackageName;

/// Adds the pins of the pylock.toml at `path`, which holds `text`, to `lock`.
///
/// # Errors
/// A lock that is not understood, does not support the target, or has not what is wanted.
pub(super) fn read(
    path: &Path,
    text: &str,
    target: Target<'_>,
    selection: &Selection,
    lock: &mut Lock,
) -> Result<()> {
    let text = &artifact::without_unfit_wheels(text, target.tags);
    let file = parse(path, text)?;
    let shown = || format!("`{}`", path.display());
    if let Some(requires) = &file.requires_python {
        environment::check_python(requires, target).context(shown)?;
    }
    environment::check_markers(&file.environments, target).context(shown)?;
    let active = active(&file, selection).context(shown)?;
    let path = std::path::absolute(path).context(shown)?;
    let reader = Reader { folder: path.parent().unwrap_or(&path), target, active };
    let lines = Lines::of(text);
    for package in &file.packages {
        let origin = Origin { file: path.clone(), line: lines.number(package.name.span().start) };
        let pin = reader
            .pin(package, &origin)
            .map_err(|error| Error::new(format!("{origin}: `{}`", package.name.get_ref())).because(error))?;
        lock.pins.extend(pin);
    }
    if !file.lock_version.starts_with("1.0") {
        let version = &file.lock_version;
        lock.notes.push(format!(
            "`{}` has version {version}: what is newer than 1.0 is passed over.",
            path.display()
        ));
    }
    Ok(())
}

fn parse(path: &Path, text: &str) -> Result<File> {
    let file = toml_file::parse::<File>(path, text);
    // What another version says may not be understood; that it is another version is.
    let version = match &file {
        Ok(file) => file.lock_version.clone(),
        Err(_) => match toml_file::parse::<Header>(path, text) {
            Ok(header) => header.lock_version,
            Err(_) => return file,
        },
    };
    match version.split('.').next() {
        Some("1") => file,
        _ => Err(Error::new(format!(
            "`{}` has version {version}, and only version 1.0 is known",
            path.display()
        ))
        .with_help(
            "make it anew with a tool that writes version 1.0, as `uv export --format pylock.toml` does",
        )),
    }
}

/// The extras and groups that are wanted, for markers.
fn active(file: &File, selection: &Selection) -> Result<Vec<ExtraName>> {
    for extra in selection.named_extras() {
        check_declared("Extra", extra, "extras", &file.extras)?;
    }
    for group in selection.named_groups().filter(|group| !file.default_groups.contains(group)) {
        check_declared("Group", group, "dependency-groups", &file.dependency_groups)?;
    }
    // Whoever names groups gets these, as PEP 751 says.
    let defaults = if selection.groups.is_empty() { file.default_groups.clone() } else { Vec::new() };
    let defaults = DefaultGroups::Some(defaults);
    let extras: Vec<_> = file.extras.iter().filter(|extra| selection.has_extra(extra)).collect();
    let groups: Vec<_> = file
        .dependency_groups
        .iter()
        .chain(&file.default_groups)
        .filter(|group| selection.has_group(group, &defaults))
        .collect();
    marker::active(&extras, &groups)
}

fn check_declared(kind: &str, name: &PackageName, list: &str, declared: &[PackageName]) -> Result<()> {
    if declared.contains(name) {
        return Ok(());
    }
    let error = Error::new(format!("{kind} `{name}` is not defined in the lock's `{list}`"));
    let declared: Vec<String> = declared.iter().map(|name| format!("`{name}`")).collect();
    Err(match declared.as_slice() {
        [] => error.with_help(format!("the lock has no {list}")),
        _ => error.with_help(format!("it has {}", declared.join(", "))),
    })
}

struct Reader<'a> {
    folder: &'a Path,
    target: Target<'a>,
    active: Vec<ExtraName>,
}

impl Reader<'_> {
    /// The pin of a package; none if it does not apply.
    fn pin(&self, package: &Package, origin: &Origin) -> Result<Option<Pin>> {
        let marker = package.marker.as_deref().map_or(Ok(MarkerTree::TRUE), marker::parse)?;
        if !marker.evaluate(self.target.markers, &self.active) {
            return Ok(None);
        }
        if let Some(requires) = &package.requires_python {
            environment::check_python(requires, self.target)?;
        }
        let (source, artifact) = self.source(package)?;
        let mut hashes = Hashes::default();
        for (algorithm, digest) in artifact.iter().flat_map(|artifact| &artifact.hashes) {
            hashes.add(&format!("{algorithm}:{digest}"))?;
        }
        Ok(Some(Pin {
            name: package.name.get_ref().clone(),
            version: package.version.clone(),
            source,
            hashes: hashes.sha256,
            marker: MarkerTree::TRUE,
            build: BuildSettings::default(),
            origin: origin.clone(),
        }))
    }

    /// Where a package comes from, and the file that it is, if it is one.
    fn source<'p>(&self, package: &'p Package) -> Result<(Source, Option<&'p Artifact>)> {
        let has_files = package.sdist.is_some() || package.wheels.is_some();
        match (has_files, &package.directory, &package.vcs, &package.archive) {
            (true, None, None, None) => Ok((Source::Index, Some(self.best(package)?))),
            (false, Some(directory), None, None) => Ok((self.directory(directory)?, None)),
            (false, None, Some(vcs), None) => Ok((self.git(vcs)?, None)),
            (false, None, None, Some(archive)) => {
                let (url, path) = (archive.url.as_deref(), archive.path.as_deref());
                let source = artifact::archive(self.folder, url, path, archive.subdirectory.clone())?;
                Ok((source, Some(archive)))
            }
            (false, None, None, None) => {
                Err(Error::new("it has no wheels, sdist, directory, vcs or archive: nothing to install"))
            }
            _ => Err(Error::new("it has several sources, of which there may be but one")),
        }
    }

    fn best<'p>(&self, package: &'p Package) -> Result<&'p Artifact> {
        let wheel = artifact::best_wheel(
            package.wheels.as_deref().unwrap_or_default(),
            self.target.tags,
            Artifact::file_name,
        );
        wheel.or(package.sdist.as_ref()).ok_or_else(|| {
            Error::new("no wheel of the lock fits this interpreter, and there is no source archive")
        })
    }

    fn directory(&self, directory: &Directory) -> Result<Source> {
        let mut path = artifact::absolute(self.folder, &directory.path)?;
        if let Some(subdirectory) = &directory.subdirectory {
            path = artifact::absolute(&path, subdirectory)?;
        }
        Ok(Source::Directory { path, editable: directory.editable })
    }

    fn git(&self, vcs: &Vcs) -> Result<Source> {
        if vcs.r#type != "git" {
            return Err(Error::new(format!("it comes from `{}`, and only `git` is supported", vcs.r#type)));
        }
        let repository = match (&vcs.url, &vcs.path) {
            (Some(url), _) => artifact::parse_url(url)?,
            (None, Some(path)) => artifact::file_url(&artifact::absolute(self.folder, path)?)?,
            (None, None) => return Err(Error::new("its vcs has neither a URL nor a path")),
        };
        Ok(Source::Git {
            repository,
            revision: vcs.requested_revision.clone().or_else(|| Some(vcs.commit_id.clone())),
            commit: Some(vcs.commit_id.clone()),
            subdirectory: vcs.subdirectory.clone(),
            file: None,
        })
    }
}

impl Artifact {
    fn file_name(&self) -> Option<String> {
        let address = self.name.as_ref().or(self.path.as_ref()).or(self.url.as_ref())?;
        Some(artifact::file_name(address))
    }
}
