//! pip and uv in a mounted environment: what they do there is what they do anywhere, and none of it reaches the cache.

use std::path::{Path, PathBuf};

use crate::common::{Outcome, Sandbox, Uv, WheelBuilder, pip};
use crate::{greet, kill_server, of_another_size};

/// Needs greet, and shares a namespace with it.
fn guest() -> WheelBuilder {
    WheelBuilder::new("guest", "3.0")
        .requires("greet")
        .file("guest/__init__.py", "import greet\nword = 'guest of ' + greet.word\n")
        .file("space/guest.py", "word = 'in space'\n")
}

/// A distribution that no lock knows.
fn extra(version: &str) -> WheelBuilder {
    WheelBuilder::new("extra", version)
        .requires("greet")
        .file("extra.py", format!("word = 'extra {version}'\n{}", of_another_size(version)))
        .file("space/extra.py", "word = 'in space, too'\n")
        .entry_point("console_scripts", "extra = extra:print")
}

/// greet 1.0 and guest are locked; the others are where the tools find them.
fn sandbox() -> Option<Sandbox> {
    let test = Sandbox::with_fuse()?.with_wheels([greet("1.0"), guest()]);
    for wheel in [greet("1.0"), greet("2.0"), extra("1.0"), extra("2.0")] {
        wheel.build(&test.root().join("wheels"));
    }
    Some(test)
}

/// What a person types after `pip` or `uv pip`.
struct Tool {
    name: &'static str,
    run: fn(&Sandbox, &[&str]) -> Outcome,
    reinstall: &'static [&'static str],
    yes: &'static [&'static str],
}

const TOOLS: [Tool; 2] = [
    Tool { name: "pip", run: pip_from_outside, reinstall: &["--force-reinstall"], yes: &["--yes"] },
    Tool { name: "uv", run: uv, reinstall: &["--reinstall"], yes: &[] },
];

fn pip_from_outside(test: &Sandbox, arguments: &[&str]) -> Outcome {
    Outcome::of(pip(&test.venv, &test.home(), arguments).current_dir(test.root()))
}

/// uv with a cache of its own, on the file system of the environment: it links from there, as it does by itself.
pub(crate) fn uv(test: &Sandbox, arguments: &[&str]) -> Outcome {
    let mut command = test.onlooking_uv().command(["pip"]);
    command.args(arguments).arg("--python").arg(test.venv.join("bin/python"));
    Outcome::of(command.env_remove("UV_LINK_MODE").current_dir(test.root()))
}

impl Tool {
    fn install(&self, test: &Sandbox, what: &[&str]) {
        let arguments = [&["install", "--no-index", "--find-links", "wheels"], what].concat();
        (self.run)(test, &arguments).succeeds();
        self.is_sound(test);
    }

    fn uninstall(&self, test: &Sandbox, name: &str) {
        (self.run)(test, &[&["uninstall"], self.yes, &[name]].concat()).succeeds();
    }

    fn is_sound(&self, test: &Sandbox) {
        (self.run)(test, &["check"]).succeeds();
        let left = fs_err::read_dir(test.site_packages()).unwrap().map(|it| it.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.as_encoded_bytes().starts_with(b"~")).collect();
        assert!(left.is_empty(), "{} leaves {left:?}", self.name);
    }
}

/// Nothing of another version is left, and metadata says the same.
fn has_greet(test: &Sandbox, version: &str) {
    let code = "import beside, guest, importlib.metadata as m, runpy\n\
                print(guest.word, beside.word, [d.version for d in m.distributions(name='greet')])\n\
                try: runpy.run_path('venv/bin/greet', run_name='__main__')\n\
                except SystemExit: pass";
    let expected = format!("guest of hello {version} beside {version} ['{version}']\nhello {version}");
    test.python(code).succeeds().prints(&expected);
}

fn remount(test: &Sandbox) -> Outcome {
    test.unmount().succeeds();
    test.mount().succeeds()
}

