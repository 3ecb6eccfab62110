//! What uv builds with settings, which it keeps apart from what it builds without.

use std::path::Path;

use crate::fetch::fetched;
use crate::project::Project;
use crate::tools::Uv;
use crate::{are_the_same, two_pythons};

const PROJECT: &str = "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"lib\", \"plain\", \"index-sdist\"]\n\
                       [tool.uv.workspace]\nmembers = [\"lib\"]\n\
                       [tool.uv.sources]\nlib = {workspace = true}\nplain = {path = \"../plain\"}\n";

const SETTINGS: &str = "config-settings = {flavour = \"sweet\", parts = [\"a\", \"b\"]}\n\
                        config-settings-package = {plain = {flavour = \"sour\", parts = \"c\"}, Lib = {more = \"\"}}\n\
                        extra-build-variables = {lib = {FLAVOUR = \"bitter\"}, index-sdist = {X = \"1\", A = \"2\"}}\n";

/// A project, a member, a folder and a source archive, all built without settings already.
fn project(python: &Path) -> Project {
    let project = Project::new(python)
        .package(".", "app", PROJECT)
        .package("lib", "lib", "version = \"1.0\"\nrequires-python = \">=3.10\"\n")
        .package("../plain", "plain", "version = \"1.0\"\nrequires-python = \">=3.10\"\n");
    let maker = Uv::new("0.13.9");
    let built = maker.build("index-sdist", "1.0", "sdist");
    fs_err::copy(&built, project.test.root().join("wheels").join(built.file_name().unwrap())).unwrap();
    project.uv(&["lock"]).succeeds();
    project.sync(&[]).unwrap();
    project.sync(&["--no-editable"]).unwrap();
    project
}

const ALL: &str = "app-1.0-editable lib-1.0-editable plain-1.0 index-sdist-1.0";

fn rows() -> [(&'static str, String); 3] {
    [
        ("", ALL.to_owned()),
        ("--no-editable", ALL.replace("-editable", "")),
        ("--no-install-workspace", "plain-1.0 index-sdist-1.0".to_owned()),
    ]
}

fn same_as_uv(project: &Project) {
    // When uv has just built an sdist, it writes a file more than when it has it in its cache.
    project.sync(&[]).unwrap();
    let rows = rows();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(options, expected)| (*options, &**expected)).collect();
    are_the_same(project, "uv.lock", &rows, |options| project.sync(options));
}

#[test]
fn what_is_built_with_settings_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for python in two_pythons() {
        let project = project(&python).package(".", "app", &format!("{PROJECT}[tool.uv]\n{SETTINGS}"));
        let before = project.mount("uv.lock", &[]).unwrap_err();
        assert!(before.contains("built with other settings (`config-settings` and the like)"), "{before}");
        same_as_uv(&project);
        let text = project.mount("uv.lock", &["--no-editable"]).unwrap().tree;
        assert!(text.keys().any(|path| path.ends_with("plain/built_with.txt")), "{text:?}");
        // A uv.toml counts alone.
        let project = project.file("uv.toml", "config-settings = {flavour = \"salt\"}\n");
        same_as_uv(&project);
        let project = project.file("uv.toml", "");
        same_as_uv(&project);
    }
}

#[test]
fn other_locks_are_built_with_the_settings_of_the_current_directory() {
    if !crate::common::fuse() {
        return;
    }
    let [oldest, _] = two_pythons();
    let project = project(&oldest).package(".", "app", &format!("{PROJECT}[tool.uv]\n{SETTINGS}"));
    for (lock, format) in [("pylock.toml", "pylock.toml"), ("requirements.txt", "requirements.txt")] {
        project.uv(&["export", "--quiet", "--format", format, "-o", lock]).succeeds();
        project.pip_sync(lock, &[]).unwrap();
        are_the_same(&project, lock, &[("", ALL)], |options| project.pip_sync(lock, options));
    }
}

#[test]
fn what_is_built_with_settings_is_got() {
    if !crate::common::fuse() {
        return;
    }
    let [oldest, _] = two_pythons();
    let project = project(&oldest).package(".", "app", &format!("{PROJECT}[tool.uv]\n{SETTINGS}"));
    fetched(&project, "uv.lock", &[], ALL);
    project.uv(&["export", "--quiet", "--format", "requirements.txt", "-o", "requirements.txt"]).succeeds();
    fetched(&project, "requirements.txt", &["--no-editable"], &ALL.replace("-editable", ""));
}

#[test]
fn what_is_built_with_other_settings_is_not_taken() {
    let [oldest, _] = two_pythons();
    let project = project(&oldest);
    let before = project.test.environment();
    let project = project.file("uv.toml", "extra-build-dependencies = {plain = [\"index-sdist\"]}\n");
    let told = project.mount("uv.lock", &[]).unwrap_err();
    assert!(told.contains("1 of 4 distributions are not in the cache"), "{told}");
    assert!(
        told.contains("plain==1.0: it is built with `extra-build-dependencies`, which sitefs does not find: lock a wheel of it"),
        "{told}"
    );
    let project = project.file("uv.toml", "config-settings = {flavour = \"salt\"}\n");
    let told = project.mount("uv.lock", &[]).unwrap_err();
    assert!(told.contains("4 of 4 distributions are not in the cache"), "{told}");
    assert!(told.contains("built with other settings (`config-settings` and the like)"), "{told}");
    let project = project.file("uv.toml", "config-settings = {flavour = 1}\n");
    let mounted = project.mount_with(&["-r", "uv.lock", "--link-mode", "symlink"]).succeeds();
    mounted.says("uv.toml:1: ").says("its settings for builds are not known");
    project.test.unmount().succeeds();
    project.test.nothing_left(&before);
}
