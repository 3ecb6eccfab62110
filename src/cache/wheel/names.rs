//! The names in a wheel: where they may lead, and what they may not be at the same time.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::python::{PackageName, WheelName};
use crate::sys::posix;

/// Whether a path stays below the directory that it counts from, on every system.
pub(super) fn check(path: &str) -> Result<()> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    let is_relative = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let is_safe = path.split('/').all(is_plain) && is_relative && !path.contains(['\\', '\0']);
    if is_safe && !(cfg!(windows) && path.contains(':')) {
        return Ok(());
    }
    Err(Error::new(format!("the name `{}` in it is not safe to unpack", path.escape_debug())))
}

/// Whether no two paths would be one on a file system that does not tell upper from lower case, and none is both a file
/// and a directory.
pub(super) fn check_all<'a>(
    files: impl Iterator<Item = &'a str> + Clone,
    directories: &'a [String],
) -> Result<()> {
    let mut spellings: HashMap<String, &str> = HashMap::new();
    let mut remember = |path: &'a str| match spellings.insert(path.to_lowercase(), path) {
        Some(other) if other != path => {
            Err(Error::new(format!("`{other}` and `{path}` in it differ only by upper and lower case")))
        }
        _ => Ok(()),
    };
    let mut above = BTreeSet::new();
    let all = files.clone().chain(directories.iter().map(String::as_str));
    for path in all {
        remember(path)?;
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if !above.insert(parent) {
                break;
            }
            remember(parent)?;
            rest = parent;
        }
    }
    above.extend(directories.iter().map(String::as_str));
    match files.into_iter().find(|path| above.contains(path)) {
        Some(path) => Err(Error::new(format!("`{path}` in it is a file and a directory"))),
        None => Ok(()),
    }
}

/// The wheel's only dist-info directory, which is about the distribution that the wheel is named after.
pub(super) fn only_dist_info<'a>(files: impl Iterator<Item = &'a str>, name: &WheelName) -> Result<&'a str> {
    let top = files.filter_map(|path| path.split_once('/')).map(|(top, _)| top);
    let found: BTreeSet<&str> = top.filter(|top| top.ends_with(".dist-info")).collect();
    let mut found = found.into_iter();
    let dist_info = match (found.next(), found.next()) {
        (None, _) => return Err(Error::new("it has no *.dist-info directory")),
        (Some(one), Some(other)) => {
            let message = format!("it has two dist-info directories, `{one}` and `{other}`");
            return Err(Error::new(message));
        }
        (Some(one), None) => one,
    };
    let stem = dist_info.strip_suffix(".dist-info").unwrap_or(dist_info);
    let is_meant = stem.rsplit_once('-').is_some_and(|(stem_name, version)| {
        PackageName::new(stem_name) == name.name
            && version.parse().is_ok_and(|version: pep440_rs::Version| version == name.version)
    });
    if is_meant {
        return Ok(dist_info);
    }
    Err(Error::new(format!("it holds {stem}, and is named {} {}", name.name, name.version)))
}

/// The directories of an archive in the making.
pub(super) struct Directories<'a> {
    root: &'a Path,
    made: BTreeSet<PathBuf>,
}

impl<'a> Directories<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root, made: BTreeSet::from([PathBuf::new()]) }
    }

    /// Makes a directory and those above it.
    pub(super) fn make(&mut self, path: &Path) -> Result<()> {
        if self.made.contains(path) {
            return Ok(());
        }
        self.make(path.parent().unwrap_or(Path::new("")))?;
        fs_err::create_dir(self.root.join(path))?;
        self.made.insert(path.to_path_buf());
        Ok(())
    }

    /// Nothing can be made in them any more, and what was is on the disk.
    pub(super) fn seal(self) -> Result<()> {
        // What lies deeper comes later in the order of paths.
        for path in self.made.iter().rev() {
            let path = self.root.join(path);
            posix::sync_directory(&path)?;
            posix::set_mode(&path, 0o555)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_its_directory() {
        for path in ["a", "a/b.py", "a/..b", "a-1.data/data/x y", ".hidden/é"] {
            check(path).unwrap();
        }
        for path in ["", "/a", "a//b", "./a", "a/.", "../a", "a/../b", "a\\b", "..\\a", "a\0b", "C:\\a"] {
            assert!(check(path).is_err(), "{path}");
        }
    }

    #[test]
    fn no_two_names_are_one() {
        for (files, directories, reason) in [
            (&["a/B.py", "a/b.py"][..], &[][..], "upper and lower case"),
            (&["A/x.py", "a/y.py"], &[], "upper and lower case"),
            (&["a/É.py", "a/é.py"], &[], "upper and lower case"),
            (&["a", "a/b.py"], &[], "a file and a directory"),
            (&["a"], &["a"], "a file and a directory"),
        ] {
            let directories: Vec<String> = directories.iter().map(|path: &&str| (*path).to_owned()).collect();
            let error = check_all(files.iter().copied(), &directories).unwrap_err().to_string();
            assert!(error.contains(reason), "{files:?}: {error}");
        }
        check_all(["a/b/c.py", "a/b.py", "ab/c.py"].into_iter(), &["a".to_owned()]).unwrap();
    }
}
