//! What a mount leaves in the upper when it is gone: what the user made, and no more.
//!
//! All of it can be cut at any point and done again; so it also mends what a server that was killed left.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, chmodat, flistxattr, fstat, mkdirat, renameat};
use rustix::io::Errno;

use super::left::split;
use super::{OUTSIDE, OutsideLayer, Whiteouts};
use crate::error::{Error, Result};
use crate::place::{self, LinkMode};
use crate::python::bytecode::{CACHE, module_of, source_of};
use crate::sys::beneath::Place;
use crate::sys::{Found, beneath, hold, mounts};
use crate::venv::state::State;

/// Where the view makes files ready before they get their name: in the upper, since a rename cannot leave its file system.
/// The view does not show it.
pub(super) const STAGING: &str = ".sitefs-staging";

/// Of a directory of archives that is made in the upper.
pub(super) const MODE: Mode = Mode::from_raw_mode(0o755);

/// Leaves the environment as it was before it was mounted, with what the user made in it. Only for who is alone with it.
/// Gives the paths of what was made real and then changed: it stays.
///
/// # Errors
/// A place that cannot be written. All else is undone all the same.
pub fn undo(root: &Path, state: &State) -> Result<Vec<PathBuf>> {
    if state.is_apart() {
        return state.remove_apart().map(|()| Vec::new());
    }
    let is_left = leave(root, state);
    let changed = place::undo(root, state)?;
    is_left.map(|()| changed)
}

/// The same for the upper alone. There is nothing to do where it was left as it should be, or is only read.
///
/// # Errors
/// A place that cannot be written.
pub fn leave(root: &Path, state: &State) -> Result<()> {
    let Some(record) = state.mount_record().filter(|record| record.link_mode == LinkMode::Fuse) else {
        return Ok(());
    };
    let Some((mounted_root, site_packages)) = split(&record.site_packages, root) else { return Ok(()) };
    let point = root.join(site_packages);
    if state.is_apart() || !place::exists(state) || mounts::at(&point)?.is_some() {
        return Ok(());
    }
    let failed = |errno: Errno| Error::new(format!("{} cannot be tidied up: {errno}", point.display()));
    let held = hold(root).map_err(failed)?;
    let open = |path: &Path| beneath::open(held.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY);
    let upper = match open(site_packages) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    let layers = record.distributions.iter().flat_map(|one| {
        let label = format!("{}=={}", one.name, one.version);
        let layers = one.layers.iter().map(|root| OutsideLayer { below: PathBuf::new(), root: root.clone() });
        layers.chain(one.outside.iter().cloned()).map(move |layer| (label.clone(), layer))
    });
    let layers: Vec<_> = layers.collect();
    sweep(upper.as_fd()).map_err(failed)?;
    let emptied = Emptied { upper: upper.as_fd(), whiteouts: &Whiteouts::open(state.open_whiteouts()?)? };
    let is_tidied = emptied.remove(Path::new(""), &layers).and_then(|()| {
        match state.bytecode().strip_prefix(root).map(open) {
            Ok(Ok(bytecode)) => give_back(bytecode.as_fd(), upper.as_fd(), Path::new("")),
            _ => Ok(()),
        }
    });
    let served = site_packages.join(OUTSIDE);
    let is_home = match beneath::place(held.as_fd(), &served).and_then(|place| place.check_directory()) {
        Err(Errno::NOENT) => Ok(()),
        _ => Home { mounted_root, environment: held.as_fd() }.bring(&served, Path::new("")),
    };
    is_tidied.and(is_home).map_err(failed)
}

/// Removes what was not finished.
pub(super) fn sweep(upper: BorrowedFd) -> Result<(), Errno> {
    let staging = Path::new(STAGING);
    let unfinished = match beneath::place(upper, staging)?.list() {
        Err(Errno::NOENT) => return Ok(()),
        listed => listed?,
    };
    for entry in unfinished {
        beneath::place(upper, &staging.join(entry.name))?.remove_file()?;
    }
    beneath::place(upper, staging)?.remove_directory()
}

/// Directories of archives that were made in the upper for what is gone again. They would import as empty packages.
struct Emptied<'a> {
    upper: BorrowedFd<'a>,
    whiteouts: &'a Whiteouts,
}

