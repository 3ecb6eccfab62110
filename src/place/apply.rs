//! Making placements real, and undoing them exactly.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::folders::{Folder, by_folder};
use super::journal::{Journal, Placed, installed_since};
use super::make::{Difficulty, Missing, make_all, remove_staging, stage};
use super::root::{Presence, Root};
use super::{Applied, Placement, directories_above};
use crate::error::Result;
use crate::parallel::{parallel, parallel_changing};
use crate::progress::Progress;
use crate::python::bytecode::{CACHE, module_of};
use crate::venv::state::State;

/// Makes placements real in an environment, and undoes what was made before and is not among them any more; what is the
/// same stays untouched. Of two for one path the later wins, and so it does where one would be a directory of the other.
/// What the environment has of its own stays, and hides what would be there or below. `begin` is called before the first change,
/// when what takes room is there.
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
    let wanted = Wanted::all(placements, &before)?;
    let new: Vec<&Placement> =
        wanted.iter().filter(|wanted| wanted.is_new).map(|wanted| wanted.placement).collect();
    let staging = stage(&root, state, &new, progress)?;

    begin()?;
    let stays: HashSet<&Path> =
        wanted.iter().filter(|wanted| !wanted.is_new).map(|wanted| wanted.placement.path.as_path()).collect();
    let obsolete: Vec<PathBuf> =
        before.files.keys().filter(|path| !stays.contains(path.as_path())).cloned().collect();
    remove_unchanged(&root, &before, &obsolete)?;
    let folders = by_folder(wanted.iter().map(|wanted| (wanted.placement.path.as_path(), wanted)));
    let one_of_each = folders.iter().filter_map(|folder| folder.entries.first());
    let directories = directories_above(one_of_each.map(|(_, wanted)| wanted.placement.path.as_path()));
    // A link may take the place of a directory of ours.
    let is_obsolete = |directory: &&PathBuf| !directories.contains(directory.as_path());
    remove_directories(&root, before.directories.iter().filter(is_obsolete))?;

    let needed = Needed::of(&root, directories, &before.directories)?;
    let mut applied = Applied::default();
    let mut missing = Vec::new();
    for looked in parallel(&folders, |folder| what_is_missing(&root, folder, &needed)) {
        let (folder, kept) = looked?;
        missing.push(folder);
        applied.kept.extend(kept);
    }
    missing.retain(|folder| !folder.entries.is_empty());
    let files = wanted.into_iter().filter(|wanted| !applied.kept.contains(&wanted.placement.path));
    let files = files.map(|wanted| (wanted.placement.path.clone(), wanted.placed)).collect();
    Journal { files, directories: needed.ours.iter().map(|path| path.to_path_buf()).collect() }
        .save(state)?;
    make_all(&root, state, staging, &needed.new, &missing, progress)?;
    applied.hiding = needed.hiding.iter().map(|path| path.to_path_buf()).collect();
    Ok(applied)
}

/// A placement, what the journal will say of it, and whether it does not yet.
struct Wanted<'a> {
    placement: &'a Placement,
    placed: Placed,
    is_new: bool,
}

impl<'a> Wanted<'a> {
    fn all(placements: &'a [Placement], before: &Journal) -> Result<Vec<Self>> {
        let wanted = parallel(&settled(placements), |placement| {
            let placed = Placed::of(placement)?;
            let is_new = before.files.get(&placement.path) != Some(&placed);
            Ok(Self { placement, placed, is_new })
        });
        wanted.into_iter().collect()
    }
}

/// What of a directory is to be made, and the paths where the environment has something of its own, or above.
fn what_is_missing<'a>(
    root: &Root,
    folder: &Folder<'a, &Wanted<'a>>,
    needed: &Needed,
) -> Result<(Folder<'a, Missing<'a>>, Vec<PathBuf>)> {
    let mut missing = Folder { path: folder.path, entries: Vec::new() };
    let path = |(_, wanted): &(&Path, &Wanted)| wanted.placement.path.clone();
    if folder.path.ancestors().any(|above| needed.hiding.contains(above)) {
        return Ok((missing, folder.entries.iter().map(path).collect()));
    }
    let directory = if needed.new.contains(folder.path) { None } else { root.below(folder.path)? };
    let mut kept = Vec::new();
    for entry in &folder.entries {
        let (name, Wanted { placement, placed, is_new }) = *entry;
        let is = directory.as_ref().map(|directory| directory.is(name, placed)).transpose()?;
        match is.flatten() {
            None => missing.entries.push((name, Missing { placement, is_finished: *is_new })),
            Some(true) => {}
            Some(false) => kept.push(path(entry)),
        }
    }
    Ok((missing, kept))
}

