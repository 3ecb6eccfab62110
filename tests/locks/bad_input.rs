//! Locks that are broken, too new, or not for this: a clear word, and nothing is left.

use crate::project::Project;
use crate::{two_pythons, wheel};

fn project() -> Project {
    let [_, python] = two_pythons();
    let project = Project::new(&python).with_wheels([wheel("alpha", "1.0", &["beta"]), wheel("beta", "1.0", &[])]).file(
        "pyproject.toml",
        "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.10\"\ndependencies = [\"alpha\"]\n",
    );
    project.uv(&["lock"]).succeeds();
    project.uv(&["export", "--quiet", "--format", "pylock.toml", "-o", "pylock.toml"]).succeeds();
    project.sync(&[]).unwrap();
    project.test.seal_cache();
    project
}

fn changed(project: &Project, lock: &str, from: &str, to: &str) -> String {
    let path = project.folder.join(lock);
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs_err::write(&path, text.replacen(from, to, 1)).unwrap();
    let told = project.mount(lock, &[]).map(|seen| seen.list);
    fs_err::write(&path, text).unwrap();
    told.unwrap_or_else(|error| error)
}

#[test]
fn a_broken_lock_says_what_is_wrong_and_where() {
    let project = project();
    let before = project.test.environment();
    for (lock, from, to, expected) in [
        ("uv.lock", "version = 1\n", "version = 2\n", "has version 2, and only version 1 is known"),
        (
            "uv.lock",
            "version = 1\n",
            "version = 2\nmanifest = 3\n",
            "has version 2, and only version 1 is known",
        ),
        ("uv.lock", "version = 1\n", "", "missing field `version`"),
        ("uv.lock", "version = 1\n", "version = 1\nversion = 1\n", "uv.lock:2: duplicate key"),
        (
            "uv.lock",
            "requires-python = \">=3.10\"",
            "requires-python = \">=4\"",
            "is not compatible with the locked Python requirement: `>=4`",
        ),
        (
            "uv.lock",
            "requires-python = \">=3.10\"",
            "requires-python = \"new\"",
            "`requires-python = \"new\"` is not understood",
        ),
        (
            "uv.lock",
            "[[package]]",
            "supported-markers = [\"sys_platform == 'win32'\"]\n[[package]]",
            "The current Python platform is not compatible with the lockfile's supported environments: `sys_platform == 'win32'`",
        ),
        (
            "uv.lock",
            "[[package]]\nname = \"beta\"",
            "[[package]]\nname = \"gamma\"",
            "the lock has no entry for `beta`",
        ),
        (
            "uv.lock",
            "[[package]]\nname = \"app\"",
            "[[package]]\nname = \"gamma\"",
            "the lock has no entry for `app`",
        ),
        (
            "uv.lock",
            "[[package]]\nname = \"alpha\"",
            "[[package]]\nname = \"../alpha\"",
            "`../alpha` is not the name of a distribution",
        ),
        (
            "uv.lock",
            "{ name = \"beta\" }",
            "{ name = \"beta\", marker = \"nonsense\" }",
            "`alpha` depends on `beta`: the marker `nonsense` is not understood",
        ),
        (
            "uv.lock",
            "beta-1.0-py3-none-any.whl",
            "beta-1.0-cp26-none-any.whl",
            "`beta`: no wheel of the lock fits this interpreter, and there is no source archive",
        ),
        (
            "uv.lock",
            "source = { virtual = \".\" }",
            "source = { teleport = \".\" }",
            "`app`: its source is of a kind that is not known",
        ),
        (
            "pylock.toml",
            "lock-version = \"1.0\"",
            "lock-version = \"2.0\"",
            "has version 2.0, and only version 1.0 is known",
        ),
        ("pylock.toml", "lock-version = \"1.0\"", "", "missing field `lock-version`"),
        ("pylock.toml", "lock-version = \"1.0\"", "lock-version = ", "pylock.toml:"),
        (
            "pylock.toml",
            "requires-python = \">=3.10\"",
            "requires-python = \">=4\"",
            "is not compatible with the locked Python requirement: `>=4`",
        ),
        (
            "pylock.toml",
            "requires-python = \">=3.10\"",
            "environments = [\"os_name == 'nt'\"]",
            "supported environments: `os_name == 'nt'`",
        ),
        (
            "pylock.toml",
            "name = \"beta\"",
            "name = \"beta\"\nmarker = \"'x in extras\"",
            "`beta`: the marker `'x in extras` is not understood: a quote is not closed",
        ),
        (
            "pylock.toml",
            "name = \"beta\"",
            "name = \"beta\"\narchive = { url = \"https://x.example/y.zip\", hashes = {} }",
            "`beta`: it has several sources, of which there may be but one",
        ),
        (
            "pylock.toml",
            "name = \"beta\"",
            "name = \"beta\"\nrequires-python = \"<3\"",
            "`beta`: The current Python version",
        ),
        ("pylock.toml", "sha256", "sha257", "1.0"),
        ("pylock.toml", "sha256 = \"", "sha256 = \"0", "a sha256 hash has 64 hexadecimal digits"),
        (
            "pylock.toml",
            "[[packages]]\nname = \"beta\"",
            "[[packages]]\nname = \"gamma\"\n\n[[packages]]\nname = \"beta\"",
            "`gamma`: it has no wheels, sdist, directory, vcs or archive",
        ),
    ] {
        let told = changed(&project, lock, from, to);
        assert!(told.contains(expected), "{lock} with {to:?} tells {told}\nnot {expected}");
        assert!(told.lines().count() <= 2, "{told}");
    }
    project.test.nothing_left(&before);
}

