//! One link for a whole directory, where that is safe.

use std::path::Path;

use crate::common::{Libraries, Outcome, Sandbox, WheelBuilder, assert_same, exact_tree, pip};
use crate::{FOLDED, GREET, GUEST, Place, greet, guest, mode, mount, seen};

#[test]
fn a_package_is_one_link_and_the_environment_as_ever() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = place.environment();
    mount(&place, "symlink").succeeds();
    let expected = seen(&place);
    place.unmount().succeeds();

    mount(&place, FOLDED).succeeds().says("(symlink, folded, from");
    assert_same("symlink", &expected, "folded", &seen(&place));
    for folded in ["greet", "guest", "space/greet"] {
        assert!(is_link(&place, folded), "{folded}");
    }
    for real in ["space", "greet-1.0.dist-info", "guest-3.0.dist-info", "guest-3.0.dist-info/licenses"] {
        assert!(!is_link(&place, real), "{real}");
    }
    place.look(GUEST).succeeds().prints("guest of hello 1.0");
    place.run(place.venv.join("bin/greet-shell"), &[]).succeeds().prints("shell");
    assert_eq!(place.status().json()["mount"]["folded"], true);
    place.sitefs(["status", "venv"]).succeeds().says("mounted (symlink, folded)");
    place
        .sitefs(["why", "venv", "guest/deep/er/data.txt"])
        .succeeds()
        .says("from    guest 3.0")
        .says("target");
    place.sitefs(["why", "venv", "greet"]).succeeds().says("from    greet 1.0").says("/greet");
    for tool in [uv_pip, pip_from_outside] {
        tool(&place, &["check"]).succeeds();
    }
    place.unmount().succeeds();
    place.nothing_left(&before);
}

#[test]
fn fold_is_for_links_alone() {
    let place = Place::with_wheels([greet("1.0")]);
    let before = place.environment();
    for (options, name) in [
        (&["--fold"][..], "auto"),
        (&["--fold", "--link-mode", "copy"], "copy"),
        (&["--fold", "--link-mode", "fuse", "--fallback"], "fuse"),
    ] {
        place
            .mount_with(options)
            .fails()
            .says(&format!("--fold makes links, and the link mode is {name}"))
            .says("--link-mode symlink");
        place.nothing_left(&before);
    }
    place.sitefs(["run", "--fold", "--venv", "venv", "--", "true"]).fails().says("--link-mode symlink");
    let words =
        ["run", "--fold", "--link-mode", "symlink", "-r", "requirements.txt", "--venv", "venv", "--cache"];
    let mut run = place.sitefs_command(words);
    run.args(["cache", "--", "python", "-c"]).arg(format!("{GREET}; import os; print(greet.__file__)"));
    run.args(["python"]).env("PYTHONDONTWRITEBYTECODE", "1");
    Outcome::of(&mut run).succeeds().says("hello 1.0");
    place.nothing_left(&before);
}

#[test]
fn run_beside_a_folded_mount_uses_it_unless_it_asks_for_something_else() {
    let place = Place::with_wheels([greet("1.0")]);
    mount(&place, FOLDED).succeeds();
    let run = |options: &[&str]| {
        let mut command =
            place.sitefs_command(["run", "-r", "requirements.txt", "--venv", "venv", "--cache", "cache"]);
        command.args(options).args(["--", "python", "-c", GREET]).env("PYTHONDONTWRITEBYTECODE", "1");
        Outcome::of(&mut command)
    };
    run(&[]).succeeds().prints("hello 1.0");
    run(&["--link-mode", "symlink", "--fold"]).succeeds().prints("hello 1.0");
    run(&["--link-mode", "symlink"]).fails().says("mounted already, with link mode symlink, folded");
    mount(&place, "symlink").succeeds();
    run(&["--link-mode", "symlink", "--fold"]).fails().says("mounted already, with link mode symlink");
}

