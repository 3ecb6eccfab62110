//! uv.lock, with every option, for two Pythons.

use std::path::Path;

use crate::common::Outcome;
use crate::project::Project;
use crate::{are_the_same, newest_only, two_pythons, wheel};

/// A workspace: the root `app`, and the members `lib` (its version is dynamic) and `tool`, which is not a package.
fn workspace(python: &Path) -> Project {
    let newest = newest_only();
    let (before, since) = (newest.replace(">=", "<"), newest);
    let project = Project::new(python)
        .with_wheels([
            wheel("alpha", "1.0", &["beta>=1"]),
            wheel("beta", "1.0", &[]),
            wheel("beta", "2.0", &["gamma[fast]"]),
            wheel("gamma", "1.0", &["delta; extra == 'fast'"]),
            wheel("delta", "1.0", &[]),
            wheel("never", "1.0", &[]),
            wheel("pytest-like", "8.0", &[]),
            wheel("sphinx-like", "7.0", &[]),
            wheel("ruff-like", "0.1", &[]),
            wheel("extra-a", "1.0", &[]),
        ])
        .package(
            ".",
            "app",
            &format!(
                "version = \"1.0\"\nrequires-python = \">=3.10\"\n\
                 dependencies = [\"alpha\", \"lib\", \"never; sys_platform == 'win32'\", \
                 \"beta<2; {before}\", \"beta>=2; {since}\"]\n\
                 [project.optional-dependencies]\na = [\"extra-a\"]\nb = [\"lib[c]\"]\nempty = []\n\
                 [dependency-groups]\ndev = [\"pytest-like\"]\ndocs = [\"sphinx-like\"]\n\
                 more = [{{include-group = \"docs\"}}, \"app[a]\"]\nnothing = []\n\
                 [tool.uv.workspace]\nmembers = [\"lib\", \"tool\"]\n\
                 [tool.uv.sources]\nlib = {{workspace = true}}\napp = {{workspace = true}}\n"
            ),
        )
        .package(
            "lib",
            "lib",
            "dynamic = [\"version\"]\nrequires-python = \">=3.10\"\ndependencies = []\n\
             [project.optional-dependencies]\nc = [\"gamma\"]\n\
             [dependency-groups]\ndev = [\"ruff-like\"]\nlint = [\"ruff-like\"]\n\
             [tool.uv]\ndefault-groups = [\"lint\"]\n",
        )
        .file("lib/version.txt", "3.4\n")
        .file("lib/metadata.txt", "Provides-Extra: c\nRequires-Dist: gamma; extra == 'c'\n")
        .file(
            "tool/pyproject.toml",
            "[project]\nname = \"tool\"\nversion = \"9\"\nrequires-python = \">=3.10\"\n\
             dependencies = [\"app\"]\n[tool.uv.sources]\napp = {workspace = true}\n",
        );
    project.uv(&["lock"]).succeeds();
    project
}

const APP: &str = "alpha-1.0 app-1.0-editable lib-3.4-editable ";

#[test]
fn a_workspace_gives_the_oldest_python_what_uv_installs() {
    let [oldest, _] = two_pythons();
    a_workspace_gives_what_uv_installs(&oldest, "beta-1.0", "gamma-1.0");
}

#[test]
fn a_workspace_gives_the_newest_python_what_uv_installs() {
    let [_, newest] = two_pythons();
    a_workspace_gives_what_uv_installs(&newest, "beta-2.0 gamma-1.0 delta-1.0", "");
}

/// `beta` is what comes with the fork of `beta` that is for this Python; `gamma`, what else the extra `c` of `lib` brings.
fn a_workspace_gives_what_uv_installs(python: &Path, beta: &str, gamma: &str) {
    if !crate::common::fuse() {
        return;
    }
    let project = workspace(python);
    let production = format!("{APP}{beta}");
    let all = format!("{production} pytest-like-8.0");
    let more = format!("{production} extra-a-1.0 sphinx-like-7.0");
    let extras = format!("{production} extra-a-1.0 {gamma}");
    let undefined_group = "Group `nope` is not defined in the project's `dependency-groups` table";
    let undefined_extra = "Extra `c` is not defined in the `optional-dependencies` table for `app`";
    are_the_same(
        &project,
        "uv.lock",
        &[
            ("", &all),
            ("--no-dev", &production),
            ("--no-default-groups", &production),
            ("--no-group dev", &production),
            ("--extra a", &format!("{all} extra-a-1.0")),
            ("--extra A --extra b --no-dev", &extras),
            ("--extra empty --no-dev", &production),
            ("--all-extras --no-dev", &extras),
            ("--group docs", &format!("{all} sphinx-like-7.0")),
            ("--group more --no-group docs --no-dev", &more),
            ("--group nothing --no-dev", &production),
            ("--all-groups", &format!("{more} pytest-like-8.0")),
            ("--all-groups --no-group docs --no-group more", &all),
            ("--only-group docs", "sphinx-like-7.0"),
            ("--only-group more", &more),
            ("--only-group docs --only-group dev", "pytest-like-8.0 sphinx-like-7.0"),
            ("--only-dev", "pytest-like-8.0"),
            ("--no-install-project", &all.replace("app-1.0-editable", "")),
            ("--no-editable", &all.replace("-editable", "")),
            ("--package lib", "lib-3.4-editable ruff-like-0.1"),
            ("--package lib --extra c --no-group lint", "lib-3.4-editable gamma-1.0"),
            ("--package lib --group docs", "lib-3.4-editable ruff-like-0.1 sphinx-like-7.0"),
            ("--package lib --only-group dev", "ruff-like-0.1"),
            ("--package lib --no-install-project", "ruff-like-0.1"),
            ("--package tool", &production),
            ("--package tool --package lib --no-dev", &production),
            ("--all-packages", &format!("{all} ruff-like-0.1")),
            ("--all-packages --no-dev --all-extras", &extras),
            ("--extra c", undefined_extra),
            ("--group nope", undefined_group),
            ("--no-group nope", undefined_group),
            ("--only-group nope", undefined_group),
            ("--all-packages --group nope", "not defined in any project's `dependency-groups` table"),
            ("--all-packages --extra nope", "not defined in any project's `optional-dependencies` table"),
        ],
        |options| project.sync(options),
    );
}

