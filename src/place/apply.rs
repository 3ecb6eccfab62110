//! Making placements real, and undoing them exactly.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, Timespec, Timestamps, futimens, ioctl_ficlone, renameat_with};
use rustix::io::Errno;

use super::journal::{GENERATED_TIME, Journal, Placed, is_absent, look};
use super::{Content, Placement};
use crate::error::{Error, Result};
use crate::parallel::parallel;
use crate::venv::state::State;

/// What making came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Paths where the environment already had something of its own, which stays.
    pub kept: HashSet<PathBuf>,
}

/// Why a file could not be made.
#[derive(Debug)]
pub enum Difficulty {
    /// The file system does not do what was asked for: another way of making files may work.
    Unsupported(Error),
    /// Another way would not help.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Difficulty {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Makes placements real below `root`, and undoes what was made before and is not among them any more; what is the same
/// stays untouched. Of two for one path the later wins. What the environment has of its own stays.
///
/// # Errors
/// A disk that is full, a place that cannot be written. What was made is in the journal: [`undo`] it, or apply again.
pub fn apply(root: &Path, state: &State, placements: &[Placement]) -> Result<Applied, Difficulty> {
    let mut before = Journal::load(state).unwrap_or_default();
    remove_staging(state)?;
    let wanted: BTreeMap<&Path, &Placement> =
        placements.iter().map(|placement| (placement.path.as_path(), placement)).collect();
    let wanted: Vec<&Placement> = wanted.into_values().collect();
    let mut planned = BTreeMap::new();
    for (placement, placed) in wanted.iter().zip(parallel(&wanted, |placement| Placed::of(placement))) {
        planned.insert(placement.path.clone(), placed?);
    }

    let obsolete = before.files.iter().filter(|(path, placed)| planned.get(*path) != Some(placed));
    let obsolete: Vec<PathBuf> = obsolete.map(|(path, _)| path.clone()).collect();
    remove_unchanged(root, &before, &obsolete)?;

    let there = parallel(&wanted, |placement| look(&root.join(&placement.path)));
    let (mut kept, mut missing) = (HashSet::new(), Vec::new());
    for (placement, there) in wanted.iter().zip(there) {
        match there? {
            None => missing.push(*placement),
            Some(there) if planned.get(&placement.path).is_some_and(|placed| placed.is(&there)) => {}
            Some(_) => {
                planned.remove(&placement.path);
                kept.insert(placement.path.clone());
            }
        }
    }

    let (needed, new) = directories(root, planned.keys(), &before.directories)?;
    let obsolete: Vec<&PathBuf> = before.directories.difference(&needed).collect();
    remove_directories(root, obsolete.into_iter())?;
    before.directories.retain(|directory| needed.contains(directory));
    before.directories.extend(new.iter().cloned());
    Journal { files: planned, directories: before.directories }.save(state)?;
    for directory in &new {
        fs_err::create_dir(root.join(directory))?;
    }
    make_all(root, state, &missing)?;
    remove_staging(state)?;
    Ok(Applied { kept })
}

/// Removes what [`apply`] made, save what was changed since.
///
/// # Errors
/// A place that cannot be written.
pub fn undo(root: &Path, state: &State) -> Result<()> {
    remove_staging(state)?;
    let Some(journal) = Journal::load(state) else { return Ok(()) };
    let all: Vec<PathBuf> = journal.files.keys().cloned().collect();
    remove_unchanged(root, &journal, &all)?;
    remove_directories(root, journal.directories.iter())?;
    Journal::remove(state)
}

/// Removes those files that are as the journal says, and the bytecode that Python made of them: left behind, it would
/// keep their directories, which import as empty packages.
fn remove_unchanged(root: &Path, journal: &Journal, paths: &[PathBuf]) -> Result<()> {
    let removed = parallel(paths, |path| -> Result<bool> {
        let full = root.join(path);
        let ours = match (journal.files.get(path), look(&full)?) {
            (Some(placed), Some(there)) => placed.is(&there),
            _ => false,
        };
        if ours {
            fs_err::remove_file(full)?;
        }
        Ok(ours)
    });
    let mut sources: BTreeMap<&Path, HashSet<&OsStr>> = BTreeMap::new();
    for (path, removed) in paths.iter().zip(removed) {
        if let (true, Some("py"), Some(parent), Some(module)) =
            (removed?, path.extension().and_then(OsStr::to_str), path.parent(), path.file_stem())
        {
            sources.entry(parent).or_default().insert(module);
        }
    }
    for (directory, modules) in sources {
        remove_bytecode(&root.join(directory).join("__pycache__"), &modules)?;
    }
    Ok(())
}

/// Source: PEP 3147, `__pycache__/MODULE.TAG.pyc`.
fn remove_bytecode(cache: &Path, modules: &HashSet<&OsStr>) -> Result<()> {
    let entries = match fs_err::read_dir(cache) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let path = entry?.path();
        let module = path.file_stem().and_then(|stem| Path::new(stem).file_stem());
        if path.extension() == Some(OsStr::new("pyc"))
            && module.is_some_and(|module| modules.contains(module))
        {
            fs_err::remove_file(&path)?;
        }
    }
    match fs_err::remove_dir(cache) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes directories that are empty, children first.
fn remove_directories<'a>(
    root: &Path,
    directories: impl DoubleEndedIterator<Item = &'a PathBuf>,
) -> Result<()> {
    for directory in directories.rev() {
        match fs_err::remove_dir(root.join(directory)) {
            Err(error) if !is_absent(&error) && error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of the directories that files need, those that sitefs has made or must make, and of these the ones that are not there,
/// parents first. A link that leads out of the environment is refused: what a wheel brings stays in the environment.
fn directories<'a>(
    root: &Path,
    paths: impl Iterator<Item = &'a PathBuf>,
    ours: &BTreeSet<PathBuf>,
) -> Result<(BTreeSet<PathBuf>, BTreeSet<PathBuf>)> {
    let (mut needed, mut new, mut seen) = (BTreeSet::new(), BTreeSet::new(), HashSet::new());
    for path in paths {
        for directory in path.ancestors().skip(1).take_while(|path| !path.as_os_str().is_empty()) {
            if !seen.insert(directory.to_path_buf()) {
                break;
            }
            if ours.contains(directory) {
                needed.insert(directory.to_path_buf());
            }
            if !is_directory_inside(root, directory)? {
                needed.insert(directory.to_path_buf());
                new.insert(directory.to_path_buf());
            }
        }
    }
    Ok((needed, new))
}

fn is_directory_inside(root: &Path, directory: &Path) -> Result<bool> {
    let path = root.join(directory);
    match fs_err::canonicalize(&path) {
        Ok(real) if !real.starts_with(root) => {
            Err(Error::new(format!("{} leads out of the environment, to {}", path.display(), real.display()))
                .with_help("make it a directory of the environment"))
        }
        Ok(real) if !real.is_dir() => {
            Err(Error::new(format!("{} is in the way: it must be a directory", path.display())))
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes files that are not there. Each is finished in the staging directory and then gets its name.
fn make_all(root: &Path, state: &State, missing: &[&Placement]) -> Result<(), Difficulty> {
    if missing.is_empty() {
        return Ok(());
    }
    let staging = state.staging();
    fs_err::create_dir_all(&staging)?;
    let numbered: Vec<(usize, &Placement)> = missing.iter().copied().enumerate().collect();
    let one =
        |(number, placement): &(usize, &Placement)| make(root, &staging.join(number.to_string()), placement);
    // What the file system does not do at all shows at the first file.
    let (first, rest) = numbered.split_at(1);
    first.iter().try_for_each(one)?;
    parallel(rest, one).into_iter().collect()
}

fn make(root: &Path, unfinished: &Path, placement: &Placement) -> Result<(), Difficulty> {
    let path = root.join(&placement.path);
    let failed = |error: io::Error| difficulty(error, &placement.content, &path);
    match &placement.content {
        Content::Symlink(target) => return symlink(target, &path).map_err(failed),
        #[expect(clippy::disallowed_methods, reason = "difficulty() names both paths")]
        Content::HardLink(from) => return std::fs::hard_link(from, &path).map_err(failed),
        Content::Bytes { bytes, executable } => {
            let mut options = fs_err::OpenOptions::new();
            let mode = if *executable { 0o777 } else { 0o666 };
            fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
            let mut file = options.write(true).create_new(true).open(unfinished)?;
            file.write_all(bytes)?;
            set_time(file.file(), GENERATED_TIME)?;
        }
        Content::Clone(from) => {
            let (source, file) = (fs_err::File::open(from)?, fs_err::File::create_new(unfinished)?);
            ioctl_ficlone(file.file(), source.file()).map_err(|errno| failed(errno.into()))?;
            like(source.file(), file.file(), false)?;
        }
        Content::Copy { from, executable } => {
            let (mut source, mut file) = (fs_err::File::open(from)?, fs_err::File::create_new(unfinished)?);
            io::copy(source.file_mut(), file.file_mut()).map_err(failed)?;
            like(source.file(), file.file(), *executable)?;
        }
    }
    renameat_with(CWD, unfinished, CWD, &path, RenameFlags::NOREPLACE).map_err(|errno| failed(errno.into()))
}

/// Gives a copy the time and the mode of its source. A cache may be read-only; the copy is the user's own.
fn like(source: &File, copy: &File, executable: bool) -> Result<()> {
    let metadata = source.metadata()?;
    let wanted = metadata.permissions().mode() & 0o777 | 0o200 | if executable { 0o111 } else { 0 };
    copy.set_permissions(PermissionsExt::from_mode(wanted))?;
    set_time(copy, std::os::unix::fs::MetadataExt::mtime(&metadata))
}

fn set_time(file: &File, seconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(futimens(file, &times).map_err(io::Error::from)?)
}

/// Says which two paths, and whether another way of making files may do.
fn difficulty(error: io::Error, content: &Content, path: &Path) -> Difficulty {
    let (way, from) = match content {
        Content::Symlink(from) => ("linked symbolically to", from.as_path()),
        Content::HardLink(from) => ("hard-linked to", from.as_path()),
        Content::Clone(from) => ("cloned from", from.as_path()),
        Content::Copy { from, .. } => ("copied from", from.as_path()),
        Content::Bytes { .. } => ("made from", Path::new("memory")),
    };
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let unsupported = matches!(
        errno,
        Some(
            Errno::XDEV
                | Errno::PERM
                | Errno::OPNOTSUPP
                | Errno::NOTTY
                | Errno::INVAL
                | Errno::MLINK
                | Errno::NOSYS
        )
    );
    let why = match errno {
        Some(Errno::XDEV) => "they are on different file systems".to_owned(),
        _ => error.to_string(),
    };
    let error = Error::new(format!("{} cannot be {way} {}: {why}", path.display(), from.display()));
    match content {
        Content::Symlink(_) | Content::HardLink(_) | Content::Clone(_) if unsupported => {
            Difficulty::Unsupported(
                error.with_help("use --link-mode symlink or copy, or allow that with --fallback"),
            )
        }
        _ => Difficulty::Failed(error),
    }
}

fn remove_staging(state: &State) -> Result<()> {
    match fs_err::remove_dir_all(state.staging()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
