//! Environments that nobody may change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use common::{
    GREET, Outcome, Running, Sandbox, all_mounts_below, kill, run_arguments, sandbox, sandbox_for_nobody,
    servers_below, skip, wait_until,
};

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

/// An environment that whoever uses it cannot write, and a runtime directory of theirs.
struct Unwritable {
    test: Sandbox,
    runtime: PathBuf,
}

impl Unwritable {
    /// Root's, behind a read-only bind mount, as in a container that has it from a read-only volume.
    fn bound() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can make a bind mount");
            return None;
        }
        let unwritable = Self::of(sandbox()?);
        unwritable.bind();
        Some(unwritable)
    }

    /// From now on, nobody can write it.
    fn bind(&self) {
        self.test.run("mount", &["--bind", self.venv(), self.venv()]).succeeds();
        self.test.run("mount", &["-o", "remount,bind,ro", self.venv()]).succeeds();
    }

    /// One that root owns, used by nobody.
    fn of_root() -> Option<Self> {
        let unwritable = Self::of(sandbox_for_nobody()?);
        let venv = unwritable.test.venv.to_str().unwrap();
        unwritable.test.run("chown", &["-hR", "0:0", venv]).succeeds();
        Some(unwritable)
    }

    fn of(test: Sandbox) -> Self {
        let runtime = test.root().join("runtime");
        std::fs::DirBuilder::new().mode(0o700).create(&runtime).unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(test.home()).unwrap());
        chown(&runtime, Some(owner), None).unwrap();
        Self { test, runtime }
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.test.sitefs_command(arguments);
        command.env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    fn sitefs(&self, words: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(words))
    }

    fn venv(&self) -> &str {
        self.test.venv.to_str().unwrap()
    }

    fn mount(&self, options: &[&str]) -> Outcome {
        let lock = self.test.requirements.to_str().unwrap();
        let words = [&["mount", "-r", lock], options, &[self.venv(), self.test.cache.to_str().unwrap()]];
        self.sitefs(&words.concat())
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(run_arguments(&self.test, options, command)))
    }

    /// What is in the runtime directory.
    fn states(&self) -> Vec<PathBuf> {
        fs_err::read_dir(&self.runtime).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn kill_server(&self) {
        kill("KILL", self.test.server());
        wait_until("it is dead", || self.sitefs(&["status", self.venv()]).stdout.contains("dead"));
    }

    fn is_mounted(&self) -> bool {
        all_mounts_below(&self.test.root()).contains(&self.test.site_packages())
    }

    /// No mount, no server, nothing in the runtime directory.
    #[track_caller]
    fn nothing_left(&self) {
        assert!(!self.is_mounted());
        wait_until("the server is gone", || servers_below(&self.test.root()).is_empty());
        assert_eq!(self.states(), Vec::<PathBuf>::new());
    }
}

