//! `sitefs run` in containers: as process 1, without devices, without privileges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::{Command, Stdio};
use std::rc::Rc;

use common::{
    Container, GREET, Outcome, Running, STAY, Sandbox, WITHOUT_DEVICE, as_nobody, kill, processes_in,
    run_arguments, sandbox, sandbox_for_nobody, server, sitefs_below, skip, started_by, wait_until,
};

#[test]
fn without_the_fuse_device_files_are_made_or_it_says_why_not() {
    let Some(test) = sandbox() else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can take a device away");
        return;
    }
    let before = test.environment();
    let script = r#"mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && exec "$@""#;
    let without_device = |command| wrapped(&test, &["unshare", "--mount", "sh", "-c", script, "sh"], command);
    let mut strict = without_device(&["echo", "started"]);
    let strict = Outcome::of(strict.env("SITEFS_LINK_MODE", "fuse"));
    strict.fails().says("/dev/fuse").says("--device").says_nothing_of("started");
    test.nothing_left(&before);
    Outcome::of(&mut without_device(&["greet"])).succeeds().prints("hello").says("/dev/fuse").says("symlink");
    test.nothing_left(&before);
}

/// As in a container with `--read-only --user 12345`: no line in /etc/passwd, no HOME, only VENV can be written.
#[test]
fn any_user_id_on_a_read_only_system_needs_only_a_writable_environment() {
    let Some(test) = sandbox_for_nobody() else { return };
    Outcome::of(Command::new("chown").args(["-hR", "12345:12345"]).arg(&test.venv)).succeeds();
    let before = test.environment();
    let script = r#"
        mount --bind "$VENV" "$VENV" && mount -o remount,bind,ro / || exit 99
        for point in /tmp /dev/shm /var/tmp "$HOME"; do
            if mountpoint -q "$point"; then mount -o remount,bind,ro "$point" || exit 99; fi
        done
        unset HOME
        exec setpriv --reuid=12345 --regid=12345 --clear-groups -- "$@""#;
    let command = ["python", "-c", GREET];
    let mut command = wrapped(&test, &["unshare", "--mount", "sh", "-c", script, "sh"], &command);
    Outcome::of(command.env("VENV", &test.venv)).succeeds().prints("hello");
    test.nothing_left(&before);
}

/// The table of docs/containers.md: what `docker run` is told, and what root and user 12345 then have.
const PRIVILEGES: [(&[&str], &str, &str); 7] = [
    (&[], LINKS, LINKS),
    (&["--cap-add", "SYS_ADMIN"], LINKS, LINKS),
    (&["--device", "/dev/fuse"], LINKS, LINKS),
    (&["--device", "/dev/fuse", "--security-opt", "seccomp=unconfined"], LINKS, OWN_MOUNT),
    (&["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"], MOUNT, OWN_MOUNT),
    (
        &["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN", "--security-opt", "no-new-privileges"],
        MOUNT,
        OWN_MOUNT,
    ),
    (&["--device", "/dev/fuse", "--privileged"], MOUNT, OWN_MOUNT),
];

const LINKS: &str = "mounted 1 distribution where others see them (symlink, from /cache)";
const MOUNT: &str = "mounted 1 distribution where others see them (fuse, from /cache)";
const OWN_MOUNT: &str =
    "mounted 1 distribution in a mount namespace of the command's own (fuse, from /cache)";

#[test]
fn privileges_decide_what_is_made() {
    let Some(test) = sandbox() else { return };
    let Some(container) = Container::of(&test) else { return };
    for (options, as_root, as_user) in PRIVILEGES {
        for (user, made) in [("0", as_root), ("12345", as_user)] {
            let container = container.clone().with(options).with(&["--user", user, "--read-only"]);
            let container = container.with(&["--tmpfs", "/run/app"]);
            let outcome = container.run_python(GREET).succeeds().prints("hello").says(made);
            let is_denied = outcome.stderr.contains("so symlink:");
            assert_eq!(is_denied, made == LINKS, "the reason is said: {outcome}");
        }
    }
}

