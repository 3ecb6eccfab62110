//! `sitefs run`: a command in a complete environment, and nothing left whatever happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{
    GREET, Outcome, Running, STAY, Sandbox, WheelBuilder, kill, mounts_below, processes_in, run_arguments,
    sandbox, sandbox_for_nobody, server, sitefs_below, skip, wait_until,
};

/// Both ways to mount: in a namespace of the command's own, and where others see it.
const WAYS: [&[&str]; 2] = [&[], &["--no-namespace"]];

#[test]
fn the_command_sees_a_complete_environment_that_is_gone_afterwards() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        run_with(&test, way, &["python", "-c", GREET]).succeeds().prints("hello");
        run_with(&test, way, &["greet"]).succeeds().prints("hello");
        test.nothing_left(&before);
        test.python(GREET).exits(1).says("No module named 'greet'");
    }
}

#[test]
fn nothing_is_said_unless_asked_for() {
    let Some(test) = sandbox() else { return };
    let said = run(&test, &["true"]).succeeds();
    assert_eq!(said.stdout + &said.stderr, "");
    run_with(&test, &["-v"], &["true"]).succeeds().says("mounted 1 distribution");
}

#[test]
fn the_environment_is_active() {
    let Some(test) = sandbox() else { return };
    let script = r#"echo "$VIRTUAL_ENV|${PATH%%:*}|${PYTHONHOME-none}""#;
    let mut command = test.sitefs_command(run_arguments(&test, &[], &["sh", "-c", script]));
    let venv = test.venv.display();
    Outcome::of(command.env("PYTHONHOME", "/nowhere")).succeeds().prints(&format!("{venv}|{venv}/bin|none"));
}

#[test]
fn the_environment_is_the_active_one_or_dot_venv() {
    let Some(test) = sandbox() else { return };
    let arguments = [OsStr::new("run"), OsStr::new("--"), OsStr::new("greet")];
    let prepared = |folder: &Path| {
        let mut command = test.sitefs_command(arguments);
        command.env("SITEFS_CACHE", &test.cache).current_dir(folder);
        command
    };
    let elsewhere = test.home();
    Outcome::of(&mut prepared(&elsewhere)).fails().says("--venv");
    Outcome::of(prepared(&elsewhere).env("VIRTUAL_ENV", &test.venv)).succeeds().prints("hello");
    std::os::unix::fs::symlink(&test.venv, elsewhere.join(".venv")).unwrap();
    Outcome::of(&mut prepared(&elsewhere)).succeeds().prints("hello");
}

#[test]
fn an_environment_that_is_not_there_is_created_and_stays_if_it_could_be_used() {
    let Some(mut test) = sandbox() else { return };
    test.venv = test.root().join("new");
    let python = test.python.to_str().unwrap().to_owned();
    let lock = fs_err::read_to_string(&test.requirements).unwrap();
    test.lock("absent==1.0");
    run_with(&test, &["--python", &python], &["true"]).fails().says("absent");
    assert!(!test.venv.exists());
    test.lock(&lock);
    run_with(&test, &["--python", &python], &["greet"]).succeeds().prints("hello");
    assert!(test.venv.join("pyvenv.cfg").exists());
}

#[test]
fn the_exit_code_is_the_commands() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    for (command, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        run(&test, &["sh", "-c", command]).exits(code);
    }
    run(&test, &["no-such-command"]).exits(127).says("no-such-command");
    run(&test, &[test.requirements.to_str().unwrap()]).exits(126).says("requirements.txt");
    test.nothing_left(&before);
}

#[test]
fn no_command_is_wrong_usage() {
    let test = Sandbox::new();
    test.sitefs(["run"]).exits(2).says("COMMAND");
}

#[test]
fn what_cannot_be_mounted_starts_nothing() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.lock("absent==1.0");
    run(&test, &["sh", "-c", "echo started"]).fails().says("absent").says_nothing_of("started");
    test.nothing_left(&before);
}

#[test]
fn signals_go_to_the_command_once() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let code = "
import signal, sys
names = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT', 'SIGALRM', 'SIGTERM']
signal.pthread_sigmask(signal.SIG_BLOCK, names and [getattr(signal, name) for name in names])
print('ready', flush=True)
for _ in names:
    print(signal.Signals(signal.sigwait([getattr(signal, name) for name in names])).name, flush=True)
