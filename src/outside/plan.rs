//! What a distribution puts outside site-packages, and where. Nothing is written here.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::OUTSIDE;
use super::scripts::{has_python_line, launcher, rewritten};
use crate::cache::Archive;
use crate::elf::search_paths;
use crate::error::{Context, Error, Result};
use crate::place::{Content, LinkMode, Placement};
use crate::python::record::slashed;
use crate::python::{EntryPoint, entry_points};
use crate::sys::posix::is_executable;
use crate::venv::{Layout, state};

/// What an archive puts outside site-packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// What is made real in the environment.
    pub placements: Vec<Placement>,
    /// The names in the environment for which a mounted view serves what the archive has: directories, mostly.
    pub served: Vec<String>,
    /// Whether it serves programs among the archive's scripts.
    pub programs: bool,
}

/// What an archive puts outside site-packages: launchers of its entry points, and its `.data` directory's `scripts`,
/// `data` and `headers`.
///
/// # Errors
/// An entry point or a file that would leave its place or take the interpreter's; an archive that cannot be read.
pub fn plan(archive: &Archive, layout: &Layout, mode: LinkMode) -> Result<Planned> {
    let Planned { mut placements, mut served, mut programs } = Planned::default();
    let mut entry_points = parsed_entry_points(archive)?;
    if archive.name.as_str() == "pip" {
        name_pip_after(layout.python_version, &mut entry_points);
    }
    let commands: HashSet<&str> = entry_points.iter().map(|entry_point| entry_point.name.as_str()).collect();
    let bin = &layout.scheme.scripts;
    // There a command is a program of its own, of which sitefs has none to copy.
    for entry_point in entry_points.iter().filter(|_| !cfg!(windows)) {
        let content = Content::Bytes { bytes: launcher(entry_point, &layout.python()), executable: true };
        placements.push(Placement {
            path: bin.join(&entry_point.name),
            distribution: Some(archive.name.clone()),
            source: None,
            content,
        });
    }
    if let Some(data) = &archive.data {
        let data = Data { archive, name: data, layout, mode };
        data.check_parts()?;
        served = data.served()?;
        let scripts = data.scripts(&commands)?;
        programs = scripts.iter().any(|script| matches!(script.content, Content::Symlink(_)));
        placements.extend(scripts);
        let data_files = data.files("data", |name| served.iter().any(|served| name == served.as_str()))?;
        placements.extend(data.below("data", data_files, Path::new(""))?);
        let headers = layout.scheme.headers.join(archive.name.as_str());
        placements.extend(data.below("headers", data.files("headers", |_| false)?, &headers)?);
    }
    Ok(Planned { placements, served, programs })
}

fn parsed_entry_points(archive: &Archive) -> Result<Vec<EntryPoint>> {
    let path = archive.root.join(&archive.dist_info).join("entry_points.txt");
    let parsed = archive.entry_points.as_deref().map_or(Ok(Vec::new()), entry_points::parse);
    parsed.context(|| format!("{archive} cannot be used: {}", path.display()))
}

/// pip's wheel is made by one Python and used by all: installers drop its `pip3.N` and make that of the running one.
///
/// Source: <https://github.com/pypa/pip/issues/3786>
fn name_pip_after((major, minor): (u32, u32), entry_points: &mut Vec<EntryPoint>) {
    entry_points.retain(|entry_point| !entry_point.name.starts_with("pip3."));
    if let Some(versioned) = entry_points.iter().find(|entry_point| entry_point.name == "pip3").cloned() {
        entry_points.push(EntryPoint { name: format!("pip{major}.{minor}"), ..versioned });
    }
}

/// The `.data` directory of an archive.
struct Data<'a> {
    archive: &'a Archive,
    name: &'a str,
    layout: &'a Layout,
    mode: LinkMode,
}

