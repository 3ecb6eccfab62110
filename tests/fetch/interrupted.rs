//! Signals and kills while something is got.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{Outcome, Running, age, kill, run_arguments, wait_until};
use super::folders::BOTH;
use super::{Fetching, other};

/// A tool that says its process id in this file and stays.
fn stays(started: &Path) -> String {
    format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", started.display())
}

/// The process of the tool, which has started.
fn tool(started: &Path) -> PathBuf {
    wait_until("the tool runs", || started.exists());
    let pid = fs_err::read_to_string(started).unwrap();
    fs_err::remove_file(started).unwrap();
    Path::new("/proc").join(pid.trim())
}

/// `mount` and `run`, with their temporary files in a folder.
fn commands(fetching: &Fetching, temporary: &Path) -> [Command; 2] {
    let commands = [
        fetching.sitefs(run_arguments(&fetching.test, &["--fetch"], &["true"])),
        fetching.mount(&["--fetch"]),
    ];
    commands.map(|mut command| {
        command.env("TMPDIR", temporary);
        command
    })
}

#[test]
fn a_signal_ends_the_tool_and_nothing_is_left() {
    let of_uv = Fetching::new(None);
    let of_folder = Fetching::new(None).with_pip().with_wheelhouse();
    let of_store = Fetching::new(None).with_pip().with_store();
    for (name, fetching) in [("uv", of_uv), ("pip", of_folder), ("pip", of_store)] {
        let root = fetching.test.root();
        let (started, temporary) = (root.join("started"), root.join("temporary"));
        fs_err::create_dir(&temporary).unwrap();
        fetching.with_false(name, &stays(&started));
        let (before, listed) = (fetching.test.environment(), fetching.listed());
        for signal in ["INT", "TERM"] {
            for command in commands(&fetching, &temporary) {
                let mut running = Running::of(command);
                let tool = tool(&started);
                kill(signal, running.pid());
                assert_eq!(running.ends(), Some(1), "{name} {signal}");
                assert!(!tool.exists(), "{name} has ended");
                fetching.test.nothing_left(&before);
                assert_eq!(fetching.listed(), listed);
                assert_eq!(fs_err::read_dir(&temporary).unwrap().count(), 0, "a folder is left");
            }
        }
    }
}

/// Nobody is left to clean up, but the tool does not go on for nobody either, and the next does all.
#[test]
fn the_tool_ends_with_sitefs_that_is_killed() {
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    let started = fetching.test.root().join("started");
    let pip = fetching.tool().with_file_name("pip");
    let real = fs_err::read_link(&pip).unwrap();
    fetching.with_false("pip", &stays(&started));
    for command in commands(&fetching, &fetching.test.root()) {
        let mut running = Running::of(command);
        let tool = tool(&started);
        kill("KILL", running.pid());
        assert_eq!(running.ends(), Some(128 + 9));
        wait_until("the tool has ended", || !tool.exists());
    }
    fs_err::remove_file(&pip).unwrap();
    std::os::unix::fs::symlink(real, &pip).unwrap();
    Outcome::of(&mut fetching.mount(&["--fetch", "--link-mode", "symlink"])).succeeds();
    fetching.is_complete();
}

/// Large enough to be caught in the middle of its copy.
#[test]
fn what_a_killed_copy_leaves_is_swept_when_it_is_surely_dead() {
    let mut noise = 1_u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    })
    .take(48 << 20)
    .collect();
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    other().file("noise.bin", content).build(&fetching.test.root().join("served"));
    fetching.test.lock("greet==1.0\nother==2.0");
    let unfinished = || {
        let names = fetching.listed();
        names.into_iter().filter(|name| name.starts_with(".sitefs-fetch-")).collect::<Vec<_>>()
    };
    for _ in 0..20 {
        let mut running = Running::of(fetching.mount(&["--fetch", "--link-mode", "symlink"]));
        wait_until("a copy is begun", || fetching.listed().len() > 1);
        kill("KILL", running.pid());
        running.ends();
        if !unfinished().is_empty() {
            break;
        }
        fs_err::remove_file(fetching.test.cache.join(BOTH[1])).unwrap();
    }
    let [left] = unfinished().try_into().expect("it was killed in the middle of its copy");
    // It may live: it is left alone, and taken for no wheel.
    let fetch = || Outcome::of(&mut fetching.mount(&["--fetch", "--link-mode", "symlink", "-q"])).succeeds();
    fetch();
    fetching.is_complete();
    assert_eq!(unfinished(), std::slice::from_ref(&left));
    // After an hour it does not.
    fetching.test.unmount().succeeds();
    age(&fetching.test.cache.join(left), 2);
    fs_err::remove_file(fetching.test.cache.join(BOTH[1])).unwrap();
    fetch();
    assert_eq!(fetching.listed(), BOTH);
}
