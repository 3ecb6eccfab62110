//! uv.lock and pylock.toml: what is mounted of them is what uv installs from them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/uv.rs"]
#[allow(dead_code)]
mod tools;

mod bad_input;
mod defaults;
mod fetch;
mod install;
mod project;
mod pylock;
mod requirements;
mod settings;
mod sources;
mod uv_lock;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{WheelBuilder, assert_same, pythons};
use project::{Project, Seen};

/// The oldest and the newest of the Pythons that are here.
fn two_pythons() -> [PathBuf; 2] {
    let mut pythons = pythons();
    pythons.sort_by_key(|python| version(python));
    let [oldest, .., newest] = pythons.as_slice() else {
        panic!("these tests need two Pythons from 3.10 on, and there is {pythons:?}");
    };
    [oldest.clone(), newest.clone()]
}

/// The version of a Python as markers write it: `3.12`.
fn version(python: &std::path::Path) -> (u32, u32) {
    let code = "import sys; print(sys.version_info[0], sys.version_info[1])";
    let output = std::process::Command::new(python).args(["-I", "-c", code]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (major, minor) = text.trim().split_once(' ').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// A marker that only the newest Python fulfils.
fn newest_only() -> String {
    let [_, newest] = two_pythons();
    let (major, minor) = version(&newest);
    format!("python_version >= '{major}.{minor}'")
}

/// Each of these lines is a set of options. uv installs with each, then sitefs mounts with each: both do the same, or
/// both fail with the same words of uv's. `rows` says what is expected of each, so that neither does nothing.
fn are_the_same(
    project: &Project,
    lock: &str,
    rows: &[(&str, &str)],
    install: impl Fn(&[&str]) -> Result<Seen, String>,
) {
    let words: Vec<Vec<&str>> =
        rows.iter().map(|(options, _)| options.split_whitespace().collect()).collect();
    let installed: Vec<_> = words.iter().map(|options| install(options)).collect();
    project.test.seal_cache();
    for ((options, installed), (row, expected)) in words.iter().zip(installed).zip(rows) {
        let mounted = project.mount(lock, options);
        match (installed, mounted) {
            (Ok(installed), Ok(mounted)) => {
                assert_eq!(installed.list, mounted.list, "{lock} with {row:?}");
                let expected: BTreeSet<String> = expected.split_whitespace().map(str::to_owned).collect();
                assert_eq!(names(&mounted), expected, "{lock} with {row:?}");
                assert_same(
                    &format!("{lock} {row:?} installed"),
                    &installed.tree,
                    &format!("{lock} {row:?} mounted"),
                    &mounted.tree,
                );
            }
            (Err(installed), Err(mounted)) => {
                assert!(!expected.is_empty() && installed.contains(expected), "uv with {row:?}: {installed}");
                assert!(mounted.contains(expected), "sitefs with {row:?}: {mounted}");
            }
            (installed, mounted) => {
                panic!("{lock} with {row:?}\n  uv: {}\n  sitefs: {}", shown(installed), shown(mounted));
            }
        }
    }
}

fn shown(seen: Result<Seen, String>) -> String {
    seen.map_or_else(|error| error, |seen| format!("{:?}", names(&seen)))
}

/// `alpha-1.0`, and `-editable` where it is.
fn names(seen: &Seen) -> BTreeSet<String> {
    let list: serde_json::Value = serde_json::from_str(&seen.list).unwrap();
    let shown = |one: &serde_json::Value| {
        let editable = if one["editable_project_location"].is_string() { "-editable" } else { "" };
        format!("{}-{}{editable}", one["name"].as_str().unwrap(), one["version"].as_str().unwrap())
    };
    list.as_array().unwrap().iter().map(shown).collect()
}

/// A wheel with one module, and these requirements.
fn wheel(name: &str, version: &str, requirements: &[&str]) -> WheelBuilder {
    let wheel =
        WheelBuilder::new(name, version).file(&format!("{name}.py"), format!("version = '{version}'\n"));
    requirements.iter().fold(wheel, |wheel, requirement| wheel.requires(requirement))
}
