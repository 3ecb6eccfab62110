//! Which lock is taken, and what of it, where a person does not say.

use crate::common::Outcome;
use crate::project::Project;
use crate::{names, two_pythons, wheel};

/// With extras and groups in a uv.lock beside the environment.
fn project() -> Project {
    let [_, python] = two_pythons();
    let project = Project::new(&python)
        .with_wheels([
            wheel("alpha", "1.0", &[]),
            wheel("extra-a", "1.0", &[]),
            wheel("lint", "1.0", &[]),
            wheel("docs", "1.0", &[]),
        ])
        .file(
            "pyproject.toml",
            "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.10\"\ndependencies = [\"alpha\"]\n\
             [project.optional-dependencies]\na = [\"extra-a\"]\n\
             [dependency-groups]\ndev = [\"lint\"]\ndocs = [\"docs\"]\n\
             [tool.uv]\ndefault-groups = [\"docs\"]\n",
        );
    project.uv(&["lock"]).succeeds();
    project.sync(&["--all-extras", "--all-groups"]).unwrap();
    project.test.seal_cache();
    project
}

fn mounted(project: &Project, options: &[&str]) -> String {
    project.mount_with(options).succeeds();
    let list = project.test.onlooking_uv().command(["pip", "list", "--format=json", "--python"]);
    let mut list = list;
    let list = Outcome::of(list.arg(project.test.venv.join("bin/python"))).succeeds().stdout;
    project.test.unmount().succeeds();
    names(&crate::project::Seen { list, tree: Default::default() }).into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_default_groups_are_those_of_the_project() {
    if !crate::common::fuse() {
        return;
    }
    let project = project();
    assert_eq!(mounted(&project, &[]), "alpha-1.0 docs-1.0");
    let pyproject = project.folder.join("pyproject.toml");
    let text = fs_err::read_to_string(&pyproject).unwrap();
    fs_err::write(
        &pyproject,
        text.replace("[\"docs\"]\n", "\"all\"\n").replace("docs = \"all\"", "docs = [\"docs\"]"),
    )
    .unwrap();
    assert_eq!(mounted(&project, &[]), "alpha-1.0 docs-1.0 lint-1.0");
    fs_err::write(&pyproject, text.replace("default-groups = [\"docs\"]", "default-groups = [\"nope\"]"))
        .unwrap();
    let told = "Default group `nope` (from `tool.uv.default-groups`) is not defined in the project's \
                `dependency-groups` table";
    project.mount_with(&[]).fails().says(told).says("pyproject.toml");
    // A container may have the lock alone.
    fs_err::remove_file(&pyproject).unwrap();
    assert_eq!(mounted(&project, &[]), "alpha-1.0 lint-1.0");
    project.mount_with(&[]).succeeds().says("no pyproject.toml: as default group, `dev` is taken");
}

#[test]
fn the_lock_beside_the_environment_is_the_default() {
    if !crate::common::fuse() {
        return;
    }
    let project = project().file("requirements.txt", "lint==1.0\n");
    assert_eq!(mounted(&project, &[]), "alpha-1.0 docs-1.0");
    project
        .uv(&["export", "--quiet", "--only-group", "dev", "--format", "pylock.toml", "-o", "pylock.toml"])
        .succeeds();
    assert_eq!(mounted(&project, &[]), "lint-1.0");
    for name in ["pylock.toml", "uv.lock"] {
        fs_err::rename(project.folder.join(name), project.folder.join(format!("{name}.away"))).unwrap();
    }
    assert_eq!(mounted(&project, &[]), "lint-1.0");
    fs_err::remove_file(project.folder.join("requirements.txt")).unwrap();
    project.test.sitefs(["unmount".as_ref(), project.test.venv.as_os_str()]);
    let locks = [&["-r", "uv.lock.away"][..], &["-r", "pylock.toml.away"]].concat();
    assert_eq!(mounted(&project, &locks), "alpha-1.0 docs-1.0 lint-1.0");
    assert_eq!(mounted(&project, &[]), "alpha-1.0 docs-1.0 lint-1.0");
}

#[test]
fn what_was_wanted_is_remembered() {
    if !crate::common::fuse() {
        return;
    }
    let project = project();
    let wanted = ["--extra", "a", "--group", "dev", "--no-group", "docs"];
    project.mount_with(&wanted).succeeds();
    project.test.sitefs(["status"]).succeeds().says("uv.lock --extra a --group dev --no-group docs");
    project.test.unmount().succeeds();
    assert_eq!(mounted(&project, &wanted), "alpha-1.0 extra-a-1.0 lint-1.0");
    assert_eq!(mounted(&project, &[]), "alpha-1.0 extra-a-1.0 lint-1.0");
    assert_eq!(mounted(&project, &["--no-default-groups"]), "alpha-1.0");
    assert_eq!(mounted(&project, &[]), "alpha-1.0");
    assert_eq!(mounted(&project, &["-r", "uv.lock"]), "alpha-1.0 docs-1.0");
    assert_eq!(mounted(&project, &[]), "alpha-1.0 docs-1.0");
}

#[test]
fn run_takes_the_same_options() {
    if !crate::common::fuse() {
        return;
    }
    let project = project();
    let run = |options: &[&str], code: &str| {
        let mut run = project.test.sitefs_command(["run", "--venv", "venv", "--cache", "../cache"]);
        run.args(options).args(["--", "python", "-c", code]).current_dir(&project.folder);
        Outcome::of(&mut run)
    };
    run(&["--extra", "a", "--no-default-groups"], "import alpha; print(alpha.version)")
        .succeeds()
        .prints("1.0");
    run(&["--only-dev"], "import alpha").exits(1).says("No module named 'alpha'");
}
