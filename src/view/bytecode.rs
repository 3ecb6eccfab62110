//! Bytecode of the archives' modules, which Python writes beside them: it lives in `.sitefs/bytecode/`, not in the upper,
//! where it would be left, once unmounted, in directories that import as empty packages.
//!
//! Each `__pycache__` in a directory that archives have is a directory there, under the same path. So nothing is moved
//! when the environment is mounted, unmounted, or its server is killed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FileType, Mode, OFlags, mkdirat, renameat};
use rustix::io::Errno;

use super::{OUTSIDE, View};
use crate::error::{Error, Result};
use crate::python::bytecode::{CACHE, module_of, source_of};
use crate::sys::identity::{Owner, acting_as};
use crate::sys::posix::open_directory;
use crate::sys::{beneath, hold};
use crate::venv::state::State;

/// The directory `.sitefs/bytecode/`.
#[derive(Debug)]
pub(super) struct Bytecode {
    root: OwnedFd,
    /// Whether nothing may be changed here.
    read_only: bool,
    /// The directories that the view shows from here.
    shown: Mutex<HashSet<PathBuf>>,
}

impl Bytecode {
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether a path of the view is one that is kept here.
    pub(super) fn has(&self, path: &Path) -> bool {
        path.ancestors()
            .filter(|above| above.file_name() == Some(OsStr::new(CACHE)))
            .any(|above| self.shown.lock().contains(above))
    }

    pub(super) fn show(&self, path: &Path) {
        self.shown.lock().insert(path.to_path_buf());
    }

    /// The directory was removed, or has another name, which is one of the upper.
    pub(super) fn forget(&self, path: &Path) {
        self.shown.lock().remove(path);
    }

    /// Makes the directories above one that is to be made.
    pub(super) fn make_parents(&self, path: &Path, owner: Owner) -> Result<(), Errno> {
        let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(());
        };
        match make_directory(self.root(), parent, owner) {
            Err(Errno::NOENT) => {
                self.make_parents(parent, owner)?;
                make_directory(self.root(), parent, owner)
            }
            made => made,
        }
    }

    /// Whether there is bytecode for the modules of a directory. What the upper has for them is brought here: `upper` is
    /// that directory there, if it has it. Where that cannot be, the upper's is shown, and this is false.
    pub(super) fn of(&self, path: &Path, upper: Option<&OwnedFd>, owner: Owner) -> Result<bool, Errno> {
        let cache = path.join(CACHE);
        if let Some(upper) = upper
            && is_directory(upper.as_fd(), Path::new(CACHE))
            && (self.read_only || !self.gather(&cache, upper, owner)?)
        {
            return Ok(false);
        }
        Ok(is_directory(self.root(), &cache))
    }

    fn gather(&self, cache: &Path, upper: &OwnedFd, owner: Owner) -> Result<bool, Errno> {
        let entries = beneath::place(upper.as_fd(), Path::new(CACHE))?.list()?;
        if entries.iter().any(|entry| entry.file_type != FileType::RegularFile) {
            return Ok(false);
        }
        self.make_parents(cache, owner)?;
        make_directory(self.root(), cache, owner)?;
        let from = beneath::open(upper.as_fd(), Path::new(CACHE), OFlags::RDONLY | OFlags::DIRECTORY)?;
        let to = beneath::open(self.root(), cache, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for entry in entries {
            match renameat(&from, &entry.name, &to, &entry.name) {
                // Another server was faster.
                Ok(()) | Err(Errno::NOENT) => {}
                // The two are not on one file system.
                Err(_) => return Ok(false),
            }
        }
        match beneath::place(upper.as_fd(), Path::new(CACHE))?.remove_directory() {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(_) => Ok(false),
        }
    }
}