#[test]
fn uv_would_change_nothing_in_what_is_mounted() {
    if !crate::common::fuse() {
        return;
    }
    let [oldest, _] = two_pythons();
    let project = workspace(&oldest);
    for options in [&[][..], &["--all-packages", "--all-extras", "--no-dev"], &["--only-group", "docs"]] {
        project.sync(options).unwrap();
        project.test.seal_cache();
        project.mount_with(&[&["-r", "uv.lock"], options].concat()).succeeds();
        // uv writes into any cache that it opens.
        let copy = project.test.root().join("copied-cache");
        let _ = fs_err::remove_dir_all(&copy);
        project.test.run("cp", &["-a", "cache", "copied-cache"]).succeeds();
        let mut check = project.uv_command(["sync", "--locked", "--check"]);
        check.args(options).env("UV_PROJECT_ENVIRONMENT", &project.test.venv).env("UV_CACHE_DIR", copy);
        Outcome::of(&mut check).succeeds().says("Would make no changes");
        project.test.unmount().succeeds();
    }
}

/// Extras and groups that exclude each other, one of them in a member, and a dependency of all that is forked by them.
#[test]
fn conflicts_give_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let [_, python] = two_pythons();
    let project = Project::new(&python)
        .with_wheels([
            wheel("low", "1.0", &[]),
            wheel("low", "2.0", &[]),
            wheel("low", "3.0", &[]),
            wheel("mid", "1.0", &["low"]),
            wheel("cpu", "1.0", &["low==1.0"]),
            wheel("gpu", "1.0", &["low==2.0"]),
        ])
        .package(
            ".",
            "app",
            "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"mid\"]\n\
             [project.optional-dependencies]\ncpu = [\"cpu\"]\ngpu = [\"gpu\"]\nfast = [\"app[gpu]\"]\n\
             [dependency-groups]\none = [\"low==1.0\"]\nthree = [\"low==3.0\"]\nwith-gpu = [\"app[gpu]\"]\n\
             [tool.uv]\nconflicts = [\n\
             [{extra = \"cpu\"}, {extra = \"gpu\"}, {extra = \"fast\"}],\n\
             [{group = \"one\"}, {group = \"three\"}, {extra = \"gpu\"}, {extra = \"fast\"}],\n\
             [{group = \"three\"}, {extra = \"cpu\"}], [{group = \"with-gpu\"}, {extra = \"cpu\"}],\n\
             [{group = \"with-gpu\"}, {group = \"one\"}], [{group = \"with-gpu\"}, {group = \"three\"}]]\n",
        );
    project.uv(&["lock"]).succeeds();
    let lock = fs_err::read_to_string(project.folder.join("uv.lock")).unwrap();
    assert!(
        lock.contains("extra == 'extra-3-app-cpu'") && lock.contains("extra == 'group-3-app-three'"),
        "{lock}"
    );
    let app = "app-1.0-editable mid-1.0";
    are_the_same(
        &project,
        "uv.lock",
        &[
            ("", &format!("{app} low-3.0")),
            ("--extra cpu", &format!("{app} cpu-1.0 low-1.0")),
            ("--extra gpu", &format!("{app} gpu-1.0 low-2.0")),
            ("--extra fast", &format!("{app} gpu-1.0 low-2.0")),
            ("--group with-gpu", &format!("{app} gpu-1.0 low-2.0")),
            ("--only-group with-gpu", &format!("{app} gpu-1.0 low-2.0")),
            ("--group one", &format!("{app} low-1.0")),
            ("--group one --extra cpu", &format!("{app} cpu-1.0 low-1.0")),
            ("--group three", &format!("{app} low-3.0")),
            ("--only-group three", "low-3.0"),
            (
                "--extra cpu --extra gpu",
                "Extras `cpu` and `gpu` are incompatible with the declared conflicts: {",
            ),
            ("--extra cpu --extra gpu --extra fast", "`gpu` are incompatible with the declared conflicts: {"),
            ("--group one --group three", "Groups `one` and `three` are incompatible with the"),
            (
                "--group three --extra cpu",
                "Extra `cpu` and group `three` are incompatible with the declared conflicts: {",
            ),
            ("--all-extras", "are incompatible with the declared conflicts: {"),
        ],
        |options| project.sync(options),
    );
}

