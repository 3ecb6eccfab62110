//! Locks: what an environment shall hold, as pins.

mod hashes;
mod lines;
mod marker;
mod options;
mod project;
mod requirements;
mod select;
mod source;
mod specifier;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::path::PathBuf;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{MarkerEnvironment, MarkerTree};
use url::Url;

use crate::error::{Context, Result};
use crate::python::PackageName;

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
    /// Where it is written.
    pub origin: Origin,
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
        /// `#subdirectory=`.
        subdirectory: Option<String>,
    },
    /// A source tree on this machine.
    Directory {
        /// Its absolute path.
        path: PathBuf,
        /// `-e`.
        editable: bool,
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
    /// What was read and passed over, for people: one sentence each.
    pub notes: Vec<String>,
}

impl Lock {
    /// Reads lock files, in order: requirements.txt, as `uv pip compile`, `pip-compile` and `pip freeze` write it.
    ///
    /// Source: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>. As with pip and uv, `-r` and
    /// `-c` count from the file that holds them, other relative paths from the current directory.
    ///
    /// # Errors
    /// A file that cannot be read or is not a lock. Lines that pin nothing are told all at once.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let directory = std::env::current_dir().context(|| "cannot find the current directory".to_owned())?;
        requirements::read(files, &directory, &|name| std::env::var(name).ok())
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
