//! Which processes use a mount.

use std::path::Path;

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

/// The processes that use something on or below `point`, save below `apart`, as far as this user may see.
///
/// Source: proc(5).
pub fn of(point: &Path, apart: &Path) -> Vec<Holder> {
    let Ok(processes) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    let mut holders: Vec<Holder> = processes
        .filter_map(|entry| {
            let directory = entry.ok()?.path();
            let pid = directory.file_name()?.to_str()?.parse().ok()?;
            let what = use_of(&directory, |path| path.starts_with(point) && !path.starts_with(apart))?;
            let name = fs_err::read_to_string(directory.join("comm")).unwrap_or_default().trim().to_owned();
            Some(Holder { pid, name, what })
        })
        .collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn use_of(process: &Path, is_there: impl Fn(&Path) -> bool) -> Option<&'static str> {
    let leads_there =
        |link: &str| fs_err::read_link(process.join(link)).is_ok_and(|target| is_there(&target));
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
    if descriptors.into_iter().any(|fd| fs_err::read_link(fd.path()).is_ok_and(|target| is_there(&target))) {
        return Some("open file");
    }
    let maps = fs_err::read_to_string(process.join("maps")).unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    mapped.into_iter().any(|path| is_there(Path::new(path))).then_some("mapped file")
}
