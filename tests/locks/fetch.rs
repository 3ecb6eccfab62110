//! `--fetch` of uv.lock and pylock.toml: what is missing of them, and no more.

use std::process::Command;

use crate::common::Outcome;
use crate::project::Project;
use crate::{names, two_pythons, wheel};

fn project() -> Project {
    let [oldest, _] = two_pythons();
    Project::new(&oldest)
        .with_wheels([
            wheel("alpha", "1.0", &["beta"]),
            wheel("beta", "1.0", &[]),
            wheel("beta", "2.0", &[]),
            wheel("lint", "1.0", &[]),
            wheel("extra-a", "1.0", &[]),
        ])
        .package(
            ".",
            "app",
            "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"alpha\", \"lib\"]\n\
             [project.optional-dependencies]\na = [\"extra-a\"]\n[dependency-groups]\ndev = [\"lint\"]\n\
             [tool.uv.workspace]\nmembers = [\"lib\"]\n[tool.uv.sources]\nlib = {workspace = true}\n",
        )
        .package(
            "lib",
            "lib",
            "version = \"1\"\nrequires-python = \">=3.10\"\ndependencies = [\"beta<2\"]\n\
             [dependency-groups]\ncheck = [\"extra-a\"]\n[tool.uv]\ndefault-groups = [\"check\"]\n",
        )
}

/// `sitefs mount --fetch`, with the wheels of the project.
fn fetch(project: &Project, lock: &str, options: &[&str]) -> Outcome {
    Outcome::of(&mut fetch_command(project, lock, options))
}

/// The same, to be run.
fn fetch_command(project: &Project, lock: &str, options: &[&str]) -> Command {
    let mut command = project.test.sitefs_command(["mount", "--fetch", "-r", lock]);
    let uv = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/uv/bin");
    command
        .args(options)
        .args([&project.test.venv, &project.test.cache])
        .current_dir(&project.folder)
        .env("PATH", format!("{uv}:/usr/bin:/bin"))
        .env("UV_NO_INDEX", "1")
        .env("UV_FIND_LINKS", project.test.root().join("wheels"))
        .env("UV_PYTHON_DOWNLOADS", "never");
    command
}

/// What is mounted, after what was mounted is what uv installs.
pub(crate) fn fetched(project: &Project, lock: &str, options: &[&str], expected: &str) {
    fs_err::remove_dir_all(&project.test.cache).unwrap();
    fetch(project, lock, options).succeeds();
    let seen = project.seen(&project.test.venv);
    let expected = expected.split_whitespace().map(str::to_owned).collect();
    assert_eq!(names(&seen), expected, "{lock} {options:?}");
    project.test.unmount().succeeds();
}

#[test]
fn what_a_uv_lock_asks_for_is_got() {
    if !crate::common::fuse() {
        return;
    }
    let project = project();
    project.uv(&["lock"]).succeeds();
    let all = "alpha-1.0 app-1.0-editable beta-1.0 lib-1-editable";
    fetched(&project, "uv.lock", &[], &format!("{all} lint-1.0"));
    fetched(&project, "uv.lock", &["--no-dev", "--extra", "a"], &format!("{all} extra-a-1.0"));
    fetched(&project, "uv.lock", &["--only-group", "dev"], "lint-1.0");
    fetched(&project, "uv.lock", &["--package", "lib"], "beta-1.0 extra-a-1.0 lib-1-editable");
    fetched(&project, "uv.lock", &["--no-editable", "--no-dev"], &all.replace("-editable", ""));
    fetched(&project, "uv.lock", &["--all-extras", "--no-extra", "a", "--no-dev"], all);
    fetched(&project, "uv.lock", &["--no-install-workspace"], "alpha-1.0 beta-1.0 lint-1.0");
    fetched(
        &project,
        "uv.lock",
        &["--no-install-project", "--no-install-package", "alpha"],
        "beta-1.0 lib-1-editable lint-1.0",
    );
    fetched(&project, "uv.lock", &["--only-install-package", "beta"], "beta-1.0");
    fetched(
        &project,
        "uv.lock",
        &["--only-install-local", "--no-editable-package", "lib"],
        "app-1.0-editable lib-1",
    );
    fetched(&project, "uv.lock", &["--no-install-local", "--no-dev"], "alpha-1.0 beta-1.0");
    // Nothing is got that is not missing, nor what is not wanted.
    fetch(&project, "uv.lock", &["--no-dev"]).succeeds().says("uv gets 2 of 4 distributions");
    assert!(project.test.cache_files(".rev").iter().all(|path| !path.to_string_lossy().contains("lint")));
    assert!(!project.folder.join(".venv").exists());
}

/// uv is asked for what is mounted, whatever its variables say.
#[test]
fn what_is_got_is_what_the_options_say() {
    if !crate::common::fuse() {
        return;
    }
    let project = project();
    project.uv(&["lock"]).succeeds();
    let mut command = fetch_command(&project, "uv.lock", &[]);
    command.envs([("UV_NO_DEV", "1"), ("UV_NO_INSTALL_PROJECT", "1"), ("UV_NO_INSTALL_LOCAL", "1")]).envs([
        ("UV_NO_DEFAULT_GROUPS", "1"),
        ("UV_NO_GROUP", "dev"),
        ("UV_LOCKED", "1"),
        ("UV_NO_EDITABLE", "1"),
    ]);
    Outcome::of(&mut command).succeeds();
    let all = "alpha-1.0 app-1.0-editable beta-1.0 lib-1-editable lint-1.0";
    assert_eq!(names(&project.seen(&project.test.venv)), all.split(' ').map(str::to_owned).collect());
}

#[test]
fn what_is_editable_in_requirements_is_got_plain_where_that_is_wanted() {
    if !crate::common::fuse() {
        return;
    }
    let project = project().file("requirements.txt", "alpha==1.0\n-e ./lib\n-e .\n");
    fetched(&project, "requirements.txt", &[], "alpha-1.0 app-1.0-editable lib-1-editable");
    fetched(&project, "requirements.txt", &["--no-editable"], "alpha-1.0 app-1.0 lib-1");
    fetched(
        &project,
        "requirements.txt",
        &["--no-editable-package", "lib"],
        "alpha-1.0 app-1.0-editable lib-1",
    );
}

#[test]
fn what_a_pylock_asks_for_is_got() {
    if !crate::common::fuse() {
        return;
    }
    let project = project();
    project.uv(&["lock"]).succeeds();
    let export = ["export", "--quiet", "--all-extras", "--format", "pylock.toml", "-o", "pylock.toml"];
    project.uv(&export).succeeds();
    let all = "alpha-1.0 app-1.0-editable beta-1.0 extra-a-1.0 lib-1-editable lint-1.0";
    fetched(&project, "pylock.toml", &[], all);
    fetched(&project, "pylock.toml", &["--no-editable"], &all.replace("-editable", ""));
    fetch(&project, "pylock.toml", &[]).succeeds().says("uv gets 2 of 6 distributions");
}

#[test]
fn what_a_script_asks_for_is_got() {
    if !crate::common::fuse() {
        return;
    }
    let project = project()
        .file("script.py", "# /// script\n# requires-python = '>=3.10'\n# dependencies = ['alpha']\n# ///\n");
    project.uv(&["lock", "--script", "script.py"]).succeeds();
    fetched(&project, "script.py.lock", &[], "alpha-1.0 beta-2.0");
    assert!(project.test.cache_files("pyvenv.cfg").is_empty(), "no environment is made in the cache");
}
