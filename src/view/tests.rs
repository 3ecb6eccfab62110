//! Changes of a view, and what is left of them when they are cut at any point.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rustix::fs::{CWD, FileType};
use tempfile::TempDir;

use super::crash::Crash;
use super::{Changes, Distribution, Entries, Failure, NodeId, Replacing, View, Whiteouts};
use crate::cache::Archive;
use crate::outside::Planned;
use crate::python::PackageName;
use crate::sys::directory;
use crate::sys::identity::Owner;
use crate::venv::{Layout, Scheme};

const US: Owner = Owner { user: 0, group: 0 };

/// An archive, an upper and a journal on disk.
struct Scene {
    root: TempDir,
    entries: Entries,
}

impl Scene {
    fn new(entries: Entries) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("archive/pkg/__init__.py", "init"),
            ("archive/pkg/a.py", "a"),
            ("archive/pkg/sub/b.py", "b"),
            ("archive/pkg-1.0.dist-info/METADATA", "Name: pkg"),
            ("archive/pkg-1.0.dist-info/RECORD", "pkg/a.py,,\n"),
            ("venv/lib/python3.11/site-packages/own/c.py", "c"),
        ] {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        Self { root, entries }
    }

    /// The view as a new server would have it.
    fn open(&self) -> View {
        let path = |name: &str| fs_err::canonicalize(self.root.path()).unwrap().join(name);
        let archive = Archive {
            name: PackageName::new("pkg"),
            version: "1.0".to_owned(),
            root: path("archive"),
            top_level: directory::list(CWD, &path("archive")).unwrap(),
            dist_info: "pkg-1.0.dist-info".to_owned(),
            data: None,
            entry_points: None,
            direct_url: None,
            generated: Vec::new(),
        };
        let site_packages = PathBuf::from("lib/python3.11/site-packages");
        let scheme = Scheme {
            purelib: site_packages.clone(),
            platlib: site_packages,
            scripts: "bin".into(),
            headers: "include/site/python3.11".into(),
        };
        let layout = Layout { root: path("venv"), scheme, python_version: (3, 11) };
        let upper = fs_err::File::open(layout.site_packages()).unwrap().into_file();
        let journal =
            File::options().create(true).read(true).append(true).open(path("venv/whiteouts")).unwrap();
        let distribution = Distribution::new(archive, Planned::default(), &layout, self.entries);
        let whiteouts = Whiteouts::open(journal).unwrap();
        let view = View::new(vec![distribution], Some(upper.into()), whiteouts, layout).unwrap();
        view.sweep().unwrap();
        view
    }

    /// The same, which is killed before its step of this number.
    fn open_to_crash(&self, steps: i64) -> View {
        let mut view = self.open();
        let crash = Crash::after(Arc::new(AtomicI64::new(steps)));
        view.whiteouts.get_mut().crash = crash.clone();
        view.upper.as_mut().unwrap().crash = crash;
        view
    }
}

/// All that a view shows: paths, with what files hold and where links lead.
fn tree(view: &View) -> BTreeMap<PathBuf, String> {
    fn walk(view: &View, directory: NodeId, path: &Path, tree: &mut BTreeMap<PathBuf, String>) {
        for listed in view.entries(directory, 0).unwrap() {
            let path = path.join(&listed.name);
            let text = match listed.file_type {
                FileType::Directory => {
                    walk(view, listed.node, &path, tree);
                    "/".to_owned()
                }
                FileType::Symlink => view.read_link(listed.node).unwrap().into_string().unwrap(),
                _ => String::from_utf8(view.read(listed.node, None, 0, 4096).unwrap()).unwrap(),
            };
            tree.insert(path, text);
        }
    }
    let mut found = BTreeMap::new();
    walk(view, NodeId::ROOT, Path::new(""), &mut found);
    found
}

fn find(view: &View, path: &str) -> NodeId {
    let find = |at, name| view.lookup(at, name).unwrap().unwrap().node;
    Path::new(path).iter().fold(NodeId::ROOT, find)
}

