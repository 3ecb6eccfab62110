//! An environment that belongs to somebody else, and others who meddle: sitefs, as root, must not be their tool.

mod common;

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{
    GREET, Outcome, Running, STAY, Sandbox, WheelBuilder, kill, run_arguments, sandbox, sandbox_for_nobody,
    server, servers_below, wait_until,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

#[test]
fn a_forged_journal_removes_nothing_outside_of_the_environment() {
    let Some(test) = sandbox() else { return };
    let precious = test.root().join("precious");
    fs_err::write(&precious, "precious").unwrap();
    symlink(test.root(), test.venv.join("way-out")).unwrap();
    let metadata = fs_err::metadata(&precious).unwrap();
    for path in ["../precious", precious.to_str().unwrap(), "way-out/precious"] {
        // With the file's real size and time, as sitefs itself would write it.
        let journal = format!(
            r#"{{"files": {{"{path}": {{"distribution": "greet", "how": "Symlink",
                "trace": {{"File": {{"size": {}, "seconds": {}, "nanoseconds": {}}}}}}}}}, "directories": []}}"#,
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        test.mount().succeeds();
        fs_err::write(test.venv.join(".sitefs/placed.json"), journal).unwrap();
        test.unmount();
        assert_eq!(fs_err::read_to_string(&precious).unwrap(), "precious", "{path}");
        let _ = fs_err::remove_file(test.venv.join(".sitefs/placed.json"));
        let _ = fs_err::remove_file(test.venv.join("bin/greet"));
    }
}

#[test]
fn links_in_the_state_directory_are_not_followed() {
    let Some(test) = sandbox() else { return };
    let precious = test.root().join("precious");
    for name in ["server.log", "mount.tmp", "placed.tmp", "lock"] {
        fs_err::write(&precious, "precious").unwrap();
        fs_err::create_dir_all(test.venv.join(".sitefs")).unwrap();
        symlink(&precious, test.venv.join(".sitefs").join(name)).unwrap();
        if test.mount().code() == Some(0) {
            test.unmount().succeeds();
        }
        assert_eq!(fs_err::read_to_string(&precious).unwrap(), "precious", "{name}");
        let _ = fs_err::remove_dir_all(test.venv.join(".sitefs"));
    }
    let elsewhere = test.root().join("elsewhere");
    fs_err::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, test.venv.join(".sitefs")).unwrap();
    test.mount().fails().says(".sitefs is not a directory");
    assert_eq!(fs_err::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_site_packages_that_is_reached_through_a_link_is_refused() {
    let Some(test) = sandbox() else { return };
    let moved = test.root().join("moved");
    fs_err::rename(test.site_packages(), &moved).unwrap();
    symlink(&moved, test.site_packages()).unwrap();
    test.mount().fails().says("is reached through a link");
    assert!(!test.is_mounted());
}

#[test]
fn a_directory_that_becomes_a_link_under_the_mount_leads_nowhere() {
    let Some(test) = sandbox() else { return };
    let own = test.site_packages().join("own");
    fs_err::create_dir(&own).unwrap();
    fs_err::write(own.join("passwd"), "decoy").unwrap();
    let beneath = fs_err::File::open(test.site_packages()).unwrap();
    test.mount().succeeds();
    assert!(test.site_packages().join("own/passwd").exists(), "it is known to the kernel now");
    let flags = rustix::fs::RenameFlags::empty();
    rustix::fs::renameat_with(beneath.file(), "own", beneath.file(), "old", flags).unwrap();
    rustix::fs::symlinkat("/etc", beneath.file(), "own").unwrap();
    fs_err::read(test.site_packages().join("own/passwd")).unwrap_err();
}

#[test]
fn what_somebody_mounted_on_top_of_ours_is_not_touched() {
    let Some(test) = sandbox() else { return };
    if !rustix::process::geteuid().is_root() {
        common::skip("only root can mount a tmpfs");
        return;
    }
    test.mount().succeeds();
    let point = test.site_packages();
    mount("tmpfs", &point, "tmpfs", MountFlags::empty(), c"").unwrap();
    fs_err::write(point.join("data"), "theirs").unwrap();
    test.unmount().fails().says("tmpfs").says("covers");
    assert_eq!(fs_err::read_to_string(point.join("data")).unwrap(), "theirs");
    unmount(&point, UnmountFlags::empty()).unwrap();
    test.unmount().succeeds();
}

#[test]
fn a_pyvenv_cfg_in_a_wheel_does_not_confuse() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([WheelBuilder::new("odd", "1.0").file("pyvenv.cfg", "home = /")]);
    test.mount().succeeds();
    test.status().succeeds().says("\"mounted\"");
    test.unmount().succeeds();
}

