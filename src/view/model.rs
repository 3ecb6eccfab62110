//! Random sequences of operations, cut at random steps, beside a plain directory that has the same files.
//!
//! `SITEFS_SEQUENCES` says how many.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use tempfile::TempDir;

use super::crash::Crash;
use super::{
    Attributes, Changes, Distribution, Entries, Failure, Handle, NewTime, NodeId, Replacing, View, Whiteouts,
};
use crate::cache::Archive;
use crate::outside::Planned;
use crate::python::PackageName;
use crate::python::bytecode::CACHE;
use crate::sys::directory;
use crate::sys::identity::Owner;
use crate::venv::state::State;
use crate::venv::{Layout, Scheme};

mod mounted;
#[expect(unreachable_pub, clippy::indexing_slicing, reason = "tests of mounts share it")]
#[path = "../../tests/common/operations.rs"]
mod operations;

use mounted::Mounted;
use operations::{
    ATTRIBUTE, Directory, Entry, Flag, Identities, Operation, SLOTS, Snapshot, Told, sequences,
};

/// What each archive has, lowest first: directories that several have, files that hide files and directories.
const ARCHIVES: [(&str, &[&str]); 3] = [
    ("one", &["pkg/__init__.py", "pkg/a.py", "pkg/sub/b.py", "pkg/file/hidden.py", "alone/a.py"]),
    ("two", &["pkg/b.py", "pkg/sub/a.py", "pkg/file", "single.py"]),
    ("three", &["pkg/sub/deep/c.py", "pkg/a.py", "only/x"]),
];

/// What the environment's own site-packages has at first.
const OWN: [&str; 3] = ["own/c.py", "pkg/sub/own.py", "pkg/b.py"];

const KNOWN: &[&str] = &[
    "pkg",
    "pkg/a.py",
    "pkg/b.py",
    "pkg/sub",
    "pkg/sub/a.py",
    "pkg/sub/b.py",
    "pkg/sub/own.py",
    "pkg/sub/deep",
    "pkg/sub/deep/c.py",
    "pkg/file",
    "alone",
    "alone/a.py",
    "single.py",
    "only",
    "only/x",
    "own",
    "own/c.py",
    "new",
    "new/a.py",
    "own/d",
    "pkg/__pycache__",
    "pkg/__pycache__/a.cpython-311.pyc",
    "own/__pycache__",
    "one-1.0.dist-info",
    "one-1.0.dist-info/INSTALLER",
];

/// Runs as the owner of all there is.
fn us() -> Owner {
    Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
}

/// Archives, an upper and a journal on disk, and the reference.
struct Scene {
    root: TempDir,
    entries: Entries,
}

impl Scene {
    fn new(entries: Entries) -> Self {
        // In memory where that can be: copying up waits for the disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let scene = Self { root: tempfile::tempdir_in(folder).unwrap(), entries };
        for (name, files) in ARCHIVES {
            let dist_info = format!("{name}-1.0.dist-info");
            for file in files.iter().map(ToString::to_string).chain([format!("{dist_info}/METADATA")]) {
                scene.write(&Path::new(name).join(&file), &format!("{name}'s {file}"));
            }
            scene.write(&Path::new(name).join(dist_info).join("RECORD"), "");
        }
        for file in OWN {
            scene.write(&Path::new("venv/site-packages").join(file), &format!("own {file}"));
        }
        scene.make_reference();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        fs_err::canonicalize(self.root.path()).unwrap().join(name)
    }

    fn write(&self, path: &Path, text: &str) {
        let path = self.root.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }

    /// The same files as an installer would lay them down, one archive after the other.
    fn make_reference(&self) {
        let leaf = |name: &str, file: &str, is_own: bool| {
            let (from, to) = (self.path(name).join(file), self.path("reference").join(file));
            let is_link = !is_own && matches!(self.entries, Entries::Symlink);
            if to.is_dir() {
                fs_err::remove_dir_all(&to).unwrap();
            }
            let _ = fs_err::remove_file(&to);
            fs_err::create_dir_all(to.parent().unwrap()).unwrap();
            if is_link { symlink(from, to).unwrap() } else { fs_err::copy(from, to).map(drop).unwrap() }
        };
        for (name, files) in ARCHIVES {
            files.iter().for_each(|file| leaf(name, file, false));
            let dist_info = format!("{name}-1.0.dist-info");
            leaf(name, &format!("{dist_info}/METADATA"), false);
            let generated = [
                ("INSTALLER", "sitefs".to_owned()),
                ("REQUESTED", String::new()),
                (
                    "RECORD",
                    format!(
                        "{dist_info}/INSTALLER,sha256=nlLuG2BoAg8NKeYeuZmSZNIrZnCrg9zj3I6W3UuOMJg,6\n\
                         {dist_info}/REQUESTED,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
                    ),
                ),
            ];
            for (file, text) in generated {
                self.write(&Path::new("reference").join(&dist_info).join(file), &text);
            }
        }
        OWN.iter().for_each(|file| leaf("venv/site-packages", file, true));
    }