#[test]
fn upgrade_downgrade_reinstall_and_uninstall_do_as_anywhere_and_stay() {
    for tool in TOOLS {
        let Some(test) = sandbox() else { return };
        test.mount().succeeds();
        has_greet(&test, "1.0");
        tool.install(&test, &["greet==2.0"]);
        has_greet(&test, "2.0");
        remount(&test).says("the environment's own greet hides the locked greet==1.0");
        has_greet(&test, "2.0");
        tool.install(&test, &["greet==1.0"]);
        has_greet(&test, "1.0");
        tool.install(&test, &[tool.reinstall, &["greet==1.0"]].concat());
        has_greet(&test, "1.0");
        kill_server(&test);
        test.mount().succeeds();
        has_greet(&test, "1.0");
        tool.uninstall(&test, "greet");
        test.python("import greet").exits(1).says("No module named 'greet'");
        assert!(!test.venv.join("bin/greet").exists());
        test.python("import space.guest").succeeds();
        remount(&test).says("greet 1.0 was uninstalled in");
        test.python("import greet").exits(1).says("No module named 'greet'");
        assert!(!test.venv.join("bin/greet").exists());
        tool.install(&test, &["greet==2.0"]);
        has_greet(&test, "2.0");
    }
}

#[test]
fn what_is_locked_can_be_reinstalled_and_uninstalled_where_it_is_mounted() {
    for tool in TOOLS {
        let Some(test) = sandbox() else { return };
        test.mount().succeeds();
        tool.install(&test, &[tool.reinstall, &["greet==1.0"]].concat());
        has_greet(&test, "1.0");
        tool.uninstall(&test, "guest");
        test.python("import guest").exits(1).says("No module named 'guest'");
        assert!(!test.site_packages().join("space").exists(), "{} leaves the namespace", tool.name);
        remount(&test);
        test.python("import guest").exits(1).says("No module named 'guest'");
        tool.is_sound(&test);
    }
}

#[test]
fn new_distributions_come_and_go_beside_what_is_mounted() {
    for tool in TOOLS {
        let Some(test) = sandbox() else { return };
        test.mount().succeeds();
        tool.install(&test, &["extra==1.0"]);
        tool.install(&test, &["extra==2.0"]);
        let words = "import extra, space.extra, space.guest; print(extra.word, space.extra.word)";
        test.python(words).succeeds().prints("extra 2.0 in space, too");
        remount(&test);
        test.python(words).succeeds().prints("extra 2.0 in space, too");
        test.unmount().succeeds();
        test.python("import extra, space.extra; print(extra.word)").succeeds().prints("extra 2.0");
        test.python("import guest").exits(1);
        test.mount().succeeds();
        tool.uninstall(&test, "extra");
        test.python("import extra").exits(1).says("No module named 'extra'");
        test.python("import space.guest").succeeds();
        assert!(!test.venv.join("bin/extra").exists());
        tool.is_sound(&test);
        has_greet(&test, "1.0");
    }
}

#[test]
fn a_changed_lock_shows_its_versions_and_private_additions_stay() {
    let Some(test) = sandbox() else { return };
    test.unpack(&[greet("2.0")]);
    test.mount().succeeds();
    has_greet(&test, "1.0");
    TOOLS[0].install(&test, &["extra==1.0"]);
    fs_err::remove_file(test.site_packages().join("greet/deep/er.py")).unwrap();
    fs_err::write(test.site_packages().join("greet/mine.py"), "").unwrap();
    test.unmount().succeeds();
    test.lock("greet==2.0\nguest==3.0");
    test.mount().succeeds();
    has_greet(&test, "2.0");
    test.python("import extra, greet.mine, greet.deep.er; print(extra.word)").succeeds().prints("extra 1.0");
    TOOLS[0].is_sound(&test);
}