#[test]
fn a_hash_that_no_cached_wheel_has_is_missing_and_says_how_to_get_it() {
    let project = project();
    // uv notes the hashes of local wheels only when it is to check them.
    fs_err::remove_dir_all(&project.test.cache).unwrap();
    project.pip_sync("pylock.toml", &[]).unwrap();
    project.test.seal_cache();
    let text = fs_err::read_to_string(project.folder.join("pylock.toml")).unwrap();
    let start = text.find("sha256 = \"").unwrap() + 10;
    let digest = &text[start..start + 64];
    let told = changed(&project, "pylock.toml", digest, &"0".repeat(64));
    assert!(told.contains("its hash is none of those in the lock"), "{told}");
    assert!(told.contains("uv pip sync") && told.contains("pylock.toml"), "{told}");
}

#[test]
fn what_is_missing_is_got_by_the_command_that_is_told() {
    let project = project();
    let empty = project.test.root().join("empty-cache");
    fs_err::create_dir_all(empty.join("wheels-v1")).unwrap();
    let mut mount = project.test.sitefs_command(["mount", "-r", "uv.lock", "--no-dev"]);
    let outcome =
        crate::common::Outcome::of(mount.arg(&project.test.venv).arg(&empty).current_dir(&project.folder))
            .fails();
    let (_, command) = outcome.stderr.split_once("Get them with `").unwrap();
    let (command, _) = command.rsplit_once('`').unwrap();
    assert!(command.contains("uv sync --frozen") && command.contains("--no-dev"), "{command}");
    let mut shell = project.uv_command(["--version"]);
    let uv = shell.get_program().to_owned();
    let line = command.replace("uv sync", &format!("{} sync --find-links ../wheels", uv.display()));
    shell = project.test.command("sh");
    crate::common::Outcome::of(shell.args(["-c", &line]).current_dir(&project.folder)).succeeds();
    let mut mount = project.test.sitefs_command(["mount", "-r", "uv.lock", "--no-dev"]);
    crate::common::Outcome::of(mount.arg(&project.test.venv).arg(&empty).current_dir(&project.folder))
        .succeeds();
}

#[test]
fn what_is_missing_as_a_plain_folder_is_got_by_the_command_that_is_told() {
    let [_, python] = two_pythons();
    let table = "version = \"1.0\"\nrequires-python = \">=3.10\"\n";
    let project =
        Project::new(&python).package("linked", "linked", table).file("requirements.txt", "-e ./linked\n");
    project.pip_sync("requirements.txt", &[]).unwrap();
    for lock in ["requirements.txt", "pylock.toml"] {
        let project = &project;
        let mount = ["-r", lock, "--no-editable", "--link-mode", "symlink"];
        if lock == "pylock.toml" {
            project
                .uv(&["pip", "compile", "--quiet", "requirements.txt", "--format", lock, "-o", lock])
                .succeeds();
            fs_err::remove_dir_all(&project.test.cache).unwrap();
            project.pip_sync(lock, &[]).unwrap();
        }
        let told = project.mount_with(&mount).fails().stderr;
        let (_, command) = told.split_once("Get them with `").unwrap();
        let (command, _) = command.rsplit_once('`').unwrap();
        let uv = project.uv_command(["--version"]).get_program().to_owned();
        let line = command.replace("uv pip install", &format!("{} pip install --no-index", uv.display()));
        crate::common::Outcome::of(
            project.test.command("sh").args(["-c", &line]).current_dir(&project.folder),
        )
        .succeeds();
        project.mount_with(&mount).succeeds();
        project.test.unmount().succeeds();
    }
}

#[test]
fn options_that_do_not_apply_say_so() {
    let project = project().file("requirements.txt", "alpha==1.0\n");
    for (options, expected) in [
        (&["-r", "requirements.txt", "--extra", "x"][..], "--extra does not apply to a requirements.txt"),
        (&["-r", "requirements.txt", "--no-extra", "x"], "leave it out, or give a uv.lock or a pylock.toml"),
        (&["-r", "requirements.txt", "--no-install-package", "x"], "leave it out, or give a uv.lock"),
        (&["-r", "pylock.toml", "--no-install-local"], "--no-install-local does not apply to a pylock.toml"),
        (&["-r", "pylock.toml", "--no-extra", "x"], "Extra `x` is not defined in the lock's `extras`"),
        (&["-r", "pylock.toml", "--package", "x"], "--package does not apply to a pylock.toml"),
        (&["-r", "pylock.toml", "--extra", "x"], "Extra `x` is not defined in the lock's `extras`"),
        (
            &["-r", "pylock.toml", "--group", "x"],
            "Group `x` is not defined in the lock's `dependency-groups`",
        ),
        (&["-r", "uv.lock", "--package", "x"], "Package `x` not found in workspace"),
    ] {
        project.mount_with(options).fails().says(expected);
    }
    project.mount_with(&["-r", "uv.lock", "--extra", "a/b"]).exits(2).says("`a/b` is not the name");
    project.mount_with(&["-r", "uv.lock", "--group", "a", "--only-group", "b"]).exits(2);
}
