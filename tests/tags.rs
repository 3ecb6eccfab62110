//! What sitefs says of an interpreter equals what that interpreter and the `packaging` library say.
//!
//! For every Python on this machine, and with `packaging` from the package index.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails, fails the test")]

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use sitefs::venv::interpreter::Interpreter;

/// Run by an environment's own interpreter, with a folder that has `packaging` as argument.
const EXPECTED: &str = r#"
import itertools, json, os, sys, sysconfig
sys.path.insert(0, sys.argv[1])
import packaging
from packaging import markers, tags

def in_the_current_order(tags):
    # Before packaging 26.3, the newest for Python 3.8, `linux_*` came after manylinux and musllinux.
    if tuple(int(part) for part in packaging.__version__.split(".")[:2]) >= (26, 3):
        return list(tags)
    families = itertools.groupby(tags, lambda tag: (tag.interpreter, tag.abi, tag.platform == "any"))
    return [
        tag
        for _, family in families
        for tag in sorted(family, key=lambda tag: not tag.platform.startswith("linux_"))
    ]

environment = markers.default_environment()
environment["python_full_version"] = environment["python_full_version"].rstrip("+")
paths = sysconfig.get_paths()
scheme = {key: os.path.relpath(paths[key], sys.prefix) for key in ("purelib", "platlib", "scripts")}
scheme["headers"] = "include/site/python%d.%d" % sys.version_info[:2]
json.dump(
    {
        "packaging": packaging.__version__,
        "tags": [str(tag) for tag in in_the_current_order(tags.sys_tags())],
        "markers": environment,
        "scheme": scheme,
    },
    sys.stdout,
)
"#;

#[derive(Deserialize)]
struct Expected {
    packaging: String,
    tags: Vec<String>,
    markers: serde_json::Value,
    scheme: serde_json::Value,
}

#[test]
fn every_python_here_has_the_tags_markers_and_scheme_that_packaging_says() {
    let pythons = pythons();
    assert!(!pythons.is_empty(), "no Python 3.8 or newer was found on PATH or in pyenv");
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("memory");
    for (python, (major, minor)) in &pythons {
        let name = format!("{major}.{minor} ({})", python.display());
        let packaging = folder.path().join(format!("packaging-{major}.{minor}"));
        if !packaging.exists() {
            install_packaging(&pythons, &format!("{major}.{minor}"), &packaging);
        }
        let venv = tempfile::tempdir_in(&folder).unwrap();
        run(Command::new(python).args(["-m", "venv", "--without-pip"]).arg(venv.path()));

        let expected = expected(venv.path(), &packaging);
        for _asked_then_remembered in 0..2 {
            let actual = Interpreter::remembered_in(Some(&memory), venv.path()).unwrap();
            assert_eq!(actual.version, (*major, *minor), "{name}");
            assert_eq!(actual.tags.iter().collect::<Vec<_>>(), expected.tags, "{name}");
            assert_eq!(serde_json::to_value(&actual.markers).unwrap(), expected.markers, "{name}");
            assert_eq!(serde_json::to_value(&actual.scheme).unwrap(), expected.scheme, "{name}");
            assert!(venv.path().join(&actual.scheme.purelib).is_dir(), "{name}");
        }
        println!(
            "compared Python {name} with packaging {}: {} tags",
            expected.packaging,
            expected.tags.len()
        );
    }
}

/// Every Python 3.8 or newer of this machine, by its real path.
fn pythons() -> BTreeMap<PathBuf, (u32, u32)> {
    let is_python = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let minor = name.strip_prefix("python3").map(|rest| rest.trim_start_matches('.'));
        minor.is_some_and(|minor| minor.chars().all(|character| character.is_ascii_digit()))
    };
    folders()
        .iter()
        .filter_map(|folder| fs_err::read_dir(folder).ok())
        .flatten()
        .map(|file| file.unwrap().path())
        .filter(is_python)
        .filter_map(|path| identify(&path))
        .filter(|(_, version)| *version >= (3, 8))
        .collect()
}

/// The folders on PATH, and `bin` of every version of pyenv.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let pyenv = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")));
    if let Some(Ok(versions)) = pyenv.map(|root| fs_err::read_dir(root.join("versions"))) {
        folders.extend(versions.map(|version| version.unwrap().path().join("bin")));
    }
    folders
}

/// The real path and the version; `None` for what does not run, as pyenv's shims of versions that are not active.
fn identify(python: &Path) -> Option<(PathBuf, (u32, u32))> {
    let script =
        "import os, sys; print(sys.version_info[0], sys.version_info[1], os.path.realpath(sys.executable))";
    let output = Command::new(python).args(["-I", "-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut fields = text.trim_end().splitn(3, ' ');
    let version = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((PathBuf::from(fields.next()?), version))
}

/// Installs the newest `packaging` for a version of Python, with any Python that has pip: some have none.
fn install_packaging(pythons: &BTreeMap<PathBuf, (u32, u32)>, version: &str, target: &Path) {
    let has_pip = |python: &&PathBuf| {
        let output = Command::new(python).args(["-m", "pip", "--version"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let python = pythons.keys().rfind(has_pip).expect("no Python here has pip");
    run(Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--only-binary", ":all:", "--python-version", version, "--target"])
        .arg(target)
        .arg("packaging"));
}

fn expected(venv: &Path, packaging: &Path) -> Expected {
    let python = venv.join("bin/python");
    let text = run(Command::new(python).args(["-I", "-c", EXPECTED]).arg(packaging));
    serde_json::from_slice(&text).unwrap()
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