#[test]
fn reset_goes_back_to_the_lock_and_loses_nothing() {
    for tool in TOOLS {
        let Some(test) = sandbox() else { return };
        let at = |path: &str| test.site_packages().join(path);
        test.mount().succeeds();
        tool.install(&test, &["greet==2.0", "extra==1.0"]);
        tool.uninstall(&test, "guest");
        fs_err::write(at("greet/mine.py"), "").unwrap();
        fs_err::remove_file(at("beside.py")).unwrap();
        fs_err::write(at("beside.py"), "word = 'changed'\n").unwrap();
        test.python("import greet.mine, beside").succeeds();
        test.unmount().succeeds();

        test.mount_with(&["--reset"]).succeeds().says(".sitefs/set-aside/1");
        for _ in 0..2 {
            has_greet(&test, "1.0");
            test.python("import extra, greet.mine; print(extra.word)").succeeds().prints("extra 1.0");
            tool.is_sound(&test);
            remount(&test).says_nothing_of("note");
        }
        let aside = test.venv.join(".sitefs/set-aside/1");
        let aside_at = |path: &str| aside.join(at(path).strip_prefix(&test.venv).unwrap());
        assert_eq!(fs_err::read_to_string(aside_at("beside.py")).unwrap(), "word = 'changed'\n");
        assert!(fs_err::read_to_string(aside_at("greet/__init__.py")).unwrap().contains("hello 2.0"));
        assert!(aside_at("greet-2.0.dist-info/METADATA").exists() && aside.join("bin/greet").exists());
        test.unmount().succeeds();
        test.mount_with(&["--reset"]).succeeds().says_nothing_of("set-aside");
    }
}

#[test]
fn uv_pip_sync_makes_the_environment_as_another_lock_says() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let other = test.root().join("other.txt");
    fs_err::write(&other, "greet==2.0\nextra==1.0\n").unwrap();
    let sync = ["sync", "--no-index", "--find-links", "wheels", "other.txt"];
    uv(&test, &sync).succeeds();
    let listed = || uv(&test, &["list", "--format=freeze"]).succeeds().stdout;
    assert_eq!(listed(), "extra==1.0\ngreet==2.0\n");
    remount(&test).says("guest 3.0 was uninstalled in");
    assert_eq!(listed(), "extra==1.0\ngreet==2.0\n");
    test.python("import extra, greet; print(greet.word)").succeeds().prints("hello 2.0");
    uv(&test, &["sync", "--dry-run", "--no-index", "--find-links", "wheels", "other.txt"])
        .succeeds()
        .says("Would make no changes");
}

#[test]
fn pip_installs_into_a_target_in_the_mount() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let target = test.site_packages().join("greet/vendored");
    let arguments = [
        "install",
        "--no-index",
        "--find-links",
        "wheels",
        "--no-deps",
        "--target",
        target.to_str().unwrap(),
    ];
    for tool in &TOOLS {
        (tool.run)(&test, &[&arguments[..], &["extra==1.0"]].concat()).succeeds();
        test.python("import greet.vendored.extra as it; print(it.word)").succeeds().prints("extra 1.0");
        (tool.run)(&test, &[&arguments[..], &["--upgrade", "extra==2.0"]].concat()).succeeds();
        remount(&test);
        test.python("import greet.vendored.extra as it; print(it.word)").succeeds().prints("extra 2.0");
        fs_err::remove_dir_all(&target).unwrap();
    }
    has_greet(&test, "1.0");
}

#[test]
fn compileall_compiles_all_that_is_mounted() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let python = test.venv.join("bin/python");
    for options in [&["-q"][..], &["-q", "-j", "4", "-f"], &["-q", "-o", "2"]] {
        let path = test.site_packages();
        let arguments = [&["-m", "compileall"], options, &[path.to_str().unwrap()]].concat();
        let outcome = test.run(&python, &arguments).succeeds();
        assert_eq!(outcome.stdout + &outcome.stderr, "");
    }
    assert!(fs_err::read_dir(test.site_packages().join("guest/__pycache__")).unwrap().count() == 2);
    test.unmount().succeeds();
    assert!(!test.site_packages().join("guest").exists());
}

