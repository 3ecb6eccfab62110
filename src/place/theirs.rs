//! Where the environment has something of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::journal::{Journal, installed_since};
use super::root::{Presence, Root};
use crate::error::Result;
use crate::python::bytecode::{self, CACHE, module_of};
use crate::sys::posix::FileType;
use crate::venv::state::State;

/// Tells of a path whether nothing is at, above or below it but directories, what sitefs made and nobody changed since, and
/// bytecode of that: it can be made anew.
///
/// # Errors
/// A place that cannot be looked at, a damaged journal.
pub fn is_free(root: &Path, state: &State) -> Result<impl Fn(&Path) -> Result<bool>> {
    let root = Root::open(root)?;
    let journal = Journal::load(state)?.unwrap_or_default();
    let theirs = installed_since(&root, &journal)?;
    Ok(move |path: &Path| {
        if root.is_vacant(path) {
            return Ok(true);
        }
        let is_ours = |path: &Path| -> Result<bool> {
            Ok(match journal.files.get(path) {
                Some(placed) => root.is(path, placed)?.is_none_or(|is| is && !placed.is_of(&theirs)),
                None => root.look(path)?.is_none(),
            })
        };
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            if root.directory(above)? == Presence::Hidden && !is_ours(above)? {
                return Ok(false);
            }
        }
        match root.list(path)? {
            None => is_ours(path),
            Some(_) => has_only(path, &root, &journal, &is_ours),
        }
    })
}

fn source_of(bytecode: &Path) -> Option<PathBuf> {
    Some(bytecode::source_of(bytecode.parent()?.parent()?, module_of(bytecode.file_name()?)?))
}

fn has_only(
    directory: &Path,
    root: &Root,
    journal: &Journal,
    is_ours: &dyn Fn(&Path) -> Result<bool>,
) -> Result<bool> {
    let is_bytecode = directory.file_name() == Some(OsStr::new(CACHE));
    if !journal.directories.contains(directory) && !is_bytecode {
        return Ok(false);
    }
    for entry in root.list(directory)?.unwrap_or_default() {
        let path = directory.join(&entry.name);
        let source = source_of(&path).filter(|source| is_bytecode && journal.files.contains_key(source));
        let is_fine = match (entry.file_type, source) {
            (FileType::Directory, _) => has_only(&path, root, journal, is_ours)?,
            (_, Some(source)) => is_ours(&source)?,
            (_, None) => is_ours(&path)?,
        };
        if !is_fine {
            return Ok(false);
        }
    }
    Ok(true)
}