/// The directory of a path, and its name there.
fn at<'a>(view: &View, path: &'a str) -> (NodeId, &'a OsStr) {
    let path = Path::new(path);
    (find(view, path.parent().unwrap().to_str().unwrap()), path.file_name().unwrap())
}

type Act = fn(&View) -> Result<(), Failure>;

const ACTS: &[(&str, Act)] = &[
    ("unlink of an archive's file", |view| {
        let (directory, name) = at(view, "pkg/a.py");
        view.remove_leaf(directory, name)
    }),
    ("create in an archive's directory", |view| {
        let (directory, name) = at(view, "pkg/sub/new.py");
        view.create(directory, name, 0o644, US).map(drop)
    }),
    ("mkdir", |view| view.make_directory(NodeId::ROOT, OsStr::new("d"), 0o755, US).map(drop)),
    ("rename of an archive's file", |view| {
        view.rename(at(view, "pkg/a.py"), at(view, "own/a.py"), Replacing::Allowed)
    }),
    ("rename over an archive's file", |view| {
        view.rename(at(view, "own/c.py"), at(view, "pkg/a.py"), Replacing::Allowed)
    }),
    ("exchange", |view| view.rename(at(view, "own/c.py"), at(view, "pkg/a.py"), Replacing::Exchange)),
    ("hard link", |view| {
        let (directory, name) = at(view, "own/linked.py");
        view.link(find(view, "pkg/a.py"), directory, name).map(drop)
    }),
];

#[test]
fn a_change_that_is_cut_has_happened_or_has_not() {
    for entries in [Entries::Symlink, Entries::File] {
        for (name, act) in ACTS {
            for steps in 0.. {
                let scene = Scene::new(entries);
                let before = tree(&scene.open());
                let crashed = scene.open_to_crash(steps);
                let result = act(&crashed);
                let seen = tree(&crashed);
                drop(crashed);
                let after = tree(&scene.open());
                if result.is_ok() {
                    assert_eq!(after, seen, "{name} is remembered");
                    assert_ne!(after, before, "{name} has an effect");
                    break;
                }
                assert_eq!(after, before, "{name}, cut before step {steps}");
                assert!(steps < 20, "{name} never succeeds: {result:?}");
            }
        }
    }
}

#[test]
fn what_is_written_to_an_archives_file_goes_to_the_upper() {
    let scene = Scene::new(Entries::File);
    let view = scene.open();
    let node = find(&view, "pkg/a.py");
    view.write(node, None, 1, b"bc").unwrap();
    assert_eq!(find(&view, "pkg/a.py"), node);
    drop(view);
    assert_eq!(tree(&scene.open()).get(Path::new("pkg/a.py")).unwrap(), "abc");
    assert_eq!(fs_err::read(scene.root.path().join("archive/pkg/a.py")).unwrap(), b"a");
}

#[test]
fn a_directory_made_where_one_was_removed_is_empty() {
    let scene = Scene::new(Entries::Symlink);
    let view = scene.open();
    let sub = find(&view, "pkg/sub");
    view.remove_leaf(sub, OsStr::new("b.py")).unwrap();
    let (directory, name) = at(&view, "pkg/sub");
    view.remove_directory(directory, name).unwrap();
    view.make_directory(directory, name, 0o755, US).unwrap();
    for view in [view, scene.open()] {
        assert!(view.entries(find(&view, "pkg/sub"), 0).unwrap().is_empty());
    }
}

#[test]
fn a_directory_of_an_archive_is_not_renamed() {
    let scene = Scene::new(Entries::Symlink);
    let view = scene.open();
    let error = view.rename(at(&view, "pkg/sub"), at(&view, "pkg/other"), Replacing::Allowed).unwrap_err();
    assert_eq!(error.errno, rustix::io::Errno::XDEV);
}

