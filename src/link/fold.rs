//! One link for a whole directory, where that is safe.
//!
//! A path that climbs with `..` out of a linked directory comes out in the cache, not in the environment. Python does not
//! climb so, but the dynamic loader does: it looks for libraries in `$ORIGIN/../../other/lib`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::elf;
use crate::error::Result;
use crate::parallel::parallel;
use crate::place::directories_above;
use crate::view::{Leaf, LeafContent, Whole};

/// Puts whole directories in the place of their leaves, as high as is safe: one archive has all of it, it belongs to a
/// regular package, no library in it reaches out of its archive, and nothing of the user's is there, as `is_free` tells.
///
/// # Errors
/// What `is_free` says.
pub(super) fn fold(
    leaves: Vec<Leaf>,
    whole: &BTreeMap<PathBuf, Whole>,
    is_free: impl Fn(&Path) -> Result<bool>,
) -> Result<Vec<Leaf>> {
    let packages = Packages::of(&leaves);
    let real = must_be_real(&leaves, whole);
    let used = directories_above(leaves.iter().map(|leaf| leaf.path.as_path()));
    let mut folded: HashSet<&Path> = HashSet::new();
    let mut last: Option<&Path> = None;
    for directory in whole.keys().map(PathBuf::as_path) {
        if last.is_none_or(|last| !directory.starts_with(last))
            && used.contains(directory)
            && !real.contains(directory)
            && packages.contain(directory)
            && is_free(directory)?
        {
            folded.insert(directory);
            last = Some(directory);
        }
    }
    let linked = whole.iter().filter(|(path, _)| folded.contains(path.as_path()));
    let directories = linked.map(|(path, whole)| Leaf {
        path: path.clone(),
        distribution: whole.distribution.clone(),
        content: LeafContent::Directory(whole.directory.clone()),
    });
    let directories: Vec<Leaf> = directories.collect();
    let is_kept = |leaf: &Leaf| !leaf.path.ancestors().any(|path| folded.contains(path));
    Ok(leaves.into_iter().filter(is_kept).chain(directories).collect())
}

/// The directories above libraries that reach out of their archive: on each, `..` must stay in the environment.
fn must_be_real(leaves: &[Leaf], whole: &BTreeMap<PathBuf, Whole>) -> HashSet<PathBuf> {
    let files: Vec<(&Path, &Path, &Whole)> = leaves
        .iter()
        .filter_map(|leaf| match &leaf.content {
            LeafContent::File(file) => {
                Some((leaf.path.as_path(), file.as_path(), whole.get(leaf.path.parent()?)?))
            }
            _ => None,
        })
        .filter(|(path, _, _)| may_be_library(path))
        .collect();
    let reaches_out = parallel(&files, |(path, file, own)| match elf::search_paths(file) {
        Ok(paths) => paths.iter().any(|entry| match destination(path, entry) {
            Destination::Near => false,
            Destination::Directory(to) => whole.get(&to).is_none_or(|whole| whole.layer != own.layer),
            Destination::Unknown => true,
        }),
        // What cannot be read may reach anywhere.
        Err(_) => true,
    });
    let out = files.iter().zip(reaches_out).filter(|(_, reaches_out)| *reaches_out);
    out.flat_map(|((path, _, _), _)| path.ancestors().skip(1).map(Path::to_path_buf)).collect()
}

/// Python's own files are most of all, and nothing loads them as a library.
fn may_be_library(path: &Path) -> bool {
    !path.extension().is_some_and(|it| it == "py" || it == "pyi" || it == "pyc")
}

/// Where a search path of a library leads.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    /// To a place that a link above the library does not change: below the library, or absolute.
    Near,
    /// By way of `..` to this directory of site-packages.
    Directory(PathBuf),
    /// By way of `..` out of site-packages, or it depends.
    Unknown,
}