sys.exit(3)";
    let mut running = Running::start(&test, &[], &["python", "-c", code]);
    running.says("ready");
    for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "CONT", "ALRM", "TERM"] {
        kill(name, running.pid());
        running.says(&format!("SIG{name}"));
    }
    assert_eq!(running.ends(), Some(3));
    test.nothing_left(&before);
}

#[test]
fn sigterm_ends_the_command_and_the_mount() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let mut running = Running::start(&test, way, &["python", "-c", STAY]);
        running.says("hello");
        kill("TERM", running.pid());
        assert_eq!(running.ends(), Some(143));
        test.nothing_left(&before);
    }
}

#[test]
fn it_stops_and_goes_on_with_its_command() {
    let Some(test) = sandbox() else { return };
    let mut command = test.sitefs_command(run_arguments(&test, &[], &["sh", "-c", "echo $$; sleep 1000"]));
    // A job of a shell. In a group of processes whose parents have gone, nobody could continue it, and nobody stops.
    command.process_group(0);
    let mut running = Running::of(command);
    let command: u32 = running.line().parse().unwrap();
    kill("TSTP", running.pid());
    wait_until("both have stopped", || state_of(running.pid()) == 'T' && state_of(command) == 'T');
    kill("CONT", running.pid());
    wait_until("both go on", || state_of(running.pid()) == 'S' && state_of(command) == 'S');
    kill("TERM", running.pid());
    assert_eq!(running.ends(), Some(143));
}

/// In a pseudo-terminal: what is typed reaches the command from the terminal, and must not come twice.
#[test]
fn ctrl_c_on_a_terminal_reaches_the_command_once_and_a_second_does_not_disturb() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let command = "
import signal, time
count = 0
def handler(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, handler)
print('ready', flush=True)
deadline = time.monotonic() + 60
while count < 1 and time.monotonic() < deadline: time.sleep(0.01)
time.sleep(0.3)
print('interrupts:', count, flush=True)
while count < 2 and time.monotonic() < deadline: time.sleep(0.01)
time.sleep(0.3)
print('interrupts:', count, flush=True)
raise SystemExit(5)";
    let terminal = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b''
def until(text):
    global seen
    while text not in seen:
        seen += os.read(terminal, 1000)
until(b'ready')
os.write(terminal, b'\\x03')
until(b'interrupts: 1')
os.write(terminal, b'\\x03')
until(b'interrupts: 2')
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let sitefs = test.sitefs_command(run_arguments(&test, &[], &["python", "-c", command]));
    let mut typed = test.command(&test.python);
    typed.args(["-c", terminal]).arg(sitefs.get_program()).args(sitefs.get_args());
    Outcome::of(&mut typed).succeeds().prints("5");
    test.nothing_left(&before);
}

#[test]
fn what_the_command_leaves_running_is_ended() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        // The one ends when it is asked, the other must be killed.
        let script = "(sleep 1000 &); (trap '' TERM; sleep 1000 & sleep 1000) >/dev/null 2>&1 & exit 4";
        let mut command = test.sitefs_command(run_arguments(&test, way, &["sh", "-c", script]));
        assert_eq!(command.stdout(Stdio::null()).status().unwrap().code(), Some(4));
        assert_eq!(processes_in(&test), Vec::<u32>::new(), "left running");
        test.nothing_left(&before);
    }
}

#[test]
fn the_command_killed_leaves_nothing() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let mut running = Running::start(&test, way, &["python", "-c", STAY]);
        running.says("hello");
        kill("KILL", processes_in(&test)[0]);
        assert_eq!(running.ends(), Some(137));
        test.nothing_left(&before);
    }
}

#[test]
fn the_server_killed_is_said_and_leaves_nothing_when_the_command_ends() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let code =
            "import greet, sys; print(greet.word, flush=True); sys.stdin.read(); print(greet.main.__name__)";
        let mut command = test.sitefs_command(run_arguments(&test, way, &["python", "-c", code]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::of(command);
        running.says("hello");
        kill("KILL", server(&test, running.pid()));
        drop(running.child.stdin.take());
        running.says("main");
        assert_eq!(running.ends(), Some(0));
        test.nothing_left(&before);
    }
}

