//! What the kernel knows of the mounts and servers that a test started.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The mount points at or below a folder, the newest first, save those of caches in environments, which go with these.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mut points = all_mounts_below(folder);
    points.retain(|point| !point.ends_with(".sitefs-cache"));
    points
}

/// The same with all.
pub fn all_mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs_err::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|point| point.starts_with(folder))
        .collect();
    points.reverse();
    points
}

/// mountinfo writes a space, a tab, a newline and a backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// The sitefs processes that run with a home below this folder.
pub fn servers_below(folder: &Path) -> Vec<u32> {
    let home = [b"HOME=", folder.as_os_str().as_encoded_bytes()].concat();
    let processes = fs_err::read_dir("/proc").expect("/proc is mounted");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let is_sitefs = fs_err::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|program| program.file_name().is_some_and(|name| name == "sitefs"));
            let environment = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            is_sitefs && environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(&home))
        })
        .collect()
}

/// Unmounts whatever is mounted below a folder and ends its servers, without asking sitefs.
pub fn clear_away(folder: &Path) {
    for point in all_mounts_below(folder) {
        let quiet = |command: &mut Command| {
            command
                .arg(&point)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|it| it.success())
        };
        let _ = quiet(Command::new("umount").arg("-l")) || quiet(Command::new("fusermount3").arg("-uz"));
    }
    for pid in servers_below(folder) {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
}

/// Waits until something is so; panics after 20 seconds.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited 20 s in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
