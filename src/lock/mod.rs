//! Locks: what an environment shall hold, as pins.

pub mod requirements;

use std::fmt;
use std::path::PathBuf;

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerTree};
use url::Url;

use crate::error::Result;
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

/// The pins of one or more lock files, in the order written.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// The pins.
    pub pins: Vec<Pin>,
    /// What was read and passed over, for people: one sentence each.
    pub notes: Vec<String>,
}

impl Lock {
    /// Reads lock files, in order.
    ///
    /// # Errors
    /// A file that cannot be read or is not a lock.
    pub fn read(_files: &[PathBuf]) -> Result<Self> {
        todo!()
    }
    /// The pins that apply to an interpreter: one for each name, in the order written.
    ///
    /// # Errors
    /// One name pinned twice, differently, for this interpreter.
    pub fn select(&self, _environment: &MarkerEnvironment) -> Result<Vec<Pin>> {
        todo!()
    }
}
