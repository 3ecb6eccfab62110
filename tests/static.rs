//! The static binary: it needs no library, and no file of a system. `make test-static` runs this.
#![cfg(target_feature = "crt-static")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;

use common::{Container, GREET, Outcome, Sandbox, sandbox};

#[test]
fn it_needs_no_library() {
    let program = env!("CARGO_BIN_EXE_sitefs");
    let read = |what| Outcome::of(Command::new("readelf").args([what, "--wide", program])).succeeds();
    read("--program-headers").says("LOAD").says_nothing_of("INTERP");
    read("--dynamic").says_nothing_of("NEEDED");
}

#[test]
fn it_runs_where_there_is_nothing_else() {
    let test = Sandbox::new();
    let Some(container) = Container::empty(&test.root().join("container")) else { return };
    let container = container.sitefs(&test);
    for user in ["0", "12345"] {
        let container = container.clone().with(&["--user", user, "--read-only"]);
        container.run(&["sitefs", "--version"]).succeeds().says("sitefs");
        container.run(&["sitefs", "status"]).succeeds().prints("nothing is mounted");
        container.run(&["sitefs", "mount", "/venv", "/cache"]).fails().says("there is no /venv");
    }
}

/// With a Python, its libraries, /proc and /dev/fuse.
#[test]
fn it_mounts_where_there_is_only_a_python() {
    for user in ["0", "12345"] {
        let Some(test) = sandbox() else { return };
        let Some(container) = Container::of(&test) else { return };
        let container = container.with(&["--user", user, "--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"]);
        let code = format!("{GREET}; import os; print(os.path.exists('/bin'), os.path.exists('/etc'))");
        container.run_python(&code).succeeds().prints("hello\nFalse False").says("(fuse, from /cache)");
    }
}

#[test]
fn mount_and_unmount_work_there_too() {
    let Some(test) = sandbox() else { return };
    let Some(container) = Container::of(&test) else { return };
    let code = format!(
        "
from subprocess import check_call, check_output
lock = '/app/requirements.txt'
check_call(['sitefs', 'mount', '--quiet', '--python', 'python3', '-r', lock, '/run/app/venv', '/cache'])
check_call(['/run/app/venv/bin/python', '-c', '{GREET}'])
print('fuse.sitefs' in open('/proc/mounts').read(), flush=True)
check_call(['sitefs', 'unmount', '/run/app/venv'])"
    );
    let container = container.with(&["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"]);
    container.run(&["python3", "-c", &code]).succeeds().prints("hello\nTrue\nunmounted /run/app/venv");
}