#[test]
fn sitefs_killed_takes_the_command_the_server_and_the_mount_with_it() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let mut running = Running::start(&test, way, &["python", "-c", STAY]);
        running.says("hello");
        kill("KILL", running.pid());
        running.ends();
        wait_until("the command has ended", || processes_in(&test).is_empty());
        wait_until("it is unmounted", || !test.is_mounted());
        test.nothing_left(&before);
    }
}

#[test]
fn a_private_mount_is_seen_by_the_command_alone_and_ends_with_its_last_process() {
    let Some(test) = sandbox() else { return };
    if !namespaces(&test) {
        return;
    }
    let before = test.environment();
    // Started in a session of its own, so that it is no child of anybody's here when sitefs is killed.
    let script = format!("setsid python -c '{STAY}' & wait");
    let mut running = Running::start(&test, &[], &["sh", "-c", &script]);
    running.says("hello");
    assert_eq!(mounts_below(&test.root()), Vec::<PathBuf>::new());
    test.status().succeeds().says("running");
    kill("KILL", running.pid());
    running.ends();
    wait_until("the shell has ended", || processes_in(&test).len() == 1);
    test.python(GREET).exits(1);
    let last = processes_in(&test)[0];
    assert!(fs_err::read_to_string(format!("/proc/{last}/mounts")).unwrap().contains("fuse.sitefs"));
    kill("KILL", last);
    test.nothing_left(&before);
}

#[test]
fn several_run_in_one_environment_at_the_same_time() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let mut first = Running::start(&test, way, &["python", "-c", STAY]);
        first.says("hello");
        let mut second = Running::start(&test, way, &["python", "-c", STAY]);
        second.says("hello");
        run_with(&test, way, &["greet"]).succeeds().prints("hello");
        test.mount().fails();
        kill("TERM", first.pid());
        assert_eq!(first.ends(), Some(143));
        assert!(test.venv.join("bin/greet").exists(), "the second still uses it");
        run_with(&test, way, &["greet"]).succeeds().prints("hello");
        kill("KILL", second.pid());
        second.ends();
        wait_until("it is unmounted", || !test.is_mounted());
        test.nothing_left(&before);
        test.mount().succeeds();
    }
}

#[test]
fn nobody_mounts_or_unmounts_under_it() {
    let Some(test) = sandbox() else { return };
    if !namespaces(&test) {
        return;
    }
    let mut running = Running::start(&test, &[], &["python", "-c", STAY]);
    running.says("hello");
    test.mount().fails().says("sitefs run");
    test.unmount().fails().says("sitefs run");
    assert!(test.venv.join("bin/greet").exists());
}

#[test]
fn one_runs_in_another() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let inner = test.sitefs_command(run_arguments(&test, way, &["greet"]));
        let mut command: Vec<&str> = vec![inner.get_program().to_str().unwrap()];
        command.extend(inner.get_args().map(|argument| argument.to_str().unwrap()));
        run_with(&test, way, &command).succeeds().prints("hello");
        test.nothing_left(&before);
    }
}

#[test]
fn several_that_start_at_the_same_moment_all_work() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let start = |_| Running::start(&test, way, &["greet"]);
        let racers: Vec<Running> = (0..6).map(start).collect();
        for mut racer in racers {
            racer.says("hello");
            assert_eq!(racer.ends(), Some(0));
        }
        test.nothing_left(&before);
    }
}

#[test]
fn one_environment_cannot_have_different_distributions_at_the_same_time() {
    let Some(test) = sandbox() else { return };
    if !namespaces(&test) {
        return;
    }
    let other = WheelBuilder::new("other", "1.0").file("other.py", "");
    test.unpack(std::slice::from_ref(&other));
    let mut first = Running::start(&test, &[], &["python", "-c", STAY]);
    first.says("hello");
    test.lock(&other.pin());
    run(&test, &["true"]).fails().says("another `sitefs run`").says("other distributions");
    kill("TERM", first.pid());
    first.ends();
    run(&test, &["python", "-c", "import other"]).succeeds();
}

