//! Making placements real, and undoing them exactly.
//!
//! Files are finished in `.sitefs/staging/` first. Then `.sitefs/outside.json` is written with the size and time of
//! each, and only then are they moved to their places. So whatever moment a process is killed at, what is written down
//! tells our files from the user's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::{Content, Placement};
use crate::error::{Context, Error, Result};
use crate::python::PackageName;
use crate::venv::state::State;

const JOURNAL: &str = "outside.json";

/// What was put outside site-packages.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Journal {
    files: Vec<Placed>,
    directories: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Placed {
    path: PathBuf,
    distribution: PackageName,
    trace: Trace,
}

impl Placed {
    fn is_unchanged(&self, root: &Path) -> Result<bool> {
        Ok(trace(&root.join(&self.path))?.as_ref() == Some(&self.trace))
    }
}

/// What tells that a file is still as it was placed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Trace {
    Link(PathBuf),
    File { size: u64, seconds: i64, nanoseconds: i64 },
}

/// What placing came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Paths where the environment already had something of its own, which stays.
    pub kept: HashSet<PathBuf>,
}

/// Makes placements real below `root`. Of two for one path the later wins. What the environment already has stays.
///
/// # Errors
/// A disk that is full, a place that cannot be written; what was made until then is undone.
pub fn apply(root: &Path, state: &State, placements: &[(&PackageName, &Placement)]) -> Result<Applied> {
    undo(root, state)?;
    let applied = try_apply(root, state, placements);
    if applied.is_err() {
        undo(root, state)?;
    }
    applied
}

