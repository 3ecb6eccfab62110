//! An environment that belongs to somebody else, and others who meddle: sitefs, as root, must not be their tool.

mod common;

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, symlink};

use common::{Sandbox, WheelBuilder};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

fn sandbox() -> Option<Sandbox> {
    let wheel = WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n")
        .entry_point("console_scripts", "greet = greet:main");
    Sandbox::with_fuse().map(|test| test.with_wheels([wheel]))
}

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

#[test]
fn a_server_that_hangs_does_not_hang_the_commands() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let server = rustix::process::Pid::from_raw(test.server().try_into().unwrap()).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    test.status().succeeds().says("\"mounted\"");
    test.mount().fails().says("is mounted already");
    rustix::process::kill_process(server, rustix::process::Signal::CONT).unwrap();
    test.unmount().succeeds();
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