#[test]
fn a_file_that_was_removed_while_in_use_can_be_read_and_written() {
    let scene = Scene::new(Entries::File);
    let view = scene.open();
    for path in ["pkg/a.py", "own/c.py"] {
        let node = find(&view, path);
        let (directory, name) = at(&view, path);
        view.remove_leaf(directory, name).unwrap();
        view.write(node, None, 1, b"!").unwrap();
        assert_eq!(view.read(node, None, 1, 9).unwrap(), b"!");
        assert_eq!(view.attributes(node).unwrap().links, 0);
        view.forget(node, u64::MAX);
        assert!(view.attributes(node).is_err(), "{path} is freed");
    }
}

#[test]
fn attributes_of_an_archives_file_change_in_the_upper() {
    let scene = Scene::new(Entries::File);
    let view = scene.open();
    let node = find(&view, "pkg/a.py");
    let changes = Changes { mode: Some(0o600), size: Some(0), ..Changes::default() };
    let changed = view.change(node, None, changes).unwrap();
    assert_eq!((changed.mode, changed.size), (0o600, 0));
    assert_eq!(fs_err::read(scene.root.path().join("archive/pkg/a.py")).unwrap(), b"a");
}

#[test]
fn a_hard_link_that_is_found_when_all_known_names_are_gone_is_the_same_file() {
    let scene = Scene::new(Entries::Symlink);
    let site_packages = scene.root.path().join("venv/lib/python3.11/site-packages");
    fs_err::create_dir(site_packages.join("other")).unwrap();
    fs_err::hard_link(site_packages.join("own/c.py"), site_packages.join("other/c.py")).unwrap();
    let view = scene.open();
    let node = find(&view, "own/c.py");
    let (directory, name) = at(&view, "own/c.py");
    view.remove_leaf(directory, name).unwrap();
    assert_eq!(find(&view, "other/c.py"), node);
    view.rename(at(&view, "other/c.py"), at(&view, "own/d.py"), Replacing::Allowed).unwrap();
    assert_eq!(find(&view, "own/d.py"), node);
}

#[test]
fn the_time_of_a_directory_tells_of_what_was_removed_and_not_of_copying_up() {
    let scene = Scene::new(Entries::File);
    let view = scene.open();
    let modified = |path: &str| view.attributes(find(&view, path)).unwrap().modified;
    let before = ["", "pkg", "pkg/sub"].map(modified);
    view.write(find(&view, "pkg/sub/b.py"), None, 0, b"changed").unwrap();
    assert_eq!(["", "pkg", "pkg/sub"].map(modified), before);
    let (directory, name) = at(&view, "pkg/a.py");
    view.remove_leaf(directory, name).unwrap();
    assert!(modified("pkg") > before[1]);
    let (directory, name) = at(&view, "pkg-1.0.dist-info/METADATA");
    let before = modified("pkg-1.0.dist-info");
    view.remove_leaf(directory, name).unwrap();
    assert!(modified("pkg-1.0.dist-info") > before);
}

/// A look that began before it vanished ends after one that missed it, and does not bring it back.
#[test]
fn what_vanished_stays_so_whoever_looks_at_the_same_time() {
    let scene = Scene::new(Entries::Symlink);
    let view = scene.open();
    let (archive, away) = (scene.root.path().join("archive"), scene.root.path().join("away"));
    let is_done = AtomicBool::new(false);
    assert!(view.lookup(NodeId::ROOT, OsStr::new("pkg")).is_ok());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    view.look_for_vanished();
                }
            });
        }
        for round in 0..500 {
            fs_err::rename(&archive, &away).unwrap();
            view.look_for_vanished();
            let seen = (0..20).any(|_| view.lookup(NodeId::ROOT, OsStr::new("pkg")).is_ok());
            fs_err::rename(&away, &archive).unwrap();
            is_done.store(seen || round == 499, Ordering::Release);
            assert!(!seen, "it was seen in round {round}");
        }
    });
}