/// Longer than any command waits for a server that hangs.
const BOUND: Duration = Duration::from_secs(20);

/// The outcome of a command, which comes in time.
fn in_time(command: impl FnOnce() -> Outcome) -> Outcome {
    let started = Instant::now();
    let outcome = command();
    assert!(started.elapsed() < BOUND, "{} s: {outcome}", started.elapsed().as_secs());
    outcome
}

#[test]
fn no_command_waits_without_end_for_a_server_that_hangs() {
    no_command_waits(sandbox());
}

#[test]
fn nor_does_an_ordinary_users() {
    no_command_waits(sandbox_for_nobody());
}

fn no_command_waits(test: Option<Sandbox>) {
    let Some(test) = test else { return };
    test.mount().succeeds();
    let server = test.server();
    kill("STOP", server);
    let arguments = run_arguments(&test, &[], &["true"]);
    let why = |path: &str| [OsStr::new("why"), test.venv.as_os_str(), OsStr::new(path)].map(OsStr::to_owned);
    in_time(|| test.status()).succeeds().says("\"mounted\"");
    in_time(|| test.mount()).fails().says("is mounted already");
    in_time(|| test.sitefs(why("greet/absent.py"))).fails().says("does not answer").says(&server.to_string());
    in_time(|| test.sitefs(&arguments)).fails().says("does not answer").says("kill -KILL");
    in_time(|| test.unmount()).fails().says("holds").says(&server.to_string());
    assert!(!test.is_mounted(), "the mount goes although its server hangs");
    in_time(|| test.mount()).fails().says("holds").says(&server.to_string());
    kill("KILL", server);
    wait_until("the server is gone", || servers_below(&test.root()).is_empty());
    in_time(|| test.mount()).succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}

#[test]
fn unmount_lets_go_lazily_of_a_mount_whose_server_hangs() {
    for test in [sandbox(), sandbox_for_nobody()].into_iter().flatten() {
        let before = test.environment();
        test.mount().succeeds();
        let server = test.server();
        kill("STOP", server);
        // Waits for the server, inside the mount.
        let mut waiting = test.python_command("import greet").stderr(Stdio::null()).spawn().unwrap();
        wait_until("it waits", || {
            std::thread::sleep(Duration::from_millis(300));
            true
        });
        in_time(|| test.unmount()).fails().says("is in use by").says("--lazy");
        let lazily = [OsStr::new("unmount"), OsStr::new("--lazy"), test.venv.as_os_str()];
        in_time(|| test.sitefs(lazily)).succeeds().says("detached");
        assert!(!test.is_mounted());
        kill("CONT", server);
        waiting.wait().unwrap();
        wait_until("the server is gone", || servers_below(&test.root()).is_empty());
        test.nothing_left(&before);
    }
}

#[test]
fn a_run_says_that_the_server_of_another_run_hangs() {
    let Some(test) = sandbox() else { return };
    let way = ["--no-namespace"];
    let before = test.environment();
    let mut first = Running::start(&test, &way, &["python", "-c", STAY]);
    first.says("hello");
    let server = server(&test, first.pid());
    kill("STOP", server);
    let second = run_arguments(&test, &way, &["true"]);
    in_time(|| test.sitefs(&second)).fails().says("does not answer");
    kill("TERM", first.pid());
    assert_eq!(first.ends(), Some(143), "it leaves the mount to the server");
    assert!(test.is_mounted());
    kill("CONT", server);
    wait_until("it is unmounted", || !test.is_mounted());
    test.nothing_left(&before);
}

#[test]
fn of_mounts_at_the_same_moment_the_losers_say_that_it_is_mounted() {
    let Some(test) = sandbox() else { return };
    let arguments = [OsStr::new("mount"), OsStr::new("-r"), test.requirements.as_os_str()];
    let arguments = arguments.into_iter().chain([test.venv.as_os_str(), test.cache.as_os_str()]);
    let arguments: Vec<_> = arguments.collect();
    let processes: Vec<_> = (0..4)
        .map(|_| {
            let mut command = test.sitefs_command(&arguments);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect();
    let (won, lost): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!(won.len(), 1);
    for output in lost {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("is mounted already"), "{said}");
    }
}

#[test]
fn empty_variables_count_as_none() {
    let Some(test) = sandbox() else { return };
    let mut command =
        test.sitefs_command([OsStr::new("mount"), OsStr::new("-r"), test.requirements.as_os_str()]);
    command
        .arg(&test.venv)
        .env("SITEFS_CACHE", "")
        .env("SITEFS_LINK_MODE", "")
        .env("UV_CACHE_DIR", &test.cache);
    common::Outcome::of(&mut command).succeeds();
}
