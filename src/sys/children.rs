//! The children of this process, and those that became its children when their parents ended.

use std::process;

use rustix::process::{Pid, WaitOptions, set_child_subreaper, wait};

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended, with this code as a shell tells it: its exit code, or 128 and the number of the signal that ended it.
    Ended(u8),
    /// It stopped, and can go on.
    Stopped,
}

/// Makes this process the parent of all below it whose own parents end, as process 1 is anyway.
pub fn adopt_orphans() {
    // A kernel that cannot leaves orphans to process 1: no reason not to go on.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
}

/// A child of which something is to be told, and what.
pub fn change() -> Option<(Pid, Change)> {
    let (pid, status) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED).ok()??;
    if status.stopped() {
        return Some((pid, Change::Stopped));
    }
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?)).unwrap_or(0);
    Some((pid, Change::Ended(u8::try_from(code).unwrap_or(u8::MAX))))
}

/// The children that live; none where `/proc` cannot tell, or tells of another process id namespace.
///
/// Source: proc_pid_stat(5).
pub fn all() -> Vec<Pid> {
    let me = process::id().to_string();
    if fs_err::read_link("/proc/self").ok().and_then(|link| link.into_os_string().into_string().ok())
        != Some(me.clone())
    {
        return Vec::new();
    }
    let Ok(processes) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    let is_child = |pid: &i32| {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it, in parentheses, may hold anything.
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(&me)
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .filter_map(Pid::from_raw)
        .collect()
}
