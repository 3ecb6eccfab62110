//! The store, and folders of wheels as CACHE.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod prune;
mod race;
mod shared;
mod verify;
mod wheelhouse;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use common::{Outcome, Sandbox, WheelBuilder, age};

/// Has the sandbox's folder of wheels as CACHE, and in it these wheels; the lock pins them.
fn with_wheelhouse(mut test: Sandbox, wheels: &[WheelBuilder]) -> Sandbox {
    test.cache = test.root().join("wheelhouse");
    for wheel in wheels {
        wheel.build(&test.cache);
    }
    test.lock(&wheels.iter().map(WheelBuilder::pin).collect::<Vec<_>>().join("\n"));
    test.seal_cache();
    test
}

/// The store that a sandbox's sitefs uses.
fn store(test: &Sandbox) -> PathBuf {
    test.home().join(".cache/sitefs/store")
}

/// `sitefs cache ARGUMENTS`.
fn cache<S: AsRef<OsStr>>(test: &Sandbox, arguments: impl IntoIterator<Item = S>) -> Outcome {
    let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_os_string());
    test.sitefs(std::iter::once("cache".into()).chain(arguments))
}

/// The archives in a store.
fn archives(store: &Path) -> Vec<PathBuf> {
    let listed = |path: PathBuf| {
        fs_err::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let mut archives: Vec<PathBuf> = listed(store.join("wheels"))
        .into_iter()
        .flat_map(listed)
        .map(|place| place.join("archive"))
        .collect();
    archives.sort();
    archives
}

/// What writers left in a store.
fn leftovers(store: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(store.join("staging")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The leases on a store.
fn leases(store: &Path) -> Vec<PathBuf> {
    fs_err::read_dir(store.join("leases")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn greet() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n\ndef main():\n    print(word)\n")
        .data("scripts/hail", "#!python\nimport greet\nprint(greet.word)\n")
        .entry_point("console_scripts", "greet = greet:main")
}

fn other() -> WheelBuilder {
    WheelBuilder::new("other", "2.0").file("other.py", "word = 'other'\n")
}

const GREET: &str = "import greet; print(greet.word)";