#[test]
fn root_mounts_an_environment_that_cannot_be_written_and_every_command_finds_it() {
    let Some(it) = Unwritable::bound() else { return };
    it.mount(&[]).fails().says("--read-only");
    let told = it.mount(&["--read-only"]).succeeds().says("read-only").says("cannot be written");
    let [state] = it.states().try_into().unwrap();
    let greet = state.join("outside/bin/greet");
    assert!(told.stdout.contains(greet.parent().unwrap().to_str().unwrap()), "{told}");
    assert_eq!(fs_err::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    it.test.python(GREET).succeeds().prints("hello");
    it.test.run(&greet, &[]).succeeds().prints("hello");

    it.mount(&["--read-only"]).fails().says("mounted already");
    it.mount(&[]).fails().says("mounted already");
    it.sitefs(&["status"]).succeeds().says("(fuse, read-only)").says("outside");
    it.sitefs(&["status", it.venv()]).succeeds().says("(fuse, read-only)");
    it.sitefs(&["why", it.venv(), "greet/__init__.py"]).succeeds().says("greet 1.0");
    it.sitefs(&["why", it.venv(), "bin/greet"])
        .succeeds()
        .says("greet")
        .says_nothing_of("the environment itself");
    it.run(&["--read-only"], &["greet"]).succeeds().prints("hello");

    it.sitefs(&["unmount", it.venv()]).succeeds();
    it.nothing_left();
    it.mount(&["--read-only"]).succeeds();
    it.sitefs(&["unmount", it.venv()]).succeeds();
    it.nothing_left();
}

/// In a mount namespace in which nothing else is mounted.
#[test]
fn what_is_mounted_where_nothing_can_be_written_is_unmounted_with_all() {
    let Some(it) = Unwritable::bound() else { return };
    let script = "set -e
awk '$3 == \"fuse.sitefs\" { print $2 }' /proc/self/mounts | xargs -r -n1 umount -l
\"$0\" mount -q --read-only -r \"$1\" \"$2\" \"$3\"
\"$0\" status
\"$0\" unmount --all";
    let mut command = it.test.command("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(it.test.root().join("sitefs"));
    command.args([&it.test.requirements, &it.test.venv, &it.test.cache]).env("XDG_RUNTIME_DIR", &it.runtime);
    Outcome::of(&mut command).succeeds().says("(fuse, read-only)").says("unmounted").says(it.venv());
    it.nothing_left();
}

#[test]
fn an_ordinary_user_is_told_of_run_where_fusermount3_wants_to_write() {
    let Some(it) = Unwritable::of_root() else { return };
    it.mount(&["--read-only"]).fails().says("`sitefs run`");
    it.nothing_left();
}

#[test]
fn a_killed_server_of_an_environment_that_cannot_be_written_is_cleaned_up_after() {
    let Some(it) = Unwritable::bound() else { return };
    it.mount(&["--read-only"]).succeeds();
    it.kill_server();
    it.mount(&["--read-only"]).succeeds();
    it.test.python(GREET).succeeds().prints("hello");
    it.kill_server();
    it.sitefs(&["unmount", it.venv()]).succeeds();
    it.nothing_left();
    // Where it can be written again, what is left does not matter.
    it.mount(&["--read-only"]).succeeds();
    it.kill_server();
    it.test.run("umount", &["-l", it.test.site_packages().to_str().unwrap()]).succeeds();
    it.test.run("mount", &["-o", "remount,bind,rw", it.venv()]).succeeds();
    it.mount(&[]).succeeds().says_nothing_of("read-only");
    assert_eq!(it.states(), Vec::<PathBuf>::new());
    it.sitefs(&["unmount", it.venv()]).succeeds();
    it.nothing_left();
}

#[test]
fn run_needs_no_environment_that_can_be_written() {
    for it in [Unwritable::bound(), Unwritable::of_root()].into_iter().flatten() {
        it.run(&[], &["greet"]).fails().says("--read-only");
        it.run(&["--read-only"], &["greet"]).succeeds().prints("hello");
        it.nothing_left();
        let code = "import greet, os; open(os.path.dirname(greet.__file__) + '/new', 'w')";
        it.run(&["--read-only"], &["python", "-c", code]).exits(1).says("Read-only file system");
        it.nothing_left();
        // Two at the same time share what is outside.
        let stay = ["python", "-c", "import greet; print(greet.word, flush=True); input()"];
        let mut first = it.command(run_arguments(&it.test, &["--read-only"], &stay));
        let mut first = Running::of({
            first.stdin(std::process::Stdio::piped());
            first
        });
        first.says("hello");
        it.run(&["--read-only"], &["greet"]).succeeds().prints("hello");
        assert_eq!(it.states().len(), 1);
        drop(first.child.stdin.take());
        first.ends();
        it.nothing_left();
        // Killed, it leaves what the next one removes.
        let mut killed =
            Running::of(it.command(run_arguments(&it.test, &["--read-only"], &["sleep", "1000"])));
        wait_until("it runs", || it.states().len() == 1 && servers_below(&it.test.root()).len() > 1);
        kill("KILL", killed.pid());
        killed.ends();
        it.run(&["--read-only"], &["greet"]).succeeds().prints("hello");
        it.nothing_left();
    }
}

#[test]
fn whoever_cannot_write_an_environment_sees_what_was_removed_in_it_and_uses_its_bytecode() {
    let Some(it) = Unwritable::of_root() else { return };
    let as_root =
        |arguments: &[&str]| Outcome::of(it.test.command(it.test.root().join("sitefs")).args(arguments));
    let (lock, cache) = (it.test.requirements.to_str().unwrap(), it.test.cache.to_str().unwrap());
    as_root(&["mount", "-q", "-r", lock, it.venv(), cache]).succeeds();
    let python = it.test.venv.join("bin/python");
    it.test.run(&python, &["-c", "import greet"]).succeeds();
    fs_err::remove_file(it.test.site_packages().join("greet-1.0.dist-info/entry_points.txt")).unwrap();
    as_root(&["unmount", "-q", it.venv()]).succeeds();

    let code = "
import greet, importlib.metadata, os
print(importlib.metadata.distribution('greet').read_text('entry_points.txt'), os.path.exists(greet.__cached__))";
    it.run(&["--read-only"], &["python", "-c", code]).succeeds().prints("None True");
    it.nothing_left();
}

#[test]
fn a_command_of_an_environment_that_cannot_be_written_stays() {
    let Some(it) = Unwritable::of_root() else { return };
    let own = it.test.venv.join("bin/greet");
    fs_err::write(&own, "#!/bin/sh\necho own\n").unwrap();
    fs_err::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
    it.run(&["--read-only"], &["greet"]).succeeds().prints("own");
    it.nothing_left();
}

#[test]
fn a_directory_that_another_user_prepared_below_tmp_is_never_used() {
    let Some(it) = Unwritable::of_root() else { return };
    // Without a runtime directory it is below /tmp, which all users may write.
    let run = || {
        let arguments = run_arguments(&it.test, &["--read-only"], &["sh", "-c", "command -v greet"]);
        Outcome::of(it.command(arguments).env_remove("XDG_RUNTIME_DIR"))
    };
    let told = run().succeeds();
    let state = PathBuf::from(told.stdout.trim()).ancestors().nth(3).unwrap().to_path_buf();
    assert_eq!(state.parent().unwrap(), std::path::Path::new("/tmp"), "{told}");
    assert!(fs_err::symlink_metadata(&state).is_err());

    fs_err::create_dir(&state).unwrap();
    fs_err::set_permissions(&state, std::fs::Permissions::from_mode(0o777)).unwrap();
    run().fails().says("this user's alone");
    fs_err::remove_dir(&state).unwrap();
    fs_err::os::unix::fs::symlink(&it.runtime, &state).unwrap();
    run().fails().says("this user's alone");
    fs_err::remove_file(&state).unwrap();
    assert_eq!(it.states(), Vec::<PathBuf>::new());
}

#[test]
fn what_root_mounted_where_nothing_can_be_written_another_user_sees_as_mounted() {
    let Some(it) = Unwritable::of_root() else { return };
    let venv = it.venv();
    it.bind();
    let as_root =
        |arguments: &[&str]| Outcome::of(it.test.command(it.test.root().join("sitefs")).args(arguments));
    let (lock, cache) = (it.test.requirements.to_str().unwrap(), it.test.cache.to_str().unwrap());
    as_root(&["mount", "-q", "--read-only", "-r", lock, venv, cache]).succeeds();
    it.test.python(GREET).succeeds().prints("hello");
    it.sitefs(&["status", venv]).succeeds().says("mounted by another user, number 0");
    assert_eq!(it.sitefs(&["status", "--json", venv]).json()["state"], "mounted");
    it.sitefs(&["unmount", venv]).fails().says("as root");
    as_root(&["unmount", "-q", venv]).succeeds();
    it.nothing_left();
}