    /// The view as a new server would have it, which is killed when so many steps were taken.
    fn open(&self, steps: &Arc<AtomicI64>) -> View {
        let site_packages = PathBuf::from("site-packages");
        let scheme = Scheme {
            purelib: site_packages.clone(),
            platlib: site_packages,
            scripts: "bin".into(),
            headers: "include".into(),
        };
        let layout = Layout { root: self.path("venv"), scheme, python_version: (3, 11) };
        let distributions = ARCHIVES.iter().map(|(name, _)| {
            let archive = Archive {
                name: PackageName::new(name),
                version: "1.0".to_owned(),
                root: self.path(name),
                top_level: directory::list(CWD, &self.path(name)).unwrap(),
                dist_info: format!("{name}-1.0.dist-info"),
                data: None,
                entry_points: None,
                direct_url: None,
                generated: Vec::new(),
            };
            Distribution::new(archive, Planned::default(), &layout, self.entries)
        });
        let distributions = distributions.collect();
        let upper = fs_err::File::open(layout.site_packages()).unwrap().into_file();
        let journal =
            File::options().create(true).read(true).append(true).open(self.path("journal")).unwrap();
        let whiteouts = Whiteouts::open(journal).unwrap();
        let mut view = View::new(distributions, Some(upper.into()), whiteouts, layout).unwrap();
        fs_err::create_dir_all(self.path("venv/.sitefs")).unwrap();
        view.keep_bytecode(&State::of(&self.path("venv"))).unwrap();
        view.sweep().unwrap();
        let crash = Crash::after(Arc::clone(steps));
        view.whiteouts.get_mut().crash = crash.clone();
        view.upper.as_mut().unwrap().crash = crash;
        view
    }
}