impl View {
    /// Keeps the bytecode of the archives' modules in the environment's state. What was made from other archives than
    /// those of this view goes: their files may differ in nothing that Python looks at. Of an environment that is only read, it
    /// is used if it was made from these.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn keep_bytecode(&mut self, state: &State) -> Result<()> {
        let owner = self.owner;
        let Some(upper) = &mut self.upper else { return Ok(()) };
        let layers: Vec<PathBuf> = self.layers.iter().map(|layer| layer.path(Path::new(""))).collect();
        let before = state.bytecode_layers();
        if state.is_apart() {
            let root = open_directory(&state.bytecode()).ok().filter(|_| before.as_ref() == Some(&layers));
            upper.bytecode = root.map(|root| Bytecode { root, read_only: true, shown: Mutex::default() });
            return Ok(());
        }
        let failed = |errno: Errno| {
            Error::new(format!("{} cannot be used: {errno}", state.bytecode().display()))
                .with_help("it holds nothing but bytecode: remove it")
        };
        let root = open(state, owner).map_err(failed)?;
        if before.as_ref() != Some(&layers) {
            match changed(&before.unwrap_or_default(), &layers) {
                Some(changed) => remove_made_from(root.as_fd(), Path::new(""), &changed).map_err(failed)?,
                None => remove_all(root.as_fd(), Path::new("")).map_err(failed)?,
            }
            state.save_bytecode_layers(&layers)?;
        }
        upper.bytecode = Some(Bytecode { root, read_only: false, shown: Mutex::default() });
        Ok(())
    }

    pub(super) fn bytecode(&self) -> Option<&Bytecode> {
        self.upper.as_ref()?.bytecode.as_ref()
    }
}

fn open(state: &State, owner: Owner) -> Result<OwnedFd, Errno> {
    let path = state.bytecode();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let parent = hold(parent)?;
    make_directory(parent.as_fd(), Path::new(name), owner)?;
    beneath::open(parent.as_fd(), Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Makes a directory, unless it is there.
fn make_directory(base: BorrowedFd, path: &Path, owner: Owner) -> Result<(), Errno> {
    let place = beneath::place(base, path)?;
    match acting_as(owner, || mkdirat(&place.directory, place.name, Mode::from_raw_mode(0o755))) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn is_directory(base: BorrowedFd, path: &Path) -> bool {
    beneath::place(base, path).and_then(|place| place.check_directory()).is_ok()
}

/// The layers that are in one list only; none where that does not tell which module came from which layer: their order is
/// another, or one that went cannot be looked at any more.
fn changed<'a>(before: &'a [PathBuf], now: &'a [PathBuf]) -> Option<Vec<&'a Path>> {
    let (then_all, now_all): (HashSet<_>, HashSet<_>) = (before.iter().collect(), now.iter().collect());
    let (gone, new) = (before.iter().filter(|one| !now_all.contains(one)), now.iter());
    let new = new.filter(|one| !then_all.contains(one));
    let stayed = before.iter().filter(|one| now_all.contains(one));
    if !stayed.eq(now.iter().filter(|one| then_all.contains(one)))
        || !gone.clone().all(|layer| layer.is_dir())
    {
        return None;
    }
    Some(gone.chain(new).map(PathBuf::as_path).collect())
}

/// Removes bytecode of modules that these layers have.
fn remove_made_from(root: BorrowedFd, path: &Path, layers: &[&Path]) -> Result<(), Errno> {
    for entry in beneath::place(root, path)?.list()? {
        let below = path.join(&entry.name);
        if below == Path::new(OUTSIDE) {
            // Where these layers are in the view is not written down, and there is little of it.
            remove_all(root, &below)?;
        } else if entry.name == CACHE {
            for file in beneath::place(root, &below)?.list()? {
                let is_made_from = |module: &OsStr| {
                    let source = source_of(path, module);
                    layers.iter().any(|layer| fs_err::symlink_metadata(layer.join(&source)).is_ok())
                };
                if module_of(&file.name).is_some_and(is_made_from) {
                    beneath::place(root, &below.join(&file.name))?.remove_file()?;
                }
            }
        } else if entry.file_type == FileType::Directory {
            let having: Vec<&Path> =
                layers.iter().copied().filter(|layer| layer.join(&below).is_dir()).collect();
            if !having.is_empty() {
                remove_made_from(root, &below, &having)?;
            }
        }
    }
    Ok(())
}

fn remove_all(root: BorrowedFd, path: &Path) -> Result<(), Errno> {
    for entry in beneath::place(root, path)?.list()? {
        let below = path.join(&entry.name);
        if entry.file_type == FileType::Directory {
            remove_all(root, &below)?;
            beneath::place(root, &below)?.remove_directory()?;
        } else {
            beneath::place(root, &below)?.remove_file()?;
        }
    }
    Ok(())
}