/// Removes what [`apply`] made, save what was changed since.
///
/// # Errors
/// A place that cannot be written.
pub fn undo(root: &Path, state: &State) -> Result<()> {
    remove_staging(state)?;
    let Some(journal) = state.load::<Journal>(JOURNAL) else {
        return Ok(());
    };
    for placed in &journal.files {
        if placed.is_unchanged(root)? {
            fs_err::remove_file(root.join(&placed.path))?;
        }
    }
    for directory in journal.directories.iter().rev() {
        match fs_err::remove_dir(root.join(directory)) {
            Err(error) if !is_absent(&error) && error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    state.remove(JOURNAL)
}

/// What [`apply`] made and was changed since: it is the user's now, and [`undo`] leaves it.
///
/// # Errors
/// A place that cannot be looked at.
pub fn changed(root: &Path, state: &State) -> Result<Vec<PathBuf>> {
    let journal = state.load::<Journal>(JOURNAL).unwrap_or_default();
    let mut changed = Vec::new();
    for placed in journal.files {
        if trace(&root.join(&placed.path))?.is_some() && !placed.is_unchanged(root)? {
            changed.push(placed.path);
        }
    }
    Ok(changed)
}

/// Whether there is something to undo.
pub fn exists(state: &State) -> bool {
    state.load::<Journal>(JOURNAL).is_some()
}

/// The paths that are placed now.
pub fn placed(state: &State) -> HashSet<PathBuf> {
    let journal = state.load::<Journal>(JOURNAL).unwrap_or_default();
    journal.files.into_iter().map(|placed| placed.path).collect()
}

/// The distribution that a path outside site-packages comes from, if it was placed there.
pub fn owner(state: &State, path: &Path) -> Option<PackageName> {
    let journal = state.load::<Journal>(JOURNAL)?;
    journal.files.into_iter().find(|placed| placed.path == path).map(|placed| placed.distribution)
}

fn try_apply(root: &Path, state: &State, placements: &[(&PackageName, &Placement)]) -> Result<Applied> {
    let (winners, kept) = winners(root, placements)?;
    let mut journal = Journal { files: Vec::new(), directories: missing_directories(root, &winners)? };
    let staging = state.staging();
    let mut staged = Vec::new();
    for (number, (distribution, placement)) in winners.into_iter().enumerate() {
        let unfinished = staging.join(number.to_string());
        let trace = match &placement.content {
            Content::Link(target) => Trace::Link(target.clone()),
            content => stage(content, &staging, &unfinished)?,
        };
        journal.files.push(Placed {
            path: placement.path.clone(),
            distribution: distribution.clone(),
            trace,
        });
        staged.push((placement, unfinished));
    }
    state.save(JOURNAL, &journal)?;
    for directory in &journal.directories {
        fs_err::create_dir(root.join(directory))?;
    }
    for (placement, unfinished) in staged {
        let path = root.join(&placement.path);
        match &placement.content {
            Content::Link(target) => symlink(target, &path),
            _ => renameat_with(CWD, &unfinished, CWD, &path, RenameFlags::NOREPLACE).map_err(io::Error::from),
        }
        .context(|| format!("{} cannot be made", path.display()))?;
    }
    remove_staging(state)?;
    Ok(Applied { kept })
}

type Winners<'a> = Vec<(&'a PackageName, &'a Placement)>;

/// One placement for each path, in the order of the paths, without those whose path is taken.
fn winners<'a>(
    root: &Path,
    placements: &[(&'a PackageName, &'a Placement)],
) -> Result<(Winners<'a>, HashSet<PathBuf>)> {
    let by_path: BTreeMap<_, _> = placements
        .iter()
        .map(|&(distribution, placement)| (&placement.path, (distribution, placement)))
        .collect();
    let mut winners = Vec::with_capacity(by_path.len());
    let mut kept = HashSet::new();
    for (path, winner) in by_path {
        if trace(&root.join(path))?.is_some() {
            kept.insert(path.clone());
        } else {
            winners.push(winner);
        }
    }
    Ok((winners, kept))
}

/// The directories that the placements need and that are not there, parents first. A link that leads out of the
/// environment is refused: what a wheel brings stays in the environment.
fn missing_directories(root: &Path, placements: &[(&PackageName, &Placement)]) -> Result<Vec<PathBuf>> {
    let mut missing = BTreeSet::new();
    let mut seen = HashSet::new();
    for (_, placement) in placements {
        for directory in placement.path.ancestors().skip(1).take_while(|path| !path.as_os_str().is_empty()) {
            if !seen.insert(directory.to_path_buf()) {
                break;
            }
            let path = root.join(directory);
            match fs_err::canonicalize(&path) {
                Ok(real) if !real.starts_with(root) => {
                    return Err(Error::new(format!(
                        "{} leads out of the environment, to {}",
                        path.display(),
                        real.display()
                    ))
                    .with_help("make it a directory of the environment"));
                }
                Ok(real) if !real.is_dir() => {
                    return Err(Error::new(format!(
                        "{} is in the way: it must be a directory",
                        path.display()
                    )));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.insert(directory.to_path_buf());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(missing.into_iter().collect())
}

fn stage(content: &Content, staging: &Path, unfinished: &Path) -> Result<Trace> {
    fs_err::create_dir_all(staging)?;
    match content {
        Content::Script(text) => {
            let mut options = fs_err::OpenOptions::new();
            fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o777);
            options.write(true).create_new(true).open(unfinished)?.write_all(text)?;
        }
        Content::Copy { from, executable } => {
            fs_err::copy(from, unfinished)?;
            let mode = fs_err::metadata(unfinished)?.permissions().mode();
            // A cache may be read-only; the copy is the user's own.
            let wanted = mode | 0o200 | if *executable { 0o111 } else { 0 };
            if wanted != mode {
                fs_err::set_permissions(unfinished, PermissionsExt::from_mode(wanted))?;
            }
        }
        Content::Link(_) => {}
    }
    trace(unfinished)?
        .ok_or_else(|| Error::new(format!("{} vanished while it was written", unfinished.display())))
}

fn trace(path: &Path) -> Result<Option<Trace>> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if metadata.is_symlink() {
        return Ok(Some(Trace::Link(fs_err::read_link(path)?)));
    }
    let (size, seconds, nanoseconds) = (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    Ok(Some(Trace::File { size, seconds, nanoseconds }))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn remove_staging(state: &State) -> Result<()> {
    match fs_err::remove_dir_all(state.staging()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        state: State,
        name: PackageName,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().canonicalize().unwrap();
            let state = State::of(&root);
            drop(state.try_lock().unwrap());
            Self { directory, state, name: PackageName::new("tool") }
        }

        fn root(&self) -> PathBuf {
            self.directory.path().canonicalize().unwrap()
        }

        fn apply(&self, placements: &[Placement]) -> Result<Applied> {
            let placements: Vec<_> = placements.iter().map(|placement| (&self.name, placement)).collect();
            apply(&self.root(), &self.state, &placements)
        }

        fn files(&self) -> Vec<PathBuf> {
            let root = self.root();
            walkdir::WalkDir::new(&root)
                .sort_by_file_name()
                .into_iter()
                .map(|entry| entry.unwrap().path().strip_prefix(&root).unwrap().to_path_buf())
                .filter(|path| !path.starts_with(".sitefs") && !path.as_os_str().is_empty())
                .collect()
        }
    }

    fn script(path: &str, text: &str) -> Placement {
        Placement { path: path.into(), source: None, content: Content::Script(text.into()) }
    }

    #[test]
    fn what_is_applied_is_undone_with_its_directories() {
        let scene = Scene::new();
        let link = Placement {
            path: "share/doc/tool/index".into(),
            source: None,
            content: Content::Link("/cache/index".into()),
        };
        scene.apply(&[script("bin/tool", "#!x"), link]).unwrap();
        assert_eq!(scene.files().len(), 6, "{:?}", scene.files());
        assert_eq!(owner(&scene.state, Path::new("bin/tool")).unwrap().as_str(), "tool");
        assert!(changed(&scene.root(), &scene.state).unwrap().is_empty());
        undo(&scene.root(), &scene.state).unwrap();
        assert_eq!(scene.files(), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_the_user_changed_stays_and_is_told() {
        let scene = Scene::new();
        scene.apply(&[script("bin/tool", "#!x")]).unwrap();
        fs_err::write(scene.root().join("bin/tool"), "mine").unwrap();
        assert_eq!(changed(&scene.root(), &scene.state).unwrap(), [PathBuf::from("bin/tool")]);
        undo(&scene.root(), &scene.state).unwrap();
        assert_eq!(fs_err::read_to_string(scene.root().join("bin/tool")).unwrap(), "mine");
    }

    #[test]
    fn what_the_environment_has_already_stays() {
        let scene = Scene::new();
        fs_err::create_dir(scene.root().join("bin")).unwrap();
        fs_err::write(scene.root().join("bin/tool"), "mine").unwrap();
        let applied = scene.apply(&[script("bin/tool", "#!x")]).unwrap();
        assert!(applied.kept.contains(Path::new("bin/tool")));
        undo(&scene.root(), &scene.state).unwrap();
        assert_eq!(fs_err::read_to_string(scene.root().join("bin/tool")).unwrap(), "mine");
    }

    #[test]
    fn a_place_that_leads_out_of_the_environment_is_refused_and_nothing_is_left() {
        let scene = Scene::new();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), scene.root().join("share")).unwrap();
        let error = scene.apply(&[script("bin/tool", "#!x"), script("share/tool", "x")]).unwrap_err();
        assert!(error.to_string().contains("leads out of the environment"), "{error}");
        assert_eq!(scene.files(), [PathBuf::from("share")]);
        assert_eq!(fs_err::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn applying_again_replaces_what_was_applied() {
        let scene = Scene::new();
        scene.apply(&[script("bin/old", "1"), script("bin/tool", "1")]).unwrap();
        scene.apply(&[script("bin/tool", "22")]).unwrap();
        assert_eq!(scene.files(), [PathBuf::from("bin"), PathBuf::from("bin/tool")]);
        assert_eq!(fs_err::read_to_string(scene.root().join("bin/tool")).unwrap(), "22");
    }
}
