//! Random operations by system calls, on a mounted view and on a plain directory that has the same files.
//!
//! `SITEFS_SEQUENCES` says how many sequences of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rustix::io::Errno;

use crate::common::operations::{Directory, Flag, Identities, Operation, sequences};
use crate::common::{Outcome, Sandbox, WheelBuilder};

const WHEELS: [(&str, &[&str]); 2] = [
    ("one", &["pkg/__init__.py", "pkg/a.py", "pkg/sub/b.py", "alone/a.py"]),
    ("two", &["pkg/b.py", "pkg/sub/a.py", "pkg/sub/deep/c.py", "single.py"]),
];

const KNOWN: &[&str] = &[
    "pkg",
    "pkg/a.py",
    "pkg/b.py",
    "pkg/sub",
    "pkg/sub/a.py",
    "pkg/sub/b.py",
    "pkg/sub/deep",
    "pkg/sub/deep/c.py",
    "alone",
    "alone/a.py",
    "single.py",
    "own",
    "own/c.py",
    "new",
    "new/a.py",
    "one-1.0.dist-info",
    "one-1.0.dist-info/INSTALLER",
];

const LONGEST: usize = 80;

/// An environment that is mounted, and what it should show.
struct Scene {
    test: Sandbox,
    kind: &'static str,
    mounted: Directory,
    reference: Directory,
    /// The directories of archives: they cannot be renamed.
    archived: BTreeSet<PathBuf>,
    identities: Identities,
}

impl Scene {
    fn new(kind: &'static str) -> Option<Self> {
        let wheel = |(name, files): (&str, &[&str])| {
            files.iter().fold(WheelBuilder::new(name, "1.0"), |wheel, file| wheel.file(file, file))
        };
        let test = Sandbox::with_fuse()?.with_wheels(WHEELS.map(wheel));
        fs_err::create_dir(test.site_packages().join("own")).unwrap();
        fs_err::write(test.site_packages().join("own/c.py"), "own").unwrap();
        test.mount_with(&["--entries", kind]).succeeds();
        let plain = test.root().join("plain");
        Outcome::of(Command::new("cp").arg("-a").arg(test.site_packages()).arg(&plain)).succeeds();
        let (mounted, reference) = (Directory::new(&test.site_packages()), Directory::new(&plain));
        let of = |(name, files): &(&str, &[&str])| -> Vec<PathBuf> {
            let above = |file: &&str| Path::new(file).ancestors().skip(1).map(Path::to_path_buf).collect();
            let above = files.iter().flat_map(|file| -> Vec<PathBuf> { above(file) });
            above.chain([format!("{name}-1.0.dist-info").into()]).collect()
        };
        let archived = WHEELS.iter().flat_map(of).filter(|path| !path.as_os_str().is_empty()).collect();
        Some(Self { test, kind, mounted, reference, archived, identities: Identities::new() })
    }

    fn apply(&mut self, operation: &Operation) {
        if matches!(operation, Operation::Remount) {
            self.remount();
        }
        let told = self.mounted.apply(operation);
        if let Operation::Rename(from, to, flag) = operation {
            let is_archived =
                self.archived.contains(from) || (*flag == Flag::Exchange && self.archived.contains(to));
            if is_archived && told == Err(Errno::XDEV) {
                return;
            }
        }
        assert_eq!(told, self.reference.apply(operation), "{operation:?}");
        if let Operation::RemoveDirectory(path) | Operation::Rename(_, path, _) = operation
            && told.is_ok()
        {
            self.archived.remove(path);
        }
    }

    fn remount(&mut self) {
        // Who holds files open keeps the mount.
        self.reference.apply(&Operation::Remount).unwrap();
        self.mounted = Directory::new(&self.test.root());
        self.test.unmount().succeeds();
        self.test.mount_with(&["--entries", self.kind]).succeeds();
        self.mounted = Directory::new(&self.test.site_packages());
        self.identities = Identities::new();
    }

    fn compare(&mut self) {
        // The time of a directory of archives in which the user has nothing does not outlive a mount.
        let expected = self.reference.snapshot().without_times_of_directories();
        let seen = self.mounted.snapshot().without_times_of_directories();
        let differences = expected.differences(&seen);
        assert!(differences.is_empty(), "{differences}");
        self.identities.check(&expected, &seen);
    }
}

fn run(kind: &'static str) {
    let number = std::env::var("SITEFS_SEQUENCES").map_or(1, |number| number.parse().expect("a number"));
    let mut runner = TestRunner::deterministic();
    for _ in 0..number {
        let operations = sequences(KNOWN, LONGEST).new_tree(&mut runner).unwrap().current();
        let Some(mut scene) = Scene::new(kind) else { return };
        for (done, operation) in operations.iter().enumerate() {
            eprintln!("{done}: {operation:?}");
            scene.apply(operation);
            scene.compare();
        }
        scene.remount();
        scene.compare();
    }
}

#[test]
fn a_mount_behaves_as_a_plain_directory_with_links_as_entries() {
    run("symlink");
}

#[test]
fn a_mount_behaves_as_a_plain_directory_with_files_as_entries() {
    run("file");
}
