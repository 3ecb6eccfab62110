//! pylock.toml, as uv and pip write it, and as the standard allows it.

use crate::common::Outcome;
use crate::project::Project;
use crate::{are_the_same, newest_only, two_pythons, wheel};

fn project(python: &std::path::Path) -> Project {
    let newest = newest_only();
    Project::new(python)
        .with_wheels([
            wheel("alpha", "1.0", &["beta", "never; sys_platform == 'win32'"]),
            wheel("beta", "1.0", &[]),
            wheel("beta", "2.0", &[]),
            wheel("never", "1.0", &[]),
            wheel("extra-a", "1.0", &[]),
            wheel("lint", "1.0", &[]),
        ])
        .package(
            ".",
            "app",
            &format!(
                "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"alpha\", \"beta<2; {}\", \
                 \"beta>=2; {newest}\"]\n[project.optional-dependencies]\na = [\"extra-a\"]\n\
                 [dependency-groups]\ndev = [\"lint\"]\n",
                newest.replace(">=", "<"),
            ),
        )
}

#[test]
fn what_uv_export_and_uv_pip_compile_write_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for (python, beta) in two_pythons().iter().zip(["beta-1.0", "beta-2.0"]) {
        let project = project(python);
        project.uv(&["lock"]).succeeds();
        let rows = [
            ("pylock.toml", &[][..], format!("app-1.0-editable alpha-1.0 {beta} lint-1.0")),
            (
                "pylock.a.toml",
                &["--extra", "a", "--no-dev"],
                format!("app-1.0-editable alpha-1.0 {beta} extra-a-1.0"),
            ),
            ("pylock.plain.toml", &["--no-editable", "--no-dev"], format!("app-1.0 alpha-1.0 {beta}")),
            ("pylock.dev.toml", &["--only-dev"], "lint-1.0".to_owned()),
            (
                "pylock.index.toml",
                &["--no-emit-project", "--all-extras", "--all-groups"],
                format!("alpha-1.0 {beta} extra-a-1.0 lint-1.0"),
            ),
        ];
        for (lock, options, expected) in &rows {
            let export = ["export", "--quiet", "--format", "pylock.toml", "-o", lock];
            project.uv(&[&export[..], options].concat()).succeeds();
            are_the_same(&project, lock, &[("", expected)], |options| project.pip_sync(lock, options));
        }
        let compiled = format!("alpha-1.0 {beta}");
        for (lock, options, expected) in [
            ("pylock.compiled.toml", &["--universal"][..], compiled.clone()),
            ("pylock.here.toml", &[], compiled.clone()),
            ("pylock.extra.toml", &["--universal", "--extra", "a"], format!("{compiled} extra-a-1.0")),
            (
                "pylock.all.toml",
                &["--all-extras", "--group", "dev"],
                format!("{compiled} extra-a-1.0 lint-1.0"),
            ),
        ] {
            let compile =
                ["pip", "compile", "--quiet", "pyproject.toml", "--format", "pylock.toml", "-o", lock];
            project.uv(&[&compile[..], options].concat()).succeeds();
            are_the_same(&project, lock, &[("", &expected)], |options| project.pip_sync(lock, options));
        }
        fs_err::copy(project.folder.join("pylock.compiled.toml"), project.folder.join("by-content")).unwrap();
        project.mount("by-content", &[]).unwrap();
    }
}

#[test]
fn what_pip_lock_writes_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for python in two_pythons() {
        let project = project(&python);
        for (lock, wanted, expected) in [
            ("pylock.toml", &["alpha", "extra-a"][..], "alpha-1.0 beta-2.0 extra-a-1.0"),
            ("pylock.old.toml", &["alpha", "beta<2", "never; sys_platform == 'win32'"], "alpha-1.0 beta-1.0"),
        ] {
            let mut pip = project.pip_command();
            pip.args(["lock", "--quiet", "--no-index", "--find-links", "../wheels", "-o", lock]).args(wanted);
            Outcome::of(&mut pip).succeeds();
            are_the_same(&project, lock, &[("", expected)], |options| project.pip_sync(lock, options));
        }
    }
}

/// Neither uv nor pip writes these yet; uv reads them.
#[test]
fn extras_and_groups_give_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    two_pythons().iter().for_each(|python| extras_and_groups_give(&project(python)));
}

fn extras_and_groups_give(project: &Project) {
    let package = |name: &str, version: &str, marker: &str| {
        let file = format!("{}-{version}-py3-none-any.whl", name.replace('-', "_"));
        let bytes = fs_err::read(project.test.root().join("wheels").join(&file)).unwrap();
        let digest = data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        format!(
            "[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\nmarker = \"{marker}\"\n\
             wheels = [{{ path = \"../wheels/{file}\", hashes = {{ sha256 = \"{digest}\" }} }}]\n"
        )
    };
    let packages = [
        package("alpha", "1.0", "python_version >= '3'"),
        package("beta", "1.0", "'Old_One' not in extras and 'old' not in dependency_groups"),
        package("beta", "2.0", "'Old_One' in extras or 'old' in dependency_groups"),
        package("extra-a", "1.0", "'a' in extras and 'dev' in dependency_groups and sys_platform != 'win32'"),
        package("lint", "1.0", "'dev' in dependency_groups or 'all' in dependency_groups"),
    ];
    fs_err::write(
        project.folder.join("pylock.toml"),
        format!(
            "lock-version = \"1.0\"\ncreated-by = \"a test\"\nrequires-python = \">=3.10\"\n\
             environments = [\"sys_platform == 'linux'\", \"sys_platform == 'darwin'\"]\n\
             extras = [\"a\", \"old-one\"]\ndependency-groups = [\"dev\", \"old\", \"all\"]\ndefault-groups = [\"dev\"]\n\n{}",
            packages.join("\n")
        ),
    )
    .unwrap();
    are_the_same(
        project,
        "pylock.toml",
        &[
            ("", "alpha-1.0 beta-1.0 lint-1.0"),
            ("--extra a", "alpha-1.0 beta-1.0 extra-a-1.0 lint-1.0"),
            ("--extra old_one", "alpha-1.0 beta-2.0 lint-1.0"),
            ("--all-extras", "alpha-1.0 beta-2.0 extra-a-1.0 lint-1.0"),
            ("--group old", "alpha-1.0 beta-2.0"),
            ("--group old --group dev", "alpha-1.0 beta-2.0 lint-1.0"),
            ("--group ALL --extra a", "alpha-1.0 beta-1.0 lint-1.0"),
        ],
        |options| project.pip_sync("pylock.toml", options),
    );
    // uv has none of these for such a lock.
    for (options, expected) in [
        (&["--all-extras", "--no-extra", "old-one"][..], "alpha-1.0 beta-1.0 extra-a-1.0 lint-1.0"),
        (&["--no-group", "dev"], "alpha-1.0 beta-1.0"),
        (&["--no-default-groups"], "alpha-1.0 beta-1.0"),
        (&["--all-groups"], "alpha-1.0 beta-2.0 lint-1.0"),
        (&["--group", "old", "--group", "dev", "--no-group", "old"], "alpha-1.0 beta-1.0 lint-1.0"),
    ] {
        let mounted = project.mount("pylock.toml", options).unwrap();
        assert_eq!(crate::names(&mounted), expected.split(' ').map(str::to_owned).collect(), "{options:?}");
    }
}