impl Emptied<'_> {
    fn remove(&self, path: &Path, layers: &[(String, OutsideLayer)]) -> Result<(), Errno> {
        let entries = match beneath::place(self.upper, path)?.list() {
            // Somebody has changed that, so it stays.
            Err(Errno::ACCESS) => return Ok(()),
            listed => listed?,
        };
        for entry in entries {
            if entry.file_type != FileType::Directory {
                continue;
            }
            let below = path.join(&entry.name);
            let shows = |label: &str, layer: &OutsideLayer| {
                layer.path(&below).is_some_and(|path| path.is_dir())
                    && !self.whiteouts.is_removed(label, &below)
            };
            let having: Vec<_> =
                layers.iter().filter(|(label, layer)| shows(label, layer)).cloned().collect();
            if having.is_empty() {
                continue;
            }
            self.remove(&below, &having)?;
            if !self.is_as_made(&below)? {
                continue;
            }
            match beneath::place(self.upper, &below)?.remove_directory() {
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl Emptied<'_> {
    /// Whether a directory is as the view makes it. What somebody has changed of it stays.
    fn is_as_made(&self, path: &Path) -> Result<bool, Errno> {
        let held = match beneath::open(self.upper, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::ACCESS) => return Ok(false),
            opened => opened?,
        };
        let (stat, upper) = (fstat(&held)?, fstat(self.upper)?);
        let mut names = Vec::with_capacity(LONGEST_NAMES);
        let has_attributes = match flistxattr(&held, spare_capacity(&mut names)) {
            // Those of security modules are not the user's.
            Ok(_) => names.split(|byte| *byte == 0).any(|name| name.starts_with(b"user.")),
            Err(_) => false,
        };
        let is_ours = (stat.st_uid, stat.st_gid) == (upper.st_uid, upper.st_gid);
        Ok(is_ours && stat.st_mode & 0o7777 == MODE.bits() && !has_attributes)
    }
}

/// What the user made in the directories that the mount served outside site-packages belongs there.
struct Home<'a> {
    /// Where the environment was when the links were made.
    mounted_root: &'a Path,
    environment: BorrowedFd<'a>,
}

impl Home<'_> {
    /// Moves what is in one directory to another: both paths are relative to the environment. The link that led here goes.
    /// What cannot be moved stays where it is, and does not keep the rest.
    fn bring(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let mut failure = None;
        for entry in beneath::place(self.environment, from)?.list()? {
            let (here, there) = (from.join(&entry.name), to.join(&entry.name));
            if let Err(errno) = self.bring_entry(entry.file_type, &here, &there) {
                failure.get_or_insert(errno);
            }
        }
        if let Some(errno) = failure {
            return Err(errno);
        }
        match beneath::place(self.environment, from)?.remove_directory() {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            removed => removed,
        }
    }

    fn bring_entry(&self, file_type: FileType, here: &Path, there: &Path) -> Result<(), Errno> {
        let (from, to) = (beneath::place(self.environment, here)?, beneath::place(self.environment, there)?);
        match to.look() {
            Err(Errno::NOENT) => {}
            Ok(Found::Symlink(target)) if target == self.mounted_root.join(here) => to.remove_file()?,
            Ok(Found::Other) if file_type == FileType::Directory && to.check_directory().is_ok() => {
                return self.bring(here, there);
            }
            // Somebody has put another in its place. Both stay where they are.
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        match renameat(&from.directory, from.name, &to.directory, to.name) {
            Err(Errno::ACCESS) if file_type == FileType::Directory => move_protected(&from, &to),
            // It would have to be copied. The next mount has it in its place again.
            Err(Errno::XDEV) => Ok(()),
            moved => moved,
        }
    }
}

/// Moves a directory that its owner may not write, and so may not move either.
fn move_protected(from: &Place, to: &Place) -> Result<(), Errno> {
    let held = beneath::directory(from.directory.as_fd(), from.name)?;
    let mode = Mode::from_raw_mode(fstat(&held)?.st_mode & 0o7777);
    // Source: proc(5), `/proc/self/fd`: what is held, whatever its name is by now.
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    chmodat(CWD, &path, mode | Mode::WUSR, AtFlags::empty())?;
    let moved = renameat(&from.directory, from.name, &to.directory, to.name);
    moved.and(chmodat(CWD, &path, mode, AtFlags::empty()))
}

/// The most bytes that the names of extended attributes have together.
///
/// Source: `XATTR_LIST_MAX` of <linux/limits.h>
const LONGEST_NAMES: usize = 65536;

/// Brings the bytecode of the environment's own modules back to them.
fn give_back(bytecode: BorrowedFd, upper: BorrowedFd, path: &Path) -> Result<(), Errno> {
    for entry in beneath::place(bytecode, path)?.list()? {
        let below = path.join(&entry.name);
        if entry.file_type != FileType::Directory {
            continue;
        }
        if entry.name == CACHE {
            for file in beneath::place(bytecode, &below)?.list()? {
                let Some(module) = module_of(&file.name) else { continue };
                let source = source_of(path, module);
                if beneath::place(upper, &source)?.look().is_ok() {
                    let to = beneath::place(upper, &below)?;
                    match mkdirat(&to.directory, to.name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno),
                    }
                    let file = below.join(&file.name);
                    let (from, to) = (beneath::place(bytecode, &file)?, beneath::place(upper, &file)?);
                    renameat(&from.directory, from.name, &to.directory, to.name)?;
                }
            }
        } else if beneath::place(upper, &below)?.check_directory().is_ok() {
            give_back(bytecode, upper, &below)?;
        }
    }
    Ok(())
}