/// A workspace whose root is no package has groups of its own; a script has requirements of its own.
#[test]
fn a_root_that_is_no_package_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let [oldest, _] = two_pythons();
    let newest = newest_only();
    let project = Project::new(&oldest)
        .with_wheels([
            wheel("alpha", "1.0", &["beta; extra == 'more'"]),
            wheel("beta", "1.0", &[]),
            wheel("gamma", "1.0", &[]),
            wheel("lint", "1.0", &[]),
        ])
        .file(
            "pyproject.toml",
            &format!(
                "[dependency-groups]\ndev = [\"lint\"]\ndocs = [\"alpha[more]; python_version < '4'\", \
                 \"gamma; {newest}\"]\n[tool.uv.workspace]\nmembers = [\"one\", \"two\"]\n"
            ),
        )
        .package("one", "one", "version = \"1\"\nrequires-python = \">=3.10\"\ndependencies = [\"alpha\"]\n")
        .package("two", "two", "version = \"2\"\nrequires-python = \">=3.10\"\n");
    project.uv(&["lock"]).succeeds();
    let members = "one-1-editable two-2-editable alpha-1.0";
    are_the_same(
        &project,
        "uv.lock",
        &[
            ("", &format!("{members} lint-1.0")),
            ("--no-dev", members),
            ("--group docs --no-dev", &format!("{members} beta-1.0")),
            ("--only-group docs", "alpha-1.0 beta-1.0"),
            ("--package two --no-dev", "two-2-editable"),
            ("--package one", "one-1-editable alpha-1.0"),
            ("--all-packages", &format!("{members} lint-1.0")),
            ("--no-install-project --no-dev", members),
            ("--all-packages --no-install-project --no-dev", members),
            ("--no-install-workspace --no-dev", "alpha-1.0"),
            ("--only-install-workspace", "one-1-editable two-2-editable"),
            ("--only-group docs --no-install-package beta", "alpha-1.0"),
            ("--group nope", "not defined in any project's `dependency-groups` table"),
        ],
        |options| project.sync(options),
    );
}

#[test]
fn a_script_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let [_, python] = two_pythons();
    let project = Project::new(&python)
        .with_wheels([wheel("alpha", "1.0", &["beta; extra == 'more'"]), wheel("beta", "1.0", &[])])
        .package(".", "another", "version = \"1.0\"\n")
        .file(
            "script.py",
            "# /// script\n# requires-python = '>=3.10'\n# dependencies = ['alpha[more]', \
             'never; sys_platform == \"win32\"']\n# ///\n",
        )
        .with_wheels([wheel("never", "1.0", &[])]);
    project.uv(&["lock", "--script", "script.py"]).succeeds();
    project.uv(&["sync", "--script", "script.py"]).succeeds();
    project.test.seal_cache();
    let mounted = project.mount("script.py.lock", &[]).unwrap();
    assert_eq!(crate::names(&mounted), ["alpha-1.0".to_owned(), "beta-1.0".to_owned()].into());
}

/// Distributions of the network: with wheels for platforms, with none but an sdist, and with a fork.
#[test]
fn real_distributions_give_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let newest = newest_only();
    let before = newest.replace(">=", "<");
    for python in two_pythons() {
        let project = Project::online(&python).file(
            "pyproject.toml",
            &format!(
                "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.10\"\n\
                 dependencies = [\"markupsafe==3.0.2\", \"six==1.16.0; {before}\", \"six==1.17.0; {newest}\", \
                 \"colorama==0.4.6; sys_platform == 'win32'\"]\n\
                 [project.optional-dependencies]\nsmall = [\"sniffio==1.3.1\"]\n"
            ),
        );
        project.uv(&["lock"]).succeeds();
        let six = if python == two_pythons()[1] { "six-1.17.0" } else { "six-1.16.0" };
        are_the_same(
            &project,
            "uv.lock",
            &[
                ("", &format!("markupsafe-3.0.2 {six}")),
                ("--extra small", &format!("markupsafe-3.0.2 {six} sniffio-1.3.1")),
            ],
            |options| project.sync(options),
        );
    }
}
