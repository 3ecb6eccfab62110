//! The journal: what tells our files from the user's.
//!
//! It is written before the first file is made, and holds for each what can be known beforehand: a link's target, or size
//! and time, which are given to the file before it gets its name. So a file is ours if and only if it is as the journal
//! says, whatever moment the process was killed at.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::folders::by_folder;
use super::root::Root;
use super::{Content, Placement};
use crate::error::{Error, Result};
use crate::parallel::parallel;
use crate::python::PackageName;
use crate::sys::posix::modified;
use crate::venv::state::State;

const FILE: &str = "placed.json";

/// The time of generated files, in seconds since 1970: 1980, the earliest that wheels can carry. An edit changes it.
pub(super) const GENERATED_TIME: i64 = 315_532_800;

/// What was made, or is being made.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) files: BTreeMap<PathBuf, Placed>,
    /// The directories that were not there before, parents first.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// One file of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) distribution: Option<PackageName>,
    how: How,
    trace: Trace,
}

/// How a file was made: two that were made alike from the same are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    Generated { sha256: String, executable: bool },
    Symlink,
    HardLink(PathBuf),
    Clone(PathBuf),
    Copy { from: PathBuf, executable: bool },
}

/// What a look at a file tells. What sitefs writes has whole seconds, which every file system keeps; what somebody else
/// writes, even in the same second, has others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Trace {
    Symlink(PathBuf),
    File { size: u64, seconds: i64, nanoseconds: i64 },
    Other,
}

impl Journal {
    /// The journal, if there is one. Its paths stay in the environment, whoever wrote them.
    pub(super) fn load(state: &State) -> Result<Option<Self>> {
        state.load(FILE)
    }

    pub(super) fn save(&self, state: &State) -> Result<()> {
        state.save(FILE, self)
    }

    pub(super) fn remove(state: &State) -> Result<()> {
        state.remove(FILE)
    }
}

impl Placed {
    /// What the journal says of a placement.
    pub(super) fn of(placement: &Placement) -> Result<Self> {
        if placement.path.to_str().is_none() {
            let path = placement.path.display();
            return Err(Error::new(format!("{path} cannot be made: its name is not UTF-8")));
        }
        let file = |size, seconds, nanoseconds| Trace::File { size, seconds, nanoseconds };
        let copy = |from: &Path| {
            let metadata = fs_err::metadata(from)?;
            Ok::<_, io::Error>(file(metadata.len(), modified(&metadata).0, 0))
        };
        let (how, trace) = match &placement.content {
            Content::Bytes { bytes, executable } => {
                let sha256 = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
                let trace = file(bytes.len() as u64, GENERATED_TIME, 0);
                (How::Generated { sha256, executable: *executable }, trace)
            }
            Content::Symlink(target) => (How::Symlink, Trace::Symlink(target.clone())),
            Content::HardLink(from) => {
                let metadata = fs_err::metadata(from)?;
                let (seconds, nanoseconds) = modified(&metadata);
                let trace = file(metadata.len(), seconds, nanoseconds);
                (How::HardLink(from.clone()), trace)
            }
            Content::Clone(from) => (How::Clone(from.clone()), copy(from)?),
            Content::Copy { from, executable } => {
                (How::Copy { from: from.clone(), executable: *executable }, copy(from)?)
            }
        };
        Ok(Self { distribution: placement.distribution.clone(), how, trace })
    }

    /// Whether it belongs to one of these.
    pub(super) fn is_of(&self, distributions: &HashSet<PackageName>) -> bool {
        self.distribution.as_ref().is_some_and(|distribution| distributions.contains(distribution))
    }

    /// Whether it is a symbolic link.
    pub(super) fn is_symlink(&self) -> bool {
        matches!(self.trace, Trace::Symlink(_))
    }

    /// Whether what is there is still as it was made.
    pub(super) fn is(&self, there: &Trace) -> bool {
        self.trace == *there
    }
}

/// What was made and was changed since: it is the user's now, and stays.
///
/// # Errors
/// A place that cannot be looked at, a damaged journal.
pub fn changed(root: &Path, state: &State) -> Result<Vec<PathBuf>> {
    let Some(journal) = Journal::load(state)? else { return Ok(Vec::new()) };
    let root = Root::open(root)?;
    let folders = by_folder(journal.files.iter().map(|(path, placed)| (path.as_path(), (path, placed))));
    let changed = parallel(&folders, |folder| {
        let mut changed = Vec::new();
        let Some(directory) = root.below(folder.path)? else { return Ok(changed) };
        for (name, (path, placed)) in &folder.entries {
            if directory.is(name, placed)? == Some(false) {
                changed.push((*path).clone());
            }
        }
        Ok(changed)
    });
    Ok(changed.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

/// Distributions that were installed anew since they were made: who did that has written INSTALLER. All their files are
/// the user's, those too that are links to the same cache.
pub(super) fn installed_since(root: &Root, journal: &Journal) -> Result<HashSet<PackageName>> {
    let is_installer = |path: &Path| {
        path.ends_with("INSTALLER")
            && path.parent().is_some_and(|parent| parent.extension() == Some(OsStr::new("dist-info")))
    };
    let mut names = HashSet::new();
    for (path, placed) in journal.files.iter().filter(|(path, _)| is_installer(path)) {
        if root.is(path, placed)? == Some(false) {
            names.extend(placed.distribution.clone());
        }
    }
    Ok(names)
}

/// Whether there is something to undo.
pub fn exists(state: &State) -> bool {
    state.has(FILE)
}

/// Whether files were being made ready when that was cut short, before the first of them got its name.
pub fn is_unfinished(state: &State) -> bool {
    fs_err::symlink_metadata(state.staging()).is_ok()
}

/// Whether a dist-info directory of the environment is one that sitefs made, and nobody has installed anew.
///
/// # Errors
/// A place that cannot be looked at, a damaged journal.
pub fn has_dist_info(root: &Path, state: &State) -> Result<impl Fn(&Path) -> bool> {
    let journal = Journal::load(state)?.unwrap_or_default();
    let theirs = installed_since(&Root::open(root)?, &journal)?;
    Ok(move |path: &Path| {
        let installer = journal.files.get(&path.join("INSTALLER"));
        let is_theirs = installer.is_some_and(|placed| placed.is_of(&theirs));
        journal.directories.contains(path) && !is_theirs
    })
}

/// The paths of all that is made now.
///
/// # Errors
/// The journal cannot be read.
pub fn placed(state: &State) -> Result<HashSet<PathBuf>> {
    Ok(Journal::load(state)?.unwrap_or_default().files.into_keys().collect())
}

/// The distribution that a path of the environment was made for, itself or by a link above it.
pub fn owner(state: &State, path: &Path) -> Option<PackageName> {
    let mut files = Journal::load(state).ok()??.files;
    path.ancestors().find_map(|path| files.remove(path))?.distribution
}
