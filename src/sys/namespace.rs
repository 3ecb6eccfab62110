//! A mount namespace of one's own: what is mounted in it is seen by nobody else, and goes with its last process.
#![expect(unsafe_code, reason = "unshare has no safe form")]

use std::io;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process, which must have one thread, into a new mount namespace. An ordinary user needs a new user
/// namespace for that, in which no other user is known.
///
/// Source: user_namespaces(7), mount_namespaces(7).
///
/// # Errors
/// This user may not, or the machine does not allow it.
pub fn enter() -> io::Result<()> {
    if geteuid().is_root() {
        unshare(UnshareFlags::NEWNS)?;
    } else {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        fs_err::write("/proc/self/setgroups", "deny")?;
        fs_err::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs_err::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    // What others mount and unmount later happens here, too, so that no disk is kept busy; nothing goes the other way.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(())
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the table of descriptors stays shared.
    unsafe { unshare_unsafe(flags) }.map_err(|errno| io::Error::other(format!("unshare(2) says: {errno}")))
}
