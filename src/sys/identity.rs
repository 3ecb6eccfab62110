//! Acting as another user on a file system.

#![expect(unsafe_code, reason = "setfsuid has no safe form")]

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user id.
    pub user: u32,
    /// The group id.
    pub group: u32,
}

/// Does something such that what it makes belongs to `owner`, from the first moment on. Only root can; for others, it
/// belongs to them. Root's power to pass over permissions stays: the kernel has checked them where the request came in.
///
/// Source: setfsuid(2) and capabilities(7); both are the thread's own.
pub fn acting_as<T>(owner: Owner, act: impl FnOnce() -> T) -> T {
    let ours = Owner { user: geteuid().as_raw(), group: getegid().as_raw() };
    if !geteuid().is_root() || owner == ours {
        return act();
    }
    let _restored = Restored(ours);
    set(owner);
    if let Ok(mut sets) = capabilities(None) {
        sets.effective |= sets.permitted & PASS_OVER_PERMISSIONS;
        // Without them it is only the upper's own permissions that count, too.
        let _ = set_capabilities(None, sets);
    }
    act()
}

/// Gives up the power to write more than a quota allows, or into the blocks that are kept for root: what root's server
/// writes is its users'.
pub fn respect_quotas() {
    if let Ok(mut sets) = capabilities(None) {
        sets.effective.remove(CapabilitySet::SYS_RESOURCE);
        sets.permitted.remove(CapabilitySet::SYS_RESOURCE);
        let _ = set_capabilities(None, sets);
    }
}

const PASS_OVER_PERMISSIONS: CapabilitySet =
    CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH).union(CapabilitySet::MKNOD);

struct Restored(Owner);

impl Drop for Restored {
    fn drop(&mut self) {
        set(self.0);
    }
}

/// -1 asks for the present id, and is nobody's.
fn set(owner: Owner) {
    if owner.user == u32::MAX || owner.group == u32::MAX {
        return;
    }
    // SAFETY: both take a number, and change nothing but this thread's file system ids.
    unsafe {
        libc::setfsgid(owner.group);
        libc::setfsuid(owner.user);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_root_makes_for_another_belongs_to_the_other() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let (theirs, ours) = (directory.path().join("theirs"), directory.path().join("ours"));
        acting_as(Owner { user: 12345, group: 54321 }, || fs_err::write(&theirs, "").unwrap());
        fs_err::write(&ours, "").unwrap();
        let theirs = fs_err::metadata(theirs).unwrap();
        let ours = fs_err::metadata(ours).unwrap();
        assert_eq!(ours.uid(), geteuid().as_raw());
        if geteuid().is_root() {
            assert_eq!((theirs.uid(), theirs.gid()), (12345, 54321));
        } else {
            assert_eq!(theirs.uid(), ours.uid());
        }
    }
}