/// Source: ld.so(8), "Dynamic string tokens".
fn destination(library: &Path, entry: &str) -> Destination {
    let rest = ["$ORIGIN", "${ORIGIN}"].iter().find_map(|origin| entry.strip_prefix(origin));
    let rest = match rest {
        Some(rest) if (rest.is_empty() || rest.starts_with('/')) && !rest.contains('$') => rest,
        None if !entry.contains('$') => return Destination::Near,
        _ => return Destination::Unknown,
    };
    let mut at = library.parent().unwrap_or(Path::new("")).to_path_buf();
    let (mut climbed, mut descended) = (false, false);
    for component in Path::new(rest).components() {
        match component {
            Component::Normal(name) => {
                at.push(name);
                descended = true;
            }
            // What lies below may be a link itself.
            Component::ParentDir if descended || !at.pop() => return Destination::Unknown,
            Component::ParentDir => climbed = true,
            _ => {}
        }
    }
    if climbed { Destination::Directory(at) } else { Destination::Near }
}

/// What tells regular packages, which one distribution fills, from namespaces, to which the user may add another: a link
/// would take that into the cache.
struct Packages<'a> {
    /// The `__init__` file of each directory that has one.
    inits: HashMap<&'a Path, &'a LeafContent>,
}

impl<'a> Packages<'a> {
    fn of(leaves: &'a [Leaf]) -> Self {
        let is_init = |leaf: &&Leaf| {
            leaf.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"__init__."))
        };
        let inits = leaves.iter().filter(is_init);
        Self { inits: inits.filter_map(|leaf| Some((leaf.path.parent()?, &leaf.content))).collect() }
    }

    /// Whether a directory is one of a regular package, or below one, or has a name that cannot be imported.
    fn contain(&self, directory: &Path) -> bool {
        directory.ancestors().filter(|path| !path.as_os_str().is_empty()).any(|path| {
            let is_name = path.file_name().and_then(|name| name.to_str()).is_some_and(is_identifier);
            !is_name || self.inits.get(path).is_some_and(|init| !is_namespace(init))
        })
    }
}

/// Source: <https://docs.python.org/3/reference/lexical_analysis.html#identifiers>
fn is_identifier(name: &str) -> bool {
    name.chars().all(|char| char == '_' || char.is_alphanumeric())
        && !name.starts_with(|char: char| char.is_numeric())
}

/// The namespaces of before PEP 420: `pkgutil.extend_path` and `pkg_resources.declare_namespace`.
fn is_namespace(init: &LeafContent) -> bool {
    let LeafContent::File(file) = init else { return false };
    if file.extension().is_none_or(|extension| extension != "py") {
        return false;
    }
    let Ok(text) = fs_err::read(file) else { return true };
    [&b"extend_path"[..], b"declare_namespace"].iter().any(|word| memchr::memmem::find(&text, word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(entry: &str) -> Destination {
        destination(Path::new("nvidia/cusparse/lib/libcusparse.so.12"), entry)
    }

    #[test]
    fn a_search_path_that_does_not_climb_is_no_matter() {
        for entry in
            ["", "$ORIGIN", "${ORIGIN}/", "$ORIGIN/./deep/er", "/usr/lib", "../lib", "lib/../../other"]
        {
            assert_eq!(leads(entry), Destination::Near, "{entry}");
        }
    }

    #[test]
    fn a_search_path_that_climbs_leads_to_another_directory() {
        let to = |path: &str| Destination::Directory(path.into());
        assert_eq!(leads("$ORIGIN/../../nvjitlink/lib"), to("nvidia/nvjitlink/lib"));
        assert_eq!(leads("${ORIGIN}/.././"), to("nvidia/cusparse"));
        assert_eq!(leads("$ORIGIN/../../.."), to(""));
    }

    #[test]
    fn what_leads_out_of_site_packages_or_depends_is_unknown() {
        for entry in [
            "$ORIGIN/../../../../lib",
            "$ORIGIN/../$LIB",
            "/opt/$ORIGIN",
            "$ORIGINAL",
            "$ORIGIN/deep/../../up",
        ] {
            assert_eq!(leads(entry), Destination::Unknown, "{entry}");
        }
    }

    #[test]
    fn names_that_cannot_be_imported_are_no_namespaces() {
        let contains = |name: &str| Packages::of(&[]).contain(Path::new(name));
        assert!(contains("numpy.libs") && contains("mpl-data") && contains("3d"));
        assert!(!contains("google") && !contains("google/cloud") && !contains("größe"));
        assert!(contains("numpy.libs/deep"));
    }
}
