//! The life of a mount, and every way in which it can end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Outcome, Sandbox, WheelBuilder, mounts_below, servers_below, skip, wait_until};

fn greet() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n\ndef main():\n    print(word)\n")
        .file("greet/later.py", "word = 'later'\n")
        .entry_point("console_scripts", "greet = greet:main")
        .data("data/share/greet/note.txt", "a note\n")
}

const GREET: &str = "import greet; print(greet.word)";

fn sandbox() -> Option<Sandbox> {
    Some(Sandbox::with_fuse()?.with_wheels([greet()]))
}

#[test]
fn mount_use_unmount_leaves_nothing() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    assert_eq!(mounts_below(&test.root()), [test.site_packages()]);
    test.python(GREET).succeeds().prints("hello");
    test.run(test.venv.join("bin/greet"), &[]).succeeds().prints("hello");
    assert_eq!(fs_err::read_to_string(test.venv.join("share/greet/note.txt")).unwrap(), "a note\n");
    test.unmount().succeeds();
    test.nothing_left(&before);
    test.python(GREET).exits(1).says("No module named 'greet'");
}

#[test]
fn mount_says_in_one_line_what_it_did_and_quiet_says_nothing() {
    let Some(test) = sandbox() else { return };
    let said = test.mount().succeeds();
    assert_eq!((said.stdout + &said.stderr).lines().count(), 1);
    test.unmount().succeeds();
    let said = test.mount_with(&["-q"]).succeeds();
    assert_eq!(said.stdout + &said.stderr, "");
}

#[test]
fn an_environment_can_be_mounted_and_unmounted_again_and_again() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    for _ in 0..5 {
        test.mount().succeeds();
        test.python(GREET).succeeds().prints("hello");
        test.unmount().succeeds();
    }
    test.nothing_left(&before);
}

#[test]
fn a_second_mount_says_that_it_is_mounted_and_stacks_nothing() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let server = test.server();
    test.mount().says("mounted");
    assert_eq!(mounts_below(&test.root()).len(), 1);
    assert_eq!(test.server(), server);
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn mounts_at_the_same_moment_give_one_mount() {
    let Some(test) = sandbox() else { return };
    let start = || {
        let mut command = test.sitefs_command([OsStr::new("mount"), OsStr::new("-r")]);
        command.args([&test.requirements, &test.venv, &test.cache]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut racers: Vec<Child> = (0..4).map(|_| start()).collect();
    for racer in &mut racers {
        racer.wait().unwrap();
    }
    assert_eq!(mounts_below(&test.root()).len(), 1);
    test.server();
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn unmounts_at_the_same_moment_are_one_unmount() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    for mode in ["fuse", "symlink"] {
        test.mount_with(&["--link-mode", mode]).succeeds();
        let start = || {
            let mut command = test.sitefs_command([OsStr::new("unmount"), test.venv.as_os_str()]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let racers: Vec<Child> = (0..4).map(|_| start()).collect();
        let outcomes = racers.into_iter().map(|racer| racer.wait_with_output().unwrap());
        let (unmounted, late): (Vec<_>, Vec<_>) = outcomes.partition(|it| it.status.success());
        assert!(!unmounted.is_empty(), "none has unmounted");
        for said in late.into_iter().map(|it| String::from_utf8(it.stderr).unwrap()) {
            assert!(said.contains("is not mounted"), "{said}");
        }
        test.nothing_left(&before);
    }
}

#[test]
fn unmount_of_what_is_not_mounted_says_so() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.unmount().says("not mounted");
    test.nothing_left(&before);
}

#[test]
fn after_kill_9_programs_go_on_and_status_says_dead_and_mount_mends() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    let mut program = Program::started(&test, "import greet");
    kill("-KILL", test.server());
    let is_dead = || test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).stdout.contains("dead");
    wait_until("status says that it is dead", is_dead);
    assert_eq!(program.evaluates("greet.word"), "hello");

    test.mount().succeeds();
    assert_eq!(mounts_below(&test.root()), [test.site_packages()]);
    test.python(GREET).succeeds().prints("hello");
    assert_eq!(program.evaluates("greet.main.__name__"), "main");
    drop(program);
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn unmount_clears_a_dead_mount() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    kill("-KILL", test.server());
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn what_a_lost_machine_leaves_behind_is_mended() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    kill("-KILL", test.server());
    lazily_unmount(&test.site_packages());
    test.status().succeeds();
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn sigterm_unmounts_and_ends_the_server() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let Some(test) = sandbox() else { return };
        test.mount().succeeds();
        kill(signal, test.server());
        wait_until("it is unmounted", || !test.is_mounted());
        wait_until("the server is gone", || servers_below(&test.root()).is_empty());
        test.mount().succeeds();
        test.python(GREET).succeeds().prints("hello");
    }
}

