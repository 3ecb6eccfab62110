//! pip and uv in an environment that was made real.

use crate::common::{Outcome, Sandbox, Tree, assert_same, pip};
use crate::{GREET, GUEST, Place, greet, guest, mount, seen};

#[test]
fn list_and_check_say_what_is_locked_in_every_mode() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    for mode in place.all_modes() {
        mount(&place, mode).succeeds();
        for tool in [uv, pip_from_outside] {
            let listed = tool(&place, &["list", "--format=json"]).succeeds().json();
            let names: Vec<_> = listed.as_array().unwrap().iter().map(|it| it["name"].as_str()).collect();
            assert_eq!(names, [Some("greet"), Some("guest")], "{mode}");
            tool(&place, &["check"]).succeeds();
        }
        uv(&place, &["show", "--files", "greet"]).succeeds().says("share/greet/note.txt").says("bin/greet");
        place.unmount().succeeds();
    }
}

#[test]
fn what_a_tool_uninstalls_is_gone_and_a_remount_brings_it_back() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = without_uvs_lock(&place);
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        let complete = seen(&place);
        let uninstalls: [(Tool, &[&str]); 2] =
            [(uv, &["uninstall", "greet"]), (pip_from_outside, &["uninstall", "--yes", "greet"])];
        for (tool, arguments) in uninstalls {
            tool(&place, arguments).succeeds();
            for path in ["bin/greet", "bin/greet-shell", "share/greet/note.txt"] {
                assert!(!place.venv.join(path).exists(), "{path} is uninstalled in {mode}");
            }
            place.python(GREET).exits(1).says("No module named 'greet'");
            place.python("import space.guest as it; print(it.word)").succeeds().prints("in space");
            mount(&place, mode).succeeds();
            assert_same("first", &complete, "after uninstall and remount", &seen(&place));
        }
        // What was uninstalled and not brought back is no trouble either.
        uv(&place, &["uninstall", "guest"]).succeeds();
        place.unmount().succeeds();
        is_as(&place, &before);
    }
}

#[test]
fn an_upgrade_by_the_user_is_private_and_hides_the_locked_one() {
    let installs: [(Tool, &[&str]); 2] = [
        (uv, &["install", "--no-index", "--find-links", "wheels", "greet==2.0"]),
        (pip_from_outside, &["install", "--no-index", "--find-links", "wheels", "greet==2.0"]),
    ];
    for (tool, arguments) in installs {
        let place = Place::with_wheels([greet("1.0"), guest()]);
        greet("2.0").build(&place.root().join("wheels"));
        let before = without_uvs_lock(&place);
        for mode in &place.modes {
            mount(&place, mode).succeeds();
            tool(&place, arguments).succeeds();
            is_upgraded(&place);
            mount(&place, mode).succeeds().says("the environment's own greet hides the locked greet==1.0");
            is_upgraded(&place);
            place.unmount().succeeds();
            place.python(GREET).succeeds().prints("hello 2.0");
            place.python(GUEST).exits(1).says("No module named 'guest'");
            uv(&place, &["uninstall", "greet"]).succeeds();
            without_folders_that_uv_leaves(&place);
            is_as(&place, &before);
        }
    }
}

/// uv's own hard links have the time of the cache's file, as sitefs's have.
#[test]
fn an_upgrade_with_hard_links_from_the_same_cache_is_private_too() {
    let place = Place::with_wheels([guest()]);
    place.unpack(&[greet("1.0"), greet("2.0")]);
    place.lock("greet==1.0\nguest==3.0");
    let theirs = place.root().join("their-cache");
    Outcome::of(place.command("cp").arg("-al").arg(&place.cache).arg(&theirs)).succeeds();
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        let arguments = ["install", "--no-index", "--find-links", "wheels", "greet==2.0"];
        let uv = crate::common::Uv::new(&theirs, &place.home());
        let mut command = uv.command(["pip"]);
        command.args(arguments).args(["--python", "venv/bin/python"]).current_dir(place.root());
        Outcome::of(command.env("UV_LINK_MODE", "hardlink")).succeeds();
        mount(&place, mode).succeeds();
        is_upgraded(&place);
        place.unmount().succeeds();
        place.python(GREET).succeeds().prints("hello 2.0");
        place.python("import greet.empty, greet.only_2_0").succeeds();
        self::uv(&place, &["uninstall", "greet"]).succeeds();
    }
}

