//! A sitefs that was built without FUSE: `cargo test --no-default-features`.
#![cfg(not(feature = "fuse"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::os::fd::AsRawFd;

use common::{Running, Sandbox, WheelBuilder, kill, processes_in, run_arguments, skip, wait_until};

const GREET: &str = "import greet; print(greet.word, flush=True)";

const STAY: &str = "import greet, time; print(greet.word, flush=True); time.sleep(1000)";

const WHY: &str = "this sitefs was built without FUSE";

fn sandbox() -> Sandbox {
    let wheel = WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n\ndef main():\n    print(word)\n")
        .entry_point("console_scripts", "greet = greet:main");
    Sandbox::new().with_wheels([wheel])
}

#[test]
fn auto_takes_symlinks_and_says_why() {
    let test = sandbox();
    let before = test.environment();
    test.mount().succeeds().says("fuse does not work here, so symlink").says(WHY).says("(symlink, from");
    test.python(GREET).succeeds().prints("hello");
    let link = test.site_packages().join("greet/__init__.py");
    assert!(fs_err::symlink_metadata(link).unwrap().is_symlink());
    assert_eq!(test.status().json()["state"], "mounted");
    let why = [OsStr::new("why"), test.venv.as_os_str(), OsStr::new("greet/__init__.py")];
    test.sitefs(why).succeeds().says("greet 1.0");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn fuse_by_name_is_an_error_unless_another_mode_is_allowed() {
    let test = sandbox();
    let before = test.environment();
    test.mount_with(&["--link-mode", "fuse"]).fails().says(WHY).says("--link-mode symlink");
    test.sitefs(run_arguments(&test, &["--link-mode", "fuse"], &["greet"])).fails().says(WHY);
    test.nothing_left(&before);
    test.mount_with(&["--link-mode", "fuse", "--fallback"]).succeeds().says("(symlink, from");
}

#[test]
fn run_makes_files_and_undoes_them() {
    let test = sandbox();
    let before = test.environment();
    for mode in ["auto", "symlink", "hardlink", "copy"] {
        let run = |command: &[&str]| test.sitefs(run_arguments(&test, &["--link-mode", mode], command));
        run(&["greet"]).succeeds().prints("hello");
        run(&["sh", "-c", "exit 7"]).exits(7);
        run(&["sh", "-c", "(sleep 1000 >/dev/null 2>&1 &); kill -9 $$"]).exits(137);
        assert_eq!(processes_in(&test), Vec::<u32>::new(), "left running");
        run(&["no-such-command"]).exits(127);
        test.nothing_left(&before);
    }
}

#[test]
fn runs_share_files_and_the_last_undoes_them() {
    let test = sandbox();
    let before = test.environment();
    let mut first = Running::start(&test, &[], &["python", "-c", STAY]);
    first.says("hello");
    test.sitefs(run_arguments(&test, &[], &["greet"])).succeeds().prints("hello");
    test.mount().fails().says("sitefs run");
    test.unmount().fails().says("sitefs run");
    kill("TERM", first.pid());
    assert_eq!(first.ends(), Some(143));
    test.nothing_left(&before);
}

#[test]
fn files_that_a_killed_run_left_are_undone_by_unmount() {
    let test = sandbox();
    let before = test.environment();
    let mut killed = Running::start(&test, &["--link-mode", "copy"], &["python", "-c", STAY]);
    killed.says("hello");
    kill("KILL", killed.pid());
    killed.ends();
    wait_until("the command has ended", || processes_in(&test).is_empty());
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn the_dead_mount_of_another_sitefs_is_cleared_away() {
    for then in ["mount", "unmount"] {
        let test = sandbox();
        let before = test.environment();
        if !mount_without_server(&test) {
            return;
        }
        test.status().says("dead");
        match then {
            "mount" => {
                test.mount().succeeds().says("cleaned up after a server that had died");
                test.python(GREET).succeeds().prints("hello");
            }
            _ => drop(test.unmount().succeeds()),
        }
        assert!(!test.is_mounted());
        if then == "unmount" {
            test.nothing_left(&before);
        }
    }
}

/// What a server that was killed leaves.
fn mount_without_server(test: &Sandbox) -> bool {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can mount without help");
    }
    let device = match fs_err::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(device) => device,
        Err(error) => return skip(&format!("FUSE does not work here: {error}")),
    };
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let options = std::ffi::CString::new(options).unwrap();
    let flags = rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount("sitefs", test.site_packages(), "fuse.sitefs", flags, options.as_c_str()).unwrap();
    true
}
