//! `sitefs mount --reset`: go back to the lock. What stands in the place of locked files is moved aside, not removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, mkdirat, renameat_with, statat};
use rustix::io::Errno;

use crate::cli::Verbosity;
use crate::error::{Error, Result};
use crate::python::bytecode::{CACHE, module_of};
use crate::python::record;
use crate::sys::posix::{FileType, OwnedFd};
use crate::sys::{beneath, hold};
use crate::venv::Layout;
use crate::venv::state::{DIRECTORY, State};
use crate::view::{self, Distribution, OUTSIDE, installed_name};

/// Where what is moved aside goes, each time into a directory of its own.
const ASIDE: &str = "set-aside";

/// Moves aside what hides files of these distributions, and what tells that they are removed. Only for who is alone with
/// the environment.
///
/// # Errors
/// A place that cannot be written. What was moved by then is where it is said to be.
pub(super) fn reset(
    layout: &Layout,
    state: &State,
    distributions: &[Distribution],
    verbosity: Verbosity,
) -> Result<()> {
    view::undo(&layout.root, state)?;
    let reset = Reset::new(layout)?;
    let mut hiding = BTreeSet::new();
    let failed = |errno: Errno| reset.failed("looked at", &layout.scheme.purelib, errno);
    reset.installed(distributions, &mut hiding)?;
    let layers: Vec<&Path> = distributions.iter().flat_map(|one| &one.layers).map(PathBuf::as_path).collect();
    reset.hiding(&layout.scheme.purelib, Path::new(""), &layers, &mut hiding).map_err(failed)?;
    for (name, layers) in outside(distributions) {
        let failed = |errno: Errno| reset.failed("looked at", name, errno);
        if beneath::place(reset.root.as_fd(), name).is_ok_and(|place| place.check_directory().is_ok()) {
            reset.hiding(Path::new(""), name, &layers, &mut hiding).map_err(failed)?;
        } else if reset.is_there(name) {
            hiding.insert(name.to_path_buf());
        }
    }
    let count = hiding.len();
    for path in &hiding {
        reset.move_aside(path)?;
    }
    if state.open_whiteouts()?.metadata()?.len() > 0 {
        reset.move_aside(&Path::new(DIRECTORY).join(state.whiteouts_name()))?;
    }
    if count > 0 {
        verbosity.note(format!(
            "{count} file{} that stood in the place of locked ones {} now in {}",
            if count == 1 { "" } else { "s" },
            if count == 1 { "is" } else { "are" },
            layout.root.join(&reset.aside).display()
        ));
    }
    Ok(())
}

/// What archives have outside site-packages, by its first name, each with those that have it.
fn outside(distributions: &[Distribution]) -> BTreeMap<&Path, Vec<&Path>> {
    let mut all: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for distribution in distributions {
        let data = distribution.outside.iter().filter(|layer| layer.below == Path::new(OUTSIDE));
        for layer in data {
            for name in &distribution.served {
                all.entry(Path::new(name)).or_default().push(&layer.root);
            }
        }
    }
    all
}

struct Reset<'a> {
    layout: &'a Layout,
    root: OwnedFd,
    /// Relative to the environment, as all paths here.
    aside: PathBuf,
}

impl<'a> Reset<'a> {
    fn new(layout: &'a Layout) -> Result<Self> {
        let root = hold(&layout.root).map_err(|errno| failed("opened", &layout.root, errno))?;
        let all = Path::new(DIRECTORY).join(ASIDE);
        let is_free = |number: &u32| {
            let path = all.join(number.to_string());
            matches!(beneath::place(root.as_fd(), &path).and_then(|place| place.look()), Err(Errno::NOENT))
        };
        let number = (1..).find(is_free).unwrap_or_default();
        Ok(Self { layout, aside: all.join(number.to_string()), root })
    }

    /// Adds what was installed in the place of a locked distribution, by its RECORD.
    fn installed(&self, distributions: &[Distribution], hiding: &mut BTreeSet<PathBuf>) -> Result<()> {
        let site_packages = &self.layout.scheme.purelib;
        for entry in self.list(site_packages)? {
            let is_locked = |name| distributions.iter().any(|one| one.archive.name == name);
            if entry.file_type != FileType::Directory || !installed_name(&entry.name).is_some_and(is_locked) {
                continue;
            }
            let info = site_packages.join(&entry.name);
            let lines = self.read(&info.join("RECORD")).and_then(|text| record::parse(&text).ok());
            for line in lines.unwrap_or_default() {
                if let Some(path) = normal(&site_packages.join(&line.path)).filter(|path| self.is_there(path))
                {
                    hiding.insert(path);
                }
            }
            for file in self.list(&info)? {
                hiding.insert(info.join(file.name));
            }
        }
        Ok(())
    }

