//! Locks: what an environment shall hold, as pins.

mod artifact;
mod build;
mod environment;
mod excerpt;
mod hashes;
mod install;
mod kind;
mod marker;
mod pylock;
mod requirements;
mod select;
mod selection;
#[cfg(test)]
mod tests;
mod text;
mod toml_file;
mod uv_lock;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{MarkerEnvironment, MarkerTree};
use url::Url;

use self::build::ProjectSettings;
pub use self::build::{BuildSettings, ConfigSetting};
pub use self::excerpt::{Excerpt, Project, Requirements, by_hashes};
pub use self::install::InstallFilter;
use self::kind::Kind;
pub use self::selection::Selection;
use crate::error::{Context, Result};
use crate::python::{PackageName, Tags};

/// The interpreter that a lock is read for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What markers are compared with.
    pub markers: &'a MarkerEnvironment,
    /// Which wheels fit.
    pub tags: &'a Tags,
}

/// What a lock asks for: a distribution, its marker, its hashes, its source.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The distribution's name.
    pub name: PackageName,
    /// Its version; unknown until it is found for a source that does not say.
    pub version: Option<Version>,
    /// Where it comes from.
    pub source: Source,
    /// The sha256 digests that are allowed, in lower-case hex; empty means any.
    pub hashes: Vec<String>,
    /// Where it applies.
    pub marker: MarkerTree,
    /// What uv builds it with, if it comes as no wheel.
    pub build: BuildSettings,
    /// Where it is written.
    pub origin: Origin,
}

impl Pin {
    /// Whether it is a source tree, installed as editable, which is in no wheel.
    pub fn is_editable(&self) -> bool {
        matches!(self.source, Source::Directory { editable: Some(true), .. })
    }
}

/// Where a distribution comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A package index; which one is the cache's business.
    Index,
    /// A wheel or source archive at a URL (`https:` or `file:`).
    Archive {
        /// The URL without fragment.
        url: Url,
        /// `#subdirectory=`.
        subdirectory: Option<String>,
    },
    /// A Git repository (`git+https://...@revision`).
    Git {
        /// The repository, without `git+`, revision and fragment.
        repository: Url,
        /// The branch, tag or commit asked for.
        revision: Option<String>,
        /// The whole name of the commit that this is, where the lock says it.
        commit: Option<String>,
        /// `#subdirectory=`.
        subdirectory: Option<String>,
        /// The wheel or source archive in it that is meant (`#path=`), if it is not the repository's own tree.
        file: Option<String>,
    },
    /// A source tree on this machine.
    Directory {
        /// Its absolute path.
        path: PathBuf,
        /// Whether it is installed as editable (`-e`), where the lock says so or not so.
        editable: Option<bool>,
    },
}

/// The line of a lock that a pin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}

/// What a constraint file (`-c`) allows for a distribution, should the lock ask for it.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// The distribution's name.
    pub name: PackageName,
    /// The versions that are allowed; empty means any.
    pub versions: VersionSpecifiers,
    /// The only source that is allowed; none means any.
    pub source: Option<Source>,
    /// The sha256 digests that are allowed, in lower-case hex; empty means any.
    pub hashes: Vec<String>,
    /// Where it applies.
    pub marker: MarkerTree,
    /// Where it is written.
    pub origin: Origin,
}

/// The pins of one or more lock files, in the order written.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// The pins.
    pub pins: Vec<Pin>,
    /// What restricts the pins; [`Lock::select`] applies them.
    pub constraints: Vec<Constraint>,
    /// The lines of requirements files that say where distributions come from, for tools that get some.
    pub index_options: Vec<String>,
    /// What was read and passed over, for people: one sentence each.
    pub notes: Vec<String>,
}

/// The file names that a lock may have beside an environment, the first that is there first.
pub const NAMES: [&str; 3] = ["pylock.toml", "uv.lock", "requirements.txt"];

impl Lock {
    /// Reads lock files: requirements.txt as `uv pip compile`, `pip-compile` and `pip freeze` write it, uv.lock, and
    /// pylock.toml. Of the latter two, what is wanted for `target`.
    ///
    /// In requirements.txt, as with pip and uv, `-r` and `-c` count from the file that holds them, other relative
    /// paths from the current directory. In the others, relative paths count from the lock.
    ///
    /// Source: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>,
    /// <https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile>,
    /// <https://packaging.python.org/en/latest/specifications/pylock-toml/>
    ///
    /// # Errors
    /// A file that cannot be read or is not a lock; a lock that does not support the target, or has not what is
    /// wanted. Lines of requirements that pin nothing are told all at once.
    pub fn read(files: &[PathBuf], target: Target<'_>, selection: &Selection) -> Result<Self> {
        let directory = std::env::current_dir().context(|| "cannot find the current directory".to_owned())?;
        let mut texts: Vec<(&Path, String, Kind)> = Vec::with_capacity(files.len());
        for path in files {
            let text = text::read(path)?;
            let kind = Kind::of(path, &text)?;
            texts.push((path, text, kind));
        }
        selection.check(&texts.iter().map(|(_, _, kind)| *kind).collect::<Vec<_>>())?;
        let (mut lock, mut requirements) = (Self::default(), Vec::new());
        for (path, text, kind) in texts {
            match kind {
                Kind::Requirements => requirements.push((path, text)),
                Kind::Uv => uv_lock::read(path, &text, target, selection, &mut lock)?,
                Kind::Pylock => pylock::read(path, &text, target, selection, &mut lock)?,
            }
        }
        let requirements = requirements::read(requirements, &directory, &|name| std::env::var(name).ok())?;
        lock.pins.extend(requirements.pins);
        lock.constraints.extend(requirements.constraints);
        lock.index_options.extend(requirements.index_options);
        lock.notes.extend(requirements.notes);
        lock.pins = lock.pins.into_iter().map(|pin| selection.without_editable(pin)).collect();
        lock.read_build_settings(&directory);
        Ok(lock)
    }

    /// As uv does, takes the settings for builds from the project of a uv.lock, and for other locks from the current directory.
    fn read_build_settings(&mut self, directory: &Path) {
        let mut known: HashMap<PathBuf, ProjectSettings> = HashMap::new();
        for pin in &mut self.pins {
            let file = &pin.origin.file;
            let is_of_project = file.file_name().is_some_and(|name| name == "uv.lock");
            let folder = file.parent().filter(|_| is_of_project).unwrap_or(directory);
            if !known.contains_key(folder) {
                let settings = ProjectSettings::of(folder).unwrap_or_else(|error| {
                    self.notes.push(format!("{error}: its settings for builds are not known."));
                    ProjectSettings::default()
                });
                known.insert(folder.to_path_buf(), settings);
            }
            pin.build = known.get(folder).map(|settings| settings.for_package(&pin.name)).unwrap_or_default();
        }
    }

    /// The pins that apply to an interpreter: one for each name, in the order written, with no extra active.
    ///
    /// A name pinned twice alike is one pin that allows the hashes of both. The hashes of a constraint restrict
    /// those of the pin.
    ///
    /// # Errors
    /// One name pinned twice, differently, for this interpreter; a pin that contradicts a constraint.
    pub fn select(&self, environment: &MarkerEnvironment) -> Result<Vec<Pin>> {
        select::select(self, environment)
    }
}
