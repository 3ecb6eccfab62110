//! What of a uv.lock is installed, and what is left out though what it needs is not.

use std::path::Path;

use crate::project::Project;
use crate::{are_the_same, two_pythons, wheel};

/// The root `app`, the member `lib`, and beside the workspace a folder, an editable folder and a wheel.
fn workspace(python: &Path) -> Project {
    let project = Project::new(python)
        .with_wheels([
            wheel("alpha", "1.0", &["beta"]),
            wheel("beta", "1.0", &[]),
            wheel("lint", "1.0", &[]),
            wheel("extra-a", "1.0", &[]),
            wheel("extra-b", "1.0", &[]),
        ])
        .package(
            ".",
            "app",
            "version = \"1.0\"\nrequires-python = \">=3.10\"\n\
             dependencies = [\"alpha\", \"lib\", \"plain\", \"linked\", \"file\"]\n\
             [project.optional-dependencies]\na = [\"extra-a\"]\nb = [\"extra-b\"]\n\
             [dependency-groups]\ndev = [\"lint\"]\n\
             [tool.uv.workspace]\nmembers = [\"lib\"]\n\
             [tool.uv.sources]\nlib = {workspace = true}\nplain = {path = \"../plain\"}\n\
             linked = {path = \"../linked\", editable = true}\n\
             file = {path = \"../file-1.0-py3-none-any.whl\"}\n",
        )
        .package(
            "lib",
            "lib",
            "version = \"2.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"beta\"]\n\
             [project.optional-dependencies]\na = [\"extra-a\"]\n",
        )
        .package("../plain", "plain", "version = \"1.0\"\nrequires-python = \">=3.10\"\n")
        .package("../linked", "linked", "version = \"1.0\"\nrequires-python = \">=3.10\"\n");
    wheel("file", "1.0", &[]).build(&project.test.root());
    project.uv(&["lock"]).succeeds();
    project
}

const WORKSPACE: &str = "app-1.0-editable lib-2.0-editable ";
const OTHER_LOCAL: &str = "plain-1.0 linked-1.0-editable file-1.0 ";
const OF_INDEX: &str = "alpha-1.0 beta-1.0 lint-1.0 ";

#[test]
fn what_is_left_out_is_what_uv_leaves_out() {
    if !crate::common::fuse() {
        return;
    }
    let all = format!("{WORKSPACE}{OTHER_LOCAL}{OF_INDEX}");
    let without = |names: &str| {
        let left = all.split_whitespace().filter(|one| !names.split(' ').any(|name| one.starts_with(name)));
        left.collect::<Vec<_>>().join(" ")
    };
    for python in two_pythons() {
        let project = workspace(&python);
        are_the_same(
            &project,
            "uv.lock",
            &[
                ("", &all),
                ("--all-extras --no-extra b", &format!("{all} extra-a-1.0")),
                ("--extra a,b --no-extra a --no-dev", &format!("{} extra-b-1.0", without("lint"))),
                ("--no-extra nope", "Extra `nope` is not defined in"),
                ("--no-install-project", &without("app")),
                ("--no-install-workspace", &without("app lib")),
                ("--no-install-local", OF_INDEX),
                ("--no-install-package alpha", &without("alpha")),
                ("--no-install-package alpha --no-install-package Lib", &without("alpha lib")),
                ("--no-install-package nope", &all),
                ("--no-install-project --no-install-package beta --no-dev", &without("app beta lint")),
                ("--only-install-project", "app-1.0-editable"),
                ("--only-install-workspace", WORKSPACE),
                ("--only-install-local", &format!("{WORKSPACE}{OTHER_LOCAL}")),
                ("--only-install-package beta --only-install-package lib", "beta-1.0 lib-2.0-editable"),
                ("--only-install-package extra-a", ""),
                ("--only-install-package extra-a --extra a", "extra-a-1.0"),
                ("--only-install-project --only-install-workspace", WORKSPACE),
                ("--only-install-workspace --only-install-local", &format!("{WORKSPACE}{OTHER_LOCAL}")),
                ("--only-install-local --only-install-package alpha", "alpha-1.0"),
                ("--only-install-workspace --no-install-project", WORKSPACE),
                ("--only-group dev --no-install-package lint", ""),
                ("--only-dev --no-install-project", "lint-1.0"),
                ("--only-group dev --only-dev --no-default-groups", "lint-1.0"),
                ("--package lib --no-install-project", "beta-1.0"),
                ("--package lib --only-install-project", "lib-2.0-editable"),
                ("--package lib --package app --no-install-project --no-dev", &without("lint")),
                ("--all-packages --no-install-project", &without("app")),
                ("--all-packages --only-install-project", "app-1.0-editable"),
                ("--package lib --package app --only-install-project", ""),
                (
                    "--all-packages --no-install-workspace --all-extras --no-extra b",
                    &format!("{} extra-a-1.0", without("app lib")),
                ),
                ("--no-editable-package lib", &all.replace("lib-2.0-editable", "lib-2.0")),
                (
                    "--no-editable-package linked --no-editable-package app --no-dev",
                    &without("lint")
                        .replace("app-1.0-editable", "app-1.0")
                        .replace("linked-1.0-editable", "linked-1.0"),
                ),
                ("--no-editable --no-editable-package lib", &all.replace("-editable", "")),
                ("--no-editable-package nope", &all),
            ],
            |options| project.sync(options),
        );
    }
}

