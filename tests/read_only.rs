//! Environments that nobody may change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::ErrorKind;

use common::{GREET, Outcome, run_arguments, sandbox, sandbox_for_nobody};

#[test]
fn a_read_only_mount_refuses_every_change_and_status_tells_it() {
    for test in [sandbox(), sandbox_for_nobody()].into_iter().flatten() {
        let before = test.environment();
        test.mount_with(&["--read-only"]).succeeds().says("read-only");
        let code = "
import errno, os, sys
import greet
directory = os.path.dirname(greet.__file__)
inside, new = directory + '/__init__.py', directory + '/new'
for attempt in (lambda: open(new, 'w'), lambda: os.mkdir(new), lambda: os.symlink('x', new), lambda: os.mkfifo(new),
                lambda: os.link(inside, new, follow_symlinks=False), lambda: os.unlink(inside),
                lambda: os.rename(inside, new), lambda: os.rmdir(directory), lambda: os.chmod(directory, 0o700),
                lambda: os.utime(directory), lambda: os.setxattr(directory, 'user.x', b'')):
    try:
        attempt()
        print('done')
    except OSError as error:
        print(errno.errorcode[error.errno])";
        let said = test.python(code).succeeds();
        assert_eq!(said.stdout.lines().collect::<Vec<_>>(), ["EROFS"; 11], "{said}");
        test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).says("(fuse, read-only)");
        assert_eq!(test.status().json()["mount"]["read_only"], true);
        test.unmount().succeeds();
        test.nothing_left(&before);
        test.mount().succeeds().says_nothing_of("read-only");
    }
}

#[test]
fn python_imports_from_a_read_only_mount_and_leaves_no_bytecode() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--read-only"]).succeeds();
    test.python(GREET).succeeds().prints("hello");
    assert!(!test.site_packages().join("greet/__pycache__").exists());
}

#[test]
fn a_read_only_run_does_not_take_what_can_be_written() {
    let Some(test) = sandbox() else { return };
    let run = |options: &[&str]| {
        let code = "import greet, os; open(os.path.dirname(greet.__file__) + '/new', 'w')";
        Outcome::of(&mut test.sitefs_command(run_arguments(&test, options, &["python", "-c", code])))
    };
    run(&["--read-only"]).exits(1).says("Read-only file system");
    run(&["--read-only", "--no-namespace"]).exits(1).says("Read-only file system");
    test.mount().succeeds();
    run(&["--read-only"]).fails().says("is mounted already, and writable");
    test.unmount().succeeds();
    test.mount_with(&["--read-only"]).succeeds();
    run(&[]).exits(1).says("Read-only file system");
    let error = fs_err::write(test.site_packages().join("new"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn files_that_are_made_cannot_be_read_only() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--read-only", "--link-mode", "copy"]).fails().says("--read-only").says("copy");
    test.mount_with(&["--read-only", "--fallback"]).exits(2).says("--fallback");
}