    /// Adds what is below a directory of the environment where these layers have a file.
    fn hiding(
        &self,
        base: &Path,
        below: &Path,
        layers: &[&Path],
        hiding: &mut BTreeSet<PathBuf>,
    ) -> Result<(), Errno> {
        let directory = base.join(below);
        for entry in beneath::place(self.root.as_fd(), &directory)?.list()? {
            let path = below.join(&entry.name);
            let having: Vec<&Path> = layers
                .iter()
                .copied()
                .filter(|layer| fs_err::symlink_metadata(layer.join(&path)).is_ok())
                .collect();
            let is_directory = |layer: &&Path| layer.join(&path).is_dir();
            match entry.file_type {
                _ if having.is_empty() => {}
                FileType::Directory if having.iter().any(is_directory) => {
                    self.hiding(base, &path, &having, hiding)?;
                }
                _ => {
                    hiding.insert(directory.join(&entry.name));
                }
            }
        }
        Ok(())
    }

    /// Moves a file or a directory aside. Bytecode of a module goes, and directories that are empty then.
    fn move_aside(&self, path: &Path) -> Result<()> {
        let to = self.aside.join(path);
        self.make_directories(to.parent().unwrap_or(&self.aside))?;
        let moved = beneath::place(self.root.as_fd(), path).and_then(|from| {
            let to = beneath::place(self.root.as_fd(), &to)?;
            renameat_with(&from.directory, from.name, &to.directory, to.name, RenameFlags::NOREPLACE)
        });
        match moved {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.failed("moved aside", path, errno)),
        }
        let Some(directory) = path.parent() else { return Ok(()) };
        if path.extension() == Some(OsStr::new("py")) {
            let cache = directory.join(CACHE);
            for file in self.list(&cache)? {
                if module_of(&file.name) == path.file_stem() {
                    let _ = beneath::place(self.root.as_fd(), &cache.join(file.name))
                        .and_then(|it| it.remove_file());
                }
            }
            let _ = beneath::place(self.root.as_fd(), &cache).and_then(|place| place.remove_directory());
        }
        for above in directory.ancestors().take_while(|above| above.starts_with(&self.layout.scheme.purelib))
        {
            let is_site_packages = above == self.layout.scheme.purelib;
            let removed =
                || beneath::place(self.root.as_fd(), above).and_then(|place| place.remove_directory());
            if is_site_packages || removed().is_err() {
                break;
            }
        }
        Ok(())
    }

    fn make_directories(&self, path: &Path) -> Result<()> {
        let mut above: Vec<&Path> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        above.reverse();
        for directory in above {
            let made = beneath::place(self.root.as_fd(), directory)
                .and_then(|place| mkdirat(&place.directory, place.name, Mode::from_raw_mode(0o755)));
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.failed("made", directory, errno)),
            }
        }
        Ok(())
    }

    /// The entries of a directory; nothing where there is none.
    fn list(&self, path: &Path) -> Result<Vec<crate::sys::directory::Entry>> {
        match beneath::place(self.root.as_fd(), path).and_then(|place| place.list()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
            listed => listed.map_err(|errno| self.failed("listed", path, errno)),
        }
    }

    fn read(&self, path: &Path) -> Option<String> {
        let file = beneath::open(self.root.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        std::io::read_to_string(std::fs::File::from(file)).ok()
    }

    fn is_there(&self, path: &Path) -> bool {
        let stat = beneath::place(self.root.as_fd(), path)
            .and_then(|place| statat(&place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW));
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
    }

    fn failed(&self, what: &str, path: &Path, errno: Errno) -> Error {
        failed(what, &self.layout.root.join(path), errno)
    }
}

fn failed(what: &str, path: &Path, errno: Errno) -> Error {
    Error::new(format!("{} cannot be {what}: {errno}", path.display()))
}

/// A relative path without `..`; none where it leads out.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir if normal.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(normal)
}
