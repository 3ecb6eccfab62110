//! Paths by the directory that they are in: what is done there then walks its path once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// A directory, and what goes to it, in the order in which it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder<'a, T> {
    /// Its path.
    pub(super) path: &'a Path,
    /// The names in it, each with what belongs to it.
    pub(super) entries: Vec<(&'a Path, T)>,
}

impl<T> Folder<'_, T> {
    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Parents come before their children.
pub(super) fn by_folder<'a, T>(paths: impl Iterator<Item = (&'a Path, T)>) -> Vec<Folder<'a, T>> {
    // Compared as text, which is faster than by components.
    let mut folders: BTreeMap<&OsStr, Vec<(&Path, T)>> = BTreeMap::new();
    for (path, item) in paths {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            folders.entry(parent.as_os_str()).or_default().push((Path::new(name), item));
        }
    }
    folders.into_iter().map(|(path, entries)| Folder { path: Path::new(path), entries }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_one_directory_comes_together_and_parents_come_first() {
        let paths = ["b/y", "a", "b/c/z", "b/x"];
        let folders = by_folder(paths.iter().map(|path| (Path::new(*path), *path)));
        let told: Vec<(&str, Vec<&str>)> = folders
            .iter()
            .map(|folder| {
                (folder.path.to_str().unwrap(), folder.entries.iter().map(|(_, path)| *path).collect())
            })
            .collect();
        assert_eq!(told, [("", vec!["a"]), ("b", vec!["b/y", "b/x"]), ("b/c", vec!["b/c/z"])]);
    }
}