#[test]
fn sigterm_unmounts_although_a_program_is_inside() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let program = Program::started(&test, "import greet, os; os.chdir(os.path.dirname(greet.__file__))");
    kill("-TERM", test.server());
    wait_until("it is unmounted", || !test.is_mounted());
    drop(program);
    wait_until("the server is gone", || servers_below(&test.root()).is_empty());
}

#[test]
fn an_umount_by_somebody_else_ends_the_server() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    lazily_unmount(&test.site_packages());
    wait_until("the server is gone", || servers_below(&test.root()).is_empty());
    test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).says_nothing_of("dead");
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_busy_unmount_says_by_whom_and_a_lazy_one_succeeds() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    let program = Program::started(&test, "import greet, os; os.chdir(os.path.dirname(greet.__file__))");
    test.unmount().fails().says(&program.child.id().to_string()).says("python").says("--lazy");
    test.python(GREET).succeeds().prints("hello");
    test.sitefs([OsStr::new("unmount"), OsStr::new("--lazy"), test.venv.as_os_str()]).succeeds();
    assert!(!test.is_mounted());
    drop(program);
    test.nothing_left(&before);
}

#[test]
fn a_mount_in_the_mount_is_named() {
    let Some(test) = sandbox() else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount a tmpfs");
        return;
    }
    test.mount().succeeds();
    let inner = test.site_packages().join("greet");
    Outcome::of(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&inner)).succeeds();
    let said = test.unmount().fails().says("has a tmpfs file system mounted in it");
    said.says(&format!("umount {}", inner.display()));
    Outcome::of(Command::new("umount").arg(&inner)).succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}

/// As a script does: `sitefs unmount /disk/venv && umount /disk`.
#[test]
fn what_was_unmounted_does_not_keep_its_disk() {
    let Some(test) = sandbox() else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount a tmpfs");
        return;
    }
    let disk = test.root().join("disk");
    fs_err::create_dir(&disk).unwrap();
    let on_disk = |verb: &str| {
        let mut command = test.sitefs_command([verb]);
        if verb == "mount" {
            command.arg("-r").arg(&test.requirements);
        }
        command.arg(disk.join("venv"));
        if verb == "mount" {
            command.arg(&test.cache);
        }
        Outcome::of(&mut command).succeeds()
    };
    for _ in 0..10 {
        Outcome::of(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&disk)).succeeds();
        test.uv().venv(&disk.join("venv"), &test.python);
        test.seal_cache();
        on_disk("mount");
        on_disk("unmount");
        Outcome::of(Command::new("umount").arg(&disk)).succeeds();
    }
}

/// A shell that stood there before is in what the mount covers.
#[test]
fn who_was_in_site_packages_before_does_not_keep_it_mounted() {
    let Some(test) = sandbox() else { return };
    fs_err::write(test.site_packages().join("mine.py"), "").unwrap();
    let before = test.environment();
    let code = format!("import os; os.chdir({:?}); file = open('mine.py')", test.site_packages());
    let mut program = Program::started(&test, &code);
    test.mount().succeeds();
    assert_eq!(program.evaluates("'greet' in os.listdir('.')"), "False");
    test.unmount().succeeds();
    drop(program);
    test.nothing_left(&before);
}

#[test]
fn a_foreign_mount_is_left_alone() {
    let Some(test) = sandbox() else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount a tmpfs");
        return;
    }
    let point = test.site_packages();
    Outcome::of(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&point)).succeeds();
    fs_err::write(point.join("theirs.py"), "").unwrap();
    test.mount().fails().says("site-packages");
    test.unmount().says("not");
    assert_eq!(mounts_below(&test.root()), std::slice::from_ref(&point));
    assert!(point.join("theirs.py").exists());
}

#[test]
fn what_was_in_site_packages_is_seen_through_the_mount() {
    let Some(test) = sandbox() else { return };
    fs_err::write(test.site_packages().join("mine.py"), "word = 'mine'\n").unwrap();
    fs_err::create_dir(test.site_packages().join("greet")).unwrap();
    fs_err::write(test.site_packages().join("greet/extra.py"), "word = 'extra'\n").unwrap();
    fs_err::write(test.site_packages().join("greet/later.py"), "word = 'mine too'\n").unwrap();
    let before = test.environment();
    test.mount().succeeds();
    test.python("import mine; print(mine.word)").succeeds().prints("mine");
    let code =
        "import greet, greet.extra, greet.later; print(greet.word, greet.extra.word, greet.later.word)";
    test.python(code).succeeds().prints("hello extra mine too");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_script_that_the_user_changed_stays_after_unmount() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    fs_err::write(test.venv.join("bin/greet"), "#!/bin/sh\necho mine\n").unwrap();
    test.unmount().succeeds();
    test.run(test.venv.join("bin/greet"), &[]).succeeds().prints("mine");
}