/// Its lock names no members.
#[test]
fn a_project_alone_is_left_out_as_uv_leaves_it_out() {
    if !crate::common::fuse() {
        return;
    }
    let [oldest, _] = two_pythons();
    let project = Project::new(&oldest).with_wheels([wheel("alpha", "1.0", &[])]).package(
        ".",
        "app",
        "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"alpha\"]\n",
    );
    project.uv(&["lock"]).succeeds();
    are_the_same(
        &project,
        "uv.lock",
        &[
            ("--no-install-project", "alpha-1.0"),
            ("--no-install-workspace", "alpha-1.0"),
            ("--no-install-local", "alpha-1.0"),
            ("--only-install-project", "app-1.0-editable"),
            ("--only-install-workspace", "app-1.0-editable"),
            ("--all-packages --no-install-project", "alpha-1.0"),
            ("--all-packages --only-install-workspace", "app-1.0-editable"),
        ],
        |options| project.sync(options),
    );
}

#[test]
fn what_uv_refuses_together_is_refused() {
    let [oldest, _] = two_pythons();
    let project = Project::new(&oldest).file("uv.lock", "version = 1\nrequires-python = '>=3.10'\n");
    let refuses = |code: Option<i32>, told: &str| code == Some(2) && told.contains("cannot be used with");
    for options in [
        "--no-install-project --only-install-project",
        "--no-install-workspace --only-install-workspace",
        "--no-install-local --only-install-local",
        "--no-install-package a --only-install-package b",
        "--only-install-project --only-install-local",
        "--no-install-project --only-install-local",
        "--extra a --no-extra a",
        "--extra a --all-extras",
        "--extra a --only-group b",
        "--extra a --only-dev",
        "--all-extras --only-group a",
        "--all-extras --only-dev",
        "--no-extra a --only-group b",
        "--group a --only-group b",
        "--group a --only-dev",
        "--group a --all-groups",
        "--all-groups --only-group a",
        "--all-groups --only-dev",
        "--no-group a --only-group b",
        "--no-group a --only-dev",
        "--no-default-groups --only-group a",
        "--no-dev --only-dev",
        "--no-dev --only-group a",
        "--no-dev --group dev",
        "--only-group a --only-dev",
        "--package a --all-packages",
        "--package a --only-install-project",
        "--no-editable --no-editable-package a",
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let uv = project.uv(&[&["sync", "--locked"][..], &options].concat());
        let sitefs = project.mount_with(&[&["-r", "uv.lock"][..], &options].concat());
        let (uv, sitefs) = (refuses(uv.code(), &uv.stderr), refuses(sitefs.code(), &sitefs.stderr));
        assert_eq!(uv, sitefs, "{options:?}: whether uv refuses it, and whether sitefs does");
    }
}
