//! Environments in every place and of every Python.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use common::{Outcome, Sandbox, WheelBuilder, python, pythons, skip};

fn greet() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n\ndef main():\n    print(word)\n")
        .entry_point("console_scripts", "greet = greet:main")
        .data("scripts/greet-too", "#!python\nimport greet\ngreet.main()\n")
        .data("purelib/greet_more.py", "word = 'more'\n")
        .data("data/share/greet/note.txt", "a note\n")
        .data("headers/greet.h", "#define GREET 1\n")
}

/// Mount, import, run both kinds of scripts, look at the other files, unmount.
fn works(test: &Sandbox) {
    let before = test.environment();
    test.mount().succeeds();
    test.python("import greet, greet_more; print(greet.word, greet_more.word)")
        .succeeds()
        .prints("hello more");
    for script in ["greet", "greet-too"] {
        test.run(test.venv.join("bin").join(script), &[]).succeeds().prints("hello");
    }
    assert!(test.venv.join("share/greet/note.txt").exists());
    let version = test.site_packages().parent().unwrap().file_name().unwrap().to_owned();
    assert!(test.venv.join("include/site").join(version).join("greet/greet.h").exists());
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_path_with_spaces() {
    works_at("my projects/an environment");
}

#[test]
fn a_path_with_names_that_are_not_ascii() {
    works_at("проект/环境-ünïcödé");
}

#[test]
fn a_path_with_quotes_and_backslashes() {
    works_at("it's \"so\" \\ odd, $HOME/venv");
}

#[test]
fn a_path_too_long_for_a_shebang() {
    works_at(&format!("{}/venv", "long/".repeat(40)));
}

#[test]
fn a_path_that_is_no_text_is_refused() {
    let mut test = Sandbox::new().with_wheels([greet()]);
    let odd = test.root().join(OsStr::from_bytes(b"\xff"));
    fs_err::rename(&test.venv, &odd).unwrap();
    test.venv = odd;
    let before = test.environment();
    for mode in ["auto", "copy"] {
        test.mount_with(&["--link-mode", mode]).fails().says("its name is not UTF-8").says("rename it");
    }
    test.nothing_left(&before);
}

fn works_at(path: &str) {
    if common::fuse() {
        works(&Sandbox::with_venv(path, &python()).with_wheels([greet()]));
    }
}

#[test]
fn every_python_that_is_installed() {
    if !common::fuse() {
        return;
    }
    for python in pythons() {
        eprintln!("with {}", python.display());
        works(&Sandbox::with_venv("venv", &python).with_wheels([greet()]));
    }
}

#[test]
fn an_environment_of_the_standard_library() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet()]);
    fs_err::remove_dir_all(&test.venv).unwrap();
    Outcome::of(test.command(python()).args(["-m", "venv", "--without-pip"]).arg(&test.venv)).succeeds();
    works(&test);
}

#[test]
fn an_environment_on_another_mount() {
    let Some(test) = Sandbox::with_fuse() else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount a tmpfs");
        return;
    }
    let disk = test.root().join("disk");
    fs_err::create_dir(&disk).unwrap();
    Outcome::of(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&disk)).succeeds();
    let mut test = test;
    test.venv = disk.join("venv");
    test.uv().venv(&test.venv, &test.python);
    let test = test.with_wheels([greet()]);
    let before = test.environment();
    test.mount().succeeds();
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    test.unmount().succeeds();
    common::assert_same("before", &before, "after", &test.environment());
}

#[test]
fn an_environment_reached_by_a_link_and_by_a_relative_path() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet()]);
    let before = test.environment();
    std::os::unix::fs::symlink(&test.venv, test.root().join("link")).unwrap();
    test.sitefs(["mount", "-r", "requirements.txt", "link", "cache"]).succeeds();
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    test.mount().says("mounted");
    test.sitefs(["unmount", "venv"]).succeeds();
    test.nothing_left(&before);
}

#[test]
fn an_environment_that_is_not_there_is_made_with_the_python_asked_for() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet()]);
    fs_err::remove_dir_all(&test.venv).unwrap();
    let asked_for = pythons().pop().unwrap();
    test.mount_with(&["--python", asked_for.to_str().unwrap()]).succeeds();
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    let version = "import sys; print(sys.version_info[:2])";
    let expected = test.run(&asked_for, &["-c", version]).succeeds().stdout;
    test.python(version).succeeds().prints(expected.trim_end());
    test.unmount().succeeds();
}

#[test]
fn an_environment_that_is_not_there_is_an_error_without_python() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet()]);
    fs_err::remove_dir_all(&test.venv).unwrap();
    test.mount().fails().says("--python");
    assert!(!test.venv.exists());
    std::os::unix::fs::symlink("nowhere", &test.venv).unwrap();
    test.mount().fails().says("is a link to something that is not there");
}

#[test]
fn several_requirement_files_add_up() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let other = WheelBuilder::new("other", "1.0").file("other.py", "word = 'other'\n");
    let test = test.with_wheels([greet(), other]);
    fs_err::write(test.root().join("one.txt"), "greet==1.0\n").unwrap();
    fs_err::write(test.root().join("two.txt"), "other==1.0\n").unwrap();
    let words = ["mount", "-r", "one.txt", "-r", "two.txt", "venv", "cache"];
    test.sitefs(words.map(OsStr::new)).succeeds();
    test.python("import greet, other; print(greet.word, other.word)").succeeds().prints("hello other");
    test.unmount().succeeds();
}