/// A namespace stays a directory, so that what a user adds does not end in the cache, as the sandbox checks.
#[test]
fn a_user_adds_a_package_to_a_namespace() {
    let storage = WheelBuilder::new("google-storage", "1.0")
        .file("google/cloud/storage/__init__.py", "word = 'storage'\n")
        .file("google/cloud/storage/deep/data.txt", "");
    let auth = WheelBuilder::new("google-auth", "1.0").file("google/auth/__init__.py", "word = 'auth'\n");
    let extended = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n";
    let old = WheelBuilder::new("old-one", "1.0")
        .file("old/__init__.py", extended)
        .file("old/one/__init__.py", "word = 'old one'\n");
    let older = WheelBuilder::new("older-one", "1.0")
        .file("older/__init__.py", "__import__('pkg_resources').declare_namespace(__name__)\n")
        .file("older/one/__init__.py", "");
    let place = Place::with_wheels([storage, auth, old, older]);
    let added = WheelBuilder::new("added", "1.0")
        .file("google/cloud/added/__init__.py", "word = 'added'\n")
        .file("old/__init__.py", extended)
        .file("old/added/__init__.py", "word = 'added too'\n");
    added.build(&place.root().join("wheels"));
    mount(&place, FOLDED).succeeds();
    for real in ["google", "google/cloud", "old", "older"] {
        assert!(!is_link(&place, real), "{real}");
    }
    for folded in ["google/cloud/storage", "google/auth", "old/one", "older/one"] {
        assert!(is_link(&place, folded), "{folded}");
    }
    let code =
        "import google.cloud.storage as a, google.auth as b, old.one as c; print(a.word, b.word, c.word)";
    place.look(code).succeeds().prints("storage auth old one");

    uv_pip(&place, &["install", "--no-index", "--find-links", "wheels", "added"]).succeeds();
    let code = "import google.cloud.added as a, google.cloud.storage as b, old.added as c; print(a.word, b.word, c.word)";
    for _ in 0..2 {
        place.look(code).succeeds().prints("added storage added too");
        mount(&place, FOLDED).succeeds();
    }
    place.unmount().succeeds();
    place.look("import google.cloud.added as it; print(it.word)").succeeds().prints("added");
    place.look("import google.auth").exits(1);
}

#[test]
fn a_library_that_needs_another_wheel_keeps_its_directories_real() {
    let folder = tempfile::tempdir().unwrap();
    let Some(wheels) = Libraries::in_two_wheels(folder.path()) else { return };
    let place = Place::with_wheels(wheels.clone());
    mount(&place, FOLDED).succeeds();
    assert!(!is_link(&place, "one") && !is_link(&place, "one/lib"));
    assert!(is_link(&place, "one/lib/libone.so") && is_link(&place, "other"));
    place.look(&Libraries::call("lib")).succeeds().prints("42");
    place.unmount().succeeds();

    // So it would be, were they links.
    let site_packages = place.site_packages();
    for (wheel, name) in wheels.iter().zip(["one", "other"]) {
        std::os::unix::fs::symlink(place.archive(wheel).join(name), site_packages.join(name)).unwrap();
    }
    place.look(&Libraries::call("lib")).exits(1).says("libother.so: cannot open shared object file");
}

#[test]
fn a_library_that_needs_its_own_wheel_is_folded() {
    let folder = tempfile::tempdir().unwrap();
    let Some(wheel) = Libraries::in_one_wheel(folder.path()) else { return };
    let place = Place::with_wheels([wheel]);
    mount(&place, FOLDED).succeeds();
    assert!(is_link(&place, "one") && is_link(&place, "one.libs"));
    place.look(&Libraries::call("core")).succeeds().prints("42");
    place.unmount().succeeds();

    // Another wheel that has a part of that directory: then it is not only its own wheel that the library reaches.
    place.unpack(&[WheelBuilder::new("more", "1.0").file("one.libs/libmore.so", "")]);
    place.lock("one==1.0\nmore==1.0");
    mount(&place, FOLDED).succeeds();
    assert!(!is_link(&place, "one") && !is_link(&place, "one/core") && !is_link(&place, "one.libs"));
    place.look(&Libraries::call("core")).succeeds().prints("42");
}

