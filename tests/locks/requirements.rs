//! requirements.txt, as uv and pip write it and as a person does, for two Pythons.

use std::path::Path;

use crate::common::Outcome;
use crate::project::Project;
use crate::{are_the_same, newest_only, two_pythons, wheel};

/// A project whose requirements fork by Python, with extras, groups and a member; its wheels have commands and data.
fn project(python: &Path) -> Project {
    let newest = newest_only();
    Project::new(python)
        .with_wheels([
            wheel("alpha", "1.0", &["beta", "never; sys_platform == 'win32'"])
                .entry_point("console_scripts", "alpha = alpha:main")
                .data("scripts/alpha-script", "#!python\nprint('alpha')\n")
                .data("data/share/alpha/note.txt", "a note\n"),
            wheel("beta", "1.0", &[]),
            wheel("beta", "2.0", &["gamma[fast]"]),
            wheel("gamma", "1.0", &["delta; extra == 'fast'"]),
            wheel("delta", "1.0", &[]),
            wheel("never", "1.0", &[]),
            wheel("extra-a", "1.0", &[]),
            wheel("lint", "1.0", &[]),
        ])
        .package(
            ".",
            "app",
            &format!(
                "version = \"1.0\"\nrequires-python = \">=3.10\"\n\
                 dependencies = [\"alpha\", \"lib\", \"beta<2; {}\", \"beta>=2; {newest}\"]\n\
                 [project.optional-dependencies]\na = [\"extra-a\"]\n[dependency-groups]\ndev = [\"lint\"]\n\
                 [tool.uv.workspace]\nmembers = [\"lib\"]\n[tool.uv.sources]\nlib = {{workspace = true}}\n",
                newest.replace(">=", "<"),
            ),
        )
        .package("lib", "lib", "version = \"2\"\nrequires-python = \">=3.10\"\n")
}

/// What comes with the fork of `beta` that is for each of the two Pythons.
const BETA: [&str; 2] = ["beta-1.0", "beta-2.0 gamma-1.0 delta-1.0"];

#[test]
fn what_uv_export_writes_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for (python, beta) in two_pythons().iter().zip(BETA) {
        let project = project(python);
        project.uv(&["lock"]).succeeds();
        let all = format!("app-1.0-editable lib-2-editable alpha-1.0 {beta}");
        for (lock, options, expected) in [
            ("requirements.txt", &[][..], format!("{all} lint-1.0")),
            ("extra.txt", &["--extra", "a", "--no-dev"], format!("{all} extra-a-1.0")),
            (
                "every.txt",
                &["--all-extras", "--all-groups", "--no-hashes"],
                format!("{all} extra-a-1.0 lint-1.0"),
            ),
            ("plain.txt", &["--no-editable", "--no-dev"], all.replace("-editable", "")),
            ("index.txt", &["--no-emit-workspace", "--no-annotate"], format!("alpha-1.0 {beta} lint-1.0")),
            ("dev.txt", &["--only-group", "dev"], "lint-1.0".to_owned()),
            ("lib.txt", &["--package", "lib", "--no-header"], "lib-2-editable".to_owned()),
        ] {
            let export = ["export", "--quiet", "--format", "requirements.txt", "-o", lock];
            project.uv(&[&export[..], options].concat()).succeeds();
            are_the_same(&project, lock, &[("", &expected)], |options| project.pip_sync(lock, options));
        }
        let plain = format!("{} lint-1.0", all.replace("-editable", ""));
        let lib = format!("{} lint-1.0", all.replace("lib-2-editable", "lib-2"));
        let rows = [
            ("--no-editable", &*plain),
            ("--no-editable-package lib", &lib),
            ("--no-editable-package LIB --no-editable-package app", &plain),
            // Repeated, files are one lock.
            ("-r extra.txt", &format!("{all} extra-a-1.0 lint-1.0")),
            ("-r dev.txt -r extra.txt --no-editable", &format!("{plain} extra-a-1.0")),
        ];
        are_the_same(&project, "requirements.txt", &rows, |options| {
            project.pip_install("requirements.txt", options)
        });
    }
}