impl Data<'_> {
    /// A part that no installer knows is refused, as uv does: its files would go nowhere.
    fn check_parts(&self) -> Result<()> {
        for part in fs_err::read_dir(self.archive.root.join(self.name))? {
            let part = part?.file_name();
            if !["data", "headers", "platlib", "purelib", "scripts"].iter().any(|known| part == *known) {
                return Err(
                    self.refused(Path::new(&part), "it is none of data, headers, platlib, purelib, scripts")
                );
            }
        }
        Ok(())
    }

    /// What a mount serves of `data`: all but the directories that an environment has anyway.
    fn served(&self) -> Result<Vec<String>> {
        if self.mode != LinkMode::Fuse {
            return Ok(Vec::new());
        }
        let entries = match fs_err::read_dir(self.root("data")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut served = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string().ok();
            served.extend(name.filter(|name| !IN_PLACE.contains(&name.as_str())));
        }
        served.sort_unstable();
        Ok(served)
    }

    /// `scripts`: each is a file of its own in `bin/`, or, of a mount, a link to one that it serves: a program finds its
    /// libraries from its real path. A wheel's launcher for its own entry point is passed over for ours.
    fn scripts(&self, commands: &HashSet<&str>) -> Result<Vec<Placement>> {
        let mut placements = Vec::new();
        for file in self.files("scripts", |_| false)? {
            let Some(name) = file.to_str().filter(|_| file.components().count() == 1) else {
                return Err(self.refused(&file, "scripts must be files, directly below it"));
            };
            let command = [".exe", "-script.py", ".pya"].iter().find_map(|suffix| name.strip_suffix(suffix));
            if commands.contains(command.unwrap_or(name)) {
                continue;
            }
            let from = self.root("scripts").join(name);
            let content = if has_python_line(&from)? {
                let bytes = rewritten(&fs_err::read(&from)?, &self.layout.python());
                Content::Bytes { bytes, executable: true }
            } else if self.mode == LinkMode::Fuse && may_be_elsewhere(&from)? {
                let served = self.layout.site_packages().join(OUTSIDE);
                Content::Symlink(served.join(&self.layout.scheme.scripts).join(name))
            } else {
                Content::Copy { from, executable: true }
            };
            placements.push(self.placement(
                "scripts",
                &file,
                self.layout.scheme.scripts.join(name),
                content,
            )?);
        }
        Ok(placements)
    }

    /// `data` or `headers`: links to the archive's files, save programs and what lies in `etc/`. Programs find their
    /// libraries from their real path; configuration is there to be edited, and an edit must not reach the cache.
    /// What goes to site-packages is a layer of the view instead.
    fn below(&self, part: &str, files: Vec<PathBuf>, destination: &Path) -> Result<Vec<Placement>> {
        let mut placements = Vec::new();
        for file in files {
            let path = destination.join(&file);
            if self.layout.site_packages_names().iter().any(|name| path.starts_with(name)) {
                continue;
            }
            let from = self.root(part).join(&file);
            let executable = is_executable(&fs_err::metadata(&from)?);
            let content = if executable || path.starts_with("etc") {
                Content::Copy { from, executable }
            } else {
                self.mode.content(from)
            };
            placements.push(self.placement(part, &file, path, content)?);
        }
        Ok(placements)
    }

    /// All files below a part, relative to it, sorted, without what is left out, or is in a directory of it that is.
    fn files(&self, part: &str, is_left_out: impl Fn(&OsStr) -> bool) -> Result<Vec<PathBuf>> {
        let root = self.root(part);
        let mut files = Vec::new();
        let is_in = |entry: &DirEntry| entry.depth() != 1 || !is_left_out(entry.file_name());
        for entry in WalkDir::new(&root).sort_by_file_name().into_iter().filter_entry(is_in) {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => files.extend(entry.path().strip_prefix(&root).map(Path::to_path_buf)),
                Err(error) if error.depth() == 0 && is_not_found(&error) => break,
                Err(error) => return Err(self.refused(Path::new(part), &error.to_string())),
            }
        }
        Ok(files)
    }

    fn placement(&self, part: &str, file: &Path, path: PathBuf, content: Content) -> Result<Placement> {
        if path.components().any(|component| !matches!(component, Component::Normal(_))) {
            return Err(self.refused(file, "it would leave the environment"));
        }
        if path.starts_with(state::DIRECTORY) {
            return Err(self.refused(file, "it would replace what sitefs keeps of the environment"));
        }
        let command = path.strip_prefix(&self.layout.scheme.scripts).ok().and_then(Path::to_str);
        if command.is_some_and(entry_points::is_reserved) {
            return Err(self.refused(file, "it would replace the environment's interpreter"));
        }
        let source = file.to_str().map(|_| slashed(&Path::new(self.name).join(part).join(file)));
        Ok(Placement { path, distribution: Some(self.archive.name.clone()), source, content })
    }

    fn root(&self, part: &str) -> PathBuf {
        self.archive.root.join(self.name).join(part)
    }

    fn refused(&self, file: &Path, why: &str) -> Error {
        let path = self.archive.root.join(self.name).join(file);
        Error::new(format!("{} cannot be used: {}: {why}", self.archive, path.display()))
    }
}

/// What an environment has of its own, or sitefs in it.
const IN_PLACE: [&str; 8] = ["Include", "Lib", "Scripts", "bin", "include", "lib", "lib64", state::DIRECTORY];

/// Whether a program can be reached through a link: it looks for no library from where it is.
fn may_be_elsewhere(program: &Path) -> Result<bool> {
    let is_as_it_must_be = is_executable(&fs_err::metadata(program)?);
    let looks_around = |paths: Vec<String>| paths.iter().any(|path| path.contains("ORIGIN"));
    Ok(is_as_it_must_be && search_paths(program).is_ok_and(|paths| !looks_around(paths)))
}

fn is_not_found(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