#[test]
fn a_library_that_cannot_be_understood_is_not_folded() {
    let wheel = WheelBuilder::new("odd", "1.0")
        .file("odd/__init__.py", "word = 'odd'\n")
        .file(
            "odd/native/broken.so",
            b"\x7fELF and then nonsense, which is long enough for a header of an ELF file, is it",
        )
        .file("odd/short/empty.so", "")
        .file("odd/short/three.so", b"\x7fEL");
    let place = Place::with_wheels([wheel]);
    mount(&place, FOLDED).succeeds();
    assert!(!is_link(&place, "odd") && !is_link(&place, "odd/native") && is_link(&place, "odd/short"));
    place.look("import odd; print(odd.word)").succeeds().prints("odd");
}

#[test]
fn another_distribution_unfolds_what_it_needs_and_folds_it_again_when_it_goes() {
    let plugin = || WheelBuilder::new("plugin", "1.0").file("greet/plugins/it.py", "word = 'plugged'\n");
    let place = Place::new();
    place.unpack(&[greet("1.0"), greet("2.0"), guest(), plugin()]);
    let before = place.environment();
    for _ in 0..2 {
        place.lock("greet==1.0\nguest==3.0");
        mount(&place, FOLDED).succeeds();
        assert!(is_link(&place, "greet"));
        let guests = identity(&place, "guest");

        place.lock("greet==1.0\nguest==3.0\nplugin==1.0");
        mount(&place, FOLDED).succeeds();
        assert!(!is_link(&place, "greet") && is_link(&place, "greet/__init__.py"));
        place.look("import greet, greet.plugins.it as it; print(it.word)").succeeds().prints("plugged");
        assert_eq!(guests, identity(&place, "guest"), "what does not differ stays untouched");
    }
    place.lock("greet==2.0\nguest==3.0");
    mount(&place, FOLDED).succeeds();
    place.look(GUEST).succeeds().prints("guest of hello 2.0");
    assert!(is_link(&place, "greet"));
    mount(&place, "symlink").succeeds();
    assert!(!is_link(&place, "greet") && mode(&place) == "symlink", "without --fold it is unfolded");
    place.unmount().succeeds();
    place.nothing_left(&before);
}

#[test]
fn where_the_user_has_something_nothing_is_folded() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let own = place.site_packages().join("guest/deep/mine.txt");
    fs_err::create_dir_all(own.parent().unwrap()).unwrap();
    fs_err::write(&own, "mine").unwrap();
    fs_err::create_dir_all(place.site_packages().join("space/greet/empty")).unwrap();
    let before = place.environment();
    mount(&place, FOLDED).succeeds();
    for real in ["guest", "guest/deep", "space/greet"] {
        assert!(!is_link(&place, real), "{real}");
    }
    assert!(is_link(&place, "greet") && is_link(&place, "guest/deep/er"));
    place.look(GUEST).succeeds().prints("guest of hello 1.0");
    // Unfolded, it can be added to.
    mount(&place, "symlink").succeeds();
    fs_err::write(place.site_packages().join("greet/mine.py"), "word = 'mine'\n").unwrap();
    mount(&place, FOLDED).succeeds();
    place.look("import greet.mine as it; print(it.word)").succeeds().prints("mine");
    place.unmount().succeeds();
    fs_err::remove_file(place.site_packages().join("greet/mine.py")).unwrap();
    fs_err::remove_dir(place.site_packages().join("greet")).unwrap();
    place.nothing_left(&before);
}