const BACKEND: &str = r#"
import zipfile
INFO = "editable-1.0.dist-info"
def build_editable(folder, config_settings=None, metadata_directory=None):
    import os
    files = {"editable.pth": os.getcwd() + "/src\n", f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: editable\nVersion: 1.0\nRequires-Dist: greet\n",
             f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files[f"{INFO}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{INFO}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, "editable-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "editable-1.0-py3-none-any.whl"
"#;

/// A project that is installed editable, and needs greet.
fn editable(test: &Sandbox) -> PathBuf {
    let folder = test.root().join("a-project");
    fs_err::create_dir_all(folder.join("src")).unwrap();
    let project = "[project]\nname = \"editable\"\nversion = \"1.0\"\ndependencies = [\"greet\"]\n\
                   [build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    fs_err::write(folder.join("pyproject.toml"), project).unwrap();
    fs_err::write(folder.join("backend.py"), BACKEND).unwrap();
    fs_err::write(folder.join("src/editable.py"), "word = 'first'\n").unwrap();
    folder
}

#[test]
fn editable_installs_work_and_follow_their_source() {
    for tool in TOOLS {
        let Some(test) = sandbox() else { return };
        let folder = editable(&test);
        test.mount().succeeds();
        tool.install(&test, &["--no-build-isolation", "-e", folder.to_str().unwrap()]);
        let word = "import editable, greet; print(editable.word)";
        test.python(word).succeeds().prints("first");
        fs_err::write(folder.join("src/editable.py"), "word = 'and second'\n").unwrap();
        remount(&test);
        test.python(word).succeeds().prints("and second");
        tool.uninstall(&test, "editable");
        test.python(word).exits(1).says("No module named 'editable'");
        has_greet(&test, "1.0");
    }
}

/// The project's own uv, whose cache is the one that is mounted: what it has unpacked there stays as it is.
#[test]
fn uv_sync_in_a_project_follows_its_lock_in_the_mounted_environment() {
    let Some(test) = sandbox() else { return };
    let project = test.root().join("project");
    fs_err::create_dir(&project).unwrap();
    let wants = |dependencies: &str| {
        let text = format!(
            "[project]\nname = \"project\"\nversion = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [{dependencies}]\n"
        );
        fs_err::write(project.join("pyproject.toml"), text).unwrap();
    };
    let uv = |arguments: &[&str]| {
        let mut command = Uv::new(&test.cache, &test.home()).command(arguments);
        command.args(["--no-index", "--find-links", "../wheels", "--python"]).arg(&test.python);
        Outcome::of(command.env("UV_PROJECT_ENVIRONMENT", &test.venv).current_dir(&project)).succeeds()
    };
    let archives = crate::common::exact_tree(&test.cache.join("archive-v0"));
    wants("\"greet==1.0\", \"guest\"");
    uv(&["lock"]);
    let lock = project.join("uv.lock");
    let mut command = test.sitefs_command([Path::new("mount"), Path::new("-r"), &lock]);
    Outcome::of(command.args([&test.venv, &test.cache])).succeeds();
    uv(&["sync", "--locked"]).says_nothing_of("Installed");
    has_greet(&test, "1.0");

    wants("\"greet==2.0\", \"extra\", \"guest\"");
    uv(&["sync"]);
    has_greet(&test, "2.0");
    test.python("import extra; print(extra.word)").succeeds().prints("extra 2.0");
    wants("\"greet==1.0\"");
    uv(&["sync"]);
    test.python("import greet; print(greet.word)").succeeds().prints("hello 1.0");
    test.python("import guest").exits(1);
    test.python("import extra").exits(1);
    let now = crate::common::exact_tree(&test.cache.join("archive-v0"));
    let same = now.into_iter().filter(|(path, _)| archives.contains_key(path)).collect();
    crate::common::assert_same("before", &archives, "after", &same);
    test.seal_cache();
}