/// In a rootless engine, the container's root may mount in it.
#[test]
fn a_rootless_container_mounts_with_the_device() {
    let Some(test) = sandbox_for_nobody() else { return };
    let Some(container) = Container::of(&test) else { return };
    Outcome::of(Command::new("chown").arg("-hR").arg("nobody").arg(test.root().join("container"))).succeeds();
    let container = container.rootless(&test.python).with(&["--cap-add", "SYS_ADMIN"]);
    container.run_python(GREET).succeeds().prints("hello").says(LINKS);
    let container = container.with(&["--device", "/dev/fuse"]);
    container.run_python(GREET).succeeds().prints("hello").says(MOUNT);
}

/// How a container starts its process 1: as root, as root in a user namespace, as an ordinary user.
const CONTAINERS: [(&str, &[&str]); 3] = [
    ("root", &["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"]),
    (
        "user namespace",
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount",
            "--mount-proc",
            "--kill-child",
        ],
    ),
    (
        "user",
        &[
            "unshare",
            "--user",
            "--map-current-user",
            "--pid",
            "--fork",
            "--mount",
            "--mount-proc",
            "--kill-child",
        ],
    ),
];

/// A sandbox for each container; the second and third belong to an ordinary user, in whose namespaces they are made.
fn containers() -> Vec<(Sandbox, &'static [&'static str])> {
    let mut found = Vec::new();
    for (name, unshare) in CONTAINERS {
        let Some(test) = (if name == "root" { sandbox() } else { sandbox_for_nobody() }) else { continue };
        let mut probe = Command::new(unshare[0]);
        probe.args(&unshare[1..]).args(["true"]).stdin(Stdio::null());
        let probe = if name == "root" { &mut probe } else { &mut as_nobody(&probe) };
        if probe.stderr(Stdio::null()).status().unwrap().success() {
            found.push((test, unshare));
        } else {
            skip(&format!("no container of the kind {name} can be made here"));
        }
    }
    found
}

/// Each container, with the device and without it: what is not mounted is linked, and all else is the same.
fn containers_with_and_without_device() -> impl Iterator<Item = Contained> {
    containers().into_iter().flat_map(|(test, unshare)| {
        let test = Rc::new(test);
        let contained = |has_device| Contained { test: Rc::clone(&test), unshare, has_device };
        [true, false].map(contained)
    })
}

/// Commands that `sitefs run` starts as process 1 of a container.
struct Contained {
    test: Rc<Sandbox>,
    unshare: &'static [&'static str],
    has_device: bool,
}

impl Contained {
    fn command(&self, command: &[&str]) -> Command {
        let command = in_container(&self.test, self.unshare, command);
        if self.has_device { command } else { without_device(&command) }
    }

    fn run(&self, command: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(command))
    }

    fn start(&self, command: &[&str]) -> Running {
        Running::of(self.command(command))
    }
}

/// The same command, where `/dev` has no fuse.
fn without_device(command: &Command) -> Command {
    let mut starter = Command::new("unshare");
    let script = format!("{WITHOUT_DEVICE}exec \"$@\"");
    starter.args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"]);
    started_by(starter, command)
}

#[test]
fn as_process_1_it_exits_with_the_commands_code() {
    for container in containers_with_and_without_device() {
        let before = container.test.environment();
        for (script, code) in [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", 137)] {
            container.run(&["sh", "-c", script]).exits(code);
        }
        container.run(&["no-such-command"]).exits(127);
        let outcome = container.run(&["sh", "-c", "echo $PPID; exec greet"]).succeeds().prints("1\nhello");
        assert_eq!(outcome.stderr.contains("so symlink"), !container.has_device, "{outcome}");
        container.test.nothing_left(&before);
    }
}