#[test]
fn where_the_user_removed_something_nothing_is_folded() {
    if !crate::common::fuse() {
        return;
    }
    let place = Place::with_wheels([greet("1.0"), guest()]);
    mount(&place, "fuse").succeeds();
    fs_err::remove_file(place.site_packages().join("greet/empty.py")).unwrap();
    fs_err::remove_dir_all(place.site_packages().join("guest/deep")).unwrap();
    let expected = seen(&place);
    mount(&place, FOLDED).succeeds();
    assert_same("fuse", &expected, "folded", &seen(&place));
    assert!(!is_link(&place, "greet") && !is_link(&place, "guest") && is_link(&place, "space/greet"));
}

#[test]
fn bytecode_of_what_is_folded_goes_and_a_changed_copy_stays() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = place.environment();
    mount(&place, "copy").succeeds();
    for option in ["-B", "-O", "-OO", "-I"] {
        Outcome::of(place.command(place.venv.join("bin/python")).args([option, "-c", GUEST])).succeeds();
    }
    assert!(place.site_packages().join("guest/__pycache__").exists());
    let changed = place.site_packages().join("greet/__init__.py");
    fs_err::write(&changed, "word = 'mine'\n").unwrap();
    mount(&place, FOLDED).succeeds();
    assert!(is_link(&place, "guest") && !is_link(&place, "greet"));
    place.look(GUEST).succeeds().prints("guest of mine");
    place.unmount().succeeds();
    fs_err::remove_dir_all(changed.parent().unwrap()).unwrap();
    place.nothing_left(&before);
}

/// As docs/link-modes.md says: nothing but `--fold` does this.
#[test]
fn through_a_folded_directory_python_writes_bytecode_into_the_cache() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let archive = place.archive(&greet("1.0"));
    let before = exact_tree(&archive);
    mount(&place, FOLDED).succeeds();
    place.python(GREET).succeeds();
    let bytecode = archive.join("greet/__pycache__");
    assert!(bytecode.exists());
    fs_err::remove_dir_all(bytecode).unwrap();
    assert_same("before", &before, "after", &exact_tree(&archive));
}

/// The same page says this: why folding is not the default. Per-file links keep the cache whole (tests/link/tools.rs).
#[test]
fn through_a_folded_directory_uv_uninstalls_from_the_cache_and_pip_does_not() {
    let place = Place::with_wheels([greet("1.0")]);
    let archive = place.archive(&greet("1.0"));
    let before = exact_tree(&archive);
    mount(&place, FOLDED).succeeds();
    pip_from_outside(&place, &["uninstall", "--yes", "greet"]);
    assert_same("before", &before, "after pip", &exact_tree(&archive));

    mount(&place, FOLDED).succeeds();
    let kept = place.root().join("kept");
    Outcome::of(place.command("cp").arg("-aT").arg(&archive).arg(&kept)).succeeds();
    uv_pip(&place, &["uninstall", "greet"]);
    assert!(!archive.join("greet/__init__.py").exists(), "uv has learnt not to: the page is to be changed");
    Outcome::of(place.command("cp").arg("-aT").arg(&kept).arg(&archive)).succeeds();
}

pub(crate) fn is_link(test: &Sandbox, path: impl AsRef<Path>) -> bool {
    fs_err::symlink_metadata(test.site_packages().join(path.as_ref())).unwrap().is_symlink()
}

fn identity(test: &Sandbox, path: &str) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs_err::symlink_metadata(test.site_packages().join(path)).unwrap();
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

fn uv_pip(test: &Sandbox, arguments: &[&str]) -> Outcome {
    let mut command = test.onlooking_uv().command(["pip"]);
    command.args(arguments).arg("--python").arg(test.venv.join("bin/python")).current_dir(test.root());
    Outcome::of(&mut command)
}

fn pip_from_outside(test: &Sandbox, arguments: &[&str]) -> Outcome {
    Outcome::of(pip(&test.venv, &test.home(), arguments).current_dir(test.root()))
}