#[test]
fn the_locked_version_installed_again_by_the_user_is_the_users() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = without_uvs_lock(&place);
    let arguments = ["install", "--no-index", "--find-links", "wheels", "--force-reinstall", "greet==1.0"];
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        pip_from_outside(&place, &arguments).succeeds();
        mount(&place, mode).succeeds();
        place.python(GUEST).succeeds().prints("guest of hello 1.0");
        pip_from_outside(&place, &["check"]).succeeds();
        place.unmount().succeeds();
        place.python(GREET).succeeds().prints("hello 1.0");
        uv(&place, &["uninstall", "greet"]).succeeds();
        without_folders_that_uv_leaves(&place);
        is_as(&place, &before);
    }
}

/// uv's own hard links and links are to the cache's files, as sitefs's are: only the dist-info tells them apart.
#[test]
fn the_locked_version_installed_again_with_links_to_the_same_cache_is_the_users() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        let mut command = place.uv().command(["pip", "install", "--no-index", "--find-links", "wheels"]);
        command.args(["--reinstall-package=greet", "greet==1.0", "--python", "venv/bin/python"]);
        let theirs = if *mode == "copy" { "hardlink" } else { mode };
        Outcome::of(command.env("UV_LINK_MODE", theirs).current_dir(place.root())).succeeds();
        place.seal_cache();
        place.unmount().succeeds();
        place.python(GREET).succeeds().prints("hello 1.0");

        mount(&place, mode).succeeds().says("the environment's own greet hides the locked greet==1.0");
        place.python(GUEST).succeeds().prints("guest of hello 1.0");
        place.unmount().succeeds();
        place.python(GREET).succeeds().prints("hello 1.0");
        place.python("import greet.empty, greet.only_1_0").succeeds();
        uv(&place, &["uninstall", "greet"]).succeeds();
        place.python(GREET).exits(1);
    }
}

fn without_folders_that_uv_leaves(test: &Sandbox) {
    assert!(fs_err::remove_dir(test.venv.join("share/greet")).is_ok(), "it is empty");
    fs_err::remove_dir(test.venv.join("share")).unwrap();
}

fn is_as(test: &Sandbox, before: &Tree) {
    assert_same("before", before, "after", &without_uvs_lock(test));
}

fn without_uvs_lock(test: &Sandbox) -> Tree {
    test.environment().into_iter().filter(|(path, _)| !path.ends_with(".lock")).collect()
}

fn is_upgraded(test: &Sandbox) {
    test.python(GUEST).succeeds().prints("guest of hello 2.0");
    test.python("import greet.only_1_0").exits(1).says("No module named 'greet.only_1_0'");
    test.run(test.venv.join("bin/greet"), &[]).succeeds().prints("hello 2.0");
    uv(test, &["check"]).succeeds();
    let version = "import importlib.metadata as m; print([d.version for d in m.distributions(name='greet')])";
    test.python(version).succeeds().prints("['2.0']");
}

type Tool = fn(&Sandbox, &[&str]) -> Outcome;

/// `uv pip ARGUMENTS --python VENV`, with a cache apart.
fn uv(test: &Sandbox, arguments: &[&str]) -> Outcome {
    let mut command = test.onlooking_uv().command(["pip"]);
    command.args(arguments).arg("--python").arg(test.venv.join("bin/python")).current_dir(test.root());
    Outcome::of(&mut command)
}

fn pip_from_outside(test: &Sandbox, arguments: &[&str]) -> Outcome {
    Outcome::of(pip(&test.venv, &test.home(), arguments).current_dir(test.root()))
}