#[test]
fn a_script_that_was_there_before_is_not_lost() {
    let Some(test) = sandbox() else { return };
    fs_err::write(test.venv.join("bin/greet"), "mine\n").unwrap();
    test.mount();
    test.unmount();
    assert_eq!(fs_err::read_to_string(test.venv.join("bin/greet")).unwrap(), "mine\n");
}

#[test]
fn in_the_foreground_it_serves_until_a_signal() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let mut command =
        test.sitefs_command([OsStr::new("mount"), OsStr::new("--foreground"), OsStr::new("-r")]);
    command.args([&test.requirements, &test.venv, &test.cache]);
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it is mounted", || test.is_mounted());
    test.python(GREET).succeeds().prints("hello");
    kill("-TERM", server.id());
    assert_eq!(server.wait().unwrap().code(), Some(0));
    test.unmount();
    test.nothing_left(&before);
}

#[test]
fn the_server_does_not_end_with_the_terminal_that_it_was_started_from() {
    let Some(test) = sandbox() else { return };
    let mut command = test.sitefs_command([OsStr::new("mount"), OsStr::new("-r")]);
    command.args([&test.requirements, &test.venv, &test.cache]).process_group(0);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let _ =
        Command::new("kill").args(["-HUP", "--", &format!("-{}", child.id())]).stderr(Stdio::null()).status();
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn status_and_unmount_of_a_directory_in_the_environment_say_which_is_meant() {
    let Some(test) = sandbox() else { return };
    let meant = format!("did you mean {}?", test.venv.display());
    let of = |verb: &str, path: &Path| test.sitefs([OsStr::new(verb), path.as_os_str()]);
    test.mount().succeeds();
    for path in [test.site_packages(), test.venv.join("bin")] {
        of("status", &path).fails().says(&meant);
        of("unmount", &path).fails().says(&meant);
    }
    of("status", &test.root()).fails().says("is not a virtual environment");
    test.unmount().succeeds();
}

#[test]
fn status_tells_programs_what_is_mounted() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let status = test.status().succeeds().json().to_string();
    for expected in
        [test.server().to_string(), test.venv.display().to_string(), test.cache.display().to_string()]
    {
        assert!(status.contains(&expected), "expected {expected} in {status}");
    }
    test.unmount().succeeds();
    test.status().succeeds().json();
}

#[test]
fn why_says_which_distribution_an_entry_comes_from() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let why = |path: &str| test.sitefs([OsStr::new("why"), test.venv.as_os_str(), OsStr::new(path)]);
    why("greet/later.py").succeeds().says("greet").says("1.0").says("archive-v0");
    why("greet/absent.py").fails().says("absent.py");
}

/// `--all` would end the mounts of other tests: it runs in a mount namespace that has none of them.
#[test]
fn unmount_all_undoes_every_mount() {
    let (Some(first), Some(second)) = (sandbox(), sandbox()) else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a mount namespace");
        return;
    }
    let script = r#"
        set -e
        for point in $(awk '$0 ~ / - fuse/ { print $5 }' /proc/self/mountinfo); do umount -l "$point"; done
        "$1" mount -q -r "$2" "$3" "$4"
        "$1" mount -q -r "$5" "$6" "$7"
        "$1" unmount --all
        grep -c -e "$3" -e "$6" /proc/self/mountinfo || true
    "#;
    let mut command = first.command("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(env!("CARGO_BIN_EXE_sitefs"))
        .args([
            &first.requirements,
            &first.venv,
            &first.cache,
            &second.requirements,
            &second.venv,
            &second.cache,
        ]);
    let outcome = Outcome::of(&mut command).succeeds();
    assert_eq!(outcome.stdout.lines().last(), Some("0"), "{outcome}");
}

/// A Python that goes on while things happen to its environment.
struct Program {
    child: Child,
}

impl Program {
    fn started(test: &Sandbox, first: &str) -> Self {
        let loop_code = format!(
            "{first}\nimport sys\nprint('ready', flush=True)\nfor line in sys.stdin: print(eval(line), flush=True)"
        );
        let mut command = test.python_command(&loop_code);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut program = Self { child };
        assert_eq!(program.answer(), "ready");
        program
    }

    fn evaluates(&mut self, expression: &str) -> String {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{expression}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        // One answer for one question: nothing is read ahead that is lost with the reader.
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, pid: u32) {
    Outcome::of(Command::new("kill").args([signal, &pid.to_string()])).succeeds();
}

fn lazily_unmount(point: &Path) {
    let by_root = Command::new("umount").arg("-l").arg(point).stderr(Stdio::null()).status();
    if !by_root.is_ok_and(|status| status.success()) {
        Outcome::of(Command::new("fusermount3").arg("-uz").arg(point)).succeeds();
    }
}
