//! Folders as values that can be compared.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file and the digest of its bytes.
    File(String),
    /// A symbolic link and its target: one that leads nowhere, or any where links are not followed.
    Link(PathBuf),
}

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
}

/// Every path below a folder, relative to it.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// The folder as a program sees it: links are followed. `read` may leave a path out (`None`) or change the bytes of a
/// file before they are compared, for what is allowed to differ.
pub fn tree(root: &Path, read: impl Fn(&Path, Vec<u8>) -> Option<Vec<u8>>, leave_out: &[&str]) -> Tree {
    let mut tree = Tree::new();
    let walk = WalkDir::new(root).min_depth(1).follow_links(true).into_iter();
    for found in walk.filter_entry(|entry| !leave_out.iter().any(|name| entry.file_name() == *name)) {
        let (path, metadata) = match &found {
            Ok(entry) => (entry.path(), entry.metadata().ok()),
            Err(error) => (error.path().unwrap_or(root), None),
        };
        let relative = path.strip_prefix(root).unwrap_or(path).to_path_buf();
        let entry = match metadata {
            Some(metadata) if metadata.is_dir() => {
                Entry { kind: Kind::Directory, mode: metadata.permissions().mode() & 0o7777 }
            }
            Some(metadata) => {
                let bytes = fs_err::read(path).unwrap_or_else(|error| panic!("{error}"));
                let Some(bytes) = read(&relative, bytes) else {
                    continue;
                };
                Entry { kind: Kind::File(digest(&bytes)), mode: metadata.permissions().mode() & 0o7777 }
            }
            None => Entry {
                kind: Kind::Link(
                    fs_err::read_link(path).unwrap_or_else(|error| panic!("cannot read: {error}")),
                ),
                mode: 0,
            },
        };
        tree.insert(relative, entry);
    }
    tree
}

/// The folder as it lies on the disk: every name, mode, link target and byte.
pub fn exact_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    for found in WalkDir::new(root) {
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        let kind = if found.file_type().is_symlink() {
            Kind::Link(fs_err::read_link(found.path()).unwrap())
        } else if found.file_type().is_dir() {
            Kind::Directory
        } else {
            Kind::File(digest(&fs_err::read(found.path()).unwrap()))
        };
        let mode = found.metadata().unwrap().permissions().mode();
        let relative = found.path().strip_prefix(root).unwrap().to_path_buf();
        tree.insert(relative, Entry { kind, mode });
    }
    tree
}

/// The environment, what may differ set aside: who installed, the order, digests and mode of RECORD, the environment's
/// own path, and the lock that uv leaves at its root.
pub fn comparable(venv: &Path) -> Tree {
    let own_path = venv.as_os_str().as_encoded_bytes();
    let read = |path: &Path, bytes: Vec<u8>| match name_in_dist_info(path) {
        Some("INSTALLER") => Some(Vec::new()),
        Some("RECORD") => Some(recorded_paths(&bytes)),
        _ if path == Path::new(".lock") => None,
        _ => Some(replaced(&bytes, own_path, b"VENV")),
    };
    let mut tree = tree(venv, read, &["__pycache__", ".sitefs", "lib64"]);
    for (path, entry) in &mut tree {
        if name_in_dist_info(path) == Some("RECORD") {
            entry.mode = 0;
        }
    }
    tree
}

fn name_in_dist_info(path: &Path) -> Option<&str> {
    let is_in_dist_info = path.parent().and_then(Path::extension) == Some(OsStr::new("dist-info"));
    path.file_name().and_then(OsStr::to_str).filter(|_| is_in_dist_info)
}

fn recorded_paths(record: &[u8]) -> Vec<u8> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(record);
    let paths: BTreeSet<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
    paths.into_iter().filter(|path| !path.contains("__pycache__")).collect::<Vec<_>>().join("\n").into_bytes()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    // A large file is no script, and no script is large.
    if bytes.len() > 1 << 16 {
        return bytes.to_vec();
    }
    let (mut result, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(&first) = rest.first() {
        match rest.strip_prefix(from) {
            Some(tail) => {
                result.extend_from_slice(to);
                rest = tail;
            }
            None => {
                result.push(first);
                rest = &rest[1..];
            }
        }
    }
    result
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Panics with the first ten differences, if there are any.
#[track_caller]
pub fn assert_same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    left_name: &str,
    left: &BTreeMap<K, V>,
    right_name: &str,
    right: &BTreeMap<K, V>,
) {
    let keys: BTreeSet<&K> = left.keys().chain(right.keys()).collect();
    let describe = |value: Option<&V>| value.map_or(Cow::from("absent"), |value| format!("{value:?}").into());
    let differences: Vec<String> = keys
        .into_iter()
        .filter(|key| left.get(key) != right.get(key))
        .map(|key| {
            let (left, right) = (describe(left.get(key)), describe(right.get(key)));
            format!("{key:?}\n    {left_name}: {left}\n    {right_name}: {right}")
        })
        .collect();
    let shown = differences.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("\n");
    let count = differences.len();
    assert!(count == 0, "{count} differences between {left_name} and {right_name}, the first:\n{shown}");
}

/// Has a file or directory be so old.
pub fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    fs_err::File::open(path).unwrap().set_modified(then).unwrap();
}

/// Changes a byte of a file that is read-only, and neither its size nor its time.
pub fn corrupt(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let modified = fs_err::metadata(path).unwrap().modified().unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    fs_err::write(path, bytes).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o444)).unwrap();
    fs_err::File::open(path).unwrap().set_modified(modified).unwrap();
}
