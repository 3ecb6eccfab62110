//! Which processes use a mount.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::mounts::Mount;

/// A process that keeps a mount busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as in `/proc/PID/comm`.
    pub name: String,
    /// What it holds: `working directory`, `open file`, `mapped file`, `program` or `root directory`.
    pub what: &'static str,
}

/// The processes that use something of a mount, save below `apart`, as far as this user may see.
///
/// Source: proc(5).
pub fn of(mount: &Mount, apart: &Path) -> Vec<Holder> {
    let Ok(processes) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    let mut holders: Vec<Holder> = processes
        .filter_map(|entry| {
            let directory = entry.ok()?.path();
            let pid = directory.file_name()?.to_str()?.parse().ok()?;
            let is_there = |path: &Path| path.starts_with(&mount.point) && !path.starts_with(apart);
            let what = use_of(&directory, is_there, &mount.device)?;
            let name = fs_err::read_to_string(directory.join("comm")).unwrap_or_default().trim().to_owned();
            Some(Holder { pid, name, what })
        })
        .collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

/// By its path, a file may also be one that the mount covers: whoever uses that does not use the mount.
fn use_of(process: &Path, is_there: impl Fn(&Path) -> bool, device: &str) -> Option<&'static str> {
    let leads_to = |link: &Path| {
        fs_err::read_link(link).is_ok_and(|target| is_there(&target))
            && device_of(link).is_none_or(|found| found == device)
    };
    let leads_there = |link: &str| leads_to(&process.join(link));
    if leads_there("cwd") {
        return Some("working directory");
    }
    if leads_there("root") {
        return Some("root directory");
    }
    if leads_there("exe") {
        return Some("program");
    }
    let descriptors = fs_err::read_dir(process.join("fd")).into_iter().flatten().flatten();
    if descriptors.into_iter().any(|fd| leads_to(&fd.path())) {
        return Some("open file");
    }
    let maps = fs_err::read_to_string(process.join("maps")).unwrap_or_default();
    let is_mapped = |line: &str| {
        let found = line.split(' ').nth(3).and_then(|found| found.split_once(':'));
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        let found = found.and_then(|(major, minor)| Some(format!("{}:{}", number(major)?, number(minor)?)));
        line.find('/').is_some_and(|start| is_there(Path::new(&line[start..])))
            && found.is_none_or(|found| found == device)
    };
    maps.lines().any(is_mapped).then_some("mapped file")
}

/// The device of what a link of /proc leads to; none where this user, or the kernel, does not tell. No server is asked.
fn device_of(link: &Path) -> Option<String> {
    let found = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::empty()).ok()?;
    Some(format!("{}:{}", found.stx_dev_major, found.stx_dev_minor))
}
