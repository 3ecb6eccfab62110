//! Who mounts, and who else looks in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;

use common::{Outcome, Sandbox, WheelBuilder, as_nobody, fuse_for_nobody, run_arguments};

fn greet() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n\ndef main():\n    print(word)\n")
        .entry_point("console_scripts", "greet = greet:main")
}

const GREET: &str = "import greet; print(greet.word)";

#[test]
fn an_ordinary_user_mounts_uses_and_unmounts() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    let before = test.environment();
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    let mut script = test.command(test.venv.join("bin/greet"));
    Outcome::of(&mut as_nobody(script.current_dir(test.root()))).succeeds().prints("hello");
    test.status().succeeds();
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn an_ordinary_user_mends_a_dead_mount() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    test.mount().succeeds();
    test.run("kill", &["-KILL", &test.server().to_string()]).succeeds();
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}

#[test]
fn what_root_mounts_another_user_can_use() {
    if !fuse_for_nobody() {
        return;
    }
    // Made by nobody's Python and owned by nobody, so that only the mount can stand in the way.
    let theirs = Sandbox::for_nobody().with_wheels([greet()]);
    let mut mount = theirs.command(env!("CARGO_BIN_EXE_sitefs"));
    mount.args([OsStr::new("mount"), OsStr::new("-r"), theirs.requirements.as_os_str()]);
    Outcome::of(mount.args([&theirs.venv, &theirs.cache])).succeeds();
    theirs.python(GREET).succeeds().prints("hello");
    theirs.sitefs(run_arguments(&theirs, &[], &["greet"])).succeeds().prints("hello");
    theirs.unmount().fails().says("was mounted by another user, number 0").says("as root");
    let mut unmount = theirs.command(env!("CARGO_BIN_EXE_sitefs"));
    Outcome::of(unmount.arg("unmount").arg(&theirs.venv)).succeeds();
}

#[test]
fn root_can_ask_about_and_end_the_mount_of_another_user() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    test.mount().succeeds();
    let as_root = |verb: &str| {
        let mut command = test.command(env!("CARGO_BIN_EXE_sitefs"));
        Outcome::of(command.arg(verb).arg(&test.venv))
    };
    as_root("status").succeeds().says_nothing_of("dead");
    as_root("unmount").succeeds();
    assert!(!test.is_mounted());
}

#[test]
fn a_user_cannot_mount_on_the_environment_of_another() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::new().with_wheels([greet()]);
    let before = test.environment();
    let program = test.root().join("sitefs");
    let mut mount = test.command(program);
    mount.args([OsStr::new("mount"), OsStr::new("-r"), test.requirements.as_os_str()]);
    mount.args([&test.venv, &test.cache]);
    Outcome::of(&mut as_nobody(&mount)).fails();
    test.nothing_left(&before);
}

/// /etc/fuse.conf is another one in a mount namespace of the test's own.
#[test]
fn an_ordinary_user_lets_others_see_the_mount_where_fuse_conf_allows_it() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    let with_configuration = |text: &str| {
        let configuration = test.root().join("fuse.conf");
        fs_err::write(&configuration, text).unwrap();
        let mount = test
            .sitefs_command(["mount", "-q", "--link-mode", "fuse", "--allow-other", "-r"].map(OsStr::new));
        let script = "touch /etc/fuse.conf && mount --bind \"$0\" /etc/fuse.conf && python=$1 && shift && \"$@\" \
            && exec setpriv --reuid=1 --regid=1 --clear-groups \"$python\" -c 'import greet; print(greet.word)'";
        let mut command = test.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&configuration);
        command.arg(test.venv.join("bin/python")).arg(mount.get_program()).args(mount.get_args());
        Outcome::of(command.args([&test.requirements, &test.venv, &test.cache]))
    };
    with_configuration("").fails().says("user_allow_other");
    with_configuration("user_allow_other\n").succeeds().prints("hello");
    test.run("kill", &["-TERM", &test.server().to_string()]).succeeds();
}