impl View {
    /// The kernel holds what it has looked up.
    fn lookup_again(&self, node: NodeId) {
        assert!(self.remember(node));
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err takes")]
fn told(failure: Failure) -> Errno {
    failure.errno
}

fn is_cache(path: &Path) -> bool {
    path.ends_with(CACHE)
}

/// A directory that gets the name of one for bytecode keeps its files, but not its mode.
fn is_known_limit(operation: &Operation) -> bool {
    matches!(operation, Operation::Rename(_, to, _) if is_cache(to))
}

/// The directories that an archive has: they cannot be renamed.
fn archived_directories() -> BTreeSet<PathBuf> {
    let of = |(name, files): &(&str, &[&str])| -> Vec<PathBuf> {
        let dist_info = PathBuf::from(format!("{name}-1.0.dist-info"));
        let parents =
            |file: &&str| Path::new(file).ancestors().skip(1).map(Path::to_path_buf).collect::<Vec<_>>();
        files.iter().flat_map(parents).chain([dist_info]).collect()
    };
    let hidden = [PathBuf::new(), PathBuf::from("pkg/file")];
    ARCHIVES.iter().flat_map(of).filter(|path| !hidden.contains(path)).collect()
}

/// A view and its reference, and what was found out about them.
struct Pair {
    scene: Scene,
    steps: Arc<AtomicI64>,
    view: Mounted,
    reference: Directory,
    archived: BTreeSet<PathBuf>,
    identities: Identities,
    /// After a cut, the time of a directory may be that of the cut.
    are_times_lost: bool,
}

const NEVER: i64 = i64::MAX;

impl Pair {
    fn new(entries: Entries) -> Self {
        let scene = Scene::new(entries);
        let steps = Arc::new(AtomicI64::new(NEVER));
        let view = Mounted::new(scene.open(&steps));
        let reference = Directory::new(&scene.path("reference"));
        Self {
            scene,
            steps,
            view,
            reference,
            archived: archived_directories(),
            identities: Identities::new(),
            are_times_lost: false,
        }
    }

    fn reopen(&mut self) {
        self.steps.store(NEVER, Ordering::SeqCst);
        self.view = Mounted::new(self.scene.open(&self.steps));
        self.identities = Identities::new();
    }

    /// Does an operation on both.
    fn apply(&mut self, operation: &Operation) {
        if matches!(operation, Operation::Remount) {
            self.reopen();
        }
        if is_known_limit(operation) {
            return;
        }
        let told = self.view.apply(operation);
        if self.is_refused(operation, &told) {
            return;
        }
        assert_eq!(told, self.reference.apply(operation), "{operation:?}");
        self.note(operation, told.is_ok());
    }

    /// Whether a directory of archives was to be renamed: if it could be in the reference, it is EXDEV.
    fn is_refused(&self, operation: &Operation, told: &Result<Told, Errno>) -> bool {
        let Operation::Rename(from, to, flag) = operation else { return false };
        let is_archived =
            self.archived.contains(from) || (*flag == Flag::Exchange && self.archived.contains(to));
        let is_bytecode = *flag == Flag::Exchange && (is_cache(from) || is_cache(to));
        assert!(is_archived || is_bytecode || *told != Err(Errno::XDEV), "{operation:?} is EXDEV");
        assert!(
            !is_archived || from == to || told.is_err(),
            "{operation:?} has renamed a directory of archives"
        );
        *told == Err(Errno::XDEV)
    }

    fn note(&mut self, operation: &Operation, is_done: bool) {
        if let Operation::RemoveDirectory(path) | Operation::Rename(_, path, _) = operation
            && is_done
        {
            self.archived.remove(path);
        }
    }

    /// Kills the server before each step of an operation in turn. A new one finds all as it was before, or as it is after.
    fn cut(&mut self, operation: &Operation) {
        if is_known_limit(operation) {
            return;
        }
        let before = self.reference.snapshot().without_times_of_directories();
        self.are_times_lost = true;
        // What is open does not outlive a server.
        self.reference.apply(&Operation::Remount).unwrap();
        for steps in 0.. {
            self.reopen();
            self.steps.store(steps, Ordering::SeqCst);
            let told = self.view.apply(operation);
            let was_cut = self.steps.load(Ordering::SeqCst) < 0;
            self.reopen();
            let seen = self.view.snapshot().without_times_of_directories();
            if was_cut && seen.entries == before.entries {
                assert!(steps < 40, "{operation:?} never ends");
                continue;
            }
            if !self.is_refused(operation, &told) {
                let expected = self.reference.apply(operation);
                if !was_cut {
                    assert_eq!(told, expected, "{operation:?}");
                }
                self.note(operation, expected.is_ok());
            }
            let after = self.reference.snapshot().without_times_of_directories();
            let differences = after.differences(&seen);
            assert!(
                differences.is_empty(),
                "{operation:?}, cut before step {steps}, is neither as before nor as after:\n{differences}"
            );
            // Slots of the two must agree again.
            self.reference.apply(&Operation::Remount).unwrap();
            return;
        }
    }

    fn compare(&mut self) {
        let (mut seen, mut expected) = (self.view.snapshot(), self.reference.snapshot());
        if self.are_times_lost {
            (seen, expected) = (seen.without_times_of_directories(), expected.without_times_of_directories());
        }
        let differences = expected.differences(&seen);
        assert!(differences.is_empty(), "{differences}");
        self.identities.check(&expected, &seen);
    }
}

fn sequences_to_run() -> u32 {
    std::env::var("SITEFS_SEQUENCES")
        .map_or(30, |number| number.parse().expect("SITEFS_SEQUENCES is a number"))
}

/// Whether all is compared after each operation, which looks at every directory, or at the end only.
#[derive(Clone, Copy, Debug)]
enum Compared {
    Always,
    AtTheEnd,
}

fn run(cut_one_in: u8) {
    let entries = || prop::sample::select(vec![Entries::Symlink, Entries::File]);
    let compared = prop::sample::select(vec![Compared::Always, Compared::AtTheEnd]);
    let step = (any::<prop::sample::Index>(), 0..cut_one_in);
    let steps = proptest::collection::vec(step, 40)
        .prop_map(|steps| steps.into_iter().map(|(_, cut)| cut == 1).collect::<Vec<_>>());
    let config = Config {
        cases: sequences_to_run(),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(
        &(entries(), compared, sequences(KNOWN, 40), steps),
        |(entries, compared, operations, cuts)| {
            let mut pair = Pair::new(entries);
            for (operation, is_cut) in operations.iter().zip(cuts) {
                if is_cut {
                    pair.cut(operation);
                } else {
                    pair.apply(operation);
                }
                if matches!(compared, Compared::Always) {
                    pair.compare();
                }
            }
            pair.compare();
            pair.reopen();
            pair.compare();
            Ok(())
        },
    );
    outcome.unwrap();
}

#[test]
fn a_view_behaves_as_a_plain_directory_with_the_same_files() {
    // A choice of one has no 1, so nothing is cut.
    run(1);
}

#[test]
fn a_server_that_is_killed_at_any_step_leaves_each_operation_done_or_not_done() {
    run(2);
}