/// The placements that count, by path. One that a later one hides, by a file or by a directory in its place, still hides what
/// is below it: so it is in a view, too.
fn settled(placements: &[Placement]) -> Vec<&Placement> {
    let mut all: Vec<&Placement> = placements.iter().rev().collect();
    // Compared as text, which is faster than by components.
    all.sort_by_key(|placement| placement.path.as_os_str());
    all.dedup_by_key(|placement| placement.path.as_os_str());
    let is_file = |path: &&Path| {
        all.binary_search_by_key(&path.as_os_str(), |placement| placement.path.as_os_str()).is_ok()
    };
    if !directories_above(all.iter().map(|placement| placement.path.as_path())).iter().any(is_file) {
        return all;
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

/// Removes what [`apply`] made, save what was changed since: it is the user's now. Gives the paths of that.
///
/// # Errors
/// A place that cannot be written.
pub fn undo(root: &Path, state: &State) -> Result<Vec<PathBuf>> {
    remove_staging(state)?;
    let Some(journal) = Journal::load(state)? else { return Ok(Vec::new()) };
    let root = Root::open(root)?;
    let all: Vec<PathBuf> = journal.files.keys().cloned().collect();
    let changed = remove_unchanged(&root, &journal, &all)?;
    remove_directories(&root, journal.directories.iter())?;
    Journal::remove(state)?;
    Ok(changed)
}

/// Removes those files that are as the journal says, and the bytecode that Python made of them: left behind, it would
/// keep their directories, which import as empty packages. A file that is gone already may have left its bytecode when
/// this was cut short. Gives the paths of those that were changed.
fn remove_unchanged(root: &Root, journal: &Journal, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let theirs = installed_since(root, journal)?;
    let folders = by_folder(paths.iter().map(|path| (path.as_path(), journal.files.get(path))));
    let removed = parallel_changing(&folders, Folder::len, |folder| {
        let (mut gone, mut changed) = (HashSet::new(), Vec::new());
        let Some(directory) = root.below(folder.path)? else { return Ok(changed) };
        for (name, placed) in &folder.entries {
            let Some(placed) = placed else { continue };
            let is_gone = match directory.is(name, placed)? {
                Some(true) if !placed.is_of(&theirs) => {
                    directory.remove_file(name)?;
                    true
                }
                Some(true) => false,
                Some(false) => {
                    changed.push(folder.path.join(name));
                    false
                }
                None => true,
            };
            if let (true, Some("py"), Some(module)) =
                (is_gone, name.extension().and_then(OsStr::to_str), name.file_stem())
            {
                gone.insert(module);
            }
        }
        if !gone.is_empty() {
            remove_bytecode(&directory, &gone)?;
        }
        Ok(changed)
    });
    Ok(removed.into_iter().collect::<Result<Vec<_>>>()?.concat())
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

/// Removes directories that are empty, the deepest first.
fn remove_directories<'a>(root: &Root, directories: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut by_depth: BTreeMap<usize, Vec<&Path>> = BTreeMap::new();
    for path in directories {
        by_depth.entry(path.components().count()).or_default().push(path);
    }
    for paths in by_depth.into_values().rev() {
        let folders = by_folder(paths.into_iter().map(|path| (path, ())));
        let removed = parallel_changing(&folders, Folder::len, |folder| {
            let Some(directory) = root.below(folder.path)? else { return Ok(()) };
            folder.entries.iter().try_for_each(|(name, ())| directory.remove_directory_if_empty(name))
        });
        removed.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

/// The directories that files need.
#[derive(Default)]
struct Needed<'a> {
    /// Those that sitefs has made or must make, parents first.
    ours: Vec<&'a Path>,
    /// Of these, those that are not there.
    new: HashSet<&'a Path>,
    /// What the user has in the place of one.
    hiding: HashSet<&'a Path>,
}

impl<'a> Needed<'a> {
    fn of(root: &Root, directories: HashSet<&'a Path>, ours: &BTreeSet<PathBuf>) -> Result<Self> {
        let mut directories: Vec<&Path> = directories.into_iter().collect();
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
                    needed.hiding.insert(directory);
                }
                Presence::There if !ours.contains(directory) => {}
                presence => {
                    if presence == Presence::Absent {
                        needed.new.insert(directory);
                    }
                    needed.ours.push(directory);
                }
            }
        }
        Ok(needed)
    }
}