#[test]
fn what_mount_has_mounted_is_used_and_stays() {
    let Some(test) = sandbox() else { return };
    let other = WheelBuilder::new("other", "1.0").file("other.py", "");
    test.unpack(std::slice::from_ref(&other));
    test.mount().succeeds();
    let server = test.server();
    run(&test, &["greet"]).succeeds().prints("hello");
    assert_eq!(test.server(), server);
    test.lock(&other.pin());
    run(&test, &["true"]).fails().says("mounted already, with other distributions");
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn what_mount_has_made_of_files_is_used_and_stays() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--link-mode", "copy"]).succeeds();
    run(&test, &["greet"]).succeeds().prints("hello");
    run_with(&test, &["--link-mode", "copy"], &["greet"]).succeeds().prints("hello");
    run_with(&test, &["--link-mode", "fuse"], &["greet"]).fails().says("link mode copy");
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn every_link_mode_runs_and_is_undone_by_the_last_run() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    for mode in ["symlink", "hardlink", "copy"] {
        let options = ["--link-mode", mode];
        let mut first = Running::start(&test, &options, &["python", "-c", STAY]);
        first.says("hello");
        run_with(&test, &options, &["greet"]).succeeds().prints("hello");
        run_with(&test, &["--link-mode", "fuse"], &["true"]).fails().says("another `sitefs run`").says(mode);
        assert!(test.venv.join("bin/greet").exists(), "the first still uses it");
        kill("TERM", first.pid());
        assert_eq!(first.ends(), Some(143));
        test.nothing_left(&before);
    }
}

#[test]
fn files_that_a_killed_run_left_are_undone_by_the_next() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let mut killed = Running::start(&test, &["--link-mode", "copy"], &["python", "-c", STAY]);
    killed.says("hello");
    kill("KILL", killed.pid());
    killed.ends();
    wait_until("the command has ended", || processes_in(&test).is_empty());
    run(&test, &["greet"]).succeeds().prints("hello");
    test.nothing_left(&before);
}

#[test]
fn a_dead_mount_is_mended() {
    for way in WAYS {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        test.mount().succeeds();
        kill("KILL", test.server());
        run_with(&test, way, &["greet"]).succeeds().prints("hello");
        test.nothing_left(&before);
    }
}

#[test]
fn a_server_that_is_killed_while_it_is_asked_leaves_a_dead_mount_like_any_other() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    let served = test.server();
    kill("STOP", served);
    let mut running = Running::start(&test, &[], &["greet"]);
    wait_until("a process of its own asks", || sitefs_below(&test).len() == 3);
    // Time to ask in. Were it killed before that, the answer would be the same.
    std::thread::sleep(Duration::from_millis(50));
    kill("KILL", served);
    running.says("hello");
    assert_eq!(running.ends(), Some(0));
    test.nothing_left(&before);
}

#[test]
fn an_ordinary_user_runs_too() {
    for way in WAYS {
        let Some(test) = sandbox_for_nobody() else { return };
        let before = test.environment();
        run_with(&test, way, &["greet"]).succeeds().prints("hello");
        run_with(&test, way, &["sh", "-c", "id -u; kill -9 $$"]).exits(137).prints(&id_of_nobody());
        let mut running = Running::start(&test, way, &["python", "-c", STAY]);
        running.says("hello");
        kill("KILL", sitefs_below(&test)[0]);
        wait_until("the command has ended", || processes_in(&test).is_empty());
        wait_until("it is unmounted", || !test.is_mounted());
        running.ends();
        test.nothing_left(&before);
    }
}

fn run_with(test: &Sandbox, options: &[&str], command: &[&str]) -> Outcome {
    test.sitefs(run_arguments(test, options, command))
}

fn run(test: &Sandbox, command: &[&str]) -> Outcome {
    run_with(test, &[], command)
}

/// Whether a command can have a mount namespace of its own here.
fn namespaces(test: &Sandbox) -> bool {
    let said = run_with(test, &["-v"], &["true"]).succeeds();
    said.stderr.contains("namespace of the command's own") || skip("no mount namespace can be made here")
}

/// `S` sleeps, `T` is stopped, `Z` has ended.
fn state_of(pid: u32) -> char {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn id_of_nobody() -> String {
    Outcome::of(Command::new("id").args(["-u", "nobody"])).succeeds().stdout.trim().to_owned()
}