#[test]
fn what_uv_pip_compile_writes_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for (python, beta) in two_pythons().iter().zip(BETA) {
        let project = project(python).file("wanted.in", "alpha\nbeta\ngamma[fast]\n");
        let all = format!("lib-2-editable alpha-1.0 {beta}");
        let newest = "alpha-1.0 beta-2.0 gamma-1.0 delta-1.0";
        for (lock, options, expected) in [
            ("plain.txt", &["pyproject.toml"][..], all.clone()),
            ("universal.txt", &["pyproject.toml", "--universal"], all.clone()),
            (
                "extras.txt",
                &["pyproject.toml", "--all-extras", "--group", "dev"],
                format!("{all} extra-a-1.0 lint-1.0"),
            ),
            ("hashes.txt", &["wanted.in", "--universal", "--generate-hashes"], newest.to_owned()),
            ("kept.txt", &["wanted.in", "--no-strip-extras", "--no-annotate"], newest.to_owned()),
            (
                "split.txt",
                &["wanted.in", "--annotation-style", "split", "--emit-find-links"],
                newest.to_owned(),
            ),
        ] {
            let compile = ["pip", "compile", "--quiet", "-o", lock];
            project.uv(&[&compile[..], options].concat()).succeeds();
            are_the_same(&project, lock, &[("", &expected)], |options| project.pip_sync(lock, options));
        }
    }
}

#[test]
fn what_pip_freeze_writes_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for python in two_pythons() {
        let project = project(&python);
        let mut install = project.pip_command();
        install.args(["install", "--quiet", "--no-index", "--find-links", "../wheels", "alpha", "extra-a"]);
        Outcome::of(install.arg("./lib")).succeeds();
        let frozen =
            Outcome::of(project.pip_command().args(["freeze", "--exclude", "pip"])).succeeds().stdout;
        assert!(frozen.contains("lib @ file:///"), "{frozen}");
        let project = project.file("requirements.txt", &frozen);
        // These wheels do not declare their extras, so to pip they have none.
        let all = "lib-2 alpha-1.0 beta-2.0 gamma-1.0 extra-a-1.0";
        are_the_same(&project, "requirements.txt", &[("", all)], |options| {
            project.pip_sync("requirements.txt", options)
        });
    }
}

#[test]
fn what_a_person_writes_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let newest = newest_only();
    let before = newest.replace(">=", "<");
    for (python, beta) in two_pythons().iter().zip(["beta-1.0", "beta-2.0"]) {
        let project = project(python);
        let gamma = project.test.root().join("wheels/gamma-1.0-py3-none-any.whl");
        let project = project
            .file("deep/more.txt", "-c limits.txt\nextra_a==1.0; python_version >= '3'\n")
            .file("deep/limits.txt", "beta<3\nextra-a==1.0\nnever==7\n")
            .file("tools.txt", "Lint == 1.0  # a comment\n")
            .file(
                "requirements.txt",
                &format!(
                    "# By hand\n--no-index\n-f ../wheels\n-r deep/more.txt\nALPHA[x]===1.0\nbeta==1.0; {before}\n\
                     beta==2.0; {newest}\nnever==1.0; sys_platform == 'win32'\n./lib/../lib\n\
                     gamma @ file://{}\n../wheels/delta-1.0-py3-none-any.whl\n",
                    gamma.display()
                ),
            );
        let all = format!("alpha-1.0 {beta} extra-a-1.0 lib-2 gamma-1.0 delta-1.0");
        let rows = [("", &*all), ("-r tools.txt", &format!("{all} lint-1.0"))];
        are_the_same(&project, "requirements.txt", &rows, |options| {
            project.pip_install("requirements.txt", options)
        });
    }
}
