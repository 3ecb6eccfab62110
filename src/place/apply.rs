//! Making placements real, and undoing them exactly.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::folders::by_folder;
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
/// same stays untouched. Of two for one path the later wins, and so it does where one would be a directory of the other. What the environment has of its own stays, and hides what
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
    let wanted = settled(placements);
    let placed = parallel(&wanted, |placement| Placed::of(placement));
    let placed = placed.into_iter().collect::<Result<Vec<Placed>>>()?;
    let wanted: Vec<Numbered> = wanted.into_iter().enumerate().collect();
    let is_new =
        |((_, placement), placed): &(&Numbered, &Placed)| before.files.get(&placement.path) != Some(*placed);
    let new: Vec<Numbered> = wanted.iter().zip(&placed).filter(is_new).map(|(wanted, _)| *wanted).collect();
    let mut planned: BTreeMap<PathBuf, Placed> =
        wanted.iter().map(|(_, placement)| placement.path.clone()).zip(placed).collect();
    let staged = stage(&root, state, &new, progress)?;

    begin()?;
    let obsolete = before.files.iter().filter(|(path, placed)| planned.get(*path) != Some(placed));
    let obsolete: Vec<PathBuf> = obsolete.map(|(path, _)| path.clone()).collect();
    remove_unchanged(&root, &before, &obsolete)?;
    // A link may take the place of a directory of ours.
    let wanted_directories = directories_above(planned.keys().map(PathBuf::as_path));
    let is_obsolete = |directory: &&PathBuf| !wanted_directories.contains(directory.as_path());
    remove_directories(&root, before.directories.iter().filter(is_obsolete))?;

    let mut applied = Applied::default();
    let mut missing = Vec::new();
    let folders = by_folder(wanted.iter().map(|wanted| (wanted.1.path.as_path(), *wanted)));
    for (folder, there) in folders.iter().zip(parallel(&folders, |folder| root.look_at_all(folder))) {
        for ((_, (number, placement)), there) in folder.entries.iter().zip(there?) {
            match there {
                None => missing.push((*number, *placement)),
                Some(there) if planned.get(&placement.path).is_some_and(|placed| placed.is(&there)) => {}
                Some(_) => {
                    applied.kept.insert(placement.path.clone());
                }
            }
        }
    }
    planned.retain(|path, _| !applied.kept.contains(path));

    let Needed { ours, new, hiding } = Needed::of(&root, planned.keys(), &before.directories)?;
    if !hiding.is_empty() {
        let is_hidden = |path: &Path| path.ancestors().any(|above| hiding.contains(above));
        applied.kept.extend(planned.keys().filter(|path| is_hidden(path)).cloned());
        planned.retain(|path, _| !is_hidden(path));
        missing.retain(|(_, placement)| !is_hidden(&placement.path));
    }
    applied.hiding = hiding;
    Journal { files: planned, directories: ours }.save(state)?;
    create_directories(&root, &new)?;
    make_all(&root, state, &missing, &staged, progress)?;
    Ok(applied)
}

/// The placements that count, by path. One that a later one hides, by a file or by a directory in its place, still hides what
/// is below it: so it is in a view, too.
fn settled(placements: &[Placement]) -> Vec<&Placement> {
    let all: BTreeMap<&Path, &Placement> =
        placements.iter().map(|placement| (placement.path.as_path(), placement)).collect();
    let directories = directories_above(all.keys().copied());
    if !all.keys().any(|path| directories.contains(path)) {
        return all.into_values().collect();
    }
    let (mut files, mut directories) = (HashSet::new(), HashSet::new());
    let mut counting = BTreeMap::new();
    for placement in placements.iter().rev() {
        let path = placement.path.as_path();
        let is_below = path.ancestors().any(|above| files.contains(above));
        if !is_below && !directories.contains(path) {
            directories.extend(path.ancestors().skip(1));
            counting.insert(path, placement);
        }
        files.insert(path);
    }
    counting.into_values().collect()
}

/// Removes what [`apply`] made, save what was changed since.
///
/// # Errors
/// A place that cannot be written.
pub fn undo(root: &Path, state: &State) -> Result<()> {
    remove_staging(state)?;
    let Some(journal) = Journal::load(state)? else { return Ok(()) };
    let root = Root::open(root)?;
    let all: Vec<PathBuf> = journal.files.keys().cloned().collect();
    remove_unchanged(&root, &journal, &all)?;
    remove_directories(&root, journal.directories.iter())?;
    Journal::remove(state)
}

fn create_directories(root: &Root, new: &BTreeSet<PathBuf>) -> Result<()> {
    for folder in by_folder(new.iter().map(|path| (path.as_path(), ()))) {
        let directory = root.needed(folder.path)?;
        folder.entries.iter().try_for_each(|(name, ())| directory.create_directory(name))?;
    }
    Ok(())
}

/// Removes those files that are as the journal says, and the bytecode that Python made of them: left behind, it would
/// keep their directories, which import as empty packages. A file that is gone already may have left its bytecode when
/// this was cut short.
fn remove_unchanged(root: &Root, journal: &Journal, paths: &[PathBuf]) -> Result<()> {
    let theirs = installed_since(root, journal)?;
    let folders = by_folder(paths.iter().map(|path| (path.as_path(), journal.files.get(path))));
    let removed = parallel(&folders, |folder| -> Result<()> {
        let Some(directory) = root.below(folder.path)? else { return Ok(()) };
        let mut gone = HashSet::new();
        for (name, placed) in &folder.entries {
            let is_gone = match (placed, directory.look(name)?) {
                (Some(placed), Some(there)) if placed.is(&there) && !placed.is_of(&theirs) => {
                    directory.remove_file(name)?;
                    true
                }
                (_, there) => there.is_none(),
            };
            if let (true, Some("py"), Some(module)) =
                (is_gone, name.extension().and_then(OsStr::to_str), name.file_stem())
            {
                gone.insert(module);
            }
        }
        if gone.is_empty() { Ok(()) } else { remove_bytecode(&directory, &gone) }
    });
    removed.into_iter().collect()
}

/// Removes the bytecode of modules of a directory.
fn remove_bytecode(directory: &Root, modules: &HashSet<&OsStr>) -> Result<()> {
    let cache = Path::new(CACHE);
    let Some(entries) = directory.list(cache)? else { return Ok(()) };
    for entry in entries {
        if module_of(&entry.name).is_some_and(|module| modules.contains(module)) {
            directory.remove_file(&cache.join(entry.name))?;
        }
    }
    directory.remove_directory_if_empty(cache)
}

/// Removes directories that are empty, children first.
fn remove_directories<'a>(root: &Root, directories: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    for folder in by_folder(directories.map(|path| (path.as_path(), ()))).iter().rev() {
        if let Some(directory) = root.below(folder.path)? {
            folder.entries.iter().try_for_each(|(name, ())| directory.remove_directory_if_empty(name))?;
        }
    }
    Ok(())
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
            if !needed.hiding.is_empty() && directory.ancestors().any(|above| needed.hiding.contains(above)) {
                continue;
            }
            let is_below_new = directory.parent().is_some_and(|above| needed.new.contains(above));
            let presence = if is_below_new { Presence::Absent } else { root.directory(directory)? };
            match presence {
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