#[test]
fn as_process_1_it_hands_sigterm_on() {
    for container in containers_with_and_without_device() {
        let before = container.test.environment();
        let mut running = container.start(&["python", "-c", STAY]);
        running.says("hello");
        kill("TERM", process_1(&container.test));
        assert_eq!(running.ends(), Some(143));
        container.test.nothing_left(&before);
    }
}

/// What the command leaves behind does not end when it is asked to, so cleaning up takes a while.
#[test]
fn as_process_1_a_second_ctrl_c_does_not_disturb_the_cleaning_up() {
    let script =
        "trap 'exit 4' INT; (trap '' INT TERM; exec sleep 1000) & echo ready; while :; do sleep 0.05; done";
    for container in containers_with_and_without_device() {
        let before = container.test.environment();
        let mut running = container.start(&["sh", "-c", script]);
        running.says("ready");
        let first = process_1(&container.test);
        kill("INT", first);
        wait_until("the command has ended", || processes_in(&container.test).len() == 1);
        kill("INT", first);
        assert_eq!(running.ends(), Some(4));
        assert_eq!(processes_in(&container.test), Vec::<u32>::new());
        container.test.nothing_left(&before);
    }
}

#[test]
fn as_process_1_it_reaps_orphans() {
    let code = "
import os, subprocess, sys, time
subprocess.run(['sh', '-c', '(exit 0) & (exit 3) & (sleep 0.1; exit 4) & exit 0'])
deadline = time.monotonic() + 20
def zombies():
    stats = [open(f'/proc/{pid}/stat').read() for pid in os.listdir('/proc') if pid.isdigit()]
    return [stat for stat in stats if stat.rsplit(')', 1)[1].split()[0] == 'Z']
time.sleep(0.3)
while zombies() and time.monotonic() < deadline: time.sleep(0.01)
print(zombies())";
    for container in containers_with_and_without_device() {
        container.run(&["python", "-c", code]).succeeds().prints("[]");
    }
}

#[test]
fn as_process_1_the_server_killed_leaves_nothing() {
    for container in containers_with_and_without_device().filter(|it| it.has_device) {
        let test = &container.test;
        let before = test.environment();
        let mut running = container.start(&["python", "-c", STAY]);
        running.says("hello");
        let first = process_1(test);
        kill("KILL", server(test, first));
        wait_until("the server is gone", || sitefs_below(test) == [first]);
        kill("TERM", first);
        assert_eq!(running.ends(), Some(143));
        test.nothing_left(&before);
    }
}

/// Its death is that of all processes of the container: nobody is left to clean up, and the next command does.
#[test]
fn as_process_1_it_is_killed_and_no_mount_or_process_is_left() {
    for container in containers_with_and_without_device() {
        let test = &container.test;
        let before = test.environment();
        let mut running = container.start(&["python", "-c", STAY]);
        running.says("hello");
        kill("KILL", process_1(test));
        running.ends();
        wait_until("all have ended", || processes_in(test).is_empty() && sitefs_below(test).is_empty());
        assert!(!test.is_mounted());
        container.run(&["greet"]).succeeds().prints("hello");
        test.nothing_left(&before);
    }
}

/// `WRAPPER... sitefs run ... -- COMMAND`.
fn wrapped(test: &Sandbox, wrapper: &[&str], command: &[&str]) -> Command {
    let mut wrapped = test.command(wrapper[0]);
    wrapped.args(&wrapper[1..]).arg(test.root().join("sitefs")).args(run_arguments(test, &[], command));
    wrapped
}

/// `sitefs run ... -- COMMAND` as process 1 of a container, by the sandbox's user.
fn in_container(test: &Sandbox, container: &[&str], command: &[&str]) -> Command {
    let command = wrapped(test, container, command);
    if container.contains(&"--user") { as_nobody(&command) } else { command }
}

/// The sitefs process that is process 1 of a container.
fn process_1(test: &Sandbox) -> u32 {
    let is_first = |pid: &u32| {
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    };
    sitefs_below(test).into_iter().find(is_first).expect("a process 1")
}
