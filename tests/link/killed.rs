//! Killed at any moment: the next command completes it or undoes it, and nothing of the user's is lost.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Outcome, Sandbox, Tree, WheelBuilder, assert_same, exact_tree};
use crate::{FILE_MODES, FOLDED, Place, link_mode, mount, seen, state};

#[test]
fn a_mount_or_unmount_that_is_killed_is_completed_or_undone() {
    let place = Place::of_corpus("small", 256);
    for mode in place.every_mode() {
        survives_kills(&place, mode, 4);
    }
}

#[test]
#[ignore = "long: `make test-long`"]
fn a_mount_or_unmount_of_the_cloud_corpus_that_is_killed_is_completed_or_undone() {
    let place = Place::of_corpus("cloud", 1024);
    let mut incomplete = 0;
    for mode in place.every_mode() {
        let seen = survives_kills(&place, mode, 12);
        incomplete += if FILE_MODES.contains(&mode) { seen } else { 0 };
    }
    assert!(incomplete > 0, "no kill came in the middle");
}

#[test]
fn a_switch_that_is_killed_is_completed_or_undone() {
    let place = Place::of_corpus("small", 256);
    let before = with_own_files(&place);
    let mut modes = place.modes.clone();
    modes.insert(1, FOLDED);
    for (round, pair) in (0..).zip(modes.iter().zip(modes.iter().cycle().skip(1))) {
        mount(&place, pair.0).succeeds();
        let time = Duration::from_millis(20 * (round + 1));
        kill_after(time, &place, &[&["mount"], &*link_mode(pair.1)].concat());
        mount(&place, pair.1).succeeds();
        assert_eq!(state(&place), "mounted");
        place.unmount().succeeds();
        place.nothing_left(&before);
    }
}

#[test]
fn what_was_not_finished_takes_no_room_once_unmounted() {
    let large = WheelBuilder::new("large", "1.0").file("large.bin", [7; 64 << 20].as_slice());
    let test = Sandbox::new().with_wheels([large]);
    let before = test.environment();
    let staging = test.venv.join(".sitefs/staging");
    let mut mounting = test.sitefs_command(["mount", "--link-mode", "copy", "-r"]);
    mounting.arg(&test.requirements).arg(&test.venv).arg(&test.cache);
    let mut mounting = mounting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !staging.exists() {
        assert!(mounting.try_wait().unwrap().is_none(), "it goes through {}", staging.display());
        std::thread::yield_now();
    }
    mounting.kill().unwrap();
    mounting.wait().unwrap();
    assert!(staging.exists());
    test.unmount().succeeds();
    assert!(!staging.exists());
    test.nothing_left(&before);
    test.unmount().fails().says("is not mounted");
}

/// Kills mounts and unmounts at moments spread over the time that they take. How many were found incomplete.
fn survives_kills(test: &Sandbox, mode: &str, kills: u32) -> usize {
    let before = with_own_files(test);
    let (mounting, expected) = timed(|| mount(test, mode).succeeds(), || seen(test));
    let (unmounting, _) = timed(|| test.unmount().succeeds(), || ());
    test.nothing_left(&before);
    let mut incomplete = 0;
    for kill in 0..kills {
        let words = [&["mount"], &*link_mode(mode)].concat();
        kill_after(mounting * (2 * kill + 1) / (2 * kills), test, &words);
        incomplete += usize::from(is_incomplete(test, mode));
        ends_well(test, mode, kill, &before, &expected);

        mount(test, mode).succeeds();
        // Folded, bytecode goes to the cache; mounted, none is written.
        if FILE_MODES.contains(&mode) {
            compile(test);
        }
        kill_after(unmounting * (2 * kill + 1) / (2 * kills), test, &["unmount"]);
        incomplete += usize::from(is_incomplete(test, mode));
        ends_well(test, mode, kill, &before, &expected);
    }
    incomplete
}

/// The next command, whichever it is, makes it right.
fn ends_well(test: &Sandbox, mode: &str, round: u32, before: &Tree, expected: &Tree) {
    if round.is_multiple_of(2) {
        let outcome = mount(test, mode);
        if outcome.code() != Some(0) {
            assert_eq!(mode, "fuse", "{outcome}");
            outcome.says("mounted already");
        }
        assert_eq!(state(test), "mounted");
        assert_same("expected", expected, "mounted again", &seen(test));
    }
    let outcome = test.unmount();
    if outcome.code() != Some(0) {
        outcome.fails().says("is not mounted");
    }
    assert_eq!(state(test), "unmounted");
    test.nothing_left(before);
    let left: Vec<_> =
        exact_tree(&test.venv).into_keys().filter(|path| path.ends_with("__pycache__")).collect();
    assert!(left.is_empty(), "bytecode is left in {left:?}");
}

/// What status says is so.
fn is_incomplete(test: &Sandbox, mode: &str) -> bool {
    let is_there = test.venv.join(".sitefs/placed.json").exists();
    match state(test).as_str() {
        // A server that is just starting or ending goes on alone.
        "unmounted" | "mounted" | "dead" | "detached" if mode == "fuse" => {}
        "unmounted" => assert!(!is_there, "there is something to undo in {mode}"),
        "mounted" => assert!(test.site_packages().join("requests/api.py").exists()),
        "incomplete" => return true,
        other => panic!("{mode} is {other}"),
    }
    false
}

fn kill_after(time: Duration, test: &Sandbox, verb: &[&str]) {
    let mut command = test.sitefs_command(verb);
    if verb[0] == "mount" {
        command.arg("-r").arg(&test.requirements).arg(&test.venv).arg(&test.cache);
    } else {
        command.arg(&test.venv);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn compile(test: &Sandbox) {
    test.python("import requests, idna").succeeds();
}

fn timed<T>(act: impl Fn() -> Outcome, then: impl Fn() -> T) -> (Duration, T) {
    let started = Instant::now();
    act();
    (started.elapsed(), then())
}

/// Files of the user, one of them in the way of a planned one.
fn with_own_files(test: &Sandbox) -> Tree {
    let idna = test.site_packages().join("idna");
    fs_err::create_dir_all(&idna).unwrap();
    fs_err::write(idna.join("py.typed"), "mine\n").unwrap();
    fs_err::write(test.site_packages().join("mine.py"), "word = 'mine'\n").unwrap();
    test.environment()
}
