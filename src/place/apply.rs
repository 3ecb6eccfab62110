//! Making placements real, and undoing them exactly.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::journal::{Journal, Placed, installed_since};
use super::make::{Difficulty, Numbered, make_all, remove_staging, stage};
use super::root::{Presence, Root};
use super::{Applied, Placement, directories_above};
use crate::error::Result;
use crate::parallel::parallel;
use crate::progress::Progress;
use crate::python::bytecode::{CACHE, module_of};
use crate::venv::state::State;

/// Makes placements real in an environment, and undoes what was made before and is not among them any more; what is the
/// same stays untouched. Of two for one path the later wins. What the environment has of its own stays, and hides what
/// would be there or below. `begin` is called before the first change, when what takes room is there.
///
/// # Errors
/// A disk that is full, a place that cannot be written. What was made is in the journal: [`undo`] it, or apply again.
pub fn apply(
    root: &Path,
    state: &State,
    placements: &[Placement],
    progress: &Progress,
    begin: impl FnOnce() -> Result<()>,
) -> Result<Applied, Difficulty> {
    let root = Root::open(root)?;
    let before = Journal::load(state)?.unwrap_or_default();
    let wanted: BTreeMap<&Path, &Placement> =
        placements.iter().map(|placement| (placement.path.as_path(), placement)).collect();
    let wanted: Vec<&Placement> = wanted.into_values().collect();
    let mut planned = BTreeMap::new();
    for (placement, placed) in wanted.iter().zip(parallel(&wanted, |placement| Placed::of(placement))) {
        planned.insert(placement.path.clone(), placed?);
    }
    let wanted: Vec<Numbered> = wanted.into_iter().enumerate().collect();
    let is_new =
        |(_, placement): &&Numbered| before.files.get(&placement.path) != planned.get(&placement.path);
    let new: Vec<Numbered> = wanted.iter().filter(is_new).copied().collect();
    let staged = stage(&root, state, &new, progress)?;

    begin()?;
    let obsolete = before.files.iter().filter(|(path, placed)| planned.get(*path) != Some(placed));
    let obsolete: Vec<PathBuf> = obsolete.map(|(path, _)| path.clone()).collect();
    remove_unchanged(&root, &before, &obsolete)?;
    // A link may take the place of a directory of ours.
    let wanted_directories = directories_above(planned.keys().map(PathBuf::as_path));
    let is_obsolete = |directory: &&PathBuf| !wanted_directories.contains(directory.as_path());
    remove_directories(&root, before.directories.iter().filter(is_obsolete))?;

    let there = parallel(&wanted, |(_, placement)| root.look(&placement.path));
    let mut applied = Applied::default();
    let mut missing = Vec::new();
    for ((number, placement), there) in wanted.into_iter().zip(there) {
        match there? {
            None => missing.push((number, placement)),
            Some(there) if planned.get(&placement.path).is_some_and(|placed| placed.is(&there)) => {}
            Some(_) => {
                applied.kept.insert(placement.path.clone());
            }
        }
    }
    planned.retain(|path, _| !applied.kept.contains(path));

    let Needed { ours, new, hiding } = Needed::of(&root, planned.keys(), &before.directories)?;
    let is_hidden = |path: &Path| path.ancestors().any(|above| hiding.contains(above));
    applied.kept.extend(planned.keys().filter(|path| is_hidden(path)).cloned());
    planned.retain(|path, _| !is_hidden(path));
    missing.retain(|(_, placement)| !is_hidden(&placement.path));
    applied.hiding = hiding;
    Journal { files: planned, directories: ours }.save(state)?;
    for directory in &new {
        root.create_directory(directory)?;
    }
    make_all(&root, state, &missing, &staged, progress)?;
    Ok(applied)
}

/// Removes what [`apply`] made, save what was changed since.
///
/// # Errors
/// A place that cannot be written.
pub fn undo(root: &Path, state: &State) -> Result<()> {
    let Some(journal) = Journal::load(state)? else { return Ok(()) };
    let root = Root::open(root)?;
    remove_staging(state)?;
    let all: Vec<PathBuf> = journal.files.keys().cloned().collect();
    remove_unchanged(&root, &journal, &all)?;
    remove_directories(&root, journal.directories.iter())?;
    Journal::remove(state)
}

/// Removes those files that are as the journal says, and the bytecode that Python made of them: left behind, it would
/// keep their directories, which import as empty packages. A file that is gone already may have left its bytecode when
/// this was cut short.
fn remove_unchanged(root: &Root, journal: &Journal, paths: &[PathBuf]) -> Result<()> {
    let theirs = installed_since(root, journal)?;
    let gone = parallel(paths, |path| -> Result<bool> {
        let is_gone = match (journal.files.get(path), root.look(path)?) {
            (Some(placed), Some(there)) if placed.is(&there) && !theirs.contains(&placed.distribution) => {
                root.remove_file(path)?;
                true
            }
            (_, there) => there.is_none(),
        };
        Ok(is_gone)
    });
    let mut sources: BTreeMap<&Path, HashSet<&OsStr>> = BTreeMap::new();
    for (path, gone) in paths.iter().zip(gone) {
        if let (true, Some("py"), Some(parent), Some(module)) =
            (gone?, path.extension().and_then(OsStr::to_str), path.parent(), path.file_stem())
        {
            sources.entry(parent).or_default().insert(module);
        }
    }
    for (directory, modules) in sources {
        remove_bytecode(root, &directory.join(CACHE), &modules)?;
    }
    Ok(())
}

fn remove_bytecode(root: &Root, cache: &Path, modules: &HashSet<&OsStr>) -> Result<()> {
    let Some(entries) = root.list(cache)? else { return Ok(()) };
    for entry in entries {
        if module_of(&entry.name).is_some_and(|module| modules.contains(module)) {
            root.remove_file(&cache.join(entry.name))?;
        }
    }
    root.remove_directory_if_empty(cache)
}

/// Removes directories that are empty, children first.
fn remove_directories<'a>(
    root: &Root,
    directories: impl DoubleEndedIterator<Item = &'a PathBuf>,
) -> Result<()> {
    directories.rev().try_for_each(|directory| root.remove_directory_if_empty(directory))
}

/// The directories that files need.
#[derive(Default)]
struct Needed {
    /// Those that sitefs has made or must make, parents first.
    ours: BTreeSet<PathBuf>,
    /// Of these, those that are not there.
    new: BTreeSet<PathBuf>,
    /// What the user has in the place of one.
    hiding: BTreeSet<PathBuf>,
}

impl Needed {
    fn of<'a>(
        root: &Root,
        paths: impl Iterator<Item = &'a PathBuf>,
        ours: &BTreeSet<PathBuf>,
    ) -> Result<Self> {
        let mut directories: Vec<&Path> =
            directories_above(paths.map(PathBuf::as_path)).into_iter().collect();
        directories.sort_unstable();
        let mut needed = Self::default();
        for directory in directories {
            if directory.ancestors().any(|above| needed.hiding.contains(above)) {
                continue;
            }
            match root.directory(directory)? {
                Presence::Hidden => {
                    needed.hiding.insert(directory.to_path_buf());
                }
                Presence::There if !ours.contains(directory) => {}
                presence => {
                    if presence == Presence::Absent {
                        needed.new.insert(directory.to_path_buf());
                    }
                    needed.ours.insert(directory.to_path_buf());
                }
            }
        }
        Ok(needed)
    }
}
